"""What a data set that is too small to plan on is told to change: only what was given."""

import pytest

from hf_dd.errors import DataError
from hf_dd.planning.measurements import require_validation
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
