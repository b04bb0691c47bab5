"""What a request is answered: looked at, guessed or written, and spoiled where that was drawn."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from showtell.errors import MediaError
from showtell.testing.servers.assignments import read_assignment
from showtell.testing.servers.author import Author
from showtell.testing.servers.counting import TokenCount, text_tokens
from showtell.testing.servers.decisions import decide
from showtell.testing.servers.guessing import Guesser
from showtell.testing.servers.knobs import Faults, uniform
from showtell.testing.servers.onlooker import Onlooker, is_question
from showtell.testing.servers.reading import Scene, read_scene, schema_in_text
from showtell.testing.servers.records import Ask, Finish, Problem, Reply, Stats
from showtell.testing.servers.sight import BadImageError
from showtell.testing.servers.verdicts import compare_answers
from showtell.testing.servers.writing import (
    allowed_labels,
    break_json,
    make_items,
    make_tokens,
    write_answer,
)

__all__ = ["REFUSAL", "Answering", "bad", "dumps"]

REFUSAL = "I'm sorry, but I can't help with that."
"""What a model that declines says."""


class Answering:
    """Turns what was asked into a reply; `stats` counts the faults."""

    def __init__(
        self, guesser: Guesser, author: Author, faults: Faults, stats: Stats, seed: int
    ) -> None:
        self.guesser, self.author = guesser, author
        self.onlooker = Onlooker(faults)
        self.faults, self.stats, self.seed = faults, stats, seed

    async def answer(
        self, ask: Ask, count: TokenCount, key: str, attempt: int, fault: str | None
    ) -> tuple[Reply, Mapping[str, str]] | Problem:
        """Look at what is shown, and answer; or say what is wrong with it."""
        number = self.stats.n_requests
        if fault in ("refuse", "block"):
            self.stats.faults[fault] += 1
            reply = Reply(
                number=number,
                model=ask.model,
                text=REFUSAL if fault == "refuse" else "",
                finish="refused" if fault == "refuse" else "blocked",
                count=replace(count, output=text_tokens(REFUSAL) if fault == "refuse" else 0),
            )
            return reply, dict.fromkeys((q.id for q in self.scene_of(ask)[0].queries), fault)
        scene, schema, allowed = self.scene_of(ask)
        draw_key = (self.seed, key, attempt)
        try:
            if ask.questions:
                decisions, guesses, spoiled = await decide(
                    self.guesser, ask, scene, self.faults, *draw_key
                )
                n_output = sum(text_tokens(json.dumps(entry)) for entry in decisions)
                if ask.vendor == "openai":
                    n_output = len(decisions)
                reply = Reply(
                    number=number,
                    model=ask.model,
                    text="",
                    finish="stop",
                    count=replace(count, output=n_output),
                    guesses=tuple(guesses),
                    decisions=decisions,
                )
                self._count_spoiled(spoiled)
                return reply, spoiled
            if ask.assignment is not None:
                return await self._write(ask, number, count, schema, draw_key, fault)
            if schema is not None and is_question(schema):
                return await self._look(ask, number, count, schema, draw_key, fault)
            guesses = await self.guesser.guess(
                scene, allowed, key=key, temperature=ask.temperature, attempt=attempt
            )
        except (BadImageError, MediaError) as error:
            return bad(error)
        except Exception as error:  # noqa: BLE001  the encoder is anyone's
            message = f"The local server failed: {type(error).__name__}: {error}"
            return Problem(status=500, kind="server", message=message)
        items, spoiled = make_items(guesses, self.faults, *draw_key)
        text = write_answer(items, len(scene.queries), schema, as_json=ask.as_json)
        self._count_spoiled(spoiled)
        text, finish = self._finished(text, ask, draw_key, fault)
        tokens = None
        if ask.n_logprobs is not None:
            tokens = tuple(make_tokens(text, items, ask.n_logprobs))
        reply = Reply(
            number=number,
            model=ask.model,
            text=text,
            finish=finish,
            count=replace(count, output=text_tokens(text)),
            items=tuple(items),
            tokens=tokens,
            tool=ask.tool if finish == "stop" and text else None,
            guesses=tuple(guesses),
        )
        return reply, spoiled

    async def _write(
        self,
        ask: Ask,
        number: int,
        count: TokenCount,
        schema: Mapping[str, Any] | None,
        draw_key: tuple[object, ...],
        fault: str | None,
    ) -> tuple[Reply, Mapping[str, str]]:
        """Have the author answer."""
        asked = ask.assignment
        assert asked is not None
        wrong = self.faults.of_writing(uniform(*draw_key, "writing"))
        seed, key, attempt = draw_key
        # the same question has one answer, unless it is to be sampled; a sample with a number has
        # one answer too, however often it comes
        sampled = bool(ask.temperature) and asked.sample is None
        drawn = (seed, key, attempt if sampled else 0)
        if asked.task == "judge-pair":
            value = await compare_answers(
                asked.answers, self.guesser.sight, ask.images, self.guesser.bias, drawn
            )
        else:
            value = await self.author.write(
                asked,
                self.guesser.sight,
                schema=schema,
                images=ask.images,
                draw_key=drawn,
                fault=wrong,
            )
        if wrong is not None:
            self.stats.faults[wrong] += 1
        plain = schema is None and not ask.as_json and isinstance(value.get("description"), str)
        text = value["description"] if plain else dumps(value).decode()
        text, finish = self._finished(text, ask, draw_key, fault)
        reply = Reply(
            number=number,
            model=ask.model,
            text=text,
            finish=finish,
            count=replace(count, output=text_tokens(text)),
            tool=ask.tool if finish == "stop" and text else None,
        )
        return reply, {} if wrong is None else {
            query.id: wrong for query in self.scene_of(ask)[0].queries
        }

    async def _look(
        self,
        ask: Ask,
        number: int,
        count: TokenCount,
        schema: Mapping[str, Any],
        draw_key: tuple[object, ...],
        fault: str | None,
    ) -> tuple[Reply, Mapping[str, str]]:
        """Have the onlooker answer."""
        value = await self.onlooker.answer(ask.parts, schema, draw_key)
        text, finish = self._finished(dumps(value).decode(), ask, draw_key, fault)
        reply = Reply(
            number=number,
            model=ask.model,
            text=text,
            finish=finish,
            count=replace(count, output=text_tokens(text)),
            tool=ask.tool if finish == "stop" and text else None,
        )
        return reply, {}

    def _finished(
        self, text: str, ask: Ask, draw_key: tuple[object, ...], fault: str | None
    ) -> tuple[str, Finish]:
        """Break a text if its request is unlucky, and cut it where it is too long."""
        if fault == "broken_json":
            text = break_json(text, uniform(*draw_key, "broken"))
        elif fault == "empty":
            text = ""
        if fault in ("broken_json", "empty"):
            self.stats.faults[fault] += 1
        if ask.max_tokens is not None and text_tokens(text) > ask.max_tokens:
            return text[: 4 * ask.max_tokens], "length"
        return text, "stop"

    def _count_spoiled(self, spoiled: Mapping[str, str]) -> None:
        for fault in spoiled.values():
            self.stats.faults[fault] += 1

    def scene_of(self, ask: Ask) -> tuple[Scene, Mapping[str, Any] | None, tuple[str, ...]]:
        """Read what is shown and asked, and which schema the answer has to follow."""
        if ask.read is not None:
            return ask.read
        schema = ask.schema
        if schema is None and not ask.questions:
            schema = schema_in_text(ask.texts)
            if schema is None and not ask.as_json:
                ask.as_json = any("json" in text.casefold() for text in ask.texts)
        allowed = allowed_labels(schema)
        ask.read = read_scene(ask.system, ask.parts, allowed), schema, allowed
        if not ask.questions:
            asked = read_assignment([p for p in ask.parts if isinstance(p, str)])
            if not allowed or (asked is not None and asked.task == "judge-pair"):
                ask.assignment = asked  # a verdict is one of a list, and no label
        return ask.read


def dumps(value: Any) -> bytes:
    """Write compact JSON."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def bad(error: Exception) -> Problem:
    """Turn an error about the request into the answer 400."""
    return Problem(status=400, kind="bad_request", message=str(error) or type(error).__name__)
