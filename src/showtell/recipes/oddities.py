"""What is odd about a fitted classifier, in sentences for a person."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from showtell.words import listed

if TYPE_CHECKING:
    from showtell.classify.base import MediaClassifier
    from showtell.datasets import Dataset
    from showtell.recipes.recipe import Recipe


def remarks(recipe: Recipe, classifier: MediaClassifier, examples: Dataset | None) -> list[str]:
    """Say what is odd about a fitted classifier.

    A single label, labels without a description, labels with too few examples.

    Parameters
    ----------
    recipe : Recipe
        What it was made from.
    classifier : MediaClassifier
    examples : Dataset or None
        The labelled images it was made with.

    Returns
    -------
    remarks : list of str
    """
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
    if described is not None and not recipe.row(examples=examples is not None).by_chance:
        bare = [label for label in described if not described[label]]
        if bare:
            found.append(
                f"No description for {listed(bare)}: they have the template alone. "
                "Labels must be spelled as in the file."
            )
    rows = getattr(classifier, "support_", None)
    shots = recipe.option("shots")
    if shots and examples is not None and rows is not None:
        given = Counter(examples.y[rows].tolist())
        few = [f"{label} {n}" for label, n in sorted(given.items()) if n < shots]
        if few:
            found.append(
                f"`shots` {shots} is more than some labels have; they give all they "
                f"have: {listed(few)}."
            )
    return found
