"""Batch jobs and the files they read and write, of every vendor."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from showtell.testing.servers.engine import Engine, read_ask
from showtell.testing.servers.records import Ask, BadRequestError, Problem, Reply

__all__ = ["Job", "JobStore", "StoredFile", "read_form", "rfc3339"]


@dataclass(kw_only=True)
class StoredFile:
    """A file that was uploaded or written by a job."""

    id: str
    name: str
    purpose: str
    content: bytes
    created: float


@dataclass(kw_only=True)
class Job:
    """A batch job: its requests, and their results once it has ended."""

    id: str
    vendor: str
    requests: list[tuple[str, Any]]
    """Custom id and request, as the vendor writes it."""
    created: float
    details: dict[str, Any] = field(default_factory=dict)
    status: Literal["running", "cancelling", "ended", "cancelled"] = "running"
    results: list[tuple[str, dict[str, Any], bool]] = field(default_factory=list)
    """Custom id, result, and whether it is an answer; the order is not the requests'."""
    ended: float | None = None
    task: asyncio.Task[None] | None = None

    def tally(self) -> dict[str, int]:
        """Count requests by outcome."""
        good = sum(is_good for _, _, is_good in self.results)
        return {
            "total": len(self.requests),
            "completed": good,
            "failed": len(self.results) - good,
            "left": len(self.requests) - len(self.results),
        }


class JobStore:
    """Runs jobs; each ends `delay` seconds after it was submitted."""

    def __init__(self, engine: Engine, delay: float) -> None:
        self.engine, self.delay = engine, delay
        self.files: dict[str, StoredFile] = {}
        self.jobs: dict[str, Job] = {}
        self.uploads: dict[str, tuple[StoredFile, int]] = {}
        self._n_made = 0

    def new_id(self, prefix: str) -> str:
        """Make an id that no other has."""
        self._n_made += 1
        return f"{prefix}{self._n_made:06d}"

    def keep(self, content: bytes, *, prefix: str, name: str, purpose: str) -> StoredFile:
        """Store a file."""
        stored = StoredFile(
            id=self.new_id(prefix), name=name, purpose=purpose, content=content, created=time.time()
        )
        self.files[stored.id] = stored
        return stored

    def submit(
        self,
        vendor: str,
        prefix: str,
        requests: list[tuple[str, Any]],
        run: Callable[[Job, Any], Awaitable[tuple[dict[str, Any], bool]]],
        *,
        details: Mapping[str, Any] | None = None,
        finish: Callable[[Job], None] | None = None,
    ) -> Job:
        """Start a job; `run` gives the vendor's result, and whether it is an answer."""
        job = Job(
            id=self.new_id(prefix),
            vendor=vendor,
            requests=requests,
            created=time.time(),
            details=dict(details or {}),
        )
        self.jobs[job.id] = job

        async def work() -> None:
            try:
                if self.delay:
                    await asyncio.sleep(self.delay)
                results = []
                for name, request in job.requests:
                    result, is_good = await run(job, request)
                    results.append((name, result, is_good))
                    await asyncio.sleep(0)
                # in another order than submitted: whoever joins by position is caught
                job.results = results[1::2] + results[::2]
                job.status = "ended"
            except asyncio.CancelledError:
                job.status = "cancelled"
            job.ended = time.time()
            if finish is not None:
                finish(job)

        job.task = asyncio.create_task(work())
        return job

    async def answer(
        self, job: Job, body: Any, read: Callable[[dict[str, Any]], Ask]
    ) -> tuple[Ask | None, Reply | Problem]:
        """Read and answer one request of a job; None, and why, where it cannot be read."""
        try:
            ask = read_ask(body, read)
        except BadRequestError as error:
            return None, Problem(status=400, kind="bad_request", message=str(error))
        return ask, (await self.engine.answer_in_batch(ask, job.id))[0]

    def of(self, vendor: str) -> list[Job]:
        """Jobs of a vendor, the newest first."""
        return [job for job in reversed(self.jobs.values()) if job.vendor == vendor]

    async def cancel(self, job: Job) -> None:
        """Stop a job that has not ended; its requests are not run."""
        if job.task is not None and not job.task.done():
            job.task.cancel()
            await asyncio.gather(job.task, return_exceptions=True)


def read_form(body: bytes, content_type: str) -> dict[str, tuple[str, bytes]]:
    r"""Read a multipart form: filename and content by field.

    Examples
    --------
    >>> part = b'Content-Disposition: form-data; name="purpose"' + b"\r\n" * 2 + b"batch"
    >>> body = b"--X" + b"\r\n" + part + b"\r\n" + b"--X--"
    >>> read_form(body, "multipart/form-data; boundary=X")
    {'purpose': ('', b'batch')}
    """
    _, _, boundary = content_type.partition("boundary=")
    mark = b"--" + boundary.split(";")[0].strip().strip('"').encode()
    fields: dict[str, tuple[str, bytes]] = {}
    for section in body.split(mark)[1:-1]:
        head, _, content = section.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        named: dict[str, str] = {}
        for piece in head.decode("utf-8", "replace").replace("\r\n", ";").split(";"):
            key, _, value = piece.strip().partition("=")
            named[key.casefold()] = value.strip('"')
        if "name" in named:
            fields[named["name"]] = (named.get("filename", ""), content.removesuffix(b"\r\n"))
    return fields


def rfc3339(seconds: float | None, *, later: timedelta = timedelta()) -> str | None:
    """Write a time since 1970 as text.

    Examples
    --------
    >>> rfc3339(0)
    '1970-01-01T00:00:00Z'
    """
    if seconds is None:
        return None
    moment = datetime.fromtimestamp(seconds, UTC) + later
    return moment.isoformat().replace("+00:00", "Z")


def json_lines(values: list[dict[str, Any]]) -> bytes:
    """Write one JSON value per line."""
    return b"\n".join(json.dumps(value, ensure_ascii=False).encode() for value in values)
