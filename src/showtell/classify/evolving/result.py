"""What an evolution starts and ends with: description sets, and classifiers by them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from showtell.classify.described.described import DescriptionClassifier
from showtell.encoders import Encoder
from showtell.errors import InputError
from showtell.prompts import DescriptionSet, read_descriptions

if TYPE_CHECKING:
    from showtell.classify.evolving.classifier import EvolvingDescriptionClassifier


def start_of(clf: EvolvingDescriptionClassifier, names: Sequence[str]) -> DescriptionSet:
    """Read what generation 0 has, without repeats and weights."""
    if clf.start is None:
        return DescriptionSet(dict.fromkeys(names, ()))
    given = read_descriptions(clf.start).without_repeats()
    if given.kind == "sentences":
        raise InputError(
            "`start` holds sentences, and phrases evolve, such as 'a long tail'. `showtell "
            "describe --style dclip` writes some; None starts from the names."
        )
    chosen = given.restricted(list(names))
    if not chosen.n_descriptions:
        theirs = ", ".join(map(repr, list(given)[:5])) or "nobody"
        raise InputError(
            f"None of the {len(names)} labels has a description in `start`; it describes "
            f"{theirs}. Its labels must be spelled as yours are."
        )
    return replace(chosen, weights={})


def described_by(
    clf: EvolvingDescriptionClassifier, descriptions: DescriptionSet
) -> DescriptionClassifier:
    """Make the classifier of a description set, not yet fitted."""
    template, domain = clf.template, clf.domain
    if clf.compat == "upstream":
        template, domain = "{label}", ""
        texts = {k: tuple(f"{k}, {text}" for text in v) for k, v in descriptions.items()}
        descriptions = DescriptionSet(texts, kind="sentences")
    classes = getattr(clf, "classes_", None)
    return DescriptionClassifier(
        clf.encoder,
        labels=descriptions.labels if classes is None else classes.tolist(),
        descriptions=descriptions,
        averaging="similarity",
        template=template,
        domain=domain,
        abstain_below=clf.abstain_below,
        probability=clf.probability,
        calibrate=False,
        store=clf.store,
    )


def fitted_on(
    clf: EvolvingDescriptionClassifier, encoder: Encoder, descriptions: DescriptionSet
) -> DescriptionClassifier:
    """Fit the classifier of a description set, be it one without any description."""
    own = described_by(clf, descriptions)
    own._check_arguments()
    own.classes_ = clf.classes_
    assert isinstance(own.descriptions, DescriptionSet)
    own.descriptions_ = own.descriptions
    own._embed(encoder, list(descriptions))
    own._take_scale(encoder)
    return own


def prompt_writer(
    clf: EvolvingDescriptionClassifier, domain: str | None
) -> Callable[[str, str | None], str]:
    """Write prompts as the final classifier does."""

    def write(label: str, text: str | None) -> str:
        texts = () if text is None else (text,)
        found = described_by(clf, DescriptionSet({label: texts}, domain=domain))
        assert isinstance(found.descriptions, DescriptionSet)
        found.descriptions_ = found.descriptions
        [[(prompt, _, _)]] = found._texts([label])
        return prompt

    return write
