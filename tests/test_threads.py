"""Small fits do not share their tiny products among threads."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_info, threadpool_limits

from showtell._threads import one_blas_thread
from showtell.classify.embedding.heads import Support, linear_head


def blas_threads():
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}


def test_threads_come_back_after_the_block():
    with threadpool_limits(2, user_api="blas"):
        with one_blas_thread():
            assert blas_threads() == {1}
        assert blas_threads() == {2}
        with pytest.raises(ZeroDivisionError), one_blas_thread():
            1 / 0  # noqa: B018
        assert blas_threads() == {2}


def test_a_linear_probe_is_fitted_by_one_thread(monkeypatch):
    seen = []
    fit = LogisticRegression.fit

    def watched(self, X, y):
        seen.append(blas_threads())
        return fit(self, X, y)

    monkeypatch.setattr(LogisticRegression, "fit", watched)
    codes = np.array([0, 1, 0, 1])
    support = Support(
        embeddings=np.eye(4, dtype=np.float32), codes=codes, distinct=np.arange(4), n_classes=2
    )
    with threadpool_limits(2, user_api="blas"):
        linear_head(support, C=1.0)
    assert seen == [{1}]
