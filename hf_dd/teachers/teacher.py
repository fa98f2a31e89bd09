"""A teacher: a pre-trained network, frozen, that takes images in [0, 1] space; and what a card says of it."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

import torch
from torch import Tensor, nn

from hf_dd import hub
from hf_dd.config import IN_MEMORY
from hf_dd.config.arguments import require_fitting
from hf_dd.core.alone import undisturbed
from hf_dd.core.memory import is_lack_of_memory
from hf_dd.errors import TeacherError, some
from hf_dd.teachers.adapters import Adapted
from hf_dd.teachers.adapters.in_memory import adapt_module, digest_of
from hf_dd.teachers.class_names import namings


class HeadFacts(TypedDict):
    """What a card says of a fitted head, see `FittedHead.about`."""

    data: str
    fingerprint: str | None
    method: str
    seed: int
    images: int
    held_out: int
    accuracy: float


@dataclass(frozen=True)
class TeacherSpec(hub.Pin):
    """What a card says of a teacher: where it lies, at which commit, and the four options of the paper.

    For one that was a module in memory, `repo_id` is `memory:` and its name. What a model of another library doesn't
    say is None. `trusted` ones could read pickles and run their own code; `seconds` is what its training took up to
    this epoch. `head` says of one that was given a fitted head what it was fitted on, how and how well
    (`FittedHead.about`). `configuration` is, of one in a folder, a digest of what else than its weights its answers
    follow from (`adapters.configuration_of`): a commit needs none, and older records have none.
    """

    architecture: str
    seed: int | None
    epoch: int | None
    dataset: str | None
    accuracy: float | None
    library: str = "hf_dd"
    trusted: bool = False
    seconds: float | None = None
    head: HeadFacts | None = None
    configuration: str | None = dataclasses.field(default=None, compare=False)

    @property
    def in_memory(self) -> bool:
        """Whether it was a module of the user's own program: nothing names it again."""
        return self.repo_id.startswith(IN_MEMORY)


@dataclass(frozen=True, eq=False)
class FittedHead:
    """A linear classifier on a teacher's features that was fitted to a data set (`fitted_head`).

    Attributes:
        weight: (classes, features).
        bias: (classes,).
        class_names: in the order of its logits.
        about: what a card says of it, JSON-able: `data`, `fingerprint`, `method`, `seed`, how many `images` it was
            fitted on and how many were `held_out`, and its `accuracy` on these, in [0, 1].
    """

    weight: Tensor
    bias: Tensor
    class_names: list[str]
    about: dict[str, Any]


class Teacher(nn.Module):
    """A frozen network that takes images in [0, 1] space, whatever its own size, channels and statistics are.

    Attributes:
        network: images as it takes them → logits, with `features`.
        spec: its place and its options.
        transform: from images in [0, 1] space to what the network takes.
        class_names: names of its classes, in the order of its logits; None where it has no head, or no names.
        head: on its features, in the place of its own; None where none was fitted.
        whitening: what it sees images through instead of the transform's statistics, or None.
    """

    def __init__(self, adapted: Adapted, spec: TeacherSpec):
        super().__init__()
        self.network = adapted.network
        self.spec = spec
        self.transform = adapted.transform
        self.class_names = adapted.class_names
        self.head: nn.Linear | None = None
        self.whitening = adapted.whitening
        self.register_buffer("mean", torch.tensor(self.transform.mean, dtype=torch.float64).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(self.transform.std, dtype=torch.float64).view(-1, 1, 1))
        self.requires_grad_(False).eval()

    @classmethod
    @undisturbed()
    def from_module(
        cls,
        module: nn.Module,
        *,
        name: str,
        image_size: int | Sequence[int],
        channels: int,
        mean: Sequence[float],
        std: Sequence[float],
        class_names: Sequence[str] | None,
        dataset: str | None = None,
    ) -> "Teacher":
        """A frozen copy of a module of your own, for `TeacherPool([teacher])` and `hf_dd.distill(pool=…)`.

        Its features are what its method `features` gives, else what its last linear layer gets. Cards say that it was
        in memory, and give the digest of its weights as its sha: nobody else can load it.

        Args:
            module: normalised images (N, channels, height, width) → logits (N, classes).
            name: what a card calls it.
            image_size: a side in pixels or (height, width); images of other sizes are resized, bilinearly.
            channels: 1 (grey) or 3 (RGB).
            mean: of each channel, of images in [0, 1] space: what it was trained with.
            std: the same.
            class_names: in the order of its logits; None if they are of no named classes.
            dataset: what it was trained on, for the card.

        Raises TeacherError where one image of this form doesn't give such logits, ConfigError for a name that is none.
        """
        require_fitting({"name": name, "dataset": dataset}, {"name": str, "dataset": str | None})
        with naming(f"Teacher {name}"):
            adapted = adapt_module(module, image_size, channels, mean, std, class_names, dataset)
        sha = f"{hub.DIGEST}{digest_of(module)}"
        return cls(adapted, TeacherSpec(f"{IN_MEMORY}{name}", "in-memory", sha, **adapted.about))

    def __repr__(self) -> str:
        classes = "unnamed classes" if self.class_names is None else f"{len(self.class_names)} classes"
        height, width = self.image_size
        size = f"{height}×{width} pixels" if height else "any size"
        head = ", with a fitted head" if self.head is not None else ""
        return (
            f"Teacher {self.spec}: {described(self.spec)}, {classes}{head}, "
            f"images of {size}, {self.transform.channels} channel{'s' * (self.transform.channels > 1)}"
        )

    def train(self, mode: bool = True) -> "Teacher":
        """Stay in eval mode: a teacher's BatchNorm never follows the images it is shown."""
        return super().train(False)

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) that the network sees: (0, 0) where that depends on the image."""
        return self.transform.image_size or (0, 0)

    def adapt(self, images: Tensor) -> Tensor:
        """Bring images in [0, 1] space to the network's channels, size and statistics, differentiably."""
        placed = self.transform.place(images)
        if self.whitening:
            return self.whitening.whiten(placed)
        return (placed - self.mean.to(images.dtype)) / self.std.to(images.dtype)

    def forward(self, images: Tensor) -> Tensor:
        """Logits, (N, classes of the teacher), of images (N, 1 or 3, height, width) in [0, 1] space."""
        return self.seen(self.network, images) if self.head is None else self.head(self.features(images))

    def features(self, images: Tensor) -> Tensor:
        """Flattened activations before the classifier, (N, features), of images in [0, 1] space."""
        return self.seen(self.network.features, images)

    def seen(self, function: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
        """What `function` makes of images.

        Raises TeacherError where it takes none of this size, or lets no gradient through to images that need one.
        """
        try:
            made = function(self.adapt(images))
        except (RuntimeError, ValueError, AssertionError) as error:
            if self.transform.image_size or is_lack_of_memory(error):
                raise
            size = "×".join(map(str, images.shape[-2:]))
            raise TeacherError(
                f"{self.spec} can't take images of {size}, and doesn't say what to resize them to: {error}"
            ) from error
        if torch.is_grad_enabled() and images.requires_grad and not made.requires_grad:
            raise TeacherError(
                f"{self.spec} lets no gradient through to the images, so that nothing could be learned from it: its "
                "forward runs without (torch.no_grad, detach), or gives whole numbers. It can give labels."
            )
        return made

    @property
    def bytes(self) -> int:
        """What its weights take as they are stored, a fitted head's too."""
        weights = [value for name, value in self.state_dict().items() if name not in ("mean", "std")]
        return sum(value.numel() * value.element_size() for value in weights)

    def give_head(self, head: FittedHead) -> "Teacher":
        """Let a fitted head give the logits from now on, in place, in the network's dtype and on its device."""
        place = next(self.network.parameters())
        classes, size = head.weight.shape
        self.head = nn.utils.skip_init(nn.Linear, size, classes, device=place.device, dtype=place.dtype)
        self.head.load_state_dict({"weight": head.weight, "bias": head.bias})
        self.head.requires_grad_(False)
        self.class_names = list(head.class_names)
        self.spec = dataclasses.replace(self.spec, head=head.about)
        return self

    def knows(self, class_names: list[str]) -> bool:
        """Whether it gives logits of just these classes, in any order."""
        return self.named_as(class_names) is not None

    def named_as(self, class_names: list[str]) -> list[str] | None:
        """Its classes as these names have them, in the order of its logits; None where they are others."""
        wanted = sorted(class_names)
        return next((names for names in namings(self.class_names or []) if sorted(names) == wanted), None)

    def logit_order(self, class_names: list[str]) -> list[int]:
        """For each of these classes the index of its logit; raises TeacherError where the label space differs."""
        names = self.named_as(class_names)
        if names is None:
            what = f"{self.spec} gives no logits of named classes."
            if self.class_names is not None:
                missing = sorted(set(class_names) - set(self.class_names))
                extra = sorted(set(self.class_names) - set(class_names))
                what = (
                    f"The classes of {self.spec} aren't the data set's: it lacks {some(missing) or 'none'} and has "
                    f"{some(extra) or 'none'} besides."
                )
            raise TeacherError(
                f"{what} What reads logits needs the data set's own label space: `hf-dd distill --fit_head` fits a "
                "head of it on a teacher's features. As a guide there is also --clom cos, which takes any teacher."
            )
        place = {name: index for index, name in enumerate(names)}
        return [place[name] for name in class_names]


def described(spec: TeacherSpec) -> str:
    """A teacher's options in words."""
    if spec.library != "hf_dd":
        return f"{spec.architecture} of {spec.library}"
    return f"{spec.architecture} seed {spec.seed} epoch {spec.epoch}"


@contextlib.contextmanager
def naming(teacher: str) -> Iterator[None]:
    """Put a teacher's name before what is said of it."""
    try:
        yield
    except TeacherError as error:
        raise TeacherError(f"{teacher}: {error}") from error
