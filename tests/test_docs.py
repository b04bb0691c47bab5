"""The documentation is true: code runs, help texts are current, links lead somewhere."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.documents import run_page

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(page for page in DOCS.rglob("*.md") if "_generated" not in page.parts)
EXAMPLES = sorted((ROOT / "examples").glob("[0-9]*.py"))
WITH_DATA = "butterflies/"
"""Pages that name this folder run on a shared photo set."""


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """A working directory that looks like the root of a clone, for pages to write into."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    return tmp_path


def needs_data(page: Path) -> bool:
    return page.parent.name == "tutorials" and WITH_DATA in page.read_text("utf-8")


@pytest.mark.filterwarnings("ignore::showtell.classify.LimitsWarning")
@pytest.mark.parametrize("page", [page for page in PAGES if not needs_data(page)], ids=name)
def test_code_on_the_page_runs_and_prints_what_it_says(page, clone):
    run_page(page)


@pytest.mark.data
@pytest.mark.filterwarnings("ignore::showtell.classify.LimitsWarning")
@pytest.mark.parametrize("page", [page for page in PAGES if needs_data(page)], ids=name)
def test_code_on_the_page_runs_on_shared_photos(page, clone, shared_datasets):
    (clone / "butterflies").symlink_to(shared_datasets / "butterflies")
    run_page(page)


@pytest.mark.filterwarnings("ignore::showtell.classify.LimitsWarning")
def test_code_in_the_readme_runs(clone):
    assert run_page(ROOT / "README.md") >= 4


def test_the_runner_of_pages_finds_a_wrong_output(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("```python\nprint(1 + 1)\n```\n\n```output\n3\n```\n", encoding="utf-8")
    with pytest.raises(AssertionError, match="printed\n2\n\nbut the page says\n3"):
        run_page(page)


def test_the_runner_of_pages_allows_numbers_to_be_a_little_off_where_the_page_says_so(tmp_path):
    page = tmp_path / "page.md"
    text = "```python\nprint('accuracy', 0.71)\n```\n\n```output about\naccuracy {}\n```\n"
    page.write_text(text.format("0.73"), encoding="utf-8")
    run_page(page)
    page.write_text(text.format("0.85"), encoding="utf-8")
    with pytest.raises(AssertionError):
        run_page(page)


def test_the_runner_of_pages_finds_a_failing_command(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("```console\n$ showtell classify nowhere\n```\n", encoding="utf-8")
    with pytest.raises(AssertionError, match="showtell classify nowhere"):
        run_page(page)


def test_the_runner_of_pages_starts_a_server_for_commands_and_python_alike(tmp_path, clone):
    page = tmp_path / "page.md"
    page.write_text(
        "```console\n$ showtell try-server --port 8765\n"
        "$ showtell classify examples/photos/bird --labels bird,mountain --model openai:try \\\n"
        "    --base-url http://127.0.0.1:8765/v1 -q\n"
        "image,label,...\n...aylesbury_duck.jpg,bird,...\n```\n"
        "```python\nimport urllib.request\n"
        "with urllib.request.urlopen('http://127.0.0.1:8765/_showtell/stats') as reply:\n"
        "    print(reply.status)\n```\n```output\n200\n```\n",
        encoding="utf-8",
    )
    assert run_page(page) == 3


@pytest.mark.slow
@pytest.mark.parametrize("script", EXAMPLES, ids=name)
def test_example_runs_offline(script, clone):
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(script)],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_there_is_an_example_for_every_task():
    assert [script.name[:2] for script in EXAMPLES] == [f"{i:02}" for i in range(1, 13)]


def test_help_texts_in_the_docs_are_current():
    spec = importlib.util.spec_from_file_location(
        "cli_reference", ROOT / "scripts/cli_reference.py"
    )
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert script.PAGE.read_text(encoding="utf-8") == script.page(), "write it again: make fix"


def test_every_page_is_in_a_table_of_contents():
    listed = {DOCS / "index.md"}
    for page in PAGES:
        for block in re.findall(r"```\{toctree\}\n(.*?)```", page.read_text("utf-8"), re.S):
            entries = [line for line in block.splitlines() if line and not line.startswith(":")]
            listed |= {(page.parent / f"{entry}.md").resolve() for entry in entries}
    assert {page.resolve() for page in PAGES} == listed


def test_every_link_to_a_file_leads_somewhere():
    broken = []
    for page in [*PAGES, *ROOT.glob("*.md")]:
        text = re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.S)
        for target in re.findall(r"\]\(([^)#\s]+)", text):
            if "://" not in target and not (page.parent / target).exists():
                broken.append(f"{name(page)}: {target}")
        for target in re.findall(r"\{doc\}`(?:[^`<]*<)?([^`>]+)>?`", text):
            base = DOCS if target.startswith("/") else page.parent
            if not (base / f"{target.lstrip('/')}.md").exists():
                broken.append(f"{name(page)}: {target}")
    assert broken == []


def test_pages_build_without_a_warning(tmp_path):
    pytest.importorskip("sphinx", reason="the documentation tools are not installed")
    for module in ("myst_parser", "furo", "latex2mathml"):
        pytest.importorskip(module, reason="the documentation tools are not installed")
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", "--fail-on-warning", "--quiet", str(DOCS), str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "concepts" / "zero-shot.html").read_text("utf-8")
    assert "<math" in page
    assert not re.search(r'<(?:script|link|img)[^>]+(?:src|href)="https?://', page)
