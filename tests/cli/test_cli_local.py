"""`--model local-dir:PATH`: labels scored in this process, on a small checkpoint."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from tests.cli.conftest import LABELS

pytest.importorskip("transformers", reason="extra `local` is not installed")

from tests.mllm.tiny_vlm import make_llava

from showtell.classify import LikelihoodClassifier

EVERY_LABEL = ",".join(LABELS)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint")
    make_llava(folder)
    return f"local-dir:{folder}"


@pytest.fixture
def score(cli, model):
    def run(*arguments, **more):
        return cli(*arguments, "--model", model, "--threads", 1, **more)

    return run


@pytest.mark.parametrize(
    ("options", "params"),
    [
        ((), {}),
        (("--method", "likelihood", "--score", "pmi"), {"rule": "pmi"}),
        (
            ("--score", "letter", "--question", "Which shape?"),
            {"rule": "letter", "question": "Which shape?"},
        ),
        (("--score", "mean", "--abstain-below", 0.5), {"rule": "mean", "abstain_below": 0.5}),
    ],
)
def test_rows_are_those_of_the_classifier(score, shapes, rows, model, options, params):
    result = score("classify", shapes, "--labels", EVERY_LABEL, "--proba", *options)
    assert result.exit_code == 0, result.output
    got = rows(result.stdout)
    clf = LikelihoodClassifier(model, labels=list(LABELS), threads=1, **params).fit()
    wanted = clf.classify([row["image"] for row in got])
    assert [row["label"] for row in got] == wanted.label.tolist()
    shares = [[float(row[f"p_{label}"]) for label in LABELS] for row in got]
    np.testing.assert_allclose(shares, wanted.proba, atol=1e-4)
    assert list(got[0])[:5] == ["image", "label", "confidence", "status", "error"]


def test_a_short_list_is_made_by_the_encoder(score, shapes, rows):
    result = score("classify", shapes, "-l", EVERY_LABEL, "--shortlist", 2, "--proba")
    assert result.exit_code == 0, result.output
    for row in rows(result.stdout):
        assert sum(float(row[f"p_{label}"]) == 0 for label in LABELS) == 1


def test_evaluate_scores_test_images_and_calibrates_on_training_images(score, parted):
    plain = score("evaluate", parted, "--json")
    assert plain.exit_code == 0, plain.output
    warm = score("evaluate", parted, "--calibrate", 9, "--json")
    assert warm.exit_code == 0, warm.output
    plain, warm = json.loads(plain.stdout), json.loads(warm.stdout)
    assert plain["n_samples"] == warm["n_samples"] == 6
    assert plain["accuracy"] == warm["accuracy"]
    assert plain["ece"] != warm["ece"]
    assert not plain["cost_usd"]


def test_compare_puts_it_beside_an_encoder(score, parted):
    result = score("compare", parted, "--methods", "zero-shot,likelihood", "--json")
    assert result.exit_code == 0, result.output
    records = {row["name"]: row for row in json.loads(result.stdout)["records"]}
    assert set(records) == {"zero-shot", "likelihood"}
    assert not records["likelihood"]["cost_usd"]


def test_a_run_folder_names_what_decided(score, shapes, model):
    result = score("classify", shapes, "-l", EVERY_LABEL, "--score", "mean", "--run", "kept")
    assert result.exit_code == 0, result.output
    assert '"rule": "mean"' in Path("kept/run.json").read_text("utf-8")
    again = score("classify", shapes, "-l", EVERY_LABEL, "--score", "sum", "--run", "kept")
    assert again.exit_code == 2


def test_estimate_is_free_and_counts_what_the_model_reads(cli, shapes, model):
    common = ("estimate", shapes, "-l", EVERY_LABEL, "--model", model)
    result = cli(*common, "--json")
    assert result.exit_code == 0, result.output
    said = json.loads(result.stdout)
    assert (said["n_images"], said["n_requests"], said["n_asked"]) == (9, 0, 9)
    assert said["cost_usd"] == said["cost_usd_to_pay"] == 0
    assert said["image_tokens"] == 9 * 16
    clf = LikelihoodClassifier(model, labels=list(LABELS), threads=1).fit()
    text = len(clf.continuations_.prefix) - 1 + sum(len(t) - 1 for t in clf.continuations_.tokens)
    assert said["input_tokens"] == 9 * (16 + text)
    assert said["seconds"] >= 0
    assert "0 USD to pay" in result.stderr
    letters = json.loads(cli(*common, "--score", "letter", "--json").stdout)
    assert (letters["n_asked"], letters["image_tokens"]) == (27, 27 * 16)
    facts = dict(csv.reader(io.StringIO(cli(*common).stdout)))
    assert facts["input_tokens"] == str(said["input_tokens"])


def test_models_mentions_the_way_without_a_server(cli, rows):
    got = {row["model"]: row for row in rows(cli("models").stdout)}
    for name in ("local-dir:PATH", "hf-hub:ORG/NAME"):
        assert (got[name]["ready"], got[name]["USD in"], got[name]["logprobs"]) == (
            "true", "0", "true",
        )  # fmt: skip


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--method", "direct"), "runs in this process: use --method likelihood"),
        (("--method", "linear"), "uses an encoder"),
        (("--base-url", "http://localhost:1"), "--base-url is about models behind a server"),
        (("--anonymise", "--rpm", "3"), "--anonymise, --rpm are about models behind a server"),
        (("--shortlist", "two-step"), "--shortlist is a whole number"),
        (("--shots", "2"), "--shots is about models behind a server"),
        (("--score", "best"), "'best'"),
        (("--calibrate", "5"), "--examples DIR"),
    ],
)
def test_what_does_not_go_with_it_is_one_line(score, shapes, options, said):
    result = score("classify", shapes, "--labels", EVERY_LABEL, *options)
    assert result.exit_code == 2
    assert said in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--method", "likelihood"), "--model hf-hub:ORG/NAME or --model local-dir:PATH"),
        (("--model", "ollama:llava", "--method", "likelihood"), "is asked through a server"),
        (("--model", "ollama:llava", "--score", "pmi"), "--score belongs to likelihood"),
        (("--model", "local-dir:nowhere"), "no config.json"),
        (("--score", "pmi"), "about asking a multimodal LLM"),
    ],
)
def test_it_needs_a_model_in_this_process(cli, shapes, options, said):
    result = cli("classify", shapes, "--labels", EVERY_LABEL, *options)
    assert result.exit_code == 2
    assert said in result.stderr
    assert result.stderr.count("\n") == 1
