"""`showtell concepts`, through real clients to a local server that writes from a word bank."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from showtell.prompts import read_concepts
from showtell.testing import ColourEncoder

pytest.importorskip("uvicorn", reason="local servers need the extra mllm")
pytest.importorskip("openai", reason="needs the extra openai")
servers = pytest.importorskip("showtell.testing.servers")

KEY = "sk-planted-0123456789abcdef"
PRICED = "openai:gpt-4.1-mini"
LABELS = "Corgi,zebra"
HAND_MADE = {
    "domain": "dog",
    "parts": [
        {"part": "head", "children": [{"part": "ear", "attributes": {
            "shape": {"pointed": ["Corgi"], "hanging": ["Collie"]}}}]},
        {"part": "tail", "attributes": {"length": {"short": ["Corgi"], "long": ["Collie"]}}},
    ],
}  # fmt: skip


class Brief(servers.Author):
    """Knows two parts, and nothing about a silence."""

    async def write(self, asked, sight, **more):
        value = await super().write(asked, sight, **more)
        if asked.task == "parts" and value.get("children"):
            value["children"] = [] if asked.domain == "silence" else value["children"][-2:]
        if asked.task == "values" and asked.label == "void":
            value["values"] = [{"attribute": name, "values": ["N/A"]} for name in asked.attributes]
        return value


@pytest.fixture(scope="module")
def server():
    with servers.LocalServer("openai", encoder=ColourEncoder(), author=Brief()) as running:
        yield running


@pytest.fixture(autouse=True)
def _alone(monkeypatch, tmp_path):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    monkeypatch.setenv("SHOWTELL_CACHE_DIR", str(tmp_path / "cache"))


@pytest.fixture
def build(cli, server):
    """``build("dog", "--labels", "a,b", ...)`` with a priced model at the local server."""

    def run(*arguments, model=PRICED, url=None):
        at = ("--model", model, "--base-url", url or server.base_url)
        result = cli("concepts", *arguments, *at)
        assert KEY not in result.output
        assert "Traceback" not in result.output
        assert "This is a bug" not in result.output
        return result

    return run


@pytest.fixture
def by_hand():
    Path("dog.json").write_text(json.dumps(HAND_MADE))
    return "dog.json"


def test_a_tree_is_built_with_where_it_is_from_and_what_it_cost(build):
    result = build("dog", "--labels", LABELS, "-o", "dog.json")
    assert (result.exit_code, result.stdout) == (0, ""), result.output
    tree = read_concepts("dog.json")
    assert (tree.domain, tree.labels) == ("dog", ("Corgi", "zebra"))
    assert [part.name for part in tree.parts] == ["leg", "tail"]
    assert tree.parts[0].children[0].name == "paw"
    assert all(part.attributes for _, part in tree.walk())
    assert (tree.provenance.model, tree.provenance.note) == (PRICED, "per-label")
    assert tree.gaps == ()
    assert read_concepts(tree.to_record()) == tree
    assert "wrote dog.json" in result.stderr
    assert "3 parts, " in result.stderr
    assert " clues; 0 gaps; " in result.stderr
    assert " USD for 10 requests" in result.stderr


def test_the_merged_layout_and_a_flat_tree_take_fewer_questions(build):
    result = build("dog", "--labels", LABELS, "--layout", "merged", "--depth", 1, "--json")
    told = json.loads(result.stdout)
    assert told["n_requests"] == 1 + 2 + 2
    assert (told["n_parts"], told["depth"], told["n_labels"]) == (2, 1, 2)
    tree = read_concepts(told["tree"])
    assert tree.labels == ()
    assert told["n_values"] == tree.n_values > 4


def test_the_same_command_pays_nothing_again_and_keeps_what_was_edited(build, server):
    build("dog", "--labels", LABELS, "-o", "dog.json")
    n = server.stats.n_requests
    again = build("dog", "-o", "dog.json")
    assert "nothing was asked" in again.stderr
    assert "dog.json is kept as it stands" in again.stderr
    fresh = build("dog", "--labels", LABELS, "-o", "other.json")
    assert "0 USD: all answers were there already" in fresh.stderr
    assert server.stats.n_requests == n
    record = json.loads(Path("dog.json").read_text())
    [tail] = [part for part in record["parts"] if part["part"] == "tail"]
    tail["attributes"] = {"length": {"by hand": ["Corgi"]}}
    record["parts"] = [tail]
    Path("dog.json").write_text(json.dumps(record))
    build("dog", "--labels", LABELS, "-o", "dog.json")
    [part] = read_concepts("dog.json").parts
    assert part.name == "tail"
    [attribute] = part.attributes
    assert attribute.values[0].text == "by hand"
    assert all(value.labels == ("zebra",) for value in attribute.values[1:])
    assert len(attribute.values) > 1
    result = build("dog", "--labels", LABELS, "-o", "dog.json", "--overwrite")
    assert result.exit_code == 0
    assert len(read_concepts("dog.json").parts) == 2


def test_one_can_stop_after_the_parts(build):
    result = build("dog", "--labels", LABELS, "-o", "dog.json", "--until", "parts")
    assert "3 parts, 0 attributes, 0 values" in result.stderr
    assert result.exit_code == 0
    assert build("dog", "--labels", LABELS, "-o", "dog.json").exit_code == 0
    assert read_concepts("dog.json").n_values > 0


def test_gaps_are_named_and_stand_in_the_file(build):
    result = build("dog", "--labels", "Corgi,void", "-o", "dog.json", "-v")
    assert result.exit_code == 0
    assert "no values of leg, for 'void': Nothing can be used" in result.stderr
    assert "left out of leg" in result.stderr or "N/A" in result.stderr
    tree = read_concepts("dog.json")
    assert {(gap.task, gap.label) for gap in tree.gaps} == {("values", "void")}
    assert len(tree.gaps) == 3


def test_a_domain_without_parts_fails_and_says_why(build):
    result = build("silence", "--labels", LABELS, "-o", "silence.json")
    assert result.exit_code == 1
    assert "no parts of the domain: No part can be used" in result.stderr
    assert "The tree got no values" in result.stderr
    assert read_concepts("silence.json").gaps[0].task == "parts"


@pytest.mark.parametrize("seed", range(2))
def test_whatever_goes_wrong_ends_in_a_tree_whose_gaps_are_named(build, seed):
    faults = (
        "refuse=0.05,empty=0.05,broken-json=0.3,cut=0.05,500=0.05,"
        "invalid=0.3,forget-label=0.2,name-other=0.2,repeat=0.1"
    )
    with servers.LocalServer(
        "openai", encoder=ColourEncoder(), author=Brief(), faults=faults, seed=seed
    ) as spoiled:
        result = build("dog", "--labels", LABELS, "-o", "dog.json", "--json", url=spoiled.base_url)
        told = json.loads(result.stdout)
        tree = read_concepts("dog.json")
        assert result.exit_code == (0 if tree.n_values else 1), result.output
        assert [gap["task"] for gap in told["gaps"]] == [gap.task for gap in tree.gaps]
        assert all(gap.reason for gap in tree.gaps)
        missing = {(gap.part, gap.label) for gap in tree.gaps if gap.task == "values"}
        for path, part in tree.walk():
            for attribute in part.attributes:
                assert attribute.name not in ("N/A", "not visible")
                for value in attribute.values:
                    assert value.text not in ("n/a", "not visible", "corgi", "zebra", "or tan")
                    assert "," not in value.text
                for label in ("Corgi", "zebra"):
                    has = any(label in value.labels for value in attribute.values)
                    assert has or attribute.name == "other attributes" or (path, label) in missing
        n = len(tree.gaps)
        for _ in range(6):
            build("dog", "--labels", LABELS, "-o", "dog.json", url=spoiled.base_url)
            if not read_concepts("dog.json").gaps:
                break
        assert len(read_concepts("dog.json").gaps) < max(n, 1)


def test_a_cap_stops_and_the_next_run_goes_on(build):
    result = build("dog", "--labels", LABELS, "-o", "dog.json", "--max-requests", 4)
    assert result.exit_code == 3
    assert "run the same command again" in result.stderr
    assert not Path("dog.json").exists()
    result = build("dog", "--labels", LABELS, "-o", "dog.json")
    assert result.exit_code == 0
    assert "answers were there already" in result.stderr


def test_a_run_folder_keeps_the_tree_and_what_was_asked(build):
    result = build("dog", "--labels", LABELS, "--run", "run", "--json")
    assert read_concepts("run/concepts.json").to_record() == json.loads(result.stdout)["tree"]
    run = json.loads(Path("run/run.json").read_text())
    assert run["request"]["domain"] == "dog"
    other = build("dog", "--labels", "Corgi", "--run", "run")
    assert other.exit_code == 2
    assert "labels" in other.stderr


def test_a_dry_run_asks_nothing_and_needs_no_key(cli, monkeypatch, server):
    monkeypatch.delenv("OPENAI_API_KEY")
    n = server.stats.n_requests
    at = ("--model", PRICED, "--base-url", server.base_url, "--dry-run")
    result = cli("concepts", "dog", "--labels", LABELS, *at, "--json")
    told = json.loads(result.stdout)
    assert (told["n_requests"], told["n_labels"]) == (1 + 12 + 24, 2)
    assert 0 < told["cost_usd_to_pay"] < 0.05
    assert "37 questions about 2 labels if there are 12 parts: about 0.01" in result.stderr
    table = cli("concepts", "dog", "--labels", LABELS, *at, "--layout", "merged").stdout
    assert "n_requests,25" in table
    assert server.stats.n_requests == n


def test_without_a_file_a_value_is_a_line(build, rows):
    found = rows(build("dog", "--labels", LABELS).stdout)
    assert {row["part"] for row in found} == {"leg", "leg > paw", "tail"}
    assert {"part", "attribute", "value", "labels"} == set(found[0])
    part = rows(build("dog", "--labels", LABELS, "--part", "paw", "--label", "zebra").stdout)
    assert {row["part"] for row in part} == {"leg > paw"}
    assert {row["labels"] for row in part} == {"zebra"}


# A tree that is there


def test_a_tree_that_is_there_is_printed(cli, by_hand, rows):
    result = cli("concepts", by_hand)
    assert [row["value"] for row in rows(result.stdout)] == ["pointed", "hanging", "short", "long"]
    assert "dog.json: 3 parts, 2 attributes, 4 values, 4 clues; 0 gaps" in result.stderr
    found = rows(cli("concepts", by_hand, "--part", "ear", "--label", "Corgi").stdout)
    assert found == [
        {"part": "head > ear", "attribute": "shape", "value": "pointed", "labels": "Corgi"}
    ]
    told = json.loads(cli("concepts", by_hand, "--json").stdout)
    assert (told["n_clues"], told["gaps"], told["tree"]["domain"]) == (4, [], "dog")


@pytest.mark.parametrize("ending", ["svg", "png"])
def test_a_tree_that_is_there_is_drawn(cli, by_hand, ending):
    pytest.importorskip("pygraphviz", reason="needs the extra draw")
    whole = cli("concepts", by_hand, "--draw", f"whole.{ending}")
    assert (whole.exit_code, whole.stdout) == (0, "")
    assert f"wrote whole.{ending}" in whole.stderr
    cli("concepts", by_hand, "--draw", f"part.{ending}", "--part", "tail")
    cli("concepts", by_hand, "--draw", f"label.{ending}", "--label", "Corgi")
    sizes = [Path(f"{name}.{ending}").stat().st_size for name in ("whole", "part", "label")]
    assert sizes[0] > max(sizes[1:])
    if ending == "svg":
        assert "pointed" in Path("label.svg").read_text("utf-8")
        assert "hanging" not in Path("label.svg").read_text("utf-8")


def test_a_large_drawing_says_how_to_draw_less(cli, tmp_path):
    pytest.importorskip("pygraphviz", reason="needs the extra draw")
    values = [f"shade {i}" for i in range(100)]
    parts = [{"part": name, "attributes": {"colour": values}} for name in ("head", "tail")]
    tree = tmp_path / "large.json"
    tree.write_text(json.dumps({"domain": "dog", "parts": parts}))
    whole = cli("concepts", tree, "--draw", "whole.dot")
    assert whole.exit_code == 0, whole.stderr
    assert "note: 200 values; --part NAME draws one part." in whole.stderr
    part = cli("concepts", tree, "--draw", "part.dot", "--part", "tail")
    assert part.exit_code == 0, part.stderr
    assert "draws one part" not in part.stderr


def test_a_tree_is_drawn_as_it_is_built(build):
    result = build("dog", "--labels", LABELS, "-o", "dog.json", "--draw", "zebra.dot",
                   "--label", "zebra")  # fmt: skip
    assert result.exit_code == 0
    assert "<B>zebra</B>" in Path("zebra.dot").read_text("utf-8")


def test_nothing_is_paid_for_a_drawing_that_cannot_be_made(build, server, monkeypatch):
    n = server.stats.n_requests
    monkeypatch.setitem(sys.modules, "pygraphviz", None)
    result = build("dog", "--labels", LABELS, "--draw", "dog.svg")
    assert result.exit_code == 1
    assert 'pip install "showtell[draw]"' in result.stderr
    assert server.stats.n_requests == n


# What is refused


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("dog",), "Which labels?"),
        (("--labels", LABELS), "What are all labels?"),
        (("dog", "--labels", LABELS, "-o", "dog.csv"), "must end in .json"),
        (("dog", "--labels", LABELS, "--draw", "dog.gif"), ".svg, .png, .pdf, .dot"),
        (("dog", "--labels", LABELS, "--label", "Pug"), "none of the labels: Corgi, zebra"),
        (("dog", "--labels", LABELS, "--label", "Corgi", "--layout", "merged"), "belong to no"),
        (("dog", "--labels", LABELS, "--depth", "9"), "less than or equal to 5"),
        (("cat", "-o", "dog.json"), "takes a 'dog' apart"),
        (("dog.json",), "To fill what it lacks"),
        (("other.json",), "There is no concept tree 'other.json'"),
    ],
)
def test_what_makes_no_sense_is_refused_with_what_to_do(build, by_hand, server, arguments, words):
    n = server.stats.n_requests
    result = build(*arguments)
    assert result.exit_code == 2
    assert words in result.stderr
    assert server.stats.n_requests == n


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("dog", "--labels", LABELS), "Which model?"),
        (("dog", "--labels", LABELS, "--max-cost", "1"), "--model"),
        (("photos/", "--labels", LABELS), "is no word for what all labels are"),
        (("dog.json", "--part", "wing"), "Name one of: head; head > ear; tail"),
        (("dog.json", "--label", "Pug"), "none of the labels: Corgi, Collie"),
        (("dog", "--labels", LABELS, "--model", "local-dir:x"), "it writes nothing"),
    ],
)
def test_without_a_model_there_is_little_to_do(cli, by_hand, arguments, words):
    result = cli("concepts", *arguments)
    assert result.exit_code == 2, result.output
    assert words in result.stderr


def test_prompts_are_copied_edited_and_used(cli, build, server):
    assert cli("concepts", "--copy-prompts", "mine").exit_code == 0
    file = Path("mine/parts.txt")
    file.write_text(file.read_text() + "\nName no tail.")
    result = build("dog", "--labels", LABELS, "--prompt-dir", "mine", "-o", "dog.json")
    assert result.exit_code == 0
    assert read_concepts("dog.json").provenance.prompt_version.startswith("mine-")


def test_settings_have_a_section(cli, by_hand, rows):
    Path("showtell.toml").write_text('[concepts]\npart = "tail"\nlabel = "Corgi"\n')
    assert [row["value"] for row in rows(cli("concepts", by_hand).stdout)] == ["short"]
