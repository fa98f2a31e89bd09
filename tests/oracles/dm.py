"""Distribution matching (Zhao & Bilen, WACV 2023, eq. 5 and 6), class by class and image by image."""

import torch


def mean(features):
    total = torch.zeros_like(features[0])
    for row in features:
        total = total + row
    return total / len(features)


def matching(real_batches, synthetic_batches, embed):
    """Σ_c ‖ mean ψ(T_c) − mean ψ(S_c) ‖², each image embedded on its own; one (already augmented) batch per class."""
    loss = 0.0
    for real, synthetic in zip(real_batches, synthetic_batches, strict=True):
        real_mean = mean([embed(image[None])[0] for image in real])
        synthetic_mean = mean([embed(image[None])[0] for image in synthetic])
        loss = loss + (real_mean - synthetic_mean).square().sum()
    return loss


def matching_together(real_batches, synthetic_batches, embed):
    """The same with all classes embedded in one batch, which a BatchNorm network needs."""
    real, synthetic = embed(torch.cat(real_batches)), embed(torch.cat(synthetic_batches))
    loss = 0.0
    for label in range(len(real_batches)):
        real_start = sum(map(len, real_batches[:label]))
        start = sum(map(len, synthetic_batches[:label]))
        real_mean = mean(real[real_start : real_start + len(real_batches[label])])
        synthetic_mean = mean(synthetic[start : start + len(synthetic_batches[label])])
        loss = loss + (real_mean - synthetic_mean).square().sum()
    return loss
