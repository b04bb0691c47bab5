"""Connections in several small pools.

A pool looks at each of its connections whenever a request begins or ends, so one with a hundred
connections costs more processor time per request than the request's own headers and body.
"""

from __future__ import annotations

import urllib.request

import httpx2

__all__ = ["make_client"]

_PER_POOL = 8  # requests at once before the next pool is used
_CONNECT_SECONDS = 10.0
_READ_SECONDS = 600.0  # requests bring shorter limits of their own
_KEEP_OPEN = 30.0  # seconds for which an idle connection is kept


def make_client() -> httpx2.AsyncClient:
    """Make a client without a limit on connections; how many there are is the caller's business."""
    timeout = httpx2.Timeout(_READ_SECONDS, connect=_CONNECT_SECONDS)
    limits = httpx2.Limits(
        max_connections=None, max_keepalive_connections=None, keepalive_expiry=_KEEP_OPEN
    )
    if urllib.request.getproxies():  # only a client without a transport of its own obeys these
        return httpx2.AsyncClient(timeout=timeout, limits=limits)
    return httpx2.AsyncClient(timeout=timeout, transport=_Pools(limits))


class _Pools(httpx2.AsyncBaseTransport):
    """Sends a request through the first pool that has few others under way."""

    def __init__(self, limits: httpx2.Limits) -> None:
        self._limits = limits
        self._ssl = httpx2.create_ssl_context()
        self._pools: list[httpx2.AsyncHTTPTransport] = []
        self._busy: list[int] = []

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        place = self._place()
        self._busy[place] += 1
        try:
            return await self._pools[place].handle_async_request(request)
        finally:
            self._busy[place] -= 1

    async def aclose(self) -> None:
        for pool in self._pools:
            await pool.aclose()

    def _place(self) -> int:
        for place, busy in enumerate(self._busy):
            if busy < _PER_POOL:
                return place
        self._pools.append(httpx2.AsyncHTTPTransport(verify=self._ssl, limits=self._limits))
        self._busy.append(0)
        return len(self._pools) - 1
