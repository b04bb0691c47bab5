"""Files that vanish, grow or are swapped meanwhile, a home without room, a clock that goes back:
every input has one row, and what is wrong is said."""

# ruff: noqa: F811 - fixtures of another file

from __future__ import annotations

import os
import time
from itertools import count
from pathlib import Path

import pytest
from tests.cli.conftest import LABELS
from tests.cli.test_cli_dead_servers import label_it
from tests.cli.test_cli_no_room import ask, server  # noqa: F401

from showtell.testing import make_images

pytest.importorskip("openai", reason="needs the extra openai")

N = 36


@pytest.fixture
def many(workplace):
    """``many/``: more pictures than are read ahead."""
    make_images(workplace / "many", labels=LABELS, n_per_label=N // 3)
    return Path("many")


def in_order(folder):
    """Pictures as a person counts: 2 before 10."""
    paths = folder.rglob("*.png")
    return list(map(str, sorted(paths, key=lambda path: (path.parent.name, int(path.stem)))))


def vanish(path):
    path.unlink()


def shrink(path):
    path.write_bytes(path.read_bytes()[:50])


def empty(path):
    path.write_bytes(b"")


def grow(path):
    with path.open("ab") as stream:
        stream.write(b"\0" * 1_000_000)


def become_text(path):
    path.write_text("no picture any more")


def become_a_folder(path):
    path.unlink()
    path.mkdir()


def become_a_pipe(path):
    path.unlink()
    os.mkfifo(path)


def become_a_device(path):
    path.unlink()
    path.symlink_to("/dev/zero")


def become_a_circle(path):
    path.unlink()
    path.symlink_to(path)


def become_another(path):
    path.write_bytes(next(path.parent.glob("*.png")).read_bytes())


CHANGES = [vanish, shrink, empty, grow, become_text, become_a_folder, become_a_pipe,
           become_a_device, become_a_circle, become_another]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_pictures_that_change_while_a_model_is_asked_have_one_row_each(
    change,
    ask,
    many,
    server,
    rows,
):
    names = in_order(many)

    def act(connection, number, body):
        if number == 2:
            for name in names[4:]:
                change(Path(name))
        return label_it(connection, number, body)

    server.act = act
    result = ask(many, "--no-reuse", "--run", "kept", "--max-concurrency", "1")
    assert result.exit_code == 0, result.output
    got = rows(result.stdout)
    assert [row["image"] for row in got] == names
    assert {row["status"] for row in got} <= {"ok", "error"}
    assert all(row["error"] for row in got if row["status"] == "error")
    assert "Traceback" not in result.output
    assert sum(row["status"] == "ok" for row in got[:2]) == 2
    if change in (vanish, empty, become_text, become_a_folder, become_a_pipe, become_a_device):
        assert [row["status"] for row in got[-3:]] == ["error"] * 3  # not read yet by then


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_pictures_that_change_while_they_are_embedded_have_one_row_each(
    change,
    cli,
    many,
    rows,
    loaded,
    monkeypatch,
):
    from showtell.testing import ColourEncoder

    names = in_order(many)
    real, calls = ColourEncoder.encode_images, []

    def encode(self, images, *arguments, **options):
        if not calls:
            for name in names[2:]:
                change(Path(name))
        calls.append(len(images))
        return real(self, images, *arguments, **options)

    monkeypatch.setattr(ColourEncoder, "encode_images", encode)
    result = cli("classify", many, "-l", "red circle,blue square", "--no-store")
    assert result.exit_code == 0, result.output
    got = rows(result.stdout)
    assert [row["image"] for row in got] == names
    assert all(row["error"] for row in got if row["status"] == "error")


@pytest.mark.parametrize("step", [-3600.0, -0.5])
def test_a_clock_that_goes_back_changes_nothing(
    step,
    ask,
    many,
    server,
    rows,
    monkeypatch,
):
    start, ticks = time.time(), count()
    monkeypatch.setattr(time, "time", lambda: start + step * next(ticks))
    common = (many, "--run", "kept", "--max-concurrency", "2")
    stopped = ask(*common, "--max-requests", "5")
    assert stopped.exit_code == 3, stopped.output
    assert len(rows(stopped.stdout)) == N
    done = ask(*common)
    assert done.exit_code == 0, done.output
    got = rows(done.stdout)
    assert [row["status"] for row in got] == ["ok"] * N
    assert all(float(row["seconds"]) >= 0 for row in got)
    assert server.n == N


def test_a_home_to_which_nothing_can_be_written_costs_no_row(
    ask,
    cli,
    many,
    server,
    rows,
    monkeypatch,
    tmp_path,
):
    (tmp_path / "home").write_text("a file in the place of a home")
    monkeypatch.delenv("SHOWTELL_CACHE_DIR", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    result = ask(many)
    assert result.exit_code == 0, result.output
    assert [row["status"] for row in rows(result.stdout)] == ["ok"] * N
    assert "Going on without it" in result.stderr
    assert server.n == N
    local = cli("classify", many, "-l", "red circle,blue square")
    assert local.exit_code == 0, local.output
    assert [row["status"] for row in rows(local.stdout)] == ["ok"] * N
    assert "Traceback" not in local.output
