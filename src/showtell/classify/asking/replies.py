"""What becomes of a request: an answer per image, or what is to be asked again and how."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from showtell.classify.asking.confidence import label_probabilities
from showtell.classify.asking.state import OpenQuestion, Reason, ViewAnswer, split_usage
from showtell.errors import MLLMError, MLLMRequestError, RunError
from showtell.mllm.base import Answer, Request
from showtell.prompts.answers import AnswerParser
from showtell.prompts.reconciled import QueryOutcome, reconcile

_MOST_AGAIN = 2


@dataclass(frozen=True, kw_only=True)
class Replies:
    """Takes answers apart and hands on what is settled."""

    labels: tuple[str, ...]
    """As they are written in requests."""
    parser: AnswerParser
    finish: Callable[[OpenQuestion, ViewAnswer], None]
    """Takes what is settled."""
    decisions: bool = False
    """Whether the provider's classification endpoint answers."""
    logprobs: bool = False

    def take(
        self,
        asks: list[OpenQuestion],
        ids: list[str],
        request: Request,
        outcome: Answer | MLLMError,
        *,
        in_jobs: bool,
    ) -> list[OpenQuestion]:
        """Note what became of a request, and return what is to be asked again."""
        if isinstance(outcome, MLLMError):
            if isinstance(outcome, MLLMRequestError) and len(asks) > 1:
                # perhaps too large, perhaps one image that is not taken
                return [self._halved(ask, len(asks)) for ask in asks]
            if outcome.retryable and in_jobs:
                for ask in asks:
                    ask.n_failed += 1
                if max(ask.n_failed for ask in asks) <= _MOST_AGAIN:
                    return asks  # in the next job
            for ask in asks:
                self.finish(ask, ViewAnswer(reason="request", text=" ".join(str(outcome).split())))
            return []
        answer = outcome
        shares = split_usage(answer.usage, len(asks))
        first = shares
        if answer.first_usage is not None:
            first = split_usage(answer.first_usage, len(asks))
        for ask, share, once in zip(asks, shares, first, strict=True):
            ask.n_answers += 1
            if ask.item.known:
                continue
            ask.item.spent.add(
                share,
                price_usd=once.cost_usd,
                seconds=answer.seconds / len(asks),
                from_cache=answer.from_cache,
            )
        again: list[OpenQuestion] = []
        try:
            if self.decisions:
                self._decided(asks[0], request, answer)
            else:
                again = self._reconciled(asks, ids, answer)
        except RunError:
            raise  # nothing can be written down any more
        except Exception as error:  # noqa: BLE001 - whatever it is, it is about this answer alone
            said = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            lost = ViewAnswer(reason="request", text=f"the answer cannot be read ({said})")
            for ask in asks:
                if ask.view not in ask.item.answers:
                    self.finish(ask, lost)
        return again

    @staticmethod
    def _halved(ask: OpenQuestion, n: int) -> OpenQuestion:
        ask.limit = -(-n // 2)
        return ask

    def _reconciled(
        self, asks: Sequence[OpenQuestion], ids: Sequence[str], answer: Answer
    ) -> list[OpenQuestion]:
        if answer.finish in ("refused", "blocked"):
            outcomes = [QueryOutcome(id=name, status="refused") for name in ids]
        else:
            cut = answer.finish == "length"
            found = reconcile(answer.text, ids, self.parser, cut=cut).outcomes
            outcomes = [found[name] for name in ids]
        n, n_answered = len(asks), sum(o.status == "answered" for o in outcomes)
        again = []
        for ask, outcome in zip(asks, outcomes, strict=True):
            if outcome.status == "answered":
                self.finish(ask, self._answered(outcome, answer))
            elif outcome.status == "refused":
                if n > 1:  # one image may have spoiled it for all
                    again.append(self._halved(ask, n))
                else:
                    reason: Reason = "blocked" if answer.finish == "blocked" else "refused"
                    self.finish(ask, ViewAnswer(reason=reason, text=outcome.text))
            elif answer.finish == "length" and n > 1:
                ask.stretch = min(ask.stretch + 1, 2)
                again.append(self._halved(ask, n))
            elif n > 1 and not n_answered and ask.n_again:
                again.append(self._halved(ask, n))
            elif ask.n_again < _MOST_AGAIN:
                ask.n_again += 1
                ask.stretch += answer.finish == "length"
                again.append(ask)
            elif outcome.status == "missing" and answer.finish == "length":
                self.finish(ask, ViewAnswer(reason="cut"))
            else:
                assert outcome.status in ("missing", "conflict", "out_of_set")
                self.finish(ask, ViewAnswer(reason=outcome.status, text=outcome.text))
        return again

    def _answered(self, outcome: QueryOutcome, answer: Answer) -> ViewAnswer:
        row = None
        if self.logprobs and answer.logprobs:
            row = label_probabilities(answer.logprobs, self.labels)
        return ViewAnswer(code=outcome.code, confidence=outcome.confidence, row=row)

    def _decided(self, ask: OpenQuestion, request: Request, answer: Answer) -> None:
        """Take the probabilities of a classification endpoint."""
        row = np.zeros(len(self.labels))
        for label, p in (answer.probabilities or {}).items():
            code = self.parser.parse(label).code
            if code is not None and label in request.labels and np.isfinite(p) and p > 0:
                row[code] += p
        if row.sum() > 0:
            row /= row.sum()
            self.finish(ask, ViewAnswer(code=int(row.argmax()), row=row))
        elif answer.finish in ("refused", "blocked"):
            reason: Reason = "blocked" if answer.finish == "blocked" else "refused"
            self.finish(ask, ViewAnswer(reason=reason, text=answer.text))
        elif (code := self.parser.parse(answer.text).code) is not None:
            self.finish(ask, ViewAnswer(code=code))
        else:
            self.finish(ask, ViewAnswer(reason="out_of_set", text=answer.text[:200]))
