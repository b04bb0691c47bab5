"""Optional dependencies: imported on use, with the install line in the error."""

from __future__ import annotations

import importlib
from types import ModuleType

from showtell.errors import MissingExtraError

__all__ = ["need"]


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
