"""Requests to multimodal LLMs: prompt files, answer schemas, demonstrations, queries in order.

A request is laid out so that providers can reuse its beginning: system text, demonstrations in a
fixed order, then the queries, each with its id before and after the image, then the count. No
answer with a real label is shown as an example of the form: models give such a label back more
often than it is true.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from showtell.errors import InputError
from showtell.mllm.base import ImagePart, Part, Request, Settings, TextPart
from showtell.mllm.capabilities import Capabilities
from showtell.prompts.files import PromptSet

DEFAULT_ROLE = "an expert who sorts images with great care"
"""Who the model is asked to be."""

_ID_LETTERS = "bcdfghjkmnpqrstvwxz23456789"  # no vowels: no words; nothing that looks alike


@dataclass(frozen=True, kw_only=True)
class Demonstration:
    """An image that is shown with its answer."""

    image: ImagePart
    code: int
    """Index of its label in `RequestForm.labels`."""


@dataclass(frozen=True, kw_only=True)
class Query:
    """An image that is asked about."""

    id: str
    image: ImagePart


@dataclass(frozen=True, kw_only=True)
class RequestForm:
    """What the requests of a run have in common."""

    model: str
    """``"provider:name"``."""
    prompts: PromptSet
    labels: tuple[str, ...]
    """The label set as it is written, in the order of the classes."""
    descriptions: tuple[tuple[str, ...], ...] = ()
    """Per label, sentences on how it looks; () for none at all."""
    role: str = DEFAULT_ROLE
    verbalised: bool = True
    """Whether a confidence from 0 to 10 is asked for."""
    example: str | None = None
    """A label that stands in a filled-in example of an answer. None, for every ordinary request:
    such a label is given back more often than it is true, which is what an audit measures."""
    capabilities: Capabilities = field(default_factory=Capabilities)
    """Decide whether the provider is given a JSON schema, and whether it lists the labels. The
    form always stands in the system text as well."""


def answer_form(*, verbalised: bool = True) -> str:
    """Show the form of an answer with placeholders, and never with a real label.

    Parameters
    ----------
    verbalised : bool, default=True
        Whether a confidence is part of it.

    Examples
    --------
    >>> print(answer_form(verbalised=False))
    {"n_images": <number of images>, "answers": [{"id": "<id>", "label": "<label>"}, ...]}
    """
    confidence = ', "confidence": <0 to 10>' if verbalised else ""
    item = f'{{"id": "<id>", "label": "<label>"{confidence}}}'
    return f'{{"n_images": <number of images>, "answers": [{item}, ...]}}'


@functools.lru_cache(maxsize=512)
def answer_schema(labels: tuple[str, ...] | None, *, verbalised: bool = True) -> Mapping[str, Any]:
    """JSON schema of an answer. It is the same for every request of a run, as providers cache it.

    Parameters
    ----------
    labels : tuple of str or None
        What the field ``label`` may hold; None for any text.
    verbalised : bool, default=True
        Whether a confidence is part of it.

    Returns
    -------
    schema : mapping
        Not to be changed.

    Examples
    --------
    >>> item = answer_schema(("cat", "dog"))["properties"]["answers"]["items"]
    >>> item["properties"]["label"], item["required"]
    ({'type': 'string', 'enum': ['cat', 'dog']}, ['id', 'label', 'confidence'])
    """
    label: dict[str, Any] = {"type": "string"}
    if labels is not None:
        label["enum"] = list(labels)
    properties: dict[str, Any] = {"id": {"type": "string"}, "label": label}
    if verbalised:  # no minimum and maximum: several providers refuse them
        properties["confidence"] = {"type": "integer", "description": "0 to 10"}
    item = {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
    return {
        "type": "object",
        "properties": {
            "n_images": {"type": "integer"},
            "answers": {"type": "array", "items": item},
        },
        "required": ["n_images", "answers"],
        "additionalProperties": False,
    }


def query_ids(digests: Sequence[str], *, avoid: Sequence[str] = ()) -> list[str]:
    """Name the queries of one request by short ids that follow from their content.

    Not numbers: a model that leaves an image out goes on counting, and every later answer would
    be joined to the wrong image without a trace.

    Parameters
    ----------
    digests : sequence of str
        Content hash of each query.
    avoid : sequence of str, optional
        Texts that no id may contain: the labels, where they are to stay unknown.

    Returns
    -------
    ids : list of str
        All different, 4 letters and digits or more.

    Examples
    --------
    >>> ids = query_ids(["0a", "0b", "0a"])
    >>> len(set(ids)), ids[:2] == query_ids(["0a", "0b"])
    (3, True)
    """
    words = [word.casefold() for word in avoid]
    taken: dict[str, None] = {}
    for digest in digests:
        salt = 0
        while (name := _id(digest, salt)) in taken or any(word in name for word in words):
            salt += 1
            if salt > 10_000:
                raise InputError("Labels of one letter or digit leave no ids to name images by.")
        taken[name] = None
    return list(taken)


def _id(digest: str, salt: int) -> str:
    """Letters and digits out of a hash; longer after many tries."""
    seed = hashlib.blake2b(f"{digest} {salt}".encode(), digest_size=8).digest()
    number = int.from_bytes(seed, "big")
    letters = []
    for _ in range(4 + salt // 100):
        number, digit = divmod(number, len(_ID_LETTERS))
        letters.append(_ID_LETTERS[digit])
    return "".join(letters)


def render_request(
    form: RequestForm,
    demonstrations: Sequence[Demonstration],
    queries: Sequence[Query],
    *,
    settings: Settings | None = None,
    order: Sequence[int] | None = None,
    attempt: int = 0,
    sample: int = 0,
) -> Request:
    """Build one request.

    Parameters
    ----------
    form : RequestForm
    demonstrations : sequence of Demonstration
        In the order in which they are shown; keep it from request to request.
    queries : sequence of Query
        At least one; all ids differ.
    settings : Settings, optional
    order : sequence of int, optional
        Codes of the labels that are listed, in the order of the list; default: all, in order.
    attempt : int, default=0
        How often these images were asked about before; above 0 the request says so.
    sample : int, default=0
        Number of the repetition.

    Returns
    -------
    request : Request
        Its first `n_prefix` parts are the demonstrations.

    Raises
    ------
    InputError
        If there is no query, an id comes twice, or a demonstration has a label that is not
        listed.

    Examples
    --------
    >>> image = ImagePart(data=b"", media_type="image/png", digest="0", width=1, height=1)
    >>> from showtell.prompts import load_prompts
    >>> form = RequestForm(model="openai:try", prompts=load_prompts(), labels=("cat", "dog"))
    >>> request = render_request(
    ...     form, [Demonstration(image=image, code=1)], [Query(id="k3f9", image=image)]
    ... )
    >>> [part.text for part in request.parts[:5] if isinstance(part, TextPart)]
    ['Example:', 'Label: dog', 'Image k3f9:']
    """
    ids = [query.id for query in queries]
    if not ids or len(set(ids)) < len(ids):
        raise InputError(f"A request needs queries with ids that all differ, got {ids!r}.")
    listed = tuple(range(len(form.labels)) if order is None else order)
    parts = _shown(form, demonstrations, listed)
    n_prefix = len(parts)
    for query in queries:
        parts.append(TextPart(text=f"Image {query.id}:"))
        parts.append(query.image)
        parts.append(TextPart(text=f"End of image {query.id}."))
    closing = form.prompts.render("closing", **_closing_values(form.prompts, ids))
    if attempt:
        closing = f"{form.prompts.render('again', attempt=attempt + 1)}\n{closing}"
    parts.append(TextPart(text=closing))
    names = tuple(form.labels[code] for code in listed)
    schema = None
    if form.capabilities.structured_output:
        listable = names if form.capabilities.fits_enum(names) else None
        schema = answer_schema(listable, verbalised=form.verbalised)
    return Request(
        model=form.model,
        system=_system(form, listed, bool(demonstrations)),
        parts=tuple(parts),
        schema=schema,
        settings=settings or Settings(),
        prompt_version=form.prompts.version,
        n_queries=len(ids),
        n_prefix=n_prefix,
        sample=sample,
    )


def render_decision(
    form: RequestForm,
    demonstrations: Sequence[Demonstration],
    image: ImagePart,
    *,
    settings: Settings | None = None,
    order: Sequence[int] | None = None,
    sample: int = 0,
) -> Request:
    """Build a question for a provider's classification endpoint: one image, a set of labels.

    Parameters
    ----------
    form : RequestForm
    demonstrations : sequence of Demonstration
    image : ImagePart
    settings : Settings, optional
    order : sequence of int, optional
        Codes of the labels to choose from; default: all.
    sample : int, default=0
        Number of the repetition.

    Returns
    -------
    request : Request
        Its `labels` are the choice.
    """
    listed = tuple(range(len(form.labels)) if order is None else order)
    parts = _shown(form, demonstrations, listed)
    n_prefix = len(parts)
    examples = form.prompts.render("examples") if demonstrations else ""
    values = {
        "role": form.role,
        "labels": _label_lines(form, listed),
        "examples": examples,
        "example": _example(form.prompts, form.example, verbalised=False),
    }
    return Request(
        model=form.model,
        system=form.prompts.render("decide", **values),
        parts=(*parts, image),
        settings=settings or Settings(),
        prompt_version=form.prompts.version,
        labels=tuple(form.labels[code] for code in listed),
        n_prefix=n_prefix,
        sample=sample,
    )


def _shown(
    form: RequestForm, demonstrations: Sequence[Demonstration], listed: tuple[int, ...]
) -> list[Part]:
    """Parts of the demonstrations."""
    parts: list[Part] = []
    known = set(listed)
    for shown in demonstrations:
        if shown.code not in known:
            raise InputError(f"A demonstration has label {shown.code}, which is not listed.")
        parts.append(TextPart(text="Example:"))
        parts.append(shown.image)
        parts.append(TextPart(text=f"Label: {form.labels[shown.code]}"))
    return parts


def _closing_values(prompts: PromptSet, ids: Sequence[str]) -> dict[str, object]:
    values: dict[str, object] = {"n_images": len(ids)}
    if "{ids}" in prompts.texts["closing"]:
        values["ids"] = ", ".join(ids)
    return values


def _system(form: RequestForm, listed: tuple[int, ...], has_examples: bool) -> str:
    labels = tuple(form.labels[code] for code in listed)
    sentences = tuple(form.descriptions[code] for code in listed) if form.descriptions else ()
    key = form.prompts.version, tuple(form.prompts.texts.items())
    return _system_text(
        key, form.role, labels, sentences, form.verbalised, has_examples, form.example
    )


@functools.lru_cache(maxsize=512)
def _system_text(
    prompts: tuple[str, tuple[tuple[str, str], ...]],
    role: str,
    labels: tuple[str, ...],
    descriptions: tuple[tuple[str, ...], ...],
    verbalised: bool,
    has_examples: bool,
    example: str | None,
) -> str:
    texts = PromptSet(version=prompts[0], texts=dict(prompts[1]))
    return texts.render(
        "system",
        role=role,
        labels=_lines(labels, descriptions),
        examples=f"{texts.render('examples')}\n\n" if has_examples else "",
        schema=answer_form(verbalised=verbalised),
        example=_example(texts, example, verbalised=verbalised),
        confidence=texts.render("confidence") if verbalised else "",
    )


def _example(prompts: PromptSet, label: str | None, *, verbalised: bool) -> str:
    """Write a filled-in answer that names a label, on a line of its own; "" without a label."""
    if label is None:
        return ""
    confidence = ', "confidence": <0 to 10>' if verbalised else ""
    name = json.dumps(" ".join(label.split()), ensure_ascii=False)
    answer = f'{{"id": "<id>", "label": {name}{confidence}}}'
    return "\n" + prompts.render("example", answer=answer)


def _label_lines(form: RequestForm, listed: tuple[int, ...]) -> str:
    sentences = tuple(form.descriptions[code] for code in listed) if form.descriptions else ()
    return _lines(tuple(form.labels[code] for code in listed), sentences)


def _lines(labels: tuple[str, ...], descriptions: tuple[tuple[str, ...], ...]) -> str:
    """One label per line, with its descriptions; a line break inside would start another label."""
    lines = []
    for place, label in enumerate(labels):
        about = " ".join(" ".join(descriptions[place]).split()) if descriptions else ""
        name = " ".join(label.split())
        lines.append(f"- {name}: {about}" if about else f"- {name}")
    return "\n".join(lines)
