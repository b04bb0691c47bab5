"""An event loop in a thread of its own, so that plain code and notebooks may ask questions.

One loop serves the whole process: connections stay open from one run to the next, and it does not
matter whether the caller has a running loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

__all__ = ["background_loop", "wait_for"]

T = TypeVar("T")

_lock = threading.Lock()
_loop: asyncio.AbstractEventLoop | None = None
_owner = 0


def background_loop() -> asyncio.AbstractEventLoop:
    """Return the loop of this process; its thread ends with the process."""
    global _loop, _owner
    with _lock:
        if _loop is None or _owner != os.getpid() or _loop.is_closed():  # none survives a fork
            loop = asyncio.new_event_loop()
            thread = threading.Thread(
                target=loop.run_forever, name="showtell-questions", daemon=True
            )
            thread.start()
            _loop, _owner = loop, os.getpid()
        return _loop


def wait_for(
    work: Coroutine[Any, Any, T], *, stop: Callable[[], None] | None = None, grace: float = 10.0
) -> T:
    """Run a coroutine in the background loop and wait for it.

    Parameters
    ----------
    work : coroutine
    stop : callable, optional
        Called in the loop at the first Ctrl-C: `work` should end soon by itself, with what is in
        flight finished.
    grace : float, default=10
        Seconds it may take for that. Then, or at a second Ctrl-C, it is cancelled.

    Returns
    -------
    result
        Of the coroutine.

    Raises
    ------
    KeyboardInterrupt
        After Ctrl-C, once the coroutine has ended.
    """
    loop = background_loop()
    if threading.current_thread().name == "showtell-questions":
        work.close()
        raise RuntimeError("A question cannot wait inside a callback of another; use `await`.")
    future = asyncio.run_coroutine_threadsafe(work, loop)
    try:
        return future.result()
    except KeyboardInterrupt:
        with contextlib.suppress(BaseException):
            if stop is not None:
                loop.call_soon_threadsafe(stop)
                future.result(grace)
        if not future.done():
            future.cancel()
            with contextlib.suppress(BaseException):
                future.result(grace)
        raise
