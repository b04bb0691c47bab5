"""Servers that do not answer, seen from the command line: bounded, told as it was, gone on with."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from showtell.mllm.call import client as clients
from showtell.mllm.call import limits
from showtell.testing import make_images

pytest.importorskip("openai", reason="needs the extra openai")

LABELS = ("red circle", "blue square", "green triangle")
MODEL = "openai:gpt-4.1-mini"
ANSWER = {
    "id": "c", "object": "chat.completion", "created": 1, "model": "m",
    "usage": {"prompt_tokens": 1000, "completion_tokens": 50, "total_tokens": 1050},
}  # fmt: skip


@pytest.fixture
def many(workplace):
    """``many/``: 21 pictures in a folder."""
    make_images(workplace / "many", labels=LABELS, n_per_label=7)
    return Path("many")


@pytest.fixture
def quick(monkeypatch):
    """Waits between tries are a hundredth of what they are."""
    usual = limits.backoff
    monkeypatch.setattr(clients, "backoff", lambda *a, **more: usual(*a, **more) / 100)
    monkeypatch.setattr(clients, "_SILENCE", 0.6)


@pytest.fixture
def ask(cli, monkeypatch, quick):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-planted-0123456789abcdef")

    def run(url, *arguments, verb="classify"):
        labels = () if verb == "describe" else ("--labels", ",".join(LABELS))
        return cli(verb, *arguments, *labels, "--model", MODEL, "--base-url", url,
                   "--no-reuse", "--timeout", "1")  # fmt: skip

    return run


class Raw:
    """A server of raw bytes: reads whole requests, and does with the connection what it is told."""

    def __init__(self, act):
        self.act, self.n = act, 0
        self.listening = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.url = f"http://127.0.0.1:{self.listening.getsockname()[1]}/v1"
        self._lock = threading.Lock()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                connection = self.listening.accept()[0]
            except OSError:
                return
            threading.Thread(target=self._handle, args=(connection,), daemon=True).start()

    def _handle(self, connection):
        with connection:
            while (body := read_request(connection)) is not None:
                with self._lock:
                    self.n += 1
                    number = self.n
                try:
                    if self.act(connection, number, body) is None:
                        return
                except OSError:
                    return

    def close(self):
        self.listening.close()


def read_request(connection):
    data = b""
    try:
        while b"\r\n\r\n" not in data:
            more = connection.recv(1 << 16)
            if not more:
                return None
            data += more
        head, _, body = data.partition(b"\r\n\r\n")
        size = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        while len(body) < size:
            body += connection.recv(1 << 16)
    except OSError:
        return None
    return json.loads(body)


def reply(connection, status, body, *headers):
    content = json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status} X", "Content-Type: application/json",
             f"Content-Length: {len(content)}", *headers]  # fmt: skip
    connection.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + content)
    return True


def label_it(connection, number, body):
    text = json.dumps({"answers": [{"id": name, "label": LABELS[0]} for name in ids_of(body)]})
    choice = {"index": 0, "finish_reason": "stop",
              "message": {"role": "assistant", "content": text}}  # fmt: skip
    return reply(connection, 200, {**ANSWER, "choices": [choice]})


def ids_of(body):
    import re

    return re.findall(r"Image (\w+):", json.dumps(body["messages"]))


def cut(connection, number, body):
    connection.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n{"choices": [{"mess')


def reset(connection, number, body):
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


def drip(connection, number, body):
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    while True:
        connection.sendall(b" ")
        time.sleep(0.05)


def endless(connection, number, body):
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")
    while True:
        connection.sendall(b" " * (1 << 20))


def turned_away(retry_after):
    def act(connection, number, body):
        headers = () if retry_after is None else (f"Retry-After: {retry_after}",)
        return reply(connection, 429, {"error": {"message": "slow down"}}, *headers)

    return act


def unavailable(connection, number, body):
    return reply(connection, 503, {"error": {"message": "loading"}})


PAST, FUTURE = "Thu, 01 Jan 1970 00:00:00 GMT", "Fri, 01 Jan 2100 00:00:00 GMT"
DEAD = {
    "cut": cut,
    "reset": reset,
    "drip": drip,
    "endless": endless,
    "503": unavailable,
    **{f"429 {after}": turned_away(after)
       for after in (None, "0", "-5", "1e9", "99999999999999", "soon", "", "nan", PAST, FUTURE)},
}  # fmt: skip


@pytest.mark.parametrize("kind", DEAD)
def test_a_server_that_answers_nobody_is_left_alone_soon_and_every_image_has_its_row(
    ask, many, rows, kind
):
    server = Raw(DEAD[kind])
    try:
        result = ask(server.url, many, "--images-per-request", "1")
    finally:
        server.close()
    assert result.exit_code == 1, result.output
    got = rows(result.stdout)
    assert len(got) == 21
    assert all((row["status"], row["label"]) == ("error", "") for row in got)
    assert 0 < server.n <= 130  # 21 images of 5 tries would be 105, and 16 are under way at once
    told = result.stderr
    assert "nothing was asked" not in told
    assert f"no answer to {server.n} request" in told
    if kind.startswith("429"):
        assert f"{server.n} requests were turned away, at no cost" in told
        assert "may be billed" not in told
    else:
        assert f"{server.n} requests of this run broke off" in told
        assert "and may be billed on top: at most" in told


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/v1", "http://nowhere.invalid/v1"])
def test_a_server_that_is_not_there_ends_the_run_with_one_line_that_says_what_to_do(
    ask, many, rows, url
):
    result = ask(url, many)
    assert result.exit_code == 1, result.output
    assert len(rows(result.stdout)) == 21
    last = result.stderr.splitlines()[-1]
    assert last.startswith("showtell: openai:gpt-4.1-mini: ")
    assert "refuses connections. Does the server run" in last or "known by the name" in last
    assert "found no server, so nothing was sent" in result.stderr
    assert "21 images were not asked about" in result.stderr
    assert "may be billed" not in result.stderr


@pytest.mark.parametrize("verb", ["classify", "evaluate", "compare", "audit"])
def test_every_verb_that_asks_ends_with_1_where_nothing_answers(ask, workplace, verb):
    for label in LABELS:
        make_images(workplace / "parted" / label, labels=[label], n_per_label=3)
    more = ("--methods", "zero-shot,direct") if verb == "compare" else ()
    result = ask("http://127.0.0.1:9/v1", "parted", *more, verb=verb)
    assert result.exit_code == 1, result.output
    assert "refuses connections" in result.stderr


def test_describe_ends_with_1_where_nothing_answers(cli, workplace, monkeypatch, quick):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-planted-0123456789abcdef")
    result = cli("describe", "--labels", "cat,dog", "--model", MODEL, "--base-url",
                 "http://127.0.0.1:9/v1", "--no-reuse")  # fmt: skip
    assert result.exit_code == 1, result.output
    assert "refuses connections" in result.stderr


def test_a_server_that_dies_in_the_middle_stops_the_run_which_goes_on_when_it_is_back(
    ask, many, rows
):
    alive = threading.Event()
    alive.set()

    def act(connection, number, body):
        if alive.is_set() and number > 9 and not resumed:
            alive.clear()
        return label_it(connection, number, body) if alive.is_set() else None

    resumed = False
    server = Raw(act)
    common = (many, "--images-per-request", "1", "--run", "kept", "--max-concurrency", "2")
    try:
        first = ask(server.url, *common)
        assert first.exit_code == 3, first.output
        statuses = [row["status"] for row in rows(first.stdout)]
        assert statuses.count("ok") == 9
        assert len(statuses) == 21
        assert "tries of 3 requests failed" in first.stderr or "requests failed" in first.stderr
        assert "run the same command again" in first.stderr
        resumed = True
        alive.set()
        before = server.n
        second = ask(server.url, *common)
    finally:
        server.close()
    assert second.exit_code == 0, second.output
    assert [row["status"] for row in rows(second.stdout)] == ["ok"] * 21
    assert server.n - before == 12
    totals = json.loads(Path("kept/run.json").read_text())["totals"]
    assert totals["n_requests_in_doubt"] == before - 9


def test_a_key_that_runs_out_of_credit_costs_no_answer_that_was_paid_for(ask, many, rows):
    def act(connection, number, body):
        if number <= 5:
            return label_it(connection, number, body)
        return reply(connection, 402, {"error": {"message": "no credit"}})

    server = Raw(act)
    try:
        result = ask(server.url, many, "--images-per-request", "1", "--max-concurrency", "1")
    finally:
        server.close()
    assert result.exit_code == 1
    got = rows(result.stdout)
    assert [row["status"] for row in got].count("ok") == 5
    assert len(got) == 21


@pytest.mark.skipif(os.name != "posix", reason="signals are Unix's")
def test_ctrl_c_is_answered_while_a_server_hangs_and_a_second_one_ends(many, tmp_path, rows):
    asked = threading.Event()

    def act(connection, number, body):
        asked.set()
        time.sleep(3600)

    server = Raw(act)
    process = subprocess.Popen(
        [sys.executable, "-m", "showtell", "classify", str(many), "--labels", ",".join(LABELS),
         "--model", MODEL, "--base-url", server.url, "--no-reuse", "--run", "kept"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "OPENAI_API_KEY": "sk-planted-0123456789abcdef"},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    with process:
        assert asked.wait(300)
        process.send_signal(signal.SIGINT)
        told = next(line for line in process.stderr if line.startswith("Stopping"))
        assert "waiting up to 10 s for what was sent" in told
        process.send_signal(signal.SIGINT)
        out, err = process.communicate()
    server.close()
    assert process.returncode == 3, err
    got = rows(out)
    assert len(got) == 21
    assert {row["reason"] for row in got} == {"stopped"}
    assert "may be billed on top: at most" in err
    assert "Traceback" not in err
