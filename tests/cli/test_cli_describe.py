"""`showtell describe`, through real clients to a local server that writes from a word bank."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.cli.conftest import LABELS

from showtell.prompts import DescriptionSet, read_descriptions
from showtell.testing import ColourEncoder

pytest.importorskip("uvicorn", reason="local servers need the extra mllm")
pytest.importorskip("openai", reason="needs the extra openai")
servers = pytest.importorskip("showtell.testing.servers")

KEY = "sk-planted-0123456789abcdef"
PRICED = "openai:gpt-4.1-mini"


class Moody(servers.Author):
    """Has nothing to say about some labels."""

    async def write(self, asked, sight, **more):
        value = await super().write(asked, sight, **more)
        return {} if asked.label in ("silence", "void") else value


@pytest.fixture(scope="module")
def server():
    with servers.LocalServer("openai", encoder=ColourEncoder(), author=Moody()) as running:
        yield running


@pytest.fixture(autouse=True)
def _alone(monkeypatch, tmp_path):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    monkeypatch.setenv("SHOWTELL_CACHE_DIR", str(tmp_path / "cache"))


@pytest.fixture
def write(cli, server):
    """``write("--labels", "a,b", ...)`` with a priced model at the local server."""

    def run(*arguments, model=PRICED, url=None):
        at = ("--model", model, "--base-url", url or server.base_url)
        result = cli("describe", *arguments, *at)
        assert KEY not in result.output
        assert "Traceback" not in result.output
        return result

    return run


def test_descriptions_are_written_with_where_they_are_from_and_what_they_cost(write):
    result = write("--labels", "cat,dog", "--count", 5, "-o", "set.json")
    assert (result.exit_code, result.stdout) == (0, ""), result.output
    made = read_descriptions("set.json")
    assert [len(made[label]) for label in ("cat", "dog")] == [5, 5]
    assert (made.kind, made.provenance.model) == ("phrases", PRICED)
    assert "wrote set.json" in result.stderr
    assert "2 of 2 labels described, 10 descriptions; " in result.stderr
    assert " USD for 2 requests" in result.stderr


@pytest.mark.parametrize("ending", ["csv", "yaml"])
def test_other_kinds_of_files_hold_the_same_texts(write, ending):
    if ending == "yaml":
        pytest.importorskip("yaml", reason="needs the extra yaml")
    write("--labels", "cat,dog", "-o", "set.json")
    assert write("--labels", "cat,dog", "-o", f"set.{ending}").exit_code == 0
    assert dict(read_descriptions(f"set.{ending}")) == dict(read_descriptions("set.json"))


def test_without_a_file_they_are_csv_for_a_pipe_and_json_for_a_program(write, rows):
    piped = rows(write("--labels", "cat,dog", "--count", 3).stdout)
    assert [row["label"] for row in piped] == ["cat"] * 3 + ["dog"] * 3
    again = write("--labels", "cat,dog", "--count", 3, "--json")
    value = json.loads(again.stdout)
    assert value["descriptions"]["cat"] == [row["description"] for row in piped[:3]]
    assert (value["n_requests"], value["n_from_cache"], value["cost_usd"]) == (0, 2, 0.0)
    assert "0 USD: all answers were there already" in again.stderr


def test_what_was_edited_by_hand_is_kept_and_only_new_labels_are_asked_about(write, server):
    write("--labels", "cat,dog", "-o", "set.json")
    value = json.loads(Path("set.json").read_text())
    value["descriptions"]["cat"] = ["my own words", {"text": "pointed ears", "weight": 2.0}]
    value["descriptions"]["dog"] = []
    Path("set.json").write_text(json.dumps(value))
    n_before = server.stats.n_requests
    result = write("--labels", "cat,dog,bird", "-o", "set.json")
    assert result.exit_code == 0, result.output
    assert "1 label of set.json is kept as written there; --overwrite writes all" in result.stderr
    made = read_descriptions("set.json")
    assert made["cat"] == ("my own words", "pointed ears")
    assert made.weights["cat"] == (1.0, 2.0)
    assert made.labels == ("cat", "dog", "bird")
    assert made["dog"]
    assert made["bird"]
    assert f"1 label kept from {PRICED}" in made.provenance.note
    asked = [r for r in server.requests if r.number > n_before]
    assert not any("Label: cat\n" in text for r in asked for text in r.texts)


def test_nothing_is_asked_where_all_labels_are_described(write, server):
    DescriptionSet({"cat": ["fur"], "other": ["x"]}).write("set.json")
    n_before = server.stats.n_requests
    result = write("--labels", "cat", "-o", "set.json")
    assert result.exit_code == 0
    assert "1 of 1 label described, 1 description; " in result.stderr
    assert "nothing was asked" in result.stderr
    assert server.stats.n_requests == n_before
    assert dict(read_descriptions("set.json")) == {"cat": ("fur",), "other": ("x",)}


def test_overwrite_writes_all_anew_and_the_difference_is_shown(write):
    DescriptionSet({"cat": ["my own words"]}).write("set.json")
    result = write(
        "--labels", "cat", "--count", 2, "-o", "set.json", "--overwrite", "--diff", "set.json"
    )
    assert result.exit_code == 0, result.output
    made = read_descriptions("set.json")
    assert "my own words" not in made["cat"]
    lines = ["cat", "  - my own words", *(f"  + {text}" for text in made["cat"])]
    assert result.stdout == "\n".join([*lines, "2 added, 1 removed, 0 kept.", ""])


def test_gaps_are_named_and_one_description_is_enough(write):
    result = write("--labels", "cat,silence", "-o", "set.json")
    assert result.exit_code == 0
    assert "note: no descriptions of silence: " in result.stderr
    assert "1 of 2 labels described" in result.stderr
    assert read_descriptions("set.json")["silence"] == ()
    told = json.loads(write("--labels", "cat,silence", "--json").stdout)
    assert list(told["gaps"]) == ["silence"]


def test_without_any_description_the_run_has_failed(write):
    result = write("--labels", "void,silence")
    assert result.exit_code == 1
    assert "showtell: No label got a description: " in result.stderr


def test_a_word_that_names_a_kept_label_is_left_out(write, server, monkeypatch):
    DescriptionSet({"red": ["a colour"]}).write("set.json")

    class Careless(servers.Author):
        async def write(self, asked, sight, **more):
            return {"category": asked.label, "descriptors": ["bright red", "a peak", "a rim"]}

    monkeypatch.setattr(server._engine._answering, "author", Careless())
    result = write("--labels", "red,hat", "-o", "set.json")
    assert result.exit_code == 0, result.output
    assert read_descriptions("set.json")["hat"] == ("a peak", "a rim")
    assert "1 text left out: repeated, too long, or naming another label" in result.stderr


def test_sentences_come_from_five_questions_each(write, server):
    n_before = server.stats.written["describe-sentences"]
    result = write("--labels", "cat", "--style", "cupl", "--count", 2, "-o", "set.json")
    assert result.exit_code == 0, result.output
    made = read_descriptions("set.json")
    assert made.kind == "sentences"
    assert all("cat" in text for text in made["cat"])
    assert server.stats.written["describe-sentences"] == n_before + 5
    mixed = write("--labels", "cat,dog", "-o", "set.json")
    assert mixed.exit_code == 2
    assert "--style dclip writes phrases, which do not mix" in mixed.stderr


def test_a_concept_is_told_or_found_first(write, server):
    told = write("--labels", "crane", "--domain", "bird", "-o", "set.json")
    assert told.exit_code == 0
    assert read_descriptions("set.json").domain == "bird"
    assert "crane (a kind of bird)" in server.requests[-1].texts[1]
    found = write("--labels", "a,b", "--domain", "auto", "--json")
    assert found.exit_code == 0, found.output
    assert "note: no domain: The labels have nothing in common" in found.stderr
    assert json.loads(found.stdout)["n_requests"] == 3


def test_the_labels_of_a_folder_are_described(write, shapes):
    result = write(shapes, "-o", "set.json")
    assert result.exit_code == 0, result.output
    assert set(read_descriptions("set.json")) == set(LABELS)


def test_a_dry_run_needs_no_key_asks_nothing_and_comes_near(cli, write, server, monkeypatch):
    common = ("--labels", "cat,dog,bird", "--domain", "auto")
    n_before = server.stats.n_requests
    monkeypatch.delenv("OPENAI_API_KEY")
    result = cli("describe", *common, "--model", PRICED, "--dry-run", "--json")
    assert result.exit_code == 0, result.output
    said = json.loads(result.stdout)
    assert server.stats.n_requests == n_before
    assert (said["n_requests"], said["n_labels"], said["n_kept"]) == (4, 3, 0)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    took = json.loads(write(*common, "--json").stdout)
    assert took["n_requests"] == 4
    assert took["input_tokens"] == pytest.approx(said["input_tokens"], rel=0.15)
    assert said["cost_usd"] >= took["cost_usd"] > 0
    again = json.loads(cli("describe", *common, "--model", PRICED, "--dry-run", "--json").stdout)
    assert again["cost_usd"] == said["cost_usd"]


def test_a_cap_stops_with_3_and_the_same_command_goes_on(write, server):
    labels = ("--labels", ",".join(f"thing {i}" for i in range(6)), "-o", "set.json")
    stopped = write(*labels, "--max-requests", 2)
    assert stopped.exit_code == 3
    assert "run the same command again" in stopped.stderr
    assert not Path("set.json").exists()
    n_before = server.stats.n_answered
    assert write(*labels).exit_code == 0
    assert server.stats.n_answered == n_before + 4


def test_a_run_folder_keeps_what_was_asked_and_written(write, server):
    options = ("--labels", "cat,dog", "--run", "run", "--no-reuse")
    assert write(*options).exit_code == 0
    n_before = server.stats.n_requests
    again = write(*options)
    assert again.exit_code == 0, again.output
    assert server.stats.n_requests == n_before
    told = json.loads(Path("run/run.json").read_text())
    assert (told["state"], told["request"]["labels"]) == ("finished", ["cat", "dog"])
    assert len(read_descriptions("run/descriptions.json")) == 2
    other = write("--labels", "cat,cow", "--run", "run")
    assert other.exit_code == 2
    assert "another request" in other.stderr


def test_two_files_are_compared(cli):
    DescriptionSet({"cat": ["fur", "ears"], "dog": ["paws"]}).write("a.json")
    DescriptionSet({"cat": ["fur", "a tail"], "cow": ["horns"]}).write("b.json")
    result = cli("describe", "--compare", "a.json", "b.json")
    assert result.exit_code == 0
    assert result.stdout == (
        "cat\n  - ears\n  + a tail\ndog (gone)\n  - paws\ncow (new)\n  + horns\n"
        "2 added, 2 removed, 1 kept.\n"
    )
    value = json.loads(cli("describe", "--compare", "a.json", "b.json", "--json").stdout)
    assert value["added"] == {"cat": ["a tail"], "cow": ["horns"]}
    assert (value["new_labels"], value["lost_labels"]) == (["cow"], ["dog"])


def test_a_file_is_checked_without_asking(cli, rows):
    DescriptionSet({"cat": ["fur", "Fur", "like a dog"], "dog": []}).write("set.json")
    result = cli("describe", "set.json", "--check")
    assert result.exit_code == 0
    assert [(row["what"], row["label"], row["text"]) for row in rows(result.stdout)] == [
        ("repeated-description", "cat", "Fur"),
        ("names-other-label", "cat", "like a dog"),
        ("no-descriptions", "dog", ""),
    ]
    assert "set.json: 3 phrases of 2 labels; 3 remarks" in result.stderr
    wider = json.loads(cli("describe", "set.json", "--check", "-l", "cat,dog,cow", "--json").stdout)
    assert wider["notes"][0]["kind"] == "missing-label"


def test_edited_prompts_are_used(cli, write, server):
    assert cli("describe", "--copy-prompts", "mine").exit_code == 0
    file = Path("mine/features.txt")
    file.write_text("Task: describe-label\nLabel: {label}\nCount: {count}\nBe a poet.")
    result = write("--labels", "cat", "--prompt-dir", "mine")
    assert result.exit_code == 0, result.output
    assert "Be a poet." in server.requests[-1].texts[1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("-l", "a"), "Which model?"),
        (("-l", "a", "--max-cost", "1"), "--max-cost is about asking"),
        (("--check",), "Which file?"),
        (("--model", PRICED), "Which labels?"),
        (("d", "-l", "a", "--model", PRICED), "Give the labels once"),
        (("-l", "a", "--model", PRICED, "-o", "x.txt"), "must end in .json, .csv, .yaml, .yml"),
        (("-l", "a", "--model", "local-dir:x"), "it writes nothing"),
        (("-l", "a", "--model", "nobody:x"), "nobody"),
        (("--compare", "a.json", "none.json"), "There is no file of descriptions"),
        (("none.json", "--check"), "There is no file of descriptions"),
        (("-l", "a", "--style", "poem", "--model", PRICED), "dclip"),
    ],
)
def test_what_makes_no_sense_ends_with_2_and_a_line(cli, arguments, words):
    DescriptionSet({"cat": ["fur"]}).write("a.json")
    result = cli("describe", *arguments)
    assert result.exit_code == 2, result.output
    assert words in result.stderr
    assert "Traceback" not in result.output


@pytest.mark.parametrize("seed", range(3))
def test_in_bad_weather_every_label_is_described_or_a_named_gap(write, seed):
    faults = "refuse=0.15,empty=0.1,broken-json=0.2,cut=0.05,500=0.05,forget-label=0.2,repeat=0.2,"
    with servers.LocalServer(
        "openai", encoder=ColourEncoder(), faults=faults + "name-other=0.2", seed=seed,
        retry_after=0.01,
    ) as weather:  # fmt: skip
        labels = [f"thing {i}" for i in range(12)]
        result = write(
            "--labels", ",".join(labels), "--json", "-o", "set.json", url=weather.base_url
        )
        assert sum(weather.stats.faults.values()) >= 6
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    made = read_descriptions("set.json")
    assert set(made) == set(labels)
    for label in labels:
        assert bool(made[label]) != (label in told["gaps"])
    assert not made.check(n_most=8) or all(
        note.kind == "no-descriptions" for note in made.check(n_most=8)
    )


def test_a_server_in_a_process_of_its_own_writes_words_that_its_photos_teach(write, parted):
    """`try-server --photos` is what a person tries `describe` with."""
    import os
    import signal
    import subprocess
    import sys

    if sys.platform == "win32":
        pytest.skip("signals")
    command = [
        sys.executable, "-c", "from showtell.cli.main import run; run()", "try-server", "--json",
        "--kind", "openai", "--photos", str(parted), "--share-bad", "0",
    ]  # fmt: skip
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ
    )
    try:
        told = json.loads(process.stdout.readline())
        result = write("--labels", ",".join(LABELS), url=told["base_urls"]["openai"])
    finally:
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=300)
    assert result.exit_code == 0, result.output
    assert process.returncode == 0, err
    assert "3 texts written." in err
