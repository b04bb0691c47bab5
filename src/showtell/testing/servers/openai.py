"""OpenAI's wire format: chat completions, responses, decisions, models, files, batches."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from typing import Any

from showtell.testing.servers.counting import Vendor
from showtell.testing.servers.decisions import openai_questions, write_openai
from showtell.testing.servers.reading import Part
from showtell.testing.servers.records import Ask, BadRequestError, Problem, Reply
from showtell.testing.servers.sight import SentImage, SentMedia, Sight, decode_image, decode_media
from showtell.testing.servers.wire import Wire, pieces, texts_of
from showtell.testing.servers.writing import Token

__all__ = ["ChatWire", "DecisionsWire", "ResponsesWire", "model_list", "openai_problem"]


def openai_problem(problem: Problem) -> dict[str, Any]:
    """Write an error as OpenAI does."""
    kinds = {
        "bad_request": ("invalid_request_error", None),
        "auth": ("invalid_request_error", "invalid_api_key"),
        "not_found": ("invalid_request_error", "not_found"),
        "rate_limit": ("requests", "rate_limit_exceeded"),
        "server": ("server_error", None),
        "overloaded": ("service_unavailable_error", None),
        "blocked": ("invalid_request_error", "content_policy_violation"),
    }
    kind, code = kinds[problem.kind]
    return {"error": {"message": problem.message, "type": kind, "param": None, "code": code}}


class _OpenAIWire(Wire):
    problem = staticmethod(openai_problem)

    def __init__(self, sight: Sight, *, vendor: Vendor = "openai") -> None:
        super().__init__(sight)
        self.vendor = vendor

    def _image(self, url: Any, detail: Any) -> SentImage:
        if not isinstance(url, str) or not url.startswith("data:"):
            raise BadRequestError("This server takes images inline only, as data: URLs.")
        head, _, data = url.partition(",")
        media_type, _, coding = head.removeprefix("data:").partition(";")
        if coding != "base64":
            raise BadRequestError("An image must be a base64-encoded data: URL.")
        return decode_image(data, media_type, self._sight.headers, detail=str(detail or "auto"))

    def _content(self, content: Any, texts: list[Part]) -> None:
        """Append the parts of a message's content."""
        if content is None:
            return
        if isinstance(content, str):
            texts.append(content)
            return
        if not isinstance(content, list):
            raise BadRequestError("`content` must be a string or an array of parts.")
        for part in content:
            match part.get("type") if isinstance(part, Mapping) else None:
                case "text" | "input_text" | "output_text":
                    texts.append(str(part.get("text", "")))
                case "image_url":
                    image = part.get("image_url")
                    if not isinstance(image, Mapping):
                        raise BadRequestError("`image_url` must be an object with a `url`.")
                    texts.append(self._image(image.get("url"), image.get("detail")))
                case "input_image":
                    texts.append(self._image(part.get("image_url"), part.get("detail")))
                case "input_audio":
                    texts.append(_sound(part.get("input_audio")))
                case "file":
                    texts.append(_file(part.get("file")))
                case "input_file":
                    texts.append(_file(part))
                case "input_json":
                    texts.append(json.dumps(part.get("json"), ensure_ascii=False))
                case "refusal":
                    texts.append(str(part.get("refusal", "")))
                case other:
                    raise BadRequestError(f"Invalid value: '{other}'. Unknown type of content.")

    def _input(self, body: dict[str, Any]) -> tuple[str, list[Part]]:
        """Read the system text and the parts of an ``input``, as of responses and decisions."""
        system: list[Part] = []
        parts: list[Part] = []
        if isinstance(body.get("instructions"), str):
            system.append(body["instructions"])
        given = body.get("input")
        items = _messages([{"content": given}] if isinstance(given, str) else given, "input")
        for item in items:
            if item.get("type", "message") == "message":
                target = system if item.get("role") in ("system", "developer") else parts
                self._content(item.get("content"), target)
            elif item.get("type") == "function_call_output":
                self._content(item.get("output"), parts)
        return texts_of(system), parts


def _sound(sound: Any) -> SentMedia:
    if not isinstance(sound, Mapping) or sound.get("format") not in ("wav", "mp3"):
        raise BadRequestError("`input_audio` must be an object with `data` and `format`: wav, mp3.")
    kind = {"wav": "audio/wav", "mp3": "audio/mpeg"}[sound["format"]]
    return decode_media(str(sound.get("data") or ""), kind)


def _file(file: Any) -> SentMedia:
    content = str(file.get("file_data") or "") if isinstance(file, Mapping) else ""
    head, comma, data = content.partition(";base64,")
    if not comma or head != "data:application/pdf":
        raise BadRequestError("A file must be a PDF as a base64-encoded data: URL (`file_data`).")
    return decode_media(data, "application/pdf")


class ChatWire(_OpenAIWire):
    """``/v1/chat/completions``; also what Ollama, vLLM and llama.cpp call OpenAI-compatible."""

    def read(self, body: dict[str, Any]) -> Ask:
        """Read a request."""
        system: list[Part] = []
        parts: list[Part] = []
        for message in _messages(body.get("messages"), "messages"):
            role = message.get("role")
            target = system if role in ("system", "developer") else parts
            self._content(message.get("content"), target)
        schema, as_json = _response_format(body.get("response_format"))
        tool = None
        if schema is None:
            tool, schema = _tool(body.get("tools"), body.get("tool_choice"))
        wants = body.get("logprobs")
        return Ask(
            vendor=self.vendor,
            endpoint="chat",
            model=_model(body),
            system=texts_of(system),
            parts=parts,
            schema=schema,
            as_json=as_json,
            tool=tool,
            max_tokens=body.get("max_completion_tokens") or body.get("max_tokens"),
            temperature=body.get("temperature"),
            n_logprobs=int(body.get("top_logprobs") or 0) if wants else None,
            stream=bool(body.get("stream")),
            wants_usage=bool((body.get("stream_options") or {}).get("include_usage")),
        )

    def complete(self, ask: Ask, reply: Reply) -> dict[str, Any]:  # noqa: ARG002
        """Write an answer."""
        message: dict[str, Any] = {"role": "assistant", "content": reply.text, "refusal": None}
        if reply.finish == "refused" and self.vendor == "openai":
            message.update(content=None, refusal=reply.text)
        if reply.tool is not None:
            call = {"name": reply.tool, "arguments": reply.text}
            calls = [{"id": f"call_{reply.number}", "type": "function", "function": call}]
            message.update(content=None, tool_calls=calls)
        choice: dict[str, Any] = {
            "index": 0,
            "message": message,
            "logprobs": None,
            "finish_reason": _chat_finish(reply),
        }
        if reply.tokens is not None:
            choice["logprobs"] = {"content": [_token(t) for t in reply.tokens], "refusal": None}
        return {
            "id": f"chatcmpl-{reply.number}",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": reply.model,
            "choices": [choice],
            "usage": _chat_usage(reply),
            "system_fingerprint": "fp_local",
        }

    def stream(self, ask: Ask, reply: Reply) -> Iterator[bytes]:
        """Write an answer as server-sent events."""
        created: Any = int(time.time())

        def event(choices: list[dict[str, Any]], **more: Any) -> bytes:
            head = {"id": f"chatcmpl-{reply.number}", "object": "chat.completion.chunk"}
            head |= {"created": created, "model": reply.model}
            return _event({**head, "choices": choices, **more})

        def chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
            return event([{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}])

        if reply.tool is not None:
            head = {"index": 0, "id": f"call_{reply.number}", "type": "function"}
            start = {**head, "function": {"name": reply.tool, "arguments": ""}}
            yield chunk({"role": "assistant", "content": None, "tool_calls": [start]})
            for piece in pieces(reply.text):
                yield chunk({"tool_calls": [{"index": 0, "function": {"arguments": piece}}]})
        else:
            refused = reply.finish == "refused" and self.vendor == "openai"
            field = "refusal" if refused else "content"
            yield chunk({"role": "assistant", field: ""})
            for piece in pieces(reply.text):
                yield chunk({field: piece})
        yield chunk({}, _chat_finish(reply))
        if ask.wants_usage:
            yield event([], usage=_chat_usage(reply))
        yield b"data: [DONE]\n\n"


class ResponsesWire(_OpenAIWire):
    """``/v1/responses``."""

    def read(self, body: dict[str, Any]) -> Ask:
        """Read a request."""
        system, parts = self._input(body)
        form = (body.get("text") or {}).get("format") or {}
        schema = form.get("schema") if form.get("type") == "json_schema" else None
        tool = None
        if schema is None:
            tool, schema = _tool(body.get("tools"), body.get("tool_choice"))
        wants = "message.output_text.logprobs" in (body.get("include") or [])
        return Ask(
            vendor="openai",
            endpoint="responses",
            model=_model(body),
            system=system,
            parts=parts,
            schema=schema,
            as_json=form.get("type") == "json_object",
            tool=tool,
            max_tokens=body.get("max_output_tokens"),
            temperature=body.get("temperature"),
            n_logprobs=int(body.get("top_logprobs") or 0) if wants else None,
            stream=bool(body.get("stream")),
        )

    def complete(self, ask: Ask, reply: Reply) -> dict[str, Any]:
        """Write an answer."""
        output: list[dict[str, Any]] = []
        if reply.tool is not None:
            output.append(
                {
                    "type": "function_call",
                    "id": f"fc_{reply.number}",
                    "call_id": f"call_{reply.number}",
                    "name": reply.tool,
                    "arguments": reply.text,
                    "status": "completed",
                }
            )
        elif reply.finish != "blocked":
            output.append(self._message(reply))
        return self._response(ask, reply, output)

    def _message(self, reply: Reply) -> dict[str, Any]:
        content: dict[str, Any]
        if reply.finish == "refused":
            content = {"type": "refusal", "refusal": reply.text}
        else:
            tokens = [_token(t) for t in reply.tokens or ()]
            content = {
                "type": "output_text",
                "text": reply.text,
                "annotations": [],
                "logprobs": tokens,
            }
        return {
            "type": "message",
            "id": f"msg_{reply.number}",
            "role": "assistant",
            "status": "incomplete" if reply.finish == "length" else "completed",
            "content": [content],
        }

    def _response(
        self, ask: Ask, reply: Reply, output: list[dict[str, Any]], status: str | None = None
    ) -> dict[str, Any]:
        reason = {"length": "max_output_tokens", "blocked": "content_filter"}.get(reply.finish)
        if status is None:
            status = "incomplete" if reason else "completed"
        return {
            "id": f"resp_{reply.number}",
            "object": "response",
            "created_at": int(time.time()),
            "status": status,
            "error": None,
            "incomplete_details": {"reason": reason} if reason and output is not None else None,
            "instructions": None,
            "metadata": {},
            "model": reply.model,
            "output": output,
            "parallel_tool_calls": True,
            "temperature": ask.temperature,
            "tool_choice": "auto",
            "tools": [],
            "top_p": 1.0,
            "usage": None if status == "in_progress" else _usage(reply),
        }

    def stream(self, ask: Ask, reply: Reply) -> Iterator[bytes]:
        """Write an answer as server-sent events."""
        number = -1

        def event(kind: str, **values: Any) -> bytes:
            nonlocal number
            number += 1
            return _event({"type": kind, "sequence_number": number, **values}, kind)

        final = self.complete(ask, reply)
        blank = self._response(ask, reply, [], "in_progress")
        yield event("response.created", response=blank)
        yield event("response.in_progress", response=blank)
        for item in final["output"]:
            place = {"output_index": 0, "item_id": item["id"]}
            if item["type"] == "function_call":
                started = {**item, "arguments": "", "status": "in_progress"}
                yield event("response.output_item.added", output_index=0, item=started)
                for piece in pieces(reply.text):
                    yield event("response.function_call_arguments.delta", **place, delta=piece)
                yield event(
                    "response.function_call_arguments.done",
                    **place,
                    arguments=reply.text,
                    name=item["name"],
                )
            else:
                started = {**item, "content": [], "status": "in_progress"}
                yield event("response.output_item.added", output_index=0, item=started)
                (part,) = item["content"]
                place["content_index"] = 0
                refused = part["type"] == "refusal"
                blank_part = {**part, "refusal" if refused else "text": ""}
                yield event("response.content_part.added", **place, part=blank_part)
                kind = "response.refusal" if refused else "response.output_text"
                more: dict[str, Any] = {} if refused else {"logprobs": []}
                for piece in pieces(reply.text):
                    yield event(f"{kind}.delta", **place, delta=piece, **more)
                said = {"refusal": reply.text} if refused else {"text": reply.text}
                yield event(f"{kind}.done", **place, **said, **more)
                yield event("response.content_part.done", **place, part=part)
            yield event("response.output_item.done", output_index=0, item=item)
        yield event(f"response.{final['status']}", response=final)


class DecisionsWire(_OpenAIWire):
    """``/v1/decisions``: typed questions, a probability per option."""

    max_images = 128
    max_options = 255
    max_questions = 400

    def read(self, body: dict[str, Any]) -> Ask:
        """Read a request."""
        system, parts = self._input(body)
        n_images = sum(isinstance(part, SentImage) for part in parts)
        if n_images > self.max_images:
            raise BadRequestError(f"At most {self.max_images} images are allowed, got {n_images}.")
        questions = openai_questions(body.get("questions"))
        if not 1 <= len(questions) <= self.max_questions:
            raise BadRequestError(f"Ask 1 to {self.max_questions} questions.")
        for question in questions:
            if (
                question["kind"] == "choice"
                and not 2 <= len(question["options"]) <= self.max_options
            ):
                raise BadRequestError(
                    f"Question {question['name']!r}: between 2 and {self.max_options} choices."
                )
        return Ask(
            vendor="openai",
            endpoint="decisions",
            model=_model(body),
            system=system,
            parts=parts,
            questions=questions,
        )

    def complete(self, ask: Ask, reply: Reply) -> dict[str, Any]:
        """Write the answers."""
        return {
            "model": reply.model,
            "answers": write_openai(ask, reply),
            "usage": _usage(reply),
        }


def model_list(names: tuple[str, ...], owner: str) -> dict[str, Any]:
    """Write the list of models."""
    return {
        "object": "list",
        "data": [{"id": n, "object": "model", "created": 1, "owned_by": owner} for n in names],
    }


def _messages(given: Any, name: str) -> list[Mapping[str, Any]]:
    if not isinstance(given, list) or not all(isinstance(m, Mapping) for m in given):
        raise BadRequestError(f"`{name}` must be an array of objects.")
    return given


def _model(body: dict[str, Any]) -> str:
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise BadRequestError("you must provide a model parameter")
    return model


def _response_format(form: Any) -> tuple[Mapping[str, Any] | None, bool]:
    if not isinstance(form, Mapping):
        return None, False
    if form.get("type") == "json_schema":
        schema = (form.get("json_schema") or {}).get("schema")
        if not isinstance(schema, Mapping):
            raise BadRequestError("Missing parameter: 'response_format.json_schema.schema'.")
        return schema, True
    return None, form.get("type") == "json_object"


def _tool(tools: Any, choice: Any) -> tuple[str | None, Mapping[str, Any] | None]:
    """Return the function that will be called: the one chosen, else the first."""
    if not isinstance(tools, list) or choice == "none":
        return None, None
    functions = [t.get("function", t) for t in tools if t.get("type") == "function"]
    wanted = None
    if isinstance(choice, Mapping):
        wanted = (choice.get("function") or choice).get("name")
    for function in functions:
        if wanted in (None, function.get("name")):
            return function.get("name"), function.get("parameters") or {"type": "object"}
    return None, None


def _chat_finish(reply: Reply) -> str:
    if reply.tool is not None:
        return "tool_calls"
    return {"length": "length", "blocked": "content_filter"}.get(reply.finish, "stop")


def _chat_usage(reply: Reply) -> dict[str, Any]:
    count = reply.count
    return {
        "prompt_tokens": count.input,
        "completion_tokens": count.output,
        "total_tokens": count.input + count.output,
        "prompt_tokens_details": {"cached_tokens": count.cached, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    }


def _usage(reply: Reply) -> dict[str, Any]:
    count = reply.count
    return {
        "input_tokens": count.input,
        "input_tokens_details": {"cached_tokens": count.cached, "cache_write_tokens": 0},
        "output_tokens": count.output,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": count.input + count.output,
    }


def _token(token: Token) -> dict[str, Any]:
    def written(text: str, logprob: float) -> dict[str, Any]:
        return {"token": text, "logprob": logprob, "bytes": list(text.encode())}

    return {
        **written(token.text, token.logprob),
        "top_logprobs": [written(text, logprob) for text, logprob in token.top],
    }


def _event(value: Any, name: str | None = None) -> bytes:
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {json.dumps(value, ensure_ascii=False)}\n\n".encode()
