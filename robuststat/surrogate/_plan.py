"""How many labels, and which rows: planning from a fitted estimator."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pandas as pd
from sklearn.utils.validation import check_is_fitted

from robuststat import plot as _plot
from robuststat._core.errors import ParameterError
from robuststat._core.formula import INTERCEPT
from robuststat._core.params import in_range, one_of
from robuststat._core.types import Array
from robuststat.surrogate._allocation import (
    allocation_problem,
    neyman_probabilities,
    second_moments,
)
from robuststat.surrogate._fit import predictions_of
from robuststat.surrogate._goals import (
    Goal,
    cheapest_numbers,
    check_value,
    is_reached,
    label_number,
    largest_error,
    make_goal,
    power_of,
    refuse,
    smallest,
)
from robuststat.surrogate._planning_parts import PlanParts, r_errors

Method = Literal["psd", "r"]


class LabelPlan:
    """What more expert labels would buy, how many are needed, and which rows to choose.

    A fitted estimator tells how much of its variance comes from labelling only some rows.

    Parameters
    ----------
    est : DSLRegressor, DSLClassifier, DSLMean or DSLMoment
        Fitted on some labels, for instance a pilot.

    Attributes
    ----------
    n_obs, n_labeled : int
        Rows and expert labels of the fit.
    terms : tuple of str
        Names of the coefficients.

    See Also
    --------
    draw_wave : Labels in waves, each chosen with what earlier ones taught.

    Notes
    -----
    With m the score of the expert row, delta = m - mhat, and pi' = min(1, c pi) with the planned
    number as their sum, the variance has the meat

    avg w m m' + avg w (1 - pi')/pi' (delta - centre)(delta - centre)',

    which is never negative, agrees on average with the standard error of ``variance="design"`` at
    today's number (single fits differ by some per cent), and at n labels is that of full labelling.
    ``method="r"`` is the formula of the R package dsl. The median is taken over repetitions.
    With clusters or ``psu``, m enters by their sums; labels are drawn row by row. With
    ``population="finite"`` only the second term remains. Predictions are taken to stay as good as
    they are. Fits remember sums by probability: exactly up to 50 values, otherwise by quantiles.

    References
    ----------
    Egami, N., Hinck, M., Stewart, B. M. and Wei, H. (2023). Using Imperfect Surrogates for
    Downstream Inference: Design-based Supervised Learning. NeurIPS 36.

    Neyman, J. (1934). On the Two Different Aspects of the Representative Method. JRSS 97(4).

    Examples
    --------
    >>> from robuststat import DSLRegressor, LabelPlan
    >>> from robuststat.simulation import make_surrogate_linear
    >>> data = make_surrogate_linear(n=2000, n_labeled=200, random_state=0)
    >>> est = DSLRegressor(learner="ols", n_rep=2, random_state=0)
    >>> _ = est.fit(data.X, data.y, prediction=data.prediction, features=data.X)
    >>> plan = LabelPlan(est)
    >>> plan.std_error([200, 400, 2000]).round(3)
                  200    400    2000
    (Intercept)  0.037  0.029  0.022
    x1           0.034  0.027  0.019
    x2           0.035  0.028  0.020
    x3           0.039  0.031  0.022
    >>> plan.labels_needed(coef="x1", se=0.03)
    289
    """

    def __init__(self, est: Any) -> None:
        if isinstance(est, type) or not hasattr(est, "_prepare"):
            raise ParameterError(
                "est must be a fitted DSLRegressor, DSLClassifier, DSLMean or DSLMoment; got "
                f"{est.__name__ if isinstance(est, type) else type(est).__name__}."
            )
        check_is_fitted(est, "result_")
        if est._plan_parts is None:
            raise ParameterError(
                "LabelPlan does not take absorb: with other labels the projection on the absorbed "
                "groups changes as well. Plan on the model with a few group covariates instead."
            )
        self._est = est
        self._parts: PlanParts = est._plan_parts
        self.terms: tuple[str, ...] = tuple(est.result_.labels)
        self.n_obs = self._parts.n_obs
        self.n_labeled = self._parts.n_labeled

    def __repr__(self) -> str:
        return (
            f"LabelPlan({self.n_labeled:,} of {self.n_obs:,} rows labelled; "
            f"terms: {', '.join(self.terms)})"
        )

    def std_error(self, n_labels: Any, *, method: Method = "psd") -> pd.Series | pd.DataFrame:
        """Predict the standard errors to expect with other numbers of labels.

        Parameters
        ----------
        n_labels : int or sequence of int
            Numbers of labels in all, from the number of coefficients plus one to n.
        method : {"psd", "r"}, default="psd"
            "r" is the formula of R dsl. Where its variance is negative, the last valid standard
            error (of today's and smaller numbers asked for) is scaled by the root of n', as in R.

        Returns
        -------
        Series or DataFrame
            By term; a frame has one column for each number of labels.
        """
        check_value("method", method, one_of("psd", "r"))
        scalar = np.ndim(n_labels) == 0
        numbers = [self._number(value) for value in np.atleast_1d(np.asarray(n_labels)).tolist()]
        if not numbers:
            raise ParameterError("n_labels is empty. Give at least one number of labels.")
        if method == "r":
            columns = r_errors(self._parts, numbers)
        else:
            columns = [np.sqrt(self._parts.variance(value)) for value in numbers]
        if scalar:
            return pd.Series(columns[0], index=list(self.terms), name="std_error")
        return pd.DataFrame(np.column_stack(columns), index=list(self.terms), columns=numbers)

    def power(
        self,
        n_labels: Any,
        *,
        coef: str,
        effect: float | None = None,
        level: float = 0.95,
        method: Method = "psd",
    ) -> float | pd.Series:
        """Chance that the two-sided test of one coefficient rejects zero.

        Parameters
        ----------
        n_labels : int or sequence of int
            Numbers of labels in all.
        coef : str
            Term.
        effect : float, optional
            True coefficient; the estimate by default. Better the smallest effect that matters.
        level : float, default=0.95
            Confidence level of the test.
        method : {"psd", "r"}, default="psd"
            See :meth:`std_error`.

        Returns
        -------
        float or Series
            Normal approximation; a Series is indexed by the number of labels.
        """
        position = self._position(coef)
        goal = self._goal(coef, None, 0.5, effect, level)
        errors = self.std_error(n_labels, method=method)
        if isinstance(errors, pd.Series):
            return float(power_of(errors.iloc[position], goal))
        row = errors.iloc[position]
        return pd.Series(power_of(row.to_numpy(), goal), index=row.index, name="power")

    def labels_needed(
        self,
        *,
        coef: str,
        se: float | None = None,
        power: float | None = None,
        effect: float | None = None,
        level: float = 0.95,
    ) -> int:
        """Smallest number of labels that reaches a standard error or a power.

        Parameters
        ----------
        coef : str
            Term.
        se : float, optional
            Largest standard error wanted. Give this or ``power``.
        power : float, optional
            Smallest power wanted, in (0, 1).
        effect : float, optional
            True coefficient for ``power``; the estimate by default.
        level : float, default=0.95
            Confidence level of the test.

        Returns
        -------
        int
            Labels in all, today's included.

        Raises
        ------
        ParameterError
            "not reachable ..." when labelling every row is not enough (a ValueError).
        """
        position = self._position(coef)
        goal = self._goal(coef, se, power, effect, level)

        def reached(n_labels: int) -> bool:
            return is_reached(np.sqrt(self._parts.variance(n_labels)[position]), goal)

        if not reached(self.n_obs):
            refuse(coef, self._parts.variance(self.n_obs)[position] ** 0.5, self.n_obs, goal)
        return smallest(reached, len(self.terms) + 1, self.n_obs)

    def cheapest(
        self,
        *,
        coef: str,
        cost_label: float,
        cost_row: float,
        se: float | None = None,
        power: float | None = None,
        effect: float | None = None,
        level: float = 0.95,
    ) -> pd.Series:
        """Least cost for a goal when rows can be bought as well as labels.

        Parameters
        ----------
        coef : str
            Term.
        cost_label : float
            Price of an expert label.
        cost_row : float
            Price of a row with its surrogate (collecting it, running the machine).
        se, power, effect, level : float, optional
            As in :meth:`labels_needed`.

        Returns
        -------
        Series
            ``n_rows``, ``n_labels``, ``cost`` and ``std_error``; rows and labels in all.

        Notes
        -----
        New rows (clusters) come from the same population; probabilities are scaled by one constant.
        The variance is then a / n_rows + b / n_labels, and least cost for variance v means
        n_labels = (sqrt(a cost_row) + sqrt(b cost_label)) sqrt(b / cost_label) / v, n_rows likewise
        with a. Where that is more labels than rows, every row is labelled.
        """
        position = self._position(coef)
        for name, cost in (("cost_label", cost_label), ("cost_row", cost_row)):
            check_value(name, cost, in_range(0, np.inf, closed="neither"))
        if self._parts.finite:
            raise ParameterError(
                "cheapest buys new rows, but with population='finite' the rows are the whole "
                "population. Use labels_needed."
            )
        goal = self._goal(coef, se, power, effect, level)
        found = cheapest_numbers(
            self._parts.per_row(position),
            largest_error(goal, coef) ** 2,
            (cost_row, cost_label),
            len(self.terms) + 1,
        )
        return pd.Series(found, index=["n_rows", "n_labels", "cost", "std_error"], name=coef)

    def allocation(
        self,
        X: Any,
        y: Any = None,
        *,
        coef: str,
        n_labels: int,
        prediction: Any = None,
        floor: float = 0.1,
        **roles: Any,
    ) -> Array:
        """Labelling probabilities that make one coefficient as precise as possible.

        Parameters
        ----------
        X, y, prediction, **roles
            The rows, as for ``fit``; the fit itself keeps none. ``features`` are welcome also
            with ``learner="passthrough"``: they tell where the surrogate errs.
        coef : str
            Term.
        n_labels : int
            Expected number of labels: the probabilities sum to it.
        floor : float, default=0.1
            Share of uniform sampling mixed in: no probability is below ``floor * n_labels / n``.

        Returns
        -------
        ndarray of shape (n,)
            Probabilities in (0, 1], to draw labels with and to pass as ``sample_prob``.

        Notes
        -----
        Proportional to the root of E[(a'(m - mhat))^2] given surrogates, features and design
        (Neyman 1934), a the row of A^-1 of the coefficient. The expectation is learnt from the
        labelled rows by a Poisson model, boosted from 200 labels on. Those labels must not be
        counted as drawn with these probabilities: :func:`draw_wave` gives valid weights.
        """
        position = self._position(coef)
        check_value("floor", floor, in_range(0, 1))
        problem, options = allocation_problem(self._est, X, y, prediction=prediction, **roles)
        if problem.labels != self.terms:
            raise ParameterError(
                f"X has the terms {', '.join(problem.labels)}; the fit has "
                f"{', '.join(self.terms)}. Pass rows with the same columns."
            )
        predictions = predictions_of(problem, replace(options, n_rep=1))
        theta = np.asarray(self._est.result_.estimate)
        moments = second_moments(problem, options, predictions, theta, position)
        return neyman_probabilities(np.sqrt(moments), float(self._number(n_labels)), floor)

    def plot(
        self,
        *,
        coef: str | list[str] | None = None,
        quantity: Literal["std_error", "power"] = "std_error",
        effect: float | None = None,
        level: float = 0.95,
        ax: Any = None,
    ) -> Any:
        """Draw standard errors, or power, against the number of labels.

        Parameters
        ----------
        coef : str or list of str, optional
            Terms, at most 7; by default the first ones without the intercept.
        quantity : {"std_error", "power"}, default="std_error"
            What to draw; today's number is marked, dashed lines are for every row labelled.
        effect, level : float, optional
            For power, see :meth:`power`.
        ax : matplotlib Axes, optional
            Where to draw.

        Returns
        -------
        matplotlib Axes
        """
        check_value("quantity", quantity, one_of("std_error", "power"))
        slopes = [term for term in self.terms if term != INTERCEPT] or list(self.terms)
        chosen = slopes[:7] if coef is None else [coef] if isinstance(coef, str) else list(coef)
        low = max(len(self.terms) + 1, self.n_labeled // 4)
        grid = np.unique(np.geomspace(low, self.n_obs, 80).round().astype(int))
        grid = np.union1d(grid, [self.n_labeled])
        values = [
            self.power(grid, coef=term, effect=effect, level=level)
            if quantity == "power"
            else self.std_error(grid).iloc[self._position(term)]
            for term in chosen
        ]
        frame = pd.DataFrame(
            {"term": np.repeat(chosen, grid.size), "x": np.tile(grid, len(chosen))}
        )
        frame["y"] = np.concatenate([np.asarray(value, dtype=float) for value in values])
        return _plot.curveplot(
            frame,
            group="term",
            mark=float(self.n_labeled),
            mark_label=f"today: {self.n_labeled:,} labels",
            end_label="every row labelled",
            xlabel="Expert labels",
            ylabel="Standard error" if quantity == "std_error" else f"Power at level {level:g}",
            ax=ax,
        )

    def _number(self, value: Any) -> int:
        return label_number(value, len(self.terms) + 1, self.n_obs)

    def _position(self, coef: Any) -> int:
        if coef not in self.terms:
            raise ParameterError(f"coef is {coef!r}; the terms are {', '.join(self.terms)}.")
        return self.terms.index(coef)

    def _goal(
        self, coef: str, se: float | None, power: float | None, effect: Any, level: float
    ) -> Goal:
        position = self._position(coef)
        if effect is None:
            effect = float(self._est.result_.estimate[position])
        return make_goal(se, power, effect, level)
