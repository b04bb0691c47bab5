"""Limits as data, tokens by the published formulas, prices that are unknown rather than 0."""

from __future__ import annotations

import re
import subprocess
import sys
from decimal import Decimal

import pytest

from showtell.errors import InputError, MissingExtraError
from showtell.mllm import Capabilities, ImagePart, Request, TextPart, Usage, capabilities_of, prices
from showtell.mllm.capabilities import _rows, known_providers, split_model_name
from showtell.mllm.prices import price, price_of
from showtell.mllm.tokens import estimate_tokens, image_tokens, text_tokens


def test_every_row_has_a_source_and_a_date_and_known_fields():
    fields = set(Capabilities.__dataclass_fields__) | {"provider", "pattern"}
    for row in _rows():
        assert set(row) <= fields, row
        assert row["source"]
        assert re.fullmatch(r"\d{4}-\d{2}-\d{2}", row["date"])
        image_tokens(row.get("image_token_rule"), 640, 480)  # every rule can be computed


def test_a_later_row_overrides_only_the_fields_it_names():
    general, special = (
        capabilities_of("openai:try"),
        capabilities_of("openai:gpt-4.1-mini"),
    )
    assert special.image_token_rule == "patch:32:1536:1.62"
    assert general.image_token_rule == "tile:2048:768:512:85:170"
    assert special.max_images == general.max_images == 500
    assert capabilities_of("openai:o4-mini").image_token_rule == "patch:32:1536:1.72"
    assert not capabilities_of("openai:o4-mini").sampling


def test_an_unknown_provider_has_no_known_limits_and_names_no_source():
    known = capabilities_of("acme:model")
    assert known.max_images is None
    assert known.image_token_rule is None
    assert known.source == "unknown provider"


@pytest.mark.parametrize("name", ["gpt-4o", ":gpt", "openai:", "openai: ", ""])
def test_a_model_without_provider_or_name_is_refused_with_the_providers(name):
    with pytest.raises(InputError, match=r"'provider:name'.*Providers: openai, "):
        split_model_name(name)


def test_providers_are_listed_once_in_order():
    assert known_providers()[:3] == ("openai", "openai-decisions", "google")
    assert len(set(known_providers())) == len(known_providers())


def test_claude_takes_smaller_images_when_there_are_many():
    claude = capabilities_of("anthropic:claude-haiku-4-5")
    assert (claude.side_limit(20), claude.side_limit(21)) == (8000, 2000)
    assert capabilities_of("openai:gpt-4o").side_limit(400) is None


def test_enum_limits_count_labels_and_for_long_lists_characters():
    openai = capabilities_of("openai:gpt-4o")
    assert openai.fits_enum(tuple(f"{i}" for i in range(1000)))
    assert not openai.fits_enum(tuple(f"{i}" for i in range(1001)))
    assert openai.fits_enum(tuple("x" * 100 for _ in range(250)))
    assert not openai.fits_enum(tuple("x" * 100 for _ in range(251)))


# Worked examples of the providers' own pages, and by hand where they give none.
@pytest.mark.parametrize(
    ("model", "size", "tokens"),
    [
        ("openai:gpt-4o", (1024, 1024), 765),  # 768 x 768: 4 tiles
        ("openai:gpt-4o", (2048, 4096), 1105),  # 768 x 1536: 6 tiles
        ("openai:gpt-4o", (512, 512), 255),
        ("openai:gpt-4o", (1, 1), 255),
        ("openai:gpt-4o-mini", (512, 512), 8500),
        ("openai:gpt-4.1-mini", (1024, 1024), 1659),  # 1024 patches x 1.62
        ("openai:o4-mini", (512, 512), 441),  # ceil(256 x 1.72) = ceil(440.32)
        ("google:gemini-2.5-flash", (384, 384), 258),
        ("google:gemini-2.5-flash", (960, 540), 1548),  # crops of 360: 3 x 2
        ("google:gemini-2.5-flash", (4000, 3000), 6192),  # crops of 768: 6 x 4
        ("google:gemini-3.5-flash", (4000, 3000), 1120),
        ("anthropic:claude-haiku-4-5", (200, 200), 54),
        ("anthropic:claude-haiku-4-5", (1000, 1000), 1334),
        ("ollama:gemma3:4b", (4000, 3000), 256),
        ("ollama:llava:7b", (336, 336), 576),
    ],
)
def test_image_tokens_follow_the_published_formula(model, size, tokens):
    assert image_tokens(capabilities_of(model).image_token_rule, *size) == tokens


def test_large_images_at_anthropic_never_take_more_than_about_1600_tokens():
    rule = capabilities_of("anthropic:claude-haiku-4-5").image_token_rule
    assert 1500 < image_tokens(rule, 8000, 6000) <= 1600


def test_tokens_of_images_are_unknown_without_a_rule():
    assert image_tokens(None, 100, 100) is None
    part = ImagePart(data=b"", media_type="image/png", digest="0", width=9, height=9)
    request = Request(model="vllm:qwen", system="abcd", parts=(part,))
    estimate = estimate_tokens(request)
    assert (estimate.text, estimate.images, estimate.input) == (1, None, None)


@pytest.mark.parametrize("rule", ["unheard:1", "fixed", "fixed:x", "tile:1:2"])
def test_an_unknown_rule_is_refused_with_the_known_ones(rule):
    with pytest.raises(InputError, match="Allowed: tile, patch, crop, area, fixed"):
        image_tokens(rule, 10, 10)


def test_an_image_without_pixels_is_refused():
    with pytest.raises(InputError, match="at least 1 x 1"):
        image_tokens("fixed:1", 0, 5)


def test_a_request_counts_system_schema_texts_and_images_and_its_prefix():
    image = ImagePart(data=b"", media_type="image/png", digest="0", width=300, height=300)
    request = Request(
        model="google:gemini-2.5-flash",
        system="x" * 41,  # 11
        parts=(TextPart(text="abcd"), image, TextPart(text="abcde"), image),  # 1, 258, 2, 258
        schema={"a": 1},  # {"a":1}: 7 characters, 2
        n_prefix=2,
    )
    estimate = estimate_tokens(request)
    assert estimate.n_images == 2
    assert estimate.text == 11 + 2 + 1 + 2
    assert estimate.images == 516
    assert estimate.input == 532
    assert estimate.prefix == 11 + 2 + 1 + 258
    assert text_tokens("") == 0


def test_prices_are_per_request_and_exact():
    usage = Usage(input_tokens=300, cached_tokens=200, output_tokens=12)
    # gemini-2.5-flash: 0.30, 0.03 and 2.50 USD per million.
    expected = (100 * Decimal("0.30") + 200 * Decimal("0.03") + 12 * Decimal("2.50")) / 1_000_000
    assert price("google:gemini-2.5-flash", usage) == expected
    plain = Usage(input_tokens=300, output_tokens=12)
    expected = (300 * Decimal("0.30") + 12 * Decimal("2.50")) / 1_000_000
    assert price("google:gemini-2.5-flash", plain, batch=True) == expected / 2


def test_tiered_prices_depend_on_the_length_of_the_single_request():
    short, long = (Usage(input_tokens=n, output_tokens=0) for n in (100_000, 300_000))
    model = "google:gemini-2.5-pro"
    assert price(model, long) > 3 * price(model, short)


@pytest.mark.parametrize(
    "model", ["openai-compatible:gpt-4o", "google-decisions:gemini-decision-1", "acme:x"]
)
def test_an_unknown_price_is_none_and_never_zero(model):
    assert price(model, Usage(input_tokens=10, output_tokens=10)) is None
    assert price_of(model) is None


def test_an_unknown_number_of_tokens_has_no_price():
    assert price("openai:gpt-4o", Usage(input_tokens=10)) is None


def test_a_model_without_batch_price_is_unknown_in_a_batch():
    usage = Usage(input_tokens=10, output_tokens=10)
    assert price("openai-decisions:gpt-6-luna", usage) is not None
    assert price("openai-decisions:gpt-6-luna", usage, batch=True) is None


def test_models_on_ones_own_machine_cost_nothing_unless_they_are_in_a_cloud():
    usage = Usage(input_tokens=10, output_tokens=10)
    assert price("ollama:llava", usage) == 0
    assert price("vllm:anything", usage) == 0
    assert price("ollama:qwen3-vl:235b-cloud", usage) is None
    assert price_of("vllm:anything").input == 0


def test_list_prices_name_the_model_they_resolved_to():
    found = price_of("openai:gpt-5.6")
    assert found.model.startswith("gpt-5.6-")
    assert price_of("openai:gpt-4.1-mini").batch_factor == Decimal("0.5")
    assert price_of("google:gemini-2.5-flash").input == Decimal("0.30")


def test_without_the_price_table_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "genai_prices", None)
    prices._calculate.cache_clear()
    with pytest.raises(MissingExtraError, match=r"showtell\[mllm\]"):
        price("openai:gpt-4o", Usage(input_tokens=1, output_tokens=1))


def test_importing_the_room_loads_no_vendor_library():
    code = (
        "import sys, showtell.mllm; "
        "bad = {'pydantic_ai', 'pydantic', 'openai', 'google.genai', 'anthropic', 'genai_prices', "
        "'httpx2', 'starlette', 'sqlite3', 'torch', 'onnxruntime'} & set(sys.modules); "
        "sys.exit(', '.join(sorted(bad)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("model", "max_images", "rule", "sampling"),
    [
        ("openai:gpt-5.4-mini", 500, "patch:32:1536:1.2", False),
        ("openai:gpt-6-luna", 500, None, False),
        ("anthropic:claude-opus-4-8", 600, "area:750:2576:4784", False),
        ("anthropic:claude-sonnet-5", 600, "area:750:2576:4784", False),
        ("anthropic:claude-haiku-4-5", 100, "area:750:1568:1600", True),
        ("anthropic:claude-sonnet-4-5", 100, "area:750:1568:1600", True),
        ("google:gemini-3.5-flash", 3600, "fixed:1120", True),
    ],
)
def test_later_models_have_what_is_known_of_them_and_no_more(model, max_images, rule, sampling):
    found = capabilities_of(model)
    assert (found.max_images, found.image_token_rule, found.sampling) == (
        max_images,
        rule,
        sampling,
    )
