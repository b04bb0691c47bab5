"""Repeated answers: the worked example, ties, no answers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from showtell.errors import InputError
from showtell.metrics import count_votes


def test_agreement_matches_the_worked_example():
    votes = count_votes([[2, 0, 2, 1, 2, 0, 2]], 3)
    assert votes.codes.tolist() == [2]
    assert votes.share[0] == pytest.approx(0.571, abs=5e-4)
    assert votes.margin[0] == pytest.approx(0.286, abs=5e-4)
    assert votes.entropy[0] == pytest.approx(0.956, abs=5e-4)
    assert not votes.tied[0]


def test_no_answer_lowers_the_share_but_never_wins():
    votes = count_votes([[-1, -1, -1, 1], [-1, -1, -1, -1], [0, 0, 0, 0]], 2)
    assert votes.codes.tolist() == [1, -1, 0]
    np.testing.assert_allclose(votes.share, [0.25, 0, 1])
    np.testing.assert_allclose(votes.margin, [0.25, 0, 1])
    np.testing.assert_allclose(votes.entropy, [stats.entropy([0.75, 0.25]), 0, 0])


def test_ties_are_drawn_evenly_and_repeatably():
    votes = [[0, 1]] * 2000
    first, second = count_votes(votes, 3), count_votes(votes, 3)
    np.testing.assert_array_equal(first.codes, second.codes)
    assert first.tied.all()
    assert (first.margin == 0).all()
    assert np.bincount(first.codes, minlength=3)[2] == 0
    assert first.codes.mean() == pytest.approx(0.5, abs=0.05)


@given(
    st.lists(st.lists(st.integers(-1, 3), min_size=5, max_size=5), min_size=1, max_size=6),
    st.permutations(range(5)),
)
def test_the_order_of_answers_does_not_matter(votes, order):
    here, there = count_votes(votes, 4), count_votes(np.array(votes)[:, order], 4)
    np.testing.assert_array_equal(here.codes, there.codes)
    np.testing.assert_allclose(here.entropy, there.entropy)
    for row, code, share in zip(votes, here.codes, here.share, strict=True):
        assert share == (row.count(code) / 5 if code >= 0 else 0)


def test_votes_that_cannot_be_counted_are_refused():
    with pytest.raises(InputError, match="at least one of each"):
        count_votes([], 2)
    with pytest.raises(InputError, match="`votes` holds 2"):
        count_votes([[0, 2]], 2)
