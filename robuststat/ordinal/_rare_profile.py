"""Profiles of a penalised likelihood, kept as curves so that intervals need no rows later.

For one coefficient b the signed root r(b) = sign(b - b^) sqrt(2 (l(b^) - l_p(b))), l_p the
penalised likelihood maximised over the others, is increasing; interval limits are where it is
plus and minus the normal quantile, and r(0) gives the likelihood-ratio test of b = 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy.interpolate import CubicHermiteSpline

from robuststat._core.errors import ParameterError
from robuststat._core.types import Array
from robuststat._results import intervals
from robuststat._results.tables import check_level
from robuststat.ordinal._rare_fit import LogitFit, LogitProblem, fit_logit
from robuststat.result import InferenceResult

# Roots that are solved for, so that the usual levels are exact; in between the curve is
# interpolated. The first and last target only have to be reached.
_SOLVED = tuple(intervals.critical_value(level, np.inf) for level in (0.9, 0.95, 0.99))
_TARGETS = (1.0, *_SOLVED, 3.4)
# The constrained fits stop at steps this small; the likelihood is then right to its square.
_TOL = 1e-7


@dataclass(frozen=True, slots=True)
class ProfileCurve:
    """Signed root of the likelihood ratio at some values of one coefficient.

    Attributes
    ----------
    root : ndarray of shape (m,)
        r, increasing.
    value : ndarray of shape (m,)
        Coefficient at which it is reached.
    slope : ndarray of shape (m,)
        Derivative of the coefficient with respect to r.
    at_zero : float
        r of the hypothesis "the coefficient is zero", with the sign of the estimate.
    """

    root: Array
    value: Array
    slope: Array
    at_zero: float

    def limits(self, level: float) -> tuple[float, float]:
        """Interval limits; levels beyond the curve (0.999) are a ParameterError."""
        z = intervals.critical_value(level, np.inf)
        if z > min(-self.root[0], self.root[-1]):
            raise ParameterError(
                f"Profiles were followed to level 0.999; level={level} is beyond. Use a lower one, "
                "or fit with intervals='wald'."
            )
        curve = CubicHermiteSpline(self.root, self.value, self.slope)
        return float(curve(-z)), float(curve(z))


@dataclass(frozen=True, slots=True)
class _Node:
    value: float
    root: float
    slope: float
    beta: Array


def profile_curve(
    problem: LogitProblem,
    fit: LogitFit,
    j: int,
    *,
    vcov: Array,
    zero: float = 0.0,
    max_iter: int = 100,
) -> ProfileCurve | None:
    """Profile of coefficient ``j``.

    Parameters
    ----------
    problem, fit : LogitProblem, LogitFit
        Rows and their maximum.
    j : int
        Coefficient.
    vcov : ndarray of shape (k, k)
        Inverse information at the maximum.
    zero : float
        Value that the test is about.
    max_iter : int
        Steps of each constrained fit.

    Returns
    -------
    ProfileCurve or None
        None when a constrained fit did not converge, or the root is not increasing.
    """
    centre = _Node(float(fit.beta[j]), 0.0, float(np.sqrt(vcov[j, j])), fit.beta)
    top = fit.point.loglik

    def node(value: float, near: _Node) -> _Node | None:
        if value == centre.value:
            return centre
        # The others move along the ridge of the quadratic approximation.
        start = near.beta + vcov[:, j] / vcov[j, j] * (value - near.value)
        start[j] = value
        fixed = np.arange(len(start)) == j
        found = fit_logit(problem, start, fixed=fixed, tol=_TOL, max_iter=max_iter)
        drop = 2.0 * (top - found.point.loglik)
        root = float(np.sign(value - centre.value) * np.sqrt(max(drop, 0.0)))
        score = float(found.point.score[j])
        if not found.convergence.converged or root == 0.0 or score * root >= 0.0:
            return None
        return _Node(value, root, -root / score, found.beta)

    nodes = [centre]
    for side in (-1.0, 1.0):
        last = centre
        for target in _TARGETS:
            reached = _reach(side * target, last, node, solve=target in _SOLVED)
            if reached is None:
                return None
            nodes += reached
            last = reached[-1]
    tested = node(zero, min(nodes, key=lambda found: abs(found.value - zero)))
    if tested is None:
        return None
    nodes.sort(key=lambda found: found.value)
    root = np.array([found.root for found in nodes])
    kept = np.concatenate([[True], np.diff(root) > 1e-6])
    if (np.diff(root) <= -1e-9).any():
        return None
    value, slope = (np.array([getattr(m, name) for m in nodes]) for name in ("value", "slope"))
    return ProfileCurve(root[kept], value[kept], slope[kept], -tested.root)


def _reach(target: float, last: _Node, node: Any, *, solve: bool) -> list[_Node] | None:
    """Nodes on the way to r = target: one Newton step, repeated until it is met to 1e-9.

    With ``solve=False`` it is enough to come as far as the target.
    """
    found: list[_Node] = []
    for _ in range(30):
        gap = target - last.root
        far = abs(last.root) >= abs(target)
        if found and (abs(gap) < 1e-9 if solve else far):
            return found
        if not found and far and not solve:
            return [last]
        step = gap * last.slope
        # A flat stretch would throw the step far out.
        limit = 4.0 * abs(last.slope) if not found else 2.0 * abs(step)
        new = node(last.value + float(np.clip(step, -limit, limit)), last)
        if new is None:
            return None
        found.append(new)
        last = new
    return None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class ProfiledResult(InferenceResult):
    """Result whose pointwise intervals and p-values come from likelihood profiles.

    ``diagnostics["profile"]`` holds one curve a coefficient (see :class:`ProfileCurve`), None
    where there is none and Wald's interval and test are given. Wald tests of several
    coefficients, contrasts and simultaneous bands use ``vcov``.

    Parameters
    ----------
    estimate, vcov, names, diagnostics, ...
        As for :class:`robuststat.result.InferenceResult`.
    """

    def _curves(self) -> list[ProfileCurve | None]:
        stored: list[Mapping[str, Any] | None] = self.diagnostics["profile"]
        return [None if curve is None else ProfileCurve(**curve) for curve in stored]

    @property
    def statistic(self) -> Array:
        """Signed roots of the likelihood-ratio statistics, shape (k,)."""
        wald = intervals.studentize(self.estimate, self.std_error)
        pairs = zip(self._curves(), wald, strict=True)
        return np.array([z if curve is None else curve.at_zero for curve, z in pairs])

    @property
    def p_value(self) -> Array:
        """p-values of the likelihood-ratio tests, shape (k,)."""
        return intervals.two_sided_p(self.statistic, np.inf)

    def confint(
        self,
        level: float = 0.95,
        kind: Literal["pointwise", "simultaneous", "wald"] = "pointwise",
        random_state: int | np.random.Generator | None = None,
    ) -> pd.DataFrame:
        """Return confidence limits.

        Parameters
        ----------
        level : float, default=0.95
            Confidence level.
        kind : {"pointwise", "simultaneous", "wald"}
            "pointwise": profile likelihood; "wald": estimate plus and minus standard errors;
            "simultaneous": max-t band around the estimates.
        random_state : int, Generator or None
            Points of the band.

        Returns
        -------
        DataFrame
            ``conf_low conf_high``, indexed by term.

        Raises
        ------
        ParameterError
            If ``level`` or ``kind`` has a value that is not allowed.
        """
        check_level(level)
        if kind not in ("pointwise", "simultaneous", "wald"):
            raise ParameterError(
                f"kind must be 'pointwise', 'simultaneous' or 'wald', got {kind!r}."
            )
        band: Any = "simultaneous" if kind == "simultaneous" else "pointwise"
        frame = InferenceResult.confint(self, level, band, random_state)
        if kind == "pointwise":
            for j, curve in enumerate(self._curves()):
                if curve is not None:
                    frame.iloc[j] = curve.limits(level)
        return frame

    def contrast(self, matrix: Any, names: Any = None) -> InferenceResult:
        """Return linear combinations, with Wald intervals; see ``InferenceResult.contrast``."""
        found = InferenceResult.contrast(self, matrix, names)
        kept = {k: v for k, v in found.diagnostics.items() if k not in ("profile", "se_note")}
        object.__setattr__(found, "diagnostics", kept)
        return found
