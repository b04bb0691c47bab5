"""From a source of labelled images to what is learned from and what is scored."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from showtell import datasets
from showtell._progress import Progress, no_progress
from showtell.errors import InputError, ShowtellError
from showtell.runs.events import Event, Tell, silent
from showtell.tables import TABLE_SUFFIXES, clean_name, read_columns

if TYPE_CHECKING:
    from showtell.datasets import Dataset, LabelSet

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


def examples_of(folder: str | None, param: str = "examples") -> Dataset | None:
    """Load a folder of labelled pictures.

    Parameters
    ----------
    folder : str or None
    param : str, default="examples"
        What was called so, for messages.

    Returns
    -------
    examples : Dataset or None
        Of a data set with train/ and test/ the former.

    Raises
    ------
    InputError
        If nothing in it has a label.
    """
    if folder is None:
        return None
    data = datasets.load_dataset(folder)
    if not data.labels:
        raise InputError(
            f"`{param}` {folder!r} has no labels. Put the pictures of each label into a folder of "
            f"its name, such as {folder.rstrip('/')}/cat/1.jpg, and give {folder!r} again.",
            param=param,
        )
    return (data.train if "train" in data.split_names else data).labelled()


@dataclass(frozen=True, kw_only=True)
class LabelledData:
    """Labelled images of one source, and how they are parted for a measurement.

    Parameters
    ----------
    source : str
        A folder or a table.
    columns : mapping, default={}
        Columns of a table, by the names that `load_dataset` takes.
    labels_file : str, optional
        The labels that samples may have, and other names for them.
    examples : str, optional
        A folder that is learned from instead of a part of the source.
    shots : int, optional
        Examples per label that are wanted; 0: none.
    test_size : float, optional
        Part to score where the source has no splits.
    limit : int, optional
        Score only so many samples.
    check_duplicates : bool, default=True
        Whether to look for images that are, nearly, in both parts.
    seed : int, default=0
    otherwise : str
        What to do where there is nothing to learn from.
    tell : callable, optional
        Told what was decided where the source itself does not say it.
    progress : callable, optional
        Gives a context in which progress is shown.
    """

    source: str
    columns: Mapping[str, Any] = field(default_factory=dict)
    labels_file: str | None = None
    examples: str | None = None
    shots: int | None = None
    test_size: float | None = None
    limit: int | None = None
    check_duplicates: bool = True
    seed: int = 0
    otherwise: str = "use `method` zero-shot"
    tell: Tell = silent
    progress: Callable[[], AbstractContextManager[Progress]] = lambda: nullcontext(no_progress)

    def _note(self, text: str) -> None:
        self.tell(Event(kind="note", text=text))

    @property
    def is_labelled(self) -> bool:
        """Whether it is a data set with labels, and no plain folder or list of images."""
        place = Path(self.source)
        if not (place.is_dir() or place.suffix.lower() in TABLE_SUFFIXES):
            return False
        try:
            return bool(datasets.load_dataset(self.source, **self.columns).labels)
        except ShowtellError:  # what is wrong with it is said where it is opened
            return False

    @cached_property
    def samples(self) -> Dataset:
        """All labelled images; what is odd about the source is told.

        Raises
        ------
        InputError
            If nothing is labelled.
        """
        data = datasets.load_dataset(self.source, **self.columns, labels_file=self.labels_file)
        if not data.labels:
            raise InputError(
                f"Nothing in {self.source!r} has a label, so nothing can be measured. "
                f"{_where_to(self.source)} `showtell classify` needs no labels.",
                param="label_column",
            )
        for note in data.notes:
            self._note(note)
        return data.labelled()

    @property
    def offers_examples(self) -> bool:
        """Whether there is something to learn from, and leave to: what "auto" goes by.

        That is `examples`, the train part of the source, or one that `shots` or `test_size` ask to
        be set aside; and none of it where `shots` is 0.
        """
        if self.shots == 0:
            return False
        parted = {"train", "test"} <= set(self.samples.split_names)
        told = (self.examples, self.shots, self.test_size)
        return parted or any(one is not None for one in told)

    def parted(self, *, needs_examples: bool) -> Parts:
        """Decide what is scored and what may be learned from.

        Parameters
        ----------
        needs_examples : bool
            Whether the method learns; then a data set without splits is split.

        Raises
        ------
        InputError
            If `test_size` is given for data that has splits, or there is nothing to learn from.
        """
        data, examples = self.samples, examples_of(self.examples)
        test_size = self.test_size
        train = None
        if "test" in data.split_names:
            if test_size is not None:
                raise InputError(f"{self.source!r} has its own test split; leave out `test_size`.")
            train = data.train if "train" in data.split_names else None
            test = data.test
        elif test_size is not None or (needs_examples and examples is None):
            if test_size is None:
                test_size = 0.25
                self._note(
                    f"{self.source} has no train/ and test/: a quarter is scored, the rest may be "
                    "learned from. `test_size` sets the part."
                )
            whole = datasets.split_dataset(data, test_size=test_size, seed=self.seed)
            train, test = whole.train, whole.test
        else:
            test = data
        if needs_examples and examples is None and train is None:
            raise InputError(
                f"{self.source!r} has a test split but no train split to take examples from. Give "
                f"`examples` DIR, or {self.otherwise}."
            )
        if self.limit is not None and self.limit < len(test):
            test = datasets.limit_dataset(test, self.limit, self.seed)
        test = replace(test, name=test.name or self.source)
        support = examples if examples is not None else train
        if self.check_duplicates and needs_examples and support is not None:
            self._warn_of_duplicates(support, test)
        label_set = datasets.LabelSet(labels=data.labels)
        return Parts(test=test, support=support, label_set=label_set)

    def _warn_of_duplicates(self, support: Dataset, test: Dataset) -> None:
        """Look for test images that may be learned from; not where it would take long."""
        if len(support) + len(test) > _DUPLICATES_UP_TO:
            text = f"More than {_DUPLICATES_UP_TO:,} images: not looked for near duplicates."
            self.tell(Event(kind="detail", text=text))
            return
        with self.progress() as progress:
            datasets.warn_near_duplicates(support, test, progress=progress)


def _where_to(source: str) -> str:
    """Say where labels could come from."""
    try:
        columns = ", ".join(repr(clean_name(name)) for name in read_columns(source))
    except ShowtellError:  # no table
        return "Put the images into a folder per label."
    return f"Name the column of labels with `label_column`; the table has {columns}."
