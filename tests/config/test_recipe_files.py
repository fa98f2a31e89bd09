"""Recipes: what each of hf_dd's says, how files build on each other, and where a name is looked for."""

import dataclasses
import json
from pathlib import Path

import pytest

from hf_dd.config import DistillConfig, EvaluateConfig, PretrainConfig, yaml_files
from hf_dd.config.parsing import parse_config
from hf_dd.config.recipes import built_in, find, find_study, methods_of, read_recipe
from hf_dd.core.resources import resource
from hf_dd.errors import ConfigError

OPTIONS = {config: [field.name for field in dataclasses.fields(config)] for config in (DistillConfig, PretrainConfig)}
OPTIONS[EvaluateConfig] = [field.name for field in dataclasses.fields(EvaluateConfig)]
EVERY = sorted({name for names in OPTIONS.values() for name in names})
NAMES = [f"{path.stem}-{method}" for path in built_in("recipes") for method in methods_of(path)]
BEFORE = json.loads((Path(__file__).resolve().parents[1] / "fixtures/recipes.json").read_text())


def as_given(options):
    """Options as lists of numbers and words: 300 is [300.0], "5.0e-3" is [0.005], and what is None is left out."""
    return {
        key: list(map(read, value if isinstance(value, list) else [value]))
        for key, value in options.items()
        if value is not None
    }


def read(word):
    try:
        return float(str(word))
    except ValueError:
        return str(word).lower()


def parse(name, config=DistillConfig, *more):
    return parse_config(config, ["--config", str(name), *more], command="hf-dd")


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write files of a folder that is the working directory."""
    monkeypatch.chdir(tmp_path)

    def write(**files):
        for name, text in files.items():
            (tmp_path / name.replace("_", ".")).write_text(text)
        return tmp_path

    return write


NEW = {f"{data}-experts-{kind}" for data in ("cifar10", "cifar100") for kind in ("zca", "datm")}
NEW |= {
    f"{data}-{name}" for data in ("cifar10", "cifar100", "digits", "fashion-mnist") for name in ("datm", "datm-tesla")
}
FRONTIER = ("cim", "dance", "fadrm", "idc", "ncfm", "sfm")
NEW |= {f"{data}-{name}" for data in ("digits", "fashion-mnist") for name in FRONTIER}
NEW |= {"imagenet-1k-cim", "digits-teacher-score-hard", "fashion-mnist-teacher-score-hard"}
MENDED = {  # what they say now is compared with the papers in test_published.py
    *("cifar10-mtt", "cifar10-tesla", "cifar100-mtt", "cifar100-tesla", "tiny-imagenet-mtt", "tiny-imagenet-tesla"),
    *("imagenet-1k-rded", "imagenet-1k-sre2l", "imagenet-1k-tesla"),
    "fashion-mnist-lgm",  # no paper's cell
}


def test_there_are_as_many_recipes_as_before_they_stood_in_one_file_per_data_set():
    assert sorted({*NAMES} - NEW) == sorted(BEFORE) and len(NAMES) == 82 + len(NEW)


@pytest.mark.parametrize("name", sorted(BEFORE.keys() - MENDED))
def test_a_recipe_says_what_it_said_in_a_file_of_its_own(name):
    """Then the paper's start and augmentation were all that there was, and every image seen by its own statistics."""
    now = read_recipe(name, EVERY)
    published, statistics = now.pop("published", "false"), now.pop("statistics", None)
    assert now.pop("augment_by", "image") == ("batch" if statistics and name.endswith("-experts") else "image")
    assert statistics == (None if name.startswith(("digits", "fashion-mnist")) else "published")
    assert as_given(now) == as_given(BEFORE[name])
    assert (published == "true") == ("objective" in now)


@pytest.mark.parametrize("name", NAMES)
def test_every_recipe_parses_into_what_it_says(name):
    content = read_recipe(name, EVERY)
    given = {key for key, value in content.items() if value is not None}
    config = next(config for config, names in OPTIONS.items() if given <= {*names})
    content = read_recipe(name, OPTIONS[config])
    needed = []
    if content.get("clom", "none") != "none" and not {"teachers", "teacher_tags", "teacher_pool"} & content.keys():
        needed = ["--teachers", "owner/name@final"]  # a guide's teachers may be left to the user
    if config is EvaluateConfig:
        needed = ["--sets", "owner/name"]
    parsed = parse(name, config, *needed)
    for key in given:
        assert as_given({key: getattr(parsed, key)}) == as_given({key: content[key]})


@pytest.mark.parametrize("path", [*built_in("recipes"), *built_in("studies")], ids=lambda path: path.stem)
def test_a_file_says_first_what_it_is(path):
    assert path.read_text().startswith("# ")


def test_a_recipe_goes_over_its_base_and_the_command_line_over_both(write):
    write(base_yaml="ipc: 3\niterations: 7\nseed: 5", derived_yaml="config: base\niterations: 8\nseed: 6")
    parsed = parse("derived.yaml", DistillConfig, "--seed", "9")
    assert (parsed.ipc, parsed.iterations, parsed.seed) == (3, 8, 9)
    write(derived_yaml="config: digits-dm\nipc: 4")
    assert parse("derived.yaml") == dataclasses.replace(parse("digits-dm"), ipc=4)


GROUP = """
base: {dataset: a, ipc: 1, seed: 1}
methods:
  one: {objective: dm, ipc: 2}
  two: {like: one, seed: 2}
  three: {like: two, ipc: 3}
  none:
"""
OTHER = """
base: {dataset: b, ipc: 5}
methods:
  one: {like: first-two}
  two: {like: one, objective: dc}
  built-in: {like: digits-dm}
"""


def test_the_methods_of_a_data_set_build_on_each_other(write):
    folder = write(first_yaml=GROUP, second_yml=OTHER)

    def read(name):
        return read_recipe(name, EVERY, folder)

    assert read("first-none") == {"dataset": "a", "ipc": "1", "seed": "1"}
    assert read("first-two") == {"dataset": "a", "ipc": "2", "seed": "2", "objective": "dm"}
    assert read("first-three") == read("first-two") | {"ipc": "3"}
    assert read("second-one") == read("first-two") | {"dataset": "b", "ipc": "5"}  # the base goes over another file's
    assert read("second-two") == read("second-one") | {"objective": "dc"}
    assert read("second-built-in") == read("digits-dm") | {"dataset": "b", "ipc": "5"}
    assert (folder / "second-one", read_recipe("./second-one", EVERY)) == (folder / "second-one", read("second-one"))


def test_of_two_files_that_may_hold_a_method_the_longer_name_is_taken(write):
    folder = write(a_yaml="methods: {b-c: {ipc: 1}, b-d: {ipc: 2}}", **{"a-b_yaml": "methods: {c: {ipc: 3}}"})
    assert [read_recipe(name, EVERY, folder)["ipc"] for name in ("a-b-c", "a-b-d")] == ["3", "2"]


# ----------------------------------------------------------------------------------------------------- where it is


def test_names_are_those_of_hf_dd_with_and_without_an_ending():
    place = (resource("scripts", "recipes", "digits.yaml"), "dm")
    assert find("digits-dm") == find("digits-dm.yaml") == find("digits-dm.yml") == place
    assert find(str(resource("scripts", "recipes", "digits-dm.yaml"))) == place  # where it was a file of its own
    assert find_study("digits-clom") == resource("scripts", "studies", "digits-clom.yaml")


@pytest.mark.parametrize("make", [Path.mkdir, lambda path: path.write_text("ipc: 23")])
def test_what_lies_in_the_working_directory_does_not_shadow_a_name(write, make):
    folder = write(digits_yaml="methods: {dm: {ipc: 23}}")
    for name in ("digits-dm", "digits-clom"):
        make(folder / name)
    assert find("digits-dm") == (resource("scripts", "recipes", "digits.yaml"), "dm")
    assert find_study("digits-clom") == resource("scripts", "studies", "digits-clom.yaml")


def test_a_path_has_a_separator_or_an_ending(write):
    folder = write(**{"digits-dm_yaml": "ipc: 23", "mine": "ipc: 24"})
    names = ("digits-dm.yaml", "./digits-dm", "./mine", folder / "mine")
    assert [parse(name).ipc for name in names] == [23, 23, 24, 24]
    meant = "no such .* There is a file mine here: give it as ./mine."
    with pytest.raises(ConfigError, match=f"--config mine: {meant} recipes of this command, nearest first: "):
        parse("mine")
    write(other_yml="ipc: 25")
    with pytest.raises(ConfigError, match=r"There is a file other.yml here: give it as ./other.yml."):
        parse("other")
    with pytest.raises(ConfigError, match=f"--study mine: {meant} studies: "):
        find_study("mine")


def test_a_file_names_what_lies_beside_it_first(write, tmp_path, monkeypatch):
    write(**{"digits-dm_yaml": "ipc: 23", "top_yaml": "config: digits-dm"})
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/own.yaml").write_text("config: ../top.yaml")
    (tmp_path / "sub/built-in.yaml").write_text("config: digits-dm")
    (tmp_path / "sub/digits-dm").write_text("ipc: 24")
    monkeypatch.chdir(resource("scripts"))
    assert parse(tmp_path / "top.yaml").ipc == parse(tmp_path / "sub/own.yaml").ipc == 23
    assert parse(tmp_path / "sub/built-in.yaml") == parse("digits-dm")


# ------------------------------------------------------------------------------------------------------ what is wrong


@pytest.mark.parametrize(
    "text, name, words",
    [
        ("ipc: 1\nseed: 2\nipc: 3", "x.yaml", ["x.yaml, line 3: 'ipc' is in line 1 already"]),
        ("{ipc: 1, ipc: 3}", "x.yaml", ["x.yaml, line 1: 'ipc' is in line 1 already"]),
        ("methods:\n  a: {ipc: 1}\n  a: {ipc: 2}", "./x-a", ["x.yaml, line 3: 'a' is in line 2 already"]),
        ("bass: {}\nmethods: {a: {}}", "./x-a", ["x.yaml: unknown key 'bass'", "'base'"]),
        ("base: {ipx: 1}\nmethods: {a: {}}", "./x-a", ["x.yaml: a: unknown key 'ipx'", "'ipc'"]),
        ("methods: {a: {lik: b}, b: {}}", "./x-a", ["x.yaml: a: unknown key 'lik'", "'like'"]),
        ("methods: {a: {config: b}, b: {}}", "./x-a", ["x.yaml: a: unknown key 'config'"]),
        ("methods: {a: {like: c}, b: {}}", "./x-a", ["--config c: no such file or recipe"]),
        ("methods: {a: {like: [b]}, b: {}}", "./x-a", ["x.yaml: a: like is ['b']", "name of a recipe"]),
        ("methods: {a: 3}", "./x-a", ["x.yaml: a has to be a mapping"]),
        ("base: 3\nmethods: {a: {}}", "./x-a", ["x.yaml: base has to be a mapping"]),
        ("methods: {a: {}, b: {}}", "x.yaml", ["x.yaml holds several recipes: name one of x-a, x-b."]),
        ("methods: {a: {}, b: {}}", "./x-c", ["--config ./x-c: no such file or recipe"]),
        ("config: [3]", "x.yaml", ["x.yaml: config is ['3']"]),
        ("config: x", "x.yaml", ["x.yaml is its own base: x.yaml → x.yaml."]),
        ("seed: !!timestamp 2001-99-99", "x.yaml", ["x.yaml isn't YAML"]),
        ("&a [*a]", "x.yaml", ["x.yaml, line 1"]),
    ],
)
def test_a_wrong_file(write, text, name, words):
    write(x_yaml=text)
    with pytest.raises(ConfigError) as error:
        parse(name)
    assert all(word in str(error.value) for word in words), error.value


def test_a_recipe_that_is_its_own_base_is_named(write):
    write(a_yaml="config: b", b_yaml="config: sub/../c-one", c_yaml="methods: {one: {like: two}, two: {like: ./a}}")
    Path("sub").mkdir()
    way = "a.yaml → b.yaml → .*c.yaml: one → .*c.yaml: two → .*a.yaml"
    with pytest.raises(ConfigError, match=f"a.yaml is its own base: {way}."):
        parse("a.yaml")
    write(x_yaml="methods: {one: {like: two}, two: {like: one}}")
    with pytest.raises(ConfigError, match="x.yaml: one is its own base: x.yaml: one → x.yaml: two → x.yaml: one."):
        parse("./x-one")


def test_merged_keys_are_not_there_twice(write):
    write(x_yaml="a: &a {ipc: 1, seed: 2}\nb: &b {<<: *a, ipc: 3}\nc: {<<: [*a, *b], seed: 5}")
    content = yaml_files.read_yaml(Path("x.yaml"))
    assert content["b"] == {"ipc": "3", "seed": "2"} and content["c"] == {"ipc": "3", "seed": "5"}
