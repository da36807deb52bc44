"""Ray Data: folders of millions of scans read on many machines, into Parquet.

>>> from clip4str_adapters.ray import read_folder
>>> read_folder("s3://scans/1998", "s3://texts/1998", detectors=8, recognizers=4, recognizer_gpus=0.5)  # doctest: +SKIP

One row a page is written, with the fields of ``clip4str read --format jsonl``. What is written also says how far a job
has come: run again with the same arguments it goes on where it was interrupted, page by page.

The stages can be used in pipelines of your own: `decode` for ``flat_map``, `Detect` and `Recognize`
for ``map_batches``. Detector and recognizer are actors of their own, each of which loads one model once. Ray Data
limits what is in flight between the stages, and repeats what was lost with a worker.
"""

from __future__ import annotations

import io
import logging
import pickle
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np

from clip4str_plugin.errors import DetectorError, ImageError
from clip4str_plugin.plugins import import_host
from clip4str_plugin.reading.detectors import Detections, Detector, load_detector
from clip4str_plugin.reading.tiles import detect_pages

if TYPE_CHECKING:
    import pyarrow

    from clip4str_plugin.model import CLIP4STR
    from clip4str_plugin.reading.recognizer import Recognizer

__all__ = ["HOST", "Detect", "Recognize", "Totals", "decode", "find_files", "read_folder", "schema"]

HOST = "ray"

logger = logging.getLogger(__name__)

# Files in one task of the first stage. Small, since a page is some ten megabytes once it is decoded.
_FILES_A_TASK = 8
# Of the names of the files that are written, and the last bytes of every Parquet file.
_PREFIX, _FOOTER = "clip4str-", b"PAR1"
# Seconds before a file that cannot be opened is tried again; after them it is written as this page.
_PAUSES, _NOT_OPENED = (1.0, 4.0), -1


@dataclass(frozen=True)
class Totals:
    """What a call of `read_folder` did.

    Attributes:
        pages: rows written now, those with errors included.
        errors: of these, rows with an error.
        files_done: files that were done before and were not opened.
    """

    pages: int
    errors: int
    files_done: int


def read_folder(
    source: str | Path | Sequence[str],
    output: str | Path,
    *,
    detector: str | Detector = "rapidocr",
    detector_options: dict[str, Any] | None = None,
    model: Recognizer | CLIP4STR | str | Path = "tiny",
    detectors: int | tuple[int, int] = 1,
    recognizers: int | tuple[int, int] = 1,
    detector_cpus: float = 1,
    recognizer_cpus: float = 1,
    detector_gpus: float = 0,
    recognizer_gpus: float = 0,
    pages_a_batch: int = 2,
    dpi: float = 200,
    **options: Any,
) -> Totals:
    """Read all images and PDFs of a folder on a Ray cluster.

    Ray is started if it is not running. A page that cannot be read gives a row with ``error``. Two jobs must not write
    to the same folder at the same time. Where a single machine has fewer cores than are asked for, and one more to open
    and write files with, the actors share what there is.

    Args:
        source: folder, searched with the folders in it, or files. Local paths must be seen by all machines;
            ``s3://``, ``gs://``, ``hdfs://`` and other URIs are opened by PyArrow.
        output: folder for Parquet files, likewise.
        detector: as in `clip4str_plugin.load_detector`.
        detector_options: of the detector's factory, e.g. ``{"device": "cuda"}`` for ``doctr:...``.
        model: as in `clip4str_plugin.load_model`; a path must be seen by all machines.
        detectors: actors that detect; a pair lets Ray choose between a smallest and a largest number.
        recognizers: actors that straighten words and recognize them, likewise.
        detector_cpus: CPU cores of each.
        recognizer_cpus: likewise.
        detector_gpus: GPUs of each; with 0.25, four actors share one.
        recognizer_gpus: likewise. With any, the model runs on ``"cuda"``.
        pages_a_batch: pages that an actor takes at a time.
        dpi: resolution for the pages of PDFs.
        **options: as in `clip4str_plugin.Reader`.

    Returns:
        what was done.

    Raises:
        ImageError: the folder does not exist or holds no image or PDF.
        HostError: Ray is not installed.
    """
    ray_data = import_host("ray.data", "ray")
    import pyarrow as pa
    import ray

    files = find_files(source)
    done = _pages_done(str(output))
    todo = [path for path in files if done.get(path) != "all"]
    if not todo:
        return Totals(0, 0, len(files))
    table = pa.table(
        {"path": todo, "skip": [sorted(done.get(path, ())) for path in todo]},
        schema=pa.schema([("path", pa.string()), ("skip", pa.list_(pa.int32()))]),
    )
    blocks = [table.slice(start, _FILES_A_TASK) for start in range(0, len(table), _FILES_A_TASK)]
    if not ray.is_initialized():
        ray.init()
    wanted = _largest(detectors) * detector_cpus + _largest(recognizers) * recognizer_cpus
    share, file_cpus = _shares(ray, wanted)
    pages = ray_data.from_arrow(blocks).flat_map(decode, fn_kwargs={"dpi": dpi}, num_cpus=file_cpus)
    found = pages.map_batches(
        Detect,
        fn_constructor_kwargs={"detector": detector, "options": detector_options or {}},
        compute=_pool(ray_data, detectors),
        batch_size=pages_a_batch,
        num_cpus=share * detector_cpus,
        num_gpus=detector_gpus,
    )
    read = found.map_batches(
        Recognize,
        fn_constructor_kwargs={
            "model": model,
            "options": _placed(model, recognizer_gpus) | options,
            "detector": detector,
            "detector_options": detector_options or {},
        },
        compute=_pool(ray_data, recognizers),
        batch_size=pages_a_batch,
        num_cpus=share * recognizer_cpus,
        num_gpus=recognizer_gpus,
    )
    before = _count(str(output))
    read.write_parquet(str(output), filename_provider=_file_names(), ray_remote_args={"num_cpus": file_cpus})
    after = _count(str(output))
    return Totals(after[0] - before[0], after[1] - before[1], len(files) - len(todo))


def _placed(model: Any, gpus: float) -> dict[str, Any]:
    """Where a model that is still to be loaded computes; a recognizer stays where it is."""
    loaded = not isinstance(model, (str, Path)) and not hasattr(model, "state_dict")
    return {} if loaded else {"device": "cuda" if gpus else "cpu"}


def _file_names() -> Any:
    """Names that say which files are ours: what else lies in the folder is neither read nor removed."""
    from ray.data.datasource import FilenameProvider

    class FileNames(FilenameProvider):
        def get_filename_for_block(self, block: Any, write_uuid: str, task_index: int, block_index: int) -> str:
            return f"{_PREFIX}{write_uuid}-{task_index:06}-{block_index:06}.parquet"

        def get_filename_for_task(self, write_uuid: str, task_index: int) -> str:
            return f"{_PREFIX}{write_uuid}-{task_index:06}.parquet"

    return FileNames()


def _largest(size: int | tuple[int, int]) -> int:
    return size[1] if isinstance(size, tuple) else size


def _shares(ray: Any, wanted: float) -> tuple[float, float]:
    """Say what the stages get of the cores they ask for, lest actors keep all cores and no file is ever opened.

    Args:
        ray: the running Ray.
        wanted: cores of all actors together.

    Returns:
        the part of its cores that an actor gets, and the cores of a task that opens or writes files.
    """
    if sum(node["Alive"] for node in ray.nodes()) != 1:  # a cluster may also grow
        return 1.0, 1.0
    cores = ray.cluster_resources().get("CPU", 1.0)
    file_cpus = min(1.0, cores / 2)
    share = min(1.0, (cores - file_cpus) / wanted) if wanted else 1.0
    if share < 1:
        logger.warning(
            "%g cores are too few for actors of %g: each gets %.2f of what it asks for", cores, wanted, share
        )
    return share, file_cpus


def _pool(ray_data: Any, size: int | tuple[int, int]) -> Any:
    smallest, largest = size if isinstance(size, tuple) else (size, size)
    # Two batches wait at an actor while it is at work on one: enough not to idle, and pages are large.
    return ray_data.ActorPoolStrategy(min_size=smallest, max_size=largest, max_tasks_in_flight_per_actor=2)


def schema() -> pyarrow.Schema:
    """Columns that are written.

    ``image`` and ``page`` (from 0; -1 of a file that could not be opened, which the next start tries again) name a
    page; ``last`` is true for the last page of a file; ``error`` is null or says
    why there are no words; polygons are in pixels.
    """
    import pyarrow as pa

    point = pa.list_(pa.float32())
    word = [("text", pa.string()), ("confidence", pa.float32()), ("polygon", pa.list_(point)), ("line", pa.int32())]
    seconds = [("detect", pa.float32()), ("rectify", pa.float32()), ("recognize", pa.float32())]
    return pa.schema(
        [
            ("image", pa.string()),
            ("page", pa.int32()),
            ("last", pa.bool_()),
            ("width", pa.int32()),
            ("height", pa.int32()),
            ("words", pa.list_(pa.struct(word))),
            ("seconds", pa.struct(seconds)),
            ("error", pa.string()),
        ]
    )


# Files


def _filesystem(path: str) -> tuple[Any, str]:
    from pyarrow import fs

    uri = re.match(r"([\w+.-]+://[^/]*)(.*)", path, re.DOTALL)
    if uri is None:
        return fs.LocalFileSystem(), str(Path(path).absolute())
    # Of the URI only its root is parsed: names of objects are taken as they are, blanks and percent signs included.
    root, inner = uri.groups()
    files, base = fs.FileSystem.from_uri(root if urlsplit(root).netloc else f"{root}/")
    return files, f"{base.rstrip('/')}{inner}"


def find_files(source: str | Path | Sequence[str]) -> list[str]:
    """List the images and PDFs of a folder and the folders in it, sorted; hidden ones are skipped.

    Args:
        source: folder or file as a path or URI, or several.

    Raises:
        ImageError: there is nothing, or nothing to be read.
    """
    from pyarrow import fs

    from clip4str_plugin.io.images import PAGE_SUFFIXES

    if not isinstance(source, (str, Path)):
        return sorted({path for each in source for path in find_files(each)})
    source = str(source)
    files, inner = _filesystem(source)
    info = files.get_file_info(inner)
    if info.type == fs.FileType.File:
        return [source]
    if info.type == fs.FileType.NotFound:
        raise ImageError(f"{source}: there is no such folder or file")
    base = source.rstrip("/")
    names = [
        entry.path[len(inner.rstrip("/")) + 1 :]
        for entry in files.get_file_info(fs.FileSelector(inner, recursive=True))
        if entry.type == fs.FileType.File
    ]
    found = [
        f"{base}/{name}"
        for name in sorted(names)
        if Path(name).suffix.lower() in PAGE_SUFFIXES and not any(part.startswith(".") for part in name.split("/"))
    ]
    if not found:
        raise ImageError(f"{source}: the folder holds no image or PDF")
    return found


def _written(output: str) -> list[pyarrow.Table]:
    """Names, pages and errors of what is written already, one table a file.

    Only files of `read_folder` are looked at, and of these the ones cut short are removed.
    """
    from pyarrow import fs, parquet

    files, inner = _filesystem(output)
    tables = []
    for entry in files.get_file_info(fs.FileSelector(inner, allow_not_found=True)):
        if entry.base_name.startswith(_PREFIX) and entry.base_name.endswith(".parquet"):
            if not _is_finished(files, entry):
                logger.warning("%s was not finished and is removed", entry.path)
                files.delete_file(entry.path)
                continue
            columns = ["image", "page", "last", "error"]
            tables.append(parquet.read_table(entry.path, filesystem=files, columns=columns))
    return tables


def _is_finished(files: Any, entry: Any) -> bool:
    """Whether a Parquet file has its end, which is written last; an error in reading it says nothing of that."""
    if entry.size < 2 * len(_FOOTER):
        return False
    with files.open_input_file(entry.path) as file:
        file.seek(entry.size - len(_FOOTER))
        return file.read(len(_FOOTER)) == _FOOTER


def _pages_done(output: str) -> dict[str, Any]:
    """Say of each file what is done: ``"all"``, or the pages."""
    pages: dict[str, set[int]] = {}
    counts: dict[str, int] = {}
    for table in _written(output):
        columns = (table[name].to_pylist() for name in ("image", "page", "last"))
        for image, page, last in zip(*columns):
            if page == _NOT_OPENED:
                continue
            pages.setdefault(image, set()).add(page)
            if last:
                counts[image] = page + 1
    return {image: "all" if len(found) == counts.get(image) else found for image, found in pages.items()}


def _count(output: str) -> tuple[int, int]:
    tables = _written(output)
    rows = sum(len(table) for table in tables)
    return rows, rows - sum(table["error"].null_count for table in tables)


# Stages


def decode(row: dict[str, Any], dpi: float = 200) -> Iterator[dict[str, Any]]:
    """Give the pages of a file, except those to be skipped.

    Args:
        row: ``path``, and in ``skip`` the pages to leave out.
        dpi: resolution for the pages of PDFs.

    Yields:
        ``image``, ``page``, ``last``, ``error`` and ``pixels``, uint8 RGB (H, W, 3).
    """
    from clip4str_plugin.io.images import PageImage, read_stream

    path, skip = row["path"], set(row["skip"])
    files, inner = _filesystem(path)
    for pause in (*_PAUSES, None):
        try:
            with files.open_input_stream(inner, compression=None) as stream:
                content = io.BytesIO(stream.read())
            break
        except OSError as error:
            if pause is None:
                yield _undecoded(path, _NOT_OPENED, False, f"{path}: cannot be opened ({error})")
                return
            time.sleep(pause)
    # One page ahead, to know which is the last.
    waiting = None
    for number, page in enumerate(read_stream(content, path, dpi=dpi)):
        if waiting is not None:
            yield waiting
        waiting = None
        if isinstance(page, PageImage):
            current = {"image": path, "page": number, "last": False, "error": "", "pixels": page.pixels}
        else:
            current = _undecoded(path, number, False, page.error)
        if number not in skip:
            waiting = current
    if waiting is not None:
        yield {**waiting, "last": True}


def _undecoded(path: str, number: int, last: bool, error: str) -> dict[str, Any]:
    # Columns of images have no nulls: a single pixel stands for none.
    return {"image": path, "page": number, "last": last, "error": error, "pixels": np.zeros((1, 1, 3), np.uint8)}


class Detect:
    """Finds the text of pages: what `decode` gives in, the same with ``found`` and ``detect_seconds`` out.

    Args:
        detector: as in `clip4str_plugin.load_detector`.
        options: of its factory.
    """

    def __init__(self, detector: str | Detector = "rapidocr", options: dict[str, Any] | None = None) -> None:
        self.detector = load_detector(detector, **(options or {}))

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, Any]:
        """Detect on each page alone, so that one bad page costs no other."""
        from time import perf_counter

        found, seconds = [], []
        for pixels, error in zip(batch["pixels"], batch["error"]):
            begin = perf_counter()
            found.append(pickle.dumps(None if error else self._detect(np.ascontiguousarray(pixels))))
            seconds.append(perf_counter() - begin)
        return {**batch, "found": np.array(found, dtype=object), "detect_seconds": np.array(seconds, np.float32)}

    def _detect(self, pixels: np.ndarray) -> Detections | DetectorError:
        try:
            (found,) = detect_pages(self.detector, [pixels])
            return found
        except Exception as error:  # a detector may raise anything
            return DetectorError(f"{type(error).__name__}: {error}")


class Recognize:
    """Reads what was found: what `Detect` gives in, rows of `schema` out.

    Args:
        model: as in `clip4str_plugin.load_model`, or a recognizer.
        options: as in `clip4str_plugin.Reader`.
        detector: as in `Detect`. Only pages that lie on their side or head need it, to be searched again once they are
            turned; the first of them loads it.
        detector_options: of its factory.
    """

    def __init__(
        self,
        model: Recognizer | CLIP4STR | str | Path = "tiny",
        options: dict[str, Any] | None = None,
        detector: str | Detector = "rapidocr",
        detector_options: dict[str, Any] | None = None,
    ) -> None:
        from clip4str_plugin import Reader

        self.reader = Reader(_LateDetector(detector, detector_options or {}), model, **(options or {}))

    def __call__(self, batch: dict[str, np.ndarray]) -> pyarrow.Table:
        """Read each page."""
        import pyarrow as pa

        return pa.Table.from_pylist([self._read(row) for row in _rows(batch)], schema=schema())

    def _read(self, row: dict[str, Any]) -> dict[str, Any]:
        from clip4str_plugin.io.writers.json_pages import page_record

        place = {"image": row["image"], "page": int(row["page"]), "last": bool(row["last"])}
        if row["error"]:
            return {**place, "error": row["error"]}
        (page,) = self.reader.read_detected(
            [np.ascontiguousarray(row["pixels"])], [pickle.loads(row["found"])], float(row["detect_seconds"])
        )
        return {**page_record(page), **place}


class _LateDetector:
    """A detector that is loaded when it is first needed."""

    def __init__(self, detector: str | Detector, options: dict[str, Any]) -> None:
        self._load = partial(load_detector, detector, **options)

    def __call__(self, pages: Sequence[np.ndarray]) -> list[Detections]:
        return self._detector(pages)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._detector, name)

    @cached_property
    def _detector(self) -> Detector:
        return self._load()


def _rows(batch: dict[str, np.ndarray]) -> Iterator[dict[str, Any]]:
    for values in zip(*batch.values()):
        yield dict(zip(batch, values))
