"""A disk that is full: files of this process may not grow beyond a size; short writes are real."""

from __future__ import annotations

import contextlib
import signal

import pytest

resource = pytest.importorskip("resource", reason="limits on files are Unix's")


@contextlib.contextmanager
def room_for(n_bytes: int):
    """Let no file grow beyond `n_bytes`: what goes over it is written in part, then refused."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
