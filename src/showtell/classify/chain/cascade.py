"""CascadeClassifier: a cheap classifier first, a dear one where it is unsure, with a promise."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from showtell._progress import Progress, no_progress
from showtell.classify.base import MediaClassifier, media_list
from showtell.classify.chain.promise import (
    SHARES,
    Promise,
    PromiseKind,
    Walk,
    smallest_sample,
    starts_for,
    thresholds_of,
    walk_accuracy,
    walk_loss,
)
from showtell.classify.estimator import check_is_fitted
from showtell.classify.labels import true_labels
from showtell.classify.predictions import Predictions
from showtell.classify.saved import Saving
from showtell.classify.stopped import hand_on, nothing_asked
from showtell.datasets.lazy import pick_rows
from showtell.errors import InputError, RunError, RunInterrupt, UnknownNameError
from showtell.media import Media
from showtell.metrics import wilson_interval
from showtell.records.saved import SavedFolder
from showtell.tables import STATUSES

__all__ = ["CascadeClassifier", "Drift"]

_LAST = ("answer", "review")
_OTHER_TRAFFIC = 500  # unlabelled images from which thresholds are read
_GRID = (math.inf, 0.999, 0.99, 0.98, 0.95, 0.9, 0.85, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, -math.inf)
_ALARM = 0.01  # two-sided


@dataclass(frozen=True, kw_only=True)
class Drift:
    """Whether the routed share of new traffic still fits the calibration images."""

    n: int
    routed: float
    expected: float
    p_value: float
    """Of the exact test that both shares are one (Fisher)."""

    @property
    def alarm(self) -> bool:
        """Whether the share has moved beyond chance, so that the promise is in doubt."""
        return self.p_value < _ALARM


class CascadeClassifier(MediaClassifier):
    r"""Ask a cheap classifier first, and a dear one where the first is unsure.

    Parameters
    ----------
    tiers : sequence of classifier
        Fitted, the cheapest first: a student, a cheaper and a dearer model. All have the same
        label set. More than two are joined by the thresholds of `thresholds`.
    target_accuracy : float, optional
        Least accuracy to promise; needs gold labels in `fit`.
    max_loss : float, optional
        Largest loss against the last tier to promise instead. Without gold labels in `fit` it is
        the share of images that the student keeps and answers otherwise.
    confidence : float, default=0.95
        Of the promise.
    last : {"answer", "review"}, default="answer"
        What becomes of images that go on from the last tier but one: its successor answers, or
        they wait for a person as abstained rows, and only the tiers before are asked.
    starts : {1, 2} or "auto", default="auto"
        Walks over the candidates; "auto" takes a second one from 150 calibration images on, if
        that many can carry both.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    promise_ : Promise
        ``promise_.ok`` is False where nothing can be promised; then everything goes on.
    threshold_ : float
        Confidence of the first tier below which an image goes on.
    routed_ : tuple of int
        Calibration images that went on, and all of them.
    cost_ : Decimal or None
        USD that `fit` spent on answers.

    Notes
    -----
    Candidates are the shares 1, .9 ... .05, 0 of *other*, unlabelled traffic, in that order; each
    is tested by an exact binomial tail until one fails. The promise holds for traffic like the
    calibration images, and dies with any change of its parts.

    References
    ----------
    Angelopoulos et al. (2021), Learn then Test, arXiv:2110.01052. Chen, Zaharia, Zou (2023),
    FrugalGPT, arXiv:2305.05176.

    Examples
    --------
    >>> from showtell.classify import ZeroShotClassifier
    >>> from showtell.testing import WordEncoder
    >>> words = WordEncoder(["cat", "dog"])
    >>> first = ZeroShotClassifier(words, labels=["cat", "dog"]).fit()
    >>> cascade = CascadeClassifier([first, first], target_accuracy=0.8)
    >>> X, y = ["cat", "dog"] * 30, ["cat", "dog"] * 30
    >>> cascade.fit(X, y).promise_.ok
    True
    >>> cascade.predict(["my cat"])
    array(['cat'], dtype='<U3')
    """

    _shared = ("tiers",)

    def __init__(
        self,
        tiers: Sequence[Any] = (),
        *,
        target_accuracy: float | None = None,
        max_loss: float | None = None,
        confidence: float = 0.95,
        last: Literal["answer", "review"] = "answer",
        starts: int | Literal["auto"] = "auto",
    ) -> None:
        self.tiers = tiers
        self.target_accuracy = target_accuracy
        self.max_loss = max_loss
        self.confidence = confidence
        self.last = last
        self.starts = starts

    def fit(
        self,
        X: Sequence[Media],
        y: Any = None,
        *,
        traffic: Sequence[Media] | None = None,
        progress: Progress = no_progress,
    ) -> Self:
        """Find the cheapest threshold that keeps the promise.

        Parameters
        ----------
        X : sequence of Media, length n_calibration
            Drawn uniformly from the traffic, used for nothing before.
        y : array-like of shape (n_calibration,), optional
            Gold labels; not needed for `max_loss`.
        traffic : sequence of Media, optional
            Other images without labels, from which thresholds are read: 500 or more. Without them
            a fixed grid of confidences is walked.
        progress : Progress

        Returns
        -------
        self : CascadeClassifier

        Raises
        ------
        InputError
            If the calibration images are too few for the promise, which is said before anything
            is asked, or an argument is none of the allowed ones.
        """
        images = media_list(X)
        kind, level = self._check(images, y)
        first, teacher = self.tiers[0], self.tiers[-1]
        self.classes_ = np.asarray(first.classes_)
        truth = None if y is None else np.array([str(v) for v in true_labels(y, len(images))])
        cheap = first.classify(images, progress=progress)
        confidence = np.where(cheap.ok, np.nan_to_num(cheap.confidence), -1.0)
        dear = None if self.last == "review" else teacher.classify(images, progress=progress)
        grid, shares = self._candidates(first, traffic)
        walk, counts = self._walk(kind, level, grid, shares, confidence, cheap, dear, truth)
        self._settle(kind, level, grid, walk, counts, confidence)
        self.cost_: Decimal | None = _spent(cheap, dear)
        return self

    def _check(self, images: Sequence[Media], y: Any) -> tuple[PromiseKind, float]:
        """Check the arguments, and refuse before anything is asked what cannot be promised."""
        if self.last not in _LAST:
            raise UnknownNameError("last tier", str(self.last), _LAST)
        least = 1 if self.last == "review" else 2
        if len(self.tiers) < least:
            raise InputError(f"A cascade needs {least} tiers or more; got {len(self.tiers)}.")
        labels = [list(map(str, np.asarray(t.classes_).tolist())) for t in self.tiers]
        for tier, own in zip(self.tiers[1:], labels[1:], strict=True):
            check_is_fitted(tier)
            if set(own) != set(labels[0]):
                raise InputError(
                    f"All tiers need the same labels; the first has {', '.join(labels[0])}, "
                    f"another {', '.join(own)}."
                )
        if (self.target_accuracy is None) == (self.max_loss is None):
            raise InputError("Give `target_accuracy` or `max_loss`: what is to be promised.")
        if not 0 < self.confidence < 1:
            raise InputError(f"`confidence` is above 0 and below 1; got {self.confidence!r}.")
        if self.starts != "auto" and self.starts not in (1, 2):
            raise InputError(f"`starts` is 1, 2 or 'auto'; got {self.starts!r}.")
        kind: PromiseKind
        if self.target_accuracy is not None:
            kind = "review" if self.last == "review" else "accuracy"
            level = 1 - self.target_accuracy
            if y is None:
                raise InputError(
                    "`target_accuracy` needs gold labels: fit(X, y). Without any, promise a loss "
                    "against the last tier: `max_loss`."
                )
        else:
            if self.last == "review":
                raise InputError("`max_loss` compares with a last tier that answers.")
            kind, level = ("agreement" if y is None else "loss"), float(self.max_loss or 0)
        if not 0 < level < 1:
            raise InputError(
                f"A promise lies between 0 and 1; the error rate allowed is {level:g}."
            )
        delta = 1 - self.confidence
        if self.starts == 2 and kind != "loss":  # each walk has half
            delta /= 2
        need = smallest_sample(level, delta=delta, kind=kind)
        if len(images) < need:
            raise InputError(
                f"{len(images)} calibration images cannot carry this promise, even without one "
                f"error: an error rate of {100 * level:.3g} % at {100 * self.confidence:.3g} % "
                f"confidence takes at least {need}. Give more, or promise less."
            )
        return kind, level

    def _candidates(
        self, first: Any, traffic: Sequence[Media] | None
    ) -> tuple[NDArray[np.float64], Sequence[float]]:
        """Thresholds from dear to cheap, and the share that each stands for."""
        if traffic is None:
            return np.array(_GRID), SHARES
        other = first.classify(media_list(traffic))
        if len(other) < _OTHER_TRAFFIC:
            raise InputError(
                f"Thresholds need {_OTHER_TRAFFIC} other images or more; got {len(other)}. Leave "
                "`traffic` out to walk a fixed grid of confidences."
            )
        return thresholds_of(np.where(other.ok, np.nan_to_num(other.confidence), -1.0)), SHARES

    def _walk(
        self,
        kind: PromiseKind,
        level: float,
        grid: NDArray[np.float64],
        shares: Sequence[float],
        confidence: NDArray[np.float64],
        cheap: Predictions,
        dear: Predictions | None,
        truth: NDArray[Any] | None,
    ) -> tuple[Walk, list[int]]:
        n = len(cheap)
        delta = 1 - self.confidence
        starts = starts_for(n, level, delta=delta, kind=kind)
        if self.starts != "auto":
            starts = (1.0, 0.3)[: self.starts]
        how: dict[str, Any] = {"delta": delta, "shares": shares, "starts": starts}
        kept = confidence[None, :] >= grid[:, None]  # (n_candidates, n)
        own = cheap.label
        if kind == "agreement":
            assert dear is not None
            losses = (kept & (own != dear.label)).sum(axis=1).tolist()
            return walk_accuracy(losses, n, level, **how), losses
        assert truth is not None
        right = own == truth
        if kind == "review":
            losses = (kept & ~right).sum(axis=1).tolist()
            return walk_accuracy(losses, n, level, **how), losses
        assert dear is not None
        taught = dear.label == truth
        if kind == "loss":
            worse = (kept & ~right & taught).sum(axis=1).tolist()
            better = (kept & right & ~taught).sum(axis=1).tolist()
            return walk_loss(worse, better, n, level, **how), worse
        losses = (~np.where(kept, right, taught)).sum(axis=1).tolist()
        return walk_accuracy(losses, n, level, **how), losses

    def _settle(
        self,
        kind: PromiseKind,
        level: float,
        grid: NDArray[np.float64],
        walk: Walk,
        losses: Sequence[int],
        confidence: NDArray[np.float64],
    ) -> None:
        n, i = len(confidence), walk.chosen
        self.threshold_ = math.inf if i is None else float(grid[i])
        n_routed = int((confidence < self.threshold_).sum())
        low, high = map(float, wilson_interval(n_routed, n))
        self.routed_ = (n_routed, n)
        self.promise_ = Promise(
            kind=kind,
            target=1 - level if kind in ("accuracy", "review") else level,
            confidence=self.confidence,
            n=n,
            errors=None if i is None else int(losses[i]),
            p_value=None if i is None else walk.p_values[i],
            threshold=None if i is None else self.threshold_,
            routed=None if i is None else n_routed / n,
            routed_low=None if i is None else low,
            routed_high=None if i is None else high,
            parts=self._parts(),
        )

    def _parts(self) -> dict[str, str]:
        """Fingerprints of the tiers: what the promise dies with."""
        return {f"tier {i}": fingerprint(tier) for i, tier in enumerate(self.tiers)}

    @property
    def holds_(self) -> bool:
        """Whether there is a promise and its parts are what they were."""
        return self.promise_.ok and dict(self.promise_.parts) == self._parts()

    def classify(self, X: Sequence[Media], *, progress: Progress = no_progress) -> Predictions:
        """Classify each input by the first tier that is sure; one row each, in order.

        Parameters
        ----------
        X : sequence of Media, length n_samples
        progress : Progress

        Returns
        -------
        predictions : Predictions
            With the columns ``tier`` (1 for the first) and ``cost_usd``.

        Raises
        ------
        InputError
            If a tier has changed since the promise was made.
        """
        check_is_fitted(self)
        if dict(self.promise_.parts) != self._parts():
            raise InputError(
                "A tier of this cascade has changed since its promise was made, so the promise "
                "no longer holds. Call `fit` again."
            )
        images = media_list(X)
        stop: RunError | KeyboardInterrupt | None = None
        try:
            cheap = self.tiers[0].classify(images, progress=progress)
        except (RunError, RunInterrupt) as ended:
            if ended.predictions is None:
                raise
            cheap, stop = ended.predictions, ended
        unsure = ~cheap.ok | (np.nan_to_num(cheap.confidence, nan=-1.0) < self.threshold_)
        unsure &= cheap.status_codes != STATUSES.index("error")
        rows = np.flatnonzero(unsure)
        dear: Predictions | None = None
        if stop is None and self.last != "review" and len(rows):
            asked = pick_rows(images, rows)
            try:
                dear = self.tiers[-1].classify(asked, progress=progress)
            except (RunError, KeyboardInterrupt) as ended:
                stop, dear = ended, getattr(ended, "predictions", None)
                if dear is None:
                    names = [cheap.images[row] for row in rows.tolist()]
                    dear = nothing_asked(names, cheap.classes, ended)
        joined = _joined(cheap, rows, dear)
        if stop is not None:
            hand_on(stop, joined)
        return joined

    def drift(self, predictions: Predictions) -> Drift:
        """Compare the routed share of new rows with that of the calibration images.

        Parameters
        ----------
        predictions : Predictions
            Of `classify`.
        """
        from scipy.stats import fisher_exact

        tiers = np.asarray(predictions.columns["tier"])
        routed, n = int((tiers > 1).sum()), len(tiers)
        then, n_then = self.routed_
        p = float(fisher_exact(np.array([[routed, n - routed], [then, n_then - then]])).pvalue)
        share = routed / n if n else math.nan
        return Drift(n=n, routed=share, expected=then / n_then, p_value=p)

    def price_share(self, n_images: int, n_teacher: int = 0) -> float | None:
        """Price relative to asking the last tier for everything.

        Parameters
        ----------
        n_images : int
            Images to label.
        n_teacher : int, default=0
            Labels of the last tier that the student was trained on.

        Returns
        -------
        share : float or None
            ``(n_teacher + n_cal + routed * n_images) / n_images``; None without a promise.
        """
        if self.promise_.routed is None:
            return None
        return (n_teacher + self.promise_.n + self.promise_.routed * n_images) / n_images

    # Saving

    def _to_saved(self) -> Saving:
        raise InputError(
            "A cascade is saved with its tiers: save each tier, and load them to build it again."
        )

    @classmethod
    def _from_saved(cls, saved: SavedFolder, *, encoder: Any, model: Any) -> Self:  # noqa: ARG003
        raise saved.error("cascades are not saved by themselves.")


def fingerprint(classifier: Any) -> str:
    """Hash of everything that a classifier's answers depend on.

    Parameters
    ----------
    classifier : classifier
        Fitted.
    """
    try:
        saving = classifier._to_saved()
    except InputError:
        saving = None
    if saving is None:
        known: Mapping[str, Any] = {"class": type(classifier).__name__, "repr": repr(classifier)}
        return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:16]
    digest = hashlib.sha256(type(classifier).__name__.encode())
    about = {"about": saving.about, "values": saving.values}
    digest.update(json.dumps(about, sort_keys=True, default=str).encode())
    for name in sorted(saving.arrays):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(saving.arrays[name]).tobytes())
    return digest.hexdigest()[:16]


def _joined(cheap: Predictions, rows: NDArray[np.intp], dear: Predictions | None) -> Predictions:
    """Put the later tier's rows in the place of the first's."""
    n = len(cheap)
    codes, status = cheap.codes.copy(), cheap.status_codes.copy()
    confidence, errors = cheap.confidence_all.copy(), dict(cheap.errors)
    tier = np.ones(n, np.int64)
    costs: list[Any] = list(cheap.columns.get("cost_usd", [Decimal(0)] * n))
    tier[rows] = 2
    if dear is None:
        status[rows] = STATUSES.index("abstained")
    else:
        place = {label: i for i, label in enumerate(cheap.classes)}
        moved = np.array([*(place[label] for label in dear.classes), -1], np.int32)
        codes[rows] = moved[dear.codes]
        status[rows], confidence[rows] = dear.status_codes, dear.confidence_all
        own = dear.columns.get("cost_usd", [Decimal(0)] * len(dear))
        for i, row in enumerate(rows.tolist()):
            costs[row] = _sum(costs[row], own[i])
            if i in dear.errors:
                errors[row] = dear.errors[i]
    return Predictions(
        images=cheap.images,
        classes=cheap.classes,
        codes=codes,
        confidence_all=confidence,
        status_codes=status,
        errors=errors,
        columns={"tier": tier.tolist(), "cost_usd": costs},
        n_from_store=cheap.n_from_store,
    )


def _sum(a: Any, b: Any) -> Decimal | None:
    return None if a is None or b is None else Decimal(str(a)) + Decimal(str(b))


def _spent(*parts: Predictions | None) -> Decimal | None:
    total: Decimal | None = Decimal(0)
    for part in parts:
        if part is not None:
            for cost in part.columns.get("cost_usd", ()):
                total = _sum(total, cost)
    return total
