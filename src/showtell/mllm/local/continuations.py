"""Label likelihood without a model: labels as continuations, and what their tokens are worth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logsumexp

from showtell.errors import InputError, UnknownNameError

ScoreRule: TypeAlias = Literal["sum", "mean", "sum_eos"]
SCORES: tuple[ScoreRule, ...] = ("sum", "mean", "sum_eos")


@dataclass(frozen=True, kw_only=True)
class Continuations:
    """Labels as the tokens that follow a prefix.

    Attributes
    ----------
    labels : tuple of str
        What was tokenised, in order.
    prefix : tuple of int
        Token ids of the prefix.
    tokens : tuple of tuple of int
        Per label, the ids that follow; at least one.
    """

    labels: tuple[str, ...]
    prefix: tuple[int, ...]
    tokens: tuple[tuple[int, ...], ...]

    def __len__(self) -> int:
        return len(self.tokens)


@dataclass(frozen=True, kw_only=True)
class TokenScores:
    """Log-probability of each token of each label after one prefix.

    Attributes
    ----------
    logprobs : ndarray of shape (n_labels, longest), float64
        Natural logarithms; 0 beyond the end of a label.
    lengths : ndarray of shape (n_labels,), int64
        Tokens per label.
    end : ndarray of shape (n_labels,) or None
        Log-probability that the text ends after the label; None where it was not asked for.
    """

    logprobs: NDArray[np.float64]
    lengths: NDArray[np.int64]
    end: NDArray[np.float64] | None = None


def tokenise_labels(
    encode: Callable[[str], Sequence[int]],
    prefix: str,
    labels: Sequence[str],
    *,
    separator: str = " ",
) -> Continuations:
    """Tokenise labels as what follows a prefix, which is not how they are tokenised alone.

    `encode`: the tokenizer; it must not add tokens at the end. `prefix`: the text before the label,
    without the separator. `separator`: between prefix and label. Most tokenizers make it a part of
    the label's first token. Raises InputError if the ids of the prefix are not the beginning of the
    ids of prefix and label, or two labels have the same tokens: their likelihoods could not be
    compared.

    References
    ----------
    Zhang et al. (2024), Why are Visually-Grounded Language Models Bad at Image Classification?,
    arXiv:2405.18415.

    Examples
    --------
    >>> code = lambda text: [ord(c) for c in text]
    >>> tokenise_labels(code, "a", ["b", "cd"]).tokens
    ((32, 98), (32, 99, 100))
    """
    head = tuple(int(i) for i in encode(prefix))
    tokens: list[tuple[int, ...]] = []
    for label in labels:
        whole = tuple(int(i) for i in encode(f"{prefix}{separator}{label}"))
        if whole[: len(head)] != head or len(whole) == len(head):
            raise InputError(
                f"The tokenizer merges the end of the prompt with label {label!r}: the prompt "
                f"{prefix[-30:]!r} alone has other tokens than at the start of prompt and label. "
                "End the prompt (`stub`) with a whole word or a full stop, or add a word."
            )
        tokens.append(whole[len(head) :])
    seen: dict[tuple[int, ...], str] = {}
    for label, ids in zip(labels, tokens, strict=True):
        if seen.setdefault(ids, label) != label:
            raise InputError(
                f"The tokenizer cannot tell the labels {seen[ids]!r} and {label!r} apart. Rename "
                "one of them."
            )
    return Continuations(labels=tuple(labels), prefix=head, tokens=tuple(tokens))


def score_labels(scores: TokenScores, rule: ScoreRule) -> NDArray[np.float64]:
    r"""Score each label by the log-probabilities ``lp_k`` of its ``n`` tokens.

    `rule`, one of {"sum", "mean", "sum_eos"}: ``"sum"``: :math:`\sum lp_k`, the probability of the
    text, which favours short labels. ``"mean"``: :math:`\frac1n \sum lp_k`, which favours long,
    predictable ones. ``"sum_eos"``: also the probability that the text ends there, so that a label
    which is the beginning of another can be compared with it. Returns `label_scores`, of shape
    (n_labels,).

    References
    ----------
    Holtzman et al. (2021), Surface Form Competition, arXiv:2104.08315.

    Examples
    --------
    >>> lp = np.array([[-1.2, 0.0, 0.0], [-2.0, -0.1, 0.0], [-2.3, -0.2, -0.1]])
    >>> tokens = TokenScores(logprobs=lp, lengths=np.array([1, 2, 3]))
    >>> score_labels(tokens, "sum").round(2), score_labels(tokens, "mean").round(3)
    (array([-1.2, -2.1, -2.6]), array([-1.2  , -1.05 , -0.867]))
    """
    if rule not in SCORES:
        raise UnknownNameError("score rule", str(rule), SCORES)
    total: NDArray[np.float64] = scores.logprobs.sum(axis=1)
    if rule == "mean":
        return total / scores.lengths
    if rule == "sum_eos":
        if scores.end is None:
            raise InputError("'sum_eos' needs the log-probability of the end of the text.")
        return total + scores.end
    return total


def pmi_scores(scores: NDArray[Any], null_scores: NDArray[Any]) -> NDArray[np.float64]:
    """Pointwise mutual information: how much more likely the picture makes each label.

    `scores`, of shape (..., n_labels): summed log-probabilities with the picture; `null_scores`, of
    shape (n_labels,): the same with pictures that show nothing; several are averaged. Returns
    `pmi`, of shape (..., n_labels).

    Examples
    --------
    >>> pmi_scores(np.array([-1.2, -2.1, -2.6]), np.array([-0.9, -3.3, -4.9])).round(1)
    array([-0.3,  1.2,  2.3])
    """
    null = np.atleast_2d(np.asarray(null_scores, np.float64)).mean(axis=0)
    pmi: NDArray[np.float64] = np.asarray(scores, np.float64) - null
    return pmi


def extrapolate_scores(
    scores: NDArray[Any], mean_scores: NDArray[Any], alpha: float
) -> NDArray[np.float64]:
    """Move scores away from their mean over unlabelled images: ``α s + (1 − α) mean``.

    `scores`, of shape (..., n_labels); `mean_scores`, of shape (n_labels,): mean over unlabelled
    images; `alpha`: 1 changes nothing; 2 ranks as if half of the mean were taken off, 4 three
    quarters. Returns `moved`, of shape (..., n_labels).

    Examples
    --------
    >>> extrapolate_scores(np.array([-1.0, -2.0]), np.array([-0.5, -3.0]), 2.0)
    array([-1.5, -1. ])
    """
    z, mean = np.asarray(scores, np.float64), np.asarray(mean_scores, np.float64)
    return alpha * z + (1 - alpha) * mean


def yes_no_probability(log_yes: Any, log_no: Any) -> NDArray[np.float64]:
    """Probability of "yes" against "no" from the log-probabilities of both.

    References
    ----------
    Lin et al. (2024), Evaluating Text-to-Visual Generation with Image-to-Text Generation,
    arXiv:2404.01291.

    Examples
    --------
    >>> yes_no_probability(np.log(0.62), np.log(0.21)).round(3)
    np.float64(0.747)
    """
    difference = np.asarray(log_yes, np.float64) - np.asarray(log_no, np.float64)
    return np.asarray(expit(difference))


def merge_aliases(
    scores: NDArray[Any], class_of: Sequence[int], n_classes: int
) -> NDArray[np.float64]:
    """Add up the probabilities of texts that mean the same class (log-sum-exp).

    `scores`, of shape (n_texts,): logarithms; ``-inf`` for a text that was not asked about. Returns
    `merged`, of shape (n_classes,).

    Examples
    --------
    >>> merge_aliases(np.log([0.2, 0.3, 0.1]), [0, 1, 0], 2).round(4)  # log 0.3 twice
    array([-1.204, -1.204])
    """
    owner, values = np.asarray(class_of), np.asarray(scores, np.float64)
    merged = np.full(n_classes, -np.inf)
    for c in range(n_classes):
        mine = values[owner == c]
        if np.isfinite(mine).any():
            merged[c] = mine[0] if len(mine) == 1 else logsumexp(mine)
    return merged
