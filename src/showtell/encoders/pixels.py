"""The base of encoders that are a preprocessing step and a network, and what runs the network."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from showtell.encoders.base import Embeddings
from showtell.encoders.embed import embed_images
from showtell.media import Media


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
        result = embed_images(self, images, store=None)
        if result.errors:
            raise result.errors[min(result.errors)]
        return result.rows()

    def __sklearn_clone__(self) -> Self:
        return self

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"


def import_onnxruntime() -> Any:
    """Import ONNX Runtime with its telemetry switched off.

    From 1.31 on it keeps events and a device id under ``~/.cache`` and sends them away, unless the
    variable is set before it is first imported; where somebody else did that, what can still be
    switched off is.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    onnxruntime.disable_telemetry_events()
    return onnxruntime
