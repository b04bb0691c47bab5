"""How far the embedded encoder gets: the table of docs/concepts/mini-encoder.md.

Every folder with ``train/``, ``test/`` and ``labels.json`` under --sets is one set. Zero-shot
(plain, balance, adapt) runs once; 1, 5 and 15 shots run with five seeds. All with showtell's own
classifiers at their defaults, scored on the test split; shots come from the train split.

    python benchmarks/mini_table.py [--sets ../shared/datasets] [--seeds 5] [--note TEXT]

Writes benchmarks/results/mini_table.csv and docs/_generated/mini_table.md.
"""

from __future__ import annotations

import argparse
import csv
import math
import os
import platform
import subprocess
import sys
import tempfile
import warnings
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import showtell as st
from showtell import metrics
from showtell.classify import FewShotClassifier, ZeroShotClassifier
from showtell.classify.base import LimitsWarning
from showtell.datasets import Dataset
from showtell.evaluate import evaluate, shot_curve

ROOT = Path(__file__).resolve().parent.parent
SHOTS = (1, 5, 15)
ZERO_SHOT = {"zero-shot": None, "zero-shot, balance": "balance", "zero-shot, adapt": "adapt"}
STUDY = {
    "animals": 85,
    "butterflies": 42,
    "clothing": 42,
    "digits": 3,
    "dog_breeds": 83,
    "flowers": 47,
    "satellite": 30,
    "weather": 44,
}
"""Plain zero-shot accuracy, per cent, of the study that the encoder was built after."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One number of the table, in per cent or points."""

    set: str
    what: str
    value: float
    low: float
    high: float
    p_value: float | None = None
    """Gains only: sign-flip test over test images, each with its mean over seeds; two-sided."""
    p_holm: float | None = None
    """The same, corrected for all gains of the table."""
    per_seed: str = ""
    n_labels: int
    n_test: int


def zero_shot_rows(name: str, data: Dataset, store: str) -> list[Row]:
    """Plain, balance and adapt on the whole test split, with Wilson intervals."""
    rows = []
    for what, batch in ZERO_SHOT.items():
        clf = ZeroShotClassifier("mini", labels=data.labels, transductive=batch, store=store).fit()
        found = evaluate(clf, data.test).metrics
        rows.append(
            Row(
                set=name,
                what=what,
                value=100 * found["accuracy"],
                low=100 * found["accuracy_low"],
                high=100 * found["accuracy_high"],
                n_labels=len(data.labels),
                n_test=len(data.test),
            )
        )
    return rows


def few_shot_rows(name: str, data: Dataset, store: str, n_seeds: int) -> list[Row]:
    """1, 5 and 15 shots, and what each step gains, paired image by image."""
    curve = shot_curve(FewShotClassifier("mini", store=store), data, shots=SHOTS, seeds=n_seeds)
    shared = {"set": name, "n_labels": len(data.labels), "n_test": len(data.test)}
    rows = []
    for point in curve.points:
        if point.accuracy is None:
            raise SystemExit(f"{name}: {point.note}")
        rows.append(
            Row(
                what=f"{point.shots} shot{'s' if point.shots > 1 else ''}",
                value=100 * point.accuracy,
                low=100 * point.low,
                high=100 * point.high,
                per_seed=" ".join(f"{100 * accuracy:.1f}" for accuracy in point.per_seed),
                **shared,
            )
        )
    rows += [
        Row(
            what=f"gain {step.shots_from} to {step.shots_to} shots",
            value=100 * step.difference,
            low=100 * step.low,
            high=100 * step.high,
            p_value=step.p_value,
            **shared,
        )
        for step in curve.steps
    ]
    return rows


def with_correction(rows: list[Row]) -> list[Row]:
    """Correct the p-values of all gains together (Holm)."""
    gains = [row for row in rows if row.p_value is not None]
    corrected = dict(zip(map(id, gains), metrics.holm([row.p_value for row in gains]), strict=True))
    return [
        Row(**(asdict(row) | {"p_holm": float(corrected[id(row)])}))
        if id(row) in corrected
        else row
        for row in rows
    ]


def mean_rows(rows: list[Row]) -> list[Row]:
    """Mean over the sets; its interval holds for these sets, not for others."""
    means = []
    for what in dict.fromkeys(row.what for row in rows):
        of_sets = [row for row in rows if row.what == what]
        value = sum(row.value for row in of_sets) / len(of_sets)
        half = math.hypot(*((row.high - row.low) / 2 for row in of_sets)) / len(of_sets)
        means.append(
            Row(
                set="mean",
                what=what,
                value=value,
                low=value - half,
                high=value + half,
                n_labels=sum(row.n_labels for row in of_sets),
                n_test=sum(row.n_test for row in of_sets),
            )
        )
    return means


def as_markdown(rows: list[Row], facts: dict[str, str], n_seeds: int) -> str:
    """The table of the documentation, and what it says."""
    sets = list(dict.fromkeys(row.set for row in rows))
    columns = [*ZERO_SHOT, *(f"{k} shot{'s' if k > 1 else ''}" for k in SHOTS)]
    cell = {(row.set, row.what): row for row in rows}
    lines = [
        f"| set (labels, test images) | {' | '.join(columns)} |",
        f"|{'---|' * (len(columns) + 1)}",
    ]
    for name in sets:
        first = cell[name, columns[0]]
        strong = "**" if name == "mean" else ""
        title = "mean" if name == "mean" else f"{name} ({first.n_labels}, {first.n_test})"
        values = [
            f"{strong}{row.value:.1f}{strong} ({row.low:.0f}–{row.high:.0f})"
            for row in (cell[name, what] for what in columns)
        ]
        lines.append(f"| {strong}{title}{strong} | {' | '.join(values)} |")
    lines += [
        "",
        "Accuracy in per cent on the test split, with 95 % intervals: Wilson for zero-shot; over "
        f"test images and {n_seeds} draws of the support for shots; the mean's interval is for "
        "these sets only. Classifiers at their defaults.",
        "",
        "| set | gain 1 to 5 shots | p | gain 5 to 15 shots | p |",
        "|---|---|---|---|---|",
    ]
    gains = [f"gain {a} to {b} shots" for a, b in pairwise(SHOTS)]
    for name in sets:
        parts = []
        for what in gains:
            row = cell[name, what]
            p = "" if row.p_holm is None else f"{row.p_holm:.2g}"
            parts += [f"{row.value:+.1f} ({row.low:+.1f} to {row.high:+.1f})", p]
        lines.append(f"| {name} | {' | '.join(parts)} |")
    lines += [
        "",
        "Gains in points, paired image by image; p of a sign-flip test over test images, corrected "
        "for all gains of the table (Holm).",
        "",
        f"Measured {facts['date']} at commit {facts['commit']} by `benchmarks/mini_table.py`; "
        "numbers in `benchmarks/results/mini_table.csv`.",
    ]
    return "\n".join(lines) + "\n"


def about() -> dict[str, str]:
    """When, with what and on what machine."""
    import onnxruntime
    import sklearn

    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [x for x in cpuinfo.read_text().splitlines() if x.startswith("model name")]
        model = names[0].partition(":")[2].strip() if names else model
    command = ["git", "rev-parse", "--short", "HEAD"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "commit": done.stdout.strip(),
        "machine": f"{model}, {os.cpu_count()} cores",
        "versions": f"python {platform.python_version()}, showtell {st.__version__}, onnxruntime "
        f"{onnxruntime.__version__}, scikit-learn {sklearn.__version__}",
        "encoder": st.load_encoder("mini").fingerprint,
    }


def missed_bars(rows: list[Row]) -> list[str]:
    """Name what stays behind the study, or does not rise with shots."""
    value = {(row.set, row.what): row.value for row in rows}
    known = [name for name in STUDY if (name, "zero-shot") in value]
    missed = [
        f"{name}: zero-shot {value[name, 'zero-shot']:.1f} is over 4 points below {STUDY[name]}"
        for name in known
        if value[name, "zero-shot"] < STUDY[name] - 4
    ]
    if known:
        mean = sum(value[name, "zero-shot"] for name in known) / len(known)
        study = sum(STUDY[name] for name in known) / len(known)
        if mean < study - 1:
            missed.append(f"zero-shot mean {mean:.1f} is over 1 point below {study:.1f}")
    falling = [r for r in rows if r.what.startswith("gain") and r.set != "mean" and r.value <= 0]
    return missed + [f"{r.set}: {r.what} is {r.value:+.1f}" for r in falling]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", type=Path, default=ROOT.parent / "shared" / "datasets")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--note", default="", help="for example what else ran on the machine")
    parser.add_argument("--csv", type=Path, default=ROOT / "benchmarks/results/mini_table.csv")
    parser.add_argument("--markdown", type=Path, default=ROOT / "docs/_generated/mini_table.md")
    options = parser.parse_args()
    folders = sorted(path.parent for path in options.sets.glob("*/labels.json"))
    if not folders:
        parser.error(f"no set with a labels.json under {options.sets}")
    warnings.simplefilter("ignore", LimitsWarning)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as temporary:
        store = f"{temporary}/embeddings.sqlite"
        for folder in folders:
            data = st.load_dataset(folder)
            found = zero_shot_rows(folder.name, data, store)
            found += few_shot_rows(folder.name, data, store, options.seeds)
            rows += found
            numbers = "  ".join(f"{row.what} {row.value:.1f}" for row in found)
            print(f"{folder.name}: {numbers}", flush=True)
    rows = with_correction(rows)
    rows += mean_rows(rows)
    facts = about() | {"remark": options.note}
    options.csv.parent.mkdir(parents=True, exist_ok=True)
    with options.csv.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=[*asdict(rows[0]), *facts])
        writer.writeheader()
        for row in rows:
            rounded = {
                key: float(f"{cell:.4g}") if isinstance(cell, float) else cell
                for key, cell in asdict(row).items()
            }
            writer.writerow(rounded | facts)
    options.markdown.parent.mkdir(parents=True, exist_ok=True)
    options.markdown.write_text(as_markdown(rows, facts, options.seeds), encoding="utf-8")
    missed = missed_bars(rows)
    print("\n".join(missed) or "all bars reached")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
