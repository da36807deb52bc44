"""The public names, whatever was imported before."""

import subprocess
import sys

import pytest

import clip4str_plugin


def run(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_every_public_name_resolves():
    for name in clip4str_plugin.__all__:
        assert getattr(clip4str_plugin, name) is not None
    assert set(clip4str_plugin.__all__) <= set(dir(clip4str_plugin))
    with pytest.raises(AttributeError, match="nothing_like_it"):
        _ = clip4str_plugin.nothing_like_it


@pytest.mark.slow
def test_no_module_hides_a_public_name():
    code = """
import importlib, pkgutil, clip4str_plugin as p
skip = ("__main__", "training", "onnx")
for m in pkgutil.iter_modules(p.__path__):
    if not any(s in m.name for s in skip):
        importlib.import_module(f"clip4str_plugin.{m.name}")
import types
print([n for n in p.__all__ if isinstance(getattr(p, n), types.ModuleType)])
"""
    assert run(code) == "[]"


def test_importing_the_package_loads_nothing_heavy():
    heavy = "{'torch', 'cv2', 'doctr', 'rapidocr', 'onnxruntime', 'open_clip'}"
    code = f"import sys, clip4str_plugin, clip4str_adapters; print(sorted({heavy} & set(sys.modules)))"
    assert run(code) == "[]"
