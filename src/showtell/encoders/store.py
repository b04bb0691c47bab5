"""Embeddings on disk, keyed by what made them and by content.

One SQLite file, one row per (fingerprint, digest). The fingerprint names weights, precision and
preprocessing, the digest names the bytes of an image or a text, so a row never goes stale: it is
only ever superseded by rows of another key.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from showtell.errors import RunError
from showtell.records.database import Database

_DAY = 86_400
_AT_ONCE = 500  # digests per SELECT


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


def default_store() -> EmbeddingStore | None:
    """Return the usual store, a file in the cache folder; None if ``SHOWTELL_STORE`` is ``off``."""
    return EmbeddingStore.usual()


class EmbeddingStore(Database):
    """Embeddings in one SQLite file, shared by threads and processes.

    Parameters
    ----------
    path : str or path-like
        The file, made on first use; a damaged one is moved aside with a `StoreWarning`. See
        `showtell.records.database.Database` for that and for what is raised.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder, EmbeddingStore(f"{folder}/e.sqlite") as store:
    ...     store.put_many("toy", {"a1": np.array([0.6, 0.8], np.float32)})
    ...     store.get_many("toy", ["a1", "b2"])
    {'a1': array([0.6, 0.8], dtype=float32)}
    """

    _what = "store of embeddings"
    _stem = "embeddings"
    _application = 0x73686F77  # "show"
    _layout = 1
    _switch = "SHOWTELL_STORE"
    _tables = (
        "CREATE TABLE IF NOT EXISTS encoder (id INTEGER PRIMARY KEY, "
        "fingerprint TEXT NOT NULL UNIQUE, name TEXT NOT NULL)",
        "CREATE TABLE IF NOT EXISTS embedding (id INTEGER PRIMARY KEY, "
        "encoder INTEGER NOT NULL REFERENCES encoder (id), digest TEXT NOT NULL, "
        "used INTEGER NOT NULL, vector BLOB NOT NULL, UNIQUE (encoder, digest))",
    )
    _advice = (
        "Choose another folder with SHOWTELL_CACHE_DIR, or do without by store=None or "
        "SHOWTELL_STORE=off."
    )
    _warning = StoreWarning

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
        today = int(time.time())
        stale: list[tuple[int, int]] = []
        for start in range(0, len(digests), _AT_ONCE):
            some = digests[start : start + _AT_ONCE]
            marks = ",".join("?" * len(some))
            rows = self._rows(
                "SELECT digest, vector, used, id FROM embedding "  # noqa: S608 (marks only)
                "WHERE encoder = (SELECT id FROM encoder WHERE fingerprint = ?) "
                f"AND digest IN ({marks})",
                (fingerprint, *some),
            )
            for digest, vector, used, row in rows:
                whole = isinstance(vector, bytes) and len(vector) % 4 == 0 and type(used) is int
                if not whole:  # not written by us; computed again
                    continue
                found[digest] = np.frombuffer(vector, dtype="<f4").astype(np.float32, copy=False)
                if today - used > _DAY:
                    stale.append((today, row))
        if stale:  # so that `prune` knows what is in use, at the price of one write a day
            with contextlib.suppress(RunError), self._writing(patience=0) as connection:
                connection.executemany("UPDATE embedding SET used = ? WHERE id = ?", stale)
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
        rows = [
            (digest, now, np.ascontiguousarray(vector, dtype="<f4").tobytes())
            for digest, vector in vectors.items()
        ]
        with self._writing() as connection:
            connection.execute(
                "INSERT OR IGNORE INTO encoder (fingerprint, name) VALUES (?, ?)",
                (fingerprint, name),
            )
            (encoder,) = connection.execute(
                "SELECT id FROM encoder WHERE fingerprint = ?", (fingerprint,)
            ).fetchone()
            connection.executemany(
                "INSERT OR IGNORE INTO embedding (encoder, digest, used, vector) "
                "VALUES (?, ?, ?, ?)",
                [(encoder, *row) for row in rows],
            )

    def stats(self) -> StoreStats:
        """Count what is kept, per encoder."""
        if not self.path.exists():
            return StoreStats(path=self.path, n_rows=0, n_bytes=0, encoders=())
        rows = self._rows(
            "SELECT name, fingerprint, COUNT(*), SUM(LENGTH(vector)), MAX(used) "
            "FROM embedding JOIN encoder ON encoder.id = embedding.encoder "
            "GROUP BY encoder.id ORDER BY 4 DESC, 2"
        )
        encoders = tuple(
            StoredEncoder(name=a, fingerprint=b, n_rows=c, n_bytes=d, last_used=float(e))
            for a, b, c, d, e in rows
        )
        return StoreStats(
            path=self.path,
            n_rows=sum(encoder.n_rows for encoder in encoders),
            n_bytes=self._n_bytes(),
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
        """
        return self._remove(
            "id IN (SELECT id FROM (SELECT id, SUM(LENGTH(vector)) OVER "
            "(ORDER BY used DESC, id DESC) AS total FROM embedding) WHERE total > ?)",
            [int(max_bytes)],
        )

    def _remove(self, condition: str, values: list[str | int]) -> int:
        if not self.path.exists():
            return 0
        with self._writing() as connection:
            removed = connection.execute(
                f"DELETE FROM embedding WHERE {condition}",  # noqa: S608 (fixed texts)
                values,
            ).rowcount
            connection.execute(
                "DELETE FROM encoder WHERE id NOT IN (SELECT encoder FROM embedding)"
            )
        if removed:
            self._give_space_back()
        return removed
