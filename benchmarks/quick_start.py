"""What a command costs before it does anything, beside importing the libraries it needs.

    python benchmarks/quick_start.py [--rounds 7] [--note TEXT]

Pairs, interleaved, median of the ratios of wall time and of processor time:

- `showtell --help` against importing typer and rich, which draw it;
- `showtell classify examples/photos --labels cat,dog -q -o FILE` with stored embeddings against
  importing numpy, onnxruntime, Pillow, tokenizers and typer, which it cannot do without.

Writes benchmarks/results/quick_start.csv.
"""

from __future__ import annotations

import argparse
import csv
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

HERE = Path(__file__).resolve().parent
PHOTOS = HERE.parent / "examples" / "photos"
DRAW = "import typer.main, rich.table, rich.panel, rich.markdown"
NEED = "import numpy, onnxruntime, PIL.Image, tokenizers, typer"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--note", default="")
    given = parser.parse_args()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        classify = ["classify", str(PHOTOS), "--labels", "cat,dog", "-q", "-o", f"{folder}/o.csv"]
        subprocess.run([sys.executable, "-m", "showtell", *classify], check=True)  # fill the store
        pairs = [
            ("showtell --help", ["-m", "showtell", "--help"], ["-c", DRAW], 1.25),
            ("showtell classify, stored", ["-m", "showtell", *classify], ["-c", NEED], 2.5),
        ]
        rows = [measure(*pair, given.rounds) for pair in pairs]
    head = ["git", "-C", str(HERE.parent), "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(head, capture_output=True, text=True, check=True).stdout.strip()
    machine = f"{platform.machine()}, {os.cpu_count()} CPUs, load {load:.1f}"
    day = f"{datetime.now(UTC):%Y-%m-%d}"
    with (HERE / "results" / "quick_start.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(
            [
                "command",
                "wall_ratio",
                "cpu_ratio",
                "bar",
                "seconds",
                "against_seconds",
                "machine",
                "python",
                "date",
                "commit",
                "note",
            ]
        )
        for row in rows:
            writer.writerow([*row, machine, platform.python_version(), day, commit, given.note])
            print(*row)


def measure(name: str, own: list[str], other: list[str], bar: float, rounds: int) -> tuple:
    """Return the name, median ratios of wall and processor time, the bar, and median seconds."""
    for command in (own, other):
        seconds(command)  # compiled files and the page cache
    taken = [(seconds(own), seconds(other)) for _ in range(rounds)]
    wall = statistics.median(a[0] / b[0] for a, b in taken)
    cpu = statistics.median(a[1] / b[1] for a, b in taken)
    mine, theirs = (statistics.median(t[i][0] for t in taken) for i in (0, 1))
    return name, round(wall, 2), round(cpu, 2), bar, round(mine, 3), round(theirs, 3)


def seconds(arguments: list[str]) -> tuple[float, float]:
    """Wall and processor seconds of one process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    wall = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()
