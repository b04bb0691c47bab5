"""Text that others wrote, made fit to be shown and kept: no secrets, no control characters."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

__all__ = ["escaped", "shown_url"]

# Control characters but tab and line ends, the marks that turn the direction of text around or
# isolate it, line separators, and halves of characters, which no encoder takes.
_STEERING = "\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff"
_STEERS = re.compile(f"[{_STEERING}]|\r(?!\n)")
_STEERS_OR_BREAKS = re.compile(f"[{_STEERING}\t\n\r]")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:/{0,2}")


def escaped(text: str, *, one_line: bool = False) -> str:
    r"""Show control characters and overrides of the direction of text as escapes.

    Parameters
    ----------
    text : str
    one_line : bool, default=False
        Escape tabs and line ends too.

    Examples
    --------
    >>> escaped("a\x1b[2Jcat\u202e\n")
    'a\\x1b[2Jcat\\u202e\n'
    >>> escaped("a\tcat\n", one_line=True)
    'a\\tcat\\n'
    """
    if text.isascii() and text.isprintable():
        return text
    return (_STEERS_OR_BREAKS if one_line else _STEERS).sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    if 0xDC80 <= code <= 0xDCFF:  # a byte of a file name that is no UTF-8
        code -= 0xDC00
    named = {9: "\\t", 10: "\\n", 13: "\\r"}.get(code)
    return named or (f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}")


def shown_url(url: str) -> str:
    """Show where a server is: without user, password and query, also where it is no URL.

    Examples
    --------
    >>> shown_url("https://me:pass@example.org:8000/v1?key=s3cret")
    'https://example.org:8000/v1'
    >>> shown_url("me:pass@example.org"), shown_url("ftp://me:a/b@example.org/v1")
    ('***@example.org', 'ftp://***@example.org/v1')
    """
    scheme = _SCHEME.match(url)
    begin = scheme[0] if scheme is not None and scheme[0].endswith("/") else ""
    rest = re.split(r"[?#]", url[len(begin) :], maxsplit=1)[0]
    try:
        parts = urlsplit(url)
        sound = bool(begin and parts.hostname) and "@" not in parts.path + parts.query
        _ = parts.port
    except ValueError:
        sound = False
    if "@" in url:
        rest = (url[len(begin) :] if not sound else rest).rpartition("@")[2]
        rest = re.split(r"[?#]", rest, maxsplit=1)[0]
        begin += "" if sound else "***@"
    return escaped(begin + rest, one_line=True)
