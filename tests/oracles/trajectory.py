"""Trajectory matching, term by term, on one flat vector of parameters.

MTT: Cazenavette et al., CVPR 2022, algorithm 1 and eq. 2. TESLA: Cui et al., ICML 2023, section 4.
"""

import torch


def cross_entropy(logits, labels):
    """Of labels that are classes, or probabilities."""
    total = 0.0
    for row, label in zip(logits, labels, strict=True):
        known = row[label] if label.ndim == 0 else (label * row).sum()
        total = total - (known - torch.logsumexp(row, 0))
    return total / len(logits)


def squared_distance(left, right):
    total = 0.0
    for a, b in zip(left, right, strict=True):
        total = total + (a - b) ** 2
    return total


def matching(network, start, target, batches, labels, rate):
    """MTT's loss, differentiable in the batches and in the rate; `network(parameters, images)` gives logits."""
    student = start.clone().requires_grad_()
    for images, classes in zip(batches, labels, strict=True):
        loss = cross_entropy(network(student, images), classes)
        (gradient,) = torch.autograd.grad(loss, student, create_graph=True)
        student = student - rate * gradient
    return squared_distance(student, target) / squared_distance(start, target)


def constant_memory(network, start, target, batches, labels, rate):
    """TESLA's loss, its gradient for each batch, and for the rate: all as the formulas say, on detached students."""
    rate = rate.detach()
    students, gradients = [start], []
    for images, classes in zip(batches, labels, strict=True):
        student = students[-1].detach().requires_grad_()
        loss = cross_entropy(network(student, images.detach()), classes)
        gradients.append(torch.autograd.grad(loss, student)[0])
        students.append(student.detach() - rate * gradients[-1])
    total = torch.zeros_like(start)
    for gradient in gradients:
        total = total + gradient
    distance = start - target
    norm = squared_distance(start, target)
    value = squared_distance(distance, rate * total) / norm
    of_batches = []
    for student, images, classes in zip(students, batches, labels, strict=False):
        student, images = student.detach().requires_grad_(), images.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(cross_entropy(network(student, images), classes), student, create_graph=True)
        (found,) = torch.autograd.grad(((rate * total - distance) * gradient).sum(), images)
        of_batches.append(2 * rate / norm * found)
    of_rate = 2 / norm * ((rate * total - distance) * total).sum()
    return value, of_batches, of_rate


def constant_memory_of_labels(network, start, target, batches, labels, rate):
    """TESLA's gradient for the probabilities of each batch that a student learns from, by the same formula."""
    rate = rate.detach()
    students, total = [start], torch.zeros_like(start)
    for images, words in zip(batches, labels, strict=True):
        student = students[-1].detach().requires_grad_()
        loss = cross_entropy(network(student, images.detach()), words.detach())
        (gradient,) = torch.autograd.grad(loss, student)
        total = total + gradient
        students.append(student.detach() - rate * gradient)
    distance, found = start - target, []
    for student, images, words in zip(students, batches, labels, strict=False):
        student, words = student.detach().requires_grad_(), words.detach().requires_grad_()
        loss = cross_entropy(network(student, images.detach()), words)
        (gradient,) = torch.autograd.grad(loss, student, create_graph=True)
        (of_words,) = torch.autograd.grad(((rate * total - distance) * gradient).sum(), words)
        found.append(2 * rate / squared_distance(start, target) * of_words)
    return found
