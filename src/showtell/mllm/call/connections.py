"""Connections in several small pools.

A pool looks at each of its connections whenever a request begins or ends, so one with a hundred
connections costs more processor time per request than the request's own headers and body.
"""

from __future__ import annotations

import functools
import os
import ssl
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx2

_PER_POOL = 2  # requests at once before the next pool is used
_CONNECT_SECONDS = 10.0
_READ_SECONDS = 600.0  # requests bring shorter limits of their own
_LONGEST_ANSWER = 16_000_000  # bytes; with log-probabilities of every token it may be a few
_LONGEST_FILE = 1_000_000_000  # bytes, of the results of a batch job
_MOST_PACKED = 50  # times that what is packed may be shorter
_KEEP_OPEN = 30.0  # seconds for which an idle connection is kept


def make_client(
    look_at: Callable[[httpx2.Response], Awaitable[None]] | None = None,
) -> httpx2.AsyncClient:
    """Make a client without a limit on connections; how many there are is the caller's business.

    `look_at`: called with every answer as soon as its headers are there.
    """
    hooks: dict[str, list[Any]] = {"response": [_bound]}
    if look_at is not None:
        hooks["response"].append(look_at)
    timeout = httpx2.Timeout(_READ_SECONDS, connect=_CONNECT_SECONDS)
    limits = httpx2.Limits(
        max_connections=None, max_keepalive_connections=None, keepalive_expiry=_KEEP_OPEN
    )
    if urllib.request.getproxies():  # only a client without a transport of its own obeys these
        return httpx2.AsyncClient(timeout=timeout, limits=limits, event_hooks=hooks)
    return httpx2.AsyncClient(timeout=timeout, transport=_Pools(limits), event_hooks=hooks)


async def _bound(response: httpx2.Response) -> None:
    """End an answer that is longer than any can be, before it fills the memory."""
    most = _LONGEST_ANSWER if response.request.method == "POST" else _LONGEST_FILE
    if response.headers.get("content-encoding", "identity") != "identity":
        most //= _MOST_PACKED  # what it unpacks to is held too
    stream = response.stream
    if isinstance(stream, httpx2.AsyncByteStream):
        response.stream = _Bounded(stream, most)


class _Bounded(httpx2.AsyncByteStream):
    """A body that ends with an error where it is longer than it may be."""

    def __init__(self, stream: httpx2.AsyncByteStream, most: int) -> None:
        self._stream, self._most = stream, most

    async def __aiter__(self) -> AsyncIterator[bytes]:
        left = self._most
        async for chunk in self._stream:
            left -= len(chunk)
            if left < 0:
                raise httpx2.ReadError(f"The answer is longer than {self._most:,} bytes.")
            yield chunk

    async def aclose(self) -> None:
        await self._stream.aclose()


class _Pools(httpx2.AsyncBaseTransport):
    """Sends a request through the first pool that has few others under way."""

    def __init__(self, limits: httpx2.Limits) -> None:
        self._limits = limits
        self._pools: dict[bool, list[_Pool]] = {False: [], True: []}  # by whether encrypted

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        pool = self._free_pool(request.url.scheme == "https")
        pool.busy += 1
        try:
            return await pool.transport.handle_async_request(request)
        finally:
            pool.busy -= 1

    async def aclose(self) -> None:
        for pools in self._pools.values():
            for pool in pools:
                await pool.transport.aclose()

    def _free_pool(self, encrypted: bool) -> _Pool:
        pools = self._pools[encrypted]
        for pool in pools:
            if pool.busy < _PER_POOL:
                return pool
        pools.append(_Pool(_trust(encrypted), self._limits))
        return pools[-1]


class _Pool:
    """A few connections, and how many of them are in use."""

    __slots__ = ("busy", "transport")

    def __init__(self, trust: ssl.SSLContext, limits: httpx2.Limits) -> None:
        self.transport = httpx2.AsyncHTTPTransport(verify=trust, limits=limits)
        self.busy = 0


def _trust(encrypted: bool) -> ssl.SSLContext:
    """Give the certificates to check servers by; those who are not asked for theirs need none."""
    if not encrypted:
        return _nobody()
    return _known_authorities(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))


@functools.cache
def _nobody() -> ssl.SSLContext:
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


@functools.lru_cache(maxsize=4)
def _known_authorities(file: str | None, folder: str | None) -> ssl.SSLContext:  # noqa: ARG001
    """Read the authorities once per process: it takes 25 ms and 3 MB; httpx2 heeds both."""
    return httpx2.create_ssl_context()
