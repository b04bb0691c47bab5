"""Students: targets, loss and heads against hand-computed values and scikit-learn."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression

from showtell.classify.chain.selection import (
    choose_images,
    cover,
    margins_of,
    near_copies,
    typical,
    typicality,
)
from showtell.classify.chain.student import (
    Head,
    distillation_loss,
    fit_head,
    fold_of,
    out_of_fold,
    soft_logistic,
)
from showtell.classify.chain.teacher import vote_shares, weighted_vote
from showtell.errors import InputError, UnknownNameError
from showtell.metrics import find_wrong_labels


def unit(rng, n, d):
    X = rng.normal(size=(n, d))
    return (X / np.linalg.norm(X, axis=1, keepdims=True)).astype(np.float32)


def soft_targets(rng, n, c):
    return softmax(rng.normal(size=(n, c)) * 2, axis=1)


def test_votes_and_teachers_become_targets():
    np.testing.assert_allclose(
        vote_shares(np.array([[4, 1, 0]])), [[0.6923, 0.2308, 0.0769]], atol=6e-5
    )
    joined = weighted_vote(np.array([[0], [1], [1]]), [0.9, 0.7, 0.7], 3)
    np.testing.assert_allclose(joined, [[0.4414, 0.5341, 0.0245]], atol=6e-5)
    silent = weighted_vote(np.array([[-1], [-1]]), [0.9, 0.9], 4)
    np.testing.assert_allclose(silent, np.full((1, 4), 0.25))


def test_the_loss_is_that_of_the_worked_example():
    p = softmax(np.array([[4.0, 2.0, 0.0]]), axis=1)
    z, first = np.array([[1.0, 1.0, 0.0]]), np.array([[1.0, 0, 0]])
    for temperature, divergence in ((1, 0.43681), (2, 0.17064), (4, 0.04841)):
        loss, _ = distillation_loss(z, p, first, temperature=temperature, alpha=1.0)
        assert loss == pytest.approx(temperature**2 * divergence, abs=1e-3)
    assert distillation_loss(z, p, first, alpha=0.0)[0] == pytest.approx(0.86199, abs=6e-6)
    mixed, _ = distillation_loss(z, p, first, temperature=2.0, alpha=0.7)
    assert mixed == pytest.approx(0.73639, abs=6e-6)


def test_a_student_that_says_what_the_teacher_says_has_no_gradient():
    rng = np.random.default_rng(0)
    z = rng.normal(size=(5, 4))
    loss, gradient = distillation_loss(z, softmax(z, axis=1), np.eye(4)[[0, 1, 2, 3, 0]])
    assert loss == pytest.approx(0, abs=1e-12)
    np.testing.assert_allclose(gradient, 0, atol=1e-12)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.floats(0.5, 4), st.floats(0, 1))
def test_the_gradient_is_that_of_small_steps(seed, temperature, alpha):
    rng = np.random.default_rng(seed)
    z, q = rng.normal(size=(3, 4)), soft_targets(rng, 3, 4)
    hard, v = np.eye(4)[q.argmax(axis=1)], rng.random(3) + 0.1
    how = {"temperature": temperature, "alpha": alpha, "row_weights": v}
    _, gradient = distillation_loss(z, q, hard, **how)
    step = 1e-6
    for i, j in ((0, 0), (1, 2), (2, 3)):
        up, down = z.copy(), z.copy()
        up[i, j] += step
        down[i, j] -= step
        slope = (
            distillation_loss(up, q, hard, **how)[0] - distillation_loss(down, q, hard, **how)[0]
        )
        assert slope / (2 * step) == pytest.approx(gradient[i, j], abs=1e-5)


def test_soft_targets_equal_scikit_learn_on_duplicated_rows():
    rng = np.random.default_rng(1)
    X, q = unit(rng, 60, 8), soft_targets(rng, 60, 3)
    weights, bias = soft_logistic(X, q, C=10.0)
    rows, codes = np.repeat(np.arange(60), 3), np.tile(np.arange(3), 60)
    model = LogisticRegression(C=10.0, max_iter=5000, tol=1e-8)
    model.fit(X[rows], codes, sample_weight=q.ravel())
    np.testing.assert_allclose(
        weights - weights.mean(0), model.coef_ - model.coef_.mean(0), atol=1e-3
    )
    np.testing.assert_allclose(
        bias - bias.mean(), model.intercept_ - model.intercept_.mean(), atol=1e-3
    )


@pytest.mark.parametrize("n_classes", [2, 4])
def test_hard_targets_equal_scikit_learn(n_classes):
    rng = np.random.default_rng(2)
    X = unit(rng, 80, 6)
    y = rng.integers(n_classes, size=80)
    v = rng.random(80) + 0.5
    weights, bias = soft_logistic(X, np.eye(n_classes)[y], C=3.0, row_weights=v)
    model = LogisticRegression(C=3.0, max_iter=5000, tol=1e-8).fit(X, y, sample_weight=v)
    ours = softmax(X @ weights.T + bias, axis=1)
    # for two classes scikit-learn penalises one vector, so its strength differs by a factor of 2
    if n_classes > 2:
        np.testing.assert_allclose(ours, model.predict_proba(X), atol=1e-3)
    else:
        model = LogisticRegression(C=6.0, max_iter=5000, tol=1e-8).fit(X, y, sample_weight=v)
        np.testing.assert_allclose(ours, model.predict_proba(X), atol=1e-3)


def test_a_problem_with_more_dimensions_than_rows_has_the_same_optimum():
    rng = np.random.default_rng(3)
    X, q = unit(rng, 12, 40), soft_targets(rng, 12, 3)
    weights, bias = soft_logistic(X, q, C=10.0)
    padded = np.concatenate([X, np.zeros((40, 40), np.float32)])
    targets = np.concatenate([q, np.full((40, 3), 1 / 3)])
    full, full_bias = soft_logistic(
        padded, targets, C=10.0, row_weights=np.r_[np.ones(12), np.zeros(40)]
    )
    np.testing.assert_allclose(weights, full, atol=2e-3)
    np.testing.assert_allclose(bias, full_bias, atol=2e-3)


def test_blend_is_the_sum_of_both_heads_in_one_matrix():
    rng = np.random.default_rng(4)
    X, q = unit(rng, 40, 8), np.eye(4)[rng.integers(4, size=40)]
    blend = fit_head(X, q, head="blend")
    linear, mean = fit_head(X, q, head="linear"), fit_head(X, q, head="mean")
    np.testing.assert_allclose(blend.weights, linear.weights + mean.weights, atol=1e-5)
    np.testing.assert_allclose(blend.logits(X), linear.logits(X) + mean.logits(X), atol=1e-4)
    worked = Head(
        weights=np.array([[1, 0], [0, 1]], np.float32)
        + 20 * np.array([[1, 0], [0.8, 0.6]], np.float32),
        bias=np.array([0.5, 0], np.float32),
    )
    x = np.array([[0.6, 0.8]], np.float32)
    np.testing.assert_allclose(worked.logits(x), [[13.1, 20.0]], atol=1e-5)


@pytest.mark.parametrize("head", ["blend", "linear", "mean"])
def test_permuting_the_labels_permutes_the_columns(head):
    rng = np.random.default_rng(5)
    X, q = unit(rng, 50, 8), soft_targets(rng, 50, 4)
    order = np.array([2, 0, 3, 1])
    straight, turned = fit_head(X, q, head=head), fit_head(X, q[:, order], head=head)
    np.testing.assert_allclose(straight.logits(X)[:, order], turned.logits(X), atol=2e-3)


@pytest.mark.parametrize("head", ["blend", "linear", "mean", "mlp"])
def test_a_label_without_examples_keeps_its_column_and_never_wins(head):
    rng = np.random.default_rng(6)
    X = unit(rng, 30, 8)
    q = np.eye(4)[rng.choice([0, 1, 3], 30)]
    fitted = fit_head(X, q, head=head)
    logits = fitted.logits(unit(rng, 200, 8))
    assert logits.shape == (200, 4)
    assert 2 not in logits.argmax(axis=1)


@pytest.mark.parametrize("head", ["blend", "linear", "mean", "mlp"])
def test_a_single_label_is_always_the_answer(head):
    X = unit(np.random.default_rng(7), 5, 4)
    fitted = fit_head(X, np.eye(3)[[1] * 5], head=head)
    assert fitted.logits(X).argmax(axis=1).tolist() == [1] * 5


def test_what_cannot_be_fitted_says_so():
    with pytest.raises(UnknownNameError, match="blend"):
        fit_head(np.zeros((1, 2), np.float32), np.eye(2)[:1], head="tree")
    with pytest.raises(InputError, match="at least one image"):
        fit_head(np.zeros((0, 2), np.float32), np.zeros((0, 2)))


def test_folds_are_stratified_and_keep_copies_together():
    codes = np.repeat([0, 1, 2], 20)
    groups = np.arange(60)
    groups[1] = groups[0]
    fold = fold_of(codes, groups)
    assert fold[0] == fold[1]
    for code in range(3):
        counts = np.bincount(fold[codes == code], minlength=5)
        assert counts.max() - counts.min() <= 2


def test_no_row_is_judged_by_a_head_that_has_seen_it():
    rng = np.random.default_rng(8)
    X, y = unit(rng, 60, 50), rng.integers(3, size=60)  # labels without any sense
    fold = fold_of(y, np.arange(60))
    held = out_of_fold(X, np.eye(3)[y], fold, head="linear", C=1000.0)
    own = fit_head(X, np.eye(3)[y], head="linear", C=1000.0).logits(X)
    assert (own.argmax(axis=1) == y).mean() > 0.95
    assert (held.argmax(axis=1) == y).mean() < 0.6


def test_confident_learning_finds_the_two_rows_of_the_worked_example():
    P = np.array([(0.9, 0.1), (0.8, 0.2), (0.3, 0.7), (0.2, 0.8), (0.4, 0.6), (0.85, 0.15)])
    found = find_wrong_labels(P, np.array([0, 0, 0, 1, 1, 1]))
    np.testing.assert_allclose(found.thresholds, [0.6667, 0.5167], atol=6e-5)
    np.testing.assert_allclose(found.margin, [0.8, 0.6, -0.4, 0.6, 0.2, -0.7])
    assert found.joint.tolist() == [[2, 1], [1, 2]]
    assert found.suspects.tolist() == [5, 2]
    np.testing.assert_allclose(found.error_rates, [1 / 3, 1 / 3])
    with pytest.raises(InputError, match="NaN"):
        find_wrong_labels(P * np.nan, np.zeros(6, int))
    with pytest.raises(InputError, match="from 0 to 1; got 0 to 2"):
        find_wrong_labels(P, np.array([0, 0, 0, 1, 1, 2]))


def test_planted_swaps_come_first():
    rng = np.random.default_rng(9)
    centres = np.eye(4, 8)
    y = np.repeat(np.arange(4), 40)
    X = centres[y] + rng.normal(size=(160, 8)) * 0.1
    X = (X / np.linalg.norm(X, axis=1, keepdims=True)).astype(np.float32)
    given_labels = y.copy()
    planted = rng.choice(160, 8, replace=False)
    given_labels[planted] = (given_labels[planted] + 1) % 4
    fold = fold_of(given_labels, np.arange(160))
    held = out_of_fold(X, np.eye(4)[given_labels], fold, head="linear")
    found = find_wrong_labels(softmax(held, axis=1), given_labels)
    assert set(found.order[:8].tolist()) == set(planted.tolist())


def test_margins_and_typicality_are_those_of_the_worked_examples():
    proba = np.array([[0.5, 0.45, 0.05], [0.9, 0.05, 0.05], [0.4, 0.3, 0.3]])
    np.testing.assert_allclose(margins_of(proba), [0.05, 0.85, 0.1])
    assert margins_of(proba).argsort().tolist() == [0, 2, 1]
    assert margins_of(np.ones((2, 1))).tolist() == [1, 1]
    np.testing.assert_allclose(
        typicality(np.array([[0.2, 0.3, 0.4], [0.5, 0.6, 0.7]])), [3.3333, 1.6667], atol=6e-5
    )


@pytest.fixture(scope="module")
def clusters():
    """Forty rows in four clusters, ten each."""
    rng = np.random.default_rng(10)
    X = np.repeat(np.eye(4, 12), 10, axis=0) + rng.normal(size=(40, 12)) * 0.15
    return (X / np.linalg.norm(X, axis=1, keepdims=True)).astype(np.float32)


def test_cover_and_typical_visit_every_cluster_first(clusters):
    assert {row // 10 for row in cover(clusters, [], 4).tolist()} == {0, 1, 2, 3}
    assert {row // 10 for row in typical(clusters, [], 4).tolist()} == {0, 1, 2, 3}
    rest = cover(clusters, [3, 14, 25], 1)
    assert rest.tolist()[0] // 10 == 3  # the cluster that nobody has seen


@pytest.mark.parametrize("rule", ["auto", "cover", "typical", "margin", "random"])
def test_nothing_is_chosen_twice_and_the_budget_holds(clusters, rule):
    first = choose_images(clusters, 7, rule=rule, n_classes=4)
    again = choose_images(clusters, 7, rule=rule, n_classes=4)
    assert first.tolist() == again.tolist()
    rest = choose_images(clusters, 100, rule=rule, labelled=first, n_classes=4)
    assert len(first) == 7
    assert sorted([*first.tolist(), *rest.tolist()]) == list(range(40))


def test_copies_are_asked_about_once(clusters):
    doubled = np.concatenate([clusters, clusters])
    assert near_copies(doubled)[40:].tolist() == list(range(40))
    rows = choose_images(doubled, 80, rule="random")
    assert sorted(rows.tolist()) == list(range(40))
    assert 43 not in choose_images(doubled, 80, labelled=[3]).tolist()


def test_auto_goes_over_to_margins_when_there_are_four_labels_a_class(clusters):
    proba = np.full((40, 4), 0.25)
    proba[:, 0] += np.linspace(0.7, 0.1, 40)
    asked = []

    def student():
        asked.append(True)
        return proba

    choose_images(clusters, 3, labelled=range(15), n_classes=4, proba=student)
    assert asked == []
    rows = choose_images(clusters, 3, labelled=range(16), n_classes=4, proba=student)
    assert rows.tolist() == [39, 38, 37]
    with pytest.raises(UnknownNameError, match="cover"):
        choose_images(clusters, 3, rule="best")
