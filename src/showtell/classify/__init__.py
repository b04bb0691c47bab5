"""The classifiers, one method per file.

Each file loads when one of its names is first used: a classifier that asks a model of a vendor
needs no clustering, and one that compares embeddings no network.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from showtell.classify.base import (
        EncoderClassifier,
        LimitsWarning,
        MediaClassifier,
        SkippedImagesWarning,
    )
    from showtell.classify.batch import adapt, balance
    from showtell.classify.clue_selection import ClueSelection
    from showtell.classify.concept_evidence import (
        AlikeImage,
        ClueChange,
        ClueContributions,
        ConceptCounterfactual,
        ConceptEvidence,
        ConceptImportances,
        GroupImportance,
        LabelCard,
        LabelGroup,
        LabelPair,
        PartOpinion,
    )
    from showtell.classify.concepts import ConceptClassifier
    from showtell.classify.confidence import ConfidenceMap, label_probabilities
    from showtell.classify.described import DescriptionClassifier, DescriptionEvidence, Spoke
    from showtell.classify.direct import DirectClassifier
    from showtell.classify.embedder import ImageEmbedder
    from showtell.classify.evolution_record import (
        Evolution,
        Generation,
        Outcome,
        read_evolution,
    )
    from showtell.classify.evolving import EvolutionPlan, EvolvingDescriptionClassifier
    from showtell.classify.few_shot import FewShotClassifier
    from showtell.classify.fusion import FusionClassifier, FusionEvidence
    from showtell.classify.in_context import InContextClassifier
    from showtell.classify.likelihood import LikelihoodClassifier
    from showtell.classify.predictions import STATUSES, Predictions, Status
    from showtell.classify.prototypes import class_means, label_prototypes, mean_direction
    from showtell.classify.saved import load_classifier, save_classifier
    from showtell.classify.tables import RowWriter
    from showtell.classify.tip_adapter import tip_adapter_logits
    from showtell.classify.zero_shot import ZeroShotClassifier

__all__ = [
    "STATUSES",
    "AlikeImage",
    "ClueChange",
    "ClueContributions",
    "ClueSelection",
    "ConceptClassifier",
    "ConceptCounterfactual",
    "ConceptEvidence",
    "ConceptImportances",
    "ConfidenceMap",
    "DescriptionClassifier",
    "DescriptionEvidence",
    "DirectClassifier",
    "EncoderClassifier",
    "Evolution",
    "EvolutionPlan",
    "EvolvingDescriptionClassifier",
    "FewShotClassifier",
    "FusionClassifier",
    "FusionEvidence",
    "Generation",
    "GroupImportance",
    "ImageEmbedder",
    "InContextClassifier",
    "LabelCard",
    "LabelGroup",
    "LabelPair",
    "LikelihoodClassifier",
    "LimitsWarning",
    "MediaClassifier",
    "Outcome",
    "PartOpinion",
    "Predictions",
    "RowWriter",
    "SkippedImagesWarning",
    "Spoke",
    "Status",
    "ZeroShotClassifier",
    "adapt",
    "balance",
    "class_means",
    "label_probabilities",
    "label_prototypes",
    "load_classifier",
    "mean_direction",
    "read_evolution",
    "save_classifier",
    "tip_adapter_logits",
]

_HOME_OF = {
    "STATUSES": "predictions",
    "AlikeImage": "concept_evidence",
    "ClueChange": "concept_evidence",
    "ClueContributions": "concept_evidence",
    "ClueSelection": "clue_selection",
    "ConceptClassifier": "concepts",
    "ConceptCounterfactual": "concept_evidence",
    "ConceptEvidence": "concept_evidence",
    "ConceptImportances": "concept_evidence",
    "ConfidenceMap": "confidence",
    "DescriptionClassifier": "described",
    "DescriptionEvidence": "described",
    "DirectClassifier": "direct",
    "EncoderClassifier": "base",
    "Evolution": "evolution_record",
    "EvolutionPlan": "evolving",
    "EvolvingDescriptionClassifier": "evolving",
    "FewShotClassifier": "few_shot",
    "FusionClassifier": "fusion",
    "FusionEvidence": "fusion",
    "Generation": "evolution_record",
    "GroupImportance": "concept_evidence",
    "ImageEmbedder": "embedder",
    "InContextClassifier": "in_context",
    "LabelCard": "concept_evidence",
    "LabelGroup": "concept_evidence",
    "LabelPair": "concept_evidence",
    "LikelihoodClassifier": "likelihood",
    "LimitsWarning": "base",
    "MediaClassifier": "base",
    "Outcome": "evolution_record",
    "PartOpinion": "concept_evidence",
    "Predictions": "predictions",
    "RowWriter": "tables",
    "SkippedImagesWarning": "base",
    "Spoke": "described",
    "Status": "predictions",
    "ZeroShotClassifier": "zero_shot",
    "adapt": "batch",
    "balance": "batch",
    "class_means": "prototypes",
    "label_probabilities": "confidence",
    "label_prototypes": "prototypes",
    "load_classifier": "saved",
    "mean_direction": "prototypes",
    "read_evolution": "evolution_record",
    "save_classifier": "saved",
    "tip_adapter_logits": "tip_adapter",
}


def __getattr__(name: str) -> Any:
    """Load the file that holds `name`."""
    if name not in _HOME_OF:
        raise AttributeError(f"module 'showtell.classify' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"showtell.classify.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
