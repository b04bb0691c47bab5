"""Subtitles: in files of their own and inside videos; by pysubs2."""

from __future__ import annotations

import glob
import os
import re
from dataclasses import dataclass
from pathlib import Path

from showtell._extras import need
from showtell.errors import MediaFormatError, MediaLimitError
from showtell.media.clip import Clip, ClipSource, clip_time, opened, packets_of
from showtell.media.files import open_file
from showtell.media.source import DEFAULT_LIMITS, Limits, is_url, media_name

SUBTITLE_SUFFIXES = (".srt", ".vtt", ".ass", ".ssa")
"""Names that are taken for subtitles."""

_MOST_SUBTITLES = 10_000_000  # bytes; a thousand hours of talk  # bytes; a thousand hours of talk
_TEXT_CODECS = ("subrip", "srt", "webvtt", "mov_text", "ass", "ssa", "text")


@dataclass(frozen=True, kw_only=True)
class Line:
    """A subtitle, or a sentence of a transcript."""

    start: float
    """Seconds."""
    end: float
    """Seconds."""
    text: str

    def __str__(self) -> str:
        return f"[{clip_time(self.start)}-{clip_time(self.end)}] {self.text}"


def read_subtitles(
    source: str | os.PathLike[str], *, limits: Limits = DEFAULT_LIMITS
) -> tuple[Line, ...]:
    """Read subtitles (SRT, WebVTT, ASS) from a file, or those inside a video.

    Parameters
    ----------
    source : path
        A subtitle file or a video. Of a video that has several, the first are read.
    limits : Limits

    Returns
    -------
    lines : tuple of Line
        In order of time; formatting is left out. Empty for a video without.

    Raises
    ------
    MediaError
        If the file cannot be read.
    MissingExtraError
        If the extra ``video`` is not installed.
    """
    pysubs2 = need("pysubs2", extra="video", what="Reading subtitles")
    name = media_name(source)
    if Path(source).suffix.lower() in SUBTITLE_SUFFIXES:
        with open_file(name, source, kind="subtitle") as (file, _):
            data = file.read(_MOST_SUBTITLES + 1)
        if len(data) > _MOST_SUBTITLES:
            raise MediaLimitError(name, f"subtitles of more than {_MOST_SUBTITLES:,} bytes")
        text = _decoded(data)
    else:
        text = _subtitles_inside(Clip(source), limits)
    if not text.strip():
        return ()
    try:
        events = pysubs2.SSAFile.from_string(text).events
    except Exception as error:
        raise MediaFormatError(name, "these are no subtitles (SRT, WebVTT or ASS)") from error
    lines = [
        Line(start=e.start / 1000, end=e.end / 1000, text=" ".join(e.plaintext.split()))
        for e in events
        if not e.is_comment and e.plaintext.strip()
    ]
    return tuple(sorted(lines, key=lambda line: (line.start, line.end)))


def _decoded(data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace")


def _subtitles_inside(clip: Clip, limits: Limits) -> str:
    """Write the text subtitles of a video as SRT."""
    out: list[str] = []
    with opened(clip, limits) as container:
        stream = next(
            (s for s in container.streams.subtitles if s.codec_context.name in _TEXT_CODECS), None
        )
        if stream is None:
            return ""
        base = float(stream.time_base or 1)
        for packet in packets_of(clip, container, stream):
            text = _decoded(bytes(packet)).strip("\0")
            if stream.codec_context.name == "mov_text":
                text = _decoded(bytes(packet)[2:])
            elif stream.codec_context.name in ("ass", "ssa"):
                text = text.split(",", 8)[-1].replace("\\N", "\n")
            if packet.pts is None or not text.strip():
                continue
            first, last = packet.pts * base, (packet.pts + (packet.duration or 0)) * base
            out.append(f"{len(out) + 1}\n{_srt(first)} --> {_srt(last)}\n{text.strip()}\n")
    return "\n".join(out)


def _srt(seconds: float) -> str:
    milliseconds = round(seconds * 1000)
    minutes, milliseconds = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{milliseconds // 1000:02d},{milliseconds % 1000:03d}"


def subtitles_beside(source: ClipSource) -> Path | None:
    """Find a subtitle file that has the name of a video.

    Parameters
    ----------
    source : path, URL or bytes

    Returns
    -------
    path : pathlib.Path or None
        ``trip.srt`` or ``trip.en.srt`` beside ``trip.mp4``; None where there is none.
    """
    if isinstance(source, bytes) or is_url(source):
        return None
    path = Path(source)
    beside = sorted(path.parent.glob(f"{glob.escape(path.stem)}*")) if path.parent.is_dir() else []
    for found in beside:
        rest = found.name[len(path.stem) :].lower()
        if re.fullmatch(r"(\.[a-z]{2,3}(-[a-z]{2,4})?)?\.(srt|vtt|ass|ssa)", rest):
            return found
    return None
