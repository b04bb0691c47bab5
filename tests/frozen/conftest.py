"""A place with the images of then, the plugin that the fixtures name, and no setting of now."""

from __future__ import annotations

import os

import pytest
from tests.frozen import frozen


@pytest.fixture
def place(tmp_path, monkeypatch):
    """The working directory, as commands found it then."""
    for name in os.environ:
        if name.startswith(("SHOWTELL_", "OPENAI_")) and name != "SHOWTELL_CACHE_DIR":
            monkeypatch.delenv(name)
    monkeypatch.setenv("OPENAI_API_KEY", frozen.KEY)
    plugin = tmp_path / "plugins" / "frozen_plugins-1.0.dist-info"
    plugin.mkdir(parents=True)
    (plugin / "METADATA").write_text("Metadata-Version: 2.1\nName: frozen-plugins\nVersion: 1.0\n")
    (plugin / "entry_points.txt").write_text(frozen.PLUGINS)
    monkeypatch.syspath_prepend(str(plugin.parent))
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    frozen.copy_data(work)
    return work


@pytest.fixture
def server():
    """Looks at colours, and makes none of the mistakes that the server of then made."""
    pytest.importorskip("uvicorn", reason="local servers need the extra mllm")
    pytest.importorskip("openai", reason="needs the extra openai")
    with frozen.make_server() as running:
        yield running
