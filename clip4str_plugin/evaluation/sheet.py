"""A contact sheet: the worst misread words of an evaluation as one picture."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw, ImageFont

from clip4str_plugin.errors import ImageError

if TYPE_CHECKING:
    from clip4str_plugin.data.datasets import WordDataset
    from clip4str_plugin.evaluation.evaluate import WordResult

__all__ = ["contact_sheet"]

_COLUMNS = 5
_CELL = (240, 108)  # width and height in pixels
_CROP = (224, 64)  # the most a crop takes of it
_LABEL, _READ, _GROUND = (30, 30, 30), (190, 30, 30), (255, 255, 255)


def contact_sheet(sets: Iterable[tuple[WordDataset, Sequence[WordResult]]], count: int = 100) -> Image.Image:
    """Draw the worst mistakes, row by row, the most confident first.

    Every cell shows the crop, below it the label (black), then what was read (red) with its confidence in percent.

    Args:
        sets: the sets with their readings.
        count: the most to draw.
    """
    wrong = (
        (reading.confidence, place, dataset, reading)
        for place, (dataset, readings) in enumerate(sets)
        for reading in readings
        if not reading.correct
    )
    worst = heapq.nlargest(count, wrong, key=lambda item: item[0])
    rows = max(1, -(-len(worst) // _COLUMNS))
    sheet = Image.new("RGB", (_COLUMNS * _CELL[0], rows * _CELL[1]), _GROUND)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=15)
    for number, (_, _, dataset, reading) in enumerate(worst):
        x, y = number % _COLUMNS * _CELL[0] + 8, number // _COLUMNS * _CELL[1] + 4
        try:
            crop = Image.fromarray(dataset[reading.index][0])
        except ImageError:  # gone since it was read
            draw.text((x, y + 20), "picture is gone", _READ, font)
        else:
            scale = min(_CROP[0] / crop.width, _CROP[1] / crop.height, 4)
            size = max(1, round(crop.width * scale)), max(1, round(crop.height * scale))
            sheet.paste(crop.resize(size, Image.Resampling.BICUBIC), (x, y))
        draw.text((x, y + 66), reading.label, _LABEL, font)
        draw.text((x, y + 83), f"{reading.text or '(nothing)'}  {100 * reading.confidence:.0f} %", _READ, font)
    return sheet
