"""Checks of arguments: what is refused, what is said, which parameter is named."""

from __future__ import annotations

import numpy as np
import pytest

from showtell import checks
from showtell.errors import InputError, UnknownNameError


@pytest.mark.parametrize(
    ("check", "limits", "good", "bad", "said"),
    [
        (checks.at_least, (1,), 1, 0, "`n` must be at least 1, got 0."),
        (checks.above, (0,), 1e-9, 0, "`n` must be above 0, got 0."),
        (checks.between, (0, 1), 1, 1.1, "`n` must lie between 0 and 1, got 1.1."),
        (checks.whole, (1,), 3, 2.5, "`n` is a whole number from 1 up; got 2.5."),
        (checks.whole, (), -3, True, "`n` is a whole number; got True."),
    ],
)
def test_a_number_out_of_range_is_refused_and_its_parameter_named(check, limits, good, bad, said):
    check(*limits, n=good)
    with pytest.raises(InputError) as refused:
        check(*limits, n=bad)
    assert str(refused.value) == said
    assert refused.value.param == ("n",)


@pytest.mark.parametrize("check", [checks.at_least, checks.above])
def test_nan_is_no_number_in_any_range(check):
    with pytest.raises(InputError):
        check(0, n=float("nan"))
    with pytest.raises(InputError):
        checks.between(0, 1, n=float("nan"))


def test_the_ends_are_refused_where_the_range_is_strict():
    checks.between(0, 1, strictly=True, level=0.5)
    for end in (0, 1):
        with pytest.raises(InputError, match="strictly between 0 and 1"):
            checks.between(0, 1, strictly=True, level=end)


def test_a_whole_number_of_numpy_counts():
    checks.whole(0, shots=np.int64(5))


def test_what_else_is_allowed_is_said_and_let_through():
    checks.whole(1, also=[None, "auto"], n=None)
    checks.whole(1, also=[None, "auto"], n="auto")
    with pytest.raises(InputError, match="whole number from 1 up, or None, or 'auto'; got 'many'"):
        checks.whole(1, also=[None, "auto"], n="many")


def test_a_flag_is_true_or_false():
    checks.flag(also=["auto"], calibrate="auto")
    with pytest.raises(InputError, match="`anonymise` is True or False, got 1"):
        checks.flag(anonymise=1)


def test_an_unknown_name_lists_the_allowed():
    checks.one_of("measure", "accuracy", ("accuracy", "log loss"))
    with pytest.raises(UnknownNameError, match="accuracy"):
        checks.one_of("measure", "acuracy", ("accuracy", "log loss"))
    with pytest.raises(UnknownNameError, match="fox"):
        checks.known("part", ["cat", "fox"], ("cat", "dog"))
