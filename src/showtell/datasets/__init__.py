"""Samples and labels: from folders, tables and boxes to a `Dataset`, its splits and its shots.

Each file loads when one of its names is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from showtell._lazy import lazy_names

if TYPE_CHECKING:
    from showtell.datasets.anonymise import LabelKey, anonymise_labels
    from showtell.datasets.boxes import load_boxes, load_coco, load_voc
    from showtell.datasets.dataset import Dataset, Sample
    from showtell.datasets.duplicates import (
        NearDuplicates,
        NearDuplicateWarning,
        NearPair,
        n_among,
        near_duplicates,
        warn_near_duplicates,
    )
    from showtell.datasets.expand import check_arguments, expand_images
    from showtell.datasets.label_set import LabelSet, parse_labels
    from showtell.datasets.lazy import LazyRows
    from showtell.datasets.load import load_dataset
    from showtell.datasets.shots import support_rows, support_set
    from showtell.datasets.split import limit_dataset, split_dataset

__all__ = [
    "Dataset",
    "LabelKey",
    "LabelSet",
    "LazyRows",
    "NearDuplicateWarning",
    "NearDuplicates",
    "NearPair",
    "Sample",
    "anonymise_labels",
    "check_arguments",
    "expand_images",
    "limit_dataset",
    "load_boxes",
    "load_coco",
    "load_dataset",
    "load_voc",
    "n_among",
    "near_duplicates",
    "parse_labels",
    "split_dataset",
    "support_rows",
    "support_set",
    "warn_near_duplicates",
]

_NAMES_OF = {
    "anonymise": "LabelKey anonymise_labels",
    "boxes": "load_boxes load_coco load_voc",
    "dataset": "Dataset Sample",
    "duplicates": (
        "NearDuplicateWarning NearDuplicates NearPair n_among near_duplicates warn_near_duplicates"
    ),
    "expand": "check_arguments expand_images",
    "label_set": "LabelSet parse_labels",
    "lazy": "LazyRows",
    "load": "load_dataset",
    "shots": "support_rows support_set",
    "split": "limit_dataset split_dataset",
}


__getattr__, __dir__ = lazy_names(__name__, _NAMES_OF)
