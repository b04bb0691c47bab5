"""`--method fusion`: the options of asking a model, turned into a `FusionClassifier`."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

from showtell.errors import InputError

if TYPE_CHECKING:
    from showtell.classify.base import MediaClassifier
    from showtell.cli.asking import Asking
    from showtell.datasets import Dataset, LabelSet

__all__ = ["make_fusion"]

_FOREIGN = (
    "anonymise",
    "selection",
    "role",
    "confidence_from",
    "n_samples",
    "permutations",
    "correct",
    "shortlist",
    "batch_size",
    "temperature",
    "batch_api",
)


def make_fusion(
    asking: Asking,
    *,
    shots: int | None,
    abstain_below: float | None,
    encoder: Any,
    store: str | None,
    seed: int,
    label_set: LabelSet | None,
    support: Dataset | None,
    descriptions: str | None,
) -> MediaClassifier:
    """Build and fit the classifier that adds an encoder's view and a model's texts.

    Raises
    ------
    InputError
        If an option belongs to another method, or labelled images are missing for --calibrate.
    """
    from showtell.classify.described.fusion import FusionClassifier

    usual = {f.name: f.default for f in fields(asking)}
    foreign = [name for name in _FOREIGN if getattr(asking, name) != usual[name]]
    if foreign:
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in foreign)
        raise InputError(f"Method 'fusion' does not use {flags}; leave it out.")
    if shots:
        raise InputError("Method 'fusion' shows no examples: leave out --shots.")
    labels = label_set.labels if label_set is not None else support.labels if support else ()
    has_examples = support is not None and len(support) > 0
    if asking.calibrate and not has_examples:
        raise InputError("--calibrate asks about labelled images: give some, --examples DIR.")
    clf = FusionClassifier(
        asking.access(),
        encoder,
        labels=list(labels),
        descriptions=descriptions,
        weights="tune" if asking.calibrate and asking.asks else None,
        calibrate=bool(asking.calibrate and asking.asks),
        abstain_below=abstain_below,
        max_side=asking.max_side or None,
        prompt_dir=asking.prompt_dir,
        store=store,
        random_state=seed,
    )
    if asking.calibrate and asking.asks:
        assert support is not None
        from showtell.datasets import limit_dataset

        shown = limit_dataset(support, asking.calibrate, seed)
        return clf.fit(shown.images, shown.y)
    return clf.fit()
