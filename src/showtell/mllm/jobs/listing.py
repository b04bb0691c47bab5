"""Jobs that a provider has, to find again what a process handed in and died before noting."""

from __future__ import annotations

import json
import time
from typing import Any

from pydantic_ai.models import Model

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
