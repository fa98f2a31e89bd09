import json
import math
import shutil

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from hf_dd.core.registry import NETWORKS
from hf_dd.core.seeding import generator
from hf_dd.errors import ConfigError, TeacherError
from hf_dd.nn import architectures, networks

DIGITS = {"in_channels": 1, "num_classes": 10, "image_size": 8}
MNIST = {"in_channels": 1, "num_classes": 10, "image_size": 28}
CIFAR = {"in_channels": 3, "num_classes": 10, "image_size": 32}


def random_images(arguments, count=3, dtype=torch.float32):
    size = arguments["image_size"]
    height, width = (size, size) if isinstance(size, int) else size
    shape = (count, arguments["in_channels"], height, width)
    return torch.randn(*shape, generator=generator(0, "images"), dtype=dtype)


def parameter_count(network):
    return sum(parameter.numel() for parameter in network.parameters())


def assert_equal_states(first, second):
    first, second = first.state_dict(), second.state_dict()
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert all(first[name].dtype == second[name].dtype for name in first)


@pytest.fixture
def small(tmp_path):
    """A saved network with buffers, and its folder."""
    network = networks.build("ConvNetBN", **DIGITS, width=8, depth=2, seed=0)
    networks.save(network, tmp_path / "teacher")
    return network, tmp_path / "teacher"


@pytest.mark.parametrize("architecture", NETWORKS)
@pytest.mark.parametrize("arguments", [DIGITS, MNIST, CIFAR, {**CIFAR, "image_size": (40, 24)}])
def test_every_architecture_takes_every_size(architecture, arguments):
    network = networks.build(architecture, **arguments, seed=0)
    images = random_images(arguments)
    features = network.features(images)
    assert features.shape == (3, network.feature_size)
    assert network(images).shape == (3, 10)
    assert torch.equal(network.eval()(images), network.classifier(network.features(images)))
    assert features.std(dim=0).mean() > 1e-4  # the images stay distinct


@pytest.mark.parametrize(
    ("architecture", "arguments", "count"),
    [
        # 3·9·128 + 128 + 2·(128·9·128 + 128) convolutions, 3·2·128 norms, 2048·10 + 10 classifier.
        ("ConvNet", CIFAR, 320_010),
        ("ConvNetBN", CIFAR, 320_010),
        ("ConvNet", MNIST, 317_706),
        ("MLP", MNIST, 118_282),
        ("LeNet", MNIST, 61_706),
        ("LeNet", CIFAR, 62_006),
        ("AlexNet", CIFAR, 1_872_202),
        ("VGG11", CIFAR, 9_231_114),
        ("ResNet18", CIFAR, 11_173_962),
        ("ResNet18BN", CIFAR, 11_173_962),
        ("ResNet18v2", MNIST, 11_172_810),
        ("ResNet18v2BN", CIFAR, 11_173_962),
    ],
)
def test_parameter_counts_of_the_literature(architecture, arguments, count):
    assert parameter_count(networks.build(architecture, **arguments)) == count


@pytest.mark.parametrize(
    ("architecture", "features"), [("ConvNet", 2048), ("LeNet", 84), ("AlexNet", 3072), ("VGG11", 512)]
)
def test_mnist_images_are_seen_as_32_by_32(architecture, features):
    assert networks.build(architecture, **MNIST).feature_size == features
    assert networks.build(architecture, **CIFAR).feature_size == features
    assert networks.build("ConvNet", **{**MNIST, "in_channels": 3}).feature_size == 128 * 3 * 3


@settings(max_examples=60)
@given(
    depth=st.integers(1, 6),
    width=st.sampled_from([4, 8, 32]),
    norm=st.sampled_from(sorted(architectures.NORMS)),
    activation=st.sampled_from(sorted(architectures.ACTIVATIONS)),
    pooling=st.sampled_from(sorted(architectures.POOLINGS)),
    in_channels=st.sampled_from([1, 3]),
    height=st.integers(2, 34),
    width_of_image=st.integers(2, 34),
)
def test_any_convnet_works(height, width_of_image, in_channels, **options):
    arguments = {"in_channels": in_channels, "num_classes": 5, "image_size": [height, width_of_image]}
    network = networks.build("ConvNet", **arguments, **options, seed=1).double()
    images = random_images(arguments, dtype=torch.float64).requires_grad_()
    logits = network(images)
    assert logits.shape == (3, 5)
    assert logits.dtype == torch.float64
    logits.square().sum().backward()
    assert images.grad.isfinite().all()
    assert network.has_batch_norm == (options["norm"] == "batch")
    assert network.config == {"architecture": "ConvNet", **arguments, **options}


@given(height=st.integers(2, 9), width=st.sampled_from([2, 3, 7, 32, 64, 65, 66, 67]))
def test_average_pooling_is_the_librarys(height, width):
    maps = torch.randn(2, 3, height, width, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(2, 3, height // 2, width // 2, dtype=torch.float64)
    expected = torch.nn.functional.avg_pool2d(maps, 2)
    pooled = architectures.AveragePool((height, width)).double()(maps)
    torch.testing.assert_close(pooled, expected)
    gradients = [torch.autograd.grad((result * weights).sum(), maps)[0] for result in (pooled, expected)]
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("architecture", NETWORKS)
def test_channels_last_and_compilation_change_nothing(architecture):
    network = networks.build(architecture, **CIFAR, seed=0).double().eval()
    images = random_images(CIFAR, dtype=torch.float64)
    expected = network(images)
    torch.compiler.reset()  # one forward serves all architectures, and its recompilations are limited
    whole_graph = torch.compile(network, backend="eager", fullgraph=True)
    torch.testing.assert_close(whole_graph(images), expected)
    network.to(memory_format=torch.channels_last)
    torch.testing.assert_close(network(images.to(memory_format=torch.channels_last)), expected)


@pytest.mark.parametrize("architecture", NETWORKS)
def test_batch_norm_is_told_by_name(architecture):
    assert networks.build(architecture, **DIGITS).has_batch_norm == architecture.endswith("BN")


@pytest.mark.parametrize("architecture", ["ConvNet", "ConvNetBN", "MLP", "LeNet", "AlexNetBN", "ResNet18BN"])
def test_reinitialise_is_a_fresh_construction_in_place(architecture):
    network = networks.build(architecture, **DIGITS, seed=5)
    fresh = networks.build(architecture, **DIGITS, seed=5)
    parameters = list(network.parameters())
    network(random_images(DIGITS)).sum().backward()  # moves the running statistics
    with torch.no_grad():
        for parameter in parameters:
            parameter.add_(1)
    network.reinitialise(5, "init")
    assert_equal_states(network, fresh)
    assert all(kept is parameter for kept, parameter in zip(network.parameters(), parameters, strict=True))
    network.reinitialise(5, "student", 3)
    assert not torch.equal(network.classifier.weight, fresh.classifier.weight)


def test_a_seeded_construction_leaves_the_global_generator_alone():
    state = torch.get_rng_state()
    network = networks.build("ConvNet", **DIGITS, seed=1)
    network.reinitialise(2, "student")
    assert torch.equal(torch.get_rng_state(), state)
    networks.build("ConvNet", **DIGITS)
    assert not torch.equal(torch.get_rng_state(), state)


def test_a_compiled_network_follows_its_reinitialisation():
    network = networks.build("ConvNet", **DIGITS, width=8, seed=0)
    compiled = torch.compile(network, backend="eager")
    images = random_images(DIGITS)
    compiled(images)
    compiled.reinitialise(1, "init")
    assert torch.equal(compiled(images), networks.build("ConvNet", **DIGITS, width=8, seed=1)(images))


@pytest.mark.parametrize("architecture", NETWORKS)
def test_save_and_load_keep_every_bit(architecture, tmp_path):
    network = networks.build(architecture, **DIGITS, seed=0)
    network(random_images(DIGITS, count=8))
    networks.save(network, tmp_path, {"epoch": 3, "mean": [0.5]})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]
    config = json.loads((tmp_path / "config.json").read_text())
    assert config == {**network.config, "epoch": 3, "mean": [0.5]}
    assert config["architecture"] == architecture
    assert config["image_size"] == [8, 8]
    loaded = networks.load(tmp_path)
    assert_equal_states(loaded, network)
    assert not loaded.training
    assert loaded.config == network.config


def test_save_and_load_keep_the_precision(tmp_path):
    network = networks.build("ConvNetBN", **DIGITS, width=8, seed=0).double()
    networks.save(network, tmp_path)
    assert_equal_states(networks.load(tmp_path), network)


def test_the_mixin_writes_and_reads_the_same_folder(small, tmp_path, capsys):
    network, folder = small
    network.save_pretrained(tmp_path / "mixin")
    assert sorted(path.name for path in (tmp_path / "mixin").iterdir()) == ["config.json", "model.safetensors"]
    assert (tmp_path / "mixin/config.json").read_text() == (folder / "config.json").read_text()
    assert_equal_states(networks.Network.from_pretrained(tmp_path / "mixin"), network)
    assert capsys.readouterr().out == ""


def test_extra_config_hides_nothing(small, tmp_path):
    with pytest.raises(ConfigError, match="hide the network's own: depth"):
        networks.save(small[0], tmp_path / "other", {"depth": 9})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensors: tensors.pop("classifier.bias"), r"classifier.bias should be floating \[10\], is absent"),
        (lambda tensors: tensors.pop("body.1.running_mean"), r"body.1.running_mean should be floating \[8\]"),
        (lambda tensors: tensors.update(extra=torch.zeros(2)), r"extra should be absent, is floating \[2\]"),
        (
            lambda tensors: tensors.update({"classifier.weight": torch.zeros(7, 32)}),
            r"classifier.weight should be floating \[10, 32\], is floating \[7, 32\]",
        ),
        (
            lambda tensors: tensors.update({"classifier.weight": torch.zeros(10, 32, dtype=torch.int32)}),
            "is whole",
        ),
    ],
)
def test_weights_that_do_not_fit_are_named(small, change, message):
    path = small[1] / "model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)
    with pytest.raises(TeacherError, match=message):
        networks.load(small[1])


def test_a_pickle_is_never_read(small):
    network, folder = small
    (folder / "model.safetensors").unlink()
    torch.save(network.state_dict(), folder / "pytorch_model.bin")
    with pytest.raises(TeacherError, match="only safetensors are read, never pickles"):
        networks.load(folder)
    with pytest.raises(TeacherError, match="only safetensors are read, never pickles"):
        networks.Network.from_pretrained(folder)
    shutil.copy(folder / "pytorch_model.bin", folder / "model.safetensors")
    with pytest.raises(TeacherError, match="only safetensors are read, never pickles"):
        networks.load(folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "No such file"),
        ("{", "describes no network"),
        ("[]", "describes no network"),
        ("{}", "architecture None isn't known"),
        ('{"architecture": "ConvNeXt"}', "ConvNeXt isn't known; known are: ConvNet"),
        ('{"architecture": ["ConvNet"]}', "describes no network"),
        ('{"architecture": "ConvNet", "in_channels": 1, "image_size": 8}', "num_classes"),
        ('{"architecture": "MLP", "in_channels": 1, "num_classes": 0, "image_size": 8}', "num_classes must be"),
        ('{"architecture": "MLP", "in_channels": 1, "num_classes": 2, "image_size": "8×8"}', "describes no network"),
    ],
)
def test_a_config_that_describes_no_network_is_refused(small, text, message):
    path = small[1] / "config.json"
    path.unlink() if text is None else path.write_text(text)
    with pytest.raises(TeacherError, match=message):
        networks.load(small[1])


@pytest.mark.parametrize(
    ("architecture", "changes", "message"),
    [
        ("Convnet", {}, "--architecture Convnet isn't known; known are: ConvNet, "),
        ("ConvNet", {"dept": 2}, "unknown option of ConvNet 'dept'; known, nearest first: depth, "),
        ("LeNet", {"width": 2}, "unknown option of LeNet 'width'; known, nearest first: none"),
        ("ConvNet", {"norm": "instnace"}, "unknown norm 'instnace'; known, nearest first: instance"),
        ("ConvNet", {"activation": "rleu"}, "unknown activation 'rleu'; known, nearest first: relu"),
        ("ConvNet", {"pooling": "mean"}, "unknown pooling 'mean'"),
        ("ConvNet", {"norm": "group", "width": 6}, "makes 4 groups: the number of channels can't be 6"),
        ("ConvNet", {"depth": 0}, "depth must be a whole number of at least 1, not 0"),
        ("MLP", {"width": 2.5}, "width must be a whole number of at least 1, not 2.5"),
        ("ConvNet", {"in_channels": 0}, "in_channels must be"),
        ("LeNet", {"image_size": 3}, "LeNet takes images from 4×4 pixels, not 3"),
        ("ResNet18", {"image_size": (1, 8)}, r"ResNet18 takes images from 2×2 pixels, not \(1, 8\)"),
        ("MLP", {"image_size": [8, 8, 1]}, "MLP takes images from 1×1 pixels"),
    ],
)
def test_what_cannot_be_built_is_refused(architecture, changes, message):
    with pytest.raises(ConfigError, match=message):
        networks.build(architecture, **{**DIGITS, **changes})


@pytest.mark.parametrize("architecture", NETWORKS)
def test_the_smallest_image_works(architecture):
    size = {"MLP": 1, "LeNet": 4}.get(architecture, 2)
    arguments = {**DIGITS, "image_size": size}
    logits = networks.build(architecture, **arguments, seed=0)(random_images(arguments))
    assert all(math.isfinite(number) for number in logits.flatten().tolist())


# --- versions of ResNet18


def as_dcs_code_has_it(network, images):
    """DC's ResNet on the parameters of ours, layer by layer: 28, 14, 7 and 4 pixels, then an average of 4×4."""
    functional = torch.nn.functional
    stem, norm, _, *blocks, _ = network.body

    def normalised(layer, maps):
        return functional.group_norm(maps, len(layer.weight), layer.weight, layer.bias)

    maps = functional.relu(normalised(norm, functional.conv2d(images, stem.weight, padding=1)))
    sides = [maps.shape[-1]]
    for number, block in enumerate(blocks):
        stride = 2 if number in (2, 4, 6) else 1
        first, first_norm, _, second, second_norm = block.residual
        out = functional.relu(normalised(first_norm, functional.conv2d(maps, first.weight, stride=stride, padding=1)))
        out = normalised(second_norm, functional.conv2d(out, second.weight, padding=1))
        if len(block.shortcut):
            convolution, shortcut_norm = block.shortcut
            maps = normalised(shortcut_norm, functional.conv2d(maps, convolution.weight, stride=stride))
        maps = functional.relu(out + maps)
        sides.append(maps.shape[-1])
    pooled = functional.avg_pool2d(maps, 4).flatten(1)
    return pooled @ network.classifier.weight.T + network.classifier.bias, sides


def test_the_second_version_of_resnet18_convolves_28_pixels_as_the_papers_code_does():
    network = networks.build("ResNet18v2", **MNIST, seed=0)
    images = random_images(MNIST)
    expected, sides = as_dcs_code_has_it(network, images)
    assert sides == [28, 28, 28, 14, 14, 7, 7, 4, 4]
    torch.testing.assert_close(network(images), expected, rtol=1e-4, atol=1e-5)
    first = networks.build("ResNet18", **MNIST, seed=0)
    assert_equal_states(first, network)  # and yet
    assert (first(images) - network(images)).abs().max() > 1e-3
    same = networks.build("ResNet18v2", **CIFAR, seed=0), networks.build("ResNet18", **CIFAR, seed=0)
    assert torch.equal(*(each(random_images(CIFAR)) for each in same))


def test_a_resnet18_that_was_saved_without_a_version_is_the_first(tmp_path):
    network = networks.build("ResNet18", **MNIST, seed=0)
    networks.save(network, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config.pop("version") == 1 and networks.completed(config)["version"] == 1
    (tmp_path / "config.json").write_text(json.dumps(config))
    images = random_images(MNIST)
    assert torch.equal(networks.load(tmp_path)(images), network.eval()(images))
    with pytest.raises(ConfigError, match="version of ResNet18 is 1 or 2, not 3"):
        networks.build("ResNet18", **MNIST, version=3)
