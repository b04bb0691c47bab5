"""Lines that are whole or not there, whatever the disk does."""

from __future__ import annotations

import os
import stat
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.small_disks import room_for

from showtell.errors import InputError, RunError
from showtell.records.lines import LineFile


def lines(path):
    return path.read_bytes().splitlines()


@given(room=st.integers(0, 60))
def test_a_line_that_finds_no_room_is_not_there_and_the_next_one_is_whole(tmp_path_factory, room):
    path = tmp_path_factory.mktemp("full") / "a.jsonl"
    file = LineFile(path, fsync="never")
    file.append(b"first")
    with room_for(6 + room), pytest.raises(RunError, match="make room and run again"):
        file.append(b"x" * 60)
    number, place = file.append(b"third")
    assert file.read_at(place) == b"third\n"
    file.close()
    assert lines(path) == [b"first", b"third"]
    assert number == 2


def test_where_nothing_can_be_cut_off_a_torn_line_is_ended_before_the_next(tmp_path, monkeypatch):
    def refuse(file, length):
        raise OSError("no such thing here")

    monkeypatch.setattr(os, "ftruncate", refuse)
    file = LineFile(tmp_path / "a.jsonl", fsync="never")
    with room_for(10), pytest.raises(RunError):
        file.append(b"x" * 60)
    number, place = file.append(b"whole")
    assert file.read_at(place) == b"whole\n"
    file.close()
    assert lines(tmp_path / "a.jsonl") == [b"x" * 10, b"whole"]
    assert number == 2


def test_what_was_held_for_want_of_room_is_written_when_there_is_some(tmp_path):
    path = tmp_path / "a.jsonl"
    file = LineFile(path, fsync="never")
    with room_for(0):
        assert file.append(b"one", hold=True) == (1, None)
        assert file.append(b"two", hold=True) == (2, None)
        with pytest.raises(RunError, match="2 lines found no room"):
            file.settle()
    number, place = file.append(b"three")
    assert (number, file.read_at(place)) == (3, b"three\n")
    file.settle()
    assert lines(path) == [b"one", b"two", b"three"]
    with room_for(3):
        file.append(b"four", hold=True)
    file.close()
    assert lines(path) == [b"one", b"two", b"three", b"four"]


@pytest.mark.parametrize("end", [b"", b"\n"])
def test_a_torn_line_of_another_process_is_ended_on_opening(tmp_path, end):
    (tmp_path / "a.jsonl").write_bytes(b"whole\ntorn" + end)
    file = LineFile(tmp_path / "a.jsonl")
    file.append(b"next")
    file.close()
    assert lines(tmp_path / "a.jsonl") == [b"whole", b"torn", b"next"]


def test_lines_of_threads_never_mix(tmp_path):
    file = LineFile(tmp_path / "a.jsonl", fsync="never")
    wanted = [f"{name}{i}".encode() * 50 for name in "abcd" for i in range(50)]

    def write(name):
        for i in range(50):
            file.append(f"{name}{i}".encode() * 50)

    threads = [threading.Thread(target=write, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(line.rstrip(b"\n") for line, _ in file.lines()) == sorted(wanted)
    assert file.n_lines == 200
    file.close()


@pytest.mark.skipif(os.name != "posix", reason="rights of files are Unix's")
def test_its_owner_alone_may_read_it(tmp_path):
    before = os.umask(0)
    try:
        LineFile(tmp_path / "a.jsonl").close()
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.jsonl").stat().st_mode) == 0o600


@pytest.mark.skipif(not hasattr(os, "O_NOFOLLOW"), reason="links cannot be told apart here")
@pytest.mark.parametrize("target", ["there.txt", "nowhere.txt"])
def test_a_link_is_refused_and_what_it_leads_to_stays_as_it_is(tmp_path, target):
    (tmp_path / "there.txt").write_text("mine")
    (tmp_path / "a.jsonl").symlink_to(tmp_path / target)
    with pytest.raises(InputError, match="is a link"):
        LineFile(tmp_path / "a.jsonl")
    assert (tmp_path / "there.txt").read_text() == "mine"
    assert not (tmp_path / "nowhere.txt").exists()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no FIFOs here")
def test_a_fifo_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "a.jsonl")
    with pytest.raises(InputError, match="no ordinary file"):
        LineFile(tmp_path / "a.jsonl")


def test_a_file_that_is_moved_or_removed_tells_where_it_is(tmp_path):
    file = LineFile(tmp_path / "a.jsonl")
    assert file.moved_to() is None
    (tmp_path / "a.jsonl").rename(tmp_path / "b.jsonl")
    assert file.moved_to() in (str(tmp_path / "b.jsonl"), "")
    (tmp_path / "b.jsonl").unlink()
    assert file.moved_to() == ""
    file.append(b"still taken")
    file.close()
