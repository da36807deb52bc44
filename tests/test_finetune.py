"""Fine-tunes of the embedded model, end to end: a new alphabet by the command, and the worked example."""

import csv
import importlib.util
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clip4str_plugin import Recognizer, load_model
from clip4str_plugin.cli import main
from clip4str_plugin.data.datasets import open_dataset
from clip4str_plugin.evaluation.evaluate import evaluate
from tests.word_sets import draw_word, random_word

pytestmark = pytest.mark.slow

pytest.importorskip("lightning")

# Cyrillic capitals by the Latin ones they look like: Pillow's own font can draw them.
CYRILLIC = dict(zip("АВЕКМНОРСТУХ", "ABEKMHOPCTYX"))  # noqa: RUF001


def write_cyrillic(folder, words, seed):
    folder.mkdir()
    for i, word in enumerate(words):
        Image.fromarray(draw_word("".join(CYRILLIC[c] for c in word), seed + i)).save(folder / f"{i}.png")
    rows = [f"{i}.png\t{word}\n" for i, word in enumerate(words)]
    (folder / "labels.tsv").write_text("".join(rows), encoding="utf-8")
    return folder


def test_the_ci_configuration_learns_another_alphabet(tmp_path):
    """From no word to nearly all of them, on words it has not seen."""
    alphabet = "".join(CYRILLIC)
    rng = np.random.default_rng(0)
    words = list(dict.fromkeys(random_word(rng, alphabet, 3, 6) for _ in range(260)))
    train, test = (
        write_cyrillic(tmp_path / "train", words[:200], 0),
        write_cyrillic(tmp_path / "test", words[200:], 900),
    )
    assert set(words[:200]).isdisjoint(words[200:])
    overrides = [f"model.config.charset={alphabet}", f"data.train={{{train}: 1.0}}", f"data.validation=[{test}]"]
    overrides += ["run.steps=20", "run.validate_every=20", "run.log_every=10"]
    assert main(["train", "--config", "ci", "--output", str(tmp_path / "run"), *overrides]) == 0

    def accuracy(model):
        return evaluate(Recognizer(load_model(model)), open_dataset(test, alphabet), alphabet).accuracy

    assert accuracy("tiny") == 0  # none of its characters is Cyrillic
    after = accuracy(tmp_path / "run" / "final")
    assert after > 80  # chance: 12 letters to the power of 3 and more
    with (tmp_path / "run" / "log" / "metrics.csv").open() as f:
        logged = [float(row["val_accuracy"]) for row in csv.DictReader(f) if row["val_accuracy"]]
    assert logged == [pytest.approx(after)]


def test_the_french_example(tmp_path):
    path = Path(__file__).parents[1] / "examples" / "finetune_french.py"
    spec = importlib.util.spec_from_file_location("finetune_french", path)
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    faces = example.fonts(1)
    if not faces:
        pytest.skip("the example needs an installed font that draws French accents")
    before, after = example.finetune("tiny", 12, 320, tmp_path / "run", faces)
    assert after > before + 15
    assert load_model(tmp_path / "run" / "final").config.charset == example.CHARSET
