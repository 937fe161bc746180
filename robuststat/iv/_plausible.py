"""Instruments that are plausibly, not exactly, exogenous: how far may exclusion fail."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import numpy as np
import pandas as pd
from scipy import linalg
from sklearn.utils.validation import check_is_fitted

from robuststat._core.errors import ParameterError
from robuststat._core.linalg import is_psd
from robuststat._core.params import Check, one_of, optional
from robuststat._core.types import Array
from robuststat._core.vcov import meat, sandwich, small_sample
from robuststat._results.intervals import critical_value
from robuststat._results.tables import check_level
from robuststat.iv._classical_base import EFFECT, IVEstimator
from robuststat.iv._classical_intake import (
    ROBUST_KINDS,
    IVData,
    dropped_rows,
    independence,
    variance_kind,
)
from robuststat.iv._doc import shared_parameters
from robuststat.iv._linear import Partialled, k_class, k_class_vcov, partial_out
from robuststat.iv._strength import first_stage, strength_lines, warn_weak
from robuststat.result import InferenceResult

# 2^12 corners of a box are looked at one by one.
_MAX_INSTRUMENTS = 12
_ADVICE = "Read the Anderson-Rubin set of TwoStageLeastSquares, not this table."


@dataclass(frozen=True, slots=True)
class EffectAlongViolation:
    """Two-stage least squares of y - Z g as a function of the direct effects g.

    The estimate is ``coef @ (1, g)`` and its variance ``(1, g)' vcov (1, g)``: residuals are affine
    in g, and so is the score.

    Attributes
    ----------
    coef : ndarray of shape (1 + J,)
        Estimate at g = 0, and its derivatives.
    vcov : ndarray of shape (1 + J, 1 + J)
        Variance of the pieces.
    df : float
        Degrees of freedom.
    """

    coef: Array
    vcov: Array
    df: float

    def at(self, g: Array) -> tuple[float, float]:
        """Estimate and standard error."""
        t = np.concatenate([[1.0], g])
        return float(self.coef @ t), float(np.sqrt(max(t @ self.vcov @ t, 0.0)))

    def limits(self, g: Array, level: float) -> tuple[float, float]:
        """Interval at g."""
        b, s = self.at(g)
        half = critical_value(level, self.df) * s
        return b - half, b + half


def effect_along_violation(part: Partialled, kind: str) -> EffectAlongViolation:
    """Estimate and variance for every g, from one pass over the rows."""
    n, strength = part.n_obs, float(part.ca @ part.ca)
    m = part.R.T @ part.ca / strength
    b = float(part.ca @ part.cy) / strength
    resid = np.column_stack([part.y - part.a * b, -(part.Q @ part.R) + np.outer(part.a, m)])
    fitted = part.Q @ part.ca
    jacobian = -np.eye(1 + m.size) * strength / n
    factor, df = 1.0, np.inf
    if kind == "iid":
        B = resid.T @ resid / n * strength / n
    else:
        B = meat(resid * fitted[:, None], clusters=part.clusters).matrix
        small = small_sample(
            kind,  # type: ignore[arg-type]
            n_obs=n,
            n_params=part.n_covariates + 1,
            n_clusters=part.n_clusters,
        )
        factor, df = small.factor, small.df
    V = sandwich(jacobian, B, n, factor)
    return EffectAlongViolation(np.concatenate([[b], -m]), V, df)


def union_of_intervals(
    path: EffectAlongViolation, low: Array, high: Array, level: float
) -> tuple[tuple[float, float], Array, Array]:
    """Union of the intervals over a box of direct effects, and the corners that give its ends.

    The estimate is linear in g and the standard error is the length of an affine function of g,
    hence convex: the lower end is concave and the upper end convex in g, so that both extremes are
    attained at corners. No grid is needed.
    """
    ends = [(a, b) if a < b else (a,) for a, b in zip(low, high, strict=True)]
    corners = [np.array(corner) for corner in itertools.product(*ends)]
    limits = np.array([path.limits(g, level) for g in corners])
    first, last = int(np.argmin(limits[:, 0])), int(np.argmax(limits[:, 1]))
    return (float(limits[first, 0]), float(limits[last, 1])), corners[first], corners[last]


def breakdown(path: EffectAlongViolation, level: float) -> float:
    """Smallest r such that the interval holds 0 for some g with all |g_j| <= r."""
    z2 = critical_value(level, path.df) ** 2
    c, V = path.coef, path.vcov
    a0 = float(c[0] ** 2 - z2 * V[0, 0])
    if a0 <= 0:
        return 0.0
    best = np.inf
    for signs in itertools.product((-1.0, 1.0), repeat=c.size - 1):
        s = np.array(signs)
        slope = float(c[1:] @ s)
        a1 = 2.0 * (float(c[0]) * slope - z2 * float(V[0, 1:] @ s))
        a2 = slope**2 - z2 * float(s @ V[1:, 1:] @ s)
        roots = np.roots([a2, a1, a0])
        real = roots.real[(np.abs(roots.imag) <= 1e-12 * np.abs(roots)) & (roots.real > 0)]
        best = min(best, float(real.min())) if real.size else best
    return best


@shared_parameters
class PlausiblyExogenousIV(IVEstimator):
    """Two-stage least squares when instruments may have a direct effect g on the outcome.

    The estimand is the coefficient of the treatment in y = a b + Z g + covariates, where g is not
    zero but bounded ("uci") or random with a known distribution ("ltz").

    Parameters
    ----------
    method : {"uci", "ltz"}, default="uci"
        "uci": union of the intervals over all g between ``gamma_min`` and ``gamma_max``. "ltz": g
        is drawn from a normal distribution ("local to zero").
    gamma_min, gamma_max : float or array of shape (J,), default=0.0
        Smallest and largest direct effect of each instrument, unit of y per unit of the
        instrument; for "uci".
    prior_mean : float or array of shape (J,), default=0.0
        Mean of the direct effects; for "ltz".
    prior_cov : float or array of shape (J, J), default=0.0
        Their covariance; a number is a common variance without correlation. For "ltz".
    vcov : {"iid", "HC0", "HC1", "CR0", "CR1"}, optional
        Variance. None is HC0, or CR0 when ``clusters`` are given; "iid" uses RSS/n.
    {shared}

    Attributes
    ----------
    {attributes}
    breakdown_ : float
        Smallest direct effect that takes the conclusion away: the smallest r such that the 95 %
        interval of two-stage least squares holds 0 for some g with abs(g_j) <= r for every
        instrument. 0 when it holds 0 already at g = 0.
    strength_ : Bunch
        First stage, as in :class:`TwoStageLeastSquares`.

    See Also
    --------
    IVSensitivity : The same question in terms of omitted variables.

    Notes
    -----
    For "uci", ``ate_`` is the estimate at the centre of the box and ``conf_int_`` and
    :meth:`confint` give the union; the table shows the estimate at the centre and at the two
    corners that give the ends. For "ltz" the estimate is b - Gam mu with variance V + Gam Om Gam',
    Gam the derivative of the coefficients with respect to g (Conley, Hansen and Rossi 2012). That
    corners suffice for the union is derived here (the ends are concave and convex in g); so is the
    breakdown value.

    References
    ----------
    Conley, T. G., Hansen, C. B. and Rossi, P. E. (2012). Plausibly Exogenous. Review of Economics
    and Statistics 94(1), 260-272.

    Examples
    --------
    >>> from robuststat import PlausiblyExogenousIV
    >>> from robuststat.simulation import make_many_iv
    >>> data = make_many_iv(n=2000, n_instruments=1, n_invalid=0, random_state=0)
    >>> est = PlausiblyExogenousIV(gamma_min=-0.1, gamma_max=0.1)
    >>> est = est.fit(data.X, data.y, treatment=data.treatment, instruments=data.instruments)
    >>> low, high = est.conf_int_
    >>> bool(low < 1 < high), 0.1 < est.breakdown_ < 0.4
    (True, True)
    """

    _parameter_checks: ClassVar[Mapping[str, Check]] = {
        **IVEstimator._parameter_checks,
        "method": one_of("uci", "ltz"),
        "vcov": optional(one_of("iid", *ROBUST_KINDS)),
    }

    def __init__(
        self,
        method: str = "uci",
        *,
        gamma_min: Any = 0.0,
        gamma_max: Any = 0.0,
        prior_mean: Any = 0.0,
        prior_cov: Any = 0.0,
        vcov: str | None = None,
        formula: str | None = None,
        missing: str | None = None,
    ) -> None:
        self.method = method
        self.gamma_min = gamma_min
        self.gamma_max = gamma_max
        self.prior_mean = prior_mean
        self.prior_cov = prior_cov
        self.vcov = vcov
        self.formula = formula
        self.missing = missing

    def _fit(self, data: IVData) -> Self:
        kind = variance_kind(self.vcov, data)
        J = data.Z.shape[1]
        if J > _MAX_INSTRUMENTS:
            raise ParameterError(
                f"instruments has {J} columns; all 2^J corners are looked at, so at most "
                f"{_MAX_INSTRUMENTS} are allowed. Combine them, or use TSHT or GENIUS."
            )
        self._refuse_other_options()
        part = partial_out(data)
        self.strength_, _ = first_stage(part, kind)
        warn_weak(self.strength_, "use score_confint() of TwoStageLeastSquares")
        self._path = effect_along_violation(part, kind)
        self.breakdown_ = breakdown(self._path, 0.95)
        if self.method == "uci":
            low, high = (self._vector(name, J) for name in ("gamma_min", "gamma_max"))
            if (low > high).any():
                raise ParameterError(
                    f"gamma_min must not exceed gamma_max, got {low.tolist()} and {high.tolist()}."
                )
            self._box = (low, high)
            result = self._uci(data, kind)
        else:
            result = self._ltz(data, part, kind)
        self._store(result, data.rows)
        self._remember_effect()
        if self.method == "uci":
            limits = self.confint().iloc[0]
            self.conf_int_ = (float(limits["conf_low"]), float(limits["conf_high"]))
        return self

    def _refuse_other_options(self) -> None:
        unused = {"uci": ("prior_mean", "prior_cov"), "ltz": ("gamma_min", "gamma_max")}
        for name in unused[self.method]:
            if np.any(np.asarray(getattr(self, name)) != 0.0):
                other = "ltz" if self.method == "uci" else "uci"
                raise ParameterError(
                    f"{name} has no effect with method={self.method!r}. Leave it out, or use "
                    f"method={other!r}."
                )

    def _vector(self, name: str, J: int) -> Array:
        try:
            value = np.asarray(getattr(self, name), dtype=np.float64)
            vector = np.broadcast_to(value, (J,)).copy()
        except (TypeError, ValueError):
            vector = np.full(J, np.nan)
        if not np.isfinite(vector).all():
            raise ParameterError(
                f"{name} must be a finite number or {J} of them, one an instrument; got "
                f"{getattr(self, name)!r}."
            )
        return vector

    def _covariance(self, J: int) -> Array:
        try:
            value = np.asarray(self.prior_cov, dtype=np.float64)
        except (TypeError, ValueError):
            value = np.full((), np.nan)
        matrix = value * np.eye(J) if value.ndim == 0 else value
        fine = matrix.shape == (J, J) and np.isfinite(matrix).all()
        if not fine or not np.allclose(matrix, matrix.T) or not is_psd(matrix):
            raise ParameterError(
                f"prior_cov must be a variance or a covariance matrix of shape ({J}, {J}), got "
                f"{self.prior_cov!r}."
            )
        return matrix

    def _uci(self, data: IVData, kind: str) -> InferenceResult:
        low, high = self._box
        union, first, last = union_of_intervals(self._path, low, high, 0.95)
        points = {f"{EFFECT} (centre)": (low + high) / 2.0}
        for g in (first, last):
            points.setdefault(f"{EFFECT} (g = {', '.join(f'{v:.4g}' for v in g)})", g)
        T = np.column_stack([np.ones(len(points)), np.array(list(points.values()))])
        ranges = ", ".join(
            f"{name} [{a:.4g}, {b:.4g}]"
            for name, a, b in zip(data.instruments, low, high, strict=True)
        )
        leading = [
            *strength_lines(self.strength_, _ADVICE),
            f"Direct effects g allowed: {ranges}",
            f"Union of the 95 % intervals of the effect: [{union[0]:.4g}, {union[1]:.4g}]",
        ]
        return self._result(
            data, kind, leading, T @ self._path.coef, T @ self._path.vcov @ T.T, tuple(points)
        )

    def _ltz(self, data: IVData, part: Partialled, kind: str) -> InferenceResult:
        J = data.Z.shape[1]
        mu, omega = self._vector("prior_mean", J), self._covariance(J)
        fit = k_class(part)
        V = k_class_vcov(part, fit, kind).matrix
        # Derivative of all coefficients with respect to g, with the opposite sign.
        m = -self._path.coef[1:]
        Z = data.Z if part.root is None else data.Z * part.root[:, None]
        rest = linalg.solve_triangular(part.Rx, part.Qx.T @ Z - np.outer(part.ba, m))
        gam = np.vstack([m, rest])
        sd = ", ".join(f"{v:.4g}" for v in np.sqrt(np.diag(omega)))
        leading = [
            *strength_lines(self.strength_, _ADVICE),
            f"Direct effects g: normal, mean {', '.join(f'{v:.4g}' for v in mu)}, standard "
            f"deviation {sd}",
        ]
        names = (data.treatment, *data.covariates)
        return self._result(
            data, kind, leading, fit.coef - gam @ mu, V + gam @ omega @ gam.T, names
        )

    def _result(
        self,
        data: IVData,
        kind: str,
        leading: list[str],
        estimate: Array,
        vcov: Array,
        names: tuple[str, ...],
    ) -> InferenceResult:
        value = f"{self.breakdown_:.4g}"
        lines = [
            "Breakdown: the 95 % interval of two-stage least squares holds 0 already under "
            "exclusion"
            if self.breakdown_ == 0
            else f"Breakdown: direct effects up to {value} in absolute value are needed for an "
            "interval that holds 0"
        ]
        exclusion = {
            "uci": "direct effects of the instruments lie inside the stated bounds",
            "ltz": "direct effects of the instruments have the stated normal distribution",
        }
        return InferenceResult(
            estimate=estimate,
            vcov=(vcov + vcov.T) / 2.0,
            names=names,
            n_obs=data.n_obs,
            df=self._path.df,
            n_clusters=data.n_clusters,
            vcov_type=kind,
            estimand=f"effect of {data.treatment} on {data.rows.outcome} when instruments may have "
            "direct effects",
            method="Plausibly exogenous instruments, "
            + ("union of confidence intervals" if self.method == "uci" else "local to zero"),
            outcome=data.rows.outcome,
            diagnostics={
                **dropped_rows(data),
                "leading": leading,
                "lines": lines,
                "assumptions": [
                    exclusion[self.method],
                    "instruments are as good as random given the covariates, which enter linearly",
                    "instruments are strongly related to the treatment",
                    independence(data),
                ],
                "glance": {"f_statistic": self.strength_.statistic},
            },
            call=self._call(),
        )

    def confint(
        self, level: float = 0.95, kind: Literal["pointwise", "simultaneous"] = "pointwise"
    ) -> pd.DataFrame:
        """Confidence intervals; for "uci" one row, the union over all direct effects allowed.

        Parameters
        ----------
        level : float, default=0.95
            Confidence level.
        kind : {"pointwise", "simultaneous"}
            For "ltz", as in :meth:`InferenceResult.confint`; the union is one interval.

        Returns
        -------
        DataFrame
            ``conf_low conf_high``, indexed by term.
        """
        check_is_fitted(self, "result_")
        if self.method == "ltz" or not hasattr(self, "_box"):
            return self.result_.confint(level=level, kind=kind)
        check_level(level)
        if kind != "pointwise":
            raise ParameterError(
                f"kind={kind!r} has no meaning for the union of intervals, which is one interval. "
                "Use kind='pointwise'."
            )
        (low, high), _, _ = union_of_intervals(self._path, *self._box, level)
        index = pd.Index([EFFECT], name="term")
        return pd.DataFrame({"conf_low": [low], "conf_high": [high]}, index=index)
