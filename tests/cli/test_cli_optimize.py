"""`showtell optimize` and `--method evolving`, through real clients to a server that writes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from showtell.classify import read_evolution
from showtell.prompts import DescriptionSet, read_descriptions
from showtell.testing import ColourEncoder, draw_shape, make_images

pytest.importorskip("uvicorn", reason="local servers need the extra mllm")
pytest.importorskip("openai", reason="needs the extra openai")
servers = pytest.importorskip("showtell.testing.servers")

KEY = "sk-planted-0123456789abcdef"
PRICED = "openai:gpt-4.1-mini"
SHAPES = {"ball": "red circle", "tent": "green triangle", "box": "blue square"}
WORDS = ("bright red", "grass green", "deep blue", "glossy yellow")
NONSENSE = ("a promise", "good luck", "old news")
FEW = ("--generations", 2, "--candidates", 2, "--count", 4, "--replace", 2)


def author():
    """Knows which words help, of photos that nothing is measured on, and mixes in others."""
    drawn = [(name, draw_shape(shape, seed=900 + i)) for name, shape in SHAPES.items()
             for i in range(3)]  # fmt: skip
    return servers.Author(
        images=[image for _, image in drawn], labels=[name for name, _ in drawn],
        words=WORDS, nonsense=NONSENSE,
    )  # fmt: skip


@pytest.fixture(scope="module")
def server():
    with servers.LocalServer("openai", encoder=ColourEncoder(), author=author()) as running:
        yield running


@pytest.fixture(autouse=True)
def _alone(monkeypatch, tmp_path):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    monkeypatch.setenv("SHOWTELL_CACHE_DIR", str(tmp_path / "cache"))


@pytest.fixture
def photos(workplace):
    """``photos/``: nouns that say nothing of their colour, in train/ and test/."""
    for part, n, seed in (("train", 8, 1), ("test", 4, 50)):
        for name, shape in SHAPES.items():
            [*paths] = make_images("drawn", labels=[shape], n_per_label=n, seed=seed)
            place = Path("photos", part, name)
            place.mkdir(parents=True)
            for path in paths:
                path.rename(place / path.name)
    return Path("photos")


@pytest.fixture
def ask(cli, server):
    """``ask("optimize", folder, ...)`` with a priced model at the local server."""

    def run(*arguments, model=PRICED):
        at = ("--model", model, "--base-url", server.base_url)
        result = cli(*arguments, *at)
        assert KEY not in result.output
        assert "Traceback" not in result.output
        assert "This is a bug" not in result.output
        return result

    return run


def test_words_evolve_are_measured_on_other_photos_and_written(ask, photos):
    result = ask("optimize", photos, *FEW, "-o", "best.json")
    assert (result.exit_code, result.stdout) == (0, ""), result.output
    made = read_descriptions("best.json")
    assert set(made) == set(SHAPES)
    assert made.provenance.model == PRICED
    assert made.provenance.source.startswith("generation ")
    said = result.stderr
    assert "note: at most 0.00" in said
    assert "for 4 questions" in said
    assert "generation 0: fitness 0.000, validation 0.000; the start, 0 descriptions" in said
    assert "generation 1: fitness " in said
    assert "best so far" in said
    assert "wrote best.json: generation " in said
    assert " USD for 4 requests" in said
    assert "On 12 photos that played no part: accuracy 0.333 at the start, " in said
    assert "beyond chance" in said


def test_the_same_seed_writes_the_same_words_and_pays_nothing_again(ask, photos, server):
    first = ask("optimize", photos, *FEW, "-o", "one.csv")
    n_before = server.stats.n_answered
    second = ask("optimize", photos, *FEW, "-o", "two.csv")
    assert (first.exit_code, second.exit_code) == (0, 0)
    assert Path("one.csv").read_text() == Path("two.csv").read_text()
    assert server.stats.n_answered == n_before
    assert "0 USD for 0 requests" in second.stderr


def test_the_price_is_said_before_and_nothing_is_asked(ask, photos, server, monkeypatch, rows):
    monkeypatch.delenv("OPENAI_API_KEY")
    n_before = server.stats.n_requests
    result = ask("optimize", photos, *FEW, "--dry-run", "--json")
    assert result.exit_code == 0, result.output
    value = json.loads(result.stdout)
    assert (value["n_generations"], value["n_requests"]) == (2, 4)
    assert value["cost_usd_to_pay"] == value["cost_usd"] > 0
    assert "Nothing was asked." in result.stderr
    assert "2 generations: at most about 0.0" in result.stderr
    other = ask("optimize", photos, *FEW, "--dry-run", model="openai:other")
    assert "2 generations: their price is not known; it ends" in other.stderr
    piped = rows(ask("optimize", photos, *FEW, "--dry-run").stdout)
    assert {row["what"]: row["value"] for row in piped}["n_requests"] == "4"
    assert server.stats.n_requests == n_before
    assert not Path("photos/run.json").exists()


def test_without_a_file_the_words_are_csv_for_a_pipe_and_json_for_a_program(ask, photos, rows):
    piped = ask("optimize", photos, *FEW)
    found = [(row["label"], row["description"]) for row in rows(piped.stdout)]
    value = json.loads(ask("optimize", photos, *FEW, "--json").stdout)
    assert found == [(label, text) for label, of in value["descriptions"].items() for text in of]
    assert value["test"]["n"] == 12
    assert [g["number"] for g in value["generations"]] == [0, 1, 2]
    assert value["generations"][1]["n_answers"] == 2
    assert (value["n_labels"], value["n_support"], value["n_validation"]) == (3, 18, 6)
    assert value["state"] == "finished"
    assert value["cost_usd"] == 0.0  # all answers were there


def test_a_cap_stops_with_what_there_is_and_the_same_command_goes_on(ask, photos, server):
    common = ("optimize", photos, *FEW, "--run", "kept", "-o", "best.json", "--no-reuse",
              "--max-concurrency", 1)  # fmt: skip
    n_before = server.stats.n_answered
    stopped = ask(*common, "--max-requests", 3)
    assert stopped.exit_code == 3, stopped.output
    assert "showtell: Stopped at the cap" in stopped.stderr
    assert "run the same command again" in stopped.stderr
    assert "not measured on other photos" in stopped.stderr
    assert server.stats.n_answered - n_before == 3
    kept = read_evolution("kept")
    assert (kept.state, len(kept.generations)) == ("stopped", 2)
    assert kept.cost_usd > kept.generations[1].cost_usd > 0  # of the third answer too
    assert f"{kept.cost_usd:.2g} USD for 2 requests" in stopped.stderr
    assert dict(read_descriptions("best.json")) == dict(kept.chosen.descriptions)
    assert json.loads(Path("kept/run.json").read_text())["state"] == "stopped"
    assert Path("kept/report.html").exists()

    done = ask(*common)
    assert done.exit_code == 0, done.output
    assert server.stats.n_answered - n_before == 4
    whole = read_evolution("kept")
    assert whole.generations[1].descriptions == kept.generations[1].descriptions
    assert (whole.state, whole.test.n) == ("finished", 12)
    assert json.loads(Path("kept/run.json").read_text())["state"] == "finished"
    assert dict(read_descriptions("kept/descriptions.json")) == dict(whole.chosen.descriptions)

    further = ask("optimize", photos, *FEW[2:], "--generations", 3, "--run", "kept", "--no-reuse")
    assert further.exit_code == 0, further.output
    assert server.stats.n_answered - n_before == 6
    other = ask("optimize", photos, *FEW, "--run", "kept", "--seed", 7)
    assert other.exit_code == 2
    assert "seed was 0 and is 7" in other.stderr


def test_ctrl_c_keeps_what_there_is(ask, photos, monkeypatch):
    import showtell.classify.evolving.loop as loop

    asked = loop.ask_checked
    calls = []

    def pressed(*arguments, **more):
        calls.append(more["stage"])
        if len(calls) > 1:
            raise KeyboardInterrupt
        return asked(*arguments, **more)

    monkeypatch.setattr(loop, "ask_checked", pressed)
    result = ask("optimize", photos, *FEW, "--run", "kept", "-o", "best.json")
    assert result.exit_code == 3, result.output
    assert "showtell: Stopped. Answers that were paid for are kept" in result.stderr
    kept = read_evolution("kept")
    assert (kept.state, len(kept.generations)) == ("stopped", 2)
    assert dict(read_descriptions("best.json")) == dict(kept.chosen.descriptions)
    monkeypatch.setattr(loop, "ask_checked", asked)
    assert ask("optimize", photos, *FEW, "--run", "kept").exit_code == 0
    assert read_evolution("kept").state == "finished"


def test_it_starts_from_a_file_of_descriptions(ask, photos):
    DescriptionSet({"ball": ["deep blue", "a promise"], "tent": ["old news"], "box": []}).write(
        "start.json"
    )
    result = ask("optimize", photos, *FEW, "--descriptions", "start.json", "--run", "kept")
    assert result.exit_code == 0, result.output
    evolution = read_evolution("kept")
    start = evolution.start
    assert start.descriptions["ball"] == ("deep blue", "a promise")
    assert (
        "Current: ball: deep blue | a promise"
        in read_evolution("kept").generations[1].exchanges[0].told
    )


def test_the_page_plays_the_evolution(ask, photos):
    result = ask("optimize", photos, *FEW, "--report", "evolution.html", "-o", "best.json")
    assert result.exit_code == 0, result.output
    assert "wrote evolution.html" in result.stderr
    page = Path("evolution.html").read_text()
    assert "How the descriptions evolved" in page
    assert "<img" in page  # photos of test/


def test_answers_that_cannot_be_used_are_told_of_and_nothing_but_such_is_a_failure(cli, photos):
    class Mute(servers.Author):
        async def write(self, asked, sight, **more):
            return {"classes": []}

    with servers.LocalServer("openai", encoder=ColourEncoder(), author=Mute()) as server:
        result = cli(
            "optimize", photos, *FEW, "--model", PRICED, "--base-url", server.base_url, "-q",
            "-o", "best.json",
        )  # fmt: skip
        assert result.exit_code == 1
        assert "No answer could be used: " in result.stderr
        loud = cli(
            "optimize", photos, *FEW, "--model", PRICED, "--base-url", server.base_url,
            "-o", "best.json",
        )  # fmt: skip
    assert "wrote best.json: generation 0, which has no descriptions" in loud.stderr
    assert "2 of 2 answers of no use" in loud.stderr
    assert "4 answers could not be used; the first: " in loud.stderr
    assert "none was better than the start" in loud.stderr
    assert "(nothing was changed)" in loud.stderr


def test_words_that_are_left_out_are_counted_and_listed_with_v(cli, photos):
    faults = "forget-label=0.5,repeat=0.5"
    with servers.LocalServer(
        "openai", encoder=ColourEncoder(), author=author(), faults=faults
    ) as at:
        result = cli(
            "optimize", photos, *FEW[:4], "--count", 8, "--model", PRICED, "--base-url",
            at.base_url, "-v", "--json",
        )  # fmt: skip
    assert result.exit_code == 0, result.output
    dropped = json.loads(result.stdout)["dropped"]
    assert dropped
    n = sum(map(len, dropped.values()))
    assert f"note: {n} text{'s' if n > 1 else ''} left out: repeated" in result.stderr
    assert f"left out of {next(iter(dropped))}: " in result.stderr
    assert "an answer had nothing for a label, which kept its words" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "Which photos?"),
        (("photos", "--model", "hf-hub:org/name"), "writes nothing"),
        (("photos", "-o", "best.txt"), ".json, .csv, .yaml"),
        (("photos", "--report", "page.pdf"), ".html"),
        (("photos", "--candidates", "0"), "candidates"),
        (("photos", "--labels", "ball,tent"), "'box'"),
        (("photos", "--descriptions", "none.json"), "none.json"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_asked(
    cli, photos, server, arguments, message
):
    n_before = server.stats.n_requests
    model = () if "--model" in arguments else ("--model", PRICED)
    result = cli("optimize", *arguments, *model, "--base-url", server.base_url)
    assert result.exit_code == 2, result.output
    assert message in result.stderr
    assert server.stats.n_requests == n_before


def test_without_a_model_it_says_how_to_name_one(cli, photos):
    result = cli("optimize", photos)
    assert result.exit_code == 2
    assert "Which model? Name it with --model" in result.stderr


def test_the_prompts_can_be_copied_and_edited(ask, cli, photos):
    result = cli("optimize", "--copy-prompts", "mine")
    assert result.exit_code == 0, result.output
    file = Path("mine/system.txt")
    file.write_text(file.read_text() + "\nThink of colours.\n")
    result = ask("optimize", photos, *FEW, "--prompt-dir", "mine", "--run", "kept")
    assert result.exit_code == 0, result.output
    standard = ask("optimize", photos, *FEW, "--run", "usual")
    assert standard.exit_code == 0
    assert read_evolution("kept").prompt_version != read_evolution("usual").prompt_version


def test_on_a_terminal_generations_and_price_are_tables(ask, photos, monkeypatch):
    from showtell.cli import evolutions, output, session, writing

    monkeypatch.setenv("COLUMNS", "100")
    for module in (evolutions, output, session, writing):
        monkeypatch.setattr(module, "is_terminal", lambda stream: True)
    text = ask("optimize", photos, *FEW).stdout
    for words in (
        "generation",
        "fitness",
        "validation",
        "answers used",
        "2 of 2",
        "* the one that",
    ):
        assert words in text
    assert "bright red" in text  # no file has the words, so they are shown
    text = ask("optimize", photos, *FEW, "-o", "best.json").stdout
    assert "answers used" in text
    assert "bright red" not in text
    text = ask("optimize", photos, *FEW, "--dry-run").stdout
    assert "cost_usd_to_pay" in text
    assert " USD" in text


# As a method of other verbs


def test_evaluate_lets_words_evolve_on_train_and_scores_test_with_controls(ask, photos):
    result = ask("evaluate", photos, "--method", "evolving", "--shots", 4, "--json", "--run", "run")
    assert result.exit_code == 0, result.output
    assert "generation 1: fitness " in result.stderr
    value = json.loads(result.stdout)
    assert value["n_samples"] == 12
    assert value["accuracy"] > 0.5
    assert value["controls"]["controls"][0]["accuracy"] == pytest.approx(1 / 3)
    evolution = read_evolution("run")
    assert evolution.n_support == 12
    assert evolution.state in ("finished", "patience")


def test_classify_lets_words_evolve_on_examples(ask, photos, rows):
    found = ask("classify", photos / "test", "--examples", photos / "train", "-m", "evolving",
                "--run", "kept", "--report", "page.html")  # fmt: skip
    assert found.exit_code == 0, found.output
    assert "12 images: 12 ok, 0 errors; " in found.stderr
    assert " USD for " in found.stderr
    assert read_evolution("kept").state in ("finished", "patience")
    answers = rows(found.stdout)
    right = [Path(row["image"]).parent.name == row["label"] for row in answers]
    assert sum(right) > 6


def test_compare_and_estimate_say_the_price_of_evolving_before(ask, photos):
    common = ("--examples", photos / "train", "--method", "evolving", "--json")
    alone = json.loads(ask("estimate", photos / "test", *common).stdout)
    assert alone["n_requests"] == 10 * 4
    assert alone["output_tokens"] > 40 * 100
    result = ask("compare", photos, "--methods", "zero-shot,evolving", "--dry-run", "--json")
    assert result.exit_code == 0, result.output
    [way] = json.loads(result.stdout)["ways"]
    assert (way["name"], way["n_requests"]) == ("evolving", 40)
    ran = ask("compare", photos, "--methods", "zero-shot,evolving", "--json", "--run", "kept",
              "--max-cost", 1)  # fmt: skip
    assert ran.exit_code == 0, ran.output
    by_name = {record["name"]: record for record in json.loads(ran.stdout)["records"]}
    assert by_name["evolving"]["accuracy"] > by_name["zero-shot"]["accuracy"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("evaluate", "photos", "-m", "evolving", "--shots", "0"), "--shots is 1 or more"),
        (("evaluate", "photos", "-m", "evolving", "--role", "a poet"), "does not take --role"),
        (("evaluate", "photos", "-m", "evolving", "--curve"), "goes with the methods few-shot"),
        (("classify", "photos", "-m", "evolving", "-l", "ball,box"), "learns from examples"),
        (("compare", "photos", "--methods", "evolving,evolving@openai:other"), "one model"),
    ],
)  # fmt: skip
def test_options_that_do_not_go_with_evolving_are_refused(ask, photos, arguments, message):
    result = ask(*arguments)
    assert result.exit_code == 2, result.output
    assert message in result.stderr


def test_evolving_without_a_model_says_how_to_name_one(cli, photos):
    result = cli("evaluate", photos, "--method", "evolving")
    assert result.exit_code == 2
    assert "name one with --model provider:name" in result.stderr
