"""Records whose numbers one can work out by hand."""

from __future__ import annotations

from decimal import Decimal

import pytest
from tests.evaluate.records import make_record


@pytest.fixture
def record():
    """8 samples: 4 right, 2 wrong, 1 abstained (its guess is right), 1 error."""
    return make_record(
        [0, 0, 1, 1, 1, 0, 1, -1],
        [0, 0, 1, 1, 0, 1, 1, 0],
        [0.95, 0.85, 0.75, 0.65, 0.9, 0.6, 0.55, 0],
        status=[0, 0, 0, 0, 0, 0, 1, 2],
        proba=[
            [0.95, 0.05],
            [0.85, 0.15],
            [0.25, 0.75],
            [0.35, 0.65],
            [0.1, 0.9],
            [0.6, 0.4],
            [0.45, 0.55],
            [0.5, 0.5],
        ],
        columns={
            "cost_usd": [Decimal("0.10")] * 7 + [None],
            "seconds": [0.5, 0.25, 1.0, 2.0, 0.5, 0.5, 0.5, None],
            "input_tokens": [100, 101, 102, 103, 104, 105, 106, None],
            "reason": ["ears", "", "tail", None, 'a "quoted", line', "é\nnew line", "x", None],
        },
        cost_usd=Decimal("0.70"),
        ids=[f"id-{i}" for i in range(8)],
    )
