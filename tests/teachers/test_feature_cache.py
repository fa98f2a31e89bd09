"""What teachers make of the real set is computed once: kept by all that it follows from, listed and removed."""

import dataclasses
import json
import os
import re
import shutil
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import hf_dd
from hf_dd import cli
from hf_dd.config import DataConfig
from hf_dd.core import cache as memory
from hf_dd.core.processes import new_accelerator
from hf_dd.data.image_data import load_data
from hf_dd.evaluation.candidates import score_file
from hf_dd.objectives.base import Ownership, Step
from hf_dd.objectives.clom import real_class_sums
from hf_dd.synthetic.synthetic_set import SyntheticSet
from hf_dd.teachers import feature_cache
from hf_dd.teachers.feature_cache import FeatureMemory
from hf_dd.teachers.locating import locate
from hf_dd.teachers.pool import TeacherPool
from tests.factories import local_teacher

pytestmark = pytest.mark.usefixtures("one_thread", "nothing_remembered")

OPTIONS = {"ipc": 1, "iterations": 4, "real_batch_size": 4, "architecture_options": ["width=8"], "eval_students": 0}
OPTIONS |= {"published": True}  # the start asks no teacher
RANKS = Path(__file__).parents[1] / "remember_each.py"


@pytest.fixture(scope="module")
def digits():
    return load_data(DataConfig())


def distil(folder, **options):
    return hf_dd.distill(**OPTIONS | {"clom": "cos", "output_dir": str(folder)} | options)


def kept(kind="class-sums"):
    return sorted((memory.folder() / kind).iterdir()) if (memory.folder() / kind).is_dir() else []


def class_sums(teacher, data, dtype="float32", precision="no", known=True):
    """As a step of a run has them."""
    teachers = TeacherPool([teacher]).to(data.device, getattr(torch, dtype))
    accelerator = new_accelerator(precision)
    synthetic = SyntheticSet.initial(data, 1, "real", 0, getattr(torch, dtype))
    options = {"remembered": FeatureMemory(data, dtype, accelerator).remembered} if known else {}
    own = Ownership.of(0, 1, data.num_classes)
    step = Step(0, 0, own, 1, synthetic, data, autocast=accelerator.autocast, **options)
    return step.remembered(
        "class-sums", teachers[0], lambda: real_class_sums(step, teachers[0], step.data.class_index)
    )


# --- the second time


@pytest.mark.parametrize("dtype, precision", [("float32", "no"), ("float64", "no"), ("float32", "bf16")])
def test_kept_sums_are_the_computed_ones_bit_for_bit(digits, tmp_path, seen, dtype, precision, bf16):
    reference = local_teacher(tmp_path / "teacher", digits)
    found = []
    for known in (False, True, True):
        teacher = TeacherPool.from_references([reference])[0]
        found.append(class_sums(teacher, digits, dtype, precision, known))
        found[-1] = found[-1], seen[0]
        seen[0] = 0
    new_accelerator("no")
    (plain, passes), (first, first_passes), (second, second_passes) = found
    assert passes == first_passes == len(digits.train) + 1 and second_passes == 0
    assert torch.equal(plain, first) and torch.equal(plain, second) and plain.dtype == getattr(torch, dtype)
    assert plain.norm(dim=1).max() > 10 and len(kept()) == 1


def test_a_second_run_and_a_resumed_one_take_no_pass_over_the_real_set(tiny_teachers, tmp_path, seen):
    options = {"teachers": tiny_teachers.references[:2], "clom_pool": "mean-loss", "save_steps": 2}
    first = distil(tmp_path / "first", **options)
    assert seen[0] >= 2 * 1438
    assert len(kept()) == 2
    seen[0] = 0
    second = distil(tmp_path / "second", **options)
    assert seen[0] == 4 * 2 * 10  # in every step the synthetic images, by each teacher
    assert second.load()["pixel_values"] == first.load()["pixel_values"]
    shutil.copytree(tmp_path / "first/checkpoints/step-000002", tmp_path / "resumed/checkpoints/step-000002")
    seen[0] = 0
    resumed = distil(tmp_path / "resumed", **options, resume_from_checkpoint="latest")
    assert seen[0] == 2 * 2 * 10
    assert resumed.load()["pixel_values"] == first.load()["pixel_values"]


def test_a_pass_is_announced_once(digits, tmp_path, caplog):
    reference = local_teacher(tmp_path / "teacher", digits)
    caplog.set_level("INFO", "hf_dd")
    for _ in range(2):
        class_sums(TeacherPool.from_references([reference])[0], digits)
    assert [f"Computing class-sums of {reference}" in message for message in caplog.messages] == [True]


def test_drawn_real_images_are_not_remembered(tiny_teachers, tmp_path):
    distil(tmp_path / "set", teachers=tiny_teachers.references[:1], clom_real_batch=20)
    assert kept() == []


# --- what they follow from


def changed_transform(teacher, data):
    teacher.transform = dataclasses.replace(teacher.transform, mean=(0.25,))


def changed_commit(teacher, data):
    teacher.spec = dataclasses.replace(teacher.spec, sha="1" * 40)


def changed_trust(teacher, data):
    teacher.spec = dataclasses.replace(teacher.spec, trusted=True)


def changed_configuration(teacher, data):
    path = Path(teacher.spec.repo_id) / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"class_names": list("9876543210")}))


def changed_data(teacher, data):
    return dataclasses.replace(data, fingerprint="f" * 32)


def nothing_changed(teacher, data):
    pass


@pytest.mark.parametrize(
    "change, misses",
    [
        (nothing_changed, False),
        (changed_transform, True),
        (changed_commit, True),
        (changed_trust, True),
        (changed_configuration, True),
        (changed_data, True),
    ],
)
def test_whatever_the_sums_follow_from_is_in_their_name(digits, tmp_path, seen, change, misses):
    reference = local_teacher(tmp_path / "teacher", digits)
    class_sums(TeacherPool.from_references([reference])[0], digits)
    seen[0], teacher = 0, TeacherPool.from_references([reference])[0]
    data = change(teacher, digits) or digits
    if change is changed_configuration:
        teacher = TeacherPool.from_references([reference])[0]  # with what it says now
    class_sums(teacher, data)
    assert (seen[0] > 0, len(kept())) == (misses, 1 + misses)


def test_precisions_and_code_have_sums_of_their_own(digits, tmp_path, monkeypatch, bf16):
    reference = local_teacher(tmp_path / "teacher", digits)
    for precision in (("float32", "no"), ("float64", "no"), ("float32", "bf16")):
        class_sums(TeacherPool.from_references([reference])[0], digits, *precision)
    new_accelerator("no")
    assert len(kept()) == 3
    monkeypatch.setattr(feature_cache, "VERSION", 0)
    class_sums(TeacherPool.from_references([reference])[0], digits)
    assert len(kept()) == 4


@pytest.mark.parametrize("nameless", ["teacher", "data"])
def test_what_has_no_name_is_not_remembered(digits, tmp_path, nameless):
    teacher = TeacherPool.from_references([local_teacher(tmp_path / "teacher", digits)])[0]
    if nameless == "teacher":
        teacher.spec = dataclasses.replace(teacher.spec, sha="")
    class_sums(teacher, dataclasses.replace(digits, fingerprint="") if nameless == "data" else digits)
    assert kept() == []


def test_the_pickled_weights_of_a_local_teacher_are_its_commit(tmp_path, digits):
    for name in ("one", "two"):
        folder = Path(local_teacher(tmp_path / name, digits))
        (folder / "model.safetensors").unlink()
        (folder / "pytorch_model.bin").write_bytes(name.encode())
    assert locate(str(tmp_path / "one"))[0].sha != locate(str(tmp_path / "two"))[0].sha


# --- files


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "nonsense"])
def test_a_damaged_file_is_computed_again(digits, tmp_path, seen, damage, caplog):
    reference = local_teacher(tmp_path / "teacher", digits)
    first = class_sums(TeacherPool.from_references([reference])[0], digits)
    (path,) = kept()
    good = path.read_bytes()
    bad = {"cut": good[:-5], "flipped": good[:-1] + b"\xff", "empty": b"", "nonsense": b"x" * 100}[damage]
    path.write_bytes(bad)
    seen[0] = 0
    assert torch.equal(class_sums(TeacherPool.from_references([reference])[0], digits), first)
    assert seen[0] == len(digits.train) + 1 and "can't be used" in caplog.text
    assert kept() == [path] and torch.equal(load_file(path)["class-sums"], first)


def test_a_memory_that_cannot_be_written_is_only_a_warning(digits, tmp_path, caplog):
    memory.folder().parent.mkdir(parents=True)
    memory.folder().write_text("a file where the folder should be")
    sums = class_sums(TeacherPool.from_references([local_teacher(tmp_path / "teacher", digits)])[0], digits)
    assert sums.shape == (10, 12) and "can't be cached" in caplog.text


@pytest.mark.multi_process
def test_two_runs_at_once_leave_one_good_file(digits, tmp_path, seen, forks):
    reference = local_teacher(tmp_path / "teacher", digits)
    code = """
import sys, time
from pathlib import Path
import hf_dd
from hf_dd.core import cache
root, name, teacher = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
write = cache.keep_tensors
def together(path, *arguments):  # both have found nothing, and write at the same moment
    (root / f"{name}.ready").touch()
    while len(list(root.glob("*.ready"))) < 2:
        time.sleep(0.001)
    write(path, *arguments)
cache.keep_tensors = together
hf_dd.distill(clom="cos", teachers=[teacher], output_dir=str(root / name), ipc=1, iterations=1, real_batch_size=4,
              architecture_options=["width=8"], eval_students=0)
"""
    runs = [forks.start("-c", code, tmp_path, name, reference, HF_DATASETS_CACHE=tmp_path / "cache") for name in "ab"]
    assert [run.wait() for run in runs] == [0, 0]
    (path,) = kept()
    assert list(memory.folder().rglob("*.tmp")) == []
    sums = class_sums(TeacherPool.from_references([reference])[0], digits)
    assert seen[0] == 0
    path.unlink()
    assert torch.equal(class_sums(TeacherPool.from_references([reference])[0], digits), sums)


# --- several processes


@pytest.fixture(scope="module")
def ranks(tmp_path_factory, tiny_teachers, ranks_of):
    """What two processes did of each run, whose second rank sees another disk; and the same runs by one process."""
    root = tmp_path_factory.mktemp("ranks")
    options = {"cos": ["--clom", "cos"], "head": ["--clom", "ce", "--fit_head"]}
    teacher = root / "other-classes"
    shutil.copytree(tiny_teachers.folders[0] / "epoch-2", teacher)
    config = json.loads((teacher / "config.json").read_text())
    (teacher / "config.json").write_text(json.dumps(config | {"class_names": [f"d{i}" for i in range(10)]}))
    small = ["--ipc", "1", "--iterations", "3", "--real_batch_size", "4", "--architecture_options", "width=8"]
    small += ["--eval_students", "0", "--published", "--teachers", str(teacher), "--dtype", "float64"]
    entries = {
        f"{name} {time}": ["distill", *small, *own, "--output_dir"] for name, own in options.items() for time in "12"
    }
    (root / "runs.json").write_text(
        json.dumps({key: [*words, str(root / "two" / key)] for key, words in entries.items()})
    )
    ranks_of(RANKS, root)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("datasets.config.HF_DATASETS_CACHE", root / "cache-one")
        patch.setattr("hf_dd.data.batches.CHUNK_PIXELS_ON_CPU", 100 * 8 * 8)
        for key in ("cos 1", "head 1"):
            cli.main([*entries[key], str(root / "one" / key)])
    return root


@pytest.mark.multi_process
@pytest.mark.parametrize("name", ["cos", "head"])
def test_processes_share_a_pass_and_what_the_first_one_finds(ranks, name):
    of_ranks = [json.loads((ranks / f"seen-{rank}.json").read_text()) for rank in (0, 1)]
    first, second = ([seen[f"{name} {time}"] for seen in of_ranks] for time in "12")
    assert 1438 <= sum(first) <= 1438 + 2 * (1 + 3 * 10) and min(first) > 500
    assert max(second) <= 3 * 10  # the second rank's own disk holds nothing, and it computes nothing
    assert list((ranks / "cache-0/hf_dd").rglob("*.safetensors"))
    assert not list((ranks / "cache-1").rglob("*.safetensors"))


@pytest.mark.multi_process
@pytest.mark.parametrize("name", ["cos", "head"])
def test_two_processes_give_what_one_gives(ranks, name):
    one, first, second = (
        json.loads((ranks / place / "hf_dd.json").read_text())
        for place in (f"one/{name} 1", f"two/{name} 1", f"two/{name} 2")
    )
    assert one["teachers"] == first["teachers"] == second["teachers"]
    assert first["run"]["hardware"].endswith(", 2 processes of 1 thread")
    assert first["run"]["losses"] == second["run"]["losses"]
    assert first["run"]["losses"] == pytest.approx(one["run"]["losses"], rel=1e-9)
    files = sorted((ranks / "cache-one").rglob("*.safetensors"))
    assert {path.parent.name for path in files} == {"class-sums", "features", "heads"}
    for path in files:  # a process owns whole classes, or whole chunks: no sum has another order
        one, two = load_file(path), load_file(ranks / "cache-0" / path.relative_to(ranks / "cache-one"))
        assert all(torch.equal(one[name], two[name]) for name in one)


# --- hf-dd cache


@pytest.fixture
def filled(tiny_teachers, tmp_path, capsys):
    """A memory of two teachers' sums, two scores, decoded images, and what a killed run has left."""
    distil(tmp_path / "set", teachers=tiny_teachers.references[:2], clom_pool="mean-loss")
    for number in (1, 2):
        memory.keep(score_file(["a score", number]), [0.5, 1.0])
    images = tmp_path / "pictures"
    rows = hf_dd.Artefact.open(tmp_path / "set").load().select_columns(["image", "label"])
    rows.to_parquet(images / "data/train-00000-of-00001.parquet")
    load_data(DataConfig(str(images), image_memory_gb=0))
    for age, name in ((0, "now"), (7200, "killed")):
        path = memory.folder() / f"{name}.0123.tmp"
        path.write_bytes(b"half")
        os.utime(path, (time.time() - age,) * 2)
    capsys.readouterr()
    return memory.folder()


def cache(capsys, *words):
    cli.main(["cache", *map(str, words)])
    return capsys.readouterr().out.splitlines()


def test_cache_ls_lists_all_that_is_kept(filled, tiny_teachers, capsys):
    head, *rows, total = cache(capsys, "ls")
    assert re.split(r"\s{2,}", head) == ["kind", "name", "teacher", "data", "bytes", "last used"]
    cells = [re.split(r"\s{2,}", row) for row in rows]
    assert [row[0] for row in cells] == ["class-sums", "class-sums", "diversity", "images", "scores", "unfinished"]
    teachers = {f"local/digits-convnet-seed{seed}" for seed in (0, 1)}
    assert {row[2].split(" (")[0] for row in cells[:2]} == teachers and {row[3] for row in cells[:2]} == {"digits"}
    shas = [teacher.spec.sha[:8] for teacher in TeacherPool.from_references(tiny_teachers.references[:2])]
    assert sorted(row[2][-9:-1] for row in cells[:2]) == sorted(shas)
    assert cells[2][1:4] == ["1 files", "–", "–"] and cells[3][2:4] == ["–", "pictures"]
    assert cells[4][1:4] == [f"{len(kept('scores'))} files", "–", "–"] and cells[5][1] == "killed"
    files = [path for path in filled.rglob("*") if path.is_file() and not path.name.startswith("now")]
    assert total == f"6 entries, {sum(path.stat().st_size for path in files):,} bytes in {filled}"
    assert sum(int(row[4].replace(",", "")) for row in cells) == sum(path.stat().st_size for path in files)
    assert len(cache(capsys, "ls", "*seed1", "scores")) == 1 + 2 + 1


def test_use_is_what_the_time_in_the_list_says(filled, tiny_teachers, tmp_path, capsys):
    for path in filled.rglob("*"):
        os.utime(path, (0, 0))
    assert memory.recall(score_file(["a score", 1])) == [0.5, 1.0]
    distil(tmp_path / "again", teachers=tiny_teachers.references[:1])
    load_data(DataConfig(str(tmp_path / "pictures")))
    capsys.readouterr()
    old = [row.split()[0] for row in cache(capsys, "ls") if "1970-01-01" in row]
    assert old == ["class-sums", "diversity", "unfinished", "unfinished"]  # the other teacher's


@pytest.mark.parametrize(
    "words, kinds",
    [
        (["class-sums"], ["diversity", "images", "scores"]),
        (["*seed0"], ["class-sums", "diversity", "images", "scores"]),
        (["digits", "pictures"], ["diversity", "scores"]),
        (["scores", "unfinished"], ["class-sums", "diversity", "images"]),
        (["--all"], []),
    ],
)
def test_cache_rm_removes_what_matches_and_says_so(filled, words, kinds, capsys):
    before = {path: path.stat().st_size for path in filled.rglob("*") if path.is_file()}
    *lines, total = cache(capsys, "rm", *words)
    gone = {path for path in before if not path.exists()}
    count, size = len(lines), sum(before[path] for path in gone)
    assert total == f"removed {count} {'entry' if count == 1 else 'entries'}, {size:,} bytes" and gone
    assert all(line.startswith("removed ") for line in lines)
    left = {row.split()[0] for row in cache(capsys, "ls")[1:-1]} - {"unfinished"}
    assert sorted(left) == kinds
    assert (filled / "now.0123.tmp").exists()  # somebody may be writing it


def test_removed_is_computed_again(filled, tiny_teachers, tmp_path, capsys, seen):
    cache(capsys, "rm", "--all")
    assert cache(capsys, "ls") == [f"0 entries, 0 bytes in {filled}"]
    again = distil(tmp_path / "again", teachers=tiny_teachers.references[:2], clom_pool="mean-loss")
    assert seen[0] > 2 * 1438
    assert again.load()["pixel_values"] == hf_dd.Artefact.open(tmp_path / "set").load()["pixel_values"]


def test_cache_words_that_mean_nothing(filled, capsys):
    for words in (["rm"], ["rm", "--all", "scores"]):
        with pytest.raises(SystemExit) as end:
            cache(capsys, *words)
        assert end.value.code.startswith("hf-dd: error: rm takes either what to remove")
    for action in ("ls", "rm"):
        with pytest.raises(SystemExit) as end:
            cache(capsys, action, "feature")
        assert end.value.code == (
            "hf-dd: error: Nothing that is kept matches feature: `hf-dd cache ls` lists all of it."
        )


def test_images_that_an_older_version_kept_are_listed_and_removed(nothing_remembered, capsys):
    old = memory.folder() / f"{'0123456789abcdef' * 2}.safetensors"
    old.parent.mkdir(parents=True)
    save_file({"train": torch.zeros(2, dtype=torch.uint8)}, old, metadata={"data": "pets", "digest": "0" * 32})
    old.with_suffix(".89ab.json").write_text("{}")
    cells = re.split(r"\s{2,}", cache(capsys, "ls")[1])
    assert cells[:4] == ["images", "0123456789ab", "–", "pets"]
    cache(capsys, "rm", "pets")
    assert list(memory.folder().iterdir()) == []


def test_a_damaged_file_is_listed_by_its_name(filled, capsys):
    (path, _) = kept()
    path.write_bytes(b"nonsense")
    row = next(row for row in cache(capsys, "ls") if path.stem[:12] in row)
    assert re.split(r"\s{2,}", row)[:5] == ["class-sums", path.stem[:12], "–", "–", "8"]
