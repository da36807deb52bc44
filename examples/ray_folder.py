"""A folder of scans into Parquet with Ray, one row a page; run it again and it goes on where it was interrupted.

On a cluster the folders may be ``s3://...``, and the pools larger: ``recognizers=8, recognizer_gpus=0.5``.

    python examples/ray_folder.py [FOLDER [OUTPUT]]
"""

import sys
from pathlib import Path

import pyarrow.parquet as pq

from clip4str_adapters.ray import read_folder

source = sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent / "photos"
output = sys.argv[2] if len(sys.argv) > 2 else "texts"

print(read_folder(source, output, detectors=1, recognizers=1))
for row in pq.read_table(output).to_pylist():
    print(row["image"], row["page"], row["error"] or " ".join(word["text"] for word in row["words"]))
