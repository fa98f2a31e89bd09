"""A record is what its dataclass says, down to its parts, or one error says what it isn't."""

import os
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NotRequired, TypedDict

import pytest

from hf_dd.core import files, json_records
from hf_dd.errors import RunError


class Facts(TypedDict):
    count: int
    note: NotRequired[str | None]


@dataclass(frozen=True)
class Part:
    title: str
    share: float = 0.5


@dataclass(frozen=True)
class Form:
    name: str
    size: int
    share: float
    parts: list[dict[str, Any]]
    about: dict[str, str] | None = None
    done: bool = False
    names: list[str] = ()
    facts: Facts | None = None
    owners: list[Annotated[dict[str, Any], Part]] = ()
    mean: tuple[float, ...] = ()
    kind: Literal["each", "mean"] = "mean"


GOOD = {"name": "a", "size": 3, "share": 1, "parts": [{}], "about": {"x": "y"}}


def test_a_record_is_read_as_its_dataclass(tmp_path):
    path = tmp_path / "record.json"
    files.write_json(path, GOOD)
    assert json_records.as_record(json_records.read_json(path), Form, "it") == Form(**GOOD)
    assert json_records.read_json(path, size=int, about=dict | None) == GOOD


@pytest.mark.parametrize(
    "wrong, words",
    [
        ({"size": "3"}, "size is '3'"),
        ({"size": 3.5}, "size is 3.5"),
        ({"size": True}, "size is True"),
        ({"share": "half"}, "share is 'half'"),
        ({"name": None}, "name is None"),
        ({"parts": {"a": 1}}, "parts is {'a': 1}"),
        ({"about": []}, r"about is \[\]"),
        ({"done": 1}, "done is 1"),
        ({"more": 1}, ".* unexpected keyword argument 'more'"),
        ({"name": None, "size": None}, "name is None, size is None"),
        ({"names": ["a", 1, None]}, r"names\[1\] is 1, names\[2\] is None"),
        ({"about": {"x": 1}}, "about.x is 1"),
        ({"facts": {"note": "n"}}, "it lacks facts.count"),
        ({"facts": {"count": 1, "note": 2}}, "facts.note is 2"),
        ({"owners": [{"title": "t"}, {"share": 1}]}, r"it lacks owners\[1\].title"),
        ({"owners": [{"title": "t", "share": "x"}]}, r"owners\[0\].share is 'x'"),
        ({"owners": [5]}, r"owners\[0\] is 5"),
        ({"mean": [0.1, None]}, r"mean\[1\] is None"),
        ({"kind": "all"}, "kind is 'all'"),
        ({"share": float("nan")}, "share is nan"),
        ({"share": 10**400}, "share is 1000000*"),
        ({"size": 2**64}, "size is 18446744073709551616"),
        ({"names": [1] * 1000}, r"names\[0\] is 1, .*, … \(1000 in all\)"),
    ],
)
def test_a_field_that_isnt_right_is_named_with_its_file(tmp_path, wrong, words):
    path = tmp_path / "record.json"
    files.write_json(path, GOOD | wrong)
    with pytest.raises(RunError, match=f"{path} isn't a record of this version of hf-dd: {words}.$"):
        json_records.as_record(json_records.read_json(path), Form, str(path))


def test_a_missing_field_is_named(tmp_path):
    path = tmp_path / "record.json"
    files.write_json(path, {"name": "a", "parts": []})
    with pytest.raises(RunError, match=f"{path} .*: it lacks size, name is 'a'.$"):
        json_records.read_json(path, size=int, name=int, parts=list)
    with pytest.raises(
        RunError, match="^it isn't a record .* missing 2 required positional arguments: 'size' and 'share'"
    ):
        json_records.as_record(json_records.read_json(path), Form, "it")
    with pytest.raises(RunError, match="^it isn't a record of hf-dd: it holds list, not dict.$"):
        json_records.as_record([], Form, "it")


@pytest.mark.parametrize(
    "text, words",
    [
        (b"{", "isn't valid JSON"),
        (b"\xff\xfe", "isn't valid JSON"),
        (b"[1]", "it holds list, not dict"),
        (None, "No such"),
        (b"[" * 100_000, "nested deeper than 64 levels"),
        (b'{"a": ' * 65 + b"1" + b"}" * 65, "nested deeper than 64 levels"),
        (b'{"a": "\\ud800"}', "isn't valid JSON .*surrogates not allowed"),
        (b'{"\\ud800": 1}', "isn't valid JSON .*surrogates not allowed"),
        (b" " * (2**24 + 1), "larger than a record"),
        (b"9" * 5000, "isn't valid JSON"),
    ],
)
def test_a_file_that_is_no_record_is_named(tmp_path, text, words):
    path = tmp_path / "record.json"
    if text is not None:
        path.write_bytes(text)
    with pytest.raises(RunError, match=f"{path} .*{words}"):
        json_records.read_json(path)


def test_what_is_no_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "record.json")
    with pytest.raises(RunError, match="isn't a file"):
        json_records.read_json(tmp_path / "record.json")
