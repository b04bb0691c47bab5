"""Make an image fit to be sent: upright, without metadata, no larger than it need be.

A JPEG, PNG or WebP that is upright, within the limits and free of metadata goes out byte for byte.
If metadata is all that is wrong, it is cut out of the file and the pixels stay as they were
compressed. Everything else is decoded, turned, scaled down and compressed anew.
"""

from __future__ import annotations

import hashlib
import io
import math
import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

from PIL import Image

from showtell.errors import InputError, MediaFormatError, MediaLimitError
from showtell.media import DEFAULT_LIMITS, Limits, RawMedia
from showtell.mllm.base import ImagePart
from showtell.mllm.capabilities import Capabilities

Format: TypeAlias = Literal["image/jpeg", "image/png", "image/webp"]

_QUALITY = 90  # of JPEG; below the sight of any model, at a third of the bytes of 98
_LOWER_QUALITIES = (80, 70, 60)
_SMALLEST_SIDE = 32  # pixels; no limit of a provider is so tight that more shrinking makes sense
_ORIENTATION = 0x0112
_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")


def prepare_image(
    raw: RawMedia,
    *,
    max_side: int | None = None,
    capabilities: Capabilities | None = None,
    n_images: int = 1,
    background: tuple[int, int, int] = (255, 255, 255),
    limits: Limits = DEFAULT_LIMITS,
) -> ImagePart:
    """Make an image fit to be sent.

    Parameters
    ----------
    raw : RawMedia
        From `showtell.media.read_media`.
    max_side : int, optional
        Pixels of the longer side; larger images are scaled down to it. By default the side above
        which the provider itself scales down (`Capabilities.useful_side`), or none.
    capabilities : Capabilities, optional
        Formats and limits of the model; none by default.
    n_images : int, default=1
        How many images the request will hold, where that decides how large each may be.
    background : tuple of (red, green, blue), default=(255, 255, 255)
        What shows through transparent parts when an image is compressed anew.
    limits : Limits, default=DEFAULT_LIMITS
        What may be decoded.

    Returns
    -------
    part : ImagePart
        With size and digest of what will be sent. No EXIF, GPS, XMP, comments, thumbnails or
        anything after the end of the image are left in it; a colour profile is kept where the
        file is kept.

    Raises
    ------
    MediaError
        If the image cannot be decoded, or not be brought below the provider's limits.
    InputError
        If `max_side` is below 1.

    Examples
    --------
    >>> import numpy as np
    >>> from showtell.media import read_media
    >>> part = prepare_image(read_media(np.zeros((600, 800), np.uint8)), max_side=400)
    >>> part.media_type, part.width, part.height
    ('image/jpeg', 400, 300)
    """
    if max_side is not None and max_side < 1:
        raise InputError(f"`max_side` must be at least 1 pixel or None, got {max_side}.")
    known = capabilities or _NO_LIMITS
    sides = [max_side or known.useful_side, known.side_limit(n_images)]
    side = min((s for s in sides if s is not None), default=None)
    kept = None if raw.boxes else _keep(raw, known, side)
    if kept is not None:
        return kept
    # A JPEG may be shrunk while it is decoded, to no less than 1.5 times what is sent.
    draft = None if side is None else math.ceil(0.75 * side)
    picture = raw.decode(min_side=draft, background=background, limits=limits)
    picture = _fit(picture, side, known.max_pixels)
    return _compress(raw.name, picture, known)


_NO_LIMITS = Capabilities(formats=("image/jpeg", "image/png", "image/webp"))


def _keep(raw: RawMedia, known: Capabilities, side: int | None) -> ImagePart | None:
    """Take the file itself, less its metadata, if nothing else needs to change."""
    if not isinstance(raw.content, bytes):
        return None
    try:
        clean = _strip(raw.content)
    except (ValueError, IndexError, struct.error):
        return None  # not of these formats, or damaged: decoding will tell
    if clean is None or clean.media_type not in known.formats:
        return None
    too_large = (
        (side is not None and max(clean.width, clean.height) > side)
        or (known.max_pixels is not None and clean.width * clean.height > known.max_pixels)
        or (known.max_image_bytes is not None and len(clean.data) > known.max_image_bytes)
    )
    if too_large:
        return None
    digest = raw.digest if clean.data is raw.content else None  # of bytes it is the same hash
    return _part(clean.data, clean.media_type, clean.width, clean.height, digest)


def _part(
    data: bytes, media_type: str, width: int, height: int, digest: str | None = None
) -> ImagePart:
    if digest is None:
        digest = hashlib.blake2b(data, digest_size=16, usedforsecurity=False).hexdigest()
    return ImagePart(data=data, media_type=media_type, digest=digest, width=width, height=height)


def _fit(picture: Image.Image, side: int | None, max_pixels: int | None) -> Image.Image:
    """Scale down, with at least 1 pixel left in each direction."""
    width, height = picture.size
    scale = 1.0 if side is None else min(1.0, side / max(width, height))
    if max_pixels is not None:
        scale = min(scale, (max_pixels / (width * height)) ** 0.5)
    if scale == 1.0:
        return picture
    # Rounding must not bring a side above the limit; floor it after a hair's breadth.
    size = max(1, int(width * scale + 1e-6)), max(1, int(height * scale + 1e-6))
    return picture.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)


def _compress(name: str, picture: Image.Image, known: Capabilities) -> ImagePart:
    """JPEG at a high quality; lower, then smaller, while it has too many bytes."""
    if "image/jpeg" not in known.formats:
        raise MediaFormatError(name, f"the model takes {', '.join(known.formats)} only, not JPEG")
    most = known.max_image_bytes
    data = _jpeg(picture, _QUALITY)
    for quality in _LOWER_QUALITIES:
        if most is None or len(data) <= most:
            break
        data = _jpeg(picture, quality)
    while most is not None and len(data) > most:
        smaller = _fit(picture, int(max(picture.size) * 0.8), None)
        if max(smaller.size) < _SMALLEST_SIDE:
            raise MediaLimitError(name, f"it cannot be brought below the model's {most:,} bytes")
        picture, data = smaller, _jpeg(smaller, _LOWER_QUALITIES[0])
    return _part(data, "image/jpeg", *picture.size)


def _jpeg(picture: Image.Image, quality: int) -> bytes:
    buffer = io.BytesIO()
    clean = picture.copy() if picture.info else picture
    clean.info = {}  # Pillow would write comments and profiles it finds there
    clean.save(buffer, "JPEG", quality=quality, subsampling="4:2:0")
    return buffer.getvalue()


@dataclass(frozen=True, kw_only=True)
class _Clean:
    """A file without metadata, and the size it states."""

    data: bytes
    media_type: Format
    width: int
    height: int


def _strip(data: bytes) -> _Clean | None:
    """Cut metadata out of a file; None if it must be decoded instead."""
    if data[:3] == b"\xff\xd8\xff":
        return _strip_jpeg(data)
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return _strip_png(data)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _strip_webp(data)
    return None


def _strip_jpeg(data: bytes) -> _Clean | None:
    """Keep JFIF, Adobe and ICC segments and all that decoding needs, until the end marker."""
    kept = [(0, 2)]  # from and to
    position, size = 2, None
    while True:
        if data[position] != 0xFF:
            raise ValueError("no marker where one must be")
        while data[position + 1] == 0xFF:  # fill bytes
            position += 1
        marker = data[position + 1]
        if marker == 0xD9:
            break
        if marker == 0x01 or 0xD0 <= marker <= 0xD7:
            position += 2
            continue
        length = struct.unpack_from(">H", data, position + 2)[0]
        after = position + 2 + length
        if length < 2 or after > len(data):
            raise ValueError("cut short")
        body = data[position + 4 : after]
        if marker == 0xE1 and body[:6] == b"Exif\0\0" and not _is_upright(body[6:]):
            return None
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width, n_channels = struct.unpack_from(">HHB", body, 1)
            if n_channels not in (1, 3):
                return None  # CMYK: not every provider reads it
            size = (width, height)
        if _keep_segment(marker, body):
            kept.append((position, after))
        position = after
        if marker == 0xDA:
            position = _end_of_scan(data, position)
            kept.append((after, position))
    if size is None or 0 in size:
        raise ValueError("no frame")
    kept.append((position, position + 2))
    if sum(end - start for start, end in kept) < len(data):  # else a copy would be the same
        data = b"".join(data[start:end] for start, end in kept)
    return _Clean(data=data, media_type="image/jpeg", width=size[0], height=size[1])


def _keep_segment(marker: int, body: bytes) -> bool:
    """Whether a segment decides how the pixels look."""
    if marker == 0xE0:
        # JFIF may carry a thumbnail, which would show what was later cut away.
        return body[:5] == b"JFIF\0" and len(body) == 14
    if marker == 0xE2:
        return body[:12] == b"ICC_PROFILE\0"
    if marker == 0xEE:
        return body[:5] == b"Adobe"
    return not (0xE0 <= marker <= 0xEF or marker == 0xFE)


def _end_of_scan(data: bytes, position: int) -> int:
    """Find the next marker that is neither an escaped byte nor a restart."""
    found = _MARKER.search(data, position)
    if found is None:
        raise ValueError("cut short")
    return found.end() - 2


def _is_upright(tiff: bytes) -> bool:
    """Whether an EXIF block leaves the picture as it is stored."""
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None:
        return True
    try:
        (start,) = struct.unpack_from(order + "I", tiff, 4)
        (n_entries,) = struct.unpack_from(order + "H", tiff, start)
        for i in range(n_entries):
            entry = start + 2 + 12 * i
            tag, kind = struct.unpack_from(order + "HH", tiff, entry)
            if tag == _ORIENTATION:
                (value,) = struct.unpack_from(order + ("I" if kind == 4 else "H"), tiff, entry + 8)
                return value in (0, 1)
    except struct.error:
        return False  # readers differ on damaged blocks: let the decoder decide
    return True


_PNG_CHUNKS = frozenset(
    (b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"gAMA", b"cHRM", b"sRGB", b"iCCP", b"sBIT")
)


def _strip_png(data: bytes) -> _Clean | None:
    kept = [data[:8]]
    position, size = 8, None
    while True:
        length, kind = struct.unpack_from(">I4s", data, position)
        chunk = data[position : position + 12 + length]
        if len(chunk) != 12 + length or zlib.crc32(chunk[4:-4]) != int.from_bytes(chunk[-4:]):
            raise ValueError("damaged chunk")
        if kind == b"acTL":
            return None  # animated: the first frame is decoded and sent
        if kind == b"eXIf" and not _is_upright(chunk[8:-4]):
            return None
        if kind == b"IHDR":
            size = struct.unpack_from(">II", chunk, 8)
        if kind in _PNG_CHUNKS:
            kept.append(chunk)
        position += 12 + length
        if kind == b"IEND":
            break
    if size is None or 0 in size:
        raise ValueError("no header")
    clean = b"".join(kept)
    return _Clean(
        data=data if len(clean) == len(data) else clean,
        media_type="image/png",
        width=size[0],
        height=size[1],
    )


def _webp_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    end = 8 + struct.unpack_from("<I", data, 4)[0]
    if end > len(data):
        raise ValueError("cut short")
    position = 12
    while position < end:
        kind, length = struct.unpack_from("<4sI", data, position)
        body = data[position + 8 : position + 8 + length]
        if len(body) != length:
            raise ValueError("cut short")
        yield kind, body
        position += 8 + length + length % 2


def _strip_webp(data: bytes) -> _Clean | None:
    kept: list[tuple[bytes, bytes]] = []
    size = None
    for kind, body in _webp_chunks(data):
        if kind in (b"ANIM", b"ANMF"):
            return None
        if kind == b"EXIF":
            if not _is_upright(body.removeprefix(b"Exif\0\0")):
                return None
            continue
        if kind == b"VP8X":
            size = (
                1 + int.from_bytes(body[4:7], "little"),
                1 + int.from_bytes(body[7:10], "little"),
            )
            body = bytes([body[0] & ~0x0C]) + body[1:]  # no EXIF, no XMP follows any more
        elif kind == b"VP8 ":
            if body[3:6] != b"\x9d\x01\x2a":
                raise ValueError("no key frame")
            width, height = struct.unpack_from("<HH", body, 6)
            size = size or (width & 0x3FFF, height & 0x3FFF)
        elif kind == b"VP8L":
            bits = int.from_bytes(body[1:5], "little")
            size = size or ((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
        elif kind not in (b"ICCP", b"ALPH"):
            continue
        kept.append((kind, body))
    if size is None or 0 in size:
        raise ValueError("no picture")
    chunks = b"".join(
        kind + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2) for kind, body in kept
    )
    clean = b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WEBP" + chunks
    return _Clean(
        data=data if clean == data else clean,
        media_type="image/webp",
        width=size[0],
        height=size[1],
    )
