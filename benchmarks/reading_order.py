"""Whether words come in the order in which a person reads them, on pages whose order is known.

    python benchmarks/reading_order.py [--pages 10] [--read] [--only NAME] [--show FOLDER] [--font FILE ...]

Pages of many kinds are laid out (columns of prose, tables, receipts, bills, forms, letters, dictionaries ...), each
upright, turned by quarters, and skewed by up to ten degrees. Printed are for each kind the share of words that must be
moved, added or removed to bring the sequence into order (edit distance over words, in percent): from the boxes alone,
as a detector of lines and as one of words gives them, beside plain top to bottom and docTR's order. With ``--read``
pages are drawn and read from end to end by the default reader, and its words are compared.
"""

import argparse
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from clip4str_plugin.geometry.reading_order import reading_order

FONTS = [Path("/usr/share/fonts/truetype/dejavu", f"DejaVu{name}.ttf") for name in ("Serif", "Sans", "SansMono")]
VOCABULARY = """
the of a and to in on for with at from by about after council river bridge summer morning window garden letter
station market winter teacher engine village harbour silver forest children evening number paper question answer
mountain promised followed arrived opened considered between without another nothing several important different
small large early late green narrow public general quiet modern open old new long it he she they we was were has
had will would could may not no all some many few more most other such only very still also then now here there
""".split()  # noqa: SIM905
ITEMS = """
Milk Bread Butter Apples Coffee Paper Pencils Envelopes Stapler Cable Lamp Chair Screws Paint Brush Soap
""".split()  # noqa: SIM905
NAMES = """
Olden Harper Novak Silva Moreau Jensen Rossi Weber Kowalski Murphy Tanaka Lindgren Costa Berger
""".split()  # noqa: SIM905
TOWNS = """
Springfield Norwich Porto Graz Bergen Leiden Toulouse Parma Cork Uppsala Kassel Bruges
""".split()  # noqa: SIM905


@dataclass
class Sheet:
    """A page on which words are put down in the order in which they are read."""

    rng: random.Random
    font: str
    size: float = 22
    width: int = 1240
    height: int = 1700
    words: list[tuple[str, float, float, float]] = field(default_factory=list)  # text, left, baseline, size
    rules: list[tuple[float, float, float, float]] = field(default_factory=list)

    def wide(self, text: str, size: float) -> float:
        """The width of a text in pixels."""
        return advance(self.font, text) * size / 100

    def line(self, text: str, x: float, y: float, size: float | None = None, room: float | None = None) -> float:
        """Write a line from x on, spread over the room given; returns where it ends."""
        size = size or self.size
        words = text.split()
        blank = self.wide(" ", size)
        if room is not None and len(words) > 1:
            blank = (room - sum(self.wide(word, size) for word in words)) / (len(words) - 1)
        for word in words:
            self.words.append((word, x, y, size))
            x += self.wide(word, size) + blank
        return x - blank

    def right(self, text: str, x: float, y: float, size: float | None = None) -> None:
        """Write a line that ends at x."""
        self.line(text, x - self.wide(text, size or self.size), y, size)

    def centred(self, text: str, x: float, y: float, size: float | None = None) -> None:
        """Write a line with its middle at x."""
        self.line(text, x - self.wide(text, size or self.size) / 2, y, size)

    def say(self, count: int) -> str:
        """So many words."""
        return " ".join(self.rng.choices(VOCABULARY, k=count))

    def prose(
        self, x: float, y: float, room: float, bottom: float, *, justified: bool = False, pitch: float = 1.35,
        indent: float = 0, hanging: float = 0, size: float | None = None, gap: float = 0.0,
    ) -> float:  # fmt: skip
        """Fill a column with paragraphs down to the bottom; returns the baseline after the last line."""
        size = size or self.size
        while y < bottom:
            text, first = self.say(self.rng.randint(12, 60)).split(), True
            while text and y < bottom:
                shift = indent if first else hanging
                count = 1
                while count < len(text) and self.wide(" ".join(text[: count + 1]), size) <= room - shift:
                    count += 1
                full = justified and count < len(text) and "Mono" not in self.font
                self.line(" ".join(text[:count]), x + shift, y, size, room - shift if full else None)
                text, first = text[count:], False
                y += pitch * size
            y += gap * size
        return y


@lru_cache(maxsize=64)
def load_font(path: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(path, size)


@lru_cache(maxsize=100_000)
def advance(font: str, text: str) -> float:
    return load_font(font, 100).getlength(text)


def amount(rng: random.Random) -> str:
    return f"{rng.choice([9, 99, 999, 9999]) * rng.random():.2f}"


def date(rng: random.Random) -> str:
    return f"{rng.randint(1, 28)} {rng.choice(['March', 'June', 'October'])} {rng.randint(1990, 2031)}"


def columns(sheet: Sheet, count: int, heading: bool = True, uneven: bool = True) -> None:
    rng = sheet.rng
    gutter = sheet.size * max(rng.choice([0.8, 1.0, 1.2, 1.6, 2.5]), 2 * sheet.wide(" ", 1))
    left, top, room = 80.0, 140.0, sheet.width - 160.0
    if heading:
        sheet.line(sheet.say(4).title(), left, top, sheet.size * 2)
        top += sheet.size * 3
    wide = (room - (count - 1) * gutter) / count
    justified, pitch = rng.random() < 0.5, rng.choice([1.2, 1.35, 1.5])
    style = rng.choice([{"indent": sheet.size}, {"gap": 0.8}, {}])
    for number in range(count):
        bottom = rng.randint(900, 1550) if uneven and number == count - 1 else 1550
        shift = rng.choice([0, 0, 0.3, 0.5]) * sheet.size
        sheet.prose(
            left + number * (wide + gutter), top + shift, wide, bottom, justified=justified, pitch=pitch, **style
        )
    if rng.random() < 0.4:
        sheet.centred(str(rng.randint(1, 99)), sheet.width / 2, 1640)


def one_column(sheet: Sheet) -> None:
    columns(sheet, 1)


def two_columns(sheet: Sheet) -> None:
    columns(sheet, 2)


def three_columns(sheet: Sheet) -> None:
    columns(sheet, 3)


def four_columns(sheet: Sheet) -> None:
    sheet.size = 16
    columns(sheet, 4)


def newspaper(sheet: Sheet) -> None:
    """Heading over all, one article over two columns with a heading of its own, another in the third."""
    sheet.size = 18
    gutter, top = sheet.size * 1.3, 260.0
    wide = (sheet.width - 160 - 2 * gutter) / 3
    place = [80 + number * (wide + gutter) for number in range(3)]
    sheet.centred(sheet.say(3).title(), sheet.width / 2, 120, 54)
    sheet.line(date(sheet.rng), 80, 180)
    sheet.right("No. " + str(sheet.rng.randint(100, 999)), sheet.width - 80, 180)
    sheet.line(fitted(sheet, 2 * wide, 34), place[0], top, 34)
    sheet.prose(place[0], top + 60, wide, 1000, justified=True)
    sheet.prose(place[1], top + 60, wide, 1000, justified=True)
    sheet.line(fitted(sheet, 2 * wide, 34), place[0], 1090, 34)
    sheet.prose(place[0], 1140, wide, 1600, justified=True)
    sheet.prose(place[1], 1140, wide, 1600, justified=True)
    sheet.line(sheet.say(2), place[2], top, 26)
    sheet.prose(place[2], top + 47, wide, 1600, justified=True)


def table(sheet: Sheet, numbers: bool = True) -> None:
    rng = sheet.rng
    count, top = rng.randint(3, 6), 200.0
    room = (sheet.width - 160) / count
    rows = rng.randint(6, 30)
    pitch = sheet.size * rng.choice([1.4, 1.8, 2.2])
    sheet.line(sheet.say(5).capitalize(), 80, 120, sheet.size * 1.4)
    ruled = rng.random() < 0.5
    aligned = [rng.random() < 0.5 for _ in range(count)]
    for row in range(rows + 1):
        y = top + row * pitch
        for column in range(count):
            x = 80 + column * room
            if row == 0:
                text = rng.choice(["Name", "Town", "Net", "Tax", "Total amount", "Date", "Item"])
            elif column == 0 or not numbers:
                text = rng.choice(
                    [rng.choice(NAMES), rng.choice(TOWNS), rng.choice(ITEMS) + " " + rng.choice(ITEMS).lower()]
                )
            else:
                text = amount(rng)
            if column and (aligned[column] or numbers):
                sheet.right(text, x + room - sheet.size, y)
            else:
                sheet.line(text, x, y)
        if ruled:
            sheet.rules.append((70, y + 0.4 * pitch, sheet.width - 70, y + 0.4 * pitch))
    if ruled:
        sheet.rules += [
            (70 + c * room, top - pitch * 0.7, 70 + c * room, top + pitch * (rows + 0.4)) for c in range(count)
        ]


def text_table(sheet: Sheet) -> None:
    table(sheet, numbers=False)


def receipt(sheet: Sheet) -> None:
    rng = sheet.rng
    sheet.width, sheet.size = 520, rng.choice([18, 22])
    y, pitch = 80.0, sheet.size * 1.4
    for text in (rng.choice(NAMES) + " Store", f"{rng.randint(1, 99)} {rng.choice(NAMES)} Road", rng.choice(TOWNS)):
        sheet.centred(text, 260, y)
        y += pitch
    sheet.line("Date " + date(rng), 40, y)
    sheet.right(f"{rng.randint(10, 20)}:{rng.randint(10, 59)}", 480, y)
    y += 2 * pitch
    for _ in range(rng.randint(4, 25)):
        sheet.line(f"{rng.randint(1, 9)} {rng.choice(ITEMS)} {rng.choice(ITEMS).lower()}", 40, y)
        sheet.right(amount(rng), 480, y)
        y += pitch
        if rng.random() < 0.2:
            sheet.line(f"2 x {amount(rng)}", 80, y)
            y += pitch
    y += pitch / 2
    for name in ("Subtotal", "VAT 20%", "TOTAL", "Cash", "Change"):
        size = sheet.size * (1.5 if name == "TOTAL" else 1)
        sheet.line(name, 40, y, size)
        sheet.right(amount(rng), 480, y, size)
        y += pitch * size / sheet.size
    sheet.centred("Thank you for your visit", 260, y + pitch)
    sheet.height = int(y + 3 * pitch)


def letter(sheet: Sheet) -> None:
    rng = sheet.rng
    y, pitch = 160.0, sheet.size * 1.35
    for text in (f"{rng.choice(NAMES)} and Sons", f"{rng.randint(1, 99)} High Street", rng.choice(TOWNS)):
        sheet.line(text, 100, y)
        y += pitch
    sheet.right(date(rng), sheet.width - 100, y + pitch)
    y += 3 * pitch
    sheet.line("Dear " + rng.choice(NAMES) + ",", 100, y)
    y = sheet.prose(100, y + 2 * pitch, sheet.width - 200, 1100, gap=1.0)
    sheet.line("Yours sincerely,", 100, y + pitch)
    sheet.line(rng.choice(NAMES), 100, y + 4 * pitch)


def bill(sheet: Sheet) -> None:
    rng = sheet.rng
    pitch = sheet.size * 1.4
    sheet.line(f"{rng.choice(NAMES)} Ltd", 100, 140, 40)
    sheet.right("INVOICE", sheet.width - 100, 140, 40)
    y = 220.0
    for name, value in (("Invoice no.", str(rng.randint(1000, 9999))), ("Date:", date(rng)), ("Due:", date(rng))):
        sheet.line(name, 100, y)
        sheet.line(value, 320, y)
        y += pitch
    y += 2 * pitch
    stops = [100, 700, 880, sheet.width - 100]
    sheet.line("Description", stops[0], y)
    for text, stop in zip(("Qty", "Price", "Amount"), stops[1:]):
        sheet.right(text, stop, y)
    for _ in range(rng.randint(3, 14)):
        y += pitch * 1.2
        sheet.line(f"{rng.choice(ITEMS)} {sheet.say(rng.randint(0, 4))}", stops[0], y)
        for text, stop in zip((str(rng.randint(1, 20)), amount(rng), amount(rng)), stops[1:]):
            sheet.right(text, stop, y)
    y += pitch
    for name in ("Subtotal", "VAT", "Total due"):
        y += pitch
        sheet.right(name, stops[2], y)
        sheet.right(amount(rng), stops[3], y)
    sheet.line("Payment within 30 days to the account below.", 100, y + 4 * pitch)


def form(sheet: Sheet) -> None:
    rng = sheet.rng
    y = 160.0
    sheet.centred("Application " + sheet.say(1), sheet.width / 2, y, 34)
    labels = ["Name:", "First name:", "Street:", "Town:", "Date of birth:", "Phone:", "E-mail:", "Account:"]
    for number in range(rng.randint(5, 9)):
        y += sheet.size * 2.2
        halves = [100, 660] if number % 2 else [100]
        for x in halves:
            end = sheet.line(rng.choice(labels), x, y)
            sheet.line(
                rng.choice([rng.choice(NAMES), rng.choice(TOWNS), date(rng), amount(rng)]), max(end + 20, x + 210), y
            )


def dictionary(sheet: Sheet) -> None:
    rng = sheet.rng
    sheet.size = rng.choice([14, 16])
    count = rng.choice([2, 3])
    gutter = sheet.size * rng.choice([1.0, 1.3, 2])
    wide = (sheet.width - 160 - (count - 1) * gutter) / count
    sheet.line(rng.choice(VOCABULARY), 80, 90)
    sheet.right(rng.choice(VOCABULARY), sheet.width - 80, 90)
    for number in range(count):
        x, y = 80 + number * (wide + gutter), 140.0
        while y < 1600:
            y = sheet.prose(x, y, wide, min(1600, y + 1.2 * sheet.size * rng.randint(1, 6)), pitch=1.2,
                            hanging=sheet.size, justified=count == 2)  # fmt: skip


def captions(sheet: Sheet) -> None:
    """Two columns with pictures: over both with a caption under it, and in one column."""
    gutter = sheet.size * 1.5
    wide = (sheet.width - 160 - gutter) / 2
    right = 80 + wide + gutter
    sheet.prose(80, 140, wide, 420, justified=True)
    sheet.prose(right, 140, wide, 420, justified=True)
    sheet.centred("Figure 1: " + sheet.say(9), sheet.width / 2, 820, 18)
    sheet.prose(80, 930, wide, 1560, justified=True)
    sheet.prose(right, 930, wide, 1100, justified=True)
    sheet.prose(right, 1320, wide, 1560, justified=True)


def margin_notes(sheet: Sheet) -> None:
    """One column of prose; notes in small type beside it stand by themselves, after their paragraph."""
    rng = sheet.rng
    y = 160.0
    for _ in range(4):
        first = y
        for _ in range(rng.randint(5, 9)):
            sheet.line(fitted(sheet, sheet.width - 480), 80, y)
            y += 1.35 * sheet.size
        if rng.random() < 0.7:
            spot = first
            for _ in range(3):
                sheet.line(fitted(sheet, 240, 16), sheet.width - 350, spot, 16)
                spot += 22
        y += 2.2 * sheet.size


def fitted(sheet: Sheet, room: float, size: float | None = None) -> str:
    """Words that just fit into the room."""
    text = sheet.say(1)
    while True:
        longer = text + " " + sheet.say(1)
        if sheet.wide(longer, size or sheet.size) > room:
            return text
        text = longer


def contents(sheet: Sheet) -> None:
    rng = sheet.rng
    sheet.line("Contents", 100, 140, 36)
    y = 220.0
    for number in range(rng.randint(8, 24)):
        end = sheet.line(f"{number + 1} {sheet.say(rng.randint(1, 5))}", 100, y)
        page = str(4 * number + 3)
        if rng.random() < 0.5:
            dots = "." * max(3, int((sheet.width - 180 - end) / sheet.wide(".", sheet.size)))
            sheet.line(dots, end + 14, y)
        sheet.right(page, sheet.width - 100, y)
        y += sheet.size * 1.7


def clauses(sheet: Sheet) -> None:
    """Numbered clauses and bullets with wrapped text beside them."""
    y = 140.0
    for number in range(9):
        sheet.line(sheet.rng.choice([f"{number + 1}.", f"({'abcdefghi'[number]})", "•"]), 90, y)
        y = sheet.prose(150, y, sheet.width - 260, y + sheet.rng.randint(1, 4) * sheet.size) + 14


KINDS: dict[str, Callable[[Sheet], None]] = {
    kind.__name__: kind
    for kind in (
        one_column, two_columns, three_columns, four_columns, newspaper, captions, margin_notes, dictionary, table,
        text_table, receipt, bill, form, letter, contents, clauses,
    )
}  # fmt: skip


def lay_out(kind: str, number: int, fonts: list[str]) -> Sheet:
    rng = random.Random(f"{kind} {number}")
    sheet = Sheet(rng, rng.choice(fonts), size=rng.choice([18, 22, 26]))
    KINDS[kind](sheet)
    return sheet


def boxes(sheet: Sheet, by: str) -> tuple[list[np.ndarray], list[int]]:
    """Words as detectors outline them, and the lines they are cut from: lines run across narrow gutters."""
    rng = np.random.default_rng(len(sheet.words))
    quads, lines = [], []
    for text, x, y, size in sheet.words:
        x0, x1 = x - 0.05 * size, x + sheet.wide(text, size) + 0.05 * size
        top, bottom = y - 0.95 * size, y + 0.3 * size
        if by == "word":
            tall, deep = (
                any(c in "bdfhklt" or c.isupper() or c.isdigit() for c in text),
                any(c in "gjpqy" for c in text),
            )
            top, bottom = y - (0.85 if tall else 0.65) * size, y + (0.28 if deep else 0.08) * size
        jitter = rng.normal(0, 0.03 * size, (4, 2))
        quads.append(np.array([[x0, top], [x1, top], [x1, bottom], [x0, bottom]]) + jitter)
    order = sorted(range(len(quads)), key=lambda index: (round(sheet.words[index][2] / 4), quads[index][0, 0]))
    numbers = [0] * len(quads)
    for place, index in enumerate(order):
        before = order[place - 1]
        near = 0 <= quads[index][0, 0] - quads[before][1, 0] < 0.9 * sheet.words[index][3]
        level = abs(sheet.words[index][2] - sheet.words[before][2]) < 0.2 * sheet.words[index][3]
        same = place and near and level and by == "line" and sheet.words[index][3] == sheet.words[before][3]
        numbers[index] = numbers[before] if same else place
    lines = numbers
    return quads, lines


def turned(points: np.ndarray, degrees: float, centre: tuple[float, float]) -> np.ndarray:
    return cv2.transform(points.reshape(1, -1, 2), cv2.getRotationMatrix2D(centre, degrees, 1)).reshape(points.shape)


def distance(want: list, got: list) -> float:
    """Words to move, add or remove, in percent."""
    codes = {word: place for place, word in enumerate(dict.fromkeys([*want, *got]))}
    other = np.array([codes[word] for word in got])
    row = np.arange(len(got) + 1)
    for count, word in enumerate(want, 1):
        best = np.minimum(row[1:] + 1, row[:-1] + (other != codes[word]))
        new = np.concatenate([[count], best])
        row = np.minimum.accumulate(new - np.arange(len(new))) + np.arange(len(new))
    return 100 * min(1.0, float(row[-1]) / max(1, len(want)))


def top_to_bottom(quads: list[np.ndarray], lines: list[int], texts: list[str]) -> list[int]:
    """Rows from top to bottom, words from left to right, as the page lies."""
    middles, heights = [q.mean(axis=0) for q in quads], [float(np.ptp(q[:, 1])) for q in quads]
    rows: list[list[int]] = []
    for index in sorted(range(len(quads)), key=lambda index: middles[index][1]):
        if rows and middles[index][1] - middles[rows[-1][0]][1] < heights[index] / 2:
            rows[-1].append(index)
        else:
            rows.append([index])
    return [index for row in rows for index in sorted(row, key=lambda index: middles[index][0])]


def doctr_order(quads: list[np.ndarray], lines: list[int], texts: list[str]) -> list[int]:
    """The order that docTR gives lines of words."""
    from doctr.models.reading_order import resolve_reading_segments

    from clip4str_plugin.geometry.grouping import Runs, group_lines
    from clip4str_plugin.geometry.polygons import enclose

    groups = group_lines(Runs.of(quads))
    around = []
    for group in groups:
        first, last = quads[group[0]], quads[group[-1]]
        around.append(
            enclose(np.concatenate([quads[i] for i in group]), np.stack([first[0], last[1], last[2], first[3]]))
        )
    size = np.max(np.concatenate(quads), axis=0) + 50
    relative = [quad / size for quad in around]
    blocks = resolve_reading_segments(relative, page_shape=(int(size[1]), int(size[0])), angle_geoms=relative)
    return [index for block in blocks for line in block for index in groups[line]]


def ours(quads: list[np.ndarray], lines: list[int], texts: list[str]) -> list[int]:
    return [index for block in reading_order(quads, lines, texts) for line in block for index in line]


def angles(number: int) -> Iterator[float]:
    rng = random.Random(number)
    yield from (
        0,
        90,
        180,
        270,
        rng.uniform(1, 10),
        rng.uniform(-10, -1),
        90 * rng.randint(1, 3) + rng.uniform(-10, 10),
    )


def draw(sheet: Sheet, degrees: float) -> np.ndarray:
    page = Image.new("RGB", (sheet.width, sheet.height), "white")
    pen = ImageDraw.Draw(page)
    for x0, y0, x1, y1 in sheet.rules:
        pen.line((x0, y0, x1, y1), fill="gray", width=2)
    for text, x, y, size in sheet.words:
        pen.text((x, y), text, fill="black", font=load_font(sheet.font, round(size)), anchor="ls")
    return np.asarray(page.rotate(degrees, resample=Image.Resampling.BICUBIC, expand=True, fillcolor="white"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", type=int, default=10, help="pages of each kind")
    parser.add_argument("--only", help="kinds whose names contain this")
    parser.add_argument("--alone", action="store_true", help="nothing beside")
    parser.add_argument("--read", action="store_true", help="draw the pages and read them")
    parser.add_argument("--show", type=Path, help="a folder for the pages that come out worst")
    parser.add_argument("--font", nargs="+", type=Path, default=[font for font in FONTS if font.is_file()])
    args = parser.parse_args()
    fonts = [str(font) for font in args.font]
    kinds = [kind for kind in KINDS if not args.only or args.only in kind]
    if args.read:
        read_pages(kinds, args.pages, fonts, args.show)
        return
    ways = {"ours": ours, "docTR": doctr_order, "top to bottom": top_to_bottom}
    if args.alone:
        ways = {"ours": ours}
    print(f"{'kind':16}" + "".join(f"{by + ', ' + way:>22}" for by in ("line", "word") for way in ways))
    sums: dict[tuple[str, str], list[float]] = {}
    for kind in kinds:
        results: dict[tuple[str, str], list[tuple[float, str]]] = {}
        for number in range(args.pages):
            sheet = lay_out(kind, number, fonts)
            texts, want = [word[0] for word in sheet.words], list(range(len(sheet.words)))
            for by in ("line", "word"):
                quads, lines = boxes(sheet, by)
                shuffled = list(want)
                random.Random(number).shuffle(shuffled)
                # A detector's lines come in any order, their words in theirs.
                if by == "line":
                    shuffled.sort(key=lambda index: (lines[index], index))
                for degrees in angles(number):
                    placed = [turned(quads[i], degrees, (sheet.width / 2, sheet.height / 2)) + 500 for i in shuffled]
                    for way, order in ways.items():
                        got = order(placed, [lines[i] for i in shuffled], [texts[i] for i in shuffled])
                        off = distance(want, [shuffled[index] for index in got])
                        results.setdefault((by, way), []).append((off, f"{number} at {degrees:.0f}"))
        for key, values in results.items():
            sums.setdefault(key, []).append(float(np.mean([value for value, _ in values])))
        worst = max(results["line", "ours"])
        print(
            f"{kind:16}" + "".join(f"{sums[key][-1]:22.2f}" for key in sums) + f"   worst {worst[0]:.0f}: {worst[1]}",
            flush=True,
        )
    print(f"{'mean':16}" + "".join(f"{np.mean(values):22.2f}" for values in sums.values()))


def read_pages(kinds: list[str], pages: int, fonts: list[str], show: Path | None) -> None:
    from clip4str_plugin import Reader

    reader = Reader()
    total = []
    for kind in kinds:
        results = []
        for number in range(pages):
            sheet = lay_out(kind, number, fonts)
            want = [word[0] for word in sheet.words]
            for degrees in list(angles(number))[number % 7 :: 7]:
                (page,) = reader.stream([draw(sheet, degrees)])
                got = [word.text for word in page.words]
                missing = 100 - 100 * sum(min(want.count(w), got.count(w)) for w in set(want)) / len(want)
                results.append((distance(want, got), missing, f"{number} at {degrees:.0f}"))
                if show is not None and results[-1][0] > missing + 3:
                    show.mkdir(parents=True, exist_ok=True)
                    Image.fromarray(page.image).save(show / f"{kind}-{number}.png")
                    (show / f"{kind}-{number}.txt").write_text(page.text)
        off, missing = np.mean([[a, b] for a, b, _ in results], axis=0)
        worst = max(results)
        total.append((off, missing))
        print(
            f"{kind:16} edit distance {off:6.2f}, words not found {missing:6.2f}   worst {worst[0]:.0f}: {worst[2]}",
            flush=True,
        )
    print("{:16} edit distance {:6.2f}, words not found {:6.2f}".format("mean", *np.mean(total, axis=0)))


if __name__ == "__main__":
    main()
