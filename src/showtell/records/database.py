"""One SQLite file that threads and processes share, begun by whoever comes first.

Several processes may come to a file that is not there yet at the same moment. SQLite's own waiting
does not cover that: the switch to write-ahead logging and the step from reading to writing inside
a transaction fail at once when another process is in the way. So a file is looked at in one
snapshot, is filled in one transaction that writes from its start, and whoever is turned away
comes again after a moment.
"""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
import threading
import time
import warnings
import weakref
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import SystemRandom
from typing import Any, ClassVar, Self, TypeVar

from showtell.errors import InputError, RunError
from showtell.records.files import cache_folder

PATIENCE = 60.0  # seconds to come again while other processes are in the way
_AT_A_TIME = 0.5  # seconds of waiting inside SQLite, where Ctrl-C is not heard
_MOVING = 10.0  # seconds after which who moves a damaged file was killed; it takes milliseconds
_OFF = {"off", "0", "no", "none", "false"}
_PAUSE = (0.005, 0.1)  # seconds between two attempts; drawn, so that processes fall out of step

T = TypeVar("T")


class Database:
    """What stores have in common; a subclass names itself, its tables and its questions.

    Parameters
    ----------
    path : str or path-like
        The file. It and its folder are made on first use; nothing is opened before. It is
        closed by ``close()`` or at the end of a ``with`` block, and opened again when needed.

    Raises
    ------
    InputError
        On first use, if the file exists and is something else than such a store.
    RunError
        On use, if the disk refuses: read-only, full, locked for more than a minute. A damaged
        file is moved aside (``….damaged-N``) with a warning and begun anew.
    """

    _what: ClassVar[str]
    """For messages: ``store of embeddings``."""
    _stem: ClassVar[str]
    """Its files are called ``STEM.sqlite`` or ``STEM-LAYOUT.sqlite`` unless somebody says else."""
    _application: ClassVar[int]
    """Tells our files from other SQLite files."""
    _layout: ClassVar[int]
    _tables: ClassVar[tuple[str, ...]]
    """One ``CREATE TABLE IF NOT EXISTS`` each."""
    _advice: ClassVar[str]
    """What to do if the file cannot be used; a sentence."""
    _warning: ClassVar[type[UserWarning]]
    """Category for damage."""
    _private: ClassVar[bool] = False
    """Whether a new file is for its owner's eyes alone."""
    _switch: ClassVar[str]
    """The environment variable that turns the one in the cache folder off."""
    _usual: ClassVar[Any] = None
    """The one in the cache folder, once it was asked for."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._finalizer: weakref.finalize[..., Any] | None = None
        self._opened: tuple[int, int] | None = None  # device and inode of what was opened
        with _registering:
            _all.add(self)

    @classmethod
    def usual(cls) -> Self | None:
        """Return the one in `cache_folder`, or None where its variable says ``off``."""
        if os.environ.get(cls._switch, "").strip().lower() in _OFF:
            return None
        path = cache_folder() / f"{cls._stem}-{cls._layout}.sqlite"
        with _choosing:
            if cls._usual is None or cls._usual.path != path:
                if cls._usual is not None:
                    cls._usual.close()
                cls._usual = cls(path)
            usual: Self = cls._usual
            return usual

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        with self._lock:
            if self._finalizer is not None:
                self._finalizer()
            self._connection = self._finalizer = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[type[Self], tuple[str]]:
        return type(self), (str(self.path),)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.path)!r})"

    def _rows(self, question: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """All rows that a SELECT gives."""
        with self._using() as connection:
            return _patiently(lambda: connection.execute(question, values).fetchall())

    @contextlib.contextmanager
    def _writing(self, patience: float | None = None) -> Iterator[sqlite3.Connection]:
        """Give a transaction that may write from its start; all of it is kept, or nothing."""
        with self._using() as connection:
            try:
                _patiently(lambda: connection.execute("BEGIN IMMEDIATE"), patience)
                yield connection
                _patiently(lambda: connection.execute("COMMIT"), patience)
            except BaseException:
                with contextlib.suppress(sqlite3.Error):  # it has ended, or did not begin
                    connection.execute("ROLLBACK")
                raise

    def _give_space_back(self) -> None:
        """Shrink the file to what is in it, unless another process reads."""
        with self._using() as connection, contextlib.suppress(sqlite3.OperationalError):
            connection.execute("VACUUM")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _n_bytes(self) -> int:
        """Size of the files on disk."""
        size = 0
        for end in ("", "-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):  # they come and go
                size += self._beside(end).stat().st_size
        return size

    @contextlib.contextmanager
    def _using(self) -> Iterator[sqlite3.Connection]:
        """Give the open connection to one thread; turn what SQLite raises into our errors."""
        with self._lock:
            try:
                yield self._open()
            except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
                self.close()
                if _is_damage(error) and self._is_ours():
                    self._move_aside(error)
                    raise RunError(
                        f"The {self._what} {str(self.path)!r} was damaged ({error}) and has been "
                        "moved aside. Run again."
                    ) from error
                raise self._unusable(str(error)) from error

    def _open(self) -> sqlite3.Connection:
        if self._connection is not None:
            return self._connection
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            reason = f"the folder {self.path.parent} cannot be made ({error.strerror})"
            raise self._unusable(reason) from error
        try:
            connection = _patiently(self._connect)
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
            if not _is_damage(error):
                raise
            if not self._is_ours():
                raise self._not_ours() from error
            self._move_aside(error)
            connection = _patiently(self._connect)
        self._connection = connection
        self._finalizer = weakref.finalize(self, connection.close)
        return connection

    def _connect(self) -> sqlite3.Connection:
        if self._private:
            with contextlib.suppress(OSError):  # it is there, or SQLite says what is wrong
                os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        self._opened = _identity(self.path)
        connection = sqlite3.connect(
            self.path, timeout=_AT_A_TIME, isolation_level=None, check_same_thread=False
        )
        try:
            connection.execute("BEGIN")  # one picture: another process may be filling the file
            is_ready = self._inspect(connection)
            connection.execute("COMMIT")
            self._log_ahead(connection)
            connection.execute("PRAGMA synchronous = NORMAL")
            if not is_ready:
                self._fill(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _inspect(self, connection: sqlite3.Connection) -> bool:
        """Whether nothing is to be made; somebody else's file, or another layout, is an error."""
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (layout,) = connection.execute("PRAGMA user_version").fetchone()
        (n_tables,) = connection.execute(
            "SELECT COUNT(*) FROM sqlite_master WHERE type = 'table'"
        ).fetchone()
        if application != self._application:
            if application or n_tables:
                raise self._not_ours()
            return False
        if layout not in {0, self._layout}:  # 0: from before caches of answers noted it
            raise InputError(
                f"{str(self.path)!r} is a {self._what} of layout {layout}; this version reads "
                f"layout {self._layout}. Choose another file."
            )
        return bool(layout) and n_tables >= len(self._tables)

    def _log_ahead(self, connection: sqlite3.Connection) -> None:
        """Let readers and a writer work at once; some network disks cannot: slower, but works."""
        (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
        if mode == "wal":
            return
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if _is_busy(error):
                raise

    def _fill(self, connection: sqlite3.Connection) -> None:
        connection.execute("BEGIN IMMEDIATE")
        if not self._inspect(connection):  # nobody else was quicker
            connection.execute(f"PRAGMA application_id = {self._application}")
            connection.execute(f"PRAGMA user_version = {self._layout}")
            for table in self._tables:
                connection.execute(table)
        connection.execute("COMMIT")

    def _unusable(self, reason: str) -> RunError:
        return RunError(
            f"The {self._what} {str(self.path)!r} cannot be used: {reason}. {self._advice}"
        )

    def _not_ours(self) -> InputError:
        return InputError(
            f"{str(self.path)!r} exists and is no {self._what}; it was left as it is. Give a new "
            "file name."
        )

    def _is_ours(self) -> bool:
        """Whether a damaged file may be moved: nobody's photo or database is."""
        if re.fullmatch(rf"{self._stem}(-\d+)?\.sqlite", self.path.name):
            return True
        try:
            with self.path.open("rb") as file:
                header = file.read(72)
        except OSError:
            return False
        return header[68:72] == self._application.to_bytes(4, "big")

    def _move_aside(self, error: Exception) -> None:
        """Keep a damaged file under another name; a new one that is there already stays."""
        try:
            with self._moving():
                if _identity(self.path) != self._opened:
                    return  # another process was quicker
                number = 1
                while (aside := self._beside(f".damaged-{number}")).exists():
                    number += 1
                # First what belongs to the file, lest it is taken from a new one.
                with contextlib.suppress(FileNotFoundError):
                    self._beside("-wal").rename(self._beside(f".damaged-{number}-wal"))
                self._beside("-shm").unlink(missing_ok=True)
                self.path.rename(aside)
        except OSError as refused:  # Windows, while another process has it open
            raise self._unusable(
                f"{error}, and the file cannot be moved aside ({refused.strerror})"
            ) from error
        warnings.warn(
            f"The {self._what} {str(self.path)!r} was damaged ({error}); it is kept as "
            f"{aside.name!r} and a new one is begun.",
            self._warning,
            stacklevel=2,
        )

    @contextlib.contextmanager
    def _moving(self) -> Iterator[None]:
        """Let one process at a time move; the mark of one that was killed meanwhile is passed."""
        mark = self._beside(".moving")
        until = time.monotonic() + _MOVING
        while time.monotonic() < until:
            try:
                mark.mkdir()
                break
            except FileExistsError:
                time.sleep(_chance.uniform(*_PAUSE))
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                mark.rmdir()

    def _beside(self, end: str) -> Path:
        return self.path.with_name(self.path.name + end)


def _patiently(act: Callable[[], T], patience: float | None = None) -> T:
    """Do it again, for a while, as long as other processes are in the way."""
    until = time.monotonic() + (PATIENCE if patience is None else patience)
    while True:
        try:
            return act()
        except sqlite3.OperationalError as error:
            if not _is_busy(error) or time.monotonic() >= until:
                raise
        time.sleep(_chance.uniform(*_PAUSE))


def _is_busy(error: sqlite3.DatabaseError) -> bool:
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


def _is_damage(error: Exception) -> bool:
    """Whether SQLite says that the file itself is wrong, not that it is busy or read-only."""
    if isinstance(error, UnicodeDecodeError):  # of a name or text in it
        return True
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


_chance = SystemRandom()  # leaves the numbers alone that a user has seeded

# No connection may cross a fork: the child may neither use nor close it. So all of them are closed
# before, and opened again on the next use; the locks are held meanwhile, or the child would find
# one taken by a thread that it does not have.
_all: weakref.WeakSet[Database] = weakref.WeakSet()
_registering = threading.Lock()
_choosing = threading.Lock()
_held: list[Database] = []


def _before_fork() -> None:
    _registering.acquire()
    for database in list(_all):
        database._lock.acquire()
        _held.append(database)
        database.close()


def _after_fork() -> None:
    while _held:
        _held.pop()._lock.release()
    _registering.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork
    )
