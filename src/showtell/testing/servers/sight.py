"""Images as they arrive: decoded, measured, embedded once per content."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import io
import threading
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from PIL import ExifTags, Image

from showtell.encoders.base import Embeddings, Encoder
from showtell.errors import InputError, MediaError
from showtell.media import Media, content_hash, read_media

__all__ = ["BadImageError", "SentImage", "SentMedia", "Sight", "decode_image", "decode_media"]

_BATCH = 32
_KEPT_HEADERS = 50_000
_TO_STANDARD = bytes.maketrans(b"-_", b"+/")


class BadImageError(Exception):
    """An image that cannot be read; the vendor's form of a bad request is the answer."""


@dataclass(frozen=True, kw_only=True)
class SentImage:
    """One image as it came over the wire."""

    digest: str
    """Hash of the bytes, as `showtell.media.content_hash` of the same file."""
    data: bytes = field(repr=False)
    """Emptied in the log of requests."""
    n_bytes: int
    media_type: str
    """As the client called it."""
    width: int
    """Stored pixels, before any orientation tag is obeyed."""
    height: int
    orientation: int
    """EXIF orientation; 1 is upright."""
    has_exif: bool
    has_gps: bool
    detail: str = "auto"
    """OpenAI's and Google's resolution setting, in lower case."""

    @property
    def upright(self) -> bool:
        """Whether the stored pixels are the right way up."""
        return self.orientation == 1


@dataclass(frozen=True)
class _Header:
    width: int
    height: int
    orientation: int
    has_exif: bool
    has_gps: bool


@dataclass(frozen=True, kw_only=True)
class SentMedia:
    """Sound, a video or a document as it came over the wire."""

    digest: str
    data: bytes = field(repr=False)
    """Emptied in the log of requests."""
    n_bytes: int
    media_type: str
    """As the client called it."""
    rate: float = 1.0
    """Frames per second of a video that are to be looked at."""

    @property
    def kind(self) -> str:
        """Audio, video or application."""
        return self.media_type.partition("/")[0]


def decode_media(text: str | bytes, media_type: str, *, rate: float = 1.0) -> SentMedia:
    """Turn base64, ordinary or URL-safe, into sound, a video or a document.

    Raises
    ------
    BadImageError
        If the text is no base64, or nothing is in it.
    """
    data = _decode_base64(text)
    if not data:
        raise BadImageError("The file is empty.")
    digest = hashlib.blake2b(data, digest_size=16, usedforsecurity=False).hexdigest()
    return SentMedia(digest=digest, data=data, n_bytes=len(data), media_type=media_type, rate=rate)


def _decode_base64(text: str | bytes) -> bytes:
    raw = text.encode("ascii", "replace") if isinstance(text, str) else text
    if b"-" in raw or b"_" in raw:
        raw = raw.translate(_TO_STANDARD)
    try:
        return base64.b64decode(raw + b"=" * (-len(raw) % 4), validate=True)
    except binascii.Error as error:
        raise BadImageError(f"The image is not valid base64: {error}.") from None


def decode_image(
    text: str | bytes, media_type: str, headers: dict[str, _Header], *, detail: str = "auto"
) -> SentImage:
    """Turn base64, ordinary or URL-safe, into an image; `headers` keeps measures by digest."""
    data = _decode_base64(text)
    digest = hashlib.blake2b(data, digest_size=16, usedforsecurity=False).hexdigest()
    header = headers.get(digest)
    if header is None:
        if len(headers) >= _KEPT_HEADERS:
            headers.clear()
        header = headers[digest] = _read_header(data)
    return SentImage(
        digest=digest,
        data=data,
        n_bytes=len(data),
        media_type=media_type,
        width=header.width,
        height=header.height,
        orientation=header.orientation,
        has_exif=header.has_exif,
        has_gps=header.has_gps,
        detail=detail,
    )


class Sight:
    """Embeds images and texts with one encoder, each content once; a name is loaded when needed."""

    def __init__(self, encoder: Encoder | str) -> None:
        self._given = encoder
        self._encoder: Encoder | None = None
        self._lock = threading.Lock()
        self._rows: dict[str, Embeddings | MediaError] = {}
        self._texts: dict[str, Embeddings] = {}
        self._wanted: dict[str, bytes] = {}
        self._waiting: dict[str, asyncio.Future[None]] = {}
        self._worker: asyncio.Task[None] | None = None
        self.headers: dict[str, _Header] = {}
        self.n_encoded = 0
        """Distinct images embedded so far."""

    @property
    def encoder(self) -> Encoder:
        """The encoder, loaded if need be."""
        with self._lock:
            if self._encoder is None:
                if isinstance(self._given, str):
                    from showtell.encoders import load_encoder

                    self._encoder = load_encoder(self._given)
                else:
                    self._encoder = self._given
            return self._encoder

    def warm(self, images: Sequence[Media]) -> None:
        """Embed images, as they will be sent byte for byte, ahead of time."""
        wanted: dict[str, bytes] = {}
        for image in images:
            content = read_media(image).content
            if isinstance(content, bytes):
                wanted[content_hash(image)] = content
        fresh = [digest for digest in wanted if digest not in self._rows]
        for start in range(0, len(fresh), _BATCH):
            batch = fresh[start : start + _BATCH]
            self._embed({digest: wanted[digest] for digest in batch})

    async def look(self, images: Sequence[SentImage]) -> Embeddings:
        """Embed images, shape (n_images, n_dims); `BadImageError` if one cannot be decoded."""
        missing = {image.digest: image.data for image in images if image.digest not in self._rows}
        if missing:
            loop = asyncio.get_running_loop()
            for digest, data in missing.items():
                if digest not in self._waiting:
                    self._waiting[digest] = loop.create_future()
                    self._wanted[digest] = data
            if self._worker is None or self._worker.done():
                self._worker = asyncio.create_task(self._work())
            await asyncio.gather(*(self._waiting[d] for d in missing if d in self._waiting))
        rows = []
        for image in images:
            row = self._rows[image.digest]
            if isinstance(row, MediaError):
                raise BadImageError(f"The image cannot be decoded: {row.reason}.")
            rows.append(row)
        return np.stack(rows)

    async def read(self, texts: Sequence[str]) -> Embeddings:
        """Embed texts, shape (n_texts, n_dims); `InputError` if the encoder knows no words."""
        missing = list(dict.fromkeys(text for text in texts if text not in self._texts))
        if missing:
            rows = await asyncio.to_thread(self._encode_texts, missing)
            self._texts.update(zip(missing, rows, strict=True))
        return np.stack([self._texts[text] for text in texts])

    async def _work(self) -> None:
        """Embed what is wanted, in batches, off the event loop."""
        while self._wanted:
            digests = list(self._wanted)[:_BATCH]
            batch = {digest: self._wanted.pop(digest) for digest in digests}
            try:
                await asyncio.to_thread(self._embed, batch)
            except BaseException as error:  # noqa: BLE001  told to all who wait
                for digest in [*digests, *self._wanted]:
                    waiter = self._waiting.pop(digest, None)
                    if waiter is not None and not waiter.done():
                        waiter.set_exception(RuntimeError(str(error)))
                        waiter.exception()  # looked at, whoever still waits for it
                self._wanted.clear()
                return
            for digest in digests:
                waiter = self._waiting.pop(digest)
                if not waiter.done():
                    waiter.set_result(None)

    def _embed(self, batch: dict[str, bytes]) -> None:
        from showtell.encoders.embed import embed_images

        encoder = self.encoder
        result = embed_images(encoder, list(batch.values()), store=None)
        rows = result.rows()
        for number, digest in enumerate(batch):
            error = result.errors.get(number)
            self._rows[digest] = rows[number] if error is None else error
        self.n_encoded += len(batch)

    def _encode_texts(self, texts: list[str]) -> Embeddings:
        try:
            return self.encoder.encode_texts(texts)
        except InputError:
            raise
        except Exception as error:
            raise InputError(f"The encoder cannot read these texts: {error}") from error


def _read_header(data: bytes) -> _Header:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data)) as picture:
                exif = picture.getexif()
                width, height = picture.size
                has_exif = len(exif) > 0 or "exif" in picture.info
                orientation = int(exif.get(ExifTags.Base.Orientation, 1) or 1)
                has_gps = bool(exif.get_ifd(ExifTags.IFD.GPSInfo))
    except Exception as error:  # noqa: BLE001  whatever Pillow dislikes is no image
        raise BadImageError(f"The bytes are no image: {type(error).__name__}.") from None
    if not 1 <= orientation <= 8:
        orientation = 1
    return _Header(width, height, orientation, has_exif, has_gps)
