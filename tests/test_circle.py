"""The whole circle over HTTP: teachers by tag, a pool by collection, a distilled set by tag, students on it."""

import json
import re
import shlex
import sys

import datasets
import numpy as np
import pytest
import torch
from huggingface_hub import DatasetCard, HfApi, ModelCard
from torchvision import transforms

import hf_dd
from hf_dd import hub as hub_module
from hf_dd.config import DataConfig, DistillConfig
from hf_dd.config.parsing import parse_config
from hf_dd.core.resources import resource

QUICK = {
    "dataset": "digits",
    "ipc": 2,
    "iterations": 6,
    "real_batch_size": 16,
    "architecture_options": ["width=8", "depth=2"],
    "eval_students": 2,
    "eval_epochs": 3,
    "logging_steps": 2,
}


@pytest.fixture(scope="module")
def collection(tiny_teachers):
    """A pool of both epochs of one teacher and the final of another."""
    first, second = tiny_teachers.references[0].split("@")[0], tiny_teachers.references[2]
    return hf_dd.create_pool("Circle", [f"{first}@epoch-1", f"{first}@epoch-2", second])


@pytest.fixture(scope="module")
def pushed(collection, tmp_path_factory, unique):
    """A distillation guided by that pool, pushed as v1: the artefact and its repository."""
    folder, name = tmp_path_factory.mktemp("circle") / "run", unique()
    artefact = hf_dd.distill(
        **QUICK,
        clom="cos",
        teacher_pool=collection.slug,
        output_dir=str(folder),
        push_to_hub=True,
        hub_dataset_id=name,
        hub_tag="v1",
    )
    return artefact, name


def test_teacher_repository_is_a_training_run(tiny_teachers):
    repo_id = tiny_teachers.references[0].split("@")[0]
    tags = {ref.name: ref.target_commit for ref in HfApi().list_repo_refs(repo_id).tags}
    assert set(tags) == {"epoch-1", "epoch-2", "final"}
    assert tags["epoch-2"] == tags["final"] != tags["epoch-1"]
    assert sorted(HfApi().list_repo_files(repo_id, revision="epoch-1")) == [
        ".gitattributes",
        "README.md",
        "config.json",
        "hf_dd.json",
        "model.safetensors",
    ]
    early, late = (hf_dd.TeacherPool.from_references([f"{repo_id}@{tag}"])[0] for tag in ("epoch-1", "final"))
    assert (early.spec.epoch, late.spec.epoch, late.spec.sha) == (1, 2, tags["final"])
    assert not torch.equal(early.network.classifier.weight, late.network.classifier.weight)
    card = ModelCard.load(repo_id).data
    assert card.eval_results is None and card.datasets is None  # which would name a data set of the Hub
    assert {"hf-dd-teacher", "arch:ConvNet", "seed:0", "dataset:digits"} <= set(card.tags)


def test_teachers_found_by_hub_tags(tiny_teachers):
    pool = hf_dd.TeacherPool.from_tags(["hf-dd-teacher", "dataset:digits", "arch:MLP", "seed:0"], revision="epoch-1")
    assert [(teacher.spec.repo_id, teacher.spec.epoch) for teacher in pool] == [("local/digits-mlp-seed0", 1)]


def test_collection_pins_commits_even_when_a_tag_moves(collection, tiny_teachers):
    repo_id = tiny_teachers.references[0].split("@")[0]
    pins = {ref.name: ref.target_commit for ref in HfApi().list_repo_refs(repo_id).tags}
    notes = {item.repo_id: item.note for item in collection.items}
    assert notes[repo_id] == f"epoch-1={pins['epoch-1']} epoch-2={pins['epoch-2']}"
    HfApi().create_tag(repo_id, tag="moving", revision=pins["epoch-1"])
    moving = hf_dd.create_pool("Moving", [f"{repo_id}@moving"])
    HfApi().delete_tag(repo_id, tag="moving")
    HfApi().create_tag(repo_id, tag="moving", revision=pins["epoch-2"])
    assert hf_dd.TeacherPool.from_collection(moving.slug)[0].spec.sha == pins["epoch-1"]


def test_pool_is_frozen_and_in_eval_mode(collection):
    for teacher in hf_dd.TeacherPool.from_collection(collection.slug):
        teacher.train()
        assert not any(module.training for module in teacher.modules())
        assert not any(parameter.requires_grad for parameter in teacher.parameters())


def test_folder_repository_and_load_dataset_are_the_same_files(pushed):
    artefact, repo_id = pushed
    commits = HfApi().list_repo_commits(repo_id, repo_type="dataset")
    assert len(commits) == 2  # the repository's own first commit, and ours
    snapshot = hub_module.pull(hub_module.resolve(f"{repo_id}@v1", "dataset"), "dataset")
    for path in ("README.md", "hf_dd.json", "preview.png", "pool.json", "results.json"):
        assert (snapshot / path).read_bytes() == (artefact.folder / path).read_bytes()
    remote = datasets.load_dataset(repo_id, revision="v1", split="train")
    local = artefact.load()
    assert remote.features == local.features
    assert remote.features["label"].names == [str(digit) for digit in range(10)]
    np.testing.assert_array_equal(
        remote.with_format("numpy")[:]["pixel_values"], local.with_format("numpy")[:]["pixel_values"]
    )
    rows = remote.with_format("torch")[:]
    assert rows["pixel_values"].shape == (20, 1, 8, 8) and rows["pixel_values"].dtype == torch.float32
    clipped = (rows["pixel_values"].clamp(0, 1) * 255).round().to(torch.uint8)
    assert torch.equal(torch.as_tensor(np.stack([np.asarray(image) for image in remote["image"]])[:, None]), clipped)


def test_card_names_every_teacher_by_commit(pushed, collection):
    artefact, repo_id = pushed
    card = DatasetCard.load(repo_id)
    front = card.data.to_dict()
    block = front["distillation"]
    assert (block["objective"], block["ipc"], block["clom"]) == ("dm", 2, {"distance": "cos", "alpha": 100.0})
    pins = {(pin.repo_id, pin.revision): pin.sha for pin in hf_dd.teachers.pins.pins_of(collection)}
    assert {(t["repo_id"], t["revision"]): t["sha"] for t in block["teachers"]} == pins
    for teacher in block["teachers"]:
        assert {"architecture", "seed", "epoch", "dataset", "accuracy"} <= set(teacher)
        assert f"/{teacher['repo_id']}/tree/{teacher['sha']}" in card.text
    assert front["license"] == "cc-by-4.0" and front["task_categories"] == ["image-classification"]
    assert f'load_dataset("{repo_id}", revision="v1"' in card.text and artefact.record.command in card.text
    lock = json.loads((artefact.folder / "pool.json").read_text())
    unsaid = {"library": "hf_dd", "trusted": False, "head": None, "configuration": None}  # by front matter
    assert lock["source"] == collection.slug
    assert lock["teachers"] == [teacher | unsaid for teacher in block["teachers"]]


def repeated(artefact, folder):
    """What the command on a set's card makes, in another folder, without its evaluation."""
    words = shlex.split(artefact.record.command)
    assert words[:2] == ["hf-dd", "distill"] and artefact.record.command in (artefact.folder / "README.md").read_text()
    config = parse_config(
        DistillConfig, [*words[2:], "--output_dir", str(folder), "--eval_students", "0"], command="hf-dd distill"
    )
    return hf_dd.distill(config)


def test_the_command_on_the_card_names_commits_and_repeats_the_set_to_the_byte(pushed, collection, tmp_path):
    artefact, repo_id = pushed
    before = refs(repo_id)
    words = shlex.split(artefact.record.command)
    assert not {"--push_to_hub", "--hub_dataset_id", "--hub_tag", "--teacher_pool"} & set(words)
    start = words.index("--teachers") + 1
    pins = [f"{pin.repo_id}@{pin.sha}" for pin in hf_dd.teachers.pins.pins_of(collection)]
    assert words[start : start + len(pins)] == pins
    again = repeated(artefact, tmp_path / "again")
    assert again.record.parquet_sha256 == artefact.record.parquet_sha256
    assert refs(repo_id) == before


def test_the_code_on_the_card_gives_normalised_images(pushed):
    artefact, _ = pushed
    card = (artefact.folder / "README.md").read_text()
    names = {}
    for block in re.findall(r"^```python\n(.*?)^```", card, re.M | re.S):
        exec(block, names)
    (line,) = re.findall(r"torchvision it is `(.*?)`", card)
    exec(line, {"transforms": transforms} | names, again := {})
    digits = hf_dd.load_data(DataConfig())
    expected = digits.normalise(names["images"])
    for images in (names["normalised"], again["normalised"]):
        torch.testing.assert_close(images, expected, rtol=1e-3, atol=1e-3)  # four digits of mean and std
    assert names["labels"].tolist() == [label for label in range(10) for _ in range(2)]


def test_results_are_in_the_card_for_both_copies(pushed):
    artefact, _ = pushed
    results = json.loads((artefact.folder / "results.json").read_text())
    assert results["protocol"]["name"] == "dsa" and results["protocol"]["epochs"] == 3
    assert [(row["set"], row["copy"], row["n"]) for row in results["rows"]] == [
        ("run", "float", 2),
        ("run", "8bit", 2),
        ("random real, ipc 2", "8bit", 2),
        ("herding, ipc 2", "8bit", 2),
    ]
    for row in results["rows"]:
        assert {"set", "architecture", "copy", "n", "mean", "std", "seconds"} <= set(row)
        assert f"{row['mean']:.2f} ± {row['std']:.2f}" in (artefact.folder / "README.md").read_text()


def test_evaluate_by_hub_reference_equals_the_folder(pushed, tmp_path):
    artefact, repo_id = pushed
    options = {"eval_students": 2, "eval_epochs": 3, "eval_copies": ["float"], "baselines": []}
    remote = hf_dd.evaluate(sets=[f"{repo_id}@v1"], output_dir=str(tmp_path / "remote"), **options)
    local = hf_dd.evaluate(sets=[str(artefact.folder)], output_dir=str(tmp_path / "local"), **options)
    assert remote.rows[0].set == f"{repo_id}@v1" and remote.rows[0].mean == local.rows[0].mean
    assert json.loads((tmp_path / "remote" / "results.json").read_text())["rows"][0]["mean"] == remote.rows[0].mean
    assert remote.rows[0].mean == pytest.approx(artefact.record.results["rows"][0]["mean"], abs=1e-9)


def refs(repo_id):
    return HfApi().list_repo_refs(repo_id, repo_type="dataset")


def test_push_again_takes_the_next_free_tag(pushed):
    artefact, repo_id = pushed
    again = hf_dd.push(artefact.folder)
    assert (again.pin.repo_id, again.pin.revision) == (repo_id, "v2")
    branch = hf_dd.push(artefact.folder, branch="dev", tag="dev-1")
    assert branch.pin.sha == {ref.name: ref.target_commit for ref in refs(repo_id).branches}["dev"]
    assert branch.pin.sha == {ref.name: ref.target_commit for ref in refs(repo_id).tags}["dev-1"]
    pushed_as = hf_dd.Artefact.open(artefact.folder).record.pushed
    request = hf_dd.Artefact.open(artefact.folder).push(create_pr=True)
    assert hf_dd.Artefact.open(artefact.folder).record.pushed == pushed_as
    assert request.pull_request.endswith("/discussions/1")
    assert datasets.load_dataset(repo_id, revision="refs/pr/1", split="train").num_rows == 20


def test_a_taken_tag_is_refused_before_the_run(pushed, tmp_path):
    _, repo_id = pushed
    with pytest.raises(hf_dd.HfDdError, match="has a tag v1 already .* choose another --hub_tag"):
        hf_dd.distill(
            **QUICK, output_dir=str(tmp_path / "run"), push_to_hub=True, hub_dataset_id=repo_id, hub_tag="v1"
        )
    assert not (tmp_path / "run").exists()


def test_one_process_goes_through_several_precisions(tiny_teachers, tmp_path, bf16):
    for number, precision in enumerate(("bf16", "no", "bf16")):
        artefact = hf_dd.distill(
            **QUICK | {"eval_students": 1}, mixed_precision=precision, output_dir=f"{tmp_path}/{number}"
        )
        assert artefact.record.settings["mixed_precision"] == precision
    first, full, third = ((tmp_path / name / "data").glob("*.parquet").__next__().read_bytes() for name in "012")
    assert first == third != full


def test_a_folder_that_holds_no_run_is_left_alone(tmp_path):
    (tmp_path / "README.md").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(hf_dd.HfDdError, match="holds is no run of hf-dd: give another --output_dir"):
            hf_dd.distill(**QUICK, output_dir=str(tmp_path), overwrite_output_dir=overwrite)
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]


def test_results_alone_make_way_for_a_run_only_where_it_may_overwrite(tmp_path):
    """As where somebody removed the folder of a run that was writing them."""
    (tmp_path / "results.json").write_text("{}")
    with pytest.raises(hf_dd.HfDdError, match="holds is no run of hf-dd: give another --output_dir"):
        hf_dd.distill(**QUICK, output_dir=str(tmp_path))
    assert (tmp_path / "results.json").read_text() == "{}" and len(list(tmp_path.iterdir())) == 1
    assert hf_dd.distill(**QUICK, output_dir=str(tmp_path), overwrite_output_dir=True).folder == tmp_path


def test_data_set_from_the_hub_is_pinned(unique, tiny_teachers, tmp_path):
    repo_id = unique()
    digits = hf_dd.load_data(DataConfig())
    columns = {
        "picture": [image[0].numpy() for image in digits.train.images[:300]],
        "digit": digits.train.labels[:300].tolist(),
    }
    features = datasets.Features({"picture": datasets.Image(), "digit": datasets.ClassLabel(names=digits.class_names)})
    rows = datasets.Dataset.from_dict(columns, features=features)
    rows.push_to_hub(repo_id, split="train")
    card = DatasetCard.load(repo_id)
    card.data.license = "cc-by-4.0"
    card.push_to_hub(repo_id, repo_type="dataset")
    HfApi().create_tag(repo_id, tag="v1", repo_type="dataset")
    rows.select(range(100)).push_to_hub(repo_id, split="train")
    data = hf_dd.load_data(DataConfig(dataset=f"{repo_id}@v1"))
    assert torch.equal(data.train.images, digits.train.images[:300])
    assert torch.equal(data.train.labels, digits.train.labels[:300])
    assert data.sha == HfApi().dataset_info(repo_id, revision="v1").sha and data.revision == "v1"
    assert data.license == "cc-by-4.0" and data.test is None
    assert len(hf_dd.load_data(DataConfig(dataset=repo_id)).train) == 100
    quick = {"iterations": 1, "eval_students": 0, "ipc": 1, "eval_teachers": [tiny_teachers.references[2]]}
    quick |= {"eval_protocol": "soft-label-online"}
    made = hf_dd.distill(**QUICK | quick | {"dataset": f"{repo_id}@v1"}, output_dir=str(tmp_path / "made"))
    HfApi().delete_tag(repo_id, tag="v1", repo_type="dataset")
    words = shlex.split(made.record.command)
    assert words[words.index("--dataset") + 1] == f"{repo_id}@{data.sha}"
    teacher = HfApi().model_info("local/digits-mlp-seed0", revision="final")
    assert words[words.index("--eval_teachers") + 1] == f"{teacher.id}@{teacher.sha}"
    assert repeated(made, tmp_path / "again").record.parquet_sha256 == made.record.parquet_sha256


def test_hub_run_gives_a_command_its_environment(run_python, tmp_path):
    code = "import huggingface_hub as h, os; print(os.environ['HF_ENDPOINT'], h.whoami()['name'])"
    done = run_python("-m", "hf_dd", "hub", "run", tmp_path / "hub", "--user", "ada", "--", sys.executable, "-c", code)
    endpoint, name = done.stdout.split()
    assert done.returncode == 0 and name == "ada" and endpoint.startswith("http://127.0.0.1:")
    failed = run_python(
        "-m", "hf_dd", "hub", "run", tmp_path / "hub", "--", sys.executable, "-c", "raise SystemExit(7)"
    )
    assert failed.returncode == 7


def test_a_user_without_hf_dd_trains_on_the_set(pushed, forks, tmp_path):
    _, repo_id = pushed
    digits = hf_dd.load_data(DataConfig())
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=digits.class_names)})
    columns = {"image": [image[0].numpy() for image in digits.test.images], "label": digits.test.labels.tolist()}
    (tmp_path / "real").mkdir()
    datasets.Dataset.from_dict(columns, features=features).to_parquet(f"{tmp_path}/real/test.parquet")
    script = resource("scripts", "train_on_distilled.py")
    options = ["--revision", "v1", "--test_set", tmp_path / "real", "--mean", digits.mean[0], "--std", digits.std[0]]
    done = forks.run(script, repo_id, *options, "--epochs", 40, "--students", 2, PYTHONPATH=None, OMP_NUM_THREADS=1)
    assert done.returncode == 0, done.stderr
    assert "hf_dd" not in script.read_text()
    mean = float(done.stdout.splitlines()[-1].split()[0])
    assert 40 < mean < 100  # ten classes, two images each, a short training: far above chance
