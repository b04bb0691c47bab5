"""How many threads numerical libraries use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from showtell.errors import InputError

__all__ = ["MOST_THREADS", "check_threads", "one_blas_thread"]

MOST_THREADS = max(64, 4 * (os.cpu_count() or 1))
"""More would take memory and bring nothing."""


def check_threads(threads: int | None) -> int | None:
    """Return a number of threads, or None for all cores.

    Raises
    ------
    InputError
        If it is not between 1 and `MOST_THREADS`.
    """
    if threads is not None and not 1 <= threads <= MOST_THREADS:
        raise InputError(
            f"`threads` must be between 1 and {MOST_THREADS} on this machine, or None for all "
            f"cores, got {threads}."
        )
    return threads


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Keep linear algebra to one thread inside the block.

    An optimiser such as L-BFGS calls for thousands of tiny products. Shared among threads, each of
    these costs more than it saves: fits take ten times as long where another program keeps the
    cores busy, and twice as long where none does.

    Examples
    --------
    >>> import numpy as np
    >>> from threadpoolctl import threadpool_info
    >>> with one_blas_thread():
    ...     {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}
    {1}
    """
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, user_api="blas"):
        yield
