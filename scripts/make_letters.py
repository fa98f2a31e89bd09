# /// script
# requires-python = ">=3.11"
# dependencies = ["numpy>=2.0", "pillow>=12.0"]
# ///
"""Make an image-classification data set that no recipe was tuned for: coloured letters in the fonts of this machine.

    python scripts/make_letters.py outputs/letters          # Debian: apt install fonts-dejavu fonts-liberation
    python scripts/make_letters.py outputs/letters --fonts pillow --side 24 --train 200 --test 100     # on any machine
    hf-dd distill --dataset outputs/letters --ipc 10 --minutes 20

Ten classes, A to J, of 40×40 pixels: a random font, size, turn, place and two random colours that differ in
brightness, with noise. The last fifth of the fonts is in the test split alone, where there are several. The same seed
and fonts give the same images. The folder holds `train/CLASS/NUMBER.png` and `test/CLASS/NUMBER.png`, as
`load_dataset` reads image folders.
"""

import argparse
import random
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

LETTERS = "ABCDEFGHIJ"
OWN_FONT = "pillow"  # the one that comes with Pillow


def main() -> None:
    """Write the folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument(
        "--fonts", default="/usr/share/fonts", help=f"Folder with TrueType fonts, or {OWN_FONT} for Pillow's own font."
    )
    parser.add_argument("--side", type=int, default=40, help="Pixels of a side of an image.")
    parser.add_argument("--train", type=int, default=600, help="Training images of each class.")
    parser.add_argument("--test", type=int, default=186, help="Test images of each class.")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    own = options.fonts == OWN_FONT
    fonts = [None] if own else [path for path in sorted(Path(options.fonts).rglob("*.ttf")) if draws_letters(path)]
    if len(fonts) < 5 and not own:
        parser.error(
            f"{options.fonts} has {len(fonts)} TrueType fonts with these letters; at least 5 are needed. "
            f"--fonts {OWN_FONT} needs none."
        )
    if options.output.exists():
        parser.error(f"{options.output} is there already.")
    random.Random(options.seed).shuffle(fonts)
    held = max(1, len(fonts) // 5)
    for split, drawn, count in (
        ("train", fonts[:-held] or fonts, options.train),
        ("test", fonts[-held:], options.test),
    ):
        for letter in LETTERS:
            folder = options.output / split / letter
            folder.mkdir(parents=True)
            for number in range(count):
                draws = random.Random(f"{options.seed} {split} {letter} {number}")
                image(letter, drawn, options.side, draws).save(folder / f"{number:04}.png")
    made = f"{len(LETTERS)} classes of {options.train} training and {options.test} test images"
    print(f"{options.output}: {made}, from {len(fonts)} {'font' if len(fonts) == 1 else 'fonts'}")


def draws_letters(path: Path) -> bool:
    """Whether a font has these letters, each of its own form: fonts of symbols draw boxes."""
    font = ImageFont.truetype(str(path), 24)
    forms = {bytes(font.getmask(letter)) for letter in LETTERS}
    return len(forms) == len(LETTERS) and "math" not in path.name.lower()


def image(letter: str, fonts: list[Path | None], side: int, draws: random.Random) -> Image.Image:
    """One letter, in one of these fonts, where None is Pillow's own."""
    path, size = draws.choice(fonts), draws.randint(round(0.45 * side), round(0.8 * side))
    font = ImageFont.load_default(size) if path is None else ImageFont.truetype(str(path), size)
    while True:
        paper, ink = ([draws.randrange(256) for _ in range(3)] for _ in range(2))
        if abs(sum(paper) - sum(ink)) > 150:
            break
    mask = Image.new("L", (side, side))
    middle = [side / 2 + draws.uniform(-0.1, 0.1) * side for _ in range(2)]
    ImageDraw.Draw(mask).text(middle, letter, fill=255, font=font, anchor="mm")
    mask = mask.rotate(draws.uniform(-15, 15), resample=Image.Resampling.BILINEAR)
    drawn = Image.composite(Image.new("RGB", mask.size, tuple(ink)), Image.new("RGB", mask.size, tuple(paper)), mask)
    noise = np.random.default_rng(draws.randrange(2**32)).normal(0, 12, (side, side, 3))
    return Image.fromarray((np.asarray(drawn) + noise).clip(0, 255).astype(np.uint8))


if __name__ == "__main__":
    main()
