"""Jobs: a recipe at work, in a folder that keeps what came of it, and what it took.

Each file loads when one of its names is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from showtell._lazy import lazy_names

if TYPE_CHECKING:
    from showtell.runs.comparing import ComparingJob, Expected, kept_records, total_of
    from showtell.runs.events import Event, Tell, silent
    from showtell.runs.folder import claim, finish, until_stopped
    from showtell.runs.generations import dropped_texts, line_of, n_useless
    from showtell.runs.job import Job
    from showtell.runs.meter import Meter, Taken, taken
    from showtell.runs.writing import WritingJob

__all__ = [
    "ComparingJob",
    "Event",
    "Expected",
    "Job",
    "Meter",
    "Taken",
    "Tell",
    "WritingJob",
    "claim",
    "dropped_texts",
    "finish",
    "kept_records",
    "line_of",
    "n_useless",
    "silent",
    "taken",
    "total_of",
    "until_stopped",
]

_NAMES_OF = {
    "comparing": "ComparingJob Expected kept_records total_of",
    "events": "Event Tell silent",
    "folder": "claim finish until_stopped",
    "generations": "dropped_texts line_of n_useless",
    "job": "Job",
    "meter": "Meter Taken taken",
    "writing": "WritingJob",
}

__getattr__, __dir__ = lazy_names(__name__, _NAMES_OF)
