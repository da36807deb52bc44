"""Lines come apart at their blanks: dark and light ground, straight, tilted and curved."""

from itertools import pairwise

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from clip4str_plugin.reading.line_splitting import find_words, find_words_in, split_lines
from clip4str_plugin.training.pasted_lines import PastedLines
from clip4str_plugin.training.splitting import targets

WORDS = ["Printed", "words", "with", "blanks"]
WHOLE = [[0, 0], [460, 0], [460, 44], [0, 44]]


def line(ground=255, ink=0, size=30):
    """A page of one line, and the left and right end of each word on it."""
    font = ImageFont.load_default(size)
    page = Image.new("RGB", (460, 44), (ground,) * 3)
    pen, x, spans = ImageDraw.Draw(page), 12.0, []
    for word in WORDS:
        left, _, right, _ = pen.textbbox((x, 2), word, font=font)
        pen.text((x, 2), word, font=font, fill=(ink,) * 3)
        spans.append((left, right))
        x += font.getlength(word) + 0.35 * size
    return np.asarray(page), spans


@pytest.mark.parametrize(("ground", "ink"), [(255, 0), (20, 230), (120, 165)])
def test_words_are_split_at_blanks(ground, ink):
    page, spans = line(ground, ink)
    (words,) = split_lines(page, [WHOLE])
    assert len(words) == len(spans)
    for word, (left, right) in zip(words, spans):
        assert word.shape == (4, 2)
        assert word.dtype == np.float32
        assert abs(word[:, 0].min() - left) < 7
        assert abs(word[:, 0].max() - right) < 7


def test_a_line_does_not_depend_on_its_neighbours_in_the_batch():
    crop, _ = line()
    others = [crop[:, :100], crop[:20, :50], np.tile(crop, (1, 3, 1))]
    alone = find_words(crop)
    assert np.abs(np.subtract(find_words_in([others[0], crop, *others])[1], alone)).max() < 0.02


@pytest.mark.parametrize("shape", [(44, 460), (44, 460, 1), (44, 460, 4)])
def test_channels(shape):
    crop = np.resize(line()[0][..., 0][..., None].repeat(shape[2] if len(shape) > 2 else 1, axis=2), shape)
    assert len(find_words(crop)) == len(WORDS)


def test_an_empty_line_stays_whole():
    (words,) = split_lines(np.full((44, 460, 3), 200, np.uint8), [WHOLE])
    assert len(words) >= 1
    assert all(np.isfinite(word).all() for word in words)


def test_no_lines():
    assert split_lines(np.zeros((5, 5, 3), np.uint8), []) == []


def test_what_the_network_learns():
    covered, weight = targets([(1.0, 3.5), (4.0, 6.0)], 8)
    # A blank of half an answer is shown as two and a half.
    np.testing.assert_allclose(covered, [0, 1, 0.5, 0, 0, 1, 0, 0])
    assert weight[3] > weight[1] > weight[0]


def test_a_line_without_words_teaches_blanks():
    covered, weight = targets([], 8)
    assert not covered.any()
    assert (weight > 0).all()


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("ground", ["flat", "noise", "gradient", "edge", "bricks"])
def test_a_wide_crop_without_text_does_not_shrink_to_a_sliver(ground, seed):
    rng = np.random.default_rng(seed)
    crop = np.full((40, 900), 128, np.uint8)
    if ground == "noise":
        crop = rng.integers(90, 160, crop.shape, dtype=np.uint8)
    elif ground == "gradient":
        crop[:] = np.linspace(30, 220, crop.shape[1]).astype(np.uint8)
    elif ground == "edge":  # a single post in front of a wall
        place = rng.integers(100, 800)
        crop[:, place : place + 9] = 20
    elif ground == "bricks":
        crop[::13] = 60
        crop[:, :: rng.integers(20, 60)] = 60
    covered = sum(right - left for left, right in find_words(crop))
    assert covered >= 0.15


def test_one_short_word_in_a_wide_line_is_not_lost():
    crop = np.full((40, 900, 3), 240, np.uint8)
    crop[:, 300:760] = line()[0][2:42]
    words = find_words(crop)
    assert words[0][0] <= 315 / 900
    assert words[-1][1] >= 600 / 900


@pytest.mark.parametrize("word", ["INVOICE", "TOTAL", "SUMMARY"])
def test_letter_spaced_words_are_not_cut(word):
    font = ImageFont.load_default(36)
    text = " ".join(word)
    image = Image.new("RGB", (round(font.getlength(text)) + 24, 52), "white")
    ImageDraw.Draw(image).text((12, 4), text, "black", font)
    assert len(find_words(np.asarray(image))) == 1


def test_narrow_blanks_count_as_much_as_wider_ones():
    narrow, wide = (targets([(0.0, 10.0), (10.0 + blank, 30.0)], 30)[1] for blank in (2.0, 5.0))
    assert narrow[10:12].min() > wide[11:14].max()


def test_an_earlier_network_goes_on_as_it_was(tmp_path):
    """Blocks added behind its own change nothing at first."""
    import torch
    from safetensors.torch import save_file

    from clip4str_plugin.model.splitter_network import Splitter
    from clip4str_plugin.training.splitting import _start

    torch.manual_seed(0)
    strips = torch.randn(1, 3, 32, 64)
    earlier, network = Splitter().eval(), Splitter().eval()
    kept = len(earlier.context) - 2
    save_file(
        {k: v for k, v in earlier.state_dict().items() if not k.startswith((f"context.{kept}", f"context.{kept + 1}"))},
        tmp_path / "earlier.safetensors",
    )
    earlier.context = earlier.context[:kept]
    _start(network, str(tmp_path / "earlier.safetensors"))
    torch.testing.assert_close(network(strips), earlier(strips))


def test_real_words_are_pasted_side_by_side(tmp_path):
    Image.fromarray(line()[0][:, :115]).save(tmp_path / "word.png")
    (tmp_path / "labels.tsv").write_text("word.png\tPrinted\n", encoding="utf-8")
    lines = PastedLines([tmp_path], seed=1)
    counts = set()
    for index in range(12):
        crop, spans = lines(index)
        again, _ = PastedLines([tmp_path], seed=1)(index)
        np.testing.assert_array_equal(crop, again)
        assert crop.dtype == np.uint8
        counts.add(len(spans))
        for (_, end), (start, _) in pairwise(spans):
            # As far as it is shown, the blank is free of ink.
            assert crop[4:-4, round(end) + 1 : round(start) - 1].min(initial=255) > 120
            assert start - end >= 2
    assert {1, 2} <= counts
