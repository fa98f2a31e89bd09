"""What a use is tried on, a distilled set beside the data that it was made of, and what every use leaves."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from accelerate.utils import gather_object
from torch import Tensor, nn

from hf_dd import hub
from hf_dd.artefacts import provenance
from hf_dd.artefacts.distilled_folder import load_distilled
from hf_dd.config import EvaluationConfig, slug
from hf_dd.config.uses import UseConfig
from hf_dd.core import files
from hf_dd.core.layout import RESULTS
from hf_dd.core.machine import hardware
from hf_dd.core.processes import by_main_process, new_accelerator, require_writable
from hf_dd.core.progress import Phase, over
from hf_dd.core.registry import NETWORKS, PROTOCOLS
from hf_dd.core.text import code, ipc_in_words, markdown
from hf_dd.data.batches import Images, in_chunks
from hf_dd.data.image_data import ImageData, load_data
from hf_dd.evaluation.candidates import Candidate, baseline, candidates_of
from hf_dd.evaluation.evaluation import Evaluation
from hf_dd.evaluation.learners import Job
from hf_dd.runs.evaluation_inputs import own_learning_rate, require_unseen, source_of
from hf_dd.synthetic.coresets import Ipc
from hf_dd.synthetic.distilled_set import DistilledSet

Item, Done = TypeVar("Item"), TypeVar("Done")


@dataclass(frozen=True)
class Subject:
    """A distilled set on the data that it was made of.

    Attributes:
        use: the command's name.
        config: its options.
        name: of the set.
        distilled: its images.
        record: its `hf_dd.json`, empty if it has none.
        own: the copy of it that students train on.
        evaluation: trains students on the data under the protocol.
    """

    use: str
    config: UseConfig
    name: str
    distilled: DistilledSet
    record: dict[str, Any]
    own: Candidate
    evaluation: Evaluation

    @classmethod
    def load(cls, use: str, config: UseConfig) -> "Subject":
        """Read the set and its data.

        Raises RunError where the results couldn't be written, HubError or DataError where they can't be read or don't
        fit each other, ConfigError for a set without a record whose data aren't named, and an unknown architecture.
        """
        if architecture := getattr(config, "eval_architecture", None):
            NETWORKS.find(architecture, "--eval_architecture")
        accelerator = new_accelerator(config.mixed_precision)
        require_writable(place_of(use, config))
        name, distilled, record = load_distilled(config.set)
        source = source_of(config, config.set, record)
        data = load_data(source, distilled.whitening).to(accelerator.device)
        require_unseen(name, record, data, source)
        changes = {"epochs": config.eval_epochs, "augment": config.eval_augment}
        protocol = PROTOCOLS.find(config.eval_protocol)
        protocol = protocol.with_changes(**{key: value for key, value in changes.items() if value is not None})
        (own,) = candidates_of(name, distilled, data, [config.eval_copy], own_learning_rate(name, record))
        protocol = protocol.suited(EvaluationConfig(eval_augment=config.eval_augment), data, accelerator.autocast)
        evaluation = Evaluation(data, protocol, seed=config.seed, accelerator=accelerator)
        evaluation.targets(own, protocol)
        return cls(use, config, name, distilled, record, own, evaluation)

    @property
    def data(self) -> ImageData:
        """The set's source, on the device."""
        return self.evaluation.data

    def real_images(self, kind: str, ipc: Ipc | None = None, data: ImageData | None = None) -> Candidate:
        """Real images of a kind: as many of each class as the set has of it, if not told."""
        ipc = None if kind == "full" else self.own.ipc if ipc is None else ipc
        return baseline(kind, data or self.data, ipc, self.config.seed, self.evaluation.accelerator.autocast)

    def spread(self, what: str, items: Sequence[Item], work: Callable[[Item], Done]) -> list[Done]:
        """What `work` makes of each item, shared out among the processes; each of them returns all."""
        accelerator = self.evaluation.accelerator
        places = range(accelerator.process_index, len(items), accelerator.num_processes)
        done = []
        for place in over(places, what, len(places), "student"):
            done.append((place, work(items[place])))
        found = dict(gather_object(done))
        return [found[place] for place in range(len(items))]

    def trained(self, candidate: Candidate, architecture: str, student: int, share: float = 1.0) -> nn.Module:
        """A student, trained as an evaluation would train it; `share` is how much it is of an item of `spread`."""
        protocol = self.evaluation.options(candidate, self.evaluation.protocol)[0]
        with Phase(f"{candidate.name} student {student}", protocol.epochs, "epoch", share=share) as phase:
            job = Job(candidate, architecture, protocol)
            ((network,), _) = self.evaluation.learners.fitted(job, [student], phase.update)
        return network

    @torch.no_grad()
    def logits(self, network: nn.Module, architecture: str, images: Images) -> Tensor:
        """Logits of a student of an architecture in eval mode, float32 (N, classes), on the CPU."""
        kind, found = self.evaluation.students(architecture), []
        network.eval()
        for _, chunk in in_chunks(kind.tested(images)):
            with self.evaluation.accelerator.autocast():
                found.append(network(kind.prepare(chunk)).float().cpu())
        return torch.cat(found)

    def write(self, results: dict[str, Any], title: str, parts: Sequence[str], picture: Any = None) -> Path:
        """Write `results.json`, with what it was made by, and `results.md`; returns their folder.

        Args:
            results: JSON-able; their `headlines` are what was found in its shortest form, pairs of what and how much.
            title: of the text.
            parts: of the text below the headlines, in Markdown.
            picture: a PIL image to lie beside them as `neighbours.png`.
        """
        config, accelerator = self.config, self.evaluation.accelerator
        folder = place_of(self.use, config)
        place = hub.find(config.set, "dataset")
        reference = config.set if place.local else place.pin.reference
        pins = provenance.pinned(config, self.data) | {"set": reference}
        if not config.dataset:  # the record of the set, at its commit, names it
            pins.pop("dataset", None)
        about = {
            "use": self.use,
            "command": provenance.command_line(f"use {self.use}", config, accelerator.num_processes, pins),
            "code": f"hf-dd {provenance.versions()['hf-dd']}",
            "hardware": hardware(accelerator),
            "versions": provenance.versions(),
            "set": {
                "name": self.name,
                "reference": reference,
                "copy": self.own.copy,
                "ipc": ipc_in_words(self.own.ipc),
                "distilled_by": self.record.get("command"),
            },
            "data": {key: provenance.data_record(self.data)[key] for key in ("name", "reference", "fingerprint")},
            "protocol": self.evaluation.protocol.as_dict(),
        }
        found = "\n".join(f"- {markdown(what)}: {markdown(much)}" for what, much in results["headlines"])
        made = f"Made by {code(about['command'])}: {about['code']}, on {about['hardware']}."
        if self.record.get("command"):
            made += f" The set by {code(self.record['command'])}."
        text = "\n\n".join([f"# {markdown(title)}", found, *parts, made]) + "\n"

        def keep() -> None:
            with files.claimed(folder):
                if picture is not None:
                    files.write(folder / "neighbours.png", lambda path: picture.save(path, format="PNG"))
                files.write_json(folder / RESULTS, about | results)
                files.write_text(folder / "results.md", text)

        by_main_process(keep)
        return folder


def place_of(use: str, config: UseConfig) -> Path:
    """The folder that a use writes."""
    return Path(config.output_dir or f"outputs/use-{use}-{slug(config.set)}")
