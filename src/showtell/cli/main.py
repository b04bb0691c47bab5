"""The application: its verbs, and the one place where errors become a line and an exit code."""

from __future__ import annotations

import errno
import importlib
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from showtell._version import __version__
from showtell.cli.ending import (
    EXIT_FAILED,
    EXIT_INPUT,
    EXIT_OK,
    EXIT_STOPPED,
    EXIT_UNWRITTEN,
    forget_stdout,
    got_answers,
)
from showtell.cli.help import Verb, overview
from showtell.cli.options import paragraphs
from showtell.cli.session import Session
from showtell.cli.verbs import VERBS
from showtell.errors import (
    BudgetError,
    InputError,
    JobsPendingError,
    NoRoomError,
    ServerDownError,
    ShowtellError,
)

_NO_ROOM = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG))
_STOPPED_BY_TYPER = 130
_HELP = """Classify images by showing a few examples or telling what to look for.

Works at once and offline with an embedded encoder, says how sure it is, and measures how often
it is right.
"""

_EPILOG = """# Examples

showtell classify photos/ --labels "cat,dog,garden"

showtell evaluate butterflies/ --shots 5 --report report.html

showtell compare butterflies/ --methods zero-shot,prototype,linear

# Settings

Every option can also be set by an environment variable (SHOWTELL_ENCODER for --encoder) or by
a key in a settings file named by --config or in ~/.config/showtell/showtell.toml (encoder =
"mini"). A showtell.toml that lies in the working directory is read too, but only for what cannot
send anything anywhere, such as labels. The command line wins, then the environment.

# Exit codes

0 all inputs got a row; 1 the run failed, or not one input got an answer; 2 bad usage or input;
3 stopped, run again to resume; 4 all was computed, but a file could not be written
"""


class _Commands(Mapping[str, Any]):
    """The verbs by name; each is imported and made when it is wanted."""

    def __init__(self) -> None:
        self._made: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in VERBS:
            raise KeyError(name)
        if name not in self._made:
            function = name.replace("-", "_")
            module = importlib.import_module(f"showtell.cli.verbs.{function}")
            verb = getattr(module, function)
            alone = _App(add_completion=False, pretty_exceptions_enable=False)
            alone.command(name, help=paragraphs(verb.__doc__), epilog=module.EPILOG)(verb)
            self._made[name] = typer.main.get_command(alone)
        return self._made[name]

    def __contains__(self, name: object) -> bool:
        return name in VERBS

    def __iter__(self) -> Iterator[str]:
        return iter(VERBS)

    def __len__(self) -> int:
        return len(VERBS)


class _Group(TyperGroup):
    """Ends every invocation with a documented exit code and never with a traceback."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands = _Commands()  # type: ignore[assignment]

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = False,  # the library expands globs, the same everywhere
        **extra: Any,
    ) -> Any:
        given = sys.argv[1:] if args is None else list(args)
        session = Session()
        _let_any_name_be_printed()

        def invoke() -> object:
            return super(_Group, self).main(
                args,
                prog_name or "showtell",
                complete_var,
                standalone_mode=False,
                windows_expand_args=windows_expand_args,
                obj=session,
                **extra,
            )

        verb = next((word for word in given if word in self.commands), "")
        code = _exit_code_of(invoke, session, f"showtell {verb}".rstrip())
        if not standalone_mode:
            return code
        sys.exit(code)

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (KeyboardInterrupt, BrokenPipeError) as error:
            raise _Ended from error  # typer itself would end with 130 and with 1

    def format_help(self, ctx: Any, formatter: Any) -> None:
        formatter.write(overview(self, ctx, formatter.width, VERBS))


class _App(typer.Typer):
    """Its commands have a help that fits on a screen."""

    def command(self, name: str | None = None, **settings: Any) -> Any:
        return super().command(name, cls=Verb, **settings)


class _Ended(BaseException):
    """Ctrl-C, or a reader that had enough, on its way past typer."""


app = _App(
    cls=_Group,
    name="showtell",
    help=paragraphs(_HELP),
    epilog=paragraphs(_EPILOG),
    invoke_without_command=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"showtell {__version__}")
        raise typer.Exit


@app.callback()
def _begin(
    ctx: typer.Context,
    *,
    version: Annotated[
        bool,
        typer.Option(
            "--version", "-V", metavar="", is_eager=True, callback=_show_version,
            help="Show the version and exit.",
        ),
    ] = False,
) -> None:  # fmt: skip
    if ctx.invoked_subcommand is None:  # nothing was asked for
        typer.echo(ctx.get_help())
        raise typer.Exit(EXIT_INPUT)


def run() -> None:
    """Run the command line: the entry point of the `showtell` script."""
    try:
        app()
    except SystemExit as end:
        if end.code == EXIT_STOPPED:  # pressed again while the interpreter ends: no traceback
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            # Python dies of SIGINT instead of ending with 3 if Ctrl-C came while it ran the text of
            # a program, as dataclasses do when they are loaded; running another forgets about it.
            exec("")  # noqa: S102
        raise


def _exit_code_of(invoke: Callable[[], object], session: Session, command: str) -> Any:
    """Call `invoke` and turn whatever happens into an exit code and at most one line."""
    with warnings.catch_warnings():
        session.show_warnings_as_notes()
        try:
            result = invoke()
            sys.stdout.flush()
        except _Ended as end:
            if isinstance(end.__cause__, KeyboardInterrupt):
                session.error(f"Stopped. {session.resume_hint}")
                return EXIT_STOPPED
            forget_stdout()
            return EXIT_OK  # every input has got its row; the reader did not want them all
        except typer.TyperException as error:  # wrong usage
            return _usage_error(error, session, command)
        except InputError as error:
            return _failed(error, error.told(session.flag_of), EXIT_INPUT, session)
        except (BudgetError, JobsPendingError) as error:
            message = f"{error.told(session.flag_of)} {session.resume_hint}"
            return _failed(error, message, EXIT_STOPPED, session)
        except ServerDownError as error:
            message = f"{error.told(session.flag_of)} {session.resume_hint}"
            code = EXIT_STOPPED if got_answers(error.predictions) else EXIT_FAILED
            return _failed(error, message, code, session)
        except NoRoomError as error:
            return _failed(error, error.told(session.flag_of), EXIT_UNWRITTEN, session)
        except ShowtellError as error:
            return _failed(error, error.told(session.flag_of), EXIT_FAILED, session)
        except BrokenPipeError:
            forget_stdout()
            return EXIT_OK
        except MemoryError as error:
            hint = "Out of memory. Try fewer inputs at once, or a smaller encoder."
            return _failed(error, hint, EXIT_FAILED, session)
        except OSError as error:  # a full disk, a folder that may not be written
            if error.errno in _NO_ROOM:
                message = f"{_os_error(error)} Make room, and run the same command again."
                return _failed(error, message, EXIT_UNWRITTEN, session)
            return _failed(error, _os_error(error), EXIT_FAILED, session)
        except SystemExit as error:  # typer ends like this when nobody reads --help to its end
            return EXIT_OK if isinstance(error.__context__, BrokenPipeError) else error.code
        except Exception as error:  # noqa: BLE001  whatever else it is, it is ours to mend
            return _failed(error, _bug(error, session), EXIT_FAILED, session)
    if result == _STOPPED_BY_TYPER:  # Ctrl-C before a verb was reached
        session.error("Stopped. Nothing was done yet.")
        return EXIT_STOPPED
    return result if isinstance(result, int) else EXIT_OK


def _usage_error(error: typer.TyperException, session: Session, command: str) -> int:
    """Print what is wrong with the command line, and where its help is."""
    context = getattr(error, "ctx", None)
    if context is not None:
        command = context.command_path
    message = " ".join(error.format_message().split())
    for stiff, plain in ((": Value error, ", ": "), (": Input should be", ": it should be")):
        message = message.replace(stiff, plain)
    if message:
        end = "" if message[-1] in ".?!" else "."
        session.error(f"{message}{end} See: {command} --help")
    return EXIT_INPUT


def _failed(error: BaseException, message: str, code: int, session: Session) -> int:
    """Print one line, and under --debug where it came from."""
    session.error(message)
    if session.debug:
        print("".join(traceback.format_exception(error)), file=sys.stderr, end="")  # noqa: T201
    return code


def _bug(error: Exception, session: Session) -> str:
    text = " ".join(f"{type(error).__name__}: {error}".split())
    hint = "" if session.debug else " Run again with --debug to see where."
    return f"This is a bug in showtell, not in your input: {text}.{hint}"


def _os_error(error: OSError) -> str:
    name = f" {error.filename}:" if error.filename else ""
    return f"The system refused:{name} {error.strerror or error}."


def _let_any_name_be_printed() -> None:
    """Print names that the terminal's encoding cannot show as escapes instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")
