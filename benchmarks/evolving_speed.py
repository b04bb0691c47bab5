"""What it saves to score changes of words on similarities that are computed once.

One generation's arithmetic, without the language model: 4 candidate sets of 30 descriptions for
each of 100 labels are scored on 1,600 images, and the greedy crossover mixes the best of them. The
straightforward way does the same search and scores each change from the embeddings:

- "all": every label's mean similarity anew for every change;
- "column": only that of the label that is changed, which is the least one could think of.

At the full size these would take 20 minutes to a day, so there a sample of their changes is timed
(all of them take the same time: they differ in one text of 30) and multiplied by the number of
changes that the search scores. That both choose the same words is checked on runs to the end at a
small size, and at the full size on the first visits to a label, with all their changes. The unit
is processor time of one thread; embeddings are drawn, since speed does not depend on the values.
Peak memory is that of a process of its own that only does the fast search.

    python benchmarks/evolving_speed.py [--labels 100] [--rounds 3] [--note TEXT]

Writes benchmarks/results/evolving_speed.csv. Fails if a bar is missed or results differ.
"""

from __future__ import annotations

import argparse
import csv
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"
os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["MKL_NUM_THREADS"] = "1"

import numpy as np

from showtell.classify.evolving.arithmetic import (
    Crossover,
    Fitness,
    fitness_of,
    greedy_crossover,
    near_misses,
    score_columns,
)

HERE = Path(__file__).resolve().parent
N_DIMS = 512
N_CANDIDATES, N_TEXTS, N_PER_LABEL, N_LEAST = 4, 30, 16, 4
MAX_SWEEPS = 3
VISITS = 5
SAMPLED = {"all": 60, "column": 2000}
TIMES_BAR, MEMORY_BAR_MB = 50, 2000


@dataclass(frozen=True)
class Case:
    """Embeddings of images and of what four answers said."""

    images: np.ndarray
    codes: np.ndarray
    texts: list[np.ndarray]
    """Per label, (N_CANDIDATES * N_TEXTS, N_DIMS): one candidate after the other."""

    @classmethod
    def draw(cls, n_labels: int, seed: int = 0) -> Case:
        rng = np.random.default_rng(seed)
        middles = rng.normal(size=(n_labels, N_DIMS))
        codes = np.repeat(np.arange(n_labels), N_PER_LABEL)
        images = middles[codes] + 5 * rng.normal(size=(len(codes), N_DIMS))
        n_texts = N_CANDIDATES * N_TEXTS
        texts = middles[:, None] + 10 * rng.normal(size=(n_labels, n_texts, N_DIMS))
        return cls(unit(images), codes, [unit(of) for of in texts])


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


def candidates(n_labels: int) -> Iterator[list[np.ndarray]]:
    """Which texts of the pool each candidate uses."""
    places = np.arange(N_CANDIDATES * N_TEXTS) // N_TEXTS
    for k in range(N_CANDIDATES):
        yield [places == k for _ in range(n_labels)]


def fast(case: Case) -> Crossover:
    """One generation's arithmetic as the classifier does it."""
    similarities = [case.images @ of.T for of in case.texts]
    judged = [
        (fitness_of(score_columns(similarities, masks), case.codes), masks)
        for masks in candidates(len(case.texts))
    ]
    best = judged[0]
    for one in judged[1:]:
        if one[0].beats(best[0]):
            best = one
    return greedy_crossover(
        similarities, best[1], case.codes, n_least=N_LEAST, n_most=N_TEXTS, max_sweeps=MAX_SWEEPS
    )


class Straightforward:
    """The same search, each change scored from the embeddings."""

    def __init__(self, case: Case, way: str) -> None:
        self.case, self.way = case, way
        self.n_labels = len(case.texts)
        self.scores = np.empty((len(case.images), self.n_labels))

    def column(self, code: int, mask: np.ndarray) -> np.ndarray:
        """Mean similarity of the images with the chosen texts of a label."""
        similarities = self.case.images @ self.case.texts[code][mask].T
        return similarities.mean(axis=1, dtype=np.float64)

    def judge(self, masks: list[np.ndarray], changed: int | None = None) -> Fitness:
        """Score a set; `self.scores` are those of all labels but `changed`."""
        if self.way == "all" or changed is None:
            columns = [self.column(code, mask) for code, mask in enumerate(masks)]
            return fitness_of(np.stack(columns, axis=1), self.case.codes)
        scores = self.scores.copy()
        scores[:, changed] = self.column(changed, masks[changed])
        return fitness_of(scores, self.case.codes)

    def take(self, masks: list[np.ndarray]) -> None:
        for code, mask in enumerate(masks):
            self.scores[:, code] = self.column(code, mask)

    def run(self) -> Crossover:
        judged = [(self.judge(masks), masks) for masks in candidates(self.n_labels)]
        best, masks = judged[0]
        for fitness, own in judged[1:]:
            if fitness.beats(best):
                best, masks = fitness, own
        before, masks = best, [mask.copy() for mask in masks]
        self.take(masks)
        counts = near_misses(self.scores, self.case.codes).sum(axis=1)
        order = np.argsort(-counts, kind="stable").tolist()
        n_changes = n_tried = n_sweeps = 0
        for _ in range(MAX_SWEEPS):
            n_sweeps += 1
            n_before = n_changes
            for code in order:
                kept, top = masks[code], None
                for mask in changes_of(kept):
                    masks[code] = mask
                    fitness = self.judge(masks, code)
                    n_tried += 1
                    if top is None or fitness.beats(top[0]):
                        top = (fitness, mask)
                masks[code] = kept
                if top is not None and top[0].beats(best):
                    best, masks[code] = top
                    self.scores[:, code] = self.column(code, masks[code])
                    n_changes += 1
            if n_changes == n_before:
                break
        return Crossover(
            chosen=masks,
            fitness=best,
            before=before,
            n_changes=n_changes,
            n_tried=n_tried,
            n_sweeps=n_sweeps,
        )


def changes_of(mask: np.ndarray) -> Iterator[np.ndarray]:
    """Every single addition, removal and swap."""
    inside, outside = np.flatnonzero(mask), np.flatnonzero(~mask)

    def flipped(*places: int) -> np.ndarray:
        found = mask.copy()
        found[list(places)] ^= True
        return found

    if len(inside) < N_TEXTS:
        yield from (flipped(text) for text in outside)
    if len(inside) > N_LEAST:
        yield from (flipped(text) for text in inside)
    yield from (flipped(out, text) for out in inside for text in outside)


def sampled_seconds(case: Case, found: Crossover, way: str, n_sampled: int) -> float:
    """Processor seconds of one change, on the words at the end of the search."""
    search = Straightforward(case, way)
    masks = [mask.copy() for mask in found.chosen]
    search.take(masks)
    rng = np.random.default_rng(1)
    picked = []
    for code in rng.integers(0, len(masks), n_sampled).tolist():
        options = list(changes_of(masks[code]))
        picked.append((code, options[int(rng.integers(len(options)))]))
    began = time.process_time()
    for code, mask in picked:
        kept, masks[code] = masks[code], mask
        search.judge(masks, code)
        masks[code] = kept
    return (time.process_time() - began) / n_sampled


def same_visits(case: Case, n_visits: int) -> bool:
    """Whether both ways make the same change on visits to single labels, each from the start."""
    similarities = [case.images @ of.T for of in case.texts]
    start = next(candidates(len(case.texts)))
    search = Straightforward(case, "column")
    search.take(start)
    before = fitness_of(search.scores, case.codes)
    agree = True
    for code in range(n_visits):
        quick = greedy_crossover(
            similarities, start, case.codes, n_least=N_LEAST, n_most=N_TEXTS, max_sweeps=1,
            order=[code],
        )  # fmt: skip
        masks, top = list(start), (before, start[code])
        for mask in changes_of(start[code]):
            masks[code] = mask
            fitness = search.judge(masks, code)
            if fitness.beats(top[0]):
                top = (fitness, mask)
        agree &= bool(np.array_equal(quick.chosen[code], top[1])) and quick.n_changes == 1
        agree &= quick.fitness.accuracy == top[0].accuracy
        agree &= abs(quick.fitness.margin - top[0].margin) < 1e-6
    return agree


def same(one: Crossover, other: Crossover) -> bool:
    """Whether two searches tried as much and chose the same words."""
    counts = (one.n_changes, one.n_tried, one.n_sweeps) == (
        other.n_changes,
        other.n_tried,
        other.n_sweeps,
    )
    words = all(np.array_equal(a, b) for a, b in zip(one.chosen, other.chosen, strict=True))
    close = one.fitness.accuracy == other.fitness.accuracy
    return counts and words and close and abs(one.fitness.margin - other.fitness.margin) < 1e-6


def cpu_seconds(call: Callable[[], Crossover]) -> tuple[float, Crossover]:
    began = time.process_time()
    found = call()
    return time.process_time() - began, found


def peak_mb(n_labels: int) -> float:
    """Most resident memory of a process that does the fast search only, in 10^6 bytes."""
    command = [sys.executable, __file__, "--labels", str(n_labels), "--only-fast"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--labels", type=int, default=100)
    parser.add_argument("--small", type=int, default=4, help="labels of the run to the end")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--note", default="", help="for example what else ran on the machine")
    parser.add_argument("--only-fast", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    case = Case.draw(options.labels)
    if options.only_fast:
        fast(case)
        kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(kilobytes * (1 if sys.platform == "darwin" else 1024) / 1e6)
        return 0

    rows: list[dict[str, object]] = []

    def note(size: str, measure: str, value: object, unit: str, bar: object = "") -> None:
        rows.append({"size": size, "measure": measure, "value": value, "unit": unit, "bar": bar})
        print(f"{size:<24}{measure:<52}{value!s:>14} {unit}", flush=True)

    good = True
    little = Case.draw(options.small, seed=1)
    size = f"{options.small} labels, {len(little.codes)} images"
    spent, quick = cpu_seconds(lambda: fast(little))
    for way in SAMPLED:
        slow, full = cpu_seconds(lambda way=way: Straightforward(little, way).run())
        agrees = same(quick, full)
        good &= agrees
        note(size, f"same words and counts as straightforward, {way}", agrees, "", True)
        note(size, f"straightforward, {way} / fast", round(slow / spent, 1), "times")

    size = f"{options.labels} labels, {len(case.codes)} images"
    times = []
    for _ in range(options.rounds):
        spent, found = cpu_seconds(lambda: fast(case))
        times.append(spent)
    middle = float(np.median(times))
    note(size, "fast: scoring and crossover", round(middle, 2), "CPU-s")
    note(size, "changes scored", found.n_tried, "")
    note(size, "changes made", found.n_changes, "")
    note(size, "accuracy of the best candidate", round(found.before.accuracy, 4), "")
    note(size, "accuracy of the mixture", round(found.fitness.accuracy, 4), "")
    agrees = same_visits(case, VISITS)
    good &= agrees
    note(size, f"same change as straightforward on {VISITS} visits", agrees, "", True)
    for way, n_sampled in SAMPLED.items():
        each = sampled_seconds(case, found, way, n_sampled)
        total = each * found.n_tried
        text = f"straightforward, {way}: one change, mean of {n_sampled}"
        note(size, text, round(1e3 * each, 3), "CPU-ms")
        note(size, f"straightforward, {way}: extrapolated", round(total), "CPU-s")
        note(size, f"straightforward, {way} / fast", round(total / middle), "times", TIMES_BAR)
        good &= total / middle >= TIMES_BAR
    peak = peak_mb(options.labels)
    good &= peak < MEMORY_BAR_MB
    note(size, "fast: most resident memory", round(peak), "MB", MEMORY_BAR_MB)

    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        cwd=HERE, capture_output=True, text=True, check=False,
    ).stdout.strip()  # fmt: skip
    shared = {
        "date": datetime.now(UTC).date().isoformat(),
        "commit": commit,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, 1 thread used",
        "versions": f"python {platform.python_version()}, numpy {np.__version__}",
        "remark": options.note,
    }
    target = HERE / "results" / "evolving_speed.csv"
    with target.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [*rows[0], *shared])
        writer.writeheader()
        writer.writerows({**row, **shared} for row in rows)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
