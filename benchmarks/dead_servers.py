"""How long 20 images take where nobody answers, and how soon Ctrl-C is heard.

Each kind of server that answers nobody is asked by `showtell classify` in a process of its own,
with nothing changed but `--timeout`. Says how long that took, how often the server was asked, and
how the run ended; and for a server that hangs, when the first Ctrl-C is answered and the second one
ends.

    python benchmarks/dead_servers.py [--timeout 5] [--only drip,refused] [--note TEXT]

Writes benchmarks/results/dead_servers.csv. Needs the extra `openai`. Kinds that are told to slow
down take a minute each.
"""

from __future__ import annotations

import argparse
import csv
import os
import platform
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PHOTOS = HERE.parent / "examples" / "photos"
N = 20
BODY = b'{"error": {"message": "not now"}}'


class Server:
    """Reads whole requests and does with each what it is told."""

    def __init__(self, act: Callable[[socket.socket], Any]) -> None:
        self.act, self.n = act, 0
        self.asked = threading.Event()
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}/v1"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            connection = self._listening.accept()[0]
            threading.Thread(target=self._handle, args=(connection,), daemon=True).start()

    def _handle(self, connection: socket.socket) -> None:
        try:
            while self._read(connection):
                self.n += 1
                self.asked.set()
                if not self.act(connection):
                    return
        except OSError:
            return
        finally:
            connection.close()

    @staticmethod
    def _read(connection: socket.socket) -> bool:
        data = b""
        while b"\r\n\r\n" not in data:
            more = connection.recv(1 << 16)
            if not more:
                return False
            data += more
        head, _, body = data.partition(b"\r\n\r\n")
        left = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0]) - len(body)
        while left > 0:
            left -= len(connection.recv(1 << 16))
        return True


def status(code: int, *headers: str) -> Callable[[socket.socket], bool]:
    lines = [f"HTTP/1.1 {code} X", "Content-Type: application/json",
             f"Content-Length: {len(BODY)}", *headers]  # fmt: skip

    def act(connection: socket.socket) -> bool:
        connection.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + BODY)
        return True

    return act


def reset(connection: socket.socket) -> bool:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    return False


def drip(connection: socket.socket) -> bool:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    while True:
        connection.sendall(b" ")
        time.sleep(0.1)


def endless(connection: socket.socket) -> bool:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")
    while True:
        connection.sendall(b" " * (1 << 20))


def hang(_connection: socket.socket) -> bool:
    time.sleep(3600)
    return False


KINDS: dict[str, Callable[[socket.socket], Any] | str] = {
    "refused": "http://127.0.0.1:9/v1",
    "unknown host": "http://nowhere.invalid/v1",
    "reset": reset,
    "503": status(503),
    "drip": drip,
    "endless": endless,
    "hang": hang,
    "429": status(429),
    "429 Retry-After: 0": status(429, "Retry-After: 0"),
    "429 Retry-After: -5": status(429, "Retry-After: -5"),
    "429 Retry-After: 1": status(429, "Retry-After: 1"),
    "429 Retry-After: 1e9": status(429, "Retry-After: 1000000000"),
    "429 Retry-After: soon": status(429, "Retry-After: soon"),
    "429 Retry-After: 1970": status(429, "Retry-After: Thu, 01 Jan 1970 00:00:00 GMT"),
    "429 Retry-After: 2100": status(429, "Retry-After: Fri, 01 Jan 2100 00:00:00 GMT"),
}


def command(url: str, timeout: float) -> list[str]:
    photos = sorted(map(str, PHOTOS.rglob("*.jpg")))[:N]
    return [sys.executable, "-m", "showtell", "classify", *photos, "--labels", "bird,mountain",
            "--model", "openai:gpt-4.1-mini", "--base-url", url, "--images-per-request", "1",
            "--no-reuse", "--timeout", str(timeout)]  # fmt: skip


def environment(home: str) -> dict[str, str]:
    return {**os.environ, "HOME": home, "OPENAI_API_KEY": "sk-none", "NO_PROXY": "*"}


def run(kind: str, timeout: float) -> dict[str, Any]:
    """Ask once, and say how that went."""
    act = KINDS[kind]
    server = None if isinstance(act, str) else Server(act)
    url = act if isinstance(act, str) else server.url  # type: ignore[union-attr]
    with tempfile.TemporaryDirectory() as home:
        began = time.monotonic()
        done = subprocess.run(
            command(url, timeout),
            capture_output=True,
            text=True,
            env=environment(home),
            check=False,
        )
        seconds = time.monotonic() - began
    rows = len(done.stdout.splitlines()) - 1
    assert rows == N, done.stderr
    return {
        "kind": kind,
        "seconds": round(seconds, 1),
        "requests": "" if server is None else server.n,
        "exit_code": done.returncode,
    }


def interrupted() -> dict[str, Any]:
    """Press Ctrl-C twice while a server hangs."""
    server = Server(hang)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have it ignored
    with tempfile.TemporaryDirectory() as home, subprocess.Popen(
        command(server.url, 120), stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env=environment(home),
    ) as process:  # fmt: skip
        assert process.stderr is not None
        server.asked.wait()
        time.sleep(1)
        pressed = time.monotonic()
        process.send_signal(signal.SIGINT)
        for line in process.stderr:
            if line.startswith("Stopping"):
                break
        heard = time.monotonic() - pressed
        pressed = time.monotonic()
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate()
        ended = time.monotonic() - pressed
        assert len(rest.splitlines()) == N + 1
    return {
        "kind": "Ctrl-C, heard; a second one, ended",
        "seconds": f"{heard:.2f}; {ended:.2f}",
        "requests": server.n,
        "exit_code": process.returncode,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--timeout", type=float, default=5.0)
    parser.add_argument("--only", help="kinds separated by commas")
    parser.add_argument("--note", default="")
    parser.add_argument("--no-csv", action="store_true")
    chosen = parser.parse_args()
    kinds = chosen.only.split(",") if chosen.only else list(KINDS)
    rows = []
    for kind in [*kinds, None]:
        row = interrupted() if kind is None else run(kind, chosen.timeout)
        print(row, flush=True)
        rows.append(
            row
            | {
                "images": N,
                "timeout": chosen.timeout,
                "machine": f"{platform.machine()}, {os.cpu_count()} CPUs",
                "load": round(os.getloadavg()[0], 1),
                "date": datetime.now(UTC).date().isoformat(),
                "note": chosen.note,
            }
        )
    if not chosen.no_csv:
        with (HERE / "results" / "dead_servers.csv").open("w", newline="") as stream:
            writer = csv.DictWriter(stream, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    main()
