"""Models of timm and transformers as teachers: pushed by their own libraries, pulled by tag from the embedded Hub."""

import json
import logging
import shutil

import datasets
import numpy as np
import pytest
import timm
import torch
import transformers
from huggingface_hub import HfApi
from PIL import Image
from sklearn.datasets import load_sample_image

import hf_dd
from hf_dd.config import DataConfig
from hf_dd.data.image_data import load_data
from hf_dd.errors import TeacherError
from hf_dd.nn.input_transform import InputTransform
from hf_dd.teachers import adapters
from hf_dd.teachers.adapters import adapt
from hf_dd.teachers.adapters.base import probe
from hf_dd.teachers.pool import TeacherPool
from tests.factories import CLIP_VISION, VIT, pickled, save_timm, save_transformers, vit_processor

DIGITS = [str(digit) for digit in range(10)]
CLIP_TEXT = {"vocab_size": 20, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
SMALL = {"ipc": 1, "iterations": 2, "real_batch_size": 2, "architecture_options": ["width=8"], "eval_students": 0}


def few_digits():
    """Four images of each digit: a large model looks at all of them."""
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=DIGITS)})
    data = load_data(DataConfig())
    rows = [index[:4].tolist() for index in data.class_index]
    train = {"image": [], "label": []}
    for label, own in enumerate(rows):
        train["image"] += [Image.fromarray(image[0].numpy()) for image in data.train.images[own]]
        train["label"] += [label] * len(own)
    return datasets.DatasetDict({"train": datasets.Dataset.from_dict(train, features=features)})


def photograph(height, width):
    """A real photograph of this size, as an 8-bit PIL image."""
    return Image.fromarray(load_sample_image("china.jpg")).resize((width, height))


def tensor(image):
    """A PIL image as (1, channels, height, width) in [0, 1]."""
    pixels = np.asarray(image, np.float64) / 255
    return torch.from_numpy(pixels).view(1, *image.size[::-1], -1).movedim(3, 1)


def assert_within_a_step(transform, image, theirs):
    """Rounded to 8 bits, no pixel differs by more than 1 from what a library makes of a PIL image."""
    mean, std = (
        torch.tensor(values, dtype=torch.float64).view(-1, 1, 1) for values in (transform.mean, transform.std)
    )
    ours, theirs = transform.place(tensor(image))[0], theirs * std + mean
    assert ((255 * ours).round() - (255 * theirs).round()).abs().max() <= 1


def load_one(reference, **options):
    return TeacherPool.from_references([reference], **options)[0].double()


def vit(labels=DIGITS, **options):
    torch.manual_seed(0)
    labels = dict(enumerate(labels))
    config = transformers.ViTConfig(**VIT | options, id2label=labels, label2id={v: k for k, v in labels.items()})
    return transformers.ViTForImageClassification(config)


@pytest.fixture(scope="module")
def published_vit(hub, unique, tmp_path_factory):
    """`owner/name@v1` of a ViT of the ten digits, pushed by transformers, and that model."""
    repo_id, model = unique(), vit()
    model.push_to_hub(repo_id)
    vit_processor().push_to_hub(repo_id)
    HfApi().create_tag(repo_id, tag="v1")
    with torch.no_grad():
        model.classifier.bias += 1  # main moves on; the tag stays
    model.push_to_hub(repo_id)
    return repo_id


def test_a_transformers_classifier_gives_what_from_pretrained_gives(published_vit):
    teacher = load_one(f"{published_vit}@v1")
    theirs = transformers.AutoModelForImageClassification.from_pretrained(published_vit, revision="v1").double().eval()
    newest = transformers.AutoModelForImageClassification.from_pretrained(published_vit).double().eval()
    processor = transformers.AutoImageProcessor.from_pretrained(published_vit, revision="v1")
    image = Image.fromarray(probe(20, 20, 3))
    pixels = processor(image, return_tensors="pt").pixel_values.double()
    with torch.no_grad():
        torch.testing.assert_close(teacher.network(pixels), theirs(pixels).logits)
        torch.testing.assert_close(newest(pixels).logits, theirs(pixels).logits + 1)
        torch.testing.assert_close(teacher.network.features(pixels), theirs.vit(pixels).last_hidden_state[:, 0])
    spec = teacher.spec
    assert spec.sha == HfApi().model_info(published_vit, revision="v1").sha
    assert (spec.library, spec.architecture, spec.seed, spec.epoch) == ("transformers", "vit", None, None)
    assert teacher.class_names == DIGITS and teacher.image_size == (32, 32)


def test_a_gray_image_reaches_the_model_as_rgb_with_a_gradient(published_vit):
    teacher = load_one(f"{published_vit}@v1")
    images = torch.rand(2, 1, 8, 8, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(teacher(images), teacher(images.expand(-1, 3, -1, -1)))
    (gradient,) = torch.autograd.grad(teacher(images).square().sum(), images)
    assert gradient.abs().sum() > 0
    assert not any(parameter.requires_grad for parameter in teacher.parameters()) and not teacher.training


@pytest.mark.parametrize(
    "processor",
    [
        vit_processor(),
        vit_processor(resample=3),
        vit_processor(resample=0, do_normalize=False),
        vit_processor(do_rescale=False, image_mean=[127.0] * 3, image_std=[50.0] * 3),
        transformers.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 29, "width": 30}),
        transformers.CLIPImageProcessor(size={"shortest_edge": 20}, crop_size={"height": 32, "width": 32}),
        transformers.SiglipImageProcessor(size={"height": 24, "width": 40}),
        transformers.ConvNextImageProcessor(size={"shortest_edge": 32}, crop_pct=0.8),
        transformers.ConvNextImageProcessor(size={"shortest_edge": 384}),
        transformers.BitImageProcessor(size={"shortest_edge": 36}, crop_size={"height": 32, "width": 32}),
    ],
    ids=lambda processor: type(processor).__name__,
)
def test_images_are_prepared_as_transformers_prepares_them(processor, tmp_path):
    from hf_dd.teachers.adapters.transformers_models import transform_of

    transform = transform_of(processor, None)
    for height, width in [(28, 28), (41, 30), (90, 130)]:
        photograph(height, width).save(tmp_path / "image.png")
        image = Image.open(tmp_path / "image.png")
        theirs = processor(image, return_tensors="pt").pixel_values[0].double()
        assert_within_a_step(transform, image, theirs)


@pytest.mark.parametrize("mode", ["center", "squash", "border"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("size", [(3, 32, 32), (3, 30, 41)])
def test_images_are_prepared_as_timm_prepares_them(mode, interpolation, size, tmp_path):
    from hf_dd.teachers.adapters.timm_models import transform_of

    model = timm.create_model("resnet10t")
    own = {"crop_mode": mode, "interpolation": interpolation, "input_size": size, "crop_pct": 0.9}
    model.pretrained_cfg = model.pretrained_cfg | own
    transform = transform_of(model)
    theirs = timm.data.create_transform(**timm.data.resolve_model_data_config(model), is_training=False)
    for height, width in [(28, 28), (41, 30), (90, 131)]:
        photograph(height, width).save(tmp_path / "image.png")
        image = Image.open(tmp_path / "image.png")
        assert_within_a_step(transform, image, theirs(image).double())


def test_a_timm_model_gives_what_timm_gives(hub, unique):
    repo_id = unique()
    torch.manual_seed(0)
    model = timm.create_model("resnet10t", num_classes=10)
    timm.models.push_to_hf_hub(model, repo_id, model_config={"label_names": DIGITS})
    HfApi().create_tag(repo_id, tag="v1")
    teacher = load_one(f"{repo_id}@v1")
    theirs = timm.create_model(f"hf-hub:{repo_id}@v1", pretrained=True).double().eval()
    images = torch.rand(2, 3, 40, 40, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(teacher.network(images), theirs(images))
        features = teacher.network.features(images)
        torch.testing.assert_close(theirs.get_classifier()(features), theirs(images))
    assert teacher.class_names == DIGITS
    assert (teacher.spec.library, teacher.spec.architecture) == ("timm", "resnet10t")


def test_imagenets_classes_have_their_synsets(tmp_path):
    save_timm(tmp_path / "model")
    names = load_one(str(tmp_path / "model")).class_names
    assert len(names) == 1000 and names[:2] == ["n01440764", "n01443537"]


def test_imagenets_classes_are_known_by_the_words_that_the_hub_has_for_them(tmp_path):
    """The names of ILSVRC/imagenet-1k are timm's words for the synsets, but for the second crane."""
    save_timm(tmp_path / "model")
    teacher = load_one(str(tmp_path / "model"))
    words = timm.data.ImageNetInfo().label_descriptions()
    assert words[0] == "tench, Tinca tinca" and words[134] == words[517] == "crane"
    words[517] = "crane2"
    assert teacher.knows(words) and teacher.logit_order(words) == list(range(1000))
    assert teacher.logit_order(sorted(words))[:2] == [words.index(name) for name in sorted(words)[:2]]
    with pytest.raises(TeacherError, match="classes of .* aren't the data set's: it lacks Afghan hound"):
        teacher.logit_order(["heron", *words[1:]])
    teacher.class_names = [*words[:517], "crane", *words[518:]]  # as models of transformers have them
    assert teacher.logit_order(words) == list(range(1000))
    teacher.class_names = ["n00000001", "n01440764"]
    assert not teacher.knows(words[:2])


def test_an_image_tower_gives_its_projected_features_and_no_logits(tmp_path, hub, unique):
    torch.manual_seed(0)
    config = transformers.CLIPConfig(vision_config=CLIP_VISION, text_config=CLIP_TEXT, projection_dim=12)
    repo_id, model = unique(), transformers.CLIPModel(config)
    model.push_to_hub(repo_id)
    processor = transformers.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    processor.push_to_hub(repo_id)
    teacher = load_one(repo_id)
    theirs = transformers.AutoModel.from_pretrained(repo_id, revision=teacher.spec.sha).double().eval()
    image = Image.fromarray(probe(40, 40, 3))
    pixels = processor(image, return_tensors="pt").pixel_values.double()
    with torch.no_grad():
        torch.testing.assert_close(
            teacher.network.features(pixels), theirs.get_image_features(pixel_values=pixels).pooler_output
        )
    assert teacher.class_names is None
    with pytest.raises(TeacherError, match="no logits of named classes.*--clom cos"):
        teacher.logit_order(DIGITS)


def test_weights_that_a_tower_leaves_over_are_not_reported(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("transformers"), "propagate", True)
    settings = transformers.CLIPVisionConfig(**CLIP_VISION)
    transformers.CLIPVisionModelWithProjection(settings).save_pretrained(tmp_path)
    transformers.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=32).save_pretrained(tmp_path)
    before = transformers.logging.get_verbosity()
    load_one(str(tmp_path))
    assert not caplog.messages and transformers.logging.get_verbosity() == before


@pytest.mark.parametrize("kind", ["vision", "encoder", "unpooled", "backbone"])
def test_towers_encoders_and_backbones_give_features(kind, tmp_path):
    torch.manual_seed(0)
    model = {
        "vision": lambda: transformers.CLIPVisionModel(transformers.CLIPVisionConfig(**CLIP_VISION)),
        "encoder": lambda: transformers.ViTModel(transformers.ViTConfig(**VIT)),
        "unpooled": lambda: transformers.ViTModel(transformers.ViTConfig(**VIT), add_pooling_layer=False),
        "backbone": lambda: transformers.ResNetBackbone(
            transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic")
        ),
    }[kind]()
    model = save_transformers(tmp_path / "model", model, vit_processor()).double()
    teacher, images = load_one(str(tmp_path / "model")), torch.rand(2, 3, 32, 32, dtype=torch.float64)
    with torch.no_grad():
        output = model(pixel_values=images)
        expected = {
            "vision": lambda: output.pooler_output,
            "encoder": lambda: output.pooler_output,
            "unpooled": lambda: output.last_hidden_state[:, 0],
            "backbone": lambda: output.feature_maps[-1].mean((2, 3)),
        }[kind]()
        torch.testing.assert_close(teacher.network.features(images), expected)
    assert teacher.class_names is None


def test_every_kind_guides_a_distillation_and_stands_on_the_card(published_vit, tmp_path):
    save_timm(tmp_path / "teachers/timm-model", "test_resnet", num_classes=10)
    save_transformers(
        tmp_path / "teachers/tower",
        transformers.CLIPVisionModel(transformers.CLIPVisionConfig(**CLIP_VISION)),
        vit_processor(),
    )
    references = [f"{published_vit}@v1", str(tmp_path / "teachers/timm-model"), str(tmp_path / "teachers/tower")]
    made = hf_dd.distill(
        clom="cos",
        clom_pool="mean-loss",
        clom_real_batch=4,
        teachers=references,
        output_dir=f"{tmp_path}/set",
        **SMALL,
    )
    assert [teacher["library"] for teacher in made.record.teachers] == ["transformers", "timm", "transformers"]
    card = (tmp_path / "set/README.md").read_text()
    assert "| vit (transformers) | – | – | – | – |" in card and "| test_resnet (timm) |" in card
    by_names = hf_dd.distill(
        clom="ce", teachers=[f"{published_vit}@v1"], output_dir=str(tmp_path / "by-names"), **SMALL
    )
    assert by_names.record.teachers[0]["sha"] == made.record.teachers[0]["sha"]


def test_a_cubic_filter_overshoots_neither_range_nor_gradient():
    transform = InputTransform(1, (0.0,), (1.0,), resize=(32, 32), filter="bicubic")
    edge = torch.zeros(1, 1, 8, 8, dtype=torch.float64)
    edge[..., 4:] = 1
    edge.requires_grad_()
    made = transform(edge)
    assert made.min() == 0 and made.max() == 1
    (gradient,) = torch.autograd.grad(made.sum(), edge)
    torch.testing.assert_close(gradient.sum(), torch.tensor(1024.0, dtype=torch.float64))
    assert transform(3 * edge).max() == 3  # what is outside of [0, 1] already stays there


def without_processor(folder):
    vit().save_pretrained(folder)


def text_only(folder):
    config = transformers.BertConfig(
        vocab_size=9, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8
    )
    transformers.BertModel(config).save_pretrained(folder)


def lanczos(folder):
    save_transformers(folder, vit(), vit_processor(resample=1))


def padding(folder):
    processor = vit_processor()
    save_transformers(folder, vit(), processor)
    path = folder / "preprocessor_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"do_pad": True}))


def timm_lanczos(folder):
    save_timm(folder, num_classes=10)
    config = json.loads((folder / "config.json").read_text())
    config["pretrained_cfg"]["interpolation"] = "lanczos"
    (folder / "config.json").write_text(json.dumps(config))


def missing_weights(folder):
    save_transformers(folder, vit(), vit_processor())
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 2}))


def other_weights(folder):
    save_timm(folder, num_classes=10)
    save_timm(folder.with_name("other"), num_classes=11)
    shutil.copy(folder.with_name("other") / "model.safetensors", folder)


def of_no_library(folder):
    folder.mkdir()
    (folder / "config.json").write_text("{}")


@pytest.mark.parametrize(
    "make, message",
    [
        (pickled, r"its weights are pickled \(pytorch_model.bin\).*--trusted_teachers"),
        (without_processor, "how its images are made isn't known: it has no preprocessor_config.json"),
        (text_only, "bert is no image model: it takes input_ids"),
        (lanczos, "the filter of its resize, lanczos"),
        (padding, "do_pad of ViTImageProcessor isn't known"),
        (timm_lanczos, "the filter 'lanczos' of its pretrained_cfg isn't known"),
        (missing_weights, "its config.json describes a network of .* numbers, but its weights are .*: they don't fit"),
        (other_weights, "timm can't build 'resnet10t'"),
        (of_no_library, "names neither an `architecture` of timm nor a `model_type` of transformers"),
    ],
)
def test_a_teacher_that_cannot_be_used_is_refused_by_name(make, message, tmp_path):
    make(tmp_path / "bad-teacher")
    with pytest.raises(TeacherError, match=rf"bad-teacher.*{message}"):
        hf_dd.distill(clom="cos", teachers=[str(tmp_path / "bad-teacher")], output_dir=str(tmp_path / "set"), **SMALL)
    assert not (tmp_path / "set").exists()


def test_a_step_of_a_processors_own_is_named(tmp_path):
    from hf_dd.teachers.adapters.transformers_models import transform_of

    class Inverting(transformers.ViTImageProcessor):
        def rescale_and_normalize(self, images, *arguments):
            return 1 - super().rescale_and_normalize(images, *arguments)

    with pytest.raises(TeacherError, match="What isn't expressed is one of Inverting.rescale_and_normalize"):
        transform_of(Inverting(), None)


def test_pickled_weights_on_the_hub_are_named_before_anything_is_read_and_trusted_by_name(hub, unique, tmp_path):
    repo_id = unique()
    pickled(tmp_path / "model")
    HfApi().create_repo(repo_id)
    HfApi().upload_folder(repo_id=repo_id, folder_path=tmp_path / "model")
    with pytest.raises(TeacherError, match=r"its weights are pickled \(pytorch_model.bin\)"):
        load_one(repo_id)
    teacher = load_one(repo_id, trusted=[repo_id])
    assert teacher.spec.trusted and teacher.class_names is None
    options = SMALL | {
        "dataset": few_digits(),
        "clom": "cos",
        "clom_real_batch": 10,
        "teachers": [repo_id],
        "output_dir": str(tmp_path / "set"),
    }
    hf_dd.distill(trusted_teachers=[repo_id], **options)
    assert "resnet10t (timm, pickles and code allowed)" in (tmp_path / "set/README.md").read_text()


def test_adapt_reads_a_folder_alone(tmp_path):
    save_timm(tmp_path / "model", num_classes=10)
    adapted = adapt(tmp_path / "model")
    assert adapted.transform.channels == 3 and adapted.transform.image_size == (176, 176)


@pytest.mark.parametrize(
    "save, about",
    [
        (lambda folder: save_timm(folder, num_classes=10), {"architecture": "resnet10t", "library": "timm"}),
        (
            lambda folder: save_transformers(folder, vit(), vit_processor()),
            {"architecture": "vit", "library": "transformers"},
        ),
    ],
)
def test_what_a_model_is_is_known_without_its_weights(tmp_path, save, about):
    save(tmp_path / "model")
    loaded = TeacherPool.from_references([str(tmp_path / "model")])[0].spec
    for path in (tmp_path / "model").iterdir():
        if path.name not in adapters.DESCRIPTION:
            path.unlink()
    found = adapters.about(tmp_path / "model")
    assert found.items() >= about.items()
    assert found == {key: getattr(loaded, key) for key in found}


@pytest.fixture(scope="module")
def foreign(hub, unique, tmp_path_factory, forks):
    """`owner/name@v1` of the ImageNet-trained EfficientNet-Lite0."""
    repo_id = unique()
    folder = tmp_path_factory.mktemp("foreign") / "efficientnet-lite0"
    ran = forks.run("scripts/convert_efficientnet_lite0.py", folder, "--hub_model_id", repo_id, "--hub_tag", "v1")
    assert ran.returncode == 0, ran.stderr
    return f"{repo_id}@v1"


def test_a_model_trained_on_imagenet_knows_a_palace_and_a_daisy(foreign):
    teacher = TeacherPool.from_references([foreign])[0]
    names = dict(zip(timm.data.ImageNetInfo().label_names(), range(1000), strict=True))
    for picture, expected in (("china.jpg", "palace"), ("flower.jpg", "daisy")):
        image = Image.fromarray(load_sample_image(picture))
        with torch.no_grad():
            best = teacher.class_names[int(teacher(tensor(image).float()).argmax())]
        assert timm.data.ImageNetInfo().index_to_description(names[best]) == expected
    assert (teacher.spec.architecture, teacher.spec.dataset) == ("tf_efficientnet_lite0", "imagenet-1k")


def test_the_same_model_may_see_images_at_another_size(tmp_path, forks):
    ran = forks.run("scripts/convert_efficientnet_lite0.py", tmp_path / "lite0", "--image_size", "160")
    assert ran.returncode == 0, ran.stderr
    teacher = TeacherPool.from_references([str(tmp_path / "lite0")])[0]
    assert teacher.transform.resize == teacher.image_size == (160, 160)  # no border is cropped
    assert "160×160" in (tmp_path / "lite0/README.md").read_text()


def test_a_model_of_another_domain_guides_by_its_features_and_by_no_label(foreign, tmp_path):
    options = SMALL | {"iterations": 1, "teachers": [foreign], "output_dir": str(tmp_path / "set")}
    options |= {"dataset": few_digits()}
    made = hf_dd.distill(clom="cos", clom_real_batch=10, **options)
    assert made.record.teachers[0]["library"] == "timm"
    assert "| tf_efficientnet_lite0 (timm) | – | – | imagenet-1k | – |" in (tmp_path / "set/README.md").read_text()
    with pytest.raises(TeacherError, match="classes of .* aren't the data set's.*--clom cos"):
        hf_dd.distill(clom="ce", overwrite_output_dir=True, **options)
