"""ONNX Runtime, imported so that it tells nobody."""

from __future__ import annotations

import os
from typing import Any


def import_onnxruntime() -> Any:
    """Import ONNX Runtime with its telemetry switched off.

    From 1.31 on it keeps events and a device id under ``~/.cache`` and sends them away, unless the
    variable is set before it is first imported; where somebody else did that, what can still be
    switched off is.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    onnxruntime.disable_telemetry_events()
    return onnxruntime
