"""The recognizers that benchmarks read crops with: the embedded model and RapidOCR's own."""

from collections.abc import Callable, Sequence

import numpy as np

from clip4str_plugin import Recognition, Recognizer, load_model

__all__ = ["RECOGNIZERS", "Reads"]

# Takes RGB crops.
Reads = Callable[[Sequence[np.ndarray]], list[Recognition]]


def tiny() -> Reads:
    """The embedded model."""
    return Recognizer(load_model("tiny"))


def pp_ocr() -> Reads:
    """RapidOCR's own recognizer; it tells one confidence a word."""
    from rapidocr import RapidOCR
    from rapidocr.ch_ppocr_rec import TextRecInput

    engine = RapidOCR(params={"Global.log_level": "error"})
    # Up to 3.9 the constructor loads what it needs; later versions load at the first call.
    recognizer = engine.text_rec or engine._load_rec_model()

    def read(crops: Sequence[np.ndarray]) -> list[Recognition]:
        if not len(crops):
            return []
        found = recognizer(TextRecInput(img=[np.ascontiguousarray(crop[:, :, ::-1]) for crop in crops]))
        return [Recognition(text.strip(), float(score), ()) for text, score in zip(found.txts, found.scores)]

    return read


RECOGNIZERS: dict[str, Callable[[], Reads]] = {"tiny": tiny, "PP-OCR": pp_ocr}
