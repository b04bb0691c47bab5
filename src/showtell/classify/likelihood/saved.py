"""Saved label-likelihood classifiers: label set, prompt, null scores; the checkpoint by name only.

The folder is as `showtell.classify.saved` describes it. The weights stay where they are; their
fingerprint is compared when the classifier is loaded.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from showtell._version import __version__
from showtell.classify.likelihood.classifier import LikelihoodClassifier
from showtell.classify.saved import (
    _ARRAYS,
    _FORMAT,
    _JSON,
    _KINDS,
    FORMAT_VERSION,
    _classes,
    _digest,
    _from_json,
    _portable,
    _read_arrays,
    _replace_folder,
    _to_json,
)
from showtell.encoders import Encoder, load_encoder
from showtell.errors import InputError, SavedFolderError
from showtell.mllm.local.vlm import LocalVLM

__all__ = ["rebuild_likelihood_classifier", "save_likelihood_classifier"]

_NULLS, _PROTOTYPES = "null_scores", "prototypes"


def save_likelihood_classifier(clf: LikelihoodClassifier, path: str | os.PathLike[str]) -> Path:
    """Write a fitted classifier into a folder.

    Parameters
    ----------
    clf : LikelihoodClassifier
        Fitted. A model or encoder given as an object is not saved: hand it to `load_classifier`.
        Null pictures are not saved either; what the model made of them is.
    path : str or path
        A new folder, an empty one, or a saved classifier, which is replaced.

    Returns
    -------
    path : Path

    Raises
    ------
    InputError
        If the folder holds something else, or a parameter cannot be written as JSON.
    """
    if type(clf) is not LikelihoodClassifier:
        raise InputError(f"Cannot save a {type(clf).__name__}; only LikelihoodClassifier itself.")
    check_is_fitted(clf)
    clf._check_model()
    target = Path(path)
    if target.exists() and not (
        target.is_dir() and ((target / _JSON).is_file() or not any(target.iterdir()))
    ):
        raise InputError(
            f"{str(target)!r} exists and is no saved classifier; give a new or an empty folder."
        )
    arrays: dict[str, NDArray[Any]] = {}
    if clf.null_scores_ is not None:
        arrays[_NULLS] = clf.null_scores_
    if clf._prototypes is not None:
        arrays[_PROTOTYPES] = clf._prototypes
    packed = io.BytesIO()
    np.savez(packed, **{name: _portable(array) for name, array in arrays.items()})  # type: ignore[arg-type]
    blob = packed.getvalue()
    record: dict[str, Any] = {
        "format": _FORMAT,
        "format_version": FORMAT_VERSION,
        "showtell_version": __version__,
        "class": type(clf).__name__,
        "params": {name: _to_json(value, name) for name, value in _params(clf).items()},
        "classes": clf.classes_.tolist(),
        "classes_type": _KINDS[clf.classes_.dtype.kind],
        "model": {
            "name": clf.vlm_.name,
            "fingerprint": clf.vlm_.fingerprint,
            "by_name": isinstance(clf.model, str),
        },
        "encoder": _about_encoder(clf),
        "values": {
            "texts": [list(of_class) for of_class in clf._texts],
            "prompt": clf.prompt_,
            "has_nulls": clf.null_scores_ is not None,
            "batch_prior": None if clf.batch_prior_ is None else clf.batch_prior_.tolist(),
            "temperature": clf.temperature_,
            "calibrated": clf.calibrated_,
        },
        "files": {_ARRAYS: {"sha256": hashlib.sha256(blob).hexdigest(), "n_bytes": len(blob)}},
    }
    record["sha256"] = _digest(record)
    _replace_folder(target, {_JSON: json.dumps(record, indent=1).encode(), _ARRAYS: blob})
    return target


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


def rebuild_likelihood_classifier(
    folder: Path,
    record: Mapping[str, Any],
    *,
    model: str | LocalVLM | None,
    encoder: str | Encoder | None,
) -> LikelihoodClassifier:
    """Make the classifier that a checked record describes, and load its model.

    Parameters
    ----------
    folder : Path
    record : mapping
        Of ``classifier.json``.
    model : str or LocalVLM, optional
    encoder : str or Encoder, optional

    Returns
    -------
    clf : LikelihoodClassifier

    Raises
    ------
    SavedFolderError
        If a model or encoder is needed and not given, is another one than at the time, or the
        arrays do not fit.
    """
    about = record["model"]
    if model is None and not about["by_name"]:
        raise SavedFolderError(
            f"{folder} was made with a model object ({about['name']!r}), which is not saved. "
            "Hand it over: load_classifier(path, model=LocalVLM(...))."
        )
    params = {name: _from_json(value) for name, value in record["params"].items()}
    params["model"] = params["model"] if model is None else model
    if not isinstance(params["model"], str | LocalVLM):
        raise SavedFolderError(
            f"{folder} holds a LikelihoodClassifier; `model` is 'local-dir:PATH', "
            f"'hf-hub:ORG/NAME' or a LocalVLM, not a {type(model).__name__}."
        )
    own_encoder = params["encoder"] is None
    params["encoder"] = encoder if encoder is not None else params["encoder"] or "mini"
    unknown = sorted(set(params) - set(LikelihoodClassifier._get_param_names()))
    if unknown:
        raise SavedFolderError(
            f"{folder}: a LikelihoodClassifier has no parameter {', '.join(unknown)}."
        )
    clf = LikelihoodClassifier(**params)
    clf.vlm_ = clf._load_model()
    if clf.vlm_.fingerprint != about["fingerprint"]:
        raise SavedFolderError(
            f"{folder} was fitted with model {about['name']!r}, fingerprint "
            f"{about['fingerprint']!r}; {clf.vlm_.name!r} now has {clf.vlm_.fingerprint!r}, so its "
            "answers would be others. Fit again, or give the model of that time as `model=`."
        )
    clf.classes_ = _classes(record["classes"], record["classes_type"])
    n_classes = len(clf.classes_)
    values = record["values"]
    texts = tuple(tuple(map(str, of_class)) for of_class in values["texts"])
    if len(texts) != n_classes or not all(texts):
        raise SavedFolderError(f"{folder}: the words do not fit the label set.")
    clf._read_labels(texts)
    if clf.prompt_ != values["prompt"]:
        raise SavedFolderError(
            f"{folder}: {clf.vlm_.name!r} is asked otherwise now than when this was saved (another "
            "version of transformers writes its prompt differently). Fit again."
        )
    shapes: dict[str, tuple[int | None, ...]] = {}
    if values["has_nulls"]:
        shapes[_NULLS] = (None, n_classes)
    wanted = record["encoder"]
    if wanted is not None:
        shapes[_PROTOTYPES] = (n_classes, None)
        _check_encoder(folder, wanted, clf, given=encoder is not None or not own_encoder)
        clf._encoder_fingerprint = str(wanted["fingerprint"])
    arrays = _read_arrays(folder, record["files"], shapes)
    nulls = arrays.get(_NULLS)
    clf.null_scores_ = None if nulls is None else nulls.astype(np.float64)
    clf._prototypes = arrays.get(_PROTOTYPES)
    clf.batch_prior_ = _prior(folder, values["batch_prior"], n_classes)
    clf.temperature_, clf.calibrated_ = float(values["temperature"]), bool(values["calibrated"])
    if not (math.isfinite(clf.temperature_) and clf.temperature_ > 0):
        raise SavedFolderError(f"{folder}: the temperature is {clf.temperature_}.")
    return clf


def _check_encoder(
    folder: Path, wanted: Mapping[str, Any], clf: LikelihoodClassifier, *, given: bool
) -> None:
    """Refuse another encoder than the one whose short lists were fitted."""
    if not given:
        raise SavedFolderError(
            f"{folder} was made with an encoder object ({wanted['name']!r}), which is not saved. "
            "Hand it over: load_classifier(path, encoder=...)."
        )
    loaded = load_encoder(clf.encoder)
    if loaded.fingerprint != wanted["fingerprint"]:
        raise SavedFolderError(
            f"{folder} was fitted with encoder {wanted['name']!r}, fingerprint "
            f"{wanted['fingerprint']!r}; {loaded.name!r} now has {loaded.fingerprint!r}. Fit "
            "again, or give the encoder of that time as `encoder=`."
        )


def _prior(folder: Path, values: Any, n_classes: int) -> NDArray[np.float64] | None:
    if values is None:
        return None
    prior = np.asarray(values, np.float64)
    if prior.shape != (n_classes,) or not np.isfinite(prior).all():
        raise SavedFolderError(f"{folder}: the prior does not fit the label set.")
    return prior
