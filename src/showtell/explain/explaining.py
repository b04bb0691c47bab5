"""One way to ask any classifier why: each kind of classifier answers with the parts it has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal, TypeAlias

import numpy as np

from showtell._progress import Progress, no_progress
from showtell.checks import at_least, one_of
from showtell.classify.base import MediaClassifier, media_list
from showtell.classify.capabilities import Explains
from showtell.classify.estimator import check_is_fitted
from showtell.classify.predictions import Predictions
from showtell.errors import InputError, MediaError
from showtell.explain.concepts import ClueReasons
from showtell.explain.demonstrations import leave_one_out
from showtell.explain.explanation import Explanation
from showtell.explain.neighbours import Examples, examples_from, nearest_examples, picture_of
from showtell.explain.occlusion import Fill, occlusion_map
from showtell.explain.parts import Bar, Bars, Part, Words
from showtell.media import Media
from showtell.words import percent

PartName: TypeAlias = Literal[
    "chances", "clues", "votes", "changes", "alike", "descriptions", "opinions", "words",
    "occlusion", "examples", "demonstrations",
]  # fmt: skip
PARTS = (
    "chances", "clues", "votes", "changes", "alike", "descriptions", "opinions", "words",
    "occlusion", "examples", "demonstrations",
)  # fmt: skip
"""Names of what an explanation may consist of."""

_PICTURE, _SMALL_PICTURE = 320, 144
_LARGE_UP_TO = 100  # images that are shown larger
_LEAST_CLUES = 8  # steps of a waterfall
_CHANGES_UP_TO = 100  # images whose smallest change is looked for unless asked: it is slow
_CHANGES_WORK = 8_000_000  # images x clues x clues up to which it is
_OF_CLUES: tuple[PartName, ...] = ("votes", "alike", "changes")


def parts_of(
    classifier: Any, *, examples: bool = False, asks: bool = False
) -> tuple[PartName, ...]:
    """List the parts that explain a classifier's answers.

    Parameters
    ----------
    classifier : classifier
    examples : bool, default=False
        Whether there are labelled images to compare with.
    asks : bool, default=False
        Whether a model may be asked again.

    Returns
    -------
    parts : tuple of str

    Examples
    --------
    >>> from showtell.classify import ZeroShotClassifier
    >>> parts_of(ZeroShotClassifier("mini", labels=["cat", "dog"]))
    ('chances', 'occlusion')
    """
    own, later = _offered(classifier)
    found = ["chances", *own]
    compares = hasattr(classifier, "encoder")
    if examples and compares and "examples" not in (*own, *later):
        found.append("examples")
    return tuple(name for name in found if asks or name != "demonstrations")  # type: ignore[misc]


def _offered(classifier: Any) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Parts that a classifier offers, and those it makes only on request."""
    if not isinstance(classifier, Explains):
        return (), ()
    return classifier.explained_by(), classifier.explained_on_request()


def explain(
    classifier: MediaClassifier,
    X: Sequence[Media],
    *,
    y: Sequence[Any] | None = None,
    examples: Any = None,
    parts: Sequence[PartName] | Literal["auto"] = "auto",
    n_most: int = 5,
    grid: int = 8,
    fill: Fill = "blur",
    max_cost: Decimal | str | float | None = None,
    max_requests: int | None = None,
    progress: Progress = no_progress,
) -> list[Explanation]:
    """Say for each image why it got its label, in parts that the classifier has (``PARTS``).

    - "chances": the most probable labels;
    - "clues": what each adds to the answer, and to the true label or else the next best one;
      "votes" of the parts; training images "alike" by clues; the smallest "changes" that would
      give the other label;
    - "descriptions": those that speak for the label, and for its rival;
    - "opinions", "words": share of each opinion, and what the model said;
    - "occlusion": which parts of the picture decide (classifiers with an encoder);
    - "examples": the labelled images that are most alike;
    - "demonstrations": those that mattered, by asking again without each.

    Parameters
    ----------
    classifier : MediaClassifier
        Fitted.
    X : sequence of Media, length n_samples
    y : sequence, optional
        True labels; the map of a wrong answer is then drawn against the true label.
    examples : Dataset or pair of images and labels, optional
        To compare with; of a classifier that learned, what its `fit` was given.
    parts : sequence of str or "auto", default="auto"
        "auto" takes what the classifier has (`parts_of`); "demonstrations" only with `max_cost`
        or `max_requests`, for it asks as many requests as there are demonstrations; "changes"
        only for up to 100 images, and fewer where there are more than 280 clues.
    n_most : int, default=5
        Labels, descriptions and examples that are named; of clues at least 8.
    grid, fill
        As in `occlusion_map`.
    max_cost, max_requests : Decimal, str or float; and int; optional
        USD for the answers and for asking without demonstrations; requests of each image for that.
    progress : Progress

    Returns
    -------
    explanations : list of Explanation, length n_samples
        In input order. An input that cannot be used has an `error`.

    Raises
    ------
    InputError, BudgetError, MLLMAuthError
        If a part does not go with the classifier or lengths do not fit; and as its `classify`.

    Examples
    --------
    >>> from showtell.classify import DescriptionClassifier
    >>> from showtell.testing import WordEncoder
    >>> clf = DescriptionClassifier(
    ...     WordEncoder(["stripes", "spots", "mane"]),
    ...     descriptions={"tiger": ["stripes"], "leopard": ["spots"], "lion": ["a mane"]}).fit()
    >>> print(explain(clf, ["something with spots"])[0])
    something with spots: leopard (99.9%), before tiger (0.1%)
      Chances: leopard 99.9%, tiger 0.1%, lion 0.1%
      Speaks for leopard: spots 1.000
      Speaks for tiger: stripes 0.000
    """
    check_is_fitted(classifier)
    images = media_list(X)
    truth = _truth(y, len(images))
    at_least(1, n_most=n_most)
    known = examples_from(classifier, examples)
    asks = max_cost is not None or max_requests is not None
    chosen = _chosen(classifier, parts, known, asks=asks)
    if parts == "auto" and not changes_are_quick(classifier, len(images)):
        chosen = tuple(name for name in chosen if name != "changes")
    predictions = classifier.classify(images, progress=progress)
    asked = _Asked(classifier, images, truth, known, n_most, grid, fill, chosen == parts)
    asked.look_up(chosen, predictions)
    budget = _Budget(None if max_cost is None else Decimal(str(max_cost)), max_requests)
    for cost in predictions.columns.get("cost_usd", ()):
        budget.take(cost)
    found = []
    for row in range(len(images)):
        found.append(_explanation(asked, row, chosen, predictions, budget, progress))
        progress(row + 1, len(images), "Explaining")
    return found


def _explanation(
    asked: _Asked,
    row: int,
    chosen: Sequence[str],
    predictions: Predictions,
    budget: _Budget,
    progress: Progress,
) -> Explanation:
    """Put together what was found for an image; nothing for one that cannot be used."""
    status, proba, of_row = str(predictions.status[row]), predictions.proba, {}
    label = str(predictions.label[row])
    if status != "error" and proba is not None:
        of_row = dict(zip(predictions.classes, map(float, proba[row]), strict=True))
    made: list[Part] = []
    for name in () if status == "error" else chosen:
        if name == "demonstrations":
            made.append(asked.demonstrations(row, budget, progress))
        else:
            made += asked.part(name, row, of_row, label)
    side = _PICTURE if len(asked.images) <= _LARGE_UP_TO else _SMALL_PICTURE
    return Explanation(
        image=predictions.images[row],
        method=type(asked.classifier).__name__,
        label=label if status == "ok" else "",
        confidence=float(predictions.confidence_all[row]) if status == "ok" else np.nan,
        proba=of_row,
        actual=None if asked.truth is None else asked.truth[row],
        status=status,  # type: ignore[arg-type]
        error=predictions.errors.get(row),
        parts=tuple(made),
        picture=b"" if status == "error" else picture_of(asked.images[row], side),
    )


def changes_are_quick(classifier: Any, n_images: int) -> bool:
    """Say whether the smallest changes of so many images are looked for without being asked."""
    n_clues = len(getattr(classifier, "selected_", ()))
    quick = n_images <= _CHANGES_UP_TO and n_images * n_clues**2 <= _CHANGES_WORK
    return quick or n_images == 1


@dataclass
class _Budget:
    """What may still be spent on asking again."""

    usd: Decimal | None
    max_requests: int | None
    """For one image."""

    def take(self, cost: Decimal | None) -> None:
        if self.usd is not None and cost is not None:
            self.usd = max(self.usd - cost, Decimal(0))


class _Asked:
    """What was asked for, and what is found for all images at once."""

    def __init__(
        self,
        classifier: Any,
        images: Sequence[Media],
        truth: list[str] | None,
        examples: Examples | None,
        n_most: int,
        grid: int,
        fill: Fill,
        insists: bool,
    ) -> None:
        self.classifier, self.images, self.truth = classifier, images, truth
        self.examples, self.n_most, self.grid, self.fill = examples, n_most, grid, fill
        self.insists = insists
        self.classes = [str(name) for name in classifier.classes_.tolist()]
        self.evidence: list[Any] = []
        self.neighbours: list[Any] = []
        self.of_clues: dict[str, dict[int, list[Part]]] = {}

    def look_up(self, chosen: Sequence[str], predictions: Predictions) -> None:
        """Find what is found for all images together."""
        if {"descriptions", "opinions", "words"} & set(chosen) and len(self.classes) > 1:
            self.evidence = self.classifier.explain(self.images)
        self.look_up_clues(chosen, np.flatnonzero(predictions.status != "error").tolist())
        if "examples" in chosen and self.examples is not None:
            best = [predictions.classes[c] if c >= 0 else "" for c in predictions.codes.tolist()]
            self.neighbours = nearest_examples(
                self.classifier, self.images, self.examples, best, n_most=self.n_most
            )

    def look_up_clues(self, chosen: Sequence[str], rows: list[int]) -> None:
        """Find the reasons in clues of all usable images at once."""
        if not {"clues", *_OF_CLUES} & set(chosen):
            return
        reasons = ClueReasons(
            self.classifier,
            [self.images[row] for row in rows],
            None if self.truth is None else [self.truth[row] for row in rows],
            self.examples,
            n_most=self.n_most,
            n_clues=max(self.n_most, _LEAST_CLUES),
        )
        ways = {"clues": reasons.waterfalls, "votes": reasons.votes}
        ways |= {"alike": reasons.alike, "changes": reasons.changes}
        for name in ways.keys() & set(chosen):
            self.of_clues[name] = dict(zip(rows, ways[name](), strict=True))

    def demonstrations(self, row: int, budget: _Budget, progress: Progress) -> Part:
        """Ask about an image again without each demonstration, as far as the money goes."""
        part = leave_one_out(
            self.classifier,
            self.images[row],
            max_cost=budget.usd,
            max_requests=budget.max_requests,
            progress=progress,
        )
        budget.take(part.cost_usd)
        return part

    def part(self, name: str, row: int, proba: dict[str, float], label: str) -> list[Part]:
        """Make the parts of a name for one image."""
        if name == "chances":
            return _chances(proba, self.n_most)
        if name in self.of_clues:
            return self.of_clues[name][row]
        if (told := _TOLD.get(name)) is not None:
            return told(self.evidence[row], self.n_most) if self.evidence else []
        if name == "examples":
            found = self.neighbours[row] if self.neighbours else None
            return [] if found is None else [found]
        return self._map(row, label)

    def _map(self, row: int, label: str) -> list[Part]:
        """Cover the picture; what is no picture has no map, unless one was asked for."""
        rival = None
        if self.truth is not None and label and self.truth[row] != label:
            rival = self.truth[row] if self.truth[row] in self.classes else None
        try:
            found = occlusion_map(
                self.classifier,
                self.images[row],
                label=label or None,
                rival=rival,
                grid=self.grid,
                fill=self.fill,
            )
        except MediaError as error:
            if not self.insists:
                return []
            return [Words(title="Where it looks", text=f"not known: {error}")]
        return [found]


def _truth(y: Sequence[Any] | None, n: int) -> list[str] | None:
    if y is None:
        return None
    truth = [str(label) for label in y]
    if len(truth) != n:
        raise InputError(f"{len(truth)} labels in `y` for {n} images; give one each.")
    return truth


def _chosen(
    classifier: Any,
    parts: Sequence[str] | str,
    examples: Examples | None,
    *,
    asks: bool,
) -> tuple[PartName, ...] | Sequence[PartName]:
    """Resolve "auto", and refuse what does not go with the classifier."""
    has = examples is not None and len(examples) > 0
    if parts == "auto":
        return tuple(
            name
            for name in parts_of(classifier, examples=has, asks=asks)
            if name != "examples" or has
        )
    wanted = (parts,) if isinstance(parts, str) else parts
    for name in wanted:
        one_of("part", name, PARTS)
    offered = (*parts_of(classifier, examples=has, asks=True), *_offered(classifier)[1])
    for name in wanted:
        if name == "examples" and not has:
            raise InputError("Part 'examples' compares with labelled images: give `examples`.")
        if name not in offered:
            raise InputError(
                f"{type(classifier).__name__} has no {name!r}; it offers: {', '.join(offered)}."
            )
    return wanted  # type: ignore[return-value]


def _chances(proba: dict[str, float], n_most: int) -> list[Part]:
    if not proba:
        return []
    order = sorted(proba, key=lambda name: -proba[name])[:n_most]
    bars = [Bar(text=name, value=proba[name], shown=percent(proba[name])) for name in order]
    more = len(proba) - len(bars)
    note = f"and {more} more label{'' if more == 1 else 's'}" if more else ""
    return [Bars(title="Chances", bars=tuple(bars), about="probabilities", note=note)]


def _descriptions(evidence: Any, n_most: int) -> list[Part]:
    """Descriptions of the label and of its rival, most similar first."""
    if evidence.error is not None:
        return []
    found: list[Part] = []
    for label, spoke, about in (
        (evidence.label, evidence.spoke, "descriptions-for"),
        (evidence.rival, evidence.rival_spoke, "descriptions-rival"),
    ):
        bars = [
            Bar(text=one.text, value=one.similarity, shown=f"{one.similarity:.3f}")
            for one in spoke[:n_most]
        ]
        note = "Cosine of the image with the description"
        if len(spoke) > n_most:
            note += f"; {len(spoke) - n_most} more are less alike"
        found.append(
            Bars(title=f"Speaks for {label}", bars=tuple(bars), about=about, note=f"{note}.")
        )
    return found


def _opinions(evidence: Any, _n_most: int) -> list[Part]:
    """How much each opinion adds to the lead of the label over its rival."""
    if evidence.error is not None:
        return []
    leads = {name: ours - theirs for name, (ours, theirs) in evidence.terms.items()}
    total = sum(abs(lead) for lead in leads.values()) or 1.0
    called = {"image": "the picture itself", "description": "the model's description of it"}
    called["guess"] = "the model's guess"
    bars = [
        Bar(
            text=called.get(name, name),
            value=lead,
            shown=f"{lead:+.3f}, {100 * abs(lead) / total:.0f}%",
        )
        for name, lead in sorted(leads.items(), key=lambda item: -item[1])
    ]
    note = (
        f"Lead of {evidence.label} over {evidence.rival} by each opinion, and its share of all "
        "that was said; negative: it prefers the other."
    )
    return [Bars(title="Who says so", bars=tuple(bars), about="opinions", note=note)]


def _words(evidence: Any, _n_most: int) -> list[Part]:
    said = {"What the model sees": evidence.description, "What the model guesses": evidence.guess}
    return [Words(title=title, text=text) for title, text in said.items() if text]


_TOLD = {"descriptions": _descriptions, "opinions": _opinions, "words": _words}
