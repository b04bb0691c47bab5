"""Files shared by processes: who comes at the same moment waits, and nothing is lost."""

from __future__ import annotations

import copy
import gc
import multiprocessing
import os
import pickle
import random
import sqlite3
import sys
import threading
import traceback
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from tests.mllm.fakes import answer

from showtell.encoders import EmbeddingStore
from showtell.errors import InputError, RunError
from showtell.mllm import AnswerCache
from showtell.mllm.call.cache import CacheWarning

KINDS = ("answers", "embeddings")
PATIENCE = 300  # seconds until a process that does not come is a failure
CAN_FORK = "forkserver" in multiprocessing.get_all_start_methods()
CONTEXT = multiprocessing.get_context("forkserver" if CAN_FORK else "spawn")
if CAN_FORK:  # what takes long is imported once
    CONTEXT.set_forkserver_preload(["showtell.encoders.store", "showtell.mllm.call.cache"])


def make(kind, path):
    return AnswerCache(path) if kind == "answers" else EmbeddingStore(path)


def keep(database, key):
    if isinstance(database, AnswerCache):
        database.put(key, answer("cat"))
    else:
        database.put_many("enc", {key: np.ones(4, np.float32)})


def together(work, *args, n_workers=8):
    """Run `work(*args, number, meet)` in new processes; `meet()` waits until all are there."""
    barrier, failures = CONTEXT.Barrier(n_workers), CONTEXT.Queue()
    workers = [
        CONTEXT.Process(target=one_of_them, args=(work, args, number, barrier, failures))
        for number in range(n_workers)
    ]
    for worker in workers:
        worker.start()
    told = [failures.get(timeout=PATIENCE) for _ in workers]
    for worker in workers:
        worker.join()
    assert [text for text in told if text] == []


def one_of_them(work, args, number, barrier, failures):
    try:
        work(*args, number, lambda: barrier.wait(PATIENCE))
    except BaseException:
        failures.put(traceback.format_exc())
        barrier.abort()
        raise
    failures.put("")


def begin_files(kind, folder, n_rounds, number, meet):
    for i in range(n_rounds):
        meet()
        with make(kind, folder / f"{i}.sqlite") as database:
            keep(database, f"{number}")


@pytest.mark.parametrize("kind", KINDS)
def test_processes_may_begin_the_same_file_at_the_same_moment(kind, tmp_path):
    together(begin_files, kind, tmp_path, 12)
    for i in range(12):
        with make(kind, tmp_path / f"{i}.sqlite") as database:
            assert database.stats().n_rows == 8


def write_much(kind, path, n_writes, number, meet):
    with make(kind, path) as database:
        meet()
        for i in range(n_writes):
            keep(database, f"{number}-{i}")


@pytest.mark.parametrize("kind", KINDS)
def test_no_write_of_any_process_is_lost(kind, tmp_path):
    together(write_much, kind, tmp_path / "new" / "a.sqlite", 60)
    with make(kind, tmp_path / "new" / "a.sqlite") as database:
        assert database.stats().n_rows == 8 * 60


def begin_damaged_files(kind, folder, n_rounds, number, meet):
    warnings.simplefilter("ignore", UserWarning)
    for i in range(n_rounds):
        meet()
        with make(kind, folder / f"{kind}-{i}.sqlite") as database:
            keep(database, f"{number}")


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_file_is_moved_once_and_what_comes_after_it_stays(kind, tmp_path):
    for i in range(8):
        (tmp_path / f"{kind}-{i}.sqlite").write_bytes(b"no database" * 1000)
    together(begin_damaged_files, kind, tmp_path, 8, n_workers=6)
    for i in range(8):
        with make(kind, tmp_path / f"{kind}-{i}.sqlite") as database:
            assert database.stats().n_rows == 6
    assert len(list(tmp_path.glob("*.damaged-*"))) == 8


def test_who_was_killed_while_moving_a_damaged_file_stops_nobody(tmp_path, monkeypatch):
    monkeypatch.setattr("showtell.records.database._MOVING", 0.05)
    (tmp_path / "answers.sqlite").write_bytes(b"no database" * 1000)
    (tmp_path / "answers.sqlite.moving").mkdir()
    with AnswerCache(tmp_path / "answers.sqlite") as cache, pytest.warns(CacheWarning):
        keep(cache, "k")
    assert {path.name for path in tmp_path.iterdir()} == {
        "answers.sqlite",
        "answers.sqlite.damaged-1",
    }


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_of_somebody_else_is_left_as_it_is(kind, tmp_path):
    letter, empty, other = tmp_path / "letter.txt", tmp_path / "empty.sqlite", tmp_path / "o.sqlite"
    letter.write_text("Dear grandmother")
    with sqlite3.connect(empty) as connection:
        connection.execute("PRAGMA application_id = 77")
    connection.close()
    with make(KINDS[kind == KINDS[0]], other) as database:
        keep(database, "k")
    for path in (letter, empty, other):
        before = path.read_bytes()
        with make(kind, path) as database, pytest.raises(InputError, match="left as it is"):
            keep(database, "k")
        assert path.read_bytes() == before
    assert not list(tmp_path.glob("*damaged*"))


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_whose_maker_was_killed_is_finished(kind, tmp_path):
    path = tmp_path / "a.sqlite"
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.close()
    assert path.stat().st_size > 0
    with make(kind, path) as database:
        keep(database, "k")
        assert database.stats().n_rows == 1


def test_answers_from_before_the_layout_was_noted_are_read_on(tmp_path):
    path = tmp_path / "a.sqlite"
    with AnswerCache(path) as cache:
        cache.put("k", answer("cat"))
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 0")
    connection.close()
    with AnswerCache(path) as cache:
        assert cache.get("k").text == "cat"
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (1,)
    connection.close()


@pytest.mark.parametrize("kind", KINDS)
def test_another_layout_is_refused(kind, tmp_path):
    path = tmp_path / "a.sqlite"
    with make(kind, path) as database:
        keep(database, "k")
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with make(kind, path) as database, pytest.raises(InputError, match="layout 99"):
        keep(database, "l")


@pytest.mark.skipif(sys.platform == "win32", reason="needs SQLite's unix-dotfile")
@pytest.mark.parametrize("kind", KINDS)
def test_a_disk_without_shared_memory_works_too(kind, tmp_path, monkeypatch):
    connect = sqlite3.connect

    def as_on_a_network_disk(path, **options):
        return connect(f"file:{path}?vfs=unix-dotfile", uri=True, **options)

    monkeypatch.setattr(sqlite3, "connect", as_on_a_network_disk)
    path = tmp_path / "a.sqlite"

    def work(number):
        with make(kind, path) as database:
            for i in range(20):
                keep(database, f"{number}-{i}")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    with make(kind, path) as database:
        assert database.stats().n_rows == 80
    connection = connect(path)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    connection.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
@pytest.mark.parametrize("kind", KINDS)
def test_a_fork_while_a_thread_writes_harms_neither_side(kind, tmp_path):
    stop, n_kept = threading.Event(), 0
    with make(kind, tmp_path / "a.sqlite") as database:
        keep(database, "first")

        def write():
            nonlocal n_kept
            while not stop.is_set():
                keep(database, f"parent-{n_kept}")
                n_kept += 1

        writer = threading.Thread(target=write)
        writer.start()
        children = []
        for number in range(5):
            child = os.fork()
            if child == 0:
                code = 1
                try:
                    keep(database, f"child-{number}")
                    code = 0
                finally:
                    os._exit(code)
            children.append(child)
        codes = [os.waitpid(child, 0)[1] for child in children]
        stop.set()
        writer.join()
        assert codes == [0] * 5
        assert database.stats().n_rows == 1 + 5 + n_kept


@pytest.mark.parametrize("kind", KINDS)
def test_a_copy_is_the_same_file(kind, tmp_path):
    with make(kind, tmp_path / "a.sqlite") as database:
        keep(database, "k")
        for again in (pickle.loads(pickle.dumps(database)), copy.deepcopy(database)):
            assert repr(again) == repr(database)
            with again:
                assert again.stats().n_rows == 1


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_stays_open_when_it_is_forgotten(kind, tmp_path):
    keep(make(kind, tmp_path / "a.sqlite"), "k")
    gc.collect()
    assert [path.name for path in tmp_path.iterdir()] == ["a.sqlite"]


@pytest.mark.parametrize("kind", KINDS)
def test_waiting_for_another_process_ends(kind, tmp_path, monkeypatch):
    path = tmp_path / "a.sqlite"
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    monkeypatch.setattr("showtell.records.database.PATIENCE", 0.05)
    with make(kind, path) as database:
        with pytest.raises(RunError, match=r"locked.*SHOWTELL_CACHE_DIR"):
            keep(database, "k")
        other.close()
        keep(database, "k")
        assert database.stats().n_rows == 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_in_use_is_waited_for(kind, tmp_path):
    path = tmp_path / "a.sqlite"
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN EXCLUSIVE")
    release = threading.Timer(1.5, other.close)  # longer than SQLite itself waits
    release.start()
    with make(kind, path) as database:
        keep(database, "k")
        assert database.stats().n_rows == 1
    release.join()


def test_a_seeded_user_keeps_the_numbers(tmp_path, monkeypatch):
    path = tmp_path / "a.sqlite"
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    monkeypatch.setattr("showtell.records.database.PATIENCE", 0.6)
    state = random.getstate()
    with AnswerCache(path) as cache, pytest.raises(RunError, match="locked"):
        cache.get("k")
    other.close()
    assert random.getstate() == state
