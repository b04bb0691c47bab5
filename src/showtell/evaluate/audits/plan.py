"""Which prompts an audit asks under: pure planning, no image and no model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from showtell.checks import one_of
from showtell.errors import InputError

ProbeName: TypeAlias = Literal["example", "position", "order", "majority", "names"]
PROBES: tuple[ProbeName, ...] = ("example", "position", "order", "majority", "names")
NEEDS_DEMONSTRATIONS: tuple[ProbeName, ...] = ("order", "majority", "names")
"""Probes that are about labelled images in the prompt."""
MOST_ARMS = 10
"""Labels that are pointed at, and shifts of the list, at most."""
NONCE = "zorb"
"""What stands in the example where no real label shall."""

ArmKind: TypeAlias = Literal["base", "nonce", "example", "position", "order", "majority"]


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One way to word the question.

    Parameters
    ----------
    kind : str
        What it differs in from the base arm, which is the ordinary prompt.
    label : int or None
        Code of the label it points at: named in the example, shown last, or shown twice.
    first : int or None
        Of kind "order": code of the label shown first.
    shift : int
        By how many places the list of labels is rotated.
    shown : tuple of int
        Which demonstrations, by their place in the usual order, are shown in which order.
    """

    kind: ArmKind
    label: int | None = None
    first: int | None = None
    shift: int = 0
    shown: tuple[int, ...] = ()

    def name(self, labels: Sequence[str]) -> str:
        """Call the arm what it does.

        Examples
        --------
        >>> Arm(kind="example", label=1).name(["cat", "dog"])
        'example dog'
        """
        match self.kind:
            case "base":
                return "as usual"
            case "nonce":
                return f"example {NONCE}"
            case "position":
                return f"list from {labels[self.shift]}"
            case "example":
                return f"example {labels[self.label or 0]}"
            case "order":
                return f"last {labels[self.label or 0]}"
            case "majority":
                return f"twice {labels[self.label or 0]}"


@dataclass(frozen=True, kw_only=True)
class AuditPlan:
    """Arms of an audit, the base arm first, and why some probes cannot be made here."""

    labels: tuple[str, ...]
    probes: tuple[ProbeName, ...]
    arms: tuple[Arm, ...]
    untested: dict[ProbeName, str]

    def of_kind(self, kind: ArmKind) -> list[int]:
        """Columns of the arms of one kind."""
        return [i for i, arm in enumerate(self.arms) if arm.kind == kind]

    def order(self, arm: Arm) -> tuple[int, ...]:
        """Codes in the order in which an arm lists them."""
        n = len(self.labels)
        return tuple((place + arm.shift) % n for place in range(n))

    def wanted(self, y_true: ArrayLike) -> NDArray[np.bool_]:
        """Which arm is asked about which image, shape (n_images, n_arms).

        Pointing at the true label may help for good reasons, so it is not asked.
        """
        truth = np.asarray(y_true)
        found = np.ones((len(truth), len(self.arms)), bool)
        for column, arm in enumerate(self.arms):
            if arm.kind in ("example", "majority"):
                found[:, column] = truth != arm.label
        return found


def audit_size(n_labels: int) -> int:
    """Images that find a pull of 5 % with a chance of 95 % or more in every probe.

    Few labels give few wrong labels to point at, so they take more images; see
    `benchmarks/results/audit.csv` for the measured power.

    Parameters
    ----------
    n_labels : int

    Examples
    --------
    >>> [audit_size(n) for n in (2, 3, 4, 5, 10)]
    [1200, 600, 320, 220, 100]
    """
    return {2: 1200, 3: 600, 4: 320, 5: 220, 6: 170, 7: 140, 8: 120}.get(n_labels, 100)


def plan_audit(
    labels: Sequence[str],
    shown: Sequence[int] = (),
    *,
    probes: Sequence[str] | None = None,
    most_arms: int = MOST_ARMS,
    random_state: int = 0,
) -> AuditPlan:
    """Lay out the arms; `shown` are codes of the demonstrations in their usual order.

    - *example*: no example, one with a word that is no label, one per label.
    - *position*: rotations of the list, so that each label stands at each place once.
    - *order*: per label, the usual demonstrations with one of that label moved to the end and one
      of the next label to the beginning.
    - *majority*: per label, its demonstrations shown twice. The same images, not further ones:
      nothing is told that was not told before. First and last stay.
    - *names*: the same under neutral names; has no arm of its own.

    Examples
    --------
    >>> plan = plan_audit(["a", "b", "c"], [0, 1, 2])
    >>> len(plan.arms), [arm.name(plan.labels) for arm in plan.arms][:6]
    (13, ['as usual', 'example zorb', 'example a', 'example b', 'example c', 'list from b'])
    >>> int(plan.wanted([0]).sum())
    11
    """
    n = len(labels)
    if n < 2:
        raise InputError(f"An audit needs two labels or more; got {n}.")
    if most_arms < 2:
        raise InputError(f"`most_arms` must be 2 or more, got {most_arms}.")
    named = _named_probes(probes, has_shown=len(shown) > 0)
    untested: dict[ProbeName, str] = {}
    rng = np.random.default_rng(random_state)
    pointed = np.arange(n)
    if n > most_arms:
        pointed = np.sort(rng.choice(n, most_arms, replace=False))
    usual = tuple(range(len(shown)))
    arms = [Arm(kind="base", shown=usual)]
    if "example" in named:
        arms.append(Arm(kind="nonce", shown=usual))
        if n < 3:
            untested["example"] = "with two labels there are no two wrong ones to compare"
            arms.pop()
        else:
            arms += [Arm(kind="example", label=e, shown=usual) for e in pointed.tolist()]
    if "position" in named:
        n_shifts = min(n, most_arms)
        shifts = [k * n // n_shifts for k in range(1, n_shifts)]
        arms += [Arm(kind="position", shift=shift, shown=usual) for shift in shifts]
    present = set(shown)
    own = [e for e in pointed.tolist() if e in present]
    if "order" in named:
        if len(own) < 2:
            untested["order"] = "fewer than two labels have demonstrations"
        else:
            arms += _order_arms(shown, own)
    if "majority" in named:
        if len(own) < 3:
            untested["majority"] = "with two labels there are no two wrong ones to compare"
        else:
            arms += [Arm(kind="majority", label=e, shown=_doubled(shown, e, rng)) for e in own]
    return AuditPlan(labels=tuple(labels), probes=named, arms=tuple(arms), untested=untested)


def _named_probes(probes: Sequence[str] | None, *, has_shown: bool) -> tuple[ProbeName, ...]:
    if probes is None:
        return tuple(p for p in PROBES if has_shown or p not in NEEDS_DEMONSTRATIONS)
    for probe in probes:
        one_of("probe", probe, PROBES)
    wrong = [p for p in NEEDS_DEMONSTRATIONS if p in probes and not has_shown]
    if wrong:
        raise InputError(
            f"Probe {', '.join(map(repr, wrong))} is about images that are shown with their "
            "labels: use an `InContextClassifier` (on the command line --shots K)."
        )
    if not probes:
        raise InputError(f"Which probes? Name some of {', '.join(PROBES)}.")
    return tuple(p for p in PROBES if p in probes)


def _order_arms(shown: Sequence[int], own: Sequence[int]) -> list[Arm]:
    """Each label last once and first once; all else in the usual order."""
    places = {e: list(shown).index(e) for e in own}
    arms = []
    for k, last in enumerate(own):
        first = own[(k + 1) % len(own)]
        ends = {places[first], places[last]}
        middle = [i for i in range(len(shown)) if i not in ends]
        arms.append(
            Arm(
                kind="order",
                label=last,
                first=first,
                shown=(places[first], *middle, places[last]),
            )
        )
    return arms


def _doubled(shown: Sequence[int], label: int, rng: np.random.Generator) -> tuple[int, ...]:
    """Put every demonstration of a label in once more, anywhere but at the ends."""
    order = list(range(len(shown)))
    for again in [i for i, code in enumerate(shown) if code == label]:
        order.insert(int(rng.integers(1, len(order))), again)
    return tuple(order)
