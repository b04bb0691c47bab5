"""What an encoder is: media and text to unit vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from showtell.media import Media

__all__ = ["Embeddings", "Encoder", "TakesPixels", "unit"]

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
        As written in records, for example ``"mini"`` or ``"hf-hub:org/repo"``.
    fingerprint : str
        Names weights, precision and preprocessing: equal fingerprints give equal embeddings.
    n_dims : int
        Width of an embedding.
    logit_scale, logit_bias : float
        ``logits = logit_scale * cosine + logit_bias``. No unit; 0 bias for CLIP.
    probability : {"softmax", "sigmoid"}
        How this family turns logits into probabilities.
    zero_shot_note : str
        What one should know before trusting zero-shot results of this encoder; "" for nothing.
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
