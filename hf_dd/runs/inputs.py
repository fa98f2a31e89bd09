"""The inputs that a record names: whether each is still there, loads, and is what it was."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from hf_dd import hub
from hf_dd.artefacts import provenance, rows
from hf_dd.artefacts.comparison import Check, Difference, versions_apart
from hf_dd.artefacts.record import Record
from hf_dd.artefacts.set_records import ImportedRecord, SetRecord
from hf_dd.artefacts.teacher_record import TeacherRecord
from hf_dd.config import DataConfig, ImportConfig
from hf_dd.config.base import Options, part
from hf_dd.core.layout import WEIGHTS, epoch_name, epoch_of
from hf_dd.core.registry import PROTOCOLS
from hf_dd.data.image_data import load_data
from hf_dd.errors import DataError, HfDdError
from hf_dd.importing.formats import read_foreign
from hf_dd.runs.recorded import Source
from hf_dd.teachers import pins


def checked(source: Source, run: Options) -> Iterator[Check]:
    """Every input that a record names: still there, loads, and is what it was."""
    yield attempt(f"the files of {source.reference}", lambda: require_own_files(source))
    yield attempt(f"data set {run.dataset}", lambda: require_data(run, source.record))
    for pin, error in pins.verify(pins.Lock(source.reference, list(inputs_of(source))), trusted_by(run)):
        yield Check(str(pin), str(error or ""))
    if isinstance(run, ImportConfig):
        yield attempt(f"set {run.foreign_set}", lambda: require_foreign(run, source.record))


def trusted_by(run: Options) -> Sequence[str]:
    """The teachers whose pickles and code a run may use."""
    return getattr(run, "trusted_teachers", [])


def attempt(what: str, act: Callable[[], object]) -> Check:
    """A check that fails by what an error of `act` says."""
    try:
        act()
    except HfDdError as error:
        return Check(what, str(error))
    return Check(what)


def require_own_files(source: Source) -> None:
    """Raise an error where the published files aren't those of their record, or where their tag was moved."""
    place, record = source.place, source.record
    if place.pin and place.revision and place.revision in hub.tags(place.path, place.repo_type):
        pushed = getattr(record, "pushed", None) or {}
        before = pushed.get("tag") if pushed.get("repo_id") == place.path else None
        if isinstance(record, TeacherRecord) and epoch_of(place.revision) is not None:
            before = epoch_name(record.epoch)
        if before not in (None, place.revision):
            raise DataError(
                f"the tag {place.revision} is on a commit that was pushed as {before}: it was moved. Name the one "
                f"that you mean: {place.path}@{before}, or a commit such as {place.path}@{place.pin.sha}."
            )
    if source.folder is None:
        return
    if isinstance(record, SetRecord):
        if not record.parquet_sha256:
            raise DataError("the record has no digest of the rows, so that nothing says whether these are they.")
        rows.require_rows(dataclasses.replace(place, path=str(source.folder), local=True), vars(record))
    elif not (source.folder / WEIGHTS).is_file():
        raise DataError(f"there is no {WEIGHTS}.")


def require_data(run: Options, record: Record) -> None:
    """Raise an error where the data set can't be read, or isn't the one on record."""
    as_it_is = part(run, DataConfig) | {"statistics": None, "zca": None}
    try:
        here, there = load_data(DataConfig(**as_it_is)).fingerprint, record.data["fingerprint"]
    except HfDdError as error:
        if record.data.get("sha"):  # of the Hub: a folder isn't what was asked for
            raise
        raise DataError(f"{error} If its images lie in another folder here, say so: --dataset FOLDER.") from error
    if there and here != there:
        raise DataError(f"its images, labels or class names aren't those on record (fingerprint {there}, now {here}).")


def require_foreign(run: ImportConfig, record: ImportedRecord) -> None:
    """Raise an error where the files of a foreign set aren't those that were imported."""
    found = read_foreign(run).files
    if differing := [name for name, digest in record.origin["files"].items() if found.get(name) != digest]:
        raise DataError(f"the content of {', '.join(differing)} isn't what was imported.")


def inputs_of(source: Source) -> Iterator[hub.Pin]:
    """The teachers, backbones and epochs of experts that a record pins, but for those that it trains itself."""
    record, found = source.record, {}
    results = getattr(record, "results", None) or {}
    own = [*getattr(record, "teachers", []), *getattr(record, "starts", [])]
    entries = [*own, *results.get("teachers", [])]
    for spec in pins.specs_of({key: entry[key] for key in entry if key != "bytes"} for entry in entries):
        if source.beneath(spec.repo_id, Path()) is None:
            found[spec.reference] = spec
    for row in results.get("rows", []):
        if row.get("backbone"):
            place = hub.find(row["architecture"])
            name, revision = (place.path, place.revision or "main") if place else (row["architecture"], "main")
            pin = hub.Pin(name, revision, row["backbone"])
            found.setdefault(pin.reference, pin)
    for expert in getattr(record, "experts", []):
        if source.beneath(expert["repo_id"], Path()) is not None:
            continue
        for epoch, sha in zip(expert["epochs"], expert["shas"], strict=True):
            local = sha.startswith(hub.DIGEST)
            name = f"{expert['repo_id']}/{epoch_name(epoch)}" if local else expert["repo_id"]
            found[f"{name}@{sha}"] = hub.Pin(name, epoch_name(epoch), sha)
    yield from found.values()


def moved(source: Source) -> Iterator[str]:
    """A line for each input whose revision names another commit by now."""
    for pin in inputs_of(source):
        if pins.moved(pin):
            sha = hub.digits(pin.sha)
            yield f"{pin.repo_id}@{pin.revision} moved since: the commit on record, {sha}, is what is used"


def differences(record: Record, here: str) -> Iterator[Difference]:
    """How this machine differs from the one on record: versions, hardware, the protocol's version."""
    yield from versions_apart(record.versions, provenance.versions())
    there = record.hardware if isinstance(record, TeacherRecord) else getattr(record, "run", {}).get("hardware", here)
    if there != here:
        yield Difference("hardware", there, here)
    if results := getattr(record, "results", None):
        name, version = results["protocol"]["name"], results["protocol"]["version"]
        if (now := PROTOCOLS.installed(name).version) != version:
            yield Difference(f"protocol {name}", f"version {version}", f"version {now}")
