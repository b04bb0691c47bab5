"""Biases of a prompt, planted in a model that follows a script, and what takes them away."""

from __future__ import annotations

import io
import warnings
from decimal import Decimal

import numpy as np
import pytest
from PIL import Image
from tests.asked import asked
from tests.classify.scripted import Scene, ScriptedMLLM, dumps, picture, pictures

from showtell.classify import (
    DirectClassifier,
    InContextClassifier,
    LimitsWarning,
    load_classifier,
)
from showtell.classify.asking.learning import prior_in_words
from showtell.classify.asking.null_images import content_free_pictures
from showtell.classify.asking.wording import ended_by_rotations, rotated
from showtell.errors import InputError, UnknownNameError
from showtell.evaluate.provenance import about_estimator
from showtell.mllm import ImagePart, TokenLogprob
from showtell.mllm.model import Model
from showtell.prompts import Demonstration
from showtell.testing import ColourEncoder

LABELS = ["red", "green", "blue"]
X, Y = pictures(LABELS, 4)
SHOWN_SIDE = 16  # of the pictures; those that show nothing are larger


class Leaning(ScriptedMLLM):
    """A classification endpoint that multiplies what it sees by weights of places and names."""

    def __init__(self, places=(1, 1, 1), names=None, *, sees=None, **known):
        super().__init__(name="script:lean", decisions=True, **known)
        self.places, self.names, self.sees = places, names or {}, sees

    def decide(self, scene):
        nearest = scene.distances(scene.queries[0][1])
        honest = {n: float(np.exp(-gap / 60)) for n, gap in nearest.items()}
        if self.sees is not None:
            honest = self.sees(scene, honest)
        weights = {
            n: honest[n] * self.places[k] * self.names.get(n, 1) for k, n in enumerate(scene.labels)
        }
        total = sum(weights.values())
        shares = {n: w / total for n, w in weights.items()}
        return self.answer(max(shares, key=shares.get), probabilities=shares)


def direct(model, **params):
    model, params = asked(model, {"labels": LABELS, "cache": None} | params)
    return DirectClassifier(model, **params)


# Rotations


def test_all_shifts_cancel_weights_of_places_exactly():
    honest = direct(Leaning()).fit().predict_proba(X)
    leaning = direct(Leaning((30, 5, 1)))
    assert np.abs(leaning.fit().predict_proba(X) - honest).max() > 0.3
    leaning.set_params(rotations="all")
    np.testing.assert_allclose(leaning.fit().predict_proba(X), honest, atol=1e-6)
    assert leaning.rotations_ == 3


def test_neutral_names_move_too_so_weights_of_names_and_places_cancel():
    names = {"class_0": 20.0, "class_2": 4.0}
    params = {"shots": 1, "anonymise": True, "random_state": 3}
    honest = InContextClassifier(Model(Leaning(), cache=None), **params).fit(X, Y).predict_proba(X)
    model = Leaning((9, 2, 1), names)
    clf = InContextClassifier(Model(model, cache=None), rotations="all", **params).fit(X, Y)
    np.testing.assert_allclose(clf.predict_proba(X), honest, atol=1e-6)
    for request in model.requests:  # the list itself stays as it is
        assert Scene(request).labels == ["class_0", "class_1", "class_2"]
    one = InContextClassifier(Model(Leaning((9, 2, 1), names), cache=None), **params).fit(X, Y)
    assert np.abs(one.predict_proba(X) - honest).max() > 0.3


def test_every_class_is_shown_last_in_one_turn():
    model = ScriptedMLLM()
    clf = InContextClassifier(
        Model(model, cache=None), shots=2, rotations="all", random_state=1, images_per_request=12
    ).fit(X, Y)
    clf.classify(X)
    assert len(model.requests) == 3
    shown = [[label for _, label in Scene(request).shown] for request in model.requests]
    assert {labels[-1] for labels in shown} == set(LABELS)
    once = InContextClassifier(Model(model, cache=None), shots=2, random_state=1).fit(X, Y)
    assert shown[0] == [once.classes_[d.code] for d in once.demonstrations_]
    assert all(sorted(labels) == sorted(shown[0]) for labels in shown)


def test_every_label_stands_first_in_one_turn():
    model = ScriptedMLLM()
    direct(model, rotations="all", images_per_request=12).fit().classify(X)
    assert [Scene(r).labels for r in model.requests] == [
        ["red", "green", "blue"], ["green", "blue", "red"], ["blue", "red", "green"],
    ]  # fmt: skip
    assert {r.settings.temperature for r in model.requests} == {0.0}


def test_fewer_turns_are_spread_and_more_than_labels_are_not_asked():
    assert [rotated("abcd", turn, 2)[0] for turn in range(2)] == ["a", "c"]
    assert [rotated("ab", turn, 3)[0] for turn in range(3)] == ["a", "b", "a"]
    assert rotated("", 1, 2) == ()
    model = ScriptedMLLM()
    clf = direct(model, rotations=50, images_per_request=12).fit()
    clf.classify(X)
    assert clf.rotations_ == len(model.requests) == 3


def test_demonstrations_of_one_class_or_none_stay():
    part = ImagePart(data=b"", media_type="image/png", digest="0", width=1, height=1)
    same = [Demonstration(image=part, code=0)] * 3
    assert ended_by_rotations(same, 1, 2) == tuple(same)
    assert ended_by_rotations([], 1, 2) == ()


def first_of_the_list(n, request, items):
    """Give the first label listed, unless the picture is green or blue and stands last."""
    listed = Scene(request).labels
    return dumps([
        {**item, "label": item["label"] if item["label"] != listed[-1] else listed[0]}
        for item in items
    ])  # fmt: skip


def test_votes_over_all_shifts_do_not_depend_on_the_order_of_labels():
    plain, voted = [], []
    for k in range(3):
        labels = LABELS[k:] + LABELS[:k]
        plain.append(direct(ScriptedMLLM(first_of_the_list), labels=labels).fit().predict(X))
        clf = direct(ScriptedMLLM(first_of_the_list), labels=labels, rotations="all").fit()
        assert clf.confidence_ == "votes"
        voted.append(clf.predict(X))
    assert (np.array(plain) != plain[0]).any()
    assert voted[0].tolist() == voted[1].tolist() == voted[2].tolist() == Y.tolist()


def test_draws_among_equal_votes_do_not_depend_on_the_order_of_labels():
    def place_of_the_list(n, request, items):
        listed = Scene(request).labels
        return dumps([{**item, "label": listed[0]} for item in items])

    answers = []
    for k in range(3):
        labels = LABELS[k:] + LABELS[:k]
        clf = direct(ScriptedMLLM(place_of_the_list), labels=labels, rotations="all").fit()
        predictions = clf.classify(X)
        answers.append(predictions.label.tolist())
        np.testing.assert_allclose(predictions.proba, 1 / 3, atol=1e-4)
    assert answers[0] == answers[1] == answers[2]
    assert len(set(answers[0])) > 1  # drawn, not always the same


def test_repetitions_and_rotations_multiply():
    model = ScriptedMLLM()
    clf = direct(model, rotations=3, n_samples=2, images_per_request=12).fit()
    assert clf.predict(X).tolist() == Y.tolist()
    orders = [tuple(Scene(r).labels) for r in model.requests]
    assert len(orders) == 6
    for sample in (orders[:3], orders[3:]):
        assert {order[0] for order in sample} == set(LABELS)


def test_stated_confidences_are_averaged_over_shifts():
    def sure_of_the_first(n, request, items):
        listed = Scene(request).labels
        return dumps([
            {**item, "confidence": 9 if item["label"] == listed[0] else 6} for item in items
        ])  # fmt: skip

    clf = direct(ScriptedMLLM(sure_of_the_first), confidence="verbalised", rotations="all").fit()
    predictions = clf.classify(X)
    assert predictions.label.tolist() == Y.tolist()
    np.testing.assert_allclose(predictions.confidence, (0.9 + 0.6 + 0.6) / 3, rtol=1e-5)


def test_log_probabilities_are_averaged_geometrically():
    def script(n, request, items):
        listed = Scene(request).labels
        weight = {"red": 0.5, "green": 0.3, "blue": 0.2}
        seen = {name: weight[name] * (4 if k == 0 else 1) for k, name in enumerate(listed)}
        total = sum(seen.values())
        said = max(seen, key=seen.get)
        top = tuple((name, float(np.log(p / total))) for name, p in seen.items())
        tokens = (
            TokenLogprob(token='{"label": "', logprob=0.0),
            TokenLogprob(token=said, logprob=dict(top)[said], top=top),
            TokenLogprob(token='"}', logprob=0.0),
        )
        text = dumps([{**items[0], "label": said}])
        return model.answer(text, logprobs=tokens)

    model = ScriptedMLLM(script, logprobs=True)
    clf = direct(model, confidence="logprobs", rotations="all").fit()
    np.testing.assert_allclose(clf.predict_proba(X[:1])[0], [0.5, 0.3, 0.2], atol=1e-3)


def test_a_run_folder_keeps_other_rotations_apart(tmp_path):
    model = ScriptedMLLM()
    params = {"run_folder": tmp_path / "run", "images_per_request": 12}
    direct(model, **params).fit().classify(X)
    direct(model, rotations=3, **params).fit().classify(X)
    assert len(model.requests) == 4
    direct(model, rotations=3, **params).fit().classify(X)
    assert len(model.requests) == 4


# Contextual


def blank_or(scene, honest):
    """Nothing is to be seen in the pictures that show nothing."""
    width = width_of(scene)
    return dict.fromkeys(honest, 1.0) if width != SHOWN_SIDE else honest


def width_of(scene):
    with Image.open(io.BytesIO(scene.queries[0][1])) as image:
        return image.width


PLANTED = {"blue": 300.0}


def test_what_is_said_of_nothing_is_divided_out():
    honest = direct(Leaning(sees=blank_or)).fit().predict_proba(X)
    plain = direct(Leaning(names=PLANTED, sees=blank_or)).fit()
    assert (plain.predict(X) == "blue").mean() > 0.5
    model = Leaning(names=PLANTED, sees=blank_or)
    clf = direct(model, debias="contextual").fit()
    assert len(model.requests) == 3
    np.testing.assert_allclose(clf.prior_, np.array([1, 1, 300]) / 302, rtol=1e-5)
    np.testing.assert_allclose(clf.predict_proba(X), honest, atol=2e-3)
    assert clf.predict(X).tolist() == Y.tolist()
    assert clf.correction_.startswith("contextual: divided by what 3 pictures showing nothing")
    assert clf.fit_cost_usd_ == Decimal("0.009")


def test_the_record_says_what_was_corrected_by():
    clf = direct(Leaning(sees=blank_or), debias="contextual", rotations=2).fit()
    about = about_estimator(clf)
    assert about["params"]["debias"] == "contextual"
    assert about["fitted"]["rotations_"] == 2
    assert "red 0.333" in about["fitted"]["correction_"]
    assert about["fitted"]["fit_cost_usd_"] == str(clf.fit_cost_usd_)


def test_images_of_fit_become_their_mean_and_blurs_with_the_same_demonstrations():
    model = Leaning(sees=blank_or)
    clf = InContextClassifier(Model(model, cache=None), shots=1, debias="contextual").fit(X, Y)
    assert len(model.requests) == 6
    shown = [[data for data, _ in Scene(request).shown] for request in model.requests]
    clf.classify(X[:1])
    asked = Scene(model.requests[-1])
    assert all(s == [data for data, _ in asked.shown] for s in shown)
    assert len({r.system for r in model.requests}) == 1


def test_pictures_that_show_nothing_pass_over_what_cannot_be_read():
    found = content_free_pictures(1, images=[b"no image", *X[:3]], side=24)
    assert [p.size for p in found] == [(24, 24)] * 6
    mean = np.asarray(found[3], float)
    expected = np.mean([x.mean(axis=(0, 1)) for x in X[:3]], axis=0)
    np.testing.assert_allclose(mean.mean(axis=(0, 1)), expected, atol=2)
    again = content_free_pictures(1, images=[b"no image", *X[:3]], side=24)
    assert [p.tobytes() for p in again] == [p.tobytes() for p in found]
    assert len(content_free_pictures(images=[b"no image"])) == 3


def test_null_images_of_ones_own_are_asked_about():
    model = Leaning(sees=blank_or)
    own = [np.full((20, 20, 3), 90, np.uint8)]
    clf = direct(model, debias="contextual", null_images=own).fit()
    assert len(model.requests) == 1
    assert "1 picture showing nothing" in clf.correction_
    with pytest.raises(InputError, match="'default' or a sequence"):
        direct(model, null_images="grey").fit()


def test_a_model_that_says_nothing_of_nothing_leaves_answers_as_they_are():
    def refuses(n, request, items):
        if width_of(Scene(request)) == SHOWN_SIDE:
            return None
        return dumps([{**item, "label": "zorb"} for item in items])

    model = ScriptedMLLM(refuses)
    clf = direct(model, debias="contextual", rotations=3, images_per_request=3)
    with pytest.warns(LimitsWarning, match="nothing to work on: the model gave no label"):
        clf.fit()
    assert clf.prior_ is None
    assert clf.predict(X).tolist() == Y.tolist()


# Batch


def test_the_mean_over_a_balanced_batch_undoes_a_planted_prior():
    many, truth = pictures(LABELS, 12)
    plain = direct(Leaning(names=PLANTED)).fit().predict(many)
    clf = direct(Leaning(names=PLANTED), debias="batch").fit()
    assert (clf.predict(many) == truth).mean() > (plain == truth).mean() + 0.3
    proba = clf.predict_proba(many)
    np.testing.assert_allclose(proba.sum(axis=1), 1, atol=1e-5)
    assert clf.correction_ == "batch: divided by the mean of each call"
    assert clf.prior_ is None


def test_few_images_are_remarked_on_and_one_is_refused():
    clf = direct(Leaning(), debias="batch").fit()
    with pytest.warns(LimitsWarning, match="3 labels want 30 or more"):
        clf.classify(X)
    with pytest.raises(InputError, match="10 a label"):
        clf.classify(X[:1])
    with pytest.warns(LimitsWarning, match="only one image was answered"):
        clf.classify([X[0], X[0]])
    assert len(clf.classify([])) == 0


def test_labelled_images_fix_the_mean_and_its_strength():
    many, truth = pictures(LABELS, 12)
    clf = direct(Leaning(names=PLANTED), debias="batch", calibrate=True).fit(many, truth)
    assert clf.prior_ is not None
    assert clf.calibration_.n == len(many)
    alone = np.concatenate([clf.predict_proba([x]) for x in many[:6]])
    np.testing.assert_allclose(alone, clf.predict_proba(many)[:6], atol=1e-6)
    assert (clf.predict(many) == truth).all()
    assert f"power {clf.gamma_:g} of the mean of 36 labelled" in clf.correction_


def test_confidences_are_calibrated_after_the_correction():
    many, truth = pictures(LABELS, 20)
    params = {"debias": "contextual", "calibrate": True}
    clf = direct(Leaning(names=PLANTED, sees=blank_or), **params).fit(many, truth)
    uncorrected = direct(Leaning(names=PLANTED, sees=blank_or), calibrate=True).fit(many, truth)
    # nearly all answers are right after the correction; a map made before it would say otherwise
    assert clf.predict_proba(many).max(axis=1).mean() > 0.85
    assert uncorrected.predict_proba(many).max(axis=1).mean() < 0.7


# What does not go


def test_one_answer_with_a_stated_confidence_has_nothing_to_correct():
    for confidence in ("auto", "verbalised"):
        with pytest.raises(InputError, match="Set `rotations`"):
            direct(ScriptedMLLM(), debias="batch", confidence=confidence).fit()
    with pytest.raises(InputError, match="confidence=None"):
        direct(ScriptedMLLM(), debias="batch", confidence=None, rotations=2).fit()
    direct(ScriptedMLLM(), debias="batch", rotations=2).fit()


def test_answers_that_all_agree_leave_nothing_to_correct():
    many, truth = pictures(LABELS, 10)
    clf = direct(ScriptedMLLM(), debias="batch", rotations="all").fit()
    with pytest.warns(LimitsWarning, match="all answers name one label"):
        found = clf.classify(many)
    assert found.label.tolist() == truth.tolist()


def test_frequencies_move_an_answer_only_to_a_label_that_was_named():
    # two of three shifts say blue of every red picture, one says red; green is never named of it
    def script(n, request, items):
        first = Scene(request).labels[0]
        return dumps([
            {**item, "label": "blue" if item["label"] == "red" and first != "red"
             else item["label"]} for item in items
        ])  # fmt: skip

    many, truth = pictures(LABELS, 10)
    plain = direct(ScriptedMLLM(script), rotations="all").fit()
    assert set(plain.predict(many)[truth == "red"]) == {"blue"}
    clf = direct(ScriptedMLLM(script), rotations="all", debias="batch").fit()
    found = clf.classify(many)
    assert set(found.label[truth == "red"]) == {"red"}
    np.testing.assert_allclose(found.proba[truth == "red", 1], 0, atol=1e-6)
    assert found.label[truth != "red"].tolist() == truth[truth != "red"].tolist()


def test_impossible_values_are_refused():
    with pytest.raises(UnknownNameError, match="contextual, batch"):
        direct(ScriptedMLLM(), debias="everything").fit()
    for wrong in (0, -1, 1.5, True, "some"):
        with pytest.raises(InputError, match="rotations"):
            direct(ScriptedMLLM(), rotations=wrong).fit()


# Estimates, saved folders


def test_an_estimate_has_what_fit_and_classify_ask():
    many, truth = pictures(LABELS, 6)
    params = {
        "debias": "contextual",
        "rotations": 3,
        "calibrate": True,
        "n_calibration": 5,
        "images_per_request": 4,
    }
    model = ScriptedMLLM()
    planned = direct(model, **params).prepare(many, truth)
    requests = list(planned.requests(X))
    assert model.requests == []
    with pytest.raises(InputError, match="prepared for an estimate"):
        planned.classify(X)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LimitsWarning)
        clf = direct(model, **params).fit(many, truth)
        clf.classify(X)
    assert sorted(r.key for r in requests) == sorted(r.key for r in model.requests)
    assert [r.key for r in clf.requests(X)] == [r.key for r in requests[-9:]]


def test_a_saved_one_keeps_its_prior(tmp_path):
    clf = direct(Leaning(names=PLANTED, sees=blank_or), debias="contextual", rotations=2).fit()
    again = load_classifier(clf.save(tmp_path / "clf"), model=clf.model)
    n_before = len(clf.model.model.requests)
    np.testing.assert_array_equal(again.prior_, clf.prior_)
    np.testing.assert_array_equal(again.predict_proba(X), clf.predict_proba(X))
    assert len(clf.model.model.requests) == n_before + 4 * len(X)
    for name in ("correction_", "gamma_", "rotations_", "fit_cost_usd_"):
        assert getattr(again, name) == getattr(clf, name)


def test_content_free_answers_come_from_the_cache_the_second_time(tmp_path):
    model = Leaning(sees=blank_or)
    params = {"debias": "contextual", "cache": tmp_path / "answers.sqlite"}
    first = direct(model, **params).fit()
    second = direct(model, **params).fit()
    assert len(model.requests) == 3
    np.testing.assert_array_equal(first.prior_, second.prior_)
    assert second.fit_cost_usd_ == 0


def test_a_long_prior_is_cut_short():
    words = prior_in_words(np.full(30, 1 / 30), [f"l{k}" for k in range(30)])
    assert words.startswith("l0 0.033, l1 0.033")
    assert words.endswith("and 10 more")


def test_a_short_list_is_turned_too():
    model = ScriptedMLLM()
    clf = direct(
        model, labels=[*LABELS, "yellow", "black"], shortlist=2, encoder=ColourEncoder(),
        store=None, rotations="all", images_per_request=1,
    ).fit()  # fmt: skip
    assert clf.rotations_ == 2
    assert clf.predict([picture("red", 5)]).tolist() == ["red"]
    first, second = [Scene(r).labels for r in model.requests]
    assert first == second[::-1]
