"""What a classifier may offer to other rooms: they ask for it, never for a class."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from showtell.encoders import Encoder

PictureScorer: TypeAlias = Callable[[Sequence[Image.Image]], NDArray[np.float32]]
"""From pictures to probabilities, shape (n, n_classes)."""


def offers(classifier: Any, capability: type) -> bool:
    """Say whether a classifier has a capability; what else it has stays known to its reader."""
    return isinstance(classifier, capability)


@runtime_checkable
class Embeds(Protocol):
    """It goes by an encoder, so that many pictures may be scored at once and at no cost."""

    encoder: str | Encoder

    def picture_scorer(self) -> PictureScorer:
        """Score pictures by themselves, whatever mode for batches it has, and keep nothing."""
        ...


@runtime_checkable
class Explains(Protocol):
    """It knows by which parts its answers are explained."""

    def explained_by(self) -> tuple[str, ...]:
        """Names of the parts besides "chances", of `showtell.explain.PARTS`."""
        ...

    def explained_on_request(self) -> tuple[str, ...]:
        """Parts that are made only when they are asked for."""
        ...


@runtime_checkable
class Learns(Protocol):
    """It learned from rows of what its `fit` was given."""

    support_: NDArray[np.intp]


@runtime_checkable
class Teachable(Protocol):
    """It goes by words alone, and knows who learns from labelled images in the same way."""

    def learner(self) -> Any:
        """Make an unfitted classifier with the same words and encoder that learns."""
        ...


@runtime_checkable
class Shows(Protocol):
    """It shows a model demonstrations."""

    demonstrations_: Sequence[Any]


@runtime_checkable
class Prompted(Protocol):
    """It lists its labels to a model, in an order that may be another."""

    rotations: Any
    debias: Any


@runtime_checkable
class Describes(Protocol):
    """It goes by descriptions of its labels, itself or by a part of it."""

    @property
    def described_part(self) -> Any:
        """The fitted `DescriptionClassifier` that answers."""
        ...
