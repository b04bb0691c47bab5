"""Saved classifiers that ask an MLLM: label set, prompts, demonstrations; never a key.

The folder is as `showtell.classify.saved` describes it. Images that are shown lie in the arrays as
the bytes that are sent, so a loaded classifier asks exactly what the saved one asked.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from showtell._version import __version__
from showtell.classify.asking.classifier import MLLMClassifier
from showtell.classify.asking.confidence import ConfidenceMap
from showtell.classify.asking.direct import DirectClassifier
from showtell.classify.asking.in_context import InContextClassifier
from showtell.classify.saved import (
    _ARRAYS,
    _FORMAT,
    _JSON,
    _KINDS,
    FORMAT_VERSION,
    _classes,
    _digest,
    _from_json,
    _read_limited,
    _replace_folder,
    _to_json,
)
from showtell.datasets import LabelKey
from showtell.encoders import Encoder
from showtell.errors import InputError, SavedFolderError
from showtell.media import media_name
from showtell.mllm.base import MLLM, ImagePart
from showtell.prompts import Demonstration

__all__ = ["rebuild_mllm_classifier", "save_mllm_classifier"]

_CLASSES: dict[str, type[MLLMClassifier]] = {
    "DirectClassifier": DirectClassifier,
    "InContextClassifier": InContextClassifier,
}
_OF_THIS_MACHINE = ("run_folder", "prompt_dir")
_IMAGES, _POOL, _SUPPORT = "images", "pool", "support"
_TYPES: dict[str, np.dtype[Any]] = {
    _IMAGES: np.dtype("u1"),
    _POOL: np.dtype("<f4"),
    _SUPPORT: np.dtype("<i8"),
}


def save_mllm_classifier(clf: MLLMClassifier, path: str | os.PathLike[str]) -> Path:
    """Write a fitted classifier into a folder.

    Parameters
    ----------
    clf : DirectClassifier or InContextClassifier
        Fitted. A model or encoder given as an object is not saved: hand it to `load_classifier`.
        Folders of this machine (`run_folder`, `prompt_dir`) are not saved either; the prompts are.
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
    kind = type(clf).__name__
    if _CLASSES.get(kind) is not type(clf):
        raise InputError(f"Cannot save a {kind}; only {', '.join(_CLASSES)}.")
    check_is_fitted(clf)
    target = Path(path)
    if target.exists() and not (
        target.is_dir() and ((target / _JSON).is_file() or not any(target.iterdir()))
    ):
        raise InputError(
            f"{str(target)!r} exists and is no saved classifier; give a new or an empty folder."
        )
    shown: tuple[Demonstration, ...] = getattr(clf, "demonstrations_", ())
    arrays: dict[str, NDArray[Any]] = {
        _IMAGES: np.frombuffer(b"".join(d.image.data for d in shown), np.uint8)
    }
    if isinstance(clf, InContextClassifier):
        arrays[_SUPPORT] = clf.support_
        if clf._pool is not None:
            arrays[_POOL] = clf._pool
    packed = io.BytesIO()
    portable = {name: np.ascontiguousarray(a, dtype=_TYPES[name]) for name, a in arrays.items()}
    np.savez(packed, **portable)  # type: ignore[arg-type]
    blob = packed.getvalue()
    record = {
        "format": _FORMAT,
        "format_version": FORMAT_VERSION,
        "showtell_version": __version__,
        "class": kind,
        "params": {name: _to_json(value, name) for name, value in _params(clf).items()},
        "classes": clf.classes_.tolist(),
        "classes_type": _KINDS[clf.classes_.dtype.kind],
        "model": {"name": clf.model_, "by_name": isinstance(clf.model, str)},
        "values": {
            "confidence": clf.confidence_,
            "names_sent": list(clf.names_sent_),
            "label_key": None if clf.label_key_ is None else clf.label_key_.to_code,
            "known_names": list(clf._known_names),
            "aliases": clf._aliases,
            "sentences": [list(of_class) for of_class in clf._sentences],
            "prompt_version": clf.prompt_version_,
            "prompts": clf._texts,
            "calibration": clf.calibration_.to_json(),
            "permutations": clf.permutations_,
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
        },
        "files": {_ARRAYS: {"sha256": hashlib.sha256(blob).hexdigest(), "n_bytes": len(blob)}},
    }
    record["sha256"] = _digest(record)
    _replace_folder(target, {_JSON: json.dumps(record, indent=1).encode(), _ARRAYS: blob})
    return target


def _params(clf: MLLMClassifier) -> dict[str, Any]:
    """Parameters as they may leave this machine: no object, no folder, no password in a URL."""
    params: dict[str, Any] = clf.get_params(deep=False)
    for name in ("model", "encoder"):
        params[name] = params[name] if isinstance(params[name], str) else None
    for name in ("store", "cache"):
        params[name] = None if params[name] is None else "default"
    params.update(dict.fromkeys(_OF_THIS_MACHINE))
    params["batch_api"] = False  # it goes with a run folder
    if params["base_url"] is not None:
        params["base_url"] = media_name(params["base_url"])
    if isinstance(params["max_cost"], Decimal):
        params["max_cost"] = str(params["max_cost"])
    params["null_images"] = "default"  # what they came to is in the values
    if "demonstrations" in params:
        params["demonstrations"] = None  # their images are among the arrays
    return params


def rebuild_mllm_classifier(
    folder: Path,
    record: Mapping[str, Any],
    *,
    model: str | MLLM | None,
    encoder: str | Encoder | None,
) -> MLLMClassifier:
    """Make the classifier that a checked record describes.

    Parameters
    ----------
    folder : Path
    record : mapping
        Of ``classifier.json``.
    model : str or MLLM, optional
    encoder : str or Encoder, optional

    Returns
    -------
    clf : DirectClassifier or InContextClassifier

    Raises
    ------
    SavedFolderError
        If a model or encoder is needed and not given, or the arrays do not fit.
    """
    about = record["model"]
    if model is None and not about["by_name"]:
        raise SavedFolderError(
            f"{folder} was made with a model object ({about['name']!r}), which is not saved. "
            "Hand it over: load_classifier(path, model=...)."
        )
    params = {name: _from_json(value) for name, value in record["params"].items()}
    params["model"] = about["name"] if model is None else model
    params["encoder"] = encoder if encoder is not None else params["encoder"] or "mini"
    cls = _CLASSES[record["class"]]
    unknown = sorted(set(params) - set(cls._get_param_names()))
    if unknown:
        raise SavedFolderError(f"{folder}: a {cls.__name__} has no parameter {', '.join(unknown)}.")
    clf = cls(**params)
    if clf._model_name() != about["name"]:
        raise SavedFolderError(
            f"{folder} was fitted for model {about['name']!r}, not {clf._model_name()!r}. Fit "
            "again, or give the same model."
        )
    values = record["values"]
    clf.classes_ = _classes(record["classes"], record["classes_type"])
    clf.model_, clf.confidence_ = about["name"], values["confidence"]
    clf.names_sent_ = tuple(map(str, values["names_sent"]))
    key = values["label_key"]
    clf.label_key_ = None if key is None else LabelKey(to_code=dict(key))
    clf._known_names = tuple(map(str, values["known_names"]))
    clf._aliases = {str(k): list(map(str, v)) for k, v in values["aliases"].items()}
    clf._sentences = tuple(tuple(map(str, of_class)) for of_class in values["sentences"])
    clf.prompt_version_ = str(values["prompt_version"])
    clf._texts = {str(k): str(v) for k, v in values["prompts"].items()}
    clf.calibration_ = ConfidenceMap.from_json(values["calibration"])
    clf.permutations_ = int(values.get("permutations", 1))
    prior, spent = values.get("prior"), values.get("fit_cost_usd", "0")
    clf.prior_ = None if prior is None else np.array(prior, np.float64)
    clf.gamma_, clf.correction_ = float(values.get("gamma", 1)), str(values.get("correction", ""))
    clf.fit_cost_usd_ = None if spent is None else Decimal(spent)
    if clf.prior_ is not None and clf.prior_.shape != clf.classes_.shape:
        raise SavedFolderError(f"{folder}: the prior does not fit the label set.")
    if len(clf.names_sent_) != len(clf.classes_):
        raise SavedFolderError(f"{folder}: the names do not fit the label set.")
    arrays = _read_arrays(folder, record["files"])
    if isinstance(clf, InContextClassifier):
        clf.support_ = np.asarray(arrays[_SUPPORT], np.intp)
        clf._pool = arrays.get(_POOL)
        clf.demonstrations_ = _demonstrations(folder, values, arrays[_IMAGES], len(clf.classes_))
        if clf._pool is not None and len(clf._pool) != len(clf.demonstrations_):
            raise SavedFolderError(f"{folder}: embeddings and demonstrations do not fit.")
    return clf


def _demonstrations(
    folder: Path, values: Mapping[str, Any], data: NDArray[Any], n_classes: int
) -> tuple[Demonstration, ...]:
    """Cut the images out of one run of bytes."""
    blob, start, shown = data.tobytes(), 0, []
    for about in values["demonstrations"]:
        stop = start + int(about["n_bytes"])
        image = ImagePart(
            data=blob[start:stop],
            media_type=str(about["media_type"]),
            digest=str(about["digest"]),
            width=int(about["size"][0]),
            height=int(about["size"][1]),
        )
        if not 0 <= int(about["code"]) < n_classes:
            raise SavedFolderError(f"{folder}: a demonstration has a label that is not in the set.")
        shown.append(Demonstration(image=image, code=int(about["code"])))
        start = stop
    if start != len(blob):
        raise SavedFolderError(f"{folder}: the images do not fit their description.")
    return tuple(shown)


def _read_arrays(folder: Path, files: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """Read the arrays after checking their hash, names and types; nothing is unpickled."""
    about = files[_ARRAYS]
    try:
        blob = _read_limited(folder / _ARRAYS, int(about["n_bytes"]))
    except FileNotFoundError:
        raise SavedFolderError(f"{folder} is incomplete: {_ARRAYS} is missing.") from None
    except OSError as error:
        raise SavedFolderError(f"{folder}: cannot read {_ARRAYS}: {error.strerror}.") from None
    if len(blob) != about["n_bytes"] or hashlib.sha256(blob).hexdigest() != about["sha256"]:
        raise SavedFolderError(
            f"{folder}: {_ARRAYS} is damaged or was changed (its size or sha256 does not fit "
            f"{_JSON}). Save the classifier again."
        )
    arrays = {}
    try:
        with zipfile.ZipFile(io.BytesIO(blob)) as archive:
            if any(info.compress_type != zipfile.ZIP_STORED for info in archive.infolist()):
                raise SavedFolderError(f"{folder}: {_ARRAYS} is compressed, which it never is.")
            for info in archive.infolist():
                name = info.filename.removesuffix(".npy")
                with archive.open(info) as stream:
                    array = np.lib.format.read_array(stream, allow_pickle=False)
                if array.dtype != _TYPES.get(name):
                    raise SavedFolderError(f"{folder}: {_ARRAYS} holds {name!r} of {array.dtype}.")
                arrays[name] = array
    except (zipfile.BadZipFile, ValueError, EOFError, NotImplementedError) as error:
        if isinstance(error, SavedFolderError):
            raise
        raise SavedFolderError(f"{folder}: {_ARRAYS} is damaged: {error}.") from None
    return arrays
