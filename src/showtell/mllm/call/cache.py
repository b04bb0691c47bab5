"""Answers on disk, by everything that can change them.

One SQLite file, one row per `Request.key`. Only whole answers are kept: a refusal, a block or an
answer cut at its longest is asked again. No prompt, image or key is in the file.
"""

from __future__ import annotations

import json
import time
import warnings
from dataclasses import dataclass, replace
from pathlib import Path

from showtell.errors import RunError
from showtell.mllm.base import Answer, Request
from showtell.mllm.call.journal import Journal, JournalWarning
from showtell.mllm.call.stored import answer_from_record, answer_to_record, dumps
from showtell.records.database import Database


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
    """Return the usual cache, a file in the cache folder; None if ``SHOWTELL_ANSWERS`` is off."""
    return AnswerCache.usual()


class AnswerCache(Database):
    """Answers in one SQLite file, shared by threads and processes.

    Parameters
    ----------
    path : str or path-like
        The file, made on first use; a damaged one is moved aside with a `CacheWarning`. See
        `showtell.records.database.Database` for that and for what is raised.

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

    _what = "cache of answers"
    _stem = "answers"
    _application = 0x73686173  # "shas"
    _layout = 1
    _switch = "SHOWTELL_ANSWERS"
    _tables = (
        "CREATE TABLE IF NOT EXISTS answer (key TEXT PRIMARY KEY, model TEXT NOT NULL, "
        "made INTEGER NOT NULL, record TEXT NOT NULL) WITHOUT ROWID",
    )
    _advice = "Free the disk or choose another folder with SHOWTELL_CACHE_DIR."
    _warning = CacheWarning
    _private = True

    def get(self, key: str) -> Answer | None:
        """Look an answer up.

        Returns
        -------
        answer : Answer or None
            With ``from_cache=True``, no request, no token and no cost.
        """
        rows = self._rows("SELECT record FROM answer WHERE key = ?", (key,))
        if not rows:
            return None
        try:
            return answer_from_record(json.loads(rows[0][0]), from_cache=True)
        except (KeyError, TypeError, ValueError, ArithmeticError, RecursionError):
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
        with self._writing() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO answer (key, model, made, record) VALUES (?, ?, ?, ?)",
                (key, answer.model, int(time.time()), record),
            )
        return True

    def stats(self) -> CacheStats:
        """Count what is kept, per model."""
        if not self.path.exists():
            return CacheStats(path=self.path, n_rows=0, n_bytes=0)
        rows = self._rows("SELECT model, COUNT(*) FROM answer GROUP BY model ORDER BY 2 DESC, 1")
        return CacheStats(
            path=self.path,
            n_rows=sum(count for _, count in rows),
            n_bytes=self._n_bytes(),
            models=tuple((str(model), int(count)) for model, count in rows),
        )

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
        with self._writing() as connection:
            n_rows = connection.execute(
                "DELETE FROM answer WHERE made <= ? AND (? IS NULL OR model = ?)",
                (latest, model, model),
            ).rowcount
        self._give_space_back()
        return n_rows


class KeptAnswers:
    """Looks answers up, and keeps them where there is room.

    A cache saves money, it never costs any: where it cannot be read or written (a full disk, a
    folder that is read-only), the run goes on without it, after one `CacheWarning`.

    Parameters
    ----------
    journal : Journal, optional
    cache : AnswerCache, optional
    """

    def __init__(self, journal: Journal | None, cache: AnswerCache | None) -> None:
        self.journal, self.cache = journal, cache
        self.endpoint = ""
        """Part of every key; see `showtell.mllm.endpoints`."""
        self._is_full = False

    def settle_at(self, endpoint: str) -> None:
        """Say where the model is, before anything is looked up.

        The keys in a journal that was begun before endpoints were part of them go on as they are,
        if its answers came from the same place; the cache, which others use too, is left out then.
        """
        self.endpoint = endpoint
        journal = self.journal
        if journal is None or journal.has_endpoints or not endpoint:
            return
        if journal.is_of(endpoint):
            self.endpoint, self.cache = "", None
        elif journal.n_answers:
            warnings.warn(
                f"{journal.path} does not say which server gave its {journal.n_answers:,} answers, "
                f"so for {endpoint} these questions are asked again.",
                JournalWarning,
                stacklevel=2,
            )

    def placed(self, request: Request) -> Request:
        """Give a request its endpoint, and with it the key under which its answer is kept."""
        return replace(request, endpoint=self.endpoint) if self.endpoint else request

    def find(self, key: str) -> Answer | None:
        """Look an answer up, by the key of a request that was placed: in the journal first."""
        found = None if self.journal is None else self.journal.find(key)
        if found is None and self.cache is not None:
            try:
                found = self.cache.get(key)
            except RunError as error:
                self._do_without(error)
        return found

    def knows(self, request: Request) -> bool:
        """Whether there is an answer to a request, placed or not."""
        key = self.placed(request).key
        return (self.journal is not None and self.journal.knows(key)) or self.find(key) is not None

    def keep(self, key: str, answer: Answer) -> None:
        """Put a whole answer into the cache; what stands in the journal is written elsewhere."""
        if self.cache is None or self._is_full:
            return
        try:
            self.cache.put(key, answer)
        except RunError as error:
            self._is_full = True  # what is in it may still be read
            self._warn(error)

    def _do_without(self, error: RunError) -> None:
        self.cache = None
        self._warn(error)

    @staticmethod
    def _warn(error: RunError) -> None:
        warnings.warn(
            f"{error} Going on without it: answers of this run are not kept for others.",
            CacheWarning,
            stacklevel=4,
        )
