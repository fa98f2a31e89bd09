"""One small value of each kind that is kept between runs: what is computed otherwise needs a new version.

Whoever raises a version writes it here, with the values that the message shows.
"""

import io

import datasets
import numpy as np
import pytest
import torch
from PIL import Image

from hf_dd.config import DataConfig
from hf_dd.core.processes import new_accelerator
from hf_dd.data import decoding, whitening
from hf_dd.data.image_data import load_data
from hf_dd.evaluation import candidates
from hf_dd.evaluation.evaluation import Evaluation
from hf_dd.evaluation.learners import Job
from hf_dd.evaluation.protocols import PROTOCOLS
from hf_dd.objectives.clom import real_class_sums
from hf_dd.synthetic import coresets
from hf_dd.teachers import diversity, feature_cache, fitted_head
from hf_dd.teachers.feature_cache import FeatureMemory
from tests.factories import make_data, make_pool, make_set, make_step, make_teacher

pytestmark = pytest.mark.usefixtures("one_thread", "nothing_remembered")


def images():
    """A ramp that is scaled and cut, and one that is turned by its EXIF orientation."""
    ramps = [np.arange(48).reshape(6, 8) * 5, np.arange(32).reshape(8, 4) * 7]
    rows = [{"bytes": None, "path": None}, {"bytes": None, "path": None}]
    for row, ramp, orientation in zip(rows, ramps, (1, 6), strict=True):
        stream, exif = io.BytesIO(), Image.Exif()
        exif[274] = orientation
        Image.fromarray(ramp.astype(np.uint8)).save(stream, "PNG", exif=exif)
        row["bytes"] = stream.getvalue()
    features = datasets.Features({"image": datasets.Image()})
    split = datasets.Dataset.from_dict({"image": rows}, features=features)
    return decoding.decode_splits({"train": split}, "image", 2, 1e9, "ramps")[0]["train"].flatten().tolist()


def class_sums():
    data = make_data()
    teacher = make_teacher(data).to("cpu", torch.float64)
    return real_class_sums(make_step(make_set(data), data), teacher, data.class_index)[:, :4].flatten().tolist()


def features():
    data = make_data()
    memory = FeatureMemory(data, "float64", new_accelerator("no"))
    return memory.compute_features(make_teacher(data).to("cpu", torch.float64))[:2, :4].flatten().tolist()


def heads():
    inputs = torch.sin(torch.arange(80, dtype=torch.float64)).view(20, 4)
    weight, bias = fitted_head.logistic_regression(inputs, torch.arange(20) % 3, 3)
    return [*weight[:2].flatten().tolist(), *bias.tolist()]


def of_diversity():
    data = make_data((30, 20, 20))
    found = diversity.measured(make_pool(data), data, "cpu")
    return [found["images"], found["cka"], found["disagreement"]]


def scores():
    data = load_data(DataConfig())
    protocol = PROTOCOLS["dsa"].with_changes(epochs=30)
    evaluation = Evaluation(data, protocol, seed=0, accelerator=new_accelerator("no"))
    job = Job(candidates.random_real(data, 2, 0, 0), "MLP", protocol)
    return list(evaluation.rows([job], 2)[0].scores)


def whitenings():
    mean, matrix = whitening.fit(make_data((9, 8, 9), channels=3, size=2).train.images, 0.1)
    return [*mean[:3].tolist(), *matrix[0, :5].tolist()]


def selections():
    return coresets.select(make_data((9, 8, 9), size=8), "herding", 3, 0).tolist()


PINNED = {  # kind: what computes it, where its version stands, which it is, its value, how near others come to it
    "decoded images": (images, decoding, "VERSION", 3, [60, 75, 160, 175, 131, 75, 142, 86], 1),
    "class sums": (
        class_sums,
        feature_cache,
        "VERSION",
        2,
        [
            0.9573213,
            0.9872453,
            1.2581707,
            1.0857363,
            0.5812954,
            0.7001997,
            1.0041052,
            0.8740697,
            1.0507047,
            0.955195,
            0.5132482,
            0.8849957,
        ],
        1e-6,
    ),
    "features": (
        features,
        feature_cache,
        "VERSION",
        2,
        [0.668641, 0.7126971, 0.1414394, 0.332213, 0.188605, 0.4599927, 0.5983377, 0.5502039],
        1e-6,
    ),
    "fitted heads": (
        heads,
        feature_cache,
        "VERSION",
        2,
        [
            -0.4706043,
            -0.3638759,
            0.0306994,
            0.4443356,
            0.3091914,
            -0.2502744,
            -0.5741105,
            -0.3841219,
            0.08269,
            0.0921833,
            -0.1748733,
        ],
        1e-4,
    ),
    "diversity": (of_diversity, diversity, "VERSION", 1, [7, 0.37898, 0.904762], 1e-3),
    "scores": (scores, candidates, "KEPT", 3, [14.4846797, 31.4763231], 1.0),
    "whitenings": (
        whitenings,
        whitening,
        "WHITENINGS",
        1,
        [0.6461538, 0.4992459, 0.5058824, 2.5983239, -0.0319877, -0.0882294, 0.187338, -0.0465938],
        1e-6,
    ),
    "selections": (selections, coresets, "SELECTIONS", 2, [12, 4, 20, 13, 21, 16, 15, 8, 14], 0),
}


@pytest.mark.parametrize("kind", PINNED)
def test_a_kept_result_changes_with_its_version_alone(kind):
    compute, module, name, version, value, tolerance = PINNED[kind]
    found = compute()
    place = f"{name} in {module.__name__.replace('.', '/')}.py"
    if found != pytest.approx(value, abs=tolerance):
        pytest.fail(f"{kind} are computed otherwise than before: raise {place} if they are to be, then pin {found}")
    assert getattr(module, name) == version, f"{place} was raised: write {getattr(module, name)} here, and {found}"
