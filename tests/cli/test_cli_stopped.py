"""Stopped by a cap: every input has its row all the same, and a later run pays for the rest."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
from tests.cli.conftest import LABELS

from showtell.testing import ColourEncoder, make_images

pytest.importorskip("uvicorn", reason="local servers need the extra mllm")
pytest.importorskip("openai", reason="needs the extra openai")
servers = pytest.importorskip("showtell.testing.servers")

MODEL = "openai:gpt-4.1-mini"
EVERY_LABEL = ",".join(LABELS)
N = 12


@pytest.fixture
def server():
    with servers.LocalServer("openai", encoder=ColourEncoder()) as running:
        yield running


@pytest.fixture
def many(workplace):
    """``many/``: 12 pictures in a folder."""
    make_images(workplace / "many", labels=LABELS, n_per_label=N // 3)
    return Path("many")


@pytest.fixture
def parted(workplace):
    """``parted/``: the same in a folder per label."""
    for label in LABELS:
        make_images(workplace / "parted" / label, labels=[label], n_per_label=N // 3)
    return Path("parted")


@pytest.fixture
def ask(cli, server, monkeypatch):
    """Ask about one picture per request, and keep no answers but in run folders."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-planted-0123456789abcdef")

    def run(*arguments):
        several = {"fusion", "evolving"} & set(arguments)
        one = () if several else ("--images-per-request", "1")
        return cli(*arguments, "--model", MODEL, "--base-url", server.base_url, *one, "--no-reuse")

    return run


@pytest.mark.parametrize("cap", [("--max-requests", "5"), ("--max-cost", "0.0075")])
def test_every_input_has_a_row_and_a_second_run_pays_only_for_the_rest(
    ask, server, many, rows, cap
):
    common = ("classify", many, "--labels", EVERY_LABEL, "--run", "kept", "-o", "rows.csv")
    first = ask(*common, *cap, "--max-concurrency", "1")
    assert first.exit_code == 3, first.output
    assert "showtell: Stopped at the cap" in first.stderr
    got = rows(Path("rows.csv").read_text())
    assert [row["image"] for row in got] == sorted(str(path) for path in many.rglob("*.png"))
    done = [row for row in got if row["status"] == "ok"]
    n_done = server.stats.n_answered
    assert 0 < len(done) == n_done < N
    assert all(float(row["cost_usd"]) > 0 for row in done)
    amount = "5 requests" if cap[0] == "--max-requests" else "0.0075 USD"
    for row in got:
        if row["status"] != "ok":
            assert (row["status"], row["reason"], row["label"]) == ("error", "stopped", "")
            assert row["error"] == (
                f"stopped by the cap of {amount}; raise it and run the same command again to go on"
            )
    folder = json.loads(Path("kept/run.json").read_text())
    assert folder["state"] == "stopped"
    assert folder["totals"]["ok"] == n_done
    # The same cap is a cap of the run: nothing more is paid, and nothing is forgotten.
    second = ask(*common, *cap, "--max-concurrency", "1")
    assert second.exit_code == 3
    assert server.stats.n_answered == n_done
    again = rows(Path("rows.csv").read_text())
    assert [row["status"] for row in again] == [row["status"] for row in got]
    last = ask(*common)
    assert last.exit_code == 0, last.output
    got = rows(Path("rows.csv").read_text())
    assert [row["status"] for row in got] == ["ok"] * N
    assert sum(row["from_cache"] == "true" for row in got) == n_done
    assert server.stats.n_answered == N
    assert json.loads(Path("kept/run.json").read_text())["state"] == "finished"


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        ((), "No answer was kept in a cache or a run folder."),
        (("--run", "kept"), "Answers that were paid for are kept: run the same command again"),
    ],
)
def test_ctrl_c_while_the_model_is_loaded_speaks_of_answers(
    ask, server, many, monkeypatch, options, hint
):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("showtell.mllm.load_mllm", stop)
    result = ask("classify", many, "--labels", EVERY_LABEL, *options)
    assert result.exit_code == 3
    assert f"showtell: Stopped. {hint}" in result.stderr
    assert "embedded" not in result.stderr
    assert server.stats.n_answered == 0


def test_rows_come_on_stdout_and_as_json_too(ask, many, rows):
    stopped = ("classify", many, "--labels", EVERY_LABEL, "--max-requests", "2")
    result = ask(*stopped)
    assert result.exit_code == 3
    assert [row["status"] for row in rows(result.stdout)].count("error") == N - 2
    result = ask(*stopped, "--json")
    assert result.exit_code == 3
    said = json.loads(result.stdout)
    assert (said["n_images"], said["counts"]["ok"]) == (N, 2)


def test_an_evaluation_that_is_stopped_keeps_its_rows_and_gives_no_score(ask, parted, rows):
    result = ask("evaluate", parted, "--max-requests", "4", "-o", "rows.csv")
    assert result.exit_code == 3, result.output
    got = rows(Path("rows.csv").read_text())
    assert len(got) == N
    assert sum(row["status"] == "ok" for row in got) == 4
    assert result.stdout == ""
    assert "accuracy" not in result.stderr


def test_what_may_be_billed_on_top_is_told(ask, many):
    from showtell.mllm import Request
    from showtell.mllm.call.journal import Journal

    common = ("classify", many, "--labels", EVERY_LABEL, "--run", "kept")
    assert ask(*common, "--max-requests", "3").exit_code == 3
    with Journal("kept") as journal:  # as a process leaves it that is killed with one in flight
        journal.write("asking", key=Request(model="m", system="", parts=()).key,
                      estimate_usd="0.0021")  # fmt: skip
    result = ask(*common)
    assert result.exit_code == 0, result.output
    assert "1 request of this run broke off" in result.stderr
    assert "may be billed on top: at most 0.0021 USD" in result.stderr
    totals = json.loads(Path("kept/run.json").read_text())["totals"]
    assert (totals["n_requests_in_doubt"], totals["in_doubt_usd"]) == (1, "0.0021")


# Methods of several stages


@pytest.mark.parametrize("cap", ["1", "5", "11"])
def test_fusion_that_is_stopped_has_a_row_for_every_input_and_goes_on(ask, server, many, rows, cap):
    common = ("classify", many, "--labels", EVERY_LABEL, "--method", "fusion", "--run", "kept")
    first = ask(*common, "--max-requests", cap, "--max-concurrency", "1")
    assert first.exit_code == 3, first.output
    got = rows(first.stdout)
    assert [row["image"] for row in got] == sorted(str(path) for path in many.rglob("*.png"))
    n_done = sum(row["status"] == "ok" for row in got)
    assert n_done == int(cap) // 2  # both questions about an image were answered
    for row in got:
        if row["status"] != "ok":
            assert (row["status"], row["reason"], row["label"]) == ("error", "stopped", "")
            assert row["error"].startswith(f"stopped by the cap of {cap} request")
    paid = sum(int(row["input_tokens"]) > 0 for row in got)
    assert paid == -(-int(cap) // 2)  # what was half asked about was paid for too
    last = ask(*common)
    assert last.exit_code == 0, last.output
    assert [row["status"] for row in rows(last.stdout)] == ["ok"] * N
    assert server.stats.n_answered == 2 * N


def test_fusion_that_ctrl_c_ends_has_a_row_for_every_input(ask, many, rows, monkeypatch):
    from showtell.mllm import structured

    answered = []
    real = structured._check

    def check(*arguments):
        answered.append(arguments)
        if len(answered) == 7:
            os.kill(os.getpid(), signal.SIGINT)
        return real(*arguments)

    monkeypatch.setattr(structured, "_check", check)
    result = ask("classify", many, "--labels", EVERY_LABEL, "--method", "fusion", "--run", "kept",
                 "--max-concurrency", "1")  # fmt: skip
    assert result.exit_code == 3, result.output
    got = rows(result.stdout)
    assert len(got) == N
    done = [row["status"] for row in got].count("ok")
    assert 3 <= done < N
    assert {row["error"] for row in got if row["status"] != "ok"} == {
        "stopped by Ctrl-C; run the same command again to go on"
    }


@pytest.mark.parametrize("stop", ["cap", "Ctrl-C"])
@pytest.mark.parametrize("output", ["rows.csv", None])
def test_what_is_stopped_while_it_learns_has_a_row_for_every_input(
    ask, many, parted, rows, stop, output, monkeypatch
):
    cap = ("--max-requests", "1") if stop == "cap" else ()
    if stop == "Ctrl-C":
        from showtell.mllm import structured

        real = structured._check

        def check(*arguments):
            os.kill(os.getpid(), signal.SIGINT)
            return real(*arguments)

        monkeypatch.setattr(structured, "_check", check)
    told = () if output is None else ("-o", output)
    result = ask("classify", many, "--examples", parted, "--method", "evolving", "--run", "kept",
                 *cap, *told)  # fmt: skip
    assert result.exit_code == 3, result.output
    got = rows(Path(output).read_text() if output else result.stdout)
    assert [row["image"] for row in got] == sorted(str(path) for path in many.rglob("*.png"))
    assert {row["status"] for row in got} == {"error"}
    assert all(row["error"].startswith("stopped by") for row in got)
