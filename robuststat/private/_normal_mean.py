"""Private mean of normal records with known standard deviation, and its interval."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, replace
from fractions import Fraction

from scipy.stats import norm

from robuststat.private._counting import GridSample
from robuststat.private._draws import log_range, release, statistic_layers
from robuststat.private._entropy import Entropy
from robuststat.private._envelopes import median_weights
from robuststat.private._feasibility import ranks_needed
from robuststat.private._noise import discrete_laplace
from robuststat.private._normal_laplace import normal_laplace_ppf
from robuststat.private._setup import Setup
from robuststat.private._statistics import LStatistic

CENTRE_RHO = 0.05  # precision of the centre, in standard deviations
CENTRE_SHARE = Fraction(1, 4)


@dataclass(frozen=True, slots=True)
class NormalMean:
    """Released mean.

    Attributes
    ----------
    estimate : float
        Mean of the clipped records plus noise.
    interval : tuple of float
        For the population mean.
    flag : str
        What to know about the interval, or "".
    """

    estimate: float
    interval: tuple[float, float]
    flag: str


def centre_error(n: int, epsilon: float, log_c: float, failure: float) -> float:
    """Bound the distance of the private median from the mean, in standard deviations.

    With probability ``1 - failure / 2`` the median stands for at most k changed records, and with
    the same probability the empirical law is within the Dvoretzky-Kiefer-Wolfowitz band.

    Parameters
    ----------
    n : int
        Normal records.
    epsilon : float
        Privacy of the median.
    log_c : float
        Log of the range over the precision.
    failure : float
        Probability with which the bound may fail.

    Returns
    -------
    float
        inf when n is too small.
    """
    k = ranks_needed(epsilon, log_c, failure / 2)
    band = math.sqrt(math.log(4 / failure) / (2 * n))
    share = 0.5 + (k + 1) / n + band
    return float(norm.ppf(share)) + CENTRE_RHO if share < 1 else math.inf


def draw_normal_mean(
    source: Entropy,
    setup: Setup,
    sample: GridSample,
    *,
    sigma: float,
    epsilon: Fraction,
    level: float,
) -> NormalMean:
    """Find a centre, clip around it, add noise to the mean (Karwa and Vadhan's scheme).

    The centre is the private median at epsilon/4. Records are clipped to ``c +- w``, with w so
    large that with probability ``1 - 2 b`` none of them is moved; discrete Laplace noise at
    3 epsilon/4 is added to their sum. Error of the mean: N(0, sigma**2/n) plus Laplace noise. When
    the centre cannot be trusted w covers all of the bounds.

    Parameters
    ----------
    source : Entropy
        Random bits; the charge is booked.
    setup : Setup
        Public parameters, on a grid.
    sample : GridSample
        Data.
    sigma : float
        Known standard deviation.
    epsilon : Fraction
        Privacy of both steps together.
    level : float
        Coverage.

    Returns
    -------
    NormalMean
    """
    grid, n, alpha = sample.grid, sample.n, 1 - level
    failure = min(0.001, alpha / 50)
    coarse = copy.copy(sample)
    coarse.grid = replace(grid, margin=max(1, round(CENTRE_RHO * sigma / grid.step)))
    layers_of = statistic_layers(coarse, LStatistic(median_weights(n)))
    centre = release(source, layers_of, coarse.grid, epsilon * CENTRE_SHARE)
    error = centre_error(n, float(epsilon * CENTRE_SHARE), log_range(coarse.grid), failure)
    low, high = 0, grid.last
    flag = ""
    if math.isfinite(error):
        width = sigma * (math.sqrt(2 * math.log(2 * n / failure)) + max(1.0, error))
        reach = math.ceil(width / grid.step)
        low, high = max(centre - reach, 0), min(centre + reach, grid.last)
        if centre - reach < 0 or centre + reach > grid.last:
            flag = (
                "the records may reach beyond the bounds, where they were cut: the interval is "
                "about the mean of cut records"
            )
    low = min(low, high)
    epsilon_sum = epsilon * (1 - CENTRE_SHARE)
    scale = Fraction(max(high - low, 1)) / epsilon_sum
    total = sample.clipped_sum(low, high) + discrete_laplace(source, scale)
    estimate = grid.lo + grid.step * (total / n)
    noise = float(scale) * grid.step / n
    half = normal_laplace_ppf(1 - (alpha - 2 * failure) / 2, sigma / math.sqrt(n), noise)
    half += grid.step * (0.5 + 1 / n)  # rounding of records and of the noise
    return NormalMean(estimate, (estimate - half, estimate + half), flag)
