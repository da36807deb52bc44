"""The child process that decodes files that may be hostile: limited in memory, and killed when it takes too long.

It is started by `clip4str_plugin.io.decoder_pool` and talks over its standard streams. Each message is a line of JSON,
which says how many bytes follow it.
"""

from __future__ import annotations

import io
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import IO, Any

from clip4str_plugin.errors import ImageError
from clip4str_plugin.io.decoding import Decoding, PageImage, decode

__all__ = ["OUT_OF_MEMORY", "serve"]

OUT_OF_MEMORY = 77
"""The exit status of a child that got no more memory."""

# A child that has grown to more than this, or has decoded so many files, is not used again.
_MOST_BYTES = 400_000_000
_MOST_FILES = 200


def serve() -> None:
    """Decode one file after another until the other side closes the stream."""
    if hasattr(signal, "SIGINT"):
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C is for the parent, which ends this process
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what a library prints must not get between the answers
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
    _send(answers, {"ready": True})
    for number in range(1, _MOST_FILES + 1):
        line = requests.readline()
        if not line:
            return
        try:
            _answer(json.loads(line), requests, answers)
        except MemoryError:
            os._exit(OUT_OF_MEMORY)
        again = number < _MOST_FILES and _memory()[1] < _MOST_BYTES
        _send(answers, {"end": True, "again": again})


def _answer(request: dict[str, Any], requests: IO[bytes], answers: IO[bytes]) -> None:
    content = requests.read(request["size"])
    _limit_memory(request["memory"])
    try:
        with io.BytesIO(content) if request["path"] is None else Path(request["path"]).open("rb") as file:
            how = Decoding(**request["how"])
            for page in decode(file, request["source"], how, request["first"], lambda n: _send(answers, {"count": n})):
                if isinstance(page, PageImage):
                    pixels = memoryview(page.pixels.data).cast("B")
                    shape = list(page.pixels.shape)
                    _send(answers, {"index": page.index, "shape": shape, "dpi": page.dpi, "size": len(pixels)}, pixels)
                else:
                    _send(answers, {"index": page.index, "error": page.error})
    except (ImageError, OSError) as error:
        _send(answers, {"index": None, "error": f"{request['source']}: {error}"})


def _send(answers: IO[bytes], message: dict[str, Any], content: memoryview | bytes = b"") -> None:
    answers.write(json.dumps(message).encode() + b"\n")
    answers.write(content)
    answers.flush()


def _limit_memory(more: int) -> None:
    """Let this process have so many bytes more than it has now; without effect where the system cannot do that."""
    try:
        import resource

        limit = (_memory()[0] or _MOST_BYTES) + more
        resource.setrlimit(resource.RLIMIT_AS, (limit, resource.getrlimit(resource.RLIMIT_AS)[1]))
    except (ImportError, OSError, OverflowError, ValueError):
        pass


def _memory() -> tuple[int, int]:
    """Bytes of this process: of its addresses, and in memory; 0 where the system does not tell."""
    try:
        addresses, resident = Path("/proc/self/statm").read_text().split()[:2]
    except OSError:
        return 0, 0
    size = os.sysconf("SC_PAGE_SIZE")
    return int(addresses) * size, int(resident) * size


def _end_with_parent(parent: int) -> None:
    # The parent closes the stream or kills this process; but it may have been killed itself.
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)
