"""Where training crops come from: sets on disk, WebDataset shards, Hugging Face datasets, rendered words."""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from clip4str_plugin.data.datasets import LabelCleaner, WordDataset, open_dataset
from clip4str_plugin.errors import Clip4StrError, DatasetError, ImageError
from clip4str_plugin.training.stream import Sample

__all__ = ["IndexedSource", "StreamedSource", "open_source"]

_log = logging.getLogger(__name__)

Augment = Callable[[Image.Image, np.random.Generator], Image.Image]

# Entries in a row that cannot be used before a set counts as broken.
_MOST_SKIPPED = 200
_LABEL_KEYS = ("txt", "text", "label", "cls")
_IMAGE_KEYS = ("jpg", "jpeg", "png", "webp", "bmp", "image", "img")


class IndexedSource:
    """Crops of a set with random access: every one once before any comes again, in an order of its own each time.

    Entries whose image cannot be decoded are skipped and counted.

    Args:
        dataset: the set.
        seed: names the orders.
        augment: distorts an image; see ``augment.RandAugment``.

    Attributes:
        skipped: (1,) int64 tensor, entries skipped so far by all processes that share this object.
    """

    def __init__(self, dataset: WordDataset, seed: int = 0, augment: Augment | None = None) -> None:
        self.dataset, self.seed, self.augment = dataset, seed, augment
        self.skipped = torch.zeros(1, dtype=torch.int64).share_memory_()
        self._order: tuple[int, np.ndarray] | None = None

    def __len__(self) -> int:
        return len(self.dataset)

    def __call__(self, place: int, rng: np.random.Generator) -> Sample:
        """Return the crop of a place of the stream and its label."""
        for attempt in range(_MOST_SKIPPED):
            index = self._index(place) if attempt == 0 else int(rng.integers(len(self.dataset)))
            try:
                crop, label = self.dataset[index]
            except ImageError as error:
                self.skipped += 1
                _log.warning("skipped: %s", error)
                continue
            if self.augment is not None:
                crop = np.asarray(self.augment(Image.fromarray(crop), rng))
            return crop, label
        raise DatasetError(f"{self.dataset.name}: {_MOST_SKIPPED} images in a row cannot be decoded; check the set")

    def _index(self, place: int) -> int:
        epoch, rest = divmod(place, len(self.dataset))
        if self._order is None or self._order[0] != epoch:
            order = np.random.default_rng((self.seed, epoch)).permutation(len(self.dataset)).astype(np.uint32)
            self._order = epoch, order
        return int(self._order[1][rest])

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_order": None}  # every process draws its own


class StreamedSource:
    """Crops that can only be read one after another. A resumed training starts them anew, in another order.

    Args:
        name: of the set, for messages.
        open_records: from (process, processes, seed) to an iterator of (encoded or decoded image, raw label).
        clean: prepares labels; None for those to leave out.
        augment: distorts an image.
    """

    def __init__(
        self,
        name: str,
        open_records: Callable[[int, int, int], Iterator[tuple[Any, Any]]],
        clean: LabelCleaner,
        augment: Augment | None = None,
    ) -> None:
        self.name, self.clean, self.augment = name, clean, augment
        self.skipped = torch.zeros(1, dtype=torch.int64).share_memory_()
        self._open_records = open_records
        self._records: Iterator[tuple[Any, Any]] | None = None

    def __call__(self, place: int, rng: np.random.Generator) -> Sample:
        """Return the next crop of this process and its label."""
        for _ in range(_MOST_SKIPPED):
            image, label = self._next(place)
            text = self.clean(label) if isinstance(label, str) else None
            try:
                crop = _decoded(image)
            except Exception as error:  # Pillow's decoders raise many types on damaged files
                _log.warning("skipped: an image of %s (%s)", self.name, error)
                text = None
            if not text:
                self.skipped += 1
                continue
            return np.asarray(self.augment(crop, rng) if self.augment else crop), text
        raise DatasetError(f"{self.name}: {_MOST_SKIPPED} entries in a row have no usable image and label")

    def _next(self, place: int) -> tuple[Any, Any]:
        for fresh in (False, True):
            if self._records is None or fresh:
                self._records = self._open_records(*_process(), place)
            record = next(self._records, None)
            if record is not None:
                return record
        raise DatasetError(f"{self.name}: holds no pair of image and label, or fewer shards than loading processes")

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_records": None}


def open_source(
    name: str,
    charset: str,
    max_length: int,
    seed: int = 0,
    augment: Augment | None = None,
) -> IndexedSource | StreamedSource:
    """Open a training set by its name.

    Args:
        name: a folder with ``labels.tsv`` or with LMDB sets at any depth (see ``open_dataset``); WebDataset shards
            (``crops-{0000..0099}.tar``, one or more files or addresses; entries ``key.jpg`` and ``key.txt``); or
            ``hf:NAME@SPLIT``, a dataset of the Hugging Face hub, streamed, or a folder saved by ``save_to_disk``; an
            image column and a text column ``text`` or ``label`` are read.
        charset: of the labels.
        max_length: longest label in characters.
        seed: names the order.
        augment: distorts an image.

    Raises:
        DatasetError: there is no such set, it is damaged, or no label of it is usable.
        Clip4StrError: a package it needs is not installed.
    """
    clean = LabelCleaner(charset, max_length)
    if name.startswith("hf:"):
        return _hugging_face(name[3:], clean, seed, augment)
    if re.search(r"\.tar(\.gz)?$", name):
        return StreamedSource(name, _Shards(name, seed), clean, augment)
    dataset = open_dataset(name, charset=charset, max_length=max_length, on_error="skip")
    check_labels(dataset, charset, max_length)
    return IndexedSource(dataset, seed, augment)


def check_labels(dataset: WordDataset, charset: str, max_length: int) -> None:
    """Refuse a set without samples, or whose labels are plainly of another charset.

    Raises:
        DatasetError: saying how many labels were left out, and which characters the charset lacks.
    """
    lacking = "".join(c for c, _ in dataset.foreign.most_common(20))
    remedy = (
        f"characters that are not in the model's charset: {lacking!r}; change model.config.charset" if lacking else ""
    )
    if not len(dataset):
        raise DatasetError(
            f"{dataset.name}: no sample is usable ({dataset.dropped} labels left out as empty or longer than "
            f"{max_length} characters, {dataset.corrupt} damaged)" + (f"; it holds {remedy}" if remedy else "")
        )
    changed = dataset.reduced + dataset.dropped
    if lacking and changed > len(dataset) / 2:
        raise DatasetError(
            f"{dataset.name}: {changed} of {len(dataset) + dataset.dropped} labels lose characters or are left out. "
            f"It holds {remedy}"
        )


def _decoded(image: Any) -> Image.Image:
    if isinstance(image, bytes):
        image = Image.open(io.BytesIO(image))
    return image.convert("RGB")


def _process() -> tuple[int, int]:
    """Return the number of this loading process and how many there are, over all training processes."""
    import torch.distributed as dist
    from torch.utils.data import get_worker_info

    worker = get_worker_info()
    part, parts = (0, 1) if worker is None else (worker.id, worker.num_workers)
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank() * parts + part, dist.get_world_size() * parts
    return part, parts


def _first(record: Mapping[str, Any], keys: tuple[str, ...]) -> Any:
    return next((record[k] for k in keys if k in record), None)


class _Shards:
    """Reads WebDataset shards without end, each process its own ones."""

    def __init__(self, urls: str, seed: int) -> None:
        try:
            import webdataset
        except ImportError:
            raise Clip4StrError(
                f"{urls}: reading shards needs the package webdataset: pip install webdataset"
            ) from None
        self.urls = list(webdataset.shardlists.expand_urls(urls))
        self.seed = seed
        missing = [u for u in self.urls if "://" not in u and not u.startswith("pipe:") and not Path(u).is_file()]
        if missing:
            raise DatasetError(f"{urls}: {len(missing)} of {len(self.urls)} shards are missing, first {missing[0]}")

    def __call__(self, process: int, processes: int, place: int) -> Iterator[tuple[Any, Any]]:
        import webdataset

        order = np.random.default_rng((self.seed, place)).permutation(len(self.urls))
        urls = [self.urls[i] for i in order]
        # Fewer shards than processes: all read all of them, each in an order of its own.
        urls = urls[process::processes] if len(urls) >= processes else urls
        shuffle_seed = self.seed + 1000 * process + place
        records = webdataset.WebDataset(
            urls, shardshuffle=False, nodesplitter=None, workersplitter=None, empty_check=False
        )
        for record in records.shuffle(1000, seed=shuffle_seed):
            label = _first(record, _LABEL_KEYS)
            try:
                yield _first(record, _IMAGE_KEYS), label.decode("utf-8") if isinstance(label, bytes) else label
            except UnicodeDecodeError:
                yield None, None


def _hugging_face(name: str, clean: LabelCleaner, seed: int, augment: Augment | None) -> StreamedSource:
    try:
        import datasets
    except ImportError:
        raise Clip4StrError(f"hf:{name}: needs the package datasets: pip install datasets") from None
    path, _, split = name.partition("@")
    try:
        if Path(path).is_dir() and (Path(path) / "state.json").is_file():
            on_disk = datasets.load_from_disk(path)
            stored = on_disk.to_iterable_dataset(num_shards=min(64, len(on_disk)))
        else:
            stored = datasets.load_dataset(path, split=split or "train", streaming=True)
    except Exception as error:  # it raises many types, of several packages
        raise DatasetError(f"hf:{name}: cannot be opened ({type(error).__name__}: {error})") from error
    features = stored.features or {}
    image_key = next((k for k, f in features.items() if isinstance(f, datasets.Image)), None)
    label_key = next((k for k in _LABEL_KEYS if k in features), None)
    if not (image_key and label_key):
        raise DatasetError(f"hf:{name}: needs an image column and one named text or label; it has {sorted(features)}")
    stored = stored.cast_column(image_key, datasets.Image(decode=False))
    return StreamedSource(f"hf:{name}", _Rows(stored, image_key, label_key, seed), clean, augment)


class _Rows:
    """Reads the rows of a Hugging Face dataset, each process every so many."""

    def __init__(self, dataset: Any, image_key: str, label_key: str, seed: int) -> None:
        self.dataset, self.image_key, self.label_key, self.seed = dataset, image_key, label_key, seed

    def __call__(self, process: int, processes: int, place: int) -> Iterator[tuple[Any, Any]]:
        # The same order in all processes, so that they share the rows out.
        rows = self.dataset.shuffle(seed=self.seed + place // 10**6, buffer_size=1000)
        for number, row in enumerate(rows):
            if number % processes == process:
                image = row[self.image_key] or {}
                yield image.get("bytes") or _file_bytes(image.get("path")), row[self.label_key]


def _file_bytes(path: str | None) -> bytes:
    return Path(path).read_bytes() if path else b""
