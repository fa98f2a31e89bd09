"""A teacher's run as a folder and as a repository: an epoch is a snapshot, a commit and a tag."""

import contextlib
import json
import logging
import os
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from hf_dd import hub
from hf_dd.artefacts import provenance
from hf_dd.artefacts.records import links_to, read_record, retried, write_record
from hf_dd.artefacts.teacher_record import TeacherRecord
from hf_dd.config import slug
from hf_dd.core import files, json_records
from hf_dd.core.layout import CARD, EPOCHS, RECORD, WEIGHTS, WHITENING, epoch_name, epoch_of
from hf_dd.core.registry import NETWORKS, origins
from hf_dd.data.image_data import ImageData
from hf_dd.errors import HubError, RunError
from hf_dd.nn import networks
from hf_dd.nn.whitening import Whitening
from hf_dd.teachers.locating import load_teacher, locate_locally
from hf_dd.training.loop import Standing
from hf_dd.training.pretraining import Snapshot

logger = logging.getLogger(__name__)

CHECKPOINT = "checkpoint.safetensors"  # of a run that isn't finished: where it stands
NEEDED = ("config.json", WEIGHTS, RECORD, CARD)  # of a commit
FILES = (*NEEDED, WHITENING)


def teacher_name(data: ImageData, architecture: str, seed: int) -> str:
    """The name of a teacher's folder and repository."""
    return f"{slug(data.name)}-{short_name(architecture, seed)}"


def short_name(architecture: str, seed: int) -> str:
    """What tells a teacher of a data set from its others."""
    return f"{slug(architecture)}-seed{seed}"


def write_snapshot(
    folder: Path,
    snapshot: Snapshot,
    data: ImageData,
    training: dict,
    *,
    command: str,
    hardware: str,
    name: str | None = None,
) -> Path:
    """Write one epoch of a teacher (`name`, the folder's if None) as `folder/epoch-N`, whole or not at all."""
    record = TeacherRecord(
        name=name or folder.name,
        architecture=snapshot.architecture,
        seed=snapshot.seed,
        epoch=snapshot.epoch,
        dataset=data.pinned or data.name,
        accuracy=snapshot.accuracy,
        loss=snapshot.loss,
        seconds=snapshot.seconds,
        data=provenance.data_record(data),
        training=training,
        command=command,
        hardware=hardware,
        versions=provenance.versions(),
        plugins=origins([(NETWORKS, snapshot.architecture)]),
    )
    facts: dict[str, Any] = {"class_names": data.class_names, "mean": list(data.mean), "std": list(data.std)}
    facts |= {"whitening": data.whitening.facts()} if data.whitening else {}
    final = folder / epoch_name(snapshot.epoch)
    with files.folder(final) as unfinished:
        networks.save(snapshot.network, unfinished, facts)
        if data.whitening:
            put_whitening(data.whitening, folder, unfinished)
        write_record(unfinished, record)
    return final


def put_whitening(whitening: Whitening, run: Path, folder: Path) -> None:
    """Give an epoch the whitening, as a link to an earlier one's of the run where there is one: it is large."""
    for other in sorted(run.glob(f"{EPOCHS}/{WHITENING}")):
        with contextlib.suppress(OSError):
            os.link(other, folder / WHITENING)
            return
    whitening.save(folder / WHITENING)


def read_teacher(folder: Path) -> TeacherRecord:
    """The record of an epoch of a teacher; raises RunError where there is none."""
    return json_records.as_record(read_record(folder), TeacherRecord, str(folder / RECORD))


def entries_of(folder: Path) -> list[str]:
    """The names of all that a teacher's run writes into its folder: the record first, which says that it is whole."""
    return [RECORD, CHECKPOINT, *(path.name for path in folder.glob(EPOCHS))]


def remove_teacher(folder: Path) -> None:
    """Remove an earlier run's epochs and record, and nothing else that may lie in the folder."""
    for name in entries_of(folder):
        files.remove(folder / name)


def identity_of(data: dict[str, Any], architecture: str, training: dict[str, Any]) -> dict[str, Any]:
    """What a training has to share that goes on with another one, or would give the same."""
    seen = [data["statistics"]] if data.get("statistics") else []
    seen += [f"zca{data['whitening']['epsilon']:g}"] if data.get("whitening") else []
    images = "-".join([data["fingerprint"], *seen]) if seen else data.get("fingerprint")
    return training | {"architecture": architecture, "data": images}


def made_with(folder: Path) -> dict[str, Any] | None:
    """The identity of the run that a folder holds, whole or in part; None where it holds none."""
    for path in sorted(folder.glob(f"{EPOCHS}/{RECORD}")):
        record = read_teacher(path.parent)
        return identity_of(record.data, record.architecture, record.training)
    return (read_checkpoint(folder) or [None])[0]


def write_checkpoint(folder: Path, standing: Standing, seconds: float, identity: dict[str, Any]) -> None:
    """Keep where an unfinished run stands, whole or not at all."""
    about = {"epoch": standing.epoch, "rate": standing.rate, "seconds": seconds, "identity": identity}
    files.write(
        folder / CHECKPOINT, lambda path: save_file(standing.tensors, path, metadata={"about": json.dumps(about)})
    )


def read_checkpoint(folder: Path) -> tuple[dict[str, Any], Standing, float] | None:
    """Whose an unfinished run is, where it stands, and the seconds that it took; None where it doesn't say."""
    try:
        with safe_open(folder / CHECKPOINT, "pt") as file:
            about = json.loads(file.metadata()["about"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}
        return about["identity"], Standing(about["epoch"], about["rate"], tensors), about["seconds"]
    except FileNotFoundError:
        return None
    except (OSError, LookupError, TypeError, ValueError, SafetensorError) as error:
        logger.warning("%s can't be used (%s): the training begins anew.", folder / CHECKPOINT, error)
        return None


def write_run(folder: Path, epochs: Sequence[int], name: str | None = None) -> None:
    """Close a teacher's run folder: which revisions it holds, and which one is the final."""
    revisions = [epoch_name(epoch) for epoch in epochs]
    content = {"kind": "teacher-run", "name": name or folder.name, "revisions": revisions, "final": revisions[-1]}
    files.write_json(folder / RECORD, content)
    close(folder)


def close(folder: Path) -> None:
    """Remove what only a run that isn't finished needs."""
    files.remove(folder / CHECKPOINT)


def push_teacher(
    folder: Path, namespace: str | None = None, private: bool = False, repo_id: str | None = None
) -> hub.Pin:
    """Push a teacher's run: one commit and one tag per kept epoch, then `final`; returns the final's pin.

    The repository is `repo_id`, or called as the run is, under `namespace` or the token's user. Its main is the final
    epoch, whichever was pushed last. A push that was interrupted goes on where it stopped.

    Raises, before anything is sent, RunError or TeacherError where an epoch isn't whole, and hub.Taken where the
    repository holds another run; HubError for what the Hub refuses.
    """
    run = json_records.read_json(folder / RECORD, name=str, revisions=list, final=str)
    revisions = [*(revision for revision in run["revisions"] if revision != run["final"]), run["final"]]
    for revision in revisions:
        require_whole(folder, revision)
    repo_id = repo_id or (f"{namespace}/{run['name']}" if namespace else None)
    retry = ["hf-dd", "push", str(folder)]
    retry += ["--hub_dataset_id", repo_id] if repo_id else []
    retry += ["--hub_private_repo"] if private else []
    try:
        repo_id = hub.full_repo_id(repo_id or run["name"])
        present = hub.require_pushable(repo_id, "model", private=private)
        if is_anothers(folder, revisions, repo_id, present):
            raise anothers(folder, repo_id)
        for revision in revisions:
            if revision not in present:
                with ready(folder / revision, repo_id) as links:
                    message = f"Epoch {epoch_of(revision)} of {run['name']}"
                    done = hub.publish(
                        links, repo_id, "model", files=FILES, message=message, tag=revision, private=private
                    )
                present[revision] = done.pin.sha
        lead_main_to(hub.Pin(repo_id, "final", present[run["final"]]), folder / run["final"], run["name"])
        hub.create_tag(repo_id, "model", "final", present[run["final"]])
    except hub.Taken as error:
        raise anothers(folder, repo_id) from error
    except HubError as error:
        raise retried(error, f"{folder} holds the teacher", f"Retry: {shlex.join(retry)}") from error
    return hub.Pin(repo_id, "final", present[run["final"]])


def anothers(folder: Path, repo_id: str) -> hub.Taken:
    """The error for a repository that holds another run than a folder."""
    return hub.Taken(
        f"{repo_id} holds the weights of another run than {folder}, which lies there as it was: push that to another "
        f"repository by `hf-dd push {shlex.quote(str(folder))} --hub_dataset_id OWNER/NAME`, or delete {repo_id}."
    )


def is_anothers(folder: Path, revisions: Sequence[str], repo_id: str, present: Mapping[str, str]) -> bool:
    """Whether tags of a repository are on other weights than those of a run, whose last revision is the final."""
    there = [revision for revision in revisions if revision in present]
    if "final" in present and present["final"] != present.get(revisions[-1]):
        return True
    return not all(same_weights(hub.Pin(repo_id, name, present[name]), folder / name) for name in there)


def is_pushed(folder: Path, namespace: str | None) -> bool:
    """Whether a repository has all epochs of a run by their tags, and the final one's weights on its main."""
    run = json_records.read_json(folder / RECORD, name=str, revisions=list, final=str)
    repo_id = hub.full_repo_id(run["name"], namespace)
    tags, branches = hub.refs(repo_id, "model")
    if not {*run["revisions"], "final"} <= tags.keys() or "main" not in branches:
        return False
    return branches["main"] == tags["final"] or same_weights(
        hub.Pin(repo_id, "main", branches["main"]), folder / run["final"]
    )


@contextlib.contextmanager
def ready(epoch: Path, repo_id: str) -> Iterator[Path]:
    """A folder of an epoch's files as they are pushed, whose card names the repository."""
    with links_to(epoch, FILES) as links:
        files.write_text(links / CARD, read_teacher(epoch).card(hub.endpoint(), repo_id))
        yield links


def lead_main_to(pin: hub.Pin, epoch: Path, name: str) -> None:
    """Let the main of a repository hold an epoch's files, where an earlier epoch was pushed after it."""
    main = hub.resolve(pin.repo_id)
    if main.sha != pin.sha and not same_weights(main, epoch):
        with ready(epoch, pin.repo_id) as links:
            message = f"Epoch {epoch_of(epoch.name)} of {name} again, which is its final one"
            hub.push_files(links, pin.repo_id, "model", FILES, message, None, False)


def require_all_pushable(names: Iterable[str], namespace: str | None, private: bool) -> None:
    """Raise HubError where runs of these names couldn't be pushed, see `hub.require_pushable`."""
    for name in names:
        hub.require_pushable(hub.full_repo_id(name, namespace), "model", private=private)


def require_whole(folder: Path, revision: str) -> None:
    """Raise RunError or TeacherError where an epoch of a teacher's run isn't there whole, or doesn't load."""
    for name in NEEDED:
        if not (folder / str(revision) / name).is_file():
            raise RunError(f"{folder} isn't whole: its {revision} lacks {name}. Train it anew, or push a whole copy.")
    read_teacher(folder / revision)
    load_teacher(*locate_locally(folder / revision))


def same_weights(pin: hub.Pin, folder: Path) -> bool:
    """Whether the weights at a pin are those of a folder."""
    pulled = hub.pull(pin, files=[WEIGHTS]) / WEIGHTS
    return pulled.is_file() and pulled.read_bytes() == (folder / WEIGHTS).read_bytes()
