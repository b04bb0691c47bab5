"""Google's files and batch jobs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from showtell.testing.servers.engine import Engine, json_object
from showtell.testing.servers.google import GenerateWire
from showtell.testing.servers.jobs import Job, JobStore, StoredFile, json_lines, rfc3339
from showtell.testing.servers.records import Problem
from showtell.testing.servers.wire import refusal

__all__ = ["google_file_routes", "google_job_actions"]

_STATES = {
    "running": "BATCH_STATE_RUNNING",
    "cancelling": "BATCH_STATE_RUNNING",
    "ended": "BATCH_STATE_SUCCEEDED",
    "cancelled": "BATCH_STATE_CANCELLED",
}
_CODES = {400: 3, 429: 8, 500: 13, 502: 13, 503: 14}
"""google.rpc.Code by HTTP status."""


def google_job_actions(
    store: JobStore, generate: GenerateWire
) -> Callable[[Request, str], Awaitable[Response]]:
    """Make the handler of ``models/NAME:batchGenerateContent``."""

    async def run(job: Job, entry: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
        ask, outcome = await store.answer(
            job, entry.get("request"), lambda body: generate.read(body, job.details["model"])
        )
        if ask is None or isinstance(outcome, Problem):
            assert isinstance(outcome, Problem)
            code = _CODES.get(outcome.status, 13)
            return {"error": {"code": code, "message": outcome.message}}, False
        return {"response": generate.complete(ask, outcome)}, True

    def finish(job: Job) -> None:
        if job.status != "ended":
            return
        if job.details["inline"]:
            by_name = {name: value for name, value, _ in job.results}
            answers = []
            for name, entry in job.requests:  # inlined answers have no name: their order counts
                extra = {"metadata": entry["metadata"]} if "metadata" in entry else {}
                answers.append({**by_name[name], **extra})
            job.details["output"] = {"inlinedResponses": {"inlinedResponses": answers}}
        else:
            lines = [{"key": name, **value} for name, value, _ in job.results]
            stored = store.keep(
                json_lines(lines), prefix="out", name=job.id, purpose="application/jsonl"
            )
            job.details["output"] = {"responsesFile": f"files/{stored.id}"}

    async def create(request: Request, model: str) -> Response:
        body = await json_object(request)
        batch = body.get("batch") or {}
        source = batch.get("inputConfig") or batch.get("input_config") or {}
        requests: list[tuple[str, Any]] = []
        name = source.get("fileName") or source.get("file_name")
        if name:
            stored = store.files.get(str(name).removeprefix("files/"))
            if stored is None:
                return refusal(GenerateWire, 404, f"The file {name} does not exist.")
            for number, raw in enumerate(filter(None, stored.content.splitlines()), start=1):
                try:
                    line = json.loads(raw)
                    requests.append((str(line["key"]), {"request": line["request"]}))
                except (ValueError, KeyError, TypeError):
                    return refusal(
                        GenerateWire, 400, f"Line {number} of {name} has no key or no request."
                    )
        else:
            inlined = (source.get("requests") or {}).get("requests") or []
            requests = [(str(number), entry) for number, entry in enumerate(inlined)]
        if not requests:
            return refusal(GenerateWire, 400, "The batch has no requests.")
        details = {"model": model, "inline": not name, "displayName": batch.get("displayName")}
        job = store.submit("google", "b", requests, run, details=details, finish=finish)
        return JSONResponse(_batch(job))

    return create


def google_file_routes(
    engine: Engine, store: JobStore, generate: GenerateWire, version: str
) -> list[BaseRoute]:
    """Make the routes of files and jobs for one version of the API."""

    async def on_upload(request: Request) -> Response:
        command = request.headers.get("x-goog-upload-command", "")
        if "start" in command:
            if turned_away := engine.trouble(request, generate):
                return turned_away
            body = await json_object(request)
            about = body.get("file") or {}
            kind = request.headers.get("x-goog-upload-header-content-type", "")
            upload = StoredFile(
                id=store.new_id("f"),
                name=str(about.get("displayName") or ""),
                purpose=str(about.get("mimeType") or kind),
                content=b"",
                created=0.0,
            )
            store.uploads[upload.id] = (upload, 0)
            url = f"{str(request.base_url).rstrip('/')}{request.url.path}?upload_id={upload.id}"
            return JSONResponse({}, headers={"x-goog-upload-url": url})
        upload_id = request.query_params.get("upload_id", "")
        if upload_id not in store.uploads:
            return refusal(GenerateWire, 404, "There is no such upload.")
        upload, _ = store.uploads[upload_id]
        upload.content += await request.body()
        if "finalize" not in command:
            store.uploads[upload_id] = (upload, len(upload.content))
            return JSONResponse({}, headers={"x-goog-upload-status": "active"})
        del store.uploads[upload_id]
        stored = store.keep(upload.content, prefix="f", name=upload.name, purpose=upload.purpose)
        return JSONResponse(
            {"file": _file(stored, request)}, headers={"x-goog-upload-status": "final"}
        )

    async def on_files(request: Request) -> Response:
        return JSONResponse({"files": [_file(f, request) for f in store.files.values()]})

    async def on_file(request: Request) -> Response:
        name, _, action = request.path_params["id"].partition(":")
        stored = store.files.get(name)
        if stored is None:
            return refusal(GenerateWire, 404, f"The file {name} does not exist.")
        if request.method == "DELETE":
            del store.files[name]
            return JSONResponse({})
        if action == "download":
            return Response(stored.content, media_type="application/octet-stream")
        return JSONResponse(_file(stored, request))

    async def on_batches(_request: Request) -> Response:
        return JSONResponse({"operations": [_batch(job) for job in store.of("google")]})

    async def on_batch(request: Request) -> Response:
        name, _, action = request.path_params["id"].partition(":")
        job = store.jobs.get(name)
        if job is None or job.vendor != "google":
            return refusal(GenerateWire, 404, f"The batch {name} does not exist.")
        if request.method == "DELETE":
            await store.cancel(job)
            del store.jobs[name]
            return JSONResponse({})
        if action == "cancel":
            await store.cancel(job)
            return JSONResponse({})
        return JSONResponse(_batch(job))

    guarded = partial(engine.guarded, generate)
    return [
        Route(f"/upload/{version}/files", on_upload, methods=["POST"]),
        Route(f"/{version}/files", guarded(on_files), methods=["GET"]),
        Route(f"/{version}/files/{{id}}", guarded(on_file), methods=["GET", "DELETE"]),
        Route(f"/{version}/batches", guarded(on_batches), methods=["GET"]),
        Route(f"/{version}/batches/{{id}}", guarded(on_batch), methods=["GET", "POST", "DELETE"]),
    ]


def _file(stored: StoredFile, request: Request) -> dict[str, Any]:
    root = str(request.base_url).rstrip("/")
    return {
        "name": f"files/{stored.id}",
        "displayName": stored.name,
        "mimeType": stored.purpose,
        "sizeBytes": str(len(stored.content)),
        "createTime": rfc3339(stored.created),
        "updateTime": rfc3339(stored.created),
        "expirationTime": rfc3339(stored.created, later=timedelta(days=2)),
        "sha256Hash": hashlib.sha256(stored.content).hexdigest(),
        "uri": f"{root}/v1beta/files/{stored.id}",
        "state": "ACTIVE",
    }


def _batch(job: Job) -> dict[str, Any]:
    tally = job.tally()
    metadata: dict[str, Any] = {
        "@type": "type.googleapis.com/google.ai.generativelanguage.v1main.GenerateContentBatch",
        "name": f"batches/{job.id}",
        "displayName": job.details.get("displayName"),
        "model": f"models/{job.details['model']}",
        "state": _STATES[job.status],
        "createTime": rfc3339(job.created),
        "updateTime": rfc3339(job.ended or job.created),
        "batchStats": {
            "requestCount": str(tally["total"]),
            "successfulRequestCount": str(tally["completed"]),
            "failedRequestCount": str(tally["failed"]),
            "pendingRequestCount": str(tally["left"]),
        },
    }
    if job.ended is not None:
        metadata["endTime"] = rfc3339(job.ended)
    if "output" in job.details:
        metadata["output"] = job.details["output"]
    value: dict[str, Any] = {"name": f"batches/{job.id}", "metadata": metadata}
    if job.ended is not None:
        value["done"] = True
    return value
