"""First values of the iterations, and the roots of scores without a derivative."""

from __future__ import annotations

from typing import Any

import numpy as np

from robuststat._core.errors import DataError
from robuststat._core.glm import row_blocks
from robuststat._core.optim import ConvergenceInfo, newton
from robuststat._core.types import Array
from robuststat.surrogate._models import QuantileRows, RowModel, UserRows
from robuststat.surrogate._quantile import minimise_check_loss
from robuststat.surrogate._scores import DesignAdjusted

# Newton starts from the root on a thinned sample of about this many rows: most of its steps then
# cost a fraction of a pass, and the full rows need two or three.
_WARM_ROWS = 50_000


def first_value(moments: Any) -> Array:
    """Start near the root: of thinned rows, of predictions taken for truth, or of labels alone."""
    zero = np.zeros(moments.n_params)
    if isinstance(moments.model, UserRows):
        if isinstance(moments, DesignAdjusted) and not moments.gold_only:
            _refuse_not_finite(moments, np.array(moments.model.start))
        return np.array(moments.model.start)
    if not isinstance(moments, DesignAdjusted):
        # Rows that come in parts are read as rarely as possible; labelled rows are at hand.
        X, y, weights = moments.labelled_rows()
        return _root(moments.model, X, y, weights, zero)[0]
    start = _warm_start(moments, zero) if moments.n_obs > 2 * _WARM_ROWS else zero
    if moments.pseudo_outcome is not None:
        return start
    # Where predictions enter the design, those taken for truth (2.3) may lie far from the root;
    # labels alone do not, unless they are too few to carry the model.
    gold = moments.tuned(0.0).row_weights()[0]
    found, converged = _root(moments.model, moments.X_gold, moments.y_gold, gold, zero)
    if converged:
        return found
    a = moments.labelling.weights
    return _root(moments.model, moments.X_hat, moments.y_hat, a, start)[0]


def _refuse_not_finite(moments: DesignAdjusted, theta: Array) -> None:
    """Refuse a user's moments that are not defined for the predictions."""
    bad: list[int] = []
    for rows in row_blocks(*moments.X_hat.shape):
        psi = moments.model.rows(moments.X_hat[rows], moments.y_hat[rows], theta)
        bad += (rows.start + np.flatnonzero(~np.isfinite(psi).all(axis=1))).tolist()
    if bad:
        raise DataError(
            f"moment is not finite at the first value {theta.tolist()} in {len(bad)} rows in which "
            f"predictions stand in for expert values (first at row {bad[0]}). Write it so that it "
            "is defined for every prediction, or pass start=."
        )


def _warm_start(moments: DesignAdjusted, start: Array) -> Array:
    """Root of the plug-in model, or of the pseudo-outcome model, on a thinned sample."""
    stride = moments.n_obs // _WARM_ROWS
    outcome = moments.y_hat if moments.pseudo_outcome is None else moments.pseudo_outcome
    a = moments.labelling.weights
    weights = None if a is None else a[::stride]
    X, y = np.ascontiguousarray(moments.X_hat[::stride]), outcome[::stride]
    return _root(moments.model, X, y, weights, start)[0]


def _root(
    model: RowModel, X: Array, y: Array, weights: Array | None, start: Array
) -> tuple[Array, bool]:
    """Rough root and whether it was found; ``start`` if not."""
    n = X.shape[0]

    def average(theta: Array) -> tuple[Array, Array]:
        score, information = model.sums(X, y, weights, theta)
        return score / n, -information / n

    theta, _, info = newton(average, start, tol=1e-4, max_iter=25)
    return (theta if info.converged else start), info.converged


def quantile_root(moments: DesignAdjusted, start: Array | None) -> tuple[Array, ConvergenceInfo]:
    """Minimum of the design-adjusted check loss near ``start``, or near that of the labels."""
    assert isinstance(moments.model, QuantileRows)
    quantile = moments.model.quantile
    gold, hat = moments.row_weights()
    if start is None:
        start, done = minimise_check_loss(moments.X_gold, moments.y_gold, gold, quantile)
        if moments.gold_only or not hat.any():
            return start, done
    X, y, weights = moments.X_gold, moments.y_gold, gold
    if not moments.gold_only:
        used = hat != 0.0
        X = np.vstack([X, moments.X_hat[used]])
        y, weights = np.append(y, moments.y_hat[used]), np.append(weights, hat[used])
    counted = weights != 0.0
    return minimise_check_loss(X[counted], y[counted], weights[counted], quantile, start)
