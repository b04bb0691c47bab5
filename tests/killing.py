"""Processes that ask a model and are killed with -9: forked from one that has imported already."""

from __future__ import annotations

import contextlib
import json
import os
import random
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

COLOURS = ["red", "green", "blue", "yellow"]


def inputs(n):
    """Pictures, all different, and their colours."""
    from tests.classify.scripted import picture

    labels = [COLOURS[i % 4] for i in range(n)]
    return [picture(label, i) for i, label in enumerate(labels)], labels


def classifier(model, url, folder, method, images_per_request):
    """The classifier that every process of a run makes."""
    from showtell import DirectClassifier, InContextClassifier, Model

    model = Model(model, base_url=url, run_folder=folder, cache=None, max_concurrency=6)
    if method == "direct":
        return DirectClassifier(model, labels=COLOURS, images_per_request=images_per_request).fit()
    shown, labels = inputs(1000)
    return InContextClassifier(model, shots=1, images_per_request=images_per_request).fit(
        shown[996:], labels[996:]
    )


def classify(folder, n, **made):
    """Classify as a user would, and note the rows at the end."""
    predictions = classifier(folder=folder, **made).classify(inputs(n)[0])
    Path(folder, "rows.json").write_text(json.dumps(list(predictions.rows()), default=str))


def hand_in(folder, n, model, url):
    """Go through the provider's batch endpoint."""
    import showtell.mllm.jobs.endpoints as batch
    from showtell.mllm import load_mllm
    from showtell.mllm.call.journal import Journal

    batch._UNTIL_LISTED = 0.2  # the local server lists a job as soon as it is made
    mllm = load_mllm(model, base_url=url)
    with Journal(folder) as journal:
        jobs = batch.BatchJobs(mllm, folder, journal=journal, max_requests=4, poll_every=0.03)
        jobs.run(batch_requests(mllm.name, n), lambda _key, _outcome: None)


def batch_requests(name, n):
    from tests.mllm.test_mllm_batch import ask
    from tests.mllm.test_mllm_providers import LABELS, shape

    shapes = [shape(label, seed=7) for label in LABELS]
    return [ask(name, i, shapes) for i in range(n)]


def evolve(folder, model, url):
    """Let descriptions evolve; what came of it is in the folder."""
    from tests.classify.test_classify_evolving_killed import evolving

    clf, X, y = evolving(model, url, folder)
    clf.fit(X, y)


JOBS = {"classify": classify, "hand_in": hand_in, "evolve": evolve}


class Forks:
    """A process that has imported what takes long, and forks for each job."""

    def __init__(self, repository: Path) -> None:
        paths = filter(None, (str(repository), os.environ.get("PYTHONPATH")))
        self._process = subprocess.Popen(
            [sys.executable, "-c", "from tests.killing import serve; serve()"],
            cwd=repository,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert self._read() == {"ready": True}
        except BaseException:
            self.close()
            raise

    def run(self, job: str, *, kill_when: Callable[[], bool] | None = None, **arguments) -> bool:
        """Run a job to its end, or kill it; say whether it was killed."""
        print(json.dumps({"job": job, **arguments}), file=self._process.stdin, flush=True)
        pid = self._read()["pid"]
        killed = False
        while kill_when is not None and not self._can_read():
            if kill_when():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                break
            time.sleep(0.001)
        ended = self._read()
        killed = ended["signal"] == signal.SIGKILL
        assert killed or ended["code"] == 0, ended["error"]
        return killed

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait(60)
        self._process.stdout.close()

    def _can_read(self) -> bool:
        return bool(select.select([self._process.stdout], [], [], 0)[0])

    def _read(self) -> dict:
        line = self._process.stdout.readline()
        assert line, "the process that forks has died"
        return json.loads(line)


def serve() -> None:
    """Fork for every line on stdin; the parent itself starts no thread."""
    import asyncio
    import traceback

    import tests.classify.scripted
    import tests.classify.test_classify_evolving_killed
    import tests.mllm.test_mllm_batch  # noqa: F401 - the children need it

    from showtell.mllm import Usage, load_mllm
    from showtell.mllm.prices import price

    async def import_libraries() -> None:
        for model in ("openai:try", "google:try", "anthropic:try"):
            mllm = load_mllm(model, base_url="http://127.0.0.1:9")
            mllm.connect()
            if mllm.wire == "openai":
                mllm.for_batches().connect()

    asyncio.run(import_libraries())
    price("openai:gpt-4.1-mini", Usage(input_tokens=1, output_tokens=1))
    for method in ("direct", "in-context"):
        classifier("openai:try", "http://127.0.0.1:9", None, method, 1)
    price("openai:gpt-4.1-mini", Usage(input_tokens=1, output_tokens=1))
    for method in ("direct", "in-context"):
        classifier("openai:try", "http://127.0.0.1:9", None, method, 1)
    say = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    print(json.dumps({"ready": True}), file=say, flush=True)
    for line in sys.stdin:
        arguments = json.loads(line)
        reading, writing = os.pipe()
        pid = os.fork()
        if not pid:
            os.close(reading)
            code = 1
            try:
                random.seed()
                JOBS[arguments.pop("job")](**arguments)
                code = 0
            except BaseException:  # noqa: BLE001 - told to the test
                os.write(writing, traceback.format_exc()[-4000:].encode())
            os._exit(code)
        os.close(writing)
        print(json.dumps({"pid": pid}), file=say, flush=True)
        with os.fdopen(reading, "rb") as stream:
            error = stream.read().decode("utf-8", "replace")
        _, status = os.waitpid(pid, 0)
        ended = {
            "signal": os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0,
            "code": os.WEXITSTATUS(status) if os.WIFEXITED(status) else -1,
            "error": error,
        }
        print(json.dumps(ended), file=say, flush=True)
