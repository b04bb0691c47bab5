"""The classifiers, one method per file.

Each file loads when one of its names is first used: a classifier that asks a model of a vendor
needs no clustering, and one that compares embeddings no network.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from showtell._lazy import lazy_names
from showtell.classify.estimator import join_scikit_learn

if TYPE_CHECKING:
    from showtell.classify.asking.confidence import ConfidenceMap, label_probabilities
    from showtell.classify.asking.direct import DirectClassifier
    from showtell.classify.asking.in_context import InContextClassifier
    from showtell.classify.base import (
        EncoderClassifier,
        LimitsWarning,
        MediaClassifier,
        SkippedImagesWarning,
    )
    from showtell.classify.chain.cascade import CascadeClassifier
    from showtell.classify.chain.distill import DistilledClassifier
    from showtell.classify.chain.export import export_student
    from showtell.classify.chain.promise import Promise
    from showtell.classify.chain.teacher import TeacherLabels
    from showtell.classify.concepts.classifier import ConceptClassifier
    from showtell.classify.concepts.evidence import (
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
    from showtell.classify.concepts.selection import ClueSelection
    from showtell.classify.described.described import (
        DescriptionClassifier,
        DescriptionEvidence,
        Spoke,
    )
    from showtell.classify.described.fusion import FusionClassifier, FusionEvidence
    from showtell.classify.embedding.embedder import ImageEmbedder
    from showtell.classify.embedding.few_shot import FewShotClassifier
    from showtell.classify.embedding.prototypes import class_means, label_prototypes, mean_direction
    from showtell.classify.embedding.tip_adapter import tip_adapter_logits
    from showtell.classify.embedding.transductive import adapt, balance
    from showtell.classify.embedding.zero_shot import ZeroShotClassifier
    from showtell.classify.evolving.classifier import EvolvingDescriptionClassifier
    from showtell.classify.evolving.planning import EvolutionPlan
    from showtell.classify.evolving.record import (
        Evolution,
        Generation,
        Outcome,
        read_evolution,
    )
    from showtell.classify.likelihood.classifier import LikelihoodClassifier
    from showtell.classify.predictions import STATUSES, Predictions, Status
    from showtell.classify.saved import load_classifier, save_classifier
    from showtell.classify.sets import CalibratedSets, calibrate_sets
    from showtell.tables import RowWriter

__all__ = [
    "STATUSES",
    "AlikeImage",
    "CalibratedSets",
    "CascadeClassifier",
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
    "DistilledClassifier",
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
    "Promise",
    "RowWriter",
    "SkippedImagesWarning",
    "Spoke",
    "Status",
    "TeacherLabels",
    "ZeroShotClassifier",
    "adapt",
    "balance",
    "calibrate_sets",
    "class_means",
    "export_student",
    "label_probabilities",
    "label_prototypes",
    "load_classifier",
    "mean_direction",
    "read_evolution",
    "save_classifier",
    "tip_adapter_logits",
]

_HOME_OF = {
    "CalibratedSets": "sets",
    "calibrate_sets": "sets",
    "CascadeClassifier": "chain.cascade",
    "DistilledClassifier": "chain.distill",
    "Promise": "chain.promise",
    "TeacherLabels": "chain.teacher",
    "export_student": "chain.export",
    "STATUSES": "predictions",
    "AlikeImage": "concepts.evidence",
    "ClueChange": "concepts.evidence",
    "ClueContributions": "concepts.evidence",
    "ClueSelection": "concepts.selection",
    "ConceptClassifier": "concepts.classifier",
    "ConceptCounterfactual": "concepts.evidence",
    "ConceptEvidence": "concepts.evidence",
    "ConceptImportances": "concepts.evidence",
    "ConfidenceMap": "asking.confidence",
    "DescriptionClassifier": "described.described",
    "DescriptionEvidence": "described.described",
    "DirectClassifier": "asking.direct",
    "EncoderClassifier": "base",
    "Evolution": "evolving.record",
    "EvolutionPlan": "evolving.planning",
    "EvolvingDescriptionClassifier": "evolving.classifier",
    "FewShotClassifier": "embedding.few_shot",
    "FusionClassifier": "described.fusion",
    "FusionEvidence": "described.fusion",
    "Generation": "evolving.record",
    "GroupImportance": "concepts.evidence",
    "ImageEmbedder": "embedding.embedder",
    "InContextClassifier": "asking.in_context",
    "LabelCard": "concepts.evidence",
    "LabelGroup": "concepts.evidence",
    "LabelPair": "concepts.evidence",
    "LikelihoodClassifier": "likelihood.classifier",
    "LimitsWarning": "base",
    "MediaClassifier": "base",
    "Outcome": "evolving.record",
    "PartOpinion": "concepts.evidence",
    "Predictions": "predictions",
    "RowWriter": "predictions",
    "SkippedImagesWarning": "base",
    "Spoke": "described.described",
    "Status": "predictions",
    "ZeroShotClassifier": "embedding.zero_shot",
    "adapt": "embedding.transductive",
    "balance": "embedding.transductive",
    "class_means": "embedding.prototypes",
    "label_probabilities": "asking.confidence",
    "label_prototypes": "embedding.prototypes",
    "load_classifier": "saved",
    "mean_direction": "embedding.prototypes",
    "read_evolution": "evolving.record",
    "save_classifier": "saved",
    "tip_adapter_logits": "embedding.tip_adapter",
}


_load, __dir__ = lazy_names(__name__, _HOME_OF)


def __getattr__(name: str) -> Any:
    """Load the file that holds `name`."""
    if name in _HOME_OF and name.endswith(("Classifier", "_classifier")):
        join_scikit_learn()  # whoever takes one by its public name may use it as an estimator
    return _load(name)
