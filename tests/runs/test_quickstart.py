"""The quickstart's embedded Hub: its clients get their whole environment, in whatever order that is printed."""

import re
import subprocess

import pytest
from huggingface_hub import HfApi

from hf_dd.errors import HfDdError
from hf_dd.runs import quickstart

SERVE = """
import sys
from hf_dd.cli import main
from hf_dd.local_hub import LocalHub

own = LocalHub.environment
LocalHub.environment = lambda self: dict({order}(own(self).items()))
main(sys.argv[1:])
"""


@pytest.mark.parametrize("order", ["list", "sorted", "reversed", "lambda items: [*items][3:]"])
def test_the_order_of_the_exports_decides_nothing(order, tmp_path, hub, monkeypatch):
    class Popen(subprocess.Popen):
        def __init__(self, command, **options):
            super().__init__([command[0], "-c", SERVE.replace("{order}", f"({order})"), *command[3:]], **options)

    monkeypatch.setattr(quickstart.subprocess, "Popen", Popen)
    said = []
    with quickstart.embedded_hub(tmp_path / "hub", said.append) as environment:
        if order.startswith("lambda"):
            assert len(environment) == len(hub.environment()) - 3
        else:
            assert environment.keys() == hub.environment().keys()
            assert HfApi(environment["HF_ENDPOINT"], environment["HF_TOKEN"]).whoami()["name"] == "local"
    assert [line for line in said if line.startswith("export HF_HUB_DISABLE_XET=1")]


def test_a_hub_that_does_not_start_is_an_error(tmp_path):
    (tmp_path / "hub").write_text("in the way")
    with pytest.raises(HfDdError, match="The embedded Hub didn't start"):
        with quickstart.embedded_hub(tmp_path / "hub", lambda line: None):
            pass


def test_what_an_earlier_quickstart_left_is_removed_by_the_command_that_is_printed(tmp_path, monkeypatch):
    class Started(Exception):
        pass

    def started(*arguments):
        raise Started

    monkeypatch.setattr(quickstart, "embedded_hub", started)
    for name in ("letters", "hub"):
        (tmp_path / "my outputs" / name / "below").mkdir(parents=True)
    (tmp_path / "my outputs/own").mkdir()
    with pytest.raises(HfDdError, match="there already") as error:
        quickstart.run(str(tmp_path / "my outputs"))
    subprocess.run(re.search("`(.*)`", str(error.value))[1], shell=True, check=True)
    assert [path.name for path in (tmp_path / "my outputs").iterdir()] == ["own"]
    with pytest.raises(Started):
        quickstart.run(str(tmp_path / "my outputs"))
