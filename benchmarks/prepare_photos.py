"""CPU time to prepare phone photos for an encoder: showtell against plain Pillow, in one run.

Both read a JPEG file, bring it to RGB and resize its shorter side with the same bicubic filter.
Plain Pillow is ``Image.open``, ``convert`` and ``resize``, without even looking at the EXIF
orientation; showtell also turns the photo upright, checks its limits and, in the rows "hashed",
hashes the file, as every classifier does to recognise what it has seen.

The photos are drawn by this script: 4032 x 3024 pixels, structure of every size as in nature,
sharp edges, then the blur of a lens and a colour filter, then sensor noise; saved at quality 90
with 4:2:0 colour. Three amounts of blur are measured apart, because the gain depends on the detail:
shrinking while decoding saves work per pixel, but every byte of the file must still be unpacked.

    python benchmarks/prepare_photos.py [--photos 4] [--repeats 5] [--out FILE.csv]

Each method has a process of its own (what one leaves in the memory allocator changes the cost of
the other by half), and they take turns photo by photo, so that a busy machine disturbs all alike;
one thread each; per photo the best of the repeats counts. The bar is 5.5 times plain Pillow for
"showtell" on "usual" photos of 12 megapixels; all other rows are there to be read beside it.
"""

from __future__ import annotations

import argparse
import csv
import datetime as dt
import functools
import multiprocessing
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import PIL
from PIL import Image, ImageDraw, ImageFilter

from showtell import __version__
from showtell.media import open_image, read_media

BAR = 5.5
LARGE, SMALL = (4032, 3024), (500, 400)
BLUR = {"soft": 2.0, "usual": 1.0, "crisp": 0.5}  # standard deviation in pixels
NOISE = 1.0  # standard deviation, of 255
SIDES = (224, 256)


def draw_photo(size: tuple[int, int], seed: int, blur: float) -> Image.Image:
    """Draw a picture whose JPEG is about as large as that of a photo."""
    rng = np.random.default_rng(seed)
    width, height = size
    total = np.full((height, width, 3), 110.0, np.float32)
    cell = max(size)
    while cell >= 2:  # structure of every size, weaker the finer it is
        grid = rng.normal(0, 1, (height // cell + 2, width // cell + 2, 3)).astype(np.float32)
        planes = [
            np.asarray(Image.fromarray(grid[:, :, c]).resize(size, Image.Resampling.BICUBIC))
            for c in range(3)
        ]
        shared = planes[0]  # most detail of a photo is in its brightness, not in its colours
        strength = 34 * (cell / max(size)) ** 0.25
        total += strength * np.stack([shared + 0.25 * p for p in planes], axis=-1)
        cell //= 2
    picture = Image.fromarray(total.clip(0, 255).astype(np.uint8))
    pen = ImageDraw.Draw(picture, "RGBA")
    for _ in range(40):
        x, y = rng.integers(0, width), rng.integers(0, height)
        reach = int(rng.integers(width // 60 + 1, width // 6))
        corners = [
            (x + int(rng.integers(-reach, reach)), y + int(rng.integers(-reach, reach)))
            for _ in range(int(rng.integers(3, 7)))
        ]
        pen.polygon(corners, fill=(*(int(v) for v in rng.integers(0, 256, 3)), 150))
    picture = picture.filter(ImageFilter.GaussianBlur(blur))
    grain = rng.normal(0, NOISE, (height, width, 1)).astype(np.float32)
    return Image.fromarray((np.asarray(picture) + grain).clip(0, 255).astype(np.uint8))


def resized(picture: Image.Image, side: int) -> Image.Image:
    """Shorter side to `side` pixels, bicubic, as encoders do."""
    scale = side / min(picture.size)
    size = (round(picture.width * scale), round(picture.height * scale))
    return picture.resize(size, Image.Resampling.BICUBIC)


def plain_pillow(path: Path, side: int) -> Image.Image:
    with Image.open(path) as picture:
        return resized(picture.convert("RGB"), side)


def showtell(path: Path, side: int) -> Image.Image:
    return resized(open_image(path, min_side=side), side)


def showtell_hashed(path: Path, side: int) -> Image.Image:
    return resized(read_media(path).decode(min_side=side), side)


METHODS: dict[str, Callable[[Path, int], Image.Image]] = {
    "plain Pillow": plain_pillow,
    "showtell": showtell,
    "showtell, hashed": showtell_hashed,
}


def cpu_seconds(name: str, path: Path, side: int, times: int) -> float:
    """CPU time of one photo, in the process that runs this."""
    method = METHODS[name]
    start = time.process_time()
    for _ in range(times):
        method(path, side)
    return (time.process_time() - start) / times


def measure(
    workers: dict[str, ProcessPoolExecutor], paths: list[Path], side: int, repeats: int, times: int
) -> dict[str, list[float]]:
    """Best CPU seconds of each method on each photo."""
    best = {name: [float("inf")] * len(paths) for name in METHODS}
    for _ in range(repeats):
        for i, path in enumerate(paths):
            for name, worker in workers.items():
                seconds = worker.submit(cpu_seconds, name, path, side, times).result()
                best[name][i] = min(best[name][i], seconds)
    return best


@functools.cache
def machine() -> str:
    """Name the processor."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return f"{line.partition(':')[2].strip()}, {os.cpu_count()} CPUs"
    return f"{platform.processor() or platform.machine()}, {os.cpu_count()} CPUs"


@functools.cache
def commit() -> str:
    """Name the commit, with + where files of the media room differ from it."""
    here = Path(__file__).parent.parent

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", "-C", str(here), *words], capture_output=True, text=True, check=False
        ).stdout.strip()

    changed = git("status", "--porcelain", "--", "src/showtell/media", str(Path(__file__)))
    return (git("rev-parse", "--short", "HEAD") or "unknown") + ("+" if changed else "")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=int, default=4, help="photos per size")
    parser.add_argument("--repeats", type=int, default=5, help="rounds; the best counts")
    default = Path(__file__).parent / "results" / "prepare_photos.csv"
    parser.add_argument("--out", type=Path, default=default)
    options = parser.parse_args()
    rows = []
    ratios: dict[str, list[float]] = {}
    spawn = multiprocessing.get_context("spawn")
    workers = {name: ProcessPoolExecutor(1, mp_context=spawn) for name in METHODS}
    kinds = [(LARGE, level) for level in BLUR] + [(SMALL, "usual")]
    for size, level in kinds:
        with tempfile.TemporaryDirectory() as folder:
            paths = [Path(folder, f"{seed}.jpg") for seed in range(options.photos)]
            for seed, path in enumerate(paths):
                draw_photo(size, seed, BLUR[level]).save(path, quality=90)
            megabytes = np.mean([path.stat().st_size for path in paths]) / 1e6
            for side in SIDES:
                times = 1 if size == LARGE else 20
                best = measure(workers, paths, side, options.repeats, times)
                reference = [np.asarray(plain_pillow(p, side)).astype(int) for p in paths]
                for name, seconds in best.items():
                    mean = float(np.mean(seconds))
                    ratio = float(np.mean(best["plain Pillow"])) / mean
                    made = [np.asarray(METHODS[name](p, side)).astype(int) for p in paths]
                    difference = np.mean(
                        [np.abs(a - b).mean() for a, b in zip(made, reference, strict=True)]
                    )
                    if size == LARGE and name == "showtell":
                        ratios.setdefault(level, []).append(ratio)
                    rows.append(
                        {
                            "photos": f"{options.photos} of {size[0]}x{size[1]}, {level}",
                            "megabytes_per_photo": f"{megabytes:.2f}",
                            "shorter_side": side,
                            "method": name,
                            "cpu_seconds_per_photo": f"{mean:.5f}",
                            "photos_per_cpu_second": f"{1 / mean:.1f}",
                            "times_plain_pillow": f"{ratio:.2f}",
                            "mean_difference_of_255": f"{difference:.3f}",
                            "showtell": __version__,
                            "pillow": PIL.__version__,
                            "python": platform.python_version(),
                            "machine": machine(),
                            "date": dt.datetime.now(dt.UTC).date().isoformat(),
                            "commit": commit(),
                        }
                    )
                    print(*list(rows[-1].values())[:8], sep="\t", flush=True)
    for worker in workers.values():
        worker.shutdown()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    with options.out.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    for level, values in ratios.items():
        verdict = "reached" if min(values) >= BAR else "missed"
        print(f"12 MP, {level}: {min(values):.2f} times plain Pillow; {BAR} is {verdict}.")
    return 0 if min(ratios["usual"]) >= BAR else 1


if __name__ == "__main__":
    sys.exit(main())
