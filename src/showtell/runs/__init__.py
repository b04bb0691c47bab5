"""Jobs: a recipe at work, in a folder that keeps what came of it, and what it took.

Each file loads when one of its names is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from showtell._lazy import lazy_names

if TYPE_CHECKING:
    from showtell.runs.auditing import AuditingJob, audit_names, shots_to_audit
    from showtell.runs.comparing import ComparingJob, Expected, kept_records, total_of
    from showtell.runs.data import LabelledData, Parts, examples_of
    from showtell.runs.describing import DescribingJob
    from showtell.runs.events import Event, Tell, dropped_texts, line_of, n_useless, silent
    from showtell.runs.evolving import EvolvingJob, evolution_facts
    from showtell.runs.explaining import Explained, ExplainingJob
    from showtell.runs.folder import claim, finish, until_stopped
    from showtell.runs.growing import GrowingJob
    from showtell.runs.job import Job, WritingJob
    from showtell.runs.measuring import MeasuringJob, curve_numbers
    from showtell.runs.meter import Meter, Taken, taken
    from showtell.runs.saved import SavedJob

__all__ = [
    "AuditingJob",
    "ComparingJob",
    "DescribingJob",
    "Event",
    "EvolvingJob",
    "Expected",
    "Explained",
    "ExplainingJob",
    "GrowingJob",
    "Job",
    "LabelledData",
    "MeasuringJob",
    "Meter",
    "Parts",
    "SavedJob",
    "Taken",
    "Tell",
    "WritingJob",
    "audit_names",
    "claim",
    "curve_numbers",
    "dropped_texts",
    "evolution_facts",
    "examples_of",
    "finish",
    "kept_records",
    "line_of",
    "n_useless",
    "shots_to_audit",
    "silent",
    "taken",
    "total_of",
    "until_stopped",
]

_NAMES_OF = {
    "auditing": "AuditingJob audit_names shots_to_audit",
    "comparing": "ComparingJob Expected kept_records total_of",
    "data": "LabelledData Parts examples_of",
    "describing": "DescribingJob",
    "events": "Event Tell dropped_texts line_of n_useless silent",
    "evolving": "EvolvingJob evolution_facts",
    "explaining": "Explained ExplainingJob",
    "folder": "claim finish until_stopped",
    "growing": "GrowingJob",
    "job": "Job WritingJob",
    "measuring": "MeasuringJob curve_numbers",
    "meter": "Meter Taken taken",
    "saved": "SavedJob",
}

__getattr__, __dir__ = lazy_names(__name__, _NAMES_OF)
