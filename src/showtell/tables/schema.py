"""What a row of predictions holds, whatever the format of the file."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Literal, TypeAlias

Status: TypeAlias = Literal["ok", "abstained", "error"]
STATUSES: tuple[Status, ...] = ("ok", "abstained", "error")
"""In the order of their codes in `Predictions.status_codes`."""

FIXED_COLUMNS: tuple[str, ...] = ("image", "label", "confidence", "status", "error")
"""The first columns of every table of predictions, in this order."""

COLUMN_TYPES: Mapping[str, type] = {
    "cost_usd": Decimal,
    "input_tokens": int,
    "output_tokens": int,
    "from_cache": bool,
    "seconds": float,
}
"""Method columns whose type is known, so that a CSV reads back as what was written."""
