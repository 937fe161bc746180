"""From a source of chunks to the estimating equations of ``fit``."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import repeat
from typing import Any

import numpy as np
from sklearn.base import clone

from robuststat._core.crossfit import CrossFit
from robuststat._core.data import RoleData
from robuststat._core.errors import (
    DataError,
    DroppedRowsWarning,
    ParameterError,
    RoleError,
    warn,
)
from robuststat._core.roles import columns_named_by
from robuststat._core.stream import ChunkSource
from robuststat._core.table import Codes, sorted_levels
from robuststat._core.types import Array, IntArray
from robuststat.surrogate._chunks import (
    ChunkReader,
    ChunkScan,
    bind_source,
    join_rows,
    merge_levels,
    recode,
    scan_chunk,
    scan_levels,
    source_columns,
)
from robuststat.surrogate._fit import refuse_transformed, refuse_unused
from robuststat.surrogate._labels import (
    Labelling,
    LabelTotals,
    check_weights,
    refuse_weightless,
    scaled_probabilities,
)
from robuststat.surrogate._options import Options
from robuststat.surrogate._problem import (
    Problem,
    build_problem,
    given_predictions,
    moments_of,
    warn_complete,
)
from robuststat.surrogate._stream import (
    ChunkRules,
    ChunkState,
    StreamedMoments,
    stream_predictions,
)
from robuststat.surrogate._targets import OUTCOME, gold_values, surrogates_by_column


@dataclass(slots=True)
class RowSource:
    """The rows behind a problem whose own rows are the labelled ones.

    Attributes
    ----------
    chunks : ChunkSource
        The source.
    rules : ChunkRules
        How a chunk becomes moments; learners are filled in for each repetition.
    used, labels : list of int
        Rows used and labelled rows of each chunk.
    low, high : ndarray of shape (k,)
        Range of the columns of the design over all rows.
    group_folds : list of ndarray
        Fold of each group, one array a repetition.
    group_strata : dict
        Level of each cluster or sampling unit -> its stratum.
    """

    chunks: ChunkSource
    rules: ChunkRules
    used: list[int]
    labels: list[int]
    low: Array
    high: Array
    group_folds: list[IntArray] = field(default_factory=list)
    group_strata: dict[Any, Any] = field(default_factory=dict)

    def predict(self, problem: Problem, options: Options) -> CrossFit:
        """Predictions of the labelled rows (2.2)."""
        if isinstance(options.learner, str) and options.learner == "passthrough":
            return given_predictions(problem)
        groups = self.rules.groups
        n_groups = None if groups is None else len(groups)
        found, self.group_folds = stream_predictions(problem, options, n_groups)
        return found

    def moments(self, problem: Problem, predictions: CrossFit, r: int) -> StreamedMoments:
        """Estimating equations of one repetition."""
        values = {name: part[r] for name, part in predictions.predictions.items()}
        gold = moments_of(problem, values)
        learners = {name: folds[r] for name, folds in predictions.fitted.items()}
        n_folds = max((len(part) for part in learners.values()), default=0)
        rules = replace(
            self.rules,
            learners=learners,
            n_folds=n_folds,
            fold_of_group=self.group_folds[r] if self.group_folds else None,
        )
        states, first, idle = [], 0, problem.labelling.n_labeled
        for n_used, n_labels in zip(self.used, self.labels, strict=True):
            rows = slice(first, first + n_labels)
            own = {name: part[rows] for name, part in values.items()}
            states.append(ChunkState(n_used, idle, gold.X_gold[rows], gold.y_gold[rows], own))
            first, idle = first + n_labels, idle + n_used - n_labels
        return StreamedMoments(gold, self.chunks, rules, states)


def refuse_in_memory_options(est: Any, options: Options) -> None:
    """Refuse what needs all rows at once.

    Raises
    ------
    ParameterError
        Naming the option.
    """
    refused = {
        "absorb": (est._terms().absorb, "group effects are projected out of all rows at once"),
        "tuning": (options.tuning, "the weight is chosen from scores of every row"),
        "prob_terms": (options.prob_terms, "the labelling model is fitted to every row"),
        "keep_influence": (options.keep_influence or None, "it holds one value a row"),
        "model='quantile'": (
            True if getattr(est, "model", None) == "quantile" else None,
            "its loss is minimised over rows in memory",
        ),
    }
    for name, (value, reason) in refused.items():
        if value:
            raise ParameterError(
                f"{name} is not available for a source read in chunks: {reason}. Leave it out, or "
                "pass the rows as one frame."
            )
    learner = options.learner
    if not (isinstance(learner, str) and learner == "passthrough") and not isinstance(
        options.cv, int
    ):
        raise ParameterError(
            "cv must be an integer for a source read in chunks, whose rows have no positions; got "
            f"{type(options.cv).__name__}."
        )


def read_source(
    est: Any, source: Any, y: Any, roles: dict[str, Any]
) -> tuple[RowSource, RoleData, dict[str, Any]]:
    """Read a source twice: levels of its categories, then sums and labelled rows.

    Parameters
    ----------
    est : SurrogateEstimator
        With its options.
    source : object
        As for ``fit_stream``.
    y : str, list of str or None
        Outcome.
    roles : dict
        Role -> column name(s) or None.

    Returns
    -------
    source : RowSource
        Without model and labelling, which follow from the labelled rows.
    gold : RoleData
        The labelled rows.
    totals : dict
        Arguments of ``source_labelling``.
    """
    first = next(iter(ChunkSource(source)), None)
    if first is None:
        raise DataError("The source has no row.")
    columns = source_columns(est, first.names, y, roles)
    chunks = ChunkSource(source, columns)
    bare = clone(est)
    reader = ChunkReader(bare, y, roles)
    names = columns if columns is not None else list(first.names)
    terms = est._terms()
    if terms.formula is not None or terms.by or not all(first.numeric(c) for c in names if c != y):
        levels = merge_levels(chunks.map(scan_levels, repeat(reader)))
        taken = _taken(y, roles)
        covariates = tuple(c for c in first.names if c not in taken)
        design = bind_source(levels, terms, first.names, covariates)
        reader = replace(reader, levels=levels.columns, design=design)
    scans = list(chunks.map(scan_chunk, repeat(reader)))
    gold_parts = [scan.gold for scan in scans if scan.gold is not None]
    if not gold_parts:
        n = sum(scan.n_rows for scan in scans)
        raise DataError(
            f"No row is labelled: the predicted columns are missing in all {n} rows. Pass expert "
            "labels for some rows."
        )
    gold = join_rows(gold_parts)
    dropped = _dropped(scans)
    gold = replace(
        gold,
        n_dropped_by=dropped,
        n_left_out=sum(scan.n_rows - scan.n_used for scan in scans),
    )
    if gold.n_dropped:
        listed = ", ".join(f"{name} {count}" for name, count in dropped.items())
        n = sum(scan.n_rows for scan in scans)
        warn(
            f"{gold.n_dropped} of {n} rows dropped for missing values: {listed}.",
            DroppedRowsWarning,
        )
    used = [scan for scan in scans if scan.n_used]
    rules = ChunkRules(reader)
    found = RowSource(
        chunks,
        rules,
        [scan.n_used for scan in scans],
        [0 if scan.gold is None else scan.gold.X.shape[0] for scan in scans],
        np.min([scan.low for scan in used], axis=0),
        np.max([scan.high for scan in used], axis=0),
    )
    est.n_features_in_ = len(gold.design.columns)
    est.feature_names_in_ = np.asarray(gold.design.columns, dtype=object)
    gram = np.sum([scan.gram for scan in used if scan.gram is not None], axis=0)
    totals = {
        "strata": _join_totals(used),
        "groups": _join_groups(used),
        "gram": gram,
        "transformed": est._transformed(first),
    }
    return found, gold, totals


def _taken(y: Any, roles: dict[str, Any]) -> set[str]:
    return {name for value in (y, *roles.values()) for name in columns_named_by(value)}


def _dropped(scans: list[ChunkScan]) -> dict[str, int]:
    dropped: dict[str, int] = {}
    for scan in scans:
        for name, count in scan.dropped.items():
            dropped[name] = dropped.get(name, 0) + count
    return dropped


def _join_totals(scans: list[ChunkScan]) -> tuple[LabelTotals, tuple[Any, ...] | None]:
    """Add up the sums of all chunks by stratum; also returns the strata."""
    joined: dict[Any, list[float]] = {}
    for scan in scans:
        for key, (drawn, total, low, high) in scan.totals.items():
            have = joined.setdefault(key, [0.0, 0.0, np.inf, -np.inf])
            have[0] += drawn
            have[1] += total
            have[2], have[3] = min(have[2], low), max(have[3], high)
    levels = None if None in joined else sorted_levels(joined, "strata")
    rows = np.array([joined[key] for key in (levels or (None,))])
    return LabelTotals(*(np.ascontiguousarray(column) for column in rows.T)), levels


def _join_groups(scans: list[ChunkScan]) -> dict[Any, Any]:
    """Level of every group of the source -> its stratum."""
    joined: dict[Any, Any] = {}
    for scan in scans:
        for level, home in scan.groups.items():
            if level in joined and joined[level] != home:
                raise RoleError(
                    f"psu {level!r} lies in more than one of the strata. Give units of different "
                    "strata different psu labels."
                )
            joined[level] = home
    return joined


def with_groups(gold: RoleData, names: tuple[Any, ...] | None) -> RoleData:
    """Labelled rows with the group levels of the whole source."""
    if names is None:
        return gold
    psu = gold.roles.get("psu")
    if psu is not None:
        roles = {**gold.roles, "psu": Codes(recode(psu, names), names)}
        return replace(gold, roles=roles)
    assert gold.clusters is not None
    return replace(gold, clusters=Codes(recode(gold.clusters, names), names))


def source_labelling(
    gold: RoleData, totals: LabelTotals, levels: Any, n_rows: int, options: Options
) -> tuple[Labelling, Array | None]:
    """Labels of the labelled rows, standing for ``n_rows``, and the factor of probabilities."""
    n, prob, cells = gold.X.shape[0], gold.roles.get("sample_prob"), None
    refuse_weightless(gold.weights, np.arange(n))
    if levels is not None:
        cells = Codes(recode(gold.roles["strata"], levels), levels)
    elif options.design == "stratified":
        raise RoleError("design='stratified' needs strata=: the stratum of every row.")
    if prob is not None and not (totals.low.min() > 0.0 and totals.high.max() <= 1.0):
        raise RoleError(
            f"sample_prob has values outside (0, 1] (min {totals.low.min():g}, max "
            f"{totals.high.max():g}). Pass the known labelling probability of every row, or leave "
            "sample_prob out for equal-probability sampling."
        )
    scale: Array | None = None
    known, mass, low, high = False, totals.drawn, totals.low.min(), totals.high.max()
    if n == n_rows:
        scale = np.ones(totals.drawn.size)
        prob, low, high = None, 1.0, 1.0
    elif prob is None or options.normalize_prob:
        scale = totals.scale(levels)
        low, high = float((totals.low * scale).min()), float((totals.high * scale).max())
    else:
        known, mass = options.design == "bernoulli", totals.total
    used = prob if scale is None else scaled_probabilities(scale, prob, cells, n)
    assert used is not None
    ratio = 1.0 / used
    everyone = np.ones(n, dtype=bool)
    labelling = Labelling(
        everyone,
        np.arange(n),
        used,
        ratio,
        gold.weights,
        cells,
        known,
        None,
        check_weights(ratio, float(low), float(high), used),
        n_rows,
        mass,
        None,
        (float(low), float(high)),
    )
    return labelling, scale


def stream_problem(
    est: Any, rows: RowSource, gold: RoleData, sums: dict[str, Any], options: Options
) -> Problem:
    """Set up the estimating equations of a source from its labelled rows."""
    refuse_unused(gold, options)
    gold, classes = est._encode_outcome(gold)
    prediction = gold.roles.get("prediction")
    if prediction is None and gold.roles.get("features") is None:
        est._missing_role("prediction", gold.X, gold.y)
    if prediction is None and est.learner == "passthrough":
        raise RoleError("learner='passthrough' needs prediction=: the surrogate to be used.")
    model = est._row_model(gold, classes)
    predicted = tuple(prediction) if isinstance(prediction, dict) else (OUTCOME,)
    targets = gold_values(gold, predicted, classes)
    totals, levels = sums["strata"]
    labelling, scale = source_labelling(gold, totals, levels, sum(rows.used), options)
    warn_complete(labelling)
    surrogates = surrogates_by_column(prediction)
    transformed = sums["transformed"]
    refuse_transformed(gold, options, surrogates, transformed)
    groups = sums["groups"]
    names = sorted_levels(groups, "clusters or psu") if groups else None
    gold = with_groups(gold, names)
    rows.rules = replace(
        rows.rules,
        model=model,
        targets=predicted,
        outcomes=gold.outcomes or (OUTCOME,),
        classes=classes,
        scale=scale,
        totals=labelling,
        strata=levels,
        groups=names,
    )
    rows.group_strata = groups
    return build_problem(
        gold,
        model,
        labelling,
        targets,
        surrogates,
        classes,
        transformed,
        source=rows,
        gram=sums["gram"],
    )
