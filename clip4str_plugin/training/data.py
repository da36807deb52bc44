"""What a training reads: the endless stream of samples and the validation sets, as Lightning wants them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Subset

from clip4str_plugin.datasets import open_dataset
from clip4str_plugin.model import CLIP4STRConfig
from clip4str_plugin.preprocess import normalize, resize
from clip4str_plugin.training.config import TrainingConfig
from clip4str_plugin.training.stream import Sample, SampleStream, StreamShard

__all__ = ["WordData"]


def _rendered(renderer: Any, place: int, rng: np.random.Generator) -> Sample:
    return renderer(place)


def _drawn(dataset: Sequence[Sample], place: int, rng: np.random.Generator) -> Sample:
    return dataset[int(rng.integers(len(dataset)))]


def _resized(size: tuple[int, int], sample: Sample) -> Sample:
    return resize(sample[0], size), sample[1]


def _collate(config: CLIP4STRConfig, samples: Sequence[Sample]) -> tuple[Tensor, list[str]]:
    pixels = torch.from_numpy(np.stack([crop for crop, _ in samples]))
    return normalize(pixels, config.mean, config.std), [label for _, label in samples]


class WordData(pl.LightningDataModule):
    """Rendered words and real crops by weight, and the validation sets.

    Args:
        config: the training's configuration.
        model: tells the size, normalisation and charset of the crops.
    """

    def __init__(self, config: TrainingConfig, model: CLIP4STRConfig) -> None:
        super().__init__()
        self.config, self.model = config, model

    def _stream(self) -> SampleStream:
        data = self.config.data
        sources: list[tuple[float, Callable[[int, np.random.Generator], Sample]]] = []
        if data.synthetic > 0:
            from clip4str_plugin.training.synthetic import WordRenderer, find_fonts

            sources.append((data.synthetic, partial(_rendered, WordRenderer(find_fonts(), seed=data.seed))))
        for path, weight in data.train.items():
            sources.append((weight, partial(_drawn, open_dataset(path, charset=self.model.charset))))
        return SampleStream(sources, data.seed)

    def train_dataloader(self) -> DataLoader[Any]:
        """Return the stream from where the training stands."""
        run, trainer = self.config.run, self.trainer
        assert trainer is not None
        place = trainer.global_step * run.batch_size * run.accumulate * trainer.world_size
        shard = StreamShard(
            self._stream(), place, trainer.global_rank, trainer.world_size, partial(_resized, self.model.image_size)
        )
        workers = self.config.data.workers
        collate = partial(_collate, self.model)
        return DataLoader(
            shard, run.batch_size, num_workers=workers, collate_fn=collate, persistent_workers=workers > 0
        )

    def val_dataloader(self) -> list[DataLoader[Any]]:
        """Return one loader a validation set, each process reading its own part of it."""
        trainer, loaders = self.trainer, []
        assert trainer is not None
        for path in self.config.data.validation:
            dataset = open_dataset(path, charset=self.model.charset)
            count = min(len(dataset), self.config.data.validation_limit or len(dataset))
            # Spread over the set: neighbours are often words of one photo.
            places = np.linspace(0, len(dataset) - 1, count).astype(int)[trainer.global_rank :: trainer.world_size]
            part = Subset(_Resized(dataset, self.model.image_size), places.tolist())
            loaders.append(DataLoader(part, self.config.run.batch_size, collate_fn=partial(_collate, self.model)))
        return loaders


class _Resized:
    def __init__(self, dataset: Sequence[Sample], size: tuple[int, int]) -> None:
        self.dataset, self.size = dataset, size

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, place: int) -> Sample:
        return _resized(self.size, self.dataset[place])
