"""What can go wrong: each fault has its form, its count, and comes as often as asked."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from types import SimpleNamespace

import pytest
from tests.servers.wire import LABELS, SCHEMA, SYSTEM, contract, openai_content, png

from showtell.errors import InputError, UnknownNameError
from showtell.testing import ColourEncoder
from showtell.testing.servers import Bias, Faults, LocalServer, Quota, engine
from showtell.testing.servers.counting import Meter

httpx2 = pytest.importorskip("httpx2", reason="needs the extra `mllm`")
openai = pytest.importorskip("openai", reason="needs the extra `openai`")


HTTP = httpx2.Client()  # one for all: making a client takes longer than a request


@pytest.fixture(scope="module", autouse=True)
def _close_connections():
    yield
    HTTP.close()


def body(queries, *, schema=SCHEMA, **more):
    made = {
        "model": "try",
        "messages": [
            {"role": "system", "content": SYSTEM},
            {"role": "user", "content": openai_content(contract(queries))},
        ],
        **more,
    }
    if schema is not None:
        form = {"name": "answer", "schema": schema}
        made["response_format"] = {"type": "json_schema", "json_schema": form}
    return made


def post(server, sent, **more):
    return HTTP.post(f"{server.base_url}/chat/completions", json=sent, **more)


def truth_server(**knobs):
    """A server that knows the label of each id: faults without looking at pictures."""
    return LocalServer("openai", encoder=ColourEncoder(), truth=by_number, **knobs)


def until(is_so, seconds=60):
    """Wait for what a server in another thread does in its own time; False if it does not."""
    end = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def by_number(query):
    return LABELS[int(query.id) % 3]


def many(n, first=0):
    picture = png("red circle")
    return [(str(number), picture) for number in range(first, first + n)]


def answers(reply):
    return json.loads(reply.json()["choices"][0]["message"]["content"])["answers"]


def test_a_rate_limit_tells_when_to_come_back():
    with truth_server(faults=Faults(rate_limit=1.0), retry_after=3) as server:
        reply = post(server, body(many(1)))
    assert reply.status_code == 429
    assert reply.headers["retry-after"] == "3"
    assert reply.headers["retry-after-ms"] == "3000"
    assert reply.json()["error"]["code"] == "rate_limit_exceeded"
    assert server.stats.faults == {"rate_limit": 1}
    assert not server.stats.paid


def test_server_errors_are_500_502_and_503():
    with truth_server(faults=Faults(server_error=1.0)) as server:
        codes = Counter(post(server, body(many(1, n))).status_code for n in range(30))
    assert set(codes) == {500, 502, 503}


def test_a_timeout_never_answers_and_ends_with_the_server():
    with truth_server(faults=Faults(timeout=1.0)) as server:
        with pytest.raises(httpx2.ReadTimeout):
            post(server, body(many(1)), timeout=httpx2.Timeout(60, read=0.3))
        assert until(lambda: server.stats.faults == {"timeout": 1})
    assert not server.stats.paid


def test_a_cut_answer_is_a_broken_connection():
    with truth_server(faults=Faults(cut=1.0)) as server:
        for n in range(5):
            with pytest.raises(httpx2.RemoteProtocolError):
                post(server, body(many(1, n)))
        with (
            openai.OpenAI(base_url=server.base_url, api_key="x", max_retries=0) as client,
            pytest.raises(openai.APIConnectionError),
        ):
            client.chat.completions.create(**body(many(1)))
    assert server.stats.faults == {"cut": 6}
    assert not server.stats.paid


def test_a_cut_stream_is_a_broken_connection():
    with (
        truth_server(faults=Faults(cut=1.0)) as server,
        openai.OpenAI(base_url=server.base_url, api_key="x", max_retries=0) as client,
        pytest.raises((openai.APIConnectionError, httpx2.RemoteProtocolError, ValueError)),
    ):
        list(client.chat.completions.create(**body(many(1), stream=True)))


def test_a_refusal_stands_in_its_own_field():
    with truth_server(faults=Faults(refuse=1.0)) as server:
        message = post(server, body(many(1))).json()["choices"][0]["message"]
        assert message["content"] is None
        assert "can't" in message["refusal"]
        responses = httpx2.post(
            f"{server.base_url}/responses", json={"model": "try", "input": "What?"}
        ).json()
        assert responses["output"][0]["content"][0]["type"] == "refusal"
        question = {"type": "predicate", "name": "a", "instructions": "?"}
        decision = httpx2.post(
            f"{server.base_url}/decisions",
            json={"model": "m", "input": "x", "questions": [question]},
        ).json()
        assert decision["answers"] == [{"type": "refusal", "name": "a"}]


def test_a_block_is_a_content_filter():
    with truth_server(faults=Faults(block=1.0)) as server:
        choice = post(server, body(many(1))).json()["choices"][0]
        responses = httpx2.post(
            f"{server.base_url}/responses", json={"model": "try", "input": "What?"}
        ).json()
    assert (choice["finish_reason"], choice["message"]["content"]) == ("content_filter", "")
    assert responses["status"] == "incomplete"
    assert responses["incomplete_details"] == {"reason": "content_filter"}


def test_an_empty_answer_has_no_text():
    with truth_server(faults=Faults(empty=1.0)) as server:
        choice = post(server, body(many(1))).json()["choices"][0]
    assert (choice["finish_reason"], choice["message"]["content"]) == ("stop", "")


def test_broken_json_comes_in_four_kinds():
    with truth_server(faults=Faults(broken_json=1.0)) as server:
        texts = [
            post(server, body(many(2, n))).json()["choices"][0]["message"]["content"]
            for n in range(40)
        ]
    fenced = [text for text in texts if text.startswith("```json")]
    prose = [text for text in texts if text.startswith("Sure!")]
    misnamed = [text for text in texts if "lable_" in text]
    cut = [text for text in texts if text[0] == "{" and text not in misnamed]
    assert all((fenced, prose, misnamed, cut))
    assert len(fenced) + len(prose) + len(misnamed) + len(cut) == 40
    for text in cut:
        with pytest.raises(ValueError, match=r"Expecting|Unterminated"):
            json.loads(text)


@pytest.mark.parametrize(
    ("fault", "check"),
    [
        ("drop", lambda ids, labels: ids == []),
        ("duplicate", lambda ids, labels: sorted(ids) == sorted(2 * ["0", "1", "2", "3"])),
        ("unknown", lambda ids, labels: not set(ids) & {"0", "1", "2", "3"} and len(ids) == 4),
        ("out_of_set", lambda ids, labels: not set(labels) & set(LABELS) and len(ids) == 4),
    ],
)
def test_each_fault_of_a_query_has_its_form(fault, check):
    with truth_server(faults=Faults(**{fault: 1.0})) as server:
        entries = answers(post(server, body(many(4))))
    assert check([e["id"] for e in entries], [e["label"] for e in entries])
    assert server.stats.faults == {fault: 4}
    assert not server.stats.delivered
    assert sum(server.stats.paid.values()) == 4


def test_a_swap_changes_places_but_never_joins_an_id_to_anothers_label():
    with truth_server(faults=Faults(swap=0.5)) as server:
        entries = answers(post(server, body(many(9))))
    assert [e["id"] for e in entries] != [str(n) for n in range(9)]
    assert {e["id"]: e["label"] for e in entries} == {str(n): LABELS[n % 3] for n in range(9)}


def test_a_conflict_gives_the_honest_label_first():
    with truth_server(faults=Faults(conflict=1.0)) as server:
        entries = answers(post(server, body(many(3))))
    assert [e["id"] for e in entries] == ["0", "0", "1", "1", "2", "2"]
    for honest, other in zip(entries[::2], entries[1::2], strict=True):
        assert honest["label"] == LABELS[int(honest["id"]) % 3]
        assert other["label"] != honest["label"]


def test_faults_come_as_often_as_asked_and_the_same_on_every_run():
    seen = []
    for _ in range(2):
        with (
            truth_server(faults=Faults(server_error=0.2), seed=5) as server,
            httpx2.Client() as client,
        ):
            url = f"{server.base_url}/chat/completions"
            seen.append([client.post(url, json=body(many(1, n))).status_code for n in range(250)])
    assert seen[0] == seen[1]
    failed = sum(code >= 500 for code in seen[0])
    assert 27 <= failed <= 75  # 50 expected, standard deviation 6.3


def test_a_second_try_has_a_new_chance():
    with truth_server(faults=Faults(server_error=0.5)) as server:
        sent = body(many(1))
        codes = {post(server, sent).status_code == 200 for _ in range(20)}
    assert codes == {True, False}
    assert [request.attempt for request in server.requests] == list(range(20))


def test_faults_of_decisions_are_missing_renamed_or_out_of_set_answers():
    question = {
        "type": "choice",
        "name": "0",
        "instructions": "?",
        "choices": [{"value": label} for label in LABELS],
    }
    url = openai_content([png("red circle")])[0]["image_url"]["url"]
    sent = {
        "model": "m",
        "input": [
            {
                "role": "user",
                "content": [
                    {"type": "input_text", "text": "Image 0:"},
                    {
                        "type": "input_image",
                        "image_url": url,
                    },
                ],
            }
        ],
        "questions": [question],
    }
    found = {}
    for fault in ("drop", "unknown", "out_of_set"):
        with truth_server(faults=Faults(**{fault: 1.0})) as server:
            reply = httpx2.post(f"{server.base_url}/decisions", json=sent)
            found[fault] = reply.json()["answers"]
    assert found["drop"] == []
    assert found["unknown"][0]["name"] != "0"
    assert found["out_of_set"][0]["choice"] not in LABELS


def test_a_client_that_leaves_early_is_not_billed():
    with truth_server(latency=1.5) as server:
        with pytest.raises(httpx2.ReadTimeout):
            post(server, body(many(1)), timeout=httpx2.Timeout(60, read=0.15))
        assert until(lambda: server.stats.n_abandoned == 1)
        assert not server.stats.paid
        assert post(server, body(many(1))).status_code == 200
        assert server.stats.paid == {"0": 1}


def test_latency_and_jitter_delay_the_answer(monkeypatch):
    asked = []

    async def sleep(self, seconds):
        asked.append(seconds)

    monkeypatch.setattr(engine.Engine, "_sleep", sleep)
    with truth_server(latency=1000, jitter=1000) as server:
        for n in range(4):
            post(server, body(many(1, n)))
    assert len(asked) == 4
    assert 1000 - 600 < min(asked) < max(asked) <= 2000  # less what the answer itself took
    assert max(asked) - min(asked) > 50


def test_in_flight_requests_are_counted_at_their_peak():
    async def go(url):
        async with httpx2.AsyncClient(limits=httpx2.Limits(max_connections=64)) as client:
            sent = [client.post(url, json=body(many(1, n)), timeout=300) for n in range(64)]
            return await asyncio.gather(*sent)

    class Waiting(ColourEncoder):
        """Looks at nothing before all have come."""

        def encode_prepared(self, pixels):
            until(lambda: server.stats.max_in_flight == 64)
            return super().encode_prepared(pixels)

    with LocalServer("openai", encoder=Waiting()) as server:
        replies = asyncio.run(go(f"{server.base_url}/chat/completions"))
        assert all(reply.status_code == 200 for reply in replies)
        assert server.stats.max_in_flight == 64
        assert server.stats.in_flight == 0
        assert server.stats.paid == {str(n): 1 for n in range(64)}


def test_the_quota_admits_exactly_as_many_requests_as_it_says():
    with truth_server(quota=Quota(rpm=5, window=3000.0)) as server:
        replies = [post(server, body(many(1, n))) for n in range(8)]
    assert [reply.status_code for reply in replies] == [200] * 5 + [429] * 3
    assert 2000 <= float(replies[-1].headers["retry-after"]) <= 3000
    assert replies[0].headers["x-ratelimit-limit-requests"] == "5"
    assert replies[-1].headers["x-ratelimit-remaining-requests"] == "0"
    assert server.stats.faults["quota"] == 3


def test_the_quota_of_tokens_counts_input_and_output():
    with truth_server(quota=Quota(tpm=1000, window=3000.0)) as server:
        codes = []
        while 429 not in codes:
            codes.append(post(server, body(many(1, len(codes)))).status_code)
        used = server.stats.input_tokens + server.stats.output_tokens
        one = used / (len(codes) - 1)
    assert used <= 1000 + one
    assert used > 1000 - 2 * one


def test_the_quota_slides(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(engine, "time", SimpleNamespace(monotonic=lambda: now[0]))
    codes = []
    with truth_server(quota=Quota(rpm=2, window=2.0)) as server:
        for now[0] in (1000.0, 1000.5, 1001.9, 1002.1, 1002.2, 1002.6):
            codes.append(post(server, body(many(1))).status_code)
    assert codes == [200, 200, 429, 200, 429, 200]


def test_a_request_larger_than_the_whole_quota_passes_an_empty_window():
    meter = Meter(Quota(tpm=100))
    assert meter.admit(0.0, 500) is None
    assert meter.admit(1.0, 1) == 59.0


def test_too_many_images_are_a_bad_request():
    with truth_server(max_images=3) as server:
        assert post(server, body(many(3))).status_code == 200
        reply = post(server, body(many(4)))
    assert reply.status_code == 400
    assert "at most 3" in reply.json()["error"]["message"]


def test_specifications_of_faults_are_read():
    faults = Faults.parse("429=0.05,500=0.05, broken-json=0.03,broken_json=0.01,drop=1")
    assert faults == Faults(rate_limit=0.05, server_error=0.05, broken_json=0.04, drop=1.0)
    assert Faults.parse("") == Faults()


@pytest.mark.parametrize("spec", ["drop", "drop=", "drop=2", "drop=-0.1", "drop=x", "=0.1=2"])
def test_bad_specifications_of_faults_are_refused(spec):
    with pytest.raises(InputError, match=r"429=0\.05"):
        Faults.parse(spec)


def test_unknown_faults_are_refused_with_the_list():
    with pytest.raises(UnknownNameError, match="broken-json"):
        Faults.parse("broken=0.1")


def test_faults_that_exclude_each_other_cannot_add_up_to_more_than_1():
    with pytest.raises(InputError, match="add up"):
        Faults(rate_limit=0.6, cut=0.6)
    Faults(rate_limit=0.6, drop=0.6)


@pytest.mark.parametrize("bad", [{"rpm": 0}, {"tpm": -1}, {"window": 0}])
def test_impossible_quotas_are_refused(bad):
    with pytest.raises(InputError):
        Quota(**bad)


def test_specifications_of_prejudices_are_read():
    assert Bias.parse("example=0.05, first=0.1") == Bias(example=0.05, first=0.1)
    assert Bias.parse("") == Bias()
    with pytest.raises(UnknownNameError, match="majority"):
        Bias.parse("order=0.5")
    with pytest.raises(InputError, match=r"example=0\.05"):
        Bias.parse("example=2")


def test_another_process_can_read_the_counts():
    with truth_server() as server:
        post(server, body(many(2)))
        told = HTTP.get(f"http://127.0.0.1:{server.port}/_showtell/stats").json()
    assert told["n_answered"] == 1
    assert told["paid"] == {"0": 1, "1": 1}


def test_ten_thousand_queries_with_every_fault_keep_their_books(tmp_path):
    """What a careful client joins by id is true; what it lacks, the server knows it spoiled."""
    faults = Faults.parse("all=0.2")
    got, asked = {}, {}

    async def go(url):
        limits = httpx2.Limits(max_connections=64)
        async with httpx2.AsyncClient(limits=limits, timeout=15.0) as client:
            gate = asyncio.Semaphore(64)

            async def one(first):
                async with gate:
                    try:
                        reply = await client.post(url, content=sent[first])
                        entries = json.loads(reply.json()["choices"][0]["message"]["content"])
                        for entry in entries["answers"]:
                            got.setdefault(entry["id"], []).append(entry["label"])
                    except (httpx2.HTTPError, ValueError, KeyError, TypeError):
                        asked[first] = "failed"

            await asyncio.gather(*(one(first) for first in sent))

    sent = {first: json.dumps(body(many(100, first))).encode() for first in range(0, 10_000, 100)}
    with truth_server(faults=faults, seed=3) as server:
        asyncio.run(go(f"{server.base_url}/chat/completions"))
        stats, log = server.stats, server.requests
    assert len(log) == 100
    spoiled = {name: fault for request in log for name, fault in request.spoiled.items()}
    for name, labels in got.items():
        if name not in spoiled and name.isdigit():
            assert labels == [LABELS[int(name) % 3]]
    by_fault = Counter(spoiled.values())
    assert {"drop", "duplicate", "conflict", "swap", "unknown", "out_of_set"} <= set(by_fault)
    for fault, count in by_fault.items():
        if fault not in ("refuse", "block"):
            assert stats.faults[fault] == count
    unanswered = {str(n) for n in range(10_000)} - set(got)
    lost = {
        name for request in log if request.status != 200 or request.fault for name in request.ids
    }
    assert unanswered <= lost | set(spoiled)
