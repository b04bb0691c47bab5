"""Descriptions by a language model: what labels look like, and what all of them are."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

import numpy as np

from showtell._progress import Progress, no_progress
from showtell.checks import one_of
from showtell.errors import InputError
from showtell.mllm.base import Request, TextPart
from showtell.mllm.model import Asked, as_model, open_client
from showtell.mllm.structured import Checked, Question, Spent, ask_checked, requests_of
from showtell.prompts.answers import AnswerParser, normalise
from showtell.prompts.descriptions.descriptions import DescriptionKind, DescriptionSet, Provenance
from showtell.prompts.files import PromptSet, load_prompts

DescriptionStyle: TypeAlias = Literal["dclip", "cupl"]

_STYLES = ("dclip", "cupl")
_KINDS: Mapping[str, DescriptionKind] = {"dclip": "phrases", "cupl": "sentences"}
_COUNTS = {"dclip": 8, "cupl": 10}  # asked for; per question with "cupl"
_TEMPERATURES = {"dclip": 0.0, "cupl": 0.99}  # as the papers have them
_MOST_WORDS = {"dclip": 12, "cupl": 60}
_SHOWN_LABELS = 25  # of which the domain is sought
_NOTHING = {"object", "thing", "item", "class", "category", "label", "nothing", "noun", "image"}

_LIST_SCHEMA = {
    "type": "object",
    "properties": {
        "category": {"type": "string"},
        "descriptors": {"type": "array", "items": {"type": "string"}},
    },
    "required": ["category", "descriptors"],
    "additionalProperties": False,
}
_CONCEPT_SCHEMA = {
    "type": "object",
    "properties": {
        "concept": {"type": ["string", "null"]},
        "confidence": {"type": "integer", "description": "0 to 10"},
    },
    "required": ["concept", "confidence"],
    "additionalProperties": False,
}


@dataclass(frozen=True, kw_only=True)
class Described:
    """What `write_descriptions` got."""

    descriptions: DescriptionSet
    gaps: Mapping[str, str] = field(default_factory=dict)
    """Label to the reason why a question about it has no answer."""
    dropped: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Label to what was written and left out: repeated, too long, or naming another label."""
    spent: Spent = field(default_factory=Spent)


@dataclass(frozen=True, kw_only=True)
class Domain:
    """What `find_domain` got."""

    text: str | None
    """None where the labels have nothing in common, or there is no answer."""
    confidence: float | None = None
    """0 to 1, as the model says."""
    reason: str | None = None
    """Why there is none."""
    spent: Spent = field(default_factory=Spent)


@dataclass(frozen=True)
class _Written:
    """Checked texts of one answer."""

    kept: tuple[str, ...]
    dropped: tuple[str, ...]


def write_descriptions(
    labels: Sequence[str],
    model: Asked,
    *,
    style: DescriptionStyle = "dclip",
    count: int | None = None,
    n_least: int = 2,
    domain: str | None = None,
    prompt_dir: str | os.PathLike[str] | None = None,
    progress: Progress = no_progress,
) -> Described:
    """Have a model write what labels look like.

    Parameters
    ----------
    labels : sequence of str
    model : str, MLLM or Model
        What writes them, a `Model` with the limits of the run.
    style : {"dclip", "cupl"}, default="dclip"
        "dclip" asks once per label for short phrases; "cupl" asks five questions per label, each
        for several whole sentences.
    count : int, optional
        Descriptions to ask for, per question; by default 8 for "dclip" and 10 for "cupl".
    n_least : int, default=2
        Fewer usable ones than this are asked for once more, then taken as they are; none at all
        are a gap.
    domain : str, optional
        What all labels are, to settle which sense of a word is meant.
    prompt_dir : path, optional
        Edited prompts, see `copy_prompts`.
    progress : Progress
        Called with the number of questions that are done.

    Returns
    -------
    described : Described
        Every label is in its set; those with a gap have no description.

    Raises
    ------
    InputError
        If there are no labels, or `style` or `count` is none of the allowed.
    BudgetError, MLLMAuthError
        As `Client.run`.

    References
    ----------
    Menon & Vondrick (2023), arXiv:2210.07183. Pratt et al. (2023), arXiv:2209.03320.
    """
    access = as_model(model)
    questions = _questions(labels, style, count, n_least, domain, prompt_dir)
    with open_client(access) as client:
        found = ask_checked(
            client,
            [question for _, question in questions],
            timeout=access.timeout,
            progress=progress,
            stage="Describing",
        )
    provenance = Provenance(
        source=f"written by {access.name}",
        model=access.name,
        prompt_version=questions[0][1].prompt_version,
        date=dt.datetime.now(dt.UTC).date().isoformat(),
        note=style,
    )
    blank = DescriptionSet(
        dict.fromkeys(labels, ()), kind=_KINDS[style], domain=domain, provenance=provenance
    )
    return _gathered(blank, [label for label, _ in questions], found)


def _gathered(
    blank: DescriptionSet, labels: Sequence[str], answers: Sequence[Checked[_Written]]
) -> Described:
    """Put the answers about each label together, every text once."""
    texts: dict[str, dict[str, str]] = {label: {} for label in blank}
    dropped: dict[str, tuple[str, ...]] = {}
    gaps: dict[str, str] = {}
    spent = Spent()
    for label, answer in zip(labels, answers, strict=True):
        spent.merge(answer.spent)
        if answer.value is None:
            gaps.setdefault(label, answer.reason or "")
            continue
        for text in answer.value.kept:
            texts[label].setdefault(normalise(text), text)
        if answer.value.dropped:
            dropped[label] = (*dropped.get(label, ()), *answer.value.dropped)
    made = replace(blank, texts={label: tuple(of.values()) for label, of in texts.items()})
    return Described(descriptions=made, gaps=gaps, dropped=dropped, spent=spent)


def describe_requests(
    labels: Sequence[str],
    model: Asked,
    *,
    style: DescriptionStyle = "dclip",
    count: int | None = None,
    domain: str | None = None,
    prompt_dir: str | os.PathLike[str] | None = None,
) -> list[Request]:
    """Write the requests that `write_descriptions` would send first, without sending any.

    Parameters
    ----------
    labels, model, style, count, domain, prompt_dir
        As in `write_descriptions`.

    Returns
    -------
    requests : list of Request
    """
    access = as_model(model)
    questions = [q for _, q in _questions(labels, style, count, 1, domain, prompt_dir)]
    return requests_of(access.name, questions, native=access.capabilities.structured_output)


def find_domain(
    labels: Sequence[str],
    model: Asked,
    *,
    random_state: int = 0,
    prompt_dir: str | os.PathLike[str] | None = None,
) -> Domain:
    """Have a model say what all labels are: "bird" for a hundred kinds of birds.

    Parameters
    ----------
    labels : sequence of str
        25 of them, drawn at random, are shown.
    model : str, MLLM or Model
    random_state : int, default=0
    prompt_dir : path, optional
        Edited prompts.

    Returns
    -------
    domain : Domain
        "object", "thing" and the like count as none.

    References
    ----------
    Roth et al. (2023), arXiv:2306.07282, section 3.3.
    """
    access = as_model(model)
    question = _domain_question(labels, random_state, prompt_dir)
    with open_client(access) as client:
        [found] = ask_checked(client, [question], timeout=access.timeout)
    if found.value is None:
        return Domain(text=None, reason=found.reason, spent=found.spent)
    text, sure = found.value
    reason = None if text else "The labels have nothing in common, the model says."
    if text is not None and normalise(text) in map(normalise, labels):
        text, reason = None, f"The model names one of the labels, {text!r}."
    return Domain(text=text, confidence=sure, reason=reason, spent=found.spent)


def domain_requests(
    labels: Sequence[str],
    model: Asked,
    *,
    random_state: int = 0,
    prompt_dir: str | os.PathLike[str] | None = None,
) -> list[Request]:
    """Write the one request that `find_domain` would send first, without sending it.

    Parameters
    ----------
    labels, model, random_state, prompt_dir
        As in `find_domain`.

    Returns
    -------
    requests : list of Request
    """
    access = as_model(model)
    question = _domain_question(labels, random_state, prompt_dir)
    return requests_of(access.name, [question], native=access.capabilities.structured_output)


def _domain_question(
    labels: Sequence[str], random_state: int, prompt_dir: str | os.PathLike[str] | None
) -> Question[tuple[str | None, float | None]]:
    prompts = load_prompts(prompt_dir, library="describe")
    shown = list(labels)
    if len(shown) > _SHOWN_LABELS:
        rng = np.random.default_rng(random_state)
        shown = [shown[i] for i in sorted(rng.permutation(len(shown))[:_SHOWN_LABELS])]
    listed = "\n".join(["Labels:", *(f"- {label}" for label in shown), "End of labels."])
    return Question(
        system=prompts.texts["system"].strip(),
        parts=(TextPart(text=prompts.render("concept", labels=listed)),),
        schema=_CONCEPT_SCHEMA,
        check=_check_domain,
        prompt_version=prompts.version,
        max_tokens=1024,
        name="concept",
    )


def _questions(
    labels: Sequence[str],
    style: DescriptionStyle,
    count: int | None,
    n_least: int,
    domain: str | None,
    prompt_dir: str | os.PathLike[str] | None,
) -> list[tuple[str, Question[_Written]]]:
    one_of("style", style, _STYLES)
    if not labels:
        raise InputError("Need at least one label to describe, got none.")
    asked = _COUNTS[style] if count is None else count
    if asked < 1:
        raise InputError(f"`count` must be at least 1, got {count}.")
    prompts = load_prompts(prompt_dir, library="describe")
    parser = AnswerParser(list(labels))
    found = []
    for label in labels:
        for text in _wordings(prompts, style, label, asked, domain):
            question: Question[_Written] = Question(
                system=prompts.texts["system"].strip(),
                parts=(TextPart(text=text),),
                schema=_LIST_SCHEMA,
                check=_list_check(label, labels, parser, style, min(n_least, asked)),
                prompt_version=prompts.version,
                temperature=_TEMPERATURES[style],
                name=label,
            )
            found.append((label, question))
    return found


def _wordings(
    prompts: PromptSet, style: DescriptionStyle, label: str, count: int, domain: str | None
) -> list[str]:
    """Write the questions about one label."""
    about = f" (a kind of {domain})" if domain else ""
    if style == "dclip":
        return [prompts.render("features", label=label, count=count, concept=about)]
    asked = prompts.render("questions", label=label, concept=about).splitlines()
    return [
        prompts.render("sentences", label=label, count=count, question=line.strip())
        for line in asked
        if line.strip()
    ]


def _list_check(
    label: str, labels: Sequence[str], parser: AnswerParser, style: DescriptionStyle, n_least: int
) -> Callable[[Any], _Written]:
    own = f" {normalise(label)} "

    def names_another(text: str) -> bool:
        answer = parser.parse(text)
        codes = answer.candidates or ((answer.code,) if answer.code is not None else ())
        return any(f" {normalise(labels[code])} " not in own for code in codes)

    def check(value: Any) -> _Written:
        listed = value.get("descriptors") if isinstance(value, dict) else value
        if not isinstance(listed, list):
            raise ValueError('The list "descriptors" is missing.')
        kept: list[str] = []
        dropped: list[str] = []
        for entry in listed:
            text = _clean(entry)
            if not text:
                continue
            plain = normalise(text)
            known = plain in map(normalise, kept)
            too_long = len(text.split()) > _MOST_WORDS[style]
            # "..." is what a small model copies from the form of the answer
            no_word = not any(map(str.isalnum, text))
            if no_word or known or too_long or plain == normalise(label) or names_another(text):
                dropped.append(text)
            else:
                kept.append(text)
        if len(kept) < n_least:
            raise ValueError(
                f"Only {len(kept)} of {len(listed)} descriptors can be used: they must differ, "
                f"have at most {_MOST_WORDS[style]} words and name no other class. At least "
                f"{n_least} are wanted."
            )
        return _Written(kept=tuple(kept), dropped=tuple(dropped))

    return check


def _clean(entry: Any) -> str:
    """One line without list marks; "" for what is no text."""
    if not isinstance(entry, str):
        return ""
    return " ".join(entry.split()).lstrip("-*•· ").strip()


def _check_domain(value: Any) -> tuple[str | None, float | None]:
    if not isinstance(value, dict) or "concept" not in value:
        raise ValueError('The field "concept" is missing.')
    sure = value.get("confidence")
    known = isinstance(sure, int | float) and not isinstance(sure, bool) and 0 <= sure <= 10
    confidence = float(sure) / 10 if known else None  # type: ignore[arg-type]
    text = value["concept"]
    if text is None:
        return None, confidence
    if not isinstance(text, str):
        raise ValueError('"concept" is a text or null.')
    words = "".join(c for c in text.lower() if c.isalnum() or c in " -'").split()
    if not words or len(words) > 5:
        raise ValueError(f"{text!r} has {len(words)} words, and one to five are wanted.")
    last = words[-1]
    if len(last) > 3 and last.endswith("s") and not last.endswith("ss"):
        words[-1] = last[:-1]
    plain = " ".join(words)
    return (None if words[-1] in _NOTHING else plain), confidence
