"""The methods as rows of a table: what each needs, takes and can say of itself, as plain data.

No class is imported here: a row names its class by a path, which is followed when a classifier is
built. What the command line, recipes and the documentation say about methods comes from these rows.
A package of yours adds methods by an entry point of the group ``showtell.methods`` that names a
`Method`, or a list of them.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from showtell.errors import InputError, UnknownNameError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

Need: TypeAlias = Literal[
    "encoder", "model", "local model", "descriptions", "concepts", "classifier"
]
Learns: TypeAlias = Literal["never", "always", "to calibrate"]
Told: TypeAlias = Literal["names", "descriptions", "aliases", "described names"]
Automatic: TypeAlias = Literal[
    "encoder", "encoder, examples", "model", "model, examples", "local model"
]

AUTO = "auto"
"""Stands for the method that goes with what there is: a model or an encoder, examples or none."""

ENTRY_POINTS = "showtell.methods"
"""Group of entry points by which other packages add rows."""

_NOTHING: Mapping[str, Any] = MappingProxyType({})

OPTIONS: Mapping[str, Any] = MappingProxyType(
    {
        "templates": "default",
        "transductive": None,
        "shots": None,
        "abstain_below": None,
        "descriptions": None,
        "domain": None,
        "concepts": None,
        "anonymise": False,
        "selection": "balanced",
        "role": None,
        "confidence": "auto",
        "n_samples": 1,
        "rotations": 1,
        "debias": None,
        "n_calibration": 0,
        "shortlist": None,
        "rule": "sum",
        "question": None,
        "images_per_request": "auto",
        "max_side": 768,
        "sampling_temperature": "auto",
        "prompt_dir": None,
        "classifier": None,
        "jobs": False,
        "wait": True,
    }
)
"""What a method may be told, by name, with the value that says nothing.

They are arguments of the classifiers, ``jobs`` and ``wait`` of their `Model`. ``n_calibration`` is
how many labelled images are asked about.
"""


@dataclass(frozen=True, kw_only=True)
class Method:
    """A way to decide, as a row of the table.

    Examples
    --------
    >>> row = find_method("zero-shot")
    >>> row.learns, row.needs, row.load().__name__
    ('never', ('encoder',), 'ZeroShotClassifier')
    """

    name: str
    """As in ``--method``."""
    factory: str
    """Where its class is: ``"package.module:Class"``."""
    summary: str
    """What it does, in one line."""
    needs: tuple[Need, ...] = ("encoder",)
    """What there has to be: an "encoder", a "model" behind a server or a "local model" in this
    process, files of "descriptions" or "concepts", and a saved "classifier"."""
    takes: tuple[str, ...] = ()
    """Names of `OPTIONS` that it has a use for."""
    told: tuple[Told, ...] = ("names",)
    """What its class is told of the labels: their "names" (``labels``), "descriptions" and
    "aliases" by arguments of these names, or "described names" (``labels`` as a mapping)."""
    learns: Learns = "never"
    """Whether it looks at labelled images."""
    examples_for: Mapping[str, Any] = field(default_factory=lambda: _NOTHING)
    """Options for which it looks at labelled images, though it learns nothing from them otherwise;
    with the value they have then, or None for any that is not the usual one."""
    named: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    """Arguments of its class for options that have another name there."""
    fixed: Mapping[str, Any] = field(default_factory=lambda: _NOTHING)
    """Arguments that make its class this method."""
    calibrated: Mapping[str, Any] = field(default_factory=lambda: _NOTHING)
    """Arguments where it calibrates on as many images as ``n_calibration`` says, drawn for it.
    Without any, its class takes ``calibrate`` and ``n_calibration`` and is given all images."""
    automatic: tuple[Automatic, ...] = ()
    """For what "auto" stands for it."""
    without_shots: str = ""
    """The method that it is with no examples per label."""
    curves: bool = False
    """Whether a shot curve can be measured: it is refitted with other numbers of examples."""
    once: bool = False
    """Whether a run folder has room for one of its kind only."""
    by_chance: bool = False
    """Whether its words are random, so that labels without descriptions are as they should be."""
    explains: tuple[str, ...] = ("chances", "occlusion")
    """Parts of an explanation that it has without examples."""

    def __post_init__(self) -> None:
        module, colon, name = self.factory.partition(":")
        if not (module and colon and name):
            raise InputError(
                f"Method {self.name!r}: `factory` is 'package.module:Class', got {self.factory!r}."
            )
        unknown = sorted(set(self.takes) - set(OPTIONS))
        if unknown:
            raise UnknownNameError(f"option of method {self.name!r}:", unknown[0], OPTIONS)

    @property
    def asks(self) -> bool:
        """Whether a model decides, behind a server or in this process."""
        return self.local or "model" in self.needs

    @property
    def local(self) -> bool:
        """Whether its model runs in this process."""
        return "local model" in self.needs

    @property
    def saved(self) -> bool:
        """Whether it is loaded as it was saved, with its labels, and fitted no more."""
        return "classifier" in self.needs

    @property
    def kind(self) -> str:
        """By what it decides, for a list of methods."""
        if self.asks:
            return "a model in this process" if self.local else "a model behind a server"
        if self.saved:
            return "what was saved"
        if "descriptions" in self.takes:
            return "an encoder and descriptions"
        return "an encoder and clues" if "concepts" in self.takes else "an encoder"

    def load(self) -> Any:
        """Import the class."""
        module, _, name = self.factory.partition(":")
        return getattr(importlib.import_module(module), name)


_ENCODED = ("templates", "shots", "abstain_below")
_DESCRIBED = ("descriptions", "domain", "abstain_below")
_ASKED = (
    "abstain_below", "role", "confidence", "n_samples", "rotations", "debias", "n_calibration",
    "shortlist", "images_per_request", "max_side", "sampling_temperature", "prompt_dir", "jobs",
    "wait",
)  # fmt: skip
_WORDS: tuple[Told, ...] = ("names", "descriptions", "aliases")
_FEW_SHOT = "showtell.classify.embedding.few_shot:FewShotClassifier"
_DESCRIPTION = "showtell.classify.described.described:DescriptionClassifier"
_CONCEPT = "showtell.classify.concepts.classifier:ConceptClassifier"
_OF_CLUES = ("chances", "clues", "votes", "alike", "changes")


def _few_shot(name: str, summary: str, **more: Any) -> Method:
    return Method(
        name=name,
        factory=_FEW_SHOT,
        summary=summary,
        takes=_ENCODED,
        told=_WORDS,
        learns="always",
        without_shots="zero-shot",
        curves=True,
        **more,
    )


def _described(name: str, summary: str, **more: Any) -> Method:
    return Method(
        name=name,
        factory=_DESCRIPTION,
        summary=summary,
        takes=_DESCRIBED,
        fixed={"method": name},
        explains=("chances", "descriptions", "occlusion"),
        **{"needs": ("encoder", "descriptions"), **more},
    )


def _by_clues(name: str, summary: str, head: str) -> Method:
    return Method(
        name=name,
        factory=_CONCEPT,
        summary=summary,
        needs=("encoder", "concepts"),
        takes=("concepts", "shots", "abstain_below"),
        learns="always",
        fixed={"head": head},
        curves=True,
        explains=_OF_CLUES,
    )


_ROWS = (
    Method(
        name="zero-shot",
        factory="showtell.classify.embedding.zero_shot:ZeroShotClassifier",
        summary="The label whose words are most like the picture.",
        takes=("templates", "transductive", "abstain_below"),
        told=_WORDS,
        automatic=("encoder",),
    ),
    _few_shot(
        "few-shot",
        "The best of the three below for the examples there are, chosen by leaving out.",
        automatic=("encoder, examples",),
    ),
    _few_shot(
        "prototype",
        "The label whose examples are most alike on average.",
        fixed={"method": "prototype"},
    ),
    _few_shot(
        "tip-adapter",
        "Words, and every example as a vote for its label.",
        fixed={"method": "tip-adapter"},
    ),
    _few_shot(
        "linear",
        "A logistic regression on the embeddings of the examples.",
        fixed={"method": "linear"},
    ),
    _described("dclip", "The label whose descriptive phrases fit the picture best on average."),
    _described("cupl", "The label whose sentences on how it looks fit the picture best."),
    _described(
        "waffle",
        "Random words after each name: what descriptions have to beat.",
        needs=("encoder",),
        by_chance=True,
    ),
    _described("waffle+descriptions", "Random words and descriptive phrases together."),
    _by_clues("concepts", "A vote of the visual clues that tell the labels apart.", "vote"),
    _by_clues("concept-forest", "A random forest over visual clues.", "forest"),
    Method(
        name="direct",
        factory="showtell.classify.asking.direct:DirectClassifier",
        summary="Ask a multimodal LLM, without examples.",
        needs=("model",),
        takes=(*_ASKED,),
        told=_WORDS,
        learns="to calibrate",
        examples_for={"n_calibration": None, "debias": "contextual"},
        automatic=("model",),
        explains=("chances",),
    ),
    Method(
        name="in-context",
        factory="showtell.classify.asking.in_context:InContextClassifier",
        summary="Ask a multimodal LLM that is shown a few examples of each label.",
        needs=("model",),
        takes=("shots", "anonymise", "selection", *_ASKED),
        told=_WORDS,
        learns="always",
        automatic=("model, examples",),
        without_shots="direct",
        curves=True,
        explains=("chances", "examples"),
    ),
    Method(
        name="fusion",
        factory="showtell.classify.described.fusion:FusionClassifier",
        summary="What an encoder sees, and what a multimodal LLM writes about the picture.",
        needs=("model", "encoder"),
        takes=("descriptions", "abstain_below", "n_calibration", "max_side", "prompt_dir"),
        learns="to calibrate",
        examples_for={"n_calibration": None},
        fixed={"calibrate": False},
        calibrated={"calibrate": True, "weights": "tune"},
        explains=("chances", "opinions", "words", "occlusion"),
    ),
    Method(
        name="evolving",
        factory="showtell.classify.evolving.classifier:EvolvingDescriptionClassifier",
        summary="Descriptions that a language model rewrites until labels are told apart.",
        needs=("model", "encoder"),
        takes=("descriptions", "domain", "shots", "abstain_below", "prompt_dir"),
        named={"descriptions": "start"},
        learns="always",
        once=True,
        explains=("chances", "descriptions", "occlusion"),
    ),
    Method(
        name="student",
        factory="showtell.classify.chain.opening:open_student",
        summary="A small model that `showtell distill` trained, or any that was saved.",
        needs=("classifier",),
        takes=("classifier",),
        told=(),
    ),
    Method(
        name="cascade",
        factory="showtell.classify.chain.opening:open_cascade",
        summary="A saved student, and a multimodal LLM where it is unsure, with a promise.",
        needs=("model", "classifier"),
        takes=("classifier",),
        told=(),
        explains=("chances",),
    ),
    Method(
        name="likelihood",
        factory="showtell.classify.likelihood.classifier:LikelihoodClassifier",
        summary="How likely a model on this machine finds each label as the answer.",
        needs=("local model",),
        takes=("rule", "question", "n_calibration", "shortlist", "abstain_below"),
        told=("described names", "aliases"),
        learns="to calibrate",
        examples_for={"n_calibration": None},
        fixed={"calibrate": False},
        calibrated={"calibrate": True},
        automatic=("local model",),
        explains=("chances",),
    ),
)
_BUILT_IN: Mapping[str, Method] = {row.name: row for row in _ROWS}


def methods() -> Mapping[str, Method]:
    """Give all methods by name: those of showtell, then those that other packages add.

    Raises
    ------
    InputError
        If an entry point cannot be loaded or names a method that there is already.
    """
    return {**_BUILT_IN, **_added()}


def method_names() -> tuple[str, ...]:
    """Name all that ``--method`` may be, "auto" first."""
    return (AUTO, *methods())


def by_kind() -> dict[str, list[Method]]:
    """Sort all methods by what they decide by.

    Examples
    --------
    >>> [row.name for row in by_kind()["an encoder and clues"]]
    ['concepts', 'concept-forest']
    """
    found: dict[str, list[Method]] = {}
    for row in methods().values():
        found.setdefault(row.kind, []).append(row)
    return found


def in_words() -> str:
    """Name all methods in a sentence, for a help text."""
    kinds = [
        f"by {kind}: {', '.join(row.name for row in rows)}" for kind, rows in by_kind().items()
    ]
    text = "; ".join(kinds)
    return f"{text[0].upper()}{text[1:]}."


def find_method(name: str) -> Method:
    """Return the row of a method.

    Raises UnknownNameError if there is none of that name; the message lists all.
    """
    if name in _BUILT_IN:  # other packages are looked for only where they are needed
        return _BUILT_IN[name]
    found = methods()
    if name not in found:
        raise UnknownNameError("method", name, method_names())
    return found[name]


def automatic(kind: Automatic) -> Method:
    """Return the method that "auto" stands for.

    Examples
    --------
    >>> automatic("model, examples").name
    'in-context'
    """
    return next(row for row in _ROWS if kind in row.automatic)


def takers_of(option: str) -> tuple[str, ...]:
    """Name the methods that have a use for an option.

    Examples
    --------
    >>> takers_of("concepts")
    ('concepts', 'concept-forest')
    """
    return tuple(row.name for row in methods().values() if option in row.takes)


@functools.cache
def _added() -> Mapping[str, Method]:
    """Load the rows of other packages, once."""
    from importlib import metadata  # takes a while, and few have such packages

    found: dict[str, Method] = {}
    for point in metadata.entry_points(group=ENTRY_POINTS):
        for row in _rows_of(point):
            if row.name in (AUTO, *_BUILT_IN, *found):
                raise InputError(
                    f"The entry point {point.name!r} of {_package(point)} adds a method "
                    f"{row.name!r}, which there is already. Rename it, or uninstall the package."
                )
            found[row.name] = row
    return found


def _rows_of(point: EntryPoint) -> Iterator[Method]:
    try:
        value = point.load()
    except Exception as error:
        raise InputError(
            f"The methods of {_package(point)} cannot be loaded ({point.value}): "
            f"{type(error).__name__}: {error}. Repair or uninstall the package."
        ) from error
    for row in [value] if isinstance(value, Method) else value:
        if not isinstance(row, Method):
            raise InputError(
                f"The entry point {point.name!r} of {_package(point)} should name a Method or a "
                f"list of them; it holds {type(row).__name__}."
            )
        yield row


def _package(point: EntryPoint) -> str:
    return "a package" if point.dist is None else f"the package {point.dist.name}"
