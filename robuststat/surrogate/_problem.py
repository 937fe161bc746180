"""From the rows of one call of ``fit`` to estimating equations: plain data, no estimator."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from robuststat._core.crossfit import CrossFit, NuisanceTask, cross_fit, make_folds
from robuststat._core.data import RoleData
from robuststat._core.errors import (
    CollinearityError,
    DataError,
    ParameterError,
    RoleError,
    warn,
)
from robuststat._core.glm import GLMFamily
from robuststat._core.linalg import collinear_columns
from robuststat._core.rng import check_rng
from robuststat._core.table import to_float
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
from robuststat.surrogate._scores import DesignAdjustedGLM, design_gram, outcome_moments

OUTCOME = "y"

_LABEL_TYPES = (pd.StringDtype, pd.CategoricalDtype)


@dataclass(frozen=True, slots=True)
class Problem:
    """Everything the estimating equations need except the predictions.

    Attributes
    ----------
    data : RoleData
        Rows, with numeric outcome.
    family : GLMFamily
        Model.
    labelling : Labelling
        Labels and weights.
    targets : dict of str to ndarray of shape (n,)
        Gold values of each predicted column (NaN where unknown); the outcome is called "y".
    surrogates : dict of str to DataFrame
        Surrogate columns of each predicted column.
    features : DataFrame or None
        Further inputs of the prediction functions.
    classes : tuple or None
        The two labels of a classifier's outcome.
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
    """

    data: RoleData
    family: GLMFamily
    labelling: Labelling
    targets: dict[str, Array]
    surrogates: dict[str, pd.DataFrame]
    features: pd.DataFrame | None
    classes: tuple[Any, ...] | None
    X_gold: Array
    gram: Array | None
    transformed: bool
    X: Array
    absorber: Absorber | None = None

    @property
    def n_params(self) -> int:
        """Coefficients and absorbed parameters."""
        absorbed = 0 if self.absorber is None else self.absorber.rank
        return int(self.data.X.shape[1]) + absorbed

    @property
    def covariates(self) -> tuple[str, ...]:
        """Predicted covariates."""
        return tuple(name for name in self.targets if name != OUTCOME)


def by_target(prediction: Any, outcome: str, covariates: Collection[str]) -> Any:
    """Give the outcome's surrogates of a mapping the key "y"; anything else is returned as it is.

    Parameters
    ----------
    prediction : object
        The role ``prediction``.
    outcome : str
        Name of the outcome; it counts as a key unless a covariate has the same name.
    covariates : collection of str
        Columns that may be covariates.

    Raises
    ------
    RoleError
        When two keys name the outcome, or a covariate is called "y".
    """
    if not isinstance(prediction, Mapping):
        return prediction
    if not prediction:
        raise RoleError("prediction is an empty dict. Name at least one predicted column.")
    mapped: dict[str, Any] = {}
    for key, value in prediction.items():
        name = str(key)
        if name == OUTCOME and name in covariates and outcome != OUTCOME:
            raise RoleError(
                f"prediction names 'y', which means the outcome ({outcome!r}), but a covariate has "
                "the same name. Rename that covariate."
            )
        target = OUTCOME if name == outcome and name not in covariates else name
        if target in mapped:
            raise RoleError(
                f"prediction names the outcome twice, as {outcome!r} and as 'y'. Keep one."
            )
        mapped[target] = value
    return mapped


def surrogates_by_column(prediction: Any) -> dict[str, pd.DataFrame]:
    """Surrogate columns of each predicted column from the resolved role."""
    if prediction is None:
        return {}
    return dict(prediction) if isinstance(prediction, dict) else {OUTCOME: prediction}


def _holds_labels(column: pd.Series) -> bool:
    """Whether a column holds categories or text, under the dtypes of pandas 2 and 3."""
    column = column.infer_objects()
    text = column.dtype == object and column.dropna().map(lambda v: isinstance(v, str)).any()
    return bool(text) or isinstance(column.dtype, _LABEL_TYPES)


def gold_values(data: RoleData, predicted: tuple[str, ...]) -> dict[str, Array]:
    """Gold values of the predicted columns, NaN where not known."""
    values = {}
    for name in predicted:
        if name == OUTCOME:
            values[name] = np.asarray(data.y, dtype=np.float64)
        elif data.frame is not None:
            if name not in data.frame:
                raise RoleError(
                    f"prediction names {name!r}, which is neither the outcome nor a column of "
                    f"the formula. Its columns are {', '.join(map(str, data.frame.columns))}."
                )
            if _holds_labels(data.frame[name]):
                raise DataError(
                    f"prediction names the covariate {name!r}, which holds labels "
                    f"({data.frame[name].dtype}). Predicted covariates must be numbers: code two "
                    "categories as 0/1, more as one 0/1 column each."
                )
            values[name] = to_float(data.frame[name], name)
        else:
            values[name] = data.X[:, data.design.affected(name)[0]]
    return values


def build_problem(
    data: RoleData,
    family: GLMFamily,
    labelling: Labelling,
    targets: dict[str, Array],
    surrogates: dict[str, pd.DataFrame],
    classes: tuple[Any, ...] | None,
    transformed: bool = False,
) -> Problem:
    """Check that the labels can carry the model and collect what does not change with g.

    Raises
    ------
    DataError
        When there are fewer labelled rows than coefficients plus one.
    CollinearityError
        When columns of the design are linearly dependent.
    """
    n_labeled, k = labelling.n_labeled, data.X.shape[1]
    if labelling.weights is not None:
        # A row of weight zero is as good as absent.
        n_labeled = int(np.count_nonzero(labelling.weights[labelling.rows]))
    if n_labeled < k + 1:
        raise DataError(
            f"{n_labeled} labelled rows (n_samples={data.X.shape[0]}) cannot support {k} "
            f"coefficients; at least {k + 1} are needed. Label more rows or use fewer covariates."
        )
    X, absorber = data.X, None
    covariates = [name for name in targets if name != OUTCOME]
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
        gram = None if covariates else design_gram(X, labelling.weights)
        products = X_gold.T @ X_gold if gram is None else gram
    large = [data.names[j] for j in np.flatnonzero(~np.isfinite(np.diag(products)))]
    if large:
        raise DataError(
            f"The squares of {', '.join(large)} overflow. Rescale the column to moderate units."
        )
    report = collinear_columns(products, data.names, gram=True)
    if report.dependent:
        raise CollinearityError(f"The design is collinear: {report.message()}")
    features = data.roles.get("features")
    return Problem(
        data=data,
        family=family,
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
    )


def columns_without_labels(problem: Problem) -> tuple[str, ...]:
    """Find columns that vary, but not among labelled rows: a group that nobody labelled."""
    X = problem.data.X
    gold = X[problem.labelling.rows]
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
        given = {
            name: passthrough_prediction(name, problem.surrogates[name], problem.classes)[None, :]
            for name in problem.targets
        }
        return CrossFit(given, np.zeros((1, n), dtype=np.int64), {}, np.zeros(1, dtype=np.int64))
    inputs = input_matrix(problem.surrogates, problem.features, problem.classes)
    tasks = [
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
    rng = check_rng(random_state)
    units = problem.data.clusters
    if units is None:
        units = problem.data.roles.get("psu")
    groups = None if units is None else units.codes
    strata = training_strata(labelling.labeled, problem.targets)
    splits, seeds = make_folds(n, cv, n_rep, rng, groups=groups, strata=strata)
    return cross_fit(tasks, splits, seeds, rng, n_jobs=n_jobs, verbose=verbose)


def moments_of(problem: Problem, predictions: dict[str, Array]) -> DesignAdjustedGLM:
    """Estimating equations for one set of predictions (n,) of the predicted columns."""
    data, labelling = problem.data, problem.labelling
    rows = labelling.rows
    y_hat = predictions.get(OUTCOME, data.y)
    y_gold = np.asarray(data.y, dtype=np.float64)[rows]
    if not problem.covariates:
        plain = outcome_moments(
            problem.family, problem.X, y_hat, problem.X_gold, y_gold, labelling, problem.gram
        )
        if problem.absorber is None:
            return plain
        return absorbed_moments(problem.absorber, plain, data.names)
    X_hat = data.rebuild({name: predictions[name] for name in problem.covariates})
    if not np.isfinite(X_hat.sum()):
        bad = [data.names[j] for j in np.flatnonzero(~np.isfinite(X_hat).all(axis=0))]
        count = int((~np.isfinite(X_hat).all(axis=1)).sum())
        raise DataError(
            f"The term {', '.join(map(repr, bad))} is not finite in {count} rows when "
            f"{', '.join(problem.covariates)} is replaced by its prediction. Use a term that is "
            "defined for every prediction, or transform the column before."
        )
    full = DesignAdjustedGLM(problem.family, X_hat, y_hat, problem.X_gold, y_gold, labelling)
    if problem.absorber is None:
        return full
    return absorbed_moments(problem.absorber, full, data.names)


def gold_moments(problem: Problem, moments: DesignAdjustedGLM) -> DesignAdjustedGLM | None:
    """Moments to fit expert labels alone; None when they cannot carry the absorbed effects."""
    if problem.absorber is None:
        return moments
    return labelled_moments(problem.absorber, moments, problem.data.X, problem.data.y)


def warn_complete(labelling: Labelling) -> None:
    """Say that surrogates play no part when every row is labelled."""
    if labelling.complete:
        warn(
            f"All {labelling.labeled.size} rows are labelled: the predictions are not used and "
            "the result is that of the ordinary regression with robust standard errors."
        )
