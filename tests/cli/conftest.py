"""The command line on drawn shapes and an encoder whose answers are known: it sees colours."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from typer.testing import CliRunner

import showtell.encoders.registry as registry
from showtell.cli.main import app
from showtell.testing import ColourEncoder, make_images

LABELS = ("red circle", "green triangle", "blue square")


@pytest.fixture(autouse=True)
def loaded(monkeypatch):
    """The name "mini" means the colour encoder here; what was asked for is listed."""
    asked = []
    original = registry._load

    def load(name, precision, threads):
        asked.append((name, precision, threads))
        return ColourEncoder() if name == "mini" else original(name, precision, threads)

    monkeypatch.setattr(registry, "_load", load)
    monkeypatch.setattr(registry, "_loaded", {})
    return asked


@pytest.fixture(autouse=True)
def workplace(tmp_path, monkeypatch):
    """An empty working directory, and no setting of the machine's."""
    import os

    for name in os.environ:
        if name.startswith("SHOWTELL_") and name != "SHOWTELL_CACHE_DIR":
            monkeypatch.delenv(name)
    place = tmp_path / "work"
    place.mkdir()
    monkeypatch.chdir(place)
    return place


@pytest.fixture
def cli():
    """Run the command line in this process: ``cli("classify", folder, "--labels", "a,b")``."""

    def run(*arguments, stdin=None, env=None):
        return CliRunner().invoke(app, [str(a) for a in arguments], input=stdin, env=env)

    return run


@pytest.fixture
def shapes(workplace) -> Path:
    """``shapes/`` with three pictures of each of three labels."""
    make_images("shapes", labels=LABELS, n_per_label=3)
    return Path("shapes")


@pytest.fixture
def parted(workplace) -> Path:
    """``parted/`` with train/ and test/, four and two pictures per label."""
    make_images("parted/train", labels=LABELS, n_per_label=4, seed=1)
    make_images("parted/test", labels=LABELS, n_per_label=2, seed=50)
    return Path("parted")


@pytest.fixture
def rows():
    """Read CSV text to a list of dicts."""
    return lambda text: list(csv.DictReader(io.StringIO(text)))
