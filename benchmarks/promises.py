"""How often a cascade breaks its promise: the tables of docs/concepts/promises.md.

On eight photo sets: teachers of 99, 95 and 90 % accuracy are gold labels with errors by chance; a
student learns from such a teacher's labels of the training photos; the test photos are the
traffic. Each of --draws calibrations draws photos from them with replacement, reads thresholds from
500 other draws without labels, and takes a threshold by showtell's own rule and by the naive one
(the cheapest that reaches the target on the calibration photos). Since the traffic is known in
full, so is whether the promise is kept.

    python benchmarks/promises.py [--sets ../shared/datasets] [--store FILE] [--draws 500]

Writes benchmarks/results/promises.csv (one row per cell) and docs/_generated/promises.md. Fails if
promises are broken in more than 5 % of the draws in the mean, or in more than 5 % and two standard
errors in any cell.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from photo_sets import PhotoSet, about, add_options, measured_line, photo_sets, write_csv

from showtell.classify.chain.cascade import _GRID
from showtell.classify.chain.promise import (
    SHARES,
    PromiseKind,
    smallest_sample,
    starts_for,
    thresholds_of,
    walk_accuracy,
    walk_loss,
)
from showtell.classify.chain.student import fit_head, fold_of, out_of_fold
from showtell.classify.probability import probabilities, smoothed_temperature

DELTA = 0.05
TEACHERS = (0.99, 0.95, 0.90)
SIZES = (50, 100, 200, 400)
TARGETS: dict[PromiseKind, tuple[float, ...]] = {
    "accuracy": (0.85, 0.90, 0.95),
    "review": (0.95, 0.98),
    "agreement": (0.01, 0.02, 0.05),
    "loss": (0.01, 0.02, 0.05),
}
OTHER = 500  # unlabelled photos


@dataclass(frozen=True, kw_only=True, eq=False)
class Traffic:
    """What student and teacher make of the test photos."""

    confidence: NDArray[np.float64]
    right: NDArray[np.bool_]
    """The student."""
    taught: NDArray[np.bool_]
    """The teacher."""
    same: NDArray[np.bool_]
    weights: Mapping[str, NDArray[np.float64]]
    """Chance of each photo in the traffic: "same", and "shifted", where the two classes that the
    student knows worst come three times as often."""


def traffic(data: PhotoSet, accuracy: float, rng: np.random.Generator) -> Traffic:
    n = len(data.labels)

    def spoiled(y: NDArray[np.intp]) -> NDArray[np.intp]:
        said = y.copy()
        rows = rng.permutation(len(y))[: round((1 - accuracy) * len(y))]
        said[rows] = (y[rows] + rng.integers(1, n, len(rows))) % n
        return said

    targets = np.eye(n)[spoiled(data.train_y)]
    codes = targets.argmax(axis=1)
    held = out_of_fold(data.train, targets, fold_of(codes, np.arange(len(codes))))
    logits = fit_head(data.train, targets).logits(data.test)
    proba = probabilities(logits / smoothed_temperature(held, codes), "softmax")
    answer, said = proba.argmax(axis=1), spoiled(data.test_y)
    right = answer == data.test_y
    by_class = np.array([right[data.test_y == code].mean() for code in range(n)])
    shifted = np.where(np.isin(data.test_y, np.argsort(by_class)[:2]), 3.0, 1.0)
    return Traffic(
        confidence=proba.max(axis=1).astype(np.float64),
        right=right,
        taught=said == data.test_y,
        same=answer == said,
        weights={"same": np.ones(len(right)) / len(right), "shifted": shifted / shifted.sum()},
    )


def losses(t: Traffic, kind: str, kept: NDArray[np.bool_], rows: Any) -> NDArray[Any]:
    """What counts against each candidate, shape (n_candidates, n); for "loss" the difference."""
    right, taught = t.right[rows], t.taught[rows]
    if kind == "accuracy":
        return ~np.where(kept, right, taught)
    if kind == "review":
        return kept & ~right
    if kind == "agreement":
        return kept & ~t.same[rows]
    return (kept & ~right & taught).astype(int) - (kept & right & ~taught)


@dataclass
class Tally:
    """Counts over the draws of one cell."""

    given: int = 0
    broken: int = 0
    broken_when_shifted: int = 0
    routed: float = 0.0


def true_risk(t: Traffic, kind: str, kept: NDArray[np.bool_]) -> dict[str, NDArray[np.float64]]:
    """Of each candidate on all traffic, by traffic; each of shape (n_candidates,).

    An agreement is promised because it bounds the loss against the teacher; what is checked is the
    loss.
    """
    lost = losses(t, "loss" if kind == "agreement" else kind, kept, slice(None))
    return dict(zip(t.weights, (lost @ np.stack(list(t.weights.values())).T).T, strict=True))


def walks(kind: Any, level: float, lost: NDArray[Any]) -> dict[str, int | None]:
    """Candidate that each rule takes: showtell's, and the naive one."""
    n = lost.shape[1]
    starts = starts_for(n, level, delta=DELTA, kind=kind)
    how: dict[str, Any] = {"delta": DELTA, "shares": SHARES, "starts": starts}
    total = lost.sum(axis=1)
    if kind == "loss":
        worse = (lost > 0).sum(axis=1)
        ours = walk_loss(worse, worse - total, n, level, **how).chosen
    else:
        ours = walk_accuracy(total, n, level, **how).chosen
    fine = np.flatnonzero(total <= level * n + 1e-9)
    return {"promise": ours, "naive": int(fine.max()) if len(fine) else None}


def cells(data: PhotoSet, accuracy: float, draws: int, seed: int) -> Iterator[dict[str, Any]]:
    """One row for each kind, target, number of calibration photos and rule."""
    rng = np.random.default_rng(seed)
    t = traffic(data, accuracy, rng)
    n_all = len(t.right)
    for n in SIZES:
        tallies: dict[tuple[str, float, str], Tally] = {}
        for _ in range(draws):
            rows = rng.integers(0, n_all, n)
            other = thresholds_of(t.confidence[rng.integers(0, n_all, OTHER)])
            for candidates, grid in (("shares", other), ("grid", np.array(_GRID))):
                one_draw(t, grid, rows, candidates, tallies)
        for (kind, target, rule), own in tallies.items():
            yield {
                "set": data.name,
                "teacher": accuracy,
                "student_accuracy": float(t.right.mean()),
                "kind": kind,
                "target": target,
                "n": n,
                "rule": rule,
                "draws": draws,
                "given": own.given / draws,
                "broken": own.broken / draws,
                "broken_when_shifted": own.broken_when_shifted / draws,
                "routed": own.routed / own.given if own.given else math.nan,
                "oracle": oracle(t, kind, target),
            }


def one_draw(
    t: Traffic,
    grid: NDArray[np.float64],
    rows: NDArray[np.intp],
    candidates: str,
    tallies: dict[tuple[str, float, str], Tally],
) -> None:
    kept = t.confidence[None, :] >= grid[:, None]
    routed = 1 - kept.mean(axis=1)
    for kind, targets in TARGETS.items():
        if candidates == "grid" and kind != "accuracy":
            continue
        risk = true_risk(t, kind, kept)
        lost = losses(t, kind, kept[:, rows], rows)
        for target in targets:
            level = 1 - target if kind in ("accuracy", "review") else target
            if len(rows) < smallest_sample(level, delta=DELTA, kind=kind):
                continue  # refused before anything is asked
            for rule, i in walks(kind, level, lost).items():
                if candidates == "grid" and rule == "naive":
                    continue
                name = "promise, fixed grid" if candidates == "grid" else rule
                own = tallies.setdefault((kind, target, name), Tally())
                if i is None:
                    continue
                own.given += 1
                own.broken += bool(risk["same"][i] > level + 1e-9)
                own.broken_when_shifted += bool(risk["shifted"][i] > level + 1e-9)
                own.routed += routed[i]


def oracle(t: Traffic, kind: str, target: float) -> float:
    """Smallest share that keeps the target for sure; NaN where none does."""
    level = 1 - target if kind in ("accuracy", "review") else target
    grid = np.array([-math.inf, *np.unique(t.confidence), math.inf])
    kept = t.confidence[None, :] >= grid[:, None]
    fine = np.flatnonzero(true_risk(t, kind, kept)["same"] <= level + 1e-9)
    return float((1 - kept.mean(axis=1))[fine].min()) if len(fine) else math.nan


def summary(
    rows: Sequence[dict[str, Any]], key: Callable[[dict[str, Any]], bool]
) -> dict[str, Any]:
    """Mean and worst over the cells that the key takes."""
    own = [row for row in rows if key(row)]
    worst = max(own, key=lambda row: row["broken"])
    given = [row for row in own if row["given"] > 0]
    n = sum(row["given"] for row in given)
    return {
        "n_cells": len(own),
        "broken": float(np.mean([row["broken"] for row in own])),
        "worst": worst["broken"],
        "shifted": float(np.mean([row["broken_when_shifted"] for row in own])),
        "worst_shifted": max(row["broken_when_shifted"] for row in own),
        "given": float(np.mean([row["given"] for row in own])),
        "routed": sum(row["given"] * row["routed"] for row in given) / n if n else math.nan,
        "oracle": float(np.nanmean([row["oracle"] for row in own])),
    }


def missed_bars(rows: Sequence[dict[str, Any]]) -> list[str]:
    missed = []
    for rule in ("promise", "promise, fixed grid"):
        own = [row for row in rows if row["rule"] == rule]
        mean = float(np.mean([row["broken"] for row in own]))
        if mean > DELTA:
            missed.append(f"{rule}: broken in {mean:.3f} of the draws in the mean")
        most = DELTA + 2 * math.sqrt(DELTA * (1 - DELTA) / own[0]["draws"])
        missed += [
            f"{rule}: {row['broken']:.3f} broken: {row['set']}, teacher {row['teacher']}, "
            f"{row['kind']} {row['target']}, n = {row['n']}"
            for row in own
            if row["broken"] > most
        ]
    return missed


def as_markdown(rows: Sequence[dict[str, Any]], facts: dict[str, str]) -> str:
    titles = {
        "promise": "showtell",
        "promise, fixed grid": "showtell, fixed grid of confidences",
        "naive": "naive: reaches the target on the calibration photos",
    }
    lines = [
        "| promise, rule | photos | cells | broken, mean | broken, worst cell | given | sent on | "
        "least possible |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for kind in TARGETS:
        for rule, title in titles.items():
            for n in SIZES:
                if not any(r["kind"] == kind and r["rule"] == rule and r["n"] == n for r in rows):
                    continue
                found = summary(
                    rows,
                    lambda r, k=kind, u=rule, m=n: (
                        r["kind"] == k and r["rule"] == u and r["n"] == m
                    ),
                )
                lines.append(
                    f"| {kind}, {title} | {n} | {found['n_cells']} | {found['broken']:.3f} | "
                    f"{found['worst']:.3f} | {found['given']:.2f} | "
                    f"{'–' if math.isnan(found['routed']) else format(found['routed'], '.2f')} | "
                    f"{found['oracle']:.2f} |"
                )
    ours = [r for r in rows if r["rule"] == "promise"]
    every = summary(ours, lambda r: r["draws"] > 0)
    naive = summary(rows, lambda r: r["rule"] == "naive")
    moved = summary(ours, lambda r: r["kind"] == "accuracy" and r["n"] == SIZES[-1])
    moved_naive = summary(
        rows, lambda r: r["rule"] == "naive" and r["kind"] == "accuracy" and r["n"] == SIZES[-1]
    )
    draws = rows[0]["draws"]
    spread = math.sqrt(DELTA * (1 - DELTA) / draws)
    missed = missed_bars(rows)
    names = sorted({row["set"] for row in rows})
    lines += [
        "",
        f"{draws} calibrations per cell; a cell is one of {len(names)} photo sets "
        f"({', '.join(names)}), one of three teachers (99, 95 and 90 % right) and one target "
        "(accuracy .85, .90, .95; review .95, .98; agreement and loss .01, .02, .05); targets that "
        "so few photos cannot carry are refused and left out. The promise is for 95 % confidence: "
        "it may be broken in .05 of the draws. *Given*: draws with a promise; *sent on*: traffic "
        "that goes to the teacher then; *least possible*: what would do if everything were known, "
        "where that is possible.",
        "",
        f"Over all {every['n_cells']} cells showtell's promises are broken in "
        f"{every['broken']:.4f} of the draws, in the worst cell in {every['worst']:.3f} "
        "(allowed, with two standard "
        f"errors: {DELTA + 2 * spread:.3f}); those of the naive rule in {naive['broken']:.3f}, in "
        f"the worst cell in {naive['worst']:.3f}.",
        "",
        "A promise is about traffic like the calibration photos. Where the two classes that the "
        "student knows worst come three times as often, promises of an accuracy from "
        f"{SIZES[-1]} photos are below their target in {moved['shifted']:.3f} of the draws in the "
        f"mean and {moved['worst_shifted']:.2f} in the worst cell (naive: "
        f"{moved_naive['shifted']:.2f} and {moved_naive['worst_shifted']:.2f}).",
    ]
    if missed:
        lines += ["", f"**{len(missed)} cells are above what is allowed:** " + "; ".join(missed)]
    lines += ["", measured_line("promises", "promises", facts)]
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_options(parser, "promises")
    parser.add_argument("--draws", type=int, default=500)
    options = parser.parse_args()
    facts = about() | {"remark": options.note}
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        store = options.store or f"{folder}/embeddings.sqlite"
        for number, data in enumerate(photo_sets(options.sets, store)):
            for place, accuracy in enumerate(TEACHERS):
                rows += cells(data, accuracy, options.draws, 10 * number + place)
            own = [row for row in rows if row["set"] == data.name]
            told = {
                rule: summary(own, lambda row, rule=rule: row["rule"] == rule)
                for rule in ("promise", "naive")
            }
            print(
                f"{data.name}: broken "
                + ", ".join(f"{r} {s['broken']:.4f} ({s['worst']:.3f})" for r, s in told.items()),
                flush=True,
            )
    write_csv(options.csv, rows, facts)
    options.markdown.write_text(as_markdown(rows, facts), encoding="utf-8")
    missed = missed_bars(rows)
    print("\n".join(missed) or "all bars reached")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
