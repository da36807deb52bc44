"""Attention maps are those of the passes that gave the reading, and lie where the tokens lie."""

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from clip4str_plugin import load_model
from clip4str_plugin.cli import main
from clip4str_plugin.evaluation.attention import AttentionMaps, attention_maps, draw_attention, token_grid
from clip4str_plugin.model import CLIP4STR, CLIP4STRConfig, save_pretrained
from clip4str_plugin.reading.recognizer import Recognizer


@pytest.fixture(scope="module")
def crop(golden):
    """A golden crop as it enters the golden runs."""
    image = golden("inputs.npz")["images_05"][0]
    return ((image * 0.5 + 0.5) * 255).round().clip(0, 255).astype(np.uint8).transpose(1, 2, 0)


@pytest.fixture(scope="module")
def stem_model():
    """A model with one row of columns as image tokens, random but for an end token that comes late."""
    torch.manual_seed(3)
    config = CLIP4STRConfig(
        embed_dim=16,
        image_size=(32, 128),
        vision={"timm_model_name": "word_convstem_16", "timm_pool": "", "timm_proj": "linear", "image_size": [32, 128]},
        text={"context_length": 16, "vocab_size": 514 + 40, "width": 64, "heads": 1, "layers": 1},
        caption_merges=40,
        decoder_heads=2,
    )
    model = CLIP4STR(config).eval()
    with torch.no_grad():
        for decoder in (model.visual_decoder, model.cross_decoder):
            decoder.head.weight.normal_(std=2)
            decoder.head.bias[0] = -1
    return model


def attended(attention, inputs, weights):
    """The result of an attention of one head whose weights are known."""
    values = inputs[1][1][0]  # h, M, D/h
    return attention.out_proj((torch.from_numpy(weights)[None] @ values).transpose(0, 1).flatten(1))


@pytest.mark.parametrize("refinements", [0, 1, 2])
def test_weights_are_those_of_the_pass_that_gave_the_reading(golden, golden_model, crop, refinements):
    visual, cross = attention_maps(golden_model, crop, refine_iters=refinements)
    expected = golden("alone.json")[f"crop0_r{refinements}"]
    assert cross.text == expected["strings"][0]
    assert cross.caption == expected["captions"][-1][0]
    assert visual.caption is None
    assert len(cross.maps) == len(expected["char_probs"][0])  # the first decoding may stop before an end token
    assert len(visual.maps) == len(visual.text) + 1
    for maps in (visual, cross):
        assert maps.maps.shape[1:] == (14, 14)
        whole = maps.maps.sum((1, 2)) + maps.class_token + maps.caption_tokens.sum(1)
        np.testing.assert_allclose(whole, 1, rtol=1e-5)
    assert cross.caption_tokens.shape[1] == 16
    assert visual.caption_tokens.shape[1] == 0


@pytest.mark.slow
@pytest.mark.parametrize("refinements", [0, 1])
@pytest.mark.parametrize("branch", ["visual", "cross"])
def test_weights_reproduce_what_the_decoder_computed(golden_checkpoint, crop, branch, refinements):
    """With one head, weights times values must be the layer's own result."""
    model = load_model(golden_checkpoint, decoder_heads=1)
    attention = getattr(model, f"{branch}_decoder").layers[-1].cross_attn
    calls = []
    handle = attention.register_forward_hook(lambda module, inputs, output: calls.append((inputs, output)))
    try:
        maps = attention_maps(model, crop, refine_iters=refinements)[branch == "cross"]
    finally:
        handle.remove()
    weights = np.concatenate(
        [maps.class_token[:, None], maps.maps.reshape(len(maps.maps), -1), maps.caption_tokens], axis=1
    )
    outputs = torch.cat([output[0] for _, output in calls])  # positions of all passes, in order
    inputs = calls[-1][0]
    with torch.inference_mode():
        got = attended(attention, inputs, weights)
    last = calls[-1][1].shape[1]
    start = len(outputs) - (last if last >= len(got) else len(got))
    torch.testing.assert_close(got, outputs[start : start + len(got)], rtol=1e-4, atol=1e-4)


def test_reading_is_not_changed_by_looking(golden_model, crop):
    before = Recognizer(golden_model)([crop])[0].text
    cross = attention_maps(golden_model, crop)[1]
    assert cross.text == before == Recognizer(golden_model)([crop])[0].text
    assert not golden_model.cross_decoder.layers[-1].cross_attn._forward_pre_hooks


@pytest.mark.slow
def test_columns_of_a_convolutional_stem(stem_model):
    crop = np.random.default_rng(0).integers(0, 256, (20, 70, 3), dtype=np.uint8)
    assert token_grid(stem_model) == (0, 1, 32)
    visual, cross = attention_maps(stem_model, crop)
    for maps in (visual, cross):
        assert maps.maps.shape[1:] == (1, 32)
        assert len(maps.maps) in (len(maps.text), len(maps.text) + 1)
        assert not maps.class_token.any()
        np.testing.assert_allclose(maps.maps.sum((1, 2)) + maps.caption_tokens.sum(1), 1, rtol=1e-5)


@pytest.mark.slow
def test_the_embedded_model_looks_along_the_word():
    """Its own word, drawn plainly: the places of the characters rise from left to right."""
    crop = np.full((40, 150, 3), 255, np.uint8)
    cv2.putText(crop, "HOTEL", (12, 31), cv2.FONT_HERSHEY_SIMPLEX, 1.1, (0, 0, 0), 3, cv2.LINE_AA)
    visual, cross = attention_maps(load_model("tiny"), crop)
    for maps in (visual, cross):
        assert maps.text == "HOTEL"
        assert maps.maps.shape[1:] == (1, 32)
        places = maps.maps[:5, 0].argmax(1)
        assert (np.diff(places) > 0).all(), places


def test_grid_of_a_vision_transformer(golden_model):
    assert token_grid(golden_model) == (1, 14, 14)


def test_a_patch_is_where_the_picture_glows(golden_model):
    """The token of a patch is found by changing its pixels alone; the map must put it on those pixels."""
    images = torch.zeros(2, 3, 224, 224)
    row, column = 3, 11
    images[1, :, 16 * row : 16 * row + 16, 16 * column : 16 * column + 16] = 1
    visual = golden_model.clip_model.visual
    with torch.inference_mode():
        patches = visual.conv1(images).flatten(2).transpose(1, 2)  # before the tokens see one another
    token = int((patches[1] - patches[0]).abs().sum(-1).argmax())
    prefix, rows, columns = token_grid(golden_model)
    weights = np.zeros(prefix + rows * columns, np.float32)
    weights[prefix + token] = 1
    grid = weights[prefix:].reshape(1, rows, columns)
    maps = AttentionMaps("visual", "", grid, np.zeros(1), None, np.zeros((1, 0)))
    sheet = np.asarray(draw_attention(np.full((224, 224, 3), 128, np.uint8), [maps], height=224)).astype(int)
    top, left = 40, 6  # title and character; gap
    redness = (sheet[..., 0] - sheet[..., 2])[top : top + 224, left : left + 224]
    y, x = np.argwhere(redness == redness.max()).mean(0)
    assert abs(y - 16 * (row + 0.5)) < 2
    assert abs(x - 16 * (column + 0.5)) < 2


def test_picture_holds_both_branches_and_all_characters(golden_model, crop):
    maps = attention_maps(golden_model, crop)
    picture = draw_attention(crop, maps, height=32)
    cells = max(len(m.maps) for m in maps)
    assert picture.size == (6 + cells * (32 + 6), 2 * (32 + 40 + 6))


def test_class_token_memory_has_no_map(golden_model, crop, monkeypatch):
    monkeypatch.setattr(golden_model, "config", golden_model.config.replace(cls_eot_memory=True))
    with pytest.raises(ValueError, match="class token only"):
        attention_maps(golden_model, crop)


@pytest.mark.slow
def test_command(golden, golden_checkpoint, crop, tmp_path, capsys):
    Image.fromarray(crop).save(tmp_path / "word.png")
    (tmp_path / "broken.png").write_bytes(b"no image")
    paths = [str(tmp_path / "word.png"), str(tmp_path / "broken.png"), str(tmp_path / "word.png")]
    status = main(["attention", *paths, "--model", str(golden_checkpoint), "--output", str(tmp_path / "out")])
    out, err = capsys.readouterr()
    assert status == 1
    assert "broken.png" in err
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["word-2.attention.png", "word.attention.png"]
    expected = golden("alone.json")["crop0_r1"]["strings"][0]
    assert [line.split("\t")[2] for line in out.splitlines()] == [f"cross: {expected}"] * 2


@pytest.mark.slow
def test_command_for_a_model_without_cross_branch(stem_model, tmp_path, capsys):
    config = stem_model.config.replace(cross_branch=False)
    save_pretrained(CLIP4STR(config), tmp_path / "model")
    Image.new("RGB", (40, 12), "white").save(tmp_path / "word.png")
    command = ["attention", str(tmp_path / "word.png"), "--model", str(tmp_path / "model"), "--output", str(tmp_path)]
    assert main(command) == 0
    assert (tmp_path / "word.attention.png").is_file()
    assert main([*command, "--branch", "cross"]) == 2
    assert "visual branch alone" in capsys.readouterr().err
