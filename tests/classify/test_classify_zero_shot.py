"""ZeroShotClassifier: words in, labels out."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from tests.memory import needs_peak_memory, run_measured

from showtell.classify import LimitsWarning, ZeroShotClassifier, adapt, balance
from showtell.classify import base as base_module
from showtell.classify.embedding.prototypes import cosines
from showtell.errors import InputError, UnknownNameError
from showtell.testing import ColourEncoder, WordEncoder, make_images


@pytest.fixture
def said(monkeypatch):
    """Start as if nothing had been said in this process."""
    monkeypatch.setattr(base_module, "_said", set())


def test_probabilities_follow_the_formula(encoder):
    clf = ZeroShotClassifier(encoder, labels=["cat", "dog"]).fit()
    # caption = dog + grass, so its cosine with "dog" is 1/sqrt(2) and with "cat" 0
    expected_dog = 1 / (1 + np.exp(-encoder.logit_scale / np.sqrt(2)))
    np.testing.assert_allclose(
        clf.predict_proba(["a dog on grass"]), [[1 - expected_dog, expected_dog]], rtol=1e-5
    )


def test_a_sigmoid_encoder_asks_each_label_alone():
    encoder = WordEncoder(["cat", "dog", "grass"], probability="sigmoid")
    encoder.logit_bias = -3.0
    clf = ZeroShotClassifier(encoder, labels=["cat", "dog"]).fit()
    expected = [1 / (1 + np.exp(3)), 1 / (1 + np.exp(3 - 10 / np.sqrt(2)))]
    np.testing.assert_allclose(clf.predict_proba(["a dog on grass"]), [expected], rtol=1e-5)
    assert clf.probability_ == "sigmoid"
    softmax = ZeroShotClassifier(encoder, labels=["cat", "dog"], probability="softmax").fit()
    np.testing.assert_allclose(softmax.predict_proba(["a dog on grass"]).sum(), 1, rtol=1e-6)


def test_labels_keep_the_order_they_are_given_in(encoder):
    clf = ZeroShotClassifier(encoder, labels=("dog", "cat")).fit()
    assert clf.classes_.tolist() == ["dog", "cat"]
    assert clf.predict_proba(["a cat"]).argmax() == 1


def test_labels_come_from_y_alone(encoder):
    clf = ZeroShotClassifier(encoder).fit(y=["dog", "cat", "dog"])
    assert clf.classes_.tolist() == ["cat", "dog"]
    assert encoder.images_seen == []
    assert not clf.calibrated_


def test_text_is_encoded_once_per_label_set(encoder):
    clf = ZeroShotClassifier(encoder, labels=["cat", "dog"], templates=["a {label}.", "{label}"])
    clf.fit()
    assert encoder.texts_seen == ["a cat.", "cat", "a dog.", "dog"]
    clf.predict(["cat"] * 5)
    clf.predict(["dog"])
    assert len(encoder.texts_seen) == 4


def test_a_prompt_of_several_labels_is_encoded_once(encoder):
    ZeroShotClassifier(
        encoder, labels={"cat": "an animal", "dog": "an animal"}, templates="{label}"
    ).fit()
    assert encoder.texts_seen == ["cat", "an animal", "dog"]


def test_descriptions_make_a_nonsense_label_recognisable(encoder):
    plain = ZeroShotClassifier(encoder, labels=["cat", "zorg"]).fit()
    told = ZeroShotClassifier(encoder, labels={"cat": None, "zorg": "it has stripes"}).fit()
    as_dict = ZeroShotClassifier(
        encoder, labels=["cat", "zorg"], descriptions={"zorg": ["it has stripes"]}
    ).fit()
    assert plain.predict_proba(["stripes"])[0, 1] == 0.5
    assert told.predict(["stripes"]).tolist() == ["zorg"]
    np.testing.assert_array_equal(told.prototypes_, as_dict.prototypes_)
    assert told.prompts_ == {
        "cat": ["a photo of a cat."],
        "zorg": ["a photo of a zorg.", "it has stripes"],
    }


def test_an_alias_counts_for_its_label(encoder):
    clf = ZeroShotClassifier(encoder, labels=["cat", "canine"], aliases={"canine": ["dog"]}).fit()
    assert clf.predict(["my dog"]).tolist() == ["canine"]
    np.testing.assert_allclose(clf.prototypes_[1, 1], np.sqrt(0.5), rtol=1e-6)


@pytest.mark.parametrize(
    ("params", "complaint"),
    [
        ({}, "Which labels"),
        ({"labels": []}, "at least one label"),
        ({"labels": "cat,dog"}, r"Write \['cat', 'dog'\]"),
        ({"labels": ["cat", "cat", "dog"]}, "twice: cat"),
        ({"labels": ["cat", " "]}, "empty"),
        ({"labels": ["cat"], "descriptions": {"catt": "x"}}, "'catt', which is no label"),
        ({"labels": ["cat"], "aliases": {"cat": [""]}}, "must be non-empty"),
        ({"labels": ["cat"], "templates": ["a photo"]}, "placeholder"),
        ({"labels": ["cat"], "templates": []}, "[Aa]t least one template"),
        ({"labels": ["cat"], "templates": None}, "'cat' has no text"),
        ({"labels": ["cat"], "calibrate": "yes"}, "True, False or 'auto'"),
        ({"labels": ["cat"], "calibrate": True}, "needs labelled images"),
    ],
)
def test_unusable_arguments_are_refused_in_fit(encoder, params, complaint):
    clf = ZeroShotClassifier(encoder, **params)
    with pytest.raises(InputError, match=complaint):
        clf.fit()


def test_unknown_names_list_the_known_ones(encoder):
    with pytest.raises(UnknownNameError, match="Allowed: balance, adapt, None"):
        ZeroShotClassifier(encoder, labels=["cat"], transductive="both").fit()
    with pytest.raises(UnknownNameError, match="Allowed: encoder, softmax, sigmoid"):
        ZeroShotClassifier(encoder, labels=["cat"], probability="odds").fit()


def test_one_label_is_certain(encoder):
    clf = ZeroShotClassifier(encoder, labels=["cat"]).fit()
    assert clf.predict(["dog"]).tolist() == ["cat"]
    assert clf.predict_proba(["dog"]).tolist() == [[1.0]]


# ---------------------------------------------------------------- calibration


def captions(n, wrong, seed=0):
    """Captions of which a share shows the other animal."""
    rng = np.random.default_rng(seed)
    y = np.array(["cat", "dog"])[rng.integers(0, 2, n)]
    other = {"cat": "dog", "dog": "cat"}
    # numbers make captions differ without changing what they show
    return [f"{other[c] if rng.random() < wrong else c} no. {i}" for i, c in enumerate(y)], y


def test_calibration_makes_confidence_the_accuracy_and_changes_no_label(encoder):
    X, y = captions(400, wrong=0.25)
    raw = ZeroShotClassifier(encoder, labels=["cat", "dog"]).fit()
    clf = ZeroShotClassifier(encoder, labels=["cat", "dog"]).fit(X, y)
    assert clf.calibrated_
    assert not raw.calibrated_
    assert clf.temperature_ > 1
    np.testing.assert_array_equal(clf.predict(X), raw.predict(X))
    accuracy = (raw.predict(X) == y).mean()
    assert clf.predict_proba(X).max(axis=1).mean() == pytest.approx(accuracy, abs=0.01)
    assert raw.predict_proba(X).max(axis=1).mean() > 0.99


def test_sigmoid_probabilities_are_calibrated_too():
    X, y = captions(400, wrong=0.25)
    encoder = WordEncoder(["cat", "dog"], probability="sigmoid")
    encoder.logit_bias = -5.0
    clf = ZeroShotClassifier(encoder, labels=["cat", "dog"]).fit(X, y)
    assert clf.calibrated_
    assert clf.predict_proba(X).max(axis=1).mean() == pytest.approx(0.75, abs=0.05)


def test_auto_calibrates_from_20_usable_images_on(encoder):
    X, y = captions(20, wrong=0.2)
    assert ZeroShotClassifier(encoder).fit(X, y).calibrated_
    assert not ZeroShotClassifier(encoder).fit(X[1:], y[1:]).calibrated_
    assert not ZeroShotClassifier(encoder).fit([" ", *X[1:]], y).calibrated_
    encoder.images_seen.clear()
    ZeroShotClassifier(encoder, calibrate=False).fit(X, y)
    assert encoder.images_seen == []


def test_calibration_passes_over_unreadable_images(encoder):
    X, y = captions(40, wrong=0.2)
    with_bad = ZeroShotClassifier(encoder).fit([*X, " "], [*y, "cat"])
    assert with_bad.temperature_ == ZeroShotClassifier(encoder).fit(X, y).temperature_


def test_calibration_on_demand_needs_one_usable_image(encoder):
    assert ZeroShotClassifier(encoder, calibrate=True).fit(["cat"], ["cat"]).calibrated_
    with pytest.raises(InputError, match="none of the 1 labelled images could be used"):
        ZeroShotClassifier(encoder, calibrate=True).fit([" "], ["cat"])


# ---------------------------------------------------------------- the batch


X_BATCH = [f"{word} and grass {i}" for i in range(3) for word in ("cat", "dog", "cat dog")]


def test_balance_and_adapt_are_the_documented_functions(encoder):
    plain = ZeroShotClassifier(encoder, labels=["cat", "dog"]).fit()
    x = encoder.encode_images(X_BATCH)
    shares = balance(cosines(x, plain.prototypes_))
    np.testing.assert_allclose(
        plain.set_params(transductive="balance").fit().predict_proba(X_BATCH), shares, atol=1e-5
    )
    scores = 10 * adapt(x, plain.prototypes_)
    odds = np.exp(scores - scores.max(axis=1, keepdims=True))
    np.testing.assert_allclose(
        plain.set_params(transductive="adapt").fit().predict_proba(X_BATCH),
        odds / odds.sum(axis=1, keepdims=True),
        atol=1e-5,
    )


def test_balance_takes_back_what_a_greedy_label_got():
    # "animal" is near everything: without balance it gets the whole batch
    encoder = WordEncoder(["fur", "bark"])
    X = [f"{'fur ' * 3}bark {i}" for i in range(4)] + [f"{'fur ' * 5}bark {i}" for i in range(4)]
    clf = ZeroShotClassifier(encoder, labels=["fur", "fur bark"], templates="{label}").fit()
    assert set(clf.predict(X)) == {"fur"} or set(clf.predict(X)) == {"fur bark"}
    balanced = clf.set_params(transductive="balance").fit().predict(X)
    assert balanced.tolist() == ["fur bark"] * 4 + ["fur"] * 4


@pytest.mark.parametrize("transductive", ["balance", "adapt"])
def test_duplicates_do_not_shift_the_batch(encoder, transductive):
    clf = ZeroShotClassifier(encoder, labels=["cat", "dog"], transductive=transductive).fit()
    once = clf.predict_proba(X_BATCH)
    many = clf.predict_proba([X_BATCH[0]] * 500 + X_BATCH)
    np.testing.assert_array_equal(many[500:], once)


@pytest.mark.parametrize("transductive", ["balance", "adapt"])
def test_a_small_batch_is_said_once_and_one_image_is_classified_plainly(
    encoder, said, transductive
):
    clf = ZeroShotClassifier(encoder, labels=["cat", "dog"], transductive=transductive).fit()
    with pytest.warns(LimitsWarning, match="1 different ones for 2 labels"):
        alone = clf.predict_proba(["cat"])
    plain = ZeroShotClassifier(encoder, labels=["cat", "dog"]).fit()
    np.testing.assert_array_equal(alone, plain.predict_proba(["cat"]))
    clf.predict_proba(["cat"])  # warnings are errors here: it says nothing any more
    clf.predict_proba([])


# ---------------------------------------------------------------- what one should know


def test_limits_are_said_once_per_encoder_and_process(said):
    encoder = WordEncoder(["cat", "dog"])
    encoder.zero_shot_note = "Knows two animals."
    with pytest.warns(LimitsWarning, match="Knows two animals"):
        ZeroShotClassifier(encoder, labels=["cat"]).fit()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ZeroShotClassifier(encoder, labels=["dog"]).fit()
    other = WordEncoder(["cat", "cow"])
    other.zero_shot_note = "Knows two others."
    with pytest.warns(LimitsWarning, match="two others"):
        ZeroShotClassifier(other, labels=["cat"]).fit()


def test_pictures_are_classified_and_kept_in_the_store(tmp_path):
    paths = make_images(tmp_path / "shapes", n_per_label=3)
    wanted = [path.parent.name for path in paths]
    labels = ["red circle", "green triangle", "blue square"]
    encoder = ColourEncoder()
    clf = ZeroShotClassifier(encoder, labels=labels, store=str(tmp_path / "s.sqlite")).fit()
    predictions = clf.classify(paths)
    assert predictions.label.tolist() == wanted
    assert list(predictions.images) == [str(path) for path in paths]
    encoder.encode_prepared = pytest.fail  # a second run must not need the network
    np.testing.assert_array_equal(clf.classify(paths).proba, predictions.proba)


MILLION = """
import tempfile, os
from showtell.classify import ZeroShotClassifier
from showtell.testing import ColourEncoder, make_images

folder = tempfile.mkdtemp()
few = [str(path) for path in make_images(folder, n_per_label=20)]
labels = ["red circle", "green triangle", "blue square"]
X = [few[i % len(few)] for i in range(1_000_000)]
clf = ZeroShotClassifier(ColourEncoder(), labels=labels, store=None).fit()
predictions = clf.classify(X)
out = predictions.write(os.path.join(folder, "out.csv"), proba=True)
with open(out, encoding="utf-8") as stream:
    n_lines = sum(1 for _ in stream)
assert n_lines == 1_000_001, n_lines
assert predictions.counts["ok"] == 1_000_000
assert [p.split("/")[-2] for p in few] == predictions.label[:len(few)].tolist()
print(peak_mb())
"""


@pytest.mark.slow
@needs_peak_memory
def test_a_million_rows_of_few_images_stay_under_600_mb():
    (peak,) = run_measured(MILLION)
    assert float(peak) < 600
