"""How fast to ask: requests and tokens per minute, requests at once, and when to try again."""

from __future__ import annotations

import asyncio
import math
import random
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from showtell.errors import InputError

Clock: TypeAlias = Callable[[], float]
"""Seconds that never go back, such as `time.monotonic`."""
_LEAST_WAIT = 0.05  # seconds
_LONGEST_PAUSE = 60.0  # seconds for which all others are held back, whatever a provider says

Sleep: TypeAlias = Callable[[float], Awaitable[None]]
"""Waits for seconds, such as `asyncio.sleep`."""


def backoff(
    attempt: int,
    *,
    retry_after: float | None = None,
    grows: bool = True,
    base: float = 0.5,
    most: float = 30.0,
    draw: Callable[[], float] = random.random,
) -> float:
    """Say how long to wait before trying again.

    Twice as long after every try, times a random factor from 0.5 to 1, so that requests that
    failed together do not come back together. Never shorter than the provider asked for, and
    then longer by up to a quarter.

    `attempt`: tries so far, from 1. `retry_after`: seconds the provider asked for; what is no
    number above 0 counts as nothing. `grows`: False: no longer than the provider asked for, if it
    did. It is to be believed as long as it lets others pass; one that says "at once" and never does
    would be asked for ever. `base` and `most`: seconds before the second try, and at most. `draw`:
    gives numbers from 0 to 1.

    Examples
    --------
    >>> [backoff(n, draw=lambda: 1.0) for n in (1, 2, 3, 9)]
    [0.5, 1.0, 2.0, 30.0]
    >>> backoff(1, retry_after=20, draw=lambda: 0.0)
    20.0
    """
    own = float(min(most, base * 2.0 ** min(attempt - 1, 30)) * (0.5 + 0.5 * draw()))
    if not is_wait(retry_after):
        return own
    assert retry_after is not None
    wait = retry_after + draw() * min(retry_after / 4, 1.0)
    return max(wait, own) if grows else max(wait, _LEAST_WAIT)


def is_wait(seconds: float | None) -> bool:
    """Whether what a provider asks for is a time to wait: a number above 0, and not for ever."""
    return seconds is not None and 0 < seconds < math.inf


class RateLimiter:
    """Keeps to a number of requests and tokens per minute, evenly spread.

    Two token buckets. Each holds what one second allows and fills a little slower than the limit,
    so that no window of a minute, wherever it begins, sees more than the limit. Requests are let
    through in the order they come.

    Parameters
    ----------
    rpm : float, optional
        Requests per minute; None for no limit.
    tpm : float, optional
        Tokens per minute, input and output.
    window : float, default=60
        Seconds; the minute.
    clock : callable, default=time.monotonic
    sleep : callable, default=asyncio.sleep

    Raises
    ------
    InputError
        If a limit is not above 0.

    Examples
    --------
    >>> limiter = RateLimiter(rpm=60, clock=lambda: 0.0)
    >>> limiter.delay(), round(limiter.delay(), 3)
    (0.0, 1.017)
    """

    def __init__(
        self,
        *,
        rpm: float | None = None,
        tpm: float | None = None,
        window: float = 60.0,
        clock: Clock = time.monotonic,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        for name, value in (("rpm", rpm), ("tpm", tpm)):
            if value is not None and not value > 0:
                raise InputError(f"`{name}` must be above 0, or None for no limit, got {value!r}.")
        self.rpm, self.tpm, self.window = rpm, tpm, window
        self._clock, self._sleep = clock, sleep
        self._lock = threading.Lock()
        now = clock()
        self._requests = None if rpm is None else _Bucket(rpm, window, now)
        self._tokens = None if tpm is None else _Bucket(tpm, window, now)

    def delay(self, n_tokens: int = 0) -> float:
        """Take a place in the queue.

        Parameters
        ----------
        n_tokens : int, default=0
            Tokens the request will take, by estimate.

        Returns
        -------
        seconds : float
            How long to wait before sending it.
        """
        with self._lock:
            now = self._clock()
            waits = [
                bucket.take(amount, now)
                for bucket, amount in ((self._requests, 1.0), (self._tokens, float(n_tokens)))
                if bucket is not None
            ]
        return max(waits, default=0.0)

    async def acquire(self, n_tokens: int = 0) -> None:
        """Wait until a request may be sent.

        Parameters
        ----------
        n_tokens : int, default=0
            Tokens it will take, by estimate.
        """
        seconds = self.delay(n_tokens)
        if seconds <= 0:
            return
        try:
            await self._sleep(seconds)
        except BaseException:
            self.give_back(n_tokens)
            raise

    def correct(self, n_estimated: int, n_tokens: int) -> None:
        """Replace the estimate of a request by the tokens it took."""
        if self._tokens is not None and n_estimated != n_tokens:
            with self._lock:
                self._tokens.level += n_estimated - n_tokens

    def give_back(self, n_tokens: int = 0) -> None:
        """Undo `delay` for a request that was not sent."""
        with self._lock:
            if self._requests is not None:
                self._requests.level += 1
            if self._tokens is not None:
                self._tokens.level += n_tokens


class _Bucket:
    """What may be used at once; below 0 are places already given in the queue."""

    def __init__(self, limit: float, window: float, now: float) -> None:
        self.most = max(min(1.0, limit), limit / window)
        # A window sees at most what the bucket held and what flowed in meanwhile.
        self.rate = max(limit - self.most, limit * 0.5) / window
        self.level = self.most
        self.filled = now

    def take(self, amount: float, now: float) -> float:
        self.level = min(self.most, self.level + (now - self.filled) * self.rate)
        self.filled = now
        # More than the bucket can ever hold goes once the bucket is full.
        short = min(amount, self.most) - self.level
        self.level -= amount
        return max(0.0, short / self.rate)


class AdaptiveConcurrency:
    """How many requests may be in flight: starts low, grows, shrinks when told to slow down.

    Until the first "too many requests", every answer makes room for `growth` more, so the number
    multiplies with each round; and while requests wait for room, it doubles every `pace` seconds,
    since a refusal comes at once and an answer may take long. At a "too many requests" it shrinks
    to 0.7 of what was in flight, once for all that were sent before, and from then on grows by
    about one per round. While a provider asks to wait, nothing is sent.

    Parameters
    ----------
    start : int, default=16
    most : int, default=64
        Never more than this.
    growth : float, default=2
        Room that one answer makes at first.
    pace : float, default=0.05
        Seconds without a refusal after which there is twice the room, at first.
    cooldown : float, default=5
        Seconds after shrinking in which it does not grow.
    clock : callable, default=time.monotonic
    sleep : callable, default=asyncio.sleep

    Raises
    ------
    InputError
        If `most` is below 1.

    References
    ----------
    Chiu and Jain (1989), Analysis of the increase and decrease algorithms for congestion
    avoidance in computer networks: additive increase and multiplicative decrease is fair and
    settles near the limit.

    Examples
    --------
    >>> control = AdaptiveConcurrency(start=4, most=64)
    >>> control.succeeded()
    >>> control.limit
    6
    """

    def __init__(
        self,
        *,
        start: int = 16,
        most: int = 64,
        growth: float = 2.0,
        pace: float = 0.05,
        cooldown: float = 5.0,
        clock: Clock = time.monotonic,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        if most < 1 or start < 1:
            raise InputError(f"Requests in flight must be at least 1, got {start=} and {most=}.")
        self.most = most
        self.growth, self.pace, self.cooldown = growth, pace, cooldown
        self.in_flight = 0
        self.peak = 0
        """Most that were ever in flight."""
        self.n_shrunk = 0
        """How often it shrank."""
        self._limit = float(min(start, most))
        self._slow_start = True
        self._shrunk_at = -math.inf
        self._pause_until = -math.inf
        self._clock, self._sleep = clock, sleep
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._doubles_in: asyncio.AbstractEventLoop | None = None

    @property
    def limit(self) -> int:
        """Requests that may be in flight now."""
        return max(1, min(self.most, int(self._limit)))

    async def acquire(self) -> float:
        """Wait for a free slot, and for the end of a pause.

        Returns
        -------
        sent_at : float
            Time of the clock; give it to `limited`, should the request be turned away.
        """
        while True:
            pause = self._pause_until - self._clock()
            if pause > 1e-6:
                await self._sleep(pause)
                continue
            if self.in_flight < self.limit:
                self.in_flight += 1
                self.peak = max(self.peak, self.in_flight)
                return self._clock()
            loop = asyncio.get_running_loop()
            waiting = loop.create_future()
            self._waiting.append(waiting)
            self._double_later(loop)
            try:
                await waiting
            except BaseException:
                if waiting.done() and not waiting.cancelled():
                    self._wake()  # the slot goes to the next one
                elif waiting in self._waiting:
                    self._waiting.remove(waiting)
                raise

    def release(self) -> None:
        """Free a slot."""
        self.in_flight -= 1
        self._wake()

    def succeeded(self) -> None:
        """Note an answer: there may be room for more."""
        if self._slow_start:
            self._limit += self.growth
        elif self._clock() - self._shrunk_at >= self.cooldown:
            self._limit += 1 / self._limit
        if self._limit >= self.most:
            self._limit = float(self.most)
        self._wake()

    def limited(self, sent_at: float, retry_after: float | None = None) -> None:
        """Note that a request was turned away for being one too many.

        Parameters
        ----------
        sent_at : float
            From `acquire`.
        retry_after : float, optional
            Seconds the provider asks to wait.
        """
        now = self._clock()
        self._slow_start = False
        if sent_at > self._shrunk_at:  # it was sent after the last time: that was not enough
            self._limit = max(1.0, 0.7 * min(self._limit, max(self.in_flight, 1)))
            self._shrunk_at = now
            self.n_shrunk += 1
        if retry_after is not None and is_wait(retry_after):
            pause = min(max(retry_after, _LEAST_WAIT), _LONGEST_PAUSE)
            self._pause_until = max(self._pause_until, now + pause)

    def _double_later(self, loop: asyncio.AbstractEventLoop) -> None:
        """Look again soon whether there is reason to hold back those that wait."""
        if self._doubles_in is not loop and self._slow_start and self._limit < self.most:
            self._doubles_in = loop
            loop.call_later(self.pace, self._double, loop)

    def _double(self, loop: asyncio.AbstractEventLoop) -> None:
        self._doubles_in = None
        if self._slow_start and self._waiting:
            self._limit = min(2 * self._limit, float(self.most))
            self._wake()
            self._double_later(loop)

    def _wake(self) -> None:
        room = self.limit - self.in_flight
        while room > 0 and self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.done():
                waiting.set_result(None)
                room -= 1
