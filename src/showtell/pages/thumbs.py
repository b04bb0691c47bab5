"""Small pictures: embedded in a page, the most informative first, within a size limit."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray
from PIL import Image

from showtell.datasets import LazyRows
from showtell.errors import MediaError
from showtell.media import Media, open_image
from showtell.media.source import is_url

MIME = "data:image/webp;base64,"
"""What comes before the base64 text of a picture where an address is expected."""

SIDE = 144
"""Longest side of a thumbnail in pixels: cards are up to 144 CSS pixels wide."""
_LARGE = 320  # longest side of a picture that is looked at by itself
_WAVE = 64


@dataclass
class Thumbnails:
    """Pictures that made it into a page.

    Attributes
    ----------
    of_row : ndarray of shape (n_rows,), int32
        Index into `pictures`; -1 where the size limit left it out, -2 where it cannot be read.
    pictures : list of str
        WebP files in base64.
    reasons : dict of int to str
        Row to why its picture cannot be read.
    n_bytes : int
        Length of all `pictures`.
    """

    of_row: NDArray[np.int32]
    pictures: list[str] = field(default_factory=list)
    reasons: dict[int, str] = field(default_factory=dict)
    n_bytes: int = 0

    def address(self, row: int) -> str:
        """Give the picture of a row as an address that needs no request; "" where there is none."""
        at = int(self.of_row[row])
        return MIME + self.pictures[at] if at >= 0 else ""

    @property
    def n_left_out(self) -> int:
        """Rows whose picture could be read but is not in the page."""
        return int((self.of_row == -1).sum())


def small_picture(image: Image.Image, side: int = _LARGE, *, quality: int = 72) -> bytes:
    """Make a WebP with a longer side of at most `side` pixels; metadata stays behind."""
    small = image.convert("RGB")
    small.thumbnail((side, side))
    stream = io.BytesIO()
    small.save(stream, "WEBP", quality=quality, method=3)
    return stream.getvalue()


def shrink(picture: bytes, side: int) -> bytes:
    """Make a picture no larger than `side`; one that is not comes back as it is."""
    with Image.open(io.BytesIO(picture)) as image:
        if max(image.size) <= side:
            return picture
        return small_picture(image, side)


def size_of(picture: bytes) -> tuple[int, int]:
    """Width and height of a small picture."""
    with Image.open(io.BytesIO(picture)) as image:
        return image.size


def data_uri(picture: bytes) -> str:
    """Write a small picture as an address that needs no request."""
    return MIME + to_base64(picture)


def to_base64(picture: bytes) -> str:
    """Write a picture as text."""
    return base64.b64encode(picture).decode("ascii")


def inline_picture(picture: bytes, name: str) -> Markup:
    """Show a small picture; nothing where there is none."""
    if not picture:
        return Markup("")
    width, height = size_of(picture)
    return Markup('<img src="{src}" width="{w}" height="{h}" alt="{alt}">').format(
        src=data_uri(picture), w=width, h=height, alt=name
    )


def thumbnail(source: Media) -> str:
    """Make a small WebP of a picture, in base64; raises `MediaError`.

    Re-encoding drops EXIF, so no place or camera enters the page.
    """
    return to_base64(small_picture(open_image(source, min_side=SIDE), SIDE, quality=60))


def is_there(source: Media) -> bool:
    """Whether a name in a row is a file here."""
    try:
        return not isinstance(source, str | os.PathLike) or os.path.isfile(source)  # noqa: PTH113 (names may be bytes)
    except (OSError, ValueError):
        return False


def _identities(sources: Sequence[Media], same: NDArray[np.int64] | None) -> list[object]:
    """Name each row, so that one picture is made once however many rows show it."""
    lazy = isinstance(sources, LazyRows)  # reading is work, and what is read has no lasting id
    names: list[object] = []
    for row in range(len(sources)):
        if same is not None and same[row] >= 0:
            names.append(int(same[row]))
            continue
        source = None if lazy else sources[row]
        named = isinstance(source, str | os.PathLike)
        names.append(os.fspath(source) if named else ("row", row))  # type: ignore[arg-type]
    return names


def make_thumbnails(
    sources: Sequence[Media],
    order: Iterable[int],
    *,
    limit_mb: float,
    same: NDArray[np.int64] | None = None,
    reasons: Mapping[int, str] | None = None,
    fetch: bool = True,
    n_threads: int = 4,
) -> Thumbnails:
    """Make thumbnails of rows in `order`, until `limit_mb` megabytes of base64 text are reached.

    Rows with equal numbers in `same` show the same picture (-1 says nothing), as do rows of one
    path. Rows in `reasons` are known to be unusable and not tried again; URLs are read if `fetch`.
    """
    made = Thumbnails(of_row=np.full(len(sources), -1, np.int32))
    limit = int(limit_mb * 1_000_000)
    names = _identities(sources, same)
    known: dict[object, int | str] = {names[row]: why for row, why in (reasons or {}).items()}

    def attempt(row: int) -> tuple[str, str | None]:
        source = sources[row]
        if not fetch and is_url(source):
            return "", "behind a URL, not fetched again"
        try:
            return thumbnail(source), None
        except MediaError as error:
            return "", error.reason
        except (OSError, ValueError) as error:
            return "", f"{type(error).__name__}: {error}"

    rows = list(dict.fromkeys(order))
    first_of: dict[object, int] = {}
    for row in rows:
        if names[row] not in known:
            first_of.setdefault(names[row], row)
    with ThreadPoolExecutor(n_threads) as pool:
        todo = list(first_of.items())
        for start in range(0, len(todo), _WAVE):
            wave = todo[start : start + _WAVE]
            results = pool.map(attempt, [row for _, row in wave])
            for (identity, _), (picture, reason) in zip(wave, results, strict=True):
                if reason is not None:
                    known[identity] = reason
                elif made.n_bytes + len(picture) <= limit:
                    known[identity] = len(made.pictures)
                    made.pictures.append(picture)
                    made.n_bytes += len(picture)
            if made.n_bytes >= limit - 3000:  # about one picture short of it
                break
    for row in rows:
        found = known.get(names[row], -1)
        if isinstance(found, str):
            made.of_row[row] = -2
            made.reasons[row] = found
        else:
            made.of_row[row] = found
    return made


def row_order(
    *,
    y_true: NDArray[np.int32] | None,
    y_pred: NDArray[np.int32],
    confidence: NDArray[np.float32],
    per_cell: int = 4,
) -> list[int]:
    """Order rows by how much their picture tells: mistakes, least sure, some of each cell, rest.

    Examples
    --------
    >>> row_order(y_true=np.array([0, 0, 1], np.int32), y_pred=np.array([0, 1, 1], np.int32),
    ...           confidence=np.array([0.9, 0.8, 0.6], np.float32))
    [1, 2, 0]
    """
    n = len(y_pred)
    known = np.nan_to_num(confidence, nan=-1.0)
    least = np.argsort(np.where(np.isnan(confidence), 2.0, confidence), kind="stable")
    order: list[int] = []
    wrong: NDArray[np.intp] = np.zeros(0, np.intp)
    if y_true is not None:
        rows = np.flatnonzero((y_pred >= 0) & (y_pred != y_true))
        wrong = rows[np.argsort(-known[rows], kind="stable")]
        order += wrong[:240].tolist()
    order += least[:120].tolist()
    cells: dict[tuple[int, int], int] = {}
    truth = np.zeros(n, np.int32) if y_true is None else y_true
    for row in least.tolist():
        cell = (int(truth[row]), int(y_pred[row]))
        if cells.get(cell, 0) < per_cell:
            cells[cell] = cells.get(cell, 0) + 1
            order.append(row)
    return list(dict.fromkeys([*order, *wrong.tolist(), *least.tolist()]))
