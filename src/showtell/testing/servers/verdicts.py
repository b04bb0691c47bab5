"""The judging half of the local servers: which of two answers fits, with planted habits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from showtell.errors import InputError
from showtell.testing.servers.knobs import Bias, uniform
from showtell.testing.servers.sight import SentImage, Sight

__all__ = ["compare_answers"]

_SAME = 1e-4  # cosines that differ by less are a tie


async def compare_answers(
    answers: Sequence[str],
    sight: Sight,
    images: Sequence[SentImage],
    bias: Bias,
    draw_key: Sequence[object],
) -> dict[str, Any]:
    """Say which answer is nearer to the picture, or longer where there is none.

    Parameters
    ----------
    answers : sequence of str
        First and second.
    sight : Sight
        The server's encoder.
    images : sequence of SentImage
    bias : Bias
        `first` and `last` are how often the place decides, `noise` how often chance does.
    draw_key : sequence of object
        What chance depends on.

    Returns
    -------
    value : dict
        To be written as JSON.
    """
    if len(answers) != 2:
        return {"reasons": "There are no two answers to compare.", "verdict": "tie"}
    draw = uniform(*draw_key, "place")
    if draw < bias.first + bias.last:
        return _said("first" if draw < bias.first else "second", "It came to mind at once.")
    if uniform(*draw_key, "noise") < bias.noise:
        return _said("first" if uniform(*draw_key, "coin") < 0.5 else "second", "It looks better.")
    scores = [float(len(answer)) for answer in answers]
    if images:
        try:
            rows = await sight.read(list(answers))
            scores = (rows @ (await sight.look(images[:1]))[0]).tolist()
        except InputError:  # an encoder without words
            scores = [0.0, 0.0]
    if abs(scores[0] - scores[1]) < _SAME:
        return _said("tie", "Neither fits better.")
    return _said("first" if scores[0] > scores[1] else "second", "It fits better.")


def _said(verdict: str, reasons: str) -> dict[str, Any]:
    return {"reasons": reasons, "verdict": verdict}
