"""RDED's patches against its loops, and whole images scored by teachers: what runs start from."""

import pytest
import torch

import hf_dd
from hf_dd.config import DataConfig
from hf_dd.core.registry import STARTS
from hf_dd.core.seeding import generator
from hf_dd.data import batches as chunks
from hf_dd.data.image_data import load_data
from hf_dd.distillation.checks import preflight
from hf_dd.errors import ConfigError, DataError, TeacherError
from hf_dd.nn.crops import draw_boxes
from hf_dd.synthetic.patches import PatchOptions, realistic_images, realistic_patches
from hf_dd.synthetic.start import Request
from hf_dd.synthetic.synthetic_set import SyntheticSet
from hf_dd.teachers.pool import TeacherPool
from tests.factories import (
    NAMES,
    batch_norm_teacher,
    make_config,
    make_data,
    make_teacher,
    teacher_logits,
)
from tests.oracles import rded as rded_oracle

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def teachers(tmp_path_factory):
    """Folders of two BatchNorm teachers and of one without, of digits."""
    options = {"epochs": 4, "learning_rate": 0.05, "batch_size": 64, "weight_decay": 5e-4}
    options["output_dir"] = str(tmp_path_factory.mktemp("teachers"))
    small = {"architecture_options": ["width=8", "depth=2"]}
    done = hf_dd.pretrain(architectures=["ConvNetBN"], teacher_seeds=[0, 1], **small, **options)
    return [str(path) for path in done + hf_dd.pretrain(architectures=["MLP"], **options)]


def candidates(data, label, ipc, options, seed=0):
    """Images and crops of a class as the reproducibility contract names their draws."""
    count = min(max(options.images, ipc * options.tiles**2), len(data.class_index[label]))
    chosen = data.sample_class(label, count, generator(seed, "rded-images", label))
    boxes = draw_boxes(
        count * options.crops,
        data.image_size,
        generator(seed, "rded-crops", label),
        scale=(options.scale, 1.0),
        ratio=(1.0, 1.0),
    )
    return data.train.images[chosen].double() / 255, boxes.view(count, options.crops, 4).tolist()


def padded_logits(teacher, crop, size, column):
    """As the paper's code: normalised first, then surrounded by zeros, the odd pixel below and to the right."""
    side = crop.shape[-1]
    whole = torch.zeros(1, crop.shape[1], size, size, dtype=crop.dtype)
    first = (size - side) // 2
    whole[:, :, first : first + side, first : first + side] = (crop - 0.4) / 0.3
    logits = teacher.network(whole)
    return torch.cat([logits[:, column:], logits[:, :column]], 1)


@pytest.mark.parametrize(
    ("ipc", "options"),
    [
        (2, PatchOptions()),
        (3, PatchOptions(images=5, crops=2)),
        (1, PatchOptions(tiles=2, scale=0.3)),
        (2, PatchOptions(images=1, crops=1, tiles=2)),
        (2, PatchOptions(tiles=2, view="padded")),
        (1, PatchOptions(tiles=1, view="padded")),
    ],
)
@pytest.mark.parametrize(("channels", "size"), [(1, 7), (3, 8)])
def test_rded_is_the_papers_choice(ipc, options, channels, size, monkeypatch):
    monkeypatch.setattr(chunks, "CHUNK_PIXELS_ON_CPU", size**2 * 4)  # more than one chunk
    data = make_data((9, 10, 17), channels=channels, size=size)
    pool = TeacherPool(
        [
            batch_norm_teacher(data, width=4, depth=1),
            make_teacher(data, "MLP", class_names=[NAMES[i] for i in (1, 2, 0)], width=8).double(),
        ]
    )
    ours = realistic_patches(data, pool, ipc, 0, options, torch.float64)
    assert ours.shape == (3 * ipc, channels, size, size) and ours.dtype == torch.float64
    for label in range(3):
        images, boxes = candidates(data, label, ipc, options)
        name = data.class_names[label]
        scorers = []
        for teacher in pool:
            column = teacher.class_names.index(name)

            def classify(crop, teacher=teacher, column=column):
                if options.view == "padded":
                    return padded_logits(teacher, crop, size, column)
                if crop.shape[-1] != size:  # a tile, as the adapter enlarges it
                    crop = torch.nn.functional.interpolate(
                        crop, (size, size), mode="bilinear", antialias=True, align_corners=False
                    )
                logits = teacher_logits(teacher, crop)
                return torch.cat([logits[:, column:], logits[:, :column]], 1)  # the class in question first

            scorers.append(classify)
        theirs = rded_oracle.distil(images, boxes, 0, scorers, ipc, options.tiles)
        assert (ours[label * ipc : (label + 1) * ipc] - theirs).abs().max() < 1e-10


def test_rded_takes_the_best_of_all_images_where_a_class_has_fewer_than_300():
    data = make_data((9, 6, 7))
    pool = TeacherPool([batch_norm_teacher(data)])
    whole = realistic_patches(data, pool, 6, 0, PatchOptions(crops=1, scale=1.0), torch.float64)
    assert len(whole) == 18
    with pytest.raises(DataError, match="Class 'dog' of random has 6 training images, and ipc is 7"):
        realistic_patches(data, pool, 7, 0, PatchOptions(), torch.float64)
    with pytest.raises(DataError, match="and ipc is 8: the largest ipc possible is 6"):
        realistic_patches(data, pool, 2, 0, PatchOptions(tiles=2), torch.float64)
    with pytest.raises(ConfigError, match="tiles of less than a pixel"):
        realistic_patches(make_data((200,) * 2), pool, 1, 0, PatchOptions(tiles=9), torch.float64)


def test_the_score_of_a_pool_is_the_mean_of_its_teachers():
    data = make_data((40, 40))
    teachers = [make_teacher(data, "MLP", seed, width=16).double() for seed in range(3)]
    losses = []
    for teacher in teachers:
        logits = teacher(data.train.images.double() / 255)
        losses.append(torch.nn.functional.cross_entropy(logits, data.train.labels, reduction="none"))
    mean = torch.stack(losses).mean(0)
    found = realistic_images(data, TeacherPool(teachers), 5, torch.float64)
    for label in range(2):
        members = data.class_index[label]
        expected = members[mean[members].argsort()[:5]]
        assert found[label * 5 : label * 5 + 5].tolist() == expected.tolist()
        hardest = realistic_images(data, TeacherPool(teachers), 5, torch.float64, hardest=True)
        assert (
            hardest[label * 5 : label * 5 + 5].tolist() == members[mean[members].argsort(descending=True)[:5]].tolist()
        )
    assert (
        found.tolist()
        != realistic_images(data, TeacherPool(teachers[:1]), 5, torch.float64).tolist()
        != realistic_images(data, TeacherPool(teachers[1:2]), 5, torch.float64).tolist()
    )


def test_a_pool_of_which_one_teacher_is_in_memory_gives_the_same_patches(teachers):
    data = load_data(DataConfig())
    whole = TeacherPool.from_references(teachers)
    little = TeacherPool.from_references(teachers, in_memory=1)
    options = PatchOptions(images=20)
    assert torch.equal(realistic_patches(data, whole, 2, 3, options), realistic_patches(data, little, 2, 3, options))
    assert torch.equal(realistic_images(data, whole, 2), realistic_images(data, little, 2))


def test_patches_are_images_that_teachers_know_better_than_random_ones(teachers):
    data = load_data(DataConfig())
    pool = TeacherPool.from_references(teachers[:1])
    judge = TeacherPool.from_references(teachers[1:2])[0]
    labels = torch.arange(10).repeat_interleave(3)

    def loss(images):
        return float(torch.nn.functional.cross_entropy(judge(images), labels).detach())

    random = torch.cat([data.sample_class(label, 3, generator(0, "random", label)) for label in range(10)])
    drawn = loss(data.train.images[random].float() / 255)
    random_crops = realistic_patches(data, pool, 3, 0, PatchOptions(images=3, crops=1))  # nothing to choose from
    assert loss(realistic_patches(data, pool, 3, 0, PatchOptions())) < 0.5 * loss(random_crops)
    assert loss(data.train.images[realistic_images(data, pool, 3)].float() / 255) < 0.8 * drawn


def test_a_teacher_that_diverged_or_has_other_classes_is_refused():
    data = make_data()
    broken = make_teacher(data, "MLP", width=8).double()
    broken.network.classifier.bias.data.fill_(torch.nan)
    with pytest.raises(TeacherError, match="MLP-0@final .* no finite numbers"):
        realistic_images(data, TeacherPool([broken]), 1, torch.float64)
    other = make_teacher(data, class_names=["cat", "dog", "horse"])
    with pytest.raises(TeacherError, match=r"ConvNet-0@final.*lacks bird and has horse besides"):
        realistic_patches(data, TeacherPool([other]), 1, 0, PatchOptions())


@pytest.mark.parametrize(("init", "options"), [("rded", {}), ("teacher-score", {})])
@pytest.mark.parametrize("factor", [1, 2])
def test_choices_of_teachers_are_starts_of_any_objective(init, options, factor):
    data = make_data((9, 10, 17))
    pool = TeacherPool([batch_norm_teacher(data)])
    config = make_config(init=init, teachers=["passed as a pool"], ipc=2, factor=factor, **options)
    preflight(config)
    found = STARTS.find(init)(Request(config, data, torch.no_grad, pool))
    if init == "rded":
        images = realistic_patches(data, pool, 2 * factor**2, 0, PatchOptions(), torch.float64)
    else:
        images = data.train.images[realistic_images(data, pool, 2 * factor**2, torch.float64)].double() / 255
    expected = SyntheticSet.of_images(images, data, torch.float64, factor)
    assert torch.equal(found.pixels, expected.pixels) and found.factor == factor
    assert found.pixels.shape == (6, 1, 6, 6)
    if init == "rded":
        few = Request(config, data, torch.no_grad, pool, PatchOptions(crops=1))
        assert not torch.equal(STARTS.find(init)(few).pixels, found.pixels)
