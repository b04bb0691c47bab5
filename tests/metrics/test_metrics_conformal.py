"""Conformal sets: the worked examples, coverage in simulation, the pitfalls."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import softmax

from showtell.errors import InputError
from showtell.metrics import (
    aps_scores,
    conformal_rank,
    conformal_sets,
    conformal_threshold,
    fit_conformal,
    lac_scores,
    score_sets,
)

NINE = [0.05, 0.10, 0.12, 0.20, 0.25, 0.30, 0.45, 0.60, 0.80]


def drawn(rng, n, n_classes=5, scale=1.5):
    """Probabilities that are exactly right, and labels drawn from them."""
    proba = softmax(rng.normal(size=(n, n_classes)) * scale, axis=1)
    y = (proba.cumsum(1) < rng.random((n, 1))).sum(1).clip(0, n_classes - 1)
    return proba, y


@pytest.mark.parametrize(
    ("n", "alpha", "k"),
    [
        (9, 0.2, 8),
        (9, 0.1, 9),
        (9, 0.05, 10),
        (19, 0.05, 19),
        (50, 0.1, 46),
        (100, 0.1, 91),
        (1000, 0.1, 901),
        (99, 0.07, 93),
        (999, 0.07, 930),
        (0, 0.1, 1),
    ],
)
def test_rank_matches_the_worked_examples_without_binary_rounding(n, alpha, k):
    assert conformal_rank(n, alpha) == k


def test_threshold_is_the_kth_smallest_score_and_not_the_common_recipe():
    assert conformal_threshold(NINE, 0.2) == 0.60
    assert np.quantile(NINE, 8 / 9, method="higher") == 0.80
    assert conformal_threshold(NINE[::-1], 0.2) == 0.60
    assert conformal_threshold(NINE, 0.05) == np.inf
    assert conformal_threshold([], 0.1) == np.inf


@given(st.lists(st.floats(0, 1), min_size=1, max_size=60), st.floats(0.01, 0.99))
def test_threshold_equals_sorting(scores, alpha):
    k = conformal_rank(len(scores), alpha)
    expected = np.inf if k > len(scores) else sorted(scores)[k - 1]
    assert conformal_threshold(scores, alpha) == expected


def test_lac_includes_labels_of_probability_one_minus_threshold():
    sets = conformal_sets(lac_scores([[0.4, 0.4, 0.2], [0.39, 0.38, 0.23]]), 0.60)
    np.testing.assert_array_equal(sets.members, [[True, True, False], [True, False, False]])
    np.testing.assert_array_equal(sets.forced, [False, True])
    np.testing.assert_array_equal(sets.size, [2, 1])
    np.testing.assert_array_equal(sets.codes(0), [0, 1])


def test_aps_scores_match_the_worked_example():
    p = [[0.5, 0.3, 0.15, 0.05]]
    np.testing.assert_allclose(aps_scores(p), [[0.5, 0.8, 0.95, 1]])
    np.testing.assert_allclose(aps_scores(p, [0.4]), [[0.2, 0.62, 0.86, 0.97]])
    np.testing.assert_array_equal(conformal_sets(aps_scores(p), 0.85).codes(0), [0, 1])


def test_raps_adds_its_penalty_beyond_the_free_ranks():
    p = [[0.05, 0.5, 0.15, 0.3]]
    plain = aps_scores(p)[0]
    np.testing.assert_allclose(
        aps_scores(p, penalty=0.1, k_free=1)[0] - plain, [0.3, 0, 0.2, 0.1], atol=1e-12
    )


def test_deterministic_aps_never_leaves_a_sure_sample_without_a_label():
    sets = conformal_sets(aps_scores([[0.95, 0.05]]), 0.85)
    np.testing.assert_array_equal(sets.members, [[True, False]])
    assert sets.forced[0]


@given(st.integers(0, 10_000), st.sampled_from(["lac", "aps", "raps"]))
def test_permuting_the_classes_only_permutes_the_members(seed, method):
    rng = np.random.default_rng(seed)
    proba, y = drawn(rng, 60)
    order = rng.permutation(5)
    new_code = np.argsort(order)
    options = {"alpha": 0.2, "method": method, "penalty": 0.05, "k_free": 1}
    here = fit_conformal(proba, y, **options).predict(proba)
    there = fit_conformal(proba[:, order], new_code[y], **options).predict(proba[:, order])
    np.testing.assert_array_equal(here.members[:, order], there.members)


@pytest.mark.parametrize(("method", "size"), [("lac", 2.61), ("aps", 2.75)])
def test_coverage_and_size_in_simulation(method, size):
    rng = np.random.default_rng(20)
    coverage, mean_size = [], []
    for _ in range(300):
        proba, y = drawn(rng, 1200)
        rule = fit_conformal(proba[:200], y[:200], method=method, random_state=rng)
        found = score_sets(rule.predict(proba[200:], random_state=rng), y[200:])
        coverage.append(found.coverage)
        mean_size.append(found.mean_size)
    assert np.mean(coverage) == pytest.approx(0.901, abs=0.01)
    assert np.mean(mean_size) == pytest.approx(size, abs=0.05)


def test_deterministic_sets_repeat_and_are_no_smaller():
    rng = np.random.default_rng(21)
    proba, y = drawn(rng, 3000)
    plain = fit_conformal(proba[:1500], y[:1500], method="aps", randomised=False)
    drawn_sets = fit_conformal(proba[:1500], y[:1500], method="aps", random_state=1)
    first, second = plain.predict(proba[1500:]), plain.predict(proba[1500:], random_state=9)
    np.testing.assert_array_equal(first.members, second.members)
    assert first.size.mean() >= drawn_sets.predict(proba[1500:]).size.mean()
    assert score_sets(first, y[1500:]).coverage > 0.87


def test_per_class_calibration_covers_every_class():
    rng = np.random.default_rng(22)
    proba, y = drawn(rng, 24_000, n_classes=3, scale=2.0)
    proba = proba ** np.array([1.0, 1.0, 3.0])  # class 2 is systematically underrated
    proba /= proba.sum(axis=1, keepdims=True)
    marginal = fit_conformal(proba[:4000], y[:4000])
    within = fit_conformal(proba[:4000], y[:4000], per_class=True)
    overall = score_sets(marginal.predict(proba[4000:]), y[4000:])
    by_class = score_sets(within.predict(proba[4000:]), y[4000:])
    assert overall.coverage == pytest.approx(0.9, abs=0.02)
    assert overall.class_coverage.min() < 0.85
    np.testing.assert_allclose(by_class.class_coverage, 0.9, atol=0.03)
    assert within.n_calibration.sum() == 4000


def test_a_class_with_too_few_samples_is_in_every_set():
    proba = np.tile([0.7, 0.2, 0.1], (30, 1))
    y = np.array([0] * 20 + [1] * 8 + [2] * 2)
    rule = fit_conformal(proba, y, per_class=True)  # needs 9 per class at alpha .1
    assert np.isinf(rule.thresholds).tolist() == [False, True, True]
    assert rule.predict([[0.98, 0.01, 0.01]]).members.tolist() == [[True, True, True]]


def test_too_few_samples_give_the_whole_label_set():
    rule = fit_conformal([[0.9, 0.1]] * 8, [0] * 8)
    assert rule.predict([[1.0, 0.0]]).size.tolist() == [2]


@given(st.integers(0, 10_000), st.floats(0.02, 0.5), st.sampled_from(["lac", "aps", "raps"]))
def test_no_set_is_empty_and_a_smaller_alpha_only_adds_labels(seed, alpha, method):
    rng = np.random.default_rng(seed)
    proba, y = drawn(rng, 80)
    loose = fit_conformal(proba, y, alpha=alpha, method=method).predict(proba)
    strict = fit_conformal(proba, y, alpha=alpha / 2, method=method).predict(proba)
    assert loose.members.any(axis=1).all()
    grown = ~loose.members[~loose.forced] | strict.members[~loose.forced]
    assert grown.all()


def test_set_scores_match_values_computed_by_hand():
    sets = conformal_sets([[0.1, 0.9, 0.9], [0.1, 0.2, 0.9], [0.9, 0.8, 0.7]], 0.5)
    found = score_sets(sets, [0, 1, 0])
    assert found.n_samples == 3
    assert found.coverage == pytest.approx(2 / 3)
    assert found.mean_size == pytest.approx(4 / 3)
    assert (found.n_single, found.n_forced) == (2, 1)
    np.testing.assert_allclose(found.class_coverage, [0.5, 1, np.nan])
    assert found.interval.low < 2 / 3 < found.interval.high


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: conformal_rank(-1, 0.1), "not be negative"),
        (lambda: conformal_threshold([0.1], 1.0), "`alpha` must lie strictly between 0 and 1"),
        (lambda: conformal_threshold([np.nan], 0.1), "without NaN"),
        (lambda: aps_scores([[0.5, 0.5]], [0.1, 0.2]), "one number or 1"),
        (lambda: aps_scores([[0.5, 0.5]], 1.5), "`u` must lie between 0 and 1"),
        (lambda: aps_scores([[0.5, 0.5]], penalty=-1), "not be negative"),
        (lambda: conformal_sets([[0.5, 0.5]], [0.1] * 3), r"one per class \(2\)"),
        (lambda: conformal_sets([[0.5, 0.5]], 0.1, proba=[[0.2] * 3]), "`scores`"),
        (lambda: fit_conformal([[0.5, 0.5]], [0], method="best"), "'lac', 'aps' or 'raps'"),
        (lambda: fit_conformal([[0.5, 0.5]], [0]).predict([[1.0]]), "Calibrated on 2 classes"),
    ],
)
def test_what_cannot_be_calibrated_is_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()
