"""Word accuracy of models, of the parts of the first one, and of RapidOCR's recognizer on the same crops, in one run.

    python benchmarks/word_accuracy.py DATA... [--model NAME|FILE ...] [--turned]

DATA are folders with ``labels.tsv`` or LMDB sets. Two figures a set: [0-9a-z] with case ignored, and the exact text.
"""

import argparse
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from itertools import islice

import numpy as np

from clip4str_plugin import Recognition, Recognizer, load_model
from clip4str_plugin.data.datasets import WordDataset, open_dataset
from clip4str_plugin.evaluation.ablation import ABLATIONS, ablated
from clip4str_plugin.evaluation.evaluate import CHARSETS, evaluate
from clip4str_plugin.model.charset import CharsetFilter

PARTS = ["refine=0", "refine=2", "branch=visual", "branch=visual,refine=0"]


class RapidOcrRecognizer:
    """RapidOCR's own recognizer with the one method of ``Recognizer`` that an evaluation calls."""

    def __init__(self) -> None:
        from rapidocr import RapidOCR
        from rapidocr.ch_ppocr_rec import TextRecInput

        self._network = RapidOCR(params={"Global.log_level": "warning"})._load_rec_model()
        self._input = TextRecInput

    def stream(self, crops: Iterable[np.ndarray]) -> Iterator[Recognition]:
        """Yield what it reads of RGB crops."""
        crops = iter(crops)
        while batch := list(islice(crops, 6)):
            result = self._network(self._input(img=[crop[..., ::-1] for crop in batch]))
            for text, score in zip(result.txts, result.scores):
                yield Recognition(text, float(score), (float(score),) * len(text))


class Turned(WordDataset):
    """Another set's crops, turned by quarters anticlockwise."""

    def __init__(self, dataset: WordDataset, quarters: int) -> None:
        self.name, self._dataset, self._quarters = dataset.name, dataset, quarters
        self.dropped, self.corrupt = dataset.dropped, dataset.corrupt

    def __len__(self) -> int:
        return len(self._dataset)

    def label(self, index: int) -> str:
        """Return the label of a sample."""
        return self._dataset.label(index)

    def source(self, index: int) -> str:
        """Return the name of a sample."""
        return self._dataset.source(index)

    def __getitem__(self, index: int) -> tuple[np.ndarray, str]:
        crop, label = self._dataset[index]
        return np.ascontiguousarray(np.rot90(crop, self._quarters)), label


def accuracies(recognizer, dataset: WordDataset) -> tuple[float, float]:
    """Return both figures of one reading of the set."""
    readings = []
    evaluate(recognizer, dataset, CHARSETS["94"], on_reading=readings.append)
    loose = CharsetFilter(CHARSETS["36"])
    pairs = [(loose(r.label), loose(r.text)) for r in readings]
    pairs = [(label, text) for label, text in pairs if label]
    plain = 100 * sum(label == text for label, text in pairs) / max(1, len(pairs))
    return plain, 100 * sum(r.correct for r in readings) / max(1, len(readings))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="+", metavar="DATA")
    parser.add_argument("--model", nargs="+", default=["tiny"], metavar="NAME|FILE", help="(default: tiny)")
    parser.add_argument("--turned", action="store_true", help="also turn the crops by 90, 180 and 270 degrees")
    args = parser.parse_args()

    sets = [open_dataset(path, on_error="skip") for path in args.data]
    print("| | " + " | ".join(f"{s.name} ({len(s)})" for s in sets) + " |")
    print("|---" * (len(sets) + 1) + "|")
    models = {name: load_model(name) for name in args.model}
    contestants = [(name, Recognizer(model, batch_size=64), None) for name, model in models.items()]
    first = models[args.model[0]]
    contestants += [
        (f"{args.model[0]}, {part}", Recognizer(first, batch_size=64), ablated(first, ABLATIONS[part]))
        for part in PARTS
    ]
    contestants.append(("PP-OCRv6-small", RapidOcrRecognizer(), None))
    for name, recognizer, change in contestants:
        with change or nullcontext():
            cells = ["{:.1f} / {:.1f}".format(*accuracies(recognizer, s)) for s in sets]
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)
    if args.turned:
        for name, recognizer, change in contestants:
            if change is None:
                for quarters in (1, 2, 3):
                    cells = ["{:.1f} / {:.1f}".format(*accuracies(recognizer, Turned(s, quarters))) for s in sets]
                    print(f"| {name}, turned by {90 * quarters} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
