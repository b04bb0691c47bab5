"""Saved classifiers that ask an MLLM: label set, prompts, demonstrations; never a key.

Images that are shown lie in the arrays as the bytes that are sent, so a loaded classifier asks
exactly what the saved one asked.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from showtell.classify.asking.confidence import ConfidenceMap
from showtell.classify.asking.wording import Wording
from showtell.classify.saved import Saving, classes_of, params_of
from showtell.datasets import LabelKey
from showtell.errors import SavedFolderError
from showtell.mllm.base import ImagePart
from showtell.prompts import Demonstration, PromptSet
from showtell.records.saved import SavedFolder

if TYPE_CHECKING:
    from showtell.classify.asking.classifier import MLLMClassifier

M = TypeVar("M", bound="MLLMClassifier")


def to_saved(clf: MLLMClassifier) -> Saving:
    """Return what of a fitted classifier goes into a folder."""
    shown: tuple[Demonstration, ...] = getattr(clf, "demonstrations_", ())
    images = np.frombuffer(b"".join(d.image.data for d in shown), np.uint8)
    wording = clf._wording
    values = {
        "confidence": clf.confidence_,
        "names_sent": list(clf.names_sent_),
        "label_key": None if clf.label_key_ is None else clf.label_key_.to_code,
        "known_names": list(wording.known_names),
        "aliases": {name: list(others) for name, others in wording.aliases.items()},
        "sentences": [list(of_class) for of_class in wording.sentences],
        "prompt_version": clf.prompt_version_,
        "prompts": dict(wording.prompts.texts),
        "calibration": clf.calibration_.to_json(),
        "rotations": clf.rotations_,
        "prior": None if clf.prior_ is None else clf.prior_.tolist(),
        "gamma": clf.gamma_,
        "correction": clf.correction_,
        "fit_cost_usd": None if clf.fit_cost_usd_ is None else str(clf.fit_cost_usd_),
        "demonstrations": [
            {
                "code": d.code,
                "n_bytes": len(d.image.data),
                "media_type": d.image.media_type,
                "digest": d.image.digest,
                "size": [d.image.width, d.image.height],
            }
            for d in shown
        ],
    }
    about = {"model": {"name": clf.model_, "by_name": isinstance(clf._access().model, str)}}
    return Saving(_params(clf), about, values, {"images": images, **clf._saved_arrays()})


def _params(clf: MLLMClassifier) -> dict[str, Any]:
    """Parameters as they may leave this machine: no object, no folder, no password in a URL."""
    params: dict[str, Any] = clf.get_params(deep=False)
    params |= clf._access().to_saved() | {"prompt_dir": None}
    params["encoder"] = params["encoder"] if isinstance(params["encoder"], str) else None
    params["store"] = None if params["store"] is None else "default"
    params["null_images"] = "default"  # what they came to is in the values
    if "demonstrations" in params:
        params["demonstrations"] = None  # their images are among the arrays
    return params


def from_saved(cls: type[M], saved: SavedFolder, *, encoder: Any, model: Any) -> M:
    """Make the classifier that a checked folder describes.

    Raises SavedFolderError if a model or encoder is needed and not given, or the arrays do not fit.
    """
    about = saved.record["model"]
    if model is None and not about["by_name"]:
        raise SavedFolderError(
            f"{saved.folder} was made with a model object ({about['name']!r}), which is not "
            "saved. Hand it over: load_classifier(path, model=...)."
        )
    params = params_of(saved, cls, about["name"] if model is None else model)
    params["encoder"] = encoder if encoder is not None else params["encoder"] or "mini"
    clf = cls(**params)
    if clf._access().name != about["name"]:
        raise SavedFolderError(
            f"{saved.folder} was fitted for model {about['name']!r}, not {clf._access().name!r}. "
            "Fit again, or give the same model."
        )
    values = saved.values
    clf.classes_ = classes_of(saved)
    clf.model_, clf.confidence_ = about["name"], values["confidence"]
    key = values["label_key"]
    texts = {str(k): str(v) for k, v in values["prompts"].items()}
    clf._wording = Wording(
        names=tuple(map(str, values["names_sent"])),
        known_names=tuple(map(str, values["known_names"])),
        aliases={str(k): list(map(str, v)) for k, v in values["aliases"].items()},
        sentences=tuple(tuple(map(str, of_class)) for of_class in values["sentences"]),
        prompts=PromptSet(version=str(values["prompt_version"]), texts=texts),
        key=None if key is None else LabelKey(to_code=dict(key)),
    )
    clf._show_wording()
    clf.calibration_ = ConfidenceMap.from_json(values["calibration"])
    clf.rotations_ = int(values.get("rotations", values.get("permutations", 1)))
    prior, spent = values.get("prior"), values.get("fit_cost_usd", "0")
    clf.prior_ = None if prior is None else np.array(prior, np.float64)
    clf.gamma_, clf.correction_ = float(values.get("gamma", 1)), str(values.get("correction", ""))
    clf.fit_cost_usd_ = None if spent is None else Decimal(spent)
    if clf.prior_ is not None and clf.prior_.shape != clf.classes_.shape:
        raise saved.error("the prior does not fit the label set.")
    if len(clf.names_sent_) != len(clf.classes_):
        raise saved.error("the names do not fit the label set.")
    shapes = {"images": (None,), "support": (None,), "pool": (None, None)}
    arrays = saved.arrays(shapes, optional=("support", "pool"))
    clf._restore_arrays(arrays, _demonstrations(saved, arrays["images"], len(clf.classes_)))
    return clf


def _demonstrations(
    saved: SavedFolder, data: NDArray[Any], n_classes: int
) -> tuple[Demonstration, ...]:
    """Cut the images out of one run of bytes."""
    blob, start, shown = data.tobytes(), 0, []
    for about in saved.values["demonstrations"]:
        stop = start + int(about["n_bytes"])
        image = ImagePart(
            data=blob[start:stop],
            media_type=str(about["media_type"]),
            digest=str(about["digest"]),
            width=int(about["size"][0]),
            height=int(about["size"][1]),
        )
        if not 0 <= int(about["code"]) < n_classes:
            raise saved.error("a demonstration has a label that is not in the set.")
        shown.append(Demonstration(image=image, code=int(about["code"])))
        start = stop
    if start != len(blob):
        raise saved.error("the images do not fit their description.")
    return tuple(shown)
