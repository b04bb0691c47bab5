"""Vendor batches: every id comes back, from any process, and nothing is paid twice."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from decimal import Decimal

import pytest

pytest.importorskip("pydantic_ai")
pytest.importorskip("starlette")

from tests.mllm.fakes import ScriptedModel
from tests.mllm.test_mllm_providers import LABELS, SCHEMA, SYSTEM, shape

from showtell.errors import BudgetError, InputError, MLLMError
from showtell.mllm import Answer, ImagePart, Request, Settings, TextPart, load_mllm
from showtell.mllm.call.background import wait_for
from showtell.mllm.call.budget import Budget
from showtell.mllm.call.cache import AnswerCache
from showtell.mllm.call.client import Client
from showtell.mllm.call.journal import Journal
from showtell.mllm.endpoints import endpoint_of
from showtell.mllm.jobs.book import JobBook
from showtell.mllm.jobs.endpoints import FILE_NAME, BatchJobs
from showtell.testing import ColourEncoder
from showtell.testing.servers import Faults, LocalServer


class Died(BaseException):
    """The process ended here."""


KINDS = {"openai": "gpt-4.1-mini", "google": "gemini-2.5-flash", "anthropic": "claude-haiku-4-5"}


@pytest.fixture
def serve():
    running = []

    def start(kind, **options):
        options.setdefault("encoder", ColourEncoder())
        running.append(LocalServer(kind, **options).start())
        return running[-1]

    yield start
    for server in running:
        server.stop()


@pytest.fixture(scope="module")
def shapes() -> list[ImagePart]:
    return [shape(label, seed=7) for label in LABELS]


def load(server, provider, model=None):
    return load_mllm(f"{provider}:{model or KINDS[provider]}", base_url=server.base_url)


def ask(name, number, shapes, **more):
    more.setdefault("settings", Settings(max_tokens=100))
    return Request(
        model=name,
        system=SYSTEM,
        parts=(
            TextPart(text=f"Image q{number}:"),
            shapes[number % 3],
            TextPart(text=f"End of image q{number}."),
        ),
        schema=SCHEMA,
        **more,
    )


def run(model, folder, requests, **options):
    found = {}
    options.setdefault("poll_every", 0.05)
    jobs = BatchJobs(model, folder, **options)
    jobs.run(requests, lambda key, outcome: found.setdefault(key, []).append(outcome))
    model_found = dict(found.items())
    assert all(len(outcomes) == 1 for outcomes in model_found.values())
    return {key: outcomes[0] for key, outcomes in model_found.items()}


def right(outcome, number):
    (row,) = json.loads(outcome.text)["answers"]
    return (row["id"], row["label"]) == (f"q{number}", LABELS[number % 3])


@pytest.mark.parametrize("provider", KINDS)
def test_all_answers_come_back_under_their_own_key_at_the_batch_price(
    serve, provider, tmp_path, shapes
):
    server = serve(provider, batch_delay=0.1)
    model = load(server, provider)
    requests = [ask(model.name, i, shapes) for i in range(20)]
    with Journal(tmp_path) as journal, AnswerCache(tmp_path / "a.sqlite") as cache:
        found = run(model, tmp_path, requests, journal=journal, cache=cache, max_requests=8)
        assert len(found) == 20
        for number, request in enumerate(requests):
            assert right(found[request.key], number)
        single = Client(model).run([ask(model.name, 99, shapes)])[0]
        batched = found[requests[0].key].usage
        assert batched.cost_usd is not None
        assert batched.cost_usd < single.usage.cost_usd
        assert journal.n_requests == 20
        assert journal.spent == sum(outcome.usage.cost_usd for outcome in found.values())
        # Whatever asks the same later, asks nobody.
        n_requests = server.stats.n_requests
        again = Client(model, journal=journal).run(requests)
        assert all(outcome.from_cache for outcome in again)
        assert all(o.from_cache for o in Client(model, cache=cache).run(requests))
        assert all(o.from_cache for o in run(model, tmp_path, requests, cache=cache).values())
        assert server.stats.n_requests == n_requests
    assert [row["kind"] for row in _rows(tmp_path)].count("intent") == 3


def _rows(folder):
    return [json.loads(line) for line in (folder / FILE_NAME).read_text().splitlines()]


def key_at(server, request):
    """Under which an answer of this server is kept."""
    return replace(request, endpoint=endpoint_of(server.base_url, None)).key


@pytest.mark.parametrize("provider", KINDS)
def test_a_job_may_be_handed_in_and_collected_by_different_processes(
    serve, provider, tmp_path, shapes
):
    server = serve(provider, batch_delay=0.2)
    model = load(server, provider)
    requests = [ask(model.name, i, shapes) for i in range(6)]

    async def first():
        jobs = BatchJobs(load(server, provider), tmp_path)
        assert await jobs.submit(requests) == 6
        assert await jobs.submit(requests) == 0  # they are under way
        state = await jobs.poll()
        await jobs.mllm.aclose()
        return state

    async def later():
        jobs = BatchJobs(load(server, provider), tmp_path)
        while (await jobs.poll()).n_ended < 1:
            await asyncio.sleep(0.05)
        found = {key: outcome async for key, outcome in jobs.collect()}
        again = [key async for key, _ in jobs.collect()]
        await jobs.mllm.aclose()
        return found, again

    assert wait_for(first()).n_requests == 6
    found, again = wait_for(later())
    assert again == []
    assert all(right(found[key_at(server, r)], i) for i, r in enumerate(requests))
    text = (tmp_path / FILE_NAME).read_text()
    assert "no-key" not in text
    assert len(text) < 20_000  # no image in it


@pytest.mark.parametrize("provider", KINDS)
def test_failed_requests_of_a_job_are_errors_of_their_own(
    serve, provider, tmp_path, shapes, monkeypatch
):
    monkeypatch.setattr("showtell.mllm.jobs.endpoints._UNTIL_LISTED", 0.1)
    monkeypatch.setattr("showtell.mllm.call.limits.random.random", lambda: 0.0)
    server = serve(provider, faults=Faults(server_error=0.3), seed=3)
    model = load(server, provider)
    requests = [ask(model.name, i, shapes) for i in range(24)]
    found = run(model, tmp_path, requests)
    kinds = Counter(isinstance(outcome, Answer) for outcome in found.values())
    assert kinds[True] > 2
    assert kinds[False] > 2
    for i, request in enumerate(requests):
        outcome = found[request.key]
        assert right(outcome, i) if isinstance(outcome, Answer) else isinstance(outcome, MLLMError)
    wait_for(model.aclose())


@pytest.mark.parametrize("provider", KINDS)
def test_a_job_whose_number_was_never_learnt_is_found_again(
    serve, provider, tmp_path, shapes, monkeypatch
):
    monkeypatch.setattr("showtell.mllm.jobs.endpoints._UNTIL_LISTED", 0.2)
    server = serve(provider, batch_delay=0.1)
    model = load(server, provider)
    requests = [ask(model.name, i, shapes) for i in range(5)]
    others = [ask(model.name, 100 + i, shapes) for i in range(5)]
    run(model, tmp_path / "others", others)  # somebody else's job at the same provider

    def die(self, kind, job, handle):
        raise Died

    with monkeypatch.context() as patch:
        patch.setattr(JobBook, "note_handle", die)
        with pytest.raises(Died):
            wait_for(BatchJobs(model, tmp_path).submit(requests))
    n_requests = server.stats.n_requests
    found = run(load(server, provider), tmp_path, requests)
    assert all(right(found[request.key], i) for i, request in enumerate(requests))
    assert server.stats.n_answered == 10, server.stats
    assert n_requests >= 0


@pytest.mark.parametrize("provider", KINDS)
def test_a_job_that_never_arrived_is_handed_in_again(
    serve, provider, tmp_path, shapes, monkeypatch
):
    monkeypatch.setattr("showtell.mllm.jobs.endpoints._UNTIL_LISTED", 0.1)
    server = serve(provider)
    model = load(server, provider)
    requests = [ask(model.name, i, shapes) for i in range(4)]
    jobs = BatchJobs(model, tmp_path)

    async def lose(*args, **kwargs):
        raise Died

    async def die_before():
        connected = jobs.mllm.connect()
        monkeypatch.setattr(connected, "batch_create", lose)
        await jobs.submit(requests)

    with pytest.raises(Died):
        wait_for(die_before())
    assert [row["kind"] for row in _rows(tmp_path)][-1] == "intent"
    found = run(load(server, provider), tmp_path, requests)
    assert all(right(found[request.key], i) for i, request in enumerate(requests))
    assert server.stats.n_answered == 4


def test_caps_count_jobs_by_their_estimate(serve, tmp_path, shapes):
    server = serve("openai")
    model = load(server, "openai")
    budget = Budget(max_cost="0.0004")
    requests = [ask(model.name, i, shapes) for i in range(100)]
    with pytest.raises(BudgetError):
        wait_for(BatchJobs(model, tmp_path, budget=budget, max_requests=2).submit(requests))
    handed_in = sum(len(row["keys"]) for row in _rows(tmp_path) if row["kind"] == "intent")
    assert 0 < handed_in < 20
    assert budget.in_doubt <= Decimal("0.0004")


def test_a_torn_line_and_junk_in_the_folder_are_passed_over(serve, tmp_path, shapes):
    server = serve("openai")
    model = load(server, "openai")
    requests = [ask(model.name, i, shapes) for i in range(3)]
    run(model, tmp_path, requests)
    with (tmp_path / FILE_NAME).open("a") as file:
        file.write('{"kind":"handle","tag":"nowhere"}\n[]\n{"kind":"inten')
    jobs = BatchJobs(model, tmp_path)
    assert jobs.pending == set()
    assert (tmp_path / FILE_NAME).read_text().endswith("\n")


def test_models_without_a_batch_endpoint_are_refused(tmp_path):
    with pytest.raises(InputError, match="has no batch endpoint"):
        BatchJobs(load_mllm("ollama:llava"), tmp_path)
    with pytest.raises(InputError, match="loaded by name"):
        BatchJobs(ScriptedModel(), tmp_path)


KILLED = """
import sys
sys.path.insert(0, {root!r})
import showtell.mllm.jobs.endpoints as batch
batch._UNTIL_LISTED = 1.5
from pathlib import Path
from showtell.mllm import load_mllm
from showtell.mllm.call.journal import Journal
from tests.mllm.test_mllm_batch import ask
from tests.mllm.test_mllm_providers import LABELS, shape
shapes = [shape(label, seed=7) for label in LABELS]
model = load_mllm({model!r}, base_url={url!r})
print("ready", flush=True)
with Journal({folder!r}) as journal:
    jobs = batch.BatchJobs(model, {folder!r}, journal=journal, max_requests=4, poll_every=0.05)
    jobs.run([ask(model.name, i, shapes) for i in range(12)], lambda key, outcome: None)
print("done", flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("provider", KINDS)
def test_killed_at_random_moments_nothing_is_lost_or_paid_twice(
    serve, provider, tmp_path, shapes, repository
):
    server = serve(provider, batch_delay=0.3)
    draw = random.Random(provider)
    name = f"{provider}:{KINDS[provider]}"
    code = KILLED.format(
        root=str(repository), model=name, url=server.base_url, folder=str(tmp_path)
    )
    said = ""
    for attempt in range(9):
        process = subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert process.stdout.readline().strip() == "ready", process.stderr.read()
        if attempt < 5:
            time.sleep(draw.random() * 0.6)
            os.kill(process.pid, signal.SIGKILL)
        said, _ = process.communicate(timeout=300)
        if "done" in said:
            break
    assert "done" in said
    with Journal(tmp_path) as journal:
        for i in range(12):
            assert right(journal.find(key_at(server, ask(name, i, shapes))), i)
    assert server.stats.n_answered == 12
