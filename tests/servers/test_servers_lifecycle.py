"""Starting, stopping, what is logged, the command, and how fast it is."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading

import pytest
from tests.servers.wire import LABELS, SYSTEM, contract, openai_content, png, shots

from showtell.errors import InputError, MissingExtraError, RunError
from showtell.testing import ColourEncoder
from showtell.testing.servers import LocalServer
from showtell.testing.servers.engine import Engine

httpx2 = pytest.importorskip("httpx2", reason="needs the extra `mllm`")


def body(parts, model="try"):
    content = openai_content(parts)
    messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": content}]
    return {"model": model, "messages": messages}


def test_it_listens_on_this_machine_only_and_frees_its_port():
    with LocalServer("openai", encoder=ColourEncoder()) as server:
        port = server.port
        assert server.base_url == f"http://127.0.0.1:{port}/v1"
        assert server._socket.getsockname()[0] == "127.0.0.1"
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", port), timeout=1)


def test_a_server_can_be_started_again_on_the_same_port():
    with LocalServer("openai", encoder=ColourEncoder()) as server:
        port = server.port
    with LocalServer("openai", port=port, encoder=ColourEncoder()) as server:
        assert httpx2.get(f"{server.base_url}/models").status_code == 200


def test_a_taken_port_is_an_input_error():
    with (
        LocalServer("openai", encoder=ColourEncoder()) as server,
        pytest.raises(InputError, match="cannot be used"),
    ):
        LocalServer("openai", port=server.port, encoder=ColourEncoder()).start()


def test_stopping_leaves_no_thread_behind():
    before = threading.active_count()
    server = LocalServer("openai", encoder=ColourEncoder()).start()
    httpx2.post(f"{server.base_url}/chat/completions", json=body(contract([], shots())))
    server.stop()
    server.stop()
    assert threading.active_count() <= before + 1  # the loop's worker thread may be ending


def test_a_server_that_does_not_run_has_no_port():
    with pytest.raises(RunError, match="not running"):
        _ = LocalServer("openai", encoder=ColourEncoder()).port


@pytest.mark.parametrize("bad", [{"kind": "openapi"}, {"latency": -1}, {"faults": "x=1"}])
def test_impossible_servers_are_refused(bad):
    with pytest.raises(InputError):
        LocalServer(**{"encoder": ColourEncoder(), **bad})


def test_missing_packages_name_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(MissingExtraError, match=r"showtell\[mllm\]"):
        LocalServer("openai", encoder=ColourEncoder())


def test_importing_the_servers_loads_no_web_library():
    code = (
        "import sys, showtell.testing.servers; "
        "print([m for m in ('starlette', 'uvicorn', 'pydantic_ai') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_the_log_keeps_sizes_and_texts_but_no_pixels():
    picture = png("red circle", 1, size=(120, 80))
    with LocalServer("openai", encoder=ColourEncoder()) as server:
        parts = contract([("q", picture)], shots())
        reply = httpx2.post(f"{server.base_url}/chat/completions", json=body(parts))
        assert reply.status_code == 200
        (seen,) = server.requests
    assert seen.ids == ("q",)
    assert seen.labels == ("red circle",)
    assert seen.layout == "tit" * 4
    assert seen.texts[0] == SYSTEM
    image = seen.images[-1]
    assert (image.width, image.height, image.n_bytes) == (120, 80, len(picture))
    assert image.upright
    assert not image.has_gps
    assert all(image.data == b"" for image in seen.images)
    assert repr(picture[:20])[2:-1] not in repr(server.requests)
    assert server.stats.n_images == 4
    assert server.stats.paid == {"q": 1}
    assert server.stats.paid_images == {image.digest: 1}


def test_one_port_speaks_every_wire_format():
    with LocalServer(encoder=ColourEncoder()) as server:
        root = server.base_url
        assert server.url_for("ollama") == f"{root}/ollama/v1"
        paths = (
            "/v1/models",
            "/v1beta/models",
            "/api/tags",
            "/ollama/v1/models",
            "/ollama/api/tags",
        )
        assert all(httpx2.get(root + path).status_code == 200 for path in paths)
        anthropic = httpx2.get(f"{root}/v1/models", headers={"anthropic-version": "2023-06-01"})
        assert anthropic.json()["data"][0]["type"] == "model"
        forms = {
            "/v1beta/x": {"error": {"code", "message", "status"}},
            "/v1/x": {"error": {"message", "type", "param", "code"}},
        }
        for path, form in forms.items():
            reply = httpx2.get(root + path)
            assert reply.status_code == 404
            assert set(reply.json()["error"]) == form["error"]


def test_a_server_of_one_kind_does_not_speak_others():
    with LocalServer("openai", encoder=ColourEncoder()) as server:
        root = f"http://127.0.0.1:{server.port}"
        assert httpx2.post(f"{root}/v1/messages", json={}).status_code == 404
        assert httpx2.get(f"{root}/api/tags").status_code == 404


def test_nonsense_is_a_bad_request():
    paths = ("/v1/chat/completions", "/v1/responses", "/v1/messages", "/api/chat",
             "/v1beta/models/m:generateContent", "/v1/decisions", "/v1beta/decisions",
             "/v1/systemone", "/v1/messages/count_tokens", "/v1/batches", "/v1/files",
             "/v1/messages/batches", "/v1beta/models/m:batchGenerateContent")  # fmt: skip
    bodies = [b"", b"{", b"[]", b"\xff", b'{"model": 1}', b'{"model": "m"}', b'{"messages": [1]}']
    with LocalServer(encoder=ColourEncoder()) as server, httpx2.Client() as client:
        for path in paths:
            for sent in bodies:
                reply = client.post(server.base_url + path, content=sent)
                assert reply.status_code in (400, 404), (path, sent)
                assert "error" in reply.json() or "detail" in reply.json()
        assert server.stats.in_flight == 0


def test_an_encoder_that_fails_is_a_server_error_and_the_server_lives_on():
    class Broken(ColourEncoder):
        def encode_prepared(self, pixels):
            raise RuntimeError("out of luck")

    with LocalServer("openai", encoder=Broken()) as server:
        for _ in range(2):
            url = f"{server.base_url}/chat/completions"
            reply = httpx2.post(url, json=body(contract([("q", png("red circle"))])))
            assert reply.status_code == 500
            assert "out of luck" in reply.json()["error"]["message"]


# -- the command ----------------------------------------------------------------------------------
@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.parametrize("signal_name", ["SIGINT", "SIGTERM"])
def test_the_command_prints_what_to_use_answers_and_ends_with_0(signal_name):
    command = [sys.executable, "-m", "showtell", "try-server", "--json", "--faults", "drop=0.1"]
    command[1:3] = ["-c", "from showtell.cli.main import run; run()"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ
    )
    try:
        line = process.stdout.readline()
        told = json.loads(line if line.strip() != "{" else line + _rest(process.stdout))
        assert told["models"]["openai"] == "openai:try"
        url = told["base_urls"]["openai"]
        assert httpx2.get(f"{url}/models").status_code == 200
    finally:
        process.send_signal(getattr(signal, signal_name))
        _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert "Traceback" not in err


def _rest(stream):
    lines = []
    while not lines or lines[-1] != "}\n":
        lines.append(stream.readline())
    return "".join(lines)


def test_the_command_refuses_unknown_faults_with_2():
    from typer.testing import CliRunner

    from showtell.cli.main import app

    result = CliRunner().invoke(app, ["try-server", "--faults", "oops=0.1"])
    assert result.exit_code == 2
    assert "Unknown fault 'oops'" in result.output


# -- speed ----------------------------------------------------------------------------------------
async def _hammer(port, requests, n_connections):
    """Send raw requests over keep-alive connections; give the statuses."""
    left = iter(requests)
    statuses = []

    async def connection():
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for request in left:
            writer.write(request)
            await writer.drain()
            head = await reader.readuntil(b"\r\n\r\n")
            statuses.append(int(head.split()[1]))
            lines = head.decode().casefold().split("\r\n")
            length = next(x for x in lines if x.startswith("content-length"))
            await reader.readexactly(int(length.split(":")[1]))
        writer.close()
        await writer.wait_closed()

    await asyncio.gather(*(connection() for _ in range(n_connections)))
    return statuses


def _small_requests(n):
    requests = []
    for number in range(n):
        parts = contract([(str(number), png(LABELS[number % 3], number % 50))])
        sent = json.dumps(body(parts)).encode()
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(sent)}\r\n"
        requests.append(head.encode() + b"\r\n" + sent)
    return requests


@pytest.mark.slow
def test_it_serves_2000_small_requests_over_64_connections():
    with LocalServer("openai", encoder=ColourEncoder()) as server:
        server.warm([png(label, n) for n in range(50) for label in LABELS])
        assert asyncio.run(_hammer(server.port, _small_requests(2000), 64)) == [200] * 2000
        assert server.stats.n_answered == 2000


@pytest.mark.slow
def test_it_holds_64_requests_at_once(monkeypatch):
    """No answer leaves before all requests have come."""

    async def sleep(engine, seconds):
        while engine.stats.max_in_flight < 64:
            await asyncio.sleep(0.01)

    monkeypatch.setattr(Engine, "_sleep", sleep)
    with LocalServer("openai", encoder=ColourEncoder(), latency=1000) as server:
        server.warm([png(label, n) for n in range(50) for label in LABELS])
        assert asyncio.run(_hammer(server.port, _small_requests(64), 64)) == [200] * 64
        assert server.stats.max_in_flight == 64


# -- on photos ------------------------------------------------------------------------------------
@pytest.mark.data
def test_accuracy_on_photos_rises_with_shots_only_because_it_looks(shared_datasets):
    """Anonymised labels: without demonstrations chance, then better with each shot."""
    import numpy as np

    import showtell as st
    from showtell.datasets import support_rows

    data = st.load_dataset(shared_datasets / "animals")
    train, test = data.train, data.test
    codes = np.asarray(test.codes)
    rows = [
        int(r) for label in range(len(data.labels)) for r in np.flatnonzero(codes == label)[:15]
    ]
    names = [f"class_{number:02d}" for number in range(len(data.labels))]
    system = "Labels:\n" + "\n".join(f"- {name}" for name in names) + "\nEnd of labels."
    images = list(test.images)

    def jpeg(path):
        return {"url": f"data:image/jpeg;base64,{_b64(path)}"}

    accuracy = {}
    with LocalServer("openai") as server:
        for n_shots in (0, 1, 5):
            content = []
            if n_shots:
                labels = np.asarray(train.codes)
                for row in support_rows(labels, n_shots, seed=0):
                    image = {"type": "image_url", "image_url": jpeg(train.images[row])}
                    content += [{"type": "text", "text": "Example:"}, image]
                    content.append({"type": "text", "text": f"Label: {names[labels[row]]}"})
            for row in rows:
                image = {"type": "image_url", "image_url": jpeg(images[row])}
                content += [{"type": "text", "text": f"Image {row}:"}, image]
                content.append({"type": "text", "text": f"End of image {row}."})
            sent = {
                "model": "try",
                "messages": [
                    {"role": "system", "content": system},
                    {"role": "user", "content": content},
                ],
                "response_format": {"type": "json_object"},
            }
            url = f"{server.base_url}/chat/completions"
            reply = httpx2.post(url, json=sent, timeout=120).json()
            assert "error" not in reply, reply
            answers = json.loads(reply["choices"][0]["message"]["content"])["answers"]
            right = [names[codes[int(a["id"])]] == a["label"] for a in answers]
            assert len(right) == len(rows)
            accuracy[n_shots] = sum(right) / len(right)
            if n_shots == 5:
                sure = [a["confidence"] for a, ok in zip(answers, right, strict=True) if ok]
                assert sum(sure) / len(sure) > 5
    assert accuracy[0] < 0.3
    assert accuracy[1] > 0.65
    assert accuracy[5] > accuracy[1] + 0.03
    assert accuracy[5] > 0.85


def _b64(path):
    import base64
    from pathlib import Path

    return base64.b64encode(Path(path).read_bytes()).decode()
