"""A distilled set as a picture."""

import numpy as np
import pytest
import torch

from hf_dd.config import DataConfig
from hf_dd.data.image_data import load_data
from hf_dd.synthetic.distilled_set import to_eight_bits
from hf_dd.synthetic.preview import caption, preview
from hf_dd.synthetic.synthetic_set import SyntheticSet


def test_the_preview_shows_a_row_for_each_class_beside_its_name():
    digits = load_data(DataConfig())
    synthetic = SyntheticSet.initial(digits, 3, "real", 0, torch.float32)
    names = [f"number {name}" for name in digits.class_names]
    image = preview(synthetic.own_space(), synthetic.labels, names)
    array = np.asarray(image)
    eight_bits = to_eight_bits(synthetic.own_space().detach()).numpy()
    margin = (image.width - 4) // 3 - 3 * 68  # three rows beside each other, each of three images of 64 and gaps of 4
    assert image.mode == "RGB" and image.size == (3 * (margin + 3 * 68) + 4, 4 * 68 + 4) and 40 < margin < 100
    for label, column in ((0, 0), (7, 2)):
        left = label % 3 * (margin + 3 * 68) + margin + column * 68
        top = label // 3 * 68 + 4
        shown = array[top : top + 64 : 8, left : left + 64 : 8]
        assert np.array_equal(shown, eight_bits[label * 3 + column].transpose(1, 2, 0).repeat(3, 2))
        assert np.array_equal(array[top + 7 : top + 64 : 8, left + 7 : left + 64 : 8], shown)  # by a whole factor
        name = array[top : top + 64, left - column * 68 - margin : left - column * 68]
        assert (name < 100).any() and (name[:16] == 255).all()
    plain = preview(synthetic.own_space(), synthetic.labels)
    assert plain.size == (4 * (4 + 3 * 68) + 4, 3 * 68 + 4)


@pytest.mark.parametrize(
    ("classes", "ipc", "shape", "size"),
    [
        (1, 12, (8, 8), (4 + 10 * 68 + 4, 72)),  # ten of a class
        (1, 2, (40, 40), (4 + 2 * 84 + 4, 88)),
        (3, 1, (224, 224), (3 * 136 + 4, 136)),  # reduced
        (2, 1, (3, 2000), (2 * 520 + 4 - 520, 2 * 5 + 4)),
        (1, 1, (1, 1), (76, 72)),
        (100, 10, (32, 32), (2 * 364 + 4, 50 * 36 + 4)),  # many: 32
    ],
)
def test_the_previews_size(classes, ipc, shape, size):
    pixels = torch.rand(classes * ipc, 3, *shape)
    assert preview(pixels, torch.arange(classes).repeat_interleave(ipc)).size == size


def test_a_preview_of_a_thousand_classes_stays_small_and_counts_those_that_it_leaves_out():
    pixels, labels = torch.rand(1, 3, 224, 224).expand(1000, -1, -1, -1), torch.arange(1000)
    image = preview(pixels, labels, [f"class {label}, of many letters and 漢字" for label in range(1000)])
    assert image.width * image.height < 2.2e6 and image.width <= 900
    assert (np.asarray(image)[-14:, :60] < 100).any()  # "and … more classes"


def test_a_class_is_called_on_the_preview_by_what_its_font_has():
    assert caption("Ankle boot", 0) == "Ankle boot" and caption("Müllwagen\n 🎉", 0) == "Mullwagen ?"
    assert caption("Straße – Ærø, Łódź", 0) == "Strasse - Aero, Lodz" and caption("crème brûlée", 0) == "creme brulee"
    assert [caption(name, 2) for name in ("Ωmega", "Müllwagen 漢", " ")] == ["class 2"] * 3
    assert [caption(name, label) for label, name in enumerate("猫犬")] == ["class 0", "class 1"]
    assert caption("кошка", 7) == "class 7" and caption("København", 7) == "Kobenhavn"
    assert caption("a" * 21, 0) == "a" * 17 + "..."
