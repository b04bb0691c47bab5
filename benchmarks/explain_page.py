"""How long explanations by clues take, and how large and quick the page of many of them is.

Photos of 10 labels are drawn, 200 clues have planted embeddings; a ConceptClassifier of each kind
learns from 30 photos per label, and 1,700 others are explained, with the importance of every part,
attribute and clue, and a card per label. The page is opened in headless Chromium.

    python benchmarks/explain_page.py [--images 1700] [--labels 10] [--clues 200]

Writes benchmarks/results/explain_page.csv and docs/_generated/explain_page.md. Needs the extra
`explain` and Chromium.
"""

from __future__ import annotations

import argparse
import csv
import os
import platform
import shutil
import subprocess
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import sync_playwright

from showtell.classify import ConceptClassifier
from showtell.explain import concept_overview, explain, write_explanations

HERE = Path(__file__).resolve().parent
PARTS = ("head", "ear", "eye", "muzzle", "neck", "back", "belly", "leg", "tail", "coat")
ATTRIBUTES = ("colour", "length", "shape", "texture")
COLUMNS = (
    *("model", "labels", "clues", "images", "accuracy", "fit_s", "overview_s", "explain_s"),
    *("shap_one_s", "shap_error", "write_s", "page_mb", "open_s", "complaints", "requests"),
    *("machine", "date", "commit"),
)
TABLE = (
    ("SHAP of one photo, seconds", "shap_one_s"),
    ("reasons of all photos, seconds", "explain_s"),
    ("importances and cards, seconds", "overview_s"),
    ("page, MB", "page_mb"),
    ("page opens in, seconds", "open_s"),
)


class Planted:
    """An encoder of named photos and clues: a photo is near the clues of its label, with noise."""

    logit_bias, zero_shot_note, name, fingerprint = 0.0, "", "planted", "planted-page"
    logit_scale, probability = 100.0, "softmax"

    def __init__(self, n_labels: int, clues: list[str], n_dims: int = 256) -> None:
        rng = np.random.default_rng(0)
        self.n_dims = n_dims
        self.texts = {text: rng.normal(size=n_dims) for text in clues}
        rows = np.array(list(self.texts.values()))
        self.labels = np.array([
            rows[rng.choice(len(rows), 12, replace=False)].sum(axis=0) for _ in range(n_labels)
        ])  # fmt: skip

    def encode_images(self, images):
        return self._unit(
            self.labels[int(Path(image).parent.name.split()[1])]
            + np.random.default_rng(int(Path(image).stem)).normal(0, 9, self.n_dims)
            for image in images
        )

    def encode_texts(self, texts):
        return self._unit(self.texts.get(text, np.ones(self.n_dims)) for text in texts)

    @staticmethod
    def _unit(rows):
        found = np.array(list(rows))
        return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)

    def __sklearn_clone__(self):
        return self


def tree_of(n_clues: int) -> dict:
    """A tree with as many values."""
    each = -(-n_clues // (len(PARTS) * len(ATTRIBUTES)))
    left, parts = n_clues, []
    for part in PARTS:
        attributes = {}
        for attribute in ATTRIBUTES:
            attributes[attribute] = [f"{attribute[:3]}{i} {part}" for i in range(min(each, left))]
            left -= len(attributes[attribute])
        parts.append({"part": part, "attributes": attributes})
    return {"domain": "animal", "parts": parts}


def draw_photos(folder: Path, n: int, n_labels: int) -> list[str]:
    """Blurred noise as JPEG files of 320 pixels, which small pictures compress as photos do."""
    paths = []
    for i in range(n):
        path = folder / f"label {i % n_labels}" / f"{i}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(i)
        small = Image.fromarray(rng.integers(20, 235, (14, 14, 3), np.uint8))
        pixels = np.asarray(small.resize((320, 320), Image.Resampling.BICUBIC), int)
        pixels = pixels + rng.integers(-14, 15, pixels.shape)
        Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(path, quality=85)
        paths.append(str(path))
    return paths


def timed(work):
    """Return what `work` returns, and the seconds it took."""
    start = time.perf_counter()
    found = work()
    return found, time.perf_counter() - start


def open_page(path: Path, times: int = 3) -> tuple[float, int, int]:
    """Return median seconds until pictures and tree are drawn, complaints, and requests."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    seconds, said, asked = [], [], []
    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        for _ in range(times):
            tab = browser.new_page(viewport={"width": 1200, "height": 900})
            tab.on("console", lambda message: said.append(message.text))
            tab.on("pageerror", lambda error: said.append(str(error)))
            tab.on("request", lambda request: asked.append(request.url))
            start = time.perf_counter()
            tab.goto(path.as_uri())
            tab.wait_for_selector("#cards li")
            tab.wait_for_selector("#tree [role=treeitem]")
            seconds.append(time.perf_counter() - start)
            tab.close()
        browser.close()
    outside = [url for url in asked if not url.startswith(("data:", "file:"))]
    return float(np.median(seconds)), len(said), len(outside)


def measure(model: str, given: argparse.Namespace, photos: list[str], encoder: Planted) -> dict:
    """Explain all photos by one kind of classifier."""
    n_train = 30 * given.labels
    train, test = photos[:n_train], photos[n_train:]
    y_train = [Path(path).parent.name for path in train]
    y_test = [Path(path).parent.name for path in test]
    clf = ConceptClassifier(
        encoder, concepts=tree_of(given.clues), head=model, store=None, random_state=0
    )
    _, fit_s = timed(lambda: clf.fit(train, y_train))
    clf.contributions(test[:1])  # imports shap
    one, shap_one_s = timed(lambda: clf.contributions(test[:1]))
    error = float(np.abs(one.base + one.values.sum(axis=1) - one.output).max())
    overview, overview_s = timed(lambda: concept_overview(clf, test, y_test))
    found, explain_s = timed(lambda: explain(clf, test, y=y_test, examples=(train, y_train)))
    path = Path(tempfile.mkdtemp()) / "page.html"
    _, write_s = timed(lambda: write_explanations(found, path, overview=overview))
    open_s, complaints, requests = open_page(path)
    size = path.stat().st_size / 1e6
    shutil.rmtree(path.parent)
    return {
        "model": model,
        "labels": given.labels,
        "clues": len(clf.clues_),
        "images": len(found),
        "accuracy": round(float(np.mean([bool(one.correct) for one in found])), 4),
        "fit_s": round(fit_s, 2),
        "overview_s": round(overview_s, 2),
        "explain_s": round(explain_s, 2),
        "shap_one_s": round(shap_one_s, 4),
        "shap_error": f"{error:.1e}",
        "write_s": round(write_s, 2),
        "page_mb": round(size, 2),
        "open_s": round(open_s, 2),
        "complaints": complaints,
        "requests": requests,
    }


def table_of(rows: list[dict]) -> str:
    """Write the table of the documentation."""
    lines = ["| | " + " | ".join(str(row["model"]) for row in rows) + " |", "|---|---|---|"]
    for name, column in TABLE:
        lines.append(f"| {name} | " + " | ".join(str(row[column]) for row in rows) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure both kinds and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=int, default=1700)
    parser.add_argument("--labels", type=int, default=10)
    parser.add_argument("--clues", type=int, default=200)
    given = parser.parse_args()
    texts = [
        f"A photo of {part['part']} of {value} {attribute}"
        for part in tree_of(given.clues)["parts"]
        for attribute, values in part["attributes"].items()
        for value in values
    ]
    encoder = Planted(given.labels, texts)
    about = {
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs",
        "date": datetime.now(UTC).date().isoformat(),
        "commit": subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=HERE
        ).stdout.strip(),
    }
    with tempfile.TemporaryDirectory() as folder:
        photos = draw_photos(Path(folder), given.images + 30 * given.labels, given.labels)
        rows = []
        for model in ("vote", "forest"):
            rows.append({**measure(model, given, photos, encoder), **about})
            print(rows[-1], flush=True)
    out = HERE / "results" / "explain_page.csv"
    with out.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    page = HERE.parent / "docs" / "_generated" / "explain_page.md"
    page.write_text(table_of(rows), encoding="utf-8")
    print(f"wrote {out} and {page}")


if __name__ == "__main__":
    main()
