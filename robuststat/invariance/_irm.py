"""Predictors that penalise or bound differences between environments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np

from robuststat._core.errors import ConvergenceWarning, warn
from robuststat._core.params import Check, in_range
from robuststat._core.rng import check_rng
from robuststat.invariance._intake import ROW_CHECKS, EnvPredictor, read_rows
from robuststat.invariance._risks import (
    Objective,
    Risks,
    env_risks,
    irm_objective,
    minimise,
    vrex_objective,
    worst_case,
)
from robuststat.invariance._rows import check_columns


class _PenalisedPredictor(EnvPredictor):
    """Multi-start minimisation of a smooth, non-convex criterion of the environments' risks."""

    _parameter_checks: ClassVar[Mapping[str, Check]] = {
        "penalty": in_range(0, np.inf, closed="left"),
        "n_starts": in_range(0, 10_000, integer=True),
        "max_iter": in_range(1, np.inf, closed="left", integer=True),
        **ROW_CHECKS,
    }
    _assumptions = (
        "the relation that holds in all environments seen holds in those to come",
        "independent rows",
    )

    def __init__(
        self,
        penalty: float = 1.0,
        *,
        n_starts: int = 5,
        max_iter: int = 1000,
        formula: str | None = None,
        missing: str | None = None,
        random_state: Any = None,
    ) -> None:
        self.penalty = penalty
        self.n_starts = n_starts
        self.max_iter = max_iter
        self.formula = formula
        self.missing = missing
        self.random_state = random_state

    def _objective(self, risks: Risks) -> Objective:
        raise NotImplementedError

    def fit(self, X: Any, y: Any = None, *, env: Any = None, sample_weight: Any = None) -> Self:
        """Minimise the criterion.

        Parameters
        ----------
        X : array or frame of shape (n, p)
            Covariates.
        y : array of shape (n,) or str
            Outcome, or its column name.
        env : array of shape (n,), str, or mapping of level to row positions
            Environments, at least two.
        sample_weight : array of shape (n,) or str, optional
            Weights of the rows within their environments.

        Returns
        -------
        estimator
            The fitted estimator.

        Raises
        ------
        IdentificationError
            For constant or collinear covariates.
        DataError, RoleError, ParameterError
            For rows, roles and options that cannot be used.
        """
        self._check_parameters()
        rows = read_rows(self, X, y, env, sample_weight)
        check_columns(rows.moments(), intercept=True)
        risks = env_risks(rows)
        rng = check_rng(self.random_state)
        best = minimise(self._objective(risks), risks, self.n_starts, rng, self.max_iter)
        self.converged_, self.n_iter_, self.loss_ = best.converged, best.n_iter, best.value
        self.n_minima_ = best.n_distinct
        self.env_risk_ = risks.values(best.b) * risks.scale**2
        if not best.converged:
            warn(
                f"{type(self).__name__} did not converge in {best.n_iter} iterations. Raise "
                "max_iter, or lower penalty.",
                ConvergenceWarning,
            )
        return self._store_fit(rows, *risks.original(best.b))

    def _lines(self) -> list[str]:
        risk = self.env_risk_
        words = "converged" if self.converged_ else "NOT converged"
        return [
            f"Mean squared error by environment: {risk.min():.4g} to {risk.max():.4g}",
            f"Search: {words}, {self.n_minima_} different minima from the starting points",
        ]


class LinearIRM(_PenalisedPredictor):
    """Linear invariant risk minimisation (IRMv1).

    Least squares over environments, with a penalty on how much each environment would gain from
    rescaling the prediction. It is offered for comparison: in linear Gaussian models it often
    fails to find the invariant predictor, and for few environments its optimum can be worse than
    least squares.

    Parameters
    ----------
    penalty : float, default=1.0
        Weight of the squared derivatives, on the outcome in standard units; 0 is least squares
        with equal weights of the environments.
    n_starts : int, default=5
        Random starting points, and as many environments' own least squares at most, besides least
        squares and zero.
    max_iter : int, default=1000
        Iterations from each.
    formula : str, optional
        Model formula; then X is the frame.
    missing : {None, "raise", "drop"}, default=None
        What a missing value does; None raises without and drops with a formula.
    random_state : int, Generator or None, default=None
        Seed of the starting points.

    Attributes
    ----------
    coef_, intercept_ : ndarray of shape (p,), float
        Unit of y per unit of x; unit of y.
    env_risk_ : ndarray of shape (K,)
        Mean squared error in each environment.
    loss_, converged_, n_iter_, n_minima_ : float, bool, int, int
        Criterion, how the search ended, and how many different minima it saw.

    See Also
    --------
    VREx : Penalises the variance of the risks.
    AnchorRegression : Convex, with an interpretation of its parameter.

    Notes
    -----
    The criterion is the sum over environments of R_e(b) + penalty (2 b'(M_e b - c_e))^2 with R_e
    the mean squared error, a polynomial of degree four with several minima.

    References
    ----------
    Arjovsky, M., Bottou, L., Gulrajani, I. and Lopez-Paz, D. (2019). Invariant risk minimization.
    arXiv:1907.02893.

    Rosenfeld, E., Ravikumar, P. and Risteski, A. (2021). The risks of invariant risk minimization.
    International Conference on Learning Representations.

    Examples
    --------
    >>> import numpy as np
    >>> from robuststat import LinearIRM
    >>> rng = np.random.default_rng(0)
    >>> env = np.repeat([0, 1], 200)
    >>> x = rng.normal(size=(400, 1)) * (1 + env[:, None])
    >>> y = 2 * x[:, 0] + rng.normal(size=400)
    >>> LinearIRM(random_state=0).fit(x, y, env=env).coef_.round(1)
    array([2.1])
    """

    _method = "Linear invariant risk minimisation (IRMv1)"
    _estimand = "coefficients whose prediction no environment would rescale"

    def _objective(self, risks: Risks) -> Objective:
        return irm_objective(risks, self.penalty)


class VREx(_PenalisedPredictor):
    """Risk extrapolation: least squares with a penalty on the variance of the risks.

    Parameters
    ----------
    penalty : float, default=1.0
        Weight of the variance of the mean squared errors, on the outcome in standard units; 0 is
        least squares with equal weights of the environments.
    n_starts : int, default=5
        Random starting points, and as many environments' own least squares at most, besides least
        squares and zero.
    max_iter : int, default=1000
        Iterations from each.
    formula : str, optional
        Model formula; then X is the frame.
    missing : {None, "raise", "drop"}, default=None
        What a missing value does; None raises without and drops with a formula.
    random_state : int, Generator or None, default=None
        Seed of the starting points.

    Attributes
    ----------
    coef_, intercept_ : ndarray of shape (p,), float
        Unit of y per unit of x; unit of y.
    env_risk_ : ndarray of shape (K,)
        Mean squared error in each environment.
    loss_, converged_, n_iter_, n_minima_ : float, bool, int, int
        Criterion, how the search ended, and how many different minima it saw.

    See Also
    --------
    GroupDRO : Bounds the largest risk.

    Notes
    -----
    It asks for equal noise variances; where these differ by nature it prefers bad predictors.

    References
    ----------
    Krueger, D. et al. (2021). Out-of-distribution generalization via risk extrapolation.
    International Conference on Machine Learning.

    Examples
    --------
    >>> import numpy as np
    >>> from robuststat import VREx
    >>> rng = np.random.default_rng(0)
    >>> env = np.repeat([0, 1], 200)
    >>> x = rng.normal(size=(400, 1)) * (1 + env[:, None])
    >>> y = 2 * x[:, 0] + rng.normal(size=400)
    >>> VREx(random_state=0).fit(x, y, env=env).coef_.round(1)
    array([2.1])
    """

    _method = "Risk extrapolation (V-REx)"
    _estimand = "coefficients with nearly equal mean squared error in every environment"

    def _objective(self, risks: Risks) -> Objective:
        return vrex_objective(risks, self.penalty)


class GroupDRO(EnvPredictor):
    """Linear predictor with the smallest worst mean squared error over environments.

    Parameters
    ----------
    formula : str, optional
        Model formula; then X is the frame.
    missing : {None, "raise", "drop"}, default=None
        What a missing value does; None raises without and drops with a formula.

    Attributes
    ----------
    coef_, intercept_ : ndarray of shape (p,), float
        Unit of y per unit of x; unit of y.
    env_risk_ : ndarray of shape (K,)
        Mean squared error in each environment.

    See Also
    --------
    VREx : Penalises differences of the risks.

    Notes
    -----
    A convex problem, min over b of max over e of R_e(b), solved as a second-order cone programme.
    An environment with large noise decides alone.

    References
    ----------
    Sagawa, S., Koh, P. W., Hashimoto, T. B. and Liang, P. (2020). Distributionally robust neural
    networks. International Conference on Learning Representations.

    Examples
    --------
    >>> import numpy as np
    >>> from robuststat import GroupDRO
    >>> env = np.repeat([0, 1], 2)
    >>> x = np.array([[0.0], [1.0], [0.0], [1.0]])
    >>> y = np.array([0.0, 1.0, 0.0, 3.0])
    >>> GroupDRO().fit(x, y, env=env).coef_.round(3)
    array([2.])
    """

    _parameter_checks: ClassVar[Mapping[str, Check]] = {**ROW_CHECKS}
    _method = "Least worst-case squared error (group distributionally robust)"
    _estimand = "coefficients with the smallest mean squared error in the worst environment"
    _assumptions = ("environments to come are mixtures of those seen", "independent rows")

    def __init__(self, *, formula: str | None = None, missing: str | None = None) -> None:
        self.formula = formula
        self.missing = missing

    def fit(self, X: Any, y: Any = None, *, env: Any = None, sample_weight: Any = None) -> Self:
        """Minimise the largest risk.

        Parameters
        ----------
        X : array or frame of shape (n, p)
            Covariates.
        y : array of shape (n,) or str
            Outcome, or its column name.
        env : array of shape (n,), str, or mapping of level to row positions
            Environments, at least two.
        sample_weight : array of shape (n,) or str, optional
            Weights of the rows within their environments.

        Returns
        -------
        GroupDRO
            The fitted estimator.

        Raises
        ------
        IdentificationError
            For constant or collinear covariates, or when the solver finds no optimum.
        DataError, RoleError, ParameterError
            For rows, roles and options that cannot be used.
        """
        self._check_parameters()
        rows = read_rows(self, X, y, env, sample_weight)
        check_columns(rows.moments(), intercept=True)
        risks = env_risks(rows)
        b = worst_case(risks)
        self.env_risk_ = risks.values(b) * risks.scale**2
        return self._store_fit(rows, *risks.original(b))

    def _lines(self) -> list[str]:
        worst = self.env_levels_[int(np.argmax(self.env_risk_))]
        return [f"Largest mean squared error: {self.env_risk_.max():.4g}, environment {worst!r}"]
