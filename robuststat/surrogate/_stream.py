"""Fits on sources that do not fit in memory: a few passes over chunks, labelled rows kept.

Unlabelled rows enter sums only. Labelled rows are few and stay in memory: learners are trained on
them, corrections and reports are computed from them, exactly as in ``fit``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

import numpy as np

from robuststat._core.crossfit import (
    CrossFit,
    FittedLearner,
    cross_fit,
    fold_count,
    fold_ids,
)
from robuststat._core.data import RoleData
from robuststat._core.errors import DataError
from robuststat._core.rng import check_rng
from robuststat._core.stream import ChunkSource, RowSums
from robuststat._core.table import Codes, Table
from robuststat._core.types import Array, IntArray
from robuststat.surrogate._chunks import ChunkReader, chunk_labels, recode
from robuststat.surrogate._labels import Labelling, scaled_probabilities
from robuststat.surrogate._learners import (
    input_matrix,
    passthrough_prediction,
    training_strata,
)
from robuststat.surrogate._models import MultinomialRows, RowModel
from robuststat.surrogate._options import Options
from robuststat.surrogate._outcome import class_numbers
from robuststat.surrogate._problem import (
    Problem,
    filled_design,
    nuisance_tasks,
    replacements,
)
from robuststat.surrogate._scores import DesignAdjusted, Tuning, adjusted
from robuststat.surrogate._targets import OUTCOME, Classes, surrogates_by_column

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ChunkState:
    """Where a chunk stands in the source, and what is known of its labelled rows.

    Attributes
    ----------
    n_used, first_idle : int
        Rows used, and unlabelled rows in the chunks before.
    X_gold, y_gold : ndarray
        Design and outcome of its labelled rows.
    predictions : dict of str to ndarray
        Predictions of its labelled rows, of the repetition at hand.
    """

    n_used: int
    first_idle: int
    X_gold: Array
    y_gold: Array
    predictions: dict[str, Array]


@dataclass(frozen=True, slots=True)
class ChunkRules:
    """What makes a part of the estimating equations of a chunk; small and picklable.

    Attributes
    ----------
    reader : ChunkReader
        Reads the rows.
    model : RowModel
        Scores of a row.
    targets : tuple of str
        Predicted columns.
    outcomes : tuple of str
        Keys of the outcomes among them.
    classes : dict
        Labels of the columns that are classes.
    scale : ndarray or None
        Factor of the labelling probabilities, by stratum; None: used as given.
    totals : Labelling
        Of the labelled rows of the whole source.
    strata : tuple or None
        Levels of a stratified labelling design.
    groups : tuple or None
        Levels of clusters or sampling units.
    fold_of_group : ndarray or None
        Fold of each of them, when groups are kept together.
    n_folds : int
        Folds; 0 when surrogates are used as given.
    learners : dict of str to list of FittedLearner
        One a fold, of the repetition at hand.
    tuning : float
        Lambda.
    """

    reader: ChunkReader
    model: Any = None
    targets: tuple[str, ...] = ()
    outcomes: tuple[str, ...] = ()
    classes: Classes = field(default_factory=dict)
    scale: Array | None = None
    totals: Any = None
    strata: tuple[Any, ...] | None = None
    groups: tuple[Any, ...] | None = None
    fold_of_group: IntArray | None = None
    n_folds: int = 0
    learners: dict[str, list[FittedLearner]] = field(default_factory=dict)
    tuning: Tuning = 1.0

    def part(self, table: Table, state: ChunkState) -> tuple[DesignAdjusted, IntArray | None]:
        """Estimating equations of a chunk, and the group of each of its rows."""
        data = self.reader.read(table)
        if data.X.shape[0] != state.n_used:
            raise DataError(
                f"The source changed between two passes: a chunk had {state.n_used} usable rows "
                f"and now has {data.X.shape[0]}. It must give the same chunks every time."
            )
        labelling, codes = self._labelling(data), self._group_codes(data)
        predicted = self._predictions(data, labelling, state, codes)
        covariates = [name for name in self.targets if name not in self.outcomes]
        X_hat = data.X
        if covariates:
            X_hat = filled_design(data, replacements(covariates, self.classes, predicted))
        y_hat = self._outcome(data, predicted)
        part = adjusted(
            self.model,
            X_hat,
            y_hat,
            state.X_gold,
            state.y_gold,
            labelling,
            outcome_only=not covariates and isinstance(self.tuning, float) and self.tuning == 1.0,
        )
        return replace(part, tuning=self.tuning), codes

    def _labelling(self, data: RoleData) -> Labelling:
        labeled = chunk_labels(data)
        prob, cells = data.roles.get("sample_prob"), None
        if self.strata is not None:
            cells = Codes(recode(data.roles["strata"], self.strata), self.strata)
        if self.scale is not None:
            prob = scaled_probabilities(self.scale, prob, cells, labeled.size)
        assert prob is not None
        rows = np.flatnonzero(labeled)
        return replace(  # type: ignore[no-any-return]
            self.totals,
            labeled=labeled,
            rows=rows,
            prob=prob,
            ratio=1.0 / prob[rows],
            weights=data.weights,
            strata=cells,
        )

    def _group_codes(self, data: RoleData) -> IntArray | None:
        if self.groups is None:
            return None
        units = data.roles.get("psu", data.clusters)
        assert isinstance(units, Codes)
        return recode(units, self.groups)

    def _predictions(
        self, data: RoleData, labelling: Labelling, state: ChunkState, codes: IntArray | None
    ) -> dict[str, Array]:
        """Predicted columns of a chunk; those of labelled rows are known."""
        surrogates = surrogates_by_column(data.roles.get("prediction"))
        if not self.n_folds:
            return {
                name: passthrough_prediction(
                    name,
                    surrogates[name],
                    self.classes.get(name),
                    ndim=state.predictions[name].ndim,
                )
                for name in self.targets
            }
        idle = np.flatnonzero(~labelling.labeled)
        folds = (state.first_idle + np.arange(idle.size)) % self.n_folds
        if self.fold_of_group is not None and codes is not None:
            folds = self.fold_of_group[codes[idle]]
        inputs = input_matrix(surrogates, data.roles.get("features"), self.classes)
        found = {}
        for name in self.targets:
            known = state.predictions[name]
            values = np.empty((data.X.shape[0], *known.shape[1:]))
            values[labelling.rows] = known
            for k, learner in enumerate(self.learners[name]):
                rows = idle[folds == k]
                if rows.size:
                    values[rows] = learner.predict(inputs[rows])
            found[name] = values
        return found

    def _outcome(self, data: RoleData, predicted: dict[str, Array]) -> Array:
        """Outcome(s) as the model takes them, predictions where they are predicted."""
        if data.outcomes:
            columns = [
                predicted[name] if name in predicted else np.asarray(data.y[:, j], float)
                for j, name in enumerate(data.outcomes)
            ]
            return np.column_stack(columns)
        values = predicted.get(OUTCOME)
        if values is None:
            values = observed(data.y, self.classes.get(OUTCOME), data.outcome)
        return values[:, 1:] if isinstance(self.model, MultinomialRows) else values


def observed(values: Any, classes: tuple[Any, ...] | None, name: str) -> Array:
    """Numbers or class indicators of an outcome that is known for every row."""
    if classes is None:
        return np.asarray(values, dtype=np.float64)
    columns = [class_numbers(values, value) for value in classes]
    if not np.isclose(sum(columns), 1.0).all():
        raise DataError(
            f"{name!r} takes values that no labelled row has; the classes are "
            f"{', '.join(map(str, classes))}. Label rows of every class."
        )
    return columns[1] if len(classes) == 2 else np.column_stack(columns)


@dataclass(frozen=True, slots=True)
class StreamedMoments:
    """Moments of the rows of a source; sums cost one pass over its chunks.

    Attributes
    ----------
    gold : DesignAdjusted
        The labelled rows, for what concerns them alone.
    source : ChunkSource
        The chunks.
    rules : ChunkRules
        How a chunk becomes moments.
    states : list of ChunkState
        One a chunk.
    """

    gold: DesignAdjusted
    source: ChunkSource
    rules: ChunkRules
    states: list[ChunkState]

    @property
    def model(self) -> RowModel:
        """Scores of a row."""
        return self.gold.model

    @property
    def labelling(self) -> Labelling:
        """Labels and weights of the labelled rows."""
        return self.gold.labelling

    @property
    def tuning(self) -> Tuning:
        """Lambda."""
        return self.gold.tuning

    @property
    def n_obs(self) -> int:
        """Rows of the source that are used."""
        return self.gold.labelling.n_rows

    @property
    def n_moments(self) -> int:
        """Number of equations."""
        return self.gold.n_moments

    @property
    def n_params(self) -> int:
        """Number of parameters."""
        return self.gold.n_params

    @property
    def gold_only(self) -> bool:
        """Whether predictions have no weight."""
        return self.gold.gold_only

    def tuned(self, tuning: Tuning) -> StreamedMoments:
        """Return the same moments with another Lambda."""
        rules = replace(self.rules, tuning=tuning)
        return replace(self, gold=self.gold.tuned(tuning), rules=rules)

    def labelled_rows(self) -> tuple[Array, Array, Array]:
        """Design, outcome and weights of the labelled rows."""
        gold = self.gold.tuned(0.0)
        return gold.X_gold, gold.y_gold, gold.row_weights()[0]

    def corrections(self, theta: Array) -> Array:
        """Return a (m - Lambda mhat) of the labelled rows, of shape (n_labeled, q)."""
        return self.gold.corrections(theta)

    def sums(self, theta: Array) -> tuple[Array, Array]:
        """Average score and average derivative (2.3)."""
        if self.gold_only:
            return self.gold.sums(theta)
        score, information = self.fold(RowSums, partial(_add_totals, theta=theta)).finish()
        return score / self.n_obs, -information / self.n_obs

    def fold(self, make: Callable[[], T], add: Callable[..., None], spec: Any = None) -> T:
        """Run ``add`` over the chunks, where they are."""
        wanted = spec is not None and spec.groups is not None
        total = make()
        if not self.source.distributed:
            work = partial(_into, rules=self.rules, total=total, add=add, grouped=wanted)
            for _ in self.source.map(work, self.states):
                pass
            return total
        work = partial(_apart, rules=self.rules, make=make, add=add, grouped=wanted)
        for part in self.source.map(work, self.states):
            if part is not None:
                total.merge(part)
        return total


def _add_totals(sums: RowSums, part: DesignAdjusted, groups: Any, theta: Array) -> None:
    sums.update(*part.totals(theta))


def _into(
    table: Table, state: ChunkState, rules: ChunkRules, total: Any, add: Any, grouped: bool
) -> None:
    if state.n_used:
        part, codes = rules.part(table, state)
        add(total, part, codes if grouped else None)


def _apart(
    table: Table, state: ChunkState, rules: ChunkRules, make: Any, add: Any, grouped: bool
) -> Any:
    if not state.n_used:
        return None
    total = make()
    _into(table, state, rules, total, add, grouped)
    return total


def stream_predictions(
    problem: Problem, options: Options, n_groups: int | None
) -> tuple[CrossFit, list[IntArray]]:
    """Predictions of the labelled rows, with the learners that predict the others.

    Partition and seeds are those of ``fit`` on the same rows: only labelled rows are shuffled.

    Returns
    -------
    predictions : CrossFit
        Of the labelled rows.
    fold_of_group : list of ndarray of shape (n_groups,)
        One a repetition; empty without groups.
    """
    labelling = problem.labelling
    n, n_obs = labelling.n_labeled, labelling.n_rows
    rng = check_rng(options.random_state)
    seeds = rng.integers(0, 2**31 - 1, size=options.n_rep)
    strata = training_strata(labelling.labeled, problem.targets)
    units = problem.data.clusters
    if units is None:
        units = problem.data.roles.get("psu")
    group_folds: list[IntArray] = []
    if n_groups is not None and units is not None:
        n_folds = fold_count(options.cv, n_obs, np.arange(n_groups))
        spread, idle = np.zeros(n_groups, dtype=np.int64), np.ones(n_groups, dtype=bool)
        np.maximum.at(spread, units.codes, strata)
        idle[units.codes] = False
        group_folds = [fold_ids(n_groups, n_folds, int(s), None, spread, idle) for s in seeds]
        ids = [folds[units.codes] for folds in group_folds]
    else:
        n_folds = fold_count(options.cv, n_obs, None)
        ids = [fold_ids(n, n_folds, int(s), None, strata) for s in seeds]
    splits = [
        [(np.flatnonzero(one != k), np.flatnonzero(one == k)) for k in range(n_folds)]
        for one in ids
    ]
    found = cross_fit(
        nuisance_tasks(problem, options.learner),
        splits,
        seeds,
        rng,
        n_jobs=options.n_jobs,
        verbose=options.verbose,
        keep_learners=True,
    )
    return found, group_folds
