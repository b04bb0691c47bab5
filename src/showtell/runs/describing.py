"""Descriptions as a job: those that are there are kept, the others are written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from showtell import prompts
from showtell._progress import Progress, no_progress
from showtell.errors import InputError
from showtell.mllm.structured import Spent
from showtell.runs.events import Event
from showtell.runs.job import WritingJob
from showtell.words import plural

if TYPE_CHECKING:
    from pathlib import Path

    from showtell.mllm.estimate import Sums
    from showtell.prompts import Described, DescriptionSet

_TOKENS = {"dclip": 10, "cupl": 24}  # of a description, about
_USUAL_COUNT = {"dclip": 8, "cupl": 10}
_FRAME_TOKENS = 20  # of an answer


@dataclass(kw_only=True)
class DescribingJob(WritingJob):
    """What labels look like, written by a model.

    Parameters
    ----------
    labels : sequence of str
    style : {"dclip", "cupl"}, default="dclip"
    count : int, optional
        Descriptions to ask for in each question.
    domain : str, optional
        What all labels are; "auto": the model is asked first.
    prompt_dir : str, optional
    output : path, optional
        Where the descriptions are to lie. Labels that a file there describes are kept as they are.
    overwrite : bool, default=False
        Whether that file is passed over.

    Raises
    ------
    InputError
        If some are kept that are not of the kind that `style` writes.
    """

    verb: str = "describe"
    labels: Sequence[str] = ()
    style: str = "dclip"
    count: int | None = None
    domain: str | None = None
    prompt_dir: str | None = None
    output: Path | None = None
    overwrite: bool = False
    before: DescriptionSet | None = field(default=None, init=False)
    kept: tuple[str, ...] = field(default=(), init=False)

    def __post_init__(self) -> None:
        self.inputs = {
            "labels": list(self.labels), "style": self.style, "count": self.count,
            "domain": self.domain, "model": self.recipe.model, "prompt_dir": self.prompt_dir,
            "seed": self.recipe.seed,
        }  # fmt: skip
        self.steps = 2 if self.domain == "auto" else 1
        if self.output is None or self.overwrite or not self.output.exists():
            return
        self.before = before = prompts.read_descriptions(self.output)
        self.kept = tuple(label for label in self.labels if before.get(label))
        kind = "phrases" if self.style == "dclip" else "sentences"
        if self.kept and before.kind != kind and len(self.kept) < len(self.labels):
            raise InputError(
                f"{str(self.output)!r} holds {before.kind}, and `style` {self.style} writes "
                f"{kind}, which do not mix. Give another file, the other `style`, or `overwrite`.",
                param=("style", "overwrite"),
            )

    @property
    def missing(self) -> list[str]:
        """Labels that are to be described."""
        return [label for label in self.labels if label not in self.kept]

    def _texts(self) -> dict[str, Any]:
        return {"style": self.style, "count": self.count, "prompt_dir": self.prompt_dir}

    def _about_domain(self) -> dict[str, Any]:
        return {"random_state": self.recipe.seed, "prompt_dir": self.prompt_dir}

    def price(self) -> list[Sums]:
        """Count and price the first round of questions; none is asked."""
        domain = None if self.domain == "auto" else self.domain
        missing, requests = self.missing, []
        if missing:
            requests = prompts.describe_requests(
                missing, self.access, **self._texts(), domain=domain
            )
        count = self.count or _USUAL_COUNT[self.style]
        tokens = _FRAME_TOKENS + _TOKENS[self.style] * count
        found = [self.add_up(requests, answer_tokens=tokens)]
        if self.domain == "auto" and missing:
            asked = prompts.domain_requests(missing, self.access, **self._about_domain())
            found.append(self.add_up(asked, answer_tokens=_FRAME_TOKENS))
        return found

    def write(self, progress: Progress = no_progress) -> Described:
        """Ask for the domain, if it is to be found, and for descriptions; join them to the kept.

        Returns
        -------
        described : Described
            The labels of the file first, in its order.
        """
        spent = Spent()
        domain = None if self.domain == "auto" else self.domain
        if domain is None and self.before is not None:
            domain = self.before.domain
        missing = self.missing
        if not missing:
            assert self.before is not None  # that is where they are
            made = replace(self.before, domain=domain, notes=())
            return prompts.Described(descriptions=made, spent=spent)
        if domain is None and self.domain == "auto":
            sought = prompts.find_domain(self.labels, self.access, **self._about_domain())
            spent.merge(sought.spent)
            domain = sought.text
            self._note(
                f"the labels are all of this kind: {domain}"
                if domain
                else f"no domain: {sought.reason}"
            )
        found = prompts.write_descriptions(
            missing, self.access, **self._texts(), domain=domain, progress=progress
        )
        spent.merge(found.spent)
        made, left = self._without_names_of_kept(self._joined(found.descriptions, domain))
        dropped = {
            label: (*found.dropped.get(label, ()), *left.get(label, ()))
            for label in dict.fromkeys((*found.dropped, *left))
        }
        return replace(found, descriptions=made, dropped=dropped, spent=spent)

    def _note(self, text: str) -> None:
        self.tell(Event(kind="note", text=text))

    def _joined(self, new: DescriptionSet, domain: str | None) -> DescriptionSet:
        """Put what was kept and what was written together: the file's labels first."""
        before = self.before
        if before is None:
            return new
        written = {label: new[label] for label in new if new[label] or label not in before}
        texts = {**before.texts, **written}
        order = [*before, *(label for label in self.labels if label not in before)]
        provenance = new.provenance
        if any(before.values()):
            told = before.provenance
            source = told.model or told.source or "a file"
            n = plural(sum(map(bool, before.values())), "label")
            provenance = replace(provenance, note=f"{provenance.note}; {n} kept from {source}")
        return prompts.DescriptionSet(
            {label: texts[label] for label in order},
            kind=new.kind,
            weights={label: w for label, w in before.weights.items() if label not in written},
            domain=domain,
            provenance=provenance,
        )

    def _without_names_of_kept(
        self, made: DescriptionSet
    ) -> tuple[DescriptionSet, dict[str, tuple[str, ...]]]:
        """Leave out what was written now and names a label that was kept."""
        left: dict[str, tuple[str, ...]] = {}
        if not self.kept:
            return made, left
        changes: dict[str, tuple[str, ...]] = {}
        for note in made.restricted(self.labels).check():
            if note.kind == "names-other-label" and note.label in self.missing:
                texts = changes.get(note.label, made[note.label])
                changes[note.label] = tuple(text for text in texts if text != note.text)
                left[note.label] = (*left.get(note.label, ()), note.text)
        return (made.with_texts(changes) if changes else made), left

    def facts_of(self, found: Described) -> dict[str, Any]:
        """Say what came of it, as JSON values."""
        made = found.descriptions
        return {
            "model": str(self.recipe.model),
            "kind": made.kind,
            "domain": made.domain,
            "n_labels": len(self.labels),
            "n_described": sum(bool(made[label]) for label in self.labels),
            "n_kept": len(self.kept),
            "n_descriptions": sum(len(made[label]) for label in self.labels),
            "gaps": dict(found.gaps),
            "dropped": {label: list(texts) for label, texts in found.dropped.items()},
            **found.spent.to_dict(),
        }

    def keep(self, found: Described) -> None:
        """Fill the run folder."""
        assert self.run is not None
        found.descriptions.write(self.run / "descriptions.json")
        self.finish(self.facts_of(found))
