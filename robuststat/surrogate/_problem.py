"""From the rows of one call of ``fit`` to estimating equations: plain data, no estimator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from robuststat._core.crossfit import CrossFit, NuisanceTask, cross_fit, make_folds
from robuststat._core.data import RoleData
from robuststat._core.design import Shares
from robuststat._core.errors import (
    CollinearityError,
    DataError,
    ParameterError,
    warn,
)
from robuststat._core.linalg import collinear_columns
from robuststat._core.rng import check_rng
from robuststat._core.types import Array
from robuststat.surrogate._absorb import (
    Absorber,
    absorbed_moments,
    labelled_moments,
    make_absorber,
    within,
)
from robuststat.surrogate._labels import Labelling
from robuststat.surrogate._learners import (
    input_matrix,
    passthrough_prediction,
    resolve_learner,
    training_strata,
)
from robuststat.surrogate._models import MultinomialRows, RowModel, SeveralOutcomes, UserRows
from robuststat.surrogate._scores import DesignAdjusted, adjusted, design_gram
from robuststat.surrogate._targets import OUTCOME, Classes


@dataclass(frozen=True, slots=True)
class Problem:
    """Everything the estimating equations need except the predictions.

    Attributes
    ----------
    data : RoleData
        Rows, with numeric outcome.
    model : RowModel
        Scores of a row.
    labelling : Labelling
        Labels and weights.
    targets : dict of str to ndarray of shape (n,) or (n, C)
        Gold values of each predicted column (NaN where unknown), indicators of classes; a single
        outcome is called "y".
    surrogates : dict of str to DataFrame
        Surrogate columns of each predicted column.
    features : DataFrame or None
        Further inputs of the prediction functions.
    classes : dict of str to tuple
        Labels of the predicted columns that are classes.
    X_gold : ndarray of shape (n_labeled, k)
        Design of the labelled rows.
    gram : ndarray of shape (k, k) or None
        Gram matrix of the design when no covariate is predicted.
    transformed : bool
        Whether the outcome is more than a column, such as ``np.log(y)``, so that a surrogate of
        the column is on another scale.
    X : ndarray of shape (n, k)
        Design of all rows: ``data.X``, or what is left of it within absorbed groups when no
        covariate is predicted.
    absorber : Absorber or None
        Absorbed fixed effects.
    source : RowSource or None
        All rows, when those here are the labelled rows of a source read in chunks.
    """

    data: RoleData
    model: RowModel
    labelling: Labelling
    targets: dict[str, Array]
    surrogates: dict[str, pd.DataFrame]
    features: pd.DataFrame | None
    classes: Classes
    X_gold: Array
    gram: Array | None
    transformed: bool
    X: Array
    absorber: Absorber | None = None
    source: Any = None

    @property
    def n_params(self) -> int:
        """Coefficients and absorbed parameters."""
        absorbed = 0 if self.absorber is None else self.absorber.rank
        k = int(self.data.X.shape[1])
        # Several outcomes share rows, not parameters: each regression has k of its own.
        own = isinstance(self.model, MultinomialRows | UserRows)
        return (self.model.shape(k)[1] if own else k) + absorbed

    @property
    def outcomes(self) -> tuple[str, ...]:
        """Keys of the outcomes among the predicted columns."""
        return self.data.outcomes or (OUTCOME,)

    @property
    def covariates(self) -> tuple[str, ...]:
        """Predicted covariates."""
        return tuple(name for name in self.targets if name not in self.outcomes)

    @property
    def blocks(self) -> tuple[str, ...] | None:
        """Outcome or class of each block of coefficients; None when there is one block."""
        if isinstance(self.model, MultinomialRows):
            return tuple(str(value) for value in self.classes[OUTCOME][1:])
        if isinstance(self.model, SeveralOutcomes):
            return self.data.outcomes or tuple(str(value) for value in self.classes[OUTCOME])
        return None

    @property
    def terms(self) -> tuple[str, ...]:
        """Term of each parameter."""
        if isinstance(self.model, UserRows):
            return self.model.names
        return self.data.names * len(self.blocks or ("",))

    @property
    def term_blocks(self) -> tuple[str, ...] | None:
        """Block of each parameter."""
        if self.blocks is None:
            return None
        return tuple(block for block in self.blocks for _ in self.data.names)

    @property
    def labels(self) -> tuple[str, ...]:
        """Unique name of each parameter, as in the result."""
        if self.term_blocks is None:
            return self.terms
        return tuple(f"{b}:{t}" for b, t in zip(self.term_blocks, self.terms, strict=True))

    def response(self, values: Array) -> Array:
        """Outcome as the model takes it: a multinomial model has a baseline class."""
        return values[:, 1:] if isinstance(self.model, MultinomialRows) else values


def build_problem(
    data: RoleData,
    model: RowModel,
    labelling: Labelling,
    targets: dict[str, Array],
    surrogates: dict[str, pd.DataFrame],
    classes: Classes,
    transformed: bool = False,
    source: Any = None,
    gram: Array | None = None,
) -> Problem:
    """Check that the labels can carry the model and collect what does not change with g.

    Raises
    ------
    DataError
        When there are fewer labelled rows than coefficients plus one.
    CollinearityError
        When columns of the design are linearly dependent.
    """
    n_labeled, user = labelling.n_labeled, isinstance(model, UserRows)
    k = model.shape(data.X.shape[1])[1] if user else data.X.shape[1]
    if labelling.weights is not None:
        # A row of weight zero is as good as absent.
        n_labeled = int(np.count_nonzero(labelling.weights[labelling.rows]))
    if n_labeled < k + 1:
        raise DataError(
            f"{n_labeled} labelled rows (n_samples={labelling.n_rows}) cannot support {k} "
            f"coefficients; at least {k + 1} are needed. Label more rows or use fewer covariates."
        )
    X, absorber = data.X, None
    covariates = [name for name in targets if name not in (data.outcomes or (OUTCOME,))]
    if "absorb" in data.roles:
        if k == 0:
            raise ParameterError(
                f"absorb={list(data.roles['absorb'])} leaves no covariate to estimate the effect "
                "of. Add one to X or to the formula."
            )
        absorber = make_absorber(data.roles["absorb"], labelling.weights)
        X = X if covariates else within(absorber, X, data.names)
    X_gold = X[labelling.rows]
    # An overflow is found below, where it can be explained.
    with np.errstate(over="ignore", invalid="ignore"):
        if covariates:
            gram = None
        elif gram is None:
            gram = design_gram(X, labelling.weights)
        products = X_gold.T @ X_gold if gram is None else gram
    large = [data.names[j] for j in np.flatnonzero(~np.isfinite(np.diag(products)))]
    if large:
        raise DataError(
            f"The squares of {', '.join(large)} overflow. Rescale the column to moderate units."
        )
    # What a user's moments make of the columns is theirs to say.
    report = None if user else collinear_columns(products, data.names, gram=True)
    if report is not None and report.dependent:
        raise CollinearityError(f"The design is collinear: {report.message()}")
    features = data.roles.get("features")
    return Problem(
        data=data,
        model=model,
        labelling=labelling,
        targets=targets,
        surrogates=surrogates,
        features=features,
        classes=classes,
        X_gold=X_gold,
        gram=gram,
        transformed=transformed,
        X=X,
        absorber=absorber,
        source=source,
    )


def columns_without_labels(problem: Problem) -> tuple[str, ...]:
    """Find columns that vary, but not among labelled rows: a group that nobody labelled."""
    X = problem.data.X
    gold = X[problem.labelling.rows]
    if problem.source is not None:
        X = np.vstack([problem.source.low, problem.source.high])
    still = np.flatnonzero(np.ptp(gold, axis=0) == 0.0)
    return tuple(problem.data.names[j] for j in still if (X[:, j] != gold[0, j]).any())


def predict_columns(
    problem: Problem,
    learner: Any,
    *,
    cv: Any,
    n_rep: int,
    random_state: Any,
    n_jobs: int | None,
    verbose: int,
) -> CrossFit:
    """Predictions of every predicted column, by cross-fitting or as given (2.2)."""
    n = problem.data.X.shape[0]
    labelling = problem.labelling
    if isinstance(learner, str) and learner == "passthrough":
        return given_predictions(problem)
    tasks = nuisance_tasks(problem, learner)
    rng = check_rng(random_state)
    units = problem.data.clusters
    if units is None:
        units = problem.data.roles.get("psu")
    groups = None if units is None else units.codes
    strata = training_strata(labelling.labeled, problem.targets)
    splits, seeds = make_folds(
        n, cv, n_rep, rng, groups=groups, strata=strata, idle=~labelling.labeled
    )
    return cross_fit(tasks, splits, seeds, rng, n_jobs=n_jobs, verbose=verbose)


def nuisance_tasks(problem: Problem, learner: Any) -> list[NuisanceTask]:
    """List what is learnt: every predicted column, on the labelled rows."""
    labelling = problem.labelling
    inputs = input_matrix(problem.surrogates, problem.features, problem.classes)
    return [
        NuisanceTask(
            name,
            resolve_learner(learner, target[labelling.rows], labelling.n_labeled),
            inputs,
            target,
            labelling.labeled,
            labelling.weights,
        )
        for name, target in problem.targets.items()
    ]


def given_prediction(problem: Problem, name: str) -> Array:
    """Take the single surrogate of a column for its prediction."""
    ndim = problem.targets[name].ndim
    return passthrough_prediction(
        name, problem.surrogates[name], problem.classes.get(name), ndim=ndim
    )


def given_predictions(problem: Problem) -> CrossFit:
    """Surrogates of all predicted columns, taken as they are: one repetition, no folds."""
    return without_folds({name: given_prediction(problem, name) for name in problem.targets})


def without_folds(values: dict[str, Array]) -> CrossFit:
    """Values of the predicted columns that nothing was fitted for, as one repetition."""
    n = len(next(iter(values.values())))
    one_fold = np.zeros((1, n), dtype=np.int64)
    return CrossFit(
        {name: part[None] for name, part in values.items()},
        one_fold,
        {},
        np.zeros(1, dtype=np.int64),
    )


def moments_of(problem: Problem, predictions: dict[str, Array]) -> DesignAdjusted:
    """Estimating equations for one set of predictions (n,) or (n, C) of the predicted columns."""
    data, labelling = problem.data, problem.labelling
    rows = labelling.rows
    y_hat = problem.response(outcome_values(problem, predictions))
    y_gold = problem.response(np.asarray(data.y, dtype=np.float64)[rows])
    X_hat = problem.X
    if problem.covariates:
        X_hat = filled_design(data, replacements(problem.covariates, problem.classes, predictions))
    moments = adjusted(
        problem.model,
        X_hat,
        y_hat,
        problem.X_gold,
        y_gold,
        labelling,
        outcome_only=not problem.covariates,
        gram=problem.gram,
    )
    if problem.absorber is None:
        return moments
    return absorbed_moments(problem.absorber, moments, data.names)


def outcome_values(problem: Problem, predictions: dict[str, Array]) -> Array:
    """Outcome(s) with predictions where they are predicted, of shape (n,) or (n, m)."""
    if not problem.data.outcomes:
        return np.asarray(predictions.get(OUTCOME, problem.data.y))
    columns = [
        predictions.get(name, problem.data.y[:, j]) for j, name in enumerate(problem.outcomes)
    ]
    return np.column_stack(columns)


def replacements(
    names: Sequence[str], classes: Classes, predictions: dict[str, Array]
) -> dict[str, Any]:
    """Predicted covariates as ``RoleData.rebuild`` takes them."""
    return {
        name: Shares(classes[name], predictions[name]) if name in classes else predictions[name]
        for name in names
    }


def filled_design(data: RoleData, replacement: dict[str, Any]) -> Array:
    """Design with predictions in place of the predicted covariates."""
    X_hat = data.rebuild(replacement)
    if not np.isfinite(X_hat.sum()):
        bad = [data.names[j] for j in np.flatnonzero(~np.isfinite(X_hat).all(axis=0))]
        count = int((~np.isfinite(X_hat).all(axis=1)).sum())
        raise DataError(
            f"The term {', '.join(map(repr, bad))} is not finite in {count} rows when "
            f"{', '.join(replacement)} is replaced by its prediction. Use a term that is "
            "defined for every prediction, or transform the column before."
        )
    return X_hat


def gold_moments(problem: Problem, moments: DesignAdjusted) -> DesignAdjusted | None:
    """Moments to fit expert labels alone; None when they cannot carry the absorbed effects."""
    if problem.absorber is None:
        return moments
    return labelled_moments(problem.absorber, moments, problem.data.X, problem.data.y)


def warn_complete(labelling: Labelling) -> None:
    """Say that surrogates play no part when every row is labelled."""
    if labelling.complete:
        warn(
            f"All {labelling.n_rows} rows are labelled: the predictions are not used and "
            "the result is that of the ordinary regression with robust standard errors."
        )
