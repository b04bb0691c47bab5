"""What was in flight when a process died: written down before, sent again under the same name."""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal

import pytest
from tests.mllm.fakes import ScriptedModel, answer, question

from showtell.errors import MLLMRequestError, MLLMServerError, MLLMTimeoutError, RateLimitedError
from showtell.mllm import Answer, Budget, Client, Journal
from showtell.mllm.call.journal import FILE_NAME


async def no_sleep(seconds):
    await asyncio.sleep(0)


def client(script, journal=None, **more):
    model = ScriptedModel(script)
    return Client(model, journal=journal, sleep=no_sleep, draw=lambda: 0.0, **more), model


def kinds(folder):
    return [json.loads(line)["kind"] for line in (folder / FILE_NAME).read_text().splitlines()]


def test_a_request_is_written_down_before_it_is_sent(tmp_path):
    def script(request, n):
        assert kinds(tmp_path)[-1] == "asking"
        return "cat"

    with Journal(tmp_path) as journal:
        asked, _ = client(script, journal)
        (outcome,) = asked.run([question(1)])
        assert outcome.text == "cat"
        assert (journal.n_requests, journal.n_in_doubt) == (1, 0)
    assert kinds(tmp_path)[-2:] == ["asking", "answer"]


def test_requests_in_flight_when_a_process_died_are_counted_by_the_next(tmp_path):
    with Journal(tmp_path) as journal:
        name = journal.asking(question(1), Decimal("0.02"))
        journal.asking(question(2), None)
        journal.asking(question(3), Decimal("0.01"))
        journal.answer(question(3), answer("cat"))
        assert journal.n_in_doubt == 0  # an answer may still come
    with Journal(tmp_path) as journal:
        assert journal.n_requests == 3
        assert dict(journal.doubts) == {question(1).key: 1, question(2).key: 1}
        assert (journal.in_doubt, journal.n_doubts_unpriced) == (Decimal("0.02"), 1)
        assert journal.asking(question(1), Decimal("0.02")) == name  # the same name again
        journal.answer(question(1), answer("dog"))
        assert journal.n_in_doubt == 2  # it may have been paid for twice
    with Journal(tmp_path) as journal:
        assert (journal.n_in_doubt, journal.n_requests) == (2, 4)


def test_runs_and_answers_that_were_no_use_have_other_names(tmp_path):
    with Journal(tmp_path / "a") as journal:
        first = journal.asking(question(1))
        journal.answer(question(1), answer("cut", finish="length"))
        second = journal.asking(question(1))
        other = journal.asking(question(2))
    with Journal(tmp_path / "b") as journal:
        elsewhere = journal.asking(question(1))
    assert len({first, second, other, elsewhere}) == 4


@pytest.mark.parametrize(
    ("error", "n_in_doubt"),
    [
        (MLLMTimeoutError("no answer"), 2),
        (MLLMServerError("cut"), 2),
        (RateLimitedError("slow down", 0.0), 0),
    ],
)
def test_only_what_may_be_billed_is_in_doubt(tmp_path, error, n_in_doubt):
    with Journal(tmp_path) as journal:
        asked, _ = client(lambda request, n: error if n < 3 else "cat", journal)
        (outcome,) = asked.run([question(1)])
        assert outcome.text == "cat"
        assert (journal.n_in_doubt, journal.n_requests) == (n_in_doubt, 3)
    with Journal(tmp_path) as journal:
        assert (journal.n_in_doubt, journal.n_requests) == (n_in_doubt, 3)


@pytest.mark.parametrize(("error", "n"), [(MLLMRequestError("no"), 0), (MLLMServerError("?"), 5)])
def test_a_request_that_failed_for_good_is_in_doubt_unless_it_was_turned_away(tmp_path, error, n):
    with Journal(tmp_path) as journal:
        asked, _ = client(lambda request, n: error, journal)
        asked.run([question(1)])
        assert journal.n_in_doubt == n
    with Journal(tmp_path) as journal:
        assert journal.n_in_doubt == n


def test_caps_count_what_is_in_doubt_from_earlier_processes(tmp_path):
    with Journal(tmp_path) as journal:
        journal.asking(question(1), Decimal("0.02"))
    with Journal(tmp_path) as journal:
        budget = Budget(max_cost="0.03", spent=journal.spent, in_doubt=journal.in_doubt)
        assert budget.reserve_now(Decimal("0.01")) is not None
        assert budget.reserve_now(Decimal("0.001")) is None


def test_every_try_of_a_request_has_one_name_and_other_requests_have_others():
    asked, model = client(lambda request, n: MLLMTimeoutError("?") if n in (1, 2) else "cat")
    asked.run([question(1)])
    asked.run([question(2)])
    names = [request.idempotency_key for request in model.asked]
    assert names[0] == names[1] == names[2] != names[3]
    again, other = client(lambda request, n: "cat")
    again.run([question(1)])
    assert other.asked[0].idempotency_key not in names  # a run of its own
    assert all(request.key in (question(1).key, question(2).key) for request in model.asked)


# Against the local server, through the vendors' libraries

PROVIDERS = {
    "openai": "gpt-4.1-mini",
    "google": "gemini-2.5-flash",
    "anthropic": "claude-haiku-4-5",
}


@pytest.fixture
def ask_twice(monkeypatch, tmp_path):
    """Ask the same in two runs of one folder, the answer of the first having been lost."""
    pytest.importorskip("pydantic_ai")
    pytest.importorskip("uvicorn", reason="local servers need the extra mllm")
    from tests.mllm.test_mllm_batch import ask
    from tests.mllm.test_mllm_providers import LABELS, shape

    from showtell.mllm import load_mllm
    from showtell.testing import ColourEncoder
    from showtell.testing.servers import LocalServer

    monkeypatch.setenv("OPENAI_API_KEY", "sk-planted-0123456789abcdef")

    def run(provider, **options):
        kind = provider if provider in PROVIDERS else "openai"
        with LocalServer(kind, encoder=ColourEncoder(), **options) as server:
            mllm = load_mllm(f"{kind}:{PROVIDERS[kind]}", base_url=server.base_url)
            request = ask(mllm.name, 0, [shape(label, seed=7) for label in LABELS])
            texts = []
            with Journal(tmp_path) as journal, monkeypatch.context() as patch:
                patch.setattr(Journal, "answer", lambda *args, **more: 0)  # never written down
                texts += [o.text for o in Client(mllm, journal=journal).run([request])]
            with Journal(tmp_path) as journal:
                asking = Client(mllm, journal=journal)
                texts += [o.text for o in asking.run([request]) if isinstance(o, Answer)]
                assert journal.n_in_doubt == 1
                assert 0 < journal.in_doubt < 1
            asking.close()
            return texts, server.stats

    return run


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_server_that_heeds_the_name_answers_again_for_nothing(ask_twice, provider):
    texts, stats = ask_twice(provider)
    assert len(texts) == 2
    assert len(set(texts)) == 1
    assert (stats.n_requests, stats.n_answered, stats.n_replayed) == (2, 1, 1)
    assert set(stats.paid.values()) == {1}


def test_a_server_that_does_not_bills_twice(ask_twice):
    texts, stats = ask_twice("openai", idempotent=False)
    assert len(texts) == 2
    assert (stats.n_requests, stats.n_answered, stats.n_replayed) == (2, 2, 0)
    assert set(stats.paid.values()) == {2}
