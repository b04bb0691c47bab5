"""What `showtell distill` reads and prints."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TextIO

import typer

from showtell import datasets, mllm, recipes
from showtell.classify import TeacherLabels
from showtell.classify.table import AUTO, methods
from showtell.cli import options as o
from showtell.cli.output import print_csv, print_table
from showtell.cli.recipes import options_of
from showtell.cli.session import Session, is_terminal
from showtell.errors import InputError
from showtell.evaluate.distilled.outcome import TERMS
from showtell.runs.distilling import DistillPlan, without_images
from showtell.tables import TABLE_SUFFIXES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from showtell.cli.groups import ColumnOptions
    from showtell.datasets import Dataset, LabelSet
    from showtell.evaluate.distilled.outcome import Distilled
    from showtell.recipes import Recipe

_LEARN = "Whom to learn from, and how"
_PROMISE = "What to promise"


@dataclass(frozen=True, kw_only=True)
class LearningOptions:
    """Whom to learn from, and how."""

    teacher: Annotated[
        str,
        o.option(
            "--teacher SPEC",
            _LEARN,
            common=True,
            help="provider:name, a method such as zero-shot or few-shot, or a file of answers.",
        ),
    ]
    budget: Annotated[
        int,
        o.option(
            "--budget N",
            _LEARN,
            common=True,
            min=1,
            help="Ask the teacher about at most N images to learn from.",
        ),
    ] = 400
    gold: Annotated[
        str | None,
        o.option(
            "--gold DIR|FILE",
            _LEARN,
            common=True,
            help="Labelled images to measure on, never learned from; unless given the test part of "
            "DATA.",
        ),
    ] = None
    select: Annotated[
        Literal["auto", "cover", "typical", "margin", "random"],
        o.option(
            "--select auto|cover|typical|margin|random",
            _LEARN,
            help="Which images the teacher is asked about.",
        ),
    ] = "auto"
    head: Annotated[
        Literal["blend", "linear", "mean", "mlp"],
        o.option("--head blend|linear|mean|mlp", _LEARN, help="What is trained on the embeddings."),
    ] = "blend"
    suspects: Annotated[
        Literal["keep", "drop"],
        o.option(
            "--suspects keep|drop",
            _LEARN,
            help="What to do with labels that are most likely wrong.",
        ),
    ] = "keep"
    n_images: Annotated[
        int | None,
        o.option(
            "--n-images N",
            _LEARN,
            min=1,
            help="Images that are to be labelled, for the price; unless given those of DATA.",
        ),
    ] = None
    accept_terms: Annotated[
        bool,
        o.option(
            "--accept-terms",
            _LEARN,
            common=True,
            help="You have checked that the provider allows training on its answers.",
        ),
    ] = False


@dataclass(frozen=True, kw_only=True)
class PromiseOptions:
    """What a cascade of student and teacher has to keep."""

    target_accuracy: Annotated[
        float | None,
        o.option(
            "--target-accuracy P",
            _PROMISE,
            common=True,
            min=0.01,
            max=0.999,
            help="Least accuracy of the cascade; needs --gold.",
        ),
    ] = None
    max_loss: Annotated[
        float | None,
        o.option(
            "--max-loss P",
            _PROMISE,
            common=True,
            min=0.001,
            max=0.99,
            help="Largest loss against the teacher; needs no gold labels.",
        ),
    ] = None
    confidence: Annotated[
        float, o.option("--confidence P", _PROMISE, min=0.5, max=0.9999, help="Of the promise.")
    ] = 0.95
    calibrate: Annotated[
        int,
        o.option(
            "--calibrate N",
            _PROMISE,
            min=1,
            help="Ask the teacher about N more images, to find what can be promised.",
        ),
    ] = 200


def plan_of(
    learning: LearningOptions, promise: PromiseOptions, encoder: str, seed: int
) -> DistillPlan:
    """Take the options as a plan."""
    return DistillPlan(
        budget=learning.budget,
        select=learning.select,
        head=learning.head,
        suspects=learning.suspects,
        encoder=encoder,
        target_accuracy=promise.target_accuracy,
        max_loss=promise.max_loss,
        confidence=promise.confidence,
        n_calibration=promise.calibrate,
        seed=seed,
    )


def answers_of(teacher: str) -> TeacherLabels | None:
    """Read a file of answers, if the teacher is one."""
    return TeacherLabels.read(teacher) if Path(teacher).suffix.lower() in TABLE_SUFFIXES else None


def teacher_recipe(
    ctx: typer.Context, teacher: str, labels: LabelSet | None, examples: Dataset | None
) -> Recipe:
    """Say how the teacher answers: a model with or without examples, or a method of encoders."""
    values = options_of(ctx)
    access = {name: value for name, value in values.items() if name in recipes.ACCESS}
    more: dict[str, Any] = {"labels": labels, "seed": ctx.params["seed"]}
    if answers_of_suffix(teacher):
        return recipes.Recipe(**more)
    if ":" in teacher:
        if recipes.is_local(teacher):
            return recipes.Recipe(model=teacher, **more)
        options = {"max_side": values["max_side"]}
        if ctx.params["shots"] is not None:
            options["shots"] = ctx.params["shots"]
        found = recipes.Recipe(model=teacher, access=access, options=options, **more)
        return found.settled(examples=examples is not None)
    known = [row.name for row in methods().values() if not row.asks]
    if teacher != AUTO and teacher not in known:
        raise InputError(
            f"Who is the teacher {teacher!r}? Name a model as provider:name, a file of answers "
            f"({', '.join(sorted(TABLE_SUFFIXES))}), or a method: {', '.join(known)}.",
            param="teacher",
        )
    shots = {} if ctx.params["shots"] is None else {"shots": ctx.params["shots"]}
    return recipes.Recipe(
        method=teacher, encoder=ctx.params["encoder"], options=shots,
        store=ctx.params["store"], **more,
    )  # fmt: skip


def answers_of_suffix(teacher: str) -> bool:
    """Whether the teacher is a file of answers, by its name."""
    return Path(teacher).suffix.lower() in TABLE_SUFFIXES


def parts_of(
    session: Session,
    data: Sequence[str],
    columns: ColumnOptions,
    gold: str | None,
    examples: Dataset | None,
    limit: int | None,
    seed: int,
) -> tuple[Dataset, Dataset | None]:
    """Load what is learned from, and what is measured on; neither has an image of the other."""
    pool, test = _load(data, columns)
    if gold is not None:
        test = datasets.load_dataset(gold).labelled()
        if not len(test):
            raise InputError(f"Nothing in {gold!r} has a label.", param="gold")
    if limit is not None:
        pool = datasets.limit_dataset(pool, limit, seed)
    n = len(pool)
    others = [image for part in (test, examples) if part is not None for image in part.images]
    pool = without_images(pool, others)
    if len(pool) < n:
        session.note(
            f"{n - len(pool):,} images are among those that are shown or measured on, and are not "
            "learned from."
        )
    if not len(pool):
        raise InputError("No image is left to learn from.")
    return pool, test


def _load(data: Sequence[str], columns: ColumnOptions) -> tuple[Dataset, Dataset | None]:
    """Take the test part of a data set apart."""
    if len(data) == 1 and Path(data[0]).is_dir():
        found = datasets.load_dataset(data[0], **asdict(columns))
        if {"train", "test"} <= set(found.split_names):
            test = found.test.labelled()
            return found.train, test if len(test) else None
        return found, None
    return datasets.expand_images(list(data), image_column=columns.image_column), None


def accept_terms_of(session: Session, recipe: Recipe, *, accepted: bool) -> str | None:
    """Show the notice about a provider's terms, and have it accepted before anything is asked."""
    if not recipe.asks or mllm.capabilities_of(str(recipe.model)).free:
        return None
    text = TERMS.format(teacher=recipe.model)
    session.always(text)
    if not accepted:
        if not is_terminal(sys.stdin):
            raise InputError(
                "Say with `accept_terms` that you have checked them; nothing was asked yet.",
                param="accept_terms",
            )
        if not typer.confirm("Go on?", err=True):
            raise InputError("Nothing was asked.")
    return text


def print_distilled(session: Session, found: Distilled, stream: TextIO) -> None:
    """Print what came of it, for a person or into a pipe."""
    told = found.to_dict()
    rows = [("quality", told["quality"])]
    if "promise_sentence" in told:
        rows.append(("promise", told["promise_sentence"]))
    rows.append(("price", told["price"]))
    if is_terminal(stream):
        print_table(session, ("what", "found"), rows)
    else:
        print_csv(("what", "found"), rows)
