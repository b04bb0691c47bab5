"""One self-contained HTML page: a template filled, put in place whole, allowed to fetch nothing."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from showtell import __version__, words
from showtell._clean import cleaned, json_text
from showtell.errors import InputError
from showtell.records.files import whole_file

if TYPE_CHECKING:
    from jinja2 import Environment

_KIT = "showtell.pages"


def check_page(path: str | os.PathLike[str], thumbnails_mb: float) -> None:
    """Refuse a folder and negative megabytes, before pictures are opened."""
    if Path(path).is_dir():
        raise InputError(f"{os.fspath(path)!r} is a folder; give the name of an .html file.")
    if not thumbnails_mb >= 0:
        raise InputError(f"`thumbnails_mb` must be 0 or more megabytes, got {thumbnails_mb!r}.")


def write_page(
    path: str | os.PathLike[str],
    room: str,
    template: str,
    *,
    title: str,
    subtitle: str,
    styles: Sequence[str] = (),
    scripts: Sequence[str] = (),
    data: Any = None,
    **values: Any,
) -> Path:
    """Fill a template that extends ``base.html.j2`` and put the file in place, whole or not at all.

    The page carries its style sheets, its scripts (behind ``kit.js``) and their `data`; `room` is
    the package whose folder ``templates`` they lie in. Its Content-Security-Policy allows exactly
    these and embedded pictures, so that it makes no request. `values` are what the template
    shows: everything is escaped, and an unknown name is an error.
    """
    own = [asset(_KIT, name) for name in ("colours.css", "charts.css", "style.css")]
    style = Markup("\n").join([*own, *(asset(room, name) for name in styles)])
    script = Markup("")
    if scripts:
        script = Markup("\n").join([asset(_KIT, "kit.js"), *(asset(room, s) for s in scripts)])
    html = (_environment(room).get_template(template)).render(
        **values,
        title=title,
        subtitle=subtitle,
        style=style,
        script=script,
        data=None if data is None else script_json(data),
        policy=_policy(style, script),
        version=__version__,
    )
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(target) as part:
        part.write_text(cleaned(html), encoding="utf-8", errors="replace", newline="\n")
    return target


def subtitle(*parts: str | None) -> str:
    """Say in one line what a page is about; parts that are empty are left out.

    Examples
    --------
    >>> subtitle("3 labels", None, "made 2026-01-02")
    '3 labels · made 2026-01-02'
    """
    return " · ".join(part for part in parts if part)


def script_json(value: Any) -> Markup:
    r"""Write JSON that may stand inside a script element, whatever text it holds.

    Examples
    --------
    >>> str(script_json(["</script>"]))
    '["\\u003c/script\\u003e"]'
    """
    text = json_text(value, shown=True, separators=(",", ":"), allow_nan=False)
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(text)  # noqa: S704 (escaped above)


@cache
def _environment(room: str) -> Environment:
    """Load the templates: everything that goes in is escaped, unknown names are errors."""
    from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined  # only for pages

    environment = Environment(
        loader=ChoiceLoader([PackageLoader(name, "templates") for name in (room, _KIT)]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    shown = ("percent", "number", "count", "plural", "points", "money", "price", "duration")
    environment.filters.update({name: getattr(words, name) for name in shown})
    return environment


@cache
def asset(room: str, name: str) -> Markup:
    """Read a style sheet or script of a page."""
    text = resources.files(room).joinpath("templates", name).read_text("utf-8")
    if "</" in text:  # would end the element it is put into
        raise AssertionError(f"{name} must not contain '</'")
    return Markup(text)  # noqa: S704 (a file of ours)


def _policy(style: str, script: str) -> str:
    """Allow exactly this style sheet, this script and embedded pictures."""

    def only(text: str) -> str:
        return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

    of_script = f"script-src {only(script)}; " if script else ""
    return (
        f"default-src 'none'; img-src data:; style-src {only(style)}; {of_script}"
        "base-uri 'none'; form-action 'none'"
    )
