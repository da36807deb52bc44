"""The embedded model as graphs: the words and options of PyTorch, without importing it."""

import copy
import json
import pickle
import shutil
import subprocess
import sys
import textwrap
from dataclasses import asdict

import numpy as np
import onnxruntime
import pytest
from PIL import Image, ImageDraw, ImageFont

from clip4str_plugin import Recognizer, load_model
from clip4str_plugin.errors import CheckpointError
from clip4str_plugin.model.config import CLIP4STRConfig
from clip4str_plugin.model.engines import precision
from clip4str_plugin.reading.graph_backend import GraphBackend, find_graphs
from clip4str_plugin.weights import EMBEDDED, SPLITTER, embedded_folder

# What reading must not wait for.
HEAVY = ["torch", "torchvision", "open_clip", "timm", "doctr", "scipy", "pandas", "matplotlib", "onnx", "sklearn"]


def drawn(text, size=40, color="black"):
    font = ImageFont.load_default(size)
    left, top, right, bottom = (int(v) for v in font.getbbox(text))
    image = Image.new("RGB", (right - left + 12, bottom - top + 12), "white")
    ImageDraw.Draw(image).text((6 - left, 6 - top), text, color, font)
    return np.asarray(image)


@pytest.fixture(scope="module")
def crops():
    words = ["Market", "2026", "a", "[E]", "Don't!", "W" * 30, "illegible", "9:30-17:45", "x", "CLIP4STR@home.org"]
    random = np.random.default_rng(0)
    noise = [random.integers(0, 256, (20, 60, 3), dtype=np.uint8) for _ in range(4)]
    turned = [np.rot90(drawn(word), turns) for word, turns in (("Station", 1), ("Open", 3))]
    faint = [drawn(word, 14, "#d8d8d8") for word in words]
    return [*map(drawn, words), *faint, *noise, *turned]


@pytest.fixture(scope="module")
def graphs():
    return Recognizer("tiny", device="cpu")


@pytest.mark.parametrize(
    "options",
    [{}, {"charset": "0123456789"}, {"early_exit": 0.9}, {"turn_tall": False}, {"confidence": "mean", "batch_size": 3}],
)
def test_reads_as_pytorch_does(crops, options):
    ours, theirs = Recognizer("tiny", device="cpu", **options), Recognizer(load_model("tiny"), **options)
    assert isinstance(ours._backend, GraphBackend)
    for found, expected in zip(ours(crops), theirs(crops)):
        assert found.text == expected.text
        assert found.confidence == pytest.approx(expected.confidence, abs=1e-4)
        assert found.char_confidences == pytest.approx(expected.char_confidences, abs=1e-4)


@pytest.mark.slow
def test_the_batch_does_not_matter(graphs, crops):
    together = [found.text for found in graphs(crops)]
    assert together == [graphs([crop])[0].text for crop in crops]
    assert together == [found.text for found in Recognizer("tiny", device="cpu", batch_size=5)(iter(crops))]


def test_copies_and_pickles(graphs, crops):
    expected = graphs(crops)
    assert copy.deepcopy(graphs)(crops) == expected
    assert pickle.loads(pickle.dumps(graphs))(crops) == expected


@pytest.mark.parametrize("name", EMBEDDED)
def test_graphs_and_weights_belong_together(name):
    """Every graph takes each weight from where the file holds one of its shape, and no weight is kept elsewhere."""
    import onnx

    folder = embedded_folder(name)
    header = (folder / "model.safetensors").read_bytes()
    length = int.from_bytes(header[:8], "little")
    entries = json.loads(header[8 : 8 + length])
    entries.pop("__metadata__", None)
    held = {8 + length + entry["data_offsets"][0]: (key, entry["shape"]) for key, entry in entries.items()}
    used = set()
    parts = ["image", "visual"]
    if json.loads((folder / "config.json").read_text())["cross_branch"]:
        parts += ["text", "cross"]
    for part in parts:
        graph = onnx.load(folder / f"{part}.onnx", load_external_data=False).graph
        for tensor in graph.initializer:
            place = {item.key: item.value for item in tensor.external_data}
            if not place:
                assert np.prod(tensor.dims, dtype=int) <= 1024, f"{part}: {tensor.name} holds weights of its own"
                continue
            key, shape = held[int(place["offset"])]
            assert place["location"] == "model.safetensors"
            assert (list(tensor.dims), True) == (shape, tensor.name.removesuffix(".half").endswith(key.split(".")[-1]))
            used.add(key)
    # What only training needs: CLIP's own temperature and image projection.
    unused = {key for key in entries if key not in used}
    assert all("logit_scale" in key or "num_batches_tracked" in key for key in unused), unused


def test_a_model_has_one_configuration(graphs):
    assert graphs.config == load_model("tiny").config
    assert isinstance(graphs.config, CLIP4STRConfig)


@pytest.mark.slow
def test_other_precisions_and_models_take_pytorch(golden_checkpoint, graphs, monkeypatch):
    monkeypatch.setattr(precision, "find_spec", lambda name: None)  # OpenVINO would make graphs of its own first
    assert find_graphs(golden_checkpoint) is None
    assert not isinstance(Recognizer("tiny", precision="bf16")._backend, GraphBackend)
    with pytest.raises(AttributeError, match="no model: this recognizer reads with exported graphs"):
        graphs.model  # noqa: B018
    twin = graphs.with_pytorch()
    assert twin.model.config == graphs.config
    assert asdict(twin.options) == asdict(graphs.options)


def test_unusable_graphs_are_named(tmp_path):
    shutil.copytree(embedded_folder("tiny"), tmp_path / "copy")
    (tmp_path / "copy" / "visual.onnx").write_bytes(b"no graph")
    with pytest.raises(CheckpointError, match=r"copy: the graphs cannot be loaded, export the model again"):
        Recognizer(tmp_path / "copy")


def test_charset_of_unknown_characters(crops):
    with pytest.raises(ValueError, match=r"characters \['ж'\] are not in the model's charset"):
        Recognizer("tiny", device="cpu", charset="жa")


def test_the_splitter_answers_as_its_network_does():
    torch, load_file = pytest.importorskip("torch"), pytest.importorskip("safetensors.torch").load_file
    from clip4str_plugin.model.splitter_network import Splitter
    from clip4str_plugin.reading.splitter import splitter_answers

    network = Splitter().eval()
    stored = load_file(SPLITTER.with_suffix(".safetensors"))
    network.load_state_dict({name: value.float() for name, value in stored.items()})
    for count, width in ((1, 8), (3, 300)):
        strips = np.random.default_rng(width).standard_normal((count, 3, 32, width)).astype(np.float32)
        with torch.inference_mode():
            expected = network(torch.from_numpy(strips)).sigmoid().numpy()
        np.testing.assert_allclose(splitter_answers(strips), expected, atol=1e-5)


def run(script, *arguments):
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_command_recognizes_words_without_heavy_modules(tmp_path):
    Image.fromarray(drawn("Market")).save(tmp_path / "word.png")
    script = """
        import sys
        from clip4str_plugin.cli import main
        assert main(["recognize", sys.argv[1], "--device", "cpu"]) == 0
        print(sorted({name.partition(".")[0] for name in sys.modules} & set(sys.argv[2:])))
    """
    assert run(script, tmp_path / "word.png", *HEAVY).split("\n") == ["Market", "[]", ""]


def test_a_recognizer_needs_neither_pytorch_nor_a_detector(tmp_path):
    Image.fromarray(drawn("Market")).save(tmp_path / "word.png")
    script = """
        import importlib.abc, sys

        class Nothing(importlib.abc.MetaPathFinder):
            def find_spec(self, name, path=None, target=None):
                if path is None and name in sys.argv[2:]:
                    raise ImportError(f"{name} is not to be used")

        sys.meta_path.insert(0, Nothing())
        from PIL import Image
        from clip4str_plugin import Recognizer
        print(Recognizer()([Image.open(sys.argv[1])])[0].text)
    """
    assert run(script, tmp_path / "word.png", *HEAVY, "openvino", "rapidocr", "safetensors").strip() == "Market"


def test_onnx_runtime_loads_every_graph_alone():
    for part in embedded_folder("tiny").glob("*.onnx"):
        onnxruntime.InferenceSession(part, providers=["CPUExecutionProvider"])


@pytest.mark.slow
def test_the_command_reads_a_photo_without_heavy_modules(tmp_path):
    page = Image.new("RGB", (420, 160), "white")
    page.paste(Image.fromarray(drawn("Station 2026")), (40, 40))
    page.save(tmp_path / "photo.png")
    script = """
        import sys
        from clip4str_plugin.cli import main
        assert main(["read", sys.argv[1], "--device", "cpu"]) == 0
        print(sorted({name.partition(".")[0] for name in sys.modules} & set(sys.argv[2:])))
    """
    # OpenVINO's last one reports its use over the network.
    heavy = (*HEAVY, "rapidocr", "omegaconf", "requests", "openvino_telemetry")
    text, modules = run(script, tmp_path / "photo.png", *heavy).strip().rsplit("\n", 1)
    assert "Station 2026" in text
    assert modules == "[]"


@pytest.mark.parametrize("arguments", [["recognize", "--precision", "bf16"], ["evaluate"]])
def test_what_needs_pytorch_says_so_where_it_is_missing(tmp_path, arguments):
    Image.fromarray(drawn("Market")).save(tmp_path / "word.png")
    script = """
        import contextlib, io, sys
        sys.modules["torch"] = None
        from clip4str_plugin.cli import main
        with contextlib.redirect_stderr(io.StringIO()) as said:
            status = main(sys.argv[1:])
        print(status, said.getvalue())
    """
    answer = run(script, *arguments, tmp_path / "word.png")
    assert answer.startswith("2 ")
    assert f"clip4str {arguments[0]}: error: this needs torch, which is missing; install" in answer
