"""What a gallery is made of: which sets it finds, what it says of bad input, and what its pages hold."""

import html
import json
import re

import pytest
from huggingface_hub import HfApi

from hf_dd.cli import main
from hf_dd.config.gallery import GalleryBuildOptions
from hf_dd.core.layout import PARQUET, RECORD
from hf_dd.errors import ConfigError, HubError, RunError
from hf_dd.gallery import images
from hf_dd.gallery.collect import collect, tidied
from hf_dd.gallery.site import build, page_names
from tests.conftest import REPOSITORY_ROOT
from tests.gallery.synthetic import write_set

BEFORE = REPOSITORY_ROOT / "tests" / "fixtures" / "before"


def data_of(page):
    """The data that a page holds."""
    text = re.search(r'<script type="application/json" id="data">(.*?)</script>', page.read_text(), re.DOTALL)[1]
    return json.loads(text)


def test_sets_of_the_first_version_have_their_pages(tmp_path):
    assert build(GalleryBuildOptions(sources=[str(BEFORE)], output=str(tmp_path / "site"))).endswith(": 5 sets")
    assert len(list((tmp_path / "site" / "sets").iterdir())) == 5
    entries = {entry["key"]: entry for entry in data_of(tmp_path / "site" / "index.html")["entries"]}
    assert entries["distilled"]["name"] == "distilled"  # where its record's name is that of others, too
    assert entries["imported"]["name"] == "foreign" and entries["imported"]["strip"].startswith("data:image/webp")


def test_a_page_holds_all_that_it_shows(site, sets):
    pages = list(site.rglob("*.html"))
    assert len(pages) == 3 + 14 + len(
        {entry.get("pool") for entry in data_of(site / "index.html")["entries"]} - {None}
    )
    for page in pages:
        text = html.unescape(page.read_text())
        assert not re.search(r'(src|href)="(?!data:)', text.split("<style>")[0])
        assert "default-src 'none'" in text and "connect-src 'none'" in text
        assert str(sets) not in text
    (entry,) = data_of(site / "sets" / "set-0004.html")["entries"]
    record = json.loads((sets / "set-0004" / RECORD).read_text())
    assert entry["all"] == len(entry["images"]) == record["settings"]["ipc"] * len(record["data"]["class_names"])
    assert entry["record"]["versions"] == record["versions"]


def test_the_same_sets_make_the_same_bytes(site, sets, tmp_path):
    build(GalleryBuildOptions(sources=[str(sets)], output=str(tmp_path / "site")))
    for page in site.rglob("*.html"):
        assert (tmp_path / "site" / page.relative_to(site)).read_bytes() == page.read_bytes()


def test_an_earlier_gallery_is_replaced_and_nothing_else(tmp_path):
    folder = write_set(tmp_path / "sets", 0)
    options = GalleryBuildOptions(sources=[str(folder)], output=str(tmp_path / "site"))
    build(options)
    (tmp_path / "site" / "sets" / "old.html").write_text("old")
    build(options)
    assert not (tmp_path / "site" / "sets" / "old.html").exists()
    options.output = str(tmp_path / "sets")
    with pytest.raises(RunError, match="holds something that isn't a gallery: give another --output"):
        build(options)
    assert (folder / RECORD).is_file()


def test_a_gallery_of_nothing_is_one_clear_line(tmp_path, hub):
    (tmp_path / "empty").mkdir()
    empty, none = str(tmp_path / "empty"), str(tmp_path / "none")
    for sources, tag, error, words in (
        ([empty], "hf-dd", RunError, "empty holds no distilled set: none of its folders has a hf_dd.json of one"),
        ([str(BEFORE / "teachers")], "hf-dd", RunError, "teachers holds no distilled set"),
        ([none], "hf-dd", HubError, "There is no folder .*none', and it names no repository"),
        (["nobody/nothing"], "hf-dd", HubError, "nobody/nothing doesn't exist at .*There is no folder of this name"),
        ([], "a-tag-of-nothing", HubError, r"has no distilled set with the tag a-tag-of-nothing: push one"),
    ):  # fmt: skip
        with pytest.raises(error, match=words):
            collect(sources, tag)
    with pytest.raises(ConfigError, match="of the sets that are named, or of those that --owner and --tag find"):
        GalleryBuildOptions(sources=["a/b"], owner="local")
    with pytest.raises(SystemExit, match="hf-dd: error: .*empty holds no distilled set"):
        main(["gallery", "build", str(tmp_path / "empty"), "--output", str(tmp_path / "site")])
    assert not (tmp_path / "site").exists()


def test_what_is_broken_is_left_out_and_said(tmp_path, caplog):
    write_set(tmp_path, 0)
    for name, content in (("broken", "{"), ("deep", "[" * 900 + "]" * 900), ("list", "[]")):
        (tmp_path / name).mkdir()
        (tmp_path / name / RECORD).write_text(content)
    with caplog.at_level("INFO", "hf_dd"):
        assert [entry.key for entry in collect([str(tmp_path)], "hf-dd")] == ["set-0000"]
    assert len([each for each in caplog.messages if each.startswith("left out ")]) == 3
    with pytest.raises(RunError, match="isn't valid JSON"):
        collect([str(tmp_path / "broken")], "hf-dd")


def test_rows_that_were_changed_are_said_to_be_and_broken_ones_are_no_images(tmp_path):
    folder = write_set(tmp_path, 0)
    (entry,) = collect([str(folder)], "hf-dd")
    assert not entry.changed and len(images.pictures(entry.rows)[0]) == 10
    (folder / PARQUET).write_bytes(b"PAR1 and nothing")
    (entry,) = collect([str(folder)], "hf-dd")
    assert entry.changed and images.pictures(entry.rows) == ([], [])
    (folder / PARQUET).unlink()
    (entry,) = collect([str(folder)], "hf-dd")
    assert entry.rows is None and not entry.changed


def test_sets_of_the_same_name_have_keys_and_pages_of_their_own(tmp_path):
    for place in ("a", "b"):
        write_set(tmp_path / place, 0, name="same")
    entries = collect([str(tmp_path / "a"), str(tmp_path / "b"), str(tmp_path / "a")], "hf-dd")
    assert [entry.key for entry in entries] == ["same", "same-2"]
    assert page_names("sets", ["a/b", "a b", "../..", "é", "x" * 500])[:4] == [
        "sets/a-b.html", "sets/a-b-2.html", "sets/data-data.html", "sets/set.html",
    ]  # fmt: skip


def test_many_images_are_as_many_of_each_class():
    kept = images.chosen([label for label in range(100) for _ in range(50)])
    assert len(kept) == images.MOST_IMAGES == 2000 and all(place % 50 < 20 for place in kept)
    assert images.chosen([0, None]) == set()
    assert not images.is_image(b"<svg onload=alert(1)>") and not images.is_image(b"\x89PNG and nothing")


def test_classes_are_counted_before_their_names_are_cut(tmp_path):
    path = write_set(tmp_path, 0) / RECORD
    record = json.loads(path.read_text())
    record["data"]["class_names"], record["settings"]["ipc"] = [str(number) for number in range(10_000)], 10
    record.pop("images", None)
    path.write_text(json.dumps(record))
    (entry,) = collect([str(tmp_path)], "hf-dd")
    assert len(entry.record["data"]["class_names"]) == 2000
    facts = entry.facts()
    assert facts["record"]["data"]["classes"] == 10_000
    assert facts["told"]["images"] == 100_000 and facts["told"]["mean_ipc"] == 10


def test_what_json_has_no_word_for_is_left_out():
    wild = {"a": float("nan"), "b": [float("inf"), 10**400, True, None, "x" * 9000], "c": 1.5}
    found = tidied(wild)
    assert found["a"] is None and found["b"][:4] == [None, None, True, None] and len(found["b"][4]) == 4001
    assert json.loads(json.dumps(found, allow_nan=False))["c"] == 1.5


def test_sets_of_the_hub_by_tag_and_by_name(tmp_path, unique):
    api, tag = HfApi(), "gallery-by-tag"
    names = [unique() for _ in range(3)]
    for number, name in enumerate(names):
        folder = write_set(tmp_path, number)
        (folder / "README.md").write_text(f"---\ntags: [{tag}]\n---\n")
        api.create_repo(name, repo_type="dataset")
        if number == 2:
            (folder / RECORD).unlink()  # only tagged
        api.upload_folder(repo_id=name, repo_type="dataset", folder_path=folder)
    found = collect([], tag)
    assert [entry.key for entry in found] == names[:2]
    assert found[0].sha == api.dataset_info(names[0]).sha and found[0].rows.is_file()
    assert [entry.key for entry in collect([], tag, owner="local")] == names[:2]
    assert [entry.key for entry in collect([f"{names[1]}@main", str(tmp_path / "set-0000")], "hf-dd")] == [
        "set-0000", names[1],
    ]  # fmt: skip
    with pytest.raises(RunError, match=f"{names[2]} has no hf_dd.json"):
        collect([names[2]], "hf-dd")


def test_no_torch_is_needed(tmp_path, run_python):
    write_set(tmp_path, 0)
    script = (
        "import sys; from hf_dd.cli import main; "
        f"main(['gallery', 'build', r'{tmp_path / 'set-0000'}', '--output', r'{tmp_path / 'site'}']); "
        "assert not {'torch', 'datasets', 'transformers', 'accelerate'} & set(sys.modules)"
    )
    done = run_python("-c", script)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("index.html: 1 set\n")
