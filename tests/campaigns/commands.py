"""Tiny commands of every kind on digits, and what has to be the same however they were disturbed."""

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.campaigns.campaign import Ended, run

TRAINED = ("--dataset", "digits", "--architectures", "MLP", "--batch_size", "512")
STUDENTS = ("--eval_students", "1", "--eval_epochs", "1", "--eval_architectures", "MLP", "--eval_copies", "float")
SMALL = ("--dataset", "digits", "--ipc", "1", "--architecture", "MLP", "--real_batch_size", "16")
DISTILLED = ("distill", *SMALL, "--iterations", "6", "--save_steps", "2", *STUDENTS, "--baselines", "none")
STUDY = """\
base: {dataset: digits, ipc: 1, iterations: 4, save_steps: 2, architecture: MLP, real_batch_size: 16, eval_students: 1,
  eval_epochs: [1], eval_copies: [float], baselines: [none], eval_architectures: [MLP]}
teachers:
  early: {dataset: digits, architectures: [MLP], epochs: 1, batch_size: 512}
cells:
  dm: {}
  guided: {clom: ce, teachers: [teachers/early/digits-mlp-seed0@epoch-1]}
  again: {set_of: guided, eval_epochs: [2]}
comparisons: {gain: [[guided, dm]]}
"""
TIMES = ("seconds", "teaching_seconds", "command", "commands", "output_dir", "pushed", "overwrite_output_dir")
TIMES += ("versions", "resume_from_checkpoint", "hub_dataset_id", "distillation", "hardware", "run_name")


@dataclass(frozen=True)
class Kind:
    """A kind of command.

    Attributes:
        name: of it.
        arguments: of `hf-dd`, for the folder that it is to write.
        result: what it made there, as strings by names, without times and places.
        old: what lies in the folder before, if anything.
        cost: how many of its tries a campaign leaves out for one that it makes.
    """

    name: str
    arguments: Callable[[Path], Sequence[object]]
    result: Callable[[Path], dict[str, str]]
    old: Path | None = None
    cost: int = 0

    def prepare(self, folder: Path) -> None:
        """Put there what lies there before."""
        if self.old:
            shutil.copytree(self.old, folder)


def kinds(work: Path) -> list[Kind]:
    """The commands, over what is made for them in a folder; those that push need a Hub's environment."""
    work.mkdir(parents=True)
    foreign(work / "foreign.pt")
    (work / "study.yaml").write_text(STUDY)
    teachers = work / "teachers"
    done("pretrain", *TRAINED, "--epochs", "2", "--keep_epochs", "1", "2", "--output_dir", teachers, work=work)
    done(*DISTILLED, "--seed", "7", "--output_dir", work / "old", work=work)
    done("import", work / "foreign.pt", "--dataset", "digits", "--output_dir", work / "imported", work=work)
    shutil.copytree(teachers, work / "former")
    teacher = teachers / "digits-mlp-seed0"
    guided = ("--clom", "ce", "--teachers", f"{teacher}@epoch-2")
    pretrain = ("pretrain", *TRAINED, "--epochs", "3", "--keep_epochs", "0", "2")
    imported = ("import", work / "foreign.pt", "--dataset", "digits", "--method", "DC")
    searched = (
        "pool",
        "select",
        *SMALL,
        "--teachers",
        f"{teacher}@epoch-1",
        f"{teacher}@epoch-2",
        "--iterations",
        "4",
    )
    searched += ("--first_rung", "2", "--save_steps", "2", "--clom_alpha", "10", *STUDENTS[2:6])
    used = ("use", "privacy", work / "old", *STUDENTS[:4], "--eval_architecture", "MLP", "--baselines", "random")
    over = "--overwrite_output_dir"
    return [
        Kind("distill", lambda folder: [*DISTILLED, *guided, "--output_dir", folder], fingerprint),
        Kind("pretrain", lambda folder: [*pretrain, "--output_dir", folder], fingerprint),
        Kind("import", lambda folder: [*imported, "--output_dir", folder], fingerprint, cost=2),
        Kind(
            "evaluate",
            lambda folder: ["evaluate", folder, *STUDENTS, "--baselines", "random"],
            fingerprint,
            work / "old",
        ),
        Kind("pool select", lambda folder: [*searched, "--output_dir", folder], traced),
        Kind("distill over", lambda folder: [*DISTILLED, over, "--output_dir", folder], fingerprint, work / "old"),
        Kind(
            "import over", lambda folder: [*imported, over, "--output_dir", folder], fingerprint, work / "imported", 2
        ),
        Kind("pretrain over", lambda folder: [*pretrain, over, "--output_dir", folder], fingerprint, work / "former"),
        Kind("push", lambda folder: ["push", folder, "--hub_dataset_id", repo_of(folder)], pushed, work / "old"),
        Kind(
            "compare", lambda folder: ["compare", work / "old", *STUDENTS, "--output_dir", folder], fingerprint, cost=1
        ),
        Kind("use privacy", lambda folder: [*used, "--output_dir", folder], fingerprint, cost=1),
        Kind("study", lambda folder: ["study", work / "study.yaml", "--output_dir", folder], reported, cost=2),
    ]


def done(*arguments: object, work: Path) -> None:
    """Run a command that has to succeed."""
    ended = run(arguments, work, cache=work / "cache")
    if ended.code != 0:
        raise RuntimeError(ended.output)


def foreign(path: Path) -> None:
    """A set as other tools release them: three images of each digit, and their labels."""
    import torch
    from sklearn.datasets import load_digits

    digits = load_digits()
    chosen = [index for digit in range(10) for index in (digits.target == digit).nonzero()[0][:3]]
    images = torch.tensor(digits.images[chosen] / 16, dtype=torch.float32).unsqueeze(1)
    torch.save([images, torch.tensor(digits.target[chosen])], path)


def repo_of(folder: Path) -> str:
    """Where the set of a folder is pushed."""
    return f"local/{folder.parent.name}"


def digest(content: bytes) -> str:
    """A digest of bytes."""
    return hashlib.sha256(content).hexdigest()[:16]


def plain(value: Any) -> Any:
    """A record without times and places."""
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items() if key not in TIMES}
    return [plain(each) for each in value] if isinstance(value, list) else value


def fingerprint(folder: Path) -> dict[str, str]:
    """Bytes of rows, previews and weights, and records without times, of all artefacts below a folder."""
    found = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = str(path.relative_to(folder))
        if "checkpoints" in path.parts or "locks" in path.parts:
            continue
        if path.suffix in (".parquet", ".png", ".safetensors"):
            found[name] = digest(path.read_bytes())
        elif path.suffix == ".json":
            text = json.dumps(plain(json.loads(path.read_text())), sort_keys=True)
            found[name] = digest(text.replace(str(folder), "FOLDER").replace(folder.name, "FOLDER").encode())
        elif path.name not in ("README.md", "report.md"):  # they tell seconds
            found[name] = ""
    return found


def traced(folder: Path) -> dict[str, str]:
    """What a search found."""
    trace = json.loads((folder / "trace.json").read_text())
    tried = sorted((each["pool"], json.dumps(each["scores"]), each["finished"]) for each in trace["tried"])
    chosen = (folder / "pool.json").read_text() if (folder / "pool.json").is_file() else ""
    return {"tried": json.dumps(tried), "best": json.dumps(trace["best"]), "pool": chosen}


def reported(folder: Path) -> dict[str, str]:
    """The cells of a study, and its report."""
    found = {
        name: value
        for name, value in fingerprint(folder).items()
        # Which options a cell was evaluated by after its run, where a kill came between the two: no result.
        if name.startswith(("cells", "teachers")) and not name.endswith(".evaluation.json")
    }
    content = plain(json.loads((folder / "report.json").read_text()))
    content.pop("pools", None)
    return found | {"report": json.dumps(content, sort_keys=True).replace(str(folder), "FOLDER")}


def pushed(folder: Path) -> dict[str, str]:
    """What lies on the Hub under the last tag, and whether that is the branch's head too."""
    from huggingface_hub import HfApi

    refs = HfApi().list_repo_refs(repo_of(folder), repo_type="dataset")
    tags = {tag.name: tag.target_commit for tag in refs.tags}
    said = json.loads((folder / "hf_dd.json").read_text())["pushed"]
    files = HfApi().list_repo_tree(repo_of(folder), repo_type="dataset", revision=said["tag"], recursive=True)
    found = {each.path: each.blob_id for each in files if hasattr(each, "blob_id")}
    kept = {name: value for name, value in found.items() if name.endswith((".parquet", ".png"))}
    head = next(branch.target_commit for branch in refs.branches if branch.name == "main")
    return kept | {"files": ", ".join(sorted(found)), "head": str(head == tags[said["tag"]])}


def problems(folder: Path) -> list[str]:
    """What is wrong with folders that claim to be finished, which those with a record do."""
    found = []
    for path in folder.rglob("hf_dd.json"):
        if ".unfinished-" in str(path):
            continue
        record, place = json.loads(path.read_text()), path.parent
        needed = {"distilled-set": ["README.md", "preview.png"], "imported-set": ["README.md", "preview.png"]}
        needed |= {"teacher": ["README.md", "config.json", "model.safetensors"]}
        needed |= {"teacher-run": [f"{revision}/hf_dd.json" for revision in record.get("revisions", [])]}
        found += [f"{place} lacks {name}" for name in needed[record["kind"]] if not (place / name).is_file()]
        if "parquet_sha256" in record:
            rows = place / "data/train-00000-of-00001.parquet"
            if not rows.is_file() or hashlib.sha256(rows.read_bytes()).hexdigest() != record["parquet_sha256"]:
                found.append(f"{rows} isn't what the record of {place} says")
    return found


def leftovers(folder: Path) -> list[str]:
    """What wasn't removed though it isn't whole."""
    left = [path.relative_to(folder) for path in folder.rglob(".unfinished*")]
    return sorted(str(path) for path in left if "cache" not in path.parts)  # which `hf-dd cache rm` looks after


def again(kind: Kind, folder: Path, cache: Path) -> Ended:
    """The same command once more; where it names an option to go on by, with that one."""
    ended = run(kind.arguments(folder), folder.parent, cache=cache)
    for way in (("--resume_from_checkpoint", "latest"),):
        if ended.clear and "Go on with it by " + " ".join(way) in ended.output:
            ended = run([*kind.arguments(folder), *way], folder.parent, cache=cache)
    return ended
