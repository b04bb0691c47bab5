"""How fast a student is beside its encoder, and what 1,000 images cost: docs/how-to/cheaper.md.

The same photos go, in interleaved rounds and without a store, through the encoder alone and through
a student; counted is the processor time of this process. The teacher is an in-context model behind
the local server, which counts tokens by the vendor's published rule; the price is that of
showtell's own list. A student costs what its processor costs: --core-hour USD.

    python benchmarks/student_speed.py [--photos 200] [--rounds 4] [--core-hour 0.05]

Writes benchmarks/results/student_speed.csv and docs/_generated/student_speed.md. Fails if the
student's throughput is below .95 of the encoder's.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from typing import Any

from photo_sets import PhotoSet, about, add_options, measured_line, photo_sets, write_csv

import showtell as st
from showtell.classify import DistilledClassifier, InContextClassifier
from showtell.encoders import embed_images
from showtell.mllm.model import Model
from showtell.testing.servers import LocalServer

TEACHERS = ("openai:gpt-4.1-mini", "openai:gpt-4.1")
N_ASKED = 40
BAR = 0.95


def spent(work: Any) -> tuple[float, float]:
    """Processor and wall seconds."""
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    return time.process_time() - cpu, time.perf_counter() - wall


def teacher_price(name: str, data: PhotoSet) -> dict[str, Any]:
    """USD for 1,000 images by 5 shots per class, one image in a request and as many as fit."""
    test = data.data.test.images[:N_ASKED]
    prices = {}
    with LocalServer("openai") as server:
        for what, per_request in (("one by one", 1), ("many in a request", "auto")):
            model = Model(name, base_url=server.base_url, cache=None)
            clf = InContextClassifier(
                model, shots=5, images_per_request=per_request, confidence=None
            ).fit(data.data.train.images, data.data.train.y)
            found = clf.classify(test)
            costs = found.columns["cost_usd"]
            if any(cost is None for cost in costs):
                raise SystemExit(f"{name} has no known price")
            prices[what] = 1000 * float(sum(costs)) / len(test)
    return prices


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_options(parser, "student_speed")
    parser.add_argument("--photos", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--core-hour", type=float, default=0.05, help="USD of one core for an hour")
    options = parser.parse_args()
    facts = about() | {"remark": options.note}
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        store = options.store or f"{folder}/embeddings.sqlite"
        data = next(s for s in photo_sets(options.sets, store) if s.name == "animals")
        student = DistilledClassifier(store=store).fit(data.data.train.images, data.data.train.y)
        student.store = None
        encoder = st.load_encoder("mini")
        photos = data.data.test.images[: options.photos]
        for round_ in range(-1, options.rounds):  # the first warms up and is not counted
            alone = spent(lambda: embed_images(encoder, photos, store=None))
            whole = spent(lambda: student.classify(photos))
            if round_ >= 0:
                rows.append(
                    {
                        "round": round_,
                        "photos": len(photos),
                        "encoder_cpu_seconds": alone[0],
                        "student_cpu_seconds": whole[0],
                        "encoder_wall_seconds": alone[1],
                        "student_wall_seconds": whole[1],
                        "share": alone[0] / whole[0],
                    }
                )
        prices = {name: teacher_price(name, data) for name in TEACHERS}
    share = statistics.median(row["share"] for row in rows)
    per_image = statistics.median(row["student_cpu_seconds"] for row in rows) / len(photos)
    own = 1000 * per_image * options.core_hour / 3600
    for row in rows:
        row["student_usd_per_1000"] = own
        for name, of in prices.items():
            for what, usd in of.items():
                row[f"{name} {what}, usd_per_1000"] = usd
    write_csv(options.csv, rows, facts)
    lines = [
        "| who answers | USD for 1,000 images | of which the student costs |",
        "|---|---|---|",
        f"| student on `mini` ({1000 * per_image:.1f} ms of one core an image, at "
        f"{options.core_hour:g} USD an hour) | {own:.5f} | |",
        *(
            f"| {name}, 5 shots of {len(data.labels)} labels, {what} | {usd:.3f} | "
            f"one {usd / own:,.0f}th |"
            for name, of in prices.items()
            for what, usd in of.items()
        ),
        "",
        f"The student's throughput is {share:.3f} of the encoder's alone (processor time, median "
        f"of {options.rounds} rounds of {len(photos)} photos). Teachers: tokens as the vendor "
        "counts them, at the prices of showtell's list; labels that were bought for training come "
        "on top: (labels + calibration) / images of the teacher's price.",
        "",
        measured_line("student_speed", "student_speed", facts),
    ]
    options.markdown.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))
    if share < BAR:
        print(f"the student's throughput is {share:.3f} of the encoder's")
    return int(share < BAR)


if __name__ == "__main__":
    sys.exit(main())
