"""``--model hf-hub:ORG/NAME`` and ``local-dir:PATH``: labels scored by a model in this process."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

from showtell.cli.output import counted, print_csv, print_json, print_table
from showtell.cli.session import Session, is_terminal
from showtell.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from showtell.classify.likelihood.classifier import LikelihoodClassifier
    from showtell.cli.asking import Asking
    from showtell.cli.choices import Choices
    from showtell.datasets import Dataset, LabelSet

__all__ = ["OF_LOCAL", "is_local", "make_scoring", "refuse_foreign", "show_estimate"]

OF_LOCAL = ("model", "score", "question", "calibrate", "shortlist")
"""What of the panel "Asking a multimodal LLM" a model in this process has a use for."""


def is_local(model: str | None) -> bool:
    """Say whether a name of ``--model`` means one in this process.

    Examples
    --------
    >>> is_local("local-dir:checkpoint"), is_local("ollama:llava"), is_local(None)
    (True, False, False)
    """
    return (model or "").startswith(("local-dir:", "hf-hub:"))


def refuse_foreign(names: Sequence[str], model: str) -> None:
    """Refuse options that stand on the command line and that this kind of model has no use for.

    Parameters
    ----------
    names : sequence of str
        Parameter names.
    model : str
    """
    if not names:
        return
    flags = ", ".join(f"--{name.replace('_', '-')}" for name in names)
    one = len(names) == 1
    if is_local(model):
        own = ", ".join(f"--{name}" for name in OF_LOCAL)
        raise InputError(
            f"{flags} {'is' if one else 'are'} about models behind a server; {model} runs in this "
            f"process. It goes with {own}, --abstain-below and --threads."
        )
    raise InputError(
        f"{flags} {'is' if one else 'are'} for models in this process (--model hf-hub:ORG/NAME or "
        f"local-dir:PATH); what {model} is told is edited with --role and --prompt-dir."
    )


def make_scoring(
    asking: Asking,
    *,
    abstain_below: float | None,
    encoder: Any,
    store: str | None,
    seed: int,
    label_set: LabelSet | None,
    support: Dataset | None,
    threads: int | None,
) -> LikelihoodClassifier:
    """Build and fit the classifier that scores labels with a model in this process.

    Raises
    ------
    InputError
        If there are no labelled images to calibrate on, or the model cannot be used.
    """
    from showtell.classify.likelihood.classifier import LikelihoodClassifier
    from showtell.datasets import limit_dataset

    if asking.shortlist is not None and not asking.shortlist.isdecimal():
        raise InputError(
            "--shortlist is a whole number for a model in this process: the labels that --encoder "
            f"finds likeliest; got {asking.shortlist!r}."
        )
    labels: Any = None
    if label_set is not None:
        labels = {name: label_set.descriptions.get(name) for name in label_set.labels}
    elif support is not None:
        labels = list(support.labels)
    asked: dict[str, Any] = {} if asking.question is None else {"question": asking.question}
    clf = LikelihoodClassifier(
        asking.model,
        labels=labels,
        **asked,
        rule=asking.score,  # type: ignore[arg-type]
        calibrate=asking.calibrate > 0,
        shortlist=None if asking.shortlist is None else int(asking.shortlist),
        encoder=encoder,
        store=store,
        aliases=(label_set.aliases or None) if label_set is not None else None,
        abstain_below=abstain_below,
        threads=threads,
        random_state=seed,
    )
    if not asking.calibrate:
        return clf.fit()
    if support is None or not len(support):
        raise InputError("--calibrate looks at labelled images: give some, --examples DIR.")
    some = support
    if asking.calibrate < len(support):
        some = limit_dataset(support, asking.calibrate, seed)
    return clf.fit(some.images, some.y)


def show_estimate(
    session: Session,
    choices: Choices,
    label_set: LabelSet | None,
    data: Dataset,
    *,
    support: Dataset | None,
    json: bool,
) -> None:
    """Print what scoring would take: tokens by the checkpoint's own processor, time from one image.

    The model is loaded, and classifies the first usable image to see how long that takes.
    """
    from dataclasses import replace

    from showtell.cli.choices import make_classifier

    asking = choices.asking
    assert asking is not None
    choices = replace(choices, asking=replace(asking, calibrate=0))
    clf: Any = make_classifier(choices, label_set, support)
    with session.progress() as progress:
        tokens = clf.count_tokens(data.images, progress=progress)
    seconds = None
    for image in data.images:
        start = time.perf_counter()
        if clf.classify([image]).counts["error"] == 0:
            seconds = round(tokens.n_images * (time.perf_counter() - start), 1)
            break
    if asking.calibrate:
        session.note(
            f"--calibrate looks at {asking.calibrate:,} labelled images besides, which are not "
            "counted here."
        )
    facts = {
        "model": asking.model,
        "n_images": len(data),
        "n_requests": 0,
        "n_asked": tokens.n_images * tokens.n_passes,
        "input_tokens": tokens.image + tokens.text,
        "image_tokens": tokens.image,
        "output_tokens": 0,
        "cost_usd": 0,
        "cost_usd_to_pay": 0,
        "seconds": seconds,
    }
    if json:
        print_json(facts)
    elif is_terminal(sys.stdout):
        words = {
            "n_images": "images",
            "n_requests": "requests",
            "n_asked": "readings of picture and prompt",
            "input_tokens": "tokens read",
            "image_tokens": "  of images",
            "output_tokens": "tokens written",
            "cost_usd": "cost in USD",
            "seconds": "seconds, about",
        }
        rows = [
            (said, "unknown" if facts[name] is None else f"{facts[name]:,}")
            for name, said in words.items()
        ]
        print_table(session, ("what", "how much"), rows, title=asking.model)
    else:
        print_csv(("what", "value"), facts.items())
    session.summary(
        f"{counted(len(data), 'image')}: 0 USD to pay, the model runs on this machine; the time is "
        "that of one image, times all"
    )
