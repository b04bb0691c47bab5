"""Seconds and memory of clues at scale: 20,000 images, 1,000 clues, a forest, SHAP of one answer.

    python benchmarks/concepts_speed.py [--images 20000] [--clues 1000] [--rounds 3] [--note TEXT]

Embeddings of 512 numbers lie in a store, as after a first run; the images are small drawn pictures
of ten labels. A fresh process then reads them, looks the embeddings up, compares them with all
clues and fits the forest (``fit``), classifies all of them again (``classify``), and computes SHAP
values of one answer, twice: the first time loads the package shap (``shap_first``, ``shap``). Wall
time means something only where nothing else runs, so processor time and load stand beside it.
Writes benchmarks/results/concepts_speed.csv.
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
from typing import Any

import numpy as np
from numpy.typing import NDArray

from showtell.classify import ConceptClassifier
from showtell.encoders import embed_images
from showtell.testing import HashEncoder

HERE = Path(__file__).resolve().parent
N_LABELS, N_DIMS = 10, 512


class LabelledEncoder(HashEncoder):
    """Embeds what the first pixel says its label is, and noise that the others fix."""

    def __init__(self) -> None:
        super().__init__(N_DIMS, batch_size=256)
        self.fingerprint = "labelled-512"
        self.centres = np.random.default_rng(0).normal(size=(N_LABELS, N_DIMS))

    def encode_prepared(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        noise = super().encode_prepared(pixels)
        codes = (pixels[:, 0, 0, 0] / 20).round().astype(int) % N_LABELS
        rows = noise / np.linalg.norm(noise, axis=1, keepdims=True) + 0.03 * self.centres[codes]
        found: NDArray[np.float32] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        return found.astype(np.float32)


def drawn(n: int) -> tuple[list[NDArray[np.uint8]], list[str]]:
    """Small pictures with their labels."""
    rng = np.random.default_rng(0)
    codes = np.arange(n) % N_LABELS
    pixels = rng.integers(0, 256, (n, 16, 16, 3), dtype=np.uint8)
    pixels[:, 0, 0] = (20 * codes)[:, None]
    return list(pixels), [f"label {code}" for code in codes.tolist()]


def tree_of(n_clues: int) -> dict[str, Any]:
    parts = [
        {"part": f"part {p}", "attributes": {"look": [f"value {p} {v}" for v in range(10)]}}
        for p in range(n_clues // 10)
    ]
    return {"domain": "thing", "parts": parts}


def measure(n: int, n_clues: int, store: str) -> dict[str, float]:
    """Run in a process of its own, whose memory is what is reported."""
    images, labels = drawn(n)
    clf = ConceptClassifier(
        LabelledEncoder(), concepts=tree_of(n_clues), head="forest", store=store, random_state=0
    )
    found: dict[str, float] = {}

    def timed(name: str, work: Any) -> None:
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        found[f"{name}_s"] = round(time.perf_counter() - wall, 3)
        found[f"{name}_cpu_s"] = round(time.process_time() - cpu, 3)

    timed("fit", lambda: clf.fit(images, labels))
    found["fit_peak_mb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000)
    assert clf.encoder.n_encoded == 0, "the store had not all embeddings"
    timed("classify", lambda: clf.classify(images))
    timed("shap_first", lambda: clf.contributions(images[:1]))
    timed("shap", lambda: clf.contributions(images[1:2]))
    shares = clf.contributions(images[:3])
    gap = np.abs(shares.base + shares.values.sum(axis=1) - clf.predict_proba(images[:3])).max()
    assert gap < 1e-4, gap
    found["peak_mb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000)
    found["n_nodes"] = len(clf.head_.feature)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--clues", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--note", default="")
    parser.add_argument("--measure", default="", help=argparse.SUPPRESS)
    parser.add_argument("--csv", type=Path, default=HERE / "results" / "concepts_speed.csv")
    chosen = parser.parse_args()
    if chosen.measure:
        print(json.dumps(measure(chosen.images, chosen.clues, chosen.measure)))
        return
    command = ["git", "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=False)
    about = {
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs",
        "date": datetime.now(UTC).date().isoformat(),
        "commit": commit.stdout.strip(),
        "note": chosen.note,
    }
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        store = f"{folder}/embeddings.sqlite"
        embed_images(LabelledEncoder(), drawn(chosen.images)[0], store=store)
        for number in range(chosen.rounds):
            load = os.getloadavg()[0]
            again = [sys.executable, __file__, "--measure", store, "--images", str(chosen.images)]
            done = subprocess.run(
                [*again, "--clues", str(chosen.clues)], capture_output=True, text=True, check=False
            )
            if done.returncode:
                sys.exit(done.stderr)
            found = json.loads(done.stdout)
            print(found, flush=True)
            rows.append(
                {
                    "round": number + 1,
                    "images": chosen.images,
                    "clues": chosen.clues,
                    **found,
                    "load_before": round(load, 2),
                    **about,
                }
            )
    with chosen.csv.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
