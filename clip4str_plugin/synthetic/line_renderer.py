"""Synthetic lines of text with the place of every word: to teach where words end, and how they look in lines."""

import math
import string
from collections.abc import Callable, Sequence
from itertools import pairwise
from random import Random

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from clip4str_plugin.synthetic.corpus import CHARSET, MAX_LABEL_LENGTH, Corpus
from clip4str_plugin.synthetic.degrade import degrade
from clip4str_plugin.synthetic.fonts import Face, inspect_fonts, load_font
from clip4str_plugin.synthetic.glyphs import choose_spacing, lay_out
from clip4str_plugin.synthetic.paint import choose_style, layers, paint
from clip4str_plugin.synthetic.textures import TextureBank

__all__ = ["LineRenderer"]

_WIDEST = 1600
# Spaced, widely spaced, squeezed: see choose_spacing.
_TRACKINGS = ((0.18, 0.03, 0.25), (0.24, 0.3, 0.9), (0.34, -0.01, -0.06))
_SIZES = (24, 32, 40, 48)
# What offices print with, as far as it is installed; display faces are far more numerous among free fonts.
_BOOK_FACES = (
    "Arimo", "C059", "Caladea", "Cardo", "Carlito", "Charis SIL", "CMU Serif", "DejaVu Sans", "DejaVu Serif",
    "FreeSans", "FreeSerif", "Gentium Basic", "GFS Didot", "Lato", "Liberation Sans", "Liberation Sans Narrow",
    "Liberation Serif", "Nimbus Roman", "Nimbus Sans", "Nimbus Sans Narrow", "Noto Sans", "Noto Serif",
    "Old Standard TT", "Open Sans", "Open Sans Condensed", "P052", "PT Sans", "PT Sans Narrow", "PT Serif",
    "Roboto", "Roboto Condensed", "STIX", "STIXGeneral", "Tinos", "Tuffy", "URW Bookman", "URW Gothic",
)  # fmt: skip
_TYPEWRITERS = (
    "CMU Typewriter Text", "Courier Prime", "Cousine", "FreeMono", "GNUTypewriter", "Liberation Mono",
    "Nimbus Mono PS", "OCR B", "Tlwg Mono", "Tlwg Typewriter", "Tlwg Typist",
)  # fmt: skip
_ALONE = ["a", "I", "&", "-", "of", "to", "in", "1", "2", "A", "x", "/", "+", "=", "the", "at", "and", "for", "is",
          "on", "by", "or", "( )", "____", "...", ":", "$", "#", "%", "No.", "_"]  # fmt: skip
# Columns and rows of the pins that a dot-matrix printer draws a capital with.
_PINS = (5, 7)


class LineRenderer:
    """Renders line crops, half of them from documents and half from scenes, with the span of each word.

    Lines differ in type, tracking, width of the blanks (hardly wider than letters' own distances to a table's column),
    size and colour from word to word, rules, boxes, neighbouring lines, tilt, wave and margins, besides what paper,
    printers, scanners, light and cameras do.

    Args:
        fonts: font files, usually `clip4str_plugin.synthetic.find_fonts()`.
        seed: names the stream; line number i of it is always the same.
        charset: see ``Corpus``.

    >>> from clip4str_plugin.synthetic import find_fonts
    >>> crop, spans = LineRenderer(find_fonts(), seed=0)(0)  # doctest: +SKIP
    """

    def __init__(self, fonts: Sequence[str], seed: int = 0, charset: str = CHARSET) -> None:
        families: dict[str, list[Face]] = {}
        for face in inspect_fonts(fonts):
            families.setdefault(face.family, []).append(face)
        self._families = list(families.values())
        self._book_faces, self._typewriters = (
            [families[name] for name in names if name in families] or self._families
            for names in (_BOOK_FACES, _TYPEWRITERS)
        )
        self.seed = seed
        self._corpus = Corpus(charset)
        self._bank = TextureBank(seed=1)

    def __call__(self, index: int) -> tuple[np.ndarray, list[tuple[float, float]]]:
        """Line number `index`: crop (h, w, 3) uint8 and the left and right end of each word in pixels."""
        rng = Random(f"{self.seed}:{index}")
        while True:
            line = self._render(rng, document=rng.random() < 0.55, count=_word_count(rng))
            if line is not None:
                return line[0], line[1]

    def word(self, index: int) -> tuple[np.ndarray, str]:
        """Word number `index`, cut out of a printed line as a line splitter cuts: crop (h, w, 3) uint8 and its label.

        Crops hold parts of what stands beside the word: rules, boxes, the edges of its neighbours.
        """
        rng = Random(f"{self.seed}:word:{index}")
        while True:
            # Its marks are whole: a comma that nobody sees would be learned as one to add.
            line = self._render(rng, document=True, count=rng.choice((1, 1, 2, 2, 3)), whole=True)
            if line is None:
                continue
            crop, spans, words = line
            height, width = crop.shape[:2]
            ends = [0.0, *(place for span in spans for place in span), float(width)]
            number = rng.randrange(len(spans)) if spans else 0
            if not spans or not 0 < len(words[number]) <= MAX_LABEL_LENGTH or "_" in words[number]:
                continue
            margins = [
                min(height * rng.uniform(-0.02, 0.25), rng.uniform(0.3, 0.7) * abs(ends[at + 1] - ends[at]))
                for at in (2 * number, 2 * number + 2)
            ]
            left = max(0, round(spans[number][0] - margins[0]))
            right = min(width, round(spans[number][1] + margins[1]))
            if right - left >= 2:
                return crop[:, left:right], words[number]

    def _render(
        self, rng: Random, document: bool, count: int, whole: bool = False
    ) -> tuple[np.ndarray, list[tuple[float, float]], list[str]] | None:
        face = self._face(rng, document)
        size = rng.choice(_SIZES)
        cap = face.cap_height * size
        case = rng.choice([None, str.upper, str.lower, str.capitalize]) if document else None
        words = [word for _ in range(count) if (word := self._word(rng, face, case))]
        if not words:
            return None
        canvas, spans, texts, baseline, above, below = self._draw(rng, words, face, size, cap, document)
        if canvas.shape[1] > _WIDEST * size / 40:
            return None
        canvas, spans = _tilt(rng, canvas, spans, baseline - cap / 2)

        # A detector's margins: sometimes the tops and feet of letters are cut, sometimes the next line looks in.
        if not whole and rng.random() < 0.4:
            above, below = 1.02 * cap, rng.choice([0.02, 0.3]) * cap
        top = baseline - above - cap * rng.uniform(-0.04, 0.35)
        bottom = baseline + below + cap * rng.uniform(-0.04, 0.35)
        left = spans[0][0] - cap * rng.uniform(-0.03, 0.6)
        right = spans[-1][1] + cap * rng.uniform(-0.03, 0.6)
        target = min(max(math.exp(rng.gauss(2.6, 0.4)), 6.5), 36.0)  # height of capitals in the crop
        scale = target / cap
        along = scale * (rng.uniform(0.72, 1.25) if rng.random() < 0.5 else 1.0)
        width, height = round((right - left) * along), round((bottom - top) * scale)
        if width < 4 or height < 5:
            return None
        view = np.array([[along, 0, -left * along], [0, scale, -top * scale]])
        shrunk = scale < 0.7
        mask = cv2.warpAffine(canvas if not shrunk else cv2.blur(canvas, (2, 2)), view, (width, height))
        spans = [((a - left) * along, (b - left) * along) for a, b in spans]
        if rng.random() < 0.02:  # what a detector took for text
            mask, spans = np.zeros_like(mask), []
        crop = self._document(rng, mask, target) if document else self._scene(rng, mask, target, spans)
        return None if crop is None else (crop, spans, texts)

    def _face(self, rng: Random, document: bool) -> Face:
        draw = rng.random() if document else 1.0
        families = self._typewriters if draw < 0.3 else self._book_faces if draw < 0.75 else self._families
        return rng.choice(rng.choice(families))

    def _word(self, rng: Random, face: Face, case: Callable[[str], str] | None) -> str:
        draw = rng.random()
        if draw < 0.2:  # what stands alone in forms and sentences
            word = rng.choice(_ALONE)
        elif draw > 0.95:  # an initial
            word = rng.choice(string.ascii_uppercase) + "."
        elif draw > 0.82:  # one word, whatever marks stand between its characters
            word = self._token(rng)
            return word if set(word) <= set(face.characters) else ""
        else:
            word = self._corpus(rng)
            if draw < 0.35:
                word += rng.choice([",", ".", ":", ";", ")", "?"])
            elif draw < 0.38:
                word = rng.choice("($*#") + word
        if case:
            word = case(word)
        elif rng.random() < 0.5:
            word = word.lower() if rng.random() < 0.5 else word.capitalize()
        if not set(word) <= set(face.characters) and set(word.upper()) <= set(face.characters):
            word = word.upper()
        return "".join(char for char in word if char in face.characters or char == " ")

    def _token(self, rng: Random) -> str:
        """An amount, a date, a time, a telephone number, a code, an address, or two words joined by a mark."""
        draw = rng.random()
        if draw < 0.35:
            amount = f"{int(10 ** rng.uniform(0, 6.5)):,}" if rng.random() < 0.7 else str(rng.randrange(1000))
            cents = f".{rng.randrange(10 ** rng.choice([1, 2, 2, 2, 3]))}" if rng.random() < 0.7 else ""
            return (
                rng.choice(["", "", "", "$", "-", "RM", "("]) + amount + cents + rng.choice(["", "", "", "-", "%", ","])
            )
        if draw < 0.55:
            return rng.choice("/-&'.").join(self._corpus.word(rng) for _ in range(2))
        kinds = [self._corpus.date, self._corpus.time, self._corpus.phone, self._corpus.code, self._corpus.address]
        return "".join(rng.choice(kinds)(rng).split())

    def _draw(
        self, rng: Random, words: list[str], face: Face, size: int, cap: float, document: bool
    ) -> tuple[np.ndarray, list[tuple[float, float]], list[str], float, float, float]:
        font = load_font(face.path, size)
        tracking = choose_spacing(rng, cap, _TRACKINGS)
        natural = font.getlength(" ") or 0.35 * cap
        blank = max(natural * rng.uniform(0.7, 1.3), 0.18 * cap) + 1.6 * max(tracking, 0)
        if rng.random() < (0.28 if document else 0.4):  # squeezed until barely wider than letters' own distances
            blank = max(0.11 * cap, rng.uniform(0.35, 0.75) * natural) + 1.7 * max(tracking, 0)
        uneven = rng.random() < 0.3
        justified = rng.uniform(0, 0.35) * cap if rng.random() < 0.3 else 0.0
        columns = rng.random() < 0.15

        # On signs words differ in size and face, and capitals are larger than the small capitals behind them.
        mixed, initials = (not document and rng.random() < share for share in (0.25, 0.1))

        def fonts(word: str) -> list[ImageFont.FreeTypeFont]:
            of_word = font
            if mixed and rng.random() < 0.5:
                other = self._face(rng, document) if rng.random() < 0.3 else face
                other = other if set(word) <= set(other.characters) else face
                of_word = load_font(other.path, round(size * rng.uniform(0.65, 1.0)))
            if initials and word.isupper() and len(word) > 1:
                small = load_font(face.path, round(size * 0.8))
                return [of_word, *[small] * (len(word) - 1)]
            return [of_word] * len(word)

        margin = int(3 * cap)
        runs, spans, texts, boxes, x = [], [], [], [], float(margin)
        for word in words:
            if rng.random() < (0.02 if document else 0.0):  # a box to tick or to fill in
                spans.append((x, x + cap * rng.uniform(0.7, 2.5)))
                texts.append("")
                boxes.append(spans[-1])
                x = spans[-1][1] + max(blank, 0.35 * cap)
            letters = fonts(word)
            run = lay_out(word, letters, tracking)
            runs.append((x, run))
            advance = run.length - tracking
            first, last = letters[0].getbbox(word[0], anchor="ls"), letters[-1].getbbox(word[-1], anchor="ls")
            spans.append((x + first[0], x + advance - letters[-1].getlength(word[-1]) + last[2]))
            texts.append(word.replace(" ", ""))
            x += advance + rng.uniform(0, justified)
            x += max(0.11 * cap, blank * rng.uniform(0.55, 1.2)) if uneven else blank
            if columns and rng.random() < 0.4:
                x += cap * rng.uniform(0.5, 5)
        width, baseline = int(spans[-1][1]) + margin, int(3.2 * cap)
        image = Image.new("L", (width, int(6 * cap)))
        pen = ImageDraw.Draw(image)
        for x, run in runs:
            run.draw(pen, x, lambda: baseline)
        for begin, stop in boxes:
            pen.rectangle([begin, baseline - cap, stop, baseline], outline=255, width=max(1, round(0.08 * cap)))
        rows = np.flatnonzero(np.asarray(image).any(axis=1))
        above, below = (baseline - rows[0], rows[-1] + 1 - baseline) if len(rows) else (cap, 0.0)
        self._surroundings(rng, pen, words, font, spans, baseline, cap, document)
        return np.asarray(image), spans, texts, baseline, above, below

    def _surroundings(
        self,
        rng: Random,
        pen: ImageDraw.ImageDraw,
        words: list[str],
        font: ImageFont.FreeTypeFont,
        spans: list[tuple[float, float]],
        baseline: float,
        cap: float,
        document: bool,
    ) -> None:
        """Rules, boxes and other lines."""
        left, right = spans[0][0], spans[-1][1]
        often = 1.6 if document else 0.7

        def rule(start: tuple[float, float], end: tuple[float, float]) -> None:
            pen.line([start, end], fill=255, width=max(1, round(cap * rng.uniform(0.03, 0.14))))

        if rng.random() < 0.18 * often:
            y = baseline + cap * rng.uniform(0.08, 0.45)
            begin, stop = left - 3 * cap, right + 3 * cap
            if rng.random() < 0.4:
                begin, stop = sorted((rng.uniform(left, right), rng.choice([left, right])))
            rule((begin, y), (stop, y + (rng.uniform(-0.1, 0.1) * cap if rng.random() < 0.3 else 0)))
        if rng.random() < 0.12 * often:
            y = baseline - cap * rng.uniform(1.1, 1.6)
            rule((left - 3 * cap, y), (right + 3 * cap, y))
        if rng.random() < 0.02 * often:
            y = baseline - cap * rng.uniform(0.3, 0.6)
            rule((left, y), (rng.uniform(left, right), y))
        if rng.random() < 0.08 * often:
            for x in (left - cap * rng.uniform(0.2, 0.5), right + cap * rng.uniform(0.2, 0.5)):
                if rng.random() < 0.7:
                    rule((x, baseline - 2 * cap), (x, baseline + cap))
        for before, after in pairwise(spans):
            if after[0] - before[1] > 0.6 * cap and rng.random() < 0.05 * often:
                x = rng.uniform(before[1] + 0.2 * cap, after[0] - 0.2 * cap)
                rule((x, baseline - 2 * cap), (x, baseline + cap))
        for direction in (-1, 1):
            if rng.random() < 0.2:
                other = " ".join(rng.sample(words, len(words)))
                y = baseline + direction * cap * rng.uniform(1.5, 2.1)
                pen.text((left - rng.uniform(-2, 2) * cap, y), other, fill=255, font=font, anchor="ls")

    def _document(self, rng: Random, mask: np.ndarray, cap: float) -> np.ndarray | None:
        ink: np.ndarray = mask.astype(np.float32) / 255
        draw = rng.random()
        if draw > 0.92 and cap > 9:
            ink = _in_dots(rng, ink, cap)
        if draw < 0.3:  # worn type, fat or thin copies
            kernel = np.ones((2, 2), np.uint8)
            ink = cv2.erode(ink, kernel) if rng.random() < 0.5 and cap > 13 else cv2.dilate(ink, kernel)
        if rng.random() < 0.7:
            ink = cv2.GaussianBlur(ink, (0, 0), rng.uniform(0.3, 0.5 + 0.03 * cap))
        height, width = ink.shape
        if rng.random() < 0.45:  # bilevel scan
            noise = self._bank.white(rng, height, width)[:, :, 0] * rng.uniform(0, 0.15)
            ink = (ink + noise > rng.uniform(0.3, 0.6)).astype(np.float32)
            if rng.random() < 0.7:
                ink = cv2.GaussianBlur(ink, (0, 0), rng.uniform(0.3, 0.8))
        if ink.sum() < 0.4 * mask.sum() / 255:
            return None  # all but gone
        dots = rng.random() < 0.15
        if dots:
            ink = np.maximum(ink, (self._bank.white(rng, height, width)[:, :, 0] > 2.9) * np.float32(0.9))
        paper, tone = rng.uniform(190, 255), rng.uniform(0, 110)
        if rng.random() < 0.08:
            paper, tone = tone, paper
        page = paper + (tone - paper) * ink
        if rng.random() < 0.4:
            page = page + self._bank.cut(rng, height, width) * rng.uniform(1, 10)
        if rng.random() < 0.4:
            page = page + self._bank.white(rng, height, width)[:, :, 0] * rng.uniform(1, 10)
        crop: np.ndarray = np.repeat(np.clip(page, 0, 255).astype(np.uint8)[:, :, None], 3, axis=2)
        if rng.random() < 0.3:
            coded = cv2.imencode(".jpg", crop, [cv2.IMWRITE_JPEG_QUALITY, rng.randint(25, 90)])[1]
            crop = np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR))
        return crop

    def _scene(self, rng: Random, mask: np.ndarray, cap: float, spans: list[tuple[float, float]]) -> np.ndarray:
        style = choose_style(rng)
        image = paint(rng, style, self._bank, layers(style, mask, cap, None))
        if spans and rng.random() < 0.2:
            image = _with_another_colour(rng, image, mask, spans)
        return degrade(rng, self._bank, image, cap, style.contrast)


def _in_dots(rng: Random, ink: np.ndarray, cap: float) -> np.ndarray:
    """Ink as the pins of a dot-matrix printer leave it."""
    height, width = ink.shape
    across, down = (cap * rng.uniform(0.75, 1.0) / pins for pins in _PINS)
    x, y = np.arange(width) / across + rng.random(), np.arange(height) / down + rng.random()
    waves = np.cos(2 * math.pi * x)[None] + np.cos(2 * math.pi * y)[:, None]
    dotted: np.ndarray = ink * np.clip(0.75 + rng.uniform(0.1, 0.4) * waves, 0, 1).astype(np.float32)
    return dotted


def _with_another_colour(
    rng: Random, image: np.ndarray, mask: np.ndarray, spans: list[tuple[float, float]]
) -> np.ndarray:
    """Change the colour of ink or ground from some place on, mostly between two words, sometimes within one."""
    if len(spans) > 1 and rng.random() < 0.7:
        number = rng.randrange(len(spans) - 1)
        place = (spans[number][1] + spans[number + 1][0]) / 2
    else:
        place = rng.uniform(spans[0][0], spans[-1][1])
    start = min(max(round(place), 0), image.shape[1])
    where = mask[:, start:, None].astype(np.float32) / 255
    if rng.random() < 0.4:
        where = 1 - where
    change = np.array([rng.uniform(-90, 90) for _ in range(3)], np.float32)
    changed = image.astype(np.float32)
    changed[:, start:] += where * change
    return np.clip(changed, 0, 255).astype(image.dtype)


def _word_count(rng: Random) -> int:
    return 1 if rng.random() < 0.15 else min(12, 2 + int(rng.expovariate(0.35)))


def _tilt(
    rng: Random, canvas: np.ndarray, spans: list[tuple[float, float]], middle: float
) -> tuple[np.ndarray, list[tuple[float, float]]]:
    """Slant, turn and wave a line a little, as a detector's polygon leaves it."""
    slant = rng.uniform(-0.35, 0.35) if rng.random() < 0.25 else 0.0
    slope = rng.gauss(0, 0.012) if rng.random() < 0.5 else 0.0
    height, width = canvas.shape
    if slant or slope:
        # x' = x - slant (y - middle), y' = y + slope (x - centre)
        view = np.array([[1, -slant, slant * middle], [slope, 1, -slope * width / 2]])
        canvas = cv2.warpAffine(canvas, view, (width, height))
    if rng.random() < 0.15:
        x = np.arange(width, dtype=np.float32)
        swing = 0.06 * height * rng.uniform(0.2, 1) * np.sin(x / width * rng.uniform(2, 8) + rng.uniform(0, 6))
        rows = np.arange(height, dtype=np.float32)[:, None] + swing[None]
        canvas = cv2.remap(canvas, np.broadcast_to(x, rows.shape).copy(), rows.astype(np.float32), cv2.INTER_LINEAR)
    return canvas, spans
