"""A small service for tests: a detector and a recognizer whose results say what they were given."""

import io
import threading
import time
from contextlib import contextmanager

import httpx
import numpy as np
from PIL import Image

from clip4str_plugin.reading.detectors import Detections
from clip4str_plugin.reading.recognizer import Recognition
from clip4str_plugin.service import Limits, create_app
from clip4str_plugin.service.server import bind, build_server


class StripeDetector:
    """Finds one word in every ten rows of a page; pages of 13 pixels' width make it fail."""

    def __init__(self):
        self.inside = 0
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()

    def __call__(self, pages):
        self.inside += 1
        assert self.inside == 1, "entered by two threads"
        self.entered.set()
        try:
            assert self.gate.wait(30)
            return [self._detect(page) for page in pages]
        finally:
            self.inside -= 1

    def _detect(self, page):
        height, width = page.shape[:2]
        if width == 13:
            raise RuntimeError("thirteen")
        tops = range(0, height - 9, 10)
        polygons = [np.array([(0, y), (width, y), (width, y + 10), (0, y + 10)], np.float32) for y in tops]
        return Detections(polygons, np.full(len(polygons), 0.9, np.float32))


class ColourRecognizer:
    """Reads a crop as the hexadecimal colour of its middle."""

    batch_size = 8

    def __init__(self):
        self.batches = []
        self.seconds = 0.0

    def __call__(self, crops, color="rgb"):
        assert color == "rgb"
        self.batches.append(len(crops))
        time.sleep(self.seconds)
        return [self._read(crop) for crop in crops]

    def _read(self, crop):
        text = bytes(crop[crop.shape[0] // 2, crop.shape[1] // 2]).hex()
        return Recognition(text, 0.875, (0.975,) * len(text))  # sure enough to be read once


def striped_page(colors, width=60):
    """A page of ten rows of pixels for each colour, and what is to be read on it."""
    rows = [np.full((10, width, 3), color, np.uint8) for color in colors]
    return np.concatenate(rows), [bytes(color).hex() for color in colors]


def random_page(seed, words=5, width=60):
    """A page of random colours and its words."""
    return striped_page(np.random.default_rng(seed).integers(0, 256, (words, 3), dtype=np.uint8).tolist(), width)


def encode(*pages, format="PNG", **options):
    """The bytes of a picture file, or of one with several pages."""
    first, *others = (Image.fromarray(page) for page in pages)
    stream = io.BytesIO()
    first.save(stream, format, **({"save_all": True, "append_images": others} if others else {}), **options)
    return stream.getvalue()


def make_app(limits=Limits(), detector=None, recognizer=None):  # noqa: B008  # frozen
    app = create_app(detector or StripeDetector(), recognizer or ColourRecognizer(), limits, orientation="off")
    app.state.job_queue.warm_up()  # imports take seconds on a busy machine
    return app


@contextmanager
def serving(app, limits=Limits()):  # noqa: B008
    """Run a real server in a thread; gives a client of its address."""
    with bind("127.0.0.1", 0) as listener:
        server = build_server(app, limits, "critical")
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        thread.start()
        try:
            while not server.started and thread.is_alive():
                time.sleep(0.01)
            with httpx.Client(base_url=address, timeout=60, trust_env=False) as client:
                yield client
        finally:
            server.should_exit = True
            thread.join(30)
            assert not thread.is_alive()


def texts(record):
    return [word["text"] for word in record["words"]]


def eventually(condition, seconds=20):
    """Wait until something holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.01)
