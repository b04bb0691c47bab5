"""How sure an answer in words is: values worked out by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from showtell.classify.asking.confidence import (
    ConfidenceMap,
    label_probabilities,
    spread,
    with_confidence,
)
from showtell.errors import InputError
from showtell.mllm import TokenLogprob


def token(text, p=1.0, **top):
    others = tuple((t, float(np.log(q))) for t, q in top.items())
    return TokenLogprob(
        token=text, logprob=float(np.log(p)), top=((text, float(np.log(p))), *others)
    )


# Rows


def test_the_rest_is_shared_evenly():
    np.testing.assert_allclose(spread(0, 0.7, 4), [0.7, 0.1, 0.1, 0.1])
    np.testing.assert_allclose(spread(0, 0.3, 1), [1.0])


def test_the_others_keep_their_proportions():
    np.testing.assert_allclose(
        with_confidence([0.5, 0.3, 0.1, 0.1], 0, 0.8), [0.8, 0.12, 0.04, 0.04]
    )


@given(st.integers(1, 12), st.data())
def test_a_row_is_a_distribution_whose_best_label_is_the_answer(n, data):
    code = data.draw(st.integers(0, n - 1))
    confidence = data.draw(st.floats(0, 1))
    weights = data.draw(st.lists(st.floats(0, 1), min_size=n, max_size=n))
    row = with_confidence(weights, code, confidence).astype(np.float32)
    assert row.sum() == pytest.approx(1, abs=1e-5)
    assert (row >= 0).all()
    assert row.argmax() == code


# Log-probabilities


def test_single_token_labels_are_normalised_over_the_set():
    tokens = [token('{"label": "'), token("cat", 0.6, dog=0.3, cow=0.05), token('"}')]
    row = label_probabilities(tokens, ["cat", "dog"])
    np.testing.assert_allclose(row, [2 / 3, 1 / 3], rtol=1e-6)


def test_labels_that_share_a_beginning_are_told_apart_by_their_later_tokens():
    # red 0.9 x (admiral 0.7, fox 0.2); blue 0.08
    tokens = [token('{"label": "'), token("red ", 0.9, blue=0.08), token("admiral", 0.7, fox=0.2),
              token('"}')]  # fmt: skip
    row = label_probabilities(tokens, ["red admiral", "red fox", "blue"])
    expected = np.array([0.63, 0.18, 0.08])
    np.testing.assert_allclose(row, expected / expected.sum(), rtol=1e-5)


def test_a_way_that_several_labels_share_goes_to_them_in_equal_parts():
    tokens = [token('{"label": "'), token("blue", 0.5, red=0.4), token('"}')]
    row = label_probabilities(tokens, ["red admiral", "red fox", "blue"])
    expected = np.array([0.2, 0.2, 0.5])
    np.testing.assert_allclose(row, expected / expected.sum(), rtol=1e-5)


def test_a_label_that_begins_another_is_ended_by_the_quote():
    tokens = [token('{"label": "'), token("cat", 0.9), token('"', 0.8, fish=0.2), token("}")]
    row = label_probabilities(tokens, ["cat", "catfish"])
    np.testing.assert_allclose(row, [0.8, 0.2], rtol=1e-5)


def test_tokens_that_begin_before_the_label_or_end_after_it():
    tokens = [token('{"label":'), TokenLogprob(
        token=' "cat"}', logprob=np.log(0.75),
        top=((' "cat"}', np.log(0.75)), (' "dog"}', np.log(0.25)), ("null", np.log(1e-9))),
    )]  # fmt: skip
    row = label_probabilities(tokens, ["cat", "dog"])
    np.testing.assert_allclose(row, [0.75, 0.25], rtol=1e-5)


def test_an_answer_of_the_label_alone():
    row = label_probabilities([token(" cat", 0.6, **{" dog": 0.2})], ["cat", "dog"])
    np.testing.assert_allclose(row, [0.75, 0.25], rtol=1e-5)


def test_a_label_nothing_leads_to_gets_a_floor_and_another_answer_no_row():
    tokens = [token('{"label": "'), token("cat"), token('"}')]
    row = label_probabilities(tokens, ["cat", "dog"])
    assert 0 < row[1] < 1e-5
    assert label_probabilities([token('{"label": "'), token("cow"), token('"}')], ["cat"]) is None
    assert label_probabilities([], ["cat"]) is None


def test_the_whole_distribution_comes_back_from_tokens_of_four_letters():
    shares = {"monarch": 0.5, "mourning cloak": 0.3, "red admiral": 0.15, 'a "b"': 0.05}

    def cut(name):
        text = json.dumps(name)[1:-1]
        return [*(text[i : i + 4] for i in range(0, len(text), 4)), '"']

    for said in shares:
        tokens, left = [token('{"id": "x", "label": "')], {n: cut(n) for n in shares}
        for place, piece in enumerate(cut(said)):
            total = sum(shares[n] for n in left)
            mass = {}
            for n, pieces in left.items():
                mass[pieces[place]] = mass.get(pieces[place], 0) + shares[n] / total
            top = tuple((t, float(np.log(p))) for t, p in mass.items())
            tokens.append(TokenLogprob(token=piece, logprob=float(np.log(mass[piece])), top=top))
            left = {n: p for n, p in left.items() if p[place] == piece}
        row = label_probabilities([*tokens, token("}")], list(shares))
        np.testing.assert_allclose(row[list(shares).index(said)], shares[said], atol=1e-5)
        assert row.sum() == pytest.approx(1)


# Calibration


def test_bins_of_twenty_become_a_rising_line():
    x = [0.5] * 20 + [0.7] * 20 + [0.9] * 20
    right = [True] * 4 + [False] * 16 + [True] * 14 + [False] * 6 + [True] * 20
    found = ConfidenceMap.fit(x, right)
    assert found.kind == "isotonic"
    np.testing.assert_allclose(found.y, [5 / 22, 15 / 22, 21 / 22])
    np.testing.assert_allclose(found.apply([0.1, 0.6, 1.0]), [5 / 22, 10 / 22, 21 / 22])


def test_bins_that_fall_are_pooled():
    found = ConfidenceMap.fit([0.5] * 20 + [0.9] * 20, [True] * 20 + [False] * 20)
    np.testing.assert_allclose(found.y, [0.5, 0.5])


def test_few_answers_of_one_confidence_give_their_smoothed_share():
    found = ConfidenceMap.fit([1.0] * 18, [True] * 12 + [False] * 6)
    assert found.kind == "platt"
    targets = (12 * 13 / 14 + 6 * 1 / 8) / 18
    np.testing.assert_allclose(found.apply([1.0, 0.3]), targets, atol=1e-4)


def test_with_very_few_answers_nothing_changes():
    found = ConfidenceMap.fit([0.9, 0.8], [True, False])
    assert found.kind == "none"
    np.testing.assert_array_equal(found.apply([0.9, 0.1]), [0.9, 0.1])


@given(
    st.lists(st.tuples(st.sampled_from([0, 0.3, 0.7, 0.8, 0.9, 1.0]), st.booleans()), max_size=90)
)
def test_calibration_is_monotone_within_bounds_and_survives_json(pairs):
    found = ConfidenceMap.fit([x for x, _ in pairs], [hit for _, hit in pairs])
    grid = np.linspace(0, 1, 21)
    values = found.apply(grid)
    assert (np.diff(values) >= -1e-12).all()
    assert ((values >= 0) & (values <= 1)).all()
    again = ConfidenceMap.from_json(json.loads(json.dumps(found.to_json())))
    np.testing.assert_array_equal(again.apply(grid), values)


def test_a_damaged_calibration_is_refused():
    for values in (
        {"kind": "magic", "x": [], "y": [], "n": 0},
        {"kind": "isotonic", "x": [0.1, 0.1], "y": [0, 1], "n": 40},
        {"kind": "isotonic", "x": [0.1, 0.2], "y": [1, 0], "n": 40},
        {"kind": "platt", "x": [1.0], "y": [], "n": 12},
    ):
        with pytest.raises((InputError, KeyError)):
            ConfidenceMap.from_json(values)
    with pytest.raises(InputError, match="equal length"):
        ConfidenceMap.fit([2.0], [True])
