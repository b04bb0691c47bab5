"""The `showtell` script, and ``python -m showtell`` where that script is not on the path."""

from __future__ import annotations

import sys

__all__ = ["run"]


def run() -> None:
    """Run the command line; Ctrl-C while it is made ready ends it without a traceback."""
    try:
        from showtell.cli.main import run as run_it

        run_it()
    except KeyboardInterrupt:
        print("showtell: Stopped. Nothing was done yet.", file=sys.stderr)  # noqa: T201
        exec("")  # noqa: S102  as in showtell.cli.main.run
        raise SystemExit(3) from None


if __name__ == "__main__":
    run()
