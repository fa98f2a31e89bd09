"""What the parts of a record hold, each field by its type; those that some versions didn't write are `NotRequired`."""

from typing import Annotated, Any, NotRequired, TypedDict

from hf_dd.evaluation.row_facts import RowFacts
from hf_dd.teachers.teacher import TeacherSpec


class WhiteningFacts(TypedDict):
    """What a record says of the whitening of its images, see `Whitening.facts`."""

    kind: str
    epsilon: float
    source: str
    digest: str


class DataFacts(TypedDict):
    """What a record says of its source data set, see `provenance.data_record`."""

    name: str
    reference: str
    repo_id: str | None
    revision: str | None
    sha: str | None
    license: str
    class_names: list[str]
    channels: int
    image_size: list[int]
    mean: list[float]
    std: list[float]
    train_images: int
    fingerprint: str | None
    test_split: NotRequired[str]
    statistics: NotRequired[str]
    whitening: NotRequired[WhiteningFacts]


class ProtocolFacts(TypedDict):
    """What a record says of the protocol of its results, see `evaluation.protocols.Protocol`."""

    name: str
    version: int
    epochs: int
    learning_rate: float
    augment: str
    changed: list[str]


class ScoreFacts(TypedDict):
    """A score of results, see `evaluation.results.Score`."""

    name: str
    set: str
    architecture: str
    copy: str
    value: float
    parts: dict[str, float]
    inputs: dict[str, RowFacts]


class StudentFacts(TypedDict):
    """Where the students of a row are published, see `evaluation.results.Results`."""

    repo_id: str
    set: str
    copy: str
    architecture: str
    tags: list[str]


class ResultFacts(TypedDict):
    """What a record says of an evaluation, see `evaluation.results.Results`."""

    protocol: ProtocolFacts
    rows: list[RowFacts]
    hardware: str
    scores: NotRequired[list[ScoreFacts]]
    teachers: NotRequired[list[Annotated[dict[str, Any], TeacherSpec]]]
    majority: NotRequired[float]
    chance: NotRequired[float]
    test_images: NotRequired[int]
    students: NotRequired[list[StudentFacts]]
    tested: NotRequired[dict[str, str]]
    data: NotRequired[str]
    seed: NotRequired[int]
    options: NotRequired[dict[str, Any]]


class DistillationFacts(TypedDict):
    """Of a distillation's options, those that its card names."""

    objective: str
    ipc: int
    iterations: int
    architecture: str
    seed: int
    clom: str
    clom_alpha: float | str


class RunFacts(TypedDict):
    """How a distillation went: `clom_alpha` is what 'auto' came to, `planning_seconds` what its plan took, if any."""

    iterations: int
    seconds: float
    hardware: str
    losses: dict[str, float]
    clom_alpha: NotRequired[float]
    planning_seconds: NotRequired[float]


class ExpertFacts(TypedDict):
    """An expert, see `ExpertPool.lock`."""

    repo_id: str
    architecture: str
    seed: int
    dataset: str
    epochs: list[int]
    shas: list[str]
    seconds: NotRequired[float | None]


class DecodedFacts(TypedDict):
    """The rows that compact ones decode to."""

    factor: int
    images: int
    parquet_sha256: str


class LabelFacts(TypedDict):
    """Soft labels: `kind` is 'mean' or 'each' of `teachers` (commits or digests), or 'own', those of the method."""

    kind: str
    temperature: float
    teachers: list[str]


class CropLabelFacts(TypedDict):
    """Labels of crops, the configuration `labels`.

    Attributes:
        files: sha256 of each, by its place in the folder.
        bytes: of these.
        rows, views: how many, and epochs of them.
        topk, classes: how many of how many classes a row keeps.
        size, interpolation: of the views; (height, width).
        crop, ratio: least and largest share of the image's area, and of width to height.
        flip, mix, mix_alpha: see `nn.views.Views`.
        temperature: 1, of the probabilities whose logarithms are stored.
        seed, seeds: of the run that drew them, and what a row's seed means.
        teachers: whose they are, one `TeacherSpec` each; `teacher_mean` of their probabilities or logits, in
            `teacher_mode`.
    """

    files: dict[str, str]
    bytes: int
    rows: int
    views: int
    topk: int
    classes: int
    size: list[int]
    crop: list[float]
    ratio: list[float]
    flip: bool
    mix: str
    mix_alpha: float
    interpolation: str
    temperature: float
    seed: int
    seeds: str
    teachers: list[Annotated[dict[str, Any], TeacherSpec]]
    teacher_mode: str
    teacher_mean: str


class PairFacts(TypedDict):
    """How much two teachers differ."""

    teachers: list[int]
    cka: float | None
    disagreement: float | None


class DiversityFacts(TypedDict):
    """How much the teachers of a pool differ, see `diversity.measure`."""

    images: int
    cka: float | None
    disagreement: float | None
    pairs: list[PairFacts]


class ImportFacts(TypedDict):
    """Of an import's options, those that its card names."""

    method: str | None
    paper: str | None
    license: str
    factor: int


class OriginFacts(TypedDict):
    """What an imported set was read from."""

    name: str
    format: str
    files: dict[str, str]
    pin: str | None
    images: int


class ReproductionFacts(TypedDict):
    """What `hf-dd reproduce --verify_badge` found, see `comparison.Verdict`."""

    holds: bool
    judged: NotRequired[bool]
    says: str
    hardware: str
    versions: dict[str, str]
