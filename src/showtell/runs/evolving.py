"""Words that evolve, as a job: what it would take, how it goes, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from showtell import classify, encoders
from showtell._progress import Progress, no_progress
from showtell.errors import RunError
from showtell.runs.events import dropped_texts, n_useless
from showtell.runs.job import WritingJob

if TYPE_CHECKING:
    from showtell.classify.evolving.classifier import EvolvingDescriptionClassifier
    from showtell.classify.evolving.record import Evolution
    from showtell.datasets import LabelSet
    from showtell.prompts import DescriptionSet
    from showtell.runs.data import Parts


@dataclass(kw_only=True)
class EvolvingJob(WritingJob):
    """Descriptions that a model rewrites until an encoder stops confusing the labels.

    Parameters
    ----------
    told : mapping, default={}
        Arguments of `EvolvingDescriptionClassifier`.
    """

    verb: str = "optimize"
    told: Mapping[str, Any] = field(default_factory=dict)

    def build(self, label_set: LabelSet) -> EvolvingDescriptionClassifier:
        """Make the classifier, not fitted."""
        recipe = self.recipe
        return classify.EvolvingDescriptionClassifier(
            self.access,
            encoders.load_encoder(
                recipe.encoder,
                precision=recipe.precision,  # type: ignore[arg-type]
                threads=recipe.threads,
            ),
            labels=list(label_set.labels),
            **self.told,
            store="default" if recipe.store else None,
            random_state=recipe.seed,
        )

    def price(self, clf: EvolvingDescriptionClassifier) -> dict[str, Any]:
        """Count and price all questions of all generations; none is asked."""
        plan = clf.plan()
        sums = self.add_up(plan.requests, answer_tokens=plan.output_tokens)
        return {
            "model": self.access.name,
            "n_generations": plan.n_generations,
            "n_requests": sums.n_requests,
            "n_requests_kept": sums.n_requests_kept,
            "input_tokens": sums.input_tokens,
            "output_tokens": sums.output_tokens,
            "cost_usd": sums.cost_usd,
            "cost_usd_to_pay": sums.cost_usd_to_pay,
        }

    def evolve(
        self, clf: EvolvingDescriptionClassifier, parts: Parts, progress: Progress = no_progress
    ) -> tuple[Evolution, RunError | KeyboardInterrupt | None]:
        """Let the words evolve and measure them; where that is stopped, take what there is.

        Parameters
        ----------
        clf : EvolvingDescriptionClassifier
        parts : Parts
            Words evolve on the support, and are measured on the others.
        progress : callable, optional

        Returns
        -------
        evolution : Evolution
        stop : RunError, KeyboardInterrupt or None
            To be raised once what there is was written.
        """
        seen: list[Evolution] = []

        def watch(evolution: Evolution) -> None:
            seen[:] = [evolution]
            self.tell_generation(evolution)

        assert parts.support is not None
        try:
            clf.fit(
                parts.support.images,
                parts.support.y,
                progress=lambda done, total, _: progress(done, total, "next generation"),
                on_generation=watch,
            )
        except (RunError, KeyboardInterrupt) as stop:
            if not seen:
                raise
            folder = self.reached().run_folder
            if folder is None:
                return replace(seen[0], state="stopped"), stop
            return classify.read_evolution(folder), stop  # knows what came to no generation, too
        clf.measure(parts.test.images, parts.test.y)
        return clf.evolution_, None

    def keep(self, evolution: Evolution, made: DescriptionSet, *, state: str) -> None:
        """Fill the run folder."""
        assert self.run is not None
        made.write(self.run / "descriptions.json")
        self.finish(evolution_facts(evolution), state=state)


def evolution_facts(evolution: Evolution) -> dict[str, Any]:
    """Say how an evolution went, as JSON values."""
    test, cost = evolution.test, evolution.cost_usd
    return {
        "model": evolution.model,
        "encoder": evolution.encoder,
        "state": evolution.state,
        "seed": evolution.seed,
        "n_labels": len(evolution.labels),
        "n_support": evolution.n_support,
        "n_validation": evolution.n_validation,
        "n_descriptions": evolution.chosen.n_descriptions,
        "best_generation": evolution.best,
        "test": None if test is None else asdict(test),
        "n_requests": sum(g.n_requests for g in evolution.generations),
        "input_tokens": sum(g.input_tokens for g in evolution.generations),
        "output_tokens": sum(g.output_tokens for g in evolution.generations),
        "cost_usd": None if cost is None else float(cost),
        "dropped": {label: list(texts) for label, texts in dropped_texts(evolution).items()},
        "generations": [
            {
                "number": g.number,
                "fitness": g.fitness,
                "margin": g.margin,
                "validation": g.validation,
                "n_descriptions": g.n_descriptions,
                "n_changed": g.n_changed,
                "n_answers": len(g.exchanges),
                "n_useless": n_useless(g),
                "cost_usd": None if g.cost_usd is None else float(g.cost_usd),
            }
            for g in evolution.generations
        ],
    }
