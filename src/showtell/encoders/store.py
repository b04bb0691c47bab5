"""Embeddings on disk, keyed by what made them and by content.

One SQLite file, one row per (fingerprint, digest). The fingerprint names weights, precision and
preprocessing, the digest names the bytes of an image or a text, so a row never goes stale: it is
only ever superseded by rows of another key.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
import warnings
import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from showtell._folders import cache_folder
from showtell.errors import InputError, RunError

__all__ = [
    "EmbeddingStore",
    "StoreStats",
    "StoreWarning",
    "StoredEncoder",
    "default_store",
]

_SCHEMA = 1
_FILE_NAME = f"embeddings-{_SCHEMA}.sqlite"
_APPLICATION = 0x73686F77  # "show"; tells our files from other SQLite files
_DAY = 86_400
_AT_ONCE = 500  # digests per SELECT
_TABLES = """
CREATE TABLE IF NOT EXISTS encoder (
    id INTEGER PRIMARY KEY, fingerprint TEXT NOT NULL UNIQUE, name TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS embedding (
    id INTEGER PRIMARY KEY,
    encoder INTEGER NOT NULL REFERENCES encoder (id),
    digest TEXT NOT NULL,
    used INTEGER NOT NULL,
    vector BLOB NOT NULL,
    UNIQUE (encoder, digest)
);
"""


class StoreWarning(UserWarning):
    """The store of embeddings cannot be used; results are right, only not kept."""


@dataclass(frozen=True, kw_only=True)
class StoredEncoder:
    """What the store holds of one encoder."""

    name: str
    fingerprint: str
    n_rows: int
    n_bytes: int
    """Size of the vectors; the file adds a little for keys."""
    last_used: float
    """Seconds since 1970, exact to a day."""


@dataclass(frozen=True, kw_only=True)
class StoreStats:
    """What the store holds."""

    path: Path
    n_rows: int
    n_bytes: int
    """Size of the files on disk."""
    encoders: tuple[StoredEncoder, ...]
    """Largest first."""


_default: EmbeddingStore | None = None
_default_lock = threading.Lock()


def default_store() -> EmbeddingStore | None:
    """Return the store that is used when nothing else is asked for.

    Returns
    -------
    store : EmbeddingStore or None
        A file in `cache_folder`; None if the environment variable ``SHOWTELL_STORE`` is ``off``.
    """
    global _default
    if os.environ.get("SHOWTELL_STORE", "").strip().lower() in {"off", "0", "no", "none", "false"}:
        return None
    path = cache_folder() / _FILE_NAME
    with _default_lock:
        if _default is None or _default.path != path:
            if _default is not None:
                _default.close()
            _default = EmbeddingStore(path)
        return _default


class EmbeddingStore:
    """Embeddings in one SQLite file, shared by threads and processes.

    Parameters
    ----------
    path : str or path-like
        The file. It and its folder are made on first use; nothing is opened before.

    Raises
    ------
    InputError
        On first use, if the file exists and is something else than such a store.
    RunError
        On use, if the disk refuses: read-only, full, locked for more than 10 seconds. A damaged
        store is moved aside (``….damaged-N``) with a `StoreWarning` and begun anew.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder, EmbeddingStore(f"{folder}/e.sqlite") as store:
    ...     store.put_many("toy", {"a1": np.array([0.6, 0.8], np.float32)})
    ...     store.get_many("toy", ["a1", "b2"])
    {'a1': array([0.6, 0.8], dtype=float32)}
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._owner = 0  # process that opened the connection: it must not cross a fork
        self._ids: dict[str, int] = {}
        self._finalizer: weakref.finalize[..., EmbeddingStore] | None = None

    def get_many(self, fingerprint: str, digests: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """Look embeddings up.

        Parameters
        ----------
        fingerprint : str
            Of the encoder.
        digests : sequence of str
            Content hashes.

        Returns
        -------
        found : dict of str to ndarray of shape (n_dims,), float32
            Only those that are there; the arrays are read-only.
        """
        found: dict[str, NDArray[np.float32]] = {}
        if not digests:
            return found
        with self._lock, self._answering() as connection:
            encoder = self._encoder_id(connection, fingerprint)
            if encoder is None:
                return found
            today = int(time.time())
            stale: list[int] = []
            for start in range(0, len(digests), _AT_ONCE):
                some = digests[start : start + _AT_ONCE]
                marks = ",".join("?" * len(some))
                rows = connection.execute(
                    "SELECT digest, vector, used, id FROM embedding "  # noqa: S608 (marks only)
                    f"WHERE encoder = ? AND digest IN ({marks})",
                    (encoder, *some),
                )
                for digest, vector, used, row in rows:
                    found[digest] = np.frombuffer(vector, dtype="<f4").astype(
                        np.float32, copy=False
                    )
                    if today - used > _DAY:
                        stale.append(row)
            if stale:  # so that `prune` knows what is in use, at the price of one write a day
                with contextlib.suppress(sqlite3.OperationalError), connection:
                    connection.executemany(
                        "UPDATE embedding SET used = ? WHERE id = ?",
                        [(today, row) for row in stale],
                    )
        return found

    def put_many(
        self, fingerprint: str, vectors: Mapping[str, NDArray[np.float32]], *, name: str = ""
    ) -> None:
        """Keep embeddings; those already there stay as they are.

        Parameters
        ----------
        fingerprint : str
            Of the encoder.
        vectors : mapping of str to ndarray of shape (n_dims,), float32
            By content hash.
        name : str, default=""
            Of the encoder, for people who look into the store.
        """
        if not vectors:
            return
        now = int(time.time())
        with self._lock, self._answering() as connection, connection:
            connection.execute(
                "INSERT OR IGNORE INTO encoder (fingerprint, name) VALUES (?, ?)",
                (fingerprint, name),
            )
            encoder = self._encoder_id(connection, fingerprint)
            connection.executemany(
                "INSERT OR IGNORE INTO embedding (encoder, digest, used, vector) "
                "VALUES (?, ?, ?, ?)",
                [
                    (encoder, digest, now, np.ascontiguousarray(vector, dtype="<f4").tobytes())
                    for digest, vector in vectors.items()
                ],
            )

    def stats(self) -> StoreStats:
        """Count what is kept, per encoder."""
        if not self.path.exists():
            return StoreStats(path=self.path, n_rows=0, n_bytes=0, encoders=())
        with self._lock, self._answering() as connection:
            rows = connection.execute(
                "SELECT name, fingerprint, COUNT(*), SUM(LENGTH(vector)), MAX(used) "
                "FROM embedding JOIN encoder ON encoder.id = embedding.encoder "
                "GROUP BY encoder.id ORDER BY 4 DESC, 2"
            ).fetchall()
        encoders = tuple(
            StoredEncoder(name=a, fingerprint=b, n_rows=c, n_bytes=d, last_used=float(e))
            for a, b, c, d, e in rows
        )
        return StoreStats(
            path=self.path,
            n_rows=sum(encoder.n_rows for encoder in encoders),
            n_bytes=sum(part.stat().st_size for part in self._files() if part.exists()),
            encoders=encoders,
        )

    def clear(self, *, encoder: str | None = None, older_than: float | None = None) -> int:
        """Forget embeddings.

        Parameters
        ----------
        encoder : str, optional
            Only those of encoders with this name or fingerprint.
        older_than : float, optional
            Days; only those not used for longer.

        Returns
        -------
        n_removed : int
        """
        conditions: list[str] = ["1"]
        values: list[str | int] = []
        if encoder is not None:
            conditions.append("encoder IN (SELECT id FROM encoder WHERE ? IN (name, fingerprint))")
            values.append(encoder)
        if older_than is not None:
            conditions.append("used < ?")
            values.append(int(time.time() - older_than * _DAY))
        return self._remove(" AND ".join(conditions), values)

    def prune(self, max_bytes: int) -> int:
        """Forget the longest unused embeddings until the rest fits.

        Parameters
        ----------
        max_bytes : int
            Allowed size of all vectors together.

        Returns
        -------
        n_removed : int
        """
        return self._remove(
            "id IN (SELECT id FROM (SELECT id, SUM(LENGTH(vector)) OVER "
            "(ORDER BY used DESC, id DESC) AS total FROM embedding) WHERE total > ?)",
            [int(max_bytes)],
        )

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        with self._lock:
            if self._finalizer is not None:
                if self._owner == os.getpid():
                    self._finalizer()
                else:
                    self._finalizer.detach()  # the connection belongs to the parent process
            self._connection, self._finalizer, self._ids = None, None, {}

    def __enter__(self) -> EmbeddingStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[type[EmbeddingStore], tuple[str]]:
        return EmbeddingStore, (str(self.path),)

    def __repr__(self) -> str:
        return f"EmbeddingStore({str(self.path)!r})"

    def _remove(self, condition: str, values: list[str | int]) -> int:
        if not self.path.exists():
            return 0
        with self._lock, self._answering() as connection:
            with connection:
                removed = connection.execute(
                    f"DELETE FROM embedding WHERE {condition}",  # noqa: S608 (fixed texts)
                    values,
                ).rowcount
                connection.execute(
                    "DELETE FROM encoder WHERE id NOT IN (SELECT encoder FROM embedding)"
                )
            self._ids = {}
            if removed:
                with contextlib.suppress(sqlite3.OperationalError):  # another process is reading
                    connection.execute("VACUUM")
                    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return removed

    def _encoder_id(self, connection: sqlite3.Connection, fingerprint: str) -> int | None:
        if fingerprint not in self._ids:
            row = connection.execute(
                "SELECT id FROM encoder WHERE fingerprint = ?", (fingerprint,)
            ).fetchone()
            if row is None:
                return None
            self._ids[fingerprint] = row[0]
        return self._ids[fingerprint]

    def _files(self) -> list[Path]:
        return [self.path.with_name(self.path.name + end) for end in ("", "-wal", "-shm")]

    @contextlib.contextmanager
    def _answering(self) -> Iterator[sqlite3.Connection]:
        """Give the open connection; turn what SQLite raises into our errors."""
        try:
            yield self._open()
        except sqlite3.DatabaseError as error:
            self.close()
            if _is_damage(error) and self._is_ours():
                self._move_aside(error)
            raise RunError(
                f"The store of embeddings {str(self.path)!r} cannot be used: {error}. "
                "Choose another folder with SHOWTELL_CACHE_DIR, or do without by store=None or "
                "SHOWTELL_STORE=off."
            ) from error

    def _open(self) -> sqlite3.Connection:
        if self._connection is not None and self._owner == os.getpid():
            return self._connection
        self.close()
        try:
            connection = self._connect()
        except sqlite3.DatabaseError as error:
            if not (_is_damage(error) and self._is_ours()):
                if _is_damage(error):
                    raise self._not_ours() from error
                raise
            self._move_aside(error)
            connection = self._connect()
        self._connection, self._owner, self._ids = connection, os.getpid(), {}
        self._finalizer = weakref.finalize(self, connection.close)
        return connection

    def _connect(self) -> sqlite3.Connection:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise sqlite3.OperationalError(str(error)) from error
        connection = sqlite3.connect(self.path, timeout=10.0, check_same_thread=False)
        try:
            application = connection.execute("PRAGMA application_id").fetchone()[0]
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if application != _APPLICATION:
                if connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()[0]:
                    raise self._not_ours()
                with connection:
                    connection.execute(f"PRAGMA application_id = {_APPLICATION}")
                    connection.execute(f"PRAGMA user_version = {_SCHEMA}")
                version = _SCHEMA
            if version != _SCHEMA:
                raise InputError(
                    f"{str(self.path)!r} is a store of embeddings of layout {version}; this "
                    f"version reads layout {_SCHEMA}. Choose another file."
                )
            with contextlib.suppress(sqlite3.OperationalError):  # a network disk: slower, but works
                connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.executescript(_TABLES)
        except BaseException:
            connection.close()
            raise
        return connection

    def _not_ours(self) -> InputError:
        return InputError(
            f"{str(self.path)!r} exists and is no store of embeddings. Give a new file name."
        )

    def _is_ours(self) -> bool:
        """Whether a damaged file may be moved: nobody's photo or database is."""
        if self.path.name == _FILE_NAME:
            return True
        try:
            with self.path.open("rb") as file:
                header = file.read(72)
        except OSError:
            return False
        return header[68:72] == _APPLICATION.to_bytes(4, "big")

    def _move_aside(self, error: sqlite3.DatabaseError) -> None:
        number = 1
        while (aside := self.path.with_name(f"{self.path.name}.damaged-{number}")).exists():
            number += 1
        with contextlib.suppress(FileNotFoundError):  # another process was quicker
            self.path.rename(aside)
        for rest in self._files()[1:]:
            rest.unlink(missing_ok=True)
        warnings.warn(
            f"The store of embeddings {str(self.path)!r} was damaged ({error}); it is kept as "
            f"{aside.name!r} and a new one is begun.",
            StoreWarning,
            stacklevel=2,
        )


def _is_damage(error: sqlite3.DatabaseError) -> bool:
    """Whether SQLite says that the file itself is wrong, not that it is busy or read-only."""
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
