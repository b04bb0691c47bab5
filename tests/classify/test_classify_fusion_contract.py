"""The contract of media classifiers, for the fusion of what an encoder and a model see.

The images are files called by their caption whose pixels spell it: the encoder reads the pixels,
and so does the model, which describes an image by its caption.
"""

from __future__ import annotations

import io
import json
import threading
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.classify import test_classify_contract as contract
from tests.classify.test_classify_contract import BAD, VOCABULARY, X_TEST, X_TRAIN, Y_TRAIN
from tests.classify.test_classify_mllm_contract import (  # noqa: F401 (fixtures)
    _among_captions,
    captions,
    embedded,
)

from showtell.classify import FusionClassifier, Predictions, load_classifier
from showtell.media import load_image, read_media
from showtell.mllm import Answer, ImagePart, Usage
from showtell.mllm.model import Model
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


def caption_of(data):
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image).astype(np.uint8).tobytes().decode(errors="replace").strip()


class PixelReader:
    """The word encoder, for captions spelled in pixels."""

    name = fingerprint = "pixel-reader"
    probability, zero_shot_note = "softmax", ""
    logit_scale, logit_bias, n_dims = WORDS.logit_scale, WORDS.logit_bias, WORDS.n_dims

    def encode_texts(self, texts):
        return WORDS.encode_texts(texts)

    def encode_images(self, images):
        load_image(images[0])  # refuses what is no image, as encoders do
        return np.stack([embedded(read_media(image).content) for image in images])


class Looker:
    """Describes an image by its caption, and guesses the label whose words are nearest."""

    name = "toy:looker"

    def __init__(self):
        self.requests, self.lock = [], threading.Lock()

    async def ask(self, request):
        with self.lock:
            self.requests.append(request)
        [part] = [p for p in request.parts if isinstance(p, ImagePart)]
        text = caption_of(part.data)
        question = request.parts[0].text
        if "guess-label" in question:
            lines = question.partition("Labels:\n")[2].partition("End of labels.")[0].splitlines()
            rows = WORDS.encode_texts([line[2:] for line in lines])
            scores = np.round(rows @ embedded(part.data), 6)
            named = sorted(zip(-scores, [line[2:] for line in lines], strict=True))
            text = json.dumps({"label": named[0][1]})
        usage = Usage(input_tokens=100, output_tokens=5, cost_usd=Decimal("0.001"))
        return Answer(text=text, usage=usage, finish="stop", model="looker")

    async def aclose(self):
        pass

    def __copy__(self):
        return self

    def __deepcopy__(self, memo):
        return self


@dataclass(frozen=True)
class Case:
    name: str
    params: dict[str, Any] = field(default_factory=dict)
    cls: type = FusionClassifier
    sums_to_one: bool = True
    alone: bool = True
    accuracy: float = 0.9

    def make(self, **changes):
        model = changes.pop("model", None) or Looker()
        encoder = changes.pop("encoder", None) or PixelReader()
        given = {"store": None, **self.params, **changes}
        return self.cls(Model(model, cache=None), encoder, **given)

    def fitted(self, **changes):
        return self.make(**changes).fit(X_TRAIN, Y_TRAIN)


CASES = [
    Case("fusion", {"labels": ["fox", "cat", "dog"]}),
    Case("fusion labels of y"),
    Case("fusion image alone", {"use": ("image",)}),
    Case("fusion of two", {"use": ("image", "guess"), "weights": {"image": 1, "guess": 0.5}}),
    Case("fusion standardised", {"standardise": True}),
    Case("fusion tuned and calibrated", {"weights": "tune", "calibrate": True}),
    Case("fusion with descriptions", {"descriptions": {"cat": ["whiskers"], "dog": ["a dog"]}}),
]


@pytest.fixture(params=CASES, ids=lambda case: case.name)
def case(request):
    return request.param


def test_one_bad_image_is_an_error_row_and_changes_no_other(case):
    clf = case.fitted()
    clean = clf.classify(X_TEST)
    mixed = clf.classify([*X_TEST[:3], BAD, *X_TEST[3:], BAD])
    others = [0, 1, 2, 4, 5, 6]
    assert isinstance(mixed, Predictions)
    assert mixed.status.tolist() == ["ok"] * 3 + ["error"] + ["ok"] * 3 + ["error"]
    np.testing.assert_array_equal(mixed.proba[others], clean.proba)
    assert np.isnan(mixed.proba[3]).all()


def test_duplicates_are_asked_about_once(case):
    clf = case.fitted()
    clf.model.model.requests.clear()
    rows = clf.predict_proba(X_TEST * 20)
    assert len(clf.model.model.requests) == len(X_TEST) * (len(clf.weights_) - 1)
    assert (rows.reshape(20, len(X_TEST), 3) == rows[: len(X_TEST)]).all()


def test_a_saved_one_predicts_the_same_bits(case, tmp_path):
    clf = case.fitted(abstain_below=0.4)
    folder = clf.save(tmp_path / "clf")
    again = load_classifier(folder, model=clf.model, encoder=clf.encoder)
    assert again.get_params() == clf.get_params()
    np.testing.assert_array_equal(again.predict_proba(X_TEST), clf.predict_proba(X_TEST))


def test_rows_are_written_and_read_back(case, tmp_path):
    predictions = case.fitted().classify([*X_TEST, BAD])
    for suffix in ("csv", "jsonl"):
        again = Predictions.read(predictions.write(tmp_path / f"out.{suffix}", proba=True))
        assert again.label.tolist() == predictions.label.tolist()
        assert sum(again.columns["cost_usd"]) == sum(predictions.columns["cost_usd"])
