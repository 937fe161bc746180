"""Confidence sets from inverting the test of a ratio of means (2.7)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from scipy import stats

from robuststat._core.types import Array

SetKind = Literal["interval", "complement", "line"]


@dataclass(frozen=True, slots=True)
class RatioMoments:
    """What a score set needs: two means and their variance.

    Attributes
    ----------
    mean : ndarray of shape (2,)
        Means of numerator f_N and denominator f_D.
    vcov : ndarray of shape (2, 2)
        Variance matrix of the two means.
    """

    mean: Array
    vcov: Array

    @property
    def ratio(self) -> float:
        """Numerator over denominator."""
        return float(self.mean[0] / self.mean[1])

    @property
    def std_error(self) -> float:
        """Delta-method standard error of the ratio."""
        weight = np.array([1.0, -self.ratio])
        return float(np.sqrt(max(weight @ self.vcov @ weight, 0.0)) / abs(self.mean[1]))

    @property
    def strength(self) -> float:
        """Denominator over its standard error; NaN when both are zero."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return float(self.mean[1] / np.sqrt(self.vcov[1, 1]))


@dataclass(frozen=True, slots=True)
class ScoreSet:
    """Set of values that the score test does not reject.

    Attributes
    ----------
    kind : {"interval", "complement", "line"}
        One interval, the two rays outside one, or every number.
    limits : ndarray of shape (m, 2)
        One row an interval; two for a complement.
    """

    kind: SetKind
    limits: Array

    def frame(self) -> pd.DataFrame:
        """Limits as columns conf_low and conf_high."""
        return pd.DataFrame(self.limits, columns=["conf_low", "conf_high"])

    def words(self) -> str:
        """Union of intervals, as a reader writes it."""
        if self.kind == "line":
            return "(-inf, inf): every value is compatible with the data"
        parts = []
        for low, high in self.limits:
            left = f"({low:.4g}" if np.isinf(low) else f"[{low:.4g}"
            right = f"{high:.4g})" if np.isinf(high) else f"{high:.4g}]"
            parts.append(f"{left}, {right}")
        return " and ".join(parts)


def score_set(moments: RatioMoments, level: float) -> ScoreSet:
    """Values t for which the mean of f_N - t f_D is not significantly different from zero.

    They solve a2 t^2 + a1 t + a0 <= 0; the set is right however close to zero the denominator is,
    and unbounded when the denominator is not significant at the same level.

    Parameters
    ----------
    moments : RatioMoments
        Means and their variance.
    level : float
        Confidence level in (0, 1).

    Returns
    -------
    ScoreSet
    """
    q = float(stats.chi2.ppf(level, 1))
    n, d = moments.mean
    v = moments.vcov
    a2, a1, a0 = d * d - q * v[1, 1], -2.0 * (n * d - q * v[0, 1]), n * n - q * v[0, 0]
    line = ScoreSet("line", np.array([[-np.inf, np.inf]]))
    if a2 == 0.0:
        if a1 == 0.0:
            return line
        root = -a0 / a1
        return ScoreSet("interval", np.array([[-np.inf, root] if a1 > 0 else [root, np.inf]]))
    discriminant = a1 * a1 - 4.0 * a2 * a0
    if a2 < 0.0 and discriminant <= 0.0:
        return line
    # The estimate itself is in the set when a2 > 0, so a negative value there is rounding.
    half = np.sqrt(max(discriminant, 0.0))
    stable = -0.5 * (a1 + np.copysign(half, a1))
    roots = sorted([stable / a2, a0 / stable if stable != 0.0 else 0.0])
    if a2 > 0.0:
        return ScoreSet("interval", np.array([roots]))
    return ScoreSet("complement", np.array([[-np.inf, roots[0]], [roots[1], np.inf]]))
