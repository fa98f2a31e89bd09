"""A distilled set as a picture: some images of each class, beside its name."""

import math
import re
import unicodedata
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from hf_dd.synthetic.distilled_set import to_eight_bits, to_pil

PER_CLASS = 10  # images, at most
FEW = 200  # images, which are shown twice as large as
SMALLEST, LARGEST, LONGEST = 32, 128, 512  # screen pixels of a shorter side, and of a longer
PIXELS, WIDTH = 2**21, 900  # of the whole picture; rows stand beside each other up to this width
LATIN = r"LATIN (SMALL|CAPITAL) (?:LETTER|LIGATURE) (?:DOTLESS )?(\w\w?)\b"  # of one letter or two, whatever is added
TEXT, LETTERS, GAP = 12, 20, 4


def preview(pixel_values: Tensor, labels: Tensor, class_names: Sequence[str] = ()) -> Any:
    """The 8-bit images as a PIL image: those of a class in a row beside its name, short rows beside each other.

    Small images are enlarged by a whole factor, each pixel as it is, to a side of 64 screen pixels and more, or 32
    where there are many; large ones are reduced to 128. Of a class at most 10 images are shown, and as many classes as
    go into two million screen pixels; a last line counts the others.

    Args:
        pixel_values: floating, (N, 1 or 3, height, width), in [0, 1] space.
        labels: int64, (N,).
        class_names: the name of label i at place i; rows have no names without it.
    """
    from PIL import Image, ImageDraw, ImageFont

    labels, font = labels.cpu(), ImageFont.load_default(TEXT)
    classes = labels.unique().tolist()
    most = min(PER_CLASS, int(torch.bincount(labels).max()))
    few = len(classes) * most <= FEW
    height, width = shown_size(*pixel_values.shape[-2:], smallest=SMALLEST * (2 if few else 1))
    names = [caption(class_names[label], label) for label in classes] if class_names else [""] * len(classes)
    margin = max(round(font.getlength(name)) for name in names) + 4 * GAP if class_names else GAP
    block = margin + most * (width + GAP), height + GAP
    shown = classes[: max(1, PIXELS // (block[0] * block[1]))]
    across = max(1, min(len(shown), WIDTH // block[0]))
    down = math.ceil(len(shown) / across)
    rest = f"and {len(classes) - len(shown):,} more classes" if len(shown) < len(classes) else ""
    bottom = GAP + (TEXT + GAP) * bool(rest)
    picture = Image.new("RGB", (across * block[0] + GAP, down * block[1] + bottom), "white")
    draw = ImageDraw.Draw(picture)
    for place, label in enumerate(shown):
        left, top = place % across * block[0], place // across * block[1] + GAP
        start = left + margin - GAP - font.getlength(names[place])
        draw.text((start, top + (height - TEXT) // 2), names[place], "black", font)
        members = (labels == label).nonzero().flatten()[:most]
        for column, image in enumerate(to_eight_bits(pixel_values[members].detach().float().cpu())):
            how = Image.Resampling.NEAREST if height >= image.shape[1] else Image.Resampling.BOX
            resized = to_pil(image).convert("RGB").resize((width, height), how)
            picture.paste(resized, (left + margin + column * (width + GAP), top))
    if rest:
        draw.text((GAP, picture.height - TEXT - GAP), rest, "black", font)
    return picture


def shown_size(height: int, width: int, smallest: int) -> tuple[int, int]:
    """The screen pixels of an image: a multiple of its own, to the smallest side; less where it is large or long."""
    shorter, longer = min(height, width), max(height, width)
    if shorter > LARGEST or longer > LONGEST:
        ratio = min(LARGEST / shorter, LONGEST / longer)
        return max(1, round(height * ratio)), max(1, round(width * ratio))
    factor = max(1, min(math.ceil(smallest / shorter), LONGEST // longer))
    return height * factor, width * factor


def caption(name: str, label: int) -> str:
    """A class's name as the preview has it: short, in letters that its font has; its number where one is lost."""
    name = unicodedata.normalize("NFKD", " ".join(name.split()))
    letters = [in_ascii(letter) for letter in name if not unicodedata.combining(letter)]
    if not letters or None in letters:
        return f"class {label}"
    name = "".join(letters)
    return name if len(name) <= LETTERS else f"{name[: LETTERS - 3]}..."


def in_ascii(character: str) -> str | None:
    """A character without what is added to it (ø as o, ß as ss); None for a letter of another script, ? for a sign."""
    if character.casefold().isascii():
        return character if character.isascii() else character.casefold()
    if named := re.match(LATIN, unicodedata.name(character, "")):
        return named[2].lower() if named[1] == "SMALL" else named[2].capitalize()
    if unicodedata.category(character) == "Pd":
        return "-"
    return None if character.isalnum() else "?"
