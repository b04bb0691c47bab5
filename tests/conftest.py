"""Shared by all tests: no outside network, no writing to the real cache, the shared photo sets."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from hypothesis import settings

REPOSITORY = Path(__file__).resolve().parent.parent
SHARED_DATASETS = REPOSITORY.parent / "shared" / "datasets"
SHARED_DATA = REPOSITORY.parent / "shared" / "data"

# A busy machine is no failure: drawn cases have no time limit of their own.
settings.register_profile("showtell", deadline=None)
settings.load_profile("showtell")


@pytest.fixture(autouse=True)
def _no_network(request, monkeypatch):
    """Refuse outside connections, except in tests marked `network` or `live`."""
    if {"network", "live"} & {mark.name for mark in request.node.iter_markers()}:
        return
    connect = socket.socket.connect

    def guarded(self, address):
        if self.family == socket.AF_UNIX or address[0] in {"127.0.0.1", "::1", "localhost"}:
            return connect(self, address)
        raise AssertionError(f"Offline test tried to reach {address[0]}; use a fake or mark it.")

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    """Every test has its own embedding store."""
    monkeypatch.setenv("SHOWTELL_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="session")
def shared_datasets() -> Path:
    """Folder of the shared labelled photo sets."""
    if not SHARED_DATASETS.is_dir():
        pytest.skip(
            f"shared photo sets are not at {SHARED_DATASETS.relative_to(REPOSITORY.parent)}"
        )
    return SHARED_DATASETS


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of published raw answers and descriptors."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"published answers are not at {SHARED_DATA.relative_to(REPOSITORY.parent)}")
    return SHARED_DATA


@pytest.fixture(scope="session")
def repository() -> Path:
    """Root of the checkout."""
    return REPOSITORY
