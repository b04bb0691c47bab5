"""Runs the code of a Markdown page: Python, what it prints, and `showtell` commands.

A page is run from top to bottom in one namespace and one working directory, which holds
``examples`` as in a clone. Blocks are told apart by their language:

- ``python`` is run; an ``output`` block right after it is what it must print, an ``output about``
  block the same but for numbers, which may be a little off (other processors round differently);
- ``console`` lines that start with ``$ showtell`` are run, and must end with exit code 0; lines
  below a command are what it must print on standard output; ``$ showtell try-server --port N``
  starts a local server that runs until the end of the page, on a free port instead of N, for which
  the port is replaced wherever it stands in the code below;
- any other language is shown only: ``sh`` for what needs a network or another shell.

``...`` in an expected text stands for anything, and runs of white space count as one.
"""

from __future__ import annotations

import contextlib
import doctest
import io
import re
import shlex
from pathlib import Path

import pytest
from sybil.document import Document
from sybil.evaluators.python import PythonEvaluator
from sybil.example import Example
from sybil.parsers.myst import CodeBlockParser
from sybil.region import Lexeme
from typer.testing import CliRunner

from showtell.cli.main import app

__all__ = ["run_page"]

_FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
_NUMBER = re.compile(r"-?\d+\.\d+")
_PRINTED = "_printed_by_the_block_above"
_UNTIL_THE_END = "_closed_at_the_end_of_the_page"
_PORTS = "_ports_of_the_page_and_of_its_servers"


def run_page(page: Path) -> int:
    """Run all code of a page in the working directory; return how many blocks there were."""
    languages = {
        "python": _python,
        "output": _output,
        "output about": _output_about,
        "console": _console,
    }
    parsers = [CodeBlockParser(language, run) for language, run in languages.items()]
    document = Document.parse(str(page), *parsers)
    examples = list(document.examples())
    with contextlib.ExitStack() as stack:
        document.namespace |= {_UNTIL_THE_END: stack, _PORTS: {}}
        for example in examples:
            example.evaluate()
    return len(examples)


def _python(example: Example) -> None:
    printed = io.StringIO()
    code = example.parsed
    example.parsed = Lexeme(_with_our_ports(example, code), code.offset, code.line_offset)
    with contextlib.redirect_stdout(printed):
        PythonEvaluator()(example)
    example.namespace[_PRINTED] = printed.getvalue()


def _output(example: Example) -> None:
    assert _PRINTED in example.namespace, f"{_place(example)}: no python block before this output"
    _same(example, str(example.parsed), example.namespace.pop(_PRINTED), "the block above")


def _output_about(example: Example) -> None:
    got = example.namespace[_PRINTED]
    expected = str(example.parsed)
    numbers = [[float(n) for n in _NUMBER.findall(text)] for text in (expected, got)]
    assert numbers[0] == pytest.approx(numbers[1], rel=0.1, abs=0.06), f"{_place(example)}: {got}"
    example.namespace[_PRINTED] = _NUMBER.sub("0", got)
    _same(example, _NUMBER.sub("0", expected), example.namespace.pop(_PRINTED), "the block above")


def _console(example: Example) -> None:
    command, expected = "", ""
    for line in [*str(example.parsed).splitlines(), "$ "]:
        if line.startswith("$ "):
            _run_command(example, command, expected)
            command, expected = line.removeprefix("$ "), ""
        elif command.endswith("\\"):
            command = command.removesuffix("\\") + line.strip()
        else:
            expected += line + "\n"


def _run_command(example: Example, command: str, expected: str) -> None:
    if not command:
        return
    program, *arguments = shlex.split(_with_our_ports(example, command), comments=True)
    assert program == "showtell", f"{_place(example)}: only showtell commands are run: {command}"
    if arguments[:2] == ["try-server", "--port"]:
        _start_server(example, arguments[2], arguments[3:])
        return
    result = CliRunner().invoke(app, arguments)
    told = f"{_place(example)}: {command}\n{result.output}"
    assert result.exit_code == 0, told
    if expected:
        _same(example, expected, result.stdout, command)


def _start_server(example: Example, port: str, more: list[str]) -> None:
    assert not more, f"{_place(example)}: only --port is known here"
    from showtell.testing.servers import LocalServer

    server = example.namespace[_UNTIL_THE_END].enter_context(LocalServer("all"))
    example.namespace[_PORTS][f"127.0.0.1:{port}"] = f"127.0.0.1:{server.port}"


def _with_our_ports(example: Example, text: str) -> str:
    for theirs, ours in example.namespace[_PORTS].items():
        text = text.replace(theirs, ours)
    return text


def _same(example: Example, expected: str, got: str, what: str) -> None:
    if not doctest.OutputChecker().check_output(expected, got, _FLAGS):
        raise AssertionError(
            f"{_place(example)}: {what} printed\n{got}\nbut the page says\n{expected}"
        )


def _place(example: Example) -> str:
    return f"{example.path}, line {example.line}"
