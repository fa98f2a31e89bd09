"""What version 0.1.0 wrote before its modules became floors still loads, resumes and counts as done.

`tests/fixtures/before` was written by that code, run there: what it names relatively is relative to that folder.
"""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import hf_dd
from hf_dd.artefacts.distilled_folder import Artefact, load_distilled
from hf_dd.config import DataConfig
from hf_dd.data.image_data import load_data
from hf_dd.distillation import checkpoints
from hf_dd.distillation.distiller import Distiller
from hf_dd.nn import networks
from hf_dd.studies import study
from hf_dd.teachers import pins
from hf_dd.teachers.experts import ExpertPool
from hf_dd.teachers.pool import TeacherPool

pytestmark = pytest.mark.usefixtures("one_thread", "nothing_remembered")

BEFORE = Path(__file__).parent / "fixtures/before"
RUN = "teachers/digits-convnet-seed0"
SETS = ("distilled", "mtt", "imported", "study/cells/dm-seed0", "study/cells/dm-clom-seed0")


@pytest.fixture
def before(tmp_path, monkeypatch):
    """A copy of the old folder, as the working directory."""
    shutil.copytree(BEFORE, tmp_path / "before")
    monkeypatch.chdir(tmp_path / "before")
    return tmp_path / "before"


@pytest.mark.parametrize("name", SETS)
def test_an_old_set_opens_with_its_record_and_its_rows(before, name):
    artefact = Artefact.open(name)
    written = json.loads((before / name / "hf_dd.json").read_text())
    read = json.loads(json.dumps(vars(artefact.record)))
    assert {key: read[key] for key in written} == written
    rows = artefact.load()
    assert rows.features["label"].names == list("0123456789") and sorted(rows["label"]) == list(range(10))
    assert torch.tensor(rows["pixel_values"][:]).shape == (10, 1, 8, 8)
    found, distilled, record = load_distilled(name)
    assert (found, record) == (Path(name).name, written)
    assert distilled.copy("float").shape[1:] == (1, 8, 8) and distilled.class_names == list("0123456789")


def test_old_soft_labels_of_decoded_images_are_read(before):
    decoded = Artefact.open("distilled").load("decoded")
    assert len(decoded) == 40
    assert torch.tensor(decoded["soft_label"][:]).sum(1).tolist() == pytest.approx([1.0] * 40, abs=1e-5)
    _, distilled, record = load_distilled("distilled")
    assert distilled.factor == 2 and record["results"]["rows"][0]["n"] == 1


def test_old_teachers_load_by_epoch_by_run_and_by_lock(before):
    pool = TeacherPool.from_references([f"{RUN}@epoch-1", RUN, f"{RUN}/epoch-0"])
    assert [(spec.epoch, spec.architecture, spec.dataset) for spec in pool.specs] == [
        (epoch, "ConvNet", "digits") for epoch in (1, 2, 0)
    ]
    lock = pins.read("distilled")
    assert lock.specs() == [pool.specs[0], TeacherPool.from_references([f"{RUN}@epoch-2"]).specs[0]]
    assert all(error is None for _, error in pins.verify(lock))
    test, logits = load_data(DataConfig()).test, []
    for teacher in TeacherPool.from_lock("distilled/pool.json", 2):
        logits.append(teacher(test.images.float() / 255))
        accuracy = (logits[-1].argmax(1) == test.labels).double().mean().item()
        assert accuracy == pytest.approx(teacher.spec.accuracy, abs=0.01)


def test_an_old_trajectory_is_followed(before):
    experts, data = ExpertPool([RUN]), load_data(DataConfig())
    assert experts.first_epoch() == 0
    network = networks.build("ConvNet", **data.network_shape, seed=0, width=4, depth=1)
    experts.prepare(network, data, [0, 1, 2])
    (lock,), (written,) = experts.lock(), Artefact.open("mtt").record.experts
    assert {key: lock[key] for key in ("repo_id", "architecture", "seed", "dataset")}.items() <= written.items()
    assert (
        dict(zip(written["epochs"], written["shas"], strict=True)).items()
        <= dict(zip(lock["epochs"], lock["shas"], strict=True)).items()
    )
    assert experts.parameters(0, 2)["classifier.weight"].shape == network.classifier.weight.shape


def test_an_old_checkpoint_is_gone_on_from(before):
    shutil.rmtree("distilled/checkpoints/step-000004")
    record = Artefact.open("distilled").record
    stored = torch.tensor(Artefact.open("distilled").load()["pixel_values"][:])
    options = {key: record.settings[key] for key in ("teachers", "clom", "clom_alpha", "ipc", "iterations", "factor")}
    options |= {key: record.settings[key] for key in ("architecture_options", "real_batch_size", "soft_labels")}
    start = load_file("distilled/checkpoints/step-000002/tensors.safetensors")["pixels"]
    resumed = hf_dd.distill(
        **options, eval_students=0, output_dir="distilled", resume_from_checkpoint="latest", save_steps=2
    )
    found = torch.tensor(resumed.load()["pixel_values"][:])
    assert (found - stored).abs().max() < 1e-4
    assert resumed.record.run["losses"] == pytest.approx(record.run["losses"], rel=1e-4)
    assert [path.name for path in checkpoints.checkpoints(Path("distilled/checkpoints"))][-1] == "step-000004"
    assert not torch.equal(load_file("distilled/checkpoints/step-000004/tensors.safetensors")["pixels"], start)


def test_the_cells_and_teachers_of_an_old_study_are_kept(before, monkeypatch):
    made = {path: path.read_bytes() for path in before.glob("study/[ct]*/**/*") if path.is_file()}
    assert len(made) > 20
    monkeypatch.setattr(Distiller, "step", None)  # nothing is left to be distilled
    monkeypatch.setattr(study, "pretrain", None)
    study.study(study="study.yaml", output_dir="study")
    assert {path: path.read_bytes() for path in made} == made
    old, now = (json.loads((root / "study/report.json").read_text())["cells"] for root in (BEFORE, before))
    assert {name: {key: now[name][key] for key in cell} for name, cell in old.items()} == old
