"""Whether a server answers at all: who finds out, and when it is enough.

A request that fails is tried again by itself. Where nobody is answered, that would be hundreds of
tries of a server that is not there, and every one of them may be billed. So failures of all
requests are counted together until one is answered:

- After the first connection that is refused, or after `SUSPECT` failed tries in a row, only one
  request is tried at a time; the others wait for what becomes of it.
- The run ends when a request was given up and there was no connection at all, or when
  `give_up_after` different requests failed in a row and one of them was given up.
"""

from __future__ import annotations

import asyncio
from collections import deque

from showtell.errors import MLLMError, MLLMUnreachableError, ServerDownError

SUSPECT = 8
"""Failed tries in a row, after which one request at a time is tried."""


class Outage:
    """Counts failures until something is answered.

    Parameters
    ----------
    give_up_after : int or None
        Different requests failed in a row, without an answer between them, that end the run; None
        for never.
    """

    def __init__(self, give_up_after: int | None) -> None:
        self.give_up_after = give_up_after
        self.n_answers = 0
        """Answers of any kind, so that a request can see whether others fare better."""
        self._n_in_row = 0
        self._failed: set[str] = set()  # keys of requests that failed since the last answer
        self._is_down = False
        self._prober: str | None = None
        self._ended: ServerDownError | None = None
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def turn(self, key: str) -> None:
        """Wait until a request may be tried.

        Raises ServerDownError if the run has ended meanwhile.
        """
        while self._is_down and self._prober != key:
            if self._prober is None:
                self._prober = key
                return
            waiting = asyncio.get_running_loop().create_future()
            self._waiting.append(waiting)
            try:
                await waiting
            finally:
                if waiting in self._waiting:
                    self._waiting.remove(waiting)
        if self._ended is not None:
            raise self._ended

    def lets_pass(self, key: str) -> bool:
        """Whether a request that had its turn may still be tried."""
        return self._ended is None and (not self._is_down or self._prober == key)

    def answered(self) -> None:
        """Note that the server said something, be it that it will not take a request."""
        self.n_answers += 1
        self._n_in_row = 0
        self._failed.clear()
        if self._is_down and self._ended is None:
            self._is_down, self._prober = False, None
            self._wake_all()

    def failed(self, key: str, error: MLLMError) -> None:
        """Note a failed try."""
        self._n_in_row += 1
        self._failed.add(key)
        is_down = isinstance(error, MLLMUnreachableError) or self._n_in_row >= SUSPECT
        if is_down and not self._is_down:
            self._is_down, self._prober = True, key

    def gave_up(self, error: MLLMError, n_tries: int) -> ServerDownError | None:
        """Say whether the run ends, now that a request is not tried any more after `n_tries`."""
        if self._ended is None and self.give_up_after is not None:
            n = len(self._failed)
            if isinstance(error, MLLMUnreachableError) and self._n_in_row >= n_tries:
                self._ended = ServerDownError(f"{error} Nothing was sent after that.")
            elif n >= self.give_up_after:
                self._ended = ServerDownError(
                    f"The last {self._n_in_row} tries of {n} requests failed, and nothing was "
                    f"answered between them. The last one: {error}"
                )
            if self._ended is not None:
                self._is_down = False
                self._wake_all()
        return self._ended

    def leave(self, key: str) -> None:
        """Let another request be tried, now that this one is done with."""
        if self._prober == key:
            self._prober = None
            self._wake_all()

    def _wake_all(self) -> None:
        while self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.done():
                waiting.set_result(None)
