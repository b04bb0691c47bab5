"""Questions whose answers are values: schema to request, text to checked value, one repair round.

For everything a model writes besides labels: descriptions, concepts, captions. An answer that is
no JSON, or not what was asked for, is sent back once with what is wrong about it; what still fails
is reported with its reason and never made up.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, Generic, TypeVar

from showtell._progress import Progress, no_progress
from showtell.errors import InputError, MLLMError
from showtell.mllm.base import Answer, Part, Request, Settings, TextPart
from showtell.mllm.call.client import Client, Outcome
from showtell.mllm.json_repair import json_values, without_open_reasoning

T = TypeVar("T")

_SHOWN = 1500  # characters of a wrong answer that are shown when it is asked for again


@dataclass(frozen=True, kw_only=True)
class Question(Generic[T]):
    """A question with a schema and a check of its answer."""

    system: str
    parts: tuple[Part, ...]
    schema: Mapping[str, Any] | None
    """JSON schema of the answer; None for free text."""
    check: Callable[[Any], T]
    """Takes the value (the text, without a schema), gives the value to use; raises `ValueError`
    with one line that says what is wrong and what is wanted."""
    prompt_version: str
    temperature: float | None = 0.0
    max_tokens: int | None = 4096
    sample: int = 0
    """Number of the repetition, where the same question is asked several times."""
    name: str = ""
    """What it is about, for messages and progress."""


@dataclass
class Spent:
    """What answers took, added up."""

    n_requests: int = 0
    n_from_cache: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: Decimal | None = Decimal(0)
    """USD; None once an answer of unknown price is among them."""
    seconds: float = 0.0

    def add(self, answer: Answer) -> None:
        """Count an answer."""
        usage = answer.usage
        self.n_requests += usage.n_requests
        self.n_from_cache += answer.from_cache
        self.input_tokens += usage.input_tokens or 0
        self.output_tokens += usage.output_tokens or 0
        self.seconds += answer.seconds
        if usage.cost_usd is None:
            self.cost_usd = None
        elif self.cost_usd is not None:
            self.cost_usd += usage.cost_usd

    def to_dict(self) -> dict[str, Any]:
        """Give it as JSON values, without the seconds."""
        return {
            "n_requests": self.n_requests,
            "n_from_cache": self.n_from_cache,
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "cost_usd": None if self.cost_usd is None else float(self.cost_usd),
        }

    def merge(self, other: Spent) -> None:
        """Count what others took."""
        self.n_requests += other.n_requests
        self.n_from_cache += other.n_from_cache
        self.input_tokens += other.input_tokens
        self.output_tokens += other.output_tokens
        self.seconds += other.seconds
        unknown = self.cost_usd is None or other.cost_usd is None
        self.cost_usd = None if unknown else self.cost_usd + other.cost_usd  # type: ignore[operator]


@dataclass(frozen=True, kw_only=True)
class Checked(Generic[T]):
    """What became of a question."""

    value: T | None
    """None where there is none; then `reason` says why."""
    reason: str | None = None
    """One line: refused, cut short, no JSON, or what the check said."""
    text: str = ""
    """The last answer as it came."""
    n_repairs: int = 0
    spent: Spent = field(default_factory=Spent)

    @property
    def ok(self) -> bool:
        """Whether there is a value."""
        return self.reason is None


def requests_of(model: str, questions: Sequence[Question[Any]], *, native: bool) -> list[Request]:
    """Write the requests that questions bring first, without repairs: for estimates.

    `model`: ``"provider:name"``; `native`: whether the provider takes a JSON schema.
    """
    return [_request(model, question, native=native) for question in questions]


def ask_checked(
    client: Client,
    questions: Sequence[Question[T]],
    *,
    repairs: int = 1,
    timeout: float = 120.0,
    progress: Progress = no_progress,
    stage: str = "Asking",
    on_done: Callable[[int, Checked[T]], object] | None = None,
) -> list[Checked[T]]:
    """Ask questions, check the answers, and ask again where an answer will not do.

    `repairs`: how often a wrong answer is sent back with what is wrong about it; `timeout`: seconds
    for one try of a request; `progress`: called with the number of questions that are done;
    `stage`: what progress is called; `on_done`: gets the number of a question and what became of
    it as soon as that is known, so that what was answered is not lost where asking is stopped.
    Returns `checked`: one for each question, in order. Raises BudgetError, MLLMAuthError as
    `Client.run` does.

    Examples
    --------
    >>> from showtell.mllm import Usage
    >>> class Toy:
    ...     name = "toy:one"
    ...     async def ask(self, request):
    ...         text = '{"n": 2}' if len(request.parts) > 1 else "Two, I think."
    ...         return Answer(text=text, usage=Usage(), finish="stop", model="one")
    ...     async def aclose(self):
    ...         pass
    >>> schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
    >>> question = Question(
    ...     system="", parts=(TextPart(text="1 + 1?"),), schema=schema, check=lambda v: v["n"],
    ...     prompt_version="sums-1",
    ... )
    >>> [found] = ask_checked(Client(Toy()), [question])
    >>> found.value, found.n_repairs
    (2, 1)
    """
    if repairs < 0:
        raise InputError(f"`repairs` is 0 or more, got {repairs}.")
    native = client.capabilities.structured_output
    done: dict[int, Checked[T]] = {}
    spent = [Spent() for _ in questions]
    said = [""] * len(questions)
    requests = [_request(client.mllm.name, q, native=native, timeout=timeout) for q in questions]
    place = {id(request): (i, 0) for i, request in enumerate(requests)}
    kept = list(requests)  # an id stays unique while its object lives

    def take(request: Request, outcome: Outcome) -> list[Request]:
        i, attempt = place[id(request)]
        if isinstance(outcome, MLLMError):
            reason = _line(str(outcome))
            found: Checked[T] = Checked(
                value=None, reason=reason, text=said[i], n_repairs=attempt, spent=spent[i]
            )
        else:
            spent[i].add(outcome)
            said[i] = outcome.text
            found = _check(questions[i], outcome, attempt, spent[i])
            if not found.ok and attempt < repairs and _may_repair(outcome):
                again = _again(requests[i], questions[i], outcome, found.reason or "")
                place[id(again)] = (i, attempt + 1)
                kept.append(again)
                return [again]
        done[i] = found
        if on_done is not None:
            on_done(i, found)
        progress(len(done), len(questions), stage)
        return []

    if questions:
        client.run(requests, take)
    return [done[i] for i in range(len(questions))]


def _request(
    model: str, question: Question[Any], *, native: bool, timeout: float = 120.0
) -> Request:
    return Request(
        model=model,
        system=question.system,
        parts=question.parts,
        schema=question.schema if native else None,
        settings=Settings(
            temperature=question.temperature, max_tokens=question.max_tokens, timeout=timeout
        ),
        prompt_version=question.prompt_version,
        n_queries=0,
        sample=question.sample,
    )


def _again(request: Request, question: Question[Any], answer: Answer, reason: str) -> Request:
    """Show the wrong answer and what is wrong about it."""
    shown = answer.text.strip()[:_SHOWN] or "(nothing)"
    form = "" if question.schema is None else " Answer with the JSON that was asked for, only."
    note = f"Your last answer was:\n{shown}\nIt cannot be used: {reason}{form}"
    return replace(request, parts=(*request.parts, TextPart(text=note)))


def _may_repair(answer: Answer) -> bool:
    """Whether asking again may help: a refusal stays one."""
    return answer.finish in ("stop", "length", "other")


def _check(question: Question[T], answer: Answer, attempt: int, spent: Spent) -> Checked[T]:
    text = answer.text
    if (nothing := _nothing_said(answer)) is not None:
        return Checked(value=None, reason=nothing, text=text, n_repairs=attempt, spent=spent)
    cut = answer.finish == "length"
    read = _value(question, text, cut=cut)
    value, reason = read
    if reason is not None and cut:
        reason = f"The answer was cut off at its longest. {reason}"
    return Checked(value=value, reason=reason, text=text, n_repairs=attempt, spent=spent)


def _nothing_said(answer: Answer) -> str | None:
    if answer.finish == "refused":
        return "The model declined to answer."
    if answer.finish == "blocked":
        return "A filter of the provider held the answer back."
    return None if answer.text.strip() else "The answer is empty."


def _value(question: Question[T], text: str, *, cut: bool) -> tuple[T | None, str | None]:
    """Read and check an answer: the value, or why there is none."""
    if cut:
        text = without_open_reasoning(text)
    if question.schema is None:
        if cut:
            return None, "Its end is not known."
        candidates: list[Any] = [text.strip()]
    else:
        found = json_values(text, inner=not cut)[0]
        candidates = [v for v in found if isinstance(v, dict | list)]
        if not candidates:
            return None, "There is no JSON in it."
    reason = ""
    for candidate in candidates:
        try:
            return question.check(candidate), None
        except Exception as error:  # noqa: BLE001 - whatever it is, it is about this answer alone
            if not reason:
                what = str(error) if isinstance(error, ValueError) else ""
                reason = _line(what or f"It has not the form asked for ({type(error).__name__}).")
    return None, reason


def _line(text: str) -> str:
    return " ".join(text.split())[:500]
