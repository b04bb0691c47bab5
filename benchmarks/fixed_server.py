"""A server that answers every question in the same way after the same time, and counts.

For measuring clients: it looks at no image, so that it takes next to nothing of a processor that
it shares with the client (the servers of `showtell try-server` look at every image). OpenAI's chat
format at ``/FORM/v1/chat/completions``; FORM says how the label is wrapped (`FORMS`). What it saw
is at ``/counts``; ``/reset`` sets all counts to zero.

    python benchmarks/fixed_server.py [--latency 0.3] [--label cat]

Prints its address and ends when standard input does. Needs the standard library alone.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import sys
import zlib
from dataclasses import dataclass, field

FORMS = ("plain", "showtell", "dspy")
"""The label and nothing else; one answer with the id of the image; DSPy's fields."""

_IMAGE = b"data:image/jpeg;base64,"
_ID = re.compile(rb'"Image (\w+):"')


@dataclass
class Counts:
    """What came in since the last reset."""

    n_requests: int = 0
    n_bytes: int = 0
    n_connections: int = 0
    in_flight: int = 0
    most_in_flight: int = 0
    n_without_one_image: int = 0
    images: set[int] = field(default_factory=set)
    """CRC-32 of the base64 text of every image."""

    def to_json(self) -> str:
        return json.dumps({**vars(self), "images": sorted(self.images)})


class Server:
    """Counts and answers."""

    def __init__(self, label: str, latency: float) -> None:
        self.label, self.latency = label, latency
        self.counts = Counts()

    def take(self, body: bytes) -> None:
        counts = self.counts
        counts.n_requests += 1
        counts.n_bytes += len(body)
        begin = body.find(_IMAGE)
        if begin < 0 or body.find(_IMAGE, begin + 1) >= 0:
            counts.n_without_one_image += 1
            return
        begin += len(_IMAGE)
        counts.images.add(zlib.crc32(body[begin : body.index(b'"', begin)]))

    def answer(self, form: str, body: bytes) -> bytes:
        text = self.label
        if form == "showtell":
            found = _ID.search(body)
            name = found.group(1).decode() if found else ""
            answer = {"id": name, "label": self.label, "confidence": 9}
            text = json.dumps({"n_images": 1, "answers": [answer]})
        elif form == "dspy":
            text = f"[[ ## label ## ]]\n{self.label}\n\n[[ ## completed ## ]]"
        message = {"role": "assistant", "content": text, "refusal": None}
        completion = {
            "id": f"chatcmpl-{self.counts.n_requests}",
            "object": "chat.completion",
            "created": 1_700_000_000,
            "model": "fixed",
            "choices": [
                {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}
            ],
            "usage": {"prompt_tokens": 900, "completion_tokens": 20, "total_tokens": 920},
        }
        return json.dumps(completion).encode()


class Connection(asyncio.Protocol):
    """One HTTP/1.1 connection that stays open; one request at a time, of known length."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.buffer = bytearray()
        self.wanted = -1  # bytes of the request that is coming in; -1 while its head is
        self.path = ""
        self.open = True
        self.counted = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.server.counts.n_connections += 1

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self.open = False
        self.leave()

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        if self.wanted < 0:
            end = self.buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            self.begin(bytes(self.buffer[:end]))
            del self.buffer[: end + 4]
        if len(self.buffer) >= self.wanted:
            body = bytes(self.buffer[: self.wanted])
            del self.buffer[: self.wanted]
            self.wanted = -1
            self.finish(body)

    def begin(self, head: bytes) -> None:
        """Read the head of a request, which is in flight from here on."""
        lines = head.decode("latin-1").split("\r\n")
        self.path = lines[0].split(" ")[1]
        fields = dict(line.lower().split(":", 1) for line in lines[1:])
        self.wanted = int(fields.get("content-length", 0))
        if "100-continue" in fields.get("expect", ""):
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if self.path.endswith("/chat/completions"):
            counts = self.server.counts
            self.counted = True
            counts.in_flight += 1
            counts.most_in_flight = max(counts.most_in_flight, counts.in_flight)

    def leave(self) -> None:
        if self.counted:
            self.counted = False
            self.server.counts.in_flight -= 1

    def finish(self, body: bytes) -> None:
        server = self.server
        if self.path.endswith("/chat/completions"):
            server.take(body)
            payload = server.answer(self.path.split("/")[1], body)
            asyncio.get_running_loop().call_later(server.latency, self.send, payload)
        elif self.path == "/counts":
            self.send(server.counts.to_json().encode())
        elif self.path == "/reset":
            server.counts = Counts(in_flight=server.counts.in_flight)
            self.send(b"{}")
        else:
            self.send(b"{}", status="404 Not Found")

    def send(self, payload: bytes, status: str = "200 OK") -> None:
        self.leave()
        if self.open:
            head = (
                f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\n"
                f"Content-Length: {len(payload)}\r\n\r\n"
            )
            self.transport.write(head.encode() + payload)


async def serve(label: str, latency: float) -> None:
    loop = asyncio.get_running_loop()
    server = Server(label, latency)
    listening = await loop.create_server(lambda: Connection(server), "127.0.0.1", 0, backlog=1024)
    port = listening.sockets[0].getsockname()[1]
    print(f"http://127.0.0.1:{port}", flush=True)
    async with listening:
        await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--label", default="cat")
    parser.add_argument("--latency", type=float, default=0.3, help="seconds")
    chosen = parser.parse_args()
    asyncio.run(serve(chosen.label, chosen.latency))
