"""A column that is read row by row, when a row is asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

T_co = TypeVar("T_co", covariant=True)


class LazyRows(Sequence[T_co], Generic[T_co]):
    """Values that `read` gives for row numbers; re-ordering reads nothing.

    Parameters
    ----------
    read : callable
        Row number to value.
    rows : ndarray of shape (n,), int
        The row number behind each position.

    Examples
    --------
    >>> squares = LazyRows(lambda row: row**2, np.arange(10))
    >>> squares[3], list(squares.take([9, 0])), list(squares[:3])
    (9, [81, 0], [0, 1, 4])
    """

    def __init__(self, read: Callable[[int], T_co], rows: NDArray[Any]) -> None:
        self._read = read
        self._rows = np.asarray(rows)

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> T_co: ...
    @overload
    def __getitem__(self, index: slice) -> LazyRows[T_co]: ...
    def __getitem__(self, index: int | slice) -> T_co | LazyRows[T_co]:
        if isinstance(index, slice):
            return LazyRows(self._read, self._rows[index])
        return self._read(int(self._rows[index]))

    def take(self, index: NDArray[Any] | Sequence[int]) -> LazyRows[T_co]:
        """Return the values at the positions `index`, still unread."""
        return LazyRows(self._read, self._rows[np.asarray(index, np.intp)])

    def __repr__(self) -> str:
        return f"<{len(self)} values, read on demand>"


def pick_rows(values: Sequence[Any], index: NDArray[Any]) -> Sequence[Any]:
    """Return the values at `index`: unread from a lazy column, as a list from any other."""
    if isinstance(values, LazyRows):
        return values.take(index)
    return [values[i] for i in index]
