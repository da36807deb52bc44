"""The reading threads and their bounded queue."""

from __future__ import annotations

import logging
import math
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, cast

from clip4str_plugin.io.decoder_pool import close_idle, warm_up
from clip4str_plugin.reading.detectors import OneAtATime
from clip4str_plugin.service.batching import Batcher, SharedRecognizer
from clip4str_plugin.service.problems import RequestError, stopping

if TYPE_CHECKING:
    from clip4str_plugin.reading.detectors import Detector
    from clip4str_plugin.reading.reader import Reader
    from clip4str_plugin.reading.recognizer import Recognizer
    from clip4str_plugin.service.jobs import Job
    from clip4str_plugin.service.limits import Limits
    from clip4str_plugin.service.metrics import Metrics

__all__ = ["JobQueue"]

logger = logging.getLogger(__name__)

# Weight of the latest request in the running mean of how long one takes.
_LATEST = 0.2


class JobQueue:
    """Reads a limited number of requests at a time, lets a limited number wait, and refuses the rest.

    Args:
        detector: finds the text; it is never entered by two threads at once.
        recognizer: reads the words; one batch at a time, filled from all requests.
        limits: how many are read and may wait.
        metrics: counts what happens.
        options: as for `clip4str_plugin.Reader`.
    """

    def __init__(
        self,
        detector: Detector,
        recognizer: Recognizer,
        limits: Limits,
        metrics: Metrics,
        **options: Any,
    ) -> None:
        self._detector = OneAtATime(detector)
        self._batcher = Batcher(recognizer, metrics.observe_batch)
        self._limits = limits
        self._metrics = metrics
        self._options = options
        self._threads = ThreadPoolExecutor(limits.workers, thread_name_prefix="clip4str-reader")
        self._jobs: dict[Job, Future[None]] = {}
        self._lock = threading.Lock()
        self._closed = False
        self._seconds = 1.0
        metrics.reading.set_function(lambda: self.counts()[0])
        metrics.waiting.set_function(lambda: self.counts()[1])

    def counts(self) -> tuple[int, int]:
        """How many requests are read now, and how many wait."""
        with self._lock:
            reading = min(len(self._jobs), self._limits.workers)
            return reading, len(self._jobs) - reading

    def check_room(self) -> None:
        """Raise what `submit` would raise.

        Raises:
            RequestError: 429 if too many wait already, 503 if it takes no more jobs.
        """
        with self._lock:
            self._check_room()

    def _check_room(self) -> None:
        if self._closed:
            raise stopping()
        if len(self._jobs) >= self._limits.workers + self._limits.queue:
            seconds = math.ceil(len(self._jobs) * self._seconds / self._limits.workers)
            raise RequestError(
                429,
                f"{len(self._jobs)} requests are being read or wait, no more are taken on; try again later",
                retry_after=min(max(seconds, 1), 60),
            )

    def submit(self, job: Job) -> None:
        """Let a job run when its turn comes; its uploads are closed afterwards.

        Raises:
            RequestError: as `check_room`; the job is not taken on.
        """
        with self._lock:
            self._check_room()
            future = self._threads.submit(self._run, job)
            self._jobs[job] = future
        future.add_done_callback(lambda _: self._leave(job))

    def cancel(self, job: Job) -> None:
        """Stop a job as soon as that is possible, at once if it has not begun; nothing if it is finished."""
        job.cancelled.set()
        with self._lock:
            future = self._jobs.get(job)
        if future is not None:
            future.cancel()

    @property
    def closed(self) -> bool:
        """Whether it takes no more jobs."""
        return self._closed

    def stop(self) -> None:
        """Take no more jobs, and tell those who wait for one that nothing more will come."""
        with self._lock:
            self._closed = True
            jobs = list(self._jobs)
        for job in jobs:
            job.deliver(stopping())
            self.cancel(job)

    def close(self) -> None:
        """Stop everything and wait for the threads: at most as long as detection takes on one page."""
        self.stop()
        self._batcher.close()
        self._threads.shutdown()
        close_idle()

    def warm_up(self) -> None:
        """Read a page with a word on it, so that the first request finds everything loaded."""
        import numpy as np
        from PIL import Image, ImageDraw, ImageFont

        image = Image.new("RGB", (320, 120), "white")
        ImageDraw.Draw(image).text((40, 30), "WORD", fill="black", font=ImageFont.load_default(48))
        for _ in self._reader(threading.Event()).stream([np.array(image)]):
            pass
        warm_up()

    def _reader(self, cancelled: threading.Event) -> Reader:
        from clip4str_plugin.reading.reader import Reader

        recognizer = cast(Any, SharedRecognizer(self._batcher, cancelled))
        return Reader(self._detector, recognizer, **self._options | {"page_batch_size": 1})

    def _run(self, job: Job) -> None:
        begin = time.monotonic()
        try:
            job.run(self._reader(job.cancelled), self._limits, self._metrics)
        except Exception:
            logger.exception("a request failed")
        with self._lock:
            self._seconds += _LATEST * (time.monotonic() - begin - self._seconds)

    def _leave(self, job: Job) -> None:
        with self._lock:
            self._jobs.pop(job, None)
        for upload in job.uploads:
            upload.file.close()
