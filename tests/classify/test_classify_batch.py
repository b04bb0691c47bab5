"""Zero-shot answers from the whole batch: balance and adapt."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from showtell.classify.embedding.transductive import adapt, balance
from showtell.encoders.base import unit
from showtell.errors import InputError


def test_balance_of_two_images_and_two_labels_by_hand():
    # Doubly stochastic [[p, 1-p], [1-p, p]] with the cross ratio of exp(S / t) unchanged:
    # (p / (1-p))^2 = exp((a11 + a22 - a12 - a21) / t)
    scores = np.array([[0.20, 0.24], [0.10, 0.30]])
    odds = np.exp((0.20 + 0.30 - 0.24 - 0.10) / (2 * 0.04))
    p = odds / (1 + odds)
    np.testing.assert_allclose(balance(scores), [[p, 1 - p], [1 - p, p]], rtol=1e-5)


def test_one_round_of_balance_by_hand():
    # exp(S / t) = [[1, 2], [1, 6]]; columns to 1: [[1/2, 1/4], [1/2, 3/4]]; rows to 1
    scores = np.log([[1.0, 2.0], [1.0, 6.0]])
    np.testing.assert_allclose(
        balance(scores, temperature=1.0, n_iter=1), [[2 / 3, 1 / 3], [2 / 5, 3 / 5]], rtol=1e-6
    )


def test_balance_takes_images_from_a_label_that_attracts_everything():
    random = np.random.default_rng(0)
    truth = np.arange(60) % 3
    scores = 0.1 * np.eye(3)[truth] + 0.02 * random.normal(size=(60, 3)) + [0.3, 0.0, 0.0]
    assert (scores.argmax(1) == 0).all()
    assert (balance(scores).argmax(1) == truth).mean() > 0.9


@settings(max_examples=30, deadline=None)
@given(n=st.integers(1, 30), k=st.integers(1, 6), seed=st.integers(0, 99))
def test_balanced_rows_are_probabilities(n, k, seed):
    scores = np.random.default_rng(seed).uniform(-1, 1, (n, k))
    shares = balance(scores)
    assert shares.dtype == np.float32
    np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-5)
    assert (shares >= 0).all()


def test_balance_survives_scores_far_apart():
    shares = balance(np.array([[1e4, 0.0], [0.0, 1e4]]))
    np.testing.assert_allclose(shares, np.eye(2), atol=1e-6)


def test_balance_ignores_a_constant_added_to_a_label_or_an_image():
    random = np.random.default_rng(1)
    scores = random.uniform(0, 0.3, (40, 4))
    shifted = scores + random.normal(size=(40, 1)) + random.normal(size=4)
    np.testing.assert_allclose(balance(scores, n_iter=300), balance(shifted, n_iter=300), atol=1e-4)


def test_one_round_of_adapt_by_hand():
    x = np.array([[0.8, 0.6], [0.8, -0.6]])
    q = np.array([[1.0, 0.0], [0.0, 1.0]])
    # cosines [[.8, .6], [.8, -.6]]; centred [[0, .6], [0, -.6]]; softmax at temperature 1:
    first = 1 / (1 + np.exp(0.6 - 0.8))  # share of label 0 in image 0
    second = 1 / (1 + np.exp(-0.6 - 0.8))  # in image 1, larger, so p0 points down and p1 up
    assert second > first
    p = np.array([[0.0, -1.0], [0.0, 1.0]])
    expected = 0.5 * (x @ q.T) + 0.5 * np.array([[0, 0.6], [0, -0.6]]) @ p.T
    np.testing.assert_allclose(adapt(x, q, temperature=1.0, n_iter=1), expected, atol=1e-6)


def test_adapt_follows_the_written_formula():
    random = np.random.default_rng(2)
    x, q = unit(random.normal(size=(50, 8))), unit(random.normal(size=(4, 8)))
    centred = x - x.mean(0)
    scores = x @ q.T
    for _ in range(5):
        shares = np.exp(scores / 0.03)
        shares /= shares.sum(1, keepdims=True)
        scores = 0.5 * x @ q.T + 0.5 * centred @ unit(shares.T @ centred).T
    np.testing.assert_allclose(adapt(x, q), scores, atol=1e-4)


def test_adapt_finds_groups_that_the_labels_only_hint_at():
    random = np.random.default_rng(3)
    truth = np.arange(200) % 2
    groups = unit(random.normal(size=(2, 32)))
    x = unit(groups[truth] + 0.5 * unit(random.normal(size=(200, 32))))
    hint = unit(0.25 * groups + unit(random.normal(size=(2, 32))))
    plain = ((x @ hint.T).argmax(1) == truth).mean()
    adapted = (adapt(x, hint).argmax(1) == truth).mean()
    assert adapted > plain
    assert adapted > 0.97


@pytest.mark.parametrize("n", [1, 5])
def test_adapt_without_differences_between_images_returns_the_cosines(n):
    x = np.tile(unit(np.array([[3.0, 4.0]])), (n, 1))
    q = np.array([[1.0, 0.0], [0.0, 1.0]])
    np.testing.assert_allclose(adapt(x, q), x @ q.T, atol=1e-6)


def test_label_order_only_permutes_the_columns():
    random = np.random.default_rng(4)
    x, q = unit(random.normal(size=(30, 6))), unit(random.normal(size=(3, 6)))
    np.testing.assert_allclose(adapt(x, q[::-1]), adapt(x, q)[:, ::-1], atol=1e-6)
    scores = x @ q.T
    np.testing.assert_allclose(balance(scores[:, ::-1]), balance(scores)[:, ::-1], atol=1e-6)


def test_an_empty_batch_gives_no_rows():
    assert balance(np.zeros((0, 3))).shape == (0, 3)
    assert adapt(np.zeros((0, 4)), np.eye(4)[:2]).shape == (0, 2)


@pytest.mark.parametrize(
    "call",
    [
        lambda: balance(np.zeros(3)),
        lambda: balance(np.array([[np.nan, 0.0]])),
        lambda: balance(np.zeros((2, 2)), temperature=0),
        lambda: balance(np.zeros((2, 2)), n_iter=0),
        lambda: adapt(np.zeros((2, 3)), np.zeros((2, 4))),
        lambda: adapt(np.eye(3), np.eye(3), weight=1.5),
        lambda: adapt(np.eye(3), np.eye(3), temperature=-1),
        lambda: adapt(np.eye(3), np.eye(3), n_iter=0),
        lambda: adapt(np.full((2, 2), np.inf), np.eye(2)),
    ],
)
def test_unusable_arguments_are_refused_in_words(call):
    with pytest.raises(InputError, match=r"must|columns"):
        call()
