"""Results of an evaluation in a file (JSON lines), so that it can be resumed and compared."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from clip4str_plugin.errors import DatasetError
from clip4str_plugin.evaluation.evaluate import WordResult

__all__ = ["ResultsFile", "fingerprint", "read_results", "short_names"]


class ResultsFile:
    """Keeps each reading as soon as it is there, and knows those of an earlier run.

    The first line says how the readings came about; every other is a reading and the path of its set.

    Args:
        path: of the file, created if missing.
        settings: what the readings depend on (model, charset, ...); JSON values.

    Raises:
        DatasetError: the file holds something else, or readings that came about in another way.
    """

    def __init__(self, path: str | Path, settings: dict[str, Any]) -> None:
        self.path = Path(path)
        self.known: dict[str, dict[int, WordResult]] = defaultdict(dict)
        complete = 0
        if self.path.is_file() and self.path.stat().st_size:
            found, self.known, complete = _read(self.path)
            if found != settings:
                differing = sorted(k for k in {*found, *settings} if found.get(k) != settings.get(k))
                raise DatasetError(
                    f"{path}: holds readings with other settings ({', '.join(differing)}); name another file, or "
                    "delete it"
                )
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self.path.open("r+b" if complete else "wb")
        self._file.seek(complete)
        self._file.truncate()  # what a killed process left of its last line
        if not complete:
            self._write({"settings": settings})

    def add(self, dataset: str, reading: WordResult) -> None:
        """Keep a reading of the set at this path."""
        self._write({"set": dataset, **asdict(reading)})

    def _write(self, record: dict[str, Any]) -> None:
        self._file.write(json.dumps(record, ensure_ascii=False).encode() + b"\n")
        self._file.flush()

    def __enter__(self) -> ResultsFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def fingerprint(model: Any) -> str:
    """Return a name for what a model computes: its weights and configuration.

    Args:
        model: a CLIP4STR.
    """
    digest = hashlib.sha256(json.dumps(model.config.to_dict(), sort_keys=True).encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().float().contiguous().numpy().data)
    return digest.hexdigest()[:16]


def short_names(paths: Iterable[str]) -> dict[str, str]:
    """Name sets for people: the folder alone where that is enough.

    >>> short_names(["/data/IC15", "/data/SVT", "/old/SVT"])
    {'/data/IC15': 'IC15', '/data/SVT': '/data/SVT', '/old/SVT': '/old/SVT'}
    """
    paths = list(paths)
    names = [Path(path).name for path in paths]
    return {path: name if name and names.count(name) == 1 else path for path, name in zip(paths, names)}


def read_results(path: str | Path) -> tuple[dict[str, Any], dict[str, dict[int, WordResult]]]:
    """Read a file of ``ResultsFile``.

    Returns:
        the settings, and the readings by set and index.

    Raises:
        DatasetError: the file is missing or holds something else.
    """
    settings, readings, _ = _read(Path(path))
    return settings, readings


def _read(path: Path) -> tuple[dict[str, Any], dict[str, dict[int, WordResult]], int]:
    """Return settings, readings, and the number of bytes in complete lines."""
    readings: dict[str, dict[int, WordResult]] = defaultdict(dict)
    try:
        content = path.read_bytes()
        complete = content.rfind(b"\n") + 1
        head, *lines = content[:complete].splitlines()
        settings = json.loads(head)["settings"]
        for line in lines:
            record = json.loads(line)
            name = record.pop("set")
            reading = WordResult(**record)
            readings[name][reading.index] = reading
    except OSError as error:
        raise DatasetError(f"{path}: cannot be opened ({error.strerror or error})") from error
    except (ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{path}: is not a file written by 'clip4str evaluate --results' ({error})") from error
    return settings, readings, complete
