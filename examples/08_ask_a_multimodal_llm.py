"""Ask a multimodal LLM for labels: first told by their names, then shown by examples in the prompt.

    python examples/08_ask_a_multimodal_llm.py                                       # without a key
    OPENAI_API_KEY=... python examples/08_ask_a_multimodal_llm.py openai:gpt-4.1-mini
    python examples/08_ask_a_multimodal_llm.py ollama:gemma3                   # on your own machine

Without a model, a server is started on this machine that speaks OpenAI's format and looks at the
pictures with the embedded encoder: what it answers says nothing about how good a real model is.
With a real one the run stops before it costs more than 5 cents.
"""

from __future__ import annotations

import contextlib
import sys

import numpy as np
from sklearn.datasets import load_digits

import showtell as st
from showtell.testing.servers import LocalServer

WORDS = np.array(["zero", "one", "two", "three", "four"])


def main(model: str | None) -> None:
    raw = load_digits(n_class=5)
    images = [(255 - 15 * image).astype(np.uint8) for image in raw.images[:150]]
    y = WORDS[raw.target[:150]]
    X_shown, y_shown, X_asked, y_asked = images[:100], y[:100], images[100:], y[100:]

    with contextlib.ExitStack() as stack:
        url = None
        if model is None:
            url = stack.enter_context(LocalServer("openai")).base_url
            model = "openai:try"
        asked = st.Model(model, base_url=url, cache=None, max_cost=None if url else "0.05")

        direct = st.DirectClassifier(asked, labels=WORDS).fit()
        shown = st.InContextClassifier(asked, shots=5, anonymise=True, random_state=0)
        shown.fit(X_shown, y_shown)

        request = next(iter(shown.requests(X_asked)))
        n_images = sum(hasattr(part, "data") for part in request.parts)
        print(f"one request: {n_images} images, {request.n_queries} of them asked about")
        print("names in it:", [word for word in WORDS if f"Label: {word}" in str(request.parts)])

        records = [
            st.evaluate(direct, X_asked, y_asked, name="told the names"),
            st.evaluate(shown, X_asked, y_asked, name="shown 5 of each"),
        ]

    for record in records:
        m = record.metrics
        cost = "price not known" if m["cost_usd"] is None else f"{m['cost_usd']:.4f} USD"
        print(
            f"{record.name:16} {m['accuracy']:.2f} [{m['accuracy_low']:.2f}, "
            f"{m['accuracy_high']:.2f}], {m['n_errors']} errors, {cost}"
        )
    print(st.compare(records).sentence)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
