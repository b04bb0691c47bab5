"""Where a model is: the same name at another address, or with other weights, is another model.

An endpoint is a text: "" for the provider's own address, else the address in one spelling; where a
server of one's own tells the digest of a model, ``#`` and the digest come after it.
"""

from __future__ import annotations

import hashlib
from urllib.parse import urlsplit

TRY_HEADER = "X-Showtell-Try-Server"
"""In every answer of ``showtell try-server``: what it says is made up."""


HOMES = {
    "openai": "https://api.openai.com/v1",
    "google": "https://generativelanguage.googleapis.com",
    "anthropic": "https://api.anthropic.com",
}
"""Addresses of the vendors, by wire format."""
_PORTS = {"http": 80, "https": 443}


def endpoint_of(base_url: str | None, home: str | None) -> str:
    """Name an address so that equal ones have equal names; "" for the provider's own.

    `base_url`: None for the provider's own; `home`: the provider's own address, or the name of its
    vendor; None where there is none. Returns `endpoint`: name, password and query are not in it; a
    hash tells one from another.

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
    return "" if home is not None and found == _normalised(HOMES.get(home, home)) else found


def is_same_place(endpoint: str, base_url: str | None) -> bool:
    """Whether a base URL that was written down is the address of an endpoint."""
    place = endpoint.partition("#")[0]
    return place == ("" if base_url is None else _normalised(base_url))


def _normalised(url: str) -> str:
    parts = urlsplit(url.strip())
    scheme, host = parts.scheme.lower(), (parts.hostname or "").lower()
    try:
        port = parts.port
    except ValueError:  # no number, or too large: whoever connects will say so
        return url
    place = f"{scheme}://[{host}]" if ":" in host else f"{scheme}://{host}"
    if port is not None and port != _PORTS.get(scheme):
        place += f":{port}"
    private = f"{parts.username or ''}:{parts.password or ''}?{parts.query}"
    mark = ""
    if private != ":?":
        mark = f"*{hashlib.blake2b(private.encode(), digest_size=6).hexdigest()}"
    return place + parts.path.rstrip("/") + mark
