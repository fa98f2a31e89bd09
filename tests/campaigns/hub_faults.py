"""Faults of the Hub: one request of a command is answered wrongly, once or always; then the same is tried without.

A command ends in its right result or in one clear line; what lies in its folder is whole and tells of no push that
isn't there; and the same command, or the one that the message names, succeeds afterwards.
"""

import contextlib
import hashlib
import io
import itertools
import json
import os
import random
import re
import shlex
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.campaigns import campaign
from tests.campaigns.campaign import Ended, Outcome, Try, main

FAULTS = [
    *(f"status:{status}" for status in (500, 503, 403, 404, 409, 412, 429, 401, 400)),
    *("lost:500", "lost:504", "drop", "dropped", "cut", "truncated", "flip", "etag", "loop"),
    *("body:", "body:{}", "body:[]", "body:null", "body:<html>log in</html>", 'body:{"error": "no"}', "body:[1, 2"),
]
SMALL = ["--ipc", "1", "--iterations", "2", "--real_batch_size", "4", "--architecture", "MLP"]
SMALL += ["--architecture_options", "width=8", "--eval_students", "0"]
STUDENTS = ["--eval_students", "1", "--eval_epochs", "1", "--eval_architectures", "MLP", "--baselines", "none"]
DATA, TEACHER, SET = "local/tiny", "local/teacher", "local/set"


@dataclass
class World:
    """A Hub behind the proxy, with a data set, a teacher and a distilled set on it; and their folders.

    Attributes:
        work: where all of it lies.
        hub: the address of the Hub itself.
        proxy: that of the proxy.
        slug: of a pool of the teacher's two epochs.
    """

    work: Path
    hub: str
    proxy: str
    slug: str = ""

    def arm(self, **plan: object) -> None:
        """Let a fault hit a request to come; none without a plan."""
        self.control(json.dumps(plan).encode())

    def asked(self) -> dict:
        """What the proxy was asked since, and what was hit."""
        return json.loads(self.control())

    def control(self, body: bytes | None = None) -> bytes:
        """Ask the proxy itself."""
        return urllib.request.urlopen(f"{self.proxy}/__control", body).read()

    def there(self, path: str) -> bytes | None:
        """What lies at an address of the Hub, or None."""
        request = urllib.request.Request(f"{self.hub}/{path}", headers={"Authorization": f"Bearer {TOKEN}"})
        with contextlib.suppress(urllib.error.HTTPError):
            return urllib.request.urlopen(request).read()

    def tags(self, kind: str, repo_id: str) -> dict[str, str]:
        """The tags of a repository with their commits."""
        found = json.loads(self.there(f"api/{kind}s/{repo_id}/refs") or '{"tags": []}')["tags"]
        return {tag["name"]: tag["targetCommit"] for tag in found}

    def run(self, arguments: Sequence[object], folder: Path) -> Ended:
        """A command in a folder of its own, with caches of its own."""

        def before() -> None:
            from huggingface_hub import constants

            constants.HF_HUB_CACHE = str(folder / "hub-cache")
            sleep = time.sleep
            time.sleep = lambda seconds: sleep(min(seconds, 0.01))

        return campaign.run(arguments, folder, cache=folder / "cache", before=before, timeout=60)


TOKEN = "hf_campaign"


@dataclass(frozen=True)
class Command:
    """A command that asks the Hub.

    Attributes:
        words: of its command line, from the name of a new repository.
        start: what its folder holds before.
        result: of a command that succeeded: what has to be the same always; raises AssertionError for what is wrong.
        kept: what the folder has to hold whole after a failure; raises AssertionError.
    """

    words: Callable[[World, str], Sequence[object]]
    result: Callable[[World, Path, Ended, str], object]
    start: str | None = None
    kept: Callable[[World, Path, Path], None] = lambda world, folder, start: None


def digest(path: Path) -> str:
    """The sha256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def rows(folder: Path) -> str:
    """The rows of a set in a folder, which is whole."""
    record = json.loads((folder / "hf_dd.json").read_text())
    found = digest(folder / "data/train-00000-of-00001.parquet")
    assert found == record["parquet_sha256"], "the rows aren't the record's"
    assert (folder / "README.md").is_file() and (folder / "preview.png").is_file(), "card or preview is missing"
    return found


def pushed_set(world: World, folder: Path) -> None:
    """Fail unless what a set's record tells of its push is there, file by file."""
    told = json.loads((folder / "hf_dd.json").read_text())["pushed"]
    tags = world.tags("dataset", told["repo_id"])
    revision = "refs%2Fpr%2F1" if told["tag"] is None else tags.get(told["tag"])
    assert revision, f"the record tells of a tag {told['tag']}, which isn't there"
    for name in ("hf_dd.json", "README.md", "preview.png", "data/train-00000-of-00001.parquet"):
        found = world.there(f"datasets/{told['repo_id']}/resolve/{revision}/{name}")
        assert found == (folder / name).read_bytes(), f"{name} at {told} isn't the folder's"


def kept_set(world: World, folder: Path, start: Path) -> None:
    """Fail unless a set is as it was, or tells of a push that is there."""
    if changed(folder / "set", start):
        pushed_set(world, folder / "set")


def changed(folder: Path, start: Path) -> list[Path]:
    """The files of a folder that aren't as they were."""
    files = {path.relative_to(each) for each in (folder, start) for path in each.rglob("*") if path.is_file()}
    return [
        name
        for name in files
        if not (folder / name).is_file()
        or not (start / name).is_file()
        or digest(folder / name) != digest(start / name)
    ]


def of_push(world: World, folder: Path, ended: Ended, repo_id: str) -> object:
    """A set that was pushed: what the command said, what the record says and what is there are one."""
    pushed_set(world, folder / "set")
    told = json.loads((folder / "set/hf_dd.json").read_text())["pushed"]
    if said := re.search(r"pushed: (\S+)@(\S+) \((\w+)\)", ended.output):
        assert said[1] == told["repo_id"], "another repository was told"
        if told["tag"]:
            assert said[2] == told["tag"], "another tag was told"
            assert world.tags("dataset", said[1])[said[2]].startswith(said[3]), "the tag is on another commit"
    return rows(folder / "set")


def of_lab(repo_id: str) -> str:
    """A repository of the organization, whose teachers nobody looks for."""
    return repo_id.replace("local/", "lab/")


def teacher_is_there(world: World, folder: Path, repo_id: str) -> object:
    """A teacher that was pushed: each of its tags is on a commit with its weights."""
    run = json.loads((folder / "hf_dd.json").read_text())
    tags = world.tags("model", repo_id)
    assert set(tags) == {*run["revisions"], "final"}, f"tags {sorted(tags)}"
    for tag in tags:
        epoch = run["final"] if tag == "final" else tag
        for name in ("model.safetensors", "config.json", "hf_dd.json"):
            found = world.there(f"{repo_id}/resolve/{tags[tag]}/{name}")
            assert found == (folder / epoch / name).read_bytes(), f"{name} of {tag} isn't the folder's"
    return sorted(tags)


def trained(world: World, folder: Path, ended: Ended, repo_id: str) -> object:
    """A teacher that was trained and pushed."""
    (run,) = (folder / "teachers").glob("*/hf_dd.json")
    return teacher_is_there(world, run.parent, f"lab/{run.parent.name}")


def pool_is_there(world: World, folder: Path, ended: Ended, repo_id: str) -> object:
    """A pool that was made: its notes pin the teacher's commits, and its file says so too."""
    slug = re.search(r": (local/\S+)", ended.output)[1]
    (item,) = json.loads(world.there(f"api/collections/{slug}"))["items"]
    tags = world.tags("model", TEACHER)
    assert set(item["note"]["text"].split()) == {f"{tag}={tags[tag]}" for tag in ("epoch-0", "final")}, "the note"
    teachers = json.loads((folder / "pool.json").read_text())["teachers"]
    return [(each["revision"], each["sha"]) for each in teachers]


def study_is_there(world: World, folder: Path, ended: Ended, repo_id: str) -> object:
    """A study that was pushed: its report is at the tag that it was told."""
    told = json.loads((folder / "study/pushed.json").read_text())
    sha = world.tags("dataset", repo_id).get(told["tag"])
    assert sha == told["pin"]["sha"], "the tag is on another commit"
    for name in ("README.md", "report.md"):
        found = world.there(f"datasets/{repo_id}/resolve/{sha}/{name}")
        assert found == (folder / "study" / name).read_bytes(), f"{name} isn't the folder's"
    return None


def kept_study(world: World, folder: Path, start: Path) -> None:
    """Fail where a study tells of a push that isn't there."""
    if (folder / "study/pushed.json").is_file():
        told = json.loads((folder / "study/pushed.json").read_text())
        assert world.tags("dataset", told["pin"]["repo_id"]).get(told["tag"]) == told["pin"]["sha"], "no such push"


def evaluated(world: World, folder: Path, ended: Ended, repo_id: str) -> object:
    """The accuracies of an evaluation."""
    results = json.loads((folder / "results/results.json").read_text())
    return [(row["set"], row["copy"], row["mean"]) for row in results["rows"]]


def printed(world: World, folder: Path, ended: Ended, repo_id: str) -> object:
    """The lines that tell of a teacher."""
    return [line for line in ended.output.splitlines() if line.startswith(("ok ", "FAILS ", "| "))]


def distilled(world: World, folder: Path, ended: Ended, repo_id: str) -> object:
    """The rows of a set that was made."""
    return rows(folder / "set")


def whole_if_there(world: World, folder: Path, start: Path) -> None:
    """Fail where a set claims to be finished and isn't whole."""
    if (folder / "set/hf_dd.json").is_file():
        rows(folder / "set")


GUIDED = ["--clom", "ce", "--teachers", f"{TEACHER}@epoch-0", f"{TEACHER}@final"]
RECIPE = "base: {dataset: digits, ipc: 1, iterations: 2, real_batch_size: 4, architecture: MLP, eval_students: 1, "
RECIPE += "eval_epochs: [1], eval_architectures: [MLP], baselines: [none]}\ncells:\n  dm: {}\nseeds: [0]\n"
COMMANDS = {
    "push a set": Command(lambda world, repo: ["push", "set", "--hub_dataset_id", repo], of_push, "set", kept_set),
    "distil from the Hub": Command(
        lambda world, repo: ["distill", *SMALL, "--dataset", DATA, *GUIDED, "--output_dir", "set"],
        distilled,
        kept=whole_if_there,
    ),
    "push a teacher": Command(
        lambda world, repo: ["push", "teacher", "--hub_dataset_id", of_lab(repo)],
        lambda world, folder, ended, repo: teacher_is_there(world, folder / "teacher", of_lab(repo)),
        "teacher",
        lambda world, folder, start: require(not changed(folder / "teacher", start), "the folder was changed"),
    ),
    "make a pool": Command(
        lambda world, repo: [
            *("pool", "create", f"Pool of {repo}", f"{TEACHER}@epoch-0", f"{TEACHER}@final"),
            *("--output", "pool.json"),
        ],
        pool_is_there,
    ),
    "evaluate a pushed set": Command(
        lambda world, repo: ["evaluate", f"{SET}@v1", *STUDENTS, "--output_dir", "results"], evaluated
    ),
    "import from the Hub": Command(
        lambda world, repo: ["import", f"{SET}@v1", "--dataset", DATA, "--output_dir", "set"],
        distilled,
        kept=whole_if_there,
    ),
    "train and push": Command(
        lambda world, repo: [
            *("pretrain", "--dataset", "digits", "--architectures", "MLP", "--epochs", "1", "--keep_epochs", "0", "1"),
            *("--teacher_seeds", re.sub(r"\D", "", repo), "--output_dir", "teachers", "--overwrite_output_dir"),
            *("--push_to_hub", "--hub_namespace", "lab"),
        ],
        trained,
    ),
    "push a study": Command(
        lambda world, repo: [
            *("study", str(world.work / "study.yaml"), "--output_dir", "study", "--push_to_hub"),
            *("--hub_dataset_id", repo),
        ],
        study_is_there,
        "study",
        kept_study,
    ),
    "push under a tag": Command(
        lambda world, repo: ["push", "set", "--hub_dataset_id", repo, "--hub_tag", "best"], of_push, "set", kept_set
    ),
    "verify a pool": Command(lambda world, repo: ["pool", "verify", world.slug], printed),
    "show a pool": Command(lambda world, repo: ["pool", "show", world.slug, "--dataset", DATA], printed),
    "push to a branch": Command(
        lambda world, repo: ["push", "set", "--hub_dataset_id", repo, "--hub_revision", "next", "--hub_private_repo"],
        of_push,
        "set",
        kept_set,
    ),
    "open a pull request": Command(
        lambda world, repo: ["push", "set", "--hub_dataset_id", repo, "--create_pr"], of_push, "set", kept_set
    ),
    "distil and push": Command(
        lambda world, repo: ["distill", *SMALL, "--output_dir", "set", "--push_to_hub", "--hub_dataset_id", repo],
        of_push,
        kept=whole_if_there,
    ),
    "look for teachers": Command(
        lambda world, repo: [
            *(
                "pool",
                "create",
                f"Pool of {repo}",
                "--owner",
                "local",
                "--epochs",
                "0",
                "final",
                "--output",
                "pool.json",
            )
        ],
        pool_is_there,
    ),
}


def require(right: bool, problem: str) -> None:
    """Raise AssertionError for a problem."""
    assert right, problem


def make(work: Path, hub: str, proxy: str) -> World:
    """The world, as it is before each try."""
    world = World(work, hub, proxy)
    push_data()
    (work / "study.yaml").write_text(RECIPE)
    made = [
        ["pretrain", "--dataset", DATA, "--architectures", "MLP", "--epochs", "1", "--keep_epochs", "0", "1"]
        + ["--output_dir", "teachers"],
        ["distill", *SMALL, "--dataset", DATA, "--output_dir", "set"],
        ["study", "study.yaml", "--output_dir", "study"],
    ]
    for command in made:
        succeed(world.run(command, work))
    (teacher,) = (work / "teachers").iterdir()
    teacher.rename(work / "teacher")
    shutil.copytree(work / "set", work / "pushed")
    succeed(world.run(["push", "teacher", "--hub_dataset_id", TEACHER], work))
    succeed(world.run(["push", "pushed", "--hub_dataset_id", SET], work))
    pool = world.run(["pool", "create", "Teachers", f"{TEACHER}@epoch-0", f"{TEACHER}@final"], work)
    world.slug = re.search(r": (local/\S+)", succeed(pool).output)[1]
    return world


def push_data() -> None:
    """A data set of three images of each digit, and a test split of one, with a card that lists two configurations."""
    import datasets
    from huggingface_hub import CommitOperationAdd, HfApi
    from PIL import Image

    from hf_dd.data.fixed_forms import digits_rows

    images, features = (
        digits_rows(),
        datasets.Features(image=datasets.Image(), label=datasets.ClassLabel(num_classes=10)),
    )
    splits = b"  - split: train\n    path: data/train-*\n  - split: test\n    path: data/test-*\n"
    configs = b"- config_name: default\n  data_files:\n" + splits + b"- config_name: other\n  data_files: x/*\n"
    files = {"README.md": b"---\nlicense: mit\nconfigs:\n" + configs + b"---\n"}
    for split, which in (("train", slice(0, 3)), ("test", slice(3, 4))):
        chosen = [row for label in range(10) for row in images[images[:, -1] == label][which]]
        pixels = [Image.fromarray((row[:-1] * 15).astype("uint8").reshape(8, 8)) for row in chosen]
        rows = datasets.Dataset.from_dict({"image": pixels, "label": [int(row[-1]) for row in chosen]}, features)
        rows.to_parquet(stream := io.BytesIO())
        files[f"data/{split}-00000-of-00001.parquet"] = stream.getvalue()
    files["x/train.parquet"] = b"not to be read"
    api = HfApi()
    api.create_repo(DATA, repo_type="dataset")
    operations = [CommitOperationAdd(name, content) for name, content in files.items()]
    api.create_commit(DATA, operations, commit_message="x", repo_type="dataset")


def succeed(ended: Ended) -> Ended:
    """What ended well; raises RuntimeError for what didn't."""
    if ended.code:
        raise RuntimeError(ended.output)
    return ended


@contextlib.contextmanager
def proxied(hub: str) -> Iterator[str]:
    """A proxy before a Hub, in a process of its own; gives its address."""
    command = [sys.executable, "-m", "tests.campaigns.proxy", hub, str(campaign.port())]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


def tries(rng: random.Random, work: Path) -> Iterator[Try]:
    """A command after the other, each time with another fault at another of its requests."""
    users = {"port": 0, "user": "local", "token": TOKEN, "orgs": {"lab": ["local"]}}
    with campaign.hub(work / "hub", **users) as environment, proxied(environment["HF_ENDPOINT"]) as proxy:
        os.environ.update(environment | {"HF_ENDPOINT": proxy})
        campaign.preload()
        world = make(work, environment["HF_ENDPOINT"], proxy)
        numbers = itertools.count(1)
        right: dict[str, tuple[object, int]] = {}  # of each command its result, and how often it asks
        for name in itertools.cycle(COMMANDS):
            if name not in right:
                folder, repo_id = fresh(world, name, next(numbers))
                world.arm()
                ended = succeed(world.run(COMMANDS[name].words(world, repo_id), folder))
                asked = len(world.asked()["asked"])
                right[name] = COMMANDS[name].result(world, folder, ended, repo_id), asked
                shutil.rmtree(folder)
            result, asked = right[name]
            fault, always = rng.choice(FAULTS), rng.random() < 0.4
            yield attempt(world, name, next(numbers), rng.randint(1, asked), fault, always, result)


def fresh(world: World, name: str, number: int) -> tuple[Path, str]:
    """A folder with what a command begins with, and the name of a new repository."""
    folder = world.work / f"try-{number}"
    folder.mkdir()
    if start := COMMANDS[name].start:
        shutil.copytree(world.work / start, folder / start)
    return folder, f"local/r{number}"


def attempt(world: World, name: str, number: int, at: int, fault: str, always: bool, result: object) -> Try:
    """One try of a command: with the fault, then without it."""
    command, (folder, repo_id) = COMMANDS[name], fresh(world, name, number)
    words = [str(word) for word in command.words(world, repo_id)]
    world.arm(at=at, fault=fault, always=always)
    first = world.run(words, folder)
    hit = world.asked()["hit"]
    world.arm()
    case = f"{shlex.join(words)}: {fault} {'always ' if always else ''}at request {at} ({hit})"
    told = f"Try {number}, {first.last}"
    outcome = Outcome.RIGHT

    def right(ended: Ended) -> str:
        try:
            found = command.result(world, folder, ended, repo_id)
            return "" if found == result else f"another result: {found}, not {result}"
        except (AssertionError, OSError, ValueError, KeyError, TypeError) as error:
            return f"{type(error).__name__}: {error}"

    if first.code == 0:
        if problem := right(first):
            outcome, told = Outcome.WRONG, f"{told}: {problem}"
    elif not first.clear:
        outcome, told = Outcome.TRACEBACK, first.output[-1500:] if first.code is not None else "it hangs"
    else:
        try:
            command.kept(world, folder, world.work / (command.start or "nothing"))
        except (AssertionError, OSError, ValueError, KeyError, TypeError) as error:
            outcome, told = Outcome.LOST, f"{told}: {error}"
        named = re.search(r"Retry: hf-dd (.*)", first.output)
        again = world.run(shlex.split(named[1]) if named else words, folder)
        problem = right(again) if again.code == 0 else again.output[-1500:]
        if problem and outcome is Outcome.RIGHT:
            outcome, told = Outcome.LOST, f"{told}: tried again: {problem}"
    shutil.rmtree(folder)
    return Try(name, case, outcome, told)


if __name__ == "__main__":
    main("hub_faults", tries)
