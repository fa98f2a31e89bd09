"""A running Hub for the whole folder, with accounts alice, bob and the organization acme (member: alice)."""

import http.client
import itertools
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

os.environ.setdefault("HF_HUB_DISABLE_XET", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
os.environ.setdefault("HF_HOME", tempfile.mkdtemp(prefix="hf-dd-test-home-"))

import pytest
from huggingface_hub import HfApi

from hf_dd.local_hub import LocalHub

REPOSITORY_ROOT = Path(__file__).resolve().parents[2]


class Answer:
    """What a raw request got: status, headers, body."""

    def __init__(self, response):
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()

    def json(self):
        return json.loads(self.body)


def raw_request(endpoint, method, path, token=None, body=None, headers=None):
    """One HTTP request without any Hub client, for what the clients don't show."""
    connection = http.client.HTTPConnection(urlsplit(endpoint).netloc, timeout=30)
    authorization = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        connection.request(method, path, body=body, headers=authorization | (headers or {}))
        return Answer(connection.getresponse())
    finally:
        connection.close()


def run_python(script, *arguments, environment=None, timeout=120):
    """Run a script in a fresh interpreter that finds this checkout; returns its standard output."""
    variables = os.environ | {"PYTHONPATH": str(REPOSITORY_ROOT)} | (environment or {})
    command = [sys.executable, "-c", script, *map(str, arguments)]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


@pytest.fixture(scope="session")
def hub(tmp_path_factory):
    root = tmp_path_factory.mktemp("hub")
    with LocalHub(root, user="alice", token="hf_alice", users={"bob": "hf_bob"}, orgs={"acme": ["alice"]}) as running:
        yield running


@pytest.fixture(scope="session")
def api(hub):
    return HfApi(endpoint=hub.endpoint, token="hf_alice")


@pytest.fixture(scope="session")
def other_api(hub):
    return HfApi(endpoint=hub.endpoint, token="hf_bob")


@pytest.fixture(scope="session")
def anonymous_api(hub):
    return HfApi(endpoint=hub.endpoint, token=False)


@pytest.fixture(scope="session")
def new_repo(api):
    """Create a repository of alice with a name of its own; returns its id."""
    numbers = itertools.count()

    def create(repo_type="model", **options):
        return api.create_repo(f"alice/repo-{next(numbers)}", repo_type=repo_type, **options).repo_id

    return create


@pytest.fixture
def request_hub(hub):
    def request(method, path, **options):
        return raw_request(hub.endpoint, method, path, **options)

    return request
