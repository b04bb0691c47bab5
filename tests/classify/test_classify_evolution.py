"""Evolving descriptions, the arithmetic: equal to scoring every change from the embeddings."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from showtell.classify.evolving.arithmetic import (
    Fitness,
    MemoryBank,
    balanced_clusters,
    bank_changes,
    fitness_of,
    greedy_crossover,
    near_misses,
    score_columns,
    worst_confusions,
)
from showtell.errors import InputError, UnknownNameError

# METHODS 6.8
SCORES = np.array([[0.30, 0.29, 0.20], [0.25, 0.28, 0.26], [0.24, 0.31, 0.30], [0.22, 0.23, 0.29]])
CODES = np.array([0, 0, 1, 2])


def unit(rng, *shape):
    rows = rng.normal(size=shape)
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def problem(seed, n_classes=4, n_texts=5, n_images=24, n_dims=12):
    rng = np.random.default_rng(seed)
    codes = np.arange(n_images) % n_classes
    centres = unit(rng, n_classes, n_dims)
    images = centres[codes] + 0.9 * unit(rng, n_images, n_dims)
    images /= np.linalg.norm(images, axis=1, keepdims=True)
    texts = [unit(rng, n_texts, n_dims) + 0.4 * centres[c] for c in range(n_classes)]
    texts = [t / np.linalg.norm(t, axis=1, keepdims=True) for t in texts]
    return images, texts, codes


def test_the_worked_example():
    assert fitness_of(SCORES, CODES).accuracy == 0.75
    at_one = [[0, 1, 1], [0, 0, 0], [0, 0, 0]]
    at_nine = [[0, 2, 1], [0, 0, 1], [0, 0, 0]]
    assert near_misses(SCORES, CODES, ratio=1.0).tolist() == at_one
    assert near_misses(SCORES, CODES, ratio=0.9).tolist() == at_nine
    assert near_misses(SCORES, CODES, ratio=0.8).tolist() == at_nine
    assert near_misses(SCORES, CODES).sum(axis=1).tolist() == [3, 1, 0]
    assert near_misses(SCORES, CODES, form="upstream").tolist() == at_nine
    assert near_misses(SCORES, CODES, form="upstream", scale=100).tolist() == at_one


@given(seed=st.integers(0, 2**32 - 1), low=st.floats(0.1, 1.5), high=st.floats(0.1, 1.5))
def test_near_misses_fall_as_the_ratio_rises(seed, low, high):
    rng = np.random.default_rng(seed)
    scores, codes = rng.uniform(-0.2, 1, (20, 5)), rng.integers(5, size=20)
    low, high = sorted((low, high))
    assert (near_misses(scores, codes, ratio=low) >= near_misses(scores, codes, ratio=high)).all()


def test_at_ratio_one_every_wrong_image_is_a_near_miss():
    rng = np.random.default_rng(0)
    scores, codes = rng.uniform(size=(50, 4)), rng.integers(4, size=50)
    counts = near_misses(scores, codes, ratio=1.0)
    for guess, code in zip(scores.argmax(axis=1), codes, strict=True):
        assert guess == code or counts[code, guess] > 0


def test_the_worst_confusions_are_taken_per_row_and_leave_zeros_out():
    counts = np.array([[0, 3, 1, 3], [0, 0, 0, 0], [9, 0, 0, 1], [0, 0, 2, 0]])
    assert worst_confusions(counts, 2) == [[1, 3], [], [0, 3], [2]]


def test_a_constant_score_is_right_about_nothing():
    assert fitness_of(np.ones((6, 3)), np.arange(6) % 3) == Fitness(0.0, 0.0)


def test_the_order_of_labels_changes_no_fitness():
    rng = np.random.default_rng(1)
    scores, codes = rng.uniform(size=(30, 5)), rng.integers(5, size=30)
    order = rng.permutation(5)
    place = np.argsort(order)
    assert fitness_of(scores[:, order], place[codes]) == fitness_of(scores, codes)


def slow_crossover(images, texts, start, codes, *, n_least, n_most, max_sweeps=3):
    """Score every single change from the embeddings, one after the other."""

    def fitness(masks):
        columns = [(images @ t[m].T).mean(axis=1) for t, m in zip(texts, masks, strict=True)]
        return fitness_of(np.stack(columns, axis=1), codes)

    masks = [m.copy() for m in start]
    best = fitness(masks)
    scores = score_columns([images @ t.T for t in texts], masks)
    order = np.argsort(-near_misses(scores, codes).sum(axis=1), kind="stable")
    for _ in range(max_sweeps):
        changed = False
        for c in order:
            inside, outside = np.flatnonzero(masks[c]), np.flatnonzero(~masks[c])
            moves = []
            if n_most is None or len(inside) < n_most:
                moves += [(None, u) for u in outside]
            if len(inside) > max(n_least, 1):
                moves += [(v, None) for v in inside]
            moves += [(v, u) for v in inside for u in outside]
            top, top_mask = None, None
            for gone, new in moves:
                mask = masks[c].copy()
                if gone is not None:
                    mask[gone] = False
                if new is not None:
                    mask[new] = True
                found = fitness([*masks[:c], mask, *masks[c + 1 :]])
                if top is None or found.beats(top):
                    top, top_mask = found, mask
            if top is not None and top.beats(best):
                best, masks[c], changed = top, top_mask, True
        if not changed:
            break
    return best, masks


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 10_000), n_least=st.integers(1, 2), n_most=st.sampled_from([2, 3, None]))
def test_greedy_crossover_equals_scoring_every_change_from_the_embeddings(seed, n_least, n_most):
    images, texts, codes = problem(seed)
    start = [np.array([True, True, False, False, False])] * 4
    quick = greedy_crossover(
        [images @ t.T for t in texts], start, codes, n_least=n_least, n_most=n_most
    )
    fitness, masks = slow_crossover(images, texts, start, codes, n_least=n_least, n_most=n_most)
    assert quick.fitness.accuracy == fitness.accuracy
    assert quick.fitness.margin == pytest.approx(fitness.margin, abs=1e-9)
    assert [m.tolist() for m in quick.chosen] == [m.tolist() for m in masks]


@given(seed=st.integers(0, 10_000))
def test_crossover_never_loses_and_keeps_the_bounds(seed):
    images, texts, codes = problem(seed, n_texts=6)
    start = [np.arange(6) < 3] * 4
    found = greedy_crossover([images @ t.T for t in texts], start, codes, n_least=2, n_most=4)
    assert found.fitness >= found.before
    assert all(2 <= mask.sum() <= 4 for mask in found.chosen)
    assert found.n_sweeps <= 3
    assert start[0].tolist() == [True] * 3 + [False] * 3  # what was given is not touched


def test_a_pool_without_anything_better_is_left_alone():
    images, texts, codes = problem(3)
    pools = [np.repeat((images @ t.T)[:, :1], 3, axis=1) for t in texts]
    found = greedy_crossover(pools, [np.array([True, False, False])] * 4, codes)
    assert found.n_changes == 0
    assert found.n_tried > 0


def test_removed_words_are_judged_for_every_label_and_not_only_the_first():
    # Two labels, each with a word that hurts: the base must not change from one to the other.
    scores = np.array([[0.2, 0.3, 0.0], [0.3, 0.2, 0.0], [0.0, 0.0, 0.4]])
    codes = np.array([0, 1, 2])
    for code, kept in ((0, [0.4, 0.3, 0.0]), (1, [0.3, 0.4, 0.0])):
        changed = bank_changes(scores, codes, code=code, kept=np.array(kept), after=np.array(kept))
        assert changed == (-1, 0)


def test_removing_a_useful_word_is_noted_as_good():
    scores = np.array([[0.4, 0.3], [0.1, 0.3]])
    kept, after = np.array([0.2, 0.1]), np.array([0.4, 0.1])
    assert bank_changes(scores, np.array([0, 1]), code=0, kept=kept, after=after) == (1, 1)
    assert bank_changes(scores, np.array([0, 1]), code=0, kept=None, after=after) == (0, 0)


def test_banks_hold_the_last_words_and_none_that_is_in_use():
    bank = MemoryBank(n_most=3)
    bank.add("cat", good=["a", "b", "c", "d"], bad=["x"])
    assert bank.good["cat"] == ["b", "c", "d"]
    bank.add("cat", good=["x"], bad=["c"], in_use=["d"])
    assert bank.good["cat"] == ["b", "x"]
    assert bank.bad["cat"] == ["c"]
    assert MemoryBank.from_record(bank.to_record(), n_most=3) == bank


@given(seed=st.integers(0, 1000), n=st.integers(1, 45), size=st.integers(1, 12))
def test_clusters_cover_every_label_once_and_are_balanced(seed, n, size):
    vectors = unit(np.random.default_rng(seed), n, 8)
    clusters = balanced_clusters(vectors, size=size, random_state=seed)
    assert sorted(label for group in clusters for label in group) == list(range(n))
    assert max(map(len, clusters)) <= -(-n // len(clusters)) <= size
    assert clusters == balanced_clusters(vectors, size=size, random_state=seed)


def test_clusters_hold_what_is_alike():
    rng = np.random.default_rng(0)
    centres = np.eye(8)[:3]
    vectors = np.repeat(centres, 4, axis=0) + 0.05 * rng.normal(size=(12, 8))
    found = balanced_clusters(vectors, size=4)
    assert found == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: fitness_of(np.ones((0, 3)), np.ones(0, int)), "an image and two classes"),
        (lambda: fitness_of(np.ones((2, 1)), np.zeros(2, int)), "an image and two classes"),
        (lambda: fitness_of(SCORES, CODES[:2]), "one label for each of 4 images"),
        (lambda: fitness_of(SCORES, CODES + 1), r"0 to 2, got 1\.\.3"),
        (lambda: near_misses(SCORES, CODES, ratio=0), "must be above 0"),
        (lambda: balanced_clusters(SCORES, size=0), "at least 1, got 0"),
        (lambda: score_columns([SCORES], [np.zeros(3, bool)]), "Label 0 has no description"),
        (lambda: greedy_crossover([SCORES] * 3, [np.ones(3, bool)] * 3, CODES, n_least=0), "n_lea"),
    ],
)
def test_what_makes_no_sense_is_refused(call, words):
    with pytest.raises(InputError, match=words):
        call()


def test_unknown_forms_list_the_known_ones():
    with pytest.raises(UnknownNameError, match="upstream"):
        near_misses(SCORES, CODES, form="cosine")
