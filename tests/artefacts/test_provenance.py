"""The commit that results say they were made at."""

import subprocess
from pathlib import Path

import pytest

from hf_dd import __version__
from hf_dd.artefacts import provenance

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def fresh():
    provenance.commit.cache_clear()
    yield
    provenance.commit.cache_clear()


def git(folder, *words):
    own = ["-c", "user.name=a", "-c", "user.email=a@b"]
    return subprocess.run(
        ["git", "-C", folder, *own, *words], check=True, capture_output=True, text=True
    ).stdout.strip()


def test_a_checkout_says_its_commit_and_whether_files_were_changed(tmp_path, monkeypatch, fresh):
    monkeypatch.setattr(provenance, "PACKAGE", tmp_path / "hf_dd")
    git(tmp_path, "init", "-q")
    (tmp_path / "file").write_text("1")
    git(tmp_path, "add", "file")
    git(tmp_path, "commit", "-q", "-m", "one")
    git(tmp_path, "tag", "-a", "v1", "-m", "a tag is not a commit")
    head = git(tmp_path, "rev-parse", "HEAD")
    assert provenance.commit() == head
    assert provenance.versions()["hf-dd"] == f"{__version__} at {head}"
    provenance.commit.cache_clear()
    (tmp_path / "file").write_text("2")
    assert provenance.commit() == f"{head}-dirty"


def test_elsewhere_there_is_the_version_alone(tmp_path, monkeypatch, fresh):
    git(tmp_path, "init", "-q")  # of a project that has the package installed somewhere below
    monkeypatch.setattr(provenance, "PACKAGE", tmp_path / "venv/site-packages/hf_dd")
    assert provenance.commit() is None and provenance.versions()["hf-dd"] == __version__
    provenance.commit.cache_clear()
    monkeypatch.setattr(provenance, "PACKAGE", tmp_path / "hf_dd")  # without a commit yet
    assert provenance.commit() is None
    provenance.commit.cache_clear()
    monkeypatch.setenv("PATH", str(tmp_path))  # without git
    assert provenance.commit() is None
