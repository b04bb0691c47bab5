"""evaluate: an estimator on a labelled data set, to a Record."""

from __future__ import annotations

import time
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import numpy as np

from showtell._progress import Progress, no_progress
from showtell.classify.predictions import Predictions
from showtell.datasets import Dataset
from showtell.evaluate.controls import described_part, description_controls
from showtell.evaluate.described import score_descriptions
from showtell.evaluate.provenance import about_estimator, about_run, now
from showtell.evaluate.record import Record
from showtell.evaluate.samples import as_dataset, ask, true_codes
from showtell.media import Media
from showtell.words import plural


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
        same samples: the template, the domain and random words; see
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
    n_from_cache = _n_from_cache(predictions)
    n_kept = predictions.n_from_store + n_from_cache
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
            **about_run(clf, samples, started, getattr(clf, "random_state", None)),
            "seconds": round(seconds, 4),
            "n_from_store": predictions.n_from_store,
            "n_from_cache": n_from_cache,
            "images_per_second": _speed(len(samples), seconds, n_kept),
            "cost_usd": None if cost is None else str(cost),
            "price_usd": _price(predictions, cost),
        },
    )


def _speed(n_samples: int, seconds: float, n_from_store: int) -> float | None:
    """Images per second; unknown where embeddings or answers were there already."""
    return round(n_samples / seconds, 2) if seconds > 0 and not n_from_store else None


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
        parts.append(plural(shots, "shot"))
    if params.get("transductive") is not None:
        parts.append(str(params["transductive"]))
    return f"{kind}({', '.join(parts)})" if parts else kind
