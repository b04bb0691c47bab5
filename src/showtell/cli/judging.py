"""What `showtell judge` reads, plans and prints."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import showtell.evaluate as measuring
from showtell.cli import options as o
from showtell.cli.output import number, print_table
from showtell.cli.session import Session
from showtell.cli.writing import show_price
from showtell.errors import InputError
from showtell.evaluate.judging.answers import say_missing
from showtell.evaluate.judging.scores import pairs_needed
from showtell.evaluate.judging.several import pairs_of
from showtell.records.reading import TEXT_BYTES, read_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from showtell._progress import Progress
    from showtell.evaluate import Answers, Contest
    from showtell.evaluate.judging.answers import Joined
    from showtell.mllm import Model, Request
    from showtell.runs import WritingJob

_JUDGE = "How to judge"


@dataclass(frozen=True, kw_only=True)
class JudgingOptions:
    """By what it is judged."""

    # fmt: off
    actual: Annotated[str | None, o.option(
        "--actual FILE", _JUDGE, common=True,
        help="True labels (image, label): then no model is asked.")] = None
    criteria: Annotated[str | None, o.option(
        "--criteria FILE", _JUDGE, common=True,
        help="One to five criteria, one per line; unless given: says what is visible, invents "
             "nothing.")] = None
    images: Annotated[str | None, o.option(
        "--images DIR", _JUDGE, common=True,
        help="Where the images lie that the tables name: the judge is shown them.")] = None
    orders: Annotated[Literal["auto", "both", "random"], o.option(
        "--orders auto|both|random", _JUDGE, common=True,
        help="Ask each pair twice, swapped, or once in a random order; auto: both below 500 "
             "pairs.")] = "auto"
    human: Annotated[str | None, o.option(
        "--human FILE", _JUDGE, common=True,
        help="What a person said of some pairs: corrects the judge.")] = None
    export_human: Annotated[Path | None, o.option(
        "--export-human FILE", _JUDGE,
        help="Write random pairs for a person to judge, without names, and end.")] = None
    n_human: Annotated[int, o.option(
        "--n-human N", _JUDGE, min=2, help="How many pairs that are.")] = 50
    answer_column: Annotated[str | None, o.option(
        "--answer-column COL", _JUDGE,
        help="Column of the answers; unless given answer, label, caption, text, story.")] = None
    # fmt: on


@dataclass(kw_only=True)
class Setting:
    """Who is compared with whom, about what and by what."""

    contestants: Sequence[Answers]
    joined: Joined
    gold: list[str] | None
    images: list[str] | None
    human: Mapping[tuple[int, int], Mapping[int, float]] | None
    criteria: tuple[str, ...]
    orders: Any
    max_side: int
    seed: int

    @property
    def n_pairs(self) -> int:
        """Pairs of contestants."""
        return len(pairs_of(len(self.joined.names)))

    def deciding(self) -> dict[str, Any]:
        """Say what decides about the verdicts, as JSON values."""
        return {
            "contestants": list(self.joined.names),
            "images": list(self.joined.images),
            "criteria": list(self.criteria),
            "orders": self.orders,
            "max_side": self.max_side,
            "seed": self.seed,
            "answers": hashlib.sha256(repr(self.joined.texts).encode()).hexdigest()[:16],
            "by_gold": self.gold is not None,
        }

    def _asking(self) -> dict[str, Any]:
        return {
            "criteria": self.criteria,
            "images": self.images,
            "orders": self.orders,
            "max_side": self.max_side,
            "random_state": self.seed,
        }

    def judge(self, model: Model | None, progress: Progress) -> Contest:
        """Judge all pairs of contestants."""
        return measuring.judge_all(
            self.joined,
            model=model,
            gold=self.gold,
            human=self.human,
            facts=[one.facts() for one in self.contestants],
            progress=progress,
            **self._asking(),
        )

    def requests(self, model: Model) -> list[Request]:
        """Write what would be asked."""
        texts = self.joined.texts
        told = {
            **self._asking(),
            "questions": self.joined.questions,
            "references": self.joined.references,
        }
        return [
            request
            for a, b in pairs_of(len(texts))
            for request in measuring.judge_requests(texts[a], texts[b], model=model, **told)
        ]

    def for_a_person(self, n: int) -> list[dict[str, Any]]:
        """Draw pairs for a person."""
        pairs = pairs_of(len(self.joined.names))
        return measuring.pairs_for_a_person(self.joined, pairs, n, random_state=self.seed)


def setting_of(
    session: Session,
    files: Sequence[str],
    how: JudgingOptions,
    *,
    limit: int | None,
    seed: int,
    max_side: int,
) -> Setting:
    """Read and join the tables; what is missing on one side is said, and not judged."""
    contestants = [measuring.read_answers(file, column=how.answer_column) for file in files]
    joined = measuring.join_answers(contestants)
    if (missing := say_missing(joined)) is not None:
        session.note(missing)
    gold = None
    if how.actual is not None:
        actual = measuring.read_answers(how.actual)
        known = [image for image in joined.images if image in actual.texts]
        if len(known) < len(joined.images):
            n = len(joined.images) - len(known)
            session.note(f"{how.actual} has no label of {n:,} images: not judged.")
        if not known:
            raise InputError(f"{how.actual} has a label of none of the images.", param="actual")
        joined = joined.only(known)
    joined = joined.limited(limit, seed)
    if how.actual is not None:
        gold = [actual.texts[image] for image in joined.images]
    human = None
    if how.human is not None:
        human = measuring.human_scores(how.human, joined, pairs_of(len(files)))
    return Setting(
        contestants=contestants,
        joined=joined,
        gold=gold,
        images=None if how.images is None else _paths(how.images, joined.images),
        human=human,
        criteria=measuring.CRITERIA if how.criteria is None else _criteria(how.criteria),
        orders=how.orders,
        max_side=max_side,
        seed=seed,
    )


def _paths(folder: str, images: Sequence[str]) -> list[str]:
    """Find the images of a table, which may be named from its folder or from here."""
    base = Path(folder)
    if not base.is_dir():
        raise InputError(f"{folder!r} is no folder of images.", param="images")
    found = []
    for image in images:
        below = base / image
        found.append(str(below if below.is_file() or not Path(image).is_file() else image))
    if not any(Path(path).is_file() for path in found):
        raise InputError(
            f"None of the images lies in {folder!r}; the first would be {found[0]!r}.",
            param="images",
        )
    return found


def _criteria(file: str) -> tuple[str, ...]:
    text = read_text(Path(file), "file of criteria", most=TEXT_BYTES, error=InputError)
    return tuple(line.strip() for line in text.splitlines() if line.strip())


def say_plan(session: Session, job: WritingJob, setting: Setting, *, json: bool) -> None:
    """Say how many pairs find a difference, and what asking costs."""
    n = len(setting.joined.images)
    texts = setting.joined.texts
    alike = [
        sum(x == y for x, y in zip(texts[a], texts[b], strict=True)) / n
        for a, b in pairs_of(len(texts))
    ]
    ties = min(max(alike), 0.99)
    facts = {
        "n_images": n,
        "n_pairs_of_contestants": setting.n_pairs,
        "pairs_needed_for_5_points": pairs_needed(0.05, ties=ties),
        "pairs_needed_for_10_points": pairs_needed(0.1, ties=ties),
    }
    sums = job.add_up(setting.requests(job.access), answer_tokens=90)
    about = f"about {setting.n_pairs * n:,} pairs of answers"
    show_price(session, facts, [sums], about, json=json)


def print_contest(session: Session, found: Contest) -> None:
    """Print win rates and what the answers took, for a person."""
    told = found.to_dict()
    header = ["A", "B", "win rate of A", "95 % interval", "p", "judged", "same words"]
    judged = told["judge"] != "gold"
    header += ["same both ways", "position bias"] if judged else []
    rows = []
    for pair in told["pairs"]:
        row = [pair["a"], pair["b"], number(pair["win_rate"])]
        row += [f"[{pair['low']:.3f}, {pair['high']:.3f}]", f"{pair['p_holm']:.2g}"]
        row += [f"{pair['n_judged']:,}", f"{pair['n_alike']:,}"]
        row += [number(pair["consistency"], 2), number(pair["position_bias"], 2)] * judged
        rows.append(row)
    print_table(session, header, rows, right=range(2, len(header)))
    if found.standings:
        ranks = [
            [
                s.name,
                f"{s.elo:+.0f}",
                f"[{s.low:+.0f}, {s.high:+.0f}]",
                f"{s.rank_low}-{s.rank_high}",
            ]
            for s in found.standings
        ]
        print_table(session, ("contestant", "strength", "95 % interval", "rank"), ranks)
    columns = {
        "accuracy": "accuracy", "characters_each": "characters", "seconds_each": "seconds",
        "seconds_per_1000_characters": "s per 1,000 characters", "usd_per_1000": "USD per 1,000",
    }  # fmt: skip
    known = [c for c in columns if any(one.get(c) is not None for one in told["contestants"])]
    cells = [
        [one["name"], f"{one['n_answers']:,}", *(number(one.get(c)) for c in known)]
        for one in told["contestants"]
    ]
    names = ("contestant", "answers", *(columns[c] for c in known))
    print_table(session, names, cells, right=range(1, len(names)))
