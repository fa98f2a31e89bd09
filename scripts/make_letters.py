# /// script
# requires-python = ">=3.11"
# dependencies = ["numpy>=2.0", "pillow>=12.0"]
# ///
"""Make an image-classification data set that no recipe was tuned for: coloured letters in the fonts of this machine.

    python scripts/make_letters.py outputs/letters          # Debian: apt install fonts-dejavu fonts-liberation
    hf-dd distill --dataset outputs/letters --ipc 10 --minutes 20

Ten classes, A to J, of 40×40 pixels: a random font, size, turn, place and two random colours that differ in
brightness, with noise. The last fifth of the fonts is in the test split alone. The same seed and fonts give the same
images. The folder holds `train/CLASS/NUMBER.png` and `test/CLASS/NUMBER.png`, as `load_dataset` reads image folders.
"""

import argparse
import random
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

LETTERS = "ABCDEFGHIJ"
SIDE = 40


def main() -> None:
    """Write the folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("--fonts", type=Path, default=Path("/usr/share/fonts"), help="Folder with TrueType fonts.")
    parser.add_argument("--train", type=int, default=600, help="Training images of each class.")
    parser.add_argument("--test", type=int, default=186, help="Test images of each class.")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    fonts = [path for path in sorted(options.fonts.rglob("*.ttf")) if draws_letters(path)]
    if len(fonts) < 5:
        parser.error(f"{options.fonts} has {len(fonts)} TrueType fonts with these letters; at least 5 are needed.")
    if options.output.exists():
        parser.error(f"{options.output} is there already.")
    random.Random(options.seed).shuffle(fonts)
    held = max(1, len(fonts) // 5)
    for split, own, count in (("train", fonts[:-held], options.train), ("test", fonts[-held:], options.test)):
        for letter in LETTERS:
            folder = options.output / split / letter
            folder.mkdir(parents=True)
            for number in range(count):
                image(letter, own, random.Random(f"{options.seed} {split} {letter} {number}")).save(
                    folder / f"{number:04}.png"
                )
    print(f"{options.output}: {len(LETTERS)} classes of {options.train} + {options.test} images, {len(fonts)} fonts")


def draws_letters(path: Path) -> bool:
    """Whether a font has these letters, each of its own form: fonts of symbols draw boxes."""
    font = ImageFont.truetype(str(path), 24)
    forms = {bytes(font.getmask(letter)) for letter in LETTERS}
    return len(forms) == len(LETTERS) and "math" not in path.name.lower()


def image(letter: str, fonts: list[Path], draws: random.Random) -> Image.Image:
    """One letter."""
    font = ImageFont.truetype(str(draws.choice(fonts)), draws.randint(18, 32))
    while True:
        paper, ink = ([draws.randrange(256) for _ in range(3)] for _ in range(2))
        if abs(sum(paper) - sum(ink)) > 150:
            break
    mask = Image.new("L", (SIDE, SIDE))
    middle = SIDE / 2 + draws.uniform(-4, 4), SIDE / 2 + draws.uniform(-4, 4)
    ImageDraw.Draw(mask).text(middle, letter, fill=255, font=font, anchor="mm")
    mask = mask.rotate(draws.uniform(-15, 15), resample=Image.Resampling.BILINEAR)
    drawn = Image.composite(Image.new("RGB", mask.size, tuple(ink)), Image.new("RGB", mask.size, tuple(paper)), mask)
    noise = np.random.default_rng(draws.randrange(2**32)).normal(0, 12, (SIDE, SIDE, 3))
    return Image.fromarray((np.asarray(drawn) + noise).clip(0, 255).astype(np.uint8))


if __name__ == "__main__":
    main()
