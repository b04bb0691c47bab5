"""Keep the garbage collector from walking through the libraries while a run is under way.

Every few hundred questions it would look at all objects of the process, 200,000 of which are the
libraries that were loaded once. That takes a tenth of the processor time of a run, and everything
in flight stands still for it.
"""

from __future__ import annotations

import contextlib
import gc
import threading
from collections.abc import Iterator

__all__ = ["libraries_spared"]

_lock = threading.Lock()
_n_inside = 0


@contextlib.contextmanager
def libraries_spared() -> Iterator[None]:
    """Have the collector pass over what is there now, until the last one who asked for it is done.

    What is made meanwhile is collected as ever. Where somebody else has frozen objects, nothing is
    touched: they could not be told from ours at the end.
    """
    global _n_inside
    with _lock:
        ours = _n_inside > 0 or gc.get_freeze_count() == 0
        if ours:
            _n_inside += 1
            if _n_inside == 1:
                gc.freeze()
    try:
        yield
    finally:
        if ours:
            with _lock:
                _n_inside -= 1
                if _n_inside == 0:
                    gc.unfreeze()
