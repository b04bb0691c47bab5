"""Which file this is, told by its first bytes, and the reader for it.

Pillow's own `Image.open` is not used: it warns about large pictures by a setting that is global to
the process, tries readers that start other programs (EPS), and registers readers for everybody.
"""

from __future__ import annotations

import codecs
import contextlib
import importlib
import re
import threading
import warnings
from collections.abc import Iterator
from io import BytesIO
from typing import Any

from PIL import ImageFile, JpegImagePlugin

from showtell._extras import need

_READERS = {
    "PNG": ("PIL.PngImagePlugin", "PngImageFile"),
    "GIF": ("PIL.GifImagePlugin", "GifImageFile"),
    "WebP": ("PIL.WebPImagePlugin", "WebPImageFile"),
    "TIFF": ("PIL.TiffImagePlugin", "TiffImageFile"),
    "BMP": ("PIL.BmpImagePlugin", "BmpImageFile"),
    "ICO": ("PIL.IcoImagePlugin", "IcoImageFile"),
    "JPEG 2000": ("PIL.Jpeg2KImagePlugin", "Jpeg2KImageFile"),
    "AVIF": ("PIL.AvifImagePlugin", "AvifImageFile"),
    "PSD": ("PIL.PsdImagePlugin", "PsdImageFile"),
    "PNM": ("PIL.PpmImagePlugin", "PpmImageFile"),
    "QOI": ("PIL.QoiImagePlugin", "QoiImageFile"),
}
READABLE = "JPEG, PNG, GIF, WebP, TIFF, BMP, HEIC, AVIF, JPEG 2000, ICO, PSD, PPM/PGM/PBM or QOI"
"""The formats that can be read, as a phrase for messages."""

_SIGNATURES = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
    (b"BM", "BMP"),
    (b"\0\0\1\0", "ICO"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
    (b"8BPS", "PSD"),
    (b"qoif", "QOI"),
)
_PNM = re.compile(rb"P[1-7fF]\s")
_AVIF_BRANDS = {b"avif", b"avis"}
_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1", b"miaf"}

_NOT_PICTURES = (
    (b"%PDF", "a PDF document; save its pages as pictures first"),
    (b"%!PS", "a PostScript (EPS) drawing; save it as PNG first"),
    (b"\xc5\xd0\xd3\xc6", "a PostScript (EPS) drawing; save it as PNG first"),
    (b"PK\x03\x04", "a ZIP archive or an office document; unpack it first"),
    (b"\x1f\x8b", "a gzip archive; unpack it first"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive; unpack it first"),
    (b"Rar!", "a RAR archive; unpack it first"),
    (b"\x1aE\xdf\xa3", "a video (Matroska or WebM); take frames from it first"),
    (b"FUJIFILMCCD-RAW", "a camera raw file; develop it to JPEG first"),
    (b"version https://git-lfs", "a Git LFS pointer; fetch the picture with: git lfs pull"),
)
_MARKUP = re.compile(rb"(?i)\s*(?:<!doctype html|<html|<head|<body)")
_SVG = re.compile(rb"(?is)\s*(?:<\?xml.{0,1000})?<svg")


def sniff(data: bytes) -> str | None:
    r"""Name the picture format that the first bytes of a file promise.

    `data`: the file, or at least its first 64 bytes. Returns `format`: for example ``"JPEG"``,
    ``"WebP"`` or ``"HEIC"``; None for what cannot be read here.

    Examples
    --------
    >>> sniff(b"GIF89a"), sniff(b"hello")
    ('GIF', None)
    """
    for signature, name in _SIGNATURES:
        if data.startswith(signature):
            return name
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "WebP"
    if data[4:8] == b"ftyp":
        length = min(int.from_bytes(data[:4], "big"), 256)
        brands = {data[8:12], *(data[i : i + 4] for i in range(16, length, 4))}
        if brands & _AVIF_BRANDS:
            return "AVIF"
        if brands & _HEIF_BRANDS:
            return "HEIC"
    if _PNM.match(data):
        return "PNM"
    return None


def what_instead(data: bytes) -> str:
    """Say in a few words what a file is that is no readable picture.

    `data`: the file, or its beginning. Returns `words`: continues a sentence that begins with "it
    is".

    Examples
    --------
    >>> what_instead(b"<!DOCTYPE html><title>404</title>")
    'a web page (HTML), not a picture'
    """
    head = data[:2048]
    for signature, words in _NOT_PICTURES:
        if head.startswith(signature):
            return words
    if data[4:8] == b"ftyp":
        if data[8:12] == b"crx ":
            return "a camera raw file; develop it to JPEG first"
        return "a video or sound file (MP4 or MOV); take frames from it first"
    if head.startswith(b"RIFF"):
        return "a video or sound file (AVI or WAV), not a picture"
    if _MARKUP.match(head):
        return "a web page (HTML), not a picture"
    if _SVG.match(head):
        return "an SVG drawing; save it as PNG first"
    if not head.strip(b"\0"):
        return "filled with zeros, so its content was lost"
    if not re.search(rb"[\x00-\x08\x0e-\x1f\x7f]", head):
        with contextlib.suppress(UnicodeDecodeError):
            codecs.getincrementaldecoder("utf-8")().decode(head)  # may end within a character
            return "text, not a picture"
    return f"not a picture that can be read here ({READABLE})"


def webp_size(data: bytes) -> tuple[int, int] | None:
    """Width and height from a WebP header; the decoder takes memory as soon as it is made."""
    kind, body = data[12:16], data[20:30]
    if len(body) < 10:
        return None
    if kind == b"VP8X":
        return int.from_bytes(body[4:7], "little") + 1, int.from_bytes(body[7:10], "little") + 1
    if kind == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 ":
        return (
            int.from_bytes(body[6:8], "little") & 0x3FFF,
            int.from_bytes(body[8:10], "little") & 0x3FFF,
        )
    return None


class _Jpeg(JpegImagePlugin.JpegImageFile):
    """Without the search for a resolution in EXIF, which costs time and stumbles over damage."""

    def _read_dpi_from_exif(self) -> None:
        """Leave the resolution unknown."""


def open_picture(data: bytes, kind: str) -> ImageFile.ImageFile:
    """Read the header of a file of a known format; decoding comes with ``load``.

    `data`: the whole file; `kind`: what `sniff` returned. Raises MissingExtraError for HEIC without
    the package that reads it; Exception: whatever a reader raises on damaged files.
    """
    if kind == "JPEG":
        return _Jpeg(BytesIO(data))
    if kind == "HEIC":
        reader: Any = need("pillow_heif", extra="heif", what="Reading HEIC").HeifImageFile
    else:
        module, name = _READERS[kind]
        reader = getattr(importlib.import_module(module), name)
    picture: ImageFile.ImageFile = reader(BytesIO(data))
    return picture


_QUIET: Any = ("ignore", None, Warning, re.compile(r"(?:PIL|pillow_heif)\."), 0)
_quiet_lock = threading.Lock()
_quiet_lists: list[Any] = []
_quiet_users = 0


@contextlib.contextmanager
def quiet_pillow() -> Iterator[None]:
    """Keep Pillow's remarks on odd files out of the user's terminal, in any number of threads.

    `warnings.catch_warnings` saves and restores the whole list of filters, which goes wrong when
    threads overlap. Here one entry is put in by the first thread and taken out by the last.
    """
    global _quiet_users
    with _quiet_lock:
        _quiet_users += 1
        filters: Any = warnings.filters
        if _QUIET not in filters:
            filters.insert(0, _QUIET)
            _quiet_lists.append(filters)
    try:
        yield
    finally:
        with _quiet_lock:
            _quiet_users -= 1
            if not _quiet_users:
                for filters in (*_quiet_lists, warnings.filters):
                    while _QUIET in filters:
                        filters.remove(_QUIET)
                _quiet_lists.clear()
