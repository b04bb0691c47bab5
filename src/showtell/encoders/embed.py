"""The one path from images to embeddings: look, hash, look up, decode, encode, keep.

Reading, hashing and decoding happen in threads, a few images ahead of the encoder, so that the
network never waits for a disk and memory does not grow with the number of images.
"""

from __future__ import annotations

import hashlib
import os
import threading
import warnings
from collections import deque
from collections.abc import Hashable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from showtell._progress import Progress, no_progress
from showtell.encoders.base import Embeddings, Encoder, TakesPixels, check_encoder, checked_rows
from showtell.encoders.store import EmbeddingStore, StoreWarning, default_store
from showtell.errors import InputError, MediaError, RunError
from showtell.media import DEFAULT_LIMITS, Crop, Limits, Media, RawMedia, media_name, read_media

Store = EmbeddingStore | str | os.PathLike[str] | None
"""Where embeddings are kept: a store, its file, ``"default"`` for `default_store`, or None."""

_GROUP = 8  # images per task of a worker
_GROUP_BYTES = 32 * 2**20  # file contents a worker holds before it decodes them
_KEEP_EVERY = 256  # new embeddings per transaction
_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True)
class ImageEmbeddings:
    """Embeddings of distinct images, and which input has which.

    Attributes
    ----------
    embeddings : ndarray of shape (n_distinct, n_dims), float32
        Rows of length 1, one per distinct content that could be used.
    distinct : ndarray of shape (n_images,), int64
        Row of `embeddings` for each input; -1 for an input that could not be used.
    errors : dict of int to MediaError
        By number of the input.
    digests : list of str, length n_distinct
        Content hashes.
    n_from_store : int
        How many of the rows were not computed but found in the store.
    """

    embeddings: Embeddings
    distinct: NDArray[np.int64]
    errors: dict[int, MediaError]
    digests: list[str]
    n_from_store: int

    def __len__(self) -> int:
        return len(self.distinct)

    @property
    def ok(self) -> NDArray[np.bool_]:
        """Whether each input has an embedding, shape (n_images,)."""
        return self.distinct >= 0

    def rows(self) -> Embeddings:
        """One embedding per input, shape (n_images, n_dims); NaN where there is none.

        With very many inputs and few distinct images, work on `embeddings` and `distinct`.
        """
        rows = np.full((len(self.distinct), self.embeddings.shape[1]), np.nan, np.float32)
        rows[self.ok] = self.embeddings[self.distinct[self.ok]]
        return rows


def embed_images(
    encoder: Encoder,
    images: Sequence[Media],
    *,
    store: Store = "default",
    batch_size: int | None = None,
    n_workers: int | None = None,
    background: tuple[int, int, int] = (255, 255, 255),
    limits: Limits = DEFAULT_LIMITS,
    progress: Progress = no_progress,
) -> ImageEmbeddings:
    """Embed images: each content once, each input with exactly one outcome.

    Parameters
    ----------
    encoder : Encoder
        A `PixelEncoder` gets all of the below. Any other encoder gets batches of the images as
        they are, and nothing is kept, because what its images are is known to it alone.
    images : sequence of Media, length n_images
        Paths, URLs, bytes, pictures, arrays or crops, in any mixture.
    store : EmbeddingStore, path, "default" or None, default="default"
        Where embeddings are looked up and kept. If it fails (read-only disk, lock, damage) a
        `StoreWarning` says so once and the work goes on without it.
    batch_size : int, optional
        Images per call of the encoder; by default what the encoder asks for, 32 if it does not.
        It changes results by floating-point noise only.
    n_workers : int, optional
        Threads that read and decode; by default the encoder's ``threads``, else the CPU's cores.
    background : tuple of (red, green, blue), default=white
        Shows through where a picture is transparent.
    limits : Limits
        On bytes, pixels, time and addresses.
    progress : Progress
        Called with the number of inputs that are done.

    Returns
    -------
    result : ImageEmbeddings

    Raises
    ------
    InputError
        If `images` is a single image instead of a sequence, `store` is another kind of file, or
        `encoder` is none.
    RunError
        If the encoder answers with anything but rows that have a direction.

    Notes
    -----
    Unusable images do not raise: they are in ``result.errors``. After Ctrl-C everything that was
    computed is in the store, so the next run goes on from there.

    Examples
    --------
    >>> from showtell.testing import WordEncoder
    >>> result = embed_images(WordEncoder(["cat", "dog"]), ["a cat", "a dog", "a cat", ""])
    >>> result.distinct
    array([ 0,  1,  0, -1])
    >>> result.errors
    {3: MediaFormatError("cannot read '': an empty caption shows nothing")}
    """
    if isinstance(images, str | bytes | os.PathLike | Crop):
        raise InputError(
            f"`images` must be a sequence of images, got the single {media_name(images)!r}. "
            "Write [image]."
        )
    if batch_size is not None and batch_size < 1:
        raise InputError(f"`batch_size` must be at least 1, got {batch_size}.")
    if n_workers is not None and n_workers < 1:
        raise InputError(f"`n_workers` must be at least 1, got {n_workers}.")
    check_encoder(encoder)
    rows = _Rows(encoder.n_dims, len(images), progress)
    if isinstance(encoder, TakesPixels):
        shelf = _Shelf(encoder, store, background)
        reader = _Reader(encoder, shelf, background, limits, batch_size or encoder.batch_size)
        _run_pixels(encoder, images, rows, shelf, reader, n_workers or _n_cores(encoder))
    else:
        _run_any(encoder, images, rows, batch_size or 32)
    return rows.result()


def embed_texts(encoder: Encoder, texts: Sequence[str], *, store: Store = "default") -> Embeddings:
    """Embed texts: each distinct text once, and not at all if the store has it.

    Parameters
    ----------
    encoder : Encoder
        Its rows must not depend on which other texts are asked for.
    texts : sequence of str, length n_texts
    store : EmbeddingStore, path, "default" or None, default="default"
        As in `embed_images`. Encoders that are no `PixelEncoder` are always asked.

    Returns
    -------
    embeddings : ndarray of shape (n_texts, n_dims), float32

    Examples
    --------
    >>> from showtell.testing import WordEncoder
    >>> embed_texts(WordEncoder(["cat", "dog"]), ["a cat", "a dog", "a cat"])
    array([[1., 0., 0.],
           [0., 1., 0.],
           [1., 0., 0.]], dtype=float32)
    """
    if isinstance(texts, str):
        raise InputError(f"`texts` must be a sequence of texts, got the single {texts!r}.")
    check_encoder(encoder)
    row_of: dict[str, int] = {}
    rows = [row_of.setdefault(str(text), len(row_of)) for text in texts]
    matrix = np.empty((len(row_of), encoder.n_dims), np.float32)
    shelf = _Shelf(encoder, store if isinstance(encoder, TakesPixels) else None, None)
    key_of = {text: _text_digest(text) for text in row_of}
    known = shelf.get(list(key_of.values()))
    missing = [text for text in row_of if key_of[text] not in known]
    for text in row_of:
        if key_of[text] in known:
            matrix[row_of[text]] = known[key_of[text]]
    if missing:
        fresh = checked_rows(encoder, encoder.encode_texts(missing), len(missing), "texts")
        for text, vector in zip(missing, fresh, strict=True):
            matrix[row_of[text]] = vector
            shelf.keep(key_of[text], vector)
    shelf.flush()
    return matrix[rows] if rows else matrix


def _run_pixels(
    encoder: TakesPixels,
    images: Sequence[Media],
    rows: _Rows,
    shelf: _Shelf,
    reader: _Reader,
    n_workers: int,
) -> None:
    """Keep workers a little ahead of the encoder; take their findings in the order asked."""
    batch: list[tuple[int, NDArray[np.float32]]] = []  # rows that wait for the network

    def encode_batch() -> None:
        if batch:
            pixels = np.stack([one for _, one in batch])
            vectors = checked_rows(encoder, encoder.encode_prepared(pixels), len(batch), "images")
            for (row, _), vector in zip(batch, vectors, strict=True):
                rows.set_vector(row, vector)
                shelf.keep(rows.digest(row), vector)
            batch.clear()

    def take(asked: list[tuple[int, Media]], task: Future[list[_Finding]]) -> None:
        for (source_id, source), finding in zip(asked, task.result(), strict=True):
            elsewhere = finding.pixels is None and finding.vector is None
            row = rows.resolve(source_id, source, finding.digest, finding.error, elsewhere)
            if finding.pixels is not None:
                if batch and batch[0][1].shape != finding.pixels.shape:
                    encode_batch()
                batch.append((row, finding.pixels))
                if len(batch) >= reader.batch_size:
                    encode_batch()
            elif finding.vector is not None:
                rows.set_vector(row, finding.vector, from_store=not finding.is_fresh)
                if finding.is_fresh:
                    shelf.keep(finding.digest, finding.vector)
        rows.report()

    pool = ThreadPoolExecutor(n_workers, thread_name_prefix="showtell-media")
    waiting: deque[tuple[list[tuple[int, Media]], Future[list[_Finding]]]] = deque()
    try:
        for asked in _groups(rows.sources(images), _GROUP):
            waiting.append((asked, pool.submit(reader.look, [source for _, source in asked])))
            if len(waiting) > n_workers + 1:
                take(*waiting.popleft())
        while waiting:
            take(*waiting.popleft())
        encode_batch()
    finally:
        reader.stop.set()
        pool.shutdown(wait=True, cancel_futures=True)
        shelf.flush()


def _run_any(encoder: Encoder, images: Sequence[Media], rows: _Rows, batch_size: int) -> None:
    """Give batches to an encoder that reads images itself; find the bad ones of a bad batch."""
    for asked in _groups(rows.sources(images), batch_size):
        media = [source for _, source in asked]
        try:
            vectors: list[Embeddings | MediaError] = list(
                checked_rows(encoder, encoder.encode_images(media), len(media), "images")
            )
        except MediaError:
            vectors = [_encode_alone(encoder, source) for source in media]
        for (source_id, source), vector in zip(asked, vectors, strict=True):
            error = vector if isinstance(vector, MediaError) else None
            row = rows.resolve(source_id, source, _source_digest(source_id, source), error)
            if not isinstance(vector, MediaError):
                rows.set_vector(row, vector)
        rows.report()


def _encode_alone(encoder: Encoder, source: Media) -> Embeddings | MediaError:
    try:
        vector: Embeddings = checked_rows(encoder, encoder.encode_images([source]), 1, "images")[0]
    except MediaError as error:
        return _bare(error)
    return vector


def _bare(error: MediaError) -> MediaError:
    """Drop what an error drags along: its traceback holds the bytes of the file."""
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


@dataclass(frozen=True, kw_only=True)
class _Finding:
    """What a worker found out about one source; neither vector nor pixels: another has it."""

    digest: str = ""
    vector: Embeddings | None = None
    is_fresh: bool = False
    pixels: NDArray[np.float32] | None = None
    error: MediaError | None = None


class _Reader:
    """The workers' half: bytes, hash, store, pixels. Called from several threads."""

    def __init__(
        self,
        encoder: TakesPixels,
        shelf: _Shelf,
        background: tuple[int, int, int],
        limits: Limits,
        batch_size: int,
    ) -> None:
        self.stop = threading.Event()
        self.batch_size = batch_size
        self._encoder, self._shelf = encoder, shelf
        self._background, self._limits = background, limits
        self._claimed: set[str] = set()  # contents that some worker decodes or has decoded
        self._lock = threading.Lock()

    def look(self, sources: list[Media]) -> list[_Finding]:
        findings: list[_Finding] = []
        held: list[tuple[int, RawMedia]] = []  # findings that wait for the store, with their bytes
        n_bytes = 0
        for source in sources:
            if self.stop.is_set():
                raise RunError("stopped")
            try:
                raw = read_media(source, limits=self._limits)
            except MediaError as error:
                findings.append(_Finding(error=_bare(error)))
                continue
            findings.append(_Finding(digest=raw.digest))
            with self._lock:
                is_new = raw.digest not in self._claimed
                self._claimed.add(raw.digest)
            if is_new:
                held.append((len(findings) - 1, raw))
                n_bytes += _size(raw)
            if n_bytes > _GROUP_BYTES:
                self._finish(held, findings)
                held, n_bytes = [], 0
        self._finish(held, findings)
        return findings

    def _finish(self, held: list[tuple[int, RawMedia]], findings: list[_Finding]) -> None:
        known = self._shelf.get([raw.digest for _, raw in held])
        while held:
            place, raw = held.pop()
            if raw.digest in known:
                findings[place] = _Finding(digest=raw.digest, vector=known[raw.digest])
            elif not self.stop.is_set():
                findings[place] = self._decode(raw)

    def _decode(self, raw: RawMedia) -> _Finding:
        encoder = self._encoder
        try:
            picture = raw.decode(
                min_side=encoder.input_side, background=self._background, limits=self._limits
            )
        except MediaError as error:
            return _Finding(digest=raw.digest, error=_bare(error))
        pixels = encoder.prepare(picture)
        if self.batch_size > 1:
            return _Finding(digest=raw.digest, pixels=pixels)
        vectors = checked_rows(encoder, encoder.encode_prepared(pixels[None]), 1, "images")
        return _Finding(digest=raw.digest, vector=vectors[0], is_fresh=True)


class _Rows:
    """The book-keeping: inputs to sources (looked at once) to contents (embedded once)."""

    def __init__(self, n_dims: int, n_images: int, progress: Progress) -> None:
        self._matrix = np.empty((0, n_dims), np.float32)
        self._source_of = np.full(n_images, -1, np.int64)  # input -> source
        self._content_of: list[int] = []  # source -> content; -1 until resolved
        self._media_errors: dict[int, MediaError] = {}  # by source
        self._digests: list[str] = []  # by content
        self._by_digest: dict[str, int] = {}
        self._state: list[int] = []  # by content: 0 waits, 1 has its vector, 2 failed
        self._failed: dict[int, tuple[int, MediaError]] = {}  # by content: source, error
        self._source_names: dict[int, str] = {}  # sources whose content failed, or may yet
        self._n_from_store = 0
        self._n_done = self._n_reported = 0  # inputs
        self._pending: dict[int, int] = {}  # source -> inputs that wait for it
        self._progress, self._n_images = progress, n_images

    def sources(self, images: Sequence[Media]) -> Iterator[tuple[int, Media]]:
        """Yield sources not met before; inputs of the same path share one."""
        seen: dict[Hashable, int] = {}
        for index, image in enumerate(images):
            key = _key(image)
            source_id = len(self._content_of) if key is None else seen.get(key, -1)
            if source_id < 0 or key is None:
                source_id = len(self._content_of)
                self._content_of.append(-1)
                if key is not None:
                    seen[key] = source_id
                self._source_of[index] = source_id
                self._pending[source_id] = 1
                yield source_id, image
            else:
                self._source_of[index] = source_id
                if source_id in self._pending:
                    self._pending[source_id] += 1
                else:
                    self._n_done += 1

    def resolve(
        self,
        source_id: int,
        source: Media,
        digest: str,
        error: MediaError | None,
        elsewhere: bool = False,
    ) -> int:
        """Note the content of a source, or its error; give the content's number.

        `elsewhere`: the content is being decoded for another source, and may yet fail.
        """
        self._n_done += self._pending.pop(source_id)
        if not digest:
            assert error is not None
            self._media_errors[source_id] = error
            self._content_of[source_id] = -2
            return -1
        content = self._by_digest.get(digest, -1)
        if content < 0:
            content = self._by_digest[digest] = len(self._digests)
            self._digests.append(digest)
            self._state.append(0)
        self._content_of[source_id] = content
        if error is not None or (elsewhere and self._state[content] != 1):
            self._source_names[source_id] = media_name(source)
        if error is not None:
            self._failed[content] = (source_id, error)
            self._state[content] = 2
        return content

    def digest(self, content: int) -> str:
        return self._digests[content]

    def set_vector(self, content: int, vector: Embeddings, *, from_store: bool = False) -> None:
        if content >= len(self._matrix):
            grown = np.empty((max(64, 2 * content), self._matrix.shape[1]), np.float32)
            grown[: len(self._matrix)] = self._matrix
            self._matrix = grown
        self._matrix[content] = vector
        self._state[content] = 1
        self._n_from_store += from_store

    def report(self) -> None:
        if self._n_done > self._n_reported:
            self._n_reported = self._n_done
            self._progress(self._n_done, self._n_images, "images")

    def result(self) -> ImageEmbeddings:
        good = np.array([state == 1 for state in self._state], bool)
        row_of_content = np.where(good, np.cumsum(good) - 1, -1)
        row_of_source = np.full(len(self._content_of), -1, np.int64)
        errors_by_source = dict(self._media_errors)
        for source_id, content in enumerate(self._content_of):
            if content >= 0:
                row_of_source[source_id] = row_of_content[content]
                if content in self._failed:
                    first, error = self._failed[content]
                    errors_by_source[source_id] = (
                        error
                        if first == source_id
                        else type(error)(self._source_names[source_id], error.reason)
                    )
        distinct = row_of_source[self._source_of]
        errors = {
            int(index): errors_by_source[int(self._source_of[index])]
            for index in np.flatnonzero(distinct < 0)
        }
        self.report()
        return ImageEmbeddings(
            embeddings=self._matrix[: len(good)][good] if good.any() else self._matrix[:0],
            distinct=distinct,
            errors=errors,
            digests=[d for d, is_good in zip(self._digests, good, strict=True) if is_good],
            n_from_store=self._n_from_store,
        )


class _Shelf:
    """A store that gives up with one warning instead of failing."""

    def __init__(
        self, encoder: Encoder, store: Store, background: tuple[int, int, int] | None
    ) -> None:
        self._store = _open_store(store)
        self._name = encoder.name
        self._fingerprint, self._n_dims = encoder.fingerprint, encoder.n_dims
        if background is not None and tuple(background) != (255, 255, 255):
            self._fingerprint += "+background=" + ",".join(map(str, background))
        self._new: dict[str, Embeddings] = {}
        self._problem: str | None = None
        if self._store is not None:
            self.get(["-"])  # opens it: another kind of file raises here, before any work
            self._warn()

    def get(self, digests: list[str]) -> dict[str, NDArray[np.float32]]:
        store = self._store
        if store is None or not digests:
            return {}
        try:
            found = store.get_many(self._fingerprint, digests)
        except RunError as error:
            self._store, self._problem = None, str(error)
            return {}
        # What is no row of length 1, or of another width, was not written by us: computed again.
        shape = (self._n_dims,)
        with np.errstate(over="ignore", invalid="ignore"):
            return {
                digest: row
                for digest, row in found.items()
                if row.shape == shape and 0.9 < row @ row < 1.1
            }

    def keep(self, digest: str, vector: Embeddings) -> None:
        if self._store is not None:
            self._new[digest] = vector
            if len(self._new) >= _KEEP_EVERY:
                self.flush()

    def flush(self) -> None:
        store, new = self._store, self._new
        self._new = {}
        if store is not None and new:
            try:
                store.put_many(self._fingerprint, new, name=self._name)
            except RunError as error:
                self._store, self._problem = None, str(error)
        self._warn()

    def _warn(self) -> None:
        """Say once what went wrong, from the caller's thread."""
        if self._problem is not None:
            problem, self._problem = self._problem, None
            warnings.warn(f"{problem} Going on without it.", StoreWarning, stacklevel=4)


def _open_store(store: Store) -> EmbeddingStore | None:
    if store is None or isinstance(store, EmbeddingStore):
        return store
    if store == "default":
        return default_store()
    if isinstance(store, str | os.PathLike):
        return EmbeddingStore(store)
    raise InputError(
        f"`store` must be 'default', None, a file name or an EmbeddingStore, got {store!r}."
    )


def _groups(items: Iterator[_T], size: int) -> Iterator[list[_T]]:
    while group := list(islice(items, size)):
        yield group


def _key(image: Media) -> Hashable | None:
    """Equal keys are surely the same image; None for what has to be looked at."""
    if isinstance(image, str):
        return image
    if isinstance(image, os.PathLike):
        return os.fspath(image)
    if isinstance(image, Crop):
        inner = _key(image.image)
        return None if inner is None else ("crop", inner, tuple(image.box))
    return None


def _size(raw: RawMedia) -> int:
    """Bytes of a file that are held; pictures and arrays belong to the caller."""
    return len(raw.content) if isinstance(raw.content, bytes) else 0


def _source_digest(source_id: int, source: Media) -> str:
    key = _key(source)
    name = f"source {source_id}" if key is None else f"name {key!r}"
    return hashlib.blake2b(name.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()


def _text_digest(text: str) -> str:
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16)
    return f"text:{digest.hexdigest()}"


def _n_cores(encoder: Encoder) -> int:
    threads = getattr(encoder, "threads", None)
    if isinstance(threads, int) and threads > 0:
        return threads
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return max(1, os.cpu_count() or 1)
