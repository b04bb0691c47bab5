"""Answers that were paid for: in the journal of a run, and in the cache of all runs."""

from __future__ import annotations

import warnings
from dataclasses import replace

from showtell.errors import RunError
from showtell.mllm.base import Answer, Request
from showtell.mllm.call.cache import AnswerCache, CacheWarning
from showtell.mllm.call.journal import Journal, JournalWarning


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
