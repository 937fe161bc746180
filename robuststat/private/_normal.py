"""Private mean of normal records, with known or unknown standard deviation."""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Any, ClassVar, Literal, Self

import numpy as np
from scipy.stats import norm

from robuststat._core.errors import ParameterError, warn
from robuststat._core.params import Check, in_range, one_of, optional
from robuststat._core.types import Array
from robuststat.private._base import PrivateEstimator
from robuststat.private._bootstrap import basic_interval
from robuststat.private._continuous import Base, FloatRanks, continuous_table, table_quantile
from robuststat.private._counting import GridSample
from robuststat.private._entropy import Entropy
from robuststat.private._envelopes import median_weights
from robuststat.private._feasibility import ranks_needed, scale_statistic
from robuststat.private._intake import read_column
from robuststat.private._normal_mean import (
    CENTRE_RHO,
    CENTRE_SHARE,
    centre_error,
    draw_normal_mean,
)
from robuststat.private._setup import Setup, draw, make_setup
from robuststat.private._statistics import LStatistic

_IQR = float(2 * norm.ppf(0.75))
_SCALE_SHARE = Fraction(1, 4)


def sigma_factor(n: int, epsilon: float, log_c: float, failure: float) -> float:
    """Factor that makes a private interquartile range an upper bound of sigma.

    With probability ``1 - failure/2`` the release is, up to rho, not below the smallest
    interquartile range after k changed records; with the same probability every order statistic
    is within the Dvoretzky-Kiefer-Wolfowitz band of its quantile. So sigma is at most
    ``(release + rho) factor``.

    Parameters
    ----------
    n : int
        Normal records.
    epsilon : float
        Privacy of the interquartile range.
    log_c : float
        Log of its range over the precision.
    failure : float
        Probability with which the bound may fail.

    Returns
    -------
    float
        inf when n is too small.
    """
    k = ranks_needed(epsilon, log_c, failure / 2)
    band = math.sqrt(math.log(4 / failure) / (2 * n))
    low = 0.25 + (np.arange(k + 1) + 1) / n + band
    high = 0.75 - (np.arange(k + 1)[::-1] + 1) / n - band
    if (low >= 1).any() or (high <= 0).any():
        return math.inf
    smallest = float((norm.ppf(high) - norm.ppf(low)).min())
    return 1 / smallest if smallest > 0 else math.inf


class DPNormalMean(PrivateEstimator):
    """Differentially private mean of normal records, with an interval for the population mean.

    A private median finds the middle; records are clipped around it, so far out that normal ones
    are not moved; the mean of the clipped records gets Laplace noise. Because the bounds on the
    mean enter through a logarithm only, they can be generous.

    Parameters
    ----------
    epsilon : float
        Privacy of the fit; there is no default.
    mean_bound : float
        Public R: the population mean lies in [-R, R].
    sigma : float, optional
        Known standard deviation. Without it a quarter of epsilon finds one.
    sigma_bounds : tuple of float, optional
        Public (low, high) around an unknown standard deviation; needed without ``sigma``.
    ci : {"normal", "bootstrap", None}, default="normal"
        "normal": quantiles of a normal error plus Laplace noise; with unknown sigma an upper bound
        of it is used, which makes the interval conservative. "bootstrap": the whole mechanism is
        repeated on simulated normal records; as good as n is large.
    n_boot : int, default=500
        Repetitions of the bootstrap.
    level : float, default=0.95
        Coverage of the interval.
    nan_policy : {"raise", "clip_mid"}, default="raise"
        "clip_mid": NaN count as 0, the middle of the bounds.
    max_contributions : int, default=1
        Rows that one person may have.
    accountant : PrivacyAccountant, optional
        Charged with epsilon by every fit.
    random_state : int or Generator, optional
        For tests: makes the noise predictable and the release not private.

    Attributes
    ----------
    estimate_ : float
        Released mean.
    sigma_ : float
        Known, or released, standard deviation.
    sigma_upper_ : float
        Upper bound of it that clipping and interval use; equal to ``sigma`` when that is known.
    conf_int_ : ndarray of shape (2,) or None
        Interval for the population mean.
    conf_int_flag_ : str
        "" or what is wrong with the interval.
    epsilon_spent_, delta_spent_, adjacency_, mechanism_, secure_, n_
        As for :class:`DPLocation`.

    Raises
    ------
    ParameterError
        From ``fit``, for options that do not fit together.

    See Also
    --------
    DPLocation : Without a normal law; ``ci="rank"`` assumes nothing about it.

    Notes
    -----
    Scheme of Karwa and Vadhan (2018) with another search for the middle; its constants, and the
    upper bound of an unknown sigma, are derived here. Records that are not normal make the
    interval wrong, outliers least of all the estimate: they are clipped.

    References
    ----------
    Karwa, V. and Vadhan, S. (2018). Finite sample differentially private confidence intervals.
    *ITCS*.
    Ferrando, C., Wang, S. and Sheldon, D. (2022). Parametric bootstrap for differentially private
    confidence intervals. *AISTATS*.

    Examples
    --------
    >>> import numpy as np
    >>> from robuststat import DPNormalMean
    >>> x = np.random.default_rng(0).normal(3, 1, size=5_000)
    >>> est = DPNormalMean(epsilon=1.0, mean_bound=1_000, sigma=1.0).fit(x)
    >>> bool(abs(est.estimate_ - 3) < 0.2), est.conf_int_flag_
    (True, '')
    """

    _title = "Private mean of normal records"
    _parameter_checks: ClassVar[Mapping[str, Check]] = {
        "mean_bound": in_range(0.0, math.inf, closed="neither"),
        "sigma": optional(in_range(0.0, math.inf, closed="neither")),
        "ci": one_of(None, "normal", "bootstrap"),
        "n_boot": in_range(100, 10**7, integer=True),
    }

    def __init__(
        self,
        *,
        epsilon: float,
        mean_bound: float,
        sigma: float | None = None,
        sigma_bounds: Any = None,
        ci: Literal["normal", "bootstrap"] | None = "normal",
        n_boot: int = 500,
        level: float = 0.95,
        nan_policy: Literal["raise", "clip_mid"] = "raise",
        max_contributions: int = 1,
        accountant: Any = None,
        random_state: Any = None,
    ) -> None:
        self.epsilon = epsilon
        self.mean_bound = mean_bound
        self.sigma = sigma
        self.sigma_bounds = sigma_bounds
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
        if (self.sigma is None) == (self.sigma_bounds is None):
            raise ParameterError(
                f"{owner}: pass sigma= when it is known, else sigma_bounds=(low, high) from public "
                "knowledge; one of them."
            )
        low, _ = self._sigmas()
        if not low > 0:
            raise ParameterError(
                f"{owner}: sigma_bounds must be positive, got {self.sigma_bounds!r}."
            )

    def _sigmas(self) -> tuple[float, float]:
        """Public bounds of the standard deviation."""
        if self.sigma is not None:
            return float(self.sigma), float(self.sigma)
        try:
            low, high = (float(v) for v in self.sigma_bounds)
        except (TypeError, ValueError):
            low = high = math.nan
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise ParameterError(
                f"{type(self).__name__}: sigma_bounds must be (low, high) with low < high; got "
                f"{self.sigma_bounds!r}."
            )
        return low, high

    @property
    def _failure(self) -> float:
        """Probability with which the search for sigma may fail."""
        return min(0.001, (1 - self.level) / 50)

    def _make_setup(self, n: int) -> Setup:
        """Grid that holds all records of any normal law within the public bounds."""
        low, high = self._sigmas()
        reach = high * (2 * math.sqrt(2 * math.log(2 * n / self._failure)) + 2)
        limit = float(self.mean_bound) + reach
        return make_setup(
            type(self).__name__,
            bounds=(-limit, limit),
            rho=CENTRE_RHO * low,
            step=low / 4096,  # rounding adds half a step to each end
            kind="step",
            secure=True,
        )

    def fit(self, X: Any, y: Any = None, *, sample_weight: Any = None) -> Self:
        """Release the mean. Every call is charged anew.

        Parameters
        ----------
        X : array of shape (n,) or (n, 1), or frame with one column
            One number a person.
        y : None
            Ignored.
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
            When there are too few records for the noise, before anything is charged.
        """
        steps = "private median, clipped mean with discrete Laplace noise; integer grid"
        words = steps if self.sigma is not None else f"private interquartile range, {steps}"
        release = self._prepare(mechanism=words, sample_weight=sample_weight)
        x = read_column(X, type(self).__name__, nan_policy=self.nan_policy, middle=0.0)
        setup = self._make_setup(len(x))
        assert setup.grid is not None
        self._check_size(len(x), setup, release.epsilon)
        with release as source:
            self._draw(source, setup, GridSample([x], setup.grid), release.epsilon)
        self.n_ = len(x)
        return self

    def _draw(self, source: Entropy, setup: Setup, sample: GridSample, epsilon: Fraction) -> None:
        flags, n, level = [], sample.n, self.level
        rest = epsilon
        if self.sigma is not None:
            self.sigma_ = self.sigma_upper_ = float(self.sigma)
        else:
            share = epsilon * _SCALE_SHARE
            rest, level = epsilon - share, min(level + self._failure, 1 - 1e-9)
            assert setup.grid is not None
            drawn = draw(source, setup, sample, scale_statistic("iqr", n), share)
            spread = max(drawn, 0.0) * setup.grid.step
            low, high = self._sigmas()
            self.sigma_ = float(np.clip(spread / _IQR, low, high))
            factor = sigma_factor(n, float(share), setup.log_range, self._failure)
            self.sigma_upper_ = float(
                np.clip((spread + setup.precision * 2) * factor, low, high)
                if factor < 1e300
                else high
            )
            if self.sigma_upper_ == high:
                flags.append("the upper bound of sigma is the public one")
        found = draw_normal_mean(
            source, setup, sample, sigma=self.sigma_upper_, epsilon=rest, level=level
        )
        self.estimate_, self.conf_int_ = found.estimate, np.array(found.interval)
        if found.flag:
            flags.append(found.flag)
        if self.ci == "bootstrap":
            self.conf_int_ = self._bootstrap(source, setup, n, float(epsilon))
        elif self.ci is None:
            self.conf_int_ = None
        self.conf_int_flag_ = "; ".join(flags) if self.ci == "normal" else ""
        if self.conf_int_flag_:
            warn(f"{type(self).__name__}: {self.conf_int_flag_}.")

    def _bootstrap(self, source: Entropy, setup: Setup, n: int, epsilon: float) -> Array:
        """Repeat the mechanism on normal records with the released mean and sigma."""
        rng = np.random.default_rng(source.bits(128))
        centre, sigma = (
            float(np.clip(self.estimate_, -self.mean_bound, self.mean_bound)),
            self.sigma_,
        )
        repeat = _Repetition(self, setup, n, epsilon)
        draws = np.array([repeat(rng, centre, sigma) for _ in range(self.n_boot)])
        low, high = basic_interval(centre, draws, self.level)
        move = self.estimate_ - centre
        return np.asarray([low + move, high + move], dtype=np.float64)

    def _check_size(self, n: int, setup: Setup, epsilon: Fraction) -> None:
        """Warn when the middle or sigma cannot be found from so few records."""
        rest = epsilon if self.sigma is not None else epsilon * (1 - _SCALE_SHARE)
        centre = centre_error(n, float(rest * CENTRE_SHARE), setup.log_range, self._failure)
        factor = 1.0
        if self.sigma is None:
            share = float(epsilon * _SCALE_SHARE)
            factor = sigma_factor(n, share, setup.log_range, self._failure)
        if math.isfinite(centre) and math.isfinite(factor):
            return
        parts = {"middle": centre, "standard deviation": factor}
        what = " and the ".join(name for name, value in parts.items() if math.isinf(value))
        warn(
            f"{type(self).__name__}: {n:,} records are too few for epsilon={float(epsilon):.4g} "
            f"to find the {what} of the records: clipping will cover all of the public range, and "
            "the noise is made for it. Use more records, a larger epsilon, or a smaller mean_bound."
        )

    # ------------------------------------------------------------------------------ summary

    def _terms(self) -> tuple[str, ...]:
        return ("mean",)

    def _summary_lines(self) -> list[str]:
        sigma = "known" if self.sigma is not None else "released"
        return [
            f"Observations: {self.n_:,}    |mean| <= {self.mean_bound:.6g}",
            f"Standard deviation: {self.sigma_:.6g} ({sigma}), at most {self.sigma_upper_:.6g}",
        ]

    def _notes(self) -> list[str]:
        return [self.conf_int_flag_] if self.conf_int_flag_ else []

    def _assumptions(self) -> list[str]:
        words = {
            "normal": "independent normal records",
            "bootstrap": "independent normal records, and n is large; simulated data cost nothing",
        }
        return ["mean_bound and sigma were chosen without looking at the data"] + (
            [f"interval ({self.level:.0%}): {words[self.ci]}"] if self.ci else []
        )


class _Repetition:
    """The mechanism in doubles, for records that are simulated from released numbers."""

    def __init__(self, est: DPNormalMean, setup: Setup, n: int, epsilon: float) -> None:
        self.est, self.setup, self.n = est, setup, n
        self.known = est.sigma is not None
        self.share = 0.0 if self.known else epsilon * float(_SCALE_SHARE)
        self.rest = epsilon - self.share
        self.failure = est._failure
        self.factor = (
            1.0 if self.known else sigma_factor(n, self.share, setup.log_range, self.failure)
        )
        self.error = centre_error(n, self.rest * float(CENTRE_SHARE), setup.log_range, self.failure)

    def __call__(self, rng: np.random.Generator, centre: float, sigma: float) -> float:
        """Simulate records, and release their mean."""
        setup, n = self.setup, self.n
        ranks = FloatRanks(rng.normal(centre, sigma, size=n), setup.lo, setup.hi)
        upper = sigma
        if not self.known:
            base = Base(-setup.rho, setup.hi - setup.lo + setup.rho)
            spread = self._release(rng, ranks, scale_statistic("iqr", n), self.share, base)
            low, high = self.est._sigmas()
            bound = (
                (max(spread, 0.0) + 2 * setup.rho) * self.factor if self.factor < 1e300 else high
            )
            upper = min(max(bound, low), high)
        share = self.rest * float(CENTRE_SHARE)
        middle = self._release(rng, ranks, LStatistic(median_weights(n)), share, setup.base)
        low, high = setup.lo, setup.hi
        if math.isfinite(self.error):
            width = upper * (math.sqrt(2 * math.log(2 * n / self.failure)) + max(1.0, self.error))
            low, high = max(middle - width, low), min(middle + width, high)
        mean = float(np.clip(ranks.all_values, low, max(low, high)).mean())
        return mean + rng.laplace(scale=(high - low) / (n * (self.rest - share)))

    def _release(
        self,
        rng: np.random.Generator,
        ranks: FloatRanks,
        statistic: Any,
        epsilon: float,
        base: Base,
    ) -> float:
        k = min(self.n, math.ceil(2 / epsilon * (base.smallest_ball(self.setup.rho) + 12)))
        table = continuous_table(
            statistic.envelope(ranks, k), epsilon=epsilon, rho=self.setup.rho, base=base
        )
        return table_quantile(table, base, float(rng.random()))
