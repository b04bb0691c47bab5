"""Importances with answers known beforehand: constants, duplicates, planted columns, flips."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression

from showtell.errors import InputError, UnknownNameError
from showtell.metrics.importance import (
    counterfactual,
    label_importance,
    pair_report,
    permutation_importance,
)


def planted(n=300, seed=0):
    """Three labels; column 0 tells the first, column 1 the second; 2 is noise, 3 constant."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 3
    X = rng.normal(0, 0.3, (n, 4))
    X[:, 0] += y == 0
    X[:, 1] += y == 1
    X[:, 3] = 7.25
    return X, y


def fitted(X, y):
    return LogisticRegression(C=10).fit(X, y).predict_proba


@pytest.mark.parametrize("measure", ["accuracy", "log-loss"])
def test_a_constant_column_has_importance_exactly_zero(measure):
    X, y = planted()
    found = permutation_importance(fitted(X, y), X, y, measure=measure)
    assert found.mean[3] == 0.0
    assert found.std[3] == 0.0
    assert found.mean[0] > 0.1
    assert found.mean[1] > 0.1
    assert abs(found.mean[2]) < 0.05
    groups = [[3], [3, 2], [0, 1]]
    both = permutation_importance(fitted(X, y), X, y, groups=groups, measure=measure)
    assert both.mean[0] == 0.0
    assert both.mean[2] > found.mean[0]


def test_the_forest_gives_a_constant_column_zero_too():
    X, y = planted()
    forest = RandomForestClassifier(20, random_state=0).fit(X, y)
    assert permutation_importance(forest.predict_proba, X, y, n_repeats=3).mean[3] == 0.0


def test_duplicated_columns_share_single_importance_and_keep_that_of_the_group():
    X, y = planted(900)
    wide = np.c_[X, X[:, 0], X[:, 0]]
    train, test = slice(0, 600), slice(600, None)
    forest = RandomForestClassifier(100, random_state=0, max_features=1)
    once = forest.fit(X[train], y[train])
    single = permutation_importance(once.predict_proba, X[test], y[test])
    twice = RandomForestClassifier(100, random_state=0, max_features=1).fit(wide[train], y[train])
    alone = permutation_importance(twice.predict_proba, wide[test], y[test])
    group = permutation_importance(
        twice.predict_proba, wide[test], y[test], groups=[[0, 4, 5], [1], [2]]
    )
    assert alone.mean[[0, 4, 5]].max() < 0.6 * single.mean[0]
    noise = 3 * max(single.std[0], group.std[0])
    assert abs(group.mean[0] - single.mean[0]) < noise
    assert group.mean[0] >= alone.mean[[0, 4, 5]].max() - noise
    assert alone.mean[[0, 4, 5]].sum() < group.mean[0]


def test_accuracy_falls_as_counted_by_hand():
    X, y = np.array([[0.0], [1.0]] * 50), np.arange(100) % 2
    found = permutation_importance(lambda x: np.c_[1 - x[:, 0], x[:, 0]], X, y, n_repeats=200)
    assert found.baseline == 1.0
    assert found.repeats.shape == (1, 200)
    assert abs(found.mean[0] - 0.5) < 0.02  # of 50 each, half keep their value


def test_importance_does_not_depend_on_the_other_groups():
    X, y = planted()
    predict = fitted(X, y)
    all_of_them = permutation_importance(predict, X, y, random_state=5)
    one = permutation_importance(predict, X, y, groups=[[1]], random_state=5)
    assert one.repeats[0].tolist() == all_of_them.repeats[1].tolist()


def test_labels_are_told_by_their_own_columns_with_a_direction():
    X, y = planted()
    found = label_importance(fitted(X, y), X, y)
    assert found.importance[0].argmax() == 0
    assert found.importance[1].argmax() == 1
    assert found.direction[0, 0] > 1
    assert found.direction[1, 0] < 0
    assert found.direction[2, 0] < 0
    assert (found.importance[:, 3] == 0).all()
    assert (found.direction[:, 3] == 0).all()
    grouped = label_importance(fitted(X, y), X, y, groups=[[0, 1], [2, 3]])
    assert (grouped.importance[:, 0] > grouped.importance[:, 1]).all()


def test_a_label_without_samples_has_no_importance():
    X, y = planted()
    predict = fitted(X, y)
    kept = y != 2
    found = label_importance(predict, X[kept], y[kept], n_repeats=2)
    assert (found.importance[2] == 0).all()
    assert (found.direction[2] == 0).all()


def test_pairs_share_what_is_important_for_both():
    rows = [[5, 4, 3, 0, 0], [0, 4, 5, 1, 0], [0, 0, 0, 0, 9]]
    report = pair_report(rows, 0, 1, n_top=3)
    assert report.shared == (1, 2)
    assert (report.only_first, report.only_second) == ((0,), (3,))
    assert report.overlap == pytest.approx(2 / 3)
    assert pair_report(rows, 0, 2).overlap == 0
    assert pair_report(rows, 1, 1).overlap == 1
    assert pair_report([[0, 0], [0, 0]], 0, 1).overlap == 0
    with pytest.raises(InputError, match="rows 0 and 3"):
        pair_report(rows, 0, 3)


def test_the_smallest_change_stops_at_the_boundary():
    weights = np.array([1.0, 0.2, 0.0])

    def predict(X):
        p = 1 / (1 + np.exp(-(X @ weights)))
        return np.c_[1 - p, p]

    background = np.array([[-3.0] * 3, [3.0] * 3])
    found = counterfactual(predict, [-1.0, 1.0, 0.0], background)
    assert found.flips
    [change] = found.changes
    assert (change.feature, change.before) == (0, -1.0)
    assert change.after == pytest.approx(-0.2, abs=0.01)  # where -0.2 + 0.2 is 0
    assert found.proba_after.argmax() == found.target == 1


def test_several_changes_are_all_needed():
    def predict(X):
        p = 1 / (1 + np.exp(-(X.sum(axis=1) - 1.5)))
        return np.c_[1 - p, p]

    found = counterfactual(predict, np.zeros(4), np.array([[0.0] * 4, [1.0] * 4]))
    assert found.flips
    assert len(found.changes) == 2
    for left_out in found.changes:
        row = np.zeros(4)
        for change in found.changes:
            if change is not left_out:
                row[change.feature] = change.after
        assert predict(row[None]).argmax() == 0


def test_a_label_that_no_change_reaches_is_said_not_to_flip():
    found = counterfactual(
        lambda X: np.tile([0.7, 0.3], (len(X), 1)), [0.0, 0.0], np.eye(2), n_most=2
    )
    assert not found.flips
    assert found.changes == ()


def test_a_forest_flips_too():
    X, y = planted()
    forest = RandomForestClassifier(30, random_state=0).fit(X, y)
    row = X[forest.predict(X) == 0][0]
    found = counterfactual(forest.predict_proba, row, X, target=1, target_background=X[y == 1])
    assert found.flips
    assert {change.feature for change in found.changes} <= {0, 1, 2}


@pytest.mark.parametrize(
    ("call", "complaint"),
    [
        (lambda p, X, y: permutation_importance(p, X, y[:-1]), "one code for each"),
        (lambda p, X, y: permutation_importance(p, X[:0], y[:0]), "one code for each"),
        (lambda p, X, y: permutation_importance(p, X, y, groups=[[9]]), "column 9"),
        (lambda p, X, y: permutation_importance(p, X, y, n_repeats=0), "n_repeats"),
        (lambda p, X, y: counterfactual(p, X[0], X[:, :2]), "background"),
        (lambda p, X, y: counterfactual(p, X[0], X, target=int(p(X[:1]).argmax())), "another"),
    ],
)
def test_what_does_not_fit_is_refused(call, complaint):
    X, y = planted()
    with pytest.raises(InputError, match=complaint):
        call(fitted(X, y), X, y)


def test_only_known_measures():
    X, y = planted()
    with pytest.raises(UnknownNameError, match="accuracy, log-loss"):
        permutation_importance(fitted(X, y), X, y, measure="f1")
