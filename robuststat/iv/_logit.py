"""Maximum likelihood of a nuisance model, with a word about separation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from robuststat._core.errors import ConvergenceWarning, warn
from robuststat._core.glm import FAMILIES, FamilyName, glm_sums
from robuststat._core.optim import newton
from robuststat._core.types import Array
from robuststat.iv._linear import basis

# A coefficient of this size, per standard deviation of its column, means separated data.
_SEPARATED = 30.0
RIDGE = 1e-4


@dataclass(frozen=True, slots=True)
class NuisanceFit:
    """A generalised linear model that another estimate needs.

    Attributes
    ----------
    coef : ndarray of shape (q,)
        Coefficients of the columns of the design.
    mean, slope : ndarray of shape (n,)
        Fitted mean and its derivative with respect to the linear predictor.
    n_iter : int
        Newton steps.
    note : str
        Empty, or what went wrong.
    """

    coef: Array
    mean: Array
    slope: Array
    n_iter: int
    note: str


def fit_nuisance(
    X: Array, y: Array, weights: Array | None, family: FamilyName, names: Sequence[str], what: str
) -> NuisanceFit:
    """Fit in an orthonormal basis of the design, so that units do not matter.

    Separated data, whose likelihood has no maximum, are fitted again with a ridge penalty of 1e-4
    times the number of rows, with a ConvergenceWarning.

    Parameters
    ----------
    X : ndarray of shape (n, q)
        Design.
    y : ndarray of shape (n,)
        Response.
    weights : ndarray of shape (n,) or None
        Weights.
    family : {"linear", "logit"}
        Mean function.
    names : sequence of str
        Names of the columns, for errors.
    what : str
        Which model it is, for messages.
    """
    root = None if weights is None else np.sqrt(weights)
    _, R = basis(
        X if root is None else X * root[:, None], names, f"{what}: the design is collinear"
    )
    # Unit mean square of every column: a coefficient of 30 is then far out on the logit scale.
    n = X.shape[0]
    Q = np.linalg.solve(R.T, X.T).T * np.sqrt(n)
    mean_function = FAMILIES[family]

    def sums(theta: Array, ridge: float = 0.0) -> tuple[Array, Array]:
        score, information = glm_sums(Q, y, weights, theta, mean_function)
        return (
            score / n - ridge * theta,
            -information / n - ridge * np.eye(theta.size),
        )

    theta, _, info = newton(sums, np.zeros(X.shape[1]), tol=1e-12)
    note, n_iter = "", info.n_iter
    if family == "logit" and (not info.converged or np.abs(theta).max() > _SEPARATED):
        theta, _, again = newton(lambda t: sums(t, RIDGE), np.zeros(X.shape[1]), tol=1e-12)
        n_iter += again.n_iter
        note = (
            f"{what}: the covariates separate the two classes (no maximum of the likelihood); "
            f"fitted with a ridge penalty of {RIDGE:g}"
        )
        warn(
            f"{note}. Merge rare categories, or drop the covariate that separates.",
            ConvergenceWarning,
        )
    mu = np.asarray(mean_function.mean(Q @ theta))
    coef = np.linalg.solve(R, theta) * np.sqrt(n)
    return NuisanceFit(coef, mu, np.asarray(mean_function.slope(mu)), n_iter, note)
