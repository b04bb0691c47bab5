"""Runs that were kept before the rooms were rebuilt: the same command finishes them.

What was answered then is used, mistakes of that server included; only what has no answer is asked,
as the books of the server of now show.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from tests.frozen import frozen
from tests.frozen.frozen import FORMAT1

from showtell import Record, compare
from showtell.classify import read_evolution
from showtell.evaluate import Audit
from showtell.media import content_hash
from showtell.prompts import read_concepts, read_descriptions

pytestmark = pytest.mark.filterwarnings("ignore::showtell.classify.LimitsWarning")

ABOUT = {
    file.stem: json.loads(file.read_text("utf-8"))
    for file in sorted((FORMAT1 / "runs").glob("*.json"))
}
STATES = {
    state: [name for name, about in ABOUT.items() if about["state"] == state]
    for state in ("finished", "killed", "stopped")
}


def go_on(name, place, server):
    """Give the command of then; what it says is what it said, unless its answers are left alone."""
    about = frozen.place_run(name, place, server.base_url)
    result = frozen.invoke(about["argv"], server.base_url)
    assert result.exit_code == 0, result.output
    if are_left_alone(about, server):
        # answers that do not say where they came from, if that is told
        assert re.search(r"does not say which server gave .* are asked again", result.stderr)
        return about, result
    assert frozen.same(frozen.told_of(about["argv"][0], result.stdout), about["told"])
    assert (place / "kept" / "report.html").is_file() or about["argv"][0] in (
        "describe",
        "concepts",
    )
    return about, result


def are_left_alone(about, server):
    """Whether the answers of then are not used: the run does not say where they came from."""
    return "{url}" not in about["argv"] and server.stats.n_answered > about.get("asked", 0)


def asked_about(server):
    """How often images were asked about, by path."""
    path_of = {content_hash(p.read_bytes()): p for p in Path("data").rglob("*.png")}
    paid = server.stats.paid_images.items()
    return {str(path_of[digest]): n for digest, n in paid if digest in path_of}


def test_every_verb_that_keeps_a_run_is_among_them():
    for state, verbs in {
        "finished": {"classify", "evaluate", "compare", "audit", "optimize", "describe",
                     "concepts"},
        "killed": {"classify", "evaluate", "compare", "audit", "optimize", "describe", "concepts"},
        "stopped": {"classify", "evaluate", "optimize"},
    }.items():  # fmt: skip
        assert {ABOUT[name]["argv"][0] for name in STATES[state]} == verbs


@pytest.mark.parametrize("name", STATES["finished"])
def test_a_finished_run_is_given_again_and_nothing_is_asked(name, place, server):
    go_on(name, place, server)
    assert server.stats.n_requests == 0


@pytest.mark.parametrize("name", STATES["killed"] + STATES["stopped"])
def test_a_run_that_broke_off_asks_only_what_is_missing(name, place, server):
    about, _ = go_on(name, place, server)
    if are_left_alone(about, server):
        return
    assert server.stats.n_answered == about["asked"] > 0
    assert asked_about(server) == about["asked_about"]
    run = json.loads((place / "kept" / "run.json").read_text("utf-8"))
    assert run["state"] == "finished"
    if about["in_doubt"]:  # those in flight when it was killed
        assert run["totals"]["n_requests_in_doubt"] == about["in_doubt"]
    before = server.stats.n_answered
    again = frozen.invoke(about["argv"], server.base_url)
    assert (again.exit_code, server.stats.n_answered) == (0, before)


@pytest.mark.parametrize("name", STATES["killed"])
def test_a_run_that_was_killed_refuses_another_request(name, place, server):
    """So the request of then is read, and means what it meant."""
    about = frozen.place_run(name, place, server.base_url)
    other = {"classify": ("--seed", "7"), "evaluate": ("--seed", "7"), "compare": ("--seed", "7"),
             "audit": ("--seed", "7"), "optimize": ("--seed", "7"), "describe": ("--seed", "7"),
             "concepts": ("--depth", "2")}[about["argv"][0]]  # fmt: skip
    result = frozen.invoke([*about["argv"], *other], server.base_url)
    assert result.exit_code == 2, result.output
    assert "run of another request" in result.stderr
    assert server.stats.n_requests == 0


# -- what the folders hold ------------------------------------------------------------------------
RECORDS = [name for name in STATES["finished"] if ABOUT[name]["argv"][0] == "evaluate"]


@pytest.mark.parametrize("name", RECORDS)
def test_a_record_of_then_opens_and_draws_its_page(name, place):
    record = Record.load(FORMAT1 / "runs" / name)
    told = ABOUT[name]["told"]
    assert record.metrics["accuracy"] == pytest.approx(told["accuracy"], abs=1e-9)
    assert len(record) == told["n_samples"]
    page = record.report(place / "page.html")
    assert f"{100 * told['accuracy']:.1f}" in Path(page).read_text("utf-8")


def test_records_of_then_can_be_compared(place):
    names = ("evaluate-zero-shot", "evaluate-tip-adapter", "evaluate-direct")
    records = [Record.load(FORMAT1 / "runs" / name) for name in names]
    found = compare(records, names=names)
    assert [row["accuracy"] for row in found.rows()] == pytest.approx(
        [ABOUT[name]["told"]["accuracy"] for name in names]
    )
    folders = [str(FORMAT1 / "runs" / name) for name in (*names, "compare-models")]
    result = frozen.invoke(["compare", *folders, "--json"], "")
    assert result.exit_code == 0, result.output
    assert len(json.loads(result.stdout)["records"]) == 6  # 3, and 3 of the comparison


def test_audits_of_then_open_and_draw_their_page(place):
    for file in (FORMAT1 / "audit.json", FORMAT1 / "runs" / "audit" / "audit.json"):
        found = Audit.load(file)
        assert found.n_images > 0
        found.report(place / "page.html")
        assert (place / "page.html").stat().st_size > 5_000
    told = ABOUT["audit"]["told"]
    assert [[p.name, p.verdict] for p in found.probes] == told[1]
    assert found.n_images == told[0]


def test_an_evolution_of_then_opens_and_draws_its_page(place):
    from showtell.evaluate import write_evolution

    found = read_evolution(FORMAT1 / "runs" / "optimize")
    descriptions, n_generations, _ = ABOUT["optimize"]["told"]
    assert (found.state, len(found.generations)) == ("finished", n_generations)
    assert {label: list(t) for label, t in found.chosen.descriptions.items()} == descriptions
    write_evolution(found, place / "page.html")
    assert (place / "page.html").stat().st_size > 5_000
    stopped = read_evolution(FORMAT1 / "runs" / "optimize-stopped")
    assert stopped.state == "stopped"


def test_a_finished_evolution_goes_on_for_more_generations(place, server):
    about = frozen.place_run("optimize", place, server.base_url)
    argv = list(about["argv"])
    argv[argv.index("--generations") + 1] = "3"
    result = frozen.invoke(argv, server.base_url)
    assert result.exit_code == 0, result.output
    assert len(read_evolution("kept").generations) == 4
    assert server.stats.n_answered == 2  # the candidates of the third


def test_descriptions_and_concepts_in_runs_of_then_open():
    told = ABOUT["describe"]["told"]
    made = read_descriptions(FORMAT1 / "runs" / "describe" / "descriptions.json")
    assert {label: list(texts) for label, texts in made.items()} == told
    tree = read_concepts(FORMAT1 / "runs" / "concepts" / "concepts.json")
    assert tree.to_record()["parts"] == ABOUT["concepts"]["told"]
