"""Text that others wrote, made fit to be shown and kept: no secrets, no control characters.

Two things are taken care of. Keys and passwords that this process uses are known here
(`keep_secret`) and go nowhere. Control characters, which steer terminals, and characters that turn
text around or that nobody sees, are shown as escapes.
"""

from __future__ import annotations

import json
import re
from functools import cache
from typing import Any
from urllib.parse import quote, unquote, urlsplit

# Control characters but tab and line ends, the marks that turn the direction of text around or
# isolate it, line separators, halves of characters, which no encoder takes, and letters that nobody
# sees (interlinear marks, tags).
_STEERING = (
    "\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u180e\u2028\u2029\u202a-\u202e\u2060-\u206f"
    "\ud800-\udfff\ufff9-\ufffb\U000e0000-\U000e007f"
)
# What joins, parts or orders letters has its work in scripts other than Latin, and in emoji;
# anywhere else it only makes two names look alike.
_OTHER_SCRIPTS = (
    "\u0300-\u061b\u061d-\u180d\u180f-\u1fff\u2600-\u27bf\u2b00-\ud7ff\uf900-\ufe0f"
    "\U0001f000-\U000323af"
)
_UNSEEN = f"(?<![{_OTHER_SCRIPTS}])[\xad\u061c\u200b-\u200f\ufeff]"
_STEERS = re.compile(f"[{_STEERING}]|{_UNSEEN}|\r(?!\n)")
_STEERS_OR_BREAKS = re.compile(f"[{_STEERING}\t\n\r]|{_UNSEEN}")
# One set of characters, which is found several times as quickly as one of several patterns.
_MAY_STEER = re.compile(f"[{_STEERING}\\r\\xad\\u061c\\u200b-\\u200f\\ufeff]")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:/{0,2}")
_USERINFO = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://)[^\s/?#\"'<>]*@")
_KEY_LIKE = re.compile(
    r"\b(?:(?:sk|pk|rk|gsk|xai)-[-_A-Za-z0-9*]{16,}"
    r"|(?:sk|pk|rk|gsk|xai|key|ant)[-_](?=[A-Za-z*_-]*[0-9*])[-_A-Za-z0-9*]{16,}"
    r"|AIza[-_A-Za-z0-9*]{16,}|hf_[A-Za-z0-9]{16,}|gh[pousr]_[A-Za-z0-9]{16,}|AKIA[A-Z0-9]{12,})"
    r"|(?<=Bearer )[-._~+/=A-Za-z0-9]{8,}"
)
_ESCAPED_LETTER = re.compile(r"\\u00([2-7][0-9a-fA-F])")
_SHORTEST = 8  # characters of a secret that is looked for in everything
_SHORTEST_MIXED = 5  # of one with letters and digits, which is no word

_secrets: set[str] = set()


def keep_secret(value: str | None) -> None:
    """Learn a key or a password that is in use, so that it is shown and written nowhere.

    A short word (``ollama``, which servers of one's own take for a key) is no secret: it would be
    taken out of every text.
    """
    if not value or value in _secrets:
        return
    mixed = re.search(r"[^\W\d_]", value) and re.search(r"\d", value)
    if len(value) >= (_SHORTEST_MIXED if mixed else _SHORTEST):
        _secrets.update({value, quote(value, safe=""), json.dumps(value)[1:-1]})
        _pattern.cache_clear()


def keep_secrets_of(url: str | None) -> None:
    """Learn what in a URL is between its scheme and host, and the values of its query."""
    if not url:
        return
    rest = url.partition("://")[2] or url
    if "@" in rest:
        for piece in rest.rpartition("@")[0].split(":", 1):
            keep_secret(piece)
            keep_secret(unquote(piece))
    for pair in url.partition("?")[2].split("&"):
        keep_secret(pair.partition("=")[2])


@cache
def _pattern() -> re.Pattern[str] | None:
    """Find any secret, the longest first."""
    longest_first = sorted(_secrets, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first))) if longest_first else None


def without_secrets(text: str) -> str:
    """Take out the keys and passwords that are in use, and what a URL says of a user.

    Examples
    --------
    >>> without_secrets("no answer from https://me:pass@example.org/v1")
    'no answer from https://***@example.org/v1'
    """
    pattern = _pattern()
    if pattern is not None:
        text = pattern.sub("***", text)
    if "://" in text and "@" in text:
        text = _USERINFO.sub(r"\1***@", text)
    return text


def said_by_others(text: str) -> str:
    r"""Take secrets out of what a server or a model wrote, also what merely looks like a key.

    Examples
    --------
    >>> said_by_others("Incorrect API key provided: sk-proj-a1b2c3d4e5f6g7h8i9.")
    'Incorrect API key provided: ***.'
    """
    pattern = _pattern()
    if pattern is not None and "\\u00" in text:
        plain = _ESCAPED_LETTER.sub(_unescaped, text)
        if pattern.search(plain):
            text = plain
    return _KEY_LIKE.sub("***", without_secrets(text))


def looks_secret(text: str) -> bool:
    """Whether a text holds what looks like a key, or a user's part of a URL.

    Examples
    --------
    >>> looks_secret("openai:sk-proj-a1b2c3d4e5f6g7h8i9"), looks_secret("openai:gpt-4.1-mini")
    (True, False)
    """
    return bool(_KEY_LIKE.search(text) or _USERINFO.search(text))


def _unescaped(match: re.Match[str]) -> str:
    letter = chr(int(match[1], 16))
    return letter if letter.isalnum() or letter in "-_." else match[0]


def cleaned(text: str, *, one_line: bool = False) -> str:
    """Make text fit for a cell or a message: without secrets, with control characters escaped."""
    return escaped(without_secrets(text), one_line=one_line)


def json_text(value: Any, *, shown: bool = False, **options: Any) -> str:
    r"""Write JSON in which control characters stand as escapes; reading gives them back.

    Parameters
    ----------
    value : JSON values
    shown : bool, default=False
        For what a person is shown as it was read: the escapes are part of the text then.
    **options
        Of `json.dumps`.

    Examples
    --------
    >>> print(json_text("caf\u00e9\x7f\u202e"), json_text("\x1b\u202e", shown=True))
    "café\u007f\u202e" "\\x1b\\u202e"
    """
    return escaped_json(json.dumps(value, ensure_ascii=False, **options), shown=shown)


def escaped_json(text: str, *, shown: bool = False) -> str:
    """Do with JSON that is written already what `json_text` does."""
    if shown:
        text = _JSON_CONTROL.sub(r"\1\\\\x\2", text)
    return _STEERS.sub(_doubly if shown else _for_json, text) if _MAY_STEER.search(text) else text


# \u001b as `json` writes it, not a backslash with "u001b" behind it; no tab, no line end.
_JSON_CONTROL = re.compile(r"(?<!\\)((?:\\\\)*)\\u00(0[0-8bcef]|1[0-9a-f])")


def _for_json(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code < 0x10000:
        return f"\\u{code:04x}"
    code -= 0x10000
    return f"\\u{0xD800 + (code >> 10):04x}\\u{0xDC00 + (code & 0x3FF):04x}"


def _doubly(match: re.Match[str]) -> str:
    return _escape(match).replace("\\", "\\\\")


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
    if one_line:
        return _STEERS_OR_BREAKS.sub(_escape, text)
    return _STEERS.sub(_escape, text) if _MAY_STEER.search(text) else text


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    if 0xDC80 <= code <= 0xDCFF:  # a byte of a file name that is no UTF-8
        code -= 0xDC00
    named = {9: "\\t", 10: "\\n", 13: "\\r"}.get(code)
    if named is None and code > 0xFFFF:
        return f"\\U{code:08x}"
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
