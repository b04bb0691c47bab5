"""Multimodal LLMs from the command line, through real clients to a local server that looks."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.cli.conftest import LABELS

from showtell.testing import ColourEncoder, make_images

pytest.importorskip("uvicorn", reason="local servers need the extra mllm")
pytest.importorskip("openai", reason="needs the extra openai")
servers = pytest.importorskip("showtell.testing.servers")

KEY = "sk-planted-0123456789abcdef"
PRICED = "openai:gpt-4.1-mini"
EVERY_LABEL = ",".join(LABELS)


@pytest.fixture(scope="module")
def server():
    with servers.LocalServer("all", encoder=ColourEncoder(), rule="nearest") as running:
        yield running


@pytest.fixture(autouse=True)
def _alone(monkeypatch, tmp_path):
    """A key, and a cache of answers that no other test has filled."""
    for name in ("OPENAI_API_KEY", "GOOGLE_API_KEY", "ANTHROPIC_API_KEY"):
        monkeypatch.setenv(name, KEY)
    for name in ("OPENAI_BASE_URL", "GEMINI_API_KEY", "OPENROUTER_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SHOWTELL_CACHE_DIR", str(tmp_path / "cache"))


@pytest.fixture
def ask(cli, server):
    """``ask("classify", folder, ...)`` with a priced model at the local server."""

    def run(*arguments, model=PRICED, url=None, **more):
        at = ("--model", model, "--base-url", url or server.url_for("openai"))
        result = cli(*arguments, *at, **more)
        assert KEY not in result.output
        return result

    return run


def test_rows_tell_label_and_cost(ask, shapes, rows):
    result = ask("classify", shapes, "--labels", EVERY_LABEL)
    assert result.exit_code == 0, result.output
    got = rows(result.stdout)
    assert list(got[0]) == [
        "image", "label", "confidence", "status", "error", "cost_usd", "input_tokens",
        "output_tokens", "from_cache", "seconds", "reason",
    ]  # fmt: skip
    assert all(row["label"] == Path(row["image"]).parent.name for row in got)
    assert all(float(row["cost_usd"]) > 0 and "E" not in row["cost_usd"] for row in got)
    assert {row["from_cache"] for row in got} == {"false"}
    assert "9 images: 9 ok, 0 errors" in result.stderr
    assert " USD for " in result.stderr


def test_second_run_costs_nothing_and_says_so(ask, shapes, server):
    first = ask("classify", shapes, "--labels", EVERY_LABEL, "--json")
    n_before = server.stats.n_requests
    second = ask("classify", shapes, "--labels", EVERY_LABEL, "--json")
    assert server.stats.n_requests == n_before
    assert "0 USD: all 9 answers were there already" in second.stderr
    rows = json.loads(second.stdout)["predictions"]
    assert {row["from_cache"] for row in rows} == {True}
    assert sum(row["cost_usd"] for row in rows) == 0
    paid = json.loads(first.stdout)["predictions"]
    assert [row["label"] for row in rows] == [row["label"] for row in paid]
    assert sum(row["cost_usd"] for row in paid) > 0


def test_no_reuse_asks_again_and_warns(ask, shapes, server):
    for _ in range(2):
        n_before = server.stats.n_requests
        result = ask("classify", shapes, "--labels", EVERY_LABEL, "--no-reuse")
        assert server.stats.n_requests > n_before
        assert "keeps no answers and begins anew" in result.stderr


def test_examples_are_shown_and_names_stay_home(ask, parted, rows, server):
    n_before = len(server.requests)
    result = ask(
        "classify", parted / "test", "--examples", parted / "train", "--shots", 2, "--anonymise"
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert all(row["label"] == Path(row["image"]).parent.name for row in rows(result.stdout))
    sent = server.requests[n_before:]
    assert sent
    assert {len(r.images) - len(r.ids) for r in sent} == {6}
    said = " ".join(text for r in sent for text in r.texts)
    assert "class_2" in said
    assert not any(label in said for label in LABELS)


@pytest.mark.parametrize(
    ("more", "shown"),
    [((), 12), (("--shots", 0), 0), (("--method", "direct"), 0), (("--shots", 1), 3)],
)
def test_evaluate_asks_directly_or_shows_training_images(ask, parted, more, shown, server):
    n_before = len(server.requests)
    result = ask("evaluate", parted, *more, "--json")
    assert result.exit_code == 0, result.output
    record = json.loads(result.stdout)
    assert record["n_samples"] == 6
    assert record["accuracy"] == 1.0
    assert record["cost_usd"] > 0
    assert {len(r.images) - len(r.ids) for r in server.requests[n_before:]} == {shown}


def test_cap_stops_with_3_and_a_higher_one_goes_on(ask, shapes, server, rows):
    common = ("classify", shapes, "--labels", EVERY_LABEL, "--images-per-request", 1)
    n_before = server.stats.n_requests
    stopped = ask(*common, "--max-requests", 4)
    assert stopped.exit_code == 3
    assert sum(row["status"] == "ok" for row in rows(stopped.stdout)) == 4
    assert "4 of --max-requests 4 are sent" in stopped.stderr
    assert "run the same command again" in stopped.stderr
    resumed = ask(*common, "--max-requests", 5, "--json")
    assert resumed.exit_code == 0, resumed.output
    assert server.stats.n_requests - n_before == 9
    assert sum(r["from_cache"] for r in json.loads(resumed.stdout)["predictions"]) == 4


def test_dollar_cap_is_kept(ask, shapes):
    result = ask("classify", shapes, "--labels", EVERY_LABEL, "--max-cost", "0.000001")
    assert result.exit_code == 3
    assert "0.0000 of --max-cost 0.000001 USD" in result.stderr


def test_dollar_cap_needs_a_known_price(ask, shapes):
    result = ask("classify", shapes, "-l", "a,b", "--max-cost", 1, model="openai:nobody-knows-it")
    assert result.exit_code == 2
    assert "price of this model is not known" in result.stderr
    assert "--max-requests" in result.stderr


def test_unknown_price_is_unknown(ask, shapes, rows):
    result = ask("classify", shapes, "--labels", EVERY_LABEL, model="openai:nobody-knows-it")
    assert {row["cost_usd"] for row in rows(result.stdout)} == {""}
    assert "price unknown for " in result.stderr


def test_run_folder_resumes_and_refuses_other_requests(ask, shapes, server):
    common = ("classify", shapes, "--labels", EVERY_LABEL, "--no-reuse", "--images-per-request", 1)
    stopped = ask(*common, "--run", "kept", "--max-requests", 4)
    assert stopped.exit_code == 3
    assert Path("kept/journal.jsonl").is_file()
    n_before = server.stats.n_requests
    done = ask(*common, "--run", "kept", "--max-requests", 20)
    assert done.exit_code == 0, done.output
    assert server.stats.n_requests - n_before == 5
    totals = json.loads(Path("kept/run.json").read_text())["totals"]
    assert totals["ok"] == 9
    assert float(totals["cost_usd"]) > 0
    other = ask(*common, "--run", "kept", "--max-side", 512)
    assert other.exit_code == 2
    assert "max_side was 768 and is 512" in other.stderr
    for file in Path("kept").iterdir():
        assert KEY.encode() not in file.read_bytes()


def test_one_cap_holds_for_a_whole_curve(ask, parted, server):
    n_before = server.stats.n_requests
    result = ask(
        "evaluate", parted, "--curve", "--curve-shots", "1,2", "--seeds", 2, "--max-requests", 2,
        "--no-check-duplicates",
    )  # fmt: skip
    assert result.exit_code == 3
    assert server.stats.n_requests - n_before == 2


def test_calibration_asks_about_labelled_images(ask, parted, server):
    n_before = len(server.requests)
    result = ask("evaluate", parted, "--shots", 0, "--calibrate", 6, "--json")
    assert result.exit_code == 0, result.output
    assert sum(len(r.ids) for r in server.requests[n_before:]) == 12
    assert json.loads(result.stdout)["accuracy"] == 1.0


def test_rotations_and_a_correction_are_asked_estimated_and_recorded(ask, shapes, server):
    common = (shapes, "--labels", EVERY_LABEL, "--rotations", "all", "--debias", "contextual",
              "--no-reuse")  # fmt: skip
    planned = json.loads(ask("estimate", *common, "--json").stdout)
    n_labels = len(EVERY_LABEL.split(","))
    assert planned["n_asked"] == n_labels * (9 + 3)
    n_before = len(server.requests)
    result = ask("classify", *common, "--run", "turned")
    assert result.exit_code == 0, result.output
    sent = server.requests[n_before:]
    assert len(sent) == planned["n_requests"]
    assert sum(len(r.ids) for r in sent) == planned["n_asked"]
    request = json.loads(Path("turned/run.json").read_text())["request"]
    assert "contextual" in json.dumps(request)
    other = ask("classify", *common[:-3], "--no-reuse", "--run", "turned")
    assert other.exit_code == 2
    assert "debias was" in other.stderr


def test_a_correction_without_probabilities_names_the_flags(ask, shapes):
    result = ask("classify", shapes, "--labels", EVERY_LABEL, "--debias", "batch")
    assert result.exit_code == 2
    assert "Set --rotations (or --n-samples) to 2 or more" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--method", "linear", "--model", PRICED), "with --encoder go zero-shot"),
        (("--method", "direct"), "name one with --model provider:name"),
        (("--anonymise",), "--anonymise is about asking a multimodal LLM"),
        (("--model", PRICED, "--anonymise"), "--anonymise belongs to in-context"),
        (("--model", PRICED, "--method", "in-context"), "--examples DIR"),
        (("--model", PRICED, "--templates", "plain"), "--templates belongs to zero-shot"),
        (("--model", PRICED, "--method", "direct", "--shots", "2"), "does not take --shots"),
        (("--model", PRICED, "--max-cost", "much"), "--max-cost must be a number"),
        (
            ("--model", PRICED, "--images-per-request", "many"),
            "--images-per-request is a whole number or 'auto'",
        ),
        (("--model", "openal:gpt"), "Close: 'openai'"),
        (("--model", "gpt-4.1-mini"), "A model is named 'provider:name'"),
        (("--model", PRICED, "--confidence-from", "votes"), "--n-samples"),
    ],
)
def test_wrong_use_is_told_in_one_line(cli, shapes, arguments, said):
    result = cli("classify", shapes, "--labels", EVERY_LABEL, *arguments)
    assert result.exit_code == 2, result.output
    assert said in result.stderr
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""


def test_command_line_wins_over_a_model_of_the_settings(cli, ask, shapes, server):
    Path("showtell.toml").write_text('model = "openai:gpt-4.1-mini"\nmax-cost = 1\n')
    n_before = server.stats.n_requests
    named = ("--config", "showtell.toml")
    result = cli("classify", shapes, "--labels", EVERY_LABEL, "--method", "zero-shot", *named)
    assert result.exit_code == 0, result.output
    assert server.stats.n_requests == n_before
    Path("showtell.toml").write_text('method = "zero-shot"\n')
    result = ask("classify", shapes, "--labels", EVERY_LABEL)
    assert result.exit_code == 0, result.output
    assert server.stats.n_requests > n_before


def test_missing_key_is_known_before_anything_is_read(cli, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    Path("empty").mkdir()
    result = cli("classify", "empty/", "--labels", "a,b", "--model", PRICED)
    assert result.exit_code == 1
    assert "Set OPENAI_API_KEY" in result.stderr


def test_refused_key_fails_and_is_never_printed(ask, shapes):
    with servers.LocalServer("openai", encoder=ColourEncoder(), api_keys=["right"]) as strict:
        result = ask("classify", shapes, "--labels", EVERY_LABEL, "--debug", url=strict.base_url)
    assert result.exit_code == 1
    assert ",ok," not in result.stdout


def test_faults_are_rows_or_asked_again(ask, shapes, rows):
    faults = "500=0.2,drop=0.2,broken-json=0.1"
    with servers.LocalServer(
        "openai", encoder=ColourEncoder(), rule="nearest", faults=faults, seed=3
    ) as bad:
        result = ask("classify", shapes, "--labels", EVERY_LABEL, url=bad.base_url)
    assert result.exit_code == 0
    got = rows(result.stdout)
    assert len(got) == 9
    for row in got:
        assert (row["status"] == "ok") == (row["label"] == Path(row["image"]).parent.name)
        assert row["status"] == "ok" or row["reason"]


def test_unreadable_images_cost_nothing(ask, shapes, rows):
    Path("shapes/a.jpg").write_text("This is a shopping list.")
    result = ask("classify", shapes, "--labels", EVERY_LABEL)
    assert result.exit_code == 0
    bad = next(row for row in rows(result.stdout) if row["image"].endswith("a.jpg"))
    assert (bad["status"], float(bad["cost_usd"]), bad["reason"]) == ("error", 0.0, "image")


@pytest.mark.skipif(os.name == "nt", reason="Ctrl-C is sent as a Unix signal")
def test_ctrl_c_ends_with_3_and_resumes(tmp_path):
    make_images(tmp_path / "many", labels=LABELS, n_per_label=8)
    program = [sys.executable, "-c", "from showtell.cli.main import run; run()"]
    with servers.LocalServer("openai", encoder=ColourEncoder(), latency=0.4) as slow:
        arguments = [
            "classify", str(tmp_path / "many"), "--labels", EVERY_LABEL,
            "--images-per-request", "1", "--max-concurrency", "2", "--model", PRICED,
            "--base-url", slow.base_url,
        ]  # fmt: skip
        process = subprocess.Popen(
            [*program, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        until = time.monotonic() + 300
        while slow.stats.n_answered < 3 and time.monotonic() < until:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=300)
        assert process.returncode == 3, err
        assert "showtell: Stopped. Answers that were paid for are kept" in err
        assert "Traceback" not in err
        got = list(csv.DictReader(io.StringIO(out)))
        assert [row["image"] for row in got] == sorted(map(str, tmp_path.rglob("many/*/*.png")))
        n_ok = sum(row["status"] == "ok" for row in got)
        assert 3 <= n_ok < 24
        assert {row["error"] for row in got if row["status"] != "ok"} == {
            "stopped by Ctrl-C; run the same command again to go on"
        }
        n_before = slow.stats.n_requests
        done = subprocess.run(
            [*program, *arguments], capture_output=True, text=True, timeout=600, check=False
        )
        assert done.returncode == 0, done.stderr
        assert slow.stats.n_requests == 24
        assert n_before < 24
