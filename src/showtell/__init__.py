"""showtell: classify images by showing a few examples or telling what to look for.

Rooms load on first use, so ``import showtell`` is quick and loads no model runtime.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from showtell._version import __version__

if TYPE_CHECKING:
    from showtell.ask import ask
    from showtell.classify import (
        CascadeClassifier,
        ConceptClassifier,
        DescriptionClassifier,
        DirectClassifier,
        DistilledClassifier,
        EvolvingDescriptionClassifier,
        FewShotClassifier,
        FusionClassifier,
        ImageEmbedder,
        InContextClassifier,
        LikelihoodClassifier,
        Predictions,
        ZeroShotClassifier,
        load_classifier,
    )
    from showtell.datasets import Dataset, Sample, load_dataset
    from showtell.encoders import Encoder, load_encoder
    from showtell.evaluate import Judgement, Record, compare, evaluate, judge, shot_curve
    from showtell.explain import Explanation, explain
    from showtell.media import Clip, Crop, Pages, load_image
    from showtell.mllm import Model
    from showtell.recipes import Recipe, estimate
    from showtell.runs import Job

__all__ = [
    "CascadeClassifier",
    "Clip",
    "ConceptClassifier",
    "Crop",
    "Dataset",
    "DescriptionClassifier",
    "DirectClassifier",
    "DistilledClassifier",
    "Encoder",
    "EvolvingDescriptionClassifier",
    "Explanation",
    "FewShotClassifier",
    "FusionClassifier",
    "ImageEmbedder",
    "InContextClassifier",
    "Job",
    "Judgement",
    "LikelihoodClassifier",
    "Model",
    "Pages",
    "Predictions",
    "Recipe",
    "Record",
    "Sample",
    "ZeroShotClassifier",
    "__version__",
    "ask",
    "compare",
    "estimate",
    "evaluate",
    "explain",
    "judge",
    "load_classifier",
    "load_dataset",
    "load_encoder",
    "load_image",
    "shot_curve",
]

_ROOM_OF = {
    "judge": "evaluate",
    "Judgement": "evaluate",
    "DistilledClassifier": "classify",
    "CascadeClassifier": "classify",
    "Clip": "media",
    "ConceptClassifier": "classify",
    "Crop": "media",
    "Dataset": "datasets",
    "DescriptionClassifier": "classify",
    "DirectClassifier": "classify",
    "Encoder": "encoders",
    "EvolvingDescriptionClassifier": "classify",
    "Explanation": "explain",
    "FewShotClassifier": "classify",
    "FusionClassifier": "classify",
    "ImageEmbedder": "classify",
    "InContextClassifier": "classify",
    "Job": "runs",
    "LikelihoodClassifier": "classify",
    "Model": "mllm",
    "Pages": "media",
    "Predictions": "classify",
    "Recipe": "recipes",
    "Record": "evaluate",
    "Sample": "datasets",
    "ZeroShotClassifier": "classify",
    "ask": "ask",
    "compare": "evaluate",
    "estimate": "recipes",
    "evaluate": "evaluate",
    "explain": "explain",
    "load_classifier": "classify",
    "load_dataset": "datasets",
    "load_encoder": "encoders",
    "load_image": "media",
    "shot_curve": "evaluate",
}


def __getattr__(name: str) -> Any:
    """Load the room that holds `name`."""
    if name not in _ROOM_OF:
        raise AttributeError(f"module 'showtell' has no attribute {name!r}")
    room = importlib.import_module(f"showtell.{_ROOM_OF[name]}")
    value = room if name == _ROOM_OF[name] else getattr(room, name)  # `evaluate` may be called
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
