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
written; how often the disk is told to keep it (`fsync`) is a matter of power loss alone. A line
that was torn apart, or that holds numbers that cannot be (an infinite price, -3 tokens), is passed
over and counted. Where the disk is full, nothing more is sent, and what comes in for requests that
were sent before is held until there is room. Never in it: keys, image bytes, prompts. Its owner
alone may read it.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from showtell._version import __version__
from showtell.errors import RunError, SavedFolderError
from showtell.mllm.base import Answer, Request, TextPart
from showtell.mllm.call.books import DAMAGE, SCHEMA, Books
from showtell.mllm.call.stored import answer_from_record, answer_to_record, dumps, loads
from showtell.mllm.endpoints import is_same_place
from showtell.records.lines import FsyncPolicy, LineFile

FILE_NAME = "journal.jsonl"


class JournalWarning(UserWarning):
    """The journal of a run is not where it was."""


class Journal(Books):
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
    InputError
        If a link, or something else than a file, is in the journal's place.
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
        self.folder = Path(folder)
        super().__init__(self.folder / FILE_NAME)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(f"{self.path} cannot be written: {error.strerror}.") from error
        self._file = LineFile(self.path, fsync=fsync)
        try:
            self._read()
        except BaseException:
            self._file.close(sync=False)
            raise
        for key in list(self._asking):  # nobody waits for these any more
            self._doubt(key)
        self.run_id = self.run_id or secrets.token_hex(8)
        self.write(
            "start",
            schema=SCHEMA,
            showtell=__version__,
            time=_now(),
            run=self.run_id,
            endpoints=self.has_endpoints,
        )

    def is_of(self, endpoint: str) -> bool:
        """Whether the answers of a journal without endpoints came from this one.

        Where the run was begun, its folder may tell: the request in ``run.json``. One that tells
        no address at all is believed; without such a file it is the provider's own.
        """
        named = _addresses(self.folder / "run.json")
        return not named or any(is_same_place(endpoint, address) for address in named)

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
        if place is not None:
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

        Raises
        ------
        NoRoomError
            If it cannot be written down, so that it must not be sent.
        """
        key = request.key
        cost = None if estimate is None else str(estimate)
        row: dict[str, Any] = {"kind": "asking", "key": key}
        if cost is not None:
            row["estimate_usd"] = cost
        self._append(row, hold=False)
        self._learn_asking(key, cost)
        name = f"{self.run_id}:{key}:{self._n_partial[key]}"
        return hashlib.blake2b(name.encode(), digest_size=16).hexdigest()

    def turned_away(self, request: Request) -> None:
        """Note that a request was refused before it was answered, so that it costs nothing."""
        if self._asking.pop(request.key, self) is not self:
            self._append({"kind": "turned_away", "key": request.key})

    def lost(self, request: Request) -> None:
        """Note that a try broke off; its row stays without an answer, so nothing is written."""
        if request.key in self._asking:
            self._doubt(request.key)

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
        self._count_answer(row, answer.price_usd, place)
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
        self._count_answer(row, outcome.price_usd, place)
        return line

    def find(self, key: str) -> Answer | None:
        """Look up an answer that this run has already paid for, as `AnswerCache.get` does."""
        place = self._answers.get(key)
        if place is None:
            return None
        try:
            return answer_from_record(loads(self._file.read_at(place)), from_cache=True)
        except (OSError, KeyError, TypeError, ValueError, ArithmeticError):
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
        for line, _ in self._file.lines():
            try:
                row = loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(row, dict) and (not kinds or row.get("kind") in kinds):
                yield row

    @property
    def n_lines(self) -> int:
        """Lines of the file, damaged ones included."""
        return self._file.n_lines

    def settle(self) -> None:
        """Write what found no room before.

        Raises
        ------
        NoRoomError
            If there is still none.
        """
        self._file.settle()

    def flush(self) -> None:
        """Have the disk keep all that was written."""
        self._file.flush()

    def close(self) -> None:
        """Flush and close; nothing can be written then."""
        now = self._file.moved_to()
        if now is not None:
            where = f"They are in {now} now." if now else "Nobody can read them any more."
            warnings.warn(
                f"The run folder {self.folder} was moved or removed while its answers were being "
                f"written. {where}",
                JournalWarning,
                stacklevel=2,
            )
        self._file.close()

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

    def _append(self, row: Mapping[str, Any], *, hold: bool = True) -> tuple[int, int | None]:
        """Write a row; one that finds no room may be held until there is some."""
        return self._file.append(dumps(row).encode("utf-8"), hold=hold)

    def _read(self) -> None:
        """Learn what is there."""
        for line, place in self._file.lines():
            try:
                self._learn(loads(line), place)
            except SavedFolderError:
                raise
            except DAMAGE:
                self.n_damaged += 1


class _RowsById(Mapping[str, dict[str, Any]]):
    """Rows of a journal by id; only their places are in memory."""

    def __init__(self, file: LineFile, places: Mapping[str, int]) -> None:
        self._file, self._places = file, places

    def __getitem__(self, name: str) -> dict[str, Any]:
        row: dict[str, Any] = loads(self._file.read_at(self._places[name]))
        return row

    def __contains__(self, name: object) -> bool:
        return name in self._places

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


def _addresses(run_file: Path) -> list[str | None]:
    """Read the base URLs that the request of a run names; None is the provider's own."""
    try:
        waiting: list[Any] = [loads(run_file.read_bytes())["request"]]
    except (OSError, *DAMAGE):
        return [None]
    found: list[str | None] = []
    for value in waiting:  # grows while it is read
        if isinstance(value, dict):
            if "base_url" in value:
                found.append(value["base_url"])
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
    return found


def _hashes(parts: Sequence[Any]) -> list[list[Any]]:
    return [
        [p.digest, getattr(p, "width", 0), getattr(p, "height", 0)]
        for p in parts
        if not isinstance(p, TextPart)
    ]


def _short_hash(hashes: list[list[Any]]) -> str:
    return hashlib.blake2b(dumps({"images": hashes}).encode(), digest_size=8).hexdigest()


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
