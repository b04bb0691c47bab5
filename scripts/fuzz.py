"""Spoil files for a while and load them: what comes is right, or an error of showtell's own.

Run it by `make fuzz`; the short form of it is tests/fuzz. Equal seeds spoil files in equal ways, so
that ``--only NAME --seed N --tries 1`` brings a finding back. Ends with 1 if there was one.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

SLOW = 1.0  # seconds of processor time for one small file
HANGS = 30  # seconds


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--minutes", type=float, default=20.0)
    arguments.add_argument("--tries", type=int, default=0, help="of each loader; 0: by time alone")
    arguments.add_argument("--seed", type=int, default=0, help="of the first try")
    arguments.add_argument("--only", default="", help="loaders whose name holds this")
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="showtell-fuzz-") as place:
        os.environ["SHOWTELL_CACHE_DIR"] = str(Path(place) / "cache")
        os.environ["SHOWTELL_STORE"] = "off"
        return spoil(options, Path(place) / "work")


def spoil(options: Any, folder: Path) -> int:
    """Try the loaders in turn until the time is up; tell each kind of finding once."""
    from tests.fuzz.loaders import LOADERS, try_one, try_sound

    loaders = [one for name, one in LOADERS.items() if options.only in name]
    for loader in loaders:  # sound files load; and what is imported then is not counted below
        try_sound(loader, folder)
    until = time.monotonic() + 60 * options.minutes
    found: Counter[str] = Counter()
    slowest: dict[str, float] = {}
    n = seed = 0
    signal.signal(signal.SIGALRM, _hangs)
    while time.monotonic() < until and (not options.tries or seed < options.tries):
        for loader in loaders:
            began = time.process_time()
            signal.alarm(HANGS)
            try:
                foreign = try_one(loader, options.seed + seed, folder)
            except Exception as error:  # noqa: BLE001
                foreign = error
            signal.alarm(0)
            seconds = time.process_time() - began
            slowest[loader.name] = max(seconds, slowest.get(loader.name, 0.0))
            n += 1
            if foreign is not None:
                place = _where(foreign)
                found[f"{type(foreign).__name__} {place}"] += 1
                if found[f"{type(foreign).__name__} {place}"] == 1:
                    print(
                        f"{loader.name} --seed {options.seed + seed}: {type(foreign).__name__} "
                        f"at {place}: {str(foreign)[:200]!r}",
                        flush=True,
                    )
            elif seconds > SLOW:
                found[f"slow {loader.name}"] += 1
                if found[f"slow {loader.name}"] == 1:
                    print(
                        f"{loader.name} --seed {options.seed + seed}: {seconds:.1f} s", flush=True
                    )
        seed += 1
    print(
        f"{n:,} spoiled files of {len(loaders)} loaders, seeds {options.seed} to "
        f"{options.seed + seed - 1}: {found.total():,} findings of {len(found)} kinds"
    )
    for name, seconds in sorted(slowest.items(), key=lambda item: -item[1])[:5]:
        print(f"  slowest: {name} {seconds:.2f} s of processor time")
    return int(bool(found))


def _hangs(*_: object) -> None:
    raise TimeoutError(f"no end within {HANGS} s")


def _where(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "/showtell/" in frame.filename]
    last = (ours or frames or [None])[-1]
    return "nowhere" if last is None else f"{Path(last.filename).name}:{last.lineno}"


if __name__ == "__main__":
    sys.exit(main())
