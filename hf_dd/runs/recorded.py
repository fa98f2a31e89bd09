"""From a record to the options of the run that makes the same again.

A record is a stranger's: of its command only options are read (`config.reproduction`), no code is imported because it
names some, and whose pickles are read is for the user to say.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hf_dd import hub
from hf_dd.artefacts import teacher_folder
from hf_dd.artefacts.distilled_folder import DISTILLED_FILES, record_of
from hf_dd.artefacts.record import Record
from hf_dd.artefacts.records import read_record
from hf_dd.artefacts.set_records import DistilledRecord, ImportedRecord
from hf_dd.artefacts.teacher_record import TeacherRecord
from hf_dd.config import DistillConfig, ImportConfig, PretrainConfig, parse_key_values
from hf_dd.config.base import Options, is_default, named
from hf_dd.config.reproduction import ReproduceConfig, read_command
from hf_dd.core.layout import RECORD
from hf_dd.core.registry import NETWORKS, OBJECTIVES, PROTOCOLS, Registry
from hf_dd.distillation.checks import preflight
from hf_dd.distillation.distiller import DECIDING
from hf_dd.errors import HubError, RunError
from hf_dd.teachers import pins
from hf_dd.teachers.locating import locate_locally
from hf_dd.version import __version__


@dataclass(frozen=True)
class Source:
    """What is to be made again.

    Attributes:
        reference: as it was asked for.
        place: where that leads.
        folder: with its files; None where only its record is at hand, as of the cells of a study on the Hub.
        record: what it says of itself.
        teaching: how its own teachers are trained, each grid with the folder that they were trained into.
    """

    reference: str
    place: hub.Place
    folder: Path | None
    record: Record
    teaching: tuple[PretrainConfig, ...] = ()

    @property
    def at(self) -> str | None:
        """Its commit, or None in a folder."""
        return self.place.pin and self.place.pin.sha

    def beneath(self, reference: str, root: Path) -> str | None:
        """Where one of its own teachers will lie once it is trained again; None for a teacher that isn't its own."""
        for config in self.teaching:
            if reference.startswith(f"{config.output_dir}/"):
                return str(grid_folder(root, config) / reference.removeprefix(f"{config.output_dir}/"))
        return None


def grid_folder(root: Path, grid: PretrainConfig) -> Path:
    """Where a grid of a set's own teachers is trained again."""
    return root / "teachers" / Path(grid.output_dir).name


def located(reference: str, also: Sequence[str] = ()) -> tuple[hub.Place, Path]:
    """Where a set, a teacher or a study lies, and the folder with its files; `also` are those of a study.

    A set goes before a teacher of the same name. Raises HubError where there is neither.
    """
    place = hub.find(reference)
    if place is None:
        raise HubError(
            f"There is no set, teacher or study {reference!r}: give a folder, or owner/name or owner/name@revision of "
            "the Hub."
        )
    if place.local:
        return place, Path(place.path)
    of_set = dataclasses.replace(place, repo_type="dataset")
    try:
        place = of_set if of_set.pin else place
    except HubError as error:
        try:
            place.pin  # noqa: B018  a teacher, then
        except HubError:
            raise error from None
        return place, place.folder(teacher_folder.FILES)
    return place, place.folder([*DISTILLED_FILES, *also])


def opened(reference: str, place: hub.Place, folder: Path) -> Source:
    """The set or teacher that lies in a folder; raises RunError where that has no record, or one of something else."""
    if not (folder / RECORD).is_file():
        raise RunError(
            f"{reference} has no {RECORD}, so that it can't be made again: it takes the data set at its commit, the "
            "method with its options and seed, the teachers at theirs and the versions, which is what that file of a "
            "set of hf-dd says. `hf-dd import` brings a set of another tool into this form."
        )
    content = read_record(folder)
    try:
        if content.get("kind") in ("teacher-run", "teacher"):
            if place.local:
                folder = locate_locally(folder, place.revision)[1]
            return Source(reference, place, folder, teacher_folder.read_teacher(folder))
        record = record_of(content, folder / RECORD)
        return Source(reference, place, folder, record, own_teachers(record))
    except RunError as error:
        wrote = content["versions"].get("hf-dd") if isinstance(content.get("versions"), dict) else None
        raise RunError(f"{error} It was written by hf-dd {wrote}, and this is {__version__}.") from error


def own_teachers(record: Record) -> tuple[PretrainConfig, ...]:
    """How a set's own teachers are trained, as its record says."""
    found = tuple(read_command(command, made_by(record)) for command in getattr(record, "before", []))
    for config in found:
        if not isinstance(config, PretrainConfig):
            raise RunError(f"The record of {record.name} is no record of hf-dd: its own teachers aren't pre-trained.")
        require_installed(config, record)
    return found


def made_by(record: Record) -> str:
    """The version that wrote a record, in words."""
    return f"hf-dd {record.versions.get('hf-dd', 'of an unknown version')}"


def repetition_of(source: Source, options: ReproduceConfig, root: Path, folder: Path) -> Options:
    """The options of the run that makes it again in `folder`, with every input at its commit.

    Its own teachers are below `root`. Students come after the images were compared, unless only they use teachers.
    """
    record = source.record
    if not record.command:
        raise RunError(
            f"{source.reference} can't be made again: no command repeats it, as its data set or a teacher of it was "
            f"an object in memory. It is of {record.data['name']} (fingerprint {record.data['fingerprint']}): save "
            "that where a reference names it, and make the set from there."
        )
    config = read_command(record.command, made_by(record))
    require_installed(config, record)
    if record.data["sha"]:
        config.dataset = record.data["reference"]
    again = {"dataset": options.dataset or config.dataset, "output_dir": str(folder)}
    match record, config:
        case DistilledRecord(), DistillConfig():
            specs = pins.specs_of(record.teachers)
            teachers = [source.beneath(spec.repo_id, root) or spec.reference for spec in specs]
            again |= {"teachers": teachers, "trusted_teachers": options.trusted_teachers}
            starts = [source.beneath(spec.repo_id, root) or spec.reference for spec in pins.specs_of(record.starts)]
            again |= {"networks_from": starts} if starts else {}
            again |= {"teacher_tags": [], "teacher_pool": None} if teachers else {}
            experts = [expert["repo_id"] for expert in record.experts]
            again |= {"experts": [source.beneath(name, root) or name for name in experts]}
            if PROTOCOLS.find(config.eval_protocol).labels != "online":
                again["eval_students"] = 0
            config = dataclasses.replace(config, **again | of_settings(config, record))
            preflight(config)
            return config
        case ImportedRecord(), ImportConfig():
            pinned = {"foreign_set": record.origin["pin"]} if record.origin["pin"] else {}
            return dataclasses.replace(config, **again, **pinned)
        case TeacherRecord(), PretrainConfig():
            own = {"architectures": [record.architecture], "teacher_seeds": [record.seed]}
            known = {name: value for name, value in record.training.items() if name in named(PretrainConfig, "result")}
            known.pop("seed", None)  # the teacher's own
            return dataclasses.replace(config, **again, **own, **known, keep_epochs=[record.epoch])
    raise RunError(
        f"The record of {source.reference} contradicts itself: it is of a {record.kind}, and its command is "
        f"{record.command:.80}"
    )


def of_settings(config: DistillConfig, record: DistilledRecord) -> dict[str, Any]:
    """What an earlier version took for what its command doesn't give; raises RunError where both say different things.

    The options on record have all values, the command those that weren't defaults then.
    """
    settings, roles = record.settings, (*DECIDING, "labels")
    known = {each.name: each for each in dataclasses.fields(config)}
    for name in named(config, *roles):
        given = getattr(config, name)
        if not is_default(known[name], given) and settings.get(name, given) != given:
            raise RunError(
                f"The record of {record.name} contradicts itself: --{name} is {given!r:.80} in its command, and "
                f"{settings[name]!r:.80} in its options."
            )
    objective, settings = OBJECTIVES.find(config.objective), settings_of(record, config.objective)
    unused = dict.fromkeys(record.settings.keys() - settings.keys())
    filled = objective.published.filled_in(dataclasses.replace(config, **unused))
    found = {
        name: settings[name]
        for name in named(config, *roles)
        if settings.get(name) is not None and settings[name] != filled[name]
    }
    if "objective_options" in found:  # of a version that knew no published values of the objective's own
        words = parse_key_values(found["objective_options"])
        own = {each.name: each.default for each in dataclasses.fields(objective.Options)}
        found["objective_options"] = [f"{key}={value}" for key, value in (own | words).items()]
    return found | unused


def settings_of(record: DistilledRecord, objective: str) -> dict[str, Any]:
    """The options on record but for the augmentation of a method that has none, which older versions let be given."""
    unused = () if OBJECTIVES.find(objective).published.augmenting else ("augment",)
    return {name: value for name, value in record.settings.items() if name not in unused}


def require_installed(config: Options, record: Record) -> None:
    """Raise ConfigError where a record names code that isn't installed: none is imported because a file says so."""
    for each in dataclasses.fields(config):
        registry, value = each.metadata["choices"], getattr(config, each.name)
        if isinstance(registry, Registry) and value is not None:
            for name in value if isinstance(value, list) else [value]:
                registry.installed(name)
    students = list(getattr(config, "eval_architectures", []))
    if results := getattr(record, "results", None):
        PROTOCOLS.installed(results["protocol"]["name"])
        students += [row["architecture"] for row in results["rows"]]
    for name in students:
        if ":" in name:
            NETWORKS.installed(name)
