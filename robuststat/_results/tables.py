"""Tables of a fit: tidy, glance, intervals, summary, LaTeX, plot and the maketables protocol."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from robuststat import plot, report
from robuststat._core.errors import ParameterError
from robuststat._results import intervals
from robuststat._results.estimates import Estimates

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["INTERCEPT", "TabulatedEstimates", "check_level"]

INTERCEPT = "(Intercept)"


def check_level(level: float) -> None:
    if not isinstance(level, Real) or not 0 < level < 1:
        raise ParameterError(
            f"level must lie strictly between 0 and 1, got {level!r}. Use e.g. 0.95."
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class TabulatedEstimates(Estimates):
    """The tables of :class:`robuststat.result.InferenceResult`; adds no field.

    Parameters are documented there.
    """

    def tidy(
        self, conf_int: bool = True, level: float = 0.95, exponentiate: bool = False
    ) -> pd.DataFrame:
        """Return one row for each coefficient.

        Parameters
        ----------
        conf_int : bool, default=True
            Whether to add ``conf_low`` and ``conf_high``.
        level : float, default=0.95
            Confidence level.
        exponentiate : bool, default=False
            Report exp(estimate) with exp(interval), e.g. odds ratios; ``std_error`` by the delta
            method; ``statistic`` and ``p_value`` still test the coefficient itself against zero.

        Returns
        -------
        DataFrame
            ``term estimate std_error statistic p_value conf_low conf_high``, then ``component``,
            ``outcome`` and ``df`` where they are set.

        Raises
        ------
        ParameterError
            If ``level`` is not inside (0, 1).

        Examples
        --------
        >>> from robuststat.result import InferenceResult
        >>> res = InferenceResult(estimate=[0.0], vcov=[[0.01]], names=["x"], n_obs=9)
        >>> res.tidy(exponentiate=True).round(3).loc[0, "conf_high"]
        np.float64(1.217)
        """
        limits = self.confint(level).to_numpy()
        columns: dict[str, Any] = {
            "term": list(self.names),
            "estimate": self.estimate,
            "std_error": self.std_error,
            "statistic": self.statistic,
            "p_value": self.p_value,
            "conf_low": limits[:, 0],
            "conf_high": limits[:, 1],
        }
        if exponentiate:
            with np.errstate(over="ignore", invalid="ignore"):
                for name in ("estimate", "conf_low", "conf_high"):
                    columns[name] = np.exp(columns[name])
                columns["std_error"] = columns["estimate"] * columns["std_error"]
        if not conf_int:
            del columns["conf_low"], columns["conf_high"]
        if self.component is not None:
            columns["component"] = list(self.component)
        if self.outcomes is not None:
            columns["outcome"] = list(self.outcomes)
        if math.isfinite(self.df):
            columns["df"] = self.df
        return pd.DataFrame(columns)

    def glance(self) -> pd.DataFrame:
        """Return one row that describes the fit.

        Returns
        -------
        DataFrame
            ``n_obs n_dropped n_clusters df vcov_type converged``, then ``n_iter`` and the entries
            of ``diagnostics["glance"]``.

        Examples
        --------
        >>> from robuststat.result import InferenceResult
        >>> res = InferenceResult(estimate=[0.0], vcov=[[1.0]], names=["x"], n_obs=9)
        >>> res.glance()[["n_obs", "df", "vcov_type", "converged"]]
           n_obs   df vcov_type  converged
        0      9  inf       HC0       True
        """
        notes = self.diagnostics
        columns: dict[str, Any] = {
            "n_obs": [int(self.n_obs)],
            "n_dropped": [int(notes.get("n_dropped", 0))],
            "n_clusters": pd.array([self.n_clusters], dtype="Int64"),
            "df": [self.df],
            "vcov_type": [self.vcov_type],
            "converged": [bool(notes.get("converged", True))],
        }
        if "n_iter" in notes:
            columns["n_iter"] = [int(notes["n_iter"])]
        columns |= {name: [value] for name, value in notes.get("glance", {}).items()}
        return pd.DataFrame(columns)

    def confint(
        self,
        level: float = 0.95,
        kind: Literal["pointwise", "simultaneous"] = "pointwise",
        random_state: int | np.random.Generator | None = None,
    ) -> pd.DataFrame:
        """Return confidence limits.

        Parameters
        ----------
        level : float, default=0.95
            Confidence level; for ``"simultaneous"`` of all intervals together.
        kind : {"pointwise", "simultaneous"}
            ``"simultaneous"`` is the max-t band over all coefficients, or Bonferroni's where
            their covariances are not known.
        random_state : int, Generator or None
            Quasi-random points of the band; None repeats exactly. Without effect on pointwise
            limits, which need no random numbers.

        Returns
        -------
        DataFrame
            ``conf_low conf_high``, indexed by term.

        Raises
        ------
        ParameterError
            If ``level`` or ``kind`` has a value that is not allowed.

        Examples
        --------
        >>> from robuststat.result import InferenceResult
        >>> res = InferenceResult(estimate=[0.0, 1.0], vcov=np.eye(2), names=["a", "b"], n_obs=9)
        >>> (
        ...     res.confint().round(2).loc["a", "conf_high"],
        ...     res.confint(kind="simultaneous").round(2).loc["a", "conf_high"],
        ... )
        (np.float64(1.96), np.float64(2.24))
        """
        check_level(level)
        if kind == "pointwise":
            c = intervals.critical_value(level, self.df)
        elif kind == "simultaneous" and self.vcov.ndim == 1:
            c = intervals.critical_value(1 - (1 - level) / max(len(self.names), 1), self.df)
        elif kind == "simultaneous":
            c = intervals.simultaneous_critical_value(self.vcov, level, self.df, random_state)
        else:
            raise ParameterError(f"kind must be 'pointwise' or 'simultaneous', got {kind!r}.")
        half = c * self.std_error
        index = pd.Index(self.labels, name="term")
        limits = {"conf_low": self.estimate - half, "conf_high": self.estimate + half}
        return pd.DataFrame(limits, index=index)

    def summary(
        self, level: float = 0.95, stars: bool = True, exponentiate: bool = False
    ) -> report.Summary:
        """Return the summary in the manner of R; it prints itself in a console or notebook.

        Parameters
        ----------
        level : float, default=0.95
            Confidence level of the interval columns.
        stars : bool, default=True
            Whether to show significance codes.
        exponentiate : bool, default=False
            As in :meth:`tidy`.

        Returns
        -------
        Summary

        Raises
        ------
        ParameterError
            If ``level`` is not inside (0, 1).

        Examples
        --------
        >>> from robuststat.result import InferenceResult
        >>> res = InferenceResult(
        ...     estimate=[1.25], vcov=[[0.01]], names=["mean"], n_obs=9, method="Mean", outcome="y"
        ... )
        >>> print(res.summary(stars=False))
        Mean
        Outcome: y    Observations: 9
        Standard errors: heteroskedasticity-robust (HC0), normal
        <BLANKLINE>
                Estimate Std. Error  z value  Pr(>|z|)  2.5 %  97.5 %
        mean       1.250      0.100    12.50   < 2e-16   1.05    1.45
        """
        frame = self.tidy(level=level, exponentiate=exponentiate)
        return report.Summary(
            header=tuple(_header(self)),
            leading=tuple(self.diagnostics.get("leading", ())),
            footer=tuple(_footer(self, exponentiate)),
            names=self.names,
            columns=tuple(_columns(self, frame, level, stars, exponentiate)),
            blocks=tuple(_blocks(self)),
            stars=stars,
            tables={"coefficients": frame, "glance": self.glance()},
        )

    def _repr_html_(self) -> str:
        return self.summary()._repr_html_()

    def to_html(self, level: float = 0.95, stars: bool = True, exponentiate: bool = False) -> str:
        """Return :meth:`summary` as HTML; arguments as there.

        Returns
        -------
        str
        """
        return self.summary(level, stars, exponentiate)._repr_html_()

    def to_latex(
        self,
        level: float = 0.95,
        stars: bool = True,
        exponentiate: bool = False,
        caption: str | None = None,
        label: str | None = None,
    ) -> str:
        r"""Return the coefficient table as LaTeX.

        Parameters
        ----------
        level, stars, exponentiate
            As in :meth:`summary`.
        caption, label : str, optional
            Given either, the tabular is wrapped in a ``table`` environment.

        Returns
        -------
        str
            Needs ``\usepackage{booktabs}``.
        """
        frame = self.tidy(level=level, exponentiate=exponentiate)
        return report.latex_table(
            self.labels,
            _columns(self, frame, level, stars, exponentiate),
            caption=caption,
            label=label,
            note=_error_line(self) + f". Observations: {self.n_obs:,}.",
        )

    def plot(
        self,
        level: float = 0.95,
        exponentiate: bool = False,
        intercept: bool = False,
        truth: Mapping[str, float] | pd.Series | None = None,
        ax: Axes | None = None,
    ) -> Axes:
        """Draw the coefficients with their intervals (see :func:`robuststat.plot.coefplot`).

        Parameters
        ----------
        level : float, default=0.95
            Confidence level.
        exponentiate : bool, default=False
            As in :meth:`tidy`; the reference line is then at 1.
        intercept : bool, default=False
            Whether to draw the intercepts.
        truth : mapping or Series of str to float, optional
            True values to mark; that of an intercept that is not drawn is left out.
        ax : matplotlib Axes, optional
            Where to draw.

        Returns
        -------
        matplotlib Axes
        """
        frame = self.tidy(level=level, exponentiate=exponentiate)
        slopes = frame["term"] != INTERCEPT
        if not intercept and slopes.any():
            frame = frame[slopes]
            truth = (
                None if truth is None else {str(k): v for k, v in truth.items() if k != INTERCEPT}
            )
        what = "exp(estimate)" if exponentiate else "Estimate"
        return plot.coefplot(
            frame,
            truth=truth,
            null=1.0 if exponentiate else 0.0,
            xlabel=f"{what} and {100 * level:g} % interval",
            ax=ax,
        )

    @property
    def __maketables_coef_table__(self) -> pd.DataFrame:
        frame = self.tidy()
        frame.index = pd.Index(self.labels, name="Coefficient")
        columns = {
            "estimate": "b",
            "std_error": "se",
            "statistic": "t",
            "p_value": "p",
            "conf_low": "ci95l",
            "conf_high": "ci95u",
        }
        return frame[list(columns)].rename(columns=columns)

    def __maketables_stat__(self, key: str) -> Any:
        row = self.glance()
        name = {"N": "n_obs", "se_type": "vcov_type"}.get(key, key)
        return row[name].dropna().get(0) if name in row else None

    @property
    def __maketables_depvar__(self) -> str:
        return self.outcome or "Outcome"

    @property
    def __maketables_vcov_info__(self) -> dict[str, Any]:
        name = self.diagnostics.get("cluster_name")
        return {"vcov_type": self.vcov_type, "clustervar": name}

    @property
    def __maketables_default_stat_keys__(self) -> list[str]:
        extra = [key for key in ("n_labeled", "r2") if key in self.diagnostics.get("glance", {})]
        return ["N", *extra, "se_type"]

    @property
    def __maketables_stat_labels__(self) -> dict[str, str]:
        return {"n_labeled": "Labelled", "n_clusters": "Clusters", "n_dropped": "Dropped"}


def _header(result: Estimates) -> list[str]:
    notes = result.diagnostics
    lines = report.header_lines(
        call=result.call,
        method=result.method,
        estimand=result.estimand,
        outcome=result.outcome,
        n_obs=result.n_obs,
        n_dropped=notes.get("n_dropped", 0),
        n_dropped_by=notes.get("n_dropped_by"),
        counts=notes.get("counts"),
    )
    if not notes.get("converged", True):
        after = f" after {notes['n_iter']:,} iterations" if "n_iter" in notes else ""
        warning = f"NOT CONVERGED{after}: do not report the numbers below."
        lines = [warning, *lines]
    return [*lines, _error_line(result)]


def _error_line(result: Estimates) -> str:
    return report.error_line(
        vcov_type=result.vcov_type,
        n_clusters=result.n_clusters,
        cluster_name=result.diagnostics.get("cluster_name", ""),
        df=result.df,
        note=result.diagnostics.get("se_note", ""),
    )


def _footer(result: Estimates, exponentiate: bool) -> list[str]:
    notes = list(result.diagnostics.get("notes", ()))
    if exponentiate:
        kind = "t" if math.isfinite(result.df) else "z"
        notes.append(
            f"exponentiated; {kind} values and p-values test the coefficient itself against 0"
        )
    return report.footer_lines(
        lines=result.diagnostics.get("lines", ()),
        notes=notes,
        assumptions=result.diagnostics.get("assumptions", ()),
    )


def _blocks(result: Estimates) -> list[str]:
    parts = [part for part in (result.component, result.outcomes) if part is not None]
    if not parts:
        return [""] * len(result.names)
    return [", ".join(values) for values in zip(*parts, strict=True)]


def _columns(
    result: Estimates, frame: pd.DataFrame, level: float, stars: bool, exponentiate: bool
) -> list[report.Column]:
    return report.coefficient_columns(
        frame,
        level=level,
        statistic="t" if math.isfinite(result.df) else "z",
        stars=stars,
        estimate_label="exp(Est.)" if exponentiate else "Estimate",
    )
