"""Answers of one server are never taken for those of another."""

from __future__ import annotations

import asyncio
import json

import pytest
from tests.mllm.fakes import ScriptedModel, answer, kinds, question

from showtell.mllm import AnswerCache, Client, Journal, Request, TextPart, Usage, load_mllm
from showtell.mllm.call.journal import FILE_NAME, JournalWarning
from showtell.mllm.endpoints import endpoint_of, is_same_place
from showtell.mllm.prices import price, price_of
from showtell.mllm.registry import place_of

pytest.importorskip("openai", reason="needs the extra openai")
servers = pytest.importorskip("showtell.testing.servers", reason="needs the extra mllm")
pytest.importorskip("uvicorn", reason="local servers need the extra mllm")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("http://localhost:8000/v1", "HTTP://LOCALHOST:8000/v1/"),
        ("http://example.org/v1", "http://example.org:80/v1"),
        ("https://example.org", "https://Example.org:443/"),
        ("http://[::1]:8000/v1", "http://[::1]:8000/v1/"),
    ],
)
def test_one_address_has_one_name_however_it_is_written(one, other):
    assert endpoint_of(one, None) == endpoint_of(other, None) != ""
    assert is_same_place(endpoint_of(one, None) + "#a1b2", other)


def test_addresses_that_differ_have_names_that_differ():
    urls = [
        "http://a.org/v1", "https://a.org/v1", "http://a.org/v2", "http://a.org:81/v1",
        "http://b.org/v1", "http://a.org/v1?version=2", "http://me:one@a.org/v1",
        "http://me:two@a.org/v1", "http://a.org/V1",
    ]  # fmt: skip
    names = [endpoint_of(url, None) for url in urls]
    assert len(set(names)) == len(urls)
    assert not any("one" in name or "two@" in name or "version" in name for name in names)


@pytest.mark.parametrize(
    ("model", "url"),
    [
        ("openai:gpt-4.1-mini", "https://api.openai.com/v1/"),
        ("openai-responses:gpt-4.1-mini", "https://API.openai.com:443/v1"),
        ("google:gemini-2.5-flash", "https://generativelanguage.googleapis.com/"),
        ("anthropic:claude-haiku-4-5", "https://api.anthropic.com"),
        ("openrouter:x/y", "https://openrouter.ai/api/v1"),
        ("vllm:llava", "http://localhost:8000/v1"),
    ],
)
def test_the_provider_s_own_address_is_none_however_it_is_written(model, url, monkeypatch):
    for name in ("OPENAI_BASE_URL", "GOOGLE_GEMINI_BASE_URL", "ANTHROPIC_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    assert place_of(model, url) == place_of(model) == ""
    assert place_of(model, "http://127.0.0.1:9/v1") == "http://127.0.0.1:9/v1"


def test_an_address_from_the_environment_counts_as_one_from_the_command_line(monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1/")
    assert place_of("openai:gpt-4.1-mini") == "http://127.0.0.1:9/v1"
    assert load_mllm("openai:gpt-4.1-mini", api_key="k").place == "http://127.0.0.1:9/v1"
    assert place_of("openai-compatible:x", "https://api.openai.com/v1") != ""


def test_a_request_without_an_endpoint_has_the_key_that_it_always_had():
    plain = Request(model="openai:x", system="", parts=(TextPart(text="a"),))
    there = Request(model="openai:x", system="", parts=(TextPart(text="a"),), endpoint="http://a")
    assert plain.key == "e084ddb4169323a97e4cd98c9f96d743"
    assert there.key != plain.key


class At(ScriptedModel):
    """A model that is somewhere."""

    def __init__(self, endpoint, says="cat", **more):
        super().__init__(lambda request, n: says, **more)
        self.endpoint = endpoint

    async def locate(self):
        return self.endpoint


ELSEWHERE = ["", "http://127.0.0.1:8000/v1", "http://127.0.0.1:8001/v1", "#00ff", "#11ee"]


def test_the_cache_gives_no_endpoint_the_answers_of_another(tmp_path):
    with AnswerCache(tmp_path / "answers.sqlite") as cache:
        for _ in range(2):
            for number, endpoint in enumerate(ELSEWHERE):
                model = At(endpoint, says=f"label {number}")
                outcomes = Client(model, cache=cache).run([question(1)])
                assert kinds(outcomes) == [f"label {number}"]
        assert len(model.asked) == 0
        assert cache.stats().n_rows == len(ELSEWHERE)


def test_a_journal_gives_no_endpoint_the_answers_of_another(tmp_path):
    for n_asked in (1, 0):
        for number, endpoint in enumerate(ELSEWHERE):
            model = At(endpoint, says=f"label {number}")
            with Journal(tmp_path) as journal:
                outcomes = Client(model, journal=journal).run([question(1)])
            assert kinds(outcomes) == [f"label {number}"]
            assert len(model.asked) == n_asked


def old_journal(folder, url=None):
    """A journal of before, and perhaps the file that says where the run was begun."""
    with Journal(folder) as journal:
        journal.answer(question(1), answer("of then"))
    path = folder / FILE_NAME
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    del rows[0]["endpoints"]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    if url is not None:
        request = {"verb": "compare", "ways": [{"base_url": url}]}
        (folder / "run.json").write_text(json.dumps({"request": request}))


@pytest.mark.parametrize("endpoint", ["", "#00ff"])
def test_an_old_journal_goes_on_at_the_provider_s_own_address(tmp_path, endpoint):
    old_journal(tmp_path)
    with Journal(tmp_path) as journal:
        assert not journal.has_endpoints
        model = At(endpoint)
        outcomes = Client(model, journal=journal).run([question(1), question(2)])
    assert kinds(outcomes) == ["of then", "cat"]
    with Journal(tmp_path) as journal:
        outcomes = Client(At(endpoint), journal=journal).run([question(1), question(2)])
    assert kinds(outcomes) == ["of then", "cat"]


def test_an_old_journal_whose_folder_says_where_it_was_begun_goes_on_there(tmp_path):
    old_journal(tmp_path, "http://127.0.0.1:8000/v1/")
    here = At("http://127.0.0.1:8000/v1")
    with AnswerCache(tmp_path / "answers.sqlite") as cache, Journal(tmp_path) as journal:
        outcomes = Client(here, journal=journal, cache=cache).run([question(1), question(2)])
        assert kinds(outcomes) == ["of then", "cat"]
        assert cache.stats().n_rows == 0  # its keys do not say where it was asked


def test_elsewhere_an_old_journal_is_asked_again_and_that_is_said(tmp_path):
    old_journal(tmp_path, "http://127.0.0.1:8000/v1/")
    with Journal(tmp_path) as journal:
        client = Client(At("http://127.0.0.1:9/v1"), journal=journal)
        with pytest.warns(JournalWarning, match="does not say which server .* asked again"):
            outcomes = client.run([question(1)])
    assert kinds(outcomes) == ["cat"]


def ask(name, **more):
    return Request(model=name, system="", parts=(TextPart(text="Is it a cat or a dog?"),), **more)


@pytest.fixture
def server():
    with servers.LocalServer("all") as running:
        yield running


@pytest.mark.parametrize("provider", ["openai", "google", "anthropic", "ollama"])
def test_answers_of_the_try_server_say_so(server, provider, tmp_path):
    mllm = load_mllm(f"{provider}:try", base_url=server.url_for(provider), api_key="k")
    with Journal(tmp_path) as journal:
        (got,) = Client(mllm, journal=journal).run([ask(mllm.name)])
        assert got.made_up
    with Journal(tmp_path) as journal:
        (again,) = Client(mllm, journal=journal).run([ask(mllm.name)])
        assert (again.made_up, again.from_cache, again.text) == (True, True, got.text)


class TakesItsPlace(At):
    """Another server, at the address where the try-server was."""

    def __init__(self, is_try, **more):
        super().__init__("http://127.0.0.1:8765/v1", **more)
        self.is_try = is_try

    async def is_try_server(self):
        return self.is_try


@pytest.mark.parametrize(
    ("is_try", "text"), [(True, "made up"), (None, "made up"), (False, "real")]
)
def test_what_was_made_up_is_not_used_for_a_server_that_took_its_place(tmp_path, is_try, text):
    with AnswerCache(tmp_path / "answers.sqlite") as cache:
        first = TakesItsPlace(True)
        first.script = lambda request, n: answer("made up", made_up=True)
        Client(first, cache=cache).run([question(1)])
        (got,) = Client(TakesItsPlace(is_try, says="real"), cache=cache).run([question(1)])
    assert got.text == text


def test_a_server_is_asked_whether_it_makes_things_up(server):
    async def look(url):
        mllm = load_mllm("openai:try", base_url=url, api_key="k")
        try:
            return await mllm.is_try_server()
        finally:
            await mllm.aclose()

    assert asyncio.run(look(server.url_for("openai"))) is True
    assert asyncio.run(look("http://127.0.0.1:9/v1")) is None


def test_weights_of_an_ollama_server_are_part_of_its_endpoint(server):
    async def look(name):
        mllm = load_mllm(f"ollama:{name}", base_url=server.url_for("ollama"))
        try:
            return mllm.place, await mllm.locate()
        finally:
            await mllm.aclose()

    place, endpoint = asyncio.run(look("try"))
    assert endpoint == f"{place}#{'0' * 64}"
    assert asyncio.run(look("try:latest"))[1] == endpoint
    assert asyncio.run(look("unheard-of"))[1] == place


def test_the_model_of_the_try_server_has_a_price_so_that_caps_can_be_tried():
    usage = Usage(input_tokens=1_000_000, output_tokens=1_000_000)
    for model in ("openai:try", "google:try", "anthropic:try"):
        assert price(model, usage) == 2
        assert price(model, usage, batch=True) == 1
        assert price_of(model).batch_factor == 0.5
    assert price("ollama:try", usage) == 0


@pytest.mark.parametrize("name", ["gpt-4o", "gpt-4.1-mini", "claude-haiku-4-5", "gemini-2.5-pro"])
def test_a_name_that_a_vendor_also_has_is_not_billed_at_the_vendor_s_price(name):
    usage = Usage(input_tokens=1_000_000, output_tokens=1_000_000)
    assert price(f"openai-compatible:{name}", usage) is None
    assert price(f"openai-something:{name}", usage) is None
    assert price_of(f"openai-compatible:{name}") is None
