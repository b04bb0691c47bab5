"""Write constraints.txt from what this environment has: names and versions only.

`make upgrade` calls it in a fresh environment that holds the newest of everything. What builds
the package (pyproject.toml, [build-system]) is pinned with the rest. Versions lose their local
part: `torch==2.13.0` also holds for 2.13.0+cpu.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from importlib.metadata import distributions
from pathlib import Path

from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent
HEAD = "# Written by `make upgrade`; the Makefile installs these versions of everything.\n"
OWN = {"showtell", "setuptools", "wheel"}  # itself, and what only some environments start with


def installed() -> dict[str, str]:
    """Name and version of each distribution here."""
    return {str(one.metadata["Name"]): one.version for one in distributions()}


def builders() -> dict[str, str]:
    """Name and version of what pip would fetch now to build the package."""
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["build-system"]["requires"]
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    command += ["--dry-run", "--ignore-installed", "--report", "-", *wanted]
    report = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    metadata = [one["metadata"] for one in json.loads(report)["install"]]
    return {one["name"]: one["version"] for one in metadata}


def written(versions: dict[str, str]) -> str:
    """Return the text of constraints.txt, sorted by name."""
    pins = {
        canonicalize_name(name): Version(version).public
        for name, version in versions.items()
        if canonicalize_name(name) not in OWN
    }
    return HEAD + "".join(f"{name}=={version}\n" for name, version in sorted(pins.items()))


if __name__ == "__main__":
    (ROOT / "constraints.txt").write_text(written(builders() | installed()), "utf-8")
