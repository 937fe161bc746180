"""Pictures of the weights and of the learning batches; matplotlib is imported inside."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from robuststat import plot
from robuststat._core.errors import ParameterError
from robuststat.sampling._psis import khat_threshold

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_history", "plot_levels", "plot_weights"]

_BLUE, _ORANGE = "#0072B2", "#D55E00"
_PALETTE = (_BLUE, _ORANGE, "#009E73", "#CC79A7", "#E69F00", "#56B4E9")


def _axes(ax: Axes | None, height: float = 4.0) -> Any:
    if ax is not None:
        return ax
    return plot._pyplot().subplots(figsize=(6.4, height), layout="constrained")[1]


def _plain(ax: Axes) -> None:
    ax.grid(color="0.92", linewidth=0.8)
    ax.set_axisbelow(True)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)


def plot_weights(table: pd.DataFrame, n: int, ax: Axes | None = None) -> Axes:
    """Tail indices of f_j/q and abs(phi_j f_j/q), with the limit; effective sizes as text.

    Parameters
    ----------
    table : DataFrame
        ``diagnostics_`` of a fit, indexed by term.
    n : int
        Size of the final sample.
    ax : matplotlib Axes, optional
        Where to draw.

    Returns
    -------
    matplotlib Axes
    """
    J = len(table)
    ax = _axes(ax, 4.0 if J > 25 else 1.3 + 0.32 * J)
    position = np.arange(J)
    series = (
        ("khat_weights", _BLUE, "o", "weights f/q"),
        ("khat_values", _ORANGE, "D", "values |phi f/q|"),
    )
    limit = khat_threshold(n)
    many = J > 25
    for column, color, marker, label in series:
        k = np.maximum(table[column].to_numpy(float), -0.5)  # very light tails all look alike
        shift = 0.0 if many else (-0.13 if color == _BLUE else 0.13)  # both are seen where equal
        x, y = (position, k) if many else (k, position + shift)
        ax.plot(x, y, marker, color=color, label=label, markersize=4 if many else 6)
    line, words = (ax.axhline, ax.set_ylabel) if many else (ax.axvline, ax.set_xlabel)
    line(limit, color="0.35", linestyle=(0, (4, 3)), linewidth=1.0, label=f"limit {limit:.2f}")
    words("Tail index k-hat")
    if many:
        ax.set_xlabel("Expectation")
    else:
        names = [
            f"{name} (ESS {ess:,.0f})" for name, ess in zip(table.index, table["ess"], strict=True)
        ]
        ax.set_yticks(position, names)
        ax.set_ylim(J - 0.5, -0.5)
    _plain(ax)
    ax.legend(frameon=False, loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=3, fontsize="small")
    return ax


def plot_history(history: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Predicted loss of spending the rest of the budget, after every learning batch.

    Parameters
    ----------
    history : DataFrame
        ``history_`` of a fit.
    ax : matplotlib Axes, optional
        Where to draw.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    ParameterError
        If nothing was learnt.
    """
    rows = history[history["batch"] > 0]
    if not len(rows):
        raise ParameterError("Nothing was learnt in this fit, so there is no history to draw.")
    ax = _axes(ax)
    used = [rows["used"].iloc[0] - rows["n"].iloc[0], *rows["used"]]
    loss = [rows["loss_before"].iloc[0], *rows["loss_after"]]
    ax.plot(used, loss, "o-", color=_BLUE, markersize=5)
    if not rows["kept"].iloc[-1]:
        ax.plot(used[-1], loss[-1], "X", color=_ORANGE, markersize=9, label="not kept")
        ax.legend(frameon=False)
    ax.set_yscale("log")
    ax.xaxis.set_major_formatter("{x:,.0f}")
    ax.set_xlabel("Model runs used")
    ax.set_ylabel("Predicted loss of the final sample")
    _plain(ax)
    return ax


def plot_levels(history: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Level of every event, on the scale of its output, after each learning batch.

    Parameters
    ----------
    history : DataFrame
        ``history_`` of a fit with columns ``level[...]``.
    ax : matplotlib Axes, optional
        Where to draw.

    Returns
    -------
    matplotlib Axes
    """
    ax = _axes(ax)
    rows = history[history["batch"] > 0]
    columns = [name for name in map(str, history) if name.startswith("level[")]
    many = len(columns) > len(_PALETTE)
    for position, column in enumerate(columns):
        color = "0.5" if many else _PALETTE[position]
        label = None if many else column.removeprefix("level[").removesuffix("]")
        ax.plot(rows["used"], rows[column], "o-", color=color, markersize=4, label=label)
    ax.xaxis.set_major_formatter("{x:,.0f}")
    ax.set_xlabel("Model runs used")
    ax.set_ylabel("Level of the output")
    _plain(ax)
    if not many:
        ax.legend(frameon=False, fontsize="small")
    return ax


def plot_indices(table: pd.DataFrame, moment: str, ax: Axes | None = None) -> Axes:
    """Perturbed-law indices against delta, a line an input, with bands.

    Parameters
    ----------
    table : DataFrame
        ``input delta index conf_low conf_high``.
    moment : {"mean", "variance"}
        What was moved.
    ax : matplotlib Axes, optional
        Where to draw.

    Returns
    -------
    matplotlib Axes
    """
    ax = _axes(ax)
    for position, (name, rows) in enumerate(table.groupby("input", sort=False)):
        origin = pd.DataFrame({"delta": [0.0], "index": 0.0, "conf_low": 0.0, "conf_high": 0.0})
        rows = pd.concat([rows[list(origin)], origin]).sort_values("delta")
        color, style = _PALETTE[position % 6], ("-", "--", ":")[position // 6 % 3]
        x = rows["delta"].to_numpy()
        ax.fill_between(x, rows["conf_low"], rows["conf_high"], color=color, alpha=0.15, lw=0)
        ax.plot(x, rows["index"], "o" + style, color=color, markersize=4, label=str(name))
    ax.axhline(0.0, color="0.35", linewidth=0.8)
    unit = (
        "Mean moved by (standard deviations)" if moment == "mean" else "Variance moved by (share)"
    )
    ax.set_xlabel(unit)
    ax.set_ylabel("Perturbed-law index")
    _plain(ax)
    ax.legend(frameon=False, fontsize="small", loc="center left", bbox_to_anchor=(1.0, 0.5))
    return ax
