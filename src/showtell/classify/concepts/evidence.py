"""What a ConceptClassifier says about itself: importances, labels, pairs, images, and changes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from showtell.checks import one_of
from showtell.prompts.concepts.trees import Clue

ConceptLevel: TypeAlias = Literal["parts", "attributes", "clues"]
_LEVELS = ("parts", "attributes", "clues")


@dataclass(frozen=True, kw_only=True)
class GroupImportance:
    """How much depends on a part, an attribute of a part, or a single clue."""

    part: tuple[str, ...]
    """Names from the top down; a part counts all that is below it."""
    attribute: str | None
    """None for a part."""
    clue: Clue | None
    """None for a part or an attribute."""
    columns: tuple[int, ...]
    """Places of its clues in ``selected_``, which were permuted together."""
    mean: float
    """By how much accuracy falls, or log loss rises."""
    std: float
    """Over the repeats."""

    @property
    def name(self) -> str:
        """What to call it: the clue's sentence, or the path of part and attribute."""
        return _name(self.part, self.attribute, self.clue)


@dataclass(frozen=True, kw_only=True)
class ConceptImportances:
    """What separates the labels: every part, attribute and clue, in the order of the tree."""

    parts: tuple[GroupImportance, ...]
    attributes: tuple[GroupImportance, ...]
    clues: tuple[GroupImportance, ...]
    baseline: float
    """Accuracy or log loss of the features as they are."""
    measure: str
    n_samples: int
    """Images it was measured on, none of which its model had learned from."""

    def top(self, level: ConceptLevel = "parts", n: int | None = 10) -> list[GroupImportance]:
        """Sort one level, most important first."""
        one_of("level", level, _LEVELS)
        found: tuple[GroupImportance, ...] = getattr(self, level)
        return sorted(found, key=lambda one: -one.mean)[:n]

    def __str__(self) -> str:
        lines = [f"{self.measure} {self.baseline:.3f} on {self.n_samples} images; without"]
        lines += [f"  {one.mean:+.4f}  {one.name}" for one in self.top("parts", 5)]
        return "\n".join(lines)


@dataclass(frozen=True, kw_only=True)
class LabelGroup:
    """What a part, an attribute or a clue says about one label."""

    part: tuple[str, ...]
    attribute: str | None
    clue: Clue | None
    columns: tuple[int, ...]
    importance: float
    """By how much the label's probability, on its own images less that on others, falls when the
    group is permuted."""
    direction: float
    """Mean of the features on the label's images less that on others, in standard deviations; of a
    group, that of its clue with the greatest."""

    @property
    def name(self) -> str:
        """What to call it: the clue's sentence, or the path of part and attribute."""
        return _name(self.part, self.attribute, self.clue)


@dataclass(frozen=True, kw_only=True)
class LabelCard:
    """What sets one label apart from all others; most important first."""

    label: str
    parts: tuple[LabelGroup, ...]
    attributes: tuple[LabelGroup, ...]
    clues: tuple[LabelGroup, ...]
    n_images: int
    """Of the label, that it was measured on."""

    def __str__(self) -> str:
        said = ", ".join(f"{one.name} ({one.direction:+.1f})" for one in self.clues[:5])
        return f"{self.label}: {said or 'nothing'}"


@dataclass(frozen=True, kw_only=True)
class LabelPair:
    """Why two labels are confused: which clues are important for both."""

    first: str
    second: str
    n_top: int
    shared: tuple[Clue, ...]
    """Among the most important of both."""
    only_first: tuple[Clue, ...]
    only_second: tuple[Clue, ...]
    overlap: float
    """Share of the most important clues that are shared, 0 to 1."""
    first_as_second: int
    """Images of the first that were taken for the second, by models that had not seen them."""
    second_as_first: int

    def __str__(self) -> str:
        return (
            f"{self.first} and {self.second} share {len(self.shared)} of their {self.n_top} most "
            f"important clues; taken for each other {self.first_as_second} and "
            f"{self.second_as_first} times"
        )


@dataclass(frozen=True, kw_only=True)
class PartOpinion:
    """What the model of one part says about an image."""

    part: tuple[str, ...]
    attribute: str | None
    """Set where every attribute has a model."""
    label: str
    """Its vote."""
    proba: NDArray[np.float64]
    """Shape (n_classes,)."""


@dataclass(frozen=True, kw_only=True)
class ConceptEvidence:
    """What the clues say about an image."""

    image: str
    label: str
    proba: NDArray[np.float64]
    """Shape (n_classes,), columns as ``classes_``."""
    clues: tuple[Clue, ...]
    """Those in use, as ``selected_``."""
    values: NDArray[np.float32]
    """Similarity of the image with each clue, times the encoder's scale; shape (n_selected,)."""
    percentiles: NDArray[np.float64]
    """Share of the training images whose value is lower, equal ones by half; 0 to 100."""
    opinions: tuple[PartOpinion, ...]
    """Of the parts, where they vote."""
    error: str | None = None
    """Why there is nothing else here, for an input that could not be used."""

    def unusual(self, n: int = 5) -> list[tuple[Clue, float]]:
        """Name the clues whose values are furthest from the middle, with their percentiles."""
        order = np.argsort(-np.abs(self.percentiles - 50), kind="stable")[:n]
        return [(self.clues[i], float(self.percentiles[i])) for i in order]

    def __str__(self) -> str:
        if self.error is not None:
            return f"{self.image}: {self.error}"
        said = ", ".join(f"{clue.text} ({place:.0f} %)" for clue, place in self.unusual(3))
        return f"{self.image}: {self.label}; {said}"


@dataclass(frozen=True, kw_only=True)
class ClueContributions:
    """SHAP values: what each clue adds to the output for each label."""

    values: NDArray[np.float64]
    """Shape (n_samples, n_selected, n_classes)."""
    base: NDArray[np.float64]
    """What the output is without knowing the image, shape (n_classes,)."""
    output: NDArray[np.float64]
    """What is explained, shape (n_samples, n_classes): ``base + values.sum(axis=1)``."""
    clues: tuple[Clue, ...]
    unit: Literal["probability", "log-odds"]
    """What the output is: the forest's probability, or the mean log-odds of the parts."""
    features: NDArray[np.float32]
    """Shape (n_samples, n_selected)."""

    def top(self, row: int, code: int, n: int = 10) -> list[tuple[Clue, float]]:
        """Name the clues with the greatest contributions to a label, either way."""
        values = self.values[row, :, code]
        order = np.argsort(-np.abs(values), kind="stable")[:n]
        return [(self.clues[i], float(values[i])) for i in order]


@dataclass(frozen=True, kw_only=True)
class AlikeImage:
    """A training image that looks alike to the clues."""

    row: int
    """Its place in what was given to `fit`."""
    label: str
    similarity: float
    """Correlation of the clues in standard deviations: 1 is the same, 0 is nothing in common."""


@dataclass(frozen=True, kw_only=True)
class ClueChange:
    """A clue whose value would have to be another."""

    clue: Clue
    before: float
    after: float
    percentile_before: float
    """Among the training images, 0 to 100."""
    percentile_after: float


@dataclass(frozen=True, kw_only=True)
class ConceptCounterfactual:
    """The smallest change of clue values that was found to give an image another label."""

    image: str
    label: str
    target: str
    flips: bool
    """Whether the changes are enough."""
    changes: tuple[ClueChange, ...]
    """Most effective first."""
    proba_before: NDArray[np.float64]
    """Shape (n_classes,)."""
    proba_after: NDArray[np.float64]

    def __str__(self) -> str:
        said = ", ".join(
            f"{one.clue.text} ({one.percentile_before:.0f} to {one.percentile_after:.0f} %)"
            for one in self.changes
        )
        if not self.flips:
            return f"{self.image}: no change found that turns {self.label} into {self.target}"
        return f"{self.image}: {self.target} instead of {self.label} with {said}"


def _name(part: tuple[str, ...], attribute: str | None, clue: Clue | None) -> str:
    if clue is not None:
        return clue.text
    path = " > ".join(part)
    return path if attribute is None else f"{path}: {attribute}"


def percentiles(values: NDArray[Any], known: NDArray[Any]) -> NDArray[np.float64]:
    """Place values among known ones, column by column: 0 to 100, equal ones count half.

    `values`, of shape (n, n_columns); `known`, of shape (n_known, n_columns).

    Examples
    --------
    >>> percentiles(np.array([[2.0]]), np.array([[1.0], [2.0], [3.0], [4.0]]))
    array([[37.5]])
    """
    out = np.empty(values.shape)
    for column in range(values.shape[1]):
        ordered = np.sort(known[:, column])
        below = np.searchsorted(ordered, values[:, column], side="left")
        upto = np.searchsorted(ordered, values[:, column], side="right")
        out[:, column] = 50.0 * (below + upto) / len(ordered)
    return out
