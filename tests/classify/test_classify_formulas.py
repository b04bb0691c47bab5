"""Prototypes, probabilities, temperature, Tip-Adapter: values worked out by hand (METHODS)."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from showtell.classify import class_means, label_prototypes, mean_direction, tip_adapter_logits
from showtell.classify.embedding.heads import Support, choose, held_out, linear_head, prototype_head
from showtell.classify.embedding.prototypes import cosines
from showtell.classify.embedding.tip_adapter import cache_votes, search_tip_adapter
from showtell.classify.probability import probabilities, row_losses, smoothed_temperature
from showtell.encoders import unit
from showtell.errors import InputError, UnknownNameError
from showtell.metrics import fit_temperature
from showtell.testing import HashEncoder, WordEncoder


def at(*degrees):
    """Unit vectors in the plane."""
    turn = np.deg2rad(degrees)
    return np.stack([np.cos(turn), np.sin(turn)], axis=1)


# ---------------------------------------------------------------- prototypes


def test_templates_are_normalised_before_they_are_averaged():
    x = np.array([[0.8, 0.6]])
    a = mean_direction(np.array([[1, 0], [1.8, 2.4]]))
    b = mean_direction(np.array([[0, 1], [0, 2.0]]))
    np.testing.assert_allclose(a, [0.894427, 0.447214], atol=1e-6)
    np.testing.assert_allclose(b, [0, 1])
    s = cosines(x, np.stack([a, b]))
    np.testing.assert_allclose(s, [[0.983870, 0.6]], atol=1e-6)
    np.testing.assert_allclose(100 * s, [[98.387, 60.0]], atol=1e-3)
    np.testing.assert_allclose(probabilities(s, "softmax"), [[0.594806, 0.405194]], atol=1e-6)


def test_averaging_embeddings_is_not_averaging_similarities():
    x = at(0)[0]
    a, b = at(40, 44), at(0, -80, -10)
    # CuPL: the cosine with the mean direction; DCLIP: the mean cosine
    np.testing.assert_allclose(mean_direction(a) @ x, 0.743145, atol=1e-6)
    np.testing.assert_allclose(mean_direction(b) @ x, 0.881116, atol=1e-6)
    np.testing.assert_allclose([(a @ x).mean(), (b @ x).mean()], [0.742692, 0.719485], atol=1e-6)
    rng = np.random.default_rng(0)
    for _ in range(20):
        vectors, query = unit(rng.normal(size=(5, 8))), unit(rng.normal(size=8))
        length = np.linalg.norm(vectors.mean(axis=0))
        assert math.isclose(
            (vectors @ query).mean(), length * (mean_direction(vectors) @ query), abs_tol=1e-6
        )


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 6), st.integers(1, 5), st.floats(0.01, 100), st.integers(0, 2**31))
def test_a_mean_direction_has_length_1_and_ignores_scale_and_order(n, d, scale, seed):
    vectors = np.random.default_rng(seed).normal(size=(n, d)) + 0.1
    if np.linalg.norm(unit(vectors).mean(axis=0)) < 1e-3:
        return
    mean = mean_direction(vectors)
    assert abs(np.linalg.norm(mean) - 1) < 1e-5
    np.testing.assert_allclose(mean_direction(vectors[::-1] * scale), mean, atol=1e-5)
    np.testing.assert_allclose(mean_direction(np.tile(vectors, (3, 1))), mean, atol=1e-5)


def test_vectors_without_a_mean_direction_are_refused():
    with pytest.raises(InputError, match="cancel"):
        mean_direction(np.array([[1.0, 0], [-1, 0]]))
    with pytest.raises(InputError, match="at least one vector"):
        mean_direction(np.zeros((0, 3)))
    with pytest.raises(InputError, match="length 0"):
        mean_direction(np.zeros((1, 3)))


def test_one_template_and_one_label_is_its_embedding():
    encoder = HashEncoder(8)
    np.testing.assert_allclose(
        label_prototypes(encoder, ["cat"], ["a {label}!"]),
        encoder.encode_texts(["a cat!"]),
        atol=1e-6,
    )


def test_template_order_and_doubling_all_change_nothing():
    encoder, labels = HashEncoder(16), ["cat", "dog"]
    templates = ["a {label}.", "the {label}", "one {label} here"]
    plain = label_prototypes(encoder, labels, templates)
    for other in (templates[::-1], templates * 2):
        np.testing.assert_allclose(label_prototypes(encoder, labels, other), plain, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(plain, axis=1), 1, atol=1e-6)


def test_aliases_count_the_same_and_descriptions_count_as_much_as_all_names():
    encoder = WordEncoder(["cat", "kitten", "whiskers", "fur"])
    # names: (cat + kitten)/√2; descriptions: (whiskers + fur)/√2; both halves weigh the same
    row = label_prototypes(
        encoder,
        ["cat"],
        ["a {label}"],
        aliases={"cat": ["kitten"]},
        descriptions={"cat": ["whiskers", "fur"]},
    )
    np.testing.assert_allclose(row, [[0.5, 0.5, 0.5, 0.5, 0]], atol=1e-6)


def test_without_templates_descriptions_alone_count():
    encoder = WordEncoder(["cat", "whiskers"])
    row = label_prototypes(encoder, ["cat"], None, descriptions={"cat": "whiskers"})
    np.testing.assert_allclose(row, [[0, 1, 0]])
    with pytest.raises(InputError, match="'cat' has no text"):
        label_prototypes(encoder, ["cat"], None)


def test_more_sentences_of_another_class_pull_towards_it():
    encoder = WordEncoder(["stripes", "spots"])
    nearness = [
        float(
            label_prototypes(encoder, ["x"], None, descriptions={"x": ["stripes"] + ["spots"] * n})[
                0, 1
            ]
        )
        for n in range(4)
    ]
    assert nearness == sorted(nearness)
    assert nearness[0] == 0 < nearness[3]


def test_unusable_templates_and_labels_are_refused():
    encoder = WordEncoder(["cat"])
    with pytest.raises(InputError, match=r"no '\{label\}' placeholder"):
        label_prototypes(encoder, ["cat"], ["a photo"])
    with pytest.raises(InputError, match="at least one label"):
        label_prototypes(encoder, [], ["a {label}"])
    with pytest.raises(UnknownNameError, match="template set"):
        label_prototypes(encoder, ["cat"], "nonsense")


def test_cosines_of_a_row_do_not_depend_on_the_other_rows():
    rng = np.random.default_rng(0)
    x, w = unit(rng.normal(size=(300, 64))), unit(rng.normal(size=(7, 64)))
    whole = cosines(x, w)
    for i in (0, 7, 299):
        np.testing.assert_array_equal(cosines(x[i : i + 1], w)[0], whole[i])


def test_a_class_mean_is_the_mean_of_its_rows():
    means = class_means(at(0, 90, 180), np.array([0, 0, 1]), 2)
    np.testing.assert_allclose(means, [[math.sqrt(0.5), math.sqrt(0.5)], [-1, 0]], atol=1e-6)
    with pytest.raises(InputError, match=r"classes \[2\] have none"):
        class_means(at(0, 90), np.array([0, 1]), 3)


# ---------------------------------------------------------------- probabilities


def test_a_cosine_gap_of_a_hundredth_gives_odds_of_e():
    p = probabilities(100 * np.array([[0.31, 0.30]]), "softmax")
    np.testing.assert_allclose(p, [[0.7311, 0.2689]], atol=1e-4)


def test_a_constant_added_to_all_logits_changes_nothing():
    z = np.array([[1.0, 2.0, -5.0]])
    np.testing.assert_allclose(
        probabilities(z + 1000, "softmax"), probabilities(z, "softmax"), rtol=1e-6
    )


def test_sigmoid_asks_each_label_alone():
    np.testing.assert_allclose(
        probabilities(np.array([[0.0, math.log(3), -200.0]]), "sigmoid"), [[0.5, 0.75, 0]]
    )


def test_temperature_agrees_with_the_plain_fit_when_there_are_many_rows():
    rng = np.random.default_rng(0)
    z = rng.normal(size=(20_000, 4)) * 2
    codes = (z + rng.gumbel(size=z.shape)).argmax(axis=1)  # drawn from softmax(z)
    t = smoothed_temperature(3 * z, codes)
    assert t == pytest.approx(fit_temperature(3 * z, codes), rel=0.01)
    assert t == pytest.approx(3, rel=0.05)


def test_all_right_answers_give_platts_confidence_and_not_certainty():
    for n in (2, 4, 20):
        codes = np.arange(n) % 2
        z = 5.0 * np.eye(2)[codes]
        t = smoothed_temperature(z, codes)
        assert probabilities(z / t, "softmax").max() == pytest.approx((n + 1) / (n + 2), abs=1e-4)


def test_temperature_of_nothing_is_1():
    assert smoothed_temperature(np.zeros((0, 3)), np.zeros(0, int)) == 1.0
    assert smoothed_temperature(np.ones((5, 1)), np.zeros(5, int)) == 1.0


def test_sigmoid_temperature_has_platts_targets():
    # 8 images, 2 labels, all right by the same gap: yes -> 9/10, no -> 1/10 by symmetry
    codes = np.arange(8) % 2
    z = np.where(np.eye(2)[codes] > 0, 6.0, -6.0)
    t = smoothed_temperature(z, codes, rule="sigmoid")
    assert probabilities(z / t, "sigmoid").max() == pytest.approx(0.9, abs=1e-4)


def test_row_losses_ignore_the_scale_of_logits():
    rng = np.random.default_rng(1)
    z, codes = rng.normal(size=(50, 3)), rng.integers(0, 3, 50)
    z[np.arange(50), codes] += 1
    np.testing.assert_allclose(row_losses(z, codes), row_losses(7 * z, codes), atol=1e-4)


# ---------------------------------------------------------------- Tip-Adapter

KEYS = unit(np.array([[1, 0.2, 0], [0.9, 0.1, 0.3], [0.2, 1, 0], [0.1, 0.8, 0.5]]))
CODES = np.array([0, 0, 1, 1])
QUERY = unit(np.array([[0.5, 0.72, 0.1]]))
TEXT = unit(np.array([[0.9, 0.5, 0.2], [0.6, 0.8, 0.2]]))


def test_tip_adapter_follows_the_worked_example():
    affinity = cosines(QUERY, KEYS)
    np.testing.assert_allclose(affinity, [[0.71576, 0.65587, 0.91137, 0.80765]], atol=1e-5)
    votes = cache_votes(QUERY, KEYS, CODES, 2, beta=5.5, divide_by_count=False)
    np.testing.assert_allclose(votes, [[0.36010, 0.96137]], atol=1e-5)
    text = 100 * cosines(QUERY, TEXT)
    np.testing.assert_allclose(text, [[89.6975, 99.5841]], atol=1e-4)
    total = tip_adapter_logits(QUERY, KEYS, CODES, text, alpha=1, beta=5.5, divide_by_count=False)
    np.testing.assert_allclose(total, [[90.0576, 100.5454]], atol=1e-4)
    np.testing.assert_allclose(
        cosines(QUERY, class_means(KEYS, CODES, 2)), [[0.69532, 0.89427]], atol=1e-5
    )


def test_a_cache_without_sharpness_counts_and_without_weight_is_zero_shot():
    counts = cache_votes(QUERY, KEYS, CODES, 2, beta=0, divide_by_count=False)
    np.testing.assert_allclose(counts, [[2, 2]])
    np.testing.assert_allclose(cache_votes(QUERY, KEYS, CODES, 2, beta=0), [[1, 1]])
    text = 100 * cosines(QUERY, TEXT)
    np.testing.assert_array_equal(
        tip_adapter_logits(QUERY, KEYS, CODES, text, alpha=0, beta=5.5), text.astype(np.float32)
    )


def test_dividing_by_the_count_removes_the_advantage_of_many_shots():
    keys, codes = KEYS[[0, 0, 0, 2]], np.array([0, 0, 0, 1])
    summed = cache_votes(QUERY, keys, codes, 2, beta=1, divide_by_count=False)
    mean = cache_votes(QUERY, keys, codes, 2, beta=1)
    assert summed[0, 0] > summed[0, 1]
    assert mean[0, 0] < mean[0, 1]
    np.testing.assert_allclose(summed / [[3, 1]], mean, rtol=1e-6)


def test_the_order_of_the_cache_changes_nothing():
    order = [3, 0, 2, 1]
    np.testing.assert_allclose(
        cache_votes(QUERY, KEYS[order], CODES[order], 2, beta=5.5),
        cache_votes(QUERY, KEYS, CODES, 2, beta=5.5),
        rtol=1e-6,
    )


def test_a_search_never_lets_an_image_vote_for_itself():
    rng = np.random.default_rng(0)
    keys = unit(rng.normal(size=(40, 6)))
    codes = rng.integers(0, 4, 40)  # labels without any relation to the images
    choice = search_tip_adapter(
        keys, codes, np.arange(40), np.zeros((40, 4)),
        alphas=np.array([1.0]), betas=np.array([50.0]),
    )  # fmt: skip
    left_out = (choice.logits.argmax(axis=1) == codes[choice.rows]).mean()
    plain = cache_votes(keys, keys, codes, 4, beta=50.0, divide_by_count=False)
    assert (plain.argmax(axis=1) == codes).mean() == 1.0  # each finds itself
    assert left_out < 0.6


def test_copies_of_an_image_do_not_vote_for_it_either():
    keys, codes = np.repeat(KEYS, 2, axis=0), np.repeat(CODES, 2)
    twice = search_tip_adapter(
        keys, codes, np.repeat(np.arange(4), 2), np.zeros((8, 2)),
        alphas=np.array([1.0]), betas=np.array([5.5]),
    )  # fmt: skip
    once = search_tip_adapter(
        KEYS, CODES, np.arange(4), np.zeros((4, 2)), alphas=np.array([1.0]), betas=np.array([5.5])
    )
    np.testing.assert_allclose(twice.logits[::2], once.logits, rtol=1e-6)


def test_a_search_over_single_shots_has_nothing_to_leave_out():
    choice = search_tip_adapter(
        KEYS[[0, 2]], np.array([0, 1]), np.arange(2), np.zeros((2, 2)),
        alphas=np.array([0.3, 9]), betas=np.array([2.0, 7]),
    )  # fmt: skip
    assert (choice.alpha, choice.beta, len(choice.rows)) == (0.3, 2.0, 0)


def test_a_search_prefers_the_cache_over_misleading_text():
    rng = np.random.default_rng(0)
    codes = np.arange(30) % 3
    keys = unit(np.eye(3)[codes] + 0.2 * rng.normal(size=(30, 3)))
    wrong = 5.0 * np.eye(3)[(codes + 1) % 3]
    choice = search_tip_adapter(
        keys, codes, np.arange(30), wrong,
        alphas=np.array([0.01, 1, 100]), betas=np.array([1.0, 5]),
    )  # fmt: skip
    assert choice.alpha == 100
    assert (choice.logits.argmax(axis=1) == codes).mean() > 0.9


# ---------------------------------------------------------------- heads and held-out rows


def support_of(embeddings, codes, distinct=None):
    codes = np.asarray(codes, np.intp)
    return Support(
        embeddings=unit(embeddings),
        codes=codes,
        distinct=np.arange(len(codes)) if distinct is None else np.asarray(distinct, np.intp),
        n_classes=int(codes.max()) + 1,
    )


def test_one_shot_prototypes_are_nearest_neighbours():
    rng = np.random.default_rng(0)
    keys, queries = unit(rng.normal(size=(6, 10))), unit(rng.normal(size=(50, 10)))
    head = prototype_head(support_of(keys, range(6)))
    np.testing.assert_array_equal(
        head.scores(queries).argmax(axis=1), (queries @ keys.T).argmax(axis=1)
    )


def test_centring_removes_a_shared_direction():
    rng = np.random.default_rng(0)
    codes = np.arange(40) % 2
    x = np.full((40, 8), 3.0) + 0.3 * rng.normal(size=(40, 8))
    x[:, 0] += 0.8 * codes
    head = prototype_head(support_of(x, codes), centre=True)
    scores = head.scores(unit(x))
    assert (scores.argmax(axis=1) == codes).mean() > 0.9
    assert np.ptp(scores) > 1  # uncentred cosines all lie within a few hundredths of 1
    assert np.ptp(prototype_head(support_of(x, codes)).scores(unit(x))) < 0.1


@pytest.mark.parametrize(
    ("angles", "codes"), [((0, 20, 90), [0, 0, 0]), ((0, 90, 0, 90), [0, 0, 1, 1])]
)
def test_centring_is_left_out_where_it_leaves_a_class_no_direction(angles, codes):
    support = support_of(at(*angles), codes)
    head = prototype_head(support, centre=True)
    assert head.centre is None
    np.testing.assert_array_equal(head.weights, prototype_head(support).weights)


def test_two_classes_and_three_give_the_probabilities_of_the_regression():
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(0)
    for n_classes in (2, 3):
        codes = np.arange(30) % n_classes
        x = unit(np.eye(n_classes, 5)[codes] + 0.4 * rng.normal(size=(30, 5)))
        head = linear_head(support_of(x, codes), C=10)
        model = LogisticRegression(C=10, max_iter=5000).fit(x.astype(float), codes)
        np.testing.assert_allclose(
            probabilities(head.scores(x), "softmax"), model.predict_proba(x), atol=1e-5
        )


def test_held_out_scores_differ_from_plain_scores_and_match_a_hand_made_fold():
    support = support_of(at(0, 20, 90, 110), [0, 0, 1, 1])
    held = held_out(support, prototype_head, max_folds=20)
    np.testing.assert_array_equal(held.rows, [0, 1, 2, 3])
    # rows 0 and 2 are left out together, so rows 1 (20°) and 3 (110°) judge them
    np.testing.assert_allclose(
        held.scores[[0, 2]], np.cos(np.deg2rad([[20, 110], [70, 20]])), atol=1e-6
    )
    assert not np.allclose(held.scores, prototype_head(support).scores(support.embeddings))


def test_a_class_with_one_image_is_never_held_out():
    held = held_out(support_of(at(0, 20, 90), [0, 0, 1]), prototype_head, max_folds=20)
    np.testing.assert_array_equal(held.rows, [0, 1])
    nothing = held_out(support_of(at(0, 90), [0, 1]), prototype_head, max_folds=20)
    assert len(nothing.rows) == 0


def test_every_row_is_held_out_once_however_few_folds():
    codes = np.repeat([0, 1, 2], [7, 3, 4])
    support = support_of(np.random.default_rng(0).normal(size=(14, 5)), codes)
    for folds in (2, 3, 5, 20):
        held = held_out(support, prototype_head, max_folds=folds)
        np.testing.assert_array_equal(held.rows, np.arange(14))


def test_a_copy_under_another_label_is_held_out_with_its_twin():
    seen = []

    def spy(part):
        seen.append(part.distinct)
        return prototype_head(part)

    # picture 0 is the first of class 0 and the second of class 1
    turns, codes = at(0, 20, 30, 80, 0, 110), [0, 0, 0, 1, 1, 1]
    held_out(support_of(turns, codes, [0, 1, 5, 2, 0, 4]), spy, max_folds=20)
    assert [0 in kept for kept in seen] == [False, False, True]


def test_a_choice_leaves_the_default_only_for_a_sure_gain():
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 2, 60)
    noise = rng.normal(size=(60, 2))
    truth = np.eye(2)[codes]
    other = rng.normal(size=(60, 2)) * 1e-3
    assert choose(lambda w: noise + w * other, codes, default=1, candidates=[0, 2]) == 1
    assert choose(lambda w: noise + w * truth, codes, default=0, candidates=[0.5, 5]) == 5
    assert choose(lambda w: noise, codes[:1], default=3, candidates=[4]) == 3
