import csv
import io
import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="the service needs the extra [serve]")
pytest.importorskip("prometheus_client", reason="the service needs the extra [serve]")

import pypdfium2
from fastapi.testclient import TestClient

from clip4str_plugin.cli import main
from clip4str_plugin.io.writers import FORMATS
from clip4str_plugin.service import Limits
from clip4str_plugin.service.jobs import MEDIA_TYPES
from tests.service_helpers import ColourRecognizer, StripeDetector, encode, make_app, random_page, texts
from tests.test_images import png_header

LIMITS = Limits(max_upload=200_000, max_pixels=100_000, max_pages=3, queue=2, workers=2, timeout=60.0, stall=5.0)


@pytest.fixture(scope="module")
def client():
    with TestClient(make_app(LIMITS), "http://localhost") as client:
        yield client


@pytest.fixture(scope="module")
def page():
    return random_page(1)


def post(client, content, **query):
    return client.post("/read", params=query, content=content)


def error_of(response, status):
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    record = response.json()
    assert list(record) == ["error"]
    assert "\n" not in record["error"]
    return record["error"]


# ---------------------------------------------------------------- answers


def test_a_body_that_is_a_file(client, page):
    pixels, words = page
    response = post(client, encode(pixels), name="sign.png")
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    (record,) = response.json()
    assert list(record) == ["image", "page", "width", "height", "words", "left_out", "seconds"]
    assert (record["image"], record["page"], record["width"], record["height"]) == ("sign.png", 0, 60, 50)
    assert texts(record) == words
    assert record["words"][1] == {
        "text": words[1], "confidence": 0.875, "polygon": [[0, 10], [60, 10], [60, 20], [0, 20]], "line": 1
    }  # fmt: skip
    assert set(record["seconds"]) == {"detect", "rectify", "recognize"}


def test_a_form_with_several_files(client):
    pages = [random_page(seed) for seed in range(3)]
    files = [("file", (f"{i}.png", encode(pixels), "image/png")) for i, (pixels, _) in enumerate(pages)]
    records = client.post("/read", files=files).json()
    assert [record["image"] for record in records] == ["0.png", "1.png", "2.png"]
    assert [texts(record) for record in records] == [words for _, words in pages]


def test_names_of_files_are_names_only(client, page):
    files = {"file": ("C:\\fake\\..\\a.png", encode(page[0]), "image/png")}
    assert client.post("/read", files=files).json()[0]["image"] == "a.png"


@pytest.mark.parametrize("format", ["TIFF", "PDF"])
def test_every_page_of_a_document(client, format):
    pages = [random_page(seed, width=72) for seed in range(3)]
    options = {"resolution": 72, "quality": 100} if format == "PDF" else {}
    content = encode(*(pixels for pixels, _ in pages), format=format, **options)
    records = post(client, content, dpi=72).json()
    assert [record["page"] for record in records] == [0, 1, 2]
    assert [(record["width"], record["height"]) for record in records] == [(72, 50)] * 3
    if format == "TIFF":  # PDFs hold JPEGs, whose colours are not to the bit
        assert [texts(record) for record in records] == [words for _, words in pages]


def test_all_formats_are_offered():
    assert set(MEDIA_TYPES) == set(FORMATS)


def test_other_formats(client, page):
    pixels, words = page
    content = encode(pixels)
    answers = {format: post(client, content, format=format, name="a.png") for format in MEDIA_TYPES}
    for format, answer in answers.items():
        assert answer.status_code == 200
        assert answer.headers["content-type"] == MEDIA_TYPES[format]
    assert answers["text"].text.split() == words
    assert texts(json.loads(answers["jsonl"].text)) == words
    assert [row["text"] for row in csv.DictReader(io.StringIO(answers["csv"].text))] == words
    for format, tag, read in [
        ("hocr", "{http://www.w3.org/1999/xhtml}span[@class='ocrx_word']", lambda element: element.text),
        ("alto", "{*}String", lambda element: element.get("CONTENT")),
        ("page", "{*}Word", lambda element: element.findtext("{*}TextEquiv/{*}Unicode")),
    ]:
        root = ElementTree.fromstring(answers[format].content)
        assert [read(element) for element in root.iterfind(f".//{tag}")] == words
    document = pypdfium2.PdfDocument(answers["pdf"].content)
    assert document[0].get_textpage().get_text_range().split() == words
    assert answers["pdf"].headers["content-disposition"] == "attachment; filename*=utf-8''a.ocr.pdf"


def test_previews_for_the_page(client):
    from base64 import b64decode

    from PIL import Image

    (line,) = post(client, encode(np.zeros((100, 200, 3), np.uint8)), format="jsonl", preview=64).text.splitlines()
    kind, _, data = json.loads(line)["preview"].partition(",")
    assert kind == "data:image/jpeg;base64"
    assert Image.open(io.BytesIO(b64decode(data))).size == (64, 32)


def test_a_page_that_fails_does_not_cost_the_others(client):
    pixels, words = random_page(3)
    files = [("file", ("bad.png", b"no picture", "image/png")), ("file", ("good.png", encode(pixels), "image/png"))]
    bad, good = client.post("/read", files=files).json()
    assert bad == {
        "image": "bad.png",
        "error": "bad.png: is neither an image nor a PDF that can be read here; save it as JPEG, PNG or PDF",
    }
    assert texts(good) == words
    lines = client.post("/read?format=jsonl", files=files).text.splitlines()
    assert [list(json.loads(line))[:2] for line in lines] == [["image", "error"], ["image", "page"]]
    # Text has no room for what went wrong.
    error = error_of(client.post("/read?format=text", files=files), 422)
    assert error.startswith("bad.png: ")
    assert "format=jsonl" in error


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize("format", ["json", "jsonl", "text", "pdf"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no picture", "x.png: is neither an image nor a PDF"),
        (b"%PDF-1.7 nothing", "x.png: the PDF is damaged"),
        (
            png_header(20_000, 20_000),
            "x.png: is larger than 0.1 megapixels; shrink it",
        ),
        (png_header(400, 400), "x.png: has 400 x 400 pixels, more than the limit of 0.1 megapixels; shrink it"),
        (encode(random_page(1)[0])[:-60], "x.png: is damaged or cut short"),
    ],
)
def test_files_that_cannot_be_read(client, content, message, format):
    error = error_of(post(client, content, format=format, name="x.png"), 422)
    assert error.startswith(message)


def test_what_the_detector_fails_on_is_our_fault(client):
    error = error_of(post(client, encode(random_page(1, width=13)[0]), name="x.png"), 500)
    assert error == "x.png: no text could be detected: RuntimeError: thirteen"


@pytest.mark.parametrize("format", ["TIFF", "PDF"])
def test_pages_are_bounded_before_any_is_read(client, format):
    content = encode(*[random_page(1)[0]] * 4, format=format)
    error = error_of(post(client, content, name="long"), 422)
    assert error.startswith("long: has 4 pages, more than the limit of 3; split it")


def test_pages_are_bounded_over_all_files(client):
    content = encode(*[random_page(1)[0]] * 2, format="TIFF")
    files = [("file", (f"{i}.tif", content, "image/tiff")) for i in range(2)]
    assert "more than 3 pages" in error_of(client.post("/read", files=files), 413)


def test_pages_of_a_pdf_are_bounded_by_pixels(client):
    content = encode(random_page(1, width=200)[0], format="PDF", resolution=20)
    assert "--dpi" in error_of(post(client, content, dpi=300), 422)


def test_uploads_are_bounded(client):
    error = error_of(post(client, bytes(200_001)), 413)
    assert "200,000 bytes" in error
    # Without a length given in advance, and within a form.
    assert "--max-upload" in error_of(post(client, (bytes(1000) for _ in range(201))), 413)
    files = {"file": ("a.png", bytes(200_001), "image/png")}
    assert "--max-upload" in error_of(client.post("/read", files=files), 413)


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"content": b""}, "the request holds no file; send the image or PDF as the body"),
        ({"data": {"file": "text"}, "files": {"other": ("a.png", b"x")}}, "that is no file"),
        ({"files": {"other": ("a.png", b"x")}}, "the field 'other'"),
        ({"content": b"x", "headers": {"content-type": "multipart/form-data"}}, "Missing boundary"),
        ({"content": b"x", "headers": {"content-type": "multipart/form-data; boundary=a"}}, "the form cannot be read"),
        ({"files": [("file", (f"{i}.png", b"x")) for i in range(4)]}, "Too many files"),
        ({"content": b"x", "params": {"format": "docx"}}, "format='docx': "),
        ({"content": b"x", "params": {"dpi": "10000"}}, "dpi='10000': "),
        ({"content": b"x", "params": {"preview": "64"}}, "preview=64 goes with format=jsonl only"),
    ],
)
def test_malformed_requests(client, request_, message):
    assert message in error_of(client.post("/read", **request_), 400)


def test_unknown_addresses_say_what_there_is(client):
    assert error_of(client.get("/nothing"), 404).startswith("GET /nothing: not found; ")
    assert "POST" in error_of(client.get("/read"), 405)


# ---------------------------------------------------------------- around it


def test_health_tells_the_limits(client):
    record = client.get("/health").json()
    assert record["status"] == "ok"
    assert record["limits"] == {"upload_bytes": 200_000, "page_pixels": 100_000, "pages": 3, "queue": 2, "seconds": 60}


def test_metrics_count(page):
    def numbers():
        lines = client.get("/metrics").text.splitlines()
        return {name: float(value) for name, value in (x.rsplit(" ", 1) for x in lines if not x.startswith("#"))}

    with TestClient(make_app(LIMITS), "http://localhost") as client:
        before = numbers()
        post(client, encode(page[0]))
        post(client, b"no picture")
        after = numbers()
    assert after['clip4str_requests_total{status="200"}'] == 1
    assert after['clip4str_requests_total{status="422"}'] == 1
    assert after["clip4str_pages_total"] == 1
    assert after["clip4str_words_total"] == 5
    assert after["clip4str_batch_crops_sum"] - before["clip4str_batch_crops_sum"] == 5
    assert after["clip4str_requests_reading"] == 0
    assert after["clip4str_upload_bytes_total"] == len(encode(page[0])) + len(b"no picture")


def test_the_description_names_every_answer(client):
    paths = client.get("/openapi.json").json()["paths"]
    assert set(paths) == {"/read", "/health", "/metrics"}
    assert {"200", "400", "408", "413", "422", "429", "503", "504"} <= set(paths["/read"]["post"]["responses"])
    assert "multipart/form-data" in paths["/read"]["post"]["requestBody"]["content"]


def test_the_page_is_self_contained(client):
    response = client.get("/")
    assert response.headers["content-type"].startswith("text/html")
    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    static = Path(make_app.__globals__["create_app"].__code__.co_filename).parent / "static"
    for file in static.iterdir():
        answer = client.get("/" if file.name == "index.html" else f"/static/{file.name}")
        assert answer.content == file.read_bytes()
        content = file.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert "//" not in content.replace("// ", ""), "an address elsewhere"
        assert "style=" not in content
        assert "eval(" not in content


def test_static_files_are_shipped():
    import tomllib

    project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text(encoding="utf-8"))
    assert "clip4str_plugin.service" in project["tool"]["setuptools"]["packages"]
    assert project["tool"]["setuptools"]["package-data"]["clip4str_plugin.service"] == ["static/*"]


@pytest.mark.parametrize(
    ("bound", "value"), [("max_upload", 0), ("max_pages", 0), ("queue", -1), ("workers", 0), ("timeout", 0.0)]
)
def test_senseless_limits(bound, value):
    with pytest.raises(ValueError, match=f"{bound} is {value}"):
        Limits(**{bound: value})


# ---------------------------------------------------------------- command line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--port", "70000"], "70000 is not from 0 to 65535"),
        (["--queue", "-1"], "-1 is not from 0"),
        (["--max-upload", "much"], "'much' is no whole number such as 25000000 or 25M"),
        (["--timeout", "0"], "timeout is 0.0"),
    ],
)
def test_wrong_options(capfd, arguments, message):
    assert main(["serve", *arguments]) == 2
    assert message in capfd.readouterr().err


def test_an_address_that_is_taken(capfd):
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["serve", "--port", str(port)]) == 1
    assert f"cannot listen on 127.0.0.1 port {port} (Address already in use)" in capfd.readouterr().err


def test_the_command_builds_what_the_options_say(monkeypatch, capfd):
    from clip4str_plugin.cli import options
    from clip4str_plugin.service import server

    seen = {}

    class Server:
        def run(self, sockets):
            seen["port"] = sockets[0].getsockname()[1]

    def build_server(app, limits, log_level):
        seen.update(
            limits=limits, health=TestClient(app, "http://localhost").get("/health").json(), log_level=log_level
        )
        return Server()

    monkeypatch.setattr(options, "build_detector", lambda args: StripeDetector())
    monkeypatch.setattr(options, "build_recognizer", lambda args: ColourRecognizer())
    monkeypatch.setattr(server, "build_server", build_server)
    arguments = ["--port", "0", "--max-upload", "3M", "--max-pixels", "20K", "--queue", "0", "--timeout", "7.5"]
    assert main(["serve", *arguments]) == 0
    assert seen["limits"] == Limits(max_upload=3_000_000, max_pixels=20_000, queue=0, timeout=7.5)
    assert (seen["health"]["detector"], seen["health"]["model"]) == ("auto", "tiny")
    assert f"http://127.0.0.1:{seen['port']}/" in capfd.readouterr().out
