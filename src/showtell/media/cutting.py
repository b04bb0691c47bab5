"""The sound of a clip as samples, and parts of clips as files of their own."""

from __future__ import annotations

import io
import math
import wave
from collections.abc import Iterator, Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from showtell._extras import need
from showtell.errors import MediaFormatError
from showtell.media.clip import (
    Clip,
    ClipSource,
    as_clip,
    check_seconds,
    decoded,
    info_of,
    opened,
    probe,
)
from showtell.media.frames import Frame, frame_times, frames_at
from showtell.media.source import DEFAULT_LIMITS, Limits


def read_sound(
    clip: Clip | ClipSource, *, rate: int = 16000, limits: Limits = DEFAULT_LIMITS
) -> NDArray[np.int16]:
    """Read the sound of a clip as samples.

    Parameters
    ----------
    clip : Clip, path, URL or bytes
    rate : int, default=16000
        Samples per second; one channel.
    limits : Limits
        `max_seconds` of sound.

    Returns
    -------
    samples : int16 array of shape (n_samples,)
        Empty if there is no sound.

    Raises
    ------
    MediaError
        If the sound is damaged, or longer than `Limits.max_seconds`.
    """
    clip = as_clip(clip)
    with opened(clip, limits) as container:
        info = info_of(clip, container, limits)
        if not info.has_sound:
            return np.zeros(0, np.int16)
        check_seconds(clip.name, info.seconds, limits)
        stream = container.streams.audio[0]
        base = float(stream.time_base or 1)
        container.seek(int(info.start / base), stream=stream, backward=True)
        resampler = need("av", extra="video", what="Reading sound").AudioResampler(
            "s16", "mono", rate
        )
        first: float | None = None
        pieces: list[NDArray[np.int16]] = []
        for frame in decoded(clip, container.decode(stream)):
            if frame.time >= info.end:
                break
            if first is None:
                first = float(frame.time)
            frame.pts = None  # the resampler counts by itself; its input has no gaps
            pieces += [out.to_ndarray().ravel() for out in resampler.resample(frame)]
        if first is None:
            return np.zeros(0, np.int16)
        pieces += [out.to_ndarray().ravel() for out in resampler.resample(None)]
    samples = np.concatenate(pieces)
    late = round((first - info.start) * rate)  # samples by which sound begins after the clip
    samples = np.pad(samples, (late, 0)) if late > 0 else samples[-late:]
    return samples[: math.ceil(info.seconds * rate)]


def cut_sound(
    clip: Clip | ClipSource, *, rate: int = 16000, limits: Limits = DEFAULT_LIMITS
) -> bytes:
    """Write the sound of a clip as a WAV file that holds nothing else.

    Parameters
    ----------
    clip : Clip, path, URL or bytes
    rate : int, default=16000
        Samples per second; one channel, 16 bits.
    limits : Limits

    Returns
    -------
    wav : bytes

    Raises
    ------
    MediaError
        If there is no sound, or it cannot be read.
    """
    clip = as_clip(clip)
    samples = read_sound(clip, rate=rate, limits=limits)
    if not samples.size:
        raise MediaFormatError(clip.name, "there is no sound in it")
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.astype("<i2").tobytes())
    return buffer.getvalue()


def cut_clip(
    clip: Clip | ClipSource,
    *,
    max_side: int = 640,
    rate: float = 5.0,
    sound: bool = True,
    limits: Limits = DEFAULT_LIMITS,
) -> bytes:
    """Write a clip anew as a small MP4 file that holds nothing else.

    Decoded and compressed again, never copied: a copied stream would keep frames back to the last
    key frame before the start. No metadata, no place, no camera goes along.

    Parameters
    ----------
    clip : Clip, path, URL or bytes
    max_side : int, default=640
        Pixels of the longer side.
    rate : float, default=5
        Frames per second.
    sound : bool, default=True
        Whether the sound goes along.
    limits : Limits

    Returns
    -------
    mp4 : bytes
        H.264 and AAC. Its clock begins at 0 with the start of the clip.

    Raises
    ------
    MediaError
        If it has no pictures, cannot be read, or is longer than `Limits.max_seconds`.
    """
    av = need("av", extra="video", what="Writing a clip")
    clip = as_clip(clip)
    info = probe(clip, limits=limits)
    check_seconds(clip.name, info.seconds, limits)
    buffer = io.BytesIO()
    scale = min(1.0, max_side / max(info.width, info.height, 1))
    width, height = (max(2, int(side * scale) // 2 * 2) for side in (info.width, info.height))
    n = max(1, math.ceil(info.seconds * rate))
    with av.open(buffer, "w", format="mp4") as out:
        video = out.add_stream("libx264", rate=Fraction(rate).limit_denominator(1000))
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        video.options = {"crf": "23", "preset": "veryfast"}
        audio = None
        if sound and info.has_sound:
            audio = out.add_stream("aac", rate=16000, layout="mono")
        step = info.seconds / n
        last = None
        shown = _frames_held(clip, frame_times(info.start, info.end, n), limits)
        for i, frame in enumerate(shown):
            if frame is not last:
                last = frame
                small = av.VideoFrame.from_image(frame.picture.resize((width, height)))
            small.pts, small.time_base = round(i * step * 1000), Fraction(1, 1000)
            out.mux(video.encode(small))
        out.mux(video.encode(None))
        if audio is not None:
            samples = read_sound(clip, limits=limits)
            piece = av.AudioFrame.from_ndarray(samples[None, :], format="s16", layout="mono")
            piece.sample_rate, piece.pts, piece.time_base = 16000, 0, Fraction(1, 16000)
            out.mux(audio.encode(piece))
            out.mux(audio.encode(None))
    return buffer.getvalue()


def _frames_held(clip: Clip, times: Sequence[float], limits: Limits) -> Iterator[Frame]:
    """One frame for every time, the same again where a video stands still."""
    frames = frames_at(clip, times, limits=limits)
    shown = next(frames)
    following = next(frames, None)
    for time in times:
        while following is not None and following.time <= time:
            shown, following = following, next(frames, None)
        yield shown
