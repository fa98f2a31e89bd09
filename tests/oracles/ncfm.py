"""NCFM (Wang et al., CVPR 2025, sections 3.1 to 3.3), class by class, frequency by frequency and image by image."""

import math

import torch


def unit(vector):
    return vector / vector.square().sum().sqrt()


def characteristic(features, t):
    """Φ(t) = mean_i e^{i t·x_i}, as a real and an imaginary part."""
    angles = [(unit(row) * t).sum() for row in features]
    return sum(angle.cos() for angle in angles) / len(angles), sum(angle.sin() for angle in angles) / len(angles)


def matching(real_features, synthetic_features, frequencies, alpha=0.5, beta=0.5):
    """300 Σ_c mean_t √(α (|Φ_u| − |Φ_v|)² + β 2 (|Φ_u| |Φ_v| − Re Φ_u Re Φ_v − Im Φ_u Im Φ_v))."""
    loss = 0.0
    for real, synthetic in zip(real_features, synthetic_features, strict=True):
        total = 0.0
        for t in frequencies:
            u, v = torch.complex(*characteristic(real, t)), torch.complex(*characteristic(synthetic, t))
            phase = u.angle() - v.angle()
            amplitude = (u.abs() - v.abs()) ** 2
            total = total + (alpha * amplitude + beta * 2 * u.abs() * v.abs() * (1 - phase.cos())).sqrt()
        loss = loss + total / len(frequencies)
    return 300 * loss


def squared_mmd(real, synthetic):
    """MMD² of unit vectors with the kernel exp(−‖x − y‖² / 2): every ordered pair, the diagonal too."""

    def mean_kernel(left, right):
        values = [math.exp(-float((unit(x) - unit(y)).square().sum()) / 2) for x in left for y in right]
        return sum(values) / len(values)

    return mean_kernel(real, real) + mean_kernel(synthetic, synthetic) - 2 * mean_kernel(real, synthetic)
