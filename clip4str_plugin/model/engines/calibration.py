"""Inputs on which the range of activations is measured for int8."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from clip4str_plugin.errors import Clip4StrError, EngineError
from clip4str_plugin.model.preprocess import preprocess

if TYPE_CHECKING:
    from clip4str_plugin.model.clip4str import CLIP4STR

__all__ = ["calibration_inputs"]

_CROPS = 128


@torch.inference_mode()
def calibration_inputs(model: CLIP4STR, crops: Sequence[Any] | None = None) -> dict[str, list[np.ndarray]]:
    """Return inputs for both encoders, each a batch of one.

    Args:
        model: in float32; it reads the crops, so that the captions are those it makes.
        crops: as a Recognizer takes them; by default words rendered with the fonts of this machine.

    Returns:
        "image": arrays (1, 3, H, W) float32; "text": arrays (1, L) int64, one a distinct caption.

    Raises:
        EngineError: no crops were given, and none can be rendered.
    """
    images = preprocess(_rendered() if crops is None else list(crops), model.config)
    if not len(images):
        raise EngineError("calibration holds no crops: give some like those to be read, or None to render words")
    captions: dict[str, None] = {}
    for start in range(0, len(images), 16):
        for found in model.generate(images[start : start + 16], complete=False).captions:
            captions |= dict.fromkeys(found)
    ids = model.caption_tokenizer(list(captions)).numpy()
    return {"image": list(images.numpy()[:, None]), "text": list(ids[:, None])}


def _rendered() -> list[np.ndarray]:
    from clip4str_plugin.synthetic import WordRenderer, find_fonts

    try:
        render = WordRenderer(find_fonts())
        return [render(index)[0] for index in range(_CROPS)]
    except Clip4StrError as error:
        raise EngineError(f"cannot render words to calibrate int8 ({error}); pass crops as calibration=...") from error
