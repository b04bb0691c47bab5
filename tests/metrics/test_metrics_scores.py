"""Scores: hand values, published tables, parity with scikit-learn, invariances."""

from __future__ import annotations

import csv
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics as sk

from showtell.errors import InputError
from showtell.metrics import (
    Z_95,
    accuracy_interval,
    auroc_of_correctness,
    confusion_matrix,
    coverage_risk,
    scores,
    top_k_accuracy,
    wilson_interval,
)


@st.composite
def answers(draw, lowest=-1, fewest=1):
    n_classes = draw(st.integers(fewest, 6))
    n = draw(st.integers(1, 40))
    codes = st.lists(st.integers(0, n_classes - 1), min_size=n, max_size=n)
    given_codes = st.lists(st.integers(lowest, n_classes - 1), min_size=n, max_size=n)
    return np.array(draw(codes)), np.array(draw(given_codes)), n_classes


# accuracy and its interval


def test_z_is_the_normal_quantile():
    assert stats.norm.ppf(0.975) == pytest.approx(Z_95, abs=1e-15)


@pytest.mark.parametrize(
    ("k", "low", "high"), [(36, 0.371, 0.591), (55, 0.624, 0.820), (68, 0.820, 0.954)]
)
def test_wilson_interval_matches_the_worked_examples(k, low, high):
    np.testing.assert_allclose(accuracy_interval(k, 75), (low, high), atol=6e-4)


@given(st.integers(1, 500), st.data(), st.sampled_from([0.5, 0.9, 0.95, 0.99]))
def test_wilson_interval_equals_scipy(n, data, confidence):
    k = data.draw(st.integers(0, n))
    ours = accuracy_interval(k, n, confidence)
    theirs = stats.binomtest(k, n).proportion_ci(confidence, method="wilson")
    np.testing.assert_allclose(ours, (theirs.low, theirs.high), atol=1e-12)
    assert 0 <= ours.low <= k / n <= ours.high <= 1


def test_nothing_is_known_without_samples_and_ends_are_exact():
    assert accuracy_interval(0, 0) == (0, 1)
    assert accuracy_interval(0, 7).low == 0
    assert accuracy_interval(7, 7).high == 1
    low, high = wilson_interval([0, 0, 7], [0, 7, 7])
    assert low[0] == 0
    assert high[0] == 1


def test_impossible_counts_and_levels_are_refused():
    with pytest.raises(InputError, match="between 0 and the number of trials"):
        accuracy_interval(8, 7)
    with pytest.raises(InputError, match=r"`confidence` must lie strictly between 0 and 1, got 95"):
        accuracy_interval(1, 7, 95)


# the scores


def test_scores_match_values_computed_by_hand():
    # true 0: two right, one as 1, one unanswered; true 1: one right, one as 0; class 2 never seen
    s = scores([0, 0, 0, 0, 1, 1], [0, 0, 1, -1, 1, 0], 3)
    np.testing.assert_array_equal(s.confusion, [[2, 1, 0, 1], [1, 1, 0, 0], [0, 0, 0, 0]])
    assert (s.n_samples, s.n_answered, s.n_correct) == (6, 5, 3)
    assert s.accuracy == 0.5
    assert s.accuracy_answered == pytest.approx(3 / 5)
    assert s.coverage == pytest.approx(5 / 6)
    np.testing.assert_allclose(s.per_class.precision, [2 / 3, 1 / 2, 0])
    np.testing.assert_allclose(s.per_class.recall, [2 / 4, 1 / 2, 0])
    np.testing.assert_allclose(s.per_class.f1, [4 / 7, 1 / 2, 0])
    np.testing.assert_array_equal(s.per_class.support, [4, 2, 0])
    np.testing.assert_array_equal(s.per_class.n_predicted, [3, 2, 0])
    assert s.balanced_accuracy == pytest.approx(0.5)
    assert s.macro_f1 == pytest.approx((4 / 7 + 1 / 2) / 2)
    assert s.weighted_f1 == pytest.approx(4 / 6 * 4 / 7 + 2 / 6 * 1 / 2)
    assert (s.low, s.high) == accuracy_interval(3, 6)


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "n_classes", "accuracy", "macro_f1"),
    [
        ("animals", 10, 0.7740, 0.775512),
        ("mnist", 10, 0.7920, 0.804210),
        ("chess", 6, 0.1656, 0.136602),
    ],
)
def test_published_tables_are_reproduced(shared_data, name, n_classes, accuracy, macro_f1):
    with (shared_data / f"llava7b-{name}.csv").open(newline="", encoding="utf-8") as file:
        rows = [[cell.strip() for cell in row] for row in csv.reader(file)][1:]
    labels = sorted({row[1] for row in rows})
    assert len(labels) == n_classes
    code = {label: i for i, label in enumerate(labels)}
    y_true = [code[row[1]] for row in rows]
    y_pred = [code.get(row[2], -1) for row in rows]
    s = scores(y_true, y_pred, n_classes)
    assert s.accuracy == pytest.approx(accuracy, abs=5e-5)
    assert s.macro_f1 == pytest.approx(macro_f1, abs=5e-7)


@given(answers(lowest=0, fewest=2))
def test_scores_equal_scikit_learn_when_everything_is_answered(case):
    y_true, y_pred, n_classes = case
    s = scores(y_true, y_pred, n_classes)
    for average, prefix in (("macro", "macro"), ("weighted", "weighted")):
        p, r, f, _ = sk.precision_recall_fscore_support(
            y_true, y_pred, average=average, zero_division=0
        )
        ours = [getattr(s, f"{prefix}_{name}") for name in ("precision", "recall", "f1")]
        np.testing.assert_allclose(ours, [p, r, f], atol=1e-12)
    p, r, f, n = sk.precision_recall_fscore_support(
        y_true, y_pred, labels=range(n_classes), zero_division=0
    )
    table = s.per_class
    np.testing.assert_allclose([table.precision, table.recall, table.f1], [p, r, f], atol=1e-12)
    np.testing.assert_array_equal(table.support, n)
    assert s.accuracy == pytest.approx(sk.accuracy_score(y_true, y_pred))
    recall_of_present = [r[c] for c in np.unique(y_true)]
    assert s.balanced_accuracy == pytest.approx(np.mean(recall_of_present))
    np.testing.assert_array_equal(
        s.confusion[:, :-1], sk.confusion_matrix(y_true, y_pred, labels=range(n_classes))
    )


@given(answers())
def test_no_answer_is_a_wrong_label_that_no_average_runs_over(case):
    y_true, y_pred, n_classes = case
    s = scores(y_true, y_pred, n_classes)
    named = sorted({*y_true.tolist(), *y_pred.tolist()} - {-1})
    p, r, f, _ = sk.precision_recall_fscore_support(
        y_true, y_pred, labels=named, average="macro", zero_division=0
    )
    np.testing.assert_allclose([s.macro_precision, s.macro_recall, s.macro_f1], [p, r, f])
    assert s.accuracy == pytest.approx(np.mean(y_true == y_pred))
    np.testing.assert_array_equal(s.confusion[:, -1].sum(), (y_pred == -1).sum())


@given(answers(), st.randoms(use_true_random=False))
def test_renaming_the_classes_only_permutes_the_table(case, random):
    y_true, y_pred, n_classes = case
    order = list(range(n_classes))
    random.shuffle(order)
    new = np.array([*order, -1])  # new code of each old one; -1 stays
    before, after = scores(y_true, y_pred, n_classes), scores(new[y_true], new[y_pred], n_classes)
    for name in ("accuracy", "balanced_accuracy", "macro_f1", "weighted_f1", "coverage"):
        assert getattr(before, name) == pytest.approx(getattr(after, name))
    np.testing.assert_allclose(before.per_class.f1, after.per_class.f1[order])
    np.testing.assert_array_equal(
        before.confusion, after.confusion[np.ix_(order, [*order, n_classes])]
    )


@given(answers(), st.randoms(use_true_random=False))
def test_row_order_does_not_matter(case, random):
    y_true, y_pred, n_classes = case
    order = list(range(len(y_true)))
    random.shuffle(order)
    before, after = (
        scores(y_true, y_pred, n_classes),
        scores(y_true[order], y_pred[order], n_classes),
    )
    np.testing.assert_array_equal(before.confusion, after.confusion)
    assert before.macro_f1 == after.macro_f1


def test_macro_conventions_differ_only_in_the_classes_they_run_over():
    y_true, y_pred = [0, 0, 1, 1], [0, 2, 1, 1]  # 2 is predicted but has no samples, 3 neither
    f1 = np.array([2 / 3, 1, 0, 0])
    assert scores(y_true, y_pred, 4).macro_f1 == pytest.approx(f1[:3].mean())
    by_support = scores(y_true, y_pred, 4, macro_over="support")
    assert by_support.macro_f1 == pytest.approx(f1[:2].mean())
    assert by_support.macro_recall == by_support.balanced_accuracy
    assert scores(y_true, y_pred, 4, macro_over="all").macro_f1 == pytest.approx(f1.mean())
    with pytest.raises(InputError, match=r"'micro'\. Allowed: present, support, all"):
        scores(y_true, y_pred, 4, macro_over="micro")


def test_an_unused_label_changes_nothing_but_its_row():
    small, large = scores([0, 1, 1], [0, 1, 0], 2), scores([0, 1, 1], [0, 1, 0], 5)
    assert small.macro_f1 == large.macro_f1
    assert small.accuracy == large.accuracy
    assert large.per_class.support.tolist() == [1, 2, 0, 0, 0]


def test_all_unanswered_scores_zero_and_says_so():
    s = scores([0, 1], [-1, -1], 2)
    assert (s.accuracy, s.coverage, s.macro_f1) == (0, 0, 0)
    assert np.isnan(s.accuracy_answered)


@pytest.mark.parametrize(
    ("y_true", "y_pred", "message"),
    [
        ([], [], "no samples"),
        ([0, 1], [0], "`y_true` has 2, `y_pred` has 1"),
        ([0, 2], [0, 1], "`y_true` holds 2 in row 1; allowed are 0 to 1"),
        ([-1, 0], [0, 1], "`y_true` holds -1 in row 0"),
        ([0, 1], [0, -2], "`y_pred` holds -2 in row 1; allowed are 0 to 1 or -1 for no answer"),
        ([0.0, 1.0], [0, 1], "label codes"),
        ([[0, 1]], [0, 1], "1-D"),
        (["cat"], ["cat"], "Turn labels into codes"),
    ],
)
def test_codes_that_cannot_be_scored_are_named(y_true, y_pred, message):
    with pytest.raises(InputError, match=message):
        scores(y_true, y_pred, 2)


def test_a_label_set_needs_a_label():
    with pytest.raises(InputError, match="at least 1, got 0"):
        confusion_matrix([0], [0], 0)


# top-k


def test_top_1_is_the_accuracy_and_ties_go_to_the_lower_code():
    proba = np.array([[0.4, 0.4, 0.2], [0.4, 0.4, 0.2], [0.1, 0.45, 0.45]])
    assert top_k_accuracy(proba, [0, 1, 2], k=1) == pytest.approx(1 / 3)
    assert top_k_accuracy(proba, [0, 1, 2], k=2) == 1


@settings(max_examples=50)
@given(st.integers(2, 6), st.integers(1, 30), st.integers(0, 10_000))
def test_top_k_equals_scikit_learn_without_ties(n_classes, n, seed):
    rng = np.random.default_rng(seed)
    proba, y = rng.dirichlet(np.ones(n_classes), n), rng.integers(0, n_classes, n)
    for k in range(1, n_classes):
        at_k = top_k_accuracy(proba, y, k)
        if n_classes > 2:
            theirs = sk.top_k_accuracy_score(y, proba, k=k, labels=range(n_classes))
            assert at_k == pytest.approx(theirs)
    assert top_k_accuracy(proba, y, 1) == pytest.approx(np.mean(proba.argmax(1) == y))
    assert top_k_accuracy(proba, y, n_classes) == 1


def test_rows_without_an_answer_are_wrong_at_any_k():
    proba = [[np.nan, np.nan], [0.9, 0.1]]
    assert top_k_accuracy(proba, [0, 0], k=2) == 0.5


def test_top_k_refuses_what_it_cannot_rank():
    with pytest.raises(InputError, match="`k` must be at least 1, got 0"):
        top_k_accuracy([[1.0]], [0], k=0)
    with pytest.raises(InputError, match=r"shape \(n_samples, n_classes\)"):
        top_k_accuracy([1.0], [0])


# coverage and risk


def test_risk_coverage_matches_values_computed_by_hand():
    curve = coverage_risk([0.9, 0.8, 0.7, 0.6], [1, 1, 0, 1])
    np.testing.assert_allclose(curve.coverage, [0.25, 0.5, 0.75, 1])
    np.testing.assert_allclose(curve.risk, [0, 0, 1 / 3, 1 / 4])
    np.testing.assert_allclose(curve.threshold, [0.9, 0.8, 0.7, 0.6])
    assert curve.area == pytest.approx((0 + 0 + 1 / 3 + 1 / 4) / 4)


@given(st.lists(st.tuples(st.sampled_from([0.2, 0.5, 0.9]), st.booleans()), min_size=1, max_size=6))
def test_area_under_ties_is_the_mean_over_all_orders_of_the_tied_rows(rows):
    import itertools

    confidence, correct = map(np.array, zip(*rows, strict=True))
    areas = []
    for order in itertools.permutations(range(len(rows))):
        picked = np.array(order)
        if (np.diff(confidence[picked]) <= 0).all():
            wrong = 1 - correct[picked].astype(float)
            areas.append((wrong.cumsum() / np.arange(1, len(rows) + 1)).mean())
    assert coverage_risk(confidence, correct).area == pytest.approx(np.mean(areas))


def test_full_coverage_has_the_error_rate_as_risk_and_unanswered_rows_stay_out():
    curve = coverage_risk([0.9, np.nan, 0.3, 0.3], [1, 0, 0, 1])
    np.testing.assert_allclose(curve.coverage, [0.25, 0.75])
    np.testing.assert_allclose(curve.risk, [0, 1 / 3])
    nothing = coverage_risk([np.nan], [0])
    assert nothing.coverage.size == 0
    assert np.isnan(nothing.area)


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(st.sampled_from([0.1, 0.4, 0.5, 0.8]), st.booleans()), min_size=1, max_size=40
    )
)
def test_auroc_equals_scikit_learn(rows):
    confidence, correct = zip(*rows, strict=True)
    ours = auroc_of_correctness(confidence, correct)
    if len(set(correct)) == 1:
        assert np.isnan(ours)
    else:
        assert ours == pytest.approx(sk.roc_auc_score(correct, confidence))


def test_a_constant_confidence_ranks_nothing():
    assert auroc_of_correctness([1.0] * 6, [1, 0, 1, 1, 0, 1]) == 0.5


def test_outcomes_must_be_right_or_wrong():
    with pytest.raises(InputError, match="only True/False or 1/0"):
        coverage_risk([0.5, 0.5], [0.5, 1])
    with pytest.raises(InputError, match="1-D array of True/False"):
        auroc_of_correctness([0.5], ["yes"])


def test_a_million_rows_take_little_longer_than_sorting_them():
    rng = np.random.default_rng(0)
    n = 1_000_000
    y_true, y_pred, sure = rng.integers(0, 100, n), rng.integers(-1, 100, n), rng.random(n)
    ours, sorting = [], []
    for _ in range(3):
        start = time.process_time()
        s = scores(y_true, y_pred, 100)
        curve = coverage_risk(sure, y_true == y_pred)
        ours.append(time.process_time() - start)
        start = time.process_time()
        np.lexsort((y_true, sure))
        sorting.append(time.process_time() - start)
    assert min(ours) < 5 * min(sorting)
    assert s.n_samples == n
    assert curve.risk[-1] == pytest.approx(1 - s.accuracy)
