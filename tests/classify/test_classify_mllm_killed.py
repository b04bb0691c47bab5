"""Killed with -9 at random moments, again and again: nothing is lost, nothing is paid for twice.

The server bills an answer even if the process that asked was dead when it was ready, as vendors
do. So of a request in flight it cannot be known here whether it was paid for; what can be done is
to have written down before that it was sent, and to send it again under the same name.
"""

from __future__ import annotations

import dataclasses
import json
import os
import random
import time
from collections import Counter

import pytest

pytest.importorskip("pydantic_ai")
pytest.importorskip("uvicorn", reason="local servers need the extra mllm")
if not hasattr(os, "fork"):
    pytest.skip("needs os.fork", allow_module_level=True)

from tests.killing import Forks, batch_requests, classifier, inputs

from showtell.mllm.call.journal import Journal
from showtell.mllm.endpoints import endpoint_of
from showtell.testing import ColourEncoder
from showtell.testing.servers import LocalServer

MODELS = {
    "openai": "openai:gpt-4.1-mini",
    "google": "google:gemini-2.5-flash",
    "anthropic": "anthropic:claude-haiku-4-5",
}


@pytest.fixture(scope="module", autouse=True)
def _keys():
    with pytest.MonkeyPatch.context() as patch:
        for name in ("OPENAI", "GOOGLE", "ANTHROPIC"):
            patch.setenv(f"{name}_API_KEY", "sk-planted-0123456789abcdef")
        yield


@pytest.fixture(scope="module")
def forks(repository, _keys):
    running = Forks(repository)
    yield running
    running.close()


def serve(kind, **options):
    return LocalServer(kind, encoder=ColourEncoder(), bill_gone=True, **options)


def moment(server, draw, most):
    """Say when to kill: after some more requests, and then at any moment of a round trip."""
    goal = server.stats.n_requests + draw.randint(1, most)
    due = []

    def is_due():
        if not due and server.stats.n_requests >= goal:
            due.append(time.monotonic() + draw.random() * 0.08)
        return bool(due) and time.monotonic() >= due[0]

    return is_due


def settled(server):
    """Wait until the server has done with what dead processes asked."""
    until = time.monotonic() + 60
    while server.stats.in_flight and time.monotonic() < until:
        time.sleep(0.01)
    return server.stats


def killed_until_done(forks, server, draw, n_kills, job, most=8, **arguments):
    """Run a job that is killed up to `n_kills` times; count the kills."""
    n_killed = 0
    while n_killed < n_kills:
        if not forks.run(job, kill_when=moment(server, draw, most), **arguments):
            return n_killed
        n_killed += 1
    assert not forks.run(job, **arguments)
    return n_killed


def classify_killed(
    forks, tmp_path, kind, method, images_per_request, *, seed, n_kills, idempotent=True
):
    """Yield each run that was killed and resumed until its end: server, folder, arguments."""
    draw, number = random.Random(f"{kind} {method} {seed}"), 0
    while n_kills > 0:
        folder = tmp_path / f"run-{number}"
        number += 1
        with serve(kind, latency=0.02, jitter=0.06, idempotent=idempotent) as server:
            made = {
                "method": method,
                "images_per_request": images_per_request,
                "folder": str(folder),
            }
            made |= {"model": MODELS[kind], "url": server.base_url}
            made["n"] = 40 if images_per_request == 1 else 90
            n_killed = killed_until_done(forks, server, draw, min(n_kills, 10), "classify", **made)
            del made["n"]
            assert n_killed > 0
            n_kills -= n_killed
            rows = json.loads((folder / "rows.json").read_text())
            assert [row["status"] for row in rows] == ["ok"] * len(rows)
            assert [row["label"] for row in rows] == inputs(len(rows))[1]
            yield settled(server), made, len(rows)


def key_at(url, request):
    """Under which a request to this server stands in the journal."""
    return dataclasses.replace(request, endpoint=endpoint_of(url, None)).key


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "method", "images_per_request"),
    [("openai", "direct", 1), ("google", "direct", 3), ("anthropic", "in-context", 3)],
)
def test_no_query_is_lost_or_paid_for_twice_where_the_server_knows_a_request_again(
    forks, tmp_path, kind, method, images_per_request
):
    doubts = replays = 0
    for stats, made, n in classify_killed(
        forks, tmp_path, kind, method, images_per_request, seed=1, n_kills=50
    ):
        assert len(stats.paid_images) == n
        assert Counter(stats.paid_images.values()) == {1: n}
        with Journal(made["folder"]) as journal:
            assert journal.n_requests == len(list(journal.rows("asking")))
            doubts += journal.n_in_doubt
        replays += stats.n_replayed
    assert doubts >= 50  # the kills fell while requests were in flight
    assert replays > 0


@pytest.mark.parametrize(
    "n_kills", [6, pytest.param(50, marks=pytest.mark.slow)], ids=["short", "whole"]
)
def test_what_may_be_paid_twice_is_known_one_by_one_where_the_server_forgets(
    forks, tmp_path, n_kills
):
    paid_twice = doubts = 0
    for stats, made, n in classify_killed(
        forks, tmp_path, "openai", "direct", 1, seed=2, n_kills=n_kills, idempotent=False
    ):
        assert len(stats.paid_images) == n
        asked = list(classifier(**{**made, "folder": None}).requests(inputs(n)[0]))
        key_of = {
            part.digest: key_at(made["url"], r)
            for r in asked
            for part in r.parts
            if hasattr(part, "digest")
        }
        with Journal(made["folder"]) as journal:
            for digest, n_paid in stats.paid_images.items():
                assert n_paid <= 1 + journal.doubts[key_of[digest]]
            known = [r for r in journal.rows("asking") if r["key"] in journal.doubts]
            assert all("estimate_usd" in row for row in known)
            assert journal.in_doubt > 0
            doubts += journal.n_in_doubt
        paid_twice += stats.paid_images.total() - n
        assert paid_twice <= doubts
    assert doubts > 0
    assert paid_twice > 0 or n_kills < 30  # else this would say nothing


@pytest.mark.slow
@pytest.mark.parametrize("kind", MODELS)
def test_no_query_of_a_batch_job_is_lost_or_paid_for_twice(forks, tmp_path, kind):
    draw, n_kills, number = random.Random(kind), {"openai": 68}.get(kind, 66), 0
    while n_kills > 0:
        folder = tmp_path / f"run-{number}"
        number += 1
        with serve(kind, batch_delay=0.15) as server:
            made = {"folder": str(folder), "model": MODELS[kind], "url": server.base_url}
            n_killed = killed_until_done(
                forks, server, draw, min(n_kills, 10), "hand_in", most=6, n=12, **made
            )
            assert n_killed > 0
            n_kills -= n_killed
            with Journal(folder) as journal:
                keys = [key_at(server.base_url, r) for r in batch_requests(MODELS[kind], 12)]
                assert all(map(journal.knows, keys))
            stats = settled(server)
            assert stats.n_answered == 12
            assert Counter(stats.paid.values()) == {1: 12}
