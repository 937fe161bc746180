"""One analysis with and without expert labels, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import clone

from robuststat import plot as _plot
from robuststat._core.errors import ParameterError
from robuststat._core.formula import INTERCEPT
from robuststat._core.types import Array
from robuststat.report import Column, Summary, footer_lines, format_p
from robuststat.result import InferenceResult, WaldTest, compare
from robuststat.surrogate._fit import Estimate, Options, estimate, make_result
from robuststat.surrogate._learners import passthrough_prediction
from robuststat.surrogate._problem import Problem, moments_of
from robuststat.surrogate._scores import DesignAdjustedGLM
from robuststat.surrogate._solve import (
    RepetitionFit,
    VarianceSpec,
    aggregate,
    fit_repetition,
    influence_vcov,
)
from robuststat.surrogate._tuning import fit_tuned
from robuststat.surrogate._words import effective_labels

SURROGATE, GOLD, PREDICTION, PPI, DSL = (
    "surrogate only",
    "gold only",
    "prediction only",
    "PPI++",
    "DSL",
)


@dataclass(frozen=True, slots=True)
class Comparison:
    """What each way of using labels and surrogates says about the same coefficients.

    Attributes
    ----------
    results : dict of str to InferenceResult
        "surrogate only" takes the first surrogate for truth; "gold only" uses expert labels
        weighted by the design; "prediction only" takes the cross-fitted prediction for truth;
        "PPI++" corrects the first surrogate with a tuned weight; "DSL" is the estimator given.
    bias_test : WaldTest or None
        Is the surrogate-only answer unbiased? None without a surrogate of every predicted
        column.
    effective_labels : Series
        Expert labels that would be needed without surrogates for the precision of DSL, by term.
    notes : tuple of str
        What is missing, and why.

    Examples
    --------
    >>> from robuststat import DSLMean, compare_estimators
    >>> from robuststat.simulation import make_surrogate_prevalence
    >>> data = make_surrogate_prevalence(random_state=0)
    >>> est = DSLMean(learner="passthrough")
    >>> found = compare_estimators(est, None, data.y, prediction=data.prediction)
    >>> list(found.results)
    ['surrogate only', 'gold only', 'PPI++', 'DSL']
    """

    results: dict[str, InferenceResult]
    bias_test: WaldTest | None
    effective_labels: pd.Series
    notes: tuple[str, ...]

    @property
    def table(self) -> pd.DataFrame:
        """Tidy columns plus ``estimator``, at level .95."""
        return self.tidy()

    def tidy(self, level: float = 0.95) -> pd.DataFrame:
        """One row for each estimator and term.

        Parameters
        ----------
        level : float, default=0.95
            Confidence level.
        """
        return compare(self.results, level=level)

    def plot(
        self,
        truth: Any = None,
        *,
        estimators: Sequence[str] | None = None,
        intercept: bool = False,
        level: float = 0.95,
        ax: Any = None,
    ) -> Any:
        """Draw the intervals of the estimators side by side.

        Parameters
        ----------
        truth : mapping, Series or array, optional
            Known coefficients, marked in the plot; an array is in the order of the terms.
        estimators : sequence of str, optional
            Which to draw; all by default.
        intercept : bool, default=False
            Whether to draw the intercept.
        level : float, default=0.95
            Confidence level.
        ax : matplotlib Axes, optional
            Where to draw.

        Returns
        -------
        matplotlib Axes
        """
        chosen = list(self.results) if estimators is None else list(estimators)
        unknown = [name for name in chosen if name not in self.results]
        if unknown:
            raise ParameterError(
                f"estimators names {', '.join(unknown)}; there are {', '.join(self.results)}."
            )
        frame = compare({name: self.results[name] for name in chosen}, level=level)
        terms = list(self.effective_labels.index)
        marks = None
        if truth is not None:
            named = hasattr(truth, "keys")
            pairs = truth.items() if named else zip(terms, truth, strict=True)
            marks = {str(name): float(value) for name, value in pairs}
        if not intercept and len(terms) > 1:
            frame = frame[frame["term"] != INTERCEPT]
            marks = None if marks is None else {k: v for k, v in marks.items() if k != INTERCEPT}
        label = f"Estimate and {100 * level:g} % interval"
        return _plot.coefplot(frame, group="estimator", truth=marks, xlabel=label, ax=ax)

    def summary(self) -> Summary:
        """Return estimates with standard errors, bias test, and what the labels are worth."""
        columns = []
        for name, result in self.results.items():
            pairs = zip(result.estimate, result.std_error, strict=True)
            columns.append(Column(name, [f"{b:.3f} ({s:.3f})" for b, s in pairs], "  "))
        columns.append(Column("labels*", [_count(v) for v in self.effective_labels], "  "))
        footer = ["* expert labels that alone would be as precise as DSL"]
        if self.bias_test is not None:
            test = self.bias_test
            verdict = "is biased" if test.p_value < 0.05 else "shows no bias that these labels see"
            footer.append(
                f"Surrogate-only answer {verdict}: {test.distribution}({test.df}) = "
                f"{test.statistic:.2f}, p-value = {format_p(test.p_value)}"
            )
        terms = tuple(str(term) for term in self.effective_labels.index)
        return Summary(
            header=("Estimates (standard errors) of the same coefficients",),
            leading=(),
            footer=(*footer, *footer_lines(lines=(), notes=self.notes, assumptions=())),
            names=terms,
            columns=tuple(columns),
            blocks=("",) * len(terms),
            stars=False,
            tables={"estimates": self.table},
        )

    def _repr_html_(self) -> str:
        return self.summary()._repr_html_()

    def __str__(self) -> str:
        return str(self.summary())

    def __repr__(self) -> str:
        return str(self)


def _count(value: float) -> str:
    return f"{value:,.0f}" if np.isfinite(value) else ""


def compare_estimators(est: Any, X: Any, y: Any = None, **roles: Any) -> Comparison:
    """Fit the same model on surrogates only, expert labels only, and both.

    Parameters
    ----------
    est : DSLRegressor, DSLClassifier or DSLMean
        Says which model, learner and design; it is not changed.
    X, y, **roles
        As for ``est.fit``: ``prediction``, ``labeled``, ``sample_prob``, ``features``,
        ``strata``, ``psu``, ``sample_weight``, ``clusters``.

    Returns
    -------
    Comparison

    Raises
    ------
    ParameterError
        When ``est`` is not one of the three estimators.

    Notes
    -----
    The bias test compares the surrogate-only with the DSL coefficients as Hausman (1978) does,
    with the variance of their difference from the joint influence values, so that neither needs
    to be efficient.

    References
    ----------
    Hausman, J. A. (1978). Specification Tests in Econometrics. Econometrica 46(6), 1251-1271.

    Examples
    --------
    >>> from robuststat import DSLRegressor, compare_estimators
    >>> from robuststat.simulation import make_surrogate_linear
    >>> data = make_surrogate_linear(n=2000, n_labeled=300, random_state=0)
    >>> est = DSLRegressor(learner="ols", n_rep=2, random_state=0)
    >>> found = compare_estimators(est, data.X, data.y, prediction=data.prediction, features=data.X)
    >>> found.bias_test.p_value < 0.001
    True
    """
    if isinstance(est, type) or not hasattr(est, "_prepare"):
        raise ParameterError(
            "est must be a DSLRegressor, DSLClassifier or DSLMean instance; got "
            f"{est.__name__ if isinstance(est, type) else type(est).__name__}."
        )
    est = clone(est)
    if getattr(est, "absorb", None) is not None:
        raise ParameterError(
            "compare_estimators does not take absorb: PPI++ has no form with absorbed effects. Fit "
            "est itself; its design_effect_ compares it with expert labels alone."
        )
    problem, options = est._prepare(X, y, **roles)
    options = replace(options, keep_influence=True)
    found = estimate(problem, options)
    method, estimand = est._words(problem.data.outcome)
    main = make_result(problem, options, found, method=method, estimand=estimand, call="")
    results = {DSL: replace(main, influence=None)}
    notes: list[str] = []
    bias_test = None
    if found.gold is not None:
        results = {GOLD: _result(problem, found, found.gold, method="expert labels only")} | results
    else:
        notes.append("expert labels alone cannot carry this model")
    if not problem.labelling.complete and found.predictions.losses:
        fits = [
            _plug_in(problem, {c: p[r] for c, p in found.predictions.predictions.items()}, options)
            for r in range(found.predictions.fold_id.shape[0])
        ]
        results[PREDICTION] = _result(problem, found, *fits, method="predictions taken for truth")
    if set(problem.surrogates) == set(problem.targets) and not problem.labelling.complete:
        first = {
            name: passthrough_prediction(name, frame.iloc[:, [0]], problem.classes)
            for name, frame in problem.surrogates.items()
        }
        surrogate = _plug_in(problem, first, options)
        if surrogate.convergence.converged:
            results[SURROGATE] = _result(
                problem, found, surrogate, method="surrogate taken for truth"
            )
            bias_test = _bias_test(problem, found, surrogate)
        else:
            notes.append(f"surrogate only: {surrogate.convergence.message}")
        if found.gold is not None:  # the pilot of PPI++
            tuned = fit_tuned(
                moments_of(problem, first),
                found.spec,
                "scalar",
                tol=options.tol,
                max_iter=options.max_iter,
            )
            results[PPI] = _result(problem, found, tuned, method="PPI++ with the first surrogate")
        names = ", ".join(str(frame.columns[0]) for frame in problem.surrogates.values())
        notes.append(f"surrogate only and PPI++ use {names}; DSL uses all surrogates and features")
    ordered = {
        name: results[name] for name in (SURROGATE, GOLD, PREDICTION, PPI, DSL) if name in results
    }
    labels = effective_labels(found.effect, problem.labelling.n_labeled, problem.data.X.shape[0])
    effective = pd.Series(labels, index=list(problem.data.names), name="labels")
    return Comparison(ordered, bias_test, effective, tuple(notes))


def _result(
    problem: Problem, found: Estimate, *fits: RepetitionFit, method: str
) -> InferenceResult:
    theta, vcov = aggregate(list(fits))
    return InferenceResult(
        estimate=theta,
        vcov=vcov,
        names=problem.data.names,
        df=found.df,
        n_obs=problem.data.X.shape[0],
        vcov_type=found.vcov_type,
        method=method,
        outcome=problem.data.outcome,
        diagnostics={"converged": all(fit.convergence.converged for fit in fits)},
    )


def _plug_in(problem: Problem, columns: dict[str, Array], options: Options) -> RepetitionFit:
    """Ordinary fit that takes ``columns`` for truth, with robust variance."""
    moments = moments_of(problem, columns)
    plain = DesignAdjustedGLM(
        moments.family,
        moments.X_hat,
        moments.y_hat,
        moments.X_gold,
        moments.y_gold,
        moments.labelling,
        pseudo_outcome=moments.y_hat,
    )
    spec = VarianceSpec("robust", clusters=problem.data.clusters)
    return fit_repetition(plain, spec, tol=options.tol, max_iter=options.max_iter, influence=True)


def _bias_test(problem: Problem, found: Estimate, surrogate: RepetitionFit) -> WaldTest:
    """Wald test that surrogate-only and DSL coefficients agree."""
    n = problem.data.X.shape[0]
    # With a finite corpus the surrogate-only fit is a constant: only DSL varies.
    own: Any = 0.0 if found.spec.kind == "finite" else surrogate.influence
    gaps = []
    for fit in found.fits:
        assert fit.influence is not None
        vcov = influence_vcov(fit.influence - own, found.spec, n)
        gaps.append(replace(fit, theta=fit.theta - surrogate.theta, vcov=vcov))
    theta, vcov = aggregate(gaps)
    names = tuple(f"bias of {name}" for name in problem.data.names)
    gap = InferenceResult(estimate=theta, vcov=vcov, names=names, n_obs=n)
    return gap.wald_test(np.eye(theta.size))
