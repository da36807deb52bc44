"""Starting points: other charsets and lengths, weight files of any layout, other towers, freezing."""

import json

import numpy as np
import pytest
import torch

from clip4str_plugin.errors import CheckpointError, Clip4StrError
from clip4str_plugin.model import CLIP4STR
from clip4str_plugin.model.config import CHARSET_94, CLIP_MEAN, CLIP4STRConfig
from clip4str_plugin.training.config import ModelSource
from clip4str_plugin.training.optim import freeze
from clip4str_plugin.training.permutations import permuted_loss, sample_permutations
from clip4str_plugin.training.start import build_model, change_model, open_clip_config, read_clip_weights
from tests.word_sets import SMALL_MODEL

ACCENTS = "éèàç"


def test_a_new_charset_keeps_what_is_shared(golden_model, golden_images):
    charset = ACCENTS + CHARSET_94[::-1]
    model = change_model(golden_model, {"charset": charset}).eval()
    old, new = golden_model.visual_decoder, model.visual_decoder
    assert new.head.weight.shape[0] == 1 + len(charset)
    places = [1 + charset.index(c) for c in CHARSET_94]
    torch.testing.assert_close(new.head.weight[[0, *places]], old.head.weight)
    torch.testing.assert_close(new.text_embed.embedding.weight[[0, *places]], old.text_embed.embedding.weight[:95])
    bos, pad = model.tokenizer.bos_id, model.tokenizer.pad_id
    torch.testing.assert_close(new.text_embed.embedding.weight[[bos, pad]], old.text_embed.embedding.weight[95:97])
    # An accented letter starts as the plain one.
    torch.testing.assert_close(new.head.weight[1], old.head.weight[1 + CHARSET_94.index("e")])


def test_a_reordered_charset_reads_the_same(golden_model, golden_images):
    model = change_model(golden_model, {"charset": CHARSET_94[::-1]}).eval()
    texts = [
        [t for t, _ in m.tokenizer.decode(d.logits, d.lengths)]
        for m in (golden_model, model)
        for d in [m.generate(golden_images[:2])]
    ]
    assert texts[0] == texts[1]


def test_thousands_of_characters_and_long_labels(golden_model, golden_images):
    charset = CHARSET_94 + "".join(map(chr, range(0x4E00, 0x4E00 + 5000)))
    model = change_model(golden_model, {"charset": charset, "max_label_length": 60, "caption_charset": charset})
    label = "漢字" * 30 if {"漢", "字"} <= set(charset) else "".join(charset[94 : 94 + 60])
    loss = permuted_loss(
        model, golden_images[:1], [label], sample_permutations(len(label), 2, np.random.default_rng(0))
    )
    loss.total.backward()
    assert torch.isfinite(loss.total)
    assert model.eval()(golden_images[:1]).shape == (1, 61, len(charset) + 1)
    torch.testing.assert_close(model.visual_decoder.pos_queries[:, :26], golden_model.visual_decoder.pos_queries)


def test_the_cross_modal_decoder_may_start_as_the_visual_one():
    model = build_model(ModelSource(config=SMALL_MODEL, copy_decoder=True))
    for name, value in model.visual_decoder.state_dict().items():
        torch.testing.assert_close(model.cross_decoder.state_dict()[name], value)
    with pytest.raises(Clip4StrError, match="copy_decoder"):
        build_model(ModelSource(config={**SMALL_MODEL, "cross_branch": False}, copy_decoder=True))


def test_a_new_image_size_interpolates_positions(golden_model):
    model = change_model(
        golden_model, {"image_size": [64, 256], "vision": {**golden_model.config.vision, "image_size": [64, 256]}}
    )
    assert model.clip_model.visual.positional_embedding.shape == (1 + 4 * 16, 64)
    assert model.eval()(torch.zeros(1, 3, 64, 256)).shape[0] == 1


# ---- weight files -------------------------------------------------------------------------------------


@pytest.fixture
def clip_state(golden_state):
    return {k.removeprefix("clip_model."): v for k, v in golden_state.items() if k.startswith("clip_model.")}


@pytest.fixture
def clip_geometry(monkeypatch):
    from clip4str_plugin.model import GEOMETRIES

    tiny = {
        "embed_dim": 64,
        "vision_width": 64,
        "vision_layers": 2,
        "patch_size": 16,
        "text_width": 64,
        "text_layers": 2,
    }
    monkeypatch.setitem(GEOMETRIES, "golden", tiny)


def save(state, path, layout):
    if layout == "safetensors":
        from safetensors.torch import save_file

        save_file(state, path)
    elif layout == "open_clip training":
        torch.save({"epoch": 3, "name": "run", "state_dict": {f"module.{k}": v for k, v in state.items()}}, path)
    elif layout == "half":
        torch.save({k: v.half() for k, v in state.items()}, path)
    elif layout == "TorchScript":
        root = torch.nn.Module()
        for name, value in state.items():
            *parents, leaf = name.split(".")
            module = root
            for parent in parents:
                if not hasattr(module, parent):
                    module.add_module(parent, torch.nn.Module())
                module = getattr(module, parent)
            module.register_parameter(leaf, torch.nn.Parameter(value))
        root.register_buffer("input_resolution", torch.tensor(224))
        torch.jit.save(torch.jit.script(root), str(path))
    else:
        torch.save(state, path)


@pytest.mark.parametrize("layout", ["state dict", "half", "safetensors", "open_clip training", "TorchScript"])
def test_towers_start_from_a_file(clip_state, clip_geometry, golden_model, golden_images, tmp_path, layout):
    path = tmp_path / "weights"
    save(clip_state, path, layout)
    model = build_model(ModelSource(clip="golden", clip_weights=str(path))).eval()
    assert model.config.mean == CLIP_MEAN
    tolerance = 2e-2 if layout == "half" else 1e-5
    torch.testing.assert_close(
        model.encode_image(golden_images[:1]),
        golden_model.encode_image(golden_images[:1]),
        rtol=tolerance,
        atol=tolerance,
    )


def test_weights_of_another_clip(clip_state, clip_geometry, tmp_path):
    path = tmp_path / "weights"
    del clip_state["visual.proj"]
    torch.save(clip_state, path)
    with pytest.raises(CheckpointError, match=r"is of another CLIP: 1 tensors are missing.*visual.proj.*model.clip"):
        build_model(ModelSource(clip="golden", clip_weights=str(path)))


def test_files_that_are_no_clip(tmp_path, golden_state):
    path = tmp_path / "weights"
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(CheckpointError, match="not a readable weight file"):
        read_clip_weights("base16", str(path))
    torch.save({"a": torch.zeros(2)}, path)
    with pytest.raises(CheckpointError, match="holds no CLIP"):
        read_clip_weights("base16", str(path))
    with pytest.raises(Clip4StrError, match=r"nor a pretrained tag of ViT-B-16; its tags are.*openai"):
        read_clip_weights("base16", "no_such_tag")


@pytest.mark.parametrize(
    ("name", "tag"),
    [
        ("base16", "openai"),
        ("base16", "datacomp_xl_s13b_b90k"),
        ("large14", "openai"),
        ("large14", "datacomp_xl_s13b_b90k"),
        ("huge14", "laion2b_s32b_b79k"),
        ("huge14", "dfn5b"),
    ],
)
def test_open_clip_knows_the_published_starting_points(monkeypatch, tmp_path, name, tag):
    import open_clip

    asked = []
    monkeypatch.setattr(open_clip.pretrained, "download_pretrained", lambda c: asked.append(c) or tmp_path / "none")
    with pytest.raises(OSError, match="none"):
        read_clip_weights(name, tag)
    assert asked[0]


# ---- other towers -------------------------------------------------------------------------------------


def learns(model, labels=("ab", "c")):
    images = torch.rand(len(labels), 3, *model.config.image_size)
    longest = max(map(len, labels))
    loss = permuted_loss(model, images, labels, sample_permutations(longest, 2, np.random.default_rng(0)))
    loss.total.backward()
    assert torch.isfinite(loss.total)
    return model.eval()(images)


def test_open_clips_own_configuration():
    config = open_clip_config("ViT-B-16-SigLIP")
    assert config.embed_dim == 768
    assert config.vision["timm_model_name"] == "vit_base_patch16_siglip_224"
    assert open_clip_config("ViT-H-14").vision["head_width"] == 80  # as open_clip trained it; huge14 is as published
    assert not open_clip_config("ViT-H-14").quick_gelu
    assert open_clip_config("huge14").vision["head_width"] == 64


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "resnet18"])
def test_timm_towers(name):
    vision = {"timm_model_name": name, "timm_pool": "", "timm_proj": "linear", "image_size": [224, 224]}
    values = {**SMALL_MODEL, "vision": vision, "image_size": [224, 224]}
    if name == "resnet18":  # its map, 7 x 7 tokens, has the width of the embedding already
        vision["timm_proj"] = None
        values["embed_dim"] = 512
    assert learns(CLIP4STR(CLIP4STRConfig.from_dict(values), allow_hub=True)).shape[0] == 2


@pytest.fixture
def tokenizer_folder(tmp_path):
    pytest.importorskip("transformers")
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {t: i for i, t in enumerate(["<pad>", "<s>", "</s>", "<unk>", *"abcdefghijklmnopqrstuvwxyzéè漢字"])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.post_processor = processors.TemplateProcessing("<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )
    folder = tmp_path / "tokenizer"
    fast.save_pretrained(folder)
    return folder


def test_a_text_tower_as_siglips(tokenizer_folder):
    text = {"context_length": 16, "vocab_size": 64, "width": 32, "heads": 2, "layers": 2, "no_causal_mask": True}
    text |= {"pool_type": "last", "proj_bias": True, "hf_tokenizer_name": str(tokenizer_folder)}
    values = {**SMALL_MODEL, "text": text, "charset": "abcé漢字", "caption_charset": "abcé漢字", "caption_merges": None}
    model = CLIP4STR(CLIP4STRConfig.from_dict(values), allow_hub=True)
    assert model.encode_text(["漢字", "é"]).shape == (2, 16, 32)
    freeze(model, text_layers=1)
    learns(model, ("漢字", "é"))
    frozen = {n for n, p in model.clip_model.text.named_parameters() if not p.requires_grad}
    assert any("resblocks.0." in n for n in frozen)
    assert "token_embedding.weight" in frozen
    assert not any("resblocks.1." in n for n in frozen)


def test_a_multilingual_text_tower_of_the_hub(tokenizer_folder, tmp_path):
    folder = tmp_path / "xlm"
    folder.mkdir()
    config = {
        "model_type": "xlm-roberta",
        "vocab_size": 64,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "pad_token_id": 0,
    }
    config |= {
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "max_position_embeddings": 40,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    (folder / "config.json").write_text(json.dumps(config))
    text = {"hf_model_name": str(folder), "hf_tokenizer_name": str(tokenizer_folder), "hf_pooler_type": "mean_pooler"}
    values = {**SMALL_MODEL, "text": text, "charset": "abcé漢字", "caption_charset": "abcé漢字", "caption_merges": None}
    model = CLIP4STR(CLIP4STRConfig.from_dict(values), allow_hub=True)
    assert model.encode_text(["漢字", "é"]).shape == (2, 16, 32)
    freeze(model, text_layers=1)
    learns(model, ("漢字", "é"))


def test_a_text_tower_that_cannot_be_had(tmp_path):
    pytest.importorskip("transformers")
    text = {"hf_model_name": str(tmp_path / "nothing"), "hf_tokenizer_name": str(tmp_path / "nothing")}
    with pytest.raises(Clip4StrError, match=r"cannot be (built|loaded)"):
        build_model(ModelSource(config={**SMALL_MODEL, "text": text}, allow_hub=True))


# ---- freezing -----------------------------------------------------------------------------------------


def test_freezing_layers_of_both_towers(golden_model):
    import copy

    model = copy.deepcopy(golden_model)
    freeze(model, image_layers=1, text_layers=1)
    frozen = {n for n, p in model.named_parameters() if not p.requires_grad}
    assert "clip_model.visual.class_embedding" in frozen
    assert "clip_model.visual.transformer.resblocks.0.ln_1.weight" in frozen
    assert "clip_model.transformer.resblocks.0.ln_1.weight" in frozen
    assert not any(
        "resblocks.1." in n or "conv1" in n or "ln_post" in n or "ln_final" in n or "_decoder" in n for n in frozen
    )
    freeze(model, image_layers=12, text_layers=12)
    trainable = {n for n, p in model.named_parameters() if p.requires_grad}
    assert all(n.startswith(("visual_decoder.", "cross_decoder.")) for n in trainable)


def test_freezing_a_tower_without_blocks():
    model = CLIP4STR(CLIP4STRConfig.from_dict(SMALL_MODEL))
    freeze(model, image_layers=1)
    assert not model.clip_model.visual.trunk.stem[0][0].weight.requires_grad
    model.clip_model.visual = torch.nn.Linear(1, 1)
    with pytest.raises(Clip4StrError, match="no sequence of blocks"):
        freeze(model, image_layers=1)
