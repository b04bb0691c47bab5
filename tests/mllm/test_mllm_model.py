"""A `Model`: which model, the way to it and the limits of a run, as one argument of estimators."""

from __future__ import annotations

from decimal import Decimal

import pytest
from sklearn.base import clone
from tests.mllm.fakes import ScriptedModel

import showtell as st
from showtell.errors import InputError
from showtell.mllm.model import as_model, open_client, restore_model
from showtell.records.former import current_params

ESTIMATORS = [
    st.DirectClassifier,
    st.InContextClassifier,
    st.FusionClassifier,
    st.EvolvingDescriptionClassifier,
]


def test_parameters_are_kept_unchanged_and_can_be_set():
    model = st.Model("openai:try", max_cost="0.50", max_requests=7)
    assert model.get_params()["max_cost"] == "0.50"
    assert model.set_params(max_cost=2, jobs=True) is model
    assert (model.max_cost, model.jobs, model.max_requests) == (2, True, 7)
    with pytest.raises(InputError, match="no parameter 'max_costs'; it has 'model', 'base_url'"):
        model.set_params(max_costs=1)
    assert model.with_params(max_cost=3) == st.Model(
        "openai:try", max_cost=3, jobs=True, max_requests=7
    )
    assert model.max_cost == 2


@pytest.mark.parametrize("cls", ESTIMATORS)
@pytest.mark.parametrize("model", ["openai:try", st.Model("openai:try", base_url="http://x")])
def test_limits_are_set_through_the_estimator_be_the_model_a_name_or_not(cls, model):
    clf = cls(model).set_params(model__max_cost=2)
    assert clf.model.max_cost == 2
    assert clf.model.name == "openai:try"
    assert clf.get_params()["model__max_cost"] == 2


@pytest.mark.parametrize("cls", ESTIMATORS)
def test_clones_share_the_object_that_is_asked_but_have_limits_of_their_own(cls):
    mllm = ScriptedModel()
    clf = cls(st.Model(mllm, max_cost=1))
    twin = clone(clf)
    assert twin.model == clf.model
    assert twin.model.model is mllm
    twin.set_params(model__max_cost=5)
    assert clf.model.max_cost == 1
    assert clone(cls(mllm)).model is mllm


@pytest.mark.parametrize("cls", ESTIMATORS)
def test_estimators_have_at_most_26_parameters_and_none_about_access(cls):
    own = (
        set(cls().get_params(deep=False)) if cls in ESTIMATORS[2:] else set(cls._get_param_names())
    )
    assert len(own) <= 26
    assert own & set(st.Model("openai:try").get_params()) == {"model"}


@pytest.mark.parametrize(
    ("params", "complaint"),
    [
        ({"model": 3}, "is a name such as 'openai:gpt-4.1-mini', an object .* or a Model"),
        ({"max_cost": -1}, "max_cost"),
        ({"max_concurrency": 0}, "`max_concurrency` is a whole number from 1 up"),
        ({"max_concurrency": "3"}, "`max_concurrency` is a whole number from 1 up"),
        ({"jobs": True}, "`jobs` go with DirectClassifier and InContextClassifier"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_opened(params, complaint):
    model = st.Model(**{"model": "openai:try"} | params)
    with pytest.raises(InputError, match=complaint), open_client(model):
        pass


def test_jobs_need_an_endpoint_and_a_run_folder(tmp_path):
    model = st.Model("ollama:try", jobs=True, run_folder=tmp_path)
    with pytest.raises(InputError, match="ollama:try has no batch endpoint"):
        model.check(takes_jobs=True)
    model = st.Model("openai:gpt-4.1-mini", jobs=True)
    with pytest.raises(InputError, match="need a `run_folder`"):
        model.check(takes_jobs=True)
    model.set_params(run_folder=tmp_path).check(takes_jobs=True)


@pytest.mark.parametrize("cls", ESTIMATORS[2:])
def test_those_that_cannot_wait_for_jobs_say_so_when_they_are_fitted(cls, tmp_path):
    clf = cls(st.Model("openai:try", jobs=True, run_folder=tmp_path), labels=["cat", "dog"])
    with pytest.raises(InputError, match="`jobs` go with DirectClassifier"):
        clf.fit(["a.jpg", "b.jpg"], ["cat", "dog"])


def test_what_leaves_the_machine_holds_no_object_folder_or_password(tmp_path):
    model = st.Model(
        "openai:try",
        base_url="http://me:hunter2@127.0.0.1:9/v1?api_key=s3cr3t",
        run_folder=tmp_path,
        max_cost=Decimal("0.5"),
        jobs=True,
        wait=False,
    )
    for text in (repr(model), str(model.to_saved())):
        assert "hunter2" not in text
        assert "s3cr3t" not in text
    saved = model.to_saved()
    assert saved["run_folder"] is None
    assert (saved["jobs"], saved["wait"], saved["max_cost"]) == (False, True, "0.5")
    assert st.Model(ScriptedModel()).to_saved()["model"] is None


def test_saved_limits_come_back_and_a_plain_name_stays_plain():
    params = {"shots": 3, **st.Model("openai:try", max_cost=1, timeout=9).to_saved()}
    assert restore_model(params) == st.Model("openai:try", max_cost="1", timeout=9)
    assert params == {"shots": 3}
    mllm = ScriptedModel()
    assert restore_model(as_model(mllm).to_saved()) is None
    given = restore_model(st.Model("openai:try", timeout=9).to_saved(), mllm)
    assert given == st.Model(mllm, timeout=9)
    own = st.Model(mllm)
    assert restore_model(st.Model("openai:try", timeout=9).to_saved(), own) is own
    assert restore_model(st.Model("openai:try", cache="a.sqlite").to_saved()) == "openai:try"


def test_parameters_saved_under_former_names_are_read():
    old = {
        "model": "openai:try", "timeout": 120.0, "max_cost": None, "max_requests": None,
        "requests_per_minute": None, "tokens_per_minute": None, "max_concurrency": 4,
        "base_url": None, "run_folder": None, "batch_api": False, "batch_wait": True,
        "cache": "default", "role": "a painter",
    }  # fmt: skip
    old = current_params("DirectClassifier", old)
    assert restore_model(old) == st.Model("openai:try", max_concurrency=4)
    assert old == {"role": "a painter"}
