"""What an encoder is: media and text to unit vectors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Literal, Protocol, Self, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from showtell.media import Media

__all__ = ["Embeddings", "Encoder", "PixelEncoder", "unit"]

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


class PixelEncoder(ABC):
    """Base of encoders that are a preprocessing step and a network.

    Subclasses set the attributes of `Encoder` and implement `prepare`, `encode_prepared` and
    `encode_texts`; decoding, overlap, the store and error rows then come from
    `showtell.encoders.embed_images`. Instances are shared by `clone`: weights are never copied.
    """

    name: str
    fingerprint: str
    n_dims: int
    logit_scale: float = 100.0
    logit_bias: float = 0.0
    probability: Literal["softmax", "sigmoid"] = "softmax"
    zero_shot_note: str = ""
    input_side: int = 224
    """Shorter side in pixels that `prepare` needs; larger JPEGs may be shrunk while decoding."""
    batch_size: int = 16
    """Rows per call of `encode_prepared`; 1 where results would depend on the rest of the batch,
    and then it is called from several threads at once."""

    @abstractmethod
    def prepare(self, image: Image.Image) -> NDArray[np.float32]:
        """Turn one upright RGB picture into the network's input, shape (3, height, width)."""

    @abstractmethod
    def encode_prepared(self, pixels: NDArray[np.float32]) -> Embeddings:
        """Embed prepared pictures, shape (n, 3, height, width), to rows of length 1."""

    @abstractmethod
    def encode_texts(self, texts: Sequence[str]) -> Embeddings:
        """Embed texts to rows of length 1, shape (n_texts, n_dims)."""

    def encode_images(self, images: Sequence[Media]) -> Embeddings:
        """Embed images; the first unusable one raises its `MediaError`.

        Parameters
        ----------
        images : sequence of Media, length n_images

        Returns
        -------
        embeddings : ndarray of shape (n_images, n_dims), float32
        """
        from showtell.encoders.embed import embed_images

        result = embed_images(self, images, store=None)
        if result.errors:
            raise result.errors[min(result.errors)]
        return result.rows()

    def __sklearn_clone__(self) -> Self:
        return self

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"
