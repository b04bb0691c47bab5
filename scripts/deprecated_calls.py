"""A pytest plugin that lists which of our calls are deprecated, where warnings are else errors.

`make test-latest` loads it with `-p scripts.deprecated_calls`. A warning names a line of the
library that warns; the line of ours that led there is looked up among its callers.
"""

from __future__ import annotations

import sys
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
OURS = tuple(f"{ROOT / folder}/" for folder in ("src", "tests", "examples", "benchmarks"))
KINDS = (DeprecationWarning, PendingDeprecationWarning, FutureWarning)
PROPERTY = "deprecated call"

_warn = warnings.warn
_unreported: set[str] = set()
_seen: Counter[str] = Counter()


def _callers(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def _describe(frame: FrameType, kind: type[Warning], text: str) -> str:
    ours = [one for one in _callers(frame) if one.f_code.co_filename.startswith(OURS)]
    place = "nothing of ours called it"
    if ours:
        place = f"{Path(ours[0].f_code.co_filename).relative_to(ROOT)}:{ours[0].f_lineno}"
    there = frame.f_globals.get("__name__", "?")
    return f"{place}: {kind.__name__} of {there}: {' '.join(text.split())}"


def warn(
    message: Any, category: Any = None, stacklevel: int = 1, source: Any = None, **more: Any
) -> None:
    """Note deprecations, then warn as ever."""
    kind = type(message) if isinstance(message, Warning) else category or UserWarning
    if issubclass(kind, KINDS):
        _unreported.add(_describe(sys._getframe(1), kind, str(message)))
    _warn(message, category, stacklevel + 1, source, **more)


def pytest_configure(config: pytest.Config) -> None:
    """Note deprecations from here on, and let them be no errors."""
    warnings.warn = warn
    for kind in KINDS:  # later lines go first
        config.addinivalue_line("filterwarnings", f"default::{kind.__name__}")


def pytest_unconfigure() -> None:
    """Leave `warnings` as it was."""
    warnings.warn = _warn


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Collect what the processes that run tests have sent."""
    _seen.update(value for key, value in report.user_properties if key == PROPERTY)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Iterator[None]:
    """Send what was noted with the report of the step in which it was."""
    report = yield
    report.user_properties += [(PROPERTY, one) for one in sorted(_unreported)]
    _unreported.clear()
    return report


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Write each deprecated call once."""
    terminalreporter.section("deprecated calls")
    for line, n in sorted(_seen.items()):
        terminalreporter.line(f"{line} ({n} times)")
    if not _seen:
        terminalreporter.line("none")
