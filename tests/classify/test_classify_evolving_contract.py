"""The contract of media classifiers, for descriptions that evolve."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone, is_classifier
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.utils import get_tags
from tests.classify import test_classify_contract as contract
from tests.classify.test_classify_contract import VOCABULARY, X_TEST, X_TRAIN, Y_TRAIN
from tests.classify.writer import Writer

from showtell.classify import EvolvingDescriptionClassifier, MediaClassifier, load_classifier
from showtell.mllm.model import Model
from showtell.testing import WordEncoder

SHARED = """
    test_a_data_set_is_not_taken_for_its_images
    test_a_label_outside_the_set_is_named_with_its_neighbour
    test_a_lazy_sequence_is_read_once_and_in_order
    test_a_single_image_is_not_taken_for_many
    test_an_impossible_threshold_is_refused
    test_another_encoder_after_fit_is_noticed
    test_any_sequence_will_do
    test_at_the_end_of_a_pipeline
    test_columns_follow_classes_and_predictions_are_among_them
    test_cross_validation
    test_deepcopy_of_a_fitted_one_predicts_the_same
    test_duplicates_get_equal_rows_and_are_computed_once
    test_fit_returns_self_and_changes_no_parameter
    test_fitting_again_forgets_the_first_fit
    test_global_random_state_is_left_alone
    test_it_abstains_below_the_threshold
    test_it_learns_something
    test_label_order_only_permutes_the_columns
    test_no_samples
    test_nothing_but_bad_images
    test_numpy_labels_are_like_text
    test_one_bad_image_is_an_error_row_and_changes_no_other
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

pytestmark = pytest.mark.filterwarnings("ignore::showtell.classify.LimitsWarning")
WORDS = ("whiskers", "tail", "grass", "sky")


class Shared(Writer):
    """A model that copies of an estimator share, as they do a connection."""

    def __copy__(self):
        return self

    def __deepcopy__(self, memo):
        return self


@dataclass(frozen=True)
class Case:
    name: str
    params: dict[str, Any] = field(default_factory=dict)
    encoder: dict[str, Any] = field(default_factory=dict)
    cls: type = EvolvingDescriptionClassifier
    sums_to_one: bool = True
    alone: bool = True
    accuracy: float = 0.7

    def make(self, **changes):
        model = changes.pop("model", None) or Shared(words=WORDS)
        encoder = changes.pop("encoder", None) or WordEncoder(VOCABULARY, **self.encoder)
        few = {"n_generations": 1, "n_candidates": 2, "n_start": 2, "n_replaced": 1, "n_least": 1}
        return self.cls(Model(model, cache=None), encoder, **{**few, **self.params, **changes})

    def fitted(self, **changes):
        return self.make(**changes).fit(X_TRAIN, Y_TRAIN)


CASES = [
    Case("evolving", {"labels": ["fox", "cat", "dog"], "calibrate": False}),
    Case("evolving labels of y, calibrated", {"calibrate": True}),
    Case("evolving from descriptions", {
        "start": {"cat": ["whiskers", "a tail"], "dog": ["a tail"], "fox": ["grass"]},
        "n_generations": 2, "validation": 0.0,
    }),
    Case("evolving as published", {"compat": "upstream", "crossover": "llm"}),
    Case("evolving sigmoid", {}, {"probability": "sigmoid"}, sums_to_one=False),
]  # fmt: skip


@pytest.fixture(params=CASES, ids=lambda case: case.name)
def case(request):
    return request.param


def test_clone_keeps_the_parameters_and_shares_model_and_encoder(case):
    clf = case.fitted()
    twin = clone(clf)
    params, other = clf.get_params(deep=False), twin.get_params(deep=False)
    assert params.pop("encoder") is other.pop("encoder")
    assert params["model"].model is other["model"].model
    assert params == other
    assert not hasattr(twin, "classes_")


def test_a_saved_one_predicts_the_same_bits(case, tmp_path):
    clf = case.fitted(abstain_below=0.4)
    again = load_classifier(clf.save(tmp_path / "clf"), encoder=clf.encoder, model=clf.model)
    assert type(again) is type(clf)
    assert again.get_params() == clf.get_params()
    np.testing.assert_array_equal(again.predict_proba(X_TEST), clf.predict_proba(X_TEST))
    np.testing.assert_array_equal(again.predict(X_TEST), clf.predict(X_TEST))
    learned = {n for n in vars(clf) if n.endswith("_") and not n.startswith("_")}
    assert learned <= set(vars(again))
    assert again.evolution_ == clf.evolution_


def test_a_saved_one_may_be_fitted_again(case, tmp_path):
    clf = case.fitted()
    again = load_classifier(clf.save(tmp_path / "clf"), encoder=clf.encoder, model=clf.model)
    again.set_params(model__cache=None).fit(X_TRAIN, Y_TRAIN)
    assert again.descriptions_ == clf.descriptions_


def test_grid_search_shares_the_model(case):
    clf = case.make()
    search = GridSearchCV(clf, {"n_candidates": [1, 2]}, cv=2).fit(X_TRAIN, Y_TRAIN)
    assert search.best_estimator_.model.model is clf.model.model
    assert search.predict(["dog"]).tolist() == ["dog"]


def test_scikit_learn_sees_a_classifier_that_needs_labels(case):
    clf = case.make()
    assert isinstance(clf, MediaClassifier)
    assert is_classifier(clf)
    tags = get_tags(clf)
    assert not tags.input_tags.two_d_array
    assert tags.target_tags.required
    assert "EvolvingDescriptionClassifier" in clf._repr_html_()
    with pytest.raises(NotFittedError):
        clf.at(0)
