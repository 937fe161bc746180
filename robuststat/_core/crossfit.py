"""Cross-fitting: folds, out-of-fold predictions of nuisance functions, repetitions.

Folds never split a cluster, are stratified on the rows that can train, and every seed is drawn
before any work starts, so that results do not depend on ``n_jobs``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from sklearn.base import clone
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import has_fit_parameter
from threadpoolctl import threadpool_limits

from robuststat._core.errors import DataError, ParameterError, SmallClusterWarning, warn
from robuststat._core.progress import progress
from robuststat._core.types import Array, BoolArray, IntArray

Split = tuple[IntArray, IntArray]

# Below this many training rows the threads of a learner wait for each other longer than they work.
_THREADS_PAY = 20_000


@dataclass(frozen=True, slots=True)
class NuisanceTask:
    """One nuisance function to be learnt.

    Attributes
    ----------
    name : str
        Key of the predictions.
    learner : estimator
        Any scikit-learn regressor or classifier; a classifier predicts probabilities.
    features : ndarray of shape (n, q)
        Inputs, known for all rows.
    target : ndarray of shape (n,) or (n, c)
        What is learnt; read only where ``usable``. A classifier learns 0/1 values and predicts
        the probability of 1; of c indicator columns it learns the class and predicts c
        probabilities. A regressor learns every column.
    usable : ndarray of bool of shape (n,)
        Rows that can train.
    weights : ndarray of shape (n,) or None
        Passed on to learners, or last steps of pipelines, that take ``sample_weight``.
    """

    name: str
    learner: Any
    features: Array
    target: Array
    usable: BoolArray
    weights: Array | None = None


@dataclass(frozen=True, slots=True)
class CrossFit:
    """Out-of-fold predictions.

    Attributes
    ----------
    predictions : dict of str to ndarray of shape (n_rep, n) or (n_rep, n, c)
        For every row the prediction of learners that did not see its fold.
    fold_id : ndarray of shape (n_rep, n)
        Fold of each row.
    losses : dict of str to ndarray of shape (n_rep, n_folds)
        Mean squared error (Brier score for probabilities, summed over classes) on the usable rows
        of each fold.
    seeds : ndarray of shape (n_rep,)
        Seeds of the partitions.
    fitted : dict of str to list of list of FittedLearner
        The learner of every repetition and fold, when asked for.
    """

    predictions: dict[str, Array]
    fold_id: IntArray
    losses: dict[str, Array]
    seeds: IntArray
    fitted: dict[str, list[list[FittedLearner]]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FittedLearner:
    """Learner(s) of one target, fitted on one training part.

    Attributes
    ----------
    learners : list of estimator
        One, or one a column of the target.
    n_columns : int
        Columns of the target; 0 for a target of shape (n,).
    """

    learners: list[Any]
    n_columns: int

    def predict(self, inputs: Array) -> Array:
        """Predictions for rows of inputs (m, q), of shape (m,) or (m, n_columns)."""
        if not self.n_columns:
            learner = self.learners[0]
            if not hasattr(learner, "predict_proba"):
                return np.asarray(learner.predict(inputs), dtype=np.float64).ravel()
            column = int(np.flatnonzero(learner.classes_ == 1)[0])
            return np.asarray(learner.predict_proba(inputs)[:, column], dtype=np.float64)
        predicted = np.zeros((inputs.shape[0], self.n_columns))
        if len(self.learners) == 1:
            # A class that the training part lacks has probability zero.
            learner = self.learners[0]
            predicted[:, learner.classes_.astype(np.int64)] = learner.predict_proba(inputs)
            return predicted
        for j, learner in enumerate(self.learners):
            predicted[:, j] = np.ravel(learner.predict(inputs))
        return predicted


def make_folds(
    n_rows: int,
    cv: Any,
    n_rep: int,
    rng: np.random.Generator,
    *,
    groups: IntArray | None = None,
    strata: IntArray | None = None,
    idle: BoolArray | None = None,
) -> tuple[list[list[Split]], IntArray]:
    """Partitions for ``n_rep`` repetitions.

    Parameters
    ----------
    n_rows : int
        Number of rows.
    cv : int, splitter, or list of (train, test)
        With ``n_rep`` > 1 a list must hold one such list a repetition.
    n_rep : int
        Repetitions.
    rng : numpy.random.Generator
        Source of one seed a repetition.
    groups : ndarray of shape (n,) or None
        Clusters that stay together.
    strata : ndarray of shape (n,) or None
        Codes to be spread evenly over folds.
    idle : ndarray of bool of shape (n,), optional
        Rows that no learner is trained on: their order cannot matter.

    Returns
    -------
    splits : list of list of (train, test)
        Row positions.
    seeds : ndarray of shape (n_rep,)
        Seed of each partition.
    """
    seeds = rng.integers(0, 2**31 - 1, size=n_rep)
    if isinstance(cv, (list, tuple)):
        nested = cv if _is_nested(cv) else [cv]
        if len(nested) != n_rep:
            raise ParameterError(
                f"cv holds {len(nested)} partitions but n_rep={n_rep}. Pass one list of "
                "(train, test) pairs for each repetition."
            )
        return [_user_splits(pairs, n_rows, groups) for pairs in nested], seeds
    if hasattr(cv, "split"):
        rows = np.zeros((n_rows, 1))
        repeated = [list(_seeded(cv, s).split(rows, strata, groups)) for s in seeds]
        splits = [_user_splits(pairs, n_rows, groups) for pairs in repeated]
        if n_rep > 1 and _same_partition(splits[0], splits[1]):
            warn(
                f"cv={cv!r} gives the same partition every time: one repetition is used instead of "
                f"{n_rep}. Use shuffle=True in the splitter, or an integer."
            )
            return splits[:1], seeds[:1]
        return splits, seeds
    n_folds = fold_count(int(cv), n_rows, groups)
    ids = [fold_ids(n_rows, n_folds, int(s), groups, strata, idle) for s in seeds]
    splits = [
        [(np.flatnonzero(one != k), np.flatnonzero(one == k)) for k in range(n_folds)]
        for one in ids
    ]
    return splits, seeds


def cross_fit(
    tasks: Sequence[NuisanceTask],
    splits: list[list[Split]],
    seeds: IntArray,
    rng: np.random.Generator,
    *,
    n_jobs: int | None = None,
    verbose: int = 0,
    keep_learners: bool = False,
) -> CrossFit:
    """Fit every task on the training part of every fold and predict its test part.

    Parameters
    ----------
    tasks : sequence of NuisanceTask
        What to learn.
    splits, seeds
        From ``make_folds``.
    rng : numpy.random.Generator
        Source of the learners' seeds.
    n_jobs : int or None
        Parallel jobs of joblib.
    verbose : int
        Draws a progress bar when positive.
    keep_learners : bool
        Whether to return the fitted learners, for rows that come later.

    Returns
    -------
    CrossFit

    Raises
    ------
    DataError
        When the training part of a fold holds too few usable rows or one class only.
    """
    n_rep, n_rows = len(splits), tasks[0].target.shape[0]
    n_folds = max(len(pairs) for pairs in splits)
    learner_seeds = rng.integers(0, 2**31 - 1, size=(n_rep, n_folds, len(tasks)))
    jobs = [
        (r, k, t) for r in range(n_rep) for k in range(len(splits[r])) for t in range(len(tasks))
    ]
    for r, k, t in jobs:
        _check_training(tasks[t], splits[r][k][0], r, k)
    work = Parallel(n_jobs=n_jobs, return_as="generator")(
        delayed(_fit_predict)(tasks[t], *splits[r][k], int(learner_seeds[r, k, t]), keep_learners)
        for r, k, t in jobs
    )
    predictions = {
        task.name: np.full((n_rep, n_rows, *task.target.shape[1:]), np.nan) for task in tasks
    }
    fitted: dict[str, list[list[FittedLearner]]] = {}
    if keep_learners:
        fitted = {task.name: [[] for _ in range(n_rep)] for task in tasks}
    losses = {task.name: np.full((n_rep, n_folds), np.nan) for task in tasks}
    done = progress(work, len(jobs), "cross-fitting", enabled=verbose > 0)
    small = max(np.count_nonzero(task.usable) for task in tasks) < _THREADS_PAY
    with threadpool_limits(1 if small else None):
        for (r, k, t), (predicted, loss, learner) in zip(jobs, done, strict=True):
            predictions[tasks[t].name][r, splits[r][k][1]] = predicted
            losses[tasks[t].name][r, k] = loss
            if learner is not None:
                fitted[tasks[t].name][r].append(learner)
    fold_id = np.empty((n_rep, n_rows), dtype=np.int64)
    for r, pairs in enumerate(splits):
        for k, (_, test) in enumerate(pairs):
            fold_id[r, test] = k
    return CrossFit(predictions, fold_id, losses, seeds, fitted)


def _same_partition(first: list[Split], second: list[Split]) -> bool:
    return all(np.array_equal(a[1], b[1]) for a, b in zip(first, second, strict=True))


def _fit_predict(
    task: NuisanceTask, train: IntArray, test: IntArray, seed: int, keep: bool
) -> tuple[Array, float, FittedLearner | None]:
    rows = train[task.usable[train]]
    fitted = _fit(task, rows, seed)
    predicted = fitted.predict(task.features[test])
    if not np.isfinite(predicted).all():
        raise DataError(
            f"The learner {task.learner!r} predicts values of {task.name!r} that are not finite."
        )
    seen = task.usable[test]
    loss = float("nan")
    if seen.any():
        gaps = (task.target[test][seen] - predicted[seen]) ** 2
        loss = float(gaps.sum() / seen.sum())
    return predicted, loss, fitted if keep else None


def _fit(task: NuisanceTask, rows: IntArray, seed: int) -> FittedLearner:
    """Fit the learner on some rows: once, or once a column for a regressor of several."""
    target = task.target[rows]
    n_columns = 0 if target.ndim == 1 else target.shape[1]
    targets = [target]
    if n_columns:
        classifies = hasattr(task.learner, "predict_proba")
        targets = [target.argmax(axis=1)] if classifies else list(target.T)
    learners = []
    for values in targets:
        learner = _seeded(clone(task.learner), seed)
        keywords = {}
        if task.weights is not None:
            keywords = {name: task.weights[rows] for name in _weight_argument(learner)}
        learners.append(learner.fit(task.features[rows], values, **keywords))
    return FittedLearner(learners, n_columns)


def _weight_argument(learner: Any) -> list[str]:
    """Name of the argument of ``fit`` that takes weights; none when the learner takes none."""
    if isinstance(learner, Pipeline):
        # A pipeline has no such argument: its last step learns, so that one gets the weights.
        name, last = learner.steps[-1]
        return [f"{name}__{inner}" for inner in _weight_argument(last)]
    return ["sample_weight"] if has_fit_parameter(learner, "sample_weight") else []


def _seeded(estimator: Any, seed: int) -> Any:
    """Give every open ``random_state`` of an estimator or splitter its seed."""
    if not hasattr(estimator, "get_params"):
        if getattr(estimator, "random_state", 0) is None and getattr(estimator, "shuffle", True):
            import copy

            estimator = copy.copy(estimator)
            estimator.random_state = seed
        return estimator
    open_seeds = {
        key: seed
        for key, value in estimator.get_params(deep=True).items()
        if (key == "random_state" or key.endswith("__random_state")) and value is None
    }
    return estimator.set_params(**open_seeds) if open_seeds else estimator


def _check_training(task: NuisanceTask, train: IntArray, repetition: int, fold: int) -> None:
    target = task.target[train[task.usable[train]]]
    where = f"fold {fold + 1} of repetition {repetition + 1}, variable {task.name!r}"
    if target.shape[0] < 2:
        raise DataError(
            f"The training part of {where} has {target.shape[0]} labelled rows; at least 2 are "
            "needed. Use fewer folds (cv=2) or more labels."
        )
    if not hasattr(task.learner, "predict_proba"):
        return
    values: Array = np.unique(target if target.ndim == 1 else target.argmax(axis=1))
    if target.ndim == 1 and not np.isin(values, (0.0, 1.0)).all():
        raise ParameterError(
            f"The learner {task.learner!r} is a classifier, but {task.name!r} is not 0/1 "
            f"(it takes values such as {values[0]:g} and {values[-1]:g}). Use a regressor."
        )
    if values.size < 2:
        raise DataError(
            f"The training part of {where} has one class only ({values[0]:g}). Use fewer "
            "folds, more labels, or a regressor such as learner='ols'."
        )


def _is_nested(cv: Sequence[Any]) -> bool:
    """Whether ``cv`` is a list of lists of pairs rather than a list of pairs."""
    first: Any = cv[0] if len(cv) and isinstance(cv[0], (list, tuple)) else ()
    if not (len(first) and isinstance(first[0], (list, tuple)) and len(first[0]) == 2):
        return False
    # ([0, 1], [2, 3]) is one pair of two rows each, not a list of pairs.
    return bool(np.ndim(first[0][0]))


def _user_splits(pairs: Any, n_rows: int, groups: IntArray | None) -> list[Split]:
    splits = []
    covered = np.zeros(n_rows, dtype=np.int64)
    for pair in pairs:
        if not isinstance(pair, (list, tuple)) or len(pair) != 2:
            raise ParameterError(f"cv must be a list of (train, test) pairs; it holds {pair!r}.")
        train_rows, test_rows = (_positions(part, n_rows) for part in pair)
        # Positions count: a row twice in one test part is in two of them.
        np.add.at(covered, test_rows, 1)
        if np.intersect1d(train_rows, test_rows).size:
            raise ParameterError("A fold of cv tests on rows it trains on. Make them disjoint.")
        if groups is not None and np.intersect1d(groups[train_rows], groups[test_rows]).size:
            raise ParameterError(
                "A fold of cv trains and tests on rows of one cluster. Keep clusters together, as "
                "an integer cv or GroupKFold does."
            )
        splits.append((train_rows, test_rows))
    if (covered != 1).any():
        row = int(np.flatnonzero(covered != 1)[0])
        raise ParameterError(
            f"The test parts of cv must hold every row exactly once; row {row} is in "
            f"{covered[row]} of them."
        )
    return splits


def _positions(part: Any, n_rows: int) -> IntArray:
    """Row positions from positions or a mask."""
    rows = np.asarray(part)
    if rows.dtype == bool and rows.shape == (n_rows,):
        return np.flatnonzero(rows)
    if rows.ndim != 1 or (rows.size and rows.dtype.kind not in "iu"):
        raise ParameterError(
            f"cv must hold row positions (integers) or masks of {n_rows} rows; got an array of "
            f"shape {rows.shape} and type {rows.dtype}."
        )
    outside = rows[(rows < 0) | (rows >= n_rows)]
    if outside.size:
        raise ParameterError(f"cv names row {outside[0]}, but there are {n_rows} rows.")
    return rows.astype(np.int64)


def fold_count(cv: int, n_rows: int, groups: IntArray | None) -> int:
    if groups is None:
        return min(cv, n_rows)
    n_groups = int(groups.max()) + 1
    if n_groups < 2:
        raise DataError("Cross-fitting needs at least 2 clusters to keep them apart; got 1.")
    if n_groups >= 2 * cv:
        return cv
    n_folds = max(2, n_groups // 2)
    if n_folds < cv:
        warn(
            f"{n_groups} clusters are few for cv={cv}: {n_folds} folds are used instead.",
            SmallClusterWarning,
        )
    return n_folds


def fold_ids(
    n_rows: int,
    n_folds: int,
    seed: int,
    groups: IntArray | None,
    strata: IntArray | None,
    idle: BoolArray | None = None,
) -> IntArray:
    """Deal shuffled units to folds in turn, stratum after stratum: sizes differ by at most 1.

    Idle units come last and as they are, which a source read in chunks can repeat.
    """
    n_units = n_rows if groups is None else int(groups.max()) + 1
    unit_strata, unit_idle = np.zeros(n_units, dtype=np.int64), np.zeros(n_units, dtype=bool)
    if groups is None:
        unit_strata = unit_strata if strata is None else strata
        unit_idle = unit_idle if idle is None else idle
    else:
        if strata is not None:
            np.maximum.at(unit_strata, groups, strata)
        if idle is not None:
            unit_idle[:] = True
            np.logical_and.at(unit_idle, groups, idle)
    order = np.random.default_rng(seed).permutation(np.flatnonzero(~unit_idle))
    order = order[np.argsort(unit_strata[order], kind="stable")]
    order = np.concatenate([order, np.flatnonzero(unit_idle)])
    fold_of_unit = np.empty(n_units, dtype=np.int64)
    fold_of_unit[order] = np.arange(n_units) % n_folds
    return fold_of_unit if groups is None else fold_of_unit[groups]
