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


# ---- what strangers may see


def test_private_items_of_a_collection_are_hidden_from_strangers(api, other_api, anonymous_api, new_repo):
    public, private, later = new_repo(), new_repo(private=True), new_repo("dataset")
    slug = api.create_collection("Mixed", namespace="alice").slug
    for item, kind in ((private, "model"), (public, "model"), (later, "dataset")):
        api.add_collection_item(slug, item, kind, note=f"about {item}")
    with pytest.raises(HfHubHTTPError) as error:
        other_api.add_collection_item(other_api.create_collection("Own", namespace="bob").slug, private, "model")
    assert error.value.response.status_code == 404
    api.update_repo_settings(later, private=True, repo_type="dataset")
    for stranger in (other_api, anonymous_api):
        (item,) = stranger.get_collection(slug).items
        assert (item.item_id, item.position) == (public, 0)
        (listed,) = [each for each in stranger.list_collections(owner="alice") if each.slug == slug]
        assert [item.item_id for item in listed.items] == [public]
        assert list(stranger.list_collections(item=f"models/{private}")) == []
        assert list(stranger.list_collections(item=f"datasets/{later}")) == []
    assert [item.item_id for item in api.get_collection(slug).items] == [private, public, later]
    assert [each.slug for each in api.list_collections(item=f"models/{private}")] == [slug]
    api.move_repo(private, private + "-moved")  # nor is a former name told
    api.delete_repo(later, repo_type="dataset")
    assert [item.item_id for item in other_api.get_collection(slug).items] == [public]


def test_strangers_find_no_private_repository(api, other_api, anonymous_api, request_hub, new_repo):
    repo = new_repo(private=True)
    api.upload_file(path_or_fileobj=b"---\ntags: [hidden-tag]\n---\n", path_in_repo="README.md", repo_id=repo)
    assert [info.id for info in api.list_models(filter="hidden-tag")] == [repo]
    for stranger, token in ((other_api, "hf_bob"), (anonymous_api, None)):
        assert list(stranger.list_models(filter="hidden-tag")) == list(stranger.list_models(search=repo)) == []
        pages, path = 0, "/api/models?limit=1"
        while path:
            answer = request_hub("GET", path, token=token)
            pages, link = pages + 1, answer.headers.get("Link", "")
            path = link[link.index("/api") : link.index(">")] if link else None
        assert pages == max(1, len(list(stranger.list_models())))


# ---- cards and configurations that anybody may write

BROKEN = [  # and so of no metadata
    "a: &x [1]\nb: *x",
    "- a list",
    "5",
    "x: " + "[" * 40 + "]" * 40,
    "x: " + "[" * 50_000,
    "\n".join("  " * n + "a:" for n in range(40)),
    "x: [" + "a," * 60_000 + "]",
    "x: '" + "a" * 1_100_000 + "'",
    "x: \0",
    "x: !!python/object/apply:os.system [id]",
    "? [a]\n: b",
]
ODD = {  # card: its tags
    "tags: {a: b}": [],
    "tags: 5": ["5"],
    "tags: word": ["word"],
    "tags: [[a], {b: c}, null, true, 1, ok]": ["1", "ok"],
    "license: {a: b}": [],
    "license: [mit, {a: b}]": ["license:mit"],
    "datasets: 7": ["dataset:7"],
    "datasets: [null, {a: 1}, x]": ["dataset:x"],
    "language: no": ["no"],
    "pipeline_tag: [a]": ["a"],
    "pipeline_tag: {}": [],
    "library_name: {a: b}": [],
    "base_model: [{a: b}]": [],
    "model-index: 5": [],
    "model-index: [{name: x, results: [{task: {}, dataset: {}, metrics: [], source: 5}]}]": [],
    "self: 1\nignore_metadata_errors: true": [],
    "x: .inf\ny: .nan\nz: 1.0e+999": [],
    f"x: {'9' * 5000}\ny: 0x{'f' * 5000}\n1: z": [],
    f"x: {'1:' * 2000}1": [],
    "x: 2001-99-99\ny: !!int z\nz: !!bool z": [],
    'x: !!binary "//8="\ny: !!set {a}': [],
    "2001-01-01: x\nnull: y\n[a: b]: z": None,
    "gated: 5\nprivate: 5\nid: alice/other\ntags: [ok]\nauthor: 5\nsha: 5": ["ok"],
}
CONFIGS = [
    "[]",
    "5",
    "null",
    "{",
    "[" * 50_000,
    '{"a":' * 40 + "1" + "}" * 40,
    '{"model_type": {"a": 1}}',
    '{"a": "\\ud800"}',
]
CONFIGS += [
    '{"a": [NaN, Infinity, 1e999]}',
    '{"a": ' + "9" * 5000 + "}",
    '{"a": [' + "{}," * 60_000 + "{}]}",
    "\ufeff{}",
]
CONFIGS += ['{"a": "' + "x" * 1_100_000 + '"}']


def written(request_hub, repo, kind, **files):
    values = [
        {"path": path.replace("_", "."), "content": base64.b64encode(text).decode()} for path, text in files.items()
    ]
    lines = [{"key": "header", "value": {"summary": "x"}}, *({"key": "file", "value": value} for value in values)]
    body = "\n".join(map(json.dumps, lines))
    assert request_hub("POST", f"/api/{kind}s/{repo}/commit/main", token="hf_alice", body=body).status == 200


def test_no_card_breaks_what_clients_are_told(api, request_hub, new_repo, caplog):
    model, dataset, good = new_repo(), new_repo("dataset"), new_repo()
    api.upload_file(path_or_fileobj=b"---\ntags: [good-card]\n---\n", path_in_repo="README.md", repo_id=good)
    for card in [*BROKEN, *ODD]:
        for repo, kind in ((model, "model"), (dataset, "dataset")):
            written(request_hub, repo, kind, README_md=f"---\n{card}\n---\ntext".encode())
        told = api.model_info(model)
        if card in BROKEN:
            assert told.tags == ["region:us"] and not told.card_data, card
        elif ODD[card] is not None:
            assert told.tags == [*ODD[card], "region:us"], card
        assert (told.id, told.private, told.author) == (model, False, "alice")
        assert api.dataset_info(dataset).id == dataset
        assert model in [each.id for each in api.list_models(full=True, cardData=True)]
        assert dataset in [each.id for each in api.list_datasets(full=True)]
        assert [each.id for each in api.list_models(filter="good-card")] == [good]
    assert not [record for record in caplog.records if record.name.startswith("hf_dd")]


def test_no_config_breaks_what_clients_are_told(api, request_hub, new_repo, caplog):
    repo = new_repo()
    for config in CONFIGS:
        written(request_hub, repo, "model", config_json=config.encode())
        assert isinstance(api.model_info(repo).config, dict)
        assert repo in [each.id for each in api.list_models(full=True, fetch_config=True)]
    written(request_hub, repo, "model", config_json=b'{"model_type": "x", "a": [NaN, 1e999, 1.5]}')
    assert api.model_info(repo).config == {"model_type": "x", "a": [None, None, 1.5]}
    assert not caplog.records


def test_the_client_is_told_what_is_wrong_with_a_card(api, new_repo):
    for card, told in (("a: &x 1\nb: *x", "aliases"), ("x: " + "[" * 40 + "]" * 40, "levels"), ("- a", "mapping")):
        with pytest.raises(ValueError, match=told):
            api.upload_file(
                path_or_fileobj=f"---\n{card}\n---\n".encode(), path_in_repo="README.md", repo_id=new_repo()
            )
