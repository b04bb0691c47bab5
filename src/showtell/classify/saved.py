"""Saved classifiers: what of them goes into a folder, and which class a folder belongs to.

The folder itself is the business of `showtell.records.saved`; what a class learned is its own. This
file joins the two and imports no classifier: a class is found by its name when a folder is read.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from showtell._version import __version__
from showtell.classify.estimator import check_is_fitted
from showtell.encoders import Encoder, load_encoder
from showtell.errors import InputError, SavedFolderError
from showtell.mllm.model import Model
from showtell.prompts.concepts.reading import read_concepts
from showtell.prompts.concepts.trees import ConceptTree
from showtell.prompts.descriptions.descriptions import DescriptionSet, read_descriptions
from showtell.records.former import current_params
from showtell.records.plain import annotations_of, fits
from showtell.records.reading import loading
from showtell.records.saved import SavedFolder, read_saved, write_saved

if TYPE_CHECKING:
    from showtell.classify.base import EncoderClassifier, MediaClassifier
    from showtell.mllm.local.vlm import LocalVLM
    from showtell.mllm.model import Asked

_HOMES = {
    "CascadeClassifier": "chain.cascade",
    "ConceptClassifier": "concepts.classifier",
    "DescriptionClassifier": "described.described",
    "DirectClassifier": "asking.direct",
    "DistilledClassifier": "chain.distill",
    "EvolvingDescriptionClassifier": "evolving.classifier",
    "FewShotClassifier": "embedding.few_shot",
    "FusionClassifier": "described.fusion",
    "InContextClassifier": "asking.in_context",
    "LikelihoodClassifier": "likelihood.classifier",
    "ZeroShotClassifier": "embedding.zero_shot",
}
_OF_A_MACHINE = {"encoder", "model", "store", "cache"}  # given anew, or checked when loaded
_ABOVE_0 = {"logit_scale_", "temperature_"}
_KINDS = {"U": "str", "i": "int", "b": "bool"}
_DTYPES: dict[str, Any] = {"str": np.str_, "int": np.int64, "bool": np.bool_}

E = TypeVar("E", bound="EncoderClassifier")


class Saving(NamedTuple):
    """What a class gives to be saved."""

    params: Mapping[str, Any]
    """Constructor parameters, without what belongs to a machine."""
    about: Mapping[str, Any]
    """``encoder`` and ``model``: names and fingerprints that must be met again."""
    values: Mapping[str, Any]
    """What `fit` learned, as JSON values."""
    arrays: Mapping[str, NDArray[Any]]


def save_classifier(clf: MediaClassifier, path: str | os.PathLike[str]) -> Path:
    """Write a fitted classifier into a folder.

    Parameters
    ----------
    clf : classifier
        Fitted, of a class of `showtell.classify` (not a subclass). An encoder or a model given as
        an object is not saved: hand it to `load_classifier`. A store or cache other than None is
        saved as "default", because paths belong to a machine.
    path : str or path
        A new folder, an empty one, or a saved classifier, which is replaced.

    Raises
    ------
    InputError
        If the folder holds something else, or a parameter cannot be written as JSON.
    sklearn.exceptions.NotFittedError
        If `clf` is not fitted.
    """
    return write_saved(path, *to_record(clf))


def to_record(clf: MediaClassifier) -> tuple[dict[str, Any], Mapping[str, NDArray[Any]]]:
    """Give what of a fitted classifier is written: JSON values, and arrays."""
    kind = type(clf).__name__
    if kind not in _HOMES or _class_named(kind) is not type(clf):
        raise InputError(f"Cannot save a {kind}; only {', '.join(_HOMES)}.")
    check_is_fitted(clf)
    saving = clf._to_saved()
    record = {
        "class": kind,
        "params": {name: _to_json(value, name) for name, value in saving.params.items()},
        "classes": clf.classes_.tolist(),
        "classes_type": _KINDS[clf.classes_.dtype.kind],
        **saving.about,
        "values": saving.values,
    }
    return record, saving.arrays


def load_classifier(
    path: str | os.PathLike[str],
    *,
    encoder: str | Encoder | None = None,
    model: Asked | LocalVLM | None = None,
) -> Any:
    """Read a classifier that `save` wrote; it predicts the same as before.

    Parameters
    ----------
    path : str or path
        The folder.
    encoder : str or Encoder, optional
        Needed if the classifier was made with an encoder object; otherwise loaded by the saved
        name. It must have the fingerprint the classifier was fitted with.
    model : str, MLLM, Model or LocalVLM, optional
        Needed if the classifier asks a model that was given as an object; otherwise loaded by the
        saved name, an MLLM when it is first asked, a LocalVLM at once, to compare its fingerprint.
        Saved limits hold for it too, unless it is a `Model`, which has its own.

    Returns
    -------
    clf : classifier
        Of the class that was saved

    Raises
    ------
    SavedFolderError
        If anything is missing, damaged, changed, newer than this showtell, or the encoder is
        another one.

    Examples
    --------
    >>> import tempfile
    >>> from showtell.classify import ZeroShotClassifier
    >>> from showtell.testing import WordEncoder
    >>> words = WordEncoder(["cat", "dog"])
    >>> clf = ZeroShotClassifier(words, labels=["cat", "dog"]).fit()
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     saved = clf.save(folder)
    ...     again = load_classifier(saved, encoder=words)
    >>> again.predict(["my dog"])
    array(['dog'], dtype='<U3')
    """
    saved = read_saved(path)
    with loading(f"{saved.folder}: classifier.json", error=SavedFolderError):
        return from_record(saved, encoder=encoder, model=model)


def from_record(saved: SavedFolder, *, encoder: Any, model: Any) -> Any:
    """Make the classifier of a folder that was read, or of a part of one; as `load_classifier`."""
    if saved.kind not in _HOMES:
        raise SavedFolderError(
            f"{saved.folder} holds a {saved.kind!r}, which this showtell ({__version__}) does "
            f"not know; it knows {', '.join(_HOMES)}."
        )
    clf = _class_named(saved.kind)._from_saved(saved, encoder=encoder, model=model)
    _check_learned(saved, clf)
    return clf


def _check_learned(saved: SavedFolder, clf: Any) -> None:
    """Refuse numbers that would make a probability no number, and values of another kind."""
    wanted: dict[str, Any] = {}
    for cls in reversed(type(clf).__mro__):
        wanted |= annotations_of(vars(cls).get("__annotations__", {}), cls.__module__)
    for name, value in vars(clf).items():
        if not name.endswith("_") or name.startswith("_"):
            continue
        kind = wanted.get(name, float if isinstance(value, float) else Any)
        above_0 = not isinstance(value, float) or name not in _ABOVE_0 or value > 0
        if not (fits(value, kind) and above_0):
            raise saved.error(f"it cannot have learned {name} = {value!r:.60}.")


def _class_named(kind: str) -> Any:
    return getattr(importlib.import_module(f"showtell.classify.{_HOMES[kind]}"), kind)


def params_of(saved: SavedFolder, cls: type[MediaClassifier], model: Any = None) -> dict[str, Any]:
    """Return the constructor parameters of a saved classifier.

    `model`: the one that was given. Raises SavedFolderError if the folder names others.
    """
    given = current_params(saved.kind, saved.record["params"])
    params = {name: _from_json(value) for name, value in given.items()}
    for name in ("store", "cache", "run_folder"):
        if params.get(name) not in (None, "default"):
            raise saved.error(f"it names a place to write to: {name}={params[name]!r:.60}.")
    wanted = annotations_of(Model.__init__.__annotations__, Model.__module__)
    wanted |= annotations_of(cls.__init__.__annotations__, cls.__init__.__module__)
    for name in sorted(set(params) - _OF_A_MACHINE):
        if not fits(params[name], wanted.get(name, Any)):
            raise saved.error(f"a {saved.kind} cannot have {name}={params[name]!r:.60}.")
    params = cls._read_params(params, model)
    unknown = sorted(set(params) - set(cls._get_param_names()))
    if unknown:
        raise saved.error(f"a {saved.kind} has no parameter {', '.join(unknown)}.")
    return params


def classes_of(saved: SavedFolder) -> NDArray[Any]:
    """Return ``classes_`` of a saved classifier, of the type they had."""
    labels, kind = saved.record["classes"], saved.record["classes_type"]
    classes = np.array(labels, dtype=_DTYPES[kind])
    if classes.ndim != 1 or not len(classes) or len(set(labels)) != len(labels):
        raise ValueError("`classes` must be a list of different labels")
    if classes.tolist() != labels:
        raise ValueError(f"`classes` are not all of type {kind}")
    return classes


def rebuild_encoder_classifier(
    cls: type[E], saved: SavedFolder, encoder: str | Encoder | None, model: Any
) -> E:
    """Make a classifier that scores embeddings, and compare its encoder with that of the time."""
    clf = cls()
    clf.set_params(**params_of(saved, cls, model))
    about = saved.record["encoder"]
    if encoder is None and not about["by_name"]:
        raise SavedFolderError(
            f"{saved.folder} was made with an encoder object ({about['name']!r}), which is not "
            "saved. Hand it over: load_classifier(path, encoder=...)."
        )
    if encoder is not None:
        clf.encoder = encoder
    clf._check_saved_model(saved)
    loaded = load_encoder(clf.encoder)
    if loaded.fingerprint != about["fingerprint"]:
        raise SavedFolderError(
            f"{saved.folder} was fitted with encoder {about['name']!r}, fingerprint "
            f"{about['fingerprint']!r}; {loaded.name!r} now has {loaded.fingerprint!r}. Their "
            "embeddings differ, so the answers would be wrong: fit again, or give the encoder of "
            "that time as `encoder=`."
        )
    clf.classes_ = classes_of(saved)
    clf.encoder_fingerprint_ = loaded.fingerprint
    shapes = clf._saved_shapes(saved.values, len(clf.classes_), int(loaded.n_dims))
    clf._restore_state(saved.values, saved.arrays(shapes))
    return clf


def _to_json(value: Any, name: str) -> Any:
    """Parameters as JSON; mappings and tuples are marked, so that they come back as they were."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return str(value) if isinstance(value, str) else value
    if isinstance(value, DescriptionSet):
        return {"descriptions": value.to_record()}
    if isinstance(value, ConceptTree):
        return {"concepts": value.to_record()}
    if isinstance(value, Mapping):
        pairs = [[_to_json(k, name), _to_json(v, name)] for k, v in value.items()]
        return {"mapping": pairs}
    if isinstance(value, tuple):
        return {"tuple": [_to_json(v, name) for v in value]}
    if isinstance(value, list | np.ndarray):
        return [_to_json(v, name) for v in value]
    raise InputError(
        f"Parameter `{name}` holds a {type(value).__name__}, which cannot be saved; use text, "
        "numbers, lists and mappings."
    )


def _from_json(value: Any) -> Any:
    if isinstance(value, list):
        return [_from_json(v) for v in value]
    if isinstance(value, dict):
        if set(value) == {"mapping"}:
            return {_from_json(k): _from_json(v) for k, v in value["mapping"]}
        if set(value) == {"descriptions"}:
            return read_descriptions(value["descriptions"])
        if set(value) == {"concepts"}:
            return read_concepts(value["concepts"])
        if set(value) == {"tuple"}:
            return tuple(_from_json(v) for v in value["tuple"])
        raise ValueError(f"parameters hold {sorted(value)}, which nothing here writes")
    return value
