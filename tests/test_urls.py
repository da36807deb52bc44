import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from clip4str_plugin.errors import ImageError
from clip4str_plugin.io.images import PageImage, read_pages
from clip4str_plugin.io.urls import fetch_url, is_url
from tests.test_cli import fakes, run  # noqa: F401  # fixtures

PHOTO = Path(__file__).parent.parent / "examples" / "photos" / "biscuit_tin.jpg"


class Handler(BaseHTTPRequestHandler):
    """Serves one photo in good ways and bad."""

    def do_GET(self):
        content = PHOTO.read_bytes()
        path = self.path.partition("?")[0]
        if path == "/moved":
            return self.redirect("/photo.jpg")
        if path == "/ftp":
            return self.redirect("ftp://127.0.0.1/photo.jpg")
        if path == "/loop":
            return self.redirect("/loop")
        if path == "/missing":
            return self.send_error(404)
        self.send_response(200)
        if path == "/cut":
            self.send_header("Content-Length", str(len(content) + 1))
        elif path == "/photo.jpg":
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if path == "/drip":
            while not self.server.ending.wait(0.05):
                self.wfile.write(b"x")
        elif path == "/silent":
            self.server.ending.wait(10)
        elif path != "/empty":
            self.wfile.write(content)

    def redirect(self, target):
        self.send_response(302)
        self.send_header("Location", target)
        self.end_headers()

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def site():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.handle_error = lambda *args: None  # clients that leave are the point of some tests
    server.ending = threading.Event()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.ending.set()
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.mark.parametrize("path", ["/photo.jpg", "/moved", "/photo.jpg?size=1", "/unknown-length"])
def test_a_photo_is_fetched_and_read(site, path):
    (page,) = read_pages(site + path, allow_url=True)
    assert isinstance(page, PageImage)
    assert page.source == site + path
    (same,) = read_pages(PHOTO)
    assert (page.pixels == same.pixels).all()


def test_nothing_is_fetched_unless_allowed(site):
    (page,) = read_pages(site + "/photo.jpg")
    assert page.error == f"{site}/photo.jpg: is a URL; --allow-url (allow_url=True) permits fetching it"


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/missing", "the server answers 404"),
        ("/empty", "empty file"),
        ("/cut", "broke off after"),
        ("/ftp", "which is no web address"),
        ("/loop", "infinite loop"),
        ("/silent", "the server does not answer"),
        ("/drip", "took longer than 0.5 seconds"),
    ],
)
def test_bad_answers_are_one_line(site, path, message):
    begin = time.monotonic()
    with pytest.raises(ImageError, match=message) as error:
        fetch_url(site + path, seconds=0.5, silence=0.3)
    assert "\n" not in str(error.value)
    assert time.monotonic() - begin < 5


@pytest.mark.parametrize("path", ["/photo.jpg", "/unknown-length"])
def test_size_is_bounded(site, path):
    with pytest.raises(ImageError, match="more than the 1,000 that are fetched at most"):
        fetch_url(site + path, max_bytes=1000)


@pytest.mark.parametrize("url", ["http://", "http://[", "http://127.0.0.1:99999/a.png", "http://a b/c.png"])
def test_broken_addresses(url):
    (page,) = read_pages(url, allow_url=True)
    assert page.error.startswith(f"{url}: cannot be fetched (")


def test_nobody_listens():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, not listening
        with pytest.raises(ImageError, match="cannot be fetched"):
            fetch_url(f"http://127.0.0.1:{taken.getsockname()[1]}/a.png")


@pytest.mark.parametrize(
    ("path", "expected"),
    [("http://a/b.png", True), ("HTTPS://a", True), ("ftp://a", False), ("http:/a", False), ("a/http://b", False)],
)
def test_what_is_a_url(path, expected):
    assert is_url(path) is expected


def test_command_line(site, run):  # noqa: F811
    url = f"{site}/photo.jpg"
    status, output, errors = run("read", url)
    assert (status, output) == (1, "")
    assert errors == f"error: {url}: is a URL; --allow-url (allow_url=True) permits fetching it\n"
    status, output, errors = run("read", url, "--allow-url")
    assert (status, errors) == (0, "")
    assert "x" in output
