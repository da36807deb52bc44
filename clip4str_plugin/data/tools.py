"""Check and split sets of labelled crops, and convert folders with labels.tsv to LMDB sets and back."""

from __future__ import annotations

import hashlib
import io
import os
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from clip4str_plugin.data.datasets import LABELS, WordDataset, open_dataset, open_environment
from clip4str_plugin.errors import DatasetError
from clip4str_plugin.io.decoding import open_image
from clip4str_plugin.model.config import CHARSET_94

__all__ = ["DataReport", "check_dataset", "convert", "make_new", "new_set", "split"]

_MAP_SIZE = 1 << 40  # the most an LMDB set may grow to; on disk it takes what it needs
_BATCH = 1000


@dataclass
class DataReport:
    """What a set holds, and its problems.

    Attributes:
        name: the set as given.
        samples: crops with a usable label.
        dropped: labels left out: empty, too long, or nothing of them in the charset.
        corrupt: entries without a label.
        reduced: labels that lose characters because the charset lacks them.
        foreign: these characters, the most frequent first, with how often they came.
        unreadable: crops whose image cannot be decoded, each with the reason.
        small: crops with a side below 8 pixels.
        duplicates: crops that the set holds twice.
        shared: crops that are in one of the other sets too (a training set must not hold test images).
        characters: how often each character came in the usable labels.
    """

    name: str
    samples: int = 0
    dropped: int = 0
    corrupt: int = 0
    reduced: int = 0
    foreign: list[tuple[str, int]] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    small: int = 0
    duplicates: int = 0
    shared: dict[str, int] = field(default_factory=dict)
    characters: dict[str, int] = field(default_factory=dict)

    @property
    def usable(self) -> bool:
        """Whether the set is fit for training and testing."""
        return bool(self.samples) and not (self.unreadable or self.corrupt or any(self.shared.values()))


def check_dataset(
    path: str | Path, charset: str = CHARSET_94, max_length: int | None = 25, against: Sequence[str | Path] = ()
) -> DataReport:
    """Read a whole set and report its problems.

    Args:
        path: as in ``open_dataset``.
        charset: characters of the labels.
        max_length: longest label.
        against: other sets that must not hold the same images (told by their decoded pixels).

    Raises:
        DatasetError: a set cannot be opened at all.
    """
    dataset = open_dataset(path, charset, max_length, on_error="skip")
    report = DataReport(
        str(path),
        samples=len(dataset),
        dropped=dataset.dropped,
        corrupt=dataset.corrupt,
        reduced=dataset.reduced,
        foreign=dataset.foreign.most_common(50),
    )
    others = {str(p): set(_fingerprints(open_dataset(p, charset, None, on_error="skip"), [])) for p in against}
    report.shared = dict.fromkeys(others, 0)
    seen: set[bytes] = set()
    characters: Counter[str] = Counter()
    for index in range(len(dataset)):
        characters.update(dataset.label(index))
    report.characters = dict(characters.most_common())
    for fingerprint in _fingerprints(dataset, report.unreadable, report):
        report.duplicates += fingerprint in seen
        seen.add(fingerprint)
        for name, known in others.items():
            report.shared[name] += fingerprint in known
    return report


def _fingerprints(dataset: WordDataset, problems: list[str], report: DataReport | None = None) -> Iterator[bytes]:
    for index in range(len(dataset)):
        try:
            crop, _ = dataset[index]
        except ValueError as error:
            problems.append(str(error))
            continue
        if report is not None and min(crop.shape[:2]) < 8:
            report.small += 1
        yield hashlib.blake2b(crop.tobytes() + repr(crop.shape).encode(), digest_size=16).digest()


def convert(source: str | Path, target: str | Path, to: str) -> dict[str, int]:
    """Copy a set into the other layout; images and labels do not change.

    Args:
        source: folder with ``labels.tsv``, or with LMDB sets at any depth.
        target: new folder.
        to: ``"lmdb"`` or ``"folder"``.

    Returns:
        how many entries were ``written``, and how many ``skipped`` because image or label is missing.

    Raises:
        DatasetError: the source cannot be opened, or the target exists.
    """
    if to not in ("lmdb", "folder"):
        raise DatasetError(f"convert to {to!r}: use lmdb or folder")
    target = Path(target)
    _refuse_inside(target, Path(source))
    open_dataset(source, on_error="skip")  # the clear error, before anything is written
    make_new(target)
    counts = {"written": 0, "skipped": 0}
    entries = _raw_folder(Path(source)) if (Path(source) / LABELS).is_file() else _raw_lmdb(Path(source))
    writer = _LmdbWriter(target) if to == "lmdb" else _FolderWriter(target)
    for image, text in entries:
        if image is None or text is None or not image:
            counts["skipped"] += 1
            continue
        counts["written"] += 1
        writer.add(counts["written"], image, text)
    writer.close(counts["written"])
    if not counts["written"]:
        shutil.rmtree(target)
        raise DatasetError(f"{source}: holds no entry with image and label")
    return counts


def split(
    source: str | Path, train: str | Path, held_out: str | Path, part: int = 3, group: str | None = None
) -> dict[str, dict[str, int]]:
    r"""Split a set into a part to train on and a part to measure on.

    Where a sample goes follows from a hash of its name alone, so that it does not change when samples are added, and is
    the same on every machine. The parts of a folder list its images where they are; those of LMDB sets are copies.

    Args:
        source: folder with ``labels.tsv``, or with LMDB sets at any depth.
        train: new folder.
        held_out: new folder, which gets about one ``part``-th of the samples.
        part: at least 2.
        group: regular expression; samples in whose names it matches the same text (its first group, if it has one) stay
            together, such as the words of one photo: ``r"(\d+)_\d+\.png$"``. Names are the files of ``labels.tsv``, or
            in LMDB sets ``path/image-000000001``.

    Returns:
        for "train" and "held_out" how many ``samples`` and ``groups`` each got.

    Raises:
        DatasetError: the source cannot be opened, a target exists, ``group`` is no regular expression or does not match
            a name, or a part would be empty.
    """
    source, targets = Path(source), [Path(train), Path(held_out)]
    for one, other in (targets, targets[::-1]):
        if one.resolve().is_relative_to(other.resolve()):
            raise DatasetError(f"{one}: is {other} or lies within it; name two folders side by side")
    if part < 2:
        raise DatasetError(f"part {part}: has to be at least 2, one part-th of the set is held out")
    try:
        pattern = re.compile(group) if group is not None else None
    except re.error as error:
        raise DatasetError(f"group {group!r}: is not a regular expression ({error})") from None
    open_dataset(source, on_error="skip")
    is_folder = (source / LABELS).is_file()
    names = list(_folder_lines(source)) if is_folder else list(_lmdb_names(source))
    groups: tuple[set[str], set[str]] = (set(), set())
    chosen: list[bool] = []
    for name, *_ in names:
        key = _group_of(name, pattern)
        digest = hashlib.blake2b(key.encode(), digest_size=8).digest()
        chosen.append(int.from_bytes(digest, "big") % part == 0)
        groups[chosen[-1]].add(key)
    if not all(groups):
        lacking = targets[bool(groups[0])]
        raise DatasetError(f"{lacking}: would get none of the {len(groups[0] | groups[1])} groups of {source}")
    for target in targets:
        if not is_folder:
            _refuse_inside(target, source)
        make_new(target)
    if is_folder:
        for target, wanted in zip(targets, (False, True)):
            rows = [(name, text) for (name, text), c in zip(names, chosen) if c == wanted]
            lines = [f"{Path(os.path.relpath(source / name, target)).as_posix()}\t{text}\n" for name, text in rows]
            (target / LABELS).write_text("".join(lines), encoding="utf-8", newline="\n")
    else:
        writers = [_LmdbWriter(target) for target in targets]
        counts = [0, 0]
        for (image, text), c in zip(_raw_lmdb(source), chosen):
            if image and text is not None:
                counts[c] += 1
                writers[c].add(counts[c], image, text)
        for writer, count in zip(writers, counts):
            writer.close(count)
    return {
        name: {"samples": chosen.count(wanted), "groups": len(groups[wanted])}
        for name, wanted in (("train", False), ("held_out", True))
    }


def _group_of(name: str, pattern: re.Pattern[str] | None) -> str:
    if pattern is None:
        return name
    found = pattern.search(name)
    if found is None:
        raise DatasetError(f"group {pattern.pattern!r}: does not match the name {name!r}")
    return str(found[1] if pattern.groups and found[1] is not None else found[0])


def _refuse_inside(target: Path, source: Path) -> None:
    if target.resolve().is_relative_to(source.resolve()):
        raise DatasetError(f"{target}: lies within {source}, which is searched at any depth; name a folder outside")


def make_new(target: Path) -> None:
    """Make a folder that must not hold anything yet."""
    if target.exists() and any(target.iterdir()):
        raise DatasetError(f"{target}: exists and is not empty; name a new folder")
    target.mkdir(parents=True, exist_ok=True)


@contextmanager
def new_set(target: str | Path) -> Iterator[Callable[[np.ndarray, str], None]]:
    """Open a new set with ``labels.tsv`` and PNG images; gives what adds a crop, uint8 (H, W, 3) RGB, and its label.

    Raises:
        DatasetError: the target exists.
    """
    folder, numbers = Path(target), count(1)
    make_new(folder)
    with (folder / LABELS).open("w", encoding="utf-8", newline="\n") as table:

        def add(crop: np.ndarray, label: str) -> None:
            name = f"{next(numbers):09d}.png"
            Image.fromarray(np.ascontiguousarray(crop)).save(folder / name)
            table.write(f"{name}\t{label}\n")

        yield add


def _folder_lines(root: Path) -> Iterator[tuple[str, str]]:
    for line in (root / LABELS).read_text(encoding="utf-8-sig").split("\n"):
        name, tab, text = line.partition("\t")
        if tab:
            yield name, text


def _lmdb_names(root: Path) -> Iterator[tuple[str]]:
    """Name the entries in the order of ``_raw_lmdb``."""
    for part in sorted(p.parent for p in root.rglob("data.mdb")):
        with open_environment(part).begin() as transaction:
            count = int(transaction.get(b"num-samples"))
        folder = part.relative_to(root).as_posix()
        yield from ((f"{folder}/image-{number:09d}",) for number in range(1, count + 1))


def _raw_folder(root: Path) -> Iterator[tuple[bytes | None, str | None]]:
    for line in (root / LABELS).read_text(encoding="utf-8-sig").split("\n"):
        name, tab, text = line.partition("\t")
        if line:
            file = root / name
            yield (file.read_bytes() if tab and file.is_file() else None), text if tab else None


def _raw_lmdb(root: Path) -> Iterator[tuple[bytes | None, str | None]]:
    for part in sorted(p.parent for p in root.rglob("data.mdb")):
        environment = open_environment(part)
        with environment.begin() as transaction:
            for number in range(1, int(transaction.get(b"num-samples")) + 1):
                image, text = (transaction.get(b"%s-%09d" % (kind, number)) for kind in (b"image", b"label"))
                try:
                    yield image, None if text is None else bytes(text).decode("utf-8")
                except UnicodeDecodeError:
                    yield image, None


class _LmdbWriter:
    def __init__(self, target: Path) -> None:
        try:
            import lmdb
        except ImportError as error:
            raise DatasetError(f"{target}: writing LMDB sets needs the package lmdb: pip install lmdb") from error
        self._target, self._error = target, lmdb.Error
        self._waiting: list[tuple[bytes, bytes]] = []
        with self._refusals():
            self._environment = lmdb.open(str(target), map_size=_MAP_SIZE)

    @contextmanager
    def _refusals(self) -> Iterator[None]:
        try:
            yield
        except self._error as error:  # no space, or not so much address space
            raise DatasetError(f"{self._target}: cannot be written ({error})") from None

    def add(self, number: int, image: bytes, text: str) -> None:
        self._waiting += [(b"image-%09d" % number, image), (b"label-%09d" % number, text.encode())]
        if len(self._waiting) >= 2 * _BATCH:
            self._flush()

    def _flush(self) -> None:
        with self._refusals(), self._environment.begin(write=True) as transaction:
            for key, value in self._waiting:
                transaction.put(key, value)
        self._waiting.clear()

    def close(self, count: int) -> None:
        self._waiting.append((b"num-samples", str(count).encode()))
        self._flush()
        self._environment.close()


class _FolderWriter:
    def __init__(self, target: Path) -> None:
        self.target = target
        self._table: Any = (target / LABELS).open("w", encoding="utf-8", newline="\n")

    def add(self, number: int, image: bytes, text: str) -> None:
        name = f"{number:09d}.{_suffix(image)}"
        (self.target / name).write_bytes(image)
        # A tab or line end inside a label would break the table; white space does not count in labels.
        self._table.write(f"{name}\t{' '.join(text.split())}\n")

    def close(self, count: int) -> None:
        self._table.close()


def _suffix(image: bytes) -> str:
    try:
        return (open_image(io.BytesIO(image)).format or "img").lower().replace("jpeg", "jpg")
    except Exception:  # a damaged image is copied as it is
        return "img"
