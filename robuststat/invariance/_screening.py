"""Fewer candidates for the search: the covariates that matter most for the outcome."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.linear_model import lars_path_gram

from robuststat._core.types import Array, IntArray

SCREENINGS = ("auto", "none", "lasso", "correlation", "boosting")


def by_correlation(total: Array, n_keep: int) -> IntArray:
    """Covariates with the largest correlation with the outcome, in their order.

    Parameters
    ----------
    total : ndarray of shape (q, q)
        Pooled scatter at unit diagonal (up to a factor), the outcome last.
    n_keep : int
        How many.
    """
    strength = np.abs(total[:-1, -1])
    return np.sort(np.argsort(-strength, kind="stable")[:n_keep]).astype(np.int64)


def by_lasso(total: Array, n_obs: float, n_keep: int) -> IntArray:
    """First covariates to enter the lasso path; topped up by correlation when it ends early."""
    p = len(total) - 1
    path = lars_path_gram(
        Xy=total[:-1, -1].copy(),
        Gram=total[:-1, :-1].copy(),
        n_samples=int(n_obs),
        max_iter=4 * p,
        method="lasso",
    )
    coefs = path[2]
    entered: list[int] = []
    for step in range(coefs.shape[1]):
        new = np.flatnonzero(coefs[:, step])
        entered += [int(j) for j in new if int(j) not in entered]
        if len(entered) >= n_keep:
            break
    order = np.argsort(-np.abs(total[:-1, -1]), kind="stable")
    entered += [int(j) for j in order if int(j) not in entered]
    return np.sort(np.array(entered[:n_keep], dtype=np.int64))


def by_boosting(X: Array, y: Array, n_keep: int, random_state: Any) -> IntArray:
    """Covariates with the largest importance in boosted trees."""
    trees = GradientBoostingRegressor(random_state=random_state).fit(X, y)
    order = np.argsort(-trees.feature_importances_, kind="stable")
    return np.sort(order[:n_keep]).astype(np.int64)
