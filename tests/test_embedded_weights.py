"""What the embedded weights promise beyond the published models: the signs of other currencies, and small print."""

from pathlib import Path

import matplotlib
import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from clip4str_plugin import Recognizer

FONTS = Path(matplotlib.get_data_path()) / "fonts" / "ttf"


def drawn(text: str, face: str, size: int) -> np.ndarray:
    font = ImageFont.truetype(str(FONTS / f"{face}.ttf"), size)
    left, top, right, bottom = font.getbbox(text)
    margin = max(1, size // 8)
    image = Image.new("RGB", (round(right - left) + 2 * margin, round(bottom - top) + 2 * margin), "white")
    ImageDraw.Draw(image).text((margin - left, margin - top), text, font=font, fill="black")
    return np.asarray(image)


@pytest.fixture(scope="module")
def recognizer() -> Recognizer:
    return Recognizer("tiny")


@pytest.mark.parametrize("face", ["DejaVuSans", "DejaVuSerif", "DejaVuSansMono", "STIXGeneral"])
def test_euros_and_pounds_keep_their_sign(recognizer, face):
    texts = ["€0.00", "€12.50", "12,50€", "99€", "€1,249.00", "£3", "£1,249.00", "€", "£", "$12.50", "EUR", "E6"]
    read = [result.text for result in recognizer([drawn(text, face, 32) for text in texts])]
    assert sum(text == label for text, label in zip(read, texts)) >= len(texts) - 1, read


def test_a_charset_without_the_signs_leaves_them_out(recognizer):
    digits = Recognizer("tiny", charset="0123456789.$")
    assert set(digits([drawn("€12.50", "DejaVuSans", 32)])[0].text) <= set("0123456789.$")


def test_letters_of_eight_pixels_are_read(recognizer):
    texts = [
        "Invoice",
        "Total",
        "12.95",
        "Address",
        "Quantity",
        "08/14/2019",
        "number",
        "Balance",
        "please",
        "Signature",
    ]
    crops = []
    for text in texts:
        large = drawn(text, "DejaVuSerif", 44)  # capitals of 32 pixels
        crops.append(np.asarray(Image.fromarray(large).resize((large.shape[1] // 4, large.shape[0] // 4))))
    read = [result.text for result in recognizer(crops)]
    assert sum(text == label for text, label in zip(read, texts)) >= len(texts) - 1, read
