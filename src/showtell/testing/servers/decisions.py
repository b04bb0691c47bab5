"""Typed questions over images, as OpenAI, Google and local System One servers answer them.

Inside, a question is a dict: ``name``, ``kind`` (``choice``, ``score``, ``yes_no``),
``instructions`` (text), ``options`` (option to description).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from showtell.testing.servers.guessing import Guess, Guesser
from showtell.testing.servers.knobs import Faults, uniform
from showtell.testing.servers.reading import Query, Scene, read_scene
from showtell.testing.servers.records import Ask, BadRequestError, Reply
from showtell.testing.servers.writing import OTHER_LABELS

__all__ = ["decide", "google_questions", "openai_questions", "write_google", "write_openai"]

_NO_OPTION = "something else"


def openai_questions(given: Any) -> list[dict[str, Any]]:
    """Read OpenAI's ``questions``: an array with ``type`` predicate, choice or score."""
    if not isinstance(given, list) or not all(isinstance(q, Mapping) for q in given):
        raise BadRequestError("`questions` must be an array of objects.")
    questions = []
    for number, entry in enumerate(given):
        question = {
            "name": entry.get("name"),
            "instructions": _text(entry.get("instructions")),
        }
        match entry.get("type"):
            case "predicate":
                question.update(kind="yes_no", options={})
            case "choice":
                options = {c["value"]: c.get("description") for c in entry.get("choices") or []}
                if len(options) < len(entry.get("choices") or []):
                    raise BadRequestError(f"Question {number}: each choice must be unique.")
                question.update(kind="choice", options=options)
            case "score":
                levels = {v["label"]: v.get("description") for v in entry.get("levels") or []}
                question.update(kind="score", options=levels)
            case other:
                raise BadRequestError(f"Question {number}: unknown type {other!r}.")
        questions.append(question)
    return questions


def google_questions(given: Any) -> list[dict[str, Any]]:
    """Read Google's and System One's ``questions``: an object of noul, choice and score."""
    if not isinstance(given, Mapping) or not given:
        raise BadRequestError("`questions` must be an object with at least one question.")
    questions = []
    for name, entry in given.items():
        criteria = entry.get("criteria")
        question = {"name": name, "instructions": _text(entry.get("instructions"))}
        match entry.get("type"):
            case "noul":
                question.update(kind="yes_no", options={})
            case "choice" if isinstance(criteria, Mapping):
                question.update(kind="choice", options=dict(criteria))
            case "score" if isinstance(criteria, list):
                levels = {str(i): meaning for i, meaning in enumerate(criteria)}
                question.update(kind="score", options=levels)
            case other:
                raise BadRequestError(f"Question {name!r}: bad type {other!r} or criteria.")
        questions.append(question)
    return questions


async def decide(
    guesser: Guesser,
    ask: Ask,
    scene: Scene,
    faults: Faults,
    *draw_key: object,
) -> tuple[list[dict[str, Any]], list[Guess], dict[str, str]]:
    """Answer every question about the image it means.

    A question means the query whose id is its name or stands in its instructions
    (``Image ID``); else the only one; else the one at its own place.

    Returns
    -------
    answers : list of dict
        ``name``, ``kind``, ``options``, ``probabilities``, ``choice``; some are missing or
        spoiled where faults ask for it.
    guesses : list of Guess
    spoiled : dict of str to str
        Fault by query id.
    """
    answers: list[dict[str, Any]] = []
    guesses: list[Guess] = []
    spoiled: dict[str, str] = {}
    for place, question in enumerate(ask.questions):
        query = _meant(scene, question, place)
        options = [str(option) for option in question["options"]]
        guess = await _one(guesser, scene, query, question, options, str(draw_key[1]))
        if guess is not None:
            guesses.append(guess)
        name = query.id if query is not None else str(question["name"])
        fault = faults.of_query(uniform(*draw_key, "question", place, name))
        if fault in ("duplicate", "conflict", "swap"):
            fault = None  # answers have names and no order
        if fault is not None:
            spoiled[name] = fault
        if fault == "drop":
            continue
        answer: dict[str, Any] = {
            "name": question["name"],
            "kind": question["kind"],
            "options": list(question["options"]),
            "probabilities": _rounded(guess, len(options)),
        }
        answer["choice"] = answer["options"][_best(answer)] if answer["options"] else None
        if fault == "unknown":
            answer["name"] = f"{question['name']}-?"
        elif fault == "out_of_set" and question["kind"] == "choice":
            answer["choice"] = OTHER_LABELS[0]
            answer["options"][_best(answer)] = OTHER_LABELS[0]
        answers.append(answer)
    return answers, guesses, spoiled


def write_openai(ask: Ask, reply: Reply) -> list[dict[str, Any]]:
    """Write answers as OpenAI's decisions endpoint does; a refusal has its own type."""
    if reply.finish in ("refused", "blocked"):
        return [{"type": "refusal", "name": q["name"]} for q in ask.questions]
    written: list[dict[str, Any]] = []
    for answer in reply.decisions:
        p = answer["probabilities"]
        named = {"name": answer["name"]}
        match answer["kind"]:
            case "yes_no":
                written.append({"type": "predicate", **named, "probability": p[0]})
            case "choice":
                options = zip(answer["options"], p, strict=True)
                written.append(
                    {
                        "type": "choice",
                        **named,
                        "choice": answer["choice"],
                        "confidence": max(p),
                        "probabilities": [{"value": o, "probability": x} for o, x in options],
                    }
                )
            case _:
                levels = enumerate(zip(answer["options"], p, strict=True))
                written.append(
                    {
                        "type": "score",
                        **named,
                        "score": _mean_level(p),
                        "confidence": max(p),
                        "probabilities": [
                            {"value": i, "label": o, "probability": x} for i, (o, x) in levels
                        ],
                    }
                )
    return written


def write_google(reply: Reply) -> dict[str, dict[str, Any]]:
    """Write answers as Google's decisions and System One do."""
    written: dict[str, dict[str, Any]] = {}
    for answer in reply.decisions:
        p = answer["probabilities"]
        match answer["kind"]:
            case "yes_no":
                value: dict[str, Any] = {"type": "noul", "noul": p[0]}
            case "choice":
                value = {
                    "type": "choice",
                    "choice": answer["choice"],
                    "confidence": max(p),
                    "probabilities": dict(zip(answer["options"], p, strict=True)),
                }
            case _:
                value = {
                    "type": "score",
                    "score": _mean_level(p),
                    "confidence": max(p),
                    "probabilities": {str(i): x for i, x in enumerate(p)},
                }
        written[answer["name"]] = value
    return written


async def _one(
    guesser: Guesser,
    scene: Scene,
    query: Query | None,
    question: Mapping[str, Any],
    options: Sequence[str],
    key: str,
) -> Guess | None:
    if query is None:
        return None
    described = {name: _text(meaning) for name, meaning in question["options"].items() if meaning}
    if question["kind"] == "yes_no":
        named = [label for label in scene.labels if _mentions(question["instructions"], label)]
        if named:
            alone = replace(scene, queries=(query,))
            (guess,) = await guesser.guess(alone, scene.labels, key=key)
            share = float(guess.probabilities[list(guess.labels).index(named[0])])
            return replace(
                guess, probabilities=np.array([share, 1 - share]), labels=(named[0], _NO_OPTION)
            )
        options = [question["instructions"] or "a picture", _NO_OPTION]
    told = read_scene(question["instructions"], []).descriptions
    words = {**scene.descriptions, **told, **{str(k): v for k, v in described.items()}}
    alone = replace(scene, queries=(query,), descriptions=words)
    if question["kind"] == "score":
        alone = replace(alone, demonstrations=())
    (guess,) = await guesser.guess(alone, list(options), key=key)
    return guess


def _meant(scene: Scene, question: Mapping[str, Any], place: int) -> Query | None:
    if not scene.queries:
        return None
    name = str(question["name"])
    for query in scene.queries:
        if name in (query.id, f"label_{query.id}", f"image_{query.id}") or re.search(
            rf"\bImage {re.escape(query.id)}(?!\w)", question["instructions"]
        ):
            return query
    return scene.queries[place % len(scene.queries)]


def _rounded(guess: Guess | None, n_options: int) -> list[float]:
    """Probabilities that add up to exactly 1 as floats; even where nothing was seen."""
    if guess is None:
        n_options = max(n_options, 2)
        return [1 / n_options] * n_options
    p = [float(x) for x in guess.probabilities]
    p[p.index(max(p))] += 1 - sum(p)
    return p


def _best(answer: Mapping[str, Any]) -> int:
    p = answer["probabilities"]
    return int(p.index(max(p)))


def _mean_level(p: Sequence[float]) -> float:
    return sum(level * share for level, share in enumerate(p))


def _mentions(text: str, label: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(label)}(?!\w)", text, re.IGNORECASE) is not None


def _text(value: Any) -> str:
    """Write a value as text: text itself, the texts of parts, or JSON."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(v, Mapping) and "text" in v for v in value):
        return "\n".join(v["text"] for v in value)
    return json.dumps(value, ensure_ascii=False)
