"""What an encoder is: media and text to unit vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from showtell.errors import InputError, RunError
from showtell.media import Media

Embeddings: TypeAlias = NDArray[np.float32]
"""Rows of length 1, shape (n, n_dims), float32."""


def unit(vectors: NDArray[Any]) -> Embeddings:
    """Scale each row to length 1, in float32.

    Parameters
    ----------
    vectors : ndarray of shape (..., n_dims)
        No row may be all zeros.

    Returns
    -------
    rows : ndarray of the same shape, float32

    Examples
    --------
    >>> unit(np.array([[3.0, 4.0]]))
    array([[0.6, 0.8]], dtype=float32)
    """
    x = np.asarray(vectors, dtype=np.float32)
    length = np.linalg.norm(x, axis=-1, keepdims=True)
    if not np.all(length > 0):
        raise ValueError("A vector of length 0 (or NaN) has no direction and cannot be normalised.")
    rows: Embeddings = (x / length).astype(np.float32, copy=False)
    return rows


@runtime_checkable
class Encoder(Protocol):
    """What a user may bring: anything that turns images and texts into unit vectors.

    Attributes
    ----------
    name : str
        As written in records, for example ``"mini"`` or ``"hf-hub:org/repo"``. Not empty.
    fingerprint : str
        Names weights, precision and preprocessing: equal fingerprints give equal embeddings. Not
        empty.
    n_dims : int
        Width of an embedding.
    logit_scale, logit_bias : float
        ``logits = logit_scale * cosine + logit_bias``. No unit; 0 bias for CLIP. The scale is
        above 0.
    probability : {"softmax", "sigmoid"}
        How this family turns logits into probabilities.
    zero_shot_note : str
        What one should know before trusting zero-shot results of this encoder; "" for nothing.

    Notes
    -----
    What comes from an encoder is checked before it spreads: rows of another length than 1 are
    scaled to it, and rows without a direction, with NaN or of another shape end the run.
    """

    name: str
    fingerprint: str
    n_dims: int
    logit_scale: float
    logit_bias: float
    probability: Literal["softmax", "sigmoid"]
    zero_shot_note: str

    def encode_images(self, images: Sequence[Media]) -> Embeddings:
        """Embed images: shape (n_images, n_dims). Raises `MediaError` for an unusable one."""
        ...

    def encode_texts(self, texts: Sequence[str]) -> Embeddings:
        """Embed texts: shape (n_texts, n_dims)."""
        ...


@runtime_checkable
class TakesPixels(Encoder, Protocol):
    """An encoder whose preprocessing is known, so that its embeddings may be kept.

    `showtell.encoders.PixelEncoder` is the base of such encoders.
    """

    input_side: int
    batch_size: int

    def prepare(self, image: Image.Image) -> NDArray[np.float32]:
        """Turn one upright RGB picture into the network's input, shape (3, height, width)."""
        ...

    def encode_prepared(self, pixels: NDArray[np.float32]) -> Embeddings:
        """Embed prepared pictures, shape (n, 3, height, width), to rows of length 1."""
        ...


_MEMBERS = {
    "name": "str, as written in records",
    "fingerprint": "str that names weights, precision and preprocessing",
    "n_dims": "int, width of an embedding",
    "logit_scale": "float that multiplies cosines",
    "logit_bias": "float, 0 for CLIP",
    "probability": "'softmax' or 'sigmoid'",
    "zero_shot_note": "str, '' for nothing",
    "encode_images": "method: sequence of images to rows of length 1",
    "encode_texts": "method: sequence of str to rows of length 1",
}
_SCALES = 1e-6, 1e6  # beyond them 32-bit numbers of different labels are equal or infinite
_UNIT = 1e-3  # rows that are off by no more are of length 1 in 16-bit numbers


def check_encoder(encoder: object) -> None:
    """Refuse an object that cannot be an encoder.

    Raises InputError: it names what the object lacks, or which of its attributes cannot be.
    """
    if isinstance(encoder, type):
        raise InputError(
            f"The encoder is the class {encoder.__name__}, not an object of it; "
            f"write {encoder.__name__}(...)."
        )
    kind = type(encoder).__name__
    missing = [name for name in _MEMBERS if not hasattr(encoder, name)]
    if missing:
        wanted = "; ".join(f"`{name}` ({_MEMBERS[name]})" for name in missing)
        raise InputError(
            f"{kind} cannot be used as an encoder, it lacks {wanted}. "
            "An encoder is a name such as 'mini' or an object like showtell.encoders.Encoder."
        )
    values = {name: getattr(encoder, name) for name in _MEMBERS}

    def refuse(name: str, allowed: str) -> InputError:
        return InputError(f"{kind}.{name} must be {allowed}, got {values[name]!r}.")

    if values["probability"] not in ("softmax", "sigmoid"):
        raise refuse("probability", "'softmax' or 'sigmoid'")
    n_dims = values["n_dims"]
    if isinstance(n_dims, bool) or not isinstance(n_dims, int | np.integer) or n_dims < 1:
        raise refuse("n_dims", "an int of at least 1")
    for name in ("name", "fingerprint"):
        if not isinstance(values[name], str) or not values[name].strip():
            raise refuse(name, "a text that is not empty")
    if not isinstance(values["zero_shot_note"], str):
        raise refuse("zero_shot_note", "a text, '' for nothing")
    if not _SCALES[0] <= _number(values["logit_scale"]) <= _SCALES[1]:
        raise refuse("logit_scale", "a number above 0, from 1e-6 to 1e6")
    if not abs(_number(values["logit_bias"])) <= _SCALES[1]:
        raise refuse("logit_bias", "a number from -1e6 to 1e6")


def _number(value: Any) -> float:
    """Turn into a float what is a single number; NaN what is none."""
    try:
        return float("nan") if isinstance(value, bool | str | bytes) else float(value)
    except (TypeError, ValueError, OverflowError):
        return float("nan")


def checked_rows(encoder: Encoder, vectors: Any, n_rows: int, what: str) -> Embeddings:
    """Refuse or mend what an encoder answered before it spreads.

    `vectors`: its answer; `n_rows`: how many rows were asked for; `what`: ``"images"`` or
    ``"texts"``, for messages. Returns `rows`, of shape (n_rows, n_dims): of length 1. Rows that
    were so already are left as they are. Raises RunError if the shape is another, or a row has NaN,
    infinite numbers or no direction.
    """
    told = f"Encoder {encoder.name!r} answered {n_rows} {what} with"
    shape = (n_rows, encoder.n_dims)
    try:
        given = np.asarray(vectors)
    except (ValueError, TypeError, RuntimeError):  # rows of different lengths; a tensor elsewhere
        raise RunError(f"{told} what is no array; wanted is one of shape {shape}.") from None
    if given.dtype.kind not in "fiub":
        raise RunError(f"{told} values of type {given.dtype}; wanted are numbers, shape {shape}.")
    if given.shape != shape:
        raise RunError(f"{told} an array of shape {given.shape}; its `n_dims` asks for {shape}.")
    if not np.isfinite(given).all():
        raise RunError(f"{told} NaN or infinite numbers.")
    if getattr(encoder, "_rows_are_scores", False):
        return given.astype(np.float32, copy=False)
    with np.errstate(over="ignore"):
        length = np.linalg.norm(given.astype(np.float64, copy=False), axis=1)
    if not np.isfinite(length).all():  # squares that 64 bits do not hold
        given = given / np.abs(given).max(axis=1, keepdims=True).clip(1.0)
        length = np.linalg.norm(given, axis=1)
    if not length.all():
        raise RunError(f"{told} a row of zeros, which has no direction and so no likeness.")
    if (np.abs(length - 1) > _UNIT).any():
        given = given / length[:, None]
    return given.astype(np.float32, copy=False)
