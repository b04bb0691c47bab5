"""`showtell models`: which multimodal LLMs can be asked, and what each can do."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from showtell.cli import groups as g
from showtell.cli import options as o
from showtell.cli.output import print_csv, print_json, print_table
from showtell.cli.session import begin, is_terminal

if TYPE_CHECKING:
    from showtell.mllm import ModelInfo

EPILOG = """# Examples

showtell models

showtell models --configured --json

showtell models --copy-prompts prompts/
"""

_COLUMNS = (
    "model", "ready", "key from", "USD in", "USD out", "images", "labels", "schema", "logprobs",
    "decisions", "video", "audio", "batch",
)  # fmt: skip
_NUMBERS = (3, 4, 5, 6)


@dataclass(frozen=True, kw_only=True)
class ModelsOptions:
    """What `models` is told."""

    # fmt: off
    configured: Annotated[bool, o.option(
        "--configured", o.DATA,
        help="Only those that can be asked now: installed, with a key where one is needed.")
    ] = False
    copy_prompts: Annotated[Path | None, o.option(
        "--copy-prompts DIR", o.OUTPUT,
        help="Write the prompts into a folder, to be edited and given as --prompt-dir.")] = None
    json: o.Json = False
    # fmt: on


@g.grouped
def models(ctx: typer.Context, *, given: ModelsOptions) -> None:
    """List well-known multimodal LLMs: what is configured, what each can do and costs.

    Any other name of a provider can be given as well; NAME stands for whatever a server has.
    local-dir:PATH and hf-hub:ORG/NAME are checkpoints that run in this process, without a server.
    Prices are list prices in USD per million tokens; empty is unknown, not free. No server is
    asked, and no key is printed: only where it was found.
    """
    session = begin(ctx)
    folder = given.copy_prompts
    if folder is not None:
        from showtell.prompts import copy_prompts

        copy_prompts(folder)
        names = ", ".join(sorted(path.name for path in folder.iterdir()))
        session.summary(f"wrote {folder}: {names}. Use it with --prompt-dir {folder}")
        return
    from showtell.mllm import list_models

    found = [*list_models(), *_in_this_process()]
    if given.configured:
        found = [info for info in found if _ready(info)]
    if given.json:
        print_json({"models": [_as_json(info) for info in found]})
    elif is_terminal(sys.stdout):
        rows = [[_word(cell) for cell in _row(info)] for info in found]
        print_table(session, _COLUMNS, rows, right=_NUMBERS)
        lacking = sorted({info.extra for info in found if not info.installed})
        for extra in lacking:
            session.note(f'to install what some of them need: pip install "showtell[{extra}]"')
    else:
        print_csv(_COLUMNS, (_row(info) for info in found))
    if not found:
        session.note(
            "No model can be asked yet: set a key such as OPENAI_API_KEY, or start a server. "
            "`showtell try-server` is one that needs no key."
        )


def _in_this_process() -> list[ModelInfo]:
    """Describe the two ways to name a checkpoint that needs no server."""
    from decimal import Decimal
    from importlib.util import find_spec

    from showtell.mllm import Capabilities, ModelInfo, ModelPrice

    free = Decimal(0)
    can = Capabilities(
        max_images=1, logprobs=True, free=True, source="runs in this process, --method likelihood"
    )
    has_all = all(find_spec(name) is not None for name in ("torch", "transformers"))
    return [
        ModelInfo(
            name=name,
            installed=has_all,
            extra="local",
            configured=True,
            key_from="",
            capabilities=can,
            price=ModelPrice(model=name, input=free, cached=None, output=free, batch_factor=None),
        )
        for name in ("local-dir:PATH", "hf-hub:ORG/NAME")
    ]


def _ready(info: ModelInfo) -> bool:
    return info.installed and info.configured


def _row(info: ModelInfo) -> list[Any]:
    can, price = info.capabilities, info.price
    return [
        info.name,
        _ready(info),
        info.key_from,
        None if price is None else price.input,
        None if price is None else price.output,
        can.max_images,
        can.max_enum,
        can.structured_output,
        can.logprobs,
        can.decisions,
        can.video,
        can.audio,
        can.batch,
    ]


def _word(value: Any) -> str:
    """Write a value for a person."""
    if isinstance(value, bool):
        return "yes" if value else ""
    return "" if value is None else f"{value:,}" if isinstance(value, int) else str(value)


def _as_json(info: ModelInfo) -> dict[str, Any]:
    """All that is known: whether it is ready, capabilities with source and date, price."""
    price = None if info.price is None else asdict(info.price)
    return {
        "name": info.name,
        "ready": _ready(info),
        "installed": info.installed,
        "extra": info.extra,
        "configured": info.configured,
        "key_from": info.key_from,
        "usd_per_million_tokens": price,
        "capabilities": asdict(info.capabilities),
    }
