"""The loops by which papers train their students, one after another as their code has them, in fp32 on batches.

A loop takes a student, for some a teacher (normalised images → logits), and `epochs`: lists of batches
(images, labels, mix), images normalised and labels whole numbers. `mix` is None, ("cutmix", partners, box, ratio) with
a box (x1, y1, x2, y2), or ("mixup", partners, weight). It trains the student in place and returns the loss of every
batch and the learning rate of every epoch.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, LinearLR, MultiStepLR, SequentialLR


def get_parameters(model):
    """SRe2L's: weights of more than one dimension decay, all else doesn't."""
    without, decaying = [], []
    for name, parameter in model.named_parameters():
        if name.find("weight") >= 0 and len(parameter.size()) > 1:
            decaying.append(parameter)
        else:
            without.append(parameter)
    assert len(list(model.parameters())) == len(decaying) + len(without)
    return [{"params": decaying}, {"params": without, "weight_decay": 0.0}]


def mixed(images, mix):
    """CutMix writes into the batch; MixUp makes a new one."""
    if mix is None:
        return images
    if mix[0] == "mixup":
        _, partners, weight = mix
        return images * weight + images[partners] * (1 - weight)
    _, partners, (x1, y1, x2, y2), _ = mix
    images[:, :, x1:x2, y1:y2] = images[partners, :, x1:x2, y1:y2]
    return images


def stepped(epochs, scheduler, optimizer, train):
    """The loop around the epochs: rates are those that an epoch trains at."""
    losses, rates = [], []
    for batches in epochs:
        rates.append(optimizer.param_groups[0]["lr"])
        losses += train(batches)
        scheduler.step()
    return losses, rates


def rded(student, teacher, epochs, total, rate, decay=0.01, temperature=20.0, again=True):
    """RDED, validation/main.py; `again` is the forward pass for the training accuracy."""
    optimizer = torch.optim.AdamW(get_parameters(student), lr=rate, betas=[0.9, 0.999], weight_decay=decay)
    scheduler = LambdaLR(optimizer, lambda step: 0.5 * (1.0 + math.cos(math.pi * step / total / 2)))
    kl = nn.KLDivLoss(reduction="batchmean")

    def train(batches):
        student.train()
        losses = []
        for images, _, mix in batches:
            with torch.no_grad():
                mix_images = mixed(images, mix)
                if again:
                    student(images)
                soft = F.softmax(teacher(mix_images) / temperature, dim=1)
            optimizer.zero_grad()
            loss = kl(F.log_softmax(student(mix_images) / temperature, dim=1), soft)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        return losses

    return stepped(epochs, scheduler, optimizer, train)


def sre2l_kd(student, teacher, epochs, total, accumulation, rate=0.001, decay=0.01, temperature=20.0):
    """SRe2L, validate/train_KD.py with --cos."""
    optimizer = torch.optim.AdamW(get_parameters(student), lr=rate, weight_decay=decay)
    scheduler = LambdaLR(optimizer, lambda step: 0.5 * (1.0 + math.cos(math.pi * step / total)))
    kl = nn.KLDivLoss(reduction="batchmean")

    def train(batches):
        student.train()
        losses = []
        for index, (images, _, mix) in enumerate(batches):
            images = mixed(images, mix)
            output = F.log_softmax(student(images) / temperature, dim=1)
            loss = kl(output, F.softmax(teacher(images).detach() / temperature, dim=1))
            losses.append(loss.item())
            if index == 0:
                optimizer.zero_grad()
            loss = loss / accumulation
            loss.backward()
            if (index + 1) % accumulation == 0 or index == len(batches) - 1:
                optimizer.step()
                optimizer.zero_grad()
        return losses

    return stepped(epochs, scheduler, optimizer, train)


def sre2l_cifar(student, teacher, epochs, total, rate=0.001, decay=0.01, temperature=30.0):
    """SRe2L, small_dataset/relabel_cifar.py: all weights decay; the teacher isn't put into eval mode by the caller."""
    optimizer = torch.optim.AdamW(student.parameters(), lr=rate, weight_decay=decay)
    scheduler = CosineAnnealingLR(optimizer, total)
    kl = nn.KLDivLoss(reduction="batchmean")

    def train(batches):
        student.train()
        losses = []
        for images, _, mix in batches:
            images = mixed(images, mix)
            soft = F.softmax(teacher(images).detach() / temperature, dim=1)
            loss = kl(F.log_softmax(student(images) / temperature, dim=1), soft)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        return losses

    return stepped(epochs, scheduler, optimizer, train)


def sre2l_tiny(student, teacher, epochs, total, rate=0.2, decay=1e-4, temperature=20.0):
    """SRe2L's Tiny-ImageNet as LPLD replays it: SGD, five epochs of warming up, T² in the loss."""
    optimizer = torch.optim.SGD(student.parameters(), lr=rate, momentum=0.9, weight_decay=decay)
    warm = LinearLR(optimizer, start_factor=0.01, total_iters=5)
    main = CosineAnnealingLR(optimizer, T_max=total - 5)
    scheduler = SequentialLR(optimizer, [warm, main], milestones=[5])
    kl = nn.KLDivLoss(reduction="batchmean")

    def train(batches):
        student.train()
        losses = []
        for images, _, _ in batches:
            soft = F.softmax(teacher(images).detach() / temperature, dim=1)
            loss = kl(F.log_softmax(student(images) / temperature, dim=1), soft) * temperature * temperature
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        return losses

    return stepped(epochs, scheduler, optimizer, train)


def fadrm(student, teacher, epochs, total, rate, eta, decay=0.01, temperature=20.0):
    """FADRM, relabel and validate/train_fkd.py in one: the caller's teacher is in train mode."""
    optimizer = torch.optim.AdamW(get_parameters(student), lr=rate, weight_decay=decay)
    scheduler = LambdaLR(optimizer, lambda step: 0.5 * (1.0 + math.cos(math.pi * step / total / eta)))
    kl = nn.KLDivLoss(reduction="batchmean")

    def train(batches):
        student.train()
        losses = []
        for images, _, mix in batches:
            images = mixed(images, mix)
            optimizer.zero_grad()
            soft = F.softmax(teacher(images).detach() / temperature, dim=1)
            loss = kl(F.log_softmax(student(images) / temperature, dim=1), soft)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        return losses

    return stepped(epochs, scheduler, optimizer, train)


def idc(student, epochs, total, rate=0.01, decay=5e-4):
    """IDC and Minimax, train.py: the cross-entropy with both labels of a mixed image."""
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(student.parameters(), rate, momentum=0.9, weight_decay=decay)
    scheduler = MultiStepLR(optimizer, milestones=[2 * total // 3, 5 * total // 6], gamma=0.2)

    def train(batches):
        student.train()
        losses = []
        for images, target, mix in batches:
            if mix is not None:
                target_b, ratio = target[mix[1]], mix[3]
                output = student(mixed(images, mix))
                loss = criterion(output, target) * ratio + criterion(output, target_b) * (1.0 - ratio)
            else:
                loss = criterion(student(images), target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        return losses

    return stepped(epochs, scheduler, optimizer, train)


def statistics_of_logits(
    student, teachers, epochs, total, weight, share, rate=0.001, decay=0.01, kept=None, momentum=None
):
    """G-VBSM and EDC: squared difference from the mean logits, and a little of the unmixed images' cross-entropy.

    `share` gives an epoch's share of the rate; with `kept` the running mean of the parameters is what is tested; with
    `momentum` it is SGD's (EDC's --sgd).
    """
    if momentum is None:
        optimizer = torch.optim.AdamW(get_parameters(student), lr=rate, weight_decay=decay)
    else:
        optimizer = torch.optim.SGD(get_parameters(student), lr=rate, momentum=momentum, weight_decay=decay)
    scheduler = LambdaLR(optimizer, lambda step: share(step, total))
    mean = [parameter.detach().clone() for parameter in student.parameters()]

    def train(batches):
        student.train()
        losses = []
        for images, target, mix in batches:
            images = mixed(images, mix)
            soft = torch.stack([teacher(images).detach() for teacher in teachers]).mean(0)
            output = student(images)
            loss = F.mse_loss(output, soft) + weight * F.cross_entropy(output, target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            if kept is not None:
                for own, parameter in zip(mean, student.parameters(), strict=True):
                    own.copy_(kept * own + (1 - kept) * parameter.detach())
        return losses

    found = stepped(epochs, scheduler, optimizer, train)
    if kept is not None:
        with torch.no_grad():
            for own, parameter in zip(mean, student.parameters(), strict=True):
                parameter.copy_(own)
    return found


def fixed_labels(student, epochs, total, soft_labels, rate, temperature, end, decay=0.01):
    """One stored soft label per image, of which `labels` are the places: the audit's SL, DD-Ranking's mode S.

    What CutMix does to the images isn't done to the labels. `end` is 1 for a cosine to 0, 2 for one to half.
    """
    optimizer = torch.optim.AdamW(student.parameters(), lr=rate, weight_decay=decay)
    scheduler = LambdaLR(optimizer, lambda step: 0.5 * (1.0 + math.cos(math.pi * step / total / end)))
    kl = nn.KLDivLoss(reduction="batchmean")

    def train(batches):
        student.train()
        losses = []
        for images, places, mix in batches:
            loss = kl(F.log_softmax(student(mixed(images, mix)) / temperature, dim=1), soft_labels[places])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        return losses

    return stepped(epochs, scheduler, optimizer, train)


def lgm(head, features, batches_of, epochs, batch_size):
    """`train_one_epoch` of LGM's `eval.py`: heads on a frozen backbone, whose rate goes by the batch."""
    optimizer = torch.optim.Adam(head.parameters(), 0.001 * batch_size / 256.0, weight_decay=0)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs, eta_min=0)
    for epoch in range(1, epochs + 1):
        for x, y in batches_of(epoch):
            with torch.no_grad():
                z = features(x)
            loss = torch.nn.functional.cross_entropy(head(z), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        scheduler.step()


def edc_rates(optimizer, ls_type, st, epochs):
    """EDC's schedulers, `direct_train.py` of its branches for small sets."""
    if ls_type == "cos":
        return LambdaLR(
            optimizer,
            lambda step: 0.5 * (1.0 + math.cos(math.pi * step / (st * epochs))) if step <= (st * epochs) else 0,
        )
    if ls_type == "cos2":
        return LambdaLR(
            optimizer,
            lambda step: (
                0.5 * (1.0 + math.cos(math.pi * step / (st * epochs)))
                if step <= (epochs * 5 / 6)
                else 0.5 * (1.0 + math.cos(math.pi * 5 / (6 * st))) * (6 * epochs - 6 * step) / (6 * epochs)
            ),
        )
    if ls_type == "multisteplr":
        return MultiStepLR(optimizer, [800, 900, 950], 0.5)
    raise NotImplementedError
