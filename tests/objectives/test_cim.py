"""CIM: each training image against its own source, by any layer of a teacher."""

import pytest
import torch

from hf_dd.core.seeding import generator
from hf_dd.core.strategies import parse_strategy
from hf_dd.data import batches
from hf_dd.errors import TeacherError
from hf_dd.nn import augment
from hf_dd.objectives import OBJECTIVES, build_objective
from hf_dd.synthetic.patches import realistic_images
from hf_dd.synthetic.start import STARTS, Request, candidates_of
from hf_dd.synthetic.synthetic_set import SyntheticSet
from hf_dd.teachers.activations import activations
from hf_dd.teachers.pool import TeacherPool
from hf_dd.teachers.teacher import Teacher
from tests.factories import (
    assert_close,
    batch_norm_teacher,
    distil,
    make_config,
    make_data,
    make_set,
    make_step,
    make_teacher,
    on_ranks,
    only_losses,
    value_and_gradient,
    with_pixels,
)

pytestmark = pytest.mark.usefixtures("one_thread")

COMPOSITE = "composite_crop_cutout_flip"


def pool_of(data):
    return TeacherPool([batch_norm_teacher(data, seed=0), make_teacher(data, "ConvNet", 1).double()])


def config_of(*own, **options):
    given = {"objective": "cim", "teachers": ["passed as a pool"], "objective_options": own, "augment": COMPOSITE}
    return make_config(**given | {"real_batch_size": None} | options)


def set_of(data, pool, factor=1, ipc=2):
    return STARTS["surest"](Request(config_of(ipc=ipc, factor=factor), data, torch.no_grad, pool))


def activations_by_hand(teacher, images, layer):
    """What the layers up to that one make of images, the teacher's statistics applied by hand."""
    images = (images - 0.4) / 0.3
    for place, module in enumerate(teacher.network.body):
        images = module(images)
        if f"body.{place}" == layer:
            break
    return images.flatten(1)


@pytest.mark.parametrize("factor", [1, 2])
@pytest.mark.parametrize("layer", ["features", "body.1"])
def test_cim_agrees_with_the_loop_over_images(factor, layer):
    data = make_data((9, 8, 8))
    pool = pool_of(data)
    objective = build_objective(config_of(f"layer={layer}", ipc=2, factor=factor), data, pool)
    synthetic = set_of(data, pool, factor)
    with torch.no_grad():
        synthetic.pixels += 0.1 * torch.randn(synthetic.pixels.shape, generator=generator(0, "change"))
    sources = realistic_images(data, pool, 2 * factor**2, torch.float64, drawn=(300, 0))
    drawn = set()
    for index in range(4):
        step = make_step(synthetic, data, index)
        ours = value_and_gradient(only_losses(objective, step)["cim"], synthetic.pixels)
        place = pool.draw(0, index)
        drawn.add(place)
        draws = augment.draw(3, parse_strategy(COMPOSITE), step.generator("augment"))
        theirs = 0.0
        for image, label, row in zip(synthetic.images(), synthetic.image_labels(), sources, strict=True):
            pair = (step.as_input(data.train.images[row]), image)
            found = []
            for each in pair:
                seen = synthetic.own_space(augment.apply(each[None], draws.expand([int(label)])))
                found.append(activations_by_hand(pool[place], seen, layer)[0])
            theirs = theirs + (found[0] - found[1]).abs().sum() / len(found[0])
        assert_close(ours, value_and_gradient(theirs, synthetic.pixels), 1e-9)
    assert drawn == {0, 1}


def test_the_start_is_made_of_the_sources_and_without_tiles_nothing_is_lost():
    data = make_data((9, 8, 8))
    pool = pool_of(data)
    synthetic = set_of(data, pool)
    sources = realistic_images(data, pool, 2, torch.float64, drawn=(300, 0))
    stored = (synthetic.own_space() * 255).round().to(torch.uint8)
    assert torch.equal(stored, data.train.images[sources])
    objective = build_objective(config_of(augment="none"), data, pool)
    assert float(only_losses(objective, make_step(synthetic, data))["cim"].detach()) == pytest.approx(0, abs=1e-9)


def test_images_that_began_as_others_are_matched_to_the_surest_all_the_same():
    data = make_data((9, 8, 8))
    pool = pool_of(data)
    objective = build_objective(config_of(init="real", ipc=2), data, pool)
    assert float(only_losses(objective, make_step(make_set(data, ipc=2), data))["cim"].detach()) > 0
    assert torch.equal(objective.sources, realistic_images(data, pool, 2, torch.float64, drawn=(300, 0)))


def test_the_surest_of_some_that_are_drawn():
    data = make_data((30, 30))
    pool = pool_of(data)
    everyone = realistic_images(data, pool, 4, torch.float64)
    assert torch.equal(
        realistic_images(data, pool, 4, torch.float64, drawn=(30, 5)).sort().values, everyone.sort().values
    )
    found = realistic_images(data, pool, 4, torch.float64, drawn=(10, 5))
    for label in range(2):
        candidates = data.sample_class(label, 10, generator(5, "candidates", label)).tolist()
        assert {*found[4 * label : 4 * label + 4].tolist()} <= {*candidates}
    assert len(realistic_images(data, pool, 12, torch.float64, drawn=(10, 5)).unique()) == 24


def test_more_are_drawn_of_which_more_are_taken():
    assert [candidates_of(ipc) for ipc in (1, 50, 99, 100, 199, 200, 500)] == [300, 300, 300, 500, 500, 1000, 1000]


def test_a_layer_that_a_teacher_lacks_is_said_before_training():
    data = make_data()
    with pytest.raises(
        TeacherError, match=r"Teacher somebody.* has no layer 'layer2'; it has features, body.0, body.1"
    ):
        build_objective(config_of("layer=layer2"), data, pool_of(data))
    with pytest.raises(TeacherError, match="has no layer ''"):
        activations(pool_of(data)[0], torch.zeros(1, 1, 6, 6), "")


class Branches(torch.nn.Module):
    """A module that gives several tensors, in one way or another, or none."""

    def __init__(self, form):
        super().__init__()
        self.inner, self.form = torch.nn.Linear(36, 5), form
        self.never = torch.nn.Linear(36, 5)

    def forward(self, flat):
        first = self.inner(flat)
        forms = {"tuple": (None, first, flat), "output": {"state": first, "other": flat}, "scalar": first.sum()}
        return forms[self.form]


class Branching(torch.nn.Module):
    def __init__(self, form):
        super().__init__()
        self.branches, self.classifier = Branches(form), torch.nn.Linear(36, 3)

    def forward(self, images):
        self.branches(images.flatten(1))
        return self.classifier(images.flatten(1))


def of_module(module):
    how = {"name": "own", "image_size": 6, "channels": 1, "mean": [0.4], "std": [0.3], "class_names": ["a", "b", "c"]}
    return Teacher.from_module(module, **how)


@pytest.mark.parametrize("form", ["tuple", "output"])
def test_of_a_layer_that_gives_several_tensors_the_first_counts(form):
    teacher, images = of_module(Branching(form)), torch.rand(4, 1, 6, 6)
    found = activations(teacher, images, "module.branches")
    assert found.shape == (4, 5) and torch.equal(found, activations(teacher, images, "module.branches.inner"))


@pytest.mark.parametrize(("form", "layer"), [("scalar", "module.branches"), ("tuple", "module.branches.never")])
def test_a_layer_that_gives_nothing_for_each_image_is_one_line(form, layer):
    with pytest.raises(
        TeacherError, match=f"Layer '{layer}' of teacher .* Take a layer below or above it, or features"
    ):
        activations(of_module(Branching(form)), torch.rand(4, 1, 6, 6), layer)


def test_chunks_and_ranks_change_nothing(monkeypatch):
    data = make_data((9, 8, 8, 8))
    pool = pool_of(data)
    synthetic = set_of(data, pool, 2)
    objective = build_objective(config_of(factor=2), data, pool)
    single = value_and_gradient(only_losses(objective, make_step(synthetic, data))["cim"], synthetic.pixels)
    monkeypatch.setattr(batches, "CHUNK_PIXELS_ON_CPU", 6 * 6 * 3)
    chunked = value_and_gradient(only_losses(objective, make_step(synthetic, data))["cim"], synthetic.pixels)
    assert_close(chunked, single, 1e-11)
    for ranks in (2, 9):

        def work(rank, sum_over_ranks, ranks=ranks):
            own = SyntheticSet(synthetic.pixels.detach().clone(), data.class_names, data.mean, data.std, 2)
            step = make_step(own, data, rank=rank, ranks=ranks, sum_over_ranks=sum_over_ranks)
            return value_and_gradient(only_losses(objective, step)["cim"], own.pixels)

        shares = zip(*on_ranks(ranks, work), strict=True)
        assert_close([sum(parts) for parts in shares], single, 1e-10)


def test_the_gradient_is_that_of_finite_differences():
    data = make_data((9, 8), size=4)
    pool = TeacherPool([make_teacher(data, "ConvNet", width=2, depth=1, activation="swish").double()])
    objective, synthetic = build_objective(config_of(ipc=1, factor=2), data, pool), set_of(data, pool, 2, 1)
    start = synthetic.pixels.detach() + 0.1 * torch.randn(synthetic.pixels.shape, generator=generator(0, "d"))

    def loss(pixels):
        return only_losses(objective, make_step(with_pixels(synthetic, pixels), data))["cim"]

    assert torch.autograd.gradcheck(loss, (start.requires_grad_(),))


def test_a_run_lowers_the_loss(tmp_path):
    import hf_dd

    options = {"epochs": 2, "architecture_options": ["width=8", "depth=1"], "output_dir": str(tmp_path / "teachers")}
    (teacher,) = hf_dd.pretrain(**options)
    run = {"objective": "cim", "teachers": [str(teacher)], "real_batch_size": None, "factor": 2}
    records = [distil(tmp_path / str(count), iterations=count, **run).record for count in (1, 20)]
    assert records[1].run["losses"]["cim"] < 0.9 * records[0].run["losses"]["cim"]
    assert records[0].settings["augment"] == "composite_crop_cutout"  # a mirrored digit is none


def test_its_flip_is_left_out_where_the_data_say_so():
    published = OBJECTIVES["cim"].published
    given = {"objective": "cim", "real_batch_size": None}
    assert published.filled_in(make_config(**given))["augment"] is None
    assert published.filled_in(make_config(**given, published=True))["augment"] == COMPOSITE
    assert published.filled_in(make_config(**given, augment="none"))["augment"] == "none"
