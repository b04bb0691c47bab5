"""From DATA, a folder or a table, to what is learned from and what is scored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from showtell.cli.session import Session
from showtell.errors import InputError, ShowtellError

if TYPE_CHECKING:
    from showtell.datasets import Dataset, LabelSet

__all__ = ["Parts", "examples_of", "parts_to_measure"]

_DUPLICATES_UP_TO = 20_000


@dataclass(frozen=True, kw_only=True)
class Parts:
    """A data set as a measurement needs it."""

    test: Dataset
    """What is scored."""
    support: Dataset | None
    """What may be learned from; None where nothing may."""
    label_set: LabelSet
    """All labels of the data set, in its order."""


def examples_of(folder: str | None, flag: str = "--examples") -> Dataset | None:
    """Load the folder of ``--examples``, or of another option for labelled pictures."""
    if folder is None:
        return None
    from showtell.datasets import load_dataset

    data = load_dataset(folder)
    if not data.labels:
        raise InputError(
            f"{flag} {folder!r} has no labels. Put the pictures of each label into a folder of its "
            f"name, such as {folder.rstrip('/')}/cat/1.jpg, and give {folder!r} again."
        )
    return (data.train if "train" in data.split_names else data).labelled()


def parts_to_measure(
    session: Session,
    source: str,
    columns: Mapping[str, Any],
    *,
    labels_file: str | None,
    examples: Dataset | None,
    needs_examples: bool,
    check_duplicates: bool,
    test_size: float | None,
    limit: int | None,
    seed: int,
) -> Parts:
    """Load DATA and decide what is scored and what may be learned from.

    Parameters
    ----------
    session : Session
        Told what was decided where the data set itself does not say it.
    source : str
        A folder or a table.
    columns : mapping
        Columns of a table, by the names that `load_dataset` takes.
    labels_file : str or None
        The labels that samples may have, and other names for them.
    examples : Dataset or None
        Learned from instead of a part of DATA.
    needs_examples : bool
        Whether the method learns; then a data set without splits is split.
    check_duplicates : bool
        Whether to look for images that are, nearly, in both parts.
    test_size : float or None
        Part to score where DATA has no splits.
    limit : int or None
        Score only so many samples.
    seed : int

    Raises
    ------
    InputError
        If nothing is labelled, or ``test_size`` is given for data that has splits.
    """
    from showtell.datasets import LabelSet, limit_dataset, load_dataset, split_dataset

    data = load_dataset(source, **columns, labels_file=labels_file)
    if not data.labels:
        raise InputError(
            f"Nothing in {source!r} has a label, so nothing can be measured. {_where_to(source)} "
            "`showtell classify` needs no labels."
        )
    for note in data.notes:
        session.note(note)
    data = data.labelled()
    names = data.split_names
    if "test" in names:
        if test_size is not None:
            raise InputError(f"{source!r} has its own test split; leave out --test-size.")
        train = data.train if "train" in names else None
        test = data.test
    elif test_size is not None or (needs_examples and examples is None):
        if test_size is None:
            test_size = 0.25
            session.note(
                f"{source} has no train/ and test/: a quarter is scored, the rest may be "
                "learned from. --test-size sets the part."
            )
        whole = split_dataset(data, test_size=test_size, seed=seed)
        train, test = whole.train, whole.test
    else:
        train, test = None, data
    if needs_examples and examples is None and train is None:
        raise InputError(
            f"{source!r} has a test split but no train split to learn from. Give --examples DIR, "
            "or use --method zero-shot."
        )
    if limit is not None and limit < len(test):
        test = limit_dataset(test, limit, seed)
    test = replace(test, name=test.name or source)
    support = examples if examples is not None else train
    if check_duplicates and needs_examples and support is not None:
        _warn_of_duplicates(session, support, test)
    return Parts(
        test=test,
        support=support,
        label_set=LabelSet(labels=data.labels),
    )


def _where_to(source: str) -> str:
    """Say where labels could come from."""
    from showtell.evaluate.tables import clean_name, read_columns

    try:
        columns = ", ".join(repr(clean_name(name)) for name in read_columns(source))
    except ShowtellError:  # no table
        return "Put the images into a folder per label."
    return f"Name the column of labels with --label-column; the table has {columns}."


def _warn_of_duplicates(session: Session, support: Dataset, test: Dataset) -> None:
    """Look for test images that may be learned from; not where it would take long."""
    from showtell.datasets import warn_near_duplicates

    if len(support) + len(test) > _DUPLICATES_UP_TO:
        session.detail(f"More than {_DUPLICATES_UP_TO:,} images: not looked for near duplicates.")
        return
    with session.progress() as progress:
        warn_near_duplicates(support, test, progress=progress)
