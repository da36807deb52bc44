"""The page of the service in a real browser: Chromium without a window, driven by Selenium."""

import base64
import json
import shutil

import pytest

pytest.importorskip("fastapi", reason="the service needs the extra [serve]")
pytest.importorskip("prometheus_client", reason="the service needs the extra [serve]")
pytest.importorskip("selenium", reason="the page is tested with Selenium: pip install selenium")

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from clip4str_plugin.service import Limits
from tests.service_helpers import StripeDetector, encode, make_app, random_page, serving

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="the page is tested in Chromium: apt-get install chromium chromium-driver"
)

LIMITS = Limits(max_upload=200_000, max_pixels=500_000, max_pages=3, workers=1)


@pytest.fixture(scope="module")
def detector():
    return StripeDetector()


@pytest.fixture(scope="module")
def site(detector):
    with serving(make_app(LIMITS, detector=detector), LIMITS) as client:
        yield str(client.base_url)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    folder = tmp_path_factory.mktemp("chromium")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in ("headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage", "window-size=1200,900"):
        options.add_argument(f"--{argument}")
    options.add_experimental_option("prefs", {"download.default_directory": str(folder)})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    browser.downloads = folder
    yield browser
    browser.quit()


@pytest.fixture
def page(browser, site):
    browser.set_window_size(1200, 900)
    browser.get(f"{site}/")
    yield Driver(browser)
    # The policy forbids what the page does not need; a breach would be said here.
    log = [entry["message"] for entry in browser.get_log("browser")]
    assert not [message for message in log if "status of 4" not in message], log


class Driver:
    """What a person does with the page."""

    def __init__(self, browser):
        self.browser = browser

    def find(self, selector):
        return self.browser.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector):
        return self.browser.find_elements(By.CSS_SELECTOR, selector)

    def run(self, script, *arguments):
        return self.browser.execute_script(script, *arguments)

    def choose(self, path):
        self.find("#file").send_keys(str(path))

    def drop(self, name, content):
        self.run(
            """const [name, data] = arguments;
            const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt());
            const transfer = new DataTransfer();
            transfer.items.add(new File([bytes], name));
            dispatchEvent(new DragEvent("drop", { dataTransfer: transfer, cancelable: true }));""",
            name,
            base64.b64encode(content).decode(),
        )

    def wait(self, condition):
        return WebDriverWait(self.browser, 60, 0.05).until(lambda _: condition())

    def state(self):
        return self.find("body").get_attribute("data-state")

    def arrives(self, state):
        self.wait(lambda: self.state() == state)

    def download(self, name):
        path = self.browser.downloads / name
        self.wait(path.exists)
        return path


def test_it_begins_empty(page):
    assert page.state() == "empty"
    assert page.find("#drop").is_displayed()
    assert not page.find("#result").is_displayed()
    assert not page.find("#error").is_displayed()
    page.wait(lambda: "Up to 0.2 MB, 3 pages." in page.find("#limits").text)


def test_a_photo_is_shown_with_its_words_in_place(page, tmp_path):
    pixels, words = random_page(7, width=120)
    (tmp_path / "sign.png").write_bytes(encode(pixels))
    page.choose(tmp_path / "sign.png")
    page.arrives("result")
    assert page.find("#text").text.split() == words
    assert [word.get_attribute("textContent") for word in page.all("#words span")] == words
    assert len(page.all("#outlines polygon")) == len(words)
    picture = page.find("#stage").rect
    step = picture["height"] / len(words)
    for index, word in enumerate(page.all("#words span")):
        rect = page.run("const r = arguments[0].getBoundingClientRect(); return [r.x, r.y, r.width, r.height]", word)
        expected = (picture["x"], picture["y"] + index * step, picture["width"], step)
        assert rect == pytest.approx(expected, abs=3), index
    assert page.find("#caption").text.startswith("sign.png: 5 words in ")
    page.find("details summary").click()
    rows = [row.text.split() for row in page.all("#table tr")]
    assert rows == [[word, str(line), "87", "%"] for line, word in enumerate(words, 1)]


def test_words_over_the_picture_are_text(page):
    pixels, words = random_page(8)
    page.drop("sign.png", encode(pixels))
    page.arrives("result")
    selected = page.run(
        """const selection = getSelection();
        selection.selectAllChildren(document.getElementById("words"));
        return selection.toString();"""
    )
    assert selected.split() == words
    assert selected.split("\n")[0].strip() == words[0], "each line is a line"


def test_copied_words_have_blanks_and_lines(page):
    page.drop("sign.png", encode(random_page(8)[0]))
    page.arrives("result")
    copied = page.browser.execute_async_script(
        """const [lines, done] = arguments;
        const words = lines.flatMap((line, row) => line.split(" ").map((text, column) => {
          const [x, y] = [column * 100, row * 40];
          return { text, confidence: 0.9, line: row, polygon: [[x, y], [x + 80, y], [x + 80, y + 30], [x, y + 30]] };
        }));
        import(new URL("static/view.js", location)).then(({ show }) => {
          show({ image: "a.png", width: 400, height: 300, words });
          const selection = getSelection();
          selection.selectAllChildren(document.getElementById("words"));
          done(selection.toString());
        }, (error) => done(String(error)));""",
        ["one two three", "four five"],
    )
    assert copied.strip().split("\n") == ["one two three", "four five"]


def test_layers(page):
    page.drop("sign.png", encode(random_page(8)[0]))
    page.arrives("result")
    color = "return getComputedStyle(document.querySelector('#words span')).color"
    assert page.run(color) == "rgb(255, 255, 255)"
    page.find("[value=words]").send_keys(Keys.ARROW_RIGHT)
    assert page.run(color) == "rgba(0, 0, 0, 0)"
    assert page.find("#outlines").is_displayed()
    page.find("[value=outlines]").send_keys(Keys.ARROW_RIGHT)
    assert not page.find("#outlines").is_displayed()


def test_pages_are_turned(page):
    pages = [random_page(seed) for seed in (1, 2)]
    page.drop("long.tif", encode(*(pixels for pixels, _ in pages), format="TIFF"))
    page.arrives("result")
    assert page.find("#place").text == "Page 1 of 2"
    assert not page.find("#previous").is_enabled()
    page.find("#next").send_keys(Keys.ENTER)
    assert page.find("#place").text == "Page 2 of 2"
    assert page.find("#text").text.split() == pages[1][1]
    assert not page.find("#next").is_enabled()


def test_downloads(page):
    import pypdfium2

    pixels, words = random_page(9)
    page.drop("my sign.png", encode(pixels))
    page.arrives("result")
    page.find("#json").click()
    (record,) = json.loads(page.download("my sign.json").read_text())
    assert [word["text"] for word in record["words"]] == words
    assert list(record) == ["image", "page", "width", "height", "words", "seconds"]
    page.find("#pdf").click()
    path = page.download("my sign.ocr.pdf")
    document = pypdfium2.PdfDocument(path)
    assert document[0].get_textpage().get_text_range().split() == words


def test_busy_can_be_cancelled(page, detector):
    detector.gate.clear()
    page.drop("slow.png", encode(random_page(1)[0]))
    page.arrives("busy")
    assert page.find("#progress").text.startswith("Reading slow.png")
    assert page.browser.switch_to.active_element == page.find("#cancel")
    page.find("#cancel").click()
    assert page.state() == "empty"
    detector.gate.set()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no picture", "bad.png: is neither an image nor a PDF that can be read here; save it as JPEG, PNG or PDF"),
        (bytes(200_001), "bad.png has 0.2 MB, more than the 0.2 MB taken here. Shrink it first."),
        (b"", "bad.png is empty (0 bytes). Choose another file."),
    ],
)
def test_errors_say_what_to_do_and_leave_a_way_on(page, content, message):
    page.wait(lambda: page.find("#limits").text)
    page.drop("bad.png", content)
    page.arrives("error")
    assert page.find("#error").text == message
    assert page.find("#error").get_attribute("role") == "alert"
    assert page.browser.switch_to.active_element == page.find("#pick")
    page.drop("good.png", encode(random_page(1)[0]))
    page.arrives("result")
    assert not page.find("#error").is_displayed()


def test_a_page_without_text_says_so(page):
    pixels, _ = random_page(1, words=1)
    page.drop("blank.png", encode(pixels[:5]))
    page.arrives("result")
    assert page.find("#text").text == "No text was found on this page."


@pytest.mark.parametrize("width", [320, 390, 768])
def test_nothing_is_wider_than_a_phone(page, width):
    page.browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    )
    try:
        page.drop("sign.png", encode(random_page(3, width=400)[0]))
        page.arrives("result")
        assert page.run("return document.documentElement.scrollWidth") <= width
    finally:
        page.browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_everything_is_reached_with_the_keyboard(page):
    page.drop("sign.png", encode(random_page(3)[0]))
    page.arrives("result")
    reached = set()
    for _ in range(14):
        page.browser.switch_to.active_element.send_keys(Keys.TAB)
        active = page.browser.switch_to.active_element
        reached.add(active.get_attribute("id") or active.get_attribute("value") or active.tag_name)
    assert {"copy", "json", "pdf", "again", "words", "text", "summary"} <= reached
