"""Prompts of a label with a description: "a photo of a tiger, which has black stripes"."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

from showtell.errors import UnknownNameError
from showtell.prompts.template import fill

Compat: TypeAlias = Literal["upstream"]

_IS = ("a", "an", "used")
_BARE = ("has", "often", "typically", "may", "can")
_COMPATS = ("upstream", "None")


def connect(description: str, *, compat: Compat | None = None) -> str:
    """Make a relative clause of a description.

    By the first word: ``a``, ``an``, ``used`` take "which is"; ``has``, ``often``, ``typically``,
    ``may``, ``can`` take "which"; anything else takes "which has".

    Parameters
    ----------
    description : str
        A phrase such as "a long tail".
    compat : {"upstream"}, optional
        Look at the first letters instead of the first word, as the published code does: it makes
        "which is antennae" of "antennae".

    Returns
    -------
    clause : str

    References
    ----------
    Menon & Vondrick (2023), Visual Classification via Description from Large Language Models,
    arXiv:2210.07183.

    Examples
    --------
    >>> connect("a long tail"), connect("antennae"), connect("may be striped")
    ('which is a long tail', 'which has antennae', 'which may be striped')
    >>> connect("antennae", compat="upstream")
    'which is antennae'
    """
    if compat not in ("upstream", None):
        raise UnknownNameError("compat", str(compat), _COMPATS)
    if compat == "upstream":
        start = description.lower()
        if start.startswith(_IS[:2]):
            return f"which is {description}"
        if start.startswith(_BARE):
            return f"which {description}"
        return f"which {'is' if start.startswith('used') else 'has'} {description}"
    words = description.split(maxsplit=1)
    first = words[0].lower().strip(",;:") if words else ""
    if first in _IS:
        return f"which is {description}"
    return f"which {description}" if first in _BARE else f"which has {description}"


def described_prompts(
    label: str,
    descriptions: Sequence[str],
    *,
    template: str = "a photo of a {label}",
    separator: str = ", ",
    after: str = ".",
    connectives: bool = True,
    compat: Compat | None = None,
) -> list[str]:
    """Write one prompt for each description of a label.

    Parameters
    ----------
    label : str
    descriptions : sequence of str
        Phrases.
    template : str
        Contains ``{label}``; a full stop at its end gives way to the description.
    separator : str, default=", "
        Between the label and the description.
    after : str, default="."
        At the end of each prompt.
    connectives : bool, default=True
        Whether descriptions become relative clauses (`connect`) or stand as they are.
    compat : {"upstream"}, optional
        As in `connect`.

    Returns
    -------
    prompts : list of str, length n_descriptions

    Examples
    --------
    >>> described_prompts("tiger", ["black stripes", "a long tail"])
    ['a photo of a tiger, which has black stripes.', 'a photo of a tiger, which is a long tail.']
    """
    start = fill(template, label).rstrip()
    start = start[:-1] if start.endswith(".") else start
    return [
        f"{start}{separator}{connect(text, compat=compat) if connectives else text}{after}"
        for text in descriptions
    ]
