"""What one reading of the prompt saves: label likelihoods with and without reuse of the prefix.

One process, one thread, both ways interleaved; the unit is CPU time (`time.process_time`), which
waiting does not add to. The model is a Llava of random weights whose picture takes 196 tokens:
speed does not depend on the values. Before timing, both ways are compared.

    python benchmarks/likelihood_speed.py [--labels 10] [--rounds 5] [--note TEXT]

Writes benchmarks/results/likelihood_speed.csv. Needs the extra `local`.
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

os.environ["OMP_NUM_THREADS"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import torch
import transformers
from PIL import Image

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from tests.mllm.tiny_vlm import make_llava  # noqa: E402

from showtell.mllm.local.vlm import LocalVLM  # noqa: E402

NAMES = [
    "cat", "bear cub", "tabby cat", "Egyptian mau", "mushroom", "horse", "ship", "catfish",
    "airplane", "brown bear",
]  # fmt: skip
BAR = 3.0


def cpu_ms(call, rounds: int) -> list[float]:
    """CPU milliseconds of each call."""
    spent = []
    for _ in range(rounds):
        start = time.process_time()
        call()
        spent.append(1e3 * (time.process_time() - start))
    return spent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--labels", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--note", default="")
    args = parser.parse_args()
    names = [*NAMES, *(f"thing {i}" for i in range(args.labels))][: args.labels]
    with tempfile.TemporaryDirectory() as folder:
        wide = {"hidden_size": 256, "intermediate_size": 512, "num_attention_heads": 4}
        text = {**wide, "num_key_value_heads": 2, "num_hidden_layers": 4}
        make_llava(Path(folder), side=112, patch=8, vision=wide, text=text)
        vlm = LocalVLM(f"local-dir:{folder}", threads=1)
    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 256, (112, 112, 3), dtype=np.uint8))
    prompt = vlm.prompt("What is shown in this picture?", stub="It shows a")
    labels = vlm.continuations(prompt, names)

    def shared():
        return vlm.score(picture, prompt, labels)

    def full():
        return vlm.score(picture, prompt, labels, reuse_prefix=False)

    difference = float(np.abs(shared().logprobs - full().logprobs).max())
    times = {"one reading": [], "a pass per label": []}
    for _ in range(args.rounds):
        times["one reading"] += cpu_ms(shared, 1)
        times["a pass per label"] += cpu_ms(full, 1)
    middle = {name: float(np.median(values)) for name, values in times.items()}
    ratio = middle["a pass per label"] / middle["one reading"]
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        cwd=HERE, capture_output=True, text=True, check=False,
    ).stdout.strip()  # fmt: skip
    shared_columns = {
        "note": f"{len(names)} labels of 1 to {max(map(len, labels.tokens))} tokens, median of "
        f"{args.rounds}",
        "date": datetime.now(UTC).date().isoformat(),
        "commit": commit,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, 1 thread used",
        "versions": f"python {platform.python_version()}, torch {torch.__version__}, "
        f"transformers {transformers.__version__}",
        "remark": args.note,
    }
    rows = [
        {"measure": name, "value": round(v, 2), "unit": "CPU-ms per image", "bar": ""}
        for name, v in middle.items()
    ]
    rows.append({"measure": "a pass per label / one reading", "value": round(ratio, 2),
                 "unit": "times", "bar": BAR})  # fmt: skip
    rows.append({"measure": "largest difference of a log-probability",
                 "value": f"{difference:.1e}", "unit": "", "bar": 1e-4})  # fmt: skip
    target = HERE / "results" / "likelihood_speed.csv"
    with target.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [*rows[0], *shared_columns])
        writer.writeheader()
        writer.writerows({**row, **shared_columns} for row in rows)
    for row in rows:
        print(f"{row['measure']:<42}{row['value']:>10} {row['unit']}")
    sys.exit(0 if ratio >= BAR and difference <= 1e-4 else 1)


if __name__ == "__main__":
    main()
