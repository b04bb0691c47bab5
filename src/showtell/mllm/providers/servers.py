"""Questions to a server about itself: which weights it has, and whether it makes things up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx2

from showtell.mllm.endpoints import TRY_HEADER

_SECONDS = 5.0


async def ollama_digest(client: httpx2.AsyncClient, base_url: str, model: str) -> str:
    """Ask an Ollama server for the digest of a model's weights and template.

    `model`: as it is asked; without a tag it is the latest. Returns `digest`: "" if the server does
    not tell.
    """
    listed = await _json_of(client, base_url, "api/tags")
    models = listed.get("models") if isinstance(listed, Mapping) else None
    for entry in models if isinstance(models, list) else ():
        if isinstance(entry, Mapping) and entry.get("name") in (model, f"{model}:latest"):
            return str(entry.get("digest") or "")[:64]
    return ""


async def is_try_server(client: httpx2.AsyncClient, base_url: str) -> bool | None:
    """Say whether ``showtell try-server`` is at an address; None where nobody is."""
    try:
        response = await client.get(_root(base_url).join("/_showtell/stats"), timeout=_SECONDS)
    except httpx2.ConnectError:
        return None
    except (httpx2.HTTPError, OSError, ValueError):
        return False
    return TRY_HEADER in response.headers


async def _json_of(client: httpx2.AsyncClient, base_url: str, path: str) -> Any:
    try:
        response = await client.get(_root(base_url).join(path), timeout=_SECONDS)
        return response.json() if response.status_code == 200 else None
    except (httpx2.HTTPError, OSError, ValueError, RecursionError):
        return None


def _root(base_url: str) -> httpx2.URL:
    """Address of a server without its ``/v1``."""
    return httpx2.URL(base_url.rstrip("/").removesuffix("/v1") + "/")
