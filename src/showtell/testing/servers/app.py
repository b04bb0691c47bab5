"""Routes: which path speaks which wire format."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from showtell.mllm.endpoints import TRY_HEADER
from showtell.testing.servers.anthropic import MessagesWire, anthropic_problem
from showtell.testing.servers.anthropic_jobs import anthropic_job_routes
from showtell.testing.servers.counting import Vendor
from showtell.testing.servers.engine import Engine, json_object, read_ask
from showtell.testing.servers.google import GenerateWire, GoogleDecisionsWire, google_problem
from showtell.testing.servers.google_jobs import google_file_routes, google_job_actions
from showtell.testing.servers.jobs import JobStore
from showtell.testing.servers.ollama import (
    VERSION,
    OllamaWire,
    SystemOneWire,
    show_model,
    tags,
)
from showtell.testing.servers.openai import (
    ChatWire,
    DecisionsWire,
    ResponsesWire,
    model_list,
    openai_problem,
)
from showtell.testing.servers.openai_jobs import openai_job_routes
from showtell.testing.servers.records import Ask, BadRequestError, Problem
from showtell.testing.servers.sight import Sight

__all__ = ["make_app"]


def _post(path: str, engine: Engine, wire: Any) -> Route:
    """Answer what is posted to a path in a wire format."""

    async def on_post(request: Request) -> Response:
        return await engine.handle(request, wire, wire.read)

    return Route(path, on_post, methods=["POST"])


def make_app(
    engine: Engine, sight: Sight, kind: str, model: str, *, batch_delay: float = 0.0
) -> Starlette:
    """Build the application; `kind` is that of a `LocalServer`, `batch_delay` in seconds."""
    store = JobStore(engine, batch_delay)
    routes: list[BaseRoute] = []
    if kind in ("anthropic", "all"):
        routes += _anthropic_routes(engine, sight, model, store)
    if kind in ("openai", "ollama", "all"):
        vendor: Vendor = "ollama" if kind == "ollama" else "openai"
        routes += _openai_routes(engine, sight, vendor, model, store)
    if kind in ("ollama", "all"):
        routes += _ollama_routes(engine, sight, model)
    if kind == "all":  # the same paths as OpenAI's, but Ollama counts tokens in another way
        own = [
            *_openai_routes(engine, sight, "ollama", model, store),
            *_ollama_routes(engine, sight, model),
        ]
        routes.append(Mount("/ollama", routes=own))
    if kind in ("google", "all"):
        routes += _google_routes(engine, sight, model, store)
    routes.append(Route("/_showtell/stats", _stats_of(engine)))
    handlers = {404: _not_found, 405: _not_found, BadRequestError: _bad_request}
    return Starlette(routes=routes, exception_handlers=handlers, middleware=[Middleware(_Marked)])


class _Marked:
    """Says in every answer that it is made up, so that nobody takes it for a model's."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), _MARK]
            await send(message)

        await self._app(scope, receive, send_marked)


_MARK = (TRY_HEADER.lower().encode(), b"1")


def _openai_routes(
    engine: Engine, sight: Sight, vendor: Vendor, model: str, store: JobStore
) -> list[BaseRoute]:
    chat = ChatWire(sight, vendor=vendor)
    responses = ResponsesWire(sight, vendor=vendor)

    async def on_models(request: Request) -> Response:
        if refused := engine.check_key(request):
            return JSONResponse(openai_problem(refused), status_code=refused.status)
        listed = model_list((model,), "showtell")
        name = request.path_params.get("name")
        if name is not None:
            return JSONResponse({**listed["data"][0], "id": name})
        return JSONResponse(listed)

    routes: list[BaseRoute] = [
        _post("/v1/chat/completions", engine, chat),
        _post("/v1/responses", engine, responses),
        _post("/v1/systemone", engine, SystemOneWire(sight)),
        Route("/v1/models", on_models),
        Route("/v1/models/{name}", on_models),
    ]
    if vendor == "openai":
        routes.append(_post("/v1/decisions", engine, DecisionsWire(sight)))
        routes += openai_job_routes(engine, store, chat, responses)
    return routes


def _anthropic_routes(engine: Engine, sight: Sight, model: str, store: JobStore) -> list[BaseRoute]:
    messages = MessagesWire(sight)

    async def on_count(request: Request) -> Response:
        ask = read_ask({"max_tokens": 1, **await json_object(request)}, messages.read)
        return JSONResponse({"input_tokens": engine.count(ask).input})

    async def on_models(request: Request) -> Response:
        if "anthropic-version" not in request.headers:
            return JSONResponse(model_list((model,), "showtell"))
        entry = {"type": "model", "id": model, "display_name": model}
        entry["created_at"] = "2025-01-01T00:00:00Z"
        page = {"data": [entry], "has_more": False, "first_id": model, "last_id": model}
        return JSONResponse(page)

    return [
        *anthropic_job_routes(engine, store, messages),
        _post("/v1/messages", engine, messages),
        Route("/v1/messages/count_tokens", on_count, methods=["POST"]),
        Route("/v1/models", on_models),
    ]


def _ollama_routes(engine: Engine, sight: Sight, model: str) -> list[BaseRoute]:
    async def on_tags(_request: Request) -> Response:
        return JSONResponse(tags(model))

    async def on_show(request: Request) -> Response:
        body = await json_object(request)
        return JSONResponse(show_model(str(body.get("model") or body.get("name") or model)))

    async def on_version(_request: Request) -> Response:
        return JSONResponse({"version": VERSION})

    return [
        _post("/api/chat", engine, OllamaWire(sight)),
        Route("/api/tags", on_tags),
        Route("/api/show", on_show, methods=["POST"]),
        Route("/api/version", on_version),
    ]


def _google_routes(engine: Engine, sight: Sight, model: str, store: JobStore) -> list[BaseRoute]:
    generate = GenerateWire(sight)
    create_job = google_job_actions(store, generate)

    async def on_model(request: Request) -> Response:
        name, _, action = request.path_params["rest"].partition(":")

        def read(body: dict[str, Any]) -> Ask:
            return generate.read(body, name, stream=action == "streamGenerateContent")

        match action:
            case "generateContent" | "streamGenerateContent":
                return await engine.handle(request, generate, read)
            case "batchGenerateContent":
                return engine.trouble(request, generate) or await create_job(request, name)
            case "countTokens":
                body = await json_object(request)
                ask = read_ask(body.get("generateContentRequest", body), read)
                return JSONResponse({"totalTokens": engine.count(ask).input})
            case _:
                return await _not_found(request, LookupError(action))

    def entry(name: str) -> dict[str, Any]:
        methods = ["generateContent", "countTokens", "batchGenerateContent"]
        return {
            "name": f"models/{name}",
            "displayName": name,
            "supportedGenerationMethods": methods,
        }

    async def on_models(_request: Request) -> Response:
        return JSONResponse({"models": [entry(model)]})

    async def on_one(request: Request) -> Response:
        return JSONResponse(entry(request.path_params["rest"]))

    routes: list[BaseRoute] = []
    for version in ("v1beta", "v1alpha", "v1"):
        routes += [
            Route(f"/{version}/models/{{rest:path}}", on_model, methods=["POST"]),
            Route(f"/{version}/models/{{rest:path}}", on_one, methods=["GET"]),
            Route(f"/{version}/models", on_models),
            _post(f"/{version}/decisions", engine, GoogleDecisionsWire(sight)),
            *google_file_routes(engine, store, generate, version),
        ]
    return routes


def _stats_of(engine: Engine) -> Callable[[Request], Awaitable[Response]]:
    """Tell the counts, for whoever runs the server in another process."""

    async def on_stats(_request: Request) -> Response:
        return JSONResponse(vars(engine.stats))

    return on_stats


async def _not_found(request: Request, _error: Exception) -> Response:
    message = f"Unknown request URL: {request.method} {request.url.path}."
    return _in_form(request, Problem(status=404, kind="not_found", message=message))


async def _bad_request(request: Request, error: Exception) -> Response:
    return _in_form(request, Problem(status=400, kind="bad_request", message=str(error)))


def _in_form(request: Request, problem: Problem) -> Response:
    """Write an error in the form of the vendor whom the path belongs to."""
    path = request.url.path
    if path.startswith(("/v1beta", "/v1alpha", "/upload")):
        body = google_problem(problem)
    elif "anthropic-version" in request.headers or path.startswith("/v1/messages"):
        body = anthropic_problem(problem)
    elif "/api/" in path:
        body = {"error": problem.message}
    else:
        body = openai_problem(problem)
    return JSONResponse(body, status_code=problem.status)
