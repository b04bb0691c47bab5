"""What evolving descriptions gain over the words they start from: docs/concepts/evolving.md.

For every folder with ``train/``, ``test/`` and ``labels.json`` under --sets, a local server writes
descriptions of its labels, good words and bad ones by chance (half of them bad; which are good it
has measured on the training photos). That is generation 0. Then the words evolve on the training
photos, with the defaults of EvolvingDescriptionClassifier, and generation 0 and the chosen one are
compared on the test photos, which neither the server nor the loop has seen. The server also forgets
labels, repeats itself, names other labels and breaks JSON.

The control is the same loop from the same start with a server that knows nothing: it writes random
everyday words. What it gains is gained by choosing among words on labelled photos alone.

    python benchmarks/evolving_gains.py [--sets ../shared/datasets] [--seeds 5] [--note TEXT]

Writes benchmarks/results/evolving_gains.csv and docs/_generated/evolving_gains.md. Takes half an
hour at most. Fails if words got significantly better on fewer than three sets, if any set lost more
than a point, if the same seed gave another evolution, or if no planted bad word was noted.
"""

from __future__ import annotations

import argparse
import csv
import json
import multiprocessing
import sys
import tempfile
import time
import warnings
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from descriptions_table import ROOT, about, ignorant

import showtell as st
from showtell import metrics
from showtell.classify import EvolvingDescriptionClassifier
from showtell.classify.base import LimitsWarning
from showtell.datasets import Dataset
from showtell.evaluate import evaluate
from showtell.mllm.model import Model
from showtell.prompts import DescriptionSet, write_descriptions
from showtell.testing.servers import Author, LocalServer

FAULTS = "forget-label=0.05,repeat=0.05,name-other=0.05,broken-json=0.05"
N_START = 8
LEAST_BETTER, MOST_LOST = 3, 1.0


@dataclass(frozen=True, kw_only=True)
class Row:
    """One set and one seed, or a set with the means of all seeds; accuracies in per cent."""

    set: str
    seed: str
    n_labels: int
    n_support: int
    n_validation: int
    n_test: int
    start: float
    """Generation 0, on the test photos."""
    best: float
    """The chosen generation."""
    random_words: float
    """The same loop with a writer of random words."""
    gain: float
    """Best less start, in points."""
    low: float
    high: float
    p_value: float
    """One seed: exact McNemar test; all: sign-flip test over photos, each with its mean over
    seeds. Two-sided."""
    p_holm: float = float("nan")
    """Corrected over the sets (all), or over sets and seeds (one)."""
    over_random: float
    """Best less random words, in points."""
    over_random_p: float
    over_random_p_holm: float = float("nan")
    best_generation: str
    n_generations: str
    fitness: str
    """Accuracy on the support photos, of generation 0 and the chosen one."""
    validation: str
    planted_at_start: int
    """Planted nonsense that does harm (counted for each label), in generation 0."""
    planted_at_end: int
    planted_written: int
    """That the server ever wrote, the start included."""
    planted_noted_bad: int
    """Of these, in the bank of bad words at one time."""
    planted_noted_good: int
    bad_written: int
    """The same for all words that the server has measured as bad, the planted ones included."""
    bad_noted_bad: int
    bad_noted_good: int
    good_written: int
    """And for those that it has measured as good."""
    good_noted_bad: int
    good_noted_good: int
    n_requests: int
    same_again: str = ""
    """Whether a second run with the same seed was the same evolution in every word."""
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Run:
    """One evolution."""

    fitted: EvolvingDescriptionClassifier
    start: DescriptionSet

    def right(self, data: Dataset, number: int | None = None) -> np.ndarray:
        """Whether each test photo is answered right, at the end or by a generation."""
        classifier: Any = self.fitted if number is None else self.fitted.at(number)
        return evaluate(classifier, data.test, controls=False).correct


def evolved(
    data: Dataset, author: Author, options: argparse.Namespace, seed: int, store: str,
    start: DescriptionSet | None = None,
) -> Run:  # fmt: skip
    """Have a server write a start, if there is none, and let it evolve on the training photos."""
    labels = [str(label) for label in data.labels]
    with LocalServer(
        "openai", encoder=options.encoder, author=author, faults=FAULTS, seed=seed
    ) as server:
        if start is None:
            access = Model(model="openai:try", base_url=server.base_url, cache=None)
            start = write_descriptions(labels, access, count=N_START).descriptions
        fitted = EvolvingDescriptionClassifier(
            Model("openai:try", base_url=server.base_url, cache=None),
            options.encoder,
            labels=labels,
            start=start,
            store=store,
            calibrate=False,
            random_state=seed,
        ).fit(data.train.images, data.train.y)
    return Run(fitted=fitted, start=start)


def pairs(texts: Mapping[str, Any]) -> set[tuple[str, str]]:
    return {(label, word.casefold()) for label, words in texts.items() for word in words}


def words_of(run: Run, author: Author, encoder: str) -> dict[str, int]:
    """Count what became of the words that the server knows to be bad."""
    known = author.measure(st.load_encoder(encoder))
    bad = pairs({label: words.bad for label, words in known.items()})
    good = pairs({label: words.good for label, words in known.items()})
    planted = bad & pairs(dict.fromkeys(known, author.nonsense))
    history = run.fitted.history_
    written = pairs(run.start)
    for generation in history:
        for exchange in generation.exchanges:
            try:
                said = json.loads(exchange.said)["classes"]
            except (ValueError, KeyError, TypeError):
                continue
            written |= {
                (one["name"], word.casefold())
                for one in said
                if isinstance(one, dict) and "name" in one
                for word in one.get("descriptors", [])
            }
    noted_bad = set().union(*(pairs(generation.bad_words) for generation in history))
    noted_good = set().union(*(pairs(generation.good_words) for generation in history))
    found = {
        "planted_at_start": len(planted & pairs(history[0].descriptions)),
        "planted_at_end": len(planted & pairs(run.fitted.descriptions_)),
    }
    for name, kind in (("planted", planted), ("bad", bad), ("good", good)):
        found[f"{name}_written"] = len(kind & written)
        found[f"{name}_noted_bad"] = len(kind & written & noted_bad)
        found[f"{name}_noted_good"] = len(kind & written & noted_good)
    return found


def same(one: Run, other: Run) -> bool:
    """Whether two evolutions are the same in every word, number and question."""
    return one.start == other.start and one.fitted.history_ == other.fitted.history_


def row_of(
    data: Dataset, name: str, seed: int, run: Run, right: Mapping[str, np.ndarray],
    author: Author, encoder: str, same_again: str, seconds: float,
) -> Row:  # fmt: skip
    evolution = run.fitted.evolution_
    first, chosen = evolution.generations[0], evolution.chosen
    start, best, random = right["start"], right["best"], right["random"]
    gain = metrics.paired_difference(start, best)
    return Row(
        set=name,
        seed=str(seed),
        n_labels=len(data.labels),
        n_support=evolution.n_support,
        n_validation=evolution.n_validation,
        n_test=len(best),
        start=100 * float(start.mean()),
        best=100 * float(best.mean()),
        random_words=100 * float(random.mean()),
        gain=100 * gain.difference,
        low=100 * gain.low,
        high=100 * gain.high,
        p_value=metrics.mcnemar_exact(start, best).p_value,
        over_random=100 * float(best.mean() - random.mean()),
        over_random_p=metrics.mcnemar_exact(random, best).p_value,
        best_generation=str(evolution.best),
        n_generations=str(len(evolution.generations) - 1),
        fitness=f"{100 * first.fitness:.1f} {100 * chosen.fitness:.1f}",
        validation=f"{100 * (first.validation or 0):.1f} {100 * (chosen.validation or 0):.1f}",
        n_requests=sum(generation.n_requests for generation in evolution.generations),
        same_again=same_again,
        seconds=seconds,
        **words_of(run, author, encoder),
    )


def mean_row(rows: list[Row], right: list[Mapping[str, np.ndarray]]) -> Row:
    """All seeds of a set: the photos are the sample, each with its mean over seeds."""
    start, best, random = (
        np.stack([one[key] for one in right]).mean(axis=0) for key in ("start", "best", "random")
    )
    drawn = metrics.paired_bootstrap(start, best)
    sums = {
        name: sum(getattr(row, name) for row in rows)
        for name in vars(rows[0])
        if name.startswith(("planted_", "bad_", "good_")) or name in ("n_requests", "seconds")
    }
    return replace(
        rows[0],
        seed="all",
        start=100 * float(start.mean()),
        best=100 * float(best.mean()),
        random_words=100 * float(random.mean()),
        gain=100 * drawn.difference,
        low=100 * drawn.low,
        high=100 * drawn.high,
        p_value=metrics.sign_flip_test(start, best),
        over_random=100 * float(best.mean() - random.mean()),
        over_random_p=metrics.sign_flip_test(random, best),
        best_generation=" ".join(row.best_generation for row in rows),
        n_generations=" ".join(row.n_generations for row in rows),
        fitness="",
        validation="",
        same_again=" ".join(row.same_again for row in rows if row.same_again),
        **sums,
    )


def corrected(rows: list[Row]) -> list[Row]:
    """Correct p-values for the number of sets, and those of single runs for all of them (Holm)."""
    fixed = list(rows)
    for kind in (True, False):
        places = [i for i, row in enumerate(rows) if (row.seed == "all") is kind]
        one = metrics.holm([rows[i].p_value for i in places])
        other = metrics.holm([rows[i].over_random_p for i in places])
        for i, p, q in zip(places, one, other, strict=True):
            fixed[i] = replace(rows[i], p_holm=float(p), over_random_p_holm=float(q))
    return fixed


def as_markdown(rows: list[Row], facts: Mapping[str, str], n_seeds: int) -> str:
    """The table of the documentation."""
    means = [row for row in rows if row.seed == "all"]
    lines = [
        "| set (labels, training photos, test photos) | generation 0 | chosen generation | "
        "difference, points | p | random words | difference, points | p |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in means:
        sizes = f"{row.n_labels}, {row.n_support} + {row.n_validation}, {row.n_test}"
        lines.append(
            f"| {row.set} ({sizes}) | {row.start:.1f} | {row.best:.1f} | {row.gain:+.1f} "
            f"({row.low:+.1f} to {row.high:+.1f}) | {row.p_holm:.2g} | {row.random_words:.1f} | "
            f"{row.over_random:+.1f} | {row.over_random_p_holm:.2g} |"
        )
    start, best, gain, random, over = (
        float(np.mean([getattr(row, key) for row in means]))
        for key in ("start", "best", "gain", "random_words", "over_random")
    )
    lines.append(
        f"| **mean** | **{start:.1f}** | **{best:.1f}** | **{gain:+.1f}** | | **{random:.1f}** | "
        f"**{over:+.1f}** | |"
    )

    def share(of: str, noted: str) -> str:
        n = sum(getattr(row, f"{of}_written") for row in means)
        return f"{100 * sum(getattr(row, f'{of}_noted_{noted}') for row in means) / n:.0f} %"

    lines += [
        "",
        "Accuracy in per cent on test photos that neither server nor loop has seen, mean of "
        f"{n_seeds} seeds; intervals (bootstrap) and p (sign-flip test, corrected for the "
        f"{len(means)} sets after Holm) are over photos. Training photos: those that judge words, "
        "and those that choose the generation. Random words: the same loop from the same start "
        "with a writer of everyday words drawn by chance; the last difference is to that. Encoder "
        f"`{facts['encoder_name']}`.",
        "",
        "| words that the server wrote, by what it has measured | noted as bad | noted as good |",
        "|---|---|---|",
        *(
            f"| {title} | {share(of, 'bad')} | {share(of, 'good')} |"
            for of, title in (
                ("good", "good"),
                ("bad", "bad"),
                ("planted", "planted nonsense among the bad ones"),
            )
        ),
        "",
        "Counted for each label and seed: words that were in a bank of the memory at one time. A "
        "bank holds ten words of a label, and none that is in use.",
        "",
        f"Measured {facts['date']} at commit {facts['commit']} by `benchmarks/evolving_gains.py`; "
        "every seed is in `benchmarks/results/evolving_gains.csv`.",
    ]
    return "\n".join(lines) + "\n"


def measured(folder: Path, options: argparse.Namespace, store: str) -> list[Row]:
    """All seeds of one set, and their means."""
    warnings.simplefilter("ignore", LimitsWarning)
    name, data = folder.name, st.load_dataset(folder)
    labels = [str(label) for label in data.train.y]
    author = Author(images=list(data.train.images), labels=labels)
    author.measure(st.load_encoder(options.encoder))
    rows, right = [], []
    for seed in range(options.seeds):
        began = time.process_time()
        run = evolved(data, author, options, seed, store)
        seconds = time.process_time() - began
        again = ""
        if seed == 0:
            again = str(same(run, evolved(data, author, options, seed, store)))
        control = evolved(data, ignorant(), options, seed, store, run.start)
        found = {
            "start": run.right(data, 0),
            "best": run.right(data),
            "random": control.right(data),
        }
        right.append(found)
        rows.append(row_of(data, name, seed, run, found, author, options.encoder, again, seconds))
    mean = mean_row(rows, right)
    print(
        f"{name}: {mean.start:.1f} -> {mean.best:.1f} ({mean.low:+.1f} to {mean.high:+.1f}, p "
        f"{mean.p_value:.2g}), random words {mean.random_words:.1f}; planted words written "
        f"{mean.planted_written}, noted as bad {mean.planted_noted_bad}, as good "
        f"{mean.planted_noted_good}; same again: {mean.same_again}",
        flush=True,
    )
    return [*rows, mean]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", type=Path, default=ROOT.parent / "shared" / "datasets")
    parser.add_argument("--only", default="", help="names of sets with commas between")
    parser.add_argument("--encoder", default="mini")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--note", default="", help="for example what else ran on the machine")
    name = "evolving_gains"
    parser.add_argument("--csv", type=Path, default=ROOT / f"benchmarks/results/{name}.csv")
    parser.add_argument("--markdown", type=Path, default=ROOT / f"docs/_generated/{name}.md")
    parser.add_argument("--store", type=Path, help="keep embeddings there for other runs")
    parser.add_argument("--jobs", type=int, default=2, help="sets that are worked on at once")
    options = parser.parse_args()
    folders = sorted(path.parent for path in options.sets.glob("*/labels.json"))
    wanted = [one for one in options.only.split(",") if one]
    folders = [path for path in folders if not wanted or path.name in wanted]
    if not folders:
        parser.error(f"no set with a labels.json under {options.sets}")
    with tempfile.TemporaryDirectory() as temporary:
        store = str(options.store or f"{temporary}/embeddings.sqlite")
        work = partial(measured, options=options, store=store)
        fresh = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(options.jobs, mp_context=fresh) as pool:
            rows = [row for found in pool.map(work, folders) for row in found]
    rows = corrected(rows)
    facts = about(options.encoder) | {"remark": options.note}
    with options.csv.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=[*vars(rows[0]), *facts])
        writer.writeheader()
        for row in rows:
            rounded = {
                key: float(f"{cell:.4g}") if isinstance(cell, float) else cell
                for key, cell in vars(row).items()
            }
            writer.writerow(rounded | facts)
    options.markdown.write_text(as_markdown(rows, facts, options.seeds), encoding="utf-8")
    means = [row for row in rows if row.seed == "all"]
    better = sum(row.gain > 0 and row.p_holm < 0.05 for row in means)
    good = better >= min(LEAST_BETTER, len(means))
    good &= all(row.gain >= -MOST_LOST for row in means)
    good &= all(row.same_again == "True" for row in means)
    good &= all(row.planted_noted_bad > 0 for row in means)
    print(f"significantly better on {better} of {len(means)} sets; {'met' if good else 'MISSED'}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
