"""Nouns: which sense a label has, and how near two senses are."""

from __future__ import annotations

import math

import numpy as np
import pytest

from showtell.encoders.mini.nouns import NO_SENSE, AnchorSenses, Nouns

ENTITY, ANIMAL, DOG, CAT, STONE, POODLE, WOLF = range(7)


@pytest.fixture(scope="module")
def nouns() -> Nouns:
    """Build entity > (animal > (dog > poodle, cat, wolf), stone); poodle also is a stone."""
    return Nouns(
        Nouns.pack(
            parents=[[], [ENTITY], [ANIMAL], [ANIMAL], [ENTITY], [DOG, STONE], [ANIMAL]],
            senses={
                "entity": [ENTITY],
                "animal": [ANIMAL],
                "dog": [DOG, STONE],
                "hot dog": [STONE],
                "house cat": [CAT],
                "cat": [CAT],
                "t-shirt": [STONE],
                "wolf": [WOLF],
                "goose": [ANIMAL],
                "chest of drawers": [STONE],
                "poodle": [POODLE],
                "box": [STONE],
                "straße": [STONE],
            },
            irregular={"geese": "goose"},
        )
    )


def test_information_is_one_minus_the_log_share_of_senses_below(nouns):
    # below, each itself included: entity 7, animal 5, dog 2, cat 1, stone 2, poodle 1, wolf 1
    below = np.array([7, 5, 2, 1, 2, 1, 1])
    np.testing.assert_allclose(nouns.information, 1 - np.log(below) / math.log(7), atol=1e-12)


def test_lin_similarity_by_hand(nouns):
    animal, dog = 1 - math.log(5) / math.log(7), 1 - math.log(2) / math.log(7)
    assert nouns.similarity(CAT, WOLF) == pytest.approx(animal)  # 2 animal / (1 + 1)
    assert nouns.similarity(DOG, CAT) == pytest.approx(2 * animal / (dog + 1))
    assert nouns.similarity(DOG, POODLE) == pytest.approx(2 * dog / (dog + 1))
    assert nouns.similarity(CAT, STONE) == 0  # only the root is shared
    assert nouns.similarity(STONE, STONE) == 1


def test_a_sense_with_two_parents_is_near_both(nouns):
    stone = 1 - math.log(2) / math.log(7)
    assert nouns.similarity(POODLE, STONE) == pytest.approx(2 * stone / (1 + stone))
    assert nouns.above(POODLE) == {POODLE, DOG, STONE, ANIMAL, ENTITY}


def test_similarity_does_not_depend_on_the_order_of_the_two(nouns):
    for a in range(len(nouns)):
        for b in range(len(nouns)):
            assert nouns.similarity(a, b) == pytest.approx(nouns.similarity(b, a))
            assert 0 <= nouns.similarity(a, b) <= 1


def test_similarity_to_all_anchors_is_the_pairwise_one(nouns):
    anchors = AnchorSenses(nouns, [CAT, NO_SENSE, ENTITY, POODLE, STONE, CAT])
    for sense in range(len(nouns)):
        expected = [
            0.0 if anchor == NO_SENSE else nouns.similarity(sense, anchor)
            for anchor in anchors.senses.tolist()
        ]
        np.testing.assert_allclose(anchors.similarities(sense), expected, atol=1e-12)


@pytest.mark.parametrize(
    ("text", "senses"),
    [
        ("dog", (DOG, STONE)),
        ("DOGS", (DOG, STONE)),
        ("a small dog", (DOG, STONE)),
        ("hot dog", (STONE,)),
        ("my house cats", (CAT,)),
        ("wolves", (WOLF,)),
        ("geese", (ANIMAL,)),
        ("three geese", (ANIMAL,)),
        ("boxes", (STONE,)),
        ("t shirt", (STONE,)),
        ("T-Shirt", (STONE,)),
        ("housecat", ()),
        ("house-cat", (CAT,)),
        ("chest of drawers", (STONE,)),
        ("box of poodles", (POODLE,)),
        ("cat, which has whiskers like a wolf", (CAT,)),
        ("cat in a box", (CAT,)),
        ("wolf with a poodle", (WOLF,)),
        ("something, a cat", (CAT,)),
        ("Straße", (STONE,)),
        ("qwertz", ()),
        ("", ()),
        ("猫", ()),
    ],
)
def test_a_text_is_about_its_head_noun(nouns, text, senses):
    assert nouns.senses(text) == senses


def test_every_word_is_found_by_bisection(nouns):
    words = ["entity", "animal", "box", "cat", "wolf", "t-shirt", "straße", "chest of drawers"]
    assert all(nouns.look_up(word) for word in words)
    assert not any(nouns.look_up(word) for word in ["", "a", "catt", "zz", "ca"])


def test_packed_arrays_hold_no_objects():
    packed = Nouns.pack([[], [0]], {"one": [0], "two": [1]})
    assert all(array.dtype != object for array in packed.values())
    assert len(Nouns(packed)) == 2
