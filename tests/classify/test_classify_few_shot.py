"""FewShotClassifier: a few labelled images in, labels out."""

from __future__ import annotations

import numpy as np
import pytest

from showtell.classify import (
    FewShotClassifier,
    LimitsWarning,
    SkippedImagesWarning,
    ZeroShotClassifier,
    class_means,
    tip_adapter_logits,
)
from showtell.classify import base as base_module
from showtell.classify.embedding.heads import linear_head
from showtell.classify.embedding.prototypes import cosines
from showtell.datasets import load_dataset, support_rows
from showtell.encoders import unit
from showtell.errors import InputError, UnknownNameError
from showtell.testing import WordEncoder


class VectorEncoder:
    """An encoder of points: an "image" is a row number of a matrix, a text a key of a dict."""

    name, logit_scale, logit_bias, zero_shot_note = "points", 10.0, 0.0, ""
    probability = "softmax"

    def __init__(self, points, texts=None):
        self.points = unit(points)
        self.texts = texts or {}
        self.n_dims = self.points.shape[1]
        self.fingerprint = f"points-{self.points.sum():.6f}"
        self.asked_texts = []

    def encode_images(self, images):
        return self.points[[int(image) for image in images]]

    def encode_texts(self, texts):
        self.asked_texts.extend(texts)
        return unit(np.array([self.texts[text] for text in texts]))


def clouds(n_per_class=8, n_classes=3, noise=0.5, n_dims=6, seed=0):
    """Rows "0", "1", ... around one axis per class; returns encoder, X, y, codes."""
    rng = np.random.default_rng(seed)
    codes = np.arange(n_per_class * n_classes) % n_classes
    points = np.eye(n_dims)[codes] + noise * rng.normal(size=(len(codes), n_dims))
    names = np.array(["ant", "bee", "cow", "doe"])[:n_classes]
    texts = {f"a photo of a {c}.": np.eye(n_dims)[i] for i, c in enumerate(names)}
    return VectorEncoder(points, texts), [str(i) for i in range(len(codes))], names[codes], codes


# ---------------------------------------------------------------- what each method computes


def test_prototypes_are_nearest_class_means():
    encoder, X, y, codes = clouds()
    clf = FewShotClassifier(encoder, method="prototype", text_weight=None, centre=False).fit(X, y)
    means = class_means(encoder.points, codes, 3)
    np.testing.assert_allclose(clf.head_.weights, means, atol=1e-6)
    z = 10 * cosines(encoder.points, means) / clf.temperature_
    expected = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(clf.predict_proba(X), expected, atol=1e-5)
    assert clf.text_weight_ == 0
    assert encoder.asked_texts == []  # no text is encoded when none is wanted


def test_text_is_blended_with_the_weight_given():
    encoder, X, y, codes = clouds()
    clf = FewShotClassifier(
        encoder, method="prototype", text_weight=0.7, centre=False, calibrate=False
    ).fit(X, y)
    scores = cosines(encoder.points, class_means(encoder.points, codes, 3))
    z = 10 * (scores + 0.7 * encoder.points[:, :3])
    expected = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(clf.predict_proba(X), expected, atol=1e-5)
    assert sorted(encoder.asked_texts) == sorted(encoder.texts)


def test_tip_adapter_is_the_documented_function():
    encoder, X, y, codes = clouds()
    clf = FewShotClassifier(
        encoder, method="tip-adapter", alpha=3.0, beta=4.0, calibrate=False
    ).fit(X, y)
    z = tip_adapter_logits(
        encoder.points, encoder.points, codes, 10 * encoder.points[:, :3], alpha=3, beta=4
    )
    expected = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(clf.predict_proba(X), expected, atol=1e-5)
    assert (clf.alpha_, clf.beta_, clf.text_weight_) == (3.0, 4.0, 1.0)


def test_tip_adapter_without_weight_is_zero_shot():
    encoder, X, y, _ = clouds()
    clf = FewShotClassifier(encoder, method="tip-adapter", alpha=0, beta=4.0, calibrate=False).fit(
        X, y
    )
    zero = ZeroShotClassifier(encoder, labels=["ant", "bee", "cow"]).fit()
    np.testing.assert_allclose(clf.predict_proba(X), zero.predict_proba(X), atol=1e-6)


def test_tip_adapter_with_one_shot_takes_the_documented_start_values():
    encoder, X, y, _ = clouds(n_per_class=1)
    clf = FewShotClassifier(encoder, method="tip-adapter").fit(X, y)
    assert (clf.alpha_, clf.beta_, clf.calibrated_) == (0.1, 5.5, False)


def test_a_linear_probe_is_logistic_regression_on_the_embeddings():
    from sklearn.linear_model import LogisticRegression

    encoder, X, y, codes = clouds()
    clf = FewShotClassifier(encoder, method="linear", text_weight=None, calibrate=False, C=10).fit(
        X, y
    )
    model = LogisticRegression(C=10, max_iter=5000).fit(encoder.points.astype(float), codes)
    np.testing.assert_allclose(
        clf.predict_proba(X), model.predict_proba(encoder.points.astype(float)), atol=1e-4
    )
    assert clf.C_ == 10


def test_auto_takes_a_linear_probe_from_5_shots_on():
    encoder, X, y, _ = clouds(n_per_class=5)
    assert FewShotClassifier(encoder).fit(X, y).method_ == "linear"
    assert FewShotClassifier(encoder, shots=4).fit(X, y).method_ == "prototype"
    lone = [str(i) for i, c in enumerate(y) if c != "ant" or i == 0]  # ant has one, others five
    assert FewShotClassifier(encoder).fit(lone, y[[int(i) for i in lone]]).method_ == "linear"


def test_centring_is_balanced_over_classes():
    encoder, X, y, codes = clouds(n_per_class=6, n_classes=2)
    keep = [i for i in range(12) if codes[i] == 0 or i < 4]  # six of one, two of the other
    clf = FewShotClassifier(encoder, method="prototype", text_weight=None)
    clf.fit([X[i] for i in keep], y[keep])
    x, c = encoder.points[keep], codes[keep]
    middle = (x[c == 0].mean(axis=0) + x[c == 1].mean(axis=0)) / 2
    np.testing.assert_allclose(clf.head_.centre, middle, atol=1e-6)


def test_classes_of_the_same_picture_can_still_be_fitted():
    encoder = VectorEncoder(np.eye(3))
    clf = FewShotClassifier(encoder, text_weight=None).fit(["0", "0"], ["a", "b"])
    np.testing.assert_allclose(clf.predict_proba(["0"]), [[0.5, 0.5]])
    assert clf.head_.centre is None


# ---------------------------------------------------------------- the text's weight


def test_with_one_shot_the_rule_of_half_stands():
    encoder, X, y, _ = clouds(n_per_class=1)
    assert FewShotClassifier(encoder).fit(X, y).text_weight_ == 0.5


def test_helpful_text_gains_weight_and_misleading_text_loses_it():
    encoder, X, y, _ = clouds(n_per_class=4, noise=0.9, seed=2)
    rule = 0.5 / 4
    helpful = FewShotClassifier(encoder).fit(X, y)
    assert helpful.text_weight_ > rule
    texts = dict(zip(encoder.texts, np.roll(list(encoder.texts.values()), 1, axis=0), strict=True))
    misleading = VectorEncoder(encoder.points, texts)
    assert FewShotClassifier(misleading).fit(X, y).text_weight_ < rule
    assert encoder.asked_texts.count("a photo of a ant.") == 1


def test_helpful_text_reaches_a_linear_probe_too():
    encoder, X, y, _ = clouds(n_per_class=6, noise=0.5, n_dims=40, seed=1)
    clf = FewShotClassifier(encoder, method="linear").fit(X, y)
    assert clf.text_weight_ > 0
    queries, new_X, new_y, _ = clouds(n_per_class=100, noise=0.5, n_dims=40, seed=5)
    queries.texts = encoder.texts
    scores = {}
    for weight in ("auto", None):
        fitted = FewShotClassifier(encoder, method="linear", text_weight=weight).fit(X, y)
        fitted.encoder = queries
        fitted.encoder_fingerprint_ = queries.fingerprint
        scores[weight] = (fitted.predict(new_X) == new_y).mean()
    assert scores["auto"] > scores[None] + 0.1


def test_numbers_without_words_get_no_text():
    encoder, X, _, codes = clouds()
    clf = FewShotClassifier(encoder).fit(X, codes)
    assert clf.text_weight_ == 0
    assert encoder.asked_texts == []
    words = {0: "ant", 1: "bee", 2: "cow"}
    told = FewShotClassifier(encoder, shots=1, aliases=words).fit(X, codes)
    assert told.text_weight_ == 0.5
    assert sorted(encoder.asked_texts) == sorted(encoder.texts)


def test_text_helps_where_one_shot_misleads():
    encoder = WordEncoder(["cat", "dog", "grass", "sky"])
    X, y = ["cat on grass grass", "dog sky sky"], ["cat", "dog"]
    queries = ["a cat, sky sky", "dog, grass grass"]
    assert FewShotClassifier(encoder, text_weight=None).fit(X, y).predict(queries).tolist() == [
        "dog", "cat",
    ]  # fmt: skip
    told = FewShotClassifier(encoder, text_weight=3).fit(X, y)
    assert told.predict(queries).tolist() == ["cat", "dog"]


# ---------------------------------------------------------------- shots


def test_shots_are_nested_seeded_and_the_rows_that_support_rows_names():
    encoder, X, y, codes = clouds(n_per_class=10)
    previous: set[int] = set()
    for shots in (1, 2, 5, 10):
        clf = FewShotClassifier(encoder, shots=shots, random_state=3).fit(X, y)
        assert clf.support_.tolist() == sorted(support_rows(y, shots, seed=3).tolist())
        assert np.bincount(codes[clf.support_]).tolist() == [shots] * 3
        assert clf.n_support_ == 3 * shots
        assert previous < set(clf.support_.tolist())
        previous = set(clf.support_.tolist())
    other = FewShotClassifier(encoder, shots=1, random_state=4).fit(X, y)
    first = FewShotClassifier(encoder, shots=1, random_state=3).fit(X, y)
    assert other.support_.tolist() != first.support_.tolist()


def test_only_the_support_is_embedded(encoder):
    X = [f"cat {i}" for i in range(20)] + [f"dog {i}" for i in range(20)]
    clf = FewShotClassifier(encoder, shots=2).fit(X, ["cat"] * 20 + ["dog"] * 20)
    assert sorted(encoder.images_seen) == sorted(X[i] for i in clf.support_)


def test_a_class_with_fewer_images_gives_what_it_has():
    encoder, X, y, codes = clouds(n_per_class=4)
    keep = [i for i in range(12) if codes[i] or i == 0]
    clf = FewShotClassifier(encoder, shots=3).fit([X[i] for i in keep], y[keep])
    assert np.bincount(codes[keep][clf.support_]).tolist() == [1, 3, 3]


def test_more_shots_are_better_on_average():
    encoder, X, y, _ = clouds(n_per_class=60, noise=0.8)
    train = [i for i in range(180) if i < 90]
    accuracy = []
    for shots in (1, 3, 10, 30):
        runs = [
            (
                FewShotClassifier(encoder, shots=shots, random_state=seed, text_weight=None)
                .fit([X[i] for i in train], y[train])
                .predict(X[90:])
                == y[90:]
            ).mean()
            for seed in range(5)
        ]
        accuracy.append(np.mean(runs))
    assert accuracy == sorted(accuracy)
    assert accuracy[-1] > accuracy[0] + 0.1


def test_no_shots_is_zero_shot_with_the_labels_of_y(encoder):
    X, y = ["never looked at"] * 3, ["dog", "cat", "fox"]
    clf = FewShotClassifier(encoder, shots=0).fit(X, y)
    zero = ZeroShotClassifier(encoder, labels=["cat", "dog", "fox"]).fit()
    queries = ["a dog on grass", "fox and cat"]
    np.testing.assert_allclose(clf.predict_proba(queries), zero.predict_proba(queries), rtol=1e-6)
    assert (clf.method_, clf.n_support_, clf.calibrated_) == ("zero-shot", 0, False)
    assert "never looked at" not in encoder.images_seen
    with pytest.raises(InputError, match="nothing is known"):
        FewShotClassifier(encoder, shots=0, text_weight=None).fit(X, y)
    with pytest.raises(InputError, match="`shots` is 0"):
        FewShotClassifier(encoder, shots=0, calibrate=True).fit(X, y)


def test_no_shots_says_the_limits_of_zero_shot(monkeypatch):
    monkeypatch.setattr(base_module, "_said", set())
    encoder = WordEncoder(["cat", "dog"])
    encoder.zero_shot_note = "Knows two animals."
    FewShotClassifier(encoder, shots=1).fit(["cat", "dog"], ["cat", "dog"])
    with pytest.warns(LimitsWarning, match="two animals"):
        FewShotClassifier(encoder, shots=0).fit(["cat", "dog"], ["cat", "dog"])


# ---------------------------------------------------------------- odd supports


def test_the_order_of_the_support_changes_nothing():
    encoder, X, y, _ = clouds(n_per_class=5)
    order = np.random.default_rng(0).permutation(len(X))
    for method in ("prototype", "tip-adapter", "linear"):
        straight = FewShotClassifier(encoder, method=method).fit(X, y)
        mixed = FewShotClassifier(encoder, method=method).fit([X[i] for i in order], y[order])
        np.testing.assert_array_equal(straight.predict_proba(X), mixed.predict_proba(X))


def test_a_picture_given_twice_with_one_label_counts_once():
    encoder, X, y, _ = clouds(n_per_class=3)
    once = FewShotClassifier(encoder).fit(X, y)
    twice = FewShotClassifier(encoder).fit([*X, X[0], X[0]], [*y, y[0], y[0]])
    np.testing.assert_array_equal(once.predict_proba(X), twice.predict_proba(X))
    assert twice.support_.tolist() == list(range(11))


def test_unreadable_images_are_replaced_by_the_next_of_their_class(encoder):
    X = [f"cat {i}" for i in range(5)] + [f"dog {i}" for i in range(5)]
    y = ["cat"] * 5 + ["dog"] * 5
    first = FewShotClassifier(encoder, shots=2, random_state=1).fit(X, y).support_
    broken = list(X)
    broken[first[0]] = " "
    with pytest.warns(SkippedImagesWarning, match="1 labelled images could not be used"):
        clf = FewShotClassifier(encoder, shots=2, random_state=1).fit(broken, y)
    third = FewShotClassifier(encoder, shots=3, random_state=1).fit(X, y).support_
    assert clf.n_support_ == 4
    assert set(clf.support_) < set(third) - {first[0]}
    assert set(first) - {first[0]} < set(clf.support_)


def test_unreadable_images_are_left_out_by_name(encoder):
    X, y = ["cat", " ", "dog", "  "], ["cat", "cat", "dog", "dog"]
    with pytest.warns(SkippedImagesWarning, match="2 labelled images .* first: cannot read"):
        clf = FewShotClassifier(encoder).fit(X, y)
    assert clf.support_.tolist() == [0, 2]


def test_a_class_without_a_usable_image_is_an_error(encoder):
    with pytest.raises(InputError, match="No usable image is left for: dog"):
        FewShotClassifier(encoder).fit(["cat", " "], ["cat", "dog"])
    with pytest.raises(InputError, match="without: fox"):
        FewShotClassifier(encoder, labels=["cat", "fox"]).fit(["cat"], ["cat"])


def test_one_class_is_certain(encoder):
    for method in ("auto", "prototype", "linear", "tip-adapter"):
        clf = FewShotClassifier(encoder, method=method).fit(
            [f"cat {i}" for i in range(6)], ["cat"] * 6
        )
        assert clf.predict(["dog"]).tolist() == ["cat"]
        assert clf.predict_proba(["dog"]).tolist() == [[1.0]]


def test_no_images_at_all_is_an_error(encoder):
    with pytest.raises(InputError, match="at least one label"):
        FewShotClassifier(encoder).fit([], [])
    with pytest.raises(InputError, match="y is missing"):
        FewShotClassifier(encoder).fit(["cat"], None)


# ---------------------------------------------------------------- calibration


def test_confidence_is_about_the_accuracy_on_new_images():
    encoder, X, y, _ = clouds(n_per_class=200, noise=1.0)
    for method in ("prototype", "linear", "tip-adapter"):
        clf = FewShotClassifier(encoder, method=method).fit(X[:90], y[:90])
        assert clf.calibrated_
        accuracy = (clf.predict(X[90:]) == y[90:]).mean()
        assert 0.5 < accuracy < 0.98
        assert clf.predict_proba(X[90:]).max(axis=1).mean() == pytest.approx(accuracy, abs=0.07)


def test_a_perfect_support_does_not_make_it_certain():
    encoder, X, y, _ = clouds(n_per_class=3, noise=0.01)
    clf = FewShotClassifier(encoder, method="prototype").fit(X, y)
    assert 0.85 < clf.predict_proba(X).max() < 0.97  # nine right answers: about 10/11


def test_one_shot_cannot_be_calibrated():
    encoder, X, y, _ = clouds(n_per_class=1)
    clf = FewShotClassifier(encoder).fit(X, y)
    assert (clf.calibrated_, clf.temperature_) == (False, 1.0)
    with pytest.raises(InputError, match="two different images of a class"):
        FewShotClassifier(encoder, calibrate=True).fit(X, y)


def test_few_second_images_are_not_enough_unless_asked():
    encoder, X, y, codes = clouds(n_per_class=2, n_classes=3)
    keep = [0, 1, 2, 3]  # only "ant" has a second image
    assert codes[3] == 0
    clf = FewShotClassifier(encoder).fit([X[i] for i in keep], y[keep])
    assert not clf.calibrated_
    insisted = FewShotClassifier(encoder, calibrate=True).fit([X[i] for i in keep], y[keep])
    assert insisted.calibrated_


def test_C_is_chosen_by_held_out_images():
    rng = np.random.default_rng(0)
    codes = np.arange(160) % 2
    points = 0.3 * rng.normal(size=(160, 30))
    points[:, 0] += np.where(codes, 0.4, -0.4)
    encoder = VectorEncoder(points)
    y = np.array(["a", "b"])[codes]
    X = [str(i) for i in range(160)]
    clf = FewShotClassifier(encoder, method="linear", C="auto", text_weight=None).fit(X, y)
    assert clf.C_ in (1.0, 10.0, 100.0, 1000.0)
    assert clf.C_ < 100  # so noisy a problem wants a stronger penalty
    from showtell.classify.embedding.heads import Support

    support = Support(embeddings=encoder.points, codes=codes, distinct=np.arange(160), n_classes=2)
    np.testing.assert_allclose(
        np.linalg.norm(clf.head_.weights), np.linalg.norm(linear_head(support, C=clf.C_).weights),
        rtol=1e-4,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("params", "complaint"),
    [
        ({"shots": -1}, "`shots` is a whole number"),
        ({"shots": 1.5}, "`shots` is a whole number"),
        ({"shots": True}, "`shots` is a whole number"),
        ({"text_weight": -1}, "`text_weight` is a number of 0 or more"),
        ({"text_weight": "some"}, "`text_weight` is a number of 0 or more"),
        ({"C": 0}, "`C` is a number above 0"),
        ({"alpha": float("nan")}, "`alpha` is a number"),
        ({"beta": -2}, "`beta` is a number"),
        ({"calibrate": 1}, "True, False or 'auto'"),
        ({"random_state": "x"}, "`random_state` is a whole number"),
    ],
)
def test_unusable_arguments_are_refused_in_fit(encoder, params, complaint):
    clf = FewShotClassifier(encoder, **params)
    with pytest.raises(InputError, match=complaint):
        clf.fit(["cat", "dog"], ["cat", "dog"])


def test_unknown_methods_list_the_known_ones(encoder):
    with pytest.raises(UnknownNameError, match="Allowed: auto, prototype, tip-adapter, linear"):
        FewShotClassifier(encoder, method="nearest").fit(["cat"], ["cat"])


# ---------------------------------------------------------------- real photos


@pytest.mark.data
@pytest.mark.slow
def test_few_shots_of_weather_photos_with_the_embedded_encoder(shared_datasets):
    data = load_dataset(shared_datasets / "weather")
    train, test = data.train, data.test
    accuracy = {}
    for shots in (1, 5, None):
        clf = FewShotClassifier("mini", shots=shots, random_state=0)
        record = clf.fit(train.images, train.y).classify(test.images)
        assert record.counts["error"] == 0
        accuracy[shots] = (record.label == test.y).mean()
    # the study's table: 47 % at one shot, 75 % at five, 88 % with all; slack of 12 for one draw
    assert accuracy[1] > 0.40
    assert accuracy[5] > 0.63
    assert accuracy[None] > 0.80
    assert accuracy[1] < accuracy[5] < accuracy[None]
