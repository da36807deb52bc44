"""CRAFT's network: from its file to a function from pictures to maps of letters and links, on the CPU.

CRAFT (Baek et al., "Character Region Awareness for Text Detection", CVPR 2019) is a VGG-16 with a decoder that says for
every second pixel how central it is in a letter, and how central in the gap between two letters of a word.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from clip4str_adapters._page_network import PageNetwork, load_page_network
from clip4str_plugin.errors import DetectorError, HostError

__all__ = ["FILL", "PACKAGE", "Network", "Precision", "bundled_weights", "load_network"]

PACKAGE = "torchfree_ocr"
# The network wants sides in multiples of this.
STRIDE = 32
# The mean colour (RGB) of ImageNet, which becomes zero: what surrounds a picture.
FILL = (124, 116, 104)
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

Precision = Literal["auto", "fp32", "bf16", "int8"]
# A uint8 RGB picture (H, W, 3), sides multiples of STRIDE, to maps of letters and links (H / 2, W / 2, 2) float32.
Network = Callable[[np.ndarray], np.ndarray]


def bundled_weights() -> Path:
    """The network within the package ``torchfree-ocr``, which is not imported.

    Raises:
        HostError: the package is not installed.
        DetectorError: this version of it holds no network.
    """
    spec = find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise HostError("CRAFT's weights are missing; pip install 'clip4str-plugin[craft]', or give a file of weights")
    path = Path(spec.origin).parent / "onnx" / "detectionModel.onnx"
    if not path.is_file():
        raise DetectorError("torchfree-ocr holds no network since version 1.1; pip install 'torchfree-ocr==1.0.1'")
    return path


def load_network(path: Path, precision: Precision = "auto", threads: int | None = None) -> Network:
    """Load a CRAFT network; OpenVINO computes it where it is installed, else ONNX Runtime, or PyTorch for a ``.pth``.

    Args:
        path: an ``.onnx`` file, or a ``.pth`` file of the original code or of EasyOCR.
        precision: in OpenVINO; "auto" is 8 bits for the weights of ``torchfree-ocr``, for others bfloat16 where the
            processor has it.
        threads: CPU threads, None for one a core.

    Returns:
        a function that several threads may call.

    Raises:
        DetectorError: the file is missing or holds no such network; bf16 or int8 without OpenVINO, or int8 for
            other weights than those of ``torchfree-ocr``.
    """
    if precision not in get_args(Precision):
        raise DetectorError(f"precision is {precision!r}; it must be one of {', '.join(get_args(Precision))}")
    if path.suffix not in (".onnx", ".pth") or not path.is_file():
        raise DetectorError(f"there are no CRAFT weights {str(path)!r}; give the path of an .onnx or .pth file")
    with_openvino = find_spec("openvino") is not None
    if precision in ("bf16", "int8") and not with_openvino:
        raise DetectorError(f"{precision} needs OpenVINO: pip install 'clip4str-plugin[openvino]'")
    is_bundled = _is_bundled(path)
    if precision == "int8" and not is_bundled:
        raise DetectorError("int8 is there for the weights of torchfree-ocr alone; choose bf16 or fp32")
    maps: PageNetwork
    try:
        if path.suffix == ".pth":
            from clip4str_adapters.craft_torch import load_craft

            model = load_craft(path)
            maps = load_page_network(_traced(model), precision, threads) if with_openvino else _InTorch(model)
        elif with_openvino and is_bundled and precision in ("auto", "int8"):
            from clip4str_adapters.craft_int8 import rounded

            maps = load_page_network(partial(rounded, path), "auto", threads)
        else:
            maps = load_page_network(path, precision, threads)
        shape = maps.output_shape((1, 3, STRIDE, STRIDE))
    except DetectorError:
        raise
    except Exception as error:
        raise DetectorError(f"{path} holds no CRAFT network that can be loaded: {error}".splitlines()[0]) from error
    if shape != (1, STRIDE // 2, STRIDE // 2, 2):
        raise DetectorError(f"{path} holds no CRAFT network: it makes {shape} of a picture of {STRIDE} pixels")
    levels = (np.arange(256, dtype=np.float32)[:, None] / 255 - _MEAN) / _STD
    table = levels.astype(np.float32)[None]

    def network(picture: np.ndarray) -> np.ndarray:
        import cv2

        return maps(np.ascontiguousarray(cv2.LUT(picture, table).transpose(2, 0, 1)[None]))[0]

    return network


def _is_bundled(path: Path) -> bool:
    try:
        return path.samefile(bundled_weights())
    except (HostError, DetectorError):
        return False


def _traced(model: Any) -> Any:
    import torch
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    from clip4str_plugin.model.engines.openvino import convert

    graph = convert(TorchScriptPythonDecoder(model, example_input=torch.zeros(1, 3, 64, 64)))
    graph.reshape([1, 3, -1, -1])
    return graph


class _InTorch:
    def __init__(self, model: Any) -> None:
        self._model = model

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        import torch

        with torch.inference_mode():
            return self._model(torch.from_numpy(batch)).numpy()

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return self(np.zeros(shape, np.float32)).shape
