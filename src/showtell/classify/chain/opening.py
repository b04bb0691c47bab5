"""Saved students and cascades as methods: loaded, not fitted."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from showtell.classify.saved import load_classifier
from showtell.errors import InputError
from showtell.records.saved import read_saved

if TYPE_CHECKING:
    from showtell.mllm.model import Asked

_FILE = "classifier.json"


def open_student(classifier: str | os.PathLike[str] | None = None) -> Any:
    """Load a saved classifier that runs on this machine.

    Parameters
    ----------
    classifier : path
        Its folder, or one that `showtell distill` wrote.

    Raises
    ------
    InputError
        If it asks a model, which has to be named to be counted and capped.
    SavedFolderError
        If it cannot be read.
    """
    found = load_classifier(_folder(classifier, "student"))
    if hasattr(found, "model_") or hasattr(found, "tiers"):
        raise InputError(
            f"{str(classifier)!r} asks a model: name it with `model` provider:name, so that "
            "it is counted and caps hold.",
            param=("model", "classifier"),
        )
    return found


def open_cascade(
    model: Asked | None = None, classifier: str | os.PathLike[str] | None = None
) -> Any:
    """Load a saved cascade, or a saved classifier that asks a model.

    Parameters
    ----------
    model : str, MLLM or Model
        What the last tier asks, within its limits; the one it was calibrated with.
    classifier : path
        Its folder, or one that `showtell distill` wrote.

    Raises
    ------
    SavedFolderError
        If it cannot be read, or was made with another model.
    """
    return load_classifier(_folder(classifier, "cascade"), model=model)


def student_folder(classifier: str | os.PathLike[str]) -> Path:
    """Find the saved classifier in the folder of a distillation; another folder is it itself."""
    folder = Path(str(classifier))
    inside = folder / "student"
    return inside if (inside / _FILE).is_file() and not (folder / _FILE).is_file() else folder


def holds_cascade(classifier: str | os.PathLike[str]) -> bool:
    """Whether a folder is a saved cascade, or holds one."""
    folder = Path(str(classifier))
    if not (folder / _FILE).is_file():
        return (folder / "cascade" / _FILE).is_file()
    return read_saved(folder).kind == "CascadeClassifier"


def _folder(classifier: str | os.PathLike[str] | None, inside: str) -> Path:
    """Find the saved folder, which may lie in that of a distillation."""
    folder = Path(str(classifier))
    if (folder / _FILE).is_file() or not (folder / inside / _FILE).is_file():
        if not (folder / _FILE).is_file() and (folder / "student" / _FILE).is_file():
            raise InputError(
                f"{str(folder)!r} holds a student and no cascade: leave out `model`, or make "
                "a cascade with `showtell distill --max-loss`.",
                param=("model", "classifier"),
            )
        return folder
    return folder / inside
