"""The log of a run: complete, resumable, and silent on what is secret."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.mllm.fakes import answer, question
from tests.small_disks import room_for

from showtell.errors import InputError, MLLMServerError, RunError, SavedFolderError
from showtell.mllm import TokenLogprob
from showtell.mllm.call.journal import FILE_NAME, Journal, JournalWarning


def rows(folder):
    return [json.loads(line) for line in (folder / FILE_NAME).read_text().splitlines()]


def test_rows_say_what_was_asked_and_answered_and_nothing_secret(tmp_path):
    request = question(7, image=b"JPEGBYTES-PLANTED", n_demonstrations=2, prompt_version="direct/3")
    with Journal(tmp_path) as journal:
        assert journal.answer(request, answer('{"label":"cat"}', seconds=0.5), ids=["a7"]) == 3
        journal.failure(request, MLLMServerError("503 from\nthe provider"), ids=["a8"])
        journal.sample("a7", status="ok", label="cat", confidence=0.9)
    start, prefix, answered, failed, sample = rows(tmp_path)
    assert (start["kind"], start["schema"]) == ("start", 1)
    assert prefix["images"] == [["demo0", 64, 48], ["demo1", 64, 48]]
    assert answered["prefix"] == prefix["name"]
    assert answered["images"] == [["q7", 64, 48]]
    assert answered["key"] == request.key
    assert answered["asked"] == "toy:scripted"
    assert answered["prompt"] == "direct/3"
    assert answered["text"] == '{"label":"cat"}'
    assert (answered["input_tokens"], answered["cost_usd"]) == (100, "0.01")
    assert answered["whole"]
    assert (failed["error"], failed["message"]) == ("MLLMServerError", "503 from the provider")
    assert failed["ids"] == ["a8"]
    assert (sample["id"], sample["label"]) == ("a7", "cat")
    text = (tmp_path / FILE_NAME).read_text()
    assert "PLANTED" not in text
    assert "Say what it is" not in text


def test_a_resumed_journal_knows_answers_samples_and_what_was_spent(tmp_path):
    with Journal(tmp_path) as journal:
        journal.answer(question(1), answer("cat"))
        journal.answer(question(2), answer("dog", cost=None))
        journal.answer(question(3), answer("cut", finish="length"))
        journal.answer(question(4), answer("odd"), whole=False)
        journal.sample("a", status="ok", label="cat")
        journal.sample("a", status="ok", label="dog")
        spent = (journal.spent, journal.n_unpriced, journal.n_requests)
    assert spent == (Decimal("0.03"), 1, 4)
    with Journal(tmp_path) as again:
        assert (again.spent, again.n_unpriced, again.n_requests) == spent
        assert again.find(question(1).key).text == "cat"
        assert again.find(question(1).key).from_cache
        assert again.find(question(2).key).usage.cost_usd == 0
        assert again.find(question(3).key) is None
        assert again.find(question(4).key) is None
        assert again.knows(question(2).key)
        assert not again.knows(question(9).key)
        assert dict(again.done)["a"]["label"] == "dog"
        assert ("a" in again.done, "b" in again.done, len(again.done)) == (True, False, 1)


def test_answers_out_of_a_cache_are_noted_but_cost_nothing(tmp_path):
    with Journal(tmp_path) as journal:
        journal.answer(question(1), answer("cat", cost=Decimal(0), from_cache=True))
        assert (journal.spent, journal.n_requests) == (0, 0)
    with Journal(tmp_path) as again:
        assert (again.spent, again.n_requests) == (0, 0)
        assert again.find(question(1).key).text == "cat"


def test_demonstrations_are_written_once_per_journal(tmp_path):
    for _ in range(2):
        with Journal(tmp_path) as journal:
            for i in range(3):
                journal.answer(question(i, n_demonstrations=4), answer())
    assert [row["kind"] for row in rows(tmp_path)].count("prefix") == 1


@given(cut=st.integers(2, 400))
def test_a_line_torn_anywhere_costs_that_line_alone(tmp_path_factory, cut):
    folder = tmp_path_factory.mktemp("run")
    with Journal(folder) as journal:
        for i in range(3):
            journal.answer(question(i), answer(f"answer {i}"))
    path = folder / FILE_NAME
    data = path.read_bytes()
    last = data.rindex(b"\n", 0, -1) + 1
    path.write_bytes(data[: max(last + 1, len(data) - cut)])
    with Journal(folder) as journal:
        assert journal.find(question(1).key).text == "answer 1"
        assert journal.find(question(2).key) is None
        assert journal.n_damaged == 1
        journal.answer(question(2), answer("answer 2 again"))
    with Journal(folder) as journal:
        assert [journal.find(question(i).key).text for i in range(3)] == [
            "answer 0",
            "answer 1",
            "answer 2 again",
        ]
        assert len(list(journal.rows("answer"))) == 3


IMPOSSIBLE = [
    math.nan,
    math.inf,
    -math.inf,
    -1,
    "NaN",
    "Infinity",
    "-0.01",
    "1e12",
    "ten",
    True,
    [],
]


@pytest.mark.parametrize("value", IMPOSSIBLE)
@pytest.mark.parametrize("name", ["cost_usd", "input_tokens", "output_tokens", "seconds"])
def test_an_answer_with_an_impossible_number_is_damaged_and_its_request_in_doubt(
    tmp_path, name, value
):
    with Journal(tmp_path) as journal:
        journal.asking(question(1), Decimal("0.02"))
        journal.answer(question(1), answer("cat", seconds=0.5))
        journal.sample("a", status="ok", price_usd="0.01")
    path = tmp_path / FILE_NAME
    *before, answered, sample = path.read_text().splitlines()
    spoiled = json.dumps(json.loads(answered) | {name: value})
    path.write_text("\n".join([*before, spoiled, sample]) + "\n")
    with Journal(tmp_path) as journal:
        assert journal.n_damaged == 1
        assert journal.find(question(1).key) is None
        assert (journal.spent, journal.n_in_doubt) == (0, 1)
        assert journal.in_doubt == Decimal("0.02")
        assert "a" in journal.done


@pytest.mark.parametrize("value", [*IMPOSSIBLE, {"a": 1}])
def test_a_request_of_an_impossible_estimate_was_sent_all_the_same(tmp_path, value):
    with Journal(tmp_path) as journal:
        journal.asking(question(1), Decimal("0.02"))
    path = tmp_path / FILE_NAME
    start, asking = path.read_text().splitlines()
    path.write_text(start + "\n" + json.dumps(json.loads(asking) | {"estimate_usd": value}) + "\n")
    with Journal(tmp_path) as journal:
        assert journal.n_damaged == 1
        assert (journal.n_in_doubt, journal.n_doubts_unpriced, journal.in_doubt) == (1, 1, 0)


def test_probabilities_of_zero_are_kept_and_impossible_ones_are_damage(tmp_path):
    def sure(value):
        return answer("cat", logprobs=(TokenLogprob(token="cat", logprob=value, top=()),))

    with Journal(tmp_path) as journal:
        journal.answer(question(1), sure(-math.inf))
        journal.answer(question(2), sure(-0.125))
        journal.answer(question(3), answer("cat", probabilities={"cat": 0.25}))
    path = tmp_path / FILE_NAME
    path.write_text(path.read_text().replace("-0.125", "NaN").replace("0.25", "-0.25"))
    with Journal(tmp_path) as journal:
        assert journal.n_damaged == 2
        assert journal.find(question(1).key).logprobs[0].logprob == -9999.0


def test_an_answer_that_finds_no_room_is_written_once_there_is_some(tmp_path):
    journal = Journal(tmp_path)
    journal.asking(question(1), Decimal("0.02"))
    with room_for(10):
        journal.answer(question(1), answer("cat"))
        journal.sample("a", status="ok")
        assert journal.spent == Decimal("0.01")
        with pytest.raises(RunError, match="make room"):
            journal.asking(question(2))  # what cannot be written down is not sent
        with pytest.raises(RunError, match="2 lines found no room"):
            journal.settle()
    journal.close()
    with Journal(tmp_path) as again:
        assert again.find(question(1).key).text == "cat"
        assert "a" in again.done
        assert (again.n_damaged, again.n_in_doubt, again.n_requests) == (0, 0, 1)


def test_a_journal_whose_folder_is_moved_says_where_the_answers_are(tmp_path):
    journal = Journal(tmp_path / "run")
    journal.asking(question(1))
    (tmp_path / "run").rename(tmp_path / "elsewhere")
    journal.answer(question(1), answer("cat"))
    with pytest.warns(JournalWarning, match="moved or removed"):
        journal.close()
    with Journal(tmp_path / "elsewhere") as again:
        assert again.find(question(1).key).text == "cat"


@given(junk=st.binary(max_size=60))
def test_no_junk_in_the_file_stops_a_run(tmp_path_factory, junk):
    folder = tmp_path_factory.mktemp("run")
    with Journal(folder) as journal:
        journal.sample("a", status="ok")
    with (folder / FILE_NAME).open("ab") as file:
        file.write(junk + b"\n" + b'{"kind":"answer"}\n[1]\n{"kind":"sample","id":{}}\n')
    with Journal(folder) as journal:
        assert "a" in journal.done
        assert journal.n_damaged >= 3
        journal.sample("b", status="ok")
    with Journal(folder) as journal:
        assert set(journal.done) == {"a", "b"}


def test_a_killed_process_loses_nothing_that_was_written(tmp_path):
    code = """
import sys
from showtell.mllm.call.journal import Journal
journal = Journal(sys.argv[1])
number = 0
while True:
    journal.sample(f"s{number}", status="ok")
    print(number, flush=True)
    number += 1
"""
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    for _ in range(50):
        said = process.stdout.readline()
    os.kill(process.pid, signal.SIGKILL)
    rest = process.stdout.read().split("\n")
    process.wait()
    process.stdout.close()
    last = int(([said.strip()] + [line for line in rest[:-1] if line])[-1])
    with Journal(tmp_path) as journal:
        assert len(journal.done) >= last + 1


def test_two_processes_cannot_write_one_journal(tmp_path):
    pytest.importorskip("fcntl")
    with Journal(tmp_path), pytest.raises(RunError, match="another process"):
        Journal(tmp_path)
    Journal(tmp_path).close()


def test_a_journal_of_a_newer_version_is_refused(tmp_path):
    (tmp_path / FILE_NAME).write_text('{"kind":"start","schema":2,"showtell":"9.9"}\n')
    with pytest.raises(SavedFolderError, match=r"showtell 9\.9"):
        Journal(tmp_path)


def test_a_closed_journal_refuses_to_write(tmp_path):
    journal = Journal(tmp_path)
    journal.close()
    journal.close()
    journal.flush()
    with pytest.raises(RunError, match="closed"):
        journal.sample("a")


@pytest.mark.parametrize("fsync", ["always", "second", "never"])
def test_the_disk_is_told_as_often_as_asked(tmp_path, monkeypatch, fsync):
    calls = []
    monkeypatch.setattr(os, "fsync", calls.append)
    with Journal(tmp_path, fsync=fsync) as journal:
        for i in range(10):
            journal.sample(f"{i}")
        n_calls = len(calls)
    assert n_calls == (11 if fsync == "always" else 0)
    assert len(calls) == {"always": 12, "second": 1, "never": 0}[fsync]
    with pytest.raises(InputError, match="always, second, never"):
        Journal(tmp_path, fsync="sometimes")


@pytest.mark.slow
def test_a_journal_of_200_000_rows_is_read_within_5_seconds(tmp_path):
    with Journal(tmp_path, fsync="never") as journal:
        pass
    with (tmp_path / FILE_NAME).open("a") as file:
        for i in range(100_000):
            row = {
                "kind": "answer",
                "key": f"{i:032x}",
                "asked": "openai:gpt-4.1-mini",
                "prompt": "direct/1",
                "temperature": 0.0,
                "max_tokens": 200,
                "images": [[f"{i:032x}", 640, 480]],
                "text": '{"answers":[{"label":"cat"}]}' * 3,
                "finish": "stop",
                "model": "gpt-4.1-mini",
                "input_tokens": 900,
                "output_tokens": 20,
                "seconds": 0.31,
                "attempts": 1,
                "cost_usd": "0.000392",
                "whole": True,
            }
            file.write(json.dumps(row) + "\n")
            sample = {"kind": "sample", "id": f"photos/{i}.jpg", "status": "ok", "label": "cat"}
            file.write(json.dumps(sample) + "\n")
    began = time.process_time()
    with Journal(tmp_path) as journal:
        seconds = time.process_time() - began
        assert len(journal.done) == 100_000
        assert journal.find(f"{99_999:032x}").text.startswith("{")
    began = time.process_time()
    with (tmp_path / FILE_NAME).open(encoding="utf-8") as file:
        for line in file:
            json.loads(line)
    bare = time.process_time() - began  # a slower machine is slower at this too
    assert seconds < 8 * bare, f"{seconds:.1f} s, {bare:.1f} s for the JSON alone"
