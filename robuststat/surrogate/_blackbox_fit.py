"""Predict-then-debias in order: labels and rows, three fits and their bootstrap, the result."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from sklearn.base import clone, is_classifier

from robuststat._core.columns import Terms
from robuststat._core.data import RoleData, read_data
from robuststat._core.errors import (
    ConvergenceWarning,
    DataError,
    ParameterError,
    RoleError,
    SmallClusterWarning,
    warn,
)
from robuststat._core.formula import INTERCEPT
from robuststat._core.rng import check_rng
from robuststat._core.roles import columns_named_by
from robuststat._core.table import as_table
from robuststat._core.types import Array, IntArray
from robuststat.surrogate._coefficients import (
    BlackBox,
    coefficient_names,
    fits_intercept,
    read_coefficients,
    repeat_warnings,
    surrogate_values,
    weight_keywords,
)
from robuststat.surrogate._debias import (
    Debiased,
    ResamplingPlan,
    Sample,
    Tuning,
    debias,
    even_chances,
    plan_resampling,
)
from robuststat.surrogate._labels import DesignName, Labelling, make_labelling, read_labelled
from robuststat.surrogate._outcome import encode_labels
from robuststat.surrogate._problem import warn_complete
from robuststat.surrogate._targets import (
    OUTCOME,
    by_target,
    gold_values,
    outcome_names,
    surrogates_by_column,
)

# Unlabelled units that a bootstrap draw uses unless told otherwise: at least so many, and this
# multiple of the labelled ones.
_SUBSET, _SUBSET_MULTIPLE = 20_000, 10


@dataclass(frozen=True, slots=True)
class Settings:
    """Constructor parameters as plain values."""

    estimator: Any
    formula: str | None
    coef: Any
    tuning: Tuning
    n_boot: int
    design: DesignName
    normalize_prob: bool
    n_unlabeled_boot: Any
    use_t: bool
    random_state: Any
    n_jobs: int | None
    verbose: int


@dataclass(frozen=True, slots=True)
class Task:
    """Rows of the three fits, and how they are resampled.

    Attributes
    ----------
    data : RoleData
        Rows, with numeric outcome.
    labelling : Labelling
        Labels and weights.
    targets : dict of str to ndarray of shape (n,)
        Expert values of each predicted column.
    reported : dict of str to dict of str to ndarray
        Surrogate of each predicted column, by its name.
    classes : tuple or None
        Labels of a classifier.
    positions : ndarray of shape (p,)
        Columns of the design that the estimator sees: all but the column of ones.
    sample : Sample
        Rows of the three fits.
    unit : ndarray of shape (n,)
        Row number or cluster code.
    fixed : bool
        Whether the number of labelled rows is fixed by design.
    black_box : BlackBox
        The estimator.
    unweighted : tuple of str
        Steps of a pipeline that take no weights.
    """

    data: RoleData
    labelling: Labelling
    targets: dict[str, Array]
    reported: dict[str, dict[str, Array]]
    classes: tuple[Any, Any] | None
    positions: IntArray
    sample: Sample
    unit: IntArray
    fixed: bool
    black_box: BlackBox
    unweighted: tuple[str, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns that the estimator sees."""
        return tuple(self.data.names[j] for j in self.positions)


@dataclass(frozen=True, slots=True)
class BlackBoxFit:
    """Everything the result is made of.

    Attributes
    ----------
    found : Debiased
        Estimate, variance, draws.
    names : tuple of str
        Names of the vector.
    fitted : estimator
        Fit to the expert rows.
    plan : ResamplingPlan
        How units were drawn.
    effect : ndarray of shape (k,)
        Design effect.
    """

    found: Debiased
    names: tuple[str, ...]
    fitted: Any
    plan: ResamplingPlan
    effect: Array


def read_rows(
    estimator: Any,
    X: Any,
    y: Any,
    *,
    prediction: Any,
    roles: dict[str, Any],
    sample_weight: Any,
    clusters: Any,
) -> tuple[RoleData, Any, tuple[Any, Any] | None]:
    """Read the arguments of ``DSLBlackBox.fit``.

    Parameters
    ----------
    estimator : DSLBlackBox
        Receives ``n_features_in_`` and ``feature_names_in_``.
    X, y, prediction, roles, sample_weight, clusters
        As passed to ``fit``; ``roles`` holds the others by name.

    Returns
    -------
    tuple
        Rows with numeric outcome, the resolved role ``prediction`` (or None), the two classes of
        a classifier (or None).
    """
    formula = estimator.formula
    outcome = outcome_names(y, formula, None)[0]
    table = as_table(X)
    by_name = isinstance(y, str) or formula is not None
    columns = () if table is None else table.names
    others = [c for c in columns if not (by_name and c == outcome)]
    prediction = by_target(prediction, (outcome,), others)
    if by_name and outcome in columns_named_by(prediction):
        raise RoleError(
            f"prediction names {outcome!r}, which is the outcome. Name the column of the machine's "
            "labels, known for every row."
        )
    mapped = list(prediction) if isinstance(prediction, dict) else [OUTCOME]
    labels = is_classifier(estimator._resolved())
    data = read_data(
        estimator,
        X,
        y,
        roles={"prediction": prediction, **roles},
        sample_weight=sample_weight,
        clusters=clusters,
        outcome_kind="labels" if labels else "numeric",
        outcome_may_miss=OUTCOME in mapped,
        predicted=[key for key in mapped if key != OUTCOME],
        # Categories are coded with a reference level; the column of ones is left out later.
        terms=Terms(formula),
        missing=estimator.missing,
    )
    found = data.roles.get("prediction")
    if not labels:
        return data, found, None
    # Any two labels do: the estimator gets them as they are.
    numbers, classes = encode_labels(data.y, data.outcome, data.weights, lambda name, values: None)
    return replace(data, y=numbers), found, classes


def make_task(
    data: RoleData, prediction: Any, classes: tuple[Any, Any] | None, settings: Settings
) -> Task:
    """Set up labels, weights and the rows of the three fits.

    Parameters
    ----------
    data : RoleData
        Rows with numeric outcome; roles resolved.
    prediction : DataFrame or dict of DataFrame
        The resolved role ``prediction``.
    classes : tuple or None
        Labels of a classifier.
    settings : Settings
        Constructor parameters.
    """
    strata, prob = data.roles.get("strata"), data.roles.get("sample_prob")
    if strata is not None and settings.design != "stratified":
        raise RoleError(
            f"strata are used with design='stratified'; design is {settings.design!r}. Set "
            "design='stratified' if labels were drawn within strata, or leave strata out."
        )
    keywords, unweighted = weight_keywords(settings.estimator)
    positions = _positions(data, settings)
    surrogates = surrogates_by_column(prediction)
    levels: dict[str, tuple[Any, ...]] = {}
    targets = gold_values(data, tuple(surrogates), levels)
    if levels:
        name = next(iter(levels))
        raise DataError(
            f"prediction names the covariate {name!r}, which holds labels. Code two categories as "
            "0/1, more as one 0/1 column each."
        )
    n = data.X.shape[0]
    labeled = read_labelled(
        data.roles.get("labeled"),
        {data.outcome if m == OUTCOME else m: ~np.isnan(v) for m, v in targets.items()},
        n,
    )
    labelling = make_labelling(
        labeled,
        prob=prob,
        design=settings.design,
        strata=strata,
        weights=data.weights,
        normalize=settings.normalize_prob,
        terms=None,
    )
    warn_complete(labelling)
    values = {
        name: surrogate_values(
            data.outcome if name == OUTCOME else name, frame, classes if name == OUTCOME else None
        )
        for name, frame in surrogates.items()
    }
    fixed = (
        data.clusters is None and settings.design != "bernoulli" and even_chances(labelling, prob)
    )
    estimator = clone(settings.estimator)
    return Task(
        data=data,
        labelling=labelling,
        targets=targets,
        reported={m: {str(surrogates[m].columns[0]): v} for m, v in values.items()},
        classes=classes,
        positions=positions,
        sample=_sample(data, labelling, prob, values, positions, classes, settings),
        unit=np.arange(n) if data.clusters is None else data.clusters.codes,
        fixed=fixed,
        black_box=BlackBox(estimator, keywords, settings.coef),
        unweighted=unweighted,
    )


def _positions(data: RoleData, settings: Settings) -> IntArray:
    """Columns without the column of ones, which is the estimator's own business."""
    own, has = fits_intercept(settings.estimator), INTERCEPT in data.names
    if settings.formula is not None and settings.coef is None and own != has:
        raise ParameterError(
            f"The formula {'has' if has else 'has no'} intercept, but estimator "
            f"{'fits one' if own else 'fits none'} (fit_intercept={own}). Write "
            f"{'no - 1' if own else '- 1'} in the formula, or set fit_intercept={has}."
        )
    kept = [j for j, name in enumerate(data.names) if name != INTERCEPT]
    if not kept:
        raise DataError("X has no covariate. Name the covariates, or use DSLMean for a mean.")
    return np.array(kept)


def _sample(
    data: RoleData,
    labelling: Labelling,
    prob: Array | None,
    values: dict[str, Array],
    positions: IntArray,
    classes: tuple[Any, Any] | None,
    settings: Settings,
) -> Sample:
    """Expert rows and surrogate rows."""
    n, rows = data.X.shape[0], labelling.rows
    replaced = {name: v for name, v in values.items() if name != OUTCOME}
    X_hat = (data.rebuild(replaced) if replaced else data.X)[:, positions]
    y_gold = np.asarray(data.y, dtype=np.float64)
    y_hat = values.get(OUTCOME, y_gold)
    X_gold = data.X[rows][:, positions]
    for matrix, what in ((X_hat, "surrogates"), (X_gold, "expert values")):
        if not np.isfinite(matrix).all():
            bad = [data.names[j] for j in positions[~np.isfinite(matrix).all(axis=0)]]
            raise DataError(
                f"The term {', '.join(map(repr, bad))} is not finite for some {what}. Use a term "
                "that is defined for every value, or transform the column before."
            )
    if classes is not None:
        labels = np.array(classes)
        y_hat, y_gold_rows = labels[y_hat.astype(np.int64)], labels[y_gold[rows].astype(np.int64)]
    else:
        y_gold_rows = y_gold[rows]
    rescale = not labelling.complete and (prob is None or settings.normalize_prob)
    known = labelling.prob if not rescale else np.ones(n) if prob is None else prob
    strata = np.zeros(n, np.int64) if labelling.strata is None else labelling.strata.codes
    return Sample(
        X=np.ascontiguousarray(X_hat),
        y=y_hat,
        X_gold=np.ascontiguousarray(X_gold),
        y_gold=y_gold_rows,
        labeled=rows,
        unit=np.arange(n) if data.clusters is None else data.clusters.codes,
        base=np.ones(n) if data.weights is None else data.weights,
        prob=known,
        strata=strata,
        rescale=rescale,
    )


def fit_debiased(task: Task, settings: Settings) -> BlackBoxFit:
    """Compute the estimate with its bootstrap.

    Raises
    ------
    DataError
        When there are fewer labelled rows than coefficients plus one, fewer than two labelled
        clusters, or too many failed draws.
    """
    rng = check_rng(settings.random_state)
    black_box = _seeded(task.black_box, rng)
    sample, labelling = task.sample, task.labelling
    n_units = int(task.unit.max()) + 1
    _, gold = sample.weights(np.ones(n_units))
    counted = np.flatnonzero(gold)
    p = task.positions.size
    if counted.size < p + 2:
        raise DataError(
            f"{counted.size} labelled rows (n_samples={task.data.X.shape[0]}) cannot support "
            f"{p} coefficients with an intercept; at least {p + 2} are needed. Label more rows or "
            "use fewer covariates."
        )
    fitted, caught = black_box.fitted(sample.X_gold[counted], sample.y_gold[counted], gold[counted])
    repeat_warnings(caught)
    vector, given = read_coefficients(fitted, settings.coef)
    names = coefficient_names(fitted, vector, given, task.columns, settings.coef is None)
    if settings.tuning == "matrix" and settings.n_boot < 2 * vector.size + 20:
        raise ParameterError(
            f"tuning='matrix' estimates {vector.size} numbers a coefficient from n_boot="
            f"{settings.n_boot} draws. Use at least {2 * vector.size + 20}, or tuning='scalar'."
        )
    plan = _plan(task, settings, rng)
    found = debias(
        black_box,
        sample,
        task.unit,
        plan,
        settings.tuning,
        n_boot=settings.n_boot,
        random_state=rng,
        n_jobs=settings.n_jobs,
        verbose=settings.verbose,
    )
    if found.unconverged:
        warn(
            f"{found.unconverged} of the 3 fits of {type(settings.estimator).__name__} did not "
            "converge. Raise its max_iter or rescale the columns; do not use the estimates.",
            ConvergenceWarning,
        )
    variance = np.diag(found.vcov)
    unknown = np.full(variance.size, np.nan)
    effect = np.divide(found.gold_variance, variance, out=unknown, where=variance > 0)
    return BlackBoxFit(
        found, names, fitted, plan, np.ones_like(effect) if labelling.complete else effect
    )


def _seeded(black_box: BlackBox, rng: np.random.Generator) -> BlackBox:
    """Give open seeds of the estimator one value, the same in every fit: draws then differ less."""
    seed = int(rng.integers(2**31))
    params = black_box.estimator.get_params(deep=True)
    tail = "random_state"
    names = [k for k, v in params.items() if v is None and (k == tail or k.endswith(f"__{tail}"))]
    if not names:
        return black_box
    estimator = clone(black_box.estimator).set_params(**dict.fromkeys(names, seed))
    return BlackBox(estimator, black_box.keywords, black_box.read)


def _plan(task: Task, settings: Settings, rng: np.random.Generator) -> ResamplingPlan:
    """Cells of the bootstrap, after checking that each can vary."""
    labelling, clusters = task.labelling, task.data.clusters
    n_units = int(task.unit.max()) + 1
    labeled = np.zeros(n_units, dtype=bool)
    labeled[task.unit[labelling.rows]] = True
    n_labeled = int(labeled.sum())
    strata = task.sample.strata if clusters is None else np.zeros(n_units, np.int64)
    if clusters is not None:
        if n_labeled < 2:
            raise DataError(
                f"{n_labeled} of {n_units} clusters have labels, so variation between them cannot "
                "be estimated. Label rows of more clusters, or leave clusters out."
            )
        if n_labeled < 10:
            warn(
                f"Only {n_labeled} clusters have labels (fewer than 10): bootstrap standard errors "
                "tend to be too small. Label rows of more clusters, or set use_t=True.",
                SmallClusterWarning,
            )
    elif labelling.strata is not None and not labelling.complete:
        counts = np.bincount(strata[labelling.rows], minlength=len(labelling.strata.levels))
        single = np.flatnonzero(counts < 2)
        if single.size:
            raise RoleError(
                f"{single.size} strata have a single labelled row (first: "
                f"{labelling.strata.levels[single[0]]}), which a bootstrap within strata cannot "
                "vary. Label more rows there, or merge strata."
            )
    wanted = settings.n_unlabeled_boot
    if wanted == "auto":
        wanted = max(_SUBSET, _SUBSET_MULTIPLE * n_labeled)
    return plan_resampling(labeled, strata, fixed=task.fixed, n_unlabeled=wanted, rng=rng)
