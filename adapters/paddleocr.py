"""PaddleOCR, versions 2 and 3 (PaddleX): CLIP4STR as its recognizer, its text detectors for our Reader.

>>> from paddleocr import PaddleOCR  # doctest: +SKIP
>>> from clip4str_adapters.paddleocr import attach
>>> ocr = attach(PaddleOCR(), "tiny")  # doctest: +SKIP

Version 3 takes it by name as well, and then loads no recognizer of its own:
``PaddleOCR(**register("tiny"))``.

Facts that shaped this module: crops are BGR and hold lines; version 3 reads exactly ``rec_text``, ``rec_score`` and
``vis_font`` of each result; both drop lines under a score (``drop_score``, ``text_rec_score_thresh``) that is meant for
a mean over characters.
"""

from __future__ import annotations

import atexit
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from clip4str_adapters._common import mark_lines, read_marked_lines
from clip4str_plugin.errors import DetectorError
from clip4str_plugin.plugins import import_host
from clip4str_plugin.reading.detectors import Detections, Detector, check_page, orient_detections

if TYPE_CHECKING:
    from clip4str_plugin.model import CLIP4STR
    from clip4str_plugin.reading.line_reading import LineReading
    from clip4str_plugin.reading.recognizer import Recognizer

__all__ = ["HOST", "attach", "detector", "register", "text_rec_model", "text_recognizer"]

HOST = "paddleocr"


def attach(ocr: Any, recognizer: Recognizer | CLIP4STR | str | Path = "tiny", **options: Any) -> Any:
    """Make CLIP4STR the recognizer of a PaddleOCR object of version 2 or 3, on every device it uses.

    Args:
        ocr: a ``PaddleOCR`` (or, of version 3, a PaddleX OCR pipeline).
        recognizer: a recognizer, a model, or the name or path of one as in `clip4str_plugin.load_model`.
        **options: the fields of `clip4str_plugin.RecognizerOptions`.

    Returns:
        the same object.

    Raises:
        TypeError: it is neither.
    """
    if hasattr(ocr, "text_recognizer"):
        ocr.text_recognizer = text_recognizer(recognizer, **options)
        return ocr
    pipeline = getattr(ocr, "paddlex_pipeline", ocr)
    inner = [pipeline._pipeline] if hasattr(pipeline, "_pipeline") else getattr(pipeline, "_pipelines", [])
    if not inner or not all(hasattr(each, "text_rec_model") for each in inner):
        raise TypeError(f"{type(ocr).__name__} has no text recognizer to replace; give a PaddleOCR object")
    model = text_rec_model(recognizer, **options)
    for each in inner:
        each.text_rec_model = model
        each._crop_by_polys = _marking(each._crop_by_polys)
    return ocr


def _marking(crop_by_polys: Any) -> Any:
    def crop(img: np.ndarray, dt_polys: Sequence[Any]) -> list[np.ndarray]:
        return mark_lines(crop_by_polys(img, dt_polys), img, dt_polys)

    crop.det_box_type = crop_by_polys.det_box_type  # type: ignore[attr-defined]  # attached twice, marked twice
    return crop


def text_recognizer(recognizer: Recognizer | CLIP4STR | str | Path = "tiny", **options: Any) -> _TextRecognizer:
    """Build what ``PaddleOCR().text_recognizer`` is in version 2; see `attach`."""
    from clip4str_plugin.reading.recognizer import as_recognizer

    return _TextRecognizer(as_recognizer(recognizer, **options))


def text_rec_model(recognizer: Recognizer | CLIP4STR | str | Path = "tiny", **options: Any) -> _TextRecModel:
    """Build what ``text_rec_model`` is in an OCR pipeline of PaddleX, version 3; see `attach`."""
    from clip4str_plugin.reading.recognizer import as_recognizer

    return _TextRecModel(as_recognizer(recognizer, **options))


class _TextRecognizer:
    def __init__(self, recognizer: Recognizer) -> None:
        self.recognizer = recognizer

    def __call__(self, crops: Sequence[np.ndarray]) -> tuple[list[tuple[str, float]], float]:
        from clip4str_plugin.reading.line_reading import read_lines

        begin = time.perf_counter()
        readings = read_lines(self.recognizer, crops, color="bgr")
        return [(reading.text, reading.confidence) for reading in readings], time.perf_counter() - begin


class _TextRecModel:
    def __init__(self, recognizer: Recognizer) -> None:
        self.recognizer = recognizer

    def __call__(self, crops: Sequence[np.ndarray], return_word_box: bool = False, **kwargs: Any) -> list[dict]:
        fonts = import_host("paddlex.utils.fonts", "paddleocr")
        return [
            {
                "rec_text": (reading.text, _columns(crop, reading)) if return_word_box else reading.text,
                "rec_score": reading.confidence,
                "vis_font": fonts.SIMFANG_FONT,
            }
            for crop, reading in zip(crops, read_marked_lines(self.recognizer, crops))
        ]


def _columns(crop: np.ndarray, reading: LineReading) -> list[Any]:
    """Say in PaddleX's terms where the words stand: pixel columns of the crop in place of CTC time steps."""
    width = crop.shape[1]
    return [
        width,
        [list(word.recognition.text) for word in reading.words],
        # PaddleX looks at the first and at the last column of a word.
        [
            [int(word.left * width), max(int(word.left * width), round(word.right * width) - 1)]
            for word in reading.words
        ],
        ["en&num"] * len(reading.words),
    ]


def register(
    recognizer: Recognizer | CLIP4STR | str | Path = "tiny", name: str = "CLIP4STR", **options: Any
) -> dict[str, str]:
    """Make CLIP4STR a text recognition model that version 3 knows by name, so that it loads none of its own.

    Args:
        recognizer: as in `attach`. It is loaded once, when PaddleOCR first asks for it.
        name: what PaddleOCR shall call it; registering a name again replaces what it meant.
        **options: the fields of `clip4str_plugin.RecognizerOptions`.

    Returns:
        keyword arguments for ``PaddleOCR(**register(...))``: the name, and a folder that holds no more than the name,
        since PaddleX wants to see one. If the models of ``PaddleOCR`` run on an explicitly chosen engine, give this one
        ``engine: flexible`` in ``paddlex_config``.
    """
    predictors = import_host("paddlex.inference.models.predictors", "paddleocr")
    bindings = import_host("paddlex.inference.models.bindings", "paddleocr")
    from paddlex.inference.common.batch_sampler import ImageBatchSampler
    from paddlex.inference.models.text_recognition.result import TextRecResult

    loaded: list[_TextRecModel] = []

    class CLIP4STRPredictor(predictors.FlexiblePredictor):  # type: ignore[name-defined]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self._build()

        def _build(self) -> Any:
            if not loaded:
                loaded.append(text_rec_model(recognizer, **options))
            return loaded[0]

        def _build_batch_sampler(self) -> Any:
            return ImageBatchSampler()

        def _get_result_class(self) -> type:
            return TextRecResult

        def process(self, batch_data: Any, return_word_box: bool = False) -> dict[str, list[Any]]:
            from paddlex.inference.common.reader import ReadImage

            crops = ReadImage(format="BGR")(batch_data.instances)
            results = self._build()(crops, return_word_box)
            rows = {key: [result[key] for result in results] for key in ("rec_text", "rec_score", "vis_font")}
            return {
                "input_path": batch_data.input_paths,
                "page_index": batch_data.page_indexes,
                "input_img": crops,
                **rows,
            }

    bindings.default_registry._registry.pop(name, None)
    bindings.register_predictor_binding_map(CLIP4STRPredictor, {"flexible": [name]})
    folder = tempfile.mkdtemp(prefix="clip4str-paddlex-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    Path(folder, "inference.yml").write_text(f"Global:\n  model_name: {json.dumps(name)}\n", encoding="utf-8")
    return {"text_recognition_model_name": name, "text_recognition_model_dir": folder}


def detector(arch: str | None = None, **options: Any) -> Detector:
    """Build one of PaddleOCR's text detectors.

    Args:
        arch: in version 3 the name of a detection model, e.g. ``"PP-OCRv5_mobile_det"``; in version 2 the folder of a
            detection model or an ONNX file. None takes PaddleOCR's own choice. Models are downloaded once.
        **options: in version 3 the arguments of ``paddleocr.TextDetection`` (``model_dir``, ``engine``, ``device``,
            ``limit_side_len``, ``box_thresh`` ...), in version 2 settings as of ``PaddleOCR(...)`` (``det_db_thresh``,
            ``det_limit_side_len``, ``use_gpu`` ...).

    Returns:
        a detector of lines. Version 2 reports no scores; they are 1 then.

    Raises:
        DetectorError: PaddleOCR does not know the model or an option, or cannot get the model.
        HostError: PaddleOCR is not installed.
    """
    paddleocr = import_host("paddleocr", "paddleocr")
    try:
        if hasattr(paddleocr, "TextDetection"):
            return _Detector(partial(_find_3, paddleocr.TextDetection(model_name=arch, **options)))
        return _Detector(partial(_find_2, _load_version_2(arch, options)))
    except (Exception, SystemExit) as error:
        raise DetectorError(f"PaddleOCR cannot load its detector {arch or ''}: {error}") from error


class _Detector:
    def __init__(self, find: Callable[[np.ndarray], tuple[Iterable[Any], Iterable[float]]]) -> None:
        self._find = find  # takes a page, (H, W, 3) uint8 BGR, and gives outlines and scores

    def __call__(self, pages: Sequence[np.ndarray]) -> list[Detections]:
        found = []
        for page in pages:
            check_page(page)
            polygons, scores = self._find(np.ascontiguousarray(page[..., ::-1]))
            found.append(orient_detections(list(polygons), list(scores), "line"))
        return found


def _find_3(model: Any, page: np.ndarray) -> tuple[Iterable[Any], Iterable[float]]:
    (result,) = model.predict(page)
    return result["dt_polys"], result["dt_scores"]


def _find_2(model: Any, page: np.ndarray) -> tuple[Iterable[Any], Iterable[float]]:
    boxes, _ = model(page)
    boxes = [] if boxes is None else boxes
    return boxes, [1.0] * len(boxes)


def _load_version_2(arch: str | None, options: dict[str, Any]) -> Any:
    from paddleocr import paddleocr as package
    from paddleocr.tools.infer.predict_det import TextDetector

    settings = package.parse_args(mMain=False)
    unknown = sorted(set(options) - set(vars(settings)))
    if unknown:
        raise DetectorError(f"PaddleOCR has no setting {unknown}")
    vars(settings).update(options)
    settings.use_gpu = package.check_gpu(settings.use_gpu)
    if arch is not None:
        settings.det_model_dir = arch
        settings.use_onnx = arch.endswith(".onnx")
    else:
        _, language = package.parse_lang(settings.lang)
        url = package.get_model_config("OCR", settings.ocr_version, "det", language)["url"]
        folder = str(Path(package.BASE_DIR) / "whl" / "det" / language)
        settings.det_model_dir, url = package.confirm_model_dir_url(settings.det_model_dir, folder, url)
        package.maybe_download(settings.det_model_dir, url)
    return TextDetector(settings)
