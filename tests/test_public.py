"""The public names, whatever was imported before."""

import importlib.metadata
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


def test_version_is_that_of_the_distribution():
    assert clip4str_plugin.__version__ == importlib.metadata.version("clip4str-plugin")


def test_a_page_is_saved_straight_after_its_import(tmp_path):
    run(f"from clip4str_plugin import Page; Page(None, error='no page').save({str(tmp_path / 'page.json')!r})")
    assert "no page" in (tmp_path / "page.json").read_text()


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
