"""The model gives the published implementation's numbers, whatever the batch."""

import numpy as np
import pytest
import torch

from clip4str_plugin import load_model
from clip4str_plugin.model import CLIP4STR, clip_config
from tests.golden import hashweights

TOLERANCE = 2e-4
CROPS = range(7)


def assert_close(got, expected):
    np.testing.assert_allclose(got.numpy(), expected, rtol=0, atol=TOLERANCE)


@pytest.fixture(scope="module")
def decodings(golden_model, golden_images):
    """Decodings of all seven crops in one batch, by number of refinements."""
    with torch.inference_mode():
        return {r: golden_model.generate(golden_images, refine_iters=r) for r in (0, 1, 2)}


def test_image_tokens(golden, golden_model, golden_images):
    with torch.inference_mode():
        tokens = golden_model.encode_image(golden_images)
    for i in CROPS:
        assert_close(tokens[i : i + 1], golden("alone.npz")[f"crop{i}_r1/memory"])


@pytest.mark.parametrize("i", CROPS)
def test_autoregressive_logits_of_both_branches(golden, decodings, i):
    alone, decoding = golden("alone.npz"), decodings[0]
    steps = golden("alone.json")[f"crop{i}_r1"]["ar_steps"]
    assert decoding.visual_lengths[i] == decoding.lengths[i] == steps
    assert_close(decoding.visual_logits[i : i + 1, :steps], alone[f"crop{i}_r1/visual_ar_logits"])
    assert_close(decoding.logits[i : i + 1, :steps], alone[f"crop{i}_r1/cross_ar_logits"])


@pytest.mark.parametrize("refinements", [1, 2])
@pytest.mark.parametrize("i", CROPS)
def test_refined_logits_of_both_branches(golden, decodings, i, refinements):
    alone, decoding = golden("alone.npz"), decodings[refinements]
    key = f"crop{i}_r{refinements}"
    assert_close(decoding.visual_logits[i : i + 1], alone[f"{key}/visual_ref{refinements}_logits"])
    assert_close(decoding.logits[i : i + 1], alone[f"{key}/cross_ref{refinements}_logits"])
    assert_close(decoding.logits[i : i + 1], alone[f"{key}/logits"])


@pytest.mark.parametrize("refinements", [0, 1, 2])
@pytest.mark.parametrize("i", CROPS)
def test_strings_probabilities_and_captions(golden, golden_model, decodings, i, refinements):
    expected, decoding = golden("alone.json")[f"crop{i}_r{refinements}"], decodings[refinements]
    text, probs = golden_model.tokenizer.decode(decoding.logits[i : i + 1], decoding.lengths[i : i + 1])[0]
    assert text == expected["strings"][0]
    np.testing.assert_allclose(probs, expected["char_probs"][0], rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(np.prod(probs), expected["confidence"][0], rtol=1e-3)
    assert [captions[i] for captions in decoding.captions] == [c[0] for c in expected["captions"]]


@pytest.mark.parametrize("call", [0, 1, 2])
def test_text_encoder(golden, golden_model, decodings, call):
    alone = golden("alone.npz")
    captions = decodings[2].captions[call]
    with torch.inference_mode():
        features = golden_model.encode_text(captions)
    for i in CROPS:
        key = f"crop{i}_r2" if call == 2 else f"crop{i}_r1"
        assert golden_model.caption_tokenizer([captions[i]]).tolist() == alone[f"{key}/token_ids_{call}"].tolist()
        assert_close(features[i : i + 1], alone[f"{key}/text_features_{call}"])


@pytest.mark.parametrize("i", CROPS)
def test_max_length(golden, golden_model, golden_images, i):
    with torch.inference_mode():
        logits = golden_model(golden_images, max_length=9)
    assert_close(logits[i : i + 1], golden("alone.npz")[f"crop{i}_r1_max9/logits"])


def test_caption_charset_changes_the_logits(golden, golden_checkpoint, golden_images):
    model = load_model(golden_checkpoint, charset_test=golden("extra.json")["charset94"])
    with torch.inference_mode():
        decoding = model.generate(golden_images)
    for i in CROPS:
        expected = golden("alone.json")[f"crop{i}_r1_charset94"]
        assert_close(decoding.logits[i : i + 1], golden("alone.npz")[f"crop{i}_r1_charset94/logits"])
        assert [c[i] for c in decoding.captions] == [c[0] for c in expected["captions"]]


@pytest.mark.parametrize("batch", [[3], [6, 0], [2, 2, 5], [6, 5, 4, 3, 2, 1, 0]])
def test_neighbours_do_not_matter(golden_model, golden_images, decodings, batch):
    with torch.inference_mode():
        logits = golden_model(golden_images[batch])
    assert_close(logits, decodings[1].logits[batch].numpy())


def test_projection_after_the_visual_decoder(golden, tmp_path):
    case, arrays = golden("extra.json")["use_share_dim_false"], golden("extra.npz")
    config = clip_config(
        embed_dim=96, vision_width=128, vision_layers=3, patch_size=32, text_width=192, text_layers=8, share_dim=False
    )
    shapes = {name: tuple(tensor.shape) for name, tensor in CLIP4STR(config).state_dict().items()}
    state = {k: torch.from_numpy(v) for k, v in hashweights.build(shapes, 2).items()}
    torch.save(
        {"state_dict": state, "hyper_parameters": {"use_share_dim": False, "context_length": 16}}, tmp_path / "x"
    )
    model = load_model(tmp_path / "x")
    images = torch.from_numpy(golden("inputs.npz")["images_05"])[:3]
    with torch.inference_mode():
        assert_close(model.encode_image(images[:1]), arrays["noshare/memory0"])
        decoding = model.generate(images)
    assert [list(c) for c in decoding.captions] == case["captions"]
    # These numbers share the steps of the longest crop over the batch, so they hold for that crop alone.
    assert_close(decoding.logits[2:], arrays["noshare/logits"][2:])


def test_empty_batch(golden_model, golden_images):
    with torch.inference_mode():
        assert golden_model(golden_images[:0]).shape == (0, 26, 95)


def test_wrong_size_is_named(golden_model):
    with pytest.raises(ValueError, match=r"\(1, 3, 224, 160\).*\(N, 3, 224, 224\)"):
        golden_model(torch.zeros(1, 3, 224, 160))


def test_parallel_decoding_reads_its_own_prefix(golden_checkpoint, golden_images):
    model = load_model(golden_checkpoint, decode_ar=False)
    with torch.inference_mode():
        together = model.generate(golden_images, refine_iters=0)
        alone = [model.generate(golden_images[i : i + 1], refine_iters=0) for i in CROPS]
    for i, single in enumerate(alone):
        n = int(single.lengths[0])
        assert together.lengths[i] == n
        assert_close(together.logits[i : i + 1, :n], single.logits.numpy())


def test_allowed_classes_hold_in_every_pass(golden_model, golden_images):
    digits = golden_model.tokenizer.class_mask("0123456789")
    with torch.inference_mode():
        decoding = golden_model.generate(golden_images, allowed=digits)
    texts = [t for t, _ in golden_model.tokenizer.decode(decoding.logits, decoding.lengths)]
    assert any(texts)
    assert set("".join(texts)) <= set("0123456789")
    assert set("".join(sum(decoding.captions, ()))) <= set("0123456789")


def test_early_exit_leaves_sure_crops_as_first_read_and_others_unchanged(golden_model, golden_images):
    with torch.inference_mode():
        full = golden_model.generate(golden_images)
        first = golden_model.generate(golden_images, refine_iters=0)
        index = torch.arange(first.visual_logits.shape[1])
        inside = index < first.visual_lengths[:, None]
        lowest = first.visual_logits.softmax(-1).amax(-1).masked_fill(~inside, 1).amin(1)
        threshold = float(lowest.sort().values[3])
        mixed = golden_model.generate(golden_images, early_exit=threshold)
        nobody = golden_model.generate(golden_images, early_exit=1.1)
        everybody = golden_model.generate(golden_images, early_exit=0.0)
    torch.testing.assert_close(nobody.logits, full.logits)
    assert nobody.captions == full.captions
    for i in CROPS:
        expected = first.visual_logits if lowest[i] >= threshold else full.logits
        length = int(mixed.lengths[i])
        assert length == (first.visual_lengths if lowest[i] >= threshold else full.lengths)[i]
        torch.testing.assert_close(mixed.logits[i, :length], expected[i, :length], atol=1e-4, rtol=1e-4)
        assert (mixed.captions[0][i] == "") == bool(lowest[i] >= threshold)
    assert everybody.lengths.tolist() == first.visual_lengths.tolist()
