"""`hf-dd reproduce`: what a record says is made again and compared, or refused; on digits."""

import functools
import json
import shutil

import pytest
import torch
from huggingface_hub import HfApi

import hf_dd
from hf_dd import hub
from hf_dd.artefacts.distilled_folder import Artefact
from hf_dd.artefacts.provenance import command_line
from hf_dd.config import DistillConfig, PretrainConfig
from hf_dd.config.reproduction import read_command
from hf_dd.core import files
from hf_dd.core.layout import PARQUET
from hf_dd.core.machine import cpu
from hf_dd.data.image_data import load_data
from hf_dd.distillation.distiller import Distiller
from hf_dd.errors import HubError, RunError
from hf_dd.importing import class_order
from hf_dd.importing.class_order import classifiers_of
from hf_dd.runs.reproduce import evaluations_of
from tests.conftest import TINY
from tests.factories import distil, message_of, says

pytestmark = pytest.mark.usefixtures("one_thread")

STUDENTS = {"eval_students": 2, "eval_epochs": [1], "eval_architectures": ["MLP"], "baselines": ["random"]}


@pytest.fixture(scope="module")
def guided(tiny_teachers, tmp_path_factory):
    """A set that a teacher on the Hub guided, with students, pushed as local/again@v1: its folder."""
    folder = tmp_path_factory.mktemp("guided") / "set"
    teachers = [tiny_teachers.references[2]]
    push = {"push_to_hub": True, "hub_dataset_id": "again", "hub_tag": "v1"}
    distil(folder, iterations=2, clom="ce", clom_alpha=1, teachers=teachers, **STUDENTS, **push)
    return folder


@pytest.fixture
def copy(guided, tmp_path):
    """The same in a folder that may be changed, with what changes its record."""
    shutil.copytree(guided, tmp_path / "set", ignore=shutil.ignore_patterns("checkpoints", "logs"))
    return tmp_path / "set"


def change(folder, **facts):
    """Let the record of a folder say something else."""
    content = json.loads((folder / "hf_dd.json").read_text())
    files.write_json(folder / "hf_dd.json", content | facts)


def refs(repo_id, repo_type="dataset"):
    return HfApi().list_repo_refs(repo_id, repo_type=repo_type)


def test_a_set_on_the_hub_is_made_again_to_the_byte_from_its_record_alone(guided, tmp_path, monkeypatch):
    before, files_before = (
        refs("local/again"),
        {path: path.read_bytes() for path in guided.rglob("*") if path.is_file()},
    )
    monkeypatch.chdir(tmp_path)  # nothing lies here
    verdict = hf_dd.reproduce(set="local/again@v1")
    assert verdict.holds and verdict.values.equal and verdict.values.largest == 0
    assert [check.wrong for check in verdict.checks] == ["", "", ""]
    assert [each.what for each in verdict.accuracies] == [
        f"[{kind}, {copy}, MLP, n=2]" for kind, copy in (("set", "float"), ("set", "8bit"), ("random", "8bit"))
    ]
    assert all(each.here == pytest.approx(each.there, abs=1e-9) for each in verdict.accuracies)
    root = tmp_path / "outputs/reproduce-again"
    assert (root / "repeated" / PARQUET).read_bytes() == (guided / PARQUET).read_bytes()
    content = json.loads((root / "reproduction.json").read_text())
    assert content == json.loads(json.dumps(verdict.as_dict())) and content["at"] == before.tags[0].target_commit
    assert refs("local/again") == before and {path: path.read_bytes() for path in files_before} == files_before
    says(message_of("reproduce", "local/again@v1"), "isn't empty", "give another --output_dir")


def test_a_check_runs_nothing_and_a_reproduction_may_follow_it(guided, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(Distiller, "step", None)
        hf_dd.cli.main(["reproduce", str(guided), "--check"])
    assert "checked: holds: all 3 inputs are there and as recorded" in capsys.readouterr().out
    content = json.loads((tmp_path / "outputs/reproduce-set/reproduction.json").read_text())
    assert (content["ran"], content["holds"]) == (False, True)
    hf_dd.cli.main(["reproduce", str(guided)])
    assert "reproduced: holds: pixels: every byte is equal\n" in capsys.readouterr().out


def test_an_interrupted_reproduction_goes_on(guided, tmp_path, monkeypatch):
    class Interrupted(Exception):
        pass

    def stop(*_, **__):
        raise Interrupted

    step = Distiller.step
    monkeypatch.setattr(Distiller, "step", lambda self, index, tell: step(self, index) if index < 1 else stop())
    with pytest.raises(Interrupted):
        hf_dd.reproduce(set=str(guided), output_dir=str(tmp_path / "again"))
    monkeypatch.setattr(Distiller, "step", step)
    assert hf_dd.reproduce(set=str(guided), output_dir=str(tmp_path / "again")).values.equal


def failing(folder, tmp_path, *options):
    """The line that a check ends with, and what it says of each input that fails."""
    output = tmp_path / "check"
    message = message_of("reproduce", folder, "--check", "--output_dir", output, *options)
    content = json.loads((output / "reproduction.json").read_text())
    assert content["holds"] is False and not (output / "repeated").exists()
    return message, [check["wrong"] for check in content["checks"] if check["wrong"]]


def test_rows_that_were_changed_are_refused(copy, tmp_path):
    rows = bytearray((copy / PARQUET).read_bytes())
    rows[len(rows) // 2] ^= 1
    (copy / PARQUET).write_bytes(rows)
    message, (wrong,) = failing(copy, tmp_path)
    says(message, "doesn't hold: 1 of 3 inputs are gone, changed or can't be used")
    says(wrong, "aren't those that its hf_dd.json is of")
    verdict = hf_dd.reproduce(set=str(copy), output_dir=str(tmp_path / "run"))
    assert not verdict.holds and not verdict.ran and not (tmp_path / "run/repeated").exists()


def test_images_that_were_changed_with_their_digest_are_found_out(copy, tmp_path):
    other = distil(tmp_path / "other", iterations=1, init="noise", image_learning_rate=0)
    shutil.copy(other.folder / PARQUET, copy / PARQUET)
    change(copy, parquet_sha256=other.record.parquet_sha256)
    verdict = hf_dd.reproduce(set=str(copy), output_dir=str(tmp_path / "run"))
    assert verdict.ran and verdict.values.largest > 0.5 and not verdict.values.equal
    assert {each.published is None for each in verdict.accuracies[:2]} == {False}


def test_all_inputs_that_are_gone_or_changed_are_named(copy, tmp_path):
    record = Artefact.open(copy).record
    gone = [record.teachers[0] | {"sha": "0" * 40}]
    change(copy, teachers=gone, data=record.data | {"fingerprint": "0" * 32})
    message, (data, teacher) = failing(copy, tmp_path)
    says(message, "2 of 3 inputs")
    says(data, "aren't those on record", "0" * 32)
    says(teacher, "no such branch, tag or commit")


def test_a_data_set_that_lies_elsewhere_is_named_and_has_to_be_the_same(copy, tmp_path):
    record = Artefact.open(copy).record
    there = record.command.replace("hf-dd distill", f"hf-dd distill --dataset {tmp_path}/gone")
    change(copy, command=there, data=record.data | {"reference": f"{tmp_path}/gone"})
    _, (wrong,) = failing(copy, tmp_path)
    says(wrong, "There is no data set", "gone", "If its images lie in another folder here, say so: --dataset FOLDER.")
    assert hf_dd.reproduce(set=str(copy), check=True, dataset="digits", output_dir=str(tmp_path / "here")).holds


def test_a_tag_that_was_moved_is_refused(copy, tmp_path):
    moved = hf_dd.push(copy, "moved", tag="v1")
    repo_id = moved.pin.repo_id
    second = hf_dd.push(copy, repo_id, tag="v2")
    assert hf_dd.reproduce(set=f"{repo_id}@v1", check=True, output_dir=str(tmp_path / "before")).holds
    HfApi().delete_tag(repo_id, tag="v1", repo_type="dataset")
    HfApi().create_tag(repo_id, tag="v1", repo_type="dataset", revision=second.pin.sha)
    _, (wrong,) = failing(f"{repo_id}@v1", tmp_path)
    says(wrong, "the tag v1 is on a commit that was pushed as v2: it was moved", f"{repo_id}@v2", second.pin.sha)
    assert hf_dd.reproduce(set=f"{repo_id}@{moved.pin.sha}", check=True, output_dir=str(tmp_path / "after")).holds


def test_a_teacher_whose_tag_moved_is_taken_at_its_commit(tmp_path):
    own = {"architectures": ["MLP"], "teacher_seeds": [7], "output_dir": str(tmp_path / "t"), "push_to_hub": True}
    (pin,) = hf_dd.pretrain(**TINY, **own)
    made = distil(tmp_path / "set", iterations=1, clom="ce", teachers=[f"{pin.repo_id}@epoch-1"])
    at = {ref.name: ref.target_commit for ref in refs(pin.repo_id, "model").tags}
    HfApi().delete_tag(pin.repo_id, tag="epoch-1")
    HfApi().create_tag(pin.repo_id, tag="epoch-1", revision=at["epoch-2"])
    verdict = hf_dd.reproduce(set=str(made.folder), output_dir=str(tmp_path / "again"))
    assert verdict.values.equal and verdict.notes == (
        f"{pin.repo_id}@epoch-1 moved since: the commit on record, {at['epoch-1'][:8]}, is what is used",
    )
    _, (wrong,) = failing(f"{pin.repo_id}@epoch-1", tmp_path)
    says(wrong, "the tag epoch-1 is on a commit that was pushed as epoch-2")


def test_experts_are_followed_at_the_commits_of_then(tmp_path):
    network = {"architecture_options": ["width=4", "depth=1"]}
    own = network | {"keep_epochs": [0, 1, 2], "teacher_seeds": [8], "output_dir": str(tmp_path / "t")}
    (pin,) = hf_dd.pretrain(**TINY, **own, architectures=["ConvNet"], push_to_hub=True)
    words = ["max_start_epoch=1", "expert_epochs=1", "student_steps=2"]
    mtt = {"objective": "mtt", "experts": [pin.repo_id], "objective_options": words, "real_batch_size": None}
    made = distil(tmp_path / "set", iterations=2, **network, **mtt)
    at = {ref.name: ref.target_commit for ref in refs(pin.repo_id, "model").tags}
    HfApi().delete_tag(pin.repo_id, tag="epoch-1")
    HfApi().create_tag(pin.repo_id, tag="epoch-1", revision=at["epoch-2"])
    verdict = hf_dd.reproduce(set=str(made.folder), output_dir=str(tmp_path / "again"))
    assert verdict.values.equal and len(verdict.notes) == 1 and len(verdict.checks) == 4
    again = Artefact.open(tmp_path / "again/repeated").record
    assert again.experts == made.record.experts and again.learning_rate == made.record.learning_rate


def test_experts_that_have_later_epochs_by_now_teach_the_same(tmp_path):
    network = {"architecture_options": ["width=4", "depth=1"]}
    own = network | {"teacher_seeds": [8], "architectures": ["ConvNet"], "output_dir": str(tmp_path / "t")}
    (folder,) = hf_dd.pretrain(**TINY | {"epochs": 3}, **own, keep_epochs=[0, 1, 2, 3])
    at_first = {"kind": "teacher-run", "name": folder.name, "final": "epoch-2"}
    all_of_it = json.loads((folder / "hf_dd.json").read_text())
    files.write_json(folder / "hf_dd.json", at_first | {"revisions": ["epoch-0", "epoch-1", "epoch-2"]})
    words = ["max_start_epoch=1", "expert_epochs=1", "student_steps=2"]
    datm = {"objective": "datm", "experts": [str(folder)], "objective_options": words, "real_batch_size": None}
    made = distil(tmp_path / "set", iterations=2, **network, **datm)
    files.write_json(folder / "hf_dd.json", all_of_it)
    verdict = hf_dd.reproduce(set=str(made.folder), output_dir=str(tmp_path / "again"))
    assert verdict.values.equal
    assert Artefact.open(tmp_path / "again/repeated").record.experts == made.record.experts


def test_students_have_the_seeds_on_record_and_those_that_were_tested_otherwise_are_left_out(
    tmp_path, nothing_remembered
):
    made = hf_dd.distill(
        dataset="digits", objective="random", ipc=1, eval_students=0, output_dir=str(tmp_path / "set")
    )
    quick = {"eval_students": 2, "eval_epochs": [2], "eval_architectures": ["MLP"], "eval_copies": ["float"]}
    hf_dd.evaluate(sets=[str(made.folder)], seed=7, **quick)
    assert json.loads((made.folder / "hf_dd.json").read_text())["results"]["seed"] == 7
    verdict = hf_dd.reproduce(set=str(made.folder), output_dir=str(tmp_path / "again"))
    assert verdict.holds and len(verdict.accuracies) == 3
    assert all(each.here == pytest.approx(each.there, abs=1e-9) for each in verdict.accuracies)
    assert json.loads((tmp_path / "again/repeated/hf_dd.json").read_text())["results"]["seed"] == 7
    hf_dd.evaluate(sets=[str(made.folder)], zca=True, **quick)
    verdict = hf_dd.reproduce(set=str(made.folder), output_dir=str(tmp_path / "otherwise"))
    assert verdict.values.equal and not verdict.accuracies
    assert any("not evaluated again (tested by --zca True): " in note for note in verdict.notes)


def test_every_row_on_record_is_evaluated_again_whatever_the_rates_of_the_others_are():
    def row(architecture, rate, baseline=None, copy="8bit"):
        return {"architecture": architecture, "learning_rate": rate, "baseline": baseline, "copy": copy, "n": 3}

    rows = [row("MLP", 0.3), row("LeNet", 0.03), row("MLP", 0.3, "random"), row("LeNet", 0.3, "random")]
    rows += [row("MLP", 0.3, copy="float"), row("ConvNet", 0.3), row("ConvNet", 0.3, "random")]
    found = [
        (trained[2], {each["architecture"] for each in group}, {(each["baseline"], each["copy"]) for each in group})
        for trained, group in evaluations_of({"rows": rows, "protocol": {"epochs": 2}})
    ]
    assert found == [
        (0.3, {"MLP"}, {(None, "8bit"), (None, "float"), ("random", "8bit")}),
        (0.3, {"LeNet"}, {("random", "8bit")}),
        (0.3, {"ConvNet"}, {(None, "8bit"), ("random", "8bit")}),
        (0.03, {"LeNet"}, {(None, "8bit")}),
    ]


def test_real_images_at_a_rate_of_their_own_are_evaluated_again(tmp_path, nothing_remembered):
    place = str(tmp_path / "set")
    made = hf_dd.distill(dataset="digits", objective="random", ipc=1, eval_students=0, output_dir=place)
    quick = {"eval_students": 2, "eval_epochs": [1], "eval_copies": ["float"], "baselines": ["random"]}
    quick |= {"sets": [place], "eval_architectures": ["MLP", "LeNet"]}
    of_each = []
    for rate in (0.3, 0.03):
        hf_dd.evaluate(**quick, eval_learning_rates=[rate])
        of_each.append(Artefact.open(made.folder).record.results)
    first, second = (results["rows"] for results in of_each)
    chosen = [row for row in first if row["baseline"] or row["architecture"] == "MLP"]
    chosen += [row for row in second if not row["baseline"] and row["architecture"] == "LeNet"]
    change(made.folder, results=of_each[0] | {"rows": chosen})
    verdict = hf_dd.reproduce(set=place, output_dir=str(tmp_path / "again"))
    assert verdict.holds and len(verdict.accuracies) == len(chosen) == 4 and not verdict.notes
    assert all(each.here == pytest.approx(each.there, abs=1e-9) for each in verdict.accuracies)


def test_other_images_whose_students_are_too_few_to_tell_cannot_be_judged(tmp_path):
    made = distil(tmp_path / "set", iterations=2, eval_copies=["float"], **STUDENTS | {"eval_students": 2})
    settings = made.record.settings | {"seed": 2}
    change(made.folder, command=f"{made.record.command} --seed 2", settings=settings)
    message = message_of("reproduce", made.folder, "--output_dir", tmp_path / "again")
    says(
        message,
        "can't be judged: pixels: largest difference",
        "no accuracy of it can be judged (fewer than 3 students)",
    )
    content = json.loads((tmp_path / "again/reproduction.json").read_text())
    assert (content["holds"], content["judged"], content["values"]["equal"]) == (False, False, False)
    hf_dd.reproduce(set=str(made.folder), output_dir=str(tmp_path / "badge"), verify_badge=True)
    assert "**Neither reproduced nor refuted** on" in (made.folder / "README.md").read_text()


def test_an_augmentation_that_older_versions_let_be_given_where_there_is_none(tmp_path):
    made = hf_dd.distill(
        dataset="digits", objective="random", ipc=1, eval_students=0, output_dir=str(tmp_path / "set")
    )
    settings = made.record.settings | {"augment": "crop"}
    change(made.folder, command=f"{made.record.command} --augment crop", settings=settings)
    assert hf_dd.reproduce(set=str(made.folder), output_dir=str(tmp_path / "again")).values.equal


def test_own_teachers_of_a_planned_run_are_trained_again_in_the_new_folder(tmp_path):
    own = PretrainConfig(**TINY, architectures=["MLP"], output_dir=str(tmp_path / "run/teachers"), keep_epochs=[2])
    hf_dd.pretrain(own)
    made = distil(tmp_path / "set", iterations=1, clom="ce", teachers=[f"{own.output_dir}/digits-mlp-seed0@final"])
    change(made.folder, before=[command_line("pretrain", own)])
    shutil.rmtree(tmp_path / "run")
    verdict = hf_dd.reproduce(set=str(made.folder), output_dir=str(tmp_path / "again"))
    assert verdict.values.equal and verdict.notes == ("1 of its 1 own teachers came out to the byte",)
    assert (tmp_path / "again/teachers/teachers/digits-mlp-seed0/epoch-2/model.safetensors").is_file()
    change(made.folder, before=[])
    _, wrong = failing(made.folder, tmp_path)
    says(wrong[0], "was a local folder, which isn't there")


@pytest.mark.parametrize("options", [{"eval_mix": "cutmix=0.5"}, {"eval_mix": "none"}, {}])
def test_students_are_mixed_again_as_on_record(tmp_path, nothing_remembered, options):
    quick = {"objective": "random", "ipc": 2, "eval_students": 2, "eval_epochs": [3], "eval_copies": ["float"]}
    protocol = {"eval_protocol": "rethinkdc-hard", "eval_architectures": ["MLP"], "baselines": ["none"]}
    made = hf_dd.distill(dataset="digits", output_dir=str(tmp_path / "set"), **quick, **protocol, **options)
    mixed = made.record.results["protocol"]["views"]["mix"]
    verdict = hf_dd.reproduce(set=str(tmp_path / "set"), output_dir=str(tmp_path / "again"))
    assert verdict.holds and verdict.accuracies
    assert all(each.here == pytest.approx(each.there, abs=1e-9) for each in verdict.accuracies)
    assert mixed == options.get("eval_mix", mixed).partition("=")[0]


def test_a_teacher_is_trained_again(tiny_teachers, tmp_path):
    verdict = hf_dd.reproduce(set="local/digits-mlp-seed0@epoch-1", output_dir=str(tmp_path / "hub"))
    assert verdict.kind == "teacher" and verdict.values.of == "weights" and verdict.values.equal and verdict.holds
    (accuracy,) = verdict.accuracies
    assert accuracy.there == accuracy.here and 1 < accuracy.half_width < 6
    assert hf_dd.reproduce(set=f"{tiny_teachers.folders[2]}@epoch-1", check=True, output_dir=str(tmp_path / "c")).holds
    assert hf_dd.reproduce(set=str(tiny_teachers.folders[2]), output_dir=str(tmp_path / "run")).values.equal


def test_an_imported_set_is_imported_again_and_its_files_have_to_be_the_same(tmp_path, monkeypatch):
    train = functools.cache(lambda seed: list(classifiers_of(data, seed, torch.device("cpu")))[-1:])
    monkeypatch.setattr(
        class_order, "classifiers_of", lambda data, seed, device: (look for look in train(seed))
    )  # once for both
    data = load_data("digits")
    chosen = torch.cat([members[:2] for members in data.class_index])
    images = data.normalise(data.train.images[chosen])
    torch.save([images, data.train.labels[chosen]], tmp_path / "foreign.pt")
    made = hf_dd.import_set(foreign_set=str(tmp_path / "foreign.pt"), dataset="digits", output_dir=str(tmp_path / "s"))
    verdict = hf_dd.reproduce(set=str(made.folder), output_dir=str(tmp_path / "again"))
    assert verdict.kind == "imported-set" and verdict.values.equal and verdict.holds
    torch.save([images + 1, data.train.labels[chosen]], tmp_path / "foreign.pt")
    _, (wrong,) = failing(made.folder, tmp_path)
    says(wrong, "foreign.pt isn't what was imported")


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"command": ""}, ("can't be made again", "object in memory", "fingerprint")),
        ({"command": "rm -rf /"}, ("can't be run by this version", "hf-dd 0.1.0")),
        ({"command": "hf-dd distill --config mine.yaml"}, ("can't be run by this version",)),
        ({"command": "hf-dd distill --help"}, ("can't be run by this version",)),
        ({"command": "hf-dd distill 'unclosed"}, ("can't be run by this version", "quotation")),
        ({"command": "hf-dd distill --newer_option 3"}, ("unknown option 'newer_option'", "install that version")),
        (
            {"command": "hf-dd distill --ipc 3"},
            ("contradicts itself: --ipc is 3 in its command, and 1",),
        ),
        ({"command": "hf-dd distill --objective os:system"}, ("no module is imported because a file names it",)),
        ({"command": "hf-dd pretrain"}, ("contradicts itself", "distilled-set")),
    ],
)
def test_a_record_that_nothing_can_be_made_of(copy, tmp_path, facts, words):
    change(copy, **facts)
    says(message_of("reproduce", copy, "--output_dir", tmp_path / "again"), *words)
    assert not (tmp_path / "again/repeated").exists()


def test_a_record_of_another_version_says_which(copy):
    change(copy, versions={"hf-dd": "9.1"}, something_new=1)
    says(message_of("reproduce", copy), "something_new", "written by hf-dd 9.1, and this is 0.1.0")


def test_a_set_without_a_record_and_what_is_none(copy, tmp_path):
    (copy / "hf_dd.json").unlink()
    says(message_of("reproduce", copy), "has no hf_dd.json", "the data set at its commit", "hf-dd import")
    says(message_of("reproduce", tmp_path / "nothing"), "There is no set, teacher or study")
    says(message_of("reproduce", "local/nothing"), "doesn't exist")
    says(message_of("reproduce"), "hf-dd reproduce FOLDER_OR_HUB_ID")
    says(message_of("reproduce", "local/again@v1", "--cells", "a"), "--cells are those of a study")
    says(message_of("reproduce", "local/again@v1", "--check", "--verify_badge"), "leave one out")


def test_of_a_command_only_options_are_followed():
    words = "--ipc 3 --push_to_hub --hub_dataset_id theirs --trusted_teachers evil/one --resume_from_checkpoint x.bin"
    config = read_command(f"hf-dd distill {words}", "hf-dd")
    assert config == DistillConfig(ipc=3)
    two = read_command("accelerate launch --multi_gpu --num_processes 2 -m hf_dd distill --ipc 3", "hf-dd")
    assert two == config


def test_hardware_versions_and_protocol_that_differ_are_told(copy, tmp_path):
    record = Artefact.open(copy).record
    results = record.results | {"protocol": record.results["protocol"] | {"version": 0}}
    change(copy, versions=record.versions | {"torch": "1.0"}, run=record.run | {"hardware": "TPU"}, results=results)
    verdict = hf_dd.reproduce(set=str(copy), check=True, output_dir=str(tmp_path / "check"))
    told = [f"{each.what}: {each.there}" for each in verdict.differences]
    assert told == ["torch: 1.0", "hardware: TPU", "protocol dsa: version 0"] and verdict.holds


def test_a_badge_on_a_folders_card(copy, tmp_path):
    hf_dd.reproduce(set=str(copy), output_dir=str(tmp_path / "again"), verify_badge=True)
    card = (copy / "README.md").read_text()
    assert f"**Reproduced** on {cpu()}, 1 process of 1 thread with hf-dd" in card and "every byte is equal" in card
    assert card == Artefact.open(copy).record.card(hub.endpoint())
    change(copy, results=dict(Artefact.open(copy).record.results, rows=[
        row | {"mean": 99.0, "half_width": 0.1} for row in Artefact.open(copy).record.results["rows"]
    ]))  # fmt: skip
    verdict = hf_dd.reproduce(set=str(copy), output_dir=str(tmp_path / "claims"), verify_badge=True)
    assert not verdict.holds and verdict.values.equal
    assert "**Not reproduced** on" in (copy / "README.md").read_text()


def test_a_badge_is_a_commit_on_the_main_of_ones_own_repository(copy, tmp_path):
    repo_id = hf_dd.push(copy, "badge", tag="v1").pin.repo_id
    before = refs(repo_id)
    hf_dd.reproduce(set=f"{repo_id}@v1", output_dir=str(tmp_path / "again"), verify_badge=True)
    main = hub.resolve(repo_id, "dataset")
    assert refs(repo_id).tags == before.tags and main.sha != before.branches[0].target_commit
    folder = hub.pull(main, "dataset")
    record = Artefact.open(folder).record
    assert record.reproduction["holds"] and "**Reproduced** on" in (folder / "README.md").read_text()
    assert hf_dd.reproduce(set=repo_id, check=True, output_dir=str(tmp_path / "main")).holds
    edited = tmp_path / "README.md"
    edited.write_text((folder / "README.md").read_text().replace("## Load", "My own words.\n\n## Load"))
    HfApi().upload_file(path_or_fileobj=edited, path_in_repo="README.md", repo_id=repo_id, repo_type="dataset")
    hf_dd.reproduce(set=repo_id, output_dir=str(tmp_path / "edited"), verify_badge=True)
    card = (hub.pull(hub.resolve(repo_id, "dataset"), "dataset") / "README.md").read_text()
    assert "My own words." in card and card.count("**Reproduced**") == 1


def test_a_badge_for_what_isnt_ones_own_or_is_another_by_now_is_refused_before_anything_runs(copy, tmp_path):
    repo_id = hf_dd.push(copy, "badge-moved", tag="v1").pin.repo_id
    other = distil(tmp_path / "other", iterations=1)
    hf_dd.push(other.folder, repo_id, tag="v2")
    again = tmp_path / "again"
    with pytest.raises(RunError, match="main holds something else"):
        hf_dd.reproduce(set=f"{repo_id}@v1", verify_badge=True, output_dir=str(again))
    bob = HfApi(token="hf_bob_token")
    bob.create_repo("bob/their-set", repo_type="dataset")
    bob.upload_folder(repo_id="bob/their-set", repo_type="dataset", folder_path=copy,
                      allow_patterns=["README.md", "hf_dd.json", "data/*", "preview.png"])  # fmt: skip
    with pytest.raises(HubError, match="may not push to bob"):
        hf_dd.reproduce(set="bob/their-set", verify_badge=True, output_dir=str(again))
    assert not again.exists()


def test_a_badge_on_a_teachers_card(tmp_path):
    own = {"architectures": ["MLP"], "teacher_seeds": [9], "output_dir": str(tmp_path / "t"), "push_to_hub": True}
    (pin,) = hf_dd.pretrain(**TINY, **own)
    hf_dd.reproduce(set=f"{pin.repo_id}@final", verify_badge=True, output_dir=str(tmp_path / "again"))
    card = (hub.pull(hub.resolve(pin.repo_id)) / "README.md").read_text()
    assert "**Reproduced** on" in card and f"{pin.repo_id}@epoch-2" in card
    assert hf_dd.TeacherPool.from_references([pin.repo_id])[0].spec.epoch == 2


def test_the_card_has_the_line(guided, tiny_teachers):
    assert "`hf-dd reproduce local/again@v1` makes this again" in (guided / "README.md").read_text()
    folder = hub.pull(hub.resolve("local/digits-mlp-seed0@epoch-1"))
    assert "`hf-dd reproduce local/digits-mlp-seed0@epoch-1` makes" in (folder / "README.md").read_text()
