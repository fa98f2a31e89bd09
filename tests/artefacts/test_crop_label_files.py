"""Labels of crops in the artefact: configuration `labels`, its record and card, pushed with the images, learnt from.

What is in the rows is in tests/teachers/test_crop_labels.py.
"""

import dataclasses
import json
import shutil

import datasets
import pyarrow
import pyarrow.parquet
import pytest
import torch
from huggingface_hub import DatasetCard, HfApi

import hf_dd
from hf_dd.artefacts import crop_label_files
from hf_dd.artefacts.comparison import sets_apart
from hf_dd.artefacts.crop_label_files import read_crop_labels, write_crop_labels
from hf_dd.artefacts.distilled_folder import load_distilled
from hf_dd.config import DistillConfig, EvaluateConfig
from hf_dd.core.files import digest_of
from hf_dd.errors import ConfigError, DataError, RunError
from hf_dd.nn.views import Views
from hf_dd.runs.crop_labels import label_sets, labelled_again
from hf_dd.runs.reproduce import digests_of
from hf_dd.teachers.crop_labels import label_crops
from hf_dd.teachers.pool import TeacherPool

pytestmark = pytest.mark.usefixtures("one_thread")

FILE = "labels/train-00000-of-00001.parquet"
OPTIONS = {"dataset": "digits", "objective": "random", "ipc": 2, "eval_students": 0}
CROPS = {"soft_labels": "crops", "soft_label_views": 3}
STUDENTS = {"eval_architectures": ["MLP"], "eval_epochs": [2], "eval_copies": ["float"]}


@pytest.fixture(autouse=True)
def datasets_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))


def distil(folder, **options):
    return hf_dd.distill(**OPTIONS | options, output_dir=str(folder))


@pytest.fixture(scope="module")
def labelled(tmp_path_factory, tiny_teachers):
    """Two digits of each class, three views of each, of which the three likeliest classes are kept."""
    folder = tmp_path_factory.mktemp("crops") / "digits-of-crops"
    return distil(folder, teachers=tiny_teachers.references[:1], soft_label_topk=3, **CROPS)


@pytest.fixture
def copy(labelled, tmp_path):
    """A copy that may be spoilt."""
    shutil.copytree(labelled.folder, tmp_path / "copy")
    return tmp_path / "copy"


# --- what is written


def test_the_configuration_is_read_by_plain_datasets_in_the_smallest_types(labelled):
    rows = datasets.load_dataset(str(labelled.folder), "labels", split="train")
    boxes = datasets.List(datasets.Value("uint16"), length=4)
    assert rows.features == datasets.Features(
        {
            "image": datasets.Value("uint32"),
            "epoch": datasets.Value("uint16"),
            "box": boxes,
            "flip": datasets.Value("bool"),
            "classes": datasets.List(datasets.Value("uint16"), length=3),
            "log_probabilities": datasets.List(datasets.Value("float16"), length=3),
            "log_rest": datasets.Value("float16"),
            "seed": datasets.Value("int64"),
            "partner": datasets.Value("uint32"),
            "partner_box": boxes,
            "partner_flip": datasets.Value("bool"),
            "paste": boxes,
        }
    )
    assert len(rows) == 60 and datasets.get_dataset_config_names(str(labelled.folder)) == ["default", "labels"]
    assert len(datasets.load_dataset(str(labelled.folder), split="train")) == 20
    labels = load_distilled(str(labelled.folder), crops=True)[1].crop_labels
    for name, values in rows.with_format("torch")[:].items():
        assert torch.equal(values, labels.columns[name].to(values.dtype)), name


def test_the_labels_are_those_of_the_stored_images_by_the_runs_seed(labelled, tiny_teachers):
    distilled = load_distilled(str(labelled.folder), crops=True)[1]
    pool = TeacherPool.from_references(tiny_teachers.references[:1])
    views = Views(scale=(0.08, 1.0), mix="cutmix")  # digits aren't mirrored
    cpu = torch.device("cpu")
    again = label_crops(pool, distilled.class_names, distilled.pixel_values, views, 3, 3, 0, cpu)
    for name, column in again.columns.items():
        assert torch.equal(column, distilled.crop_labels.columns[name]), name
    assert distilled.crop_labels.taught_by == (pool.specs[0].sha,)
    assert load_distilled(str(labelled.folder))[1].crop_labels is None  # nobody is to learn from them


def test_record_and_card_say_how_they_were_made(labelled, tiny_teachers):
    record = labelled.record.crop_labels
    size = (labelled.folder / FILE).stat().st_size
    assert record["files"] == {FILE: digest_of(labelled.folder / FILE)} and record["bytes"] == size
    told = {"rows": 60, "views": 3, "topk": 3, "classes": 10, "size": [8, 8], "crop": [0.08, 1.0], "temperature": 1.0}
    told |= {"mix": "cutmix", "mix_alpha": 1.0, "flip": False, "seed": 0, "teacher_mode": "eval"}
    assert {name: record[name] for name in told} == told
    assert [teacher["sha"] for teacher in record["teachers"]] == [labelled.record.teachers[0]["sha"]]
    card = (labelled.folder / "README.md").read_text()
    assert f"labels of crops {size:,} bytes beside them" in card and "torch.Generator().manual_seed(seed)" in card
    assert "of the 3 likeliest of 10 classes" in card and "log(7)" in card and "by CutMix" in card
    matter = DatasetCard.load(labelled.folder / "README.md").data.to_dict()
    assert [config["config_name"] for config in matter["configs"]] == ["default", "labels"]
    assert record["files"][FILE] in matter["configs"][1]["description"]
    assert [info["config_name"] for info in matter["dataset_info"]] == ["default", "labels"]
    assert matter["dataset_info"][1]["splits"][0]["num_examples"] == 60
    assert matter["distillation"]["crop_labels"]["topk"] == 3


def test_images_and_record_are_those_of_a_run_without_labels(labelled, tmp_path):
    plain = distil(tmp_path / "plain")
    assert plain.record.parquet_sha256 == labelled.record.parquet_sha256
    assert plain.record.crop_labels is None and not (plain.folder / "labels").exists()
    assert [config["config_name"] for config in DatasetCard.load(plain.folder / "README.md").data.configs] == [
        "default"
    ]


def test_they_are_pushed_in_one_commit_with_the_images_and_fetched_when_they_are_needed(labelled, copy, unique):
    repo_id = unique()
    hf_dd.push(copy, repo_id)
    api = HfApi()
    assert len(api.list_repo_commits(repo_id, repo_type="dataset")) == 2  # the first one made the repository
    assert FILE in api.list_repo_files(repo_id, repo_type="dataset")
    rows = datasets.load_dataset(repo_id, "labels", split="train", revision="v1")
    assert len(rows) == 60
    labels = load_distilled(f"{repo_id}@v1", crops=True)[1].crop_labels
    assert labels.digest == load_distilled(str(labelled.folder), crops=True)[1].crop_labels.digest
    card = DatasetCard.load(repo_id, repo_type="dataset").content
    assert f'load_dataset("{repo_id}", "labels", revision="v1", split="train")' in card
    shutil.rmtree(copy / "labels")
    with pytest.raises(DataError, match="copy lacks labels/train-00000-of-00001.parquet, which its hf_dd.json tells"):
        hf_dd.push(copy, repo_id)


def test_all_classes_leave_out_what_would_be_empty_and_mixup_has_a_weight(tmp_path, tiny_teachers):
    options = {"soft_label_mix": "mixup", "soft_label_crop": 1.0, "ipc": 1, "factor": 2}
    artefact = distil(tmp_path / "set", teachers=tiny_teachers.references, **CROPS, **options)
    rows = datasets.load_dataset(str(artefact.folder), "labels", split="train")
    left = {"image", "epoch", "box", "flip", "log_probabilities", "seed", "partner", "partner_box", "partner_flip"}
    assert set(rows.column_names) == {*left, "weight"}
    assert len(rows) == 120 and max(rows["image"]) == 39 and set(map(tuple, rows["box"])) == {(0, 0, 8, 8)}
    card = (artefact.folder / "README.md").read_text()
    assert "`image` is the row of the configuration `decoded`" in card and "the mean of their probabilities" in card
    assert "of all 10 classes, in their order" in card and "by MixUp" in card
    distilled = load_distilled(str(artefact.folder), crops=True)[1]
    assert distilled.crop_labels.views(distilled.pixel_values).shape == (120, 1, 8, 8)


def test_large_files_are_cut_and_joined_and_their_cuts_decide_nothing(labelled, tmp_path, monkeypatch):
    labels = load_distilled(str(labelled.folder), crops=True)[1].crop_labels
    about = labelled.record.crop_labels
    found = {}
    for shard, group in ((crop_label_files.SHARD, 100), (1_000, 7), (3_000, 1)):
        monkeypatch.setattr(crop_label_files, "SHARD", shard)
        monkeypatch.setattr(crop_label_files, "GROUP", group)
        paths = write_crop_labels(tmp_path, labels)
        found[len(paths)] = read_crop_labels(tmp_path, about | {"files": paths}, "it", 20, (8, 8), 10).digest
    assert len(found) == 3 and set(found.values()) == {labels.digest}


# --- students


def test_students_learn_from_them_and_real_images_from_the_teachers_own_words(labelled, tmp_path):
    sets = {"sets": [str(labelled.folder)], "output_dir": str(tmp_path / "results")}
    options = STUDENTS | {"eval_students": 2, "baselines": ["random"]}
    results = hf_dd.evaluate(**sets, **options, eval_protocol="soft-label-crops")
    own, real = results.rows
    stored = (labelled.folder / FILE).stat().st_size
    assert (own.regime, own.n, own.temperature, own.soft_label_bytes) == ("crops", 2, 4.0, stored)
    assert own.taught_by == real.taught_by == (labelled.record.teachers[0]["sha"],)
    assert (own.teacher_calls, real.teacher_calls) == (0, 40)
    assert "changed: epochs 2, flips False" in own.protocol  # the views are those that were stored


def test_labels_are_made_for_a_set_that_is_there_already(tmp_path, tiny_teachers):
    plain = distil(tmp_path / "plain")
    students = STUDENTS | {"eval_students": 1}
    options = students | {"baselines": [], "soft_label_crop": 0.5, "soft_label_mix": "none"}
    with pytest.raises(DataError, match="plain has no stored labels of crops.*add --soft_labels crops"):
        hf_dd.evaluate(sets=[str(plain.folder)], eval_protocol="sre2l-fkd", **STUDENTS, baselines=[])
    with pytest.raises(ConfigError, match="was made without teachers that students could learn from"):
        hf_dd.evaluate(sets=[str(plain.folder)], **CROPS, **options)
    teachers = {"eval_teachers": tiny_teachers.references[:2]}
    hf_dd.evaluate(sets=[str(plain.folder)], **CROPS, **options, **teachers, eval_protocol="soft-label-crops")
    again = hf_dd.Artefact.open(plain.folder)
    assert again.record.crop_labels["crop"] == [0.5, 1.0] and len(again.record.crop_labels["teachers"]) == 2
    assert again.record.parquet_sha256 == plain.record.parquet_sha256
    assert "partner" not in datasets.load_dataset(str(plain.folder), "labels", split="train").column_names
    row = again.record.results["rows"][0]
    assert "views (resized crops of 0.5 to 1" in row["protocol"] and row["soft_label_bytes"]
    with_random = students | {"baselines": ["random"], "eval_protocol": "soft-label-crops"}
    _, real = hf_dd.evaluate(sets=[str(plain.folder)], **with_random).rows  # though the set was made without teachers
    assert real.taught_by == tuple(spec["sha"] for spec in again.record.crop_labels["teachers"])
    options_again = labelled_again(again.record)
    assert options_again.pop("eval_teachers") == [
        f"{spec['repo_id']}@{spec['sha']}" for spec in again.record.crop_labels["teachers"]
    ]
    made = {"soft_label_views": 3, "soft_label_topk": 10, "soft_label_crop": 0.5, "soft_label_mix": "none"}
    assert options_again == {"soft_labels": "crops", "seed": 0} | made
    digests = dict(again.record.crop_labels["files"])
    hf_dd.evaluate(sets=[str(plain.folder)], **CROPS | {"soft_label_views": 5}, **options, **teachers)  # they stay
    assert hf_dd.Artefact.open(plain.folder).record.crop_labels["files"] == digests


# --- made again


def test_a_reproduction_compares_the_labels_too(labelled):
    there = load_distilled(str(labelled.folder), crops=True)[1]
    assert sets_apart(there, there, True).soft_labels == 0 and sets_apart(there, there, False).close
    labels = there.crop_labels
    for changed, apart in (
        ({"log_probabilities": labels.log_probabilities - 1}, 0.1),  # of probabilities that come to 1 again
        ({"flip": ~labels.flip}, 1.0),
    ):
        here = dataclasses.replace(there, crop_labels=dataclasses.replace(labels, **changed))
        found = sets_apart(there, here, False)
        assert found.soft_labels >= apart and not found.close
    plain = dataclasses.replace(there, crop_labels=None)
    assert sets_apart(plain, there, False).soft_labels == 1.0  # a run that made labels makes them again
    assert sets_apart(there, plain, False).close  # those that were made for a set that was there are another matter
    record = vars(labelled.record)
    assert digests_of(record)[2] == [digest_of(labelled.folder / FILE)]
    assert digests_of(record | {"settings": record["settings"] | {"soft_labels": "none"}})[2] == []
    assert labelled_again(labelled.record) == {}


# --- bad input


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"soft_labels": "crops"}, "--soft_labels crops needs teachers"),
        ({"teachers": ["a/b"], **CROPS, "soft_label_topk": 0}, "--soft_label_topk is 0; it has to be at least 1"),
        ({"teachers": ["a/b"], **CROPS, "soft_label_views": 0}, "--soft_label_views is 0; it has to be at least 1"),
        ({"teachers": ["a/b"], **CROPS, "soft_label_crop": 0.0}, "--soft_label_crop is 0.0; it has to be above 0"),
        ({"teachers": ["a/b"], **CROPS, "soft_label_mix": "cut"}, "--soft_label_mix doesn't know 'cut'"),
        ({"soft_label_topk": 3}, "--soft_label_topk goes with --soft_labels crops"),
        ({"teachers": ["a/b"], **CROPS, "soft_label_temperature": 20.0}, "--soft_label_temperature: labels of crops"),
    ],
)
def test_options_that_make_no_labels(options, words):
    with pytest.raises(ConfigError, match=words):
        DistillConfig(**options)


def test_more_classes_than_there_are_show_before_the_distillation(tmp_path, tiny_teachers):
    with pytest.raises(ConfigError, match="--soft_label_topk 11: the data set has 10 classes"):
        distil(tmp_path / "run", teachers=tiny_teachers.references[:1], soft_label_topk=11, **CROPS)
    assert not (tmp_path / "run").exists()


def test_a_protocol_of_crops_needs_labels_of_crops(tmp_path, tiny_teachers):
    options = {"eval_students": 1, "eval_protocol": "soft-label-crops", "teachers": tiny_teachers.references[:1]}
    with pytest.raises(ConfigError, match="trains on labels of crops: add --soft_labels crops"):
        distil(tmp_path / "run", **options, soft_labels="mean")
    with pytest.raises(ConfigError, match="--soft_label_views goes with --soft_labels crops"):
        EvaluateConfig(sets=["it"], soft_label_views=3)
    with pytest.raises(ConfigError, match="stores labels with a set in a folder"):
        label_sets(EvaluateConfig(sets=["local/on-the-hub"], soft_labels="crops"), [{}], None, None)


def spoil(folder, change):
    """Rewrite the labels' table, and let the record know of it: a file that is hostile, not damaged."""
    table = change(pyarrow.parquet.read_table(folder / FILE))
    pyarrow.parquet.write_table(table, folder / FILE)
    record = json.loads((folder / "hf_dd.json").read_text())
    record["crop_labels"]["files"] = {FILE: digest_of(folder / FILE)}
    (folder / "hf_dd.json").write_text(json.dumps(record))


def replaced(name, values):
    def change(table):
        return table.set_column(table.column_names.index(name), table.schema.field(name), values(table))

    return change


def constant(name, value):
    return replaced(name, lambda table: pyarrow.array([value] * len(table), table.schema.field(name).type))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (constant("image", 20), "hold an image beyond its 20"),
        (constant("box", [0, 0, 9, 8]), "hold a crop outside of its 8×8 images"),
        (constant("log_rest", float("nan")), "hold log-probabilities that are no finite numbers"),
        (constant("flip", None), "lack values of flip in some rows"),
        (constant("paste", [0, None, 1, 1]), "lack values of paste in some rows"),
        (lambda table: table.drop_columns(["partner_box"]), r"3 of 10 classes a row \(see partner_box\)"),
        (lambda table: table.drop_columns(["classes"]), r"3 of 10 classes a row \(see classes\)"),
        (lambda table: table.append_column("more", table["flip"]), r"columns that no hf-dd writes \(more\)"),
        (lambda table: table.slice(0, 0), "3 of 10 classes a row"),
        (
            lambda table: table.set_column(0, "image", table["image"].cast("int64")),
            r"columns that no hf-dd writes \(image\)",
        ),
    ],
)
def test_a_hostile_file_is_refused(copy, change, words):
    spoil(copy, change)
    with pytest.raises(DataError, match=words):
        load_distilled(str(copy), crops=True)


def test_a_damaged_file_a_strange_name_and_one_that_would_fill_the_memory_are_refused(copy, monkeypatch):
    record = json.loads((copy / "hf_dd.json").read_text())
    (copy / FILE).write_bytes((copy / FILE).read_bytes()[:-100])
    with pytest.raises(DataError, match=r"\(labels/train-00000-of-00001.parquet\) aren't those that its hf_dd.json"):
        load_distilled(str(copy), crops=True)
    record["crop_labels"]["files"] = {FILE: digest_of(copy / FILE)}
    (copy / "hf_dd.json").write_text(json.dumps(record))
    with pytest.raises(DataError, match="isn't a parquet file that can be read"):
        load_distilled(str(copy), crops=True)
    rows = pyarrow.table({"image": pyarrow.array([0] * 20_000_000, pyarrow.uint32())})
    pyarrow.parquet.write_table(rows, copy / FILE, compression="zstd")
    record["crop_labels"]["files"] = {FILE: digest_of(copy / FILE)}
    (copy / "hf_dd.json").write_text(json.dumps(record))
    monkeypatch.setattr("hf_dd.artefacts.rows.PLAIN_SIZE", 2**24)
    with pytest.raises(DataError, match="would unpack to"):
        load_distilled(str(copy), crops=True)
    record["crop_labels"]["files"] = {"../elsewhere.parquet": "0" * 64}
    (copy / "hf_dd.json").write_text(json.dumps(record))
    with pytest.raises(DataError, match=r"names \.\./elsewhere\.parquet as labels of crops"):
        load_distilled(str(copy), crops=True)


@pytest.mark.parametrize(("field", "value"), [("topk", 0), ("topk", 11), ("size", [9, 9]), ("size", [2**40, 1])])
def test_a_record_that_contradicts_the_rows_is_refused(copy, field, value):
    record = json.loads((copy / "hf_dd.json").read_text())
    record["crop_labels"][field] = value
    (copy / "hf_dd.json").write_text(json.dumps(record))
    with pytest.raises(DataError, match="classes a row|labels of views of"):
        load_distilled(str(copy), crops=True)


def test_what_the_record_doesnt_know_isnt_pushed(copy, unique):
    (copy / "labels" / "more.parquet").write_bytes(b"")
    with pytest.raises(RunError, match=r"labels holds what its hf_dd\.json doesn't know: remove more\.parquet there"):
        hf_dd.push(copy, unique())
