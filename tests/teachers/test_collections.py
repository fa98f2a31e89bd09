"""Collections that pools are made of: what is in the way, and what isn't overwritten."""

import json

import pytest
from huggingface_hub import HfApi
from safetensors.torch import save_file

import hf_dd
from hf_dd import hub
from hf_dd.errors import ConfigError, HubError, TeacherError
from hf_dd.teachers.locating import locate
from hf_dd.teachers.pool import TeacherPool
from tests.factories import message_of, pickled, save_timm, says


def titles():
    return {made.title for made in HfApi().list_collections(owner="local")}


def uploaded(repo_id, folder, **more):
    HfApi().create_repo(repo_id, **more)
    HfApi().upload_folder(repo_id=repo_id, folder_path=folder)
    return repo_id


@pytest.mark.parametrize("kind", ["dataset", "model"])
def test_a_collection_that_somebody_made_by_hand_is_not_emptied(tiny_teachers, unique, kind):
    title, repo_id = unique(), unique()
    HfApi().create_repo(repo_id, repo_type=kind)
    made = HfApi().create_collection(title, description="my own list")
    HfApi().add_collection_item(made.slug, repo_id, kind, note="my favourite of 2024")
    with pytest.raises(HubError, match=f"holds what isn't a pool's: {kind} {repo_id}. Give another title"):
        hf_dd.create_pool(title, tiny_teachers.references[:1])
    found = HfApi().get_collection(made.slug)
    assert [(item.item_id, item.note) for item in found.items] == [(repo_id, "my favourite of 2024")]
    assert found.description == "my own list"


def test_a_pools_description_is_brought_to_what_is_given(tiny_teachers, unique):
    title, teachers = unique(), tiny_teachers.references[:1]

    def described(**given):
        return HfApi().get_collection(hf_dd.create_pool(title, teachers, **given).slug).description

    assert described() == "Teachers for dataset distillation, pinned by hf-dd."
    assert described(description="changed words") == "changed words"
    assert described() == "changed words"


def test_a_public_pool_has_no_private_member(tiny_teachers, unique, tmp_path):
    title, hidden = unique(), unique()
    save_timm(tmp_path / "model", "test_byobnet", num_classes=10)
    uploaded(hidden, tmp_path / "model", private=True)
    with pytest.raises(ConfigError, match=f"^{hidden}: private, so that a public pool would be a smaller one"):
        hf_dd.create_pool(title, [tiny_teachers.references[0], hidden])
    assert title not in titles()
    made = hf_dd.create_pool(title, [tiny_teachers.references[0], hidden], private=True)
    assert HfApi().get_collection(made.slug).private and len(made.items) == 2


def test_only_what_is_a_teacher_becomes_a_member(unique, tmp_path):
    title, pickles, texts = unique(), unique(), unique()
    pickled(tmp_path / "pickled")
    uploaded(pickles, tmp_path / "pickled")
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts/config.json").write_text(json.dumps({"model_type": "bert"}))
    uploaded(texts, tmp_path / "texts")
    with pytest.raises(TeacherError, match=f"{pickles}.*its weights are pickled.*--trusted_teachers"):
        hf_dd.create_pool(title, [pickles])
    with pytest.raises(TeacherError, match=f"{texts}.*bert is no image model"):
        hf_dd.create_pool(title, [texts])
    assert title not in titles()
    assert hf_dd.create_pool(title, pickles, trusted=[pickles]).items[0].repo_id == pickles


@pytest.mark.parametrize("named", ["{0}@final", "{0}", "{0}/epoch-1"])
def test_a_folder_is_no_member_and_is_said_to_be_there(tiny_teachers, unique, named):
    teacher = named.format(tiny_teachers.folders[0])
    says(message_of("pool", "create", unique(), teacher), "is a folder of this machine", "hf-dd push")
    (pin,) = (spec for spec in TeacherPool.from_references([teacher]).specs)
    with pytest.raises(ConfigError, match="is a folder of this machine"):
        hf_dd.create_pool(unique(), [pin])


def test_one_teacher_needs_no_list(tiny_teachers, unique):
    made = hf_dd.create_pool(unique(), tiny_teachers.references[0])
    assert [item.repo_id for item in made.items] == [tiny_teachers.references[0].split("@")[0]]


def test_a_title_may_have_no_latin_letter(tiny_teachers):
    made = hf_dd.create_pool("教師", tiny_teachers.references[:1])
    assert len(TeacherPool.from_lock(made.slug)) == 1


@pytest.mark.parametrize("trusted", [False, True])
def test_weights_in_folders_of_a_repository_are_nobodys(unique, tmp_path, trusted):
    repo_id, folder = unique(), tmp_path / "model"
    model = save_timm(folder, "test_byobnet", num_classes=10)
    for name in ("checkpoint-5/model.safetensors", "checkpoint-5/optimizer.bin", "onnx/model.safetensors"):
        (folder / name).parent.mkdir(exist_ok=True)
        save_file(model.state_dict(), folder / name)
    uploaded(repo_id, folder)
    pin, pulled = locate(repo_id, [repo_id] if trusted else [])
    assert {path.name for path in pulled.iterdir()} <= {"README.md", "config.json", "model.safetensors"}
    assert TeacherPool.from_references([hub.Pin(repo_id, "main", pin.sha)])[0].spec.architecture == "test_byobnet"
    HfApi().delete_file("model.safetensors", repo_id)
    with pytest.raises(TeacherError, match="it holds no weights as safetensors"):
        locate(repo_id)
