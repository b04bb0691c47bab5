"""Saved label-likelihood classifiers: label set, prompt, null scores; the checkpoint by name only.

The weights stay where they are; their fingerprint is compared when the classifier is loaded. Null
pictures are not saved; what the model made of them is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from showtell.classify.saved import Saving, classes_of, params_of
from showtell.encoders import load_encoder
from showtell.errors import SavedFolderError
from showtell.mllm.local.vlm import LocalVLM
from showtell.records.saved import SavedFolder, Shape

if TYPE_CHECKING:
    from showtell.classify.likelihood.classifier import LikelihoodClassifier


def to_saved(clf: LikelihoodClassifier) -> Saving:
    """Return what of a fitted classifier goes into a folder."""
    clf._check_model()
    arrays: dict[str, NDArray[Any]] = {}
    if clf.null_scores_ is not None:
        arrays["null_scores"] = clf.null_scores_
    if clf._prototypes is not None:
        arrays["prototypes"] = clf._prototypes
    about = {
        "model": {
            "name": clf.vlm_.name,
            "fingerprint": clf.vlm_.fingerprint,
            "by_name": isinstance(clf.model, str),
        },
        "encoder": _about_encoder(clf),
    }
    values = {
        "texts": [list(of_class) for of_class in clf._texts],
        "prompt": clf.prompt_,
        "has_nulls": clf.null_scores_ is not None,
        "batch_prior": None if clf.batch_prior_ is None else clf.batch_prior_.tolist(),
        "temperature": clf.temperature_,
        "calibrated": clf.calibrated_,
    }
    return Saving(_params(clf), about, values, arrays)


def _params(clf: LikelihoodClassifier) -> dict[str, Any]:
    """Parameters as they may leave this machine: no object, no picture."""
    params: dict[str, Any] = clf.get_params(deep=False)
    for name in ("model", "encoder"):
        params[name] = params[name] if isinstance(params[name], str) else None
    params["store"] = None if params["store"] is None else "default"
    if not isinstance(params["null_images"], str):
        params["null_images"] = None
    return params


def _about_encoder(clf: LikelihoodClassifier) -> dict[str, Any] | None:
    """Name the encoder of the short list; None without one."""
    if clf._prototypes is None:
        return None
    return {
        "name": load_encoder(clf.encoder).name,
        "fingerprint": clf._encoder_fingerprint,
        "by_name": isinstance(clf.encoder, str),
    }


def from_saved(
    cls: type[LikelihoodClassifier], saved: SavedFolder, *, encoder: Any, model: Any
) -> LikelihoodClassifier:
    """Make the classifier that a checked folder describes, and load its model.

    Raises SavedFolderError if a model or encoder is needed and not given, is another one than at
    the time, or the arrays do not fit.
    """
    about = saved.record["model"]
    if model is None and not about["by_name"]:
        raise SavedFolderError(
            f"{saved.folder} was made with a model object ({about['name']!r}), which is not saved. "
            "Hand it over: load_classifier(path, model=LocalVLM(...))."
        )
    params = params_of(saved, cls)
    params["model"] = params["model"] if model is None else model
    if not isinstance(params["model"], str | LocalVLM):
        raise SavedFolderError(
            f"{saved.folder} holds a LikelihoodClassifier; `model` is 'local-dir:PATH', "
            f"'hf-hub:ORG/NAME' or a LocalVLM, not a {type(model).__name__}."
        )
    own_encoder = params["encoder"] is None
    params["encoder"] = encoder if encoder is not None else params["encoder"] or "mini"
    clf = cls(**params)
    clf.vlm_ = clf._load_model()
    if clf.vlm_.fingerprint != about["fingerprint"]:
        raise SavedFolderError(
            f"{saved.folder} was fitted with model {about['name']!r}, fingerprint "
            f"{about['fingerprint']!r}; {clf.vlm_.name!r} now has {clf.vlm_.fingerprint!r}, so its "
            "answers would be others. Fit again, or give the model of that time as `model=`."
        )
    clf.classes_ = classes_of(saved)
    n_classes = len(clf.classes_)
    values = saved.values
    texts = tuple(tuple(map(str, of_class)) for of_class in values["texts"])
    if len(texts) != n_classes or not all(texts):
        raise saved.error("the words do not fit the label set.")
    clf._read_labels(texts)
    if clf.prompt_ != values["prompt"]:
        raise SavedFolderError(
            f"{saved.folder}: {clf.vlm_.name!r} is asked otherwise now than when this was saved "
            "(another version of transformers writes its prompt differently). Fit again."
        )
    shapes: dict[str, Shape] = {}
    if values["has_nulls"]:
        shapes["null_scores"] = (None, n_classes)
    wanted = saved.record["encoder"]
    if wanted is not None:
        shapes["prototypes"] = (n_classes, None)
        if clf.shortlist is None:
            raise saved.error("it has what a shortlist is found by, but none.")
        _check_encoder(saved, wanted, clf, given=encoder is not None or not own_encoder)
        clf._encoder_fingerprint = str(wanted["fingerprint"])
    elif clf.shortlist is not None and clf.shortlist < n_classes:
        raise saved.error("it has a shortlist, but not what the encoder finds it by.")
    arrays = saved.arrays(shapes)
    nulls = arrays.get("null_scores")
    clf.null_scores_ = None if nulls is None else nulls.astype(np.float64)
    clf._prototypes = arrays.get("prototypes")
    clf.batch_prior_ = _prior(saved, values["batch_prior"], n_classes)
    clf.temperature_, clf.calibrated_ = float(values["temperature"]), bool(values["calibrated"])
    if not (math.isfinite(clf.temperature_) and clf.temperature_ > 0):
        raise saved.error(f"the temperature is {clf.temperature_}.")
    return clf


def _check_encoder(
    saved: SavedFolder, wanted: Mapping[str, Any], clf: LikelihoodClassifier, *, given: bool
) -> None:
    """Refuse another encoder than the one whose short lists were fitted."""
    if not given:
        raise SavedFolderError(
            f"{saved.folder} was made with an encoder object ({wanted['name']!r}), which is not "
            "saved. Hand it over: load_classifier(path, encoder=...)."
        )
    loaded = load_encoder(clf.encoder)
    if loaded.fingerprint != wanted["fingerprint"]:
        raise SavedFolderError(
            f"{saved.folder} was fitted with encoder {wanted['name']!r}, fingerprint "
            f"{wanted['fingerprint']!r}; {loaded.name!r} now has {loaded.fingerprint!r}. Fit "
            "again, or give the encoder of that time as `encoder=`."
        )


def _prior(saved: SavedFolder, values: Any, n_classes: int) -> NDArray[np.float64] | None:
    if values is None:
        return None
    prior = np.asarray(values, np.float64)
    if prior.shape != (n_classes,) or not np.isfinite(prior).all():
        raise saved.error("the prior does not fit the label set.")
    return prior
