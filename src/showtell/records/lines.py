"""A file of lines that only grows: every line whole or not there, whatever the disk does."""

from __future__ import annotations

import contextlib
import os
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, TypeAlias

from showtell.errors import InputError, NoRoomError, RunError

FsyncPolicy: TypeAlias = Literal["always", "second", "never"]
"""When the disk must have what was written: after every line, about once a second, or when the
operating system likes."""

_POLICIES = ("always", "second", "never")
_OWNER_ONLY = 0o600
_FLAGS = (
    os.O_RDWR
    | os.O_CREAT
    | os.O_APPEND
    | getattr(os, "O_BINARY", 0)
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)  # opening a FIFO would wait for ever
)


class LineFile:
    """Appends lines; made readable by its owner alone.

    A line that could not be written whole (a full disk, a kill) is cut off again, or ended, so
    that the next one never stands on the rest of it. Lines that found no room may be held, and are
    written before the next one.

    Parameters
    ----------
    path : path
        Made if it is not there; its folder must be.
    fsync : {"always", "second", "never"}, default="second"
        See `FsyncPolicy`.
    exclusive : bool, default=True
        Refuse a file that another process writes, where the platform can tell.

    Raises
    ------
    InputError
        If the path is a link or no ordinary file: what is written would go elsewhere.
    RunError
        If another process is writing it, or the disk refuses.
    """

    def __init__(
        self, path: Path, *, fsync: FsyncPolicy = "second", exclusive: bool = True
    ) -> None:
        if fsync not in _POLICIES:
            raise InputError(f"`fsync` must be one of {', '.join(_POLICIES)}, got {fsync!r}.")
        self.path, self.fsync = path, fsync
        self.n_lines = 0
        """Lines there, torn ones included; known once `lines` was read to its end."""
        self._lock = threading.Lock()
        self._synced = time.monotonic()
        self._held: list[bytes] = []
        self._file = _open(path)
        self._end = os.fstat(self._file).st_size
        try:
            if exclusive:
                _lock(self._file, path)
            self._end_torn_line()
        except BaseException:
            self.close(sync=False)
            raise

    def lines(self) -> Iterator[tuple[bytes, int]]:
        """Yield every line with its place, for `read_at`."""
        self.n_lines = position = 0
        with open(os.dup(self._file), "rb") as stream:  # noqa: PTH123
            stream.seek(0)
            for line in stream:
                self.n_lines += 1
                yield line, _pack(position, len(line))
                position += len(line)

    def read_at(self, place: int) -> bytes:
        """Read one line."""
        position, length = place >> 32, place & 0xFFFFFFFF
        if hasattr(os, "pread"):
            return os.pread(self._file, length, position)
        os.lseek(self._file, position, os.SEEK_SET)  # opened to append: writing ignores it
        return os.read(self._file, length)

    def append(self, line: bytes, *, hold: bool = False) -> tuple[int, int | None]:
        """Write a line in one call, so that lines of threads never mix.

        `line`: without the line break; `hold`: keep a line that finds no room, to be written as
        soon as there is some. Returns `number`: in the file, from 1; of a line that is held, the
        one it will have; `place`: None if it is held. Raises NoRoomError if the disk refuses, and
        the line is not to be held.
        """
        with self._lock:
            if self._file < 0:
                raise RunError(f"{self.path} is closed; open it again to write.")
            try:
                self._write_held()
                place = self._write(line + b"\n")
                now = time.monotonic()
                if self.fsync == "always" or (self.fsync == "second" and now > self._synced + 1):
                    os.fsync(self._file)
                    self._synced = now
            except OSError as error:
                if not hold:
                    raise self._refused(error) from error
                self._held.append(line + b"\n")
                return self.n_lines + len(self._held), None
            return self.n_lines, place

    def settle(self) -> None:
        """Write what is held.

        Raises NoRoomError if there is still no room.
        """
        with self._lock:
            try:
                self._write_held()
            except OSError as error:
                raise self._refused(error) from error

    def _refused(self, error: OSError) -> NoRoomError:
        n = len(self._held)
        lost = f" {n:,} line{'' if n == 1 else 's'} found no room." if n else ""
        return NoRoomError(
            f"{self.path} cannot be written: {error.strerror}.{lost} What was written before is "
            "kept; make room and run again."
        )

    def moved_to(self) -> str | None:
        """Say where the file is now, if it is no longer at its path; "" if it was removed."""
        if self._file < 0:
            return None
        with contextlib.suppress(OSError):
            here, there = os.fstat(self._file), self.path.stat()
            if (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino):
                return None
        with contextlib.suppress(OSError):  # Linux knows
            name = os.readlink(f"/proc/self/fd/{self._file}")  # noqa: PTH115
            if Path(name).exists():
                return name
        return ""

    def flush(self) -> None:
        """Have the disk keep all that was written."""
        with self._lock:
            if self._file >= 0:
                try:
                    os.fsync(self._file)
                except OSError as error:
                    raise self._refused(error) from error
                self._synced = time.monotonic()

    def close(self, *, sync: bool = True) -> None:
        """Write what was held, if there is room now; then nothing can be written any more."""
        with self._lock:
            if self._file < 0:
                return
            with contextlib.suppress(OSError):
                self._write_held()
                if sync and self.fsync != "never":
                    os.fsync(self._file)
            os.close(self._file)
            self._file = -1

    def _write_held(self) -> None:
        while self._held:
            self._write(self._held[0])
            del self._held[0]

    def _write(self, line: bytes) -> int:
        """Write a whole line or none; give its place."""
        written = 0
        try:
            while written < len(line):  # a signal or a full disk may cut it short
                written += os.write(self._file, line[written:])
        finally:
            if 0 < written < len(line):
                self._cut_off()
        place = _pack(self._end, len(line))
        self._end += len(line)
        self.n_lines += 1
        return place

    def _cut_off(self) -> None:
        """Take away the part of a line that was written; where that is refused, end it."""
        with contextlib.suppress(OSError):
            os.ftruncate(self._file, self._end)
            return
        self._end_torn_line()

    def _end_torn_line(self) -> None:
        """End a last line that has no line break, so that the next begins on its own."""
        self._end = os.fstat(self._file).st_size
        if self._end and self.read_at(_pack(self._end - 1, 1)) != b"\n":
            try:
                self._end += os.write(self._file, b"\n")
            except OSError:
                self._held.insert(0, b"\n")  # before whatever comes next


def _open(path: Path) -> int:
    try:
        file = os.open(path, _FLAGS, _OWNER_ONLY)
    except OSError as error:
        if path.is_symlink():
            raise InputError(
                f"{path} is a link, so what is written would go elsewhere. Remove it, or choose "
                "another run folder."
            ) from None
        raise RunError(f"{path} cannot be written: {error.strerror}.") from error
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise InputError(f"{path} is no ordinary file. Choose another run folder.")
    return file


def _pack(position: int, length: int) -> int:
    """Pack a place into one number: 200,000 of them should not take much memory."""
    return position << 32 | length


def _lock(file: int, path: Path) -> None:
    """Refuse a second writer, where the platform can tell."""
    try:
        import fcntl
    except ImportError:
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise RunError(
            f"{path} is being written by another process. Wait for it, or choose another run "
            "folder."
        ) from None
    except OSError:
        return  # a file system without locks
