"""Routes: which path speaks which wire format."""

from __future__ import annotations

from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from showtell.testing.servers.counting import Vendor
from showtell.testing.servers.engine import Engine, Problem
from showtell.testing.servers.openai import (
    ChatWire,
    DecisionsWire,
    ResponsesWire,
    model_list,
    openai_problem,
)
from showtell.testing.servers.sight import Sight

__all__ = ["make_app"]


def make_app(
    engine: Engine, sight: Sight, kind: str, model: str, *, batch_delay: float = 0.0
) -> Starlette:
    """Build the application.

    Parameters
    ----------
    engine : Engine
    sight : Sight
        Shared by all wire formats.
    kind : str
        As for `LocalServer`.
    model : str
        Listed name.
    batch_delay : float
        Seconds that a batch job takes.
    """
    routes: list[BaseRoute] = []
    if kind in ("openai", "ollama", "all"):
        routes += _openai_routes(engine, sight, "ollama" if kind == "ollama" else "openai", model)
    return Starlette(routes=routes, exception_handlers={404: _not_found, 405: _not_found})


def _openai_routes(engine: Engine, sight: Sight, vendor: Vendor, model: str) -> list[BaseRoute]:
    chat = ChatWire(sight, vendor=vendor)
    responses = ResponsesWire(sight)
    decisions = DecisionsWire(sight)

    async def on_chat(request: Request) -> Response:
        return await engine.handle(request, chat, chat.read)

    async def on_responses(request: Request) -> Response:
        return await engine.handle(request, responses, responses.read)

    async def on_decisions(request: Request) -> Response:
        return await engine.handle(request, decisions, decisions.read)

    async def on_models(_request: Request) -> Response:
        return JSONResponse(model_list((model,), "showtell"))

    return [
        Route("/v1/chat/completions", on_chat, methods=["POST"]),
        Route("/v1/responses", on_responses, methods=["POST"]),
        Route("/v1/decisions", on_decisions, methods=["POST"]),
        Route("/v1/models", on_models),
    ]


async def _not_found(request: Request, _error: Exception) -> Response:
    message = f"Unknown request URL: {request.method} {request.url.path}."
    problem = Problem(status=404, kind="not_found", message=message)
    body: dict[str, Any] = openai_problem(problem)
    return JSONResponse(body, status_code=404)
