"""`--jobs`: hand in, come back in another process, pay the batch price, and nothing twice."""

from __future__ import annotations

import http.server
import json
import threading
from decimal import Decimal
from pathlib import Path

import pytest
from tests.cli.conftest import LABELS

from showtell.testing import ColourEncoder

pytest.importorskip("pydantic_ai", reason="needs the extra mllm")
pytest.importorskip("openai", reason="needs the extra openai")
pytest.importorskip("anthropic", reason="needs the extra anthropic")
pytest.importorskip("google.genai", reason="needs the extra google")

MODELS = {
    "openai": "openai:gpt-4.1-mini",
    "google": "google:gemini-2.5-flash",
    "anthropic": "anthropic:claude-haiku-4-5",
}
KEY = "sk-planted-0123456789abcdef"


@pytest.fixture(autouse=True)
def _own_keys(monkeypatch, tmp_path):
    for name in ("OPENAI", "GOOGLE", "GEMINI", "ANTHROPIC"):
        monkeypatch.delenv(f"{name}_BASE_URL", raising=False)
        monkeypatch.setenv(f"{name}_API_KEY", KEY)
    monkeypatch.delenv("GEMINI_API_KEY")
    monkeypatch.setenv("SHOWTELL_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr("showtell.mllm.jobs.client.POLL_EVERY", 0.05)


@pytest.fixture
def serve():
    servers = pytest.importorskip("showtell.testing.servers")
    running = []

    def start(kind, **options):
        more = {"encoder": ColourEncoder(), "rule": "nearest", **options}
        running.append(servers.LocalServer(kind, **more).start())
        return running[-1]

    yield start
    for server in running:
        server.stop()


def one_by_one(kind, server, *more):
    common = ("--labels", ",".join(LABELS), "--model", MODELS[kind], "--base-url", server.base_url)
    return (*common, *more)


def asking(kind, server, *more):
    return one_by_one(kind, server, "--jobs", *more)


def paid(result) -> Decimal:
    rows = json.loads(result.stdout, parse_float=Decimal)["predictions"]
    return sum((Decimal(row["cost_usd"]) for row in rows), Decimal(0))


@pytest.mark.parametrize("kind", MODELS)
def test_jobs_are_waited_for_and_cost_half(cli, shapes, serve, kind):
    server = serve(kind, batch_delay=0.2)
    result = cli("classify", shapes, *asking(kind, server, "--run", "jobs", "--json"))
    assert result.exit_code == 0, result.output
    assert "handed in 1 batch job" in result.stderr
    rows = json.loads(result.stdout)["predictions"]
    assert [row["status"] for row in rows] == ["ok"] * 9
    assert all(Path(row["image"]).parent.name == row["label"] for row in rows)
    # Another server: the first one has the prefix in its cache now, which is cheaper still.
    single = cli("classify", shapes, *one_by_one(kind, serve(kind), "--json", "--no-reuse"))
    assert single.exit_code == 0, single.output
    assert 0 < paid(result) < paid(single)
    assert " USD for " in result.stderr
    assert KEY not in "".join(p.read_text("utf-8", "replace") for p in Path("jobs").glob("*.json*"))


@pytest.mark.parametrize("kind", MODELS)
def test_without_waiting_a_later_command_collects(cli, shapes, serve, kind):
    server = serve(kind, batch_delay=4)
    common = asking(kind, server, "--run", "jobs", "--json")
    first = cli("classify", shapes, *common, "--no-wait")
    assert first.exit_code == 3, first.output
    assert first.stdout == ""
    assert "with --run jobs, collects what is done" in first.stderr
    assert first.stderr.count("\n") == 2  # and the host that is asked
    again = cli("classify", shapes, *common, "--no-wait")
    assert again.exit_code in (0, 3), again.output
    last = cli("classify", shapes, *common)
    assert last.exit_code == 0, last.output
    assert all(
        Path(row["image"]).parent.name == row["label"]
        for row in json.loads(last.stdout)["predictions"]
    )
    n_requests = server.stats.n_answered
    kept = json.loads(Path("jobs/run.json").read_text("utf-8"))
    assert kept["state"] == "finished"
    once_more = cli("classify", shapes, *common)
    assert once_more.exit_code == 0, once_more.output
    assert "all 9 answers were there already" in once_more.stderr
    assert server.stats.n_answered == n_requests


def test_what_an_answer_leaves_out_goes_into_another_job(cli, shapes, serve):
    from showtell.testing.servers import Faults

    server = serve("openai", batch_delay=0.05, faults=Faults(drop=0.5), seed=3)
    common = asking("openai", server, "--run", "jobs", "--images-per-request", "3", "--json")
    for _ in range(12):
        result = cli("classify", shapes, *common, "--no-wait")
        if result.exit_code != 3:
            break
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout)["predictions"]
    assert len(rows) == 9
    for row in rows:
        if row["status"] == "ok":
            assert Path(row["image"]).parent.name == row["label"]
    text = Path("jobs/batches.jsonl").read_text("utf-8")
    jobs = [json.loads(line) for line in text.splitlines()]
    keys = [key for job in jobs if job["kind"] == "intent" for key in job["keys"]]
    assert len([job for job in jobs if job["kind"] == "intent"]) > 1
    assert len(keys) == len(set(keys)) == server.stats.n_answered
    assert jobs[-1]["kind"] == "finished"


def test_refused_requests_are_not_handed_in_for_ever(cli, shapes, serve):
    from showtell.testing.servers import Faults

    server = serve("openai", faults=Faults(refuse=1.0))
    common = asking("openai", server, "--run", "jobs", "--images-per-request", "2", "--json")
    for _ in range(12):
        result = cli("classify", shapes, *common, "--no-wait")
        if result.exit_code != 3:
            break
    assert result.exit_code == 1, result.output
    rows = json.loads(result.stdout)["predictions"]
    assert {(row["status"], row["reason"]) for row in rows} == {("error", "refused")}
    # Nine images, five pairs, then each image alone: nothing is asked a second time.
    assert server.stats.n_answered <= 5 + 9


def test_evaluate_measures_at_the_batch_price(cli, parted, serve):
    server = serve("anthropic", batch_delay=0.1)
    options = ("--shots", "1", "--model", MODELS["anthropic"], "--base-url", server.base_url)
    result = cli("evaluate", parted, *options, "--jobs", "--run", "jobs", "--json")
    assert result.exit_code == 0, result.output
    value = json.loads(result.stdout)
    assert value["accuracy"] == 1.0
    assert value["run"]["estimator"]["params"]["model"]["params"]["jobs"] is True
    options = (*options[:-1], serve("anthropic").base_url)
    plain = json.loads(cli("evaluate", parted, *options, "--no-reuse", "--json").stdout)
    assert 0 < value["cost_usd"] < plain["cost_usd"]


def test_a_cap_counts_jobs_of_earlier_processes(cli, shapes, serve):
    server = serve("openai", batch_delay=1.0)
    common = asking("openai", server, "--run", "jobs", "--images-per-request", "1")
    first = cli("classify", shapes, *common, "--no-wait", "--max-requests", "4")
    assert first.exit_code == 3, first.output
    again = cli("classify", shapes, *common, "--no-wait", "--max-requests", "4")
    assert again.exit_code == 3, again.output
    last = cli("classify", shapes, *common, "--max-requests", "4")
    assert last.exit_code == 3, last.output
    assert "Stopped at the cap: 4 of --max-requests 4" in last.stderr
    assert server.stats.n_answered == 4
    done = cli("classify", shapes, *common, "--json")
    assert done.exit_code == 0, done.output
    assert server.stats.n_answered == 9


def test_estimate_with_jobs_is_at_the_batch_price(cli, shapes):
    common = ("estimate", shapes, "--labels", ",".join(LABELS), "--model", MODELS["openai"])
    plain = json.loads(cli(*common, "--json").stdout)
    jobs = json.loads(cli(*common, "--jobs", "--json").stdout)
    assert jobs["cost_usd_to_pay"] == plain["cost_usd_batch"] < plain["cost_usd_to_pay"]
    assert jobs["seconds"] is None


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--model", MODELS["openai"], "--jobs"), "--jobs needs --run DIR"),
        (("--model", MODELS["openai"], "--no-wait"), "it goes with --jobs"),
        (("--jobs",), "about asking a multimodal LLM"),
        (("--model", "ollama:llava", "--jobs", "--run", "jobs"), "has no batch endpoint"),
        (
            ("--model", MODELS["openai"], "--transductive", "balance"),
            "not take --transductive",
        ),
    ],
)
def test_wrong_use_is_told_in_one_line(cli, shapes, arguments, said):
    result = cli("classify", shapes, "--labels", ",".join(LABELS), *arguments)
    assert result.exit_code == 2
    assert said in result.stderr
    assert result.stderr.count("\n") == 1


ODD = {
    "a chat": {"id": "x", "object": "chat.completion", "created": 1, "choices": []},
    "nothing": {},
    "null": None,
    "a list": [],
    "a text": "done",
    "numbers for names": {"id": 7, "created_at": "today", "status": 3, "object": "batch"},
}


@pytest.fixture
def odd_server():
    """Takes everything, and answers each request with the same JSON."""
    running = []

    def start(answer):
        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args):
                pass

            def do_GET(self):
                self.give(404, {"error": {"message": "nothing here"}})

            def do_POST(self):
                self.rfile.read(int(self.headers["Content-Length"]))
                self.give(200, answer)

            def give(self, status, value):
                content = json.dumps(value).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        running.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in running:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("kind", MODELS)
def test_a_batch_endpoint_that_answers_something_else_ends_with_one_line_that_names_it(
    cli, shapes, odd_server, monkeypatch, kind, name
):
    monkeypatch.setattr("showtell.mllm.jobs.endpoints._UNTIL_LISTED", 0.0)
    monkeypatch.setattr("showtell.mllm.call.limits.random.random", lambda: 0.0)
    monkeypatch.setattr("showtell.mllm.jobs.endpoints.backoff", lambda *a, **more: 0.0)
    url = odd_server(ODD[name]) + ("/v1" if kind == "openai" else "")
    result = cli(
        "classify", shapes, "--labels", ",".join(LABELS), "--model", MODELS[kind],
        "--base-url", url, "--jobs", "--no-wait", "--run", "jobs",
    )  # fmt: skip
    assert result.exit_code == 1, result.output
    last = result.stderr.splitlines()[-1]
    assert last.startswith(f"showtell: {MODELS[kind]}: The answer cannot be read (")
    assert "may have been handed in all the same: it is noted in jobs" in last
    assert "Traceback" not in result.stderr
    assert "nothing was asked" not in result.stderr
    assert "may be billed on top: at most" in result.stderr
