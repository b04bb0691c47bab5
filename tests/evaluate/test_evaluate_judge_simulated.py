"""What a judge's habits do to win rates, by simulation against the formulas."""

import numpy as np
import pytest

from showtell.evaluate.judging.scores import pair_scores, position_bias, win_rate


def verdicts(rng, n, rate, by_place, by_chance):
    """Scores of A shown first and second: some pairs by place alone, some verdicts by chance."""
    truth = (rng.random(n) < rate).astype(float)
    said = np.stack([truth, truth], axis=1)
    chance = rng.random((n, 2)) < by_chance
    said[chance] = rng.integers(0, 2, int(chance.sum()))
    said[rng.random(n) < by_place] = [1.0, 0.0]
    return said


@pytest.mark.parametrize(("by_place", "shrunk"), [(0.0, 0.8), (0.3, 0.56)])
def test_a_judges_errors_shrink_the_difference_by_the_formula(by_place, shrunk):
    """Right in a share q of verdicts and by place in beta: (2q - 1)(1 - beta) of W - 1/2."""
    rng = np.random.default_rng(0)
    said = verdicts(rng, 200_000, 0.7, by_place, 0.2)  # chance is right in half: q = .9
    rate = win_rate(pair_scores(said)).rate
    assert rate - 0.5 == pytest.approx(0.2 * shrunk, abs=0.004)


def test_a_fixed_order_finds_winners_where_there_are_none_and_both_orders_do_not():
    rng = np.random.default_rng(1)
    fixed = both = 0
    for _ in range(200):
        said = verdicts(rng, 400, 0.5, 0.2, 0.1)
        fixed += win_rate(said[:, 0]).winner == "A"
        both += win_rate(pair_scores(said)).winner is not None
    assert fixed > 180
    assert both <= 18  # 5 % of 200, and 2.5 standard errors


def test_two_orders_of_a_pair_counted_as_two_pairs_raise_false_alarms():
    rng = np.random.default_rng(2)
    pairs = verdicts_alone = 0
    for _ in range(600):
        said = verdicts(rng, 100, 0.5, 0.0, 0.1)
        own, apart = win_rate(pair_scores(said)), win_rate(said.ravel())
        pairs += not own.low <= 0.5 <= own.high
        verdicts_alone += not apart.low <= 0.5 <= apart.high
    assert pairs / 600 < 0.08
    assert 0.10 < verdicts_alone / 600 < 0.20


def test_a_planted_habit_is_told_by_sign_and_size():
    rng = np.random.default_rng(3)
    found = position_bias(verdicts(rng, 2000, 0.5, 0.3, 0.0))
    assert found.bias == pytest.approx(0.3, abs=0.03)
    assert found.p_value < 1e-6
    swapped = position_bias(verdicts(rng, 2000, 0.5, 0.3, 0.0)[:, ::-1])
    assert swapped.bias == pytest.approx(-0.3, abs=0.03)
