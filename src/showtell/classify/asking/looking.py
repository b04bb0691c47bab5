"""Images before they are asked about: read, made fit to be sent, and each content only once."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from showtell.classify.asking.state import ImageState
from showtell.errors import MediaError
from showtell.media import Media, read_media
from showtell.mllm.base import ImagePart
from showtell.mllm.capabilities import Capabilities
from showtell.mllm.images import prepare_image

_GROUP = 4  # images per task of a worker; what is read ahead is held in memory
_Looked: TypeAlias = tuple[str, ImagePart | None, MediaError | None]
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Looking:
    """Reads images and makes them fit to be sent, in threads."""

    capabilities: Capabilities
    max_side: int | None
    n_images: int
    """Images of a request, those that are shown included."""
    n_workers: int = min(4, os.cpu_count() or 1)

    def distinct(
        self, images: Sequence[Media], found: Distinct
    ) -> Iterator[tuple[ImageState, ImagePart]]:
        """Yield each distinct image with what is to be sent, in order of the inputs."""
        fresh = found.first_mentions(images)
        for row, source, (digest, part, error) in self.prepared(fresh):
            if error is not None:
                found.errors[row] = error
                continue
            assert part is not None
            item = found.add(row, source, digest)
            if item is not None:
                yield item, part

    def prepared(self, sources: Iterable[tuple[T, Media]]) -> Iterator[tuple[T, Media, _Looked]]:
        """Read and prepare in threads, a little ahead, in order."""
        source = iter(sources)
        waiting: deque[tuple[list[tuple[T, Media]], Future[list[_Looked]]]] = deque()
        pool = ThreadPoolExecutor(self.n_workers, thread_name_prefix="showtell-media")
        try:
            while True:
                while len(waiting) <= self.n_workers + 1 and (
                    group := list(islice(source, _GROUP))
                ):
                    task = pool.submit(self._look_at, [media for _, media in group])
                    waiting.append((group, task))
                if not waiting:
                    return
                group, task = waiting.popleft()
                for (tag, media), looked in zip(group, task.result(), strict=True):
                    yield tag, media, looked
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def _look_at(self, sources: Sequence[Media]) -> list[_Looked]:
        return [self.look_at(source) for source in sources]

    def look_at(self, source: Media) -> _Looked:
        """Read an image and make it fit to be sent: its content hash and itself, or the error."""
        try:
            raw = read_media(source)
            part = prepare_image(
                raw,
                max_side=self.max_side,
                capabilities=self.capabilities,
                n_images=self.n_images,
            )
        except MediaError as error:
            return "", None, error
        return raw.digest, part, None


class Distinct:
    """Which input shows which distinct image."""

    def __init__(self, n_rows: int) -> None:
        self.items: list[ImageState] = []
        self.errors: dict[int, MediaError] = {}
        self._by_digest: dict[str, ImageState] = {}
        self._item_of = np.full(n_rows, -1, np.int64)
        self._same_as = np.arange(n_rows)

    def first_mentions(self, images: Sequence[Media]) -> Iterable[tuple[int, Media]]:
        """Rows and sources; a path that came before is not looked at again."""
        seen: dict[str, int] = {}
        for row in range(len(images)):
            source = images[row]
            if isinstance(source, str | os.PathLike):
                first = seen.setdefault(os.fsdecode(source), row)
                self._same_as[row] = first
                if first != row:
                    continue
            yield row, source

    def add(self, row: int, source: Media, digest: str) -> ImageState | None:
        """Note what a row shows; the item if it is the first."""
        known = self._by_digest.get(digest)
        if known is not None:
            self._item_of[row] = known.number
            return None
        item = ImageState(number=len(self.items), source=source, digest=digest, first_row=row)
        self._by_digest[digest] = item
        self._item_of[row] = item.number
        self.items.append(item)
        return item

    def has(self, row: int) -> bool:
        """Whether the input of a row was looked at."""
        return self._item_of[row] >= 0 or row in self.errors

    def copy(self) -> Distinct:
        """Copy what is there, while another thread may still be looking at images."""
        twin = Distinct(len(self._item_of))
        twin._item_of, twin._same_as = self._item_of.copy(), self._same_as.copy()
        twin.items, twin.errors = list(self.items), dict(self.errors)
        twin._item_of[twin._item_of >= len(twin.items)] = -1
        twin._by_digest = {item.digest: item for item in twin.items}
        return twin

    def distinct(self) -> NDArray[np.int64]:
        """ImageState of each row, -1 where there is none; errors go to every row of a source."""
        for row in np.flatnonzero(self._same_as != np.arange(len(self._same_as))):
            first = int(self._same_as[row])
            if first in self.errors:
                self.errors[int(row)] = self.errors[first]
        return self._item_of[self._same_as]
