"""ConceptClassifier and its models: published examples, planted clues, what it says of itself."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.stats import ttest_rel
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import Ridge
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import LinearSVC

from showtell.classify import ConceptClassifier, DescriptionClassifier, load_classifier
from showtell.classify.concepts.evidence import percentiles
from showtell.classify.concepts.heads import (
    Forest,
    PartsVote,
    Scaler,
    fit_estimator,
    fit_forest,
    fit_vote,
    majority,
)
from showtell.classify.concepts.selection import folds_of, select_clues, split_of
from showtell.errors import InputError, SavedFolderError, UnknownNameError
from showtell.media import Crop
from showtell.prompts.concepts.reading import read_concepts
from showtell.testing import ColourEncoder, WordEncoder, draw_shape

# The published example: 3 labels, 30 clues, label l adds 1 to the clues that are l modulo 3


def thirds(n, seed):
    """Features of n samples of 3 labels, and their codes."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 3
    return rng.normal(0, 0.8, (n, 30)) + (np.arange(30) % 3 == y[:, None]), y


def accuracy(model, X, y):
    return (model.predict_proba(X).argmax(axis=1) == y).mean()


@pytest.mark.parametrize("kind", ["vote", "forest"])
def test_both_models_learn_the_published_example_and_nothing_from_permuted_labels(kind):
    def fit(X, y):
        if kind == "forest":
            return fit_forest(X, y, n_trees=60)
        return fit_vote(X, y, [i // 6 for i in range(30)])

    (X, y), (X_new, y_new) = thirds(600, 0), thirds(600, 1)
    assert accuracy(fit(X, y), X_new, y_new) > 0.95
    rng = np.random.default_rng(2)
    mixed = fit(X, rng.permutation(y))
    assert abs(accuracy(mixed, X_new, rng.permutation(y_new)) - 1 / 3) < 0.08


def test_ties_of_the_vote_go_to_the_sum_of_probabilities():
    sure, unsure = [0.1, 0.1, 0.8], [0.4, 0.3, 0.3]
    said = np.array([[sure, unsure, sure, unsure, [0.2, 0.6, 0.2]]])
    assert said[0].argmax(axis=1).tolist() == [2, 0, 2, 0, 1]  # the smallest index would win: 0
    [proba] = majority(said)
    assert proba.argmax() == 2
    np.testing.assert_allclose(proba * 5 * 7 / 6, [2 + 1.2 / 6, 1 + 1.4 / 6, 2 + 2.4 / 6])
    assert proba.sum() == pytest.approx(1)


def test_a_majority_stands_against_surer_minorities():
    barely, very = [0.51, 0.49], [0.0, 1.0]
    assert majority(np.array([[barely, barely, very]])).argmax() == 0


def test_a_part_that_cannot_tell_has_no_vote():
    [proba] = majority(np.array([[[0.5, 0.5], [0.5, 0.5], [0.4, 0.6]]]))
    assert proba.argmax() == 1
    assert proba[0] < 0.3


def test_the_vote_of_one_part_is_a_logistic_regression_on_scaled_features():
    X, y = thirds(120, 0)
    model = fit_vote(X, y, [0] * 30)
    z = (X - X.mean(axis=0)) / X.std(axis=0)
    from sklearn.linear_model import LogisticRegression

    direct = LogisticRegression(max_iter=5000).fit(z, y)
    np.testing.assert_allclose(model.part_proba(X)[:, 0], direct.predict_proba(z), atol=1e-3)
    weights, bias = model.log_odds
    np.testing.assert_allclose(X @ weights.T + bias, model.part_logits(X)[:, 0], atol=1e-4)


def test_two_labels_vote_too():
    X, y = thirds(90, 0)
    X, y = X[y < 2], y[y < 2]
    model = fit_vote(X, y, [i // 10 for i in range(30)])
    assert accuracy(model, X, y) > 0.9
    np.testing.assert_allclose(model.part_logits(X).sum(axis=2), 0, atol=1e-5)


def test_a_constant_feature_is_scaled_to_exactly_zero_and_gets_no_weight():
    X, y = thirds(90, 0)
    X[:, 4] = 0.1
    model = fit_vote(X, y, [i // 10 for i in range(30)])
    assert (Scaler.of(X)(X.astype(np.float32))[:, 4] == 0).all()
    assert (model.weights[:, 4] == 0).all()


# The forest as arrays


def test_the_forest_of_arrays_predicts_what_scikit_learn_does():
    X, y = thirds(200, 0)
    X = X.astype(np.float32)
    theirs = RandomForestClassifier(25, random_state=1).fit(X, y)
    ours = Forest.of(theirs)
    edges = np.unique(ours.threshold)
    rng = np.random.default_rng(0)
    hard = rng.choice(edges, (300, 30)).astype(np.float32)  # right at the thresholds, and beside
    for given in (X, hard, np.nextafter(hard, np.float32(9)), np.nextafter(hard, np.float32(-9))):
        np.testing.assert_allclose(
            ours.predict_proba(given), theirs.predict_proba(given), atol=1e-6
        )
    quick = fit_forest(X, y, n_trees=25, random_state=1)
    np.testing.assert_allclose(quick.predict_proba(X), theirs.predict_proba(X), atol=1e-12)


def test_arrays_that_make_no_trees_are_refused():
    X, y = thirds(60, 0)
    arrays = Forest.of(fit_forest(X, y, n_trees=3).forest).arrays()
    again = Forest.of_arrays(arrays, n_features=30)
    assert (again.predict_proba(X) == Forest(**arrays).predict_proba(X)).all()
    inner = int(np.flatnonzero(arrays["left"] != np.arange(len(arrays["left"])))[-1])
    for name, place, value in (
        ("left", inner, 0),  # a circle
        ("right", 0, len(arrays["left"])),
        ("left", 0, int(arrays["roots"][1])),  # into the next tree
        ("feature", inner, 30),
        ("roots", 0, 1),
        ("weight", 0, 0),
    ):
        broken = {**arrays, name: arrays[name].copy()}
        broken[name][place] = value
        with pytest.raises(InputError, match="no trees"):
            Forest.of_arrays(broken, n_features=30)
    with pytest.raises(InputError, match="no trees"):
        Forest.of_arrays({**arrays, "left": arrays["left"][:-1]}, n_features=30)


def test_parts_that_do_not_fit_their_models_are_refused():
    X, y = thirds(60, 0)
    arrays = fit_vote(X, y, [0] * 15 + [1] * 15).arrays()
    assert (PartsVote.of_arrays(arrays).predict_proba(X) == fit_vote(
        X, y, [0] * 15 + [1] * 15).predict_proba(X)).all()  # fmt: skip
    for name, value in (("part_of", arrays["part_of"] + 1), ("std", -arrays["std"])):
        with pytest.raises(InputError, match="do not fit"):
            PartsVote.of_arrays({**arrays, name: value})


def test_estimators_must_be_classifiers_with_probabilities():
    X, y = thirds(60, 0)
    assert accuracy(fit_estimator(X, y, KNeighborsClassifier(5)), X, y) > 0.7
    for wrong, complaint in (
        (Ridge(), "scikit-learn classifier"),
        (KNeighborsClassifier, "scikit-learn classifier"),
        (LinearSVC(), "predict_proba"),
    ):
        with pytest.raises(InputError, match=complaint):
            fit_estimator(X, y, wrong)


# Selection


def test_selection_learns_and_chooses_on_different_rows_and_drops_noise():
    X, y = thirds(300, 0)
    X = np.c_[X[:, :9], np.random.default_rng(3).normal(size=(300, 21))]
    fold = split_of(y, random_state=0)
    assert not set(fold.train) & set(fold.select)
    assert len(fold.select) == 75
    seen = []

    def fit(features, codes, columns):
        seen.append(features)
        return fit_vote(features[:, columns], codes, [0] * len(columns)).predict_proba

    chosen = select_clues(fit, X, y, [fold], n_errors=1)
    assert all(np.array_equal(features, X[fold.train]) for features in seen)
    assert len(chosen.kept) <= 20
    assert len(set(chosen.kept) & set(range(9))) >= 6
    assert chosen.accuracy >= chosen.accuracy_of_all - 0.06
    assert [trial.n_clues for trial in chosen.trials] == sorted(
        (trial.n_clues for trial in chosen.trials), reverse=True
    )
    assert f"{len(chosen.kept)} of 30 clues" in str(chosen)
    best = select_clues(fit, X, y, [fold])
    assert chosen.choose(0) == best
    assert best.choose(1) == chosen
    assert best.accuracy == max(best.accuracy_of_all, *(t.accuracy for t in best.trials))
    assert len(best.kept) >= len(chosen.kept)


def test_folds_hold_every_row_out_once():
    codes = np.array([0] * 7 + [1] * 3 + [2])
    folds = folds_of(codes)
    out = np.concatenate([fold.select for fold in folds])
    assert sorted(out.tolist()) == list(range(10))  # a label of one image is always learned from
    for fold in folds:
        assert not set(fold.train) & set(fold.select)
        assert set(codes[fold.train]) == {0, 1, 2}
    assert folds_of(np.array([0, 1])) == []
    with pytest.raises(InputError, match="there are none"):
        select_clues(lambda *_: None, np.zeros((2, 2)), np.array([0, 1]), [])


# The classifier on planted clues


class PlantedEncoder(WordEncoder):
    """An encoder whose images are ``"label number"`` and whose clues are basis vectors.

    Clue "w3" is the fourth basis vector. Of the parts a (w0 to w4), b and c, part b alone depends
    on the label; w9 is never seen; w15 to w19 say what w5 to w9 say.
    """

    def __init__(self, noise=0.4):
        super().__init__([f"w{i}" for i in range(20)], logit_scale=10.0)
        self.noise = noise
        self.n_dims = 16
        self.fingerprint = f"planted-{noise}"

    def encode_images(self, images):
        rows = np.zeros((len(images), self.n_dims), np.float32)
        for row, image in enumerate(images):
            label, number = image.split()
            code = "xyz".index(label)
            rng = np.random.default_rng([code, int(number)])
            rows[row] = rng.normal(0, self.noise, self.n_dims)
            rows[row, 5 + code] += 1
            rows[row, 9] = 0
            rows[row] /= np.linalg.norm(rows[row])
        return rows

    def encode_texts(self, texts):
        rows = np.zeros((len(texts), self.n_dims), np.float32)
        for row, text in enumerate(texts):
            [number] = [int(word[1:]) for word in text.split() if word in self.vocabulary]
            rows[row, number if number < 15 else number - 10] = 1
        return rows


PLANTED = {"domain": "thing", "parts": [
    {"part": part, "attributes": {"sort": [f"w{i}" for i in range(start, start + 3)],
                                  "look": [f"w{i}" for i in range(start + 3, start + 5)]}}
    for part, start in (("a", 0), ("b", 5), ("c", 10))
]}  # fmt: skip
TWICE = {"domain": "thing", "parts": [
    *PLANTED["parts"][:1],
    {"part": "b", "attributes": {**PLANTED["parts"][1]["attributes"],
                                 "again": [f"w{i}" for i in range(15, 20)]}},
    *PLANTED["parts"][2:],
]}  # fmt: skip
X = [f"{label} {number}" for number in range(40) for label in "xyz"]
Y = [image[0] for image in X]
X_NEW = [f"{label} {number}" for number in range(100, 170) for label in "xyz"]
Y_NEW = [image[0] for image in X_NEW]


def planted(**params):
    params = {"concepts": PLANTED, "random_state": 0, "n_trees": 40, **params}
    return ConceptClassifier(PlantedEncoder(), **params)


@pytest.fixture(scope="module", params=["vote", "forest"])
def clf(request):
    return planted(head=request.param).fit(X, Y)


def test_features_are_scaled_cosines(clf):
    images, texts = clf.encoder.encode_images(X_NEW), clf.encoder.encode_texts(
        [clue.text for clue in clf.clues_])  # fmt: skip
    np.testing.assert_allclose(clf.features(X_NEW), 10 * images @ texts.T, atol=1e-5)
    np.testing.assert_allclose(
        clf.predict_features(clf.features(X_NEW)), clf.predict_proba(X_NEW), atol=1e-6
    )
    assert clf.clues_[0].text == "A photo of a of w0 sort"
    assert clf.selected_.tolist() == list(range(15))
    with pytest.raises(InputError, match=r"\(n_samples, 15\)"):
        clf.predict_features(np.zeros((2, 3)))
    with pytest.raises(InputError, match="1 of 2 images"):
        ConceptClassifier(
            WordEncoder(["cat"]), concepts={"domain": "a", "parts": [
                {"part": "b", "attributes": {"c": ["cat"]}}]},
        ).fit(["cat", "dog"], [0, 1]).features(["cat", " "])  # fmt: skip


def test_it_learns_and_the_vote_needs_the_part_that_matters(clf):
    if clf.head == "forest":
        assert clf.score(X_NEW, Y_NEW) > 0.85
    else:  # two parts of three know nothing, and out-vote the third at times
        assert clf.score(X_NEW, Y_NEW) > 0.55
        assert planted(voting="all").fit(X, Y).score(X_NEW, Y_NEW) > 0.85


@pytest.mark.parametrize("given", [False, True])
def test_the_part_that_matters_comes_first(clf, given):
    found = clf.importances(X_NEW, Y_NEW) if given else clf.importances()
    assert found.n_samples == (210 if given else 120)
    first, second, _ = found.top("parts")
    assert (first.part, first.name) == (("b",), "b")
    assert first.mean > 0.1 > 4 * abs(second.mean)
    assert found.top("attributes", 1)[0].name == "b: sort"
    assert {one.clue.value for one in found.top("clues", 3)} == {"w5", "w6", "w7"}
    assert len(found.clues) == 15
    assert str(found).splitlines()[1].endswith("b")
    with pytest.raises(UnknownNameError, match="parts, attributes, clues"):
        found.top("leaves")


def test_importance_is_measured_on_images_that_were_not_learned_from(clf):
    mixed = np.random.default_rng(0).permutation(Y)
    fooled = planted(head=clf.head).fit(X, mixed)
    found = fooled.importances()
    assert found.baseline < 0.48  # the forest remembers all images it has learned from
    assert abs(found.top("parts", 1)[0].mean) < 0.12


def test_a_clue_that_is_never_seen_has_importance_exactly_zero(clf):
    [never] = [one for one in clf.importances().clues if one.clue.value == "w9"]
    assert (never.mean, never.std) == (0.0, 0.0)


@pytest.mark.parametrize("head", ["vote", "forest"])
def test_saying_it_twice_changes_the_part_by_noise_only_and_single_clues_share(head):
    once = planted(head=head, voting="all").fit(X, Y).importances(X_NEW, Y_NEW)
    twice = planted(head=head, voting="all", concepts=TWICE)
    again = twice.fit(X, Y).importances(X_NEW, Y_NEW)
    part = once.top("parts", 1)[0], again.top("parts", 1)[0]
    assert part[0].part == part[1].part == ("b",)
    assert abs(part[0].mean - part[1].mean) < 0.06
    alone = [{one.clue.value: one.mean for one in found.clues} for found in (once, again)]
    assert sum(alone[1][w] for w in ("w5", "w6", "w7")) < 0.75 * sum(
        alone[0][w] for w in ("w5", "w6", "w7")
    )
    assert part[1].mean > max(alone[1].values())


def test_parts_count_all_that_is_below_them():
    tree = {"domain": "thing", "parts": [
        {"part": "whole", "children": PLANTED["parts"][1:]}, PLANTED["parts"][0]]}  # fmt: skip
    clf = ConceptClassifier(PlantedEncoder(), concepts=tree, voting="all").fit(X, Y)
    found = {one.part: one for one in clf.importances(n_repeats=3).parts}
    assert set(found) == {("whole",), ("whole", "b"), ("whole", "c"), ("a",)}
    assert len(found["whole",].columns) == 10
    assert found["whole",].mean > 0.1 > found["a",].mean


def test_a_card_says_what_a_label_looks_like(clf):
    card = clf.label_importances("y")
    assert (card.label, card.n_images) == ("y", 40)
    assert card.parts[0].name == "b"
    own = {one.clue.value: one.direction for one in card.clues}
    assert own["w6"] > 0.8
    assert own["w5"] < 0
    assert own["w7"] < 0
    assert own["w9"] == 0
    assert card.clues[0].importance >= card.clues[-1].importance
    assert str(card).startswith("y: A photo of b of w")
    with pytest.raises(InputError, match="Allowed: x, y, z"):
        clf.label_importances("w")


def test_a_pair_shares_clues_and_counts_its_confusions(clf):
    pair = clf.pair_report("x", "z", n_top=5)
    assert 0 < len(pair.shared) <= 5
    assert pair.overlap == pytest.approx(
        len(pair.shared) / (len(pair.shared) + max(len(pair.only_first), len(pair.only_second)))
    )
    back = clf.pair_report("z", "x", n_top=5)
    assert back.shared == pair.shared
    assert (back.first_as_second, back.second_as_first) == (
        pair.second_as_first, pair.first_as_second)  # fmt: skip
    assert f"share {len(pair.shared)} of their 5" in str(pair)
    with pytest.raises(InputError, match="twice"):
        clf.pair_report("x", "x")


def test_evidence_gives_values_with_their_place_among_the_training_images(clf):
    good = clf.explain([X_NEW[0], X[0]])[0]
    np.testing.assert_array_equal(good.values, clf.features(X_NEW[:1])[0])
    known = clf.features(X)
    np.testing.assert_allclose(good.percentiles, (known < good.values).mean(axis=0) * 100 + (
        known == good.values).mean(axis=0) * 50)  # fmt: skip
    assert good.percentiles[9] == 50  # as all others
    assert good.label == clf.predict(X_NEW[:1])[0]
    np.testing.assert_allclose(good.proba, clf.predict_proba(X_NEW[:1])[0], atol=1e-6)
    assert [one.part for one in good.opinions] == (
        [("a",), ("b",), ("c",)] if clf.head == "vote" else [])  # fmt: skip
    if good.opinions:
        votes = [one.label for one in good.opinions]
        assert all(one.label == "xyz"[one.proba.argmax()] for one in good.opinions)
        assert votes.count(good.label) == max(map(votes.count, votes))
    assert str(good).startswith(f"{X_NEW[0]}: {good.label}; A photo of")


def test_an_input_that_cannot_be_used_has_a_reason_instead_of_evidence():
    words = WordEncoder(["cat", "dog"])
    tree = {"domain": "pet", "parts": [{"part": "it", "attributes": {"sort": ["cat", "dog"]}}]}
    clf = ConceptClassifier(words, concepts=tree).fit(["cat", "dog"], ["cat", "dog"])
    first, second, third = clf.explain(["cat", "  ", "dog"])
    assert (first.error, first.label, third.label) == (None, "cat", "dog")
    assert "shows nothing" in second.error
    assert "shows nothing" in str(second)
    assert second.label == ""
    assert clf.explain([]) == []


def test_percentiles_count_equal_values_by_half():
    known = np.array([[1.0, 5.0], [2.0, 5.0], [3.0, 5.0], [4.0, 5.0]])
    np.testing.assert_array_equal(
        percentiles(np.array([[0.0, 5.0], [2.0, 6.0], [9.0, 4.0]]), known),
        [[0, 50], [37.5, 100], [100, 0]],
    )


# SHAP


@pytest.fixture(scope="module")
def shares(clf):
    pytest.importorskip("shap")
    return clf.contributions(X_NEW)


def test_contributions_add_up_to_the_output(clf, shares):
    np.testing.assert_allclose(shares.base + shares.values.sum(axis=1), shares.output, atol=1e-4)
    if clf.head == "forest":
        assert shares.unit == "probability"
        np.testing.assert_allclose(shares.output, clf.predict_proba(X_NEW), atol=1e-4)
        assert shares.base.sum() == pytest.approx(1)
    else:
        assert shares.unit == "log-odds"
        logits = clf.head_.part_logits(clf.features(X_NEW)).mean(axis=1)
        np.testing.assert_allclose(shares.output, logits, atol=1e-4)
    np.testing.assert_allclose(shares.features, clf.features(X_NEW))


def test_a_clue_that_is_never_seen_contributes_exactly_nothing(shares):
    assert (shares.values[:, 9] == 0).all()


def test_contributions_follow_the_order_of_the_labels(clf):
    pytest.importorskip("shap")
    turned = planted(head=clf.head, labels=["z", "x", "y"]).fit(X, Y)
    ours, theirs = clf.contributions(X_NEW[:5]), turned.contributions(X_NEW[:5])
    np.testing.assert_allclose(ours.values[:, :, [2, 0, 1]], theirs.values, atol=1e-9)
    np.testing.assert_allclose(ours.base[[2, 0, 1]], theirs.base)
    np.testing.assert_allclose(ours.output[:, [2, 0, 1]], theirs.output)


def test_taking_the_named_clues_away_costs_more_than_taking_others(clf, shares):
    rng = np.random.default_rng(0)
    features = clf.features(X_NEW)[:200]
    codes = clf.predict_proba(X_NEW)[:200].argmax(axis=1)
    mean = clf.features(X).mean(axis=0)
    named, others = features.copy(), features.copy()
    for row, code in enumerate(codes):
        top = np.argsort(-shares.values[row, :, code])[:3]
        named[row, top] = mean[top]
        drawn = rng.choice(len(mean), 3, replace=False)
        others[row, drawn] = mean[drawn]
    rows = np.arange(200)
    before = clf.predict_features(features)[rows, codes]
    costs = [before - clf.predict_features(changed)[rows, codes] for changed in (named, others)]
    assert costs[0].mean() > 2 * costs[1].mean()
    assert ttest_rel(*costs, alternative="greater").pvalue < 1e-6


def test_the_clues_that_speak_loudest_are_named(clf, shares):
    row = int(np.flatnonzero(clf.predict(X_NEW) == "y")[0])
    top = shares.top(row, 1, 4)
    assert [abs(value) for _, value in top] == sorted((abs(v) for _, v in top), reverse=True)
    assert any(clue.part == ("b",) for clue, _ in top)


# Other words for an answer


def test_a_counterfactual_flips_the_label_by_the_changes_it_names(clf):
    image = X_NEW[int(np.flatnonzero(clf.predict(X_NEW) == "x")[0])]
    found = clf.counterfactual(image, "z")
    assert (found.label, found.target, found.flips) == ("x", "z", True)
    features = clf.features([image])
    texts = [clue.text for clue in clf.clues_]
    for change in found.changes:
        place = texts.index(change.clue.text)
        assert features[0, place] == pytest.approx(change.before)
        assert 0 <= change.percentile_after <= 100
        features[0, place] = change.after
    assert clf.predict_features(features)[0].argmax() == 2
    assert str(found).startswith(f"{image}: z instead of x with A photo of")
    near = clf.counterfactual(image)
    assert near.target != "x"
    with pytest.raises(InputError, match="already"):
        clf.counterfactual(image, "x")


def test_a_label_out_of_reach_is_said_not_to_be_reached():
    clf = planted(voting="all").fit(X, Y)
    found = clf.counterfactual(X_NEW[0], "z", n_most=0)
    assert not found.flips
    assert found.changes == ()
    assert "no change found" in str(found)


def test_training_images_are_alike_to_themselves_and_to_their_label(clf):
    first, second = clf.alike([X[7], X_NEW[0]], n=4)
    assert first[0].row == 7
    assert first[0].similarity == pytest.approx(1)
    assert first[0].label == Y[7]
    assert [one.similarity for one in second] == sorted(
        (one.similarity for one in second), reverse=True
    )
    assert len(second) == 4
    own = [one.label for of in clf.alike(X_NEW, n=3) for one in of]
    assert np.mean([a == b for a, b in zip(own, np.repeat(Y_NEW, 3), strict=True)]) > 0.5


# What goes in


@pytest.mark.parametrize("select", ["permutation", "permutation-cv"])
def test_chosen_clues_are_those_of_the_part_that_matters(select):
    clf = planted(head="forest", select=select, select_errors=1).fit(X, Y)
    values = {clf.clues_[i].value for i in clf.selected_}
    assert {"w5", "w6", "w7"} <= values
    assert len(values) <= 11
    assert clf.selection_.kept == tuple(clf.selected_.tolist())
    assert clf.selection_.n_select == (30 if select == "permutation" else 120)
    assert clf.score(X_NEW, Y_NEW) > 0.85
    assert clf.features(X_NEW[:2]).shape == (2, 15)
    assert len(clf.explain(X_NEW[:1])[0].values) == len(values)
    assert len(clf.importances(n_repeats=2).clues) == len(values)


def test_selection_needs_something_to_choose_on():
    for select in ("permutation", "permutation-cv"):
        with pytest.raises(InputError, match="at least two"):
            planted(select=select, shots=1).fit(X, Y)
    lonely = planted(shots=1).fit(X, Y)
    assert lonely.n_support_ == 3
    with pytest.raises(InputError, match="give labelled images, X and y"):
        lonely.importances()
    assert lonely.importances(X_NEW, Y_NEW, n_repeats=2).n_samples == 210
    with pytest.raises(InputError, match="or neither"):
        lonely.importances(X_NEW)


@pytest.mark.parametrize("head", ["vote", "forest"])
def test_the_order_of_images_and_labels_changes_nothing(head):
    once = planted(head=head, n_trees=10).fit(X, Y)
    turned = planted(head=head, n_trees=10, labels=["y", "z", "x"]).fit(X[::-1], Y[::-1])
    np.testing.assert_array_equal(
        once.predict_proba(X_NEW)[:, [1, 2, 0]], turned.predict_proba(X_NEW)
    )


def test_any_classifier_of_scikit_learn_will_do_but_cannot_be_saved(tmp_path):
    clf = planted(estimator=KNeighborsClassifier(7)).fit(X, Y)
    assert clf.score(X_NEW, Y_NEW) > 0.6
    assert clf.importances(n_repeats=3).top("parts", 1)[0].part == ("b",)
    assert clf.explain(X_NEW[:1])[0].opinions == ()
    with pytest.raises(InputError, match="nothing is pickled"):
        clf.save(tmp_path / "clf")
    with pytest.raises(InputError, match="predict_features"):
        clf.contributions(X_NEW[:1])


def test_descriptions_are_a_part_of_their_own():
    words = WordEncoder(["stripes", "spots", "mane", "tiger", "lion"])
    tree = {"domain": "cat", "parts": [{"part": "fur", "attributes": {"length": ["long"]}}]}
    said = {"tiger": ["stripes"], "lion": ["a mane"], "cow": ["spots"]}
    data = ["stripes", "stripes spots", "mane", "mane spots"]
    clf = ConceptClassifier(words, concepts=tree, descriptions=said).fit(
        data, ["tiger", "tiger", "lion", "lion"]
    )
    assert [(c.part, c.attribute, c.value) for c in clf.clues_[1:]] == [
        (("descriptions",), "lion", "a mane"),
        (("descriptions",), "tiger", "stripes"),
    ]
    assert clf.clues_[2].text == "a photo of a tiger, which has stripes."
    assert clf.predict(["mane", "stripes"]).tolist() == ["lion", "tiger"]
    described = DescriptionClassifier(words, descriptions=said).fit()
    same = ConceptClassifier(words, concepts=tree, descriptions=described.descriptions_)
    assert same.fit(data, ["tiger", "tiger", "lion", "lion"]).clues_ == clf.clues_


def test_crops_by_boxes_are_classified_by_what_is_inside():
    red, blue = draw_shape("red square"), draw_shape("blue square")
    both = draw_shape("red square").resize((192, 96))
    both.paste(red.resize((96, 96)), (0, 0))
    both.paste(blue.resize((96, 96)), (96, 0))
    tree = {"domain": "shape", "parts": [{"part": "face", "attributes": {
        "colour": ["red", "blue", "green"]}}]}  # fmt: skip
    clf = ConceptClassifier(ColourEncoder(), concepts=tree, store=None)
    clf.fit([red, draw_shape("red square", seed=1), blue, draw_shape("blue square", seed=1)],
            ["red", "red", "blue", "blue"])  # fmt: skip
    left, right = Crop(image=both, box=(0, 0, 96, 96)), Crop(image=both, box=(96, 0, 192, 96))
    assert clf.predict([left, right]).tolist() == ["red", "blue"]
    found = ConceptClassifier(ColourEncoder(), concepts=tree, store=None).fit(
        [left, right], ["red", "blue"]
    )
    assert found.predict([red, blue]).tolist() == ["red", "blue"]


@pytest.mark.parametrize("head", ["vote", "forest"])
def test_a_saved_one_explains_the_same(head, tmp_path):
    pytest.importorskip("shap")
    path = read_concepts(PLANTED).write(tmp_path / "tree.json")
    clf = planted(head=head, n_trees=15, select="permutation").set_params(concepts=path)
    clf.fit(X, Y)
    again = load_classifier(clf.save(tmp_path / "clf"), encoder=clf.encoder)
    assert again.concepts == clf.concepts_  # the file may be gone by then
    np.testing.assert_array_equal(again.predict_proba(X_NEW), clf.predict_proba(X_NEW))
    assert again.selection_ == clf.selection_
    assert again.clues_ == clf.clues_
    np.testing.assert_array_equal(
        again.contributions(X_NEW[:3]).values, clf.contributions(X_NEW[:3]).values
    )
    assert again.importances(n_repeats=2) == clf.importances(n_repeats=2)
    assert str(again.label_importances("x")) == str(clf.label_importances("x"))
    assert again.counterfactual(X_NEW[0]).changes == clf.counterfactual(X_NEW[0]).changes
    assert again.alike(X_NEW[:2]) == clf.alike(X_NEW[:2])


def test_a_saved_one_that_names_clues_it_has_not_is_refused(tmp_path):
    clf = planted(n_trees=3).fit(X, Y)
    clf.selected_ = clf.selected_ + 1
    with pytest.raises(SavedFolderError, match="do not fit"):
        load_classifier(clf.save(tmp_path / "clf"), encoder=clf.encoder)
    record = json.loads((tmp_path / "clf" / "classifier.json").read_text())
    assert record["values"]["head"] == "vote"


@pytest.mark.parametrize(
    ("params", "complaint"),
    [
        ({"concepts": None}, "needs `concepts`"),
        ({"concepts": {"domain": "a", "parts": ["tail"]}}, "no clues"),
        ({"head": "tree"}, "vote, forest"),
        ({"voting": "leaves"}, "parts, attributes, all"),
        ({"select": "test"}, "permutation, permutation-cv"),
        ({"layout": "flat"}, "merged, per-label"),
        ({"prefix": "label"}, "per-label"),
        ({"C": 0}, "`C`"),
        ({"select_errors": -1}, "select_errors"),
        ({"n_trees": 0}, "n_trees"),
        ({"shots": 0}, "`shots` is 0"),
        ({"random_state": "a"}, "random_state"),
    ],
)
def test_arguments_that_are_none_of_the_allowed_are_refused(params, complaint):
    with pytest.raises((InputError, UnknownNameError), match=complaint):
        planted().set_params(**params).fit(X, Y)


def test_one_label_is_nothing_to_tell_apart():
    with pytest.raises(InputError, match="one label only"):
        planted().fit(X, ["x"] * len(X))


def test_clues_of_labels_name_them_where_wanted():
    tree = {"domain": "cat", "parts": [{"part": "fur", "attributes": {
        "pattern": {"stripes": ["tiger"], "spots": ["leopard"]}}}]}  # fmt: skip
    clf = ConceptClassifier(
        WordEncoder(["stripes", "spots"]), concepts=tree, layout="per-label", prefix="label"
    ).fit(["stripes", "spots"], ["tiger", "leopard"])
    assert [clue.text for clue in clf.clues_] == [
        "A photo of a tiger with fur of stripes pattern",
        "A photo of a leopard with fur of spots pattern",
    ]
