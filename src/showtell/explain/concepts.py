"""Explanations of a ConceptClassifier: of single images by clues, and of all it goes by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from showtell.classify.concepts.classifier import ConceptClassifier
from showtell.classify.concepts.evidence import ConceptEvidence
from showtell.classify.estimator import check_is_fitted
from showtell.errors import InputError
from showtell.explain.clues import Changes, ClueStep, Swap, Waterfall
from showtell.explain.neighbours import Examples, picture_of
from showtell.explain.overview import ConceptOverview
from showtell.explain.parts import Bar, Bars, Neighbour, Neighbours, Part
from showtell.media import Media, media_name
from showtell.words import listed

_PAIRS = 30
_AT_ONCE = 500  # images whose contributions are held in memory
_FEWEST, _REPEATS = 2, 5  # permutations of each group; two are needed to see a spread
_WORK = 1_000_000  # clues x images x permutations that do not keep one waiting


class ClueReasons:
    """The reasons for many images, found together because that is much quicker."""

    def __init__(
        self,
        classifier: ConceptClassifier,
        images: Sequence[Media],
        truth: Sequence[str] | None,
        examples: Examples | None,
        *,
        n_most: int,
        n_clues: int,
    ) -> None:
        self.classifier, self.images, self.truth = classifier, images, truth
        self.examples, self.n_most, self.n_clues = examples, n_most, n_clues
        self.classes = [str(label) for label in classifier.classes_.tolist()]
        self.evidence: list[ConceptEvidence] = classifier.explain(images) if len(images) else []
        self._pictures: dict[int, bytes] = {}

    def waterfalls(self) -> list[list[Part]]:
        """SHAP values for the answer of each image, and for the true label or the next best."""
        all_parts: list[list[Part]] = []
        for row, said in enumerate(self.evidence):
            place = row % _AT_ONCE
            if place == 0:
                found = self.classifier.contributions(self.images[row : row + _AT_ONCE])
            code = self.classes.index(said.label)
            other, about = self._other(row, said, code)
            parts: list[Part] = []
            for of, role in ((code, "label"), (other, about)):
                values = found.values[place, :, of]
                order = np.argsort(-np.abs(values), kind="stable")[: self.n_clues]
                rest = np.delete(values, order)
                label = self.classes[of]
                titles = {"label": f"Why {label}", "actual": f"Why not {label}"}
                parts.append(
                    Waterfall(
                        title=titles.get(role, f"What spoke for {label}"),
                        label=label,
                        unit=found.unit,
                        base=float(found.base[of]),
                        output=float(found.output[place, of]),
                        steps=tuple(
                            ClueStep(
                                text=said.clues[i].text,
                                part=said.clues[i].part,
                                value=float(said.values[i]),
                                percentile=float(said.percentiles[i]),
                                contribution=float(values[i]),
                            )
                            for i in order.tolist()
                        ),
                        rest=float(rest.sum()),
                        n_rest=len(rest),
                        about=role,
                    )
                )
            all_parts.append(parts)
        return all_parts

    def _other(self, row: int, said: ConceptEvidence, code: int) -> tuple[int, str]:
        """Code of the label to compare the answer with, and what it is."""
        actual = None if self.truth is None else self.truth[row]
        if actual is not None and actual in self.classes and self.classes.index(actual) != code:
            return self.classes.index(actual), "actual"
        return next(int(c) for c in np.argsort(-said.proba, kind="stable") if c != code), "rival"

    def votes(self) -> list[list[Part]]:
        """How many parts vote for each label; nothing where parts do not vote."""
        return [self._votes(said) for said in self.evidence]

    def _votes(self, said: ConceptEvidence) -> list[Part]:
        if not said.opinions:
            return []
        counts: dict[str, list[str]] = {}
        for one in said.opinions:
            name = one.part[-1] if one.part else "all clues"
            counts.setdefault(one.label, []).append(
                name if one.attribute is None else f"{name} {one.attribute}"
            )
        n = len(said.opinions)
        bars = []
        for label in sorted(counts, key=lambda name: -len(counts[name]))[: self.n_most]:
            names = counts[label]
            named = listed(names, most=4)
            bars.append(
                Bar(text=f"{label}: {named}", value=len(names) / n, shown=f"{len(names)} of {n}")
            )
        note = "Each part has one vote, by its own clues; the majority decides."
        return [Bars(title="How the parts vote", bars=tuple(bars), about="votes", note=note)]

    def alike(self) -> list[list[Part]]:
        """Find the training images that look most alike to the clues."""
        if not len(self.images):
            return []
        found = self.classifier.alike(self.images, n=self.n_most)
        return [
            [
                Neighbours(
                    title="Most alike by clues",
                    label=said.label,
                    by="clues",
                    neighbours=tuple(
                        Neighbour(
                            image=self._name(one.row),
                            label=one.label,
                            cosine=one.similarity,
                            picture=self._picture(one.row),
                        )
                        for one in of_image
                    ),
                    note="Training images with the most similar profile over all clues; 1 is the "
                    "same.",
                )
            ]
            for said, of_image in zip(self.evidence, found, strict=True)
        ]

    def _name(self, row: int) -> str:
        if self.examples is None:
            return f"training image {row + 1}"
        image = self.examples.given[row]
        return f"example {row + 1}" if isinstance(image, bytes) else media_name(image)

    def _picture(self, row: int) -> bytes:
        if self.examples is None:
            return b""
        if row not in self._pictures:
            self._pictures[row] = picture_of(self.examples.given[row])
        return self._pictures[row]

    def changes(self) -> list[list[Part]]:
        """Find what would give each image the true label, or else the next best."""
        found: list[list[Part]] = []
        for row, said in enumerate(self.evidence):
            code = self.classes.index(said.label)
            other, _ = self._other(row, said, code)
            label = self.classifier.classes_[other]
            try:
                one = self.classifier.counterfactual(self.images[row], label)
            except InputError:  # two labels with one probability: the other one counts as given
                found.append([])
                continue
            swaps = tuple(
                Swap(
                    text=change.clue.text,
                    part=change.clue.part,
                    before=change.percentile_before,
                    after=change.percentile_after,
                )
                for change in one.changes
            )
            found.append(
                [Changes(label=one.label, target=one.target, flips=one.flips, swaps=swaps)]
            )
        return found


def concept_overview(
    classifier: ConceptClassifier,
    X: Sequence[Media] | None = None,
    y: Any = None,
    *,
    n_repeats: int | None = None,
) -> ConceptOverview:
    """Measure what a classifier by clues goes by: for all labels, for each, and for pairs.

    Parameters
    ----------
    classifier : ConceptClassifier
        Fitted.
    X, y : images and labels, optional
        Not those of `fit`, to measure the importance of parts, attributes and clues on. None: the
        images of `fit`, each predicted by a model that has not learned from it.
    n_repeats : int, optional
        Permutations of each group. None: 5, and down to 2 where clues and images are many.

    Returns
    -------
    overview : ConceptOverview
        For `showtell.explain.write_explanations`.

    Raises
    ------
    InputError
        If no image can be held out, or X and y do not fit.

    References
    ----------
    Qu & Yatskar (2024), arXiv:2405.18672; Bastide (2024) for the pairs.

    Examples
    --------
    >>> from showtell.testing import WordEncoder
    >>> tree = {"domain": "cat", "parts": [
    ...     {"part": "fur", "attributes": {"pattern": ["stripes", "spots"]}},
    ...     {"part": "eye", "attributes": {"colour": ["green"]}}]}
    >>> X = ["stripes", "stripes and a tail", "spots", "spots and a tail"] * 3
    >>> clf = ConceptClassifier(WordEncoder(["stripes", "spots", "tail"]), concepts=tree)
    >>> overview = concept_overview(clf.fit(X[:4], ["tiger", "tiger", "leopard", "leopard"]),
    ...                             X, ["tiger", "tiger", "leopard", "leopard"] * 3)
    >>> [one.name for one in overview.importances.top("parts")]
    ['fur', 'eye']
    """
    if n_repeats is None:
        n_repeats = _repeats(classifier, 0 if X is None else len(X))
    labels = classifier.classes_.tolist()
    cards = [classifier.label_importances(label, n_repeats=n_repeats) for label in labels]
    pairs = [
        classifier.pair_report(first, second, n_repeats=n_repeats)
        for i, first in enumerate(labels)
        for second in labels[i + 1 :]
    ]
    mixed = [pair for pair in pairs if pair.first_as_second or pair.second_as_first]
    mixed.sort(key=lambda pair: -(pair.first_as_second + pair.second_as_first))
    return ConceptOverview(
        domain=classifier.concepts_.domain,
        importances=classifier.importances(X, y, n_repeats=n_repeats),
        cards=tuple(cards),
        pairs=tuple(mixed[:_PAIRS]),
        n_repeats=n_repeats,
    )


def _repeats(classifier: ConceptClassifier, n_images: int) -> int:
    """Choose how often groups are permuted, fewer times where each time takes long."""
    check_is_fitted(classifier)
    each = len(classifier.selected_) * max(len(classifier.support_codes_), n_images, 1)
    return min(max(_WORK // max(each, 1), _FEWEST), _REPEATS)
