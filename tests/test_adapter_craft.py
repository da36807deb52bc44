"""The detector `craft`: its network's files, the places it looks at, and words from maps."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from clip4str_adapters.craft import CraftDetector, _Found, _settle, detector
from clip4str_adapters.craft_network import bundled_weights, load_network
from clip4str_adapters.craft_tiles import CANVAS, place_tiles, plan_tiles
from clip4str_adapters.craft_words import Thresholds, find_words
from clip4str_plugin import load_detector
from clip4str_plugin.errors import DetectorError
from clip4str_plugin.geometry.polygons import signed_area


@pytest.fixture
def bright_is_text(tmp_path):
    """A network that takes bright pixels for letters and sees no links, as an ONNX file."""
    kernel = np.zeros((2, 3, 1, 1), np.float32)
    kernel[0, 0] = 0.4
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["picture", "kernel"], ["wide"], kernel_shape=[1, 1]),
            helper.make_node("MaxPool", ["wide"], ["half"], kernel_shape=[2, 2], strides=[2, 2]),
            helper.make_node("Transpose", ["half"], ["maps"], perm=[0, 2, 3, 1]),
        ],
        "craft",
        [helper.make_tensor_value_info("picture", TensorProto.FLOAT, [1, 3, "h", "w"])],
        [helper.make_tensor_value_info("maps", TensorProto.FLOAT, [1, "i", "j", 2])],
        [helper.make_tensor("kernel", TensorProto.FLOAT, kernel.shape, kernel.ravel())],
    )
    path = tmp_path / "bright.onnx"
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, path)
    return path


class Everywhere:
    """Sees text where the page is bright."""

    def see(self, page):
        self.inner = (page[..., 0] > 200).astype(np.float32)
        return self


def page_with(*boxes, size=(400, 600)):
    page = np.full((*size, 3), 60, np.uint8)
    for x0, y0, x1, y1 in boxes:
        page[y0:y1, x0:x1] = 255
    return page


def box_of(polygon):
    return [*polygon.min(axis=0), *polygon.max(axis=0)]


def test_words_come_back_in_pixels_of_the_page(bright_is_text):
    detect = CraftDetector(load_network(bright_is_text), Everywhere())
    boxes = [(40, 50, 140, 74), (300, 200, 420, 230), (20, 330, 300, 390)]
    (found,) = detect([page_with(*boxes)])
    assert found.granularity == "word"
    assert len(found) == 3
    for box, polygon in zip(boxes, sorted(found.polygons, key=lambda polygon: polygon[0, 1])):
        # The border that CRAFT's maps leave out is added; these maps leave out none.
        height = box[3] - box[1]
        assert np.abs(np.array(box_of(polygon)) - box).max() < 0.6 * height
        assert signed_area(polygon) > 0
        assert np.linalg.norm(polygon[0] - box[:2]) < height
    assert (found.scores > 0.7).all()
    assert (found.scores <= 1).all()


def test_dark_pages_and_tiny_ones_hold_no_word(bright_is_text):
    detect = CraftDetector(load_network(bright_is_text), Everywhere())
    assert [len(found) for found in detect([page_with(), np.zeros((1, 1, 3), np.uint8)])] == [0, 0]


def test_threads_share_a_detector(bright_is_text):
    detect = CraftDetector(load_network(bright_is_text), Everywhere())
    pages = [page_with((40, 50, 140 + 10 * i, 74)) for i in range(6)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda page: CraftDetector(detect.network, Everywhere())([page])[0], pages))
    for page, found in zip(pages, together):
        np.testing.assert_array_equal(found.polygons[0], detect([page])[0].polygons[0])


def test_engines_agree(bright_is_text, monkeypatch):
    pytest.importorskip("openvino")
    picture = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    with_openvino = load_network(bright_is_text, "fp32")(picture)
    for module in ("craft_network", "_page_network"):
        monkeypatch.setattr(f"clip4str_adapters.{module}.find_spec", lambda name: None)
    assert with_openvino.shape == (32, 48, 2)
    np.testing.assert_allclose(load_network(bright_is_text)(picture), with_openvino, atol=1e-5)


def test_the_second_picture_of_a_size_is_seen_as_the_first(bright_is_text):
    # The memory that the first one took was given back.
    picture = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    network = load_network(bright_is_text, "fp32")
    first, other, again = network(picture), network(255 - picture), network(picture)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_scout_may_be_given_and_has_to_see(bright_is_text):
    scout = Everywhere()
    assert detector(str(bright_is_text), scout=scout).scout is scout
    with pytest.raises(DetectorError, match="scout is 'rapidocr'"):
        detector(str(bright_is_text), scout="rapidocr")


@pytest.mark.slow
def test_weights_of_pytorch_give_the_maps_of_the_module(tmp_path):
    import torch

    from clip4str_adapters.craft_torch import Craft

    torch.manual_seed(0)
    model = Craft().eval()
    path = tmp_path / "craft.pth"
    torch.save({f"module.{name}": value for name, value in model.state_dict().items()}, path)
    picture = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    batch = torch.from_numpy(((picture / 255 - mean) / std).astype(np.float32).transpose(2, 0, 1)[None].copy())
    with torch.inference_mode():
        expected = model(batch)[0].numpy()
    np.testing.assert_allclose(load_network(path, "fp32")(picture), expected, atol=1e-4)


@pytest.mark.slow
def test_wrong_files_are_refused(tmp_path, bright_is_text):
    import torch

    with pytest.raises(DetectorError, match=r"no CRAFT weights .*nowhere\.onnx"):
        detector("nowhere.onnx")
    (tmp_path / "junk.onnx").write_bytes(b"junk")
    with pytest.raises(DetectorError, match=r"junk\.onnx holds no CRAFT"):
        load_network(tmp_path / "junk.onnx")
    torch.save({"weight": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(DetectorError, match=r"other\.pth"):
        load_network(tmp_path / "other.pth")
    with pytest.raises(DetectorError, match="precision"):
        load_network(bright_is_text, "fp8")


def test_eight_bits_show_what_float32_shows(bright_is_text):
    picture = np.full((96, 256, 3), 90, np.uint8)
    cv2.putText(picture, "OPEN daily", (14, 60), cv2.FONT_HERSHEY_DUPLEX, 1.2, (240, 230, 200), 2, cv2.LINE_AA)
    exact, rounded, chosen = (load_network(bundled_weights(), how)(picture) for how in ("fp32", "int8", "auto"))
    assert exact.max() > 0.7  # it sees the letters
    assert 0 < np.abs(rounded - exact).mean() < 0.003
    assert ((rounded > 0.4) != (exact > 0.4)).mean() < 0.003
    np.testing.assert_array_equal(chosen, rounded)
    with pytest.raises(DetectorError, match="int8 is there for the weights of torchfree-ocr"):
        load_network(bright_is_text, "int8")


def blobs(points, radius=5, size=(120, 260)):
    text = np.zeros(size, np.float32)
    for x, y in points:
        cv2.circle(text, (round(x), round(y)), radius, 1.0, -1)
    return text


def test_links_join_letters_and_their_absence_parts_words():
    text = blobs([(20 + 14 * i, 40) for i in range(5)] + [(140 + 14 * i, 40) for i in range(3)])
    links = blobs([(27 + 14 * i, 40) for i in range(4)] + [(147 + 14 * i, 40) for i in range(2)], radius=3)
    words = find_words(text, links, Thresholds())
    assert len(words) == 2
    assert all(word.polygon.shape == (4, 2) for word in words)
    assert words[0].polygon[:, 0].max() < words[1].polygon[:, 0].min()
    assert len(find_words(text, np.zeros_like(text), Thresholds())) == 8
    assert find_words(0.6 * text, links, Thresholds()) == []


@pytest.mark.parametrize("up", [1, -1])
def test_curved_words_get_polygons_along_the_curve(up):
    angles = np.linspace(-0.9, 0.9, 40)
    middle = np.stack([130 + 90 * np.sin(angles), 60 - up * (90 * np.cos(angles) - 75)], axis=1)
    (word,) = find_words(blobs(middle), np.zeros((120, 260), np.float32), Thresholds())
    assert len(word.polygon) > 4
    assert len(word.polygon) % 2 == 0
    assert signed_area(word.polygon) > 0
    half = len(word.polygon) // 2
    assert word.polygon[0, 0] < word.polygon[half - 1, 0]  # the upper side runs to the right
    centre = (word.polygon[:half] + word.polygon[half:][::-1]) / 2
    distance = np.linalg.norm(centre[:, None] - middle[None], axis=2).min(axis=1)
    assert distance[1:-1].max() < 6


def test_places_of_any_size_are_brought_to_one_size_of_text():
    text_map = np.zeros((800, 1200), np.float32)
    text_map[100:104, 100:200] = 1  # small print
    text_map[400:424, 200:800] = 1  # a large word
    overview, *tiles = plan_tiles(text_map, (1600, 2400))
    assert overview.size[0] < 600
    assert len(tiles) == 2
    small, large = sorted(tiles, key=lambda tile: tile.top)
    assert small.scale > 4 * large.scale
    assert small.left < 200
    assert small.right > 400
    assert max(small.size[1], large.size[1]) < 120


def test_lines_that_run_together_in_the_map_are_looked_at_as_lines():
    text_map = np.zeros((400, 600), np.float32)
    text_map[50:64, 100:200] = 0.12
    alone = plan_tiles(text_map, (800, 1200))[1:]
    text_map[50:53, 100:200] = text_map[61:64, 110:190] = 0.8
    lines = plan_tiles(text_map, (800, 1200))[1:]
    assert min(tile.scale for tile in lines) > 3 * max(tile.scale for tile in alone)
    assert all(any(tile.top < 2 * row < tile.bottom for tile in lines) for row in (51, 62))


def test_a_page_full_of_print_is_looked_at_in_parts_that_fit():
    text_map = np.zeros((1200, 900), np.float32)
    for row in range(20, 1180, 12):
        text_map[row : row + 5, 30:870] = 0.8
    tiles = plan_tiles(text_map, (2400, 1800))
    canvases = place_tiles(tiles)
    placed = [tile for canvas in canvases for tile in canvas]
    assert len(placed) == len(tiles) > 3
    covered = np.zeros((2400, 1800), bool)
    for tile in tiles[1:]:
        covered[tile.top : tile.bottom, tile.left : tile.right] = True
    assert covered[40:2360, 60:1740].all()
    for canvas in canvases:
        used = np.zeros((CANVAS, CANVAS), int)
        for tile in canvas:
            columns, rows = tile.size
            assert tile.x + columns <= CANVAS
            assert tile.y + rows <= CANVAS
            used[max(0, tile.y - 8) : tile.y + rows + 8, max(0, tile.x - 8) : tile.x + columns + 8] += 1
        assert used.max() == 1  # with room between them
    room = sum(tile.size[0] * tile.size[1] for tile in tiles)
    assert room > 0.6 * len(canvases) * CANVAS**2


def word(x0, y0, x1, y1, cut=False):
    polygon = np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], np.float32)
    return _Found(polygon, 0.9, y1 - y0, cut, 0, 0)


def test_of_words_in_one_place_one_is_kept():
    whole, twice = word(0, 0, 100, 20), word(1, 0, 100, 20)
    assert len(_settle([whole, twice])) == 1
    fragment = word(10, 2, 25, 18)
    assert _settle([whole, fragment]) == [whole]
    left, right = word(0, 0, 48, 20), word(52, 0, 100, 20)
    assert _settle([whole, left, right]) == [left, right]
    assert _settle([word(0, 0, 60, 20, cut=True), whole]) == [whole]


def test_light_import():
    code = "import sys, clip4str_adapters.craft, clip4str_plugin.reading.auto_detector; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


@pytest.mark.slow
def test_its_own_weights_find_printed_words():
    pytest.importorskip("torchfree_ocr")
    page = np.full((300, 500, 3), 90, np.uint8)
    cv2.putText(page, "COFFEE", (40, 120), cv2.FONT_HERSHEY_SIMPLEX, 1.6, (240, 240, 240), 4)
    cv2.putText(page, "bakery", (260, 240), cv2.FONT_HERSHEY_SIMPLEX, 1.2, (250, 220, 80), 3)
    (found,) = load_detector("craft")([page])
    assert len(found) == 2
    tops = sorted(float(polygon[:, 1].min()) for polygon in found.polygons)
    assert tops[0] < 95
    assert 180 < tops[1] < 225
