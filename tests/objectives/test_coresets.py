"""Methods that choose: runs of no iteration, from the options to the card, and options that mean nothing to them."""

import json

import pytest
import torch

import hf_dd
from hf_dd.artefacts import distilled_folder
from hf_dd.config import DataConfig, DistillConfig
from hf_dd.data.image_data import load_data
from hf_dd.distillation.checks import preflight
from hf_dd.errors import ConfigError, DataError
from hf_dd.objectives import OBJECTIVES, build_objective
from hf_dd.synthetic import coresets
from hf_dd.synthetic.patches import PatchOptions, realistic_images, realistic_patches
from hf_dd.synthetic.synthetic_set import SyntheticSet
from hf_dd.teachers.pool import TeacherPool
from tests.factories import checkpoint_pixels, make_data, make_set, make_step, parquet, pixel_values, steps

pytestmark = pytest.mark.usefixtures("one_thread")

CHOICES = ["random", "herding", "kcenter", "rded", "teacher-score", "teacher-score-hard"]


@pytest.fixture(scope="module")
def teachers(tmp_path_factory):
    options = {"epochs": 2, "output_dir": str(tmp_path_factory.mktemp("teachers"))}
    done = hf_dd.pretrain(architectures=["ConvNet"], architecture_options=["width=16", "depth=2"], **options)
    return [str(path) for path in done + hf_dd.pretrain(architectures=["MLP"], **options)]


@pytest.fixture(autouse=True)
def quick_features(monkeypatch):
    """Herding and k-center on the features of a small network."""
    monkeypatch.setitem(coresets.select.__kwdefaults__, "architecture", "MLP")


@pytest.fixture(scope="module")
def digits():
    return load_data(DataConfig())


def options_of(method, teachers):
    return {"objective": method, "ipc": 2, "eval_students": 0} | (
        {"teachers": teachers} if OBJECTIVES[method].uses_teachers else {}
    )


def expected(method, digits, teachers, factor=1):
    """The set that each method stands for, by the functions that are tested elsewhere."""
    ipc = 2 * factor**2
    if method == "random":
        return SyntheticSet.initial(digits, 2, "real", 0, torch.float32, factor)
    if method == "rded":
        images = realistic_patches(digits, TeacherPool.from_references(teachers), ipc, 0, PatchOptions())
        return SyntheticSet.of_images(images, digits, torch.float32, factor)
    if method.startswith("teacher-score"):
        pool = TeacherPool.from_references(teachers)
        chosen = realistic_images(digits, pool, ipc, hardest=method.endswith("hard"))
    else:
        chosen = coresets.select(digits, {"kcenter": "k-centers"}.get(method, method), ipc, 0)
    return SyntheticSet.of_images(digits.train.images[chosen], digits, torch.float32, factor)


@pytest.mark.parametrize("method", CHOICES)
def test_a_choice_is_a_run_of_no_iteration(tmp_path, digits, teachers, method):
    options = options_of(method, teachers)
    done = hf_dd.distill(**options, output_dir=str(tmp_path))
    chosen = expected(method, digits, teachers)
    assert torch.allclose(pixel_values(tmp_path), chosen.own_space().detach(), atol=1e-6)
    if method != "rded":
        known = {tuple(image.flatten().tolist()) for image in digits.train.images}
        found = (pixel_values(tmp_path) * 255).round().to(torch.uint8)
        assert all(tuple(image.flatten().tolist()) in known for image in found)
    assert steps(tmp_path / "checkpoints") == [0]
    assert torch.equal(checkpoint_pixels(tmp_path, 0), chosen.pixels.detach())
    run = done.record.run
    assert (run["iterations"], run["losses"]) == (0, {})
    assert done.record.settings["init"] == OBJECTIVES[method].published.init
    assert run["seconds"] >= (0.01 if method == "herding" else 0)  # what the choice took
    card = (tmp_path / "README.md").read_text()
    assert "20 chosen images that stand in" in card
    assert "Chosen in " in card and " iterations in " not in card and "CLoM" not in card
    if OBJECTIVES[method].uses_teachers:
        assert "with 2 pre-trained teachers." in card and "All teachers scored the" in card
        assert done.record.summary == f"{method} with 2 teachers, ipc 2"
    else:
        assert "None: no pre-trained model took part." in card
        assert done.record.summary == f"{method}, ipc 2"
    assert f"objective:{method}" in card and f"--objective {method}" in card


@pytest.mark.parametrize("method", ["random", "rded"])
def test_a_choice_is_evaluated_and_resumed(tmp_path, teachers, method):
    options = options_of(method, teachers) | {"eval_students": 1, "eval_epochs": 2}
    done = hf_dd.distill(**options, output_dir=str(tmp_path))
    assert [row["copy"] for row in done.record.results["rows"]][:2] == ["float", "8bit"]
    before = parquet(tmp_path)
    again = hf_dd.distill(**options, output_dir=str(tmp_path), resume_from_checkpoint="latest")
    assert parquet(tmp_path) == before
    assert again.record.run["iterations"] == 0
    assert distilled_folder.load_distilled(str(tmp_path))[1].ipc == 2


@pytest.mark.parametrize("method", CHOICES)
def test_tiles_hold_as_many_chosen_images(tmp_path, digits, teachers, method):
    hf_dd.distill(**options_of(method, teachers), factor=2, output_dir=str(tmp_path))
    chosen = expected(method, digits, teachers, factor=2)
    assert torch.allclose(pixel_values(tmp_path), chosen.own_space().detach(), atol=1e-6)


def test_rdeds_tiles_are_part_of_the_image(tmp_path, digits, teachers):
    options = options_of("rded", teachers) | {"objective_options": ["tiles=2", "crops=3"]}
    hf_dd.distill(**options, output_dir=str(tmp_path))
    pool = TeacherPool.from_references(teachers)
    images = realistic_patches(digits, pool, 2, 0, PatchOptions(tiles=2, crops=3))
    assert torch.allclose(pixel_values(tmp_path), images, atol=1e-6)
    assert json.loads((tmp_path / "hf_dd.json").read_text())["settings"]["factor"] == 1


@pytest.mark.parametrize(("method", "init"), [("herding", None), ("dm", "k-centers")])
def test_images_are_chosen_by_a_network_that_is_trained_as_long_as_asked(tmp_path, digits, method, init):
    options = {"objective": method, "init": init, "ipc": 3, "selection_epochs": 0, "eval_students": 0}
    if method == "dm":  # a step on nothing leaves the start as it is
        options |= {"iterations": 1, "image_learning_rate": 0.0}
    hf_dd.distill(**options, output_dir=str(tmp_path))
    chosen = coresets.select(digits, init or method, 3, 0, epochs=0)
    assert not torch.equal(chosen, coresets.select(digits, init or method, 3, 0, epochs=10))
    expected = digits.train.images[chosen] / 255
    assert torch.allclose(pixel_values(tmp_path), expected, atol=1e-6)


@pytest.mark.parametrize(
    "options", [{"published": True}, {"objective": "dm", "init": "noise"}, {"objective": "random"}]
)
def test_epochs_of_a_network_that_chooses_nothing_are_refused(tmp_path, options):
    start = options.get("init", "real")
    with pytest.raises(ConfigError, match=f"--selection_epochs has no meaning for --init {start}: leave it out, or"):
        hf_dd.distill(**options, selection_epochs=0, output_dir=str(tmp_path))
    with pytest.raises(ConfigError, match="--selection_epochs is -1; it has to be at least 0"):
        hf_dd.distill(objective="herding", selection_epochs=-1, output_dir=str(tmp_path))
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("method", ["herding", "rded"])
def test_another_seed_is_another_choice(tmp_path, teachers, method):
    found = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        hf_dd.distill(**options_of(method, teachers), seed=seed, output_dir=str(tmp_path / name))
        found.append(pixel_values(tmp_path / name))
    assert torch.equal(found[0], found[1]) and not torch.equal(found[0], found[2])


@pytest.mark.parametrize("method", CHOICES)
def test_a_choice_yields_nothing(method):
    data = make_data()
    config = DistillConfig(**options_of(method, ["passed as a pool"]))
    objective = build_objective(config, data, None)
    assert list(objective.losses(make_step(make_set(data), data))) == []


@pytest.mark.parametrize("method", CHOICES)
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"iterations": 5}, "--iterations has no meaning for --objective {}: leave it out."),
        ({"init": "noise"}, "--init has no meaning for --objective {}: leave it out."),
        ({"real_batch_size": 5}, "--real_batch_size has no meaning for --objective {}: leave it out."),
        ({"image_learning_rate": 0.1}, "--image_learning_rate has no meaning for --objective {}: leave it out."),
        ({"image_optimizer": "adam"}, "--image_optimizer has no meaning for --objective {}: leave it out."),
        ({"image_schedule": "cosine"}, "--image_schedule has no meaning for --objective {}: leave it out."),
        ({"objective_options": ["outer=3"]}, "--objective_options: {} has no 'outer'"),
        (
            {"clom": "ce", "teachers": ["a/b@final"]},
            "--clom has nothing to guide: --objective {} optimises nothing.",
        ),
    ],
)
def test_what_only_an_optimisation_has_is_refused(method, options, message):
    config = DistillConfig(**options_of(method, ["a/b@final"]) | options)
    with pytest.raises(ConfigError, match=message.format(method)):
        preflight(config)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"objective": "rded"}, "--objective rded needs teachers: give --teachers, --teacher_tags or --teacher_pool."),
        ({"objective": "teacher-score"}, "--objective teacher-score needs teachers"),
        ({"objective": "dm", "init": "rded"}, "--init rded needs teachers: give --teachers"),
        ({"objective": "dm", "init": "teacher-score"}, "--init teacher-score needs teachers"),
        ({"objective": "random", "teachers": ["a/b@final"]}, "--teachers has no effect without a guide"),
        ({"objective": "k-centers"}, "--objective k-centers isn't known; known are: kcenter"),
    ],
)
def test_teachers_are_asked_for_where_they_choose_and_refused_where_they_would_go_unused(options, message):
    with pytest.raises(ConfigError, match=message):
        preflight(DistillConfig(**options))


def test_teachers_may_start_what_they_do_not_guide(tmp_path, teachers):
    options = {"ipc": 1, "real_batch_size": 4, "architecture_options": ["width=8", "depth=1"], "eval_students": 0}
    for init in ("rded", "teacher-score"):
        folder = tmp_path / init
        done = hf_dd.distill(**options, init=init, teachers=teachers, iterations=2, output_dir=str(folder))
        moved = (checkpoint_pixels(folder, 2) - checkpoint_pixels(folder, 0)).abs().max()
        assert 0 < moved < 10
        assert len(done.record.teachers) == 2 and done.record.settings["init"] == init


@pytest.mark.parametrize("method", CHOICES)
def test_too_many_images_are_refused_before_any_work(tmp_path, teachers, method, monkeypatch):
    monkeypatch.setattr(coresets, "fit", lambda *args, **kwargs: pytest.fail("it trained"))
    with pytest.raises(DataError, match="the largest ipc possible is"):
        hf_dd.distill(**options_of(method, teachers) | {"ipc": 500}, output_dir=str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()
