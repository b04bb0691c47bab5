"""Fetch an image from the web: public addresses only, within limits of size and time.

The standard library does the work, because the rule that matters here needs the connection itself
in hand: a host name is looked up once, its addresses are checked, and the connection goes to a
checked address, while the certificate and the `Host` header keep the name. Looking up first and
leaving the connection to a client would let a second look-up answer differently. Proxies from the
environment are not used: they would do the look-up out of sight.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import http
import http.client
import io
import ipaddress
import os
import re
import socket
import ssl
import threading
import time
import urllib.parse
from dataclasses import dataclass
from typing import Any

from showtell._version import __version__
from showtell.errors import MediaError, MediaLimitError, MediaUrlError
from showtell.media.source import DEFAULT_LIMITS, Limits, media_name

_MAX_REDIRECTS = 5
_REDIRECTS = {301, 302, 303, 307, 308}
_CHUNK = 1 << 16  # bytes
_NAT64 = (ipaddress.ip_network("64:ff9b::/96"), ipaddress.ip_network("64:ff9b:1::/48"))
_SAFE = "%/:=&?~#+!$,;'@()*[]|"  # characters of a path or query that stay as they are

_Address = tuple[socket.AddressFamily, Any]


@dataclass(frozen=True, kw_only=True)
class _Target:
    """One request: where to, and what for."""

    secure: bool
    host: str
    port: int
    path: str
    authorization: str | None

    @property
    def origin(self) -> tuple[bool, str, int]:
        return self.secure, self.host, self.port


def fetch_url(url: str, *, limits: Limits = DEFAULT_LIMITS) -> bytes:
    """Fetch what an http(s) URL answers, following up to 5 redirects.

    `url`: with ``http://`` or ``https://``. A user and password in it are sent to that server only,
    and appear in no message. `limits`: `max_bytes` is counted while the answer arrives; `timeout`
    holds for everything together; `allow_private` admits addresses that are not on the public
    internet. Returns `data`: the body of the answer with status 200. Raises MediaUrlError if the
    scheme or an address is refused, the server cannot be reached or answers with an error, or the
    answer ends early; MediaLimitError if it is larger or slower than `limits` allow.
    """
    name = media_name(url)
    deadline = time.monotonic() + limits.timeout
    try:
        target = _parse(name, url)
        for _ in range(_MAX_REDIRECTS + 1):
            outcome = _get(name, target, limits, deadline)
            if isinstance(outcome, bytes):
                return outcome
            target = _redirected(name, target, outcome)
    except MediaError:
        raise
    except TimeoutError:
        raise MediaLimitError(
            name, f"it took longer than the {limits.timeout:g} seconds allowed (Limits.timeout)"
        ) from None
    except http.client.HTTPException as error:
        raise MediaUrlError(
            name, f"the server's answer is no valid HTTP ({type(error).__name__})"
        ) from None
    except (OSError, ValueError) as error:
        raise MediaUrlError(name, f"the connection failed ({_why(error)})") from None
    raise MediaUrlError(name, f"the server redirects more than {_MAX_REDIRECTS} times")


def _parse(name: str, url: str) -> _Target:
    """Take a URL apart; refuse all schemes but http and https."""
    scheme = url.partition(":")[0].lower()
    if scheme not in {"http", "https"}:
        hint = "; give the path itself" if scheme == "file" else ""
        raise MediaUrlError(name, f"only http:// and https:// can be read, not {scheme}:{hint}")
    if re.search(r"[\x00-\x1f\x7f]", url):
        raise MediaUrlError(name, "the URL holds a control character")
    try:
        parts = urllib.parse.urlsplit(url)
        port = parts.port
        host = parts.hostname or ""
        if not host.isascii():
            host = host.encode("idna").decode("ascii")
    except ValueError:
        raise MediaUrlError(name, "the URL is not well formed (host or port)") from None
    if not host or " " in host:
        raise MediaUrlError(name, "the URL has no valid host name")
    authorization = None
    if parts.username is not None:
        login = f"{parts.username}:{parts.password or ''}"
        token = base64.b64encode(urllib.parse.unquote_to_bytes(login)).decode("ascii")
        authorization = f"Basic {token}"
    path = urllib.parse.quote(parts.path or "/", safe=_SAFE)
    if parts.query:
        path += "?" + urllib.parse.quote(parts.query, safe=_SAFE)
    secure = scheme == "https"
    return _Target(
        secure=secure,
        host=host,
        port=port if port is not None else (443 if secure else 80),
        path=path,
        authorization=authorization,
    )


def _redirected(name: str, old: _Target, location: str) -> _Target:
    """Follow a redirect; a password stays with the server it was given for."""
    with contextlib.suppress(UnicodeError):  # headers arrive as if they were Latin-1
        location = location.encode("latin-1").decode("utf-8")
    host = f"[{old.host}]" if ":" in old.host else old.host
    base = f"{'https' if old.secure else 'http'}://{host}:{old.port}{old.path}"
    new = _parse(name, urllib.parse.urljoin(base, location))
    if new.authorization is None and new.origin == old.origin:
        return _Target(**{**vars(new), "authorization": old.authorization})
    return new


def _get(name: str, target: _Target, limits: Limits, deadline: float) -> bytes | str:
    """Make one request: the body of the answer, or where it redirects to."""
    with contextlib.closing(_connect(name, target, limits, deadline)) as sock:
        connection = http.client.HTTPConnection(target.host, target.port)
        connection.default_port = 443 if target.secure else 80  # left out of the Host header
        connection.sock = _TimedSocket(sock, deadline)
        headers = {
            "User-Agent": f"showtell/{__version__}",
            "Accept": "image/*,*/*;q=0.5",
            "Accept-Encoding": "identity",
            "Connection": "close",
        }
        if target.authorization:
            headers["Authorization"] = target.authorization
        connection.request("GET", target.path, headers=headers)
        with connection.getresponse() as response:
            location = response.headers.get("Location")
            if response.status in _REDIRECTS and location:
                return location
            if response.status != http.HTTPStatus.OK:
                raise MediaUrlError(name, f"the server answers {_status(response.status)}")
            packed = response.headers.get("Content-Encoding", "identity").lower()
            if packed != "identity":
                raise MediaUrlError(name, f"the server sent it compressed ({packed[:20]})")
            return _body(name, response, limits)


def _body(name: str, response: http.client.HTTPResponse, limits: Limits) -> bytes:
    """Read an answer, but never more than is allowed."""
    expected = response.length
    if expected is not None and expected > limits.max_bytes:
        raise _too_large(name, limits)
    parts = []
    received = 0
    while part := response.read(_CHUNK):
        received += len(part)
        if received > limits.max_bytes:
            raise _too_large(name, limits)
        parts.append(part)
    if expected is not None and received < expected:
        raise MediaUrlError(
            name, f"the connection ended early, after {received:,} of {expected:,} bytes"
        )
    return b"".join(parts)


def _connect(name: str, target: _Target, limits: Limits, deadline: float) -> socket.socket:
    """Connect to an address of the host that was looked up once and checked."""
    addresses = _look_up(name, target, deadline)
    if not limits.allow_private:
        public = [(family, where) for family, where in addresses if _is_public(where[0])]
        if not public:
            raise MediaUrlError(
                name,
                f"{target.host} leads to {addresses[0][1][0]}, which is not on the public "
                "internet; Limits(allow_private=True) allows that",
            )
        addresses = public
    problem: Exception | None = None
    for position, (family, where) in enumerate(addresses):
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.settimeout(_left(deadline) / (len(addresses) - position))
            sock.connect(where)
            return _secured(name, sock, target, deadline) if target.secure else sock
        except OSError as error:
            sock.close()
            problem = error
            _left(deadline)
        except BaseException:
            sock.close()
            raise
    proxies = any(os.environ.get(key) for key in ("https_proxy", "HTTPS_PROXY", "http_proxy"))
    hint = "; proxies named in the environment are not used" if proxies else ""
    raise MediaUrlError(
        name, f"cannot connect to {target.host} port {target.port} ({_why(problem)}){hint}"
    )


def _look_up(name: str, target: _Target, deadline: float) -> list[_Address]:
    """Addresses of a host; in a thread, because the system's look-up has no time limit."""
    answer: list[Any] = []

    def ask() -> None:
        try:
            answer.append(socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            answer.append(error)

    thread = threading.Thread(target=ask, daemon=True, name="showtell-look-up")
    thread.start()
    thread.join(_left(deadline))
    if not answer:
        raise TimeoutError
    if isinstance(answer[0], Exception) or not answer[0]:
        raise MediaUrlError(
            name, f"the host {target.host} was not found (is there a network, is it spelt right?)"
        )
    return [(family, where) for family, _, _, _, where in answer[0]]


def _secured(name: str, sock: socket.socket, target: _Target, deadline: float) -> socket.socket:
    """Start TLS under the name of the host, which its certificate must show."""
    sock.settimeout(_left(deadline))
    try:
        return _tls().wrap_socket(sock, server_hostname=target.host)
    except ssl.SSLCertVerificationError as error:
        raise MediaUrlError(
            name, f"the certificate of {target.host} is not valid ({error.verify_message})"
        ) from None
    except ssl.SSLError as error:
        raise MediaUrlError(
            name, f"no secure connection with {target.host} ({error.reason or 'TLS error'})"
        ) from None


@functools.cache
def _tls() -> ssl.SSLContext:
    """Check certificates against those the system trusts."""
    return ssl.create_default_context()


def _is_public(address: str) -> bool:
    """Say whether an address is one host on the public internet."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour
        if ip.teredo:
            inner = ip.teredo[1]
        if ip in _NAT64[0]:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            return _is_public(str(inner))
        if ip.is_site_local or ip in _NAT64[1]:
            return False
    return ip.is_global and not (ip.is_multicast or ip.is_reserved or ip.is_unspecified)


def _left(deadline: float) -> float:
    """Seconds until the deadline."""
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        raise TimeoutError
    return seconds


def _why(error: Exception | None) -> str:
    """Words of the operating system, without what the user typed."""
    if isinstance(error, TimeoutError):
        return "no answer"
    return getattr(error, "strerror", None) or type(error).__name__


def _status(code: int) -> str:
    with contextlib.suppress(ValueError):
        return f"{code} {http.HTTPStatus(code).phrase}"
    return str(code)


def _too_large(name: str, limits: Limits) -> MediaLimitError:
    return MediaLimitError(
        name, f"it has more than the {limits.max_bytes:,} bytes allowed (Limits.max_bytes)"
    )


class _TimedReader(io.RawIOBase):
    """Reads from a socket until a deadline, however slowly the bytes drip in."""

    def __init__(self, sock: socket.socket, deadline: float) -> None:
        self._sock, self._deadline = sock, deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._sock.settimeout(_left(self._deadline))
        return self._sock.recv_into(buffer)


class _TimedSocket:
    """As much of a socket as `http.client` uses, with one deadline for all of it."""

    def __init__(self, sock: socket.socket, deadline: float) -> None:
        self._sock, self._deadline = sock, deadline

    def sendall(self, data: Any) -> None:
        self._sock.settimeout(_left(self._deadline))
        self._sock.sendall(data)

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_TimedReader(self._sock, self._deadline))

    def close(self) -> None:
        """Leave closing to whoever opened the socket."""
