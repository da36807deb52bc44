"""Which device, and how many threads."""

import pytest

from clip4str_plugin.model.devices import MOST_THREADS, cpu_threads, pick_device


@pytest.mark.parametrize(
    ("asked", "threads"),
    [("", 0), ("3", 3), (" 4 ,2", 4), ("many", 0), ("-1", 0), ("²", 0), ("9" * 20, MOST_THREADS)],
)
def test_threads_that_the_environment_asks_for(monkeypatch, asked, threads):
    monkeypatch.setenv("OMP_NUM_THREADS", asked)
    assert cpu_threads() == threads


@pytest.mark.parametrize("name", ["nope", "", "meta", "cuda:99"])
def test_devices_that_cannot_be(name):
    with pytest.raises(ValueError, match="cannot be used"):
        pick_device(name)
