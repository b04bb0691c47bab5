"""How long it takes to learn from the journal of 200,000 questions what is answered.

A run of so many questions is written with `Journal`, as it would be by a client: the note that a
request goes out and its answer. A second process then opens the journal and looks up every answer.

    python benchmarks/mllm_resume.py [--answers 200000] [--rounds 3] [--note TEXT]

Writes benchmarks/results/mllm_resume.csv.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

from mllm_clients import peak_mb

HERE = Path(__file__).resolve().parent


def write(folder: Path, n_answers: int) -> None:
    """Write a journal of a run with one image per question."""
    from showtell.mllm import Answer, ImagePart, Journal, Request, Settings, TextPart, Usage

    usage = Usage(input_tokens=900, output_tokens=20, cost_usd=Decimal("0.000392"))
    text = '{"n_images": 1, "answers": [{"id": "k3f9", "label": "cat", "confidence": 9}]}'
    answer = Answer(text=text, usage=usage, finish="stop", model="gpt-4.1-mini", seconds=0.31)
    with Journal(folder, fsync="never") as journal, (folder / "keys.txt").open("w") as keys:
        for number in range(n_answers):
            image = ImagePart(
                data=b"", media_type="image/jpeg", digest=f"{number:032x}", width=640, height=480
            )
            request = Request(
                model="openai:gpt-4.1-mini",
                system="",
                parts=(TextPart(text="Image k3f9:"), image),
                settings=Settings(max_tokens=200),
                prompt_version="direct/1",
            )
            journal.asking(request, usage.cost_usd)
            journal.answer(request, answer)
            keys.write(f"{request.key}\n")


def resume(folder: Path) -> dict[str, float]:
    """Open a journal and look up all answers."""
    from showtell.mllm import Journal

    keys = (folder / "keys.txt").read_text().split()
    wall, cpu = time.perf_counter(), time.process_time()
    with Journal(folder) as journal:
        opened, cpu = time.perf_counter() - wall, time.process_time() - cpu
        n_rows = journal.n_lines
        missing = sum(not journal.knows(key) for key in keys)
        wall = time.perf_counter()
        found = sum(journal.find(key) is not None for key in keys)
        looked = time.perf_counter() - wall
    assert not missing
    assert found == len(keys)
    return {
        "rows": n_rows,
        "answers": found,
        "seconds_to_open": opened,
        "cpu_seconds_to_open": cpu,
        "seconds_to_read_every_answer": looked,
        "peak_mb": peak_mb(),
        "journal_mb": (folder / "journal.jsonl").stat().st_size / 1e6,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--answers", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--note", default="")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.child:
        print(json.dumps(resume(chosen.child)))
        return
    rounds = []
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), chosen.answers)
        load = os.getloadavg()[0]
        for _ in range(chosen.rounds):
            command = [sys.executable, str(Path(__file__).resolve()), "--child", folder]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            rounds.append(json.loads(done.stdout))
    command = ["git", "rev-parse", "--short", "HEAD"]
    head = subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=False)
    row = {name: round(statistics.median(r[name] for r in rounds), 2) for name in rounds[0]} | {
        "rows": rounds[0]["rows"],
        "answers": chosen.answers,
        "rounds": chosen.rounds,
        "load_before": round(load, 2),
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs",
        "date": datetime.now(UTC).date().isoformat(),
        "commit": head.stdout.strip(),
        "note": chosen.note,
    }
    with (HERE / "results" / "mllm_resume.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(row))
        writer.writeheader()
        writer.writerow(row)
    print(row)


if __name__ == "__main__":
    main()
