"""The recognizer: golden readings end to end, order, memory, confidences, errors, threads."""

import gc
import logging
import math
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import nn

from clip4str_plugin import Recognition, Recognizer, load_model
from clip4str_plugin.errors import ImageError
from clip4str_plugin.model.charset import Tokenizer
from clip4str_plugin.prefetch import map_ahead, prefetch
from tests.conftest import GOLDEN

END, A, B, C = range(4)


class ShadeReader(nn.Module):
    """Reads a crop of uniform shade as that many letters "a", at most 5; fails as told."""

    def __init__(self, memory=None):
        super().__init__()
        self.config = SimpleNamespace(image_size=(4, 6), mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), charset="abc")
        self.tokenizer = Tokenizer("abc")
        self.weight = nn.Parameter(torch.zeros(1))
        self.memory = memory
        self.batches = []
        self.barrier = None

    def generate(self, images, allowed=None, complete=True):
        assert not torch.is_grad_enabled()
        assert not self.training
        assert images.dtype == self.weight.dtype
        self.batches.append(len(images))
        if self.memory is not None and len(images) > self.memory:
            raise torch.OutOfMemoryError("CUDA out of memory (as told)")
        if self.barrier:
            self.barrier.wait(timeout=10)
        lengths = (images.float().mean(dim=(1, 2, 3)) * 255).round().int().clamp(max=5)
        logits = torch.full((len(images), 6, 4), 0.0)
        for row, length in zip(logits, lengths.tolist()):
            row[:length, A] = 3.0
            row[length:, END] = 2.0
            row[:, B] += 1.0
        if allowed is not None:
            logits.masked_fill_(~allowed, float("-inf"))
        return SimpleNamespace(logits=logits, lengths=lengths + 1)


def shade(level, height=3, width=5):
    return np.full((height, width, 3), level, np.uint8)


def texts(recognitions):
    return [r.text for r in recognitions]


# ---- the real network --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def golden_crops():
    return [np.asarray(Image.open(GOLDEN / "crops" / f"crop_{i:02d}.png").convert("RGB")) for i in range(7)]


@pytest.fixture(scope="module")
def tiny():
    return load_model("tiny")


def drawn(text):
    font = ImageFont.load_default(40)
    left, top, right, bottom = (int(v) for v in font.getbbox(text))
    image = Image.new("RGB", (right - left + 12, bottom - top + 12), "white")
    ImageDraw.Draw(image).text((6 - left, 6 - top), text, "black", font)
    return np.asarray(image)


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [1, 4, 32])
@pytest.mark.parametrize("as_list", [True, False])
def test_words_on_end(tiny, batch_size, as_list):
    words = ["Market", "Station", "2026", "Open"]
    crops = [np.rot90(drawn(word), turns) for word in words for turns in (0, 1, 3)]
    expected = [word for word in words for _ in range(3)]
    recognizer = Recognizer(tiny, batch_size=batch_size, turn_tall=True)
    assert texts(recognizer(crops if as_list else iter(crops))) == expected
    assert texts(recognizer([Image.fromarray(np.ascontiguousarray(crop)) for crop in crops])) == expected
    squashed = texts(Recognizer(tiny, batch_size=batch_size, turn_tall=False)(crops))
    assert squashed[::3] == words
    assert squashed[1::3] != words
    assert squashed[2::3] != words


def test_the_configuration_says_whether_tall_crops_are_turned(tiny, golden_model):
    assert Recognizer(tiny).turn_tall
    assert not Recognizer(golden_model).turn_tall  # as published


def test_narrow_letters_stand_as_they_are(tiny):
    crops = [np.pad(drawn(letter), ((9, 9), (0, 0), (0, 0)), mode="edge") for letter in "Il1!"]
    assert all(crop.shape[0] >= 1.5 * crop.shape[1] for crop in crops)
    assert texts(Recognizer(tiny, turn_tall=True)(crops)) == texts(Recognizer(tiny, turn_tall=False)(crops))


@pytest.mark.parametrize("batch_size", [1, 3, 32])
def test_golden_readings(golden, golden_model, golden_crops, batch_size):
    alone = golden("alone.json")
    recognitions = Recognizer(golden_model, batch_size=batch_size)(golden_crops)
    assert len(recognitions) == 7
    for i, recognition in enumerate(recognitions):
        expected = alone[f"crop{i}_r1"]
        probs = expected["char_probs"][0]
        assert recognition.text == expected["strings"][0]
        assert recognition.confidence == pytest.approx(expected["confidence"][0], rel=1e-3)
        assert recognition.char_confidences == pytest.approx(probs[: len(recognition.text)], abs=1e-4)


def test_bgr_reads_the_same(golden_model, golden_crops):
    recognizer = Recognizer(golden_model)
    assert recognizer([c[..., ::-1] for c in golden_crops], color="bgr") == recognizer(golden_crops)


def test_charset_restricts_decoding(golden_model, golden_crops):
    recognitions = Recognizer(golden_model, charset="0123456789")(golden_crops)
    assert set("".join(texts(recognitions))) <= set("0123456789")
    assert any(texts(recognitions))


def test_bfloat16(golden_checkpoint, golden_crops):
    recognizer = Recognizer(load_model(golden_checkpoint).to(torch.bfloat16))
    assert recognizer.dtype == torch.bfloat16
    found = recognizer(golden_crops)
    assert len(found) == 7
    assert all(0 <= r.confidence <= 1 and len(r.char_confidences) == len(r.text) for r in found)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_gpu(golden_checkpoint, golden_crops, precision):
    expected = Recognizer(load_model(golden_checkpoint))(golden_crops)
    recognizer = Recognizer(load_model(golden_checkpoint), batch_size=3, device="cuda", precision=precision)
    assert recognizer.device.type == "cuda"
    found = recognizer(golden_crops)
    if precision == "fp32":
        assert texts(found) == texts(expected)
    assert len(found) == len(expected)


def test_conversions_leave_the_model_of_others_alone():
    model = ShadeReader()
    first = Recognizer(model)
    assert texts(first([shade(2)])) == ["aa"]
    same = Recognizer(model, device="cpu")
    assert same.model is not model
    assert same.model.weight.data_ptr() == model.weight.data_ptr(), "weights that stay are shared"


# ---- batches, order, memory --------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 2, 4, 100])
def test_order_and_length(batch_size):
    levels = [3, 1, 4, 1, 5, 0, 2, 5, 3]
    crops = [shade(level, 1 + i, 40 - i) for i, level in enumerate(levels)]
    model = ShadeReader()
    assert texts(Recognizer(model, batch_size=batch_size)(crops)) == ["a" * level for level in levels]
    assert sum(model.batches) == len(levels)
    assert max(model.batches) <= batch_size


def test_takes_any_iterable():
    recognizer = Recognizer(ShadeReader(), batch_size=2)
    expected = ["a", "aa", "aaa"]
    assert texts(recognizer(shade(i) for i in (1, 2, 3))) == expected
    assert texts(recognizer(tuple(shade(i) for i in (1, 2, 3)))) == expected
    assert texts(recognizer(np.stack([shade(i) for i in (1, 2, 3)]))) == expected
    assert texts(recognizer([Image.fromarray(shade(i)) for i in (1, 2, 3)])) == expected
    assert recognizer([]) == []
    assert recognizer(iter(())) == []


def test_empty_crops_read_as_nothing():
    crops = [np.zeros((0, 4, 3), np.uint8), shade(2), np.zeros((4, 0), np.uint8), shade(1)]
    model = ShadeReader()
    found = Recognizer(model, batch_size=2)(crops)
    assert texts(found) == ["", "aa", "", "a"]
    assert found[0] == Recognition("", 0.0, ())
    assert Recognizer(model)([crops[0]]) == [Recognition("", 0.0, ())]


def test_stream_holds_few_crops():
    made, gone, most = 0, [], 0

    def crops():
        nonlocal made
        for _ in range(200):
            crop = shade(1)
            weakref.finalize(crop, gone.append, None)
            made += 1
            yield crop
            del crop

    for _ in Recognizer(ShadeReader(), batch_size=4).stream(crops()):
        most = max(most, made - len(gone))
    assert made == 200
    assert 0 < most <= 4 * 3


def test_stream_gives_results_before_the_source_ends():
    taken = []

    def crops():
        for i in range(100):
            taken.append(i)
            yield shade(1)

    stream = Recognizer(ShadeReader(), batch_size=4).stream(crops())
    assert next(stream).text == "a"
    assert len(taken) < 30
    stream.close()
    stopped = len(taken)
    assert stopped < 100
    assert not [t for t in threading.enumerate() if t.name == "clip4str-prefetch"]
    assert len(taken) == stopped


def test_error_in_the_source_arrives_after_what_came_before():
    def crops():
        yield from [shade(1)] * 4
        raise OSError("camera unplugged")

    found = []
    with pytest.raises(OSError, match="camera unplugged"):
        found.extend(Recognizer(ShadeReader(), batch_size=2).stream(crops()))
    assert texts(found) == ["a"] * 4


def test_many_threads():
    model = ShadeReader()
    model.barrier = threading.Barrier(2)
    recognizer = Recognizer(model, batch_size=3)
    jobs = [[shade(i % 5) for i in range(start, start + 6)] for start in range(4)]
    with ThreadPoolExecutor(2) as pool:  # the barrier lets none through alone
        found = list(pool.map(recognizer, jobs))
    assert [texts(f) for f in found] == [["a" * (i % 5) for i in range(start, start + 6)] for start in range(4)]


def test_crops_of_like_shape_share_a_batch_and_results_keep_their_order():
    class WidthReader(ShadeReader):
        def generate(self, images, **options):
            self.shades = [*getattr(self, "shades", []), images.amax((1, 2, 3)).mul(255).round().int().tolist()]
            return super().generate(images, **options)

    widths = [9, 2, 8, 1, 7, 3]
    crops = [np.full((4, 4 * width, 3), index % 6, np.uint8) for index, width in enumerate(widths)]
    model = WidthReader()
    assert texts(Recognizer(model, batch_size=2)(crops)) == ["a" * min(index, 5) for index in range(6)]
    assert [sorted(batch) for batch in model.shades] == [[1, 3], [4, 5], [0, 2]], "narrow ones first"
    model.shades = []
    assert len(list(Recognizer(model, batch_size=2).stream(iter(crops)))) == 6
    assert [sorted(batch) for batch in model.shades] == [[0, 1], [2, 3], [4, 5]], "nothing is known of what comes"


def test_early_exit_reaches_the_model_only_when_asked_for():
    class Told(ShadeReader):
        def generate(self, images, **options):
            self.told = options.pop("early_exit", None)
            return super().generate(images, **options)

    for early_exit in (None, 0.9):
        model = Told()
        Recognizer(model, early_exit=early_exit)([shade(1)])
        assert model.told == early_exit
    for early_exit, expected in ((None, 0.8), (0.9, 0.9)):
        model = Told()
        model.config.early_exit = 0.8  # as the embedded model's
        Recognizer(model, early_exit=early_exit)([shade(1)])
        assert model.told == expected
    with pytest.raises(ValueError, match=r"early_exit is a probability between 0 and 1, or None; is 1\.5"):
        Recognizer(Told(), early_exit=1.5)


# ---- out of memory -----------------------------------------------------------------------------------------


def test_halves_the_batch_when_memory_is_short(caplog):
    model = ShadeReader(memory=3)
    levels = [i % 6 for i in range(40)]
    recognizer = Recognizer(model, batch_size=16)
    with caplog.at_level(logging.WARNING):
        assert texts(recognizer([shade(i) for i in levels])) == ["a" * i for i in levels]
    assert recognizer.batch_size == 2
    assert model.batches[:4] == [16, 8, 4, 2]  # tried in turn, and never again
    assert max(model.batches[3:]) == 2
    assert "out of GPU memory with 16 crops" in caplog.text


def test_gives_up_when_one_crop_is_too_much():
    with pytest.raises(torch.OutOfMemoryError):
        Recognizer(ShadeReader(memory=0), batch_size=8)([shade(1)] * 8)


# ---- confidence --------------------------------------------------------------------------------------------


def probability(*logits):
    return math.exp(logits[0]) / sum(map(math.exp, logits))


@pytest.mark.parametrize("confidence", ["product", "mean", "min", "geometric"])
def test_confidence(confidence):
    char, end = probability(3, 0, 1, 0), probability(2, 0, 1, 0)
    expected = {"product": char**2 * end, "mean": char, "min": char, "geometric": char}
    empty = {"product": end, "mean": 0.0, "min": 0.0, "geometric": 0.0}
    two, none = Recognizer(ShadeReader(), confidence=confidence)([shade(2), shade(0)])
    assert two.char_confidences == pytest.approx((char, char))
    assert two.confidence == pytest.approx(expected[confidence])
    assert none.text == ""
    assert none.char_confidences == ()
    assert none.confidence == pytest.approx(empty[confidence])


@pytest.mark.parametrize(
    ("confidence", "expected"),
    [("product", 0.9 * 0.5 * 0.8), ("mean", 0.7), ("min", 0.5), ("geometric", math.sqrt(0.45))],
)
def test_confidence_of_unequal_characters(confidence, expected):
    class Fixed(ShadeReader):
        def generate(self, images, allowed=None, complete=True):
            rest = lambda p: [(1 - p) / 3] * 3  # noqa: E731
            probs = torch.tensor([[[0.03, 0.9, 0.03, 0.04], [0.2, 0.2, 0.5, 0.1], [0.8, *rest(0.8 - 1e-9)]]])
            return SimpleNamespace(logits=probs.log(), lengths=torch.tensor([3]))

    (found,) = Recognizer(Fixed(), confidence=confidence)([shade(0)])
    assert found.text == "ab"
    assert found.char_confidences == pytest.approx((0.9, 0.5))
    assert found.confidence == pytest.approx(expected)


def test_confidence_without_end_token():
    class Endless(ShadeReader):
        def generate(self, images, allowed=None, complete=True):
            logits = torch.zeros(len(images), 6, 4)
            logits[..., A] = 3.0
            return SimpleNamespace(logits=logits, lengths=torch.full((len(images),), 6))

    (found,) = Recognizer(Endless())([shade(0)])
    assert found.text == "aaaaaa"
    assert len(found.char_confidences) == 6
    assert found.confidence == pytest.approx(probability(3, 0, 0, 0) ** 6)


def test_charset_reaches_the_model():
    (found,) = Recognizer(ShadeReader(), charset="bb")([shade(2)])
    assert found.text == "bb"
    assert found.char_confidences[0] == pytest.approx(probability(1, 0))


# ---- errors ------------------------------------------------------------------------------------------------


def test_bad_crop_is_named():
    crops = [shade(1)] * 5 + [np.zeros((4, 4, 3), np.float64), shade(2)]
    with pytest.raises(ImageError, match=r"crop 5: .*float64"):
        Recognizer(ShadeReader(), batch_size=2)(crops)
    with pytest.raises(ImageError, match=r"crop 5: .*float64"):
        Recognizer(ShadeReader(), batch_size=20)(crops)


def test_bad_tall_crop_is_reported_once(caplog):
    crops = [shade(1, 9, 3), np.zeros((9, 3), np.float32), shade(2, 9, 3)]
    recognizer = Recognizer(ShadeReader(), batch_size=2, on_error="empty", turn_tall=True)
    with caplog.at_level(logging.WARNING):
        assert texts(recognizer(crops)) == ["a", "", "aa"]
    assert [r.getMessage().split(":")[0] for r in caplog.records] == ["crop 1 is read as empty"]


def test_nothing_read_for_certain_gives_way_to_a_turned_reading():
    """Upright the crop is white where the reader looks, so empty; turned one way it reads "aa"."""
    crop = shade(0, 9, 3)
    crop[:5] = shade(2, 5, 3)

    class TopReader(ShadeReader):
        def generate(self, images, **options):
            return super().generate(images[:, :, -1:, -1:].expand(-1, -1, 4, 4), **options)

    upright, turned = (Recognizer(TopReader(), turn_tall=on)([crop])[0] for on in (False, True))
    assert upright.text == ""
    assert turned.text == "aa"
    assert turned.confidence < upright.confidence
    recognizer = Recognizer(TopReader(), turn_tall=True)
    assert recognizer.upright([crop]) == [upright]
    assert recognizer([crop]) == [turned], "it turns still itself"


def test_bad_crop_can_be_read_as_empty(caplog):
    crops = [shade(1), "word.png", shade(3), np.zeros((2, 2, 7), np.uint8), shade(2)]
    with caplog.at_level(logging.WARNING):
        found = Recognizer(ShadeReader(), batch_size=2, on_error="empty")(crops)
    assert texts(found) == ["a", "", "aaa", "", "aa"]
    assert found[1] == Recognition("", 0.0, ())
    assert "crop 1" in caplog.text
    assert "crop 3" in caplog.text


@pytest.mark.parametrize("single", [shade(1), shade(1)[..., 0], Image.fromarray(shade(1)), "word.png"])
def test_a_single_crop_is_no_list(single):
    with pytest.raises(ImageError, match="pass a list"):
        Recognizer(ShadeReader()).stream(single)  # at the call, not at the first result


@pytest.mark.parametrize(
    "arguments",
    [{"batch_size": 0}, {"confidence": "max"}, {"charset": ""}, {"charset": "ax"}, {"on_error": "ignore"}],
)
def test_wrong_arguments(arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        Recognizer(ShadeReader(), **arguments)


def test_wrong_color():
    with pytest.raises(ValueError, match="'gbr'"):
        Recognizer(ShadeReader()).stream([shade(1)], color="gbr")


# ---- prefetch ----------------------------------------------------------------------------------------------


def test_prefetch_keeps_order_and_passes_errors():
    assert list(prefetch(range(50), depth=3)) == list(range(50))
    with pytest.raises(ZeroDivisionError):
        list(prefetch(1 // x for x in (1, 0)))
    with pytest.raises(ValueError, match="depth"):
        prefetch([], depth=0)


@pytest.mark.parametrize("depth", [1, 3])
def test_prefetch_works_ahead_within_bounds(depth):
    made, ready = [], threading.Event()

    def items():
        for i in range(10):
            made.append(i)
            if i == depth:
                ready.set()
            yield i

    iterator = prefetch(items(), depth)
    assert next(iterator) == 0
    assert ready.wait(timeout=10)
    time.sleep(0.02)
    assert made == list(range(depth + 1)), "no more than the one in use and those ahead"
    assert list(iterator) == list(range(1, 10))


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_threads_ahead_keep_order_and_pass_errors(threads):
    def slow(x):
        time.sleep(0.002 * (x % 3))
        return 12 // (3 - x) if x < 4 else x

    got = []
    with pytest.raises(ZeroDivisionError):
        got.extend(map_ahead(slow, range(50), threads))  # what came before the error stays
    assert got == [4, 6, 12]
    assert list(map_ahead(slow, range(4, 40), threads)) == list(range(4, 40))
    with pytest.raises(ValueError, match="broken"):
        list(map_ahead(slow, (int("broken") if x == 9 else x for x in range(4, 20)), threads))
    assert not [t for t in threading.enumerate() if t.name == "clip4str-prefetch"]
    with pytest.raises(ValueError, match="threads"):
        list(map_ahead(slow, [], 0))


@pytest.mark.slow
def test_prefetch_ends_its_thread_when_dropped():
    iterator = prefetch(iter(range(1000)))
    next(iterator)
    del iterator
    gc.collect()
    assert not [t for t in threading.enumerate() if t.name == "clip4str-prefetch"]
