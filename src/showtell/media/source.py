"""What an image may be given as, and how it is called in rows and messages."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["Crop", "Media", "media_name"]


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


def media_name(source: Media) -> str:
    r"""Name an image the way rows and messages show it.

    Parameters
    ----------
    source : Media

    Returns
    -------
    name : str
        Paths and URLs as given (bytes of a name that are no UTF-8 become ``\xNN``), everything
        else in a few words. Always one line of valid Unicode.

    Examples
    --------
    >>> media_name("photos/cat.jpg")
    'photos/cat.jpg'
    >>> media_name(np.zeros((4, 6, 3), np.uint8))
    '<array 4x6x3>'
    """
    if isinstance(source, Crop):
        return f"{media_name(source.image)}#{','.join(map(str, source.box))}"
    if isinstance(source, bytes):
        return f"<{len(source)} bytes>"
    if isinstance(source, np.ndarray):
        return f"<array {'x'.join(map(str, source.shape))}>"
    if isinstance(source, Image.Image):
        filename = getattr(source, "filename", "")
        return os.fsdecode(filename) if filename else f"<picture {source.width}x{source.height}>"
    if not isinstance(source, str | os.PathLike):
        return f"<{type(source).__name__}>"
    text = os.fsdecode(source)
    text = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return text.replace("\n", "\\n").replace("\r", "\\r")
