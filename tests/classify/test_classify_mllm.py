"""Classifiers that ask an MLLM: every image one outcome, right joins, exact sums, nothing twice."""

from __future__ import annotations

import json
import re
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.asked import asked
from tests.classify.scripted import Scene, ScriptedMLLM, dumps, picture, pictures

from showtell.classify import DirectClassifier, InContextClassifier, SkippedImagesWarning
from showtell.classify.asking.state import split_usage
from showtell.errors import (
    BudgetError,
    InputError,
    MLLMAuthError,
    MLLMRequestError,
    UnknownNameError,
)
from showtell.mllm import TextPart, TokenLogprob, Usage
from showtell.mllm.model import Model

LABELS = ["red", "green", "blue"]
X, Y = pictures(LABELS, 4)


def direct(script=None, *, known=None, **params):
    mllm = ScriptedMLLM(script, **(known or {}))
    model, params = asked(mllm, {"labels": LABELS, "cache": None} | params)
    clf = DirectClassifier(model, **params)
    return clf.fit(), mllm


def in_context(script=None, *, known=None, X_fit=X, y_fit=Y, **params):
    mllm = ScriptedMLLM(script, **(known or {}))
    model, params = asked(mllm, {"shots": 1, "cache": None, "random_state": 0} | params)
    clf = InContextClassifier(model, **params)
    return clf.fit(X_fit, y_fit), mllm


# Joining by id


def test_a_perfect_model_is_always_right():
    clf, mllm = direct(images_per_request=12)
    assert clf.predict(X).tolist() == Y.tolist()
    assert len(mllm.requests) == 1


def test_a_model_that_answers_in_reverse_order_is_always_right():
    clf, mllm = direct(lambda n, request, items: dumps(items[::-1]), images_per_request=12)
    assert clf.predict(X).tolist() == Y.tolist()
    assert len(mllm.requests) == 1


def test_one_dropped_item_is_asked_again_alone_and_once():
    clf, mllm = direct(
        lambda n, r, items: dumps(items[1:]) if n == 0 else None, images_per_request=12
    )
    predictions = clf.classify(X)
    assert predictions.label.tolist() == Y.tolist()
    first = mllm.asked[0]
    assert mllm.asked == [first, first[:1]]
    assert len(predictions) == 12


def test_what_is_missing_from_several_requests_is_asked_about_together():
    clf, mllm = direct(
        lambda n, r, items: dumps(items[2:]) if n < 3 else None, images_per_request=4
    )
    assert clf.predict(X).tolist() == Y.tolist()
    assert [len(ids) for ids in mllm.asked] == [4, 4, 4, 4, 2]


def test_asking_again_says_so_and_stops_after_two_more_times():
    clf, mllm = direct(
        lambda n, r, items: dumps(items[1:] if len(items) > 1 else []), images_per_request=3
    )
    predictions = clf.classify(X[:3])
    assert predictions.status.tolist() == ["error", "ok", "ok"]
    assert predictions.errors[0] == "the model's answers left this image out (asked 3 times)"
    assert predictions.columns["reason"] == ["missing", None, None]
    assert len(mllm.requests) == 3
    closings = [r.parts[-1].text for r in mllm.requests]
    assert ["Try" in c for c in closings] == [False, True, True]
    assert len({r.key for r in mllm.requests}) == 3


def test_agreeing_duplicates_are_fine_and_conflicting_ones_are_asked_again():
    def script(n, request, items):
        if n:
            return None
        wrong = {**items[0], "label": "blue" if items[0]["label"] != "blue" else "red"}
        return dumps([*items, items[1], wrong])

    clf, mllm = direct(script, images_per_request=12)
    assert clf.predict(X).tolist() == Y.tolist()
    assert mllm.asked[1:] == [mllm.asked[0][:1]]


def test_unknown_ids_are_joined_to_nothing():
    def script(n, request, items):
        if n == 0:
            return dumps([{**items[0], "id": "other"}, *items[1:]])
        return None

    clf, mllm = direct(script, images_per_request=12)
    assert clf.predict(X).tolist() == Y.tolist()
    assert mllm.asked[1:] == [mllm.asked[0][:1]]


def test_a_label_out_of_the_set_is_asked_again_and_then_abstained_never_guessed():
    def script(n, request, items):
        return dumps([{**item, "label": "zorb"} if item["label"] == "red" else item
                      for item in items])  # fmt: skip

    clf, _ = direct(script, images_per_request=12)
    predictions = clf.classify(X)
    red = Y == "red"
    assert (predictions.status[red] == "abstained").all()
    assert predictions.label[~red].tolist() == Y[~red].tolist()
    assert {r for r, is_red in zip(predictions.columns["reason"], red, strict=True) if is_red} == {
        "out_of_set"
    }
    assert (predictions.codes[red] == -1).all()
    np.testing.assert_allclose(predictions.proba[red], 1 / 3, rtol=1e-6)
    assert clf.predict(X)[red].tolist() == [""] * 4


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: f"Sure! Here it is:\n{text}\nAnything else?",
        lambda text: f"```json\n{text}\n```",
        lambda text: text.replace('"label"', '"correct_label"'),
        lambda text: text.replace('"answers"', '"output"'),
    ],
)
def test_prose_fences_and_misnamed_fields_cost_no_second_request(spoil):
    clf, mllm = direct(lambda n, request, items: spoil(dumps(items)), images_per_request=12)
    assert clf.predict(X).tolist() == Y.tolist()
    assert len(mllm.requests) == 1


# Halving


def test_batches_are_halved_after_repeated_failure_and_the_halving_ends():
    clf, mllm = direct(
        lambda n, r, items: "garbage" if len(items) > 3 else None, images_per_request=12
    )
    assert clf.predict(X).tolist() == Y.tolist()
    assert [len(ids) for ids in mllm.asked] == [12, 12, 6, 6, 3, 3, 3, 3]


def test_nothing_but_garbage_ends_with_error_rows():
    clf, mllm = direct(lambda n, r, items: "garbage", images_per_request=8)
    predictions = clf.classify(X[:8])
    # a single answer that is no label at all is out of the set: the model said something
    assert predictions.counts["ok"] == 0
    assert len(predictions) == 8
    assert len(mllm.requests) < 8 * 5


def test_a_refused_batch_is_split_until_the_one_image_is_found():
    def script(n, request, items):
        if any(item["label"] == "blue" and len(items) > 1 for item in items):
            return mllm_of(request).answer("", finish="refused")
        if items[0]["label"] == "blue":
            return mllm_of(request).answer("", finish="blocked")
        return None

    holder = []

    def mllm_of(_):
        return holder[0]

    clf, mllm = direct(script, images_per_request=12)
    holder.append(mllm)
    predictions = clf.classify(X)
    blue = Y == "blue"
    assert (predictions.status[blue] == "error").all()
    assert predictions.label[~blue].tolist() == Y[~blue].tolist()
    assert predictions.columns["reason"][2] == "blocked"
    assert "safety filter" in predictions.errors[2]


def test_a_refusal_in_words_is_a_refusal():
    clf, mllm = direct(
        lambda n, r, items: "I'm sorry, I can't help with that.", images_per_request=1
    )
    predictions = clf.classify(X[:1])
    assert predictions.columns["reason"] == ["refused"]
    assert len(mllm.requests) == 1


def test_an_answer_cut_at_its_longest_keeps_what_is_whole_and_asks_for_the_rest():
    def script(n, request, items):
        text = dumps(items)
        return None if n else mllm.answer(text[: len(text) * 2 // 3], finish="length")

    clf, mllm = direct(script, images_per_request=12)
    assert clf.predict(X).tolist() == Y.tolist()
    assert sum(len(ids) for ids in mllm.asked) < 24
    assert mllm.requests[-1].settings.max_tokens == 2 * mllm.requests[0].settings.max_tokens


def test_a_request_that_is_too_large_is_halved():
    def script(n, request, items):
        return MLLMRequestError("too many images") if len(items) > 5 else None

    clf, mllm = direct(script, images_per_request=12)
    assert clf.predict(X).tolist() == Y.tolist()
    assert [len(ids) for ids in mllm.asked] == [12, 6, 6, 3, 3, 3, 3]


# Failures of the transport


def test_a_failed_request_is_an_error_row_of_its_images_alone():
    def script(n, request, items):
        return MLLMRequestError("no such model") if items[0]["label"] == "red" else None

    clf, _ = direct(script, images_per_request=1)
    predictions = clf.classify(X)
    assert predictions.counts == {"ok": 8, "abstained": 0, "error": 4}
    assert predictions.errors[0] == "no such model"
    assert predictions.columns["reason"][0] == "request"
    with pytest.raises(InputError, match="no such model"):
        clf.predict(X)


def test_a_wrong_key_ends_the_run():
    clf, mllm = direct(lambda n, r, items: MLLMAuthError("wrong key"), images_per_request=1)
    with pytest.raises(MLLMAuthError, match="wrong key"):
        clf.classify(X)
    assert len(mllm.requests) <= 64


def test_a_cap_on_requests_stops_the_run_and_a_higher_one_goes_on_from_there(tmp_path):
    clf, mllm = direct(images_per_request=1, max_requests=5, cache=tmp_path / "a.sqlite")
    with pytest.raises(BudgetError):
        clf.classify(X)
    assert len(mllm.requests) == 5
    clf.set_params(model__max_requests=None)
    predictions = clf.classify(X)
    assert predictions.label.tolist() == Y.tolist()
    assert len(mllm.requests) == 12
    assert sum(predictions.columns["from_cache"]) == 5
    free = [c for c, f in zip(predictions.columns["cost_usd"], predictions.columns["from_cache"],
                              strict=True) if f]  # fmt: skip
    assert free == [0] * 5


def test_a_run_folder_resumes_whatever_the_batches_and_inputs_are_now(tmp_path):
    params = {"cache": None, "run_folder": tmp_path / "run", "images_per_request": 4}
    clf, _ = direct(**params)
    clf.classify(X[:6])
    again, other = direct(**params | {"images_per_request": 3})
    predictions = again.classify([picture("green", 999), *X])
    assert predictions.label.tolist() == ["green", *Y]
    assert sorted(len(ids) for ids in other.asked) == [1, 3, 3]
    assert sum(predictions.columns["from_cache"]) == 6
    changed, third = direct(**params | {"role": "a painter"})
    changed.classify(X[:2])
    assert sum(len(ids) for ids in third.asked) == 2  # another question: asked anew


def test_failed_requests_are_asked_again_by_the_next_run(tmp_path):
    broken = [True]

    def script(n, request, items):
        return MLLMRequestError("closed") if broken[0] and items[0]["label"] == "red" else None

    clf, mllm = direct(script, images_per_request=1, run_folder=tmp_path / "run")
    assert clf.classify(X[:3]).counts["error"] == 1
    broken.clear()
    broken.append(False)
    n_before = len(mllm.requests)
    assert clf.classify(X[:3]).counts["ok"] == 3
    assert len(mllm.requests) == n_before + 1


# Money


@given(
    st.integers(0, 10**6) | st.none(),
    st.decimals(0, 100, places=9) | st.none(),
    st.integers(1, 200),
)
def test_shares_of_a_request_add_up_exactly(tokens, cost, n):
    usage = Usage(input_tokens=tokens, output_tokens=tokens, cost_usd=cost)
    shares = split_usage(usage, n)
    assert len(shares) == n
    if tokens is None:
        assert {s.input_tokens for s in shares} == {None}
    else:
        assert sum(s.input_tokens for s in shares) == tokens
        assert max(s.output_tokens for s in shares) - min(s.output_tokens for s in shares) <= 1
    if cost is None:
        assert {s.cost_usd for s in shares} == {None}
    else:
        assert sum(s.cost_usd for s in shares) == cost


def test_columns_add_up_to_what_the_run_took():
    clf, mllm = direct(
        lambda n, r, items: dumps(items[1:]) if n == 0 else None, images_per_request=7
    )
    predictions = clf.classify(X + X[:5])
    n = len(mllm.requests)
    assert sum(predictions.columns["cost_usd"]) == Decimal("0.003") * n
    assert sum(predictions.columns["input_tokens"]) == 1000 * n
    assert sum(predictions.columns["output_tokens"]) == 50 * n
    assert sum(predictions.columns["seconds"]) == pytest.approx(0.5 * n)


def test_an_unknown_price_stays_unknown():
    clf, mllm = direct(known={"cost": None}, images_per_request=5)
    predictions = clf.classify(X)
    assert set(predictions.columns["cost_usd"]) == {None}
    assert sum(predictions.columns["input_tokens"]) == 1000 * len(mllm.requests)


def test_duplicates_are_asked_about_once_and_cost_once():
    clf, mllm = direct(images_per_request=1)
    predictions = clf.classify([X[0], X[1], X[0].copy(), X[0]])
    assert predictions.label.tolist() == ["red", "green", "red", "red"]
    assert len(mllm.requests) == 2
    assert predictions.columns["cost_usd"] == [Decimal("0.003"), Decimal("0.003"), 0, 0]
    assert predictions.columns["from_cache"] == [False, False, True, True]


def test_a_second_call_is_answered_from_the_cache(tmp_path):
    clf, mllm = direct(images_per_request=4, cache=tmp_path / "answers.sqlite")
    first, second = clf.classify(X), clf.classify(X)
    assert len(mllm.requests) == 3
    assert set(second.columns["from_cache"]) == {True}
    assert set(second.columns["cost_usd"]) == {Decimal(0)}
    np.testing.assert_array_equal(first.proba, second.proba)


def test_bad_images_are_error_rows_and_never_sent(tmp_path):
    torn = tmp_path / "torn.jpg"
    torn.write_bytes(b"\xff\xd8\xff\xe0 no picture")
    clf, mllm = direct(images_per_request=12)
    predictions = clf.classify([str(torn), X[0], "nowhere.jpg", X[1], str(torn)])
    assert predictions.status.tolist() == ["error", "ok", "error", "ok", "error"]
    assert predictions.columns["reason"] == ["image", None, "image", None, "image"]
    assert predictions.columns["cost_usd"][0] == 0
    assert "nowhere.jpg" in predictions.errors[2]
    assert sum(mllm.n_images) == 2


# Demonstrations


def test_demonstrations_are_learned_from_in_one_request():
    clf, mllm = in_context(shots=2, X_fit=X, y_fit=Y)
    truth = [*LABELS] * 3
    queries = [picture(colour, 777 + i) for i, colour in enumerate(truth)]
    assert clf.predict(queries).tolist() == truth
    assert mllm.n_images == [2 * 3 + 9]
    assert clf.support_.tolist() == sorted(clf.support_)
    assert len(clf.demonstrations_) == 6


def test_an_oracle_over_anonymous_names_is_right_and_sees_no_class_name():
    clf, mllm = in_context(shots=1, anonymise=True, descriptions={"red": "crimson things"},
                           aliases={"green": ["emerald"]}, labels=LABELS)  # fmt: skip
    assert clf.predict(X).tolist() == Y.tolist()
    [request] = mllm.requests
    sent = json.dumps([request.system, request.schema,
                       [p.text for p in request.parts if isinstance(p, TextPart)]])  # fmt: skip
    words = set(re.findall(r"\w+", sent.casefold()))
    assert not words & {*LABELS, "crimson", "emerald"}
    assert sorted(clf.names_sent_) == ["class_0", "class_1", "class_2"]
    assert Scene(request).labels == ["class_0", "class_1", "class_2"]


def test_the_map_of_neutral_names_follows_the_seed():
    names = {in_context(anonymise=True, random_state=s)[0].names_sent_ for s in range(12)}
    assert len(names) > 3
    assert in_context(anonymise=True)[0].names_sent_ == in_context(anonymise=True)[0].names_sent_


def test_a_role_that_names_a_class_is_refused_when_names_are_hidden():
    with pytest.raises(InputError, match="says 'red'"):
        in_context(anonymise=True, role="an expert in red things")


def test_a_model_that_guesses_at_random_scores_as_chance():
    rng = np.random.default_rng(0)

    def script(n, request, items):
        labels = Scene(request).labels
        return dumps([{**item, "label": labels[rng.integers(3)]} for item in items])

    clf, _ = in_context(script, anonymise=True)
    many, truth = pictures(LABELS, 60)
    accuracy = (clf.predict(many) == truth).mean()
    assert abs(accuracy - 1 / 3) < 3 * np.sqrt(2 / 9 / 180)


def test_fewer_shots_are_part_of_more_and_requests_share_their_beginning():
    one, two = in_context(shots=1)[0], in_context(shots=2)[0]
    assert set(one.support_) < set(two.support_)
    clf, mllm = in_context(shots=2, images_per_request=5)
    clf.classify(X)
    starts = {(r.system, r.parts[: r.n_prefix]) for r in mllm.requests}
    assert len(mllm.requests) == 3
    assert len(starts) == 1


def test_given_demonstrations_are_shown_and_need_no_fit_images():
    mllm = ScriptedMLLM()
    pairs = [
        (picture("red", 1), "warm"),
        (picture("yellow", 2), "warm"),
        (picture("blue", 3), "cold"),
    ]
    clf = InContextClassifier(Model(mllm, cache=None), demonstrations=pairs).fit()
    assert clf.classes_.tolist() == ["cold", "warm"]
    assert clf.predict([picture("yellow", 9), picture("blue", 9)]).tolist() == ["warm", "cold"]
    assert mllm.n_images == [5]


def test_nearest_shows_for_each_query_what_is_most_alike():
    X_fit = [picture(c, 50 + i) for i, c in enumerate(["red", "green", "yellow", "purple"] * 2)]
    y_fit = ["warm", "cold", "warm", "cold"] * 2
    from showtell.testing import HashEncoder

    clf, mllm = in_context(selection="nearest", shots=1, X_fit=X_fit, y_fit=y_fit,
                           encoder=HashEncoder(), store=None)  # fmt: skip
    predictions = clf.classify([picture("yellow", 1), picture("purple", 2)])
    assert predictions.label.tolist() == ["warm", "cold"]
    assert mllm.n_images == [3, 3]
    shown = {frozenset(p.digest for p in r.parts[: r.n_prefix] if hasattr(p, "digest"))
             for r in mllm.requests}  # fmt: skip
    assert len(shown) == 2


def test_random_selection_ignores_classes_and_follows_the_seed():
    a, b = (in_context(selection="random", shots=2, random_state=s)[0] for s in (1, 2))
    assert len(a.support_) == len(b.support_) == 6
    assert a.support_.tolist() != b.support_.tolist()


def test_broken_labelled_images_are_replaced_by_others_of_their_class(tmp_path):
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"nothing")
    X_fit, y_fit = [*X, *[str(bad)] * 3], [*Y, *LABELS]
    for seed in range(4):
        mllm = ScriptedMLLM()
        clf = InContextClassifier(Model(mllm, cache=None), shots=4, random_state=seed)
        with pytest.warns(SkippedImagesWarning, match=r"bad\.jpg"):
            clf.fit(X_fit, y_fit)
        assert clf.support_.tolist() == list(range(12))
    with pytest.raises(InputError, match="No usable image is left for: red"):
        InContextClassifier(Model(mllm, cache=None), labels=LABELS).fit([str(bad), *X[1:3]], LABELS)


def test_zero_shots_show_nothing():
    clf, mllm = in_context(shots=0)
    assert clf.predict(X).tolist() == Y.tolist()
    assert mllm.requests[0].n_prefix == 0


# Confidence


def test_verbalised_confidence_is_a_tenth_of_the_number():
    def script(n, request, items):
        return dumps([{**item, "confidence": c} for item, c in zip(items, (7, 10, 0), strict=True)])

    clf, _ = direct(script, images_per_request=3)
    predictions = clf.classify(X[:3])
    np.testing.assert_allclose(predictions.confidence_all[:2], [0.7, 1.0])
    np.testing.assert_allclose(predictions.confidence_all[2], 1 / 3, rtol=1e-4)  # else not best
    np.testing.assert_allclose(predictions.proba[0], [0.7, 0.15, 0.15], rtol=1e-6)


def test_an_unreadable_confidence_counts_as_a_half():
    clf, _ = direct(lambda n, r, items: dumps([{**i, "confidence": "high"} for i in items]))
    assert clf.classify(X[:1]).confidence_all.tolist() == [0.5]


def test_votes_ask_with_the_labels_in_another_order_and_count():
    def script(n, request, items):
        wrong = {**items[0], "label": "blue"}
        return dumps([wrong]) if request.sample == 1 else dumps(items)

    clf, mllm = direct(script, n_samples=4, images_per_request=1)
    predictions = clf.classify(X[:1])
    assert len(mllm.requests) == 4
    np.testing.assert_allclose(predictions.proba, [[0.75, 0, 0.25]], atol=1e-6)
    orders = [tuple(Scene(r).labels) for r in sorted(mllm.requests, key=lambda r: r.sample)]
    assert orders[0] == tuple(LABELS)
    assert len(set(orders)) > 1
    assert all(sorted(order) == sorted(LABELS) for order in orders)
    assert {r.settings.temperature for r in mllm.requests} == {0.7}
    assert "confidence" not in mllm.requests[0].system


def test_a_vote_without_an_answer_counts_in_the_shares():
    def script(n, request, items):
        return dumps([{**items[0], "label": "zorb"}]) if request.sample == 1 else None

    clf, _ = direct(script, n_samples=4, images_per_request=1)
    predictions = clf.classify(X[:1])
    assert predictions.label.tolist() == ["red"]
    np.testing.assert_allclose(
        predictions.proba, [[0.75 + 0.25 / 3, 0.25 / 3, 0.25 / 3]], atol=1e-6
    )


def token(text, p=1.0, **top):
    return TokenLogprob(token=text, logprob=float(np.log(p)),
                        top=tuple((t, float(np.log(q))) for t, q in top.items()))  # fmt: skip


def test_log_probabilities_of_the_label_tokens_make_the_row():
    def script(n, request, items):
        text = dumps([{"id": items[0]["id"], "label": "red"}])
        before, after = text.split("red")
        return mllm.answer(text, logprobs=(token(before), token("red", 0.6, gre=0.3, blue=0.05),
                                           token(after)))  # fmt: skip

    clf, mllm = direct(script, known={"logprobs": True, "max_top_logprobs": 5},
                       confidence="logprobs")  # fmt: skip
    proba = clf.predict_proba(X[:2])
    np.testing.assert_allclose(proba[0], np.array([0.6, 0.3, 0.05]) / 0.95, rtol=1e-4)
    assert mllm.requests[0].settings.top_logprobs == 5
    assert [len(ids) for ids in mllm.asked] == [1, 1]


def test_a_classification_endpoint_gives_probabilities():
    clf, mllm = direct(known={"decisions": True, "structured_output": False})
    assert clf.confidence_ == "decisions"
    proba = clf.predict_proba(X)
    assert (proba.argmax(axis=1) == [LABELS.index(y) for y in Y]).all()
    np.testing.assert_allclose(proba.sum(axis=1), 1, atol=1e-6)
    assert {r.labels for r in mllm.requests} == {tuple(LABELS)}
    assert len(mllm.requests) == 12


def test_no_confidence_means_no_probabilities():
    clf, mllm = direct(confidence=None)
    predictions = clf.classify(X[:2])
    assert predictions.proba is None
    assert predictions.label.tolist() == ["red", "green"]
    assert next(iter(predictions.rows()))["confidence"] is None
    with pytest.raises(InputError, match="no probabilities"):
        clf.predict_proba(X[:2])
    assert "confidence" not in mllm.requests[0].system


def test_calibration_learns_what_a_confidence_is_worth():
    rng = np.random.default_rng(1)

    def script(n, request, items):
        labels = Scene(request).labels
        return dumps([
            {**i, "label": i["label"] if rng.random() < 0.5 else labels[rng.integers(3)],
             "confidence": 10} for i in items
        ])  # fmt: skip

    many, truth = pictures(LABELS, 40)
    mllm = ScriptedMLLM(script)
    clf = DirectClassifier(Model(mllm, cache=None), calibrate=True).fit(many, truth)
    assert clf.calibration_.kind == "platt"  # a constant signal makes one bin
    confidence = clf.classify(X).confidence_all
    np.testing.assert_allclose(confidence, 2 / 3, atol=0.1)
    untouched = DirectClassifier(Model(ScriptedMLLM(script), cache=None)).fit(many, truth)
    assert untouched.calibration_.kind == "none"
    assert not untouched.model.model.requests  # calibrating costs money: never unasked


def test_in_context_calibrates_on_what_is_not_shown():
    clf, mllm = in_context(calibrate=True, n_calibration=6, shots=2)
    assert clf.calibration_.n == 6 - 0
    asked = {p.digest for r in mllm.requests for p in r.parts[r.n_prefix :] if hasattr(p, "digest")}
    assert not asked & {d.image.digest for d in clf.demonstrations_}
    with pytest.raises(InputError, match="besides those that are shown"):
        in_context(calibrate=True, shots=4)


def test_auto_calibrates_from_20_images_that_are_not_shown_on():
    many, truth = pictures(LABELS, 7)  # 21
    clf = DirectClassifier(Model(ScriptedMLLM(), cache=None), calibrate="auto")
    assert clf.fit(many, truth).calibration_.n == 21
    assert clf.fit(many[:19], truth[:19]).calibration_.kind == "none"
    clf.set_params(n_calibration=20)
    assert clf.fit(many, truth).calibration_.n == 20


def test_unsure_answers_are_abstained():
    def script(n, request, items):
        return dumps([{**i, "confidence": 3 if i["label"] == "red" else 9} for i in items])

    clf, _ = direct(script, abstain_below=0.5)
    predictions = clf.classify(X[:3])
    assert predictions.status.tolist() == ["abstained", "ok", "ok"]
    assert predictions.columns["reason"][0] == "unsure"
    assert clf.predict(X[:3]).tolist() == ["", "green", "blue"]


# Large label sets

TEN = ["red", "green", "blue", "yellow", "black", "white", "purple", "orange", "grey", "cyan"]


def test_two_steps_ask_for_the_best_of_each_group_and_then_of_those():
    many, truth = pictures(TEN, 2)
    clf, mllm = direct(
        known={"max_enum": 4}, labels=TEN, shortlist="two-step", images_per_request=20
    )
    assert clf.predict(many).tolist() == truth.tolist()
    for request in mllm.requests:
        item = request.schema["properties"]["answers"]["items"]
        assert 1 < len(item["properties"]["label"]["enum"]) <= 4


def test_rounds_of_a_classification_endpoint_combine_their_probabilities():
    many, truth = pictures(TEN, 1)
    known = {"decisions": True, "structured_output": False}
    whole, _ = direct(known=known, labels=TEN)
    clf, mllm = direct(known=known | {"max_enum": 3}, labels=TEN)
    proba = clf.predict_proba(many)
    assert clf.predict(many).tolist() == truth.tolist()
    np.testing.assert_allclose(proba.sum(axis=1), 1, atol=1e-6)
    # The endpoint's weights do not depend on the other labels, so the ranking of winners is kept.
    assert (proba.argmax(axis=1) == whole.predict_proba(many).argmax(axis=1)).all()
    assert max(len(r.labels) for r in mllm.requests) <= 3


def test_a_short_list_by_encoder_shows_only_its_labels_and_demonstrations():
    many, truth = pictures(TEN, 3)
    from showtell.testing import HashEncoder

    mllm = ScriptedMLLM()
    clf = InContextClassifier(
        Model(mllm, cache=None),
        shots=1,
        shortlist=3,
        encoder=HashEncoder(64),
        store=None,
        images_per_request=1,
    ).fit(many, truth)
    assert (clf.predict(many) == truth).mean() == 1
    for request in mllm.requests:
        scene = Scene(request)
        assert len(scene.labels) == 3
        assert {label for _, label in scene.shown} == set(scene.labels)


def test_more_labels_than_a_schema_takes_are_listed_in_the_text():
    many, truth = pictures(TEN, 1)
    clf, mllm = direct(known={"max_enum": 4}, labels=TEN)
    assert clf.predict(many).tolist() == truth.tolist()
    item = mllm.requests[0].schema["properties"]["answers"]["items"]
    assert "enum" not in item["properties"]["label"]


# Arguments


@pytest.mark.parametrize(
    ("params", "complaint"),
    [
        ({"confidence": "sure"}, "Unknown confidence 'sure'"),
        ({"confidence": "votes"}, "set `n_samples` to 2 or more"),
        ({"confidence": "logprobs"}, r"offers no 'logprobs'. Allowed for it: auto, verbalised"),
        ({"confidence": "decisions"}, "offers no 'decisions'"),
        ({"n_samples": 0}, "`n_samples` is a whole number from 1"),
        ({"images_per_request": 0}, "`images_per_request` is a whole number from 1 up, or 'auto'"),
        ({"shortlist": "three-step"}, "`shortlist` is a whole number"),
        ({"max_side": 3}, "`max_side`"),
        ({"calibrate": 6}, "`calibrate` is True, False or 'auto'"),
        ({"n_calibration": 0}, "`n_calibration`"),
        ({"calibrate": True}, "needs labelled images"),
        ({"role": " "}, "`role`"),
        ({"sampling_temperature": 5}, "`sampling_temperature`"),
        ({"max_cost": -1}, "max_cost"),
        ({"abstain_below": 2}, "abstain_below"),
        ({"abstain_below": 0.5, "confidence": None}, "needs a confidence"),
        ({"labels": ["cat", "Cat"]}, "same answer"),
        ({"labels": None}, "Which labels"),
        ({"prompt_dir": "nowhere"}, "no folder of prompts"),
    ],
)
def test_impossible_arguments_are_refused_by_fit(params, complaint):
    with pytest.raises(InputError, match=complaint):
        direct(**params)


def test_impossible_arguments_of_in_context_are_refused_by_fit():
    for params, complaint in [
        ({"shots": -1}, "`shots`"),
        ({"anonymise": "yes"}, "`anonymise`"),
        ({"demonstrations": []}, "empty"),
        ({"demonstrations": ["a.jpg"]}, "pairs"),
    ]:
        with pytest.raises(InputError, match=complaint):
            in_context(**params)
    with pytest.raises(UnknownNameError, match="Allowed: balanced, random, nearest"):
        in_context(selection="best")
    with pytest.raises(InputError, match="Show what"):
        InContextClassifier(ScriptedMLLM(), labels=LABELS).fit()
    with pytest.raises(InputError, match="is a name such as"):
        DirectClassifier(3, labels=LABELS).fit()


def test_too_many_demonstrations_for_the_model_are_refused_before_anything_is_sent():
    clf, mllm = in_context(shots=4, known={"max_images": 12})
    with pytest.raises(InputError, match="takes 12 images per request"):
        clf.classify(X)
    assert not mllm.requests


def test_requests_stay_within_the_images_and_bytes_a_model_takes():
    clf, mllm = in_context(shots=2, known={"max_images": 9})
    assert clf.predict(X).tolist() == Y.tolist()
    assert max(mllm.n_images) <= 9
    size = max(len(d.image.data) for d in clf.demonstrations_)
    clf, mllm = direct(known={"max_request_bytes": 65536 + size * 6}, images_per_request=12)
    assert clf.predict(X).tolist() == Y.tolist()
    assert len(mllm.requests) >= 2


def test_settings_follow_what_the_model_takes():
    _, mllm = plain = direct(known={"sampling": False}, max_tokens=99)
    plain[0].classify(X[:1])
    assert mllm.requests[0].settings.temperature is None
    assert mllm.requests[0].settings.max_tokens == 99


# Any fault


KINDS = ("fine", "drop", "twice", "conflict", "unknown", "out_of_set", "garbage", "cut", "refuse",
         "refused", "blocked", "length", "too large", "gone")  # fmt: skip


@settings(max_examples=60)
@given(st.integers(0, 2**32), st.sampled_from([1, 2, 5, 12]), st.sampled_from([0.2, 0.6, 1.0]))
def test_whatever_a_model_answers_every_image_gets_exactly_one_row(seed, images_per_request, rate):
    def script(n, request, items):
        rng = np.random.default_rng([seed, n])
        kind = KINDS[rng.integers(1, len(KINDS))] if rng.random() < rate else "fine"
        k = rng.integers(len(items))
        others = [*items[:k], *items[k + 1 :]]
        wrong = LABELS[(LABELS.index(items[k]["label"]) + 1) % 3]
        match kind:
            case "drop":
                return dumps(others)
            case "twice":
                return dumps([*items, items[k]])
            case "conflict":
                return dumps([*items, {**items[k], "label": wrong}])
            case "unknown":
                return dumps([*others, {**items[k], "id": "nobody", "label": wrong}])
            case "out_of_set":
                return dumps([*others, {**items[k], "label": "zorb"}])
            case "garbage":
                return "garbage"
            case "cut":
                return dumps(items)[: rng.integers(200)]
            case "refuse":
                return "I cannot help with that."
            case "refused" | "blocked" | "length":
                return mllm.answer("", finish=kind)
            case "too large" if len(items) > 1:
                return MLLMRequestError("too large")
            case "gone":
                return MLLMRequestError("gone")
        return dumps(items[::-1])

    clf, mllm = direct(script, images_per_request=images_per_request)
    predictions = clf.classify(X)
    assert len(predictions) == 12
    for row in range(12):
        status = predictions.status[row]
        if status == "ok":
            assert predictions.label[row] == Y[row]  # never another image's answer
        assert (row in predictions.errors) == (status == "error")
        assert (predictions.columns["reason"][row] is None) == (status == "ok")
    n_answers = sum(predictions.columns["input_tokens"]) // 1000
    assert n_answers <= len(mllm.requests) < 12 * 8
    assert sum(predictions.columns["cost_usd"]) == Decimal("0.003") * n_answers


def test_a_modelfile_may_be_the_model(tmp_path):
    (tmp_path / "Modelfile").write_text("FROM llava:7b\n")
    clf = DirectClassifier(
        Model(str(tmp_path / "Modelfile"), cache=None), labels=["cat", "dog"]
    ).fit()
    assert clf.model_.startswith("ollama:llava:7b#")
