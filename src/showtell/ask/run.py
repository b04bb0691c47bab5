"""Ask a model about material: one question each, checked, journalled, within caps."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from showtell._progress import Progress, no_progress
from showtell.ask.answer import Answer, Answers, Claim, Verdict
from showtell.ask.data import AskSchema
from showtell.ask.material import AskSource, Frames, Material, gather
from showtell.ask.questions import (
    Case,
    PlaceDetail,
    Style,
    can_be_looked_at,
    cases_of,
    check_questions,
    first_questions,
    make_style,
    match_question,
    name_of,
    system_text,
    verify_question,
)
from showtell.ask.receipt import Calculation, PriceRow, calculate, merge_counts
from showtell.errors import MediaError, ShowtellError
from showtell.media import DEFAULT_LIMITS, Limits
from showtell.mllm.base import Request
from showtell.mllm.call.client import Client
from showtell.mllm.model import Asked, as_model, open_client
from showtell.mllm.structured import Checked, Question, Spent, ask_checked, requests_of
from showtell.prompts.files import PromptSet, load_prompts

_AT_A_TIME = 32  # cases whose material is held in memory


def ask(
    model: Asked,
    parts: AskSource | Sequence[AskSource],
    questions: str | Sequence[str] = "",
    *,
    steps: str | Sequence[str] = (),
    schema: AskSchema | None = None,
    runs: int = 1,
    together: bool = False,
    verify: bool = False,
    frames: Frames | None = None,
    languages: Sequence[str] = (),
    place_detail: PlaceDetail = "region",
    prompt_dir: str | os.PathLike[str] | None = None,
    limits: Limits = DEFAULT_LIMITS,
    progress: Progress = no_progress,
) -> Answer | Answers:
    """Ask questions about images, clips, sound, documents and texts.

    Each claim of an answer points at the inputs, frames or pages that show it. What the material
    does not tell is unknown, not guessed.

    Parameters
    ----------
    model : str, MLLM or Model
        Limits and caps are a `Model`'s: ``Model("google:gemini-2.5-flash", max_cost=1)``.
    parts : one or a sequence of AskSource
        Paths, URLs, bytes, pictures, arrays, `Clip`, `Pages`, or text.
    questions : str or sequence of str
        One question gives one `Answer`, several give `Answers`.
    steps : str or sequence of str, optional
        What to do first, one after the other.
    schema : str, path, mapping or pydantic model, optional
        Take data out instead; "receipt" counts and copies prices, and code does the sum.
    runs : int, default=1
        How often things are counted for "receipt", 1 to 9; their range is given.
    together : bool, default=False
        All questions in one request: cheaper, but one may give away what another asks.
    verify : bool, default=False
        Look at each claim again, alone; an answer with a contradicted claim is withheld.
    frames : Frames, optional
    languages : sequence of str, optional
        Codes such as "en", "fr": the answer in each of them.
    place_detail : {"region", "country", "place"}
        How near a place is named.
    prompt_dir : path, optional
        Edited prompts; see `showtell.prompts.copy_prompts` with ``library="ask"``.
    limits, progress

    Returns
    -------
    answer : Answer or Answers
        In the order of questions. An input that cannot be read gives answers of status "error".

    Raises
    ------
    InputError
        If an argument makes no sense.
    BudgetError, MLLMAuthError, ServerDownError
        At a cap, or if the model cannot be asked; with a run folder the same call goes on.

    Examples
    --------
    >>> from showtell.mllm import Answer as Told, Usage
    >>> class Toy:
    ...     name = "toy:one"
    ...     async def ask(self, request):
    ...         claim = '{"claim": "There are 3 apples.", "evidence": ["A"], "basis": "text"}'
    ...         text = f'{{"answers": [{{"answer": "3", "value": 3, "claims": [{claim}]}}]}}'
    ...         return Told(text=text, usage=Usage(), finish="stop", model="one")
    ...     async def aclose(self):
    ...         pass
    >>> answer = ask(Toy(), "3 apples and 2 limes", "How many apples?")
    >>> answer.text, str(answer.value), answer.evidence, answer.status
    ('3', '3', ('A',), 'ok')
    """
    one = isinstance(questions, str)
    listed = [questions] if isinstance(questions, str) else list(questions)
    style = make_style(
        steps=steps, schema=schema, runs=runs, verify=verify, frames=frames, languages=languages,
        place_detail=place_detail, prompt_dir=prompt_dir, limits=limits,
    )  # fmt: skip
    check_questions(listed, style)
    many = isinstance(parts, Sequence) and not isinstance(parts, str | bytes)
    sources: tuple[AskSource, ...] = tuple(parts) if many else (parts,)  # type: ignore[arg-type,assignment]
    named = {f"q{i}": text for i, text in enumerate(listed, 1)}
    cases = cases_of(sources, named, together=together)
    answers = Answers(a for found in ask_cases(model, cases, style, progress) for a in found)
    first: Answer = answers[0]
    return first if one else answers


def ask_cases(
    model: Asked,
    cases: Sequence[Case],
    style: Style,
    progress: Progress = no_progress,
) -> Iterator[list[Answer]]:
    """Ask about many pieces of material with one client.

    Parameters
    ----------
    model : str, MLLM or Model
    cases : sequence of Case
    style : Style
    progress : Progress
        Called with the number of cases that are done.

    Yields
    ------
    answers : list of Answer
        One list per case, in order, with one answer per question. Where a cap, a dead server or
        Ctrl-C stops the run, what was not asked any more comes as errors that say so.

    Raises
    ------
    BudgetError, MLLMAuthError, ServerDownError, KeyboardInterrupt
        After the last case.
    """
    prompts = load_prompts(style.prompt_dir, library="ask")
    done = 0
    stopped: BaseException | None = None
    with open_client(model) as client:
        for start in range(0, len(cases), _AT_A_TIME):
            asking = _Asking(client, cases[start : start + _AT_A_TIME], style, prompts, model)
            asking.stopped = stopped
            for found in asking.answers():
                done += 1
                progress(done, len(cases), "Asking")
                yield found
            stopped = asking.stopped
    if stopped is not None:
        raise stopped


def first_requests(
    model: Asked, cases: Sequence[Case], style: Style
) -> Iterator[tuple[Case, Material | MediaError, list[Request]]]:
    """Give what would be sent first, without sending it; repairs and verification may follow.

    Parameters
    ----------
    model : str, MLLM or Model
    cases : sequence of Case
    style : Style

    Yields
    ------
    case, material or error, requests
    """
    access = as_model(model)
    prompts = load_prompts(style.prompt_dir, library="ask")
    for case in cases:
        try:
            material = case.material or gather(
                case.sources, access.capabilities, frames=style.frames, limits=style.limits
            )
        except MediaError as error:
            yield case, error, []
            continue
        questions = first_questions(case, material, style, prompts)
        native = access.capabilities.structured_output
        yield case, material, requests_of(access.name, questions, native=native)


@dataclass(frozen=True)
class _FollowUp:
    """Asks more about the material of an answer."""

    model: Asked
    case: Case
    style: Style

    def ask(self, answer: Answer, question: str) -> Answer:
        said = answer.sentence() if answer.status != "error" else "(no answer)"
        style = replace(self.style, schema=None, runs=1, steps=())
        check_questions([question], style)
        case = replace(
            self.case,
            questions={f"q{len(self.case.history) + 2}": question},
            history=(*self.case.history, (answer.question, said)),
            material=answer.material,
        )
        [[found]] = ask_cases(self.model, [case], style)
        return found


class _Asking:
    """Asks a few cases at once."""

    def __init__(
        self,
        client: Client,
        cases: Sequence[Case],
        style: Style,
        prompts: PromptSet,
        model: Asked,
    ) -> None:
        self.client, self.style, self.prompts, self.model = client, style, prompts, model
        self.cases = list(cases)
        self.stopped: BaseException | None = None
        """Why nothing is asked any more."""
        self.failures: dict[int, str] = {}
        self.material: dict[int, Material] = {}
        self._read_before: dict[int, Material] = {}

    def answers(self) -> list[list[Answer]]:
        for i, case in enumerate(self.cases):
            if self.stopped is not None:
                self.failures[i] = self._why()
                continue
            try:
                self.material[i] = case.material or self._gathered(case)
            except MediaError as error:
                self.failures[i] = " ".join(str(error).split())
            except KeyboardInterrupt as error:
                self.stopped = error
                self.failures[i] = self._why()
        asked = [
            (i, question)
            for i, material in self.material.items()
            for question in first_questions(self.cases[i], material, self.style, self.prompts)
        ]
        found: dict[int, list[Checked[Any]]] = {i: [] for i in self.material}
        outcomes = self._ask([question for _, question in asked])
        for (i, _), outcome in zip(asked, outcomes, strict=True):
            found[i].append(outcome)
        answers = [
            self._failed(case, self.failures[i])
            if i in self.failures
            else self._read(i, case, found[i])
            for i, case in enumerate(self.cases)
        ]
        if self.style.verify:
            answers = self._verified(answers)
        return answers

    def _gathered(self, case: Case) -> Material:
        """Read inputs once, however many questions are asked about them."""
        found = self._read_before.get(id(case.sources))
        if found is None:
            found = gather(
                case.sources,
                self.client.capabilities,
                frames=self.style.frames,
                limits=self.style.limits,
            )
            self._read_before[id(case.sources)] = found
        return found

    def _ask(self, questions: Sequence[Question[Any]]) -> list[Checked[Any]]:
        """Ask, and where that is stopped give what was answered until then."""
        found: dict[int, Checked[Any]] = {}
        if self.stopped is None:
            timeout = as_model(self.model).timeout
            try:
                ask_checked(self.client, questions, timeout=timeout, on_done=found.__setitem__)
            except (ShowtellError, KeyboardInterrupt) as error:
                self.stopped = error
        lost: Checked[Any] = Checked(value=None, reason=self._why())
        return [found.get(i, lost) for i in range(len(questions))]

    def _why(self) -> str:
        if isinstance(self.stopped, KeyboardInterrupt):
            return "not asked: stopped by Ctrl-C"
        return f"not asked: {' '.join(str(self.stopped).split())}"

    def _failed(self, case: Case, reason: str, spent: Sequence[Checked[Any]] = ()) -> list[Answer]:
        return [
            self._told(
                Answer(question_id=name, question=text, status="error", error=reason),
                case, spent, share=len(case.questions),
            )
            for name, text in case.questions.items()
        ]  # fmt: skip

    def _told(
        self, answer: Answer, case: Case, outcomes: Sequence[Checked[Any]], *, share: int = 1
    ) -> Answer:
        """Add what an answer took, who gave it, and how more can be asked."""
        spent = Spent()
        for outcome in outcomes:
            spent.merge(outcome.spent)
        cost = None if spent.cost_usd is None else spent.cost_usd / share
        first = answer.question_id == next(iter(case.questions))
        return replace(
            answer,
            cost_usd=cost,
            n_requests=spent.n_requests if first else 0,
            n_from_cache=spent.n_from_cache if first else 0,
            model=self.client.mllm.name,
            inputs=tuple(map(name_of, case.sources)),
            raw=outcomes[-1].text if outcomes else "",
            context=_FollowUp(self.model, case, self.style),
        )

    def _read(self, i: int, case: Case, outcomes: list[Checked[Any]]) -> list[Answer]:
        material = self.material[i]
        if self.style.schema == "receipt":
            return self._receipt(case, material, outcomes)
        [outcome] = outcomes
        if outcome.value is None:
            return self._failed(case, outcome.reason or "no answer", outcomes)
        if self.style.schema is not None:
            data, evidence = outcome.value
            empty = all(value in (None, "", []) for value in data.values())
            answers = [
                Answer(
                    question_id=name,
                    question=text,
                    status="abstained" if empty else "ok",
                    error="the material has none of it" if empty else "",
                    data=data,
                    data_evidence=evidence,
                    material=material,
                )
                for name, text in case.questions.items()
            ]
        else:
            answers = [outcome.value[name] for name in case.questions]
        return [self._told(a, case, outcomes, share=len(case.questions)) for a in answers]

    def _receipt(
        self, case: Case, material: Material, outcomes: list[Checked[Any]]
    ) -> list[Answer]:
        """Multiply and add what was counted and copied."""
        *counted, prices, total = outcomes
        failed = next((o for o in (*counted, prices) if not o.ok), None)
        if failed is not None:
            return self._failed(case, failed.reason or "no answer", outcomes)
        items = merge_counts([run.value or [] for run in counted])
        rows = [PriceRow(**row) for row in prices.value or []]
        own: str | None = total.value
        found = calculate(items, rows, model_total=own)
        lost = [line.name for line in found.lines if line.status == "no_price"]
        if lost and rows and self.stopped is None:
            [matched] = self._ask([match_question(lost, rows, self.prompts)])
            outcomes = [*outcomes, matched]
            matches = matched.value or {}
            found = calculate(items, rows, matches=matches, model_total=own)
        answers = [
            self._summed(name, text, found, material) for name, text in case.questions.items()
        ]
        return [self._told(a, case, outcomes, share=len(case.questions)) for a in answers]

    def _summed(self, name: str, question: str, found: Calculation, material: Material) -> Answer:
        claims = tuple(
            Claim(
                text=f"{line.count} {line.name}",
                evidence=tuple(m for ref in line.evidence if (m := material.find(ref))),
                basis="visible",
                unknown=tuple(ref for ref in line.evidence if material.find(ref) is None),
            )
            for line in found.lines
        )
        return Answer(
            question_id=name,
            question=question,
            text=found.sentence() if found.totals else "",
            status="ok" if found.totals else "abstained",
            error="" if found.totals else found.sentence(),
            value=found.total,
            unit=found.currency,
            claims=claims,
            data={"lines": found.rows(), "notes": list(found.notes)},
            calculation=found,
            material=material,
        )

    def _verified(self, answers: list[list[Answer]]) -> list[list[Answer]]:
        """Look at each claim again, alone, on what it points at."""
        asked = [
            (i, j, k)
            for i, some in enumerate(answers)
            for j, answer in enumerate(some)
            for k, claim in enumerate(answer.claims)
            if answer.status == "ok" and can_be_looked_at(claim)
        ]
        outcomes = self._ask(
            [
                verify_question(answers[i][j].claims[k], self.prompts, self._system())
                for i, j, k in asked
            ]
        )
        for (i, j, k), outcome in zip(asked, outcomes, strict=True):
            answer = answers[i][j]
            verdict: Verdict = outcome.value or "stated"
            claims = list(answer.claims)
            claims[k] = replace(claims[k], verdict=verdict)
            cost = outcome.spent.cost_usd
            answer = replace(
                answer,
                claims=tuple(claims),
                cost_usd=None
                if cost is None or answer.cost_usd is None
                else answer.cost_usd + cost,
                n_requests=answer.n_requests + outcome.spent.n_requests,
            )
            if verdict == "contradicted":
                note = (
                    f"withheld: {answer.text!r} rests on {claims[k].text!r}, which a second look "
                    "contradicts"
                )
                answer = replace(answer, status="abstained", error=note, text="", value=None)
            answers[i][j] = answer
        return answers

    def _system(self) -> str:
        return system_text(self.style, self.prompts, "")
