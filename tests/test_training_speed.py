"""Training at the machine's speed: loading processes, time as a limit, and losses that are computed at once."""

import itertools
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml

from clip4str_plugin import load_model
from clip4str_plugin.model.caption import CaptionTokenizer
from clip4str_plugin.synthetic import fonts
from clip4str_plugin.training.clock import Clock
from clip4str_plugin.training.config import ModelSource, load_config
from clip4str_plugin.training.optim import learning_rate_factor
from clip4str_plugin.training.permutations import permuted_loss, sample_permutations
from clip4str_plugin.training.run import train
from clip4str_plugin.training.start import build_model
from tests.word_sets import SMALL_MODEL, random_word, write_folder

pytestmark = pytest.mark.slow

SMALL_RUN = {"batch_size": 4, "accelerator": "cpu", "precision": "32-true", "log_every": 1}

# What a training does before its first batch: OpenCV's threads run (the check of fonts started them), then it forks.
COMMAND = """
import sys, cv2, numpy as np
cv2.setNumThreads(4)
cv2.GaussianBlur(np.zeros((2000, 2000), np.uint8), (3, 3), 0)
from clip4str_plugin.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture
def some_fonts(tmp_path):
    found = fonts.find_fonts()
    if not found:
        pytest.skip("no fonts on this machine")
    folder = tmp_path / "fonts"
    folder.mkdir()
    for index, path in enumerate(found[:3]):
        (folder / f"{index}{path[-4:]}").symlink_to(path)
    return folder


def test_loading_processes_after_a_check_of_fonts(tmp_path, some_fonts, monkeypatch):
    config = tmp_path / "config.yaml"
    data = {"synthetic": 0.5, "printed": 0.5, "fonts": [str(some_fonts)], "workers": 2}
    model = {"config": {**SMALL_MODEL, "charset": load_model("tiny").config.charset}}
    config.write_text(yaml.safe_dump({"model": model, "data": data, "run": {**SMALL_RUN, "steps": 3}}))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "fresh"))
    arguments = ["train", "--config", str(config), "--output", str(tmp_path / "run")]
    done = subprocess.run([sys.executable, "-c", COMMAND, *arguments], timeout=240, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "run" / "final" / "model.safetensors").is_file()
    assert (tmp_path / "fresh" / "clip4str" / "fonts.json").is_file()
    assert "waiting for words" in done.stderr  # where the time went


def test_fonts_are_checked_alike_in_other_processes(tmp_path, some_fonts, monkeypatch):
    paths = sorted(map(str, some_fonts.iterdir()))
    (some_fonts / "broken.ttf").write_bytes(b"no font")
    paths.append(str(some_fonts / "broken.ttf"))
    alone = fonts.inspect_fonts(paths, tmp_path / "one.json")
    monkeypatch.setattr(fonts, "_AT_A_TIME", 2)
    monkeypatch.setattr(fonts.os, "cpu_count", lambda: 2)
    monkeypatch.setattr(fonts, "_inspect", None)  # is not called here
    assert fonts.inspect_fonts(paths, tmp_path / "two.json") == alone
    assert len(alone) == len(paths) - 1


def test_a_training_ends_with_its_time(tmp_path, monkeypatch):
    config = tmp_path / "config.yaml"
    rng = np.random.default_rng(0)
    words = write_folder(tmp_path / "words", [random_word(rng, "abcdef01") for _ in range(12)])
    values = {
        "model": {"config": SMALL_MODEL},
        "data": {"train": {str(words): 1.0}, "synthetic": 0.0},
        "optimizer": {"schedule": "constant", "warmup": 2, "cooldown": 0.5},
        "run": {**SMALL_RUN, "steps": 1, "minutes": 0.1, "weights_every": 2},
    }
    config.write_text(yaml.safe_dump(values))
    ticks = itertools.count()
    monkeypatch.setattr("clip4str_plugin.training.clock.time", SimpleNamespace(monotonic=lambda: 0.5 * next(ticks)))
    final = train(load_config(config), tmp_path / "run")
    # Two ticks at the start, two a step: 6 seconds are over with the sixth step, whatever run.steps says.
    written = {path.parent.name for path in (tmp_path / "run" / "weights").glob("*/model.safetensors")}
    assert written == {"step=2", "step=4", "step=6"}
    load_model(final)


def test_the_learning_rate_follows_the_time():
    clock = Clock(minutes=1)
    rates = []
    for step, clock.seconds in ((10, 12.0), (20, 24.0), (35, 42.0), (45, 54.0), (50, 60.0)):
        rates.append(learning_rate_factor(step, clock.total_steps(step), "constant", warmup=5, cooldown=0.5))
    assert rates == pytest.approx([1, 1, 0.6, 0.2, 0])


def test_reading_at_once_is_trained_as_it_is_read():
    model = load_model("tiny", dropout=0.0).train()
    images = torch.rand(3, 3, 48, 128, generator=torch.Generator().manual_seed(0)) * 2 - 1
    labels = ["abc", "Rue", "12-34"]
    perms = sample_permutations(5, 4, np.random.default_rng(0), torch.Generator().manual_seed(0))
    with torch.no_grad():
        loss = permuted_loss(model, images, labels, perms, parallel=0.5)
        without = permuted_loss(model, images, labels, perms)
        memory = model.visual_decoder.memory_keys_values(model.encode_image(images))
        begin = torch.full((3, 1), model.tokenizer.bos_id)
        seen = torch.ones(6, 1, dtype=torch.bool)
        logits = model.visual_decoder(begin, memory, seen, seen[:1], slice(6))
    targets = model.tokenizer.encode(labels)[:, 1:]
    expected = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), targets.flatten(), ignore_index=model.tokenizer.pad_id
    )
    assert loss.visual[-1].item() == pytest.approx(expected.item(), rel=1e-4)
    assert len(loss.visual) == len(loss.cross) == len(loss.captions) == 5
    torch.testing.assert_close(torch.stack(loss.visual[:4]), torch.stack(without.visual), rtol=1e-4, atol=1e-4)


def test_plain_captions_are_split_as_any_text(monkeypatch):
    tokenizer = CaptionTokenizer(16)
    captions = ["street", "a1b22c", "0", "x" * 30, "2nd4u", "lowercaseandlongerthanthat"]
    quick = tokenizer(captions)
    monkeypatch.setattr("clip4str_plugin.model.caption._PLAIN", lambda caption: False)
    assert tokenizer.__class__(16)(captions).tolist() == quick.tolist()


def test_a_grown_tower_and_decoder_go_on_as_they_were():
    old = load_model("tiny")
    vision = {**old.config.vision, "timm_model_name": "ppocr_v6_small_rows"}
    grown = build_model(ModelSource(start="tiny", config={"vision": vision, "decoder_depth": 2})).eval()
    assert sum(p.numel() for p in grown.parameters()) > 1.5 * sum(p.numel() for p in old.parameters())
    images = torch.rand(2, 3, 48, 128, generator=torch.Generator().manual_seed(1)) * 2 - 1
    with torch.inference_mode():
        torch.testing.assert_close(grown(images), old(images), atol=1e-4, rtol=1e-4)
    grown.train()
    permuted_loss(grown, images, ["ab", "cd"], sample_permutations(2, 2, np.random.default_rng(0))).total.backward()
    assert grown.clip_model.visual.trunk.rows.out.weight.grad.abs().sum() > 0
