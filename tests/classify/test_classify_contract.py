"""The contract of every media classifier. A new method adds a line to `CASES`.

scikit-learn's own common suite is for 2-D arrays; this one is for sequences of media.
"""

from __future__ import annotations

import copy
import inspect
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from sklearn.base import BaseEstimator, clone, is_classifier
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import Pipeline
from sklearn.utils import get_tags

from showtell.classify import (
    ConceptClassifier,
    DescriptionClassifier,
    DistilledClassifier,
    FewShotClassifier,
    MediaClassifier,
    Predictions,
    ZeroShotClassifier,
    load_classifier,
)
from showtell.datasets import Dataset, LazyRows
from showtell.errors import InputError, MediaError
from showtell.testing import WordEncoder

VOCABULARY = ["cat", "dog", "fox", "grass", "sky", "whiskers", "tail"]
X_TRAIN = [
    f"{label} {ground} {n * 'and tail '}"
    for label in ("cat", "dog", "fox")
    for n in range(4)
    for ground in ("grass", "sky")
]
Y_TRAIN = [caption.split()[0] for caption in X_TRAIN]
X_TEST = ["a dog on grass", "cat", "fox with a tail", "my cat, my tail", "grass", "dog dog fox"]
BAD = "   "  # an empty caption cannot be read


@dataclass(frozen=True)
class Case:
    """One estimator with its settings."""

    name: str
    cls: type
    params: dict[str, Any] = field(default_factory=dict)
    sums_to_one: bool = True
    alone: bool = True
    """Whether an answer is independent of the other images of the call."""
    stores: bool = True
    """Whether it can be saved."""
    encoder: dict[str, Any] = field(default_factory=dict)
    accuracy: float = 0.9
    """At least this much of the training captions, where chance is a third."""
    grid: dict[str, Any] = field(
        default_factory=lambda: {"templates": ["default", ["a {label}.", "the {label}"]]}
    )
    """Parameters to search over."""

    def make(self, **changes):
        encoder = changes.pop("encoder", None) or WordEncoder(VOCABULARY, **self.encoder)
        return self.cls(encoder=encoder, **{**self.params, **changes})

    def fitted(self, **changes):
        return self.make(**changes).fit(X_TRAIN, Y_TRAIN)


pytestmark = pytest.mark.filterwarnings("ignore::showtell.classify.LimitsWarning")
LABELS = ["fox", "cat", "dog"]
DESCRIPTIONS = {"cat": ["whiskers", "a tail"], "dog": ["a tail"], "fox": []}
TREE = {"domain": "animal", "parts": [
    {"part": "kind", "attributes": {"sort": ["cat", "dog", "fox"]}},
    {"part": "body", "attributes": {"other attributes": ["tail", "whiskers"]}},
    {"part": "place", "attributes": {"ground": ["grass", "sky"], "name": ["cat", "dog", "fox"]}},
]}  # fmt: skip
CASES = [
    Case("zero-shot", ZeroShotClassifier, {"labels": LABELS}),
    Case("zero-shot labels of y", ZeroShotClassifier),
    Case("zero-shot uncalibrated", ZeroShotClassifier, {"calibrate": False}),
    Case("zero-shot texts", ZeroShotClassifier, {
        "labels": {"cat": "whiskers", "dog": ["a dog", "paws"], "fox": None},
        "aliases": {"dog": ["puppy"]}, "templates": ["a {label}.", "the {label}"],
    }),
    Case("zero-shot sigmoid", ZeroShotClassifier, sums_to_one=False,
         encoder={"probability": "sigmoid"}),
    Case("zero-shot balance", ZeroShotClassifier, {"transductive": "balance"}, alone=False),
    Case("zero-shot adapt", ZeroShotClassifier, {"transductive": "adapt"}, alone=False),
    Case("descriptions", DescriptionClassifier, {"descriptions": DESCRIPTIONS, "labels": LABELS},
         accuracy=0.7),
    Case("descriptions, embeddings averaged", DescriptionClassifier,
         {"descriptions": DESCRIPTIONS, "method": "cupl", "templates": ["the {label}."]}),
    Case("waffle", DescriptionClassifier, {"method": "waffle", "n_pairs": 2}),
    Case("waffle+descriptions", DescriptionClassifier,
         {"descriptions": DESCRIPTIONS, "method": "waffle+descriptions", "n_pairs": 3},
         accuracy=0.7),
    Case("few-shot auto", FewShotClassifier),
    Case("few-shot prototype", FewShotClassifier, {"method": "prototype"}),
    Case("few-shot plain means", FewShotClassifier,
         {"method": "prototype", "centre": False, "text_weight": None}),
    Case("few-shot tip-adapter", FewShotClassifier, {"method": "tip-adapter"}),
    Case("few-shot linear", FewShotClassifier, {"method": "linear", "C": "auto"}),
    Case("few-shot one shot", FewShotClassifier, {"shots": 1}, accuracy=0.45),
    Case("few-shot no shots", FewShotClassifier, {"shots": 0}),
    Case("concepts", ConceptClassifier, {"concepts": TREE}, grid={"voting": ["parts", "all"]}),
    Case("concepts, selected and described", ConceptClassifier,
         {"concepts": TREE, "labels": LABELS, "select": "permutation", "voting": "attributes",
          "descriptions": {"cat": ["whiskers"]}},
         accuracy=0.7, grid={"prefix": ["none", "domain"]}),
    Case("concepts, forest", ConceptClassifier,
         {"concepts": TREE, "head": "forest", "n_trees": 12}, grid={"n_trees": [5, 10]}),
    Case("student", DistilledClassifier, grid={"head": ["blend", "mean"]}),
    Case("student, linear and weighted", DistilledClassifier,
         {"labels": LABELS, "head": "linear", "denoise": "weight", "suspects": "drop"},
         grid={"C": [1.0, 10.0]}),
]  # fmt: skip


@pytest.fixture(params=CASES, ids=lambda case: case.name)
def case(request):
    return request.param


def test_clone_keeps_the_parameters_and_shares_the_encoder(case):
    clf = case.make()
    twin = clone(clf)
    assert twin is not clf
    params, other = clf.get_params(deep=False), twin.get_params(deep=False)
    assert params.pop("encoder") is other.pop("encoder")
    assert params == other
    assert not hasattr(clone(case.fitted()), "classes_")


def test_clone_does_not_copy_an_encoder_that_knows_nothing_of_scikit_learn(case):
    class Foreign:
        """Only what the protocol asks for."""

        def __deepcopy__(self, memo):
            raise AssertionError("the weights were copied")

    inner, foreign = WordEncoder(VOCABULARY, **case.encoder), Foreign()
    for name in ("name", "fingerprint", "n_dims", "logit_scale", "logit_bias", "probability",
                 "zero_shot_note", "encode_images", "encode_texts"):  # fmt: skip
        setattr(foreign, name, getattr(inner, name))
    clf = case.make(encoder=foreign)
    assert clone(clf).encoder is foreign
    assert clone(clf).fit(X_TRAIN, Y_TRAIN).predict(X_TEST[:3]).shape == (3,)


def test_the_constructor_stores_its_arguments_unchanged(case):
    clf = case.make()
    for name, value in {**case.params}.items():
        assert getattr(clf, name) is value
    names = [n for n in inspect.signature(case.cls.__init__).parameters if n != "self"]
    assert sorted(vars(clf)) == sorted(names)  # nothing computed, nothing else kept


def test_parameters_can_be_read_and_set(case):
    clf = case.make()
    assert clf.set_params(abstain_below=0.25) is clf
    assert clf.get_params()["abstain_below"] == 0.25
    with pytest.raises(ValueError, match="Invalid parameter"):
        clf.set_params(nonsense=1)


def test_unfitted_it_says_so(case):
    clf = case.make()
    for method in (clf.predict, clf.predict_proba, clf.classify):
        with pytest.raises(NotFittedError):
            method(X_TEST)


def test_fit_returns_self_and_changes_no_parameter(case):
    clf = case.make()
    before = {k: copy.copy(v) for k, v in clf.get_params(deep=False).items() if k != "encoder"}
    assert clf.fit(X_TRAIN, Y_TRAIN) is clf
    after = clf.get_params(deep=False)
    after.pop("encoder")
    assert after == before


def test_fitting_again_forgets_the_first_fit(case):
    once = case.fitted()
    twice = case.make().fit(X_TRAIN[::-1], Y_TRAIN[::-1])
    twice.fit(X_TRAIN, Y_TRAIN)
    np.testing.assert_array_equal(once.predict_proba(X_TEST), twice.predict_proba(X_TEST))


def test_columns_follow_classes_and_predictions_are_among_them(case):
    clf = case.fitted()
    proba, labels = clf.predict_proba(X_TEST), clf.predict(X_TEST)
    assert proba.shape == (len(X_TEST), len(clf.classes_))
    assert proba.dtype == np.float32
    np.testing.assert_array_equal(labels, clf.classes_[proba.argmax(axis=1)])
    assert list(clf.classes_) == list(case.params.get("labels") or sorted(set(Y_TRAIN)))


def test_probabilities_are_probabilities(case):
    proba = case.fitted().predict_proba(X_TEST)
    assert ((proba >= 0) & (proba <= 1)).all()
    if case.sums_to_one:
        np.testing.assert_allclose(proba.sum(axis=1), 1, atol=1e-5)


def test_it_learns_something(case):
    predicted = case.fitted().predict(["a dog", "the cat", "one fox"])
    np.testing.assert_array_equal(predicted, ["dog", "cat", "fox"])


def test_label_order_only_permutes_the_columns(case):
    labels = case.params.get("labels") or sorted(set(Y_TRAIN))
    turned = dict(reversed(labels.items())) if isinstance(labels, dict) else labels[::-1]
    forward, backward = case.fitted(labels=labels), case.fitted(labels=turned)
    assert list(backward.classes_) == list(forward.classes_)[::-1]
    np.testing.assert_allclose(
        forward.predict_proba(X_TEST), backward.predict_proba(X_TEST)[:, ::-1], atol=2e-4
    )


def test_one_sample(case):
    clf = case.fitted()
    assert clf.predict(["a dog"]).tolist() == ["dog"]
    assert clf.predict_proba(("a dog",)).shape == (1, 3)


def test_no_samples(case):
    clf = case.fitted()
    assert clf.predict([]).shape == (0,)
    assert clf.predict_proba([]).shape == (0, 3)
    assert len(clf.classify([])) == 0


def test_the_batch_does_not_matter(case):
    clf = case.fitted()
    whole = clf.predict_proba(X_TEST)
    if case.alone:
        one_by_one = np.vstack([clf.predict_proba([x]) for x in X_TEST])
        np.testing.assert_array_equal(one_by_one, whole)
    np.testing.assert_allclose(clf.predict_proba(X_TEST[::-1])[::-1], whole, atol=1e-6)


def test_duplicates_get_equal_rows_and_are_computed_once(case, encoder):
    clf = case.fitted(encoder=encoder)
    if case.encoder:
        encoder.probability = case.encoder["probability"]
    encoder.images_seen.clear()
    rows = clf.predict_proba(X_TEST * 50)
    assert sorted(encoder.images_seen) == sorted(X_TEST)
    assert len(rows) == 50 * len(X_TEST)
    for k in range(50):
        np.testing.assert_array_equal(rows[k * len(X_TEST) : (k + 1) * len(X_TEST)], rows[:6])
    np.testing.assert_array_equal(rows[:6], clf.predict_proba(X_TEST))


def test_one_bad_image_is_an_error_row_and_changes_no_other(case):
    clf = case.fitted()
    clean = clf.classify(X_TEST)
    mixed = clf.classify([*X_TEST[:3], BAD, *X_TEST[3:], BAD])
    others = [0, 1, 2, 4, 5, 6]
    assert isinstance(mixed, Predictions)
    assert mixed.status.tolist() == ["ok"] * 3 + ["error"] + ["ok"] * 3 + ["error"]
    assert sorted(mixed.errors) == [3, 7]
    assert "shows nothing" in mixed.errors[3]
    np.testing.assert_array_equal(mixed.proba[others], clean.proba)
    np.testing.assert_array_equal(mixed.label[others], clean.label)
    assert np.isnan(mixed.proba[3]).all()
    assert mixed.label[3] == ""
    with pytest.raises(InputError, match="Use `classify` instead") as caught:
        clf.predict([*X_TEST, BAD])
    assert not isinstance(caught.value, MediaError)


def test_nothing_but_bad_images(case):
    predictions = case.fitted().classify([BAD, BAD])
    assert predictions.counts == {"ok": 0, "abstained": 0, "error": 2}


def test_progress_is_reported_to_the_end(case):
    seen = []
    case.fitted().classify(X_TEST, progress=lambda done, total, stage: seen.append((done, total)))
    assert seen[-1] == (len(X_TEST), len(X_TEST))


def test_same_seed_same_rows(case):
    first = case.fitted(random_state=3).predict_proba(X_TEST)
    np.testing.assert_array_equal(first, case.fitted(random_state=3).predict_proba(X_TEST))


def test_global_random_state_is_left_alone(case):
    np.random.seed(7)  # noqa: NPY002 (that it is not touched is the point)
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    case.fitted().predict(X_TEST)
    np.testing.assert_array_equal(before, np.random.get_state()[1])  # noqa: NPY002


def test_it_abstains_below_the_threshold(case):
    clf = case.fitted()
    sure = clf.classify(X_TEST).confidence
    threshold = min(float(np.median(sure)) + 1e-6, 1.0)
    clf = case.fitted(abstain_below=threshold)
    predictions = clf.classify([*X_TEST, BAD])
    expected = ["abstained" if c < threshold else "ok" for c in sure] + ["error"]
    assert predictions.status.tolist() == expected
    assert all((label == "") == (s != "ok") for label, s in zip(
        predictions.label, predictions.status, strict=True))  # fmt: skip
    assert not np.isnan(predictions.proba[:-1]).any()
    assert "" in clf.predict(X_TEST).tolist()


@pytest.mark.parametrize("threshold", [-0.1, 1.5, True])
def test_an_impossible_threshold_is_refused(case, threshold):
    with pytest.raises(InputError, match="abstain_below"):
        case.fitted(abstain_below=threshold)


@pytest.mark.parametrize("X", ["a cat", b"bytes", np.zeros((9, 9, 3), np.uint8), 3])
def test_a_single_image_is_not_taken_for_many(case, X):
    clf = case.fitted()
    with pytest.raises(InputError, match="sequence of images"):
        clf.predict(X)


def test_any_sequence_will_do(case):
    clf = case.fitted()
    wanted = clf.predict(X_TEST).tolist()
    for X in (tuple(X_TEST), np.array(X_TEST), np.array(X_TEST, object), iter(X_TEST)):
        assert clf.predict(X).tolist() == wanted


def test_a_lazy_sequence_is_read_once_and_in_order(case):
    read = []

    def look(row):
        read.append(row)
        return X_TEST[row]

    clf = case.fitted()
    predictions = clf.classify(LazyRows(look, np.arange(len(X_TEST))))
    assert read == list(range(len(X_TEST)))
    assert list(predictions.images) == X_TEST
    assert predictions.label.tolist() == clf.predict(X_TEST).tolist()


def test_a_data_set_is_not_taken_for_its_images(case):
    data = Dataset(images=X_TRAIN, labels=("cat",))
    with pytest.raises(InputError, match=r"give `data\.images`"):
        case.make().fit(data, Y_TRAIN)


def test_integer_labels_stay_integers(case):
    if "labels" in case.params or case.cls is DescriptionClassifier:
        pytest.skip("has its own label set, or descriptions that go by names")
    codes = {"cat": 5, "dog": -2, "fox": 9}
    takes_none = case.cls in (ConceptClassifier, DistilledClassifier)
    named = {} if takes_none else {"aliases": {codes[c]: c for c in codes}}
    clf = case.make(**named)
    clf.fit(X_TRAIN, np.array([codes[c] for c in Y_TRAIN]))
    assert clf.classes_.tolist() == [-2, 5, 9]
    assert clf.predict(["a dog", "cat"]).tolist() == [-2, 5]
    assert clf.predict(["a dog"]).dtype == np.int64
    assert clf.classify(["a dog", "cat"]).label.tolist() == ["-2", "5"]
    with pytest.raises(InputError, match="needs labels of type str"):
        clf.set_params(abstain_below=0.5).fit(X_TRAIN, [codes[c] for c in Y_TRAIN])


def test_numpy_labels_are_like_text(case):
    plain = case.fitted()
    clf = case.make().fit(np.array(X_TRAIN), np.array(Y_TRAIN))
    np.testing.assert_array_equal(clf.predict_proba(X_TEST), plain.predict_proba(X_TEST))
    assert clf.classes_.dtype.kind == "U"


@pytest.mark.parametrize(
    ("y", "complaint"),
    [
        (Y_TRAIN[:-1], "24 images, but y has 23 labels"),
        ([*Y_TRAIN[:-1], None], "missing"),
        ([*Y_TRAIN[:-1], float("nan")], "missing"),
        ([*Y_TRAIN[:-1], ""], "empty"),
        ([*Y_TRAIN[:-1], 3], "all text, all integers"),
        (np.linspace(0, 1, 24), "all text, all integers"),
        ("cat", "sequence of labels"),
    ],
)
def test_unusable_labels_are_refused(case, y, complaint):
    with pytest.raises(InputError, match=complaint):
        case.make().fit(X_TRAIN, y)


def test_a_label_outside_the_set_is_named_with_its_neighbour(case):
    with pytest.raises(InputError, match=r"'catt'.*Close to the first: 'cat'.*Allowed: cat, dog"):
        case.make(labels=["cat", "dog", "fox"]).fit([*X_TRAIN, "x"], [*Y_TRAIN, "catt"])


def test_another_encoder_after_fit_is_noticed(case):
    clf = case.fitted()
    clf.set_params(encoder=WordEncoder(["other", "words"]))
    with pytest.raises(InputError, match="Call `fit` again"):
        clf.predict(X_TEST)


def test_deepcopy_of_a_fitted_one_predicts_the_same(case):
    clf = case.fitted()
    np.testing.assert_array_equal(
        copy.deepcopy(clf).predict_proba(X_TEST), clf.predict_proba(X_TEST)
    )


def test_a_saved_one_predicts_the_same_bits(case, tmp_path):
    if not case.stores:
        pytest.skip("cannot be saved")
    clf = case.fitted(abstain_below=0.4)
    again = load_classifier(clf.save(tmp_path / "clf"), encoder=clf.encoder)
    assert type(again) is type(clf)
    assert again.get_params() == clf.get_params()
    np.testing.assert_array_equal(again.classes_, clf.classes_)
    np.testing.assert_array_equal(again.predict_proba(X_TEST), clf.predict_proba(X_TEST))
    np.testing.assert_array_equal(again.predict(X_TEST), clf.predict(X_TEST))
    learned = {n for n in vars(clf) if n.endswith("_") and not n.startswith("_")}
    assert learned <= set(vars(again))
    for name in learned - {"head_", "teacher_labels_"}:
        np.testing.assert_array_equal(getattr(again, name), getattr(clf, name), err_msg=name)


def test_cross_validation(case):
    scores = cross_val_score(case.make(), X_TRAIN, Y_TRAIN, cv=3)
    assert scores.shape == (3,)
    assert scores.mean() > case.accuracy
    if case.sums_to_one and "labels" not in case.params:  # log loss expects sorted columns
        losses = cross_val_score(case.make(), X_TRAIN, Y_TRAIN, cv=3, scoring="neg_log_loss")
        assert np.isfinite(losses).all()


def test_grid_search_over_templates_or_what_it_has_instead(case):
    search = GridSearchCV(case.make(), case.grid, cv=2).fit(X_TRAIN, Y_TRAIN)
    assert search.best_score_ > case.accuracy
    assert search.best_estimator_.encoder is search.estimator.encoder
    assert search.predict(["dog"]).tolist() == ["dog"]


def test_at_the_end_of_a_pipeline(case):
    class Lower(BaseEstimator):
        """Turns captions to lower case."""

        def fit(self, X, y=None):
            self.fitted_ = True
            return self

        def transform(self, X):
            return [x.lower() for x in X]

    pipe = Pipeline([("lower", Lower()), ("clf", case.make())]).fit(X_TRAIN, Y_TRAIN)
    assert pipe.predict(["A DOG"]).tolist() == ["dog"]
    assert pipe.score(X_TRAIN, Y_TRAIN) > case.accuracy


def test_scikit_learn_sees_a_classifier_of_things_that_are_no_arrays(case):
    clf = case.make()
    assert isinstance(clf, MediaClassifier)
    assert is_classifier(clf)
    tags = get_tags(clf)
    assert not tags.input_tags.two_d_array
    assert tags.input_tags.string
    assert tags.target_tags.required == (case.cls in (FewShotClassifier, ConceptClassifier))
    assert str(clf).startswith(case.cls.__name__)
    assert case.cls.__name__ in clf._repr_html_()


def test_grid_search_over_shots():
    X, y = X_TRAIN * 2, Y_TRAIN * 2
    grid = {"shots": [0, 1, 3], "method": ["prototype", "linear"]}
    search = GridSearchCV(FewShotClassifier(WordEncoder(VOCABULARY)), grid, cv=2).fit(X, y)
    assert search.best_score_ > 0.9
    assert len(search.cv_results_["mean_test_score"]) == 6
