"""Precisions: same numbers, same texts, whatever the batch; and clear words where one cannot be had."""

import copy
import io
import logging
import pickle
import sys

import numpy as np
import pytest
import torch

from clip4str_plugin import Recognizer, load_model
from clip4str_plugin.errors import EngineError
from clip4str_plugin.model import CLIP4STR, CLIP4STRConfig
from clip4str_plugin.model.engines import precision as precision_module
from clip4str_plugin.model.engines import set_precision
from tests.word_sets import SMALL_MODEL

pytestmark = pytest.mark.slow


def texts(model, images, **options):
    with torch.inference_mode():
        decoding = model.generate(images, **options)
    return [text for text, _ in model.tokenizer.decode(decoding.logits, decoding.lengths)]


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("CLIP4STR_CACHE", str(folder))
        yield folder


def crops(count):
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (24, 60, 3), dtype=np.uint8) for _ in range(count)]


def small_model(**changes):
    """With a convolutional tower, and quick to convert."""
    return CLIP4STR(CLIP4STRConfig.from_dict(SMALL_MODEL | changes)).eval()


@pytest.fixture(scope="module")
def engines(golden_checkpoint, cache):
    """The golden model in every precision OpenVINO has."""
    pytest.importorskip("openvino")
    pytest.importorskip("nncf")
    models = {p: load_model(golden_checkpoint) for p in ("fp32", "bf16", "int8")}
    for precision, model in models.items():
        set_precision(model, precision, "openvino", calibration=crops(8) if precision == "int8" else None)
    return models


def test_fp32_gives_the_golden_numbers(engines, golden, golden_images):
    with torch.inference_mode():
        logits = engines["fp32"](golden_images)
    for i in range(7):
        np.testing.assert_allclose(logits[i : i + 1], golden("alone.npz")[f"crop{i}_r1/logits"], rtol=0, atol=2e-4)


@pytest.mark.parametrize(("precision", "tolerance"), [("bf16", 0.02), ("int8", 0.15)])
def test_encoders_stay_close(engines, golden_model, golden_images, precision, tolerance):
    model = engines[precision]
    with torch.inference_mode():
        for got, expected in (
            (model.encode_image(golden_images), golden_model.encode_image(golden_images)),
            (model.encode_text(["hello", "", "42"]), golden_model.encode_text(["hello", "", "42"])),
        ):
            assert 0 < (got.float() - expected).norm() / expected.norm() < tolerance


@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8"])
def test_the_batch_does_not_matter(engines, golden_images, precision):
    model = engines[precision]
    together = texts(model, golden_images)
    assert together == [texts(model, golden_images[i : i + 1])[0] for i in range(7)]
    assert together == texts(model, golden_images[:3]) + texts(model, golden_images[3:])
    assert texts(model, golden_images[:0]) == []


def test_graphs_are_made_once(engines, golden_checkpoint, cache, monkeypatch):
    before = sorted(path.name for path in (cache / "openvino").iterdir())
    assert len(before) == 2, "one folder for fp32 and bf16, one for int8, and nothing left over"
    monkeypatch.setattr("clip4str_plugin.model.engines.openvino._export", lambda *_: pytest.fail("exported again"))
    set_precision(load_model(golden_checkpoint), "int8", calibration=crops(8))
    assert sorted(path.name for path in (cache / "openvino").iterdir()) == before


def test_other_weights_make_other_graphs(engines, golden_checkpoint, cache, monkeypatch):
    model = load_model(golden_checkpoint)
    model.clip_model.visual.proj.data += 1
    exported = []
    monkeypatch.setattr("clip4str_plugin.model.engines.openvino._export", lambda *_: exported.append(1) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        set_precision(model, "fp32", "openvino")
    assert exported


def test_making_graphs_reports_nothing(monkeypatch):
    reporter = pytest.importorskip("openvino_telemetry").Telemetry
    for way in ("send_event", "start_session"):
        monkeypatch.setattr(reporter, way, lambda *_, **__: pytest.fail("OpenVINO reports its use over the network"))
    from clip4str_plugin.model.engines.openvino import _export

    graph = _export(torch.nn.Linear(2, 3), torch.zeros(2, 2))
    assert graph.output(0).get_partial_shape().to_string() == "[?,3]"


def test_making_graphs_says_nothing(monkeypatch):
    decoder = pytest.importorskip("openvino.frontend.pytorch.fx_decoder").TorchFXPythonDecoder
    from clip4str_plugin.model.engines.openvino import _export

    monkeypatch.setattr(decoder, "_decomp_table", None)  # as in a new process
    root, printed = logging.getLogger(), io.StringIO()
    monkeypatch.setattr(root, "handlers", [])
    monkeypatch.setattr(sys, "stderr", printed)
    _export(torch.nn.Linear(2, 3), torch.zeros(2, 2))
    assert decoder._decomp_table is not None
    assert printed.getvalue() == ""
    assert not root.handlers
    assert not root.filters


def test_copies_and_pickles(engines, golden_images):
    expected = texts(engines["fp32"], golden_images)
    assert texts(copy.deepcopy(engines["fp32"]), golden_images) == expected
    assert texts(pickle.loads(pickle.dumps(engines["fp32"])), golden_images) == expected


def test_bf16_of_torch(golden_checkpoint, golden_images):
    model = set_precision(load_model(golden_checkpoint), "bf16", "torch")
    assert model.dtype == torch.bfloat16
    with torch.inference_mode():
        assert model(golden_images).dtype == torch.float32
    with pytest.raises(EngineError, match="load it anew for fp32"):
        set_precision(model, "fp32", "torch")


@pytest.mark.parametrize(
    ("has_bf16", "large", "dtype"),
    [(True, 1000, torch.bfloat16), (False, 1000, torch.float32), (True, 10**9, torch.float32)],
)
def test_auto_says_what_it_chose(golden_checkpoint, monkeypatch, caplog, has_bf16, large, dtype):
    monkeypatch.setattr(precision_module, "_computes_in_bf16", lambda device: has_bf16)
    monkeypatch.setattr(precision_module, "_LARGE", large)
    with caplog.at_level(logging.INFO):
        model = set_precision(load_model(golden_checkpoint), "auto", "torch")
    assert model.dtype == dtype
    chosen = "bf16" if dtype == torch.bfloat16 else "fp32"
    assert f"precision {chosen} (chosen automatically) on cpu with PyTorch" in caplog.text


def test_auto_without_openvino(golden_checkpoint, monkeypatch):
    monkeypatch.setattr(precision_module, "find_spec", lambda name: None)
    assert set_precision(load_model(golden_checkpoint), "auto").engine is None


def test_int8_leaves_a_convolutional_tower_as_it_is(tmp_path, monkeypatch, golden_images):
    pytest.importorskip("openvino")
    pytest.importorskip("nncf")
    monkeypatch.setenv("CLIP4STR_CACHE", str(tmp_path))
    exact = small_model()
    rounded = set_precision(copy.deepcopy(exact), "int8", calibration=crops(8))
    images = torch.nn.functional.interpolate(golden_images, exact.config.image_size)
    with torch.inference_mode():
        torch.testing.assert_close(rounded.encode_image(images), exact.encode_image(images), rtol=0, atol=1e-3)
        assert not torch.allclose(rounded.encode_text(["hello"]), exact.encode_text(["hello"]), rtol=0, atol=1e-4)


def test_what_openvino_cannot_convert_is_left_to_torch(golden_checkpoint, cache, monkeypatch, caplog):
    pytest.importorskip("openvino")
    monkeypatch.setattr(
        "clip4str_plugin.model.engines.openvino._cached",
        lambda *_: (_ for _ in ()).throw(RuntimeError("no such operation")),
    )
    model = set_precision(load_model(golden_checkpoint), "fp32")
    assert model.engine is None
    assert "OpenVINO cannot compute this model, PyTorch does: RuntimeError: no such operation" in caplog.text
    with pytest.raises(RuntimeError, match="no such operation"):
        set_precision(model, "fp32", "openvino")


def test_a_cache_that_cannot_be_written(tmp_path, monkeypatch, caplog):
    pytest.importorskip("openvino")
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("CLIP4STR_CACHE", str(tmp_path / "file" / "cache"))
    model = set_precision(small_model(cross_branch=False), "fp32")
    assert model.engine is not None
    assert "graphs cannot be kept and are made at every start" in caplog.text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("fp16",), "precision is 'fp16'; known are fp32, bf16, fp8, int8, auto"),
        (("fp32", "tensorrt"), "engine is 'tensorrt'; known are auto, torch, openvino, cuda_graphs, compiled"),
        (("bf16", "cuda_graphs"), "CUDA graphs need a model on a GPU, not on cpu"),
        (("int8", "torch"), "int8 needs OpenVINO"),
    ],
)
def test_what_cannot_be_had(golden_model, arguments, message):
    with pytest.raises(EngineError, match=message):
        set_precision(golden_model, *arguments)


def test_openvino_missing(golden_model, monkeypatch):
    monkeypatch.setattr(precision_module, "find_spec", lambda name: None)
    with pytest.raises(EngineError, match=r"pip install 'clip4str-plugin\[openvino\]'"):
        set_precision(golden_model, "fp32", "openvino")
    with pytest.raises(EngineError, match=r"pip install 'clip4str-plugin\[openvino\]'"):
        set_precision(golden_model, "int8")


def test_rounded_weights_are_refused(golden_checkpoint, cache):
    pytest.importorskip("openvino")
    with pytest.raises(EngineError, match="load it anew"):
        set_precision(load_model(golden_checkpoint).to(torch.bfloat16), "fp32", "openvino")


def test_no_calibration_crops(golden_checkpoint, cache):
    pytest.importorskip("nncf")
    with pytest.raises(EngineError, match="calibration holds no crops"):
        set_precision(load_model(golden_checkpoint), "int8", calibration=[])


def test_recognizers_do_not_change_each_others_model(golden_checkpoint):
    words = crops(3)
    model = load_model(golden_checkpoint)
    exact = Recognizer(model)
    before = exact(words)
    assert Recognizer(model, precision="bf16").model is not model
    assert exact.model.dtype == torch.float32
    assert exact.model.engine is None
    assert exact(words) == before


def test_load_model_takes_a_precision(golden_checkpoint, cache, golden_images):
    model = load_model(golden_checkpoint, precision="fp32")
    assert model.dtype == torch.float32
    assert load_model(golden_checkpoint).engine is None, "the reference stays the default"
    with pytest.raises(EngineError, match="fp8 needs a GPU"):
        load_model(golden_checkpoint, precision="fp8")
