"""Names to models: keys, servers, Modelfiles, and what is said when something is missing."""

from __future__ import annotations

import importlib
import sys

import pytest
from tests.mllm.fakes import ScriptedModel

from showtell.errors import (
    DataError,
    InputError,
    MissingExtraError,
    MLLMAuthError,
    UnknownNameError,
)
from showtell.mllm import registry
from showtell.mllm.modelfile import ModelfileWarning, read_modelfile
from showtell.mllm.registry import _PROVIDERS, find_key, list_models, load_mllm

pytest.importorskip("pydantic_ai")


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch, tmp_path):
    """No key and no URL of the machine's owner, and an empty folder."""
    for provider in _PROVIDERS.values():
        for name in (*provider.keys, *provider.url_from):
            monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("provider", "variable"),
    [
        ("openai", "OPENAI_API_KEY"),
        ("google", "GOOGLE_API_KEY or GEMINI_API_KEY"),
        ("anthropic", "ANTHROPIC_API_KEY"),
        ("openrouter", "OPENROUTER_API_KEY"),
    ],
)
def test_a_missing_key_names_the_variable_and_the_way_without(provider, variable):
    with pytest.raises(MLLMAuthError) as error:
        load_mllm(f"{provider}:name")
    assert str(error.value) == (
        f"No key for provider '{provider}'. Set {variable} or pass `api_key=`. To try without a "
        "key: `showtell try-server`."
    )


def test_keys_come_from_the_argument_then_the_environment_then_the_file(monkeypatch, tmp_path):
    (tmp_path / ".env").write_text('export OPENAI_API_KEY="from-file"  # mine\nOTHER=1\n')
    assert load_mllm("openai:m")._key.value == "from-file"
    assert find_key("openai") == ("from-file", "OPENAI_API_KEY in .env")
    monkeypatch.setenv("OPENAI_API_KEY", " from-environment\n")
    assert load_mllm("openai:m")._key.value == "from-environment"
    assert find_key("openai") == ("from-environment", "OPENAI_API_KEY")
    assert load_mllm("openai:m", api_key="given")._key.value == "given"
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(MLLMAuthError):
        load_mllm("openai:m", env_file=None)
    monkeypatch.setenv("GEMINI_API_KEY", "old-name")
    assert load_mllm("google:m")._key.value == "old-name"


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("A=b", "b"),
        ("A = b c ", "b c"),
        ("export A='b # c' # d", "b # c"),
        ('A="b"', "b"),
        ("A=b#c", "b#c"),
        ("A=b #c", "b"),
        ("A=", ""),
        ("\ufeffA=b", "b"),
    ],
)
def test_lines_of_an_env_file_are_read_as_a_shell_reads_them(tmp_path, line, value):
    path = tmp_path / "some.env"
    path.write_text(f"# comment\n\nnonsense\n{line}\n" if line[0] != "\ufeff" else f"{line}\n")
    assert registry._read_env_file(path) == {"A": value}
    assert registry._read_env_file(tmp_path / "absent") == {}


@pytest.mark.parametrize("key", ["käse", "two words\nlines", "tab\tbed"])
def test_a_key_that_cannot_be_one_is_refused_without_showing_it(key):
    with pytest.raises(MLLMAuthError, match="copy it again") as error:
        load_mllm("openai:m", api_key=key)
    assert key not in str(error.value)


def test_servers_of_ones_own_need_no_key_and_have_their_usual_ports():
    assert load_mllm("ollama:llava").base_url == "http://localhost:11434/v1"
    assert load_mllm("vllm:m").base_url == "http://localhost:8000/v1"
    assert load_mllm("llamacpp:m").base_url == "http://localhost:8080/v1"
    assert load_mllm("lmstudio:m").base_url == "http://localhost:1234/v1"
    assert load_mllm("openrouter:m", api_key="k").base_url == "https://openrouter.ai/api/v1"


def test_a_base_url_takes_the_place_of_a_key_and_of_the_vendor(monkeypatch):
    model = load_mllm("openai:try", base_url="http://127.0.0.1:1/v1/")
    assert (model.base_url, model._key.value) == ("http://127.0.0.1:1/v1", None)
    monkeypatch.setenv("OLLAMA_BASE_URL", "http://gpu-box:11434/v1")
    assert load_mllm("ollama:m").base_url == "http://gpu-box:11434/v1"
    for name in ("openai-compatible:m", "systemone:m"):
        with pytest.raises(InputError, match="say where with `base_url`"):
            load_mllm(name)
    with pytest.raises(InputError, match="http:// or https://"):
        load_mllm("openai:m", base_url="localhost:8000")


def test_unknown_providers_are_refused_with_the_list():
    with pytest.raises(UnknownNameError, match=r"Close: 'openai'.*Allowed: openai, "):
        load_mllm("openia:gpt")


def test_objects_are_checked_and_keep_their_own_server():
    model = ScriptedModel()
    assert load_mllm(model) is model
    with pytest.raises(InputError, match="leave `base_url`"):
        load_mllm(model, base_url="http://x")
    with pytest.raises(InputError, match="int lacks name"):
        load_mllm(3)
    with pytest.raises(InputError, match="'provider:name'"):
        load_mllm(ScriptedModel(name="nameless"))


@pytest.mark.parametrize(
    ("package", "model", "extra"),
    [
        ("pydantic_ai", "openai:m", "openai"),
        ("openai", "openai:m", "openai"),
        ("anthropic", "anthropic:m", "anthropic"),
        ("google.genai", "google:m", "google"),
    ],
)
def test_a_missing_package_says_what_to_install(monkeypatch, package, model, extra):
    real = importlib.import_module

    def without(name, *args):
        if name == package:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name.split(".")[0])
        return real(name, *args)

    monkeypatch.setattr(importlib, "import_module", without)
    with pytest.raises(MissingExtraError, match=rf'pip install "showtell\[{extra}\]"'):
        load_mllm(model, api_key="k")


def test_the_list_says_what_is_configured_and_what_each_can_do(monkeypatch, tmp_path):
    rows = {row.name: row for row in list_models()}
    assert not rows["openai:gpt-4.1-mini"].configured
    assert rows["openai:gpt-4.1-mini"].installed
    assert rows["openai:gpt-4.1-mini"].price.batch_factor is not None
    assert rows["openai:gpt-4.1-mini"].capabilities.max_images == 500
    assert rows["openai-decisions:gpt-6-luna"].capabilities.decisions
    assert rows["ollama:llava"].configured
    assert not rows["openai-compatible:NAME"].configured
    (tmp_path / ".env").write_text("OPENAI_API_KEY=k\n")
    monkeypatch.setenv("VLLM_BASE_URL", "http://gpu:8000/v1")
    rows = {row.name: row for row in list_models()}
    assert rows["openai:gpt-4.1-mini"].key_from == "OPENAI_API_KEY in .env"
    assert rows["vllm:NAME"].key_from == "VLLM_BASE_URL"
    assert "k" not in repr(rows["openai:gpt-4.1-mini"]).split("key_from")[0].split("name=")[0]


def test_listing_models_needs_no_vendor_library(monkeypatch):
    for name in ("pydantic_ai", "openai", "google.genai", "anthropic"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr(registry.importlib.util, "find_spec", lambda name: None)
    rows = list_models()
    assert not any(row.installed for row in rows)


MODELFILE = '''# a comment
FROM llava:7b

PARAMETER temperature 0.1
PARAMETER seed 42
PARAMETER num_predict -1
PARAMETER stop "<end>"
PARAMETER stop "</s>"
SYSTEM """You are a botanist.

Answer with one word."""
LICENSE """
anything
"""
'''


def test_a_modelfile_is_read_as_ollama_reads_it(tmp_path):
    path = tmp_path / "Modelfile"
    path.write_text(MODELFILE)
    found = read_modelfile(path)
    assert found.model == "llava:7b"
    assert found.system == "You are a botanist.\n\nAnswer with one word."
    assert found.settings == {
        "temperature": 0.1,
        "seed": 42,
        "stop_sequences": ["<end>", "</s>"],
    }


def test_another_modelfile_is_another_model(tmp_path):
    path = tmp_path / "Modelfile.flowers"
    path.write_text(MODELFILE)
    first = load_mllm(str(path))
    assert first.name.startswith("ollama:llava:7b#")
    assert first.model == "llava:7b"
    path.write_text(MODELFILE.replace("botanist", "zoologist"))
    assert load_mllm(f"modelfile:{path}").name != first.name
    named = load_mllm("ollama:llava:13b", modelfile=path)
    assert named.model == "llava:13b"
    assert named._system.startswith("You are a zoologist")
    with pytest.raises(InputError, match="Two Modelfiles"):
        load_mllm(str(path), modelfile=path)


def test_what_a_request_cannot_carry_is_warned_of(tmp_path):
    path = tmp_path / "Modelfile"
    path.write_text("FROM llava\nPARAMETER num_ctx 8192\nTEMPLATE {{ .Prompt }}\n")
    with pytest.warns(ModelfileWarning, match=r"PARAMETER num_ctx, TEMPLATE.*ollama create"):
        read_modelfile(path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("SYSTEM hello\n", "has no FROM line"),
        ("FROM llava\nhello world\n", "line 2: 'hello world' is no instruction"),
        ("FROM llava\nPARAMETER temperature warm\n", "line 2: PARAMETER temperature must be"),
        ("FROM llava\nPARAMETER seed\n", "PARAMETER seed has no value"),
        ('FROM llava\nSYSTEM """never closed\n', "is not closed"),
        (b"\xff\xfe\x00FROM", "not UTF-8"),
    ],
)
def test_a_bad_modelfile_is_refused_with_its_line(tmp_path, text, said):
    path = tmp_path / "Modelfile"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DataError, match=said):
        read_modelfile(path)
    with pytest.raises(DataError, match="There is no Modelfile"):
        read_modelfile(tmp_path / "absent")


def test_a_modelfile_is_known_by_the_model_it_builds_on(tmp_path):
    from showtell.mllm.model import Model
    from showtell.mllm.registry import model_id

    path = tmp_path / "Modelfile"
    path.write_text("FROM llava:7b\nSYSTEM Look closely.\n")
    name = model_id(str(path))
    assert name.startswith("ollama:llava:7b#")
    assert name == load_mllm(str(path)).name
    access = Model(model=str(path))
    assert (access.name, access.capabilities.free) == (name, True)
