"""Whether every host gives the words that `clip4str read` gives: one model, the same text regions, two ways.

    python benchmarks/same_words.py FOLDER... [--hosts NAME...] [--model NAME|FILE] [--limit N] [--show N]

Reads the first images of each folder (or of its folder `images`) with the hosts that are installed where this runs,
see noxfile.py. Hosts that take our detectors are compared with our reader behind the same detector. Hosts with their
own detector are run first, and our reader then gets the regions they report. OCRmyPDF draws a page anew; our reader
gets what it draws. Prints, for each folder and host, pages with exactly the same words, and words: ours, theirs, in
both; the rest is due to how hosts crop and cut regions. All words are kept, as by `clip4str read --min-confidence 0`:
hosts have filters of their own.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from clip4str_plugin import Detections, Reader, Recognizer, load_model
from clip4str_plugin.reading.detectors import orient_detections

# A host reads a page: its words, and the regions it found unless they are our detector's, or the page as it saw it
# where that is another one.
Host = Callable[[np.ndarray], tuple[list[str], Detections | np.ndarray | None]]


def doctr(recognizer: Recognizer) -> Host:
    from clip4str_adapters.doctr import ocr_predictor

    predictor = ocr_predictor("rapidocr", recognizer, assume_straight_pages=False)
    return lambda page: (predictor([page]).render().split(), None)


def onnxtr(recognizer: Recognizer) -> Host:
    from clip4str_adapters.onnxtr import ocr_predictor

    predictor = ocr_predictor("rapidocr", recognizer, assume_straight_pages=False)
    return lambda page: (predictor([page]).render().split(), None)


def deepdoctection(recognizer: Recognizer) -> Host:
    import deepdoctection as dd

    from clip4str_adapters.deepdoctection import ocr_detector

    order = dd.TextOrderService(text_container="word", include_residual_text_container=True)
    pipeline = dd.DoctectionPipe(
        [dd.TextExtractionService(ocr_detector("rapidocr", recognizer, min_confidence=0)), order]
    )

    def read(page: np.ndarray) -> tuple[list[str], None]:
        with tempfile.TemporaryDirectory() as folder:
            Image.fromarray(page).save(Path(folder, "page.png"))
            flow = pipeline.analyze(path=folder)
            flow.reset_state()
            return [word.characters for result in flow for word in result.words], None

    return read


def docling(recognizer: Recognizer) -> Host:
    from docling.datamodel.base_models import InputFormat
    from docling.datamodel.pipeline_options import OcrMode, PdfPipelineOptions
    from docling.document_converter import DocumentConverter, ImageFormatOption
    from docling.models.factories import get_layout_factory

    from clip4str_adapters import docling_engine
    from clip4str_adapters.docling import ClipOcrOptions

    docling_engine.shared_reader = lambda *settings: Reader("rapidocr", recognizer, min_confidence=0)
    options = PdfPipelineOptions(
        allow_external_plugins=True,
        do_table_structure=False,
        generate_parsed_pages=True,
        # A picture has 72 dots an inch for docling: at scale 1 the engine gets its own pixels.
        ocr_options=ClipOcrOptions(mode=OcrMode.FULL_PAGE, scale=1.0),
    )
    if "whole_page" in get_layout_factory(allow_external_plugins=True).registered_kind:  # the tests' stand-in
        options.layout_options = get_layout_factory(allow_external_plugins=True).create_options("whole_page")
    converter = DocumentConverter(format_options={InputFormat.IMAGE: ImageFormatOption(pipeline_options=options)})

    def read(page: np.ndarray) -> tuple[list[str], None]:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "page.png")
            Image.fromarray(page).save(path)
            result = converter.convert(path)
        return [word for each in result.pages for cell in each.cells for word in cell.text.split()], None

    return read


def ocrmypdf(recognizer: Recognizer) -> Host:
    import ocrmypdf

    from clip4str_adapters import ocrmypdf_engine

    ocrmypdf_engine.shared_reader = lambda *settings: Reader("rapidocr", recognizer, min_confidence=0)

    load = ocrmypdf_engine._load
    seen: list[tuple[np.ndarray, float | None]] = []

    def noting(path: Path) -> tuple[np.ndarray, float | None]:
        seen.append(load(path))
        return seen[-1]

    ocrmypdf_engine._load = noting

    def read(page: np.ndarray) -> tuple[list[str], np.ndarray]:
        with tempfile.TemporaryDirectory() as folder:
            source, target, text = (Path(folder, name) for name in ("page.png", "page.pdf", "page.txt"))
            Image.fromarray(page).save(source, dpi=(150, 150))
            options: dict[str, Any] = {"output_type": "pdf", "optimize": 0, "jobs": 1, "progress_bar": False}
            ocrmypdf.ocr(source, target, ocr_engine="clip4str", sidecar=text, use_threads=True, **options)
            return text.read_text().split(), seen.pop()[0]

    return read


def rapidocr(recognizer: Recognizer) -> Host:
    from rapidocr import RapidOCR

    from clip4str_adapters.rapidocr import attach

    engine = RapidOCR(params={"Global.use_cls": False, "Global.text_score": 0.0, "Global.log_level": "error"})
    attach(engine, recognizer)

    def read(page: np.ndarray) -> tuple[list[str], Detections]:
        result = engine(np.ascontiguousarray(page[..., ::-1]))
        texts, boxes = (result.txts or (), result.boxes if result.boxes is not None else ())
        return " ".join(texts).split(), orient_detections(list(boxes), [1.0] * len(boxes), "line")

    return read


def paddleocr(recognizer: Recognizer) -> Host:
    """Version 3, with the network in RapidOCR's wheel as its detector."""
    os.environ["PADDLE_PDX_DISABLE_MODEL_SOURCE_CHECK"] = "True"
    from paddlex import create_pipeline

    from clip4str_adapters.paddleocr import attach, register
    from tests.host_helpers import paddle_detector

    registered = register(recognizer)
    detection = {
        "model_name": "PP-OCRv6_small_det",
        "model_dir": str(paddle_detector(Path(tempfile.mkdtemp()))),
        "engine": "onnxruntime",
        "limit_side_len": 736,
        "limit_type": "min",
        "box_thresh": 0.5,
        "unclip_ratio": 1.6,
    }
    recognition = {
        "model_name": registered["text_recognition_model_name"],
        "model_dir": registered["text_recognition_model_dir"],
        "score_thresh": 0.0,
    }
    config = {
        "pipeline_name": "OCR",
        "text_type": "general",
        "use_doc_preprocessor": False,
        "use_textline_orientation": False,
        "SubModules": {"TextDetection": detection, "TextRecognition": recognition},
    }
    pipeline = attach(create_pipeline(config=config), recognizer)

    def read(page: np.ndarray) -> tuple[list[str], Detections]:
        (result,) = pipeline.predict(np.ascontiguousarray(page[..., ::-1]))
        boxes = list(result["rec_polys"])
        return " ".join(result["rec_texts"]).split(), orient_detections(boxes, [1.0] * len(boxes), "line")

    return read


def easyocr(recognizer: Recognizer) -> Host:
    """With RapidOCR's regions, as lines: CRAFT's weights are a download."""
    import easyocr

    from clip4str_adapters.easyocr import attach
    from clip4str_plugin import load_detector

    detect = load_detector("rapidocr")
    reader = attach(easyocr.Reader(["en"], gpu=False, detector=False, recognizer=False, verbose=False), recognizer)

    def read(page: np.ndarray) -> tuple[list[str], Detections]:
        (found,) = detect([page])
        bgr = np.ascontiguousarray(page[..., ::-1])
        lines = reader.recognize(bgr, horizontal_list=[], free_list=[quad.tolist() for quad in found.polygons])
        return " ".join(text for _, text, _ in lines).split(), found

    return read


HOSTS: dict[str, Callable[[Recognizer], Host]] = {
    host.__name__: host for host in (rapidocr, doctr, onnxtr, paddleocr, easyocr, docling, ocrmypdf, deepdoctection)
}


def images(folder: Path, limit: int) -> list[Path]:
    inner = folder / "images"
    files = sorted((inner if inner.is_dir() else folder).iterdir())
    return [path for path in files if path.suffix.lower() in (".jpg", ".jpeg", ".png", ".tif")][:limit]


def with_regions(regions: Detections, recognizer: Recognizer) -> Reader:
    return Reader(lambda pages: [regions], recognizer, min_confidence=0)


def words(reader: Reader, page: np.ndarray) -> list[str]:
    (read,) = reader.stream([page])
    if read.error:
        raise RuntimeError(read.error)
    return [word.text for word in read.words]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--hosts", nargs="+", choices=sorted(HOSTS), default=sorted(HOSTS))
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--limit", type=int, default=20, help="images of each folder (default: %(default)s)")
    parser.add_argument("--show", type=int, default=0, help="differing words to print, a page (default: none)")
    args = parser.parse_args()
    recognizer = Recognizer(load_model(args.model))
    ours = Reader("rapidocr", recognizer, min_confidence=0)
    installed = [name for name in args.hosts if importlib.util.find_spec(name)]
    hosts = {name: HOSTS[name](recognizer) for name in installed}
    for folder in args.folders:
        counts = {name: np.zeros(4, int) for name in hosts}
        seconds = dict.fromkeys(hosts, 0.0)
        for path in images(folder, args.limit):
            page = np.array(ImageOps.exif_transpose(Image.open(path)).convert("RGB"))
            expected = words(ours, page)
            for name, read in hosts.items():
                begin = time.process_time()
                theirs, regions = read(page)
                seconds[name] += time.process_time() - begin
                if isinstance(regions, np.ndarray):
                    mine = words(ours, regions)
                else:
                    mine = expected if regions is None else words(with_regions(regions, recognizer), page)
                left, right = Counter(mine), Counter(theirs)
                counts[name] += (left == right, left.total(), right.total(), (left & right).total())
                if args.show and left != right:
                    only = [[*(one - other)][: args.show] for one, other in ((left, right), (right, left))]
                    print(f"{path.name} {name}: only ours {only[0]}, only theirs {only[1]}")
        pages = len(images(folder, args.limit))
        print(f"{folder.name}: {pages} pages")
        for name, (same, left, right, both) in counts.items():
            share = 100 * 2 * both / max(1, left + right)
            print(
                f"  {name:15} {same:3} pages the same, words: ours {left}, theirs {right}, in both {both} "
                f"({share:.1f} %), {seconds[name] / max(1, pages):.2f} s of CPU a page"
            )


if __name__ == "__main__":
    main()
