"""The contract of media classifiers, for those that ask an MLLM.

The images are files called by their caption whose pixels spell it; the model reads the pixels. What
the contract says about encoders is said here about models.
"""

from __future__ import annotations

import copy
import functools
import io
import json
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.base import clone, is_classifier
from sklearn.model_selection import GridSearchCV
from sklearn.utils import get_tags
from tests.classify import test_classify_contract as contract
from tests.classify.scripted import Scene, ScriptedMLLM
from tests.classify.test_classify_contract import BAD, VOCABULARY, X_TEST, X_TRAIN, Y_TRAIN

from showtell.classify import (
    DirectClassifier,
    InContextClassifier,
    MediaClassifier,
    Predictions,
    ZeroShotClassifier,
    load_classifier,
    save_classifier,
)
from showtell.encoders.base import unit
from showtell.errors import InputError, MediaError, SavedFolderError
from showtell.mllm.model import Model
from showtell.testing import WordEncoder

SHARED = """
    test_a_label_outside_the_set_is_named_with_its_neighbour
    test_a_single_image_is_not_taken_for_many
    test_an_impossible_threshold_is_refused
    test_any_sequence_will_do
    test_at_the_end_of_a_pipeline
    test_clone_keeps_the_parameters_and_shares_the_encoder
    test_columns_follow_classes_and_predictions_are_among_them
    test_cross_validation
    test_deepcopy_of_a_fitted_one_predicts_the_same
    test_fit_returns_self_and_changes_no_parameter
    test_fitting_again_forgets_the_first_fit
    test_global_random_state_is_left_alone
    test_integer_labels_stay_integers
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
CAPTIONS = sorted({
    *X_TRAIN, *X_TEST, "a dog", "the cat", "one fox", "my cat", "dog", "cat", "fox",
    *(x.lower() for x in X_TRAIN),
})  # fmt: skip


def spell(caption):
    """PNG whose grey pixels are the letters of a caption."""
    buffer = io.BytesIO()
    letters = np.frombuffer(caption.encode().ljust(64), np.uint8).reshape(8, 8)
    Image.fromarray(letters.copy()).save(buffer, "PNG")
    return buffer.getvalue()


@functools.lru_cache(maxsize=1024)
def embedded(data):
    with Image.open(io.BytesIO(data)) as image:
        letters = np.asarray(image).astype(np.uint8).tobytes()
    caption = letters.decode(errors="replace").strip()  # no words in pictures of nothing
    return WORDS.encode_texts([caption])[0]


class ReadingMLLM(ScriptedMLLM):
    """Reads captions; likes the label (or the mean of the examples) whose words are nearest."""

    def answers(self, request):
        scene = Scene(request)
        rows = {}
        for label in scene.labels:
            shown = [embedded(data) for data, name in scene.shown if name == label]
            mean = np.mean(shown, axis=0) if shown else WORDS.encode_texts([label])[0]
            rows[label] = unit(mean[None].astype(np.float32))[0]
        for name, data in scene.queries:
            scores = np.array([10 * float(embedded(data) @ row) for row in rows.values()])
            p = np.exp(scores - scores.max())
            yield name, dict(zip(rows, p / p.sum(), strict=True))

    def __init__(self, **known):
        super().__init__(self._say, name="toy:reader", **known)

    def _say(self, n, request, items):
        answers = list(self.answers(request))
        if request.labels:
            [(_, shares)] = answers
            return self.answer(best(shares), probabilities=shares)
        return json.dumps({"answers": [
            {"id": name, "label": best(p), "confidence": round(10 * max(p.values()), 2)}
            for name, p in answers
        ]})  # fmt: skip

    def __copy__(self):
        return self

    def __deepcopy__(self, memo):
        return self


def best(shares):
    """Likeliest label; ties go by name, whatever the order of the list."""
    return max(sorted(shares), key=lambda label: round(shares[label], 9))


@dataclass(frozen=True)
class Case:
    name: str
    cls: type
    params: dict[str, Any] = field(default_factory=dict)
    known: dict[str, Any] = field(default_factory=dict)
    sums_to_one: bool = True
    alone: bool = True
    accuracy: float = 0.9

    def make(self, **changes):
        model = changes.pop("model", None) or ReadingMLLM(**self.known)
        return self.cls(Model(model, cache=None), **{**self.params, **changes})

    def fitted(self, **changes):
        return self.make(**changes).fit(X_TRAIN, Y_TRAIN)


LABELS = ["fox", "cat", "dog"]
CASES = [
    Case("direct", DirectClassifier, {"labels": LABELS}),
    Case("direct labels of y", DirectClassifier),
    Case("direct one by one", DirectClassifier, {"images_per_request": 1}),
    Case("direct votes", DirectClassifier, {"n_samples": 3}),
    Case("direct decisions", DirectClassifier, known={"decisions": True}),
    Case("direct turned", DirectClassifier, {"rotations": "all"}),
    Case(
        "direct corrected",
        DirectClassifier,
        {"debias": "contextual", "rotations": 2},
        known={"decisions": True},
    ),
    Case(
        "in context turned and corrected",
        InContextClassifier,
        {"debias": "contextual", "rotations": "all"},
        known={"decisions": True},
    ),
    Case("in context", InContextClassifier),
    Case(
        "in context given labels", InContextClassifier, {"shots": 3, "labels": LABELS}, accuracy=0.7
    ),
    Case("in context anonymous", InContextClassifier, {"anonymise": True}),
    Case("in context votes", InContextClassifier, {"n_samples": 2, "images_per_request": 7}),
    Case("in context decisions", InContextClassifier, known={"decisions": True}),
]


@pytest.fixture(params=CASES, ids=lambda case: case.name)
def case(request):
    return request.param


@pytest.fixture(scope="session")
def captions(tmp_path_factory):
    folder = tmp_path_factory.mktemp("captions")
    for caption in CAPTIONS:
        (folder / caption).write_bytes(spell(caption))
    return folder


@pytest.fixture(autouse=True)
def _among_captions(captions, monkeypatch):
    monkeypatch.chdir(captions)


def test_the_model_is_shared_by_clones_never_copied(case):
    class Guarded(ReadingMLLM):
        def __deepcopy__(self, memo):
            raise AssertionError("the model was copied")

    clf = case.make(model=Guarded(**case.known))
    assert clone(clf).model.model is clf.model.model
    assert clone(case.fitted()).fit(X_TRAIN, Y_TRAIN).predict(X_TEST[:3]).shape == (3,)


def test_duplicates_get_equal_rows_and_are_asked_about_once(case):
    clf = case.fitted()
    clf.model.model.requests.clear()
    rows = clf.predict_proba(X_TEST * 50)
    asked = [name for names in clf.model.model.asked for name in names]
    assert len(asked) == len(X_TEST) * clf.n_samples * clf.rotations_
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
    other = ReadingMLLM(**case.known)
    other.name = "toy:other"
    clf.set_params(model=other)
    with pytest.raises(InputError, match="Call `fit` again"):
        clf.predict(X_TEST)


def test_the_columns_are_those_that_were_promised(case):
    predictions = case.fitted().classify(X_TEST)
    assert predictions.header()[5:] == (
        "cost_usd", "input_tokens", "output_tokens", "from_cache", "seconds", "reason",
    )  # fmt: skip
    assert tuple(case.fitted().classify([]).columns) == predictions.header()[5:]
    cost = sum(predictions.columns["cost_usd"])
    assert cost > 0
    assert isinstance(cost, Decimal)


def test_rows_are_written_and_read_back(case, tmp_path):
    predictions = case.fitted().classify([*X_TEST, BAD])
    for suffix in ("csv", "jsonl"):
        again = Predictions.read(predictions.write(tmp_path / f"out.{suffix}", proba=True))
        assert again.label.tolist() == predictions.label.tolist()
        assert sum(again.columns["cost_usd"]) == sum(predictions.columns["cost_usd"])


def test_a_saved_one_predicts_the_same_bits(case, tmp_path):
    clf = case.fitted(abstain_below=0.4)
    again = load_classifier(clf.save(tmp_path / "clf"), model=clf.model)
    assert type(again) is type(clf)
    assert again.get_params() == clf.get_params()
    np.testing.assert_array_equal(again.predict_proba(X_TEST), clf.predict_proba(X_TEST))
    first, second = clf.model.model.requests[-1], again.model.model.requests[-1]
    assert first.key == second.key
    learned = {n for n in vars(clf) if n.endswith("_") and not n.startswith("_")}
    assert learned <= set(vars(again))
    for name in learned:
        got, want = getattr(again, name), getattr(clf, name)
        assert np.array_equal(got, want) if isinstance(want, np.ndarray) else got == want, name


def test_scikit_learn_sees_a_classifier_of_things_that_are_no_arrays(case):
    clf = case.make()
    assert isinstance(clf, MediaClassifier)
    assert is_classifier(clf)
    tags = get_tags(clf)
    assert not tags.input_tags.two_d_array
    assert tags.target_tags.required == (case.cls is InContextClassifier)
    assert str(clf).startswith(case.cls.__name__)
    assert case.cls.__name__ in clf._repr_html_()


def test_grid_search_over_shots():
    grid = {"shots": [0, 1, 3], "anonymise": [False]}
    model = ReadingMLLM()
    search = GridSearchCV(InContextClassifier(Model(model, cache=None)), grid, cv=2)
    assert search.fit(X_TRAIN * 2, Y_TRAIN * 2).best_score_ > 0.9
    assert search.best_estimator_.model.model is model


def test_it_abstains_below_the_threshold(case):
    if "n_samples" in case.params or case.name == "direct turned":
        pytest.skip("votes of a model that never wavers are all 1")
    contract.test_it_abstains_below_the_threshold(case)


# Saved folders


def saved(tmp_path, **params):
    clf = InContextClassifier(Model(ReadingMLLM(), cache=None), **params).fit(X_TRAIN, Y_TRAIN)
    return clf, clf.save(tmp_path / "clf")


def test_a_saved_folder_holds_no_secret_and_no_path_of_this_machine(tmp_path):
    prompts = tmp_path / "my prompts"
    prompts.mkdir()
    (prompts / "again.txt").write_text("Once more ({attempt}).")
    clf = InContextClassifier(
        Model(
            "openai:try",
            base_url="http://me:hunter2@127.0.0.1:9/v1?api_key=s3cr3t",
            run_folder=tmp_path / "run",
            max_cost=Decimal("0.5"),
            cache=None,
        ),
        prompt_dir=prompts,
        demonstrations=[("a dog", "dog"), ("cat", "cat")],
    ).fit()
    folder = clf.save(tmp_path / "clf")
    text = "".join(p.read_bytes().decode("latin-1") for p in folder.iterdir())
    for secret in ("hunter2", "s3cr3t", str(tmp_path)):
        assert secret not in text
    again = load_classifier(folder)
    assert again._wording.prompts.texts["again"] == "Once more ({attempt})."
    assert again.demonstrations_ == clf.demonstrations_
    assert Decimal(again.model.max_cost) == Decimal("0.5")


def test_a_model_object_has_to_be_handed_over(tmp_path):
    clf, folder = saved(tmp_path)
    with pytest.raises(SavedFolderError, match="load_classifier\\(path, model="):
        load_classifier(folder)
    with pytest.raises(SavedFolderError, match="was fitted for model 'toy:reader'"):
        load_classifier(folder, model="openai:try")
    assert load_classifier(folder, model=clf.model).support_.tolist() == clf.support_.tolist()


def test_saving_replaces_a_saved_classifier_and_nothing_else(tmp_path):
    clf, folder = saved(tmp_path)
    assert clf.save(folder) == folder
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    with pytest.raises(InputError, match="no saved classifier"):
        clf.save(tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "precious"


@pytest.mark.parametrize("damage", ["flip", "cut", "gone", "json"])
def test_damage_is_noticed(tmp_path, damage):
    clf, folder = saved(tmp_path)
    file = folder / ("classifier.json" if damage == "json" else "arrays.npz")
    data = file.read_bytes()
    if damage == "gone":
        file.unlink()
    elif damage == "cut":
        file.write_bytes(data[:-10])
    elif damage == "json":
        file.write_bytes(data.replace(b'"cat"', b'"cow"'))
    else:
        file.write_bytes(data[:200] + bytes([data[200] ^ 1]) + data[201:])
    with pytest.raises(SavedFolderError):
        load_classifier(folder, model=clf.model)


def test_one_door_saves_every_kind_but_no_subclass(tmp_path):
    class Mine(DirectClassifier):
        pass

    model = ReadingMLLM()
    with pytest.raises(
        InputError, match="Cannot save a Mine; only CascadeClassifier, ConceptClassifier, "
    ):
        save_classifier(Mine(model, labels=["cat"]).fit(), tmp_path / "a")
    direct = save_classifier(DirectClassifier(model, labels=["cat"]).fit(), tmp_path / "a")
    assert isinstance(load_classifier(direct, model=model), DirectClassifier)
    zero = ZeroShotClassifier(WORDS, labels=["cat", "dog"], store=None).fit()
    again = load_classifier(zero.save(tmp_path / "zero"), encoder=WORDS)
    assert isinstance(again, ZeroShotClassifier)


def test_deepcopies_share_no_secrets_in_their_repr():
    clf = DirectClassifier(Model("openai:try", base_url="http://127.0.0.1:9/v1"), labels=["cat"])
    assert "api_key" not in clf.get_params()
    assert copy.copy(clf).get_params() == clf.get_params()
