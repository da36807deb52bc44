"""RapidOCR: its bundled text detector for us, CLIP4STR as the recognizer for it.

>>> from rapidocr import RapidOCR
>>> from clip4str_adapters.rapidocr import attach
>>> ocr = attach(RapidOCR(params={"Global.use_cls": False}))  # RapidOCR's own recognizer is then never loaded
>>> result = ocr("photo.jpg")  # doctest: +SKIP

Facts about RapidOCR 3 that shaped this module: arrays are BGR; `word_results` must hold one entry a crop; boxes are
sorted after detection but their scores are not; crops come from a page shrunk to `Global.max_side_len` (2000 pixels),
so raise that for large photos with small text; lines whose score is under `Global.text_score` (0.5) are dropped.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from clip4str_adapters._common import mark_lines, read_marked_lines
from clip4str_plugin.errors import DetectorError
from clip4str_plugin.plugins import import_host
from clip4str_plugin.reading.detectors import Detections, check_page, orient_detections

if TYPE_CHECKING:
    from rapidocr.ch_ppocr_rec import TextRecInput, TextRecOutput

    from clip4str_plugin.model import CLIP4STR
    from clip4str_plugin.reading.line_reading import LineReading
    from clip4str_plugin.reading.recognizer import Recognizer

__all__ = ["HOST", "RapidOCRDetector", "TextMap", "attach", "detector", "text_recognizer"]

HOST = "rapidocr"

# The network wants sides in multiples of this.
_STRIDE = 32
# Regions at the border of the page and pages that are a single line are missed without some margin, so pages flatter
# than this are padded, as RapidOCR itself does.
_FLATTEST = 8


def detector(
    arch: str | None = None,
    *,
    min_side: int = 736,
    max_side: int = 2048,
    threads: int | None = None,
    precision: Literal["fp32", "bf16"] = "fp32",
    **options: Any,
) -> RapidOCRDetector:
    """Build RapidOCR's text detector; neither its classifier nor its recognizer is loaded.

    The default network lies inside RapidOCR's wheel. Pages are scaled for it alone: polygons come back in pixels of the
    page as given, so that crops keep its full resolution. Where OpenVINO is installed it computes the network, several
    times as fast as ONNX Runtime and with differences of about 1e-5.

    >>> import numpy as np
    >>> from clip4str_adapters.rapidocr import detector
    >>> detect = detector()
    >>> len(detect([np.zeros((480, 640, 3), np.uint8)])[0])
    0

    Args:
        arch: None for the bundled network; the path of another DB network as an ONNX file; or version and size of a
            network RapidOCR knows, e.g. ``"PP-OCRv5_mobile"``, which RapidOCR downloads once.
        min_side: pages whose shorter side is under this are enlarged to it.
        max_side: pages whose longer side would be over this are shrunk to it; the time taken grows with its square.
        threads: CPU threads of the network, None for one a core.
        precision: of the arithmetic in OpenVINO. "bf16" is faster still and moves polygons by fractions of a pixel.
        **options: RapidOCR's settings below ``Det``: ``thresh``, ``box_thresh``, ``unclip_ratio``, ``max_candidates``,
            ``use_dilation``, ``score_mode``, ``engine_type`` (which engine RapidOCR itself is to use) ...

    Returns:
        a detector of lines, safe to call from several threads.

    Raises:
        DetectorError: RapidOCR does not know the arch or an option, or cannot get the network; or bf16 without
            OpenVINO.
        HostError: RapidOCR is not installed.
    """
    with_openvino = "engine_type" not in options and find_spec("openvino") is not None
    if precision not in ("fp32", "bf16"):
        raise DetectorError(f"precision is {precision!r}; it must be 'fp32' or 'bf16'")
    if precision == "bf16" and not with_openvino:
        raise DetectorError("bf16 needs OpenVINO: pip install 'clip4str-plugin[openvino]' and give no engine_type")
    if with_openvino:
        options["engine_type"] = import_host("rapidocr", "rapidocr").EngineType.OPENVINO
    network = _load_network(arch, threads, options)
    if with_openvino:
        network.session = _OpenVinoSession(network.session.model, precision, threads)
    return RapidOCRDetector(network, min_side, max_side)


@dataclass(frozen=True, eq=False)
class TextMap:
    """Where the network sees the inner part of lines.

    Attributes:
        padded: (1, 1, h, w) float32 in [0, 1], over the page and its margins.
        left: columns of the margin on the left and of that on the right.
        top: rows of the margins above and below.
        page_size: height and width of the page in pixels.
    """

    padded: np.ndarray
    left: int
    top: int
    page_size: tuple[int, int]

    @property
    def inner(self) -> np.ndarray:
        """The map over the page alone, (h, w)."""
        rows, columns = self.padded.shape[2:]
        return self.padded[0, 0, self.top : rows - self.top, self.left : columns - self.left]


class _OpenVinoSession:
    """A network in OpenVINO. RapidOCR's own session lets no threads share it, nor its precision be chosen."""

    def __init__(self, graph: Any, precision: str, threads: int | None) -> None:
        import openvino as ov

        options: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
            "PERFORMANCE_HINT": "LATENCY",
            # Pages come in any size, and what is kept for each would add up.
            "CPU_RUNTIME_CACHE_CAPACITY": 0,
        }
        if threads is not None:
            options["INFERENCE_NUM_THREADS"] = threads
        self._request = ov.Core().compile_model(graph, "CPU", options).create_infer_request()
        # One page at a time keeps all cores busy, and its activations fill memory enough.
        self._lock = threading.Lock()

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        with self._lock:
            return self._request.infer([batch], share_inputs=True)[0]


def _load_network(arch: str | None, threads: int | None, options: dict[str, Any]) -> Any:
    rapidocr = import_host("rapidocr", "rapidocr")
    logger = import_host("rapidocr.utils.log", "rapidocr").logger
    _check_options(rapidocr, options)
    params: dict[str, Any] = {f"Det.{key}": value for key, value in options.items()}
    params |= {"Global.use_cls": False, "Global.use_rec": False, "Global.log_level": "warning"}
    if threads is not None:
        params["EngineConfig.onnxruntime.intra_op_num_threads"] = threads
    if arch is not None and arch.endswith(".onnx"):
        if not Path(arch).is_file():
            raise DetectorError(f"there is no detection network {arch!r}")
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
        return ocr.text_det or ocr._load_det_model()
    except Exception as error:
        raise DetectorError(f"RapidOCR cannot load its detector {arch or ''}: {error}") from error
    finally:
        logger.setLevel(level)


def _check_options(rapidocr: Any, options: dict[str, Any]) -> None:
    """Refuse what RapidOCR would pass over: names that are not in its configuration, values of another kind."""
    from omegaconf import OmegaConf  # what RapidOCR reads its own configuration with

    known: Any = OmegaConf.to_container(OmegaConf.load(Path(rapidocr.__file__).with_name("config.yaml")).Det)
    for name, value in options.items():
        if name not in known:
            raise DetectorError(f"RapidOCR's detector has no option {name!r}; it has {', '.join(sorted(known))}")
        usual = known[name]
        number = isinstance(usual, (int, float)) and not isinstance(usual, bool)
        if number and (isinstance(value, bool) or not isinstance(value, (int, float))):
            raise DetectorError(f"RapidOCR's option {name} is {value!r}; it has to be a number such as {usual}")
        if isinstance(usual, bool) and not isinstance(value, bool):
            raise DetectorError(f"RapidOCR's option {name} is {value!r}; it has to be True or False")


class RapidOCRDetector:
    """Runs the three steps of RapidOCR's `TextDetector` itself, which mixes up scores and shrinks pages twice."""

    def __init__(self, network: Any, min_side: int, max_side: int) -> None:
        if not 0 < min_side <= max_side:
            raise DetectorError(f"0 < min_side <= max_side is expected, not min_side={min_side}, max_side={max_side}")
        self.network = network
        self.min_side = min_side
        self.max_side = max_side
        preprocess = import_host("rapidocr.ch_ppocr_det.utils", "rapidocr").DetPreProcess(
            mean=network.mean, std=network.std
        )
        levels = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)
        self._levels = preprocess.normalize(levels).astype(np.float32)  # 1, 256, 3

    def __call__(self, pages: Sequence[np.ndarray]) -> list[Detections]:
        """Find the lines of pages; see :class:`clip4str_plugin.reading.detectors.Detector`."""
        return [self._detect(page) for page in pages]

    def _detect(self, page: np.ndarray) -> Detections:
        return self.lines(self.see(page))

    def see(self, page: np.ndarray) -> TextMap:
        """Run the network on a page, uint8 RGB (H, W, 3)."""
        import cv2

        check_page(page)
        height, width = page.shape[:2]
        margin_x, margin_y = max(0, (height // _FLATTEST - width) // 2), max(0, (width // _FLATTEST - height) // 2)
        padded_width, padded_height = width + 2 * margin_x, height + 2 * margin_y
        scale = max(1.0, self.min_side / min(padded_width, padded_height))
        scale = min(scale, self.max_side / max(padded_width, padded_height))
        columns, rows = (_STRIDE * max(1, round(side * scale / _STRIDE)) for side in (padded_width, padded_height))
        # Scaled before it is padded: the margins of a very flat page can be many times its size.
        left = min(round(margin_x / padded_width * columns), (columns - 1) // 2)
        top = min(round(margin_y / padded_height * rows), (rows - 1) // 2)
        inner = cv2.resize(page, (columns - 2 * left, rows - 2 * top), interpolation=cv2.INTER_LINEAR)
        image = cv2.copyMakeBorder(inner, top, top, left, left, cv2.BORDER_CONSTANT, value=(0, 0, 0))
        # A level has only one normalised value; looked up, they are those of RapidOCR to the bit.
        normalized = cv2.LUT(image[..., ::-1], self._levels)
        batch = np.ascontiguousarray(normalized.transpose(2, 0, 1)[None])
        return TextMap(self.network.session(batch), left, top, (height, width))

    def lines(self, seen: TextMap) -> Detections:
        """Find the lines in what the network has seen."""
        rows, columns = seen.padded.shape[2:]
        height, width = seen.page_size
        # The second argument is the size that the boxes are scaled to. Eighths of a pixel survive its rounding.
        fine = 8
        scale_x, scale_y = width / (columns - 2 * seen.left), height / (rows - 2 * seen.top)
        target = (round(rows * scale_y * fine), round(columns * scale_x * fine))
        boxes, scores = self.network.postprocess_op(seen.padded, target)
        quads = [(np.asarray(box, np.float32) / fine) - (seen.left * scale_x, seen.top * scale_y) for box in boxes]
        quads = [np.clip(quad, 0, (width, height)) for quad in quads]
        return orient_detections(quads, scores, "line")


def attach(ocr: Any, recognizer: Recognizer | CLIP4STR | str | Path = "tiny", **options: Any) -> Any:
    """Make CLIP4STR the recognizer of a ``RapidOCR``, reading words as :class:`clip4str_plugin.Reader` does.

    Lines are cut into words on the page itself and every word is straightened alone, which reads better than cutting
    the line's crop. Lines that RapidOCR's classifier has turned over are read from the crop, as by
    :func:`text_recognizer`.

    Args:
        ocr: a ``RapidOCR``.
        recognizer: a recognizer, a model, or the name or path of one as in :func:`clip4str_plugin.load_model`.
        **options: the fields of :class:`clip4str_plugin.RecognizerOptions`.

    Returns:
        the same object.

    Raises:
        TypeError: it is no ``RapidOCR`` of a version that is understood.
    """
    if not callable(getattr(ocr, "crop_text_regions", None)) or not hasattr(ocr, "text_rec"):
        raise TypeError(f"{type(ocr).__name__} is no RapidOCR object of version 3.4 or later")
    own = ocr.crop_text_regions

    def crop_text_regions(img: np.ndarray, det_boxes: np.ndarray) -> list[np.ndarray]:
        return mark_lines(own(img, det_boxes), img, det_boxes)

    ocr.crop_text_regions = crop_text_regions
    ocr.text_rec = text_recognizer(recognizer, **options)
    return ocr


def text_recognizer(recognizer: Recognizer | CLIP4STR | str | Path = "tiny", **options: Any) -> _TextRecognizer:
    """Make CLIP4STR the recognizer of a ``RapidOCR``, as its attribute ``text_rec``.

    RapidOCR hands over whole lines. They are cut into words at their blanks, the words are read, and the line is put
    together again. Its score is the mean over its characters whatever the recognizer's own kind of confidence is: that
    is what RapidOCR's recognizers report and what its filter ``Global.text_score`` is meant for. With
    ``return_word_box=True`` RapidOCR computes its word (or character) boxes from the words found.

    Args:
        recognizer: a recognizer, a model, or the name or path of one as in :func:`clip4str_plugin.load_model`.
        **options: the fields of :class:`clip4str_plugin.RecognizerOptions`.
    """
    from clip4str_plugin.reading.recognizer import as_recognizer

    return _TextRecognizer(as_recognizer(recognizer, **options))


class _TextRecognizer:
    def __init__(self, recognizer: Recognizer) -> None:
        self.recognizer = recognizer

    def __call__(self, args: TextRecInput) -> TextRecOutput:
        from rapidocr.ch_ppocr_rec import TextRecOutput

        begin = time.perf_counter()
        crops = [args.img] if isinstance(args.img, np.ndarray) else list(args.img or [])
        readings = read_marked_lines(self.recognizer, crops)
        # Not empty and not None-padded: RapidOCR indexes it by crop, and skips word boxes where an entry is None.
        word_results = tuple(
            _word_info(crop, reading) if args.return_word_box else None for crop, reading in zip(crops, readings)
        )
        return TextRecOutput(
            imgs=crops,
            txts=tuple(reading.text for reading in readings),
            scores=[reading.confidence for reading in readings],
            word_results=word_results,  # type: ignore[arg-type]
            elapse=time.perf_counter() - begin,
        )


def _word_info(crop: np.ndarray, reading: LineReading) -> Any:
    """Say in RapidOCR's terms where the characters stand: pixel columns of the crop in place of CTC time steps."""
    from rapidocr.ch_ppocr_rec.typings import WordInfo, WordType

    width = crop.shape[1]
    info = WordInfo(line_txt_len=width)
    for word in reading.words:
        text = word.recognition.text
        step = (word.right - word.left) * width / len(text)
        info.words.append(list(text))
        info.word_cols.append([int(word.left * width + (index + 0.5) * step) for index in range(len(text))])
        info.word_types.append(WordType.EN_NUM)
        info.confs.append(word.recognition.confidence)
    # One a character is needed for single-character boxes, where RapidOCR would else drop the boxes left over.
    info.confs += [value for word in reading.words for value in word.recognition.char_confidences][len(info.confs) :]
    return info
