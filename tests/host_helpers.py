"""Stand-ins and pictures that the tests of several hosts share."""

from functools import cache
from pathlib import Path

import cv2
import numpy as np

from clip4str_plugin.recognizer import Recognition

PHOTOS = Path(__file__).parent.parent / "examples" / "photos"


def photo(name):
    """Read an example photo as RGB."""
    return np.ascontiguousarray(cv2.imread(str(PHOTOS / name))[..., ::-1])


class Reader:
    """A recognizer whose answers a test can foresee: ``read(rgb_crop) -> text``.

    It has the interface of Recognizer that adapters use, and notes the shapes of the crops it was given.
    """

    def __init__(self, read, confidence=0.25, char_confidence=0.9):
        self.read = read
        self.word_confidence = confidence
        self.char_confidence = char_confidence
        self.shapes = []

    def __call__(self, crops, color="rgb"):
        return list(self.stream(crops, color))

    def stream(self, crops, color="rgb"):
        for crop in crops:
            assert isinstance(crop, np.ndarray)
            assert crop.dtype == np.uint8
            self.shapes.append(crop.shape)
            text = self.read(crop if color == "rgb" else crop[..., ::-1])
            yield Recognition(text, self.word_confidence, (self.char_confidence,) * len(text))


def colour_reader(**options):
    """Read a crop as the name of its strongest colour."""
    return Reader(lambda crop: ("red", "green", "blue")[int(crop.reshape(-1, 3).mean(axis=0).argmax())], **options)


@cache
def _rapidocr_recognizer():
    from rapidocr import RapidOCR

    return RapidOCR(params={"Global.log_level": "error"})._load_rec_model()


def real_reader(**options):
    """Read words for real, with the recognizer in RapidOCR's wheel: for tests of what surrounds a recognizer."""
    from rapidocr.ch_ppocr_rec import TextRecInput

    def read(crop):
        return _rapidocr_recognizer()(TextRecInput(img=np.ascontiguousarray(crop[..., ::-1]))).txts[0].replace(" ", "")

    return Reader(read, **options)
