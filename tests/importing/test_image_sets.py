"""Sets that others publish: image files by class id, parquet of many kinds; imported, and evaluated as they are."""

import dataclasses
import io
import json
import re

import datasets
import pytest
import torch
from huggingface_hub import HfApi
from PIL import Image, ImageOps

from hf_dd import cli
from hf_dd.artefacts.distilled_folder import load_distilled
from hf_dd.errors import DataError
from hf_dd.importing.class_order import called, known_order, spelt
from hf_dd.importing.image_sets import class_folders
from hf_dd.synthetic.distilled_set import to_eight_bits, to_pil
from tests.importing.test_foreign import write_images

QUICK = ("--eval_students", "1", "--eval_epochs", "1", "--eval_architectures", "MLP", "--baselines", "none")
QUICK += ("--eval_augment", "none", "--eval_copies", "float")
WORDNET = [f"n{1440764 + 4173 * digit:08}" for digit in range(10)]


def png(image):
    held = io.BytesIO()
    to_pil(image).save(held, "PNG")
    return held.getvalue()


@pytest.fixture(scope="module")
def images(native):
    """The set's images, uint8."""
    return to_eight_bits(native.own_space())


@pytest.fixture
def pushed(unique):
    """Makes a repository of the files of a folder."""

    def push(folder):
        name, api = unique(), HfApi()
        api.create_repo(name, repo_type="dataset")
        api.upload_folder(folder_path=folder, repo_id=name, repo_type="dataset")
        return name

    return push


@pytest.mark.parametrize("names", [WORDNET, [f"class_{digit}" for digit in range(10)], [str(d) for d in range(10)]])
@pytest.mark.parametrize("below", ["", "train/", "syn_data/ipc10/"])  # the last is read by load_dataset
def test_folders_of_class_ids(native, images, import_it, tmp_path, names, below):
    write_images(tmp_path / "set" / below, native.own_space(), native.labels, names)
    artefact = import_it(tmp_path / "set")
    _, distilled, _ = load_distilled(str(artefact.folder))
    assert torch.equal(distilled.labels, native.labels) and torch.equal(distilled.images, images)
    assert artefact.record.classes["order"] == ("by position" if names is WORDNET else "by name")


def test_a_repository_of_image_files_is_read_as_its_folder_is(native, images, import_it, tmp_path, pushed):
    write_images(tmp_path / "set", native.own_space(), native.labels, WORDNET)
    name = pushed(tmp_path / "set")
    artefact = import_it(name)
    _, distilled, _ = load_distilled(str(artefact.folder))
    assert torch.equal(distilled.images, images) and torch.equal(distilled.labels, native.labels)
    assert re.fullmatch(rf"{name}@[0-9a-f]{{40}}", artefact.record.origin["pin"])
    assert artefact.record.origin["format"] == "images"


def test_several_splits_are_asked_for(native, import_it, tmp_path):
    for split in ("easy", "hard"):
        write_images(tmp_path / "set" / split, native.own_space()[:50], native.labels[:50], WORDNET)
    with pytest.raises(DataError, match=r"several folders of images by class \(easy, hard\).*--set_split"):
        import_it(tmp_path / "set")
    assert class_folders(tmp_path / "set", "hard") == tmp_path / "set" / "hard"


TABLES = {  # features of the two columns, and a label of each digit
    "class": (datasets.Image(), datasets.Value("string"), lambda digit: WORDNET[digit]),
    "cls": (datasets.Image(), datasets.Value("int64"), int),
    "wnid": (datasets.Value("binary"), datasets.Value("string"), lambda digit: f"class_{digit}"),
    "labels": (datasets.Image(), datasets.Value("float32"), float),
    "target": (datasets.Value("binary"), datasets.Value("string"), str),
}


@pytest.mark.parametrize("column", TABLES)
@pytest.mark.parametrize("files", [1, 3])
def test_parquet_of_many_kinds(native, images, import_it, tmp_path, column, files):
    image_feature, label_feature, label = TABLES[column]
    encoded = [png(image) for image in images]
    values = encoded if isinstance(image_feature, datasets.Value) else [{"bytes": each} for each in encoded]
    rows = datasets.Dataset.from_dict(
        {"jpg": values, column: [label(digit) for digit in native.labels.tolist()]},
        features=datasets.Features({"jpg": image_feature, column: label_feature}),
    )
    (tmp_path / "set" / "data").mkdir(parents=True)
    for part in range(files):
        rows.shard(files, part).to_parquet(tmp_path / "set" / "data" / f"train-{part:05}-of-{files:05}.parquet")
    artefact = import_it(tmp_path / "set")
    _, distilled, _ = load_distilled(str(artefact.folder))
    order = torch.argsort(torch.cat([torch.arange(len(images))[part::files] for part in range(files)]), stable=True)
    assert torch.equal(distilled.images[order], images) or files > 1
    assert sorted(distilled.labels.tolist()) == sorted(native.labels.tolist())


def test_images_of_another_size_are_refused_or_brought_to_one_that_is_given(native, images, import_it, tmp_path):
    doubled = images.repeat_interleave(2, 2).repeat_interleave(2, 3)
    for place, (image, label) in enumerate(zip(doubled, native.labels.tolist(), strict=True)):
        target = tmp_path / "set" / str(label) / f"{place:03}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        to_pil(image).save(target)
    with pytest.raises(DataError, match="16×16 pixels, but digits of 8×8.* bring both to that size by --im"):
        import_it(tmp_path / "set")
    artefact = import_it(tmp_path / "set", image_size=8)
    assert artefact.record.origin["decoding"] == [
        "100 of 100 training images were scaled until they cover 8×8 pixels (width × height), and cut at the centre."
    ]
    assert "How those of the set were read: 100 of 100" in (artefact.folder / "README.md").read_text()
    _, distilled, _ = load_distilled(str(artefact.folder))
    fitted = [ImageOps.fit(to_pil(image), (8, 8), Image.Resampling.BILINEAR) for image in doubled]
    assert [to_pil(image).tobytes() for image in distilled.images] == [image.tobytes() for image in fitted]


def test_what_an_evaluation_says_of_a_foreign_set_is_what_it_says_of_its_import(native, import_it, tmp_path, pushed):
    write_images(tmp_path / "set", native.own_space(), native.labels, [f"{digit:05}" for digit in range(10)])
    name = pushed(tmp_path / "set")
    imported = import_it(tmp_path / "set").folder
    scores = []
    for place, own in enumerate((tmp_path / "set", name, imported)):
        out = tmp_path / f"out-{place}"
        cli.main(["evaluate", str(own), *QUICK, "--dataset", "digits", "--output_dir", str(out)])
        scores.append(json.loads((out / "results.json").read_text())["rows"][0])
    assert scores[0]["scores"] == scores[1]["scores"] == scores[2]["scores"]
    assert scores[0]["bytes"] == scores[2]["bytes"] and scores[0]["ipc"] == 10
    assert [row["set"] for row in scores] == ["set", f"{name}@main", "imported"]
    assert {path.name for path in (tmp_path / "set").iterdir()} == {f"{digit:05}" for digit in range(10)}


def without(native, labels):
    return torch.cat([(native.labels == label).nonzero().flatten() for label in labels])


BAD = {
    "no data set": (range(10), lambda digit: f"{digit}", [], "doesn't say what it was made from, as it isn't a set"),
    "fewer classes": (range(9), str, ["--dataset", "digits"], "The set has 9 classes .* but digits has 10"),
    "other names": (
        range(10),
        lambda digit: "abcdefghij"[digit] * 3,
        ["--dataset", "digits"],
        "10 of the set's classes .aaa, .* aren't classes of digits .* `hf-dd import .*evaluate what that makes",
    ),
    "another size": (range(10), str, ["--dataset", "digits", "--image_size", "4"], None),
}


@pytest.mark.parametrize("what", BAD)
def test_what_does_not_fit_is_said_before_any_training(native, tmp_path, monkeypatch, what):
    labels, name, words, said = BAD[what]
    chosen = without(native, labels)
    write_images(tmp_path / "set", native.own_space()[chosen], native.labels[chosen], [name(d) for d in range(10)])
    command = ["evaluate", str(tmp_path / "set"), *QUICK, *words, "--output_dir", str(tmp_path / "out")]
    if said is None:
        cli.main(command)  # both are brought to it
        return
    monkeypatch.setattr("hf_dd.evaluation.learners.fit", lambda *_, **__: pytest.fail("it began to train"))
    with pytest.raises(SystemExit) as ended:
        cli.main(command)
    assert re.search(said, str(ended.value)) and "\n" not in str(ended.value)
    assert not (tmp_path / "out").exists()


def test_a_repository_with_a_script_is_refused_with_a_way_out(tmp_path, pushed):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "README.md").write_text("x")
    name = pushed(tmp_path / "set")
    HfApi().upload_file(
        path_or_fileobj=b"raise SystemExit", path_in_repo=f"{name.split('/')[1]}.py", repo_id=name, repo_type="dataset"
    )
    for command in ("import", "evaluate"):
        with pytest.raises(SystemExit, match=f"script of its own, .* try {name}@refs/convert/parquet"):
            cli.main([command, name, "--dataset", "digits", "--output_dir", str(tmp_path / "out")])


def test_spellings_and_synonyms_of_names(digits):
    names = ["tench, Tinca tinca", "English_springer, English springer spaniel", "chain-saw", "crane", "crane, bird"]
    known = called(names)
    assert known[spelt("Tinca tinca")] == 0 and known[spelt("english springer")] == 1 and known["chain saw"] == 2
    assert known["crane"] == 3 and known["bird"] == 4  # the exact name goes before what two classes share
    five = dataclasses.replace(digits, class_names=names, class_index=digits.class_index[:5])
    own = ["bird", "crane", "Chain saw", "English springer", "tench"]
    assert known_order(own, five, []) == ([4, 3, 2, 1, 0], "by name")
    with pytest.raises(DataError, match="1 of the set's classes .heron. aren't classes"):
        known_order(["heron", *own[1:]], five, [])
    assert known_order(WORDNET[4::-1], five, []) == ([4, 3, 2, 1, 0], "by position")
