"""Promises: the numbers of exact binomial tests, walks from dear to cheap, and words."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from showtell.classify.chain.promise import (
    SHARES,
    Promise,
    loss_bound,
    most_errors,
    smallest_sample,
    starts_for,
    thresholds_of,
    walk_accuracy,
    walk_loss,
)
from showtell.errors import InputError, UnknownNameError

LEVELS = (0.2, 0.15, 0.1, 0.05, 0.02, 0.01)
TABLE = {
    50: (5, 3, 1, -1, -1, -1),
    100: (13, 8, 4, 1, -1, -1),
    200: (30, 21, 12, 4, 0, -1),
    400: (66, 47, 29, 12, 3, 0),
    1000: (178, 131, 84, 38, 12, 4),
}
SIX = (1, 0.5, 0.3, 0.2, 0.1, 0)


@pytest.mark.parametrize("n", TABLE)
def test_most_errors_are_those_of_the_published_table(n):
    assert tuple(most_errors(n, level) for level in LEVELS) == TABLE[n]


@given(st.integers(1, 600), st.floats(0.005, 0.5), st.floats(0.01, 0.2))
def test_one_error_more_would_not_pass(n, level, delta):
    k = most_errors(n, level, delta=delta)
    assert k == -1 or binom.cdf(k, n, level) <= delta
    assert binom.cdf(k + 1, n, level) > delta


def test_the_smallest_samples():
    assert [smallest_sample(a) for a in (0.1, 0.05, 0.02, 0.01)] == [29, 59, 149, 299]
    assert [smallest_sample(a, delta=0.1) for a in (0.1, 0.05, 0.02, 0.01)] == [22, 45, 114, 230]
    with pytest.raises(InputError, match="above 0 and below 1; got 0"):
        smallest_sample(0.0)


def test_a_walk_ends_at_the_first_failure():
    walk = walk_accuracy([1, 2, 3, 4, 7, 12], 100, 0.1, shares=SIX)
    assert walk.chosen == 3
    np.testing.assert_allclose(
        walk.p_values[:5], [0.0003, 0.0019, 0.0078, 0.0237, 0.2061], atol=6e-5
    )
    assert math.isnan(walk.p_values[5])
    failed = walk_accuracy([6, 3, 2, 4], 100, 0.1, shares=(1, 0.5, 0.3, 0.2))
    assert failed.chosen is None  # although the second alone would pass


def test_two_starts_share_the_risk_and_the_cheapest_wins():
    errors = [9, 9, 9, 9, 9, 9, 9, 2, 2, 3, 30, 40, 50, 60]
    one = walk_accuracy(errors, 200, 0.05, starts=(1.0,))
    assert one.chosen is None
    two = walk_accuracy(errors, 200, 0.05, starts=(1.0, 0.3))
    assert SHARES[two.chosen] == 0.2
    assert binom.cdf(3, 200, 0.05) <= 0.025
    assert starts_for(149, 0.1) == (1.0,)
    assert starts_for(150, 0.1) == (1.0, 0.3)


@pytest.mark.parametrize("level", [0.05, 0.02, 0.01])
@pytest.mark.parametrize("n", [60, 149, 150, 182, 183, 217, 299, 300, 367, 368, 400])
def test_what_is_not_refused_can_be_promised_if_no_image_is_an_error(n, level):
    nothing = [0] * len(SHARES)
    if n >= smallest_sample(level):
        starts = starts_for(n, level)
        assert walk_accuracy(nothing, n, level, starts=starts).chosen == len(SHARES) - 1
    if n >= smallest_sample(level, kind="loss"):
        starts = starts_for(n, level, kind="loss")
        assert walk_loss(nothing, nothing, n, level, starts=starts).chosen == len(SHARES) - 1
    else:
        assert walk_loss(nothing, nothing, n, level).chosen is None


def test_the_bound_on_a_loss_is_that_of_clopper_and_pearson():
    assert round(loss_bound(4, 1, 400), 5) == 0.02534
    assert loss_bound(400, 0, 400) == 1.0
    walk = walk_loss([0, 1, 4, 20], [0, 0, 1, 0], 400, 0.026, shares=(1, 0.5, 0.3, 0))
    assert walk.chosen == 2


def test_thresholds_are_quantiles_of_other_traffic():
    confidence = np.linspace(0.01, 1, 100)
    thresholds = thresholds_of(confidence, (1.0, 0.5, 0.05, 0.0))
    assert thresholds[0] == math.inf
    assert thresholds[-1] == -math.inf
    assert [(confidence < t).mean() for t in thresholds] == [1.0, 0.5, 0.05, 0.0]
    with pytest.raises(InputError, match="at least one image"):
        thresholds_of(np.array([]))


@pytest.mark.parametrize("starts", [(1.0,), (1.0, 0.3)])
def test_a_promise_is_broken_in_at_most_a_share_of_delta(starts):
    """2,000 calibrations of one simulated cascade; the rule of thumb breaks far more often."""
    rng = np.random.default_rng(0)
    true = np.array(
        [0.06, 0.065, 0.07, 0.08, 0.09, 0.1, 0.105, 0.11, 0.12, 0.13, 0.14, 0.15, 0.2, 0.3]
    )
    n, level, delta, runs = 200, 0.1, 0.05, 2000
    u = rng.random((runs, n))
    errors = (u[:, None, :] < true[None, :, None]).sum(axis=2)
    broken = naive = 0
    for own in errors.tolist():
        chosen = walk_accuracy(own, n, level, delta=delta, starts=starts).chosen
        broken += chosen is not None and true[chosen] > level
        fits = [i for i, e in enumerate(own) if e / n <= level]
        naive += bool(fits) and true[max(fits)] > level
    assert broken / runs <= delta + 2 * math.sqrt(delta * (1 - delta) / runs)
    assert naive / runs > 4 * delta


def test_a_promise_says_what_it_is():
    promise = Promise(
        kind="accuracy", target=0.95, confidence=0.95, n=400, errors=9, p_value=0.008,
        threshold=0.81, routed=0.17,
    )  # fmt: skip
    assert promise.ok
    assert "At least 95 % right" in promise.sentence()
    assert "9 errors among 400" in promise.sentence()
    assert "17 % of the images go to the teacher" in promise.sentence()
    none = Promise(
        kind="accuracy", target=0.99, confidence=0.95, n=200, errors=None, p_value=None,
        threshold=None, routed=None,
    )  # fmt: skip
    assert not none.ok
    assert "No promise" in none.sentence()
    assert "at least 299 calibration images" in none.sentence()


@pytest.mark.parametrize("threshold", [0.5, math.inf, -math.inf, None])
def test_a_promise_comes_back_from_json(threshold):
    promise = Promise(
        kind="loss", target=0.02, confidence=0.95, n=400, errors=3, p_value=0.01,
        threshold=threshold, routed=0.2, parts={"tier 0": "abc"},
    )  # fmt: skip
    assert Promise.from_record(json.loads(json.dumps(promise.to_record()))) == promise
    with pytest.raises(UnknownNameError):
        Promise.from_record({**promise.to_record(), "kind": "certain"})
