"""What a search over subsets answers once it is fitted."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy import stats
from sklearn.utils.validation import check_is_fitted

from robuststat._core.errors import ParameterError
from robuststat._core.params import check_parameters, one_of
from robuststat._core.types import Array, BoolArray, IntArray
from robuststat._results.tables import check_level
from robuststat.invariance._intake import EnvEstimator
from robuststat.invariance._plots import plot_frontier, plot_sets
from robuststat.invariance._report import named_subset, search_summary
from robuststat.invariance._search import (
    SetTable,
    as_tuples,
    hitting_sets,
    intervals,
    members,
    minimal_sets,
)
from robuststat.report import Summary


class SearchResults(EnvEstimator):
    """Tables, families of sets, intervals and words of a fitted search."""

    alpha: float
    eps: float
    eps_rule: str
    ci_split: str
    stop_early: bool
    candidates_: tuple[int, ...]
    pvalues_: Array | None
    intersection_: tuple[int, ...] | None
    model_rejected_: bool
    _sets: SetTable
    _total: Array
    _unit: Array
    _scaled_obs: float
    _logit_limits: tuple[Array, Array] | None
    _n_flat_env: int

    def _level_of_tests(self, alpha: float) -> float:
        return alpha / 2 if self.ci_split == "strict" else alpha

    def _subset(self, mask: int) -> tuple[int, ...]:
        return tuple(self.candidates_[j] for j in members(mask, len(self.candidates_)))

    def _subsets(self, masks: IntArray) -> list[tuple[int, ...]]:
        found = as_tuples(masks, len(self.candidates_))
        return [tuple(self.candidates_[j] for j in one) for one in found]

    def _accepted(self, alpha: float) -> IntArray:
        table = self._sets
        return table.masks[table.tested & (np.nan_to_num(table.p_value) > alpha)]

    def _within_eps(self) -> BoolArray:
        table = self._sets
        if self.eps_rule == "equivalence":
            return table.equivalent
        return np.asarray(np.nan_to_num(table.psi, nan=np.inf) <= self.eps)

    @property
    def table_(self) -> pd.DataFrame:
        """One row a set, by size and then in the order of the columns."""
        check_is_fitted(self, "_sets")
        table = self._sets
        status = np.where(table.singular, "singular", np.where(table.tested, "ok", "not tested"))
        return pd.DataFrame(
            {
                "subset": pd.Series(self._subsets(table.masks), dtype=object),
                "size": table.size,
                "p_value": table.p_value,
                "psi": table.psi,
                "equivalent": table.equivalent,
                "variance_ratio": table.variance_ratio,
                "mse": table.mse,
                "mse_left_out": table.mse_left_out,
                "status": status,
            }
        )

    @property
    def accepted_(self) -> list[tuple[int, ...]]:
        """Sets whose invariance is not rejected."""
        check_is_fitted(self, "_sets")
        return self._subsets(self._accepted(self._level_of_tests(self.alpha)))

    @property
    def eps_invariant_(self) -> list[tuple[int, ...]]:
        """Sets within ``eps``."""
        check_is_fitted(self, "_sets")
        return self._subsets(self._sets.masks[self._within_eps()])

    @property
    def minimal_invariant_(self) -> list[tuple[int, ...]]:
        """Accepted sets without an accepted proper subset."""
        check_is_fitted(self, "_sets")
        return self._subsets(minimal_sets(self._accepted(self._level_of_tests(self.alpha))))

    @property
    def defining_sets_(self) -> list[tuple[int, ...]]:
        """Smallest sets of variables of which every accepted set has one."""
        check_is_fitted(self, "_sets")
        accepted = self._accepted(self._level_of_tests(self.alpha))
        return self._subsets(hitting_sets(accepted, len(self.candidates_)))

    def confint(self, level: float | None = None) -> pd.DataFrame:
        """Confidence intervals of the causal coefficients.

        The union over the accepted sets of the intervals of their pooled fits, and zero where an
        accepted set lacks the variable. Sets are accepted at 1 - ``level`` (half of it with
        ``ci_split="strict"``), the intervals have level 1 - (1 - ``level``)/2.

        Parameters
        ----------
        level : float, optional
            Joint level; 1 - ``alpha`` by default. Another one needs p-values that do not come from
            logit models, whose rows are gone.

        Returns
        -------
        DataFrame
            ``conf_low`` and ``conf_high`` (units of y per unit of x, log-odds per unit of x for
            logit models) by variable; NaN when the model is rejected and for variables that were
            not searched.

        Raises
        ------
        ParameterError
            After ``stop_early=True``, which leaves sets untested.
        """
        check_is_fitted(self, "_sets")
        if self.stop_early:
            raise ParameterError("Intervals need every set. Fit with stop_early=False.")
        alpha = self.alpha if level is None else 1.0 - level
        if level is not None:
            check_level(level)
        limits = np.full((len(self.names_), 2), np.nan)
        accepted = self._accepted(self._level_of_tests(alpha))
        if len(accepted):
            if self._logit_limits is None:
                z = float(stats.norm.ppf(1.0 - alpha / 4.0))
                found = intervals(accepted, self._total, self._scaled_obs, z, self._unit)
            elif level is None or np.isclose(level, 1.0 - self.alpha, rtol=0, atol=1e-12):
                found = self._logit_limits
            else:
                raise ParameterError(
                    f"Intervals of logit models are kept for level {1.0 - self.alpha:g} only. Fit "
                    f"with alpha={alpha:g}."
                )
            limits[list(self.candidates_)] = np.column_stack(found)
        return pd.DataFrame(
            limits, index=pd.Index(self.names_, name="term"), columns=["conf_low", "conf_high"]
        )

    def tidy(self, level: float | None = None) -> pd.DataFrame:
        """Return one row a variable.

        Parameters
        ----------
        level : float, optional
            Joint level of the intervals; 1 - ``alpha`` by default.

        Returns
        -------
        DataFrame
            ``term p_value conf_low conf_high`` and ``in_every_set``, whether every accepted set
            has the variable. p-values and intervals are NaN after ``stop_early=True``.
        """
        check_is_fitted(self, "_sets")
        p = len(self.names_)
        frame = pd.DataFrame({"term": list(self.names_)})
        frame["p_value"] = np.full(p, np.nan) if self.pvalues_ is None else self.pvalues_
        empty = np.full((p, 2), np.nan)
        limits = empty if self.stop_early else self.confint(level).to_numpy()
        frame["conf_low"], frame["conf_high"] = limits[:, 0], limits[:, 1]
        frame["in_every_set"] = [j in (self.intersection_ or ()) for j in range(p)]
        return frame

    def glance(self) -> pd.DataFrame:
        """Return one row for the whole search.

        Returns
        -------
        DataFrame
            ``n_obs n_dropped n_env n_sets n_accepted model_rejected``.
        """
        check_is_fitted(self, "_sets")
        about = self._about
        return pd.DataFrame(
            {
                "n_obs": [about["n_obs"]],
                "n_dropped": [about["n_dropped"]],
                "n_env": [len(about["levels"])],
                "n_sets": [len(self._sets.masks)],
                "n_accepted": [len(self._accepted(self._level_of_tests(self.alpha)))],
                "model_rejected": [self.model_rejected_],
            }
        )

    def summary(self) -> Summary:
        """Readable account of the search, with the assumptions behind it.

        Returns
        -------
        Summary
        """
        check_is_fitted(self, "_sets")
        return search_summary(self)

    def plot(self, kind: Literal["sets", "frontier"] = "sets", *, ax: Any = None) -> Any:
        """Scatter of all sets.

        Parameters
        ----------
        kind : {"sets", "frontier"}
            "sets": p-value of exact invariance against the size of the violation. "frontier":
            mean squared error on environments left out against the size of the violation, with
            the sets that no other one beats in both; the first and last of many are named.
        ax : matplotlib Axes, optional
            Where to draw.

        Returns
        -------
        matplotlib Axes

        Raises
        ------
        ParameterError
            For another kind.
        """
        check_is_fitted(self, "_sets")
        check_parameters("plot", {"kind": one_of("sets", "frontier")}, {"kind": kind})
        sets = self._sets
        if kind == "sets":
            level = self._level_of_tests(self.alpha)
            return plot_sets(sets.psi, sets.p_value, sets.size, sets.tested, level, self.eps, ax)
        return plot_frontier(
            sets.psi,
            sets.mse_left_out,
            lambda i: named_subset(self, self._subset(int(sets.masks[i]))),
            self.eps,
            ax,
        )
