"""What imports are tried on: digits, a set of ours as it is before it is written, and one classifier for all."""

import contextlib

import datasets
import pytest
import torch

import hf_dd
from hf_dd.config import DataConfig
from hf_dd.data.image_data import load_data
from hf_dd.importing import class_order
from hf_dd.synthetic.synthetic_set import SyntheticSet

IPC = 10


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the networks are so small that threads only wait for each other
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def datasets_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets_cache")


@contextlib.contextmanager
def trained_once(known):
    """A source's classifier is trained once: the tests' sources of the same images are told apart by their form."""
    train = class_order.classifiers_of

    def classifiers_of(data, seed, device):
        facts = (data.fingerprint, len(data.train), data.train.images.shape, data.mean, data.std, data.num_classes)
        key = (*facts, data.train.labels.numpy().tobytes(), seed)
        if key not in known:
            *_, known[key] = train(data, seed, device)
        yield known[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(class_order, "classifiers_of", classifiers_of)
        yield


@pytest.fixture(scope="module", autouse=True)
def one_classifier():
    with trained_once({}):
        yield


@pytest.fixture(scope="module")
def digits():
    return load_data(DataConfig())


@pytest.fixture(scope="module")
def native(digits):
    """A set of ours, as it is before it is written."""
    synthetic = SyntheticSet.initial(digits, IPC, "real", 0, torch.float32)
    with torch.no_grad():
        synthetic.pixels += 0.1 * torch.randn(synthetic.pixels.shape, generator=torch.Generator().manual_seed(1))
    return synthetic.requires_grad_(False)


@pytest.fixture
def import_it(tmp_path):
    """`import_set` of a path into a folder of its own."""

    def run(path, **options):
        output = {"output_dir": str(tmp_path / "imported"), "overwrite_output_dir": True}
        return hf_dd.import_set(foreign_set=str(path), **{"dataset": "digits", **output, **options})

    return run
