"""The steps of a fit in order: labels, predictions, root and variance, result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from robuststat._core.crossfit import CrossFit
from robuststat._core.data import RoleData
from robuststat._core.errors import (
    CollinearityError,
    ConvergenceWarning,
    OverlapWarning,
    ParameterError,
    RoleError,
    warn,
)
from robuststat._core.linalg import collinear_columns
from robuststat._core.table import to_float
from robuststat._core.types import Array
from robuststat.result import InferenceResult
from robuststat.surrogate._absorb import (
    NOISE_LIMIT,
    absorb_lines,
    group_noise,
    noise_words,
    warn_projection,
)
from robuststat.surrogate._diagnostics import design_effect, gold_only
from robuststat.surrogate._labels import Labelling, make_labelling, read_labelled
from robuststat.surrogate._models import RowModel
from robuststat.surrogate._options import Options
from robuststat.surrogate._planning_parts import (
    PlanParts,
    bin_probabilities,
    join_parts,
    plan_parts,
)
from robuststat.surrogate._problem import (
    Problem,
    build_problem,
    columns_without_labels,
    gold_moments,
    moments_of,
    predict_columns,
    warn_complete,
    without_folds,
)
from robuststat.surrogate._scores import AdjustedMoments, DesignAdjusted
from robuststat.surrogate._solve import RepetitionFit, VarianceSpec, aggregate, fit_repetition
from robuststat.surrogate._targets import (
    OUTCOME,
    Classes,
    gold_values,
    known_rows,
    surrogates_by_column,
)
from robuststat.surrogate._tuning import fit_tuned
from robuststat.surrogate._variance import variance_spec
from robuststat.surrogate._words import (
    SE_WORDS,
    assumptions,
    effective_line,
    labelling_line,
    model_lines,
    prediction_line,
    tie_notes,
)


@dataclass(frozen=True, slots=True)
class Estimate:
    """Everything the result is made of.

    Attributes
    ----------
    theta, vcov : ndarray of shape (k,) and (k, k)
        Aggregated over repetitions.
    fits : list of RepetitionFit
        One a repetition.
    predictions : CrossFit
        Predictions behind them.
    spec : VarianceSpec
        Kind of variance.
    vcov_type : str
        Name of the variance for the summary.
    df : float
        Degrees of freedom.
    effect : ndarray of shape (k,)
        Design effect.
    gold : RepetitionFit or None
        Fit on expert labels alone.
    unlabelled_columns : tuple of str
        Columns of the design that do not vary among labelled rows.
    group_noise : float
        Share of a predicted covariate's variation within absorbed groups that is noise.
    plan : PlanParts or None
        Sums from which standard errors at other numbers of labels follow.
    """

    theta: Array
    vcov: Array
    fits: list[RepetitionFit]
    predictions: CrossFit
    spec: VarianceSpec
    vcov_type: str
    df: float
    effect: Array
    gold: RepetitionFit | None
    unlabelled_columns: tuple[str, ...]
    plan: PlanParts | None
    group_noise: float = 0.0


def read_problem(
    data: RoleData,
    model: RowModel,
    options: Options,
    prediction: Any,
    classes: Classes,
    transformed: bool = False,
) -> Problem:
    """Labels, probabilities and designs of the rows (2.1).

    Parameters
    ----------
    data : RoleData
        Rows with numeric outcome; roles resolved.
    model : RowModel
        Scores of a row.
    options : Options
        Constructor parameters.
    prediction : DataFrame, dict of DataFrame, or None
        The resolved role ``prediction``.
    classes : dict of str to tuple
        Labels of the outcome when it is a class, with the key "y".
    transformed : bool
        Whether the outcome is a transformation of a column.
    """
    refuse_unused(data, options)
    classes = dict(classes)
    predicted = tuple(prediction) if isinstance(prediction, dict) else (OUTCOME,)
    targets = gold_values(data, predicted, classes)
    labeled = read_labelled(
        data.roles.get("labeled"),
        {data.outcome if n == OUTCOME else n: known_rows(v) for n, v in targets.items()},
        data.X.shape[0],
    )
    labelling = make_labelling(
        labeled,
        prob=data.roles.get("sample_prob"),
        design=options.design,
        strata=data.roles.get("strata"),
        weights=data.weights,
        normalize=options.normalize_prob,
        terms=_probability_terms(data, options.prob_terms),
    )
    warn_complete(labelling)
    surrogates = surrogates_by_column(prediction)
    refuse_transformed(data, options, surrogates, transformed)
    return build_problem(data, model, labelling, targets, surrogates, classes, transformed)


def refuse_transformed(
    data: RoleData, options: Options, surrogates: dict[str, Any], transformed: bool
) -> None:
    """Refuse a surrogate of the column for an outcome on another scale."""
    passthrough = isinstance(options.learner, str) and options.learner == "passthrough"
    if transformed and passthrough and OUTCOME in surrogates:
        raise ParameterError(
            f"learner='passthrough' would take the surrogate for {data.outcome} as it is, which is "
            "right only if the machine predicted on that scale. Put the transformed outcome and "
            "its surrogate into the frame as columns, or use a learner."
        )


def refuse_unused(data: RoleData, options: Options) -> None:
    """Refuse roles and options that would have no effect: a silent one misleads."""
    roles = data.roles
    if "strata" in roles and options.design != "stratified" and "psu" not in roles:
        raise RoleError(
            f"strata are used with design='stratified' or with psu; design is {options.design!r}. "
            "Set design='stratified' if labels were drawn within strata, or leave strata out."
        )
    if options.prob_terms is not None and options.design == "stratified":
        raise ParameterError(
            "prob_terms and design='stratified' both determine the labelling probabilities. Leave "
            "prob_terms out, or use design='bernoulli' with indicators of the strata as terms."
        )
    passthrough = isinstance(options.learner, str) and options.learner == "passthrough"
    if "features" in roles and passthrough and options.prob_terms is None:
        raise ParameterError(
            "features have no effect with learner='passthrough', which takes the surrogate as it "
            "is. Leave features out, or choose a learner that can use them."
        )


def _probability_terms(data: RoleData, names: Any) -> Array | None:
    """Intercept and the named columns: terms of the model of the labelling probabilities."""
    if names is None:
        return None
    columns = [np.ones(data.X.shape[0])]
    features = data.roles.get("features")
    for name in names:
        if name in data.names:
            column = data.X[:, data.names.index(name)]
        elif features is not None and name in features:
            column = to_float(features[name], name)
        else:
            raise ParameterError(
                f"prob_terms names {name!r}, which is neither a column of the design "
                f"({', '.join(data.names)}) nor of features."
            )
        if np.isnan(column).any():
            raise ParameterError(
                f"prob_terms names {name!r}, which is not known for every row. Use columns that "
                "were observed before labelling."
            )
        columns.append(column)
    terms = np.column_stack(columns)
    report = collinear_columns(terms, ["the intercept of the model", *names])
    if report.dependent:
        raise CollinearityError(f"prob_terms are collinear: {report.message()}")
    return terms


def estimate(problem: Problem, options: Options) -> Estimate:
    """Cross-fit, solve every repetition, aggregate (2.2 to 2.9)."""
    labelling = problem.labelling
    spec, name, df = variance_spec(problem, options)
    bare = columns_without_labels(problem)
    if bare:
        warn(_unlabelled_words(bare) + ". Label some rows there.", OverlapWarning)
    if labelling.complete:
        # Weights are one everywhere: predictions cancel, so none are made.
        predictions = without_folds(problem.targets)
    elif problem.source is not None:
        predictions = problem.source.predict(problem, options)
    else:
        predictions = predictions_of(problem, options)
    fits: list[RepetitionFit] = []
    n_rep = predictions.fold_id.shape[0]
    moments: AdjustedMoments | None = None
    bins = bin_probabilities(labelling, n_rep * len(problem.terms))
    parts = []
    for r in range(n_rep):
        if problem.source is None:
            moments = moments_of(problem, {c: p[r] for c, p in predictions.predictions.items()})
        else:
            moments = problem.source.moments(problem, predictions, r)
        fits.append(_fit_once(moments, spec, options, fits[-1].theta if fits else None))
        if problem.absorber is None:
            parts.append(plan_parts(moments, fits[-1], spec, bins))
    assert moments is not None
    theta, vcov = aggregate(fits)
    labels: AdjustedMoments | None = moments
    noise = 0.0
    if problem.absorber is not None:
        assert isinstance(moments, DesignAdjusted)
        labels = gold_moments(problem, moments)
        noise = group_noise(problem.absorber, moments)
    gold = gold_only(labels, spec, options.tol, options.max_iter)
    effect = design_effect(gold, vcov)
    if noise > NOISE_LIMIT:
        warn(noise_words(noise) + ".")
    plan = join_parts(parts, labelling, bins, finite=spec.kind == "finite") if parts else None
    return Estimate(theta, vcov, fits, predictions, spec, name, df, effect, gold, bare, plan, noise)


def predictions_of(problem: Problem, options: Options) -> CrossFit:
    """Cross-fitted predictions with the options of an estimator (2.2)."""
    return predict_columns(
        problem,
        options.learner,
        cv=options.cv,
        n_rep=options.n_rep,
        random_state=options.random_state,
        n_jobs=options.n_jobs,
        verbose=options.verbose,
    )


def _fit_once(
    moments: AdjustedMoments, spec: VarianceSpec, options: Options, start: Array | None
) -> RepetitionFit:
    """Root and variance of one repetition, tuned when wanted and the predictions matter."""
    tol, max_iter = options.tol, options.max_iter
    if options.tuning is not None and not moments.labelling.complete:
        assert isinstance(moments, DesignAdjusted)
        return fit_tuned(
            moments,
            spec,
            options.tuning,
            tol=tol,
            max_iter=max_iter,
            influence=options.keep_influence,
        )
    return fit_repetition(
        moments,
        spec,
        start=start,
        tol=tol,
        max_iter=max_iter,
        influence=options.keep_influence,
    )


def make_result(
    problem: Problem, options: Options, found: Estimate, *, method: str, estimand: str, call: str
) -> InferenceResult:
    """Build the result object with everything the reader should know."""
    data, labelling = problem.data, problem.labelling
    converged = all(fit.convergence.converged for fit in found.fits)
    absorber = problem.absorber
    if not converged:
        failed = [fit.convergence for fit in found.fits if not fit.convergence.converged]
        warn(
            f"{len(failed)} of {len(found.fits)} fits did not converge: {failed[0].message}. The "
            "labels may separate the classes, or the columns need rescaling; do not use the "
            "estimates.",
            ConvergenceWarning,
        )
    if absorber is not None:
        warn_projection(absorber)
        converged = converged and absorber.converged
    lines = [] if absorber is None else absorb_lines(absorber, labelling)
    lines.append(labelling_line(labelling, options.design))
    if not labelling.complete:
        lines.append(prediction_line(problem, options.learner, found.predictions))
        effective = effective_line(found.effect, labelling.n_labeled, labelling.n_rows)
        lines += [] if effective is None else [effective]
    tests = [fit.overidentification for fit in found.fits if fit.overidentification]
    lines += model_lines(problem, tests)
    grouped = found.spec.groups
    influence = None
    if options.keep_influence:
        rows = [fit.influence for fit in found.fits if fit.influence is not None]
        influence = np.mean(rows, axis=0) if rows else None
    return InferenceResult(
        estimate=found.theta,
        vcov=found.vcov,
        names=problem.terms,
        outcomes=problem.term_blocks,
        df=found.df,
        n_obs=labelling.n_rows,
        n_clusters=None if grouped is None else len(grouped.levels),
        vcov_type=found.vcov_type,
        estimand=estimand,
        method=method,
        outcome=data.outcome,
        diagnostics={
            "n_dropped": data.n_dropped,
            "n_dropped_by": dict(data.n_dropped_by),
            "counts": {"Labelled": labelling.n_labeled},
            "cluster_name": data.cluster_name,
            "se_note": SE_WORDS[found.spec.kind],
            "lines": lines,
            "notes": _notes(data, labelling, options, found, problem.labels)
            + tie_notes(problem, found.fits[0].theta),
            "assumptions": assumptions(problem, found.spec),
            "converged": converged,
            "n_iter": max(fit.convergence.n_iter for fit in found.fits),
            "n_absorbed": 0 if absorber is None else absorber.rank,
            "n_params": problem.n_params,
            "glance": {"n_labeled": labelling.n_labeled, "n_rep": len(found.fits)},
        },
        influence=influence,
        call=call,
    )


def _unlabelled_words(columns: tuple[str, ...]) -> str:
    return (
        f"no expert label informs {', '.join(columns)}: it does not vary among labelled rows, so "
        "its coefficient rests on the predictions alone"
    )


def _notes(
    data: RoleData, labelling: Labelling, options: Options, found: Estimate, labels: Sequence[str]
) -> list[str]:
    notes = []
    if labelling.uneven and labelling.range[0] < 0.01:
        notes.append(
            f"labelling probabilities go down to {labelling.range[0]:.3g}; the "
            f"{labelling.n_labeled} labels are worth {labelling.effective:.0f} equally weighted "
            "ones"
        )
    if found.unlabelled_columns:
        notes.append(_unlabelled_words(found.unlabelled_columns))
    if found.group_noise > NOISE_LIMIT:
        notes.append(noise_words(found.group_noise))
    if np.isnan(found.effect).all() and not labelling.complete:
        notes.append("the expert labels alone cannot carry this model; no design effect")
    if not labelling.complete and np.nanmin(found.effect, initial=1.0) < 0.95:
        worst = int(np.nanargmin(found.effect))
        given = isinstance(options.learner, str) and options.learner == "passthrough"
        advice = {True: "use a learner or tuning='scalar'", False: "try tuning='scalar'"}[given]
        notes.append(
            "the predictions make some estimates less precise than expert labels alone (most: "
            f"{labels[worst]}, design effect {found.effect[worst]:.2f})"
            + ("" if options.tuning else f"; {advice}")
        )
    unused = [w for w, v in (("clusters", data.clusters), ("vcov", options.vcov)) if v is not None]
    if found.spec.kind == "finite" and unused:
        notes.append(
            f"{' and '.join(unused)} have no effect: with a finite corpus only the labelling is "
            "random"
        )
    if options.tuning is not None and not labelling.complete:
        notes.append(f"predictions weighted by tuning={options.tuning!r}")
    spread = np.array([fit.theta for fit in found.fits])
    if spread.shape[0] > 1:
        error = spread.std(axis=0, ddof=1) / np.sqrt(spread.shape[0])
        share = float(np.max(error / np.sqrt(np.maximum(np.diag(found.vcov), 1e-300))))
        if share > 0.1:
            notes.append(
                f"another random partition would move a coefficient by about {share:.2f} standard "
                f"errors; raise n_rep (now {spread.shape[0]})"
            )
    return notes
