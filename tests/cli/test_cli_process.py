"""The real program in a process of its own: start-up, pipes, signals, encodings."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from showtell.testing import make_images

RUN = [sys.executable, "-c", "from showtell.cli.main import run; run()"]


def showtell(*arguments, env=None, **more):
    return subprocess.run(
        [*RUN, *map(str, arguments)],
        capture_output=True,
        env={**os.environ, **(env or {})},
        timeout=120,
        check=False,
        **more,
    )


def test_the_script_is_installed():
    script = Path(sys.executable).parent / ("showtell.exe" if os.name == "nt" else "showtell")
    done = subprocess.run([script, "version"], capture_output=True, check=False, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("showtell ")


def test_help_loads_the_command_line_and_nothing_that_computes():
    script = (
        "import sys\n"
        "sys.argv = ['showtell', '--help']\n"
        "from showtell.cli.main import run\n"
        "try:\n    run()\n"
        "finally:\n    print(*sys.modules, file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    loaded = done.stderr.split()
    packages = {name.partition(".")[0] for name in loaded}
    assert {"showtell", "typer"} <= packages
    assert not packages & {
        "PIL", "httpx", "httpx2", "jinja2", "jsonschema", "numpy", "onnxruntime", "openai",
        "pandas", "pydantic", "pydantic_ai", "scipy", "sklearn", "sqlite3", "ssl", "tokenizers",
        "torch", "transformers",
    }  # fmt: skip
    rooms = {name.split(".")[1] for name in loaded if name.startswith("showtell.")}
    assert {r for r in rooms if not r.startswith("_")} <= {"classify", "cli", "errors", "records"}


def test_a_reader_that_leaves_early_gets_no_traceback(tmp_path):
    Path(tmp_path, "answers.csv").write_text(
        "actual,predicted\n" + "".join(f"label {i},label {i}\n" for i in range(3000))
    )
    process = subprocess.Popen(
        [*RUN, "evaluate", "--predictions", str(tmp_path / "answers.csv"), "-q"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout.readline() == b"metric,label,value\n"
    process.stdout.close()
    errors = process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=120) == 0
    assert errors == b""


@pytest.mark.parametrize("arguments", [["--help"], ["version", "-v"]])
def test_a_closed_pipe_is_no_error(arguments):
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([*RUN, *arguments], stdout=write, stderr=subprocess.PIPE, check=False)
    os.close(write)
    assert done.returncode == 0
    assert done.stderr == b""


@pytest.mark.skipif(os.name == "nt", reason="signals are sent the Unix way")
def test_ctrl_c_is_3_and_no_traceback(tmp_path):
    waiting = (
        "import showtell.datasets, sys, time\n"
        "def wait(*args, **kwargs):\n"
        "    print('ready', flush=True)\n"
        "    time.sleep(600)\n"
        "showtell.datasets.expand_images = wait\n"
        "from showtell.cli.main import run\n"
        "sys.argv = ['showtell', 'classify', '.', '--labels', 'a,b']\n"
        "run()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", waiting], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 3
    assert errors.decode().startswith("showtell: Stopped. Images that were embedded are kept")
    assert errors.count(b"\n") == 1


def test_ctrl_c_once_more_while_it_ends_leaves_no_traceback():
    script = (
        "import atexit, os, signal, sys\n"
        "import showtell.datasets\n"
        "def stop(*args, **kwargs):\n"
        "    raise KeyboardInterrupt\n"
        "showtell.datasets.expand_images = stop\n"
        "from showtell.cli.main import run\n"
        "atexit.register(os.kill, os.getpid(), signal.SIGINT)\n"
        "sys.argv = ['showtell', 'classify', '.', '--labels', 'a,b']\n"
        "run()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, check=False, text=True
    )
    assert "Stopped." in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have only UTF-8 names")
def test_names_that_are_not_utf_8_survive_an_ascii_terminal(tmp_path):
    odd = os.fsencode(tmp_path) + b"/caf\xe9 \xf0\x9f\x90\x88.txt"
    Path(os.fsdecode(odd)).write_bytes(b"no image")
    done = showtell(
        "classify", os.fsdecode(odd), "--labels", "cat,dog", "-q",
        env={"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"},
    )  # fmt: skip
    assert done.returncode == 1  # not one image got an answer
    assert b"showtell: Not one image got an answer." in done.stderr
    row = done.stdout.decode("ascii").splitlines()[1]
    assert "caf\\xe9" in row
    assert ",error," in row


def test_the_embedded_encoder_classifies_the_sample_photos():
    """What `make try` promises: at least three quarters right, from label names alone."""
    photos = Path(__file__).parents[2] / "examples" / "photos"
    done = showtell("evaluate", photos, "--json", "-q")
    assert done.returncode == 0, done.stderr
    value = json.loads(done.stdout)
    assert value["n_samples"] >= 16
    assert value["accuracy"] >= 0.75
    assert value["n_errors"] == 0


def test_the_limits_of_the_embedded_encoder_are_said_once(tmp_path):
    make_images(tmp_path / "shapes", n_per_label=1)
    done = showtell("classify", tmp_path / "shapes", "--labels", "circle,square", text=True)
    assert done.returncode == 0
    assert done.stderr.count("note: ") == 1


@pytest.mark.data
@pytest.mark.slow
def test_a_real_folder_gets_one_row_per_image_in_order(shared_datasets, tmp_path):
    folder = shared_datasets / "animals" / "test"
    table = tmp_path / "rows.jsonl"
    done = showtell(
        "classify", folder, "--labels-file", shared_datasets / "animals" / "labels.json",
        "-o", table, "-q",
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, b"")
    got = [json.loads(line) for line in table.read_text("utf-8").splitlines()]
    files = sorted(path.as_posix() for path in folder.rglob("*.jpg"))
    assert sorted(row["image"] for row in got) == files
    right = sum(Path(row["image"]).parent.name == row["label"] for row in got)
    assert right / len(got) > 0.75


@pytest.mark.skipif(os.name == "nt", reason="signals are sent the Unix way")
def test_ctrl_c_while_the_text_of_a_program_runs_is_3(tmp_path):
    """As dataclasses run some when they are loaded: Python itself would then die of the signal."""
    program = tmp_path / "program.py"
    program.write_text(
        "import os, signal, sys\n"
        "import showtell.datasets\n"
        "def stop(*args, **kwargs):\n"
        "    exec('os.kill(os.getpid(), signal.SIGINT)\\nimport time\\ntime.sleep(60)')\n"
        "showtell.datasets.expand_images = stop\n"
        "from showtell.__main__ import run\n"
        "sys.argv = ['showtell', 'classify', '.', '--labels', 'a,b']\n"
        "run()\n"
    )
    done = subprocess.run([sys.executable, program], capture_output=True, check=False, text=True)
    assert (done.returncode, done.stderr.count("\n")) == (3, 1)


@pytest.mark.parametrize(
    "stop",
    [
        "class Finder:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'showtell.cli.main':\n"
        "            raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Finder())\n",
        "import typer.main\n"
        "def get_command(app):\n"
        "    raise KeyboardInterrupt\n"
        "typer.main.get_command = get_command\n",
    ],
)
def test_ctrl_c_while_the_program_is_made_ready_is_3_and_no_traceback(tmp_path, stop):
    program = tmp_path / "program.py"
    program.write_text(
        f"import runpy, sys\n{stop}"
        "sys.argv = ['showtell', 'version']\n"
        "runpy.run_module('showtell', run_name='__main__')\n"
    )
    done = subprocess.run([sys.executable, program], capture_output=True, check=False, text=True)
    assert (done.returncode, done.stderr) == (3, "showtell: Stopped. Nothing was done yet.\n")
