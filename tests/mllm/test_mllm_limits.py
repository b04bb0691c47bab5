"""Budgets, rates, concurrency and back-off, in virtual time."""

from __future__ import annotations

import asyncio
import pickle
import random
import statistics
from collections import deque
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.mllm.fakes import run_virtually

from showtell.errors import BudgetError, InputError
from showtell.mllm.call.budget import Budget
from showtell.mllm.call.limits import AdaptiveConcurrency, RateLimiter, backoff

CENT = Decimal("0.01")


def test_a_budget_counts_spent_in_flight_and_the_next_request():
    budget = Budget(max_cost=Decimal("0.05"))
    one, two = budget.reserve_now(2 * CENT), budget.reserve_now(2 * CENT)
    assert budget.reserve_now(2 * CENT) is None  # may fit once the others are known
    budget.settle(one, CENT)
    budget.settle(two, CENT)
    assert (budget.spent, budget.in_flight, budget.n_in_flight) == (2 * CENT, 0, 0)
    three = budget.reserve_now(3 * CENT)
    budget.settle(three, 3 * CENT)
    with pytest.raises(BudgetError, match=r"0\.0500 of `max_cost` 0\.05 USD.*`max_cost`") as error:
        budget.reserve_now(CENT)
    assert str(pickle.loads(pickle.dumps(error.value))) == str(error.value)


def test_a_request_dearer_than_what_is_left_is_refused_even_with_others_in_flight():
    budget = Budget(max_cost="0.05")
    budget.reserve_now(CENT)
    with pytest.raises(BudgetError):
        budget.reserve_now(6 * CENT)


def test_requests_that_broke_off_go_on_counting_by_their_estimate():
    budget = Budget(max_cost="0.05")
    budget.settle(budget.reserve_now(2 * CENT), None, in_doubt=True)
    assert (budget.spent, budget.in_doubt, budget.n_unpriced) == (0, 2 * CENT, 0)
    with pytest.raises(BudgetError, match="in doubt"):
        budget.reserve_now(4 * CENT)


def test_unknown_prices_are_counted_and_cannot_be_capped_in_dollars():
    budget = Budget(max_requests=5)
    budget.settle(budget.reserve_now(None), None)
    assert (budget.n_unpriced, budget.n_requests) == (1, 1)
    with pytest.raises(InputError, match="`max_requests` instead"):
        Budget(max_cost=1).reserve_now(None)


def test_a_cap_on_requests_counts_every_one_sent_also_before_a_resume():
    budget = Budget(max_requests=3, n_requests=1)
    for _ in range(2):
        budget.settle(budget.reserve_now(None), Decimal(0))
    with pytest.raises(BudgetError, match=r"3 of `max_requests` 3.*`max_requests`"):
        budget.reserve_now(None)


@pytest.mark.parametrize(
    "caps",
    [
        {"max_cost": -1},
        {"max_cost": "a lot"},
        {"max_cost": float("nan")},
        {"max_cost": True},
        {"max_requests": -1},
        {"max_requests": 1.5},
    ],
)
def test_caps_that_are_no_amounts_are_refused(caps):
    with pytest.raises(InputError, match=next(iter(caps))):
        Budget(**caps)


def test_a_waiting_request_goes_on_when_those_in_flight_were_cheaper():
    async def story(loop):
        budget = Budget(max_cost="0.05")
        first = await budget.reserve(4 * CENT)
        waiting = asyncio.ensure_future(budget.reserve(3 * CENT))
        await asyncio.sleep(1)
        assert not waiting.done()
        budget.settle(first, CENT)
        return await waiting

    assert run_virtually(story).estimate == 3 * CENT


@given(seed=st.integers(0, 10_000), n=st.sampled_from([1, 3, 64]))
def test_a_cap_is_never_passed_by_more_than_estimates_were_wrong(seed, n):
    draw = random.Random(seed)
    budget = Budget(max_cost="1.00")
    excess = Decimal(0)

    async def one():
        nonlocal excess
        while True:
            estimate = Decimal(draw.randint(1, 9)) * CENT
            reservation = await budget.reserve(estimate)
            assert budget.spent + budget.in_flight <= Decimal("1.00") + excess
            await asyncio.sleep(draw.random())
            cost = Decimal(draw.randint(0, 9)) * CENT
            excess += max(Decimal(0), cost - estimate)
            budget.settle(reservation, cost)

    async def story(loop):
        return await asyncio.gather(*(one() for _ in range(n)), return_exceptions=True)

    ends = run_virtually(story)
    assert all(isinstance(end, BudgetError) for end in ends)
    assert budget.n_in_flight == 0
    assert budget.spent <= Decimal("1.00") + excess
    assert budget.spent > Decimal("0.80")


def test_backoff_doubles_and_is_jittered_within_half():
    waits = [[backoff(n) for _ in range(200)] for n in (1, 2, 3, 4)]
    for n, some in enumerate(waits):
        assert 0.25 * 2**n <= min(some)
        assert max(some) <= 0.5 * 2**n
        assert statistics.pstdev(some) > 0.05 * 2**n
    assert backoff(2000) <= 30


def test_backoff_never_comes_before_the_provider_asked():
    waits = [backoff(1, retry_after=8) for _ in range(200)]
    assert min(waits) >= 8
    assert max(waits) <= 9
    assert backoff(1, retry_after=0.0) >= 0.05


def most_in_any_window(times, amounts, window=60.0):
    """Largest sum of amounts in any half-open window."""
    inside, total, most = deque(), 0.0, 0.0
    for when, amount in zip(times, amounts, strict=True):
        inside.append((when, amount))
        total += amount
        while inside[0][0] <= when - window:
            total -= inside.popleft()[1]
        most = max(most, total)
    return most


@pytest.mark.parametrize(
    ("rpm", "tpm"), [(600, None), (None, 1_000_000), (600, 1_000_000), (3, None)]
)
def test_no_minute_sees_more_than_the_quota_and_few_see_less(rpm, tpm):
    draw = random.Random(0)
    sizes = [draw.randint(500, 4000) for _ in range(6000 if rpm != 3 else 20)]
    sent = []

    async def story(loop):
        limiter = RateLimiter(rpm=rpm, tpm=tpm, clock=loop.time)

        async def one(size):
            await limiter.acquire(size)
            sent.append((loop.time(), size))

        await asyncio.gather(*(one(size) for size in sizes))

    run_virtually(story)
    times = [when for when, _ in sent]
    assert times == sorted(times)
    used = []
    if rpm:
        assert most_in_any_window(times, [1] * len(sent)) <= rpm
        used.append(len(sent) / (times[-1] / 60 * rpm))
    if tpm:
        assert most_in_any_window(times, [size for _, size in sent]) <= tpm + 4000
        used.append(sum(size for _, size in sent) / (times[-1] / 60 * tpm))
    assert max(used) > 0.95 if rpm != 3 else True


def test_requests_pass_in_the_order_they_came():
    order = []

    async def story(loop):
        limiter = RateLimiter(rpm=60, clock=loop.time)

        async def one(number):
            await limiter.acquire()
            order.append(number)

        await asyncio.gather(*(one(n) for n in range(10)))

    run_virtually(story)
    assert order == list(range(10))


def test_a_request_larger_than_the_bucket_goes_when_the_bucket_is_full():
    now = [0.0]
    limiter = RateLimiter(tpm=6000, clock=lambda: now[0])  # the bucket holds 100
    assert limiter.delay(500) == 0
    assert limiter.delay(10) == pytest.approx((500 - 100 + 10) / (5900 / 60))


def test_what_a_request_really_took_corrects_the_estimate():
    now = [0.0]
    limiter = RateLimiter(tpm=6000, clock=lambda: now[0])
    limiter.delay(100)
    limiter.correct(100, 20)
    assert limiter.delay(80) == 0
    assert limiter.delay(1) > 0


def test_a_cancelled_wait_gives_its_place_back():
    async def story(loop):
        limiter = RateLimiter(rpm=60, clock=loop.time)
        await limiter.acquire()
        waiting = asyncio.ensure_future(limiter.acquire())
        await asyncio.sleep(0.1)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        return limiter.delay()

    assert run_virtually(story) < 1.0


def test_a_limiter_without_limits_never_waits():
    limiter = RateLimiter()
    assert [limiter.delay(10**9) for _ in range(3)] == [0, 0, 0]
    with pytest.raises(InputError, match="`rpm` must be above 0"):
        RateLimiter(rpm=0)


def test_concurrency_multiplies_until_told_to_slow_down_then_creeps():
    now = [0.0]
    control = AdaptiveConcurrency(start=4, most=64, cooldown=5, clock=lambda: now[0])
    for _ in range(4):
        control.succeeded()
    assert control.limit == 12
    sent_at = now[0]
    control.in_flight = 12
    control.limited(sent_at)
    assert control.limit == 8  # 0.7 x 12
    now[0] = 1.0
    for _ in range(11):
        control.limited(sent_at)  # the others of the same round say nothing new
    assert (control.limit, control.n_shrunk) == (8, 1)
    control.succeeded()
    assert control.limit == 8  # cooldown
    now[0] = 6.0
    for _ in range(9):
        control.succeeded()
    assert control.limit == 9


def in_flight_over_time(times, *, refuse_at=None, n=100, **options):
    """Ask a server that takes an hour; how many are in flight at each time, in seconds."""

    async def story(loop):
        control = AdaptiveConcurrency(clock=loop.time, **options)

        async def one():
            sent_at = await control.acquire()
            try:
                if refuse_at is not None and loop.time() <= refuse_at:
                    await asyncio.sleep(refuse_at - loop.time())
                    control.limited(sent_at)
                await asyncio.sleep(3600)
            finally:
                control.release()

        tasks = [asyncio.ensure_future(one()) for _ in range(n)]
        found = []
        for when in times:
            await asyncio.sleep(when - loop.time())
            found.append(control.in_flight)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return found, control

    return run_virtually(story)


def test_concurrency_doubles_while_nobody_refuses_and_does_not_wait_for_answers():
    times = [0.01, 0.06, 0.11, 0.16, 10]
    found, control = in_flight_over_time(times, start=8, most=50, pace=0.05)
    assert found == [8, 16, 32, 50, 50]
    assert control.peak == 50


def test_concurrency_does_not_double_where_nothing_waits_for_room():
    found, control = in_flight_over_time([0.01, 10], start=8, most=50, n=8)
    assert found == [8, 8]
    assert control.limit == 8


def test_concurrency_doubles_no_more_once_somebody_refused():
    found, control = in_flight_over_time([0.01, 0.06, 60], start=8, most=50, refuse_at=0.07)
    assert found == [8, 16, 16]
    assert (control.limit, control.n_shrunk) == (11, 1)  # 0.7 x 16


def test_concurrency_doubles_again_in_another_event_loop():
    """A loop that ended before the time was up leaves nothing behind that hinders the next."""
    control = AdaptiveConcurrency(start=1, most=2, pace=0.01)

    async def hold_one_and_wait(until):
        await control.acquire()
        waiting = asyncio.ensure_future(control.acquire())
        try:
            await asyncio.wait([waiting], timeout=until)
            return waiting.done()
        finally:
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
            control.release()

    assert not asyncio.run(hold_one_and_wait(0))
    assert asyncio.run(hold_one_and_wait(30))


def test_concurrency_stays_between_one_and_the_most():
    control = AdaptiveConcurrency(start=100, most=8)
    assert control.limit == 8
    for _ in range(99):
        control.succeeded()
    assert control.limit == 8
    for _i in range(99):
        control.limited(float("inf"))
    assert control.limit == 1
    for options in ({"start": 0}, {"most": 0}):
        with pytest.raises(InputError, match="at least 1"):
            AdaptiveConcurrency(**options)


def test_nothing_is_sent_while_the_provider_asks_to_wait():
    async def story(loop):
        control = AdaptiveConcurrency(start=4, most=4, clock=loop.time)
        sent_at = await control.acquire()
        control.release()
        control.limited(sent_at, 7.5)
        await control.acquire()
        return loop.time()

    assert run_virtually(story) == pytest.approx(7.5)


@given(st.lists(st.sampled_from(["ok", "limited", "cancel"]), min_size=1, max_size=80))
def test_slots_are_never_lost_and_never_too_many(fates):
    control = None
    peak = [0, 0]

    async def one(fate):
        sent_at = await control.acquire()
        peak[0] += 1
        peak[1] = max(peak[1], peak[0])
        try:
            await asyncio.sleep(0.3)
            if fate == "ok":
                control.succeeded()
            else:
                control.limited(sent_at, 0.1)
        finally:
            peak[0] -= 1
            control.release()

    async def story(loop):
        nonlocal control
        control = AdaptiveConcurrency(start=3, most=7, clock=loop.time)
        tasks = [asyncio.ensure_future(one(fate)) for fate in fates]
        for task, fate in zip(tasks, fates, strict=True):
            if fate == "cancel":
                loop.call_later(0.2, task.cancel)
        await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 10_000)

    run_virtually(story)
    assert control.in_flight == 0
    assert peak[1] <= 7
    assert control.peak == peak[1]
