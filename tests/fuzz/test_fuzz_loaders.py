"""Whatever a file holds, its loader takes it or ends in an error of showtell's own, in one line."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.fuzz.loaders import LOADERS, try_one, try_sound

_ONE_BY_ONE = settings(
    max_examples=12,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.mark.parametrize("name", LOADERS)
def test_a_sound_file_is_loaded(name, tmp_path):
    try_sound(LOADERS[name], tmp_path / "fuzz")


@pytest.mark.parametrize(
    ("name", "seed"),
    [
        ("saved few-shot-tip-adapter", 2041),
        ("saved evolving", 2050),
        ("audit", 9082),
        ("audit", 9607),
        ("saved likelihood-shortlist", 9092),
        ("saved concepts-forest arrays", 9543),
    ],
)
def test_what_was_found_once_stays_mended(name, seed, tmp_path):
    assert try_one(LOADERS[name], seed, tmp_path / "fuzz") is None


@pytest.mark.parametrize("name", LOADERS)
def test_a_spoiled_file_is_loaded_or_refused_and_never_crashes_its_loader(name, tmp_path):
    @_ONE_BY_ONE
    @given(seed=st.integers(0, 2**32))
    def run(seed):
        foreign = try_one(LOADERS[name], seed, tmp_path / "fuzz")
        if foreign is not None:
            raise foreign

    run()
