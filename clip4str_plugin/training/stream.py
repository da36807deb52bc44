"""The stream of training samples: the same crop at the same place, in any process and after a resume."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from torch.utils.data import IterableDataset, get_worker_info

__all__ = ["Sample", "SampleStream", "StreamShard"]

Sample = tuple[np.ndarray, str]


class SampleStream:
    """An endless sequence of samples drawn from several sources by weight.

    The sample at a place depends on the seed and the place alone, so that a training can be resumed, and
    shared between processes, without any state.

    Args:
        sources: pairs of weight and function from (place, random generator) to (crop uint8 HxWx3 RGB, label).
        seed: names the sequence.
    """

    def __init__(
        self, sources: Sequence[tuple[float, Callable[[int, np.random.Generator], Sample]]], seed: int = 0
    ) -> None:
        weights = np.array([w for w, _ in sources], dtype=float)
        if not len(weights) or weights.sum() <= 0:
            raise ValueError("a sample stream needs at least one source with a positive weight")
        self._limits = np.cumsum(weights / weights.sum())
        self._sources = [source for _, source in sources]
        self.seed = seed

    def __getitem__(self, place: int) -> Sample:
        rng = np.random.default_rng((self.seed, place))
        chosen = int(np.searchsorted(self._limits, rng.random(), side="right"))
        return self._sources[min(chosen, len(self._sources) - 1)](place, rng)


@dataclass
class StreamShard(IterableDataset[Sample]):
    """The batches of a stream that one of several processes reads, from a given one on.

    Batch b of the stream holds the places from b times its size on. Processes take batches in turn, and so do the
    loading workers of each: what is in a batch depends neither on the number of workers, nor on whether two processes
    take two batches or one process takes both and accumulates their gradients.

    Attributes:
        stream: the whole stream.
        batch_size: samples of a batch.
        start: first batch of the stream.
        shard: index of this process.
        shards: number of processes.
        transform: applied to each sample.
    """

    stream: SampleStream
    batch_size: int
    start: int
    shard: int
    shards: int
    transform: Callable[[Sample], Sample]

    def __iter__(self) -> Iterator[Sample]:
        worker = get_worker_info()
        part, parts = (0, 1) if worker is None else (worker.id, worker.num_workers)
        batch = self.start + self.shard + part * self.shards
        while True:
            for place in range(batch * self.batch_size, (batch + 1) * self.batch_size):
                yield self.transform(self.stream[place])
            batch += self.shards * parts
