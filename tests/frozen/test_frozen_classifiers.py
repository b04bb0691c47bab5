"""Classifiers that were saved before the rooms were rebuilt load, and say what they said."""

from __future__ import annotations

import json

import numpy as np
import pytest
from tests.frozen import frozen
from tests.frozen.frozen import FORMAT1

import showtell as st
from showtell.testing import ColourEncoder

pytestmark = pytest.mark.filterwarnings("ignore::showtell.classify.LimitsWarning")

ABOUT = {
    file.stem: json.loads(file.read_text("utf-8"))
    for file in sorted((FORMAT1 / "classifiers").glob("*.json"))
}
ASK = [name for name, about in ABOUT.items() if about["n_requests"]]
WITHIN = {"zero-shot-mini": 1e-3, "few-shot-mini": 1e-3}  # arithmetic differs between processors


def load(name):
    about, more = ABOUT[name], {}
    if about["class"] == "LikelihoodClassifier":
        more["model"] = frozen.ColourVLM()
    if about["encoder_object"]:
        more["encoder"] = ColourEncoder()
    return st.load_classifier(FORMAT1 / "classifiers" / name, **more)


def says_the_same(name, predictions):
    about, within = ABOUT[name], WITHIN.get(name, 1e-5)
    assert predictions.label.tolist() == about["labels"]
    assert list(predictions.status) == about["status"]
    confidence = [row["confidence"] for row in predictions.rows()]
    assert frozen.same(confidence, about["confidence"], within=within)
    if about["proba"] is None:
        assert predictions.proba is None
    else:
        np.testing.assert_allclose(predictions.proba, about["proba"], rtol=0, atol=within)


def test_every_kind_of_classifier_is_among_them():
    assert {about["class"] for about in ABOUT.values()} == {
        "ZeroShotClassifier", "FewShotClassifier", "DescriptionClassifier", "FusionClassifier",
        "EvolvingDescriptionClassifier", "ConceptClassifier", "DirectClassifier",
        "InContextClassifier", "LikelihoodClassifier",
    }  # fmt: skip
    assert sorted(ABOUT) == sorted(p.name for p in (FORMAT1 / "classifiers").iterdir()
                                   if p.is_dir())  # fmt: skip


@pytest.mark.parametrize("name", [name for name in ABOUT if name not in ASK])
def test_a_saved_classifier_gives_the_labels_and_probabilities_of_then(name, place):
    about, clf = ABOUT[name], load(name)
    assert type(clf).__name__ == about["class"]
    says_the_same(name, clf.classify(about["images"]))
    predicted = clf.predict(about["images"]).tolist()
    assert predicted == about["predicted"]
    assert [type(label) for label in predicted] == [type(label) for label in about["predicted"]]


@pytest.mark.parametrize("name", [name for name in ASK if name != "direct-at-an-address"])
def test_a_saved_classifier_asks_a_model_what_it_asked_then(name, place, monkeypatch):
    pytest.importorskip("uvicorn", reason="local servers need the extra mllm")
    pytest.importorskip("openai", reason="needs the extra openai")
    from showtell.testing.servers import Bias

    about = ABOUT[name]
    with frozen.make_server(bias=Bias(noise=about["noise"]), seed=1) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
        clf = load(name)
        assert type(clf).__name__ == about["class"]
        says_the_same(name, clf.classify(about["images"]))
    assert server.stats.n_answered == about["n_requests"]


def test_a_classifier_saved_with_an_address_can_be_given_another_model(place, server):
    from showtell.mllm import load_mllm

    name = "direct-at-an-address"
    clf = st.load_classifier(
        FORMAT1 / "classifiers" / name, model=load_mllm(frozen.MODEL, base_url=server.base_url)
    )
    says_the_same(name, clf.classify(ABOUT[name]["images"]))
    assert server.stats.n_answered == ABOUT[name]["n_requests"]


@pytest.mark.parametrize("name", ["zero-shot", "few-shot-linear", "concepts-forest", "direct",
                                  "in-context-nearest", "fusion", "evolving", "described-dclip",
                                  "likelihood-pmi"])  # fmt: skip
def test_what_is_saved_again_loads_again(name, place, server, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
    about, more = ABOUT[name], {}
    if about["class"] == "LikelihoodClassifier":
        more["model"] = frozen.ColourVLM()
    again = st.load_classifier(load(name).save(tmp_path / "again"), **more)
    says_the_same(name, again.classify(about["images"]))
