"""Two contestants or more: pair by pair, with ranks, and p-values corrected for their number."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from showtell._progress import Progress, no_progress
from showtell.evaluate.judging.answers import Joined
from showtell.evaluate.judging.run import CRITERIA, Judgement, judge
from showtell.evaluate.judging.scores import bradley_terry
from showtell.media import Media
from showtell.metrics import holm
from showtell.mllm.model import Asked

_ROUND_ROBIN = 5  # contestants; more are compared with the first
_RESAMPLES = 1000
_ELO = 400 / np.log(10)


@dataclass(frozen=True, kw_only=True)
class Standing:
    """Where one of several contestants stands."""

    name: str
    elo: float
    """400 log10 of the Bradley-Terry strength; 0 in the mean of all."""
    low: float
    high: float
    """95 % interval, by resampling images."""
    rank_low: int
    rank_high: int
    """95 % interval of its rank; 1 is the best."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Contest:
    """What was said of all pairs of contestants."""

    joined: Joined
    pairs: tuple[tuple[int, int], ...]
    judgements: tuple[Judgement, ...]
    p_values: tuple[float, ...]
    """Exact sign tests, corrected for their number (Holm)."""
    standings: tuple[Standing, ...]
    """The best first; empty for two contestants."""
    padded: bool
    """Whether half a virtual tie against every other was added, because somebody never won."""
    images: Sequence[Media] | None
    accuracies: Mapping[str, float] | None
    """Share of right labels, where there are gold labels."""
    facts: tuple[Mapping[str, Any], ...]
    """Length, seconds and price of each contestant's answers."""

    @property
    def cost_usd(self) -> Decimal | None:
        """What the judge cost; None if that is not known."""
        costs = [one.cost_usd for one in self.judgements]
        return None if None in costs else sum((c for c in costs if c), Decimal(0))

    @property
    def n_verdicts(self) -> int:
        """Questions that were asked."""
        return sum(len(one.verdicts) for one in self.judgements)

    @property
    def n_errors(self) -> int:
        """Questions without a verdict; they are no ties."""
        return sum(one.n_errors for one in self.judgements)

    def sentences(self) -> list[str]:
        """Say of each pair who is better, or that it cannot be told."""
        return [one.sentence() for one in self.judgements]

    def rows(self) -> Iterator[dict[str, Any]]:
        """Give one row per verdict; by gold labels one per image and pair."""
        for (a, b), found in zip(self.pairs, self.judgements, strict=True):
            if found.judge != "gold":
                for row, told in zip(found.rows_of_verdicts, found.rows(), strict=True):
                    yield {**told, "image": self.joined.images[row]}
                continue
            for image, score in zip(self.joined.images, found.scores.tolist(), strict=True):
                yield {
                    "image": image,
                    "first": self.joined.names[a],
                    "second": self.joined.names[b],
                    "order": "AB",
                    "verdict": {1.0: "first", 0.5: "tie", 0.0: "second"}[score],
                    "score_a": score,
                    "status": "ok",
                    "error": None,
                    "reasons": "",
                    "cost_usd": Decimal(0),
                }

    def to_dict(self) -> dict[str, Any]:
        """Give what was found as JSON values."""
        found = []
        for (a, b), one, p in zip(self.pairs, self.judgements, self.p_values, strict=True):
            found.append(
                {
                    "a": self.joined.names[a],
                    "b": self.joined.names[b],
                    "win_rate": one.win_rate if one.result.n else None,
                    "low": one.interval[0],
                    "high": one.interval[1],
                    "p_value": one.p,
                    "p_holm": p,
                    "n_pairs": one.n_pairs,
                    "n_alike": one.n_alike,
                    "n_judged": one.result.n,
                    "n_decided": one.result.n_decided,
                    "n_errors": one.n_errors,
                    "consistency": one.consistency if one.position and one.position.n else None,
                    "position_bias": one.position_bias if one.position and one.position.n else None,
                    "position_p_value": None if one.position is None else one.position.p_value,
                    "n_human": None if one.corrected is None else one.corrected.n_human,
                    "win_rate_at_equal_length": one.lengths.at_equal_length,
                    "sentence": one.sentence(),
                }
            )
        return {
            "judge": self.judgements[0].judge,
            "n_images": len(self.joined.images),
            "missing": dict(self.joined.missing),
            "pairs": found,
            "standings": [vars(one) for one in self.standings],
            "padded": self.padded,
            "contestants": [
                {**one, "accuracy": (self.accuracies or {}).get(one["name"])} for one in self.facts
            ],
            "cost_usd": self.cost_usd,
        }

    def report(self, path: str | os.PathLike[str], **how: Any) -> Path:
        """Write a page; see `showtell.evaluate.write_contest`."""
        from showtell.evaluate.judging.page import write_contest

        return write_contest(self, path, **how)


def pairs_of(n: int) -> list[tuple[int, int]]:
    """Say who is compared with whom: all with all up to five, more with the first.

    Examples
    --------
    >>> pairs_of(3), len(pairs_of(5)), pairs_of(6)[-1]
    ([(0, 1), (0, 2), (1, 2)], 10, (0, 5))
    """
    if n > _ROUND_ROBIN:
        return [(0, i) for i in range(1, n)]
    return [(i, j) for i in range(n) for j in range(i + 1, n)]


def judge_all(
    joined: Joined,
    *,
    model: Asked | None = None,
    gold: Sequence[str] | None = None,
    images: Sequence[Media] | None = None,
    human: Mapping[tuple[int, int], Mapping[int, float]] | None = None,
    facts: Sequence[Mapping[str, Any]] = (),
    criteria: Sequence[str] = CRITERIA,
    random_state: int = 0,
    progress: Progress = no_progress,
    **how: Any,
) -> Contest:
    """Judge all pairs of contestants, and rank more than two.

    Parameters
    ----------
    joined : Joined
        As `join_answers` gives it.
    model : str, MLLM or Model, optional
    gold : sequence of str, optional
        One for each image; then nobody is asked.
    images : sequence of Media, optional
        What the contestants saw.
    human : mapping, optional
        As `human_scores` gives it.
    facts : sequence of mapping
        Of each contestant, as `Answers.facts` gives them.
    criteria, random_state, progress, **how
        As for `judge`.

    Returns
    -------
    contest : Contest
    """
    pairs = pairs_of(len(joined.names))
    judgements = []
    for a, b in pairs:
        own = None if human is None else human.get((a, b)) or None
        judgements.append(
            judge(
                joined.texts[a],
                joined.texts[b],
                model=model,
                gold=gold,
                criteria=criteria,
                images=images,
                questions=joined.questions,
                references=joined.references,
                names=(joined.names[a], joined.names[b]),
                human=own,
                random_state=random_state,
                progress=progress,
                **how,
            )
        )
    standings: tuple[Standing, ...] = ()
    padded = False
    if len(joined.names) > 2:
        scores = np.stack([one.scores for one in judgements], axis=1)
        standings, padded = _standings(joined.names, pairs, scores, random_state)
    accuracies = None
    if gold is not None:
        accuracies = {
            name: float(np.mean([x == y for x, y in zip(texts, gold, strict=True)]))
            for name, texts in zip(joined.names, joined.texts, strict=True)
        }
    return Contest(
        joined=joined,
        pairs=tuple(pairs),
        judgements=tuple(judgements),
        p_values=tuple(holm([one.p for one in judgements]).tolist()),
        standings=standings,
        padded=padded,
        images=images,
        accuracies=accuracies,
        facts=tuple(facts),
    )


def _standings(
    names: Sequence[str],
    pairs: Sequence[tuple[int, int]],
    scores: NDArray[np.float64],
    random_state: int,
) -> tuple[tuple[Standing, ...], bool]:
    """Rank contestants; intervals by resampling images, shape of scores (n_images, n_pairs)."""
    rng = np.random.default_rng(random_state)
    known = np.isfinite(scores)
    won = np.where(known, scores, 0.0)

    def table(weights: NDArray[Any]) -> NDArray[np.float64]:
        wins = np.zeros((len(names), len(names)))
        for k, (a, b) in enumerate(pairs):
            wins[a, b] = weights @ won[:, k]
            wins[b, a] = weights @ known[:, k] - wins[a, b]
        return wins

    whole = bradley_terry(table(np.ones(len(scores))))
    drawn = np.array(
        [
            bradley_terry(
                table(np.bincount(rng.integers(len(scores), size=len(scores)),
                                  minlength=len(scores))),
                max_steps=500,
            ).log
            for _ in range(_RESAMPLES)
        ]
    )  # fmt: skip
    low, high = np.quantile(_ELO * drawn, [0.025, 0.975], axis=0)
    ranks = 1 + (drawn[:, None, :] > drawn[:, :, None]).sum(axis=2)
    best, worst = np.quantile(ranks, [0.025, 0.975], axis=0, method="nearest")
    found = [
        Standing(
            name=name,
            elo=float(_ELO * whole.log[i]),
            low=float(low[i]),
            high=float(high[i]),
            rank_low=int(best[i]),
            rank_high=int(worst[i]),
        )
        for i, name in enumerate(names)
    ]
    return tuple(sorted(found, key=lambda one: -one.elo)), whole.padded
