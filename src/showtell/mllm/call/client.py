"""The one path of a call: cache, budget, limits, retry, provider, check, journal."""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import random
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, TypeAlias

from showtell.errors import (
    BudgetError,
    InputError,
    MLLMAnswerError,
    MLLMAuthError,
    MLLMError,
    MLLMRequestError,
    MLLMTimeoutError,
    MLLMUnreachableError,
    RateLimitedError,
    ServerDownError,
    ShowtellError,
)
from showtell.mllm.base import MLLM, Answer, Request, Usage
from showtell.mllm.call.background import wait_for
from showtell.mllm.call.budget import Budget, Expectations, Reservation, Totals
from showtell.mllm.call.cache import AnswerCache, KeptAnswers
from showtell.mllm.call.journal import Journal
from showtell.mllm.call.limits import AdaptiveConcurrency, Clock, RateLimiter, Sleep, backoff
from showtell.mllm.call.outage import Outage
from showtell.mllm.call.source import Source
from showtell.mllm.call.stored import check_answer
from showtell.mllm.capabilities import Capabilities, capabilities_of
from showtell.mllm.prices import is_installed, price

Outcome: TypeAlias = Answer | MLLMError
"""What becomes of a request: an answer, or the error that it ended with."""
OnAnswer: TypeAlias = Callable[
    [Request, Outcome], Iterable[Request] | Awaitable[Iterable[Request] | None] | None
]
"""Takes an outcome; may return requests to ask next, such as one for what was left out."""

_TIMEOUT_SLACK = 5.0  # seconds after which a provider that forgets its own timeout is cut off
_SILENCE = 60.0  # seconds for which a request is tried again where nobody is answered
_IN_A_QUEUE = 900.0  # seconds for which one waits that is told to slow down while others are served


class _NotNowError(Exception):
    """The server turned out not to answer while a request waited for its slot."""


@dataclass
class _Tries:
    """How often a request was tried, and since when."""

    began: float
    n_answers: int
    """Answers that others had got by then."""
    n: int = 0
    n_failed: int = 0
    """Tries that count: being told to slow down does not."""


def is_whole(request: Request, answer: Answer) -> bool:  # noqa: ARG001
    """Say whether an answer is complete and may be used again.

    Returns `whole`: it ended by itself and says something.
    """
    return answer.finish == "stop" and bool(answer.text.strip() or answer.probabilities)


class Client:
    """Asks a model, paying for nothing twice and staying within limits and caps.

    For each request: an equal one that was answered before (cache, journal) or is just being
    asked is not sent. Else the caps are checked, a slot is waited for, and the model is asked; what
    fails for a passing reason is tried again after a growing, random time. The answer is checked,
    written to the journal and kept in the cache.

    Parameters
    ----------
    mllm : MLLM
        From `load_mllm`, or any object that follows the protocol.
    cache : AnswerCache, optional
        None keeps no answers.
    journal : Journal, optional
        Log of the run; answers in it are used as those in the cache.
    budget : Budget, optional
        None for no caps.
    limiter : RateLimiter, optional
        Requests and tokens per minute; None for no limit but what the provider says.
    max_concurrency : int, default=64
        Requests in flight, at most.
    concurrency : AdaptiveConcurrency, optional
        By default one that starts at 16 and grows to `max_concurrency`.
    retries : int, default=5
        Tries of one request, the first included. Being told to slow down does not count.
    patience : float, optional
        Seconds for which a request is tried again while nothing at all is answered; by default 60,
        or the request's own timeout if that is longer. No wait between two tries is longer. One
        that is told to slow down while others are answered waits for up to 15 minutes.
    give_up_after : int or None, default=3
        Different requests that failed in a row, each after its tries and without an answer between
        them, before the run ends with `ServerDownError`; None goes on to the last request. Where
        there is no connection at all, the first one ends it.
    check : callable, default=is_whole
        ``check(request, answer)`` says whether an answer may be kept and used again. One that may
        not is still returned.
    sleep, clock, draw : callable
        `asyncio.sleep`, `time.monotonic` and `random.random`; tests use others.

    Examples
    --------
    >>> from showtell.mllm import Settings, TextPart, Usage
    >>> class Echo:
    ...     name = "toy:echo"
    ...     async def ask(self, request):
    ...         text = request.parts[0].text
    ...         return Answer(text=text, usage=Usage(), finish="stop", model="echo")
    ...     async def aclose(self):
    ...         pass
    >>> client = Client(Echo())
    >>> request = Request(model="toy:echo", system="", parts=(TextPart(text="a cat"),))
    >>> [answer] = client.run([request])
    >>> answer.text
    'a cat'
    """

    def __init__(
        self,
        mllm: MLLM,
        *,
        cache: AnswerCache | None = None,
        journal: Journal | None = None,
        budget: Budget | None = None,
        limiter: RateLimiter | None = None,
        max_concurrency: int = 64,
        concurrency: AdaptiveConcurrency | None = None,
        retries: int = 5,
        patience: float | None = None,
        give_up_after: int | None = 3,
        check: Callable[[Request, Answer], bool] = is_whole,
        sleep: Sleep = asyncio.sleep,
        clock: Clock = time.monotonic,
        draw: Callable[[], float] = random.random,
    ) -> None:
        if retries < 1:
            raise InputError(f"`retries` counts the first try too, so at least 1, got {retries}.")
        if max_concurrency < 1:
            raise InputError(f"`max_concurrency` must be at least 1, got {max_concurrency}.")
        self.mllm = mllm
        self.journal, self.kept = journal, KeptAnswers(journal, cache)
        self.budget, self.limiter = budget, limiter
        self.max_concurrency = max_concurrency
        self.concurrency = concurrency or AdaptiveConcurrency(
            start=min(16, max_concurrency), most=max_concurrency, sleep=sleep, clock=clock
        )
        self.retries, self.patience, self.check = retries, patience, check
        self.give_up_after = give_up_after
        self.totals = Totals()
        self._sleep, self._clock, self._draw = sleep, clock, draw
        self._asking: dict[str, asyncio.Future[Answer]] = {}
        self._run_id = secrets.token_hex(8)
        self._n_partial: Counter[str] = Counter()  # answers per request that may not be kept
        known = getattr(mllm, "capabilities", None)
        self.capabilities = (
            known if isinstance(known, Capabilities) else capabilities_of(self.mllm.name)
        )
        """What the model takes and offers."""
        self._expected = Expectations(mllm.name, self.capabilities)
        self._is_located = False
        self._real: bool | None = None  # whether a server took the place of one that made things up
        self._sources: set[Source] = set()
        self._outage = Outage(give_up_after)
        self._waiting: set[asyncio.Task[None]] = set()  # workers whose request is not on the wire
        self._stopping = False

    async def locate(self) -> None:
        """Find out where the model is, which is part of the key of every answer.

        Done before the first question; a server of one's own may be asked for the digest of the
        model.
        """
        if not self._is_located:
            find = getattr(self.mllm, "locate", None)
            self.kept.settle_at("" if find is None else await find())
            self._is_located = True

    async def _is_real(self) -> bool:
        """Whether another server is now where ``showtell try-server`` was when it answered."""
        if self._real is None:
            look = getattr(self.mllm, "is_try_server", None)
            self._real = look is not None and await look() is False
        return self._real

    async def ask(self, request: Request) -> Answer:
        """Ask one question.

        Raises
        ------
        MLLMError
            If there is no answer after all tries.
        BudgetError
            If a cap stands in the way.
        """
        await self.locate()
        request = self.kept.placed(request)
        key = request.key
        found = self.kept.find(key)
        if found is not None and not (found.made_up and await self._is_real()):
            self.totals.n_from_cache += 1
            if self.journal is not None and not self.journal.knows(key):
                self.journal.answer(request, found)
            return found
        loop = asyncio.get_running_loop()
        while (running := self._asking.get(key)) is not None and running.get_loop() is loop:
            try:
                answer = await asyncio.shield(running)
            except asyncio.CancelledError:
                if not running.cancelled():
                    raise
                continue  # the other one was given up, this one was not
            self.totals.n_from_cache += 1
            return as_repeated(answer)
        future: asyncio.Future[Answer] = loop.create_future()
        self._asking[key] = future
        try:
            answer = await self._ask_provider(request)
        except asyncio.CancelledError:
            future.cancel()
            raise
        except BaseException as error:
            future.set_exception(error)
            future.exception()  # nobody need be waiting for it
            lost = error.__cause__ if isinstance(error, ServerDownError) else error
            if isinstance(lost, MLLMError):
                self.totals.n_failed += 1
                if self.journal is not None:
                    self.journal.failure(request, lost)
            raise
        finally:
            if self._asking.get(key) is future:
                del self._asking[key]
        future.set_result(answer)
        return answer

    async def map(
        self,
        requests: Iterable[Request] | AsyncIterable[Request],
        on_answer: OnAnswer | None = None,
    ) -> None:
        """Ask many questions, as many at once as allowed.

        Requests are taken from the iterable only as slots become free, in a thread of their own,
        so a generator may read and prepare images, and may be of any length.

        Parameters
        ----------
        requests : iterable or async iterable of Request
        on_answer : callable, optional
            ``on_answer(request, outcome)``, called in the event loop as each request ends, in no
            particular order; it may be a coroutine function. The requests that it returns are
            asked next. What it raises ends the run.

        Raises
        ------
        BudgetError
            If a cap stopped the run; what was in flight has been answered and noted.
        MLLMAuthError
            If the provider takes no question at all with this key.
        ServerDownError
            If nobody answers any more.
        RunError
            If the journal found no room; what was in flight has been handed to `on_answer`.
        """

        def take(number: int, request: Request, outcome: Outcome) -> Any:  # noqa: ARG001
            return None if on_answer is None else on_answer(request, outcome)

        await self.map_numbered(requests, take)

    async def map_numbered(
        self,
        requests: Iterable[Request] | AsyncIterable[Request],
        take: Callable[[int, Request, Outcome], Any],
    ) -> None:
        """Do what `map` says; `take` also gets the number of the request, -1 for a later one."""
        await self.locate()
        source = Source(requests)
        self._sources.add(source)
        self._stopping, self._outage = False, Outage(self.give_up_after)
        failures: list[Exception] = []

        async def work() -> None:
            worker: Any = asyncio.current_task()
            while not failures:
                self._waiting.add(worker)
                item = await source.next()
                if item is None:
                    return
                number, request = item
                try:
                    outcome = await self._outcome(request)
                    self._waiting.discard(worker)
                    more = take(number, request, outcome)
                    if inspect.isawaitable(more):
                        more = await more
                    if more is not None:
                        source.add(more)
                except Exception as error:  # noqa: BLE001 - raised below, after the others ended
                    failures.append(error)
                    if not isinstance(error, BudgetError):  # others may still be within the cap
                        self._stop_those_waiting()
                    source.stop()
                finally:
                    source.done()

        workers = [asyncio.ensure_future(work()) for _ in range(self.max_concurrency)]
        try:
            await asyncio.gather(*workers, return_exceptions=True)
        finally:
            self._sources.discard(source)
            self._waiting.difference_update(workers)
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
            source.close()
        if failures:
            raise failures[0]
        if source.failure is not None:
            raise source.failure
        if self.journal is not None:
            self.journal.flush()

    def run(self, requests: Iterable[Request], on_answer: OnAnswer | None = None) -> list[Outcome]:
        """Ask many questions and wait; works in scripts, threads and notebooks alike.

        Parameters
        ----------
        requests : iterable of Request
        on_answer : callable, optional
            As in `map`; called in another thread.

        Returns
        -------
        outcomes : list of Answer or MLLMError
            In the order of `requests`; empty if `on_answer` is given, since then outcomes need
            not be kept.

        Raises
        ------
        BudgetError, MLLMAuthError, ServerDownError, RunError
            As in `map`.
        KeyboardInterrupt
            After Ctrl-C, when what was in flight has been answered and noted (at a second Ctrl-C,
            or after 10 seconds, at once).
        """
        if on_answer is not None:
            wait_for(self.map(requests, on_answer), stop=self.stop)
            return []
        outcomes: dict[int, Outcome] = {}

        def keep(number: int, request: Request, outcome: Outcome) -> None:  # noqa: ARG001
            outcomes[number] = outcome

        wait_for(self.map_numbered(requests, keep), stop=self.stop)
        return [outcomes[number] for number in sorted(outcomes)]

    def stop(self) -> None:
        """Begin no further request; those in flight are finished. Called within the event loop."""
        self._stopping = True
        for source in list(self._sources):
            source.stop()
        self._stop_those_waiting()

    def _stop_those_waiting(self) -> None:
        """End the workers whose request is not on the wire, and will not be."""
        for worker in list(self._waiting):
            if worker is not asyncio.current_task():
                worker.cancel()

    async def aclose(self) -> None:
        """Close connections."""
        await self.mllm.aclose()

    def close(self) -> None:
        """Close connections, from code without an event loop."""
        wait_for(self.mllm.aclose())

    def __repr__(self) -> str:
        return f"Client({self.mllm.name!r}, max_concurrency={self.max_concurrency})"

    async def _outcome(self, request: Request) -> Outcome:
        try:
            return await self.ask(request)
        except MLLMAuthError:
            raise  # no other request would fare better
        except MLLMError as error:
            return error

    async def _ask_provider(self, request: Request) -> Answer:
        """Send, and send again, until there is an answer or no hope."""
        counted = self.budget is not None or self.journal is not None
        estimate = self._expected.cost(request) if counted else None
        limited = self.limiter is not None and self.limiter.tpm is not None
        n_tokens = self._expected.tokens(request) if limited else 0
        outage = self._outage
        tries = _Tries(began=self._clock(), n_answers=outage.n_answers)
        try:
            while True:
                tries.n += 1
                await outage.turn(request.key)
                reservation = None
                if self.budget is not None:
                    reservation = await self.budget.reserve(estimate)
                try:
                    answer = await self._try_once(request, reservation, n_tokens, estimate)
                except _NotNowError:
                    tries.n -= 1
                    continue
                except MLLMError as error:
                    self.totals.count_failure(error)
                    if isinstance(error, MLLMRequestError):
                        outage.answered()  # somebody is there who says no
                    if not error.retryable:
                        raise
                    outage.failed(request.key, error)
                    wait = self._wait_after(error, tries, request.settings.timeout)
                    if wait is None or self._stopping:
                        stop = outage.gave_up(error, tries.n_failed)
                        if stop is None:
                            raise
                        raise stop from error
                else:
                    outage.answered()
                    return self._note(request, replace(answer, attempts=tries.n))
                self.totals.n_retried += 1
                await self._sleep(wait)
        finally:
            outage.leave(request.key)

    def _wait_after(self, error: MLLMError, tries: _Tries, timeout: float) -> float | None:
        """Say how long to wait before the next try; None if there is to be none."""
        patience = max(_SILENCE, timeout) if self.patience is None else self.patience
        gone = self._clock() - tries.began
        if isinstance(error, RateLimitedError):
            others = self._outage.n_answers > tries.n_answers
            asked = error.retry_after
            wait = backoff(tries.n, retry_after=asked, grows=not others, draw=self._draw)
            if others:
                patience = max(patience, _IN_A_QUEUE)
            return wait if gone + wait <= patience else None
        tries.n_failed += 1
        wait = min(backoff(tries.n_failed, draw=self._draw), patience)
        is_late = tries.n_failed > 1 and gone + wait > patience
        return None if tries.n_failed >= self.retries or is_late else wait

    async def _try_once(
        self,
        request: Request,
        reservation: Reservation | None,
        n_tokens: int,
        estimate: Decimal | None,
    ) -> Answer:
        """One request on the wire, with limits before it and the books kept before and after."""
        cost: Decimal | None = Decimal(0)
        in_doubt = answered = announced = False
        try:
            if self.limiter is not None:
                await self.limiter.acquire(n_tokens)
            sent_at = await self.concurrency.acquire()
            began = time.perf_counter()
            try:
                if not self._outage.lets_pass(request.key):
                    raise _NotNowError
                named = replace(request, idempotency_key=self._announce(request, estimate))
                self.totals.n_requests += 1
                announced = in_doubt = True  # the provider may bill it until it says otherwise
                answer = await self._on_the_wire(named)
                in_doubt, answered = False, True
            except RateLimitedError as error:
                in_doubt = False
                self.concurrency.limited(sent_at, error.retry_after)
                raise
            except (MLLMAuthError, MLLMRequestError, MLLMUnreachableError):
                in_doubt = False
                raise
            finally:
                self.concurrency.release()
            self.concurrency.succeeded()
            if answer.seconds == 0.0:
                answer = replace(answer, seconds=time.perf_counter() - began)
            answer = self._priced(answer)
            usage = answer.usage
            cost = usage.cost_usd
            if self.limiter is not None and usage.input_tokens is not None:
                self.limiter.correct(n_tokens, usage.input_tokens + (usage.output_tokens or 0))
            return answer
        finally:
            if announced and in_doubt:
                most = self._expected.cost(request) if estimate is None else estimate
                self.totals.count_doubt(most)
                if self.journal is not None:
                    self.journal.lost(request)
            if reservation is not None and self.budget is not None:
                self.budget.settle(reservation, cost, in_doubt=in_doubt, sent=announced)
            if self.journal is not None and announced and not (answered or in_doubt):
                self.journal.turned_away(request)

    async def _on_the_wire(self, request: Request) -> Answer:
        """Wait for the answer to one try; whatever is wrong with it is an error of ours."""
        worker: Any = asyncio.current_task()
        waited = worker in self._waiting  # else it does not belong to `map`
        self._waiting.discard(worker)
        failure: MLLMError
        try:
            async with asyncio.timeout(request.settings.timeout + _TIMEOUT_SLACK):
                return check_answer(await self.mllm.ask(request))
        except TimeoutError as error:
            if isinstance(error, MLLMError):
                raise
            failure = MLLMTimeoutError(
                f"{self.mllm.name} gave no answer within {request.settings.timeout:g} s."
            )
        except ShowtellError:
            raise
        except Exception as error:  # noqa: BLE001 - an answer that cannot be read is its own row
            said = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            failure = MLLMAnswerError(f"{self.mllm.name}: the answer cannot be read ({said}).")
        finally:
            if waited and not self._stopping:
                self._waiting.add(worker)
        raise failure

    def _announce(self, request: Request, estimate: Decimal | None) -> str:
        """Write down what is about to be sent; give what makes a second time known as such."""
        if self.journal is not None:
            return self.journal.asking(request, estimate)
        name = f"{self._run_id}:{request.key}:{self._n_partial[request.key]}"
        return hashlib.blake2b(name.encode(), digest_size=16).hexdigest()

    def _priced(self, answer: Answer) -> Answer:
        usage = answer.usage
        if usage.cost_usd is not None or not (self.capabilities.free or is_installed()):
            return answer
        return replace(answer, usage=replace(usage, cost_usd=price(self.mllm.name, usage)))

    def _note(self, request: Request, answer: Answer) -> Answer:
        """Check, write down, keep, count."""
        whole = self.check(request, answer)
        if self.journal is not None:
            self.journal.answer(request, answer, whole=whole)
        if not whole:
            self._n_partial[request.key] += 1
        else:
            self.kept.keep(request.key, answer)
        self.totals.count(answer)
        self._expected.learn(request, answer.usage, inputs=self.budget is not None)
        return answer


def as_repeated(answer: Answer) -> Answer:
    """Give an answer to one more question that is the same: it took nothing this time."""
    zero = Decimal(0)
    usage = Usage(input_tokens=0, output_tokens=0, cached_tokens=0, cost_usd=zero, n_requests=0)
    first = answer.first_usage or answer.usage
    return replace(answer, usage=usage, first_usage=first, from_cache=True, seconds=0.0, attempts=0)
