"""The contract of media classifiers, for those that score labels with a local model.

As for multimodal LLMs the images are files called by their caption whose pixels spell it. The model
reads the pixels; what transformers do is tested beside it, on small checkpoints.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import Any
from zlib import crc32

import numpy as np
import pytest
from scipy.special import log_softmax
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from tests.classify import test_classify_contract as contract
from tests.classify.test_classify_contract import BAD, VOCABULARY, X_TEST, X_TRAIN, Y_TRAIN
from tests.classify.test_classify_mllm_contract import (  # noqa: F401 (fixtures)
    _among_captions,
    captions,
)

from showtell.classify import LikelihoodClassifier, Predictions, load_classifier
from showtell.errors import InputError, MediaError
from showtell.mllm.local.continuations import TokenScores, tokenise_labels
from showtell.mllm.local.vlm import LocalVLM
from showtell.testing import WordEncoder

SHARED = """
    test_a_label_outside_the_set_is_named_with_its_neighbour
    test_a_single_image_is_not_taken_for_many
    test_an_impossible_threshold_is_refused
    test_any_sequence_will_do
    test_at_the_end_of_a_pipeline
    test_columns_follow_classes_and_predictions_are_among_them
    test_cross_validation
    test_deepcopy_of_a_fitted_one_predicts_the_same
    test_fit_returns_self_and_changes_no_parameter
    test_fitting_again_forgets_the_first_fit
    test_global_random_state_is_left_alone
    test_integer_labels_stay_integers
    test_it_abstains_below_the_threshold
    test_it_learns_something
    test_label_order_only_permutes_the_columns
    test_no_samples
    test_nothing_but_bad_images
    test_numpy_labels_are_like_text
    test_one_sample
    test_parameters_can_be_read_and_set
    test_probabilities_are_probabilities
    test_progress_is_reported_to_the_end
    test_same_seed_same_rows
    test_the_batch_does_not_matter
    test_the_constructor_stores_its_arguments_unchanged
    test_unfitted_it_says_so
    test_unusable_labels_are_refused
"""
globals().update({name: getattr(contract, name) for name in SHARED.split()})

WORDS = WordEncoder(VOCABULARY)
pytestmark = pytest.mark.filterwarnings("ignore::showtell.classify.LimitsWarning")


@functools.lru_cache(maxsize=1024)
def embedded(caption):
    return WORDS.encode_texts([caption])[0]


class ReadingVLM(LocalVLM):
    """Reads captions; what follows a prompt is the likelier the nearer its words are."""

    def __init__(self, name="local-dir:toy"):
        self.name, self.fingerprint, self.read = name, f"toy-{name}", []

    def prompt(self, question, *, stub=""):
        return f"{question}\n{stub}"

    def continuations(self, prompt, labels, *, separator=None):
        return tokenise_labels(lambda t: [crc32(w.encode()) for w in t.split()], prompt, labels)

    def check(self, prompt, continuations):
        return 0.0

    def score(self, picture, prompt, continuations, *, with_end=False, reuse_prefix=True):
        letters = np.asarray(picture)[..., 0].tobytes()
        caption = letters.decode("latin-1").strip() if len(letters) == 64 else "nothing"
        self.read.append(caption)
        names = dict(line.split(". ", 1) for line in prompt.splitlines() if line[1:3] == ". ")
        texts = [names.get(label, label) for label in continuations.labels]
        likes = [
            10 * float(embedded(caption) @ embedded(text)) + 0.01 * (ord(text[0]) % 7)  # no ties
            for text in texts
        ]
        lengths = np.array([len(ids) for ids in continuations.tokens])
        rows = np.zeros((len(texts), lengths.max()))
        rows[:, 0] = log_softmax(likes) if names else likes - np.full(len(texts), 20.0)
        return TokenScores(logprobs=rows, lengths=lengths, end=-np.ones(len(texts)))


@dataclass(frozen=True)
class Case:
    name: str
    params: dict[str, Any] = field(default_factory=dict)
    sums_to_one: bool = True
    alone: bool = True
    accuracy: float = 0.9
    cls: type = LikelihoodClassifier

    def make(self, **changes):
        return self.cls(changes.pop("model", None) or ReadingVLM(), **{**self.params, **changes})

    def fitted(self, **changes):
        return self.make(**changes).fit(X_TRAIN, Y_TRAIN)


LABELS = ["fox", "cat", "dog"]
CASES = [
    Case("sum", {"labels": LABELS}),
    Case("labels of y"),
    Case("uncalibrated", {"calibrate": False}),
    Case("mean", {"rule": "mean"}),
    Case("sum and end", {"rule": "sum_eos", "labels": LABELS}),
    Case("pmi", {"rule": "pmi"}),
    Case("null pictures", {"null_images": "default"}),
    Case("prior of the images of fit", {"batch_calibration": 1.0}),
    Case("letter", {"rule": "letter"}),
]


@pytest.fixture(params=CASES, ids=lambda case: case.name)
def case(request):
    return request.param


def test_clone_keeps_the_parameters_and_shares_the_model(case):
    clf = case.make()
    twin = clone(clf)
    assert twin is not clf
    params, other = clf.get_params(deep=False), twin.get_params(deep=False)
    assert params.pop("model") is other.pop("model")
    assert params == other
    assert not hasattr(clone(case.fitted()), "classes_")


def test_duplicates_get_equal_rows_and_are_read_once(case):
    clf = case.fitted()
    clf.model.read.clear()
    rows = clf.predict_proba(X_TEST * 50)
    n_reads = 3 if case.params.get("rule") == "letter" else 1  # one per rotation
    assert sorted(clf.model.read) == sorted(X_TEST * n_reads)
    for k in range(50):
        np.testing.assert_array_equal(rows[k * len(X_TEST) : (k + 1) * len(X_TEST)], rows[:6])


def test_one_bad_image_is_an_error_row_and_changes_no_other(case):
    clf = case.fitted()
    clean = clf.classify(X_TEST)
    mixed = clf.classify([*X_TEST[:3], BAD, *X_TEST[3:], BAD])
    others = [0, 1, 2, 4, 5, 6]
    assert isinstance(mixed, Predictions)
    assert mixed.status.tolist() == ["ok"] * 3 + ["error"] + ["ok"] * 3 + ["error"]
    assert sorted(mixed.errors) == [3, 7]
    assert "cannot read" in mixed.errors[3]
    np.testing.assert_array_equal(mixed.proba[others], clean.proba)
    assert np.isnan(mixed.proba[3]).all()
    with pytest.raises(InputError, match="Use `classify` instead") as caught:
        clf.predict([*X_TEST, BAD])
    assert not isinstance(caught.value, MediaError)


def test_another_model_after_fit_is_noticed(case):
    clf = case.fitted()
    clf.set_params(model=ReadingVLM("local-dir:other"))
    with pytest.raises(InputError, match="Call `fit` again"):
        clf.predict(X_TEST)


def test_a_saved_one_predicts_the_same_bits(case, tmp_path):
    clf = case.fitted(abstain_below=0.4)
    again = load_classifier(clf.save(tmp_path / "clf"), model=clf.model)
    assert type(again) is type(clf)
    assert again.get_params() == clf.get_params()
    np.testing.assert_array_equal(again.classes_, clf.classes_)
    np.testing.assert_array_equal(again.predict_proba(X_TEST), clf.predict_proba(X_TEST))
    np.testing.assert_array_equal(again.predict(X_TEST), clf.predict(X_TEST))
    learned = {n for n in vars(clf) if n.endswith("_") and not n.startswith("_")}
    assert learned == {n for n in vars(again) if n.endswith("_") and not n.startswith("_")}
    for name in learned:
        np.testing.assert_array_equal(getattr(again, name), getattr(clf, name), err_msg=name)


def test_grid_search_over_rules():
    grid = {"rule": ["sum", "letter"], "calibrate": [False, "auto"]}
    search = GridSearchCV(LikelihoodClassifier(ReadingVLM()), grid, cv=2).fit(X_TRAIN, Y_TRAIN)
    assert search.best_score_ > 0.9
    assert search.best_estimator_.model is search.estimator.model
