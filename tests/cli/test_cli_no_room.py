"""Disks that are full, folders that vanish: what was paid for is never lost for want of a place."""

from __future__ import annotations

import json
import os
import shutil
import stat
from pathlib import Path

import pytest
from tests.cli.test_cli_dead_servers import LABELS, MODEL, Raw, label_it
from tests.small_disks import room_for

from showtell.testing import make_images

pytest.importorskip("openai", reason="needs the extra openai")

N = 12


@pytest.fixture
def many(workplace):
    """``many/``: 12 pictures in a folder."""
    make_images(workplace / "many", labels=LABELS, n_per_label=N // 3)
    return Path("many")


@pytest.fixture
def server():
    running = Raw(label_it)
    yield running
    running.close()


@pytest.fixture
def ask(cli, server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-planted-0123456789abcdef")
    cli("classify", "nothing.jpg", "--labels", "a", "--model", MODEL)  # imports write caches

    def run(*arguments):
        return cli("classify", *arguments, "--labels", ",".join(LABELS), "--model", MODEL,
                   "--base-url", server.url, "--images-per-request", "1")  # fmt: skip

    return run


ROOM = [0, 100, 180, 400, 700, 1000, 1500, 2200, 3000, 4000, 5000, 6000]


@pytest.mark.parametrize("room", ROOM)
def test_a_full_run_folder_loses_no_answer_and_the_same_command_goes_on(
    ask, many, server, rows, room
):
    common = (many, "--run", "kept", "--no-reuse", "--max-concurrency", "3")
    with room_for(room):
        first = ask(*common)
    n_first = server.n
    assert first.exit_code == 4, first.output
    assert "Make room" in first.stderr or "make room" in first.stderr
    if n_first:
        statuses = [row["status"] for row in rows(first.stdout)]
        assert len(statuses) == N
        assert statuses.count("ok") == n_first  # all that was paid for
    second = ask(*common)
    assert second.exit_code == 0, second.output
    assert [row["status"] for row in rows(second.stdout)] == ["ok"] * N
    n_twice = server.n - N
    totals = json.loads(Path("kept/run.json").read_text())["totals"]
    assert 0 <= n_twice <= totals["n_requests_in_doubt"] <= 3  # what was in flight
    third = ask(*common)
    assert (third.exit_code, server.n) == (0, N + n_twice)


@pytest.mark.parametrize("room", [100, 3000, 9000, 20_000])
def test_a_full_cache_loses_no_answer(ask, many, server, rows, room):
    with room_for(room):
        result = ask(many)
    assert result.exit_code == 0, result.output
    assert [row["status"] for row in rows(result.stdout)] == ["ok"] * N
    assert server.n == N
    if room < 9000:
        assert "Going on without it" in result.stderr


@pytest.mark.parametrize("name", ["rows.csv", "rows.jsonl", "rows.parquet"])
def test_rows_that_find_no_room_in_a_file_are_printed_and_the_old_file_stays(
    ask, many, server, rows, name
):
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow", reason="needs the extra parquet")
    Path(name).write_text("of before")
    with room_for(300):
        result = ask(many, "--no-reuse", "-o", name)
    assert result.exit_code == 4, result.output
    assert f"showtell: {name} could not be written: " in result.stderr
    assert [row["status"] for row in rows(result.stdout)] == ["ok"] * N
    assert Path(name).read_text() == "of before"
    assert sorted(p.name for p in Path().iterdir() if p.is_file()) == [name]


def test_a_page_that_finds_no_room_stops_no_other_file(ask, many, server, rows):
    with room_for(5000):
        result = ask(many, "--no-reuse", "--report", "page.html", "-o", "rows.csv")
    assert result.exit_code == 4
    assert "showtell: page.html could not be written: " in result.stderr
    assert "rows.csv could not" not in result.stderr
    assert not Path("page.html").exists()
    assert len(rows(Path("rows.csv").read_text())) == N


def test_a_run_folder_that_is_moved_meanwhile_costs_no_row_and_is_gone_on_with(
    ask, many, server, rows
):
    def act(connection, number, body):
        if number == 4:
            Path("kept").rename("elsewhere")
        return label_it(connection, number, body)

    server.act = act
    result = ask(many, "--no-reuse", "--run", "kept", "--max-concurrency", "1")
    assert result.exit_code == 4, result.output
    assert [row["status"] for row in rows(result.stdout)] == ["ok"] * N
    assert "moved or removed" in result.stderr
    assert not Path("kept").exists()
    again = ask(many, "--no-reuse", "--run", "elsewhere")
    assert (again.exit_code, server.n) == (0, N)


def test_a_run_folder_that_is_removed_meanwhile_costs_no_row(ask, many, server, rows):
    def act(connection, number, body):
        if number == 4:
            shutil.rmtree("kept")
        return label_it(connection, number, body)

    server.act = act
    result = ask(many, "--no-reuse", "--run", "kept", "--max-concurrency", "1")
    assert result.exit_code == 4, result.output
    assert [row["status"] for row in rows(result.stdout)] == ["ok"] * N
    assert "Nobody can read them any more" in result.stderr


@pytest.mark.parametrize("name", ["run.json.part", ".run.json.1a2b3c4d.part", ".showtell-9.tmp"])
def test_what_a_killed_process_left_half_written_never_blocks(ask, many, name):
    Path("kept").mkdir()
    Path("kept", name).write_text("")
    assert ask(many, "--run", "kept").exit_code == 0
    Path("own").mkdir()
    Path("own", "photo.txt").write_text("mine")
    result = ask(many, "--run", "own")
    assert result.exit_code == 2
    assert "holds files but no run" in result.stderr


@pytest.mark.skipif(os.name != "posix", reason="rights of files are Unix's")
@pytest.mark.parametrize("exists", [False, True])
def test_a_run_folder_and_what_is_in_it_are_for_their_owner_alone(ask, many, exists):
    before = os.umask(0o022)
    try:
        if exists:
            Path("kept").mkdir()
        assert ask(many, "--run", "kept", "--no-reuse").exit_code == 0
    finally:
        os.umask(before)
    modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in Path("kept").iterdir()}
    assert {"journal.jsonl", "run.json", "report.html"} <= set(modes)
    assert set(modes.values()) == {0o600}
    assert stat.S_IMODE(Path("kept").stat().st_mode) == (0o755 if exists else 0o700)


def test_a_journal_that_is_a_link_is_refused_before_anything_is_asked(ask, many, server, tmp_path):
    Path("kept").mkdir()
    target = tmp_path / "theirs.txt"
    target.write_text("theirs")
    Path("kept", "run.json").symlink_to(tmp_path / "nowhere.json")
    shutil.rmtree("kept")
    assert ask(many, "--run", "kept", "--no-reuse", "--limit", "1").exit_code == 0
    Path("kept", "journal.jsonl").unlink()
    Path("kept", "journal.jsonl").symlink_to(target)
    before = server.n
    result = ask(many, "--run", "kept", "--no-reuse", "--limit", "1")
    assert (result.exit_code, server.n) == (2, before)
    assert "is a link" in result.stderr
    assert target.read_text() == "theirs"


def test_a_read_only_cache_folder_costs_no_answer(ask, many, server, rows, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SHOWTELL_CACHE_DIR", str(tmp_path / "file"))
    result = ask(many)
    assert result.exit_code == 0, result.output
    assert [row["status"] for row in rows(result.stdout)] == ["ok"] * N
    assert "Going on without it" in result.stderr
