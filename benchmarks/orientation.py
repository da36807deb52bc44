"""How often words keep or find their reading direction: real crops turned by quarters, and short strings upright.

    python benchmarks/orientation.py FOLDER... [--crops 150] [--mode auto] [--recognizer tiny PP-OCR] [--fonts FILE ...]

FOLDER holds `labels.tsv` (file TAB text). Each crop becomes a page of its own, turned by 0, 90, 180 or 270 degrees
anticlockwise; its outline goes through `rectify`, which knows nothing of the turn, and `resolve_orientation`. Printed
are, for each folder, recognizer and turn, the crops that end upright, the words read right (letters and digits alone,
cases ignored) without and with settling, and those that were read again. Short words have up to four letters or digits.
Then strings that read well upside down, too, are drawn upright in several fonts and sizes: none may be turned.
"""

import argparse
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from recognizers import RECOGNIZERS, Reads

from clip4str_plugin import Recognition
from clip4str_plugin.geometry.polygons import order_quad
from clip4str_plugin.geometry.rectification import rectify
from clip4str_plugin.reading.orientation import Oriented, resolve_orientation, stands_on_end

SHORT = ["[1999]", "6", "9", "NO", "80", "ON", "SOS", "69", "96", "1961", "IN", "WOW", "00", "I", "O", "X", "NOON"]


def remembering(read: Reads) -> Reads:
    """The same, but what was read before is not read again: the turns of a crop are seen in many settings."""
    known: dict[bytes, Recognition] = {}

    def key(crop: np.ndarray) -> bytes:
        return repr(crop.shape).encode() + crop.tobytes()

    def recall(crops: Sequence[np.ndarray]) -> list[Recognition]:
        keys = [key(crop) for crop in crops]
        fresh = {name: crop for name, crop in zip(keys, crops) if name not in known}
        known.update(zip(fresh, read(list(fresh.values()))))
        return [known[name] for name in keys]

    return recall


def laid_out(upright: np.ndarray, turns: int) -> tuple[np.ndarray, bool, int]:
    """What the recognizer gets of a page that shows one turned word.

    Returns:
        the crop, whether it stood on end, and how many quarter turns anticlockwise would bring it upright
    """
    page = np.ascontiguousarray(np.rot90(upright, turns))
    height, width = page.shape[:2]
    quad = order_quad(np.array([[0, 0], [width, 0], [width, height], [0, height]], float))
    # The corner that reading starts from tells by how much rectification turned the page.
    start = [(0, 0), (width, 0), (width, height), (0, height)].index(tuple(quad[0]))
    return rectify(page, quad, start="top-left"), stands_on_end(quad), (-turns - start) % 4


def plain(text: str) -> str:
    return "".join(char for char in text.lower() if char.isalnum())


def is_short(text: str) -> bool:
    return len(plain(text)) <= 4


def settle(crops: Sequence[np.ndarray], turns: int, read: Reads, mode: str) -> tuple[list[Oriented], list, list, int]:
    """Settle all crops turned alike: results, first readings, which are upright, how many views were read again."""
    views, on_end, wanted = zip(*(laid_out(crop, turns) for crop in crops))
    readings, again = read(views), 0

    def count(more: list[np.ndarray]) -> list[Recognition]:
        nonlocal again
        again += len(more)
        return read(more)

    settled = resolve_orientation(views, readings, count, mode, on_end)  # type: ignore[arg-type]
    upright = [item.turns == turn and not item.stacked for item, turn in zip(settled, wanted)]
    return settled, readings, upright, again


def load(folder: Path, limit: int) -> tuple[list[np.ndarray], list[str]]:
    rows = [line.split("\t") for line in (folder / "labels.tsv").read_text(encoding="utf-8").splitlines()]
    rows = [row for row in rows if len(row) == 2 and plain(row[1]) and " " not in row[1]]
    chosen = random.Random(0).sample(rows, min(limit, len(rows)))
    return [np.asarray(Image.open(folder / name).convert("RGB")) for name, _ in chosen], [text for _, text in chosen]


def drawn(text: str, font: ImageFont.FreeTypeFont) -> np.ndarray:
    left, top, right, bottom = font.getbbox(text)
    page = Image.new("RGB", (round(right - left) + 12, round(bottom - top) + 10), "white")
    ImageDraw.Draw(page).text((6 - left, 5 - top), text, fill="black", font=font)
    return np.asarray(page)


def report(name: str, label: str, crops: list[np.ndarray], texts: list[str], read: Reads, mode: str) -> None:
    """One row a turn."""
    for turns in range(4):
        settled, readings, upright, again = settle(crops, turns, read, mode)

        def right(found: Sequence[Recognition]) -> float:
            return 100 * float(np.mean([plain(a.text) == plain(b) for a, b in zip(found, texts)]))

        short = [good for good, text in zip(upright, texts) if is_short(text)]
        print(
            f"{name:10} {label:14} {90 * turns:5}  {100 * np.mean(upright):8.1f} {100 * np.mean(short):7.1f} "
            f"{right(readings):8.1f} {right([item.reading for item in settled]):8.1f} {again / len(crops):8.2f}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--crops", type=int, default=150, help="crops a folder, drawn by chance")
    parser.add_argument("--mode", default="auto", choices=["auto", "on"])
    parser.add_argument("--recognizer", nargs="*", default=list(RECOGNIZERS), choices=list(RECOGNIZERS))
    parser.add_argument("--fonts", type=Path, nargs="*", default=[], help="font files; by default Pillow's own")
    options = parser.parse_args()
    sets = {folder.name: load(folder, options.crops) for folder in options.folders}
    faces = [
        ImageFont.truetype(str(path), size) if path else ImageFont.load_default(size)
        for path in (options.fonts or [None])
        for size in (20, 32, 60)
    ]
    print(f"{'':31}  {'upright %':>16} {'words right %':>17} {'views':>8}")
    print(f"{'recognizer':10} {'data':14} turned  {'all':>7} {'short':>7} {'off':>8} {options.mode:>8} {'a crop':>8}")
    for name in options.recognizer:
        read = remembering(RECOGNIZERS[name]())
        for label, (crops, texts) in sets.items():
            report(name, label, crops, texts, read, options.mode)
        texts = [text for text in SHORT for _ in faces]
        settled, _, upright, _ = settle([drawn(t, f) for t in SHORT for f in faces], 0, read, options.mode)
        turned = [f"{text} as {item.reading.text}" for text, item, good in zip(texts, settled, upright) if not good]
        print(f"{name:10} short strings drawn upright and turned: {len(turned)} of {len(texts)} {turned}")


if __name__ == "__main__":
    main()
