"""OpenAI's ``/v1/files`` and ``/v1/batches``."""

from __future__ import annotations

import json
import time
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from showtell.testing.servers.engine import Engine, json_object
from showtell.testing.servers.jobs import Job, JobStore, StoredFile, json_lines, read_form
from showtell.testing.servers.openai import ChatWire, ResponsesWire, openai_problem
from showtell.testing.servers.records import Problem
from showtell.testing.servers.wire import Wire, refusal

__all__ = ["openai_job_routes"]

_DAY = 86_400  # seconds


def openai_job_routes(
    engine: Engine, store: JobStore, chat: ChatWire, responses: ResponsesWire
) -> list[BaseRoute]:
    """Make the routes."""
    wires: dict[str, ChatWire | ResponsesWire] = {
        "/v1/chat/completions": chat,
        "/v1/responses": responses,
    }

    async def run(job: Job, line: dict[str, Any]) -> tuple[dict[str, Any], bool]:
        wire = wires[job.details["endpoint"]]
        ask, outcome = await store.answer(job, line["body"], wire.read)
        response: dict[str, Any] = {"request_id": store.new_id("req_")}
        if ask is None or isinstance(outcome, Problem):
            assert isinstance(outcome, Problem)
            response |= {"status_code": outcome.status, "body": openai_problem(outcome)}
        else:
            response |= {"status_code": 200, "body": wire.complete(ask, outcome)}
        value = {"id": store.new_id("batch_req_"), "custom_id": line.get("custom_id")}
        return {**value, "response": response, "error": None}, response["status_code"] == 200

    def finish(job: Job) -> None:
        for good, key in ((True, "output_file_id"), (False, "error_file_id")):
            lines = [value for _, value, is_good in job.results if is_good is good]
            if lines:
                stored = store.keep(
                    json_lines(lines),
                    prefix="file-",
                    name=f"{job.id}_{key}.jsonl",
                    purpose="batch_output",
                )
                job.details[key] = stored.id

    async def on_batches(request: Request) -> Response:
        if request.method == "GET":
            return JSONResponse(_page([_batch(job) for job in store.of("openai")]))
        body = await json_object(request)
        endpoint = body.get("endpoint")
        if endpoint not in wires:
            return refusal(
                ChatWire, 400, f"Invalid value: {endpoint!r}. Supported: {', '.join(wires)}."
            )
        stored = store.files.get(str(body.get("input_file_id")))
        if stored is None:
            return _missing("file", str(body.get("input_file_id")))
        lines = []
        seen = set()
        for number, raw in enumerate(filter(None, stored.content.splitlines()), start=1):
            try:
                line = json.loads(raw)
                name = line["custom_id"]
                if line["url"] != endpoint or name in seen or not isinstance(line["body"], dict):
                    raise KeyError("url, custom_id or body")
            except (ValueError, KeyError, TypeError) as error:
                return refusal(
                    ChatWire,
                    400,
                    f"Line {number} of the input file is not as it should be: {error}.",
                )
            seen.add(name)
            lines.append((name, line))
        details = {
            "endpoint": endpoint,
            "input_file_id": stored.id,
            "completion_window": body.get("completion_window", "24h"),
            "metadata": body.get("metadata"),
        }
        job = store.submit("openai", "batch_", lines, run, details=details, finish=finish)
        return JSONResponse(_batch(job))

    async def on_batch(request: Request) -> Response:
        job = store.jobs.get(request.path_params["id"])
        if job is None or job.vendor != "openai":
            return _missing("batch", request.path_params["id"])
        if request.url.path.endswith("/cancel"):
            await store.cancel(job)
        return JSONResponse(_batch(job))

    all_of, one_of = (engine.guarded(chat, handle) for handle in (on_batches, on_batch))
    return [
        *_file_routes(engine, store, chat),
        Route("/v1/batches", all_of, methods=["GET", "POST"]),
        Route("/v1/batches/{id}", one_of, methods=["GET"]),
        Route("/v1/batches/{id}/cancel", one_of, methods=["POST"]),
    ]


def _file_routes(engine: Engine, store: JobStore, wire: Wire) -> list[Route]:
    async def on_files(request: Request) -> Response:
        if request.method == "GET":
            return JSONResponse(_page([_file(stored) for stored in store.files.values()]))
        form = read_form(await request.body(), request.headers.get("content-type", ""))
        if "file" not in form or "purpose" not in form:
            return refusal(ChatWire, 400, "Missing required parameter: 'file' or 'purpose'.")
        name, content = form["file"]
        purpose = form["purpose"][1].decode()
        return JSONResponse(_file(store.keep(content, prefix="file-", name=name, purpose=purpose)))

    async def on_file(request: Request) -> Response:
        stored = store.files.get(request.path_params["id"])
        if stored is None:
            return _missing("file", request.path_params["id"])
        if request.method == "DELETE":
            del store.files[stored.id]
            return JSONResponse({"id": stored.id, "object": "file", "deleted": True})
        if request.url.path.endswith("/content"):
            return Response(stored.content, media_type="application/octet-stream")
        return JSONResponse(_file(stored))

    all_of, one_of = (engine.guarded(wire, handle) for handle in (on_files, on_file))
    return [
        Route("/v1/files", all_of, methods=["GET", "POST"]),
        Route("/v1/files/{id}", one_of, methods=["GET", "DELETE"]),
        Route("/v1/files/{id}/content", one_of, methods=["GET"]),
    ]


def _file(stored: StoredFile) -> dict[str, Any]:
    return {
        "id": stored.id,
        "object": "file",
        "bytes": len(stored.content),
        "created_at": int(stored.created),
        "filename": stored.name,
        "purpose": stored.purpose,
        "status": "processed",
    }


def _batch(job: Job) -> dict[str, Any]:
    status = {
        "running": "in_progress",
        "cancelling": "cancelling",
        "ended": "completed",
        "cancelled": "cancelled",
    }[job.status]
    ended = int(job.ended) if job.ended is not None else None
    tally = job.tally()
    return {
        "id": job.id,
        "object": "batch",
        "errors": None,
        "output_file_id": None,
        "error_file_id": None,
        **job.details,
        "status": status,
        "created_at": int(job.created),
        "in_progress_at": int(job.created),
        "expires_at": int(job.created) + _DAY,
        "completed_at": ended if job.status == "ended" else None,
        "cancelled_at": ended if job.status == "cancelled" else None,
        "request_counts": {key: tally[key] for key in ("total", "completed", "failed")},
    }


def _page(entries: list[dict[str, Any]]) -> dict[str, Any]:
    first, last = (entries[0]["id"], entries[-1]["id"]) if entries else (None, None)
    page = {"object": "list", "data": entries, "has_more": False}
    return {**page, "first_id": first, "last_id": last}


def _missing(kind: str, name: str) -> Response:
    message = f"No {kind} found with id '{name}' at {time.strftime('%H:%M:%S')}."
    return refusal(ChatWire, 404, message)
