"""Concept trees by a language model: asked part by part, with a name for everything it lacks."""

from __future__ import annotations

import datetime as dt
import json
import os
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias, TypeVar

from showtell._progress import Progress, no_progress
from showtell.checks import one_of
from showtell.errors import InputError
from showtell.mllm.base import Request, TextPart
from showtell.mllm.call.client import Client
from showtell.mllm.model import Asked, as_model, open_client
from showtell.mllm.structured import Checked, Question, Spent, ask_checked, requests_of
from showtell.prompts.answers import AnswerParser, normalise
from showtell.prompts.concepts.pieces import (
    ATTRIBUTES_SCHEMA,
    VALUES_SCHEMA,
    PartPath,
    attributes_of,
    pairs_of,
    parts_schema,
    skeleton_of,
    walk,
    with_parts,
    without_labels,
)
from showtell.prompts.concepts.trees import (
    OTHER,
    Attribute,
    ConceptGap,
    ConceptTree,
    TreeLayout,
    TreePart,
)
from showtell.prompts.concepts.words import clean_name, clean_values, one_name, singular
from showtell.prompts.descriptions.descriptions import Provenance
from showtell.prompts.files import load_prompts

T = TypeVar("T")

TreeStep: TypeAlias = Literal["parts", "attributes", "values"]
"""How far a tree is built."""

_STEPS = ("parts", "attributes", "values")
_LAYOUTS = ("merged", "per-label")
_DEEPEST = 5
_MOST_PARTS = 30
_MOST_ATTRIBUTES = 6
_MOST_VALUES = 8
_SHOWN_LABELS = 25  # in one question
_MAX_TOKENS = 4096  # of an answer; models that think before they answer need many
_SECOND_TEMPERATURE = 0.7  # of a question that failed in an earlier run
_USUAL_PARTS, _USUAL_ATTRIBUTES = 12, 4  # where nothing is known yet, for estimates
_ARTICLES = ("a ", "an ", "the ")


@dataclass(frozen=True, kw_only=True)
class Built:
    """What `build_concepts` got."""

    tree: ConceptTree
    dropped: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Place in the tree to what was written and left out: no value, too long, naming a label."""
    spent: Spent = field(default_factory=Spent)

    @property
    def gaps(self) -> tuple[ConceptGap, ...]:
        """Questions that have no usable answer; they are in the tree's file too."""
        return self.tree.gaps


@dataclass(frozen=True)
class _Named:
    """Names of one answer: a tree of parts, or attributes."""

    kept: tuple[Any, ...]
    dropped: tuple[str, ...]


@dataclass(frozen=True)
class _Valued:
    """Values of one answer."""

    kept: Mapping[str, tuple[str, ...]]
    missing: Mapping[str, str]
    """Attribute to the reason why it has no value."""
    dropped: tuple[str, ...]


@dataclass(frozen=True)
class _Wanted:
    """One question about values."""

    path: PartPath
    attributes: tuple[str, ...]
    labels: tuple[str, ...]
    label: str | None
    """Whose values they are; None where it is asked for all labels together."""


def build_concepts(
    domain: str,
    labels: Sequence[str],
    model: Asked,
    *,
    depth: int = 3,
    layout: TreeLayout = "per-label",
    until: TreeStep = "values",
    prompt_dir: str | os.PathLike[str] | None = None,
    tree: ConceptTree | None = None,
    progress: Progress = no_progress,
) -> Built:
    """Have a model take a domain apart: parts, their attributes, and the values labels have.

    An answer that is no JSON or names nothing usable is asked for once more, and so is an
    attribute for which no value can be used. What still fails is a gap of the tree, with its
    reason.

    Parameters
    ----------
    domain : str
        What all labels are: "dog".
    labels : sequence of str
    model : str, MLLM or Model
        What is asked, a `Model` with the limits of the run.
    depth : int, default=3
        Levels of parts, 1 to 5; what an answer has below is left out.
    layout : {"per-label", "merged"}, default="per-label"
        "per-label" asks for the values of each label, so the tree knows whose they are.
        "merged" asks for all labels together: by as many times fewer questions as there are
        labels, and the values belong to no label in particular.
    until : {"parts", "attributes", "values"}, default="values"
        Where to stop, for example to edit the parts before anything is asked about them.
    prompt_dir : path, optional
        Edited prompts, see `copy_prompts`.
    tree : ConceptTree, optional
        An earlier one, edited or not. Only what it lacks is asked for: gaps, new labels, and
        parts and attributes added by hand. What was taken out of it by hand stays out.
    progress : Progress
        Called with the number of questions that are done.

    Returns
    -------
    built : Built
        With the tree, its gaps, and what it took.

    Raises
    ------
    InputError
        If there are no labels, `depth` is out of range, or `tree` is of another domain.
    UnknownNameError
        If `layout` or `until` is none of the allowed.
    BudgetError, MLLMAuthError
        As `Client.run`. Answers that were paid for are in the cache.

    References
    ----------
    Qu & Yatskar (2024), arXiv:2405.18672. METHODS 7.2.

    Examples
    --------
    >>> from showtell.mllm import Answer, Model, Usage
    >>> class Toy:
    ...     name = "toy:dogs"
    ...     answers = {
    ...         "parts": '{"part": "dog", "children": [{"part": "tails"}]}',
    ...         "attributes": '{"part": "tail", "attributes": ["length"]}',
    ...         "values": '{"values": {"length": ["Short or medium", "n/a"]}}',
    ...     }
    ...     async def ask(self, request):
    ...         task = request.parts[0].text.splitlines()[0].removeprefix("Task: ")
    ...         return Answer(text=self.answers[task], usage=Usage(), finish="stop", model="dogs")
    ...     async def aclose(self):
    ...         pass
    >>> built = build_concepts("dog", ["Corgi"], Model(Toy(), cache=None))
    >>> built.tree.to_record()["parts"]
    [{'part': 'tail', 'attributes': {'length': {'short': ['Corgi'], 'medium': ['Corgi']}}}]
    >>> built.gaps
    ()
    """
    access = as_model(model)
    work = _Work(domain, labels, depth, layout, until, prompt_dir, tree)
    with open_client(access) as client:
        work.run(client, timeout=access.timeout, progress=progress)
    return Built(
        tree=work.finished(access.name),
        dropped={place: tuple(texts) for place, texts in work.dropped.items()},
        spent=work.spent,
    )


def tree_requests(
    domain: str,
    labels: Sequence[str],
    model: Asked,
    *,
    depth: int = 3,
    layout: TreeLayout = "per-label",
    until: TreeStep = "values",
    prompt_dir: str | os.PathLike[str] | None = None,
    tree: ConceptTree | None = None,
    n_parts: int = _USUAL_PARTS,
) -> list[Request]:
    """Write the requests that `build_concepts` would send, without sending any.

    Parameters
    ----------
    domain, labels, model, depth, layout, until, prompt_dir, tree
        As in `build_concepts`.
    n_parts : int, default=12
        How many parts to count with where none is known yet; each with four attributes.

    Returns
    -------
    requests : list of Request
        Repairs are not among them, and names that a model has yet to find are placeholders.
    """
    work = _Work(domain, labels, depth, layout, until, prompt_dir, tree)
    questions: list[Question[Any]] = []
    if (first := work.parts_question()) is not None:
        questions.append(first)
        guessed = tuple(TreePart(name=f"part {i + 1}") for i in range(n_parts))
        work.tree = replace(work.tree, parts=work.tree.parts or guessed)
    usual = tuple(Attribute(name=f"attribute {i + 1}") for i in range(_USUAL_ATTRIBUTES))
    if until != "parts":
        bare = work.bare_parts()
        questions += [work.attributes_question(path) for path in bare]
        guess = {path: TreePart(name=path[-1], attributes=usual) for path in bare}
        work.tree = replace(work.tree, parts=with_parts(work.tree.parts, guess))
    if until == "values":
        questions += [work.values_question(one) for one in work.wanted()]
    access = as_model(model)
    return requests_of(access.name, questions, native=access.capabilities.structured_output)


class _Work:
    """A tree being built."""

    def __init__(
        self,
        domain: str,
        labels: Sequence[str],
        depth: int,
        layout: TreeLayout,
        until: TreeStep,
        prompt_dir: str | os.PathLike[str] | None,
        tree: ConceptTree | None,
    ) -> None:
        one_of("layout", layout, _LAYOUTS)
        one_of("step", until, _STEPS)
        if not 1 <= depth <= _DEEPEST:
            raise InputError(f"`depth` must be from 1 to {_DEEPEST}, got {depth}.")
        if not labels:
            raise InputError("Need at least one label to build a tree for, got none.")
        domain = " ".join(domain.split())
        if tree is not None and normalise(tree.domain) != normalise(domain):
            raise InputError(
                f"The tree that is there takes a {tree.domain!r} apart, and {domain!r} is asked "
                "for. Give another file, or build it anew."
            )
        self.tree = ConceptTree(domain=domain) if tree is None else tree
        self.labels = tuple(dict.fromkeys(" ".join(label.split()) for label in labels))
        self.depth, self.layout, self.until = depth, layout, until
        self.prompts = load_prompts(prompt_dir, library="concepts")
        self.parser = AnswerParser(list(self.labels))
        self.tries = _tries(self.tree.gaps)
        self.gaps: list[ConceptGap] = []
        self.dropped: dict[str, list[str]] = {}
        self.spent = Spent()
        self.is_new = False

    # The way through

    def run(self, client: Client, *, timeout: float, progress: Progress) -> None:
        """Ask step by step."""

        def ask(questions: Sequence[Question[T]], stage: str) -> list[Checked[T]]:
            found = ask_checked(client, questions, timeout=timeout, progress=progress, stage=stage)
            for answer in found:
                self.spent.merge(answer.spent)
            self.is_new |= bool(questions)
            return found

        first = self.parts_question()
        if first is not None:
            self.take_parts(ask([first], "Parts")[0])
        if self.until != "parts":
            bare = self.bare_parts()
            questions = [self.attributes_question(path) for path in bare]
            self.take_attributes(bare, ask(questions, "Attributes"))
        if self.until == "values":
            wanted = self.wanted()
            found = ask([self.values_question(one) for one in wanted], "Values")
            again = self.take_values(wanted, found)
            found = ask([self.values_question(one) for one in again], "Values, once more")
            self.take_values(again, found, last=True)

    def finished(self, model: str) -> ConceptTree:
        """Return the tree with its gaps, and with where it is from if anything was asked."""
        paths = {_key(path) for path, _ in self.tree.walk()}
        kept = tuple(
            gap
            for gap in self.tree.gaps
            if self.is_out_of_reach(gap) and (not gap.part or _key(gap.part) in paths)
        )
        made = replace(self.tree, gaps=(*self.gaps, *kept))
        if not self.is_new:
            return made
        provenance = Provenance(
            source=f"written by {model}",
            model=model,
            prompt_version=self.prompts.version,
            date=dt.datetime.now(dt.UTC).date().isoformat(),
            note=self.layout,
        )
        return replace(made, provenance=provenance)

    def is_out_of_reach(self, gap: ConceptGap) -> bool:
        """Say whether a gap is of a later step or of a label that is not asked about now."""
        later = _STEPS.index(gap.task) > _STEPS.index(self.until)
        return later or (gap.label is not None and gap.label not in self.labels)

    def merge(self, parts: tuple[TreePart, ...], asked: tuple[TreePart, ...] | None = None) -> None:
        """Add what was written, except what was taken out by hand."""
        other = replace(self.tree, parts=parts, asked=parts if asked is None else asked)
        self.tree = self.tree.merge(other)

    def miss(
        self,
        task: TreeStep,
        reason: str,
        path: PartPath = (),
        *,
        attribute: str | None = None,
        label: str | None = None,
    ) -> None:
        tries = 1 + self.tries.get((task, _key(path), label), 0)
        self.gaps.append(
            ConceptGap(
                task=task, reason=reason, part=path, attribute=attribute, label=label, tries=tries
            )
        )

    def drop(self, place: str, texts: Iterable[str]) -> None:
        found = [text for text in texts if text]
        if found:
            self.dropped.setdefault(place, []).extend(found)

    def question(
        self,
        name: str,
        schema: Mapping[str, Any],
        check: Callable[[Any], T],
        key: tuple[str, PartPath, str | None],
        **fields: object,
    ) -> Question[T]:
        tries = self.tries.get(key, 0)
        return Question(
            system=self.prompts.texts["system"].strip(),
            parts=(TextPart(text=self.prompts.render(name, **fields)),),
            schema=schema,
            check=check,
            prompt_version=self.prompts.version,
            temperature=_SECOND_TEMPERATURE if tries else 0.0,
            max_tokens=_MAX_TOKENS,
            sample=tries,
            name=name,
        )

    # Parts

    def parts_question(self) -> Question[_Named] | None:
        """Ask for parts, unless the tree has them or had them."""
        key: tuple[str, PartPath, str | None] = ("parts", (), None)
        if key not in self.tries and (self.tree.parts or self.tree.asked):
            return None
        return self.question(
            "parts", parts_schema(self.depth), self.check_parts, key,
            domain=self.tree.domain, labels=_listed(self.labels[:_SHOWN_LABELS]),
            depth=self.depth, count=_MOST_PARTS,
        )  # fmt: skip

    def check_parts(self, value: Any) -> _Named:
        """Read a tree of names."""
        domain = normalise(self.tree.domain)
        if isinstance(value, dict):
            top = value.get("part")
            whole = normalise(top) if isinstance(top, str) else domain
            if f" {domain} " not in f" {whole} " and f" {whole} " not in f" {domain} ":
                raise ValueError(f"The whole is called {top!r}, and {self.tree.domain!r} is asked.")
            value = next((value[k] for k in ("children", "parts") if k in value), None)
        if not isinstance(value, list):
            raise ValueError('The list "children" is missing: the parts of the whole.')
        barred = {domain, *map(normalise, self.labels)}
        dropped: list[str] = []
        n_left = _MOST_PARTS

        def read(given: Any, level: int, above: frozenset[str]) -> tuple[TreePart, ...]:
            nonlocal n_left
            found: dict[str, TreePart] = {}
            for entry in given if isinstance(given, list) else []:
                said = entry.get("part", entry.get("name")) if isinstance(entry, dict) else entry
                plain = one_name(said)
                name = singular(plain)
                key = normalise(name)
                names_label = bool(barred & {key, normalise(plain), normalise(plain)[:-1]})
                if not name or names_label or key in above or key in found or n_left < 1:
                    dropped.append(str(said or ""))
                    continue
                n_left -= 1
                below = entry.get("children") if isinstance(entry, dict) else None
                inner = read(below, level + 1, above | {key}) if level < self.depth else ()
                found[key] = TreePart(name=name, children=inner)
            return tuple(found.values())

        kept = read(value, 1, frozenset())
        if not kept:
            raise ValueError(
                'No part can be used: each needs a name in "part", which is neither the whole nor '
                "a class."
            )
        return _Named(kept, tuple(dropped))

    def take_parts(self, answer: Checked[_Named]) -> None:
        """Add the parts, or a gap."""
        if answer.value is None:
            self.miss("parts", answer.reason or "")
            return
        self.drop("parts", answer.value.dropped)
        self.merge(answer.value.kept)

    # Attributes

    def bare_parts(self) -> list[PartPath]:
        """List parts whose attributes nobody has written, or taken out."""
        had = {_key(path) for path, part in walk(self.tree.asked) if part.attributes}
        found = []
        for path, part in self.tree.walk():
            has_gap = ("attributes", _key(path), None) in self.tries
            if not part.attributes and (has_gap or _key(path) not in had):
                found.append(path)
        return found

    def attributes_question(self, path: PartPath) -> Question[_Named]:
        """Ask for the attributes of a part."""
        return self.question(
            "attributes", ATTRIBUTES_SCHEMA, self.attributes_check(path),
            ("attributes", _key(path), None),
            domain=self.tree.domain, part=path[-1], whole=_whole(path),
        )  # fmt: skip

    def attributes_check(self, path: PartPath) -> Callable[[Any], _Named]:
        """Make the check of one answer about attributes."""
        barred = {"other", OTHER, *map(normalise, (*self.labels, *path))}

        def check(value: Any) -> _Named:
            listed = value.get("attributes") if isinstance(value, dict) else value
            if not isinstance(listed, list):
                raise ValueError('The list "attributes" is missing.')
            self.check_about(value, path)
            kept: dict[str, str] = {}
            dropped = []
            for entry in listed:
                name = one_name(entry).removeprefix(f"{path[-1]} ")  # tail length: length
                key = normalise(name)
                if not name or key in barred or key in kept or len(kept) == _MOST_ATTRIBUTES:
                    dropped.append(str(entry))
                else:
                    kept[key] = name
            if not kept:
                raise ValueError(
                    f"None of {len(listed)} attributes can be used: kinds of properties are "
                    "wanted, such as colour or shape, and no class."
                )
            return _Named(tuple(kept.values()), tuple(dropped))

        return check

    def check_about(self, value: Any, path: PartPath) -> None:
        """Refuse an answer that says it is about another part of the tree."""
        said = value.get("part") if isinstance(value, dict) else None
        key = normalise(singular(clean_name(said)))
        others = {normalise(other[-1]) for other, _ in self.tree.walk()} - {normalise(path[-1])}
        if key in others:
            raise ValueError(f"The answer is about {said!r}, and {path[-1]!r} was asked about.")

    def take_attributes(
        self, paths: Sequence[PartPath], answers: Sequence[Checked[_Named]]
    ) -> None:
        """Add attributes, or gaps."""
        found: dict[PartPath, TreePart] = {}
        for path, answer in zip(paths, answers, strict=True):
            if answer.value is None:
                self.miss("attributes", answer.reason or "", path)
                continue
            self.drop(f"{' > '.join(path)}, attributes", answer.value.dropped)
            attributes = tuple(Attribute(name=name) for name in answer.value.kept)
            found[path] = TreePart(name=path[-1], attributes=attributes)
        self.merge(skeleton_of(found))

    # Values

    def wanted(self) -> list[_Wanted]:
        """List the questions about values that have no answer yet."""
        known = {_key(path): part for path, part in walk(self.tree.asked)}
        found: list[_Wanted] = []
        for path, part in self.tree.walk():
            before = known.get(_key(path))
            answered = _answered(part, before)
            groups: list[tuple[str, ...]] = [(label,) for label in self.labels]
            if self.layout == "merged":
                left = [x for x in self.labels if any(x not in of for of in answered.values())]
                groups = [
                    tuple(left[i : i + _SHOWN_LABELS]) for i in range(0, len(left), _SHOWN_LABELS)
                ]
            for group in groups:
                names = [
                    name
                    for name, of in answered.items()
                    if normalise(name) != OTHER and any(label not in of for label in group)
                ]
                if names and not any(label in of for of in answered.values() for label in group):
                    names.append(OTHER)
                if names:
                    label = group[0] if self.layout == "per-label" else None
                    found.append(_Wanted(path, tuple(names), group, label))
        return found

    def values_question(self, wanted: _Wanted) -> Question[_Valued]:
        """Ask for values of all attributes of a part at once."""
        domain, label = self.tree.domain, wanted.label
        return self.question(
            "values", VALUES_SCHEMA, self.values_check(wanted),
            ("values", _key(wanted.path), label),
            domain=domain,
            part=wanted.path[-1],
            whole=_whole(wanted.path),
            labels=_listed(wanted.labels) if label is None else f"Label: {label}",
            whose=(
                f"these kinds of {domain}, all taken together"
                if label is None
                else f"{label} (a kind of {domain})"
            ),
            attributes="; ".join(map(_shown, wanted.attributes)),
            form=", ".join(
                json.dumps({"attribute": _shown(name), "values": ["..."]}, ensure_ascii=False)
                for name in wanted.attributes
            ),
        )  # fmt: skip

    def values_check(self, wanted: _Wanted) -> Callable[[Any], _Valued]:
        """Make the check of one answer about values."""
        names = {normalise(_shown(name)): name for name in wanted.attributes}

        def check(value: Any) -> _Valued:
            said = pairs_of(value, names)
            if said is None:
                raise ValueError('The list "values" is missing.')
            self.check_about(value, wanted.path)
            kept: dict[str, tuple[str, ...]] = {}
            missing: dict[str, str] = {}
            dropped: list[str] = []
            for key, name in names.items():
                entries = said.get(key, [])
                good, bad = self.usable(entries, names)
                dropped += bad
                if good:
                    kept[name] = good
                elif key != OTHER:
                    shown = "; ".join(" ".join(text.split()) for text in bad if text.strip())
                    missing[name] = f"no value can be used: {shown}" if shown else "no value"
            if not kept or (set(kept) == {OTHER} and missing):
                reasons = "; ".join(f"{name}: {reason}" for name, reason in missing.items())
                raise ValueError(
                    f"Nothing can be used ({reasons}). Each attribute needs a value of at most "
                    "four words that a photo can show and that names no class."
                )
            return _Valued(kept, missing, tuple(dropped))

        return check

    def usable(
        self, entries: Sequence[Any], barred: Container[str]
    ) -> tuple[tuple[str, ...], list[str]]:
        """Clean the values of one attribute; what is left out comes second."""
        kept: dict[str, str] = {}
        dropped = []
        for entry in entries:
            found = clean_values([entry])
            if not found:
                dropped.append(str(entry))
            for value in found:
                text = value
                for article in _ARTICLES:
                    text = text.removeprefix(article)
                answer = self.parser.parse(text)
                names_label = answer.candidates or answer.code is not None
                key = normalise(text)
                if not key or key in barred or names_label or len(kept) == _MOST_VALUES:
                    dropped.append(value)
                else:
                    kept.setdefault(key, text)
        return tuple(kept.values()), dropped

    def take_values(
        self, wanted: Sequence[_Wanted], answers: Sequence[Checked[_Valued]], *, last: bool = False
    ) -> list[_Wanted]:
        """Add values; return what is to be asked for once more, or make gaps of it."""
        again: list[_Wanted] = []
        told: dict[PartPath, dict[str, list[tuple[str, tuple[str, ...]]]]] = {}
        for one, answer in zip(wanted, answers, strict=True):
            place = " > ".join(one.path)
            if answer.value is None:
                names: tuple[str | None, ...] = one.attributes if last else (None,)
                for name in names:
                    self.miss(
                        "values", answer.reason or "", one.path, attribute=name, label=one.label
                    )
                continue
            at = told.setdefault(one.path, {})
            for name, values in answer.value.kept.items():
                at.setdefault(name, []).extend((text, one.labels) for text in values)
            whose = "" if one.label is None else f", {one.label}"
            self.drop(f"{place}{whose}", answer.value.dropped)
            missing = answer.value.missing
            if last:
                for name, reason in missing.items():
                    self.miss("values", reason, one.path, attribute=name, label=one.label)
            elif missing:
                again.append(replace(one, attributes=tuple(missing)))
        with_labels = {
            path: TreePart(name=path[-1], attributes=attributes_of(at)) for path, at in told.items()
        }
        asked = skeleton_of(with_labels)
        if self.layout == "merged":  # whom it was asked for is known; whose a value is, is not
            for path, part in with_labels.items():
                with_labels[path] = without_labels(part)
        self.merge(skeleton_of(with_labels), asked)
        return again


def _tries(gaps: Iterable[ConceptGap]) -> dict[tuple[str, PartPath, str | None], int]:
    """Say how often each question was asked that has no answer."""
    found: dict[tuple[str, PartPath, str | None], int] = {}
    for gap in gaps:
        key = (gap.task, _key(gap.part), gap.label)
        found[key] = max(found.get(key, 0), gap.tries)
    return found


def _answered(part: TreePart, before: TreePart | None) -> dict[str, Container[str]]:
    """Say for each attribute of a part which labels have had an answer."""
    known = {} if before is None else {normalise(a.name): a for a in before.attributes}
    found: dict[str, Container[str]] = {}
    for attribute in part.attributes:
        earlier = known.get(normalise(attribute.name))
        values = (*attribute.values, *(() if earlier is None else earlier.values))
        labels = frozenset(label for value in values for label in value.labels)
        # values of nobody in particular, added by hand, are everybody's
        found[attribute.name] = _All() if values and not labels else labels
    return found


class _All:
    """Contains every label."""

    def __contains__(self, label: object) -> bool:
        return True


def _listed(labels: Sequence[str]) -> str:
    return "\n".join(["Labels:", *(f"- {label}" for label in labels), "End of labels."])


def _whole(path: PartPath) -> str:
    return f" (part of the {path[-2]})" if len(path) > 1 else ""


def _key(path: Sequence[str]) -> PartPath:
    return tuple(map(normalise, path))


def _shown(name: str) -> str:
    """Write a name for a line where semicolons divide."""
    return " ".join(name.replace(";", " ").split())
