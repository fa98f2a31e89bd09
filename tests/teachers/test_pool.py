"""A pool: which teacher a step draws, and how many are in memory."""

import collections
import gc
import shutil
from pathlib import Path

import pytest
import torch

import hf_dd
from hf_dd.errors import ConfigError, TeacherError
from hf_dd.teachers.locating import load_teacher, locate
from hf_dd.teachers.pool import TeacherPool
from hf_dd.teachers.teacher import Teacher
from tests.factories import (
    make_data,
    make_pool,
    make_teacher,
)

pytestmark = pytest.mark.usefixtures("one_thread")


OPTIONS = {"ipc": 1, "iterations": 6, "real_batch_size": 4, "architecture_options": ["width=8"], "eval_students": 0}


@pytest.fixture
def alive():
    """Counts the teachers that are there and weren't at first: to look through all older objects takes a second."""
    gc.collect()
    gc.freeze()

    def count():
        gc.collect()
        return sum(type(thing) is Teacher for thing in gc.get_objects())

    yield count
    gc.unfreeze()


@pytest.mark.parametrize("in_memory", [1, 2, 3, 9])
def test_a_pool_holds_as_many_as_it_may_and_gives_the_same_teachers(tiny_teachers, alive, in_memory):
    assert alive() == 0
    whole = TeacherPool.from_references(tiny_teachers.references)
    pool = TeacherPool.from_references(tiny_teachers.references, in_memory=in_memory)
    assert alive() == 3 + min(3, in_memory)
    assert pool.specs == whole.specs and pool.lock() == whole.lock() and len(pool) == 3
    images = torch.rand(2, 1, 8, 8, dtype=torch.float64)
    for part in (whole, pool):
        part.to(torch.device("cpu"), torch.float64)
    for index in (0, 2, 1, 0, -1, 1):
        assert torch.equal(pool[index](images), whole[index](images))
        assert alive() == 3 + min(3, in_memory)
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


def test_loading_a_teacher_is_no_draw_and_gives_what_can_be_learned_from(tiny_teachers):
    place = locate(tiny_teachers.folders[0])
    torch.manual_seed(5)
    expected = torch.rand(2)
    torch.manual_seed(5)
    with torch.inference_mode(), torch.device("meta"):
        teacher = load_teacher(*place)
    assert torch.equal(torch.rand(2), expected)
    assert all(not each.is_inference() and each.device.type == "cpu" for each in teacher.parameters())


def test_a_pool_takes_the_folders_that_pretrain_returns(tiny_teachers):
    folders = [Path(folder) for folder in tiny_teachers.folders[:2]]
    assert [spec.sha for spec in TeacherPool.from_references(folders).specs] == [
        spec.sha for spec in TeacherPool.from_references(list(map(str, folders))).specs
    ]
    assert len(TeacherPool.from_references(folders[0])) == 1


def test_a_pool_in_memory_has_room_for_one_teacher_at_least():
    with pytest.raises(ConfigError, match="--teachers_in_memory is 0"):
        hf_dd.DistillConfig(clom="cos", teachers=["a/b"], teachers_in_memory=0)


# --- the draw of a teacher


def test_a_teacher_is_drawn_by_architecture_first_then_among_its_members():
    data = make_data()
    pool = TeacherPool(
        [
            make_teacher(data, "MLP", 0),
            make_teacher(data, "ConvNet", 0),
            make_teacher(data, "MLP", 1),
            make_teacher(data, "MLP", 2),
        ]
    )
    draws = 3000
    for seed in (0, 1):
        counts = collections.Counter(pool.draw(seed, step) for step in range(draws))
        expected = {0: draws / 6, 1: draws / 2, 2: draws / 6, 3: draws / 6}
        assert sorted(counts) == [0, 1, 2, 3]
        chi_square = sum((counts[i] - expected[i]) ** 2 / expected[i] for i in expected)
        assert chi_square < 16.3  # three degrees of freedom, p = 0.001


def test_a_draw_depends_on_seed_and_step_alone():
    data = make_data()
    pool = make_pool(data)
    first = [pool.draw(4, step) for step in range(200)]
    torch.rand(10)
    other = make_pool(data)
    assert [other.draw(4, step) for step in reversed(range(200))] == first[::-1]
    assert [pool.draw(5, step) for step in range(200)] != first
