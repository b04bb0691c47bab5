"""What descriptions gain, and what comes without them: docs/concepts/descriptions-dclip.md.

Every folder with ``train/``, ``test/`` and ``labels.json`` under --sets is one set; its test split
is scored. Descriptions come from benchmarks/descriptions: five phrases and three sentences for each
label, written by hand from general knowledge, before any was scored and without looking at photos.
Nothing is chosen or fitted on test photos; only evolving and the nearest class mean see training
photos. What is random runs with several seeds. The language models of fusion and evolving are local
servers that look with the same encoder (showtell.testing.servers).

    python benchmarks/descriptions_table.py [--sets ../shared/datasets] [--seeds 5] [--note TEXT]

Writes benchmarks/results/descriptions_table.csv and a table in docs/_generated for each of TABLES.
Takes half an hour at most.

To add an arm, append to ARMS a name, a title and a function that makes a fitted classifier of a
`Setting` and a seed; to test it against another, append the pair to CONTRASTS; to show it, put its
name into a table of TABLES.
"""

from __future__ import annotations

import argparse
import csv
import multiprocessing
import os
import platform
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

import showtell as st
from showtell import metrics
from showtell.classify import (
    DescriptionClassifier,
    EvolvingDescriptionClassifier,
    FewShotClassifier,
    FusionClassifier,
    ZeroShotClassifier,
)
from showtell.classify.base import LimitsWarning
from showtell.classify.described.described import domain_template
from showtell.datasets import Dataset
from showtell.evaluate import evaluate
from showtell.mllm.model import Model
from showtell.prompts import DescriptionSet, common_words, read_descriptions
from showtell.testing.servers import Author, LocalServer

ROOT = Path(__file__).resolve().parent.parent
WORDS = ROOT / "benchmarks" / "descriptions"


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A set, and what an arm may use."""

    name: str
    data: Dataset
    """`data.test` is for scoring only."""
    encoder: str
    store: str
    answers: str
    """Where answers of the servers are kept, so that fusion's two texts are asked for once."""
    stack: ExitStack
    """Ends the servers."""

    def serve(self, author: Author | None, seed: int) -> str:
        """Start a local server and return its address."""
        server = LocalServer("openai", encoder=self.encoder, author=author, seed=seed)
        return self.stack.enter_context(server).base_url

    @cached_property
    def looker(self) -> str:
        """A server that looks at photos, and has seen none of them before."""
        return self.serve(None, 0)

    @cached_property
    def author(self) -> Author:
        """Knows from the training photos which words of its bank are good and which are bad."""
        labels = [str(label) for label in self.data.train.y]
        return Author(images=list(self.data.train.images), labels=labels)

    @cached_property
    def phrases(self) -> DescriptionSet:
        return read_descriptions(WORDS / f"{self.name}-phrases.json")

    @cached_property
    def sentences(self) -> DescriptionSet:
        return read_descriptions(WORDS / f"{self.name}-sentences.json")


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One column of the table."""

    name: str
    title: str
    make: Callable[[Setting, int], Any]
    """A fitted classifier of a setting and a seed."""
    is_random: bool = False
    """Runs once for each seed."""


def plain(setting: Setting, seed: int, template: str = "a photo of a {label}.") -> Any:
    return ZeroShotClassifier(
        setting.encoder,
        labels=setting.data.labels,
        templates=template,
        store=setting.store,
        random_state=seed,
    ).fit()


def with_concept(setting: Setting, seed: int) -> Any:
    return plain(setting, seed, f"{domain_template(setting.phrases.domain or '')}.")


def described(setting: Setting, seed: int, **more: Any) -> Any:
    return DescriptionClassifier(
        setting.encoder,
        labels=setting.data.labels,
        store=setting.store,
        random_state=seed,
        **({"domain": ""} | more),
    ).fit()


def dclip(setting: Setting, seed: int) -> Any:
    return described(setting, seed, descriptions=setting.phrases)


def dclip_concept(setting: Setting, seed: int) -> Any:
    return described(setting, seed, descriptions=setting.phrases, domain=None)


def cupl(setting: Setting, seed: int) -> Any:
    return described(setting, seed, descriptions=setting.sentences, method="cupl")


def waffle(setting: Setting, seed: int) -> Any:
    return described(setting, seed, method="waffle", n_pairs=3)


def waffle_concept(setting: Setting, seed: int) -> Any:
    concept = setting.phrases.domain
    return described(setting, seed, method="waffle", n_pairs=3, domain=concept)


def waffle_30(setting: Setting, seed: int) -> Any:
    return described(setting, seed, method="waffle")


def fusion(setting: Setting, seed: int, **more: Any) -> Any:
    return FusionClassifier(
        Model("openai:try", base_url=setting.looker, cache=setting.answers),
        setting.encoder,
        labels=setting.data.labels,
        descriptions=setting.sentences,
        store=setting.store,
        random_state=seed,
        **more,
    ).fit()


def fusion_image(setting: Setting, seed: int) -> Any:
    return fusion(setting, seed, use=("image",))


def fusion_guess(setting: Setting, seed: int) -> Any:
    return fusion(setting, seed, use=("guess",))


def fusion_z(setting: Setting, seed: int) -> Any:
    return fusion(setting, seed, standardise=True)


def evolving(setting: Setting, seed: int, author: Author | None = None) -> Any:
    """From the phrases that DCLIP has."""
    return EvolvingDescriptionClassifier(
        Model("openai:try", base_url=setting.serve(author or setting.author, seed), cache=None),
        setting.encoder,
        labels=setting.data.labels,
        start=setting.phrases,
        domain="",
        store=setting.store,
        random_state=seed,
    ).fit(setting.data.train.images, setting.data.train.y)


def ignorant() -> Author:
    """A writer of random everyday words; which of them it uses depends on the server's seed."""
    drawn = np.random.default_rng(0).permutation(common_words())[:350].tolist()
    return Author(words=drawn[:1], nonsense=drawn, share_bad=1.0)


def evolving_random(setting: Setting, seed: int) -> Any:
    return evolving(setting, seed, ignorant())


def class_mean(setting: Setting, seed: int) -> Any:
    """The training photos alone, without words."""
    return FewShotClassifier(
        setting.encoder,
        method="prototype",
        text_weight=0.0,
        labels=setting.data.labels,
        store=setting.store,
        random_state=seed,
    ).fit(setting.data.train.images, setting.data.train.y)


ARMS: list[Arm] = [
    Arm(name="template", title="template", make=plain),
    Arm(name="concept", title="concept", make=with_concept),
    Arm(name="waffle", title="Waffle, 6 prompts", make=waffle, is_random=True),
    Arm(name="waffle-30", title="Waffle, 30 prompts", make=waffle_30, is_random=True),
    Arm(name="dclip", title="DCLIP", make=dclip),
    Arm(name="cupl", title="CuPL", make=cupl),
    Arm(name="waffle+concept", title="Waffle and concept", make=waffle_concept, is_random=True),
    Arm(name="dclip+concept", title="DCLIP and concept", make=dclip_concept),
    Arm(name="fusion-image", title="image alone", make=fusion_image),
    Arm(name="fusion-guess", title="guess alone", make=fusion_guess),
    Arm(name="fusion", title="fusion", make=fusion),
    Arm(name="fusion-z", title="fusion, standardised", make=fusion_z),
    Arm(name="evolving", title="evolving", make=evolving, is_random=True),
    Arm(name="evolving-random", title="evolving, random words", make=evolving_random,
        is_random=True),
    Arm(name="class-mean", title="nearest class mean", make=class_mean),
]  # fmt: skip
CONTRASTS: list[tuple[str, str]] = [
    ("dclip", "template"),
    ("dclip", "waffle"),
    ("cupl", "template"),
    ("cupl", "waffle"),
    ("cupl", "dclip"),
    ("waffle", "template"),
    ("waffle-30", "template"),
    ("concept", "template"),
    ("waffle+concept", "concept"),
    ("dclip+concept", "waffle+concept"),
    ("fusion", "template"),
    ("fusion", "fusion-image"),
    ("fusion-z", "fusion-image"),
    ("evolving", "template"),
    ("evolving", "dclip"),
    ("evolving", "waffle-30"),
    ("evolving", "evolving-random"),
    ("evolving", "class-mean"),
]
"""What is tested: the first minus the second, on the same images."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """A page of the documentation shows it."""

    name: str
    """Of the file, without ending."""
    arms: tuple[str, ...]
    note: str


TABLES = (
    Table(
        name="descriptions_table",
        arms=("template", "concept", "waffle", "waffle-30", "dclip", "cupl", "waffle+concept",
              "dclip+concept"),
        note="DCLIP has five phrases for each label, CuPL three sentences, written by hand from "
        "general knowledge before any was scored, without looking at the photos.",
    ),
    Table(
        name="cupl_table",
        arms=("template", "waffle", "dclip", "cupl"),
        note="CuPL has three sentences for each label, DCLIP five phrases, written by hand from "
        "general knowledge before any was scored, without looking at the photos.",
    ),
    Table(
        name="waffle_table",
        arms=("template", "concept", "waffle", "waffle-30", "waffle+concept"),
        note="The concept is one word for each set, such as animal.",
    ),
    Table(
        name="fusion_table",
        arms=("template", "fusion-image", "fusion-guess", "fusion", "fusion-z"),
        note="The model is a local server that looks with the same encoder: its description is "
        "the words nearest the image, its guess the nearest label. It knows nothing that the "
        "encoder does not know, so this shows what fusing does, not what a good model adds. Class "
        "vectors, but for the template, are made of name, template and CuPL's sentences.",
    ),
    Table(
        name="evolving_table",
        arms=("template", "waffle-30", "dclip", "evolving", "evolving-random", "class-mean"),
        note="Evolving starts from DCLIP's phrases and sees up to 24 training photos of each "
        "label; its writer is a local server that has measured its words on the training photos "
        "and mixes good and bad ones by chance. With random words the writer draws everyday words "
        "instead. The nearest class mean sees all training photos and no words.",
    ),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Row:
    """One number of the table, in per cent or points."""

    set: str
    what: str
    value: float
    low: float
    high: float
    sd: float | None = None
    """Over seeds."""
    p_value: float | None = None
    """Differences only. Exact McNemar, or where there are seeds the sign-flip test over images,
    each with its mean over seeds; over sets the sign-flip test. Two-sided."""
    p_holm: float | None = None
    """The same, corrected for all differences of single sets."""
    per_seed: str = ""
    n_labels: int
    n_test: int


def right_answers(arm: Arm, setting: Setting, n_seeds: int) -> np.ndarray:
    """Whether each test image is answered right, shape (n_seeds or 1, n_test)."""
    seeds = range(n_seeds if arm.is_random else 1)
    return np.stack(
        [
            evaluate(arm.make(setting, seed), setting.data.test, controls=False).correct
            for seed in seeds
        ]
    )


def accuracy_row(setting: Setting, arm: Arm, right: np.ndarray) -> Row:
    n = right.shape[1]
    if arm.is_random:
        found = metrics.paired_bootstrap(np.zeros(n), right.mean(axis=0))
        low, high = found.low, found.high
    else:
        low, high = metrics.accuracy_interval(int(right.sum()), n)
    each = right.mean(axis=1)
    return Row(
        set=setting.name,
        what=arm.name,
        value=100 * float(right.mean()),
        low=100 * low,
        high=100 * high,
        sd=100 * float(each.std(ddof=1)) if len(each) > 1 else None,
        per_seed=" ".join(f"{100 * value:.1f}" for value in each) if arm.is_random else "",
        n_labels=len(setting.data.labels),
        n_test=n,
    )


def difference_row(setting: Setting, pair: tuple[str, str], right: dict[str, np.ndarray]) -> Row:
    one, other = right[pair[0]], right[pair[1]]
    found: Any
    if len(one) == len(other) == 1:
        found = metrics.paired_difference(other[0], one[0])
        p_value = metrics.mcnemar_exact(other[0], one[0]).p_value
    else:
        means = other.mean(axis=0), one.mean(axis=0)
        found = metrics.paired_bootstrap(*means)
        p_value = metrics.sign_flip_test(*means)
    return Row(
        set=setting.name,
        what=" - ".join(pair),
        value=100 * found.difference,
        low=100 * found.low,
        high=100 * found.high,
        p_value=p_value,
        n_labels=len(setting.data.labels),
        n_test=one.shape[1],
    )


def with_correction(rows: list[Row]) -> list[Row]:
    """Correct the p-values of all differences together (Holm)."""
    places = [i for i, row in enumerate(rows) if row.p_value is not None]
    corrected = metrics.holm([rows[i].p_value for i in places])
    fixed = list(rows)
    for i, p in zip(places, corrected, strict=True):
        fixed[i] = replace(rows[i], p_holm=float(p))
    return fixed


def mean_rows(rows: list[Row]) -> list[Row]:
    """Mean over the sets; intervals and tests draw sets, not images."""
    found = []
    for what in dict.fromkeys(row.what for row in rows):
        of_sets = [row for row in rows if row.what == what]
        values = np.array([row.value for row in of_sets])
        drawn = metrics.paired_bootstrap(np.zeros(len(values)), values)
        p_value = None
        if of_sets[0].p_value is not None:
            p_value = metrics.sign_flip_test(np.zeros(len(values)), values)
        found.append(
            Row(
                set="mean",
                what=what,
                value=float(values.mean()),
                low=drawn.low,
                high=drawn.high,
                p_value=p_value,
                n_labels=sum(row.n_labels for row in of_sets),
                n_test=sum(row.n_test for row in of_sets),
            )
        )
    return found


def as_markdown(rows: list[Row], table: Table, facts: dict[str, str], n_seeds: int) -> str:
    """One table of the documentation, and what was tested in it."""
    sets = list(dict.fromkeys(row.set for row in rows))
    cell = {(row.set, row.what): row for row in rows}
    by_name = {arm.name: arm for arm in ARMS}
    arms = [by_name[name] for name in table.arms if (sets[0], name) in cell]
    lines = [
        f"| set (labels, test images) | {' | '.join(arm.title for arm in arms)} |",
        f"|{'---|' * (len(arms) + 1)}",
    ]
    for name in sets:
        first = cell[name, arms[0].name]
        strong = "**" if name == "mean" else ""
        title = "mean" if name == "mean" else f"{name} ({first.n_labels}, {first.n_test})"
        values = []
        for arm in arms:
            row = cell[name, arm.name]
            spread = f" ± {row.sd:.1f}" if row.sd is not None else ""
            span = "" if name == "mean" else f" ({row.low:.0f}–{row.high:.0f})"
            values.append(f"{strong}{row.value:.1f}{strong}{spread}{span}")
        lines.append(f"| {strong}{title}{strong} | {' | '.join(values)} |")
    lines += [
        "",
        "Accuracy in per cent on the test split, with 95 % intervals (Wilson; over images where "
        f"there are seeds), mean ± standard deviation over {n_seeds} seeds. "
        f"Encoder `{facts['encoder_name']}`. {table.note}",
        "",
        f"| difference | mean over {len(sets) - 1} sets, points | p | sets where it is better, "
        "worse (p < .05, corrected) |",
        "|---|---|---|---|",
    ]
    for a, b in CONTRASTS:
        what = f"{a} - {b}"
        if ("mean", what) not in cell or not {a, b} <= set(table.arms):
            continue
        row = cell["mean", what]
        known = [cell[name, what] for name in sets if name != "mean"]
        named = [
            ", ".join(r.set for r in known if r.p_holm < 0.05 and r.value * sign > 0) or "none"
            for sign in (1, -1)
        ]
        lines.append(
            f"| {by_name[a].title} − {by_name[b].title} | {row.value:+.1f} ({row.low:+.1f} to "
            f"{row.high:+.1f}) "
            f"| {row.p_value:.2g} | better: {named[0]}; worse: {named[1]} |"
        )
    lines += [
        "",
        "Intervals and p of a mean are over sets (bootstrap, sign-flip test). In a single set: "
        "exact McNemar test, or sign-flip test over images with their mean over seeds; corrected "
        "for all differences of all sets (Holm).",
        "",
        f"Measured {facts['date']} at commit {facts['commit']} by "
        "`benchmarks/descriptions_table.py`; numbers in "
        "`benchmarks/results/descriptions_table.csv`, words in `benchmarks/descriptions`.",
    ]
    return "\n".join(lines) + "\n"


def about(encoder: str) -> dict[str, str]:
    """When, with what and on what machine."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [x for x in cpuinfo.read_text().splitlines() if x.startswith("model name")]
        model = names[0].partition(":")[2].strip() if names else model
    command = ["git", "rev-parse", "--short", "HEAD"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "commit": done.stdout.strip(),
        "machine": f"{model}, {os.cpu_count()} cores",
        "versions": f"python {platform.python_version()}, showtell {st.__version__}",
        "encoder": st.load_encoder(encoder).fingerprint,
        "encoder_name": encoder,
    }


def rows_of(
    folder: Path, *, options: argparse.Namespace, names: tuple[str, ...], temporary: str
) -> list[Row]:
    """Score and compare the arms on one set."""
    warnings.simplefilter("ignore", LimitsWarning)
    right: dict[str, np.ndarray] = {}
    with ExitStack() as stack:
        setting = Setting(
            name=folder.name,
            data=st.load_dataset(folder),
            encoder=options.encoder,
            store=str(options.store or f"{temporary}/embeddings.sqlite"),
            answers=f"{temporary}/{folder.name}.sqlite",
            stack=stack,
        )
        for arm in ARMS:
            if arm.name not in names:
                continue
            kept = None
            if options.kept is not None:
                kept = options.kept / f"{folder.name}-{arm.name}-{options.seeds}.npy"
            if kept is not None and kept.exists():
                right[arm.name] = np.load(kept)
                continue
            right[arm.name] = right_answers(arm, setting, options.seeds)
            if kept is not None:
                kept.parent.mkdir(parents=True, exist_ok=True)
                np.save(kept, right[arm.name])
    found = [accuracy_row(setting, arm, right[arm.name]) for arm in ARMS if arm.name in right]
    print(f"{folder.name}: " + "  ".join(f"{r.what} {r.value:.1f}" for r in found), flush=True)
    return found + [
        difference_row(setting, pair, right)
        for pair in CONTRASTS
        if pair[0] in right and pair[1] in right
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", type=Path, default=ROOT.parent / "shared" / "datasets")
    parser.add_argument("--encoder", default="mini")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--arms", default="", help="names with commas between; all if not given")
    parser.add_argument("--note", default="", help="for example what else ran on the machine")
    results = ROOT / "benchmarks" / "results"
    parser.add_argument("--csv", type=Path, default=results / "descriptions_table.csv")
    parser.add_argument("--markdown", type=Path, default=ROOT / "docs/_generated", help="folder")
    parser.add_argument("--store", type=Path, help="keep embeddings there for other runs")
    parser.add_argument("--kept", type=Path, help="keep answers there, to go on after a stop")
    parser.add_argument("--jobs", type=int, default=2, help="sets that are worked on at once")
    options = parser.parse_args()
    folders = sorted(path.parent for path in options.sets.glob("*/labels.json"))
    if not folders:
        parser.error(f"no set with a labels.json under {options.sets}")
    wanted = [name for name in options.arms.split(",") if name] or [arm.name for arm in ARMS]
    unknown = set(wanted) - {arm.name for arm in ARMS}
    if unknown:
        parser.error(f"no arm {sorted(unknown)}; there are {[arm.name for arm in ARMS]}")
    with tempfile.TemporaryDirectory() as temporary:
        work = partial(rows_of, options=options, names=tuple(wanted), temporary=temporary)
        fresh = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(options.jobs, mp_context=fresh) as pool:
            rows = [row for found in pool.map(work, folders) for row in found]
    rows = with_correction(rows)
    rows += mean_rows(rows)
    facts = about(options.encoder) | {"remark": options.note}
    options.csv.parent.mkdir(parents=True, exist_ok=True)
    with options.csv.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=[*asdict(rows[0]), *facts])
        writer.writeheader()
        for row in rows:
            rounded = {
                key: float(f"{cell:.4g}") if isinstance(cell, float) else cell
                for key, cell in asdict(row).items()
            }
            writer.writerow(rounded | facts)
    options.markdown.mkdir(parents=True, exist_ok=True)
    for table in TABLES:
        if set(table.arms) <= set(wanted):
            text = as_markdown(rows, table, facts, options.seeds)
            (options.markdown / f"{table.name}.md").write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
