"""Do exported graphs read what PyTorch reads: ``python benchmarks/export_equality.py FOLDER... [--limit 1000]``.

Exports a model, reads the crops of the folders with its ONNX graphs (ONNX Runtime and NumPy only) and with PyTorch in
fp32, both branches, for every number of refinements, and counts crops whose texts differ. Status 1 if any do.
"""

import argparse
import itertools
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnxruntime

from clip4str_plugin import Recognizer, load_model
from clip4str_plugin.data.datasets import open_dataset
from clip4str_plugin.evaluation.ablation import ablated
from clip4str_plugin.export import export_onnx
from clip4str_plugin.reading.onnx_recognizer import OnnxRecognizer


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="+", help="folders with labels.tsv, or LMDB sets")
    parser.add_argument("--model", default="tiny", help="name or file (default: %(default)s)")
    parser.add_argument("--limit", type=int, default=1000, help="crops in all (default: %(default)s)")
    parser.add_argument("--refine-iters", type=int, nargs="+", default=[0, 1, 2, 3])
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    samples = itertools.chain.from_iterable(open_dataset(path) for path in args.data)
    crops = [crop for crop, _ in itertools.islice(samples, args.limit)]
    model = load_model(args.model)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = args.threads
    differing = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "onnx"
        export_onnx(model, folder)
        exported = OnnxRecognizer(folder, batch_size=args.batch_size, session_options=options)
        recognizer = Recognizer(model, batch_size=args.batch_size, precision="fp32")
        print(f"{args.model}, {len(crops)} crops, cross-modal branch: {model.config.cross_branch}")
        for refine_iters in args.refine_iters:
            exported.config["refine_iters"] = refine_iters
            with ablated(model, {"refine_iters": refine_iters}):
                ours = recognizer(crops)
            theirs = exported(crops)
            different = [(a.text, b.text) for a, b in zip(ours, theirs) if a.text != b.text]
            apart = max(abs(a.confidence - b.confidence) for a, b in zip(ours, theirs))
            length = np.mean([len(a.text) for a in ours])
            print(
                f"{refine_iters} refinements: {len(different)} texts differ {different[:5]}, mean length {length:.2f}, "
                f"confidences at most {apart:.1e} apart",
                flush=True,
            )
            differing += len(different)
    return int(differing > 0)


if __name__ == "__main__":
    sys.exit(main())
