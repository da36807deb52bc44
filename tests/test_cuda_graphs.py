"""Decoding in fixed shapes gives what decoding crop by crop gives; on a GPU these tests capture and replay graphs."""

import copy
import pickle
import threading

import numpy as np
import pytest
import torch

from clip4str_plugin import load_model
from clip4str_plugin.model.caption_graph import CaptionGraph
from clip4str_plugin.model.cuda_graphs import GraphDecoder

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
CROPS = range(7)


@pytest.fixture(scope="module")
def model(golden_checkpoint):
    model = load_model(golden_checkpoint, device=DEVICE)
    model.cuda_graphs = True
    return model


def texts(model, images, **options):
    with torch.inference_mode():
        decoding = model.generate(images.to(DEVICE), **options)
    return [text for text, _ in model.tokenizer.decode(decoding.logits, decoding.lengths)]


@pytest.mark.parametrize("refinements", [0, 1, 2])
def test_golden_numbers(golden, golden_images, model, refinements):
    expected, numbers = golden("alone.json"), golden("alone.npz")
    with torch.inference_mode():
        decoding = model.generate(golden_images, refine_iters=refinements)
    for i in CROPS:
        key = f"crop{i}_r{refinements}"
        length = int(decoding.lengths[i])
        read = model.tokenizer.decode(decoding.logits[i : i + 1], decoding.lengths[i : i + 1])[0][0]
        assert read == expected[key]["strings"][0]
        assert [captions[i] for captions in decoding.captions] == [c[0] for c in expected[key]["captions"]]
        np.testing.assert_allclose(
            decoding.logits[i, :length].cpu(), numbers[f"{key}/logits"][0, :length], rtol=0, atol=2e-4
        )


@pytest.mark.parametrize("options", [{}, {"decode_ar": False}, {"cls_eot_memory": True}, {"cross_branch": False}])
def test_equals_decoding_crop_by_crop(golden_checkpoint, golden_images, options):
    model = load_model(golden_checkpoint, device=DEVICE)
    if options.get("cross_branch", True):
        model.config = model.config.replace(**options)
    else:
        model.config = model.config.replace(**options)
        del model.cross_decoder
    model.cuda_graphs = False
    with torch.inference_mode():
        expected = model.generate(golden_images.to(DEVICE))
        model.cuda_graphs = True
        for rows in (slice(None), slice(2, 3), slice(3, 7), slice(None)):  # buffers must hold nothing over
            found = model.generate(golden_images[rows].to(DEVICE))
            torch.testing.assert_close(found.logits, expected.logits[rows], atol=2e-4, rtol=1e-4)
            assert found.lengths.tolist() == expected.lengths[rows].tolist()
            assert found.captions == tuple(captions[rows] for captions in expected.captions)


def test_captions_stay_on_the_gpu_where_only_texts_are_wanted(model, golden_images):
    with torch.inference_mode():
        assert model.generate(golden_images.to(DEVICE), complete=False).captions == ()


def test_allowed_classes_and_all_again(model, golden_images):
    digits = model.tokenizer.class_mask("0123456789")
    before = texts(model, golden_images)
    read = texts(model, golden_images, allowed=digits)
    assert any(read)
    assert set("".join(read)) <= set("0123456789")
    assert texts(model, golden_images) == before


@pytest.mark.slow
def test_sizes_are_few(model, golden_images):
    images = golden_images[:1].expand(70, -1, -1, -1)
    decoder = model.graph_decoder = GraphDecoder()
    for count in (70, 30, 33, 8, 7, 1, 70):
        assert len(texts(model, images[:count])) == count
    assert set(decoder._sizes) == {128, 8}, "30 and 33 take the buffers for 70"


def test_other_weights_are_noticed(golden_checkpoint, golden_images):
    model = load_model(golden_checkpoint, device=DEVICE)
    model.cuda_graphs = True
    before = texts(model, golden_images)
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state["visual_decoder.head.bias"] += 20 * torch.arange(95, device=DEVICE)
    state["cross_decoder.head.bias"] += 20 * torch.arange(95, device=DEVICE)
    model.load_state_dict(state, assign=True)
    assert texts(model, golden_images) != before


def test_copies_and_pickles(model, golden_images):
    before = texts(model, golden_images)
    assert texts(copy.deepcopy(model), golden_images) == before
    assert texts(pickle.loads(pickle.dumps(model)), golden_images) == before


def test_several_threads(model, golden_images):
    parts = [slice(0, 7), slice(1, 3), slice(2, 6), slice(6, 7)]
    expected = texts(model, golden_images)
    found, failures = {}, []

    def read(turn):
        try:
            for _ in range(3):
                found[turn] = texts(model, golden_images[parts[turn]])
        except BaseException as error:  # handed to the test
            failures.append(error)

    threads = [threading.Thread(target=read, args=(turn,)) for turn in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert found == {turn: expected[part] for turn, part in enumerate(parts)}


def test_strange_captions_are_left_to_the_host(golden, golden_checkpoint, golden_images):
    model = load_model(golden_checkpoint, device=DEVICE, charset_test=golden("extra.json")["charset94"])
    model.cuda_graphs = True
    assert not GraphDecoder.can_decode(model)
    with torch.inference_mode():
        captions = model.generate(golden_images.to(DEVICE)).captions
    assert [c[0] for c in captions] == [c[0] for c in golden("alone.json")["crop0_r1_charset94"]["captions"]]


def test_unrolled_captions_equal_the_tokenizer(model):
    words = ["", "chicken", "ab1cd22e", "[e]x", "internationalisation0here", "0123456789", "McDonald's", "a[E]b"]
    ids = model.tokenizer.encode(words)[:, 1:]
    ids = torch.nn.functional.pad(ids, (0, 26 - ids.shape[1]))
    ids[ids == model.tokenizer.pad_id] = model.tokenizer.eos_id
    graph = CaptionGraph(model.tokenizer, model.caption_tokenizer, model.config, unrolled=True)
    lengths = torch.tensor([len(word) + 1 for word in words])
    expected = [model.caption_filter(text) for text in model.tokenizer.captions(ids, lengths)]
    assert graph(ids).tolist() == model.caption_tokenizer(expected).tolist()
