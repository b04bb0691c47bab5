"""Writes `format1`: folders and files as they were saved once, for the tests beside this file.

Run with the code of commit 8f079d2 (2026-11-29, before the rooms were rebuilt), and kept to say how
the fixtures came about. With later code it would freeze what that code writes, which is another
thing: so it refuses to replace what is there. `frozen.py` has followed the code since then; what it
imports of `showtell.mllm` lay in `continuations` and `local_vlm`.

    python tests/frozen/make_frozen.py
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.frozen import frozen
from tests.frozen.frozen import FORMAT1, KEY, LABELS, MODEL, NOWHERE

import showtell as st
from showtell.evaluate import audit
from showtell.media import content_hash
from showtell.prompts import DescriptionSet
from showtell.testing import ColourEncoder, HashEncoder, draw_shape
from showtell.testing.servers import Bias

EVERY_LABEL = ",".join(LABELS)
NOISE = Bias(noise=0.4)  # so that answers of then can be told from those of now

NOISY = ("direct-corrected", "direct-votes", "in-context-random")  # many answers for one image

PHRASES = {
    "red circle": ["red", "a round thing", "warm red paint"],
    "green triangle": ["green", "three corners"],
    "blue square": ["blue", "four corners", "cold blue paint"],
}
SENTENCES = {
    label: [f"A photo of a {label}: {text}." for text in PHRASES[label]] for label in LABELS
}
TREE = {
    "domain": "shape",
    "parts": [
        {"part": "face", "attributes": {"colour": {
            "red": ["red circle"], "green": ["green triangle"], "blue": ["blue square"]}}},
        {"part": "edge", "attributes": {
            "colour": ["red", "green", "blue", "yellow"], "form": ["round", "pointed"]}},
    ],
}  # fmt: skip


# -- what all of it is about ----------------------------------------------------------------------
def draw_data() -> None:
    for part, n, seed in (("train", 4, 1), ("test", 4, 50)):
        for code, label in enumerate(LABELS):
            place = FORMAT1 / "data" / part / label
            place.mkdir(parents=True)
            for number in range(n):
                picture = draw_shape(label, size=(48, 48), seed=seed + 1000 * code + number)
                picture.save(place / f"{number}.png", optimize=True)


def write_words() -> None:
    place = FORMAT1 / "words"
    place.mkdir()
    phrases = DescriptionSet(PHRASES, kind="phrases")
    for ending in ("json", "csv", "yaml"):
        phrases.write(place / f"phrases.{ending}")
    DescriptionSet(SENTENCES, kind="sentences").write(place / "sentences.json")
    from showtell.prompts import read_concepts

    read_concepts(TREE).write(place / "tree.json")


# -- classifiers ----------------------------------------------------------------------------------
def classifiers():
    """Name to a fitted classifier, and whether its encoder was given as an object."""
    X, y = frozen.images("train")
    n = dict(zip(LABELS, range(3), strict=True))
    numbers = [n[label] for label in y]
    zero, few, told = st.ZeroShotClassifier, st.FewShotClassifier, st.DescriptionClassifier
    by_name, labels = "colours", list(LABELS)
    yield "zero-shot", zero(by_name, labels=labels).fit()
    yield "zero-shot-object", zero(ColourEncoder(), labels=labels, abstain_below=0.9).fit()
    yield "zero-shot-calibrated", zero(by_name, labels=labels, calibrate=True).fit(X * 2, y * 2)
    yield (
        "zero-shot-words",
        zero(
            by_name,
            labels=labels,
            templates=["a photo of a {label}", "a drawing: {label}"],
            descriptions={"red circle": ("red and round", "red paint"), "blue square": "blue"},
            aliases={"red circle": ["disc"]},
        ).fit(),
    )
    yield (
        "zero-shot-numbers",
        zero(by_name, labels=[0, 1, 2], descriptions={i: label for label, i in n.items()}).fit(),
    )
    yield "zero-shot-sigmoid", zero(by_name, labels=labels, probability="sigmoid").fit()
    yield "zero-shot-balance", zero(by_name, labels=labels, batch="balance").fit()
    yield "zero-shot-adapt", zero(by_name, labels=labels, batch="adapt").fit()
    yield "zero-shot-mini", zero("mini", labels=labels).fit()
    for method in ("auto", "prototype", "tip-adapter", "linear"):
        yield f"few-shot-{method}", few(by_name, method=method, random_state=0).fit(X, y)
    yield (
        "few-shot-tuned",
        few(
            by_name,
            method="tip-adapter",
            alpha=1.0,
            beta=3.0,
            calibrate=True,
            shots=3,
            random_state=1,
        ).fit(X, y),
    )
    yield "few-shot-no-text", few(ColourEncoder(), method="prototype", text_weight=None).fit(X, y)
    yield (
        "few-shot-linear-no-centre",
        few(by_name, method="linear", C=1.0, centre=False, text_weight=None).fit(X, y),
    )
    yield (
        "few-shot-numbers",
        few(by_name, labels={i: label for label, i in n.items()}).fit(X, numbers),
    )
    yield "few-shot-mini", few("mini", method="prototype").fit(X, y)
    yield "described-dclip", told(by_name, labels=labels, descriptions=PHRASES).fit()
    yield "described-cupl", told(
        by_name, labels=labels, descriptions=SENTENCES, method="cupl", templates="default",
        templates_share=0.5,
    ).fit()  # fmt: skip
    yield (
        "described-waffle",
        told(by_name, labels=labels, method="waffle", n_pairs=3, random_state=0).fit(),
    )
    yield "described-waffle-and-descriptions", told(
        by_name, labels=labels, descriptions=PHRASES, method="waffle+descriptions", n_pairs=2,
        concept="shape", random_state=0,
    ).fit()  # fmt: skip
    yield (
        "described-calibrated",
        told(by_name, labels=labels, descriptions=PHRASES, calibrate=True, compat="upstream").fit(
            X * 2, y * 2
        ),
    )
    for model in ("vote", "forest"):
        yield (
            f"concepts-{model}",
            st.ConceptClassifier(
                by_name, concepts=TREE, model=model, n_trees=8, random_state=0
            ).fit(X, y),
        )
    yield "concepts-selected", st.ConceptClassifier(
        by_name, concepts=TREE, model="vote", voting="all", layout="per-label", prefix="domain",
        select="permutation", descriptions=PHRASES, random_state=0,
    ).fit(X, y)  # fmt: skip


def askers():
    """The same for classifiers that ask a model."""
    X, y = frozen.images("train")
    labels, own = list(LABELS), {"encoder": "colours", "cache": None, "random_state": 0}
    yield (
        "fusion-image-only",
        st.FusionClassifier(
            MODEL, labels=labels, use=("image",), descriptions=PHRASES, **own
        ).fit(),
    )
    yield "fusion", st.FusionClassifier(MODEL, labels=labels, descriptions=PHRASES, **own).fit()
    yield (
        "fusion-tuned",
        st.FusionClassifier(
            MODEL, labels=labels, weights="tune", standardise=True, calibrate=True, **own
        ).fit(X, y),
    )
    yield (
        "evolving",
        st.EvolvingDescriptionClassifier(
            MODEL, labels=labels, n_generations=2, n_candidates=2, n_start=4, n_replaced=2, **own
        ).fit(X, y),
    )
    asks = {**own, "batch_size": 2}
    yield "direct", st.DirectClassifier(
        MODEL, labels=labels, descriptions={"red circle": "red and round"},
        aliases={"red circle": ["disc"]}, **asks,
    ).fit()  # fmt: skip
    yield (
        "direct-calibrated",
        st.DirectClassifier(MODEL, labels=labels, calibrate=True, abstain_below=0.3, **asks).fit(
            X * 2, y * 2
        ),
    )
    yield (
        "direct-corrected",
        st.DirectClassifier(
            MODEL, labels=labels, permutations="all", correct="contextual", **asks
        ).fit(),
    )
    yield (
        "direct-votes",
        st.DirectClassifier(MODEL, labels=labels, confidence="votes", n_samples=3, **asks).fit(),
    )
    yield "direct-shortlist", st.DirectClassifier(MODEL, labels=labels, shortlist=2, **asks).fit()
    yield (
        "direct-at-an-address",
        st.DirectClassifier(MODEL, labels=labels, base_url=NOWHERE, **asks).fit(),
    )
    shown = st.InContextClassifier
    yield "in-context", shown(MODEL, labels=labels, shots=1, **asks).fit(X, y)
    yield (
        "in-context-anonymous",
        shown(MODEL, labels=labels, shots=1, anonymise=True, **asks).fit(X, y),
    )
    yield (
        "in-context-random",
        shown(MODEL, labels=labels, shots=3, selection="random", permutations=2, **asks).fit(X, y),
    )
    yield (
        "in-context-nearest",
        shown(MODEL, labels=labels, shots=1, selection="nearest", **asks).fit(X, y),
    )
    yield (
        "in-context-demonstrations",
        shown(MODEL, demonstrations=list(zip(X[::4], y[::4], strict=True)), **asks).fit(),
    )


def likelihoods():
    X, y = frozen.images("train")
    for name, more in {
        "likelihood": {},
        "likelihood-pmi": {"rule": "pmi", "batch_calibration": 0.5},
        "likelihood-letter": {"rule": "letter", "rotations": 2, "question": "Which shape?"},
        "likelihood-shortlist": {"shortlist": 2, "encoder": "colours"},
    }.items():
        yield (
            name,
            st.LikelihoodClassifier(
                frozen.ColourVLM(), labels=list(LABELS), random_state=0, **more
            ).fit(),
        )
    yield (
        "likelihood-calibrated",
        st.LikelihoodClassifier(
            frozen.ColourVLM(), labels=list(LABELS), calibrate=True, random_state=0
        ).fit(X * 2, y * 2),
    )


def save_classifier(name: str, clf) -> None:
    """Save it, and note what it says of the test images."""
    X, _ = frozen.images("test")
    clf.save(FORMAT1 / "classifiers" / name)
    server = frozen.make_server(bias=Bias(noise=0.4 if name in NOISY else 0.0), seed=1)
    with server, mock.patch.dict(os.environ, OPENAI_BASE_URL=server.base_url):
        kind = type(clf).__name__
        more = {}
        if kind == "LikelihoodClassifier":
            more["model"] = frozen.ColourVLM()
        if name == "direct-at-an-address":
            from showtell.mllm import load_mllm

            more["model"] = load_mllm(MODEL, base_url=server.base_url)
        by_object = not isinstance(getattr(clf, "encoder", ""), str)
        if by_object:
            more["encoder"] = ColourEncoder()
        again = st.load_classifier(FORMAT1 / "classifiers" / name, **more)
        found = again.classify(X)
        n_requests = server.stats.n_answered
        predicted = None if n_requests else again.predict(X).tolist()
    expected = {
        "class": kind,
        "encoder_object": by_object,
        "images": X,
        "labels": found.label.tolist(),
        "predicted": predicted,
        "status": list(found.status),
        "confidence": [None if c is None else float(c) for c in _confidences(found)],
        "proba": None if found.proba is None else found.proba.tolist(),
        "n_requests": n_requests,
        "noise": 0.4 if name in NOISY else 0.0,
    }
    _write(FORMAT1 / "classifiers" / f"{name}.json", expected)
    print(f"  {name}: {expected['labels'][:3]} {n_requests} requests")


def _confidences(found):
    return [row["confidence"] for row in found.rows()]


# -- runs -----------------------------------------------------------------------------------------
ASK = ("--model", MODEL, "--batch-size", "1", "--no-reuse", "--json", "--run", "kept")
WRITE = ("--model", MODEL, "--no-reuse", "--json", "--run", "kept")
AT = ("--base-url", "{url}")
COLOURS = ("--encoder", "colours")
OWN = ("--json", "--run", "kept", *COLOURS)
EVOLVE = ("--generations", "2", "--candidates", "2", "--count", "4", "--replace", "2")
FUSION = ("--method", "fusion", "--descriptions", "phrases.json", *COLOURS)
IN_CONTEXT = ("--method", "in-context", "--shots", "1")
AUDIT = ("--probes", "example,position,order", "--shots", "1", "--n", "6",
         "--corrections", "permutations")  # fmt: skip
LABELLED = ("--labels", EVERY_LABEL)

FINISHED = {
    "classify-zero-shot": ("classify", "data/test", *LABELLED, *OWN),
    "classify-balance": ("classify", "data/test", *LABELLED, "--batch", "balance", *OWN),
    "classify-linear": ("classify", "data/test", "--examples", "data/train", "--method", "linear",
                        "--limit", "7", "--abstain-below", "0.5", *OWN),
    "classify-cupl": ("classify", "data/test", *LABELLED, "--method", "cupl", "--descriptions",
                      "sentences.json", "--concept", "shape", *OWN),
    "classify-concepts": ("classify", "data/test", "--examples", "data/train", "--method",
                          "concept-forest", "--concepts", "tree.json", *OWN),
    "classify-direct": ("classify", "data/test", *LABELLED, *ASK, *AT),
    "classify-jobs": ("classify", "data/test", *LABELLED, *ASK, *AT, "--batch-api"),
    "evaluate-zero-shot": ("evaluate", "data", "--method", "zero-shot", *OWN),
    "evaluate-tip-adapter": ("evaluate", "data", "--method", "tip-adapter", "--shots", "2", *OWN),
    "evaluate-dclip": ("evaluate", "data", "--method", "dclip", "--descriptions", "phrases.json",
                       *OWN),
    "evaluate-curve": ("evaluate", "data", "--method", "prototype", "--curve", "--curve-shots",
                       "0,1,2", "--seeds", "2", *OWN),
    "evaluate-concepts": ("evaluate", "data", "--method", "concepts", "--concepts", "tree.json",
                          *OWN),
    "evaluate-direct": ("evaluate", "data", "--method", "direct", *ASK, *AT),
    "evaluate-in-context": ("evaluate", "data", *IN_CONTEXT, "--anonymise", *ASK, *AT),
    "evaluate-evolving": ("evaluate", "data", "--method", "evolving", *WRITE, *AT, *COLOURS),
    "compare-encoders": ("compare", "data", "--methods", "zero-shot,prototype,linear,dclip",
                         "--descriptions", "phrases.json", *OWN),
    "compare-models": ("compare", "data", "--methods", "zero-shot,direct,in-context", *COLOURS,
                       "--shots", "1", *ASK, *AT),
    "audit": ("audit", "data", *AUDIT, *WRITE, *AT),
    "optimize": ("optimize", "data", *EVOLVE, *WRITE, *AT, *COLOURS),
    "describe": ("describe", *LABELLED, "--count", "3", *WRITE, *AT),
    "concepts": ("concepts", "shape", *LABELLED, "--depth", "1", *WRITE, *AT),
}  # fmt: skip
# name: command, and after how many answers it is killed
KILLED = {
    "classify-direct-killed": (("classify", "data/test", *LABELLED, *ASK, *AT), 5),
    "classify-default-address-killed": (("classify", "data/test", *LABELLED, *ASK), 5),
    "classify-in-context-killed": (
        ("classify", "data/test", "--examples", "data/train", *IN_CONTEXT, "--permutations", "2",
         "--confidence-from", "logprobs", *ASK, *AT), 9),
    "classify-fusion-killed": (
        ("classify", "data/test", *LABELLED, *FUSION, *WRITE, *AT), 9),
    "evaluate-direct-killed": (("evaluate", "data", "--method", "direct", *ASK, *AT), 5),
    "evaluate-in-context-killed": (("evaluate", "data", *IN_CONTEXT, *ASK, *AT), 5),
    "evaluate-evolving-killed": (
        ("evaluate", "data", "--method", "evolving", *WRITE, *AT, *COLOURS), 3),
    "compare-killed": (
        ("compare", "data", "--methods", "zero-shot,direct,in-context", *COLOURS, "--shots", "1",
         *ASK, *AT), 16),
    "audit-killed": (("audit", "data", *AUDIT, *WRITE, *AT), 20),
    "optimize-killed": (("optimize", "data", *EVOLVE, *WRITE, *AT, *COLOURS), 2),
    "describe-killed": (("describe", *LABELLED, "--count", "3", *WRITE, *AT), 1),
    "concepts-killed": (("concepts", "shape", *LABELLED, "--depth", "1", *WRITE, *AT), 3),
}  # fmt: skip
# name: command, and the cap that stops it
STOPPED = {
    "classify-corrected-stopped": (
        ("classify", "data/test", *LABELLED, "--permutations", "all", "--correct", "batch",
         *ASK, *AT), 10),
    "classify-calibrated-stopped": (
        ("classify", "data/test", "--examples", "data/train", "--method", "direct", "--calibrate",
         "6", *ASK, *AT), 9),
    "evaluate-curve-stopped": (
        ("evaluate", "data", "--method", "in-context", "--curve", "--curve-shots", "0,1",
         "--seeds", "1", "--shots", "1", *ASK, *AT), 15),
    "optimize-stopped": (("optimize", "data", *EVOLVE, *WRITE, *AT, *COLOURS), 3),
}  # fmt: skip


def environment(place: Path, url: str) -> dict[str, str]:
    """Only what a run needs: no setting of this machine."""
    plugins = place / "plugins" / "frozen_plugins-1.0.dist-info"
    if not plugins.exists():
        plugins.mkdir(parents=True)
        (plugins / "METADATA").write_text("Metadata-Version: 2.1\nName: frozen-plugins\n"
                                          "Version: 1.0\n")  # fmt: skip
        (plugins / "entry_points.txt").write_text(frozen.PLUGINS)
    keep = {k: v for k, v in os.environ.items() if not k.startswith(("SHOWTELL_", "OPENAI_"))}
    return {
        **keep,
        "PYTHONPATH": str(plugins.parent),
        "SHOWTELL_CACHE_DIR": str(place / "cache"),
        "OPENAI_API_KEY": KEY,
        **({"OPENAI_BASE_URL": url} if url else {}),
    }


def start(argv, place: Path, url: str, *more: str):
    command = [sys.executable, "-m", "showtell", *frozen.as_of_now(argv, url), *more]
    own = url if "{url}" not in argv else ""
    return subprocess.Popen(
        command, cwd=place, env=environment(place, own), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


@contextlib.contextmanager
def workplace():
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        frozen.copy_data(place)
        yield place


def keep_run(name: str, argv, *, kill_after: int = 0, cap: int = 0) -> None:
    """Run it at a server that errs, whole or in part; then see what today's code makes of it."""
    with workplace() as place:
        latency = 0.2 if kill_after else 0.0
        with frozen.make_server(bias=NOISE, latency=latency) as server:
            more = ["--max-concurrency", "2"] if kill_after else []
            more += ["--max-requests", str(cap), "--max-concurrency", "1"] if cap else []
            process = start(argv, place, server.base_url, *more)
            if kill_after:
                while n_written(place / "kept" / "journal.jsonl") < kill_after:
                    assert process.poll() is None, process.communicate()
                    time.sleep(0.002)
                process.kill()  # the next requests are under way
            out, err = process.communicate(timeout=600)
            wanted = -9 if kill_after else 3 if cap else 0
            assert process.returncode == wanted, (process.returncode, out, err)
            for page in [*place.glob("kept/**/report.html"), *place.glob("kept/**/*.part")]:
                page.unlink()
            frozen.rewrite(place / "kept", FORMAT1 / "runs" / name, server.base_url, NOWHERE)
    about = {"argv": list(argv), "state": "killed" if kill_after else "stopped" if cap else
             "finished"}  # fmt: skip
    _write(FORMAT1 / "runs" / f"{name}.json", about)
    with workplace() as place, frozen.make_server() as server:
        frozen.place_run(name, place, server.base_url)
        with contextlib.chdir(place):
            result = frozen.invoke(argv, server.base_url)
        assert result.exit_code == 0, result.output
        about["told"] = frozen.told_of(argv[0], result.stdout)
        about["asked"] = server.stats.n_answered
        about["asked_about"] = named_images(server.stats.paid_images)
        run = json.loads((place / "kept" / "run.json").read_text("utf-8"))
        about["in_doubt"] = run.get("totals", {}).get("n_requests_in_doubt")
    assert bool(about["asked"]) == (about["state"] != "finished"), (name, about)
    _write(FORMAT1 / "runs" / f"{name}.json", about)
    print(f"  {name}: {about['state']}, {about['asked']} asked, {about['in_doubt']} in doubt")


def n_written(journal: Path) -> int:
    """How many answers are written down."""
    return journal.read_bytes().count(b'"kind":"answer"') if journal.exists() else 0


def named_images(paid) -> dict[str, int]:
    """How often images were asked about, by path, out of the server's books."""
    path_of = {
        content_hash((FORMAT1 / path).read_bytes()): path
        for part in ("train", "test")
        for path in frozen.images(part)[0]
    }
    return {path_of[digest]: n for digest, n in sorted(paid.items()) if digest in path_of}


# -- stores, tables and records -------------------------------------------------------------------
def keep_caches() -> None:
    """Answers and embeddings on disk, as a command left them."""
    argv = ("classify", "data/test", *LABELLED, "--model", MODEL, "--batch-size", "1", "--json")
    with workplace() as place, frozen.make_server(bias=NOISE) as server:
        process = start(argv, place, server.base_url)
        out, err = process.communicate(timeout=600)
        assert process.returncode == 0, err
        told = frozen.told_of("classify", out)
        with mock.patch.dict(os.environ, SHOWTELL_CACHE_DIR=str(place / "cache")):
            encoder = HashEncoder(8)
            clf = st.FewShotClassifier(encoder, method="prototype", text_weight=None)
            X, y = frozen.images("train")
            os.chdir(place)
            clf.fit(X, y)
            labels = clf.predict(X).tolist()
            os.chdir(FORMAT1)
            assert encoder.n_encoded == len(X)
        target = FORMAT1 / "cache"
        target.mkdir()
        import sqlite3

        for file in sorted((place / "cache").iterdir()):
            if file.suffix == ".sqlite":
                with (
                    contextlib.closing(sqlite3.connect(file)) as base,
                    contextlib.closing(sqlite3.connect(target / file.name)) as copy,
                ):
                    base.backup(copy)
                    copy.execute("PRAGMA journal_mode=DELETE")
            elif not file.name.endswith(("-wal", "-shm")):
                print("  left out of the cache:", file.name)
    _write(FORMAT1 / "cache.json", {"argv": list(argv), "told": told, "labels": labels})


def keep_tables() -> None:
    """Predictions in every kind of table, a record with CSV, an audit, a file of evolution."""
    X, _ = frozen.images("test")
    place = FORMAT1 / "tables"
    place.mkdir()
    found = st.FewShotClassifier("colours", method="prototype", abstain_below=0.9286).fit(
        *frozen.images("train")
    ).classify([*X, "data/test/missing.png"])  # fmt: skip
    for ending in ("csv", "jsonl", "parquet"):
        found.write(place / f"predictions.{ending}", proba=True)
    rows = [[r["image"], r["label"], r["status"], r["confidence"]] for r in found.rows()]
    _write(place / "predictions-expected.json", {"rows": rows, "classes": list(found.classes),
           "proba": found.proba.tolist()})  # fmt: skip
    with mock.patch.dict(sys.modules, pyarrow=None):
        clf = st.ZeroShotClassifier("colours", labels=list(LABELS)).fit()
        record = st.evaluate(clf, st.load_dataset("data/test"))
        record.save(FORMAT1 / "record-csv", report=False)
    assert (FORMAT1 / "record-csv" / "predictions.csv").is_file()
    _write(FORMAT1 / "record-csv.json", {
        "accuracy": record.metrics["accuracy"], "labels": record.predictions.label.tolist()
    })  # fmt: skip
    with frozen.make_server(bias=Bias(first=0.3)) as server:
        clf = st.DirectClassifier(
            MODEL, labels=list(LABELS), base_url=server.base_url, cache=None, random_state=0
        ).fit()
        made = audit(clf, st.load_dataset("data/test"), probes=["position"], n=12, random_state=0)
        made.save(FORMAT1 / "audit.json")


# -- the surface ----------------------------------------------------------------------------------
def keep_surface() -> None:
    """Help texts for a person, options and names for the tests."""
    import typer

    from showtell.cli.main import app

    place = FORMAT1 / "help"
    place.mkdir()
    _write(FORMAT1 / "public_names.json", sorted(st.__all__))
    verbs = typer.main.get_command(app).commands
    env = {**os.environ, "COLUMNS": "100", "NO_COLOR": "1", "TERM": "dumb"}
    options = {}
    for verb, command in {"": typer.main.get_command(app), **verbs}.items():
        options[verb] = sorted(
            {flag for p in command.params for flag in (*p.opts, *p.secondary_opts)
             if flag.startswith("-")}
        )  # fmt: skip
        argv = [sys.executable, "-m", "showtell", *([verb] if verb else []), "--help"]
        told = subprocess.run(argv, env=env, text=True, capture_output=True, check=True).stdout
        lines = "\n".join(line.rstrip() for line in told.splitlines()).strip("\n")
        (place / f"{verb or 'showtell'}.txt").write_text(lines + "\n", "utf-8")
    _write(FORMAT1 / "options.json", options)


def _write(path: Path, value) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", "utf-8")


def main() -> None:
    if FORMAT1.exists():
        raise SystemExit(f"{FORMAT1} is there, and is not to be written anew.")
    draw_data()
    write_words()
    keep_surface()
    with tempfile.TemporaryDirectory() as folder:
        os.environ.update(environment(Path(folder), ""))
        sys.path.insert(0, os.environ["PYTHONPATH"])
        os.chdir(FORMAT1)
        for name, clf in (*classifiers(), *likelihoods()):
            save_classifier(name, clf)
        with (
            frozen.make_server(bias=Bias(noise=0.1)) as server,
            mock.patch.dict(os.environ, OPENAI_BASE_URL=server.base_url),
        ):
            for name, clf in askers():
                save_classifier(name, clf)
        keep_tables()
        keep_caches()
    for name, argv in FINISHED.items():
        keep_run(name, argv)
    for name, (argv, n) in KILLED.items():
        keep_run(name, argv, kill_after=n)
    for name, (argv, n) in STOPPED.items():
        keep_run(name, argv, cap=n)


if __name__ == "__main__":
    main()
