"""A headless Chromium, and pages of a gallery that are opened in it without a word in their console."""

import contextlib
import os
import shutil

import pytest

from tests.gallery.synthetic import write_sets

PATHS = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="module")  # playwright's event loop seems to run in this thread for as long as it is open
def chromium():
    """The browser; where CI lacks it, a failure."""
    path = next(filter(None, map(shutil.which, PATHS)), None)
    if path is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("needs Chromium: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium):
    """Opens an address, in a window of 1,280 × 860 until told; whatever goes wrong in it fails the test at its end."""
    with contextlib.ExitStack() as opened:
        said = []

        def open_page(address, **options):
            page = chromium.new_page(**{"viewport": {"width": 1280, "height": 860}} | options)
            opened.callback(page.close)
            page.on("console", lambda message: said.append(message.text))
            page.on("pageerror", lambda error: said.append(str(error)))
            page.on("dialog", lambda dialog: (said.append(f"dialog: {dialog.message}"), dialog.dismiss()))
            page.on("requestfailed", lambda request: said.append(f"failed: {request.url[:200]}"))
            page.goto(str(address))
            page.wait_for_selector("body[data-ready]")
            return page

        yield open_page
    assert said == []


@pytest.fixture(scope="session")
def sets(tmp_path_factory):
    """The folder of 14 sets: three data sets, five methods, four of them guided by pools."""
    folder = tmp_path_factory.mktemp("gallery") / "sets"
    write_sets(folder, 14)
    return folder


@pytest.fixture(scope="session")
def site(sets, tmp_path_factory):
    """A gallery of them."""
    from hf_dd.config.gallery import GalleryBuildOptions
    from hf_dd.gallery.site import build

    output = tmp_path_factory.mktemp("gallery-site") / "site"
    build(GalleryBuildOptions(sources=[str(sets)], output=str(output)))
    return output
