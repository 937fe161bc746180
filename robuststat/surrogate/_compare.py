"""One analysis with and without expert labels, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import clone

from robuststat import plot as _plot
from robuststat._core.errors import DataError, ParameterError
from robuststat._core.formula import INTERCEPT
from robuststat._core.types import Array
from robuststat.report import Column, Summary, footer_lines, format_p
from robuststat.result import InferenceResult, WaldTest, compare
from robuststat.surrogate._fit import Estimate, estimate, make_result
from robuststat.surrogate._learners import holds_shares
from robuststat.surrogate._options import Options
from robuststat.surrogate._problem import Problem, given_prediction, moments_of
from robuststat.surrogate._scores import DesignAdjusted
from robuststat.surrogate._solve import (
    RepetitionFit,
    VarianceSpec,
    aggregate,
    fit_repetition,
    influence_vcov,
)
from robuststat.surrogate._tuning import fit_tuned
from robuststat.surrogate._words import SE_WORDS, effective_labels

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


def compare_estimators(
    est: Any,
    X: Any,
    y: Any = None,
    *,
    prediction: Any = None,
    labeled: Any = None,
    sample_prob: Any = None,
    features: Any = None,
    strata: Any = None,
    psu: Any = None,
    sample_weight: Any = None,
    clusters: Any = None,
) -> Comparison:
    """Fit the same model on surrogates only, expert labels only, and both.

    Parameters
    ----------
    est : DSLRegressor, DSLClassifier, DSLMean or DSLMoment
        Says which model, learner and design; it is not changed.
    X, y : array, frame or None
        As for ``est.fit``.
    prediction, labeled, sample_prob, features, strata, psu, sample_weight, clusters
        Roles, as for ``est.fit``.

    Returns
    -------
    Comparison

    Raises
    ------
    ParameterError
        When ``est`` is another estimator.

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
    est = _checked_clone(est)
    problem, options = est._prepare(
        X,
        y,
        prediction=prediction,
        labeled=labeled,
        sample_prob=sample_prob,
        features=features,
        strata=strata,
        psu=psu,
        sample_weight=sample_weight,
        clusters=clusters,
    )
    options = replace(options, keep_influence=True)
    found = estimate(problem, options)
    method, estimand = est._words(problem.data.outcome)
    main = make_result(problem, options, found, method=method, estimand=estimand, call="")
    results = {DSL: replace(main, influence=None)}
    notes: list[str] = []
    if found.gold is not None:
        results[GOLD] = _result(
            problem, found, found.gold, spec=found.spec, method="expert labels only"
        )
    else:
        notes.append("expert labels alone cannot carry this model")
    spec = replace(found.spec, kind="robust")
    if found.spec.kind == "finite":
        spec = replace(spec, groups=problem.data.clusters)
    if found.spec.kind == "finite":
        notes.append(
            "surrogate only and prediction only have standard errors for a superpopulation: in a "
            "finite corpus nothing about them is random"
        )
    if found.predictions.losses:
        columns = found.predictions.predictions
        fits = [
            _plug_in(problem, {c: p[r] for c, p in columns.items()}, spec, options)
            for r in range(found.predictions.fold_id.shape[0])
        ]
        results[PREDICTION] = _result(
            problem, found, *fits, spec=spec, method="predictions taken for truth"
        )
    bias_test = None
    if problem.transformed:
        notes.append(
            f"surrogate only and PPI++ are left out: the outcome is {problem.data.outcome}, and "
            "the surrogate may be on another scale"
        )
    elif set(problem.surrogates) == set(problem.targets):
        bias_test = _with_surrogates(problem, options, found, spec, results, notes)
    ordered = {
        name: results[name] for name in (SURROGATE, GOLD, PREDICTION, PPI, DSL) if name in results
    }
    labels = effective_labels(found.effect, problem.labelling.n_labeled, problem.data.X.shape[0])
    effective = pd.Series(labels, index=list(problem.labels), name="labels")
    return Comparison(ordered, bias_test, effective, tuple(notes))


def _checked_clone(est: Any) -> Any:
    if isinstance(est, type) or not hasattr(est, "_prepare"):
        raise ParameterError(
            "est must be a DSLRegressor, DSLClassifier, DSLMean or DSLMoment instance; got "
            f"{est.__name__ if isinstance(est, type) else type(est).__name__}."
        )
    if getattr(est, "absorb", None) is not None:
        raise ParameterError(
            "compare_estimators does not take absorb: PPI++ has no form with absorbed effects. Fit "
            "est itself; its design_effect_ compares it with expert labels alone."
        )
    return clone(est)


def _with_surrogates(
    problem: Problem,
    options: Options,
    found: Estimate,
    spec: VarianceSpec,
    results: dict[str, InferenceResult],
    notes: list[str],
) -> WaldTest | None:
    """Add the rows that use the first surrogate of each column; returns the bias test."""
    try:
        first = {
            name: given_prediction(replace(problem, surrogates=_first(problem, name)), name)
            for name in problem.surrogates
        }
    except (DataError, ParameterError) as error:  # a learner can use what is no prediction itself
        notes.append(f"surrogate only and PPI++ are left out: {error}")
        return None
    names = ", ".join(str(frame.columns[0]) for frame in problem.surrogates.values())
    used = "" if found.predictions.losses else ", as DSL does"
    notes.append(f"surrogate only and PPI++ use {names}{used}")
    moments = moments_of(problem, first)
    if moments.n_moments > moments.n_params:
        notes.append("PPI++ is left out: its tuning is for as many moments as parameters")
    elif found.gold is not None and not problem.labelling.complete:  # the pilot of PPI++
        tuned = fit_tuned(
            moments,
            found.spec,
            "scalar",
            tol=options.tol,
            max_iter=options.max_iter,
        )
        results[PPI] = _result(
            problem, found, tuned, spec=found.spec, method="PPI++ with the first surrogate"
        )
    surrogate = _plug_in(problem, first, spec, options)
    if not surrogate.convergence.converged:
        notes.append(f"surrogate only: {surrogate.convergence.message}")
        return None
    results[SURROGATE] = _result(
        problem, found, surrogate, spec=spec, method="surrogate taken for truth"
    )
    bias_test, left_out = _bias_test(problem, found, surrogate)
    if left_out:
        notes.append(
            f"the bias test leaves out {', '.join(left_out)}, where expert labels and surrogate "
            "cannot be told apart"
        )
    return bias_test


def _first(problem: Problem, name: str) -> dict[str, pd.DataFrame]:
    """First surrogate of a column, or all its columns when they are probabilities of classes."""
    frame = problem.surrogates[name]
    return {name: frame if holds_shares(frame, problem.classes.get(name)) else frame.iloc[:, [0]]}


def _result(
    problem: Problem, found: Estimate, *fits: RepetitionFit, spec: VarianceSpec, method: str
) -> InferenceResult:
    theta, vcov = aggregate(list(fits))
    grouped = spec.groups
    # Fits without labels keep a superpopulation variance when the corpus is finite.
    named_anew = spec.kind != found.spec.kind and found.spec.kind == "finite"
    return InferenceResult(
        estimate=theta,
        vcov=vcov,
        names=problem.terms,
        outcomes=problem.term_blocks,
        df=np.inf if named_anew else found.df,
        n_obs=problem.data.X.shape[0],
        vcov_type=("HC0" if grouped is None else "CR0") if named_anew else found.vcov_type,
        method=method,
        outcome=problem.data.outcome,
        n_clusters=None if grouped is None else len(grouped.levels),
        diagnostics={
            "converged": all(fit.convergence.converged for fit in fits),
            "counts": {"Labelled": problem.labelling.n_labeled},
            "cluster_name": problem.data.cluster_name,
            "se_note": SE_WORDS[spec.kind],
        },
    )


def _plug_in(
    problem: Problem, columns: dict[str, Array], spec: VarianceSpec, options: Options
) -> RepetitionFit:
    """Ordinary fit that takes ``columns`` for truth."""
    moments = moments_of(problem, columns)
    if moments.model.linear_in_outcome:
        plain = replace(moments, pseudo_outcome=moments.y_hat, gram=None)
    else:
        plain = _taken_for_gold(moments)
    return fit_repetition(plain, spec, tol=options.tol, max_iter=options.max_iter, influence=True)


def _taken_for_gold(moments: DesignAdjusted) -> DesignAdjusted:
    """Moments of an ordinary fit: every row counts as labelled, its prediction as the label."""
    n = moments.X_hat.shape[0]
    everyone = replace(
        moments.labelling,
        labeled=np.ones(n, dtype=bool),
        rows=np.arange(n),
        prob=np.broadcast_to(np.float64(1.0), (n,)),
        ratio=np.ones(n),
        strata=None,
        terms=None,
        known=True,
    )
    return replace(
        moments,
        X_gold=moments.X_hat,
        y_gold=moments.y_hat,
        labelling=everyone,
        tuning=0.0,
        pseudo_outcome=None,
    )


def _bias_test(
    problem: Problem, found: Estimate, surrogate: RepetitionFit
) -> tuple[WaldTest | None, list[str]]:
    """Wald test that surrogate-only and DSL coefficients agree, and the terms left out of it.

    A coefficient that no expert label informs is the same in both fits: nothing can be tested.
    """
    n = problem.data.X.shape[0]
    # With a finite corpus the surrogate-only fit is a constant: only DSL varies.
    own: Any = 0.0 if found.spec.kind == "finite" else surrogate.influence
    gaps = []
    for fit in found.fits:
        assert fit.influence is not None
        vcov = influence_vcov(fit.influence - own, found.spec, n)
        gaps.append(replace(fit, theta=fit.theta - surrogate.theta, vcov=vcov))
    theta, vcov = aggregate(gaps)
    scale = np.sqrt(np.maximum(np.diag(vcov), 0.0))
    tested = np.flatnonzero(scale > 1e-8 * np.sqrt(np.diag(found.vcov)))
    left_out = [name for j, name in enumerate(problem.labels) if j not in tested]
    if tested.size == 0:
        return None, left_out
    names = tuple(f"bias of {problem.labels[j]}" for j in tested)
    part = vcov[np.ix_(tested, tested)]
    gap = InferenceResult(estimate=theta[tested], vcov=part, names=names, n_obs=n)
    return gap.wald_test(np.eye(tested.size)), left_out
