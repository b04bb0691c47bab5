"""From DATA, a folder or a table, to what is learned from and what is scored."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from showtell import datasets, media
from showtell.cli.session import Session
from showtell.errors import InputError, MediaError, ShowtellError

if TYPE_CHECKING:
    from showtell.datasets import Dataset, LabelSet
    from showtell.media import Media

__all__ = [
    "Parts",
    "examples_of",
    "images_of",
    "labelled_data",
    "n_among",
    "offers_examples",
    "parts_to_measure",
]

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
    data = datasets.load_dataset(folder)
    if not data.labels:
        raise InputError(
            f"{flag} {folder!r} has no labels. Put the pictures of each label into a folder of its "
            f"name, such as {folder.rstrip('/')}/cat/1.jpg, and give {folder!r} again."
        )
    return (data.train if "train" in data.split_names else data).labelled()


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


def n_among(images: Sequence[Media], examples: Iterable[Media]) -> int:
    """Count the files among `images` that are also among `examples`, or have the same content.

    Only files of equal size are read, and none where that would be very many. Pictures that are no
    files of this machine are not looked at.

    Parameters
    ----------
    images : sequence of Media
    examples : iterable of Media

    Returns
    -------
    n : int
    """
    if not isinstance(images, list | tuple):
        return 0  # read from a table row by row: looking would mean reading
    shown = [(example, facts) for example in examples if (facts := _facts_of_file(example))]
    same = {(facts.st_dev, facts.st_ino) for _, facts in shown}
    sizes = {facts.st_size for _, facts in shown}
    n, unsure = 0, []
    for image in images:
        facts = _facts_of_file(image)
        if facts is not None and (facts.st_dev, facts.st_ino) in same:
            n += 1
        elif facts is not None and facts.st_size in sizes:
            unsure.append((image, facts.st_size))
    if not unsure or len(unsure) > _DUPLICATES_UP_TO:
        return n
    read = {size for _, size in unsure}
    known = {_content(example) for example, facts in shown if facts.st_size in read} - {None}
    return n + sum(_content(image) in known for image, _ in unsure)


def _facts_of_file(image: Media) -> os.stat_result | None:
    if isinstance(image, str | os.PathLike):
        with contextlib.suppress(OSError, ValueError):
            return os.stat(image)  # noqa: PTH116
    return None


def _content(image: Media) -> str | None:
    try:
        return media.content_hash(image)
    except MediaError:
        return None


def labelled_data(
    session: Session, source: str, columns: Mapping[str, Any], *, labels_file: str | None
) -> Dataset:
    """Load the labelled images of DATA, and say what was odd about it.

    Parameters
    ----------
    session : Session
    source : str
        A folder or a table.
    columns : mapping
        Columns of a table, by the names that `load_dataset` takes.
    labels_file : str or None
        The labels that samples may have, and other names for them.

    Raises
    ------
    InputError
        If nothing is labelled.
    """
    data = datasets.load_dataset(source, **columns, labels_file=labels_file)
    if not data.labels:
        raise InputError(
            f"Nothing in {source!r} has a label, so nothing can be measured. {_where_to(source)} "
            "`showtell classify` needs no labels."
        )
    for note in data.notes:
        session.note(note)
    return data.labelled()


def offers_examples(
    data: Dataset, *, examples: str | None, shots: int | None, test_size: float | None
) -> bool:
    """Say whether there is something to learn from, and leave to: what "auto" goes by.

    That is --examples, the train part of a data set, or one that --shots or --test-size ask to be
    set aside; and none of it with --shots 0.
    """
    if shots == 0:
        return False
    parted = {"train", "test"} <= set(data.split_names)
    return examples is not None or parted or shots is not None or test_size is not None


def parts_to_measure(
    session: Session,
    source: str,
    data: Dataset,
    *,
    examples: Dataset | None,
    needs_examples: bool,
    check_duplicates: bool,
    test_size: float | None,
    limit: int | None,
    seed: int,
) -> Parts:
    """Decide what of DATA is scored and what may be learned from.

    Parameters
    ----------
    session : Session
        Told what was decided where the data set itself does not say it.
    source : str
        How DATA was named.
    data : Dataset
        As `labelled_data` loads it.
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
        If ``test_size`` is given for data that has splits, or there is nothing to learn from.
    """
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
        whole = datasets.split_dataset(data, test_size=test_size, seed=seed)
        train, test = whole.train, whole.test
    else:
        train, test = None, data
    if needs_examples and examples is None and train is None:
        raise InputError(
            f"{source!r} has a test split but no train split to learn from. Give --examples DIR, "
            "or use --method zero-shot."
        )
    if limit is not None and limit < len(test):
        test = datasets.limit_dataset(test, limit, seed)
    test = replace(test, name=test.name or source)
    support = examples if examples is not None else train
    if check_duplicates and needs_examples and support is not None:
        _warn_of_duplicates(session, support, test)
    return Parts(
        test=test,
        support=support,
        label_set=datasets.LabelSet(labels=data.labels),
    )


def _where_to(source: str) -> str:
    """Say where labels could come from."""
    from showtell.tables import clean_name, read_columns  # only where it went wrong

    try:
        columns = ", ".join(repr(clean_name(name)) for name in read_columns(source))
    except ShowtellError:  # no table
        return "Put the images into a folder per label."
    return f"Name the column of labels with --label-column; the table has {columns}."


def _warn_of_duplicates(session: Session, support: Dataset, test: Dataset) -> None:
    """Look for test images that may be learned from; not where it would take long."""
    if len(support) + len(test) > _DUPLICATES_UP_TO:
        session.detail(f"More than {_DUPLICATES_UP_TO:,} images: not looked for near duplicates.")
        return
    with session.progress() as progress:
        datasets.warn_near_duplicates(support, test, progress=progress)
