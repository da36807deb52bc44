"""Finding detectors by name, whatever else is installed beside them."""

import subprocess
import sys

import numpy as np
import pytest

from clip4str_plugin import Detections, available_detectors, load_detector
from clip4str_plugin.errors import DetectorError, ImageError
from clip4str_plugin.plugins import find_plugins
from clip4str_plugin.reading.detectors import DETECTOR_GROUP, check_page, orient_detections

SQUARE = np.array([[0, 0], [9, 0], [9, 9], [0, 9]])


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Install a distribution as pip would: metadata beside a module on sys.path."""

    def make(distribution, entry_points, modules=None, group=DETECTOR_GROUP):
        info = tmp_path / f"{distribution}-1.5.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.5\n")
        (info / "entry_points.txt").write_text(f"[{group}]\n" + "\n".join(entry_points))
        for name, text in (modules or {}).items():
            (tmp_path / f"{name}.py").write_text(text)

    monkeypatch.syspath_prepend(tmp_path)
    yield make
    for name in [name for name in sys.modules if name.startswith("thirdparty_")]:
        del sys.modules[name]


WORKING = """
import numpy as np
from clip4str_plugin import Detections

def make(arch=None, size=10):
    box = np.array([[0, 0], [size, 0], [size, size], [0, size]])
    def detect(pages):
        return [Detections([box], [0.5], "line") for _ in pages]
    detect.arch = arch
    return detect
"""


def test_third_party_detector_is_found_and_gets_its_arch_and_options(install):
    install("third", ["third = thirdparty_working:make"], {"thirdparty_working": WORKING})
    assert "third" in available_detectors()
    detect = load_detector("third:some:arch/v2", size=7)
    assert detect.arch == "some:arch/v2"
    assert load_detector("third").arch is None
    (found,) = detect([np.zeros((20, 20, 3), np.uint8)])
    assert found.polygons[0].max() == 7
    assert found.granularity == "line"


def test_listing_imports_nothing(install):
    install("noisy", ["noisy = thirdparty_noisy:make"], {"thirdparty_noisy": "raise RuntimeError('imported')"})
    assert "noisy" in available_detectors()
    assert "thirdparty_noisy" not in sys.modules


@pytest.mark.parametrize(
    ("source", "value", "reason"),
    [
        ("import there_is_no_such_module", "thirdparty_broken:make", "there_is_no_such_module"),
        ("raise SystemExit(3)", "thirdparty_broken:make", "SystemExit: 3"),
        ("1 / 0", "thirdparty_broken:make", "ZeroDivisionError"),
        ("", "thirdparty_broken:make", "has no attribute 'make'"),
        ("", "thirdparty_missing:make", "No module named 'thirdparty_missing'"),
        ("HOST = 'no_such_host'\ndef make(arch=None): ...", "thirdparty_broken:make", "no_such_host is not installed"),
    ],
)
def test_broken_plugin_is_reported_and_breaks_nothing_else(install, source, value, reason):
    install("broken-dist", [f"broken = {value}"], {"thirdparty_broken": source})
    install("third", ["third = thirdparty_working:make"], {"thirdparty_working": WORKING})
    problems = {plugin.name: plugin.problem() for plugin in find_plugins(DETECTOR_GROUP)}
    assert reason in problems["broken"]
    assert "\n" not in problems["broken"]
    assert problems["third"] is None
    assert problems["rapidocr"] is None
    assert load_detector("third")([]) == []
    (plugin,) = find_plugins(DETECTOR_GROUP, "broken")
    assert (plugin.distribution, plugin.version, plugin.value) == ("broken-dist", "1.5", value)


def test_loading_a_broken_plugin_names_its_distribution(install):
    install("broken-dist", ["broken = thirdparty_broken:make"], {"thirdparty_broken": "1 / 0"})
    with pytest.raises(DetectorError, match=r"'broken' of broken-dist 1\.5.*ZeroDivisionError"):
        load_detector("broken")


def test_factory_errors_name_the_detector(install):
    install("third", ["third = thirdparty_working:make"], {"thirdparty_working": WORKING})
    with pytest.raises(DetectorError, match=r"'third' of third.*no_such_option"):
        load_detector("third", no_such_option=1)


def test_unknown_name_lists_the_known_ones():
    with pytest.raises(DetectorError, match=r"no detector is called 'nonsense'; installed: .*rapidocr"):
        load_detector("nonsense:arch")


def test_two_owners_of_a_name_are_an_error_but_only_for_that_name(install):
    install("first", ["twice = thirdparty_working:make"], {"thirdparty_working": WORKING})
    install("second", ["twice = thirdparty_other:make"], {"thirdparty_other": WORKING})
    assert available_detectors().count("twice") == 1
    with pytest.raises(DetectorError, match=r"first .*second .*uninstall"):
        load_detector("twice")
    assert callable(load_detector("rapidocr"))


def test_built_detector_passes_through():
    def detect(pages):
        return []

    assert load_detector(detect) is detect
    with pytest.raises(DetectorError, match="built already"):
        load_detector(detect, threads=2)
    with pytest.raises(DetectorError, match="not int"):
        load_detector(3)


def test_detections_are_normalised():
    found = Detections([SQUARE.tolist(), SQUARE.astype(np.float64)], [0.5, 1], "word")
    assert len(found) == 2
    assert all(polygon.dtype == np.float32 and polygon.shape == (4, 2) for polygon in found.polygons)
    assert found.scores.dtype == np.float32
    assert len(Detections([], [])) == 0


@pytest.mark.parametrize(
    ("polygons", "scores", "granularity", "message"),
    [
        ([SQUARE], [], "word", "1 polygons come with 0 scores"),
        ([SQUARE[:3]], [1], "word", r"polygon 0 has shape \(3, 2\)"),
        ([SQUARE.ravel()], [1], "word", r"polygon 0 has shape \(8,\)"),
        ([SQUARE], [1], "letter", "'word' or 'line'"),
    ],
)
def test_malformed_detections_are_refused(polygons, scores, granularity, message):
    with pytest.raises(DetectorError, match=message):
        Detections(polygons, scores, granularity)


def test_host_boxes_lose_the_unreadable_ones_with_their_scores():
    flat = np.array([[0, 5], [9, 5], [9, 5], [0, 5]])
    broken = np.array([[0, 0], [np.nan, 0], [9, 9], [0, 9]])
    found = orient_detections([flat, np.roll(SQUARE, 2, axis=0), broken], [0.1, 0.9, 0.3], "line")
    np.testing.assert_array_equal(found.polygons[0], SQUARE)
    np.testing.assert_allclose(found.scores, [0.9])
    assert found.granularity == "line"


@pytest.mark.parametrize(
    ("page", "message"),
    [
        (np.zeros((4, 4), np.uint8), r"not uint8 array \(4, 4\)"),
        (np.zeros((4, 4, 3)), "not float64 array"),
        (np.zeros((4, 4, 4), np.uint8), r"not uint8 array \(4, 4, 4\)"),
        ("photo.jpg", "not str"),
        (np.zeros((0, 4, 3), np.uint8), "holds no pixel"),
    ],
)
def test_pages_that_are_none(page, message):
    with pytest.raises(ImageError, match=message):
        check_page(page)


def test_import_is_light():
    code = (
        "import sys, clip4str_plugin.reading.detectors, clip4str_plugin.plugins, clip4str_adapters.rapidocr;"
        "import clip4str_adapters.doctr;"
        "print(sorted({'torch', 'doctr', 'rapidocr', 'cv2', 'onnxruntime'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
