"""How much of a quota is used: a local server that enforces 600 requests and 1,000,000 tokens a
minute, asked through the vendor's library in real time.

Small questions run into the requests, long ones into the tokens. In a third run the client is told
nothing of the quota and only learns from being turned away. The warm-up is not counted.

    python benchmarks/quota.py [--seconds 120] [--warm-up 30] [--note TEXT]

Writes benchmarks/results/quota.csv. Needs the extra `openai`.
"""

from __future__ import annotations

import argparse
import csv
import os
import platform
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from showtell.media import read_media
from showtell.mllm import (
    Answer,
    Client,
    RateLimiter,
    Request,
    Settings,
    TextPart,
    load_mllm,
    prepare_image,
)
from showtell.testing import make_images
from showtell.testing.servers import LocalServer, Quota

HERE = Path(__file__).resolve().parent
RPM, TPM = 600, 1_000_000
RUNS = (  # name, characters of text per question, whether the client knows the quota
    ("requests are scarce", 400, True),
    ("tokens are scarce", 16_000, True),
    ("requests are scarce, quota not told", 400, False),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--warm-up", type=float, default=30.0)
    parser.add_argument("--note", default="")
    parser.add_argument("--only", default="", help="part of the name of a run")
    chosen = parser.parse_args()
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        cwd=HERE,
        capture_output=True,
        text=True,
        check=False,
    ).stdout.strip()
    rows = []
    for name, size, told in RUNS:
        if chosen.only not in name:
            continue
        rows.append(
            {
                **measure(name, size, told=told, seconds=chosen.seconds, warm_up=chosen.warm_up),
                "machine": f"{platform.machine()}, {os.cpu_count()} CPUs",
                "date": datetime.now(UTC).date().isoformat(),
                "commit": commit,
                "note": chosen.note,
            }
        )
        print(rows[-1], flush=True)
    with (HERE / "results" / "quota.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def measure(name: str, size: int, *, told: bool, seconds: float, warm_up: float) -> dict[str, Any]:
    """Ask for a while, and count what the server let pass once it was warm."""
    quota = Quota(rpm=RPM, tpm=TPM)
    with LocalServer("openai", truth=lambda _: "red circle", latency=0.3, quota=quota) as server:
        mllm = load_mllm("openai:gpt-4.1-mini", base_url=server.base_url)
        limiter = RateLimiter(rpm=RPM, tpm=TPM) if told else None
        client = Client(mllm, limiter=limiter, max_concurrency=64)
        began = time.perf_counter()
        outcomes: list[bool] = []
        client.run(
            questions(mllm.name, size, began + warm_up + seconds),
            lambda _request, outcome: outcomes.append(isinstance(outcome, Answer)),
        )
        client.close()
        answered = [r for r in server.requests if r.status == 200]
        measured = [r for r in answered if warm_up <= r.at < warm_up + seconds]
        minutes = seconds / 60
        n_tokens = sum(r.count.input + r.count.output for r in measured if r.count is not None)
        used = {"requests": len(measured) / (RPM * minutes), "tokens": n_tokens / (TPM * minutes)}
        return {
            "run": name,
            "seconds": seconds,
            "warm_up_s": warm_up,
            "requests_used_percent": round(100 * used["requests"], 2),
            "tokens_used_percent": round(100 * used["tokens"], 2),
            "quota_used_percent": round(100 * max(used.values()), 2),
            "bar_percent": 95,
            "asked": len(outcomes),
            "lost": outcomes.count(False),
            "turned_away": server.stats.faults["quota"],
            "most_in_flight": server.stats.max_in_flight,
        }


def questions(model: str, size: int, until: float) -> Iterator[Request]:
    """Yield questions that are all different, until the time is up."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        (photo,) = make_images(folder, labels=["red circle"], n_per_label=1, size=(64, 64))
        image = prepare_image(read_media(photo))
    number = 0
    while time.perf_counter() < until:
        number += 1
        words = f"{number} ".ljust(size, "x")
        yield Request(
            model=model,
            system="Labels:\n- red circle\n- blue square\nEnd of labels.",
            parts=(
                TextPart(text=words),
                TextPart(text=f"Image {number}:"),
                image,
                TextPart(text=f"End of image {number}."),
            ),
            settings=Settings(max_tokens=200),
        )


if __name__ == "__main__":
    main()
