"""What asking a multimodal LLM costs this side: processor time, memory, images per second.

500 JPEG photos of about 50 KB are asked about one by one, 64 at a time, against a local server
that takes 0.3 s for every answer (`fixed_server.py`), by showtell with its journal and cache on,
by the vendor's library alone, and by the tools of `peers/`, each in a process and an environment
of its own (`mllm_clients.py`). Rounds are interleaved, so that all tools meet the same neighbours.
The server counts what was in flight and checks every image that it got.

    python benchmarks/mllm_overhead.py [--peers FOLDER] [--tools a,b] [--rounds 5] [--note TEXT]

Writes benchmarks/results/mllm_overhead.csv, one row per tool, medians over the rounds. README.md
says how to make the environments of the other tools; those without one are left out. Needs the
extra `openai`.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import csv
import io
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import urllib.request
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps

HERE = Path(__file__).resolve().parent
SOURCE = HERE.parent / "examples" / "photos"
OURS = ("showtell", "showtell-client", "openai")
PEERS = {"daft": "daft", "dspy": "dspy", "inspect_ai": "inspect"}
"""Tool to the name of its environment."""
SIZE = (640, 480)
N_WARM = 8
PHOTO_BYTES = 50_000
LATENCY = 0.3


def make_photos(folder: Path, n: int, seed: int) -> list[Path]:
    """Write views of the example photos, each compressed to about 50 KB; the same every time."""
    folder.mkdir(parents=True)
    sources = sorted(SOURCE.rglob("*.jpg"))
    draw = random.Random(seed)
    paths = []
    for number in range(n):
        with Image.open(sources[number % len(sources)]) as opened:
            whole = opened.convert("RGB")
        scale = draw.uniform(0.7, 1.0)
        width, height = int(whole.width * scale), int(whole.height * scale)
        left, top = draw.randint(0, whole.width - width), draw.randint(0, whole.height - height)
        view = whole.crop((left, top, left + width, top + height)).resize(SIZE)
        if draw.random() < 0.5:
            view = ImageOps.mirror(view)
        path = folder / f"{number:04d}.jpg"
        path.write_bytes(compress(view))
        paths.append(path)
    return paths


def compress(view: Image.Image) -> bytes:
    """Find the highest quality that stays within the wanted size."""
    low, high, best = 20, 97, b""
    while low <= high:
        quality = (low + high) // 2
        buffer = io.BytesIO()
        view.save(buffer, "JPEG", quality=quality)
        if len(buffer.getvalue()) <= PHOTO_BYTES or not best:
            best = buffer.getvalue()
        if len(buffer.getvalue()) <= PHOTO_BYTES:
            low = quality + 1
        else:
            high = quality - 1
    return best


def on_the_wire(path: Path) -> int:
    """What the server's count of images holds for a file that is sent as it is."""
    return zlib.crc32(base64.b64encode(path.read_bytes()))


@contextlib.contextmanager
def serving() -> Iterator[tuple[str, int]]:
    """Run the server; gives its address and process id."""
    command = [sys.executable, str(HERE / "fixed_server.py"), "--latency", str(LATENCY)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip(), process.pid
        finally:
            process.stdin.close()


def get(url: str) -> Any:
    with urllib.request.urlopen(url) as response:
        return json.load(response)


@dataclass(frozen=True, kw_only=True)
class Busy:
    """Processor seconds since the machine was started; Linux only."""

    everyone: float
    server: float

    @classmethod
    def now(cls, server: int) -> Busy | None:
        stat = Path("/proc/stat")
        if not stat.exists():
            return None
        tick = os.sysconf("SC_CLK_TCK")
        user, nice, system, _, _, irq, softirq, steal = map(
            int, stat.read_text().split("\n", 1)[0].split()[1:9]
        )
        ours = Path(f"/proc/{server}/stat").read_text().rpartition(")")[2].split()
        total = user + nice + system + irq + softirq + steal
        return cls(everyone=total / tick, server=(int(ours[11]) + int(ours[12])) / tick)


def measure(
    tool: str, python: str, url: str, server: int, folders: Sequence[Path], n_sent: int
) -> dict[str, Any]:
    """Run one tool once, and check what the server saw of it."""
    get(f"{url}/reset")
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as scratch:
        command = [python, str(HERE / "mllm_clients.py"), tool, "--url", url, "--scratch", scratch]
        command += ["--warm", str(folders[0]), "--photos", str(folders[1])]
        before = Busy.now(server)
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=scratch)
        after = Busy.now(server)
    if done.returncode:
        raise SystemExit(f"{tool} failed:\n{done.stderr[-3000:]}")
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    counts = get(f"{url}/counts")
    assert found["n_right"] == found["n_photos"], (tool, found)
    assert counts["n_requests"] == n_sent, (tool, counts["n_requests"])
    assert not counts["n_without_one_image"], tool
    n = found["n_photos"]
    row = {
        "images_per_second": n / found["wall"],
        "cpu_ms_per_image": 1000 * found["cpu"] / n,
        "cpu_ms_per_image_with_start": 1000 * (found["cpu"] + found["start_cpu"]) / n,
        "import_seconds": found["start_wall"],
        "peak_mb": found["peak_mb"],
        "most_in_flight": counts["most_in_flight"],
        "kb_per_request": counts["n_bytes"] / counts["n_requests"] / 1000,
        "load_before": load,
        "versions": found["versions"],
        "images": set(counts["images"]),
    }
    if before is not None and after is not None:
        used = found["cpu"] + found["start_cpu"] + after.server - before.server
        row["others_cpu_seconds"] = max(0.0, after.everyone - before.everyone - used)
    return row


def summary(tool: str, rounds: Sequence[dict[str, Any]], sent_as_is: int) -> dict[str, Any]:
    """Medians of the rounds, with the range of what is compared."""

    def middle(name: str, digits: int) -> float:
        return round(statistics.median(r[name] for r in rounds), digits)

    def span(name: str, digits: int) -> str:
        values = [r[name] for r in rounds]
        return f"{min(values):.{digits}f}-{max(values):.{digits}f}"

    busy = "others_cpu_seconds" in rounds[0]
    return {
        "tool": tool,
        "rounds": len(rounds),
        "images_per_second": middle("images_per_second", 1),
        "images_per_second_range": span("images_per_second", 1),
        "cpu_ms_per_image": middle("cpu_ms_per_image", 2),
        "cpu_ms_per_image_range": span("cpu_ms_per_image", 2),
        "cpu_ms_per_image_with_start": middle("cpu_ms_per_image_with_start", 2),
        "import_seconds": middle("import_seconds", 2),
        "peak_mb": middle("peak_mb", 0),
        "most_in_flight": max(r["most_in_flight"] for r in rounds),
        "kb_per_request": middle("kb_per_request", 1),
        "photos_sent_as_they_are": sent_as_is,
        "load_before": middle("load_before", 2),
        "others_cpu_seconds": middle("others_cpu_seconds", 1) if busy else "",
        "versions": "; ".join(f"{name} {v}" for name, v in rounds[0]["versions"].items()),
    }


def commit() -> str:
    command = ["git", "rev-parse", "--short", "HEAD"]
    done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peers", type=Path, help="folder with the environments of other tools")
    parser.add_argument("--tools", help="only these, separated by commas")
    parser.add_argument("--photos", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--note", default="")
    parser.add_argument("--no-csv", action="store_true")
    chosen = parser.parse_args()
    pythons = dict.fromkeys(OURS, sys.executable)
    for tool, name in PEERS.items():
        python = chosen.peers and chosen.peers / name / "bin" / "python"
        if python and python.exists():
            pythons[tool] = str(python.absolute())
    if chosen.tools:
        pythons = {tool: pythons[tool] for tool in chosen.tools.split(",")}
    results: dict[str, list[dict[str, Any]]] = {tool: [] for tool in pythons}
    with tempfile.TemporaryDirectory() as folder, serving() as (url, server):
        folders = Path(folder) / "warm", Path(folder) / "photos"
        warm = make_photos(folders[0], N_WARM, seed=1)
        photos = make_photos(folders[1], chosen.photos, seed=0)
        expected = {on_the_wire(path) for path in photos}
        n_sent = len(warm) + len(photos)
        for number in range(chosen.rounds):
            for tool, python in pythons.items():
                row = measure(tool, python, url, server, folders, n_sent)
                results[tool].append(row)
                shown = ("images_per_second", "cpu_ms_per_image", "peak_mb", "most_in_flight")
                told = ", ".join(f"{name} {row[name]:.2f}" for name in shown)
                print(f"round {number + 1} {tool}: {told}", flush=True)
    rows = []
    for tool, rounds in results.items():
        as_is = min(len(expected & r["images"]) for r in rounds)
        rows.append(summary(tool, rounds, as_is))
        rows[-1] |= {
            "photos": chosen.photos,
            "slots": 64,
            "latency_seconds": LATENCY,
            "machine": f"{platform.machine()}, {os.cpu_count()} CPUs",
            "date": datetime.now(UTC).date().isoformat(),
            "commit": commit(),
            "note": chosen.note,
        }
        print(rows[-1])
    if not chosen.no_csv:
        with (HERE / "results" / "mllm_overhead.csv").open("w", newline="") as stream:
            writer = csv.DictWriter(stream, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    main()
