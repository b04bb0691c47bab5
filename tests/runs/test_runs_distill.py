"""Distillation through a local server: a price, a cap, kill -9, and nothing asked twice."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from showtell.cli.main import app
from showtell.media import content_hash

pytest.importorskip("openai", reason="needs the extra openai")
pytest.importorskip("uvicorn", reason="local servers need the extra mllm")
servers = pytest.importorskip("showtell.testing.servers")

TINTS = {"ember": (200, 60, 40), "meadow": (60, 170, 60), "ocean": (40, 80, 200)}


def patchwork(tint, seed, side=6):
    """Coloured patches around a tint: no two pictures are alike."""
    rng = np.random.default_rng(seed)
    patches = np.clip(np.array(tint) + rng.normal(0, 60, (side, side, 3)), 0, 255)
    return Image.fromarray(patches.astype(np.uint8)).resize((96, 96), Image.Resampling.NEAREST)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """80 pictures of each of three labels in one folder, 40 labelled ones, and the truth."""
    root, truth = tmp_path_factory.mktemp("photos"), {}
    (root / "pool").mkdir()
    for k, (label, tint) in enumerate(TINTS.items()):
        (root / "gold" / label).mkdir(parents=True)
        for n in range(120):
            place = root / "pool" / f"{n:03}-{k}.png" if n < 80 else root / "gold" / label
            file = place if n < 80 else place / f"{n}.png"
            patchwork(tint, (k, n), side=4 + n % 5).save(file)
            truth[content_hash(file)] = label
    return root, truth


@pytest.fixture
def serve(photos, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-planted-0123456789abcdef")
    running = []

    def start(**settings):
        server = servers.LocalServer("openai", truth=photos[1], **settings).start()
        running.append(server)
        return server

    yield start
    for server in running:
        server.stop()


@pytest.fixture
def cli(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(app, [str(a) for a in arguments])


def command(server, photos, *more):
    return (
        "distill", photos[0] / "pool", "--teacher", "openai:gpt-4.1-mini", "--base-url",
        server.base_url, "--labels", ",".join(TINTS), "--gold", photos[0] / "gold",
        "--accept-terms", "-o", "student", *more,
    )  # fmt: skip


def test_a_student_with_a_promise_in_a_folder_that_says_everything(cli, photos, serve):
    server = serve()
    options = ("--budget", "60", "--max-loss", "0.1", "--calibrate", "60", "--json")
    result = cli(*command(server, photos, *options))
    assert result.exit_code == 0, result.stderr
    told = json.loads(result.stdout)
    assert {path.name for path in Path("student").iterdir()} >= {
        "student", "cascade", "card.md", "report.html", "gold.html", "review.csv",
        "teacher_labels.csv", "run.json",
    }  # fmt: skip
    assert told["gold"]["n_samples"] == 120
    assert told["gold"]["accuracy"] > 0.7  # a third by chance
    n = told["counts"]["ok"]
    assert 40 <= n <= 60  # near duplicates are asked about once
    # the ledger of the server is what is counted: n to learn from and 60 to calibrate
    assert sum(server.stats.paid_images.values()) == n + 60
    assert len(server.stats.paid_images) == n + 60
    assert told["n_images"] == 240
    assert told["share_alone"] == pytest.approx(n / 240)
    routed = told["promise"]["routed"]
    assert told["share_cascade"] == pytest.approx((n + 60 + routed * 240) / 240)
    assert float(told["cost_usd"]) > 0
    card = Path("student/card.md").read_text()
    assert "agrees with its teacher" in card
    assert "Accepted before training" in card
    assert "Some providers' terms restrict" in result.stderr

    again = cli(*command(server, photos, *options))
    assert again.exit_code == 0
    assert sum(server.stats.paid_images.values()) == n + 60  # nothing was asked twice
    assert json.loads(again.stdout)["gold"] == told["gold"]

    gold = photos[0] / "gold"
    alone = cli("evaluate", gold, "--classifier", "student", "--json")
    assert alone.exit_code == 0, alone.stderr
    assert json.loads(alone.stdout)["accuracy"] == pytest.approx(told["gold"]["accuracy"])
    assert sum(server.stats.paid_images.values()) == n + 60  # the student asks nobody
    asking = ("--model", "openai:gpt-4.1-mini", "--base-url", server.base_url, "--run", "run")
    both = cli("evaluate", gold, "--classifier", "student", *asking, "--json")
    assert both.exit_code == 0, both.stderr
    scored = json.loads(both.stdout)
    assert scored["accuracy"] >= told["gold"]["accuracy"]
    paid = sum(server.stats.paid_images.values()) - n - 60
    assert paid < 120  # only what the student is unsure of
    assert (scored["cost_usd"] > 0) == (paid > 0)
    some = cli("classify", gold, "--classifier", "student", "--limit", "6", "--json")
    assert some.exit_code == 0, some.stderr
    more = cli("classify", gold, "--classifier", "student", *asking[:4], "--limit", "6", "--json")
    assert more.exit_code == 0, more.stderr
    assert {row["tier"] for row in json.loads(more.stdout)["predictions"]} <= {1, 2}
    other = cli("classify", gold, "--classifier", "student", "--model", "openai:gpt-4.1")
    assert other.exit_code in (1, 2)  # another model: the promise is not its


def test_a_cap_stops_and_a_higher_one_goes_on(cli, photos, serve):
    server = serve()
    options = ("--budget", "40", "--no-reuse")
    first = cli(*command(server, photos, *options, "--max-requests", "2"))
    assert first.exit_code == 3, first.stderr
    n = sum(server.stats.paid_images.values())
    assert 0 < n < 40
    second = cli(*command(server, photos, *options))
    assert second.exit_code == 0, second.stderr
    assert sum(server.stats.paid_images.values()) == 40
    assert set(server.stats.paid_images.values()) == {1}


def test_killed_in_the_middle_it_asks_nothing_twice(photos, serve, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    server = serve(latency=0.1, bill_gone=True)
    arguments = command(
        server, photos, "--budget", "40", "--no-reuse", "--max-concurrency", "2",
        "--max-loss", "0.2", "--calibrate", "40", "--json",
    )  # fmt: skip
    run = [sys.executable, "-m", "showtell", *map(str, arguments)]
    for goal in (4, 10):
        with subprocess.Popen(run, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            while server.stats.n_answered < goal and process.poll() is None:
                time.sleep(0.005)
            process.send_signal(signal.SIGKILL)
            process.communicate()
        assert process.returncode == -signal.SIGKILL
    done = subprocess.run(run, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(server.stats.paid_images) == 80
    assert set(server.stats.paid_images.values()) == {1}
    assert json.loads(done.stdout)["counts"]["ok"] == 40


def test_terms_are_shown_and_have_to_be_accepted_before_anything_is_asked(cli, photos, serve):
    server = serve()
    arguments = [a for a in command(server, photos) if a != "--accept-terms"]
    result = cli(*arguments)
    assert result.exit_code == 2
    assert "Some providers' terms restrict" in result.stderr
    assert "--accept-terms" in result.stderr
    assert server.stats.n_requests == 0
    assert not Path("student").exists()


def test_a_promise_that_so_few_cannot_carry_is_refused_before_anything_is_asked(cli, photos, serve):
    server = serve()
    result = cli(*command(server, photos, "--max-loss", "0.02", "--calibrate", "60"))
    assert result.exit_code == 2
    assert "takes at least 149" in result.stderr
    result = cli(*command(server, photos, "--target-accuracy", "0.99"))
    assert result.exit_code == 2
    assert "takes at least 299" in result.stderr
    assert server.stats.n_requests == 0


def test_a_promise_that_cannot_be_kept_is_said_with_exit_code_1(cli, photos):
    """The teacher is a method without examples, which is wrong about these pictures."""
    result = cli(
        "distill", photos[0] / "pool", "--teacher", "zero-shot", "--labels", ",".join(TINTS),
        "--gold", photos[0] / "gold", "-o", "student", "--target-accuracy", "0.95", "--budget",
        "30",
    )  # fmt: skip
    assert result.exit_code == 1
    assert "No promise" in result.stderr
    assert Path("student/card.md").is_file()


def test_answers_of_a_file_teach_as_well_and_nobody_is_asked(cli, photos):
    rows = [
        f"{file.name},{list(TINTS)[int(file.stem[-1])]}"
        for file in sorted((photos[0] / "pool").iterdir())
    ]
    Path("answers.csv").write_text("\n".join(["image,label", *rows]))
    result = cli(
        "distill", photos[0] / "pool", "--teacher", "answers.csv", "--gold", photos[0] / "gold",
        "-o", "student", "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    told = json.loads(result.stdout)
    assert told["counts"]["ok"] == 240
    assert told["gold"]["accuracy"] > 0.8
    result = cli(
        "distill", photos[0] / "gold", "--teacher", "answers.csv", "-o", "other",
    )  # fmt: skip
    assert result.exit_code == 2
    assert "about none of the images" in result.stderr


def test_a_dry_run_says_the_price_and_asks_nobody(cli, photos, serve):
    server = serve()
    plan = cli(*command(server, photos, "--budget", "40", "--dry-run", "--json"))
    assert plan.exit_code == 0, plan.stderr
    assert json.loads(plan.stdout)["n_teacher"] == 40
    assert json.loads(plan.stdout)["cost_usd"] > 0
    free = cli("distill", photos[0] / "pool", "--teacher", "zero-shot", "--labels", "a,b",
               "--dry-run", "--json", "-o", "student")  # fmt: skip
    assert (free.exit_code, json.loads(free.stdout)["cost_usd"]) == (0, 0)
    assert server.stats.n_requests == 0
    assert not Path("student").exists()


def test_images_that_are_measured_on_are_not_learned_from(cli, photos):
    result = cli(
        "distill", photos[0] / "gold", "--teacher", "few-shot", "--examples", photos[0] / "gold",
        "-o", "student",
    )  # fmt: skip
    assert result.exit_code == 2
    assert "No image is left to learn from" in result.stderr


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--teacher", "nobody"], "Who is the teacher 'nobody'?"),
        (["--teacher", "zero-shot", "--labels", "a,b", "--max-loss", "0.1",
          "--target-accuracy", "0.9"], "not both"),
        (["--teacher", "zero-shot", "--labels", "a,b", "--target-accuracy", "0.9"], "--gold"),
        (["--teacher", "zero-shot"], "Which labels?"),
        (["--teacher", "zero-shot", "--labels", "a,b", "--budget", "0"], "--budget"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_and_exit_code_2(cli, photos, more, told):
    result = cli("distill", photos[0] / "pool", "-o", "student", *more)
    assert result.exit_code == 2
    assert told in result.stderr.splitlines()[-1]
