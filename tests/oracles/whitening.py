"""ZCA whitening as MTT's code has it: kornia's `ZCAWhitening(eps=0.1, compute_inv=True)` of the images in [0, 1]."""

import torch


def zca(images, epsilon=0.1):
    """Mean, matrix and inverse of float images (N, C, H, W), by the singular values of their unbiased covariance."""
    rows = images.flatten(1)
    mean = rows.mean(0)
    centred = rows - mean
    covariance = centred.T @ centred / (len(rows) - 1)
    vectors, values, _ = torch.linalg.svd(covariance)
    matrix = vectors @ torch.diag(1 / torch.sqrt(values + epsilon)) @ vectors.T
    inverse = vectors @ torch.diag(torch.sqrt(values + epsilon)) @ vectors.T
    return mean, matrix, inverse
