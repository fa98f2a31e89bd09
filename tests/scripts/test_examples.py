"""The examples for those who don't have hf_dd: they train on a distilled set as on any other, and learn from it."""

import re

import datasets
import pytest
from transformers import ViTForImageClassification

import hf_dd
from hf_dd.config import DataConfig
from hf_dd.core.resources import resource
from tests.scripts import loading


@pytest.fixture(scope="module")
def distilled(tmp_path_factory):
    """The folder of a distilled set of digits, ten images per class."""
    folder = tmp_path_factory.mktemp("examples") / "run"
    options = {"ipc": 10, "iterations": 2, "real_batch_size": 16, "architecture_options": ["width=8", "depth=2"]}
    hf_dd.distill(dataset="digits", eval_students=0, output_dir=str(folder), **options)
    return folder


@pytest.fixture(scope="module")
def without_pixel_values(distilled, tmp_path_factory):
    """The same with its decoded images alone, under other names."""
    folder = tmp_path_factory.mktemp("examples-png")
    rows = datasets.load_dataset(str(distilled), split="train").select_columns(["image", "label"])
    rows.rename_columns({"image": "picture", "label": "digit"}).to_parquet(f"{folder}/train.parquet")
    return folder


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """A folder with 300 digits of the test split, and the same with two classes exchanged by name."""
    digits = hf_dd.load_data(DataConfig())
    folder = tmp_path_factory.mktemp("examples-real")
    columns = {
        "image": [image[0].numpy() for image in digits.test.images[:300]],
        "label": digits.test.labels[:300].tolist(),
    }
    for name, names in (("test", digits.class_names), ("exchanged", digits.class_names[::-1])):
        features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=names)})
        (folder / name).mkdir()
        datasets.Dataset.from_dict(columns, features=features).to_parquet(f"{folder}/{name}/test.parquet")
    return folder


TRANSFORMERS = ("train_with_transformers.py", "--epochs", 40, "--learning_rate", 0.003)
TIMM = ("train_with_timm.py", "--model", "resnet10t", "--epochs", 15, "--learning_rate", 0.003)


@pytest.fixture
def train(forks, tmp_path):
    """Runs an example without hf_dd on its path; gives what it printed, its losses and its accuracy."""

    def run(example, folder, *options):
        script, *own = example
        if script == TRANSFORMERS[0]:
            own += ["--output_dir", tmp_path / "model"]
        path = resource("scripts", script)
        done = forks.run(path, folder, *own, *options, cwd=tmp_path, PYTHONPATH=None, OMP_NUM_THREADS=1)
        losses = [float(loss) for loss in re.findall(r"\bloss\W+([\d.]+)", done.stdout)]
        accuracy = re.search(r"^accuracy ([\d.]+) %$", done.stdout, re.MULTILINE)
        return done, losses, accuracy and float(accuracy[1])

    return run


def test_a_transformer_learns_from_a_distilled_set_and_is_saved_with_its_classes(distilled, real, train, tmp_path):
    done, losses, accuracy = train(TRANSFORMERS, distilled, "--test_set", real / "test")
    assert done.returncode == 0, done.stderr
    assert len(losses) == 40 and losses[-1] < 0.5 * losses[0]
    assert 40 < accuracy <= 100  # chance is 10
    model = ViTForImageClassification.from_pretrained(tmp_path / "model")
    names = datasets.load_dataset(str(distilled), split="train").features["label"].names
    assert model.config.id2label == dict(enumerate(names))


def test_a_timm_model_learns_from_a_distilled_set(distilled, real, train):
    done, losses, accuracy = train(TIMM, distilled, "--test_set", real / "test")
    assert done.returncode == 0, done.stderr
    assert len(losses) == 15 and losses[-1] < 0.5 * losses[0]
    assert 40 < accuracy <= 100


def test_timm_models_of_one_size_get_their_images_resized(without_pixel_values, train):
    example = ("train_with_timm.py", "--model", "test_vit", "--epochs", 2, "--mean", 0.3, "--std", 0.4)
    done, losses, _ = train(example, without_pixel_values)
    assert done.returncode == 0 and len(losses) == 2, done.stderr


@pytest.mark.parametrize("example", [TRANSFORMERS, TIMM], ids=["transformers", "timm"])
def test_other_classes_are_refused_before_training(example, without_pixel_values, real, train):
    done, losses, _ = train(example, without_pixel_values, "--test_set", real / "exchanged")
    assert done.returncode == 1 and not losses
    assert "has other classes than" in done.stderr and "Traceback" not in done.stderr


@pytest.fixture(scope="module")
def tiles(tmp_path_factory):
    """The folder of a distilled set that stores four images in each."""
    folder, options = tmp_path_factory.mktemp("tiles") / "run", {"objective": "random", "ipc": 1, "factor": 2}
    return hf_dd.distill(dataset="digits", eval_students=0, output_dir=str(folder), **options).folder


@pytest.mark.parametrize("name", ["on_distilled", "with_timm", "with_transformers", "on_labels"])
def test_of_a_set_of_tiles_the_single_images_are_trained_on(name, distilled, tiles, capsys):
    configuration_of = loading.script(f"train_{name}").configuration_of
    assert configuration_of(str(distilled), None, None) is None and not capsys.readouterr().out
    assert configuration_of(str(tiles), None, None) == "decoded"
    assert "'decoded' is taken" in capsys.readouterr().out
    assert configuration_of(str(tiles), None, "default") == "default" and not capsys.readouterr().out
