"""Recipes: plain data that becomes JSON and back, and a classifier."""

from __future__ import annotations

import json
import pickle

import pytest

from showtell.classify import (
    CascadeClassifier,
    DirectClassifier,
    DistilledClassifier,
    FewShotClassifier,
    ZeroShotClassifier,
)
from showtell.classify.table import methods
from showtell.datasets import Dataset, LabelSet, Sample
from showtell.encoders import registry
from showtell.errors import InputError, UnknownNameError
from showtell.explain import parts_of
from showtell.recipes import Recipe, contenders, remarks
from showtell.testing import WordEncoder

LABELS = ("cat", "dog")


@pytest.fixture(autouse=True)
def words(monkeypatch):
    """The name "mini" means an encoder for captions here."""
    monkeypatch.setattr(registry, "_load", lambda *_: WordEncoder(["cat", "dog", "tail"]))
    monkeypatch.setattr(registry, "_loaded", {})


@pytest.fixture
def examples():
    samples = [
        Sample(id=str(i), image=f"a {label} {i}", label=label)
        for i, label in enumerate([*LABELS] * 3)
    ]
    return Dataset.from_samples(samples)


def full_recipe():
    return Recipe(
        method="in-context",
        labels=LabelSet(
            labels=LABELS, descriptions={"cat": ["it purrs"]}, aliases={"dog": ["hound"]}
        ),
        model="openai:gpt-4.1-mini",
        options={"shots": 3, "confidence": None, "role": "a vet"},
        access={"max_cost": "0.50", "reuse": False},
        seed=7,
        threads=2,
        store=False,
    )


def test_a_recipe_becomes_json_and_back():
    recipe = full_recipe()
    text = json.dumps(recipe.to_dict())
    assert Recipe.from_dict(json.loads(text)) == recipe
    assert pickle.loads(pickle.dumps(recipe)) == recipe


def test_what_is_as_usual_is_not_written():
    bare = Recipe(options={"shots": None, "rotations": 1}, access={"timeout": 120.0})
    assert bare == Recipe()
    assert bare.to_dict() == {"method": "auto", "encoder": "mini", "seed": 0}


def test_unknown_keys_options_and_limits_are_refused_by_name():
    for make, said in (
        (lambda: Recipe.from_dict({"method": "linear", "colour": 1}), "colour"),
        (lambda: Recipe(options={"shotz": 1}), "shotz"),
        (lambda: Recipe(access={"max_prize": 1}), "max_prize"),
        (lambda: Recipe(method="few_shot"), "few_shot"),
    ):
        with pytest.raises(UnknownNameError, match=said):
            make()


def test_an_option_of_another_method_is_refused_with_what_the_method_takes():
    with pytest.raises(InputError) as caught:
        Recipe(method="linear", options={"descriptions": "a.json"})
    assert str(caught.value) == (
        "Method 'linear' does not take `descriptions`. It takes `templates`, `shots`, "
        "`abstain_below`. `descriptions` belongs to dclip, cupl, waffle, waffle+descriptions, "
        "fusion, evolving."
    )
    assert caught.value.told(lambda name: "--" + name.replace("_", "-")).startswith(
        "Method 'linear' does not take --descriptions. It takes --templates, --shots, "
        "--abstain-below."
    )


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"method": "direct"}, "asks a multimodal LLM"),
        ({"method": "likelihood"}, "needs a model that runs in this process"),
        ({"method": "linear", "model": "openai:a"}, "uses an encoder"),
        ({"method": "likelihood", "model": "openai:a"}, "asked through a server"),
        ({"method": "direct", "model": "local-dir:a"}, "use `method` likelihood"),
        ({"method": "dclip"}, "needs `descriptions`"),
        ({"method": "concepts"}, "needs `concepts`"),
        (
            {"method": "concepts", "options": {"concepts": "a.json", "shots": 0}},
            "`shots` is 1 or more",
        ),
        ({"method": "zero-shot", "options": {"shots": 3}}, "does not take `shots`"),
    ],
)
def test_what_does_not_go_together_is_refused(given, said):
    with pytest.raises(InputError, match=said):
        Recipe(**given)


def test_auto_goes_by_model_and_examples():
    for recipe, without, with_ in (
        (Recipe(), "zero-shot", "few-shot"),
        (Recipe(options={"shots": 0}), "zero-shot", "zero-shot"),
        (Recipe(model="openai:a"), "direct", "in-context"),
        (Recipe(model="local-dir:a"), "likelihood", "likelihood"),
    ):
        assert (recipe.row().name, recipe.row(examples=True).name) == (without, with_)


def test_only_methods_that_learn_or_calibrate_look_at_examples():
    looks = {
        row.name
        for row in methods().values()
        if row.learns == "always"
    }  # fmt: skip
    assert {"few-shot", "linear", "concepts", "in-context", "evolving"} <= looks
    assert not looks & {"zero-shot", "dclip", "direct", "fusion", "likelihood"}
    asked = Recipe(method="direct", model="openai:a", options={"n_calibration": 40})
    assert asked.learns(available=True)
    assert not Recipe(method="direct", model="openai:a").learns(available=True)
    assert not Recipe(method="linear", options={"shots": 0}).learns(available=True)


def test_a_recipe_is_fitted_on_examples(examples):
    few = Recipe(method="linear", options={"shots": 2}, store=False).fit(examples)
    assert isinstance(few, FewShotClassifier)
    assert (few.method, few.shots, len(few.support_)) == ("linear", 2, 4)
    assert few.predict(["a cat", "a dog"]).tolist() == ["cat", "dog"]


def test_without_examples_auto_is_zero_shot_and_needs_labels(examples):
    clf = Recipe(labels=LABELS, store=False).fit()
    assert isinstance(clf, ZeroShotClassifier)
    assert clf.predict(["dog"]).tolist() == ["dog"]
    with pytest.raises(InputError, match="Which labels") as caught:
        Recipe(store=False).fit()
    assert caught.value.param == ("labels", "labels_file", "examples")
    with pytest.raises(InputError, match="learns from examples"):
        Recipe(method="linear", labels=LABELS).fit()


def test_no_shots_makes_a_few_shot_method_zero_shot(examples):
    assert isinstance(
        Recipe(method="linear", options={"shots": 0}, store=False).fit(examples),
        ZeroShotClassifier,
    )


def test_a_model_is_reached_as_the_recipe_says():
    clf = Recipe(
        model="openai:gpt-4.1-mini",
        labels=LABELS,
        options={"role": "a vet", "n_samples": 3},
        access={"max_cost": "0.5", "requests_per_minute": 9.0, "reuse": False},
    ).build(run_folder="kept")
    assert isinstance(clf, DirectClassifier)
    model = clf.model
    assert (model.max_cost, model.requests_per_minute, model.cache) == ("0.5", 9.0, None)
    assert (model.run_folder, clf.role, clf.n_samples) == ("kept", "a vet", 3)


def test_calibrating_without_examples_is_refused():
    recipe = Recipe(model="openai:a", labels=LABELS, options={"n_calibration": 40})
    with pytest.raises(InputError, match="looks at labelled images"):
        recipe.fit()


def test_templates_of_a_file_are_read_when_it_is_built(tmp_path):
    file = tmp_path / "templates.txt"
    file.write_text("a {label}\n\nthe {label}\n")
    clf = Recipe(labels=LABELS, options={"templates": str(file)}, store=False).build()
    assert clf.templates == ("a {label}", "the {label}")


def test_remarks_name_a_single_label_and_labels_with_few_examples(examples):
    one = Recipe(labels=["cat;dog"], store=False)
    assert 'Commas part labels, as in "cat,dog".' in remarks(one, one.fit(), None)[0]
    many = Recipe(method="linear", options={"shots": 5}, store=False)
    assert remarks(many, many.fit(examples), examples) == [
        "`shots` 5 is more than some labels have; they give all they have: cat 3, dog 3."
    ]


def test_contenders_are_methods_with_what_they_use():
    found = contenders(
        "zero-shot@mini,direct",
        ["openai:a", "google:b"],
        ["mini"],
        lambda way: Recipe(method=way.row.name, model=way.target if way.row.asks else None),
    )
    assert [one.name for one in found] == ["zero-shot", "direct@openai:a", "direct@google:b"]
    with pytest.raises(InputError, match="goes with one model in a comparison"):
        contenders("evolving", ["openai:a", "google:b"], [], lambda _: Recipe())


@pytest.mark.parametrize("row", methods().values(), ids=lambda row: row.name)
def test_a_row_names_the_parts_of_an_explanation_that_its_class_offers(row):
    given = {"model": "local-dir:x" if row.local else "openai:a"} if row.asks else {}
    made = row.load()
    if row.saved:  # what `showtell distill` writes, since there is no folder here
        given, made = {}, CascadeClassifier if row.asks else DistilledClassifier
    assert parts_of(made(**given, **row.fixed)) == row.explains
