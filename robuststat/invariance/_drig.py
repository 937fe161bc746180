"""DRIG: robust to changes of means and variances up to gamma times those seen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from scipy import linalg

from robuststat._core.errors import DataError, IdentificationError, ParameterError
from robuststat._core.params import Check, in_range, is_bool
from robuststat._core.table import to_float
from robuststat._core.types import Array
from robuststat.invariance._anchor import VCOV_CHECK, EnvRegression, moment_jacobian
from robuststat.invariance._intake import ROW_CHECKS
from robuststat.invariance._moments import EnvMoments
from robuststat.invariance._rows import EnvRows, check_columns


def env_factors(gamma: float, reference: int, env_weight: Array) -> Array:
    """Factor of each environment's risk in R_0 + gamma sum_e omega_e (R_e - R_0)."""
    factors = gamma * env_weight
    factors[reference] += 1.0 - gamma * env_weight.sum()
    return factors


def drig_coefficients(
    moments: EnvMoments, factors: Array, reference: int
) -> tuple[float, Array, Array]:
    """Intercept, coefficients and Hessian of the combined risk, centred at the reference.

    Raises IdentificationError when the risk is not convex: then it has no minimum.
    """
    origin = moments.mean[reference]
    gap = moments.mean - origin
    square = moments.scatter / moments.weight[:, None, None] + gap[:, :, None] * gap[:, None, :]
    total = np.einsum("e,eij->ij", factors, square)
    hessian = total[:-1, :-1]
    unit = np.sqrt(np.einsum("e,ejj->j", np.abs(factors), square)[:-1])
    unit = np.where(unit > 0, unit, 1.0)
    standard = hessian / unit / unit[:, None]
    smallest = float(np.linalg.eigvalsh(standard)[0])
    if smallest <= 1e-12:
        raise IdentificationError(
            "The combined risk of the environments has no minimum: the smallest eigenvalue of its "
            f"second derivative is {smallest:.3g} in standard units. Environments vary less than "
            "the reference along some direction, or covariates are collinear: lower gamma, choose "
            "another reference, or leave covariates out."
        )
    coef = linalg.solve(standard, total[:-1, -1] / unit, assume_a="pos") / unit
    return float(origin[-1] - origin[:-1] @ coef), coef, hessian


def drig_scores(
    rows: EnvRows, moments: EnvMoments, factors: Array, reference: int, coef: Array
) -> Array:
    """Scores (n, 1 + p) with the means of the reference environment estimated.

    Each environment is a sample of its own: its part of the score is centred.
    """
    w = np.ones(len(rows.y)) if rows.weights is None else rows.weights
    origin, codes = moments.mean[reference], rows.codes
    x = rows.X - origin[:-1]
    resid = rows.y - origin[-1] - x @ coef
    share = w / moments.weight[codes] * len(rows.y)
    gap = moments.mean[:, :-1] - origin[:-1]
    mean_resid = moments.mean[:, -1] - origin[-1] - gap @ coef
    product = x * resid[:, None]
    mean = np.stack([np.bincount(codes, w * v) for v in product.T], axis=1)
    psi = factors[codes, None] * (product - mean[codes] / moments.weight[codes, None])
    at_reference = codes == reference
    moved = x * (factors @ mean_resid) + resid[:, None] * (factors @ gap)
    psi -= np.where(at_reference[:, None], moved, 0.0)
    first = np.where(at_reference, resid, 0.0)
    return np.asarray(share[:, None] * np.column_stack([first, psi]))


class DRIG(EnvRegression):
    """Distributional robustness via invariant gradients.

    Least squares of a reference environment, plus gamma times what the other environments add to
    its risk. gamma = 0 is least squares in the reference, gamma = 1 weighted least squares over all
    environments, and larger values protect against interventions stronger than those seen, on means
    and on variances.

    Parameters
    ----------
    gamma : float, default=1.0
        Strength of the interventions to be protected against, at least 0.
    reference : object, optional
        Level of the reference environment; the first one by default.
    env_weight : mapping of level to float, optional
        Weight omega of each environment; 1/K each by default.
    vcov : {None, "HC0", "HC1", "CR0", "CR1"}, default=None
        Variance; None is HC0, or CR0 with clusters.
    formula : str, optional
        Model formula; then X is the frame.
    missing : {None, "raise", "drop"}, default=None
        What a missing value does; None raises without and drops with a formula.
    keep_influence : bool, default=False
        Keep the influence of every row, for ``refit_vcov``.

    Attributes
    ----------
    coef_ : ndarray of shape (p,)
        Coefficients, unit of y per unit of x.
    intercept_ : float
        Intercept of the reference environment, unit of y.
    reference_ : object
        Reference level.
    result_ : InferenceResult
        Estimates, variance and what is to be known about them.

    See Also
    --------
    AnchorRegression : Protects against shifts of means.

    Notes
    -----
    Minimises R_0(b) + gamma sum_e omega_e (R_e(b) - R_0(b)) with all data centred at the means of
    the reference, solved in closed form. When environments vary less than the reference along some
    direction the criterion may have no minimum for large gamma, which is an error. Standard errors
    (derived here) treat the reference means as estimated and each environment as a sample.

    References
    ----------
    Shen, X., Buhlmann, P. and Taeb, A. (2023). Causality-oriented robustness: exploiting general
    noise interventions. arXiv:2307.10299.

    Examples
    --------
    >>> import numpy as np
    >>> from robuststat import DRIG
    >>> rng = np.random.default_rng(0)
    >>> env = np.repeat([0, 1], 500)
    >>> hidden = rng.normal(size=1000)
    >>> x = hidden + rng.normal(size=1000) * (1 + 2 * env)
    >>> y = x + hidden + rng.normal(size=1000)
    >>> [float(DRIG(g).fit(x[:, None], y, env=env).coef_[0].round(1)) for g in (0.0, 20.0)]
    [1.5, 1.0]
    """

    _parameter_checks: ClassVar[Mapping[str, Check]] = {
        "gamma": in_range(0, np.inf, closed="left"),
        "vcov": VCOV_CHECK,
        "keep_influence": is_bool,
        **ROW_CHECKS,
    }

    def __init__(
        self,
        gamma: float = 1.0,
        *,
        reference: Any = None,
        env_weight: Any = None,
        vcov: str | None = None,
        formula: str | None = None,
        missing: str | None = None,
        keep_influence: bool = False,
    ) -> None:
        self.gamma = gamma
        self.reference = reference
        self.env_weight = env_weight
        self.vcov = vcov
        self.formula = formula
        self.missing = missing
        self.keep_influence = keep_influence

    def _solve(self, rows: EnvRows) -> tuple[Array, Array, Array, dict[str, Any]]:
        reference = self._position(rows.levels)
        factors = env_factors(self.gamma, reference, self._env_weights(rows.levels))
        moments = rows.moments()
        check_columns(moments, intercept=True)
        intercept, coef, hessian = drig_coefficients(moments, factors, reference)
        psi = drig_scores(rows, moments, factors, reference, coef)
        jacobian = moment_jacobian(moments.mean[reference, :-1], hessian)
        self.reference_ = rows.levels[reference]
        words = {
            "method": f"DRIG, gamma = {self.gamma:g}, reference environment {self.reference_!r}",
            "estimand": "coefficients with the smallest worst-case squared error under "
            f"interventions up to {self.gamma:g} times those seen",
            "assumptions": (
                "environments act additively on the variables of a linear model",
                "the reference environment is the one without intervention",
            ),
        }
        return np.append(intercept, coef), jacobian, psi, words

    def _position(self, levels: tuple[Any, ...]) -> int:
        if self.reference is None:
            return 0
        if self.reference not in levels:
            raise ParameterError(
                f"reference={self.reference!r} is not an environment. Choose one of "
                f"{', '.join(map(repr, levels[:10]))}."
            )
        return levels.index(self.reference)

    def _env_weights(self, levels: tuple[Any, ...]) -> Array:
        if self.env_weight is None:
            return np.full(len(levels), 1.0 / len(levels))
        if not isinstance(self.env_weight, Mapping):
            raise ParameterError("env_weight must be a mapping of environment to weight.")
        missing = [level for level in levels if level not in self.env_weight]
        if missing:
            raise ParameterError(
                f"env_weight has no weight for {', '.join(map(repr, missing[:5]))}. Give every "
                "environment one."
            )
        unknown = [level for level in self.env_weight if level not in levels]
        if unknown:
            raise ParameterError(
                f"env_weight has {', '.join(map(repr, unknown[:5]))}, which env has not."
            )
        weights = to_float([self.env_weight[level] for level in levels], "env_weight")
        if not (np.isfinite(weights).all() and (weights >= 0).all() and weights.any()):
            raise DataError(
                f"env_weight must be finite and not negative, with a positive one; got {weights}."
            )
        return np.asarray(weights / weights.sum())
