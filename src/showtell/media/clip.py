"""A video or a sound, or a part of it: its times, and how its file is opened; by PyAV.

Times are seconds from the beginning of the file, as its own clock says, never a frame's number
over a frame rate: phones record at varying rates.
"""

from __future__ import annotations

import io
import math
import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from showtell._extras import need
from showtell.errors import InputError, MediaError, MediaFormatError, MediaLimitError
from showtell.media.files import open_file
from showtell.media.source import DEFAULT_LIMITS, Limits, check_pixels, is_url, media_name

if TYPE_CHECKING:
    from av.container import InputContainer


VIDEO_SUFFIXES = (".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".3gp", ".mpg", ".mpeg", ".ts")
"""Names that are taken for videos."""
SOUND_SUFFIXES = (".wav", ".flac", ".mp3", ".m4a", ".aac", ".ogg", ".oga", ".opus")
"""Names that are taken for sound."""

# Of what FFmpeg reads, what is a file of media by itself: a playlist would fetch what it names.
_CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,ogg,flac,wav,mp3,aac,asf,flv,"
    "w64,aiff,amr"
)
_OPTIONS = {"format_whitelist": _CONTAINERS, "protocol_whitelist": "none"}
_FURTHER_BACK = (0.0, 2.0, 10.0, 60.0, math.inf)  # seconds
_TIME = re.compile(r"(?:(?:(\d+):)?([0-5]?\d):)?(\d+(?:\.\d+)?)")
_RANGE = re.compile(r"#([\d:.]*)-([\d:.]*)$")

ClipSource: TypeAlias = str | os.PathLike[str] | bytes
"""A path, an http(s) URL, or the bytes of a file."""


def parse_time(text: str | float) -> float:
    """Read a time as people write it.

    Parameters
    ----------
    text : str or float
        ``"90"``, ``"1:30"``, ``"1:02:03.5"``, or seconds.

    Returns
    -------
    seconds : float

    Raises
    ------
    InputError
        If it is none.

    Examples
    --------
    >>> parse_time("2:05.5"), parse_time("1:00:00"), parse_time(7)
    (125.5, 3600.0, 7.0)
    """
    if isinstance(text, str):
        found = _TIME.fullmatch(text.strip())
        if found is not None and text.isascii():
            hours, minutes, seconds = (float(part or 0) for part in found.groups())
            if found[2] is None or seconds < 60:
                return hours * 3600 + minutes * 60 + seconds
    elif math.isfinite(text) and text >= 0:
        return float(text)
    raise InputError(
        f"A time is seconds, M:SS or H:MM:SS, such as 90, 1:30 or 1:02:03.5; got {text!r}."
    )


def clip_time(seconds: float) -> str:
    """Write a time as captions of frames do.

    Parameters
    ----------
    seconds : float

    Returns
    -------
    text : str
        ``M:SS.f`` with tenths, or ``H:MM:SS.f`` from one hour on.

    Examples
    --------
    >>> clip_time(3.5), clip_time(125), clip_time(3600)
    ('0:03.5', '2:05.0', '1:00:00.0')
    """
    tenths = round(seconds * 10)
    minutes, tenths = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    short = f"{tenths // 10:02d}.{tenths % 10}"
    return f"{hours}:{minutes:02d}:{short}" if hours else f"{minutes}:{short}"


@dataclass(frozen=True)
class Clip:
    """A video or a sound, or the part of it between two times.

    Parameters
    ----------
    source : str, path or bytes
        A path or http(s) URL, or the bytes of a file. ``"trip.mp4#2:00-5:30"`` is the part between
        these times.
    start, end : float or str, optional
        Seconds, or a time such as ``"2:00"``. By default the whole. Nothing that was recorded
        before `start` or after `end` is ever read out of a clip.

    Raises
    ------
    InputError
        If a time is none, or `end` is not after `start`.

    Examples
    --------
    >>> Clip("trip.mp4#2:00-5:30")
    Clip(source='trip.mp4', start=120.0, end=330.0)
    >>> Clip("trip.mp4", start="0:02").name
    'trip.mp4#0:02.0-'
    """

    source: ClipSource
    start: float | str | None = None
    end: float | str | None = None

    def __post_init__(self) -> None:
        source, start, end = self.source, self.start, self.end
        if isinstance(source, str) and (found := _RANGE.search(source)) and any(found.groups()):
            if start is not None or end is not None:
                raise InputError(
                    f"{media_name(source)!r} says already which part is meant; do not give "
                    "other times for it."
                )
            source, start, end = source[: found.start()], found[1] or None, found[2] or None
        first = None if start is None else parse_time(start)
        last = None if end is None else parse_time(end)
        if last is not None and last <= (first or 0.0):
            raise InputError(
                "A part of a clip ends after it begins; got "
                f"{clip_time(first or 0.0)} to {clip_time(last)}."
            )
        for name, value in (("source", source), ("start", first), ("end", last)):
            object.__setattr__(self, name, value)

    @property
    def name(self) -> str:
        """The clip as rows and messages show it."""
        if self.start is None and self.end is None:
            return media_name(self.source)
        ends = ("" if t is None else clip_time(parse_time(t)) for t in (self.start, self.end))
        return f"{media_name(self.source)}#{'-'.join(ends)}"


@dataclass(frozen=True, kw_only=True)
class ClipInfo:
    """What a file says about its video and sound."""

    start: float
    """Seconds at which the part begins."""
    end: float
    """Seconds at which it ends, in the same clock."""
    width: int
    """Pixels of the upright picture; 0 for sound alone."""
    height: int
    """Pixels of the upright picture; 0 for sound alone."""
    rate: float
    """Frames per second in the mean; 0 if it is not known, or for sound alone."""
    has_sound: bool
    subtitles: tuple[str, ...] = ()
    """Languages of the subtitles inside, "und" where it is not said."""
    container: str = ""

    @property
    def seconds(self) -> float:
        """Length of the part."""
        return self.end - self.start

    @property
    def has_video(self) -> bool:
        """Whether there are pictures."""
        return self.width > 0


def as_clip(clip: Clip | ClipSource) -> Clip:
    """Make a `Clip` of what may be one already."""
    return clip if isinstance(clip, Clip) else Clip(clip)


def probe(clip: Clip | ClipSource, *, limits: Limits = DEFAULT_LIMITS) -> ClipInfo:
    """Read length, size and streams of a video or sound, without decoding it.

    Parameters
    ----------
    clip : Clip, path, URL or bytes
    limits : Limits
        Pixels of a frame; bytes of what is fetched from a URL.

    Returns
    -------
    info : ClipInfo

    Raises
    ------
    MediaError
        If it is no video and no sound, is damaged, or begins only after its end.
    MissingExtraError
        If the extra ``video`` is not installed.
    """
    clip = as_clip(clip)
    with opened(clip, limits) as container:
        return info_of(clip, container, limits)


@contextmanager
def opened(clip: Clip, limits: Limits) -> Iterator[InputContainer]:
    """Open the file of a clip; whatever FFmpeg says about it becomes a `MediaError`."""
    av = need("av", extra="video", what="Reading video and sound")
    with ExitStack() as stack:
        source = clip.source
        file: Any
        if is_url(source):
            from showtell.media.url import fetch_url

            assert isinstance(source, str)
            file = io.BytesIO(fetch_url(source, limits=limits))
        elif isinstance(source, bytes):
            file = io.BytesIO(source)
        else:
            file, _ = stack.enter_context(open_file(clip.name, source, kind="video or sound"))
        try:
            container = stack.enter_context(av.open(file, options=_OPTIONS))
        except MediaError:
            raise
        except Exception as error:
            raise _damaged(clip.name, error) from error
        for stream in container.streams.video:
            stream.thread_type = "AUTO"
        try:
            yield container
        except InputError:
            raise
        except Exception as error:  # what FFmpeg makes of a damaged file has no end
            raise _damaged(clip.name, error) from error


def info_of(clip: Clip, container: InputContainer, limits: Limits) -> ClipInfo:
    """Read what an open file says about the part that a clip is."""
    streams = container.streams
    video = moving_picture(container)
    if video is None and not streams.audio:
        raise MediaFormatError(clip.name, "there is no picture and no sound in it")
    begins = max(0.0, (container.start_time or 0) / 1_000_000)
    ends = begins + _duration(clip, container)
    start = begins if clip.start is None else max(begins, parse_time(clip.start))
    end = ends if clip.end is None else min(ends, parse_time(clip.end))
    if start >= end:
        raise MediaLimitError(
            clip.name,
            f"this part begins at {clip_time(start)}, but the recording ends at {clip_time(ends)}",
        )
    width = height = 0
    rate = 0.0
    if video is not None:
        if video.codec_context is None:
            raise MediaFormatError(clip.name, "nobody here knows how its pictures are coded")
        width, height = video.codec_context.width, video.codec_context.height
        check_pixels(clip.name, (width, height), limits)
        rate = float(video.average_rate or 0)
        if _is_turned(video):
            width, height = height, width
    return ClipInfo(
        start=start,
        end=end,
        width=width,
        height=height,
        rate=rate,
        has_sound=any(stream.codec_context is not None for stream in streams.audio),
        subtitles=tuple(s.language or "und" for s in streams.subtitles),
        container=container.format.name,
    )


def _duration(clip: Clip, container: InputContainer) -> float:
    """Seconds; counted from the packets where the file does not say."""
    if container.duration is not None and container.duration > 0:
        return float(container.duration / 1_000_000)
    last = 0.0
    for packet in packets_of(clip, container, None):
        if packet.pts is not None and packet.time_base is not None:
            last = max(last, float((packet.pts + (packet.duration or 0)) * packet.time_base))
    container.seek(0)
    if last <= 0:
        raise MediaFormatError(clip.name, "its length is not known: nothing in it has a time")
    return last


def moving_picture(container: InputContainer) -> Any:
    """Find the pictures that move; the cover of a piece of music is none."""
    from av.stream import Disposition

    moving = (s for s in container.streams.video if not s.disposition & Disposition.attached_pic)
    return next(moving, None)


def _is_turned(stream: Any) -> bool:
    """Whether the upright picture is the stored one turned by a quarter."""
    frame = None
    try:
        frame = next(stream.container.decode(stream), None)
        stream.container.seek(0)
    except Exception:  # noqa: BLE001 - reading frames will tell
        return False
    return frame is not None and round(frame.rotation / 90) % 2 == 1


def decoded(clip: Clip, frames: Iterator[Any]) -> Iterator[Any]:
    """Give frames that have a time, and name the clip in what goes wrong."""
    while True:
        try:
            frame = next(frames, None)
        except Exception as error:
            raise _damaged(clip.name, error) from error
        if frame is None:
            return
        if frame.time is not None:
            yield frame


def frames_from(clip: Clip, container: InputContainer, stream: Any, time: float) -> Iterator[Any]:
    """Decode from the last key frame that is not after a time.

    Containers without an index, such as MPEG-TS, are sought by their clock alone, which may lead
    to where no key frame comes any more: then the search begins further back.
    """
    for back in _FURTHER_BACK:
        at = max(0.0, time - back)
        container.seek(int(at / float(stream.time_base or 1)), stream=stream, backward=True)
        coming = decoded(clip, container.decode(stream))
        first = next(coming, None)
        if (first is not None and first.time <= time) or at <= 0:
            break
    if first is not None:
        yield first
        yield from coming


def packets_of(clip: Clip, container: InputContainer, stream: Any) -> Iterator[Any]:
    """Give packets of a stream, or of all, and name the clip in what goes wrong."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except Exception as error:
            raise _damaged(clip.name, error) from error
        if packet is None:
            return
        yield packet


def check_seconds(name: str, seconds: float, limits: Limits) -> None:
    """Refuse what is too long to be gone through."""
    if seconds > limits.max_seconds:
        raise MediaLimitError(
            name,
            f"{clip_time(seconds)} are more than the {clip_time(limits.max_seconds)} that are "
            "looked or listened through (Limits.max_seconds); name a part, such as "
            "clip.mp4#2:00-5:30",
        )


def _damaged(name: str, error: BaseException) -> MediaFormatError:
    detail = getattr(error, "strerror", None) or type(error).__name__
    return MediaFormatError(name, f"it is no video or sound that can be read ({detail})")
