"""JSON inside the text of an answer: in prose, in a code fence, with its tail cut off."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

_OPEN = re.compile(r"[{\[]")
_TRAILING_COMMA = re.compile(r",(\s*[}\]])")
_TOO_DEEP = 200  # tries that nesting beyond reason counts for: it is slow to find out
_MAX_CUT_OBJECTS = 2000  # objects tried one by one where the whole is no JSON


# How models mark what they think before they answer: opening, and what ends it.
_REASONING = (
    (
        re.compile(r"<(think|thinking|thought|reasoning|reflection|scratchpad)>", re.IGNORECASE),
        re.compile(r"</(think|thinking|thought|reasoning|reflection|scratchpad)>", re.IGNORECASE),
    ),
    (re.compile(r"\[THINK\]"), re.compile(r"\[/THINK\]")),
    (re.compile("◁think▷"), re.compile("◁/think▷")),
    (re.compile(r"<\|begin_of_thought\|>"), re.compile(r"<\|end_of_thought\|>")),
    (re.compile(r"<\|channel\|>(analysis|commentary)"), re.compile(r"<\|channel\|>final")),
)


def without_open_reasoning(text: str) -> str:
    """Leave out reasoning that was begun and never ended: nothing in it is an answer yet.

    Examples
    --------
    >>> without_open_reasoning("<think>A dog, perhaps. But the ears")
    ''
    >>> without_open_reasoning("<think>A dog.</think>cat")
    '<think>A dog.</think>cat'
    """
    for opening, closing in _REASONING:
        begun = list(opening.finditer(text))
        if begun and closing.search(text, begun[-1].end()) is None:
            text = text[: begun[-1].start()]
    return text


def json_values(
    text: str,
    *,
    pairs_hook: Callable[[list[tuple[str, Any]]], Any] | None = None,
    inner: bool = True,
) -> tuple[list[Any], bool]:
    """Read the JSON values inside a text.

    Where an object is broken (a cut tail, a stray sign) the complete ones inside it are found.
    Commas before a closing bracket are forgiven.

    `pairs_hook`: makes an object of its keys and values, as in `json.JSONDecoder`; `inner`: also
    look for complete objects inside one that is broken. Returns `values`: objects and arrays in
    order (any value, where the text is nothing but JSON); `is_all`: whether the text is nothing but
    one JSON value.

    Examples
    --------
    >>> json_values('Sure! ```json {"a": [1, 2,]}``` Anything else?')
    ([{'a': [1, 2]}], False)
    """
    decoder = json.JSONDecoder(object_pairs_hook=pairs_hook)
    try:
        return [decoder.decode(text)], True
    except (ValueError, RecursionError):
        pass
    mended = _TRAILING_COMMA.sub(r"\1", text)
    values: list[Any] = []
    position = failures = 0
    while failures < _MAX_CUT_OBJECTS and (start := _OPEN.search(mended, position)):
        try:
            value, position = decoder.raw_decode(mended, start.start())
        except (ValueError, RecursionError) as error:
            if not inner:
                break
            failures += 1 if isinstance(error, ValueError) else _TOO_DEEP
            position = start.end()
            continue
        values.append(value)
    return values, False
