"""A set whose images are real training images, so that what is to be found in it is known."""

import pytest

import hf_dd


@pytest.fixture(scope="session")
def real_set(tmp_path_factory):
    """Two real images of each digit, as the method 'random' chooses them."""
    folder = tmp_path_factory.mktemp("uses") / "set"
    hf_dd.distill(dataset="digits", objective="random", ipc=2, eval_students=0, output_dir=str(folder))
    return str(folder)
