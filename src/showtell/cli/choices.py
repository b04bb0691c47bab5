"""From the options of "what to look for" and "how to decide" to a fitted classifier."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from showtell.cli.asking import BY_MODEL, Asking, check_asking, make_asking
from showtell.errors import InputError, UnknownNameError

if TYPE_CHECKING:
    from showtell.classify.base import MediaClassifier
    from showtell.datasets import Dataset, LabelSet

__all__ = ["METHODS", "Choices", "check_method", "given_labels", "make_classifier", "remarks"]

BY_DESCRIPTION = ("dclip", "cupl", "waffle", "waffle+descriptions")
"""Methods that go by what labels look like, in words."""

BY_CLUES = ("concepts", "concept-forest")
"""Methods that learn which clues of a concept tree tell labels apart."""

TAKE_DESCRIPTIONS = (*BY_DESCRIPTION, "fusion", "evolving")
TAKE_DOMAIN = (*BY_DESCRIPTION, "evolving")

METHODS = (
    "auto",
    "zero-shot",
    "few-shot",
    "prototype",
    "tip-adapter",
    "linear",
    *BY_DESCRIPTION,
    *BY_CLUES,
    *BY_MODEL,
)
"""Names of ``--method``; "few-shot" lets the classifier choose among the three after it."""


@dataclass(frozen=True, kw_only=True)
class Choices:
    """What the options say about how to decide."""

    encoder: str
    method: str
    seed: int
    precision: str = "auto"
    templates: str = "default"
    transductive: str | None = None
    shots: int | None = None
    abstain_below: float | None = None
    threads: int | None = None
    store: bool = True
    asking: Asking | None = None
    """What to ask a multimodal LLM; None: an encoder decides."""
    descriptions: str | None = None
    """File of a description set."""
    domain: str | None = None
    concepts: str | None = None
    """File of a concept tree."""

    def __post_init__(self) -> None:
        check_method(self.method)
        check_asking(self.method, self.asking)
        described = self.method in BY_DESCRIPTION
        if self.descriptions is not None and self.method not in TAKE_DESCRIPTIONS:
            raise InputError(
                f"--descriptions belongs to --method {', '.join(TAKE_DESCRIPTIONS)}; it is "
                f"{self.method!r}. (Zero-shot takes one description per label in --labels.)"
            )
        if self.domain is not None and self.method not in TAKE_DOMAIN:
            raise InputError(f"--domain belongs to --method {', '.join(TAKE_DOMAIN)}.")
        if described and self.descriptions is None and self.method != "waffle":
            raise InputError(
                f"Method {self.method!r} needs --descriptions FILE. `showtell describe` writes "
                "one; --method waffle needs none."
            )
        by_clues = self.method in BY_CLUES
        if self.concepts is not None and not by_clues:
            raise InputError(
                f"--concepts belongs to --method {', '.join(BY_CLUES)}; it is {self.method!r}."
            )
        if by_clues and self.concepts is None:
            raise InputError(
                f"Method {self.method!r} needs --concepts FILE. `showtell concepts` writes one."
            )
        if by_clues and self.shots == 0:
            raise InputError(
                f"Method {self.method!r} learns from examples: --shots is 1 or more, or left out."
            )
        if described and self.shots:
            raise InputError(f"Method {self.method!r} shows no examples: leave out --shots.")
        if self.method in ("direct", "likelihood", "fusion") and self.shots:
            raise InputError(
                f"Method {self.method!r} shows no examples: leave out --shots, or use --method "
                "in-context."
            )

    def wants_examples(self, *, available: bool) -> bool:
        """Say whether the method learns from examples; "auto" does where it can."""
        if self.method == "auto":
            return available and self.shots != 0
        if self.method == "evolving":
            return True
        if self.method in ("direct", "likelihood", "fusion"):
            return self.calibrates
        if self.method in BY_DESCRIPTION:
            return False
        return (self.method != "zero-shot" and self.shots != 0) or self.calibrates

    @property
    def calibrates(self) -> bool:
        """Whether labelled images are asked about, to learn what a confidence is worth."""
        return self.asking is not None and self.asking.calibrate > 0

    def as_request(self) -> dict[str, Any]:
        """List what decides about answers, for the request of a run folder."""
        return {
            "encoder": self.encoder,
            "precision": self.precision,
            "method": self.method,
            "templates": self.templates,
            "transductive": self.transductive,
            "shots": self.shots,
            "abstain_below": self.abstain_below,
            "seed": self.seed,
            **({} if self.descriptions is None else {"descriptions": self.descriptions}),
            **({} if self.domain is None else {"domain": self.domain}),
            **({} if self.concepts is None else {"concepts": self.concepts}),
            **({} if self.asking is None else self.asking.as_request()),
        }


def check_method(name: str) -> str:
    """Return `name` if it is a method.

    Raises
    ------
    UnknownNameError
        If it is none; the message lists all.
    """
    if name not in METHODS:
        raise UnknownNameError("method", name, METHODS)
    return name


def given_labels(labels: str | None, labels_file: str | None) -> LabelSet | None:
    """Read the label set of ``--labels`` or ``--labels-file``; None where neither is given."""
    if labels is not None and labels_file is not None:
        raise InputError("Give the labels once: either with --labels or with --labels-file.")
    if labels is None and labels_file is None:
        return None
    from showtell.datasets import parse_labels

    label_set = parse_labels(labels, labels_file=labels_file)
    if labels_file is not None and Path(labels_file).name == "labels.json":
        # beside class folders the other names are those of folders, which say nothing to an encoder
        label_set = replace(label_set, aliases={})
    return label_set


def make_classifier(
    choices: Choices, label_set: LabelSet | None, support: Dataset | None
) -> MediaClassifier:
    """Build and fit the classifier that the options ask for.

    Parameters
    ----------
    choices : Choices
    label_set : LabelSet or None
        Labels with their descriptions; None: those of `support`.
    support : Dataset or None
        Labelled images to learn from; needed unless the method is zero-shot.

    Raises
    ------
    InputError
        If there are neither labels nor examples, or an option does not fit the method.
    """
    from showtell.encoders import load_encoder

    encoder = load_encoder(choices.encoder, precision=choices.precision, threads=choices.threads)  # type: ignore[arg-type]
    store = "default" if choices.store else None
    if choices.asking is not None:
        return make_asking(
            choices.asking,
            method=choices.method,
            shots=choices.shots,
            abstain_below=choices.abstain_below,
            encoder=encoder,
            store=store,
            seed=choices.seed,
            label_set=label_set,
            support=support,
            threads=choices.threads,
            descriptions=choices.descriptions,
            domain=choices.domain,
        )
    if choices.method in BY_DESCRIPTION:
        return _described(choices, encoder, store, label_set, support)
    if choices.method in BY_CLUES:
        return _by_clues(choices, encoder, store, label_set, support)
    if choices.wants_examples(available=support is not None):
        return _few_shot(choices, encoder, store, label_set, support)
    return _zero_shot(choices, encoder, store, label_set, support)


def remarks(choices: Choices, classifier: MediaClassifier, support: Dataset | None) -> list[str]:
    """Say what is odd about a fitted classifier: a single label, labels with too few examples."""
    found = []
    if len(classifier.classes_) == 1:
        only = str(classifier.classes_[0])
        found.append(
            f"There is one label only, so every image gets {only!r}. "
            + (
                'Commas part labels, as in "cat,dog".'
                if ";" in only or "|" in only
                else 'Name what else it may be, for example "something else".'
            )
        )
    described = getattr(classifier, "descriptions_", None)
    if described is not None and choices.method != "waffle":
        bare = [label for label in described if not described[label]]
        if bare:
            more = f" and {len(bare) - 5} more" if len(bare) > 5 else ""
            found.append(
                f"No description for {', '.join(bare[:5])}{more}: they have the template alone. "
                "Labels must be spelled as in the file."
            )
    rows = getattr(classifier, "support_", None)
    if choices.shots and support is not None and rows is not None:
        given = Counter(support.y[rows].tolist())
        few = [f"{label} {n}" for label, n in sorted(given.items()) if n < choices.shots]
        if few:
            more = f" and {len(few) - 5} more" if len(few) > 5 else ""
            found.append(
                f"--shots {choices.shots} is more than some labels have; they give all they "
                f"have: {', '.join(few[:5])}{more}."
            )
    return found


def _zero_shot(
    choices: Choices,
    encoder: Any,
    store: str | None,
    label_set: LabelSet | None,
    support: Dataset | None,
) -> MediaClassifier:
    from showtell.classify.embedding.zero_shot import ZeroShotClassifier

    if label_set is None and (support is None or not support.labels):
        raise InputError(
            'Which labels? Name them with --labels "cat,dog" or --labels-file FILE, or show some '
            "pictures of each with --examples DIR (a folder per label)."
        )
    return ZeroShotClassifier(
        encoder,
        **_words(choices, label_set, support),
        transductive=choices.transductive,  # type: ignore[arg-type]
        abstain_below=choices.abstain_below,
        store=store,
        random_state=choices.seed,
    ).fit()


def _described(
    choices: Choices,
    encoder: Any,
    store: str | None,
    label_set: LabelSet | None,
    support: Dataset | None,
) -> MediaClassifier:
    from showtell.classify.described.described import DescriptionClassifier

    if choices.transductive is not None:
        raise InputError("--transductive belongs to --method zero-shot; leave it out.")
    labels = None if label_set is None else list(label_set.labels)
    if labels is None and support is not None and support.labels:
        labels = list(support.labels)
    return DescriptionClassifier(
        encoder,
        labels=labels,
        descriptions=choices.descriptions,
        method=choices.method,  # type: ignore[arg-type]
        domain=choices.domain,
        abstain_below=choices.abstain_below,
        store=store,
        random_state=choices.seed,
    ).fit()


def _by_clues(
    choices: Choices,
    encoder: Any,
    store: str | None,
    label_set: LabelSet | None,
    support: Dataset | None,
) -> MediaClassifier:
    from showtell.classify.concepts.classifier import ConceptClassifier

    support = _examples(choices, support)
    return ConceptClassifier(
        encoder,
        labels=list(support.labels if label_set is None else label_set.labels),
        concepts=choices.concepts,
        head="forest" if choices.method == "concept-forest" else "vote",
        shots=choices.shots,
        abstain_below=choices.abstain_below,
        store=store,
        random_state=choices.seed,
    ).fit(support.images, support.y)


def _examples(choices: Choices, support: Dataset | None) -> Dataset:
    """Check that there are images to learn from, and that they are for this alone."""
    if support is None or not len(support):
        raise InputError(
            f"Method {choices.method!r} learns from examples. Show some with --examples DIR, a "
            "folder per label with a few pictures each, or use --method zero-shot."
        )
    if choices.transductive is not None:
        raise InputError("--transductive belongs to --method zero-shot; leave it out for examples.")
    return support


def _few_shot(
    choices: Choices,
    encoder: Any,
    store: str | None,
    label_set: LabelSet | None,
    support: Dataset | None,
) -> MediaClassifier:
    from showtell.classify.embedding.few_shot import FewShotClassifier

    support = _examples(choices, support)
    method = {"auto": "auto", "few-shot": "auto"}.get(choices.method, choices.method)
    return FewShotClassifier(
        encoder,
        shots=choices.shots,
        method=method,  # type: ignore[arg-type]
        **_words(choices, label_set, support),
        abstain_below=choices.abstain_below,
        store=store,
        random_state=choices.seed,
    ).fit(support.images, support.y)


def _words(choices: Choices, label_set: LabelSet | None, support: Dataset | None) -> dict[str, Any]:
    """Collect what is known about the labels in words."""
    if label_set is None:
        assert support is not None
        return {"labels": list(support.labels), "templates": _templates(choices.templates)}
    return {
        "labels": list(label_set.labels),
        "templates": _templates(choices.templates),
        "descriptions": label_set.descriptions or None,
        "aliases": label_set.aliases or None,
    }


def _templates(value: str) -> str | tuple[str, ...]:
    """Read ``--templates``: a file with one template per line; names and templates as they are."""
    path = Path(value)
    if "{" in value or not path.is_file():
        return value
    lines = path.read_text(encoding="utf-8").splitlines()
    return tuple(line.strip() for line in lines if line.strip())
