"""METHODS 10.7 by hand: scores of labels from the log-probabilities of their tokens."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import log_softmax, softmax

from showtell.errors import InputError, UnknownNameError
from showtell.mllm.local.continuations import (
    TokenScores,
    extrapolate_scores,
    merge_aliases,
    pmi_scores,
    score_labels,
    tokenise_labels,
    yes_no_probability,
)

LOGPROBS = np.array([[-1.2, 0, 0], [-2.0, -0.1, 0], [-2.3, -0.2, -0.1]])
CATS = TokenScores(logprobs=LOGPROBS, lengths=np.array([1, 2, 3]), end=np.array([-2.0, -0.5, -0.1]))
NULL = np.array([-0.9, -3.3, -4.9])


def characters(text: str) -> list[int]:
    return [ord(c) for c in text]


def test_sum_prefers_the_short_label():
    scores = score_labels(CATS, "sum")
    np.testing.assert_allclose(scores, [-1.2, -2.1, -2.6])
    np.testing.assert_allclose(softmax(scores), [0.605, 0.246, 0.149], atol=5e-4)


def test_mean_prefers_the_long_predictable_label():
    np.testing.assert_allclose(score_labels(CATS, "mean"), [-1.2, -1.05, -2.6 / 3])


def test_pmi_prefers_what_the_picture_makes_likelier():
    scores = pmi_scores(score_labels(CATS, "sum"), NULL)
    np.testing.assert_allclose(scores, [-0.3, 1.2, 2.3])
    np.testing.assert_allclose(softmax(scores), [0.053, 0.237, 0.711], atol=5e-4)


def test_sum_eos_adds_the_end_and_needs_it():
    np.testing.assert_allclose(score_labels(CATS, "sum_eos"), [-3.2, -2.6, -2.7])
    with pytest.raises(InputError, match="end of the text"):
        score_labels(TokenScores(logprobs=LOGPROBS, lengths=np.array([1, 2, 3])), "sum_eos")


def test_an_unknown_rule_is_named_with_the_valid_ones():
    with pytest.raises(UnknownNameError, match="sum_eos"):
        score_labels(CATS, "median")


def test_yes_against_no():
    assert yes_no_probability(np.log(0.62), np.log(0.21)) == pytest.approx(0.62 / 0.83)


def test_the_same_picture_as_null_gives_no_information():
    scores = score_labels(CATS, "sum")
    np.testing.assert_array_equal(pmi_scores(scores, scores), 0)
    np.testing.assert_allclose(pmi_scores(NULL, scores), -pmi_scores(scores, NULL))


def test_several_nulls_are_averaged():
    np.testing.assert_allclose(pmi_scores(NULL, np.stack([NULL, NULL - 2])), 1)


@pytest.mark.parametrize(("alpha", "removed"), [(1, 0), (2, 0.5), (4, 0.75), (8, 0.875)])
def test_extrapolation_ranks_like_taking_off_a_share_of_the_mean(alpha, removed):
    scores = score_labels(CATS, "sum")
    moved = extrapolate_scores(scores, NULL, alpha)
    np.testing.assert_allclose(moved, alpha * (scores - removed * NULL))


def test_aliases_add_up():
    merged = merge_aliases(np.log([0.2, 0.3, 0.1, 0.05]), [0, 1, 0, 2], 4)
    np.testing.assert_allclose(np.exp(merged), [0.3, 0.3, 0.05, 0])


@given(st.lists(st.floats(-30, 0), min_size=2, max_size=9))
def test_the_label_that_goes_on_is_never_likelier_than_its_beginning(logits):
    lp = log_softmax(np.array(logits))
    both = np.stack([[lp[0], 0.0], [lp[0], lp[1]]])
    short, long = score_labels(TokenScores(logprobs=both, lengths=np.array([1, 2])), "sum")
    assert long <= short <= 0


def test_labels_are_tokenised_as_what_follows():
    found = tokenise_labels(characters, "It is a", ["cat", "ox"])
    assert found.prefix == tuple(characters("It is a"))
    assert found.tokens == (tuple(characters(" cat")), tuple(characters(" ox")))
    assert tokenise_labels(characters, "a ", ["cat"], separator="").tokens[0][0] == ord("c")


def test_a_prefix_that_the_tokenizer_merges_with_the_label_is_refused():
    with pytest.raises(InputError, match=r"merges the end of the prompt with label 'cat'.*`stub`"):
        tokenise_labels(lambda text: [len(text), *characters(text)], "It is a", ["cat"])


def test_a_label_without_tokens_is_refused():
    with pytest.raises(InputError, match="merges"):
        tokenise_labels(lambda text: [1, 2], "It is a", ["cat"])


def test_labels_with_equal_tokens_are_refused():
    with pytest.raises(InputError, match="cannot tell the labels 'Cat' and 'cat' apart"):
        tokenise_labels(lambda text: characters(text.lower()), "a", ["Cat", "cat"])
