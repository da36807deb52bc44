"""The examples in docstrings do what they say."""

import doctest
import re
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
WITH_EXAMPLES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for path in (ROOT / "clip4str_plugin").rglob("*.py")
    if re.search(r"^ *>>> ", path.read_text(encoding="utf-8"), re.M)
)


@pytest.mark.slow
@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_examples(name):
    module = import_module(name)
    failed, run = doctest.testmod(module)
    assert not failed
    assert run or "+SKIP" in Path(module.__file__).read_text(encoding="utf-8"), "examples that nothing finds"
