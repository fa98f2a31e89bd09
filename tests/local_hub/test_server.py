"""Starting, stopping, and where the server may listen."""

import os
import signal
import subprocess
import sys

import pytest
from huggingface_hub import HfApi

from hf_dd.errors import ConfigError, HfDdError, HubError
from hf_dd.local_hub import LocalHub
from tests.local_hub.conftest import REPOSITORY_ROOT, raw_request, run_python
from tests.local_hub.test_durability import SERVER


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_hosts_that_others_can_reach_are_refused(tmp_path, host):
    with pytest.raises(ConfigError, match="won't listen"):
        LocalHub(tmp_path, host=host)


def test_remote_access_can_be_allowed(tmp_path):
    with LocalHub(tmp_path, host="0.0.0.0", allow_remote=True) as hub:
        assert hub.endpoint.startswith("http://127.0.0.1:")
        assert raw_request(hub.endpoint, "GET", "/api/models").json() == []


def test_a_taken_port_and_an_unknown_host_are_told(hub, tmp_path):
    with pytest.raises(HubError, match="can't listen"):
        LocalHub(tmp_path, port=int(hub.endpoint.rsplit(":", 1)[1])).start()
    with pytest.raises(ConfigError, match="no.such.host"):
        LocalHub(tmp_path, host="no.such.host.invalid")


def test_clashing_accounts_are_refused(tmp_path):
    for accounts in (
        {"users": {"bob": "hf_local"}},
        {"orgs": {"local": []}},
        {"orgs": {"acme": ["nobody"]}},
    ):
        with pytest.raises(ConfigError):
            LocalHub(tmp_path, **accounts).start()


def test_everything_is_there_after_a_restart(tmp_path):
    hub = LocalHub(tmp_path)
    with hub:
        api = HfApi(endpoint=hub.endpoint, token="hf_local")
        api.create_repo("local/kept", private=True)
        commit = api.upload_file(path_or_fileobj=b"large", path_in_repo="a.bin", repo_id="local/kept").oid
        slug = api.create_collection("Kept", namespace="local").slug
        api.add_collection_item(slug, "local/kept", "model", note="note")
    with pytest.raises(HubError, match="isn't running"):
        _ = hub.endpoint
    with hub:
        api = HfApi(endpoint=hub.endpoint, token="hf_local")
        assert api.model_info("local/kept").sha == commit and api.model_info("local/kept").private
        with open(api.hf_hub_download("local/kept", "a.bin", cache_dir=tmp_path / "cache"), "rb") as file:
            assert file.read() == b"large"
        assert api.get_collection(slug).items[0].note == "note"


def test_the_environment_keeps_clients_apart_from_the_real_hub(hub):
    environment = hub.environment()
    assert environment["HF_ENDPOINT"] == hub.endpoint and environment["HF_TOKEN"] == "hf_alice"
    assert hub.environment("bob")["HF_TOKEN"] == "hf_bob"
    for name in ("HF_HOME", "HF_HUB_CACHE", "HF_DATASETS_CACHE"):
        assert environment[name].startswith(str(hub.root))
    script = "import huggingface_hub as h; print(h.whoami()['name'], h.constants.HF_HUB_CACHE)"
    name, cache = run_python(script, environment=environment).split()
    assert name == "alice" and cache.startswith(str(hub.root))


@pytest.mark.multi_process
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serve_ends_cleanly_on_a_signal(tmp_path, number):
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY_ROOT)}
    command = [sys.executable, "-c", SERVER, str(tmp_path)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, env=environment, text=True, **pipes) as server:
        endpoint = server.stdout.readline().strip()
        assert raw_request(endpoint, "GET", "/api/models").status == 200
        server.send_signal(number)
        assert server.wait(15) == 0
        assert server.stderr.read() == ""
    LocalHub(tmp_path).start().stop()


@pytest.mark.multi_process
@pytest.mark.parametrize("missing", ["dulwich", "starlette", "uvicorn"])
def test_a_missing_extra_is_named(missing):
    script = """
import sys
sys.modules[sys.argv[1]] = None
try:
    import hf_dd.local_hub
except Exception as error:
    print(type(error).__mro__[1].__name__, error)
"""
    told = run_python(script, missing)
    assert told.startswith(HfDdError.__name__) and missing in told and 'pip install "hf-dd[local-hub]"' in told
