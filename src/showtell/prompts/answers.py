"""From the words of an answer to a label of the label set, or to none; never a guess.

Rules, in this order; the first that yields exactly one label decides:

1. ``exact``: the whole answer is a label, after normalisation (`normalise`);
2. ``alias``: the whole answer is a declared other name of a label;
3. ``field``: one line, or one field of JSON in the answer, is a label or an alias;
4. ``containment``: labels and aliases are looked up as whole words; the longest match wins
   ("dense residential" over "residential" inside it) and exactly one label must remain;
5. otherwise there is no label: ``empty``, ``refusal``, ``ambiguous`` (several labels) or
   ``invalid``. All four count as wrong and are reported apart.

A plain test for the label inside the text would credit "cat" for "catfish" and is not done. Two
things follow from the rules as they stand. Meaning is not read: "not a cat" contains exactly one
label and is parsed as cat, and so is a refusal that names one. And words are told apart as
Unicode does it (UAX 29): scripts written without spaces (Chinese, Japanese kana other than
katakana, Thai, Lao, Khmer, Burmese) break after every character, so a label of such a script is
also found inside a longer word; ask for the bare label there, or put the longer words into the
label set.
"""

from __future__ import annotations

import functools
import json
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from showtell.errors import InputError, UnknownNameError

AnswerRule: TypeAlias = Literal[
    "exact", "alias", "field", "containment", "ambiguous", "invalid", "refusal", "empty"
]

ANSWER_RULES: tuple[AnswerRule, ...] = (
    "exact",
    "alias",
    "field",
    "containment",
    "ambiguous",
    "invalid",
    "refusal",
    "empty",
)
"""The first four give a label, the others none."""

_QUOTES = "\"'`"
_FINAL = (
    ".,;:!?\u2026\u3002\u3001\u061f\u06d4\u0964"  # with ideographic, Arabic and Devanagari stops
)
_PLAIN = str.maketrans(
    {
        **dict.fromkeys("\u2018\u2019\u201a\u201b\u2039\u203a\u02bc\u0060\u00b4", "'"),
        **dict.fromkeys("\u201c\u201d\u201e\u201f\u00ab\u00bb\u300c\u300d\u300e\u300f", '"'),
        **dict.fromkeys("_-\u2010\u2011\u2012\u2013\u2014\u2015\u2212", " "),
        # invisible: soft hyphen, zero-width space, word joiner, byte order mark, emoji variants
        **dict.fromkeys("\u00ad\u200b\u2060\ufeff\ufe0e\ufe0f"),
    }
)
_DASHES_KEPT = {key: value for key, value in _PLAIN.items() if value != " "}


def normalise(text: str) -> str:
    """Reduce a text to what counts when answers and labels are compared.

    Unicode NFKC, case folded, curly quotes made straight, invisible characters dropped, ``_`` and
    dashes to spaces, runs of white space to one space, quotes at both ends and final punctuation
    taken off. A text of nothing but such characters keeps them, so that a label "-" can be found.

    Parameters
    ----------
    text : str

    Returns
    -------
    text : str

    Examples
    --------
    >>> normalise(' "Dense_Residential." '), normalise("T-Shirt"), normalise("C++")
    ('dense residential', 't shirt', 'c++')
    """
    folded = _fold(text)
    bare = _strip(" ".join(folded.translate(_PLAIN).split()))
    return bare or " ".join(folded.translate(_DASHES_KEPT).split())


def _fold(text: str) -> str:
    """NFKC and case-folded; ASCII needs no tables for that."""
    if text.isascii():
        return text.lower()
    text = unicodedata.normalize("NFKC", text.translate(_DASHES_KEPT))
    return unicodedata.normalize("NFKC", text.casefold())


def _strip(text: str) -> str:
    """Take quotes off both ends and punctuation off the last."""
    return text.lstrip(_QUOTES + " ").rstrip(_QUOTES + _FINAL + " ")


# Words

_NUMBER = r"[0-9]+(?:[.,][0-9]+)+"  # "3.5" is no 3
_ASCII_WORD = re.compile(rf"{_NUMBER}|[0-9a-z]+|[^\s0-9a-z]")
# Scripts without spaces between words, and kana that Unicode breaks one by one.
_UNSPACED = (
    "\u0e01-\u0e3a\u0e40-\u0e4e\u0e81-\u0ecd\u0edc-\u0edf\u1000-\u103f\u1050-\u109d"
    "\u1780-\u17d3\u3005-\u3007\u3041-\u3096\u309d-\u309f\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    "\U00020000-\U0003ffff"
)


@functools.cache
def _unicode_word() -> re.Pattern[str]:
    """Pattern of one word or one sign in any script; made when the first non-ASCII text comes."""
    marks: list[str] = []  # combining marks belong to the word before, but \w leaves them out
    start = None
    for point in range(0x20000):  # beyond it: ideographs, and the selectors added below
        is_mark = unicodedata.category(chr(point))[0] == "M"
        if is_mark and start is None:
            start = point
        elif not is_mark and start is not None:
            marks.append(f"{re.escape(chr(start))}-{re.escape(chr(point - 1))}")
            start = None
    mark = "".join(marks) + "\U000e0100-\U000e01ef"
    # A word character that is not of an unspaced script: not (not \w, nor unspaced).
    return re.compile(rf"{_NUMBER}|[{_UNSPACED}][{mark}]*|(?:[^\W{_UNSPACED}]|[{mark}])+|[^\w\s]")


def _words(text: str) -> list[str]:
    """Words and single signs of a normalised text, in order."""
    return (_ASCII_WORD if text.isascii() else _unicode_word()).findall(text)


# What is no label

_REFUSAL = re.compile(
    r"\b(?:"
    r"(?:i|we)(?: am|'m| are|'re)? (?:very |so |truly )?(?:sorry|afraid)\b"
    r"|(?:i|we) apologi[sz]e"
    r"|(?:can ?not|can't|could not|couldn't|will not|won't|do not|don't|am not able to"
    r"|'m not able to|unable to|not able to)(?: (?:really|confidently|reliably|accurately))?"
    r" (?:assist|help|comply|fulfil|fulfill|identify|classify|determine|tell|say|see|view|answer"
    r"|process|provide|recogni[sz]e|know|make out|be (?:determined|identified|classified))"
    r"|(?:decline|refuse) to"
    r"|as an ai\b"
    r"|against (?:my|our|the) (?:policy|policies|guidelines)"
    r"|(?:content|usage) polic(?:y|ies)"
    r"|not sure"
    r"|es tut mir leid|tut mir leid|kann ich nicht|ich kann nicht|ich wei(?:ß|ss) (?:es )?nicht"
    r"|lo siento|no puedo|no s(?:é|e)\b"
    r"|d(?:é|e)sol(?:é|e)e?\b|je ne (?:peux|sais|puis) pas"
    r"|mi dispiace|non posso|non so\b|desculpe|n(?:ã|a)o posso|n(?:ã|a)o sei"
    r")"
    r"|无法|抱歉|不能|不知道|申し訳|できません|わかりません|죄송|извините|не могу"
)
_DECORATION = " \t*#>\u2022\u00b7~|()[]{}"
_JSON_ATTEMPTS = 16
_JSON_START = re.compile(r"[{\[]")


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedAnswer:
    """What an answer was taken for.

    Parameters
    ----------
    code : int or None
        Index of the label in the label set; None if there is no label.
    rule : {"exact", "alias", "field", "containment", "ambiguous", "invalid", "refusal", "empty"}
        The rule that decided; the last four give no label.
    text : str
        The answer as it came.
    matched : str
        The words that decided, normalised; "" if no rule matched.
    candidates : tuple of int
        Labels that were found, rising: one with a label, several when ambiguous, else none.
    """

    code: int | None
    rule: AnswerRule
    text: str
    matched: str = ""
    candidates: tuple[int, ...] = ()


class AnswerParser:
    """Turns answers into labels of one label set; made once, used for many answers.

    Parameters
    ----------
    labels : sequence of str, length n_classes
        The label set. Labels must differ after normalisation (`normalise`).
    aliases : mapping of str to sequence of str, optional
        Label to other names that mean it. An alias must not mean two labels.
    field : str, optional
        Name of the one JSON field that holds the answer, for answers that also have fields such
        as "reason" or "second choice". Default: any field.

    Raises
    ------
    InputError
        If there are no labels, one is empty, two are equal after normalisation, or an alias
        means two labels.
    UnknownNameError
        If an alias is declared for something that is no label.

    Examples
    --------
    >>> parser = AnswerParser(["cat", "dog"], {"dog": ["puppy"]})
    >>> [parser.parse(text).code for text in ("Cat.", "It looks like a puppy", "catfish")]
    [0, 1, None]
    """

    def __init__(
        self,
        labels: Sequence[str],
        aliases: Mapping[str, Sequence[str]] | None = None,
        *,
        field: str | None = None,
    ) -> None:
        if isinstance(labels, str) or not len(labels):
            raise InputError(f"A label set is a sequence of at least one label, got {labels!r}.")
        self.labels: tuple[str, ...] = tuple(str(label) for label in labels)
        self.field = field
        self._label: dict[str, int] = {}
        for code, label in enumerate(self.labels):
            name = normalise(label)
            if not name:
                raise InputError(f"Label {code} is empty ({label!r}); give it a name.")
            if name in self._label:
                raise InputError(
                    f"Labels {self.labels[self._label[name]]!r} and {label!r} are the same answer "
                    f"({name!r} after normalisation), so answers could not be told apart. Rename "
                    "or merge them."
                )
            self._label[name] = code
        self._alias = self._read_aliases(aliases or {})
        # Trie over words: node[word] is the next node, node[None] code and name that end there.
        self._trie: dict[Any, Any] = {}
        for name, code in [*self._label.items(), *self._alias.items()]:
            node = self._trie
            for word in _words(name):
                node = node.setdefault(word, {})
            node[None] = (code, name)

    def _read_aliases(self, aliases: Mapping[str, Sequence[str]]) -> dict[str, int]:
        """Check aliases and return normalised name to code."""
        code_of = {label: code for code, label in enumerate(self.labels)}
        found: dict[str, int] = {}
        for label, others in aliases.items():
            code = code_of.get(label, self._label.get(normalise(label)))
            if code is None:
                raise UnknownNameError(
                    "label", label, self.labels, "Aliases map a label to its other names."
                )
            for other in [others] if isinstance(others, str) else others:
                name = normalise(str(other))
                if not name:
                    raise InputError(f"Label {label!r} has an empty alias ({other!r}).")
                taken = self._label.get(name, found.get(name, code))
                if taken != code:
                    raise InputError(
                        f"Alias {other!r} of label {label!r} also means {self.labels[taken]!r}. "
                        "Each name may mean one label only."
                    )
                if name not in self._label:
                    found[name] = code
        return found

    def parse(self, text: object) -> ParsedAnswer:
        """Find the label that an answer names.

        Parameters
        ----------
        text : str or None
            The answer. None and NaN (an empty cell) count as empty, other things as their `str`.

        Returns
        -------
        answer : ParsedAnswer
            Always; an answer without a label has ``code`` None.
        """
        raw = _as_text(text)
        name = normalise(raw)
        code = self._label.get(name)
        if code is not None:
            return _found(code, "exact", raw, name)
        code = self._alias.get(name)
        if code is not None:
            return _found(code, "alias", raw, name)
        if not _strip(name.translate(_PLAIN)):
            return ParsedAnswer(code=None, rule="empty", text=raw)
        fields = _json_fields(raw)
        asked = normalise(self.field or "")
        own = [_as_text(v) for k, v in fields if normalise(k) == asked] if asked else []
        if own:  # the field that holds the answer is there: nothing else counts
            hit, name = self._by_field(own), normalise(" ".join(own))
            if not name:
                return ParsedAnswer(code=None, rule="empty", text=raw)
        else:
            words = [v for _, v in fields if isinstance(v, str)]
            numbers = [_as_text(v) for _, v in fields if not isinstance(v, str)]
            hit = self._by_field([*_lines(raw), *words])
            if hit is None and numbers and not any(map(self._lookup, words)):
                hit = self._by_field(numbers)  # a confidence is a number too, so words go first
        if hit is not None:
            return _found(hit[0], "field", raw, hit[1])
        found = self._by_containment(name)
        codes = tuple(sorted(set(found.values())))
        if len(codes) == 1:
            return _found(codes[0], "containment", raw, next(iter(found)))
        rule: AnswerRule = "ambiguous" if codes else "invalid"
        if not codes and _REFUSAL.search(" ".join(_fold(raw).translate(_DASHES_KEPT).split())):
            rule = "refusal"
        return ParsedAnswer(
            code=None, rule=rule, text=raw, matched=", ".join(found), candidates=codes
        )

    def _lookup(self, text: str) -> tuple[int, str] | None:
        """Code and normalised name if a piece of text as it stands is a label or an alias."""
        name = normalise(text)
        for _ in range(2):
            code = self._label.get(name, self._alias.get(name))
            if code is not None:
                return code, name
            undecorated = name.strip(_DECORATION)
            if undecorated == name:
                break
            name = normalise(undecorated)
        return None

    def _by_field(self, pieces: Iterable[str]) -> tuple[int, str] | None:
        """Code and name if exactly one label is named by lines or JSON fields as they stand."""
        found = {hit[0]: hit for hit in map(self._lookup, pieces) if hit is not None}
        return next(iter(found.values())) if len(found) == 1 else None

    def _by_containment(self, name: str) -> dict[str, int]:
        """Names that stand in a normalised text as whole words and in no longer one, with codes."""
        words = _words(name)
        found: dict[str, int] = {}
        covered = 0  # words before this belong to a match that started earlier
        for start, word in enumerate(words):
            node, end = self._trie.get(word), start + 1
            best: tuple[int, str] | None = None
            while node is not None:
                if None in node and end > covered:
                    best, covered = node[None], end
                node = node.get(words[end]) if end < len(words) else None
                end += 1
            if best is not None:
                found[best[1]] = best[0]
        return found


def _found(code: int, rule: AnswerRule, text: str, matched: str) -> ParsedAnswer:
    """Build an answer that is a label."""
    return ParsedAnswer(code=code, rule=rule, text=text, matched=matched, candidates=(code,))


def _as_text(value: object) -> str:
    """Text of a cell: "" for None and NaN, whole numbers without a decimal point."""
    if isinstance(value, str):
        return value
    if value is None or value != value:  # NaN is not equal to itself
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def _lines(text: str) -> Iterator[str]:
    """Lines of a text, without the marks of a code fence."""
    for line in text.splitlines():
        if not line.lstrip().startswith("```"):
            yield line


class _Object(list[tuple[str, Any]]):
    """A JSON object as pairs, so that a key written twice keeps both values."""


_DECODER = json.JSONDecoder(object_pairs_hook=_Object)


def _json_fields(text: str) -> list[tuple[str, Any]]:
    """Key and value of every plain value in the JSON inside a text, in code fences or not."""
    fields: list[tuple[str, Any]] = []
    position, attempts = 0, 0
    while attempts < _JSON_ATTEMPTS and (start := _JSON_START.search(text, position)):
        attempts += 1
        try:
            value, position = _DECODER.raw_decode(text, start.start())
        except (ValueError, RecursionError):  # no JSON here, or nested beyond reason
            position = start.end()
            continue
        queue = [("", value)]
        while queue:
            key, value = queue.pop()
            if isinstance(value, _Object):
                queue += reversed(value)
            elif isinstance(value, list):
                queue += [(key, item) for item in reversed(value)]
            elif isinstance(value, bool):
                fields.append((key, str(value).lower()))
            elif value is not None:
                fields.append((key, value))
    return fields


def parse_answer(
    text: object,
    labels: Sequence[str],
    aliases: Mapping[str, Sequence[str]] | None = None,
    *,
    field: str | None = None,
) -> ParsedAnswer:
    """Find the label that one answer names; for many answers make one `AnswerParser`.

    Parameters
    ----------
    text : str or None
        The answer.
    labels : sequence of str, length n_classes
        The label set.
    aliases : mapping of str to sequence of str, optional
        Label to other names that mean it.
    field : str, optional
        Name of the JSON field that holds the answer; default: any field.

    Returns
    -------
    answer : ParsedAnswer

    Raises
    ------
    InputError
        If the label set or the aliases cannot be used; see `AnswerParser`.

    Examples
    --------
    >>> areas = ["residential", "dense residential"]
    >>> answer = parse_answer("This is a dense residential area.", areas)
    >>> answer.code, answer.rule, answer.matched
    (1, 'containment', 'dense residential')
    >>> parse_answer("cat or dog", ["cat", "dog"]).rule
    'ambiguous'
    """
    return AnswerParser(labels, aliases, field=field).parse(text)
