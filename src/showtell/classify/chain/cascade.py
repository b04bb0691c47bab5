"""CascadeClassifier: a cheap classifier first, a dear one where it is unsure, with a promise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from showtell._progress import Progress, no_progress
from showtell.classify.base import MediaClassifier, media_list
from showtell.classify.chain.cascade_saved import (
    cascade_from_saved,
    cascade_to_saved,
    fingerprint,
)
from showtell.classify.chain.policies import (
    FEWEST_IMAGES,
    answering_tier,
    candidate_policies,
    tier_shares,
    undominated,
)
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
        label set.
    target_accuracy : float, optional
        Least accuracy to promise; needs gold labels in `fit`.
    max_loss : float, optional
        Largest loss against the last tier to promise instead. Without gold labels in `fit` it is
        the share of images that an earlier tier keeps and answers otherwise.
    confidence : float, default=0.95
        Of the promise.
    last : {"answer", "review"}, default="answer"
        Whether the last tier answers whatever is left, or is unsure too and leaves images to a
        person: these are abstained rows.
    starts : {1, 2} or "auto", default="auto"
        Walks over the candidates; "auto" takes a second one from 150 calibration images on, if
        that many can carry both. With more than one threshold there is one walk.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    promise_ : Promise
        ``promise_.ok`` is False where nothing can be promised; then everything goes on.
    thresholds_ : tuple of float
        Confidence of each tier below which an image goes on.
    routed_ : tuple of int
        Calibration images that the last tier (or the person) got, and all of them.
    shares_ : tuple of float
        Share of the calibration images that each tier got; with a person at the end also theirs.
    tier_costs_ : tuple of Decimal or None
        USD that each tier took for an image, in the mean; None where that is not known.
    cost_ : Decimal or None
        USD that `fit` spent on answers.

    Notes
    -----
    Candidates are the shares 1, .9 ... .05, 0 of *other*, unlabelled traffic, in that order; each
    is tested by an exact binomial tail until one fails. With more than one threshold one half of
    the calibration images chooses policies that no other beats in risk and cost, and the other half
    tests these, the dearest first (Pareto testing). The promise holds for traffic like the
    calibration images, and dies with any change of its parts.

    References
    ----------
    Angelopoulos et al. (2021), Learn then Test, arXiv:2110.01052. Chen, Zaharia, Zou (2023),
    FrugalGPT, arXiv:2305.05176. Laufer-Goldshlager et al. (2022), Pareto testing,
    arXiv:2210.07913.

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
        self.classes_ = np.asarray(self.tiers[0].classes_)
        truth = None if y is None else np.array([str(v) for v in true_labels(y, len(images))])
        answers = [tier.classify(images, progress=progress) for tier in self.tiers]
        confidence = np.stack([_sureness(found) for found in answers[: self._n_thresholds]])
        labels = np.stack([found.label.astype(str) for found in answers])
        self.tier_costs_ = tuple(map(_mean_cost, answers))
        tested = np.arange(len(images))
        if self._n_thresholds == 1:
            policies, shares = self._candidates(traffic)
            starts: Sequence[float] = (1.0, 0.3)[: self.starts] if self.starts != "auto" else ()
            if not starts:
                starts = starts_for(len(images), level, delta=1 - self.confidence, kind=kind)
        else:
            order = np.random.default_rng(0).permutation(len(images))
            tested = np.sort(order[len(images) // 2 :])
            policies = self._worth_testing(
                kind, traffic, confidence, labels, truth, np.sort(order[: len(images) // 2])
            )
            shares, starts = np.linspace(1, 0, len(policies)).tolist(), (1.0,)
        how: dict[str, Any] = {"delta": 1 - self.confidence, "shares": shares, "starts": starts}
        tiers = [answering_tier(confidence[:, tested], policy) for policy in policies]
        counts = [_losses(kind, tier, labels, truth, tested) for tier in tiers]
        worse, better = [w for w, _ in counts], [b for _, b in counts]
        if kind == "loss":
            walk = walk_loss(worse, better, len(tested), level, **how)
        else:
            walk = walk_accuracy(worse, len(tested), level, **how)
        self._settle(kind, level, policies, walk, worse, confidence, tested)
        self.cost_: Decimal | None = _spent(*answers)
        return self

    @property
    def _n_thresholds(self) -> int:
        return len(self.tiers) - (self.last == "answer")

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
        if self._n_thresholds > 1 and len(images) < FEWEST_IMAGES:
            raise InputError(
                f"{self._n_thresholds} thresholds are chosen on one half of the calibration images "
                f"and tested on the other: give {FEWEST_IMAGES} or more, or fewer tiers; got "
                f"{len(images)}."
            )
        delta = 1 - self.confidence
        if self.starts == 2 and kind != "loss" and self._n_thresholds == 1:  # each walk has half
            delta /= 2
        need = smallest_sample(level, delta=delta, kind=kind)
        need *= 1 if self._n_thresholds == 1 else 2
        if len(images) < need:
            raise InputError(
                f"{len(images)} calibration images cannot carry this promise, even without one "
                f"error: an error rate of {100 * level:.3g} % at {100 * self.confidence:.3g} % "
                f"confidence takes at least {need}. Give more, or promise less."
            )
        return kind, level

    def _candidates(
        self, traffic: Sequence[Media] | None
    ) -> tuple[list[tuple[float, ...]], Sequence[float]]:
        """Thresholds from dear to cheap, and the share that each stands for."""
        other = self._other(traffic)
        grid = _GRID if other is None else thresholds_of(other).tolist()
        return [(value,) for value in grid], SHARES

    def _other(self, traffic: Sequence[Media] | None) -> NDArray[np.float64] | None:
        """Confidences of the first tier on other traffic, shape (n_traffic,)."""
        if traffic is None:
            return None
        other = self.tiers[0].classify(media_list(traffic))
        if len(other) < _OTHER_TRAFFIC:
            raise InputError(
                f"Thresholds need {_OTHER_TRAFFIC} other images or more; got {len(other)}. Leave "
                "`traffic` out to walk a fixed grid of confidences."
            )
        return _sureness(other)

    def _worth_testing(
        self,
        kind: PromiseKind,
        traffic: Sequence[Media] | None,
        confidence: NDArray[np.float64],
        labels: NDArray[Any],
        truth: NDArray[Any] | None,
        rows: NDArray[np.intp],
    ) -> list[tuple[float, ...]]:
        """Policies that no other beats in risk and cost on `rows`, the dearest first."""
        policies = candidate_policies(self._other(traffic), self._n_thresholds)
        prices = np.array(self._relative_prices())
        risk, cost = [], []
        for policy in policies:
            tier = answering_tier(confidence[:, rows], policy)
            worse, better = _losses(kind, tier, labels, truth, rows)
            risk.append(worse - better * (kind == "loss"))
            cost.append(float(prices @ tier_shares(tier, len(prices))))
        return [policies[i] for i in undominated(np.array(risk, float), np.array(cost))]

    def _relative_prices(self) -> list[float]:
        """Price an image at each tier; at ten times the one before where that is not known."""
        known = [cost for cost in self.tier_costs_ if cost is not None]
        if len(known) == len(self.tiers) and any(known):
            prices = [float(cost) for cost in known]
        else:
            prices = [10.0**i for i in range(len(self.tiers))]
        return [*prices, 10 * max(prices)] if self.last == "review" else prices

    def _settle(
        self,
        kind: PromiseKind,
        level: float,
        policies: Sequence[tuple[float, ...]],
        walk: Walk,
        losses: Sequence[int],
        confidence: NDArray[np.float64],
        tested: NDArray[np.intp],
    ) -> None:
        i = walk.chosen
        n, n_more = confidence.shape[1], self._n_thresholds
        self.thresholds_ = (math.inf,) * n_more if i is None else policies[i]
        tier = answering_tier(confidence, self.thresholds_)
        self.shares_ = tier_shares(tier, n_more + 1)
        n_routed = int((tier == n_more).sum())
        low, high = map(float, wilson_interval(n_routed, n))
        self.routed_ = (n_routed, n)
        self.promise_ = Promise(
            kind=kind,
            target=1 - level if kind in ("accuracy", "review") else level,
            confidence=self.confidence,
            n=len(tested),
            errors=None if i is None else int(losses[i]),
            p_value=None if i is None else walk.p_values[i],
            threshold=None if i is None else self.thresholds_[0],
            thresholds=self.thresholds_ if n_more > 1 and i is not None else (),
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
            found = self.tiers[0].classify(images, progress=progress)
        except (RunError, RunInterrupt) as ended:
            if ended.predictions is None:
                raise
            found, stop = ended.predictions, ended
        answered = _Answered(found)
        # what the first cannot read, no other is asked about
        rows = np.flatnonzero(found.status_codes != STATUSES.index("error"))
        for k in range(self._n_thresholds):
            rows = rows[answered.sureness[rows] < self.thresholds_[k]]
            if stop is not None:  # what was stopped has its row already
                rows = rows[answered.status[rows] == STATUSES.index("ok")]
            if not len(rows):
                break
            if k + 1 == len(self.tiers):  # a person is next
                answered.leave(rows, k + 2)
                break
            more: Predictions | None = None
            if stop is None:
                try:
                    more = self.tiers[k + 1].classify(pick_rows(images, rows), progress=progress)
                except (RunError, KeyboardInterrupt) as ended:
                    stop, more = ended, getattr(ended, "predictions", None)
            if more is None:
                assert stop is not None
                names = [found.images[row] for row in rows.tolist()]
                more = nothing_asked(names, found.classes, stop)
            answered.take(rows, more, k + 2)
        if stop is not None:
            hand_on(stop, answered.predictions())
        return answered.predictions()

    @property
    def model_(self) -> str:
        """Name of the model that the last tier asks, for estimates."""
        return str(getattr(self.tiers[-1], "model_", type(self.tiers[-1]).__name__))

    def requests(self, X: Sequence[Media]) -> Any:
        """Write the requests to the last tier for what the first is unsure of, for an estimate.

        The first tier looks at all images, as it runs on this machine; tiers between are taken to
        settle nothing.

        Parameters
        ----------
        X : sequence of Media, length n_samples
        """
        check_is_fitted(self)
        images = media_list(X)
        if not hasattr(self.tiers[-1], "requests"):
            return []
        found = self.tiers[0].classify(images)
        unsure = (_sureness(found) < self.thresholds_[0]) & (
            found.status_codes != STATUSES.index("error")
        )
        return self.tiers[-1].requests(pick_rows(images, np.flatnonzero(unsure)))

    def drift(self, predictions: Predictions) -> Drift:
        """Compare the routed share of new rows with that of the calibration images.

        Parameters
        ----------
        predictions : Predictions
            Of `classify`.
        """
        from scipy.stats import fisher_exact

        tiers = np.asarray(predictions.columns["tier"])
        routed, n = int((tiers > self._n_thresholds).sum()), len(tiers)
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
        asked = n_teacher + self.routed_[1] + self.promise_.routed * n_images
        return float(asked) / n_images

    def price_sentence(self, n_images: int, n_teacher: int = 0) -> str:
        """Say what labelling costs, relative to asking the last tier, and what that speaks of.

        Parameters
        ----------
        n_images, n_teacher
            As for `price_share`.
        """
        share = self.price_share(n_images, n_teacher)
        if share is None:
            return "Without a promise everything goes on, so nothing is cheaper."
        routed, n_cal = self.promise_.routed or 0.0, self.routed_[1]
        alone = n_teacher / n_images
        who = "a person" if self.last == "review" else "the last tier"
        return (
            f"Of {n_images:,} images {who} sees {n_teacher:,} to learn from, {n_cal:,} to "
            f"calibrate and {100 * routed:.3g} % of the others: {100 * share:.3g} % of asking "
            f"{who} about all (the cascade, with its promise). The student alone, without a "
            f"promise, would be {100 * alone:.2g} %."
        )

    # Saving

    def _to_saved(self) -> Saving:
        return cascade_to_saved(self)

    @classmethod
    def _from_saved(cls, saved: SavedFolder, *, encoder: Any, model: Any) -> Self:
        return cascade_from_saved(cls, saved, encoder, model)


def _sureness(found: Predictions) -> NDArray[np.float64]:
    """Confidences, -1 where there is no answer, shape (n,)."""
    known = np.nan_to_num(np.asarray(found.confidence, np.float64), nan=-1.0)
    return np.asarray(np.where(found.ok, known, -1.0), np.float64)


def _losses(
    kind: PromiseKind,
    tier: NDArray[np.intp],
    labels: NDArray[Any],
    truth: NDArray[Any] | None,
    rows: NDArray[np.intp],
) -> tuple[int, int]:
    """Losses of a policy on calibration rows; for "loss" also where it is better than the last.

    `tier`, of shape (n_rows,): who answers; `labels`, of shape (n_tiers, n); one past the last tier
    is a person, who is taken as right.
    """
    last = len(labels) - 1
    own = labels[np.minimum(tier, last), rows]
    if kind == "agreement":
        return int(((tier < last) & (own != labels[last, rows])).sum()), 0
    assert truth is not None
    right = own == truth[rows]
    if kind == "loss":
        taught = labels[last, rows] == truth[rows]
        return int((~right & taught).sum()), int((right & ~taught).sum())
    return int(((tier <= last) & ~right).sum()), 0


class _Answered:
    """Rows of the first tier, in whose place those of later tiers are put."""

    def __init__(self, first: Predictions) -> None:
        self.first = first
        self.codes, self.status = first.codes.copy(), first.status_codes.copy()
        self.confidence, self.errors = first.confidence_all.copy(), dict(first.errors)
        self.sureness = _sureness(first)
        self.tier = np.ones(len(first), np.int64)
        nothing = [Decimal(0)] * len(first)
        self.costs: list[Any] = list(first.columns.get("cost_usd", nothing))

    def leave(self, rows: NDArray[np.intp], tier: int) -> None:
        """Leave rows to a person."""
        self.tier[rows], self.status[rows] = tier, STATUSES.index("abstained")
        for row in rows.tolist():
            self.errors.pop(row, None)

    def take(self, rows: NDArray[np.intp], found: Predictions, tier: int) -> None:
        """Put the answers of a later tier in their places."""
        place = {label: i for i, label in enumerate(self.first.classes)}
        moved = np.array([*(place[label] for label in found.classes), -1], np.int32)
        self.tier[rows], self.codes[rows] = tier, moved[found.codes]
        self.status[rows], self.confidence[rows] = found.status_codes, found.confidence_all
        self.sureness[rows] = _sureness(found)
        own = found.columns.get("cost_usd", [Decimal(0)] * len(found))
        for i, row in enumerate(rows.tolist()):
            self.costs[row] = _sum(self.costs[row], own[i])
            self.errors.pop(row, None)
            if i in found.errors:
                self.errors[row] = found.errors[i]

    def predictions(self) -> Predictions:
        """Give one row per input."""
        return Predictions(
            images=self.first.images,
            classes=self.first.classes,
            codes=self.codes,
            confidence_all=self.confidence,
            status_codes=self.status,
            errors=self.errors,
            columns={"tier": self.tier.tolist(), "cost_usd": self.costs},
            n_from_store=self.first.n_from_store,
        )


def _mean_cost(found: Predictions) -> Decimal | None:
    total = _spent(found)
    return None if total is None or not len(found) else total / len(found)


def _sum(a: Any, b: Any) -> Decimal | None:
    return None if a is None or b is None else Decimal(str(a)) + Decimal(str(b))


def _spent(*parts: Predictions | None) -> Decimal | None:
    total: Decimal | None = Decimal(0)
    for part in parts:
        if part is not None:
            for cost in part.columns.get("cost_usd", ()):
                total = _sum(total, cost)
    return total
