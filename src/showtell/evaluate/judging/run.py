"""Ask a multimodal LLM which of two answers is better, in an order that cannot decide."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from showtell._progress import Progress, no_progress
from showtell.errors import InputError, UnknownNameError
from showtell.evaluate.judging.questions import TURNS, Order, Orders, Pairs, is_both
from showtell.evaluate.judging.scores import (
    ByLength,
    Corrected,
    PositionBias,
    WinRate,
    by_length,
    correct_by_person,
    pair_scores,
    pairs_needed,
    position_bias,
    win_rate,
)
from showtell.media import Media, media_name
from showtell.mllm.base import Request
from showtell.mllm.model import Asked, as_model, open_client
from showtell.mllm.structured import Checked, ask_checked, requests_of

__all__ = ["CRITERIA", "Judgement", "Orders", "Verdict", "judge", "judge_requests"]

Said: TypeAlias = Literal["first", "second", "tie"]
_ORDERS = ("auto", "both", "random")
_MOST_CRITERIA = 5
_SURE = 0.05
_SCORES = {"first": 1.0, "tie": 0.5, "second": 0.0}

CRITERIA = ("says what is visible", "invents nothing")
"""What is asked for unless told otherwise."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """One answer of the judge."""

    item: str
    """What the pair is about: the name of the image, or its number."""
    order: Order
    """Who stood first."""
    verdict: Said | None
    score_a: float | None
    """1 if A won, one half for a tie, 0 if B won; None where there is no verdict."""
    status: Literal["ok", "error"]
    error: str | None = None
    reasons: str = ""
    cost_usd: Decimal | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Judgement:
    """What a judge said of two sets of answers, and what it is worth."""

    judge: str
    """Who was asked; "gold" where labels were compared and nobody was."""
    names: tuple[str, str]
    verdicts: tuple[Verdict, ...]
    rows_of_verdicts: tuple[int, ...]
    """Number of the pair that each verdict is about."""
    scores: NDArray[np.float64]
    """Of A per pair, NaN where there is no verdict."""
    result: WinRate
    position: PositionBias | None
    """None unless pairs were shown in both orders."""
    lengths: ByLength
    corrected: Corrected | None
    """By a person's sample, if one was given."""
    n_pairs: int
    n_alike: int
    """Pairs whose answers are the same words: ties, and never asked about."""
    cost_usd: Decimal | None
    notes: tuple[str, ...] = field(default_factory=tuple)

    @property
    def win_rate(self) -> float:
        """How often A is better, ties counted half; corrected where a person has judged too."""
        return self.result.rate if self.corrected is None else self.corrected.rate

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the win rate."""
        own = self.result if self.corrected is None else self.corrected
        return own.low, own.high

    @property
    def p(self) -> float:
        """Exact sign test on decided pairs."""
        return self.result.p_value

    @property
    def position_bias(self) -> float | None:
        """From -1 (always the second) to 1 (always the first)."""
        return None if self.position is None else self.position.bias

    @property
    def consistency(self) -> float | None:
        """Share of pairs with the same verdict in both orders."""
        return None if self.position is None else self.position.consistency

    @property
    def n_errors(self) -> int:
        """Verdicts that failed; they are no ties."""
        return sum(v.status == "error" for v in self.verdicts)

    def sentence(self) -> str:
        """Say in words who is better, or that it cannot be told."""
        a, b = self.names
        low, high = self.interval
        by = "" if self.judge == "gold" else f", according to {self.judge}"
        if self.corrected is not None:
            by = f", {self.judge} corrected by {self.corrected.n_human} pairs of a person"
            winner = a if low > 0.5 else b if high < 0.5 else None
        else:
            winner = {"A": a, "B": b, None: None}[self.result.winner]
        if not self.result.n:
            return f"Nothing can be said of {a} and {b}: no pair has a verdict."
        numbers = f"win rate of {a} {self.win_rate:.3f} [{low:.3f}, {high:.3f}]"
        if winner is None:
            return f"Which is better cannot be told{by}: {numbers}, {self.result.n} pairs."
        return f"{winner} is better{by}: {numbers}, {self.result.n} pairs, p = {self.p:.2g}."

    def rows(self) -> list[dict[str, Any]]:
        """Return one row per verdict, for a table."""
        a, b = self.names
        return [
            {
                "image": v.item,
                "first": a if v.order == "AB" else b,
                "second": b if v.order == "AB" else a,
                "order": v.order,
                "verdict": v.verdict,
                "score_a": v.score_a,
                "status": v.status,
                "error": v.error,
                "reasons": v.reasons,
                "cost_usd": v.cost_usd,
            }
            for v in self.verdicts
        ]

    def __repr__(self) -> str:
        return f"Judgement({self.sentence()!r})"


def judge(
    a: Sequence[str],
    b: Sequence[str],
    *,
    model: Asked | None = None,
    gold: Sequence[str] | None = None,
    criteria: Sequence[str] = CRITERIA,
    images: Sequence[Media] | None = None,
    questions: Sequence[str] | None = None,
    references: Sequence[str] | None = None,
    names: tuple[str, str] = ("A", "B"),
    orders: Orders = "auto",
    human: Mapping[int, float] | None = None,
    max_side: int = 768,
    random_state: int = 0,
    progress: Progress = no_progress,
) -> Judgement:
    """Say whose answers are better: by gold labels where there are any, else by a model.

    Parameters
    ----------
    a, b : sequence of str, length n_pairs
        Answers of two contestants to the same things, in the same order: labels, captions,
        stories, free answers.
    model : str, MLLM or Model, optional
        The judge; needed unless `gold` is given.
    gold : sequence of str, optional
        True labels: then nobody is asked, and pairs of which exactly one is right decide.
    criteria : sequence of str
        One to five, in words.
    images : sequence of Media, optional
        What the contestants saw, one for each pair.
    questions, references : sequence of str, optional
        What they were asked, and an answer to measure them by.
    names : (str, str), default=("A", "B")
        For sentences only: the judge never sees them.
    orders : {"auto", "both", "random"}, default="auto"
        "both" asks each pair twice, swapped; "random" once, each order for half of the pairs.
        "auto" is "both" below 500 pairs. A fixed order is not offered: it decides by itself.
    human : mapping of int to float, optional
        A person's score of A (1, 0.5 or 0) by number of the pair, of pairs drawn at random: the
        judge is corrected by them.
    max_side : int, default=768
        Pixels of the longer side of what is sent.
    random_state : int, default=0
    progress : Progress

    Returns
    -------
    judgement : Judgement

    Raises
    ------
    InputError
        If lengths differ, or there is neither a model nor gold.
    BudgetError
        At a cap; with a run folder the same call goes on.

    References
    ----------
    Zheng et al. (2023), Judging LLM-as-a-judge, arXiv:2306.05685. Shi et al. (2024), Judging the
    Judges, arXiv:2406.07791.

    Examples
    --------
    >>> found = judge(["cat"] * 9 + ["dog"], ["dog"] * 10, gold=["cat"] * 10)
    >>> found.win_rate, round(found.p, 3), found.result.winner
    (0.95, 0.004, 'A')
    """
    more = {"images": images, "questions": questions, "references": references}
    pairs = _pairs(a, b, {**more, "gold": gold}, orders, human, criteria, max_side)
    if gold is not None:
        return _by_gold(pairs, [str(x) for x in gold], names)
    if model is None:
        raise InputError("Give a `model` that judges, or `gold` labels that need none.")
    plan = pairs.plan(orders, random_state)
    with open_client(model) as client:
        asked, made = pairs.ask(plan, client.capabilities)
        found = ask_checked(client, made, progress=progress, stage="judging")
    answers = dict(zip(asked, found, strict=True))
    verdicts = [(i, _verdict(pairs, i, order, answers.get((i, order)))) for i, order in plan]
    both = is_both(orders, int((~pairs.alike).sum()))
    return _judgement(pairs, verdicts, as_model(model).name, names, human, both=both)


def judge_requests(
    a: Sequence[str],
    b: Sequence[str],
    *,
    model: Asked,
    criteria: Sequence[str] = CRITERIA,
    images: Sequence[Media] | None = None,
    questions: Sequence[str] | None = None,
    references: Sequence[str] | None = None,
    orders: Orders = "auto",
    max_side: int = 768,
    random_state: int = 0,
) -> list[Request]:
    """Write the requests that `judge` would send, for an estimate; nobody is asked.

    Parameters
    ----------
    a, b, model, criteria, images, questions, references, orders, max_side, random_state
        As for `judge`.

    Returns
    -------
    requests : list of Request

    Examples
    --------
    >>> len(judge_requests(["a cat", "a dog"], ["a cat", "a fox"], model="openai:gpt-4.1-mini"))
    2
    """
    more = {"images": images, "questions": questions, "references": references}
    pairs = _pairs(a, b, more, orders, None, criteria, max_side)
    reached = as_model(model)
    _, made = pairs.ask(pairs.plan(orders, random_state), reached.capabilities)
    return requests_of(reached.name, made, native=reached.capabilities.structured_output)


def _judgement(
    pairs: Pairs,
    verdicts: Sequence[tuple[int, Verdict]],
    judging: str,
    names: tuple[str, str],
    human: Mapping[int, float] | None,
    *,
    both: bool,
) -> Judgement:
    """Add up what the judge said; `both`: whether pairs were asked in both orders."""
    n, alike = len(pairs.a), pairs.alike
    table = np.full((n, 2), np.nan)
    for i, verdict in verdicts:
        if verdict.score_a is not None:
            table[i, TURNS.index(verdict.order)] = verdict.score_a
    table[alike] = 0.5
    scores = pair_scores(table)
    costs = [verdict.cost_usd for _, verdict in verdicts]
    known = [c for c in costs if c is not None]
    place = position_bias(table[~alike]) if both else None
    return Judgement(
        judge=judging,
        names=names,
        verdicts=tuple(verdict for _, verdict in verdicts),
        rows_of_verdicts=tuple(i for i, _ in verdicts),
        scores=scores,
        result=win_rate(scores, None if pairs.images is None else np.array(pairs.items)),
        position=place,
        lengths=_lengths(scores, pairs),
        corrected=_corrected(scores, human, alike),
        n_pairs=n,
        n_alike=int(alike.sum()),
        cost_usd=sum(known, Decimal(0)) if len(known) == len(costs) else None,
        notes=(*_habits(judging, place), *_notes(scores, n)),
    )


def _pairs(
    a: Sequence[str],
    b: Sequence[str],
    given: Mapping[str, Sequence[Any] | None],
    orders: Orders,
    human: Mapping[int, float] | None,
    criteria: Sequence[str],
    max_side: int,
) -> Pairs:
    _check_arguments(len(a), {"b": b, **given}, orders, human)
    if not 1 <= len(criteria) <= _MOST_CRITERIA:
        raise InputError(f"Give one to five criteria; got {len(criteria)}.")
    images = given["images"]
    items = range(len(a)) if images is None else map(media_name, images)
    return Pairs(
        a=[str(x) for x in a],
        b=[str(x) for x in b],
        items=list(map(str, items)),
        criteria=criteria,
        images=images,
        questions=given["questions"],
        references=given["references"],
        max_side=max_side,
    )


def _check_arguments(
    n: int,
    given: Mapping[str, Sequence[Any] | None],
    orders: Orders,
    human: Mapping[int, float] | None,
) -> None:
    for what, values in given.items():
        if values is not None and len(values) != n:
            raise InputError(f"`a` has {n} answers, but `{what}` has {len(values)}.")
    if orders not in _ORDERS:
        raise UnknownNameError("order of judging", str(orders), _ORDERS)
    strange = [i for i in (human or {}) if not 0 <= i < n]
    if strange:
        raise InputError(f"`human` names pair {strange[0]}; there are pairs 0 to {n - 1}.")


def _verdict(pairs: Pairs, i: int, order: Order, answer: Checked[dict[str, str]] | None) -> Verdict:
    """Read one answer; a pair whose image cannot be sent was not asked about."""
    more: dict[str, Any] = {"item": pairs.items[i], "order": order}
    if answer is None or answer.value is None:
        reason = pairs.broken[i] if answer is None else answer.reason or "no answer"
        cost = Decimal(0) if answer is None else answer.spent.cost_usd
        return Verdict(
            **more, verdict=None, score_a=None, status="error", error=reason, cost_usd=cost
        )
    said = cast("Said", answer.value["verdict"])
    score = _SCORES[said] if order == "AB" else 1 - _SCORES[said]
    return Verdict(
        **more, verdict=said, score_a=score, status="ok", reasons=answer.value["reasons"],
        cost_usd=answer.spent.cost_usd,
    )  # fmt: skip


def _lengths(scores: NDArray[np.float64], pairs: Pairs) -> ByLength:
    return by_length(scores, *(np.array([len(x) for x in own]) for own in (pairs.a, pairs.b)))


def _by_gold(pairs: Pairs, gold: Sequence[str], names: tuple[str, str]) -> Judgement:
    right_a = np.array([x == y for x, y in zip(pairs.a, gold, strict=True)], float)
    right_b = np.array([x == y for x, y in zip(pairs.b, gold, strict=True)], float)
    scores = 0.5 + (right_a - right_b) / 2
    return Judgement(
        judge="gold",
        names=names,
        verdicts=(),
        rows_of_verdicts=(),
        scores=scores,
        result=win_rate(scores),
        position=None,
        lengths=_lengths(scores, pairs),
        corrected=None,
        n_pairs=len(gold),
        n_alike=int((scores == 0.5).sum()),
        cost_usd=Decimal(0),
    )


def _corrected(
    scores: NDArray[np.float64], human: Mapping[int, float] | None, alike: NDArray[np.bool_]
) -> Corrected | None:
    """Correct the judge where it was asked; pairs of equal answers are ties for everybody."""
    if not human:
        return None
    asked = np.isfinite(scores) & ~alike
    rows = np.array([i for i in sorted(human) if asked[i]], np.intp)
    rest = np.setdiff1d(np.flatnonzero(asked), rows)
    own = np.array([float(human[int(i)]) for i in rows])
    found = correct_by_person(own, scores[rows], scores[rest])
    share = float(asked.sum() / (asked | alike).sum())
    return found.among(share)


def _habits(judging: str, place: PositionBias | None) -> tuple[str, ...]:
    """Say that the place of an answer decides, where it does."""
    if place is None or place.p_value > _SURE:
        return ()
    where, n = ("first", place.first_both) if place.bias > 0 else ("second", place.second_both)
    return (
        f"{judging} prefers whoever stands {where}: both times in {n} of {place.n} pairs that were "
        f"asked in both orders (p = {place.p_value:.2g}). The mean over both orders is not pulled "
        "by that, only less sharp.",
    )


def _notes(scores: NDArray[np.float64], n: int) -> tuple[str, ...]:
    """Say what the number of pairs could have shown."""
    found = scores[np.isfinite(scores)]
    if len(found) < 2:
        return ()
    ties = min(float((found == 0.5).mean()), 0.99)
    needed = pairs_needed(0.1, ties=ties)
    return (
        f"A difference of 10 points between winning and losing takes {needed} pairs with as many "
        f"ties as here; there are {n}.",
    )
