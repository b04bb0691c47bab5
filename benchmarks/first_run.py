"""What a newcomer waits for: `make try` in a fresh clone, with an empty home folder and cache.

    python benchmarks/first_run.py [--note TEXT]

Clones this repository (what is committed), runs the first command of the README, and measures its
time, how many sample photos it gets right, how large the installed core is with all that it
needs, and how fast `showtell --help` answers once cached. Needs a package index; downloads about
150 MB. Writes benchmarks/results/first_run.csv.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

HERE = Path(__file__).resolve().parent
KEPT = ("PATH", "LANG", "LC_ALL", "SSL_CERT_FILE", "NO_PROXY")
KEPT += ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_CERT")
KEPT += ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")
TOOLS = ("pip", "setuptools", "wheel", "_distutils_hack")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--note", default="")
    note = parser.parse_args().note
    with tempfile.TemporaryDirectory() as folder:
        clone, home = Path(folder, "showtell"), Path(folder, "home")
        home.mkdir()
        subprocess.run(["git", "clone", "--quiet", str(HERE.parent), str(clone)], check=True)
        head = ["git", "-C", str(clone), "rev-parse", "--short", "HEAD"]
        commit = subprocess.run(head, capture_output=True, text=True, check=True).stdout.strip()
        environment = {name: os.environ[name] for name in KEPT if name in os.environ}
        environment["HOME"] = str(home)
        load = os.getloadavg()[0]
        start = time.perf_counter()
        command = ["make", "try", f"PYTHON={getattr(sys, '_base_executable', sys.executable)}"]
        subprocess.run(command, cwd=clone, env=environment, check=True)
        seconds = time.perf_counter() - start
        right, n = correct(clone)
        wall, cpu = help_seconds(clone, environment)
        megabytes = size_of(clone) / 1e6
    rows = [
        ("make try, installation included", round(seconds, 1), "s", "< 240"),
        ("sample photos right", right, f"of {n}", f">= {0.75 * n:.0f}"),
        ("installed core with all dependencies", round(megabytes), "MB", "< 500"),
        ("showtell --help once cached, wall clock", round(wall, 3), "s", "< 0.3"),
        ("showtell --help once cached, CPU", round(cpu, 3), "s", ""),
    ]
    machine = f"{platform.machine()}, {os.cpu_count()} CPUs, load {load:.1f}"
    day = f"{datetime.now(UTC):%Y-%m-%d}"
    with (HERE / "results" / "first_run.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(
            ["measure", "value", "unit", "bar", "machine", "python", "date", "commit", "note"]
        )
        for row in rows:
            writer.writerow([*row, machine, platform.python_version(), day, commit, note])
            print(*row)


def correct(clone: Path) -> tuple[int, int]:
    """Count the answers that are the word of the photo's folder."""
    words = json.loads((clone / "examples/photos/labels.json").read_text(encoding="utf-8"))
    with (clone / "try/predictions.csv").open(newline="", encoding="utf-8") as file:
        answers = list(csv.DictReader(file))
    return sum(row["label"] == words[Path(row["image"]).parent.name] for row in answers), len(
        answers
    )


def help_seconds(clone: Path, environment: dict[str, str]) -> tuple[float, float]:
    """Return the fastest of ten calls: seconds of the clock, seconds of processor time."""
    walls, cpus = [], []
    for _ in range(10):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        start = time.perf_counter()
        command = [str(clone / ".venv/bin/showtell"), "--help"]
        subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
        walls.append(time.perf_counter() - start)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpus.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(walls), min(cpus)


def size_of(clone: Path) -> int:
    """Add up the installed files, without pip, and showtell itself, which lies in the clone."""
    [packages] = (clone / ".venv/lib").glob("python3*/site-packages")
    others = [p for p in packages.iterdir() if not p.name.startswith(TOOLS)]
    roots = [*others, clone / "src/showtell"]
    files = (f for root in roots for f in ([root] if root.is_file() else root.rglob("*")))
    return sum(f.stat().st_size for f in files if f.is_file() and not f.is_symlink())


if __name__ == "__main__":
    main()
