"""Starting, stopping, and where the server may listen."""

import os
import signal
import subprocess
import sys

import pytest
from huggingface_hub import HfApi

from hf_dd.cli import main
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


# ---- the command line


def hf_dd(*arguments, timeout=60, **options):
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY_ROOT)}
    command = [sys.executable, "-m", "hf_dd", *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=timeout, **options)


def told(arguments):
    """The one clear line with which a command is refused."""
    with pytest.raises(SystemExit) as ended:
        main(list(map(str, arguments)))
    assert isinstance(ended.value.code, str) and ended.value.code.startswith("hf-dd: error: ")
    assert "\n" not in ended.value.code
    return ended.value.code


def test_a_server_that_others_reach_has_a_token_of_its_own(tmp_path):
    tokens = set()
    for _ in range(5):
        with LocalHub(tmp_path, host="0.0.0.0", allow_remote=True) as hub:
            token = hub.environment()["HF_TOKEN"]
            tokens.add(token)
            assert len(token) > 30
            assert raw_request(hub.endpoint, "GET", "/api/whoami-v2", token="hf_local").status == 401
            assert raw_request(hub.endpoint, "GET", "/api/whoami-v2", token=token).status == 200
    assert len(tokens) == 5
    assert LocalHub(tmp_path, allow_remote=True, token="hf_mine").tokens == {"local": "hf_mine"}
    assert LocalHub(tmp_path).tokens == {"local": "hf_local"}
    with pytest.raises(ConfigError, match="everybody knows"):
        LocalHub(tmp_path, allow_remote=True, token="hf_local")


@pytest.mark.multi_process
@pytest.mark.parametrize("options", [["--allow_remote", "--host", "0.0.0.0"], ["--token", "hf_my'$own"], []])
def test_what_serve_prints_makes_a_shell_a_client(tmp_path, options):
    root = tmp_path / "a 'folder' & more"
    command = [sys.executable, "-m", "hf_dd", "hub", "serve", str(root), "--port", "0", *options]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY_ROOT)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as server:
        try:
            lines = list(iter(server.stdout.readline, "# The Hub answers until it is interrupted.\n"))
            ask = "import huggingface_hub as h; print(h.whoami()['name'], h.get_token(), h.constants.HF_HUB_CACHE)"
            script = "".join(lines) + f'"{sys.executable}" -c "{ask}"'
            name, token, cache = subprocess.run(["sh", "-c", script], capture_output=True, text=True).stdout.split(
                maxsplit=2
            )
        finally:
            server.terminate()
    assert name == "local" and cache.strip() == f"{root}/client-cache/hub"
    assert token == "hf_my'$own" if "--token" in options else (token == "hf_local") == (not options)


@pytest.mark.parametrize("port", [-1, 65536, 99999])
def test_ports_are_checked(tmp_path, port):
    for action in (["serve", tmp_path / "hub"], ["run", tmp_path / "hub", "--", "true"]):
        assert "65535" in told(["hub", *action[:2], "--port", port, *action[2:]])
    with pytest.raises(ConfigError, match="65535"):
        LocalHub(tmp_path, port=port)
    assert not (tmp_path / "hub").exists()


@pytest.mark.parametrize(
    "name", ["a b", "a/b", "..", "datasets", "api", "collections", "é", "-x", "a--b", "x" * 97, "a\nb"]
)
def test_names_of_accounts_are_checked(tmp_path, name):
    assert "can't be a user" in told(["hub", "run", tmp_path / "hub", f"--user={name}", "--", "true"]).replace(
        "\\n", ""
    )
    for accounts in ({"user": name}, {"users": {name: "hf_x"}}, {"orgs": {name: []}}):
        with pytest.raises(ConfigError, match="can't be a user or organization"):
            LocalHub(tmp_path / "hub", **accounts)
    assert not (tmp_path / "hub").exists()


@pytest.mark.parametrize("token", ["", "a b", "é", "a\nb", "x" * 201])
def test_tokens_are_checked(tmp_path, token):
    with pytest.raises(ConfigError, match="token of local"):
        LocalHub(tmp_path, token=token)


def test_a_folder_that_cant_be_a_hub_is_named(tmp_path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign/hub.sqlite").write_text("no database, but a text of some length")
    (tmp_path / "folder/hub.sqlite").mkdir(parents=True)
    (tmp_path / "half").mkdir()
    (tmp_path / "half/repositories").write_text("x")
    for root in ("file", "file/below", "foreign", "folder", "half", "x" * 300, "/proc/none"):
        assert str(tmp_path / root) in told(["hub", "run", tmp_path / root, "--", "true"])
        assert str(tmp_path / root) in told(["hub", "serve", tmp_path / root, "--port", "0"])
    assert (tmp_path / "file").read_text() == "x"


@pytest.mark.parametrize("host", ["a" * 300, "no.such.host.invalid", "1.2.3.4.5", "a b"])
def test_hosts_are_checked(tmp_path, host):
    assert "can't listen on" in told(["hub", "serve", tmp_path / "hub", f"--host={host}"])


def test_a_command_that_cant_run_is_told_before_a_hub_is_made(tmp_path):
    plain, script = tmp_path / "plain.py", tmp_path / "script"
    plain.write_text("print(1)")
    script.write_text("print(1)")
    script.chmod(0o755)
    for command, why in {
        "nonesuch": "isn't there",
        tmp_path: "isn't a file",
        plain: "isn't a file",
        f"{plain}/x": "isn't",
    }.items():
        line = told(["hub", "run", tmp_path / "hub", "--", command])
        assert why in line and str(command) in line
    assert not (tmp_path / "hub").exists()
    assert "can't be run" in told(["hub", "run", tmp_path / "hub", "--", script])  # it has no first line
    assert "needs a command" in told(["hub", "run", tmp_path / "hub"]) or "give a command" in told(
        ["hub", "run", tmp_path]
    )


@pytest.mark.multi_process
def test_run_ends_as_its_command_ends(tmp_path):
    for script, status in (("exit 0", 0), ("exit 3", 3), ("kill -9 $$", 137), ("kill -15 $$", 143)):
        done = hf_dd("hub", "run", tmp_path, "--", "sh", "-c", script)
        assert (done.returncode, done.stderr) == (status, "")


@pytest.mark.multi_process
def test_run_hands_a_sigterm_on_and_outlives_its_command(tmp_path):
    script = """
import os, signal, sys, time, urllib.request
def end(*_):
    print(urllib.request.urlopen(os.environ["HF_ENDPOINT"] + "/api/models").status, flush=True)
    sys.exit(5)
signal.signal(signal.SIGTERM, end)
print("ready", flush=True)
time.sleep(60)
"""
    command = [sys.executable, "-m", "hf_dd", "hub", "run", str(tmp_path), "--", sys.executable, "-c", script]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY_ROOT)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout.readline() == "ready\n"
        running.terminate()
        assert running.stdout.read() == "200\n" and running.wait(15) == 5
