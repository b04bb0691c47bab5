"""Pages made once, and a browser that refuses every request leaving them."""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from decimal import Decimal

import numpy as np
import pytest
from PIL import Image

from showtell.classify import Predictions
from showtell.evaluate import Record, compare
from showtell.evaluate.curve import ShotCurve, ShotPoint, ShotStep

HOSTILE = "<img src=x onerror=alert(1)>"
COLOURS = {"red": (200, 30, 30), "green": (30, 160, 60), HOSTILE: (40, 60, 200)}
_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def photo_record(folder, *, n=60, name="colours"):
    """A record over real files with hostile names: mistakes, errors, abstentions."""
    rng = np.random.default_rng(0)
    classes = tuple(COLOURS)
    truth = np.arange(n) % 3
    paths = []
    for i in range(n):
        hostile = f"{HOSTILE.replace('/', '')} & 'q' {i}.png"
        path = folder / (hostile if i % 5 == 0 else f"photo {i}.png")
        noise = rng.integers(0, 40, (40, 60, 3))
        pixels = np.clip(np.array(COLOURS[classes[truth[i]]]) + noise, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(path)
        paths.append(str(path))
    logits = rng.normal(size=(n, 3))
    logits[np.arange(n), truth] += 1.2
    proba = (np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)).astype(np.float32)
    codes, confidence = proba.argmax(axis=1).astype(np.int32), proba.max(axis=1)
    status = np.zeros(n, np.int8)
    status[[7, 8]] = 1
    status[[3, 4]], codes[[3, 4]], confidence[[3, 4]] = 2, -1, np.nan
    (folder / "photo 3.png").write_bytes(b"broken")
    return Record(
        predictions=Predictions(
            images=paths,
            classes=classes,
            codes=codes,
            confidence_all=confidence,
            status_codes=status,
            errors={i: f"cannot read {paths[i]}: {HOSTILE} is no image" for i in (3, 4)},
            distinct_proba=proba,
            distinct=np.where(status == 2, -1, np.arange(n)),
        ),
        y_true=truth.astype(np.int32),
        run={"name": name, "estimator": {"class": f"x.{HOSTILE}"}, "finished": "2026-01-02T03:04"},
        cost_usd=Decimal("1.25"),
        media=paths,
    )


def some_curve():
    points = [
        ShotPoint(shots=0, accuracy=0.5, low=0.4, high=0.6, per_seed=(0.5,)),
        ShotPoint(shots=5, accuracy=0.75, low=0.65, high=0.85, per_seed=(0.7, 0.8)),
        ShotPoint(shots=20, accuracy=None, low=None, high=None, per_seed=(), note="not run: few"),
    ]
    step = ShotStep(
        shots_from=0, shots_to=5, difference=0.25, low=0.1, high=0.4, p_value=0.01, p_holm=0.01
    )
    return ShotCurve(points=tuple(points), steps=(step,), seeds=(0, 1), n_test=60)


@pytest.fixture(scope="session")
def record(tmp_path_factory):
    return photo_record(tmp_path_factory.mktemp("photos"))


@pytest.fixture(scope="session")
def page(record, tmp_path_factory):
    """A full report: all sections."""
    path = tmp_path_factory.mktemp("page") / "report.html"
    other = Record(predictions=record.predictions, y_true=record.y_true, run={"name": HOSTILE})
    return record.report(path, curve=some_curve(), comparison=compare([record, other]))


@pytest.fixture(scope="module")  # while it is open, no other test may run an event loop
def chromium():
    playwright = pytest.importorskip("playwright.sync_api")
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("Chromium is not installed (Debian: apt-get install chromium)")
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=program, args=_FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium):
    """Open a page; at the end it must have logged nothing and asked for nothing but itself."""

    @contextmanager
    def opened(path, *, width=1200, height=900, scheme="light"):
        tab = chromium.new_page(
            viewport={"width": width, "height": height},
            color_scheme=scheme,
            reduced_motion="reduce",
        )
        tab.set_default_timeout(10_000)
        said, asked = [], []
        tab.on("console", lambda message: said.append(message.text))
        tab.on("pageerror", lambda error: said.append(str(error)))
        tab.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
        tab.on("request", lambda request: asked.append(request.url))
        tab.goto(path.as_uri())
        try:
            yield tab
        finally:
            tab.close()
        assert said == []
        assert [url for url in asked if not url.startswith("data:")] == [path.as_uri()]

    return opened
