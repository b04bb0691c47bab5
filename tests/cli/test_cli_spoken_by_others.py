"""What a model, a server, a file name or a label says steers no terminal and gives no key away.

Every verb that asks is answered by a server whose every word has control characters, a key and a
password in it; then all that was printed and written is looked through, column by column.
"""

from __future__ import annotations

import csv
import io
import json
import re
import sqlite3
import threading
import urllib.request
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from showtell.testing import ColourEncoder, make_images

pytest.importorskip("openai", reason="needs the extra openai")
pytest.importorskip("uvicorn", reason="local servers need the extra mllm")
pytest.importorskip("pyarrow", reason="needs the extra parquet")
servers = pytest.importorskip("showtell.testing.servers")

KEY = "Zq7wPLANTEDxK39vTb2mLr8d"
PASSWORD = "hunter2PASS"
LIKE_A_KEY = "sk-proj-a1b2C3d4E5f6G7h8i9J0kLmN"
SECRETS = re.compile("|".join((KEY, PASSWORD, LIKE_A_KEY)))
# Escape, bell, delete, C1, overrides and isolates, what nobody sees, tags, a lone carriage return.
STEERING = "\x1b]0;owned\x07\x1b[2J\x7f\x9b31m\u202e\u2066\u200b\u2060\U000e0041\x00\rx"
STEERS = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2060-\u2069\u200b"
    "\U000e0000-\U000e007f]|\r(?!\n)"
)
SAID = f"{STEERING} {KEY} https://me:{PASSWORD}@a.example/ {LIKE_A_KEY}"
LABELS = ("red circle", "green triangle", "blue square")


def _told(text, labels):
    """Put what others say into an answer: into every text of its JSON, or behind its words."""
    try:
        value = json.loads(text)
    except ValueError:
        return f"{text} {SAID}"

    def walk(value, key=""):
        if isinstance(value, dict):
            return {k: walk(v, k) for k, v in value.items()} | {"why": SAID}
        if isinstance(value, list):
            return [walk(one, key) for one in value]
        is_name = key in ("id", "image", "name", "label")
        keeps = not isinstance(value, str) or (is_name and not labels)
        return value if keeps else f"{value} {SAID}"

    return json.dumps(walk(value))


@contextmanager
def gossip(upstream, labels=False):
    """A server in front of another: it hands on what is asked, and spoils what is answered."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            asked = urllib.request.Request(
                upstream + self.path.removeprefix("/v1"), data=body,
                headers={"Content-Type": "application/json"},
            )  # fmt: skip
            with urllib.request.urlopen(asked) as response:
                answer = json.loads(response.read())
            for choice in answer["choices"]:
                choice["message"]["content"] = _told(choice["message"]["content"], labels)
                choice["message"]["reasoning_content"] = SAID
            answer |= {"model": f"m {SAID}", "id": SAID, "system_fingerprint": SAID}
            self._give(200, answer)

        def do_GET(self):
            self._give(404, {"error": {"message": SAID}})

        def _give(self, status, value):
            data = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_):
            pass

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=running.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://me:{PASSWORD}@127.0.0.1:{running.server_port}/v1"
    finally:
        running.shutdown()
        running.server_close()
        thread.join()


@pytest.fixture(autouse=True)
def _alone(monkeypatch, tmp_path):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    monkeypatch.setenv("SHOWTELL_CACHE_DIR", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def upstream():
    with servers.LocalServer("openai", encoder=ColourEncoder(), rule="nearest") as running:
        yield running.base_url


def _cells(value):
    """All texts of a value, names of columns and keys included."""
    if isinstance(value, dict):
        for key, one in value.items():
            yield from _cells(key)
            yield from _cells(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _cells(one)
    elif value is not None and not isinstance(value, bytes):  # numbers of an embedding
        yield str(value)


_NO_CONTROLS = dict.fromkeys([*range(32), 127])


def _texts(path):
    """What a reader of a file sees: its text, and each cell of a table."""
    if path.suffix == ".sqlite":
        with closing(sqlite3.connect(path)) as base:
            for (table,) in base.execute("select name from sqlite_master where type='table'"):
                yield from _cells([list(row) for row in base.execute(f'select * from "{table}"')])
    elif path.suffix == ".parquet":
        import pyarrow.parquet

        yield from _cells(pyarrow.parquet.read_table(path).to_pydict())
    elif path.suffix.startswith(".sqlite"):  # what is not yet in the base itself
        yield path.read_bytes().decode("ascii", "ignore").translate(_NO_CONTROLS)
    elif path.suffix not in (".npz", ".png"):
        text = path.read_bytes().decode("utf-8")
        yield text
        if path.suffix == ".csv":
            yield from _cells(list(csv.reader(io.StringIO(text))))
        elif path.suffix == ".jsonl" and path.name.startswith("out"):
            yield from _cells([json.loads(line) for line in text.splitlines()])


def check(result, *folders, n_files):
    """Nothing that steers and no secret is in what was printed and in any file."""
    assert result.exit_code in (0, 1), result.output
    for text in (result.stdout, result.stderr):
        assert not STEERS.search(text), repr(text)
        assert not SECRETS.search(text), text
    files = [p for folder in folders for p in Path(folder).rglob("*") if p.is_file()]
    files = [p for p in files if "shapes" not in p.parts and "parted" not in p.parts]
    assert len(files) >= n_files, files
    for path in files:
        for text in _texts(path):
            found = STEERS.search(text) or SECRETS.search(text)
            assert not found, f"{path}: ...{text[max(0, found.start() - 60) : found.end() + 20]!r}"


VERBS = {
    "classify": ("shapes", "-l", ",".join(LABELS), "--report", "r.html", "--run", "run"),
    "fusion": ("shapes", "-l", ",".join(LABELS), "--method", "fusion", "--run", "run"),
    "evaluate": ("parted", "--shots", "1", "--report", "r.html", "--run", "run"),
    "compare": ("parted", "--methods", "zero-shot,direct", "--report", "r.html", "--run", "run"),
    "explain": ("shapes/red circle/0.png", "-l", ",".join(LABELS), "-o", "why.html"),
    "audit": ("parted", "--n", "12", "--report", "r.html", "--run", "run"),
    "describe": ("-l", ",".join(LABELS), "-o", "out.json"),
    "optimize": ("parted", "--generations", "1", "--candidates", "1", "--run", "run", "--report",
                 "r.html", "-o", "out.json"),
    "concepts": ("shape", "-l", ",".join(LABELS), "-o", "out.json", "--draw", "tree.svg"),
}  # fmt: skip


@pytest.mark.parametrize("labels", [False, True], ids=["around labels", "in labels"])
@pytest.mark.parametrize("verb", VERBS)
def test_nothing_that_an_answer_says_steers_a_terminal_or_gives_a_key_away(
    verb, labels, cli, shapes, parted, upstream, tmp_path
):
    name = "classify" if verb == "fusion" else verb
    with gossip(upstream, labels) as url:
        result = cli(name, *VERBS[verb], "--model", "openai:gpt-4.1-mini", "--base-url", url, "-v")
    assert "Asking openai:gpt-4.1-mini" in result.stderr
    check(result, ".", tmp_path / "cache", n_files=1)


@pytest.mark.parametrize("name", ["out.csv", "out.jsonl", "out.parquet"])
@pytest.mark.parametrize("labels", [False, True])
def test_no_column_of_a_table_holds_what_steers_or_a_key(
    name, labels, cli, shapes, upstream, tmp_path
):
    with gossip(upstream, labels) as url:
        result = cli("classify", shapes, "-l", ",".join(LABELS), "--proba", "-o", name, "--debug",
                     "--model", "openai:gpt-4.1-mini", "--base-url", url)  # fmt: skip
    check(result, ".", n_files=1)


@pytest.mark.parametrize("suffix", ["csv", "json", "yaml"])
def test_descriptions_are_written_without_what_steers(suffix, cli, shapes, upstream):
    with gossip(upstream) as url:
        result = cli("describe", "-l", ",".join(LABELS), "-o", f"out.{suffix}", "--json",
                     "--model", "openai:gpt-4.1-mini", "--base-url", url)  # fmt: skip
    check(result, ".", n_files=1)


ODD = ("a\x1b[2J\x07\x7f", "b\u202egpj", "c\u200b\u2060\U000e0041", "=1+2", "-x", "d\nnew\rline")


def _oddly_named(folder):
    """Pictures in folders, both with names that steer."""
    for number, label in enumerate(ODD):
        place = Path(folder, label)
        make_images("drawn", labels=["red circle", "blue square"][number % 2 :][:1], n_per_label=2)
        place.mkdir(parents=True)
        for path in list(Path("drawn").rglob("*.png")):
            path.rename(place / f"{label}{path.name}")
    return Path(folder)


@pytest.mark.parametrize(
    "arguments",
    [
        ("classify", "-l", "red circle,blue\x1b]0;x\x07 square\u202e", "--proba"),
        ("classify", "-l", "red circle,blue\x1b]0;x\x07 square\u202e", "--proba", "-o", "out.csv"),
        ("classify", "-l", "red circle,blue\x1b]0;x\x07 square\u202e", "--proba", "-o",
         "out.jsonl", "--report", "r.html"),
        ("classify", "-l", "red circle,blue\x1b]0;x\x07 square\u202e", "--proba", "-o",
         "out.parquet", "--run", "run"),
        ("evaluate", "--report", "r.html", "--run", "run", "--shots", "1"),
        ("evaluate", "--json"),
        ("compare", "--methods", "zero-shot,prototype", "--report", "r.html", "--run", "run"),
        ("explain", "-o", "why.html", "--limit", "3"),
    ],
)  # fmt: skip
def test_names_of_files_folders_and_labels_are_shown_escaped(arguments, cli, workplace):
    folder = _oddly_named("parted")
    result = cli(arguments[0], folder, *arguments[1:])
    assert result.exit_code == 0, result.output
    check(result, ".", n_files=0)


def test_a_key_in_the_place_of_a_model_s_name_is_not_repeated(cli, shapes):
    for name in (f"openai:{LIKE_A_KEY}", LIKE_A_KEY, f"openai:https://me:{PASSWORD}@a.example/m",
                 f"https://me:{PASSWORD}@a.example/v1"):  # fmt: skip
        result = cli("classify", shapes, "-l", "a,b", "--model", name, "--run", "run",
                     "--base-url", "http://127.0.0.1:9/v1")  # fmt: skip
        assert result.exit_code in (1, 2)
        check_nothing_of(result)


def check_nothing_of(result):
    assert not SECRETS.search(result.output + result.stderr)
    for path in Path().rglob("*"):
        if path.is_file():
            assert not SECRETS.search("".join(_texts(path)) if path.suffix != ".png" else ""), path


FORMULAS = ("=1+2.png", "+x.png", "-x.png", "@x.png")


@pytest.mark.parametrize("escaped", [False, True])
@pytest.mark.parametrize("printed", [False, True])
def test_cells_that_a_spreadsheet_would_run_are_left_alone_unless_asked(
    escaped, printed, cli, workplace, rows
):
    [picture] = make_images("drawn", labels=["red circle"], n_per_label=1)
    Path("list.csv").write_text("image\n" + "\n".join(f'"{name}"' for name in FORMULAS))
    for name in FORMULAS:
        Path(name).write_bytes(picture.read_bytes())
    more = ("--escape-formulas",) if escaped else ()
    told = () if printed else ("-o", "out.csv")
    result = cli("classify", "list.csv", "-l", "red circle,blue square", *more, *told)
    assert result.exit_code == 0, result.output
    found = rows(result.stdout if printed else Path("out.csv").read_text("utf-8"))
    begin = "'" if escaped else ""
    assert [row["image"] for row in found] == [f"{begin}{name}" for name in FORMULAS]
