"""Answers that are cut, odd or no answers at all: an error row of their own, and never a label."""

from __future__ import annotations

import http.server
import json
import re
import threading

import pytest
from tests.classify.scripted import picture
from tests.mllm.fakes import ScriptedModel, answer

from showtell import DirectClassifier, Model
from showtell.mllm.call.client import Client
from showtell.mllm.json_repair import json_values, without_open_reasoning
from showtell.mllm.structured import Question, ask_checked
from showtell.prompts import AnswerParser, reconcile

LABELS = ["cat", "dog"]
PARSER = AnswerParser(LABELS)

CUT = [
    "<think>\nA first guess would be dog. But the ears and",
    "<think>\nPerhaps {ID: dog}. But",
    '<think>\n{"answers": [{"id": "ID", "label": "dog"}]} would be hasty, since',
    "<Thinking>dog\ndog\n",
    "[THINK]It is a dog, or",
    "◁think▷dog, I would say, but",
    "<|channel|>analysis<|message|>The label is dog. Wait",
    "<think>a cat</think>Well. <think>Or a dog",
    "A first guess would be dog. But the ears and",
    "dog",
    "It is a dog",
    "ID: do",
    "ID: dog",
    '{"answers": [{"id": "ID", "label": "dog"',
    '{"answers": [{"id": "ID", "label": "dog", "confidence": 1',
    '{"id": "ID", "label": "do',
    "I cannot say whether this is a dog or",
    "Label: dog, because of its ears and its",
]


@pytest.mark.parametrize("text", CUT)
def test_nothing_is_read_out_of_what_was_cut_off(text):
    found = reconcile(text.replace("ID", "k3f9"), ["k3f9"], PARSER, cut=True)
    assert found.outcomes["k3f9"].status == "missing"


@pytest.mark.parametrize("text", CUT)
def test_an_image_whose_answers_are_all_cut_off_is_an_error_that_says_so(text):
    def script(request, n):
        (name,) = re.findall(
            r"Image (\w+):", " ".join(getattr(p, "text", "") for p in request.parts)
        )
        return answer(text.replace("ID", name), finish="length")

    model = Model(ScriptedModel(script), cache=None)
    clf = DirectClassifier(model, labels=LABELS, images_per_request=1).fit()
    (row,) = clf.classify([picture("red")]).rows()
    assert (row["status"], row["label"], row["reason"]) == ("error", None, "cut")
    assert "cut off at its longest" in row["error"]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ('{"answers": [{"id": "k3f9", "label": "dog"}, {"id": "zz', 1),
        ('{"label": "dog"} is my answer since the', 1),
        ("k3f9: dog\nother: ca", 1),
        ('<think>a cat?</think>{"id": "k3f9", "label": "dog"}\nThe ea', 1),
        ('{"id": "k3f9", "label": "cat"}\n<think>or a dog', 0),
    ],
)
def test_what_was_said_completely_before_the_cut_counts(text, code):
    found = reconcile(text, ["k3f9"], PARSER, cut=True)
    assert found.outcomes["k3f9"].code == code


@pytest.mark.parametrize("text", ["<think>dog", "a [THINK] b", "<think>a</think>b<think>c"])
def test_reasoning_that_was_not_cut_is_read_as_before(text):
    assert without_open_reasoning(text) != text
    closed = text.replace("[THINK]", "[THINK][/THINK]") + "</think>"
    assert without_open_reasoning(closed) == closed


def a_question(schema):
    return Question(
        system="", parts=(), schema=schema, check=lambda value: value, prompt_version="t-1"
    )


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        (None, "A dog with long ears and a"),
        ({"type": "object"}, '{"words": {"one": 1}, "more": ["tw'),
        ({"type": "object"}, '[{"one": 1}, {"tw'),
        ({"type": "object"}, '<think>{"words": ["draft"]}. No, bet'),
    ],
)
def test_a_value_that_was_cut_off_is_no_value(schema, text):
    client = Client(ScriptedModel(lambda request, n: answer(text, finish="length")))
    (found,) = ask_checked(client, [a_question(schema)], repairs=0)
    assert found.value is None
    assert found.reason.startswith("The answer was cut off at its longest.")


def test_a_value_that_is_whole_counts_though_what_follows_was_cut_off():
    text = '{"words": ["one"]} I chose this since'
    client = Client(ScriptedModel(lambda request, n: answer(text, finish="length")))
    (found,) = ask_checked(client, [a_question({"type": "object"})], repairs=0)
    assert found.value == {"words": ["one"]}


@pytest.mark.parametrize("bracket", ["[", "{", '{"a":', '[{"answers":['])
def test_brackets_nested_beyond_reason_are_an_answer_without_a_label(bracket):
    text = bracket * 200_000
    found = reconcile(text, ["k3f9"], PARSER)
    assert found.outcomes["k3f9"].status in ("missing", "out_of_set")
    assert json_values(text) == ([], False)


# -- over the wire --------------------------------------------------------------------------------


class Odd(http.server.BaseHTTPRequestHandler):
    """Answers what the test says; every second request gets a plain answer."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_GET(self):
        self.give(404, b"{}")

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        name = re.findall(r"Image (\w+):", json.dumps(body))[-1]
        text = json.dumps({"answers": [{"id": name, "label": "cat", "confidence": 9}]})
        self.server.n += 1
        made = self.server.odd(text) if self.server.n == 1 else self.server.plain(text)
        self.give(200, made if isinstance(made, bytes) else json.dumps(made).encode())

    def give(self, status, content):
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def chat(message, **more):
    choice = {"index": 0, "finish_reason": "stop", "message": message}
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
    return {"id": "c", "object": "chat.completion", "created": 1, "model": "m",
            "choices": [choice], "usage": usage, **more}  # fmt: skip


def openai_chat(text):
    return chat({"role": "assistant", "content": text})


def anthropic_message(text, *blocks):
    return {"id": "m", "type": "message", "role": "assistant", "model": "m",
            "content": [*blocks, {"type": "text", "text": text}], "stop_reason": "end_turn",
            "stop_sequence": None, "usage": {"input_tokens": 10, "output_tokens": 5}}  # fmt: skip


def google_content(text, *parts):
    return {"candidates": [{"index": 0, "finishReason": "STOP",
                            "content": {"role": "model", "parts": [*parts, {"text": text}]}}],
            "usageMetadata": {"promptTokenCount": 10, "candidatesTokenCount": 5}}  # fmt: skip


@pytest.fixture
def ask_odd(monkeypatch):
    """Ask about two images; the first answer is odd, the second is plain."""
    running = []

    def ask(provider, odd, plain, n=2):
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Odd)
        server.odd, server.plain, server.n = odd, plain, 0
        running.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}" + ("/v1" if provider == "openai" else "")
        model = Model(f"{provider}:m", base_url=url, cache=None, max_concurrency=1)
        clf = DirectClassifier(model, labels=LABELS, images_per_request=1).fit()
        rows = list(clf.classify([picture("red", i) for i in range(n)]).rows())
        return rows, server.n

    yield ask
    for server in running:
        server.shutdown()
        server.server_close()


UNKNOWN = [
    {"type": "container_upload_v9", "file_id": "f1"},
    {"type": "text"},
    {"type": "text", "text": None},
    {"type": "text", "text": ""},
    {"type": "thinking", "thinking": "hm", "signature": "s"},
    {"type": "holograms", "content": [{"deep": [1, 2, {"a": None}]}]},
]


@pytest.mark.parametrize("block", UNKNOWN)
def test_a_block_of_an_unknown_kind_or_without_text_is_passed_over(ask_odd, block):
    pytest.importorskip("anthropic", reason="needs the extra anthropic")
    rows, n_requests = ask_odd(
        "anthropic", lambda text: anthropic_message(text, block), anthropic_message
    )
    assert [row["label"] for row in rows] == ["cat", "cat"]
    assert n_requests == 2


@pytest.mark.parametrize("part", [{}, {"hologram": {"a": 1}}, {"text": ""}, {"thought": True}])
def test_a_part_of_an_unknown_kind_is_passed_over(ask_odd, part):
    pytest.importorskip("google.genai", reason="needs the extra google")
    rows, n_requests = ask_odd("google", lambda text: google_content(text, part), google_content)
    assert [row["label"] for row in rows] == ["cat", "cat"]
    assert n_requests == 2


DEEP = b"[" * 200_000 + b"]" * 200_000
ODD = {
    "deep": DEEP,
    "deep in the text": chat({"role": "assistant", "content": "[" * 200_000}),
    "deep beside it": b'{"choices": ' + DEEP + b"}",
    "null": b"null",
    "number": b"7",
    "list": b"[]",
    "text": b'"cat"',
    "empty object": b"{}",
    "choices null": {**openai_chat(""), "choices": None},
    "choices of texts": {**openai_chat(""), "choices": ["cat"]},
    "message null": {**openai_chat(""), "choices": [{"index": 0, "message": None}]},
    "content of numbers": chat({"role": "assistant", "content": 7}),
    "content of objects": chat({"role": "assistant", "content": {"a": [1]}}),
    "usage of texts": chat({"role": "assistant", "content": ""}, usage="many"),
    "id of objects": chat({"role": "assistant", "content": ""}, id={"a": 1}, model=["m"]),
    "not json": b"<html>Good morning</html>",
    "not text": b"\xff\xfe\x00\x01",
}


@pytest.mark.parametrize("name", ODD)
def test_one_odd_answer_is_one_row_and_the_others_get_theirs(ask_odd, name):
    pytest.importorskip("openai", reason="needs the extra openai")
    rows, _ = ask_odd("openai", lambda text: ODD[name], openai_chat)
    assert rows[1]["label"] == "cat"
    first = rows[0]
    assert (first["label"] == "cat") if first["status"] == "ok" else first["label"] is None
    assert "Traceback" not in (first["error"] or "")


@pytest.mark.filterwarnings("ignore:Failed to extract usage")  # pydantic-ai's own
@pytest.mark.parametrize("tokens", [10**30, -5, 1e300, "9", None])
def test_impossible_numbers_of_tokens_are_unknown_numbers(ask_odd, tokens):
    pytest.importorskip("openai", reason="needs the extra openai")
    usage = {"prompt_tokens": tokens, "completion_tokens": tokens, "total_tokens": tokens}

    def odd(text):
        return chat({"role": "assistant", "content": text}, usage=usage)

    rows, _ = ask_odd("openai", odd, openai_chat)
    assert [row["label"] for row in rows] == ["cat", "cat"]
    assert rows[0]["input_tokens"] in (None, 9, 10)  # what was sent again has those of its answer


def test_whatever_goes_wrong_while_one_answer_is_read_is_its_own_row(monkeypatch):
    from showtell.classify.asking import replies

    def spoiled(text, ids, parser, **more):
        if "dog" in text:
            raise AssertionError("a fault of ours")
        return reconcile(text, ids, parser, **more)

    monkeypatch.setattr(replies, "reconcile", spoiled)

    def script(request, n):
        text = " ".join(getattr(p, "text", "") for p in request.parts)
        says = "dog" if n == 2 else "cat"
        answers = [{"id": name, "label": says} for name in re.findall(r"Image (\w+):", text)]
        return answer(json.dumps({"answers": answers}))

    model = Model(ScriptedModel(script), cache=None, max_concurrency=1)
    clf = DirectClassifier(model, labels=LABELS, images_per_request=2).fit()
    rows = list(clf.classify([picture("red", i) for i in range(6)]).rows())
    assert [row["label"] for row in rows] == ["cat", "cat", None, None, "cat", "cat"]
    assert "cannot be read (AssertionError: a fault of ours)" in rows[2]["error"]
