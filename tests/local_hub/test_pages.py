"""What a browser is shown at the addresses that clients print."""

import html.parser
import shutil
import subprocess
from urllib.parse import urlsplit

import pytest
from huggingface_hub import CommitOperationAdd, CommitOperationDelete

from hf_dd.local_hub import LocalHub
from hf_dd.local_hub.pages import MAX_ENTRIES
from tests.local_hub.conftest import raw_request

CARD = b"---\nlicense: mit\n---\n# A card & <script>alert('card')</script>\n"
ODD = "a dir/<b>&\"'.txt"


class Page(html.parser.HTMLParser):
    """Its tags, its links by their text, and its text."""

    def __init__(self, content):
        super().__init__()
        self.tags, self.links, self.text, self._address = [], {}, "", None
        self.feed(content.decode())

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self._address = dict(attributes).get("href")

    def handle_data(self, data):
        self.text += data
        if self._address:
            self.links[data] = self._address
        self._address = None


@pytest.fixture(scope="module")
def shown(api, other_api, new_repo):
    """A repository with a card, odd names, a tag, a branch and a pull request, and its first two commits' ids."""
    repo = new_repo()
    operations = [
        CommitOperationAdd("README.md", CARD),
        CommitOperationAdd(ODD, b"12345"),
        CommitOperationAdd("old", b"1"),
    ]
    first = api.create_commit(repo, operations, commit_message="one <i>", commit_description="because & so").oid
    operations = [CommitOperationAdd(ODD, b"changed"), CommitOperationDelete("old"), CommitOperationAdd("w.bin", b"w")]
    second = api.create_commit(repo, operations, commit_message="two").oid
    api.create_tag(repo, tag="v<1>", revision=first)
    api.create_branch(repo, branch="a/b")
    other_api.create_commit(repo, [CommitOperationAdd("offer", b"1")], commit_message="an offer", create_pr=True)
    return repo, first, second


@pytest.fixture
def visit(request_hub):
    def get(path, status=200, **options):
        answer = request_hub("GET", path, **options)
        assert answer.status == status and answer.headers["Content-Type"] == "text/html; charset=utf-8", answer.body
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        page = Page(answer.body)
        assert not {"script", "i", "b", "img"} & set(page.tags)
        return page

    return get


def test_a_repository_shows_its_card_files_tags_and_branches(shown, visit, request_hub):
    repo, first, second = shown
    page = visit(f"/{repo}")
    assert "# A card & <script>alert('card')</script>" in page.text and repo in page.text
    assert {"README.md", ODD, "w.bin", "v<1>", "a/b", "main", "refs/pr/1", first, second} <= page.links.keys()
    assert request_hub("GET", page.links[ODD]).body == b"changed"
    for name in ("v<1>", "a/b", "main", "refs/pr/1", first, second):
        visit(page.links[name])
    tagged = visit(page.links["v<1>"])
    assert "old" in tagged.links and request_hub("GET", tagged.links[ODD]).body == b"12345"
    folder = visit(f"/{repo}/tree/main/a%20dir")
    assert ODD in folder.links and "README.md" not in folder.links and "A card" not in folder.text
    for missing in (
        f"/{repo}/tree/none",
        f"/{repo}/tree/main/none",
        f"/{repo}/commit/{'0' * 40}",
        f"/{repo}/discussions/2",
    ):
        assert visit(missing, status=404).text.endswith("There is no such page.\n")


def test_what_clients_print_is_a_page(api, shown, visit, hub, new_repo):
    repo, _, _ = shown
    data = api.create_repo("alice/page-set", repo_type="dataset")
    added = api.upload_file(path_or_fileobj=b"1", path_in_repo="x.csv", repo_id=data.repo_id, repo_type="dataset")
    offered = api.upload_file(
        path_or_fileobj=b"2", path_in_repo="x.csv", repo_id=data.repo_id, repo_type="dataset", create_pr=True
    )
    collection = api.create_collection("A <b>pool</b>", namespace="alice", description="about & so")
    api.add_collection_item(collection.slug, repo, "model", note="<i>note</i>")
    api.add_collection_item(collection.slug, data.repo_id, "dataset")

    def path(url):
        return urlsplit(str(url)).path

    assert path(data) == "/datasets/alice/page-set" and "x.csv" in visit(path(data)).links
    assert "Added" in visit(path(added.commit_url)).text
    assert "Changed" in visit(path(offered.pr_url)).text and path(offered.pr_url).endswith("/discussions/1")
    page = visit(path(collection.url))
    assert page.links[repo] == f"/{repo}" and page.links["alice/page-set"] == "/datasets/alice/page-set"
    assert "<i>note</i>" in page.text and "about & so" in page.text and "A <b>pool</b>" in page.text
    home = visit("/")
    assert {repo, "alice/page-set", "A <b>pool</b>"} <= home.links.keys()
    for name in (repo, "alice/page-set", "A <b>pool</b>"):
        visit(home.links[name])


def test_a_commit_shows_what_it_changed(shown, visit, request_hub):
    repo, first, second = shown
    page = visit(f"/{repo}/commit/{second}")
    assert page.text.index("Added") < page.text.index("w.bin") < page.text.index("Changed") < page.text.index(ODD)
    assert page.text.index("Removed") < page.text.index("old") and page.links[first] == f"/{repo}/commit/{first}"
    assert "one <i>" in visit(page.links[first]).text and "because & so" in visit(page.links[first]).text
    answer = request_hub("GET", f"/{repo}/blob/main/w.bin")
    assert answer.status == 307 and answer.headers["Location"] == f"/{repo}/resolve/main/w.bin"


def test_strangers_see_no_private_page(api, new_repo, visit):
    private = new_repo(private=True)
    commit = api.upload_file(path_or_fileobj=CARD, path_in_repo="README.md", repo_id=private).oid
    hidden = api.create_collection("Hidden page", namespace="alice", private=True)
    public = api.create_collection("Public page", namespace="alice")
    api.add_collection_item(public.slug, private, "model", note="of what is private")
    pages = [
        f"/{private}{rest}"
        for rest in ("", "/tree/main", f"/commit/{commit}", "/discussions/1", "/blob/main/README.md")
    ]
    for token in (None, "hf_bob"):
        for path in (*pages, f"/collections/{hidden.slug}"):
            page = visit(path, status=404, token=token)
            assert private not in page.text and "Hidden" not in page.text
        assert "private" not in visit(f"/collections/{public.slug}", token=token).text
        assert private not in visit("/", token=token).text and "Hidden page" not in visit("/", token=token).text
    assert "model, private" in visit(f"/{private}", token="hf_alice").text
    assert private in visit("/", token="hf_alice").links
    assert private in visit(f"/collections/{public.slug}", token="hf_alice").links


def test_pages_stay_small(api, new_repo, visit):
    repo = new_repo()
    operations = [CommitOperationAdd(f"{number:04d}", b"1") for number in range(MAX_ENTRIES + 5)]
    api.create_commit(repo, [*operations, CommitOperationAdd("README.md", b"x" * 500_000)], commit_message="many")
    page = visit(f"/{repo}")
    assert "and 7 more" in page.text and len(page.text) < 200_000 and len(page.links) < MAX_ENTRIES + 10
    assert len(visit(page.links[api.model_info(repo).sha]).links) < MAX_ENTRIES + 10


def test_a_space_runs_its_own_pages_as_a_stranger(api, visit, request_hub):
    space = api.create_repo("alice/space", repo_type="space", space_sdk="static").repo_id
    script = b"<script>document.title = 'ran'</script>"
    model = api.create_repo("alice/of-pages").repo_id
    for repo, kind in ((space, "space"), (model, "model")):
        operations = [CommitOperationAdd("index.html", script), CommitOperationAdd("notes.txt", script)]
        api.create_commit(repo, operations, commit_message="pages", repo_type=kind)
    assert visit(f"/spaces/{space}").links["Open the Space"] == f"/spaces/{space}/static/index.html"
    answer = request_hub("GET", f"/spaces/{space}/static/index.html")
    assert answer.body == script and answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert answer.headers["Content-Security-Policy"].startswith("sandbox allow-scripts")
    assert "allow-same-origin" not in answer.headers["Content-Security-Policy"]
    for path in (
        f"/spaces/{space}/static/notes.txt",
        f"/spaces/{space}/static/none.html",
        f"/{model}/static/index.html",
    ):
        visit(path, status=404)
    assert [each.id for each in api.list_spaces(author="alice")] == [space]


def test_pages_of_others_read_what_everybody_may(api, new_repo, request_hub):
    private, public = new_repo(private=True), new_repo()
    for repo, status in ((public, 200), (private, 401)):
        answer = request_hub("GET", f"/api/models/{repo}", headers={"Origin": "null"})
        assert answer.status == status and answer.headers["Access-Control-Allow-Origin"] == "*"
    answer = request_hub("GET", f"/api/models/{private}", token="hf_alice", headers={"Origin": "null"})
    assert answer.status == 200 and answer.headers["Access-Control-Allow-Origin"] is None
    assert request_hub("OPTIONS", f"/api/models/{private}").headers["Access-Control-Allow-Origin"] is None
    assert request_hub("POST", "/api/repos/create", body="{}").headers["Access-Control-Allow-Origin"] is None


def test_the_first_page_may_be_another(tmp_path):
    with LocalHub(tmp_path, home="<!doctype html><p>mine") as running:
        answer = raw_request(running.endpoint, "GET", "/")
        assert answer.body == b"<!doctype html><p>mine"
        assert answer.headers["Content-Security-Policy"] == "frame-ancestors 'none'"
        assert b"Local Hub" in raw_request(running.endpoint, "GET", "/repositories").body


def test_unknown_addresses_of_the_api_stay_json(request_hub):
    for path in ("/api/nothing", "/api/models/a/b/c/d", "/datasets/alice", "/a/b/c"):
        answer = request_hub("GET", path)
        assert answer.status == 404 and "doesn't know" in answer.json()["error"]


@pytest.mark.skipif(not shutil.which("chromium"), reason="needs Chromium")
def test_in_a_browser(hub, shown, tmp_path):
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}", "--dump-dom"]
    done = subprocess.run([*command, f"{hub.endpoint}/{shown[0]}"], capture_output=True, timeout=120)
    page = Page(done.stdout)
    assert (
        page.tags.count("h2") == 5
        and "script" not in page.tags
        and page.links[ODD].startswith(f"/{shown[0]}/resolve/")
    )
    assert "<script>alert('card')</script>" in page.text
