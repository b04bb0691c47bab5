"""Fusion through each vendor's own library, asked of servers that look at what they are sent."""

from __future__ import annotations

from pathlib import Path

import pytest

from showtell.classify import FusionClassifier
from showtell.mllm.model import Model
from showtell.testing import ColourEncoder, make_images

pytest.importorskip("pydantic_ai", reason="needs the extra mllm")
servers = pytest.importorskip("showtell.testing.servers")

LABELS = ["red circle", "green triangle", "blue square"]
VENDORS = ("openai", "google", "anthropic", "ollama")

pytestmark = pytest.mark.filterwarnings("ignore::showtell.classify.LimitsWarning")


@pytest.fixture
def photos(tmp_path):
    make_images(tmp_path / "shapes", labels=LABELS, n_per_label=2)
    paths = sorted(str(path) for path in (tmp_path / "shapes").rglob("*.png"))
    return paths, [Path(path).parent.name for path in paths]


@pytest.mark.parametrize("vendor", VENDORS)
def test_every_wire_carries_both_questions(vendor, photos, monkeypatch):
    paths, y = photos
    for name in ("OPENAI", "GOOGLE", "ANTHROPIC"):
        monkeypatch.setenv(f"{name}_API_KEY", "sk-local")
    with servers.LocalServer(vendor, encoder=ColourEncoder(), rule="nearest") as server:
        clf = FusionClassifier(
            Model(f"{vendor}:try", base_url=server.base_url, cache=None),
            ColourEncoder(),
            labels=LABELS,
        ).fit()
        found = clf.classify(paths)
        assert found.status.tolist() == ["ok"] * len(paths), found.errors
        assert found.label.tolist() == y
        assert server.stats.n_requests == 2 * len(paths)
    assert all(text and not any(label in text for label in LABELS)
               for text in found.columns["description"])  # fmt: skip
    assert set(found.columns["guess"]) <= set(LABELS)


def test_spoiled_answers_become_right_rows_or_error_rows(photos, monkeypatch):
    paths, y = photos
    monkeypatch.setenv("OPENAI_API_KEY", "sk-local")
    faults = servers.Faults(broken_json=0.3, refuse=0.2, server_error=0.1)
    with servers.LocalServer(
        "openai", encoder=ColourEncoder(), rule="nearest", faults=faults
    ) as server:
        clf = FusionClassifier(
            Model("openai:try", base_url=server.base_url, cache=None),
            ColourEncoder(),
            labels=LABELS,
        ).fit()
        found = clf.classify(paths * 2)
    assert len(found) == 2 * len(paths)
    for label, truth, status in zip(found.label, y * 2, found.status, strict=True):
        assert status in ("ok", "error")
        assert label == (truth if status == "ok" else "")
    assert all(found.errors[row] for row, s in enumerate(found.status) if s == "error")
