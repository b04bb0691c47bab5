"""Let a language model rewrite descriptions until an encoder stops confusing the labels.

    python examples/09_let_descriptions_evolve.py                                    # without a key
    OPENAI_API_KEY=... python examples/09_let_descriptions_evolve.py openai:gpt-4.1-mini

Without a model, a server on this machine writes: it puts words of a bank together by chance, half
of them bad ones, and drops those that it is told did harm. What the words gain is measured on
pictures that neither the evolution nor the server has seen. With a real model the run stops before
it costs more than 5 cents.
"""

from __future__ import annotations

import contextlib
import sys

import numpy as np
from sklearn.datasets import load_digits

import showtell as st
from showtell.testing.servers import Author, LocalServer

WORDS = np.array(["zero", "one", "two", "three", "four"])


def main(model: str | None) -> None:
    raw = load_digits(n_class=5)
    images = [(255 - 15 * image).astype(np.uint8) for image in raw.images[:350]]
    y = WORDS[raw.target[:350]]
    X_evolve, y_evolve, X_new, y_new = images[:150], y[:150], images[150:300], y[150:300]

    with contextlib.ExitStack() as stack:
        url = None
        if model is None:
            author = Author(images=images[300:], labels=y[300:].tolist())
            url = stack.enter_context(LocalServer("openai", author=author)).base_url
            model = "openai:try"
        clf = st.EvolvingDescriptionClassifier(
            st.Model(model, base_url=url, cache=None, max_cost=None if url else "0.05"),
            n_generations=4,
            n_start=12,
            n_replaced=6,
            random_state=0,
        )
        plan = clf.set_params(labels=WORDS.tolist()).plan()
        print(f"at most {plan.n_requests} questions")
        clf.fit(X_evolve, y_evolve)

    for generation in clf.history_:
        print(
            f"generation {generation.number}: fitness {generation.fitness:.2f}, validation "
            f"{generation.validation:.2f}, {generation.n_changed} changes"
        )
    print("chosen:", clf.best_generation_, "-", ", ".join(clf.descriptions_["zero"][:3]), "...")
    print("noted as bad:", ", ".join(clf.history_[-1].bad_words.get("zero", ())[-3:]))
    found = clf.measure(X_new, y_new)
    print(
        f"on {found.n} new pictures: {found.accuracy_before:.2f} at the start, "
        f"{found.accuracy_after:.2f} now (p = {found.p_value:.3g})"
    )
    record = st.evaluate(clf, X_new, y_new)
    print(record.controls.sentence)
    shown = st.FewShotClassifier("mini", method="prototype").fit(X_evolve, y_evolve)
    print(f"the mean of the same pictures, without a word: {shown.score(X_new, y_new):.2f}")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
