"""What explanations are made of: parts, each in words, in numbers and as a drawing in HTML."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from markupsafe import Markup

from showtell.explain.drawing import signed_bars
from showtell.pages.thumbs import inline_picture


class Part(ABC):
    """One reason, in every form an explanation is asked for.

    A new kind of explanation is a new subclass, and a function that makes it (see
    `showtell.explain.explaining`). Subclasses are frozen dataclasses with the field `title`.
    """

    kind: ClassVar[str]
    """Name of the kind, as in `to_dict`."""
    title: str

    @abstractmethod
    def sentence(self) -> str:
        """Say it in one line of plain text."""

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """Return the numbers as JSON values, `kind` and `title` first."""

    @abstractmethod
    def to_html(self) -> Markup:
        """Return a fragment: escaped, without scripts, styles or addresses."""

    def __str__(self) -> str:
        return f"{self.title}: {self.sentence()}"


@dataclass(frozen=True, kw_only=True)
class Bar:
    """A named number."""

    text: str
    value: float
    shown: str
    """The number as a person reads it."""


@dataclass(frozen=True, kw_only=True)
class Bars(Part):
    """Named numbers as bars; negative ones point the other way.

    Examples
    --------
    >>> part = Bars(title="Chances", bars=(Bar(text="cat", value=0.9, shown="90%"),))
    >>> print(part)
    Chances: cat 90%
    """

    kind: ClassVar[str] = "bars"
    title: str
    bars: tuple[Bar, ...]
    note: str = ""
    """What the numbers are."""
    about: str = "bars"
    """What this is about, for programs: "probabilities", "descriptions-for" ..."""

    def sentence(self) -> str:
        """Name the bars with their numbers."""
        return ", ".join(f"{bar.text} {bar.shown}" for bar in self.bars) or "nothing"

    def to_dict(self) -> dict[str, Any]:
        """Return the bars as pairs of text and number."""
        return {
            "kind": self.kind,
            "title": self.title,
            "about": self.about,
            "bars": [{"text": bar.text, "value": bar.value} for bar in self.bars],
            "note": self.note,
        }

    def to_html(self) -> Markup:
        """Draw the bars as inline SVG in a list."""
        return framed(
            self.title,
            signed_bars([(bar.text, bar.value, bar.shown) for bar in self.bars]),
            note=self.note,
        )


@dataclass(frozen=True, kw_only=True)
class Words(Part):
    """Something that was said in words.

    Examples
    --------
    >>> print(Words(title="The model says", text="a dog in the snow"))
    The model says: a dog in the snow
    """

    kind: ClassVar[str] = "words"
    title: str
    text: str

    def sentence(self) -> str:
        """Repeat the words."""
        return self.text

    def to_dict(self) -> dict[str, Any]:
        """Return the words."""
        return {"kind": self.kind, "title": self.title, "text": self.text}

    def to_html(self) -> Markup:
        """Return the words as a quotation."""
        quoted = Markup("<blockquote>{}</blockquote>").format(self.text)
        return framed(self.title, quoted)


@dataclass(frozen=True, kw_only=True)
class Neighbour:
    """A labelled image, and how alike it is."""

    image: str
    label: str
    cosine: float
    """With the image that is explained, by the classifier's encoder; 1 is the same."""
    picture: bytes
    """A small WebP of it; empty where there is none."""


@dataclass(frozen=True, kw_only=True)
class Neighbours(Part):
    """The labelled images that look most alike to the encoder, or have the most similar clues.

    Examples
    --------
    >>> near = Neighbour(image="a.jpg", label="cat", cosine=0.91, picture=b"")
    >>> print(Neighbours(title="Most alike", neighbours=(near,), label="cat"))
    Most alike: 1 of the 1 most alike are labelled cat; nearest is a.jpg (cat, 0.910)
    """

    kind: ClassVar[str] = "neighbours"
    title: str
    neighbours: tuple[Neighbour, ...]
    """Most alike first."""
    label: str
    """Of the image that is explained."""
    note: str = ""
    by: Literal["embedding", "clues"] = "embedding"
    """What they are alike in."""

    def sentence(self) -> str:
        """Count whose neighbours they are."""
        if not self.neighbours:
            return "there is none"
        same = sum(one.label == self.label for one in self.neighbours)
        first = self.neighbours[0]
        return (
            f"{same} of the {len(self.neighbours)} most alike are labelled {self.label}; nearest "
            f"is {first.image} ({first.label}, {first.cosine:.3f})"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return names, labels and cosines."""
        return {
            "kind": self.kind,
            "title": self.title,
            "label": self.label,
            "by": self.by,
            "neighbours": [
                {"image": one.image, "label": one.label, "cosine": one.cosine}
                for one in self.neighbours
            ],
            "note": self.note,
        }

    def to_html(self) -> Markup:
        """Show the small pictures with label and cosine."""
        items = Markup("").join(
            Markup('<li class="{kind}">{picture}<b>{label}</b> <span>{cosine}</span></li>').format(
                kind="same" if one.label == self.label else "other",
                picture=inline_picture(one.picture, one.image),
                label=one.label,
                cosine=f"{one.cosine:.3f}",
            )
            for one in self.neighbours
        )
        return framed(self.title, Markup('<ol class="alike">{}</ol>').format(items), note=self.note)


def framed(title: str, content: Markup, *, note: str = "") -> Markup:
    """Put a part's content under its title."""
    below = Markup("<p><small>{}</small></p>").format(note) if note else ""
    return Markup('<section class="reason"><h3>{title}</h3>{content}{note}</section>').format(
        title=title, content=content, note=below
    )
