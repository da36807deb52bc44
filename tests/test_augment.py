"""Each of the sixteen operations of the published augmentation, by what it does to known pixels."""

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from clip4str_plugin.training.augment import OPERATIONS, RandAugment

NAMES = [
    "AutoContrast",
    "Equalize",
    "Invert",
    "Rotate",
    "Posterize",
    "Solarize",
    "SolarizeAdd",
    "Color",
    "Contrast",
    "Brightness",
    "ShearX",
    "ShearY",
    "TranslateX",
    "TranslateY",
    "GaussianBlur",
    "PoissonNoise",
]


@pytest.fixture
def image():
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 100, 3), dtype=np.uint8))


def outcomes(name, image, draws=24):
    """All results an operation gives for different chance."""
    return [np.asarray(OPERATIONS[name](image, np.random.default_rng(seed))).astype(int) for seed in range(draws)]


def one_of(result, *expected):
    return [any(r.shape == np.shape(e) and np.array_equal(r, e) for e in expected) for r in result]


def test_there_are_these_sixteen():
    assert sorted(OPERATIONS) == sorted(NAMES)


@pytest.mark.parametrize(
    ("name", "same"),
    [
        ("AutoContrast", ImageOps.autocontrast),
        ("Equalize", ImageOps.equalize),
        ("Invert", lambda i: 255 - np.asarray(i).astype(int)),
        ("Posterize", lambda i: np.asarray(i).astype(int) // 64 * 64),
        ("Solarize", lambda i: np.where(np.asarray(i) < 128, np.asarray(i), 255 - np.asarray(i).astype(int))),
        ("SolarizeAdd", lambda i: np.where(np.asarray(i) < 128, np.asarray(i).astype(int) + 55, np.asarray(i))),
        ("GaussianBlur", lambda i: i.filter(ImageFilter.GaussianBlur(2))),
    ],
)
def test_operations_without_chance(image, name, same):
    assert all(one_of(outcomes(name, image, 3), np.asarray(same(image)).astype(int)))


@pytest.mark.parametrize("name", ["Color", "Contrast", "Brightness"])
def test_enhancements_go_either_way_by_0_45(image, name):
    enhancer = getattr(ImageEnhance, name)(image)
    less, more = (np.asarray(enhancer.enhance(f)).astype(int) for f in (0.55, 1.45))
    results = outcomes(name, image)
    assert all(one_of(results, less, more))
    assert any(one_of(results, less))
    assert any(one_of(results, more))


def test_rotation_grows_the_picture(image):
    resampling = (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC)
    expected = [
        np.asarray(image.rotate(a, r, expand=True, fillcolor=(128,) * 3)).astype(int)
        for a in (15, -15)
        for r in resampling
    ]
    results = outcomes("Rotate", image, 40)
    assert all(one_of(results, *expected))
    assert all(any(one_of(results, e)) for e in expected)
    assert results[0].shape[0] > 40
    assert (results[0][0, 0] == 128).all()


@pytest.mark.parametrize(
    ("name", "matrix"),
    [
        ("ShearX", lambda s: (1, 0.45 * s, 0, 0, 1, 0)),
        ("ShearY", lambda s: (1, 0, 0, 0.1 * s, 1, 0)),
        ("TranslateX", lambda s: (1, 0, 5 * s, 0, 1, 0)),
        ("TranslateY", lambda s: (1, 0, 0, 0, 1, 6 * s)),
    ],
)
def test_geometry(image, name, matrix):
    expected = [
        np.asarray(
            image.transform(image.size, Image.Transform.AFFINE, matrix(s), resample=r, fillcolor=(128,) * 3)
        ).astype(int)
        for s in (-1, 1)
        for r in (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC)
    ]
    results = outcomes(name, image, 40)
    assert all(one_of(results, *expected))
    assert all(any(one_of(results, e)) for e in expected)


def test_poisson_noise_has_either_sign_and_spares_no_channel():
    gray = Image.new("RGB", (100, 60), (128, 128, 128))
    noise = outcomes("PoissonNoise", gray, 1)[0] - 128
    assert (noise[..., 0] == noise[..., 1]).all()
    assert (noise[..., 0] == noise[..., 2]).all()
    # min(20, 0.2 * 100) | 1 = 21: mean and variance of the size of the noise.
    assert np.abs(noise[..., 0]).mean() == pytest.approx(21, abs=0.4)
    assert np.abs(noise[..., 0]).var() == pytest.approx(21, rel=0.15)
    assert abs((noise[..., 0] > 0).mean() - 0.5) < 0.03


def test_blur_of_small_crops():
    small = Image.fromarray(np.random.default_rng(1).integers(0, 256, (8, 20, 3), dtype=np.uint8))
    assert np.array_equal(outcomes("GaussianBlur", small, 1)[0], np.asarray(small.filter(ImageFilter.GaussianBlur(1))))


def test_three_distinct_operations_each_half_of_the_time(image, monkeypatch):
    applied = []
    for name in NAMES:
        monkeypatch.setitem(OPERATIONS, name, lambda i, rng, name=name: applied.append(name) or i)
    counts, per_image = [], []
    augment = RandAugment()
    for seed in range(2000):
        applied.clear()
        augment(image, np.random.default_rng(seed))
        assert len(set(applied)) == len(applied) <= 3
        per_image.append(len(applied))
        counts += applied
    assert np.mean(per_image) == pytest.approx(1.5, abs=0.06)
    shares = np.array([counts.count(name) for name in NAMES]) / len(counts)
    assert shares.min() > 0.045
    assert shares.max() < 0.082


def test_the_same_chance_gives_the_same_picture(image):
    first, second = (np.asarray(RandAugment()(image, np.random.default_rng(7))) for _ in range(2))
    np.testing.assert_array_equal(first, second)
