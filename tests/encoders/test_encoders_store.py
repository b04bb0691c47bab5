"""Embeddings on disk: what goes in comes out, and nothing else is ever harmed."""

from __future__ import annotations

import os
import pickle
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from showtell.encoders import EmbeddingStore, StoreWarning, default_store
from showtell.errors import InputError, RunError
from showtell.records.files import cache_folder


@pytest.fixture
def store(tmp_path):
    with EmbeddingStore(tmp_path / "cache" / "store.sqlite") as opened:
        yield opened


def vectors(n, *, start=0, n_dims=8):
    rng = np.random.default_rng(start)
    return {f"{start + i:032x}": rng.normal(size=n_dims).astype(np.float32) for i in range(n)}


def test_what_goes_in_comes_out(store):
    kept = vectors(1200)
    store.put_many("enc", kept)
    found = store.get_many("enc", [*kept, "unknown"])
    assert found.keys() == kept.keys()
    for digest, vector in kept.items():
        np.testing.assert_array_equal(found[digest], vector)
        assert found[digest].dtype == np.float32


def test_nothing_is_opened_before_it_is_used(tmp_path):
    store = EmbeddingStore(tmp_path / "a" / "store.sqlite")
    assert store.stats().n_rows == 0
    assert store.clear() == store.prune(0) == 0
    assert store.get_many("enc", []) == {}
    store.put_many("enc", {})
    assert not (tmp_path / "a").exists()


def test_encoders_do_not_see_each_other(store):
    store.put_many("one", {"d": np.zeros(2, np.float32)})
    store.put_many("two", {"d": np.ones(2, np.float32)})
    assert store.get_many("one", ["d"])["d"].tolist() == [0, 0]
    assert store.get_many("two", ["d"])["d"].tolist() == [1, 1]
    assert store.get_many("three", ["d"]) == {}


def test_the_first_embedding_of_a_key_stays(store):
    store.put_many("enc", {"d": np.zeros(2, np.float32)})
    store.put_many("enc", {"d": np.ones(2, np.float32)})
    assert store.get_many("enc", ["d"])["d"].tolist() == [0, 0]


def test_another_process_finds_what_was_kept(store):
    kept = vectors(3)
    store.put_many("enc", kept)
    assert len(EmbeddingStore(store.path).get_many("enc", list(kept))) == 3


def test_statistics_per_encoder(store):
    before = time.time()
    store.put_many("fp-1", vectors(5), name="small")
    store.put_many("fp-2", vectors(3, n_dims=100), name="large")
    stats = store.stats()
    assert stats.n_rows == 8
    assert [(e.name, e.fingerprint, e.n_rows, e.n_bytes) for e in stats.encoders] == [
        ("large", "fp-2", 3, 1200),
        ("small", "fp-1", 5, 160),
    ]
    assert stats.n_bytes >= store.path.stat().st_size > 1360
    assert int(before) <= stats.encoders[0].last_used <= time.time()


def test_clearing_one_encoder_leaves_the_others(store):
    store.put_many("fp-1", vectors(5), name="small")
    store.put_many("fp-2", vectors(3), name="large")
    assert store.clear(encoder="small") == 5
    assert store.clear(encoder="fp-2") == 3
    assert store.stats().n_rows == 0
    store.put_many("fp-1", vectors(2), name="small")  # works again after its id is gone
    assert store.clear() == 2


def set_used(store, digest, days_ago):
    store.close()
    with sqlite3.connect(store.path) as connection:
        connection.execute(
            "UPDATE embedding SET used = ? WHERE digest = ?",
            (int(time.time() - days_ago * 86_400), digest),
        )
    connection.close()


def test_clearing_by_age(store):
    store.put_many("enc", vectors(2))
    old, new = vectors(2)
    set_used(store, old, 40)
    assert store.clear(older_than=30) == 1
    assert list(store.get_many("enc", [old, new])) == [new]


def test_reading_an_old_embedding_makes_it_young(store):
    store.put_many("enc", vectors(1))
    (digest,) = vectors(1)
    set_used(store, digest, 40)
    store.get_many("enc", [digest])
    assert store.clear(older_than=1) == 0


def test_another_process_may_clear_while_this_one_goes_on(store):
    store.put_many("mine", {"d": np.zeros(2, np.float32)})
    with EmbeddingStore(store.path) as other:
        other.clear()
        other.put_many("theirs", {"d": np.ones(2, np.float32)})  # takes the place that is free
        store.put_many("mine", {"e": np.zeros(2, np.float32)})
        assert store.get_many("mine", ["d", "e"]).keys() == {"e"}
        assert other.get_many("theirs", ["d", "e"]).keys() == {"d"}


def test_pruning_forgets_the_longest_unused_first(store):
    kept = vectors(10)  # 32 bytes each
    store.put_many("enc", kept)
    digests = list(kept)
    set_used(store, digests[7], 3)
    set_used(store, digests[2], 9)
    assert store.prune(10 * 32) == 0
    assert store.prune(9 * 32) == 1
    assert store.get_many("enc", [digests[2]]) == {}
    assert store.prune(8 * 32 + 31) == 1
    assert store.get_many("enc", [digests[7]]) == {}
    assert store.prune(0) == 8


def test_clearing_gives_the_space_back(store):
    store.put_many("enc", vectors(3000, n_dims=256))
    before = store.stats().n_bytes
    store.clear()
    assert store.stats().n_bytes < before / 10


def test_threads_share_a_store(store):
    failures = []

    def work(start):
        try:
            mine = vectors(50, start=start)
            store.put_many("enc", mine)
            assert store.get_many("enc", list(mine)).keys() == mine.keys()
        except Exception as error:  # noqa: BLE001
            failures.append(error)

    threads = [threading.Thread(target=work, args=(1000 * i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert store.stats().n_rows == 400


def test_processes_share_a_store(store):
    script = textwrap.dedent(
        f"""
        import sys
        import numpy as np
        from showtell.encoders.store import EmbeddingStore
        store = EmbeddingStore({str(store.path)!r})
        for i in range(40):
            store.put_many("enc", {{f"{{sys.argv[1]}}-{{i}}": np.ones(4, np.float32)}})
        """
    )
    workers = [subprocess.Popen([sys.executable, "-c", script, str(n)]) for n in range(3)]
    assert [worker.wait() for worker in workers] == [0, 0, 0]
    assert store.stats().n_rows == 120


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_process_opens_the_file_anew(store):
    store.put_many("enc", {"parent": np.ones(2, np.float32)})
    child = os.fork()
    if child == 0:
        ok = "parent" in store.get_many("enc", ["parent"])
        store.put_many("enc", {"child": np.ones(2, np.float32)})
        os._exit(0 if ok else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert store.get_many("enc", ["child", "parent"]).keys() == {"child", "parent"}


def test_a_pickled_store_is_the_same_file(store):
    store.put_many("enc", {"d": np.ones(2, np.float32)})
    copy = pickle.loads(pickle.dumps(store))
    assert "d" in copy.get_many("enc", ["d"])
    assert repr(copy) == repr(store)


def test_a_damaged_store_is_moved_aside_with_a_warning(store):
    store.put_many("enc", vectors(500, n_dims=64))
    store.close()
    content = bytearray(store.path.read_bytes())
    content[4096:60_000] = os.urandom(60_000 - 4096)
    store.path.write_bytes(content)
    with pytest.warns(StoreWarning, match="damaged-1"), pytest.raises(RunError):
        store.get_many("enc", list(vectors(500)))
    assert store.path.with_name("store.sqlite.damaged-1").read_bytes() == bytes(content)
    store.put_many("enc", vectors(2))
    assert store.stats().n_rows == 2


def test_a_default_store_of_garbage_is_begun_anew(tmp_path, monkeypatch):
    monkeypatch.setenv("SHOWTELL_CACHE_DIR", str(tmp_path))
    path = default_store().path
    path.write_bytes(b"\0" * 10_000)
    with pytest.warns(StoreWarning, match="is kept as"):
        default_store().put_many("enc", vectors(2))
    assert default_store().stats().n_rows == 2
    assert path.with_name(path.name + ".damaged-1").exists()


@pytest.mark.parametrize("content", [b"a letter to grandmother" * 100, b"\xff\xd8\xff" * 2000])
def test_a_file_of_somebody_else_is_never_moved(tmp_path, content):
    path = tmp_path / "letter.txt"
    path.write_bytes(content)
    with pytest.raises(InputError, match="no store of embeddings"):
        EmbeddingStore(path).put_many("enc", vectors(1))
    assert path.read_bytes() == content


def test_a_database_of_somebody_else_is_never_written_to(tmp_path):
    path = tmp_path / "other.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE notes (text)")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(InputError, match="no store of embeddings"):
        EmbeddingStore(path).get_many("enc", ["d"])
    assert path.read_bytes() == before


def test_a_store_of_another_layout_is_refused(store):
    store.put_many("enc", vectors(1))
    store.close()
    with sqlite3.connect(store.path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(InputError, match="layout 99"):
        store.stats()


def test_a_locked_store_says_so(store, monkeypatch):
    store.put_many("enc", vectors(1))
    store.close()
    monkeypatch.setattr("showtell.records.database.PATIENCE", 0.05)
    other = sqlite3.connect(store.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        with pytest.raises(RunError, match="locked"):
            store.put_many("enc", vectors(1, start=5))
    finally:
        other.close()
    store.put_many("enc", vectors(1, start=5))
    assert store.stats().n_rows == 2


def test_a_folder_that_cannot_be_made_says_what_to_do(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RunError, match="SHOWTELL_CACHE_DIR"):
        EmbeddingStore(tmp_path / "file" / "store.sqlite").put_many("enc", vectors(1))


def test_the_cache_folder_follows_the_platform(monkeypatch, tmp_path):
    monkeypatch.setenv("SHOWTELL_CACHE_DIR", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own"
    assert default_store().path.parent == tmp_path / "own"
    assert default_store() is default_store()
    monkeypatch.delenv("SHOWTELL_CACHE_DIR")
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_folder() == tmp_path / ".cache" / "showtell"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "showtell"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert cache_folder() == tmp_path / "Library" / "Caches" / "showtell"
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    assert cache_folder() == tmp_path / "local" / "showtell" / "Cache"
