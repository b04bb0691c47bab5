"""A run folder: what was asked is written first, so that the same command can go on later."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from showtell.errors import InputError, RunError, RunInterrupt, SavedFolderError
from showtell.evaluate import folder as files
from showtell.records.files import close_to_others, is_leftover
from showtell.records.former import current_request
from showtell.records.reading import loading
from showtell.runs.requests import changes

if TYPE_CHECKING:
    from showtell.classify.predictions import Predictions

_FILE = "run.json"
_FORMAT = "showtell-run"
_OWNER_ONLY = 0o700


def claim(folder: Path, request: Mapping[str, Any]) -> bool:
    """Take a folder for a request, or refuse it.

    Parameters
    ----------
    folder : Path
        Made if missing, for its owner's eyes alone.
    request : mapping
        What decides about the answers, as JSON values. Not where they are written.

    Returns
    -------
    again : bool
        Whether the same request was run here before.

    Raises
    ------
    InputError
        If the folder holds the run of another request, or files that are no run.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{str(folder)!r} is a file; `run` needs a folder.", param="run")
    file = folder / _FILE
    if file.is_file():
        before = files.read_json(file).get("request")
        if not isinstance(before, dict):
            raise InputError(f"{str(folder)!r} holds a run that this command did not make.")
        with loading(str(file), error=SavedFolderError):
            changed = changes(current_request(before), request)
        if changed:
            raise InputError(
                f"{str(folder)!r} holds the run of another request: {changed}. Give the same "
                "options to go on with it, or another folder."
            )
        return True
    if folder.is_dir() and not all(is_leftover(file.name) for file in folder.iterdir()):
        raise InputError(f"{str(folder)!r} holds files but no run. Give a new or an empty folder.")
    folder.mkdir(parents=True, exist_ok=True, mode=_OWNER_ONLY)
    files.write_json(file, {"format": _FORMAT, "state": "started", "request": dict(request)})
    return False


def until_stopped(
    work: Callable[[], Predictions],
) -> tuple[Predictions, RunError | RunInterrupt | None]:
    """Classify, and where something stops that (a cap, Ctrl-C), take what was answered so far.

    Parameters
    ----------
    work : callable

    Returns
    -------
    predictions : Predictions
        A row for every input, whether it was asked about or not.
    stop : RunError, RunInterrupt or None
        To be raised once the rows are written.
    """
    try:
        return work(), None
    except (RunError, RunInterrupt) as stop:
        if stop.predictions is None:
            raise
        return stop.predictions, stop


def finish(
    folder: Path,
    request: Mapping[str, Any],
    facts: Mapping[str, Any] | None,
    *,
    state: str = "finished",
) -> None:
    """Write the final run.json, and let the owner alone read what is there.

    Parameters
    ----------
    folder : Path
    request : mapping
        As given to `claim`.
    facts : mapping or None
        Versions, seeds, totals. None: a record has written its own run.json; keep it and add
        the request.
    state : str, default="finished"
        Or "stopped", where the same request goes on.
    """
    file = folder / _FILE
    content = files.read_json(file) if facts is None else {"format": _FORMAT, **facts}
    files.write_json(file, {**content, "state": state, "request": dict(request)})
    close_to_others(folder)
