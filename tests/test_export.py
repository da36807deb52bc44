"""Exported models give the strings of the golden runs, alone and in a batch, without PyTorch."""

import importlib
import json
import math
import re
import shutil
import subprocess
import sys
import textwrap

import numpy as np
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from clip4str_plugin import Recognizer, load_model
from clip4str_plugin.cli import main
from clip4str_plugin.errors import ExportError
from clip4str_plugin.export import export_onnx, export_onnxtr, export_programs, resizes_rows_first
from clip4str_plugin.model.caption import CaptionTokenizer
from clip4str_plugin.model.caption_graph import CaptionGraph
from clip4str_plugin.model.config import CHARSET_94
from clip4str_plugin.reading.onnx_recognizer import CaptionEncoder, OnnxRecognition, OnnxRecognizer, _is_on_end, resize

pytestmark = pytest.mark.slow

TOLERANCE = 2e-4
CROPS = range(7)


@pytest.fixture(scope="module")
def folder(golden_model, tmp_path_factory):
    return export_onnx(golden_model, tmp_path_factory.mktemp("onnx"))


@pytest.fixture(scope="module")
def exported(folder):
    return OnnxRecognizer(folder)


@pytest.fixture(scope="module")
def whole(golden_model, tmp_path_factory):
    return export_onnxtr(golden_model, tmp_path_factory.mktemp("onnxtr") / "golden.onnx")


@pytest.fixture(scope="module")
def crops(golden):
    """Crops of many sizes, of noise that is smooth enough to read differently everywhere."""
    random = np.random.default_rng(5)
    sizes = [(11, 40), (48, 160), (100, 31), (224, 224), (31, 400), (64, 9), (1, 1), (7, 230)]
    coarse = [random.integers(0, 256, (4, 7, 3), dtype=np.uint8) for _ in sizes]
    return [np.array(Image.fromarray(c).resize(s[::-1], Image.Resampling.BILINEAR)) for c, s in zip(coarse, sizes)]


@pytest.mark.parametrize("batch", [1, 7])
@pytest.mark.parametrize("refinements", [0, 1, 2])
def test_golden_runs(golden, golden_images, exported, refinements, batch):
    numbers, images = golden("alone.npz"), golden_images.numpy()
    for start in range(0, 7, batch):
        decoding = exported.generate(images[start : start + batch], refine_iters=refinements)
        for i, (text, probabilities) in enumerate(exported.decode(decoding)):
            key = f"crop{start + i}_r{refinements}"
            expected = golden("alone.json")[key]
            assert text == expected["strings"][0]
            assert math.prod(probabilities) == pytest.approx(expected["confidence"][0], rel=1e-3)
            assert [c[i] for c in decoding.captions] == [c[0] for c in expected["captions"]]
            logits = numbers[f"{key}/logits"][0]
            np.testing.assert_allclose(decoding.logits[i, : len(logits)], logits, rtol=0, atol=TOLERANCE)


def test_golden_runs_with_max_length(golden, golden_images, exported):
    decoding = exported.generate(golden_images.numpy(), max_length=9)
    for i in CROPS:
        expected = golden("alone.npz")[f"crop{i}_r1_max9/logits"][0]
        np.testing.assert_allclose(decoding.logits[i], expected, rtol=0, atol=TOLERANCE)


def test_golden_runs_with_captions_of_94_characters(golden, golden_images, folder, tmp_path):
    shutil.copytree(folder, tmp_path / "copy")  # the graphs are the same, the captions are made outside of them
    config = json.loads((folder / "model.json").read_text())
    (tmp_path / "copy" / "model.json").write_text(json.dumps(config | {"caption_charset": CHARSET_94}))
    decoding = OnnxRecognizer(tmp_path / "copy").generate(golden_images.numpy())
    for i in CROPS:
        expected = golden("alone.json")[f"crop{i}_r1_charset94"]
        assert [c[i] for c in decoding.captions] == [c[0] for c in expected["captions"]]
        logits = golden("alone.npz")[f"crop{i}_r1_charset94/logits"][0]
        np.testing.assert_allclose(decoding.logits[i], logits, rtol=0, atol=TOLERANCE)


def test_empty_batch(golden_images, exported):
    assert exported.generate(golden_images[:0].numpy()).logits.shape == (0, 26, 95)
    assert exported([]) == []


@pytest.mark.parametrize(
    ("upright", "turned", "better"),
    [
        (("", 0.99), ("hotel", 0.3), True),  # nothing, however certain, gives way
        (("hotel", 0.6), ("hotel", 0.3), False),
        (("hotel", 0.2), ("hotel", 0.3), True),
        (("1", 0.6), ("hotel", 0.9), False),  # a narrow letter
        (("", 0.99), ("..", 0.9), False),
    ],
)
def test_when_a_turned_reading_is_kept(upright, turned, better):
    assert _is_on_end(*(OnnxRecognition(*reading, ()) for reading in (turned, upright))) is better


@pytest.mark.parametrize("charset", [None, "0123456789"])
@pytest.mark.parametrize("turn_tall", [False, True])
def test_crops_read_as_with_pytorch(golden_model, folder, crops, charset, turn_tall):
    expected = Recognizer(golden_model, charset=charset, turn_tall=turn_tall)(crops)
    exported = OnnxRecognizer(folder, batch_size=3, charset=charset)
    assert exported.config["turn_tall"] is False  # as the model's configuration says
    exported.config["turn_tall"] = turn_tall
    got = exported(crops)
    assert [r.text for r in got] == [r.text for r in expected]
    for ours, theirs in zip(got, expected):
        assert ours.confidence == pytest.approx(theirs.confidence, rel=1e-3)
        assert ours.char_confidences == pytest.approx(theirs.char_confidences, rel=1e-3)


def test_grey_bgr_alpha_and_empty_crops(exported, crops):
    rgb = crops[1]
    grey = np.array(Image.fromarray(rgb).convert("L"))
    alpha = np.dstack([rgb, np.zeros_like(grey)])
    nothing = np.zeros((0, 5, 3), np.uint8)
    plain, *others = exported([rgb, alpha, nothing, grey, np.dstack([grey] * 3)])
    assert others[0] == plain
    assert others[1] == ("", 0.0, ())
    assert others[2] == others[3]
    assert exported([rgb[..., ::-1]], color="bgr")[0].text == plain.text


def test_unusable_crops_are_named(exported, crops):
    with pytest.raises(ValueError, match=r"crop 1: is float64"):
        exported([crops[0], crops[0] / 255])
    with pytest.raises(ValueError, match=r"crop 0: has the shape \(2, 2, 5\)"):
        exported([np.zeros((2, 2, 5), np.uint8)])


def test_a_folder_without_model_is_named(tmp_path):
    with pytest.raises(ValueError, match=f"{re.escape(str(tmp_path))}.*clip4str export"):
        OnnxRecognizer(tmp_path)


def test_the_copied_reader_needs_onnxruntime_and_numpy_only(golden, golden_images, folder, tmp_path):
    np.save(tmp_path / "images.npy", golden_images[:2].numpy())
    script = """
        import importlib.abc, sys

        class Nothing(importlib.abc.MetaPathFinder):
            def find_spec(self, name, path=None, target=None):
                first = name.partition(".")[0]
                if path is None and first in ("torch", "PIL", "cv2", "clip4str_plugin", "regex", "ftfy", "open_clip"):
                    raise ImportError(f"{name} is not to be used")

        sys.meta_path.insert(0, Nothing())
        folder, images = sys.argv[1:]
        sys.path.insert(0, folder)
        import numpy as np
        from clip4str_onnx import OnnxRecognizer
        reader = OnnxRecognizer(folder)
        print(*(text for text, _ in reader.decode(reader.generate(np.load(images)))), sep="\\n")
        reader([np.zeros((9, 9, 3), np.uint8)])
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(folder), str(tmp_path / "images.npy")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [golden("alone.json")[f"crop{i}_r1"]["strings"][0] for i in (0, 1)]


# ---- the caption tokenizers --------------------------------------------------------------------------------

CAPTIONS = [
    "",
    "chicken",
    "it's",
    "<|endoftext|>",
    "&amp;lt;b",
    "&eacute;t&eacute;",
    "'LL've'dx",
    "a1b22c",
    "!'s",
    "  a  b ",
]
# Newer characters belong to categories that depend on the version of Python.
KNOWN = st.characters(max_codepoint=0x2FFF, exclude_categories=("Cn", "Co", "Cs"))


@pytest.fixture(scope="module")
def encoders():
    ours = CaptionTokenizer(16)
    return ours, CaptionEncoder([" ".join(pair) for pair in ours.merges], 16, CHARSET_94)


def test_golden_captions(golden, encoders):
    cases = golden("extra.json")["bpe_ctx16"]
    assert encoders[1](list(cases)).tolist() == list(cases.values())


@settings(max_examples=400, deadline=None)
@given(st.one_of(st.text(CHARSET_94 + " ", max_size=26), st.text(KNOWN, max_size=12), st.sampled_from(CAPTIONS)))
def test_caption_encoder_equals_the_models(encoders, caption):
    assert encoders[1]([caption]).tolist() == encoders[0]([caption]).tolist()


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_captions_in_the_graph_equal_the_models(golden_model, caption_graph, data):
    characters = st.one_of(st.integers(1, 94), st.integers(1, 36))
    spelt = st.just([CHARSET_94.index(c) + 1 for c in "[E]"])
    pieces = data.draw(st.lists(st.one_of(st.lists(characters, max_size=8), spelt), max_size=8))
    ids = torch.zeros(1, 26, dtype=torch.int64)
    reading = [i for piece in pieces for i in piece][:26]
    ids[0, : len(reading)] = torch.tensor(reading, dtype=torch.int64)
    texts = [golden_model.caption_filter(t) for t in golden_model.tokenizer.captions(ids, torch.tensor([26]))]
    assert caption_graph(ids.numpy()).tolist() == golden_model.caption_tokenizer(texts).tolist()


@pytest.fixture(scope="module")
def caption_graph(golden_model, tmp_path_factory):
    """The caption part of the single graph, as ONNX Runtime runs it."""
    graph = CaptionGraph(golden_model.tokenizer, golden_model.caption_tokenizer, golden_model.config)
    path = tmp_path_factory.mktemp("caption") / "caption.onnx"
    ids = torch.zeros(2, 26, dtype=torch.int64)
    dynamic = {"ids": {0: torch.export.Dim("n")}}
    torch.onnx.export(graph, kwargs={"ids": ids}, f=path, dynamo=True, dynamic_shapes=dynamic, verbose=False)
    session = onnxruntime.InferenceSession(path)
    return lambda ids: session.run(None, {"ids": ids})[0]


# ---- the reader's resize -----------------------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(
    st.integers(1, 300),
    st.integers(1, 300),
    st.sampled_from([(224, 224), (32, 128), (5, 3)]),
    st.integers(0, 2**32 - 1),
)
def test_resize_equals_pillow(height, width, size, seed):
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    expected = np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(resize(image, size, resizes_rows_first()), expected)


# ---- a single graph for OnnxTR -----------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [1, 7])
def test_onnxtr_reads_the_golden_strings(golden, golden_images, whole, batch):
    recognition = importlib.import_module("onnxtr.models.recognition")
    usage = json.loads(whole.with_suffix(".json").read_text())
    model = recognition.parseq(str(whole), vocab=usage["vocab"], input_shape=tuple(usage["input_shape"]))
    images = golden_images.permute(0, 2, 3, 1).numpy()
    texts = [text for i in range(0, 7, batch) for text, _ in model(images[i : i + batch])["preds"]]
    assert texts == [golden("alone.json")[f"crop{i}_r1"]["strings"][0] for i in CROPS]


def test_onnxtr_predictor_reads_crops_as_with_pytorch(golden_model, whole, crops):
    models = importlib.import_module("onnxtr.models")
    usage = json.loads(whole.with_suffix(".json").read_text())
    model = models.recognition.parseq(str(whole), vocab=usage["vocab"], input_shape=tuple(usage["input_shape"]))
    predictor = models.recognition_predictor(model, mean=tuple(usage["mean"]), std=tuple(usage["std"]), batch_size=4)
    predictor.split_wide_crops = False
    predictor.pre_processor.resize.preserve_aspect_ratio = False
    predictor.pre_processor.resize.interpolation = Image.Resampling.BICUBIC
    assert [text for text, _ in predictor(crops)] == [r.text for r in Recognizer(golden_model)(crops)]


def test_what_a_single_graph_cannot_hold(golden_checkpoint, tmp_path):
    model = load_model(golden_checkpoint, charset_test=CHARSET_94)
    with pytest.raises(ExportError, match=r"letters and digits only.*caption_charset"):
        export_onnxtr(model, tmp_path / "x.onnx")
    with pytest.raises(ExportError, match=r"'cross' or 'visual'.*'both'"):
        export_onnxtr(model, tmp_path / "x.onnx", branch="both")


# ---- torch.export ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def programs(golden_model):
    return {name: program.module() for name, program in export_programs(golden_model).items()}


@pytest.mark.parametrize("batch", [1, 7])
@torch.no_grad()
def test_exported_programs(golden, golden_images, programs, batch):
    numbers = golden("alone.npz")
    begin = torch.full((batch, 1), 95)
    for start in range(0, 7, batch):
        tokens, memory = programs["image"](images=golden_images[start : start + batch])
        ids = torch.from_numpy(
            np.concatenate([numbers[f"crop{i}_r1/token_ids_0"] for i in range(start, start + batch)])
        )
        cross = programs["text"](ids=ids, tokens=tokens)
        for name, state in (("visual", memory), ("cross", cross)):
            logits = programs[name](
                tokens=begin,
                memory=state,
                positions=torch.tensor([0]),
                visible=torch.ones(batch, 1, 1, dtype=torch.bool),
                content_visible=torch.ones(batch, 1, 1, dtype=torch.bool),
            )
            for i in range(batch):
                expected = numbers[f"crop{start + i}_r1/{name}_ar_logits"][0, 0]
                np.testing.assert_allclose(logits[i, 0].numpy(), expected, rtol=0, atol=TOLERANCE)


# ---- the command -------------------------------------------------------------------------------------------


def test_command_writes_the_visual_branch(golden, golden_checkpoint, golden_images, tmp_path, capsys):
    path = tmp_path / "visual.onnx"
    command = ["export", str(golden_checkpoint), "--output", str(path), "--format", "onnxtr", "--branch", "visual"]
    assert main(command) == 0
    assert str(path) in capsys.readouterr().err
    logits = onnxruntime.InferenceSession(path).run(None, {"images": golden_images.numpy()})[0]
    for i in CROPS:
        expected = golden("alone.npz")[f"crop{i}_r1/visual_ref1_logits"][0]
        np.testing.assert_allclose(logits[i], np.roll(expected, -1, axis=-1), rtol=0, atol=TOLERANCE)


def test_command_refuses_a_branch_where_both_are_exported(golden_checkpoint, tmp_path, capsys):
    assert main(["export", str(golden_checkpoint), "--output", str(tmp_path / "out"), "--branch", "visual"]) == 2
    assert "--format onnxtr" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
