"""Places of showtell's own files, and files that are there whole or not at all.

A full disk or a kill leaves the old one as it was.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from showtell.errors import InputError

_OWNER_ONLY = 0o600


def write_whole(target: Path, content: str | bytes) -> Path:
    """Write a file and the folder it is in, whole or not at all; InputError if that fails."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(target) as part:
            part.write_bytes(content.encode() if isinstance(content, str) else content)
    except OSError as error:
        raise InputError(f"Cannot write {str(target)!r}: {error.strerror}.") from None
    return target


def digest_files(folder: Path, files: Iterable[str]) -> str:
    """Hash the contents of files that exist, with their names."""
    total = hashlib.sha256()
    for file in sorted(files):
        path = folder / file
        if path.is_file():
            with path.open("rb") as opened:
                inner = hashlib.file_digest(opened, "sha256").hexdigest()
            total.update(f"{file}={inner};".encode())
    return total.hexdigest()


@contextlib.contextmanager
def whole_file(target: Path) -> Iterator[Path]:
    """Give a place to write to, which takes the place of `target` if all went well.

    `target`: its folder must be there. A device is written to as it is. Yields `part`: a name of
    its own in the same folder; removed if anything goes wrong.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     target = Path(folder, "a.txt")
    ...     with whole_file(target) as part:
    ...         _ = part.write_text("all of it")
    ...     print(target.read_text())
    all of it
    """
    if target.exists() and not target.is_file():  # a device such as /dev/stdout
        yield target
        return
    part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    try:
        yield part
        _sync(part)
        part.replace(target)
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def is_leftover(name: str) -> bool:
    """Whether a file of this name was left by a process that was killed while it wrote."""
    return name.endswith(".part") or (name.startswith(".showtell-") and name.endswith(".tmp"))


def close_to_others(folder: Path) -> None:
    """Let the files of a folder, and of those in it, be read by their owner only."""
    for file in folder.rglob("*"):
        with contextlib.suppress(OSError):  # another's, or a disk that knows no rights
            if file.is_file() and not file.is_symlink():
                file.chmod(_OWNER_ONLY)


def _sync(part: Path) -> None:
    """Have the disk keep it before it takes the place of what is there."""
    file = os.open(part, os.O_RDWR)
    try:
        os.fsync(file)
    finally:
        os.close(file)


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
