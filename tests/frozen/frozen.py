"""What lies in `format1`, and how it is put to work: shared by the tests and by what wrote it.

Everything goes through the command line and the public names of the rooms, so that files may move
without a change here. What is renamed on purpose is listed below, old name to new one.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
from scipy.special import log_softmax

from showtell.mllm.local.continuations import TokenScores, tokenise_labels
from showtell.mllm.local.vlm import LocalVLM
from showtell.testing import ColourEncoder, draw_shape

FORMAT1 = Path(__file__).parent / "format1"

RENAMED_OPTIONS: dict[str, str | None] = {
    "--batch": "--transductive",
    "--batch-api": "--jobs",
    "--batch-size": "--images-per-request",
    "--concept": "--domain",
    "--correct": "--debias",
    "--permutations": "--rotations",
}
"""Options of then, as ``"--flag"`` or ``"verb --flag"``, to those of now; None: gone on purpose."""
RENAMED_VALUES = {"permutations": "rotations"}
"""Words that options were given."""
RENAMED_NAMES: dict[str, str | None] = {}
"""Names of ``showtell.__all__`` of then to those of now; None: gone on purpose."""

LABELS = ("red circle", "green triangle", "blue square")
MODEL = "openai:gpt-4.1-mini"
KEY = "sk-planted-0123456789abcdef"
NOWHERE = "http://127.0.0.1:9/v1"
"""Where the model was asked, as the fixtures say it; `place` writes the server of now there."""
PLUGINS = "[showtell.encoders]\ncolours = showtell.testing:ColourEncoder\n"


class ColourVLM(LocalVLM):
    """Stands for a model in this process: finds a label the likelier the nearer its colour is."""

    def __init__(self) -> None:
        self.name, self.fingerprint = "local-dir:colours", "colours-vlm-1"
        self._encoder = ColourEncoder()

    def prompt(self, question: str, *, stub: str = "") -> str:
        return f"{question}\n{stub}"

    def continuations(self, prompt, labels, *, separator=None):
        return tokenise_labels(lambda t: [crc32(w.encode()) for w in t.split()], prompt, labels)

    def check(self, prompt, continuations) -> float:
        return 0.0

    def score(self, picture, prompt, continuations, *, with_end=False, reuse_prefix=True):
        names = dict(line.split(". ", 1) for line in prompt.splitlines() if line[1:3] == ". ")
        texts = [names.get(label, label) for label in continuations.labels]
        image = self._encoder.encode_images([np.asarray(picture)])[0]
        likes = 5.0 * self._encoder.encode_texts(texts) @ image
        lengths = np.array([len(ids) for ids in continuations.tokens])
        rows = np.zeros((len(texts), lengths.max()))
        rows[:, 0] = log_softmax(likes) if names else likes - 20.0
        return TokenScores(logprobs=rows, lengths=lengths, end=-np.ones(len(texts)))


def make_server(**settings: Any) -> Any:
    """A server that looks at colours, and writes words of which some help to tell them apart."""
    from showtell.testing.servers import Author, LocalServer

    drawn = [draw_shape(label, seed=900 + i) for label in LABELS for i in range(3)]
    author = Author(
        images=drawn,
        labels=[label for label in LABELS for _ in range(3)],
        words=("bright red", "grass green", "deep blue", "glossy yellow"),
        nonsense=("a promise", "good luck", "old news"),
    )
    settings = {"encoder": ColourEncoder(), "rule": "nearest", "author": author, **settings}
    return LocalServer("openai", **settings)


def images(part: str) -> tuple[list[str], list[str]]:
    """Paths below the working directory, and labels."""
    paths = sorted((FORMAT1 / "data" / part).rglob("*.png"))
    return [str(p.relative_to(FORMAT1)) for p in paths], [p.parent.name for p in paths]


def copy_data(place: Path) -> None:
    """Put the images, descriptions and concepts of then where commands look for them."""
    shutil.copytree(FORMAT1 / "data", place / "data")
    for file in (FORMAT1 / "words").iterdir():
        shutil.copy(file, place)


def place_run(name: str, place: Path, url: str) -> dict[str, Any]:
    """Put a run folder where its command looks for it; give what is known about it."""
    about = json.loads((FORMAT1 / "runs" / f"{name}.json").read_text("utf-8"))
    rewrite(FORMAT1 / "runs" / name, place / "kept", NOWHERE, url)
    return about


def rewrite(source: Path, target: Path, old: str, new: str) -> None:
    """Copy a folder; in texts, an address becomes another one."""
    for file in sorted(source.rglob("*")):
        copy = target / file.relative_to(source)
        if file.is_dir():
            copy.mkdir(parents=True, exist_ok=True)
        elif file.suffix in (".json", ".jsonl"):
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_text(file.read_text("utf-8").replace(old, new), "utf-8")
        else:
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, copy)


def as_of_now(argv: Sequence[str], url: str) -> list[str]:
    """A command of then, with the names that its options have now."""
    verb, found = argv[0], []
    for word in argv:
        new = RENAMED_OPTIONS.get(f"{verb} {word}", RENAMED_OPTIONS.get(word, word))
        assert new is not None, f"{word} of {verb} is gone, and a frozen run needs it"
        found.append(RENAMED_VALUES.get(new, new).replace("{url}", url))
    return found


def invoke(argv: Sequence[str], url: str) -> Any:
    """Run a command of then in the working directory; the result has exit_code and stdout."""
    from typer.testing import CliRunner

    from showtell.cli.main import app

    by_default = None if "{url}" in argv else url  # an address that the command does not name
    env = {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": by_default}
    return CliRunner().invoke(app, as_of_now(argv, url), env=env)


def told_of(verb: str, text: str) -> Any:
    """What must stay the same in the JSON that a verb prints."""
    value = json.loads(text)
    if verb == "classify":
        keys = ("image", "label", "status", "confidence")
        return [[row[key] for key in keys] for row in value["predictions"]]
    if verb == "evaluate":
        curve = value.get("curve") or {}
        return {
            **{key: value[key] for key in ("accuracy", "n_samples", "n_errors", "n_abstained")},
            "curve": [[p["shots"], p["accuracy"]] for p in curve.get("points", ())],
        }
    if verb == "compare":
        return [[record["name"], record["accuracy"]] for record in value["records"]]
    if verb == "audit":
        return [value["n_images"], [[p["name"], p["verdict"]] for p in value["probes"]]]
    if verb == "optimize":
        return [value["descriptions"], len(value["generations"]), value["test"]]
    if verb == "describe":
        return value["descriptions"]
    assert verb == "concepts", verb
    return value["tree"]["parts"]


def same(found: Any, wanted: Any, *, within: float = 1e-5) -> bool:
    """Whether plain data are equal, numbers within a tolerance."""
    if isinstance(wanted, float) and isinstance(found, int | float):
        return math.isclose(found, wanted, rel_tol=0, abs_tol=within)
    if isinstance(wanted, Mapping):
        return (
            isinstance(found, Mapping)
            and set(wanted) <= set(found)
            and all(same(found[key], value, within=within) for key, value in wanted.items())
        )
    if isinstance(wanted, list):
        return (
            isinstance(found, list | tuple)
            and len(found) == len(wanted)
            and all(same(a, b, within=within) for a, b in zip(found, wanted, strict=True))
        )
    return found == wanted
