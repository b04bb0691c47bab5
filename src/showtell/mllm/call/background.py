"""An event loop in a thread of its own, so that plain code and notebooks may ask questions.

One loop serves the whole process: connections stay open from one run to the next, and it does not
matter whether the caller has a running loop.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import threading
import weakref
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeVar

T = TypeVar("T")

_THREAD = "showtell-questions"
_SECONDS_TO_CLOSE = 2.0
_SECONDS_TO_STOP = 0.3  # after Ctrl-C, before it is said what is waited for


class Closable(Protocol):
    """Anything with connections."""

    async def aclose(self) -> None:
        """Close them."""


_open: weakref.WeakSet[Closable] = weakref.WeakSet()

_lock = threading.Lock()
_loop: asyncio.AbstractEventLoop | None = None
_owner = 0
_tell: Callable[[str], object] = len  # nobody hears it, unless somebody wants to


def background_loop() -> asyncio.AbstractEventLoop:
    """Return the loop of this process; its thread ends with the process."""
    global _loop, _owner
    with _lock:
        if _loop is None or _owner != os.getpid() or _loop.is_closed():  # none survives a fork
            loop = asyncio.new_event_loop()
            thread = threading.Thread(target=loop.run_forever, name=_THREAD, daemon=True)
            thread.start()
            atexit.register(_end, loop, thread, os.getpid())
            _loop, _owner = loop, os.getpid()
        return _loop


def close_at_exit(what: Closable) -> None:
    """Have connections closed when the process ends, unless `what` is gone by then."""
    _open.add(what)


def _end(loop: asyncio.AbstractEventLoop, thread: threading.Thread, owner: int) -> None:
    """Close what is open, then the loop itself."""
    if owner != os.getpid():
        return

    async def close() -> None:
        await asyncio.gather(*(one.aclose() for one in list(_open)), return_exceptions=True)
        await asyncio.sleep(0)  # transports close in the next round

    with contextlib.suppress(Exception):
        asyncio.run_coroutine_threadsafe(close(), loop).result(_SECONDS_TO_CLOSE)
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(loop.stop)
        thread.join(_SECONDS_TO_CLOSE)
        if not thread.is_alive():
            loop.close()


def tell_of_waiting(tell: Callable[[str], object]) -> None:
    """Have it said that Ctrl-C was heard, where what was sent is waited for.

    `tell`: takes a sentence.
    """
    global _tell
    _tell = tell


def wait_for(
    work: Coroutine[Any, Any, T], *, stop: Callable[[], None] | None = None, grace: float = 10.0
) -> T:
    """Run a coroutine in the background loop and wait for it.

    `stop`: called in the loop at the first Ctrl-C: `work` should end soon by itself, with what is
    in flight finished. `grace`: seconds it may take for that. Then, or at a second Ctrl-C, it is
    cancelled. Returns what the coroutine does. Raises KeyboardInterrupt: after Ctrl-C, once the
    coroutine has ended.
    """
    loop = background_loop()
    if threading.current_thread().name == _THREAD:
        work.close()
        raise RuntimeError("A question cannot wait inside a callback of another; use `await`.")
    future = asyncio.run_coroutine_threadsafe(work, loop)
    try:
        return future.result()
    except KeyboardInterrupt:
        with contextlib.suppress(BaseException):
            if stop is not None:
                loop.call_soon_threadsafe(stop)
                with contextlib.suppress(TimeoutError):
                    future.result(_SECONDS_TO_STOP)
                if not future.done():
                    _tell(
                        f"Stopping: waiting up to {grace:g} s for what was sent, since it is paid "
                        "for. Ctrl-C again ends at once."
                    )
                    future.result(grace)
        if not future.done():
            future.cancel()
            with contextlib.suppress(BaseException):
                future.result(grace)
        raise
