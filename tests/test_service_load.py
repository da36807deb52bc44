"""A real server, several clients at once, and clients that behave badly."""

import gc
import http.client
import json
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

pytest.importorskip("fastapi", reason="the service needs the extra [serve]")
pytest.importorskip("prometheus_client", reason="the service needs the extra [serve]")

from clip4str_plugin.service import Limits, server
from tests.service_helpers import (
    ColourRecognizer,
    StripeDetector,
    encode,
    eventually,
    make_app,
    random_page,
    serving,
    texts,
)

LIMITS = Limits(max_upload=200_000, max_pixels=100_000, max_pages=3, queue=2, workers=2, timeout=60.0, stall=0.5)


def load(client):
    health = client.get("/health").json()
    return health["reading"], health["waiting"]


def post(client, content, **query):
    return client.post("/read", params=query, content=content)


def raw(client):
    return socket.create_connection((client.base_url.host, client.base_url.port), 20)


HEAD = b"POST /read HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"


def test_several_clients_share_batches_and_get_their_own_words():
    limits, recognizer = Limits(queue=16, workers=4), ColourRecognizer()
    recognizer.seconds = 0.05  # so that crops meet
    pages = [random_page(seed, words=3) for seed in range(16)]
    app = make_app(limits, recognizer=recognizer)
    recognizer.batches.clear()
    with serving(app, limits) as client, ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda page: post(client, encode(page[0])).json(), pages))
    assert [texts(answer[0]) for answer in answers] == [words for _, words in pages]
    assert sum(recognizer.batches) == 48
    assert max(recognizer.batches) > 3, "no batch was shared"


def test_a_full_queue_refuses_until_there_is_room():
    detector = StripeDetector()
    app = make_app(LIMITS, detector=detector)
    detector.gate.clear()
    pixels, words = random_page(1)
    with serving(app, LIMITS) as client, ThreadPoolExecutor(4) as threads:
        answers = [threads.submit(post, client, encode(pixels)) for _ in range(4)]
        eventually(lambda: load(client) == (2, 2))
        assert "clip4str_requests_receiving 0.0" in client.get("/metrics").text
        refused = post(client, encode(pixels))
        assert refused.status_code == 429
        assert 1 <= int(refused.headers["retry-after"]) <= 60
        assert "try again later" in refused.json()["error"]
        detector.gate.set()
        assert [texts(answer.result().json()[0]) for answer in answers] == [words] * 4
        eventually(lambda: load(client) == (0, 0))
        assert post(client, encode(pixels)).status_code == 200


def test_clients_that_leave_give_their_places_back():
    detector = StripeDetector()
    app = make_app(LIMITS, detector=detector)
    detector.gate.clear()
    detector.entered.clear()
    content = encode(random_page(1)[0])
    with serving(app, LIMITS) as client:
        leavers = [raw(client) for _ in range(4)]
        for leaver in leavers:
            leaver.sendall(HEAD % len(content) + content)
        eventually(lambda: load(client) == (2, 2))
        for leaver in leavers:
            leaver.close()
        # Those that waited go at once, those that are read when detection is through.
        eventually(lambda: load(client) == (2, 0))
        detector.gate.set()
        eventually(lambda: load(client) == (0, 0))
        assert 'clip4str_requests_total{status="499"} 4.0' in client.get("/metrics").text


def test_requests_time_out():
    limits = Limits(timeout=0.3, workers=1)
    detector = StripeDetector()
    app = make_app(limits, detector=detector)
    detector.gate.clear()
    with serving(app, limits) as client:
        answer = post(client, encode(random_page(1)[0]), name="slow.png")
        assert answer.status_code == 504
        assert answer.json()["error"].startswith("slow.png: was not read within 0.3 seconds; ")
        detector.gate.set()
        eventually(lambda: load(client) == (0, 0))


@pytest.mark.slow
def test_pages_are_streamed_and_a_time_out_is_the_last_line():
    limits = Limits(timeout=1.0, workers=1)
    detector = StripeDetector()
    app = make_app(limits, detector=detector)
    pages = [random_page(seed) for seed in range(2)]
    calls = []
    detect = detector._detect

    def second_page_hangs(page):
        calls.append(page)
        if len(calls) == 2:
            detector.gate.clear()
            assert detector.gate.wait(30)
        return detect(page)

    detector._detect = second_page_hangs
    with serving(app, limits) as client:
        content = encode(*(pixels for pixels, _ in pages), format="TIFF")
        with client.stream("POST", "/read?format=jsonl", content=content) as answer:
            assert answer.status_code == 200
            first, last = (json.loads(line) for line in answer.iter_lines())
        detector.gate.set()
    assert texts(first) == pages[0][1]
    assert list(last) == ["image", "error"]
    assert "within 1 seconds" in last["error"]


def test_an_upload_that_stops_is_given_up():
    with serving(make_app(LIMITS), LIMITS) as client, raw(client) as hanging:
        hanging.sendall(HEAD % 1000 + b"abc")
        answer = b""
        while b"}" not in answer and (part := hanging.recv(4096)):
            answer += part
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"3 bytes came; send it again" in answer


def test_uploads_under_way_are_bounded():
    limits = Limits(queue=0, workers=1, stall=30.0)
    with serving(make_app(limits), limits) as client, raw(client) as hanging:
        hanging.sendall(HEAD % 1000 + b"abc")
        eventually(lambda: "clip4str_requests_receiving 1.0" in client.get("/metrics").text)
        assert post(client, b"x").status_code == 429
        hanging.close()
        eventually(lambda: "clip4str_requests_receiving 0.0" in client.get("/metrics").text)
        assert post(client, b"x").status_code == 422


@pytest.mark.slow
def test_connections_that_send_no_request_are_dropped(monkeypatch):
    monkeypatch.setattr(server, "_HEAD_SECONDS", 1.0)
    with serving(make_app(LIMITS), LIMITS) as client:
        with raw(client) as silent, raw(client) as slow:
            slow.sendall(b"GET /health HT")
            with suppress(ConnectionResetError):  # which is an end as well
                assert silent.recv(10) == b""
            with suppress(ConnectionResetError):
                assert slow.recv(10) == b""
        # One that is answered in time lives on, beyond that time in all.
        patient = http.client.HTTPConnection(client.base_url.host, client.base_url.port)
        ports = set()
        for _ in range(4):
            patient.request("GET", "/health")
            ports.add(patient.sock.getsockname()[1])
            assert patient.getresponse().read().startswith(b"{")
            time.sleep(0.4)
        patient.close()
        assert len(ports) == 1


def test_stopping_is_clean_while_clients_hang():
    earlier = set(threading.enumerate())
    detector = StripeDetector()
    app = make_app(LIMITS, detector=detector)
    pixels, words = random_page(1)
    with ThreadPoolExecutor(1) as threads, serving(app, LIMITS) as client:
        silent = raw(client)
        detector.gate.clear()
        detector.entered.clear()
        address = str(client.base_url.join("/read"))
        answer = threads.submit(httpx.post, address, content=encode(pixels), timeout=60, trust_env=False)
        assert detector.entered.wait(20)
        threading.Timer(0.5, detector.gate.set).start()
    silent.close()
    # The request under way was answered although the server had been told to stop.
    assert texts(answer.result().json()[0]) == words
    eventually(lambda: not [t for t in set(threading.enumerate()) - earlier if t.name.startswith("clip4str-")])


@pytest.mark.slow
def test_bad_uploads_leave_nothing_behind():
    bad = [b"x", b"%PDF-1.7", encode(random_page(1)[0])[:-60], bytes(200_001), b"\x89PNG\r\n\x1a\n" + bytes(500)]
    pixels, words = random_page(2)
    with serving(make_app(LIMITS), LIMITS) as client:

        def numbers():
            gc.collect()
            return len(list(Path("/proc/self/fd").iterdir())), threading.active_count(), len(gc.get_objects())

        for content in bad * 4:
            assert post(client, content).status_code in (413, 422)
        before = numbers()
        for content in bad * 40:
            assert post(client, content).status_code in (413, 422)
        files, threads, objects = numbers()
        assert files <= before[0] + 2
        assert threads <= before[1] + 2
        assert objects < before[2] + 2000
        assert texts(post(client, encode(pixels)).json()[0]) == words


@pytest.mark.slow
def test_the_command_serves_and_stops_on_a_signal():
    """The whole way once: the embedded model, the default detector, a process of its own."""
    command = [sys.executable, "-m", "clip4str_plugin.cli", "serve", "--port", "0", "--threads", "1"]
    photo = Path(__file__).parent.parent / "examples" / "photos" / "railroad_crossing.png"
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        address = process.stdout.readline().split()[2]
        answer = httpx.post(f"{address}read", content=photo.read_bytes(), timeout=120, trust_env=False)
        (record,) = answer.json()
        assert (record["width"], record["height"]) == (289, 600)
        assert any("RAIL" in word.upper() for word in texts(record)), texts(record)
    finally:
        process.terminate()
        status = process.wait(60)
    assert status == -15
