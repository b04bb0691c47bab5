"""What a judge's habits do to its verdicts, and what finds them out: docs/concepts/judging.md.

Simulated: a judge that goes by place in a share of the pairs and by chance in another, shown pairs
in a fixed order, in a random one and in both; its win rates before and after a person's sample
corrects them. The numbers come out of showtell's own functions.

Real: captions are compared through a local server (`showtell try-server --bias first=0.3`) that
looks at the photos, with and without the habit; and 1,000 pairs are judged by a process that is
killed with -9 three times.

    python benchmarks/judging.py [--photos examples/photos] [--runs 2000]

Writes benchmarks/results/judging.csv and docs/_generated/judging.md. Fails if the planted habit is
not found out, or a question is paid for twice.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from photo_sets import ROOT, about, add_options, measured_line, write_csv

import showtell as st
from showtell.evaluate.judging.scores import correct_by_person, pair_scores, win_rate
from showtell.mllm.model import Model
from showtell.testing.servers import Bias, LocalServer

JUDGES = ((0.0, 0.1), (0.2, 0.1), (0.4, 0.2))
"""Share of pairs judged by place alone; of the others, share of verdicts by chance."""
TIES = 0.3
N_PAIRS, N_KILLED, N_KILLS = 400, 1000, 3


def verdicts(
    rng: np.random.Generator, n: int, rate: float, by_place: float, by_chance: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Scores of A when shown first and second, shape (n, 2), and the truth, shape (n,)."""
    better = rng.random(n) < 0.5 + (rate - 0.5) / (1 - TIES)
    truth = np.where(rng.random(n) < TIES, 0.5, better.astype(float))
    said = np.stack([truth, truth], axis=1)
    chance = rng.random((n, 2)) < by_chance
    said[chance] = rng.choice([0.0, 0.5, 1.0], int(chance.sum()))
    said[rng.random(n) < by_place] = [1.0, 0.0]
    return said, truth


def simulated(runs: int) -> Iterator[dict[str, Any]]:
    """How often each way to ask says that A is better."""
    for by_place, by_chance in JUDGES:
        for rate in (0.5, 0.6):
            rng = np.random.default_rng(0)
            won = dict.fromkeys(("first", "random", "both", "both, FastChat", "both, as two"), 0)
            lost = dict.fromkeys(won, 0)
            flipped, mean = 0.0, 0.0
            for _ in range(runs):
                said, _ = verdicts(rng, N_PAIRS, rate, by_place, by_chance)
                half = said[: N_PAIRS // 2]
                coins = rng.permutation(np.arange(N_PAIRS) % 2)
                same = half[:, 0] == half[:, 1]
                asked = {
                    "first": said[:, 0],
                    "random": said[np.arange(N_PAIRS), coins],
                    "both": pair_scores(half),
                    "both, FastChat": np.where(same, half[:, 0], 0.5),
                    "both, as two": half.ravel(),
                }
                for way, scores in asked.items():
                    winner = win_rate(scores).winner
                    won[way] += winner == "A"
                    lost[way] += winner == "B"
                flipped += float((~same).mean()) / runs
                mean += float(np.mean(asked["random"])) / runs
            for way in won:
                yield {
                    "part": "simulated",
                    "by_place": by_place,
                    "by_chance": by_chance,
                    "true_rate": rate,
                    "way": way,
                    "a_better": won[way] / runs,
                    "b_better": lost[way] / runs,
                    "flipped": flipped,
                    "mean_rate": mean,
                }


def corrected(runs: int) -> Iterator[dict[str, Any]]:
    """How often 95 % intervals hold the truth: the judge's own, and corrected by a person."""
    n, m, rate = 500, 100, 0.575
    for by_place, by_chance in ((0.0, 0.2), (0.3, 0.2)):
        rng = np.random.default_rng(1)
        alone = held = 0
        widths = []
        for _ in range(runs):
            said, truth = verdicts(rng, n, rate, by_place, by_chance)
            scores = said[np.arange(n), rng.permutation(np.arange(n) % 2)]
            own = win_rate(scores)
            alone += own.low <= rate <= own.high
            rows = rng.permutation(n)
            fixed = correct_by_person(truth[rows[:m]], scores[rows[:m]], scores[rows[m:]])
            held += fixed.low <= rate <= fixed.high
            widths.append((fixed.high - fixed.low) / 2)
        yield {
            "part": "corrected",
            "by_place": by_place,
            "by_chance": by_chance,
            "true_rate": rate,
            "judge_covers": alone / runs,
            "corrected_covers": held / runs,
            "half_width": float(np.mean(widths)),
        }


def through_server(photos: Path) -> Iterator[dict[str, Any]]:
    """Right labels against wrong ones, and against others that are wrong too."""
    data = st.load_dataset(photos)
    right = [str(label) for label in data.y]
    names = sorted(set(right))
    wrong = [names[(names.index(label) + 1) % len(names)] for label in right]
    other = [names[(names.index(label) + 2) % len(names)] for label in right]
    for habit in (0.0, 0.3, 1.0):
        for what, a, b in (("right and wrong", right, wrong), ("both wrong", wrong, other)):
            with LocalServer("openai", bias=Bias(first=habit), seed=1) as server:
                model = Model("openai:try", base_url=server.base_url, cache=None)
                found = st.judge(a, b, model=model, images=data.images, orders="both")
                paid = server.stats.n_answered
            yield {
                "part": "server",
                "by_place": habit,
                "what": what,
                "pairs": found.n_pairs,
                "requests": paid,
                "mean_rate": found.win_rate,
                "low": found.interval[0],
                "high": found.interval[1],
                "bias": found.position_bias,
                "bias_p": None if found.position is None else found.position.p_value,
                "consistency": found.consistency,
                "sentence": found.sentence(),
            }


def pairs() -> tuple[list[str], list[str]]:
    return (
        [f"answer {i} with a few more words" for i in range(N_KILLED)],
        [f"answer {i}" for i in range(N_KILLED)],
    )


def child(url: str, folder: str) -> None:
    """Judge all pairs within a run folder, as a user would."""
    a, b = pairs()
    model = Model("openai:try", base_url=url, run_folder=folder, cache=None, max_concurrency=4)
    found = st.judge(a, b, model=model)
    print(json.dumps({"n": found.result.n, "rate": found.win_rate, "errors": found.n_errors}))


def killed() -> dict[str, Any]:
    """1,000 pairs by processes that are killed in the middle, then one that ends."""
    with (
        tempfile.TemporaryDirectory() as folder,
        LocalServer("openai", latency=0.02, bill_gone=True, seed=1) as server,
    ):
        command = [sys.executable, __file__, "--child", server.base_url, f"{folder}/run"]
        for kill in range(1, N_KILLS + 1):
            with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
                while (
                    server.stats.n_answered < kill * N_KILLED // (N_KILLS + 1)
                    and process.poll() is None
                ):
                    time.sleep(0.01)
                process.send_signal(signal.SIGKILL)
                process.communicate()
            if process.returncode != -signal.SIGKILL:
                raise SystemExit("a process ended before it was killed; raise the latency")
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        said = json.loads(done.stdout.splitlines()[-1])
        return {
            "part": "killed",
            "pairs": N_KILLED,
            "kills": N_KILLS,
            "requests": server.stats.n_requests,
            "paid": server.stats.n_answered,
            "replayed": server.stats.n_replayed,
            "distinct": len({request.key for request in server.requests}),
            "judged": said["n"],
            "errors": said["errors"],
            "mean_rate": said["rate"],
        }


def missed_bars(rows: Sequence[dict[str, Any]]) -> list[str]:
    missed = []
    for row in (r for r in rows if r["part"] == "server"):
        if row["by_place"] > 0 and not (row["bias"] > 0 and row["bias_p"] < 0.05):
            missed.append(f"a habit of {row['by_place']} on {row['what']} is not found out")
        if row["by_place"] == 1 and "cannot be told" not in row["sentence"]:
            missed.append("of a judge that goes by place alone it is said who is better")
    (run,) = (r for r in rows if r["part"] == "killed")
    if not run["paid"] == run["distinct"] == run["judged"] == run["pairs"]:
        missed.append(f"{run['paid']} answers were paid for {run['pairs']} pairs")
    return missed


def as_markdown(rows: Sequence[dict[str, Any]], facts: dict[str, str], runs: int) -> str:
    cell = {
        (r["by_place"], r["by_chance"], r["true_rate"], r["way"]): r
        for r in rows
        if r["part"] == "simulated"
    }
    titles = {
        ("first", 0.5): f"A always first, {N_PAIRS} pairs, nobody better: A is said to be better",
        ("random", 0.5): "each order for half of the pairs, nobody better: A or B is said to be",
        ("both, as two", 0.5): "both orders counted as two pairs, nobody better: A or B is said",
        ("random", 0.6): f"each order for half of {N_PAIRS} pairs, A wins 60 %: found",
        ("both", 0.6): f"{N_PAIRS // 2} pairs in both orders, A wins 60 %: found",
        ("both, FastChat", 0.6): "the same, a tie unless both orders agree: found",
    }
    lines = [
        "| judge: by place / by chance | "
        + " | ".join(f"{p:.0%} / {c:.0%}".replace("%", " %") for p, c in JUDGES)
        + " |",
        f"|{'---|' * (len(JUDGES) + 1)}",
    ]
    for (way, rate), title in titles.items():
        shares = []
        for place, chance in JUDGES:
            own = cell[place, chance, rate, way]
            both = rate == 0.5 and way != "first"
            shares.append(own["a_better"] + (own["b_better"] if both else 0))
        lines.append(f"| {title} | " + " | ".join(f"{100 * s:.0f} %" for s in shares) + " |")
    for key, title in (
        ("flipped", "share of pairs whose verdict flips with the order"),
        ("mean_rate", "win rate that is measured where the true one is .6"),
    ):
        values = [cell[place, chance, 0.6, "both"][key] for place, chance in JUDGES]
        lines.append(f"| {title} | " + " | ".join(f"{v:.3f}" for v in values) + " |")
    lines += [
        "",
        f"{runs} simulated runs of {N_PAIRS} questions each, {100 * TIES:.0f} % of the pairs true "
        "ties.",
        "",
    ]
    for r in (r for r in rows if r["part"] == "corrected"):
        lines.append(
            f"- A judge that goes by place in {100 * r['by_place']:.0f} % of 500 pairs and by "
            f"chance in {100 * r['by_chance']:.0f} % of the rest: its own 95 % interval holds the "
            f"true rate of {r['true_rate']} in {100 * r['judge_covers']:.0f} % of the runs; "
            f"corrected by a person's 100 pairs in {100 * r['corrected_covers']:.0f} % (half width "
            f"{r['half_width']:.3f})."
        )
    lines += [
        "",
        "| local server that looks; by place | pairs | answers compared | win rate | position bias "
        "(p) | same verdict in both orders |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {100 * r['by_place']:.0f} % | {r['pairs']} | {r['what']} | {r['mean_rate']:.2f} "
        f"({r['low']:.2f} to {r['high']:.2f}) | {r['bias']:+.2f} ({r['bias_p']:.2g}) | "
        f"{r['consistency']:.2f} |"
        for r in rows
        if r["part"] == "server"
    ]
    (run,) = (r for r in rows if r["part"] == "killed")
    lines += [
        "",
        f"{run['pairs']} pairs judged by a process that was killed with -9 {run['kills']} times "
        f"and started again: {run['paid']} answers paid for, {run['judged']} verdicts, "
        f"{run['errors']} errors.",
        "",
        measured_line("judging", "judging", facts),
    ]
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_options(parser, "judging")
    parser.add_argument("--photos", type=Path, default=ROOT / "examples/photos")
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--child", nargs=2, metavar=("URL", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(*options.child)
        return 0
    facts = about() | {"remark": options.note}
    found = [
        *simulated(options.runs),
        *corrected(options.runs),
        *through_server(options.photos),
        killed(),
    ]
    names = dict.fromkeys(name for row in found for name in row)
    rows = [{name: row.get(name) for name in names} for row in found]
    write_csv(options.csv, rows, facts)
    options.markdown.write_text(as_markdown(rows, facts, options.runs), encoding="utf-8")
    missed = missed_bars(rows)
    print("\n".join(missed) or "all bars reached")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
