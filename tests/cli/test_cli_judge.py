"""`showtell judge`: by labels without a model, by a local server with a planted habit, resumed."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from showtell.testing import ColourEncoder, make_images

pytest.importorskip("openai", reason="needs the extra openai")
pytest.importorskip("uvicorn", reason="local servers need the extra mllm")
servers = pytest.importorskip("showtell.testing.servers")

LABELS = ("red circle", "blue square")


def write(path, rows):
    with Path(path).open("w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        writer.writerows(rows)


@pytest.fixture
def tables(workplace):
    """20 pictures; good.csv names each, bad.csv the other colour in three of four."""
    make_images("photos", labels=LABELS, n_per_label=10)
    names = sorted(str(p.relative_to("photos")) for p in Path("photos").rglob("*.png"))
    truth = [Path(name).parts[0] for name in names]
    other = {LABELS[0]: LABELS[1], LABELS[1]: LABELS[0]}
    bad = [other[label] if i % 4 else label for i, label in enumerate(truth)]
    for file, labels in (("good", truth), ("bad", bad), ("actual", truth)):
        write(
            f"{file}.csv",
            [
                {"image": name, "label": label, "seconds": 2, "cost_usd": "0.001"}
                for name, label in zip(names, labels, strict=True)
            ],
        )
    return names


@pytest.fixture
def serve(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-planted-0123456789abcdef")
    running = []

    def start(**settings):
        server = servers.LocalServer("openai", encoder=ColourEncoder(), **settings).start()
        running.append(server)
        return server

    yield start
    for server in running:
        server.stop()


def asking(server, *more):
    return ("--model", "openai:gpt-4.1-mini", "--base-url", server.base_url, *more)


def test_with_true_labels_nobody_is_asked(cli, tables, rows):
    result = cli("judge", "good.csv", "bad.csv", "--actual", "actual.csv")
    assert result.exit_code == 0
    found = rows(result.stdout)
    assert len(found) == 20
    assert sum(row["verdict"] == "first" for row in found) == 15
    assert "good is better: win rate of good 0.875" in result.stderr
    assert "0 questions" in result.stderr


def test_a_judge_that_looks_finds_the_better_one(cli, tables, serve, rows):
    server = serve()
    result = cli("judge", "good.csv", "bad.csv", *asking(server), "--images", "photos")
    assert result.exit_code == 0
    assert "good is better, according to openai:gpt-4.1-mini" in result.stderr
    found = rows(result.stdout)
    assert len(found) == server.stats.n_answered == 30  # five pairs are the same words
    assert {row["order"] for row in found} == {"AB", "BA"}
    assert all(row["image"] in tables for row in found)
    assert " USD for 30 requests" in result.stderr


def test_a_planted_habit_is_found_out_and_moves_nothing(cli, tables, serve):
    server = serve(bias=servers.Bias(first=1.0))
    result = cli("judge", "good.csv", "bad.csv", *asking(server), "--images", "photos", "--json")
    assert result.exit_code == 0
    [pair] = json.loads(result.stdout)["pairs"]
    assert pair["position_bias"] == 1.0
    assert pair["consistency"] == 0.0
    assert pair["win_rate"] == 0.5
    assert "cannot be told" in result.stderr
    assert "prefers whoever stands first: both times in 15 of 15 pairs" in result.stderr


def test_the_plan_costs_nothing_and_is_what_is_paid(cli, tables, serve):
    server = serve()
    more = ("judge", "good.csv", "bad.csv", *asking(server), "--images", "photos")
    plan = cli(*more, "--dry-run", "--json")
    assert plan.exit_code == 0
    told = json.loads(plan.stdout)
    assert told["n_requests"] == 30
    assert told["pairs_needed_for_10_points"] == 581  # 7.849 (.75 - .01) / .01
    assert server.stats.n_requests == 0
    cli(*more)
    assert server.stats.n_answered == 30


def test_a_cap_stops_and_the_same_command_goes_on(cli, tables, serve):
    server = serve()
    more = ("judge", "good.csv", "bad.csv", *asking(server), "--images", "photos", "--run", "run")
    first = cli(*more, "--max-requests", "7", "--no-reuse")
    assert first.exit_code == 3
    n = server.stats.n_answered
    assert 0 < n <= 7
    second = cli(*more, "--no-reuse")
    assert second.exit_code == 0
    assert server.stats.n_answered == 30
    assert {p.name for p in Path("run").iterdir()} >= {"run.json", "verdicts.csv", "report.html"}
    other = cli(*more[:2], "good.csv", *more[3:])
    assert other.exit_code == 2


def test_killed_in_the_middle_it_asks_nothing_twice(tables, serve, monkeypatch):
    """The process is killed with -9 while it asks; the same command asks only for the rest."""
    server = serve(latency=0.05, bill_gone=True)
    command = [
        sys.executable, "-m", "showtell", "judge", "good.csv", "bad.csv",
        *asking(server, "--max-concurrency", "2"), "--images", "photos", "--run", "run",
        "--no-reuse", "--json",
    ]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        while server.stats.n_answered < 8 and process.poll() is None:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert process.returncode == -signal.SIGKILL
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert dict(server.stats.written) == {"judge-pair": 30}  # each question is paid for once
    assert json.loads(done.stdout)["pairs"][0]["n_judged"] == 20


def test_a_persons_sample_is_drawn_filled_in_and_used(cli, tables, serve):
    made = cli("judge", "good.csv", "bad.csv", "--export-human", "pairs.csv", "--n-human", "6")
    assert made.exit_code == 0
    with Path("pairs.csv").open() as stream:
        pairs = list(csv.DictReader(stream))
    assert len(pairs) == 6
    assert set(pairs[0]) == {"image", "first", "second", "verdict"}
    for pair in pairs:
        right = Path(pair["image"]).parts[0]
        pair["verdict"] = "first" if pair["first"] == right else "second"
    write("pairs.csv", pairs)
    result = cli(
        "judge", "good.csv", "bad.csv", *asking(serve()), "--images", "photos", "--human",
        "pairs.csv",
    )  # fmt: skip
    assert result.exit_code == 0
    assert "corrected by 6 pairs of a person" in result.stderr


def test_three_tables_are_ranked_with_time_and_price(cli, tables):
    Path("also.csv").write_bytes(Path("bad.csv").read_bytes())
    result = cli(
        "judge", "good.csv", "bad.csv", "also.csv", "--actual", "actual.csv", "--json", "--report",
        "page.html",
    )  # fmt: skip
    told = json.loads(result.stdout)
    assert told["standings"][0]["name"] == "good"
    assert [one["accuracy"] for one in told["contestants"]] == [1.0, 0.25, 0.25]
    assert told["contestants"][0]["usd_per_1000"] == pytest.approx(1)
    page = Path("page.html").read_text()
    assert "Quality, time and price" in page
    assert "USD per 1,000 answers" in page


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["good.csv", "bad.csv"], "Who judges?"),
        (["good.csv"], "two tables"),
        (["good.csv", "nowhere.csv"], "nowhere.csv"),
        (["good.csv", "bad.csv", "--actual", "actual.csv", "--model", "openai:x"], "leave out"),
        (["good.csv", "bad.csv", "--model", "openai:x", "--images", "no"], "no folder of images"),
        (["good.csv", "bad.csv", "--actual", "actual.csv", "--answer-column", "x"], "'label'"),
        (["good.csv", "bad.csv", "--max-cost", "1"], "about asking"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(cli, tables, arguments, told):
    result = cli("judge", *arguments)
    assert result.exit_code in (1, 2)
    assert told in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_images_that_cannot_be_read_are_errors_and_no_ties(cli, tables, serve, rows):
    for name in tables[1:]:
        Path("photos", name).write_bytes(b"no picture")
    result = cli("judge", "good.csv", "bad.csv", *asking(serve()), "--images", "photos")
    failed = [row for row in rows(result.stdout) if row["status"] == "error"]
    assert failed
    assert all(row["verdict"] == "" and row["error"] for row in failed)
    assert "without a verdict" in result.stderr
