import numpy as np
import pytest
from PIL import Image

from clip4str_plugin.io.images import to_rgb
from clip4str_plugin.model.transparency import lay_on_ground


def ink(level, alpha=255):
    image = np.zeros((20, 60, 4), np.uint8)
    image[5:15, 10:50] = (level, level, level, alpha)
    return image


@pytest.mark.parametrize(("level", "ground"), [(0, 255), (255, 0), (100, 255), (200, 0)])
def test_the_ground_shows_the_ink(level, ground):
    for laid in (lay_on_ground(ink(level)), to_rgb(Image.fromarray(ink(level)))):
        assert laid.shape == (20, 60, 3)
        assert laid.dtype == np.uint8
        assert (laid[0, 0] == ground).all()
        assert (laid[10, 30] == level).all()


def test_black_and_white_ink_show_on_grey():
    image = ink(0)
    image[5:15, 30:50, :3] = 255
    assert 64 <= lay_on_ground(image)[0, 0, 0] <= 191


def test_half_transparent_ink_is_blended():
    assert lay_on_ground(ink(0, alpha=128))[10, 30, 0] == 127


@pytest.mark.parametrize("image", [np.zeros((4, 4, 3), np.uint8), np.full((4, 4, 4), 255, np.uint8), "text", None])
def test_what_is_opaque_or_no_image_stays(image):
    assert lay_on_ground(image) is image


@pytest.mark.parametrize(("brightest", "top"), [(255, 255), (1023, 1023), (4095, 4095), (3000, 4095), (60000, 65535)])
def test_samples_are_scaled_by_their_own_range(brightest, top):
    image = np.zeros((4, 4), np.uint16)
    image[0, 0] = brightest
    assert to_rgb(Image.fromarray(image))[0, 0, 0] == round(brightest / top * 255)
