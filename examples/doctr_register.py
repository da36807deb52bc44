"""CLIP4STR by name in docTR's own factory: the rest of a docTR program stays as it is.

python examples/doctr_register.py [CROP ...]
"""

import sys
from pathlib import Path

import numpy as np
from doctr.io import read_img_as_numpy
from doctr.models import recognition_predictor

from clip4str_adapters.doctr import register

register()
predictor = recognition_predictor("clip4str_tiny", pretrained=True)

if len(sys.argv) > 1:
    crops = [read_img_as_numpy(path) for path in sys.argv[1:]]
else:
    page = read_img_as_numpy(Path(__file__).parent / "photos" / "fire_engine.jpg")
    crops = [np.ascontiguousarray(page[202:221, 245:306])]
for text, confidence in predictor(crops):
    print(f"{confidence:.2f}  {text}")
