"""Arguments of the classifiers that ask a multimodal LLM: checked, and what "auto" stands for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

from showtell.checks import flag, whole
from showtell.errors import InputError, UnknownNameError
from showtell.mllm.capabilities import Capabilities

if TYPE_CHECKING:
    from showtell.classify.asking.classifier import MLLMClassifier

Confidence: TypeAlias = Literal["auto", "verbalised", "logprobs", "votes", "decisions"]
Debias: TypeAlias = Literal["contextual", "batch"]
_CORRECTIONS = ("contextual", "batch", "None")
_CONFIDENCES = ("auto", "verbalised", "logprobs", "votes", "decisions", "None")
_ROUND = 50  # labels per question of two steps, where the provider states no limit


def check_arguments(clf: MLLMClassifier) -> None:
    """Refuse values that are none of the allowed ones."""
    clf._access().check(takes_jobs=True)
    if clf.confidence is not None and clf.confidence not in _CONFIDENCES[:-1]:
        raise UnknownNameError("confidence", str(clf.confidence), _CONFIDENCES)
    whole(1, n_samples=clf.n_samples)
    whole(1, also=["all"], rotations=clf.rotations)
    if clf.confidence == "votes" and clf.n_samples < 2 and clf.rotations == 1:
        raise InputError(
            "`confidence='votes'` counts repeated answers: set `n_samples` to 2 or more, or "
            "`rotations`.",
            param=("n_samples", "rotations"),
        )
    if clf.debias is not None and clf.debias not in _CORRECTIONS[:-1]:
        raise UnknownNameError("correction", str(clf.debias), _CORRECTIONS)
    if isinstance(clf.null_images, str) and clf.null_images != "default":
        raise InputError(
            f"`null_images` is 'default' or a sequence of images; got {clf.null_images!r}.",
            param="null_images",
        )
    whole(1, also=["two-step", None], shortlist=clf.shortlist)
    whole(1, also=["auto"], images_per_request=clf.images_per_request)
    whole(1, also=["auto", None], max_tokens=clf.max_tokens)
    whole(16, also=[None], max_side=clf.max_side)
    flag(also=["auto"], calibrate=clf.calibrate)
    whole(1, also=[None], n_calibration=clf.n_calibration)
    whole(also=[None], random_state=clf.random_state)
    if not isinstance(clf.role, str) or not clf.role.strip():
        raise InputError(
            f"`role` says who the model is asked to be; got {clf.role!r}.", param="role"
        )
    temperature = clf.sampling_temperature
    if temperature is not None and temperature != "auto" and not 0 <= float(temperature) <= 2:
        raise InputError(f"`sampling_temperature` is 0 to 2, 'auto' or None; got {temperature!r}.")


def chosen_confidence(clf: MLLMClassifier, capabilities: Capabilities) -> Confidence | None:
    """Resolve "auto", and refuse what the model does not offer."""
    chosen = clf.confidence
    if chosen == "auto":
        if capabilities.decisions:
            return "decisions"
        repeats = clf.n_samples > 1 or clf.rotations != 1
        return "votes" if repeats else "verbalised"
    offered = {
        "logprobs": capabilities.logprobs,
        "decisions": capabilities.decisions,
        "verbalised": not capabilities.decisions,
    }
    if chosen is not None and not offered.get(chosen, True):
        allowed = [name for name in _CONFIDENCES if offered.get(name, True)]
        raise InputError(
            f"{clf.model_} offers no {chosen!r}. Allowed for it: {', '.join(allowed)}."
        )
    if chosen == "logprobs" and clf.images_per_request not in ("auto", 1):
        raise InputError(
            "`confidence='logprobs'` reads the tokens of one label, so it asks about one image "
            "per request: leave `images_per_request` at 'auto'."
        )
    return chosen


def check_correction(clf: MLLMClassifier) -> None:
    """Refuse a correction that has no probabilities to work on."""
    if clf.debias is None:
        return
    if clf.confidence_ is None:
        raise InputError("`debias` changes probabilities, and `confidence=None` has none.")
    by_label = clf.confidence_ in ("verbalised", "votes")
    if by_label and clf.n_samples * clf.rotations_ < 2:
        raise InputError(
            f"`debias={clf.debias!r}` divides the probabilities of labels by a prior, and "
            "one answer with a stated confidence says nothing of the labels it does not name. "
            "Set `rotations` (or `n_samples`) to 2 or more, so that there are frequencies, "
            "or take confidence='logprobs' or 'decisions' where the model offers them."
        )


def n_rotations(clf: MLLMClassifier, capabilities: Capabilities) -> int:
    """How many rotations of the list are asked with: no more than a question lists labels."""
    n, most = len(clf.classes_), most_labels(clf, capabilities)
    listed = n
    if isinstance(clf.shortlist, int):
        listed = min(n, clf.shortlist)
    elif needs_rounds(clf, most):
        assert most is not None
        listed = min(most, -(-n // most))  # only the last round is rotated
    return listed if clf.rotations == "all" else min(int(clf.rotations), listed)


def most_labels(clf: MLLMClassifier, capabilities: Capabilities) -> int | None:
    """Labels that one question may list, where images choose from different ones."""
    n, most = len(clf.classes_), capabilities.max_enum
    if clf.shortlist is None:
        return most if clf.confidence_ == "decisions" else None
    if clf.shortlist == "two-step":
        return min(most or _ROUND, _ROUND)
    wanted = max(3 * int(clf.shortlist), 20)
    return min(n, wanted if most is None else max(int(clf.shortlist), min(wanted, most)))


def needs_rounds(clf: MLLMClassifier, most: int | None) -> bool:
    """Whether a question does not list all labels, so that the best of some go on to the next."""
    crowded = most is not None and len(clf.classes_) > most
    return crowded and (clf.confidence_ == "decisions" or clf.shortlist == "two-step")
