"""Cells of coefficient tables: numbers, p-values and significance codes as text."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

__all__ = ["Column", "coefficient_columns", "format_p", "percent_header", "significance_stars"]

Array: TypeAlias = NDArray[np.float64]
_NUMERIC = frozenset({"estimate", "std_error", "statistic", "p_value", "conf_low", "conf_high"})
_TINY_P = float(np.finfo(np.float64).eps)


class Column(NamedTuple):
    """One printed column: header, cells and the text that separates it from its left neighbour."""

    header: str
    cells: list[str]
    gap: str


def format_p(p: float) -> str:
    """Write a p-value the way R does.

    Parameters
    ----------
    p : float
        Probability in [0, 1], or NaN.

    Returns
    -------
    str
        Three significant digits; ``"< 2e-16"`` below machine precision.

    Examples
    --------
    >>> [format_p(p) for p in (0.0, 1.04e-15, 0.0002, 0.0314, 0.738, 1.0)]
    ['< 2e-16', '1.04e-15', '0.000200', '0.0314', '0.738', '1.000']
    """
    if math.isnan(p):
        return "nan"
    if p < _TINY_P:
        return "< 2e-16"
    if p < 1e-4:
        return f"{p:.2e}"
    return f"{p:.{max(3, 2 - math.floor(math.log10(p)))}f}"


def significance_stars(p: float) -> str:
    """Return R's significance code of a p-value (``""`` above 0.1 and for NaN).

    Examples
    --------
    >>> [significance_stars(p) for p in (0.0004, 0.004, 0.04, 0.09, 0.4)]
    ['***', '**', '*', '.', '']
    """
    for bound, code in ((0.001, "***"), (0.01, "**"), (0.05, "*"), (0.1, ".")):
        if p <= bound:
            return code
    return ""


def _n_decimals(estimate: Array, std_error: Array) -> int | None:
    """Decimals of estimates and standard errors; None when only scientific notation is readable.

    The standard errors decide (two digits of the smallest, three of the largest), because a
    digit far below the noise tells nothing and an estimate may be near zero by chance.
    """
    size = std_error[np.isfinite(std_error) & (std_error > 0)]
    if size.size == 0:
        size = np.abs(estimate[np.isfinite(estimate) & (estimate != 0)]) / 10
    if size.size == 0:
        return 4
    low, high = math.floor(math.log10(size.min())), math.floor(math.log10(size.max()))
    decimals = max(0, 1 - low, 2 - high)
    largest = np.abs(np.concatenate([estimate, std_error]))
    whole = math.log10(max(1.0, float(largest[np.isfinite(largest)].max(initial=1.0))))
    return decimals if decimals <= 7 and decimals + whole < 11 else None


def _format_number(value: float, decimals: int | None) -> str:
    """Write with fixed ``decimals``; scientific if None or if only zeros would show."""
    if not math.isfinite(value):
        return str(value)
    if decimals is None:
        return f"{value:.3e}"
    text = f"{value:.{decimals}f}"
    if value != 0 and not any(digit in text for digit in "123456789"):
        return f"{value:.1e}"
    # A negative zero would print as "-0.00".
    return text if value != 0 else f"{0.0:.{decimals}f}"


def _format_statistic(value: float) -> str:
    return f"{value:.2f}" if not abs(value) >= 1e6 else f"{value:.3g}"


def percent_header(level: float) -> tuple[str, str]:
    """Return the headers of the interval limits, such as ``("2.5 %", "97.5 %")``."""
    tail = 50 * (1 - level)
    return f"{tail:.4g} %", f"{100 - tail:.6g} %"


def coefficient_columns(
    frame: pd.DataFrame,
    *,
    level: float,
    statistic: Literal["t", "z"],
    stars: bool,
    estimate_label: str = "Estimate",
) -> list[Column]:
    """Format a tidy frame into the columns that text, HTML and LaTeX share.

    Parameters
    ----------
    frame : DataFrame
        Columns ``term estimate std_error statistic p_value conf_low conf_high``.
    level : float
        Confidence level of the interval columns.
    statistic : {"t", "z"}
        Reference distribution, for the headers.
    stars : bool
        Whether a column of significance codes follows the p-values.
    estimate_label : str
        Header of the estimates.

    Returns
    -------
    list of Column
    """
    value = {name: frame[name].to_numpy(float) for name in frame.columns if name in _NUMERIC}
    decimals = _n_decimals(value["estimate"], value["std_error"])
    limits = None if decimals is None else max(0, decimals - 1)
    low, high = percent_header(level)

    def numbers(name: str, places: int | None) -> list[str]:
        return [_format_number(x, places) for x in value[name]]

    p = value["p_value"]
    columns = [
        Column(estimate_label, numbers("estimate", decimals), " " * 4),
        Column("Std. Error", numbers("std_error", decimals), " "),
        Column(f"{statistic} value", [_format_statistic(x) for x in value["statistic"]], "  "),
        Column(f"Pr(>|{statistic}|)", [format_p(x) for x in p], "  "),
    ]
    if stars:
        columns.append(Column("", [significance_stars(x).ljust(3) for x in p], " "))
    columns.append(Column(low, numbers("conf_low", limits), "  "))
    columns.append(Column(high, numbers("conf_high", limits), "  "))
    return columns
