"""What tests of the ways out of messages share."""

import pytest

from tests.config.ways import Stock


@pytest.fixture(scope="session")
def stock(tmp_path_factory, tiny_teachers):
    """Sets, teachers and data that rows name, each made when the first row names it."""
    return Stock(tmp_path_factory.mktemp("stock"), tiny_teachers)
