"""What lies beside the pictures decides neither where these go, nor what is written or said."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from typer.main import get_command

from showtell.cli.main import app
from showtell.cli.settings import _NOT_SETTINGS, FOUND_MAY_NAME, FOUND_MAY_SET
from showtell.mllm import registry

LABELS = "red circle,green triangle,blue square"
VERBS = get_command(app).commands
OPTIONS = {
    (verb, parameter.name): parameter
    for verb, command in VERBS.items()
    for parameter in command.params
    if parameter.param_type_name == "option" and parameter.name not in _NOT_SETTINGS
}
REFUSED = sorted({n for _, n in OPTIONS} - FOUND_MAY_SET - FOUND_MAY_NAME)
FIRST_VERB = {name: verb for verb, name in reversed(OPTIONS)}
KEY = "sk-planted-0123456789abcdef"


@pytest.fixture(autouse=True)
def own_folder(monkeypatch, tmp_path):
    """A folder for the user's own settings that is not the machine's, and no keys."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for name in os.environ:
        if re.search(r"_(API_KEY|BASE_URL)$", name):
            monkeypatch.delenv(name)
    folder = tmp_path / "config" / "showtell"
    folder.mkdir(parents=True)
    return folder


def settings_of(name, value="1"):
    Path("showtell.toml").write_text(f'{name.replace("_", "-")} = "{value}"\n')


def test_nothing_that_leads_away_writes_or_is_silent_is_among_what_a_found_file_may_set():
    assert set(REFUSED) >= {
        "model", "base_url", "prompt_dir", "encoder", "methods", "output", "report", "run",
        "copy_prompts", "quiet", "json", "photos", "max_cost", "max_requests", "reuse", "overwrite",
    }  # fmt: skip
    assert {name for _, name in OPTIONS} >= (FOUND_MAY_SET | FOUND_MAY_NAME)
    writes = {"What to write", "Asking a multimodal LLM"}
    of_these = {name for (_, name), one in OPTIONS.items() if one.rich_help_panel in writes}
    assert of_these - set(REFUSED) <= {"proba", "domain"}  # a column; what all labels are


@pytest.mark.parametrize("name", REFUSED)
def test_each_key_that_is_not_harmless_is_refused_with_the_line_that_would_allow_it(name, cli):
    verb = FIRST_VERB[name]
    settings_of(name)
    result = cli(verb)
    assert result.exit_code == 2
    key = {"start": "from", "end": "to", "send_as": "as"}.get(name, name.replace("_", "-"))
    assert f"It may not set {key}." in result.stderr
    assert result.stderr.endswith("--config showtell.toml\n")
    Path("showtell.toml").write_text(f'[{verb}]\n{name} = "1"\n')
    assert "It may not set" in cli(verb).stderr


@pytest.mark.parametrize("name", sorted(FOUND_MAY_SET | FOUND_MAY_NAME))
def test_what_says_how_to_tell_the_pictures_apart_is_taken(name, cli):
    Path("1").mkdir()
    settings_of(name)
    assert "It may not set" not in cli(FIRST_VERB[name]).stderr


@pytest.mark.parametrize("name", sorted(FOUND_MAY_NAME))
@pytest.mark.parametrize(
    "value", ["/etc/hostname", "../other", "~/x", "https://a.example/x", "out"]
)
def test_files_that_a_found_file_names_lie_in_the_same_folder(name, value, cli):
    Path("out").symlink_to("/etc")
    settings_of(name, value)
    result = cli(FIRST_VERB[name])
    assert (result.exit_code, "only files in this folder" in result.stderr) == (2, True)


def test_a_table_of_examples_is_not_taken_since_it_may_list_pictures_from_anywhere(cli, shapes):
    Path("list.csv").write_text("image,label\n/home/me/private.jpg,cat\n")
    settings_of("examples", "list.csv")
    assert "It may not set examples" in cli("classify", shapes).stderr
    settings_of("examples", "shapes")
    assert cli("classify", shapes).exit_code == 0


def test_a_found_file_writes_nothing(cli, shapes, tmp_path):
    settings_of("output", str(tmp_path / "victim.csv"))
    assert cli("classify", shapes, "-l", LABELS).exit_code == 2
    assert not (tmp_path / "victim.csv").exists()


def test_a_file_that_is_named_or_the_users_own_may_set_everything(cli, shapes, own_folder):
    (own_folder / "showtell.toml").write_text(f'output = "own.csv"\nlabels = "{LABELS}"\n')
    assert cli("classify", shapes).exit_code == 0
    assert Path("own.csv").exists()
    settings_of("output", "named.csv")
    assert cli("classify", shapes, "--config", "showtell.toml").exit_code == 0
    assert Path("named.csv").exists()
    env = {"SHOWTELL_CONFIG": "showtell.toml", "SHOWTELL_OUTPUT": "env.csv"}
    assert cli("classify", shapes, env=env).exit_code == 0
    assert Path("env.csv").exists()


def test_the_file_beside_the_pictures_lies_over_the_users_own(cli, shapes, own_folder):
    (own_folder / "showtell.toml").write_text('proba = true\nlabels = "own"\n')
    settings_of("labels", "found")
    result = cli("classify", shapes)
    assert "p_found" in result.stdout
    assert "sets labels." in result.stderr


def test_the_users_own_folder_is_no_folder_of_pictures(cli, own_folder, monkeypatch):
    (own_folder / "showtell.toml").write_text("quiet = true\n")
    monkeypatch.chdir(own_folder)
    assert "may not set" not in cli("classify").stderr


def odd_files():
    def pipe(path):
        os.mkfifo(path)

    def device(path):
        path.symlink_to("/dev/zero")

    def folder(path):
        path.mkdir()

    def text(content):
        return lambda path: path.write_bytes(content)

    deep = b"[" * 3000 + b"]" * 3000
    return {
        "pipe": pipe,
        "device": device,
        "folder": folder,
        "dangling": lambda path: path.symlink_to("gone"),
        "circle": lambda path: path.symlink_to(path.name),
        "deep": text(b"labels = " + deep),
        "deep tables": text(b"labels = " + b"{a=" * 3000),
        "long key": text(b"a." * 30_000 + b"a = 1"),
        "digits": text(b"seed = " + b"9" * 5000),
        "hexadecimal": text(b"seed = 0x" + b"f" * 50_000),
        "huge": text(b"#" * 30_000_000),
        "no text": text(b"labels = '\xff\xfe'"),
        "nul": text(b"\0" * 100),
        "date": text(b"seed = 2001-99-99"),
        "list of lists": text(b"labels = [[1], {a = 1}]"),
    }


@pytest.mark.parametrize("kind", odd_files())
@pytest.mark.parametrize("how", ["found", "named", "own"])
def test_a_settings_file_of_any_odd_kind_is_one_clear_line(kind, how, cli, shapes, own_folder):
    path = {"found": Path("showtell.toml"), "named": Path("a.toml")}.get(
        how, own_folder / "showtell.toml"
    )
    odd_files()[kind](path)
    more = ("--config", path) if how == "named" else ()
    result = cli("classify", shapes, "-l", LABELS, *more)
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert path.name in result.stderr


@pytest.mark.parametrize("kind", ["pipe", "device", "huge", "no text", "nul", "circle", "folder"])
def test_a_file_of_variables_of_any_odd_kind_ends_at_once(kind, cli):
    odd_files()[kind](Path(".env"))
    result = cli("models")
    if kind in ("folder", "circle", "nul"):  # as if there were none
        assert result.exit_code == 0
    else:
        assert (result.exit_code, result.stderr.count("\n"), ".env" in result.stderr) == (
            2,
            1,
            True,
        )


PROVIDERS = sorted(name for name, one in registry._PROVIDERS.items() if one.url_from)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_url_beside_the_pictures_never_gets_a_key_of_the_environment(provider, cli, monkeypatch):
    pytest.importorskip("pydantic_ai")
    one = registry._PROVIDERS[provider]
    for name in one.keys:
        monkeypatch.setenv(name, KEY)
    for url in one.url_from:
        Path(".env").write_text(
            f"{url}=http://127.0.0.1:9/v1\n{one.keys[0] if one.keys else 'A'}=k"
        )
        if not one.keys and not one.url:
            continue
        with pytest.raises(ValueError, match=r"in \.env would send .* to http://127.0.0.1:9/v1"):
            registry.load_mllm(f"{provider}:m")


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_url_beside_the_pictures_alone_is_never_taken(provider):
    for url in registry._PROVIDERS[provider].url_from:
        Path(".env").write_text(f"{url}=http://127.0.0.1:9/v1\n")
        with pytest.raises(ValueError, match=r"in \.env would send"):
            registry.load_mllm(f"{provider}:m")
        with pytest.raises(ValueError, match=r"in \.env would send"):
            registry.load_mllm(f"{provider}:m", api_key="k")
    infos = {one.name: one for one in registry.list_models()}
    assert not any(".env" in one.key_from for one in infos.values())


@pytest.mark.parametrize("provider", ["ollama", "vllm", "llamacpp", "lmstudio"])
def test_what_stays_on_this_machine_is_not_led_away_even_with_a_key(provider):
    one = registry._PROVIDERS[provider]
    names = [*one.keys, *one.url_from]
    Path(".env").write_text("".join(f"{name}=http://a.example/v1\n" for name in names))
    with pytest.raises(ValueError, match="stayed on this machine"):
        registry.load_mllm(f"{provider}:m")


def test_a_url_goes_with_the_key_of_the_same_file():
    pytest.importorskip("openai")
    Path(".env").write_text(f"OPENAI_BASE_URL=https://proxy.example/v1\nOPENAI_API_KEY={KEY}\n")
    model = registry.load_mllm("openai:m")
    assert (model.endpoint, model._key.value) == ("https://proxy.example/v1", KEY)


def test_the_environment_wins_over_the_file_under_whichever_name(monkeypatch):
    pytest.importorskip("google.genai")
    Path(".env").write_text("GOOGLE_API_KEY=of-the-file\n")
    monkeypatch.setenv("GEMINI_API_KEY", "of-the-environment")
    assert registry.load_mllm("google:m")._key.value == "of-the-environment"


@pytest.mark.parametrize(
    "url",
    [
        "ftp://user:hunter2PASS@127.0.0.1/v1",
        "user:hunter2PASS@127.0.0.1/v1",
        "http:/user:hunter2PASS@127.0.0.1/v1",
        "http://user:hunter2PASS@127.0.0.1:port/v1",
        "http://user:hunter2PASS/x@127.0.0.1/v1",
        "http://user:hunter2#PASS@127.0.0.1/v1",
        "http://user:hunter2PASS@127.0.0.1\\@b/v1",
        "http://127.0.0.1/v1 ?key=hunter2PASS",
    ],
)
def test_an_address_that_is_none_is_refused_without_its_password(url, cli, shapes):
    result = cli("classify", shapes, "-l", LABELS, "--model", "openai:m", "--base-url", url)
    assert (result.exit_code, "hunter2" in result.output) == (2, False)


@pytest.fixture
def server():
    pytest.importorskip("uvicorn", reason="local servers need the extra mllm")
    pytest.importorskip("openai")
    servers = pytest.importorskip("showtell.testing.servers")
    from showtell.testing import ColourEncoder

    with servers.LocalServer("openai", encoder=ColourEncoder(), rule="nearest") as running:
        yield running


ASKING = {
    "ask": ("shapes/red circle/0.png", "--question", "What is it?"),
    "classify": ("shapes", "-l", LABELS),
    "evaluate": ("parted", "-l", LABELS),
    "compare": ("parted", "--methods", "zero-shot,direct"),
    "explain": ("shapes/red circle/0.png", "-l", LABELS),
    "audit": ("parted", "--n", "12"),
    "describe": ("-l", LABELS),
    "optimize": ("parted", "--generations", "1"),
    "concepts": ("shape", "-l", LABELS),
    "judge": ("one.csv", "two.csv"),
    "distill": ("shapes", "-l", LABELS, "--accept-terms", "-o", "student"),
}


def test_the_host_is_named_in_every_verb_that_asks():
    asks = {verb for verb, name in OPTIONS if name == "reuse"} - {"estimate"}
    assert asks == set(ASKING)


@pytest.mark.parametrize("verb", ASKING)
def test_the_host_that_is_asked_is_named_before_anything_is_sent_there(
    verb, cli, shapes, parted, monkeypatch
):
    """Whatever is silent: the first thing that is said is where the pictures go."""
    pytest.importorskip("openai")
    from showtell.mllm.providers import vendors

    for name in ("one", "two"):
        Path(f"{name}.csv").write_text(f"image,answer\na.png,{name}\nb.png,{name}\n")
    asked = []

    async def ask(self, request):
        asked.append(request)
        raise RuntimeError("asked")

    monkeypatch.setattr(vendors.PydanticAIModel, "ask", ask)
    said = []
    monkeypatch.setattr(
        "showtell.cli.session.Session._say",
        lambda self, message: said.append((message, len(asked))),
    )
    called = "--teacher" if verb == "distill" else "--model"
    cli(verb, *ASKING[verb], called, "openai:m", "--base-url",
        "http://me:hunter2@127.0.0.1:9/v1", "--quiet")  # fmt: skip
    assert ("Asking openai:m at http://127.0.0.1:9/v1.", 0) in said, said


def test_an_answering_server_is_named_once_on_stderr_and_stdout_stays_clean(cli, shapes, server):
    result = cli("classify", shapes, "-l", LABELS, "--model", "openai:try", "--base-url",
                 server.base_url, "-q")  # fmt: skip
    assert result.exit_code == 0, result.output
    assert result.stderr == f"Asking openai:try at {server.base_url}.\n"
    assert "Asking" not in result.stdout


def test_a_key_that_was_found_beside_the_pictures_is_named_with_the_host(cli, shapes, monkeypatch):
    pytest.importorskip("openai")
    from showtell.mllm.providers import vendors

    async def ask(self, request):
        raise RuntimeError("asked")

    monkeypatch.setattr(vendors.PydanticAIModel, "ask", ask)
    Path(".env").write_text(f"OPENAI_API_KEY={KEY}\n")
    common = ("classify", shapes, "-l", LABELS, "--model", "openai:m", "-q")
    said = cli(*common).stderr
    assert "Asking openai:m at https://api.openai.com/v1, with OPENAI_API_KEY in .env.\n" in said
    assert KEY not in said
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    assert "Asking openai:m at https://api.openai.com/v1.\n" in cli(*common).stderr


ELSEWHERE = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "SSL_CERT_FILE", "HF_ENDPOINT", "HF_TOKEN",
             "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "SHOWTELL_CACHE_DIR", "SHOWTELL_CONFIG", "HOME",
             "PYTHONPATH", "OPENAI_ORG_ID", "OLLAMA_HOST", "NO_COLOR")  # fmt: skip


@pytest.mark.parametrize("value", ["1", "openai:m", "victim.csv", "http://127.0.0.1:9"])
def test_no_other_variable_of_a_file_beside_the_pictures_has_any_effect(value, cli, shapes):
    names = sorted({one.envvar for one in OPTIONS.values() if one.envvar} | {*ELSEWHERE})
    assert len(names) > 60
    Path(".env").write_text("".join(f"{name}={value}\nexport {name}='{value}'\n" for name in names))
    before, environment = sorted(map(str, Path().rglob("*"))), dict(os.environ)
    result = cli("classify", shapes, "-l", LABELS)
    listed = cli("models", "--json")
    again = cli("estimate", shapes, "-l", LABELS, "--model", "openai:gpt-4.1-mini", "--base-url",
                "http://127.0.0.1:9/v1")  # fmt: skip
    with_file = (result.stdout, result.stderr.count("\n"), listed.stdout, again.stdout)
    Path(".env").unlink()
    plain = cli("classify", shapes, "-l", LABELS)
    assert with_file == (
        plain.stdout, plain.stderr.count("\n"), cli("models", "--json").stdout,
        cli("estimate", shapes, "-l", LABELS, "--model", "openai:gpt-4.1-mini", "--base-url",
            "http://127.0.0.1:9/v1").stdout,
    )  # fmt: skip
    assert result.stderr
    assert [p for p in before if p != ".env"] == sorted(map(str, Path().rglob("*")))
    assert dict(os.environ) == environment


@pytest.mark.parametrize("name", ["model", "base_url", "output", "quiet", "encoder"])
def test_settings_of_folders_above_and_of_the_pictures_own_folder_are_not_looked_for(
    name, cli, shapes, monkeypatch
):
    settings_of(name)
    Path("showtell.toml").rename(shapes / "showtell.toml")
    assert cli("classify", shapes, "-l", LABELS).exit_code == 0
    (shapes / "showtell.toml").rename("showtell.toml")
    Path("below").mkdir()
    monkeypatch.chdir("below")
    assert cli("classify", "../shapes", "-l", LABELS).exit_code == 0


@pytest.mark.parametrize("name", ["model", "base_url", "output", "quiet"])
def test_a_link_to_settings_is_as_little_trusted_as_settings(name, cli, shapes, tmp_path):
    settings_of(name)
    Path("showtell.toml").rename(tmp_path / "elsewhere.toml")
    Path("showtell.toml").symlink_to(tmp_path / "elsewhere.toml")
    result = cli("classify", shapes, "-l", LABELS)
    assert (result.exit_code, "It may not set" in result.stderr) == (2, True)
