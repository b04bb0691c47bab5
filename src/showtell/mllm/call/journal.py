r"""What a run asked and was answered: append-only, safe against kill -9 and power loss.

``journal.jsonl`` in the run's folder, one JSON object per line:

``start``
    A process began to write: schema, version of showtell, time, a random name of the run.
``prefix``
    Content hashes of the demonstrations that later requests name by one hash.
``asking``
    A request is about to be sent: its key and what it may cost. Without an ``answer`` or a
    ``failure`` of the same key after it, the process died with the request in flight, or the
    answer was lost on the way; the provider may bill it, so it is counted as in doubt.
``answer``
    A request's key, prompt version, images (by hash and size) and what came back.
``turned_away``
    A request was refused (too many at once, a bad key), so that it costs nothing.
``failure``
    A request that got no answer: kind of the error and one line of text.
``sample``
    What became of one sample: its id, status and whatever the classifier adds.

Every line is handed to the operating system at once, so a killed process loses nothing that was
written; how often the disk is told to keep it (`fsync`) is a matter of power loss alone. A last
line that was torn apart is passed over. Never in it: keys, image bytes, prompts.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, TypeAlias

from showtell._version import __version__
from showtell.errors import InputError, RunError, SavedFolderError
from showtell.mllm.base import Answer, ImagePart, Request
from showtell.mllm.call.stored import answer_from_record, answer_to_record, dumps

__all__ = ["FILE_NAME", "FsyncPolicy", "Journal"]

FILE_NAME = "journal.jsonl"
FsyncPolicy: TypeAlias = Literal["always", "second", "never"]
"""When the disk must have what was written: after every line, about once a second, or when the
operating system likes."""

_SCHEMA = 1
_POLICIES = ("always", "second", "never")


class Journal:
    """The log of a run, which lets it resume.

    Opening reads what is there, so that `done`, `answer` and `spent` know it.

    Parameters
    ----------
    folder : str or path-like
        Of the run; made if it is not there.
    fsync : {"always", "second", "never"}, default="second"
        See `FsyncPolicy`.

    Raises
    ------
    SavedFolderError
        If a journal is there that a newer showtell wrote.
    RunError
        If another process is writing it, or the disk refuses.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with Journal(folder) as journal:
    ...         line = journal.sample("a17", status="ok", label="cat")
    ...     with Journal(folder) as again:
    ...         print(again.done["a17"]["label"], line)
    cat 2
    """

    def __init__(self, folder: str | os.PathLike[str], *, fsync: FsyncPolicy = "second") -> None:
        if fsync not in _POLICIES:
            raise InputError(f"`fsync` must be one of {', '.join(_POLICIES)}, got {fsync!r}.")
        self.folder = Path(folder)
        self.path = self.folder / FILE_NAME
        self.fsync = fsync
        self.spent = Decimal(0)
        """USD of all answers whose price is known, earlier processes of this run included."""
        self.n_unpriced = 0
        """Answers whose price is not known."""
        self.n_requests = 0
        """Requests that were sent, tries again and earlier processes of this run included."""
        self.in_doubt = Decimal(0)
        """USD, by estimate, of the requests in `doubts`; those without a known price left out."""
        self.n_doubts_unpriced = 0
        """Requests in `doubts` without a known price."""
        self.doubts: Counter[str] = Counter()
        """Keys of requests that were sent and whose answer never came: it was lost on the way, or
        the process was killed before it was written down. The provider may bill them."""
        self.run_id = ""
        """Random name of the run, the same in all its processes."""
        self.n_damaged = 0
        """Lines that could not be read and were passed over."""
        self.n_lines = 0
        self._lock = threading.Lock()
        self._answers: dict[str, int] = {}  # key of a request -> place of its answer
        self._samples: dict[str, int] = {}  # sample id -> place of its last row
        self._prefixes: set[str] = set()
        self._asking: dict[str, str | None] = {}  # requests in flight, and what they may cost
        self._n_partial: Counter[str] = Counter()  # answers that may not be used again
        self._synced = time.monotonic()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)
            self._file = os.open(self.path, flags, 0o644)
        except OSError as error:
            raise RunError(f"{self.path} cannot be written: {error.strerror}.") from error
        try:
            _lock_file(self._file, self.path)
            self._end = self._read()
        except BaseException:
            os.close(self._file)
            self._file = -1
            raise
        for key in list(self._asking):  # nobody waits for these any more
            self._doubt(key)
        self.run_id = self.run_id or secrets.token_hex(8)
        self.write("start", schema=_SCHEMA, showtell=__version__, time=_now(), run=self.run_id)

    @property
    def n_in_doubt(self) -> int:
        """How many requests were sent whose answer never came."""
        return self.doubts.total()

    @property
    def done(self) -> Mapping[str, dict[str, Any]]:
        """The last ``sample`` row of every sample id, read from the file when asked for."""
        return _RowsById(self._file, self._samples)

    def write(self, kind: str, /, **fields: Any) -> int:
        """Append a row.

        Parameters
        ----------
        kind : str
            Of the row.
        **fields
            Plain data.

        Returns
        -------
        line : int
            Its number in the file, from 1.
        """
        return self._append({"kind": kind, **fields})[0]

    def sample(self, sample_id: str, /, **fields: Any) -> int:
        """Note what became of a sample; it is done then.

        Parameters
        ----------
        sample_id : str
        **fields
            ``status``, ``label``, ``confidence`` and whatever else a later process needs in order
            not to ask again.

        Returns
        -------
        line : int
            Number of the row, from 1.
        """
        row = {"kind": "sample", "id": sample_id, **fields}
        line, place = self._append(row)
        self._samples[sample_id] = place
        return line

    def asking(self, request: Request, estimate: Decimal | None = None) -> str:
        """Note that a request is about to be sent.

        Parameters
        ----------
        request : Request
        estimate : Decimal or None
            Most that it may cost, in USD.

        Returns
        -------
        idempotency_key : str
            For this request until it is answered, in whatever process of the run.
        """
        key = request.key
        cost = None if estimate is None else str(estimate)
        row: dict[str, Any] = {"kind": "asking", "key": key}
        if cost is not None:
            row["estimate_usd"] = cost
        self._append(row)
        self._learn_asking(key, cost)
        name = f"{self.run_id}:{key}:{self._n_partial[key]}"
        return hashlib.blake2b(name.encode(), digest_size=16).hexdigest()

    def turned_away(self, request: Request) -> None:
        """Note that a request was refused before it was answered, so that it costs nothing."""
        if self._asking.pop(request.key, self) is not self:
            self._append({"kind": "turned_away", "key": request.key})

    def answer(
        self, request: Request, answer: Answer, *, ids: Sequence[str] = (), whole: bool = True
    ) -> int:
        """Note an answer.

        Parameters
        ----------
        request : Request
        answer : Answer
        ids : sequence of str, default=()
            Of the samples that were asked about.
        whole : bool, default=True
            Whether a later process may use it instead of asking.

        Returns
        -------
        line : int
            Number of the row, from 1.
        """
        row = self._request_row("answer", request, ids) | answer_to_record(answer)
        row["whole"] = whole and answer.finish == "stop"
        if answer.from_cache:
            row["from_cache"] = True
        line, place = self._append(row)
        self._learn_answer(row, place)
        return line

    def failure(self, request: Request, error: Exception, *, ids: Sequence[str] = ()) -> int:
        """Note that a request got no answer.

        Parameters
        ----------
        request : Request
        error : Exception
            An `MLLMError`; its one line of text is written.
        ids : sequence of str, default=()
            Of the samples that were asked about.

        Returns
        -------
        line : int
            Number of the row, from 1.
        """
        row = self._request_row("failure", request, ids)
        row["error"] = type(error).__name__
        row["message"] = " ".join(str(error).split())
        line = self._append(row)[0]
        if request.key in self._asking:
            self._doubt(request.key)
        return line

    def batch_outcome(
        self, key: str, outcome: Answer | Exception, *, model: str, job: str, whole: bool
    ) -> int:
        """Note what came out of a batch job, long after its requests were made.

        Parameters
        ----------
        key : str
            `Request.key`.
        outcome : Answer or MLLMError
        model : str
            ``"provider:name"``.
        job : str
            Which job, as in ``batches.jsonl``.
        whole : bool
            As in `answer`.

        Returns
        -------
        line : int
            Number of the row, from 1.
        """
        row: dict[str, Any] = {"kind": "answer", "key": key, "asked": model, "batch": job}
        if not isinstance(outcome, Answer):
            row["kind"], row["error"] = "failure", type(outcome).__name__
            row["message"] = " ".join(str(outcome).split())
            return self._append(row)[0]
        row |= answer_to_record(outcome)
        row["whole"] = whole and outcome.finish == "stop"
        line, place = self._append(row)
        self._learn_answer(row, place)
        return line

    def find(self, key: str) -> Answer | None:
        """Look up an answer that this run has already paid for.

        Parameters
        ----------
        key : str
            `Request.key`.

        Returns
        -------
        answer : Answer or None
            With ``from_cache=True``, no request, no token and no cost.
        """
        place = self._answers.get(key)
        if place is None:
            return None
        try:
            row = json.loads(_read_at(self._file, place))
            return answer_from_record(row, from_cache=True)
        except (OSError, KeyError, TypeError, ValueError):
            return None

    def knows(self, key: str) -> bool:
        """Whether `find` has an answer to the request of this key."""
        return key in self._answers

    def rows(self, *kinds: str) -> Iterator[dict[str, Any]]:
        """Read the rows, in the order they were written.

        Parameters
        ----------
        *kinds : str
            Only of these kinds; all by default.
        """
        for line, _ in _lines_of(self.path):
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(row, dict) and (not kinds or row.get("kind") in kinds):
                yield row

    def flush(self) -> None:
        """Have the disk keep all that was written."""
        with self._lock:
            if self._file >= 0:
                os.fsync(self._file)
                self._synced = time.monotonic()

    def close(self) -> None:
        """Flush and close; nothing can be written then."""
        with self._lock:
            if self._file >= 0:
                if self.fsync != "never":
                    with contextlib.suppress(OSError):
                        os.fsync(self._file)
                os.close(self._file)
                self._file = -1

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *details: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Journal({str(self.folder)!r})"

    def _request_row(self, kind: str, request: Request, ids: Sequence[str]) -> dict[str, Any]:
        """Describe a request without its content: hashes, sizes and settings."""
        settings = request.settings
        row: dict[str, Any] = {
            "kind": kind,
            "key": request.key,
            "asked": request.model,
            "prompt": request.prompt_version,
            "temperature": settings.temperature,
            "max_tokens": settings.max_tokens,
            "images": _hashes(request.parts[request.n_prefix :]),
        }
        if request.sample:
            row["repetition"] = request.sample
        if ids:
            row["ids"] = list(ids)
        if request.n_prefix:
            row["prefix"] = self._prefix(request)
        return row

    def _prefix(self, request: Request) -> str:
        hashes = _hashes(request.parts[: request.n_prefix])
        name = _short_hash(hashes)
        if name not in self._prefixes:
            self._prefixes.add(name)
            self.write("prefix", name=name, images=hashes)
        return name

    def _append(self, row: Mapping[str, Any]) -> tuple[int, int]:
        """Write a row in one call, so that rows of threads never mix."""
        line = dumps(row).encode("utf-8") + b"\n"
        with self._lock:
            if self._file < 0:
                raise RunError(f"{self.path} is closed; open the journal again to write.")
            try:
                written = os.write(self._file, line)
                while written < len(line):  # a signal or a full disk
                    written += os.write(self._file, line[written:])
                now = time.monotonic()
                if self.fsync == "always" or (self.fsync == "second" and now > self._synced + 1):
                    os.fsync(self._file)
                    self._synced = now
            except OSError as error:
                raise RunError(
                    f"{self.path} cannot be written: {error.strerror}. What was written before is "
                    "kept; make room and run again."
                ) from error
            place = _place(self._end, len(line))
            self._end += len(line)
            self.n_lines += 1
            return self.n_lines, place

    def _read(self) -> int:
        """Learn what is there; end a torn line, so that the next row begins on its own."""
        end = 0
        torn = False
        for line, position in _lines_of(self.path):
            end = position + len(line)
            torn = not line.endswith(b"\n")
            self.n_lines += 1
            try:
                self._learn(json.loads(line), _place(position, len(line)))
            except SavedFolderError:
                raise
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
                self.n_damaged += 1
        if torn:
            os.write(self._file, b"\n")
            end += 1
        return end

    def _learn(self, row: Mapping[str, Any], place: int) -> None:
        kind = row["kind"]
        if kind == "sample":
            self._samples[row["id"]] = place
        elif kind == "answer":
            self._learn_answer(row, place)
        elif kind == "asking":
            self._learn_asking(row["key"], row.get("estimate_usd"))
        elif kind == "turned_away":
            self._asking.pop(row["key"], None)
        elif kind == "failure":
            if row["key"] in self._asking:
                self._doubt(row["key"])
        elif kind == "prefix":
            self._prefixes.add(row["name"])
        elif kind == "start":
            if row["schema"] > _SCHEMA:
                raise SavedFolderError(
                    f"{self.path} was written by showtell {row.get('showtell')}, which is newer "
                    f"than this one ({__version__}). Upgrade, or choose another run folder."
                )
            self.run_id = self.run_id or str(row.get("run", ""))

    def _learn_asking(self, key: str, estimate: str | None) -> None:
        if key in self._asking:  # asked again: the answer to the last time never came
            self._doubt(key)
        self._asking[key] = estimate
        self.n_requests += 1

    def _doubt(self, key: str) -> None:
        estimate = self._asking.pop(key)
        self.doubts[key] += 1
        if estimate is None:
            self.n_doubts_unpriced += 1
        else:
            self.in_doubt += Decimal(estimate)

    def _learn_answer(self, row: Mapping[str, Any], place: int) -> None:
        key = row["key"]
        if row["whole"]:
            self._answers[key] = place
        if row.get("from_cache"):
            return
        if not row["whole"]:
            self._n_partial[key] += 1
        if key in self._asking:
            del self._asking[key]
        else:  # of a batch job
            self.n_requests += 1
        cost = row.get("cost_usd")
        if cost is None:
            self.n_unpriced += 1
        else:
            self.spent += Decimal(cost)


class _RowsById(Mapping[str, dict[str, Any]]):
    """Rows of a journal by id; only their places are in memory."""

    def __init__(self, file: int, places: Mapping[str, int]) -> None:
        self._file, self._places = file, places

    def __getitem__(self, name: str) -> dict[str, Any]:
        row: dict[str, Any] = json.loads(_read_at(self._file, self._places[name]))
        return row

    def __contains__(self, name: object) -> bool:
        return name in self._places

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


def _lines_of(path: Path) -> Iterator[tuple[bytes, int]]:
    position = 0
    with path.open("rb") as file:
        for line in file:
            yield line, position
            position += len(line)


def _hashes(parts: Sequence[Any]) -> list[list[Any]]:
    return [[p.digest, p.width, p.height] for p in parts if isinstance(p, ImagePart)]


def _short_hash(hashes: list[list[Any]]) -> str:
    return hashlib.blake2b(dumps({"images": hashes}).encode(), digest_size=8).hexdigest()


def _place(position: int, length: int) -> int:
    """Pack a place into one number: 200,000 of them should not take much memory."""
    return position << 32 | length


def _read_at(file: int, place: int) -> bytes:
    position, length = place >> 32, place & 0xFFFFFFFF
    if hasattr(os, "pread"):
        return os.pread(file, length, position)
    os.lseek(file, position, os.SEEK_SET)  # the file is opened to append: writing ignores it
    return os.read(file, length)


def _lock_file(file: int, path: Path) -> None:
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


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
