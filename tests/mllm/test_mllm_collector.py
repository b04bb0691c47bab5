"""The garbage collector is spared the libraries during a run, and misses nothing for it."""

from __future__ import annotations

import asyncio
import gc
import weakref

import pytest
from tests.mllm.fakes import ScriptedModel, question

from showtell.mllm import Client
from showtell.mllm.collector import libraries_spared


class Loop:
    """Something that only the collector can free."""

    def __init__(self):
        self.me = self


@pytest.fixture(autouse=True)
def _nothing_frozen():
    gc.unfreeze()
    yield
    assert gc.get_freeze_count() == 0
    gc.unfreeze()


def test_what_is_made_meanwhile_is_collected_and_the_rest_afterwards():
    before = Loop()
    old = weakref.ref(before)
    with libraries_spared():
        assert gc.get_freeze_count() > 1000
        new = weakref.ref(Loop())
        del before
        gc.collect()
        assert new() is None
        assert old() is not None
    gc.collect()
    assert old() is None


def test_the_last_one_out_undoes_it():
    with libraries_spared():
        with libraries_spared():
            pass
        assert gc.get_freeze_count() > 0
    assert gc.get_freeze_count() == 0


def test_it_is_undone_when_something_goes_wrong():
    with pytest.raises(KeyError), libraries_spared():
        raise KeyError("x")
    assert gc.get_freeze_count() == 0


def test_objects_that_others_froze_stay_frozen():
    gc.freeze()
    try:
        n_frozen = gc.get_freeze_count()
        with libraries_spared():
            pass
        assert gc.get_freeze_count() > 0.9 * n_frozen
    finally:
        gc.unfreeze()


def test_a_run_is_spared_and_two_at_once_are_too():
    seen = []

    def look(request, outcome):
        seen.append(gc.get_freeze_count() > 0)

    async def both():
        clients = [Client(ScriptedModel(latency=0.001)) for _ in range(2)]
        await asyncio.gather(*(c.map([question(i) for i in range(20)], look) for c in clients))

    asyncio.run(both())
    assert seen == [True] * 40
