"""METHODS 9.3 and 9.7 by hand: priors of prompts and places, taken out of probabilities."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import softmax

from showtell.errors import InputError, UnknownNameError
from showtell.metrics import (
    average_rotations,
    batch_calibration,
    content_free_prior,
    contextual_calibration,
    fit_batch_gamma,
    geometric_mean,
    remove_prior,
    rotations_of,
)

ROWS = np.array([[0.7, 0.2, 0.1], [0.55, 0.4, 0.05], [0.6, 0.1, 0.3], [0.5, 0.45, 0.05]])
PRIOR = np.array([0.6, 0.25, 0.15])
TRUE, WEIGHT = np.array([0.45, 0.40, 0.15]), np.array([2.0, 1.0, 1.0])

rows_of_three = st.lists(st.tuples(*[st.floats(0.01, 1)] * 3), min_size=2, max_size=9).map(
    lambda rows: np.array(rows) / np.array(rows).sum(axis=1, keepdims=True)
)


# Contextual calibration


def test_contextual_calibration_by_hand():
    assert ROWS.argmax(axis=1).tolist() == [0, 0, 0, 0]
    corrected = contextual_calibration(ROWS, PRIOR)
    assert corrected.argmax(axis=1).tolist() == [0, 1, 2, 1]
    np.testing.assert_allclose(corrected[0], [0.4430, 0.3038, 0.2532], atol=5e-5)
    np.testing.assert_allclose(corrected.sum(axis=1), 1)


def test_the_prior_is_the_mean_of_normalised_rows():
    nulls = np.array([[0.14, 0.04, 0.02], [0.5, 0.3, 0.2]])  # the first is unnormalised: .7 .2 .1
    np.testing.assert_allclose(content_free_prior(nulls), PRIOR, rtol=1e-5)
    np.testing.assert_allclose(contextual_calibration(ROWS, nulls)[0], [0.4430, 0.3038, 0.2532],
                               atol=5e-5)  # fmt: skip


@given(rows_of_three)
def test_an_even_prior_changes_nothing(rows):
    np.testing.assert_allclose(contextual_calibration(rows, np.full(3, 1 / 3)), rows, atol=1e-9)
    by = contextual_calibration(rows, np.full(3, 1 / 3), form="subtract").argmax(axis=1)
    np.testing.assert_allclose(rows[np.arange(len(rows)), by], rows.max(axis=1))


def test_the_subtractive_form_by_hand():
    corrected = contextual_calibration(ROWS, PRIOR, form="subtract")
    np.testing.assert_allclose(corrected, softmax(ROWS - PRIOR, axis=1), atol=1e-6)
    # .10 -.05 -.05 / -.05 .15 -.10 / .00 -.15 .15 / -.10 .20 -.10
    assert corrected.argmax(axis=1).tolist() == [0, 1, 2, 1]


def test_an_unknown_form_is_named_with_the_valid_ones():
    with pytest.raises(UnknownNameError, match="divide, subtract"):
        contextual_calibration(ROWS, PRIOR, form="multiply")


@given(rows_of_three, st.lists(st.floats(-3, 3), min_size=3, max_size=3))
def test_a_planted_factor_per_label_is_undone(rows, bias):
    planted = rows * np.exp(bias)
    planted /= planted.sum(axis=1, keepdims=True)
    null = np.exp(bias) / np.exp(bias).sum()
    np.testing.assert_allclose(contextual_calibration(planted, null), rows, atol=1e-3)


def test_zeros_are_floored_before_logarithms():
    corrected = contextual_calibration([[1.0, 0.0, 0.0]], [[0.0, 1.0, 0.0]])
    assert np.isfinite(corrected).all()
    assert corrected[0, 0] == pytest.approx(1, abs=1e-4)
    assert np.isfinite(remove_prior(np.log(ROWS), np.array([1.0, 0.0, 0.0]))).all()


@pytest.mark.parametrize("prior", [[0.5, 0.5], [], [np.nan, 0.5, 0.5], [-0.1, 0.6, 0.5]])
def test_a_prior_that_is_none_is_refused(prior):
    with pytest.raises(InputError, match="prior"):
        contextual_calibration(ROWS, prior)


# Batch calibration


def test_batch_calibration_by_hand():
    prior = ROWS.mean(axis=0)
    np.testing.assert_allclose(prior, [0.5875, 0.2875, 0.125])
    assert batch_calibration(ROWS).argmax(axis=1).tolist() == [0, 1, 2, 1]
    assert batch_calibration(ROWS, gamma=0).argmax(axis=1).tolist() == [0, 0, 0, 0]
    np.testing.assert_allclose(batch_calibration(ROWS, gamma=0), ROWS, atol=1e-9)


@given(rows_of_three)
def test_ratios_to_the_batch_average_to_one_for_every_label(rows):
    ratios = np.exp(remove_prior(np.log(rows), rows.mean(axis=0)))
    np.testing.assert_allclose(ratios.mean(axis=0), 1)


def test_with_the_prior_of_a_batch_a_row_does_not_depend_on_its_neighbours():
    prior = ROWS.mean(axis=0)
    alone = np.concatenate([batch_calibration(row[None], prior=prior) for row in ROWS])
    np.testing.assert_allclose(alone, batch_calibration(ROWS))


def test_a_row_alone_cannot_be_its_own_prior():
    with pytest.raises(InputError, match="10 rows a label"):
        batch_calibration(ROWS[:1])


def test_gamma_is_chosen_by_labelled_rows():
    assert fit_batch_gamma(ROWS, [0, 1, 2, 1]) == 1.0
    assert fit_batch_gamma(ROWS, [0, 0, 0, 0], grid=(0, 0.5, 1, 2)) == 0
    # anything is as right as anything where no row can move: nearest to 1
    assert fit_batch_gamma(np.full((2, 3), 1 / 3), [0, 0]) == 1.0
    with pytest.raises(InputError, match="empty"):
        fit_batch_gamma(ROWS, [0, 1, 2, 1], grid=())
    with pytest.raises(InputError, match="y_true"):
        fit_batch_gamma(ROWS, [0, 1, 2, 3])


# Permutations


def test_all_rotations_cancel_a_preference_for_places():
    orders = rotations_of(3, None)
    seen = np.stack([TRUE[order] * WEIGHT for order in orders])
    winners = [order[row.argmax()] for order, row in zip(orders, seen, strict=True)]
    assert winners == [0, 1, 0]
    np.testing.assert_allclose(softmax(average_rotations(np.log(seen), orders)), TRUE)
    by_label = np.zeros((3, 3))
    for r, (order, row) in enumerate(zip(orders, seen, strict=True)):
        by_label[r, order] = row / row.sum()
    np.testing.assert_allclose(geometric_mean(by_label), TRUE)
    np.testing.assert_allclose(by_label.mean(axis=0), [0.4445, 0.3984, 0.1572], atol=5e-5)


def test_a_label_that_was_not_to_choose_from_keeps_its_zero():
    np.testing.assert_allclose(geometric_mean([[0.9, 0.1, 0], [0.4, 0.6, 0]])[2], 0)
    mean = geometric_mean([[1.0, 0.0], [0.0, 1.0]])
    np.testing.assert_allclose(mean, 0.5)
    np.testing.assert_allclose(geometric_mean([[0.0, 0.0]]), 0.5)


@given(st.integers(1, 30), st.integers(1, 40))
def test_rotations_are_different_shifts_and_never_more_than_options(n, asked):
    orders = rotations_of(n, asked)
    assert len(orders) == min(n, asked)
    assert len({order[0] for order in orders}) == len(orders)
    assert all(sorted(order) == list(range(n)) for order in orders)
