"""Images per second of the embedded encoder, from JPEG files, and the share that decoding takes.

    python benchmarks/mini_speed.py [--threads 2] [--rounds 5] [--images FOLDER] [--note TEXT]

Without a folder it draws photo-like JPEGs of 500x375. Wall time says what a user waits; it means
something only where nothing else runs, so CPU time and the load stand beside it.
Writes benchmarks/results/mini_speed.csv.
"""

from __future__ import annotations

import argparse
import csv
import os
import platform
import statistics
import subprocess
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from clip_speed import write_photos

from showtell.encoders import embed_images, load_encoder

HERE = Path(__file__).resolve().parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=Path)
    parser.add_argument("--note", default="")
    chosen = parser.parse_args()
    encoder = load_encoder("mini", threads=chosen.threads)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        paths = (
            sorted(chosen.images.rglob("*.jpg"))
            if chosen.images
            else write_photos(Path(folder), 400)
        )
        embed_images(encoder, paths[:32], store=None)  # loads the network
        for number in range(chosen.rounds):
            load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
            wall, cpu = time.perf_counter(), time.process_time()
            found = embed_images(encoder, paths, store=None)
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            assert found.ok.all()
            rows.append(
                {
                    "round": number + 1,
                    "images": len(paths),
                    "threads": chosen.threads,
                    "images_per_second": round(len(paths) / wall, 1),
                    "images_per_cpu_second": round(len(paths) / cpu, 1),
                    "load_before": round(load, 2),
                }
            )
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        cwd=HERE,
        capture_output=True,
        text=True,
        check=False,
    ).stdout.strip()
    about = {
        "photos": chosen.images.name if chosen.images else "drawn, 500x375",
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs",
        "date": datetime.now(UTC).date().isoformat(),
        "commit": commit,
        "note": chosen.note,
    }
    out = HERE / "results" / "mini_speed.csv"
    with out.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, [*rows[0], *about])
        writer.writeheader()
        writer.writerows({**row, **about} for row in rows)
    median = statistics.median(row["images_per_second"] for row in rows)
    print(f"median {median} images/s over {len(rows)} rounds; wrote {out.name}")


if __name__ == "__main__":
    main()
