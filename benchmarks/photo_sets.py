"""The eight photo sets that studies of cheap classifiers share, embedded once; no script itself.

Every folder with ``train/``, ``test/`` and ``labels.json`` is one set. Embeddings by ``mini`` are
kept in a store, so that all that follows is arithmetic.
"""

from __future__ import annotations

import argparse
import csv
import os
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import showtell as st
from showtell.encoders import embed_images

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, kw_only=True, eq=False)
class PhotoSet:
    """One set: unit embeddings, labels as codes, files."""

    name: str
    labels: tuple[str, ...]
    train: NDArray[np.float32]
    train_y: NDArray[np.intp]
    test: NDArray[np.float32]
    test_y: NDArray[np.intp]
    data: Any
    """The `Dataset`, for those who need files."""

    @property
    def all(self) -> NDArray[np.float32]:
        return np.concatenate([self.train, self.test])

    @property
    def all_y(self) -> NDArray[np.intp]:
        return np.concatenate([self.train_y, self.test_y])

    def n_labels(self) -> int:
        return len(self.labels)


def photo_sets(folder: Path, store: str) -> list[PhotoSet]:
    """Load and embed every set under a folder; what the store knows is not looked at again."""
    folders = sorted(path.parent for path in folder.glob("*/labels.json"))
    if not folders:
        raise SystemExit(f"no set with a labels.json under {folder}")
    encoder = st.load_encoder("mini")
    return [_loaded(path, encoder, store) for path in folders]


def _loaded(path: Path, encoder: Any, store: str) -> PhotoSet:
    data = st.load_dataset(path)
    place = {label: i for i, label in enumerate(data.labels)}
    parts: dict[str, Any] = {}
    for name, split in (("train", data.train), ("test", data.test)):
        found = embed_images(encoder, split.images, store=store)
        if found.errors:
            raise SystemExit(f"{path}: {len(found.errors)} images cannot be read")
        parts[name] = found.rows()
        parts[f"{name}_y"] = np.array([place[y] for y in split.y], np.intp)
    return PhotoSet(name=path.name, labels=tuple(map(str, data.labels)), data=data, **parts)


def shots(y: NDArray[np.intp], k: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """Draw k rows of each class."""
    return np.concatenate([rng.permutation(np.flatnonzero(y == code))[:k] for code in np.unique(y)])


def class_dependent_errors(
    y: NDArray[np.intp], share: float, X: NDArray[np.float32], rng: np.random.Generator
) -> NDArray[np.intp]:
    """Give a share of each class the label of the class whose mean is nearest to its own."""
    n = int(y.max()) + 1
    means = np.stack([X[y == code].mean(axis=0) for code in range(n)])
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    near = means @ means.T
    np.fill_diagonal(near, -np.inf)
    wrong = y.copy()
    for code in range(n):
        rows = rng.permutation(np.flatnonzero(y == code))
        wrong[rows[: round(share * len(rows))]] = near[code].argmax()
    return wrong


def hard_image_errors(y: NDArray[np.intp], share: float, proba: NDArray[Any]) -> NDArray[np.intp]:
    """Give the images a probe is least sure of the best other label; `proba` is out of fold."""
    rows = np.arange(len(y))
    own = proba[rows, y]
    others = proba.copy()
    others[rows, y] = -np.inf
    worst = np.argsort(own - others.max(axis=1), kind="stable")[: round(share * len(y))]
    wrong = y.copy()
    wrong[worst] = others[worst].argmax(axis=1)
    return wrong


def add_options(parser: argparse.ArgumentParser, name: str) -> None:
    """What every study takes."""
    parser.add_argument("--sets", type=Path, default=ROOT.parent / "shared" / "datasets")
    parser.add_argument("--store", default="", help="file of embeddings to keep and reuse")
    parser.add_argument("--note", default="", help="for example what else ran on the machine")
    parser.add_argument("--csv", type=Path, default=ROOT / f"benchmarks/results/{name}.csv")
    parser.add_argument("--markdown", type=Path, default=ROOT / f"docs/_generated/{name}.md")


def about() -> dict[str, str]:
    """When, with what, on what machine and how busy it is."""
    import onnxruntime
    import sklearn

    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [x for x in cpuinfo.read_text().splitlines() if x.startswith("model name")]
        model = names[0].partition(":")[2].strip() if names else model
    command = ["git", "rev-parse", "--short", "HEAD"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "commit": done.stdout.strip(),
        "machine": f"{model}, {os.cpu_count()} cores",
        "load": f"{os.getloadavg()[0]:.1f}",
        "versions": f"python {platform.python_version()}, showtell {st.__version__}, onnxruntime "
        f"{onnxruntime.__version__}, scikit-learn {sklearn.__version__}",
        "encoder": st.load_encoder("mini").fingerprint,
    }


def write_csv(path: Path, rows: Sequence[dict[str, Any]], facts: dict[str, str]) -> None:
    """Write rows with the facts beside each."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=[*rows[0], *facts])
        writer.writeheader()
        for row in rows:
            rounded = {
                key: float(f"{cell:.4g}") if isinstance(cell, float) else cell
                for key, cell in row.items()
            }
            writer.writerow(rounded | facts)


def read_csv(path: Path, texts: Sequence[str]) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Read what `write_csv` wrote: rows, with numbers outside the columns `texts`, and facts."""
    with path.open(newline="", encoding="utf-8") as file:
        found = list(csv.DictReader(file))
    keys = [*about(), "remark"]
    rows = [
        {
            name: cell if name in texts else float(cell) if cell else None
            for name, cell in row.items()
            if name not in keys
        }
        for row in found
    ]
    return rows, {name: found[0][name] for name in keys}


def measured_line(script: str, name: str, facts: dict[str, str]) -> str:
    return (
        f"Measured {facts['date']} at commit {facts['commit']} by `benchmarks/{script}.py`; "
        f"numbers in `benchmarks/results/{name}.csv`."
    )
