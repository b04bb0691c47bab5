"""`classify --classifier DIR`: what was saved in Python classifies on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import showtell as st
from showtell.testing import ColourEncoder

LABELS = ["red circle", "green triangle", "blue square"]


@pytest.fixture
def few_shot(shapes):
    data = st.load_dataset(str(shapes))
    clf = st.FewShotClassifier(method="prototype").fit(data.images, data.y)
    clf.save("kept")
    return clf


@pytest.fixture
def server():
    pytest.importorskip("uvicorn", reason="local servers need the extra mllm")
    pytest.importorskip("openai")
    servers = pytest.importorskip("showtell.testing.servers")
    with servers.LocalServer("openai", encoder=ColourEncoder(), rule="nearest") as running:
        yield running


def said(result):
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)["predictions"]


def test_a_saved_classifier_gives_the_answers_that_it_gives_in_python(cli, shapes, few_shot):
    result = cli("classify", shapes, "--classifier", "kept", "--json")
    rows = said(result)
    found = few_shot.classify([row["image"] for row in rows])
    assert [row["label"] for row in rows] == found.label.tolist()
    assert [row["confidence"] for row in rows] == pytest.approx(list(found.confidence_all))
    assert "FewShotClassifier of kept, learned from" in result.stderr


@pytest.mark.parametrize(
    "more",
    [
        ("-l", "a,b"), ("--examples", "shapes"), ("--method", "linear"), ("--encoder", "mini"),
        ("--sets", "0.9"), ("--model", "openai:m"), ("--max-cost", "1"), ("--shots", "2"),
    ],
)  # fmt: skip
def test_what_a_saved_classifier_has_no_use_for_is_refused(cli, shapes, few_shot, more):
    result = cli("classify", shapes, "--classifier", "kept", *more)
    assert result.exit_code == 2
    names = {"-l": "--labels"}
    assert f"{names.get(more[0], more[0])}: a saved classifier was told" in result.stderr


def test_what_settings_say_of_methods_does_not_stand_in_its_way(cli, shapes, few_shot):
    Path("showtell.toml").write_text('labels = ["a", "b"]\nmethod = "linear"\nshots = 3\n')
    rows = said(cli("classify", shapes, "--classifier", "kept", "--json"))
    assert {row["label"] for row in rows} <= set(LABELS)


def test_a_saved_one_that_asks_is_reached_as_the_command_says_and_its_host_is_named(
    cli, shapes, server, monkeypatch
):
    """Addresses in a folder may be anybody's: they do not count."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-planted")
    elsewhere = st.Model("openai:try", base_url="http://127.0.0.1:9/v1", cache=None)
    st.DirectClassifier(elsewhere, labels=LABELS).fit().save("kept")
    how = ("--classifier", "kept", "--base-url", server.base_url, "--no-reuse", "--json")
    result = cli("classify", shapes, *how)
    rows = said(result)
    assert all(row["label"] in row["image"] for row in rows)
    assert f"Asking openai:try at {server.base_url}." in result.stderr
    assert "127.0.0.1:9/" not in result.stderr
    n_before = server.stats.n_requests
    capped = cli("classify", shapes, *how, "--max-requests", "0")
    assert capped.exit_code == 3
    assert server.stats.n_requests == n_before


def test_a_run_folder_belongs_to_one_classifier(cli, shapes, few_shot):
    kept = ("classify", shapes, "--run", "run", "--classifier")
    assert cli(*kept, "kept").exit_code == 0
    assert cli(*kept, "kept").exit_code == 0
    st.ZeroShotClassifier(labels=LABELS).fit().save("other")
    result = cli(*kept, "other")
    assert result.exit_code == 2
    assert "another request: classifier was" in result.stderr


def test_a_folder_that_is_none_or_was_changed_is_one_line(cli, shapes, few_shot):
    assert "There is no folder 'gone'" in cli("classify", shapes, "--classifier", "gone").stderr
    file = Path("kept", "classifier.json")
    file.write_text(file.read_text("utf-8").replace("prototype", "linear"), "utf-8")
    result = cli("classify", shapes, "--classifier", "kept")
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
