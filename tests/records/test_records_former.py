"""Folders of before the renames: old names are read everywhere and written nowhere."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.classify.scripted import ScriptedMLLM

from showtell.classify import (
    ConceptClassifier,
    DirectClassifier,
    ZeroShotClassifier,
    load_classifier,
)
from showtell.errors import InputError
from showtell.evaluate.controls import Control, Controls
from showtell.mllm import Model
from showtell.prompts import DescriptionSet, read_descriptions
from showtell.records import former, saved
from showtell.runs.folder import claim
from showtell.testing import WordEncoder

WORDS = WordEncoder(["cat", "dog", "fur", "paws"])
TREE = {"domain": "pet", "parts": [{"part": "coat", "attributes": {"hair": ["fur", "paws"]}}]}


def as_before(folder: Path, **old: str) -> Path:
    """Give parameters of a saved classifier the names they had."""
    file = folder / "classifier.json"
    record = json.loads(file.read_text("utf-8"))
    record["params"] = {old.get(name, name): value for name, value in record["params"].items()}
    record["values"] = {old.get(name, name): value for name, value in record["values"].items()}
    record["sha256"] = saved.digest_of(record)
    file.write_text(json.dumps(record), "utf-8")
    return folder


def test_a_saved_classifier_of_before_loads_and_is_written_with_the_new_names(tmp_path):
    clf = ZeroShotClassifier(WORDS, labels=["cat", "dog"], transductive="balance").fit()
    folder = as_before(clf.save(tmp_path / "old"), transductive="batch")
    assert '"batch": "balance"' in (folder / "classifier.json").read_text("utf-8")
    again = load_classifier(folder, encoder=WORDS)
    assert again.transductive == "balance"
    written = (again.save(tmp_path / "new") / "classifier.json").read_text("utf-8")
    assert '"transductive": "balance"' in written
    assert '"batch"' not in written


def test_the_head_of_a_concept_classifier_was_called_its_model(tmp_path):
    X, y = ["cat fur", "dog paws"] * 3, ["cat", "dog"] * 3
    clf = ConceptClassifier(WORDS, concepts=TREE, head="forest", n_trees=3).fit(X, y)
    folder = as_before(clf.save(tmp_path / "old"), head="model")
    again = load_classifier(folder, encoder=WORDS)
    assert again.head == "forest"
    assert again.predict(X).tolist() == clf.predict(X).tolist()


@pytest.mark.parametrize(
    ("was", "calibrate", "n"),
    [(6, True, 6), (0, False, None), (True, True, None), (False, False, None)],
)
def test_on_how_many_images_to_calibrate_was_said_by_calibrate(tmp_path, was, calibrate, n):
    clf = DirectClassifier(Model(ScriptedMLLM(), cache=None), labels=["cat", "dog"]).fit()
    file = clf.save(tmp_path / "old") / "classifier.json"
    record = json.loads(file.read_text("utf-8"))
    del record["params"]["n_calibration"]
    record["params"]["calibrate"] = was
    record["sha256"] = saved.digest_of(record)
    file.write_text(json.dumps(record), "utf-8")
    again = load_classifier(file.parent, model=Model(ScriptedMLLM(), cache=None))
    assert (again.calibrate, again.n_calibration) == (calibrate, n)


def test_a_run_of_before_that_calibrates_goes_on(tmp_path):
    was = {"verb": "classify", "method": "direct", "model": "openai:a", "calibrate": 6}
    (tmp_path / "run.json").write_text(json.dumps({"format": "showtell-run", "request": was}))
    recipe = {"method": "direct", "model": "openai:a", "options": {"n_calibration": 6}, "seed": 0}
    assert claim(tmp_path, {"verb": "classify", "recipe": recipe}) is True
    recipe = {**recipe, "options": {"n_calibration": 7}}
    with pytest.raises(InputError, match="n_calibration was 6 and is 7"):
        claim(tmp_path, {"verb": "classify", "recipe": recipe})


def test_a_run_of_before_goes_on_under_the_new_names_and_another_is_refused(tmp_path):
    was = {"verb": "audit", "batch": "adapt", "evolving": {"concept": "bird"},
           "rounds": [{"permutations": "2", "correct": "batch", "batch_size": "1"}],
           "corrections": ["permutations", "batch"]}  # fmt: skip
    now = {"verb": "audit", "transductive": "adapt", "evolving": {"domain": "bird"},
           "rounds": [{"rotations": "2", "debias": "batch", "images_per_request": "1"}],
           "corrections": ["rotations", "batch"]}  # fmt: skip
    (tmp_path / "run.json").write_text(json.dumps({"format": "showtell-run", "request": was}))
    assert claim(tmp_path, now) is True
    with pytest.raises(InputError, match="transductive was 'adapt' and is None"):
        claim(tmp_path, {**now, "transductive": None})


def test_what_all_labels_are_was_called_their_concept(tmp_path):
    texts = DescriptionSet({"wren": ("a short tail",)}, domain="bird")
    record = texts.to_record()
    assert record["domain"] == "bird"
    record["concept"] = record.pop("domain")
    file = tmp_path / "old.json"
    file.write_text(json.dumps(record), "utf-8")
    assert read_descriptions(file) == texts
    control = Control(name="domain", prompt="a bird: {label}", n_prompts=1, sd=None,
                      per_seed=(), p_per_seed=(), accuracy=0.5, accuracy_low=0.4,
                      accuracy_high=0.6, difference=0.1, low=0.0, high=0.2, p_value=0.1,
                      p_holm=0.1)  # fmt: skip
    kept = Controls(method="dclip", n_samples=9, n_prompts=1.0, accuracy=0.6, accuracy_low=0.5,
                    accuracy_high=0.7, controls=(control,), seeds=(0,))  # fmt: skip
    old = json.loads(json.dumps(kept.to_dict()))
    old["controls"][0]["name"] = "concept"
    assert Controls.from_dict(old) == kept


def test_no_name_is_both_old_and_new():
    assert not set(former._RENAMED) & set(former._RENAMED.values())
