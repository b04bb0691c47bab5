"""What a classifier by clues goes by altogether: parts, labels, and pairs that are mixed up."""

from __future__ import annotations

from dataclasses import dataclass

from showtell.classify.concepts.evidence import ConceptImportances, LabelCard, LabelPair


@dataclass(frozen=True, kw_only=True)
class ConceptOverview:
    """Importances of parts, attributes and clues; what sets labels apart; which are mixed up."""

    domain: str
    """What all labels are: "dog"."""
    importances: ConceptImportances
    cards: tuple[LabelCard, ...]
    """One for each label."""
    pairs: tuple[LabelPair, ...] = ()
    """Labels that are taken for each other, the most often first."""
    n_repeats: int = 0
    """How often each group of clues was shuffled; 0 where that is not known."""
