"""A teacher: found in a folder, and what it says of images."""

from pathlib import Path

import pytest
import torch

from hf_dd.errors import TeacherError
from hf_dd.teachers.locating import locate
from hf_dd.teachers.pool import TeacherPool
from tests.factories import (
    make_data,
    make_set,
    make_teacher,
    own_space,
)

pytestmark = pytest.mark.usefixtures("one_thread")


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


def test_a_batchnorm_teacher_judges_an_image_alike_alone_and_in_any_set():
    data = make_data()
    teacher = make_teacher(data, "ConvNetBN").double()
    images = own_space(make_set(data, ipc=3), data).detach()
    alone = torch.cat([teacher(image[None]) for image in images])
    torch.testing.assert_close(teacher(images), alone, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_teacher_takes_images_of_its_networks_precision(dtype):
    """Before and after a run has brought it to the run's own."""
    data = make_data()
    teacher = make_teacher(data)
    images = own_space(make_set(data), data).detach()
    assert teacher(images.float()).dtype == torch.float32
    expected = make_teacher(data).double()(images)
    torch.testing.assert_close(teacher.to(dtype)(images.to(dtype)).double(), expected, rtol=1e-5, atol=1e-5)
