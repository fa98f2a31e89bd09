"""Folders of teachers that hold something odd: one TeacherError when they are loaded, which names file and field."""

import json
import os
import shutil

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from hf_dd.errors import TeacherError
from hf_dd.teachers import adapters
from hf_dd.teachers.locating import locate, read_run
from hf_dd.teachers.pool import TeacherPool
from tests.factories import NAMES, local_teacher, make_data, make_teacher, save_timm, save_transformers

SMALL = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
SMALL |= {"image_size": 16, "patch_size": 8, "id2label": dict(enumerate("0123456789"))}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A teacher of each library."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "own").mkdir()
    local_teacher(folder / "own", make_data())
    torch.manual_seed(0)
    processor = transformers.ViTImageProcessor(size={"height": 16, "width": 16})
    save_transformers(
        folder / "vit", transformers.ViTForImageClassification(transformers.ViTConfig(**SMALL)), processor
    )
    save_timm(folder / "timm", "test_resnet", num_classes=10)
    return folder


@pytest.fixture
def refused(whole, tmp_path):
    """A teacher with a changed JSON file is refused with these words."""

    def refuse(name, file, change, words):
        folder = shutil.copytree(whole / name, tmp_path / "teacher")
        content = json.loads((folder / file).read_text())
        change(content)
        (folder / file).write_text(json.dumps(content))
        with pytest.raises(TeacherError, match=words):
            adapters.adapt(folder)

    return refuse


def test_what_is_not_odd_is_loaded(whole):
    for name in ("own", "vit", "timm"):
        adapters.adapt(whole / name)


OWN = [
    ("config.json", {"std": [0.0]}, "a std is above 0"),
    ("config.json", {"std": [-0.3]}, "a std is above 0"),
    ("config.json", {"std": [float("nan")]}, r"config.json .*std\[0\] is nan"),
    ("config.json", {"std": ["0.3"]}, r"config.json .*std\[0\] is '0.3'"),
    ("config.json", {"mean": [0.5] * 3}, "a finite number for each of 1 channels"),
    ("config.json", {"mean": [-0.5]}, "mean .* lies outside of"),
    ("config.json", {"mean": None}, "config.json .*mean is None"),
    ("config.json", {"class_names": ["cat", 1, "dog"]}, r"class_names\[1\] is 1"),
    ("config.json", {"class_names": []}, r"logits of \[1, 3\]"),
    ("config.json", {"num_classes": 10**9}, "config.json: num_classes is 1000000000"),
    ("config.json", {"width": 10**5}, "doesn't fit .*should be floating"),
    ("config.json", {"image_size": [10**5, 10**5]}, "doesn't fit"),
    ("config.json", {"image_size": [6, -6]}, "takes images from"),
    ("config.json", {"in_channels": 2}, "doesn't fit"),
    ("config.json", {"num_classes": True}, "has to be|must be a whole number"),
    ("hf_dd.json", {"seed": "0"}, "hf_dd.json .*seed is '0'"),
    ("hf_dd.json", {"accuracy": 7}, r"an accuracy outside of \[0, 1\]"),
    ("hf_dd.json", {"epoch": -1}, "below 0"),
    ("hf_dd.json", {"seconds": "long"}, "hf_dd.json .*seconds is 'long'"),
    ("hf_dd.json", {"dataset": None}, "hf_dd.json .*dataset is None"),
]


@pytest.mark.parametrize(("file", "odd", "words"), OWN)
def test_an_odd_teacher_of_ours(refused, file, odd, words):
    refused("own", file, lambda content: content.update(odd), words)


VIT = [
    ("config.json", {"hidden_size": 10**6}, r"a network of 4,000,.* numbers, but its weights are"),
    ("config.json", {"num_hidden_layers": 10**6}, "far more layers than its 24 tensors"),
    (
        "config.json",
        {"num_hidden_layers": 10**9},
        "config.json: num_hidden_layers is 1000000000, which no network has",
    ),
    ("config.json", {"architectures": [5]}, "architectures of its config.json"),
    ("config.json", {"id2label": {"0": None, "1": "b"}}, "fit|id2label"),
    ("config.json", {"attn_implementation": "somebody/kernel"}, "code of others .somebody/kernel"),
    ("config.json", {"num_channels": 1}, "prepared|ViTImageProcessor"),
    ("preprocessor_config.json", {"size": {"height": 10**6, "width": 10**6}}, "a side has 1 to 2048"),
    ("preprocessor_config.json", {"size": {"height": 32, "width": 32}}, "it can't take an image of"),
    ("preprocessor_config.json", {"image_std": [0, 0, 0]}, "a std is above 0"),
    ("preprocessor_config.json", {"image_mean": "x"}, "an option of its preprocessor_config.json"),
    ("preprocessor_config.json", {"rescale_factor": 0}, "its rescale_factor is 0"),
    ("preprocessor_config.json", {"rescale_factor": None}, "an option of its preprocessor_config.json"),
    ("preprocessor_config.json", {"resample": "x"}, "an option of its preprocessor_config.json"),
    ("preprocessor_config.json", {"do_center_crop": True, "crop_size": None}, "an option of|can't"),
]


@pytest.mark.parametrize(("file", "odd", "words"), VIT)
def test_an_odd_teacher_of_transformers(refused, file, odd, words):
    refused("vit", file, lambda content: content.update(odd), words)


TIMM = [
    ({"model_args": {"in_chans": 1, "num_classes": 10}}, "doesn't fit|can't take|timm can't"),
    ({"model_args": {"num_classes": 10, "pretrained_strict": False}}, "model_args say pretrained_strict"),
    ({"model_args": {"checkpoint_path": "x.bin"}}, "model_args say checkpoint_path"),
    ({"architecture": "hf_hub:somebody/model"}, "timm can't build"),
    ({"architecture": 5}, "architecture has to be a text"),
    ({"pretrained_cfg": []}, "pretrained_cfg a mapping|timm can't"),
]


@pytest.mark.parametrize(("odd", "words"), TIMM)
def test_an_odd_teacher_of_timm(refused, odd, words):
    refused("timm", "config.json", lambda content: content.update(odd), words)


@pytest.mark.parametrize(
    "odd", [{"mean": [0.5, 0.5]}, {"std": [0, 0, 0]}, {"input_size": [3, 10**6, 8]}, {"crop_pct": -1}, {"std": "x"}]
)
def test_an_odd_preparation_of_timm(refused, odd):
    refused(
        "timm",
        "config.json",
        lambda content: content["pretrained_cfg"].update(odd),
        "std|input_size|crop_pct|pixels|as its pretrained_cfg says",
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", ["own", "vit", "timm"])
def test_weights_that_are_not_finite_are_refused(whole, tmp_path, name, dtype):
    folder = shutil.copytree(whole / name, tmp_path / "teacher")
    weights = load_file(folder / "model.safetensors")
    key = sorted(key for key, value in weights.items() if value.is_floating_point())[0]
    odd = weights[key].to(dtype).clone()
    odd.view(-1)[-1] = float("nan")
    save_file(weights | {key: odd}, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(TeacherError, match="aren't finite, in"):
        adapters.adapt(folder)


def test_the_mean_of_two_heads_counts(tmp_path):
    torch.manual_seed(0)
    model = transformers.DeiTForImageClassificationWithTeacher(transformers.DeiTConfig(**SMALL))
    for head in (model.cls_classifier, model.distillation_classifier):
        torch.nn.init.normal_(head.weight)
        torch.nn.init.normal_(head.bias)
    processor = transformers.DeiTImageProcessor(size={"height": 16, "width": 16}, do_center_crop=False)
    model = save_transformers(tmp_path, model, processor)
    found = adapters.adapt(tmp_path).network
    images = torch.randn(3, 3, 16, 16)
    with torch.no_grad():
        assert torch.allclose(found(images), model(pixel_values=images).logits, atol=1e-5)
        assert found.features(images).shape == (3, 32)


def test_a_card_that_is_no_yaml_names_no_data_set(whole, tmp_path):
    folder = shutil.copytree(whole / "vit", tmp_path / "teacher")
    for front in ("datasets:\n\t- mnist", "datasets: [", "a: &a [*a]", "datasets: {a: 1}", "- x", "datasets: 5"):
        (folder / "README.md").write_text(f"---\n{front}\n---\n")
        assert adapters.about(folder)["dataset"] is None


def test_a_run_names_epochs_alone(tmp_path):
    record = {"kind": "teacher-run", "name": "x", "revisions": ["epoch-1"], "final": "epoch-1"}
    for odd in ({"final": "../secret"}, {"revisions": ["epoch-1", "/etc"]}, {"revisions": [1]}, {"final": None}):
        (tmp_path / "hf_dd.json").write_text(json.dumps(record | odd))
        with pytest.raises(TeacherError, match=r"called epoch-N|revisions\[0\] is 1|final is None"):
            read_run(tmp_path)


def test_many_classes_that_differ_are_counted():
    teacher = make_teacher(make_data(), class_names=NAMES[:3])
    with pytest.raises(TeacherError, match=r"lacks c0, c1, .*, … \(1000 in all\) and has bird, cat, dog besides"):
        teacher.logit_order([f"c{number}" for number in range(1000)])


@pytest.mark.parametrize("file", ["model.safetensors", "config.json", "README.md", "preprocessor_config.json"])
@pytest.mark.parametrize("what", ["/dev/zero", "nowhere", "pipe"])
def test_what_is_no_file_is_not_read(whole, tmp_path, file, what):
    folder = shutil.copytree(whole / "vit", tmp_path / "teacher")
    (folder / file).unlink(missing_ok=True)
    if what == "pipe":
        os.mkfifo(folder / file)
    else:
        (folder / file).symlink_to(what)
    with pytest.raises(TeacherError, match=f"{file} isn't a file"):
        locate(str(folder)) if (folder / "config.json").is_file() else adapters.adapt(folder)


def test_a_head_that_timm_would_draw_is_refused(tmp_path):
    save_timm(tmp_path, "test_vit", num_classes=10, img_size=32)
    config = json.loads((tmp_path / "config.json").read_text())
    config |= {"model_args": {"img_size": 32, "num_classes": 10}, "num_classes": 5}
    (tmp_path / "config.json").write_text(json.dumps(config))
    weights = load_file(tmp_path / "model.safetensors")
    kept = {name: value for name, value in weights.items() if not name.startswith("head.")}
    save_file(kept | {"more": torch.ones(10**4)}, tmp_path / "model.safetensors")
    with pytest.raises(TeacherError, match="with these weights: model.safetensors doesn't fit config.json: .*head"):
        adapters.adapt(tmp_path)


@pytest.mark.parametrize("name", ["own", "vit", "timm"])
def test_weights_that_were_cut_off_to_whole_numbers_are_refused(whole, name, tmp_path):
    """A library would take them, and guide by a network that nobody has trained."""
    folder = shutil.copytree(whole / name, tmp_path / "teacher")
    (path,) = folder.rglob("model.safetensors")
    weights = load_file(path)
    for key in [key for key, value in weights.items() if value.is_floating_point()][::3]:
        more = {} if name == "own" else {"more.extra": torch.zeros(10_000)}  # which no count would miss
        save_file(weights | more | {key: weights[key].int()}, path)
        with pytest.raises(TeacherError, match=f"{key} should be floating.*, is whole"):
            TeacherPool.from_references([str(path.parent)])
