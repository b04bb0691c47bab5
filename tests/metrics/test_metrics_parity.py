"""Our metrics against SciPy and scikit-learn on random inputs: the same numbers to 1e-12.

The library functions load slowly, take one pair at a time or know no "no answer", so what is quick
and vectorised here stays; these tests say that it is the same thing.
"""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sk

from showtell import metrics as m

CLOSE = {"rtol": 1e-12, "atol": 1e-12}
SEEDS = range(20)


def drawn(seed):
    """Probabilities, true codes and answered codes (-1 for none) of 5 to 200 samples."""
    rng = np.random.default_rng(seed)
    n, k = int(rng.integers(5, 200)), int(rng.integers(2, 8))
    proba = rng.dirichlet(np.full(k, 0.5), n)
    true = rng.integers(0, k, n)
    answer = np.where(rng.random(n) < 0.1, -1, rng.integers(0, k, n))
    return rng, k, proba, true, answer


@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
def test_wilson_intervals_are_those_of_binomtest(confidence):
    rng = np.random.default_rng(0)
    n = np.r_[1, 1, 2, 1000, rng.integers(1, 3000, 60)]
    k = np.r_[0, 1, 1, 1000, rng.integers(0, n[4:] + 1)]
    low, high = m.wilson_interval(k, n, confidence)
    for i in range(len(n)):
        test = stats.binomtest(int(k[i]), int(n[i]))
        expected = test.proportion_ci(confidence, method="wilson")
        np.testing.assert_allclose((low[i], high[i]), (expected.low, expected.high), **CLOSE)


@pytest.mark.parametrize("seed", SEEDS)
def test_scores_are_those_of_scikit_learn(seed):
    _, k, _, true, answer = drawn(seed)
    for macro_over, labels in (("present", None), ("all", list(range(k)))):
        ours = m.scores(true, answer, k, macro_over=macro_over)
        answered_labels = np.union1d(true, answer[answer >= 0]) if labels is None else labels
        theirs = sk.precision_recall_fscore_support(
            true, answer, labels=answered_labels, average="macro", zero_division=0
        )[:3]
        mine = (ours.macro_precision, ours.macro_recall, ours.macro_f1)
        np.testing.assert_allclose(mine, theirs, **CLOSE)
    each = sk.precision_recall_fscore_support(true, answer, labels=range(k), zero_division=0)
    table = ours.per_class
    for mine, theirs in zip(
        (table.precision, table.recall, table.f1, table.support), each, strict=True
    ):
        np.testing.assert_allclose(mine, theirs, **CLOSE)
    weighted = sk.precision_recall_fscore_support(
        true, answer, labels=range(k), average="weighted", zero_division=0
    )[:3]
    mine = (ours.weighted_precision, ours.weighted_recall, ours.weighted_f1)
    np.testing.assert_allclose(mine, weighted, **CLOSE)
    np.testing.assert_allclose(ours.accuracy, sk.accuracy_score(true, answer), **CLOSE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of answers that are no class: -1
        balanced = sk.balanced_accuracy_score(true, answer)
    np.testing.assert_allclose(ours.balanced_accuracy, balanced, **CLOSE)
    with_none = sk.confusion_matrix(true, answer, labels=[*range(k), -1])[:k]
    np.testing.assert_array_equal(ours.confusion, with_none)


@pytest.mark.parametrize("seed", SEEDS)
def test_losses_are_those_of_scikit_learn(seed):
    _, k, proba, true, _ = drawn(seed)
    labels = list(range(k))
    np.testing.assert_allclose(m.nll(proba, true), sk.log_loss(true, proba, labels=labels), **CLOSE)
    theirs = sk.brier_score_loss(true, proba, labels=labels, scale_by_half=False)
    np.testing.assert_allclose(m.brier(proba, true), theirs, **CLOSE)
    right = proba.argmax(axis=1) == true
    theirs = np.mean((proba.max(axis=1) - right) ** 2)
    np.testing.assert_allclose(m.brier_top_label(proba.max(axis=1), right), theirs, **CLOSE)


@pytest.mark.parametrize("seed", SEEDS)
def test_ranking_is_that_of_scikit_learn(seed):
    rng, k, proba, true, _ = drawn(seed)
    sure = proba.max(axis=1).round(1)  # with ties
    right = rng.random(len(sure)) < sure
    if 0 < right.sum() < len(right):
        np.testing.assert_allclose(
            m.auroc_of_correctness(sure, right), sk.roc_auc_score(right, sure), **CLOSE
        )
    for top in range(1, k):
        if k > 2:
            theirs = sk.top_k_accuracy_score(true, proba, k=top, labels=range(k))
            np.testing.assert_allclose(m.top_k_accuracy(proba, true, k=top), theirs, **CLOSE)


@pytest.mark.parametrize("seed", SEEDS)
def test_mcnemar_is_the_binomial_test_of_the_discordant_pairs(seed):
    rng = np.random.default_rng(seed)
    a, b = (rng.random(50) < 0.6).astype(int), (rng.random(50) < 0.7).astype(int)
    result = m.mcnemar_exact(a, b)
    theirs = stats.binomtest(result.n_only_b, result.n_only_a + result.n_only_b).pvalue
    np.testing.assert_allclose(result.p_value, theirs, **CLOSE)


@pytest.mark.parametrize("seed", SEEDS)
def test_sign_flips_are_the_permutation_test_of_paired_samples(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 11))
    a, b = rng.random(n), rng.random(n)
    theirs = stats.permutation_test(
        (b - a,), np.mean, permutation_type="samples", n_resamples=np.inf
    ).pvalue
    np.testing.assert_allclose(m.sign_flip_test(a, b), theirs, **CLOSE)


@pytest.mark.parametrize("seed", range(3))
def test_the_paired_bootstrap_is_that_of_scipy_up_to_its_draws(seed):
    rng = np.random.default_rng(seed)
    a, b = rng.random(60), rng.random(60) + 0.1
    ours = m.paired_bootstrap(a, b, n_resamples=20_000)
    theirs = stats.bootstrap(
        (a, b),
        lambda x, y, axis: (y - x).mean(axis=axis),
        paired=True,
        vectorized=True,
        method="percentile",
        n_resamples=20_000,
        rng=1,
    ).confidence_interval
    width = theirs.high - theirs.low
    assert ours.low == pytest.approx(theirs.low, abs=0.03 * width)
    assert ours.high == pytest.approx(theirs.high, abs=0.03 * width)


def test_entropy_of_votes_is_that_of_scipy():
    votes = np.random.default_rng(0).integers(-1, 3, (40, 7))
    counts = np.stack([(votes == c).sum(axis=1) for c in range(-1, 3)], axis=1)
    theirs = stats.entropy(counts, axis=1)
    np.testing.assert_allclose(m.count_votes(votes, 3).entropy, theirs, **CLOSE)
