"""What a data set that is too small to plan on is told to change: only what was given."""

import pytest

from hf_dd.config import DistillConfig
from hf_dd.core.processes import new_accelerator
from hf_dd.data.image_data import load_data
from hf_dd.errors import DataError
from hf_dd.planning import measurements
from hf_dd.planning.measurements import Measurements, require_validation
from tests.factories import make_data


@pytest.mark.parametrize(
    "smallest, ipc, factor, advice",
    [
        (1, 1, None, "Give the options themselves without --minutes."),
        (4, 1, 2, "Give a smaller --factor, or the options"),
        (2, 2, None, "Give a smaller ipc, or the options"),
        (8, 2, 2, "Give a smaller ipc, a smaller --factor, or the options"),
    ],
)
def test_the_advice_names_what_can_be_made_smaller(smallest, ipc, factor, advice):
    with pytest.raises(DataError, match=f"has {smallest} training images, too few to plan on.* {advice}"):
        require_validation(make_data((smallest, 9)), ipc, factor)


@pytest.mark.parametrize(("factor", "each"), [(None, 50), (7, 98)])  # twice as many as an image has tiles at most
def test_of_large_sets_a_part_is_planned_on(tmp_path, monkeypatch, factor, each):
    def held():
        config = DistillConfig(dataset="digits", ipc=1, minutes=1, factor=factor)
        return Measurements(config, load_data("digits"), new_accelerator("no"), tmp_path, 0.0).held

    whole = held()
    monkeypatch.setattr(measurements, "TRAINED", 200)
    monkeypatch.setattr(measurements, "TESTED", 50)
    part = held()
    assert whole.train.labels.bincount().min() > each and set(part.train.labels.bincount().tolist()) == {each}
    assert len(whole.test) == 143 and part.test.labels.bincount().tolist() == [5] * 10
