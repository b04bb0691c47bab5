"""Whether one ONNX file gives showtell's own labels in a bare Python and in a browser.

A student of each photo set learns from the training photos and is written as one file. Some 500
test photos, and photos resized to odd shapes up to 4000 x 3000, are then labelled three times: by
showtell, by `student_alone.py` in a Python that has only onnxruntime and Pillow, and by
`examples/student.html` in Chromium with onnxruntime-web.

    python -m venv BARE && BARE/bin/pip install onnxruntime pillow
    npm install --prefix WEB onnxruntime-web
    python benchmarks/student_file.py --python BARE/bin/python --web WEB/node_modules [--photos 63]

Writes benchmarks/results/student_file.csv and docs/_generated/student_file.md. Fails if less than
99 % of the labels are showtell's, the median difference of probabilities is .01 or more, or the
browser differs from Python in a label or by more than .001.
"""

from __future__ import annotations

import argparse
import functools
import http.server
import json
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from photo_sets import ROOT, PhotoSet, about, add_options, measured_line, photo_sets, write_csv
from PIL import Image, ImageOps

from showtell.classify import DistilledClassifier, export_student

SHAPES = (
    (1, 1), (3, 2), (60, 90), (90, 60), (640, 200), (200, 640), (1200, 1600), (1600, 1200),
    (3000, 4000), (4000, 3000),
)  # fmt: skip


class Site(http.server.SimpleHTTPRequestHandler):
    """Files with the types that browsers insist on."""

    extensions_map = http.server.SimpleHTTPRequestHandler.extensions_map | {
        ".mjs": "text/javascript",
        ".wasm": "application/wasm",
    }

    def log_message(self, *what: Any) -> None:
        del what


@contextmanager
def browser(site: Path) -> Iterator[Any]:
    """Open Chromium, and tell it and the site's address."""
    from playwright.sync_api import sync_playwright

    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Site, directory=str(site))
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    try:
        with sync_playwright() as p:
            opened = p.chromium.launch(
                executable_path=program, args=["--no-sandbox", "--disable-gpu"]
            )
            yield opened, f"http://127.0.0.1:{server.server_port}"
            opened.close()
    finally:
        server.shutdown()


def in_browser(
    opened: tuple[Any, str], site: Path, file: Path, paths: Sequence[Path]
) -> list[dict[str, Any]]:
    chromium, url = opened
    shutil.copy(file, site / "student.onnx")
    page = chromium.new_page()
    page.goto(f"{url}/student.html")
    page.wait_for_function("window.classify !== undefined")
    found = []
    for number, path in enumerate(paths):
        here = site / f"{number}{path.suffix}"
        shutil.copy(path, here)
        found.append(
            page.evaluate(
                "async (url) => classify(await (await fetch(url, {cache: 'no-store'})).blob())",
                here.name,
            )
        )
        here.unlink()
    page.close()
    return found


def alone(python: str, file: Path, paths: Sequence[Path]) -> list[dict[str, Any]]:
    command = [python, str(ROOT / "benchmarks/student_alone.py"), str(file), *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def reshaped(paths: Sequence[Path], folder: Path, number: int) -> list[Path]:
    """One photo for each shape, another for each set."""
    made = []
    for i, (width, height) in enumerate(SHAPES):
        source = paths[(7 * number + 3 * i) % len(paths)]
        picture = ImageOps.exif_transpose(Image.open(source)).convert("RGB")
        target = folder / f"{width}x{height}.png"
        picture.resize((width, height), Image.Resampling.BICUBIC).save(target, compress_level=1)
        made.append(target)
    return made


def compared(
    data: PhotoSet, kind: str, own: NDArray[Any], bare: Sequence[Any], web: Sequence[Any]
) -> dict[str, Any]:
    python = np.array([row["probabilities"] for row in bare])
    other = np.array([row["probabilities"] for row in web])
    off = np.abs(python - own).max(axis=1)
    between = np.abs(other - python).max(axis=1)
    return {
        "set": data.name,
        "photos": kind,
        "n": len(own),
        "same_as_showtell": int((python.argmax(axis=1) == own.argmax(axis=1)).sum()),
        "median_difference": float(np.median(off)),
        "largest_difference": float(off.max()),
        "browser_same_as_python": sum(
            a["label"] == b["label"] for a, b in zip(bare, web, strict=True)
        ),
        "browser_largest_difference": float(between.max()),
        "differences": " ".join(f"{d:.1e}" for d in off),
    }


def measured(
    data: PhotoSet, number: int, options: argparse.Namespace, store: str, opened: Any, site: Path
) -> list[dict[str, Any]]:
    names = [data.labels[code] for code in data.train_y]
    student = DistilledClassifier(labels=list(data.labels), store=store).fit(
        data.data.train.images, names
    )
    test = [Path(str(image)) for image in data.data.test.images]
    chosen = test[:: max(1, len(test) // options.photos)][: options.photos]
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        file = export_student(student, Path(folder) / "student.onnx")
        odd = reshaped(test, Path(folder), number)
        for kind, paths in (("as they are", chosen), ("reshaped", odd)):
            own = student.predict_proba([str(path) for path in paths])
            rows.append(
                compared(
                    data,
                    kind,
                    own,
                    alone(options.python, file, paths),
                    in_browser(opened, site, file, paths),
                )
            )
    return rows


def totals(rows: Sequence[dict[str, Any]], kind: str) -> dict[str, Any]:
    own = [row for row in rows if row["photos"] == kind]
    off = [float(d) for row in own for d in row["differences"].split()]
    return {
        "n": sum(row["n"] for row in own),
        "same": sum(row["same_as_showtell"] for row in own),
        "median": float(np.median(off)),
        "largest": max(off),
        "web": sum(row["browser_same_as_python"] for row in own),
        "web_largest": max(row["browser_largest_difference"] for row in own),
    }


def missed_bars(rows: Sequence[dict[str, Any]]) -> list[str]:
    missed = []
    kinds = [totals(rows, kind) for kind in ("as they are", "reshaped")]
    for same, n in (
        (kinds[0]["same"], kinds[0]["n"]),
        (sum(t["same"] for t in kinds), sum(t["n"] for t in kinds)),
    ):
        if same < 0.99 * n:
            missed.append(f"{same:.0f} of {n:.0f} labels are showtell's own")
    for t in kinds:
        if t["median"] >= 0.01:
            missed.append(f"probabilities differ by {t['median']:.3f}")
        if t["web"] < t["n"] or t["web_largest"] > 1e-3:
            missed.append(f"the browser differs, by up to {t['web_largest']:.4f}")
    return missed


def as_markdown(rows: Sequence[dict[str, Any]], facts: dict[str, str]) -> str:
    lines = [
        "| photos | same label as showtell | difference of probabilities, median | largest | "
        "Chromium: same label as Python | largest difference |",
        "|---|---|---|---|---|---|",
    ]
    for kind, title in (("as they are", "as they are"), ("reshaped", "1 x 1 to 4000 x 3000")):
        t = totals(rows, kind)
        lines.append(
            f"| {t['n']:.0f} {title} | {t['same']:.0f} | {t['median']:.4f} | {t['largest']:.3f} | "
            f"{t['web']:.0f} | {t['web_largest']:.1e} |"
        )
    names = sorted({row["set"] for row in rows})
    missed = missed_bars(rows)
    lines += [
        "",
        f"Students of {len(names)} photo sets ({', '.join(names)}); the file in a Python that has "
        "only onnxruntime and Pillow, and in Chromium with onnxruntime-web. Differences from "
        "showtell come of a few pixels in 100,000 that round to the next of 256 levels, which the "
        "8-bit network makes visible; pictures that need no resizing give the same to six digits.",
        *(["", "**Missed:** " + "; ".join(missed) + "."] if missed else []),
        "",
        measured_line("student_file", "student_file", facts),
    ]
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_options(parser, "student_file")
    parser.add_argument("--python", required=True, help="a Python with onnxruntime and Pillow only")
    parser.add_argument("--web", type=Path, required=True, help="node_modules with onnxruntime-web")
    parser.add_argument("--photos", type=int, default=63, help="test photos of each set")
    options = parser.parse_args()
    facts = about() | {"remark": options.note}
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        store = options.store or f"{folder}/embeddings.sqlite"
        site = Path(folder) / "site"
        site.mkdir()
        shutil.copy(ROOT / "examples/student.html", site)
        (site / "node_modules").symlink_to(options.web.resolve())
        sets = photo_sets(options.sets, store)
        with browser(site) as opened:
            for number, data in enumerate(sets):
                rows += measured(data, number, options, store, opened, site)
                for row in rows[-2:]:
                    print({k: v for k, v in row.items() if k != "differences"}, flush=True)
    write_csv(options.csv, rows, facts)
    options.markdown.write_text(as_markdown(rows, facts), encoding="utf-8")
    missed = missed_bars(rows)
    print("\n".join(missed) or "all bars reached")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
