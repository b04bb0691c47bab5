"""Reasons in clues: what each adds to an answer, photos alike by clues, what would flip it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from markupsafe import Markup

from showtell.explain.drawing import AGAINST, FOR, bar_list
from showtell.explain.parts import Part, framed


@dataclass(frozen=True, kw_only=True)
class ClueStep:
    """What one clue adds."""

    text: str
    part: tuple[str, ...]
    """Where in the concept tree it stands, names from the top down."""
    value: float
    """Similarity of the image with the clue, times the encoder's scale."""
    percentile: float
    """Of that value among the training images, 0 to 100."""
    contribution: float
    """SHAP value: added to the output for the label."""


@dataclass(frozen=True, kw_only=True)
class Waterfall(Part):
    """From what is expected of any image to the output for this one, clue by clue.

    ``base`` plus all contributions (`steps` and `rest`) is ``output``.

    Examples
    --------
    >>> step = ClueStep(text="A photo of tail of short length", part=("tail",), value=2.1,
    ...                 percentile=97.0, contribution=0.3)
    >>> part = Waterfall(title="Why corgi", label="corgi", unit="probability", base=0.1,
    ...                  output=0.45, steps=(step,), rest=0.05, n_rest=40)
    >>> print(part)
    Why corgi: 0.10 + 0.30 tail of short length (97th of 100) + 0.05 40 others = 0.45
    """

    kind: ClassVar[str] = "waterfall"
    title: str
    label: str
    unit: Literal["probability", "log-odds"]
    base: float
    output: float
    steps: tuple[ClueStep, ...]
    """Those that add or take most, first."""
    rest: float
    """Sum over the clues that are not in `steps`."""
    n_rest: int
    about: str = "label"
    """"label" for the answer, "actual" for the true label, "rival" for the next best."""

    def sentence(self) -> str:
        """Write the sum out."""
        terms = [f"{self.base:.2f}"]
        for step in self.steps:
            place = ordinal(step.percentile)
            terms.append(f"{_sign(step.contribution)} {short_clue(step.text)} ({place} of 100)")
        if self.n_rest:
            terms.append(f"{_sign(self.rest)} {self.n_rest} other{'' if self.n_rest == 1 else 's'}")
        return f"{' '.join(terms)} = {self.output:.2f}"

    def to_dict(self) -> dict[str, Any]:
        """Return base, output and the contribution, value and percentile of each step."""
        return {
            "kind": self.kind,
            "title": self.title,
            "about": self.about,
            "label": self.label,
            "unit": self.unit,
            "base": self.base,
            "output": self.output,
            "rest": self.rest,
            "n_rest": self.n_rest,
            "steps": [
                {
                    "clue": step.text,
                    "part": list(step.part),
                    "value": step.value,
                    "percentile": step.percentile,
                    "contribution": step.contribution,
                }
                for step in self.steps
            ],
        }

    def _rows(self) -> list[tuple[str, float, float, str]]:
        """Text, start and end of each bar, and what is written beside it."""
        rows, here = [], self.base
        for step in self.steps:
            text = f"{short_clue(step.text)} · {ordinal(step.percentile)} of 100"
            shown = f"{step.contribution:+.3f}"
            rows.append((text, here, here + step.contribution, shown))
            here += step.contribution
        if self.n_rest:
            text = f"{self.n_rest} other clue{'' if self.n_rest == 1 else 's'}"
            rows.append((text, here, here + self.rest, f"{self.rest:+.3f}"))
        return rows

    def to_html(self) -> Markup:
        """Draw the waterfall as a list with inline SVG."""
        rows = self._rows()
        ends = [self.base, self.output, *(v for _, a, b, _ in rows for v in (a, b))]
        low, high = min(ends), max(ends)
        span = (high - low) or 1.0

        def px(value: float) -> float:
            return round(100 * (value - low) / span, 2)

        def bar(text: str, start: float, end: float, shown: str) -> Any:
            left, right = sorted((px(start), px(end)))
            return text, shown, left, max(right - left, 0.4), FOR if end >= start else AGAINST

        vote = _OF_VOTES if self.unit == "log-odds" else ""
        note = (
            f"From {self.base:.3f}, what is expected of any photo, to {self.output:.3f}, the "
            f"{_UNITS[self.unit]} of {self.label} for this one. Orange adds, blue takes away. The "
            "number after a clue is where the photo stands among 100 training photos. A clue is a "
            "useful text probe, not proof that the part was seen." + vote
        )
        return framed(self.title, bar_list(bar(*row) for row in rows), note=note)


_OF_VOTES = (
    " The answer is the majority of the parts' votes; this sum is of their log-odds, and may be "
    "higher for another label."
)
_UNITS = {"probability": "probability", "log-odds": "mean log-odds over the parts"}


@dataclass(frozen=True, kw_only=True)
class Swap:
    """A clue that would have to say something else."""

    text: str
    part: tuple[str, ...]
    before: float
    """Percentile among the training images, 0 to 100."""
    after: float


@dataclass(frozen=True, kw_only=True)
class Changes(Part):
    """The smallest change of clue values that was found to give the image another label.

    Examples
    --------
    >>> swap = Swap(text="A photo of tail of short length", part=("tail",), before=97.0, after=40.0)
    >>> print(Changes(label="corgi", target="collie", flips=True, swaps=(swap,)))
    What would change it: with "tail of short length" at 40 instead of 97 of 100, it is collie
    """

    kind: ClassVar[str] = "changes"
    title: str = "What would change it"
    label: str
    target: str
    flips: bool
    swaps: tuple[Swap, ...]

    def sentence(self) -> str:
        """Say what would have to be different."""
        if not self.flips or not self.swaps:
            return f"no small change of clues was found that makes it {self.target}"
        said = " and ".join(
            f'"{short_clue(s.text)}" at {s.after:.0f} instead of {s.before:.0f} of 100'
            for s in self.swaps
        )
        return f"with {said}, it is {self.target}"

    def to_dict(self) -> dict[str, Any]:
        """Return the swaps with their percentiles."""
        return {
            "kind": self.kind,
            "title": self.title,
            "label": self.label,
            "target": self.target,
            "flips": self.flips,
            "swaps": [
                {"clue": s.text, "part": list(s.part), "before": s.before, "after": s.after}
                for s in self.swaps
            ],
        }

    def to_html(self) -> Markup:
        """List what would have to be different."""
        words = self.sentence()
        lead = Markup("<p>{}.</p>").format(words[:1].upper() + words[1:])
        note = "The smallest change that was found; that there is no smaller one is not proven."
        return framed(self.title, lead, note=note)


def short_clue(text: str) -> str:
    """Leave out what all clues begin with.

    Examples
    --------
    >>> short_clue("A photo of tail of short length"), short_clue("striped fur")
    ('tail of short length', 'striped fur')
    """
    return text.removeprefix("A photo of ")


def ordinal(percentile: float) -> str:
    """Write a percentile as a place among 100.

    Examples
    --------
    >>> ordinal(97.2), ordinal(0.0), ordinal(51), ordinal(12), ordinal(float("nan"))
    ('97th', '1st', '51st', '12th', '?')
    """
    if not np.isfinite(percentile):
        return "?"
    n = min(max(round(percentile), 1), 100)
    last = "th" if 10 < n % 100 < 14 else {1: "st", 2: "nd", 3: "rd"}.get(n % 10, "th")
    return f"{n}{last}"


def _sign(value: float) -> str:
    return f"{'+' if value >= 0 else '-'} {abs(value):.2f}"
