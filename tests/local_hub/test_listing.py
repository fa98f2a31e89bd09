"""What is told of repositories, and how they are found."""

import base64
import json

import pytest
from huggingface_hub import ModelCard
from huggingface_hub.errors import HfHubHTTPError

CARD = """---
license: mit
library_name: timm
pipeline_tag: image-classification
tags: [listed, {tag}]
datasets: [alice/listed-pixels]
base_model: alice/base
language: en
---
# hello
"""


@pytest.fixture(scope="module")
def listed(api, new_repo):
    repo = new_repo()
    card = CARD.replace("{tag}", "first-card").encode()
    commit = api.upload_file(path_or_fileobj=card, path_in_repo="README.md", repo_id=repo).oid
    api.create_tag(repo, tag="v1", revision=commit)
    api.upload_file(path_or_fileobj=b"weights", path_in_repo="model.safetensors", repo_id=repo)
    return repo, commit


def test_info_is_computed_at_the_revision(api, listed):
    repo, commit = listed
    old, new = api.model_info(repo, revision="v1"), api.model_info(repo)
    assert old.sha == commit != new.sha
    assert [sibling.rfilename for sibling in old.siblings] == [".gitattributes", "README.md"]
    tags = (
        "timm image-classification listed first-card dataset:alice/listed-pixels base_model:alice/base en license:mit"
    )
    assert set(old.tags) == {*tags.split(), "region:us"} and set(new.tags) - set(old.tags) == {"safetensors"}
    assert (old.library_name, old.pipeline_tag, old.card_data.license) == ("timm", "image-classification", "mit")
    assert old.author == "alice"
    expanded = api.model_info(repo, expand=["sha", "cardData"])
    assert expanded.sha == new.sha and expanded.siblings is None and expanded.card_data.license == "mit"


def test_library_comes_from_the_config_if_the_card_is_silent(api, new_repo):
    repo = new_repo()
    api.upload_file(path_or_fileobj=b'{"model_type": "resnet"}', path_in_repo="config.json", repo_id=repo)
    info = api.model_info(repo)
    assert info.library_name == "transformers" and {"transformers", "resnet"} <= set(info.tags)
    assert info.config == {"model_type": "resnet"}


def test_filters_are_joined_by_and(api, listed):
    repo, _ = listed

    def found(**query):
        return [info.id for info in api.list_models(**query)]

    assert found(filter=["first-card"]) == found(filter="dataset:alice/listed-pixels") == [repo]
    assert found(filter=["first-card", "timm", "license:mit"], author="alice") == [repo]
    assert found(filter=["first-card", "none"]) == found(filter="first-card", author="bob") == []
    assert found(filter="first-card", pipeline_tag="image-classification", gated=False) == [repo]
    assert found(filter="first-card", pipeline_tag="text-generation") == found(filter="first-card", gated=True) == []
    assert found(search=repo.split("/")[1].upper(), filter="listed") == [repo]
    short = next(iter(api.list_models(filter="first-card")))
    full = next(iter(api.list_models(filter="first-card", full=True, cardData=True)))
    assert short.sha is None and short.siblings is None and short.card_data is None
    assert full.sha and full.siblings and full.card_data.license == "mit"


def test_lists_are_sorted_and_paged(api, request_hub, new_repo):
    repos = [new_repo("dataset") for _ in range(5)]
    newest = [info.id for info in api.list_datasets(author="alice", sort="created_at", limit=3)]
    assert newest == repos[:1:-1]
    page = request_hub("GET", "/api/datasets?author=alice&sort=createdAt&limit=2")
    assert [info["id"] for info in page.json()] == repos[:2:-1] and "cursor=2" in page.headers["Link"]
    assert request_hub("GET", "/api/datasets?cursor=x").status == 400


def test_dataset_facets_are_tags(api, new_repo):
    repo = new_repo("dataset")
    card = "---\ntask_categories: [image-classification]\nsize_categories: n<1K\nlanguage: [en]\n"
    card += "tags: [facet-test]\n---\n"
    api.upload_file(path_or_fileobj=card.encode(), path_in_repo="README.md", repo_id=repo, repo_type="dataset")
    expected = {"task_categories:image-classification", "size_categories:n<1K", "language:en", "facet-test"}
    assert expected <= set(api.dataset_info(repo).tags)
    query = {"task_categories": "image-classification", "filter": "facet-test"}
    assert [info.id for info in api.list_datasets(**query)] == [repo]


def test_a_card_with_broken_metadata_is_refused_by_the_client_and_survived_by_the_server(api, request_hub, new_repo):
    repo, broken = new_repo(), b"---\nlicense: [\n---\ntext"
    with pytest.raises(ValueError, match="YAML"):
        api.upload_file(path_or_fileobj=broken, path_in_repo="README.md", repo_id=repo)
    answer = request_hub("POST", "/api/validate-yaml", body='{"content": "---\\n- a list\\n---\\n"}')
    assert answer.status == 400 and "mapping" in answer.json()["errors"][0]["message"]
    file = {"path": "README.md", "content": base64.b64encode(broken).decode()}
    lines = [{"key": "header", "value": {"summary": "x"}}, {"key": "file", "value": file}]
    body = "\n".join(map(json.dumps, lines))
    assert request_hub("POST", f"/api/models/{repo}/commit/main", token="hf_alice", body=body).status == 200
    assert api.model_info(repo).tags == ["region:us"]


def test_model_card_round_trip(api, hub, listed, tmp_path):
    repo, _ = listed
    path = api.hf_hub_download(repo, "README.md", cache_dir=tmp_path)
    card = ModelCard.load(path)
    assert card.data.license == "mit" and card.text.strip() == "# hello"


# ---- collections


def test_collections(api, other_api, new_repo):
    model, dataset = new_repo(), new_repo("dataset")
    collection = api.create_collection("My Pool!", namespace="alice", description="about")
    assert collection.slug.startswith("alice/my-pool-") and collection.items == []
    assert api.create_collection("My Pool!", namespace="alice", exists_ok=True).slug == collection.slug
    api.add_collection_item(collection.slug, model, "model", note="best one")
    api.add_collection_item(collection.slug, dataset, "dataset")
    with pytest.raises(HfHubHTTPError) as error:
        api.add_collection_item(collection.slug, model, "model")
    assert error.value.response.status_code == 409
    api.add_collection_item(collection.slug, model, "model", exists_ok=True)
    with pytest.raises(HfHubHTTPError) as error:
        api.add_collection_item(collection.slug, "alice/none", "model")
    assert error.value.response.status_code == 404
    items = api.get_collection(collection.slug).items
    assert [(item.item_id, item.item_type, item.note) for item in items] == [
        (model, "model", "best one"),
        (dataset, "dataset", None),
    ]
    assert collection.slug in [each.slug for each in api.list_collections(owner="alice")]
    assert [each.slug for each in api.list_collections(item=f"models/{model}")] == [collection.slug]

    api.update_collection_item(collection.slug, items[0].item_object_id, note="changed")
    api.update_collection_item(collection.slug, items[1].item_object_id, position=0)
    items = api.get_collection(collection.slug).items
    assert [(item.item_id, item.note, item.position) for item in items] == [(dataset, None, 0), (model, "changed", 1)]
    renamed = api.update_collection_metadata(collection.slug, title="Renamed", description="other", private=True)
    assert renamed.slug.startswith("alice/renamed-") and renamed.private and renamed.description == "other"
    assert api.get_collection(collection.slug).slug == renamed.slug  # old links go on working
    with pytest.raises(HfHubHTTPError) as error:
        other_api.get_collection(renamed.slug)
    assert error.value.response.status_code == 404
    assert renamed.slug not in [each.slug for each in other_api.list_collections(owner="alice")]
    api.delete_collection_item(renamed.slug, items[0].item_object_id)
    assert [item.item_id for item in api.get_collection(renamed.slug).items] == [model]
    with pytest.raises(HfHubHTTPError) as error:
        other_api.create_collection("For alice", namespace="alice")
    assert error.value.response.status_code == 403
    api.delete_collection(renamed.slug)
    with pytest.raises(HfHubHTTPError) as error:
        api.get_collection(renamed.slug)
    assert error.value.response.status_code == 404


def test_lists_cut_the_items_of_a_collection(api, new_repo):
    repos = [new_repo() for _ in range(6)]
    slug = api.create_collection("Six", namespace="acme").slug
    for repo in repos:
        api.add_collection_item(slug, repo, "model")
    (listed,) = api.list_collections(owner="acme")
    assert len(listed.items) == 4 and [item.item_id for item in api.get_collection(slug).items] == repos
