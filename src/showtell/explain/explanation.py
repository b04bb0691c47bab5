"""An explanation: the answer about one image, and the reasons for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from markupsafe import Markup

from showtell.explain.parts import Part
from showtell.pages.thumbs import inline_picture
from showtell.words import percent


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """Why an image got its label, in parts that each say one thing.

    Print it for plain text; `to_html` draws it and `to_dict` gives the numbers. Notebooks show it
    by itself.

    Examples
    --------
    >>> from showtell.explain import Words
    >>> found = Explanation(
    ...     image="rex.jpg", method="ZeroShotClassifier", label="dog", confidence=0.91,
    ...     proba={"dog": 0.91, "cat": 0.09}, parts=(Words(title="Seen", text="a wet dog"),))
    >>> print(found)
    rex.jpg: dog (91.0%), before cat (9.0%)
      Seen: a wet dog
    """

    image: str
    """Name of the input."""
    method: str
    """Class of the classifier."""
    label: str
    """What it answered; "" if there is no answer."""
    confidence: float = float("nan")
    """Probability of `label`, NaN where the classifier has none."""
    proba: Mapping[str, float] = field(default_factory=dict)
    """Probability of every label; empty where the classifier has none."""
    actual: str | None = None
    """True label, where it was given."""
    status: Literal["ok", "abstained", "error"] = "ok"
    error: str | None = None
    """Why there is nothing else here, for an input that could not be used."""
    parts: tuple[Part, ...] = ()
    picture: bytes = field(default=b"", repr=False)
    """A small WebP of the image; empty where it is no picture."""

    @property
    def rival(self) -> str:
        """The label that came closest; "" where there is no other, or no probabilities."""
        others = [name for name in self.proba if name != self.label]
        return max(others, key=lambda name: self.proba[name], default="")

    @property
    def correct(self) -> bool | None:
        """Whether `label` is the true one; None where that is not known."""
        return None if self.actual is None else self.status == "ok" and self.label == self.actual

    def part(self, kind: str) -> Part | None:
        """Return the first part of a kind ("occlusion", "bars", ...); None if there is none."""
        return next((part for part in self.parts if part.kind == kind), None)

    def headline(self) -> str:
        """Say in one line what was answered."""
        if self.status == "error":
            return f"{self.image}: {self.error}"
        if self.status == "abstained":
            text = f"{self.image}: no label"
            best = max(self.proba, key=lambda name: self.proba[name], default="")
            if best:
                text += f"; the best was {best} ({percent(self.proba[best])})"
        else:
            sure = f" ({percent(self.confidence)})" if np.isfinite(self.confidence) else ""
            text = f"{self.image}: {self.label}{sure}"
            if self.rival:
                text += f", before {self.rival} ({percent(self.proba[self.rival])})"
        if self.actual is not None:
            text += "; right" if self.correct else f"; it is {self.actual}"
        return text

    def __str__(self) -> str:
        return "\n".join([self.headline(), *(f"  {part}" for part in self.parts)])

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the pictures as JSON values."""
        return {
            "image": self.image,
            "method": self.method,
            "label": self.label,
            "confidence": _number(self.confidence),
            "rival": self.rival,
            "actual": self.actual,
            "status": self.status,
            "error": self.error,
            "proba": {name: _number(value) for name, value in self.proba.items()},
            "parts": [_plain(part.to_dict()) for part in self.parts],
        }

    def to_html(self) -> Markup:
        """Return an HTML fragment: escaped, self-contained, without scripts.

        `showtell.explain.write_explanations` makes a page of one or many.
        """
        picture = Markup("")
        if self.picture:
            picture = Markup("<figure>{}</figure>").format(inline_picture(self.picture, self.image))
        parts = Markup("").join(part.to_html() for part in self.parts)
        return Markup(
            '<article class="explanation" style="overflow-wrap: anywhere"><h2>{title}</h2>{picture}'
            "{parts}</article>"
        ).format(title=self.headline(), picture=picture, parts=parts)

    def _repr_html_(self) -> str:
        return str(self.to_html())


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _plain(value: Any) -> Any:
    """Take out what JSON cannot hold: NaN becomes None."""
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, float):
        return _number(value)
    return value
