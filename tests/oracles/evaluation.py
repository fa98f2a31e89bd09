"""`evaluate_synset` of the code of DC, DSA, DM and MTT, to the letter: what a student learns, and at which rate."""

import torch

SGD = {"momentum": 0.9, "weight_decay": 0.0005}


def evaluate_synset(network, batches_of, epochs, rate, augmented):
    """Train in place, as `for ep in range(Epoch + 1)` does; returns the rate of each epoch.

    `batches_of(ep)` gives the (images, labels) of an epoch; `augmented(ep, number, images)` is `DiffAugment`, which
    draws one operation for all images of a batch.
    """
    drop = epochs // 2 + 1
    optimizer, rates = torch.optim.SGD(network.parameters(), lr=rate, **SGD), []
    for ep in range(epochs + 1):
        network.train()
        rates.append(optimizer.param_groups[0]["lr"])
        for number, (images, labels) in enumerate(batches_of(ep)):
            loss = torch.nn.functional.cross_entropy(network(augmented(ep, number, images)), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        if ep == drop:
            rate *= 0.1
            optimizer = torch.optim.SGD(network.parameters(), lr=rate, **SGD)
    return rates
