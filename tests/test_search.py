"""Every way to decode a branch gives what decoding step by step, crop by crop, gives."""

import pytest
import torch

from clip4str_plugin.model.decoder import Decoder, select_rows
from clip4str_plugin.model.search import Search

BOS, EOS, POSITIONS = 12, 0, 9


@pytest.fixture(scope="module", params=[1, 2], ids=["one layer", "two layers"])
def decoder(request):
    torch.manual_seed(5)
    decoder = Decoder(16, num_tokens=14, num_classes=12, num_positions=POSITIONS, depth=request.param, heads=2).eval()
    for p in decoder.parameters():
        p.data = torch.randn_like(p) * 0.4
    decoder.head.bias.data[EOS] += 0.8  # so that texts end at different positions
    return decoder


@pytest.fixture
def search(decoder):
    return Search(decoder, BOS, EOS, POSITIONS)


@pytest.fixture
def memory(decoder):
    torch.manual_seed(4)
    with torch.inference_mode():
        return decoder.memory_keys_values(3 * torch.randn(24, 5, 16))


def one(memory, i):
    return [(k[i : i + 1], v[i : i + 1]) for k, v in memory]


@torch.inference_mode()
def test_greedy_is_the_same_alone(search, memory):
    logits, lengths = search.greedy(memory)
    assert lengths.unique().numel() > 2, "the crops should end at different steps"
    for i, length in enumerate(lengths.tolist()):
        alone, _ = search.greedy(one(memory, i))
        assert alone.shape[1] == length
        torch.testing.assert_close(logits[i, :length], alone[0])
        assert (logits[i, length:].argmax(-1) == EOS).all()


@torch.inference_mode()
def test_greedy_predicts_from_its_own_prefix(search, memory, decoder):
    logits, lengths = search.greedy(memory)
    tokens = torch.cat([torch.full((24, 1), BOS), logits.argmax(-1)[:, :-1]], 1)
    causal = torch.ones(tokens.shape[1], tokens.shape[1], dtype=torch.bool).tril()
    expected = decoder(tokens, memory, causal, causal)
    for i, length in enumerate(lengths.tolist()):
        torch.testing.assert_close(logits[i, :length], expected[i, :length], atol=1e-4, rtol=1e-4)


@torch.inference_mode()
@pytest.mark.parametrize("between", [1, 4, 100])
def test_rare_checks_for_the_end_change_nothing(search, memory, monkeypatch, between):
    logits, lengths = search.greedy(memory)
    monkeypatch.setattr("clip4str_plugin.model.search._STEPS_BETWEEN_CHECKS", {"cpu": between})
    rarely, rarely_lengths = search.greedy(memory)
    assert rarely_lengths.tolist() == lengths.tolist()
    torch.testing.assert_close(rarely, logits, atol=1e-4, rtol=1e-4)


@torch.inference_mode()
@pytest.mark.parametrize("spoil", [0.0, 0.05, 0.3, 1.0], ids=lambda share: f"{share:.0%} of the guess wrong")
def test_check_finds_what_greedy_finds_from_any_guess(search, memory, spoil):
    lengths = torch.randint(1, POSITIONS + 1, (24,), generator=torch.Generator().manual_seed(1))
    expected, _ = search.greedy(memory, lengths)
    guess = expected.argmax(-1)
    noise = torch.rand(guess.shape, generator=torch.Generator().manual_seed(2)) < spoil
    checked = search.check(memory, torch.where(noise, (guess + 1) % 12, guess), lengths)
    torch.testing.assert_close(checked, expected, atol=1e-4, rtol=1e-4)


@torch.inference_mode()
def test_a_right_guess_takes_one_pass(search, memory, monkeypatch):
    expected, lengths = search.greedy(memory)
    monkeypatch.setattr(search.decoder, "step", lambda *_: pytest.fail("decoded step by step"))
    torch.testing.assert_close(search.check(memory, expected.argmax(-1), lengths), expected, atol=1e-4, rtol=1e-4)


@torch.inference_mode()
def test_refining_only_what_is_read_gives_the_same_text(search, memory):
    logits, lengths = search.greedy(memory)
    short = (lengths < POSITIONS - 1).nonzero()[:, 0]
    memory, logits, lengths = select_rows(memory, short), logits[short], lengths[short]
    complete = search.refine(memory, logits, lengths)
    partial = search.refine(memory, logits, lengths, complete=False)
    saved = 0
    for whole, part in zip(complete, partial):
        ends = (whole.argmax(-1) == EOS).nonzero().flatten().tolist()
        stop = ends[0] + 1 if ends else POSITIONS
        torch.testing.assert_close(part[:stop], whole[:stop], atol=1e-4, rtol=1e-4)
        saved += int(part[stop:].isinf().any())
    assert saved, "no position was left out, so the test shows nothing"


@torch.inference_mode()
def test_forbidden_classes_never_appear(decoder, memory):
    forbidden = torch.zeros(12, dtype=torch.bool)
    forbidden[3:9] = True
    search = Search(decoder, BOS, EOS, POSITIONS, forbidden=forbidden)
    logits, lengths = search.greedy(memory)
    for found in (logits, search.check(memory, logits.argmax(-1), lengths), search.refine(memory, logits, lengths)):
        assert not forbidden[found.argmax(-1)].any()


@torch.inference_mode()
def test_certainty_is_that_of_the_least_certain_position(search, memory):
    logits, lengths = search.greedy(memory)
    found = search.certainty(logits, lengths)
    for i, length in enumerate(lengths.tolist()):
        assert found[i] == pytest.approx(logits[i, :length].softmax(-1).amax(-1).min().item())


@torch.inference_mode()
def test_no_crops(search, memory):
    none = [(k[:0], v[:0]) for k, v in memory]
    logits, lengths = search.greedy(none)
    assert logits.shape == (0, 0, 12)
    assert search.check(none, logits.argmax(-1), lengths).shape == (0, 0, 12)
    assert search.certainty(logits, lengths).shape == (0,)
