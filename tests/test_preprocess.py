"""Crops become the very batches of the published transform, whatever array they arrive in."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from clip4str_plugin.errors import ImageError
from clip4str_plugin.model.config import CLIP_MEAN, CLIP_STD
from clip4str_plugin.model.preprocess import is_empty, normalize, preprocess, resize
from tests.conftest import GOLDEN

CROPS = GOLDEN / "crops"
TRANSFORM = np.load(CROPS / "transform_golden.npz")
NAMES = sorted(key.removeprefix("u8_") for key in TRANSFORM if key.startswith("u8_"))
HALF = (0.5, 0.5, 0.5)


def config(mean=HALF, std=HALF, image_size=(224, 224)):
    return SimpleNamespace(image_size=image_size, mean=mean, std=std)


def random_crop(height=17, width=60, channels=3, seed=0):
    shape = (height, width, channels) if channels else (height, width)
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def published(crop, size=(224, 224)):
    """The transform in the published code's own terms: Pillow resize, division, subtraction, division."""
    resized = Image.fromarray(crop).resize(size[::-1], Image.Resampling.BICUBIC)
    return (torch.from_numpy(np.array(resized)).permute(2, 0, 1).float().div(255) - 0.5) / 0.5


def test_golden_has_all_kinds_of_images():
    assert len(NAMES) == 15


@pytest.mark.parametrize("name", NAMES)
def test_resize_equals_golden(name):
    with Image.open(CROPS / f"{name}.png") as image:
        image.load()
        resized = resize(image, (224, 224))
    assert np.array_equal(resized.transpose(1, 2, 0), TRANSFORM[f"u8_{name}"])


@pytest.mark.parametrize("name", NAMES)
def test_arrays_equal_golden(name):
    # The same pixels as an array, in the layout nearest to how the file stores them.
    with Image.open(CROPS / f"{name}.png") as image:
        array = np.asarray(image if image.mode in ("L", "RGB", "RGBA") else image.convert("RGB"))
    assert np.array_equal(resize(array, (224, 224)).transpose(1, 2, 0), TRANSFORM[f"u8_{name}"])


@pytest.mark.parametrize(("key", "mean", "std"), [("norm05", HALF, HALF), ("normclip", CLIP_MEAN, CLIP_STD)])
def test_normalised_equals_golden(key, mean, std):
    with Image.open(CROPS / "crop_00.png") as image:
        crop = np.asarray(image.convert("RGB"))
    batch = preprocess([crop], config(mean, std))
    assert batch.dtype == torch.float32
    assert np.array_equal(batch[0].numpy(), TRANSFORM[f"{key}_crop0"])


def test_layouts_agree():
    crop = random_crop(channels=4)
    expected = resize(np.ascontiguousarray(crop[..., :3]), (32, 100))
    wide = np.zeros((34, 120, 4), np.uint8)
    wide[::2, ::2] = crop
    for same in (crop, np.asfortranarray(crop), wide[::2, ::2], crop[::-1, ::-1].copy()[::-1, ::-1]):
        assert np.array_equal(resize(same, (32, 100)), expected)
    assert np.array_equal(resize(crop[..., 2::-1], (32, 100), "bgr"), expected)
    bgra = np.concatenate([crop[..., 2::-1], crop[..., 3:]], axis=-1)
    assert np.array_equal(resize(bgra, (32, 100), "bgr"), expected)


def test_gray_equals_repeated_gray():
    gray = random_crop(channels=0)
    expected = resize(np.repeat(gray[..., None], 3, axis=2), (32, 100))
    assert np.array_equal(resize(gray, (32, 100)), expected)
    assert np.array_equal(resize(gray[..., None], (32, 100), "bgr"), expected)
    assert np.array_equal(resize(Image.fromarray(gray), (32, 100)), expected)


@given(st.integers(1, 300), st.integers(1, 300), st.integers(0, 99))
def test_any_size(height, width, seed):
    crop = random_crop(height, width, seed=seed)
    assert torch.equal(preprocess([crop], config(image_size=(28, 36)))[0], published(crop, (28, 36)))


def test_input_is_left_alone():
    crop = random_crop()
    before = crop.copy()
    preprocess([crop], config(), "bgr")
    assert np.array_equal(crop, before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_normalize_rounds_once(dtype):
    levels = torch.arange(256, dtype=torch.uint8).repeat(3).view(1, 3, 16, 16)
    mean, std = torch.tensor(CLIP_MEAN).view(3, 1, 1), torch.tensor(CLIP_STD).view(3, 1, 1)
    expected = ((levels.float() / 255 - mean) / std).to(dtype)
    assert torch.equal(normalize(levels, CLIP_MEAN, CLIP_STD, dtype), expected)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_normalize_on_gpu_gives_the_same_bits(dtype):
    batch = torch.randint(0, 256, (3, 3, 24, 32), dtype=torch.uint8)
    on_gpu = normalize(batch.cuda(), CLIP_MEAN, CLIP_STD, dtype)
    assert torch.equal(on_gpu.cpu(), normalize(batch, CLIP_MEAN, CLIP_STD, dtype))


def test_normalize_takes_a_strided_batch():
    batch = torch.randint(0, 256, (2, 24, 32, 3), dtype=torch.uint8).permute(0, 3, 1, 2)
    assert torch.equal(normalize(batch, HALF, HALF), (batch.float() / 255 - 0.5) / 0.5)


def test_no_crops():
    assert preprocess([], config()).shape == (0, 3, 224, 224)


@pytest.mark.parametrize(
    ("crop", "complaint"),
    [
        (np.zeros((4, 4, 3), np.float32), "float32"),
        (np.zeros((4, 4), bool), "bool"),
        (np.zeros((4, 4, 2), np.uint8), r"shape \(4, 4, 2\)"),
        (np.zeros(4, np.uint8), r"shape \(4,\)"),
        (np.zeros((1, 4, 4, 3), np.uint8), r"shape \(1, 4, 4, 3\)"),
        (np.zeros((0, 4, 3), np.uint8), "empty"),
        (Image.new("RGB", (0, 3)), "empty"),
        ("word.png", "is a str"),
        (torch.zeros(4, 4, 3, dtype=torch.uint8), "is a Tensor"),
        (None, "is a NoneType"),
    ],
)
def test_unusable_crop_is_named(crop, complaint):
    with pytest.raises(ImageError, match=rf"crop 1: .*{complaint}"):
        preprocess([random_crop(), crop], config())


def test_is_empty():
    assert is_empty(np.zeros((0, 5, 3), np.uint8))
    assert is_empty(np.zeros((5, 0), np.uint8))
    assert is_empty(Image.new("L", (4, 0)))
    assert not is_empty(random_crop(1, 1))
    assert not is_empty(np.zeros((5, 5, 0), np.uint8))
    assert not is_empty(None)
