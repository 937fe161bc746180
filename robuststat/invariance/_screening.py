"""Fewer candidates for the search: the covariates that matter most for the outcome."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.linear_model import lars_path_gram

from robuststat._core.types import Array, IntArray
from robuststat.invariance._rows import EnvRows

# Up to this many covariates "auto" searches all.
_MAX_PLAIN = 20
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


def screened(
    screening: str,
    n_keep: int,
    total: Array,
    n_obs: float,
    rows: EnvRows | None,
    rng: np.random.Generator,
) -> IntArray:
    """Positions of the covariates to search.

    Parameters
    ----------
    screening : str
        One of ``SCREENINGS``.
    n_keep : int
        How many, when there are more.
    total : ndarray of shape (q, q)
        Pooled scatter at unit diagonal (up to a factor), the outcome last.
    n_obs : float
        Rows.
    rows : EnvRows or None
        For "boosting".
    rng : Generator
        For "boosting".
    """
    p = len(total) - 1
    if screening == "none" or p <= (_MAX_PLAIN if screening == "auto" else n_keep):
        return np.arange(p, dtype=np.int64)
    if screening == "correlation":
        return by_correlation(total, n_keep)
    if screening == "boosting":
        assert rows is not None
        return by_boosting(rows.X, rows.y, n_keep, int(rng.integers(2**31 - 1)))
    return by_lasso(total, n_obs, n_keep)
