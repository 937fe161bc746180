"""Calibration of predicted probabilities, for events that may be rare."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from scipy import stats
from scipy.special import xlogy

from robuststat import plot
from robuststat._core.errors import DataError, ParameterError
from robuststat._core.table import to_float
from robuststat._core.types import Array, IntArray
from robuststat._results.tables import check_level
from robuststat.ordinal._rare_fit import LogitProblem, fit_logit, null_fit
from robuststat.ordinal._separation import binary_separation

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Probabilities of exactly 0 or 1 count as this far from them in logarithms.
_FLOOR = 1e-10


@dataclass(frozen=True, slots=True)
class Calibration:
    """Predicted against observed frequencies.

    Attributes
    ----------
    table : DataFrame
        One row a bin, lowest probabilities first: ``n`` rows, ``events``, ``predicted`` (mean
        probability), ``low`` and ``high`` (its range), ``observed`` (share of events) with exact
        binomial limits ``conf_low`` and ``conf_high``.
    ratio : float
        Observed over expected number of events: above one, events are underestimated.
    ratio_interval : tuple of float
        Its limits, from the exact binomial limits of the share of events.
    intercept, slope : float
        Logistic regression of the event on the log-odds of the prediction: 0 and 1 when calibrated,
        slope below 1 when predictions are too extreme; NaN where it has no finite estimate.
    intercept_se, slope_se : float
        Their standard errors.
    brier, log_loss : float
        Mean squared error and mean negative log-likelihood.
    level : float
        Level of the intervals.

    Examples
    --------
    >>> import numpy as np
    >>> from robuststat import calibration
    >>> found = calibration(np.full(50, 0.1), np.repeat([1, 0], [8, 42]))
    >>> round(found.ratio, 2), [round(limit, 2) for limit in found.ratio_interval]
    (1.6, [0.72, 2.91])
    """

    table: pd.DataFrame
    ratio: float
    ratio_interval: tuple[float, float]
    intercept: float
    slope: float
    intercept_se: float
    slope_se: float
    brier: float
    log_loss: float
    level: float


def calibration(
    probability: Any,
    event: Any,
    bins: int = 10,
    *,
    strategy: Literal["quantile", "events"] = "quantile",
    sample_weight: Any = None,
    level: float = 0.95,
) -> Calibration:
    """Compare predicted probabilities with what happened, bin by bin.

    Use it on rows that were not used for fitting.

    Parameters
    ----------
    probability : array of shape (n,)
        Predicted probabilities of the event.
    event : array of shape (n,)
        0/1 or boolean: whether it happened, such as ``y == classes[-1]``.
    bins : int, default=10
        Number of bins, at most; equal probabilities share one.
    strategy : {"quantile", "events"}, default="quantile"
        Bins of equally many rows (deciles), or of equally many expected events, which spreads the
        few events of a rare class over the bins.
    sample_weight : array of shape (n,), optional
        Weights; intervals then use the effective number of rows.
    level : float, default=0.95
        Confidence level.

    Returns
    -------
    Calibration

    Raises
    ------
    DataError
        When probabilities lie outside [0, 1], events are not 0/1, or lengths differ.
    ParameterError
        When ``bins``, ``strategy`` or ``level`` has a value that is not allowed.

    Examples
    --------
    >>> import numpy as np
    >>> p = np.repeat([0.1, 0.3], 100)
    >>> event = np.repeat([1, 0, 1, 0], [12, 88, 28, 72])
    >>> found = calibration(p, event)
    >>> found.table[["n", "predicted", "observed", "conf_high"]].round(2)
         n  predicted  observed  conf_high
    0  100        0.1      0.12       0.20
    1  100        0.3      0.28       0.38
    >>> round(found.ratio, 2)
    1.0
    """
    p, y, w = _checked(probability, event, sample_weight)
    check_level(level)
    if isinstance(bins, bool) or not isinstance(bins, int | np.integer) or bins < 1:
        raise ParameterError(f"bins must be an integer >= 1; got {bins!r}.")
    if strategy not in ("quantile", "events"):
        raise ParameterError(f"strategy must be 'quantile' or 'events'; got {strategy!r}.")
    code = _bin_codes(p, w if strategy == "quantile" else w * p, int(bins))
    rows = [_bin_row(p[code == b], y[code == b], w[code == b], level) for b in np.unique(code)]
    expected = float(w @ p)
    low, high = binomial_limits(float(w @ y), w, level)
    total = float(w.sum())
    clipped = np.clip(p, _FLOOR, 1.0 - _FLOOR)
    loss = -(xlogy(y, clipped) + xlogy(1.0 - y, 1.0 - clipped))
    intercept, slope, intercept_se, slope_se = _recalibration(clipped, y, w)
    return Calibration(
        table=pd.DataFrame(rows),
        ratio=float(w @ y) / expected if expected else np.inf,
        ratio_interval=(low * total / expected, high * total / expected)
        if expected
        else (np.inf, np.inf),
        intercept=intercept,
        slope=slope,
        intercept_se=intercept_se,
        slope_se=slope_se,
        brier=float(np.average((y - p) ** 2, weights=w)),
        log_loss=float(np.average(loss, weights=w)),
        level=level,
    )


def _checked(probability: Any, event: Any, weights: Any) -> tuple[Array, Array, Array]:
    p = to_float(np.asarray(probability), "probability")
    y = to_float(np.asarray(event), "event")
    w = (
        np.ones(p.shape)
        if weights is None
        else to_float(
            [weights] if isinstance(weights, str) else np.asarray(weights), "sample_weight"
        )
    )
    if p.ndim != 1 or p.shape != y.shape or p.shape != w.shape or not p.size:
        raise DataError(
            f"probability, event and sample_weight must be vectors of one length above 0; got "
            f"shapes {p.shape}, {y.shape}, {w.shape}. Pass predict_rare(X)."
        )
    bad = ~((p >= 0.0) & (p <= 1.0))
    if bad.any():
        raise DataError(
            f"probability has {int(bad.sum())} values outside [0, 1] (first at row "
            f"{int(np.argmax(bad))}: {p[bad][0]:g})."
        )
    bad = ~np.isin(y, (0.0, 1.0))
    if bad.any():
        raise DataError(
            f"event must be 0 or 1; it holds {y[bad][0]:g} at row {int(np.argmax(bad))}. Pass "
            "y == <the event>."
        )
    if not (np.isfinite(w).all() and (w >= 0).all() and w.any()):
        raise DataError("sample_weight must be finite, >= 0 and not zero for every row.")
    keep = w > 0
    return p[keep], y[keep], w[keep]


def _bin_codes(p: Array, mass: Array, bins: int) -> IntArray:
    """Bin of each row: equal mass, the same bin for equal probabilities."""
    order = np.argsort(p, kind="stable")
    share = np.cumsum(mass[order])
    # The middle of a row's mass decides, so that bins of equal mass have equally many rows.
    middle = (share - 0.5 * mass[order]) / (share[-1] or 1.0)
    code = np.minimum((middle * bins).astype(np.int64), bins - 1)
    values, first = np.unique(p[order], return_index=True)
    return np.asarray(code[first][np.searchsorted(values, p)])


def _bin_row(p: Array, y: Array, w: Array, level: float) -> dict[str, float]:
    low, high = binomial_limits(float(w @ y), w, level)
    return {
        "n": len(p),
        "events": float(w @ y),
        "predicted": float(np.average(p, weights=w)),
        "low": float(p.min()),
        "high": float(p.max()),
        "observed": float(np.average(y, weights=w)),
        "conf_low": low,
        "conf_high": high,
    }


def binomial_limits(events: float, weights: Array, level: float) -> tuple[float, float]:
    """Clopper-Pearson limits of a share.

    Weighted rows count as (sum w)^2 / sum w^2 rows (Korn and Graubard 1998).
    """
    n = float(weights.sum() ** 2 / (weights**2).sum())
    hits = n * events / float(weights.sum())
    tail = 0.5 * (1.0 - level)
    low = float(stats.beta.ppf(tail, hits, n - hits + 1.0)) if hits > 0 else 0.0
    high = float(stats.beta.ppf(1.0 - tail, hits + 1.0, n - hits)) if hits < n else 1.0
    return low, high


def _recalibration(p: Array, y: Array, w: Array) -> tuple[float, float, float, float]:
    """Intercept and slope of the event on the predicted log-odds, with standard errors."""
    nothing = (np.nan, np.nan, np.nan, np.nan)
    eta = np.log(p) - np.log1p(-p)
    # Without variation of either there is no slope; with separation it is infinite.
    if y.min() == y.max() or np.ptp(eta) < 1e-12 * (1.0 + np.abs(eta).max()):
        return nothing
    if binary_separation(eta[:, None], y).found:
        return nothing
    problem = LogitProblem(
        X=np.column_stack([np.ones(len(p)), eta]),
        y=y,
        weights=w,
        offset=None,
        penalty="none",
        prior_df=1.0,
        slopes=np.array([False, True]),
        names=("intercept", "slope"),
    )
    fit = fit_logit(problem, null_fit(problem, 0).beta)
    se = np.sqrt(np.diag(np.linalg.inv(fit.point.information)))
    return float(fit.beta[0]), float(fit.beta[1]), float(se[0]), float(se[1])


def plot_calibration(
    found: Calibration | Mapping[str, Calibration],
    *,
    scale: Literal["log", "linear"] = "log",
    ax: Axes | None = None,
) -> Axes:
    """Draw observed against predicted frequencies with intervals and the line of equality.

    Parameters
    ----------
    found : Calibration or mapping of str to Calibration
        What :func:`calibration` returned; several are told apart by colour and marker (at most 7).
    scale : {"log", "linear"}, default="log"
        Axes. On the logarithmic ones a bin without events is drawn as its upper limit only.
    ax : matplotlib Axes, optional
        Where to draw; by default a new figure.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    ParameterError
        If there are too many, or ``scale`` is unknown.

    Examples
    --------
    >>> import numpy as np
    >>> p = np.repeat([0.1, 0.3], 100)
    >>> event = np.repeat([1, 0, 1, 0], [12, 88, 28, 72])
    >>> plot_calibration(calibration(p, event)).get_ylabel()
    'Observed share of events'
    """
    pyplot = plot._pyplot()
    groups = dict(found) if isinstance(found, Mapping) else {"": found}
    if not 0 < len(groups) <= len(plot._COLORS):
        raise ParameterError(f"{len(groups)} calibrations cannot be told apart; pass 1 to 7.")
    if scale not in ("log", "linear"):
        raise ParameterError(f"scale must be 'log' or 'linear'; got {scale!r}.")
    if ax is None:
        _, ax = pyplot.subplots(figsize=(5.6, 5.0), layout="constrained")
    assert ax is not None  # for the type checker: pyplot is untyped
    tables = [one.table for one in groups.values()]
    low, high = _axis_limits(tables, scale)
    ax.plot([low, high], [low, high], color="0.55", linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
    for i, (label, table) in enumerate(zip(groups, tables, strict=True)):
        _draw_bins(ax, table, i, len(groups), label, low, scale)
    ax.set_xscale(scale)
    ax.set_yscale(scale)
    ax.set_xlim(low, high)
    ax.set_ylim(low, high)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter("{x:g}")
    ax.set_xlabel("Predicted probability")
    ax.set_ylabel("Observed share of events")
    ax.grid(color="0.92", linewidth=0.8)
    ax.set_axisbelow(True)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    if list(groups) != [""]:
        ax.legend(frameon=False, loc="upper left")
    return ax


def _axis_limits(tables: list[pd.DataFrame], scale: str) -> tuple[float, float]:
    stacked = pd.concat(tables)
    high = float(min(1.0, 1.15 * stacked[["predicted", "conf_high"]].to_numpy().max()))
    if scale == "linear":
        return 0.0, high
    values = stacked[["predicted", "observed"]].to_numpy()
    low = float(values[values > 0].min()) if (values > 0).any() else 1e-3
    return 0.6 * low, high


def _draw_bins(
    ax: Axes, table: pd.DataFrame, i: int, n_groups: int, label: str, low: float, scale: str
) -> None:
    # A small shift keeps intervals of several models apart.
    shift = 1.0 + 0.03 * (i - 0.5 * (n_groups - 1))
    x = table["predicted"].to_numpy() * shift
    observed, bottom = table["observed"].to_numpy(), table["conf_low"].to_numpy()
    color = plot._COLORS[i]
    ax.vlines(x, np.maximum(bottom, low), table["conf_high"], color=color, linewidth=1.4, zorder=2)
    shown = observed > (0.0 if scale == "log" else -1.0)
    ax.plot(
        x[shown],
        observed[shown],
        linestyle="none",
        marker=plot._MARKERS[i],
        markeredgecolor="white",
        markersize=7,
        color=color,
        label=label,
        zorder=3,
    )
