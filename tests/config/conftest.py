"""What tests of the ways out of messages share."""

import pytest

from tests.config.stock import Stock
from tests.importing.conftest import trained_once

CLASSIFIERS = {}


@pytest.fixture(scope="session")
def stock(tmp_path_factory, tiny_teachers):
    """Sets, teachers and data that rows name, each made when the first row names it."""
    return Stock(tmp_path_factory.mktemp("stock"), tiny_teachers)


@pytest.fixture(scope="module")
def one_classifier():
    """The classifiers that see the order of classes are trained once for all of these tests."""
    with trained_once(CLASSIFIERS):
        yield
