"""Comparisons and plans: hand values, parity with scipy, brute force."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from showtell.errors import InputError
from showtell.metrics import (
    accuracy_interval,
    detectable_difference,
    detectable_difference_paired,
    fisher_exact,
    holm,
    mcnemar_exact,
    paired_bootstrap,
    paired_power,
    sample_size,
    sample_size_paired,
    sign_flip_test,
)


def paired(both, only_a, only_b, neither):
    """Outcomes of two classifiers with these counts."""
    counts = [both, only_a, only_b, neither]
    return np.repeat([1, 1, 0, 0], counts), np.repeat([1, 0, 1, 0], counts)


# McNemar


def test_mcnemar_counts_and_value_computed_by_hand():
    result = mcnemar_exact(*paired(50, 9, 22, 19))
    counts = (result.n_both_right, result.n_only_a, result.n_only_b, result.n_both_wrong)
    assert counts == (50, 9, 22, 19)
    assert result.n_samples == 100
    assert result.difference == pytest.approx(0.13)
    assert result.p_value == pytest.approx(0.0294, abs=5e-5)  # 9 of 31


@given(*[st.integers(0, 40)] * 4)
def test_mcnemar_equals_the_binomial_test(both, only_a, only_b, neither):
    if both + only_a + only_b + neither == 0:
        neither = 1
    result = mcnemar_exact(*paired(both, only_a, only_b, neither))
    discordant = only_a + only_b
    expected = stats.binomtest(only_a, discordant, 0.5).pvalue if discordant else 1.0
    assert result.p_value == pytest.approx(expected)


def test_swapping_the_two_only_turns_the_sign():
    a, b = paired(30, 3, 12, 5)
    here, there = mcnemar_exact(a, b), mcnemar_exact(b, a)
    assert here.p_value == there.p_value
    assert here.difference == -there.difference
    assert (here.n_only_a, here.n_only_b) == (there.n_only_b, there.n_only_a)


def test_equal_answers_show_no_difference():
    assert mcnemar_exact([1, 0, 1], [1, 0, 1]).p_value == 1.0
    assert mcnemar_exact(*paired(0, 7, 7, 0)).p_value == 1.0


def test_different_lengths_are_refused():
    with pytest.raises(InputError, match="`correct_a` has 2, `correct_b` has 3"):
        mcnemar_exact([1, 0], [1, 0, 1])


# bootstrap


def test_bootstrap_interval_of_accuracies_is_near_the_normal_one():
    a, b = paired(600, 50, 150, 200)
    result = paired_bootstrap(a, b)
    half = 1.96 * np.std(b - a) / np.sqrt(1000)
    assert result.difference == pytest.approx(0.1)
    assert result.low == pytest.approx(0.1 - half, abs=0.002)
    assert result.high == pytest.approx(0.1 + half, abs=0.002)
    assert (result.n, result.n_units, result.n_resamples) == (1000, 1000, 10_000)


def test_counting_values_and_drawing_rows_give_the_same_interval():
    rng = np.random.default_rng(0)
    a, b = paired(60, 10, 20, 10)
    counted = paired_bootstrap(a, b, n_resamples=20_000)
    jitter = rng.normal(0, 1e-9, 100)  # all values differ: rows are drawn
    by_rows = paired_bootstrap(a, b + jitter, n_resamples=20_000)
    assert counted.low == pytest.approx(by_rows.low, abs=0.012)
    assert counted.high == pytest.approx(by_rows.high, abs=0.012)


def test_bootstrap_over_data_sets_and_same_seed_same_interval():
    a, b = [0.5, 0.6, 0.7], [0.6, 0.7, 0.9]
    result = paired_bootstrap(a, b)
    assert result.difference == pytest.approx(0.4 / 3)
    assert result.low == pytest.approx(0.1)
    assert result.high == pytest.approx(0.2, abs=0.034)
    assert result == paired_bootstrap(a, b)
    assert result != paired_bootstrap([0.5, 0.6, 0.71], b)


def test_groups_widen_the_interval_as_if_each_were_one_sample():
    rng = np.random.default_rng(1)
    gain = rng.choice([-1, 0, 1], 50, p=[0.1, 0.6, 0.3])
    a = np.repeat(gain < 0, 20).astype(int)
    b = np.repeat(gain > 0, 20).astype(int)
    apart, together = (
        paired_bootstrap(a, b),
        paired_bootstrap(a, b, groups=np.repeat(range(50), 20)),
    )
    alone = paired_bootstrap(gain < 0, gain > 0)
    assert together.n_units == 50
    assert together.high - together.low == pytest.approx(alone.high - alone.low, abs=0.02)
    ratio = (together.high - together.low) / (apart.high - apart.low)
    assert ratio == pytest.approx(np.sqrt(20), rel=0.1)


def test_a_million_pairs_are_no_trouble():
    rng = np.random.default_rng(2)
    a, b = rng.random(1_000_000) < 0.70, rng.random(1_000_000) < 0.71
    result = paired_bootstrap(a, b)
    assert result.low < 0.01 < result.high
    assert result.high - result.low == pytest.approx(2 * 1.96 * np.sqrt(0.4159 / 1e6), rel=0.05)


def test_bootstrap_refuses_what_has_no_mean():
    with pytest.raises(InputError, match="finite"):
        paired_bootstrap([0.5, np.nan], [0.5, 0.5])
    with pytest.raises(InputError, match="1-D"):
        paired_bootstrap([[0.5]], [[0.5]])
    with pytest.raises(InputError, match="`n_resamples`"):
        paired_bootstrap([0.5], [0.5], n_resamples=0)
    with pytest.raises(InputError, match="`groups` has 2"):
        paired_bootstrap([0.5], [0.5], groups=[1, 2])


# sign flips


@settings(max_examples=30)
@given(st.integers(2, 9), st.integers(0, 10_000))
def test_sign_flips_equal_scipys_exact_permutation_test(n, seed):
    rng = np.random.default_rng(seed)
    a, b = rng.random(n), rng.random(n)
    theirs = stats.permutation_test(
        (a, b), lambda x, y: np.mean(x - y), permutation_type="samples", n_resamples=np.inf
    )
    assert sign_flip_test(a, b) == pytest.approx(theirs.pvalue)


def test_six_data_sets_are_needed_to_pass_five_percent():
    assert sign_flip_test([0.0] * 5, [0.1] * 5) == 2 / 2**5
    assert sign_flip_test([0.0] * 6, [0.1] * 6) == 2 / 2**6


def test_random_flips_are_close_to_all_flips():
    rng = np.random.default_rng(3)
    a = rng.random(16)
    b = a + rng.normal(0.05, 0.1, 16)
    signs = 1 - 2 * (np.arange(2**16)[:, None] >> np.arange(16) & 1)
    exact = np.mean(np.abs(signs @ (b - a)) >= abs((b - a).sum()) - 1e-12)
    assert sign_flip_test(a, b) == pytest.approx(exact, abs=0.01)
    with pytest.raises(InputError, match="`n_resamples`"):
        sign_flip_test(a, b, n_resamples=0)


# Holm and Fisher


def test_holm_matches_values_computed_by_hand():
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm([0.5, 0.9]), [1.0, 1.0])
    assert holm([]).size == 0


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.randoms(use_true_random=False))
def test_holm_keeps_order_and_lies_between_plain_and_bonferroni(p, random):
    p = np.array(p)
    adjusted = holm(p)
    assert (adjusted >= p).all()
    assert (adjusted <= np.minimum(1, p * len(p)) + 1e-15).all()
    order = np.argsort(p)
    assert (np.diff(adjusted[order]) >= 0).all()
    shuffled = list(range(len(p)))
    random.shuffle(shuffled)
    np.testing.assert_array_equal(holm(p[shuffled]), adjusted[shuffled])


def test_holm_refuses_what_is_no_p_value():
    with pytest.raises(InputError, match="between 0 and 1"):
        holm([0.1, np.nan])


def test_fisher_matches_the_worked_examples():
    assert fisher_exact(36, 75, 55, 75) == pytest.approx(0.0025, abs=6e-5)
    assert fisher_exact(55, 75, 68, 75) == pytest.approx(0.0098, abs=6e-5)
    with pytest.raises(InputError, match="got 76 of 75"):
        fisher_exact(76, 75, 1, 75)


# plans


@settings(max_examples=40)
@given(st.floats(0.005, 0.3), st.floats(0, 1))
def test_sample_size_is_the_first_that_is_narrow_enough(half_width, expected):
    z = 1.959963984540054

    def half(n):
        p = expected
        return z * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)

    n = sample_size(half_width, expected=expected)
    assert half(n) <= half_width * (1 + 1e-12)
    assert n == 1 or half(n - 1) > half_width * (1 - 1e-12)


def test_sample_size_agrees_with_the_interval_it_plans():
    n = sample_size(0.03, expected=0.8)
    low, high = accuracy_interval(round(0.8 * n), n)
    assert (high - low) / 2 == pytest.approx(0.03, abs=2e-4)


def brute_power(n, difference, discordance, significance=0.05):
    """Sum over every outcome, with scipy's distributions."""
    total = 0.0
    for m in range(n + 1):
        k = np.arange(m + 1)
        p = np.minimum(1, 2 * stats.binom.cdf(np.minimum(k, m - k), m, 0.5))
        chance = stats.binom.pmf(k, m, (1 + difference / discordance) / 2)
        total += stats.binom.pmf(m, n, discordance) * chance[p <= significance].sum()
    return total


@pytest.mark.parametrize(
    ("n", "difference", "discordance", "significance"),
    [(40, 0.2, 0.2, 0.05), (30, 0.3, 0.5, 0.05), (120, 0.1, 0.2, 0.01), (12, 0.5, 1.0, 0.05)],
)
def test_paired_power_equals_brute_force(n, difference, discordance, significance):
    ours = paired_power(n, difference, discordance, significance=significance)
    assert ours == pytest.approx(brute_power(n, difference, discordance, significance), abs=1e-10)
    assert ours == paired_power(n, -difference, discordance, significance=significance)


def test_paired_power_is_zero_where_the_test_can_never_reject():
    assert paired_power(5, 0.5, 0.5) == 0  # five discordant pairs give .0625 at best


def test_paired_sample_size_reaches_its_power_and_the_one_before_does_not():
    n = sample_size_paired(0.05, 0.15)
    assert n == 498
    assert brute_power(n, 0.05, 0.15) >= 0.8 > brute_power(n - 1, 0.05, 0.15)
    assert sample_size_paired(-0.05, 0.15) == n
    # Connor: (1.959964 √.15 + .841621 √(.15 - .0025))² / .0025 = 468.7
    assert sample_size_paired(0.05, 0.15, method="normal") == 469
    assert sample_size_paired(0.1, 0.15) < n < sample_size_paired(0.05, 0.15, power=0.9)


def test_exact_plan_can_need_fewer_than_the_normal_one_or_more():
    n = sample_size_paired(0.3, 0.3)
    assert paired_power(n, 0.3, 0.3) >= 0.8 > paired_power(n - 1, 0.3, 0.3)


def test_detectable_difference_is_the_inverse_of_the_sample_size():
    n = sample_size_paired(0.08, 0.2)
    assert detectable_difference_paired(n, 0.2) == pytest.approx(0.08, abs=5e-4)
    with pytest.raises(InputError, match="5 samples are too few"):
        detectable_difference_paired(5, 0.5)


def test_seventy_five_samples_show_only_about_thirteen_points():
    # just significant: 13 points if both lie around .8, 14 from .8 downwards
    around = 1.959964 * np.sqrt(2 * 0.8 * 0.2 / 75)
    down = detectable_difference(75, 0.8, power=0.5)
    mean = 0.8 - down / 2
    assert around == pytest.approx(0.128, abs=5e-4)
    assert down == pytest.approx(1.959964 * np.sqrt(2 * mean * (1 - mean) / 75))
    wide = detectable_difference(75, 0.8)
    assert wide > detectable_difference(750, 0.8)
    # simulated: z test on two samples of 75 with that difference rejects 80 % of the time
    rng = np.random.default_rng(4)
    a, b = rng.binomial(75, 0.8, 200_000) / 75, rng.binomial(75, 0.8 - wide, 200_000) / 75
    pooled = (a + b) / 2
    rejected = np.abs(a - b) > 1.959964 * np.sqrt(2 * pooled * (1 - pooled) / 75)
    assert rejected.mean() == pytest.approx(0.8, abs=0.02)


def test_detectable_difference_goes_up_from_a_low_accuracy_and_says_when_there_is_none():
    assert 0 < detectable_difference(100, 0.1) < 0.9
    assert detectable_difference(100, 0.0) == pytest.approx(detectable_difference(100, 1.0))
    with pytest.raises(InputError, match="too few to show any difference"):
        detectable_difference(1, 0.5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: sample_size(0.5), "`half_width` must lie between 0 and 0.5"),
        (lambda: sample_size(0.1, expected=80), "`expected` must lie between 0 and 1, got 80"),
        (lambda: sample_size(1e-6), "More than 100,000,000 samples"),
        (lambda: sample_size_paired(1e-6, 0.2), "More than 100,000,000 samples"),
        (lambda: sample_size_paired(0.3, 0.2), "at most as large as `discordance`"),
        (lambda: sample_size_paired(0.0, 0.2), "must not be 0"),
        (lambda: sample_size_paired(0.1, 0.2, method="best"), "'exact' or 'normal'"),
        (lambda: paired_power(0, 0.1, 0.2), "at least 1"),
        (lambda: detectable_difference(0, 0.5), "at least 1"),
    ],
)
def test_plans_that_cannot_be_made_are_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_the_score_interval_of_a_paired_difference_by_hand():
    from showtell.metrics import paired_difference

    # No sample on which they differ: z² / (n + z²), from (n d)² = z² n d (1 - d).
    z2 = 1.959963984540054**2
    for n in (1, 10, 400):
        found = paired_difference([1] * n, [1] * n)
        assert found.difference == 0
        assert found.high == pytest.approx(z2 / (n + z2), abs=1e-6)
        assert found.low == pytest.approx(-found.high, abs=1e-6)
    # Approval before and after, 1,600 people: 150 changed one way, 86 the other.
    before = [1] * 794 + [1] * 150 + [0] * 86 + [0] * 570
    after = [1] * 794 + [0] * 150 + [1] * 86 + [0] * 570
    found = paired_difference(before, after)
    assert (found.low, found.high) == pytest.approx((-0.0590, -0.0214), abs=5e-5)
    turned = paired_difference(after, before)
    assert (turned.low, turned.high) == pytest.approx((-found.high, -found.low), abs=1e-9)


def test_the_score_interval_holds_the_truth_as_often_as_it_says():
    from showtell.metrics import paired_difference

    rng = np.random.default_rng(0)
    held = 0
    for _ in range(600):
        first = rng.random(80) < 0.7
        second = np.where(rng.random(80) < 0.25, rng.random(80) < 0.5, first)
        found = paired_difference(first, second, level=0.9)
        held += found.low <= 0.25 * (0.5 - 0.7) <= found.high
    assert 0.87 <= held / 600 <= 0.94


@pytest.mark.parametrize("n", [1, 3, 50])
def test_the_score_interval_at_the_ends(n):
    from showtell.metrics import paired_difference

    better = paired_difference([0] * n, [1] * n)
    assert (better.difference, better.high) == (1.0, 1.0)
    assert 0 < better.low + 1 < 2
    wider = paired_difference([0] * n, [1] * n, level=0.99)
    assert wider.low < better.low
