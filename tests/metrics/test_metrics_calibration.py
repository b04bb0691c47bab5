"""Calibration: the worked examples, simulation against closed forms, invariances."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax
from sklearn import metrics as sk

from showtell.errors import InputError
from showtell.metrics import (
    PROBABILITY_FLOOR,
    accuracy_interval,
    apply_temperature,
    brier,
    brier_top_label,
    ece,
    ece_interval,
    ece_noise_floor,
    ece_under_calibration,
    fit_temperature,
    log_proba,
    nll,
    reliability_table,
)

CONFIDENCE = [0.95, 0.95, 0.9, 0.85, 0.75, 0.75, 0.65, 0.65, 0.55, 0.55]
CORRECT = [1, 1, 0, 1, 1, 0, 1, 0, 0, 1]

rows = st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60).map(
    lambda pairs: tuple(map(np.array, zip(*pairs, strict=True)))
)


def plain_ece(confidence, correct, n_bins):
    """By the definition, one sample at a time."""
    edges = [i / n_bins for i in range(n_bins + 1)]
    total = 0.0
    for i in range(n_bins):
        members = [
            j
            for j, c in enumerate(confidence)
            if (edges[i] < c - 1e-7 or (i == 0)) and (c - 1e-7 <= edges[i + 1] or i == n_bins - 1)
        ]
        if members:
            gap = np.mean([correct[j] for j in members]) - np.mean([confidence[j] for j in members])
            total += len(members) / len(confidence) * abs(gap)
    return total


# ECE


@pytest.mark.parametrize(("n_bins", "expected"), [(10, 0.175), (5, 0.155), (1, 0.155)])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_ece_matches_the_worked_example(n_bins, expected, dtype):
    assert ece(np.array(CONFIDENCE, dtype), CORRECT, n_bins) == pytest.approx(expected, abs=1e-6)
    assert np.mean(CONFIDENCE) == pytest.approx(0.755)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_confidence_on_an_edge_belongs_to_the_bin_below(dtype):
    confidence = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0], dtype)
    table = reliability_table(confidence, [1] * 10, 10)
    np.testing.assert_array_equal(table.n, [1] * 10)
    np.testing.assert_allclose(table.mean_confidence, confidence, rtol=1e-6)


def test_zero_is_in_the_first_bin_and_one_in_the_last():
    table = reliability_table([0.0, 1.0], [0, 1], 15)
    assert table.n[0] == 1
    assert table.n[-1] == 1


@given(rows, st.integers(1, 20))
def test_ece_equals_the_definition(case, n_bins):
    confidence, correct = case
    assert ece(confidence, correct, n_bins) == pytest.approx(
        plain_ece(confidence, correct, n_bins), abs=1e-9
    )


@given(rows, st.integers(1, 20), st.booleans(), st.randoms(use_true_random=False))
def test_row_order_does_not_matter_even_with_ties(case, n_bins, adaptive, random):
    confidence, correct = case
    confidence = np.round(confidence, 1)
    order = list(range(len(confidence)))
    random.shuffle(order)
    before = ece(confidence, correct, n_bins, adaptive=adaptive)
    after = ece(confidence[order], correct[order], n_bins, adaptive=adaptive)
    assert before == pytest.approx(after, abs=1e-12)


@given(rows, st.integers(1, 12), st.booleans())
def test_ece_is_the_weighted_gap_of_the_reliability_table(case, n_bins, adaptive):
    confidence, correct = case
    table = reliability_table(confidence, correct, n_bins, adaptive=adaptive)
    gap = np.abs(table.accuracy - table.mean_confidence)[table.n > 0]
    weight = table.n[table.n > 0] / len(confidence)
    assert weight @ gap == pytest.approx(ece(confidence, correct, n_bins, adaptive=adaptive))


def test_adaptive_bins_hold_equally_many_samples():
    confidence = np.linspace(0.5, 1.0, 103) ** 2
    table = reliability_table(confidence, np.ones(103), 10, adaptive=True)
    assert table.n.sum() == 103
    assert set(table.n) == {10, 11}
    assert (table.lower[1:] >= table.upper[:-1]).all()
    # two bins of two samples: |1 - .55| and |.5 - .85|, half the weight each
    assert ece([0.5, 0.6, 0.8, 0.9], [1, 1, 0, 1], 2, adaptive=True) == pytest.approx(0.4)


def test_more_adaptive_bins_than_samples_give_one_bin_per_sample():
    assert ece([0.2, 0.9], [1, 1], 15, adaptive=True) == pytest.approx(0.45)
    assert len(reliability_table([0.2, 0.9], [1, 1], 15, adaptive=True).n) == 2


def test_one_constant_confidence_has_the_same_ece_in_any_bins():
    correct = np.arange(40) % 4 == 0
    for n_bins in (1, 3, 15):
        for adaptive in (False, True):
            assert ece([0.8] * 40, correct, n_bins, adaptive=adaptive) == pytest.approx(0.55)


def test_reliability_table_has_wilson_intervals_and_blank_bins():
    table = reliability_table(CONFIDENCE, CORRECT, 10)
    assert table.n.tolist() == [0, 0, 0, 0, 0, 2, 2, 2, 2, 2]
    assert np.isnan(table.accuracy[:5]).all()
    assert np.isnan(table.low[:5]).all()
    assert (table.low[5], table.high[5]) == accuracy_interval(1, 2)
    np.testing.assert_allclose(table.accuracy[5:], [0.5, 0.5, 0.5, 0.5, 1.0])


@pytest.mark.parametrize(
    ("confidence", "correct", "message"),
    [
        ([1.2], [1], "between 0 and 1, got 1.2 in row 0"),
        ([0.5, np.nan], [1, 1], "got nan in row 1"),
        ([0.5], [1, 0], "`confidence` has 1, `correct` has 2"),
        ([], [], "no samples"),
        ([[0.5]], [1], "1-D"),
    ],
)
def test_what_is_no_confidence_is_refused(confidence, correct, message):
    with pytest.raises(InputError, match=message):
        ece(confidence, correct)


def test_bins_and_repeats_must_be_positive():
    with pytest.raises(InputError, match="`n_bins` must be at least 1, got 0"):
        ece([0.5], [1], 0)
    with pytest.raises(InputError, match="`n_repeats`"):
        ece_noise_floor([0.5], n_repeats=0)
    with pytest.raises(InputError, match="`n_resamples`"):
        ece_interval([0.5], [1], n_resamples=0)


# noise floor and interval


def closed_form_floor(confidence, n_bins):
    bin_of = np.minimum((confidence * n_bins).astype(int), n_bins - 1)
    variance = np.bincount(bin_of, weights=confidence * (1 - confidence))
    return np.sqrt(2 / np.pi * variance).sum() / len(confidence)


@pytest.mark.parametrize("n", [5_000, 30_000])  # drawn one by one, and from the normal limit
def test_noise_floor_is_close_to_its_closed_form(n):
    confidence = np.random.default_rng(3).uniform(0.3, 0.99, n)
    floor = ece_noise_floor(confidence, 15, n_repeats=400)
    assert floor == pytest.approx(closed_form_floor(confidence, 15), rel=0.03)


def test_both_ways_of_drawing_agree(monkeypatch):
    confidence = np.random.default_rng(4).uniform(0.4, 1, 3000)
    one_by_one = ece_under_calibration(confidence, n_repeats=2000)
    monkeypatch.setattr("showtell.metrics.calibration._EXACT_UP_TO", 100)
    limit = ece_under_calibration(confidence, n_repeats=2000)
    assert one_by_one.mean() == pytest.approx(limit.mean(), rel=0.03)
    np.testing.assert_allclose(
        np.quantile(one_by_one, [0.05, 0.95]), np.quantile(limit, [0.05, 0.95]), rtol=0.06
    )


def test_a_calibrated_classifier_has_about_its_noise_floor_and_a_bad_one_far_more():
    rng = np.random.default_rng(5)
    confidence = rng.uniform(0.4, 1, 2000)
    calibrated = rng.random(2000) < confidence
    draws = ece_under_calibration(confidence)
    assert np.quantile(draws, 0.001) < ece(confidence, calibrated) < np.quantile(draws, 0.999)
    overconfident = rng.random(2000) < confidence - 0.2
    assert ece(confidence, overconfident) > draws.max()


@pytest.mark.parametrize("adaptive", [False, True])
def test_same_seed_same_floor_and_one_constant_confidence_is_a_binomial(adaptive):
    confidence = [0.5] * 4
    floor = ece_noise_floor(confidence, 1, adaptive=adaptive, n_repeats=20_000)
    assert floor == pytest.approx(0.1875, abs=0.003)  # E|Bin(4, 1/2)/4 - 1/2| = 3/16
    assert floor == ece_noise_floor(confidence, 1, adaptive=adaptive, n_repeats=20_000)
    assert ece_noise_floor([0.0, 1.0, 1.0]) == 0


def test_ece_interval_narrows_with_samples_and_holds_a_clear_gap():
    rng = np.random.default_rng(6)

    def case(n):
        confidence = rng.uniform(0.7, 1, n)
        return confidence, rng.random(n) < confidence - 0.2

    small, large = ece_interval(*case(200)), ece_interval(*case(5000))
    assert large.high - large.low < (small.high - small.low) / 2
    assert large.low < 0.2 < large.high


def test_both_ways_of_bootstrapping_the_ece_agree(monkeypatch):
    rng = np.random.default_rng(7)
    confidence = rng.uniform(0.5, 1, 4000)
    correct = rng.random(4000) < confidence - 0.1
    by_rows = ece_interval(confidence, correct, n_resamples=3000)
    monkeypatch.setattr("showtell.metrics.calibration._EXACT_UP_TO", 100)
    by_bins = ece_interval(confidence, correct, n_resamples=3000)
    np.testing.assert_allclose(by_rows, by_bins, atol=0.002)


# Brier and NLL


def test_brier_of_the_top_label_matches_the_worked_example():
    assert brier_top_label(CONFIDENCE, CORRECT) == pytest.approx(0.25125)


def test_brier_runs_from_zero_to_two():
    assert brier([[1, 0], [0, 1]], [0, 1]) == 0
    assert brier([[1, 0], [0, 1]], [1, 0]) == 2
    assert brier([[1 / 3] * 3], [2]) == pytest.approx(4 / 9 + 1 / 9 + 1 / 9)


@settings(max_examples=40)
@given(st.integers(2, 6), st.integers(2, 30), st.integers(0, 10_000))
def test_brier_and_nll_equal_scikit_learn(n_classes, n, seed):
    rng = np.random.default_rng(seed)
    proba, y = rng.dirichlet(np.ones(n_classes), n), rng.integers(0, n_classes, n)
    assert nll(proba, y) == pytest.approx(sk.log_loss(y, proba, labels=range(n_classes)))
    one_hot = np.eye(n_classes)[y]
    assert brier(proba, y) == pytest.approx(((proba - one_hot) ** 2).sum(axis=1).mean())
    order = rng.permutation(n_classes)
    new_code = np.argsort(order)
    assert nll(proba[:, order], new_code[y]) == pytest.approx(nll(proba, y))
    assert brier(proba[:, order], new_code[y]) == pytest.approx(brier(proba, y))


def test_a_rounded_zero_costs_the_floor_not_infinity():
    assert nll([[1.0, 0.0]], [1]) == pytest.approx(-np.log(PROBABILITY_FLOOR))
    assert nll([[1.0, 0.0]], [0]) == 0


def test_logits_given_as_probabilities_are_refused():
    with pytest.raises(InputError, match="Turn logits into probabilities"):
        nll([[4.0, 0.0]], [0])
    with pytest.raises(InputError, match="NaN in row 0"):
        brier([[np.nan, 0.5]], [0])
    with pytest.raises(InputError, match="must hold numbers"):
        nll([["a", "b"]], [0])


# temperature


def worked_logits():
    logits = np.full((5, 3), 0.0)
    top = [0, 1, 2, 0, 1]
    logits[np.arange(5), top] = 4
    return logits, np.array([0, 1, 2, 0, 2])  # the last one is wrong


def test_temperature_matches_the_worked_example():
    logits, y = worked_logits()
    temperature = fit_temperature(logits, y)
    assert temperature == pytest.approx(4 / np.log(8), abs=1e-5)
    assert temperature == pytest.approx(1.923593, abs=1e-5)
    proba = apply_temperature(logits, temperature)
    np.testing.assert_allclose(proba.max(axis=1), 0.8, atol=1e-6)
    assert nll(apply_temperature(logits, 1), y) == pytest.approx(0.83598, abs=6e-6)
    assert nll(proba, y) == pytest.approx(0.63903, abs=6e-6)


def test_temperature_undoes_a_known_scale_and_ignores_constants():
    rng = np.random.default_rng(8)
    z = rng.normal(0, 2, (20_000, 4))
    y = (softmax(z, axis=1).cumsum(1) < rng.random((20_000, 1))).sum(1)
    plain = fit_temperature(z, y)
    assert plain == pytest.approx(1, abs=0.05)
    assert fit_temperature(z * 7, y) == pytest.approx(7 * plain, rel=1e-5)
    assert fit_temperature(z + rng.normal(size=(20_000, 1)), y) == pytest.approx(plain, rel=1e-5)
    assert fit_temperature(log_proba(softmax(z, axis=1)), y) == pytest.approx(plain, rel=1e-5)
    assert fit_temperature(z.astype(np.float32), y) == pytest.approx(plain, rel=1e-4)


def test_temperature_keeps_the_argmax_and_rows_sum_to_one():
    z = np.random.default_rng(9).normal(size=(50, 6))
    for temperature in (0.02, 1, 50):
        proba = apply_temperature(z, temperature)
        np.testing.assert_array_equal(proba.argmax(1), z.argmax(1))
        np.testing.assert_allclose(proba.sum(1), 1)
    assert apply_temperature([0.01, 0.0], 0.01)[0] == pytest.approx(0.7311, abs=5e-5)


def test_separable_logits_end_at_the_lower_bound_and_hopeless_ones_at_the_upper():
    assert fit_temperature([[5.0, 0.0], [0.0, 5.0]], [0, 1]) == pytest.approx(np.exp(-4))
    assert fit_temperature([[5.0, 0.0], [0.0, 5.0]], [1, 0]) == pytest.approx(np.exp(4))


def test_temperature_needs_finite_logits_and_a_positive_number():
    with pytest.raises(InputError, match="`log_proba`"):
        fit_temperature([[-np.inf, 0.0]], [1])
    for wrong in (0, -1, np.nan, np.inf):
        with pytest.raises(InputError, match="positive number"):
            apply_temperature([[1.0, 2.0]], wrong)
