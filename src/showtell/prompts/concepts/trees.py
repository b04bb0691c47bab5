"""Concept trees: the parts of a kind of thing, their attributes, and the values labels have.

A tree becomes visual clues, one sentence per value, which an encoder compares with photos. A model
may have written it and a person corrected it: the file keeps what was written, so that a value
taken out by hand does not come back, and one added by hand stays.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar

from showtell._clean import json_text
from showtell.checks import one_of
from showtell.errors import InputError
from showtell.prompts.answers import normalise
from showtell.prompts.descriptions.descriptions import Provenance
from showtell.records.files import write_whole

TreeLayout: TypeAlias = Literal["merged", "per-label"]
"""Clues of all labels together, or one for each label that has a value."""

CluePrefix: TypeAlias = Literal["none", "domain", "label"]
"""What a clue names besides the part."""

GapTask: TypeAlias = Literal["parts", "attributes", "values"]

OTHER = "other attributes"
"""Attribute of what no other attribute holds; its values are put before or after the part."""

FORMAT = "concepts-1"
"""Of the files."""

T = TypeVar("T", bound="TreePart | Attribute | Value")

_LAYOUTS = ("merged", "per-label")
_PREFIXES = ("none", "domain", "label")


@dataclass(frozen=True, kw_only=True)
class Value:
    """What an attribute of a part is like."""

    text: str
    labels: tuple[str, ...] = ()
    """Labels that have it; none where nobody said whose it is."""


@dataclass(frozen=True, kw_only=True)
class Attribute:
    """A kind of property of a part, such as colour."""

    name: str
    values: tuple[Value, ...] = ()


@dataclass(frozen=True, kw_only=True)
class TreePart:
    """A visible part, with its own parts."""

    name: str
    children: tuple[TreePart, ...] = ()
    attributes: tuple[Attribute, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ConceptGap:
    """What a tree lacks, and why."""

    task: GapTask
    """Which question has no usable answer."""
    reason: str
    part: tuple[str, ...] = ()
    """Names from the top down; () for the domain itself."""
    attribute: str | None = None
    label: str | None = None
    tries: int = 1
    """How often it was asked for, repairs not counted."""

    def __str__(self) -> str:
        place = " > ".join(self.part) or "the domain"
        about = f"{self.task} of {place}"
        if self.attribute is not None:
            about += f", {self.attribute}"
        if self.label is not None:
            about += f", for {self.label!r}"
        return f"{about}: {self.reason}"

    def to_dict(self) -> dict[str, Any]:
        """Give it as JSON values."""
        return {**vars(self), "part": list(self.part)}


@dataclass(frozen=True, kw_only=True)
class Clue:
    """A sentence that an encoder compares with photos, and where in the tree it comes from."""

    text: str
    part: tuple[str, ...]
    """Names from the top down."""
    attribute: str
    value: str
    label: str | None = None
    """Whose clue it is, in the per-label layout."""


@dataclass(frozen=True, kw_only=True)
class ConceptTree:
    """The parts of a domain, their attributes, and the values that labels have.

    Parameters
    ----------
    domain : str
        What all labels are: "dog".
    parts : tuple of TreePart
    provenance : Provenance, optional
    gaps : tuple of ConceptGap
        Questions that have no usable answer.
    asked : tuple of TreePart
        All that a model has written so far, whatever became of it; see `merge`.

    Raises
    ------
    InputError
        If a name or value is empty, or stands twice in one place.

    References
    ----------
    Qu & Yatskar (2024), LLM-based Hierarchical Concept Decomposition for Interpretable
    Fine-Grained Image Classification, arXiv:2405.18672.

    Examples
    --------
    >>> from showtell.prompts import read_concepts
    >>> tree = read_concepts({"domain": "dog", "parts": [
    ...     {"part": "tail", "attributes": {"length": {"short": ["Corgi"], "long": ["Collie"]}}},
    ...     {"part": "head", "children": [{"part": "ear", "attributes": {"shape": ["pointed"]}}]},
    ... ]})
    >>> for clue in tree.clues():
    ...     print(" > ".join(clue.part), "|", clue.text)
    tail | A photo of tail of short length
    tail | A photo of tail of long length
    head > ear | A photo of ear of pointed shape
    >>> tree.labels
    ('Corgi', 'Collie')
    """

    domain: str
    parts: tuple[TreePart, ...] = ()
    provenance: Provenance = field(default_factory=Provenance)
    gaps: tuple[ConceptGap, ...] = ()
    asked: tuple[TreePart, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.domain, str) or not self.domain.strip():
            raise InputError(
                f"A concept tree needs a domain, a word for what all labels are; got "
                f"{self.domain!r}."
            )
        _check_parts(self.parts, ())

    def __repr__(self) -> str:
        return (
            f"<ConceptTree of {self.domain!r}: {sum(1 for _ in self.walk())} parts, "
            f"{self.n_values} values, {len(self.labels)} labels, {len(self.gaps)} gaps>"
        )

    # Looking at it

    def walk(self) -> Iterator[tuple[tuple[str, ...], TreePart]]:
        """Go through all parts with their paths, a part before its children."""
        yield from _walk(self.parts, ())

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels that have a value, in the order of the tree."""
        return tuple(
            dict.fromkeys(
                label
                for _, part in self.walk()
                for attribute in part.attributes
                for value in attribute.values
                for label in value.labels
            )
        )

    @property
    def n_values(self) -> int:
        """Values of all attributes together."""
        return sum(len(a.values) for _, part in self.walk() for a in part.attributes)

    @property
    def depth(self) -> int:
        """Levels of parts: 1 where no part has parts of its own."""
        return max((len(path) for path, _ in self.walk()), default=0)

    def counts(self) -> dict[str, Any]:
        """Say how large it is, as JSON values: parts, attributes, values, clues, gaps."""
        return {
            "domain": self.domain,
            "n_labels": len(self.labels),
            "n_parts": sum(1 for _ in self.walk()),
            "depth": self.depth,
            "n_attributes": sum(len(part.attributes) for _, part in self.walk()),
            "n_values": self.n_values,
            "n_clues": len(self.clues()),
            "n_gaps": len(self.gaps),
        }

    def restricted(
        self, *, labels: Sequence[str] | None = None, part: Sequence[str] | None = None
    ) -> ConceptTree:
        """Return the tree of some labels, of one part, or both.

        Parameters
        ----------
        labels : sequence of str, optional
            Values that none of them has are left out; those of no label in particular stay.
        part : sequence of str, optional
            Path of a part: it alone with what is below it.

        Raises
        ------
        InputError
            If there is no such part.
        """
        parts = self.parts
        if part is not None:
            found = next((p for path, p in self.walk() if path == tuple(part)), None)
            if found is None:
                known = "; ".join(" > ".join(path) for path, _ in self.walk())
                raise InputError(f"There is no part {' > '.join(part)!r}. Parts are: {known}.")
            parts = (found,)
        if labels is not None:
            parts = tuple(_of_labels(one, frozenset(labels)) for one in parts)
        return replace(self, parts=parts)

    def clues(self, *, layout: TreeLayout = "merged", prefix: CluePrefix = "none") -> list[Clue]:
        """Write the tree as sentences for an encoder.

        Parameters
        ----------
        layout : {"merged", "per-label"}, default="merged"
            "merged": one clue per value, whichever labels have it; a sentence that comes twice
            stays once. No label's name is in it. "per-label": one clue per value and label.
        prefix : {"none", "domain", "label"}, default="none"
            What the sentence names besides the part. "label" needs the per-label layout; values
            of no label in particular then name the domain.

        Returns
        -------
        clues : list of Clue
            In the order of the tree.

        Raises
        ------
        UnknownNameError, InputError
            If an argument is none of the allowed, or they do not go together.

        References
        ----------
        Qu & Yatskar (2024), arXiv:2405.18672, for the per-label layout; the merged one follows
        Bastide (2024).
        """
        one_of("layout", layout, _LAYOUTS)
        one_of("prefix", prefix, _PREFIXES)
        if prefix == "label" and layout == "merged":
            raise InputError(
                "prefix='label' needs layout='per-label': a merged clue belongs to no label."
            )
        found: dict[object, Clue] = {}
        for path, part in self.walk():
            for attribute in part.attributes:
                for value in attribute.values:
                    owners: tuple[str | None, ...] = (None,)
                    if layout == "per-label" and value.labels:
                        owners = value.labels
                    for label in owners:
                        whole = {"none": None, "domain": self.domain, "label": label or self.domain}
                        text = clue_text(part.name, attribute.name, value.text, of=whole[prefix])
                        clue = Clue(
                            text=text,
                            part=path,
                            attribute=attribute.name,
                            value=value.text,
                            label=label,
                        )
                        key = (text,) if layout == "merged" else (text, path, label)
                        found.setdefault(key, clue)
        return list(found.values())

    # Others made from it

    def merge(self, other: ConceptTree) -> ConceptTree:
        """Add what a model wrote later, and keep what was changed by hand.

        What stands in this tree stays, whoever wrote it. Of `other`, all is added but what `asked`
        of this tree knows and the tree lacks: somebody took that out.

        Parameters
        ----------
        other : ConceptTree
            The newly written one.

        Returns
        -------
        tree : ConceptTree
            With the domain of this one; gaps and provenance are those of `other`.

        Examples
        --------
        >>> from showtell.prompts import read_concepts
        >>> first = read_concepts({"domain": "dog", "parts": [
        ...     {"part": "tail", "attributes": {"length": ["short", "long"]}}]})
        >>> edited = read_concepts({"domain": "dog", "parts": [
        ...     {"part": "tail", "attributes": {"length": ["long", "very long"]}}],
        ...     "asked": first.to_record()["parts"]})
        >>> [value.text for value in edited.merge(first).parts[0].attributes[0].values]
        ['long', 'very long']
        """
        return ConceptTree(
            domain=self.domain,
            parts=_merged(self.parts, other.parts, self.asked, _join_parts),
            provenance=other.provenance,
            gaps=other.gaps,
            asked=_merged(self.asked, other.asked or other.parts, (), _join_parts),
        )

    # Files

    def to_record(self) -> dict[str, Any]:
        """Return plain values, as the JSON file holds them."""
        known = {key: value for key, value in vars(self.provenance).items() if value}
        record: dict[str, Any] = {"showtell": FORMAT, "domain": self.domain}
        if known:
            record["provenance"] = known
        record["parts"] = [_part_record(part) for part in self.parts]
        if self.gaps:
            record["gaps"] = [
                {
                    name: list(value) if isinstance(value, tuple) else value
                    for name, value in vars(gap).items()
                    if value and (name, value) != ("tries", 1)
                }
                for gap in self.gaps
            ]
        if self.asked:
            record["asked"] = [_part_record(part) for part in self.asked]
        return record

    def write(self, path: str | os.PathLike[str]) -> Path:
        """Write a ``.json`` file, to be edited and read again.

        Raises
        ------
        InputError
            If the ending is another one, or the file cannot be written.
        """
        target = json_path(path)
        text = _compact(json_text(self.to_record(), indent=1)) + "\n"
        return write_whole(target, text)


# Sentences


def clue_text(part: str, attribute: str, value: str, *, of: str | None = None) -> str:
    """Write the sentence of one value.

    Parameters
    ----------
    part, attribute, value : str
    of : str, optional
        Whose part it is: the domain or a label.

    Returns
    -------
    text : str
        A value of "other attributes" stands before the part if it is one word, else after it.

    References
    ----------
    Qu & Yatskar (2024), arXiv:2405.18672.

    Examples
    --------
    >>> clue_text("tail", "length", "short", of="French Bulldog")
    'A photo of a French Bulldog with tail of short length'
    >>> clue_text("tail", "other attributes", "docked")
    'A photo of docked tail'
    >>> clue_text("tail", "other attributes", "curled over back")
    'A photo of tail of curled over back'
    """
    if normalise(attribute) == OTHER:
        said = f"{value} {part}" if len(value.split()) == 1 else f"{part} of {value}"
    else:
        ends = f" {normalise(value)}".endswith(f" {normalise(attribute)}")  # "short length"
        said = f"{part} of {value}" if ends else f"{part} of {value} {attribute}"
    if of is None:
        return f"A photo of {said}"
    return f"A photo of {'an' if of[:1].lower() in tuple('aeio') else 'a'} {of} with {said}"


# Finding a part


def find_part(tree: ConceptTree, part: str | Sequence[str]) -> tuple[str, ...]:
    """Find a part by its path, or by its name where only one has it.

    Parameters
    ----------
    tree : ConceptTree
    part : str or sequence of str
        "ear", "head > ear", or ``("head", "ear")``.

    Returns
    -------
    path : tuple of str
        As `ConceptTree.walk` gives it.

    Raises
    ------
    InputError
        If there is none, or several parts have the name; the message lists them.

    Examples
    --------
    >>> from showtell.prompts import read_concepts
    >>> tree = read_concepts({"domain": "dog", "parts": [{"part": "head", "children": ["ear"]}]})
    >>> find_part(tree, "ear"), find_part(tree, "Head > Ear")
    (('head', 'ear'), ('head', 'ear'))
    """
    names = re.split(r"\s*[>/]\s*", part.strip()) if isinstance(part, str) else list(part)
    wanted = tuple(map(normalise, names))
    paths = {path: tuple(map(normalise, path)) for path, _ in tree.walk()}
    found = [path for path, key in paths.items() if key == wanted]
    found = found or [path for path, key in paths.items() if key[-len(wanted) :] == wanted]
    if len(found) == 1:
        return found[0]
    given = part if isinstance(part, str) else " > ".join(part)
    problem = "several parts" if found else "no part"
    listed = "; ".join(" > ".join(path) for path in found or paths)
    raise InputError(f"There is {problem} {given!r}. Name one of: {listed or 'none'}.")


# Writing


def json_path(path: str | os.PathLike[str]) -> Path:
    """Refuse a name that does not end as concept trees do."""
    target = Path(path)
    if target.suffix.lower() != ".json":
        raise InputError(f"Concept trees are files that end in .json; got {str(path)!r}.")
    return target


def _part_record(part: TreePart) -> dict[str, Any]:
    record: dict[str, Any] = {"part": part.name}
    if part.attributes:
        record["attributes"] = {
            attribute.name: (
                {value.text: list(value.labels) for value in attribute.values}
                if any(value.labels for value in attribute.values)
                else [value.text for value in attribute.values]
            )
            for attribute in part.attributes
        }
    if part.children:
        record["children"] = [_part_record(child) for child in part.children]
    return record


def _compact(text: str) -> str:
    """Write lists of texts on one line, where a person edits them."""
    item = r'"(?:[^"\\\n]|\\.)*"'
    return re.sub(
        rf"\[\s*({item}(?:,\s*{item})*)\s*\]",
        lambda found: "[" + re.sub(rf"({item}),\s*", r"\1, ", found[1]) + "]",
        text,
    )


# Walking and merging


def _walk(
    parts: Sequence[TreePart], above: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], TreePart]]:
    for part in parts:
        path = (*above, part.name)
        yield path, part
        yield from _walk(part.children, path)


def _check_parts(parts: Sequence[TreePart], above: tuple[str, ...]) -> None:
    place = " > ".join(above) or "the top"
    _check_names([part.name for part in parts], "part", place)
    for part in parts:
        here = " > ".join((*above, part.name))
        _check_names([attribute.name for attribute in part.attributes], "attribute", here)
        for attribute in part.attributes:
            texts = [value.text for value in attribute.values]
            _check_names(texts, "value", f"{here}, {attribute.name}")
        _check_parts(part.children, (*above, part.name))


def _check_names(names: Sequence[str], what: str, where: str) -> None:
    seen: set[str] = set()
    for name in names:
        key = _key(name)
        if not key:
            raise InputError(f"At {where} a {what} is called {name!r}, which is no word.")
        if key in seen:
            raise InputError(f"At {where} the {what} {name!r} stands twice; keep one.")
        seen.add(key)


def _key(name: str) -> str:
    """By which names are the same; marks count where there is nothing else."""
    return normalise(name) or name.strip()


def _of_labels(part: TreePart, labels: frozenset[str]) -> TreePart:
    attributes = []
    for attribute in part.attributes:
        values = tuple(
            replace(value, labels=tuple(one for one in value.labels if one in labels))
            for value in attribute.values
            if not value.labels or labels & set(value.labels)
        )
        attributes.append(replace(attribute, values=values))
    children = tuple(_of_labels(child, labels) for child in part.children)
    return replace(part, attributes=tuple(attributes), children=children)


def _merged(
    ours: Sequence[T], theirs: Sequence[T], base: Sequence[T], join: Callable[[T, T, T | None], T]
) -> tuple[T, ...]:
    """Merge three ways: ours as it stands, and of theirs what is neither there nor in the base."""
    new = {_key_of(one): one for one in theirs}
    old = {_key_of(one): one for one in base}
    merged: list[T] = []
    for one in ours:
        key = _key_of(one)
        other, before = new.pop(key, None), old.get(key)
        merged.append(one if other is None else join(one, other, before))
    return (*merged, *(one for key, one in new.items() if key not in old))


def _key_of(one: TreePart | Attribute | Value) -> str:
    return _key(one.text if isinstance(one, Value) else one.name)


def _join_parts(ours: TreePart, theirs: TreePart, base: TreePart | None) -> TreePart:
    children, attributes = ((), ()) if base is None else (base.children, base.attributes)
    return TreePart(
        name=ours.name,
        children=_merged(ours.children, theirs.children, children, _join_parts),
        attributes=_merged(ours.attributes, theirs.attributes, attributes, _join_attributes),
    )


def _join_attributes(ours: Attribute, theirs: Attribute, base: Attribute | None) -> Attribute:
    known = () if base is None else base.values
    return replace(ours, values=_merged(ours.values, theirs.values, known, _join_values))


def _join_values(ours: Value, theirs: Value, base: Value | None) -> Value:
    known = () if base is None else base.labels
    added = (label for label in theirs.labels if label not in known)
    return replace(ours, labels=tuple(dict.fromkeys((*ours.labels, *added))))
