"""Description sets: what labels look like, in words; read, checked, compared, written, edited.

A set belongs to nobody: a model may have written it, a paper published it, a person corrected it.
It keeps where its words come from, and reading it back after an edit by hand is the usual case.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, TypeAlias

from showtell._clean import escaped, json_text
from showtell._extras import need
from showtell.checks import one_of
from showtell.errors import InputError
from showtell.prompts.answers import AnswerParser, normalise
from showtell.records.files import write_whole
from showtell.records.reading import TEXT_BYTES, loading, parse_json, parse_yaml, read_text

DescriptionKind: TypeAlias = Literal["phrases", "sentences"]
"""Phrases ("a long tail") are put into a prompt with the label; sentences stand for themselves."""

NoteKind: TypeAlias = Literal[
    "missing-label",
    "unknown-label",
    "no-descriptions",
    "repeated-label",
    "repeated-description",
    "same-descriptions",
    "names-other-label",
    "too-long",
    "count",
]

_FORMAT = "descriptions-1"
_KINDS = ("phrases", "sentences")
_ENDINGS = (".json", ".csv", ".yaml", ".yml")
_COLUMNS = ("label", "description", "weight")


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Where the words of a set come from."""

    source: str = ""
    """A model, a person, a publication or a file."""
    model: str | None = None
    """``"provider:name"`` if a model wrote them."""
    prompt_version: str | None = None
    date: str | None = None
    """ISO 8601."""
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class DescriptionNote:
    """Something about a set that one should know before using it."""

    kind: NoteKind
    label: str
    text: str = ""
    """The description in question, if it is one."""
    message: str = ""

    def __str__(self) -> str:
        return self.message


@dataclass(frozen=True, kw_only=True)
class DescriptionDiff:
    """What differs between two sets, label by label; order does not count."""

    added: Mapping[str, tuple[str, ...]]
    removed: Mapping[str, tuple[str, ...]]
    n_kept: int
    new_labels: tuple[str, ...]
    lost_labels: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.new_labels or self.lost_labels)

    def __str__(self) -> str:
        lines = []
        for label in dict.fromkeys((*self.removed, *self.added)):
            mark = " (new)" if label in self.new_labels else ""
            mark = " (gone)" if label in self.lost_labels else mark
            lines.append(f"{label}{mark}")
            lines += [f"  - {text}" for text in self.removed.get(label, ())]
            lines += [f"  + {text}" for text in self.added.get(label, ())]
        n_added = sum(map(len, self.added.values()))
        n_removed = sum(map(len, self.removed.values()))
        lines.append(f"{n_added} added, {n_removed} removed, {self.n_kept} kept.")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Give it as JSON values."""
        return {
            "added": {label: list(texts) for label, texts in self.added.items()},
            "removed": {label: list(texts) for label, texts in self.removed.items()},
            "n_kept": self.n_kept,
            "new_labels": list(self.new_labels),
            "lost_labels": list(self.lost_labels),
        }


@dataclass(frozen=True)
class DescriptionSet(Mapping[str, tuple[str, ...]]):
    """Labels with their descriptions; a mapping of label to tuple of str.

    Parameters
    ----------
    texts : mapping of label to sequence of str
        A label may have none; see `check`.
    kind : {"phrases", "sentences"}, default="phrases"
        Phrases ("a long tail") are put into a prompt with the label; sentences ("A tiger has
        orange fur.") are used as they are.
    weights : mapping of label to sequence of float, optional
        How much each description counts; one positive number for each. Missing labels: all 1.
    domain : str, optional
        What all labels are ("bird"), for prompts such as "a photo of a bird: a {label}".
    provenance : Provenance, optional

    Raises
    ------
    InputError
        If a description is no text or empty, or weights do not fit.

    Examples
    --------
    >>> animals = DescriptionSet({"tiger": ["orange fur", "black stripes"], "zebra": []})
    >>> animals["tiger"], animals.n_descriptions
    (('orange fur', 'black stripes'), 2)
    >>> [note.kind for note in animals.check()]
    ['no-descriptions']
    >>> print(animals.diff(DescriptionSet({"tiger": ["orange fur"], "zebra": ["a mane"]})))
    tiger
      - black stripes
    zebra
      + a mane
    1 added, 1 removed, 1 kept.
    """

    texts: Mapping[str, tuple[str, ...]]
    kind: DescriptionKind = "phrases"
    weights: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    domain: str | None = None
    provenance: Provenance = Provenance()
    notes: tuple[DescriptionNote, ...] = ()
    """What reading the file brought to light, such as a label that stood in it twice."""

    def __post_init__(self) -> None:
        one_of("kind of descriptions", self.kind, _KINDS)
        texts = {}
        for label, given in self.texts.items():
            if not isinstance(label, str) or not label.strip():
                raise InputError(f"A label must be a text that is not empty, got {label!r}.")
            texts[label] = _texts_of(given, label)
        weights = {}
        for label, numbers in self.weights.items():
            if label not in texts:
                raise InputError(f"There are weights for {label!r}, which is no label of the set.")
            weights[label] = _weights_of(numbers, label, len(texts[label]))
        object.__setattr__(self, "texts", MappingProxyType(texts))
        object.__setattr__(self, "weights", MappingProxyType(weights))
        object.__setattr__(self, "notes", tuple(self.notes))

    # A mapping

    def __getitem__(self, label: str) -> tuple[str, ...]:
        return self.texts[label]

    def __iter__(self) -> Iterator[str]:
        return iter(self.texts)

    def __len__(self) -> int:
        return len(self.texts)

    def __repr__(self) -> str:
        by = f" by {self.provenance.model or self.provenance.source}" if self._has_source else ""
        return f"<DescriptionSet: {self.n_descriptions} {self.kind} of {len(self)} labels{by}>"

    def __reduce__(self) -> tuple[Any, ...]:
        values = (dict(self.texts), self.kind, dict(self.weights), self.domain)
        return DescriptionSet, (*values, self.provenance, self.notes)

    @property
    def _has_source(self) -> bool:
        return bool(self.provenance.model or self.provenance.source)

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels in order."""
        return tuple(self.texts)

    @property
    def n_descriptions(self) -> int:
        """Descriptions of all labels together."""
        return sum(map(len, self.texts.values()))

    def weights_of(self, label: str) -> tuple[float, ...]:
        """How much each description of a label counts; 1 where nothing else is said."""
        return self.weights.get(label) or (1.0,) * len(self.texts[label])

    # Looking it over

    def check(
        self,
        labels: Sequence[str] | None = None,
        *,
        count_tokens: Callable[[str], int] | None = None,
        max_tokens: int | None = None,
        n_least: int | None = None,
        n_most: int | None = None,
    ) -> list[DescriptionNote]:
        """Look for what is odd; nothing is changed.

        Parameters
        ----------
        labels : sequence of str, optional
            The label set that the descriptions are for.
        count_tokens : callable, optional
            Counts the tokens of a text as the encoder does.
        max_tokens : int, optional
            Longest text that the encoder reads to its end.
        n_least, n_most : int, optional
            Descriptions per label that are expected.

        Returns
        -------
        notes : list of DescriptionNote
            In the order of the labels; what reading the file brought to light comes first.
        """
        notes = list(self.notes)
        wanted = self.labels if labels is None else tuple(labels)
        for label in wanted:
            if label not in self.texts:
                message = f"{label!r} has no entry; its prompt will be the template alone."
                notes.append(DescriptionNote(kind="missing-label", label=label, message=message))
        unknown = [label for label in self.texts if labels is not None and label not in wanted]
        for label in unknown:
            message = f"{label!r} is none of the labels, so its descriptions are not used."
            notes.append(DescriptionNote(kind="unknown-label", label=label, message=message))
        parser = _name_parser(wanted)
        owners: dict[tuple[str, ...], str] = {}
        for label in self.texts:
            if label in unknown:
                continue
            notes += self._check_label(label, parser, count_tokens, max_tokens)
            notes += self._check_count(label, n_least, n_most)
            same = tuple(sorted(map(normalise, self.texts[label])))
            if same and same in owners:
                message = (
                    f"{label!r} has the same descriptions as {owners[same]!r}, so only the names "
                    "tell them apart."
                )
                notes.append(
                    DescriptionNote(kind="same-descriptions", label=label, message=message)
                )
            owners.setdefault(same, label)
        return notes

    def _check_label(
        self,
        label: str,
        parser: Callable[[str], list[str]],
        count_tokens: Callable[[str], int] | None,
        max_tokens: int | None,
    ) -> Iterator[DescriptionNote]:
        if not self.texts[label]:
            message = f"{label!r} has no description; its prompt will be the template alone."
            yield DescriptionNote(kind="no-descriptions", label=label, message=message)
        own = f" {normalise(label)} "
        seen: set[str] = set()
        for text in self.texts[label]:
            plain = normalise(text)
            if plain in seen:
                message = (
                    f"{label!r}: {text!r} stands there twice, which is a hidden weight of 2. Use "
                    "`without_repeats`, or give weights."
                )
                yield DescriptionNote(
                    kind="repeated-description", label=label, text=text, message=message
                )
            seen.add(plain)
            for other in parser(text):
                if f" {normalise(other)} " not in own:  # "bear cub" may speak of a bear
                    message = f"{label!r}: {text!r} names another label, {other!r}."
                    yield DescriptionNote(
                        kind="names-other-label", label=label, text=text, message=message
                    )
            if count_tokens is not None and max_tokens is not None:
                n_tokens = count_tokens(text)
                if n_tokens > max_tokens:
                    message = (
                        f"{label!r}: {text[:60]!r}... has {n_tokens} tokens, and the encoder reads "
                        f"{max_tokens}."
                    )
                    yield DescriptionNote(kind="too-long", label=label, text=text, message=message)

    def _check_count(
        self, label: str, n_least: int | None, n_most: int | None
    ) -> Iterator[DescriptionNote]:
        n = len(self.texts[label])
        few, many = n_least is not None and n < n_least, n_most is not None and n > n_most
        if n and (few or many):
            bound = f"at least {n_least}" if few else f"at most {n_most}"
            message = f"{label!r} has {n} descriptions, and {bound} are expected."
            yield DescriptionNote(kind="count", label=label, message=message)

    def diff(self, other: DescriptionSet) -> DescriptionDiff:
        """Say what `other` has and lacks beside this set.

        Parameters
        ----------
        other : DescriptionSet
            The later one.
        """
        added, removed, n_kept = {}, {}, 0
        for label in dict.fromkeys((*self.texts, *other.texts)):
            before, after = self.texts.get(label, ()), other.texts.get(label, ())
            old, new = set(map(normalise, before)), set(map(normalise, after))
            plus = tuple(text for text in after if normalise(text) not in old)
            minus = tuple(text for text in before if normalise(text) not in new)
            if plus:
                added[label] = plus
            if minus:
                removed[label] = minus
            n_kept += len(old & new)
        return DescriptionDiff(
            added=added,
            removed=removed,
            n_kept=n_kept,
            new_labels=tuple(label for label in other if label not in self.texts),
            lost_labels=tuple(label for label in self if label not in other.texts),
        )

    # Others made from it

    def without_repeats(self) -> DescriptionSet:
        """Return the set with every description of a label once; the first spelling stays.

        The weights of repeated descriptions are added up where there are weights.
        """
        texts, weights = {}, {}
        for label, given in self.texts.items():
            sums: dict[str, float] = {}
            first: dict[str, str] = {}
            for text, weight in zip(given, self.weights_of(label), strict=True):
                plain = normalise(text)
                first.setdefault(plain, text)
                sums[plain] = sums.get(plain, 0.0) + weight
            texts[label] = tuple(first.values())
            if label in self.weights:
                weights[label] = tuple(sums.values())
        return replace(self, texts=texts, weights=weights)

    def restricted(self, labels: Sequence[str]) -> DescriptionSet:
        """Return the descriptions of these labels, in this order; () for those it lacks."""
        return replace(
            self,
            texts={label: self.texts.get(label, ()) for label in labels},
            weights={label: self.weights[label] for label in labels if label in self.weights},
            notes=(),
        )

    def with_texts(self, changes: Mapping[str, Sequence[str]]) -> DescriptionSet:
        """Return the set with other descriptions for some labels; their weights are dropped."""
        texts = {**self.texts, **{label: tuple(given) for label, given in changes.items()}}
        weights = {label: w for label, w in self.weights.items() if label not in changes}
        return replace(self, texts=texts, weights=weights)

    # Files

    def to_record(self) -> dict[str, Any]:
        """Return plain values, as the JSON file holds them."""
        known = {key: value for key, value in vars(self.provenance).items() if value}
        record: dict[str, Any] = {"showtell": _FORMAT, "kind": self.kind}
        if self.domain:
            record["domain"] = self.domain
        if known:
            record["provenance"] = known
        record["descriptions"] = {
            label: [
                text if weight == 1.0 else {"text": text, "weight": weight}
                for text, weight in zip(given, self.weights_of(label), strict=True)
            ]
            for label, given in self.texts.items()
        }
        return record

    def write(self, path: str | os.PathLike[str]) -> Path:
        """Write a file: ``.json``, ``.yaml`` or ``.csv`` by its ending.

        CSV holds a row per description and nothing else: kind, domain and provenance stay behind.

        Raises
        ------
        InputError
            If the ending is another one, or the file cannot be written.
        MissingExtraError
            For YAML, without the extra ``yaml``.
        """
        target = Path(path)
        ending = _ending(target)
        if ending == ".csv":
            text = _to_csv(self)
        elif ending == ".json":
            text = json_text(self.to_record(), indent=2) + "\n"
        else:
            yaml = need("yaml", extra="yaml", what="Writing YAML")
            record = self.to_record()
            # With escapes for all that is not ASCII, where some of it would steer a terminal.
            readable = json_text(record) == json.dumps(record, ensure_ascii=False)
            text = yaml.safe_dump(record, allow_unicode=readable, sort_keys=False, width=100)
        return write_whole(target, text)


def read_descriptions(
    source: DescriptionSet | Mapping[str, Any] | str | os.PathLike[str],
    *,
    kind: DescriptionKind | None = None,
) -> DescriptionSet:
    """Read a description set.

    Parameters
    ----------
    source : DescriptionSet, mapping or path
        A set is returned as it is. A mapping of label to descriptions, or a file:

        - ``.json`` or ``.yaml``: as `DescriptionSet.write` makes it, or a plain object of label
          to list of texts, as published with DCLIP and WaffleCLIP;
        - ``.csv``: the columns ``label`` and ``description``, and ``weight`` if there are weights.
    kind : {"phrases", "sentences"}, optional
        Where the file does not say: "phrases" unless most descriptions end like sentences.

    Returns
    -------
    descriptions : DescriptionSet

    Raises
    ------
    InputError
        If the file cannot be read or is something else. A label that stands there twice is no
        error: the later entry counts, and `DescriptionSet.check` says so.

    Examples
    --------
    >>> read_descriptions({"cat": ["whiskers", "a long tail"]})
    <DescriptionSet: 2 phrases of 1 labels>
    """
    if isinstance(source, DescriptionSet):
        return source
    if isinstance(source, Mapping):
        return _from_value(dict(source), "descriptions", kind, ())
    path = Path(source)
    ending = _ending(path)
    text = read_text(path, "file of descriptions", most=TEXT_BYTES, error=InputError)
    where = repr(str(path))
    with loading(where, error=InputError):
        if ending == ".csv":
            return _from_csv(text, where, kind)
        repeated: list[str] = []
        if ending == ".json":
            value = _from_json(text, where, repeated)
        else:
            value = parse_yaml(text, where, error=InputError)
        return _from_value(value, where, kind, repeated)


def _ending(path: Path) -> str:
    ending = path.suffix.lower()
    if ending not in _ENDINGS:
        raise InputError(
            f"Description sets are files that end in {', '.join(_ENDINGS)}; got {str(path)!r}."
        )
    return ending


def _from_json(text: str, where: str, repeated: list[str]) -> Any:
    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        keys = [key for key, _ in found]
        repeated.extend(dict.fromkeys(key for key in keys if keys.count(key) > 1))
        return dict(found)

    def quick(found: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(found)
        return made if len(made) == len(found) else pairs(found)

    return parse_json(text, where, error=InputError, hook=quick)


def _from_value(
    value: Any, where: str, kind: DescriptionKind | None, repeated: Sequence[str]
) -> DescriptionSet:
    if not isinstance(value, dict):
        raise InputError(
            f"{where} must hold an object of label to descriptions, got {type(value).__name__}."
        )
    parts = value.get("parts") if "domain" in value else None
    is_tree = isinstance(parts, list) and any(isinstance(part, Mapping) for part in parts)
    if is_tree or str(value.get("showtell")).startswith("concepts-"):
        raise InputError(
            f"{where} is a concept tree, not descriptions of labels. It goes with the methods "
            "'concepts' and 'concept-forest'; `showtell describe` writes descriptions."
        )
    is_ours = "showtell" in value and isinstance(value.get("descriptions"), dict)
    if is_ours and value["showtell"] != _FORMAT:
        raise InputError(
            f"{where} has the format {value['showtell']!r}; this version reads {_FORMAT!r}."
        )
    given = value["descriptions"] if is_ours else value
    texts: dict[str, list[str]] = {}
    weights: dict[str, list[float]] = {}
    for label, entries in given.items():
        texts[str(label)], numbers = _entries(entries, str(label), where)
        if any(number != 1.0 for number in numbers):
            weights[str(label)] = numbers
    found = value.get("provenance") if is_ours else None
    stated_source = found if isinstance(found, dict) else {}
    known = {name: stated_source[name] for name in vars(Provenance()) if name in stated_source}
    domain = value.get("domain", value.get("concept")) if is_ours else None  # its former name
    stated = value.get("kind") if is_ours else None
    notes = [
        DescriptionNote(
            kind="repeated-label",
            label=label,
            message=f"{label!r} stands in {where} more than once; its last entry counts.",
        )
        for label in repeated
        if label in texts
    ]
    return DescriptionSet(
        texts,  # type: ignore[arg-type]  # made tuples of in there
        kind=kind or stated or _guess_kind(texts),
        weights=weights,  # type: ignore[arg-type]
        domain=None if domain is None else str(domain),
        provenance=Provenance(**known),
        notes=tuple(notes),
    )


def _entries(entries: Any, label: str, where: str) -> tuple[list[str], list[float]]:
    if entries is None:
        return [], []
    listed = entries if isinstance(entries, list | tuple) else [entries]
    texts, weights = [], []
    for entry in listed:
        weight: Any = 1.0
        text = entry
        if isinstance(entry, Mapping):
            text, weight = entry.get("text"), entry.get("weight", 1.0)
        if not isinstance(text, str) or isinstance(weight, bool | str):
            raise InputError(
                f"{where}: {label!r} has the entry {entry!r}. A description is a text, or "
                '{"text": ..., "weight": 2}.'
            )
        texts.append(text)
        weights.append(float(weight))
    return texts, weights


def _from_csv(text: str, where: str, kind: DescriptionKind | None) -> DescriptionSet:
    rows = csv.DictReader(io.StringIO(text, newline=""))
    columns = [name.strip() for name in rows.fieldnames or ()]
    if not {"label", "description"} <= set(columns):
        raise InputError(
            f"{where} needs the columns 'label' and 'description' (and may have 'weight'); it has: "
            f"{', '.join(columns) or 'none'}."
        )
    rows.fieldnames = columns
    texts: dict[str, list[str]] = {}
    weights: dict[str, list[float]] = {}
    for row in rows:
        label, said = (row["label"] or "").strip(), (row["description"] or "").strip()
        if not label and not said:
            continue
        texts.setdefault(label, [])
        weights.setdefault(label, [])
        if not said:
            continue  # a label without descriptions keeps its row
        number = (row.get("weight") or "").strip()
        try:
            weight = float(number) if number else 1.0
        except ValueError:
            raise InputError(
                f"{where}, line {rows.line_num}: the weight {number!r} is no number."
            ) from None
        texts[label].append(said)
        weights[label].append(weight)
    used = {label: w for label, w in weights.items() if any(number != 1.0 for number in w)}
    return DescriptionSet(
        texts,  # type: ignore[arg-type]
        kind=kind or _guess_kind(texts),
        weights=used,  # type: ignore[arg-type]
    )


def _to_csv(descriptions: DescriptionSet) -> str:
    weighted = bool(descriptions.weights)
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(_COLUMNS if weighted else _COLUMNS[:2])
    for label, given in descriptions.texts.items():
        numbers = descriptions.weights_of(label)
        for text, weight in zip(given, numbers, strict=True):
            writer.writerow([escaped(label), escaped(text), *([f"{weight:g}"] if weighted else [])])
        if not given:
            writer.writerow([escaped(label), "", *([""] if weighted else [])])
    return out.getvalue()


def _guess_kind(texts: Mapping[str, Sequence[str]]) -> DescriptionKind:
    every = [text for given in texts.values() for text in given]
    n_ended = sum(text.rstrip().endswith((".", "!")) for text in every)
    return "sentences" if every and n_ended > len(every) / 2 else "phrases"


def _texts_of(given: Any, label: str) -> tuple[str, ...]:
    if isinstance(given, str):
        raise InputError(
            f"The descriptions of {label!r} must be a list of texts, got the text {given!r}. Write "
            f"[{given!r}]."
        )
    texts = tuple(given)
    for text in texts:
        if not isinstance(text, str) or not text.strip():
            raise InputError(f"{label!r} has the description {text!r}, which is no text. Drop it.")
    return tuple(" ".join(text.split()) for text in texts)


def _weights_of(numbers: Sequence[float], label: str, n: int) -> tuple[float, ...]:
    weights = tuple(float(number) for number in numbers)
    if len(weights) != n or not all(0 < weight < float("inf") for weight in weights):
        raise InputError(
            f"{label!r} has {n} descriptions and the weights {list(weights)}. Give one positive "
            "number for each."
        )
    return weights


def _name_parser(labels: Sequence[str]) -> Callable[[str], list[str]]:
    """Return a function that names the labels a text contains, as whole words."""
    if not labels:
        return lambda _text: []
    try:
        parser = AnswerParser(list(labels))
    except InputError:  # labels that only differ in case or dashes: nothing to tell apart
        return lambda _text: []

    def named(text: str) -> list[str]:
        found = parser.parse(text)
        return [labels[code] for code in found.candidates or (found.code,) if code is not None]

    return named
