"""Google's wire format: generateContent, its stream, decisions, files, batches."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from showtell.testing.servers.counting import Vendor
from showtell.testing.servers.decisions import google_questions, write_google
from showtell.testing.servers.reading import Part, interleave
from showtell.testing.servers.records import Ask, BadRequestError, Problem, Reply
from showtell.testing.servers.sight import SentImage, decode_image, decode_media
from showtell.testing.servers.wire import Wire, pieces, texts_of
from showtell.testing.servers.writing import normalise_schema

__all__ = ["GenerateWire", "GoogleDecisionsWire", "google_problem"]


def google_problem(problem: Problem) -> dict[str, Any]:
    """Write an error as Google does."""
    status = {
        "bad_request": "INVALID_ARGUMENT",
        "auth": "UNAUTHENTICATED",
        "not_found": "NOT_FOUND",
        "rate_limit": "RESOURCE_EXHAUSTED",
        "server": "INTERNAL",
        "overloaded": "UNAVAILABLE",
        "blocked": "INVALID_ARGUMENT",
    }[problem.kind]
    error: dict[str, Any] = {"code": problem.status, "message": problem.message, "status": status}
    if problem.retry_after is not None:
        kind = "type.googleapis.com/google.rpc.RetryInfo"
        error["details"] = [{"@type": kind, "retryDelay": f"{problem.retry_after:.3f}s"}]
    return {"error": error}


class _GoogleWire(Wire):
    vendor: Vendor = "google"
    problem = staticmethod(google_problem)


class GenerateWire(_GoogleWire):
    """``/v1beta/models/NAME:generateContent`` and ``:streamGenerateContent``."""

    def read(self, body: Mapping[str, Any], model: str, *, stream: bool = False) -> Ask:
        """Read a request.

        Parameters
        ----------
        body : mapping
        model : str
            From the path.
        stream : bool
        """
        config = _get(body, "generationConfig") or {}
        level = str(_get(config, "mediaResolution") or "").removeprefix("MEDIA_RESOLUTION_")
        system: list[Part] = []
        parts: list[Part] = []
        instruction = _get(body, "systemInstruction")
        if isinstance(instruction, str):
            system.append(instruction)
        elif instruction:
            self._parts(instruction, system, level)
        contents = body.get("contents")
        if isinstance(contents, Mapping):
            contents = [contents]
        if not isinstance(contents, list) or not contents:
            raise BadRequestError("contents is not specified")
        for content in contents:
            self._parts(content, parts, level)
        schema = _get(config, "responseJsonSchema")
        if schema is None and _get(config, "responseSchema") is not None:
            schema = normalise_schema(_get(config, "responseSchema"))
        as_json = _get(config, "responseMimeType") == "application/json"
        tool = None
        if schema is None and not as_json:
            tool, schema = _tool(body)
        wants = _get(config, "responseLogprobs")
        return Ask(
            vendor="google",
            endpoint="generate",
            model=model,
            system=texts_of(system),
            parts=parts,
            schema=schema,
            as_json=as_json,
            tool=tool,
            max_tokens=_get(config, "maxOutputTokens"),
            temperature=config.get("temperature"),
            n_logprobs=int(config.get("logprobs") or 0) if wants else None,
            stream=stream,
        )

    def _parts(self, content: Any, parts: list[Part], level: str) -> None:
        """Append the parts of a content."""
        if isinstance(content, str):
            parts.append(content)
            return
        for part in content.get("parts") or [] if isinstance(content, Mapping) else []:
            inline = _get(part, "inlineData")
            if inline is not None:
                media_type = str(_get(inline, "mimeType"))
                if media_type == "application/pdf" or media_type.startswith(("audio/", "video/")):
                    how = _get(part, "videoMetadata")
                    rate = float(how.get("fps") or 1.0) if isinstance(how, Mapping) else 1.0
                    parts.append(decode_media(inline.get("data") or "", media_type, rate=rate))
                    continue
                if not media_type.startswith("image/"):
                    raise BadRequestError(f"Unsupported MIME type: {media_type}")
                own = _get(part, "mediaResolution")
                own = own.get("level") if isinstance(own, Mapping) else own
                detail = str(own or level).removeprefix("MEDIA_RESOLUTION_").lower() or "auto"
                data = inline.get("data") or ""
                parts.append(decode_image(data, media_type, self._sight.headers, detail=detail))
            elif _get(part, "fileData") is not None:
                raise BadRequestError("This server takes images inline only (inlineData).")
            elif isinstance(part.get("text"), str):
                if not part.get("thought"):
                    parts.append(part["text"])
            elif (call := _get(part, "functionResponse") or _get(part, "functionCall")) is not None:
                parts.append(json.dumps(call, ensure_ascii=False))

    def complete(self, ask: Ask, reply: Reply) -> dict[str, Any]:  # noqa: ARG002
        """Write an answer."""
        body: dict[str, Any] = {
            "usageMetadata": _usage(reply),
            "modelVersion": reply.model,
            "responseId": f"resp{reply.number}",
        }
        if reply.finish == "blocked":
            ratings = [_rating("HIGH")]
            body["promptFeedback"] = {"blockReason": "SAFETY", "safetyRatings": ratings}
            return body
        candidate: dict[str, Any] = {"index": 0, "finishReason": _finish(reply)}
        if reply.finish == "refused":
            candidate["safetyRatings"] = [{**_rating("HIGH"), "blocked": True}]
        else:
            candidate["content"] = {"role": "model", "parts": _written(reply, reply.text)}
        if reply.tokens:
            chosen = [{"token": t.text, "logProbability": t.logprob} for t in reply.tokens]
            top = [
                {"candidates": [{"token": text, "logProbability": p} for text, p in t.top]}
                for t in reply.tokens
            ]
            total = sum(t.logprob for t in reply.tokens)
            candidate["avgLogprobs"] = total / len(reply.tokens)
            candidate["logprobsResult"] = {
                "chosenCandidates": chosen,
                "topCandidates": top,
                "logProbabilitySum": total,
            }
        body["candidates"] = [candidate]
        return body

    def stream(self, ask: Ask, reply: Reply) -> Iterator[bytes]:
        """Write an answer as server-sent events."""
        final = self.complete(ask, reply)
        if reply.finish == "stop" and reply.tool is None:
            head = {"modelVersion": final["modelVersion"], "responseId": final["responseId"]}
            *before, rest = pieces(reply.text) if reply.text else ("",)
            for piece in before:
                content = {"role": "model", "parts": [{"text": piece}]}
                yield _event({"candidates": [{"index": 0, "content": content}], **head})
            final["candidates"][0]["content"]["parts"] = _written(reply, rest)
        yield _event(final)


class GoogleDecisionsWire(_GoogleWire):
    """``/v1beta/decisions``: typed questions about a text with images."""

    max_options = 255
    max_questions = 1000

    def read(self, body: Mapping[str, Any]) -> Ask:
        """Read a request."""
        if not isinstance(body.get("model"), str):
            raise BadRequestError("model is not specified")
        given = body.get("input")
        blocks = [{"type": "text", "text": given}] if isinstance(given, str) else given
        if not isinstance(blocks, list):
            raise BadRequestError("input must be a string or an array of blocks")
        texts: list[str] = []
        images: list[SentImage] = []
        for block in blocks:
            if block.get("type") == "image":
                data, media_type = block.get("data") or "", str(_get(block, "mimeType"))
                detail = str(block.get("resolution") or "auto")
                headers = self._sight.headers
                images.append(decode_image(data, media_type, headers, detail=detail))
            elif str(block.get("text")) != f"<image {len(images) + 1}>:":
                texts.append(str(block.get("text", "")))
        questions = google_questions(body.get("questions"))
        if len(questions) > self.max_questions:
            raise BadRequestError(f"At most {self.max_questions} questions are allowed.")
        for question in questions:
            if not question["instructions"]:
                raise BadRequestError(f"Question {question['name']!r} needs instructions.")
            if len(question["options"]) > self.max_options:
                raise BadRequestError(f"At most {self.max_options} options are allowed.")
        return Ask(
            vendor="google",
            endpoint="decisions",
            model=body["model"],
            system="",
            parts=interleave("\n".join(texts), images),
            questions=questions,
        )

    def complete(self, ask: Ask, reply: Reply) -> dict[str, Any]:  # noqa: ARG002
        """Write the answers."""
        count = reply.count
        by_kind = [{"modality": "text", "tokens": count.text}]
        if count.images:
            by_kind.append({"modality": "image", "tokens": count.images})
        return {
            "answers": write_google(reply),
            "usage": {
                "total_input_tokens": count.input,
                "total_output_tokens": count.output,
                "input_tokens_by_modality": by_kind,
            },
        }


def _get(mapping: Mapping[str, Any], name: str) -> Any:
    """Return a field by its camelCase name, or by the snake_case one that Google takes too."""
    if name in mapping:
        return mapping[name]
    return mapping.get("".join(f"_{c.lower()}" if c.isupper() else c for c in name))


def _tool(body: Mapping[str, Any]) -> tuple[str | None, Mapping[str, Any] | None]:
    calling = _get(_get(body, "toolConfig") or {}, "functionCallingConfig") or {}
    if calling.get("mode") == "NONE":
        return None, None
    wanted = _get(calling, "allowedFunctionNames")
    for group in body.get("tools") or []:
        for function in _get(group, "functionDeclarations") or []:
            if not wanted or function.get("name") in wanted:
                schema = _get(function, "parametersJsonSchema")
                if schema is None:
                    schema = normalise_schema(function.get("parameters") or {"type": "object"})
                return function.get("name"), schema
    return None, None


def _written(reply: Reply, text: str) -> list[dict[str, Any]]:
    if reply.tool is not None:
        return [{"functionCall": {"name": reply.tool, "args": json.loads(reply.text)}}]
    return [{"text": text}]


def _finish(reply: Reply) -> str:
    return {"length": "MAX_TOKENS", "refused": "SAFETY"}.get(reply.finish, "STOP")


def _rating(probability: str) -> dict[str, Any]:
    return {"category": "HARM_CATEGORY_DANGEROUS_CONTENT", "probability": probability}


def _usage(reply: Reply) -> dict[str, Any]:
    count = reply.count
    details = [{"modality": "TEXT", "tokenCount": count.text}]
    if count.images:
        details.append({"modality": "IMAGE", "tokenCount": count.images})
    usage: dict[str, Any] = {
        "promptTokenCount": count.input,
        "promptTokensDetails": details,
        "totalTokenCount": count.input + count.output,
    }
    if reply.finish in ("stop", "length"):
        usage["candidatesTokenCount"] = count.output
    if count.cached:
        usage["cachedContentTokenCount"] = count.cached
    return usage


def _event(value: Any) -> bytes:
    return f"data: {json.dumps(value, ensure_ascii=False)}\r\n\r\n".encode()
