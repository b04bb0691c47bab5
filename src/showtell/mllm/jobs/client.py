"""Asks through a provider's batch endpoint, in the place of `Client` where answers may take a day.

A run of a classifier goes in waves, and each wave asks about what the one before left open. So a
process that begins anew has to get the same outcomes in the same order as the one before it, those
that are no use included; else it would put other questions together and pay for them again.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import showtell.errors
from showtell.errors import BudgetError, JobsPendingError, MLLMAuthError, MLLMError, MLLMServerError
from showtell.mllm.base import MLLM, Answer, Request
from showtell.mllm.call.budget import Budget
from showtell.mllm.call.cache import KeptAnswers
from showtell.mllm.call.stored import answer_from_record

if TYPE_CHECKING:
    from showtell.mllm.call.client import Outcome
    from showtell.mllm.jobs.endpoints import BatchProgress

POLL_EVERY = 30.0
"""Seconds until the state of jobs is asked for first; it grows to 5 minutes."""

_LONGEST_POLL = 300.0


class _StoppedError(Exception):
    """Nothing more is to be handed in."""


class BatchClient:
    """Hands requests in as batch jobs of the provider, waits and collects.

    Parameters
    ----------
    mllm : MLLM
        From `load_mllm`: a model of OpenAI, Google or Anthropic. A wrapper has it as ``wrapped``,
        and a method ``count`` that is called with every answer that was paid for.
    folder : str or path-like
        Of the run: jobs are found again through it.
    kept : KeptAnswers
        Of the `Client` of the same run, with the journal of the same folder.
    budget : Budget, optional
    scope : str, default=""
        What is asked, where a folder holds several things.
    wait : bool, default=True
        False: hand in, and raise `JobsPendingError` while jobs are under way.
    on_progress : callable, optional
        Called with a `BatchProgress` whenever the provider was asked.

    Raises
    ------
    InputError
        If the model has no batch endpoint.
    """

    def __init__(
        self,
        mllm: MLLM,
        folder: str | os.PathLike[str],
        *,
        kept: KeptAnswers,
        budget: Budget | None = None,
        scope: str = "",
        wait: bool = True,
        on_progress: Callable[[BatchProgress], None] = lambda _: None,
    ) -> None:
        from showtell.mllm.jobs.endpoints import BatchJobs

        assert kept.journal is not None
        self.mllm, self.kept, self.journal = mllm, kept, kept.journal
        self.folder, self.wait, self._on_progress = folder, wait, on_progress
        inner: Any = getattr(mllm, "wrapped", mllm)
        self._count: Callable[[Answer], None] = getattr(mllm, "count", lambda _: None)
        self.jobs = BatchJobs(inner, folder, kept=kept, budget=budget, scope=scope)
        self.is_new = not self.jobs.unfinished
        """Whether no job of an earlier process has to be gone through again."""
        self._before = self._earlier_outcomes()
        self._stopping = asyncio.Event()

    def _earlier_outcomes(self) -> dict[str, deque[Outcome]]:
        """Read the outcomes of unfinished jobs that may not be used for other questions."""
        found: dict[str, deque[Outcome]] = {}
        tags = self.jobs.unfinished
        if not tags:
            return found
        for row in self.journal.rows("answer", "failure"):
            if row.get("batch") not in tags or row.get("whole"):
                continue
            try:
                outcome = _outcome_of(row)
            except (KeyError, TypeError, ValueError):
                continue
            found.setdefault(str(row["key"]), deque()).append(outcome)
        return found

    async def map_numbered(
        self, requests: Iterable[Request], take: Callable[[int, Request, Outcome], Any]
    ) -> None:
        """Ask all requests, and give each outcome with the number of its request.

        `requests`: taken one by one; an image is in memory until the job that holds it is handed
        in; `take`: ``take(number, request, outcome)``; the request comes without its parts. Raises
        JobsPendingError if jobs are under way and are not to be waited for; BudgetError if a cap
        stopped the run; what was handed in before has been collected; MLLMAuthError if the provider
        takes no question with this key.
        """
        waiting: dict[str, list[tuple[int, Request]]] = {}
        capped: BudgetError | None = None

        def give(key: str, outcome: Outcome) -> None:
            if isinstance(outcome, MLLMAuthError):
                raise outcome
            first, *others = waiting.pop(key)
            take(*first, outcome)
            for number, request in others:
                from showtell.mllm.call.client import as_repeated

                again = as_repeated(outcome) if isinstance(outcome, Answer) else outcome
                take(number, request, again)

        def pulled() -> Iterator[Request]:
            for number, asked in enumerate(requests):
                if self._stopping.is_set():
                    raise _StoppedError
                request = self.kept.placed(asked)
                key, lean = request.key, replace(request, parts=())
                if self._before.get(key):
                    take(number, lean, self._before[key].popleft())
                    continue
                waiting.setdefault(key, []).append((number, lean))
                yield request

        try:
            await self.jobs.submit(pulled())
        except BudgetError as error:
            capped = error
        except MLLMError:
            self._lost()
            raise
        except _StoppedError:
            return
        for key in list(waiting):
            found = self.kept.find(key)
            if found is not None:
                give(key, found)
        wait = POLL_EVERY
        while not self._stopping.is_set():
            if self.jobs.pending:
                self._on_progress(await self.jobs.poll())
            async for key, outcome in self.jobs.collect():
                if isinstance(outcome, Answer):
                    self._count(outcome)
                if key in waiting:
                    give(key, outcome)
            left = self.jobs.pending & waiting.keys()
            if not left:
                break
            if not self.wait:
                raise JobsPendingError(self._pending_line(len(left)))
            await self._pause(wait)
            wait = min(1.5 * wait, _LONGEST_POLL)
        if self._stopping.is_set():
            return
        if capped is not None:
            raise capped
        for key in list(waiting):
            give(key, MLLMServerError(f"{self.mllm.name}: the batch ended without an answer."))

    def _lost(self) -> None:
        """Have what counts the requests know of those that may have been handed in."""
        count = getattr(self.mllm, "count_lost", None)
        for job in self.jobs.book.jobs.values():
            if count is not None and job.handle is None and not job.collected:
                count(len(job.keys), job.estimate)

    def _pending_line(self, n_left: int) -> str:
        n_jobs = self.jobs.n_pending_jobs
        return (
            f"{n_left:,} request{'' if n_left == 1 else 's'} in {n_jobs} batch "
            f"job{'' if n_jobs == 1 else 's'} {'is' if n_left == 1 else 'are'} with "
            f"{self.mllm.name.partition(':')[0]}, noted in {self.folder}."
        )

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return

    def stop(self) -> None:
        """Hand in nothing more and wait no longer. Called within the event loop."""
        self._stopping.set()

    def finish(self) -> None:
        """Note that all that was asked is done: the next run of the folder is a new one."""
        self.jobs.finish()

    def close(self) -> None:
        """Close connections, from code without an event loop."""
        from showtell.mllm.call.background import wait_for

        wait_for(self.jobs.mllm.aclose())

    def __repr__(self) -> str:
        return f"BatchClient({self.mllm.name!r}, {str(self.folder)!r})"


def _outcome_of(row: dict[str, Any]) -> Outcome:
    """Make the outcome of a row of the journal: what was paid for once costs nothing again."""
    if row["kind"] == "answer":
        return answer_from_record(row, from_cache=True)
    kind = getattr(showtell.errors, str(row["error"]), MLLMServerError)
    if not (isinstance(kind, type) and issubclass(kind, MLLMError)):
        kind = MLLMServerError
    return kind(str(row["message"]))
