"""Given regions read from every view: how often each view, and `Reader.read_regions`, reads a region right.

    python benchmarks/regions.py FOLDER [--model NAME|FILE ...] [--sheet FILE]

FOLDER holds `gt.jsonl`, one page a line: {"image": path, "words": [{"poly": [[x, y], ...], "text": ...}]}. Letters and
digits count, case and blanks do not. Also printed: the share of regions that were read twice and the processor time,
with and without other views. `--sheet` writes a picture of all regions in all views with what was read.
"""

import argparse
import json
import time
from itertools import groupby
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from clip4str_plugin import Recognizer, rectify
from clip4str_plugin.geometry.polygons import minimum_area_rectangle
from clip4str_plugin.geometry.rectification import straighten
from clip4str_plugin.reading.polygons import PolygonReading, read_polygons

Region = tuple[str, np.ndarray, np.ndarray, str]


def plain(text: str) -> str:
    return "".join(char for char in text.lower() if char.isalnum())


def load(folder: Path) -> list[Region]:
    """Name, page, polygon and text of every region with text."""
    regions = []
    for line in (folder / "gt.jsonl").read_text(encoding="utf-8").splitlines():
        page = json.loads(line)
        image = np.asarray(Image.open(folder / page["image"]).convert("RGB"))
        words = [word for word in page["words"] if not word.get("ignore") and plain(word["text"])]
        regions += [(page["image"], image, np.array(word["poly"], dtype=np.float64), word["text"]) for word in words]
    return regions


def box(image: np.ndarray, polygon: np.ndarray, margin: float = 0.0) -> np.ndarray:
    """The upright box around a polygon, grown on all sides by a share of its size."""
    low, high = polygon.min(axis=0), polygon.max(axis=0)
    left, top = np.floor((low - margin * (high - low)).clip(0)).astype(int)
    right, bottom = np.ceil(high + margin * (high - low)).astype(int)
    return image[top:bottom, left:right]


VIEWS = {
    "rectify": rectify,
    "upright box": box,
    "upright box + 8 %": lambda image, polygon: box(image, polygon, 0.08),
    "smallest rectangle": lambda image, polygon: rectify(image, minimum_area_rectangle(polygon)),
    "rectify, grown by 15 %": lambda image, polygon: straighten(image, polygon).strip.grown(*[0.15] * 4).crop(image),
}


def read_all(regions: list[Region], recognizer: Recognizer, other: bool) -> tuple[list[PolygonReading], float]:
    """Readings page by page, and processor seconds."""
    begin, readings = time.process_time(), []
    for _, group in groupby(regions, key=lambda region: region[0]):
        page = list(group)
        readings += read_polygons(page[0][1], [polygon for _, _, polygon, _ in page], recognizer, other=other)
    return readings, time.process_time() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", nargs="+", default=["tiny"], metavar="NAME|FILE")
    parser.add_argument("--sheet", type=Path, help="picture to write")
    options = parser.parse_args()
    regions = load(options.folder)
    crops = {name: [view(image, polygon) for _, image, polygon, _ in regions] for name, view in VIEWS.items()}
    for model in options.model:
        recognizer = Recognizer(model)
        texts = {name: [reading.text for reading in recognizer(views)] for name, views in crops.items()}
        notes = {}
        for name, other in (("read_regions, one view", False), ("read_regions", True)):
            readings, seconds = read_all(regions, recognizer, other)
            texts[name] = [reading.text for reading in readings]
            twice = np.mean([reading.views > 1 for reading in readings])
            notes[name] = f", {100 * twice:.0f} % read twice, {seconds:.1f} s"
        print(f"{model}: {len(regions)} regions right, %")
        right = {n: [plain(t) == plain(region[3]) for t, region in zip(found, regions)] for n, found in texts.items()}
        for name, hits in right.items():
            print(f"  {name:24} {100 * np.mean(hits):5.1f}{notes.get(name, '')}")
        print(f"  {'some one of these':24} {100 * np.mean(np.any(list(right.values()), axis=0)):5.1f}", flush=True)
        for region, got, good in zip(regions, texts["read_regions"], right["read_regions"]):
            if not good:
                print(f"    {region[0]}: {region[3]!r} read as {got!r}")
    if options.sheet:
        draw_sheet(options.sheet, regions, crops, texts, right)


def draw_sheet(
    path: Path,
    regions: list[Region],
    crops: dict[str, list[np.ndarray]],
    texts: dict[str, list[str]],
    right: dict[str, list[bool]],
) -> None:
    """One row a region, one column a view."""
    width, height = 260, 110
    sheet = Image.new("RGB", (width * len(crops), height * len(regions)), "gray")
    draw = ImageDraw.Draw(sheet)
    for row, region in enumerate(regions):
        for column, name in enumerate(crops):
            picture = Image.fromarray(np.ascontiguousarray(crops[name][row]))
            picture.thumbnail((width - 8, height - 26))
            sheet.paste(picture, (column * width + 4, row * height + 20))
            colour = "lime" if right[name][row] else "red"
            said = f"{region[3]}: " if not column else ""
            draw.text((column * width + 4, row * height + 4), f"{said}{texts[name][row]}", fill=colour)
    sheet.save(path)


if __name__ == "__main__":
    main()
