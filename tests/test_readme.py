"""The README keeps its promises: its first commands exist and are the ones that CI runs."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import showtell

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def commands() -> list[str]:
    """Commands of all shell blocks, in order."""
    blocks = re.findall(r"```(?:sh|console)\n(.*?)```", README, re.S)
    lines = [line.removeprefix("$ ").strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def test_first_two_commands_try_and_test():
    assert commands()[:2] == ["make try", "make test"]


def test_the_pip_way_comes_next():
    assert commands()[2] == "python -m pip install ."


@pytest.mark.parametrize(
    "target", ["help", "try", "test", "check", "docs", "bench", "upgrade", "test-latest"]
)
def test_make_knows_the_target(target):
    done = subprocess.run(
        ["make", "--dry-run", target], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_make_help_lists_every_target_with_a_word_on_it():
    done = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    listed = set(re.findall(r"^  make (\S+)", done.stdout, re.M))
    phony = re.search(r"^\.PHONY: (.*)", (ROOT / "Makefile").read_text("utf-8"), re.M)
    assert listed == set(phony.group(1).split())


def test_ci_runs_the_test_command_of_the_readme():
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert re.search(r"^make test", script, re.M)
    assert script.index("make test") < script.index("make check") < script.index("make docs")


def test_version_is_the_same_wherever_it_stands():
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"version: {showtell.__version__}\n" in citation


def test_no_extra_or_group_brings_torch_unasked():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    required = project["project"]["dependencies"]
    for group in project["dependency-groups"].values():
        required = [*required, *group]
    assert not [name for name in required if re.match(r"torch|transformers|timm", name)]
    extras = project["project"]["optional-dependencies"]
    with_torch = {e for e, names in extras.items() if any(re.match(r"torch\b", n) for n in names)}
    assert with_torch == {"torch"}


def test_every_photo_is_named_in_the_notice_with_author_and_licence():
    notice = (ROOT / "NOTICE").read_text(encoding="utf-8")
    photos = [path.relative_to(ROOT).as_posix() for path in (ROOT / "examples").rglob("*.jpg")]
    assert len(photos) >= 16
    for photo in photos:
        entry = notice.partition(f"{photo}: ")[2]
        assert entry, photo
        assert re.match(r".+\n  author: .+; licence: .+\n  from .+", entry), photo


def test_notice_is_what_the_sources_say():
    done = subprocess.run(
        [sys.executable, "scripts/notice.py", "--check"], cwd=ROOT, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stdout.decode()


def test_licence_is_whole():
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in text
    assert "END OF TERMS AND CONDITIONS" in text
