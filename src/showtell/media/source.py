"""What an image may be given as, how it is called in rows and messages, and how large it may be."""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from showtell._clean import escaped
from showtell.errors import InputError, MediaLimitError


@dataclass(frozen=True, kw_only=True)
class Crop:
    """A rectangle of an image, used as an image of its own.

    Parameters
    ----------
    image : Media
        The picture to cut from.
    box : tuple of (left, top, right, bottom)
        Pixels of the upright picture; right and bottom are exclusive.

    Examples
    --------
    >>> Crop(image="street.jpg", box=(10, 20, 110, 220))
    Crop(image='street.jpg', box=(10, 20, 110, 220))
    """

    image: Media
    box: tuple[int, int, int, int]


Media: TypeAlias = (
    str | os.PathLike[str] | os.PathLike[bytes] | bytes | Image.Image | NDArray[Any] | Crop
)
"""A path, an http(s) URL, the bytes of an image file, a PIL image, a uint8 array, or a `Crop`."""

_URL = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.-]+://|data:[\w.+/-]*[;,])")
_USERINFO = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]+://)[^/?#]*@")
_SECRET = re.compile(
    r"([?&;](?:[\w.-]*[-_.])?(?:(?:aws)?(?:api|access|auth|secret|private|subscription))?"
    r"(?:key|keyid|token|sig|signature|secret|password|passwd|pwd|auth|credentials?)=)[^&;#]+",
    re.IGNORECASE,
)
_LONGEST_NAME = 10_000  # characters; longer than any path or URL in use


def is_url(source: object) -> bool:
    """Say whether a source is text with a scheme, such as ``https://`` (a drive, ``C:``, is none).

    Parameters
    ----------
    source : object

    Returns
    -------
    is_url : bool

    Examples
    --------
    >>> is_url("https://example.org/cat.jpg"), is_url("photos/cat.jpg")
    (True, False)
    """
    return isinstance(source, str) and _URL.match(source) is not None


def media_name(source: Media) -> str:
    r"""Name an image the way rows and messages show it.

    Parameters
    ----------
    source : Media

    Returns
    -------
    name : str
        Paths and URLs as given (bytes of a name that are no UTF-8 become ``\xNN``), everything
        else in a few words. Always one line of valid Unicode without control characters. A URL
        is shown without its user and password, and with ``***`` for keys and tokens.

    Examples
    --------
    >>> media_name("photos/cat.jpg")
    'photos/cat.jpg'
    >>> media_name(np.zeros((4, 6, 3), np.uint8))
    '<array 4x6x3>'
    >>> media_name("https://me:pass@example.org/cat.jpg?size=2&api_key=s3cret")
    'https://example.org/cat.jpg?size=2&api_key=***'
    """
    if isinstance(source, Crop):
        box = source.box
        corners = ",".join(map(str, box)) if isinstance(box, tuple | list) else str(box)
        return f"{media_name(source.image)}#{corners}"
    if isinstance(source, bytes):
        return f"<{len(source)} bytes>"
    if isinstance(source, np.ndarray):
        return f"<array {'x'.join(map(str, source.shape)) or 'without axes'}>"
    if isinstance(source, Image.Image):
        filename = getattr(source, "filename", "")
        if isinstance(filename, str | bytes | os.PathLike) and filename:
            return _printable(os.fsdecode(filename))
        return f"<picture {source.width}x{source.height}>"
    if not isinstance(source, str | os.PathLike):
        return f"<{type(source).__name__}>"
    text = os.fsdecode(source)
    if is_url(source):
        if text.startswith("data:"):
            return f"{_printable(text.partition(',')[0][:80])},<{len(text)} characters>"
        text = _SECRET.sub(r"\1***", _USERINFO.sub(r"\1", text))
    return _printable(text)


def _printable(text: str) -> str:
    """Escape what would break a line, a terminal or an encoder; shorten what cannot be a name."""
    if len(text) > _LONGEST_NAME:
        text = f"{text[:100]}...<{len(text)} characters>"
    return escaped(text, one_line=True)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one image, video or document may cost before it is refused with a `MediaLimitError`.

    Parameters
    ----------
    max_bytes : int, default=100_000_000
        Bytes of the file, or of the answer to a URL (counted while it arrives).
    max_pixels : int, default=200_000_000
        Width times height, read from the header before anything is decoded. For TIFF and WebP
        Pillow's own limit, about 179 million, holds as well.
    max_seconds : float, default=7200.0
        Of a video or sound that is listened to or looked through from end to end. Single frames
        are taken out of longer ones too.
    max_pages : int, default=2000
        Pages of a document.
    timeout : float, default=30.0
        Seconds for one URL in all: name lookup, connection, redirects and transfer.
    allow_private : bool, default=False
        Whether a URL may lead to an address that is not on the public internet
        (this machine, the local network, link-local, multicast, reserved).

    Raises
    ------
    InputError
        If a limit is not a positive number.

    Examples
    --------
    >>> Limits(max_bytes=5_000_000).max_pixels
    200000000
    """

    max_bytes: int = 100_000_000
    max_pixels: int = 200_000_000
    max_seconds: float = 7200.0
    max_pages: int = 2000
    timeout: float = 30.0
    allow_private: bool = False

    def __post_init__(self) -> None:
        for name in ("max_bytes", "max_pixels", "max_seconds", "max_pages", "timeout"):
            value = getattr(self, name)
            if not isinstance(value, int | float) or not math.isfinite(value) or value <= 0:
                raise InputError(
                    f"Limits.{name} must be a positive number, got {value!r}. "
                    f"The default is {getattr(type(self), name)}."
                )


DEFAULT_LIMITS = Limits()
"""100 MB, 200 megapixels, two hours, 2,000 pages, 30 seconds, public addresses only."""


def check_pixels(name: str, size: tuple[int, int], limits: Limits) -> None:
    """Refuse pictures and frames that are too large, before they are decoded."""
    width, height = size
    if width * height > limits.max_pixels:
        raise MediaLimitError(
            name,
            f"{width} x {height} = {width * height:,} pixels are more than the "
            f"{limits.max_pixels:,} that are allowed (Limits.max_pixels)",
        )
