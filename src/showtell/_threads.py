"""How many threads numerical libraries use."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["one_blas_thread"]


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
