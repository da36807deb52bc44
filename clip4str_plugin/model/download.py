"""Published checkpoints, fetched once into a cache: resumed, checked, and safe against other processes.

huggingface_hub would not replace this: it serves four of the eight models (the others are releases of GitHub and
records of Zenodo), and it does not compare a file with the digits in its name.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import logging
import os
import re
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, NoReturn

from clip4str_plugin.cache import cache_dir
from clip4str_plugin.errors import DownloadError
from clip4str_plugin.model.published import PublishedModel

__all__ = ["fetch"]

logger = logging.getLogger(__name__)

TIMEOUT = 30.0  # seconds without a byte before a connection counts as cut
FRUITLESS_ATTEMPTS = 3  # in a row, before giving up
PAUSE = 1.0  # seconds before the second attempt, doubled for the third
_BLOCK = 1 << 20


def fetch(model: PublishedModel, *, verify: bool | None = None, progress: bool = True) -> Path:
    """Return the checkpoint's file in the cache, after downloading it if it is not there yet.

    What has arrived survives a cut connection or the end of the process, and the next call goes on from there. The
    file appears under its name only when it is complete and checked. A file put there by hand is used as it is.

    Args:
        model: an entry of ``PUBLISHED``.
        verify: compare the file's SHA-256 with the digits in its name; None: unless $CLIP4STR_VERIFY is 0.
        progress: show a bar on standard error, if that is a terminal.

    Raises:
        DownloadError: the server cannot be reached or refuses, the file is damaged, or the cache cannot be written.
    """
    from filelock import FileLock, Timeout

    if verify is None:
        verify = os.environ.get("CLIP4STR_VERIFY") != "0"
    target = cache_dir() / model.filename
    if target.is_file():
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(f"{target}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            logger.warning("waiting for another process that is downloading %s", target)
            lock.acquire()
        try:
            if not target.is_file():
                _download(model, target, verify, progress)
        finally:
            lock.release()
    except DownloadError:
        raise
    except OSError as error:
        raise DownloadError(
            f"{target}: cannot be written ({error}); set CLIP4STR_CACHE to a folder that can"
        ) from error
    return target


class _CutError(Exception):
    """The connection broke; another may go on."""


def _download(model: PublishedModel, target: Path, verify: bool, progress: bool) -> None:
    part, unverified = target.with_name(f"{target.name}.part"), target.with_name(f"{target.name}.unverified")
    if not verify and unverified.is_file():
        os.replace(unverified, target)
        return
    url = _look_up(model, target) if model.index else model.url
    _complete(url, part, model, target, progress)
    if verify:
        digest = _sha256(part)
        if not digest.startswith(model.hash_prefix):
            os.replace(part, unverified)
            _tag(part).unlink(missing_ok=True)
            raise DownloadError(
                f"{url}: the SHA-256 of what arrived begins with {digest[: len(model.hash_prefix)]}, the file's name "
                f"promises {model.hash_prefix}. Run again to download it anew. If that gives the same digits, the "
                f"name may not mean a SHA-256: set CLIP4STR_VERIFY=0 to use the file as it is (kept as {unverified})"
            )
    os.replace(part, target)
    _tag(part).unlink(missing_ok=True)


def _complete(url: str, part: Path, model: PublishedModel, target: Path, progress: bool) -> None:
    """Connect until the whole file is there, as long as each of a few connections brings something."""
    fruitless, arrived = 0, False
    while True:
        before = _size(part)
        try:
            _transfer(url, part, model.name, progress)
            return
        except urllib.error.HTTPError as error:
            if error.code == 416:  # there is nothing after what has arrived
                if error.headers.get("Content-Range") == f"bytes */{_size(part)}":
                    return
                part.unlink(missing_ok=True)
            elif error.code not in (408, 425, 429) and error.code < 500:
                _give_up(model, target, url, f"the server answers {error.code} {error.reason}", error)
            reason: Exception = error
        except urllib.error.URLError as error:
            if not arrived:
                _give_up(model, target, url, f"no connection ({error.reason})", error)
            reason = error
        except _CutError as error:
            reason = error
        gained = _size(part) > before
        arrived |= gained
        fruitless = 0 if gained else fruitless + 1
        if fruitless == FRUITLESS_ATTEMPTS:
            _give_up(model, target, url, f"the connection breaks again and again ({reason})", reason)
        logger.warning("%s: interrupted after %d bytes (%s), connecting again", url, _size(part), reason)
        time.sleep(PAUSE * fruitless)


def _transfer(url: str, part: Path, name: str, progress: bool) -> None:
    """Get what is missing of the file over one connection; raise if that was not all."""
    from tqdm import tqdm

    start, tag = _size(part), _tag(part)
    headers = {"User-Agent": "clip4str-plugin", "Accept-Encoding": "identity"}
    validator = tag.read_text(encoding="utf-8") if start and tag.is_file() else ""
    if validator:
        # If-Range: the rest, but only of the same file; else the server sends all of the new one.
        headers |= {"Range": f"bytes={start}-", "If-Range": validator}
    with _connect(url, headers) as response:
        span = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
        if response.status == 206 and span and int(span[1]) == start:
            total = int(span[2]) if span[2].isdigit() else None
        elif response.status == 206:
            part.unlink()
            raise _CutError(f"asked for the bytes from {start} on, got {response.headers.get('Content-Range')!r}")
        else:
            start, length = 0, response.headers.get("Content-Length")
            total = int(length) if length else None
        with part.open("ab" if start else "wb") as file:
            if not start:  # after truncation, or else an old beginning could get the new tag
                tag.write_text(_validator(response.headers), encoding="utf-8")
            # disable=None: only on a terminal
            bar = tqdm(
                desc=name, total=total, initial=start, unit="B", unit_scale=True, disable=None if progress else True
            )
            with bar:
                while block := _receive(response):
                    file.write(block)
                    bar.update(len(block))
    if total is not None and _size(part) != total:
        raise _CutError(f"got {_size(part)} of {total} bytes")


def _connect(url: str, headers: dict[str, str]) -> Any:
    try:
        return urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT)
    except urllib.error.URLError:
        raise
    except (OSError, http.client.HTTPException) as error:  # connected, but no answer
        raise _CutError(str(error)) from error


def _receive(response: Any) -> bytes:
    # Told apart from the OSErrors of writing, which no other connection can mend.
    try:
        return response.read(_BLOCK)
    except (OSError, http.client.HTTPException) as error:
        raise _CutError(str(error)) from error


def _validator(headers: Any) -> str:
    """Return what If-Range may compare: a strong entity tag or a date; empty if there is none."""
    tag = headers.get("ETag", "")
    return tag if tag.startswith('"') and tag.isascii() else headers.get("Last-Modified", "")


def _look_up(model: PublishedModel, target: Path) -> str:
    """Return the address of the file of a Zenodo record whose name holds the model's hash prefix.

    A record's description lists its files under "files", each with its name ("key") and its address
    ("links", "self"): https://developers.zenodo.org/#records
    """
    assert model.index is not None
    try:
        with urllib.request.urlopen(model.index, timeout=TIMEOUT) as response:
            files = {file["key"]: file["links"]["self"] for file in json.load(response)["files"]}
    except urllib.error.HTTPError as error:
        _give_up(model, target, model.index, f"the server answers {error.code} {error.reason}", error)
    except (OSError, http.client.HTTPException) as error:
        _give_up(model, target, model.index, f"no connection ({getattr(error, 'reason', error)})", error)
    except (ValueError, KeyError, TypeError) as error:
        _give_up(model, target, model.index, f"not the description of a record ({error!r})", error)
    for key, url in files.items():
        if model.hash_prefix in key:
            return url
    _give_up(model, target, model.index, f"no file with {model.hash_prefix} in its name among {sorted(files)}", None)


def _give_up(model: PublishedModel, target: Path, url: str, reason: str, cause: Exception | None) -> NoReturn:
    kept = _size(target.with_name(f"{target.name}.part"))
    raise DownloadError(
        f"{url}: {reason}. Run again when the connection is back{f' ({kept} bytes are kept)' if kept else ''}, or get "
        f"the file with {model.hash_prefix} in its name from {model.url} and put it at {target}"
    ) from cause


def _tag(part: Path) -> Path:
    return part.with_name(f"{part.name}.tag")


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
