"""What pages are told of sets: the same as their cards say, decided in one place."""

import json
import statistics

import pyarrow.parquet
import pytest
from playwright.sync_api import expect

from hf_dd.artefacts.set_records import DistilledRecord, ImportedRecord
from hf_dd.config.gallery import GalleryBuildOptions
from hf_dd.core.json_records import as_record
from hf_dd.core.layout import PARQUET, RECORD
from hf_dd.evaluation import verdict
from hf_dd.gallery import images, told
from hf_dd.gallery.collect import tidied
from hf_dd.gallery.site import build
from hf_dd.gallery.space import front_page
from hf_dd.local_hub import LocalHub
from tests.conftest import REPOSITORY_ROOT
from tests.gallery.synthetic import in_regimes, record, write_set
from tests.gallery.test_live import upload

BEFORE = REPOSITORY_ROOT / "tests" / "fixtures" / "before"
ENDPOINT = "https://hub.example"
CROPS = {"bytes": 3_200_000, "rows": 30}


def before(name):
    """A record of the first version."""
    return json.loads((BEFORE / name / RECORD).read_text())


def imported(**settings):
    """A record of an imported set of digits."""
    found = before("imported")
    return found | {"settings": found["settings"] | settings}


def evaluated(found, ipc=1, baseline_ipc=1):
    """A record with the results of another one, of sets of this size."""
    results = record(0, "set", 1)["results"]
    rows = [row | {"ipc": baseline_ipc if row["baseline"] else ipc} for row in results["rows"]]
    return found | {"results": results | {"rows": rows}}


def unfinished(found):
    """A record whose students on the set were still learning, those on real images weren't."""
    for row in found["results"]["rows"]:
        row["losses"] = [1.0, 0.1, 0.01, 0.001] if row["baseline"] else [2.0, 1.8, 1.6, 1.0]
        row["temperature"] = None if row["baseline"] else 4.0
    return found


@pytest.fixture
def site_of(tmp_path):
    """Builds a gallery of the sets in a folder."""

    def built(*changes, ipc=1):
        for number, change in enumerate(changes):
            write_set(tmp_path / "sets", 0, ipc=ipc, name=f"set-{number}", change=change)
        build(GalleryBuildOptions(sources=[str(tmp_path / "sets")], output=str(tmp_path / "site")))
        return tmp_path / "site"

    return built


# ---- what students learn from


@pytest.mark.parametrize("regime", ["soft", "crops", "online"])
def test_labels_are_those_of_the_regime_whoever_taught(regime):
    found = told.of(in_regimes(record(2, "set", 1), regime))
    assert found["labels"] == [verdict.REGIMES[regime]] == list({row["labels"] for row in found["rows"]})


def test_rows_of_several_regimes_have_each_their_labels_gain_and_protocol():
    results = in_regimes(record(2, "set", 1), "hard", "online")
    found = told.of(results)
    assert found["labels"] == ["hard labels", "soft labels of every view"]
    own = [row for row in found["rows"] if row.get("own") and row["copy"] == "float"]
    assert [row["labels"] for row in own] == found["labels"]
    rows = results["results"]["rows"]
    for row, first in zip(own, (0, 4), strict=True):
        over = verdict.difference([rows[first]], [rows[first + 2]])
        assert row["gain"] == {"mean": over.mean, "half_width": over.half_width, "n": 5}
    assert own[1]["gain"]["mean"] == pytest.approx(own[0]["gain"]["mean"] + 2)
    assert [row["protocol"] for row in own] == ["of-hard v1", "of-online v1"]


def test_pages_have_a_column_of_labels_and_a_leaderboard_for_each(visit, site_of):
    site = site_of(lambda found: in_regimes(found, "hard", "online"), None, lambda found: in_regimes(found, "soft"))
    page = visit(f"file://{site}/sets/set-0.html")
    cells = page.locator(".results tbody tr").evaluate_all("rows => rows.map(row => row.cells[1].textContent)")
    assert page.locator(".results thead th").nth(1).inner_text() == "Labels"
    assert cells == ["hard labels"] * 4 + ["soft labels of every view"] * 4
    assert "Protocol of-hard v1 (hard labels); of-online v1 (soft labels of every view); on" in page.inner_text("main")
    page = visit(f"file://{site}/sets/set-1.html")
    assert "Labels" not in page.locator(".results thead th").all_inner_texts()
    page = visit(f"file://{site}/leaderboard.html")
    assert sorted(page.locator(".board caption").all_inner_texts()) == [
        "ConvNet students, a soft label per image, protocol of-soft v1",
        "ConvNet students, hard labels, protocol dsa v1",
        "ConvNet students, hard labels, protocol of-hard v1",
        "ConvNet students, soft labels of every view, protocol of-online v1",
    ]
    for board in page.locator(".board").all():
        assert board.locator("tbody tr").count() == 3  # with random images and herding of its own
    page = visit(f"file://{site}/index.html")
    page.get_by_label("Labels", exact=True).select_option("soft labels of every view")
    assert page.locator("tbody tr:visible").count() == 1
    assert "teachers online" not in page.inner_text("main")


# ---- lines


def pushed(found):
    return found | {"pushed": {"repo_id": "me/set", "tag": "v3"}}


@pytest.mark.parametrize("change", [dict, pushed])
@pytest.mark.parametrize("name", ["distilled", "imported", "mtt"])
def test_the_lines_to_use_a_set_are_those_of_its_card(name, change):
    found = change(before(name))
    form = ImportedRecord if name == "imported" else DistilledRecord
    card, more = as_record(found, form, name).card(ENDPOINT), told.of_one(found, None, None)
    assert "\n".join(more["load"]) in card and f"`{more['reproduce']}`" in card
    assert ('"decoded"' in more["load"][2]) == bool(found.get("decoded"))
    assert ('"me/set"' in more["load"][2]) == bool(found["pushed"])


def test_a_set_of_the_hub_is_loaded_at_the_commit_that_is_shown():
    more = told.of_one(before("distilled"), "me/set", "a" * 40)
    assert more["load"][2].startswith(f'train = load_dataset("me/set", "decoded", revision="{"a" * 40}"')
    assert more["reproduce"] == f"hf-dd reproduce me/set@{'a' * 40}"
    assert told.of_one(before("distilled") | {"command": ""}, "me/set", "a" * 40)["reproduce"] is None


def test_a_page_shows_these_lines(visit, site_of):
    site = site_of(lambda found: found | {"decoded": {"factor": 2, "images": 40, "parquet_sha256": "0"}}, pushed)
    page = visit(f"file://{site}/sets/set-0.html")
    assert page.get_by_text('load_dataset("PATH_OF_THIS_FOLDER", "decoded", split="train")').count() == 1
    page = visit(f"file://{site}/sets/set-1.html")
    assert page.get_by_text('load_dataset("me/set", revision="v3", split="train")').count() == 1
    assert page.get_by_text("hf-dd reproduce me/set@v3", exact=True).count() == 1


# ---- imported sets


def test_an_imported_set_is_told_as_its_record_has_it():
    assert told.of(imported(method="Herding"))["origin"] == "chosen"
    assert told.of(imported(method="DATM+TESLA"))["origin"] == "synthetic" and told.of(imported())["imported"]
    assert told.of(imported(method="of nobody"))["origin"] is told.of(imported(method=None))["origin"] is None
    assert told.of(imported())["labels"] == ["hard labels"]
    assert told.of(imported() | {"soft_labels": True})["labels"] == ["a soft label per image"]
    assert told.of({"kind": "imported-set"})["labels"] == []


def test_images_per_class_are_those_of_the_rows_where_classes_differ():
    assert told.of(imported())["ipc"] is None  # the record doesn't say it
    assert told.of(imported(), labels=[0, 0, 1, 2])["ipc"] == "1–2"
    assert told.of(imported() | {"images": 15}, labels=[0, 0, 1])["mean_ipc"] == 1.5
    assert told.of(evaluated(imported(), ipc="1–2"), labels=[])["ipc"] == "1–2"
    assert told.of(record(0, "set", 5))["ipc"] == "5"


def test_a_page_of_an_imported_choice_calls_it_that(visit, tmp_path):
    write_set(tmp_path / "sets", 0, ipc=1, name="set", change=lambda found: before("imported") | {
        "settings": imported(method="Herding")["settings"], "parquet_sha256": found["parquet_sha256"]
    })  # fmt: skip
    build(GalleryBuildOptions(sources=[str(tmp_path / "sets")], output=str(tmp_path / "site")))
    page = visit(f"file://{tmp_path}/site/sets/set.html")
    assert "10 chosen images of 8 × 8 pixels" in page.locator(".lead").inner_text()
    page = visit(f"file://{tmp_path}/site/index.html")
    assert page.locator("td.ipc").inner_text() == "1" and "unknown labels" not in page.inner_text("main")


# ---- doubts, and what labels take


def marks(page, place):
    """What stands beside accuracies there."""
    return [each.strip() for each in page.locator(f"{place} .mark").all_inner_texts()]


def test_a_page_says_what_there_is_to_doubt(visit, site_of):
    def at_chance(found):
        for row in found["results"]["rows"]:
            row |= {"mean": 10.1, "std": 0.1, "half_width": 0.2, "scores": [10.0, 10.1, 10.2], "n": 3}
        return found

    site = site_of(unfinished, at_chance)
    page, found = visit(f"file://{site}/sets/set-0.html"), record(0, "set-0", 1)
    for sentence in verdict.sentences(unfinished(found)["results"]):
        assert page.get_by_text(sentence).count() == 1
    text = page.inner_text("main")
    assert "hadn't converged after 300 epochs" in text
    assert "the set taught by soft labels, the real images by hard ones" in text
    assert marks(page, ".results tr") == ["(not converged)"] * 2
    assert page.locator(".results tr.baseline .mark").count() == 0
    page = visit(f"file://{site}/sets/set-1.html")
    assert marks(page, ".results tr") == ["(at chance)"] * 4
    page = visit(f"file://{site}/index.html")
    assert sorted(marks(page, ".sets")) == ["(at chance)", "(not converged)"]
    page = visit(f"file://{site}/leaderboard.html")
    assert page.locator("tr", has=page.get_by_role("link", name="set-0")).locator(".mark").count() == 1


def test_what_labels_take_stands_beside_the_images(visit, site_of):
    def with_labels(found):
        storage = found["storage"] | {"soft_labels": 12_000}
        return found | {"storage": storage, "soft_labels": {"kind": "own"}, "crop_labels": CROPS}

    site = site_of(with_labels, None)
    page = visit(f"file://{site}/index.html")
    cells = sorted(page.locator("td.bytes").all_inner_texts())
    assert "+ 12.0 kB of soft labels + 3.20 MB of labels of crops" in cells[1] and "+" not in cells[0]
    page.get_by_role("button", name="Bytes").click()
    assert page.locator("tbody th a").all_inner_texts() == ["set-1", "set-0"]
    page = visit(f"file://{site}/compare.html#compare/set-0,set-1")
    row = page.get_by_role("row", name="Labels beside them")
    assert row.locator("td").all_inner_texts() == ["12.0 kB of soft labels + 3.20 MB of labels of crops", "–"]
    page = visit(f"file://{site}/sets/set-0.html")
    assert "beside them 12.0 kB of soft labels + 3.20 MB of labels of crops" in page.inner_text("main")


# ---- rows that aren't there, or others'


def test_a_page_without_images_says_so(visit, tmp_path):
    for name, content in (("none", None), ("broken", b"PAR1 and nothing")):
        place = write_set(tmp_path / "sets", 0, ipc=1, name=name) / PARQUET
        place.unlink()
        if content:
            place.write_bytes(content)
    build(GalleryBuildOptions(sources=[str(tmp_path / "sets")], output=str(tmp_path / "site")))
    for name in ("none", "broken"):
        page = visit(f"file://{tmp_path}/site/sets/{name}.html")
        assert page.get_by_text("Its images aren't here: its rows can't be read, or are too large").count() == 1
        students = page.locator(".lineage li").last.inner_text()
        assert "none yet" not in students and ("not shown" in students) == (name == "broken")


# ---- pages that read the Hub


def seen_by_pages(row):
    """Of a told row, what a page that read the record itself has, too: all but what there is to doubt."""
    names = {*told.ROW, "own", "labels", "protocol", "gain"}
    return {name: value for name, value in row.items() if name in names and value not in (None, False)}


def test_a_page_reads_a_record_as_the_library_does(visit, tmp_path):
    records = [record(number, f"set-{number}", 1 + number) for number in range(5)]
    records += [before(name) for name in ("distilled", "imported", "mtt")]
    records += [in_regimes(record(2, "set", 1), *each) for each in (["hard", "soft"], ["crops"], ["online", "hard"])]
    records += [imported(method=each) for each in ("Herding", "DATM+TESLA", "SRe2L++", "of/us/DM/@v1", "", None)]
    records += [unfinished(record(2, "set", 1))]
    records += [
        evaluated(imported(), "1–2", "1–2"),
        record(1, "set", 1) | {"crop_labels": CROPS, "soft_labels": {"a": 1}},
    ]
    records += [
        {"kind": "distilled-set"},
        {"kind": "imported-set", "settings": [], "results": {"rows": [{}, 1, None]}},
    ]
    with LocalHub(tmp_path / "hub", home=front_page()) as running:
        page = visit(running.endpoint)
        for content in records:
            wanted, found = told.of(content), page.evaluate("record => toldOf(record)", content)
            rows, own = (list(map(seen_by_pages, each.pop("rows"))) for each in (found, wanted))
            assert found == wanted
            for row, other in zip(rows, own, strict=True):
                gains = [{key: part or 0 for key, part in each.pop("gain", {}).items()} for each in (row, other)]
                assert row == other and gains[0] == pytest.approx(gains[1], rel=1e-3)
            more = told.of_one(content, "me/set", "a" * 40)
            lines = page.evaluate("record => linesOf(record, 'me/set', 'a'.repeat(40))", content)
            assert lines == {name: more[name] for name in lines}


def test_a_page_that_reads_the_hub_shows_as_many_of_each_class(visit, tmp_path, monkeypatch):
    monkeypatch.setattr(images, "MOST_IMAGES", 20)
    from huggingface_hub import HfApi

    with LocalHub(tmp_path / "hub", home=front_page()) as running:
        api = HfApi(endpoint=running.endpoint, token="hf_local")
        upload(api, tmp_path / "sets", "local/set-3", "hf-dd", 3)  # of ten images in each of ten classes
        labels = pyarrow.parquet.read_table(tmp_path / "sets" / "set-0003" / PARQUET)["label"].to_pylist()
        assert len(labels) == 100 and len(images.chosen(labels)) == 20
        page = visit(f"{running.endpoint}/#set/local%2Fset-3")
        expect(page.locator(".classes figure")).to_have_count(10)
        assert {figure.locator("img").count() for figure in page.locator("figure").all()} == {2}
        assert page.get_by_text("20 of 100 images are shown.").count() == 1
        assert page.get_by_role("link", name="its card").get_attribute("href") == "/datasets/local/set-3"


def test_names_and_words_of_live_pages_come_from_the_library():
    script = (REPOSITORY_ROOT / "hf_dd" / "gallery" / "page" / "live.js").read_text()
    written = told.tables()
    for name in (written["record"], written["rows"], *written["kinds"], *written["regimes"].values(), "2000"):
        assert name not in script
    assert statistics.fmean(written["starts"]["png"]) > 0 and front_page().count(written["rows"]) == 1


def within(value, path=()):
    """The places of all parts of JSON, of lists the first ones."""
    parts = value.items() if isinstance(value, dict) else enumerate(value[:3]) if isinstance(value, list) else ()
    for key, part in parts:
        yield (*path, key)
        yield from within(part, (*path, key))


@pytest.mark.parametrize("odd", [None, True, -1, 1e300, "x", [[]], {"labels": []}], ids=str)
def test_no_part_of_a_record_of_others_stops_a_gallery(odd):
    whole = in_regimes(record(2, "set", 1), "hard", "online")
    for place in [each for each in within(whole) if each[0] not in ("dataset_info", "versions", "kind")]:
        broken = part = json.loads(json.dumps(whole))
        for key in place[:-1]:
            part = part[key]
        part[place[-1]] = json.loads(json.dumps(odd))
        found = [told.of(tidied(broken)), told.of_one(tidied(broken), None, None)]
        json.dumps(found, allow_nan=False)
