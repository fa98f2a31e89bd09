"""A pool that holds only some of its teachers in memory."""

import gc
import shutil
from pathlib import Path

import pytest
import torch

import hf_dd
from hf_dd.errors import ConfigError, TeacherError
from hf_dd.teachers.pool import TeacherPool
from hf_dd.teachers.teacher import Teacher, locate

OPTIONS = {"ipc": 1, "iterations": 6, "real_batch_size": 4, "architecture_options": ["width=8"], "eval_students": 0}


def alive():
    gc.collect()
    return sum(type(thing) is Teacher for thing in gc.get_objects())


@pytest.mark.parametrize("in_memory", [1, 2, 3, 9])
def test_a_pool_holds_as_many_as_it_may_and_gives_the_same_teachers(tiny_teachers, in_memory):
    before = alive()
    whole = TeacherPool.from_references(tiny_teachers.references)
    pool = TeacherPool.from_references(tiny_teachers.references, in_memory=in_memory)
    assert alive() - before == 3 + min(3, in_memory)
    assert pool.specs == whole.specs and pool.lock() == whole.lock() and len(pool) == 3
    images = torch.rand(2, 1, 8, 8, dtype=torch.float64)
    for part in (whole, pool):
        part.to(torch.device("cpu"), torch.float64)
    for index in (0, 2, 1, 0, -1, 1):
        assert torch.equal(pool[index](images), whole[index](images))
        assert alive() - before == 3 + min(3, in_memory)
    assert [teacher.spec for teacher in pool] == whole.specs
    assert [pool.draw(0, step) for step in range(9)] == [whole.draw(0, step) for step in range(9)]


def test_the_teacher_that_was_not_used_for_longest_leaves(tiny_teachers):
    pool = TeacherPool.from_references(tiny_teachers.references, in_memory=2)
    first, second = pool[0], pool[1]
    assert pool[0] is first
    assert pool[2] is pool[2]
    assert pool[0] is first  # it was used after the second
    assert pool[1] is not second


@pytest.mark.parametrize("clom", ["ce", "cos"])
def test_how_many_are_in_memory_changes_no_pixel(tiny_teachers, tmp_path, clom):
    options = OPTIONS | {"clom": clom, "teachers": tiny_teachers.references}
    whole = hf_dd.distill(output_dir=str(tmp_path / "all"), **options)
    one = hf_dd.distill(output_dir=str(tmp_path / "one"), teachers_in_memory=1, **options)
    assert one.load()["pixel_values"] == whole.load()["pixel_values"]
    assert one.record.teachers == whole.record.teachers


def test_a_broken_teacher_shows_before_the_first_step_though_it_is_not_kept(tiny_teachers, tmp_path):
    shutil.copytree(tiny_teachers.folders[1] / "epoch-2", tmp_path / "broken")
    (tmp_path / "broken/model.safetensors").write_bytes(b"no weights")
    references = [tiny_teachers.references[0], str(tmp_path / "broken")]
    with pytest.raises(TeacherError, match="broken"):
        TeacherPool.from_references(references, in_memory=1)


def test_a_pool_in_memory_has_room_for_one_teacher_at_least():
    with pytest.raises(ConfigError, match="--teachers_in_memory is 0"):
        hf_dd.DistillConfig(clom="cos", teachers=["a/b"], teachers_in_memory=0)


# --- a folder that is no teacher's

BEFORE = Path(__file__).parents[1] / "fixtures" / "before"
A_TEACHERS = "A teacher's folder is a run or an epoch of `hf-dd pretrain`, or a model of timm or transformers"


@pytest.mark.parametrize(
    ("folder", "words"),
    [
        ("distilled", "it holds a distilled set of hf-dd. " + A_TEACHERS),
        ("imported", "it holds an imported set of hf-dd. " + A_TEACHERS),
        ("study", "it has neither config.json nor hf_dd.json. " + A_TEACHERS),
        ("empty", "it has neither config.json nor hf_dd.json. " + A_TEACHERS),
        ("text", "its hf_dd.json is no record of hf-dd. " + A_TEACHERS),
        ("list", "its hf_dd.json is no record of hf-dd. " + A_TEACHERS),
        ("bare", "its hf_dd.json is no record of hf-dd. " + A_TEACHERS),
        ("unfinished", "it holds a teacher of hf-dd, but not all of it. " + A_TEACHERS),
        ("run", "it holds a teacher run of hf-dd, but not all of it. " + A_TEACHERS),
    ],
)
def test_a_folder_that_is_no_teachers_is_said_to_be_what_it_is(folder, words, tmp_path):
    made = {
        "empty": None,
        "text": "no json",
        "list": "[]",
        "bare": "{}",
        "unfinished": '{"kind": "teacher"}',
        "run": '{"kind": "teacher-run", "final": "epoch-1"}',
    }
    place = tmp_path / folder if folder in made else BEFORE / folder
    place.mkdir(exist_ok=True)
    if made.get(folder):
        (place / "hf_dd.json").write_text(made[folder])
    for revision in ("", "@final", "@epoch-2", "@v1"):
        with pytest.raises(TeacherError) as raised:
            TeacherPool.from_references([f"{place}{revision}"])
        assert str(raised.value).startswith(f"Teacher {place}: {words}")


def test_a_runs_folder_names_its_revisions_and_gives_each(tmp_path):
    run = BEFORE / "teachers" / "digits-convnet-seed0"
    assert [locate(f"{run}{end}")[1].name for end in ("", "@final", "@epoch-0")] == ["epoch-2", "epoch-2", "epoch-0"]
    with pytest.raises(TeacherError, match=r"has no 'epoch-9'; it has epoch-0, epoch-1, epoch-2\."):
        locate(f"{run}@epoch-9")
