"""Metrics of a service for Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

__all__ = ["Metrics"]


class Metrics:
    """The metrics of one service, in a registry of its own."""

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.requests = Counter(
            "clip4str_requests", "Reading requests answered, 499 if the client left.", ["status"], registry=registry
        )
        self.request_seconds = Histogram(
            "clip4str_request_seconds",
            "From the first byte of a reading request to the last of its answer.",
            buckets=(0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 60, 120),
            registry=registry,
        )
        self.upload_bytes = Counter("clip4str_upload_bytes", "Bytes of request bodies received.", registry=registry)
        self.pages = Counter("clip4str_pages", "Pages read.", registry=registry)
        self.words = Counter("clip4str_words", "Words read.", registry=registry)
        self.stage_seconds = Counter(
            "clip4str_stage_seconds", "Time spent on pages, by stage; stages overlap.", ["stage"], registry=registry
        )
        self.receiving = Gauge("clip4str_requests_receiving", "Requests being uploaded.", registry=registry)
        self.waiting = Gauge("clip4str_requests_waiting", "Requests in the queue.", registry=registry)
        self.reading = Gauge("clip4str_requests_reading", "Requests being read.", registry=registry)
        self._batch_crops = Histogram(
            "clip4str_batch_crops",
            "Word crops in a batch of the recognizer.",
            buckets=(1, 2, 4, 8, 16, 32, 64, 128),
            registry=registry,
        )
        self._batch_requests = Histogram(
            "clip4str_batch_requests",
            "Requests that share a batch of the recognizer.",
            buckets=(1, 2, 4, 8, 16),
            registry=registry,
        )

    def observe_batch(self, crops: int, requests: int) -> None:
        """Note a batch of the recognizer."""
        self._batch_crops.observe(crops)
        self._batch_requests.observe(requests)

    def render(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self._registry)
