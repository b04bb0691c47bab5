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
    from showtell.classify.evolving.evolve import EvolutionPlan
    from showtell.classify.evolving.record import BeforeAfter, Evolution, Generation, read_evolution
    from showtell.classify.likelihood.classifier import LikelihoodClassifier
    from showtell.classify.predictions import Predictions
    from showtell.classify.saved import load_classifier, save_classifier
    from showtell.classify.sets import CalibratedSets, calibrate_sets
    from showtell.tables import STATUSES, RowWriter, Status

__all__ = [
    "STATUSES",
    "AlikeImage",
    "BeforeAfter",
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

_NAMES_OF = {
    "asking.confidence": "ConfidenceMap label_probabilities",
    "asking.direct": "DirectClassifier",
    "asking.in_context": "InContextClassifier",
    "base": "EncoderClassifier LimitsWarning MediaClassifier SkippedImagesWarning",
    "chain.cascade": "CascadeClassifier",
    "chain.distill": "DistilledClassifier",
    "chain.export": "export_student",
    "chain.promise": "Promise",
    "chain.teacher": "TeacherLabels",
    "concepts.classifier": "ConceptClassifier",
    "concepts.evidence": (
        "AlikeImage ClueChange ClueContributions ConceptCounterfactual ConceptEvidence "
        "ConceptImportances GroupImportance LabelCard LabelGroup LabelPair PartOpinion"
    ),
    "concepts.selection": "ClueSelection",
    "described.described": "DescriptionClassifier DescriptionEvidence Spoke",
    "described.fusion": "FusionClassifier FusionEvidence",
    "embedding.embedder": "ImageEmbedder",
    "embedding.few_shot": "FewShotClassifier",
    "embedding.prototypes": "class_means label_prototypes mean_direction",
    "embedding.tip_adapter": "tip_adapter_logits",
    "embedding.transductive": "adapt balance",
    "embedding.zero_shot": "ZeroShotClassifier",
    "evolving.classifier": "EvolvingDescriptionClassifier",
    "evolving.evolve": "EvolutionPlan",
    "evolving.record": "Evolution Generation BeforeAfter read_evolution",
    "likelihood.classifier": "LikelihoodClassifier",
    "predictions": "Predictions RowWriter STATUSES Status",
    "saved": "load_classifier save_classifier",
    "sets": "CalibratedSets calibrate_sets",
}


_load, __dir__ = lazy_names(__name__, _NAMES_OF)


def __getattr__(name: str) -> Any:
    """Load the file that holds `name`."""
    if name.endswith(("Classifier", "_classifier")):
        join_scikit_learn()  # whoever takes one by its public name may use it as an estimator
    return _load(name)
