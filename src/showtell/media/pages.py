"""Documents as pages: a picture of each and the text that is laid over it; by pypdfium2."""

from __future__ import annotations

import math
import re
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from PIL import Image

from showtell._extras import need
from showtell.errors import InputError, MediaError, MediaFormatError, MediaLimitError
from showtell.media.clip import ClipSource
from showtell.media.files import open_file
from showtell.media.source import DEFAULT_LIMITS, Limits, is_url, media_name

_POINTS = 72  # per inch
_LONGEST_SIDE = 4096  # pixels of a page; posters are drawn with fewer dots per inch
_LONGEST_TEXT = 200_000  # characters of one page
_ONE_AT_A_TIME = threading.Lock()  # PDFium is not made for threads


def parse_pages(text: str) -> tuple[int, ...]:
    """Read which pages are meant.

    Parameters
    ----------
    text : str
        Numbers and ranges, counted from 1.

    Returns
    -------
    pages : tuple of int
        In the order given, each once.

    Raises
    ------
    InputError
        If the text says anything else.

    Examples
    --------
    >>> parse_pages("1-3, 9")
    (1, 2, 3, 9)
    """
    pages: dict[int, None] = {}
    for part in text.split(","):
        found = re.fullmatch(r"\s*([0-9]{1,6})(?:\s*-\s*([0-9]{1,6}))?\s*", part)
        first, last = (0, 0) if found is None else (int(found[1]), int(found[2] or found[1]))
        if not 0 < first <= last:
            raise InputError(
                f"Pages are numbers and ranges from 1 on, such as 1-5,9; got {text!r}.",
                param="pages",
            )
        pages.update(dict.fromkeys(range(first, last + 1)))
    return tuple(pages)


@dataclass(frozen=True)
class Pages:
    """Some pages of a PDF.

    Parameters
    ----------
    source : str, path or bytes
        A path or http(s) URL, or the bytes of a file.
    pages : sequence of int or str, optional
        Numbers counted from 1, or text such as ``"1-5,9"``. By default all.

    Raises
    ------
    InputError
        If a page is no number from 1 on.

    Examples
    --------
    >>> Pages("manual.pdf", "1-2").pages
    (1, 2)
    """

    source: ClipSource
    pages: Sequence[int] | str | None = None

    def __post_init__(self) -> None:
        pages = self.pages
        if isinstance(pages, str):
            pages = parse_pages(pages)
        elif pages is not None:
            pages = parse_pages(",".join(map(str, pages)) or "none")
        object.__setattr__(self, "pages", pages)

    @property
    def name(self) -> str:
        """The document as rows and messages show it."""
        if self.pages is None:
            return media_name(self.source)
        return f"{media_name(self.source)}#page={','.join(map(str, self.pages))}"


@dataclass(frozen=True, kw_only=True)
class Page:
    """One page of a document."""

    number: int
    """Counted from 1."""
    picture: Image.Image
    """RGB."""
    text: str
    """The text layer, line by line; empty for a scan without one."""


def count_pages(source: Pages | ClipSource, *, limits: Limits = DEFAULT_LIMITS) -> int:
    """Count the pages of a document.

    Parameters
    ----------
    source : Pages, path, URL or bytes
    limits : Limits

    Returns
    -------
    n_pages : int
        Of the whole document, whatever pages are meant.

    Raises
    ------
    MediaError
        If it is no PDF, is damaged, or needs a password.
    MissingExtraError
        If the extra ``pdf`` is not installed.
    """
    source = source if isinstance(source, Pages) else Pages(source)
    with _opened(source, limits) as document:
        return len(document)


def read_pages(
    source: Pages | ClipSource, *, dpi: float = 150.0, limits: Limits = DEFAULT_LIMITS
) -> Iterator[Page]:
    """Read pages one by one.

    Parameters
    ----------
    source : Pages, path, URL or bytes
    dpi : float, default=150
        Dots per inch of the pictures. Pages that would be longer than 4,096 pixels are drawn with
        fewer.
    limits : Limits
        Pages, and pixels of one.

    Yields
    ------
    page : Page
        In the order asked for.

    Raises
    ------
    MediaError
        If it is no PDF, is damaged or needs a password, or has not the pages asked for.
    """
    source = source if isinstance(source, Pages) else Pages(source)
    with _opened(source, limits) as document:
        for number in _numbers(source, len(document), limits):
            yield _page(source.name, document, number, dpi, limits)


def _numbers(source: Pages, n_pages: int, limits: Limits) -> Iterable[int]:
    if source.pages is None:
        numbers: Sequence[int] = range(1, n_pages + 1)
    else:
        numbers = [int(page) for page in source.pages]
        missing = [number for number in numbers if number > n_pages]
        if missing:
            raise MediaLimitError(
                source.name, f"it has {n_pages} pages, so there is no page {missing[0]}"
            )
    if len(numbers) > limits.max_pages:
        raise MediaLimitError(
            source.name,
            f"{len(numbers):,} pages are more than the {limits.max_pages:,} that are allowed "
            "(Limits.max_pages); name some, such as 1-5,9",
        )
    return numbers


def _page(name: str, document: Any, number: int, dpi: float, limits: Limits) -> Page:
    """Draw a page and read its text."""
    try:
        with _ONE_AT_A_TIME:
            page = document[number - 1]
            width, height = page.get_size()
            if not (0 < width < math.inf and 0 < height < math.inf):
                raise MediaFormatError(name, f"page {number} has no size")
            scale = min(dpi / _POINTS, _LONGEST_SIDE / max(width, height))
            scale = min(scale, math.sqrt(limits.max_pixels / (width * height)))
            picture = page.render(scale=scale).to_pil().convert("RGB")
            layer = page.get_textpage()
            text = layer.get_text_range(0, min(layer.count_chars(), _LONGEST_TEXT))
            layer.close()
            page.close()
    except MediaError:
        raise
    except Exception as error:
        raise MediaFormatError(name, f"page {number} is damaged") from error
    lines = (" ".join(line.split()) for line in text.replace("\0", "").splitlines())
    return Page(number=number, picture=picture, text="\n".join(line for line in lines if line))


def read_document(source: Pages, *, limits: Limits = DEFAULT_LIMITS) -> bytes:
    """Read the bytes of a document, all pages of it.

    Raises
    ------
    MediaError
        If it cannot be read, or is larger than allowed.
    """
    name = source.name
    if isinstance(source.source, bytes):
        data = source.source
    elif is_url(source.source):
        from showtell.media.url import fetch_url

        data = fetch_url(str(source.source), limits=limits)
    else:
        with open_file(name, source.source, kind="document") as (file, size):
            data = file.read(min(size, limits.max_bytes) + 1)
    if len(data) > limits.max_bytes:
        raise MediaLimitError(
            name,
            f"more than the {limits.max_bytes:,} bytes that are allowed (Limits.max_bytes)",
        )
    return data


@contextmanager
def _opened(source: Pages, limits: Limits) -> Iterator[Any]:
    """Open a document; whatever PDFium says about it becomes a `MediaError`."""
    pdfium = need("pypdfium2", extra="pdf", what="Reading PDF")
    name = source.name
    data = read_document(source, limits=limits)
    if b"%PDF" not in data[:1024]:
        raise MediaFormatError(name, "it is no PDF")
    try:
        with _ONE_AT_A_TIME:
            document = pdfium.PdfDocument(data)
            n_pages = len(document)
    except Exception as error:
        why = "it needs a password" if "password" in str(error).lower() else "it is damaged"
        raise MediaFormatError(name, why) from error
    if not n_pages:
        raise MediaFormatError(name, "it has no pages")
    try:
        yield document
    finally:
        with _ONE_AT_A_TIME:
            document.close()
