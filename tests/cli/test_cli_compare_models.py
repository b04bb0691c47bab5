"""`compare` with models of several providers: prices, one cap for all, going on, and the page."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from showtell.testing import ColourEncoder

pytest.importorskip("openai", reason="needs the extra openai")
pytest.importorskip("google.genai", reason="needs the extra google")

KEY = "sk-planted-0123456789abcdef"
OPENAI, GOOGLE = "openai:gpt-4.1-mini", "google:gemini-2.5-flash"


@pytest.fixture(autouse=True)
def _keys(monkeypatch, tmp_path):
    for name in ("OPENAI", "GOOGLE", "GEMINI", "ANTHROPIC", "OPENROUTER"):
        monkeypatch.delenv(f"{name}_API_KEY", raising=False)
        monkeypatch.delenv(f"{name}_BASE_URL", raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("GOOGLE_API_KEY", KEY)
    monkeypatch.setenv("SHOWTELL_CACHE_DIR", str(tmp_path / "cache"))


@pytest.fixture
def servers():
    made = pytest.importorskip("showtell.testing.servers")
    common = {"encoder": ColourEncoder(), "rule": "nearest"}
    with (
        made.LocalServer("openai", **common) as openai,
        made.LocalServer("google", **common) as google,
    ):
        yield openai, google


def options(servers):
    openai, google = servers
    return (
        "--shots", "1", "--model", f"{OPENAI},{GOOGLE}",
        "--base-url", f"openai={openai.base_url}", "--base-url", f"google={google.base_url}",
    )  # fmt: skip


def test_models_of_two_providers_and_an_encoder_side_by_side(cli, parted, servers):
    result = cli("compare", parted, "--methods", "few-shot,in-context", *options(servers), "--json")
    assert result.exit_code == 0, result.output
    value = json.loads(result.stdout)
    by_name = {row["name"]: row for row in value["records"]}
    assert set(by_name) == {"few-shot", f"in-context@{OPENAI}", f"in-context@{GOOGLE}"}
    assert by_name["few-shot"]["usd_per_1000"] == 0
    for server, model in zip(servers, (OPENAI, GOOGLE), strict=True):
        row = by_name[f"in-context@{model}"]
        assert row["usd_per_1000"] == pytest.approx(1000 * row["cost_usd"] / 6)
        assert row["cost_usd"] > 0
        assert row["seconds_per_image"] > 0
        assert server.stats.n_requests > 0
    assert len(value["pairs"]) == 3
    assert by_name["few-shot"]["on_front"]
    # Six images on which all are right cannot show that one is not worse by two points.
    assert value["choice"]["name"] == "few-shot"
    [told] = [line for line in result.stderr.splitlines() if line.startswith("note: all together")]
    assert told.startswith("note: all together: about ")
    assert result.stderr.splitlines()[-1].count(" USD for ") == 1


def test_answers_used_again_are_priced_at_what_they_cost(cli, parted, servers):
    common = ("compare", parted, "--methods", "direct,in-context", *options(servers), "--json")
    first = json.loads(cli(*common).stdout)
    again = cli(*common)
    value = json.loads(again.stdout)
    assert "answers were there already" in again.stderr
    prices = {row["name"]: row["usd_per_1000"] for row in first["records"]}
    assert {row["name"]: row["usd_per_1000"] for row in value["records"]} == pytest.approx(prices)
    assert [row["cost_usd"] for row in value["records"]] == [0, 0, 0, 0]
    assert {row["seconds_per_image"] for row in value["records"]} == {None}


def test_one_cap_stops_all_and_the_same_command_goes_on(cli, parted, servers):
    common = ("compare", parted, "--methods", "direct", *options(servers)[2:], "--run", "kept",
              "--images-per-request", "1", "--json")  # fmt: skip
    stopped = cli(*common, "--max-requests", "8")
    assert stopped.exit_code == 3, stopped.output
    openai, google = servers
    assert (openai.stats.n_answered, google.stats.n_answered) == (6, 2)
    assert [p.name for p in Path("kept/records").iterdir()] == ["01-direct-openai-gpt-4.1-mini"]
    done = cli(*common)
    assert done.exit_code == 0, done.output
    assert (openai.stats.n_answered, google.stats.n_answered) == (6, 6)
    rows = {row["name"]: row for row in json.loads(done.stdout)["records"]}
    assert all(row["usd_per_1000"] > 0 for row in rows.values())
    assert KEY not in "".join(
        p.read_text("utf-8", "replace") for p in Path("kept").rglob("*") if p.is_file()
    )


def test_a_cap_in_dollars_holds_for_all_models_together(cli, parted, servers):
    common = (
        "compare",
        parted,
        "--methods",
        "direct",
        *options(servers)[2:],
        "--images-per-request",
        "1",
    )
    result = cli(*common, "--max-cost", "0.0001")
    assert result.exit_code == 3
    assert "that is more than --max-cost 0.0001" in result.stderr
    asked = sum(server.stats.n_answered for server in servers)
    assert asked < 12


def test_a_dry_run_estimates_and_asks_nobody(cli, parted, servers):
    common = ("compare", parted, "--methods", "zero-shot,direct", *options(servers)[2:])
    result = cli(*common, "--dry-run", "--json", "--run", "kept")
    assert result.exit_code == 0, result.output
    value = json.loads(result.stdout)
    assert [way["name"] for way in value["ways"]] == [f"direct@{OPENAI}", f"direct@{GOOGLE}"]
    assert value["cost_usd"] == pytest.approx(sum(way["cost_usd"] for way in value["ways"]))
    assert not Path("kept").exists()
    assert [server.stats.n_requests for server in servers] == [0, 0]
    run = json.loads(cli(*common, "--json").stdout)
    paid = {row["name"]: row["cost_usd"] for row in run["records"]}
    for way in value["ways"]:
        assert way["n_requests"] > 0
        assert paid[way["name"]] == pytest.approx(way["cost_usd"], rel=0.5)


def test_a_model_without_a_price_cannot_be_capped_and_is_not_called_free(cli, parted, servers):
    base = ("--base-url", servers[0].base_url)
    common = ("compare", parted, "--methods", "zero-shot,direct@openai:unheard-of", *base)
    capped = cli(*common, "--max-cost", "1")
    assert capped.exit_code == 2
    assert "The price of openai:unheard-of is not known" in capped.stderr
    assert servers[0].stats.n_requests == 0
    result = cli(*common, "--json", "--report", "page.html")
    assert result.exit_code == 0, result.output
    value = json.loads(result.stdout)
    row = next(r for r in value["records"] if r["name"] == "direct")
    assert row["usd_per_1000"] is None
    assert not row["on_front"]
    assert "The price of direct is not known" in value["choice"]["sentence"]
    assert "price unknown" in Path("page.html").read_text("utf-8")
