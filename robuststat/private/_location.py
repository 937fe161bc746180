"""Private location of one column."""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Any, ClassVar, Literal

import numpy as np
from scipy.stats import norm

from robuststat._core.errors import ParameterError, warn
from robuststat._core.params import Check, in_range, one_of, optional
from robuststat.private._bootstrap import basic_interval, bootstrap_draws
from robuststat.private._counting import GridSample
from robuststat.private._entropy import Entropy
from robuststat.private._envelope_base import EnvelopeEstimator, Part
from robuststat.private._envelopes import order_weights
from robuststat.private._feasibility import LOCATIONS, location_statistic, scale_statistic
from robuststat.private._loss import LayerTable
from robuststat.private._normal_mean import draw_normal_mean
from robuststat.private._quantile_score import quantile_fraction
from robuststat.private._rank_interval import interval_ranks
from robuststat.private._setup import SETUP_CHECKS, Sample, Setup, make_setup
from robuststat.private._statistics import LStatistic, Statistic

NORMAL_IQR = float(2 * norm.ppf(0.75))


def _is_model(value: Any) -> str | None:
    return None if callable(value) else "a function model(estimate, scale, n, rng)"


class DPLocation(EnvelopeEstimator):
    """Differentially private median, quantile, trimmed or winsorised mean, Huber location or mean.

    The statistic is released by the exponential mechanism on its path length: how many records
    would have to be changed for the statistic to be t. A statistic that few records cannot move
    needs little noise, and outliers cost nothing. The estimand is the population value of the
    statistic (``estimate_``), and of the q-quantile for ``ci="rank"``.

    Parameters
    ----------
    estimator : {"median", "trimmed", "winsorized", "huber", "mean", "quantile"}, default="median"
        "median" is the mean of the two middle records for even n; "quantile" the order statistic
        of rank ``1 + round(q (n - 1))``, halves up; "mean" is moved by every record, so it needs
        many more of them.
    epsilon : float
        Privacy of the fit; there is no default.
    bounds : tuple of float
        Public range (low, high); values outside are moved to it. None only with ``base="cauchy"``.
    adjacency : {"replace", "add_remove"}, default="replace"
        What a neighbour is. "add_remove" keeps n private; for "median" and "quantile" on the grid.
        A guarantee of epsilon for added or removed records is one of 2 epsilon for replaced ones.
    rho : float or "auto", default="auto"
        Precision that is useful, unit of the data: answers within rho of the statistic count as
        right. "auto" is the width of the bounds times 2**-20; a coarser one needs fewer records.
    kind : {"step", "ramp"}, default="step"
        Whether the score is constant or grows through a layer (in 16 steps on the grid).
    base : {"uniform", "cauchy"}, default="uniform"
        Public law of the output before the data speak. "cauchy" needs no bounds, and the price of
        a far centre grows with the logarithm of its distance; for "median", "quantile", "trimmed"
        and "winsorized".
    base_params : tuple of float, optional
        (loc, scale) of the Cauchy law, from public knowledge. On the grid, values further than
        2**22 scales from loc are moved there.
    quantile : float, default=0.5
        In [0, 1]; used by "quantile". Under "add_remove" it is taken as the nearest fraction with
        a denominator of at most 1000.
    trim : float, default=0.1
        Share of records cut (or set to the next one) at each end, in [0, 0.5), rounded down.
    huber_c : float, default=1.345
        Corner of Huber's score in units of ``scale``.
    scale : float, optional
        Public scale of the data: needed by "huber" (a scale from the data must be released first,
        see ``DPScale``) and by ``ci="normal"``, where it is the known standard deviation; used by
        ``ci="bootstrap"``.
    grid : float, "auto" or None, default="auto"
        Spacing of the grid on which everything is exact, rounded down to a power of two. "auto" is
        the largest power of two not above rho, with which rho becomes one step. None draws in
        doubles, which ``secure=True`` refuses.
    secure : bool, default=True
        Exact integer arithmetic. False draws in doubles unless ``grid`` is a number; for
        simulations.
    ci : {None, "rank", "normal", "bootstrap"}, default=None
        Interval for the population value. "rank": two private order statistics, for "median" and
        "quantile"; no assumption but independent records. "normal": noisy clipped mean of normal
        data with known ``scale``, for "mean". "bootstrap": the mechanism is repeated on data
        simulated from what was released; as good as its model, and as n is large.
    ci_share : float, default=0.5
        Share of epsilon that is spent on the interval: for both ends ("rank") or for a scale
        ("bootstrap" without ``scale``). With 1 and "rank" the estimate is the middle of the
        interval.
    model : callable, optional
        For "bootstrap": ``model(estimate, scale, n, rng)`` returns n simulated values; normal by
        default.
    n_boot : int, default=1000
        Repetitions of the bootstrap; each sorts n numbers.
    level : float, default=0.95
        Coverage of the interval.
    nan_policy : {"raise", "clip_mid"}, default="raise"
        "raise": an error before anything is charged, which tells that there is a missing value.
        "clip_mid": NaN count as the middle of the bounds, infinite values as the nearer bound.
    max_contributions : int, default=1
        Rows that one person may have; each row gets ``epsilon / max_contributions``.
    accountant : PrivacyAccountant, optional
        Charged with epsilon by every fit.
    random_state : int or Generator, optional
        For tests: makes the noise predictable and the release not private.

    Attributes
    ----------
    estimate_ : float
        Released location, unit of the data.
    conf_int_ : ndarray of shape (2,) or None
        Released interval.
    conf_int_flag_ : str
        "" or what is wrong with the interval: which end is a public bound.
    epsilon_spent_, delta_spent_ : float
        Cost of the fit.
    adjacency_, mechanism_ : str
        What neighbours are, and how the number was drawn.
    score_kind_ : {"exact", "relaxed"}
        Whether the score is the exact path length.
    grid_ : dict or None
        ``lo`` and ``step`` of the grid.
    rho_ : float
        Precision in use.
    secure_ : bool
        Whether arithmetic was exact and the noise came from the operating system.
    n_ : int
        Number of records, under "replace" only.

    Raises
    ------
    ParameterError
        From ``fit``, for options that do not fit together.

    See Also
    --------
    DPScale : Spread.
    DPQuantiles : Several quantiles from one budget.
    feasibility : Whether n is large enough, before any budget is spent.

    Notes
    -----
    Score u(t) = min{k: t in [low_k - rho, high_k + rho]} with [low_k, high_k] the range of the
    statistic over data sets that differ in k records; weight exp(-epsilon u / 2). Of records the
    time of a fit is not protected: the draw of rare layers and the reading of data take longer.
    The path-length mechanism is that of Asi, Ullman and Zakynthinou (2023); envelopes, layers,
    arithmetic and intervals are derived in this package. What that paper promises in higher
    dimensions takes exponential time and is not offered.

    References
    ----------
    Asi, H., Ullman, J. and Zakynthinou, L. (2023). From robustness to privacy and back. *ICML*.
    Drechsler, J., Globus-Harris, I., McMillan, A., Sarathy, J. and Smith, A. (2022). Nonparametric
    differentially private confidence intervals for the median. *Journal of Survey Statistics and
    Methodology*.
    Ferrando, C., Wang, S. and Sheldon, D. (2022). Parametric bootstrap for differentially private
    confidence intervals. *AISTATS*.
    Karwa, V. and Vadhan, S. (2018). Finite sample differentially private confidence intervals.
    *ITCS*.

    Examples
    --------
    >>> import numpy as np
    >>> from robuststat import DPLocation
    >>> x = np.random.default_rng(0).normal(1, 2, size=10_000)
    >>> est = DPLocation("median", epsilon=1.0, bounds=(-50, 50), rho=0.02).fit(x)
    >>> bool(abs(est.estimate_ - 1) < 0.3), est.secure_, est.epsilon_spent_
    (True, True, 1.0)
    """

    _title = "Private location"
    _parameter_checks: ClassVar[Mapping[str, Check]] = SETUP_CHECKS | {
        "estimator": one_of(*LOCATIONS),
        "base": one_of("uniform", "cauchy"),
        "quantile": in_range(0.0, 1.0),
        "trim": in_range(0.0, 0.5, closed="left"),
        "huber_c": in_range(0.0, math.inf, closed="neither"),
        "scale": optional(in_range(0.0, math.inf, closed="neither")),
        "ci": one_of(None, "rank", "normal", "bootstrap"),
        "ci_share": in_range(0.0, 1.0, closed="right"),
        "model": optional(_is_model),
        "n_boot": in_range(100, 10**7, integer=True),
    }

    def __init__(
        self,
        estimator: Literal[
            "median", "trimmed", "winsorized", "huber", "mean", "quantile"
        ] = "median",
        *,
        epsilon: float,
        bounds: Any = None,
        adjacency: Literal["replace", "add_remove"] = "replace",
        rho: float | str = "auto",
        kind: Literal["step", "ramp"] = "step",
        base: Literal["uniform", "cauchy"] = "uniform",
        base_params: Any = None,
        quantile: float = 0.5,
        trim: float = 0.1,
        huber_c: float = 1.345,
        scale: float | None = None,
        grid: float | str | None = "auto",
        secure: bool = True,
        ci: Literal["rank", "normal", "bootstrap"] | None = None,
        ci_share: float = 0.5,
        model: Any = None,
        n_boot: int = 1000,
        level: float = 0.95,
        nan_policy: Literal["raise", "clip_mid"] = "raise",
        max_contributions: int = 1,
        accountant: Any = None,
        random_state: Any = None,
    ) -> None:
        self.estimator = estimator
        self.epsilon = epsilon
        self.bounds = bounds
        self.adjacency = adjacency
        self.rho = rho
        self.kind = kind
        self.base = base
        self.base_params = base_params
        self.quantile = quantile
        self.trim = trim
        self.huber_c = huber_c
        self.scale = scale
        self.grid = grid
        self.secure = secure
        self.ci = ci
        self.ci_share = ci_share
        self.model = model
        self.n_boot = n_boot
        self.level = level
        self.nan_policy = nan_policy
        self.max_contributions = max_contributions
        self.accountant = accountant
        self.random_state = random_state

    # ------------------------------------------------------------------------------ options

    def _check_parameters(self) -> None:
        super()._check_parameters()
        ranks = self.estimator in ("median", "quantile")
        problems = {
            "estimator='huber' needs scale=, a public constant. Release one with DPScale first.": (
                self.estimator == "huber" and self.scale is None
            ),
            "adjacency='add_remove' is for 'median' and 'quantile', with kind='step'; other "
            "statistics need n to be public.": (
                self.adjacency == "add_remove" and not (ranks and self.kind == "step")
            ),
            "adjacency='add_remove' works on the grid only; use secure=True.": (
                self.adjacency == "add_remove" and not self._on_grid()
            ),
            "base='cauchy' is for 'median', 'quantile', 'trimmed' and 'winsorized', which far "
            "values cannot move.": self.base == "cauchy" and self.estimator in ("huber", "mean"),
            "ci='rank' is for 'median' and 'quantile', with adjacency='replace'.": (
                self.ci == "rank" and (not ranks or self.adjacency != "replace")
            ),
            "ci='rank' needs a quantile in (0, 1): ends of the range have no interval.": (
                self.ci == "rank" and self.estimator == "quantile" and self.quantile in (0, 1)
            ),
            "ci='normal' is for 'mean' with adjacency='replace' on the grid, and needs scale=, the "
            "known standard deviation.": (
                self.ci == "normal"
                and (
                    self.estimator != "mean"
                    or self.scale is None
                    or self.adjacency != "replace"
                    or not self._on_grid()
                )
            ),
            "ci='bootstrap' needs adjacency='replace', bounds, and ci_share < 1.": (
                self.ci == "bootstrap"
                and (self.adjacency != "replace" or self.base == "cauchy" or self.ci_share == 1)
            ),
            "model= goes with ci='bootstrap'.": self.model is not None and self.ci != "bootstrap",
        }
        for words, wrong in problems.items():
            if wrong:
                raise ParameterError(f"{type(self).__name__}: {words}")

    def _on_grid(self) -> bool:
        return self.grid is not None and (self.secure or self.grid != "auto")

    def _make_setup(self) -> Setup:
        return make_setup(
            type(self).__name__,
            bounds=self.bounds,
            rho=self.rho,
            step=self.grid,
            kind=self.kind,
            secure=self.secure,
            base=self.base,
            base_params=self.base_params,
        )

    def _charge_kind(self) -> Any:
        return "pure" if self.ci == "normal" else "exponential"

    def _mechanism(self, setup: Setup) -> str:
        if self.ci != "normal":
            return super()._mechanism(setup)
        return "clipped mean with discrete Laplace noise, around a private median; integer grid"

    def _range(self) -> tuple[float, float]:
        return (-math.inf, math.inf) if self.base == "cauchy" else super()._range()

    # -------------------------------------------------------------------------------- parts

    def _statistic(self, n: int, setup: Setup | None) -> Statistic:
        corner: Any = self.huber_c * (self.scale or 1.0)
        return location_statistic(
            self.estimator,
            n,
            quantile=self.quantile,
            trim=self.trim,
            corner=corner if setup is None else setup.unit(corner),
        )

    def _needs_scale(self) -> bool:
        return self.ci == "bootstrap" and self.scale is None

    def _ranks(self, n: int, setup: Setup, epsilon: Fraction) -> tuple[int, int]:
        """Ranks of the ends of the interval; they depend on public numbers only."""
        q = 0.5 if self.estimator == "median" else self.quantile
        share = float(epsilon * Fraction(float(self.ci_share)))
        return interval_ranks(n, q, epsilon=share, log_range=setup.log_range, level=self.level)

    def _parts(self, n: int, setup: Setup, epsilon: Fraction) -> list[Part]:
        share = Fraction(float(self.ci_share))
        main: Any = self._statistic(n, setup)
        if self.adjacency == "add_remove":
            main = quantile_fraction(0.5 if self.estimator == "median" else self.quantile)
        if self.ci == "normal":
            return []
        if self.ci == "rank":
            ends = [m for m in self._ranks(n, setup, epsilon) if 1 <= m <= n]
            parts = [Part(LStatistic(order_weights(m)), epsilon * share / 2) for m in ends]
            return parts if share == 1 else [Part(main, epsilon * (1 - share)), *parts]
        if self._needs_scale():
            spread = scale_statistic("iqr", n)
            return [Part(main, epsilon * (1 - share)), Part(spread, epsilon * share)]
        return [Part(main, epsilon)]

    def _check_size(self, n: int, setup: Setup, epsilon: Fraction) -> None:
        if self.ci == "normal" or (self.ci == "rank" and self.ci_share == 1):
            return  # their intervals say themselves when there are too few records
        super()._check_size(n, setup, epsilon)

    def _finish(
        self, setup: Setup, drawn: list[float], sample: Sample, source: Entropy, epsilon: Fraction
    ) -> None:
        self.conf_int_, self.conf_int_flag_ = None, ""
        if self.ci == "normal":
            assert isinstance(sample, GridSample)
            assert self.scale is not None
            found = draw_normal_mean(
                source, setup, sample, sigma=self.scale, epsilon=epsilon, level=self.level
            )
            self.estimate_, self.conf_int_ = found.estimate, np.array(found.interval)
            self._flag(found.flag)
            return
        if self.ci == "rank":
            self._finish_ranks(setup, drawn, sample.n, epsilon)
            return
        self.estimate_ = self._value(setup, drawn[0])
        if self.ci == "bootstrap":
            self._finish_bootstrap(setup, drawn, sample.n, source, epsilon)

    def _finish_ranks(self, setup: Setup, drawn: list[float], n: int, epsilon: Fraction) -> None:
        lower, upper = self._ranks(n, setup, epsilon)
        values = [self._value(setup, position) for position in drawn]
        estimate = None if self.ci_share == 1 else values.pop(0)
        low = values.pop(0) - setup.precision if lower >= 1 else setup.lo
        high = values.pop(0) + setup.precision if upper <= n else setup.hi
        self.conf_int_ = np.array([min(low, high), max(low, high)])
        missing = [side for side, is_bound in (("low", lower < 1), ("high", upper > n)) if is_bound]
        if missing:
            self._flag(
                f"the {' and the '.join(missing)} end is the public bound: n and epsilon are too "
                "small for a rank there"
            )
        self.estimate_ = float(self.conf_int_.mean()) if estimate is None else estimate

    def _finish_bootstrap(
        self, setup: Setup, drawn: list[float], n: int, source: Entropy, epsilon: Fraction
    ) -> None:
        scale = self.scale
        if scale is None:
            step = 1.0 if setup.grid is None else setup.grid.step
            scale = max(drawn[1], 1.0 if setup.grid is not None else setup.rho) * step / NORMAL_IQR
        centre, share = self.estimate_, 1.0 if not self._needs_scale() else 1 - self.ci_share

        def simulate(rng: np.random.Generator) -> Any:
            if self.model is not None:
                return self.model(centre, scale, n, rng)
            return rng.normal(centre, scale, size=n)

        draws = bootstrap_draws(
            simulate,
            self._statistic(n, None),
            source=source,
            n_boot=self.n_boot,
            lo=setup.lo,
            hi=setup.hi,
            rho=setup.rho,
            base=setup.base,
            epsilon=float(epsilon) * share,
            kind=setup.kind,
        )
        self.conf_int_ = np.array(basic_interval(centre, draws, self.level))

    def _flag(self, words: str) -> None:
        self.conf_int_flag_ = words
        if words:
            warn(f"{type(self).__name__}: {words}.")

    def _layers(self, x: Any) -> list[LayerTable]:
        if self.ci == "normal":
            raise ParameterError(
                f"{type(self).__name__}: ci='normal' adds noise to a sum around a drawn centre, "
                "which has no layers. Use audit_epsilon."
            )
        return super()._layers(x)

    # ------------------------------------------------------------------------------ summary

    def _notes(self) -> list[str]:
        notes = super()._notes()
        if self.conf_int_flag_:
            notes.append(self.conf_int_flag_)
        return notes

    def _assumptions(self) -> list[str]:
        words = {
            "rank": f"interval ({self.level:.0%}): independent records of one law; nothing else. "
            "It holds for the quantile of the values after they were moved into the bounds",
            "normal": f"interval ({self.level:.0%}): independent normal records with standard "
            f"deviation {self.scale}",
            "bootstrap": f"interval ({self.level:.0%}): records follow the simulated model, and n "
            "is large; simulated data hold no budget",
        }
        return super()._assumptions() + ([words[self.ci]] if self.ci else [])
