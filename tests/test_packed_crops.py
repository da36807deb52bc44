"""Crops resized in matrix products are those of Pillow, bit for bit."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from clip4str_plugin.model import packed_crops
from clip4str_plugin.model.packed_crops import PackedCrops
from clip4str_plugin.model.preprocess import as_array, resize
from tests.conftest import GOLDEN

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def resized(crops, size, color="rgb"):
    packed = PackedCrops.pack([as_array(crop, color) for crop in crops], size, color, pin=False)
    return packed.resized(size, DEVICE).cpu().numpy()


def random_crop(height, width, channels=3, seed=0):
    return np.random.default_rng(seed).integers(
        0, 256, (height, width, channels) if channels else (height, width), np.uint8
    )


def test_the_published_transform():
    golden = np.load(GOLDEN / "crops" / "transform_golden.npz")
    names = [key for key in golden if key.startswith("u8_")]
    crops = [Image.open(GOLDEN / "crops" / f"{name.removeprefix('u8_')}.png") for name in names]
    for planes, name in zip(resized(crops, (224, 224)), names):
        assert np.array_equal(planes.transpose(1, 2, 0), golden[name])


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 130), st.integers(1, 300)), min_size=1, max_size=5),
    st.sampled_from([(224, 224), (48, 128), (17, 29)]),
    st.integers(0, 99),
)
def test_any_size(sizes, size, seed):
    crops = [random_crop(height, width, seed=seed + i) for i, (height, width) in enumerate(sizes)]
    for planes, crop in zip(resized(crops, size), crops):
        assert np.array_equal(planes, resize(crop, size))


@pytest.mark.parametrize("color", ["rgb", "bgr"])
def test_kinds_of_crops(color):
    gray = random_crop(20, 31, 0)
    crops = [
        random_crop(20, 61),
        gray,
        gray[..., None],
        random_crop(9, 40, 4),
        random_crop(50, 80)[::2, ::-3],
        Image.fromarray(random_crop(12, 13)),
        Image.fromarray(gray),
        Image.fromarray(random_crop(8, 9, 4)),
        np.full((5, 6, 3), 255, np.uint8),
    ]
    for planes, crop in zip(resized(crops, (24, 40), color), crops):
        assert np.array_equal(planes, resize(crop, (24, 40), color))


def test_groups_and_large_crops(monkeypatch):
    monkeypatch.setattr(packed_crops, "_AT_ONCE", 60_000)
    monkeypatch.setattr(packed_crops, "_LARGEST", 5_000)
    crops = [random_crop(4 + 7 * i % 50, 3 + 31 * i % 200, seed=i) for i in range(20)]
    for planes, crop in zip(resized(crops, (24, 40)), crops):
        assert np.array_equal(planes, resize(crop, (24, 40)))


def test_slices_and_none():
    crops = [random_crop(5 + i, 9 + i, seed=i) for i in range(6)]
    packed = PackedCrops.pack(crops, (8, 16), "rgb", pin=False)
    for part in (slice(0, 2), slice(2, 6), slice(4, 99), slice(3, 3)):
        found, expected = packed[part].resized((8, 16), "cpu"), [resize(crop, (8, 16)) for crop in crops[part]]
        assert len(packed[part]) == len(expected)
        assert np.array_equal(found.numpy(), np.array(expected, np.uint8).reshape(-1, 3, 8, 16))
