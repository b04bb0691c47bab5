"""The loop of evolving descriptions: feedback, candidates, crossover, choice, memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from showtell._progress import Progress, no_progress
from showtell.classify.evolving.arithmetic import (
    Fitness,
    MemoryBank,
    balanced_clusters,
    bank_changes,
    fitness_of,
    greedy_crossover,
    near_misses,
    worst_confusions,
)
from showtell.classify.evolving.questions import Asker, Feedback, Version, Written
from showtell.classify.evolving.record import Cluster, Confusion, Exchange, Generation, LabelChange
from showtell.classify.evolving.scores import DescriptionScores
from showtell.mllm.base import TextPart
from showtell.mllm.call.client import Client
from showtell.mllm.structured import Checked, Question, Spent, ask_checked
from showtell.prompts.answers import normalise

Texts = dict[str, tuple[str, ...]]

_MOST_WORDS_KEPT = 10  # per label and bank
_MOST_TRIED = 5  # words per label and generation that were tried, left out, and are noted as bad


@dataclass(frozen=True, kw_only=True)
class Rules:
    """How an evolution goes; the parameters of the estimator."""

    n_generations: int
    n_candidates: int
    n_start: int
    n_least: int
    cluster_size: int
    ratio: float
    n_confused: int
    crossover: Literal["greedy", "llm"]
    max_sweeps: int
    patience: int | None
    upstream: bool
    seed: int


def sample_number(seed: int, generation: int, k: int) -> int:
    """Make a number for an answer: no two questions of an evolution are the same."""
    return (seed * 1_000 + generation) * 1_000 + k


def groups_of(
    labels: Sequence[str], means: NDArray[np.float64], size: int, seed: int
) -> list[tuple[str, ...]]:
    """Group labels that resemble each other; nobody stays alone."""
    found = [list(group) for group in balanced_clusters(means, size=size, random_state=seed)]
    alone = [group for group in found if len(group) == 1]
    found = [group for group in found if len(group) > 1]
    for [code] in alone:
        likeness = [float(means[group].mean(axis=0) @ means[code]) for group in found]
        found[int(np.argmax(likeness))].append(code)
    return [tuple(labels[code] for code in sorted(group)) for group in sorted(found)]


@dataclass(kw_only=True)
class _Group:
    """Labels that are rewritten together, with their support images."""

    labels: tuple[str, ...]
    rows: NDArray[np.intp]
    codes: NDArray[np.intp]
    """Of the rows, among `labels`."""
    parent: Texts
    before: Fitness
    candidates: list[Texts] = field(default_factory=list)
    judged: list[Fitness] = field(default_factory=list)
    exchanges: list[Exchange] = field(default_factory=list)


class Loop:
    """Rewrites descriptions generation by generation.

    Parameters
    ----------
    rules : Rules
    scores : DescriptionScores
        Of the support images, followed by the validation images.
    asker : Asker
    client : Client
    codes : ndarray of shape (n_images,), int
        Labels of these images, as places in ``scores.labels``.
    n_support : int
        How many of them are support.
    timeout : float
        Seconds for one try of a request.
    """

    def __init__(
        self,
        rules: Rules,
        scores: DescriptionScores,
        asker: Asker,
        client: Client,
        codes: NDArray[np.intp],
        n_support: int,
        *,
        timeout: float = 120.0,
        progress: Progress = no_progress,
    ) -> None:
        self.rules, self.scores, self.asker, self.client = rules, scores, asker, client
        self.labels = scores.labels
        self.codes, self.n_support = codes, n_support
        self.timeout, self.progress = timeout, progress
        self.bank = MemoryBank(n_most=_MOST_WORDS_KEPT)
        self.spent = Spent()

    def run(self, start: Texts, after: Callable[[list[Generation], int], None]) -> str:
        """Evolve; `after` is told the generations so far and the best of them after each.

        Returns `state`: "finished" or "patience".
        """
        current = dict(start)
        generations = [self._generation(0, current, {}, [], [], Spent())]
        best = 0
        after(generations, best)
        for number in range(1, self.rules.n_generations + 1):
            base = self._support_scores(current)
            asked = Spent()
            groups = self._groups(current, base)
            self._ask(groups, base, number, asked)
            fresh, clusters = self._choose(groups, current, base, number, asked)
            noted = self._remember(current, fresh, base, groups)
            exchanges = [exchange for group in groups for exchange in group.exchanges]
            found = self._generation(number, fresh, current, clusters, exchanges, asked, noted)
            generations.append(found)
            self.spent.merge(asked)
            current = fresh
            best = best_of(generations, by_fitness=self.rules.upstream)
            after(generations, best)
            patience = self.rules.patience
            if patience is not None and number - best >= patience:
                return "patience" if number < self.rules.n_generations else "finished"
        return "finished"

    # One generation

    def _groups(self, current: Texts, base: NDArray[np.float64]) -> list[_Group]:
        means = self.scores.means(current)
        codes = self.codes[: self.n_support]
        found = []
        for labels in groups_of(self.labels, means, self.rules.cluster_size, self.rules.seed):
            places = np.array([self.labels.index(label) for label in labels])
            rows = np.flatnonzero(np.isin(codes, places))
            own = np.searchsorted(places, codes[rows])
            before = fitness_of(base[np.ix_(rows, places)], own)
            parent = {label: current[label] for label in labels}
            found.append(_Group(labels=labels, rows=rows, codes=own, parent=parent, before=before))
        return found

    def _ask(
        self, groups: Sequence[_Group], base: NDArray[np.float64], number: int, asked: Spent
    ) -> None:
        """Have the candidates of all groups written, all at once."""
        questions: list[Question[Written]] = []
        owners: list[_Group] = []
        for group in groups:
            feedback = self._feedback(group, base)
            for k in range(self.rules.n_candidates):
                sample = sample_number(self.rules.seed, number, k)
                questions.append(
                    self.asker.rewrite(group.labels, group.parent, feedback, sample=sample)
                )
                owners.append(group)
        answers = ask_checked(
            self.client,
            questions,
            timeout=self.timeout,
            progress=self.progress,
            stage=f"Generation {number}",
        )
        for group, question, answer in zip(owners, questions, answers, strict=True):
            asked.merge(answer.spent)
            self._take(group, question, answer)

    def _take(
        self, group: _Group, question: Question[Written], answer: Checked[Written]
    ) -> tuple[Texts, Fitness] | None:
        """Judge an answer and note it; None if it cannot be used."""
        accuracy = None
        texts: Texts | None = None
        if answer.value is not None:
            texts = {**group.parent, **answer.value.texts}
            fitness = self._judge(group, texts)
            accuracy = fitness.accuracy
            group.candidates.append(texts)
            group.judged.append(fitness)
        [part] = question.parts
        assert isinstance(part, TextPart)
        group.exchanges.append(
            Exchange(
                task=question.name,
                labels=group.labels,
                sample=question.sample,
                told=part.text,
                said=answer.text,
                reason=answer.reason,
                gaps={} if answer.value is None else answer.value.gaps,
                dropped={} if answer.value is None else answer.value.dropped,
                n_repairs=answer.n_repairs,
                accuracy=accuracy,
            )
        )
        return None if texts is None else (texts, fitness)

    def _judge(self, group: _Group, texts: Mapping[str, Sequence[str]]) -> Fitness:
        return fitness_of(self.scores.scores(texts, group.labels, group.rows), group.codes)

    def _feedback(self, group: _Group, base: NDArray[np.float64]) -> Feedback:
        places = np.array([self.labels.index(label) for label in group.labels])
        counts = self._near(base[np.ix_(group.rows, places)], group.codes)
        n_most = min(self.rules.n_confused, len(group.labels) - 1)
        worst = worst_confusions(counts, n_most)
        return Feedback(
            confused={
                label: [group.labels[j] for j in row]
                for label, row in zip(group.labels, worst, strict=True)
            },
            good=self.bank.good,
            bad=self.bank.bad,
        )

    def _near(self, scores: NDArray[np.float64], codes: NDArray[np.intp]) -> NDArray[np.int64]:
        form: Literal["ratio", "upstream"] = "upstream" if self.rules.upstream else "ratio"
        return near_misses(scores, codes, ratio=self.rules.ratio, form=form)

    def _choose(
        self,
        groups: Sequence[_Group],
        current: Texts,
        base: NDArray[np.float64],
        number: int,
        asked: Spent,
    ) -> tuple[Texts, list[Cluster]]:
        """Mix the candidates of each group, and take the best of all that does no harm."""
        n_changes = [0] * len(groups)
        children: list[tuple[Texts, Fitness] | None] = [None] * len(groups)
        if self.rules.crossover == "llm":
            children = self._mix_by_model(groups, number, asked)
        else:
            for i, group in enumerate(groups):
                children[i], n_changes[i] = self._mix(group)
        codes = self.codes[: self.n_support]
        chosen, scores = dict(current), base.copy()
        whole = fitness_of(scores, codes)
        clusters = []
        for group, child, n in zip(groups, children, n_changes, strict=True):
            options = [
                ("candidate", *pair) for pair in zip(group.candidates, group.judged, strict=True)
            ]
            if child is not None:
                options.append(("crossover", *child))
            options = [option for option in options if option[1] != group.parent]
            options.sort(key=lambda option: (-option[2].accuracy, -option[2].margin))
            taken, after = "parent", group.before
            for kind, texts, fitness in options:
                changed = scores.copy()
                for label in group.labels:
                    code = self.labels.index(label)
                    changed[:, code] = self._column(label, texts[label])
                found = fitness_of(changed, codes)
                better = fitness.beats(group.before) and found.accuracy >= whole.accuracy
                if self.rules.upstream or better:
                    taken, after, whole, scores = kind, fitness, found, changed
                    chosen |= texts
                    break
            clusters.append(
                Cluster(
                    labels=group.labels,
                    before=group.before.accuracy,
                    after=after.accuracy,
                    chosen=taken,
                    n_candidates=len(group.candidates),
                    n_changes=n if taken == "crossover" else 0,
                )
            )
        return chosen, clusters

    def _mix(self, group: _Group) -> tuple[tuple[Texts, Fitness] | None, int]:
        """Mix by single changes on similarities; the parent's words are in the pool too."""
        if all(candidate == group.parent for candidate in group.candidates):
            return None, 0  # nothing new to mix
        versions = list(group.candidates)
        judged = list(group.judged)
        if not self.rules.upstream and all(group.parent.values()):  # names alone do not mix
            versions.append(group.parent)
            judged.append(group.before)
        best = 0
        for i, fitness in enumerate(judged):
            if fitness.beats(judged[best]):
                best = i
        pools: list[list[str]] = []
        masks, values = [], []
        for label in group.labels:
            own = set(map(normalise, versions[best][label]))
            pool: dict[str, str] = {}
            if own:
                for version in versions:
                    for text in version[label]:
                        pool.setdefault(normalise(text), text)
            pools.append(list(pool.values()))
            masks.append(np.array([plain in own for plain in pool] or [True]))
            values.append(self.scores.similarities(label, list(pool.values()), group.rows))
        mixed = greedy_crossover(
            values,
            masks,
            group.codes,
            n_least=min(self.rules.n_least, self.rules.n_start),
            n_most=self.rules.n_start,
            max_sweeps=self.rules.max_sweeps,
        )
        texts = {
            label: tuple(text for text, used in zip(pool, mask, strict=False) if used)
            for label, pool, mask in zip(group.labels, pools, mixed.chosen, strict=True)
        }
        return (texts, mixed.fitness), mixed.n_changes

    def _mix_by_model(
        self, groups: Sequence[_Group], number: int, asked: Spent
    ) -> list[tuple[Texts, Fitness] | None]:
        """Have the model mix, as in the paper."""
        questions: list[Question[Written]] = []
        owners: list[int] = []
        for i, group in enumerate(groups):
            if len(group.candidates) < 2:
                continue
            versions = [
                Version(
                    texts=texts,
                    accuracy=fitness.accuracy,
                    by_label=self._by_label(group, texts),
                )
                for texts, fitness in zip(group.candidates, group.judged, strict=True)
            ]
            sample = sample_number(self.rules.seed, number, self.rules.n_candidates)
            questions.append(self.asker.mix(group.labels, versions, self.bank.bad, sample=sample))
            owners.append(i)
        answers = ask_checked(
            self.client, questions, timeout=self.timeout, stage=f"Crossover {number}"
        )
        children: list[tuple[Texts, Fitness] | None] = [None] * len(groups)
        for i, question, answer in zip(owners, questions, answers, strict=True):
            asked.merge(answer.spent)
            group = groups[i]
            children[i] = self._take(group, question, answer)
            if children[i] is not None:  # it is the child, not one more candidate
                group.candidates.pop()
                group.judged.pop()
        return children

    def _by_label(self, group: _Group, texts: Texts) -> dict[str, float]:
        scores = self.scores.scores(texts, group.labels, group.rows)
        right = scores.argmax(axis=1) == group.codes
        return {
            label: float(right[group.codes == code].mean())
            for code, label in enumerate(group.labels)
        }

    # Memory

    def _remember(
        self, before: Texts, after: Texts, base: NDArray[np.float64], groups: Sequence[_Group]
    ) -> dict[str, tuple[int, int]]:
        """Note which words did good and harm; returns that of the removed and added ones."""
        codes = self.codes[: self.n_support]
        noted: dict[str, tuple[int, int]] = {}
        good: dict[str, list[str]] = {label: [] for label in self.labels}
        bad: dict[str, list[str]] = {label: [] for label in self.labels}
        for code, label in enumerate(self.labels):
            old, new = before[label], after[label]
            removed = [text for text in old if text not in new]
            added = [text for text in new if text not in old]
            if not removed and not added:
                continue
            kept = [text for text in old if text in new]
            was = bank_changes(
                base,
                codes,
                code=code,
                kept=self._column(label, kept) if kept else None,
                after=self._column(label, new),
            )
            noted[label] = was
            for sign, words in zip(was, (removed, added), strict=True):
                (good if sign > 0 else bad)[label].extend(words if sign else ())
        if not self.rules.upstream:
            tried = self._tried(after, groups)
            for label, words in tried.items():
                bad[label] += [w for w in words if w not in good[label] and w not in bad[label]]
        for label in self.labels:
            self.bank.add(label, good=good[label], bad=bad[label], in_use=after[label])
        return noted

    def _tried(self, after: Texts, groups: Sequence[_Group]) -> dict[str, list[str]]:
        """Words of candidates that were left out and, each added alone, do harm; worst last."""
        codes = self.codes[: self.n_support]
        scores = self._support_scores(after)
        whole = fitness_of(scores, codes)
        found: dict[str, list[str]] = {}
        for group in groups:
            for label in group.labels:
                used = set(map(normalise, after[label]))
                pool: dict[str, str] = {}
                for candidate in group.candidates:
                    for text in candidate[label]:
                        if normalise(text) not in used:
                            pool.setdefault(normalise(text), text)
                if not pool or not after[label]:
                    continue
                code = self.labels.index(label)
                n = len(after[label])
                values = self.scores.similarities(
                    label, list(pool.values()), slice(0, self.n_support)
                ).astype(np.float64)
                own = scores[:, code]
                changed = scores.copy()
                harm: list[tuple[Fitness, str]] = []
                for text, column in zip(pool.values(), values.T, strict=True):
                    changed[:, code] = (n * own + column) / (n + 1)
                    fitness = fitness_of(changed, codes)
                    if whole.beats(fitness):
                        harm.append((fitness, text))
                harm.sort(key=lambda pair: (-pair[0].accuracy, -pair[0].margin))
                found[label] = [text for _, text in harm[-_MOST_TRIED:]]
        return found

    # Numbers

    def _column(self, label: str, texts: Sequence[str]) -> NDArray[np.float64]:
        return self.scores.column(label, texts, slice(0, self.n_support))

    def _support_scores(self, texts: Texts) -> NDArray[np.float64]:
        return self.scores.scores(texts, images=slice(0, self.n_support))

    def _generation(
        self,
        number: int,
        texts: Texts,
        before: Texts,
        clusters: Sequence[Cluster],
        exchanges: Sequence[Exchange],
        asked: Spent,
        noted: Mapping[str, tuple[int, int]] | None = None,
    ) -> Generation:
        """Write down what is known of a generation."""
        scores = self.scores.scores(texts)
        n = self.n_support
        fitness = fitness_of(scores[:n], self.codes[:n])
        validation = None
        if n < len(self.codes):
            validation = fitness_of(scores[n:], self.codes[n:]).accuracy
        changes = []
        for label in self.labels if before else ():
            added = tuple(text for text in texts[label] if text not in before[label])
            removed = tuple(text for text in before[label] if text not in texts[label])
            if added or removed:
                was = (noted or {}).get(label, (0, 0))
                changes.append(
                    LabelChange(
                        label=label,
                        added=added,
                        removed=removed,
                        n_kept=len(texts[label]) - len(added),
                        removed_was=was[0],
                        added_was=was[1],
                    )
                )
        return Generation(
            number=number,
            descriptions=dict(texts),
            fitness=fitness.accuracy,
            margin=fitness.margin,
            validation=validation,
            changes=tuple(changes),
            confusions=self._confusions(scores),
            clusters=tuple(clusters),
            exchanges=tuple(exchanges),
            good_words={label: tuple(words) for label, words in self.bank.good.items() if words},
            bad_words={label: tuple(words) for label, words in self.bank.bad.items() if words},
            n_requests=asked.n_requests,
            input_tokens=asked.input_tokens,
            output_tokens=asked.output_tokens,
            cost_usd=asked.cost_usd,
        )

    def _confusions(self, scores: NDArray[np.float64]) -> tuple[Confusion, ...]:
        n, n_labels = self.n_support, len(self.labels)
        near = self._near(scores[:n], self.codes[:n])
        counts = []
        for part in (slice(0, n), slice(n, None)):
            table = np.zeros((n_labels, n_labels), np.int64)
            np.add.at(table, (self.codes[part], scores[part].argmax(axis=1)), 1)
            np.fill_diagonal(table, 0)
            counts.append(table)
        shown = (counts[0] + counts[1]) > 0
        for i, row in enumerate(worst_confusions(near, self.rules.n_confused)):
            shown[i, row] = True
        found = [
            Confusion(
                label=self.labels[i],
                taken_for=self.labels[j],
                n_support=int(counts[0][i, j]),
                n_validation=int(counts[1][i, j]),
                n_near=int(near[i, j]),
            )
            for i, j in zip(*map(np.ndarray.tolist, np.nonzero(shown)), strict=True)
        ]
        found.sort(key=lambda c: -(c.n_support + c.n_validation))
        return tuple(found)


def best_of(generations: Sequence[Generation], *, by_fitness: bool) -> int:
    """Choose a generation by validation, then by fitness; the earliest of equals."""

    def worth(generation: Generation) -> tuple[float, ...]:
        own = (generation.fitness, generation.margin)
        if by_fitness or generation.validation is None:
            return own
        return (generation.validation, generation.fitness)

    return max(generations, key=lambda generation: (*worth(generation), -generation.number)).number
