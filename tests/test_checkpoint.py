import json
import pickle

import pytest
import torch
from safetensors.torch import save_file

from clip4str_plugin import load_model
from clip4str_plugin.errors import CheckpointError
from clip4str_plugin.model import CLIP4STR, CLIP4STRConfig, available_models, clip_config, save_pretrained


@pytest.fixture(scope="module")
def bare(golden_state, tmp_path_factory):
    path = tmp_path_factory.mktemp("bare") / "huge-base32x32-large.bin"  # a name that says nothing true
    torch.save(golden_state, path)
    return path


@pytest.fixture(scope="module")
def expected(golden_model, golden_images):
    with torch.inference_mode():
        return golden_model(golden_images[:2])


def logits(model, images):
    with torch.inference_mode():
        return model(images[:2])


def test_geometry_is_read_from_the_tensors(golden_model):
    config = golden_model.config
    assert (config.embed_dim, config.vision["width"], config.vision["layers"]) == (64, 64, 2)
    assert (config.context_length, config.max_label_length, config.refine_iters) == (16, 25, 1)


def test_heads_are_width_over_64():
    config = clip_config(
        embed_dim=8, vision_width=1280, vision_layers=1, patch_size=112, text_width=128, text_layers=1, vocab_size=49408
    )
    model = CLIP4STR(config)
    assert model.clip_model.visual.transformer.resblocks[0].attn.num_heads == 20
    assert model.clip_model.transformer.resblocks[0].attn.num_heads == 2


def test_bare_state_dict(bare, golden_images, expected):
    torch.testing.assert_close(logits(load_model(bare), golden_images), expected)


def test_state_dict_of_a_wrapped_model(golden_state, golden_images, expected, tmp_path):
    torch.save({"model": {f"module.{k}": v for k, v in golden_state.items()}}, tmp_path / "x.pt")
    torch.testing.assert_close(logits(load_model(tmp_path / "x.pt"), golden_images), expected)


def test_bare_safetensors(golden_state, golden_images, expected, tmp_path):
    save_file(golden_state, tmp_path / "weights.ckpt")
    torch.testing.assert_close(logits(load_model(tmp_path / "weights.ckpt"), golden_images), expected)


def test_legacy_pickle_format(golden_state, golden_images, expected, tmp_path):
    torch.save(golden_state, tmp_path / "x", _use_new_zipfile_serialization=False)
    torch.testing.assert_close(logits(load_model(tmp_path / "x"), golden_images), expected)


def test_round_trip(golden_model, golden_images, expected, tmp_path):
    save_pretrained(golden_model, tmp_path)
    model = load_model(tmp_path)
    assert model.config == golden_model.config
    torch.testing.assert_close(logits(model, golden_images), expected, rtol=0, atol=0)


def test_half_precision_file_gives_a_float32_model(golden_model, tmp_path):
    save_pretrained(golden_model, tmp_path, half=True, name="small")
    full = sum(p.numel() * 4 for p in golden_model.parameters())
    assert (tmp_path / "small.safetensors").stat().st_size < 0.51 * full + 20000
    assert load_model(tmp_path / "small.safetensors").dtype == torch.float32


def test_training_checkpoint(golden_model, golden_images, expected, tmp_path):
    content = {
        "state_dict": {f"model.{k}": v for k, v in golden_model.state_dict().items()} | {"head": torch.ones(1)},
        "hyper_parameters": {"clip4str": golden_model.config.to_dict(), "training": {}},
    }
    torch.save(content, tmp_path / "step=5.ckpt")
    torch.testing.assert_close(logits(load_model(tmp_path / "step=5.ckpt"), golden_images), expected)


def test_overrides_by_either_name(golden_checkpoint):
    assert load_model(golden_checkpoint, refine_iters=2).config.refine_iters == 2
    assert load_model(golden_checkpoint, charset_test="abc").config.caption_charset == "abc"
    with pytest.raises(CheckpointError, match="colour"):
        load_model(golden_checkpoint, colour="red")


class Malicious:
    def __reduce__(self):
        return print, ("this must never run",)


@pytest.mark.parametrize("new_format", [True, False])
def test_code_is_refused(tmp_path, capsys, new_format):
    torch.save({"state_dict": {}, "x": Malicious()}, tmp_path / "evil.ckpt", _use_new_zipfile_serialization=new_format)
    with pytest.raises(CheckpointError, match=r"evil\.ckpt: refused.*print"):
        load_model(tmp_path / "evil.ckpt")
    assert "never run" not in capsys.readouterr().out


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_plain_pickle_is_refused(tmp_path):
    (tmp_path / "evil.pkl").write_bytes(pickle.dumps(Malicious()))
    with pytest.raises(CheckpointError, match=r"evil\.pkl"):
        load_model(tmp_path / "evil.pkl")


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 cut off", b"<html>404</html>" * 100])
def test_other_files_are_named(tmp_path, content):
    (tmp_path / "file.pt").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"file\.pt"):
        load_model(tmp_path / "file.pt")


def test_truncated_files_are_named(bare, golden_model, tmp_path):
    (tmp_path / "cut.pt").write_bytes(bare.read_bytes()[:200_000])
    with pytest.raises(CheckpointError, match=r"cut\.pt"):
        load_model(tmp_path / "cut.pt")
    save_pretrained(golden_model, tmp_path)
    whole = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        load_model(tmp_path)


def test_wrong_tensors_are_named(golden_checkpoint, golden_state, tmp_path):
    state = dict(golden_state)
    state["visual_decoder.norm.weight"] = torch.ones(65)
    state["surprise"] = torch.ones(1)
    del state["cross_decoder.head.bias"]
    torch.save(state, tmp_path / "x.pt")
    with pytest.raises(CheckpointError) as e:
        load_model(tmp_path / "x.pt")
    assert "missing cross_decoder.head.bias" in str(e.value)
    assert "unexpected surprise" in str(e.value)
    assert "visual_decoder.norm.weight (65,) instead of (64,)" in str(e.value)


def test_other_tensors_are_no_clip4str(tmp_path):
    torch.save({"conv.weight": torch.ones(3)}, tmp_path / "resnet.pt")
    with pytest.raises(CheckpointError, match="not a CLIP4STR checkpoint"):
        load_model(tmp_path / "resnet.pt")


def test_other_charset_needs_hyper_parameters(golden_state, golden, tmp_path):
    state = {k: v[:37] if "head." in k else v[:39] if "text_embed" in k else v for k, v in golden_state.items()}
    torch.save(state, tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match="36 characters"):
        load_model(tmp_path / "x.pt")
    hyper = golden("meta.json")["hparams"] | {"charset_train": "0123456789abcdefghijklmnopqrstuvwxyz"}
    torch.save({"state_dict": state, "hyper_parameters": hyper}, tmp_path / "x.pt")
    assert load_model(tmp_path / "x.pt").tokenizer.num_classes == 37


def test_other_label_length(golden_state, tmp_path):
    state = {k: v[:, :11] if "pos_queries" in k else v for k, v in golden_state.items()}
    torch.save(state, tmp_path / "x.pt")
    model = load_model(tmp_path / "x.pt")
    assert model.config.max_label_length == 10
    assert logits(model, torch.zeros(2, 3, 224, 224)).shape == (2, 11, 95)


def test_unknown_name_lists_the_known():
    with pytest.raises(CheckpointError, match=r"'bse16'.*tiny.*base16"):
        load_model("bse16")
    assert available_models()[0] == "tiny"


def test_broken_configuration_is_named(golden_model, tmp_path):
    save_pretrained(golden_model, tmp_path)
    values = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(values | {"colour": 1}))
    with pytest.raises(CheckpointError, match="colour"):
        load_model(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match="not JSON"):
        load_model(tmp_path)


def test_visual_branch_alone_and_small_tower():
    config = CLIP4STRConfig(
        embed_dim=16,
        image_size=(32, 128),
        vision={"timm_model_name": "word_convstem_16", "timm_pool": "", "timm_proj": "linear", "image_size": [32, 128]},
        text={"context_length": 16, "vocab_size": 612, "width": 64, "heads": 1, "layers": 1},
        caption_merges=98,
        decoder_heads=2,
        cross_branch=False,
    )
    model = CLIP4STR(config).eval()
    with torch.inference_mode():
        assert model(torch.zeros(3, 3, 32, 128)).shape == (3, 26, 95)
        assert model.encode_image(torch.zeros(3, 3, 32, 128)).shape == (3, 32, 16)
