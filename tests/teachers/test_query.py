"""Teachers found by a query over the paper's four options, over HTTP."""

import pytest

from hf_dd.errors import ConfigError, TeacherError
from hf_dd.teachers import query as queries
from hf_dd.teachers.pool import TeacherPool
from hf_dd.teachers.query import TeacherQuery
from tests.factories import DOMAIN, says

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize(
    "options, expected",
    [
        ({}, [(name, epoch) for name in range(3) for epoch in ("epoch-1", "epoch-2")]),
        ({"architectures": ["MLP"], "epochs": ["final"]}, [(2, "final")]),
        ({"seeds": [1]}, [(1, "epoch-1"), (1, "epoch-2")]),
        ({"seeds": [0], "epochs": [2, 1]}, [(0, "epoch-2"), (0, "epoch-1"), (2, "epoch-2"), (2, "epoch-1")]),
        ({"architectures": ["MLP", "ConvNet"], "seeds": [0], "epochs": [1, "final", 1]}, None),
        ({"architectures": ["ConvNet"], "seeds": ["1"], "epochs": ["2"], "owner": "lab"}, [(1, "epoch-2")]),
    ],
)
def test_a_query_over_the_papers_four_options(grid, options, expected):
    expected = expected or [(0, "epoch-1"), (0, "final"), (2, "epoch-1"), (2, "final")]
    names = list(grid)
    pins = TeacherQuery(domain=DOMAIN, **options).find()
    assert [(pin.repo_id, pin.revision) for pin in pins] == [(names[place], tag) for place, tag in expected]
    assert all(pin.sha == grid[pin.repo_id][pin.revision] for pin in pins)


def test_a_single_value_needs_no_list():
    one = TeacherQuery(architectures="MLP", seeds=0, epochs=4)
    assert (one.architectures, one.seeds, one.epochs) == (("MLP",), (0,), (4,)) and one
    assert TeacherQuery(epochs="final").epochs == ("final",) and not TeacherQuery(seeds=None)
    assert str(one) == str(TeacherQuery(["MLP"], [0], [4]))


def test_a_pool_is_loaded_by_a_query(grid):
    query = TeacherQuery(architectures=["ConvNet"], seeds=[0, 1], epochs=[1], domain=DOMAIN)
    pool = TeacherPool.from_query(query, in_memory=1)
    found = [(spec.architecture, spec.seed, spec.epoch, spec.sha) for spec in pool.specs]
    assert found == [("ConvNet", seed, 1, grid[f"lab/pool-convnet-{seed}"]["epoch-1"]) for seed in (0, 1)]
    assert pool.source == "architectures ConvNet, seeds 0 1, epochs 1, domain pool-digits"


def test_seeds_are_in_the_order_of_numbers_and_a_repository_without_tags_is_named(api, push, grid, unique):
    kept = {"epoch-10": "a", "epoch-9": "b", "final": "a", "v1": "c"}
    assert [pin.revision for pin in TeacherQuery()._at_epochs({"a/b": kept})] == ["epoch-9", "epoch-10"]
    assert sorted([("A", "10"), ("A", "9"), ("", "")], key=queries.in_order) == [("", ""), ("A", "9"), ("A", "10")]
    repo_id = unique()
    for tag in push(2, repo_id, domain="without-tags"):
        api.delete_tag(repo_id, tag=tag)
    with pytest.raises(TeacherError, match=f"^{repo_id} has no epoch-N; it has no epoch.$"):
        TeacherQuery(domain="without-tags").find()


@pytest.mark.parametrize(
    "options, words",
    [
        ({"domain": "no-such-domain"}, ["hf-dd-teacher dataset:no-such-domain", f"{DOMAIN}"]),
        ({"domain": DOMAIN, "owner": "bob"}, [f"dataset:{DOMAIN} and belongs to bob"]),
        (
            {"domain": DOMAIN, "seeds": [0, 7]},
            [f"no teacher of seed 7 on {DOMAIN}. There are ConvNet seed 0, ConvNet seed 1, MLP seed 0."],
        ),
        ({"domain": DOMAIN, "architectures": ["ConvNt"]}, ["no teacher of ConvNt on", "There are ConvNet seed 0"]),
        (
            {"domain": DOMAIN, "architectures": ["ConvNet", "MLP"], "seeds": [0, 1, 2]},
            ["no teacher of ConvNet seed 2, MLP seed 1, MLP seed 2 on"],
        ),
        (
            {"domain": DOMAIN, "seeds": [0], "epochs": [1, 10, "final"]},
            [
                "lab/pool-convnet-0 has no epoch-10; it has epoch-1, epoch-2, final.",
                "lab/pool-mlp-0 has no epoch-10; it has epoch-1, epoch-2, final.",
            ],
        ),
    ],
)
def test_a_query_says_all_that_is_missing(grid, options, words):
    with pytest.raises(TeacherError) as error:
        TeacherQuery(**options).find()
    says(str(error.value), *words)


@pytest.mark.parametrize("epoch", ["last", -1, "1.5", ""])
def test_an_epoch_is_a_number_or_final(epoch):
    with pytest.raises(ConfigError, match="--epochs holds .*; an epoch is a whole number, or final"):
        TeacherQuery(epochs=[epoch])
