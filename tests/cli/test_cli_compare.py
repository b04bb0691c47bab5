from __future__ import annotations

import json
from pathlib import Path

import pytest

from showtell.errors import InputError
from showtell.recipes import base_url_of, ways_of


def test_methods_are_compared_on_the_same_images(cli, parted):
    result = cli("compare", parted, "--methods", "zero-shot,prototype", "--shots", "1", "--json")
    assert result.exit_code == 0, result.output
    value = json.loads(result.stdout)
    assert value["n_samples"] == 6
    assert {row["name"] for row in value["records"]} == {"zero-shot", "prototype"}
    assert len(value["pairs"]) == 1
    assert result.stderr.strip().endswith(f"{value['sentence']}\n{value['choice']['sentence']}")


def test_into_a_pipe_the_methods_are_csv(cli, parted, rows):
    got = rows(cli("compare", parted, "--methods", "zero-shot,prototype,linear").stdout)
    assert len(got) == 3
    assert {"name", "accuracy", "accuracy_low", "accuracy_high"} <= got[0].keys()


def test_a_report_is_written(cli, parted):
    result = cli("compare", parted, "--methods", "zero-shot,prototype", "--report", "c.html")
    assert result.exit_code == 0, result.output
    page = Path("c.html").read_text("utf-8")
    assert "zero-shot" in page
    assert "prototype" in page


def test_runs_that_were_kept_are_compared_by_their_folders(cli, parted):
    cli("evaluate", parted, "--run", "a")
    cli("evaluate", parted, "--run", "b", "--shots", "1")
    result = cli("compare", "a", "b", "--json")
    assert result.exit_code == 0, result.output
    assert len(json.loads(result.stdout)["records"]) == 2


def test_runs_about_other_images_are_not_compared(cli, parted, shapes):
    cli("evaluate", parted, "--run", "a")
    cli("evaluate", shapes, "--run", "b")
    result = cli("compare", "a", "b")
    assert result.exit_code == 2
    assert "not about the same samples" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("parted",),
            "or two or more run folders made by",
        ),
        (("parted", "shapes"), "run.json"),
        (("parted", "--methods", "zero-shot"), "two or more different methods"),
        (("parted", "--methods", "linear,linear"), "two or more different methods"),
        (("parted", "--methods", "zero-shot,magic"), "Unknown method 'magic'"),
        (("parted", "x", "--methods", "zero-shot,linear"), "--methods takes one DATA"),
        (("parted", "--methods", "auto,linear"), "'auto' is no method to compare by"),
        (("parted", "--methods", "linear@,zero-shot"), "should follow the @"),
        (("parted", "--methods", "linear,direct@mini"), "named provider:name"),
        (("parted", "--methods", "linear,direct"), "name one with --model"),
        (("parted", "--dry-run"), "--dry-run goes with --methods"),
    ],
)
def test_wrong_use_is_one_line_and_exit_code_2(cli, parted, shapes, arguments, message):
    result = cli("compare", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


def test_each_method_goes_with_every_encoder_and_pairs_with_their_own():
    names = [way.name for way in ways_of("zero-shot,linear@b", [], ["mini", "other"])]
    assert names == ["zero-shot@mini", "zero-shot@other", "linear"]
    both = ways_of("direct,zero-shot,in-context@ollama:c", ["openai:a", "google:b"], ["mini"])
    assert [(way.name, way.row.name, way.target) for way in both] == [
        ("direct@openai:a", "direct", "openai:a"),
        ("direct@google:b", "direct", "google:b"),
        ("zero-shot", "zero-shot", "mini"),
        ("in-context", "in-context", "ollama:c"),
    ]
    local = ways_of("likelihood,direct", ["local-dir:x", "openai:a"], ["mini"])
    assert [(way.row.name, way.target) for way in local] == [
        ("likelihood", "local-dir:x"),
        ("direct", "openai:a"),
    ]


def test_a_base_url_of_one_provider_is_not_used_for_another():
    models = ["openai:a", "google:b"]
    with pytest.raises(InputError, match=r"`base_url` openai=http://x, once for each provider"):
        base_url_of("openai:a", ["http://x"], models)
    assert base_url_of("openai:a", ["http://x?q=1"], models[:1]) == "http://x?q=1"
    assert base_url_of("google:b", ["openai=http://x"], models) is None


def test_two_encoders_are_compared(cli, parted, monkeypatch):
    import showtell.encoders.registry as registry
    from showtell.testing import ColourEncoder, HashEncoder

    def load(name, precision, threads):
        return ColourEncoder() if name == "mini" else HashEncoder()

    monkeypatch.setattr(registry, "_load", load)
    monkeypatch.setattr(registry, "_loaded", {})
    result = cli(
        "compare", parted, "--methods", "prototype", "-e", "mini", "-e", "hf-hub:some/other",
        "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    value = json.loads(result.stdout)
    by_name = {row["name"]: row for row in value["records"]}
    assert set(by_name) == {"prototype@mini", "prototype@hf-hub:some/other"}
    assert by_name["prototype@mini"]["accuracy"] == 1.0
    assert value["records"][0]["name"] == "prototype@mini"


def test_a_comparison_is_kept_goes_on_and_is_shown_again(cli, parted):
    common = ("compare", parted, "--methods", "zero-shot,prototype", "--run", "kept", "--json")
    first = cli(*common)
    assert first.exit_code == 0, first.output
    kept = Path("kept")
    assert (kept / "report.html").is_file()
    names = sorted(p.name for p in (kept / "records").iterdir())
    assert names == ["01-zero-shot", "02-prototype"]
    again = cli(*common, "-v")
    assert "zero-shot is finished." in again.stderr
    assert json.loads(again.stdout) == json.loads(first.stdout)
    shown = cli("compare", "kept", "--json")
    assert shown.exit_code == 0, shown.output
    assert json.loads(shown.stdout) == json.loads(first.stdout)
    other = cli("compare", parted, "--methods", "zero-shot,linear", "--run", "kept")
    assert other.exit_code == 2
    assert "the run of another request" in other.stderr


def test_stored_runs_have_the_same_columns(cli, parted, rows):
    cli("evaluate", parted, "--run", "a")
    cli("evaluate", parted, "--run", "b", "--shots", "1")
    fresh = rows(cli("compare", parted, "--methods", "zero-shot,prototype").stdout)
    stored = rows(cli("compare", "a", "b").stdout)
    assert fresh[0].keys() == stored[0].keys()
    assert {"usd_per_1000", "seconds", "ece", "brier", "error_rate", "on_front"} <= set(stored[0])
    assert {row["usd_per_1000"] for row in stored} == {"0.0"}


def test_the_margin_is_given_in_points(cli, parted):
    common = ("compare", parted, "--methods", "zero-shot,prototype", "--json")
    value = json.loads(cli(*common, "--margin", "10").stdout)
    assert value["choice"]["margin"] == pytest.approx(0.1)
    assert json.loads(cli(*common).stdout)["choice"]["margin"] == pytest.approx(0.02)
    assert cli(*common, "--margin", "0").exit_code == 2


def test_settings_name_the_encoder_of_a_comparison(cli, parted, loaded):
    Path("showtell.toml").write_text('encoder = "mini"\nmodel = "openai:unused"\n')
    named = ("--config", "showtell.toml")
    result = cli("compare", parted, "--methods", "zero-shot,prototype", "--json", *named)
    assert result.exit_code == 0, result.output
    assert {name for name, *_ in loaded} == {"mini"}
