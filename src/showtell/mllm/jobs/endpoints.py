"""Vendor batch endpoints: hand in today at half the price, collect within a day, from any process.

What was handed in stands in ``batches.jsonl`` of a folder, as plain data. Before a job is handed
in, the intention is written down, with a tag that every request of the job carries in its id; so
if the process dies before it learns the job's number, the next one finds the job among those of
the provider and pays for nothing twice.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from pydantic_ai.messages import InstructionPart
from pydantic_ai.models import Model
from pydantic_ai.models.batch import Batch, BatchRequest, EncodedBatchRequest

from showtell.errors import (
    BudgetError,
    InputError,
    MLLMAnswerError,
    MLLMError,
    MLLMRequestError,
    MLLMServerError,
    MLLMUnreachableError,
    RateLimitedError,
    RunError,
)
from showtell.mllm.base import Answer, Request, Usage
from showtell.mllm.call.background import wait_for
from showtell.mllm.call.budget import Budget, Reservation
from showtell.mllm.call.cache import AnswerCache, KeptAnswers
from showtell.mllm.call.client import Outcome, is_whole
from showtell.mllm.call.journal import Journal
from showtell.mllm.call.limits import Sleep, backoff
from showtell.mllm.call.stored import check_answer
from showtell.mllm.jobs.book import Job, JobBook, checked_handle, list_jobs
from showtell.mllm.prices import is_installed, price
from showtell.mllm.providers.vendors import PydanticAIModel
from showtell.mllm.tokens import estimate_tokens, most_output

FILE_NAME = "batches.jsonl"

_SCHEMA = 1
_MOST_REQUESTS = 10_000
_MOST_BYTES = 100_000_000  # a job is held in memory once, so not all of the 200 MB allowed
_CLOCKS_DIFFER = 300.0  # seconds that a provider's clock may be behind ours
_UNTIL_LISTED = 5.0  # seconds that a job may take to show up after it was handed in
_TRIES = 5  # of handing a job in
_LONGEST_POLL = 300.0  # seconds


@dataclass(frozen=True, kw_only=True)
class BatchProgress:
    """How far the jobs of a folder are."""

    n_jobs: int
    n_ended: int
    """Jobs that the provider has finished."""
    n_collected: int
    n_requests: int
    """Requests of all jobs."""


@dataclass(frozen=True, kw_only=True)
class _Entry:
    """A request, ready to be handed in; its images are in memory once, encoded."""

    key: str
    encoded: EncodedBatchRequest
    estimate: Decimal | None
    reservation: Reservation | None = None


class BatchJobs:
    """Requests of a run that go through the provider's batch endpoint.

    `submit`, `poll` and `collect` may each be called in another process, with the same model and
    folder; `run` does all of them and waits.

    Parameters
    ----------
    mllm : PydanticAIModel
        From `load_mllm`: a model of OpenAI, Google or Anthropic.
    folder : str or path-like
        Of the run; made if it is not there.
    cache : AnswerCache, optional
        Answers are looked up there and put there.
    journal : Journal, optional
        The same, and written down as those of single requests.
    kept : KeptAnswers, optional
        Both of them, if they are shared with a `Client`.
    budget : Budget, optional
        Caps; jobs count by their estimate.
    check : callable, default=is_whole
        As in `Client`.
    scope : str, default=""
        What the jobs are part of, where a folder holds several things; see `unfinished`.
    max_requests, max_bytes : int, optional
        Most that one job holds; never more than the provider takes.
    poll_every : float, default=30
        Seconds until the state of jobs is asked for first; it grows to 5 minutes.
    sleep : callable, default=asyncio.sleep

    Raises
    ------
    InputError
        If the model has no batch endpoint.
    RunError
        If the folder cannot be written.
    """

    def __init__(
        self,
        mllm: PydanticAIModel,
        folder: str | os.PathLike[str],
        *,
        cache: AnswerCache | None = None,
        journal: Journal | None = None,
        kept: KeptAnswers | None = None,
        budget: Budget | None = None,
        check: Callable[[Request, Answer], bool] = is_whole,
        scope: str = "",
        max_requests: int = _MOST_REQUESTS,
        max_bytes: int = _MOST_BYTES,
        poll_every: float = 30.0,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        if not isinstance(mllm, PydanticAIModel):
            raise InputError(
                f"Batches need a model loaded by name, such as 'openai:gpt-4.1-mini', got "
                f"{type(mllm).__name__}."
            )
        self.mllm = mllm.for_batches()
        self.path = Path(folder) / FILE_NAME
        if kept is None:
            kept = KeptAnswers(journal, cache)
            kept.settle_at(self.mllm.endpoint)
        self.journal, self.kept = kept.journal, kept
        self.budget, self.check = budget, check
        self.scope = scope
        self.max_requests, self.max_bytes = max_requests, max_bytes
        self.poll_every, self._sleep = poll_every, sleep
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.book = JobBook(self.path)
        except OSError as error:
            raise RunError(f"{self.path} cannot be used: {error.strerror}.") from error
        if budget is not None:  # what an earlier process handed in counts as well
            for job in self.book.jobs.values():
                if not job.collected:
                    budget.n_requests += len(job.keys)
                    budget.in_doubt += job.estimate or 0

    @property
    def unfinished(self) -> set[str]:
        """Tags of the jobs of this scope since `finish` was last called."""
        jobs = self.book.jobs.values()
        return {job.tag for job in jobs if job.scope == self.scope and not job.finished}

    def finish(self) -> None:
        """Note that what the jobs of this scope were handed in for is done."""
        if self.unfinished:
            self.book.write("finished", scope=self.scope)
            self.book.learn({"kind": "finished", "scope": self.scope})

    @property
    def pending(self) -> set[str]:
        """Keys of requests in jobs that are not collected yet."""
        return {key for job in self.book.jobs.values() if not job.collected for key in job.keys}

    @property
    def n_pending_jobs(self) -> int:
        """Jobs that are not collected yet."""
        return sum(not job.collected for job in self.book.jobs.values())

    async def submit(self, requests: Iterable[Request]) -> int:
        """Hand requests in, in as few jobs as limits allow.

        Those that are answered already, or stand in a job that is not collected, are left out.

        Returns `n_requests`: handed in by this call. Raises MLLMError if the provider takes no job;
        BudgetError if a cap stands in the way; jobs before it are handed in.
        """
        await self.recover()
        model = self.mllm.connect()
        most = min(self.max_requests, model.batch_max_requests or self.max_requests)
        most_bytes = min(self.max_bytes, model.batch_max_bytes or self.max_bytes)
        known = self.pending
        n_sent = n_bytes = 0
        chunk: list[_Entry] = []
        form = ""
        for asked in requests:
            await asyncio.sleep(0)  # whoever wants to stop this gets a chance
            request = self.kept.placed(asked)
            if request.key in known or self.kept.find(request.key):
                continue
            known.add(request.key)
            entry = await self._encode(model, request)
            size = model.batch_request_size(entry.encoded)
            this_form = self.book.form_of(request)
            others = chunk and (this_form != form or entry.encoded.group != chunk[0].encoded.group)
            if others or (chunk and (len(chunk) >= most or n_bytes + size > most_bytes)):
                n_sent += await self._hand_in(model, chunk, form)
                chunk, n_bytes = [], 0
            if self.budget is not None:
                try:
                    entry = await self._reserved(entry, self.budget, alone=not chunk)
                except BudgetError:
                    if not chunk:
                        raise
                    await self._hand_in(model, chunk, form)
                    raise
                if entry.reservation is None:  # it fits once these count as handed in
                    n_sent += await self._hand_in(model, chunk, form)
                    chunk, n_bytes = [], 0
                    entry = await self._reserved(entry, self.budget, alone=True)
            chunk.append(entry)
            n_bytes, form = n_bytes + size, this_form
        if chunk:
            n_sent += await self._hand_in(model, chunk, form)
        return n_sent

    async def poll(self) -> BatchProgress:
        """Ask how far the jobs are."""
        await self.recover()
        model = self.mllm.connect()
        for job in self.book.jobs.values():
            if job.handle is not None and not job.collected and job.handle.status != "ended":
                job.handle = await self._status(model, job.handle)
                if job.handle.status == "ended":
                    self.book.note_handle("ended", job, job.handle)
        jobs = self.book.jobs.values()
        return BatchProgress(
            n_jobs=len(jobs),
            n_ended=sum(
                j.collected or (j.handle is not None and j.handle.status == "ended") for j in jobs
            ),
            n_collected=sum(j.collected for j in jobs),
            n_requests=sum(len(j.keys) for j in jobs),
        )

    async def collect(self) -> AsyncIterator[tuple[str, Outcome]]:
        """Give the results of ended jobs that were not collected before.

        Answers are in cache and journal before they are given, and a job counts as collected only
        after its last one; so if the process dies in between, the next one gets them again, and
        nothing is lost or paid twice.

        Yields `key`: `Request.key`.
        """
        model = self.mllm.connect()
        for job in list(self.book.jobs.values()):
            if job.collected or job.handle is None or job.handle.status != "ended":
                continue
            outcomes = await self._results(model, job)
            if outcomes is None:
                continue  # somebody else's job: ours was never handed in, and will be
            self._settle(job, outcomes)
            for key, outcome in outcomes.items():
                self._keep(key, job, outcome)
                yield key, outcome
            if self.journal is not None:
                self.journal.flush()
            self.book.write("collected", tag=job.tag)
            job.collected = True

    async def recover(self) -> None:
        """Find the jobs that a process handed in and died before noting their numbers."""
        lost = [j for j in self.book.jobs.values() if j.handle is None and not j.collected]
        if lost:
            await self._look_for(lost)
        for job in lost:
            if job.handle is None:  # it never arrived
                self._forget(job)

    async def _look_for(self, lost: Sequence[Job]) -> None:
        """Give lost jobs their handles, where the provider has them."""
        model = self.mllm.connect()
        wait = max(job.made for job in lost) + _UNTIL_LISTED - time.time()
        if wait > 0:
            await self._sleep(wait)
        known = {j.handle.id for j in self.book.jobs.values() if j.handle is not None}
        since = min(job.made for job in lost) - _CLOCKS_DIFFER
        listed = await self._call(lambda: list_jobs(model, self.mllm.wire, since))
        for job in lost:
            for candidate in listed:
                name, made, n_requests, first = candidate
                if name in known or name in job.refused or made < job.made - _CLOCKS_DIFFER:
                    continue
                if n_requests not in (None, 0, len(job.keys)):
                    continue
                if first is not None and not first.endswith(f"-{job.tag}"):
                    continue
                handle = Batch(
                    id=name,
                    model_name=self.mllm.model,
                    provider_name=model.system,
                    group=job.group,
                    status="in_progress",
                    created_at=datetime.fromtimestamp(made, tz=UTC),
                    request_count=len(job.keys),
                )
                known.add(name)
                self.book.note_handle("handle", job, await self._status(model, handle))
                break

    def run(
        self,
        requests: Iterable[Request],
        on_answer: Callable[[str, Outcome], None],
        *,
        progress: Callable[[BatchProgress], None] | None = None,
    ) -> None:
        """Hand in, wait, collect. May be stopped at any time and run again.

        `on_answer`: ``on_answer(key, outcome)`` for each, also those that were answered before;
        `progress`: called with a `BatchProgress` whenever it was asked for.
        """
        wait_for(self._run(requests, on_answer, progress))

    async def _run(
        self,
        requests: Iterable[Request],
        on_answer: Callable[[str, Outcome], None],
        progress: Callable[[BatchProgress], None] | None,
    ) -> None:
        wanted: dict[str, str] = {}  # key with the endpoint in it -> key of the request

        def noted() -> Iterable[Request]:
            for request in requests:
                wanted[self.kept.placed(request).key] = request.key
                yield request

        await self.submit(noted())
        given: set[str] = set()
        wait = self.poll_every
        while True:
            state = await self.poll()
            if progress is not None:
                progress(state)
            async for key, outcome in self.collect():
                if key in wanted:
                    given.add(key)
                    on_answer(wanted[key], outcome)
            if not self.pending & wanted.keys():
                break
            await self._sleep(wait)
            wait = min(1.5 * wait, _LONGEST_POLL)
        for key, name in wanted.items():
            if key not in given:
                found = self.kept.find(key)
                on_answer(
                    name,
                    found
                    if found is not None
                    else MLLMServerError(f"{self.mllm.name}: the batch ended without an answer."),
                )

    async def _encode(self, model: Model[Any], request: Request) -> _Entry:
        settings = self.mllm.settings(request, batch=True)
        messages = self.mllm.messages(model, request)
        parameters = self.mllm.parameters(model, request)
        instructions = messages[0].instructions
        if instructions is not None:
            parts = [InstructionPart(content=instructions)]
            parameters = replace(parameters, instruction_parts=parts)
        # The tag of the job comes to the key when the job is full; it is as long as this one.
        asked = BatchRequest(
            custom_id=f"{request.key}-{'0' * 8}",
            messages=messages,
            model_settings=settings,  # type: ignore[arg-type]
            model_request_parameters=parameters,
        )
        encoded: EncodedBatchRequest = await self._call(lambda: model.batch_encode(asked))
        return _Entry(
            key=request.key,
            encoded=encoded,
            estimate=None if self.budget is None else _estimate(self.mllm, request),
        )

    @staticmethod
    async def _reserved(entry: _Entry, budget: Budget, *, alone: bool) -> _Entry:
        """Have the caps allow a request; where only those before it stand in the way, do not."""
        if alone:
            return replace(entry, reservation=await budget.reserve(entry.estimate))
        return replace(entry, reservation=budget.reserve_now(entry.estimate))

    async def _hand_in(self, model: Model[Any], chunk: Sequence[_Entry], form: str) -> int:
        estimates = [entry.estimate for entry in chunk if entry.estimate is not None]
        job = Job(
            tag=secrets.token_hex(4),
            keys=tuple(entry.key for entry in chunk),
            group=chunk[0].encoded.group,
            form=form,
            made=time.time(),
            scope=self.scope,
            estimate=sum(estimates, Decimal(0)) if estimates else None,
        )
        encoded = [replace(e.encoded, custom_id=f"{e.key}-{job.tag}") for e in chunk]
        self.book.jobs[job.tag] = job
        self.book.write(
            "intent",
            tag=job.tag,
            keys=job.keys,
            group=job.group,
            form=json.loads(form),
            made=job.made,
            scope=job.scope,
            estimate=None if job.estimate is None else str(job.estimate),
        )
        in_doubt = True
        try:
            for attempt in range(1, _TRIES + 1):
                try:
                    handle = await self._call(lambda: _create(model, encoded), tries=1)
                    self.book.note_handle("handle", job, handle)
                except MLLMAnswerError as error:
                    raise _perhaps(error, len(chunk), self.path.parent) from None
                except MLLMError as error:
                    is_last = attempt == _TRIES
                    in_doubt = not isinstance(error, RateLimitedError | MLLMUnreachableError)
                    if not error.retryable or (is_last and not in_doubt):  # it was turned away
                        in_doubt = False
                        self._forget(job)
                        raise
                    if in_doubt:  # the job may have been made although no answer came
                        job.made = time.time()
                        await self._look_for([job])
                        if job.handle is None and is_last:
                            raise _perhaps(error, len(chunk), self.path.parent) from None
                    else:
                        asked = getattr(error, "retry_after", None)
                        await self._sleep(backoff(attempt, retry_after=asked))
                if job.handle is not None:
                    break
        finally:
            for entry in chunk:
                if entry.reservation is not None and self.budget is not None:
                    cost = None if in_doubt else Decimal(0)
                    self.budget.settle(entry.reservation, cost, in_doubt=in_doubt)
        return len(chunk)

    async def _results(self, model: Model[Any], job: Job) -> dict[str, Outcome] | None:
        """Read the results by key; None if the job is somebody else's after all."""
        assert job.handle is not None
        outcomes: dict[str, Outcome] = {}
        try:
            handle = job.handle
            results = await self._call(lambda: model.batch_results(handle))
        except MLLMRequestError as error:
            return dict.fromkeys(job.keys, error)  # the whole job failed
        results = [r for r in results if isinstance(getattr(r, "custom_id", None), str)]
        ours = {f"{key}-{job.tag}": key for key in job.keys}
        if results and not any(result.custom_id in ours for result in results):
            job.refused.add(job.handle.id)
            self.book.write("refused", tag=job.tag, id=job.handle.id)
            job.handle = None
            return None
        settings, schema = self.book.forms[job.form]
        form = Request(model=self.mllm.name, system="", parts=(), schema=schema, settings=settings)
        asked = BatchRequest(
            custom_id="",
            messages=[],
            model_settings=self.mllm.settings(form, batch=True),  # type: ignore[arg-type]
            model_request_parameters=self.mllm.parameters(model, form),
        )
        for result in results:
            key = ours.get(result.custom_id)
            if key is None:
                continue
            try:
                answer = check_answer(self.mllm.answer(model.batch_decode(result, asked)))
                cost = price(self.mllm.name, answer.usage, batch=True) if is_installed() else None
                outcomes[key] = replace(answer, usage=replace(answer.usage, cost_usd=cost))
            except Exception as error:  # noqa: BLE001 - that of one request, and of no other
                outcomes[key] = self.mllm.failure(error)
        for key in job.keys:
            if key not in outcomes:
                outcomes[key] = MLLMServerError(
                    f"{self.mllm.name}: the batch ended without a result for this request."
                )
        return outcomes

    def _settle(self, job: Job, outcomes: Mapping[str, Outcome]) -> None:
        """Put what a job cost in the place of its estimate."""
        if self.budget is None:
            return
        costs = [o.usage.cost_usd for o in outcomes.values() if isinstance(o, Answer)]
        known = [cost for cost in costs if cost is not None]
        self.budget.n_unpriced += len(costs) - len(known)
        if len(known) == len(costs):
            self.budget.in_doubt -= job.estimate or 0
        self.budget.spent += sum(known, Decimal(0))

    def _keep(self, key: str, job: Job, outcome: Outcome) -> None:
        if self.journal is not None and not self.journal.knows(key):
            self.journal.batch_outcome(
                key, outcome, model=self.mllm.name, job=job.tag, whole=self._whole(job, outcome)
            )
        if isinstance(outcome, Answer) and self._whole(job, outcome):
            self.kept.keep(key, outcome)

    def _whole(self, job: Job, outcome: Outcome) -> bool:
        if not isinstance(outcome, Answer):
            return False
        settings, schema = self.book.forms[job.form]
        asked = Request(model=self.mllm.name, system="", parts=(), schema=schema, settings=settings)
        return self.check(asked, outcome)

    async def _status(self, model: Model[Any], handle: Batch) -> Batch:
        state: Batch = await self._call(lambda: _status(model, handle))
        return state

    async def _call(self, make: Callable[[], Awaitable[Any]], *, tries: int = 5) -> Any:
        """Await a call of pydantic-ai, again after passing trouble; its errors in our words."""
        for attempt in range(1, tries + 1):
            failure: MLLMError
            try:
                return await make()
            except Exception as error:  # noqa: BLE001 - whatever it is, the provider said it
                failure = self.mllm.failure(error)
            if not failure.retryable or attempt == tries:
                break
            asked = getattr(failure, "retry_after", None)
            await self._sleep(backoff(attempt, retry_after=asked))
        raise failure

    def _forget(self, job: Job) -> None:
        self.book.write("forgotten", tag=job.tag)
        self.book.jobs.pop(job.tag, None)


async def _create(model: Model[Any], encoded: Sequence[EncodedBatchRequest]) -> Batch:
    """Hand a job in; what comes back must be a job, or it would not be found again."""
    return checked_handle(await model.batch_create(encoded))


async def _status(model: Model[Any], handle: Batch) -> Batch:
    return checked_handle(await model.batch_status(handle))


def _perhaps(error: MLLMError, n: int, folder: Path) -> MLLMError:
    """Say that a job may have been handed in although no answer said so."""
    return type(error)(
        f"{error} A batch of {n:,} request{'' if n == 1 else 's'} may have been handed in all the "
        f"same: it is noted in {folder}, and the same command looks for it before it hands in "
        "anything."
    )


def _estimate(mllm: PydanticAIModel, request: Request) -> Decimal | None:
    """Dollars at the batch price; None if it is not known."""
    if not is_installed():
        return None
    n_input = estimate_tokens(request, mllm.capabilities).input
    usage = Usage(input_tokens=n_input, output_tokens=most_output(request))
    return price(mllm.name, usage, batch=True)
