"""The image tower of PP-OCRv6-small's recognizer, against the real network in RapidOCR's wheel."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from clip4str_plugin.errors import CheckpointError, Clip4StrError
from clip4str_plugin.model.ppocr_tower import ppocr_v6_small
from clip4str_plugin.model.ppocr_weights import bundled_recognizer, load_ppocr_weights
from clip4str_plugin.training.config import ModelSource
from clip4str_plugin.training.start import build_model
from tests.word_sets import SMALL_MODEL

WITH_TOWER = {
    **SMALL_MODEL,
    "image_size": [48, 128],
    "vision": {**SMALL_MODEL["vision"], "timm_model_name": "ppocr_v6_small", "image_size": [48, 128]},
}


@pytest.fixture(scope="module")
def loaded():
    """The tower with the published weights, and the linear layer after it."""
    tower = ppocr_v6_small()
    return tower.eval(), load_ppocr_weights(tower, bundled_recognizer())


@pytest.fixture(scope="module")
def images():
    return torch.rand(3, 3, 48, 128, generator=torch.Generator().manual_seed(0)) * 2 - 1


@torch.inference_mode()
def test_every_layer_computes_what_the_published_network_does(loaded, images):
    onnxruntime = pytest.importorskip("onnxruntime")
    tower, head = loaded
    # As published: columns are joined by twos, so that the convolution over them skips none.
    x = F.avg_pool2d(tower.blocks(tower.stem(images)), (3, 2))
    y = F.silu(tower.narrow(x))
    y = y + F.silu(F.conv2d(y, tower.neighbours.weight, tower.neighbours.bias, padding=(0, 3), groups=120))
    y = tower.norm(tower.neck(y.flatten(2).transpose(1, 2))) + F.silu(tower.shortcut(x)).flatten(2).transpose(1, 2)
    found = F.linear(y, head["weight"], head["bias"]).softmax(-1)
    session = onnxruntime.InferenceSession(str(bundled_recognizer()), providers=["CPUExecutionProvider"])
    expected = session.run(None, {session.get_inputs()[0].name: images.flip(1).numpy()})[0]  # BGR
    np.testing.assert_allclose(found.numpy(), expected, atol=5e-4)


@torch.inference_mode()
def test_columns_stay_apart_and_crops_do_not_meet(loaded, images):
    tower, _ = loaded
    tokens = tower(images)
    assert tokens.shape == (3, 32, 504)
    torch.testing.assert_close(tower(images[1:2]), tokens[1:2], atol=1e-4, rtol=1e-4)


def test_a_model_starts_from_the_published_weights(loaded):
    model = build_model(ModelSource(image_weights="rapidocr", config=WITH_TOWER, freeze_image_layers=12))
    trunk = model.clip_model.visual.trunk
    torch.testing.assert_close(trunk.stem.conv1.weight, loaded[0].stem.conv1.weight)
    frozen = {name.split(".")[0] for name, p in trunk.named_parameters() if not p.requires_grad}
    assert frozen == {"stem", "blocks"}
    assert trunk.blocks[12].expand.weight.requires_grad
    assert trunk.column_embed.requires_grad  # comes after the blocks and starts from nothing


def test_other_files_and_other_towers(tmp_path, loaded):
    with pytest.raises(CheckpointError, match="not a readable ONNX file"):
        load_ppocr_weights(ppocr_v6_small(), tmp_path / "missing.onnx")
    detector = bundled_recognizer().with_name("PP-OCRv6_det_small.onnx")
    with pytest.raises(CheckpointError, match="another network"):
        load_ppocr_weights(ppocr_v6_small(), detector)
    with pytest.raises(Clip4StrError, match="image_weights"):
        build_model(ModelSource(image_weights="rapidocr", config=SMALL_MODEL))
