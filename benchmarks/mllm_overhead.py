"""Processor time that one picture question costs this side, against a local server.

The server runs in a process of its own, so that only the client is counted: request, vendor
library, journal. Each request carries one small picture and asks for JSON.

    python benchmarks/mllm_overhead.py [--requests 400] [--note TEXT]

Writes benchmarks/results/mllm_overhead.csv. Needs the extra `openai`.
"""

from __future__ import annotations

import argparse
import csv
import os
import platform
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from showtell.classify import DirectClassifier
from showtell.testing import make_images

HERE = Path(__file__).resolve().parent
SERVER = (
    "import sys\nfrom showtell.testing.servers import LocalServer\n"
    "with LocalServer('openai', truth=lambda q: 'red circle') as s:\n"
    "    print(s.base_url, flush=True)\n    sys.stdin.read()\n"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=400)
    parser.add_argument("--note", default="")
    chosen = parser.parse_args()
    labels = ["red circle", "green triangle", "blue square"]
    with (
        tempfile.TemporaryDirectory() as folder,
        subprocess.Popen(
            [sys.executable, "-c", SERVER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as server,
    ):
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        n = chosen.requests + 20
        photos = make_images(folder, labels=labels, n_per_label=n // 3 + 1, size=(400, 400))[:n]
        clf = DirectClassifier(
            "openai:try",
            labels=labels,
            base_url=url,
            batch_size=1,
            cache=None,
            run_folder=Path(folder) / "run",
            max_concurrency=64,
        ).fit()
        clf.classify(photos[:20])
        wall, cpu = time.perf_counter(), time.process_time()
        predictions = clf.classify(photos[20:])
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        assert predictions.counts["ok"] == chosen.requests, predictions.counts
        assert server.stdin is not None
        server.stdin.close()
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        cwd=HERE,
        capture_output=True,
        text=True,
        check=False,
    ).stdout.strip()
    row = {
        "requests": chosen.requests,
        "cpu_ms_per_image": round(1000 * cpu / chosen.requests, 2),
        "images_per_second": round(chosen.requests / wall, 1),
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs",
        "date": datetime.now(UTC).date().isoformat(),
        "commit": commit,
        "note": chosen.note,
    }
    with (HERE / "results" / "mllm_overhead.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(row))
        writer.writeheader()
        writer.writerow(row)
    print(row)


if __name__ == "__main__":
    main()
