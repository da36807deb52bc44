"""Requests made to harm the service: files without end, other sites' pages, misleading heads; and the end of it."""

import logging
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

pytest.importorskip("fastapi", reason="the service needs the extra [serve]")
pytest.importorskip("prometheus_client", reason="the service needs the extra [serve]")

import httpx
from fastapi.testclient import TestClient

from clip4str_plugin.service import Limits, create_app, server
from clip4str_plugin.service.batching import Batcher, SharedRecognizer
from tests.hostile_files import jpeg_of_many_scans, pdf_that_never_ends
from tests.service_helpers import ColourRecognizer, StripeDetector, encode, make_app, random_page, serving, texts

LIMITS = Limits(max_upload=3_000_000, max_pixels=4_000_000, max_pages=3, queue=4, workers=2, timeout=2.0, stall=2.0)


@pytest.fixture(scope="module")
def client():
    with TestClient(make_app(LIMITS), "http://localhost:8000") as client:
        yield client


@pytest.mark.slow
@pytest.mark.parametrize("content", [pdf_that_never_ends(), jpeg_of_many_scans()], ids=["pdf", "jpeg"])
def test_files_without_end_are_given_up_and_photos_go_on(content):
    pixels, words = random_page(1)
    with serving(make_app(LIMITS), LIMITS) as client, ThreadPoolExecutor(2) as threads:
        begin = time.monotonic()
        slow = [threads.submit(httpx.post, f"{client.base_url}/read", content=content, timeout=60, trust_env=False)
                for _ in range(2)]  # fmt: skip
        time.sleep(0.5)
        # 504: its time is over; 422: a fast processor meets the limit of memory first.
        assert {answer.result().status_code for answer in slow} <= {504, 422}
        assert time.monotonic() - begin < 20
        for _ in range(20):  # the places of those are free as soon as their children are killed
            answer = client.post("/read", content=encode(pixels))
            if answer.status_code != 504:
                break
        assert texts(answer.json()[0]) == words


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8000", "localhost.evil.example", "1.2.3.4.evil"])
def test_names_that_are_not_ours_are_refused(client, host):
    answer = client.get("/health", headers={"Host": host})
    assert answer.status_code == 403
    assert "--allow-host" in answer.json()["error"]


@pytest.mark.parametrize("host", ["localhost", "localhost:8000", "127.0.0.1:8000", "[::1]:8000", "192.168.1.5"])
def test_names_that_are_ours(client, host):
    assert client.get("/health", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    ("origin", "status"),
    [(None, 200), ("http://localhost:8000", 200), ("http://localhost:9000", 403), ("http://evil.example", 403),
     ("null", 403), ("http://localhost:8000.evil.example", 403)],
)  # fmt: skip
def test_pages_of_other_sites_cannot_post(client, origin, status):
    headers = {} if origin is None else {"Origin": origin}
    assert client.post("/read", content=encode(random_page(1)[0]), headers=headers).status_code == status


@pytest.mark.parametrize("charset", ["raw_unicode_escape", "undefined", "punycode", "utf-16", "utf-8"])
def test_names_of_files_are_in_utf_8(client, charset):
    head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a\\\\ud800\xed\xa0\x80.png"\r\n\r\n'
    content = head + encode(random_page(1)[0]) + b"\r\n--x--\r\n"
    answer = client.post(
        "/read?format=jsonl",
        content=content,
        headers={"Content-Type": f"multipart/form-data; boundary=x; charset={charset}"},
    )
    assert answer.status_code == (200 if charset == "utf-8" else 400)
    if charset != "utf-8":
        assert charset in answer.json()["error"]


def test_names_can_be_allowed():
    def status(hosts, **headers):
        app = create_app(StripeDetector(), ColourRecognizer(), LIMITS, hosts=hosts)
        with TestClient(app, "http://localhost") as client:
            return client.post("/read?format=x", headers=headers).status_code

    proxied = {"Host": "127.0.0.1:8000", "Origin": "https://ocr.example.org"}
    assert status((), **proxied) == 403
    assert status(("ocr.example.org",), **proxied) == 400  # let in, and then refused for its format
    assert status(("ocr.example.org",), Host="ocr.example.org") == 400
    assert status(("*",), Host="anything", Origin="http://else.where") == 400


def test_two_lengths_close_the_connection():
    with serving(make_app(LIMITS), LIMITS) as client:
        with socket.create_connection((client.base_url.host, client.base_url.port), 10) as connection:
            connection.sendall(
                b"POST /read HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n"
                b"0\r\n\r\nGET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
            )
            answer = b""
            while part := connection.recv(4096):
                answer += part
        assert answer.startswith(b"HTTP/1.1 400")
        assert answer.count(b"HTTP/1.1") == 1


@pytest.mark.parametrize(
    ("head", "body"),
    [
        (b"Transfer-Encoding: chunked", b"5\r\nhello\r\nnot a length\r\n"),
        (b"Content-Length: 4\r\nTransfer-Encoding: chunked", b"not a length\r\n"),
        (b"Host: evil.example\r\nTransfer-Encoding: chunked", b"5\r\nhello\r\nnot a length\r\n"),
        (b"Content-Length: 9000000", b"much too much"),
        (b"Content-Length: 4", b"word\x00\x01 no request\r\n\r\n"),
    ],
)
@pytest.mark.parametrize("pause", [0.0, 0.2])
def test_what_is_no_http_leaves_no_traceback(head, body, pause, caplog):
    with serving(make_app(LIMITS), LIMITS) as client:
        log = logging.getLogger("uvicorn.error")
        log.setLevel("WARNING")
        log.addHandler(caplog.handler)
        try:
            for path in (b"/read", b"/health"):
                host = b"" if b"Host" in head else b"Host: localhost\r\n"
                with socket.create_connection((client.base_url.host, client.base_url.port), 10) as connection:
                    connection.sendall(b"POST " + path + b" HTTP/1.1\r\n" + host + head + b"\r\n\r\n")
                    time.sleep(pause)
                    try:
                        connection.sendall(body)
                        connection.shutdown(socket.SHUT_WR)
                        while connection.recv(4096):
                            pass
                    except OSError:  # it may be closed by then
                        pass
            assert client.get("/health").status_code == 200
        finally:
            log.removeHandler(caplog.handler)
    assert [record.getMessage() for record in caplog.records if record.exc_info or record.levelname == "ERROR"] == []


@pytest.mark.parametrize("query", ["fromat=pdf", "dpi=200&dpi=300", "format=text&format=json", "x"])
def test_unknown_and_repeated_names_of_the_query(client, query):
    answer = client.post(f"/read?{query}", content=b"x")
    assert answer.status_code == 400
    assert "query" in answer.json()["error"]


@pytest.mark.slow
def test_who_waits_at_the_end_is_told_so(monkeypatch):
    monkeypatch.setattr(server, "_GRACE_SECONDS", 1)
    app = make_app(Limits(workers=1, queue=4))
    with ThreadPoolExecutor(3) as threads, serving(app) as client:
        address = f"{client.base_url}/read"
        answers = [
            threads.submit(httpx.post, address, content=pdf_that_never_ends(), timeout=60, trust_env=False)
            for _ in range(2)
        ]
        upload = threads.submit(httpx.post, address, content=_drip(), timeout=60, trust_env=False)
        time.sleep(1)
        begin = time.monotonic()
    assert time.monotonic() - begin < 12
    for answer in answers:
        assert answer.result().status_code == 503
        assert "being stopped" in answer.result().json()["error"]
    assert upload.result().status_code == 503


def _drip():
    for _ in range(100):
        yield b"x"
        time.sleep(0.2)


def test_the_shared_recognizer_says_as_long_words_as_the_one_behind():
    from clip4str_plugin.reading.long_words import longest_text

    recognizer = ColourRecognizer()
    recognizer.config = type("Config", (), {"max_label_length": 40})
    batcher = Batcher(recognizer)
    assert longest_text(SharedRecognizer(batcher, threading.Event())) == 40
    batcher.close()
