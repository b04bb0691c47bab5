"""The one path of a call: nothing lost, nothing paid twice, nothing above a limit."""

from __future__ import annotations

import asyncio
import itertools
import math
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.mllm.fakes import ScriptedModel, answer, kinds, question, run_virtually

from showtell.errors import (
    BudgetError,
    InputError,
    MLLMAuthError,
    MLLMRequestError,
    MLLMServerError,
    MLLMTimeoutError,
    RateLimitedError,
)
from showtell.mllm import Answer, Settings, Usage
from showtell.mllm.call.budget import Budget
from showtell.mllm.call.cache import AnswerCache
from showtell.mllm.call.client import Client, is_whole
from showtell.mllm.call.journal import Journal
from showtell.mllm.call.limits import AdaptiveConcurrency, RateLimiter

CENT = Decimal("0.01")


def virtual(loop, model, **options):
    options.setdefault("clock", loop.time)
    return Client(model, **options)


def ask_all(model, requests, on_answer=None, **options):
    """Outcomes and the client, in virtual time."""
    outcomes = []

    def keep(request, outcome):
        outcomes.append((request, outcome))
        return on_answer(request, outcome) if on_answer else None

    async def story(loop):
        client = virtual(loop, model, **options)
        await client.map(requests, keep)
        return client, loop.time()

    client, seconds = run_virtually(story)
    return outcomes, client, seconds


def test_repeated_request_is_answered_once_and_paid_once(tmp_path):
    model = ScriptedModel()
    with AnswerCache(tmp_path / "a.sqlite") as cache:
        client = Client(model, cache=cache)
        first, second = client.run([question(1)])[0], client.run([question(1)])[0]
    assert (first.text, first.usage.cost_usd, first.from_cache) == ("cat", CENT, False)
    assert (second.text, second.usage.cost_usd, second.from_cache) == ("cat", 0, True)
    assert second.usage.n_requests == 0
    assert len(model.asked) == 1
    assert (client.totals.n_answers, client.totals.n_from_cache) == (1, 1)
    assert client.totals.cost_usd == CENT


def test_equal_requests_in_flight_are_sent_once():
    model = ScriptedModel(latency=1.0)
    outcomes, client, _ = ask_all(model, [question(1)] * 20)
    assert len(model.asked) == 1
    assert [o.from_cache for _, o in outcomes].count(False) == 1
    assert sum(o.usage.cost_usd for _, o in outcomes) == CENT
    assert client.totals.n_from_cache == 19


def test_repetitions_of_a_question_are_asked_each():
    model = ScriptedModel()
    ask_all(model, [question(1, sample=i) for i in range(5)])
    assert len(model.asked) == 5


def test_outcomes_of_run_follow_the_order_of_the_requests():
    model = ScriptedModel(lambda request, n: request.parts[0].text)
    delays = itertools.cycle([0.02, 0.0, 0.01])
    ask = model.ask

    async def slow(request):
        await asyncio.sleep(next(delays))
        return await ask(request)

    model.ask = slow
    outcomes = Client(model).run(question(i) for i in range(30))
    assert kinds(outcomes) == [f"Image {i}:" for i in range(30)]


def test_passing_trouble_is_tried_again_up_to_five_times_with_growing_waits():
    model = ScriptedModel(lambda request, n: MLLMServerError("503") if n < 5 else "cat")
    outcomes, client, seconds = ask_all(model, [question(1)], draw=lambda: 1.0)
    assert outcomes[0][1].text == "cat"
    assert outcomes[0][1].attempts == 5
    assert seconds == pytest.approx(0.5 + 1 + 2 + 4)
    assert (client.totals.n_requests, client.totals.n_retried) == (5, 4)
    model = ScriptedModel(lambda request, n: MLLMTimeoutError("slow"))
    outcomes, client, _ = ask_all(model, [question(1)])
    assert len(model.asked) == 5
    assert isinstance(outcomes[0][1], MLLMTimeoutError)
    assert client.totals.n_failed == 1


def test_what_the_provider_will_never_take_is_tried_once_and_stops_no_one_else():
    model = ScriptedModel(
        lambda request, n: MLLMRequestError("too many images") if n == 3 else "cat"
    )
    outcomes, _, _ = ask_all(model, [question(i) for i in range(10)], max_concurrency=1)
    assert len(model.asked) == 10
    assert sorted(kinds([o for _, o in outcomes])) == ["MLLMRequestError"] + ["cat"] * 9


def test_a_wrong_key_stops_the_run_at_once():
    model = ScriptedModel(lambda request, n: MLLMAuthError("no rights"), latency=0.1)
    with pytest.raises(MLLMAuthError):
        ask_all(model, (question(i) for i in range(10_000)), max_concurrency=4)
    assert len(model.asked) == 4


def test_being_told_to_slow_down_does_not_use_up_the_tries():
    model = ScriptedModel(lambda request, n: RateLimitedError("429", 2.0) if n <= 7 else "cat")
    outcomes, client, seconds = ask_all(model, [question(1)], draw=lambda: 0.0)
    assert outcomes[0][1].text == "cat"
    assert seconds == pytest.approx(2 + 2 + 2 + 2 + 4 + 8 + 15)  # never less than it asks for
    assert client.totals.n_rate_limited == client.totals.n_turned_away == 7


ODD_WAITS = [None, 0.0, -3.0, 1e-9, 0.05, math.nan, math.inf, -math.inf]


@pytest.mark.parametrize("asked", ODD_WAITS)
def test_a_provider_that_asks_to_come_back_at_once_is_met_with_growing_waits(asked):
    times = []

    async def story(loop):
        def script(request, n):
            times.append(loop.time())
            return RateLimitedError("429", asked)

        outcomes = []
        client = virtual(loop, ScriptedModel(script), draw=lambda: 1.0)
        await client.map([question(1)], lambda _, outcome: outcomes.append(outcome))
        return outcomes, loop.time()

    outcomes, seconds = run_virtually(story)
    assert kinds(outcomes) == ["RateLimitedError"]
    waits = np.diff(times)
    assert waits[:6] == pytest.approx([0.5, 1, 2, 4, 8, 16], abs=0.1)
    assert (np.diff(waits) >= -0.1).all()
    assert sum(t <= 40 for t in times) <= 8
    assert seconds <= 120  # the timeout of a request


@pytest.mark.parametrize("asked", [130.0, 3600.0, 1e30])
def test_a_wait_that_is_longer_than_patience_is_not_waited_for(asked):
    model = ScriptedModel(lambda request, n: RateLimitedError("429", asked))
    outcomes, _, seconds = ask_all(model, [question(1)])
    assert kinds([o for _, o in outcomes]) == ["RateLimitedError"]
    assert (len(model.asked), seconds) == (1, 0)


def test_patience_with_being_told_to_slow_down_ends():
    model = ScriptedModel(lambda request, n: RateLimitedError("429", 50.0))
    outcomes, _, seconds = ask_all(model, [question(1)], patience=200, draw=lambda: 0.0)
    assert kinds([o for _, o in outcomes]) == ["RateLimitedError"]
    assert seconds == 200


def test_a_provider_that_forgets_its_timeout_is_cut_off():
    model = ScriptedModel(latency=10_000)
    request = question(1, settings=Settings(timeout=3))
    outcomes, _, seconds = ask_all(model, [request], retries=1)
    assert str(outcomes[0][1]) == "toy:scripted gave no answer within 3 s."
    assert seconds == pytest.approx(8)


def test_never_more_in_flight_than_allowed_whatever_happens():
    draw = random.Random(0)

    def script(request, n):
        fate = draw.random()
        if fate < 0.1:
            return RateLimitedError("429", draw.choice([None, 0.5]))
        if fate < 0.2:
            return MLLMServerError("503")
        return "cat"

    model = ScriptedModel(script, latency=0.3)
    outcomes, client, _ = ask_all(model, (question(i) for i in range(500)), max_concurrency=24)
    assert model.peak <= 24
    assert client.concurrency.peak == model.peak
    assert client.concurrency.in_flight == 0
    assert len(outcomes) == 500


def test_a_million_requests_are_not_made_ahead():
    made = []

    def endless():
        for i in itertools.count():
            made.append(i)
            yield question(i)

    done = []

    async def story():
        client = Client(ScriptedModel(latency=0.001), max_concurrency=8)

        def keep(request, outcome):
            done.append(1)
            if len(done) >= 200:
                client.stop()

        await client.map(endless(), keep)

    asyncio.run(story())
    assert 200 <= len(done) <= 208
    assert len(made) <= len(done) + 8 + 2 * 32


def test_requests_are_made_in_another_thread_so_that_answers_are_not_held_up():
    threads, answered = set(), threading.Event()
    came_first = None

    def slowly():
        nonlocal came_first
        for i in range(6):
            threads.add(threading.current_thread().name)
            time.sleep(0.05)  # long enough to be sent alone
            if i == 5:  # the first is answered before the last is made
                came_first = answered.wait(60)
            yield question(i)

    asyncio.run(Client(ScriptedModel()).map(slowly(), lambda request, outcome: answered.set()))
    assert not any(name == "MainThread" for name in threads)
    assert came_first


def test_async_sources_and_callbacks_work_too():
    async def source():
        for i in range(5):
            await asyncio.sleep(0.01)
            yield question(i)

    seen = []

    async def keep(request, outcome):
        await asyncio.sleep(0.01)
        seen.append(outcome.text)

    asyncio.run(Client(ScriptedModel()).map(source(), keep))
    assert seen == ["cat"] * 5


def test_what_a_callback_returns_is_asked_next():
    def on_answer(request, outcome):
        number = int(request.parts[0].text.removeprefix("Image ").removesuffix(":"))
        return [question(10 * number + i) for i in range(2)] if 0 < number < 10 else None

    outcomes, _, _ = ask_all(ScriptedModel(latency=1), [question(1), question(2)], on_answer)
    texts = [request.parts[0].text for request, _ in outcomes]
    assert set(texts) == {f"Image {n}:" for n in (1, 2, 10, 11, 20, 21)}
    assert len(texts) == 6


def test_an_error_in_a_callback_or_a_source_ends_the_run_and_is_raised():
    model = ScriptedModel(latency=0.1)

    def spoil(request, outcome):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        ask_all(model, (question(i) for i in range(1000)), spoil, max_concurrency=3)
    assert len(model.asked) == 3

    closed = []

    def source():
        try:
            yield question(1)
            raise KeyError("bad row")
        finally:
            closed.append(True)

    with pytest.raises(KeyError, match="bad row"):
        Client(ScriptedModel()).run(source())
    assert closed


def test_a_source_is_closed_when_the_run_stops_early():
    closed = threading.Event()

    def source():
        try:
            for i in itertools.count():
                yield question(i)
        finally:
            closed.set()

    with pytest.raises(MLLMAuthError):
        Client(ScriptedModel(lambda r, n: MLLMAuthError("no"))).run(source())
    assert closed.wait(60)


def test_a_budget_stops_the_run_with_everything_in_flight_noted(tmp_path):
    model = ScriptedModel(latency=1.0, cost=None, tokens=(20, 20), name="openai:gpt-4.1-mini")
    requests = [question(i, model="openai:gpt-4.1-mini") for i in range(5000)]
    budget = Budget(max_cost="0.005")
    with Journal(tmp_path) as journal:
        with pytest.raises(BudgetError, match=r"of `max_cost` 0\.005"):
            ask_all(model, requests, budget=budget, journal=journal)
        assert journal.n_requests == len(model.asked)
        assert journal.spent == budget.spent
    each = Decimal("0.40") * 20 / 10**6 + Decimal("1.60") * 20 / 10**6
    assert budget.spent == each * len(model.asked)
    assert Decimal("0.0048") < budget.spent <= Decimal("0.005")


def test_caps_hold_under_64_in_flight_even_when_estimates_are_too_low():
    # The model takes ten times the tokens that were expected.
    model = ScriptedModel(latency=1.0, cost=None, tokens=(3000, 50), name="openai:gpt-4.1-mini")
    budget = Budget(max_cost="0.02")
    requests = (question(i, model="openai:gpt-4.1-mini") for i in range(5000))
    with pytest.raises(BudgetError):
        ask_all(model, requests, budget=budget, max_concurrency=64)
    each = budget.spent / len(model.asked)
    assert budget.spent <= Decimal("0.02") + 64 * each


def test_a_cap_on_requests_is_exact():
    model = ScriptedModel(lambda r, n: MLLMServerError("x") if n % 3 == 0 else "cat", latency=0.2)
    with pytest.raises(BudgetError, match="37 of `max_requests` 37"):
        ask_all(model, (question(i) for i in range(1000)), budget=Budget(max_requests=37))
    assert len(model.asked) == 37


def test_a_dollar_cap_on_a_model_without_known_price_is_refused_before_anything_is_sent():
    model = ScriptedModel(name="openai-compatible:x")
    with pytest.raises(InputError, match="price of this model is not known"):
        ask_all(model, [question(1)], budget=Budget(max_cost=1))
    assert model.asked == []


def test_unknown_prices_stay_unknown_in_the_totals():
    model = ScriptedModel(name="openai-compatible:x", cost=None)
    outcomes, client, _ = ask_all(model, [question(i) for i in range(3)])
    assert all(o.usage.cost_usd is None for _, o in outcomes)
    assert (client.totals.n_unpriced, client.totals.cost_usd) == (3, 0)


def test_a_journal_alone_is_enough_to_resume(tmp_path):
    model = ScriptedModel(lambda r, n: MLLMRequestError("no") if n % 5 == 0 else r.parts[0].text)
    requests = [question(i) for i in range(50)]
    with Journal(tmp_path) as journal:
        ask_all(model, requests[:30], journal=journal, max_concurrency=1)
    n_first = len(model.asked)
    with Journal(tmp_path) as journal:
        outcomes, client, _ = ask_all(model, requests, journal=journal, max_concurrency=1)
    asked = Counter(request.key for request in model.asked)
    answered_first = 30 - 6
    assert n_first == 30
    assert client.totals.n_from_cache == answered_first
    assert sum(count == 2 for count in asked.values()) == 6  # only what had failed
    assert len(outcomes) == 50
    for request, outcome in outcomes:
        assert kinds([outcome]) in ([request.parts[0].text], ["MLLMRequestError"])


def test_answers_from_the_cache_are_noted_in_the_journal_once(tmp_path):
    with AnswerCache(tmp_path / "a.sqlite") as cache:
        ask_all(ScriptedModel(), [question(1)], cache=cache)
        with Journal(tmp_path) as journal:
            ask_all(ScriptedModel(), [question(1)] * 3, cache=cache, journal=journal)
            rows = list(journal.rows("answer"))
    assert [row["from_cache"] for row in rows] == [True]


def test_an_answer_that_fails_the_check_is_returned_but_not_used_again(tmp_path):
    model = ScriptedModel(lambda r, n: "not JSON" if n == 1 else "{}")
    with AnswerCache(tmp_path / "a.sqlite") as cache, Journal(tmp_path) as journal:
        client = Client(
            model, cache=cache, journal=journal, check=lambda request, answer: answer.text == "{}"
        )
        texts = [client.run([question(1)])[0].text for _ in range(3)]
    assert texts == ["not JSON", "{}", "{}"]
    assert len(model.asked) == 2


def test_an_answer_is_whole_if_it_ended_and_says_something():
    assert is_whole(question(), answer("cat"))
    assert is_whole(question(), answer("", probabilities={"cat": 1.0}))
    assert not is_whole(question(), answer(" \n"))
    assert not is_whole(question(), answer("cat", finish="length"))


def test_a_limiter_is_kept_to_and_learns_the_true_tokens():
    model = ScriptedModel(tokens=(100, 10), latency=0.5)

    async def story(loop):
        limiter = RateLimiter(rpm=None, tpm=60_000, clock=loop.time)
        client = virtual(loop, model, limiter=limiter)
        await client.map([question(i) for i in range(2000)])
        return loop.time()

    seconds = run_virtually(story)
    used = 2000 * 110 / (seconds / 60 * 60_000)
    assert 0.93 < used <= 1.02


class Quota:
    """600 requests in any 60 s, as a provider counts them."""

    def __init__(self, loop, rpm, retry_after=True):
        self.loop, self.rpm, self.retry_after = loop, rpm, retry_after
        self.passed = []
        self.n_refused = 0

    def script(self, request, n):
        now = self.loop.time()
        recent = [t for t in self.passed[-self.rpm :] if t > now - 60]
        if len(recent) >= self.rpm:
            self.n_refused += 1
            wait = recent[0] + 60 - now if self.retry_after else None
            return RateLimitedError("429", wait)
        self.passed.append(now)
        return "cat"


@pytest.mark.parametrize("known", [True, False])
def test_at_least_95_percent_of_a_quota_is_used_and_no_request_is_lost(known):
    quota = None

    async def story(loop):
        nonlocal quota
        quota = Quota(loop, 600)
        model = ScriptedModel(quota.script, latency=0.3)
        limiter = RateLimiter(rpm=600, clock=loop.time) if known else None
        client = virtual(loop, model, limiter=limiter)
        outcomes = []
        await client.map((question(i) for i in range(6000)), lambda r, o: outcomes.append(o))
        return outcomes, loop.time()

    outcomes, seconds = run_virtually(story)
    assert kinds(outcomes) == ["cat"] * 6000
    warm = [t for t in quota.passed if 60 <= t < seconds - 60]
    minutes = (warm[-1] - warm[0]) / 60
    assert len(warm) / (minutes * 600) >= 0.95
    if known:
        assert quota.n_refused <= 6


def test_rate_limits_do_not_use_up_a_cap_on_dollars():
    model = ScriptedModel(
        lambda r, n: RateLimitedError("429", 0.1) if n <= 7 else "cat",
        name="openai:gpt-4.1-mini",
        cost=CENT,
    )
    budget = Budget(max_cost="0.02")
    request = question(1, model="openai:gpt-4.1-mini")
    outcomes, _, _ = ask_all(model, [request], budget=budget)
    assert outcomes[0][1].text == "cat"
    assert (budget.spent, budget.in_doubt) == (CENT, 0)


def test_run_works_inside_a_running_event_loop_as_in_a_notebook():
    async def cell():
        return Client(ScriptedModel()).run([question(1), question(2)])

    assert kinds(asyncio.run(cell())) == ["cat", "cat"]


def test_run_works_from_several_threads_at_once():
    client = Client(ScriptedModel(lambda r, n: r.parts[0].text, latency=0.01))
    results = {}

    def work(number):
        results[number] = kinds(client.run([question(100 * number + i) for i in range(20)]))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, texts in results.items():
        assert texts == [f"Image {100 * number + i}:" for i in range(20)]


def test_an_empty_run_ends_and_connections_can_be_closed():
    model = ScriptedModel()
    client = Client(model)
    assert client.run([]) == []
    assert client.run(iter(())) == []
    client.close()
    assert model.closed
    assert repr(client) == "Client('toy:scripted', max_concurrency=64)"


@pytest.mark.parametrize("options", [{"retries": 0}, {"max_concurrency": 0}])
def test_options_out_of_range_are_refused(options):
    with pytest.raises(InputError, match=next(iter(options))):
        Client(ScriptedModel(), **options)


INTERRUPTED = """
import asyncio, os, signal, sys, threading, time
sys.path.insert(0, {root!r})
from showtell.mllm.call.client import Client
from showtell.mllm.call.journal import Journal
from tests.mllm.fakes import ScriptedModel, question

model = ScriptedModel(latency=0.5)
threading.Timer(1.2, os.kill, (os.getpid(), signal.SIGINT)).start()
with Journal({folder!r}) as journal:
    client = Client(model, journal=journal, max_concurrency=8)
    try:
        client.run(question(i) for i in range(100_000))
    except KeyboardInterrupt:
        print(len(model.asked), client.totals.n_answers)
        sys.exit(3)
"""


def test_ctrl_c_finishes_what_is_in_flight_and_leaves_the_journal_complete(tmp_path, repository):
    code = INTERRUPTED.format(root=str(repository), folder=str(tmp_path))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 3, done.stderr
    assert "Traceback" not in done.stderr
    n_asked, n_answers = map(int, done.stdout.split())
    assert n_asked == n_answers > 0
    with Journal(tmp_path) as journal:
        assert journal.n_requests == n_answers
        assert journal.n_damaged == 0


@given(
    seed=st.integers(0, 1000),
    n_requests=st.integers(1, 60),
    n_slots=st.integers(1, 9),
    share=st.floats(0, 0.9),
)
def test_every_request_ends_exactly_once_whatever_goes_wrong(seed, n_requests, n_slots, share):
    draw = random.Random(seed)
    kinds_of_trouble = [
        MLLMServerError("503"),
        MLLMTimeoutError("slow"),
        RateLimitedError("429"),
        RateLimitedError("429", 3.0),
        MLLMRequestError("never"),
    ]

    def script(request, n):
        return draw.choice(kinds_of_trouble) if draw.random() < share else request.parts[0].text

    model = ScriptedModel(script, latency=0.2)
    requests = [question(i) for i in range(n_requests)]
    outcomes, client, _ = ask_all(model, requests, max_concurrency=n_slots, give_up_after=None)
    assert Counter(r.key for r, _ in outcomes) == Counter(r.key for r in requests)
    for request, outcome in outcomes:
        if isinstance(outcome, Answer):
            assert outcome.text == request.parts[0].text
    totals = client.totals
    assert totals.n_answers + totals.n_failed == n_requests
    assert totals.n_requests == len(model.asked)
    assert model.peak <= n_slots


def test_costs_are_added_as_decimals():
    outcomes, client, _ = ask_all(
        ScriptedModel(lambda r, n: answer("x", Decimal("0.1"))), [question(i) for i in range(10)]
    )
    assert client.totals.cost_usd == 1
    assert outcomes[0][1].usage == Usage(
        input_tokens=100, output_tokens=10, cost_usd=Decimal("0.1")
    )


def test_a_given_concurrency_is_used():
    control = AdaptiveConcurrency(start=1, most=2)
    model = ScriptedModel(latency=0.01)
    Client(model, concurrency=control).run([question(i) for i in range(20)])
    assert model.peak == 2
