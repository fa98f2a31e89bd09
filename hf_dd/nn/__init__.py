"""Differentiable building blocks: networks, augmentation, crops, tiles; no data and no disk."""
