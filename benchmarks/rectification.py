"""Straightening measured where the truth is known: words rendered flat, bent onto a page, and straightened again.

    python benchmarks/rectification.py [--words 40] [--fonts FILE ...] [--read]

Prints, for every bend, the median normalised cross-correlation of the straightened crop with the flat word, beside
docTR's `extract_rcrops` and RapidOCR's `get_rotate_crop_image`. These take four corners and trust the first one; they
get the corners of the text, or, where it is curved, those of the smallest rectangle around it. Ours is measured twice:
told that the polygon starts at the text's top left corner, as the others are, and with points that start anywhere,
the better of upright and upside down. `--read` adds the accuracy of one and the same recognizer, RapidOCR's, on all
crops.
"""

import argparse
import random
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from known_geometry import CASES, Bent, bend, flat_words, normalised_correlation, shuffled

from clip4str_plugin.polygons import minimum_area_rectangle
from clip4str_plugin.rectification import rectify

WORDS = ["Restaurant", "coffee", "OPEN", "Bakery", "1999", "Street", "Wonderful", "Hotel", "PARKING", "International"]


def four_corners(bent: Bent, curved: bool) -> np.ndarray:
    """The corners a host would be given, the text's top left one first, (4, 2) float32."""
    if not curved:
        return bent.corners.astype(np.float32)
    corners = minimum_area_rectangle(bent.polygon)
    turns = [np.roll(corners, -turn, axis=0) for turn in range(4)]
    return min(turns, key=lambda turn: float(np.hypot(*(turn - bent.corners).T).sum())).astype(np.float32)


def by_doctr(bent: Bent, curved: bool) -> np.ndarray:
    """DocTR's crop of rotated boxes."""
    from doctr.utils.geometry import extract_rcrops

    relative = four_corners(bent, curved) / np.array(bent.page.shape[1::-1], np.float32)
    return extract_rcrops(bent.page, relative[None])[0]


def by_rapidocr(bent: Bent, curved: bool) -> np.ndarray:
    """RapidOCR's crop; PaddleOCR's is the same."""
    from rapidocr.utils.process_img import get_rotate_crop_image

    return get_rotate_crop_image(bent.page, four_corners(bent, curved))


def rapidocr_reader() -> Callable[[list[np.ndarray]], list[str]]:
    """RapidOCR's own recognizer, from crops to texts."""
    from rapidocr import RapidOCR
    from rapidocr.ch_ppocr_rec import TextRecInput

    engine = RapidOCR()
    engine(np.full((64, 64, 3), 255, np.uint8))
    engine._load_rec_model()
    return lambda crops: list(engine.text_rec(TextRecInput(img=[crop[:, :, ::-1].copy() for crop in crops])).txts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--words", type=int, default=40, help="words a case")
    parser.add_argument("--fonts", type=Path, nargs="*", default=[], help="font files; by default Pillow's own")
    parser.add_argument("--read", action="store_true", help="also read all crops with RapidOCR's recognizer")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    reader = rapidocr_reader() if options.read else None
    names = ("ours", "ours, any start", "docTR", "RapidOCR")
    print(f"{'case':18}" + "".join(f"{name:>17}" for name in names) + f"{'crops/s':>9}")
    for case, (_, curved) in CASES.items():
        rng = random.Random(case)
        scores: dict[str, list[float]] = {name: [] for name in names}
        crops: dict[str, list[np.ndarray]] = {"ours": [], "docTR": [], "RapidOCR": []}
        texts, seconds = [], 0.0
        for _ in range(options.words):
            text = rng.choice(WORDS)
            bent = bend(flat_words([text], options.fonts, rng)[0], text, case, rng.uniform(0, 360), rng)
            texts.append(text)
            begin = time.process_time()
            crops["ours"].append(rectify(bent.page, bent.polygon, start="top-left"))
            seconds += time.process_time() - begin
            crops["docTR"].append(by_doctr(bent, curved))
            crops["RapidOCR"].append(by_rapidocr(bent, curved))
            for name, made in crops.items():
                scores[name].append(normalised_correlation(made[-1], bent.flat))
            anywhere = rectify(bent.page, shuffled(bent.polygon, rng))
            ways = (anywhere, np.ascontiguousarray(anywhere[::-1, ::-1]))
            scores["ours, any start"].append(max(normalised_correlation(way, bent.flat) for way in ways))
        medians = "".join(f"{np.median(scores[name]):17.3f}" for name in names)
        print(f"{case:18}{medians}{options.words / seconds:9.0f}", flush=True)
        if reader:
            rights = []
            for made in crops.values():
                read = reader(made)
                rights.append(np.mean([a.lower() == b.lower() for a, b in zip(read, texts)]))
            print(f"{'  words read, %':18}{100 * rights[0]:17.1f}{'':17}{100 * rights[1]:17.1f}{100 * rights[2]:17.1f}")


if __name__ == "__main__":
    main()
