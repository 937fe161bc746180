"""Private scale of one column."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any, ClassVar, Literal

import numpy as np
from scipy.stats import norm

from robuststat._core.errors import ParameterError
from robuststat._core.params import Check, in_range, one_of
from robuststat.private._bootstrap import bootstrap_draws, ratio_interval
from robuststat.private._continuous import Base
from robuststat.private._entropy import Entropy
from robuststat.private._envelope_base import EnvelopeEstimator
from robuststat.private._feasibility import SCALES, scale_statistic
from robuststat.private._setup import SETUP_CHECKS, Sample, Setup
from robuststat.private._statistics import Statistic

_QUARTILE = float(norm.ppf(0.75))
# Value of each statistic for the standard normal law.
NORMAL_VALUES = {"iqr": 2 * _QUARTILE, "mad": _QUARTILE, "shorth": 2 * _QUARTILE, "std": 1.0}


class DPScale(EnvelopeEstimator):
    """Differentially private interquartile range, MAD, shorth width or standard deviation.

    Released by the exponential mechanism over a nested envelope, as :class:`DPLocation`. The
    estimand is the population value of the statistic, not rescaled to the normal law.

    Parameters
    ----------
    estimator : {"iqr", "mad", "shorth", "std"}, default="iqr"
        "iqr": difference of the order statistics at .25 and .75, of rank ``1 + round(q (n - 1))``,
        halves up. "mad": with m = ceil(n/2), the m-th smallest distance from x_(m). "shorth":
        width of the shortest window of floor(n/2) + 1 records. "std": standard deviation with
        divisor n, which every record moves, so that it needs many more of them.
    epsilon : float
        Privacy of the fit; there is no default.
    bounds : tuple of float
        Public range (low, high) of the data; values outside are moved to it.
    score : {"exact", "relaxed"}, default="exact"
        For "iqr": "relaxed" is cheaper for small epsilon (its cost does not grow with the square
        of the number of layers) and less accurate. The other statistics are relaxed anyway.
    rho, kind, grid, secure, nan_policy, max_contributions, accountant, random_state
        As for :class:`DPLocation`.
    adjacency : {"replace"}, default="replace"
        n must be public.
    ci : {None, "bootstrap"}, default=None
        "bootstrap": the mechanism is repeated on normal data (or those of ``model``) with the
        released scale; a ratio interval.
    model : callable, optional
        ``model(centre, scale, n, rng)`` returns n simulated values whose statistic in the
        population is ``scale`` times that of the standard normal law.
    n_boot : int, default=1000
        Repetitions.
    level : float, default=0.95
        Coverage of the interval.

    Attributes
    ----------
    estimate_ : float
        Released scale, unit of the data, at least 0.
    conf_int_ : ndarray of shape (2,) or None
        Released interval.
    epsilon_spent_, delta_spent_, adjacency_, mechanism_, score_kind_, grid_, rho_, secure_, n_
        As for :class:`DPLocation`.

    Raises
    ------
    ParameterError
        From ``fit``, for options that do not fit together.

    See Also
    --------
    DPLocation : Location.
    feasibility : Whether n is large enough, before any budget is spent.

    Notes
    -----
    Envelopes of "mad" and "shorth" bound the range of the statistic over k changed records from
    outside: privacy is exact, accuracy less than the best possible ("relaxed").

    Examples
    --------
    >>> import numpy as np
    >>> from robuststat import DPScale
    >>> x = np.random.default_rng(0).normal(0, 2, size=10_000)
    >>> est = DPScale("iqr", epsilon=1.0, bounds=(-50, 50), rho=0.02).fit(x)
    >>> bool(abs(est.estimate_ - 2.7) < 0.4), est.score_kind_
    (True, 'exact')
    """

    _title = "Private scale"
    _parameter_checks: ClassVar[Mapping[str, Check]] = SETUP_CHECKS | {
        "estimator": one_of(*SCALES),
        "score": one_of("exact", "relaxed"),
        "ci": one_of(None, "bootstrap"),
        "n_boot": in_range(100, 10**7, integer=True),
    }

    def __init__(
        self,
        estimator: Literal["iqr", "mad", "shorth", "std"] = "iqr",
        *,
        epsilon: float,
        bounds: Any = None,
        adjacency: Literal["replace"] = "replace",
        score: Literal["exact", "relaxed"] = "exact",
        rho: float | str = "auto",
        kind: Literal["step", "ramp"] = "step",
        grid: float | str | None = "auto",
        secure: bool = True,
        ci: Literal["bootstrap"] | None = None,
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
        self.score = score
        self.rho = rho
        self.kind = kind
        self.grid = grid
        self.secure = secure
        self.ci = ci
        self.model = model
        self.n_boot = n_boot
        self.level = level
        self.nan_policy = nan_policy
        self.max_contributions = max_contributions
        self.accountant = accountant
        self.random_state = random_state

    def _check_parameters(self) -> None:
        super()._check_parameters()
        owner = type(self).__name__
        if self.adjacency != "replace":
            raise ParameterError(f"{owner}: n must be public; use adjacency='replace'.")
        if self.model is not None and (self.ci is None or not callable(self.model)):
            raise ParameterError(
                f"{owner}: model= is a function model(centre, scale, n, rng) that goes with "
                f"ci='bootstrap'; got {self.model!r}."
            )

    def _statistic(self, n: int, setup: Setup | None) -> Statistic:
        return scale_statistic(self.estimator, n, cheap=self.score == "relaxed")

    def _value(self, setup: Setup, position: float) -> float:
        step = 1.0 if setup.grid is None else setup.grid.step
        return max(position * step, 0.0)

    def _finish(
        self, setup: Setup, drawn: list[float], sample: Sample, source: Entropy, epsilon: Fraction
    ) -> None:
        super()._finish(setup, drawn, sample, source, epsilon)
        self.conf_int_ = None
        if self.ci is None:
            return
        n, centre = sample.n, (setup.lo + setup.hi) / 2
        sigma = self.estimate_ / NORMAL_VALUES[self.estimator]

        def simulate(rng: np.random.Generator) -> Any:
            if self.model is not None:
                return self.model(centre, sigma, n, rng)
            return rng.normal(centre, sigma, size=n)

        draws = bootstrap_draws(
            simulate,
            self._statistic(n, None),
            source=source,
            n_boot=self.n_boot,
            lo=setup.lo,
            hi=setup.hi,
            rho=setup.rho,
            base=Base(-setup.rho, setup.hi - setup.lo + setup.rho),
            epsilon=float(epsilon),
            kind=setup.kind,
        )
        self.conf_int_ = np.array(ratio_interval(self.estimate_, draws, self.level))

    def _assumptions(self) -> list[str]:
        words = (
            f"interval ({self.level:.0%}): records follow the simulated model, and n is large; "
            "simulated data hold no budget"
        )
        return super()._assumptions() + ([words] if self.ci else [])
