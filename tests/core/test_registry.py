"""Registries: what is read from the source is what the definitions register, and errors name what is known."""

import sys

import pytest

from hf_dd.core import registry
from hf_dd.core.registry import NETWORKS, OBJECTIVES, PROTOCOLS, STARTS
from hf_dd.errors import ConfigError

FILLED = [OBJECTIVES, NETWORKS, STARTS, PROTOCOLS]


@pytest.mark.parametrize("known", FILLED, ids=lambda known: known.variable)
def test_the_words_in_the_source_are_those_that_are_registered(known):
    for name in known:
        known[name]
    assert known._words == {name: words for name, (_, words) in known.declared.items()}
    assert all(words["title"] for words in known._words.values())
    assert len(known) == len(list(known)) >= 5


def test_a_protocol_has_one_name():
    assert all(PROTOCOLS[name].name == name for name in PROTOCOLS)


def test_names_and_words_need_no_torch(run_python):
    code = (
        "import sys; from hf_dd.core.registry import OBJECTIVES; print(OBJECTIVES.title('dm'), 'torch' in sys.modules)"
    )
    assert run_python("-c", code).stdout == "distribution matching (DM) False\n"


def test_an_unknown_name_lists_the_known_ones_the_nearest_first():
    with pytest.raises(ConfigError, match="--objective dsaa isn't known; known are: dsa, "):
        OBJECTIVES.find("dsaa")
    assert OBJECTIVES.title("dsaa") == "dsaa" and OBJECTIVES.said("dsaa", "teachers") is None


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Writes a module into the working directory, which isn't on the path beforehand."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))

    def write(name, text):
        (tmp_path / f"{name}.py").write_text(text)

    yield write
    for name in [name for name in sys.modules if name.startswith("strange_")]:
        del sys.modules[name]


def test_a_module_in_the_working_directory_and_a_class(module, monkeypatch):
    module("strange_method", "class Mine: pass")
    monkeypatch.setattr(OBJECTIVES, "_definitions", dict(OBJECTIVES._definitions))
    with pytest.raises(ConfigError, match="isn't known"):
        OBJECTIVES.installed("strange_method:Mine")  # as a stranger's config.json might say
    mine = OBJECTIVES.find("strange_method:Mine")
    assert mine.__name__ == "Mine" and OBJECTIVES.installed("strange_method:Mine") is mine
    assert OBJECTIVES.title("strange_method:Mine") == "strange_method:Mine"  # its author says nothing of it
    origin = OBJECTIVES.origin("strange_method:Mine")
    assert origin["module"] == "strange_method" and len(origin["sha256"]) == 64
    assert OBJECTIVES.origin("dm") is None


@pytest.mark.parametrize(
    ("text", "name", "words"),
    [
        ("", "strange_gone:Mine", "ModuleNotFoundError"),
        ("1 / 0", "strange_broken:Mine", "ZeroDivisionError"),
        ("import sys; sys.exit(3)", "strange_broken:Mine", "SystemExit"),
        ("", "strange_broken:Mine", "has no attribute 'Mine'"),
        ("", "strange_broken:", "has no attribute ''"),
    ],
)
def test_what_cannot_be_loaded_is_one_error(module, text, name, words):
    module("strange_broken", text)
    with pytest.raises(ConfigError, match=f"--objective {name}: .*{words}"):
        OBJECTIVES.find(name)


def test_a_name_that_is_taken():
    known = registry.Registry("KNOWN", "thing", "--thing", "metrics")
    known.register("one", title="one")(int)
    known.register("one", title="one")(int)  # the module is imported again
    with pytest.raises(ConfigError, match="'one' is registered twice"):
        known.register("one", title="another")(float)
