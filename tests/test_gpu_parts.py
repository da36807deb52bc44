"""What a GPU uses, tried on the CPU: encoders in fewer passes, packed crops behind a recognizer."""

import copy
import pickle

import numpy as np
import pytest
import torch

from clip4str_plugin import Recognizer, load_model
from clip4str_plugin.model.engines.fused import FusedEncoders
from clip4str_plugin.model.packed_crops import PackedCrops
from clip4str_plugin.reading.torch_backend import TorchBackend

CAPTIONS = ["hello", "", "42"]


def distance(got, expected):
    return float((got.float() - expected).norm() / expected.norm())


def test_fused_encoders_equal_the_model(golden_model, golden_images):
    fused = FusedEncoders(golden_model, torch.float32)
    ids = golden_model.caption_tokenizer(CAPTIONS)
    with torch.inference_mode():
        for each in (fused, copy.deepcopy(fused), pickle.loads(pickle.dumps(fused))):
            torch.testing.assert_close(
                each.image_tokens(golden_images), golden_model.encode_image(golden_images), atol=1e-4, rtol=1e-4
            )
            torch.testing.assert_close(each.caption_tokens(ids), golden_model.text_tokens(ids), atol=1e-4, rtol=1e-4)


def test_eight_bits_stay_close_and_crops_apart(golden_model, golden_images, monkeypatch):
    def products(a, b, scale_a, scale_b, out_dtype, use_fast_accum):
        return (a.float() @ b.float() * scale_a * scale_b).to(out_dtype)

    monkeypatch.setattr(torch, "_scaled_mm", products)  # the real one needs a GPU
    fused = FusedEncoders(golden_model, torch.float32, fp8=True)
    ids = golden_model.caption_tokenizer(CAPTIONS)
    with torch.inference_mode():
        tokens = fused.image_tokens(golden_images)
        assert 0 < distance(tokens, golden_model.encode_image(golden_images)) < 0.15
        assert 0 < distance(fused.caption_tokens(ids), golden_model.text_tokens(ids)) < 0.15
        torch.testing.assert_close(fused.image_tokens(golden_images[2:3]), tokens[2:3], atol=1e-4, rtol=1e-4)


def test_other_towers_are_left_alone(golden_model):
    assert FusedEncoders.can_compute(golden_model)
    assert not FusedEncoders.can_compute(load_model("tiny"))


@pytest.fixture
def like_a_gpu(monkeypatch):
    """Make the PyTorch backend pack crops, and work ahead, as on a GPU."""

    def stage(self, crops, color):
        return PackedCrops.pack(crops, self.config.image_size, color, pin=False)

    monkeypatch.setattr(TorchBackend, "stage", stage)
    monkeypatch.setattr(TorchBackend, "runs_ahead", True)


@pytest.mark.parametrize("color", ["rgb", "bgr"])
def test_packed_crops_read_alike(monkeypatch, request, color):
    rng = np.random.default_rng(3)
    crops = [rng.integers(0, 256, (int(h), int(w), 3), np.uint8) for h, w in rng.integers(8, 60, (11, 2))]
    crops[4] = crops[4][..., 0]
    crops[7] = np.zeros((0, 4, 3), np.uint8)
    expected = Recognizer(load_model("tiny"), batch_size=4)(crops, color)
    request.getfixturevalue("like_a_gpu")
    found = Recognizer(load_model("tiny"), batch_size=4)(crops, color)
    assert [r.text for r in found] == [r.text for r in expected]
    np.testing.assert_allclose([r.confidence for r in found], [r.confidence for r in expected], rtol=1e-4, atol=1e-6)


def test_memory_that_runs_out_halves_packed_batches(like_a_gpu, monkeypatch):
    recognizer = Recognizer(load_model("tiny"), batch_size=8)
    crops = [np.full((20, 40 + i, 3), 9 * i, np.uint8) for i in range(11)]
    expected = [r.text for r in recognizer(crops)]
    read = TorchBackend.read

    def scarce(self, batch):
        if len(batch) > 3:
            raise torch.OutOfMemoryError
        return read(self, batch)

    monkeypatch.setattr(TorchBackend, "read", scarce)
    assert [r.text for r in recognizer(crops)] == expected
    assert recognizer.batch_size <= 3
