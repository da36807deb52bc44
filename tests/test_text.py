"""Charsets, token ids and captions, against the published implementation's cases."""

import pickle

import pytest
import torch

from clip4str_plugin.model.caption import CaptionTokenizer
from clip4str_plugin.model.charset import CharsetFilter, Tokenizer
from clip4str_plugin.model.config import CHARSET_36, CHARSET_62, CHARSET_94


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer(CHARSET_94)


@pytest.fixture(scope="module")
def extra(golden):
    return golden("extra.json")


def test_ids(extra, tokenizer):
    assert extra["charset94"] == CHARSET_94
    assert extra["ids"] == {
        "eos": tokenizer.eos_id,
        "bos": tokenizer.bos_id,
        "pad": tokenizer.pad_id,
        "n": tokenizer.num_tokens,
    }


def test_encode(golden, tokenizer):
    case = golden("train_golden.json")
    assert tokenizer.encode(case["labels"]).tolist() == case["tgt"]
    with pytest.raises(ValueError, match="'ü'"):
        tokenizer.encode(["Zürich"])


def one_hot(ids):
    return torch.nn.functional.one_hot(torch.tensor([ids]), 95) * 100.0


def test_decode(extra, tokenizer):
    for case in extra["decode_cases"].values():
        text, probs = tokenizer.decode(one_hot(case["ids"]))[0]
        assert text == case["decode"][0]
        assert len(probs) == case["n_probs"][0]


def test_caption_is_cut_at_the_spelling_of_the_end_token(extra, tokenizer):
    for case in extra["decode_cases"].values():
        caption = tokenizer.captions(torch.tensor([case["ids"]]), torch.tensor([len(case["ids"])]))[0]
        assert caption == case["decode_fast"][0]
        assert CharsetFilter(CHARSET_36)(caption) == case["decode_fast_36"][0]


def test_decode_ignores_what_lies_beyond_the_length(tokenizer):
    assert tokenizer.decode(one_hot([11, 12, 13, 0]), torch.tensor([2]))[0][0] == "ab"


def test_first_of_equal_scores_wins(tokenizer):
    text, _ = tokenizer.decode(torch.zeros(1, 3, 95))[0]
    assert text == ""


def test_charset_filter(extra):
    charsets = {
        "c36": CHARSET_36,
        "c62": CHARSET_62,
        "c94": CHARSET_94,
        "digits": "0123456789",
        "upper": "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
    }
    for key, expected in extra["adapter"].items():
        charset, _, text = key.partition("|")
        assert CharsetFilter(charsets[charset])(text) == expected, key


@pytest.mark.parametrize("context", [16, 77])
def test_byte_pairs(extra, context):
    tokenizer = CaptionTokenizer(context)
    for caption, expected in extra[f"bpe_ctx{context}"].items():
        assert tokenizer([caption])[0, : len(expected)].tolist() == expected, caption


def test_fewer_merges_keep_the_most_frequent():
    full, short = CaptionTokenizer(16), CaptionTokenizer(16, merges=2048)
    assert short.vocab_size == 512 + 2048 + 2
    ids = short(["the"]).tolist()[0]
    assert ids == [2560, full(["the"])[0, 1].item(), 2561] + [0] * 13
    longer = short(["refrigerator"])[0]
    assert longer.max() <= 2561
    assert (longer > 0).sum() > (full(["refrigerator"])[0] > 0).sum()
    assert pickle.loads(pickle.dumps(short))(["the"]).tolist()[0] == ids


def test_no_captions():
    assert CaptionTokenizer(16)([]).shape == (0, 16)


def test_class_mask(tokenizer):
    mask = tokenizer.class_mask("0b")
    assert mask.nonzero()[:, 0].tolist() == [0, 1, 12]
    with pytest.raises(ValueError, match="é"):
        tokenizer.class_mask("é")
