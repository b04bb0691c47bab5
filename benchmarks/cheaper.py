"""2,000 photos from end to end: a student, a cascade with a promise, and what they cost.

The task is to tell of which of eight photo sets a photo is (an animal, a piece of clothing ...). Of
2,000 photos drawn by chance some are offered to the student, which has a teacher label --budget of
them, some calibrate the cascade, and all others are its traffic. The teacher is an in-context model
at a price, behind a local server that looks at the photos; each step runs in a process of its own
under a cap, is killed with -9 in the middle, and is started again. What was asked and paid for is
read from the server's own books.

    python benchmarks/cheaper.py [--sets ../shared/datasets] [--store FILE] [--budget 200]

Writes benchmarks/results/cheaper.csv and docs/_generated/cheaper.md. Fails if a photo is paid for
twice, a cap is passed, a row is missing, or the accuracy on the traffic is below the promise.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
from photo_sets import about, add_options, measured_line, write_csv

from showtell.classify import (
    CascadeClassifier,
    DistilledClassifier,
    InContextClassifier,
    load_classifier,
)
from showtell.mllm.model import Model
from showtell.testing.servers import LocalServer

KINDS = {
    "animals": "animal",
    "butterflies": "butterfly",
    "clothing": "piece of clothing",
    "digits": "handwritten digit",
    "dog_breeds": "dog",
    "flowers": "flower",
    "satellite": "view from above",
    "weather": "sky",
}
N, N_POOL, N_CALIBRATION, N_OTHER = 2000, 500, 300, 500
SHOTS, PER_REQUEST = 15, 10
TARGET, MOST_LOST = 0.90, 0.05


def photos(folder: Path) -> dict[str, tuple[list[str], list[str]]]:
    """Draw what the teacher is shown, pool, calibration, traffic, and others for thresholds."""
    found = [
        (str(path), kind)
        for name, kind in KINDS.items()
        for path in sorted((folder / name).glob("*/*/*.jpg"))
        if not (name == "animals" and path.parent.name == "dog")  # a kind of its own
    ]
    order = np.random.default_rng(0).permutation(len(found))
    parts: dict[str, tuple[list[str], list[str]]] = {}
    shown: list[int] = []
    for kind in KINDS.values():
        shown += [i for i in order.tolist() if found[i][1] == kind][:SHOTS]
    rest = [i for i in order.tolist() if i not in set(shown)]
    sizes = {
        "pool": N_POOL,
        "calibration": N_CALIBRATION,
        "traffic": N - N_POOL - N_CALIBRATION,
        "other": N_OTHER,
    }
    if len(rest) < sum(sizes.values()):
        raise SystemExit(f"{len(found)} photos are too few")
    parts["shown"] = [found[i][0] for i in shown], [found[i][1] for i in shown]
    for name, n in sizes.items():
        own, rest = rest[:n], rest[n:]
        parts[name] = [found[i][0] for i in own], [found[i][1] for i in own]
    return parts


def child(task: dict[str, Any]) -> dict[str, Any]:
    """One step, as a user would write it."""
    data, folder, store = photos(Path(task["sets"])), Path(task["folder"]), task["store"]
    model = Model(
        "openai:try",
        base_url=task["url"],
        run_folder=folder / task["step"],
        cache=None,
        max_cost=task["cap"],
        max_concurrency=4,
    )
    teacher = InContextClassifier(
        model, shots=SHOTS, labels=list(KINDS.values()), images_per_request=PER_REQUEST, store=store
    ).fit(*data["shown"])
    if task["step"] == "distill":
        student = DistilledClassifier(teacher, budget=task["budget"], store=store)
        student.fit(data["pool"][0]).save(folder / "student")
        right = np.asarray(data["pool"][1])[student.rows_]
        return {
            "n_labels": student.n_labels_,
            "counts": student.teacher_labels_.counts,
            "label_accuracy": float(
                (np.array(student.classes_)[student.teacher_labels_.codes] == right).mean()
            ),
            "agreement": student.agreement_,
        }
    student = load_classifier(folder / "student")
    student.store = store
    X, y = data["traffic"]
    truth = np.asarray(y)
    sent: set[int] = set()
    told = {}
    for kind, promised, gold in (
        ("accuracy", {"target_accuracy": TARGET}, True),
        ("agreement", {"max_loss": MOST_LOST}, False),
    ):
        cascade = CascadeClassifier([student, teacher], **promised)
        images, labels = data["calibration"]
        cascade.fit(images, labels if gold else None, traffic=data["other"][0])
        found = cascade.classify(X)
        rows = np.flatnonzero(np.asarray(found.columns["tier"]) == 2)
        sent |= set(rows.tolist())
        told[kind] = {
            "promise": cascade.promise_.to_record(),
            "sentence": cascade.promise_.sentence(),
            "whole": [str(image) for image in found.images] == X and bool(found.ok.all()),
            "routed": len(rows),
            "accuracy": float((found.label == truth).mean()),
            "drift": cascade.drift(found).alarm,
        }
    asked = teacher.classify(data["calibration"][0])  # out of the journal
    return told | {
        "sent": len(sent),
        "student_accuracy": float((student.predict(X) == truth).mean()),
        "teacher_accuracy": float((asked.label == np.asarray(data["calibration"][1])).mean()),
    }


def step(server: LocalServer, task: dict[str, Any], kill_after: int) -> dict[str, Any]:
    """Run a step, kill it once when so many answers more have been given, and run it again."""
    command = [sys.executable, __file__, "--child", json.dumps(task)]
    before = server.stats.n_answered
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        while server.stats.n_answered < before + kill_after and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    at_kill = server.stats.n_answered - before
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    found = json.loads(done.stdout.splitlines()[-1])
    return found | {
        "killed": process.returncode == -signal.SIGKILL,
        "answers_at_kill": at_kill,
        "answers": server.stats.n_answered - before,
    }


def journal_usd(folder: Path) -> Decimal:
    """What the answers in a run folder cost."""
    rows = map(json.loads, (folder / "journal.jsonl").read_text("utf-8").splitlines())
    return sum((Decimal(r["cost_usd"]) for r in rows if r["kind"] == "answer"), Decimal(0))


def missed_bars(row: dict[str, Any]) -> list[str]:
    missed = []
    if row["most_often_paid"] != 1:
        missed.append(f"a photo was paid for {row['most_often_paid']} times")
    if row["photos_paid"] != row["n_labels"] + row["n_calibration"] + row["sent"]:
        missed.append(f"{row['photos_paid']} photos were paid for")
    if not (row["distill_killed"] and row["cascade_killed"]):
        missed.append("a step ended before it was killed")
    if not row["within_caps"]:
        missed.append(f"{row['journal_usd']} USD are above the cap of {row['cap']}")
    if not (row["accuracy_whole"] and row["agreement_whole"]):
        missed.append("rows are missing, failed or out of order")
    if row["accuracy_ok"] and row["accuracy_accuracy"] < TARGET:
        missed.append(f"accuracy {row['accuracy_accuracy']:.3f} is below the promise")
    if row["agreement_ok"] and row["agreement_accuracy"] < row["teacher_accuracy"] - MOST_LOST:
        missed.append(f"accuracy {row['agreement_accuracy']:.3f} is too far below the teacher's")
    return missed


def as_markdown(row: dict[str, Any], facts: dict[str, str]) -> str:
    bought = row["n_labels"] + row["n_calibration"]
    shares = [
        bought / 200_000 + row[f"{kind}_routed"] / row["n_traffic"]
        for kind in ("accuracy", "agreement")
    ]
    lines = [
        "| step | photos | asked and paid, by the server's books | killed after |",
        "|---|---|---|---|",
        f"| `distill`: labels for the student | {N_POOL} to choose from | {row['n_labels']} | "
        f"{row['distill_answers_at_kill']} of {row['distill_answers']} answers |",
        f"| `cascade`: calibration | {N_CALIBRATION} | {row['n_calibration']} | "
        f"{row['cascade_answers_at_kill']} of {row['cascade_answers']} answers |",
        f"| `cascade`: traffic sent on | {row['n_traffic']} | {row['sent']} | |",
        "",
        "| who answers | promise | traffic sent on | right | price of asking about all |",
        "|---|---|---|---|---|",
        f"| teacher | | all | {100 * row['teacher_accuracy']:.1f} % (of the calibration photos) "
        "| 1 |",
        f"| student alone | none | none | {100 * row['student_accuracy']:.1f} % | "
        f"{row['n_labels'] / N:.3f} |",
        *(
            f"| cascade | {row[f'{kind}_sentence']} | {row[f'{kind}_routed']} | "
            f"{100 * row[f'{kind}_accuracy']:.1f} % | "
            f"{(bought + row[f'{kind}_routed']) / N:.3f} |"
            for kind in ("accuracy", "agreement")
        ),
        "",
        f"{row['photos_paid']} of {N} photos were asked about, each once, although both steps were "
        "killed with -9 in the middle and started again. The labels for the student are of photos "
        f"that were chosen for being hard to tell: {100 * row['label_accuracy']:.1f} % are right. "
        "For 200,000 photos of the same kind the cascades would cost "
        + " and ".join(f"{share:.4f}" for share in shares)
        + f" of the teacher's price, the student alone {row['n_labels'] / 200_000:.4f}. Cap of "
        f"each step: {row['cap']} USD; the journals' sums: {row['journal_usd']} USD (play money).",
        "",
        measured_line("cheaper", "cheaper", facts),
    ]
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_options(parser, "cheaper")
    parser.add_argument("--budget", type=int, default=200)
    parser.add_argument("--cap", default="1.00", help="USD a step may spend")
    parser.add_argument("--child", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(child(json.loads(options.child)), default=str))
        return 0
    facts = about() | {"remark": options.note}
    with (
        tempfile.TemporaryDirectory() as folder,
        LocalServer("openai", rule="nearest", latency=0.05, bill_gone=True, seed=1) as server,
    ):
        task = {
            "sets": str(options.sets),
            "folder": folder,
            "store": options.store or f"{folder}/embeddings.sqlite",
            "url": server.base_url,
            "budget": options.budget,
            "cap": options.cap,
        }
        distilled = step(server, task | {"step": "distill"}, options.budget // PER_REQUEST // 2)
        n_labels = sum(server.stats.paid_images.values())
        cascaded = step(server, task | {"step": "cascade"}, N_CALIBRATION // PER_REQUEST * 2 // 3)
        paid = server.stats.paid_images
        usd = [journal_usd(Path(folder) / name) for name in ("distill", "cascade")]
        row = {
            "n_labels": n_labels,
            "n_calibration": N_CALIBRATION,
            "n_traffic": N - N_POOL - N_CALIBRATION,
            "photos_paid": sum(paid.values()),
            "most_often_paid": max(paid.values()),
            "cap": options.cap,
            "journal_usd": " + ".join(map(str, usd)),
            "within_caps": max(usd) <= Decimal(options.cap),
            "label_accuracy": distilled["label_accuracy"],
            "agreement": distilled["agreement"],
            **{k: cascaded[k] for k in ("sent", "student_accuracy", "teacher_accuracy")},
            **{
                f"{kind}_{k}": cascaded[kind][k]
                for kind in ("accuracy", "agreement")
                for k in ("sentence", "whole", "routed", "accuracy", "drift")
            },
            **{
                f"{kind}_ok": cascaded[kind]["promise"]["threshold"] is not None
                for kind in ("accuracy", "agreement")
            },
            **{f"distill_{k}": distilled[k] for k in ("killed", "answers_at_kill", "answers")},
            **{f"cascade_{k}": cascaded[k] for k in ("killed", "answers_at_kill", "answers")},
        }
    write_csv(options.csv, [row], facts)
    options.markdown.write_text(as_markdown(row, facts), encoding="utf-8")
    print(as_markdown(row, facts))
    missed = missed_bars(row)
    print("\n".join(missed) or "all bars reached")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
