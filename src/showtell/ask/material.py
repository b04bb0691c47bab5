"""From files to the ordered parts of a question: named, and converted to what a model takes.

Nothing is dropped in silence: what a model cannot take is sent in another form, which is recorded,
or is an error that says what would help.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from showtell.errors import InputError, MediaFormatError, MediaLimitError
from showtell.media import (
    DEFAULT_LIMITS,
    Crop,
    Limits,
    RawMedia,
    content_hash,
    is_url,
    media_name,
    read_media,
)
from showtell.media.clip import SOUND_SUFFIXES, VIDEO_SUFFIXES, Clip, ClipInfo, clip_time, probe
from showtell.media.cutting import cut_clip, cut_sound
from showtell.media.files import open_file
from showtell.media.formats import sniff
from showtell.media.frames import find_cuts, frame_times, frames_at, scene_times
from showtell.media.pages import Pages, count_pages, read_document, read_pages
from showtell.media.subtitles import SUBTITLE_SUFFIXES, Line, read_subtitles, subtitles_beside
from showtell.mllm.base import AudioPart, DocumentPart, ImagePart, Part, TextPart, VideoPart
from showtell.mllm.capabilities import Capabilities
from showtell.mllm.images import prepare_image

AskSource: TypeAlias = (
    str | os.PathLike[str] | bytes | Image.Image | NDArray[np.generic] | Crop | Clip | Pages
)
"""What may be asked about: an image, a `Clip`, `Pages`, a path or URL of either or of a text file,
bytes, or a text itself."""
Kind: TypeAlias = Literal["image", "video", "sound", "document", "text"]
FrameChoice: TypeAlias = Literal["scenes", "uniform"]
SendAs: TypeAlias = Literal["auto", "frames", "native"]

_TEXT_SUFFIXES = (".txt", ".md", ".csv", ".tsv", ".json", ".jsonl", ".log", *SUBTITLE_SUFFIXES)
_IMAGE_SUFFIXES = (
    ".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif", ".heic", ".heif",
)  # fmt: skip
_LONGEST_TEXT = 100_000  # bytes of a text file
_MOST_PAGES = 20  # that are sent without being named
_MOST_INLINE = 20_000_000  # bytes of a video that goes along as it is
_WORDS: dict[Kind, str] = {
    "image": "Image", "video": "Clip", "sound": "Sound", "document": "Document", "text": "Text",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Frames:
    """How videos, sound and documents are shown to a model."""

    choice: FrameChoice = "scenes"
    """One frame in the middle of every shot first, or all spread evenly."""
    most: int = 64
    """Frames of one clip."""
    send_as: SendAs = "auto"
    """"native" sends video, sound and PDF as they are to models that take them; "frames" never."""
    max_side: int = 768
    """Pixels of the longer side of images and frames."""
    dpi: float = 150.0
    """Dots per inch of pages."""
    sound: bool = True
    """Whether sound, or what is said in it, goes along with a video."""
    transcripts: tuple[str | os.PathLike[str], ...] = ()
    """Files of subtitles, one for each clip and sound that has words, in order."""


@dataclass(frozen=True, kw_only=True)
class Moment:
    """Something that was sent and can be pointed at: an image, a frame, a page, a sound."""

    ref: str
    """``"A"``, ``"B@3.5"``, ``"C:2"``."""
    time: float | None = None
    """Seconds, of a frame."""
    page: int | None = None
    picture: ImagePart | None = field(default=None, repr=False)
    """As it was sent; None for sound, text, and what was sent as a whole."""
    text: str = field(default="", repr=False)


@dataclass(frozen=True, kw_only=True)
class Exhibit:
    """One input, as it was sent."""

    id: str
    """A letter, by the order of inputs."""
    kind: Kind
    name: str
    moments: tuple[Moment, ...]
    converted: str = ""
    """In what other form it was sent, if it was."""
    start: float = 0.0
    """Seconds at which a clip or sound begins."""
    end: float | None = None
    """Seconds at which it ends."""
    cuts: tuple[float, ...] = ()
    lines: tuple[Line, ...] = field(default=(), repr=False)
    """What is said, where that is known."""

    @property
    def sentence(self) -> str:
        """Say what was sent."""
        what = f"{self.id}: {self.name}"
        return f"{what} ({self.converted})" if self.converted else what


@dataclass(frozen=True, kw_only=True)
class Material:
    """All inputs of a question."""

    exhibits: tuple[Exhibit, ...]
    parts: tuple[Part, ...] = field(repr=False)

    @property
    def n_images(self) -> int:
        """Images, frames and pages that are sent as pictures."""
        return sum(isinstance(part, ImagePart) for part in self.parts)

    @property
    def converted(self) -> tuple[str, ...]:
        """What was sent in another form than it was given."""
        return tuple(e.sentence for e in self.exhibits if e.converted)

    def find(self, ref: str) -> Moment | None:
        """Find what a model points at; None if nothing like it was sent.

        Parameters
        ----------
        ref : str
            ``"A"``, ``"B@3.5"``, ``"B at 0:03.5"``, ``"C:2"``, ``"C page 2"``, with or without the
            kind before it.

        Returns
        -------
        moment : Moment or None
            Of a clip, the frame nearest to a time within it.
        """
        return _find(ref, self.exhibits)


def letters(number: int) -> str:
    """Name the inputs A, B, ... Z, AA, AB ...

    Examples
    --------
    >>> letters(0), letters(25), letters(26), letters(701), letters(702)
    ('A', 'Z', 'AA', 'ZZ', 'AAA')
    """
    name = ""
    number += 1
    while number:
        number, rest = divmod(number - 1, 26)
        name = chr(65 + rest) + name
    return name


def gather(
    sources: Sequence[AskSource],
    capabilities: Capabilities,
    *,
    frames: Frames | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> Material:
    """Read inputs and put them into the form that a model takes.

    Parameters
    ----------
    sources : sequence
        See `AskSource`. A text that names no file and has no suffix of one is taken as text.
    capabilities : Capabilities
        Of the model.
    frames : Frames, optional
        How clips and documents are shown.
    limits : Limits

    Returns
    -------
    material : Material
        Each input between a line that names it and one that ends it, in the order given.

    Raises
    ------
    MediaError
        If an input cannot be read, or not be put into a form that the model takes, or if that
        would be more pictures than it takes.
    InputError
        If there are no inputs, or more transcripts than clips.

    Examples
    --------
    >>> material = gather(["3 apples, 2 limes"], Capabilities())
    >>> [part.text for part in material.parts]
    ['Text A:', '3 apples, 2 limes', 'End of text A.']
    """
    if not sources:
        raise InputError("Give at least one image, clip, document or text to ask about.")
    how = frames or Frames()
    transcripts = iter(how.transcripts)
    exhibits: list[Exhibit] = []
    parts: list[Part] = []
    for number, source in enumerate(sources):
        reader = _Reader(letters(number), capabilities, how, limits, transcripts)
        exhibit, own = reader.read(typed(source))
        word = _WORDS[exhibit.kind]
        named = f" ({_short(exhibit.name)})" if exhibit.kind != "text" or exhibit.name else ""
        parts.append(TextPart(text=f"{word} {exhibit.id}{named}:"))
        parts += own
        parts.append(TextPart(text=f"End of {word.lower()} {exhibit.id}."))
        exhibits.append(exhibit)
    unused = next(transcripts, None)
    if unused is not None:
        raise InputError(
            f"There are more transcripts than clips and sounds: {media_name(unused)!r}."
        )
    material = Material(exhibits=tuple(exhibits), parts=tuple(parts))
    most = capabilities.max_images
    if most is not None and material.n_images > most:
        raise MediaLimitError(
            ", ".join(exhibit.name for exhibit in exhibits),
            f"{material.n_images} images, frames and pages are more than the {most} that the model "
            "takes in one request; give fewer frames or pages",
        )
    return material


def _short(name: str) -> str:
    """Leave the folders out, which are nobody's business."""
    return name.rsplit("/", 1)[-1] if not name.startswith("data:") else "picture"


def typed(source: AskSource, *, words: bool = True) -> Any:
    """Make an image source, a `Clip`, `Pages`, a `Path` of a text, or a text of an input.

    Without `words` what names no file is one that is not there.
    """
    if isinstance(source, bytes):
        if b"%PDF" in source[:1024]:
            return Pages(source)
        return source if sniff(source) is not None else Clip(source)
    if not isinstance(source, str | os.PathLike):
        return source
    text = os.fspath(source)
    bare = text.partition("#")[0] if "#" in text and not Path(text).exists() else text
    suffix = Path(bare.partition("?")[0] if is_url(bare) else bare).suffix.lower()
    if suffix in (*VIDEO_SUFFIXES, *SOUND_SUFFIXES):
        return Clip(text)
    if suffix == ".pdf":
        named = text.removeprefix(bare).removeprefix("#").removeprefix("page=")
        return Pages(bare, named or None)
    if not words or isinstance(source, os.PathLike) or _names_a_file(text, suffix):
        if suffix not in _TEXT_SUFFIXES:
            return text
        return _LinkedText(text) if is_url(text) else Path(text)
    return _Words(text) if words else text


def _names_a_file(text: str, suffix: str) -> bool:
    if is_url(text) or suffix in (*_IMAGE_SUFFIXES, *_TEXT_SUFFIXES):
        return True
    try:
        return Path(text).exists()
    except (OSError, ValueError):
        return False


class _Words(str):
    """A text that is no path."""

    __slots__ = ()


class _LinkedText(str):
    """The address of a text."""

    __slots__ = ()


class _Reader:
    """Reads one input."""

    def __init__(
        self,
        name: str,
        known: Capabilities,
        how: Frames,
        limits: Limits,
        transcripts: Iterator[str | os.PathLike[str]],
    ) -> None:
        self.id, self.known, self.how, self.limits = name, known, how, limits
        self.transcripts = transcripts

    def read(self, source: Any) -> tuple[Exhibit, list[Part]]:
        if isinstance(source, _Words):
            return self._text("", str(source))
        if isinstance(source, _LinkedText | Path):
            return self._text_file(source)
        if isinstance(source, Pages):
            return self._pages(source)
        if isinstance(source, Clip):
            info = probe(source, limits=self.limits)
            return self._video(source, info) if info.has_video else self._sound(source, info)
        raw = read_media(source, limits=self.limits)
        picture = self._image(raw)
        moment = Moment(ref=self.id, picture=picture)
        return Exhibit(id=self.id, kind="image", name=raw.name, moments=(moment,)), [picture]

    def _image(self, raw: RawMedia) -> ImagePart:
        return prepare_image(
            raw, max_side=self.how.max_side, capabilities=self.known, limits=self.limits
        )

    def _picture(self, picture: Image.Image) -> ImagePart:
        return self._image(read_media(picture, limits=self.limits))

    def _text_file(self, path: _LinkedText | Path) -> tuple[Exhibit, list[Part]]:
        name = media_name(path)
        if isinstance(path, str):
            from showtell.media.url import fetch_url

            data = fetch_url(path, limits=self.limits)
        elif path.suffix.lower() in SUBTITLE_SUFFIXES:
            lines = read_subtitles(path, limits=self.limits)
            return self._text(name, "\n".join(map(str, lines)))
        else:
            with open_file(name, path, kind="text") as (file, _):
                data = file.read(_LONGEST_TEXT + 1)
        if len(data) > _LONGEST_TEXT:
            raise MediaLimitError(name, f"texts of up to {_LONGEST_TEXT:,} bytes are sent whole")
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError:
            raise MediaFormatError(name, "it is no text in UTF-8") from None
        if "\0" in text:
            raise MediaFormatError(name, "it is no text: there are zero bytes in it")
        return self._text(name, text)

    def _text(self, name: str, text: str) -> tuple[Exhibit, list[Part]]:
        if not text.strip():
            raise MediaFormatError(name or "the text", "it is empty")
        moment = Moment(ref=self.id, text=text)
        exhibit = Exhibit(id=self.id, kind="text", name=name, moments=(moment,))
        return exhibit, [TextPart(text=text)]

    def _pages(self, source: Pages) -> tuple[Exhibit, list[Part]]:
        n_pages = count_pages(source, limits=self.limits)
        numbers = [int(n) for n in source.pages or range(1, n_pages + 1)]
        if source.pages is None and n_pages > _MOST_PAGES:
            raise MediaLimitError(
                source.name,
                f"it has {n_pages} pages; up to {_MOST_PAGES} are sent unless you name some, such "
                "as 1-5,9",
            )
        whole = source.pages is None and self.known.documents and self.how.send_as != "frames"
        if self.how.send_as == "native" and not whole:
            raise MediaFormatError(source.name, _not_taken("documents"))
        if whole:
            data = read_document(source, limits=self.limits)
            part = DocumentPart(
                data=data, media_type="application/pdf", digest=content_hash(data), n_pages=n_pages
            )
            moments = tuple(Moment(ref=f"{self.id}:{n}", page=n) for n in numbers)
            exhibit = Exhibit(id=self.id, kind="document", name=source.name, moments=moments)
            return exhibit, [part]
        parts: list[Part] = []
        found: list[Moment] = []
        for page in read_pages(source, dpi=self.how.dpi, limits=self.limits):
            picture = self._page_picture(page.picture)
            parts += [TextPart(text=f"Document {self.id} page {page.number}:"), picture]
            if page.text:
                words = f"Text layer of document {self.id} page {page.number}:\n{page.text}"
                parts.append(TextPart(text=words))
            ref = f"{self.id}:{page.number}"
            found.append(Moment(ref=ref, page=page.number, picture=picture, text=page.text))
        exhibit = Exhibit(
            id=self.id,
            kind="document",
            name=source.name,
            moments=tuple(found),
            converted=f"{len(found)} of {n_pages} pages as images at {self.how.dpi:g} dots per "
            "inch, with their text",
        )
        return exhibit, parts

    def _page_picture(self, picture: Image.Image) -> ImagePart:
        """Pages keep the side that small print needs."""
        side = max(self.how.max_side, self.known.useful_side or max(picture.size))
        raw = read_media(picture, limits=self.limits)
        return prepare_image(raw, max_side=side, capabilities=self.known, limits=self.limits)

    def _sound(self, clip: Clip, info: ClipInfo) -> tuple[Exhibit, list[Part]]:
        lines = self._said(clip)
        exhibit = Exhibit(
            id=self.id, kind="sound", name=clip.name, moments=(Moment(ref=self.id),),
            start=info.start, end=info.end, lines=lines,
        )  # fmt: skip
        if self.known.audio and self.how.send_as != "frames":
            caption = f"It plays from {clip_time(info.start)} to {clip_time(info.end)}."
            parts: list[Part] = [TextPart(text=caption), self._audio(clip, info)]
            return exhibit, parts + ([_transcript(self.id, lines)] if lines else [])
        if self.how.send_as == "native" or not lines:
            raise MediaFormatError(
                clip.name,
                "this model cannot hear; give a transcript (SRT or WebVTT) or a model that can, "
                "such as google:gemini-2.5-flash",
            )
        return replace(exhibit, converted="its transcript"), [_transcript(self.id, lines)]

    def _audio(self, clip: Clip, info: ClipInfo) -> AudioPart:
        data = cut_sound(clip, limits=self.limits)
        return AudioPart(
            data=data, media_type="audio/wav", digest=content_hash(data), seconds=info.seconds
        )

    def _said(self, clip: Clip) -> tuple[Line, ...]:
        """Find what is said in a clip, by its transcript or subtitles."""
        path = next(self.transcripts, None)
        if path is None:
            path = subtitles_beside(clip.source)
        if path is None and not isinstance(clip.source, bytes) and not is_url(clip.source):
            path = clip.source
        if path is None:
            return ()
        lines = read_subtitles(path, limits=self.limits)
        start = -math.inf if clip.start is None else float(clip.start)
        end = math.inf if clip.end is None else float(clip.end)
        return tuple(line for line in lines if line.start >= start and line.end <= end)

    def _video(self, clip: Clip, info: ClipInfo) -> tuple[Exhibit, list[Part]]:
        lines = self._said(clip) if self.how.sound else ()
        exhibit = Exhibit(
            id=self.id, kind="video", name=clip.name, moments=(), start=info.start, end=info.end,
            lines=lines,
        )  # fmt: skip
        native = self.known.video and self.how.send_as != "frames"
        if self.how.send_as == "native" and not native:
            raise MediaFormatError(clip.name, _not_taken("videos"))
        if native:
            data = cut_clip(clip, sound=self.how.sound, limits=self.limits)
            if len(data) <= _MOST_INLINE:
                return self._whole(exhibit, info, data)
            if self.how.send_as == "native":
                raise MediaLimitError(
                    clip.name,
                    f"{len(data):,} bytes are more than the {_MOST_INLINE:,} of a video that goes "
                    "along; name a part, such as clip.mp4#2:00-5:30",
                )
        return self._framed(exhibit, clip, info)

    def _whole(self, exhibit: Exhibit, info: ClipInfo, data: bytes) -> tuple[Exhibit, list[Part]]:
        rate = min(5.0, max(0.1, self.how.most / max(info.seconds, 1e-3)))
        part = VideoPart(
            data=data, media_type="video/mp4", digest=content_hash(data), seconds=info.seconds,
            width=info.width, height=info.height, rate=min(1.0, rate),
        )  # fmt: skip
        # Its own clock begins at 0; what is said of it counts from the start of the file.
        caption = (
            f"It shows {clip_time(info.start)} to {clip_time(info.end)} of a recording. Add "
            f"{info.start:g} s to its own times to name a moment."
        )
        moments = (Moment(ref=self.id),)
        parts: list[Part] = [TextPart(text=caption), part]
        if exhibit.lines:
            parts.append(_transcript(self.id, exhibit.lines))
        sound = "" if self.how.sound and info.has_sound else ", without sound"
        return replace(
            exhibit, moments=moments, converted=f"compressed anew to {len(data):,} bytes{sound}"
        ), parts

    def _framed(self, exhibit: Exhibit, clip: Clip, info: ClipInfo) -> tuple[Exhibit, list[Part]]:
        n = max(1, min(self.how.most, math.ceil(info.seconds)))
        cuts: list[float] = []
        if self.how.choice == "scenes" and info.seconds <= self.limits.max_seconds:
            cuts = find_cuts(clip, limits=self.limits)
        if cuts:
            most = min(self.how.most, max(n, len(cuts) + 1))
            times = scene_times(info.start, info.end, cuts, most)
        else:
            times = frame_times(info.start, info.end, n)
        parts: list[Part] = []
        moments: list[Moment] = []
        for frame in frames_at(clip, times, limits=self.limits):
            picture = self._picture(frame.picture)
            parts += [TextPart(text=f"Clip {self.id} at {clip_time(frame.time)}:"), picture]
            ref = f"{self.id}@{_seconds(frame.time)}"
            moments.append(Moment(ref=ref, time=frame.time, picture=picture))
        heard = ""
        if info.has_sound:
            heard = ", its sound left out"
            if exhibit.lines:
                heard = ", what is said as text"
            elif self.how.sound and self.known.audio and self.how.send_as != "frames":
                parts.append(TextPart(text=f"Sound of clip {self.id}:"))
                parts.append(self._audio(clip, info))
                heard = ", its sound as it is"
        if exhibit.lines:
            parts.append(_transcript(self.id, exhibit.lines))
        return replace(
            exhibit,
            moments=tuple(moments),
            cuts=tuple(cuts),
            converted=f"{len(moments)} frames of {clip_time(info.seconds)}{heard}",
        ), parts


def _transcript(name: str, lines: Sequence[Line]) -> TextPart:
    said = "\n".join(map(str, lines))
    return TextPart(text=f"What is said in {name}, by its transcript:\n{said}")


def _not_taken(what: str) -> str:
    return f"this model takes no {what} as they are; leave out `native`, and frames or pages go"


def _seconds(time: float) -> str:
    """Write a time as references do, with tenths where there are any."""
    return f"{round(time, 1):g}"


def _find(ref: str, exhibits: Sequence[Exhibit]) -> Moment | None:
    found = re.fullmatch(
        r"(?:(?:image|clip|sound|document|text|part|video)\s+)?([A-Z]{1,3})"
        r"(?:\s*(?:@|at)\s*(?:(\d+):)?(?:(\d+):)?(\d+(?:\.\d+)?)\s*s?|\s*(?::|,?\s*page|p\.?)\s*(\d{1,6}))?",
        ref.strip().rstrip(".:"),
        re.IGNORECASE,
    )
    if found is None:
        return None
    exhibit = next((e for e in exhibits if e.id == found[1].upper()), None)
    if exhibit is None:
        return None
    if found[5] is not None:
        return next((m for m in exhibit.moments if m.page == int(found[5])), None)
    if found[4] is None:
        whole = [m for m in exhibit.moments if m.ref == exhibit.id]
        return whole[0] if whole else replace(exhibit.moments[0], ref=exhibit.id)
    hours, minutes = found[2], found[3]
    if minutes is None:
        hours, minutes = None, found[2]
    time = float(hours or 0) * 3600 + float(minutes or 0) * 60 + float(found[4])
    if exhibit.kind not in ("video", "sound") or not (
        exhibit.start - 0.5 <= time <= (exhibit.end or math.inf) + 0.5
    ):
        return None
    timed = [m for m in exhibit.moments if m.time is not None]
    if not timed:
        return Moment(ref=f"{exhibit.id}@{_seconds(time)}", time=time)
    return min(timed, key=lambda m: abs((m.time or 0.0) - time))
