"""Separation: responses that a linear combination of the columns predicts without error.

Then some maximum likelihood estimates are infinite. The likelihood of every model here is a product
over rows of factors that stay bounded away from zero along a direction of the coefficients exactly
when some linear inequalities hold; separation is a direction in which all hold and some hold
strictly, which a linear programme finds (Konis 2007 for binary outcomes; derived here for the
ordinal models, by the recession functions of their log-likelihoods).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.optimize import linprog

from robuststat._core.errors import DataError, IdentificationError, ParameterError
from robuststat._core.types import Array, BoolArray, IntArray

SeparationKind = Literal["none", "quasi-complete", "complete"]
OrdinalFamily = Literal["cumulative", "stopping", "continuation", "adjacent"]

# Inequalities hold to the feasibility tolerance of the solver; strict ones are far above it.
_FEASIBLE = 1e-9
_STRICT = 1e-6
# Rows of the first programme, and rows added to it at a time.
_ROWS = 1000


class SeparationError(IdentificationError):
    """Some coefficients have no finite maximum likelihood estimate, and the fit needs one."""


@dataclass(frozen=True, slots=True)
class Separation:
    """Whether maximum likelihood estimates exist, and which do not.

    Attributes
    ----------
    kind : {"none", "quasi-complete", "complete"}
        "complete": the combination of columns tells the outcome of every row; "quasi-complete": it
        is never wrong but undecided for some rows.
    names : tuple of str
        Columns with a coefficient that diverges; "(Intercept)" is not among them.
    coef : ndarray of shape (q, p)
        Direction in which the coefficients diverge, one row a boundary between classes, positive
        towards higher classes; units of 1/column, scaled so that the linear predictor moves by at
        most p. Zero without separation.
    intercept : ndarray of shape (q,)
        The same for the intercepts (of the linear predictor of "above the boundary").
    diverges : ndarray of bool of shape (q, p)
        Coefficients that diverge in this or in another direction of separation.
    n_separated : int
        Rows of positive weight that the direction strictly decides.
    n_obs : int
        Rows of positive weight.
    """

    kind: SeparationKind
    names: tuple[str, ...]
    coef: Array
    intercept: Array
    diverges: BoolArray
    n_separated: int
    n_obs: int

    @property
    def found(self) -> bool:
        """Whether there is separation of either kind."""
        return self.kind != "none"

    def words(self) -> str:
        """One sentence for warnings, errors and summaries; empty without separation."""
        if not self.found:
            return ""
        listed = ", ".join(self.names[:8]) + (", ..." if len(self.names) > 8 else "")
        what = f"the columns {listed}" if len(self.names) > 1 else f"the column {listed}"
        if not self.names:
            what = "a class without rows"
        return (
            f"{self.kind.capitalize()} separation by {what}: {self.n_separated} of {self.n_obs} "
            "rows are predicted without error, so that maximum likelihood estimates are infinite."
        )


@dataclass(frozen=True, slots=True)
class _Cone:
    """Inequalities P_y eta_i >= 0 of the rows, with eta_i = intercepts + coefficients x_i.

    ``patterns[c]`` has one row an inequality of class c and one column a boundary. Parameters are
    the intercepts (q,), then coefficients common to all boundaries, then (q, p) free ones.
    """

    X: Array
    y: IntArray
    patterns: tuple[Array, ...]
    common: BoolArray
    intercept: bool

    @property
    def q(self) -> int:
        return int(self.patterns[0].shape[1])

    @property
    def size(self) -> int:
        p_free = int((~self.common).sum())
        return self.q * int(self.intercept) + int(self.common.sum()) + self.q * p_free

    def unpack(self, z: Array) -> tuple[Array, Array]:
        """Split a parameter vector into intercepts (q,) and coefficients (q, p)."""
        q, n_common = self.q, int(self.common.sum())
        alpha = z[:q] if self.intercept else np.zeros(q)
        rest = z[q * int(self.intercept) :]
        coef = np.empty((q, self.X.shape[1]))
        coef[:, self.common] = rest[:n_common]
        coef[:, ~self.common] = rest[n_common:].reshape(q, -1)
        return alpha, coef

    def pack(self, alpha: Array, coef: Array) -> Array:
        """Fold derivatives (…, q) and (…, q, p) into derivatives of the parameters (…, size)."""
        lead = alpha.shape[:-1]
        parts = [alpha] if self.intercept else []
        parts.append(coef[..., self.common].sum(axis=-2))
        n_free = self.q * int((~self.common).sum())
        parts.append(coef[..., ~self.common].reshape(*lead, n_free))
        return np.concatenate(parts, axis=-1)

    def total(self) -> Array:
        """Sum of all inequalities, as a function of the parameters, largest entry one."""
        alpha, coef = np.zeros(self.q), np.zeros((self.q, self.X.shape[1]))
        for c, pattern in enumerate(self.patterns):
            mine, weight = self.y == c, pattern.sum(axis=0)
            alpha += weight * mine.sum()
            coef += np.outer(weight, self.X.T @ mine.astype(np.float64))
        total = self.pack(alpha, coef)
        return total / (float(np.abs(total).max(initial=0.0)) or 1.0)

    def slack(self, z: Array) -> tuple[Array, Array]:
        """Smallest and largest inequality of each row at ``z``."""
        alpha, coef = self.unpack(z)
        eta = self.X @ coef.T + alpha
        low, high = np.empty(len(self.y)), np.empty(len(self.y))
        for c, pattern in enumerate(self.patterns):
            mine = self.y == c
            values = eta[mine] @ pattern.T
            low[mine], high[mine] = values.min(axis=1), values.max(axis=1)
        return low, high

    def rows(self, chosen: IntArray) -> Array:
        """Distinct inequalities of some rows as a matrix."""
        blocks = []
        for c, pattern in enumerate(self.patterns):
            x = self.X[chosen[self.y[chosen] == c]]
            for weight in pattern:
                alpha = np.broadcast_to(weight, (len(x), self.q))
                blocks.append(self.pack(alpha, weight[:, None] * x[:, None, :]))
        return np.unique(np.concatenate(blocks), axis=0)


def binary_separation(
    X: Array,
    y: Array,
    *,
    weights: Array | None = None,
    names: Sequence[str] | None = None,
    fit_intercept: bool = True,
) -> Separation:
    """Separation in a binary regression (any link whose log-likelihood is concave).

    Parameters
    ----------
    X : ndarray of shape (n, p)
        Covariates without a column of ones, linearly independent; a design that already has its
        own column of ones goes with ``fit_intercept=False``.
    y : ndarray of shape (n,)
        Zeros and ones.
    weights : ndarray of shape (n,), optional
        Rows of weight zero are left out; otherwise weights do not matter.
    names : sequence of str, optional
        Names of the columns; x0, x1, ... if not given.
    fit_intercept : bool, default=True
        Whether the model has an intercept besides ``X``.

    Returns
    -------
    Separation

    Raises
    ------
    DataError
        When ``y`` has other values, shapes do not fit, or no row has positive weight.
    """
    y = np.asarray(y)
    bad = ~np.isin(y, (0, 1))
    if bad.any():
        raise DataError(f"y must be 0 or 1; it holds {y[bad][0]!r}. Code the outcome as 0/1.")
    return _separation(
        X,
        y.astype(np.int64),
        patterns=(np.array([[-1.0]]), np.array([[1.0]])),
        common=np.ones(X.shape[1], dtype=bool),
        weights=weights,
        names=names,
        intercept=fit_intercept,
    )


def ordinal_separation(
    X: Array,
    y: IntArray,
    n_classes: int,
    *,
    family: OrdinalFamily = "cumulative",
    parallel: bool | BoolArray = True,
    weights: Array | None = None,
    names: Sequence[str] | None = None,
) -> Separation:
    """Separation in an ordinal regression with intercepts.

    Parameters
    ----------
    X : ndarray of shape (n, p)
        Covariates without a column of ones, linearly independent.
    y : ndarray of int of shape (n,)
        Classes coded 0, ..., n_classes - 1, lowest first.
    n_classes : int
        Number of classes K; q = K - 1 boundaries.
    family : {"cumulative", "stopping", "continuation", "adjacent"}, default="cumulative"
        Which likelihood. A row of class k has, for "cumulative", predictors of the boundary above
        it and of the one below it; for the sequential families of all boundaries up to its own;
        for "adjacent" sums of neighbouring predictors.
    parallel : bool or ndarray of bool of shape (p,), default=True
        Columns with one coefficient for all boundaries.
    weights : ndarray of shape (n,), optional
        Rows of weight zero are left out.
    names : sequence of str, optional
        Names of the columns.

    Returns
    -------
    Separation

    Raises
    ------
    DataError
        When ``y`` is outside 0..K-1, shapes do not fit, or no row has positive weight.

    Notes
    -----
    For a cumulative model with non-parallel columns each row restrains only the boundaries of its
    own class, as in the likelihood: neighbouring classes are compared, not "up to k" with "above".
    """
    y = np.asarray(y)
    outside = (y < 0) | (y >= n_classes)
    if outside.any():
        raise DataError(
            f"y must hold codes 0 to {n_classes - 1}; it holds {y[outside][0]!r}. Recode it."
        )
    common = np.broadcast_to(np.asarray(parallel, dtype=bool), (X.shape[1],)).copy()
    return _separation(
        X,
        y.astype(np.int64),
        patterns=_patterns(n_classes, family),
        common=common,
        weights=weights,
        names=names,
        intercept=True,
    )


def _patterns(n_classes: int, family: OrdinalFamily) -> tuple[Array, ...]:
    """Inequalities of a row of each class in the predictors of "above boundary k"."""
    q = n_classes - 1
    unit = np.eye(q)
    found = []
    for c in range(n_classes):
        below = unit[: min(c, q)]
        above = -unit[c : c + 1]
        if family == "cumulative":
            rows = np.concatenate([below[-1:], above])
        elif family in ("stopping", "continuation"):
            rows = np.concatenate([below, above])
        elif family == "adjacent":
            # The score of class c is the sum of the predictors below it.
            score = np.tril(np.ones((n_classes, q)), -1)
            rows = np.delete(score[c] - score, c, axis=0)
        else:
            raise ParameterError(
                "family must be 'cumulative', 'stopping', 'continuation' or 'adjacent', "
                f"got {family!r}."
            )
        found.append(rows)
    return tuple(found)


def _separation(
    X: Array,
    y: IntArray,
    *,
    patterns: tuple[Array, ...],
    common: BoolArray,
    weights: Array | None,
    names: Sequence[str] | None,
    intercept: bool,
) -> Separation:
    X = np.asarray(X, dtype=np.float64)
    n, p = X.shape
    labels = tuple(f"x{j}" for j in range(p)) if names is None else tuple(names)
    if y.shape != (n,) or len(labels) != p or (weights is not None and len(weights) != n):
        raise DataError(
            f"X has shape {X.shape}, y {y.shape}, weights "
            f"{None if weights is None else np.shape(weights)}, and there are {len(labels)} names. "
            "Pass one outcome and weight a row, and one name a column."
        )
    if weights is not None:
        kept = np.asarray(weights) > 0
        X, y = X[kept], y[kept]
    if not len(y):
        raise DataError("No row has positive weight. Pass weights above zero.")
    centre = 0.5 * (X.max(axis=0) + X.min(axis=0)) if intercept and p else np.zeros(p)
    Z = X - centre
    scale = np.abs(Z).max(axis=0, initial=0.0)
    scale[scale == 0] = 1.0
    Z /= scale
    cone = _Cone(Z, y, patterns, common, intercept)
    z, chosen = _direction(cone)
    _, high = cone.slack(z)
    if high.max() <= _STRICT:
        q = cone.q
        nothing = np.zeros((q, p))
        return Separation("none", (), nothing, np.zeros(q), nothing > 0, 0, len(y))
    margin, decisive = _margin(cone, chosen)
    complete = margin > _STRICT
    if complete:
        # Then any coefficient can be made to diverge by adding a little of it to the direction.
        z, diverges = decisive, np.ones((cone.q, p), dtype=bool)
        _, high = cone.slack(z)
    else:
        diverges = cone.unpack(_free(cone, z, chosen))[1] > _STRICT
    alpha, coef = cone.unpack(z)
    raw = coef / scale
    which = tuple(labels[j] for j in np.flatnonzero(diverges.any(axis=0)))
    return Separation(
        "complete" if complete else "quasi-complete",
        which,
        raw,
        alpha - raw @ centre,
        diverges,
        int((high > _STRICT).sum()),
        len(y),
    )


def _solve(
    objective: Array, A: Array, low: float = 0.0, bounds: tuple[float, float] = (-1.0, 1.0)
) -> Array:
    """Maximise ``objective @ z`` subject to ``A @ z >= low`` with every z inside ``bounds``."""
    answer = linprog(
        -objective,
        A_ub=-A,
        b_ub=np.full(len(A), -low),
        bounds=bounds,
        method="highs",
        options={"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10},
    )
    # z = 0 is feasible and the box is bounded: anything but success is the solver's own trouble.
    if answer.status != 0:
        raise DataError(
            f"The search for separation failed: {answer.message} Rescale the columns to moderate "
            "units."
        )
    return np.asarray(answer.x, dtype=np.float64)


def _direction(cone: _Cone) -> tuple[Array, IntArray]:
    """Direction of separation (zero if there is none), and the rows that were needed to find it.

    A programme with some of the rows bounds the one with all: when it finds nothing there is no
    separation; when it does, the rows it gets wrong are added. Exact, and cheap for many rows.
    """
    objective = cone.total()
    chosen = _first_rows(cone)
    while True:
        z = _solve(objective, cone.rows(chosen))
        low, _ = cone.slack(z)
        more = _with_worst(chosen, low, -_FEASIBLE)
        if np.abs(z).max() <= _STRICT or len(more) == len(chosen):
            return z, chosen
        chosen = more


def _first_rows(cone: _Cone) -> IntArray:
    """Rows of every class, evenly spaced, up to the size of the first programme."""
    share = _ROWS // len(cone.patterns) + 1
    picks = []
    for c in range(len(cone.patterns)):
        mine = np.flatnonzero(cone.y == c)
        step = max(1, len(mine) // share)
        picks.append(mine[::step])
    return np.sort(np.concatenate(picks))


def _with_worst(chosen: IntArray, low: Array, limit: float) -> IntArray:
    """``chosen`` and the rows below ``limit``, worst first; the same when there are no others."""
    wrong = np.flatnonzero(low < limit)
    worst = wrong[np.argsort(low[wrong], kind="stable")[:_ROWS]]
    return np.union1d(chosen, worst)


def _free(cone: _Cone, z: Array, chosen: IntArray) -> Array:
    """Size of each parameter in some direction that separates; zero if it is zero in all.

    The direction found decides as many rows as the box allows; a parameter that is zero in it may
    still move in another one.
    """
    size = np.abs(z)
    for j in np.flatnonzero(size <= _STRICT):
        for sign in (1.0, -1.0):
            objective = np.zeros(cone.size)
            objective[j] = sign
            rows = chosen
            while True:
                other = _solve(objective, cone.rows(rows))
                more = _with_worst(rows, cone.slack(other)[0], -_FEASIBLE)
                if abs(other[j]) <= _STRICT or len(more) == len(rows):
                    break
                rows = more
            size[j] = max(size[j], abs(other[j]))
    return size


def _margin(cone: _Cone, chosen: IntArray) -> tuple[float, Array]:
    """Largest t such that every inequality holds with t to spare, in the box, and where."""
    objective = np.zeros(cone.size + 1)
    objective[-1] = 1.0
    while True:
        A = cone.rows(chosen)
        found = _solve(objective, np.column_stack([A, -np.ones(len(A))]))
        z, margin = found[:-1], float(found[-1])
        more = _with_worst(chosen, cone.slack(z)[0], margin - _FEASIBLE)
        if margin <= _STRICT or len(more) == len(chosen):
            return margin, z
        chosen = more
