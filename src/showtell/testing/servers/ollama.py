"""What local servers speak: Ollama's ``/api/...`` and the decisions of ``/v1/systemone``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from showtell.testing.servers.counting import Vendor
from showtell.testing.servers.decisions import google_questions, write_google
from showtell.testing.servers.reading import Part, interleave
from showtell.testing.servers.records import Ask, BadRequestError, Problem, Reply
from showtell.testing.servers.sight import decode_image
from showtell.testing.servers.wire import Wire, pieces

__all__ = ["VERSION", "OllamaWire", "SystemOneWire", "show_model", "tags"]

VERSION = "0.12.0"
"""Whose features it has."""


class OllamaWire(Wire):
    """``/api/chat``; a message's images follow its text."""

    vendor: Vendor = "ollama"

    def read(self, body: dict[str, Any]) -> Ask:
        """Read a request."""
        if not isinstance(body.get("model"), str) or not body["model"]:
            raise BadRequestError("model is required")
        messages = body.get("messages")
        if not isinstance(messages, list):
            raise BadRequestError("messages must be an array")
        system: list[str] = []
        parts: list[Part] = []
        for message in messages:
            if message.get("role") == "system":
                system.append(str(message.get("content") or ""))
                continue
            if message.get("content"):
                parts.append(str(message["content"]))
            parts += [
                decode_image(str(data), "image/*", self._sight.headers)
                for data in message.get("images") or []
            ]
        form = body.get("format")
        options = body.get("options") or {}
        wants = body.get("logprobs")
        return Ask(
            vendor="ollama",
            endpoint="api/chat",
            model=body["model"],
            system="\n\n".join(system),
            parts=parts,
            schema=form if isinstance(form, Mapping) else None,
            as_json=form == "json",
            max_tokens=options.get("num_predict") if options.get("num_predict", -1) > 0 else None,
            temperature=options.get("temperature"),
            n_logprobs=int(body.get("top_logprobs") or 0) if wants else None,
            stream=body.get("stream", True) is not False,
        )

    def complete(self, ask: Ask, reply: Reply) -> dict[str, Any]:  # noqa: ARG002
        """Write an answer."""
        body: dict[str, Any] = {
            "model": reply.model,
            "created_at": _now(),
            "message": {"role": "assistant", "content": reply.text},
            "done": True,
            "done_reason": "length" if reply.finish == "length" else "stop",
            **_timings(reply),
        }
        if reply.tokens is not None:
            body["logprobs"] = [
                {
                    "token": t.text,
                    "logprob": t.logprob,
                    "top_logprobs": [{"token": text, "logprob": p} for text, p in t.top],
                }
                for t in reply.tokens
            ]
        return body

    def stream(self, ask: Ask, reply: Reply) -> Iterator[bytes]:
        """Write an answer as lines of JSON."""
        for piece in pieces(reply.text):
            message = {"role": "assistant", "content": piece}
            head = {"model": reply.model, "created_at": _now()}
            yield _line({**head, "message": message, "done": False})
        final = self.complete(ask, reply)
        final["message"] = {"role": "assistant", "content": ""}
        yield _line(final)

    @staticmethod
    def problem(problem: Problem) -> dict[str, Any]:
        """Write an error."""
        return {"error": problem.message}


class SystemOneWire(Wire):
    """``/v1/systemone``: a local model's decisions; images are assets that replace placeholders."""

    vendor: Vendor = "ollama"

    def read(self, body: Mapping[str, Any]) -> Ask:
        """Read a request."""
        state = body.get("state")
        if state is None or not isinstance(body.get("model"), str):
            raise BadRequestError("`model` and `state` are required")
        text = state if isinstance(state, str) else json.dumps(state, ensure_ascii=False, indent=0)
        images = []
        for number, (name, asset) in enumerate((body.get("assets") or {}).items(), start=1):
            data = str(asset.get("data_base64") or "")
            media_type = str(asset.get("media_type") or "image/*")
            images.append(decode_image(data, media_type, self._sight.headers))
            text = text.replace(name, f"<image {number}>")
        return Ask(
            vendor="ollama",
            endpoint="systemone",
            model=body["model"],
            system="",
            parts=interleave(text, images),
            questions=google_questions(body.get("questions")),
            temperature=body.get("temperature"),
        )

    def complete(self, ask: Ask, reply: Reply) -> dict[str, Any]:  # noqa: ARG002
        """Write the answers."""
        return {
            "model": reply.model,
            "answers": write_google(reply),
            "usage": {"input_tokens": reply.count.input, "output_tokens": 0},
        }

    @staticmethod
    def problem(problem: Problem) -> dict[str, Any]:
        """Write an error."""
        return {"detail": problem.message}


def tags(model: str) -> dict[str, Any]:
    """Write the list of models."""
    details = {"family": "showtell", "families": ["showtell"], "format": "onnx"}
    entry = {"name": f"{model}:latest", "model": f"{model}:latest", "size": 0, "details": details}
    return {"models": [{**entry, "modified_at": _now(), "digest": "0" * 64}]}


def show_model(model: str) -> dict[str, Any]:
    """Write what is known about a model."""
    return {
        "modelfile": f"FROM {model}",
        "parameters": "",
        "template": "{{ .Prompt }}",
        "details": {"family": "showtell", "families": ["showtell"], "format": "onnx"},
        "model_info": {"general.architecture": "showtell"},
        "capabilities": ["completion", "vision"],
    }


def _timings(reply: Reply) -> dict[str, int]:
    return {
        "total_duration": 1,
        "load_duration": 0,
        "prompt_eval_count": reply.count.input,
        "prompt_eval_duration": 1,
        "eval_count": reply.count.output,
        "eval_duration": 1,
    }


def _now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


def _line(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode() + b"\n"
