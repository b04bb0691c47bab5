"""What `fit` learns by asking: the prior of the prompt, and what stated confidences are worth."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from showtell._progress import no_progress
from showtell.classify.asking.confidence import ConfidenceMap, with_confidence
from showtell.classify.asking.null_images import content_free_pictures
from showtell.classify.asking.running import ask_all
from showtell.classify.base import LimitsWarning, media_list
from showtell.errors import InputError
from showtell.media import Media
from showtell.metrics import content_free_prior, divide_prior, fit_batch_gamma

if TYPE_CHECKING:
    from showtell.classify.asking.classifier import MLLMClassifier

_MIN_CALIBRATION = 20
_PER_LABEL = 10  # images that batch calibration should see


def what_to_learn_from(
    clf: MLLMClassifier, images: Sequence[Media], rows: NDArray[np.intp]
) -> tuple[Sequence[Media], NDArray[np.intp]]:
    """Pictures that show nothing, and rows of labelled images to ask about."""
    nulls: Sequence[Media] = ()
    if clf.debias == "contextual":
        if isinstance(clf.null_images, str):
            seen = images or [d.image.data for d in clf._usual_demonstrations(None)]
            nulls = content_free_pictures(clf._seed % 2**63, images=seen)
        else:
            nulls = media_list(clf.null_images)
    if clf.calibrate is False or clf.confidence_ is None:
        return nulls, rows[:0]
    if clf.calibrate == "auto" and len(rows) < _MIN_CALIBRATION:
        return nulls, rows[:0]
    if not len(rows):
        raise InputError(
            "`calibrate` needs labelled images besides those that are shown: call `fit(X, y)` "
            "with more of them, show fewer with `shots`, or leave out `calibrate`."
        )
    if clf.n_calibration is not None:
        rows = np.random.default_rng(clf._seed).permutation(rows)[: int(clf.n_calibration)]
    return nulls, np.sort(rows)


def learn(
    clf: MLLMClassifier, images: Sequence[Media], codes: NDArray[np.intp], rows: NDArray[np.intp]
) -> None:
    """Ask what the prompt says of nothing, and what answers about labelled images are worth."""
    nulls, held = what_to_learn_from(clf, images, rows)
    to_ask = [*nulls, *(images[i] for i in held)]
    if not to_ask:
        return
    found = ask_all(clf, to_ask, no_progress)
    costs = [item.spent.cost_usd for item in found.items]
    clf.fit_cost_usd_ = None if None in costs else sum(filter(None, costs), Decimal(0))
    judge = clf._judge()
    evidence = [judge.evidence(item) for item in found.items]
    of_row = [None if d < 0 else evidence[d] for d in found.distinct]
    if clf.debias == "contextual":
        _learn_from_nulls(clf, of_row[: len(nulls)])
    of_row, truth = of_row[len(nulls) :], codes[held]
    if clf.debias == "batch" and len(held):
        _learn_batch(clf, of_row, truth)
    if not len(held):
        return
    judged = [judge.verdict(None, e) for e in corrected(clf, of_row)]
    usable = [i for i, j in enumerate(judged) if j.code >= 0]
    sure = [judged[i].confidence for i in usable]
    right = [judged[i].code == truth[i] for i in usable]
    clf.calibration_ = ConfidenceMap.fit(np.clip(sure, 0, 1), right)


def _learn_from_nulls(clf: MLLMClassifier, evidence: Sequence[Evidence | None]) -> None:
    usable = [e for e in evidence if e is not None]
    if not usable:
        warnings.warn(
            "debias='contextual' has nothing to work on: the model gave no label to any of "
            f"{len(evidence)} pictures that show nothing. Answers stay as they are; give "
            "other `null_images`, or set debias='batch'.",
            LimitsWarning,
            stacklevel=4,
        )
        clf.correction_ = "contextual: nothing learned"
        return
    clf.prior_ = prior_of(usable)
    n = len(usable)
    clf.correction_ = (
        f"contextual: divided by what {n} picture{'' if n == 1 else 's'} showing nothing "
        f"came to, {_prior_words(clf)}"
    )


def _learn_batch(
    clf: MLLMClassifier, evidence: Sequence[Evidence | None], truth: NDArray[np.intp]
) -> None:
    """Fix the prior and its strength by labelled images, so that calls need not be large."""
    kept = [(e, int(c)) for e, c in zip(evidence, truth, strict=True) if e is not None]
    if len(kept) < 2:
        return
    usable = [e for e, _ in kept]
    _say_if_few(len(usable), len(clf.classes_))
    clf.prior_ = prior_of(usable)
    among = None
    if any(e.named is not None for e in usable):
        among = np.array([e.row > 0 if e.named is None else e.named for e in usable])
    clf.gamma_ = fit_batch_gamma(
        np.array([e.row for e in usable]), [c for _, c in kept], prior=clf.prior_, among=among
    )
    clf.correction_ = (
        f"batch: divided by the power {clf.gamma_:g} of the mean of {len(usable)} labelled "
        f"images, {_prior_words(clf)}"
    )


def _prior_words(clf: MLLMClassifier) -> str:
    assert clf.prior_ is not None
    return prior_in_words(clf.prior_, [str(label) for label in clf.classes_.tolist()])


def _say_if_few(n: int, n_classes: int) -> None:
    """Warn if a mean over so many images may say little of so many labels."""
    wanted = _PER_LABEL * n_classes
    if n < wanted:
        warnings.warn(
            f"debias='batch' looks at the mean over {n} images, and {n_classes} "
            f"labels want {wanted} or more. Take the result with care, give `fit` labelled "
            "images with `calibrate` set, or use debias='contextual'.",
            LimitsWarning,
            stacklevel=5,
        )


def corrected(clf: MLLMClassifier, evidence: Sequence[Evidence | None]) -> list[Evidence | None]:
    """Divide the prior of the prompt out of all rows."""
    usable = [e for e in evidence if e is not None]
    prior = clf.prior_
    if clf.debias is None or not usable:
        return list(evidence)
    if clf.debias == "batch" and prior is None:
        if len(usable) < 2:
            warnings.warn(
                "debias='batch' has nothing to work on: only one image was answered.",
                LimitsWarning,
                stacklevel=4,
            )
            return list(evidence)
        _say_if_few(len(usable), len(clf.classes_))
        prior = prior_of(usable)
    if prior is None:
        return list(evidence)
    if len(usable) >= _PER_LABEL and is_certain(usable):
        warnings.warn(
            f"debias={clf.debias!r} has nothing to work on: about every image all answers "
            "name one label and leave nothing for others. Answers stay as they are; more "
            "`rotations`, or confidence='logprobs', may show what the model hesitates "
            "between.",
            LimitsWarning,
            stacklevel=4,
        )
    return correct_evidence(evidence, prior, clf.gamma_)


_NOTHING = 2e-6  # of a label's probability: the floor
_WORDS = 20  # labels whose prior is written out


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What all answers about one image say together."""

    code: int
    """The label they come to."""
    row: NDArray[np.float64]
    """Probability per label, shape (n_classes,)."""
    named: NDArray[np.bool_] | None = None
    """Labels that an answer named, where answers say nothing about the others; None where they
    give a probability to each."""


def named_by(codes: Sequence[int], n_classes: int) -> NDArray[np.bool_]:
    """Mark the labels among the answers; -1 is no answer."""
    named = np.zeros(n_classes, bool)
    named[[code for code in codes if code >= 0]] = True
    return named


def is_certain(evidence: Sequence[Evidence]) -> bool:
    """Whether nothing is left for other labels in any row, so that no prior can change one."""
    return all(
        np.sort(e.row)[-2:-1].max(initial=0) <= _NOTHING if e.named is None else e.named.sum() < 2
        for e in evidence
    )


def prior_of(evidence: Sequence[Evidence]) -> NDArray[np.float64]:
    """Mean over rows; where rows are frequencies of few answers, an even row counts among them."""
    rows = [e.row for e in evidence]
    if any(e.named is not None for e in evidence):
        rows.append(np.full_like(rows[0], 1 / len(rows[0])))
    return content_free_prior(rows)


def correct_evidence(
    evidence: Sequence[Evidence | None], prior: NDArray[np.float64], gamma: float
) -> list[Evidence | None]:
    """Divide rows by ``prior ** gamma``; where labels were only named, only among those."""
    corrected: list[Evidence | None] = []
    for found in evidence:
        if found is None:
            corrected.append(None)
            continue
        among = None if found.named is None else found.named[None]
        row = divide_prior(found.row[None], prior, gamma, among=among)[0]
        code = int(row.argmax())
        if found.named is not None:
            code = int(np.where(found.named, row, -1).argmax())
            row = with_confidence(row, code, float(row[code]))
        corrected.append(Evidence(code=code, row=row, named=found.named))
    return corrected


def prior_in_words(prior: NDArray[np.float64], labels: Sequence[str]) -> str:
    """Write a prior for a record: label and probability, the largest first.

    Examples
    --------
    >>> prior_in_words(np.array([0.25, 0.75]), ["cat", "dog"])
    'dog 0.750, cat 0.250'
    """
    order = np.argsort(-prior, kind="stable")
    listed = ", ".join(f"{labels[i]} {prior[i]:.3f}" for i in order[:_WORDS])
    return f"{listed} and {len(order) - _WORDS} more" if len(order) > _WORDS else listed
