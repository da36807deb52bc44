"""The bench measures who takes part, in turns, and says why someone does not."""

import json

import numpy as np
import pytest

from clip4str_plugin import load_model
from clip4str_plugin.cli import bench, main

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def crops():
    return [np.full((20, 50, 3), value, np.uint8) for value in (0, 90, 200)]


@pytest.fixture(scope="module")
def results(golden_checkpoint, crops):
    contestants = [
        bench.Contestant("rapidocr", batch_size=2, threads=1),
        bench.Contestant("clip4str", "no-such-model"),
        bench.Contestant("doctr", "no_such_arch"),
    ]
    return bench.measure(contestants, crops, rounds=2)


def test_every_round_is_kept(results):
    assert len(results[0].per_second) == len(results[0].single) == 2
    assert min(results[0].per_second) > 0
    assert results[0].memory > 50
    assert results[0].start > 0


def test_who_cannot_take_part_says_why(results):
    assert not results[1].per_second
    assert "'no-such-model' is neither a file nor a known model" in results[1].note
    assert "cannot take part" in results[2].note


def test_operations_of_a_crop(golden_checkpoint):
    golden_model = load_model(golden_checkpoint).requires_grad_(False)
    width, tokens, layers = golden_model.clip_model.visual.conv1.out_channels, 197, 2
    products = 2 * tokens * width**2 * 12  # attention's four projections and the MLP
    attention = 2 * 2 * tokens**2 * width
    patches = 2 * 196 * width * 3 * 16**2
    encoder = layers * (products + attention) + patches
    assert encoder < bench._flop(golden_model) < 3 * encoder


def test_machine():
    about = bench.machine(threads=1, device="cpu")
    assert about["cpu"]
    assert about["gflops"]["fp32"] > 0
    assert about["gpu"] is None


def test_table_and_json(monkeypatch, capsys):
    result = bench.Result("tiny fp32", [10.0, 30.0, 20.0], [5.0, 7.0, 6.0], start=1.5, memory=300, flop=2e9)
    silent = bench.Result("docTR parseq", note="cannot take part: gone")
    monkeypatch.setattr(bench, "measure", lambda *_: [result, silent])
    monkeypatch.setattr(bench, "_crops", lambda *_: [])
    monkeypatch.setattr(bench, "machine", lambda *_: {
        "cpu": "A processor", "gpu": None, "threads": 2, "torch": "2", "system": "Linux", "gflops": {"fp32": 100.0},
    })  # fmt: skip
    assert main(["bench"]) == 0
    out = capsys.readouterr().out
    assert "A processor, 2 CPU threads" in out
    line = next(line for line in out.splitlines() if line.startswith("tiny fp32"))
    assert line.split() == ["tiny", "fp32", "20.0", "(10.0-30.0)", "6.0", "1.5", "300", "40%"]
    assert "cannot take part: gone" in out
    assert main(["bench", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["crops"][0]["per_second"] == [10.0, 30.0, 20.0]


@pytest.mark.parametrize("peer", ["doctr", "rapidocr:x", "paddle"])
def test_unknown_peers(peer, monkeypatch, capsys):
    monkeypatch.setattr(bench, "machine", lambda *_: pytest.fail("measured before the arguments were checked"))
    assert main(["bench", "--peers", peer]) == 2
    assert f"not '{peer}'" in capsys.readouterr().err
