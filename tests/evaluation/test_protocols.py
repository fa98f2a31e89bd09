"""Protocols: their settings beside a table of facts, their loops beside the papers' own, what they need and say."""

import copy
import dataclasses
import functools
import json
import math
from types import SimpleNamespace

import pytest
import torch

from hf_dd.config import EvaluationConfig, PretrainConfig
from hf_dd.core.seeding import generator
from hf_dd.core.strategies import parse_mix
from hf_dd.errors import ConfigError
from hf_dd.evaluation.protocols import DROPS, PROTOCOLS, Protocol, in_words, views_as_dict
from hf_dd.evaluation.students import normalised
from hf_dd.nn import augment, networks, views
from hf_dd.nn.views import Views
from hf_dd.training.loop import TrainingRecipe, fit, going_on
from hf_dd.training.pretraining import training_recipe
from hf_dd.training.schedules import SCHEDULES
from hf_dd.training.targets import StoredTargets, TaughtTargets
from tests.factories import make_data, make_teacher
from tests.oracles import protocols as oracle

pytestmark = pytest.mark.usefixtures("one_thread", "nothing_remembered")

CUTMIX = {"scale": (0.08, 1.0), "flip": True, "mix": "cutmix", "alpha": 1.0, "probability": 1.0, "shuffle": 1}
LARGE = {"optimizer": "adamw", "learning_rate": 1e-3, "weight_decay": 0.01, "decays_matrices": True, "epochs": 300}
KL20 = {"loss": "kl", "squared": False, "temperature": 20.0}
MSE = {"loss": "mse", "labels": "online"}
IMAGENET = (10, 1000, 224, "timm/resnet18")
TILED = CUTMIX | {"scale": (0.5, 1.0), "shuffle": 2}
HARD = {"optimizer": "sgd", "momentum": 0.9, "schedule": "fifths", "labels": "hard", "batch_size": 64}
IDC_VIEWS = {"scale": (0.5, 1.0), "flip": True, "jitter": 0.4, "lighting": 0.1, "mix": "cutmix", "alpha": 1.0}

EDC = {"average": 0.99, "hard_weight": 0.025, "decays_matrices": True, "accumulate": 1, "version": 3}
EDC_ADAMW = {"optimizer": "adamw", "learning_rate": 1e-3, "weight_decay": 0.01}
EDC_SGD = {"optimizer": "sgd", "learning_rate": 0.1, "momentum": 0.875, "weight_decay": 5e-4}
EDC_VIEWS = CUTMIX | {"scale": (0.5, 1.0), "rand_augment": (2, 9), "padding": 0}
EDC_SMALL = (
    (
        (1, 10, 32, "ResNet18BN"),
        EDC_ADAMW
        | {"epochs": 1000, "batch_size": 10, "schedule": "halves", "views": EDC_VIEWS | {"scale": (0.08, 1.0)}}
        | {"normalisation": "cifar100"},
    ),
    (
        (10, 100, 32, "ResNet18BN"),
        EDC_SGD
        | {"epochs": 1000, "batch_size": 50, "schedule": "cut", "schedule_end": 0.5, "views": EDC_VIEWS}
        | {"normalisation": "cifar100"},
    ),
    (
        (10, 200, 64, "timm/mobilenetv2_100"),
        EDC_SGD
        | {"epochs": 300, "batch_size": 100, "schedule": "cosine", "schedule_end": 0.5, "views": EDC_VIEWS}
        | {"normalisation": "imagenet"},
    ),
    (
        (10, 10, 224, "timm/resnet18"),
        EDC_ADAMW
        | {"epochs": 1000, "batch_size": 50, "schedule": "cut", "schedule_end": 0.5, "views": EDC_VIEWS}
        | {"normalisation": "imagenet"},
    ),
)

# What the sources say, by (ipc, classes, side, student): code of LINs-lab/RDED 3f6453d, VILA-Lab/SRe2L 8d00cba,
# G-VBSM 1ed80b0, EDC 80116a7, FADRM f445e38, Minimax 969fc6f, IDC (snu-mllab) and DD-Ranking b8b09664; the text of
# arXiv 2502.06434; for the audit (arXiv 2604.18811) a reproduction's account.
FACTS = [
    ("rded", IMAGENET, LARGE | KL20 | {"labels": "online", "schedule_end": 0.5, "batch_size": 100, "views": TILED}),
    ("rded", (1, 1000, 224, "timm/resnet18"), {"batch_size": 20}),
    ("rded", (50, 1000, 224, "timm/resnet18"), {"batch_size": 200}),
    ("rded", (1, 10, 224, "timm/resnet18"), {"batch_size": 10, "views": TILED}),
    ("rded", (10, 10, 128, "ConvNetD5"), {"batch_size": 50, "learning_rate": 1e-3, "views": TILED}),
    ("rded", (50, 10, 32, "ResNet18BN"), {"batch_size": 100, "views": {"scale": None, "shuffle": 1, "mix": "cutmix"}}),
    ("rded", (10, 100, 32, "ResNet18BN"), {"batch_size": 100, "learning_rate": 1e-3}),
    ("rded", (10, 100, 32, "ConvNetBN"), {"batch_size": 25, "learning_rate": 2e-3}),
    ("rded", (10, 200, 64, "ConvNetD4"), {"batch_size": 100, "views": {"scale": None, "shuffle": 1}}),
    ("rded", (5, 10, 32, "ConvNet"), {"batch_size": 15}),
    ("rded", (10, 1000, 224, "VGG11"), {"learning_rate": 5e-4}),
    ("rded", (10, 1000, 224, "timm/efficientnet_b0"), {"learning_rate": 2e-3}),
    ("rded", (10, 1000, 224, "timm/mobilenetv2_100"), {"learning_rate": 2.5e-3}),
    ("rded", (10, 1000, 224, "timm/vit_base_patch16_224"), {"learning_rate": 1e-4, "passes_twice": True}),
    ("rded-fixed", IMAGENET, {"passes_twice": False, "batch_size": 100, "normalisation": "imagenet"}),
    ("sre2l-fkd", IMAGENET, LARGE | KL20 | {"labels": "crops", "schedule_end": 0.0, "views": CUTMIX}),
    ("sre2l-kd", IMAGENET, LARGE | KL20 | {"labels": "online", "batch_size": 512, "accumulate": 2, "views": CUTMIX}),
    (
        "sre2l-kd",
        (10, 100, 32, "ResNet18BN"),
        {"epochs": 400, "batch_size": 128, "accumulate": 1, "temperature": 30.0, "batch_statistics": True}
        | {"decays_matrices": False, "squared": False, "learning_rate": 1e-3, "weight_decay": 0.01}
        | {"normalisation": "cifar10"}
        | {"views": {"padding": 4, "flip": True, "mix": "mixup", "alpha": 0.8, "scale": None}},
    ),
    (
        "sre2l-kd-fixed",
        (10, 100, 32, "ResNet18BN"),
        {"epochs": 400, "temperature": 30.0, "batch_statistics": False, "normalisation": "source"},
    ),
    (
        "sre2l-kd",
        (50, 200, 64, "ResNet18BN"),
        {"epochs": 100, "batch_size": 64, "optimizer": "sgd", "learning_rate": 0.2, "weight_decay": 1e-4}
        | {"schedule": "warm", "squared": True, "temperature": 20.0, "views": {"scale": (0.08, 1.0), "mix": "none"}},
    ),
    ("rethinkdc-soft", IMAGENET, LARGE | KL20 | {"labels": "online", "batch_size": 128, "views": CUTMIX}),
    (
        "rethinkdc-hard",
        IMAGENET,
        LARGE | {"labels": "hard", "batch_size": 128, "views": CUTMIX | {"mix": "none"}, "loss": "ce"},
    ),
    (
        "hl",
        IMAGENET,
        {"optimizer": "sgd", "learning_rate": 0.01, "weight_decay": 5e-4, "epochs": 300, "batch_size": 256},
    ),
    ("sl", IMAGENET, KL20 | {"labels": "soft", "optimizer": "adamw", "learning_rate": 1e-3, "batch_size": 256}),
    ("sl-kd", IMAGENET, KL20 | {"labels": "online", "epochs": 300, "batch_size": 256}),
    *(
        ("minimax-hard", (ipc, 10, 224, "timm/resnet18"), HARD | {"epochs": epochs, "views": IDC_VIEWS})
        for ipc, epochs in ((1, 3000), (10, 2000), (11, 1500), (50, 1500), (100, 1000), (201, 500), (501, 300))
    ),
    *(
        ("minimax-hard", (ipc, 100, 224, "timm/resnet18"), {"epochs": epochs, "learning_rate": 0.01})
        for ipc, epochs in ((1, 2000), (10, 1300), (50, 1000), (200, 600), (500, 300), (1000, 200))
    ),
    ("minimax-hard", IMAGENET, {"learning_rate": 0.1, "weight_decay": 1e-4, "batch_size": 128, "epochs": 2000}),
    ("idc", (10, 100, 224, "timm/resnet18"), {"learning_rate": 0.1, "weight_decay": 1e-4, "batch_size": 128}),
    (
        "idc",
        (10, 10, 32, "ConvNet"),
        HARD
        | {"epochs": 1000, "augment": "composite_color_crop_flip_scale_rotate", "version": 2}
        | {"learning_rate": 0.01, "weight_decay": 5e-4}
        | {"views": {"mix": "cutmix", "probability": 0.5, "scale": None, "jitter": 0.0}},
    ),
    *(
        ("fadrm", (ipc, classes, side, student), {"learning_rate": rate, "schedule_end": {1: 0.0, 2: 0.5}[eta]})
        for classes, side, student, cells in (
            (1000, 224, "timm/resnet18", {1: (1e-3, 2), 10: (1e-3, 2), 40: (1e-3, 2), 50: (1e-3, 1)}),
            (1000, 224, "timm/resnet50", {1: (5e-4, 2), 10: (1e-3, 2), 50: (1e-3, 1)}),
            (1000, 224, "timm/resnet101", {1: (3.5e-3, 2), 10: (1e-3, 2), 50: (5e-4, 1)}),
            (100, 32, "ResNet18BN", {1: (5e-4, 2), 10: (1e-3, 2), 50: (1e-3, 1)}),
            (100, 32, "timm/resnet50", {1: (1e-3, 1), 10: (1e-3, 2), 50: (1e-3, 1)}),
            (100, 32, "timm/resnet101", {1: (5e-4, 1), 10: (5e-4, 1), 50: (5e-4, 1)}),
            (200, 64, "ResNet18BN", {1: (1e-3, 2), 10: (1e-3, 2), 50: (1e-3, 1)}),
            (200, 64, "timm/resnet50", {1: (5e-4, 2), 10: (5e-4, 2), 50: (5e-4, 1)}),
            (10, 224, "timm/resnet18", {1: (5e-4, 2), 10: (5e-4, 1), 50: (5e-4, 2)}),
            (10, 224, "timm/resnet50", {1: (5e-4, 2), 10: (5e-4, 1), 50: (5e-4, 1)}),
            (10, 224, "timm/resnet101", {1: (5e-4, 2), 50: (1e-3, 2)}),
        )
        for ipc, (rate, eta) in cells.items()
    ),
    (
        "fadrm",
        IMAGENET,
        LARGE | KL20 | {"labels": "online", "batch_size": 16, "batch_statistics": True, "views": CUTMIX},
    ),
    ("fadrm", (10, 100, 32, "ResNet18BN"), {"normalisation": "cifar100"}),
    ("fadrm", (10, 200, 64, "ResNet18BN"), {"normalisation": "imagenet"}),
    ("g-vbsm", IMAGENET, LARGE | MSE | {"batch_size": 1024, "hard_weight": 0.1, "views": CUTMIX}),
    (
        "g-vbsm",
        (10, 10, 32, "ResNet18BN"),
        {"epochs": 1000, "batch_size": 100, "optimizer": "adamw", "learning_rate": 1e-3, "weight_decay": 0.0}
        | {"hard_weight": 0.15, "normalisation": "cifar100"},
    ),
    ("g-vbsm-fixed", (10, 10, 32, "ResNet18BN"), {"epochs": 1000, "batch_size": 100, "normalisation": "source"}),
    ("g-vbsm-fixed", (10, 100, 32, "ResNet18BN"), {"epochs": 1000, "batch_size": 64, "normalisation": "cifar100"}),
    (
        "g-vbsm",
        (10, 100, 32, "ResNet18BN"),
        {"epochs": 1000, "batch_size": 64, "optimizer": "sgd", "learning_rate": 0.1, "weight_decay": 5e-4}
        | {"hard_weight": 0.15, "normalisation": "cifar100"},
    ),
    (
        "g-vbsm",
        (10, 200, 64, "ResNet18BN"),
        {"epochs": 100, "batch_size": 100, "optimizer": "sgd", "hard_weight": 0.1, "normalisation": "imagenet"},
    ),
    (
        "edc",
        IMAGENET,
        LARGE | MSE | {"batch_size": 100, "hard_weight": 0.025, "average": 0.99, "schedule": "linear"},
    ),
    ("edc", IMAGENET, {"schedule_end": 0.5, "views": CUTMIX | {"scale": (0.5, 1.0), "rand_augment": None}}),
    ("edc-fixed", IMAGENET, {"schedule": "cosine", "schedule_end": 0.5}),
    # Of the small sets: train.sh and direct_train.py of each branch, with the defaults of the latter.
    *(
        (name, place, MSE | EDC | facts)
        for name in ("edc", "edc-fixed")
        for place, facts in EDC_SMALL[name == "edc-fixed" :]
    ),
    ("edc-fixed", EDC_SMALL[0][0], MSE | EDC | EDC_SMALL[0][1] | {"normalisation": "source"}),
    (
        "ddranking-soft",
        IMAGENET,
        {"labels": "soft", "temperature": 1.2, "squared": False, "batch_size": 1024, "learning_rate": 0.01}
        | {"schedule_end": 0.5, "epochs": 300, "optimizer": "adamw", "mixes_labels": False},
    ),
    ("ddranking-soft-fixed", IMAGENET, {"mixes_labels": True}),
]


@pytest.mark.parametrize("name", dict.fromkeys(name for name, *_ in FACTS))
def test_every_setting_is_that_of_its_source(name):
    for of, place, facts in FACTS:
        if of != name:
            continue
        found = PROTOCOLS[name].resolve(*place)
        for field, value in facts.items():
            own = getattr(found, field)
            if isinstance(value, dict):
                own = {key: getattr(own, key) for key in value}
            assert own == value, (name, place, field)
        assert found.cases == () and dataclasses.replace(found, resolved=()).resolve(*place).resolved == ()


def test_every_registered_protocol_is_among_the_facts():
    modules = ("registered_papers", "registered_teacher_logits")
    papers = {name for name, (module, _) in PROTOCOLS.declared.items() if module.endswith(modules)}
    assert {name for name, *_ in FACTS} == papers | {"hl", "sl", "sl-kd"}
    for name, (_, words) in PROTOCOLS.declared.items():
        protocol = PROTOCOLS[name]
        assert protocol.name == name and protocol.version >= 1 and not protocol.changed
        assert name not in papers or words["sizes"]
        hash(protocol), protocol.recipe(), str(protocol.resolve(*IMAGENET))


# --- rates


@pytest.mark.parametrize(
    ("name", "end", "share"),
    [
        ("cosine", 0.0, lambda e: (1 + math.cos(math.pi * e / 12)) / 2),
        ("cosine", 0.5, lambda e: (1 + math.cos(math.pi * e / 24)) / 2),
        ("linear", 0.5, lambda e: 1 - e / 24),
        ("fifths", 0.0, lambda e: 1.0 if e < 8 else 0.2 if e < 10 else 0.04),
        ("halves", 0.0, lambda e: 1.0 if e < 9 else 0.5 if e < 10 else 0.25 if e < 11 else 0.125),
        ("warm", 0.0, lambda e: 0.01 + 0.99 * e / 5 if e < 5 else (1 + math.cos(math.pi * (e - 5) / 7)) / 2),
        (
            "cut",
            0.5,
            lambda e: (
                (1 + math.cos(math.pi * e / 24)) / 2
                if e <= 10
                else (1 + math.cos(math.pi * 10 / 24)) / 2 * (1 - e / 12)
            ),
        ),
    ],
)
def test_every_schedule_is_its_formula_at_every_epoch(name, end, share):
    assert SCHEDULES[name](12, end) == pytest.approx([share(epoch) for epoch in range(12)], rel=1e-12)
    recipe = TrainingRecipe(12, 0.3, shares=SCHEDULES[name](12, end))
    optimizer, schedule = recipe.optimise([torch.nn.Parameter(torch.zeros(1))])
    for epoch in range(12):
        assert optimizer.param_groups[0]["lr"] == pytest.approx(0.3 * share(epoch), rel=1e-12)
        optimizer.step()
        schedule.step()


def test_a_single_epoch_has_the_whole_rate_but_where_it_warms_up():
    assert {name: shares(1, 0.5)[0] for name, shares in SCHEDULES.items()} == dict.fromkeys(SCHEDULES, 1.0) | {
        "warm": 0.01
    }
    assert {name: drops(1) for name, drops in DROPS.items()} == {"step": (1,), "restart": (2,)}


@pytest.mark.parametrize("name", ["edc", "edc-fixed"])
@pytest.mark.parametrize(
    ("place", "ls_type", "rate"),
    [(EDC_SMALL[0][0], "multisteplr", 0.001), (EDC_SMALL[1][0], "cos2", 0.1), (EDC_SMALL[2][0], "cos", 0.1)]
    + [(EDC_SMALL[3][0], "cos2", 0.001)],
)
def test_edcs_rates_on_small_sets_are_those_of_its_code_in_every_epoch(name, place, ls_type, rate):
    protocol = PROTOCOLS[name].resolve(*place)
    ours, schedule = protocol.recipe().optimise([torch.nn.Parameter(torch.zeros(1))])
    theirs = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], rate)
    scheduler = oracle.edc_rates(theirs, ls_type, 2, protocol.epochs)
    for _ in range(protocol.epochs):
        assert ours.param_groups[0]["lr"] == pytest.approx(theirs.param_groups[0]["lr"], rel=1e-12)
        for each in (ours, theirs, schedule, scheduler):
            each.step()


# --- loops

EPOCHS, SEED = 7, 3
SHAPE = {"in_channels": 3, "num_classes": 3, "image_size": 8}


@functools.cache
def problem():
    """Colour images of three classes, and two teachers with batch normalisation that has seen something."""
    data = make_data((5, 4, 4), channels=3, size=8)
    teachers = [make_teacher(data, "ConvNetBN", seed, width=4, depth=2) for seed in (5, 6)]
    for teacher in teachers:
        for layer in teacher.modules():
            if isinstance(layer, torch.nn.BatchNorm2d):
                layer.running_mean.fill_(0.1)
                layer.running_var.fill_(1.5)
    return data, teachers


def student():
    return networks.build("ConvNetBN", **SHAPE, seed=1, width=4, depth=2)


def batches_of(protocol, places=False):
    """What a student sees, drawn by the names that the loop documents: images, labels (or places), and the mix."""
    data, _ = problem()
    recipe = protocol.recipe()
    epochs = []
    for number in range(1, protocol.epochs + 1):
        draws = generator(SEED, "student", "epoch", number)
        epochs.append([])
        for chosen in torch.randperm(len(data.train), generator=draws).split(protocol.batch_size):
            images, mix = data.train.images[chosen].float() / 255, None
            if recipe.views:
                drawn = views.draw(recipe.views, len(chosen), (8, 8), draws)
                images = views.shown(images, drawn)
            images = data.normalise(images)
            if recipe.strategy:
                images = augment.apply(images, augment.draw(len(chosen), recipe.strategy, draws))
            if recipe.views and recipe.views.mix == "mixup":
                mix = ("mixup", drawn.partners, drawn.weights[0].item())
            elif recipe.views and recipe.views.mix == "cutmix":
                top, left, height, width = drawn.pastes[0].tolist()
                ratio = 1 - height * width / 64
                mix = ("cutmix", drawn.partners, (top, left, top + height, left + width), ratio)
            epochs[-1].append((images, chosen if places else data.train.labels[chosen], mix))
    return epochs


def short(name, place=IMAGENET, **changes):
    """A protocol as it is there, for a few epochs on small batches, normalised by the data's own statistics."""
    found = PROTOCOLS[name].resolve(*place)
    return dataclasses.replace(found, **{"epochs": EPOCHS, "batch_size": 5, "normalisation": "source"} | changes)


def compared(protocol, theirs, targets, tolerance=2e-4):
    """Train by the loop and by the oracle: the same losses, rates and networks."""
    data, _ = problem()
    own, other = student(), student()
    recipe = protocol.recipe()
    epochs = list(fit(own, data.train.images, targets, recipe, seed=SEED, purpose="student", prepare=data.normalise))
    losses, rates = theirs(other)
    sizes = [5, 5, 3] * EPOCHS
    means = [sum(x * n for x, n in zip(losses[i : i + 3], sizes, strict=False)) / 13 for i in range(0, 3 * EPOCHS, 3)]
    assert [epoch.loss for epoch in epochs] == pytest.approx(means, rel=tolerance, abs=1e-6)
    optimizer, schedule = recipe.optimise([torch.nn.Parameter(torch.zeros(1))])
    for rate in rates:
        assert optimizer.param_groups[0]["lr"] == pytest.approx(rate, rel=1e-9, abs=1e-12)
        optimizer.step()
        schedule.step()
    for name, value in own.state_dict().items():
        torch.testing.assert_close(value.float(), other.state_dict()[name].float(), rtol=2e-3, atol=2e-4, msg=name)


def taught(protocol, count=1):
    data, teachers = problem()
    return TaughtTargets(
        teachers[:count],
        data.class_names,
        data.own_space,
        protocol.temperature,
        mean="raw" if protocol.loss == "mse" else protocol.teacher_mean,
        batch_statistics=protocol.batch_statistics,
        labels=data.train.labels,
    )


def said(training=False, which=0):
    """A teacher on normalised images, in eval or in train mode."""
    data, teachers = problem()
    teacher = copy.deepcopy(teachers[which])
    teacher.network.train(training)
    return lambda images: teacher(data.own_space(images)).detach()


@pytest.mark.parametrize("again", [True, False])
def test_rded_is_its_loop(again):
    protocol = short("rded" if again else "rded-fixed")
    compared(
        protocol,
        lambda student: oracle.rded(student, said(), batches_of(protocol), EPOCHS, 0.001, again=again),
        taught(protocol),
    )


def test_sre2l_is_its_loop_with_accumulated_gradients():
    protocol = short("sre2l-kd")
    assert protocol.accumulate == 2
    theirs = lambda student: oracle.sre2l_kd(student, said(), batches_of(protocol), EPOCHS, 2)  # noqa: E731
    compared(protocol, theirs, taught(protocol))


def test_sre2l_on_small_images_is_its_loop_by_a_teacher_in_train_mode():
    protocol = short("sre2l-kd", (10, 100, 32, "ResNet18BN"))
    before = copy.deepcopy(problem()[1][0].state_dict())
    theirs = lambda student: oracle.sre2l_cifar(student, said(True), batches_of(protocol), EPOCHS)  # noqa: E731
    compared(protocol, theirs, taught(protocol))
    after = problem()[1][0].state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_sre2l_on_tiny_imagenet_warms_up_and_scales_by_the_squared_temperature():
    protocol = short("sre2l-kd", (10, 200, 64, "ResNet18BN"), learning_rate=0.02)
    theirs = lambda student: oracle.sre2l_tiny(student, said(), batches_of(protocol), EPOCHS, 0.02)  # noqa: E731
    compared(protocol, theirs, taught(protocol))


def test_fadrm_is_its_loop():
    protocol = short("fadrm", (50, 10, 224, "timm/resnet18"))
    theirs = lambda student: oracle.fadrm(student, said(True), batches_of(protocol), EPOCHS, 5e-4, 2)  # noqa: E731
    compared(protocol, theirs, taught(protocol))


@pytest.mark.parametrize("name", ["minimax-hard", "idc"])
def test_mixed_images_have_both_labels(name):
    protocol = short(name, (10, 10, 224 if name == "minimax-hard" else 32, "ConvNet"))
    labels = problem()[0].train.labels
    compared(protocol, lambda student: oracle.idc(student, batches_of(protocol), EPOCHS), StoredTargets(labels))


@pytest.mark.parametrize("name", ["g-vbsm", "edc", "edc-fixed"])
def test_logits_are_matched_and_weights_averaged(name):
    protocol = short(name)
    shares = {
        "g-vbsm": lambda e, total: 0.5 * (1 + math.cos(math.pi * e / total)),
        "edc": lambda e, total: 1 - e / (2 * total),
        "edc-fixed": lambda e, total: 0.5 * (1 + math.cos(math.pi * e / (2 * total))),
    }

    def theirs(student):
        weight, kept = (0.1, None) if name == "g-vbsm" else (0.025, 0.99)
        both = [said(which=0), said(which=1)]
        arguments = (student, both, batches_of(protocol), EPOCHS, weight, shares[name])
        return oracle.statistics_of_logits(*arguments, kept=kept)

    compared(protocol, theirs, taught(protocol, 2))


@pytest.mark.parametrize("place", [place for place, _ in EDC_SMALL])
def test_edc_on_small_sets_is_its_loop_by_randomly_changed_images(place):
    protocol = short("edc", place, learning_rate=0.001)
    shares = protocol.recipe().shares  # tested above
    both = [said(which=0), said(which=1)]
    sgd = {"decay": 5e-4, "momentum": 0.875} if place[1] >= 100 else {}

    def theirs(student):
        arguments = (student, both, batches_of(protocol), EPOCHS, 0.025, lambda e, total: shares[min(e, total - 1)])
        return oracle.statistics_of_logits(*arguments, kept=0.99, **sgd)

    compared(protocol, theirs, taught(protocol, 2))


@pytest.mark.parametrize("name", ["sl", "ddranking-soft"])
def test_one_stored_label_per_image_is_not_mixed(name):
    protocol = short(name)
    soft = torch.rand(13, 3, generator=generator(0, "soft")).mul(3).softmax(1)
    rate, temperature, end = {"sl": (0.001, 20.0, 1), "ddranking-soft": (0.01, 1.2, 2)}[name]

    def theirs(student):
        return oracle.fixed_labels(student, batches_of(protocol, True), EPOCHS, soft, rate, temperature, end)

    compared(protocol, theirs, StoredTargets(soft, temperature))


def test_labels_are_mixed_where_the_slip_is_mended():
    data, _ = problem()
    soft = torch.eye(3)[data.train.labels]
    losses = {}
    for name in ("ddranking-soft", "ddranking-soft-fixed"):
        (epoch,) = fit(
            student(), data.train.images, StoredTargets(soft, 1.2), short(name, epochs=1).recipe(), seed=SEED,
            purpose="student", prepare=data.normalise,
        )  # fmt: skip
        losses[name] = epoch.loss
    assert losses["ddranking-soft"] != losses["ddranking-soft-fixed"]


# --- what is resolved, counted and said


def test_what_a_case_gives_is_named_and_an_option_stands_over_it():
    found = PROTOCOLS["rded"].resolve(10, 10, 32, "ConvNet")
    assert str(found) == "rded v2, here: batch_size 50, views (flips, cutmix α 1)"
    config = EvaluationConfig(eval_protocol="rded", eval_epochs=2, eval_learning_rates=0.001)
    changed = Protocol.from_config(config).resolve(10, 1000, 224, "VGG11")
    assert (changed.learning_rate, changed.epochs, changed.changed) == (0.001, 2, ("epochs", "learning_rate"))
    assert "learning_rate" not in changed.resolved and changed.batch_size == 100


RESIZING = {"sre2l-fkd", "sre2l-kd", "sre2l-kd-fixed", "rethinkdc-soft", "rethinkdc-hard", "fadrm", "g-vbsm"}
RESIZING |= {"g-vbsm-fixed", "edc", "edc-fixed"}


@pytest.mark.parametrize("name", [None, "imagenet", "cifar10", "cifar100"])
def test_what_images_are_normalised_by(name):
    """SRe2L's `relabel_cifar.py`, `train_FKD.py` of G-VBSM's and EDC's branches for CIFAR; grey ones by their own."""
    constants = {
        "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        "cifar10": ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
        "cifar100": ((0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)),
    }
    protocol = dataclasses.replace(PROTOCOLS["hl"], normalisation=name or "source")
    for channels in (1, 3):
        data = make_data(channels=channels)
        found = normalised(data, protocol)
        assert (found.mean, found.std) == (constants[name] if name and channels == 3 else (data.mean, data.std))


def test_who_scales_test_images_before_the_centre_is_cut_out():
    """RDED from Tiny-ImageNet on; SRe2L's descendants for ImageNet; IDC's and Minimax' code to the size itself."""
    for name in PROTOCOLS.declared:
        scaled = {side for side in (28, 32, 64, 128, 224) if PROTOCOLS[name].resolve(10, 10, side, "").resizes_tests}
        rded = name in ("rded", "rded-fixed")
        assert scaled == ({64, 128, 224} if rded else {128, 224} if name in RESIZING else set()), name


@pytest.mark.parametrize(("side", "theirs"), [(64, 72), (128, 144), (224, 256), (256, 288)])
def test_a_row_says_that_test_images_were_read_otherwise_than_the_protocol_has_them(side, theirs, caplog):
    """Their size is RDED's size // 7 * 8."""
    data = dataclasses.replace(make_data(size=side), test=make_data().train)
    config = EvaluationConfig(eval_protocol="rded", published=True)  # which tries no flips
    with caplog.at_level("INFO"):  # no share of the training images is read otherwise than these
        PROTOCOLS["rded"].suited(config, dataclasses.replace(data, test_share=0.2))
        assert "--test_resize" not in caplog.text
        found = PROTOCOLS["rded"].suited(config, data)
    assert f"--test_resize {theirs} does the same" in caplog.text
    assert "rded v2, changed: resizes_tests False, here: " in str(found.resolve(10, 3, side, "ConvNet"))
    as_theirs = PROTOCOLS["rded"].suited(config, dataclasses.replace(data, test_resize=theirs))
    assert as_theirs.changed == () and as_theirs.resolve(10, 3, side, "ConvNet").resizes_tests
    other = PROTOCOLS["rded"].suited(config, dataclasses.replace(data, test_resize=theirs + 1))
    assert other.changed == ("resizes_tests",)
    assert PROTOCOLS["dsa"].suited(config, data).changed == ()


@pytest.mark.parametrize("hurts", [True, False])
@pytest.mark.parametrize(
    ("name", "side", "there", "without"),
    [
        ("idc", 32, "composite_color_crop_flip_scale_rotate", "composite_color_crop_scale_rotate"),
        ("idc", 64, "composite_color_crop_flip_scale_rotate", "composite_color_crop_scale_rotate"),
        ("idc", 65, "none", "none"),
        ("dsa", 32, "color_crop_cutout_flip_scale_rotate", "color_crop_cutout_scale_rotate"),
    ],
)
def test_flips_are_left_out_where_they_hurt_whatever_says_that_there_are_some(
    monkeypatch, hurts, name, side, there, without
):
    monkeypatch.setattr("hf_dd.training.flips.flip_test", lambda *given: SimpleNamespace(hurts=hurts))
    data = dataclasses.replace(make_data(size=side), test=make_data().train)
    found = PROTOCOLS[name].suited(EvaluationConfig(eval_protocol=name), data).resolve(10, 3, side, "ConvNet")
    assert found.augment == (without if hurts else there)
    assert ("augment" in found.changed) == (found.augment != there)
    assert found.flips is not (hurts and name == "idc")  # the views of larger images have one, too


def test_steps_are_epochs_times_batches():
    assert PROTOCOLS["fadrm"].resolve(*IMAGENET).steps(10_000) == 300 * 625
    kd = PROTOCOLS["sre2l-kd"].resolve(*IMAGENET)
    assert kd.steps(10_000) == 300 * 10 and kd.images_seen(10_000) == 3_000_000  # 1,024 to a step
    assert PROTOCOLS["hl"].with_changes(epoch_images=100).steps(60_000) == 300


def test_an_order_that_goes_on_shows_every_image_before_any_again():
    places = torch.cat([going_on(7, 3, 0, "student", number) for number in range(1, 8)])
    assert len(places) == 21 and all(sorted(each.tolist()) == list(range(7)) for each in places.split(7))
    many = torch.cat([going_on(3, 8, 0, "student", number) for number in (1, 2, 3)])
    assert all(sorted(each.tolist()) == list(range(3)) for each in many.split(3))


def test_looks_are_those_of_the_paper():
    rded = PROTOCOLS["rded"]
    assert [e for e in range(1, 301) if rded.looks_at(e)] == [250, 260, 270, 280, 290, 300]
    minimax = PROTOCOLS["minimax-hard"].resolve(10, 10, 224, "ConvNet")
    assert sum(minimax.looks_at(e + 1) for e in range(2000)) == 100
    with pytest.raises(ConfigError, match="--best_of_looks: the protocol dsa quotes the last epoch alone: .*rded"):
        Protocol.from_config(EvaluationConfig(best_of_looks=True))


def test_online_labels_with_cutmix_take_small_batches_of_mixed_images():
    plain, mixed = PROTOCOLS["soft-label-online"], PROTOCOLS["soft-label-online-cutmix"]
    assert (plain.steps(400), mixed.steps(400), mixed.steps(100)) == (300 * 2, 300 * 13, 300 * 4)
    assert mixed.recipe().views.mix == "cutmix" and not mixed.recipe().views.flip
    differing = {name for name, value in vars(mixed).items() if value != vars(plain)[name]}
    assert differing == {"name", "batch_size", "views"}


def test_old_protocols_are_written_as_they_were():
    keys = ["name", "version", "epochs", "learning_rate", "augment", "optimizer", "momentum", "weight_decay"]
    keys += ["batch_size", "schedule", "labels", "temperature", "normalisation", "trains", "changed"]
    for name in ("dc", "dsa", "soft-label", "soft-label-online", "linear-probe"):
        assert list(PROTOCOLS[name].resolve(*IMAGENET).as_dict()) == keys and PROTOCOLS[name].recipe().is_plain
    written = PROTOCOLS["rded"].resolve(*IMAGENET).as_dict()
    assert written["views"]["scale"] == (0.5, 1.0) and written["resolved"] == (
        "batch_size",
        "decodes",
        "resizes_tests",
    )
    fields = "scale ratio size flip shuffle padding jitter lighting mix alpha probability each"
    assert " ".join(written["views"]) == fields  # what kept scores are found by
    assert not PROTOCOLS["rded"].recipe().is_plain


def test_views_are_told_in_words_from_a_protocol_and_from_a_record_alike():
    views = Views(scale=(0.5, 1.0), flip=True, rand_augment=(2, 9))
    words = "(RandAugment 2 × magnitude 9, resized crops of 0.5 to 1, flips)"
    assert in_words(views) == in_words(json.loads(json.dumps(views_as_dict(views)))) == words


def test_flips_are_left_out_of_views_by_one_word():
    protocol = PROTOCOLS["minimax-hard"].with_changes(flips=False)
    assert str(protocol) == "minimax-hard v1, changed: flips False"
    assert protocol.views.flip and not protocol.recipe().views.flip
    assert isinstance(protocol.recipe().views, Views)


# --- a mix that is asked for


def of_mix(protocol, mix):
    return Protocol.from_config(EvaluationConfig(eval_protocol=protocol, eval_mix=mix))


def test_a_mix_is_a_change_that_the_protocol_names():
    assert of_mix("dsa", None) == PROTOCOLS["dsa"] == of_mix("dsa", "none")
    mixed = of_mix("dsa", "cutmix=0.5")
    assert mixed.views == Views(mix="cutmix", probability=0.5) and mixed.changed == ("views",)
    assert str(mixed) == "dsa v1, changed: views (cutmix α 1 with probability 0.5)"
    for name in PROTOCOLS.declared:
        protocol = PROTOCOLS[name]
        by_set = any(field == "views" for each in protocol.cases for field, _ in each.values)
        if protocol.trains == "head" or protocol.labels == "crops" or by_set:
            with pytest.raises(ConfigError, match=f"--eval_mix mixup has no place in the protocol {name}, which "):
                of_mix(name, "mixup")
        else:
            found, own = of_mix(name, "mixup").views, protocol.views or Views()
            assert found == dataclasses.replace(own, mix="mixup", probability=1.0)
            assert of_mix(name, "none").views in (None, dataclasses.replace(own, mix="none", probability=1.0))


@pytest.mark.parametrize("text", ["cutout", "cutmix=", "cutmix=0", "cutmix=1.5", "cutmix=x", "none=0.5", "mixup=nan"])
def test_what_is_no_mix_is_refused(text):
    for config, option in ((EvaluationConfig, "eval_mix"), (PretrainConfig, "mix")):
        with pytest.raises(ConfigError, match=f"--{option}"):
            config(**{option: text})


@pytest.mark.parametrize("mix", ["cutmix", "mixup=0.5"])
def test_students_and_teachers_train_on_mixed_images_and_labels(mix):
    """The loss of an epoch without steps: by hand, of images and labels that the draws mix."""
    data = make_data((6, 6), size=8)
    recipe = dataclasses.replace(
        training_recipe(PretrainConfig(epochs=1, learning_rate=0.0, batch_size=12, mix=mix)), weight_decay=0.0
    )
    name, probability = parse_mix(mix)
    assert recipe.views == of_mix("dsa", mix).recipe().views == Views(mix=name, probability=probability)
    network = networks.build("MLP", **data.network_shape, seed=0)
    how = {"seed": 3, "purpose": "student", "prepare": data.normalise}
    (epoch,) = fit(network, data.train.images, data.train.labels, recipe, **how)
    draws = generator(3, "student", "epoch", 1)
    order = torch.randperm(12, generator=draws)
    drawn = views.draw(recipe.views, 12, (8, 8), draws)
    images = views.mixed(data.normalise(data.train.images[order].float() / 255), drawn)
    wanted = views.mixed_targets(data.train.labels[order], drawn, 2)
    expected = -(wanted * network(images).log_softmax(1)).sum(1).mean() if wanted.is_floating_point() else None
    if expected is None:  # this batch wasn't
        expected = torch.nn.functional.cross_entropy(network(images), wanted)
    assert float(epoch.loss) == pytest.approx(float(expected), rel=1e-5)
    assert mix != "cutmix" or drawn.partners is not None
