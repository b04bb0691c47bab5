"""Frames of a video at exact times, and where its shots begin."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from showtell.errors import MediaFormatError
from showtell.media.clip import (
    Clip,
    ClipInfo,
    ClipSource,
    as_clip,
    check_seconds,
    frames_from,
    info_of,
    moving_picture,
    opened,
)
from showtell.media.source import DEFAULT_LIMITS, Limits, check_pixels

if TYPE_CHECKING:
    from av.container import InputContainer

_GO_ON = 4.0  # seconds ahead to which decoding on is taken to be quicker than seeking
_CUT = 0.35  # half the L1 distance of colour histograms, above which two frames are of two shots
_JUMP = 12.0  # mean change of a value, of 255, above which they may be, if ...
_SPIKE = 2.5  # ... it is so many times what changed from frame to frame just before and after
_SMALL = (64, 36)  # pixels at which frames are compared
_STEP = 0.01  # seconds; times that differ by less are one


@dataclass(frozen=True, kw_only=True)
class Frame:
    """One picture of a video."""

    time: float
    """Seconds, by the clock of the file."""
    picture: Image.Image
    """Upright, RGB."""


def frame_times(start: float, end: float, n: int) -> list[float]:
    """Spread times over a span: the centres of `n` equal parts.

    Parameters
    ----------
    start, end : float
        Seconds.
    n : int

    Returns
    -------
    times : list of float

    Examples
    --------
    >>> frame_times(0, 10, 5)
    [1.0, 3.0, 5.0, 7.0, 9.0]
    >>> frame_times(120, 330, 3)
    [155.0, 225.0, 295.0]
    """
    return [start + (i + 0.5) * (end - start) / n for i in range(n)]


def scene_times(start: float, end: float, cuts: Sequence[float], n: int) -> list[float]:
    """Choose times so that every shot is seen: its middle first, what is left spread evenly.

    Parameters
    ----------
    start, end : float
        Seconds.
    cuts : sequence of float
        Seconds at which a new shot begins, from `find_cuts`.
    n : int
        Most times. With more shots than that, the longest are taken.

    Returns
    -------
    times : list of float
        Ascending, at most `n`.

    Examples
    --------
    >>> scene_times(0, 10, [4], 2)
    [2.0, 7.0]
    >>> scene_times(0, 10, [4], 4)
    [2.0, 2.5, 7.0, 7.5]
    """
    edges = [start, *(c for c in cuts if start < c < end), end]
    shots = sorted(pairwise(edges), key=lambda s: s[0] - s[1])[:n]
    times = {(first + last) / 2 for first, last in shots}
    for more in range(n - len(times), n + 1):  # some may fall on middles
        spread = times.union(frame_times(start, end, more) if more else ())
        if len(spread) >= n:
            break
    return sorted(spread)[:n]


def frames_at(
    clip: Clip | ClipSource, times: Iterable[float], *, limits: Limits = DEFAULT_LIMITS
) -> Iterator[Frame]:
    """Take frames out of a video: for each time the one that is shown then.

    That is the last frame not after the time; where it would lie before the start of the clip, the
    first one of the clip. Only what lies between the key frame before a time and the time is
    decoded.

    Parameters
    ----------
    clip : Clip, path, URL or bytes
    times : iterable of float
        Seconds, ascending.
    limits : Limits
        Pixels of a frame.

    Yields
    ------
    frame : Frame
        One for each time, except that a frame is given once only, however many times ask for it.

    Raises
    ------
    MediaError
        If the video is damaged there, or has no frame between its start and end.
    """
    clip = as_clip(clip)
    with opened(clip, limits) as container:
        info = info_of(clip, container, limits)
        if not info.has_video:
            raise MediaFormatError(clip.name, "it holds sound, but no pictures")
        yield from _frames_at(clip, container, info, times, limits)


def _frames_at(
    clip: Clip, container: InputContainer, info: ClipInfo, times: Iterable[float], limits: Limits
) -> Iterator[Frame]:
    stream = moving_picture(container)
    given: float | None = None
    ahead: Any = None  # decoded, but later than the time that was asked for
    shown: Any = None
    coming: Iterator[Any] = iter(())
    for time in times:
        here = shown.time if shown is not None else None
        if here is None or not here <= time <= here + _GO_ON:
            coming, shown = frames_from(clip, container, stream, time), None
            ahead = next(coming, None)
        while ahead is not None and ahead.time <= time:
            shown = ahead
            ahead = next(coming, None)
        if shown is None or shown.time < info.start - _STEP:
            # What is shown at this time was recorded before the clip begins: take the next one.
            while ahead is not None and ahead.time < info.start - _STEP:
                ahead = next(coming, None)
            if ahead is None or ahead.time > info.end:
                continue
            shown, ahead = ahead, next(coming, None)
        if shown.time != given:
            given = shown.time
            yield Frame(time=given, picture=_upright(clip, shown, limits))
    if given is None:
        raise MediaFormatError(clip.name, "no frame was recorded in this part of the video")


def _upright(clip: Clip, frame: Any, limits: Limits) -> Image.Image:
    check_pixels(clip.name, (frame.width, frame.height), limits)
    picture: Image.Image = frame.to_image()
    # PyAV does not turn frames. `rotation` is in degrees against the clock, as Pillow wants it.
    turn = round(frame.rotation / 90) % 4
    return picture.transpose(_TURNS[turn]) if turn else picture


_TURNS = {
    1: Image.Transpose.ROTATE_90,
    2: Image.Transpose.ROTATE_180,
    3: Image.Transpose.ROTATE_270,
}


def find_cuts(clip: Clip | ClipSource, *, limits: Limits = DEFAULT_LIMITS) -> list[float]:
    """Find where a new shot begins, by looking through the whole clip.

    Frames are compared at 64 x 36 pixels. Two are of two shots if half the L1 distance of their
    colour histograms (8 x 8 x 8) is above .35, or if the values of their pixels change by more than
    12 of 255 in the mean and by more than 2.5 times what they change just before and after: a cut
    between two pictures of one street keeps the colours, and a camera that turns changes all
    frames. Finds hard cuts, not fades.

    Parameters
    ----------
    clip : Clip, path, URL or bytes
    limits : Limits
        `max_seconds` of a clip that is looked through.

    Returns
    -------
    cuts : list of float
        Seconds of the first frame of each shot but the first.

    Raises
    ------
    MediaLimitError
        If the clip is longer than `Limits.max_seconds`.
    """
    clip = as_clip(clip)
    times: list[float] = []
    jumps: list[float] = []
    sure: list[bool] = []
    before: tuple[NDArray[np.float64], NDArray[np.int16]] | None = None
    with opened(clip, limits) as container:
        info = info_of(clip, container, limits)
        check_seconds(clip.name, info.seconds, limits)
        if not info.has_video:
            return []
        stream = moving_picture(container)
        for frame in frames_from(clip, container, stream, info.start):
            if frame.time > info.end:
                break
            if frame.time < info.start - _STEP:
                continue
            pixels = frame.reformat(*_SMALL, "rgb24").to_ndarray()
            now = _histogram(pixels), pixels.astype(np.int16)
            if before is not None:
                times.append(float(frame.time))
                sure.append(bool(0.5 * np.abs(now[0] - before[0]).sum() > _CUT))
                jumps.append(float(np.abs(now[1] - before[1]).mean()))
            before = now
    around = np.pad(np.array(jumps), 1)
    beside = np.maximum(around[:-2], around[2:]) if jumps else around[:0]
    spikes = (around[1:-1] > _JUMP) & (around[1:-1] > _SPIKE * beside) if jumps else beside
    return [t for t, a, b in zip(times, sure, spikes, strict=True) if a or b]


def _histogram(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Shares of 8 x 8 x 8 colours, (512,)."""
    coarse = (pixels >> 5).astype(np.int64)
    codes = coarse[..., 0] * 64 + coarse[..., 1] * 8 + coarse[..., 2]
    return np.bincount(codes.ravel(), minlength=512) / codes.size
