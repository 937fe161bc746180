"""Confidence sets that come from inverting a test: intervals, complements, the line, nothing.

Anderson and Rubin test an effect b by asking whether the instruments explain y - b a. The set of
effects that are not rejected has the right coverage however weak the instruments are. It need not
be an interval, and it is infinite when the instruments say too little.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import pandas as pd
from scipy import linalg, optimize, stats
from sklearn.utils.validation import check_is_fitted

from robuststat._core.errors import ParameterError
from robuststat._core.linalg import solve_psd
from robuststat._core.types import Array
from robuststat._core.vcov import meat, small_sample
from robuststat._results.tables import check_level
from robuststat.iv._linear import Partialled

SetType: TypeAlias = Literal["interval", "complement", "line", "empty", "union"]


@dataclass(frozen=True, slots=True)
class ConfidenceSet:
    """A union of closed intervals, in increasing order.

    Attributes
    ----------
    pieces : ndarray of shape (m, 2)
        End points; infinite where a piece has no end.
    """

    pieces: Array

    @property
    def kind(self) -> SetType:
        """Shape of the set."""
        ends = np.isinf(self.pieces)
        if len(self.pieces) == 0:
            return "empty"
        if len(self.pieces) == 1:
            return "line" if ends.all() else "interval"
        two_tails = len(self.pieces) == 2 and ends[0, 0] and ends[1, 1]
        return "complement" if two_tails else "union"

    def frame(self) -> pd.DataFrame:
        """One row a piece, ``conf_low conf_high``."""
        return pd.DataFrame(self.pieces, columns=["conf_low", "conf_high"])

    def words(self, digits: int = 4) -> str:
        """Return the set in words."""
        if self.kind == "empty":
            return "empty: every effect is rejected, so the instruments contradict each other"
        if self.kind == "line":
            return "the whole line: the data do not bound the effect"
        shown = " or ".join(f"[{a:.{digits}g}, {b:.{digits}g}]" for a, b in self.pieces)
        return shown.replace("[-inf", "(-inf").replace("inf]", "inf)")


def quadratic_set(a2: float, a1: float, a0: float) -> ConfidenceSet:
    """Numbers t with ``a2 t^2 + a1 t + a0 <= 0``."""
    discriminant = a1 * a1 - 4.0 * a2 * a0
    if a2 == 0.0:
        if a1 == 0.0:
            return ConfidenceSet(_pieces([(-np.inf, np.inf)] if a0 <= 0 else []))
        root = -a0 / a1
        return ConfidenceSet(_pieces([(-np.inf, root)] if a1 > 0 else [(root, np.inf)]))
    if discriminant < 0:
        return ConfidenceSet(_pieces([] if a2 > 0 else [(-np.inf, np.inf)]))
    # The root without cancellation first, the other from the product of the roots.
    far = -0.5 * (a1 + np.copysign(np.sqrt(discriminant), a1))
    roots = sorted((far / a2, a0 / far if far != 0 else 0.0))
    if a2 > 0:
        return ConfidenceSet(_pieces([(roots[0], roots[1])]))
    return ConfidenceSet(_pieces([(-np.inf, roots[0]), (roots[1], np.inf)]))


def _pieces(pairs: list[tuple[float, float]]) -> Array:
    return np.array(pairs, dtype=np.float64).reshape(-1, 2)


@dataclass(frozen=True, slots=True)
class AndersonRubin:
    """What the Anderson-Rubin test of every effect needs, without the rows.

    Attributes
    ----------
    cy, ca : ndarray of shape (J,)
        Moments of outcome and treatment in an orthonormal basis of the instruments.
    products : ndarray of shape (2, 2)
        y'y, y'a, a'a.
    covariance : ndarray of shape (2J, 2J) or None
        Covariance of the moments of y and a, small-sample factor included; None for equal
        variances.
    df : float
        Denominator degrees of freedom; inf means chi-squared.
    """

    cy: Array
    ca: Array
    products: Array
    covariance: Array | None
    df: float

    def statistic(self, effect: float) -> float:
        """F statistic (chi-squared over J without finite df) of "the effect is this"."""
        J = self.cy.size
        g = self.cy - effect * self.ca
        if self.covariance is None:
            t = np.array([1.0, -effect])
            total = float(t @ self.products @ t)
            explained = float(g @ g)
            if explained == 0.0:
                return 0.0
            return (explained / J) / ((total - explained) / self.df)
        if not g.any():
            return 0.0
        return float(g @ solve_psd(_at(self.covariance, effect), g)) / J

    def p_value(self, effect: float) -> float:
        """p-value of "the effect is this"."""
        J, value = self.cy.size, self.statistic(effect)
        if np.isinf(self.df):
            return float(stats.chi2.sf(J * value, J))
        return float(stats.f.sf(value, J, self.df))

    def invert(self, level: float) -> ConfidenceSet:
        """Effects that are not rejected at ``1 - level``."""
        J = self.cy.size
        q = stats.chi2.ppf(level, J) / J if np.isinf(self.df) else stats.f.ppf(level, J, self.df)
        q = float(q)
        if self.covariance is None:
            return self._equal_variances(q)
        if J == 1:
            (yy, ya), (_, aa) = self.covariance
            cy, ca = float(self.cy[0]), float(self.ca[0])
            return quadratic_set(ca * ca - q * aa, -2.0 * (cy * ca - q * ya), cy * cy - q * yy)
        return self._rational(q)

    def _equal_variances(self, q: float) -> ConfidenceSet:
        J = self.cy.size
        (yy, ya), (_, aa) = self.products
        inside = self.df + J * q
        return quadratic_set(
            float(self.ca @ self.ca) * inside - J * q * aa,
            -2.0 * (float(self.cy @ self.ca) * inside - J * q * ya),
            float(self.cy @ self.cy) * inside - J * q * yy,
        )

    def _rational(self, q: float) -> ConfidenceSet:
        """Set {t : g(t)' S(t)^-1 g(t) <= J q}, g linear and S quadratic in t.

        The boundary points are the real t where the bordered matrix [[J q S, g], [g', 1]] is
        singular: a quadratic eigenvalue problem.
        """
        assert self.covariance is not None
        J = self.cy.size
        if self.products[0, 0] == 0.0:
            # The statistic of an outcome without variation is the same for all effects but zero.
            fits = self.statistic(1.0) <= q
            return ConfidenceSet(_pieces([(-np.inf, np.inf)] if fits else [(0.0, 0.0)]))
        # Effects in units of the ratio of lengths, so that all blocks are of one size.
        unit = float(np.sqrt(self.products[0, 0] / self.products[1, 1])) or 1.0
        size = float(np.sqrt(np.abs(np.diag(self.covariance[:J, :J])).max())) or 1.0
        blocks = self.covariance / size**2 * J * q
        cy, ca = self.cy / size, self.ca / size * unit
        S0, S2 = blocks[:J, :J], blocks[J:, J:] * unit**2
        S1 = -(blocks[:J, J:] + blocks[J:, :J]) * unit
        M0, M1, M2 = (_bordered(*part) for part in ((S0, cy, 1.0), (S1, -ca, 0.0), (S2, 0 * ca, 0)))
        eye, zero = np.eye(J + 1), np.zeros((J + 1, J + 1))
        left = np.block([[zero, eye], [-M0, -M1]])
        right = linalg.block_diag(eye, M2)
        roots = linalg.eigvals(left, right)
        roots = roots[np.isfinite(roots)]
        real = np.sort(roots.real[np.abs(roots.imag) <= 1e-6 * (1.0 + np.abs(roots.real))])

        def excess(t: float) -> float:
            g = cy - t * ca
            return float(g @ solve_psd(S0 + t * S1 + t * t * S2, g)) - 1.0

        at_infinity = float(ca @ solve_psd(S2, ca)) - 1.0
        return ConfidenceSet(_sign_pieces(excess, real, at_infinity) * unit)


def _bordered(S: Array, g: Array, corner: float) -> Array:
    return np.block([[S, g[:, None]], [g[None, :], np.array([[corner]])]])


def _sign_pieces(excess: Callable[[float], float], real: Array, at_infinity: float) -> Array:
    """Intervals where ``excess`` is not positive, given points that hold all its sign changes."""
    if real.size == 0:
        return _pieces([(-np.inf, np.inf)] if at_infinity <= 0 else [])
    middle = [real[0] - 1.0, *(0.5 * (real[1:] + real[:-1])), real[-1] + 1.0]
    inside = [excess(float(t)) <= 0 for t in middle]
    # Beyond the outermost root the sign is that of infinity.
    inside[0] = inside[-1] = at_infinity <= 0
    ends: list[float] = [-np.inf] if inside[0] else []
    for j in range(real.size):
        if inside[j] != inside[j + 1]:
            low, high = float(middle[j]), float(middle[j + 1])
            crossing = excess(low) * excess(high) < 0
            ends.append(float(optimize.brentq(excess, low, high)) if crossing else float(real[j]))
    ends += [np.inf] if inside[-1] else []
    return np.array(ends).reshape(-1, 2)


def _at(covariance: Array, effect: float) -> Array:
    J = covariance.shape[0] // 2
    cross = covariance[:J, J:]
    return np.asarray(
        covariance[:J, :J] - effect * (cross + cross.T) + effect**2 * covariance[J:, J:]
    )


def anderson_rubin(part: Partialled, kind: str) -> AndersonRubin:
    """Collect what the test needs; "iid" is the exact F test under normal errors.

    The robust covariance is that of Z'(y - b a) with only the covariates taken out of y and a, so
    that it is estimated under the effect that is tested.
    """
    W = np.column_stack([part.y, part.a])
    n, J = part.n_obs, part.n_instruments
    n_params = part.n_covariates + J
    if kind == "iid":
        return AndersonRubin(part.cy, part.ca, W.T @ W, None, float(n - n_params))
    scores = np.hstack([part.Q * part.y[:, None], part.Q * part.a[:, None]])
    small = small_sample(kind, n_obs=n, n_params=n_params, n_clusters=part.n_clusters)  # type: ignore[arg-type]
    S = meat(scores, clusters=part.clusters).matrix * n * small.factor
    df = small.df if kind.startswith("CR") else np.inf
    return AndersonRubin(part.cy, part.ca, W.T @ W, S, df)


class ScoreSets:
    """Confidence sets by inverting a test, for estimators that keep what the test needs."""

    _test: AndersonRubin
    conf_set_type_: str

    def _fitted_test(self) -> AndersonRubin:
        check_is_fitted(self)
        if not hasattr(self, "_test"):
            raise ParameterError(
                f"{type(self).__name__} keeps no score test here: it is for models that are linear "
                "in the effect. Use confint()."
            )
        return self._test

    def score_confint(self, level: float = 0.95) -> pd.DataFrame:
        """Confidence set by inverting a test, right however weak the instruments are.

        Parameters
        ----------
        level : float, default=0.95
            Confidence level.

        Returns
        -------
        DataFrame
            ``conf_low conf_high``: one row for an interval, two for the complement of one,
            (-inf, inf) for the whole line, no row when every effect is rejected.
        """
        check_level(level)
        return self._fitted_test().invert(level).frame()

    def test_effect(self, effect: float = 0.0) -> float:
        """Test that the effect has a given value, by the same test; returns the p-value.

        Parameters
        ----------
        effect : float, default=0.0
            Effect under the null hypothesis.

        Returns
        -------
        float
        """
        if not np.isfinite(effect):
            raise ParameterError(f"effect must be a finite number, got {effect!r}.")
        return self._fitted_test().p_value(float(effect))
