"""Samples and labels: from folders, tables and boxes to a `Dataset`, its splits and its shots."""

from __future__ import annotations

from showtell.datasets.anonymise import LabelKey, anonymise_labels
from showtell.datasets.boxes import load_coco, load_voc
from showtell.datasets.dataset import Dataset, Sample
from showtell.datasets.duplicates import (
    NearDuplicates,
    NearDuplicateWarning,
    NearPair,
    near_duplicates,
    warn_near_duplicates,
)
from showtell.datasets.expand import expand_images
from showtell.datasets.label_set import LabelSet, parse_labels
from showtell.datasets.lazy import LazyRows
from showtell.datasets.load import load_dataset
from showtell.datasets.shots import Episode, episodes, support_rows, support_set
from showtell.datasets.split import limit_dataset, split_dataset

__all__ = [
    "Dataset",
    "Episode",
    "LabelKey",
    "LabelSet",
    "LazyRows",
    "NearDuplicateWarning",
    "NearDuplicates",
    "NearPair",
    "Sample",
    "anonymise_labels",
    "episodes",
    "expand_images",
    "limit_dataset",
    "load_coco",
    "load_dataset",
    "load_voc",
    "near_duplicates",
    "parse_labels",
    "split_dataset",
    "support_rows",
    "support_set",
    "warn_near_duplicates",
]
