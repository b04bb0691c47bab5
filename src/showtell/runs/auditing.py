"""An audit as a job: what is probed, with how many examples, and what asking takes."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import showtell.evaluate as measuring
from showtell._progress import Progress, no_progress
from showtell.errors import InputError, UnknownNameError
from showtell.evaluate.audits.plan import NEEDS_DEMONSTRATIONS, PROBES
from showtell.evaluate.audits.run import CORRECTIONS
from showtell.runs.events import Event
from showtell.runs.job import Job
from showtell.words import plural

if TYPE_CHECKING:
    from showtell.datasets import Dataset
    from showtell.evaluate import Audit
    from showtell.mllm.estimate import Sums


@dataclass(kw_only=True)
class AuditingJob(Job):
    """An audit of a prompt; caps hold for all its questions together.

    Parameters
    ----------
    probes : sequence of str, optional
    n : int, optional
        Images to ask about.
    corrections : sequence of str, default=()
    """

    verb: str = "audit"
    probes: Sequence[str] | None = None
    n: int | None = None
    corrections: Sequence[str] = field(default=())

    def __post_init__(self) -> None:
        self.steps = 2 + 2 * len(self.corrections)

    def _settings(self) -> dict[str, Any]:
        return {
            "probes": self.probes,
            "n": self.n,
            "corrections": self.corrections,
            "random_state": self.recipe.seed,
        }

    def price(self, classifier: Any, test: Dataset) -> Sums:
        """Count and price the questions; none is asked."""
        return self.add_up(measuring.audit_requests(classifier, test, **self._settings()))

    def audit(self, classifier: Any, test: Dataset, progress: Progress = no_progress) -> Audit:
        """Ask; see `showtell.evaluate.audit`."""
        return measuring.audit(classifier, test, **self._settings(), progress=progress)

    def tell_if_few(self, classifier: Any, test: Dataset) -> None:
        """Say where there are fewer images than an audit would have."""
        there = plural(len(test), "image")
        wanted = measuring.audit_size(len(classifier.classes_)) if self.n is None else self.n
        if len(test) >= wanted:
            return
        text = f"`n` {wanted} is more than there are: {there}."
        if self.n is None:
            text = (
                f"{there} to ask about; {wanted:,} would find a pull of 5 % with a chance of "
                "95 %. The audit says what so many can find."
            )
        self.tell(Event(kind="note", text=text))

    def keep(self, found: Audit) -> None:
        """Fill the run folder."""
        assert self.run is not None
        found.save(self.run / "audit.json")
        self.finish({**found.run, "audit": found.sentence})


def audit_names(probes: str | None, corrections: str | None) -> tuple[list[str] | None, list[str]]:
    """Read names of probes and corrections that are separated by commas.

    Parameters
    ----------
    probes, corrections : str or None

    Returns
    -------
    probes, corrections : list of str
        Each once, in the usual order; None for all probes.

    Raises
    ------
    UnknownNameError
        If there is no such probe or correction.

    Examples
    --------
    >>> audit_names("position,example", None)
    (['example', 'position'], [])
    """
    named = _names("probe", probes, PROBES)
    return named, _names("correction", corrections, CORRECTIONS) or []


def _names(what: str, text: str | None, allowed: Collection[str]) -> list[str] | None:
    if text is None:
        return None
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in allowed:
            raise UnknownNameError(what, name, list(allowed))
    if not names:
        raise InputError(f"Which {what}s? Name some of {', '.join(allowed)}.")
    return [name for name in allowed if name in names]


def shots_to_audit(shots: int | None, probes: Sequence[str] | None) -> int:
    """Say how many examples per label are shown: one where a probe is about what is shown.

    Raises
    ------
    InputError
        If none is to be shown and a probe needs some.

    Examples
    --------
    >>> shots_to_audit(None, ["position"]), shots_to_audit(None, ["majority"])
    (0, 1)
    """
    needs = [p for p in NEEDS_DEMONSTRATIONS if probes is None or p in probes]
    if shots == 0 and probes is not None and needs:
        raise InputError(
            f"Probe {', '.join(needs)} is about examples that are shown: `shots` must be 1 or more."
        )
    return int(bool(needs)) if shots is None else shots
