"""Students of an evaluation as models: in folders and on the Hub, loaded without hf-dd, refused in time."""

import json
import re
import sys
import types
from urllib.request import urlopen

import numpy
import pytest
import torch
import yaml
from huggingface_hub import HfApi
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import AutoModelForImageClassification

import hf_dd
from hf_dd import cli, hub
from hf_dd.artefacts.student_record import StudentRecord
from hf_dd.core.registry import NETWORKS
from hf_dd.data.fixed_forms import read_digits
from hf_dd.teachers.locating import load_teacher, locate

QUICK = ("--eval_students", "3", "--eval_epochs", "2", "--baselines", "none", "--eval_augment", "none")
BLOCKED = """
import json, sys
sys.modules["hf_dd"] = None  # what isn't installed
import timm, torch
from safetensors.torch import load_file

reference, images = sys.argv[1], load_file(sys.argv[2])
model = timm.create_model(f"hf-hub:{reference}", pretrained=True).eval()
mean, std = (torch.tensor(model.pretrained_cfg[key]).view(-1, 1, 1) for key in ("mean", "std"))
with torch.no_grad():
    logits = model((images["images"] - mean) / std)
print((logits.argmax(1) == images["labels"]).double().mean().item())
"""


@pytest.fixture(scope="module")
def a_set(tmp_path_factory, unique, hub):
    """A set of random digits: its folder, and what it was pushed as, at v1."""
    folder, name = tmp_path_factory.mktemp("set") / "mine", unique()
    hf_dd.distill(objective="random", ipc=2, eval_students=0, output_dir=str(folder))
    cli.main(["push", str(folder), "--hub_dataset_id", name])
    return folder, name


@pytest.fixture(scope="module")
def pushed(a_set, unique, tmp_path_factory, one_thread):
    """The repository of students of the set on the Hub, where else they are, and the results."""
    name, root = unique(), tmp_path_factory.mktemp("out")
    words = [f"{a_set[1]}@v1", "--eval_architectures", "timm/resnet10t", "ConvNet", "--eval_copies", "float", *QUICK]
    words += ["--save_students", str(root / "students"), "--output_dir", str(root)]
    cli.main(["evaluate", *words, "--push_students", name])
    return name, root, json.loads((root / "results.json").read_text()), words


def front_of(repo_id, tag):
    card = (hub.pull(hub.resolve(f"{repo_id}@{tag}")) / "README.md").read_text()
    return yaml.safe_load(card.split("---")[1]), card


def test_the_hub_lists_students_by_their_set(a_set, pushed):
    name, _, results, _ = pushed
    listed = [model.id for model in HfApi().list_models(filter=f"dataset:{a_set[1]}")]
    assert sorted(listed) == [name, f"{name}-convnet"]
    assert listed == [model.id for model in HfApi().list_models(trained_dataset=a_set[1])]
    assert [each["repo_id"] for each in results["students"]] == [name, f"{name}-convnet"]
    assert hub.tags(name, "model").keys() == {"seed-0", "seed-1", "seed-2"}
    with urlopen(f"{hub.endpoint()}/datasets/{a_set[1]}") as page:
        shown = page.read().decode()
    assert f'Models trained on it</h2><ul><li><a href="/{name}' in shown
    card = (hub.pull(hub.resolve(f"{a_set[1]}@v1", "dataset"), "dataset") / "README.md").read_text()
    (address,) = re.findall(r"\[Models that were trained on this set\]\((\S+)\)", card)
    with urlopen(address) as page:
        listing = page.read().decode()
    assert f'href="/{name}"' in listing and f'href="/{name}-convnet"' in listing


def test_a_card_names_the_set_at_its_commit_and_holds_the_result(a_set, pushed):
    name, _, results, _ = pushed
    row, commit = results["rows"][0], hub.resolve(f"{a_set[1]}@v1", "dataset").sha
    for seed in range(3):
        front, card = front_of(name, f"seed-{seed}")
        assert front["datasets"] == [a_set[1]] and front["library_name"] == "timm"
        assert {"hf-dd-student", f"seed:{seed}", "arch:timm/resnet10t"} < set(front["tags"])
        assert front["license"] == "cc-by-4.0" and front["pipeline_tag"] == "image-classification"
        assert "model-index" not in front  # whose results are on data sets of the Hub
        assert f"/datasets/{a_set[1]}/tree/{commit}" in card and commit in card
        assert f'timm.create_model("hf-hub:{name}@seed-{seed}", pretrained=True)' in card
        assert "dsa v" in card and f" --sets {a_set[1]}@{commit} --save" in card and "--push_students" not in card
        record = json.loads((hub.pull(hub.resolve(f"{name}@seed-{seed}")) / "hf_dd.json").read_text())
        assert record["learned_from"]["sha"] == commit and record["scores"] == row["scores"]
        assert record["seed"] == seed and 100 * record["accuracy"] == pytest.approx(row["scores"][seed])
        record["data"] |= {"repo_id": "me/digits", "sha": commit}
        front = yaml.safe_load(StudentRecord(**record).card(hub.endpoint()).split("---")[1])
        assert front["datasets"] == [a_set[1], "me/digits"]
        (result,) = front["model-index"][0]["results"]
        assert result["task"]["type"] == "image-classification" and result["dataset"]["type"] == "me/digits"
        (metric,) = result["metrics"]
        assert metric["type"] == "accuracy" and metric["value"] == pytest.approx(row["scores"][seed] / 100, abs=1e-6)


def test_main_is_the_median_student(pushed):
    name, _, results, _ = pushed
    median = sorted(results["rows"][0]["scores"])[1]
    record = json.loads((hub.pull(hub.resolve(f"{name}@main")) / "hf_dd.json").read_text())
    assert 100 * record["accuracy"] == pytest.approx(median)


def test_a_student_loads_without_hf_dd_and_is_as_right_as_its_row_says(pushed, run_python, tmp_path):
    name, _, results, _ = pushed
    test = read_digits().test
    save_file({"images": test.images.float() / 255, "labels": test.labels}, tmp_path / "test.safetensors")
    done = run_python("-c", BLOCKED, f"{name}@seed-1", tmp_path / "test.safetensors", PYTHONPATH=None, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    assert 100 * float(done.stdout.split()[-1]) == pytest.approx(results["rows"][0]["scores"][1], abs=1e-3)


def test_a_student_in_the_form_of_timm_loads_with_transformers_too(pushed):
    name, root, _, _ = pushed
    folder = root / "students" / name.partition("/")[2] / "seed-1"
    wrapped = AutoModelForImageClassification.from_pretrained(folder).eval()
    ours = load_teacher(*locate(str(folder)))
    images = torch.rand(4, 1, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(wrapped(ours.adapt(images)).logits, ours(images))
    assert wrapped.config.id2label[3] == "3"


def test_both_forms_load_as_teachers(pushed):
    name, _, results, _ = pushed
    test = read_digits().test
    for index, repo_id in enumerate((name, f"{name}-convnet")):
        teacher = load_teacher(*locate(f"{repo_id}@seed-2"))
        assert teacher.class_names == [str(label) for label in range(10)]
        with torch.no_grad():
            right = (teacher(test.images.float() / 255).argmax(1) == test.labels).double().mean().item()
        assert 100 * right == pytest.approx(results["rows"][index]["scores"][2], abs=1e-3)


def test_run_again_it_trains_none_and_pushes_nothing_new(pushed, monkeypatch, capsys):
    name, _, results, words = pushed
    monkeypatch.setattr("hf_dd.evaluation.learners.fit", lambda *_, **__: pytest.fail("a student was trained again"))
    before = hub.refs(name, "model")
    cli.main(["evaluate", *words, "--push_students", name])
    assert hub.refs(name, "model") == before


def test_a_remembered_score_has_no_network_so_it_is_trained_again_to_the_same(pushed, a_set, tmp_path):
    _, root, results, words = pushed
    words = words[: words.index("--save_students")]
    cli.main(["evaluate", *words, "--save_students", str(tmp_path / "again"), "--output_dir", str(tmp_path / "out")])
    assert not (tmp_path / "out" / "students").exists()
    name = a_set[1].partition("/")[2]
    for row, was in (
        (name, pushed[0].partition("/")[2]),
        (f"{name}-convnet", f"{pushed[0].partition('/')[2]}-convnet"),
    ):
        for seed in range(3):
            again = load_file(tmp_path / "again" / row / f"seed-{seed}" / "model.safetensors")
            before = load_file(root / "students" / was / f"seed-{seed}" / "model.safetensors")
            assert all(torch.equal(again[key], before[key]) for key in before)


def test_the_card_of_a_local_set_links_its_students(a_set, unique, one_thread):
    folder, name = a_set[0], unique()
    words = ["--eval_architectures", "MLP", *QUICK, "--save_students", str(folder.parent / "students")]
    cli.main(["evaluate", str(folder), *words, "--push_students", name])
    card = (folder / "README.md").read_text()
    assert f"[{name}]({hub.endpoint()}/{name}) (MLP, float, seed-0 seed-1 seed-2)" in card
    assert f"[{name}-8bit]" in card
    front, _ = front_of(name, "seed-0")
    assert front["datasets"][0] == a_set[1] and front["library_name"] == "hf-dd"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["SET", "--save_students", "/dev/null/x"], "/dev/null/x can't be written"),
        (["SET", "--push_students", "bob/x"], "your token may not push to bob"),
        (["SET", "--push_students", "a b"], "isn't a repository id"),
        (
            ["SET", "--push_students", "x", "--eval_protocol", "linear-probe"],
            "--eval_architectures ConvNet: the proto",
        ),
        (["ALONE", "--push_students", "x"], "isn't on the Hub, and the card of a student names its set by a commit"),
        (["SET", "--push_students", "STUDENTS", "--eval_epochs", "3"], "holds students of another run (protocol: "),
    ],
)
def test_what_cannot_be_is_said_before_any_training(a_set, pushed, tmp_path, monkeypatch, words, said):
    alone = tmp_path / "alone"
    if "ALONE" in words:
        hf_dd.distill(objective="random", ipc=1, eval_students=0, output_dir=str(alone))
    monkeypatch.setattr("hf_dd.evaluation.learners.fit", lambda *_, **__: pytest.fail("it began to train"))
    names = {"SET": f"{a_set[1]}@v1", "ALONE": str(alone), "STUDENTS": f"{pushed[0]}-convnet"}
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        cli.main(["evaluate", *(names.get(word, word) for word in words), *([] if "3" in words else QUICK)])
    assert said in str(ended.value) and "\n" not in str(ended.value)
    assert not (tmp_path / "outputs").exists()


def test_students_are_kept_of_tiles_that_a_protocol_shows_as_they_are_stored(tmp_path, monkeypatch):
    """By a protocol, too, that has another rate for this very student."""
    draws = numpy.random.default_rng(0)
    for split, count in (("train", 4), ("test", 1)):
        for index in range(10 * count):
            (tmp_path / f"data/{split}/{index % 10}").mkdir(parents=True, exist_ok=True)
            picture = Image.fromarray(draws.integers(0, 256, (66, 66), dtype=numpy.uint8))
            picture.save(tmp_path / f"data/{split}/{index % 10}/{index}.png")
    size = {"dataset": str(tmp_path / "data"), "image_size": 66}
    (teacher,) = hf_dd.pretrain(**size, architectures=["MLP"], epochs=1, output_dir=str(tmp_path / "teachers"))
    made = hf_dd.distill(
        **size, objective="random", ipc=1, factor=2, eval_students=0, output_dir=str(tmp_path / "set")
    )
    options = {"eval_protocol": "rded", "eval_architectures": ["AlexNet"], "eval_teachers": [f"{teacher}@final"]}
    options |= {"eval_students": 1, "eval_epochs": [1], "eval_copies": ["float"], "baselines": ["none"]}
    options |= {"sets": [str(made.folder)], "save_students": str(tmp_path / "kept")}
    first = hf_dd.evaluate(**options)
    assert first.rows[0].learning_rate == 0.0001
    (record,) = (tmp_path / "kept").rglob("hf_dd.json")
    assert json.loads(record.read_text())["learned_from"]["images"] == 10
    monkeypatch.setattr("hf_dd.evaluation.learners.fit", None)
    assert hf_dd.evaluate(**options).rows[0].scores == first.rows[0].scores


def test_without_a_token_nothing_begins(a_set, monkeypatch, tmp_path):
    monkeypatch.setattr("hf_dd.hub.permission.get_token", lambda: None)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="No token is set"):
        cli.main(["evaluate", str(a_set[0]), "--push_students", "x", *QUICK])


def test_an_architecture_that_lies_in_no_file_is_refused(a_set, tmp_path, monkeypatch):
    for kept in ("_definitions", "_modules", "_words"):
        monkeypatch.setattr(NETWORKS, kept, dict(getattr(NETWORKS, kept)))
    monkeypatch.setitem(sys.modules, "typed_in", types.ModuleType("typed_in"))  # as an interpreter's, without a file
    register = "NETWORKS.register('typed', title='typed in')(lambda trunk: None)"
    exec(register, {"__name__": "typed_in", "NETWORKS": NETWORKS})
    words = ["--eval_architectures", "typed", "--save_students", str(tmp_path / "x"), *QUICK]
    with pytest.raises(SystemExit, match="registered by a program and lies in no file"):
        cli.main(["evaluate", str(a_set[0]), *words])
    assert not (tmp_path / "x").exists()
