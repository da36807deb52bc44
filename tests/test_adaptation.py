"""Adapters: shapes and outputs of the published ones, their formulas, LoRA, and what a training may change."""

import numpy as np
import pytest
import torch
from torch import nn

from clip4str_plugin.errors import Clip4StrError
from clip4str_plugin.model import CLIP4STR, save_pretrained
from clip4str_plugin.model.adaptation import ADAPTERS, LadderAdapter, PrunedBlock
from clip4str_plugin.model.config import CLIP4STRConfig
from clip4str_plugin.training.config import ModelSource
from clip4str_plugin.training.optim import parameter_groups
from clip4str_plugin.training.permutations import permuted_loss, sample_permutations
from clip4str_plugin.training.start import build_model, change_model
from tests.golden import hashweights
from tests.word_sets import SMALL_MODEL


def adapted(golden_model, kind, **options):
    blocks = {} if kind in ("linear", "attention") else {"blocks": [0, 1]}
    changes = {"adapter": {"kind": kind, **blocks, **options}, "cross_branch": False}
    model = change_model(golden_model, changes).eval()
    if isinstance(model.adapter, LadderAdapter):
        model.adapter.copy_from(model.clip_model.visual)
    return model


@pytest.mark.parametrize("kind", ADAPTERS)
def test_parameters_are_the_published_ones(golden, golden_model, kind):
    expected = golden("extra.json")["adapters"][kind]["keys"]
    model = adapted(golden_model, kind)
    assert {n: list(v.shape) for n, v in model.state_dict().items() if n.startswith("adapter.")} == expected


def published_weights(kind, shapes):
    """The weights the published adapter was run with: the hash of the golden files, but by a simpler rule."""

    def weight(name, shape):
        # The state-dict name itself begins with "adapter."; with the kind before it, no two kinds share a value.
        r = hashweights.u(f"adapter.{kind}.{name}", tuple(shape), 1)
        if len(shape) > 1:
            return r * np.float32(hashweights.S3 / shape[-1] ** 0.5)
        return 1 + np.float32(0.2) * r if ".ln_" in name and name.endswith("weight") else np.float32(0.1) * r

    return {name: torch.from_numpy(weight(name, shape)) for name, shape in shapes.items()}


@pytest.mark.parametrize("kind", [*ADAPTERS, "none"])
def test_golden_outputs(golden, golden_model, golden_images, kind):
    """Memory of the first crop, logits and readings of three."""
    case, arrays = golden("extra.json")["adapters"][kind], golden("extra.npz")
    if kind == "none":
        model = change_model(golden_model, {"cross_branch": False}).eval()
    else:
        model = adapted(golden_model, kind)
        unset = model.load_state_dict(published_weights(kind, case["keys"]), strict=False).missing_keys
        assert not any(name.startswith("adapter.") for name in unset)
    images = golden_images[:3]
    with torch.inference_mode():
        np.testing.assert_allclose(model.encode_image(images[:1]), arrays[f"{kind}/memory"], atol=2e-5)
        decoding = model.generate(images)
    np.testing.assert_allclose(decoding.logits, arrays[f"{kind}/logits"], atol=2e-4)
    readings = model.tokenizer.decode(decoding.logits, decoding.lengths)
    assert [text for text, *_ in readings] == case["strings"]


def test_block_is_clips_own(golden_model):
    theirs = golden_model.clip_model.visual.transformer.resblocks[0]
    ours = PrunedBlock(64, 1)
    ours.copy_from(theirs)
    x = torch.randn(2, 5, 64)
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-5, atol=1e-5)


def test_attention_adapter_is_half_a_block(golden_model):
    model = adapted(golden_model, "attention")
    x = torch.randn(1, 7, 64)
    torch.testing.assert_close(model.adapter(x), 0.5 * model.adapter.attn(x) + 0.5 * x)
    assert model.adapter.attn.attn.heads == 8


def test_ladder_of_copies_starts_as_the_tower_itself(golden_model, golden_images):
    """With copied blocks the side path computes what the tower does, whatever the gates."""
    model = adapted(golden_model, "ladder")
    model.adapter.alpha.data = torch.tensor([0.05, -0.1])
    torch.testing.assert_close(
        model.encode_image(golden_images[:2]), golden_model.encode_image(golden_images[:2]), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("kind", ["ladder", "linear_ladder", "ladder_pruning"])
def test_ladder_formula(golden_model, golden_images, kind):
    model = adapted(golden_model, kind)
    for parameter in model.adapter.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    visual, adapter, inputs = model.clip_model.visual, model.adapter, []
    hooks = [
        b.ln_1.register_forward_pre_hook(lambda m, args: inputs.append(args[0])) for b in visual.transformer.resblocks
    ]
    memory = golden_model.encode_image(golden_images[:1])
    model_memory = model.encode_image(golden_images[:1])
    for hook in hooks:
        hook.remove()
    gates = torch.sigmoid(adapter.alpha / 0.1)
    y = adapter.resblocks[0](inputs[0])
    y = adapter.resblocks[1](gates[1] * inputs[1] + (1 - gates[1]) * y)
    y = nn.functional.layer_norm(y, (64,), adapter.ln_post.weight, adapter.ln_post.bias) @ adapter.proj
    torch.testing.assert_close(model_memory, gates[0] * memory + (1 - gates[0]) * y, rtol=1e-4, atol=1e-4)


def test_pruning_keeps_the_heaviest_rows_in_their_order(golden_model):
    block = golden_model.clip_model.visual.transformer.resblocks[0]
    pruned = PrunedBlock(64, 1, reduction=4)
    pruned.copy_from(block)
    keys = block.attn.in_proj_weight[64:128].detach()
    chosen = sorted(sorted(range(64), key=lambda i: -keys[i].abs().sum().item())[:16])
    torch.testing.assert_close(pruned.attn.in_proj_weight[16:32], keys[chosen])
    columns = block.attn.out_proj.weight.detach()
    chosen = sorted(sorted(range(64), key=lambda i: -columns[:, i].abs().sum().item())[:16])
    torch.testing.assert_close(pruned.attn.out_proj.weight, columns[:, chosen])
    torch.testing.assert_close(pruned.mlp.c_proj.bias, block.mlp.c_proj.bias)
    assert pruned.mlp.c_fc.weight.shape == (64, 64)


@pytest.mark.parametrize("kind", ADAPTERS)
def test_only_adapter_and_decoder_learn(golden_checkpoint, golden_images, kind):
    options = {"kind": kind} | ({} if kind in ("linear", "attention") else {"blocks": [0, 1]})
    model = build_model(ModelSource(start=str(golden_checkpoint), adapter=options))
    permuted_loss(
        model, golden_images[:2], ["ab", "c"], sample_permutations(2, 2, np.random.default_rng(0))
    ).total.backward()
    assert all(p.grad is None for p in model.clip_model.parameters())
    assert all(p.grad is not None for n, p in model.named_parameters() if n.startswith(("adapter.", "visual_decoder.")))
    groups = parameter_groups(model, 1.0, 0.2, coef_lr=19.0)
    rates = {id(p): g["lr"] for g in groups for p in g["params"]}
    rate = {rates[id(p)] for p in model.adapter.parameters()}
    assert rate == ({1.0} if kind in ("ladder", "ladder_pruning") else {19.0})


@pytest.mark.slow
def test_adapted_model_is_saved_and_loaded(golden_model, golden_images, tmp_path):
    from clip4str_plugin import load_model

    model = adapted(golden_model, "ladder_pruning")
    save_pretrained(model, tmp_path)
    torch.testing.assert_close(load_model(tmp_path)(golden_images[:1]), model(golden_images[:1]))


@pytest.mark.parametrize(
    ("adapter", "message"),
    [
        ({"kind": "glue"}, "unknown"),
        ({"kind": "linear", "blocks": [1]}, "do not belong"),
        ({"kind": "ladder", "blocks": [0, 5]}, "not within the 2 blocks"),
    ],
)
def test_wrong_adapters(golden_checkpoint, adapter, message):
    with pytest.raises(Clip4StrError, match=message):
        build_model(ModelSource(start=str(golden_checkpoint), adapter=adapter))


def test_ladder_needs_a_vision_transformer():
    with pytest.raises(ValueError, match="image tower is another"):
        CLIP4STR(CLIP4STRConfig.from_dict({**SMALL_MODEL, "adapter": {"kind": "ladder"}, "cross_branch": False}))


@pytest.mark.slow
def test_lora_trains_little_and_merges_exactly(golden_checkpoint, golden_images):
    pytest.importorskip("peft")
    from clip4str_plugin.training.lora import merge_lora

    model = build_model(ModelSource(start=str(golden_checkpoint), adapter={"kind": "lora", "rank": 2})).eval()
    names = [n for n, p in model.clip_model.named_parameters() if p.requires_grad]
    assert names
    assert all("lora_" in n for n in names)
    for name, parameter in model.clip_model.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(std=0.05)
    before = model(golden_images[:2])
    plain = build_model(ModelSource(start=str(golden_checkpoint))).eval()
    assert (plain(golden_images[:2]) - before).abs().max() > 1e-2
    merge_lora(model)
    assert model.state_dict().keys() == plain.state_dict().keys()
    torch.testing.assert_close(model(golden_images[:2]), before, rtol=1e-4, atol=1e-3)


def test_lora_names_a_wrong_target(golden_checkpoint):
    pytest.importorskip("peft")
    with pytest.raises(Clip4StrError, match="no linear layer of the towers ends in"):
        build_model(ModelSource(start=str(golden_checkpoint), adapter={"kind": "lora", "targets": ["q_proj"]}))
