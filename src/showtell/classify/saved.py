"""Saved classifiers: a folder of JSON and arrays, checked before it is believed.

::

    folder/
    ├── classifier.json   what it is: class, parameters, label set, encoder, and the hash of
    └── arrays.npz        the arrays, read with allow_pickle=False

Nothing is unpickled and no file is opened but these two.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import secrets
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from showtell._version import __version__
from showtell.classify.base import EncoderClassifier
from showtell.classify.concepts.classifier import ConceptClassifier
from showtell.classify.described.described import DescriptionClassifier
from showtell.classify.described.fusion import FusionClassifier
from showtell.classify.embedding.few_shot import FewShotClassifier
from showtell.classify.embedding.zero_shot import ZeroShotClassifier
from showtell.classify.evolving.classifier import EvolvingDescriptionClassifier
from showtell.encoders import Encoder, load_encoder
from showtell.errors import InputError, SavedFolderError
from showtell.prompts.concepts.trees import ConceptTree, read_concepts
from showtell.prompts.descriptions.descriptions import DescriptionSet, read_descriptions

if TYPE_CHECKING:
    from showtell.classify.asking.classifier import MLLMClassifier
    from showtell.classify.likelihood.classifier import LikelihoodClassifier
    from showtell.mllm.base import MLLM
    from showtell.mllm.local.vlm import LocalVLM

__all__ = ["FORMAT_VERSION", "load_classifier", "save_classifier"]

FORMAT_VERSION = 1
"""Of the folder; a newer one is refused."""

_FORMAT = "showtell-classifier"
_JSON, _ARRAYS = "classifier.json", "arrays.npz"
_CLASSES: dict[str, type[EncoderClassifier]] = {
    "ConceptClassifier": ConceptClassifier,
    "DescriptionClassifier": DescriptionClassifier,
    "EvolvingDescriptionClassifier": EvolvingDescriptionClassifier,
    "FewShotClassifier": FewShotClassifier,
    "FusionClassifier": FusionClassifier,
    "ZeroShotClassifier": ZeroShotClassifier,
}
_KINDS = {"U": "str", "i": "int", "b": "bool"}
_DTYPES: dict[str, Any] = {"str": np.str_, "int": np.int64, "bool": np.bool_}
_ARRAY_KINDS: dict[str, np.dtype[Any]] = {"f4": np.dtype("<f4"), "i8": np.dtype("<i8")}
_MAX_JSON_BYTES = 64 * 2**20
_HEADER_BYTES = 4096  # of an array inside the npz, at most


def save_classifier(clf: EncoderClassifier, path: str | os.PathLike[str]) -> Path:
    """Write a fitted classifier into a folder.

    Parameters
    ----------
    clf : ZeroShotClassifier, DescriptionClassifier or FewShotClassifier
        Fitted. An encoder given as an object is not saved: hand it to `load_classifier`. A store
        other than None is saved as "default", because paths belong to a machine.
    path : str or path
        A new folder, an empty one, or a saved classifier, which is replaced.

    Returns
    -------
    path : Path

    Raises
    ------
    InputError
        If the folder holds something else, or a parameter cannot be written as JSON.
    sklearn.exceptions.NotFittedError
        If `clf` is not fitted.
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
    values, arrays = clf._saved_state()
    packed = io.BytesIO()
    np.savez(packed, **{name: _portable(array) for name, array in arrays.items()})  # type: ignore[arg-type]
    blob = packed.getvalue()
    params = clf._saved_params()
    by_name = isinstance(clf.encoder, str)
    params["encoder"] = clf.encoder if by_name else None
    params["store"] = None if clf.store is None else "default"
    encoder = load_encoder(clf.encoder)
    record = {
        "format": _FORMAT,
        "format_version": FORMAT_VERSION,
        "showtell_version": __version__,
        "class": kind,
        "params": {name: _to_json(value, name) for name, value in params.items()},
        "classes": clf.classes_.tolist(),
        "classes_type": _KINDS[clf.classes_.dtype.kind],
        "encoder": {
            "name": encoder.name,
            "fingerprint": clf.encoder_fingerprint_,
            "n_dims": int(encoder.n_dims),
            "by_name": by_name,
        },
        "values": values,
        "files": {_ARRAYS: {"sha256": hashlib.sha256(blob).hexdigest(), "n_bytes": len(blob)}},
    }
    record["sha256"] = _digest(record)
    _replace_folder(target, {_JSON: json.dumps(record, indent=1).encode(), _ARRAYS: blob})
    return target


def load_classifier(
    path: str | os.PathLike[str],
    *,
    encoder: str | Encoder | None = None,
    model: str | MLLM | LocalVLM | None = None,
) -> EncoderClassifier | MLLMClassifier | LikelihoodClassifier:
    """Read a classifier that `save` wrote; it predicts the same as before.

    Parameters
    ----------
    path : str or path
        The folder.
    encoder : str or Encoder, optional
        Needed if the classifier was made with an encoder object; otherwise loaded by the saved
        name. It must have the fingerprint the classifier was fitted with.
    model : str, MLLM or LocalVLM, optional
        Needed if the classifier asks a model that was given as an object; otherwise loaded by the
        saved name: an MLLM when it is first asked, a LocalVLM at once, to compare its fingerprint.

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
    folder = Path(path)
    record = _read_record(folder)
    try:
        if record["class"] in ("DirectClassifier", "InContextClassifier"):
            from showtell.classify.asking.saved import rebuild_mllm_classifier

            return rebuild_mllm_classifier(folder, record, model=model, encoder=encoder)  # type: ignore[arg-type]
        if record["class"] == "LikelihoodClassifier":
            from showtell.classify.likelihood.saved import rebuild_likelihood_classifier

            return rebuild_likelihood_classifier(folder, record, model=model, encoder=encoder)  # type: ignore[arg-type]
        return _rebuild(folder, record, encoder, model)
    except SavedFolderError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        reason = f"lacks {error}" if isinstance(error, KeyError) else str(error)
        raise SavedFolderError(f"{folder}: {_JSON} cannot be used: {reason}") from None


def _read_record(folder: Path) -> dict[str, Any]:
    """Read and check the JSON; a SavedFolderError says what is wrong with it."""
    if not folder.is_dir():
        raise SavedFolderError(f"There is no folder {str(folder)!r}; give one that `save` wrote.")
    try:
        raw = _read_limited(folder / _JSON, _MAX_JSON_BYTES)
        record = json.loads(raw.decode("utf-8"))
    except FileNotFoundError:
        raise SavedFolderError(f"{folder} is no saved classifier: it has no {_JSON}.") from None
    except (ValueError, RecursionError) as error:
        raise SavedFolderError(f"{folder}: {_JSON} is damaged: {error}.") from None
    except OSError as error:
        raise SavedFolderError(f"{folder}: cannot read {_JSON}: {error.strerror}.") from None
    if not isinstance(record, dict) or record.get("format") != _FORMAT:
        raise SavedFolderError(f"{folder}: {_JSON} does not describe a showtell classifier.")
    version = record.get("format_version")
    if not isinstance(version, int) or version < 1:
        raise SavedFolderError(f"{folder}: {_JSON} has format version {version!r}.")
    if version > FORMAT_VERSION:
        raise SavedFolderError(
            f"{folder} has format version {version}, written by showtell "
            f"{record.get('showtell_version')}; this showtell ({__version__}) reads up to "
            f"{FORMAT_VERSION}. Update showtell."
        )
    if record.get("sha256") != _digest(record):
        raise SavedFolderError(
            f"{folder}: {_JSON} was changed after it was written (its sha256 does not fit). Save "
            "the classifier again."
        )
    return record


def _rebuild(
    folder: Path, record: Mapping[str, Any], encoder: str | Encoder | None, model: Any
) -> EncoderClassifier:
    kind = record["class"]
    if kind not in _CLASSES:
        raise SavedFolderError(
            f"{folder} holds a {kind!r}, which this showtell ({__version__}) does not know; it "
            f"knows {', '.join(_CLASSES)}."
        )
    params = {name: _from_json(value) for name, value in record["params"].items()}
    clf = _CLASSES[kind]()
    unknown = sorted(set(params) - set(clf.get_params(deep=False)))
    if unknown:
        raise SavedFolderError(f"{folder}: a {kind} has no parameter {', '.join(unknown)}.")
    clf.set_params(**params)
    about = record["encoder"]
    if encoder is None and not about["by_name"]:
        raise SavedFolderError(
            f"{folder} was made with an encoder object ({about['name']!r}), which is not saved. "
            "Hand it over: load_classifier(path, encoder=...)."
        )
    if encoder is not None:
        clf.encoder = encoder
    if isinstance(clf, FusionClassifier):
        _give_model(folder, clf, record["values"]["model"], model)
    elif isinstance(clf, EvolvingDescriptionClassifier) and model is not None:
        clf.model = model  # asked only if it is fitted again
    loaded = load_encoder(clf.encoder)
    if loaded.fingerprint != about["fingerprint"]:
        raise SavedFolderError(
            f"{folder} was fitted with encoder {about['name']!r}, fingerprint "
            f"{about['fingerprint']!r}; {loaded.name!r} now has {loaded.fingerprint!r}. Their "
            "embeddings differ, so the answers would be wrong: fit again, or give the encoder of "
            "that time as `encoder=`."
        )
    clf.classes_ = _classes(record["classes"], record["classes_type"])
    clf.encoder_fingerprint_ = loaded.fingerprint
    values = record["values"]
    shapes = clf._saved_shapes(values, len(clf.classes_), int(loaded.n_dims))
    clf._restore_state(values, _read_arrays(folder, record["files"], shapes))
    return clf


def _give_model(folder: Path, clf: FusionClassifier, name: str, model: Any) -> None:
    """Hand over a model that was given as an object, and refuse another one."""
    if model is not None:
        clf.model = model
    asks = set(clf.use) - {"image"}
    if asks and clf.model is None:
        raise SavedFolderError(
            f"{folder} asks the model {name!r}, which was given as an object and is not saved. "
            "Hand it over: load_classifier(path, model=...)."
        )
    given = clf.model if isinstance(clf.model, str) else getattr(clf.model, "name", name)
    if asks and given != name:
        raise SavedFolderError(
            f"{folder} was fitted for the model {name!r}, and the one given is {given!r}."
        )
    if clf.model is None:
        clf.model = name


def _classes(labels: list[Any], kind: str) -> NDArray[Any]:
    classes = np.array(labels, dtype=_DTYPES[kind])
    if classes.ndim != 1 or not len(classes) or len(set(labels)) != len(labels):
        raise ValueError("`classes` must be a list of different labels")
    if classes.tolist() != labels:
        raise ValueError(f"`classes` are not all of type {kind}")
    return classes


def _read_arrays(
    folder: Path, files: Mapping[str, Any], shapes: Mapping[str, tuple[int | None, ...]]
) -> dict[str, NDArray[Any]]:
    """Read the arrays after checking their hash, names, shapes and types."""
    if set(files) != {_ARRAYS}:
        raise SavedFolderError(
            f"{folder}: {_JSON} names the files {', '.join(map(repr, files))}; the only one "
            f"allowed is {_ARRAYS!r}."
        )
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
            names = sorted(info.filename for info in archive.infolist())
            if names != sorted(f"{name}.npy" for name in shapes):
                raise SavedFolderError(
                    f"{folder}: {_ARRAYS} holds {', '.join(names)}; expected "
                    f"{', '.join(sorted(shapes))}."
                )
            if sum(info.file_size for info in archive.infolist()) > len(blob) + _HEADER_BYTES:
                raise SavedFolderError(f"{folder}: {_ARRAYS} is compressed, which it never is.")
            for name, shape in shapes.items():
                with archive.open(f"{name}.npy") as stream:
                    arrays[name] = np.lib.format.read_array(stream, allow_pickle=False)
                _check_array(folder, name, arrays[name], shape)
    except (zipfile.BadZipFile, ValueError, EOFError, NotImplementedError) as error:
        if isinstance(error, SavedFolderError):
            raise
        raise SavedFolderError(f"{folder}: {_ARRAYS} is damaged: {error}.") from None
    return arrays


def _check_array(
    folder: Path, name: str, array: NDArray[Any], shape: tuple[int | None, ...]
) -> None:
    fits = array.ndim == len(shape) and all(
        wanted is None or wanted == got for wanted, got in zip(shape, array.shape, strict=True)
    )
    if not fits or array.dtype not in _ARRAY_KINDS.values():
        wanted_text = " x ".join("any" if n is None else str(n) for n in shape)
        raise SavedFolderError(
            f"{folder}: array {name!r} has shape {array.shape} and type {array.dtype}; expected "
            f"({wanted_text}) of {' or '.join(_ARRAY_KINDS)}."
        )
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise SavedFolderError(f"{folder}: array {name!r} holds NaN or infinity.")


def _portable(array: NDArray[Any]) -> NDArray[Any]:
    """Float32 or int64 in little-endian order, as every machine reads it."""
    kind = "f4" if array.dtype.kind == "f" else "i8"
    portable: NDArray[Any] = np.ascontiguousarray(array, dtype=_ARRAY_KINDS[kind])
    return portable


def _read_limited(path: Path, n_bytes: int) -> bytes:
    """Read a regular file of at most so many bytes (one more shows that it is longer)."""
    if not path.is_file():
        raise FileNotFoundError(path)
    with path.open("rb") as stream:
        return stream.read(n_bytes + 1)


def _digest(record: Mapping[str, Any]) -> str:
    """Hash of everything in the JSON but the hash."""
    rest = {name: value for name, value in record.items() if name != "sha256"}
    text = json.dumps(rest, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


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


def _replace_folder(target: Path, files: Mapping[str, bytes]) -> None:
    """Write a folder beside `target` and swap it in, so that a half-written one is never seen."""
    target = Path(os.path.realpath(target))
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = target.with_name(f".showtell-{secrets.token_hex(6)}.tmp")
    fresh.mkdir()
    try:
        for name, blob in files.items():
            (fresh / name).write_bytes(blob)
        if target.exists():
            old = target.with_name(f"{fresh.name}.old")
            target.rename(old)
            fresh.rename(target)
            shutil.rmtree(old)
        else:
            fresh.rename(target)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
