"""Tables, stores and files of words that were written before the rooms were rebuilt."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from tests.frozen import frozen
from tests.frozen.frozen import FORMAT1

import showtell as st
from showtell.prompts import read_concepts, read_descriptions
from showtell.testing import HashEncoder


def read(name):
    return json.loads((FORMAT1 / name).read_text("utf-8"))


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_predictions_of_then_are_read(ending):
    if ending == "parquet":
        pytest.importorskip("pyarrow", reason="needs the extra parquet")
    found = st.Predictions.read(FORMAT1 / "tables" / f"predictions.{ending}")
    wanted = read("tables/predictions-expected.json")
    rows = [[r["image"], r["label"], r["status"], r["confidence"]] for r in found.rows()]
    assert frozen.same(rows, wanted["rows"])
    assert sorted(found.classes) == sorted(wanted["classes"])
    order = [list(found.classes).index(label) for label in wanted["classes"]]
    assert set(found.status) == {"ok", "abstained", "error"}
    ok = found.status != "error"
    np.testing.assert_allclose(
        found.proba[ok][:, order], np.array(wanted["proba"])[ok], rtol=0, atol=1e-5
    )


def test_a_record_without_pyarrow_opens_and_draws_its_page(place):
    record = st.Record.load(FORMAT1 / "record-csv")
    wanted = read("record-csv.json")
    assert record.metrics["accuracy"] == wanted["accuracy"]
    assert record.predictions.label.tolist() == wanted["labels"]
    record.report("page.html")
    assert Path("page.html").stat().st_size > 5_000


@pytest.fixture
def caches(tmp_path, monkeypatch):
    """The cache folder of then, in use."""
    shutil.copytree(FORMAT1 / "cache", tmp_path / "caches")
    monkeypatch.setenv("SHOWTELL_CACHE_DIR", str(tmp_path / "caches"))


def test_answers_of_then_are_found_and_nothing_is_asked(place, caches):
    """At the provider's own address, which no test can reach: an error row, were one asked."""
    pytest.importorskip("openai", reason="needs the extra openai")
    about = read("cache.json")
    result = frozen.invoke(about["argv"], "")
    assert result.exit_code == 0, result.output
    assert frozen.same(frozen.told_of("classify", result.stdout), about["told"])
    rows = json.loads(result.stdout)["predictions"]
    assert all(row["from_cache"] for row in rows)


def test_embeddings_of_then_are_found_and_nothing_is_embedded(place, caches):
    encoder = HashEncoder(8)
    X, y = frozen.images("train")
    clf = st.FewShotClassifier(encoder, method="prototype", text_weight=None).fit(X, y)
    assert clf.predict(X).tolist() == read("cache.json")["labels"]
    assert encoder.n_encoded == 0


@pytest.mark.parametrize("ending", ["json", "csv", "yaml"])
def test_descriptions_of_then_are_read(ending):
    if ending == "yaml":
        pytest.importorskip("yaml", reason="needs the extra yaml")
    found = read_descriptions(FORMAT1 / "words" / f"phrases.{ending}")
    assert dict(found) == {
        "red circle": ("red", "a round thing", "warm red paint"),
        "green triangle": ("green", "three corners"),
        "blue square": ("blue", "four corners", "cold blue paint"),
    }


def test_sentences_of_then_are_read():
    found = read_descriptions(FORMAT1 / "words" / "sentences.json")
    assert found.kind == "sentences"
    assert found["green triangle"] == (
        "A photo of a green triangle: green.", "A photo of a green triangle: three corners.",
    )  # fmt: skip


def test_a_concept_tree_of_then_is_read():
    tree = read_concepts(FORMAT1 / "words" / "tree.json")
    assert (tree.domain, [part.name for part in tree.parts]) == ("shape", ["face", "edge"])
    assert {value.text: value.labels for value in tree.parts[0].attributes[0].values} == {
        "red": ("red circle",), "green": ("green triangle",), "blue": ("blue square",),
    }  # fmt: skip
