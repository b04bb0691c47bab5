"""From the text of an answer about several images to one outcome for each of them, joined by id.

Position never counts: what carries no id that was asked for answers nothing. Texts are read with
patience (prose around the JSON, code fences, a tail that was cut off, misnamed fields), labels by
the rules of `AnswerParser`, and nothing is guessed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from showtell.errors import InputError
from showtell.mllm.json_repair import json_values, without_open_reasoning
from showtell.prompts.answers import AnswerParser, normalise

OutcomeStatus: TypeAlias = Literal["answered", "missing", "conflict", "out_of_set", "refused"]

OUTCOMES: tuple[OutcomeStatus, ...] = ("answered", "missing", "conflict", "out_of_set", "refused")
"""The first has a label; the others are to be asked again or given up."""

_ID_FIELDS = ("id", "image_id", "input_image_id", "query_id", "image")
_LABEL_FIELDS = ("label", "class", "category", "answer", "prediction")
_NO_LABEL = {"confidence", "n_images", "reason", "explanation", "rationale", "description"}
_LINE = re.compile(
    r"^[\s*#>\-]*(?:image\s+)?[\"'`(\[]*(\S+?)[\"'`)\]*]*\s*(?::|=|->|→|–|-)\s*(.+)$", re.IGNORECASE
)
_CONFIDENCE = re.compile(r"\s*(\d{1,3}(?:\.\d+)?)\s*(?:/\s*10\s*)?")
_MAX_DEPTH = 30


@dataclass(frozen=True, kw_only=True, slots=True)
class QueryOutcome:
    """What an answer says about one image."""

    id: str
    status: OutcomeStatus
    code: int | None = None
    """Index of the label; None unless answered."""
    confidence: float | None = None
    """0 to 1 as the model says; None if it does not say."""
    text: str = ""
    """The label as it came."""


@dataclass(frozen=True, kw_only=True)
class Reconciled:
    """What an answer says about each image asked about."""

    outcomes: Mapping[str, QueryOutcome]
    """Id to outcome, exactly one for each id asked about."""
    unknown_ids: tuple[str, ...] = ()
    """Ids in the answer that nobody asked about."""
    n_images: int | None = None
    """How many images the model counted; None if it does not say."""
    repaired: bool = False
    """Whether the text was something other than the JSON asked for."""

    @property
    def open(self) -> tuple[str, ...]:
        """Ids without a label, in the order asked."""
        return tuple(i for i, o in self.outcomes.items() if o.status != "answered")


def reconcile(
    text: str, ids: Sequence[str], parser: AnswerParser, *, cut: bool = False
) -> Reconciled:
    """Find out what an answer says about each image.

    Parameters
    ----------
    text : str
        The answer.
    ids : sequence of str
        The ids asked about; all differ.
    parser : AnswerParser
        Of the label set, as its labels were written in the request.
    cut : bool, default=False
        The text was cut off at its longest. Then only what it says completely counts: objects and
        lines that are closed, and nothing of reasoning that has not ended.

    Returns
    -------
    reconciled : Reconciled
        ``missing``: no answer carries the id. ``conflict``: several do, and they differ.
        ``out_of_set``: the label is none of the set. ``refused``: the whole text declines.

    Raises
    ------
    InputError
        If there are no ids, or one comes twice.

    Notes
    -----
    A single image needs no id to be joined by: where one is asked about, an answer without any id
    counts, and so does a bare label. An answer with another id never does.

    Examples
    --------
    >>> answer = '{"n_images": 2, "answers": [{"id": "b", "label": "cat", "confidence": 8},'
    >>> found = reconcile(answer, ["a", "b"], AnswerParser(["cat", "dog"]))
    >>> found.outcomes["b"].code, found.outcomes["b"].confidence, found.open
    (0, 0.8, ('a',))
    """
    if not ids or len(set(ids)) < len(ids):
        raise InputError(f"`ids` must be texts that all differ, at least one; got {list(ids)!r}.")
    if cut:
        text = without_open_reasoning(text)
    reader = _Reader(ids, parser)
    values, clean = json_values(text, pairs_hook=_pairs)
    for value in values:
        reader.read(value)
    if not reader.found and not reader.unknown:
        clean = False
        reader.read_lines(text.rpartition("\n")[0] if cut else text)
    if not reader.found and not reader.unknown and len(ids) == 1:
        reader.read_bare("" if cut else text, values)
    if not cut and not reader.found and not reader.unknown and parser.parse(text).rule == "refusal":
        outcomes = {i: QueryOutcome(id=i, status="refused", text=_short(text)) for i in ids}
        return Reconciled(outcomes=outcomes, repaired=True)
    return Reconciled(
        outcomes={i: reader.outcome(i) for i in ids},
        unknown_ids=tuple(reader.unknown),
        n_images=reader.n_images,
        repaired=not clean or reader.misnamed,
    )


@dataclass(frozen=True, slots=True)
class _Found:
    """One statement about one image."""

    code: int | None
    confidence: float | None
    text: str


class _Several(list[Any]):
    """Values of a key that stands in an object more than once."""


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Object of a JSON text; a key written twice with different values keeps both."""
    fields: dict[str, Any] = {}
    for key, value in pairs:
        if key in fields and fields[key] != value:
            before = fields[key]
            fields[key] = _Several([*(before if isinstance(before, _Several) else [before]), value])
        else:
            fields[key] = value
    return fields


class _Reader:
    """Collects what is said about the ids asked for."""

    def __init__(self, ids: Sequence[str], parser: AnswerParser) -> None:
        self.parser = parser
        self.ids = {i.casefold(): i for i in ids} | {i: i for i in ids}
        self.single = ids[0] if len(ids) == 1 else None
        self.found: dict[str, list[_Found]] = {}
        self.unknown: dict[str, None] = {}
        self.n_images: int | None = None
        self.misnamed = False

    def read(self, value: Any) -> None:
        """Look for statements in a JSON value, whatever it is wrapped in."""
        queue: list[tuple[Any, int]] = [(value, 0)]
        for node, depth in queue:  # grows while it is read
            if depth > _MAX_DEPTH:
                continue
            if isinstance(node, list):
                queue += [(child, depth + 1) for child in node]
            elif isinstance(node, dict) and not self._statement(node):
                self._read_count(node)
                self._read_by_key(node)
                queue += [(c, depth + 1) for c in node.values() if isinstance(c, dict | list)]

    def _statement(self, fields: dict[str, Any]) -> bool:
        """Take an object with an id; False if it is none."""
        key = next((k for k in _ID_FIELDS if _is_plain(fields.get(k))), None)
        if key is None:
            return False
        self._take(str(fields[key]), {k: v for k, v in fields.items() if k != key})
        return True

    def _take(self, name: str, fields: Mapping[str, Any]) -> None:
        known = self._asked(name)
        if known is None:
            self.unknown[_short(name)] = None
        else:
            self.found.setdefault(known, []).extend(self._labels(fields))

    def _asked(self, name: str) -> str | None:
        """Id asked for that a text is; None if it is another one."""
        if name in self.ids:
            return self.ids[name]
        bare = name.strip().casefold()
        return self.ids.get(bare) or self.ids.get(bare.removeprefix("image ").strip(" :."))

    def _read_count(self, fields: dict[str, Any]) -> None:
        count = fields.get("n_images")
        if isinstance(count, int) and not isinstance(count, bool):
            self.n_images = count

    def _read_by_key(self, fields: dict[str, Any]) -> None:
        """Take ``{"id": "label"}`` and ``{"id": {"label": ...}}``."""
        for key, value in fields.items():
            if (known := self._asked(key)) is None:
                continue
            inside = value if isinstance(value, dict) else {"label": value}
            self.misnamed = True
            self.found.setdefault(known, []).extend(self._labels(inside))

    def _labels(self, fields: Mapping[str, Any]) -> Iterator[_Found]:
        """Yield what the fields of a statement name: several where they contradict each other."""
        confidence = _confidence(fields.get("confidence"))
        key = next((k for k in _LABEL_FIELDS if fields.get(k) is not None), None)
        self.misnamed |= key != "label"
        if key is not None:
            value = fields[key]
            for one in value if isinstance(value, _Several) else [value]:
                yield self._found(one, confidence)
            return
        others = [v for k, v in fields.items() if k not in _NO_LABEL and isinstance(v, str)]
        codes = {code for v in others if (code := self._exact(v)) is not None}
        if len(codes) == 1:
            yield _Found(codes.pop(), confidence, _short(others[0]))

    def _found(self, value: Any, confidence: float | None) -> _Found:
        if not _is_plain(value):
            return _Found(None, confidence, _short(json.dumps(value, default=str)))
        return _Found(self.parser.parse(str(value)).code, confidence, _short(str(value)))

    def _exact(self, text: str) -> int | None:
        answer = self.parser.parse(text)
        return answer.code if answer.rule in ("exact", "alias") else None

    def read_lines(self, text: str) -> None:
        """Take lines such as ``k3f9: cat``."""
        for line in text.splitlines():
            match = _LINE.match(line) if len(line) < 1000 else None
            if match and (known := self._asked(match[1])) is not None:
                self.found.setdefault(known, []).append(self._found(match[2], None))

    def read_bare(self, text: str, values: Sequence[Any]) -> None:
        """Take an answer about the only image, which needs no id."""
        assert self.single is not None
        said: list[_Found] = []
        queue = list(values)
        for node in queue[:1000]:
            for item in node if isinstance(node, list) else [node]:
                if isinstance(item, dict):
                    inner = item.get("answers")
                    for fields in inner if isinstance(inner, list) else [item]:
                        if isinstance(fields, dict):
                            said += self._labels(fields)
        if not said:
            answer = self.parser.parse(text)
            if answer.rule in ("refusal", "empty"):
                return
            if answer.code is not None or (not values and normalise(text)):
                said.append(_Found(answer.code, None, _short(text)))
        if said:
            self.found[self.single] = said

    def outcome(self, name: str) -> QueryOutcome:
        """Judge what was said about one image."""
        said = self.found.get(name)
        if not said:
            return QueryOutcome(id=name, status="missing")
        codes = {one.code for one in said}
        if len(codes) > 1:
            text = " / ".join(dict.fromkeys(one.text for one in said))
            return QueryOutcome(id=name, status="conflict", text=_short(text))
        if codes == {None}:
            return QueryOutcome(id=name, status="out_of_set", text=said[0].text)
        sure = [one.confidence for one in said if one.confidence is not None]
        return QueryOutcome(
            id=name,
            status="answered",
            code=said[0].code,
            confidence=min(sure) if sure else None,
            text=said[0].text,
        )


def _is_plain(value: Any) -> bool:
    return isinstance(value, str | int | float) and not isinstance(value, bool)


def _confidence(value: Any) -> float | None:
    """Read 0 to 10, as a number or in words such as "8/10"; None for anything else."""
    if isinstance(value, str):
        match = _CONFIDENCE.fullmatch(value)
        value = float(match[1]) if match else None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 10:
        return None
    return float(value) / 10


def _short(text: str) -> str:
    """One line of at most 200 characters."""
    line = " ".join(text[:1000].split())
    return line if len(line) <= 200 else f"{line[:197]}..."
