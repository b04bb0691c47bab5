"""`models`, `estimate` and `compare --model`: what is known before, and which way is cheaper."""

from __future__ import annotations

import csv
import io
import json
import re
from decimal import Decimal
from pathlib import Path

import pytest
from tests.cli.conftest import LABELS

from showtell.testing import ColourEncoder

pytest.importorskip("openai", reason="needs the extra openai")

KEY = "sk-planted-0123456789abcdef"
PRICED = "openai:gpt-4.1-mini"
EVERY_LABEL = ",".join(LABELS)


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch, tmp_path):
    for name in ("OPENAI", "GOOGLE", "GEMINI", "ANTHROPIC", "OPENROUTER"):
        monkeypatch.delenv(f"{name}_API_KEY", raising=False)
        monkeypatch.delenv(f"{name}_BASE_URL", raising=False)
    monkeypatch.setenv("SHOWTELL_CACHE_DIR", str(tmp_path / "cache"))


@pytest.fixture
def server():
    pytest.importorskip("uvicorn", reason="local servers need the extra mllm")
    servers = pytest.importorskip("showtell.testing.servers")
    with servers.LocalServer("openai", encoder=ColourEncoder(), rule="nearest") as running:
        yield running


def test_models_says_where_a_key_is_from_and_never_the_key(cli, monkeypatch):
    before = json.loads(cli("models", "--json").stdout)["models"]
    openai = next(m for m in before if m["name"] == PRICED)
    assert (openai["configured"], openai["ready"], openai["key_from"]) == (False, False, "")
    assert openai["capabilities"]["max_enum"] == 1000
    assert openai["capabilities"]["date"]
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    result = cli("models", "--json")
    assert KEY not in result.output
    after = next(m for m in json.loads(result.stdout)["models"] if m["name"] == PRICED)
    assert (after["ready"], after["key_from"]) == (True, "OPENAI_API_KEY")


def test_models_as_csv_has_one_line_each(cli, rows):
    got = rows(cli("models").stdout)
    assert len(got) == len({row["model"] for row in got}) > 10
    by_name = {row["model"]: row for row in got}
    assert by_name["ollama:llava"]["USD in"] == "0"
    assert by_name["openai-compatible:NAME"]["USD in"] in ("", "0")
    ready = {row["model"] for row in rows(cli("models", "--configured").stdout)}
    assert ready == {row["model"] for row in got if row["ready"] == "true"}
    assert PRICED not in ready


def test_copied_prompts_can_be_given_back(cli, shapes):
    result = cli("models", "--copy-prompts", "mine")
    assert result.exit_code == 0, result.output
    assert any(Path("mine").iterdir())
    common = ("estimate", shapes, "--labels", EVERY_LABEL, "--model", PRICED, "--json")
    plain = json.loads(cli(*common).stdout)
    same = cli(*common, "--prompt-dir", "mine")
    assert same.exit_code == 0, same.output
    assert json.loads(same.stdout)["input_tokens"] == plain["input_tokens"]


def test_estimate_needs_no_key_and_agrees_with_what_the_run_paid(cli, shapes, server, monkeypatch):
    options = (shapes, "--labels", EVERY_LABEL, "--model", PRICED)
    before = cli("estimate", *options, "--json")
    assert before.exit_code == 0, before.output
    said = json.loads(before.stdout)
    assert (said["n_images"], said["n_asked"], said["n_requests_kept"]) == (9, 9, 0)
    assert said["cost_usd"] == said["cost_usd_to_pay"] > 0
    assert said["cost_usd_batch"] == pytest.approx(said["cost_usd"] / 2)
    assert said["image_tokens_in_words"].startswith("32 x 32 patches begun")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    run = cli("classify", *options, "--base-url", server.base_url, "--json")
    paid = json.loads(run.stdout)["predictions"]
    assert server.stats.n_requests == said["n_requests"]
    assert sum(row["input_tokens"] for row in paid) == pytest.approx(said["input_tokens"], rel=0.05)
    elsewhere = json.loads(cli("estimate", *options, "--json").stdout)
    assert elsewhere["n_requests_kept"] == 0  # another server's answers are no answers of OpenAI's
    there = ("--base-url", server.base_url, "--json")
    after = json.loads(cli("estimate", *options, *there).stdout)
    assert after["n_requests_kept"] == after["n_requests"]
    assert (after["cost_usd_to_pay"], after["seconds"]) == (0, 0)
    assert (after["max_cost_to_begin"], after["max_cost_to_end"]) == (0, 0)
    assert after["cost_usd"] == said["cost_usd"]


def test_the_caps_that_estimate_names_let_the_first_request_out_and_all_of_them(
    cli, shapes, server, monkeypatch
):
    options = (shapes, "--labels", EVERY_LABEL, "--model", PRICED, "--images-per-request", 1)
    result = cli("estimate", *options, "--json")
    said = json.loads(result.stdout)
    begins, ends = (Decimal(repr(said[f"max_cost_to_{when}"])) for when in ("begin", "end"))
    assert Decimal(repr(said["cost_usd"])) < ends == pytest.approx(9 * begins, rel=Decimal("0.2"))
    named = re.search(r"from (\S+) USD on begins, and (\S+) USD surely suffices", result.stderr)
    assert [0 <= Decimal(x) / cap - 1 < Decimal("0.1") for x, cap in
            zip(named.groups(), (begins, ends), strict=True)] == [True, True]  # fmt: skip
    monkeypatch.setenv("OPENAI_API_KEY", KEY)

    def run(cap):
        one = ("--max-cost", cap, "--max-concurrency", 1, "--no-reuse")
        code = cli("classify", *options, "--base-url", server.base_url, *one).exit_code
        return code, server.stats.n_requests

    assert run(begins * Decimal("0.99")) == (3, 0)
    assert run(begins) == (3, 1)
    assert run(ends) == (0, 10)


def test_estimate_of_examples_counts_them_in_every_request(cli, parted):
    common = ("estimate", parted / "test", "--model", PRICED, "--images-per-request", 1, "--json")
    direct = json.loads(cli(*common, "--labels", EVERY_LABEL).stdout)
    shown = json.loads(cli(*common, "--examples", parted / "train", "--shots", 2).stdout)
    assert direct["n_requests"] == shown["n_requests"] == 6
    assert shown["image_tokens"] == 7 * direct["image_tokens"]
    assert shown["cost_usd_prefix_cached"] < shown["cost_usd"]


def test_estimated_time_follows_slots_and_limits(cli, shapes):
    common = (
        "estimate",
        shapes,
        "-l",
        EVERY_LABEL,
        "--model",
        PRICED,
        "--images-per-request",
        1,
        "--json",
    )

    def seconds(*more):
        return json.loads(cli(*common, "--latency", 2, *more).stdout)["seconds"]

    assert seconds() == 2
    assert seconds("--max-concurrency", 3) == 6
    assert seconds("--rpm", 3) == 180


def test_unknown_price_is_unknown_and_own_models_are_free(cli, shapes):
    options = ("estimate", shapes, "--labels", EVERY_LABEL)
    unknown = json.loads(cli(*options, "--model", "openai:unheard-of", "--json").stdout)
    assert unknown["cost_usd"] is None
    assert unknown["input_tokens"] > 0
    printed = cli(*options, "--model", "openai:unheard-of")
    assert "is not known; `showtell models` lists known ones" in printed.stderr
    facts = dict(csv.reader(io.StringIO(printed.stdout)))
    assert facts["cost_usd"] == ""
    assert facts["n_asked"] == "9"
    own = json.loads(cli(*options, "--model", "ollama:llava", "--json").stdout)
    assert own["cost_usd"] == 0
    assert own["cost_usd_batch"] is None
    assert (unknown["max_cost_to_begin"], own["max_cost_to_begin"]) == (None, 0)
    assert "--max-cost" not in printed.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "Which model?"),
        (("--model", "opnai:gpt"), "Close: 'openai'"),
        (("--model", PRICED, "--method", "linear"), "with --encoder go zero-shot"),
    ],
)
def test_estimate_of_no_model_is_told(cli, shapes, arguments, said):
    result = cli("estimate", shapes, "--labels", EVERY_LABEL, *arguments)
    assert result.exit_code == 2
    assert said in result.stderr


def test_compare_runs_models_and_encoders_on_the_same_images(cli, parted, server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    result = cli(
        "compare", parted, "--methods", "zero-shot,direct,in-context", "--shots", 1,
        "--model", PRICED, "--base-url", server.base_url, "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    value = json.loads(result.stdout)
    costs = {row["name"]: row["cost_usd"] for row in value["records"]}
    assert costs["in-context"] > costs["direct"] > 0
    assert not costs["zero-shot"]
    assert {len(r.images) - len(r.ids) for r in server.requests} == {0, 3}
    assert " USD for " in result.stderr


def test_one_cap_holds_for_all_methods_compared(cli, parted, server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    result = cli(
        "compare", parted, "--methods", "direct,in-context", "--model", PRICED,
        "--base-url", server.base_url, "--max-requests", server_requests_of_direct(parted),
    )  # fmt: skip
    assert result.exit_code == 3, result.output
    assert server.stats.n_requests == server_requests_of_direct(parted)


def server_requests_of_direct(parted) -> int:
    """As many as asking about the test images takes, so that nothing is left for the next."""
    from showtell import DirectClassifier

    clf = DirectClassifier(PRICED, labels=LABELS).fit()
    return len(list(clf.requests(sorted((parted / "test").rglob("*.*")))))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--methods", "zero-shot,direct"), "name one with --model"),
        (("--methods", "zero-shot,prototype", "--model", PRICED), "Add one of them"),
    ],
)
def test_compare_needs_a_model_where_one_is_asked(cli, parted, arguments, said):
    result = cli("compare", parted, *arguments)
    assert result.exit_code == 2
    assert said in result.stderr


def test_fusion_asks_twice_an_image_and_is_priced_before(cli, shapes, server, rows, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    asked = ("--labels", EVERY_LABEL, "--method", "fusion", "--model", PRICED)
    before = json.loads(cli("estimate", shapes, *asked, "--json").stdout)
    assert before["n_requests"] == 18
    done = cli("classify", shapes, *asked, "--base-url", server.base_url)
    assert done.exit_code == 0, done.output
    found = rows(done.stdout)
    assert {row["status"] for row in found} == {"ok"}
    assert all(row["label"] in row["image"] for row in found)
    assert all(row["description"] and row["guess"] in LABELS for row in found)
    assert server.stats.n_requests == 18


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--shots", "2"), "does not take --shots"),
        (("--n-samples", "3"), "does not take --n-samples"),
        (("--calibrate", "5"), "give some with --examples DIR"),
    ],
)
def test_fusion_refuses_what_belongs_to_other_methods(cli, shapes, monkeypatch, more, said):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    done = cli(
        "classify", shapes, "--labels", EVERY_LABEL, "--method", "fusion", "--model", PRICED, *more
    )
    assert done.exit_code == 2
    assert said in " ".join(done.stderr.split())
