"""What a folder knows of batch jobs: ``batches.jsonl``, as plain data."""

from __future__ import annotations

import contextlib
import json
import time
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from pydantic_ai.models import Model
from pydantic_ai.models.batch import Batch

from showtell.mllm.base import Request, Settings
from showtell.mllm.call.stored import dollars_from_record, dumps, loads
from showtell.records.lines import LineFile

_SCHEMA = 1
_HANDLE = TypeAdapter(Batch)


@dataclass(kw_only=True)
class Job:
    """A job, as far as the folder knows."""

    tag: str
    keys: tuple[str, ...]
    group: str
    form: str
    made: float
    """Seconds since 1970, when the intention was written down."""
    handle: Batch | None = None
    collected: bool = False
    refused: set[str] = field(default_factory=set)
    """Ids of jobs at the provider that turned out to be others."""
    scope: str = ""
    estimate: Decimal | None = None
    """USD that the job may cost; counted until it is collected."""
    finished: bool = False
    """Whether what it was part of is done."""


def checked_handle(handle: Any) -> Batch:
    """Give what a provider calls a job, if it could be written down and read again."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it is not as it should be is seen on reading
        return _HANDLE.validate_python(_HANDLE.dump_python(handle, mode="json"))


class JobBook:
    """The jobs of a folder, written down before anything is handed in.

    Parameters
    ----------
    path : path
        Made if it is not there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.jobs: dict[str, Job] = {}
        """Tag to job."""
        self.forms: dict[str, tuple[Settings, Mapping[str, Any] | None]] = {}
        """What is needed to read the answers of a job: settings and schema, by name."""
        self._read()

    def form_of(self, request: Request) -> str:
        """Name what is needed to read an answer; requests of a job share it."""
        name = dumps({"settings": asdict(request.settings), "schema": request.schema})
        self.forms.setdefault(name, (request.settings, request.schema))
        return name

    def note_handle(self, kind: str, job: Job, handle: Batch) -> None:
        """Write down what a job is called at the provider, or that it has ended."""
        job.handle = handle
        self.write(kind, tag=job.tag, handle=_HANDLE.dump_python(handle, mode="json"))

    def write(self, kind: str, **fields: Any) -> None:
        """Append a row, and have the disk keep it."""
        file = LineFile(self.path, fsync="always", exclusive=False)
        try:
            file.append(dumps({"kind": kind, **fields}).encode())
        finally:
            file.close(sync=False)

    def _read(self) -> None:
        """Learn what stands in the folder; a torn line is passed over."""
        if not self.path.exists():
            self.write("start", schema=_SCHEMA)
            return
        file = LineFile(self.path, fsync="never", exclusive=False)
        try:
            for line, _ in file.lines():
                try:
                    self.learn(loads(line))
                except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
                    continue
        finally:
            file.close()

    def learn(self, row: Mapping[str, Any]) -> None:
        """Take a row for true."""
        kind, tag = row["kind"], row.get("tag", "")
        if kind == "intent":
            form, estimate = dumps(row["form"]), None
            with contextlib.suppress(ValueError):  # the job was handed in, whatever it may cost
                estimate = dollars_from_record(row, "estimate")
            self.forms[form] = (Settings(**row["form"]["settings"]), row["form"]["schema"])
            self.jobs[tag] = Job(
                tag=tag,
                keys=tuple(row["keys"]),
                group=row["group"],
                form=form,
                made=float(row["made"]),
                scope=row.get("scope", ""),
                estimate=estimate,
            )
        elif kind in ("handle", "ended"):
            self.jobs[tag].handle = _HANDLE.validate_python(row["handle"])
        elif kind == "collected":
            self.jobs[tag].collected = True
        elif kind == "refused":
            self.jobs[tag].refused.add(row["id"])
            self.jobs[tag].handle = None
        elif kind == "forgotten":
            self.jobs.pop(tag, None)
        elif kind == "finished":
            for job in self.jobs.values():
                job.finished |= job.scope == row["scope"]


_MOST_LISTED = 200  # jobs of the provider to look through


async def list_jobs(
    model: Model[Any], wire: str, since: float
) -> list[tuple[str, float, int | None, str | None]]:
    """List the provider's later jobs: id, when made, number of requests, id of the first request.

    The last two are None where the provider does not tell before a job has ended.
    """
    client: Any = model.client  # type: ignore[attr-defined]
    found: list[tuple[str, float, int | None, str | None]] = []
    if wire == "openai-responses":
        async for job in client.batches.list(limit=100):
            if job.created_at < since:
                continue
            first = await _first_id(client, job.input_file_id)
            total = job.request_counts.total if job.request_counts else None
            found.append((job.id, float(job.created_at), total, first))
            if len(found) >= _MOST_LISTED:
                break
    elif wire == "anthropic":
        async for job in client.beta.messages.batches.list(limit=100):
            n = job.request_counts
            total = n.processing + n.succeeded + n.errored + n.canceled + n.expired
            found.append((job.id, job.created_at.timestamp(), total, None))
            if len(found) >= _MOST_LISTED:
                break
    else:
        async for job in await client.aio.batches.list(config={"page_size": 100}):
            made = job.create_time.timestamp() if job.create_time else time.time()
            found.append((job.name, made, None, None))
            if len(found) >= _MOST_LISTED:
                break
    return found


async def _first_id(client: Any, file_id: str) -> str:
    """Read the id in the first line of an input file; "" if the file is gone."""
    try:
        async with client.files.with_streaming_response.content(file_id) as response:
            async for line in response.iter_lines():
                return str(json.loads(line)["custom_id"])
    except Exception:  # noqa: BLE001 - a file that cannot be read is not that of our job
        return ""
    return ""
