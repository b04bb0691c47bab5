"""From answers by image and arm to what each probe says: pure statistics and sentences."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from showtell.errors import InputError
from showtell.evaluate.audits.plan import AuditPlan, ProbeName
from showtell.metrics import (
    LEAST_EFFECT,
    NO_ANSWER,
    Attraction,
    accuracy_interval,
    bias_verdict,
    detectable_pull,
    flip_rate,
    holm,
    label_attraction,
    list_position,
    mcnemar_exact,
    paired_bootstrap,
    recency,
)
from showtell.words import percent, plain_points

ProbeVerdict: TypeAlias = Literal["biased", "inconclusive", "pass", "not tested"]

LEAST_GAP = 0.05
"""A gap between accuracies with real and with neutral names below this is negligible."""

_TITLES: Mapping[ProbeName, str] = {
    "example": "A label in the example",
    "position": "Place in the list",
    "order": "Order of demonstrations",
    "majority": "More demonstrations of one label",
    "names": "Real or neutral names",
}
_QUESTIONS: Mapping[ProbeName, str] = {
    "example": "Is a label answered more often because a filled-in example names it?",
    "position": "Is a label answered more often because of where it stands in the list?",
    "order": "Is a label answered more often because it was shown last?",
    "majority": "Is a label answered more often because its demonstrations stand there twice?",
    "names": "Does it matter whether labels have their real names?",
}


@dataclass(frozen=True, kw_only=True)
class Probe:
    """What one probe says.

    Parameters
    ----------
    name, title, question : str
    verdict : {"biased", "inconclusive", "pass", "not tested"}
    effect, low, high : float or None
        With its 95 % interval, as share of answers; of "names" a difference of accuracies.
    p_value, p_holm : float or None
        Before and after correction for the number of probes.
    n_images, n_answers : int
        That count.
    n_failed : int
        Questions without an answer that is a label; they do not count.
    detectable : float or None
        The smallest pull that so many answers find with a chance of 95 %.
    sentence, note : str
    details : mapping
        JSON values for tables and pictures.
    """

    name: ProbeName
    title: str
    question: str
    verdict: ProbeVerdict
    effect: float | None = None
    low: float | None = None
    high: float | None = None
    p_value: float | None = None
    p_holm: float | None = None
    n_images: int = 0
    n_answers: int = 0
    n_failed: int = 0
    detectable: float | None = None
    sentence: str = ""
    note: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ArmScore:
    """How often the answers of one arm are right, and whether that differs from the usual prompt.

    Parameters
    ----------
    name, kind : str
    n : int
        Answers.
    n_failed : int
        Questions without an answer; they do not count.
    accuracy, low, high : float or None
        With Wilson's 95 % interval; None without answers.
    difference : float or None
        To the usual prompt, on the same images.
    n_lost, n_won : int
        Images that only the usual prompt has right, and only this arm.
    p_value : float or None
        Exact McNemar test of the two.
    """

    name: str
    kind: str
    n: int
    n_failed: int
    accuracy: float | None
    low: float | None
    high: float | None
    difference: float | None = None
    n_lost: int = 0
    n_won: int = 0
    p_value: float | None = None


def judge(
    plan: AuditPlan,
    codes: ArrayLike,
    y_true: ArrayLike,
    *,
    neutral: ArrayLike | None = None,
    asked: ArrayLike | None = None,
    n_permutations: int = 9_999,
    random_state: int = 0,
) -> tuple[Probe, ...]:
    """Test every probe of a plan, with p-values corrected for their number.

    Parameters
    ----------
    plan : AuditPlan
    codes : array-like of shape (n_images, n_arms), int
        Answers; -1 where there is none.
    y_true : array-like of shape (n_images,), int
    neutral : array-like of shape (n_images,), int, optional
        Answers under neutral names; needed for "names".
    asked : array-like of shape (n_images, n_arms), bool, optional
        What was asked, to count failures; default: what the plan wants.
    n_permutations, random_state : int
    """
    answers, truth = np.asarray(codes), np.asarray(y_true)
    asks = plan.wanted(truth) if asked is None else np.asarray(asked, bool)
    failed = asks & (answers == NO_ANSWER)
    drawn: list[Probe] = []
    for number, name in enumerate(plan.probes):
        if name in plan.untested:
            drawn.append(_probe(name, "not tested", sentence=f"Not tested: {plan.untested[name]}."))
            continue
        settings = {"n_permutations": n_permutations, "random_state": random_state + number}
        try:
            match name:
                case "position":
                    probe = _position(plan, answers, truth, failed, settings)
                case "names":
                    probe = _names(answers[:, 0], neutral, truth, failed[:, 0])
                case _:
                    probe = _attraction(name, plan, answers, truth, failed, settings)
        except InputError as error:
            why = f"Not tested: {str(error)[:1].lower()}{str(error)[1:]}"
            drawn.append(_probe(name, "not tested", sentence=why))
            continue
        drawn.append(probe)
    tested = [i for i, probe in enumerate(drawn) if probe.p_value is not None]
    if tested:
        corrected = holm(np.array([drawn[i].p_value for i in tested], np.float64))
        for i, p_holm in zip(tested, corrected.tolist(), strict=True):
            drawn[i] = _with_verdict(drawn[i], p_holm, len(tested))
    return tuple(drawn)


def arm_scores(
    plan: AuditPlan,
    codes: ArrayLike,
    y_true: ArrayLike,
    *,
    neutral: ArrayLike | None = None,
    asked: ArrayLike | None = None,
) -> tuple[ArmScore, ...]:
    """Accuracy of every arm, beside the usual prompt on the same images."""
    answers, truth = np.asarray(codes), np.asarray(y_true)
    asks = plan.wanted(truth) if asked is None else np.asarray(asked, bool)
    names = [arm.name(plan.labels) for arm in plan.arms]
    kinds: list[str] = [arm.kind for arm in plan.arms]
    if neutral is not None:
        answers = np.column_stack([answers, neutral])
        asks = np.column_stack([asks, np.ones(len(truth), bool)])
        names.append("neutral names")
        kinds.append("names")
    return tuple(
        _score(names[c], kinds[c], answers[:, 0], answers[:, c], truth, asks[:, c])
        for c in range(len(names))
    )


def _score(
    name: str,
    kind: str,
    usual: NDArray[np.int64],
    own: NDArray[np.int64],
    truth: NDArray[np.int64],
    asked: NDArray[np.bool_],
) -> ArmScore:
    there = asked & (own != NO_ANSWER)
    n, n_right = int(there.sum()), int((own == truth)[there].sum())
    n_failed = int((asked & ~there).sum())
    score = ArmScore(
        name=name, kind=kind, n=n, n_failed=n_failed, accuracy=None, low=None, high=None
    )
    if not n:
        return score
    low, high = accuracy_interval(n_right, n)
    score = replace(score, accuracy=n_right / n, low=low, high=high)
    both = there & (usual != NO_ANSWER)
    if kind == "base" or not both.any():
        return score
    test = mcnemar_exact((usual == truth)[both], (own == truth)[both])
    return replace(
        score,
        difference=test.difference,
        n_lost=test.n_only_a,
        n_won=test.n_only_b,
        p_value=test.p_value,
    )


def _probe(name: ProbeName, verdict: ProbeVerdict = "inconclusive", **found: Any) -> Probe:
    title, question = _TITLES[name], _QUESTIONS[name]
    return Probe(name=name, title=title, question=question, verdict=verdict, **found)


def _attraction(
    name: ProbeName,
    plan: AuditPlan,
    answers: NDArray[np.int64],
    truth: NDArray[np.int64],
    failed: NDArray[np.bool_],
    settings: Mapping[str, int],
) -> Probe:
    """Test what pointing at a wrong label does: example, order and majority."""
    columns = plan.of_kind(name)  # type: ignore[arg-type]
    own = answers[:, columns]
    at = np.array([plan.arms[c].label for c in columns])
    first: NDArray[np.int64] | None = None
    found: Attraction
    if name == "order":
        first = np.array([plan.arms[c].first for c in columns])
        found = recency(own, truth, at, first, **settings)
    else:
        found = label_attraction(own, truth, at, **settings)
    rows = _rates(own, truth, at, first, plan.labels)
    used = ~np.isnan(found.per_image)
    n_cells = int(((own != NO_ANSWER) & (at[None] != truth[:, None]))[used].sum())
    details: dict[str, Any] = {"labels": rows, "exact": found.exact}
    if name == "example":
        nonce = plan.of_kind("nonce")
        details["n_failed_nonce"] = int(failed[:, nonce].sum())
        columns = columns + nonce
    return _probe(
        name,
        effect=found.effect,
        low=found.low,
        high=found.high,
        p_value=found.p_value,
        n_images=found.n_images,
        n_answers=n_cells,
        n_failed=int(failed[:, columns].sum()),
        details={**details, "flip_rate": _finite(flip_rate(own)), "n_arms": len(at)},
    )


def _rates(
    own: NDArray[np.int64],
    truth: NDArray[np.int64],
    at: NDArray[np.int64],
    first: NDArray[np.int64] | None,
    labels: Sequence[str],
) -> list[dict[str, Any]]:
    """Per label: how often it is answered when pointed at, and otherwise, where it is wrong."""
    rows = []
    for column, label in enumerate(at.tolist()):
        others = np.delete(np.arange(len(at)), column) if first is None else None
        if others is None:
            others = np.flatnonzero(first == label)
        here = own[:, column]
        there = own[:, others]
        counts = (there != NO_ANSWER) & (at[others] != truth[:, None] if first is None else True)
        use = (truth != label) & (here != NO_ANSWER) & counts.any(axis=1)
        row: dict[str, Any] = {"label": labels[label], "n": int(use.sum())}
        if use.any():
            pointed = (here[use] == label).astype(float)
            hits = ((there == label) & counts)[use].sum(axis=1) / counts[use].sum(axis=1)
            interval = paired_bootstrap(hits, pointed, n_resamples=2000)
            row |= {
                "pointed": float(pointed.mean()),
                "otherwise": float(hits.mean()),
                "effect": interval.difference,
                "low": interval.low,
                "high": interval.high,
            }
        rows.append(row)
    return rows


def _position(
    plan: AuditPlan,
    answers: NDArray[np.int64],
    truth: NDArray[np.int64],
    failed: NDArray[np.bool_],
    settings: Mapping[str, int],
) -> Probe:
    columns = [0, *plan.of_kind("position")]
    shifts = [plan.arms[c].shift for c in columns]
    found = list_position(answers[:, columns], truth, shifts, len(plan.labels), **settings)
    n_places = len(shifts)
    # A share q of answers that follow the place raises its share by q (1 - 1/n): undo that, so
    # that effects of all probes mean the same.
    scale = n_places / (n_places - 1)
    return _probe(
        "position",
        effect=found.effect * scale,
        low=found.low * scale,
        high=found.high * scale,
        p_value=found.p_value,
        n_images=found.n_images,
        n_answers=found.n_answers,
        n_failed=int(failed[:, columns].sum()),
        details={
            "excess": found.effect,
            "shares": found.shares.tolist(),
            "expected": found.expected.tolist(),
            "shares_wrong": [_finite(x) for x in found.shares_wrong.tolist()],
            "recall": [_finite(x) for x in found.recall.tolist()],
            "recall_sd": _finite(found.recall_sd),
            "slope": found.slope,
            "flip_rate": found.flip_rate,
            "favoured": found.favoured,
            "whole": n_places == len(plan.labels),
            "n_arms": n_places,
        },
    )


def _names(
    named: NDArray[np.int64],
    neutral: ArrayLike | None,
    truth: NDArray[np.int64],
    failed: NDArray[np.bool_],
) -> Probe:
    if neutral is None:
        raise InputError("There are no answers under neutral names.")
    other = np.asarray(neutral)
    both = (named != NO_ANSWER) & (other != NO_ANSWER)
    if not both.any():
        raise InputError("No image has an answer both with real and with neutral names.")
    a, b = (other == truth)[both], (named == truth)[both]
    test = mcnemar_exact(a, b)
    interval = paired_bootstrap(a, b)
    low, high = interval.low, interval.high
    if not (a != b).any():
        high = max(high, float(1 - 0.05 ** (1 / int(both.sum()))))
        low = -high
    return _probe(
        "names",
        effect=test.difference,
        low=low,
        high=high,
        p_value=test.p_value,
        n_images=int(both.sum()),
        n_answers=2 * int(both.sum()),
        n_failed=int(failed.sum() + (other == NO_ANSWER).sum()),
        details={
            "accuracy_named": float(b.mean()),
            "accuracy_neutral": float(a.mean()),
            "n_only_named": test.n_only_b,
            "n_only_neutral": test.n_only_a,
            "flip_rate": float((named != other)[both].mean()),
        },
    )


def _with_verdict(probe: Probe, p_holm: float, n_probes: int) -> Probe:
    """Apply the rule, and say it in words."""
    assert probe.effect is not None
    assert probe.low is not None
    assert probe.high is not None
    if probe.name == "names":
        effect, high, least = abs(probe.effect), max(-probe.low, probe.high), LEAST_GAP
        detectable = None
    else:
        effect, high, least = probe.effect, probe.high, LEAST_EFFECT
        n_arms = probe.details["n_arms"]
        n_cells = probe.n_answers
        if probe.name == "position":  # where the favoured place holds the truth nothing shows
            n_cells = n_cells * (n_arms - 1) // n_arms
        if probe.name in ("example", "majority"):
            n_arms -= 1
        detectable = detectable_pull(n_cells, n_arms, n_probes=n_probes)
    effect_, low_, high_ = (round(v, 9) + 0.0 for v in (probe.effect, probe.low, probe.high))
    probe = replace(probe, effect=effect_, low=low_, high=high_)
    verdict = bias_verdict(p_holm, effect, high, least=least)
    note = ""
    if verdict == "pass" and p_holm < 0.01:
        note = "Detectable, but negligible."
    elif verdict == "inconclusive":
        note = (
            f"Effects of {percent(least, digits=0)} or more are neither shown nor excluded: ask "
            "about more images."
        )
    elif probe.name != "names" and (probe.high or 0.0) < 0:
        note = "Pointing at a label makes it rarer, if anything."
    return replace(
        probe,
        p_holm=p_holm,
        detectable=detectable,
        verdict=verdict,
        sentence=_sentence(probe),
        note=note,
    )


def _sentence(probe: Probe) -> str:
    effect, low, high = probe.effect or 0.0, probe.low or 0.0, probe.high or 0.0
    more = plain_points(effect)
    between = f"(95% interval {plain_points(low)} to {plain_points(high)})"
    match probe.name:
        case "example":
            return (
                "Naming a wrong label in the example makes it the answer "
                f"{more} points more often {between}."
            )
        case "order":
            return (
                "A wrong label is the answer "
                f"{more} points more often when shown last than when first {between}."
            )
        case "majority":
            return (
                "Showing a wrong label's demonstrations twice makes it the answer "
                f"{more} points more often {between}."
            )
        case "position":
            d = probe.details
            place = _place(d["favoured"], len(d["shares"]), whole=d["whole"])
            return (
                f"{more} of 100 answers follow the {place} {between}; the order of the "
                f"list changes the answer for {percent(d['flip_rate'])} of the images."
            )
        case "names":
            d = probe.details
            return (
                f"Accuracy is {percent(d['accuracy_named'])} with real names and "
                f"{percent(d['accuracy_neutral'])} with neutral ones: {more} points "
                f"{between}."
            )


def _place(place: int, n: int, *, whole: bool) -> str:
    """Call a place of the list what it is.

    Examples
    --------
    >>> _place(0, 10, whole=True), _place(2, 10, whole=False), _place(9, 10, whole=True)
    ('first place', '3rd tenth of the list', 'last place')
    """
    if whole:
        if place in (0, n - 1):
            return "first place" if place == 0 else "last place"
        return f"{_ordinal(place + 1)} place"
    parts = {10: "tenth", 5: "fifth", 4: "quarter", 3: "third", 2: "half"}.get(n, f"of {n} parts")
    nth = "first" if place == 0 else "last" if place == n - 1 else _ordinal(place + 1)
    return f"{nth} {parts} of the list"


def _ordinal(n: int) -> str:
    end = {1: "st", 2: "nd", 3: "rd"}.get(n % 10 if n % 100 not in (11, 12, 13) else 0, "th")
    return f"{n}{end}"


def _finite(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
