"""Private least squares from noisy sums of products."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import numpy as np

from robuststat._core.errors import DataError, warn
from robuststat._core.params import Check, in_range, one_of
from robuststat._core.types import Array
from robuststat.private import _vectors as vectors
from robuststat.private._base import check_bounds
from robuststat.private._bootstrap import basic_interval
from robuststat.private._concentrated import prepare_concentrated
from robuststat.private._coordinates import bounds_table
from robuststat.private._regression import PrivateRegression

_FAILURE = 0.01  # of the bound on the noise that is the smallest eigenvalue in use


@dataclass(frozen=True, slots=True)
class Moments:
    """Released second moments of (1, x, y), all in units in which the bounds are [-1, 1].

    Attributes
    ----------
    gram : ndarray of shape (1 + p, 1 + p)
        Sum of products of the regressors.
    cross : ndarray of shape (1 + p,)
        Sum of products with the outcome.
    square : float
        Sum of squares of the outcome.
    sd : float
        Standard deviation of the noise of an entry.
    """

    gram: Array
    cross: Array
    square: float
    sd: float

    @property
    def floor(self) -> float:
        """Bound of the norm of the noise matrix: no smaller eigenvalue is believed."""
        return noise_bound(len(self.gram), self.sd)


def noise_bound(d: int, sd: float) -> float:
    """Bound of the operator norm of symmetric noise, exact for normal entries [derived]."""
    return sd * (2 * math.sqrt(d) + 2 * math.sqrt(-math.log(_FAILURE)))


def solve_floored(gram: Array, cross: Array, floor: float) -> tuple[Array, Array]:
    """Solve with eigenvalues of at least ``floor``, also for stacks.

    Parameters
    ----------
    gram : ndarray of shape (..., d, d)
        Symmetric.
    cross : ndarray of shape (..., d)
        Right-hand sides.
    floor : float
        Smallest eigenvalue in use.

    Returns
    -------
    tuple of ndarray
        Solutions of shape (..., d), and how many eigenvalues were raised.
    """
    values, basis = np.linalg.eigh(gram)
    along = np.einsum("...ij,...i->...j", basis, cross) / np.maximum(values, floor)
    return np.einsum("...ij,...j->...i", basis, along), (values < floor).sum(axis=-1)


class DPLinearRegression(PrivateRegression):
    """Differentially private least squares: sums of products with noise, then the usual equations.

    Every record is moved into public bounds, so that it moves each sum by a known amount. The
    estimand is the least-squares projection of the clipped outcome on the clipped regressors. It
    is not robust: an outlier within the bounds counts in full.

    Parameters
    ----------
    epsilon : float
        Privacy of the fit; there is no default.
    delta : float, default=0.0
        0: Laplace noise. Positive: normal noise, made for the largest zCDP that implies (epsilon,
        delta), which is less from about three regressors on; a zCDP ledger is charged with it.
    x_bounds : tuple of float, or array of shape (p, 2)
        Public ranges of the regressors: (low, high) for all, or one pair each.
    y_bounds : tuple of float
        Public range of the outcome.
    ci : {"bootstrap", None}, default="bootstrap"
        "bootstrap": sampling error and noise are simulated from the released sums.
    n_boot : int, default=1000
        Repetitions of the bootstrap.
    level : float, default=0.95
        Coverage of each interval by itself.
    nan_policy : {"raise", "clip_mid"}, default="raise"
        "clip_mid": NaN count as the middle of the bounds.
    max_contributions : int, default=1
        Rows that one person may have.
    accountant : PrivacyAccountant, optional
        Charged by every fit.
    random_state : int or Generator, optional
        For tests: makes the noise predictable and the release not private.

    Attributes
    ----------
    intercept_, coef_ : float, ndarray of shape (p,)
        Released coefficients.
    estimate_ : ndarray of shape (1 + p,)
        Intercept and slopes.
    conf_int_ : ndarray of shape (1 + p, 2) or None
        Bootstrap intervals.
    sigma_ : float
        Standard deviation of the errors, from the released sums.
    n_floored_ : int
        Directions among the regressors in which the noise is larger than the data: coefficients
        are shrunk there.
    noise_sd_ : float
        Noise of an entry of the sums of products, in units of the half-widths of the bounds.
    feature_names_in_ : tuple of str
        Names of the regressors.
    epsilon_spent_, delta_spent_, rho_spent_, adjacency_, mechanism_, secure_, n_
        As for :class:`DPLocation`; ``rho_spent_`` is set on a zCDP ledger.

    Raises
    ------
    ParameterError
        From ``fit``, for options that do not fit together.

    See Also
    --------
    DPTheilSen : One regressor, robust.
    DPTukeyRegression : Several regressors, robust, no bounds on X and y.

    Notes
    -----
    Noise (derived here): the row (1, x, y) with entries in [-1, 1] moves its products by at most 2
    and its squares by at most 1, in sum ``q (q + 1) + q`` for q = p + 1, and in Euclidean norm by
    at most ``sqrt((2 (1 + q)**2 + q) / 2)``. Eigenvalues of the noisy X'X below a bound of the
    noise are raised to it. The bootstrap is parametric: X'X stays as released, X'y is simulated
    with normal errors of constant variance, and both get new noise (Ferrando, Wang and Sheldon
    2022, applied to the sums). It is valid for large n, and optimistic when variances differ.

    References
    ----------
    Wang, Y.-X. (2018). Revisiting differentially private linear regression. *UAI*.
    Ferrando, C., Wang, S. and Sheldon, D. (2022). Parametric bootstrap for differentially private
    confidence intervals. *AISTATS*.

    Examples
    --------
    >>> import numpy as np
    >>> from robuststat import DPLinearRegression
    >>> rng = np.random.default_rng(0)
    >>> X = rng.uniform(-1, 1, size=(20_000, 2))
    >>> y = 1 + X @ [2, -1] + rng.normal(size=20_000)
    >>> est = DPLinearRegression(epsilon=1.0, x_bounds=(-1, 1), y_bounds=(-8, 8)).fit(X, y)
    >>> bool(np.abs(est.coef_ - [2, -1]).max() < 0.3)
    True
    """

    _title = "Private least squares (noisy sums of products)"
    _parameter_checks: ClassVar[Mapping[str, Check]] = {
        "ci": one_of(None, "bootstrap"),
        "n_boot": in_range(100, 10**7, integer=True),
    }

    def __init__(
        self,
        *,
        epsilon: float,
        delta: float = 0.0,
        x_bounds: Any = None,
        y_bounds: Any = None,
        ci: Literal["bootstrap"] | None = "bootstrap",
        n_boot: int = 1000,
        level: float = 0.95,
        nan_policy: Literal["raise", "clip_mid"] = "raise",
        max_contributions: int = 1,
        accountant: Any = None,
        random_state: Any = None,
    ) -> None:
        self.epsilon = epsilon
        self.delta = delta
        self.x_bounds = x_bounds
        self.y_bounds = y_bounds
        self.ci = ci
        self.n_boot = n_boot
        self.level = level
        self.nan_policy = nan_policy
        self.max_contributions = max_contributions
        self.accountant = accountant
        self.random_state = random_state

    def _check_parameters(self) -> None:
        super()._check_parameters()
        owner = type(self).__name__
        bounds_table(self.x_bounds, owner, "x_bounds")
        check_bounds(self.y_bounds, owner, "y_bounds")

    def fit(self, X: Any, y: Any = None, *, sample_weight: Any = None) -> Self:
        """Release the coefficients. Every call is charged anew.

        Parameters
        ----------
        X : array of shape (n, p) or frame
            Regressors, one row a person.
        y : array of shape (n,)
            Outcome.
        sample_weight : None
            Not supported.

        Returns
        -------
        self

        Raises
        ------
        ParameterError, PrivacyBudgetError
            Before the data are looked at; nothing is charged.
        DataError, TypeError
            For data that are no numbers; nothing is charged.

        Warns
        -----
        UserWarning
            When the noise is as large as what it is added to, before anything is charged; and
            when some directions were shrunk.
        """
        law = "normal" if self.delta else "Laplace"
        words = f"discrete {law} noise on sums of products of clipped rows, in integers"
        if self.delta:
            release, rho = prepare_concentrated(self, mechanism=words, sample_weight=sample_weight)
        else:
            release, rho = self._prepare(mechanism=words, sample_weight=sample_weight), None
        table, outcome, names = self._read(X, y)
        n, p = table.shape
        if n <= p + 1:
            raise DataError(
                f"{type(self).__name__}: {n} rows are too few for {p + 1} coefficients. Pass more."
            )
        low, high = self._box(p).T
        self._check_size(n, p, float(release.epsilon), None if rho is None else float(rho))
        with release as source:
            levels = vectors.GRAM_LEVELS
            steps = vectors.clip_box(np.column_stack([table, outcome]), low, high, levels)
            noisy, sd = vectors.noisy_moments(
                source, steps, levels, epsilon=release.epsilon, rho=rho
            )
            found = Moments(noisy[:-1, :-1], noisy[:-1, -1], float(noisy[-1, -1]), sd)
            seed = source.bits(128)
        self._solve(found, n, names, seed)
        return self

    def _box(self, p: int) -> Array:
        """Bounds of regressors and outcome, one row each."""
        owner = type(self).__name__
        x = bounds_table(self.x_bounds, owner, "x_bounds", p)
        return np.vstack([x, check_bounds(self.y_bounds, owner, "y_bounds")])

    def _solve(self, found: Moments, n: int, names: tuple[str, ...], seed: int) -> None:
        """Everything after the release: coefficients, errors and intervals."""
        slopes, floored = solve_floored(found.gram, found.cross, found.floor)
        residual = float(found.square - 2 * slopes @ found.cross + slopes @ found.gram @ slopes)
        sigma = math.sqrt(max(residual, found.sd) / (n - len(slopes)))
        self.n_floored_, self.noise_sd_ = int(floored), found.sd
        low, high = self._box(len(names))[-1]
        self.sigma_ = sigma * (high - low) / 2
        interval = None
        if self.ci == "bootstrap":
            draws = self._bootstrap(found, slopes, sigma, np.random.default_rng(seed))
            draws = self._unscale(draws)
            centre = self._unscale(slopes)
            interval = [
                basic_interval(c, column, self.level)
                for c, column in zip(centre, draws.T, strict=True)
            ]
        flag = ""
        if floored:
            flag = (
                f"in {int(floored)} of {len(slopes)} directions the noise is larger than the data, "
                "and coefficients are shrunk there: use more records, a larger epsilon or narrower "
                "bounds"
            )
        self._keep_coefficients(self._unscale(slopes), interval, names, n, flag)

    def _bootstrap(
        self, found: Moments, slopes: Array, sigma: float, rng: np.random.Generator
    ) -> Array:
        """Repeat sampling error and noise around the released sums."""
        d, size = len(slopes), self.n_boot
        values, basis = np.linalg.eigh(found.gram)
        values = np.maximum(values, found.floor)
        gram, root = (basis * values) @ basis.T, (basis * np.sqrt(values)) @ basis.T
        if self.delta:
            noise = rng.normal(scale=found.sd, size=(size, d, d + 1))
        else:
            noise = rng.laplace(scale=found.sd / math.sqrt(2), size=(size, d, d + 1))
        square, cross = noise[:, :, :d], noise[:, :, d]
        upper = np.triu(square)
        square = upper + np.triu(square, 1).transpose(0, 2, 1)
        square[:, 0, 0] = 0.0  # n is public
        cross = cross + slopes @ gram + sigma * rng.normal(size=(size, d)) @ root
        return solve_floored(gram + square, cross, found.floor)[0]

    def _unscale(self, slopes: Array) -> Array:
        """Coefficients in the units of the data; the last axis is (intercept, slopes)."""
        low, high = self._box(slopes.shape[-1] - 1).T
        middle, half = (low + high) / 2, (high - low) / 2
        coef = slopes[..., 1:] * half[-1] / half[:-1]
        intercept = middle[-1] + slopes[..., 0] * half[-1] - coef @ middle[:-1]
        return np.concatenate([intercept[..., None], coef], axis=-1)

    def _check_size(self, n: int, p: int, epsilon: float, rho: float | None) -> None:
        """Warn when the noise is as large as the moments of widely spread regressors."""
        if rho is None:
            sd = math.sqrt(2) * float(vectors.moment_sensitivity(p + 1, 1)) / epsilon
        else:
            sd = math.sqrt(float(vectors.moment_sensitivity_squared(p + 1, 1)) / (2 * rho))
        floor = noise_bound(p + 1, sd)
        spread = 1 / 12  # of values that fill half of the bounds
        if floor > spread * n:
            warn(
                f"{type(self).__name__}: {n:,} records are too few for epsilon="
                f"{float(self.epsilon):.4g} and {p} regressors: the noise is as large as the sums "
                "of squares of regressors that fill half of their bounds. Use about "
                f"{math.ceil(floor / spread):,} records, a larger epsilon, narrower bounds or "
                "fewer regressors."
            )

    # ------------------------------------------------------------------------------ summary

    def _summary_lines(self) -> list[str]:
        pairs = [f"({low:.6g}, {high:.6g})" for low, high in self._box(len(self.coef_))]
        return [
            f"Observations: {self.n_:,}    Standard deviation of errors: {self.sigma_:.6g}",
            f"Bounds of X: {', '.join(pairs[:-1])}    of y: {pairs[-1]}",
            f"Noise of a sum of products: {self.noise_sd_:.6g} squared half-widths",
        ]

    def _assumptions(self) -> list[str]:
        words = [*super()._assumptions(), "least squares of values that were moved into the bounds"]
        if self.ci:
            words.append(
                f"intervals ({self.level:.0%}, each by itself): linear model, errors of constant "
                "variance, large n; simulated sums hold no budget"
            )
        return words
