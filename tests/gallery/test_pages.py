"""The pages in a real browser: what they show, how they are used, and that nothing in a record does anything there."""

import json
import os
import re
import statistics

import pytest
from playwright.sync_api import expect  # waits, and needs no eval in the page, which the pages forbid

from hf_dd.config.gallery import GalleryBuildOptions
from hf_dd.core.layout import PARQUET, RECORD
from hf_dd.evaluation import verdict
from hf_dd.gallery import collect
from hf_dd.gallery import site as pages
from hf_dd.gallery.site import build
from tests.conftest import REPOSITORY_ROOT
from tests.gallery.synthetic import DATA, record, write_set

SHOTS = REPOSITORY_ROOT / "docs" / "images"
MOST_NODES, MOST_BYTES = 40_000, 6_000_000  # of the page of a thousand sets
GIANT = "a name without end " * 5000
LIVE = "<img src=x onerror=\"alert('hacked')\"><script>alert('hacked')</script>'\"`${1}</script><!--"


def record_of(sets, name):
    return json.loads((sets / name / RECORD).read_text())


def shown(page, column):
    """The texts of a column, of the rows that are seen."""
    return [each.strip() for each in page.locator(f".sets tbody tr:visible {column}").all_inner_texts()]


@pytest.fixture
def overview(visit, site):
    return visit(f"file://{site}/index.html")


def test_all_sets_are_filtered_and_found(overview):
    assert overview.locator("tbody tr:visible").count() == 14 and overview.title() == "Distilled sets"
    overview.get_by_label("Data", exact=True).select_option("garments")
    assert set(shown(overview, "td.data")) == {"garments"} and len(shown(overview, "td.data")) == 5
    overview.get_by_label("Teachers", exact=True).select_option("with teachers")
    assert [each.split("\n")[0] for each in shown(overview, "th")] == ["set-0001", "set-0013"]
    assert overview.get_by_role("status").first.inner_text() == "2 of 14 sets"
    overview.get_by_label("Data", exact=True).select_option("")
    overview.get_by_label("Teachers", exact=True).select_option("without teachers")
    overview.get_by_label("Method", exact=True).select_option("rded")
    overview.get_by_label("Images per class", exact=True).select_option("10")
    assert [each.split("\n")[0] for each in shown(overview, "th")] == ["set-0003"]
    overview.get_by_label("Find").fill("nothing that there is")
    assert overview.locator("tbody tr:visible").count() == 0


def test_all_sets_are_sorted_by_the_keyboard_too(overview, sets):
    records = [record_of(sets, f"set-{number:04d}") for number in range(14)]
    best = sorted((f"{each['results']['rows'][0]['mean']:.1f}" for each in records), key=float, reverse=True)
    head = overview.get_by_role("button", name="Accuracy in %")
    head.focus()
    overview.keyboard.press("Enter")
    assert [each.split()[0] for each in shown(overview, "td.accuracy .number")] == best
    assert overview.locator("th.accuracy").get_attribute("aria-sort") == "descending"
    overview.keyboard.press("Enter")
    assert [each.split()[0] for each in shown(overview, "td.accuracy .number")] == best[::-1]
    overview.get_by_role("button", name="Over random").click()
    assert overview.locator("th.accuracy").get_attribute("aria-sort") is None
    gains = [verdict.difference([rows[0]], [rows[2]]) for rows in (each["results"]["rows"] for each in records)]
    wanted = [f"{abs(each.mean):.1f}" for each in sorted(gains, key=lambda each: -each.mean)]
    assert [each.split()[0].strip("+−") for each in shown(overview, "td.gain .number")] == wanted
    overview.keyboard.press("Home")
    overview.locator("body").press("Tab")
    assert overview.evaluate("document.activeElement !== document.body")


def test_a_gain_has_the_interval_that_the_library_gives(overview, sets):
    for name in ("set-0001", "set-0002"):
        rows = record_of(sets, name)["results"]["rows"]
        over = verdict.difference([rows[0]], [rows[2]])
        row = overview.locator("tbody tr", has=overview.get_by_role("link", name=name, exact=True))
        assert row.locator("td.gain").inner_text() == f"{over.mean:+.1f} ± {over.half_width:.1f}".replace("-", "−")


def test_a_set_shows_its_images_by_class_and_how_to_use_them(visit, site, sets):
    page, found = visit(f"file://{site}/sets/set-0001.html"), record_of(sets, "set-0001")
    names = page.locator(".classes figcaption").all_inner_texts()
    assert names == DATA["lab/garments"][2]
    assert page.locator(".classes img").count() == 10 * found["settings"]["ipc"]
    first = page.locator(".classes img").first
    size = first.evaluate("each => [each.naturalWidth, each.clientWidth, getComputedStyle(each).imageRendering]")
    assert size == [28, 112, "pixelated"] and first.get_attribute("alt") == "T-shirt, image 1"
    button = page.get_by_role("button", name="Enlarge image 1 of trousers")
    button.focus()
    page.keyboard.press("Enter")
    assert page.get_by_role("dialog").get_by_role("img").get_attribute("alt") == "trousers, image 1, enlarged"
    page.keyboard.press("Escape")
    assert page.get_by_role("dialog").count() == 0 and button.evaluate("each => each === document.activeElement")
    kinds = page.locator(".lineage .kind").all_inner_texts()
    assert [kind.lower() for kind in kinds] == ["data", "teachers", "pool", "set", "students"]
    teacher = page.get_by_role("link", name="lab/teacher-1").first
    assert teacher.get_attribute("href").endswith(f"/lab/teacher-1/tree/{2:040x}")
    assert page.get_by_text(found["command"]).count() == 1
    assert page.get_by_text('load_dataset("PATH_OF_THIS_FOLDER", "decoded"').count() == 0
    assert page.get_by_text('load_dataset("PATH_OF_THIS_FOLDER", split="train")').count() == 1
    assert page.get_by_text("hf-dd reproduce PATH_OF_THIS_FOLDER").count() == 1
    assert page.locator(".results tbody tr").count() == 4 and page.locator(".results tr.baseline").count() == 2
    page.get_by_role("link", name="The pool of these 4 teachers").click()
    expect(page.locator("h1")).to_have_text("Pool of 4 teachers")


def test_a_pool_shows_its_four_options_and_what_it_gained(visit, site):
    page = visit(f"file://{site}/pools/pool-of-set-0001.html")
    assert page.locator("dd").all_inner_texts()[:4] == ["0, 1", "ConvNet, MLP, ResNet18", "1, 2, 3", "lab/garments"]
    assert page.locator(".matrix tbody tr").count() == 4 and page.locator(".heat").count() == 16
    guided = page.locator("table").last.locator("tbody tr")
    assert guided.count() == 1 and "set-0001" in guided.inner_text()


def test_sets_are_compared_by_ticking_them(overview):
    for name in ("set-0000", "set-0003"):
        overview.get_by_role("checkbox", name=f"Compare {name}").check()
    overview.get_by_role("button", name="Compare 2 sets").click()
    expect(overview).to_have_url(re.compile("compare.html#compare/set-0000,set-0003$"))
    expect(overview.locator(".sides thead th a")).to_have_count(2)
    assert overview.locator(".sides thead th a").all_inner_texts() == ["set-0000", "set-0003"]
    assert overview.get_by_role("row", name="seed 0 3").count() == 1  # an option in which they differ
    assert overview.get_by_role("note").count() == 0
    overview.get_by_label("Add a set").select_option("set-0001")
    expect(overview.locator(".sides thead th a")).to_have_count(3)
    assert overview.get_by_role("note").count() == 1  # of other data
    overview.get_by_role("button", name="Remove set-0003").click()
    expect(overview.locator(".sides thead th a")).to_have_count(2)
    overview.go_back()
    expect(overview.locator(".sides thead th a")).to_have_count(3)


def test_leaderboards_rank_sets_under_one_protocol(visit, site, sets):
    page = visit(f"file://{site}/leaderboard.html")
    page.get_by_label("Data", exact=True).select_option("digits")
    page.get_by_label("Images per class", exact=True).select_option("1")
    rows = page.locator(".board tbody tr")
    of = {name: record_of(sets, name)["results"]["rows"] for name in ("set-0000", "set-0009")}
    ranked = sorted(of, key=lambda name: -of[name][0]["mean"])
    assert page.locator(".board").count() == 1 and page.locator(".board th a").all_inner_texts() == ranked
    numbers = [float(each.inner_text().split()[0]) for each in rows.locator(".number[title]").all()]
    assert numbers == sorted(numbers, reverse=True) and rows.count() == 4  # with random images and herding
    assert page.locator("caption").inner_text() == "ConvNet students, hard labels, protocol dsa v1"


def test_results_of_rows_that_were_changed_are_shown_nowhere_and_another_test_is_another_board(visit, tmp_path):
    place = tmp_path / "sets"
    whole, otherwise, changed = (write_set(place, number, ipc=1).name for number in (0, 3, 6))  # all of digits
    record = record_of(place, otherwise)
    record["results"]["tested"] = {otherwise: "--test_resize 10"}
    (place / otherwise / RECORD).write_text(json.dumps(record))
    (place / changed / PARQUET).write_bytes(b"PAR1 and nothing")
    build(GalleryBuildOptions(sources=[str(place)], output=str(tmp_path / "site")))
    page = visit(f"file://{tmp_path}/site/leaderboard.html")
    assert sorted(page.locator(".board th a").all_inner_texts()) == [whole, otherwise]
    captions = page.locator(".board caption").all_inner_texts()
    assert len(captions) == 2 and sum("changed: tested by --test_resize 10" in each for each in captions) == 1
    page.goto(f"file://{tmp_path}/site/sets/{changed}.html")
    expect(page.get_by_role("alert")).to_contain_text("they were changed since, so its results aren't shown")
    mean = record_of(place, changed)["results"]["rows"][0]["mean"]
    assert page.get_by_role("heading", name="Results").count() == 0
    assert f"{mean:.1f}" not in page.locator("main").inner_text()


def hostile(tmp_path):
    """Sets whose records say what no record should."""
    names = [write_set(tmp_path / "sets", number, ipc=1).name for number in range(8)]
    contents = [record_of(tmp_path / "sets", name) for name in names]
    for text, content in zip((LIVE, GIANT), contents, strict=False):
        content["name"] = content["pool"] = content["command"] = content["settings"]["objective"] = text
        content["data"] |= {"name": text, "repo_id": f"javascript:alert('{text}')", "class_names": [text] * 10}
        content["teachers"] = [dict.fromkeys(("repo_id", "revision", "sha", "architecture", "dataset"), text)] * 2
        content["settings"][text] = content["versions"][text] = text
        content["results"]["rows"][0] |= {"architecture": text, "copy": text}
        content["results"]["protocol"] |= {"name": text, "changed": [text]}
        content["run"]["hardware"] = text
    contents[2] = {"kind": "distilled-set"}
    contents[3] = {
        "kind": "imported-set",
        "settings": {"paper": "javascript:alert(1)", "method": "__proto__"},
        "data": [],
    }
    contents[4] = {name: None for name in contents[4]} | {"kind": "distilled-set", "teachers": [None, 3, "x"]}
    contents[5] = {name: "text" for name in contents[5]} | {
        "kind": "distilled-set",
        "results": {"rows": [{}, 1, None]},
    }
    contents[6]["results"]["rows"] = [
        row | {"mean": 1e300, "scores": [None, "x"]} for row in contents[6]["results"]["rows"]
    ]
    contents[6]["results"]["rows"][0]["half_width"] = float("nan")
    contents[7]["data"] |= {"image_size": [10**9, -3], "class_names": {"a": 1}, "sha": LIVE}
    contents[7]["diversity"] = {"images": 1, "cka": 0.5, "pairs": [{"teachers": LIVE, "disagreement": "x"}, 3, None]}
    for name, content in zip(names, contents, strict=True):
        (tmp_path / "sets" / name / RECORD).write_text(json.dumps(content))
    return tmp_path / "sets"


def test_nothing_in_a_record_does_anything_but_be_read(visit, tmp_path):
    build(GalleryBuildOptions(sources=[str(hostile(tmp_path))], output=str(tmp_path / "site")))
    made = sorted((tmp_path / "site").rglob("*.html"))
    assert len(made) >= 3 + 8 + 2
    page = visit(f"file://{made[0]}")
    for path in made:
        page.goto(f"file://{path}")
        page.wait_for_selector("body[data-ready]")
        assert page.locator("body > script").count() == 2 and page.locator("img[src=x]").count() == 0
        assert page.locator("h1").inner_text() != "Not here"
        assert page.locator("a[href^='javascript']").count() == 0
        assert page.evaluate("document.documentElement.scrollWidth") <= 1280, path
        assert len(page.locator("main").inner_text()) < 100_000
    page.goto(
        f"file://{tmp_path}/site/compare.html#compare/{','.join(each.name for each in (tmp_path / 'sets').iterdir())}"
    )
    assert page.locator(".sides thead th a").count() == 8 and "<script>alert('hacked')</script>" in page.inner_text(
        "main"
    )
    for odd in ("#set/none", "#pool/%E0%A4%A", "#compare/%", "#set/<img src=x onerror=alert(1)>"):
        page.goto(f"file://{tmp_path}/site/index.html{odd}")
        expect(page.locator("h1")).not_to_have_text("Distilled sets")


def test_a_thousand_sets_are_a_page_that_a_browser_takes_at_once(visit, site, tmp_path):
    """Time isn't measured here: what it takes it for is bounded, bytes and elements."""
    strip = next(entry["strip"] for entry in json.loads(data_of(site / "index.html"))["entries"])
    entries = []
    for number in range(1000):
        name = f"set-{number:04d}"
        entry = collect.Entry(name, collect.tidied(record(number, name, 1 + number % 20)), None)
        entries.append(entry.facts() | {"strip": strip, "page": f"sets/{name}.html"})
    (tmp_path / "index.html").write_text(pages.page(entries, {"view": "sets"}, hub="https://huggingface.co"))
    assert (tmp_path / "index.html").stat().st_size < MOST_BYTES
    page = visit(f"file://{tmp_path}/index.html")
    assert page.locator("tbody tr").count() == 200 and page.get_by_role("status").first.inner_text() == "1,000 sets"
    page.get_by_role("button", name="Show all 1,000").click()
    expect(page.locator("tbody tr")).to_have_count(1000)
    assert page.evaluate("document.querySelectorAll('*').length") < MOST_NODES
    page.get_by_label("Find").fill("set-0999")
    assert page.locator("tbody tr:visible").count() == 1
    page.goto(f"file://{tmp_path}/index.html#leaderboard")
    page.wait_for_selector(".board")
    assert page.locator(".board").count() == 40


def data_of(path):
    return path.read_text().split('<script type="application/json" id="data">')[1].split("</script>")[0]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_screenshots(visit, site, tmp_path, scheme):
    """Pictures of the docs, written there with HF_DD_SCREENSHOTS=1; else it is looked whether they could be."""
    folder = SHOTS if os.environ.get("HF_DD_SCREENSHOTS") else tmp_path
    folder.mkdir(exist_ok=True)
    views = {"index.html": "sets", "sets/set-0001.html": "set", "pools/pool-of-set-0001.html": "pool"}
    views |= {"compare.html#compare/set-0001,set-0004,set-0010": "compare", "leaderboard.html": "leaderboard"}
    for address, name in views.items() if scheme == "light" else list(views.items())[:1]:
        page = visit(f"file://{site}/{address}", color_scheme=scheme)
        picture = folder / f"gallery-{name}{'-dark' * (scheme == 'dark')}.png"
        page.screenshot(path=picture)
        colour = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
        shade = statistics.fmean(map(int, colour.removeprefix("rgb(").removesuffix(")").split(",")))
        assert (shade > 128) == (scheme == "light")
        assert (SHOTS / picture.name).is_file() and picture.stat().st_size < 300_000
        page.close()
