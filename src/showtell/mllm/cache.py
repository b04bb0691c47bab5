"""Answers on disk, by everything that can change them.

One SQLite file, one row per `Request.key`. Only whole answers are kept: a refusal, a block or an
answer cut at its longest is asked again. No prompt, image or key is in the file.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import threading
import time
import warnings
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from showtell._folders import cache_folder
from showtell.errors import InputError, RunError
from showtell.mllm.base import Answer
from showtell.mllm.records import answer_from_record, answer_to_record, dumps

__all__ = ["AnswerCache", "CacheStats", "CacheWarning", "default_cache"]

_SCHEMA = 1
_FILE_NAME = f"answers-{_SCHEMA}.sqlite"
_APPLICATION = 0x73686173  # "shas"; tells our files from other SQLite files
_BUSY = 10.0  # seconds to wait for another process
_OFF = frozenset(("off", "0", "no", "none", "false"))


class CacheWarning(UserWarning):
    """The cache of answers cannot be used; results are right, only not kept."""


@dataclass(frozen=True, kw_only=True)
class CacheStats:
    """What the cache holds."""

    path: Path
    n_rows: int
    n_bytes: int
    """Size of the files on disk."""
    models: tuple[tuple[str, int], ...] = ()
    """Models with their numbers of answers, most first."""


def default_cache() -> AnswerCache | None:
    """Return the cache that is used when nothing else is asked for.

    Returns
    -------
    cache : AnswerCache or None
        A file in showtell's cache folder; None if the environment variable
        ``SHOWTELL_ANSWERS`` is ``off``.
    """
    global _default
    if os.environ.get("SHOWTELL_ANSWERS", "").strip().lower() in _OFF:
        return None
    path = cache_folder() / _FILE_NAME
    with _default_lock:
        if _default is None or _default.path != path:
            if _default is not None:
                _default.close()
            _default = AnswerCache(path)
        return _default


_default: AnswerCache | None = None
_default_lock = threading.Lock()


class AnswerCache:
    """Answers in one SQLite file, shared by threads and processes.

    Parameters
    ----------
    path : str or path-like
        The file. It and its folder are made on first use; nothing is opened before.

    Raises
    ------
    InputError
        On first use, if the file exists and is something else than such a cache.
    RunError
        On use, if the disk refuses. A damaged cache is moved aside (``….damaged-N``) with a
        `CacheWarning` and begun anew.

    Examples
    --------
    >>> import tempfile
    >>> from showtell.mllm import Usage
    >>> answer = Answer(text="cat", usage=Usage(input_tokens=9), finish="stop", model="toy")
    >>> with tempfile.TemporaryDirectory() as folder, AnswerCache(f"{folder}/a.sqlite") as cache:
    ...     kept = cache.put("k1", answer)
    ...     found = cache.get("k1")
    >>> found.text, found.from_cache, found.usage.cost_usd
    ('cat', True, Decimal('0'))
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._owner = 0  # process that opened the connection: it must not cross a fork
        self._finalizer: weakref.finalize[..., AnswerCache] | None = None

    def get(self, key: str) -> Answer | None:
        """Look an answer up.

        Parameters
        ----------
        key : str
            `Request.key`.

        Returns
        -------
        answer : Answer or None
            With ``from_cache=True``, no request, no token and no cost.
        """
        with self._lock, self._answering() as connection:
            row = connection.execute("SELECT record FROM answer WHERE key = ?", (key,)).fetchone()
        if row is None:
            return None
        try:
            return answer_from_record(json.loads(row[0]), from_cache=True)
        except (KeyError, TypeError, ValueError):
            return None  # written by something else: ask again

    def put(self, key: str, answer: Answer) -> bool:
        """Keep an answer, if it is whole.

        Parameters
        ----------
        key : str
            `Request.key`.
        answer : Answer

        Returns
        -------
        kept : bool
            False for refusals, blocks and answers that were cut short.
        """
        if answer.finish != "stop" or answer.from_cache:
            return False
        record = dumps(answer_to_record(answer))
        with self._lock, self._answering() as connection, connection:
            connection.execute(
                "INSERT OR REPLACE INTO answer (key, model, made, record) VALUES (?, ?, ?, ?)",
                (key, answer.model, int(time.time()), record),
            )
        return True

    def stats(self) -> CacheStats:
        """Count what is kept, per model."""
        if not self.path.exists():
            return CacheStats(path=self.path, n_rows=0, n_bytes=0)
        with self._lock, self._answering() as connection:
            models = tuple(
                (str(model), int(count))
                for model, count in connection.execute(
                    "SELECT model, COUNT(*) FROM answer GROUP BY model ORDER BY 2 DESC, 1"
                )
            )
        files = (Path(f"{self.path}{end}") for end in ("", "-wal", "-shm"))
        n_bytes = sum(file.stat().st_size for file in files if file.exists())
        n_rows = sum(count for _, count in models)
        return CacheStats(path=self.path, n_rows=n_rows, n_bytes=n_bytes, models=models)

    def clear(self, *, model: str | None = None, older_than: float | None = None) -> int:
        """Forget answers.

        Parameters
        ----------
        model : str, optional
            Only of this model, as its provider names it.
        older_than : float, optional
            Only those older than this many seconds.

        Returns
        -------
        n_rows : int
            How many were there.
        """
        if not self.path.exists():
            return 0
        latest = time.time() + 1 if older_than is None else time.time() - older_than
        with self._lock, self._answering() as connection:
            with connection:
                done = connection.execute(
                    "DELETE FROM answer WHERE made <= ? AND (? IS NULL OR model = ?)",
                    (latest, model, model),
                )
            with contextlib.suppress(sqlite3.OperationalError):  # another process reads
                connection.execute("VACUUM")
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            return done.rowcount

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        with self._lock:
            if self._finalizer is not None:
                self._finalizer.detach()
                self._finalizer = None
            if self._connection is not None and self._owner == os.getpid():
                self._connection.close()
            self._connection = None

    def __enter__(self) -> AnswerCache:
        return self

    def __exit__(self, *details: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"AnswerCache({str(self.path)!r})"

    @contextlib.contextmanager
    def _answering(self) -> Iterator[sqlite3.Connection]:
        """Give an open connection; put what goes wrong with the disk into words."""
        try:
            yield self._open()
        except sqlite3.OperationalError as error:
            raise RunError(
                f"The cache of answers at {self.path} cannot be used: {error}. Free the disk or "
                "choose another folder with SHOWTELL_CACHE_DIR."
            ) from error
        except sqlite3.DatabaseError as error:
            self._set_aside()
            raise RunError(
                f"The cache of answers at {self.path} was damaged ({error}) and has been moved "
                "aside. Run again."
            ) from error

    def _open(self) -> sqlite3.Connection:
        if self._connection is not None and self._owner == os.getpid():
            return self._connection
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(
                f"The folder {self.path.parent} cannot be made: {error.strerror}. Choose another "
                "one with SHOWTELL_CACHE_DIR."
            ) from error
        try:
            connection = self._connect()
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise
            self._set_aside()
            connection = self._connect()
        self._connection, self._owner = connection, os.getpid()
        self._finalizer = weakref.finalize(self, connection.close)
        return connection

    def _connect(self) -> sqlite3.Connection:
        is_new = not self.path.exists() or self.path.stat().st_size == 0
        connection = sqlite3.connect(self.path, timeout=_BUSY, check_same_thread=False)
        try:
            (application,) = connection.execute("PRAGMA application_id").fetchone()
            (has_tables,) = connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
            if not is_new and has_tables and application != _APPLICATION:
                raise InputError(f"{self.path} is no cache of answers; it was left as it is.")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            with connection:
                connection.execute(f"PRAGMA application_id = {_APPLICATION}")
                connection.execute(
                    "CREATE TABLE IF NOT EXISTS answer (key TEXT PRIMARY KEY, model TEXT NOT NULL, "
                    "made INTEGER NOT NULL, record TEXT NOT NULL) WITHOUT ROWID"
                )
        except BaseException:
            connection.close()
            raise
        return connection

    def _set_aside(self) -> None:
        self.close()
        number = 1
        while (target := Path(f"{self.path}.damaged-{number}")).exists():
            number += 1
        with contextlib.suppress(OSError):
            self.path.rename(target)
        for end in ("-wal", "-shm"):
            Path(f"{self.path}{end}").unlink(missing_ok=True)
        warnings.warn(
            f"The cache of answers was damaged; it is now {target}, and a new one was begun.",
            CacheWarning,
            stacklevel=4,
        )
