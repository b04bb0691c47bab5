"""Where a model is: the same name at another address, or with other weights, is another model."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import httpx2

__all__ = ["TRY_HEADER", "endpoint_of", "is_try_server", "ollama_digest"]

TRY_HEADER = "X-Showtell-Try-Server"
"""In every answer of ``showtell try-server``: what it says is made up."""

_HOMES = {
    "openai": "https://api.openai.com/v1",
    "google": "https://generativelanguage.googleapis.com",
    "anthropic": "https://api.anthropic.com",
}
_PORTS = {"http": 80, "https": 443}
_SECONDS = 5.0  # to ask a server of one's own who it is


def endpoint_of(base_url: str | None, home: str | None) -> str:
    """Name an address so that equal ones have equal names; "" for the provider's own.

    Parameters
    ----------
    base_url : str or None
        None for the provider's own.
    home : str or None
        The provider's own address, or the name of a vendor; None where there is none.

    Returns
    -------
    endpoint : str
        Without name, password and query, of which a hash tells one from another.

    Examples
    --------
    >>> endpoint_of("HTTP://LocalHost:80/v1/", None)
    'http://localhost/v1'
    >>> endpoint_of("https://api.openai.com/v1/", "openai")
    ''
    """
    if base_url is None:
        return ""
    found = _normalised(base_url)
    own = None if home is None else _normalised(_HOMES.get(home, home))
    return "" if found == own else found


def _normalised(url: str) -> str:
    parsed = httpx2.URL(url)
    port = parsed.port
    place = f"{parsed.scheme}://{parsed.raw_host.decode('ascii').lower()}"
    if port is not None and port != _PORTS.get(parsed.scheme):
        place += f":{port}"
    secret = parsed.userinfo + b"?" + parsed.query
    mark = "" if secret == b"?" else f"*{hashlib.blake2b(secret, digest_size=6).hexdigest()}"
    return place + parsed.path.rstrip("/") + mark


async def ollama_digest(client: httpx2.AsyncClient, base_url: str, model: str) -> str:
    """Ask an Ollama server for the digest of a model's weights and template; "" if it is silent."""
    found = await _get(client, base_url, "api/tags")
    models = found.get("models") if isinstance(found, Mapping) else None
    names = {model, f"{model}:latest"}
    for entry in models if isinstance(models, list) else ():
        if isinstance(entry, Mapping) and entry.get("name") in names:
            return str(entry.get("digest") or "")[:64]
    return ""


async def is_try_server(client: httpx2.AsyncClient, base_url: str) -> bool | None:
    """Whether a ``showtell try-server`` is at an address; None where nobody is."""
    try:
        response = await client.get(_root(base_url).join("/_showtell/stats"), timeout=_SECONDS)
    except httpx2.ConnectError:
        return None
    except (httpx2.HTTPError, OSError, ValueError):
        return False
    return TRY_HEADER in response.headers


async def _get(client: httpx2.AsyncClient, base_url: str, path: str) -> Any:
    try:
        response = await client.get(_root(base_url).join(path), timeout=_SECONDS)
        return response.json() if response.status_code == 200 else None
    except (httpx2.HTTPError, OSError, ValueError, RecursionError):
        return None


def _root(base_url: str) -> httpx2.URL:
    """Address of a server without its ``/v1``."""
    return httpx2.URL(base_url.rstrip("/").removesuffix("/v1") + "/")
