"""Plots of coefficients, curves and points; matplotlib is imported in the functions."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from robuststat._core.errors import DataError, ParameterError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["coefplot", "curveplot", "scatterplot"]

Array: TypeAlias = NDArray[np.float64]
# Okabe and Ito's colours, told apart with every common colour vision; the yellow is too pale.
_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
_MARKERS = ("o", "s", "D", "^", "v", "P", "X")
_NEEDED = ("term", "estimate", "conf_low", "conf_high")
_SPREAD = 0.62  # part of a row's height over which the groups are spread


def _pyplot() -> Any:
    try:
        from matplotlib import pyplot
    except ImportError as error:
        raise ImportError(
            'Plots need matplotlib, which is not installed: pip install "robuststat[plot]"'
        ) from error
    return pyplot


def _row_labels(frame: pd.DataFrame) -> list[str]:
    parts = [frame[name].astype(str) for name in ("component", "outcome") if name in frame]
    parts.append(frame["term"].astype(str))
    return [": ".join(values) for values in zip(*parts, strict=True)]


def _check(frame: pd.DataFrame, group: str | None, labels: list[str]) -> list[Hashable]:
    """Return the groups in order of appearance."""
    needed = [*_NEEDED, *([group] if group is not None else [])]
    missing = [name for name in needed if name not in frame]
    if missing:
        raise DataError(
            f"The frame has no column {', '.join(missing)}. Pass the frame of tidy() or compare()."
        )
    if len(frame) == 0:
        raise DataError("The frame has no rows, so there is nothing to draw.")
    groups = list(frame[group]) if group is not None else [""] * len(frame)
    pairs = pd.Series(list(zip(groups, labels, strict=True)))
    if pairs.duplicated().any():
        where, label = pairs[pairs.duplicated()].iloc[0]
        raise ParameterError(
            f"The term {label!r} occurs twice{f' in {where!r}' if group else ''}. "
            "Name the column that tells the rows apart in group=."
        )
    return list(dict.fromkeys(groups))


def _draw_group(
    ax: Axes, rows: pd.DataFrame, y: Array, limits: tuple[float, float], style: dict[str, Any]
) -> None:
    low, high = (rows[name].to_numpy(float) for name in ("conf_low", "conf_high"))
    color = style["color"]
    ax.hlines(
        y, np.clip(low, *limits), np.clip(high, *limits), color=color, linewidth=1.6, zorder=2
    )
    for bound, side, arrow in ((low, limits[0], "<"), (high, limits[1], ">")):
        # An interval without end is drawn to the edge with an arrow.
        open_end = np.isinf(bound)
        if open_end.any():
            ax.plot(
                np.full(int(open_end.sum()), side),
                y[open_end],
                arrow,
                color=color,
                markersize=6,
                clip_on=False,
            )
    ax.plot(
        rows["estimate"].to_numpy(float),
        y,
        linestyle="none",
        markersize=6,
        markeredgecolor="white",
        markeredgewidth=0.7,
        zorder=3,
        **style,
    )


def _limits(
    frame: pd.DataFrame, truth: Mapping[str, float], null: float | None
) -> tuple[float, float]:
    values = frame[["estimate", "conf_low", "conf_high"]].to_numpy(float).ravel()
    values = np.concatenate([values, list(truth.values()), [] if null is None else [null]])
    values = values[np.isfinite(values)]
    low, high = (values.min(), values.max()) if values.size else (0.0, 1.0)
    margin = 0.06 * (high - low) or 0.5
    return float(low - margin), float(high + margin)


def _decorate(ax: Axes, rows: list[str], null: float | None, xlabel: str, legend: bool) -> None:
    if null is not None:
        ax.axvline(null, color="0.55", linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
    # Fixed limits, so that the first term is on top and no marker touches the frame.
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.set_yticks(range(len(rows)), rows)
    ax.tick_params(axis="y", length=0, pad=9)
    ax.set_xlabel(xlabel)
    ax.grid(axis="x", color="0.92", linewidth=0.8)
    ax.set_axisbelow(True)
    for side in ("top", "right", "left"):
        ax.spines[side].set_visible(False)
    if legend:
        handles, _ = ax.get_legend_handles_labels()
        ax.legend(
            loc="lower left",
            bbox_to_anchor=(0.0, 1.0),
            ncols=min(4, len(handles)),
            frameon=False,
            borderaxespad=0.2,
            handletextpad=0.4,
            columnspacing=1.4,
        )


def coefplot(
    frame: pd.DataFrame,
    *,
    group: str | None = None,
    truth: Mapping[str, float] | pd.Series | None = None,
    null: float | None = 0.0,
    xlabel: str = "Estimate",
    ax: Axes | None = None,
) -> Axes:
    """Draw estimates with their intervals, one row a term.

    Parameters
    ----------
    frame : DataFrame
        Columns ``term estimate conf_low conf_high``, as from ``tidy()`` or ``compare()``; columns
        ``component`` and ``outcome`` become part of the row labels. Infinite limits are drawn as
        arrows, missing ones as a marker without interval.
    group : str, optional
        Column whose values are drawn side by side in different colours and markers (at most 7).
    truth : mapping or Series of str to float, optional
        Row label -> true value, drawn as a vertical tick across the row.
    null : float or None
        Position of the dashed reference line; None for no line.
    xlabel : str
        Label of the horizontal axis.
    ax : matplotlib Axes, optional
        Where to draw; by default a new figure of fitting height.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    DataError
        If a column is missing or there is no row.
    ParameterError
        If a term occurs twice, ``truth`` names an unknown row, or there are too many groups.

    Examples
    --------
    >>> frame = pd.DataFrame(
    ...     {"term": ["x"], "estimate": [1.0], "conf_low": [0.5], "conf_high": [1.5]}
    ... )
    >>> ax = coefplot(frame, truth={"x": 1.1})
    >>> [tick.get_text() for tick in ax.get_yticklabels()]
    ['x']
    """
    pyplot = _pyplot()
    labels = _row_labels(frame) if "term" in frame else []
    groups = _check(frame, group, labels)
    if len(groups) > len(_COLORS):
        raise ParameterError(
            f"{len(groups)} groups cannot be told apart in one plot (at most {len(_COLORS)}). "
            "Select some of them first."
        )
    rows = list(dict.fromkeys(labels))
    truth = {} if truth is None else dict(truth)
    unknown = [name for name in truth if name not in rows]
    if unknown:
        raise ParameterError(
            f"truth names {', '.join(unknown)}, but the rows are {', '.join(rows)}."
        )
    if ax is None:
        height = 1.0 + len(rows) * max(0.34, 0.19 * len(groups)) + (0.3 if len(groups) > 1 else 0.0)
        _, ax = pyplot.subplots(figsize=(6.4, height), layout="constrained")
    assert ax is not None  # for the type checker: pyplot is untyped
    limits = _limits(frame, truth, null)
    position = np.array([rows.index(label) for label in labels], dtype=np.float64)
    offsets = _SPREAD * ((np.arange(len(groups)) + 0.5) / len(groups) - 0.5)
    for i, name in enumerate(groups):
        chosen = np.ones(len(frame), bool) if group is None else (frame[group] == name).to_numpy()
        style = {"color": _COLORS[i], "marker": _MARKERS[i], "label": str(name)}
        _draw_group(ax, frame[chosen], position[chosen] + offsets[i], limits, style)
    if truth:
        y = np.array([rows.index(name) for name in truth], dtype=np.float64)
        ax.vlines(
            list(truth.values()), y - 0.4, y + 0.4, color="black", lw=1.8, zorder=1.5, label="Truth"
        )
    ax.set_xlim(limits)
    _decorate(ax, rows, null, xlabel, legend=group is not None or bool(truth))
    return ax


def curveplot(
    frame: pd.DataFrame,
    *,
    group: str,
    mark: float | None = None,
    mark_label: str = "",
    end_label: str = "",
    xlabel: str = "",
    ylabel: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw one curve a group on a logarithmic horizontal axis.

    Parameters
    ----------
    frame : DataFrame
        Columns ``x``, ``y`` and the one named by ``group``; x positive and ascending.
    group : str
        Column whose values (at most 7) are drawn in different colours and markers.
    mark : float, optional
        Value of x at which every curve gets a marker and the axis a vertical line.
    mark_label : str
        Words at that line.
    end_label : str
        Words at the dashed lines that show the last value of every curve; none without words.
    xlabel, ylabel : str
        Labels of the axes.
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
        If there are too many groups.

    Examples
    --------
    >>> frame = pd.DataFrame({"term": "x", "x": [10, 20, 40], "y": [0.3, 0.2, 0.15]})
    >>> curveplot(frame, group="term", mark=20, ylabel="Standard error").get_ylabel()
    'Standard error'
    """
    pyplot = _pyplot()
    groups = list(dict.fromkeys(frame[group]))
    if not 0 < len(groups) <= len(_COLORS):
        raise ParameterError(
            f"{len(groups)} groups cannot be drawn in one plot (1 to {len(_COLORS)}). Select some "
            "of them first."
        )
    if ax is None:
        _, ax = pyplot.subplots(figsize=(6.4, 4.0), layout="constrained")
    assert ax is not None  # for the type checker: pyplot is untyped
    for i, name in enumerate(groups):
        x, y = (frame.loc[frame[group] == name, key].to_numpy(float) for key in ("x", "y"))
        if end_label:
            ax.axhline(y[-1], color=_COLORS[i], linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
        marked: Any = None if mark is None else [int(np.abs(x - mark).argmin())]
        marker = "" if mark is None else _MARKERS[i]
        ax.plot(x, y, color=_COLORS[i], marker=marker, label=str(name), markevery=marked)
    ax.set_xscale("log")
    ax.xaxis.set_major_formatter("{x:,.0f}")
    ax.xaxis.set_minor_formatter("")
    low, high = frame["x"].min(), frame["x"].max()
    ticks = [b * 10.0**e for e in range(9) for b in (1, 2, 5) if low <= b * 10.0**e <= high]
    ax.set_xticks(ticks or [low, high])
    ax.set_ylim(bottom=0.0)
    across = ax.get_xaxis_transform()
    if mark is not None:
        ax.axvline(mark, color="0.55", linewidth=0.9, zorder=1)
        ax.text(mark, 0.02, f" {mark_label}", transform=across, color="0.35", fontsize="small")
    if end_label:
        lowest = min(frame.loc[frame[group] == name, "y"].iloc[-1] for name in groups)
        ax.annotate(
            f"dashed: {end_label}",
            (low, lowest),
            xytext=(0, -4),
            textcoords="offset points",
            color="0.35",
            fontsize="small",
            va="top",
        )
    ax.set_xlabel(xlabel)
    ax.set_ylabel(ylabel)
    ax.grid(color="0.92", linewidth=0.8)
    ax.set_axisbelow(True)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    ax.legend(frameon=False)
    return ax


def scatterplot(
    x: Array,
    y: Array,
    *,
    marks: Mapping[str, tuple[float, float]] | None = None,
    xlabel: str = "",
    ylabel: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw many points on a logarithmic horizontal axis, some of them marked.

    Parameters
    ----------
    x, y : ndarray of shape (n,)
        Coordinates. The vertical axis shows the middle 98 % of ``y`` and all marks; points outside
        are drawn as triangles at the edge, and counted.
    marks : mapping of str to (x, y), optional
        Words -> point (at most 7), drawn on top in different colours and markers.
    xlabel, ylabel : str
        Labels of the axes.
    ax : matplotlib Axes, optional
        Where to draw; by default a new figure.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    DataError
        If there are no points.
    ParameterError
        If there are too many marks.

    Examples
    --------
    >>> x, y = np.array([0.1, 1.0, 10.0]), np.array([1.0, 1.2, 3.0])
    >>> scatterplot(x, y, marks={"first": (0.1, 1.0)}, ylabel="Estimate").get_ylabel()
    'Estimate'
    """
    pyplot = _pyplot()
    marks = {} if marks is None else dict(marks)
    if len(x) == 0:
        raise DataError("There are no points, so there is nothing to draw.")
    if len(marks) > len(_COLORS):
        raise ParameterError(
            f"{len(marks)} marks cannot be told apart in one plot (at most {len(_COLORS)}). Select "
            "some of them first."
        )
    if ax is None:
        _, ax = pyplot.subplots(figsize=(6.4, 4.2), layout="constrained")
    assert ax is not None  # for the type checker: pyplot is untyped
    shown = [*np.quantile(y, [0.01, 0.99]), *(point[1] for point in marks.values())]
    margin = 0.08 * (max(shown) - min(shown)) or 0.5
    low, high = min(shown) - margin, max(shown) + margin
    # Zero has no logarithm: such points are drawn at the smallest positive value.
    positive = x[x > 0.0]
    floor = float(positive.min()) if positive.size else 1.0
    at = np.maximum(x, floor)
    inside = (y >= low) & (y <= high)
    dots: dict[str, Any] = {"color": "0.6", "linestyle": "none", "zorder": 1}
    dots["markersize"] = 7 if len(x) < 200 else 3
    ax.plot(at[inside], y[inside], ".", alpha=min(1.0, 60.0 / np.sqrt(len(x))), **dots)
    for outside, side, arrow in ((y > high, high, "^"), (y < low, low, "v")):
        ax.plot(at[outside], np.full(int(outside.sum()), side), arrow, clip_on=False, **dots)
    for (label, point), color, marker in zip(marks.items(), _COLORS, _MARKERS, strict=False):
        ax.plot(
            max(point[0], floor),
            point[1],
            linestyle="none",
            marker=marker,
            markersize=9,
            markeredgecolor="white",
            color=color,
            label=label,
            zorder=3,
        )
    ax.set_xscale("log")
    ax.xaxis.set_major_formatter("{x:g}")
    ax.xaxis.set_minor_formatter("{x:g}" if at.max() < 10.0 * at.min() else "")
    ax.set_ylim(low, high)
    n_outside = int((~inside).sum())
    ax.set_xlabel(xlabel if n_outside == 0 else f"{xlabel}; {n_outside:,} points off the scale")
    ax.set_ylabel(ylabel)
    ax.grid(color="0.92", linewidth=0.8)
    ax.set_axisbelow(True)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    if marks:
        ax.legend(frameon=False, loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=len(marks))
    return ax
