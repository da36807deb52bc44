"""The fonts of this machine: which there are, and which characters each draws as Latin readers know them."""

import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont
from tqdm import tqdm

from clip4str_plugin.errors import Clip4StrError
from clip4str_plugin.synthetic.corpus import CHARSET, CURRENCY

__all__ = ["Face", "find_fonts", "inspect_fonts", "load_font"]

_log = logging.getLogger(__name__)

_SUFFIXES = {".ttf", ".otf", ".ttc", ".pfb"}
_CACHE_VERSION = 3
# Fonts a helping process checks at a time: starting one costs as much as ten fonts.
_AT_A_TIME = 32
_CHECK_SIZE = 40
_GRID = 16
_TEMPLATE_CHARS = CHARSET[:62]
# Script and display faces find half of their letters among the templates; Greek text in Latin codes, symbols and
# puzzles of strokes find less.
_MIN_RECOGNISED = 0.42
_SAME_SHAPE = 0.93
# These look alike in both cases in any face.
_CASELESS = set("cosuvwxzkpijy")


@dataclass(frozen=True)
class Face:
    """One usable font file.

    Attributes:
        path: the font file.
        family: its family name, which the many weights of a family share.
        characters: those of ``CHARSET`` and ``CURRENCY`` that it draws properly.
        cap_height: height of its capitals as a fraction of the font size.
    """

    path: str
    family: str
    characters: str
    cap_height: float


def _font_folders() -> list[Path]:
    home = Path.home()
    data = os.environ.get("XDG_DATA_HOME")
    folders = [
        Path("/usr/share/fonts"),
        Path("/usr/local/share/fonts"),
        Path(data) / "fonts" if data else home / ".local/share/fonts",
        home / ".fonts",
    ]
    if sys.platform == "darwin":
        folders += [Path("/System/Library/Fonts"), Path("/Library/Fonts"), home / "Library/Fonts"]
    if sys.platform == "win32":
        folders.append(Path(os.environ.get("WINDIR", "C:/Windows")) / "Fonts")
    return folders


def _cache_file(cache: str | os.PathLike[str] | None) -> Path:
    if cache is not None:
        return Path(cache)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "clip4str" / "fonts.json"


@lru_cache(maxsize=768)
def load_font(path: str, size: int) -> ImageFont.FreeTypeFont:
    """Returns a face at a size in pixels, kept open for the next word in it."""
    return ImageFont.truetype(path, size, layout_engine=ImageFont.Layout.BASIC)


@lru_cache(maxsize=1)
def _templates() -> np.ndarray:
    """Returns the mean shapes of 0-9a-zA-Z over many faces, (62, 256) float32, each of mean 0 and length 1."""
    image = cv2.imdecode(
        np.frombuffer((files(__package__) / "data" / "letters.png").read_bytes(), np.uint8), cv2.IMREAD_GRAYSCALE
    )
    assert image is not None
    cells = image.reshape(-1, _GRID, len(_TEMPLATE_CHARS), _GRID).transpose(2, 0, 1, 3)
    return np.stack([_normalise(cell.reshape(-1)) for cell in cells])


def _normalise(pixels: np.ndarray) -> np.ndarray:
    vector = pixels.astype(np.float32).reshape(-1)
    vector = vector - vector.mean()
    return vector / max(float(np.linalg.norm(vector)), 1e-6)


def _draw(font: ImageFont.FreeTypeFont, char: str) -> np.ndarray | None:
    """Returns the ink of one character cut out to its bounds, or None when there is none."""
    image = Image.new("L", (3 * _CHECK_SIZE, 3 * _CHECK_SIZE))
    ImageDraw.Draw(image).text((_CHECK_SIZE, _CHECK_SIZE), char, fill=255, font=font)
    box = image.getbbox()
    return np.asarray(image.crop(box)) if box else None


def _shape(ink: np.ndarray) -> np.ndarray:
    # The longer side fills the grid, so that l and - stay thin.
    height, width = ink.shape
    side = max(height, width)
    square = np.zeros((side, side), np.uint8)
    top, left = (side - height) // 2, (side - width) // 2
    square[top : top + height, left : left + width] = ink
    return cv2.GaussianBlur(cv2.resize(square, (_GRID, _GRID), interpolation=cv2.INTER_AREA), (3, 3), 0)


def _inspect(path: str) -> Face | None:
    """Returns what a font file can draw, or None when it is of no use for Latin words."""
    try:
        font = ImageFont.truetype(path, _CHECK_SIZE, layout_engine=ImageFont.Layout.BASIC)
        family = font.getname()[0] or Path(path).stem
        missing = [_draw(font, char) for char in "\uffff\ufdd0"]
        inks = {char: _draw(font, char) for char in CHARSET + CURRENCY}
    except (OSError, ValueError, SyntaxError):
        return None

    def drawn(char: str) -> bool:
        ink = inks[char]
        return ink is not None and not any(box is not None and np.array_equal(ink, box) for box in missing)

    usable = [char for char in CHARSET + CURRENCY if drawn(char)]
    known = [char for char in _TEMPLATE_CHARS if char in usable]
    if sum(char.isupper() for char in known) < 26:
        return None
    shapes = np.stack([_normalise(_shape(inks[char])) for char in known])  # type: ignore[arg-type]
    nearest = (shapes @ _templates().T).argmax(1)
    hits = [char.lower() == _TEMPLATE_CHARS[best].lower() for char, best in zip(known, nearest, strict=True)]
    if np.mean(hits) < _MIN_RECOGNISED:
        return None

    # Faces whose small letters are capitals would teach a wrong case: they keep their capitals only.
    row = dict(zip(known, shapes, strict=True))
    pairs = [c for c in known if c.islower() and c not in _CASELESS and c.upper() in row]
    alike = [float(row[c] @ row[c.upper()]) > _SAME_SHAPE for c in pairs]
    if not alike or np.mean(alike) > 0.5:
        usable = [char for char in usable if not char.islower()]
    capital = inks["H"]
    assert capital is not None
    return Face(path, family, "".join(usable), capital.shape[0] / _CHECK_SIZE)


def inspect_fonts(fonts: Iterable[str | os.PathLike[str]], cache: str | os.PathLike[str] | None = None) -> list[Face]:
    """Checks which characters each font draws; keeps the ones that draw Latin letters.

    A character counts when it leaves ink and is not the font's box for missing characters; a font counts when it has
    all capitals and enough of its letters look like letters (symbol and emoji fonts do not). The findings are kept in
    a file, so only new or changed fonts are opened the next time.

    Args:
        fonts: font files (TrueType, OpenType, Type 1; of a collection the first face).
        cache: file for the findings; by default ``clip4str/fonts.json`` in the user's cache folder.

    Returns:
        The usable faces in the order given.
    """
    store = _cache_file(cache)
    known: dict[str, list] = {}
    try:
        content = json.loads(store.read_text("utf-8"))
        if content.get("version") == _CACHE_VERSION:
            known = content["fonts"]
    except (OSError, ValueError, KeyError, AttributeError):
        pass

    paths, stamps = [os.fspath(font) for font in fonts], {}
    for path in paths:
        try:
            stat = os.stat(path)
        except OSError as error:
            raise Clip4StrError(f"font {path!r} cannot be read ({error.strerror}); give existing font files") from error
        stamps[path] = f"{stat.st_size}:{stat.st_mtime_ns}"
    unknown = [path for path, stamp in stamps.items() if path not in known or known[path][0] != stamp]
    for path, face in _inspect_all(unknown):
        known[path] = [stamps[path], asdict(face) if face else None]
    if unknown:
        _save(store, known)
    return [Face(**known[path][1]) for path in paths if known[path][1]]


def _inspect_all(paths: Sequence[str]) -> Iterator[tuple[str, Face | None]]:
    """Yields each font and its findings; many fonts are shared out among the cores, and progress is shown."""
    chunks = [paths[start : start + _AT_A_TIME] for start in range(0, len(paths), _AT_A_TIME)]
    processes = min(len(chunks), os.cpu_count() or 1)
    if processes < 2:
        yield from ((path, _inspect(path)) for path in paths)
        return
    with (
        tqdm(total=len(paths), desc="checking fonts", unit=" fonts", disable=None) as bar,
        ThreadPoolExecutor(processes) as pool,
    ):
        for chunk, faces in zip(chunks, pool.map(_inspect_apart, chunks), strict=True):
            yield from zip(chunk, faces, strict=True)
            bar.update(len(chunk))


def _inspect_apart(paths: Sequence[str]) -> list[Face | None]:
    """Inspects fonts in a process of its own: drawing letters keeps Python's lock, so that threads bring nothing.

    A fresh interpreter, and neither a fork (which would inherit the threads of libraries as dead ones) nor
    ``multiprocessing``'s spawn (which runs the caller's script again, if that is not guarded).
    """
    code = "import sys; sys.path[:] = {!r}; from clip4str_plugin.synthetic.fonts import _answer; _answer()"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code.format(sys.path)],
        input=json.dumps(list(paths)),
        capture_output=True,
        text=True,
        encoding="utf-8",
        env=environment,
    )
    if done.returncode:
        _log.warning("a process that checks fonts failed (%s); going on without it", done.stderr.strip()[-300:])
        return [_inspect(path) for path in paths]
    return [Face(**entry) if entry else None for entry in json.loads(done.stdout)]


def _answer() -> None:
    """Reads font files as JSON from standard input, and writes the findings of ``_inspect`` as JSON."""
    cv2.setNumThreads(1)
    faces = [_inspect(path) for path in json.load(sys.stdin)]
    json.dump([asdict(face) if face else None for face in faces], sys.stdout)


def _save(store: Path, known: dict[str, list]) -> None:
    temporary = store.with_name(f"{store.name}.{os.getpid()}")
    try:
        store.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps({"version": _CACHE_VERSION, "fonts": known}), "utf-8")
        temporary.replace(store)
    except OSError as error:
        _log.warning("the font check is not kept in %s (%s): the next start checks again", store, error)


def find_fonts(
    folders: Sequence[str | os.PathLike[str]] | None = None, cache: str | os.PathLike[str] | None = None
) -> list[str]:
    """Finds the fonts of this machine that draw Latin letters properly.

    Args:
        folders: where to look, with all folders below; by default the system's and the user's font folders.
        cache: file for the findings, see `inspect_fonts`.

    Returns:
        Sorted paths of usable font files; empty when there are none.
    """
    roots = [Path(folder) for folder in folders] if folders is not None else _font_folders()
    paths = {
        os.path.join(folder, name)
        for root in roots
        for folder, _, names in os.walk(root)
        for name in names
        if os.path.splitext(name)[1].lower() in _SUFFIXES
    }
    return [face.path for face in inspect_fonts(sorted(paths), cache)]
