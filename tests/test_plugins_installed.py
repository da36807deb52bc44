"""A detector that another distribution brings: installed with pip, it is found and reads."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.host_helpers import PHOTOS

PLUGIN = Path(__file__).parent.parent / "examples" / "detector_plugin"


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The example plugin in a folder of its own, and an environment that sees it."""
    folder = tmp_path_factory.mktemp("plugin")
    shutil.copytree(PLUGIN, folder / "source", ignore=shutil.ignore_patterns("build", "*.egg-info", "__pycache__"))
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check", "-q"]
    command = [sys.executable, "-m", "pip", "install", *options, "--target", folder / "site", folder / "source"]
    subprocess.run(command, check=True, capture_output=True, timeout=600)
    return {**os.environ, "PYTHONPATH": str(folder / "site"), "OMP_NUM_THREADS": "1"}


def clip4str(environment, *args):
    command = [sys.executable, "-m", "clip4str_plugin.cli", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, timeout=600, env=environment)


@pytest.mark.slow
def test_an_installed_plugin_is_listed_with_its_distribution(installed):
    done = clip4str(installed, "plugins", "--format", "json")
    assert done.returncode == 0, done.stderr
    (record,) = [record for record in json.loads(done.stdout) if record["name"] == "ink"]
    assert record["group"] == "clip4str.detectors"
    assert (record["distribution"], record["version"]) == ("clip4str-ink-detector", "0.1.0")
    assert record["problem"] is None


@pytest.mark.slow
def test_an_installed_plugin_detects_for_the_command_line(installed):
    done = clip4str(installed, "read", PHOTOS / "printed_page.png", "--detector", "ink", "--format", "jsonl")
    assert done.returncode == 0, done.stderr
    words = {word["text"].strip(".,").lower() for word in json.loads(done.stdout)["words"]}
    assert len(words & {"segmentation", "determine", "markers", "background", "histogram", "coins", "values"}) >= 3
    done = clip4str(installed, "read", PHOTOS / "printed_page.png", "--detector", "ink:large")
    assert done.returncode != 0
    assert "no arch 'large'" in done.stderr


def test_without_it_the_name_is_unknown():
    done = clip4str(os.environ, "read", PHOTOS / "printed_page.png", "--detector", "ink")
    assert done.returncode != 0
    assert "no detector is called 'ink'" in done.stderr
