"""What the model is told to let descriptions evolve, and what of its answers can be used."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from showtell.mllm.base import TextPart
from showtell.mllm.structured import Question
from showtell.prompts.answers import AnswerParser, normalise
from showtell.prompts.files import PromptSet

MOST_WORDS = 12
"""Of one descriptor."""

_TOKENS_PER_TEXT = 16  # of an answer, with its quotation marks, for long descriptors
_LEAST_TOKENS = 2048

_SCHEMA = {
    "type": "object",
    "properties": {
        "classes": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "index": {"type": "integer"},
                    "name": {"type": "string"},
                    "descriptors": {"type": "array", "items": {"type": "string"}},
                },
                "required": ["index", "name", "descriptors"],
                "additionalProperties": False,
            },
        }
    },
    "required": ["classes"],
    "additionalProperties": False,
}


@dataclass(frozen=True, kw_only=True)
class Written:
    """The usable part of one answer."""

    texts: Mapping[str, tuple[str, ...]]
    """Label to its new descriptions, for the labels that got any."""
    gaps: Mapping[str, str] = field(default_factory=dict)
    """Label without, to the reason."""
    dropped: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Label to what was written for it and left out."""


@dataclass(frozen=True, kw_only=True)
class Feedback:
    """What the encoder has to say about the descriptions of some labels."""

    confused: Mapping[str, Sequence[str]]
    """Label to the labels it is taken for, worst first."""
    good: Mapping[str, Sequence[str]] = field(default_factory=dict)
    bad: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Version:
    """One candidate as a crossover by the model is shown it."""

    texts: Mapping[str, Sequence[str]]
    accuracy: float
    by_label: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Asker:
    """Writes the questions about groups of labels."""

    prompts: PromptSet
    labels: tuple[str, ...]
    """All of them: no description may name another one."""
    n_start: int
    n_replaced: int
    n_least: int
    temperature: float | None
    strict: bool = False
    """Whether an answer that lacks a label is no answer at all, as in the published code."""

    def rewrite(
        self,
        group: Sequence[str],
        current: Mapping[str, Sequence[str]],
        feedback: Feedback,
        *,
        sample: int,
    ) -> Question[Written]:
        """Ask for other words: all of them where there are none, else for some of them."""
        known = [label for label in group if current[label]]
        values: dict[str, Any] = {
            "labels": _listed(group),
            "confused": "\n".join(
                f"Confused: {label}: {', '.join(feedback.confused.get(label, ())) or 'none'}"
                for label in group
            ),
            "count": self.n_start,
            "sample": sample,
        }
        name = "init"
        if known:
            name = "mutate"
            values |= {
                "current": "\n".join(_current(label, current[label]) for label in group),
                "good": _words("Good words", group, feedback.good),
                "bad": _words("Bad words", group, feedback.bad),
                "replace": min(self.n_replaced, self.n_start - 1),
            }
        return self._question(name, group, self.prompts.render(name, **values), sample)

    def mix(
        self,
        group: Sequence[str],
        versions: Sequence[Version],
        bad: Mapping[str, Sequence[str]],
        *,
        sample: int,
    ) -> Question[Written]:
        """Ask for the best mixture of several versions, without a new word."""
        shown = [
            f"Version {number} is right in {version.accuracy:.1%} of the photos: "
            + ", ".join(f"{label} {version.by_label[label]:.0%}" for label in group)
            + "."
            for number, version in enumerate(versions, 1)
        ]
        text = self.prompts.render(
            "crossover",
            labels=_listed(group),
            current="\n".join(
                _current(label, version.texts[label]) for label in group for version in versions
            ),
            bad=_words("Bad words", group, bad),
            versions="\n".join(shown),
            count=self.n_start,
            sample=sample,
        )
        allowed = {
            label: {normalise(text) for version in versions for text in version.texts[label]}
            for label in group
        }
        return self._question("crossover", group, text, sample, allowed)

    def _question(
        self,
        name: str,
        group: Sequence[str],
        text: str,
        sample: int,
        allowed: Mapping[str, set[str]] | None = None,
    ) -> Question[Written]:
        return Question(
            system=self.prompts.texts["system"].strip(),
            parts=(TextPart(text=text),),
            schema=_SCHEMA,
            check=read_classes(
                group,
                self.labels,
                n_least=min(self.n_least, self.n_start),
                n_most=self.n_start,
                allowed=allowed,
                strict=self.strict,
            ),
            prompt_version=self.prompts.version,
            temperature=self.temperature,
            max_tokens=max(_LEAST_TOKENS, _TOKENS_PER_TEXT * len(group) * self.n_start),
            sample=sample,
            name=name,
        )


def read_classes(
    group: Sequence[str],
    labels: Sequence[str],
    *,
    n_least: int,
    n_most: int,
    allowed: Mapping[str, set[str]] | None = None,
    strict: bool = False,
) -> Callable[[Any], Written]:
    """Make the check of an answer.

    `group`: labels that were asked about; `labels`: all labels, none of which another one's
    description may name; `n_least` and `n_most`: bounds on the descriptions of a label; more are
    cut off, fewer are a gap; `allowed`: texts (normalised) that may be used; None for any;
    `strict`: refuse an answer with a gap. Returns `check`: takes the value of an answer, returns
    `Written`; raises ValueError if no label of the group has anything usable.

    Examples
    --------
    >>> check = read_classes(["cat", "dog"], ["cat", "dog"], n_least=1, n_most=3)
    >>> said = {"name": "cat", "descriptors": ["whiskers", "Whiskers", "like a dog"]}
    >>> found = check({"classes": [said]})
    >>> found.texts, found.dropped["cat"], found.gaps
    ({'cat': ('whiskers',)}, ('Whiskers', 'like a dog'), {'dog': 'The answer does not have it.'})
    """
    parser = AnswerParser(list(labels))
    place = {normalise(label): label for label in group}

    def others_named(text: str, label: str) -> bool:
        answer = parser.parse(text)
        codes = answer.candidates or ((answer.code,) if answer.code is not None else ())
        own = f" {normalise(label)} "
        return any(f" {normalise(labels[code])} " not in own for code in codes)

    def check(value: Any) -> Written:
        entries = value.get("classes") if isinstance(value, dict) else value
        if not isinstance(entries, list):
            raise ValueError('The list "classes" is missing.')
        texts: dict[str, tuple[str, ...]] = {}
        gaps: dict[str, str] = {}
        dropped: dict[str, tuple[str, ...]] = {}
        for entry in entries:
            if not isinstance(entry, dict) or not isinstance(entry.get("descriptors"), list):
                continue
            label = place.get(normalise(str(entry.get("name", ""))))
            if label is None or label in texts or label in gaps:
                continue
            usable = None if allowed is None else allowed[label]
            kept, left = _sorted_out(entry["descriptors"], label, n_most, usable, others_named)
            if left:
                dropped[label] = tuple(left)
            if len(kept) < n_least:
                gaps[label] = (
                    f"Only {len(kept)} of {len(entry['descriptors'])} descriptors can be used; at "
                    f"least {n_least} are needed."
                )
            else:
                texts[label] = tuple(kept)
        for label in group:
            if label not in texts:
                gaps.setdefault(label, "The answer does not have it.")
        if not texts or (strict and gaps):
            first = next(iter(gaps))
            raise ValueError(
                f"{len(gaps)} of {len(group)} classes have no usable descriptors; {first!r}: "
                f"{gaps[first]} Each class keeps its name and has up to {n_most} descriptors, all "
                f"different, of at most {MOST_WORDS} words, which name no other class."
            )
        return Written(texts=texts, gaps=gaps, dropped=dropped)

    return check


def _sorted_out(
    listed: Sequence[Any],
    label: str,
    n_most: int,
    usable: set[str] | None,
    others_named: Callable[[str, str], bool],
) -> tuple[list[str], list[str]]:
    """Part what an answer lists for a label into what is kept and what is dropped."""
    kept: list[str] = []
    dropped: list[str] = []
    seen = {normalise(label)}
    for entry in listed:
        text = clean(entry)
        if not text:
            continue
        plain = normalise(text)
        wrong = plain in seen or len(text.split()) > MOST_WORDS or others_named(text, label)
        if usable is not None and plain not in usable:
            wrong = True
        (dropped if wrong or len(kept) >= n_most else kept).append(text)
        seen.add(plain)
    return kept, dropped


def clean(entry: Any) -> str:
    """One line without list marks; "" for what is no text."""
    return " ".join(entry.split()).lstrip("-*•· ").strip() if isinstance(entry, str) else ""


def _listed(group: Sequence[str]) -> str:
    return "\n".join(["Labels:", *(f"- {label}" for label in group), "End of labels."])


def _current(label: str, texts: Sequence[str]) -> str:
    return f"Current: {label}: {' | '.join(text.replace('|', '/') for text in texts) or 'none'}"


def _words(title: str, group: Sequence[str], words: Mapping[str, Sequence[str]]) -> str:
    """Lines for the labels that have any such words."""
    lines = [
        f"{title}: {label}: {'; '.join(text.replace(';', ',') for text in words[label])}"
        for label in group
        if words.get(label)
    ]
    return "\n".join(lines)
