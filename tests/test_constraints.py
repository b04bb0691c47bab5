"""Every make target installs the same versions next year; what gets deprecated is said."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PINS = dict(
    line.split("==")
    for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    if not line.startswith("#")
)
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def dry_run(*arguments):
    """What make would do in a bare checkout."""
    command = ["make", "--dry-run", "VENV=no/such/folder", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.replace("\\\n", " ")


def installs(*arguments):
    return re.findall(r"-m pip [^;|&\n]*", dry_run(*arguments))


def load(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_constraints_are_names_and_versions_only():
    for name, version in PINS.items():
        assert canonicalize_name(name) == name
        assert re.fullmatch(r"\d[\da-z.]*", version), f"{name}: {version} has a local part or more"
    assert list(PINS) == sorted(PINS)
    assert "showtell" not in PINS


def requirements():
    project = PROJECT["project"]
    yield from PROJECT["build-system"]["requires"]
    yield from project["dependencies"]
    for some in (project["optional-dependencies"], PROJECT["dependency-groups"]):
        for group in some.values():
            yield from group


@pytest.mark.parametrize("text", sorted(set(requirements())))
def test_every_requirement_is_pinned_within_its_bounds(text):
    wanted = Requirement(text)
    if wanted.name == "showtell":
        assert wanted.extras <= set(PROJECT["project"]["optional-dependencies"])
        return
    assert wanted.specifier.contains(PINS[canonicalize_name(wanted.name)])


@pytest.mark.parametrize("target", ["try", "test", "check", "docs", "examples", "bench"])
def test_everything_that_make_installs_is_constrained(target):
    found = installs(target)
    assert found
    for one in found:
        assert "--constraint constraints.txt" in one
        assert ("--build-constraint constraints.txt" in one) == ("--editable" in one)


def test_the_newest_of_everything_can_be_asked_for():
    found = installs("test", "CONSTRAINTS=")
    assert found
    assert not [one for one in found if "constraint" in one]


def test_torch_is_asked_for_in_the_version_that_is_pinned():
    asked = set(re.findall(r"torch==(\S+?)[;\s]", " ".join(installs("test")) + " "))
    assert asked == {PINS["torch"], f"{PINS['torch']}+cpu"}
    assert f"torch=={PINS['torch']} " in (ROOT / "CONTRIBUTING.md").read_text("utf-8")


def test_what_is_installed_is_written_without_local_parts_and_without_ourselves():
    text = load("constraints").written(
        {"Torch": "2.13.0+cpu", "showtell": "0.1.0.dev0", "scikit_learn": "1.9.1", "a.b": "1.0rc1"}
    )
    assert text.splitlines()[1:] == ["a-b==1.0rc1", "scikit-learn==1.9.1", "torch==2.13.0"]
    assert text.startswith("#")


LIBRARY = """
import warnings

def warns(kind):
    warnings.warn("use new() instead", kind)

def old(kind):
    warns(kind)
"""
TEST = """
import pytest
from src import mine

@pytest.mark.parametrize("kind", [DeprecationWarning, FutureWarning])
def test_it(kind):
    mine.call(kind)

def test_other_warnings_are_errors_as_ever():
    with pytest.raises(UserWarning):
        mine.call(UserWarning)
"""


@pytest.mark.parametrize("workers", [0, 2])
def test_calls_of_ours_that_are_deprecated_are_listed_by_their_line(tmp_path, workers):
    for folder in ("scripts", "src", "tests"):
        (tmp_path / folder).mkdir()
    shutil.copy(ROOT / "scripts" / "deprecated_calls.py", tmp_path / "scripts")
    (tmp_path / "pyproject.toml").write_text(
        '[tool.pytest.ini_options]\nfilterwarnings = ["error"]\npythonpath = ["."]\n'
    )
    (tmp_path / "lib.py").write_text(LIBRARY)
    (tmp_path / "src" / "mine.py").write_text("import lib\n\ndef call(kind):\n    lib.old(kind)\n")
    (tmp_path / "tests" / "test_it.py").write_text(TEST)
    command = [sys.executable, "-m", "pytest", "-q", "-n", str(workers), "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, "-p", "scripts.deprecated_calls", "tests"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    _, _, said = done.stdout.partition("deprecated calls ")
    lines = [line for line in said.splitlines() if "use new()" in line]
    assert lines == [
        f"src/mine.py:4: {kind} of lib: use new() instead (1 times)"
        for kind in ("DeprecationWarning", "FutureWarning")
    ]
