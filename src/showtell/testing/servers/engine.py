"""One path for every request, whatever its wire format: count, delay, spoil, look, answer, log."""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from showtell.testing.servers.answering import REFUSAL, Answering, bad, dumps
from showtell.testing.servers.author import Author
from showtell.testing.servers.counting import (
    Meter,
    PrefixCache,
    TokenCount,
    Vendor,
)
from showtell.testing.servers.guessing import Guesser
from showtell.testing.servers.knobs import Faults, Quota, uniform
from showtell.testing.servers.records import (
    Ask,
    BadRequestError,
    Problem,
    ReceivedRequest,
    Reply,
    Stats,
)
from showtell.testing.servers.responses import CutResponse, StreamResponse
from showtell.testing.servers.sight import BadImageError, SentImage
from showtell.testing.servers.wire import Wire

__all__ = ["REFUSAL", "Engine", "Wire", "json_object", "read_ask"]

_KEPT_ATTEMPTS = 200_000
_KEPT_REPLIES = 20_000


class _GaveUpError(Exception):
    """The client has closed the connection."""


class Engine:
    """Answers requests of every wire format with one set of knobs, those of `LocalServer`."""

    def __init__(
        self,
        guesser: Guesser,
        *,
        author: Author | None = None,
        latency: float = 0.0,
        jitter: float = 0.0,
        faults: Faults,
        quota: Quota,
        retry_after: float = 1.0,
        keys: frozenset[str] | None = None,
        max_images: int | None = None,
        idempotent: bool = True,
        bill_gone: bool = False,
        seed: int = 0,
        keep_requests: int = 100_000,
    ) -> None:
        self.guesser = guesser
        self.author = Author() if author is None else author
        self.latency, self.jitter = latency, jitter
        self.faults, self.quota, self.retry_after = faults, quota, retry_after
        self.keys, self.max_images, self.seed = keys, max_images, seed
        self.idempotent, self.bill_gone = idempotent, bill_gone
        self.stats = Stats()
        self.requests: deque[ReceivedRequest] = deque(maxlen=keep_requests)
        self.stopping = asyncio.Event()
        self._answering = Answering(guesser, self.author, faults, self.stats, seed)
        self._meter = Meter(quota)
        self._prefixes = PrefixCache()
        self._attempts: dict[str, int] = {}
        # Answers by idempotency key; pending while the first request is being answered.
        self._replies: OrderedDict[str, asyncio.Future[Response | None]] = OrderedDict()
        self._started = time.monotonic()

    # -- over HTTP --------------------------------------------------------------------------------
    async def handle(
        self, request: Request, wire: Wire, read: Callable[[dict[str, Any]], Ask]
    ) -> Response:
        """Answer one HTTP request: `read` takes its JSON body, `wire` writes answers and errors."""
        started = time.monotonic()
        self.stats.n_requests += 1
        self.stats.in_flight += 1
        self.stats.max_in_flight = max(self.stats.max_in_flight, self.stats.in_flight)
        try:
            if refused := self.check_key(request):
                return self._problem(wire, refused)
            try:
                ask = read_ask(await json_object(request), read)
            except BadRequestError as error:
                return self._problem(wire, bad(error))
            name = request.headers.get("idempotency-key", "")
            if not name or not self.idempotent or ask.stream:
                return await self._respond(request, wire, ask, started)
            return await self._respond_once(name, request, wire, ask, started)
        except _GaveUpError:
            self.stats.n_abandoned += 1
            return Response(status_code=499)
        finally:
            self.stats.in_flight -= 1

    async def _respond_once(
        self, name: str, request: Request, wire: Wire, ask: Ask, started: float
    ) -> Response:
        """Answer a request, or give the answer that the same one got before."""
        name = f"{ask.vendor} {request.url.path} {name}"
        while (earlier := self._replies.get(name)) is not None:
            if (kept := await asyncio.shield(earlier)) is not None:
                self.stats.n_replayed += 1
                headers = {"idempotent-replayed": "true"}
                return Response(kept.body, media_type="application/json", headers=headers)
        held: asyncio.Future[Response | None] = asyncio.get_running_loop().create_future()
        self._replies[name] = held
        if len(self._replies) > _KEPT_REPLIES:
            self._replies.popitem(last=False)
        answer: Response | None = None

        def keep(response: Response) -> None:
            nonlocal answer
            answer = response

        try:
            return await self._respond(request, wire, ask, started, keep)
        finally:
            if answer is None and self._replies.get(name) is held:
                del self._replies[name]
            held.set_result(answer)

    async def _respond(
        self,
        request: Request,
        wire: Wire,
        ask: Ask,
        started: float,
        keep: Callable[[Response], None] = lambda _: None,
    ) -> Response:
        """Answer a request; `keep` gets the answer that is paid for."""
        key, attempt, fault = self._draw(ask)
        count = self.count(ask)
        problem = self._gate(ask, count, fault, key, attempt)
        if problem is not None and problem.kind == "rate_limit":
            self._log(ask, key, attempt, fault or "quota", problem.status)
            return self._problem(wire, problem)
        if fault == "timeout":
            self.stats.faults["timeout"] += 1
            self._log(ask, key, attempt, fault, 0)
            await self._hang(request)
            raise _GaveUpError
        outcome = problem or await self._answering.answer(
            ask, self.count(ask, remember=True), key, attempt, fault
        )
        extra = self.jitter * uniform(self.seed, "jitter", key, attempt) if self.jitter else 0.0
        delay = self.latency + extra - (time.monotonic() - started)
        if delay > 0:
            await self._sleep(delay)
        is_gone = await request.is_disconnected()
        if is_gone and (not self.bill_gone or isinstance(outcome, Problem) or fault == "cut"):
            self._log(ask, key, attempt, "gone", 0)
            raise _GaveUpError
        if isinstance(outcome, Problem):
            self._log(ask, key, attempt, fault, outcome.status)
            return self._problem(wire, outcome)
        reply, spoiled = outcome
        if fault == "cut":
            self.stats.faults["cut"] += 1
            self._log(ask, key, attempt, fault, 0, reply, spoiled)
            body = dumps(wire.complete(ask, reply))
            return CutResponse(body, uniform(self.seed, "cut", key, attempt), ask.stream)
        self._log(ask, key, attempt, fault, 200, reply, spoiled)
        self.stats.statuses[200] += 1
        if ask.stream:
            return StreamResponse(wire.stream(ask, reply), ask.vendor)
        response = Response(
            dumps(wire.complete(ask, reply)),
            media_type="application/json",
            headers={**self._quota_headers(ask.vendor), "x-request-id": f"req_{reply.number:08d}"},
        )
        keep(response)
        if is_gone:
            raise _GaveUpError
        return response

    # -- without HTTP: batch jobs -----------------------------------------------------------------
    async def answer_in_batch(
        self, ask: Ask, batch: str
    ) -> tuple[Reply | Problem, Mapping[str, str]]:
        """Answer one request of a batch job: same looking, same faults, no waiting, no quota."""
        key, attempt, fault = self._draw(ask)
        if fault in ("rate_limit", "timeout", "cut"):
            fault = "server_error"  # what trouble inside a batch looks like from outside
        count = self.count(ask)
        problem = self._gate(ask, count, fault, key, attempt, metered=False)
        outcome = problem or await self._answering.answer(
            ask, self.count(ask, remember=True), key, attempt, fault
        )
        self.stats.n_batch_requests += 1
        if isinstance(outcome, Problem):
            self._log(ask, key, attempt, fault, outcome.status, batch=batch)
            return outcome, {}
        reply, spoiled = outcome
        self._log(ask, key, attempt, fault, 200, reply, spoiled, batch=batch)
        return reply, spoiled

    def check_key(self, request: Request) -> Problem | None:
        """Tell what is wrong with the API key, if anything."""
        if self.keys is None:
            return None
        bearer = request.headers.get("authorization", "").removeprefix("Bearer ").strip()
        given = {
            bearer,
            request.headers.get("x-api-key", ""),
            request.headers.get("x-goog-api-key", ""),
            request.query_params.get("key", ""),
        }
        if given & self.keys:
            return None
        return Problem(status=401, kind="auth", message="Incorrect API key provided.")

    def trouble(self, request: Request, wire: Wire) -> Response | None:
        """Turn away a request around jobs and files: no key, or a 429 or 5xx that was drawn."""
        self.stats.n_requests += 1
        if refused := self.check_key(request):
            return self._problem(wire, refused)
        place = f"{request.method} {request.url.path}"
        count = self._attempts.get(place, 0)
        self._attempts[place] = count + 1
        fault = self.faults.of_request(uniform(self.seed, "job", place, count))
        if fault == "rate_limit":
            problem = _too_many("later", self.retry_after)
        elif fault == "server_error":
            problem = _server_trouble(uniform(self.seed, "server", place, count))
        else:
            return None
        self.stats.faults[fault] += 1
        return self._problem(wire, problem)

    def guarded(
        self, wire: Wire, handle: Callable[[Request], Awaitable[Response]]
    ) -> Callable[[Request], Awaitable[Response]]:
        """Handle requests around jobs and files, but those that are turned away."""

        async def on_request(request: Request) -> Response:
            return self.trouble(request, wire) or await handle(request)

        return on_request

    # -- steps ------------------------------------------------------------------------------------
    def _draw(self, ask: Ask) -> tuple[str, int, str | None]:
        """Name the request, count its attempts, and draw what will go wrong."""
        key = ask.key()
        if len(self._attempts) >= _KEPT_ATTEMPTS:
            self._attempts.clear()
        attempt = self._attempts.get(key, 0)
        self._attempts[key] = attempt + 1
        return key, attempt, self.faults.of_request(uniform(self.seed, "request", key, attempt))

    def count(self, ask: Ask, *, remember: bool = False) -> TokenCount:
        """Count the input tokens of a request; what is answered is remembered."""
        head = ask.system
        if ask.schema is not None:
            head += json.dumps(ask.schema, ensure_ascii=False, separators=(",", ":"))
        for question in ask.questions:
            head += json.dumps(question, ensure_ascii=False, separators=(",", ":"))
        marks = ask.marks if ask.vendor == "anthropic" else None
        return self._prefixes.count(
            ask.vendor, ask.model, head, ask.parts, marks=marks, remember=remember
        )

    def _gate(
        self,
        ask: Ask,
        count: TokenCount,
        fault: str | None,
        key: str,
        attempt: int,
        *,
        metered: bool = True,
    ) -> Problem | None:
        """Turn a request away before it is looked at."""
        if self.max_images is not None and len(ask.images) > self.max_images:
            return Problem(
                status=400,
                kind="bad_request",
                message=f"Too many images: {len(ask.images)}; at most {self.max_images} allowed.",
            )
        if fault == "rate_limit":
            self.stats.faults[fault] += 1
            return _too_many("later", self.retry_after)
        if metered and (wait := self._meter.admit(time.monotonic(), count.input)) is not None:
            self.stats.faults["quota"] += 1
            return _too_many(f"in {wait:.3f}s", wait)
        if fault == "server_error":
            self.stats.faults[fault] += 1
            return _server_trouble(uniform(self.seed, "server", key, attempt))
        if fault == "block" and ask.vendor == "anthropic":
            self.stats.faults[fault] += 1
            return Problem(
                status=400, kind="blocked", message="Output blocked by content filtering policy"
            )
        return None

    def _log(
        self,
        ask: Ask,
        key: str,
        attempt: int,
        fault: str | None,
        status: int,
        reply: Reply | None = None,
        spoiled: Mapping[str, str] | None = None,
        batch: str | None = None,
    ) -> None:
        stats = self.stats
        spoiled = spoiled or {}
        stats.n_images += len(ask.images)
        if reply is not None and reply.guesses:
            queries = [guess.query for guess in reply.guesses]
        else:
            queries = list(self._answering.scene_of(ask)[0].queries)
        if reply is not None and status == 200:
            stats.n_answered += 1
            if ask.assignment is not None:
                stats.written[ask.assignment.task] += 1
            self._meter.spend(time.monotonic(), 0 if batch else reply.count.output)
            stats.input_tokens += reply.count.input
            stats.output_tokens += reply.count.output
            stats.cached_tokens += reply.count.cached
            for query in queries:
                stats.paid[query.id] += 1
                stats.paid_images[query.image.digest] += 1
                if reply.finish == "stop" and reply.text and not spoiled.get(query.id):
                    stats.delivered[query.id] += fault is None
                elif reply.decisions and not spoiled.get(query.id):
                    stats.delivered[query.id] += 1
        labels = tuple(guess.label for guess in reply.guesses) if reply is not None else ()
        self.requests.append(
            ReceivedRequest(
                number=stats.n_requests,
                at=time.monotonic() - self._started,
                vendor=ask.vendor,
                endpoint=ask.endpoint,
                model=ask.model,
                texts=ask.texts,
                images=tuple(replace(image, data=b"") for image in ask.images),
                media=tuple(replace(one, data=b"") for one in ask.media),
                layout="".join(
                    "t" if isinstance(p, str) else "i" if isinstance(p, SentImage) else "m"
                    for p in ask.parts
                ),
                ids=tuple(query.id for query in queries),
                labels=labels,
                key=key,
                attempt=attempt,
                batch=batch,
                status=status,
                fault=fault,
                spoiled=dict(spoiled),
                count=reply.count if reply is not None else None,
                task=ask.assignment.task if ask.assignment is not None else None,
            )
        )

    def _problem(self, wire: Wire, problem: Problem) -> Response:
        self.stats.statuses[problem.status] += 1
        headers: dict[str, str] = {}
        if problem.retry_after is not None:
            # whole seconds, as vendors write it; below one second exactly, to keep tests short
            wait = problem.retry_after
            headers["retry-after"] = str(math.ceil(wait)) if wait >= 1 else f"{wait:.3f}"
            if wire.vendor == "openai":
                headers["retry-after-ms"] = str(math.ceil(1000 * wait))
        number = self.stats.n_requests
        headers["x-request-id"] = f"req_{number:08d}"
        headers.update(self._quota_headers(wire.vendor))
        return JSONResponse(wire.problem(problem), problem.status, headers)

    def _quota_headers(self, vendor: Vendor) -> dict[str, str]:
        """Limits and what is left of them, as OpenAI and Anthropic report them."""
        headers: dict[str, str] = {}
        if vendor not in ("openai", "anthropic"):
            return headers
        prefix = "x-ratelimit-" if vendor == "openai" else "anthropic-ratelimit-"
        for name, limit, used in (
            ("requests", self.quota.rpm, self._meter.n_requests),
            ("tokens", self.quota.tpm, self._meter.n_tokens),
        ):
            if limit is not None:
                for kind, value in (("limit", limit), ("remaining", max(0, limit - used))):
                    words = f"{kind}-{name}" if vendor == "openai" else f"{name}-{kind}"
                    headers[prefix + words] = str(value)
        return headers

    async def _sleep(self, seconds: float) -> None:
        """Wait, but not longer than the server lives."""
        try:
            await asyncio.wait_for(self.stopping.wait(), seconds)
        except TimeoutError:
            return

    async def _hang(self, request: Request) -> None:
        """Leave the connection open until the client or the server goes away."""
        stopping = asyncio.create_task(self.stopping.wait())
        gone = asyncio.create_task(_until_gone(request))
        try:
            await asyncio.wait({stopping, gone}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (stopping, gone):
                task.cancel()


async def json_object(request: Request) -> dict[str, Any]:
    """Read a body that must be a JSON object, else `BadRequestError`."""
    try:
        body = json.loads(await request.body())
    except ValueError as error:
        raise BadRequestError(f"The body is not valid JSON: {error}") from None
    if not isinstance(body, dict):
        raise BadRequestError("The body must be a JSON object.")
    return body


def read_ask(body: dict[str, Any], read: Callable[[dict[str, Any]], Ask]) -> Ask:
    """Read a request by its wire format; whatever is wrong with it is a `BadRequestError`."""
    try:
        return read(body)
    except BadImageError as error:
        raise BadRequestError(str(error)) from None
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        message = f"A field is missing or of the wrong type ({type(error).__name__}: {error})."
        raise BadRequestError(message) from None


async def _until_gone(request: Request) -> None:
    while True:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            return


def _too_many(when: str, wait: float) -> Problem:
    message = f"Rate limit reached. Please try again {when}."
    return Problem(status=429, kind="rate_limit", message=message, retry_after=wait)


def _server_trouble(draw: float) -> Problem:
    kinds: Sequence[tuple[int, Literal["server", "overloaded"], str]] = (
        (500, "server", "The server had an error while processing your request."),
        (502, "server", "Bad gateway."),
        (503, "overloaded", "The model is overloaded. Please try again later."),
    )
    status, kind, message = kinds[int(draw * len(kinds))]
    return Problem(status=status, kind=kind, message=message)
