"""Templates with ``{label}``: named sets, checks, and filling them in.

The article before ``{label}`` is taken as it stands in the template, "a origami" and "a apple"
included: published templates do the same, and results are only comparable if it stays so.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from string import Formatter
from types import MappingProxyType

from showtell.errors import InputError, UnknownNameError

DEFAULT_TEMPLATES = "plain"
"""The set that ``"default"`` stands for."""

_EXAMPLE = "'a photo of a {label}.'"


@dataclass(frozen=True, kw_only=True)
class TemplateSet:
    """Templates that belong together.

    Parameters
    ----------
    name : str
    templates : tuple of str
        Each contains ``{label}``.
    about : str
        What the set is for.
    source : str
        Where the wording is from.
    """

    name: str
    templates: tuple[str, ...]
    about: str
    source: str


def _load_sets() -> Mapping[str, TemplateSet]:
    """Read the template sets from their data file."""
    file = resources.files("showtell.prompts") / "library" / "templates.json"
    data = json.loads(file.read_text(encoding="utf-8"))
    return MappingProxyType(
        {
            name: TemplateSet(
                name=name,
                templates=tuple(entry["templates"]),
                about=entry["about"],
                source=entry["source"],
            )
            for name, entry in data["sets"].items()
        }
    )


TEMPLATE_SETS: Mapping[str, TemplateSet] = _load_sets()
"""Name to template set, read from ``prompts/library/templates.json``."""


@functools.lru_cache(maxsize=4096)
def _pieces(template: str) -> tuple[str, ...]:
    """Split a template into the texts between its ``{label}`` places, or say what is wrong."""
    texts = [""]
    try:
        parts = list(Formatter().parse(template))
    except ValueError as error:
        raise InputError(
            f"Template {template!r} has a stray brace ({error}). Write '{{label}}' where the label "
            "goes, and '{{' or '}}' for a brace itself."
        ) from None
    for text, field, format_spec, conversion in parts:
        texts[-1] += text
        if field is None:
            continue
        if field != "label":
            shown = "{" + field + "}"
            raise InputError(
                f"Template {template!r} has the unknown field {shown!r}; the only one is "
                f"'{{label}}'. Write for example {_EXAMPLE}"
            )
        if format_spec or conversion:
            raise InputError(
                f"Template {template!r} formats '{{label}}' with a ':' or '!'; write it plain, "
                f"for example {_EXAMPLE}"
            )
        texts.append("")
    if len(texts) == 1:
        raise InputError(
            f"Template {template!r} has no '{{label}}' placeholder, so every label would get the "
            f"same prompt. Write for example {_EXAMPLE}"
        )
    return tuple(texts)


def fill(template: str, label: str) -> str:
    """Put a label into a template.

    Braces in the label stay as they are; in the template, ``{{`` and ``}}`` stand for braces.

    Parameters
    ----------
    template : str
        Contains ``{label}`` once or more, and no other field.
    label : str
        Label as a person would say it.

    Returns
    -------
    prompt : str

    Raises
    ------
    InputError
        If the template lacks ``{label}``, has another field or a stray brace.

    Examples
    --------
    >>> fill("a photo of a {label}.", "golden retriever")
    'a photo of a golden retriever.'
    """
    return label.join(_pieces(template))


def _expand(entry: str) -> Iterator[str]:
    """Yield the templates of a set name, or a single checked template."""
    if not isinstance(entry, str):
        raise InputError(
            f"A template is a text such as {_EXAMPLE}, got {entry!r} ({type(entry).__name__})."
        )
    known = TEMPLATE_SETS.get(DEFAULT_TEMPLATES if entry == "default" else entry)
    if known is not None:
        yield from known.templates
        return
    if "{" not in entry and "}" not in entry and len(entry.split()) == 1:
        raise UnknownNameError(
            "template set",
            entry,
            ["default", *TEMPLATE_SETS],
            f"Or give a template, for example {_EXAMPLE}",
        )
    _pieces(entry)
    yield entry


def resolve_templates(templates: str | Sequence[str]) -> tuple[str, ...]:
    """Turn a set name, one template or several into checked templates.

    Parameters
    ----------
    templates : str or sequence of str
        Name of a set (``"plain"``, ``"openai-7"``, ``"flowers"`` ...; ``"default"`` is
        ``"plain"``), a template with ``{label}``, or a sequence of either.

    Returns
    -------
    templates : tuple of str
        At least one, in the order given; a template given twice counts twice.

    Raises
    ------
    UnknownNameError
        If a single word is neither a template nor the name of a set; the message lists the sets.
    InputError
        If there are none, one lacks ``{label}``, has another field or a stray brace.

    References
    ----------
    Radford et al. (2021), Learning Transferable Visual Models From Natural Language Supervision,
    arXiv:2103.00020. Version, date and source of each set: ``prompts/library/templates.json``.

    Examples
    --------
    >>> resolve_templates("plain")
    ('a photo of a {label}.',)
    >>> resolve_templates(["bare", "a drawing of a {label}."])
    ('{label}', 'a drawing of a {label}.')
    """
    entries = [templates] if isinstance(templates, str) else list(templates)
    chosen = tuple(template for entry in entries for template in _expand(entry))
    if not chosen:
        raise InputError(
            f"At least one template is needed. Write for example {_EXAMPLE} or name a set: "
            f"{', '.join(TEMPLATE_SETS)}."
        )
    return chosen
