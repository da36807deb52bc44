"""RapidOCR's detection networks, the bundled one without importing RapidOCR.

Importing RapidOCR takes a second of processor time, for it parses the list of all its networks twice. What the bundled
network needs stands in two small files of the package.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np

from clip4str_adapters._page_network import load_page_network
from clip4str_adapters.rapidocr_boxes import BoxSettings
from clip4str_plugin.errors import DetectorError, HostError
from clip4str_plugin.plugins import import_host

__all__ = ["DetectionNetwork", "load_detection_network"]


# Settings that would do nothing.
_SCALED_HERE = ("limit_side_len", "limit_type")


@dataclass(frozen=True, eq=False)
class DetectionNetwork:
    """A network, and what belongs to it.

    Attributes:
        run: from (1, 3, H, W) float32, BGR, normalised, to (1, 1, H, W) float32 in [0, 1].
        levels: (1, 256, 3) float32, the normalised values of the levels of B, G and R.
        settings: how boxes are taken from the map.
    """

    run: Callable[[np.ndarray], np.ndarray]
    levels: np.ndarray
    settings: BoxSettings


def load_detection_network(
    arch: str | None, precision: Literal["fp32", "bf16"], threads: int | None, options: dict[str, Any]
) -> DetectionNetwork:
    """Load a network; see `clip4str_adapters.rapidocr.detector` for the arguments and errors."""
    package = find_spec("rapidocr")
    if package is None or package.origin is None:
        raise HostError("RapidOCR is missing; pip install 'clip4str-plugin[rapidocr]'")
    folder = Path(package.origin).parent
    usual = _usual_settings(folder)
    _check_options(usual, options)
    with_openvino = "engine_type" not in options and find_spec("openvino") is not None
    if precision not in ("fp32", "bf16"):
        raise DetectorError(f"precision is {precision!r}; it must be 'fp32' or 'bf16'")
    if precision == "bf16" and not with_openvino:
        raise DetectorError("bf16 needs OpenVINO: pip install 'clip4str-plugin[openvino]' and give no engine_type")
    if arch is not None and arch.endswith(".onnx") and not Path(arch).is_file():
        raise DetectorError(f"there is no detection network {arch!r}")
    settings = usual | options
    names = {field.name for field in fields(BoxSettings)}
    boxes = BoxSettings(**{name: settings[name] for name in names if name in settings})
    path = _bundled(folder, usual) if arch is None else Path(arch) if arch.endswith(".onnx") else None
    if path is not None and set(options) <= names:
        try:
            run = load_page_network(path, precision, threads)
        except DetectorError:
            raise
        except Exception as error:
            raise DetectorError(f"the network {path} cannot be loaded: {error}") from error
    else:
        session = _load_by_rapidocr(arch, threads, options, with_openvino)
        run = load_page_network(session.model, precision, threads) if with_openvino else session
    levels = np.arange(256, dtype=np.float32)[:, None] * np.float32(1 / 255)
    levels = ((levels - np.array(settings["mean"])) / np.array(settings["std"])).astype(np.float32)
    return DetectionNetwork(run, levels[None], boxes)


def _usual_settings(folder: Path) -> dict[str, Any]:
    """RapidOCR's own settings of its detector."""
    import yaml

    text = (folder / "config.yaml").read_text(encoding="utf-8")
    return yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))["Det"]


def _bundled(folder: Path, usual: dict[str, Any]) -> Path | None:
    """The network that RapidOCR takes by default, if it lies in the wheel; others may have been downloaded to it."""
    found = [path for path in (folder / "models").glob("*_det_*.onnx") if str(usual.get("ocr_version")) in path.name]
    named = [path for path in found if str(usual.get("model_type")) in path.name] or found
    return named[0] if len(named) == 1 else None


def _load_by_rapidocr(arch: str | None, threads: int | None, options: dict[str, Any], with_openvino: bool) -> Any:
    """RapidOCR's session; `arch` may name a network that it downloads."""
    rapidocr = import_host("rapidocr", "rapidocr")
    logger = import_host("rapidocr.utils.log", "rapidocr").logger
    params: dict[str, Any] = {f"Det.{key}": value for key, value in options.items()}
    params |= {"Global.use_cls": False, "Global.use_rec": False, "Global.log_level": "warning"}
    if with_openvino:
        params["Det.engine_type"] = rapidocr.EngineType.OPENVINO
    if threads is not None:
        params["EngineConfig.onnxruntime.intra_op_num_threads"] = threads
    if arch is not None and arch.endswith(".onnx"):
        params["Det.model_path"] = arch
    elif arch is not None:
        version, _, size = arch.partition("_")
        try:
            params |= {"Det.ocr_version": rapidocr.OCRVersion(version), "Det.model_type": rapidocr.ModelType(size)}
        except ValueError as error:
            raise DetectorError(
                f"RapidOCR has no detection network {arch!r}; give None, the path of an .onnx file, or "
                f"VERSION_SIZE with a version of {[item.value for item in rapidocr.OCRVersion]} and a size of "
                f"{[item.value for item in rapidocr.ModelType]}"
            ) from error
    level = logger.level
    try:
        ocr = rapidocr.RapidOCR(params=params)
        # Up to 3.9 the constructor loads what it needs; later versions load at the first call.
        return (ocr.text_det or ocr._load_det_model()).session
    except Exception as error:
        raise DetectorError(f"RapidOCR cannot load its detector {arch or ''}: {error}") from error
    finally:
        logger.setLevel(level)


def _check_options(usual: dict[str, Any], options: dict[str, Any]) -> None:
    """Refuse what RapidOCR would pass over: names that are not in its configuration, values of another kind."""
    names = sorted(set(usual) - set(_SCALED_HERE))
    for name, value in options.items():
        if name not in usual:
            raise DetectorError(f"RapidOCR's detector has no option {name!r}; it has {', '.join(names)}")
        if name in _SCALED_HERE:
            raise DetectorError(f"{name} would do nothing; give min_side and max_side, pages are scaled to them")
        known = usual[name]
        number = isinstance(known, (int, float)) and not isinstance(known, bool)
        if number and (isinstance(value, bool) or not isinstance(value, (int, float))):
            raise DetectorError(f"RapidOCR's option {name} is {value!r}; it has to be a number such as {known}")
        if isinstance(known, bool) and not isinstance(value, bool):
            raise DetectorError(f"RapidOCR's option {name} is {value!r}; it has to be True or False")
