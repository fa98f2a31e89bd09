"""bf16 on devices that haven't got it: the run is in float32, and says so."""

import json
import platform

import pytest
import torch
import yaml

import hf_dd
from hf_dd import cli
from hf_dd.core import precision, processes
from hf_dd.core.precision import worthwhile
from hf_dd.runs import distill
from hf_dd.studies import study

pytestmark = pytest.mark.usefixtures("one_thread")

TINY_NET = ["width=8", "depth=1"]
QUICK = {"dataset": "digits", "ipc": 1, "iterations": 2, "real_batch_size": 8, "architecture_options": TINY_NET}


@pytest.fixture
def without_bf16(monkeypatch):
    monkeypatch.setattr(precision, "has_bf16", lambda device: False)


def test_what_is_asked_for_is_used_where_it_is_there(bf16, caplog):
    assert [worthwhile(name, torch.device("cpu")) for name in ("bf16", "no")] == ["bf16", "no"]
    assert caplog.text == ""


def test_a_run_in_bf16_without_it_is_one_in_float32_and_says_so(without_bf16, tmp_path, caplog):
    options = QUICK | {"eval_students": 1, "eval_epochs": 1}
    fallen = hf_dd.distill(**options, mixed_precision="bf16", output_dir=str(tmp_path / "fallen"))
    assert "This CPU has no instructions for bf16: computing in float32 instead." in caplog.text
    plain = hf_dd.distill(**options, output_dir=str(tmp_path / "plain"))
    assert fallen.record.settings["mixed_precision"] == plain.record.settings["mixed_precision"] == "no"
    assert fallen.record.parquet_sha256 == plain.record.parquet_sha256
    scores = [[row["scores"] for row in artefact.record.results["rows"]] for artefact in (fallen, plain)]
    assert scores[0] == scores[1]
    assert "--mixed_precision" not in (tmp_path / "fallen/README.md").read_text()  # its command repeats what was done


@pytest.mark.parametrize("asked, said", [("bf16", "1 thread, bf16"), ("no", "1 thread")])
def test_records_and_results_say_what_it_was(bf16, tmp_path, asked, said):
    options = QUICK | {"eval_students": 1, "eval_epochs": 1, "iterations": 1}
    record = hf_dd.distill(**options, mixed_precision=asked, output_dir=str(tmp_path)).record
    assert record.run["hardware"].endswith(said) and record.results["hardware"].endswith(said)


def test_teachers_too(without_bf16, tmp_path):
    config = {"dataset": "digits", "architectures": ["MLP"], "epochs": 1, "output_dir": str(tmp_path)}
    (folder,) = hf_dd.pretrain(**config, mixed_precision="bf16")
    record = json.loads((folder / "epoch-1/hf_dd.json").read_text())
    assert record["training"]["mixed_precision"] == "no"


def test_a_study_keeps_a_cell_that_fell_back_but_none_of_another_precision(monkeypatch, tmp_path):
    cell = {key: value for key, value in QUICK.items() if key != "dataset"} | {"eval_students": 1, "eval_epochs": 1}
    path = tmp_path / "precise.yaml"

    def run(asked, had):
        monkeypatch.setattr(precision, "has_bf16", lambda device: had)
        path.write_text(yaml.safe_dump({"base": {"dataset": "digits"}, "cells": {"one": cell | asked}}))
        study.study(study=str(path), output_dir=str(tmp_path / "out"))

    made = tmp_path / "out/cells/one-seed0"
    run({"mixed_precision": "bf16"}, had=False)
    kept = (made / "hf_dd.json").read_bytes()
    run({"mixed_precision": "bf16"}, had=True)
    assert (made / "hf_dd.json").read_bytes() == kept
    hf_dd.distill(**QUICK, mixed_precision="bf16", eval_students=0, output_dir=str(made), overwrite_output_dir=True)
    with pytest.raises(hf_dd.HfDdError, match="mixed_precision: 'bf16' there, 'no' here"):
        run({}, had=True)


def test_a_planned_run_takes_bf16_where_it_is_faster(bf16, monkeypatch, tmp_path):
    small = {**QUICK, "minutes": 1, "eval_students": 0, "clom": "none"}
    monkeypatch.setattr(distill, "bf16_is_faster", lambda device: True)
    planned = hf_dd.distill(**small, output_dir=str(tmp_path / "planned")).record
    assert planned.settings["mixed_precision"] == "bf16" and planned.run["hardware"].endswith("bf16")
    assert "--mixed_precision bf16" in planned.command and "--minutes" not in planned.command
    plain = hf_dd.distill(**QUICK, eval_students=0, output_dir=str(tmp_path / "plain")).record
    assert plain.settings["mixed_precision"] == "no"
    exact = hf_dd.distill(**small, dtype="float64", output_dir=str(tmp_path / "exact")).record
    assert exact.settings["mixed_precision"] == "no"


@pytest.mark.parametrize("first, then", [(True, False), (False, True)])
def test_an_interrupted_plan_keeps_its_precision(bf16, monkeypatch, tmp_path, first, then):
    options = {**QUICK, "minutes": 1, "eval_students": 0, "clom": "none", "output_dir": str(tmp_path)}
    monkeypatch.setattr(distill, "bf16_is_faster", lambda device: first)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(distill.Distiller, "run", lambda distiller: (_ for _ in ()).throw(KeyboardInterrupt))
        hf_dd.distill(**options)
    monkeypatch.setattr(distill, "bf16_is_faster", lambda device: then)
    record = hf_dd.distill(**options, resume_from_checkpoint="latest").record
    assert record.settings["mixed_precision"] == ("bf16" if first else "no")


@pytest.mark.parametrize("half, faster", [(0.9, False), (0.5, True), (3.0, False)])
def test_faster_is_by_a_clear_margin_of_the_fastest_pass(bf16, monkeypatch, half, faster):
    """A pass in float32 takes 1 s, one in bf16 `half`; the first of each is slow, as first ones are."""
    clock, started = [0.0], []

    def perf_counter():
        started.append(None)
        if len(started) % 2 == 0:
            place = len(started) // 2 - 1
            clock[0] += 10.0 if place % 4 == 0 else 1.0 if place < 4 else half
        return clock[0]

    monkeypatch.setattr(precision.time, "perf_counter", perf_counter)
    monkeypatch.setattr(precision, "TRIED_ON", (1, 2, 3, 3))  # a CPU may imitate bf16, slowly
    assert precision.bf16_is_faster(torch.device("cpu")) == faster


def test_a_device_without_bf16_is_not_tried(without_bf16):
    assert not precision.bf16_is_faster(torch.device("cpu"))


def test_float64_and_bf16_still_contradict_each_other(without_bf16, tmp_path):
    with pytest.raises(SystemExit, match="contradict each other"):
        cli.main(["distill", "--dtype", "float64", "--mixed_precision", "bf16", "--output_dir", str(tmp_path / "run")])


def test_a_gpu_that_only_imitates_bf16_has_none(monkeypatch):
    asked = {}

    def is_bf16_supported(including_emulation=True):
        asked["including_emulation"] = including_emulation
        return including_emulation

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", is_bf16_supported)
    assert worthwhile("bf16", torch.device("cuda")) == "no" and asked == {"including_emulation": False}


def test_an_accelerator_says_which_precision_it_has(without_bf16):
    assert processes.new_accelerator("bf16").mixed_precision == "no"


def test_a_process_goes_from_one_precision_to_another(bf16):
    for asked in ("no", "bf16", "bf16", "no"):
        accelerator = processes.new_accelerator(asked)
        assert accelerator.mixed_precision == asked
        with accelerator.autocast():
            assert (torch.ones(1, 1) @ torch.ones(1, 1)).dtype == {"no": torch.float32, "bf16": torch.bfloat16}[asked]


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="needs mkldnn")
@pytest.mark.skipif(platform.machine() != "x86_64", reason="needs an x86")
def test_what_a_cpu_has_is_what_torchs_own_compiler_asks_for():
    assert precision.has_bf16(torch.device("cpu")) == torch.ops.mkldnn._is_mkldnn_bf16_supported()
