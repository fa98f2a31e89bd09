"""The full-budget recipes run: two steps of each on generated images of its data set's shape, through the whole run.

What is another here than in the recipe: the number of iterations, a network of width 8, two real images per class and
step, few inner steps of DC and DSA, few steps of MTT's and TESLA's students, few real images and crops for RDED, small
batches for SRe2L, one copy of each image for LGM, another layer of the teacher for CIM, features of an untrained
network for herding and k-center, at most two synthetic images of a class, fewer classes, and no students (protocol and
architectures are looked up). All else is the recipe's own.
"""

import dataclasses
import json

import pytest
import torch
from datasets import ClassLabel, Dataset, Features, Image
from torchvision.transforms.functional import to_pil_image

import hf_dd
from hf_dd.artefacts import distilled_folder, teacher_folder
from hf_dd.config import DataConfig, DistillConfig, PretrainConfig, parse_key_values, recipes
from hf_dd.config.parsing import parse_config
from hf_dd.core.registry import STARTS
from hf_dd.data.image_data import load_data
from hf_dd.evaluation.protocols import PROTOCOLS
from hf_dd.evaluation.students import students_of
from hf_dd.nn import networks
from hf_dd.objectives import OBJECTIVES
from hf_dd.objectives.base import options_of
from hf_dd.synthetic import coresets
from hf_dd.training.pretraining import Snapshot

SHAPES = {  # by the first words of a recipe's name: classes (a few), images of each, side, columns, split to test on
    "cifar10": (10, 20, 32, ("img", "label"), "test"),
    "cifar100": (20, 8, 32, ("img", "fine_label"), "test"),
    "tiny-imagenet": (20, 8, 64, ("image", "label"), "valid"),
    "imagenet-1k": (10, 6, 224, ("image", "label"), "validation"),
}
FULL = [
    f"{path.stem}-{method}"
    for path in recipes.built_in("recipes")
    if path.stem in SHAPES
    for method in recipes.methods_of(path)
]
FEW = {
    **{"dc": ["outer=2", "inner=1"], "dsa": ["outer=2", "inner=1"], "lgm": ["copies=1"]},
    **{method: ["student_steps=3"] for method in ("mtt", "tesla", "datm", "datm-tesla")},
    "rded": ["images=6", "crops=2"],
    "sre2l": ["batch=10"],
    "cim": ["layer=features"],  # the network of this test has no such stages
}
NETWORK = {
    "dm",
    "dc",
    "dsa",
    "mtt",
    "tesla",
    "datm",
    "datm-tesla",
    "herding",
    "kcenter",
}  # those that draw networks of --architecture

pytestmark = pytest.mark.usefixtures("one_thread")


def prefix(recipe):
    return next(name for name in sorted(SHAPES, key=len, reverse=True) if recipe.startswith(f"{name}-"))


@pytest.fixture(scope="module")
def folder_of(tmp_path_factory):
    """A folder of parquet for each shape: an image is a plane of one colour with a bar of another: a small PNG."""
    folders = {}

    def folder(shape):
        if shape not in folders:
            folders[shape] = tmp_path_factory.mktemp(f"like-{shape}-")
            classes, count, side, columns, test_split = SHAPES[shape]
            features = Features({columns[0]: Image(), columns[1]: ClassLabel(names=[f"c{i}" for i in range(classes)])})
            for split, per_class in (("train", count), (test_split, 1)):
                draws = torch.Generator().manual_seed(len(split))
                labels = torch.arange(classes).repeat_interleave(per_class)
                colours = torch.randint(256, (len(labels), 3, 2), generator=draws, dtype=torch.uint8)
                rows = {columns[0]: [], columns[1]: labels.tolist()}
                for colour in colours:
                    image = colour[:, :1, None].repeat(1, side, side)
                    image[:, : side // 2, side // 4 : side // 2] = colour[:, 1:, None]
                    rows[columns[0]].append(to_pil_image(image))
                Dataset.from_dict(rows, features=features).to_parquet(folders[shape] / f"{split}.parquet")
        return folders[shape]

    return folder


def source(config, folder):
    """The generated images have no mean of any published ones, and whitening them takes a minute."""
    place = {"dataset": str(folder), "label_column": config.label_column, "test_split": config.test_split}
    return place | {"statistics": "own", "zca": None}


@pytest.fixture(scope="module")
def teacher(folder_of, tmp_path_factory):
    """A BatchNorm network of width 8, trained for one epoch on the data of a shape."""
    made = {}

    def make(shape, config):
        if shape not in made:
            options = {"architectures": ["ConvNetBN"], "architecture_options": ["width=8"], "epochs": 1}
            place = {"output_dir": str(tmp_path_factory.mktemp("teachers"))}
            own = source(config, folder_of(shape)) | {"image_size": config.image_size}
            made[shape] = str(hf_dd.pretrain(**options, **own, **place)[0])
        return made[shape]

    return make


def write_experts(config, folder, place):
    """Freshly drawn networks as the epochs of one expert that the recipe may ask for."""
    own = options_of(OBJECTIVES[config.objective], config)
    data = load_data(DataConfig(**source(config, folder), image_size=config.image_size))
    shape = data.network_shape | parse_key_values(config.architecture_options)
    for epoch in range(own.max_start_epoch + own.expert_epochs + 1):
        network = networks.build("ConvNet", **shape, seed=epoch)
        snapshot = Snapshot(network, "ConvNet", 0, epoch, None, 0.0, 0.0)
        teacher_folder.write_snapshot(place, snapshot, data, {}, command="", hardware="")
    teacher_folder.write_run(place, range(epoch + 1))
    return str(place)


@pytest.mark.parametrize("objective", [name for name in OBJECTIVES if STARTS.said(name, "embeds") != "training"])
def test_every_method_has_a_recipe_on_digits_and_one_on_fashion_mnist_at_ipc_10(objective):
    for place, ipc in (("digits", None), ("fashion-mnist", 10)):
        needed = ["--teachers", "a/b"] if objective == "clom" else []
        config = parse_config(DistillConfig, ["--config", f"{place}-{objective}", *needed], command="hf-dd distill")
        assert config.objective == objective
        assert ipc is None or config.ipc == (
            1 if objective in ("lgm", "sfm") else ipc
        )  # a linear probe takes one per class


TEACHERS = ("-teachers", "-experts", "-experts-zca", "-experts-datm")


@pytest.mark.parametrize("recipe", [name for name in FULL if not name.endswith(TEACHERS)])
def test_two_steps_of_a_full_budget_recipe_on_data_of_its_shape(recipe, folder_of, teacher, tmp_path, monkeypatch):
    untrained = coresets.embedding_recipe(0)
    monkeypatch.setattr(coresets, "embedding_recipe", lambda epochs: untrained)
    monkeypatch.setitem(coresets.select.__kwdefaults__, "architecture", "MLP")
    needed = ["--teachers", "a/b"] if recipe.endswith("-clom") else []
    config = parse_config(DistillConfig, ["--config", recipe, *needed], command="hf-dd distill")
    folder = folder_of(prefix(recipe))
    changes = source(config, folder) | {"eval_students": 0, "output_dir": str(tmp_path / "run")}
    changes["ipc"] = min(config.ipc, 1 if config.objective == "cim" else 2)
    if config.objective in NETWORK:
        changes["architecture_options"] = [*config.architecture_options, "width=8"]
    if config.objective in ("dm", "dc", "dsa", "lgm"):
        changes["real_batch_size"] = 2
    if own := FEW.get(config.objective):
        texts = [*config.objective_options, *own]
        changes["objective_options"] = list({text.partition("=")[0]: text for text in texts}.values())
    if OBJECTIVES[config.objective].published.iterations:
        changes["iterations"] = 2
    if OBJECTIVES[config.objective].uses_experts:
        changes["init"] = "real"  # untrained experts get too few images right
        changed = dataclasses.replace(config, **changes)
        changes["experts"] = [write_experts(changed, folder, tmp_path / "expert")]
    if config.objective in ("sre2l", "rded", "cim", "lgm", "teacher-score") or config.clom != "none":
        changes["teachers"] = [teacher(prefix(recipe), config)]
    artefact = hf_dd.distill(config, **changes)
    classes, _, side, _, _ = SHAPES[prefix(recipe)]
    side = config.image_size or side
    images = artefact.load()
    assert len(images) == classes * changes["ipc"]
    assert torch.tensor(images[0]["pixel_values"]).shape == (3, side, side)
    record = json.loads((artefact.folder / distilled_folder.RECORD).read_text())
    assert record["settings"]["iterations"] == changes.get("iterations", record["settings"]["iterations"])
    data = load_data(DataConfig(**source(config, folder), image_size=config.image_size))
    protocol = PROTOCOLS[config.eval_protocol]
    for architecture in config.eval_architectures if protocol.trains != "head" else []:
        assert students_of(architecture, protocol, data)


@pytest.mark.parametrize("recipe", [name for name in FULL if name.endswith(TEACHERS)])
def test_the_first_epoch_of_a_full_budget_recipes_teacher(recipe, folder_of, tmp_path):
    config = parse_config(PretrainConfig, ["--config", recipe], command="hf-dd pretrain")
    options = {"architecture_options": [*config.architecture_options, "width=8"], "teacher_seeds": [0]}
    short = {"epochs": 1, "keep_epochs": [1], "output_dir": str(tmp_path)}
    (folder,) = hf_dd.pretrain(config, **source(config, folder_of(prefix(recipe))), **options, **short)
    assert (folder / "epoch-1/model.safetensors").is_file()
