"""Requests to be asked: pulled from an iterable as they are needed, and those added later."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

from showtell.mllm.base import Request

_PULL_FOR = 0.02  # seconds to gather requests before the first of them is sent
_PULL_AT_ONCE = 8
_PULL_BELOW = 4  # requests that are ready, so that no slot waits while more are made


class Source:
    """Gives requests out one by one, with their numbers; generators are pulled in a thread."""

    def __init__(self, requests: Iterable[Request] | AsyncIterable[Request]) -> None:
        self.failure: BaseException | None = None
        self._async: AsyncIterator[Request] | None = None
        self._iterator: Iterator[Request] = iter(())
        self._thread: ThreadPoolExecutor | None = None
        if isinstance(requests, AsyncIterable):
            self._async = aiter(requests)
        else:
            self._iterator = iter(requests)
            if not isinstance(requests, list | tuple):
                self._thread = ThreadPoolExecutor(1, thread_name_prefix="showtell-requests")
        self._ready: deque[tuple[int, Request]] = deque()
        self._n_pulled = 0
        self._n_open = 0  # taken and not done: each may still add some
        self._ended = self._stopped = False
        self._pulling: asyncio.Task[None] | None = None
        self._waiting: list[asyncio.Future[None]] = []

    async def next(self) -> tuple[int, Request] | None:
        """Take a request, or None when there is none and will be none."""
        enough = 1 if self._thread is None else _PULL_BELOW
        while not self._stopped:
            if not self._ended and self._pulling is None and len(self._ready) < enough:
                self._pulling = asyncio.ensure_future(self._pull())
            if self._ready:
                self._n_open += 1
                return self._ready.popleft()
            if self._ended and not self._n_open:
                break
            changed = asyncio.get_running_loop().create_future()
            self._waiting.append(changed)
            await changed
        self._wake()
        return None

    def add(self, requests: Iterable[Request]) -> None:
        """Ask these before any other."""
        self._ready.extendleft((-1, request) for request in reversed(list(requests)))
        self._wake()

    def done(self) -> None:
        """Say that a request that was taken has ended."""
        self._n_open -= 1
        if not self._n_open:
            self._wake()

    def stop(self) -> None:
        """Give no more requests."""
        self._stopped = True
        self._wake()

    def close(self) -> None:
        """End the thread and the generator, which may have files open."""
        self._stopped = True
        if self._pulling is not None:
            self._pulling.cancel()
        finish = getattr(self._iterator, "close", None)
        if self._thread is not None:
            if finish is not None:
                self._thread.submit(finish)
            self._thread.shutdown(wait=False)

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            if not one.done():
                one.set_result(None)

    async def _pull(self) -> None:
        requests: list[Request] = []
        try:
            if self._async is not None:
                requests = [await anext(self._async)]
            elif self._thread is None:
                requests = self._take()
            else:
                loop = asyncio.get_running_loop()
                requests = await loop.run_in_executor(self._thread, self._take)
            self._ended = not requests
        except StopAsyncIteration:
            self._ended = True
        except Exception as error:  # noqa: BLE001 - raised by the client, after the others ended
            self.failure = error
            self._ended = self._stopped = True
        for request in requests:
            self._ready.append((self._n_pulled, request))
            self._n_pulled += 1
        self._pulling = None
        self._wake()

    def _take(self) -> list[Request]:
        """Pull a few; none if there are no more. Slow ones are handed on one by one."""
        requests: list[Request] = []
        until = time.perf_counter() + _PULL_FOR
        for request in self._iterator:
            requests.append(request)
            if len(requests) >= _PULL_AT_ONCE or time.perf_counter() > until:
                break
        return requests
