"""The table of published checkpoints is complete, consistent, and names the best of each size."""

import re

import pytest

from clip4str_plugin.model.config import GEOMETRIES
from clip4str_plugin.model.published import ALIASES, BENCHMARKS, PUBLISHED

MODELS = {model.name: model for model in PUBLISHED.values()}


def words_read(model):
    return sum(model.accuracy[name] * size for name, size in BENCHMARKS.items())


def test_eight_models():
    assert len(MODELS) == 8
    assert len({m.hash_prefix for m in MODELS.values()}) == 8
    assert len({m.filename for m in MODELS.values()}) == 8
    assert {*MODELS, *ALIASES} == {*PUBLISHED}


@pytest.mark.parametrize("model", MODELS.values(), ids=lambda m: m.name)
def test_entry(model):
    assert PUBLISHED[model.name] is model
    assert model.geometry in GEOMETRIES
    assert model.name.startswith(model.geometry)
    assert re.fullmatch("[0-9a-f]{10}", model.hash_prefix)
    assert model.hash_prefix in model.filename
    assert model.url.startswith("https://")
    assert list(model.accuracy) == list(BENCHMARKS)
    assert all(40 < percent <= 100 for percent in model.accuracy.values())
    # A file is either addressed, or looked up in the index of the page a person is sent to.
    assert model.url.endswith(model.filename) == (model.index is None)


@pytest.mark.parametrize("alias", ALIASES)
def test_alias_is_the_best_of_its_size(alias):
    rivals = [model for model in MODELS.values() if model.geometry == alias]
    assert PUBLISHED[alias] is max(rivals, key=words_read)


def test_known_figures():
    assert PUBLISHED["base16-real"].accuracy["IIIT5k"] == 99.20
    assert PUBLISHED["base16-synth"].accuracy["Uber"] == 43.52
    assert PUBLISHED["huge14-dfn-rbu"].accuracy["HOST"] == 82.6
