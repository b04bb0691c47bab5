"""Answers kept on disk: what is kept, what a hit costs, what damage does."""

from __future__ import annotations

import json
import multiprocessing
import os
import sqlite3
import stat
import threading
from decimal import Decimal

import pytest
from tests.mllm.fakes import ScriptedModel, answer, kinds, question
from tests.small_disks import room_for

from showtell.errors import InputError, RunError
from showtell.mllm import Answer, Client, TokenLogprob, Usage
from showtell.mllm.call.cache import AnswerCache, CacheWarning, default_cache
from showtell.mllm.call.stored import answer_from_record, answer_to_record, dumps


@pytest.fixture
def cache(tmp_path):
    with AnswerCache(tmp_path / "answers.sqlite") as cache:
        yield cache


def test_a_hit_costs_nothing_and_says_so(cache):
    assert cache.get("k") is None
    assert cache.put("k", answer("cat", seconds=1.5, attempts=3))
    found = cache.get("k")
    assert (found.text, found.finish, found.model) == ("cat", "stop", "scripted-1")
    assert found.from_cache
    assert found.usage == Usage(
        input_tokens=0, output_tokens=0, cached_tokens=0, cost_usd=Decimal(0), n_requests=0
    )
    assert (found.seconds, found.attempts) == (0.0, 0)


@pytest.mark.parametrize("finish", ["length", "refused", "blocked", "other"])
def test_answers_that_are_not_whole_are_not_kept(cache, finish):
    assert not cache.put("k", answer("half", finish=finish))
    assert cache.get("k") is None


def test_probabilities_and_logprobs_come_back_exactly(cache):
    logprobs = (TokenLogprob(token="cät\ud83d", logprob=-0.1, top=(("dog", -2.5), ("", -9.0))),)
    given = answer("cat", probabilities={"cat": 0.7, "dog": 0.3}, logprobs=logprobs)
    cache.put("k", given)
    found = cache.get("k")
    assert found.logprobs == logprobs
    assert found.probabilities == {"cat": 0.7, "dog": 0.3}


@pytest.mark.parametrize("text", ["", "\ud800 half a pair", "line\nbreak \u2028 \x00", "ß→🦋"])
def test_any_text_a_model_may_write_survives(cache, text):
    cache.put("k", answer(text))
    assert cache.get("k").text == text


def test_a_record_keeps_what_an_answer_took():
    given = Answer(
        text="a",
        usage=Usage(input_tokens=5, output_tokens=None, cached_tokens=2, cost_usd=Decimal("1e-7")),
        finish="stop",
        model="m",
        seconds=0.25,
        attempts=2,
    )
    back = answer_from_record(json.loads(dumps(answer_to_record(given))), from_cache=False)
    assert back == given


def test_a_newer_answer_replaces_the_older(cache):
    cache.put("k", answer("cat"))
    cache.put("k", answer("dog"))
    assert cache.get("k").text == "dog"
    assert cache.stats().n_rows == 1


def test_answers_survive_closing_and_are_shared_by_openers(tmp_path):
    path = tmp_path / "deep" / "answers.sqlite"
    with AnswerCache(path) as one, AnswerCache(path) as two:
        one.put("k", answer("cat"))
        assert two.get("k").text == "cat"
    with AnswerCache(path) as again:
        assert again.get("k").text == "cat"


def test_nothing_is_opened_before_the_first_use(tmp_path):
    AnswerCache(tmp_path / "answers.sqlite")
    assert not list(tmp_path.iterdir())


def test_stats_and_clear_by_model_and_age(cache):
    assert cache.stats().n_rows == 0
    assert cache.clear() == 0
    cache.put("a", answer("cat"))
    cache.put("b", answer("dog"))
    stats = cache.stats()
    assert (stats.n_rows, stats.models) == (2, (("scripted-1", 2),))
    assert stats.n_bytes > 0
    assert cache.clear(model="other") == 0
    assert cache.clear(older_than=3600) == 0
    assert cache.clear(model="scripted-1") == 2
    assert cache.get("a") is None


def test_many_threads_may_write_at_once(cache):
    def work(number):
        for i in range(40):
            cache.put(f"{number}-{i}", answer(f"{number}"))
            assert cache.get(f"{number}-{i}").text == f"{number}"

    threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert cache.stats().n_rows == 240


def _write(path, number):
    with AnswerCache(path) as cache:
        for i in range(20):
            cache.put(f"{number}-{i}", answer("cat"))


def test_several_processes_may_write_at_once(tmp_path):
    path = tmp_path / "answers.sqlite"
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_write, args=(path, n)) for n in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    with AnswerCache(path) as cache:
        assert cache.stats().n_rows == 40


def test_a_damaged_file_is_moved_aside_and_begun_anew(tmp_path):
    path = tmp_path / "answers.sqlite"
    path.write_bytes(b"this is no database, " * 100)
    with AnswerCache(path) as cache:
        with pytest.warns(CacheWarning, match="damaged-1"):
            assert cache.get("k") is None
        assert cache.put("k", answer())
    assert (tmp_path / "answers.sqlite.damaged-1").exists()


def test_another_programs_database_is_left_alone(tmp_path):
    path = tmp_path / "bookmarks.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE bookmark (url TEXT)")
    connection.close()
    before = path.read_bytes()
    with AnswerCache(path) as cache, pytest.raises(InputError, match="no cache of answers"):
        cache.get("k")
    assert path.read_bytes() == before


def test_a_folder_that_cannot_be_made_is_said_so(tmp_path):
    (tmp_path / "file").write_text("")
    cache = AnswerCache(tmp_path / "file" / "answers.sqlite")
    with pytest.raises(RunError, match="SHOWTELL_CACHE_DIR"):
        cache.get("k")


def test_the_default_follows_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("SHOWTELL_CACHE_DIR", str(tmp_path))
    cache = default_cache()
    assert cache.path.parent == tmp_path
    assert default_cache() is cache
    monkeypatch.setenv("SHOWTELL_ANSWERS", "off")
    assert default_cache() is None
    cache.close()


@pytest.mark.skipif(os.name != "posix", reason="rights of files are Unix's")
def test_answers_are_for_their_owners_eyes_alone(tmp_path):
    before = os.umask(0)
    try:
        with AnswerCache(tmp_path / "new" / "answers.sqlite") as cache:
            cache.put("k", answer("cat"))
            modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in cache.path.parent.iterdir()}
    finally:
        os.umask(before)
    assert modes
    assert set(modes.values()) == {0o600}


def test_a_cache_that_gets_full_costs_no_answer(tmp_path):
    cache = AnswerCache(tmp_path / "answers.sqlite")
    cache.put(question(0).key, answer("dog"))
    client = Client(ScriptedModel(lambda request, n: "cat"), cache=cache)
    with room_for(cache.path.stat().st_size), pytest.warns(CacheWarning, match="on without it"):
        outcomes = client.run([question(i) for i in range(30)])
    assert kinds(outcomes) == ["dog", *["cat"] * 29]
    cache.close()


def test_a_cache_that_cannot_be_made_costs_no_answer(tmp_path):
    (tmp_path / "file").write_text("")
    client = Client(ScriptedModel(), cache=AnswerCache(tmp_path / "file" / "answers.sqlite"))
    with pytest.warns(CacheWarning, match="on without it") as seen:
        outcomes = client.run([question(i) for i in range(3)])
    assert kinds(outcomes) == ["cat"] * 3
    assert len([w for w in seen if w.category is CacheWarning]) == 1
