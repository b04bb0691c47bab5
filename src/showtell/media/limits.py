"""How large an image may be and how long a URL may take."""

from __future__ import annotations

import math
from dataclasses import dataclass

from showtell.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one image may cost before it is refused with a `MediaLimitError`.

    Parameters
    ----------
    max_bytes : int, default=100_000_000
        Bytes of the file, or of the answer to a URL (counted while it arrives).
    max_pixels : int, default=200_000_000
        Width times height, read from the header before anything is decoded. For TIFF and WebP
        Pillow's own limit, about 179 million, holds as well.
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
    timeout: float = 30.0
    allow_private: bool = False

    def __post_init__(self) -> None:
        for name in ("max_bytes", "max_pixels", "timeout"):
            value = getattr(self, name)
            if not isinstance(value, int | float) or not math.isfinite(value) or value <= 0:
                raise InputError(
                    f"Limits.{name} must be a positive number, got {value!r}. "
                    f"The default is {getattr(type(self), name)}."
                )


DEFAULT_LIMITS = Limits()
"""100 MB, 200 megapixels, 30 seconds, public addresses only."""
