"""`showtell audit` against local servers: exit codes, what is printed, what is paid, pages."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from showtell.media import content_hash

pytest.importorskip("openai", reason="needs the extra openai")
pytest.importorskip("uvicorn", reason="local servers need the extra mllm")
servers = pytest.importorskip("showtell.testing.servers")

LABELS = ("lynx", "marten", "otter", "stoat", "weasel")
MODEL = ("--model", "openai:try")


@pytest.fixture(autouse=True)
def _place(monkeypatch, tmp_path):
    monkeypatch.setenv("SHOWTELL_CACHE_DIR", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A folder with train/ and test/, and what each picture shows."""
    root, truth = tmp_path_factory.mktemp("data"), {}
    for split, each in (("train", 1), ("test", 10)):
        for k, label in enumerate(LABELS):
            folder = root / split / label
            folder.mkdir(parents=True)
            for n in range(each):
                seed = [k, n, len(split)]
                pixels = np.random.default_rng(seed).integers(0, 255, (20, 20, 3), np.uint8)
                buffer = io.BytesIO()
                Image.fromarray(pixels).save(buffer, "PNG")
                (folder / f"{n}.png").write_bytes(buffer.getvalue())
                truth[content_hash(buffer.getvalue())] = label
    return root, truth


@pytest.fixture
def serve(pictures):
    running = []

    def start(**settings):
        server = servers.LocalServer("openai", truth=pictures[1], **settings).start()
        running.append(server)
        return server

    yield start
    for server in running:
        server.stop()


def test_a_planted_bias_is_named_and_the_exit_code_is_0(cli, pictures, serve, rows):
    server = serve(bias=servers.Bias(first=0.3), seed=2)
    result = cli(
        "audit", pictures[0], *MODEL, "--base-url", server.base_url, "--probes", "position",
        "--n", 30, "--report", "page.html",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    (row,) = rows(result.stdout)
    assert (row["probe"], row["verdict"]) == ("position", "biased")
    assert float(row["low"]) < 0.3 < float(row["high"]) + 0.1
    assert "to ask: 150 questions" in result.stderr
    assert "biased: position" in result.stderr
    assert server.stats.n_answered == 150
    page = Path("page.html").read_text()
    assert "Biased" in page
    assert "first place" in page


def test_a_fair_server_passes_and_json_holds_everything(cli, pictures, serve):
    server = serve()
    result = cli(
        "audit", pictures[0], *MODEL, "--base-url", server.base_url, "--shots", 1,
        "--probes", "example,order,majority", "--json", "--run", "kept",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    said = json.loads(result.stdout)
    assert said["biased"] == []
    assert [p["verdict"] for p in said["probes"]] == ["pass"] * 3
    assert said["n_images"] == 50
    assert {p.name for p in Path("kept").iterdir()} >= {"audit.json", "report.html", "run.json"}
    sent = server.stats.n_answered
    again = cli(
        "audit", pictures[0], *MODEL, "--base-url", server.base_url, "--shots", 1,
        "--probes", "example,order,majority", "--json", "--run", "kept",
    )  # fmt: skip
    assert again.exit_code == 0, again.output
    assert server.stats.n_answered == sent
    assert json.loads(again.stdout)["probes"] == said["probes"]


def test_a_cap_stops_with_exit_code_3_and_the_next_run_goes_on(cli, pictures, serve):
    server = serve()
    command = (
        "audit", pictures[0], *MODEL, "--base-url", server.base_url, "--shots", 0,
        "--probes", "position", "--n", 10, "-q",
    )  # fmt: skip
    stopped = cli(*command, "--max-requests", 20)
    assert stopped.exit_code == 3, stopped.output
    assert "max-requests" in stopped.stderr
    assert server.stats.n_answered <= 20
    assert cli(*command).exit_code == 0
    assert server.stats.n_answered == 50


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "--model provider:name"),
        ((*MODEL, "--probes", "colour"), "example, position, order, majority, names"),
        ((*MODEL, "--probes", "order", "--shots", 0), "--shots must be 1 or more"),
        ((*MODEL, "--corrections", "hope"), "rotations, contextual, batch"),
        ((*MODEL, "--report", "page.pdf"), "should end in .html"),
        ((*MODEL, "--n", 0), "--n"),
    ],
)
def test_wrong_usage_is_exit_code_2_and_says_what_is_allowed(cli, pictures, arguments, said):
    result = cli("audit", pictures[0], *arguments)
    assert result.exit_code == 2, result.output
    assert said in result.stderr
    assert "Traceback" not in result.output


def test_without_a_train_split_there_is_a_way(cli, pictures, tmp_path, serve):
    import shutil

    root = tmp_path / "only"
    shutil.copytree(pictures[0] / "test", root / "test")
    server = serve()
    result = cli("audit", root, *MODEL, "--base-url", server.base_url)
    assert result.exit_code == 2
    assert "--shots 0" in result.stderr
    assert server.stats.n_requests == 0


def test_a_model_that_names_no_label_is_counted_and_not_judged(cli, pictures, serve):
    server = serve(faults="out-of-set=1")
    result = cli(
        "audit", pictures[0], *MODEL, "--base-url", server.base_url, "--shots", 0,
        "--probes", "example", "--n", 5, "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    said = json.loads(result.stdout)
    assert said["probes"][0]["verdict"] == "not tested"
    assert said["n_failed"] == 5 * (1 + 1 + len(LABELS) - 1)
