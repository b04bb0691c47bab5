"""Optional dependencies: imported on use, with the install line in the error."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from showtell.errors import InputError, MissingExtraError


def need(module: str, *, extra: str, what: str) -> ModuleType:
    """Import an optional module or say how to install it.

    Parameters
    ----------
    module : str
        Import name, for example ``"pyarrow.parquet"``.
    extra : str
        The extra of showtell that brings it.
    what : str
        What needs it, as the start of a sentence: ``"Reading Parquet"``.

    Returns
    -------
    module : ModuleType

    Raises
    ------
    MissingExtraError
        If the package is not installed.

    Examples
    --------
    >>> need("json", extra="none", what="This example").loads("1")
    1
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        package = module.split(".")[0]
        if error.name != package and not module.startswith(f"{error.name}."):
            raise  # the package is there, but something it needs is not: its own message is better
        raise MissingExtraError(what, package, extra) from None


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Silence what the libraries of models say about themselves while they load and trace."""
    log = None
    if importlib.util.find_spec("transformers"):
        log = importlib.import_module("transformers.utils.logging")
    had_bars = log is not None and log.is_progress_bar_enabled()
    before = logging.root.manager.disable
    if log is not None:
        log.disable_progress_bar()
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
        if had_bars and log is not None:
            log.enable_progress_bar()


def refuse_missing(report: Mapping[str, Any], name: str) -> None:
    """Refuse weights that lack tensors, which transformers would draw at random."""
    missing = sorted(report["missing_keys"])
    if missing:
        raise InputError(
            f"{name}: the weights lack {len(missing)} tensors, so parts of the network would be "
            f"random: {', '.join(missing[:3])} ..."
        )


def first_line(error: BaseException) -> str:
    """Give the first line of what an error of a library says, or its name."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
