"""An estimator on a data set, measured: records, shot curves, paired comparisons.

The room may be called: ``showtell.evaluate(clf, data)`` is `evaluate`.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from showtell._lazy import lazy_names

if TYPE_CHECKING:
    from showtell.evaluate.answers import score_predictions
    from showtell.evaluate.audits.page import write_audit
    from showtell.evaluate.audits.plan import PROBES, audit_size
    from showtell.evaluate.audits.record import AttractorRow, Audit, Flip, Gain
    from showtell.evaluate.audits.run import audit, audit_requests
    from showtell.evaluate.audits.verdicts import ArmScore, Probe
    from showtell.evaluate.cleaning.page import write_cleaning
    from showtell.evaluate.cleaning.run import Cleaning, Doubt, clean
    from showtell.evaluate.comparison import (
        Choice,
        Compared,
        Comparison,
        PairTest,
        Verdict,
        compare,
    )
    from showtell.evaluate.controls import Control, Controls, description_controls
    from showtell.evaluate.curve import ShotCurve, ShotPoint, ShotStep, shot_curve
    from showtell.evaluate.described import DescriptionScore, LabelDescriptions, score_descriptions
    from showtell.evaluate.judging.answers import (
        Answers,
        human_scores,
        join_answers,
        pairs_for_a_person,
        read_answers,
    )
    from showtell.evaluate.judging.page import write_contest
    from showtell.evaluate.judging.run import CRITERIA, Judgement, judge, judge_requests
    from showtell.evaluate.judging.several import Contest, Standing, judge_all
    from showtell.evaluate.pages.evolution import write_evolution
    from showtell.evaluate.pages.record import write_gallery, write_report
    from showtell.evaluate.record import RULES, ParsingRow, Record
    from showtell.evaluate.run import evaluate


__all__ = [
    "CRITERIA",
    "PROBES",
    "RULES",
    "Answers",
    "ArmScore",
    "AttractorRow",
    "Audit",
    "Choice",
    "Cleaning",
    "Compared",
    "Comparison",
    "Contest",
    "Control",
    "Controls",
    "DescriptionScore",
    "Doubt",
    "Flip",
    "Gain",
    "Judgement",
    "LabelDescriptions",
    "PairTest",
    "ParsingRow",
    "Probe",
    "Record",
    "ShotCurve",
    "ShotPoint",
    "ShotStep",
    "Standing",
    "Verdict",
    "audit",
    "audit_requests",
    "audit_size",
    "clean",
    "compare",
    "description_controls",
    "evaluate",
    "human_scores",
    "join_answers",
    "judge",
    "judge_all",
    "judge_requests",
    "pairs_for_a_person",
    "read_answers",
    "score_descriptions",
    "score_predictions",
    "shot_curve",
    "write_audit",
    "write_cleaning",
    "write_contest",
    "write_evolution",
    "write_gallery",
    "write_report",
]

_NAMES_OF = {
    "answers": "score_predictions",
    "audits.page": "write_audit",
    "audits.plan": "PROBES audit_size",
    "audits.record": "AttractorRow Audit Flip Gain",
    "audits.run": "audit audit_requests",
    "audits.verdicts": "ArmScore Probe",
    "cleaning.page": "write_cleaning",
    "cleaning.run": "Cleaning Doubt clean",
    "comparison": "Choice Compared Comparison PairTest Verdict compare",
    "controls": "Control Controls description_controls",
    "curve": "ShotCurve ShotPoint ShotStep shot_curve",
    "described": "DescriptionScore LabelDescriptions score_descriptions",
    "judging.answers": "Answers human_scores join_answers pairs_for_a_person read_answers",
    "judging.page": "write_contest",
    "judging.run": "CRITERIA Judgement judge judge_requests",
    "judging.several": "Contest Standing judge_all",
    "pages.evolution": "write_evolution",
    "pages.record": "write_gallery write_report",
    "record": "ParsingRow RULES Record",
    "run": "evaluate",
}

__getattr__, __dir__ = lazy_names(__name__, _NAMES_OF)


class _Room(ModuleType):
    """Importing this room makes ``showtell.evaluate`` the module, which shall stay callable."""

    def __call__(self, *args: Any, **kwargs: Any) -> Record:
        record: Record = __getattr__("evaluate")(*args, **kwargs)
        return record


sys.modules[__name__].__class__ = _Room
