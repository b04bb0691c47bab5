"""A small drawn world whose truth is known: fruit, price lists, streets, clips, speech in tones.

What is drawn here can be counted, read and heard again from the pixels and samples alone
(`count_fruit`, `read_plates`, `hear`), after JPEG, scaling and lossy sound, so that a local server
can answer questions by looking and listening, and a test can say whether the answer is true.
"""

from __future__ import annotations

import functools
import io
import math
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from showtell._extras import need
from showtell.errors import InputError

__all__ = [
    "FRUIT",
    "WALLS",
    "Plate",
    "count_fruit",
    "draw_basket",
    "draw_plate",
    "draw_prices",
    "draw_street",
    "hear",
    "read_plates",
    "speak",
    "wall_colour",
    "write_clip",
]

FRUIT: Mapping[str, tuple[tuple[int, int, int], float]] = {
    "apple": ((196, 28, 44), 1.0),
    "orange": ((244, 142, 24), 1.0),
    "lime": ((92, 168, 42), 0.75),
    "plum": ((92, 32, 108), 0.9),
    "lemon": ((244, 224, 62), 0.8),
    "blueberry": ((42, 62, 148), 0.5),
}
"""Fruit that can be drawn: colour, and size beside an apple."""
WALLS: Mapping[str, tuple[int, int, int]] = {
    "blue": (60, 110, 190),
    "red": (190, 60, 50),
    "yellow": (240, 220, 90),
    "green": (60, 140, 70),
    "grey": (140, 140, 140),
    "white": (236, 236, 232),
}
"""Colours of walls."""

_FRAME = (225, 0, 170)  # of plates; nothing else in this world is magenta
_WIDE, _HIGH = 6, 11  # dots of a letter in Pillow's bitmap font
_EDGE = 2  # dots of the frame on each side
_GAP = 1  # dots between the frame and the letters
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 .,:/$-+%&!?'()"
_WRONG_DOTS = 0.12  # share of a letter's dots above which it is no letter

_RATE = 16_000  # samples per second
_LOW = (697, 770, 852, 941, 1038, 1146, 1265, 1397)  # hertz
_HIGH_TONES = (1633, 1803, 1991, 2198, 2427, 2679, 2958, 3266)
_SPOKEN = " ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,?!-:/$ÄÖÜÉÈÑÇ"
_TONE, _PAUSE = 0.06, 0.03  # seconds of a letter and after it
_PURE = 0.3  # share of the energy that lies in the two tones of a letter; of pure tones it is .5


@dataclass(frozen=True, kw_only=True)
class Plate:
    """A sign that was read."""

    text: str
    box: tuple[int, int, int, int]
    """Left, top, right, bottom in pixels."""


@functools.cache
def _glyphs() -> NDArray[np.bool_]:
    """Letters as dots, (n_letters, height, width)."""
    font = ImageFont.load_default_imagefont()
    glyphs = np.zeros((len(_LETTERS), _HIGH, _WIDE), bool)
    for i, letter in enumerate(_LETTERS):
        picture = Image.new("1", (_WIDE, _HIGH))
        ImageDraw.Draw(picture).text((0, 0), letter, fill=1, font=font)
        glyphs[i] = np.asarray(picture)
    return glyphs


def draw_plate(text: str, *, dot: int = 4) -> Image.Image:
    """Draw a sign that can be read again.

    Parameters
    ----------
    text : str
        Capital letters, digits and common signs; small letters are written large.
    dot : int, default=4
        Pixels of one dot; two are enough after JPEG.

    Returns
    -------
    picture : PIL.Image.Image

    Raises
    ------
    InputError
        If a sign of the text cannot be drawn.

    Examples
    --------
    >>> [plate.text for plate in read_plates(draw_plate("Bakery"))]
    ['BAKERY']
    """
    glyphs = _glyphs()
    try:
        numbers = [_LETTERS.index(letter) for letter in text.upper()]
    except ValueError:
        raise InputError(f"A plate can hold {_LETTERS!r} only; got {text!r}.") from None
    dots = np.concatenate([glyphs[i] for i in numbers], axis=1)
    inner = np.pad(np.where(dots[..., None], 0, 255), ((_GAP, _GAP), (_GAP, _GAP), (0, 0)),
                   constant_values=255)  # fmt: skip
    inner = np.broadcast_to(inner, (*inner.shape[:2], 3))
    whole = np.empty((inner.shape[0] + 2 * _EDGE, inner.shape[1] + 2 * _EDGE, 3), np.uint8)
    whole[:] = _FRAME
    whole[_EDGE:-_EDGE, _EDGE:-_EDGE] = inner
    return Image.fromarray(whole.repeat(dot, 0).repeat(dot, 1))


def read_plates(picture: Image.Image) -> list[Plate]:
    """Read all plates in a picture, from top to bottom.

    Parameters
    ----------
    picture : PIL.Image.Image

    Returns
    -------
    plates : list of Plate
        What has a frame, but no letters that can be told, is left out.
    """
    from scipy.ndimage import find_objects, label

    values = np.asarray(picture.convert("RGB")).astype(np.int16)
    red, green, blue = values[..., 0], values[..., 1], values[..., 2]
    framed = (red > green + 70) & (blue > green + 50) & (red > 130)
    found = []
    for rows, columns in find_objects(label(framed, np.ones((3, 3)))[0]):
        box = (columns.start, rows.start, columns.stop, rows.stop)
        text = _read_plate(picture, box)
        if text:
            found.append(Plate(text=text, box=box))
    return sorted(found, key=lambda plate: (plate.box[1], plate.box[0]))


def _read_plate(picture: Image.Image, box: tuple[int, int, int, int]) -> str:
    around = 2 * (_EDGE + _GAP)
    height = box[3] - box[1]
    dot = height / (_HIGH + around)
    n_letters = round(((box[2] - box[0]) / dot - around) / _WIDE) if dot else 0
    if dot < 1.2 or n_letters < 1:
        return ""
    size = (n_letters * _WIDE + around, _HIGH + around)
    grid = picture.convert("L").resize(size, Image.Resampling.BOX, box=box)
    edge = _EDGE + _GAP
    inner = np.asarray(grid, float)[edge:-edge, edge:-edge]
    if inner.max() - inner.min() < 50:
        return ""
    ink = inner < (inner.max() + inner.min()) / 2
    letters = ink.reshape(_HIGH, n_letters, _WIDE).transpose(1, 0, 2)
    wrong = (letters[:, None] != _glyphs()[None]).mean((2, 3))  # (n_letters, n_glyphs)
    if wrong.min(1).mean() > _WRONG_DOTS:
        return ""
    return "".join(_LETTERS[i] for i in wrong.argmin(1)).strip()


def draw_basket(
    counts: Mapping[str, int], *, seed: int = 0, size: tuple[int, int] = (640, 480)
) -> Image.Image:
    """Draw fruit that do not touch.

    Parameters
    ----------
    counts : mapping of str to int
        Names of `FRUIT` to how many.
    seed : int, default=0
        For where they lie.
    size : (int, int), default=(640, 480)
        Width and height in pixels.

    Returns
    -------
    picture : PIL.Image.Image

    Raises
    ------
    InputError
        If there is no room for so many.

    Examples
    --------
    >>> count_fruit(draw_basket({"apple": 3, "lime": 2}))
    {'apple': 3, 'lime': 2}
    """
    rng = random.Random(seed)  # noqa: S311 - a drawing
    picture = Image.new("RGB", size, (222, 200, 160))
    draw = ImageDraw.Draw(picture)
    for stripe in range(0, size[0], 16):
        draw.line([(stripe, 0), (stripe, size[1])], fill=(208, 184, 142), width=2)
    unit = min(size) / 14
    placed: list[tuple[float, float, float]] = []
    for name, many in counts.items():
        colour, share = FRUIT[name]
        radius = unit * share
        for _ in range(many):
            x, y = _free_place(rng, size, radius, placed)
            placed.append((x, y, radius))
            box = (x - radius, y - radius, x + radius, y + radius)
            draw.ellipse(box, fill=colour, outline=tuple(c // 2 for c in colour), width=2)
    return picture


def _free_place(
    rng: random.Random, size: tuple[int, int], radius: float, placed: list[Any]
) -> tuple[float, float]:
    for _ in range(4000):
        x = rng.uniform(radius + 4, size[0] - radius - 4)
        y = rng.uniform(radius + 4, size[1] - radius - 4)
        if all(math.hypot(x - a, y - b) > radius + r + 6 for a, b, r in placed):
            return x, y
    raise InputError("There is no room for so many fruit.")


def count_fruit(picture: Image.Image) -> dict[str, int]:
    """Count fruit by colour and by what hangs together.

    Parameters
    ----------
    picture : PIL.Image.Image

    Returns
    -------
    counts : dict of str to int
        Without those that are not there.
    """
    from scipy.ndimage import find_objects, label

    values = np.asarray(picture.convert("RGB")).astype(int)
    colours = np.array([colour for colour, _ in FRUIT.values()])
    distance = ((values[:, :, None] - colours) ** 2).sum(-1)
    nearest, is_near = distance.argmin(-1), distance.min(-1) < 40**2
    counts = {}
    for i, name in enumerate(FRUIT):
        pieces, _ = label(is_near & (nearest == i))
        areas = np.bincount(pieces.ravel())[1:]
        usual = (min(picture.size) / 14 * FRUIT[name][1]) ** 2 * math.pi
        found = 0
        for area, (rows, columns) in zip(areas, find_objects(pieces), strict=True):
            high, wide = rows.stop - rows.start, columns.stop - columns.start
            is_round = 0.6 < high / wide < 1.6 and area > 0.6 * high * wide
            found += bool(is_round and 0.5 * usual < area < 2 * usual)
        if found:
            counts[name] = found
    return counts


def draw_prices(
    rows: Sequence[tuple[str, str, str]], *, title: str = "PRICES", dot: int = 3
) -> Image.Image:
    """Draw a price list of plates.

    Parameters
    ----------
    rows : sequence of (name, price, unit)
        Such as ``("apple", "$0.50", "each")``.
    title : str, default="PRICES"
    dot : int, default=3
        Pixels of one dot.

    Returns
    -------
    picture : PIL.Image.Image
    """
    plates = [draw_plate(title, dot=dot)]
    plates += [draw_plate(f"{name} {price} {unit}".strip(), dot=dot) for name, price, unit in rows]
    width = max(plate.width for plate in plates) + 40
    step = plates[0].height + 12
    picture = Image.new("RGB", (width, step * len(plates) + 20), (245, 245, 240))
    for i, plate in enumerate(plates):
        picture.paste(plate, (20, 16 + i * step))
    return picture


def draw_street(
    wall: str, sign: str, *, moved: float = 0.0, size: tuple[int, int] = (640, 360)
) -> Image.Image:
    """Draw a house with a coloured wall and a sign on it.

    Parameters
    ----------
    wall : str
        A name of `WALLS`.
    sign : str
        What is written on it; "" for none.
    moved : float, default=0
        Pixels by which all is moved to the right.
    size : (int, int), default=(640, 360)

    Returns
    -------
    picture : PIL.Image.Image
    """
    width, height = size
    picture = Image.new("RGB", size, (150, 190, 230))
    draw = ImageDraw.Draw(picture)
    draw.rectangle([0, height - height // 5, width, height], fill=(130, 120, 110))
    x = round(moved)
    box = [width // 10 + x, height // 8, width - width // 10 + x, height - height // 6]
    draw.rectangle(box, fill=WALLS[wall], outline=(40, 40, 40), width=3)
    if sign:
        dot = max(2, min(4, (box[2] - box[0] - 60) // (6 * len(sign) + 6)))
        plate = draw_plate(sign, dot=dot)
        picture.paste(plate, (box[0] + (box[2] - box[0] - plate.width) // 2, box[1] + height // 6))
    return picture


def wall_colour(picture: Image.Image, plate: Plate) -> str:
    """Name the colour around a plate.

    Parameters
    ----------
    picture : PIL.Image.Image
    plate : Plate

    Returns
    -------
    colour : str
        The nearest of `WALLS`; "" where nothing is around it.
    """
    values = np.asarray(picture.convert("RGB")).astype(int)
    left, top, right, bottom = plate.box
    edge = max(3, (bottom - top) // 4)
    rows = slice(max(0, top - edge), bottom + edge), slice(max(0, left - edge), right + edge)
    ring = np.ones(values.shape[:2], bool)
    ring[max(0, top - 2) : bottom + 2, max(0, left - 2) : right + 2] = False
    beside = values[rows][ring[rows]]
    if not beside.size:
        return ""
    around = np.median(beside, axis=0)
    return min(WALLS, key=lambda name: float(((np.array(WALLS[name]) - around) ** 2).sum()))


def speak(text: str, *, rate: int = _RATE) -> NDArray[np.int16]:
    """Say a text in tones: two for each letter, 90 ms.

    Parameters
    ----------
    text : str
        Letters, digits and common signs; small letters sound like capital ones.
    rate : int, default=16000
        Samples per second.

    Returns
    -------
    samples : int16 array of shape (n_samples,)

    Raises
    ------
    InputError
        If a sign of the text has no sound.

    Examples
    --------
    >>> hear(speak("Bonjour!"))
    'BONJOUR!'
    """
    time = np.arange(round(_TONE * rate)) / rate
    fade = np.hanning(len(time)) ** 0.3
    pause = np.zeros(round(_PAUSE * rate))
    pieces = [pause]
    for letter in text.upper():
        if letter not in _SPOKEN:
            raise InputError(f"There are sounds for {_SPOKEN!r} only; got {letter!r}.")
        low, high = divmod(_SPOKEN.index(letter), 8)
        tones = np.sin(2 * np.pi * _LOW[low] * time) + np.sin(2 * np.pi * _HIGH_TONES[high] * time)
        pieces += [0.35 * fade * tones, pause]
    return (np.concatenate(pieces) * 32767).astype(np.int16)


def hear(samples: NDArray[np.int16], *, rate: int = _RATE) -> str:
    """Write down what was said in tones.

    Parameters
    ----------
    samples : int16 array of shape (n_samples,)
    rate : int, default=16000

    Returns
    -------
    text : str
        Empty where there is silence or other sound only.
    """
    return "".join(letter for _, letter in _heard(samples, rate))


def _heard(samples: NDArray[np.int16], rate: int) -> list[tuple[float, str]]:
    """Give each letter with the second at which it begins."""
    sound = samples.astype(float) / 32768
    window, hop = round(0.02 * rate), round(0.01 * rate)
    if len(sound) < window:
        return []
    frames = np.lib.stride_tricks.sliding_window_view(sound, window)[::hop]
    tones = np.array(_LOW + _HIGH_TONES)
    waves = np.exp(-2j * np.pi * np.outer(np.arange(window) / rate, tones))
    power = np.abs(frames @ waves) ** 2 / window  # (n_frames, 16)
    energy = (frames**2).sum(1)
    loud = energy > 0.12 * np.quantile(energy, 0.95) if energy.max() > 1e-4 else energy > np.inf
    edges = np.flatnonzero(np.diff(np.r_[False, loud, False]))
    found = []
    for start, end in zip(edges[::2], edges[1::2], strict=True):
        if end - start < 3:
            continue
        heart = slice(start + 1, end - 1) if end - start > 3 else slice(start, end)
        inner = power[heart].sum(0)
        if inner[:8].max() + inner[8:].max() < _PURE * energy[heart].sum():
            continue  # other sound
        number = 8 * int(inner[:8].argmax()) + int(inner[8:].argmax())
        if number < len(_SPOKEN):
            found.append((start * hop / rate, _SPOKEN[number]))
    return found


def write_clip(
    pictures: Iterable[Image.Image],
    *,
    rate: float = 10.0,
    sound: NDArray[np.int16] | None = None,
    times: Sequence[float] | None = None,
    language: str | None = None,
) -> bytes:
    """Write pictures and sound as an MP4 file.

    Parameters
    ----------
    pictures : iterable of PIL.Image.Image
        All of one size, with even sides.
    rate : float, default=10
        Pictures per second.
    sound : int16 array of shape (n_samples,), optional
        At 16,000 a second.
    times : sequence of float, optional
        Seconds at which each picture is shown, for a rate that varies.
    language : str, optional
        Three letters, of the sound.

    Returns
    -------
    mp4 : bytes

    Raises
    ------
    MissingExtraError
        If the extra ``video`` is not installed.
    """
    av = need("av", extra="video", what="Writing a clip")
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as out:
        video = out.add_stream("libx264", rate=Fraction(rate).limit_denominator(1000))
        video.pix_fmt, video.options = "yuv420p", {"crf": "18", "preset": "veryfast", "g": "20"}
        video.time_base = Fraction(1, 1000)
        audio = None
        if sound is not None:
            audio = out.add_stream("aac", rate=_RATE, layout="mono")
            if language:
                audio.metadata["language"] = language
        for i, picture in enumerate(pictures):
            if not i:
                video.width, video.height = picture.size
            frame = av.VideoFrame.from_image(picture)
            time = i / rate if times is None else times[i]
            frame.pts, frame.time_base = round(time * 1000), Fraction(1, 1000)
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
        if audio is not None and sound is not None:
            piece = av.AudioFrame.from_ndarray(sound[None, :], format="s16", layout="mono")
            piece.sample_rate, piece.pts, piece.time_base = _RATE, 0, Fraction(1, _RATE)
            out.mux(audio.encode(piece))
            out.mux(audio.encode(None))
    return buffer.getvalue()
