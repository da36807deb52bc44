"""Straightening measured where the truth is known: words rendered flat, bent onto a page, and straightened again.

    python benchmarks/rectification.py [--words 40] [--fonts FILE ...] [--read tiny PP-OCR]

Prints, for every bend, the median normalised cross-correlation of the straightened crop with the flat word, beside
docTR's `extract_rcrops`, RapidOCR's `get_rotate_crop_image` and the upright box around the text. The hosts take four
corners and trust the first one; they get the corners of the text, or, where it is curved, those of the smallest
rectangle around it, counted from pixel centres as each of them does. Ours is measured three times: told that the
polygon starts at the text's top left corner, as the others are; the same without the margins that `rectify` adds where
an outline cuts letters, which shift the picture against the flat one; and with points that start anywhere, the better
of upright and upside down. All words but the "level" ones are turned by 0 to 360 degrees. `--read` adds the words that
one and the same recognizer reads right (letters and digits alone, cases ignored) on all these crops. The last column
is how many crops one core makes in a second, the best of three rounds over all words of a row; the words are
`--height` pixels high (40), and with `--width` all as wide.
"""

import argparse
import random
import time
from pathlib import Path

import cv2
import numpy as np
from known_geometry import CASES, Bent, bend, flat_words, normalised_correlation, shuffled
from recognizers import RECOGNIZERS

from clip4str_plugin.geometry.polygons import minimum_area_rectangle
from clip4str_plugin.geometry.rectification import rectify
from clip4str_plugin.geometry.text_strip import TextStrip

WORDS = ["Restaurant", "coffee", "OPEN", "Bakery", "1999", "Street", "Wonderful", "Hotel", "PARKING", "International"]


def four_corners(bent: Bent, curved: bool) -> np.ndarray:
    """The corners a host would be given, the text's top left one first, (4, 2) float32."""
    if not curved:
        return bent.corners.astype(np.float32)
    corners = minimum_area_rectangle(bent.polygon)
    turns = [np.roll(corners, -turn, axis=0) for turn in range(4)]
    return min(turns, key=lambda turn: float(np.hypot(*(turn - bent.corners).T).sum())).astype(np.float32)


def from_pixel_centres(corners: np.ndarray, far: float) -> np.ndarray:
    """Corners as a host counts them that warps from and to the centres of pixels.

    Args:
        corners: from the outer corner of the first pixel, top left, top right, bottom right, bottom left, (4, 2)
        far: where on the last pixel of a row or column the host's far corners are, from its centre: 0 for its centre,
            1 for the centre of the pixel after it
    """
    after, before = np.roll(corners, -1, axis=0) - corners, np.roll(corners, 1, axis=0) - corners
    after, before = (side / np.hypot(*side.T)[:, None] for side in (after, before))
    # Inwards along both sides that meet in a corner: half a pixel at the near ends, and what is left at the far ones.
    near, away = 0.5, 0.5 - far
    inwards_after = np.array([near, near, away, away])[:, None]
    inwards_before = np.array([near, away, away, near])[:, None]
    return (corners + inwards_after * after + inwards_before * before - 0.5).astype(np.float32)


def by_doctr(bent: Bent, curved: bool) -> np.ndarray:
    """DocTR's crop of rotated boxes."""
    from doctr.utils.geometry import extract_rcrops

    relative = from_pixel_centres(four_corners(bent, curved), 0) / np.array(bent.page.shape[1::-1], np.float32)
    return extract_rcrops(bent.page, relative[None])[0]


def by_rapidocr(bent: Bent, curved: bool) -> np.ndarray:
    """RapidOCR's crop; PaddleOCR's is the same."""
    from rapidocr.utils.process_img import get_rotate_crop_image

    return get_rotate_crop_image(bent.page, from_pixel_centres(four_corners(bent, curved), 1))


def by_box(bent: Bent, curved: bool) -> np.ndarray:
    """The upright box around the text."""
    left, top = np.floor(bent.polygon.min(axis=0)).astype(int)
    right, bottom = np.ceil(bent.polygon.max(axis=0)).astype(int)
    return bent.page[max(top, 0) : bottom, max(left, 0) : right]


def crops_a_second(bents: list[Bent]) -> float:
    """How many words `rectify` straightens in a second of processor time, the best of three rounds."""
    seconds = []
    for _ in range(3):
        begin = time.process_time()
        for bent in bents:
            rectify(bent.page, bent.polygon)
        seconds.append(time.process_time() - begin)
    return len(bents) / min(seconds)


def plain(text: str) -> str:
    return "".join(char for char in text.lower() if char.isalnum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--words", type=int, default=40, help="words a case")
    parser.add_argument("--height", type=int, default=40, help="of the words, in pixels")
    parser.add_argument("--width", type=int, default=0, help="of the words, in pixels; 0: as rendered")
    parser.add_argument("--fonts", type=Path, nargs="*", default=[], help="font files; by default Pillow's own")
    parser.add_argument("--read", nargs="*", default=[], choices=list(RECOGNIZERS), help="also read all crops")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    readers = {name: RECOGNIZERS[name]() for name in options.read}
    names = ("ours", "no margins", "ours, any start", "docTR", "RapidOCR", "upright box")
    print(f"{'case':18}" + "".join(f"{name:>17}" for name in names) + f"{'crops/s':>9}")
    for case in ("level", *CASES):
        bend_name = "upright" if case == "level" else case
        curved = CASES[bend_name][1]
        rng = random.Random(case)
        scores: dict[str, list[float]] = {name: [] for name in names}
        crops: dict[str, list[np.ndarray]] = {name: [] for name in names if name != "ours, any start"}
        texts, bents = [], []
        for _ in range(options.words):
            text = rng.choice(WORDS)
            rotation = 0.0 if case == "level" else rng.uniform(0, 360)
            flat = flat_words([text], options.fonts, rng, options.height)[0]
            if options.width:
                flat = cv2.resize(flat, (options.width, options.height), interpolation=cv2.INTER_AREA)
            bent = bend(flat, text, bend_name, rotation, rng)
            texts.append(text)
            bents.append(bent)
            crops["ours"].append(rectify(bent.page, bent.polygon, start="top-left"))
            crops["no margins"].append(TextStrip.of(bent.polygon, "top-left").crop(bent.page))
            crops["docTR"].append(by_doctr(bent, curved))
            crops["RapidOCR"].append(by_rapidocr(bent, curved))
            crops["upright box"].append(by_box(bent, curved))
            for name, made in crops.items():
                scores[name].append(normalised_correlation(made[-1], bent.flat))
            anywhere = rectify(bent.page, shuffled(bent.polygon, rng))
            ways = (anywhere, np.ascontiguousarray(anywhere[::-1, ::-1]))
            scores["ours, any start"].append(max(normalised_correlation(way, bent.flat) for way in ways))
        medians = "".join(f"{np.median(scores[name]):17.3f}" for name in names)
        print(f"{case:18}{medians}{crops_a_second(bents):9.0f}", flush=True)
        for name, read in readers.items():
            columns = {"ours, any start": ""}
            for kind, made in crops.items():
                right = [plain(reading.text) == plain(text) for reading, text in zip(read(made), texts)]
                columns[kind] = f"{100 * np.mean(right):.0f} %"
            print(f"{'  read by ' + name:18}" + "".join(f"{columns[kind]:>17}" for kind in names), flush=True)


if __name__ == "__main__":
    main()
