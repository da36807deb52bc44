"""What bf16 and int8 change in the readings: ``python benchmarks/precision.py MODEL DATA...``."""

import argparse
import logging
import time

from clip4str_plugin import Recognizer, load_model
from clip4str_plugin.data.datasets import open_dataset
from clip4str_plugin.model.charset import CharsetFilter
from clip4str_plugin.model.config import CHARSET_36


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="name or file of a model")
    parser.add_argument("data", nargs="+", help="folders with labels.tsv, or LMDB sets")
    parser.add_argument("--precisions", nargs="+", default=["fp32", "bf16", "int8"], help="the first is compared with")
    parser.add_argument("--limit", type=int, help="crops of each set")
    args = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    normal = CharsetFilter(CHARSET_36)
    samples = [s for path in args.data for s, _ in zip(open_dataset(path), range(args.limit or 10**9))]
    crops, labels = [crop for crop, _ in samples], [normal(label) for _, label in samples]
    print(f"{args.model}: {len(crops)} words; accuracy on letters and digits, case ignored")
    reference: list[str] = []
    for precision in args.precisions:
        recognizer = Recognizer(load_model(args.model), precision=precision)
        start = time.perf_counter()
        texts = [r.text for r in recognizer(crops)]
        seconds = time.perf_counter() - start
        reference = reference or texts
        changed = sum(a != b for a, b in zip(texts, reference))
        changed_normal = sum(normal(a) != normal(b) for a, b in zip(texts, reference))
        correct = sum(normal(text) == label for text, label in zip(texts, labels))
        print(
            f"{precision}: {100 * correct / len(crops):.2f} % right, "
            f"{changed} words ({100 * changed / len(crops):.2f} %) differ from "
            f"{args.precisions[0]} ({changed_normal} in letters and digits), "
            f"{len(crops) / seconds:.0f} crops a second",
            flush=True,
        )


if __name__ == "__main__":
    main()
