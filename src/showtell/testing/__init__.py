"""Public fakes: tiny encoders whose answers one can work out by hand, and drawn pictures.

They behave like real encoders towards the rest of showtell, need no weights and no files, and give
the same numbers everywhere. Use them to test what you build on showtell.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from showtell.encoders.base import Embeddings, unit
from showtell.encoders.pixels import PixelEncoder
from showtell.errors import InputError, MediaFormatError
from showtell.media import Media, media_name

__all__ = [
    "COLOURS",
    "SHAPES",
    "ColourEncoder",
    "HashEncoder",
    "WordEncoder",
    "draw_shape",
    "make_images",
]

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (214, 40, 40),
    "green": (44, 160, 44),
    "blue": (31, 80, 200),
    "yellow": (240, 200, 30),
}
"""Names of the colours that `draw_shape` paints with, and their RGB values."""

SHAPES = ("circle", "square", "triangle")
"""What `draw_shape` can draw."""


class WordEncoder:
    """An encoder for captions: an "image" is a string that says what it shows.

    An embedding counts the words of the vocabulary; the last dimension is 1 where none occurs.
    So cosines are easy: "dog" and "a dog on grass" share one of the latter's two known words,
    which gives 1/√2.

    Parameters
    ----------
    vocabulary : sequence of str
        Known words or phrases; upper and lower case count as the same.
    logit_scale : float, default=10.0
        Multiplies cosines.
    probability : {"softmax", "sigmoid"}, default="softmax"

    Notes
    -----
    An empty caption raises `MediaFormatError`, as an unreadable picture would.

    Examples
    --------
    >>> encoder = WordEncoder(["cat", "dog"])
    >>> encoder.encode_texts(["a dog."])
    array([[0., 1., 0.]], dtype=float32)
    >>> encoder.encode_images(["a cat and a dog", "a chair"]).round(3)
    array([[0.707, 0.707, 0.   ],
           [0.   , 0.   , 1.   ]], dtype=float32)
    """

    logit_bias: float = 0.0
    zero_shot_note: str = ""

    def __init__(
        self,
        vocabulary: Sequence[str],
        *,
        logit_scale: float = 10.0,
        probability: Literal["softmax", "sigmoid"] = "softmax",
    ) -> None:
        if isinstance(vocabulary, str) or not vocabulary:
            raise InputError(f"`vocabulary` must be a sequence of words, got {vocabulary!r}.")
        self.vocabulary = tuple(vocabulary)
        self.logit_scale = logit_scale
        self.probability: Literal["softmax", "sigmoid"] = probability
        self.name = "words"
        self.n_dims = len(self.vocabulary) + 1
        words = "\n".join(self.vocabulary).encode()
        self.fingerprint = f"words-{hashlib.blake2b(words, digest_size=8).hexdigest()}"
        self._patterns = [
            re.compile(rf"(?<!\w){re.escape(word)}(?!\w)", re.IGNORECASE)
            for word in self.vocabulary
        ]

    def encode_images(self, images: Sequence[Media]) -> Embeddings:
        """Embed captions, shape (n_images, n_dims); an empty one raises `MediaFormatError`."""
        captions = []
        for image in images:
            if not isinstance(image, str | os.PathLike):
                raise MediaFormatError(media_name(image), "a WordEncoder sees only captions (str)")
            caption = os.fsdecode(image)
            if not caption.strip():
                raise MediaFormatError(repr(caption), "an empty caption shows nothing")
            captions.append(caption)
        return self.encode_texts(captions)

    def encode_texts(self, texts: Sequence[str]) -> Embeddings:
        """Embed texts, shape (n_texts, n_dims)."""
        counts = np.zeros((len(texts), self.n_dims), np.float32)
        for row, text in enumerate(texts):
            for column, pattern in enumerate(self._patterns):
                counts[row, column] = len(pattern.findall(text))
        counts[~counts.any(axis=1), -1] = 1
        return unit(counts)

    def __sklearn_clone__(self) -> WordEncoder:
        return self

    def __repr__(self) -> str:
        return f"WordEncoder({list(self.vocabulary)!r})"


class HashEncoder(PixelEncoder):
    """A picture encoder without a meaning: a fixed random projection of a 16x16 thumbnail.

    Equal pictures have equal embeddings and alike pictures near ones; texts get directions that
    are random but always the same. For testing pipelines, stores and error rows.

    Parameters
    ----------
    n_dims : int, default=32
    batch_size : int, default=8
        Rows per call; results do not depend on it.

    Attributes
    ----------
    n_encoded : int
        Pictures encoded so far: shows what came from a store instead.

    Examples
    --------
    >>> encoder = HashEncoder()
    >>> grey = np.full((40, 60, 3), 128, np.uint8)
    >>> rows = encoder.encode_images([grey, grey, draw_shape("red circle")])
    >>> rows.shape, encoder.n_encoded
    ((3, 32), 2)
    """

    input_side = 16

    def __init__(self, n_dims: int = 32, *, batch_size: int = 8) -> None:
        self.n_dims, self.batch_size = n_dims, batch_size
        self.name = "hash"
        self.fingerprint = f"hash-{n_dims}"
        self.n_encoded = 0
        weights = np.random.default_rng(0).normal(size=(3 * 16 * 16 + 1, n_dims))
        self._weights: NDArray[np.float32] = weights.astype(np.float32)

    def prepare(self, image: Image.Image) -> NDArray[np.float32]:
        """Shrink to 16x16, shape (3, 16, 16), values -1 to 1."""
        small = image.resize((16, 16), Image.Resampling.BOX)
        pixels = np.asarray(small, np.float32).transpose(2, 0, 1)
        return np.ascontiguousarray(pixels / 127.5 - 1.0, dtype=np.float32)

    def encode_prepared(self, pixels: NDArray[np.float32]) -> Embeddings:
        """Project, shape (n, n_dims)."""
        self.n_encoded += len(pixels)
        flat = pixels.reshape(len(pixels), -1)
        # one row at a time: sums in another order would make results depend on the batch
        return unit(np.stack([row @ self._weights[:-1] + self._weights[-1] for row in flat]))

    def encode_texts(self, texts: Sequence[str]) -> Embeddings:
        """Draw a fixed random direction per text, shape (n_texts, n_dims)."""
        rows = np.empty((len(texts), self.n_dims))
        for row, text in enumerate(texts):
            seed = hashlib.blake2b(text.encode(), digest_size=8).digest()
            generator = np.random.default_rng(int.from_bytes(seed, "big"))
            rows[row] = generator.normal(size=self.n_dims)
        return unit(rows)


class ColourEncoder(PixelEncoder):
    """A picture encoder that knows four colour words and nothing else.

    An image's embedding says how much of the picture has each colour of `COLOURS`; the last
    dimension stands for everything else. A text's embedding says which colour words it contains.
    Zero-shot labels such as ``"red circle"`` and ``"blue square"`` therefore work on the pictures
    of `make_images`, and labels that differ in shape alone do not.

    Examples
    --------
    >>> encoder = ColourEncoder()
    >>> images = encoder.encode_images([draw_shape("red circle"), draw_shape("blue square")])
    >>> texts = encoder.encode_texts(["a red thing", "a blue thing"])
    >>> (images @ texts.T).argmax(axis=1)
    array([0, 1])
    """

    input_side = 64

    def __init__(self, *, batch_size: int = 8) -> None:
        self.batch_size = batch_size
        self.name = "colours"
        self.fingerprint = "colours-1"
        self.n_dims = len(COLOURS) + 1

    def prepare(self, image: Image.Image) -> NDArray[np.float32]:
        """Shrink to 64x64, shape (3, 64, 64), values 0 to 255."""
        small = image.resize((64, 64), Image.Resampling.BOX)
        return np.ascontiguousarray(np.asarray(small, np.float32).transpose(2, 0, 1))

    def encode_prepared(self, pixels: NDArray[np.float32]) -> Embeddings:
        """Measure the share of each colour, shape (n, n_dims)."""
        palette = np.array(list(COLOURS.values()), np.float32)  # (n_colours, 3)
        gap = pixels[:, None] - palette[None, :, :, None, None]
        near = np.sqrt((gap**2).sum(axis=2)) < 60.0
        share = near.mean(axis=(2, 3), dtype=np.float32)  # (n, n_colours)
        rest = np.full((len(pixels), 1), 0.02, np.float32)
        return unit(np.concatenate([share, rest], axis=1))

    def encode_texts(self, texts: Sequence[str]) -> Embeddings:
        """Mark the colour words, shape (n_texts, n_dims)."""
        return WordEncoder(list(COLOURS)).encode_texts(texts)


def draw_shape(label: str, *, size: tuple[int, int] = (96, 96), seed: int = 0) -> Image.Image:
    """Draw one coloured shape on a light ground.

    Parameters
    ----------
    label : str
        Colour and shape, for example ``"red circle"``; see `COLOURS` and `SHAPES`.
    size : tuple of (width, height), default=(96, 96)
        Pixels.
    seed : int, default=0
        Varies place, size and ground.

    Returns
    -------
    picture : PIL.Image.Image
        Mode RGB.

    Raises
    ------
    InputError
        If the label is no colour and shape.

    Examples
    --------
    >>> draw_shape("blue square", size=(120, 80)).size
    (120, 80)
    """
    colour, _, shape = label.partition(" ")
    if colour not in COLOURS or shape not in SHAPES:
        raise InputError(
            f"Cannot draw {label!r}. Write a colour ({', '.join(COLOURS)}) and a shape "
            f"({', '.join(SHAPES)}), for example 'red circle'."
        )
    rng = np.random.default_rng(seed)
    width, height = size
    ground = int(rng.integers(225, 250))
    picture = Image.new("RGB", size, (ground, ground, ground))
    draw = ImageDraw.Draw(picture)
    radius = min(width, height) * float(rng.uniform(0.28, 0.4))
    x = width / 2 + float(rng.uniform(-0.08, 0.08)) * width
    y = height / 2 + float(rng.uniform(-0.08, 0.08)) * height
    box = [x - radius, y - radius, x + radius, y + radius]
    if shape == "circle":
        draw.ellipse(box, fill=COLOURS[colour])
    elif shape == "square":
        draw.rectangle(box, fill=COLOURS[colour])
    else:
        corners = [(x, y - radius), (x - radius, y + radius), (x + radius, y + radius)]
        draw.polygon(corners, fill=COLOURS[colour])
    return picture


def make_images(
    folder: str | os.PathLike[str],
    *,
    labels: Sequence[str] = ("red circle", "green triangle", "blue square"),
    n_per_label: int = 4,
    size: tuple[int, int] = (96, 96),
    extension: Literal["png", "jpg"] = "png",
    seed: int = 0,
) -> list[Path]:
    """Write drawn pictures into one folder per label.

    Parameters
    ----------
    folder : str or path-like
        Made if needed.
    labels : sequence of str
        Each a colour and a shape, as `draw_shape` takes them.
    n_per_label : int, default=4
    size : tuple of (width, height), default=(96, 96)
        Pixels.
    extension : {"png", "jpg"}, default="png"
    seed : int, default=0
        Same seed, same pictures.

    Returns
    -------
    paths : list of Path
        ``folder/label/number.extension``, label by label.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     paths = make_images(folder, n_per_label=2)
    >>> [f"{path.parent.name}/{path.name}" for path in paths][:3]
    ['red circle/0.png', 'red circle/1.png', 'green triangle/0.png']
    """
    paths = []
    for code, label in enumerate(labels):
        place = Path(folder) / label
        place.mkdir(parents=True, exist_ok=True)
        for number in range(n_per_label):
            path = place / f"{number}.{extension}"
            picture = draw_shape(label, size=size, seed=seed + 1000 * code + number)
            picture.save(path, quality=95)
            paths.append(path)
    return paths
