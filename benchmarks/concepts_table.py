"""What clues of a concept tree gain, and what choosing them costs: docs/concepts/concept-trees.md.

Sets are folders with ``train/``, ``test/`` and ``labels.json`` under --sets that have a tree in
benchmarks/concepts, written by hand from general knowledge before any clue was scored, without
looking at photos. All that learns sees the same 20 photos per label, drawn from ``train/`` by the
seed; ``test/`` is scored once and chooses nothing, except in the arm "leaky", which shows what
choosing clues on it would seem to gain.

    python benchmarks/concepts_table.py [--sets ../shared/datasets] [--seeds 5] [--note TEXT]

Writes benchmarks/results/concepts_table.csv and docs/_generated/concepts_*.md.
"""

from __future__ import annotations

import argparse
import csv
import sys
import tempfile
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from descriptions_table import (
    ROOT,
    Row,
    about,
    accuracy_row,
    difference_row,
    mean_rows,
    with_correction,
)

import showtell as st
from showtell import metrics
from showtell.classify import (
    ConceptClassifier,
    DescriptionClassifier,
    FewShotClassifier,
    ZeroShotClassifier,
)
from showtell.classify.base import LimitsWarning
from showtell.classify.concepts.fitting import voters_of
from showtell.classify.concepts.heads import fit_forest, fit_vote
from showtell.classify.concepts.selection import Fold, select_clues
from showtell.datasets import Dataset
from showtell.encoders import embed_images, embed_texts
from showtell.prompts import common_words
from showtell.prompts.concepts.trees import ConceptTree, read_concepts

TREES = ROOT / "benchmarks" / "concepts"
WORDS = ROOT / "benchmarks" / "descriptions"
SHOTS = 20
N_REMOVED = 10
N_FAITHFUL = 200


class Remembering:
    """An encoder that looks at every image and every text once, for the many fits of a table."""

    def __init__(self, name: str, store: str) -> None:
        self.inner = st.load_encoder(name)
        self.store = store
        self.known: dict[str, np.ndarray] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def encode_images(self, images: Any) -> np.ndarray:
        new = [image for image in dict.fromkeys(map(str, images)) if image not in self.known]
        if new:
            rows = embed_images(self.inner, new, store=self.store).rows()
            self.known.update(zip(new, rows, strict=True))
        return np.stack([self.known[str(image)] for image in images])

    def encode_texts(self, texts: Any) -> np.ndarray:
        new = [text for text in dict.fromkeys(texts) if f"text: {text}" not in self.known]
        if new:
            rows = embed_texts(self.inner, new, store=self.store)
            self.known.update({f"text: {t}": row for t, row in zip(new, rows, strict=True)})
        return np.stack([self.known[f"text: {text}"] for text in texts])


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A set, and what an arm may use."""

    name: str
    data: Dataset
    """`data.test` is for scoring only."""
    encoder: Remembering

    @cached_property
    def tree(self) -> ConceptTree:
        return read_concepts(TREES / f"{self.name}.json")


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One column of the tables."""

    name: str
    title: str
    make: Callable[[Setting, int], Any]
    """A fitted classifier of a setting and a seed."""
    is_random: bool = True


def words_alone(setting: Setting, seed: int, **more: Any) -> Any:
    kind = DescriptionClassifier if more else ZeroShotClassifier
    more = more or {"templates": "a photo of a {label}."}
    return kind(
        setting.encoder,
        labels=setting.data.labels,
        store=None,
        random_state=seed,
        **more,
    ).fit()


def dclip(setting: Setting, seed: int) -> Any:
    phrases = WORDS / f"{setting.name}-phrases.json"
    return words_alone(setting, seed, descriptions=phrases, domain="")


def learned(kind: Any, setting: Setting, seed: int, **more: Any) -> Any:
    train = setting.data.train
    return kind(
        setting.encoder,
        labels=setting.data.labels,
        shots=SHOTS,
        store=None,
        random_state=seed,
        **more,
    ).fit(train.images, train.y)


def probe(setting: Setting, seed: int) -> Any:
    return learned(FewShotClassifier, setting, seed, method="linear")


def concepts(**params: Any) -> Callable[[Setting, int], Any]:
    def make(setting: Setting, seed: int) -> Any:
        return learned(ConceptClassifier, setting, seed, **{"concepts": setting.tree, **params})

    return make


def random_words(**params: Any) -> Callable[[Setting, int], Any]:
    """As many clues in as many parts, of everyday words drawn by the seed."""

    def make(setting: Setting, seed: int) -> Any:
        rng = np.random.default_rng(seed)
        names = rng.permutation(common_words()).tolist()
        parts = []
        for _, part in setting.tree.walk():
            n_values = sum(len(attribute.values) for attribute in part.attributes)
            values: set[str] = set()
            while len(values) < n_values:
                values.add(" ".join(rng.choice(common_words(), 2).tolist()))
            attributes = {"other attributes": sorted(values)}
            parts.append({"part": names.pop(), "attributes": attributes})
        tree = {"domain": names.pop(), "parts": parts}
        return learned(ConceptClassifier, setting, seed, concepts=tree, **params)

    return make


ARMS = [
    Arm(name="zero-shot", title="zero-shot", make=words_alone, is_random=False),
    Arm(name="dclip", title="DCLIP", make=dclip, is_random=False),
    Arm(name="probe", title="linear probe", make=probe),
    Arm(name="vote", title="vote of parts", make=concepts()),
    Arm(name="all", title="one regression", make=concepts(voting="all")),
    Arm(name="forest", title="forest", make=concepts(head="forest")),
    Arm(name="vote-random", title="vote, random words", make=random_words()),
    Arm(name="all-random", title="one regression, random words", make=random_words(voting="all")),
    Arm(name="forest-random", title="forest, random words", make=random_words(head="forest")),
    Arm(name="vote-label", title="vote, clues name labels",
        make=concepts(layout="per-label", prefix="label")),
    Arm(name="vote-chosen", title="vote, chosen clues", make=concepts(select="permutation-cv")),
    Arm(name="all-chosen", title="one regression, chosen clues",
        make=concepts(voting="all", select="permutation-cv")),
    Arm(name="forest-chosen", title="forest, chosen clues",
        make=concepts(head="forest", select="permutation-cv")),
]  # fmt: skip
MODELS = ("vote", "all", "forest")
CONTRASTS = [
    ("vote", "zero-shot"), ("forest", "zero-shot"),
    ("vote", "dclip"), ("forest", "dclip"),
    ("vote", "probe"), ("all", "probe"), ("forest", "probe"),
    ("vote", "vote-random"), ("all", "all-random"), ("forest", "forest-random"),
    ("forest", "vote"), ("all", "vote"), ("vote-label", "vote"),
    ("vote-leaky", "vote"), ("all-leaky", "all"), ("forest-leaky", "forest"),
]  # fmt: skip
MAIN = ("zero-shot", "dclip", "probe", "vote", "all", "forest")
CHOSEN = [(model, f"{model}-{rule}") for model in MODELS for rule in ("chosen", "fewer")]
RULES = {"chosen": "best threshold", "fewer": "one standard error"}
CONTRASTS += [(after, before) for before, after in CHOSEN]


def leaky(setting: Setting, seed: int, clf: ConceptClassifier) -> tuple[np.ndarray, int]:
    """Choose clues on the test photos: which of these are right then, and how many clues are left.

    Importances and thresholds look at the test photos; the best threshold there is reported.
    """
    test = setting.data.test
    ranks = np.argsort(np.argsort(clf.classes_))
    train = clf.support_embeddings_, ranks[clf.support_codes_]
    code = {label: ranks[i] for i, label in enumerate(clf.classes_.tolist())}
    y_test = np.array([code[label] for label in test.y])
    features = np.concatenate([clf._features(train[0]), clf.features(test.images)])
    codes = np.concatenate([train[1], y_test])
    n = len(train[1])
    fold = Fold(train=np.arange(n), select=np.arange(n, len(codes)))

    def fit(X: Any, y: Any, columns: Any) -> Any:
        if clf.head == "forest":
            return fit_forest(X[:, columns], y, random_state=seed).predict_proba
        return fit_vote(X[:, columns], y, voters_of(clf, columns)[1]).predict_proba

    chosen = select_clues(fit, features, codes, [fold], n_errors=0, random_state=seed)
    kept = np.array(chosen.kept)
    predict = fit(features[:n], codes[:n], kept)
    return predict(features[n:][:, kept]).argmax(axis=1) == y_test, len(kept)


def fewer(clf: ConceptClassifier) -> ConceptClassifier:
    """Choose by one standard error instead, from the same trials."""
    features = clf._features(clf.support_embeddings_)
    clf._fit_selected(features, clf._ranks[clf.support_codes_], clf.selection_.choose(1.0))
    return clf


def faithful_row(setting: Setting, name: str, clf: ConceptClassifier) -> Row:
    """By how much more the probability falls without the clues named than without others."""
    images = setting.data.test.images[:N_FAITHFUL]
    if len(setting.data.test) > N_FAITHFUL:
        chosen = np.random.default_rng(0).permutation(len(setting.data.test))[:N_FAITHFUL]
        images = [setting.data.test.images[i] for i in chosen.tolist()]
    features = clf.features(images)
    shares = clf.contributions(images).values
    proba = clf.predict_features(features)
    codes, rows = proba.argmax(axis=1), np.arange(len(features))
    mean = clf._features(clf.support_embeddings_).mean(axis=0)
    rng = np.random.default_rng(0)
    fallen = []
    for named in (False, True):
        changed = features.copy()
        for row, code in enumerate(codes):
            order = np.argsort(-shares[row, :, code])
            out = order[:N_REMOVED] if named else rng.permutation(len(order))[:N_REMOVED]
            changed[row, out] = mean[out]
        fallen.append(proba[rows, codes] - clf.predict_features(changed)[rows, codes])
    found = metrics.paired_bootstrap(*fallen)
    return Row(
        set=setting.name,
        what=f"faithful {name}",
        value=100 * found.difference,
        low=100 * found.low,
        high=100 * found.high,
        p_value=metrics.sign_flip_test(*fallen),
        per_seed=" ".join(f"{100 * one.mean():.2f}" for one in fallen),
        n_labels=len(setting.data.labels),
        n_test=len(features),
    )


def count_row(setting: Setting, what: str, counts: list[int]) -> Row:
    return Row(
        set=setting.name,
        what=f"clues {what}",
        value=float(np.mean(counts)),
        low=min(counts),
        high=max(counts),
        sd=float(np.std(counts, ddof=1)) if len(counts) > 1 else None,
        per_seed=" ".join(map(str, counts)),
        n_labels=len(setting.data.labels),
        n_test=len(setting.data.test),
    )


def rows_of(setting: Setting, n_seeds: int, wanted: list[str]) -> list[Row]:
    """Measure arms on one set."""
    test = setting.data.test
    right: dict[str, np.ndarray] = {}
    left: dict[str, list[int]] = {}
    arms = {arm.name: arm for arm in ARMS}
    rows: list[Row] = []
    for arm in [arm for arm in ARMS if arm.name in wanted]:
        found, counts = [], []
        for seed in range(n_seeds if arm.is_random else 1):
            clf = arm.make(setting, seed)
            found.append(clf.predict(test.images) == np.array(test.y))
            if isinstance(clf, ConceptClassifier):
                counts.append(len(clf.selected_))
            if arm.name in MODELS and "leaky" in wanted:
                was_right, n_kept = leaky(setting, seed, clf)
                right.setdefault(f"{arm.name}-leaky", []).append(was_right)  # type: ignore[attr-defined]
                left.setdefault(f"{arm.name}-leaky", []).append(n_kept)
            if arm.name.endswith("-chosen"):
                other = arm.name.replace("chosen", "fewer")
                kept = fewer(clf)
                found_there = kept.predict(test.images) == np.array(test.y)
                right.setdefault(other, []).append(found_there)  # type: ignore[attr-defined]
                left.setdefault(other, []).append(len(kept.selected_))
            if arm.name in MODELS and seed == 0 and "faithful" in wanted:
                rows.append(faithful_row(setting, arm.name, clf))
        right[arm.name] = np.stack(found)
        if counts:
            rows.append(count_row(setting, arm.name, counts))
        print(
            f"  {setting.name} {arm.name} {100 * right[arm.name].mean():.1f} {counts}", flush=True
        )
    for name, counts in left.items():
        right[name] = np.stack(right[name])
        rows.append(count_row(setting, name, counts))
        arms[name] = Arm(name=name, title="", make=lambda *_: None)
    rows += [accuracy_row(setting, arms[name], found) for name, found in right.items()]
    rows += [difference_row(setting, pair, right) for pair in CONTRASTS if set(pair) <= set(right)]
    return rows


def p_text(row: Row) -> str:
    return "<.001" if row.p_value < 0.001 else f"{row.p_value:.2g}"


def measured(facts: dict[str, str]) -> str:
    return (
        f"Measured {facts['date']} at commit {facts['commit']} by `benchmarks/concepts_table.py`; "
        "numbers in `benchmarks/results/concepts_table.csv`, trees in `benchmarks/concepts`."
    )


def main_table(rows: list[Row], facts: dict[str, str], n_seeds: int) -> str:
    """Write accuracies, and the differences that were tested."""
    cell = {(row.set, row.what): row for row in rows}
    sets = list(dict.fromkeys(row.set for row in rows))
    title = {arm.name: arm.title for arm in ARMS}
    lines = [
        f"| set (labels, test images, clues) | {' | '.join(title[name] for name in MAIN)} |",
        f"|{'---|' * (len(MAIN) + 1)}",
    ]
    for name in sets:
        strong = "**" if name == "mean" else ""
        first, n_clues = cell[name, "zero-shot"], cell[name, "clues vote"].value
        head = "mean" if strong else f"{name} ({first.n_labels}, {first.n_test}, {n_clues:.0f})"
        values = []
        for what in MAIN:
            row = cell[name, what]
            spread = f" ± {row.sd:.1f}" if row.sd is not None else ""
            span = "" if strong else f" ({row.low:.0f}–{row.high:.0f})"
            values.append(f"{strong}{row.value:.1f}{strong}{spread}{span}")
        lines.append(f"| {strong}{head}{strong} | {' | '.join(values)} |")
    lines += [
        "",
        "Accuracy in per cent on the test split, with 95 % intervals, mean ± standard deviation "
        f"over {n_seeds} draws of {SHOTS} training photos per label, the same for all that learn. "
        f"Encoder `{facts['encoder_name']}`. One regression: all clues in a single logistic "
        "regression, without a vote.",
        "",
        f"| difference | mean over {len(sets) - 1} sets, points | sets where it is better, worse "
        "(p < .05, corrected) |",
        "|---|---|---|",
    ]
    for a, b in CONTRASTS:
        if a.endswith("leaky") or (b, a) in CHOSEN:
            continue
        row = cell["mean", f"{a} - {b}"]
        known = [cell[name, f"{a} - {b}"] for name in sets if name != "mean"]
        named = [
            ", ".join(r.set for r in known if r.p_holm < 0.05 and r.value * sign > 0) or "none"
            for sign in (1, -1)
        ]
        lines.append(
            f"| {title[a]} − {title[b]} | {row.value:+.1f} ({row.low:+.1f} to {row.high:+.1f}) "
            f"| better: {named[0]}; worse: {named[1]} |"
        )
    lines += [
        "",
        "Random words: as many clues in as many parts, of everyday words. Sign-flip test over "
        "images with their mean over seeds, corrected for all differences of all sets (Holm); "
        "intervals of means are over sets (bootstrap).",
        "",
        measured(facts),
    ]
    return "\n".join(lines) + "\n"


def chosen_table(rows: list[Row], facts: dict[str, str]) -> str:
    """Write what choosing clues costs, honestly and on the test photos."""
    cell = {(row.set, row.what): row for row in rows}
    sets = [name for name in dict.fromkeys(row.set for row in rows) if name != "mean"]
    title = {arm.name: arm.title for arm in ARMS}
    lines = [
        "| set | model | rule | clues | accuracy | difference to all clues | p |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in sets:
        for base, what in CHOSEN:
            before, after = cell[name, f"clues {base}"], cell[name, f"clues {what}"]
            row = cell[name, f"{what} - {base}"]
            lines.append(
                f"| {name} | {title[base]} | {RULES[what.split('-')[1]]} "
                f"| {before.value:.0f} → {after.value:.0f} "
                f"| {cell[name, base].value:.1f} → {cell[name, what].value:.1f} "
                f"| {row.value:+.1f} ({row.low:+.1f} to {row.high:+.1f}) | {p_text(row)} |"
            )
    lines += [
        "",
        "Accuracy in per cent on the test photos, which chose nothing; means over the seeds. "
        "Chosen by five-fold cross-validation on the training photos. p is not corrected here, so "
        "that a loss is not missed.",
        "",
        measured(facts),
    ]
    return "\n".join(lines) + "\n"


def leaky_table(rows: list[Row], facts: dict[str, str]) -> str:
    """Write what choosing on the test photos seems to gain."""
    cell = {(row.set, row.what): row for row in rows}
    sets = list(dict.fromkeys(row.set for row in rows))
    title = {arm.name: arm.title for arm in ARMS}
    head = " | ".join(f"{title[name]}: all, chosen, leaky" for name in MODELS)
    lines = [f"| set | {head} |", f"|{'---|' * (len(MODELS) + 1)}"]
    for name in sets:
        values = [
            f"{cell[name, model].value:.1f}, {cell[name, f'{model}-chosen'].value:.1f}, "
            f"{cell[name, f'{model}-leaky'].value:.1f}"
            for model in MODELS
        ]
        lines.append(f"| {name} | {' | '.join(values)} |")
    lines += [
        "",
        "Leaky: importances and threshold measured on the test photos, and the best accuracy found "
        "there reported. It is what one would have published, and not what one would get.",
        "",
        measured(facts),
    ]
    return "\n".join(lines) + "\n"


def faithful_table(rows: list[Row], facts: dict[str, str]) -> str:
    """Write by how much the probability falls without the clues that an explanation names."""
    cell = {(row.set, row.what): row for row in rows}
    sets = [name for name in dict.fromkeys(row.set for row in rows) if name != "mean"]
    lines = [
        "| set (photos) | model | without the clues named | without others | difference | p |",
        "|---|---|---|---|---|---|",
    ]
    title = {arm.name: arm.title for arm in ARMS}
    for name in sets:
        for model in MODELS:
            row = cell[name, f"faithful {model}"]
            others, named = row.per_seed.split()
            lines.append(
                f"| {name} ({row.n_test}) | {title[model]} | {float(named):.1f} "
                f"| {float(others):.1f} | {row.value:+.1f} ({row.low:+.1f} to {row.high:+.1f}) "
                f"| {p_text(row)} |"
            )
    lines += [
        "",
        f"By how many points the probability of the answer falls when {N_REMOVED} clues get the "
        f"value they have on average: those that add most to it, or {N_REMOVED} drawn by chance. "
        "Paired over photos of the test split.",
        "",
        measured(facts),
    ]
    return "\n".join(lines) + "\n"


def measured_set(
    folder: Path, *, encoder: str, store: str, seeds: int, wanted: list[str]
) -> list[Row]:
    """Run in a process of its own."""
    warnings.simplefilter("ignore", LimitsWarning)
    setting = Setting(
        name=folder.name, data=st.load_dataset(folder), encoder=Remembering(encoder, store)
    )
    return rows_of(setting, seeds, wanted)


def kept_rows(path: Path) -> list[tuple[Row, dict[str, str]]]:
    """Read rows of an earlier run, each with when and where it was measured."""
    found = []
    kinds = {"n_labels": int, "n_test": int, "set": str, "what": str, "per_seed": str}
    fields = Row.__dataclass_fields__
    with path.open(encoding="utf-8", newline="") as file:
        for cells in csv.DictReader(file):
            values = {
                name: kinds.get(name, float)(cells[name])
                for name in fields
                if cells[name] or name == "per_seed"
            }
            found.append((Row(**values), {k: v for k, v in cells.items() if k not in fields}))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", type=Path, default=ROOT.parent / "shared" / "datasets")
    parser.add_argument("--encoder", default="mini")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=1, help="sets measured at once")
    parser.add_argument("--only", default="", help="names of sets with commas between")
    names = [*(arm.name for arm in ARMS), "leaky", "faithful"]
    parser.add_argument(
        "--arms",
        default=",".join(names),
        help="names with commas between; rows of others stay as they are in the CSV",
    )
    parser.add_argument("--note", default="", help="for example what else ran on the machine")
    parser.add_argument("--store", default="", help="file of embeddings; a temporary one if absent")
    results = ROOT / "benchmarks/results/concepts_table.csv"
    parser.add_argument("--csv", type=Path, default=results)
    parser.add_argument("--pages", type=Path, default=ROOT / "docs/_generated")
    options = parser.parse_args()
    sets = [name for name in options.only.split(",") if name]
    sets = sets or sorted(path.stem for path in TREES.glob("*.json"))
    folders = [options.sets / name for name in sets if (options.sets / name).is_dir()]
    if not folders:
        parser.error(f"no set of {', '.join(sets)} under {options.sets}")
    wanted = options.arms.split(",")
    if set(wanted) - set(names):
        parser.error(f"no arm {set(wanted) - set(names)}; there are {names}")
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as temporary:
        store = options.store or f"{temporary}/embeddings.sqlite"
        measure = partial(
            measured_set,
            encoder=options.encoder,
            store=store,
            seeds=options.seeds,
            wanted=wanted,
        )
        with ProcessPoolExecutor(options.jobs) as pool:
            for found in pool.map(measure, folders):
                rows += found
    facts = about(options.encoder) | {"remark": options.note}
    of_row = {(row.set, row.what): facts for row in rows}
    if set(wanted) != set(names):
        for row, known in kept_rows(options.csv):
            if (row.set, row.what) not in of_row and row.set != "mean":
                rows.append(row)
                of_row[row.set, row.what] = known
    rows.sort(key=lambda row: row.set)
    differences = [row for row in rows if " - " in row.what and "leaky" not in row.what]
    others = [row for row in rows if row not in differences]
    rows = [*others, *with_correction(differences)]
    rows += mean_rows([row for row in rows if "faithful" not in row.what])
    options.csv.parent.mkdir(parents=True, exist_ok=True)
    with options.csv.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=[*asdict(rows[0]), *facts])
        writer.writeheader()
        for row in rows:
            rounded = {
                key: float(f"{cell:.4g}") if isinstance(cell, float) else cell
                for key, cell in asdict(row).items()
            }
            writer.writerow(rounded | of_row.get((row.set, row.what), facts))
    options.pages.mkdir(parents=True, exist_ok=True)
    for name, text in (
        ("table", main_table(rows, facts, options.seeds)),
        ("chosen", chosen_table(rows, facts)),
        ("leaky", leaky_table(rows, facts)),
        ("faithful", faithful_table(rows, facts)),
    ):
        (options.pages / f"concepts_{name}.md").write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
