"""The libraries on top of huggingface_hub, each in a process of its own (they read the endpoint at import)."""

import pytest

from tests.local_hub.conftest import run_python

DATASETS = """
import os
import numpy as np
from datasets import ClassLabel, Dataset, DatasetDict, Features, Image, Value, get_dataset_config_names, load_dataset
from huggingface_hub import DatasetCard, HfApi
from huggingface_hub.errors import RepositoryNotFoundError
from PIL import Image as Picture

api, REPO = HfApi(), "alice/pictures"
FEATURES = Features({"image": Image(), "label": ClassLabel(names=["a", "b", "c"]), "id": Value("string")})

def pictures(count, seed):
    rng = np.random.default_rng(seed)
    images = [Picture.fromarray(rng.integers(0, 255, (8, 8, 3), dtype="uint8")) for _ in range(count)]
    rows = {"image": images, "label": [i % 3 for i in range(count)], "id": [f"row {i}" for i in range(count)]}
    return Dataset.from_dict(rows, features=FEATURES)

DatasetDict(train=pictures(12, 0), test=pictures(6, 1)).push_to_hub(REPO, config_name="plain")
second = pictures(9, 2).push_to_hub(REPO, config_name="extra", split="train", commit_message="second")
api.create_tag(REPO, tag="v1", repo_type="dataset", revision=second.oid)
assert api.get_paths_info(REPO, ["plain/test-00000-of-00001.parquet"], repo_type="dataset")[0].lfs
assert sorted(get_dataset_config_names(REPO, revision="v1")) == ["extra", "plain"]

offered = pictures(4, 4).push_to_hub(REPO, config_name="plain", create_pr=True)
assert offered.pr_revision == "refs/pr/1"
assert len(load_dataset(REPO, "plain", revision="refs/pr/1", split="train")) == 4

pictures(5, 3).push_to_hub(REPO, config_name="plain", revision="dev")
assert len(load_dataset(REPO, "plain", revision="dev", split="train")) == 5

pictures(20, 9).push_to_hub(REPO, config_name="plain", split="train")
for revision, rows in (("v1", 12), (second.oid, 12), (None, 20)):
    loaded = load_dataset(REPO, "plain", revision=revision)
    assert (len(loaded["train"]), len(loaded["test"])) == (rows, 6)
assert loaded["train"].features["label"].names == ["a", "b", "c"]
assert loaded["train"][3]["image"].tobytes() == pictures(20, 9)[3]["image"].tobytes()

streamed = list(load_dataset(REPO, "plain", revision="v1", streaming=True, split="train").take(5))
assert [row["id"] for row in streamed] == [f"row {i}" for i in range(5)]
assert streamed[4]["image"].tobytes() == pictures(12, 0)[4]["image"].tobytes()

card = DatasetCard.load(REPO)
card.data.license, card.text = "cc-by-4.0", "# Pictures"
card.push_to_hub(REPO, repo_type="dataset")
assert "license:cc-by-4.0" in api.dataset_info(REPO).tags
assert "configs" in DatasetCard.load(REPO).data.to_dict()

api.update_repo_settings(REPO, private=True, repo_type="dataset")
try:
    load_dataset(REPO, "plain", token=os.environ["OTHER_TOKEN"], cache_dir=os.environ["HF_HOME"] + "/other")
    raise AssertionError("bob read a private data set")
except RepositoryNotFoundError:
    print("datasets work")
"""

MODELS = """
import huggingface_hub as hub
import torch
from torch import nn

class Network(nn.Module, hub.PyTorchModelHubMixin, library_name="hub-test", tags=["mixin-test"], license="mit"):
    def __init__(self, hidden=8):
        super().__init__()
        self.layer = nn.Linear(hidden, 3)

REPO = "alice/network"
network = Network(hidden=4)
network.push_to_hub(REPO)
hub.HfApi().create_tag(REPO, tag="v1")
weight = network.layer.weight.detach().clone()
with torch.no_grad():
    network.layer.weight.add_(1)
network.push_to_hub(REPO)
assert torch.equal(Network.from_pretrained(REPO, revision="v1").layer.weight, weight)
assert torch.equal(Network.from_pretrained(REPO).layer.weight, weight + 1)
assert [info.id for info in hub.list_models(filter=["mixin-test", "hub-test", "license:mit"])] == [REPO]

hub.metadata_update(REPO, {"datasets": ["alice/pixels"]})
hub.metadata_update(REPO, {"license": "apache-2.0"}, overwrite=True)
assert {"dataset:alice/pixels", "license:apache-2.0"} <= set(hub.model_info(REPO).tags)
card = hub.ModelCard.load(REPO)
card.validate()
result = hub.EvalResult("image-classification", "x", "X", "accuracy", 0.5)
hub.metadata_update(REPO, {"model-index": hub.repocard_data.eval_results_to_model_index("network", [result])})
assert hub.ModelCard.load(REPO).data.eval_results[0].metric_value == 0.5
assert hub.model_info(REPO).model_index[0]["name"] == "network"
print("models work")
"""


@pytest.mark.multi_process
def test_datasets_push_and_load_every_revision(hub):
    environment = hub.environment() | {"OTHER_TOKEN": "hf_bob", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    assert "datasets work" in run_python(DATASETS, environment=environment)


@pytest.mark.multi_process
def test_models_with_the_hub_mixin(hub):
    assert "models work" in run_python(MODELS, environment=hub.environment())
