"""Describing and optimizing with a real, very small language model: poor texts, no crash."""

from __future__ import annotations

import json

import pytest
from tests.mllm.test_mllm_real_servers import llama, start_llama  # noqa: F401  fixtures

from showtell.classify import read_evolution
from showtell.prompts import read_descriptions
from showtell.testing import make_images

pytestmark = pytest.mark.slow


@pytest.fixture
def write(cli, llama, monkeypatch):  # noqa: F811
    """Run a verb with the model that llama.cpp serves; both verbs share one server."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")

    def run(*arguments):
        result = cli(
            *arguments, "--model", "llamacpp:smollm2", "--base-url", f"{llama}/v1", "--json",
            "--timeout", 300,
        )  # fmt: skip
        assert result.exit_code in (0, 1), result.output
        assert "Traceback" not in result.output
        assert "This is a bug" not in result.output
        return result, json.loads(result.stdout)

    return run


def test_what_a_small_model_writes_is_kept_or_a_named_gap(write):
    labels = ["tiger"]
    result, told = write("describe", "--labels", ",".join(labels), "--count", 3, "-o", "set.json")
    made = read_descriptions("set.json")
    assert list(made) == labels
    assert result.exit_code == (0 if made.n_descriptions else 1)
    for label in labels:
        assert made[label] or told["gaps"][label]
        for text in made[label]:
            assert len(text.split()) <= 12
    assert told["output_tokens"] > 0
    assert told["cost_usd"] == 0


def test_one_generation_by_a_small_model_ends_and_says_what_came_of_it(write):
    labels = ["red circle", "blue square"]
    make_images("photos/train", labels=labels, n_per_label=3, seed=1)
    make_images("photos/test", labels=labels, n_per_label=2, seed=50)
    result, told = write(
        "optimize", "photos", "--generations", 1, "--candidates", 1, "--count", 3, "--run", "kept",
        "-o", "best.json",
    )  # fmt: skip
    evolution = read_evolution("kept")
    assert evolution.state == "finished"
    assert len(evolution.generations) == 2
    [exchange] = evolution.generations[1].exchanges
    assert exchange.said or exchange.reason
    assert set(exchange.gaps) < set(labels)
    if exchange.reason is not None:  # nothing of it is of use, which is told and is a failure
        assert evolution.best == 0
        assert exchange.reason in result.stderr
    assert result.exit_code == (0 if exchange.reason is None else 1)
    left_out = {label: list(dict.fromkeys(texts)) for label, texts in exchange.dropped.items()}
    assert told["dropped"] == left_out
    assert told["test"]["n"] == 4
    assert told["output_tokens"] > 0
    assert told["cost_usd"] == 0
    assert dict(read_descriptions("best.json")) == dict(evolution.chosen.descriptions)
