"""Records made of a few codes, so that their numbers can be worked out by hand."""

from __future__ import annotations

import numpy as np

from showtell.classify import Predictions
from showtell.evaluate import Record


def make_record(guess, truth, confidence=None, *, classes=("cat", "dog"), status=None, **more):
    """Build a record from codes; -1 as guess is an error row."""
    guess = np.asarray(guess, np.int32)
    n = len(guess)
    status = np.where(guess < 0, 2, 0) if status is None else np.asarray(status)
    values = np.full(n, np.nan) if confidence is None else np.asarray(confidence, float)
    images = more.pop("images", [f"{i}.jpg" for i in range(n)])
    columns = more.pop("columns", {})
    proba = more.pop("proba", None)
    return Record(
        predictions=Predictions(
            images=images,
            classes=classes,
            codes=guess,
            confidence_all=np.where(guess < 0, np.nan, values).astype(np.float32),
            status_codes=status.astype(np.int8),
            errors={
                int(i): f"cannot read {images[i]}: broken" for i in np.flatnonzero(status == 2)
            },
            distinct_proba=None if proba is None else np.asarray(proba, np.float32),
            distinct=None if proba is None else np.where(guess < 0, -1, np.arange(n)),
            columns=columns,
        ),
        y_true=np.asarray(truth, np.int32),
        run={"name": more.pop("name", "r"), "images_per_second": 10.0},
        **more,
    )
