"""The classifiers, one method per file."""

from __future__ import annotations

from showtell.classify.base import (
    EncoderClassifier,
    LimitsWarning,
    MediaClassifier,
    SkippedImagesWarning,
)
from showtell.classify.batch import adapt, balance
from showtell.classify.concept_evidence import (
    ClueContributions,
    ConceptCounterfactual,
    ConceptEvidence,
    ConceptImportances,
    LabelCard,
    LabelPair,
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
    "ClueContributions",
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
    "ImageEmbedder",
    "InContextClassifier",
    "LabelCard",
    "LabelPair",
    "LikelihoodClassifier",
    "LimitsWarning",
    "MediaClassifier",
    "Outcome",
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
