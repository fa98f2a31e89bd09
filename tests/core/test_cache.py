"""What is kept is what was written, or it is computed anew: no damage becomes a result."""

import logging

import pytest

from hf_dd.core import cache


def test_a_result_is_recalled_as_it_was_kept(tmp_path):
    path = tmp_path / "scores" / "a.json"
    assert cache.recall(path) is None
    cache.keep(path, [50.25, None])
    assert cache.recall(path) == [50.25, None]
    assert cache.remembered(path, lambda: pytest.fail("it was kept")) == [50.25, None]


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text.replace("50.25", "51.25"),
        lambda text: text[:20],
        lambda text: "",
        lambda text: "[50.25]",
        lambda text: "[" * 100_000,
        lambda text: text.replace("digest", "other"),
        lambda text: "null",
    ],
)
def test_a_damaged_result_is_computed_anew_and_said(tmp_path, damage, caplog):
    path = tmp_path / "a.json"
    cache.keep(path, [50.25])
    path.write_text(damage(path.read_text()))
    with caplog.at_level(logging.WARNING):
        assert cache.remembered(path, lambda: [7]) == [7]
    assert str(path) in caplog.text and cache.recall(path) == [7]
