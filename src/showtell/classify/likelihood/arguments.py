"""Arguments of `LikelihoodClassifier`, checked before a model is loaded."""

from __future__ import annotations

import string
from typing import TYPE_CHECKING

from showtell.checks import flag, one_of, whole
from showtell.errors import InputError
from showtell.mllm.local.vlm import LocalVLM

if TYPE_CHECKING:
    from showtell.classify.likelihood.classifier import LikelihoodClassifier

LETTERS = string.ascii_uppercase
"""Of the options of rule="letter"."""

_RULES = ("sum", "mean", "sum_eos", "pmi", "letter")


def check_arguments(clf: LikelihoodClassifier) -> None:
    """Refuse values that are none of the allowed ones."""
    if not isinstance(clf.model, str | LocalVLM):
        raise InputError(
            "`model` is 'local-dir:PATH', 'hf-hub:ORG/NAME' or a LocalVLM; got "
            f"{type(clf.model).__name__}."
        )
    one_of("rule", clf.rule, _RULES)
    flag(also=["auto"], calibrate=clf.calibrate)
    if isinstance(clf.null_images, str) and clf.null_images != "default":
        raise InputError(
            f"`null_images` is 'default', a sequence of images or None; got {clf.null_images!r}."
        )
    gamma = clf.batch_calibration
    if gamma is not None and (isinstance(gamma, bool) or not -10 <= gamma <= 10):
        raise InputError(f"`batch_calibration` is a number near 1, or None; got {gamma!r}.")
    whole(1, also=[None], rotations=clf.rotations, shortlist=clf.shortlist)
    if clf.rotations is not None and clf.rule != "letter":
        raise InputError("`rotations` turns the options of rule='letter'; set that, or None.")
    for name in ("question", "stub"):
        if not isinstance(getattr(clf, name), str):
            raise InputError(f"`{name}` is text, got {getattr(clf, name)!r}.")


def check_sizes(clf: LikelihoodClassifier, n_classes: int) -> None:
    """Refuse what does not go with so many labels."""
    short = clf.shortlist is not None and clf.shortlist < n_classes
    n_asked = min(n_classes, clf.shortlist or n_classes)
    if clf.rule == "letter" and n_asked > len(LETTERS):
        raise InputError(
            f"rule='letter' has {len(LETTERS)} letters for {n_asked} labels. Set "
            f"`shortlist` to {len(LETTERS)} or fewer, or take rule='sum'."
        )
    if short and clf.batch_calibration is not None:
        raise InputError(
            "`batch_calibration` needs the probability of every label for every image, which "
            "a short list does not give. Set one of the two to None."
        )
    if short and clf.rule == "letter" and clf.null_images is not None:
        raise InputError(
            "With rule='letter' and a short list each image has options of its own, so there "
            "is no common null. Set `null_images=None` or `shortlist=None`."
        )
