"""What an evolution of descriptions did, generation by generation; written as `evolution.json`."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from showtell._clean import json_text
from showtell.errors import InputError, SavedFolderError
from showtell.mllm.call.client import Client
from showtell.prompts import DescriptionSet
from showtell.prompts.descriptions.descriptions import Provenance
from showtell.records.files import write_whole
from showtell.records.former import current_request
from showtell.records.plain import from_plain, to_plain
from showtell.records.reading import loading, parse_json, read_text

FILE_NAME = "evolution.json"
"""Name of the file in a run folder."""

_FORMAT = "showtell-evolution-1"


@dataclass(frozen=True, kw_only=True)
class LabelChange:
    """What became of the descriptions of one label from one generation to the next."""

    label: str
    added: tuple[str, ...]
    removed: tuple[str, ...]
    n_kept: int
    removed_was: int = 0
    """1 if the removed words had been good (accuracy fell without them), -1 bad, 0 neither."""
    added_was: int = 0
    """The same for the added ones."""


@dataclass(frozen=True, kw_only=True)
class Confusion:
    """Images of one label that are taken for another."""

    label: str
    taken_for: str
    n_support: int
    """Support images that are."""
    n_validation: int
    """Validation images that are."""
    n_near: int
    """Support images that are or nearly are; what the model is told of."""


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """A question to the model, and what came of it."""

    task: str
    """"init", "mutate" or "crossover"."""
    labels: tuple[str, ...]
    sample: int
    """Number of the repetition."""
    told: str
    """The user text of the question."""
    said: str
    """The last answer, as it came."""
    reason: str | None = None
    """Why the answer could not be used; None if it could."""
    gaps: Mapping[str, str] = field(default_factory=dict)
    """Label that kept its descriptions, to the reason why the answer had none for it."""
    dropped: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Label to what was written for it and left out: repeated, too long, naming another label."""
    n_repairs: int = 0
    accuracy: float | None = None
    """Of the answer, on the support images of these labels, among these labels."""


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """Labels that were rewritten together, and which of the candidates was taken."""

    labels: tuple[str, ...]
    before: float
    """Accuracy on the support images of these labels, among these labels."""
    after: float
    chosen: str
    """"parent" (nothing was better), "candidate" or "crossover"."""
    n_candidates: int
    """Answers that could be used."""
    n_changes: int = 0
    """Single changes that the crossover made."""


@dataclass(frozen=True, kw_only=True)
class Generation:
    """The descriptions at one time, what they are worth, and how they came about."""

    number: int
    """0 is the start."""
    descriptions: Mapping[str, tuple[str, ...]]
    """Of every label; () stands for the template alone."""
    fitness: float
    """Accuracy on the support images, which the words were chosen by: training accuracy."""
    margin: float
    """Mean margin there, in cosine; breaks ties."""
    validation: float | None
    """Accuracy on the validation images, by which the final generation is chosen; None without."""
    changes: tuple[LabelChange, ...] = ()
    confusions: tuple[Confusion, ...] = ()
    """Worst first; labels that are never confused are not among them."""
    clusters: tuple[Cluster, ...] = ()
    exchanges: tuple[Exchange, ...] = ()
    good_words: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Memory: per label, words that helped and are not in use."""
    bad_words: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Memory: per label, words that did harm and are not in use."""
    n_requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: Decimal | None = Decimal(0)
    """USD that answers of this generation took; None is unknown."""

    @property
    def n_descriptions(self) -> int:
        """Descriptions of all labels together."""
        return sum(map(len, self.descriptions.values()))

    @property
    def n_changed(self) -> int:
        """Descriptions that were added or removed."""
        return sum(len(change.added) + len(change.removed) for change in self.changes)


@dataclass(frozen=True, kw_only=True)
class BeforeAfter:
    """The start against the end on images that played no part in the evolution."""

    n: int
    accuracy_before: float
    """Share of right answers of generation 0."""
    accuracy_after: float
    """Of the chosen generation."""
    n_gained: int
    """Images that became right."""
    n_lost: int
    """Images that became wrong."""
    p_value: float
    """Of McNemar's exact test."""


@dataclass(frozen=True, kw_only=True)
class Evolution:
    """All generations of an evolution, with what it was asked to do.

    Examples
    --------
    >>> start = Generation(
    ...     number=0, descriptions={"cat": (), "dog": ()}, fitness=0.5, margin=0.0, validation=0.5
    ... )
    >>> evolution = Evolution(
    ...     labels=("cat", "dog"), model="toy:one", encoder="mini", prompt_version="evolve-1",
    ...     seed=0, n_support=32, n_validation=20, generations=(start,), best=0, state="finished",
    ... )
    >>> Evolution.from_record(evolution.to_record()) == evolution
    True
    """

    labels: tuple[str, ...]
    model: str
    """``"provider:name"``."""
    encoder: str
    """Name of the encoder."""
    prompt_version: str
    seed: int
    n_support: int
    """Images that the words are chosen by."""
    n_validation: int
    """Images that the final generation is chosen by."""
    generations: tuple[Generation, ...]
    best: int
    """Number of the chosen generation; of those so far, while it runs."""
    state: str
    """"running", "finished" (all generations), "patience" (stopped early) or "stopped" (by a cap or
    by hand; the same call goes on)."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Parameters that decide about the result, and a hash of the images, as plain values."""
    cost_usd: Decimal | None = Decimal(0)
    """USD of the whole run; None is unknown."""
    test: BeforeAfter | None = None
    """On images that played no part, where there were any."""

    @property
    def start(self) -> Generation:
        """Generation 0."""
        return self.generations[0]

    @property
    def chosen(self) -> Generation:
        """The chosen generation."""
        return self.generations[self.best]

    def description_set(
        self, number: int | None = None, *, domain: str | None = None
    ) -> DescriptionSet:
        """Give the descriptions of a generation as a set to be written, edited and used.

        Parameters
        ----------
        number : int, optional
            Of the generation; None takes the chosen one.
        domain : str, optional
            What all labels are.

        Returns
        -------
        descriptions : DescriptionSet
            Which says what it comes from.
        """
        number = self.best if number is None else number
        texts = self.generations[number].descriptions
        return DescriptionSet(
            {label: texts[label] for label in self.labels},
            domain=domain,
            provenance=Provenance(
                source=f"generation {number} of an evolution by {self.model}",
                model=self.model,
                prompt_version=self.prompt_version,
                date=dt.datetime.now(dt.UTC).date().isoformat(),
                note="evolving",
            ),
        )

    def to_record(self) -> dict[str, Any]:
        """Return plain values."""
        return {"showtell": _FORMAT, **to_plain(self)}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Evolution:
        """Make one of what `to_record` returned.

        Raises
        ------
        InputError
            If it is something else.
        """
        if not isinstance(record, Mapping) or record.get("showtell") != _FORMAT:
            raise InputError("This is no record of an evolution, or one of a newer showtell.")
        what = "The record of an evolution"
        evolution = from_plain(cls, record, what)
        numbers = [generation.number for generation in evolution.generations]
        if numbers != list(range(len(numbers))) or not 0 <= evolution.best < len(numbers):
            raise InputError(
                f"{what} is damaged: generations {numbers}, the best of which is {evolution.best}."
            )
        return replace(evolution, settings=current_request(evolution.settings))

    def write(self, path: str | os.PathLike[str]) -> Path:
        """Write it as JSON, so that a reader sees the old file or the new one, never half of it.

        Parameters
        ----------
        path : path
            A file, or a folder that gets `evolution.json`.
        """
        target = Path(path)
        target = target / FILE_NAME if target.is_dir() else target
        text = json_text(self.to_record(), indent=1, allow_nan=False)
        return write_whole(target, text + "\n")


def read_evolution(path: str | os.PathLike[str]) -> Evolution:
    """Read an evolution.

    Parameters
    ----------
    path : path
        A file, or a run folder with an `evolution.json`.

    Returns
    -------
    evolution : Evolution

    Raises
    ------
    SavedFolderError
        If it is not there, cannot be read, or is something else.
    """
    target = Path(path)
    target = target / FILE_NAME if target.is_dir() else target
    if not target.exists():
        raise SavedFolderError(
            f"There is no evolution at {str(path)!r}. `showtell optimize --run DIR` writes one."
        )
    text = read_text(target, "record of an evolution", error=SavedFolderError)
    with loading(repr(str(target)), error=SavedFolderError):
        value = parse_json(text, repr(str(target)), error=SavedFolderError)
        return Evolution.from_record(value)


@dataclass(frozen=True)
class Keeping:
    """The file of an evolution in a run folder; none where there is no folder."""

    folder: str | os.PathLike[str] | None

    def earlier(self, header: Evolution) -> Evolution | None:
        """Read what the run folder holds, and refuse another evolution's."""
        if self.folder is None or not (Path(self.folder) / FILE_NAME).exists():
            return None
        found = read_evolution(self.folder)
        names = ("labels", "model", "prompt_version", "seed", "settings")
        ours = {name: getattr(header, name) for name in names}
        theirs = {name: getattr(found, name) for name in names}
        changed = [name for name in names[:-1] if ours[name] != theirs[name]]
        changed += [
            name
            for name in {**theirs["settings"], **ours["settings"]}
            if theirs["settings"].get(name) != ours["settings"].get(name)
        ]
        if changed:
            raise InputError(
                f"{str(self.folder)!r} holds another evolution: {', '.join(changed)} differ. "
                "Give the same arguments to go on with it, or another folder."
            )
        return found

    def note(self, evolution: Evolution, *, keep: Evolution | None = None) -> None:
        """Write ``evolution.json``; not while it would say less than what is there."""
        if self.folder is None:
            return
        if keep is not None and len(keep.generations) > len(evolution.generations):
            return
        Path(self.folder).mkdir(parents=True, exist_ok=True)
        evolution.write(Path(self.folder) / FILE_NAME)


def with_earlier(generation: Generation, before: Evolution | None) -> Generation:
    """Add what an earlier process paid for the same generation."""
    if before is None or generation.number >= len(before.generations):
        return generation
    paid = before.generations[generation.number]
    if paid.descriptions != generation.descriptions:
        return generation
    unknown = paid.cost_usd is None or generation.cost_usd is None
    return replace(
        generation,
        n_requests=paid.n_requests + generation.n_requests,
        input_tokens=max(paid.input_tokens, generation.input_tokens),
        output_tokens=max(paid.output_tokens, generation.output_tokens),
        cost_usd=None if unknown else paid.cost_usd + generation.cost_usd,  # type: ignore[operator]
    )


def cost_of(generations: Sequence[Generation], client: Client) -> Decimal | None:
    """Add up what the run cost; the journal also knows what came to no generation."""
    costs = [generation.cost_usd for generation in generations]
    if any(cost is None for cost in costs):
        return None
    total = sum((cost for cost in costs if cost is not None), Decimal(0))
    return total if client.journal is None else max(total, client.journal.spent)
