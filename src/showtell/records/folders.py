"""Where showtell keeps what it may compute, or ask, again, and looks for a user's own settings."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def cache_folder() -> Path:
    """Return the folder for everything showtell may compute or ask again.

    Returns `folder`: ``SHOWTELL_CACHE_DIR`` if set; else the platform's place for caches: below
    ``LOCALAPPDATA`` on Windows, ``~/Library/Caches`` on macOS, ``XDG_CACHE_HOME`` or ``~/.cache``
    elsewhere. It need not exist.
    """
    chosen = os.environ.get("SHOWTELL_CACHE_DIR")
    if chosen:
        return Path(chosen).expanduser()
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or str(Path.home() / "AppData" / "Local")
        return Path(base) / "showtell" / "Cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "showtell"
    xdg = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(xdg) if Path(xdg).is_absolute() else Path.home() / ".cache") / "showtell"


def settings_folder() -> Path | None:
    """Return the folder of the user's own settings.

    Returns `folder`: below ``APPDATA`` on Windows, ``XDG_CONFIG_HOME`` or ``~/.config`` elsewhere.
    It need not exist. None for a user without a home.
    """
    windows = sys.platform == "win32"
    base = Path(os.environ.get("APPDATA" if windows else "XDG_CONFIG_HOME", ""))
    if not base.is_absolute():
        try:
            home = Path.home()
        except RuntimeError:
            return None
        base = home / "AppData" / "Roaming" if windows else home / ".config"
    return base / "showtell" if base.is_absolute() else None
