"""Stand-ins and pictures that the tests of several hosts share."""

import shutil
import socket
from functools import cache, cached_property
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np

from clip4str_plugin.reading.recognizer import Recognition

PHOTOS = Path(__file__).parent.parent / "examples" / "photos"


def photo(name):
    """Read an example photo as RGB."""
    return np.ascontiguousarray(cv2.imread(str(PHOTOS / name))[..., ::-1])


class Reader:
    """A recognizer whose answers a test can foresee: ``read(rgb_crop) -> text``.

    It has the interface of Recognizer that adapters use, and notes the shapes of the crops it was given.
    """

    def __init__(self, read, confidence=0.6, char_confidence=0.9):
        self.read = read
        self.word_confidence = confidence
        self.char_confidence = char_confidence
        self.shapes = []
        self.config = SimpleNamespace(max_label_length=25)

    @cached_property
    def model(self):
        """What adapters of PyTorch hosts move; others never ask for it and do without PyTorch."""
        import torch

        return torch.nn.Linear(1, 1)

    def __call__(self, crops, color="rgb"):
        return list(self.stream(crops, color))

    def stream(self, crops, color="rgb"):
        for crop in crops:
            assert isinstance(crop, np.ndarray)
            assert crop.dtype == np.uint8
            self.shapes.append(crop.shape)
            if crop.ndim == 2:
                crop = np.repeat(crop[..., None], 3, axis=2)
            text = self.read(crop if color == "rgb" else crop[..., ::-1])
            yield Recognition(text, self.word_confidence, (self.char_confidence,) * len(text))


def colour_reader(**options):
    """Read a crop as the name of its strongest colour."""
    return Reader(lambda crop: ("red", "green", "blue")[int(crop.reshape(-1, 3).mean(axis=0).argmax())], **options)


@cache
def _rapidocr_recognizer():
    from rapidocr import RapidOCR

    return RapidOCR(params={"Global.log_level": "error"})._load_rec_model()


def real_reader(char_confidence=0.97, **options):
    """Read words for real, with the recognizer in RapidOCR's wheel: for tests of what surrounds a recognizer.

    Its characters are sure enough that no word is read again from other views.
    """
    from rapidocr.ch_ppocr_rec import TextRecInput

    def read(crop):
        return _rapidocr_recognizer()(TextRecInput(img=np.ascontiguousarray(crop[..., ::-1]))).txts[0].replace(" ", "")

    return Reader(read, char_confidence=char_confidence, **options)


def random_clip4str():
    """A real but small CLIP4STR with random weights."""
    import torch

    from clip4str_plugin.model import CLIP4STR
    from clip4str_plugin.model.config import clip_config

    torch.manual_seed(0)
    config = clip_config(
        embed_dim=64,
        vision_width=64,
        vision_layers=1,
        patch_size=16,
        text_width=64,
        text_layers=1,
        image_size=(32, 64),
        max_label_length=6,
    )
    return CLIP4STR(config).eval()


def network_refused(monkeypatch):
    """Make every attempt to open a connection fail the test."""

    def refuse(*args, **kwargs):
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def put_text(page, text, origin, size=1.5, thickness=3, color=(0, 0, 0)):
    """Draw a word and return the box around it, (4, 2)."""
    (width, height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, size, thickness)
    cv2.putText(page, text, origin, cv2.FONT_HERSHEY_SIMPLEX, size, color, thickness, cv2.LINE_AA)
    x, y = origin
    margin = thickness + 2
    left, top, right, bottom = x - margin, y - height - margin, x + width + margin, y + margin
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]], np.float32)


def ink_network(path, size=1024, name="input"):
    """Write an ONNX network that finds dark text on white, with the inputs and outputs of docTR's detectors.

    (N, 3, size, size) normalised by about 0.8 and 0.27 -> (N, 1, size, size) logits: high within 7 pixels of ink.
    """
    import onnx
    from onnx import TensorProto, helper

    constants = [
        helper.make_node("Constant", [], [key], value=helper.make_tensor(key, TensorProto.FLOAT, [1], [value]))
        for key, value in (("slope", -4.0), ("offset", -4.0))
    ]
    graph = helper.make_graph(
        [
            *constants,
            helper.make_node("ReduceMean", [name], ["grey"], axes=[1], keepdims=1),
            helper.make_node("Mul", ["grey", "slope"], ["dark"]),
            helper.make_node("Add", ["dark", "offset"], ["ink"]),
            helper.make_node("MaxPool", ["ink"], ["logits"], kernel_shape=[9, 25], pads=[4, 12, 4, 12]),
        ],
        "ink",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 3, size, size])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 1, size, size])],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return str(path)


_LAYOUT = """
from typing import ClassVar, Literal
from docling.datamodel.base_models import Cluster, LayoutPrediction
from docling.datamodel.pipeline_options import BaseLayoutOptions
from docling.models.base_layout_model import BaseLayoutModel
from docling_core.types.doc import BoundingBox, CoordOrigin, DocItemLabel

class WholePageOptions(BaseLayoutOptions):
    kind: ClassVar[Literal["whole_page"]] = "whole_page"
    parts: int = 1

class WholePage(BaseLayoutModel):
    def __init__(self, *, options, **kwargs):
        self.options = options

    @classmethod
    def get_options_type(cls):
        return WholePageOptions

    def predict_layout(self, conv_res, pages):
        predictions = []
        for page in pages:
            step = page.size.height / self.options.parts
            boxes = [
                BoundingBox(l=5, t=part * step + 15, r=page.size.width - 5, b=(part + 1) * step - 15,
                            coord_origin=CoordOrigin.TOPLEFT)
                for part in range(self.options.parts)
            ]
            clusters = [
                Cluster(id=index, label=DocItemLabel.TEXT, bbox=box, confidence=1.0) for index, box in enumerate(boxes)
            ]
            predictions.append(LayoutPrediction(clusters=clusters))
        return predictions

def layout_engines():
    return {"layout_engines": [WholePage]}
"""


def install_layout_engine(folder):
    """Put a layout engine of docling's into a folder, as pip would; it calls the whole page text."""
    info = folder / "whole_page-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: whole-page\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[docling]\nwhole_page = thirdparty_whole_page\n")
    (folder / "thirdparty_whole_page.py").write_text(_LAYOUT)
    return folder


def paddle_detector(folder):
    """Write RapidOCR's detection network, which is PaddleOCR's converted, as a model folder of PaddleOCR 3."""
    import rapidocr
    import yaml

    (network,) = (Path(rapidocr.__file__).parent / "models").glob("*det*.onnx")
    shutil.copy(network, folder / "inference.onnx")
    operations = [
        {"DecodeImage": {"channel_first": False, "img_mode": "BGR"}},
        {"DetResizeForTest": {"resize_long": 960}},
        {"NormalizeImage": {"mean": [0.5] * 3, "std": [0.5] * 3, "scale": "1./255.", "order": "hwc"}},
        {"ToCHWImage": None},
    ]
    config = {
        "Global": {"model_name": "PP-OCRv6_small_det"},
        "PreProcess": {"transform_ops": operations},
        "PostProcess": {"name": "DBPostProcess", "thresh": 0.3, "box_thresh": 0.5, "unclip_ratio": 1.6},
    }
    (folder / "inference.yml").write_text(yaml.safe_dump(config))
    return folder
