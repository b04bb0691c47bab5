"""Nothing secret stays behind: keys, image bytes and places are planted and then looked for in all
that is printed, logged, raised and written, also inside databases, tables and base64."""

from __future__ import annotations

import base64
import gzip
import io
import json
import logging
import os
import re
import sqlite3
import struct
import subprocess
import sys
import tempfile
import threading
import traceback
import zlib
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin
from typer.testing import CliRunner

from showtell import DirectClassifier
from showtell._logs import hush
from showtell.cli.main import app
from showtell.errors import ShowtellError
from showtell.mllm.model import Model
from showtell.testing import ColourEncoder

pytest.importorskip("uvicorn", reason="local servers need the extra mllm")
for _module in ("openai", "anthropic", "google.genai"):
    pytest.importorskip(_module, reason=f"needs the package {_module}")
servers = pytest.importorskip("showtell.testing.servers")

# No beginning that is known to be a key's: only its value gives it away.
KEY = "Zq7wPLANTEDxK39vTb2mLr8d"
WORDS = ("PLANTED", "48.8583", "29.9876")
"""In the key, and in the metadata of the photographs: a description, coordinates."""
LABELS = ("red", "green", "blue")
COLOURS = {"red": (200, 40, 40), "green": (40, 170, 60), "blue": (40, 60, 200)}

MODELS = {
    "openai": "openai:gpt-4.1-mini",
    "google": "google:gemini-2.5-flash",
    "anthropic": "anthropic:claude-haiku-4-5",
    "ollama": "ollama:gemma3",
}


# What is planted


def _exif(turned: int = 1) -> Image.Exif:
    exif = Image.Exif()
    exif[0x010E] = "PLANTED description"
    exif[0x0112] = turned
    place = exif.get_ifd(0x8825)
    place[1], place[2] = "N", (48.0, 51.0, 29.9876)
    place[3], place[4] = "E", (2.0, 17.0, 40.125)
    return exif


def _xmp() -> bytes:
    return (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf'
        b'-syntax-ns#"><rdf:Description exif:GPSLatitude="48.8583297N PLANTED"/></rdf:RDF>'
        b"</x:xmpmeta>"
    )


def _photo(label: str, seed: int, suffix: str) -> bytes:
    """A noisy picture of a colour, which says where it was taken in every way its format has."""
    rng = np.random.default_rng(seed)
    pixels = np.clip(np.array(COLOURS[label]) + rng.integers(-30, 31, (96, 128, 3)), 0, 255)
    picture, stream = Image.fromarray(pixels.astype(np.uint8)), io.BytesIO()
    if suffix == "jpg":
        picture.save(stream, "JPEG", quality=92, exif=_exif(6), xmp=_xmp(), comment=b"PLANTED")
    elif suffix == "plain.jpg":  # nothing to take out: sent as it is, byte for byte
        picture.save(stream, "JPEG", quality=92)
    elif suffix == "webp":
        picture.save(stream, "WEBP", quality=90, exif=_exif().tobytes(), xmp=_xmp())
    else:
        info = PngImagePlugin.PngInfo()
        info.add_text("Comment", "PLANTED 48.8583297")
        info.add_itxt("XML:com.adobe.xmp", _xmp().decode())
        picture.save(stream, "PNG", exif=_exif(), pnginfo=info)
    return stream.getvalue()


SUFFIXES = ("jpg", "plain.jpg", "webp", "png")


def _plant(folder: Path, n_per_label: int = 4, seed: int = 0) -> Path:
    for label in LABELS:
        (folder / label).mkdir(parents=True)
        for n in range(n_per_label):
            suffix = SUFFIXES[n % len(SUFFIXES)]
            photo = _photo(label, seed + n, suffix)
            assert suffix == "plain.jpg" or b"PLANTED" in photo or suffix == "png"
            (folder / label / f"{n}.{suffix}").write_bytes(photo)
    return folder


class Secrets:
    """Texts and byte strings that must be nowhere, in the forms in which they might be."""

    def __init__(self) -> None:
        self.forms: dict[bytes, str] = {}
        for word in WORDS:
            self.forms[word.encode()] = word
        for text in (KEY, f"Bearer {KEY}", f"x-api-key: {KEY}"):
            self._encoded(text.encode(), "the key")
        # 29.9876 seconds as EXIF writes it: a numerator and a denominator of four bytes
        whole, part = (29.9876).as_integer_ratio()
        for order in "<>":
            for numbers in ((299876, 10000), (whole, part), (74969, 2500)):
                if max(numbers) < 2**32:
                    self.forms[struct.pack(f"{order}II", *numbers)] = "a coordinate"

    def add_image(self, data: bytes, name: str) -> None:
        """Plant slices from all over a file (its first bytes are those of many files)."""
        for start in range(len(data) // 4, len(data) - 40, max(1, len(data) // 12)):
            piece = data[start : start + 24]
            if len(set(piece)) > 12:
                self._encoded(piece, f"bytes of {name}")
                self.forms[piece] = f"bytes of {name}"

    def _encoded(self, data: bytes, name: str) -> None:
        self.forms[data.hex().encode()] = name
        for shift in range(3):  # base64 of the same bytes looks different at each third place
            piece = data[shift:]
            piece = piece[: len(piece) // 3 * 3]
            if len(piece) >= 9:
                self.forms[base64.b64encode(piece)] = name
                self.forms[base64.urlsafe_b64encode(piece)] = name

    def found_in(self, content: bytes | str) -> list[str]:
        """Name what a content gives away."""
        data = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
        return sorted({name for form, name in self.forms.items() if form in data})


@pytest.fixture(scope="module")
def secrets():
    return Secrets()


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """A place that holds everything that may be written: home, cache, temporary files."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SHOWTELL_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    monkeypatch.setattr(tempfile, "tempdir", None)
    for name in ("home", "temporary", "work"):
        (tmp_path / name).mkdir()
    for name in ("OPENAI", "GOOGLE", "ANTHROPIC", "OLLAMA"):
        monkeypatch.setenv(f"{name}_API_KEY", KEY)
    monkeypatch.delenv("GEMINI_API_KEY", raising=False)
    monkeypatch.chdir(tmp_path / "work")
    yield tmp_path
    tempfile.tempdir = None


@pytest.fixture
def photos(workplace, secrets):
    """``photos/train`` and ``photos/test`` outside of the place that is searched."""
    with tempfile.TemporaryDirectory(dir=Path(workplace).parent) as folder:
        root = Path(folder) / "photos"
        _plant(root / "train", seed=0)
        _plant(root / "test", seed=100)
        for path in root.rglob("*.*"):
            secrets.add_image(path.read_bytes(), path.name)
        yield root


def _contents(path: Path):
    """Yield what is in a file: its bytes, and what its format keeps packed."""
    data = path.read_bytes()
    yield data
    if data.startswith(b"SQLite format 3"):
        with closing(sqlite3.connect(path)) as base:
            tables = [
                n for (n,) in base.execute("select name from sqlite_master where type='table'")
            ]
            for table in tables:
                for row in base.execute(f'select * from "{table}"'):
                    for value in row:
                        if isinstance(value, bytes):
                            yield value
                            yield from _inflated(value)
                        else:
                            yield str(value).encode("utf-8", "surrogatepass")
    elif path.suffix == ".parquet":
        import pyarrow.parquet

        table = pyarrow.parquet.read_table(path)
        yield repr(table.to_pydict()).encode()
        yield repr(table.schema.metadata).encode()
    elif path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as arrays:
            for name in arrays.files:
                yield arrays[name].tobytes()
    else:
        yield from _inflated(data)


def _inflated(data: bytes):
    for inflate in (zlib.decompress, gzip.decompress):
        try:
            yield inflate(data)
        except (OSError, EOFError, zlib.error):
            continue


class Watch:
    """Runs commands and keeps all that they say, and finds secrets in it and in all files."""

    def __init__(self, workplace: Path, secrets: Secrets, caplog) -> None:
        self.workplace, self.secrets, self.caplog = workplace, secrets, caplog
        self.said: list[tuple[str, str]] = []

    def run(self, *arguments, exit_codes=(0,)):
        result = CliRunner().invoke(app, [str(a) for a in arguments])
        self.said.append((f"output of {arguments[0]}", result.output))
        self.said.append((f"stderr of {arguments[0]}", result.stderr))
        if result.exc_info:
            told = "".join(traceback.format_exception(*result.exc_info))
            self.said.append((f"traceback of {arguments[0]}", told))
        assert result.exit_code in exit_codes, result.output
        return result

    def check(self, *, n_files=1):
        """Look for secrets; there must be at least so many files to look into."""
        for record in self.caplog.records:
            self.said.append((f"log of {record.name}", record.getMessage()))
            if record.exc_text:
                self.said.append((f"log of {record.name}", record.exc_text))
        told = [
            f"{place}: {', '.join(found)}"
            for place, text in self.said
            if (found := self.secrets.found_in(text))
        ]
        files = [path for path in self.workplace.rglob("*") if path.is_file()]
        for path in files:
            for content in _contents(path):
                if found := self.secrets.found_in(content):
                    told.append(f"{path.relative_to(self.workplace)}: {', '.join(found)}")
        assert not told, "\n".join(sorted(set(told)))
        assert len(files) >= n_files


@pytest.fixture
def watch(workplace, secrets, caplog, recwarn):
    caplog.set_level(logging.DEBUG)
    return Watch(workplace, secrets, caplog)


# The search itself


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_is_planted_is_found_in_every_form(secrets, suffix, tmp_path):
    photo = _photo("red", 7, suffix)
    mine = Secrets()
    mine.add_image(photo, "it")
    assert mine.found_in(photo)
    for shift in range(3):
        wrapped = b"x" * shift + photo
        assert mine.found_in(base64.b64encode(wrapped))
        assert mine.found_in(base64.urlsafe_b64encode(wrapped))
    assert mine.found_in(photo.hex())
    assert mine.found_in(json.dumps({"Authorization": f"Bearer {KEY}"}))
    assert mine.found_in(base64.b64encode(f"user:{KEY}".encode()))
    assert not mine.found_in(_photo("red", 8, "plain.jpg"))
    with closing(sqlite3.connect(tmp_path / "a.sqlite")) as base:
        base.execute("create table t (a blob)")
        base.execute("insert into t values (?)", (zlib.compress(KEY.encode()),))
        base.commit()
    assert any(mine.found_in(content) for content in _contents(tmp_path / "a.sqlite"))


# Servers that answer


@pytest.fixture(scope="module")
def server():
    with servers.LocalServer("all", encoder=ColourEncoder(), rule="nearest") as running:
        yield running


def _at(url, kind="openai"):
    return ("--model", MODELS[kind], "--base-url", url)


@pytest.mark.parametrize("kind", MODELS)
def test_verbs_that_ask_leave_nothing_behind(kind, server, photos, watch, secrets):
    model = _at(server.url_for(kind), kind)
    labels = ("--labels", ",".join(LABELS))
    n_before = len(server.requests)
    for suffix in ("csv", "jsonl", "parquet"):
        watch.run(
            "classify", photos / "test", *labels, *model, "-v", "--debug", "-o", f"out.{suffix}",
            "--report", f"{suffix}.html", "--run", f"run-{suffix}",
        )  # fmt: skip
    watch.run("evaluate", photos, "--shots", 1, *model, "-v", "--debug", "--report", "e.html",
              "--run", "e")  # fmt: skip
    watch.run("estimate", photos / "test", *labels, *model, "-v", "--debug")
    watch.run("models", "--json")
    watch.run("cache")
    sent = server.requests[n_before:]
    assert sum(len(request.images) for request in sent) > 12
    assert not any(image.has_exif for request in sent for image in request.images)
    for request in sent:
        for image in request.images:
            assert not {"PLANTED", "48.8583", "29.9876", "a coordinate"} & set(
                secrets.found_in(image.data)
            )
            secrets.add_image(image.data, "a sent image")
    watch.check(n_files=12)


def test_comparisons_leave_nothing_behind(server, photos, watch):
    watch.run(
        "compare", photos, "--methods", "linear,direct,in-context", "--shots", 2, "-v", "--debug",
        *_at(server.url_for("openai")), "--report", "c.html", "--run", "c",
    )  # fmt: skip
    watch.check(n_files=4)


def test_pictures_of_reports_are_small_and_say_nothing_of_where_they_were_taken(
    server, photos, watch
):
    watch.run("evaluate", photos, "--shots", 0, *_at(server.url_for("openai")), "--report",
              "e.html")  # fmt: skip
    page = Path("e.html").read_text("utf-8")
    pictures = re.findall(r"\bUklGR[A-Za-z0-9+/=]+", page)
    assert len(pictures) == 12
    for text in pictures:
        with Image.open(io.BytesIO(base64.b64decode(text))) as picture:
            assert max(picture.size) <= 144
            assert not {"exif", "xmp", "comment"} & set(picture.info)
    watch.check()


@pytest.mark.parametrize("kind", ["openai", "google", "anthropic"])
def test_batch_jobs_leave_nothing_behind(kind, server, photos, watch, monkeypatch):
    monkeypatch.setattr("showtell.mllm.jobs.client.POLL_EVERY", 0.05)
    watch.run("classify", photos / "test", "--labels", ",".join(LABELS), "--jobs", "-v",
              "--debug", *_at(server.url_for(kind), kind), "--run", "jobs", "--report",
              "j.html")  # fmt: skip
    watch.check(n_files=4)


def test_no_library_keeps_notes_about_the_user(photos, workplace):
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("XDG_", "ORT_"))}
    command = ["classify", str(photos / "test"), "--labels", "red,blue"]
    done = subprocess.run(
        [sys.executable, "-m", "showtell", *command],
        capture_output=True, text=True, check=False, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 13
    # ONNX Runtime would keep a device id and events that it sends away later.
    assert [path for path in (workplace / "home").rglob("*") if path.is_file()] == []


def test_a_level_that_somebody_chose_for_a_log_stays(monkeypatch):
    chosen, other = logging.getLogger("showtell-test.chosen"), logging.getLogger("showtell-test.b")
    chosen.setLevel(logging.DEBUG)
    hush(chosen.name, other.name)
    assert (chosen.level, other.level) == (logging.DEBUG, logging.INFO)


# Servers that fail and tell everybody what they were sent


@contextmanager
def _indiscreet(status: int, form: str):
    """Serve an answer that repeats the request: its headers and its body, images and all."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            said = f"{dict(self.headers)} {body.decode('utf-8', 'replace')}"
            wrapped = {"message": f"bad request: {said}", "type": "x", "code": status,
                       "status": "INVALID", "details": [{"said": said}]}  # fmt: skip
            content = json.dumps({"error": wrapped, "echo": said, "type": "error"})
            if form == "html":
                content = f"<html><body>{said}</body></html>"
            elif form == "string":
                content = json.dumps({"error": said})
            elif form == "short":
                content = json.dumps({"error": {"message": f"key {KEY} is none", "type": "x"}})
            elif form == "cut":
                content = content[: len(content) // 2]
            data = content.encode()
            self.send_response(status, f"no {KEY}" if form == "reason" else None)
            self.send_header("Content-Type", "text/html" if form == "html" else "application/json")
            self.send_header("Content-Length", str(len(data) + (99 if form == "cut" else 0)))
            self.send_header("X-Echo", dict(self.headers).get("Authorization", "none"))
            if status == 307:
                self.send_header("Location", f"http://localhost:{self.server.server_port}/{KEY}")
            self.end_headers()
            self.wfile.write(data)
            self.close_connection = form == "cut"

        do_GET = do_POST  # noqa: N815

        def log_message(self, *_):
            pass

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=running.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{running.server_port}"
    finally:
        running.shutdown()
        running.server_close()
        thread.join()


@pytest.fixture
def _no_patience(monkeypatch):
    """Tries again follow at once."""
    monkeypatch.setattr("showtell.mllm.call.client.backoff", lambda *_, **__: 0.0)


ECHOES = [
    (401, "json"), (401, "short"), (401, "reason"), (403, "html"), (400, "json"), (400, "string"),
    (404, "html"), (422, "json"), (429, "json"), (500, "json"), (503, "html"), (200, "json"),
    (200, "html"), (200, "cut"), (307, "json"),
]  # fmt: skip


@pytest.mark.usefixtures("_no_patience")
@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize(("status", "form"), ECHOES)
def test_what_a_failing_server_repeats_is_not_passed_on(
    kind, status, form, photos, watch, monkeypatch
):
    monkeypatch.setattr("showtell.mllm.model.Client", _impatient(monkeypatch))
    version = "" if kind in ("google", "anthropic") else "/v1"
    with _indiscreet(status, form) as url:
        result = watch.run(
            "classify", photos / "test", "--labels", ",".join(LABELS), *_at(url + version, kind),
            "--max-requests", 3, "-v", "--debug", "-o", "out.csv", "--run", "run", "--report",
            "r.html", exit_codes=(0, 1, 3),
        )  # fmt: skip
    assert result.output.strip()
    watch.check()


def _impatient(monkeypatch):
    from functools import partial

    from showtell.mllm import Client

    return partial(Client, patience=0.0, retries=2)


@pytest.mark.usefixtures("_no_patience")
def test_errors_of_python_callers_hold_no_secret_in_any_of_their_causes(photos, watch):
    paths = sorted(str(path) for path in (photos / "test").rglob("*.*"))
    for status, form in ((401, "json"), (400, "json"), (200, "html")):
        with _indiscreet(status, form) as url:
            clf = DirectClassifier(
                Model("openai:gpt-4.1-mini", base_url=f"{url}/v1", cache=None, max_requests=2),
                labels=list(LABELS),
            ).fit()
            try:
                predictions = clf.classify(paths[:3])
                watch.said.append(("predictions", repr(predictions.errors)))
            except ShowtellError as error:
                chain, seen = error, []
                while chain is not None:
                    seen.append(repr(chain) + repr(vars(chain)))
                    chain = chain.__cause__ or chain.__context__
                watch.said.append(("error", "".join(seen)))
                watch.said.append(("traceback", "".join(traceback.format_exception(error))))
            watch.said.append(("repr", repr(clf) + repr(vars(clf)) + repr(clf.get_params())))
    assert len(watch.said) >= 6
    watch.check(n_files=0)
