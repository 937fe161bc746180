"""Anchor regression: least squares that weighs what environments move differently."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import RegressorMixin

from robuststat._core.errors import ParameterError
from robuststat._core.formula import INTERCEPT
from robuststat._core.linalg import solve_psd
from robuststat._core.params import Check, in_range, is_bool, one_of, optional
from robuststat._core.types import Array
from robuststat._core.vcov import meat, small_sample
from robuststat.base import InferenceEstimator
from robuststat.invariance._intake import ROW_CHECKS, read_rows
from robuststat.invariance._rows import EnvRows
from robuststat.result import InferenceResult

VCOV_CHECK = optional(one_of("HC0", "HC1", "CR0", "CR1"))


def vcov_kind(vcov: str | None, clustered: bool) -> str:
    """Kind of variance: the one asked for, or HC0, or CR0 with clusters."""
    kind = vcov or ("CR0" if clustered else "HC0")
    if kind.startswith("CR") != clustered:
        raise ParameterError(
            f"vcov={kind!r} and clusters do not fit: pass clusters for the CR kinds, and a CR kind "
            "with clusters."
        )
    return kind


def anchor_coefficients(rows: EnvRows, gamma: float) -> tuple[float, Array, Array]:
    """Intercept, coefficients, and the average of the transformed cross-products (section 3).

    Minimises the squared residuals within environments plus gamma times those of their means; from
    moments of the environments.
    """
    moments = rows.moments()
    n = moments.weight
    centre = n @ moments.mean / n.sum()
    gap = moments.mean - centre
    total = moments.scatter.sum(axis=0) + gamma * (gap.T * n) @ gap
    coef = solve_psd(total[:-1, :-1], total[:-1, -1], rows.names)
    return float(centre[-1] - centre[:-1] @ coef), coef, total[:-1, :-1] / n.sum()


def anchor_scores(rows: EnvRows, gamma: float, intercept: float, coef: Array) -> Array:
    """Scores (n, 1 + p) with the environments' means estimated (section 3).

    The part that environments explain is a product of two estimated means, of x and of the
    residual; both are linearised. Means of residuals do not vanish unless gamma = 1 is right.
    """
    w = np.ones(len(rows.y)) if rows.weights is None else rows.weights
    resid = rows.y - intercept - rows.X @ coef
    size = np.bincount(rows.codes, w)
    mean_x = np.stack([np.bincount(rows.codes, w * x) for x in rows.X.T], axis=1) / size[:, None]
    mean_r = np.bincount(rows.codes, w * resid) / size
    centre = w @ rows.X / w.sum()
    between, within = mean_x[rows.codes] - centre, rows.X - mean_x[rows.codes]
    product = between * resid[:, None] + within * mean_r[rows.codes, None]
    psi = (rows.X - centre) * resid[:, None] - (1.0 - gamma) * product
    scores = w[:, None] * np.column_stack([resid, psi])
    return np.asarray(scores / w.mean())


class EnvRegression(RegressorMixin, InferenceEstimator):
    """Linear regression over environments whose variance comes from scores of the rows."""

    vcov: str | None

    def _solve(self, rows: EnvRows) -> tuple[Array, Array, Array, dict[str, Any]]:
        """Estimate (1 + p,), its Jacobian, scores (n, 1 + p), and words for the result."""
        raise NotImplementedError

    def fit(
        self,
        X: Any,
        y: Any = None,
        *,
        env: Any = None,
        sample_weight: Any = None,
        clusters: Any = None,
    ) -> Self:
        """Estimate the coefficients.

        Parameters
        ----------
        X : array or frame of shape (n, p)
            Covariates.
        y : array of shape (n,) or str
            Outcome, or its column name.
        env : array of shape (n,), str, or mapping of level to row positions
            Environments, at least two.
        sample_weight : array of shape (n,) or str, optional
            Weights of the rows; for DRIG within their environments.
        clusters : array of shape (n,) or str, optional
            Dependence groups.

        Returns
        -------
        estimator
            The fitted estimator.

        Raises
        ------
        CollinearityError, IdentificationError
            For collinear covariates (within environments for AnchorRegression with gamma = 0); DRIG
            also for constant ones, and when the combined risk has no minimum.
        DataError, RoleError, ParameterError
            For rows, roles and options that cannot be used.
        """
        self._check_parameters()
        kind = vcov_kind(self.vcov, clusters is not None)
        rows = read_rows(self, X, y, env, sample_weight, clusters)
        estimate, jacobian, psi, words = self._solve(rows)
        unit = "rows" if clusters is None else "clusters"
        words["assumptions"] = (*words["assumptions"], f"independent {unit}")
        result = make_result(self, rows, estimate, jacobian, psi, kind, **words)
        return self._store(result, rows.data)

    def predict(self, X: Any) -> Array:
        """Predict the outcome; no environment is needed.

        Parameters
        ----------
        X : array or frame of shape (n, p)
            Covariates, as in ``fit``.

        Returns
        -------
        ndarray of shape (n,)
            In the unit of the outcome.
        """
        return self._linear_predictor(X)


class AnchorRegression(EnvRegression):
    """Anchor regression with environments as anchors.

    Between least squares within environments (gamma = 0), ordinary least squares (gamma = 1) and
    two-stage least squares with environments as instruments (gamma to infinity). The coefficients
    minimise the worst mean squared error under shifts up to sqrt(gamma) times as strong as those
    between the environments seen.

    Parameters
    ----------
    gamma : float, default=2.0
        Strength of the shifts to be protected against, at least 0.
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
        Intercept, unit of y.
    result_ : InferenceResult
        Estimates, variance and what is to be known about them.

    See Also
    --------
    DRIG : Protects against changes of variances too.

    Notes
    -----
    With P the projection on the centred indicators of the environments and x, y centred, the
    criterion is ``|(1-P)(y - xb)|^2 + gamma |P(y - xb)|^2``, the k-class estimator with
    kappa = 1 - 1/gamma. Standard errors (derived here) treat the environments' means as
    estimated and rows as drawn together with their environment; environments themselves are taken
    as given.

    References
    ----------
    Rothenhausler, D., Meinshausen, N., Buhlmann, P. and Peters, J. (2021). Anchor regression:
    heterogeneous data meet causality. Journal of the Royal Statistical Society B, 83, 215-246.

    Examples
    --------
    >>> import numpy as np
    >>> from robuststat import AnchorRegression
    >>> env = np.repeat([0, 1], 3)
    >>> x = np.array([[0.0], [1.0], [2.0], [1.0], [2.0], [3.0]])
    >>> y = np.array([0.0, 1.0, 2.0, 3.0, 4.0, 5.0])
    >>> [float(AnchorRegression(g).fit(x, y, env=env).coef_[0].round(2)) for g in (0.0, 1.0, 100.0)]
    [1.0, 1.55, 2.95]
    """

    _parameter_checks: ClassVar[Mapping[str, Check]] = {
        "gamma": in_range(0, np.inf, closed="left"),
        "vcov": VCOV_CHECK,
        "keep_influence": is_bool,
        **ROW_CHECKS,
    }

    def __init__(
        self,
        gamma: float = 2.0,
        *,
        vcov: str | None = None,
        formula: str | None = None,
        missing: str | None = None,
        keep_influence: bool = False,
    ) -> None:
        self.gamma = gamma
        self.vcov = vcov
        self.formula = formula
        self.missing = missing
        self.keep_influence = keep_influence

    def _solve(self, rows: EnvRows) -> tuple[Array, Array, Array, dict[str, Any]]:
        intercept, coef, cross = anchor_coefficients(rows, self.gamma)
        psi = anchor_scores(rows, self.gamma, intercept, coef)
        w = np.ones(len(rows.y)) if rows.weights is None else rows.weights
        jacobian = moment_jacobian(w @ rows.X / w.sum(), cross)
        special = {0.0: " (within environments)", 1.0: " (ordinary least squares)"}
        words = {
            "method": f"Anchor regression, gamma = {self.gamma:g}"
            f"{special.get(float(self.gamma), '')}",
            "estimand": "coefficients with the smallest worst-case squared error under shifts up "
            f"to sqrt({self.gamma:g}) times those between the environments",
            "assumptions": (
                "environments shift means additively, in a linear model",
                "shifts to come are multiples of combinations of those seen",
            ),
        }
        return np.append(intercept, coef), jacobian, psi, words


def moment_jacobian(mean: Array, cross: Array) -> Array:
    """Jacobian of the scores of (intercept, coefficients): -[[1, mean'], [0, cross]]."""
    k = len(mean) + 1
    jacobian = np.zeros((k, k))
    jacobian[0, 0], jacobian[0, 1:] = -1.0, -mean
    jacobian[1:, 1:] = -cross
    return jacobian


def make_result(
    estimator: Any,
    rows: EnvRows,
    estimate: Array,
    jacobian: Array,
    psi: Array,
    kind: str,
    *,
    method: str,
    estimand: str,
    assumptions: tuple[str, ...],
) -> InferenceResult:
    """Build the result of scores (n, k) in the order intercept, coefficients."""
    n, k = psi.shape
    clusters = rows.clusters
    n_clusters = None if clusters is None else len(np.unique(clusters))
    small = small_sample(kind, n_obs=n, n_params=k, n_clusters=n_clusters)  # type: ignore[arg-type]
    influence = -np.linalg.solve(jacobian, psi.T).T if estimator.keep_influence else None
    data = rows.data
    names = (INTERCEPT, *rows.names)
    # The design may put the intercept elsewhere (a formula).
    order = [names.index(name) for name in data.names]
    return InferenceResult.from_scores(
        estimate=estimate[order],
        jacobian=jacobian[np.ix_(order, order)],
        meat=meat(psi[:, order], clusters=clusters).matrix,
        names=data.names,
        n_obs=n,
        df=small.df,
        factor=small.factor,
        n_clusters=n_clusters,
        vcov_type=kind,
        estimand=estimand,
        method=method,
        outcome=data.outcome,
        diagnostics={
            "n_dropped": data.n_dropped,
            "n_dropped_by": data.n_dropped_by,
            "counts": {"Environments": rows.n_env},
            "assumptions": list(assumptions),
            "cluster_name": data.cluster_name,
            "glance": {"n_env": rows.n_env},
        },
        influence=None if influence is None else influence[:, order],
        call=estimator._call(),
    )
