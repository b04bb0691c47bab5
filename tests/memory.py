"""The most memory a process ever had, counted inside a process of its own."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

needs_peak_memory = pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="the peak of a process is read from /proc"
)

_PEAK = """
def peak_mb():
    with open("/proc/self/status") as stream:
        return next(int(line.split()[1]) for line in stream if line.startswith("VmHWM")) / 1024
"""


def run_measured(code: str, *arguments: object) -> list[str]:
    """Run `code`, which may call `peak_mb()`, in a fresh process; give the words it printed.

    `resource.getrusage` would not do: on Linux its peak starts from that of the parent process.
    """
    done = subprocess.run(
        [sys.executable, "-c", _PEAK + textwrap.dedent(code), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()
