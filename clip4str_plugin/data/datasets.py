"""Labelled word crops on disk: folders with labels.tsv, and LMDB sets as published for scene-text recognition."""

from __future__ import annotations

import io
import unicodedata
from array import array
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, BinaryIO, Literal
from weakref import WeakValueDictionary

import numpy as np

from clip4str_plugin.errors import DatasetError, ImageError
from clip4str_plugin.io.decoding import open_image
from clip4str_plugin.model.charset import CharsetFilter
from clip4str_plugin.model.config import CHARSET_94

__all__ = [
    "FolderDataset",
    "JoinedDataset",
    "LabelCleaner",
    "LmdbDataset",
    "WordDataset",
    "clean_label",
    "open_dataset",
]

LABELS = "labels.tsv"
OnError = Literal["raise", "skip"]


def clean_label(text: str, charset: str = CHARSET_94, max_length: int | None = 25) -> str | None:
    """Prepare a label as the published training and test code does.

    White space goes, compatibility characters are decomposed (NFKD), what is not ASCII then goes, and the rest is
    reduced to the charset (see ``CharsetFilter``). The length limit applies before that reduction. With a charset
    that reaches beyond ASCII (no published one does) characters are composed instead (NFC), and none goes.

    Args:
        text: the label as stored.
        charset: the characters to keep.
        max_length: longest label in characters; None for no limit.

    Returns:
        the label, or None if nothing is left of it or it is too long: such samples are left out.

    >>> clean_label("Zürich 8001"), clean_label("北京"), clean_label("Don't", "abcdefghijklmnopqrstuvwxyz")
    ('Zurich8001', None, 'dont')
    """
    return LabelCleaner(charset, max_length)(text)


def open_dataset(
    path: str | Path, charset: str = CHARSET_94, max_length: int | None = 25, on_error: OnError = "raise"
) -> WordDataset:
    """Open a folder with ``labels.tsv``, or all LMDB sets (``data.mdb``) in a folder and below as one.

    Args:
        path: the folder.
        charset: characters of the labels; see `clean_label`.
        max_length: longest label in characters; see `clean_label`.
        on_error: what an entry without a usable label does: "raise" an error, or be counted ("skip").

    Raises:
        DatasetError: there is no such set, or it is damaged.
    """
    root = Path(path).expanduser()
    if not root.is_dir():
        raise DatasetError(f"{path}: is not a folder; name one with {LABELS}, or with LMDB sets (data.mdb) in it")
    if (root / LABELS).is_file():
        return FolderDataset(root, charset, max_length, on_error)
    parts = [LmdbDataset(mdb.parent, charset, max_length, on_error) for mdb in sorted(root.rglob("data.mdb"))]
    if not parts:
        raise DatasetError(f"{path}: holds neither {LABELS} nor an LMDB set (data.mdb) at any depth")
    return parts[0] if len(parts) == 1 else JoinedDataset(parts, root.name)


class WordDataset:
    """Samples by index: ``dataset[i]`` is ``(crop, label)``, the crop an (H, W, 3) uint8 array in RGB.

    It can be copied to worker processes, and holds little more than the labels' places in memory.

    Attributes:
        name: of the set, for reports.
        dropped: labels left out because they are too long or nothing is left of them.
        corrupt: entries left out because they have no usable label.
        reduced: labels that lost characters because the charset lacks them.
        foreign: how often each of these characters came.
    """

    name: str
    dropped: int = 0
    corrupt: int = 0
    reduced: int = 0
    foreign: Counter[str]

    def __len__(self) -> int:
        raise NotImplementedError

    def label(self, index: int) -> str:
        """Return the label of a sample, without decoding its image."""
        raise NotImplementedError

    def source(self, index: int) -> str:
        """Return what names a sample to a person: a file, or a set and a key."""
        raise NotImplementedError

    def _open(self, index: int) -> BinaryIO:
        raise NotImplementedError

    def __getitem__(self, index: int) -> tuple[np.ndarray, str]:
        """Return crop and label.

        Raises:
            IndexError: there is no such sample.
            ImageError: the image is missing or cannot be decoded.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"sample {index} of {len(self)}")
        try:
            with self._open(index) as file, open_image(file) as image:
                # As the published code does: no rotation by EXIF, transparency dropped.
                return np.array(image.convert("RGB")), self.label(index)
        except Exception as error:  # Pillow's decoders raise many types on damaged files
            raise ImageError(f"{self.source(index)}: cannot be read as an image ({error})") from error

    def __iter__(self) -> Iterator[tuple[np.ndarray, str]]:
        return (self[i] for i in range(len(self)))


class FolderDataset(WordDataset):
    """Image files listed in ``labels.tsv``: one line per crop, file name (relative to the folder), tab, text.

    Args:
        root: the folder.
        charset: characters of the labels; see `clean_label`.
        max_length: longest label in characters.
        on_error: what a line without a tab does: "raise", or be counted ("skip").

    Raises:
        DatasetError: the list is missing, is not UTF-8, or has a line without a tab.
    """

    def __init__(
        self, root: str | Path, charset: str = CHARSET_94, max_length: int | None = 25, on_error: OnError = "raise"
    ) -> None:
        self.root = Path(root)
        self.name = self.root.resolve().name
        self._samples: list[tuple[str, str]] = []
        clean, table = LabelCleaner(charset, max_length), self.root / LABELS
        try:
            lines = table.read_text(encoding="utf-8-sig").split("\n")  # text mode has made \r\n into \n
        except (OSError, UnicodeDecodeError) as error:
            raise DatasetError(f"{table}: cannot be read as UTF-8 text ({error})") from error
        for number, line in enumerate(lines, start=1):
            file, tab, text = line.partition("\t")
            if not line:
                continue
            if not tab:
                if on_error == "raise":
                    raise DatasetError(f"{table}:{number}: has no tab between file name and text: {line[:60]!r}")
                self.corrupt += 1
                continue
            label = clean(text)
            if label is None:
                self.dropped += 1
            else:
                self._samples.append((file, label))
        self.reduced, self.foreign = clean.reduced, clean.foreign

    def __len__(self) -> int:
        return len(self._samples)

    def label(self, index: int) -> str:
        """Return the label of a sample."""
        return self._samples[index][1]

    def source(self, index: int) -> str:
        """Return the path of the image file."""
        return str(self.root / self._samples[index][0])

    def _open(self, index: int) -> BinaryIO:
        return open(self.source(index), "rb")


# So many times as many samples as entries a set may claim: some lack most of theirs.
_HOLES, _MOST_DIGITS = 10, 12


class LmdbDataset(WordDataset):
    """One LMDB set: ``num-samples``, and ``image-%09d`` (an encoded image) and ``label-%09d`` (UTF-8) from 1 on.

    Opening it reads every label once, to leave out those that `clean_label` refuses.

    Args:
        root: the folder that holds ``data.mdb``.
        charset: characters of the labels; see `clean_label`.
        max_length: longest label in characters.
        on_error: what an entry whose label is missing or not UTF-8 does: "raise", or be counted ("skip").

    Raises:
        DatasetError: the set cannot be opened, or holds an entry without a usable label.
    """

    def __init__(
        self, root: str | Path, charset: str = CHARSET_94, max_length: int | None = 25, on_error: OnError = "raise"
    ) -> None:
        self.root = Path(root)
        self.name = self.root.resolve().name
        self._clean = LabelCleaner(charset, max_length)
        self._environment: Any = None
        self._numbers = array("I")
        with self._begin() as transaction:
            count = transaction.get(b"num-samples")
            if count is None or not bytes(count).isdigit():
                raise DatasetError(f"{root}: is an LMDB without a number under 'num-samples'")
            entries = transaction.stat()["entries"]
            if len(count) > _MOST_DIGITS or int(count) > _HOLES * entries:  # else it would be counted to for days
                raise DatasetError(f"{root}: 'num-samples' says far more samples than there are, {entries} entries")
            for number in range(1, int(count) + 1):
                text = transaction.get(b"label-%09d" % number)
                try:
                    label = self._clean(str(text, "utf-8"))
                except (TypeError, UnicodeDecodeError) as error:
                    if on_error == "raise":
                        problem = "is missing" if text is None else "is not UTF-8"
                        raise DatasetError(f"{root}: label-{number:09d} {problem}") from error
                    self.corrupt += 1
                    continue
                if label is None:
                    self.dropped += 1
                else:
                    self._numbers.append(number)
        self.reduced, self.foreign = self._clean.reduced, Counter(self._clean.foreign)

    def __len__(self) -> int:
        return len(self._numbers)

    def label(self, index: int) -> str:
        """Return the label of a sample."""
        # Read again rather than kept: a training set has millions.
        with self._begin() as transaction:
            text = str(transaction.get(b"label-%09d" % self._numbers[index]), "utf-8")
        return self._clean(text) or ""

    def source(self, index: int) -> str:
        """Return the folder and the key of the image."""
        return f"{self.root}[image-{self._numbers[index]:09d}]"

    def _open(self, index: int) -> BinaryIO:
        with self._begin() as transaction:
            image = transaction.get(b"image-%09d" % self._numbers[index])
        if image is None:
            raise ImageError("the entry is missing")
        return io.BytesIO(image)

    def _begin(self) -> Any:
        if self._environment is None:
            self._environment = open_environment(self.root)
        return self._environment.begin()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_environment": None}  # every process opens its own


class JoinedDataset(WordDataset):
    """Several sets as one.

    Args:
        parts: the sets, in order.
        name: of the whole.
    """

    def __init__(self, parts: Sequence[WordDataset], name: str) -> None:
        self.parts = parts
        self.name = name
        self.dropped = sum(part.dropped for part in parts)
        self.corrupt = sum(part.corrupt for part in parts)
        self.reduced = sum(part.reduced for part in parts)
        self.foreign = sum((part.foreign for part in parts), Counter())
        self._ends = list(accumulate(map(len, parts)))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def _place(self, index: int) -> tuple[WordDataset, int]:
        part = bisect_right(self._ends, index)
        return self.parts[part], index - (self._ends[part - 1] if part else 0)

    def label(self, index: int) -> str:
        """Return the label of a sample."""
        part, index = self._place(index)
        return part.label(index)

    def source(self, index: int) -> str:
        """Return what the part calls the sample."""
        part, index = self._place(index)
        return part.source(index)

    def _open(self, index: int) -> BinaryIO:
        part, index = self._place(index)
        return part._open(index)


class LabelCleaner:
    """``clean_label`` for many labels.

    Args:
        charset: as in ``clean_label``.
        max_length: as in ``clean_label``.

    Attributes:
        reduced: labels so far that lost characters because the charset lacks them.
        foreign: how often each of these characters came.
    """

    def __init__(self, charset: str, max_length: int | None) -> None:
        self.keep, self.max_length, self.ascii = CharsetFilter(charset), max_length, charset.isascii()
        self.reduced = 0
        self.foreign: Counter[str] = Counter()

    def __call__(self, text: str) -> str | None:
        """Return the label, or None where ``clean_label`` does."""
        # Composed before anything is said about single characters; decomposing it later gives the same.
        text = unicodedata.normalize("NFC", "".join(text.split()))
        normal = self._normalise(text)
        kept = self.keep(normal)
        if not self.keep.charset.issuperset(text):
            lost = [c for c in text if c not in self.keep.charset and not self.keep(self._normalise(c))]
            self.foreign.update(lost)
            self.reduced += bool(lost)
        if self.max_length is not None and len(normal) > self.max_length:
            return None
        return kept or None

    def _normalise(self, text: str) -> str:
        return unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode() if self.ascii else text


# LMDB forbids to open a set twice in a process; a forked process may use an inherited one, since it is read-only and
# opened without lock file.
_environments: WeakValueDictionary[str, Any] = WeakValueDictionary()


def open_environment(root: Path) -> Any:
    """Return the read-only LMDB environment of a set, one per process."""
    try:
        import lmdb
    except ImportError as error:
        raise DatasetError(f"{root}: reading LMDB sets needs the package lmdb: pip install lmdb") from error
    key = str(root.resolve())
    environment = _environments.get(key)
    if environment is None:
        try:
            environment = lmdb.open(key, readonly=True, lock=False, readahead=False, meminit=False, create=False)
        except lmdb.Error as error:
            raise DatasetError(f"{root}: cannot be opened as an LMDB set ({error})") from error
        _environments[key] = environment
    return environment
