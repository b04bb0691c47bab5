"""Answers whose claims point at what was sent, and how they are read from what a model wrote."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias, cast

from showtell.ask.material import Material, Moment
from showtell.ask.receipt import Calculation
from showtell.errors import InputError


class Context(Protocol):
    """What an answer needs so that more can be asked."""

    def ask(self, answer: Answer, question: str) -> Answer:
        """Ask something more about the same material."""
        ...


Basis: TypeAlias = Literal[
    "visible", "heard", "text", "metadata", "computed", "world_knowledge", "guess"
]
"""On what a claim rests."""
Verdict: TypeAlias = Literal["stated", "unsupported", "supported", "contradicted", "not visible"]
"""Stated by the model and not looked at again; without evidence that was sent; or what looking
again said."""

_BASES: tuple[Basis, ...] = (
    "visible", "heard", "text", "metadata", "computed", "world_knowledge", "guess",
)  # fmt: skip
_NEED_EVIDENCE = ("visible", "heard", "text")

ANSWER_COLUMNS = (
    "question_id", "question", "answer", "value", "unit", "confidence", "status", "error",
    "premise_ok", "premise_note", "evidence", "basis", "data", "calculation", "n_claims",
    "n_unsupported", "inputs", "converted", "model", "cost_usd", "n_requests",
)  # fmt: skip
"""Columns of a table of answers."""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One statement of an answer."""

    text: str
    evidence: tuple[Moment, ...]
    """What was sent that shows it."""
    basis: Basis
    verdict: Verdict = "stated"
    unknown: tuple[str, ...] = ()
    """What the model points at that was not sent."""

    @property
    def refs(self) -> tuple[str, ...]:
        """Names of the evidence."""
        return tuple(moment.ref for moment in self.evidence)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What became of a question."""

    question_id: str
    question: str
    text: str = ""
    """Empty where there is no answer."""
    status: Literal["ok", "abstained", "error"]
    error: str = ""
    """Why there is none, in one line."""
    value: Decimal | None = None
    unit: str = ""
    confidence: float | None = None
    """From 0 to 1, by the model's own word; None where it gave none."""
    premise_ok: bool = True
    """Whether what the question assumes is so."""
    premise_note: str = ""
    claims: tuple[Claim, ...] = ()
    steps: tuple[tuple[int, str], ...] = ()
    languages: Mapping[str, str] = field(default_factory=dict)
    """The answer in each language that was asked for."""
    data: Any = None
    """What a schema of data asked for."""
    data_evidence: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    calculation: Calculation | None = None
    material: Material | None = field(default=None, repr=False)
    """What was sent; None where it could not be read."""
    inputs: tuple[str, ...] = ()
    model: str = ""
    raw: str = field(default="", repr=False)
    """The model's last words, as they came."""
    cost_usd: Decimal | None = Decimal(0)
    n_requests: int = 0
    n_from_cache: int = 0
    context: Context | None = field(default=None, repr=False, compare=False)

    @property
    def converted(self) -> tuple[str, ...]:
        """What was sent in another form than it was given."""
        return () if self.material is None else self.material.converted

    @property
    def evidence(self) -> tuple[str, ...]:
        """Names of all that the claims rest on."""
        named = [ref for claim in self.claims for ref in claim.refs]
        return tuple(dict.fromkeys([*named, *(r for v in self.data_evidence.values() for r in v)]))

    def ask(self, question: str) -> Answer:
        """Ask something more about the same material.

        Parameters
        ----------
        question : str

        Returns
        -------
        answer : Answer
            The model sees the material again, and the earlier questions and answers as text.

        Raises
        ------
        InputError
            If this answer has no material to go on with.
        """
        if self.context is None:
            raise InputError("This answer was read from a file; ask again with its material.")
        return self.context.ask(self, question)

    def report(self, path: str | os.PathLike[str]) -> Path:
        """Write the answer as one self-contained HTML page, with what its claims rest on.

        Parameters
        ----------
        path : path
            The ``.html`` file.

        Returns
        -------
        path : Path
        """
        return Answers((self,)).report(path)

    def row(self) -> dict[str, Any]:
        """Give the answer as one row of a table, with the columns of `ANSWER_COLUMNS`."""
        bases = dict.fromkeys(claim.basis for claim in self.claims)
        return {
            "question_id": self.question_id,
            "question": self.question,
            "answer": self.text,
            "value": None if self.value is None else str(self.value),
            "unit": self.unit,
            "confidence": self.confidence,
            "status": self.status,
            "error": self.error,
            "premise_ok": self.premise_ok,
            "premise_note": self.premise_note,
            "evidence": ", ".join(self.evidence),
            "basis": ", ".join(bases),
            "data": None if self.data is None else self.data,
            "calculation": None if self.calculation is None else self.calculation.rows(),
            "n_claims": len(self.claims),
            "n_unsupported": sum(c.verdict in ("unsupported", "contradicted") for c in self.claims),
            "inputs": ", ".join(self.inputs),
            "converted": "; ".join(self.converted),
            "model": self.model,
            "cost_usd": None if self.cost_usd is None else str(self.cost_usd),
            "n_requests": self.n_requests,
        }

    def sentence(self) -> str:
        """Say the answer, or why there is none, in one line."""
        if self.status == "error":
            return f"No answer: {self.error}"
        if not self.premise_ok:
            return self.premise_note or "The question assumes something that is not so."
        return self.text or f"No answer: {self.error}"


class Answers(tuple[Answer, ...]):
    """Answers in the order of their questions."""

    __slots__ = ()

    def __getitem__(self, key: Any) -> Any:
        """Take an answer by its place or the id of its question."""
        if isinstance(key, str):
            found = next((answer for answer in self if answer.question_id == key), None)
            if found is None:
                known = ", ".join(answer.question_id for answer in self)
                raise KeyError(f"no question {key!r}; there are {known}")
            return found
        found_at: Any = super().__getitem__(key)
        return found_at

    @property
    def cost_usd(self) -> Decimal | None:
        """USD that all took; None if some price is unknown."""
        costs = [answer.cost_usd for answer in self]
        known = [cost for cost in costs if cost is not None]
        return sum(known, Decimal(0)) if len(known) == len(costs) else None

    def report(self, path: str | os.PathLike[str]) -> Path:
        """Write the answers as one self-contained HTML page; see `Answer.report`."""
        from showtell.ask.page import write_answers  # the page knows answers

        return write_answers(self, path)

    def rows(self) -> list[dict[str, Any]]:
        """Give one row per answer."""
        return [answer.row() for answer in self]


def answer_schema(ids: Sequence[str], languages: Sequence[str], n_steps: int) -> dict[str, Any]:
    """Write the JSON schema of the answers to some questions.

    No bounds on numbers: providers refuse them.
    """
    claim = _object(
        claim={"type": "string"},
        evidence={"type": "array", "items": {"type": "string"}},
        basis={"type": "string", "enum": list(_BASES)},
    )
    fields: dict[str, Any] = {"id": {"type": "string", "enum": list(ids)}}
    if n_steps:
        step = _object(n={"type": "integer"}, text={"type": "string"})
        fields["steps"] = {"type": "array", "items": step}
    fields |= {
        "claims": {"type": "array", "items": claim},
        "known": {"type": "boolean"},
        "premise_ok": {"type": "boolean"},
        "premise_note": _or_null("string"),
        "answer": {"type": "string"},
        "value": _or_null("number"),
        "unit": _or_null("string"),
        "confidence": {"type": "integer"},
    }
    if languages:
        fields["languages"] = _object(**{code: {"type": "string"} for code in languages})
    return _object(answers={"type": "array", "items": _object(**fields)})


def _object(**fields: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": fields,
        "required": list(fields),
        "additionalProperties": False,
    }


def _or_null(kind: str) -> dict[str, Any]:
    return {"type": [kind, "null"]}


def read_answers(
    value: Any,
    questions: Mapping[str, str],
    material: Material,
    languages: Sequence[str] = (),
) -> dict[str, Answer]:
    """Read what a model wrote; only what stands on parts that were sent is taken as supported.

    Raises
    ------
    ValueError
        If the answers are not in the form asked for; one line that says what is missing.
    """
    rows = value.get("answers") if isinstance(value, dict) else value
    if not isinstance(rows, list):
        raise ValueError('There is no list "answers".')
    found: dict[str, Answer] = {}
    for row in rows:
        if not isinstance(row, dict):
            raise ValueError('Each of "answers" is an object.')
        name = str(row.get("id", ""))
        if len(questions) == 1 and name not in questions:
            name = next(iter(questions))
        if name in questions and name not in found:
            found[name] = _read(name, questions[name], row, material, languages)
    missing = [name for name in questions if name not in found]
    if missing:
        raise ValueError(f"There is no answer with the id {', '.join(missing)}.")
    return found


def _read(
    name: str, question: str, row: Mapping[str, Any], material: Material, languages: Sequence[str]
) -> Answer:
    text = _text(row.get("answer"))
    known = row.get("known", True) is not False and bool(text)
    premise_ok = row.get("premise_ok", True) is not False
    claims = tuple(_claim(one, material) for one in _list(row.get("claims")))
    given = row.get("languages")
    spoken = given if isinstance(given, dict) else {}
    missing = [code for code in languages if not _text(spoken.get(code))]
    if known and premise_ok and missing:
        raise ValueError(f'"languages" lacks the answer in {", ".join(missing)}.')
    confidence = _number(row.get("confidence"))
    answered = known and premise_ok
    why = "" if answered else _text(row.get("premise_note")) if not premise_ok else _UNKNOWN
    return Answer(
        question_id=name,
        question=question,
        text=text if answered else "",
        status="ok" if answered else "abstained",
        error=why,
        value=_number(row.get("value")) if answered else None,
        unit=_text(row.get("unit")) if answered else "",
        confidence=None if confidence is None else min(max(float(confidence), 0.0), 10.0) / 10,
        premise_ok=premise_ok,
        premise_note="" if premise_ok else _text(row.get("premise_note")),
        claims=claims,
        steps=tuple(
            (int(n), _text(step.get("text")))
            for i, step in enumerate(_list(row.get("steps")), 1)
            if (n := _number(step.get("n", i))) is not None
        ),
        languages={code: _text(spoken[code]) for code in languages if code in spoken},
        material=material,
    )


_UNKNOWN = "the material does not tell"


def _claim(row: Mapping[str, Any], material: Material) -> Claim:
    """Read a claim; what it points at must have been sent."""
    pointed = [str(ref) for ref in _refs(row.get("evidence"))]
    moments = {ref: material.find(ref) for ref in pointed}
    evidence = tuple({m.ref: m for m in moments.values() if m is not None}.values())
    unknown = tuple(ref for ref, moment in moments.items() if moment is None)
    basis = cast("Basis", row.get("basis")) if row.get("basis") in _BASES else "guess"
    if basis in _NEED_EVIDENCE and not pointed:
        basis = "guess"
    verdict: Verdict = "unsupported" if unknown else "stated"
    return Claim(
        text=_text(row.get("claim")),
        evidence=evidence,
        basis=basis,
        verdict=verdict,
        unknown=unknown,
    )


def _refs(value: Any) -> list[Any]:
    if isinstance(value, str):
        return [part for part in value.split(",") if part.strip()]
    return value if isinstance(value, list) else []


def _list(value: Any) -> list[Mapping[str, Any]]:
    return [row for row in value if isinstance(row, dict)] if isinstance(value, list) else []


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value.strip()
    return json.dumps(value, ensure_ascii=False)


def _number(value: Any) -> Decimal | None:
    """Read a number without a binary fraction; NaN and infinity are none."""
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        return None
    try:
        number = Decimal(str(value).strip())
    except InvalidOperation:
        return None
    if not number.is_finite() or abs(number.adjusted()) >= _MOST_DIGITS:
        return None
    return number.quantize(Decimal(1)) if number == number.to_integral_value() else number


_MOST_DIGITS = 28  # of a Decimal that is rounded
