"""How often `showtell audit` finds a planted pull of 5 %, and how often it accuses a fair model.

The servers' decision engine answers in process; statistics and verdicts are those of the audit, at
its default number of images. One answer in ten is a steady mistake; in half of the runs one in
twenty is random as well. p-values of single probes are held to a fifth of the level, as Holm's
correction for five probes does at its hardest.

    python benchmarks/audit_power.py [--seeds 100] [--labels 10,5,3,2]

Writes benchmarks/results/audit.csv. Needs the extra `mllm`.
"""

from __future__ import annotations

import argparse
import csv
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from tests.evaluate.audit_engine import Bias, answers, balanced  # noqa: E402

from showtell.evaluate import audit_size  # noqa: E402
from showtell.evaluate.audits.plan import plan_audit  # noqa: E402
from showtell.evaluate.audits.verdicts import judge  # noqa: E402

PULL, N_PERMUTATIONS = 0.05, 999
COLUMNS = (
    *("labels", "images", "noise", "planted", "probe", "seeds", "found", "mean_effect"),
    *("machine", "date", "commit"),
)
KNOBS = (
    ("example", "example"),
    ("first", "position"),
    ("last", "position"),
    ("recent", "order"),
    ("majority", "majority"),
)


def main() -> None:
    """Run all settings and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--labels", default="10,5,3,2")
    given = parser.parse_args()
    rows = []
    about = (
        f"{platform.machine()}, {os.cpu_count()} CPUs",
        datetime.now(UTC).date().isoformat(),
        subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"],
            capture_output=True,
            text=True,
            check=False,
        ).stdout.strip(),
    )
    for n_labels in map(int, given.labels.split(",")):
        for noise in (0.0, 0.05):
            for knob, probe in (*KNOBS, ("none", None)):
                if n_labels < 3 and probe in ("example", "majority"):
                    continue
                share, effect = run(n_labels, noise, knob, probe, given.seeds)
                rows.append(
                    (
                        n_labels,
                        audit_size(n_labels),
                        noise,
                        knob,
                        probe or "any of all",
                        given.seeds,
                        share,
                        effect,
                        *about,
                    )
                )
                print(*rows[-1], flush=True)
    with (HERE / "results" / "audit.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(rows)


def run(
    n_labels: int, noise: float, knob: str, probe: str | None, n_seeds: int
) -> tuple[float, float | str]:
    """Share of seeds with a verdict "biased", and the mean effect of the probe."""
    labels = [f"creature {i}x" for i in range(n_labels)]
    shown = list(range(n_labels))
    bias = Bias(noise=noise, **({} if probe is None else {knob: PULL}))
    hits, effects = [], []
    for seed in range(n_seeds):
        plan = plan_audit(
            labels, shown, probes=None if probe is None else [probe], random_state=seed
        )
        truth = balanced(audit_size(n_labels), n_labels, seed)
        codes = answers(plan, shown, truth, bias=bias, seed=seed)
        neutral = None
        if probe is None:
            neutral = answers(plan, shown, truth, bias=bias, seed=seed, neutral=True)
        found = judge(
            plan, codes, truth, neutral=neutral, n_permutations=N_PERMUTATIONS, random_state=seed
        )
        if probe is None:
            hits.append(any(p.verdict == "biased" for p in found))
        else:
            hits.append(found[0].verdict == "biased" and 5 * found[0].p_value < 0.01)
            effects.append(found[0].effect)
    return float(np.mean(hits)), round(float(np.mean(effects)), 4) if effects else ""


if __name__ == "__main__":
    main()
