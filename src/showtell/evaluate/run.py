"""evaluate: an estimator on a labelled data set, to a Record."""

from __future__ import annotations

import difflib
import time
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, cast

import numpy as np

from showtell._progress import Progress, no_progress
from showtell.classify.predictions import Predictions
from showtell.datasets import Dataset
from showtell.errors import DataError, InputError
from showtell.evaluate.controls import described_part, description_controls
from showtell.evaluate.described import score_descriptions
from showtell.evaluate.provenance import about_data, about_estimator, about_machine, now, plain
from showtell.evaluate.record import Record
from showtell.media import Media, media_name

__all__ = ["as_dataset", "ask", "evaluate", "true_codes"]


def evaluate(
    clf: Any,
    data: Dataset | tuple[Sequence[Media], Sequence[str]] | Sequence[Media],
    y: Sequence[str] | None = None,
    *,
    name: str | None = None,
    controls: bool = True,
    progress: Progress = no_progress,
) -> Record:
    """Ask a fitted classifier about every sample of a labelled data set, and measure it.

    Parameters
    ----------
    clf : estimator
        A fitted showtell classifier, or anything with `predict_proba` or `predict` and
        ``classes_`` (a scikit-learn Pipeline, a search). Only showtell classifiers give error
        rows; with others an unusable image raises.
    data : Dataset, tuple (X, y), or sequence of Media
        Every sample needs a label that `clf` knows.
    y : sequence of str, optional
        Labels, where `data` is a sequence of media.
    name : str, optional
        What the record is called; the class of `clf` and its encoder if not given.
    controls : bool, default=True
        Whether a method that goes by descriptions is compared with what comes without them on the
        same samples: the template, the concept and random words; see
        `showtell.evaluate.description_controls`.
    progress : callable, optional
        Called as ``progress(done, total, stage)``.

    Returns
    -------
    record : Record
        One row per sample, in order. A row that failed or abstained stays in the denominator.

    Raises
    ------
    DataError
        If a sample has no label, or one that the classifier cannot answer.
    InputError
        If `data` and `y` do not fit together.

    Examples
    --------
    >>> class Always:
    ...     classes_ = np.array(["cat", "dog"])
    ...     def predict_proba(self, X):
    ...         return np.tile([0.8, 0.2], (len(X), 1))
    >>> record = evaluate(Always(), [b"one", b"two", b"three", b"four"], ["cat"] * 3 + ["dog"])
    >>> record.metrics["accuracy"], record.metrics["ece"]
    (0.75, 0.0500...)
    """
    samples = as_dataset(data, y)
    truth = samples.y  # refuses unlabelled samples
    started, clock = now(), time.perf_counter()
    predictions = ask(clf, samples.images, progress)
    seconds = time.perf_counter() - clock
    codes = true_codes(truth.tolist(), predictions.classes)
    about = about_estimator(clf)
    cost = _cost(clf, predictions, about)
    described = described_part(clf)
    return Record(
        predictions=predictions,
        y_true=codes,
        ids=samples.ids,
        cost_usd=cost,
        media=samples.images,
        controls=description_controls(clf, samples, progress=progress)
        if controls and described is not None
        else None,
        described=score_descriptions(described, samples.images, codes)
        if described is not None and described.method != "waffle"
        else (),
        run={
            "name": name or _default_name(about),
            "estimator": about,
            "data": about_data(samples),
            "random_state": plain(getattr(clf, "random_state", None)),
            "started": started,
            "finished": now(),
            "seconds": round(seconds, 4),
            "n_from_store": predictions.n_from_store,
            "n_from_cache": (n_from_cache := _n_from_cache(predictions)),
            "images_per_second": _speed(
                len(samples), seconds, predictions.n_from_store + n_from_cache
            ),
            "cost_usd": None if cost is None else str(cost),
            "price_usd": _price(predictions, cost),
            **about_machine(),
        },
    )


def _speed(n_samples: int, seconds: float, n_from_store: int) -> float | None:
    """Images per second; unknown where embeddings or answers were there already."""
    return round(n_samples / seconds, 2) if seconds > 0 and not n_from_store else None


def as_dataset(
    data: Dataset | tuple[Sequence[Media], Sequence[str]] | Sequence[Media],
    y: Sequence[str] | None,
) -> Dataset:
    """Accept a Dataset, (X, y), or X and y apart.

    Raises
    ------
    InputError
        If labels are missing or of another length.
    """
    if isinstance(data, Dataset):
        if y is not None:
            raise InputError("Give labels once: either a labelled Dataset or (X, y), not both.")
        if not len(data):
            raise DataError("The data set has no samples, so there is nothing to measure.")
        return data
    images: Sequence[Media]
    given: Sequence[str]
    if y is not None:
        images, given = cast("Sequence[Media]", data), y
    elif isinstance(data, tuple) and len(data) == 2 and not isinstance(data[0], str | bytes):
        images, given = cast("tuple[Sequence[Media], Sequence[str]]", data)
    else:
        raise InputError(
            "Measuring needs labels. Give a labelled Dataset (`showtell.load_dataset`), "
            "`evaluate(clf, (X, y))` or `evaluate(clf, X, y)`."
        )
    if len(images) != len(given):
        raise InputError(f"{len(images)} images but {len(given)} labels; give one per image.")
    if not len(images):
        raise DataError("There are no samples, so there is nothing to measure.")
    texts = [str(label) for label in given]  # numpy strings and numbers as plain text
    labels = tuple(sorted(set(texts)))
    index = {label: i for i, label in enumerate(labels)}
    return Dataset(
        images=list(images), codes=np.array([index[t] for t in texts], np.int32), labels=labels
    )


def ask(clf: Any, images: Sequence[Media], progress: Progress) -> Predictions:
    """Get one row per image from any kind of classifier."""
    if hasattr(clf, "classify"):
        predictions: Predictions = clf.classify(images, progress=progress)
        return predictions
    if not hasattr(clf, "classes_") or not (
        hasattr(clf, "predict") or hasattr(clf, "predict_proba")
    ):
        raise InputError(
            f"{type(clf).__name__} is no fitted classifier: it needs `classify`, or `classes_` "
            "with `predict_proba` or `predict`. Call `fit` first."
        )
    classes = tuple(str(label) for label in clf.classes_)
    n = len(images)
    if hasattr(clf, "predict_proba"):
        proba = np.asarray(clf.predict_proba(images), np.float32)
        codes = proba.argmax(axis=1).astype(np.int32)
        confidence = proba[np.arange(n), codes]
    else:
        proba = None
        index = {label: i for i, label in enumerate(classes)}
        codes = np.array([index.get(str(label), -1) for label in clf.predict(images)], np.int32)
        confidence = np.full(n, np.nan, np.float32)
    progress(n, n, "classify")
    return Predictions(
        images=[media_name(image) for image in images],
        classes=classes,
        codes=codes,
        confidence_all=confidence,
        status_codes=(codes < 0).astype(np.int8),  # no label of the label set: abstained
        distinct_proba=proba,
        distinct=None if proba is None else np.arange(n),
    )


def true_codes(truth: Sequence[str], classes: Sequence[str]) -> Any:
    """Translate true labels to the classifier's label set."""
    index = {label: i for i, label in enumerate(classes)}
    unknown = sorted(set(truth) - set(index))
    if unknown:
        close = [
            f"{label!r} (close: {', '.join(map(repr, near))})" if near else repr(label)
            for label in unknown[:10]
            for near in [difflib.get_close_matches(label, list(classes), n=2)]
        ]
        more = f" and {len(unknown) - 10} more" if len(unknown) > 10 else ""
        known = ", ".join(map(repr, list(classes)[:30])) + (" ..." if len(classes) > 30 else "")
        raise DataError(
            f"The data has labels that the classifier cannot answer: {', '.join(close)}{more}. "
            f"It knows {known}. Build the classifier with `labels=data.labels` (on the command "
            "line: leave out --labels), or leave those samples out. A labels.json beside class "
            "folders maps folder names to label words."
        )
    return np.array([index[label] for label in truth], np.int32)


def _cost(clf: Any, predictions: Predictions, about: dict[str, Any]) -> Decimal | None:
    """Add up what the answers cost; an encoder on this machine costs nothing."""
    if "cost_usd" in predictions.columns:
        costs = predictions.columns["cost_usd"]
        if any(cost is None for cost in costs):
            return None  # unknown is not nothing
        return sum((Decimal(str(cost)) for cost in costs), Decimal(0))
    local = "encoder" in about or type(clf).__module__.split(".")[0] == "sklearn"
    return Decimal(0) if local else None


def _price(predictions: Predictions, cost: Decimal | None) -> str | None:
    """Say what it would cost anew; unknown where that is unknown."""
    price = predictions.price_usd if "cost_usd" in predictions.columns else cost
    return None if price is None else str(price)


def _n_from_cache(predictions: Predictions) -> int:
    """Count the answers of a multimodal LLM that were there already, each image once."""
    kept = predictions.columns.get("from_cache")
    if kept is None:
        return 0
    first = np.arange(len(kept))
    if predictions.distinct is not None:
        first = np.unique(predictions.distinct, return_index=True)[1]
    return sum(bool(kept[row]) for row in first.tolist())


def _default_name(about: dict[str, Any]) -> str:
    """Call a record after its classifier and encoder."""
    kind = str(about["class"]).rsplit(".", 1)[-1]
    parts = [about["encoder"]["name"]] if "encoder" in about else []
    params = about.get("params") or {}
    if params.get("shots") is not None:
        shots = params["shots"]
        parts.append(f"{shots} shot" if shots == 1 else f"{shots} shots")
    if params.get("batch") is not None:
        parts.append(str(params["batch"]))
    return f"{kind}({', '.join(parts)})" if parts else kind
