"""Which labels a question allows: from the command line, from a file, beside class folders."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from showtell.datasets.files import canonical_split, is_folder, shown, suffix_of
from showtell.errors import DataError
from showtell.records.reading import TEXT_BYTES, csv_rows, parse_json, read_text

_LABEL_COLUMNS = ("label", "name", "class", "category")
_DESCRIPTION_COLUMNS = ("description", "descriptions")
_ALIAS_COLUMNS = ("alias", "aliases")


@dataclass(frozen=True, kw_only=True)
class LabelSet:
    """An ordered set of labels, with what is known about each.

    Parameters
    ----------
    labels : tuple of str
        At least one; all differ, also when upper and lower case count as the same.
    descriptions : dict of str to list of str
        Sentences on how a label looks. Labels without any are left out.
    aliases : dict of str to list of str
        Other names that mean the label. An alias belongs to one label and is none itself.

    Raises
    ------
    DataError
        If a label is empty, occurs twice, or an alias is not clear.

    Examples
    --------
    >>> LabelSet(labels=("cat", "dog"), aliases={"dog": ["hound"]}).find("hound")
    'dog'
    """

    labels: tuple[str, ...]
    descriptions: dict[str, list[str]] = field(default_factory=dict)
    aliases: dict[str, list[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        seen: dict[str, str] = {}
        for position, label in enumerate(self.labels, 1):
            if not label.strip():
                raise DataError(f"Label {position} of {len(self.labels)} is empty.")
            folded = label.casefold()
            if folded in seen:
                twin = seen[folded]
                how = "occurs twice" if twin == label else f"differs from {twin!r} only by case"
                raise DataError(f"Label {label!r} {how}. Name every label once.")
            seen[folded] = label
        for label, names in self.aliases.items():
            for name in names:
                other = seen.setdefault(name.casefold(), label)
                if other != label:
                    raise DataError(
                        f"Alias {name!r} of label {label!r} also stands for {other!r}. "
                        "A name may mean one label only."
                    )
        if not self.labels:
            raise DataError("There are no labels. Name at least one, for example 'cat,dog'.")
        unknown = (set(self.descriptions) | set(self.aliases)) - set(self.labels)
        if unknown:
            raise DataError(
                f"Described, but not in the label set: {', '.join(sorted(map(repr, unknown)))}."
            )

    def find(self, name: str) -> str | None:
        """Return the label that `name` is, or is an alias of; None if there is none."""
        if name in self.labels:
            return name
        for label, names in self.aliases.items():
            if name in names:
                return label
        return None


def parse_labels(
    labels: str | Iterable[str] | None = None, *, labels_file: str | os.PathLike[str] | None = None
) -> LabelSet:
    """Read the labels a person named, or a file of labels.

    Parameters
    ----------
    labels : str or iterable of str, optional
        Names between commas; ``name=description`` describes one. Double quotes keep commas and
        equals signs together, and are doubled inside quotes. Several texts are read one after
        the other.
    labels_file : path, optional
        - ``.json``: a list of names; or an object of name to description, list of descriptions,
          or ``{"description": ..., "aliases": ...}``. A ``labels.json`` beside class folders
          maps folder names to label words: the words are the labels, the folder names aliases.
        - ``.csv``, ``.tsv``: a column ``label`` (or ``name``, ``class``, ``category``) and
          optional columns ``description`` and ``alias``; several values in a cell stand between
          ``|``.
        - anything else: one label per line, ``name=description`` allowed; empty lines are
          passed over.

    Returns
    -------
    label_set : LabelSet
        In the order given.

    Raises
    ------
    DataError
        If the text or file cannot be read, a label is empty or occurs twice. The message names
        the file and line.

    Examples
    --------
    >>> parse_labels('cat, dog=a barking animal, "salt, pepper"')
    LabelSet(labels=('cat', 'dog', 'salt, pepper'), descriptions={'dog': ['a barking animal']},
             aliases={})
    """
    if (labels is None) == (labels_file is None):
        raise DataError("Give either the labels or a file of labels, one of both.")
    if labels_file is not None:
        return _read_label_file(os.fspath(labels_file))
    assert labels is not None
    entries = []
    for text in [labels] if isinstance(labels, str) else labels:
        entries += [_name_and_description(item, text) for item in _split_items(text)]
    return _label_set(entries)


@dataclass(frozen=True, kw_only=True)
class _Entry:
    label: str
    descriptions: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()


def _label_set(entries: Sequence[_Entry], where: str = "") -> LabelSet:
    """Join entries; errors get the place in front."""
    try:
        labels = tuple(entry.label for entry in entries)
        label_set = LabelSet(labels=labels)  # names each problem with the labels themselves
        return LabelSet(
            labels=label_set.labels,
            descriptions={e.label: list(e.descriptions) for e in entries if e.descriptions},
            aliases={e.label: list(e.aliases) for e in entries if e.aliases},
        )
    except DataError as error:
        raise DataError(f"{where}: {error}" if where else str(error)) from None


def _clean(text: str) -> str:
    """Strip a name and make every run of blanks one space."""
    return " ".join(text.split())


def _split_items(text: str, separator: str = ",") -> list[str]:
    """Split at the separators outside of double quotes; quotes stay."""
    items, quoted, start = [], False, 0
    for position, character in enumerate(text):
        if character == '"':
            quoted = not quoted
        elif character == separator and not quoted:
            items.append(text[start:position])
            start = position + 1
    if quoted:
        raise DataError(f"A double quote is opened but not closed in {text!r}.")
    return [*items, text[start:]]


def _unquote(text: str) -> str:
    """Take double quotes away; a doubled quote inside quotes is one."""
    text = _clean(text)
    if len(text) > 1 and text[0] == text[-1] == '"':
        text = text[1:-1].replace('""', '"')
    return _clean(text)


def _name_and_description(item: str, text: str) -> _Entry:
    """Read ``name`` or ``name=description``."""
    name, *rest = _split_items(item, "=")
    label, description = _unquote(name), _unquote("=".join(rest))
    if not label:
        raise DataError(f"A label is empty in {text!r}. Write names between commas: 'cat,dog'.")
    if rest and not description:
        raise DataError(f"Label {label!r} has an equals sign but no description after it.")
    return _Entry(label=label, descriptions=(description,) if rest else ())


def _read_text(path: str) -> str:
    """Return the text of a small UTF-8 file."""
    return read_text(path, "file of labels", most=TEXT_BYTES)


def _read_label_file(path: str) -> LabelSet:
    text, where = _read_text(path), shown(path)
    suffix = suffix_of(path)
    if text.startswith("%PDF"):
        raise DataError(
            f"{where} is a PDF document. Write the labels into a text file, one a line."
        )
    if suffix == ".json":
        value = _parse_json(text, where)
        _refuse_our_other_files(value, where)
        words = _folder_words(value, path)
        if words is not None:
            return words
        return _label_set(_entries_of_json(value, where), where)
    if suffix in {".csv", ".tsv", ".tab"}:
        delimiter = "," if suffix == ".csv" else "\t"
        return _label_set(_entries_of_csv(text, where, delimiter), where)
    entries = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            try:
                entries.append(_name_and_description(line, line))
            except DataError as error:
                raise DataError(f"{where} line {number}: {error}") from None
    return _label_set(entries, where)


def _refuse_our_other_files(value: Any, where: str) -> None:
    """Say where a file of descriptions or a concept tree belongs instead."""
    what, option = {
        "descriptions": ("descriptions", "--descriptions"),
        "concepts": ("a concept tree", "--concepts"),
    }.get(str(value.get("showtell")).split("-")[0] if isinstance(value, dict) else "", ("", ""))
    if what:
        raise DataError(
            f"{where} holds {what}, not labels. Give it with {option}; labels are a list, or an "
            "object of label to description."
        )


def _parse_json(text: str, where: str) -> Any:
    return parse_json(text, where, hook=_unique_keys)


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse a name that stands twice in one object, which JSON readers silently drop."""
    value = dict(pairs)
    if len(value) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the name {twice!r} stands twice in one object")
    return value


def _texts(value: Any, what: str) -> tuple[str, ...]:
    """Read a text or a list of texts."""
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list) or not all(isinstance(v, str) and v.strip() for v in values):
        raise DataError(f"{what} must be a text or a list of texts that are not empty.")
    return tuple(_clean(v) for v in values)


def _entries_of_json(value: Any, where: str) -> list[_Entry]:
    if isinstance(value, list):
        for item in value:
            if not isinstance(item, str):
                raise DataError(f"{where}: a list of labels must hold texts, got {item!r:.60}.")
        return [_Entry(label=_clean(item)) for item in value]
    if not isinstance(value, dict):
        raise DataError(
            f"{where}: expected a list of labels, or an object of label to description; "
            f"got {value!r:.60}."
        )
    entries = []
    for name, about in value.items():
        what = f"{where}: the description of label {name!r}"
        if isinstance(about, dict):
            unknown = set(about) - {*_DESCRIPTION_COLUMNS, *_ALIAS_COLUMNS}
            if unknown:
                raise DataError(
                    f"{where}: label {name!r} has {', '.join(sorted(map(repr, unknown)))}; "
                    "allowed are 'description' and 'aliases'."
                )
            found = {
                kind: tuple(
                    text
                    for key in keys
                    if about.get(key) is not None
                    for text in _texts(about[key], f"{where}: {key!r} of label {name!r}")
                )
                for kind, keys in (("d", _DESCRIPTION_COLUMNS), ("a", _ALIAS_COLUMNS))
            }
            entry = _Entry(label=_clean(name), descriptions=found["d"], aliases=found["a"])
        elif about is None or about in ("", []):
            entry = _Entry(label=_clean(name))
        else:
            entry = _Entry(label=_clean(name), descriptions=_texts(about, what))
        entries.append(entry)
    return entries


def _entries_of_csv(text: str, where: str, delimiter: str) -> list[_Entry]:
    stream = io.StringIO(text, newline="")
    rows = [
        (line, [_clean(cell) for cell in row])
        for line, row in csv_rows(stream, where, delimiter=delimiter, skipinitialspace=True)
        if any(cell.strip() for cell in row)
    ]
    if not rows:
        return []
    header = [cell.lstrip("#").strip().casefold() for cell in rows[0][1]]
    if len(header) == 1 and header[0] not in _LABEL_COLUMNS:
        return [_Entry(label=cells[0]) for _, cells in rows]  # names only, without a header
    label = _column(header, _LABEL_COLUMNS, where, needed=True)
    description = _column(header, _DESCRIPTION_COLUMNS, where)
    alias = _column(header, _ALIAS_COLUMNS, where)
    entries = []
    for line, cells in rows[1:]:
        if len(cells) != len(header):
            raise DataError(
                f"{where} line {line}: {len(cells)} values, but the header has {len(header)}."
            )
        if label is None or not cells[label]:
            raise DataError(f"{where} line {line}: the label is empty.")
        entries.append(
            _Entry(
                label=cells[label],
                descriptions=_values(cells, description),
                aliases=_values(cells, alias),
            )
        )
    return entries


def _values(cells: Sequence[str], column: int | None) -> tuple[str, ...]:
    if column is None:
        return ()
    return tuple(_clean(part) for part in cells[column].split("|") if part.strip())


def _column(
    header: Sequence[str], names: Sequence[str], where: str, *, needed: bool = False
) -> int | None:
    found = [i for i, name in enumerate(header) if name in names]
    if len(found) == 1:
        return found[0]
    if found or needed:
        raise DataError(
            f"{where}: exactly one column must be called {' or '.join(map(repr, names))}, "
            f"but the columns are {', '.join(map(repr, header))}."
        )
    return None


def read_folder_words(path: str) -> Mapping[str, str] | None:
    """Read a ``labels.json``: folder name to label word; None if there is no such file.

    Raises DataError if it is no JSON object of text to text.
    """
    if not os.path.isfile(path):
        return None
    where = shown(path)
    value = _parse_json(_read_text(path), where)
    if not isinstance(value, dict):
        raise DataError(
            f"{where} must be an object that maps folder names to label words, "
            f'such as {{"golden_retriever": "golden retriever"}}; got {value!r:.60}.'
        )
    for folder, word in value.items():
        if not isinstance(word, str) or not word.strip():
            raise DataError(
                f"{where}: folder {folder!r} must map to a label word, got {word!r:.60}."
            )
    return {folder: _clean(word) for folder, word in value.items()}


def _folder_words(value: Any, path: str) -> LabelSet | None:
    """Read a ``labels.json`` that lies beside the folders it names; None for any other file."""
    if os.path.basename(path) != "labels.json" or not isinstance(value, dict):
        return None
    if not all(isinstance(word, str) and word.strip() for word in value.values()):
        return None
    beside = os.path.dirname(path) or "."
    places = [beside]
    try:
        places += [e.path for e in os.scandir(beside) if canonical_split(e.name) and is_folder(e)]
        if not any(os.path.isdir(os.path.join(p, folder)) for p in places for folder in value):
            return None
    except (OSError, ValueError):
        return None
    folders: dict[str, list[str]] = {}
    for folder, word in value.items():
        folders.setdefault(_clean(word), []).append(folder)
    taken = {word.casefold() for word in folders}
    entries = []
    for word, names in folders.items():
        aliases = [name for name in names if name.casefold() not in taken]
        taken.update(name.casefold() for name in aliases)
        entries.append(_Entry(label=word, aliases=tuple(aliases)))
    return _label_set(entries, shown(path))
