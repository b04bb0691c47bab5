"""Bias statistics: worked examples, invariances, and the published counts."""

from __future__ import annotations

import csv
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from showtell.errors import InputError
from showtell.metrics import (
    attractors,
    bias_verdict,
    detectable_pull,
    flip_rate,
    label_attraction,
    list_position,
    mcnemar_exact,
    recency,
    total_variation,
)

WORKED = np.array([[0, 1, 0, 1], [0, 1, 2, 2], [3, 3, 2, 3]])
WORKED_TRUTH = np.array([0, 2, 3])
ARMS = np.arange(4)


def test_the_worked_example_of_attraction():
    found = label_attraction(WORKED, WORKED_TRUTH, ARMS)
    np.testing.assert_allclose(found.per_image, [1 / 6, 2 / 3, 1 / 3])
    assert found.effect == pytest.approx(0.3889, abs=5e-5)
    assert found.exact
    assert found.n_permutations == 216
    assert found.p_value == pytest.approx(8 / 216)
    assert (found.n_images, found.n_answers) == (3, 9)


def test_the_mean_over_all_row_permutations_is_nothing():
    total, ways = 0.0, 0
    rows = [[j for j in range(4) if j != truth] for truth in WORKED_TRUTH]
    for orders in itertools.product(*(itertools.permutations(own) for own in rows)):
        shuffled = WORKED.copy()
        for i, (own, order) in enumerate(zip(rows, orders, strict=True)):
            shuffled[i, own] = WORKED[i, list(order)]
        total += label_attraction(shuffled, WORKED_TRUTH, ARMS, n_permutations=1).effect
        ways += 1
    assert ways == 216
    assert total / ways == pytest.approx(0, abs=1e-12)


def test_every_arm_giving_its_own_label_is_an_attraction_of_one():
    truth = np.arange(4)
    found = label_attraction(np.tile(ARMS, (4, 1)), truth, ARMS)
    assert found.effect == 1
    assert found.p_value == pytest.approx(6.0**-4)


@pytest.mark.parametrize("constant", range(4))
def test_a_constant_answer_is_no_attraction(constant):
    found = label_attraction(np.full((3, 4), constant), WORKED_TRUTH, ARMS)
    assert found.effect == pytest.approx(0)
    assert found.p_value == 1


def test_the_true_label_of_an_image_is_never_counted_as_attraction():
    truth = np.array([0, 1, 2, 3])
    found = label_attraction(np.repeat(truth[:, None], 4, axis=1), truth, ARMS)
    changed = np.repeat(truth[:, None], 4, axis=1)
    changed[np.arange(4), truth] = (truth + 1) % 4  # the arms that name the truth
    again = label_attraction(changed, truth, ARMS)
    assert (again.effect, again.p_value) == (found.effect, found.p_value) == (0, 1)


def test_attraction_without_exceptions_still_allows_what_so_few_answers_allow():
    truth = np.zeros(5, int)
    found = label_attraction(np.zeros((5, 3), int), truth, [0, 1, 2])
    assert found.n_answers == 10
    assert found.low == 0
    assert found.high == pytest.approx(1 - 0.05**0.1)


def test_random_shuffles_agree_with_all_of_them():
    rng = np.random.default_rng(3)
    truth = np.zeros(4, int)
    answers = rng.integers(0, 4, (4, 4))
    answers[0], answers[1] = [0, 1, 2, 0], [0, 1, 0, 3]
    exact = label_attraction(answers, truth, ARMS)
    assert exact.exact
    # images that never change add nothing but make the exact way count as before
    twice = np.concatenate([answers, answers, answers, answers])
    many = label_attraction(twice, np.zeros(16, int), ARMS, n_permutations=20_000)
    assert not many.exact
    assert many.effect == pytest.approx(exact.effect)
    assert many.p_value < exact.p_value


def test_a_missing_answer_takes_only_its_own_arm_out():
    answers = WORKED.copy()
    answers[1, 3] = -1  # image 2 keeps the arms a and b, both of which it follows
    found = label_attraction(answers, WORKED_TRUTH, ARMS)
    np.testing.assert_allclose(found.per_image, [1 / 6, 1, 1 / 3])
    assert found.n_answers == 8


def test_an_image_with_one_arm_left_does_not_count():
    answers = WORKED.copy()
    answers[0, 1:3] = -1
    found = label_attraction(answers, WORKED_TRUTH, ARMS)
    assert np.isnan(found.per_image[0])
    assert found.n_images == 2


@given(st.integers(0, 2**31), st.permutations(range(5)))
@settings(max_examples=40, deadline=None)
def test_attraction_does_not_depend_on_the_order_of_arms_or_labels(seed, order):
    rng = np.random.default_rng(seed)
    truth, answers = rng.integers(0, 5, 6), rng.integers(-1, 5, (6, 5))
    order = np.array(order)
    plain = label_attraction(answers, truth, np.arange(5), n_permutations=1)
    arms = label_attraction(answers[:, order], truth, order, n_permutations=1)
    renamed = np.where(answers < 0, -1, order[answers])
    labels = label_attraction(renamed, order[truth], order, n_permutations=1)
    np.testing.assert_allclose(arms.per_image, plain.per_image, atol=1e-12)
    np.testing.assert_allclose(labels.per_image, plain.per_image, atol=1e-12)
    assert -1 <= plain.effect <= 1


def test_two_labels_leave_no_two_wrong_arms():
    with pytest.raises(InputError, match="Three labels or more"):
        label_attraction([[0, 1]], [0], [0, 1])


def test_p_values_are_uniform_without_a_bias():
    rng = np.random.default_rng(0)
    hits = []
    for seed in range(100):
        truth = rng.integers(0, 5, 30)
        answers = np.where(rng.random((30, 5)) < 0.3, rng.integers(0, 5, (30, 5)), truth[:, None])
        arms = np.arange(5)
        hits.append(
            [
                label_attraction(
                    answers, truth, arms, n_permutations=199, random_state=seed
                ).p_value,
                recency(
                    answers, truth, arms, np.roll(arms, 1), n_permutations=199, random_state=seed
                ).p_value,
                list_position(
                    answers, truth, arms, 5, n_permutations=199, random_state=seed
                ).p_value,
            ]
        )
    for level in (0.05, 0.2):
        share = (np.array(hits) <= level).mean(axis=0)
        assert (share < level + 3 * np.sqrt(level * (1 - level) / 100)).all()
    assert (np.array(hits).mean(axis=0) < 0.6).all()  # and not all near 1


def test_recency_by_hand():
    # orders end in 1, 2, 0 and begin with 2, 0, 1; the truth is 0
    found = recency([[1, 2, 0], [0, 0, 0], [2, 0, 1]], [0, 0, 0], [1, 2, 0], [2, 0, 1])
    # image 1 follows both wrong last labels; image 3 both wrong first labels
    np.testing.assert_allclose(found.per_image, [1, 0, -1])
    assert found.effect == 0
    assert found.exact


def test_recency_of_one_that_always_follows_the_last():
    last, first = np.arange(4), np.roll(np.arange(4), -1)
    found = recency(np.tile(last, (10, 1)), np.zeros(10, int), last, first)
    assert found.effect == 1
    assert found.p_value == pytest.approx(1 / 10_000)


def test_position_by_hand():
    # the first of the list is always answered: label s under shift s
    found = list_position([[0, 1, 2]] * 4, [0, 0, 1, 2], [0, 1, 2], 3)
    np.testing.assert_allclose(found.shares, [1, 0, 0])
    np.testing.assert_allclose(found.expected, [1 / 3] * 3)
    assert found.effect == pytest.approx(2 / 3)
    assert found.favoured == 0
    assert found.flip_rate == 1
    assert found.slope == pytest.approx(-0.5)
    np.testing.assert_allclose(found.recall, [1, 0, 0])
    assert found.recall_sd == pytest.approx(np.std([1, 0, 0]))
    np.testing.assert_allclose(found.shares_wrong, [1, 0, 0])


def test_position_of_steady_answers_is_nothing_whatever_they_are():
    found = list_position(np.repeat([[3], [3], [1]], 5, axis=1), [0, 1, 2], np.arange(5), 5)
    np.testing.assert_allclose(found.shares, [0.2] * 5)
    assert (found.effect, found.p_value, found.flip_rate) == (pytest.approx(0), 1, 0)


def test_position_with_fewer_shifts_than_labels_looks_at_parts_of_the_list():
    shifts = np.array([0, 4, 8])
    found = list_position(np.tile(shifts, (30, 1)), np.zeros(30, int), shifts, 12)
    np.testing.assert_allclose(found.shares, [1, 0, 0])
    np.testing.assert_allclose(found.expected, [1 / 3] * 3)
    assert found.p_value < 0.001


def test_position_finds_what_fades_down_the_list():
    rng = np.random.default_rng(1)
    truth = rng.integers(0, 6, 150)
    shifts = np.arange(6)
    fading = rng.choice(6, (150, 6), p=np.arange(6, 0, -1) / 21)
    answers = np.where(rng.random((150, 6)) < 0.3, (fading + shifts) % 6, truth[:, None])
    found = list_position(answers, truth, shifts, 6)
    assert found.slope < 0
    assert found.p_value < 0.001


def test_position_leaves_missing_answers_out():
    answers = np.tile([0, 1, 2], (6, 1))
    answers[0] = -1
    answers[1, 0] = -1
    found = list_position(answers, np.zeros(6, int), [0, 1, 2], 3)
    assert (found.n_images, found.n_answers) == (5, 14)
    np.testing.assert_allclose(found.shares, [1, 0, 0])


def test_flip_rate_counts_images_and_not_answers():
    assert flip_rate([[0, 0, 0], [1, 2, 1], [2, -1, 2], [-1, -1, 0]]) == pytest.approx(1 / 3)


def read(path):
    with path.open(newline="") as file:
        rows = list(csv.reader(file))[1:]
    actual = [row[1].strip() for row in rows]
    predicted = [row[2].strip() for row in rows]
    labels = sorted(set(actual))
    index = {label: i for i, label in enumerate(labels)}
    return labels, [index[a] for a in actual], [index[p] for p in predicted]


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "attractor", "n", "true", "given", "errors", "drawn", "p_value", "distance"),
    [
        ("mnist", "3", 500, 50, 115, 104, 65, 6e-36, 0.146),
        ("animals", "cat", 500, 50, 163, 113, 113, 1e-108, 0.226),
        ("chess", "king", 465, 60, 214, 360, 182, 4e-38, 0.424),
    ],
)
def test_the_published_attractors(
    shared_data, name, attractor, n, true, given, errors, drawn, p_value, distance
):
    labels, y_true, y_pred = read(shared_data / f"llava7b-{name}.csv")
    rows = attractors(y_true, y_pred, len(labels))
    top = rows[0]
    assert labels[top.code] == attractor
    assert (len(y_true), top.n_true, top.n_predicted) == (n, true, given)
    assert (top.n_errors, top.n_drawn) == (errors, drawn)
    assert top.p_value == pytest.approx(p_value, rel=0.25)
    assert total_variation(y_true, y_pred, len(labels)) == pytest.approx(distance, abs=5e-4)


def test_harm_of_an_example_is_a_paired_test():
    a = np.repeat([1, 0], [9, 22])
    assert mcnemar_exact(a, 1 - a).p_value == pytest.approx(0.0294, abs=5e-5)


@pytest.mark.parametrize(
    ("p_value", "effect", "high", "said"),
    [
        (0.009, 0.02, 0.03, "biased"),
        (0.01, 0.05, 0.1, "inconclusive"),
        (0.009, 0.019, 0.03, "pass"),
        (0.5, 0.0, 0.019, "pass"),
        (0.5, 0.0, 0.02, "inconclusive"),
        (0.5, -0.1, -0.05, "pass"),
    ],
)
def test_verdicts(p_value, effect, high, said):
    assert bias_verdict(p_value, effect, high) == said


def test_more_answers_detect_smaller_pulls():
    pulls = [detectable_pull(n, 9, n_probes=5) for n in (50, 100, 300, 900, 10_000)]
    assert pulls == sorted(pulls, reverse=True)
    assert detectable_pull(1, 2) == 1.0
    assert pulls[-1] > 0.02


def test_wrong_shapes_are_named():
    with pytest.raises(InputError, match="one column per arm"):
        label_attraction([[0, 1, 2]], [0, 1], [0, 1, 2])
    with pytest.raises(InputError, match="different labels"):
        label_attraction([[0, 1, 2]], [0], [0, 1, 1])
    with pytest.raises(InputError, match="different rotations"):
        list_position([[0, 1]], [0], [0, 2], 2)
    with pytest.raises(InputError, match="codes"):
        recency([[0.5, 1]], [0], [0, 1], [1, 0])
