"""Several networks of one architecture in one training loop, parameters stacked: each learns as it would alone."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from hf_dd.core.seeding import generator
from hf_dd.training.loop import Prepare, TrainingRecipe, at_least_single, epoch_batches
from hf_dd.training.targets import Targets, as_targets, distillation_loss


def fit_side_by_side(
    networks: Sequence[nn.Module],
    images: Sequence[Tensor],
    labels: Sequence[Tensor | Targets],
    recipe: TrainingRecipe,
    *,
    seeds: Sequence[int],
    purpose: str,
    prepare: Prepare = lambda images: images,
    tell: Callable[[float], object] = lambda share: None,
) -> Tensor:
    """Train networks in place, each as `loop.fit` would alone on its images and labels with its seed.

    Returns each epoch's mean loss of each network, (networks, epochs), on their device.

    All have as many images. A step is one forward and one backward pass of the stacked parameters (`torch.func`): on a
    GPU, where a small network leaves most of the device idle, n of them may take the time of one. In the networks' own
    precision: autocast passes a convolution under `vmap` by. Only by a recipe that `is_plain`.
    """
    skeleton, targets = networks[0], [as_targets(own) for own in labels]
    state = {name: torch.stack([network.state_dict()[name] for network in networks]) for name in skeleton.state_dict()}
    leaves = [state[name].requires_grad_() for name, _ in skeleton.named_parameters()]
    optimizer, schedule = recipe.optimise(leaves)

    def forward(state: dict[str, Tensor], batch: Tensor) -> Tensor:
        return functional_call(skeleton, state, (batch,))

    of_epochs = []
    for number in range(1, recipe.epochs + 1):
        skeleton.train()
        total = torch.zeros(len(networks), device=images[0].device)
        epochs = [
            epoch_batches(own, recipe, seed, purpose, number, prepare) for own, seed in zip(images, seeds, strict=True)
        ]
        draws = [generator(seed, purpose, "targets", number) for seed in seeds]
        for parts in zip(*epochs, strict=True):
            batch = torch.stack([own for _, own, _ in parts])
            wanted = [own.of_batch(*part[:2], drawn) for own, part, drawn in zip(targets, parts, draws, strict=True)]
            optimizer.zero_grad(set_to_none=True)
            logits = vmap(forward)(state, batch)
            # Means per network, summed: the gradient of each network is that of its own mean.
            losses = distillation_loss(
                at_least_single(logits).flatten(0, 1), torch.cat(wanted), targets[0].temperature, reduction="none"
            )
            (losses.sum() / len(wanted[0])).backward()
            total += losses.detach().view(len(networks), -1).sum(1)
            optimizer.step()
            tell(len(wanted[0]) / len(images[0]))
        recipe.finish(number, optimizer, schedule)
        of_epochs.append(total / len(images[0]))
    for index, network in enumerate(networks):
        network.load_state_dict({name: values[index].detach() for name, values in state.items()})
    return torch.stack(of_epochs, 1)
