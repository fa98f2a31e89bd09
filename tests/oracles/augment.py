"""Each operation of hf_dd.nn.augment for one image, in plain loops over float64, from the paper and its sums."""

import math

import torch


def transform(image, operation, magnitudes):
    """`image` (C, H, W) float64 and three numbers in [0, 1) give the transformed image."""
    return globals()[operation](image, [float(number) for number in magnitudes])


def half_up(number):
    return math.floor(number + 0.5)


def color(image, magnitudes):
    channels, height, width = image.shape
    result = torch.empty_like(image)
    for y in range(height):
        for x in range(width):
            pixel = [float(image[c, y, x]) + magnitudes[0] - 0.5 for c in range(channels)]
            mean = sum(pixel) / channels
            for c in range(channels):
                result[c, y, x] = (pixel[c] - mean) * 2 * magnitudes[1] + mean
    mean = sum(result.flatten().tolist()) / result.numel()
    for c in range(channels):
        for y in range(height):
            for x in range(width):
                result[c, y, x] = (float(result[c, y, x]) - mean) * (magnitudes[2] + 0.5) + mean
    return result


def crop(image, magnitudes):
    _, height, width = image.shape
    most_y, most_x = half_up(height / 8), half_up(width / 8)
    shift_y = math.floor(magnitudes[0] * (2 * most_y + 1)) - most_y
    shift_x = math.floor(magnitudes[1] * (2 * most_x + 1)) - most_x
    result = torch.zeros_like(image)
    for y in range(height):
        for x in range(width):
            if 0 <= y + shift_y < height and 0 <= x + shift_x < width:
                result[:, y, x] = image[:, y + shift_y, x + shift_x]
    return result


def cutout(image, magnitudes):
    _, height, width = image.shape
    covered = []
    for side, magnitude in zip((height, width), magnitudes, strict=False):
        length = half_up(side / 2)
        centres = range(side) if length % 2 else range(side + 1)
        start = centres[math.floor(magnitude * len(centres))] - length // 2
        covered.append(range(start, start + length))
    result = image.clone()
    for y in range(height):
        for x in range(width):
            if y in covered[0] and x in covered[1]:
                result[:, y, x] = 0
    return result


def flip(image, magnitudes):
    width = image.shape[2]
    result = image.clone()
    if magnitudes[0] < 0.5:
        for x in range(width):
            result[:, :, x] = image[:, :, width - 1 - x]
    return result


def scale(image, magnitudes):
    vertical, horizontal = (magnitudes[1] * (1.2 - 1 / 1.2) + 1 / 1.2, magnitudes[0] * (1.2 - 1 / 1.2) + 1 / 1.2)
    return read_at(image, lambda y, x: (vertical * y, horizontal * x))


def rotate(image, magnitudes):
    angle = (magnitudes[0] - 0.5) * 2 * 15 / 180 * math.pi
    return read_at(
        image,
        lambda y, x: (math.sin(angle) * x + math.cos(angle) * y, math.cos(angle) * x - math.sin(angle) * y),
    )


def read_at(image, source):
    """Bilinear reading at `source` of each position, in pixels from the centre of the image; zero outside."""
    channels, height, width = image.shape
    result = torch.zeros_like(image)
    for y in range(height):
        for x in range(width):
            source_y, source_x = source(y - (height - 1) / 2, x - (width - 1) / 2)
            source_y, source_x = source_y + (height - 1) / 2, source_x + (width - 1) / 2
            for near_y in (math.floor(source_y), math.floor(source_y) + 1):
                for near_x in (math.floor(source_x), math.floor(source_x) + 1):
                    if 0 <= near_y < height and 0 <= near_x < width:
                        weight = (1 - abs(source_y - near_y)) * (1 - abs(source_x - near_x))
                        for c in range(channels):
                            result[c, y, x] += weight * image[c, near_y, near_x]
    return result
