"""Pages that read a Hub themselves: a Space's, and the first page of an embedded Hub."""

import pytest
from huggingface_hub import HfApi
from playwright.sync_api import expect

from hf_dd.config.gallery import GalleryPushOptions
from hf_dd.errors import HubError
from hf_dd.gallery.space import front_page, push
from hf_dd.local_hub import LocalHub
from tests.gallery.synthetic import write_set


def upload(api, folder, name, tag, number, **options):
    """Push a set of that number as a repository with a tag."""
    place = write_set(folder, number)
    (place / "README.md").write_text(f"---\ntags: [{tag}]\n---\n")
    api.create_repo(name, repo_type="dataset", **options)
    return api.upload_folder(repo_id=name, repo_type="dataset", folder_path=place)


def names(page):
    return page.locator("tbody th a").all_inner_texts()


def test_an_embedded_hub_shows_its_sets_at_first(visit, tmp_path):
    with LocalHub(tmp_path / "hub", home=front_page()) as running:
        page = visit(running.endpoint)
        assert page.locator("tbody tr").count() == 0 and "Nothing here yet" in page.inner_text("main")
        api = HfApi(endpoint=running.endpoint, token="hf_local")
        for number in (0, 1):
            commit = upload(api, tmp_path / "sets", f"local/set-{number}", "hf-dd", number).oid
        upload(api, tmp_path / "sets", "local/hidden", "hf-dd", 2, private=True)
        api.create_repo("local/of-others", repo_type="dataset")
        page = visit(running.endpoint)
        assert sorted(names(page)) == ["local/set-0", "local/set-1"]
        expect(page.locator(".strip.many img")).to_have_count(20)
        page.get_by_role("link", name="local/set-1", exact=True).click()
        page.wait_for_selector(".classes img")
        assert page.locator(".classes img").count() == 10
        assert page.locator(".classes img").first.evaluate("each => each.decode().then(() => each.naturalWidth)") == 28
        assert page.get_by_text(f'load_dataset("local/set-1", revision="{commit}"').count() == 1
        address = page.get_by_role("link", name="lab/teacher-1").first.get_attribute("href")
        assert address == f"/lab/teacher-1/tree/{2:040x}"
        page.get_by_role("link", name="The pool of these 4 teachers").click()
        expect(page.locator("h1")).to_have_text("Pool of 4 teachers")
        page.get_by_role("link", name="Leaderboards").click()
        page.wait_for_selector(".board")
        page.get_by_role("link", name="Compare").click()
        page.wait_for_selector("select")
        page.get_by_role("link", name="All sets").click()
        page.wait_for_selector(".sets")
        page.get_by_role("link", name="Repositories").click()
        page.wait_for_selector("text=local/of-others")


def test_a_space_shows_what_was_pushed_and_what_came_since(visit, tmp_path, unique, hub):
    api, tag, space = HfApi(), "gallery-in-space", unique()
    first, second = unique(), unique()
    upload(api, tmp_path, first, tag, 0)
    upload(api, tmp_path, unique(), tag, 2, private=True)
    options = GalleryPushOptions(tag=tag, hub_space_id=space)
    assert push(options) == f"pushed: {hub.endpoint}/spaces/{space}"
    assert api.repo_info(space, repo_type="space").card_data["sdk"] == "static"
    page = visit(f"{hub.endpoint}/spaces/{space}/static/index.html")
    assert names(page) == [first] and page.locator(".news").inner_text() == "The Hub has nothing newer."
    page.get_by_role("link", name=first, exact=True).click()
    page.wait_for_selector(".classes img")
    assert page.url.endswith("static/sets/" + first.replace("/", "-") + ".html")
    upload(api, tmp_path, second, tag, 1)
    page = visit(f"{hub.endpoint}/spaces/{space}/static/index.html")
    assert sorted(names(page)) == [first, second] and page.locator(".news").inner_text().startswith("1 set read")
    page.get_by_role("link", name=second, exact=True).click()
    page.wait_for_selector(".classes img")
    before = {each.path for each in api.list_repo_tree(space, repo_type="space", recursive=True)}
    api.delete_repo(first, repo_type="dataset")
    page = visit(f"{hub.endpoint}/spaces/{space}/static/index.html")
    assert names(page) == [second] and page.locator(".news").inner_text().endswith("1 set gone from there.")
    push(options)
    after = {each.path for each in api.list_repo_tree(space, repo_type="space", recursive=True)}
    assert before - after == {f"sets/{first.replace('/', '-')}.html"}
    assert len(api.list_repo_commits(space, repo_type="space")) == 3


def test_a_space_of_others_is_refused_before_anything_is_read(tmp_path):
    with pytest.raises(HubError, match="space bob/gallery: your token may not push to bob"):
        push(GalleryPushOptions(sources=[str(tmp_path / "none")], hub_space_id="bob/gallery"))
