"""Linear instrumental variables in an orthonormal basis of the instruments.

The covariates are taken out of outcome y, treatment a and instruments Z (Frisch, Waugh and Lovell),
rows scaled by the square root of their weights. With Z = Q R (thin QR), everything that only needs
second moments is then a function of the J-vectors c_y = Q'y and c_a = Q'a, of R, and of the three
products y'y, y'a, a'a. Robust and clustered variances need one more pass over the rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import linalg, stats

from robuststat._core.errors import CollinearityError, DataError
from robuststat._core.linalg import collinear_columns, solve_psd
from robuststat._core.types import Array, BoolArray, IntArray
from robuststat._core.vcov import meat, sandwich, small_sample
from robuststat.iv._classical_intake import IVData

# Part of a column's length that is left after a projection when the column lies in the span.
_IN_SPAN = 1e-11


@dataclass(frozen=True, slots=True)
class Partialled:
    """Outcome, treatment and instruments without what the covariates explain.

    Attributes
    ----------
    y, a : ndarray of shape (n,)
        Residuals of outcome and treatment, times the square root of the weight.
    Q : ndarray of shape (n, J)
        Orthonormal basis of the residual instruments.
    R : ndarray of shape (J, J)
        Upper triangular: residual instruments are Q R.
    Qx, Rx : ndarray of shape (n, k) and (k, k)
        The same for the covariates.
    by, ba : ndarray of shape (k,)
        Qx'y and Qx'a of the columns before the covariates were taken out.
    cy, ca : ndarray of shape (J,)
        Q'y and Q'a.
    clusters, n_clusters : ndarray of shape (n,) or None, int or None
        Cluster codes and their number.
    root : ndarray of shape (n,) or None
        Square roots of the weights.
    """

    y: Array
    a: Array
    Q: Array
    R: Array
    Qx: Array
    Rx: Array
    by: Array
    ba: Array
    cy: Array
    ca: Array
    clusters: IntArray | None
    n_clusters: int | None
    root: Array | None

    @property
    def n_obs(self) -> int:
        """Number of rows."""
        return int(self.y.size)

    @property
    def n_instruments(self) -> int:
        """Number of instruments J."""
        return int(self.R.shape[0])

    @property
    def n_covariates(self) -> int:
        """Columns of the covariates' design, with the intercept."""
        return int(self.Rx.shape[0])


def partial_out(data: IVData) -> Partialled:
    """Take the covariates out of outcome, treatment and instruments.

    Raises
    ------
    CollinearityError
        Collinear covariates or instruments, by name; a treatment that the covariates determine.
    """
    root = None if data.weights is None else np.sqrt(data.weights)
    X, Z, y, a = (_scaled(part, root) for part in (data.X, data.Z, data.y, data.a))
    Qx, Rx = basis(X, data.covariates, "The covariates are collinear")
    by, ba = Qx.T @ y, Qx.T @ a
    y_left, a_left = _remainder(y, Qx, by), _remainder(a, Qx, ba)
    if not a_left.any():
        raise CollinearityError(
            f"The treatment {data.treatment!r} is a linear combination of the covariates "
            f"{', '.join(data.covariates)}: it has no effect of its own. Drop one of them."
        )
    Z_left = Z - Qx @ (Qx.T @ Z)
    explained = np.linalg.norm(Z_left, axis=0) <= 1e-9 * np.linalg.norm(Z, axis=0)
    if explained.any():
        names = ", ".join(np.asarray(data.instruments)[explained])
        raise CollinearityError(
            f"instruments: {names} is a linear combination of the covariates "
            f"{', '.join(data.covariates)}. An instrument must not be among them: drop one."
        )
    Q, R = basis(Z_left, data.instruments, "instruments are collinear, given the covariates")
    return Partialled(
        y_left,
        a_left,
        Q,
        R,
        Qx,
        Rx,
        by,
        ba,
        Q.T @ y_left,
        Q.T @ a_left,
        data.clusters,
        data.n_clusters,
        root,
    )


def _scaled(values: Array, root: Array | None) -> Array:
    if root is None:
        return values
    return values * (root if values.ndim == 1 else root[:, None])


def basis(X: Array, names: Sequence[str], what: str) -> tuple[Array, Array]:
    """Thin QR factors of columns of full rank.

    Raises
    ------
    CollinearityError
        With the names of the columns.
    """
    Q, R = np.linalg.qr(X)
    report = collinear_columns(R, names)
    if report.dependent:
        raise CollinearityError(f"{what}: {report.message()}")
    return Q, R


def _remainder(values: Array, Qx: Array, coef: Array) -> Array:
    left = values - Qx @ coef
    # Exact zeros where only rounding is left: a ratio of roundings must not look like a t value.
    if np.linalg.norm(left) <= _IN_SPAN * np.linalg.norm(values):
        return np.zeros_like(left)
    return left


@dataclass(frozen=True, slots=True)
class KClass:
    """A k-class estimate of the effect and its covariates' coefficients.

    Attributes
    ----------
    coef : ndarray of shape (1 + k,)
        Effect, then coefficients of the covariates.
    kappa : float
        1 for two-stage least squares.
    resid : ndarray of shape (n,)
        Structural residuals times the square root of the weight.
    regressors : ndarray of shape (n, 1 + k)
        Fitted treatment and covariates: the scores are these times the residual.
    jacobian : ndarray of shape (1 + k, 1 + k)
        Average derivative of the scores.
    """

    coef: Array
    kappa: float
    resid: Array
    regressors: Array
    jacobian: Array


def liml_kappa(part: Partialled) -> float:
    """Smallest root of the limited-information likelihood's eigenvalue problem."""
    C = np.column_stack([part.cy, part.ca])
    W = np.column_stack([part.y, part.a])
    total = W.T @ W
    inside = total - C.T @ C
    return float(linalg.eigh(total, inside, eigvals_only=True)[0])


def k_class(part: Partialled, kappa: float = 1.0) -> KClass:
    """k-class estimate; kappa = 1 is two-stage least squares, 0 is ordinary least squares.

    Raises
    ------
    DataError
        When the instruments have no correlation with the treatment at all.
    """
    # a* = (I - kappa M_Z) a, the treatment of the first-order condition a*'(y - a b) = 0.
    a_star = (1.0 - kappa) * part.a + kappa * (part.Q @ part.ca)
    strength = float(a_star @ part.a)
    if abs(strength) <= 1e-20 * float(part.a @ part.a):
        raise DataError(
            "The instruments have no correlation with the treatment, given the covariates: the "
            "effect is not identified. Use other instruments."
        )
    beta = float(a_star @ part.y) / strength
    resid = part.y - part.a * beta
    gamma = linalg.solve_triangular(part.Rx, part.by - part.ba * beta)
    X = part.Qx @ part.Rx
    covariate_part = part.Qx @ part.ba
    regressors = np.column_stack([a_star + covariate_part, X])
    actual = np.column_stack([part.a + covariate_part, X])
    jacobian = -(regressors.T @ actual) / part.n_obs
    return KClass(np.concatenate([[beta], gamma]), kappa, resid, regressors, jacobian)


@dataclass(frozen=True, slots=True)
class Variance:
    """A variance matrix with its kind, degrees of freedom and small-sample factor."""

    matrix: Array
    df: float
    factor: float


def k_class_vcov(part: Partialled, fit: KClass, kind: str) -> Variance:
    """Variance of all coefficients; "iid" is RSS/n times the inverse, with normal quantiles."""
    n, k = fit.regressors.shape
    if kind == "iid":
        # Under equal error variances the meat is s2 times the average of xhat x', for kappa = 1
        # exactly and otherwise in large samples.
        s2 = float(fit.resid @ fit.resid) / n
        return Variance(sandwich(fit.jacobian, -s2 * fit.jacobian, n), np.inf, 1.0)
    small = small_sample(kind, n_obs=n, n_params=k, n_clusters=part.n_clusters)  # type: ignore[arg-type]
    psi = fit.regressors * fit.resid[:, None]
    B = meat(psi, clusters=part.clusters).matrix
    return Variance(sandwich(fit.jacobian, B, n, small.factor), small.df, small.factor)


@dataclass(frozen=True, slots=True)
class ReducedForm:
    """Least squares of outcome and treatment on instruments and covariates.

    Attributes
    ----------
    outcome, treatment : ndarray of shape (J,)
        Coefficients of the instruments for y and for a.
    vcov : ndarray of shape (2J, 2J)
        Joint variance, those for y first.
    resid : ndarray of shape (n, 2)
        Residuals of y and a times the square root of the weight.
    df_resid : int
        n - k - J.
    df : float
        Degrees of freedom that go with ``vcov``.
    """

    outcome: Array
    treatment: Array
    vcov: Array
    resid: Array
    df_resid: int
    df: float

    def blocks(self) -> tuple[Array, Array, Array]:
        """Variance of the coefficients for y, for a, and their covariance (y in the rows)."""
        J = self.outcome.size
        return self.vcov[:J, :J], self.vcov[J:, J:], self.vcov[:J, J:]


def reduced_form(part: Partialled, kind: str) -> ReducedForm:
    """Both regressions on the instruments, with one joint variance; "iid" uses RSS/(n - k - J)."""
    n, J = part.n_obs, part.n_instruments
    C = np.column_stack([part.cy, part.ca])
    coef = linalg.solve_triangular(part.R, C)
    resid = np.column_stack([part.y, part.a]) - part.Q @ C
    n_params = J + part.n_covariates
    jacobian = -linalg.block_diag(part.R, part.R) / n
    if kind == "iid":
        B = np.kron(resid.T @ resid / (n - n_params), np.eye(J)) / n
        factor, df = 1.0, float(n - n_params)
    else:
        psi = np.hstack([part.Q * resid[:, [0]], part.Q * resid[:, [1]]])
        B = meat(psi, clusters=part.clusters).matrix
        small = small_sample(kind, n_obs=n, n_params=n_params, n_clusters=part.n_clusters)  # type: ignore[arg-type]
        factor, df = small.factor, small.df
    V = sandwich(jacobian, B, n, factor)
    return ReducedForm(coef[:, 0], coef[:, 1], V, resid, n - n_params, df)


@dataclass(frozen=True, slots=True)
class OverIdentification:
    """Test that all instruments give the same effect; NaN with a single instrument."""

    statistic: float
    df: int
    p_value: float


def moment_covariance(part: Partialled, resid: Array, kind: str) -> Array:
    """Covariance (J, J) of Q'u: the sum, not the average, of the squared scores."""
    if kind == "iid":
        return np.eye(part.n_instruments) * (float(resid @ resid) / part.n_obs)
    scores = part.Q * resid[:, None]
    return meat(scores, clusters=part.clusters).matrix * part.n_obs


@dataclass(frozen=True, slots=True)
class GroupMoments:
    """Two-step GMM of a group of instruments that is taken for valid.

    In the coordinates of Q the moments are g = c_y - D (b, alpha) with D = [c_a, R_I], I the
    instruments used as controls; two-stage least squares is least squares of c_y on D.

    Attributes
    ----------
    D : ndarray of shape (J, 1 + |I|)
        Derivative of the moments.
    first, second : ndarray of shape (1 + |I|,)
        Two-stage least squares and two-step GMM.
    covariance : ndarray of shape (J, J)
        Covariance of the moments at the first step; its inverse weights the second.
    test : OverIdentification
        Sargan's test under "iid", Hansen's otherwise.
    """

    D: Array
    first: Array
    second: Array
    covariance: Array
    test: OverIdentification

    def resid(self, part: Partialled, coef: Array) -> Array:
        """Structural residuals (n,) at some coefficients."""
        return np.asarray(part.y - part.a * coef[0] - part.Q @ (self.D[:, 1:] @ coef[1:]))


def group_moments(part: Partialled, valid: BoolArray, kind: str) -> GroupMoments:
    """Two-step GMM and over-identification test of the instruments in ``valid``.

    Parameters
    ----------
    part : Partialled
        The problem.
    valid : ndarray of bool of shape (J,)
        The group; the other instruments are controls.
    kind : str
        Variance: "iid" or a robust kind.

    Raises
    ------
    CollinearityError
        When there are too few clusters for a weight matrix of J moments.
    """
    D = np.column_stack([part.ca, part.R[:, ~valid]])
    df = int(valid.sum()) - 1
    first: Array = np.linalg.lstsq(D, part.cy, rcond=None)[0].astype(np.float64)
    nothing = OverIdentification(np.nan, df, np.nan)
    fit = GroupMoments(D, first, first, np.zeros_like(part.R), nothing)
    resid = fit.resid(part, first)
    if not resid.any():
        # An outcome without variation agrees with every instrument.
        return replace(fit, test=OverIdentification(0.0, df, 1.0) if df else nothing)
    if df == 0:
        return replace(fit, covariance=moment_covariance(part, resid, kind))
    S = moment_covariance(part, resid, kind)
    weighted = solve_psd(S, D)
    second = solve_psd(D.T @ weighted, weighted.T @ part.cy)
    left = part.cy - D @ second
    statistic = float(left @ solve_psd(S, left))
    test = OverIdentification(statistic, df, float(stats.chi2.sf(statistic, df)))
    return GroupMoments(D, first, second, S, test)


@dataclass(frozen=True, slots=True)
class GroupFit:
    """Effect of a group of valid instruments, others as controls, with standard errors.

    Attributes
    ----------
    effect, std_error : float
        Two-stage least squares.
    gmm_effect, gmm_std_error : float
        Two-step GMM; the same as two-stage least squares under "iid".
    """

    effect: float
    std_error: float
    gmm_effect: float
    gmm_std_error: float


def group_fit(part: Partialled, group: GroupMoments, kind: str, factor: float = 1.0) -> GroupFit:
    """Compute the standard errors of both steps, with a small-sample factor."""
    D, S, n = group.D, group.covariance, part.n_obs
    V = sandwich(-D.T @ D / n, D.T @ S @ D / n, n, factor)
    effect, std_error = float(group.first[0]), float(np.sqrt(V[0, 0]))
    if not S.any() or kind == "iid" or group.test.df == 0:
        return GroupFit(effect, std_error, effect, std_error)
    first, resid = group.resid(part, group.first), group.resid(part, group.second)
    weighted = solve_psd(S, D)
    # The covariates are instruments too. Their moments are left free by their coefficients, and
    # take the value that the weighting predicts from those of the instruments.
    scores = np.hstack([part.Q, part.Qx]) * first[:, None]
    J = part.n_instruments
    cross = (meat(scores, clusters=part.clusters).matrix * n)[J:, :J]
    resid = resid + part.Qx @ (cross @ solve_psd(S, part.cy - D @ group.second))
    late = moment_covariance(part, resid, kind)
    gmm_V = sandwich(-D.T @ weighted / n, weighted.T @ late @ weighted / n, n, factor)
    return GroupFit(effect, std_error, float(group.second[0]), float(np.sqrt(gmm_V[0, 0])))
