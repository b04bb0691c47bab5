"""Anthropic's ``/v1/messages/batches``."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from showtell.testing.servers.anthropic import MessagesWire, anthropic_problem
from showtell.testing.servers.engine import Engine, json_object
from showtell.testing.servers.jobs import Job, JobStore, json_lines, rfc3339
from showtell.testing.servers.records import Problem
from showtell.testing.servers.wire import refusal

__all__ = ["anthropic_job_routes"]

_PATH = "/v1/messages/batches"


def anthropic_job_routes(
    engine: Engine, store: JobStore, messages: MessagesWire
) -> list[BaseRoute]:
    """Make the routes."""

    async def run(job: Job, params: dict[str, Any]) -> tuple[dict[str, Any], bool]:
        ask, outcome = await store.answer(job, params, messages.read)
        if ask is None or isinstance(outcome, Problem):
            assert isinstance(outcome, Problem)
            return {"type": "errored", "error": anthropic_problem(outcome)}, False
        return {"type": "succeeded", "message": messages.complete(ask, outcome)}, True

    async def on_batches(request: Request) -> Response:
        if request.method == "GET":
            entries = [_batch(job, request) for job in store.of("anthropic")]
            first, last = (entries[0]["id"], entries[-1]["id"]) if entries else (None, None)
            page = {"data": entries, "has_more": False, "first_id": first, "last_id": last}
            return JSONResponse(page)
        body = await json_object(request)
        given = body.get("requests")
        if not isinstance(given, list) or not given:
            return refusal(MessagesWire, 400, "requests: at least one request is required")
        names = [entry.get("custom_id") for entry in given]
        if len(set(names)) < len(names):
            return refusal(MessagesWire, 400, "requests: each custom_id must be unique")
        requests = [(entry["custom_id"], entry.get("params") or {}) for entry in given]
        return JSONResponse(_batch(store.submit("anthropic", "msgbatch_", requests, run), request))

    async def on_batch(request: Request) -> Response:
        job = store.jobs.get(request.path_params["id"])
        if job is None or job.vendor != "anthropic":
            return refusal(MessagesWire, 404, "The batch does not exist.")
        if request.method == "DELETE":
            if job.ended is None:
                return refusal(MessagesWire, 400, "The batch is still in progress.")
            del store.jobs[job.id]
            return JSONResponse({"id": job.id, "type": "message_batch_deleted"})
        if request.url.path.endswith("/cancel"):
            await store.cancel(job)
        if request.url.path.endswith("/results"):
            lines = [{"custom_id": name, "result": value} for name, value, _ in job.results]
            if job.ended is None:
                return refusal(MessagesWire, 404, "The batch has no results yet.")
            if job.status == "cancelled":
                unrun = {"type": "canceled"}
                lines = [{"custom_id": name, "result": unrun} for name, _ in job.requests]
            return Response(json_lines(lines), media_type="application/x-jsonl")
        return JSONResponse(_batch(job, request))

    all_of, one_of = (engine.guarded(messages, handle) for handle in (on_batches, on_batch))
    return [
        Route(_PATH, all_of, methods=["GET", "POST"]),
        Route(_PATH + "/{id}", one_of, methods=["GET", "DELETE"]),
        Route(_PATH + "/{id}/cancel", one_of, methods=["POST"]),
        Route(_PATH + "/{id}/results", one_of, methods=["GET"]),
    ]


def _batch(job: Job, request: Request) -> dict[str, Any]:
    tally = job.tally()
    ended = job.ended is not None
    cancelled = tally["left"] if job.status == "cancelled" else 0
    counts = {
        "processing": 0 if ended else tally["total"],
        "succeeded": tally["completed"] if ended else 0,
        "errored": tally["failed"] if ended else 0,
        "canceled": cancelled,
        "expired": 0,
    }
    results = f"{str(request.base_url).rstrip('/')}{_PATH}/{job.id}/results"
    return {
        "id": job.id,
        "type": "message_batch",
        "processing_status": "ended" if ended else "in_progress",
        "request_counts": counts,
        "created_at": rfc3339(job.created),
        "expires_at": rfc3339(job.created, later=timedelta(days=1)),
        "ended_at": rfc3339(job.ended),
        "archived_at": None,
        "cancel_initiated_at": rfc3339(job.ended) if job.status == "cancelled" else None,
        "results_url": results if ended else None,
    }
