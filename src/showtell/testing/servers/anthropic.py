"""Anthropic's wire format: messages, their stream, message batches."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from showtell.testing.servers.counting import Vendor
from showtell.testing.servers.reading import Part
from showtell.testing.servers.records import Ask, BadRequestError, Problem, Reply
from showtell.testing.servers.sight import SentImage, SentMedia, decode_image, decode_media
from showtell.testing.servers.wire import Wire, pieces, texts_of

__all__ = ["MessagesWire", "anthropic_problem"]

_MEDIA_TYPES = ("image/jpeg", "image/png", "image/gif", "image/webp")


def anthropic_problem(problem: Problem) -> dict[str, Any]:
    """Write an error as Anthropic does."""
    kind = {
        "bad_request": "invalid_request_error",
        "auth": "authentication_error",
        "not_found": "not_found_error",
        "rate_limit": "rate_limit_error",
        "server": "api_error",
        "overloaded": "overloaded_error",
        "blocked": "invalid_request_error",
    }[problem.kind]
    error = {"type": kind, "message": problem.message}
    return {"type": "error", "error": error}


class MessagesWire(Wire):
    """``/v1/messages``."""

    vendor: Vendor = "anthropic"
    problem = staticmethod(anthropic_problem)

    def read(self, body: dict[str, Any]) -> Ask:
        """Read a request."""
        if not isinstance(body.get("model"), str):
            raise BadRequestError("model: Field required")
        if not isinstance(body.get("max_tokens"), int):
            raise BadRequestError("max_tokens: Field required")
        system: list[Part] = []
        parts: list[Part] = []
        marks: list[int] = []
        self._content(body.get("system"), system, [])
        if _is_marked(body.get("system")):
            marks.append(0)
        messages = body.get("messages")
        if not isinstance(messages, list) or not messages:
            raise BadRequestError("messages: at least one message is required")
        for message in messages:
            if message.get("role") not in ("user", "assistant", "system"):
                raise BadRequestError("messages: role must be 'user' or 'assistant'")
            target = system if message["role"] == "system" else parts
            self._content(message.get("content"), target, marks)
        schema = _schema(body)
        tool = None
        if schema is None:
            tool, schema = _tool(body.get("tools"), body.get("tool_choice"))
        return Ask(
            vendor="anthropic",
            endpoint="messages",
            model=body["model"],
            system=texts_of(system),
            parts=parts,
            schema=schema,
            tool=tool,
            max_tokens=body["max_tokens"],
            temperature=body.get("temperature"),
            stream=bool(body.get("stream")),
            marks=tuple(marks),
        )

    def _content(self, content: Any, parts: list[Part], marks: list[int]) -> None:
        """Append the blocks of a message, and where cache marks stand."""
        if content is None:
            return
        if isinstance(content, str):
            parts.append(content)
            return
        if not isinstance(content, list):
            raise BadRequestError("content: must be a string or an array of blocks")
        for block in content:
            match block.get("type") if isinstance(block, Mapping) else None:
                case "text":
                    parts.append(str(block.get("text", "")))
                case "image":
                    parts.append(self._image(block.get("source")))
                case "document":
                    parts.append(self._document(block.get("source")))
                case "tool_result":
                    self._content(block.get("content"), parts, marks)
                case "tool_use":
                    parts.append(json.dumps(block.get("input"), ensure_ascii=False))
                case "thinking" | "redacted_thinking":
                    continue
                case other:
                    raise BadRequestError(f"content: block type {other!r} is not supported")
            if block.get("cache_control"):
                marks.append(len(parts))

    def _image(self, source: Any) -> SentImage:
        if not isinstance(source, Mapping) or source.get("type") != "base64":
            raise BadRequestError("image.source: this server takes base64 sources only")
        media_type = str(source.get("media_type"))
        if media_type not in _MEDIA_TYPES:
            allowed = ", ".join(_MEDIA_TYPES)
            raise BadRequestError(f"image.source.media_type: {media_type!r} is none of {allowed}")
        return decode_image(source.get("data") or "", media_type, self._sight.headers)

    def _document(self, source: Any) -> SentMedia:
        if not isinstance(source, Mapping) or source.get("type") != "base64":
            raise BadRequestError("document.source: this server takes base64 sources only")
        if source.get("media_type") != "application/pdf":
            raise BadRequestError("document.source.media_type: must be 'application/pdf'")
        return decode_media(source.get("data") or "", "application/pdf")

    def complete(self, ask: Ask, reply: Reply) -> dict[str, Any]:  # noqa: ARG002
        """Write an answer."""
        content: list[dict[str, Any]] = []
        if reply.tool is not None:
            content.append(
                {
                    "type": "tool_use",
                    "id": f"toolu_{reply.number}",
                    "name": reply.tool,
                    "input": _parsed(reply.text),
                }
            )
        elif reply.text and reply.finish != "refused":
            content.append({"type": "text", "text": reply.text})
        return {
            "id": f"msg_{reply.number}",
            "type": "message",
            "role": "assistant",
            "model": reply.model,
            "content": content,
            "stop_reason": _stop_reason(reply),
            "stop_sequence": None,
            "stop_details": _stop_details(reply),
            "usage": _usage(reply),
        }

    def stream(self, ask: Ask, reply: Reply) -> Iterator[bytes]:
        """Write an answer as server-sent events."""
        message = self.complete(ask, reply)
        usage = {**message["usage"], "output_tokens": 1}
        blank = {**message, "content": [], "stop_reason": None, "usage": usage}
        yield _event("message_start", message=blank)
        for place, block in enumerate(message["content"]):
            if block["type"] == "tool_use":
                opened = {**block, "input": {}}
                kind, key = "input_json_delta", "partial_json"
            else:
                opened = {"type": "text", "text": ""}
                kind, key = "text_delta", "text"
            yield _event("content_block_start", index=place, content_block=opened)
            yield _event("ping")
            for piece in pieces(reply.text):
                delta = {"type": kind, key: piece}
                yield _event("content_block_delta", index=place, delta=delta)
            yield _event("content_block_stop", index=place)
        ending = {
            "stop_reason": message["stop_reason"],
            "stop_sequence": None,
            "stop_details": message["stop_details"],
        }
        yield _event("message_delta", delta=ending, usage=message["usage"])
        yield _event("message_stop")


def _schema(body: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the answer schema, of the present form or of the earlier beta's."""
    config = body.get("output_config") or {}
    form = config.get("format") or body.get("output_format") or {}
    schema = form.get("schema") if form.get("type") == "json_schema" else None
    return schema if isinstance(schema, Mapping) else None


def _tool(tools: Any, choice: Any) -> tuple[str | None, Mapping[str, Any] | None]:
    choice = choice or {}
    if not isinstance(tools, list) or choice.get("type") == "none":
        return None, None
    for tool in tools:
        if choice.get("type") != "tool" or choice.get("name") == tool.get("name"):
            return tool.get("name"), tool.get("input_schema") or {"type": "object"}
    return None, None


def _is_marked(system: Any) -> bool:
    return isinstance(system, list) and any(
        isinstance(block, Mapping) and block.get("cache_control") for block in system
    )


def _stop_reason(reply: Reply) -> str:
    if reply.tool is not None:
        return "tool_use"
    return {"length": "max_tokens", "refused": "refusal", "blocked": "refusal"}.get(
        reply.finish, "end_turn"
    )


def _stop_details(reply: Reply) -> dict[str, Any] | None:
    if reply.finish != "refused":
        return None
    return {"type": "refusal", "category": "general_harms", "explanation": reply.text}


def _usage(reply: Reply) -> dict[str, Any]:
    count = reply.count
    return {
        "input_tokens": count.input - count.cached - count.written,
        "cache_creation_input_tokens": count.written,
        "cache_read_input_tokens": count.cached,
        "output_tokens": count.output,
        "service_tier": "standard",
    }


def _parsed(text: str) -> Any:
    """Return a function's arguments; what is no JSON is left as a text."""
    try:
        value = json.loads(text)
    except ValueError:
        return {"text": text}
    return value if isinstance(value, dict) else {"value": value}


def _event(kind: str, **values: Any) -> bytes:
    body = json.dumps({"type": kind, **values}, ensure_ascii=False)
    return f"event: {kind}\ndata: {body}\n\n".encode()
