"""Open any image upright and in RGB, and name its content by a hash."""

from __future__ import annotations

import hashlib
import operator
import os
import re
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from showtell._logs import hush
from showtell.errors import (
    InputError,
    MediaError,
    MediaFormatError,
    MediaLimitError,
    MissingExtraError,
)
from showtell.media import formats, pixels
from showtell.media.files import open_file
from showtell.media.source import (
    DEFAULT_LIMITS,
    Crop,
    Limits,
    Media,
    check_pixels,
    is_url,
    media_name,
)

hush("PIL")  # EXIF values

_ALLOWED = (
    "an image must be a path, an http(s) URL, the bytes of an image file, a PIL image, "
    "a uint8 array of shape (height, width) or (height, width, 3), or a Crop"
)
_DIGEST_BYTES = 16
_CUT_SHORT = re.compile(r"(?i)truncated|unpack|end of file|not enough image data")


@dataclass(frozen=True, kw_only=True)
class RawMedia:
    """An image that was read and hashed, but not decoded. Made by `read_media`.

    Equal digests mean equal content. Decoding may happen in any thread, and more than once; the
    file is not opened again. A picture or array is referred to, not copied: do not change it
    between reading and decoding.
    """

    name: str
    """The image as rows and messages show it (`media_name`)."""
    digest: str
    """Content hash, 32 hexadecimal digits; see `content_hash`."""
    content: bytes | Image.Image | NDArray[Any] = field(repr=False, compare=False)
    """The bytes of the file, or the picture or array as it was given."""
    boxes: tuple[tuple[int, int, int, int], ...] = field(default=(), repr=False, compare=False)
    """Rectangles to cut, one inside the other, the outermost first."""

    def decode(
        self,
        *,
        min_side: int | None = None,
        background: tuple[int, int, int] = (255, 255, 255),
        limits: Limits = DEFAULT_LIMITS,
    ) -> Image.Image:
        """Decode to an upright RGB picture, as `open_image` does.

        Parameters
        ----------
        min_side, background, limits
            As in `open_image`.

        Raises
        ------
        MediaError
            As in `open_image`.
        """
        _check_options(min_side, background)
        # A crop is given in pixels of the full picture, so that is decoded in full.
        side = None if self.boxes else min_side
        picture = _decode(self.name, self.content, side, background, limits)
        for box in self.boxes:
            picture = _cut(self.name, picture, box)
        return picture


def read_media(source: Media, *, limits: Limits = DEFAULT_LIMITS) -> RawMedia:
    """Read an image once and hash it, without decoding.

    Parameters
    ----------
    source : Media
        A path, URL, bytes, PIL image, array or `Crop`.
    limits : Limits, default=DEFAULT_LIMITS
        Bytes, and seconds for a URL.

    Returns
    -------
    raw : RawMedia
        With `name`, `digest` and `decode`.

    Raises
    ------
    MediaError
        If the file or URL cannot be read, or the source is nothing an image may be given as.

    Examples
    --------
    >>> raw = read_media(np.zeros((2, 3), np.uint8))
    >>> raw.name, raw.digest[:8], raw.decode().size
    ('<array 2x3>', '...', (3, 2))
    """
    if isinstance(source, Crop):
        name = media_name(source)
        box = _checked_box(name, source.box)
        try:
            whole = read_media(source.image, limits=limits)
        except MediaError as error:
            raise type(error)(name, error.reason) from None
        digest = _digest(f"{whole.digest} {box}".encode(), person=b"showtell crop")
        return RawMedia(name=name, digest=digest, content=whole.content, boxes=(*whole.boxes, box))
    name, content = _read(source, limits)
    if isinstance(content, bytes):
        digest = _digest(content)
    elif isinstance(content, Image.Image):
        digest = _picture_digest(name, content, limits)
    else:
        head = f"{content.shape} {content.dtype.newbyteorder('=').str[1:]} ".encode()
        native = np.ascontiguousarray(content, content.dtype.newbyteorder("="))
        digest = _digest(head, native.data if native.size else b"", person=b"showtell array")
    return RawMedia(name=name, digest=digest, content=content)


def content_hash(source: Media, *, limits: Limits = DEFAULT_LIMITS) -> str:
    """Name the content of an image by a hash.

    BLAKE2b with 16 bytes: of the bytes of the file for paths, URLs and bytes (so metadata counts,
    and ``b2sum -l 128 FILE`` prints the same); of shape, type and values for arrays; of mode,
    size, pixels, palette and orientation for PIL images; of the digest of the picture and the box
    for a `Crop`. 128 bits make an accidental collision among a thousand million images less
    likely than 1 in 10^20.

    Parameters
    ----------
    source : Media
    limits : Limits, default=DEFAULT_LIMITS

    Returns
    -------
    digest : str
        32 hexadecimal digits.

    Raises
    ------
    MediaError
        If the source cannot be read.

    Examples
    --------
    >>> content_hash(b"abc")
    'cf4ab791c62b8d2b2109c90275287816'
    """
    return read_media(source, limits=limits).digest


def open_image(
    source: Media,
    *,
    min_side: int | None = None,
    background: tuple[int, int, int] = (255, 255, 255),
    limits: Limits = DEFAULT_LIMITS,
) -> Image.Image:
    """Open an image upright and in RGB.

    The first frame of an animation, EXIF orientation applied, transparency on `background`, 16-bit
    and float values scaled to 8 bits, CMYK through its colour profile (see the rules in
    `showtell.media.pixels.to_rgb`).

    Parameters
    ----------
    source : Media
        A path, URL, bytes, PIL image, array or `Crop`. Arrays are (height, width) or
        (height, width, 1 | 3 | 4) of uint8, uint16 (scaled) or bool (black and white).
    min_side : int, optional
        Pixels. Lets a JPEG be shrunk by 2, 4 or 8 while it is decoded, as long as its shorter
        side stays at least twice this long, so that a later resize to `min_side` hardly changes.
        By default pictures keep their size.
    background : tuple of (red, green, blue), default=(255, 255, 255)
        What shows through transparent parts, 0 to 255 each.
    limits : Limits, default=DEFAULT_LIMITS
        Bytes, pixels, and seconds for a URL.

    Returns
    -------
    picture : PIL.Image.Image of mode RGB
        Without metadata, independent of the file and of what was given.

    Raises
    ------
    MediaNotFoundError
        If there is no such file.
    MediaFormatError
        If it is no image, a damaged one or a format nobody here reads.
    MediaLimitError
        If it is larger or slower than `limits` allow.
    MediaUrlError
        If a URL is refused or cannot be fetched.
    InputError
        If `min_side` or `background` is out of range.

    Examples
    --------
    >>> open_image(np.zeros((2, 3), np.uint8)).size
    (3, 2)
    """
    if isinstance(source, Crop):
        raw = read_media(source, limits=limits)
        return raw.decode(min_side=min_side, background=background, limits=limits)
    _check_options(min_side, background)
    name, content = _read(source, limits)
    return _decode(name, content, min_side, background, limits)


def load_image(
    source: Media,
    *,
    min_side: int | None = None,
    background: tuple[int, int, int] = (255, 255, 255),
    limits: Limits = DEFAULT_LIMITS,
) -> NDArray[np.uint8]:
    """Load an image as an array, upright and in RGB.

    Parameters
    ----------
    source, min_side, background, limits
        As in `open_image`.

    Returns
    -------
    image : ndarray of shape (height, width, 3), uint8
        A writable array of its own.

    Raises
    ------
    MediaError
        As in `open_image`.

    Examples
    --------
    >>> load_image(np.array([[True, False]]))
    array([[[255, 255, 255],
            [  0,   0,   0]]], dtype=uint8)
    """
    return np.array(open_image(source, min_side=min_side, background=background, limits=limits))


def dhash(image: Image.Image) -> int:
    """Hash what an image looks like, so that near duplicates get near hashes.

    The picture is made grey and resized to 9 x 8 pixels (Lanczos); row by row, each of the 8
    neighbouring pairs gives one bit, 1 where the right pixel is brighter; the first bit is the
    highest. Count the differing bits with ``(a ^ b).bit_count()``: 0 to about 6 of 64 for the same
    photo in another size or quality, about 32 for unrelated photos. Even pictures all have 0.

    Parameters
    ----------
    image : PIL.Image.Image
        Upright, of mode RGB or L.

    Returns
    -------
    bits : int
        0 to 2**64 - 1.

    References
    ----------
    N. Krawetz (2013), "Kind of Like That", hackerfactor.com: the difference hash.

    Examples
    --------
    >>> ramp = np.tile(np.arange(0, 90, 10, np.uint8), (8, 1))  # brighter to the right
    >>> dhash(open_image(ramp)) == 2**64 - 1
    True
    """
    small = image.convert("L").resize((9, 8), Image.Resampling.LANCZOS)
    grey = np.asarray(small)
    return int.from_bytes(np.packbits(grey[:, 1:] > grey[:, :-1]).tobytes(), "big")


def _digest(*parts: Any, person: bytes = b"") -> str:
    """Hash with a `person` per kind of content, so that kinds cannot collide."""
    state = hashlib.blake2b(digest_size=_DIGEST_BYTES, person=person, usedforsecurity=False)
    for part in parts:
        state.update(part)
    return state.hexdigest()


def _picture_digest(name: str, picture: Image.Image, limits: Limits) -> str:
    """Hash all of a picture that decides how it looks."""
    check_pixels(name, picture.size, limits)
    try:
        with formats.quiet_pillow():
            picture.load()
            turned = pixels.orientation(picture)
            palette = picture.getpalette(None) if picture.palette else None
            inks = picture.info.get("icc_profile") if picture.mode == "CMYK" else None
            look = (picture.mode, picture.size, turned, palette, inks)
            head = repr((*look, picture.info.get("transparency"))).encode()
            return _digest(head, picture.tobytes(), person=b"showtell picture")
    except Exception as error:
        raise _damaged(name, getattr(picture, "format", None) or "picture", error) from error


def _check_options(min_side: int | None, background: tuple[int, int, int]) -> None:
    """Refuse options that are wrong for every image, before any image is blamed."""
    if min_side is not None and (not isinstance(min_side, int | np.integer) or min_side < 1):
        raise InputError(
            f"min_side must be None or a whole number from 1 (pixels), got {min_side!r}."
        )
    try:
        good = len(background) == 3 and all(0 <= operator.index(v) <= 255 for v in background)
    except TypeError:
        good = False
    if not good:
        raise InputError(
            f"background must be three whole numbers from 0 to 255 (red, green, blue), "
            f"got {background!r}. White is (255, 255, 255)."
        )


def _read(source: Media, limits: Limits) -> tuple[str, bytes | Image.Image | NDArray[Any]]:
    """Name a source and get what must be decoded: bytes, or the picture or array itself."""
    name = media_name(source)
    if isinstance(source, Image.Image):
        return name, source
    if isinstance(source, np.ndarray):
        _check_array(name, source)
        return name, source
    if isinstance(source, bytes):
        if len(source) > limits.max_bytes:
            raise _too_many_bytes(name, len(source), limits)
        return name, source
    if is_url(source):
        from showtell.media.url import fetch_url  # loads http and ssl, which most runs never need

        assert isinstance(source, str)
        return name, fetch_url(source, limits=limits)
    if isinstance(source, str | os.PathLike):
        return name, _read_file(name, source, limits)
    raise MediaFormatError(name, f"{_ALLOWED}; this is {type(source).__name__}")


def _check_array(name: str, array: NDArray[Any]) -> None:
    """Refuse arrays whose meaning as a picture is not clear."""
    shape, dtype = array.shape, array.dtype
    good_shape = array.ndim == 2 or (array.ndim == 3 and shape[2] in (1, 3, 4))
    if not good_shape:
        hint = ""
        if array.ndim == 3 and shape[0] in (1, 3, 4):
            hint = "; channels come last here: array.transpose(1, 2, 0)"
        elif array.ndim == 4:
            hint = "; give the pictures of a batch one by one: list(array)"
        raise MediaFormatError(
            name,
            "an array must have the shape (height, width), (height, width, 1), (height, width, 3) "
            f"or (height, width, 4), not {shape}{hint}",
        )
    if dtype != np.bool_ and not (dtype.kind == "u" and dtype.itemsize <= 2):
        hint = ""
        if dtype.kind == "f":
            hint = "; for values from 0 to 1: (array * 255).round().astype('uint8')"
        raise MediaFormatError(
            name, f"an array must hold uint8, uint16 or bool values, not {dtype}{hint}"
        )
    if not array.size:
        raise MediaFormatError(name, "the array has no pixels")


def _read_file(name: str, path: str | os.PathLike[Any], limits: Limits) -> bytes:
    with open_file(name, path) as (file, size):
        if size > limits.max_bytes:
            raise _too_many_bytes(name, size, limits)
        data = file.read(size + 1)  # asking for max_bytes would reserve that much
        if len(data) > size:  # it grew, or its file system does not know sizes
            data += file.read(int(limits.max_bytes) + 1 - len(data))
    if len(data) > limits.max_bytes:
        raise _too_many_bytes(name, len(data), limits)
    return data


def _decode(
    name: str,
    content: bytes | Image.Image | NDArray[Any],
    min_side: int | None,
    background: tuple[int, int, int],
    limits: Limits,
) -> Image.Image:
    """Bytes, picture or array to an upright RGB picture of its own."""
    if isinstance(content, np.ndarray):
        check_pixels(name, (content.shape[1], content.shape[0]), limits)
        return pixels.to_rgb(pixels.array_picture(content), background)
    kind = "picture"
    try:
        with formats.quiet_pillow():
            if isinstance(content, Image.Image):
                return _convert(name, content, background, limits)
            kind = _kind(name, content)
            if kind == "WebP" and (size := formats.webp_size(content)):
                check_pixels(name, size, limits)
            with formats.open_picture(content, kind) as picture:
                if kind == "JPEG" and min_side is not None:
                    check_pixels(name, picture.size, limits)
                    picture.draft(None, (2 * min_side, 2 * min_side))
                return _convert(name, picture, background, limits, share=True)
    except MediaError:
        raise
    except MissingExtraError as error:
        raise MediaFormatError(name, str(error)) from error
    except Image.DecompressionBombError as error:
        raise MediaLimitError(name, f"the {kind} file holds too many pixels ({error})") from error
    except Exception as error:
        raise _damaged(name, kind, error) from error


def _kind(name: str, data: bytes) -> str:
    """Name the format of a file, or say what it is instead of a picture."""
    if not data:
        raise MediaFormatError(name, "the file is empty (0 bytes)")
    kind = formats.sniff(data)
    if kind is None:
        raise MediaFormatError(name, f"it is {formats.what_instead(data)}")
    return kind


def _convert(
    name: str,
    picture: Image.Image,
    background: tuple[int, int, int],
    limits: Limits,
    *,
    share: bool = False,
) -> Image.Image:
    """Load, convert and turn; the size is checked before and after, because some headers lie."""
    check_pixels(name, picture.size, limits)
    picture.load()
    check_pixels(name, picture.size, limits)
    turned = pixels.orientation(picture)
    return pixels.upright(pixels.to_rgb(picture, background, share=share), turned)


def _too_many_bytes(name: str, n_bytes: int, limits: Limits) -> MediaLimitError:
    return MediaLimitError(
        name,
        f"{n_bytes:,} bytes are more than the {limits.max_bytes:,} that are allowed "
        "(Limits.max_bytes)",
    )


def _damaged(name: str, kind: str, error: Exception) -> MediaFormatError:
    """Put whatever a reader raised into words."""
    if isinstance(error, MemoryError):
        return MediaFormatError(name, f"the {kind} file needs more memory than there is")
    detail = " ".join(str(error).split())
    noun = "picture" if kind == "picture" else f"{kind} file"
    if _CUT_SHORT.search(detail):
        return MediaFormatError(name, f"the {noun} is cut short: its end is missing")
    known = isinstance(error, OSError | SyntaxError | ValueError) and 0 < len(detail) <= 120
    return MediaFormatError(name, f"the {noun} is damaged" + (f" ({detail})" if known else ""))


def _checked_box(name: str, box: Any) -> tuple[int, int, int, int]:
    """Four whole numbers, the second pair larger."""
    try:
        left, top, right, bottom = map(operator.index, box)
    except (TypeError, ValueError):
        raise MediaFormatError(
            name, f"a box must be four whole numbers (left, top, right, bottom), not {box!r}"
        ) from None
    if not (0 <= left < right and 0 <= top < bottom):
        raise MediaFormatError(
            name,
            f"the box {(left, top, right, bottom)} is empty or starts outside the picture; "
            "it must be (left, top, right, bottom) with 0 <= left < right and 0 <= top < bottom",
        )
    return left, top, right, bottom


def _cut(name: str, picture: Image.Image, box: tuple[int, int, int, int]) -> Image.Image:
    left, top, right, bottom = box
    if right > picture.width or bottom > picture.height:
        raise MediaFormatError(
            name,
            f"the box {box} reaches outside the picture, which is {picture.width} wide and "
            f"{picture.height} high (upright)",
        )
    part = Image.new("RGB", (right - left, bottom - top))
    part.paste(picture, (-left, -top))
    return part
