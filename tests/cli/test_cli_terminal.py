"""What a person sees on a terminal: tables, and progress on standard error alone."""

from __future__ import annotations

import importlib
import io
import os
import pkgutil
import sys
from pathlib import Path

import pytest

import showtell.cli as cli_room
from showtell.cli import session
from showtell.cli.session import Session, printable
from showtell.testing import draw_shape

LABELS = "red circle,green triangle,blue square"


@pytest.fixture
def terminal(monkeypatch):
    """Both streams are a terminal, 100 characters wide."""
    monkeypatch.setenv("COLUMNS", "100")
    for module in pkgutil.walk_packages(cli_room.__path__, f"{cli_room.__name__}."):
        importlib.import_module(module.name)  # one that came later would keep the replacement
    for name, module in list(sys.modules.items()):
        if name.startswith("showtell.") and hasattr(module, "is_terminal"):
            monkeypatch.setattr(module, "is_terminal", lambda stream: True)


def test_predictions_are_a_table_without_empty_columns(cli, shapes, terminal):
    text = cli("classify", shapes, "--labels", LABELS).stdout
    assert "shapes/red circle/0.png" in text
    assert "confidence" in text
    assert "error" not in text
    assert "image,label" not in text


def test_errors_have_a_column_when_there_are_any(cli, shapes, terminal):
    text = cli("classify", shapes, "-", "--labels", LABELS, stdin="gone.jpg\n").stdout
    assert "error" in text
    assert "gone.jpg" in text


def test_a_long_table_is_cut_and_says_so(cli, shapes, terminal):
    names = "".join("shapes/red circle/0.png\n" for _ in range(300))
    result = cli("classify", "-", "--labels", LABELS, stdin=names)
    assert result.stdout.count("shapes/red circle/0.png") == 50
    assert "note: 250 further rows are not shown; -o out.csv writes all of them." in result.stderr


def test_markup_in_names_and_labels_is_text(cli, workplace, terminal):
    draw_shape("red circle").save("[bold red]x[b].png")
    text = cli("classify", ".", "--labels", "[bold]red,green").stdout
    assert "[bold red]x[b].png" in text
    assert "[bold]red" in text


def test_control_characters_in_names_cannot_steer_the_terminal(cli, workplace, terminal):
    draw_shape("red circle").save("\x1b[2Jx.png")
    gone = "gone\x1b]0;title\x07.png"
    assert "\x1b]0;" not in cli("classify", gone, "--labels", LABELS).output
    result = cli("classify", ".", "-", "--labels", LABELS, stdin=gone)
    assert "\x1b[2J" not in result.output
    assert "\x1b]0;" not in result.output
    assert "\\x1b[2Jx.png" in result.stdout


def test_measures_labels_mistakes_and_curve_are_tables(cli, parted, terminal):
    draw_shape("blue square").save("parted/test/red circle/8.png")
    draw_shape("blue square", seed=2).save("parted/test/red circle/9.png")
    result = cli("evaluate", parted, "--curve", "--curve-shots", "0,1,9", "--seeds", "1")
    assert result.exit_code == 0, result.output
    for words in ("accuracy", "macro F1", "support", "actual", "shots", "9 shots need 9"):
        assert words in result.stdout
    assert "red circle" in result.stdout


def test_answers_that_needed_parsing_are_a_table(cli, workplace, terminal):
    Path("a.csv").write_text("actual,predicted\ncat,A cat!\ndog,who knows\n")
    text = cli("evaluate", "--predictions", "a.csv").stdout
    assert "containment" in text
    assert "invalid" in text


def test_a_comparison_is_two_tables(cli, parted, terminal):
    text = cli("compare", parted, "--methods", "zero-shot,prototype").stdout
    assert "95 % interval" in text
    assert "may be chance" in text


def test_encoders_and_cache_are_tables(cli, shapes, terminal):
    cli("classify", shapes, "--labels", LABELS)
    assert "mini" in cli("encoders").stdout
    assert "colours" in cli("cache").stdout


def test_progress_is_drawn_on_stderr_only_and_not_when_quiet(shapes, terminal, monkeypatch):
    drawn = io.StringIO()
    monkeypatch.setattr(sys, "stderr", drawn)
    with Session().progress() as report:
        report(1, 2, "embedding")
        report(2, 2, "embedding")
    assert "embedding" in drawn.getvalue()
    before = drawn.getvalue()
    with Session(quiet=True).progress() as report:
        report(1, 2, "embedding")
    assert drawn.getvalue() == before


def test_without_a_terminal_there_is_no_progress(cli, shapes):
    assert "embed" not in cli("classify", shapes, "--labels", LABELS).stderr


def test_a_stream_that_is_closed_is_no_terminal():
    stream = io.StringIO()
    stream.close()
    assert not session.is_terminal(stream)
    assert not session.is_terminal(None)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("naïve 猫", "naïve 猫"),
        ("a\nb", "a\\nb"),
        ("\x1b[31m", "\\x1b[31m"),
        ("\u202egpj", "\\u202egpj"),
        (os.fsdecode(b"\xff"), "\\udcff"),
    ],
)
def test_what_cannot_be_printed_is_shown_as_an_escape(text, shown):
    assert printable(text) == shown


def test_a_long_title_is_one_line_that_can_be_copied(cli, shapes, terminal):
    cli("classify", shapes, "--labels", LABELS)
    text = cli("cache").stdout
    assert str(Path(os.environ["SHOWTELL_CACHE_DIR"], "embeddings-1.sqlite")) in text


def test_no_difference_has_no_sign(cli, parted, terminal):
    text = cli("compare", parted, "--methods", "prototype,linear,tip-adapter").stdout
    assert "may be chance" in text
    assert "-0.0" not in text


def test_a_curve_is_one_bar_of_progress(cli, parted, terminal, monkeypatch):
    stages = []

    def watch(self):
        from contextlib import nullcontext

        return nullcontext(lambda done, total, stage: stages.append((stage, done, total)))

    monkeypatch.setattr(Session, "progress", watch)
    cli("evaluate", parted, "--curve", "--curve-shots", "1,2", "--seeds", "2")
    ticks = [(done, total) for stage, done, total in stages if "shot" in stage]
    assert ticks == [(0, 4), (1, 4), (2, 4), (3, 4), (4, 4)]
    assert {stage for stage, *_ in stages if "shot" in stage} == {"shot curve"}


def test_a_comparison_leaves_out_columns_that_say_nothing(cli, parted, terminal):
    text = cli("compare", parted, "--methods", "zero-shot,prototype").stdout
    assert "macro F1" in text
    assert "abstained" not in text
    assert "failed" not in text
    some = cli(
        "compare", parted, "--methods", "zero-shot,prototype", "--abstain-below", "0.99"
    ).stdout
    assert "abstained" in some
