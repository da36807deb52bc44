"""Downloads against a local server: whole, cut, resumed, changed, damaged, refused, twice at once, offline."""

import hashlib
import json
import multiprocessing
import os
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import MappingProxyType

import pytest

from clip4str_plugin import load_model
from clip4str_plugin.errors import CheckpointError, DownloadError
from clip4str_plugin.model import download
from clip4str_plugin.model.download import cache_dir, fetch
from clip4str_plugin.model.published import PUBLISHED, PublishedModel

CONTENT = bytes(range(256)) * 4000  # a megabyte
PREFIX = hashlib.sha256(CONTENT).hexdigest()[:10]


class Server(ThreadingHTTPServer):
    """Serves ``content`` at any path, misbehaving as told; ``ranges`` lists what was asked for."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = CONTENT
        self.etag = '"v1"'
        self.cuts = []  # of the next answers: how many bytes of the body are sent
        self.statuses = []  # of the next answers
        self.resumable = True
        self.honest_length = True
        self.ranges = []
        self.url = f"http://127.0.0.1:{self.server_port}/"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        server = self.server
        server.ranges.append(self.headers.get("Range"))
        status = server.statuses.pop(0) if server.statuses else 200
        if status != 200:
            self.send_error(status)
            return
        size, start = len(server.content), 0
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if asked and server.resumable and self.headers.get("If-Range") == server.etag:
            start = int(asked[1])
            if start >= size:
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{size}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        else:
            self.send_response(200)
        if server.etag:
            self.send_header("ETag", server.etag)
        if server.honest_length:
            self.send_header("Content-Length", str(size - start))
        self.send_header("Connection", "close")
        self.end_headers()
        body = server.content[start:]
        self.wfile.write(body[: server.cuts.pop(0)] if server.cuts else body)
        self.close_connection = True

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("CLIP4STR_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("CLIP4STR_VERIFY", raising=False)
    monkeypatch.setattr(download, "PAUSE", 0.0)
    return tmp_path / "cache"


def model_at(url, hash_prefix=PREFIX, index=None):
    return PublishedModel(
        name="test",
        geometry="base16",
        encoder="",
        training_data="",
        url=url,
        filename=f"test_{hash_prefix}.ckpt",
        hash_prefix=hash_prefix,
        accuracy=MappingProxyType({}),
        index=index,
    )


def leftovers(cache):
    return sorted(p.name for p in cache.iterdir() if p.suffix != ".lock")


def test_cache_dir(monkeypatch, tmp_path):
    assert cache_dir() == tmp_path / "cache"
    monkeypatch.delenv("CLIP4STR_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_dir() == tmp_path / "xdg" / "clip4str"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_dir() == tmp_path / ".cache" / "clip4str"


def test_whole_file_once(server, cache, capfd):
    model = model_at(server.url)
    path = fetch(model)
    assert path.read_bytes() == CONTENT
    assert leftovers(cache) == [model.filename]
    assert fetch(model) == path
    assert server.ranges == [None]
    assert capfd.readouterr() == ("", "")  # no progress bar where nobody watches


def test_cut_connection_is_resumed(server, cache):
    server.cuts = [300_000, 200_000]
    assert fetch(model_at(server.url)).read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=300000-", "bytes=500000-"]
    assert len(leftovers(cache)) == 1


def test_server_error_is_tried_again(server):
    server.statuses = [503, 429]
    assert fetch(model_at(server.url)).read_bytes() == CONTENT


def test_part_survives_the_process(server, cache):
    server.cuts = [400_000, 0, 0, 0]
    with pytest.raises(DownloadError, match="400000 bytes are kept"):
        fetch(model_at(server.url))
    assert [p for p in leftovers(cache) if p.endswith(".ckpt")] == []
    server.cuts = []
    assert fetch(model_at(server.url)).read_bytes() == CONTENT
    assert server.ranges[-1] == "bytes=400000-"


def test_complete_part_is_not_fetched_again(server, cache):
    model = model_at(server.url)
    cache.mkdir()
    (cache / f"{model.filename}.part").write_bytes(CONTENT)
    (cache / f"{model.filename}.part.tag").write_text(server.etag)
    assert fetch(model).read_bytes() == CONTENT
    assert server.ranges == [f"bytes={len(CONTENT)}-"]


def test_too_long_part_starts_over(server, cache):
    model = model_at(server.url)
    cache.mkdir()
    (cache / f"{model.filename}.part").write_bytes(CONTENT + b"more")
    (cache / f"{model.filename}.part.tag").write_text(server.etag)
    assert fetch(model).read_bytes() == CONTENT


def test_changed_file_starts_over(server):
    old = bytes(len(CONTENT))
    server.content, server.etag, server.cuts = old, '"v0"', [400_000, 0, 0, 0]
    with pytest.raises(DownloadError):
        fetch(model_at(server.url))
    server.content, server.etag, server.cuts = CONTENT, '"v1"', []
    assert fetch(model_at(server.url)).read_bytes() == CONTENT


@pytest.mark.parametrize("etag", ['W/"weak"', ""])
def test_without_a_strong_tag_starts_over(server, etag):
    server.etag, server.cuts = etag, [400_000]
    assert fetch(model_at(server.url)).read_bytes() == CONTENT
    assert server.ranges == [None, None]


def test_server_without_ranges(server):
    server.resumable, server.cuts = False, [400_000]
    assert fetch(model_at(server.url)).read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=400000-"]


def test_server_without_length(server):
    server.honest_length = False
    assert fetch(model_at(server.url)).read_bytes() == CONTENT


def test_wrong_hash(server, cache, monkeypatch):
    model = model_at(server.url, hash_prefix="0123456789")
    with pytest.raises(DownloadError) as raised:
        fetch(model)
    for fact in (server.url, PREFIX, "0123456789", "CLIP4STR_VERIFY=0"):
        assert fact in str(raised.value)
    assert not (cache / model.filename).exists()

    with pytest.raises(DownloadError, match="SHA-256"):  # damaged for good, so fetched anew
        fetch(model)
    assert server.ranges == [None, None]

    monkeypatch.setenv("CLIP4STR_VERIFY", "0")
    assert fetch(model).read_bytes() == CONTENT
    assert server.ranges == [None, None]  # what had arrived was used
    assert leftovers(cache) == [model.filename]


def test_unverified_from_the_start(server):
    assert fetch(model_at(server.url, hash_prefix="0123456789"), verify=False).read_bytes() == CONTENT


@pytest.mark.parametrize("status", [404, 403])
def test_refused(server, cache, status):
    server.statuses = [status]
    with pytest.raises(DownloadError) as raised:
        fetch(model_at(server.url))
    assert f"answers {status}" in str(raised.value)
    assert str(cache / f"test_{PREFIX}.ckpt") in str(raised.value)
    assert len(server.ranges) == 1


def test_offline(server, cache):
    url = server.url
    server.server_close()
    with pytest.raises(DownloadError) as raised:
        fetch(model_at(url))
    assert f"{url}: no connection" in str(raised.value)
    assert f"put it at {cache / f'test_{PREFIX}.ckpt'}" in str(raised.value)


def test_file_put_by_hand_is_used(cache):
    model = model_at("http://127.0.0.1:9/")
    cache.mkdir()
    (cache / model.filename).write_bytes(b"by hand")
    assert fetch(model).read_bytes() == b"by hand"


def test_cache_that_cannot_be_written(server, cache):
    cache.write_text("a file where the folder should be")
    with pytest.raises(DownloadError, match="CLIP4STR_CACHE"):
        fetch(model_at(server.url))


def _fetch_in_process(url, results):
    results.put(fetch(model_at(url)).read_bytes() == CONTENT)


def test_two_processes_share_one_download(server):
    server.cuts = [500_000]
    context = multiprocessing.get_context("fork" if os.name == "posix" else "spawn")
    results = context.Queue()
    processes = [context.Process(target=_fetch_in_process, args=(server.url, results)) for _ in range(2)]
    for process in processes:
        process.start()
    assert [results.get(timeout=60) for _ in processes] == [True, True]
    for process in processes:
        process.join()
    assert server.ranges == [None, "bytes=500000-"]


# ---- Zenodo ------------------------------------------------------------------------------------------------


@pytest.fixture
def record(server):
    return lambda names: json.dumps(
        {"files": [{"key": name, "links": {"self": f"{server.url}files/{name}/content"}} for name in names]}
    ).encode()


def test_address_is_looked_up(server, record, monkeypatch):
    pages = {"/api": record(["other_aaaaaaaaaa.ckpt", f"large_{PREFIX}.ckpt"])}
    served = []

    def do_get(handler, original=Handler.do_GET):
        served.append(handler.path)
        server.content = pages.get(handler.path, CONTENT)
        original(handler)

    monkeypatch.setattr(Handler, "do_GET", do_get)
    model = model_at("https://example.org/page", index=f"{server.url}api")
    assert fetch(model).read_bytes() == CONTENT
    assert served == ["/api", f"/files/large_{PREFIX}.ckpt/content"]


@pytest.mark.parametrize("description", [b"<html>", b"[]", b'{"files": [{}]}'])
def test_strange_description(server, description):
    server.content = description
    with pytest.raises(DownloadError, match=r"not the description of a record.* https://example\.org/page"):
        fetch(model_at("https://example.org/page", index=server.url))


def test_file_missing_from_record(server, record):
    server.content = record(["other_aaaaaaaaaa.ckpt"])
    with pytest.raises(DownloadError, match=rf"no file with {PREFIX} .*other_aaaaaaaaaa\.ckpt"):
        fetch(model_at("https://example.org/page", index=server.url))


# ---- by name -----------------------------------------------------------------------------------------------


def test_load_model_fetches_by_name(server, cache, monkeypatch, golden_checkpoint):
    server.content = golden_checkpoint.read_bytes()
    model = model_at(server.url, hash_prefix=hashlib.sha256(server.content).hexdigest()[:10])
    monkeypatch.setattr("clip4str_plugin.model.published.PUBLISHED", {**PUBLISHED, "base16-test": model})
    assert load_model("base16-test").config.embed_dim == 64
    assert leftovers(cache) == [model.filename]
    with pytest.raises(CheckpointError, match="base16-test"):  # known names are listed
        load_model("base16-tset")
