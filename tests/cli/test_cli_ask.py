"""`showtell ask`: answers, data, plans, caps and resumed runs through a local server."""

from __future__ import annotations

import csv
import io
import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from showtell.testing.world import draw_basket, draw_prices, draw_street, speak, write_clip

pytest.importorskip("openai", reason="needs the extra openai")
pytest.importorskip("uvicorn", reason="local servers need the extra mllm")
pytest.importorskip("av", reason="needs the extra video")
servers = pytest.importorskip("showtell.testing.servers")


@pytest.fixture
def serve(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-planted-0123456789abcdef")
    running = []

    def start(**settings):
        server = servers.LocalServer("openai", **settings).start()
        running.append(server)
        return server

    yield start
    for server in running:
        server.stop()


@pytest.fixture
def things(workplace):
    draw_basket({"apple": 3, "lime": 2}).save("basket.png")
    draw_prices([("apple", "$0.50", "each"), ("lime", "$1.20", "each")]).save("prices.png")
    shots = [("blue", "BAKERY"), ("red", "HOTEL SOL"), ("green", "BUS 28")]
    pictures = [draw_street(w, s, moved=i) for w, s in shots for i in range(10)]
    Path("walk.mp4").write_bytes(write_clip(pictures, rate=5, sound=speak("HOLA")))
    for i in (1, 2, 3):
        text = f"Supplier: Acme {i}\nNumber: 2026-{i}\nTotal: {i}.99\n"
        Path(f"invoice{i}.txt").write_text(text)


def asking(server, *more):
    return ("--model", "openai:try", "--base-url", server.base_url, *more)


def rows_in(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_a_basket_and_a_price_list_come_to_a_sum(cli, things, serve):
    result = cli("ask", "basket.png", "prices.png", "--schema", "receipt", *asking(serve()))
    assert result.exit_code == 0
    [row] = rows_in(result.stdout)
    assert (row["answer"], row["value"], row["unit"]) == ("3.90 USD.", "3.90", "USD")
    assert row["evidence"] == "A, B"
    assert [line["count"] for line in json.loads(row["calculation"])] == [3, 2]
    assert "Asking openai:try at" in result.stderr
    assert "1 question: 1 answered, 0 unknown, 0 failed" in result.stderr


def test_each_question_about_a_clip_has_its_row_and_frames_are_said(cli, things, serve):
    result = cli(
        "ask", "walk.mp4", "--from", "0:02", "-q", "Which signs are there?", "-q",
        "How many goats?", "--json", *asking(serve()),
    )  # fmt: skip
    assert result.exit_code == 0
    signs, goats = json.loads(result.stdout)["answers"]
    assert signs["answer"] == "HOTEL SOL, BUS 28"
    assert re.fullmatch(r"A@[23](\.\d)?, A@[45](\.\d)?", signs["evidence"])
    assert (goats["status"], goats["error"]) == ("abstained", "the material does not tell")
    assert "sent in another form: A: walk.mp4#0:02.0-" in result.stderr
    assert "its sound left out" in result.stderr


def test_data_of_many_files_make_a_table_with_a_row_each(cli, things, serve):
    result = cli(
        "ask", "invoice1.txt", "none.pdf", "invoice3.txt", "--schema", "invoice", "-o",
        "table.csv", *asking(serve()),
    )  # fmt: skip
    assert result.exit_code == 0
    rows = rows_in(Path("table.csv").read_text())
    assert [row["supplier"] for row in rows] == ["Acme 1", "", "Acme 3"]
    assert [row["status"] for row in rows] == ["ok", "error", "ok"]
    assert "no such file" in rows[1]["error"]
    assert rows[0]["due_date"] == ""


def test_a_table_may_name_files_and_questions(cli, things, serve):
    Path("asked.csv").write_text(
        "id,files,question\nfruit,basket.png,How many apples?\n"
        "both,basket.png; prices.png,How many limes?\n"
    )
    result = cli("ask", "--questions", "asked.csv", *asking(serve()))
    assert [(r["question_id"], r["answer"], r["inputs"]) for r in rows_in(result.stdout)] == [
        ("fruit", "3", "basket.png"),
        ("both", "2", "basket.png, prices.png"),
    ]


def test_a_plan_lists_what_would_be_sent_and_asks_nothing(cli, things, serve):
    server = serve()
    result = cli("ask", "walk.mp4", "-q", "Which signs?", "--dry-run", *asking(server))
    assert result.exit_code == 0
    assert server.stats.n_requests == 0
    assert "A: walk.mp4 (6 frames of 0:06.0, its sound left out)" in result.stderr
    values = {row["what"]: row["value"] for row in rows_in(result.stdout)}
    assert values["n_requests"] == "1"
    assert float(values["cost_usd"]) > 0


def test_at_a_cap_what_was_answered_is_shown_and_the_rest_is_named(cli, things, serve):
    server = serve()
    command = (
        "ask", "basket.png", "-q", "How many apples?", "-q", "How many limes?", "-q",
        "How many plums?", "--run", "kept", *asking(server),
    )  # fmt: skip
    stopped = cli(*command, "--max-requests", "2")
    assert stopped.exit_code == 3
    statuses = [row["status"] for row in rows_in(stopped.stdout)]
    assert sorted(statuses) == ["error", "ok", "ok"]
    assert "not asked: Stopped at the cap" in stopped.stdout
    resumed = cli(*command)
    assert resumed.exit_code == 0
    assert [row["answer"] for row in rows_in(resumed.stdout)] == ["3", "2", "0"]
    assert server.stats.n_requests == 3
    assert rows_in(Path("kept/answers.csv").read_text())[0]["answer"] == "3"


def test_killed_at_any_moment_nothing_is_asked_twice(workplace, serve):
    server = serve(latency=0.05)
    draw_basket({"apple": 3}).save("basket.png")
    questions = "\n".join(f"How many apples? ({i})" for i in range(60))
    Path("asked.txt").write_text(questions)
    command = [
        sys.executable, "-m", "showtell", "ask", "basket.png", "--questions", "asked.txt",
        "--run", "kept", "-o", "answers.csv", "--max-concurrency", "4", *asking(server),
    ]  # fmt: skip
    for wanted in (5, 20):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 120
        while server.stats.n_answered < wanted and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = rows_in(Path("answers.csv").read_text())
    assert [row["answer"] for row in rows] == ["3"] * 60
    assert server.stats.n_answered - server.stats.n_replayed <= 60 + server.stats.n_abandoned


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("basket.png",), "Question 1 is empty"),
        (("-q", "x"), "Give files to ask about"),
        (("basket.png", "-q", "x", "--frames", "none"), "--frames is scenes, uniform"),
        (("basket.png", "-q", "x", "--schema", "nope"), "Allowed: invoice, business_card, label"),
        (("basket.png", "-q", "x", "--runs", "3"), "--runs go with"),
        (("walk.mp4", "-q", "x", "--from", "soon"), "A time is seconds, M:SS"),
        (("a.pdf", "-q", "x", "--pages", "x"), "numbers and ranges from 1 on"),
        (("basket.png", "--questions", "none.csv"), "none.csv"),
    ],
)
def test_what_makes_no_sense_is_said_before_anything_is_sent(cli, things, serve, args, said):
    server = serve()
    result = cli("ask", *args, *asking(server))
    assert result.exit_code == 2
    assert said in result.stderr
    assert "Traceback" not in result.stderr
    assert server.stats.n_requests == 0


def test_without_a_model_it_says_who_could_be_asked(cli, things):
    result = cli("ask", "basket.png", "-q", "x")
    assert result.exit_code == 2
    assert "Name a --model provider:name" in result.stderr


def test_where_no_input_can_be_read_it_ends_with_1(cli, things, serve):
    result = cli("ask", "none.png", "-q", "How many?", *asking(serve()))
    assert result.exit_code == 1
    assert "Not one question got an answer" in result.stderr
    assert [row["status"] for row in rows_in(result.stdout)] == ["error"]


@pytest.mark.parametrize("name", ["missing", "-", "no such folder/photo"])
def test_a_name_that_is_no_file_is_an_error_and_never_sent_as_words(cli, things, serve, name):
    server = serve()
    result = cli("ask", name, "-q", "How many limes are there?", *asking(server))
    assert result.exit_code == 1
    assert "there is no such file" in result.stderr
    assert server.stats.n_requests == 0


def test_two_rows_with_one_id_are_refused_also_where_they_name_their_files(cli, things, serve):
    Path("q.csv").write_text("id,question,files\nx,What?,basket.png\nx,Who?,prices.png\n")
    result = cli("ask", "--questions", "q.csv", *asking(serve()))
    assert result.exit_code == 2
    assert "Two questions have the same id: 'x'." in result.stderr


def test_a_part_that_ends_before_it_begins_is_said_without_options_that_are_none(
    cli, things, serve
):
    more = ("--from", "3", "--to", "1", "-q", "What?")
    result = cli("ask", "walk.mp4", *more, *asking(serve()))
    assert result.exit_code == 2
    assert "ends after it begins; got 0:03.0 to 0:01.0" in result.stderr
    assert "--end" not in result.stderr


@pytest.mark.parametrize(
    ("file", "option"),
    [("walk.mp4#2-3", "--from"), ("walk.mp4#2-3", "--to"), ("m.pdf#1", "--pages")],
)
def test_a_part_that_is_named_twice_is_refused_not_chosen_from(cli, things, serve, file, option):
    result = cli("ask", file, option, "1", "-q", "What?", *asking(serve()))
    assert result.exit_code == 2
    assert "says already which pa" in result.stderr
    assert option in result.stderr
