"""Pictures of the family: balls, influence, residuals, sets, frontier, certificates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from robuststat._core.types import Array, BoolArray, IntArray
from robuststat.invariance._calculators import eta_fixed, eta_scenario
from robuststat.plot import coefplot, scatterplot

_BLUE, _RED, _GREEN, _GREY = "#0072B2", "#D55E00", "#009E73", "0.55"
# More rows than this are not drawn one below the other; more groups have no labels.
ROWS, _NAMED = 30, 8
# Violations below are drawn here: they do not matter, and zero has no logarithm.
_SMALLEST = 1e-4
# Letters of a name of which two fit beside each other.
_NARROW = 26


def _axes(ax: Any, size: tuple[float, float] = (6.4, 4.0)) -> Any:
    if ax is None:
        try:
            from matplotlib import pyplot
        except ImportError as error:
            raise ImportError(
                'Plots need matplotlib, which is not installed: pip install "robuststat[plot]"'
            ) from error
        ax = pyplot.subplots(figsize=size, layout="constrained")[1]
    ax.grid(color="0.92", linewidth=0.8)
    ax.set_axisbelow(True)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    return ax


def plot_ball(coef: pd.DataFrame, centre: Array, radius: float, words: str, ax: Any) -> Any:
    """Coefficients of the environments, two at a time, and the ball of a certificate.

    Parameters
    ----------
    coef : DataFrame of shape (K, 2)
        Two coefficients of each environment.
    centre : ndarray of shape (2,)
        Centre of the ball in these coefficients.
    radius : float
        Radius; the shadow of a ball on two axes has that of the ball.
    words : str
        What the ball is.
    ax : matplotlib Axes or None
        Where to draw.
    """
    ax = _axes(ax, (5.4, 5.0))
    angle = np.linspace(0.0, 2 * np.pi, 400)
    circle = centre[:, None] + radius * np.vstack([np.cos(angle), np.sin(angle)])
    ax.fill(*circle, color=_BLUE, alpha=0.08, linewidth=0)
    ax.plot(*circle, color=_BLUE, linewidth=1.2, label=words)
    ax.plot(*coef.to_numpy().T, "o", color=_RED, markersize=5, alpha=0.75, label="environments")
    ax.plot(*centre, "+", color="black", markersize=11, label="common coefficients")
    if len(coef) <= _NAMED:
        for level, (a, b) in zip(coef.index, coef.to_numpy(), strict=True):
            ax.annotate(str(level), (a, b), xytext=(5, 4), textcoords="offset points", color="0.35")
    # The ball is one in the units of the coefficients.
    ax.set_aspect("equal")
    ax.set_xlabel(coef.columns[0])
    ax.set_ylabel(coef.columns[1])
    ax.legend(frameon=False, loc="lower left", bbox_to_anchor=(0.0, 1.0))
    return ax


def plot_interval(
    table: pd.DataFrame, name: str, band: tuple[float, float, str] | None, ax: Any
) -> Any:
    """One coefficient by environment with its interval, and the ball as a band.

    Parameters
    ----------
    table : DataFrame
        ``term estimate conf_low conf_high``, one row an environment.
    name : str
        Coefficient.
    band : tuple (centre, radius, words) or None
        Ball on this coefficient.
    ax : matplotlib Axes or None
        Where to draw.
    """
    shown = table
    if len(table) > ROWS:
        # Evenly spaced environments of the ordered ones, the two ends among them.
        order = np.argsort(table["estimate"].to_numpy(), kind="stable")
        shown = table.iloc[order[np.linspace(0, len(order) - 1, ROWS).round().astype(int)]]
    ax = coefplot(shown, null=None, xlabel=name, ax=ax)
    if band is None:
        return ax
    centre, radius, words = band
    ax.axvspan(centre - radius, centre + radius, color=_BLUE, alpha=0.08, zorder=0, label=words)
    ax.axvline(centre, color=_BLUE, linewidth=0.9, zorder=1)
    low, high = ax.get_xlim()
    ax.set_xlim(min(low, centre - 1.1 * radius), max(high, centre + 1.1 * radius))
    ax.legend(frameon=False, loc="lower left", bbox_to_anchor=(0.0, 1.0))
    return ax


def plot_without(table: pd.DataFrame, psi: float, eps: float, ax: Any) -> Any:
    """Psi of all but one environment, for the environments that matter most."""
    far = np.abs(table["psi_without"].to_numpy() - psi)
    order = np.sort(np.argsort(-far, kind="stable")[:ROWS])
    shown = table.iloc[order]
    ax = _axes(ax, (6.4, 1.2 + 0.26 * len(shown)))
    rows = np.arange(len(shown))
    ax.hlines(rows, psi, shown["psi_without"], color=_BLUE, linewidth=1.4)
    ax.plot(shown["psi_without"], rows, "o", color=_BLUE)
    ax.axvline(psi, color="black", linewidth=0.9, label="all environments")
    ax.axvline(eps, color=_GREY, linewidth=0.9, linestyle=(0, (4, 3)), label=f"eps = {eps:g}")
    ax.set_yticks(rows, [str(v) for v in shown["env"]])
    ax.set_ylim(len(shown) - 0.5, -0.5)
    ax.set_xlabel("psi without the environment, share of the noise variance")
    ax.legend(frameon=False, loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=2)
    return ax


def plot_residuals(resid: Array, codes: IntArray, levels: Sequence[Any], ax: Any) -> Any:
    """Boxes of the residuals of the common fit by environment."""
    ax = _axes(ax, (6.4, 1.2 + 0.3 * min(len(levels), ROWS)))
    groups = [resid[codes == e] for e in range(len(levels))]
    chosen = list(range(len(levels)))
    if len(levels) > ROWS:
        middle = np.argsort([np.median(g) for g in groups], kind="stable")
        chosen = middle[np.linspace(0, len(middle) - 1, ROWS).round().astype(int)].tolist()
    ax.boxplot(
        [groups[e] for e in chosen],
        orientation="horizontal",
        widths=0.6,
        flierprops={"markersize": 2, "alpha": 0.4},
        medianprops={"color": _RED},
    )
    ax.axvline(0.0, color=_GREY, linewidth=0.9, linestyle=(0, (4, 3)))
    ax.set_yticks([i + 1 for i in range(len(chosen))], [str(levels[e]) for e in chosen])
    ax.invert_yaxis()
    ax.set_xlabel("Residual of the common fit, unit of y")
    return ax


def plot_sets(
    psi: Array, p_value: Array, size: IntArray, known: BoolArray, alpha: float, eps: float, ax: Any
) -> Any:
    """Scatter of -log10 p against psi, with the level and the tolerance as lines."""
    ax = _axes(ax)
    strength = -np.log10(np.maximum(p_value[known], 1e-300))
    at = np.maximum(psi[known], _SMALLEST)
    points = ax.scatter(at, strength, c=size[known], s=14, cmap="viridis", zorder=2)
    bar = ax.figure.colorbar(points, ax=ax, label="Variables in the set")
    bar.locator = _whole_numbers()
    bar.update_ticks()
    # Linear up to p = .01, where it matters whether a set is accepted, then logarithmic.
    ax.set_yscale("symlog", linthresh=2.0)
    ax.yaxis.set_major_formatter("{x:g}")
    ax.set_ylim(-0.1, max(3.0, 1.5 * float(strength.max(initial=0.0))))
    ax.set_xscale("log")
    ax.xaxis.set_major_formatter("{x:g}")
    ends = np.append(at, eps if eps > 0 else at[:1])
    ax.xaxis.set_minor_formatter("{x:g}" if ends.max() < 10 * ends.min() else "")
    ax.axhline(-np.log10(alpha), linewidth=0.9, color="black", label=f"p = {alpha:g}")
    if eps > 0:
        ax.axvline(eps, linewidth=0.9, ls=(0, (4, 3)), color="black", label=f"psi = {eps:g}")
    ax.set_xlabel(f"psi, share of the noise variance (at least {_SMALLEST:g})")
    ax.set_ylabel("−log10 p of exact invariance")
    ax.legend(frameon=False, loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=2)
    return ax


def _whole_numbers() -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(integer=True)


def frontier(psi: Array, error: Array) -> IntArray:
    """Positions of the sets that no other one beats in both psi and error, by psi."""
    order = np.lexsort((error, psi))
    order = order[~np.isnan(error[order]) & ~np.isnan(psi[order])]
    best = np.minimum.accumulate(error[order])
    kept = np.concatenate([[True], best[1:] < best[:-1]]) if len(order) else np.zeros(0, bool)
    return np.asarray(order[kept], dtype=np.int64)


def _short(name: str, limit: int = 64) -> str:
    """Name of a set, cut when it is long."""
    if len(name) <= limit:
        return name
    inside = name[1:-1].split(", ")
    kept = [word for i, word in enumerate(inside) if len(", ".join(inside[: i + 1])) < limit - 12]
    return "{" + ", ".join(kept) + f", … ({len(inside)})" + "}"


def plot_frontier(psi: Array, error: Array, name: Callable[[int], str], eps: float, ax: Any) -> Any:
    """Error on environments left out against psi, and the sets that are not beaten in both.

    Parameters
    ----------
    psi, error : ndarray of shape (S,)
        Violation and mean squared error of every set; NaN where unknown.
    name : callable
        Position of a set -> its name.
    eps : float
        Tolerated violation.
    ax : matplotlib Axes or None
        Where to draw.
    """
    edge = frontier(psi, error)
    known = ~np.isnan(psi) & ~np.isnan(error)
    shown = (
        edge if len(edge) < _NAMED else edge[np.linspace(0, len(edge) - 1, _NAMED - 1).astype(int)]
    )
    ax = scatterplot(
        np.maximum(psi[known], _SMALLEST),
        error[known],
        marks={_short(name(int(i))): (max(psi[i], _SMALLEST), error[i]) for i in shown},
        xlabel="psi, share of the noise variance",
        ylabel="Mean squared error, left out",
        ax=_axes(ax, (6.4, 4.8)),
    )
    names = [text.get_text() for text in ax.get_legend().get_texts()]
    wide = 1 if max(map(len, names), default=0) > _NARROW else 2
    ax.legend(frameon=False, loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=wide)
    ax.step(np.maximum(psi[edge], _SMALLEST), error[edge], where="post", color="0.35", lw=0.9)
    if eps > 0:
        ax.axvline(eps, linewidth=0.9, linestyle=(0, (4, 3)), color="black")
        across = ax.get_xaxis_transform()
        ax.text(eps, 0.98, f"eps = {eps:g} ", transform=across, color="0.35", va="top", ha="right")
    return ax


def plot_eta(n_env: int, n_free: int, delta: float, candidates: int, eta: float, ax: Any) -> Any:
    """Share of new environments that a certificate leaves outside, against environments seen.

    Parameters
    ----------
    n_env : int
        Environments of the certificate, marked.
    n_free : int
        Unknowns of the smallest ball.
    delta : float
        Chance that the statement is false.
    candidates : int
        Representations searched.
    eta : float
        Of the certificate.
    ax : matplotlib Axes or None
        Where to draw.
    """
    ax = _axes(ax)
    top = max(200, 2 * n_env)
    m = np.unique(np.geomspace(2, top, 200).round().astype(int))
    share = delta / candidates
    ball = [eta_scenario(int(v), n_free, share) for v in m]
    fixed = [eta_fixed(int(v), 0, share) for v in m]
    ax.plot(m, ball, color=_BLUE, label=f"smallest ball, {n_free} unknowns")
    ax.plot(m, fixed, color=_GREEN, linestyle="--", label="ball fixed beforehand, none outside")
    ax.plot([n_env], [eta], "o", color=_RED, markersize=8, zorder=3, label="this certificate")
    ax.set_xscale("log")
    ax.set_xticks([v for v in (2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000) if v <= top])
    ax.xaxis.set_major_formatter("{x:,.0f}")
    ax.xaxis.set_minor_formatter("")
    ax.set_ylim(0.0, 1.0)
    ax.set_xlabel("Environments seen")
    ax.set_ylabel(f"Bound of the share outside (confidence {100 * (1 - delta):g} %)")
    ax.legend(frameon=False)
    return ax
