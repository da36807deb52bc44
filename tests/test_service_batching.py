import threading
import time

import numpy as np
import pytest

from clip4str_plugin import Reader
from clip4str_plugin.options import RecognizerOptions
from clip4str_plugin.reading.recognizer import Recognition
from clip4str_plugin.service.batching import Batcher, Cancelled, SharedRecognizer

BAD = np.zeros((0, 0, 0), np.uint8)


class Recorder:
    """Reads a crop as its number, waits at a gate, and fails on BAD."""

    batch_size = 8

    def __init__(self):
        self.batches = []
        self.gate = threading.Event()
        self.entered = threading.Event()

    def __call__(self, crops, color="rgb"):
        self.entered.set()
        assert self.gate.wait(20)
        if any(crop is BAD for crop in crops):
            raise ValueError("bad crop")
        self.batches.append(([int(crop.flat[0]) for crop in crops], color))
        return [Recognition(str(crop.flat[0]), 1.0, ()) for crop in crops]


def crops(*numbers):
    return [np.full((2, 2, 3), number, np.uint8) for number in numbers]


@pytest.fixture
def recorder():
    return Recorder()


@pytest.fixture
def batcher(recorder):
    batcher = Batcher(recorder)
    yield batcher
    recorder.gate.set()
    batcher.close()


class Order(threading.Thread):
    """Has crops read in a thread of its own and keeps what comes back."""

    def __init__(self, batcher, crops, color="rgb"):
        super().__init__()
        self.batcher, self.crops, self.color = batcher, crops, color
        self.cancelled, self.result = threading.Event(), None
        self.start()

    def run(self):
        try:
            self.result = [r.text for r in self.batcher.read(self.crops, self.color, self.cancelled)]
        except Exception as error:
            self.result = error

    def wait(self):
        self.join(20)
        return self.result


def all_at_once(batcher, recorder, orders):
    """Let several orders wait while a first one is read, so that they meet."""
    first = Order(batcher, crops(0))
    assert recorder.entered.wait(20)
    waiting = [Order(batcher, *order) for order in orders]
    while len(batcher._waiting) < 1 + len(orders):
        time.sleep(0.001)
    return first, waiting


def test_batches_are_filled_from_all_who_wait_in_equal_shares(batcher, recorder):
    first, orders = all_at_once(batcher, recorder, [(crops(*range(10, 30)),), (crops(50, 51),), (crops(70),)])
    recorder.gate.set()
    assert first.wait() == ["0"]
    assert orders[0].wait() == [str(number) for number in range(10, 30)]
    assert orders[1].wait() == ["50", "51"]
    assert orders[2].wait() == ["70"]
    assert [len(batch) for batch, _ in recorder.batches] == [1, 8, 8, 7]
    assert {50, 51, 70} <= set(recorder.batches[1][0]), "the short orders wait for the long one"


def test_colour_orders_do_not_mix(batcher, recorder):
    _, orders = all_at_once(batcher, recorder, [(crops(1, 2), "rgb"), (crops(3), "bgr")])
    recorder.gate.set()
    assert [order.wait() for order in orders] == [["1", "2"], ["3"]]
    assert sorted(recorder.batches) == [([0], "rgb"), ([1, 2], "rgb"), ([3], "bgr")]


def test_crops_whose_direction_is_known_are_read_by_the_upright_recognizer(batcher, recorder):
    recorder.gate.set()
    recorder.upright = lambda crops, color: [Recognition("upright", 1.0, ()) for _ in crops]
    shared = SharedRecognizer(batcher, threading.Event())
    assert [read.text for read in shared.upright(crops(1, 2))] == ["upright", "upright"]
    assert [read.text for read in shared(crops(1, 2))] == ["1", "2"]


def test_a_crop_that_fails_costs_its_own_order_only(batcher, recorder):
    _, orders = all_at_once(batcher, recorder, [(crops(1, 2),), ([*crops(3), BAD],), (crops(4),)])
    recorder.gate.set()
    assert orders[0].wait() == ["1", "2"]
    assert isinstance(orders[1].wait(), ValueError)
    assert orders[2].wait() == ["4"]


def test_what_is_cancelled_is_not_read(batcher, recorder):
    _, orders = all_at_once(batcher, recorder, [(crops(1),), (crops(2),)])
    orders[0].cancelled.set()
    recorder.gate.set()
    assert isinstance(orders[0].wait(), Cancelled)
    assert orders[1].wait() == ["2"]
    assert [1] not in [batch for batch, _ in recorder.batches]


def test_closing_drops_what_waits(recorder):
    batcher = Batcher(recorder)
    _, orders = all_at_once(batcher, recorder, [(crops(1),)])
    closing = threading.Thread(target=batcher.close)
    closing.start()
    while not batcher._closed:
        time.sleep(0.001)
    recorder.gate.set()
    closing.join(20)
    assert isinstance(orders[0].wait(), Cancelled)
    with pytest.raises(Cancelled):
        batcher.read(crops(1), "rgb", threading.Event())


def test_no_crops_are_no_batch(batcher, recorder):
    assert batcher.read([], "rgb", threading.Event()) == []
    assert recorder.batches == []


def test_streaming_takes_a_batch_at_a_time(batcher, recorder):
    recorder.gate.set()
    taken = []

    def source():
        for number in range(20):
            taken.append(number)
            yield crops(number)[0]

    stream = SharedRecognizer(batcher, threading.Event()).stream(source())
    assert next(stream).text == "0"
    assert len(taken) == 8
    assert [reading.text for reading in stream] == [str(number) for number in range(1, 20)]


@pytest.mark.slow
def test_the_embedded_model_reads_the_same_in_company():
    from clip4str_plugin import Recognizer, load_model

    random = np.random.default_rng(0)
    sets = [[random.integers(0, 256, (32, 90, 3), dtype=np.uint8) for _ in range(count)] for count in (3, 1, 5)]
    recognizer = Recognizer(load_model("tiny"), batch_size=4)
    alone = [recognizer([crop])[0] for crops in sets for crop in crops]
    shares = []
    batcher = Batcher(recognizer, lambda crops, orders: shares.append(orders))
    results = [None] * len(sets)

    def read(index):
        results[index] = batcher.read(sets[index], "rgb", threading.Event())

    threads = [threading.Thread(target=read, args=(index,)) for index in range(len(sets))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    batcher.close()
    together = [reading for result in results for reading in result]
    assert max(shares) > 1
    assert [reading.text for reading in together] == [reading.text for reading in alone]
    np.testing.assert_allclose(
        [reading.confidence for reading in together], [reading.confidence for reading in alone], atol=1e-4
    )


def test_the_kind_of_confidence_is_known_behind_a_batcher():
    """A limit of confidence means another thing for a mean than for a product."""
    recorder = Recorder()
    recorder.options = RecognizerOptions(confidence="mean")
    batcher = Batcher(recorder)
    reader = Reader(lambda pages: [], SharedRecognizer(batcher, threading.Event()))
    assert reader._confidence == "mean"
    batcher.close()
