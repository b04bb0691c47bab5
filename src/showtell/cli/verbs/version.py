"""`showtell version`: what is installed."""

from __future__ import annotations

import sys

import typer

from showtell._version import __version__
from showtell.cli import groups as g
from showtell.cli import options as o
from showtell.cli.output import print_json
from showtell.cli.session import begin

_LIBRARIES = (
    "numpy", "pillow", "onnxruntime", "tokenizers", "scikit-learn", "typer", "rich", "jinja2",
    "pyarrow", "pandas", "pillow-heif", "huggingface-hub", "safetensors", "torch",
    "transformers", "onnx",
)  # fmt: skip

EPILOG = """# Examples

showtell version

showtell version -v
"""


@g.grouped
def version(ctx: typer.Context, *, json: o.Json = False) -> None:
    """Print the version; with -v those of the libraries it works with, for a bug report."""
    session = begin(ctx)
    if json:
        print_json({"showtell": __version__, **_installed()})
        return
    sys.stdout.write(f"showtell {__version__}\n")
    if session.verbose:
        for name, text in _installed().items():
            sys.stdout.write(f"{name} {text}\n")


def _installed() -> dict[str, str]:
    """Versions of Python, the system and the libraries that are installed."""
    import platform
    from importlib import metadata

    found = {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
    }
    for name in _LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
