"""Registries: what is read from the source is what the definitions register, and errors name what is known."""

import hashlib
import json
import sys

import pytest

from hf_dd.core import registry
from hf_dd.core.registry import ADAPTERS, NETWORKS, OBJECTIVES, PROTOCOLS, STARTS
from hf_dd.errors import ConfigError, TeacherError
from hf_dd.nn import networks
from hf_dd.teachers.pool import TeacherPool
from tests.factories import local_teacher, make_data

FILLED = [OBJECTIVES, NETWORKS, ADAPTERS, STARTS, PROTOCOLS]
OBJECTIVE = """
from hf_dd.core.registry import OBJECTIVES
from hf_dd.objectives import Objective, Published


class Mine(Objective):
    published = Published(iterations=3)


@OBJECTIVES.register("strange", title="a strange method", teachers="They looked on")
class Said(Mine):
    pass
"""


@pytest.mark.parametrize("known", FILLED, ids=lambda known: known.variable)
def test_the_words_in_the_source_are_those_that_are_registered(known):
    for name in known:
        known[name]
    assert known._words == {name: words for name, (_, words) in known.declared.items()}
    assert all(words["title"] for words in known._words.values())
    assert len(known) == len(list(known)) >= 3


def test_definitions_of_one_work_are_cited_alike():
    of_el2n, of_grand = OBJECTIVES.words("el2n"), OBJECTIVES.words("grand")
    assert of_grand == of_el2n | {"title": "a choice of real images (GraNd)", "same_work": "el2n"}
    assert OBJECTIVES.said("datm-tesla", "arxiv") == "2310.05773"
    assert OBJECTIVES.said("datm-tesla", "title") != OBJECTIVES.said("datm", "title")


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
    with pytest.raises(ConfigError, match="^--set_of dsaa isn't known"):
        OBJECTIVES.find("dsaa", "--set_of")
    assert OBJECTIVES.title("dsaa") == "dsaa" and OBJECTIVES.said("dsaa", "teachers") is None


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Writes a module into the working directory, which isn't on the path beforehand; forgets what it brought."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for known in FILLED:
        monkeypatch.setattr(known, "_definitions", dict(known._definitions))
        monkeypatch.setattr(known, "_words", dict(known._words))
        monkeypatch.setattr(known, "_modules", dict(known._modules))

    def write(name, text):
        (tmp_path / f"{name}.py").write_text(text)

    yield write
    for name in [name for name in sys.modules if name.startswith("strange_")]:
        del sys.modules[name]


def test_a_module_in_the_working_directory_and_a_class(module):
    module("strange_method", OBJECTIVE)
    with pytest.raises(ConfigError, match="no module is imported because a file names it"):
        OBJECTIVES.installed("strange_method:Mine")  # as a stranger's record might say
    assert "strange_method" not in sys.modules and OBJECTIVES.said("strange_method:Said", "teachers") is None
    mine = OBJECTIVES.find("strange_method:Mine")
    assert mine.__name__ == "Mine" and OBJECTIVES.installed("strange_method:Mine") is mine
    assert OBJECTIVES.title("strange_method:Mine") == "strange_method:Mine"  # its author says nothing of it
    OBJECTIVES.find("strange_method:Said")
    assert OBJECTIVES.said("strange_method:Said", "teachers") == OBJECTIVES.said("strange", "teachers")
    assert OBJECTIVES["strange"].__name__ == "Said" and list(OBJECTIVES)[0] == "cim"


def test_whose_a_definition_is(module, monkeypatch):
    module("strange_method", OBJECTIVE)
    OBJECTIVES.find("strange_method:Mine")
    origin = registry.origins([(OBJECTIVES, "strange_method:Mine"), (OBJECTIVES, "dm"), (STARTS, "never heard of")])
    digest = hashlib.sha256(OBJECTIVE.encode()).hexdigest()
    assert origin == {"objective strange_method:Mine": {"module": "strange_method", "sha256": digest}}
    assert registry.origins_in_words(origin).startswith("objective `strange_method:Mine` of the module strange_method")
    assert OBJECTIVES.origin("strange") == origin["objective strange_method:Mine"]
    PROTOCOLS.register("typed", title="typed")(PROTOCOLS["dc"].with_changes(epochs=3))
    monkeypatch.delattr(sys.modules[__name__], "__file__")  # as if this were an interpreter
    assert PROTOCOLS.origin("typed") == {"module": __name__}


@pytest.mark.parametrize(
    ("known", "text", "words"),
    [
        (OBJECTIVES, "class Mine: pass", "it has to be a subclass of hf_dd.objectives.Objective"),
        (OBJECTIVES, "def Mine(config): pass", "it has to be a subclass"),
        (OBJECTIVES, OBJECTIVE.replace("published = ", "other = "), "has to give its settings as `published = "),
        (NETWORKS, "import torch; Mine = torch.nn.Linear", "has to be a function that adds layers"),
        (NETWORKS, "def Mine(trunk, width): pass", "with its options as keyword defaults"),
        (NETWORKS, "def Mine(): pass", "has to be a function that adds layers"),
        (ADAPTERS, "def Mine(folder): pass", "has to be a hf_dd.teachers.adapters.Adapter"),
        (STARTS, "Mine = 3", "has to be a function of a hf_dd.synthetic.start.Request"),
        (STARTS, "class Mine: pass", "has to be a function of a hf_dd.synthetic.start.Request"),
        (PROTOCOLS, "Mine = dict(epochs=3)", "has to be a hf_dd.evaluation.protocols.Protocol"),
    ],
)
def test_what_is_of_another_kind_is_one_error(module, known, text, words):
    module("strange_kind", text)
    with pytest.raises(ConfigError, match=f"{known.option} strange_kind:Mine: strange_kind:Mine is no .*{words}"):
        known.find("strange_kind:Mine")
    assert "strange_kind:Mine" not in known


@pytest.mark.parametrize("record", [True, False])
def test_a_teachers_config_imports_no_module(module, tmp_path, record):
    module("strange_net", "def Mine(trunk): trunk.connect(3)")
    folder = tmp_path / "teacher"
    local_teacher(folder, make_data())
    config = json.loads((folder / "config.json").read_text()) | {"architecture": "strange_net:Mine"}
    (folder / "config.json").write_text(json.dumps(config))
    if not record:
        (folder / "hf_dd.json").unlink()
    for trusted in ((), (str(folder),)):
        with pytest.raises(TeacherError, match="no module is imported because" if record else "timm can't build"):
            TeacherPool.from_references([str(folder)], trusted=trusted)
    assert "strange_net" not in sys.modules


def test_an_architecture_that_the_user_named_is_known_from_then_on(module, tmp_path):
    text = (
        "from torch import nn\n\ndef Mine(trunk, width=3): trunk.add(nn.Conv2d(trunk.channels, width, 2), nn.GELU())"
    )
    module("strange_net", text)
    data = make_data(size=6)
    network = networks.build("strange_net:Mine", **data.network_shape, seed=0, width=4)
    assert network.feature_size == 4 * 5 * 5 and network.training
    assert network.config["width"] == 4 and network(data.normalise(data.train.images[:2])).shape == (2, 3)
    networks.save(network, tmp_path / "saved")
    assert networks.load(tmp_path / "saved").config == network.config
    with pytest.raises(ConfigError, match="strange_net:Mine takes images from 2×2 pixels"):
        networks.build("strange_net:Mine", in_channels=1, num_classes=2, image_size=1)


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
