"""Score answers in words, whoever gave them: a chat model, a colleague, another program.

    python examples/07_score_anybodys_answers.py [OUTPUT FOLDER]

The rules are few and never guess: "catfish" is not a cat, and "a cat or a dog" is no answer.
"""

from __future__ import annotations

import sys
from pathlib import Path

from showtell.evaluate import score_predictions

TABLE = {
    "image": [f"{i}.jpg" for i in range(1, 11)],
    "truth": ["cat", "cat", "cat", "dog", "dog", "dog", "pony", "pony", "pony", "pony"],
    "answer": [
        "Cat.",
        "It looks like a cat to me!",
        "catfish",
        '{"label": "dog", "confidence": 0.9}',
        "This could be a cat or a dog.",
        "",
        "a small horse",
        "I'm sorry, I can't help with that.",
        "PONY",
        "The animal in the picture is a dog.",
    ],
}


def main(out: Path) -> None:
    record = score_predictions(TABLE, "truth", "answer", aliases={"pony": ["small horse"]})
    m = record.metrics
    print(
        f"accuracy {m['accuracy']:.2f} over all, {m['accuracy_answered']:.2f} where a label was "
        f"given ({m['n_abstained']} of {m['n_samples']} were not)"
    )
    for row in record.parsing:
        answers = ", ".join(repr(answer) for answer, _, _ in row.examples)
        print(f"  {row.rule:12} {row.n_answers} answers, {row.n_correct} right: {answers}")
    print("page:", record.report(out / "answers.html"))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("out"))
