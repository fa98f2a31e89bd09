"""CLoM's two distances (arXiv 2310.03295) in plain loops over images, in their matrix form."""


def unit(vector):
    return vector / vector.square().sum().sqrt()


def cosine(real_features, real_labels, synthetic_features, synthetic_labels):
    """Σ M∘D / Σ D over every pair of a real and a synthetic image."""
    same_class, every_class = 0.0, 0.0
    for real, real_label in zip(real_features, real_labels, strict=True):
        for synthetic, synthetic_label in zip(synthetic_features, synthetic_labels, strict=True):
            distance = 1 - (unit(real) * unit(synthetic)).sum()
            every_class = every_class + distance
            if int(real_label) == int(synthetic_label):
                same_class = same_class + distance
    return same_class / every_class


def cross_entropy(logits, label_names, class_names):
    """Mean over the images of −log softmax(logits) at the image's label; `class_names` names each logit."""
    total = 0.0
    for row, name in zip(logits, label_names, strict=True):
        total = total - (row[class_names.index(name)] - row.exp().sum().log())
    return total / len(logits)
