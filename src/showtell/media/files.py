"""Open what lies on the disk without waiting for pipes, and say in one line why it cannot be."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

from showtell.errors import MediaError, MediaFormatError, MediaNotFoundError


@contextmanager
def open_file(
    name: str, path: str | os.PathLike[Any], *, kind: str = "picture"
) -> Iterator[tuple[BinaryIO, int]]:
    """Open a regular file; pipes and devices are refused before they can block.

    Parameters
    ----------
    name : str
        The file as messages call it.
    path : path-like
    kind : str, default="picture"
        What it should be, for messages.

    Yields
    ------
    file : binary file
    size : int
        Bytes, as the file system says.

    Raises
    ------
    MediaError
        If there is none, or it is none of the regular kind, or may not be read. Errors of the
        system while it is read are put into the same words.

    Examples
    --------
    >>> with open_file("here", __file__) as (file, size):
    ...     len(file.read()) == size
    True
    """
    try:
        status = os.stat(path)  # noqa: PTH116 - also takes bytes paths
        if stat.S_ISDIR(status.st_mode):
            raise MediaFormatError(name, f"it is a folder, not a {kind}")
        if not stat.S_ISREG(status.st_mode):
            raise MediaFormatError(name, f"it is a pipe, a device or a socket, not a {kind} file")
        with open(path, "rb", opener=_open_without_waiting) as file:
            yield file, status.st_size
    except MediaError:
        raise
    except (FileNotFoundError, NotADirectoryError):
        words = "there is no such file"
        if not os.fspath(path):
            words = "the file name is empty"
        elif os.path.islink(path):  # noqa: PTH114
            words = "it is a link to a file that is not there"
        raise MediaNotFoundError(name, words) from None
    except PermissionError:
        raise MediaError(name, "permission denied; this user may not read it") from None
    except ValueError:
        raise MediaNotFoundError(
            name, "there is no such file; the name holds a character that no file name can have"
        ) from None
    except OSError as error:
        raise MediaError(name, error.strerror or str(error)) from error


def _open_without_waiting(path: str, flags: int) -> int:
    """Open without blocking, should the file have become a pipe since it was looked at."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
