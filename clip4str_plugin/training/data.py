"""The data of a training: the endless stream of samples and the validation sets, as a Lightning data module."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import cv2
import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

from clip4str_plugin.data.datasets import WordDataset, open_dataset
from clip4str_plugin.errors import Clip4StrError, DatasetError, ImageError
from clip4str_plugin.model import CLIP4STRConfig
from clip4str_plugin.model.preprocess import normalize, resize
from clip4str_plugin.training.augment import RandAugment
from clip4str_plugin.training.config import TrainingConfig
from clip4str_plugin.training.shrunk import shrink
from clip4str_plugin.training.sources import IndexedSource, StreamedSource, check_labels, open_source
from clip4str_plugin.training.stream import Sample, SampleStream, StreamShard
from clip4str_plugin.training.turned import turn

__all__ = ["WordData"]

Batch = tuple[Tensor, list[str]]

_log = logging.getLogger(__name__)


def _rendered(renderer: Callable[[int], Sample], place: int, rng: np.random.Generator) -> Sample:
    return renderer(place)


def _sometimes(
    share: float,
    change: Callable[[Sample, np.random.Generator], Sample],
    source: Callable[[int, np.random.Generator], Sample],
    place: int,
    rng: np.random.Generator,
) -> Sample:
    sample = source(place, rng)
    return change(sample, rng) if rng.random() < share else sample


def _resized(size: tuple[int, int], sample: Sample) -> Sample:
    return resize(sample[0], size), sample[1]


def _collate(size: tuple[int, int], samples: Sequence[Sample | None]) -> Batch:
    """Return crops (N, 3, H, W) uint8 and N labels; samples that are None are left out."""
    usable = [s for s in samples if s is not None]
    crops = [crop for crop, _ in usable]
    pixels = np.stack(crops) if crops else np.empty((0, 3, *size), np.uint8)
    return torch.from_numpy(pixels), [label for _, label in usable]


class WordData(pl.LightningDataModule):
    """Rendered words and real crops by weight, and the validation sets; all opened and checked at once.

    Args:
        config: the training's configuration.
        model: tells the size, normalisation and charset of the crops.

    Attributes:
        sources: training sets by name.
        validation: validation sets, in the order of the configuration.

    Raises:
        DatasetError: a set is missing, damaged, empty or of another charset.
    """

    def __init__(self, config: TrainingConfig, model: CLIP4STRConfig) -> None:
        super().__init__()
        self.config, self.model = config, model
        data = config.data
        if data.synthetic <= 0 and data.printed <= 0 and not any(w > 0 for w in data.train.values()):
            raise DatasetError(
                "nothing to train on: name sets in data.train, or give data.synthetic or data.printed a weight above 0"
            )
        if not 0 <= data.turned < 1:
            raise Clip4StrError(f"data.turned is {data.turned!r}; it has to be a share of at least 0 and below 1")
        augment = RandAugment() if data.augment else None
        self.sources: dict[str, IndexedSource | StreamedSource] = {}
        for name, weight in data.train.items():
            if isinstance(weight, bool) or not isinstance(weight, int | float) or weight < 0:
                raise Clip4StrError(
                    f"data.train: the weight of {name} is {weight!r}; it has to be a number of at least 0"
                )
            source = open_source(name, model.charset, model.max_label_length, data.seed, augment)
            self.sources[name] = source
            if isinstance(source, IndexedSource):
                _report("train", source.dataset)
        self.validation = [self._validation_set(name) for name in data.validation]
        self._renderers = self._word_renderers()

    @property
    def epoch_length(self) -> int:
        """Samples of one pass over all training sets.

        Raises:
            DatasetError: a streamed set, whose length nobody knows.
        """
        streamed = [name for name, s in self.sources.items() if not isinstance(s, IndexedSource)]
        if streamed or not self.sources:
            raise DatasetError(f"run.epochs needs sets of known length in data.train, not {streamed}: use run.steps")
        return sum(len(s) for s in self.sources.values() if isinstance(s, IndexedSource))

    @property
    def skipped(self) -> int:
        """Training entries this process (and its loading processes) skipped because they could not be decoded."""
        return sum(int(s.skipped) for s in self.sources.values())

    def _validation_set(self, name: str) -> WordDataset:
        dataset = open_dataset(
            name, charset=self.model.charset, max_length=self.model.max_label_length, on_error="skip"
        )
        check_labels(dataset, self.model.charset, self.model.max_label_length)
        _report("validate", dataset)
        return dataset

    def _word_renderers(self) -> list[tuple[float, Callable[[int], Sample]]]:
        data = self.config.data
        if data.synthetic <= 0 and data.printed <= 0:
            return []
        from clip4str_plugin.synthetic import CHARSET, LineRenderer, WordRenderer, find_fonts

        if lacking := sorted(set(CHARSET) - set(self.model.charset)):
            raise DatasetError(
                f"data.synthetic and data.printed render ASCII words, but the model's charset lacks "
                f"{''.join(lacking)!r}: add them to model.config.charset or set both to 0"
            )
        fonts = find_fonts(data.fonts or None)
        renderers: list[tuple[float, Callable[[int], Sample]]] = []
        if data.synthetic > 0:
            renderers.append((data.synthetic, WordRenderer(fonts, seed=data.seed, charset=self.model.charset)))
        if data.printed > 0:
            renderers.append((data.printed, LineRenderer(fonts, seed=data.seed, charset=self.model.charset).word))
        return renderers

    def _stream(self) -> SampleStream:
        data = self.config.data
        sources: list[tuple[float, Callable[[int, np.random.Generator], Sample]]]
        sources = [(weight, partial(_rendered, renderer)) for weight, renderer in self._renderers]
        sources += [(data.train[name], source) for name, source in self.sources.items()]
        for share, change in ((data.shrunk, shrink), (data.turned, turn)):
            if share > 0:
                sources = [(weight, partial(_sometimes, share, change, source)) for weight, source in sources]
        return SampleStream(sources, data.seed)

    def train_dataloader(self) -> DataLoader[Any]:
        """Return the stream from where the training stands."""
        trainer = self.trainer
        assert trainer is not None
        batches = trainer.global_step * self.config.run.accumulate * trainer.world_size
        return self.loader(batches, trainer.global_rank, trainer.world_size)

    def loader(self, start: int = 0, shard: int = 0, shards: int = 1) -> DataLoader[Any]:
        """Return the batches of the stream that one of several processes reads, crops (N, 3, H, W) uint8 and labels.

        Args:
            start: first batch of the stream.
            shard: index of the process.
            shards: number of processes.
        """
        size, batch_size, workers = self.model.image_size, self.config.run.batch_size, self.config.data.workers
        if workers:
            # A forked process waits for ever for threads of OpenCV that its parent had started.
            cv2.setNumThreads(1)
        return DataLoader(
            StreamShard(self._stream(), batch_size, start, shard, shards, partial(_resized, size)),
            batch_size,
            num_workers=workers,
            collate_fn=partial(_collate, size),
            persistent_workers=workers > 0,
            pin_memory=self._on_gpu,
        )

    @property
    def _on_gpu(self) -> bool:
        return self.trainer is not None and self.trainer.strategy.root_device.type == "cuda"

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Normalise on the device: a quarter of the bytes come from the loading processes."""
        pixels, labels = batch
        return normalize(pixels, self.model.mean, self.model.std), labels

    def val_dataloader(self) -> list[DataLoader[Any]]:
        """Return one loader per validation set, each process reading its own part of it."""
        trainer, loaders = self.trainer, []
        assert trainer is not None
        for dataset in self.validation:
            count = min(len(dataset), self.config.data.validation_limit or len(dataset))
            # Spread over the set: neighbours are often words of one photo.
            places = np.linspace(0, len(dataset) - 1, count).astype(int)[trainer.global_rank :: trainer.world_size]
            part: Subset[Sample | None] = Subset(_Resized(dataset, self.model.image_size), places.tolist())
            loaders.append(
                DataLoader(part, self.config.run.batch_size, collate_fn=partial(_collate, self.model.image_size))
            )
        return loaders


def _report(use: str, dataset: WordDataset) -> None:
    _log.info(
        "%s on %s: %d crops; left out %d labels (empty or too long) and %d damaged entries; %d labels lost characters",
        *(use, dataset.name, len(dataset), dataset.dropped, dataset.corrupt, dataset.reduced),
    )


class _Resized(Dataset["Sample | None"]):
    """A validation set as a model takes it; None in place of images that cannot be decoded."""

    def __init__(self, dataset: WordDataset, size: tuple[int, int]) -> None:
        self.dataset, self.size = dataset, size

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, place: int) -> Sample | None:
        try:
            return _resized(self.size, self.dataset[place])
        except ImageError as error:
            _log.warning("left out: %s", error)
            return None
