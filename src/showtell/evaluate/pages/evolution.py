"""An evolution of descriptions as one self-contained page that plays it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from showtell import words
from showtell.classify.evolving.record import (
    Confusion,
    Evolution,
    Exchange,
    Generation,
    LabelChange,
)
from showtell.datasets import Dataset
from showtell.encoders import embed_images
from showtell.errors import InputError
from showtell.evaluate.controls import Controls, description_controls
from showtell.evaluate.described import LabelDescriptions, score_descriptions
from showtell.evaluate.pages.described import controls_section, description_cards
from showtell.evaluate.pages.progress import draw_progress
from showtell.evaluate.samples import true_codes
from showtell.pages.page import check_page, subtitle, write_page
from showtell.pages.thumbs import make_thumbnails

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from showtell.classify.evolving.classifier import EvolvingDescriptionClassifier

_PHOTOS = 4  # of a label
_GAINED, _LOST = 16, 8  # photos that are shown
_LABELS, _LABELS_IN_ALL, _FEWEST = 60, 3000, 6  # whose words are listed in a generation, on a page
_WORDS = 40  # of a label
_CONFUSIONS, _CURED = 8, 12
_TALKS, _LETTERS, _TALKS_IN_ALL = 3, 4000, 150
_STATES = {
    "running": "still running when this page was made",
    "finished": "all generations done",
    "patience": "stopped early: generations went by without a better one",
    "stopped": "stopped by a cap or by hand; the same call goes on",
}
_CHOSEN = {
    "parent": "kept as they were",
    "candidate": "took a whole answer",
    "crossover": "took the best of several answers, word by word",
}
_REMOVING = {1: "removing hurt", -1: "removing helped"}
_ADDING = {1: "adding helped", -1: "adding hurt"}
_SETTINGS = {
    "n_candidates": "Answers to each question",
    "n_start": "Descriptions of a label, at most",
    "n_replaced": "To be replaced in a generation",
    "crossover": "Crossover",
    "cluster_size": "Labels rewritten together",
    "template": "Template",
    "domain": "Domain",
    "compat": "As published",
}


def write_evolution(
    evolution: Evolution | EvolvingDescriptionClassifier,
    path: str | os.PathLike[str],
    *,
    data: Dataset | None = None,
    described: Sequence[LabelDescriptions] | None = None,
    controls: Controls | None = None,
    title: str | None = None,
    thumbnails_mb: float = 4.0,
) -> Path:
    """Write one self-contained HTML page that plays an evolution of descriptions.

    Accuracy per generation, with a slider; for each the words that came and went, what is taken for
    what, what the model was told and what it cost; the confusions that were cured; the best and
    worst descriptions. It works offline and without JavaScript, and makes no request.

    Parameters
    ----------
    evolution : Evolution or EvolvingDescriptionClassifier
        A record, as `read_evolution` gives one, or the fitted classifier.
    path : path
        The ``.html`` file; it appears whole or not at all.
    data : Dataset, optional
        Labelled photos, best with no part in the evolution: the descriptions are measured on them,
        some are shown, and with a classifier those it answers otherwise than at the start.
    described, controls : optional
        What was measured already; else it is measured on `data`, which takes a classifier.
    title, thumbnails_mb
        As in `write_report`.

    Raises
    ------
    InputError, DataError
        As `write_report`; if `data` has an unknown label, or there is nothing to measure it with.

    Examples
    --------
    >>> from tempfile import mkdtemp
    >>> start = Generation(number=0, descriptions={"cat": (), "dog": ()}, fitness=0.5, margin=0.0,
    ...                    validation=0.5)
    >>> evolution = Evolution(
    ...     labels=("cat", "dog"), model="toy:one", encoder="mini", prompt_version="evolve-1",
    ...     seed=0, n_support=32, n_validation=20, generations=(start,), best=0, state="finished")
    >>> write_evolution(evolution, mkdtemp() + "/evolution.html").name
    'evolution.html'
    """
    check_page(path, thumbnails_mb)
    clf = None if isinstance(evolution, Evolution) else evolution
    record: Evolution = evolution if isinstance(evolution, Evolution) else evolution.evolution_
    turned: list[_Turned] = []
    pictures, codes = {}, np.zeros(0, np.int32)
    if data is not None:
        codes = _codes(record, data)
        if clf is not None:
            described = _described(clf, record, data) if described is None else described
            if controls is None and record.chosen.n_descriptions:
                controls = description_controls(clf, data)
            turned = _turned(clf, data)
        elif described is None:
            raise InputError(
                "A record has no encoder to measure `data` with. Give the fitted classifier (see "
                "`load_classifier`) instead, or what was measured as `described`."
            )
        pictures = _pictures(data, codes, len(record.labels), turned, thumbnails_mb)
    return write_page(
        path,
        "showtell.evaluate.pages",
        "evolution.html.j2",
        title=title or "How the descriptions evolved",
        subtitle=_subtitle(record),
        result=_result(record),
        controls=controls_section(controls),
        charts=[
            draw_progress(record, *size) for size in ((760, 330, "broad"), (400, 300, "narrow"))
        ],
        record=record,
        last=len(record.generations) - 1,
        generations=[_generation(record, g) for g in record.generations],
        cured=_cured(record),
        turned=_strips(turned, pictures, 0 if data is None else len(data)),
        described=_cards(described or (), record.labels, codes, pictures),
        facts=_facts(record),
        settings_json=json.dumps(dict(record.settings), ensure_ascii=False, indent=2),
        styles=["evolution.css"],
        scripts=["evolution.js"],
    )


# Photos


def _codes(record: Evolution, data: Dataset) -> NDArray[np.int32]:
    """Translate the labels of the photos to those of the evolution."""
    if data.codes is None or (data.codes < 0).any():
        raise InputError("`data` shows what descriptions are worth, so every photo needs a label.")
    codes: NDArray[np.int32] = true_codes(data.y.tolist(), record.labels)
    return codes


def _described(
    clf: EvolvingDescriptionClassifier, record: Evolution, data: Dataset
) -> Sequence[LabelDescriptions]:
    """Measure the chosen descriptions."""
    own = clf.at(record.best)
    order = [str(label) for label in own.classes_.tolist()]
    return score_descriptions(own, data.images, true_codes(data.y.tolist(), order))


def _cards(
    described: Sequence[LabelDescriptions],
    labels: Sequence[str],
    codes: NDArray[np.int32],
    pictures: Mapping[int, str],
) -> dict[str, Any] | None:
    """Lay out the descriptions of each label beside some of its photos."""
    cards = description_cards(described)
    code_of = {label: code for code, label in enumerate(labels)}
    for card in () if cards is None else cards["cards"]:
        own_rows = np.flatnonzero(codes == code_of.get(card["label"], -1))[:_PHOTOS].tolist()
        card["photos"] = [pictures[row] for row in own_rows if row in pictures]
    return cards


@dataclass(frozen=True)
class _Turned:
    """A photo that either the start or the chosen generation gets right, but not both."""

    row: int
    label: str
    before: str
    after: str

    @property
    def gained(self) -> bool:
        """Whether it became right."""
        return self.after == self.label


def _turned(clf: EvolvingDescriptionClassifier, data: Dataset) -> list[_Turned]:
    """Find the photos that became right or wrong, one of every label before the second of any."""
    start, chosen = clf.at(0), clf.at(clf.best_generation_)
    found = embed_images(clf._fitted_encoder(), data.images, store=clf.store)
    labels = [str(label) for label in chosen.classes_.tolist()]
    before, after = (one._score(found.embeddings)[0].argmax(axis=1) for one in (start, chosen))
    turned = []
    for row, (place, label) in enumerate(zip(found.distinct.tolist(), data.y, strict=True)):
        if place < 0:  # could not be used
            continue
        one = _Turned(row, str(label), labels[before[place]], labels[after[place]])
        if one.gained != (one.before == one.label):
            turned.append(one)
    of_label: dict[str, list[_Turned]] = {}
    for one in turned:
        of_label.setdefault(one.label, []).append(one)
    waves = zip_longest(*of_label.values())
    return [one for wave in waves for one in wave if one is not None]


def _pictures(
    data: Dataset,
    codes: NDArray[np.int32],
    n_labels: int,
    turned: Sequence[_Turned],
    limit_mb: float,
) -> dict[int, str]:
    """Embed photos by row: the first of every label before the second of any, then turned ones."""
    if limit_mb == 0:
        return {}
    rows = [np.flatnonzero(codes == code)[:_PHOTOS].tolist() for code in range(n_labels)]
    order = [row for wave in zip_longest(*rows) for row in wave if row is not None]
    for gained, limit in ((True, _GAINED), (False, _LOST)):
        order += [one.row for one in turned if one.gained == gained][:limit]
    made = make_thumbnails(data.images, order, limit_mb=limit_mb)
    return {row: made.address(row) for row in order if made.of_row[row] >= 0}


def _strips(
    turned: Sequence[_Turned], pictures: Mapping[int, str], n_photos: int
) -> dict[str, Any] | None:
    """Lay out the photos that became right, and those that became wrong."""
    if not turned:
        return None
    strips = []
    for gained, title, limit in ((True, "Became right", _GAINED), (False, "Became wrong", _LOST)):
        own = [one for one in turned if one.gained == gained]
        shown = [(one, pictures[one.row]) for one in own[:limit] if one.row in pictures]
        strips.append({"title": title, "n": len(own), "gained": gained, "shown": shown})
    return {"strips": strips, "n_photos": n_photos}


# What it came to


def _subtitle(record: Evolution) -> str:
    return subtitle(
        words.plural(len(record.labels), "label"),
        words.plural(len(record.generations) - 1, "generation"),
        words.plural(sum(g.n_requests for g in record.generations), "question"),
        f"cost {words.money(record.cost_usd)}",
        f"words by {record.model}",
    )


def _result(record: Evolution) -> dict[str, Any]:
    """Say what the evolution gained, and how far that can be believed."""
    start, chosen, test = record.start, record.chosen, record.test
    if test is not None:
        gain = test.accuracy_after - test.accuracy_before
        certain = test.p_value < 0.05 and gain != 0
        kind = ("earned" if gain > 0 else "harm") if certain else "open"
        chance = words.chance(test.p_value)
        verdict = {
            "earned": f"The evolved descriptions are better ({chance}).",
            "harm": f"The evolved descriptions are worse than the start ({chance}).",
            "open": f"This may be chance ({chance}).",
        }[kind]
        if not record.best:
            verdict = "No generation was better than the start, so the start is the result."
        lead = (
            f"{words.percent(test.accuracy_after)} against "
            f"{words.percent(test.accuracy_before)} at the start, on "
            f"{words.plural(test.n, 'photo')} that played no part in the evolution. {verdict}"
        )
        lines = [
            lead,
            f"{words.plural(test.n_gained, 'photo')} became right and {test.n_lost:,} became "
            "wrong. p: McNemar's exact test.",
        ]
        unit = "points of accuracy, on photos that played no part"
    else:
        after, before = chosen.validation, start.validation
        kind = "open"
        if after is not None and before is not None:
            gain = after - before
            where = (
                f"the {words.plural(record.n_validation, 'validation photo')} that chose the "
                "generation"
            )
            unit = "points of accuracy, on validation photos"
            caution = "The best of many is partly luck"
        else:
            gain, after, before = chosen.fitness - start.fitness, chosen.fitness, start.fitness
            where = f"the {words.plural(record.n_support, 'photo')} that the words were chosen by"
            unit = "points of accuracy, on the photos the words were chosen by"
            caution = "That is training accuracy"
        if record.best:
            lines = [
                f"{words.percent(after)} against {words.percent(before)} at the start, on {where}. "
                f"{caution}: measure on photos that the evolution has not seen."
            ]
        else:
            lines = [
                f"No generation was better than the start on {where}, so the start is the result."
            ]
    n_right = round((chosen.fitness - start.fitness) * 100, 1)
    if test is not None and record.best:
        lines.append(
            f"On the photos that the words were chosen by, it was {words.points(n_right / 100)} "
            "points: part of a gain there is always learned by heart."
        )
    return {"kind": kind, "big": words.points(gain), "unit": unit, "lines": lines}


def _cured(record: Evolution) -> dict[str, Any] | None:
    """Compare what is taken for what at the start and at the chosen generation."""
    before, after = _mistakes(record.start), _mistakes(record.chosen)
    if not before and not after:
        return None
    n_before, n_after = sum(map(_n_of, before.values())), sum(map(_n_of, after.values()))

    def change(pair: tuple[str, str]) -> int:
        return _n_of(after.get(pair)) - _n_of(before.get(pair))

    pairs = sorted({**before, **after}, key=lambda p: (-abs(change(p)), -_n_of(before.get(p)), p))
    shown = pairs[:_CURED]
    shown.sort(key=lambda p: (change(p), -_n_of(before.get(p)), p))
    most = max(_n_of(part.get(pair)) for pair in shown for part in (before, after))
    return {
        "n_before": n_before,
        "n_after": n_after,
        "n_pairs": len(pairs),
        "n_photos": record.n_support + record.n_validation,
        "n_better": sum(change(pair) < 0 for pair in pairs),
        "n_worse": sum(change(pair) > 0 for pair in pairs),
        "rows": [
            {
                "label": pair[0],
                "taken_for": pair[1],
                "before": _n_of(before.get(pair)),
                "after": _n_of(after.get(pair)),
                "validation": (
                    f"{_n_held(before.get(pair))} → {_n_held(after.get(pair))}"
                    if record.n_validation
                    else ""
                ),
                "x_before": round(100 * _n_of(before.get(pair)) / most, 1),
                "x_after": round(100 * _n_of(after.get(pair)) / most, 1),
                "kind": "better" if change(pair) < 0 else "worse" if change(pair) > 0 else "same",
            }
            for pair in shown
        ],
    }


def _mistakes(generation: Generation) -> dict[tuple[str, str], Confusion]:
    return {(c.label, c.taken_for): c for c in generation.confusions if _n_of(c)}


def _n_of(confusion: Confusion | None) -> int:
    return 0 if confusion is None else confusion.n_support + confusion.n_validation


def _n_held(confusion: Confusion | None) -> int:
    return 0 if confusion is None else confusion.n_validation


# One generation


def _generation(record: Evolution, generation: Generation) -> dict[str, Any]:
    """Lay out what happened in a generation."""
    number = generation.number
    before = record.generations[number - 1] if number else None
    n_all = len(record.generations)
    limit = max(_FEWEST, min(_LABELS, _LABELS_IN_ALL // n_all))
    changes = sorted(generation.changes, key=lambda c: -(len(c.added) + len(c.removed)))
    most = max((_n_of(c) for g in record.generations for c in g.confusions), default=1) or 1
    mistakes = _mistakes(generation)
    at_start = _mistakes(record.start)
    banked = [
        label
        for label in record.labels
        if generation.good_words.get(label) or generation.bad_words.get(label)
    ]
    groups: dict[str, int] = {}
    for cluster in generation.clusters:
        groups[cluster.chosen] = groups.get(cluster.chosen, 0) + 1
    n_unused = sum(exchange.reason is not None for exchange in generation.exchanges)
    return {
        "number": number,
        "chosen": number == record.best,
        "generation": generation,
        "support": words.percent(generation.fitness),
        "support_change": _step(generation.fitness, None if before is None else before.fitness),
        "validation": words.percent(generation.validation),
        "validation_change": _step(
            generation.validation, None if before is None else before.validation
        ),
        "n_added": sum(len(c.added) for c in changes),
        "n_removed": sum(len(c.removed) for c in changes),
        "cost": words.money(generation.cost_usd),
        "changes": [_change(c) for c in changes[:limit]],
        "n_more": len(changes) - min(limit, len(changes)),
        "words": _words(generation, record.labels[:limit]) if before is None else [],
        "n_mistakes": sum(map(_n_of, mistakes.values())),
        "confusions": [
            {
                "label": c.label,
                "taken_for": c.taken_for,
                "n": _n_of(c),
                "at_start": _n_of(at_start.get(pair)),
                "x": round(100 * _n_of(c) / most, 1),
                "x_start": round(100 * _n_of(at_start.get(pair)) / most, 1),
            }
            for pair, c in list(mistakes.items())[:_CONFUSIONS]
        ],
        "n_pairs": len(mistakes),
        "memory": [
            {
                "label": label,
                "good": generation.good_words.get(label, ())[:_WORDS],
                "bad": generation.bad_words.get(label, ())[:_WORDS],
            }
            for label in banked[:limit]
        ],
        "n_good": sum(map(len, generation.good_words.values())),
        "n_bad": sum(map(len, generation.bad_words.values())),
        "n_banked": len(banked),
        "groups": [
            (words.plural(n, "group of labels", "groups of labels"), _CHOSEN.get(how, how))
            for how, n in sorted(groups.items())
        ],
        "n_unused": n_unused,
        "talks": _talks(generation.exchanges, n_all),
    }


def _change(change: LabelChange) -> dict[str, Any]:
    """Lay out the words of a label that came and went."""
    return {
        "label": change.label,
        "added": change.added[:_WORDS],
        "removed": change.removed[:_WORDS],
        "n_more": max(0, len(change.added) - _WORDS) + max(0, len(change.removed) - _WORDS),
        "n_kept": change.n_kept,
        "effects": ", ".join(
            text
            for text in (_REMOVING.get(change.removed_was), _ADDING.get(change.added_was))
            if text
        ),
    }


def _step(now: float | None, before: float | None) -> str:
    """Write by how many points a share changed; "" where it did not."""
    if now is None or before is None or round(now - before, 3) == 0:
        return ""
    return words.points(now - before)


def _words(generation: Generation, labels: Sequence[str]) -> list[dict[str, Any]]:
    """List the words of each label that has some."""
    return [
        {"label": label, "texts": generation.descriptions[label][:_WORDS]}
        for label in labels
        if generation.descriptions[label]
    ]


def _talks(exchanges: Sequence[Exchange], n_generations: int) -> list[dict[str, Any]]:
    """Choose questions to quote: one of each group of labels, as many as the page bears."""
    limit = max(1, min(_TALKS, _TALKS_IN_ALL // n_generations))
    first: dict[tuple[str, ...], Exchange] = {}
    for exchange in exchanges:
        first.setdefault((exchange.task, *exchange.labels), exchange)
    return [
        {
            "task": exchange.task,
            "labels": words.listed(exchange.labels, most=6),
            "told": _quoted(exchange.told),
            "said": _quoted(exchange.said),
            "reason": exchange.reason or "",
            "gaps": [f"{label}: {why}" for label, why in exchange.gaps.items()][:20],
            "accuracy": words.percent(exchange.accuracy),
        }
        for exchange in list(first.values())[:limit]
    ]


def _quoted(text: str) -> str:
    return text if len(text) <= _LETTERS else text[:_LETTERS] + " …"


def _facts(record: Evolution) -> list[tuple[str, str]]:
    tokens = [sum(g.input_tokens for g in record.generations)]
    tokens.append(sum(g.output_tokens for g in record.generations))
    facts = [
        ("Words by", record.model),
        ("Encoder", record.encoder),
        ("Prompts", record.prompt_version),
        ("Photos", f"{record.n_support:,} that the words are chosen by, "
                   f"{record.n_validation:,} that choose the generation"),
        ("State", _STATES.get(record.state, record.state)),
        ("Cost", words.money(record.cost_usd)),
        ("Tokens", f"{tokens[0]:,} sent, {tokens[1]:,} written"),
        ("Seed", str(record.seed)),
    ]  # fmt: skip
    known: Mapping[str, Any] = record.settings
    facts += [
        (text, str(known[name])) for name, text in _SETTINGS.items() if known.get(name) is not None
    ]
    return facts
