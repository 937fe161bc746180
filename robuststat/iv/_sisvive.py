"""Invalid instruments by a lasso on their direct effects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
from sklearn.linear_model import lars_path_gram

from robuststat._core.crossfit import make_folds
from robuststat._core.errors import DataError
from robuststat._core.params import Check, any_of, in_range, is_cv, one_of
from robuststat._core.rng import check_rng
from robuststat._core.types import Array
from robuststat.iv._classical_intake import IVData, variance_kind
from robuststat.iv._doc import shared_parameters
from robuststat.iv._linear import Partialled, group_fit, group_moments, partial_out
from robuststat.iv._selection import (
    SelectionEstimator,
    as_mask,
    check_candidates,
    factor_of,
    overid_line,
    selection_assumptions,
    selection_lines,
    selection_result,
)
from robuststat.result import InferenceResult

POST = "post-selection 2SLS"
# Penalties tried by cross-validation, from the largest useful one to a thousandth of it.
_N_PENALTIES, _SMALLEST = 100, 1e-3


@dataclass(frozen=True, slots=True)
class Products:
    """Second moments of rows: of instruments, with outcome and treatment, from which all follows.

    Attributes
    ----------
    ZZ : ndarray of shape (J, J)
        Z'Z.
    Zy, Za : ndarray of shape (J,)
        Z'y and Z'a.
    n_obs : int
        Rows.
    """

    ZZ: Array
    Zy: Array
    Za: Array
    n_obs: int

    def minus(self, other: Products) -> Products:
        """Products without some of the rows."""
        return Products(
            self.ZZ - other.ZZ, self.Zy - other.Zy, self.Za - other.Za, self.n_obs - other.n_obs
        )

    def loss(self, alpha: Array, effect: Array) -> Array:
        """Squared length (m,) of what the instruments explain of y - Z alpha - a effect.

        ``alpha`` (m, J) and ``effect`` (m,) hold m candidates.
        """
        left = self.Zy[:, None] - self.ZZ @ alpha.T - np.outer(self.Za, effect)
        solved = np.linalg.lstsq(self.ZZ, left, rcond=None)[0]
        return np.asarray(np.einsum("jm,jm->m", left, solved))


@dataclass(frozen=True, slots=True)
class LassoPath:
    """Solutions for all penalties; linear between the knots.

    Attributes
    ----------
    penalty : ndarray of shape (m,)
        Knots, decreasing; the last is zero.
    alpha : ndarray of shape (m, J)
        Direct effects at the knots, unit of y per unit of the instrument.
    effect : ndarray of shape (m,)
        Effect of the treatment at the knots.
    """

    penalty: Array
    alpha: Array
    effect: Array

    def at(self, penalty: Array) -> tuple[Array, Array]:
        """Direct effects (m, J) and effects (m,) at some penalties (m,)."""
        knots = self.penalty[::-1]
        alpha = [np.interp(penalty, knots, column[::-1]) for column in self.alpha.T]
        return np.column_stack(alpha), np.asarray(np.interp(penalty, knots, self.effect[::-1]))


def lasso_path(products: Products) -> LassoPath:
    """Minimise |P_Z (y - Z alpha - a b)|^2 / 2 + penalty |alpha|_1 over (alpha, b).

    The fitted treatment is taken out of outcome and instruments, and the latter are scaled to
    unit length.
    """
    C = np.linalg.cholesky(products.ZZ)
    # Coordinates in which P_Z is the identity: columns of C' for the instruments.
    cy, ca = np.linalg.solve(C, np.column_stack([products.Zy, products.Za])).T
    direction = ca / np.linalg.norm(ca)
    M = C.T - np.outer(direction, direction @ C.T)
    left = cy - direction * (direction @ cy)
    norm = np.linalg.norm(M, axis=0)
    unit = M / norm
    penalty, _, coef = lars_path_gram(
        Xy=unit.T @ left, Gram=unit.T @ unit, n_samples=1, method="lasso", max_iter=10 * norm.size
    )
    alpha = coef.T / norm
    effect = (cy @ ca - alpha @ (C @ ca)) / float(ca @ ca)
    # The path ends where the penalty is zero, up to rounding.
    penalty = np.where(penalty <= 1e-12 * penalty[0], 0.0, penalty)
    return LassoPath(np.asarray(penalty), np.asarray(alpha), np.asarray(effect))


def cross_validate(whole: Products, folds: list[Products], grid: Array) -> tuple[Array, Array]:
    """Mean and standard error over folds of the prediction error a row, at each penalty.

    Penalties grow with the square root of the number of rows; those of a training part are scaled
    accordingly.
    """
    errors = np.empty((len(folds), grid.size))
    for k, test in enumerate(folds):
        train = whole.minus(test)
        path = lasso_path(train)
        scale = np.sqrt(train.n_obs / whole.n_obs)
        errors[k] = test.loss(*path.at(grid * scale)) / test.n_obs
    return errors.mean(axis=0), errors.std(axis=0, ddof=1) / np.sqrt(len(folds))


@shared_parameters
class SisVIVE(SelectionEstimator):
    """Effect and direct effects of instruments by a lasso: some valid, some invalid.

    The estimand is a constant effect in a linear model in which less than half of the instruments
    have a direct effect. The lasso gives a point estimate without a standard error; the table
    shows two-stage least squares with the instruments that it finds valid, the others as controls.

    Parameters
    ----------
    lam : "cv" or float, default="cv"
        Penalty, on the scale of the product of a unit-length instrument and the outcome; "cv" is
        the largest one whose cross-validated error is within one standard error of the smallest.
    cv : int, splitter or list of (train, test), default=10
        Folds; they keep clusters together.
    vcov : {"iid", "HC0", "HC1", "CR0", "CR1"}, optional
        Variance of the post-selection estimate. None is HC0, or CR0 when ``clusters`` are given.
    random_state : int, Generator or None
        Seeds the folds.
    {shared}

    Attributes
    ----------
    {attributes}
    lam_ : float
        Penalty used.
    direct_effect_ : Series
        Estimated direct effect of each instrument, unit of y per unit of the instrument.
    valid_set_ : list of int
        Positions (from 0) of the instruments without direct effect.
    relevant_ : list of int
        All positions: this method does not ask for strength.
    path_ : DataFrame
        ``penalty estimate n_invalid`` at every knot of the path, and ``cv_error cv_std_error`` in
        ``cv_`` with "cv".
    cv_ : DataFrame or None
        ``penalty cv_error cv_std_error``.

    See Also
    --------
    TSHT, CIIV : Selection with standard errors.

    Notes
    -----
    Kang, Zhang, Cai and Small (2016). ``ate_`` is the lasso's estimate. ``result_``, ``conf_int_``,
    ``std_error_`` and ``pvalue_`` belong to the post-selection two-stage least squares, whose
    standard error does not account for the selection; the lasso tends to find too many instruments
    invalid.

    References
    ----------
    Kang, H., Zhang, A., Cai, T. T. and Small, D. S. (2016). Instrumental Variables Estimation With
    Some Invalid Instruments and its Application to Mendelian Randomization. Journal of the American
    Statistical Association 111(513), 132-144.

    Examples
    --------
    >>> from robuststat import SisVIVE
    >>> from robuststat.simulation import make_many_iv
    >>> data = make_many_iv(n=2000, random_state=0)
    >>> est = SisVIVE(random_state=0)
    >>> est = est.fit(data.X, data.y, treatment=data.treatment, instruments=data.instruments)
    >>> 0.9 < est.ate_ < 1.2, {0, 1, 2} & set(est.valid_set_)
    (True, set())
    """

    _parameter_checks: ClassVar[Mapping[str, Check]] = {
        **SelectionEstimator._parameter_checks,
        "lam": any_of(one_of("cv"), in_range(0, np.inf, closed="left")),
        "cv": is_cv,
    }

    def __init__(
        self,
        lam: Any = "cv",
        *,
        cv: Any = 10,
        vcov: str | None = None,
        random_state: Any = None,
        formula: str | None = None,
        missing: str | None = None,
    ) -> None:
        self.lam = lam
        self.cv = cv
        self.vcov = vcov
        self.random_state = random_state
        self.formula = formula
        self.missing = missing

    def _fit(self, data: IVData) -> Self:
        check_candidates(data, "SisVIVE", 3)
        kind = variance_kind(self.vcov, data)
        part = partial_out(data)
        J = part.n_instruments
        Z = part.Q @ part.R
        whole = Products(Z.T @ Z, Z.T @ part.y, Z.T @ part.a, data.n_obs)
        path = lasso_path(whole)
        self.path_ = pd.DataFrame(
            {
                "penalty": path.penalty,
                "estimate": path.effect,
                "n_invalid": (path.alpha != 0).sum(axis=1),
            }
        )
        self.cv_ = None
        if isinstance(self.lam, str):
            folds = self._folds(data, Z, part.y, part.a)
            self.cv_, self.lam_ = self._choose(whole, folds, path)
        else:
            self.lam_ = float(self.lam)
        (alpha,), (effect,) = path.at(np.array([self.lam_]))
        effect = float(effect)
        self.direct_effect_ = pd.Series(alpha, index=list(data.instruments), name="direct_effect")
        # One instrument at least is left: the path ends with J - 1 direct effects.
        self.valid_set_ = [int(j) for j in np.flatnonzero(alpha == 0)]
        self.relevant_ = list(range(J))
        self._store(self._post_selection(data, part, kind, effect), data.rows)
        self._remember_effect()
        self.ate_ = effect
        return self

    def _post_selection(
        self, data: IVData, part: Partialled, kind: str, effect: float
    ) -> InferenceResult:
        J = part.n_instruments
        group = group_moments(part, as_mask(self.valid_set_, J), kind)
        factor, df = factor_of(part, kind, J - len(self.valid_set_))
        fit = group_fit(part, group, kind, factor)
        return selection_result(
            data,
            effect=fit.effect,
            std_error=fit.std_error,
            df=df,
            kind=kind,
            method=f"Lasso on direct effects (sisVIVE), {J} candidate instruments",
            diagnostics={
                "leading": [
                    f"Lasso estimate of the effect: {effect:.4f} (no standard error exists), "
                    f"penalty {self.lam_:.4g}",
                    *selection_lines(data, self.valid_set_, self.relevant_),
                ],
                "lines": overid_line(kind, group),
                "notes": [
                    "the table is two-stage least squares with the selected instruments; its "
                    "standard error does not count the selection"
                ],
                "assumptions": selection_assumptions(
                    data, "less than half of the instruments have a direct effect"
                ),
            },
            call=self._call(),
            name=POST,
        )

    def _folds(self, data: IVData, Z: Array, y: Array, a: Array) -> list[Products]:
        rng = check_rng(self.random_state)
        (splits,), _ = make_folds(data.n_obs, self.cv, 1, rng, groups=data.clusters)
        if min(len(train) for train, _ in splits) <= Z.shape[1] + 1:
            raise DataError(
                f"cv leaves fewer than {Z.shape[1] + 2} training rows for {Z.shape[1]} "
                "instruments. Use more rows or fewer folds."
            )
        return [Products(Z[t].T @ Z[t], Z[t].T @ y[t], Z[t].T @ a[t], len(t)) for _, t in splits]

    def _choose(
        self, whole: Products, folds: list[Products], path: LassoPath
    ) -> tuple[pd.DataFrame, float]:
        largest = float(path.penalty[0])
        grid = largest * np.geomspace(1.0, _SMALLEST, _N_PENALTIES)
        error, spread = cross_validate(whole, folds, grid)
        best = int(np.argmin(error))
        chosen = int(np.argmax(error <= error[best] + spread[best]))
        columns = {"penalty": grid, "cv_error": error, "cv_std_error": spread}
        return pd.DataFrame(columns), float(grid[chosen])
