"""Concept trees as a job: what is there is kept, and what it lacks is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from showtell import prompts
from showtell._progress import Progress, no_progress
from showtell.errors import InputError, RunError
from showtell.runs.job import WritingJob

if TYPE_CHECKING:
    from pathlib import Path

    from showtell.mllm.estimate import Sums
    from showtell.prompts import Built, ConceptTree

_ANSWER_TOKENS = 90  # of an answer, about


@dataclass(kw_only=True)
class GrowingJob(WritingJob):
    """A tree of what labels consist of and what that is like, written by a model.

    Parameters
    ----------
    domain : str
    named : sequence of str, optional
        Labels; unless given those of the tree that is there.
    told : mapping, default={}
        Arguments of `showtell.prompts.build_concepts`: ``depth``, ``layout``, ``until``,
        ``prompt_dir``.
    output : path, optional
        Where the tree is to lie. One that is there is kept, and only what it lacks is asked for.
    overwrite : bool, default=False
        Whether that one is passed over.

    Raises
    ------
    InputError
        If there are no labels.
    """

    verb: str = "concepts"
    domain: str
    named: Sequence[str] | None = None
    told: dict[str, Any] = field(default_factory=dict)
    output: Path | None = None
    overwrite: bool = False
    before: ConceptTree | None = field(default=None, init=False)
    labels: list[str] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        if self.output is not None and not self.overwrite and self.output.exists():
            self.before = prompts.read_concepts(self.output)
        known = self.before.labels if self.before is not None else ()
        self.labels = list(known if self.named is None else self.named)
        if not self.labels:
            raise InputError(
                'Which labels? Name them with `labels` "Corgi,Collie" or `labels_file` FILE.'
            )
        model = self.recipe.model
        about = {"domain": self.domain, "labels": self.labels, "model": model}
        self.inputs = about | self.told

    def price(self) -> Sums:
        """Count and price the questions, those about parts that nobody knows yet by a guess."""
        requests = prompts.tree_requests(
            self.domain, self.labels, self.access, tree=self.before, **self.told
        )
        return self.add_up(requests, answer_tokens=_ANSWER_TOKENS)

    def grow(self, progress: Progress = no_progress) -> Built:
        """Ask for what is lacking; see `showtell.prompts.build_concepts`."""
        return prompts.build_concepts(
            self.domain, self.labels, self.access, tree=self.before, progress=progress, **self.told
        )

    def facts_of(self, built: Built) -> dict[str, Any]:
        """Say what came of it, as JSON values."""
        return {
            "model": str(self.recipe.model),
            **built.tree.counts(),
            "n_labels": len(self.labels),
            "gaps": [gap.to_dict() for gap in built.gaps],
            "dropped": {place: list(texts) for place, texts in built.dropped.items()},
            **built.spent.to_dict(),
        }

    def keep(self, built: Built) -> None:
        """Fill the run folder."""
        assert self.run is not None
        built.tree.write(self.run / "concepts.json")
        self.finish(self.facts_of(built))

    def refuse_nothing(self, tree: ConceptTree) -> None:
        """Fail where the tree got nothing of what was asked for last."""
        until = self.told["until"]
        if not tree.counts()[f"n_{until}"]:
            reason = tree.gaps[0].reason if tree.gaps else "no answer can be used"
            raise RunError(f"The tree got no {until}: {reason}")
