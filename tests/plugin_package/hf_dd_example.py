"""One of each thing that a package can add to hf-dd; its pyproject.toml names them as entry points."""

import torch
from safetensors.torch import load_file
from torch import nn

from hf_dd.core.registry import ADAPTERS, NETWORKS, OBJECTIVES, PROTOCOLS, STARTS
from hf_dd.evaluation.protocols import Protocol
from hf_dd.nn.input_transform import InputTransform
from hf_dd.objectives import Objective, Published
from hf_dd.teachers.adapters import Adapted, Adapter
from hf_dd.teachers.adapters.base import described


@OBJECTIVES.register("teachers-mean", title="matching of what teachers see", teachers="All teachers saw every image")
class TeachersMean(Objective):
    """Match the mean features of each class, as all teachers see them."""

    published = Published(
        iterations=100,
        real_batch_size=32,
        image_learning_rate=0.5,
        image_momentum=0.5,
        image_optimizer="sgd",
        image_schedule="constant",
        init="dimmed",
        augments=False,
    )
    uses_teachers = True

    def __init__(self, config, data, pool=None):
        super().__init__(config, data, pool)
        self.pool = pool.to(data.device, getattr(torch, config.dtype))
        self.batch_size = self.settings["real_batch_size"]

    def losses(self, step):
        """Yield one loss."""
        loss = step.zero()
        for label in step.own.classes:
            rows = step.data.sample_class(label, self.batch_size, step.generator("real", label))
            real = step.data.train.images[rows].to(step.synthetic.pixels.dtype) / 255
            synthetic = step.synthetic.own_space(step.synthetic.images(step.synthetic.rows([label])))
            for teacher in self.pool:
                loss = loss + (teacher.features(real).mean(0) - teacher.features(synthetic).mean(0)).square().sum()
        yield {"mean": loss / step.own.parts}


@NETWORKS.register("Thin", title="one convolution and a layer of its own")
def thin(trunk, width=4):
    """A convolution, and what `Trunk` has no method for."""
    trunk.convolve(width, 3, norm="instance")
    trunk.add(nn.Conv2d(width, 2 * width, 2, stride=2), nn.GELU())


@STARTS.register("dimmed", title="real images at half their brightness")
def dimmed(request):
    """Real images that are drawn, halved in [0, 1] space."""
    drawn = request.drawn("real")
    return request.of_images(drawn.own_space(drawn.images()).detach() / 2)


def _matches(folder, config):
    return "matrix" in config


def _adapt(folder, config, trusted):
    class_names = config["matrix"]["class_names"]
    side = config["matrix"]["side"]
    network = nn.Sequential(nn.Flatten(), nn.Linear(side * side, len(class_names), bias=False))
    network[1].load_state_dict(load_file(folder / "model.safetensors"))
    network.features = network[0]
    return Adapted(network, InputTransform(1, (0.0,), (1.0,), (side, side)), class_names, _about(folder, config))


def _about(folder, config):
    return described(f"matrix{config['matrix']['side']}", config["matrix"].get("dataset"))


matrices = ADAPTERS.register("matrices", title="matrices of weights")(Adapter(_matches, _adapt, _about))
brief = PROTOCOLS.register("brief", title="from scratch, 2 epochs")(
    Protocol("brief", 4, epochs=2, learning_rate=0.05, augment="none")
)
