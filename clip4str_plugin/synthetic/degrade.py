"""What cameras, light and files do to a crop: exposure, highlights, occlusion, blur, low resolution, noise, JPEG."""

import math
from random import Random

import cv2
import numpy as np

from clip4str_plugin.synthetic.textures import TextureBank

__all__ = ["degrade"]

_MIN_CONTRAST = 18.0  # grey levels between text and ground after all fading


def _light(rng: Random, image: np.ndarray) -> np.ndarray:
    height, width = image.shape[:2]
    draw = rng.random()
    if draw < 0.65:
        # A coarse grid of gains, smoothly joined: shade and uneven lamps.
        low = rng.uniform(0.45, 0.95)
        columns = rng.randint(2, 4)
        grid = np.array([[rng.uniform(low, 1.1) for _ in range(columns)] for _ in range(2)], np.float32)
        return image * cv2.resize(grid, (width, height), interpolation=cv2.INTER_LINEAR)[:, :, None]
    if draw < 0.85:
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        radius = rng.uniform(0.3, 1.2) * height
        across = (np.arange(width, dtype=np.float32) - x) / radius
        down = (np.arange(height, dtype=np.float32) - y) / radius
        spot = np.exp(-(down[:, None] ** 2 + (across * rng.uniform(0.3, 1)) ** 2))
        return image + spot[:, :, None] * np.float32(rng.uniform(20, 110))
    # A hard shadow across the crop.
    mask = np.ones((height, width), np.float32)
    x0, x1 = rng.uniform(0, width), rng.uniform(0, width)
    points = np.array([(x0, 0), (x1, height), (width * 2, height), (width * 2, 0)], np.int32)
    cv2.fillConvexPoly(mask, points, rng.uniform(0.45, 0.85), cv2.LINE_AA)
    return image * mask[:, :, None]


def _occlude(rng: Random, image: np.ndarray, cap: float) -> None:
    height, width = image.shape[:2]
    tone = [rng.uniform(0, 255)] * 3 if rng.random() < 0.6 else [rng.uniform(0, 255) for _ in range(3)]
    thick = max(1, round(cap * rng.uniform(0.02, 0.1)))
    start = (rng.randrange(width), rng.choice((0, height)))
    end = (rng.randrange(width), rng.randrange(height))
    draw = rng.random()
    if draw < 0.3:
        # A pole or a branch in front of the sign.
        foot = (start[0] + round(rng.gauss(0, 0.1) * height), height)
        cv2.line(image, (start[0], 0), foot, tone, max(1, round(cap * rng.uniform(0.08, 0.4))), cv2.LINE_AA)
    elif draw < 0.8:
        cv2.line(image, start, end, tone, thick, cv2.LINE_AA)
    else:
        radius = max(1, round(cap * rng.uniform(0.08, 0.2)))
        cv2.circle(image, end, radius, tone, -1, cv2.LINE_AA)


def _motion(rng: Random, image: np.ndarray, cap: float) -> np.ndarray:
    length = cap * rng.uniform(0.06, 0.2)
    size = 2 * math.ceil(length / 2) + 1
    if size < 3:
        return image
    kernel = np.zeros((size, size), np.float32)
    angle = rng.uniform(0, math.pi)
    dx, dy = math.cos(angle) * length / 2, math.sin(angle) * length / 2
    middle = size // 2
    one = 16  # four fractional bits
    cv2.line(
        kernel,
        (round((middle - dx) * one), round((middle - dy) * one)),
        (round((middle + dx) * one), round((middle + dy) * one)),
        1.0,
        1,
        cv2.LINE_AA,
        4,
    )
    return cv2.filter2D(image, -1, kernel / max(float(kernel.sum()), 1e-3), borderType=cv2.BORDER_REPLICATE)


def degrade(rng: Random, bank: TextureBank, image: np.ndarray, cap_height: float, contrast: float) -> np.ndarray:
    """Ages a clean crop.

    Args:
        rng: source of chance.
        bank: source of noise.
        image: (H, W, 3) float32 RGB.
        cap_height: height of its capitals in pixels; blur is measured in it, so that small words stay legible.
        contrast: luminance distance of text and ground; fading and noise leave enough of it.

    Returns:
        (H, W, 3) uint8 RGB of the same size.
    """
    height, width = image.shape[:2]
    cap = cap_height
    if rng.random() < 0.065:
        _occlude(rng, image, cap)
    if rng.random() < 0.38:
        image = _light(rng, image)
    image = np.clip(image, 0, 255)

    # Exposure: real crops are dimmer and flatter than drawings.
    if rng.random() < 0.54:
        gain = rng.uniform(0.3, 1.0) if rng.random() < 0.55 else rng.uniform(0.7, 1.25)
        gain = max(gain, min(1.0, _MIN_CONTRAST / contrast))
        contrast *= gain
        room = 255 * (1 - gain)
        lift = rng.uniform(0.0, room) if gain < 1 else rng.uniform(room, 0)
        image = image * np.float32(gain) + np.float32(lift * rng.uniform(0.2, 0.9))
    if rng.random() < 0.3:
        image = image * np.array([rng.gauss(1, 0.07) for _ in range(3)], np.float32)

    budget = cap * 0.13  # more blur than this and a stroke meets its neighbour
    draw = rng.random()
    if draw < 0.1 and cap > 8:
        image = _motion(rng, image, cap)
        budget *= 0.6
    if draw < 0.86:
        sigma = min(abs(rng.gauss(0, 0.055)) * cap + 0.25, max(budget, 0.45))
        if sigma > 0.3:
            image = cv2.GaussianBlur(image, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
    if rng.random() < 0.28 and cap > 13:
        shrink = rng.uniform(max(8.5 / cap, 0.3), 0.95)
        small = cv2.resize(
            image, (max(4, round(width * shrink)), max(6, round(height * shrink))), interpolation=cv2.INTER_AREA
        )
        way = rng.choice((cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_CUBIC, cv2.INTER_NEAREST))
        image = cv2.resize(small, (width, height), interpolation=way)
    if rng.random() < 0.22:
        # In-camera sharpening leaves the halos of phone pictures.
        halo = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.7, 1.8))
        image = image + (image - halo) * np.float32(rng.uniform(0.5, 2.0))
    if rng.random() < 0.45:
        noise = bank.white(rng, height, width)
        if rng.random() < 0.5:
            noise = noise[:, :, :1]
        if rng.random() < 0.4:
            noise = cv2.GaussianBlur(noise, (0, 0), 0.8) * np.float32(2.2)
            noise = noise.reshape(height, width, -1)
        image = image + noise * np.float32(min(abs(rng.gauss(0, 6)) + 1, contrast * (0.2 if cap > 14 else 0.12)))
    if rng.random() < 0.07:
        image = np.repeat((image @ np.array([0.299, 0.587, 0.114], np.float32))[:, :, None], 3, axis=2)
    result = np.clip(image, 0, 255).astype(np.uint8)
    if rng.random() < 0.45:
        quality = rng.randint(18, 90) if cap > 11 else rng.randint(45, 92)
        _, data = cv2.imencode(".jpg", result[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
        decoded = cv2.imdecode(data, cv2.IMREAD_COLOR)
        assert decoded is not None
        result = np.ascontiguousarray(decoded[:, :, ::-1])
    return result
