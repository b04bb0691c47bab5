"""What `showtell ask` takes, plans and prints."""

from __future__ import annotations

import json as json_
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from showtell.cli import options as o
from showtell.cli.output import counted, print_csv
from showtell.cli.session import Session
from showtell.cli.writing import show_price
from showtell.errors import DataError, InputError
from showtell.records.reading import TEXT_BYTES, read_text

if TYPE_CHECKING:
    from showtell.ask.answer import Answer
    from showtell.ask.questions import Case, Style
    from showtell.runs import WritingJob

__all__ = ["AskOptions", "Quietly", "ShowOptions", "cases_from", "print_answers", "rows_of",
           "say_plan", "style_of"]  # fmt: skip

_ASK = "What to ask"
_SHOW = "How it is shown to the model"
_SEVERAL = ";"  # between the files of one row of a table


@dataclass(frozen=True, kw_only=True)
class AskOptions:
    """What is asked."""

    question: Annotated[
        list[str] | None,
        o.option("-q, --question TEXT", _ASK, common=True,
                 help="A question; may be given several times."),
    ] = None  # fmt: skip
    questions: Annotated[
        str | None,
        o.option("--questions FILE", _ASK, common=True,
                 help="One per line, or a table with the column question, and id and files if you "
                 "like (several files of a row with ; between)."),
    ] = None  # fmt: skip
    schema: Annotated[
        str | None,
        o.option("--schema NAME|FILE", _ASK, common=True,
                 help="Take data out: invoice, label, business_card, a JSON schema; receipt counts "
                 "things, copies prices, and adds up by itself."),
    ] = None  # fmt: skip
    steps: Annotated[
        str | None,
        o.option("--steps TEXT|FILE", _ASK, common=True,
                 help="What to do first, one step a line."),
    ] = None  # fmt: skip
    each: Annotated[
        bool | None,
        o.option("--each/--all", _ASK, common=True,
                 help="Ask about each file by itself, or about all of them as one; unless given "
                 "each with a --schema of data, else all."),
    ] = None  # fmt: skip
    together: Annotated[
        bool,
        o.option("--together", _ASK,
                 help="All questions in one request: cheaper, but one may give another away."),
    ] = False  # fmt: skip
    runs: Annotated[
        int,
        o.option("--runs N", _ASK, min=1, max=9,
                 help="How often things are counted for receipt; their range is shown."),
    ] = 1  # fmt: skip
    verify: Annotated[
        bool,
        o.option("--verify", _ASK, common=True,
                 help="Look at each claim again, alone, on its evidence; one request more each."),
    ] = False  # fmt: skip
    languages: Annotated[
        str | None,
        o.option("--languages CODES", _ASK, help="The answer in each of these: en,fr."),
    ] = None
    place_detail: Annotated[
        Literal["country", "region", "place"],
        o.option("--place-detail country|region|place", _ASK,
                 help="How near a place may be named."),
    ] = "region"  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class ShowOptions:
    """How clips and documents are shown to a model."""

    start: Annotated[
        str | None,
        o.option("--from TIME", _SHOW, common=True,
                 help="Where clips begin: 90, 1:30, 1:02:03. Nothing before it is sent."),
    ] = None  # fmt: skip
    end: Annotated[
        str | None, o.option("--to TIME", _SHOW, common=True, help="Where clips end.")
    ] = None
    frames: Annotated[
        str,
        o.option("--frames scenes|uniform|N", _SHOW, common=True,
                 help="A frame of every shot first, all spread evenly, or evenly at most N."),
    ] = "scenes"  # fmt: skip
    max_frames: Annotated[
        int, o.option("--max-frames N", _SHOW, min=1, max=1000, help="Frames of one clip.")
    ] = 64
    send_as: Annotated[
        Literal["auto", "frames", "native"],
        o.option("--as auto|frames|native", _SHOW,
                 help="Whether video, sound and PDF go as they are to models that take them."),
    ] = "auto"  # fmt: skip
    pages: Annotated[
        str | None,
        o.option("--pages PAGES", _SHOW, common=True, help="Pages of PDF: 1-5,9."),
    ] = None
    transcript: Annotated[
        list[str] | None,
        o.option("--transcript FILE", _SHOW,
                 help="Subtitles (SRT, WebVTT) of a clip or sound; once for each, in order."),
    ] = None  # fmt: skip
    sound: Annotated[
        bool, o.option("--sound/--no-sound", _SHOW, help="Whether sound goes along with video.")
    ] = True
    max_side: o.MaxSide = 768


@dataclass(frozen=True, kw_only=True)
class Quietly:
    """How to be quiet where -q is a question."""

    quiet: Annotated[
        bool, o.option("--quiet", o.RUNNING, help="Say nothing but results and errors.")
    ] = False


def style_of(what: AskOptions, show: ShowOptions, prompt_dir: str | None) -> Style:
    """Put options into the words of the library."""
    from showtell.ask.material import Frames
    from showtell.ask.questions import make_style

    choice, most = show.frames, show.max_frames
    if choice.isascii() and choice.isdigit() and int(choice) > 0:
        choice, most = "uniform", int(choice)
    if choice not in ("scenes", "uniform"):
        raise InputError(
            f"--frames is scenes, uniform, or how many; got {show.frames!r}.", param="frames"
        )
    steps = what.steps or ""
    if steps and "\n" not in steps and Path(steps).suffix and Path(steps).is_file():
        steps = read_text(steps, most=TEXT_BYTES)
    return make_style(
        steps=steps,
        schema=what.schema,
        runs=what.runs,
        verify=what.verify,
        languages=[code for code in (what.languages or "").replace(" ", "").split(",") if code],
        place_detail=what.place_detail,
        prompt_dir=prompt_dir,
        frames=Frames(
            choice=choice,  # type: ignore[arg-type]
            most=most,
            send_as=show.send_as,
            max_side=show.max_side,
            sound=show.sound,
            transcripts=tuple(show.transcript or ()),
        ),
    )


def cases_from(
    files: Sequence[str], what: AskOptions, show: ShowOptions, style: Style
) -> list[Case]:
    """Say which questions are asked about which files."""
    from showtell.ask.questions import Case, cases_of, check_questions

    rows = list(_rows(what))
    if not rows:
        check_questions([""], style)  # a schema needs no question
        rows = [{"question": ""}]
    each = what.each if what.each is not None else style.schema not in (None, "receipt")
    own = [row for row in rows if row.get("files")]
    if own and len(own) < len(rows):
        raise DataError("Some rows of --questions name files and some do not; name them in all.")
    if own and files:
        raise DataError("--questions names files in its rows; leave out those on the command line.")
    if not own and not files:
        raise InputError("Give files to ask about, or name them in the table of --questions.")
    check_questions([row["question"] for row in rows], style)
    cases: list[Case] = []
    for number, row in enumerate(own, 1):
        named = [name.strip() for name in row["files"].split(_SEVERAL) if name.strip()]
        if not named:
            raise DataError(f"Row {number} of --questions names no file: {row['files']!r}.")
        name = row.get("id") or f"q{number}"
        sources = tuple(_source(file, show) for file in named)
        cases.append(Case(sources=sources, questions={name: row["question"]}))
    if own:
        _check_ids([name for case in cases for name in case.questions])
        return cases
    ids = [row.get("id") or f"q{i}" for i, row in enumerate(rows, 1)]
    _check_ids(ids)
    questions = {name: row["question"] for name, row in zip(ids, rows, strict=True)}
    groups = [[file] for file in files] if each else [list(files)]
    for group in groups:
        sources = tuple(_source(file, show) for file in group)
        cases += cases_of(sources, questions, together=what.together)
    return cases


def _check_ids(ids: Sequence[str]) -> None:
    twice = next((name for name, n in Counter(ids).items() if n > 1), None)
    if twice is not None:
        raise DataError(f"Two questions have the same id: {twice!r}.")


def _source(file: str, show: ShowOptions) -> Any:
    """Name a file with the part of it that is meant."""
    from showtell.ask.material import typed
    from showtell.media import Clip, Pages, is_url

    source = typed(file, words=False)
    if isinstance(source, Clip) and (show.start is not None or show.end is not None):
        if source.start is not None or source.end is not None:
            raise InputError(
                f"{file!r} says already which part is meant; leave out --from and --to."
            )
        return Clip(source.source, start=show.start, end=show.end)
    if isinstance(source, Pages) and show.pages is not None:
        if source.pages is not None:
            raise InputError(f"{file!r} says already which pages are meant; leave out --pages.")
        return Pages(source.source, show.pages)
    # A path stays one, also where there is no such file: it is not taken for words to send.
    return Path(file) if file and source == file and not is_url(file) else source


def _rows(what: AskOptions) -> Iterator[dict[str, str]]:
    for text in what.question or ():
        yield {"question": text}
    if what.questions is None:
        return
    path = Path(what.questions)
    if path.suffix.lower() in (".csv", ".tsv", ".jsonl", ".json", ".parquet"):
        from showtell.tables import read_columns

        columns = read_columns(path)
        if "question" not in columns:
            raise DataError(
                f"{path} has no column question; it has {', '.join(columns) or 'none'}."
            )
        taken = [name for name in ("id", "question", "files") if name in columns]
        for values in zip(*(columns[name] for name in taken), strict=True):
            yield {
                name: "" if value is None else str(value)
                for name, value in zip(taken, values, strict=True)
            }
        return
    for line in read_text(path, most=TEXT_BYTES).splitlines():
        if line.strip():
            yield {"question": line.strip()}


def say_plan(
    session: Session, job: WritingJob, cases: Sequence[Case], style: Style, *, json: bool
) -> None:
    """Say what would be sent, and what that costs."""
    from showtell.ask.run import first_requests
    from showtell.errors import MediaError

    sent: list[str] = []
    requests = []
    n_errors = 0
    for _, material, some in first_requests(job.access, cases, style):
        if isinstance(material, MediaError):
            n_errors += 1
            sent.append(str(material))
            continue
        sent += [exhibit.sentence for exhibit in material.exhibits]
        requests += some
    inputs = dict.fromkeys(sent)
    if not json:
        for line in inputs:
            session.summary(line)
    facts = {"n_inputs": len(inputs), "n_unreadable": n_errors}
    sums = job.add_up(requests, answer_tokens=300)
    more = " and as many again for claims that are looked at" if style.verify else ""
    show_price(session, facts, [sums], f"about {counted(len(inputs), 'input')}{more}", json=json)


def rows_of(answers: Sequence[Answer]) -> list[dict[str, Any]]:
    """Give one row per answer, with a column for each field of data."""
    rows = []
    fields: dict[str, None] = {}
    for answer in answers:
        if isinstance(answer.data, dict) and answer.calculation is None:
            fields.update(dict.fromkeys(answer.data))
    for answer in answers:
        row = answer.row()
        data = row.pop("data")
        if fields:
            held: Mapping[str, Any] = data if isinstance(data, dict) else {}
            for name in fields:
                row[name if name not in row else f"data_{name}"] = _cell(held.get(name))
        row["calculation"] = None if row["calculation"] is None else _cell(row["calculation"])
        rows.append(row)
    return rows


def _cell(value: Any) -> Any:
    if isinstance(value, dict | list):
        return json_.dumps(value, ensure_ascii=False)
    return value


def print_answers(answers: Sequence[Answer], *, terminal: bool) -> None:
    """Print answers with what they rest on for a person, as CSV for a pipe."""
    if not terminal:
        rows = rows_of(answers)
        print_csv(list(rows[0]), (list(row.values()) for row in rows))
        return
    for answer in answers:
        print("\n".join(_in_words(answer, many=len(answers) > 1)))  # noqa: T201


def _in_words(answer: Answer, *, many: bool) -> Iterator[str]:
    from showtell.cli.session import printable

    if many:
        asked = answer.question or ", ".join(answer.inputs)
        yield printable(f"{answer.question_id}: {asked}")
    for number, text in answer.steps:
        yield printable(f"  {number}. {text}")
    yield printable(answer.sentence())
    for code, text in answer.languages.items():
        yield printable(f"  {code}: {text}")
    if answer.calculation is not None:
        for line in answer.calculation.lines:
            price = "" if line.price is None else f" x {line.price} {line.currency}".rstrip()
            sub = line.note if line.subtotal is None else f"= {line.subtotal}"
            yield printable(f"  {line.count} {line.name}{price} {sub}".rstrip())
        for note in answer.calculation.notes:
            yield printable(f"  note: {note}")
    elif isinstance(answer.data, dict):
        for name, value in answer.data.items():
            where = ", ".join(answer.data_evidence.get(name, ()))
            yield printable(
                f"  {name}: {'' if value is None else value} {f'[{where}]' * bool(where)}"
            )
    for claim in answer.claims if answer.calculation is None else ():
        shown = ", ".join(claim.refs) or "nothing that was sent"
        verdict = "" if claim.verdict == "stated" else f", {claim.verdict}"
        yield printable(f"  - {claim.text} [{shown}; {claim.basis}{verdict}]")
