"""An evolution that is killed with -9 at random moments comes to the end it would have come to."""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from dataclasses import replace
from decimal import Decimal

import pytest

pytest.importorskip("openai", reason="needs the extra openai")
pytest.importorskip("uvicorn", reason="local servers need the extra mllm")
if not hasattr(os, "fork"):
    pytest.skip("needs os.fork", allow_module_level=True)

from tests.killing import Forks

from showtell.classify import EvolvingDescriptionClassifier, read_evolution
from showtell.mllm.call.journal import Journal
from showtell.mllm.model import Model
from showtell.testing import WordEncoder
from showtell.testing.servers import Author, LocalServer

pytestmark = pytest.mark.slow

MODEL = "openai:gpt-4.1-mini"
MARKS = {"tiger": "stripes", "leopard": "spots", "lion": "mane", "zebra": "hooves", "goat": "horns",
         "cat": "whiskers"}  # fmt: skip
WORDS = (*MARKS.values(), "tail", "fur", "paws", "eyes")
NONSENSE = ("grass", "sky", "snow", "sand")


def evolving(model, url, folder):
    """The classifier that every process makes, and its images."""
    encoder = WordEncoder([*WORDS, *NONSENSE])
    clf = EvolvingDescriptionClassifier(
        Model(model, base_url=url, run_folder=folder, cache=None, max_concurrency=3),
        encoder,
        n_generations=4,
        n_candidates=3,
        n_start=4,
        n_replaced=2,
        n_least=1,
        cluster_size=3,
        patience=None,
        calibrate=False,
        random_state=5,
    )
    X = [
        f"{mark} {NONSENSE[(i + k) % 4]} {'fur ' * (k // 4)}"
        for i, mark in enumerate(MARKS.values())
        for k in range(6)
    ]
    return clf, X, [label for label in MARKS for _ in range(6)]


def serve(**options):
    author = Author(words=WORDS, nonsense=NONSENSE)
    encoder = WordEncoder([*WORDS, *NONSENSE])
    return LocalServer("openai", encoder=encoder, author=author, bill_gone=True, **options)


def moment(server, draw):
    """Say when to kill: after some more requests, and then at any moment of a round trip."""
    goal = server.stats.n_requests + draw.randint(1, 9)
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
    return [request for request in server.requests if request.status == 200]


def told(evolution):
    """All generations, without what they cost in the process that ended them."""
    free = {"n_requests": 0, "input_tokens": 0, "output_tokens": 0, "cost_usd": Decimal(0)}
    return [replace(generation, **free) for generation in evolution.generations]


def test_killed_at_any_moment_and_resumed_it_comes_to_the_same_end_and_pays_once(
    repository, tmp_path, monkeypatch
):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-planted-0123456789abcdef")
    draw = random.Random("evolving")
    with serve() as server:
        clf, X, y = evolving(MODEL, server.base_url, tmp_path / "whole")
        clf.fit(X, y)
        answered = Counter(request.key for request in settled(server))
    whole = clf.evolution_
    assert whole.state == "finished"
    assert set(answered.values()) == {1}
    assert sum(answered.values()) >= 4 * 2 * 3  # two groups, three answers
    assert whole.chosen.fitness > whole.start.fitness
    noted = {word for g in whole.generations for words in g.bad_words.values() for word in words}
    assert noted & set(NONSENSE)  # planted, found out, and told
    assert not any(MARKS[label] in g.bad_words.get(label, ()) for g in whole.generations
                   for label in MARKS)  # fmt: skip

    forks, n_kills, doubts = Forks(repository), 0, 0
    try:
        for number in range(2):
            folder = tmp_path / f"run-{number}"
            with serve(latency=0.02, jitter=0.06) as server:
                made = {"folder": str(folder), "model": MODEL, "url": server.base_url}
                for _ in range(8):
                    if not forks.run("evolve", kill_when=moment(server, draw), **made):
                        break
                    n_kills += 1
                else:
                    assert not forks.run("evolve", **made)
                found = read_evolution(folder)
                assert found.state == "finished"
                assert found.best == whole.best
                assert told(found) == told(whole)
                paid = Counter(request.key for request in settled(server))
                assert paid == answered
                with Journal(folder) as journal:
                    doubts += journal.n_in_doubt
                    assert found.cost_usd == journal.spent > 0
    finally:
        forks.close()
    assert n_kills >= 6
    assert doubts  # kills fell while questions were in flight
