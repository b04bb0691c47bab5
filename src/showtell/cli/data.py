"""Images and labelled data as a command names them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import typer

from showtell import datasets, runs
from showtell.cli.output import counted
from showtell.cli.session import Session
from showtell.errors import InputError

if TYPE_CHECKING:
    from showtell.classify.base import MediaClassifier
    from showtell.datasets import Dataset

_COLUMNS = ("image_column", "label_column", "split_column", "group_column", "boxes")
_TOLD = ("labels_file", "examples", "shots", "test_size", "limit", "check_duplicates", "seed")


def images_of(
    session: Session,
    arguments: Sequence[str],
    image_column: str | None,
    limit: int | None,
    seed: int,
    boxes: str | None = None,
) -> Dataset:
    """Find the images, or the boxes on them; a sample of them where --limit asks for one."""
    if boxes is None:
        data = datasets.expand_images(list(arguments), image_column=image_column)
    elif len(arguments) != 1 or image_column is not None:
        raise InputError(
            "--boxes goes with one folder of images: showtell classify photos/ --boxes boxes.json"
        )
    else:
        data = datasets.load_boxes(boxes, arguments[0], with_labels=False)
    for note in data.notes:
        session.note(note)
    return data if limit is None else datasets.limit_dataset(data, limit, seed)


def data_of(session: Session, ctx: typer.Context, source: str, **other: Any) -> runs.LabelledData:
    """Read what a command says of DATA.

    Parameters
    ----------
    session : Session
    ctx : typer.Context
    source : str
        DATA: a folder or a table.
    **other : object
        What is another than the command says.
    """
    columns = {name: ctx.params.get(name) for name in _COLUMNS}
    told: dict[str, Any] = {name: ctx.params[name] for name in _TOLD if name in ctx.params}
    return runs.LabelledData(
        source=source,
        columns=columns,
        tell=session.tell,
        progress=session.progress,
        **(told | other),
    )


def note_if_shown(
    session: Session, classifier: MediaClassifier, data: Dataset, support: Dataset | None
) -> None:
    """Say how many images the classifier was shown with their labels: knowing these is no feat."""
    rows = getattr(classifier, "support_", None)
    if session.quiet or support is None or rows is None:
        return
    if not isinstance(support.images, list | tuple):
        return  # read from a table row by row: looking would mean reading
    n = datasets.n_among(data.images, (support.images[int(row)] for row in rows))
    if n:
        what = "is among the examples, so its label says"
        if n > 1:
            what = "are among the examples, so their labels say"
        session.note(f"{counted(n, 'image')} {what} nothing about new pictures.")
