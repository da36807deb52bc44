"""Other programs import the modules behind entry points whenever they start; that must cost them nothing."""

import subprocess
import sys

import pytest

from clip4str_plugin.plugins import find_plugins

# What must not be loaded before it is used: a millisecond of each would be allowed, but each takes far longer.
HEAVY = {"torch", "torchvision", "cv2", "onnxruntime", "doctr", "rapidocr", "onnxtr", "easyocr", "paddleocr", "paddlex"}
HEAVY |= {"docling", "deepdoctection", "ray", "scipy", "open_clip", "pyarrow"}
GROUPS = ("clip4str.detectors", "docling", "ocrmypdf")
OURS = [plugin for group in GROUPS for plugin in find_plugins(group) if plugin.distribution == "clip4str-plugin"]
MODULES = sorted({plugin.value.partition(":")[0] for plugin in OURS})
CODE = """
import sys, time
import numpy, importlib.metadata  # every host has loaded these
try:
    import ocrmypdf  # the plugin imports it, as OCRmyPDF wants, and only OCRmyPDF imports the plugin
except ImportError:
    pass
before, begin = set(sys.modules), time.process_time()
import {module}
print(round(time.process_time() - begin, 3), *sorted({heavy} & (set(sys.modules) - before)))
"""


@pytest.mark.parametrize("module", [*MODULES, "clip4str_adapters.deepdoctection", "clip4str_adapters.ray"])
def test_importing_is_light(module):
    if module.endswith("ocrmypdf"):
        pytest.importorskip("ocrmypdf")
    code = CODE.format(module=module, heavy=HEAVY)
    assert len(MODULES) >= 7
    runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True) for _ in range(2)]
    answers = [run.stdout.split() for run in runs]
    assert answers[1][1:] == []
    assert min(float(answer[0]) for answer in answers) < 0.1
