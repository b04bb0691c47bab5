"""A classifier that is stopped says what it knows about every input."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from tests.asked import asked
from tests.classify.scripted import ScriptedMLLM, dumps, picture, pictures

from showtell import DirectClassifier
from showtell.classify.asking import run as asking_run
from showtell.errors import BudgetError, RunInterrupt
from showtell.mllm.model import Model

LABELS = ["red", "green", "blue"]
X, Y = pictures(LABELS, 4)
REASON = "stopped by the cap of 5 requests; raise it and run the same command again to go on"


def direct(script=None, **params):
    mllm = ScriptedMLLM(script)
    common = {"labels": LABELS, "cache": None, "images_per_request": 1, "max_concurrency": 1}
    model, params = asked(mllm, common | params)
    return DirectClassifier(model, **params).fit(), mllm


def stopped(clf, images, kind=BudgetError):
    with pytest.raises(kind) as caught:
        clf.classify(images)
    return caught.value.predictions


def test_every_input_has_a_row_repeated_and_broken_ones_too():
    images = [*X[:7], b"no image", X[0], X[11], *X[7:]]
    found = stopped(direct(max_requests=5)[0], images)
    rows = list(found.rows())
    assert len(rows) == len(images)
    assert [row["status"] for row in rows[:5]] == ["ok"] * 5
    assert [row["label"] for row in rows[:5]] == Y[:5].tolist()
    assert (rows[8]["label"], rows[8]["from_cache"]) == (Y[0], True)
    for row in (*rows[5:7], *rows[9:]):
        assert (row["status"], row["error"], row["reason"]) == ("error", REASON, "stopped")
        assert (row["label"], row["confidence"], row["cost_usd"]) == (None, None, 0)
    assert rows[7]["status"] == "error"
    assert np.isnan(found.confidence_all[5:8]).all()


def test_rows_add_up_to_what_was_paid_where_images_were_half_asked_about():
    clf, mllm = direct(max_requests=5, confidence="votes", n_samples=3)
    found = stopped(clf, X)
    answered = sum(row["status"] == "ok" for row in found.rows())
    assert answered <= 1  # three answers each
    assert sum(found.columns["input_tokens"]) == 5 * mllm_tokens(mllm)


def mllm_tokens(mllm):
    clf = DirectClassifier(Model(mllm, cache=None), labels=LABELS, images_per_request=1).fit()
    return clf.classify(X[:1]).columns["input_tokens"][0]


def test_what_a_run_folder_knows_is_told_although_the_cap_is_used_up(tmp_path):
    params = {"run_folder": tmp_path / "run", "max_requests": 5}
    first = stopped(direct(**params)[0], X)
    assert first.counts["ok"] == 5
    clf, mllm = direct(**params)
    changed = [picture("blue", 998), picture("blue", 999), *X[::-1]]  # what is known comes last
    again = stopped(clf, changed)
    assert not mllm.requests
    assert again.counts["ok"] == 5
    assert again.label[-5:].tolist() == Y[:5][::-1].tolist()
    clf, mllm = direct(**params | {"max_requests": None})
    assert clf.classify(X).label.tolist() == Y.tolist()
    assert len(mllm.requests) == 7


def test_asking_again_in_a_resumed_run_puts_the_same_questions(tmp_path):
    """Pictures left out of an answer are asked about together with the same others as before."""
    params = {"run_folder": tmp_path / "run", "images_per_request": 4}

    def leaves_out(n, request, items):
        return dumps(items[1:] if len(items) == 4 and n <= 3 else items)

    whole, told = direct(leaves_out, images_per_request=4)
    whole.classify(X)
    some, first = direct(leaves_out, **params, max_requests=2)
    stopped(some, X)
    rest, second = direct(lambda n, request, items: leaves_out(n + 2, request, items), **params)
    assert rest.classify(X).label.tolist() == Y.tolist()
    keys = [request.key for request in (*first.requests, *second.requests)]
    assert keys == [request.key for request in told.requests]


def test_ctrl_c_gives_the_rows_with_it(monkeypatch):
    wait_for = asking_run.wait_for

    def pressed(work, *, stop):
        """Press Ctrl-C while the fourth request is in flight."""

        def script(n, request, items):
            if n == 3:
                stop()

        mllm.script = script
        wait_for(work)
        raise KeyboardInterrupt

    clf, mllm = direct()
    monkeypatch.setattr(asking_run, "wait_for", pressed)
    rows = list(stopped(clf, X, RunInterrupt).rows())
    assert [row["status"] for row in rows] == ["ok"] * 4 + ["error"] * 8
    assert {row["error"] for row in rows[4:]} == {
        "stopped by Ctrl-C; run the same command again to go on"
    }
    assert issubclass(RunInterrupt, KeyboardInterrupt)


def test_stops_pickle_with_their_rows():
    clf, _ = direct(max_requests=5)
    with pytest.raises(BudgetError) as caught:
        clf.classify(X)
    for error in (caught.value, RunInterrupt(caught.value.predictions)):
        again = pickle.loads(pickle.dumps(error))
        assert type(again) is type(error)
        assert again.predictions.counts == error.predictions.counts
    assert caught.value.cap == "5 requests"
