"""How material is asked about: the questions that a model gets, and how their answers are read."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from pydantic import BaseModel, ValidationError

from showtell.ask.answer import Claim, Verdict, answer_schema, read_answers
from showtell.ask.data import (
    AskSchema,
    DataForm,
    ReceiptItems,
    ReceiptPrices,
    ReceiptTotal,
    data_form,
)
from showtell.ask.material import AskSource, Frames, Material
from showtell.ask.receipt import PriceRow
from showtell.errors import InputError, UnknownNameError
from showtell.media import DEFAULT_LIMITS, Limits, media_name
from showtell.media.clip import Clip
from showtell.media.pages import Pages
from showtell.mllm.base import Part, TextPart
from showtell.mllm.structured import Question
from showtell.prompts.files import PromptSet

PlaceDetail: TypeAlias = Literal["country", "region", "place"]
PLACE_DETAILS: Mapping[str, str] = {
    "country": "the country or part of the world, no nearer",
    "region": "the region or kind of town, no nearer, unless it is written in the material",
    "place": "as near as can be told; say that it is a guess unless it is written there",
}
"""How near a place may be named, and what the model is told about it."""

_LONGEST = 4096  # tokens of an answer
_MOST_RUNS = 9


@dataclass(frozen=True, kw_only=True)
class Style:
    """How questions are asked."""

    frames: Frames = field(default_factory=Frames)
    steps: tuple[str, ...] = ()
    """What to do one after the other before answering."""
    schema: DataForm | Literal["receipt"] | None = None
    runs: int = 1
    """How often things are counted."""
    verify: bool = False
    """Whether each claim is looked at again, alone, on its evidence."""
    languages: tuple[str, ...] = ()
    place_detail: PlaceDetail = "region"
    prompt_dir: str | os.PathLike[str] | None = None
    limits: Limits = DEFAULT_LIMITS


@dataclass(frozen=True, kw_only=True)
class Case:
    """Some material and the questions that are asked about it in one request."""

    sources: tuple[AskSource, ...]
    questions: Mapping[str, str]
    """Id to question."""
    history: tuple[tuple[str, str], ...] = ()
    """Earlier questions and answers."""
    material: Material | None = field(default=None, repr=False)
    """As it was gathered before."""


def cases_of(
    sources: tuple[AskSource, ...], questions: Mapping[str, str], *, together: bool
) -> list[Case]:
    """Ask each question by itself, or all in one request."""
    if together:
        return [Case(sources=sources, questions=questions)]
    return [Case(sources=sources, questions={name: text}) for name, text in questions.items()]


def make_style(
    *,
    steps: str | Sequence[str] = (),
    schema: AskSchema | None = None,
    runs: int = 1,
    verify: bool = False,
    frames: Frames | None = None,
    languages: Sequence[str] = (),
    place_detail: PlaceDetail = "region",
    prompt_dir: str | os.PathLike[str] | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> Style:
    """Check how questions are to be asked."""
    if place_detail not in PLACE_DETAILS:
        raise UnknownNameError("detail of places", str(place_detail), tuple(PLACE_DETAILS))
    if not 1 <= runs <= _MOST_RUNS:
        raise InputError(f"`runs` is a whole number from 1 to {_MOST_RUNS}; got {runs}.")
    form = "receipt" if schema == "receipt" else None if schema is None else data_form(schema)
    if runs > 1 and form != "receipt":
        raise InputError('`runs` go with `schema="receipt"`, which counts things.')
    given = (steps,) if isinstance(steps, str) else steps
    lines = [line.strip() for text in given for line in text.splitlines()]
    return Style(
        frames=frames or Frames(),
        steps=tuple(line for line in lines if line),
        schema=form,  # type: ignore[arg-type]
        runs=runs,
        verify=verify,
        languages=tuple(languages),
        place_detail=place_detail,
        prompt_dir=prompt_dir,
        limits=limits,
    )


def check_questions(questions: Sequence[str], style: Style) -> None:
    """Refuse to ask nothing."""
    if not questions:
        raise InputError("Give at least one question.")
    empty = [i for i, text in enumerate(questions, 1) if not text.strip()]
    if empty and style.schema is None:
        raise InputError(f"Question {empty[0]} is empty. Only with a `schema` none is needed.")


def name_of(source: AskSource) -> str:
    """Name an input as rows and messages show it."""
    return source.name if isinstance(source, Clip | Pages) else media_name(source)


def can_be_looked_at(claim: Claim) -> bool:
    """Whether there are pictures on which a claim can be checked."""
    return claim.basis in ("visible", "text") and any(m.picture for m in claim.evidence)


def system_text(style: Style, prompts: PromptSet, schema: str) -> str:
    """Write the rules of answering."""
    spoken = ""
    if style.languages:
        spoken = f'- "languages" holds the answer in each of: {", ".join(style.languages)}.'
    place = PLACE_DETAILS[style.place_detail]
    return prompts.render("system", place=place, languages=spoken, schema=schema)


def first_questions(
    case: Case, material: Material, style: Style, prompts: PromptSet
) -> list[Question[Any]]:
    """Write the questions that are asked about material at first."""
    asked = "\n".join(f"{name}: {text.strip()}" for name, text in case.questions.items())
    name = ", ".join(map(name_of, case.sources))
    if style.schema == "receipt":
        return _receipt_questions(material, style, prompts, name)
    if style.schema is not None:
        form = style.schema
        note = "\n".join(text for text in case.questions.values() if text.strip())
        return [
            _question(
                material.parts,
                prompts.render("data", note=note),
                form.schema,
                lambda value: form.check(value, material),
                prompts,
                style,
                name=name,
            )
        ]
    history = "".join(
        f"Earlier you were asked: {q}\nYou answered: {a}\n\n" for q, a in case.history
    )
    steps = "".join(f"{i}. {text}\n" for i, text in enumerate(style.steps, 1))
    if steps:
        steps = f'First do this, and write what each step comes to into "steps":\n{steps}\n'
    how = "it" if len(case.questions) == 1 else "each by itself, under its id"
    text = prompts.render("question", history=history, steps=steps, questions=asked, how=how)
    schema = answer_schema(list(case.questions), style.languages, len(style.steps))
    questions = dict(case.questions)
    return [
        _question(
            material.parts,
            text,
            schema,
            lambda value: read_answers(value, questions, material, style.languages),
            prompts,
            style,
            name=name,
        )
    ]


def _question(
    parts: Sequence[Part],
    text: str,
    schema: Mapping[str, Any],
    check: Any,
    prompts: PromptSet,
    style: Style,
    *,
    sample: int = 0,
    name: str = "",
) -> Question[Any]:
    shown = f"Answer with JSON of this schema only:\n{json.dumps(schema, separators=(',', ':'))}"
    return Question(
        system=system_text(style, prompts, shown),
        parts=(*parts, TextPart(text=text)),
        schema=schema,
        check=check,
        prompt_version=prompts.version,
        temperature=0.0 if not sample else 0.7,
        max_tokens=_LONGEST,
        sample=sample,
        name=name,
    )


def _receipt_questions(
    material: Material, style: Style, prompts: PromptSet, name: str
) -> list[Question[Any]]:
    """Count, as often as wanted; copy prices; and let the model add up, to compare."""

    def form(model: type[BaseModel], key: str) -> tuple[dict[str, Any], Any]:
        def check(value: Any) -> Any:
            try:
                read = model.model_validate(value).model_dump()[key]
            except ValidationError as error:
                first = error.errors()[0]
                where = ".".join(map(str, first["loc"]))
                raise ValueError(f'"{where}": {first["msg"]}.') from None
            return _known_evidence(read, material) if isinstance(read, list) else read

        return model.model_json_schema(), check

    asked = [("items", *form(ReceiptItems, "items"), i) for i in range(style.runs)]
    asked.append(("prices", *form(ReceiptPrices, "prices"), 0))
    asked.append(("total", *form(ReceiptTotal, "total"), 0))
    return [
        _question(
            material.parts, prompts.render(prompt), schema, check, prompts, style, sample=sample,
            name=name,
        )
        for prompt, schema, check, sample in asked
    ]  # fmt: skip


def _known_evidence(rows: list[dict[str, Any]], material: Material) -> list[dict[str, Any]]:
    """Take counts and rows as the model gave them, and evidence only where it was sent."""
    for row in rows:
        if row.get("count", 0) < 0:
            raise ValueError(f'"count" of {row["name"]!r} is below 0.')
        moments = (material.find(ref) for ref in row["evidence"])
        row["evidence"] = tuple(m.ref for m in moments if m is not None)
        if "currency" in row:
            row["currency"] = row["currency"] or ""
    return rows


def match_question(
    lost: Sequence[str], rows: Sequence[PriceRow], prompts: PromptSet
) -> Question[dict[str, int | None]]:
    """Ask which row of prices is meant for things that are called by another name."""
    listed = "\n".join(f"{i}: {row.name}" for i, row in enumerate(rows))
    names = "\n".join(f"- {name}" for name in lost)
    text = (
        f"Rows of a price list:\n{listed}\n\nThings:\n{names}\n\nFor each thing give the number of "
        "the row that is the same thing by another name, or null if there is none."
    )
    match = {
        "type": "object",
        "properties": {"item": {"type": "string"}, "row": {"type": ["integer", "null"]}},
        "required": ["item", "row"],
        "additionalProperties": False,
    }
    schema = {
        "type": "object",
        "properties": {"matches": {"type": "array", "items": match}},
        "required": ["matches"],
        "additionalProperties": False,
    }

    def check(value: Any) -> dict[str, int | None]:
        return {str(m["item"]): m["row"] for m in value["matches"] if m["item"] in lost}

    return Question(
        system="You match names. Answer with JSON.",
        parts=(TextPart(text=text),),
        schema=schema,
        check=check,
        prompt_version=prompts.version,
        name="names of things",
    )


_VERDICTS: tuple[Verdict, ...] = ("supported", "contradicted", "not visible")


def verify_question(claim: Claim, prompts: PromptSet, system: str) -> Question[Verdict]:
    """Ask about one claim, on nothing but its evidence."""
    parts: list[Part] = []
    for moment in claim.evidence:
        if moment.picture is not None:
            parts += [TextPart(text=f"{moment.ref}:"), moment.picture]
        if moment.text:
            parts.append(TextPart(text=moment.text))
    parts.append(TextPart(text=prompts.render("verify", claim=claim.text)))
    schema = {
        "type": "object",
        "properties": {"verdict": {"type": "string", "enum": list(_VERDICTS)}},
        "required": ["verdict"],
        "additionalProperties": False,
    }

    def check(value: Any) -> Verdict:
        said = str(value.get("verdict", "")).strip().casefold()
        found = next((v for v in _VERDICTS if v == said), None)
        if found is None:
            raise ValueError(f'"verdict" is one of {", ".join(_VERDICTS)}, not {said!r}.')
        return found

    return Question(
        system=system,
        parts=tuple(parts),
        schema=schema,
        check=check,
        prompt_version=prompts.version,
        max_tokens=200,
        name=claim.text,
    )
