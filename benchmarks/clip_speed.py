"""How much CPU an image costs: showtell's hub encoders beside transformers, and the store.

One process, one thread, everything in one run and interleaved, so that a busy machine slows all
rows alike; the unit is CPU time (`time.process_time`), which waiting does not add to. The network
has the size of CLIP ViT-B/32 and random weights: speed does not depend on their values.

    python benchmarks/clip_speed.py [--images 64] [--rounds 3] [--store-images 2000] [--note TEXT]

Writes benchmarks/results/clip_speed.csv. Needs the extra `export`.
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
from PIL import Image

HERE = Path(__file__).resolve().parent
LABELS = [f"{a}{b}stones" for a in "abcdefghij" for b in "klmnopqrst"]  # 8 letters, 8 tokens
TEMPLATE = "a {}"  # with start and end 11 tokens
BARS = {
    "int8 images per CPU-second, times transformers": 2.5,
    "fp32 images per CPU-second, times transformers": 1.05,
    "pipeline CPU-ms / fp32 CPU-ms, 100 labels": 8,
    "pipeline CPU-ms / int8 CPU-ms, 100 labels": 16,
    "first run CPU / second run CPU, store": 20,
}


def write_photos(folder: Path, n: int) -> list[Path]:
    """JPEG files of 500x375 with the grain of photos, all different."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    base = []
    for _ in range(min(n, 16)):
        coarse = rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)
        smooth = np.asarray(Image.fromarray(coarse).resize((500, 375), 3), np.int16)
        base.append(np.clip(smooth + rng.normal(0, 8, smooth.shape), 0, 255).astype(np.uint8))
    paths = []
    for number in range(n):
        pixels = np.roll(base[number % len(base)], 3 * number, axis=1)
        path = folder / f"{number:05d}.jpg"
        Image.fromarray(pixels).save(path, quality=88)
        paths.append(path)
    return paths


def write_clip(folder: Path) -> None:
    """A checkpoint like openai/clip-vit-base-patch32, with random weights."""
    import torch
    import transformers

    torch.manual_seed(0)
    letters = [chr(code) for code in range(97, 123)] + list("0123456789.,'")
    tokens = [*letters, *(f"{letter}</w>" for letter in letters)]
    tokens += [f"<unused{number}>" for number in range(49406 - len(tokens))]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    transformers.CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=77).save_pretrained(
        folder
    )
    transformers.models.clip.image_processing_pil_clip.CLIPImageProcessorPil().save_pretrained(
        folder
    )
    config = transformers.CLIPConfig()
    network = transformers.CLIPModel(config)
    with torch.no_grad():
        network.logit_scale.fill_(4.6052)
    network.save_pretrained(folder)


def cpu(work) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def compare_clip(root: Path, n_images: int, n_rounds: int) -> list[dict[str, object]]:
    import torch
    import transformers

    from showtell.classify import ZeroShotClassifier
    from showtell.encoders import embed_images
    from showtell.encoders.hub.encoder import HubEncoder

    torch.set_num_threads(1)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    write_clip(root / "clip")
    paths = write_photos(root / "photos", n_images)
    network = transformers.CLIPModel.from_pretrained(root / "clip").eval()
    tokenizer = transformers.CLIPTokenizer.from_pretrained(root / "clip")
    processor = transformers.models.clip.image_processing_pil_clip.CLIPImageProcessorPil()
    pipeline = transformers.pipeline(
        "zero-shot-image-classification",
        model=network,
        tokenizer=tokenizer,
        image_processor=processor,
        device="cpu",
    )
    name = f"local-dir:{root / 'clip'}"
    encoders = {
        precision: HubEncoder(name, precision=precision, threads=1)
        for precision in ("fp32", "int8")
    }
    text_cpu = {
        precision: cpu(lambda e=encoder: e.encode_texts([TEMPLATE.format(x) for x in LABELS]))
        for precision, encoder in encoders.items()
    }
    classifiers = {
        precision: ZeroShotClassifier(
            encoder, labels=LABELS, templates=[TEMPLATE.format("{label}")], store=None
        ).fit()
        for precision, encoder in encoders.items()
    }

    def with_transformers() -> None:
        for start in range(0, len(paths), 32):
            pictures = []
            for path in paths[start : start + 32]:
                with Image.open(path) as picture:
                    pictures.append(picture.convert("RGB"))
            with torch.inference_mode():
                network.get_image_features(**processor(pictures, return_tensors="pt"))

    few = [str(path) for path in paths[: max(4, n_images // 8)]]
    work = {
        "transformers fp32, batches of 32": (with_transformers, n_images),
        "showtell fp32": (
            lambda: embed_images(encoders["fp32"], paths, store=None, n_workers=1),
            n_images,
        ),
        "showtell int8": (
            lambda: embed_images(encoders["int8"], paths, store=None, n_workers=1),
            n_images,
        ),
        "transformers zero-shot pipeline, 100 labels": (
            lambda: [pipeline(p, LABELS, hypothesis_template=TEMPLATE) for p in few],
            len(few),
        ),
        "showtell classify fp32, 100 labels": (
            lambda: classifiers["fp32"].classify(paths),
            n_images,
        ),
        "showtell classify int8, 100 labels": (
            lambda: classifiers["int8"].classify(paths),
            n_images,
        ),
    }
    for run, _ in work.values():
        if run is not work["transformers zero-shot pipeline, 100 labels"][0]:
            run()  # warm up: files in the page cache, memory allocated
    seconds: dict[str, list[float]] = {label: [] for label in work}
    for _ in range(n_rounds):
        for label, (run, n) in work.items():
            seconds[label].append(cpu(run) / n)
    per_image = {label: float(np.median(values)) for label, values in seconds.items()}
    rows = [
        row(label, 1000 * value, "CPU-ms per image", f"{1 / value:.1f} images per CPU-second")
        for label, value in per_image.items()
    ]
    rows += [
        row(f"showtell encodes 100 labels once, {key}", 1000 * value, "CPU-ms", "")
        for key, value in text_cpu.items()
    ]
    theirs = per_image["transformers fp32, batches of 32"]
    pipe = per_image["transformers zero-shot pipeline, 100 labels"]
    for precision in ("fp32", "int8"):
        rows.append(
            ratio(
                f"{precision} images per CPU-second, times transformers",
                theirs / per_image[f"showtell {precision}"],
            )
        )
    for precision in ("fp32", "int8"):
        rows.append(
            ratio(
                f"pipeline CPU-ms / {precision} CPU-ms, 100 labels",
                pipe / per_image[f"showtell classify {precision}, 100 labels"],
            )
        )
    return rows


def compare_store(root: Path, n_images: int) -> list[dict[str, object]]:
    from showtell.encoders import EmbeddingStore, embed_images
    from showtell.encoders.mini.encoder import MiniEncoder

    paths = write_photos(root / "many", n_images)
    encoder = MiniEncoder(threads=1)
    encoder.encode_images(paths[:2])  # loads the network, keeps nothing
    seconds, walls = [], []
    for _ in range(2):
        with EmbeddingStore(root / "store.sqlite") as store:
            begin = time.perf_counter()
            seconds.append(cpu(lambda s=store: embed_images(encoder, paths, store=s)))
            walls.append(time.perf_counter() - begin)
    note = f"{n_images} files of 500x375"
    return [
        row("mini, first run", 1000 * seconds[0] / n_images, "CPU-ms per image", note),
        row(
            "mini, second run from the store",
            1000 * seconds[1] / n_images,
            "CPU-ms per image",
            note,
        ),
        row("mini, first run, wall clock", walls[0], "s", note),
        row("mini, second run, wall clock", walls[1], "s", note),
        ratio("first run CPU / second run CPU, store", seconds[0] / seconds[1]),
    ]


def row(measure: str, value: float, unit: str, note: str) -> dict[str, object]:
    return {"measure": measure, "value": f"{value:.4g}", "unit": unit, "bar": "", "note": note}


def ratio(measure: str, value: float) -> dict[str, object]:
    bar = BARS[measure]
    verdict = "reached" if value >= bar else "missed"
    return {
        "measure": measure,
        "value": f"{value:.3g}",
        "unit": "times",
        "bar": f">= {bar}",
        "note": verdict,
    }


def about() -> dict[str, str]:
    import onnxruntime
    import torch
    import transformers

    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [x for x in cpuinfo.read_text().splitlines() if x.startswith("model name")]
        model = names[0].partition(":")[2].strip() if names else model
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        capture_output=True,
        text=True,
        cwd=HERE,
        check=False,
    ).stdout.strip()
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "commit": commit,
        "machine": f"{model}, {os.cpu_count()} cores, 1 thread used",
        "versions": (
            f"python {platform.python_version()}, onnxruntime {onnxruntime.__version__}, "
            f"torch {torch.__version__}, transformers {transformers.__version__}"
        ),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--store-images", type=int, default=2000)
    parser.add_argument("--note", default="", help="for example what else ran on the machine")
    parser.add_argument("-o", "--output", type=Path, default=HERE / "results" / "clip_speed.csv")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        os.environ["SHOWTELL_CACHE_DIR"] = str(root / "cache")
        rows = compare_clip(root, options.images, options.rounds)
        rows += compare_store(root, options.store_images)
    facts = about() | {"remark": options.note}
    options.output.parent.mkdir(parents=True, exist_ok=True)
    with options.output.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=[*rows[0], *facts])
        writer.writeheader()
        writer.writerows({**one, **facts} for one in rows)
    for one in rows:
        print(
            f"{one['measure']:55} {one['value']:>9} {one['unit']:18} {one['bar']:8} {one['note']}"
        )
    print(f"written to {options.output}")
    return 1 if any(one["note"] == "missed" for one in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
