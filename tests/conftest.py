import json
import os
from pathlib import Path

# Before PyTorch is imported: several test processes, each with as many threads as there are cores, wait for each other.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
import torch

from tests.golden import hashweights

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture(scope="session")
def golden():
    """Numbers measured on the published implementation, by file name."""

    def load(name):
        path = GOLDEN / name
        return json.loads(path.read_text(encoding="utf-8")) if path.suffix == ".json" else np.load(path)

    return load


@pytest.fixture(scope="session")
def golden_state(golden):
    """The state dict of the golden geometry."""
    meta = golden("meta.json")
    return {k: torch.from_numpy(v) for k, v in hashweights.build(meta["shapes"], seed_of(meta)).items()}


def seed_of(meta):
    return meta["geometry"]["seed"]


@pytest.fixture(scope="session")
def golden_checkpoint(golden, golden_state, tmp_path_factory):
    """A Lightning checkpoint of the golden weights."""
    path = tmp_path_factory.mktemp("golden") / "some-file"
    content = {
        "epoch": 3,
        "global_step": 12,
        "pytorch-lightning_version": "1.6.5",
        "state_dict": golden_state,
        "hyper_parameters": golden("meta.json")["hparams"],
        "callbacks": {"ModelCheckpoint": {"best_model_score": torch.tensor(1.0), "dirpath": Path("logs")}},
    }
    torch.save(content, path)
    return path


@pytest.fixture(scope="session")
def golden_model(golden_checkpoint):
    from clip4str_plugin import load_model

    return load_model(golden_checkpoint)


@pytest.fixture(scope="session")
def golden_images(golden):
    """Seven normalised crops, (7, 3, 224, 224)."""
    return torch.from_numpy(golden("inputs.npz")["images_05"])


@pytest.fixture(scope="session", autouse=True)
def cache_of_the_session(tmp_path_factory):
    """Keep graphs and downloads of the tests out of the user's cache; test processes share them."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLIP4STR_CACHE", str(folder / "clip4str-cache"))
        yield


@pytest.fixture
def pytorch_alone(monkeypatch):
    """Let PyTorch compute on the CPU, too: making OpenVINO's graphs of a new model takes ten seconds."""
    monkeypatch.setattr("clip4str_plugin.model.engines.precision.find_spec", lambda name: None)
