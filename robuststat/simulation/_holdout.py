"""Adaptive selection of features with a holdout set that is asked again and again."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from functools import partial
from typing import Any, Literal, TypeAlias

import numpy as np
import pandas as pd
from sklearn.utils import Bunch

from robuststat._core.errors import ParameterError
from robuststat._core.rng import RandomState, check_rng
from robuststat._core.types import Array, IntArray
from robuststat.private import ReusableHoldout
from robuststat.private._entropy import SeededEntropy

HoldoutMethod: TypeAlias = Literal["standard", "gaussian", "laplace"]

_KS = (10, 20, 50, 100, 200, 300, 400, 500)
_REACH = 8.0  # x times y is clipped to +-8 standard deviations
_BLOCK = 2_000_000  # values looked at together


def make_holdout_reuse(
    n: int = 1000,
    n_features: int = 1000,
    *,
    n_signal: int = 0,
    random_state: RandomState = None,
) -> Bunch:
    """Draw three sets of rows for the study of holdout reuse of Dwork et al. (2015).

    Labels are fair coins in {-1, 1}, features standard normal; the first ``n_signal`` features
    are moved by ``6 / sqrt(n)`` in the direction of the label.

    Parameters
    ----------
    n : int, default=1000
        Rows of each set.
    n_features : int, default=1000
        Features.
    n_signal : int, default=0
        Features that say something about the label.
    random_state : int, SeedSequence, Generator, RandomState or None
        Seed.

    Returns
    -------
    Bunch
        ``train``, ``holdout``, ``fresh``: tuples (X, y) with X of shape (n, n_features).

    Examples
    --------
    >>> data = make_holdout_reuse(n=100, n_features=5, random_state=0)
    >>> data.holdout[0].shape
    (100, 5)
    """
    rng = check_rng(random_state)

    def rows() -> tuple[Array, Array]:
        y = np.where(rng.standard_normal(n) > 0, 1.0, -1.0)
        X = rng.standard_normal((n, n_features))
        X[:, :n_signal] += 6 / math.sqrt(n) * y[:, None]
        return X, y

    return Bunch(train=rows(), holdout=rows(), fresh=rows())


def holdout_reuse(
    data: Any,
    method: HoldoutMethod = "gaussian",
    *,
    ks: Sequence[int] = _KS,
    budget: int | None = None,
    random_state: RandomState = None,
) -> pd.DataFrame:
    """Select features with the help of a holdout, then score the classifier on it.

    A feature is kept when its correlations with the label in training and holdout rows have one
    sign and both exceed ``1 / sqrt(n)``; the k kept features with the largest training
    correlation vote. Correlations and scores of the holdout are its plain means ("standard") or
    answers of :class:`~robuststat.private.ReusableHoldout`.

    Parameters
    ----------
    data : Bunch
        From ``make_holdout_reuse``.
    method : {"gaussian", "laplace", "standard"}, default="gaussian"
        Noise of the reusable holdout, or none at all. Threshold ``4 / sqrt(n)`` and normal noise
        ``1 / sqrt(n)`` as published; Laplace noise at its defaults.
    ks : sequence of int
        Sizes of the classifier.
    budget : int, optional
        Answers from the holdout; needed for "laplace".
    random_state : int, SeedSequence, Generator, RandomState or None
        Seed of the noise (these data protect nobody).

    Returns
    -------
    DataFrame
        One row a k: ``k train holdout fresh`` (accuracies; "holdout" as answered),
        ``n_selected``, ``n_overfit`` (answers from the holdout so far), ``epsilon`` (their cost
        in privacy of the holdout rows; inf without a guarantee).

    Raises
    ------
    ParameterError
        For an unknown method.

    Examples
    --------
    >>> data = make_holdout_reuse(n=200, n_features=100, random_state=1)
    >>> found = holdout_reuse(data, "standard", ks=[20])
    >>> bool(found.holdout[0] > 0.55), list(found.columns[:4])
    (True, ['k', 'train', 'holdout', 'fresh'])
    """
    if method not in ("standard", "gaussian", "laplace"):
        raise ParameterError(f"method must be 'standard', 'gaussian' or 'laplace'; got {method!r}.")
    X, y = data.train
    n, d = X.shape
    root = math.sqrt(n)
    source = SeededEntropy(random_state)
    # Two scales of questions: correlations live on +-_REACH, accuracies on [0, 1].
    scale = 2 * _REACH
    scores = _holdout(data, method, 4 / root, 1 / root, budget, source)
    links = _holdout(data, method, 4 / root / scale, 1 / root / scale, budget, source)

    train = y @ X / n
    if links is None:
        answered = data.holdout[1] @ data.holdout[0] / n
    else:
        step = max(1, _BLOCK // n)
        blocks = [slice(j, min(j + step, d)) for j in range(0, d, step)]
        answers = [links.query(partial(_products, columns=b), (-_REACH, _REACH)) for b in blocks]
        answered = np.concatenate([np.atleast_1d(a) for a in answers])
    kept = np.flatnonzero(
        (train * answered > 0) & (np.abs(train) > 1 / root) & (np.abs(answered) > 1 / root)
    )
    order = kept[np.argsort(-np.abs(train[kept]), kind="stable")]
    asked = [part for part in (links, scores) if part is not None]
    rows = []
    for k in ks:
        vote = partial(_votes_right, columns=order[:k], signs=np.sign(train[order[:k]]))
        told = float(vote(*data.holdout).mean()) if scores is None else scores.query(vote)
        rows.append(
            {
                "k": k,
                "train": float(vote(X, y).mean()),
                "holdout": told,
                "fresh": float(vote(*data.fresh).mean()),
                "n_selected": kept.size,
                "n_overfit": sum(part.n_overfit_ for part in asked),
                "epsilon": sum(part.epsilon_spent_ for part in asked) if asked else math.inf,
            }
        )
    return pd.DataFrame(rows)


def _holdout(
    data: Any,
    method: HoldoutMethod,
    threshold: float,
    sigma: float,
    budget: int | None,
    source: SeededEntropy,
) -> ReusableHoldout | None:
    if method == "standard":
        return None
    est = ReusableHoldout(
        threshold,
        sigma if method == "gaussian" else "auto",
        budget,
        noise=method,
        random_state=source,
    )
    with warnings.catch_warnings(action="ignore"):  # that normal noise promises nothing
        return est.fit(data.train, data.holdout)


def _products(X: Array, y: Array, *, columns: slice) -> Array:
    return X[:, columns] * y[:, None]


def _votes_right(X: Array, y: Array, *, columns: IntArray, signs: Array) -> Array:
    return np.asarray(np.where(X[:, columns] @ signs >= 0, 1.0, -1.0) == y)
