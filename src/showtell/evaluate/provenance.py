"""What was run on what: estimator, encoder, data, versions, written down as plain JSON values."""

from __future__ import annotations

import hashlib
import os
import platform
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import numpy as np
from PIL import Image

from showtell import __version__
from showtell.classify.table import methods
from showtell.datasets import Dataset
from showtell.media import Crop, Media, media_name
from showtell.records.plain import fits
from showtell.words import plural

_SECRET = re.compile(r"key|token|secret|password|passwd|credential|authorization|cookie", re.I)
_NO_SECRET = re.compile(r"^(max_|n_)|tokens$|tokenizer|keyboard", re.I)
_LIBRARIES = {
    "numpy": "numpy",
    "sklearn": "scikit-learn",
    "onnxruntime": "onnxruntime",
    "pillow": "pillow",
}


def now() -> str:
    """Return the time in UTC, ISO 8601, whole seconds."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def shown_path(source: str) -> str:
    """Name a file or folder for a record: relative to where we are if below it, no credentials.

    Examples
    --------
    >>> shown_path("https://me:secret@example.org/a.csv?token=1")
    'https://example.org/a.csv'
    >>> shown_path("photos")
    'photos'
    """
    if re.match(r"^[a-z][a-z0-9+.-]*://", source, re.I):
        try:
            parts = urlsplit(source)
            host = (parts.hostname or "") + (f":{parts.port}" if parts.port else "")
        except ValueError:
            return "(unreadable URL)"
        return urlunsplit((parts.scheme, host, parts.path, "", ""))
    path = Path(source)
    if path.is_absolute():
        for base, sign in ((Path.cwd(), ""), (Path.home(), "~/")):
            if path.is_relative_to(base):
                return sign + str(path.relative_to(base))
    return source


def plain(value: Any, *, depth: int = 6) -> Any:
    """Turn a value into JSON types, without secrets and without large arrays.

    Examples
    --------
    >>> plain({"shots": np.int64(5), "api_key": "s3cr3t", "cost": Decimal("0.10")})
    {'shots': 5, 'api_key': '(not recorded)', 'cost': '0.10'}
    """
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if np.isfinite(value) else str(value)
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, np.generic):
        return plain(value.item(), depth=depth)
    if isinstance(value, os.PathLike):
        return shown_path(media_name(value))
    if isinstance(value, str):
        return shown_path(value) if "://" in value or Path(value).is_absolute() else str(value)
    if isinstance(value, np.ndarray):
        if value.ndim == 1 and value.size <= 1000 and value.dtype.kind in "biufUS":
            return [plain(v, depth=depth - 1) for v in value.tolist()]
        return f"array of shape {value.shape}, {value.dtype}"
    if depth > 0 and isinstance(value, Mapping):
        return {
            str(k): "(not recorded)"
            if v is not None and _SECRET.search(str(k)) and not _NO_SECRET.search(str(k))
            else plain(v, depth=depth - 1)
            for k, v in value.items()
        }
    if depth > 0 and isinstance(value, list | tuple | set | frozenset):
        items = sorted(value, key=str) if isinstance(value, set | frozenset) else value
        return [plain(v, depth=depth - 1) for v in items]
    if hasattr(value, "fingerprint") and hasattr(value, "name"):
        return str(value.name)
    if hasattr(value, "get_params"):
        return about_estimator(value)
    return type(value).__qualname__  # a repr may hold anything, secrets included


def about_estimator(clf: Any) -> dict[str, Any]:
    """Name the class of an estimator, its parameters, encoder, support and the choices of `fit`."""
    kind = type(clf)
    about: dict[str, Any] = {"class": f"{kind.__module__}.{kind.__qualname__}"}
    if hasattr(clf, "get_params"):
        about["params"] = plain(dict(clf.get_params(deep=False)))
    encoder = _encoder_of(clf)
    if encoder is not None:
        about["encoder"] = encoder
        note = _note_of(clf)
        if note:
            about["note"] = note
    n_support = _support_of(clf)
    if n_support is not None:
        about["n_support"] = n_support
    fitted = {
        name: plain(value)
        for name, value in sorted(vars(clf).items() if hasattr(clf, "__dict__") else ())
        if name.endswith("_")
        and not name.startswith("_")
        and isinstance(value, str | bool | int | float | Decimal | np.number)
    }
    if fitted:
        about["fitted"] = fitted
    return about


def learned_from(about: Mapping[str, Any]) -> str | None:
    """Say how many labelled images an estimator was fitted on; None where it does not say.

    Examples
    --------
    >>> learned_from({"class": "showtell.classify...FewShotClassifier", "n_support": 12})
    'learned from 12 examples'
    >>> learned_from({"class": "showtell.classify...ZeroShotClassifier"})
    'learned from no examples'
    >>> learned_from({"class": "sklearn.svm._classes.SVC"})
    """
    n = about.get("n_support")
    if n is None:
        name = str(about.get("class", "")).rpartition(".")[2]
        learns = {row.learns for row in methods().values() if row.factory.endswith(f":{name}")}
        n = None if not learns or "always" in learns else 0
    if n is None:
        return None
    return f"learned from {plural(n, 'example') if n else 'no examples'}"


def _steps(clf: Any) -> list[Any]:
    """List an estimator and what it wraps (Pipeline steps, searches, calibrators)."""
    found: list[Any] = []
    todo = [clf]
    while todo and len(found) < 50:
        one = todo.pop(0)
        found.append(one)
        if isinstance(getattr(one, "steps", None), list):
            todo += [step for _, step in one.steps]
        todo += [
            getattr(one, name) for name in ("best_estimator_", "estimator") if hasattr(one, name)
        ]
    return found


def _encoder_of(clf: Any) -> dict[str, str] | None:
    """Name the encoder of an estimator or of a part of it, and its fingerprint."""
    for part in _steps(clf):
        for attribute in ("encoder_", "encoder"):
            encoder: Any = getattr(part, attribute, None)
            if hasattr(encoder, "fingerprint") and hasattr(encoder, "name"):
                return {"name": str(encoder.name), "fingerprint": str(encoder.fingerprint)}
            fingerprint = getattr(part, "encoder_fingerprint_", None)
            if isinstance(encoder, str) and isinstance(fingerprint, str):
                return {"name": str(plain(encoder)), "fingerprint": fingerprint}
    return None


def _note_of(clf: Any) -> str:
    """Say what to know before trusting zero-shot results of its encoder; "" if nothing."""
    return str(getattr(clf, "note", ""))


def _support_of(clf: Any) -> int | None:
    """Count the labelled images an estimator learned from, if it says so."""
    for part in _steps(clf):
        for name in ("n_support_", "n_samples_fit_"):
            value = getattr(part, name, None)
            if isinstance(value, int | np.integer):
                return int(value)
        shown = getattr(part, "demonstrations_", None)
        if isinstance(shown, tuple):
            return len(shown)
    return None


def about_machine() -> dict[str, Any]:
    """Versions of what computed, and the kind of machine."""
    versions = {"showtell": __version__, "python": platform.python_version()}
    for shown, package in _LIBRARIES.items():
        try:
            versions[shown] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return {
        "versions": versions,
        "platform": f"{platform.system()} {platform.machine()}".strip(),
        "n_cpus": os.cpu_count(),
    }


def about_run(clf: Any, data: Dataset, started: str, random_state: Any) -> dict[str, Any]:
    """Tell what was run on what, when and where."""
    return {
        "estimator": about_estimator(clf),
        "data": about_data(data),
        "random_state": plain(random_state),
        "started": started,
        "finished": now(),
        **about_machine(),
    }


def about_data(data: Dataset) -> dict[str, Any]:
    """Name, size and fingerprint of a labelled data set."""
    codes = [-1] * len(data) if data.codes is None else data.codes.tolist()
    labels = [data.labels[c] if c >= 0 else "" for c in codes]
    return {
        "name": data.name,
        "source": shown_path(data.source) if data.source else "",
        **about_samples(data.images, labels, data.labels),
        "notes": list(data.notes),
    }


def about_samples(
    images: Sequence[Media], y: Sequence[str], labels: Sequence[str]
) -> dict[str, Any]:
    """Count samples and labels, and take the fingerprint."""
    fingerprint, method = data_fingerprint(images, y)
    return {
        "n_samples": len(y),
        "n_labels": len(labels),
        "fingerprint": fingerprint,
        "fingerprint_of": method,
    }


def data_fingerprint(images: Sequence[Media], labels: Sequence[str]) -> tuple[str, str]:
    """Tell data sets apart cheaply: files by name and size, pictures in memory by content.

    Examples
    --------
    >>> data_fingerprint([b"one", b"two"], ["a", "b"])[1]
    'labels, and file names with sizes or the content of pictures in memory'
    """
    total = hashlib.sha256()
    sizes: dict[str, str] = {}
    for image, label in zip(images, labels, strict=True):
        total.update(f"{_identity(image, sizes)}\t{label}\n".encode("utf-8", "surrogateescape"))
    return (
        total.hexdigest(),
        "labels, and file names with sizes or the content of pictures in memory",
    )


def _identity(image: Media, sizes: dict[str, str]) -> str:
    """Identify one image for `data_fingerprint`."""
    if isinstance(image, Crop):
        return f"{_identity(image.image, sizes)}#{image.box}"
    if isinstance(image, bytes):
        return hashlib.sha256(image).hexdigest()
    if isinstance(image, np.ndarray):
        return hashlib.sha256(np.ascontiguousarray(image).tobytes()).hexdigest() + str(image.shape)
    if isinstance(image, Image.Image):
        return hashlib.sha256(image.tobytes()).hexdigest() + str(image.size) + image.mode
    name = media_name(image)
    if name not in sizes:
        try:
            sizes[name] = str(os.stat(image).st_size)  # noqa: PTH116 (names may be bytes)
        except (OSError, ValueError):
            sizes[name] = "?"
    parts = Path(name).parts
    return f"{'/'.join(parts[-2:])}:{sizes[name]}"


_KINDS_OF_A_RUN: tuple[tuple[Any, tuple[str, ...]], ...] = (
    (Mapping, ("estimator", "data", "versions", "answers", "estimator.encoder")),
    (float, ("seconds", "images_per_second")),
    (int, ("n_from_store", "n_from_cache", "n_demonstrations", "estimator.n_support")),
    (str, ("name", "model", "finished", "price_usd", "data.name", "data.source")),
    (str, ("data.fingerprint", "estimator.class", "estimator.note", "estimator.encoder.name")),
)


def checked_run(run: Any) -> dict[str, Any]:
    """Return what a file says was run; `ValueError` names an entry of a wrong kind."""
    if not isinstance(run, Mapping):
        raise ValueError("'run' is no object")
    for kind, places in _KINDS_OF_A_RUN:
        for place in places:
            value = dig(run, *place.split("."))
            if not fits(value, kind | None):
                raise ValueError(f"'run' has {place} = {value!r:.60}")
    return dict(run)


def dig(values: Mapping[str, Any], *path: str) -> Any:
    """Look up a nested value; None where the way ends early."""
    here: Any = values
    for step in path:
        if not isinstance(here, Mapping):
            return None
        here = here.get(step)
    return here
