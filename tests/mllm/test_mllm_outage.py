"""Servers that do not answer: asked little, waited for in bounds, and said as it was."""

from __future__ import annotations

import asyncio
import random
from decimal import Decimal

import pytest
from tests.mllm.fakes import ScriptedModel, answer, kinds, question, run_virtually

from showtell.errors import (
    MLLMAnswerError,
    MLLMAuthError,
    MLLMRequestError,
    MLLMServerError,
    MLLMTimeoutError,
    MLLMUnreachableError,
    RateLimitedError,
    ServerDownError,
)
from showtell.mllm import Answer, Client, Journal, Settings

REFUSED = MLLMUnreachableError("127.0.0.1:9 refuses connections.")


def ask_all(model, n, **options):
    """Outcomes, what ended the run if something did, the client, and seconds of virtual time."""
    outcomes, stop = [], None
    settings = options.pop("settings", Settings(max_tokens=50))

    async def story(loop):
        nonlocal stop
        client = Client(model, clock=loop.time, draw=lambda: 1.0, **options)
        requests = [question(i, settings=settings) for i in range(n)]
        try:
            await client.map(requests, lambda _, outcome: outcomes.append(outcome))
        except ServerDownError as error:
            stop = error
        return client, loop.time()

    client, seconds = run_virtually(story)
    return outcomes, stop, client, seconds


@pytest.mark.parametrize("n", [1, 34, 5000])
def test_a_server_that_is_not_there_ends_the_run_after_the_tries_of_one_request(n):
    model = ScriptedModel(lambda request, n: REFUSED)
    outcomes, stop, client, seconds = ask_all(model, n)
    assert str(stop) == "127.0.0.1:9 refuses connections. Nothing was sent after that."
    assert outcomes == []
    assert len(model.asked) <= min(n, 16) + 4
    assert seconds == 0.5 + 1 + 2 + 4
    totals = client.totals
    assert (totals.n_unsent, totals.n_in_doubt) == (len(model.asked), 0)


def test_a_server_that_is_started_late_is_asked_everything():
    model = ScriptedModel(lambda request, n: REFUSED if n <= 10 else "cat")
    outcomes, stop, client, _ = ask_all(model, 100)
    assert stop is None
    assert kinds(outcomes) == ["cat"] * 100
    assert client.totals.n_unsent == 10


@pytest.mark.parametrize(
    ("error", "bound"),
    [
        (MLLMServerError("HTTP 503."), 10),
        (MLLMTimeoutError("No answer in time."), 10),
        (RateLimitedError("Too many", 0.0), 130),
        (RateLimitedError("Too many", None), 130),
        (RateLimitedError("Too many", 1e9), 60),
    ],
)
@pytest.mark.parametrize("slots", [1, 16, 64])
def test_a_server_that_answers_nobody_ends_the_run(error, bound, slots):
    model = ScriptedModel(lambda request, n: error)
    outcomes, stop, _, seconds = ask_all(model, 500, max_concurrency=slots)
    assert str(error) in str(stop)
    assert "requests failed" in str(stop)
    assert len(outcomes) <= 2
    assert all(isinstance(o, type(error)) for o in outcomes)
    assert len(model.asked) <= 130
    assert seconds <= 3 * bound
    if slots >= 3:
        assert seconds <= bound


def test_a_server_that_dies_in_the_middle_ends_the_run_and_the_same_run_goes_on(tmp_path):
    dies = ScriptedModel(lambda request, n: "cat" if n <= 40 else MLLMServerError("reset"))
    with Journal(tmp_path) as journal:
        outcomes, stop, client, _ = ask_all(dies, 100, journal=journal)
        assert stop is not None
        assert kinds(outcomes).count("cat") == 40
        n_in_doubt = len(dies.asked) - 40
        assert client.totals.n_in_doubt == journal.n_in_doubt == n_in_doubt
    lives = ScriptedModel()
    with Journal(tmp_path) as journal:
        assert journal.n_in_doubt == n_in_doubt
        outcomes, stop, client, _ = ask_all(lives, 100, journal=journal)
    assert stop is None
    assert len(outcomes) == 100
    assert len(lives.asked) == 60


def test_one_picture_that_a_server_cannot_bear_does_not_end_the_run():
    def script(request, n):
        return MLLMServerError("HTTP 500.") if request.parts[0].text == "Image 3:" else "cat"

    outcomes, stop, _, _ = ask_all(ScriptedModel(script), 20, max_concurrency=1)
    assert stop is None
    assert sorted(kinds(outcomes)) == ["MLLMServerError"] + ["cat"] * 19


def test_refusals_of_requests_are_answers_of_a_server_that_is_there():
    outcomes, stop, client, _ = ask_all(ScriptedModel(lambda r, n: MLLMRequestError("no")), 50)
    assert stop is None
    assert kinds(outcomes) == ["MLLMRequestError"] * 50
    assert (client.totals.n_turned_away, client.totals.n_in_doubt) == (50, 0)


def test_a_slow_server_is_tried_twice_however_long_its_timeout():
    model = ScriptedModel(latency=10_000)
    outcomes, stop, _, seconds = ask_all(model, 1, settings=Settings(timeout=600))
    assert kinds(outcomes) == ["MLLMTimeoutError"]
    assert len(model.asked) == 2
    assert seconds <= 2 * 605 + 1
    model = ScriptedModel(latency=10_000)
    outcomes, stop, _, seconds = ask_all(model, 20, settings=Settings(timeout=120))
    assert stop is not None
    assert seconds <= 2 * 125 + 1


def test_everything_that_was_sent_is_in_one_of_five_lots(tmp_path):
    fates = [
        "cat",
        MLLMTimeoutError("slow"),
        MLLMServerError("cut"),
        RateLimitedError("slow down", 1.0),
        MLLMRequestError("no"),
        MLLMAnswerError("odd"),
        MLLMUnreachableError("refused"),
        "dog",
    ]
    draw = random.Random(0)
    model = ScriptedModel(lambda *_: draw.choice(fates), name="openai:gpt-4.1-mini", cost=None)
    with Journal(tmp_path) as journal:
        _, stop, client, _ = ask_all(model, 200, journal=journal, give_up_after=None)
        totals = client.totals
        lots = (totals.n_answers, totals.n_turned_away, totals.n_unsent, totals.n_in_doubt)
        assert stop is None
        assert sum(lots) == totals.n_requests == len(model.asked) == journal.n_requests
        assert all(n > 10 for n in lots)
        assert totals.n_in_doubt == journal.n_in_doubt
        assert totals.in_doubt_usd == journal.in_doubt > 0
    with Journal(tmp_path) as journal:
        assert (journal.n_in_doubt, journal.in_doubt) == (totals.n_in_doubt, totals.in_doubt_usd)


class Odd:
    """Raises, or answers, what no provider should."""

    name = "toy:odd"

    def __init__(self, make):
        self.make = make

    async def ask(self, request):
        if request.parts[0].text == "Image 1:":
            return self.make()
        return answer("cat")

    async def aclose(self):
        pass


def raising(error):
    def make():
        raise error

    return make


@pytest.mark.parametrize(
    "make",
    [
        *map(raising, (TypeError("None"), KeyError("choices"), RecursionError(), MemoryError())),
        *map(raising, (AttributeError("x"), OverflowError("int"), ZeroDivisionError())),
        lambda: None,
        lambda: answer(None),
        lambda: answer("cat", tokens=(-1, 5)),
        lambda: answer("cat", tokens=(10**30, 5)),
        lambda: answer("cat", cost=Decimal("NaN")),
        lambda: answer("cat", cost=Decimal("-0.5")),
        lambda: answer("cat", finish="done"),
        lambda: answer("cat", probabilities={"cat": float("nan")}),
    ],
)
def test_an_answer_that_cannot_be_read_is_its_own_error_and_nobody_elses(make):
    outcomes, stop, client, _ = ask_all(Odd(make), 5)
    assert stop is None
    assert sorted(kinds(outcomes)) == ["MLLMAnswerError", "cat", "cat", "cat", "cat"]
    (odd,) = (o for o in outcomes if not isinstance(o, Answer))
    assert str(odd).startswith("toy:odd: the answer cannot be read (")
    assert (client.totals.n_answers, client.totals.n_in_doubt) == (4, 1)


def test_stopping_ends_what_waits_at_once_and_finishes_what_is_in_flight():
    async def story(loop):
        def script(request, n):
            number = int(request.parts[0].text.split()[1].rstrip(":"))
            return MLLMServerError("HTTP 503.") if number % 2 else "cat"

        model = ScriptedModel(script, latency=3.0)
        client = Client(model, clock=loop.time, draw=lambda: 1.0, max_concurrency=8)
        outcomes = []
        running = asyncio.ensure_future(
            client.map([question(i) for i in range(1000)], lambda _, o: outcomes.append(o))
        )
        await asyncio.sleep(3.2)  # half of them wait to be tried again, half are in flight
        n_asked = len(model.asked)
        client.stop()
        await running
        return model, n_asked, outcomes, loop.time()

    model, n_asked, outcomes, seconds = run_virtually(story)
    assert len(model.asked) == n_asked
    assert n_asked == 12  # 8, of which 4 were answered and 4 wait, and 4 more
    assert kinds(outcomes).count("cat") == 6
    assert seconds <= 6.5


def test_a_wrong_key_hands_on_what_was_answered_before():
    n_answered = 0

    def script(request, n):
        nonlocal n_answered
        n_answered += 1
        return "cat" if n_answered < 10 else MLLMAuthError("no credit")

    outcomes = []
    with pytest.raises(MLLMAuthError, match="no credit"):
        Client(ScriptedModel(script, latency=0.01), max_concurrency=4).run(
            [question(i) for i in range(50)], lambda _, o: outcomes.append(o)
        )
    assert kinds(outcomes) == ["cat"] * 9
