"""From documents to units: shares of people, outlets or days from labels of their documents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import pandas as pd

from robuststat._core.errors import DataError, RoleError
from robuststat._core.params import one_of
from robuststat._core.roles import RoleReader
from robuststat._core.table import Codes, as_table
from robuststat._core.types import Array, BoolArray
from robuststat.report import Column, Summary, footer_lines
from robuststat.surrogate._goals import check_value
from robuststat.surrogate._labels import check_probabilities, read_labelled

Drawn: TypeAlias = Literal["documents", "units"]

_OWN_COLUMNS = ("n_documents", "n_labeled", "noise", "sample_prob")


@dataclass(frozen=True, slots=True)
class Units:
    """Units with the mean of the expert labels of their documents, ready for a regression.

    Attributes
    ----------
    table : DataFrame
        One row a unit, sorted: the unit; the covariates; the label (see ``drawn``); the mean of
        every surrogate under its name; ``n_documents`` and ``n_labeled``; then for
        ``drawn="documents"`` ``noise``, whose square estimates the variance of the unit's label
        from the unit's own expert labels (0 without any; unbiased over labellings), or for
        ``drawn="units"`` ``sample_prob``, the probability of the unit.
    weights : ndarray of shape (n_documents,)
        Share of each document in its unit: the ``sample_weight`` with which a regression of
        documents, clustered by unit, has the coefficients of the regression of units.
    label : str
        Name of the label column in ``table``.
    drawn : {"documents", "units"}
        With "documents", the label is known for every unit, up to noise of known size, and serves
        as an outcome only. With "units" it is exact where every document is labelled and missing
        elsewhere, and serves as outcome or covariate.
    reliability : float
        Share of the variance of the label between units that is not noise of labelling; 1 for
        ``drawn="units"``.

    Examples
    --------
    >>> import pandas as pd
    >>> from robuststat import aggregate_units
    >>> documents = pd.DataFrame(
    ...     {"who": ["a", "a", "b", "b"], "y": [1, None, None, 0], "s": [1, 1, 0, 1]}
    ... )
    >>> units = aggregate_units(documents, "y", unit="who", prediction="s")
    >>> units.table[["who", "y", "s", "n_documents", "n_labeled"]]
      who    y    s  n_documents  n_labeled
    0   a  1.0  1.0            2          1
    1   b -0.5  0.5            2          1
    """

    table: pd.DataFrame
    weights: Array
    label: str
    drawn: Drawn
    reliability: float

    def summary(self) -> Summary:
        """Say how many units and labels there are, and what the label of a unit is good for."""
        numbers = self.table[[self.label, "n_documents", "n_labeled"]].describe().loc[_SHOWN]
        columns = [
            Column(str(name), [f"{value:,.3g}" for value in numbers[name]], "  ")
            for name in numbers
        ]
        n_labeled = int(self.table["n_labeled"].sum())
        with_labels = int((self.table["n_labeled"] > 0).sum())
        header = (
            f"Units by the mean of {self.label} over their documents",
            f"Units: {len(self.table):,} ({with_labels:,} with labels)    Documents: "
            f"{self.weights.size:,} ({n_labeled:,} labelled)",
        )
        if self.drawn == "documents":
            notes = [
                f"{self.label} is unbiased for every unit, with or without labels, and may leave "
                "the range of the labels. Use it as the outcome of a linear regression with "
                "standard errors that are robust to unequal variances.",
            ]
            if np.isfinite(self.reliability):
                notes.append(
                    f"As a covariate its slope would shrink to about {self.reliability:.2f}: draw "
                    "whole units for that."
                )
        else:
            notes = [
                f"{self.label} is exact for units with every document labelled and missing for the "
                "others. Pass the mean surrogates as prediction and sample_prob to fit."
            ]
        return Summary(
            header=header,
            leading=(),
            footer=tuple(footer_lines(lines=(), notes=notes, assumptions=())),
            names=tuple(_SHOWN),
            columns=tuple(columns),
            blocks=("",) * len(_SHOWN),
            stars=False,
            tables={"units": self.table},
        )

    def _repr_html_(self) -> str:
        return self.summary()._repr_html_()

    def __str__(self) -> str:
        return str(self.summary())

    def __repr__(self) -> str:
        return str(self)


_SHOWN = ["mean", "std", "min", "50%", "max"]


@dataclass(frozen=True, slots=True)
class _Documents:
    """Columns of the documents as arrays."""

    y: Array
    labeled: BoolArray
    surrogates: dict[str, Array]
    prob: Array
    units: Codes
    weights: Array
    covariates: dict[str, pd.Series]


def aggregate_units(
    X: Any,
    y: str,
    *,
    unit: str,
    prediction: str | Sequence[str],
    sample_prob: str | None = None,
    covariates: Sequence[str] = (),
    sample_weight: str | None = None,
    drawn: Drawn = "documents",
) -> Units:
    """Turn labelled documents into units: the share of a label, or its mean, by unit.

    The target of a unit is the mean of the expert label over all its documents. Use it when the
    question is about people, outlets or days, and the labels are of their documents.

    Parameters
    ----------
    X : frame
        One row a document.
    y : str
        Column of the expert label, a number or 0/1; missing where not labelled.
    unit : str
        Column that names the unit.
    prediction : str or list of str
        Columns of surrogates, known for every document, on the scale of the label; the first one
        corrects (and is corrected by) the labels when documents were drawn.
    sample_prob : str, optional
        Column with the probability that the document was labelled; by default the share of
        what was drawn (documents or units) that is labelled.
    covariates : list of str, default=()
        Columns to carry over; constant within units.
    sample_weight : str, optional
        Column with weights of documents in the mean of their unit.
    drawn : {"documents", "units"}, default="documents"
        What the labelling design drew: single documents, in whatever unit they are; or whole units
        with all their documents.

    Returns
    -------
    Units

    Raises
    ------
    DataError
        When values are missing where they may not, covariates vary within a unit, or names clash.
    ParameterError
        When a column is not given by its name.
    RoleError
        When a column does not exist, probabilities are outside (0, 1], or with ``drawn="units"``
        a unit is labelled in part or its documents have different probabilities.

    Notes
    -----
    *Documents drawn.* The label of unit j is the mean over its documents of g + (R / pi) (y - g),
    with the surrogate g: document-level design-based supervised learning within the unit. Given the
    documents its expectation is the mean of y, for any g and any design with known pi, also for
    units without labels, so that scores x (label - mu(x'b)), linear in the label, keep their
    expectation. Units are independent, hence the variance robust at the level of units is right
    (a fixed number of labels makes it, if anything, too large). The same coefficients come from the
    documents themselves with ``sample_weight=units.weights`` and ``clusters=unit``, where a learner
    can be cross-fitted and ``variance="design"`` used. ``noise`` is the root of
    sum (R / pi^2) (1 - pi) (y - g)^2 / N^2, for independent draws. Units drawn first and some of
    their documents then also fit here, with the product of the two probabilities; only ``noise``
    is then no longer right.

    *Units drawn.* The label is the mean of y where all documents are labelled, and the probability
    of the unit that of its documents: an ordinary labelled sample of units.

    The recipe of taking the mean of the labelled documents for the truth with probability
    1 - prod(1 - pi) is not offered. It is biased when documents of one unit have different
    probabilities, and as a covariate, whose noise it ignores; where it is valid (an outcome, equal
    probabilities within units), it is less precise.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from robuststat import DSLRegressor, aggregate_units
    >>> rng = np.random.default_rng(0)
    >>> who = np.repeat(np.arange(300), 10)
    >>> x = rng.normal(size=300)[who]
    >>> gold = (rng.random(3000) < 0.5 + 0.1 * np.tanh(x)).astype(float)
    >>> machine = np.where(rng.random(3000) < 0.8, gold, 1.0)
    >>> y = np.where(rng.random(3000) < 0.2, gold, np.nan)
    >>> documents = pd.DataFrame({"who": who, "x": x, "y": y, "machine": machine, "pi": 0.2})
    >>> units = aggregate_units(
    ...     documents, "y", unit="who", prediction="machine", sample_prob="pi", covariates=["x"]
    ... )
    >>> slope, level = np.polyfit(units.table["x"], units.table["y"], 1)
    >>> est = DSLRegressor(learner="passthrough", design="bernoulli", normalize_prob=False)
    >>> est = est.fit(
    ...     documents[["x"]],
    ...     y,
    ...     prediction=machine,
    ...     sample_prob=documents["pi"],
    ...     sample_weight=units.weights,
    ...     clusters=who,
    ... )
    >>> bool(np.isclose(est.coef_[0], slope))
    True
    """
    check_value("drawn", drawn, one_of("documents", "units"))
    names = [prediction] if isinstance(prediction, str) else list(prediction)
    carried = [covariates] if isinstance(covariates, str) else list(covariates)
    given = [("y", y), ("unit", unit), *(("prediction", name) for name in names)]
    given += [("covariates", name) for name in carried]
    given += [
        ("sample_prob", "" if sample_prob is None else sample_prob),
        ("sample_weight", "" if sample_weight is None else sample_weight),
    ]
    for role, name in given:
        check_value(role, name, _is_column)
    _check_names(names, carried, y, unit)
    read = _read(X, y, unit, names, sample_prob, carried, sample_weight, drawn)
    codes, n_units = read.units.codes, len(read.units.levels)
    total = np.bincount(codes, read.weights, n_units)
    if (total == 0).any():
        raise DataError(
            f"sample_weight is zero in all documents of {(total == 0).sum()} units (first: "
            f"{read.units.levels[int((total == 0).argmax())]!r}). Drop these units."
        )
    share = read.weights / total[codes]
    table = pd.DataFrame({unit: list(read.units.levels)})
    first = np.unique(codes, return_index=True)[1]
    for name, column in read.covariates.items():
        _check_constant(column, name, read.units, unit)
        table[name] = column.iloc[first].reset_index(drop=True)
    g = read.surrogates[names[0]]
    gap = np.where(read.labeled, read.y - g, 0.0) / read.prob
    noise = share**2 * (1.0 - read.prob) * gap**2
    if drawn == "documents":
        table[y] = np.bincount(codes, share * (g + gap), n_units)
    else:
        _check_whole(read, unit)
        mean = np.bincount(codes, share * np.where(read.labeled, read.y, 0.0), n_units)
        table[y] = np.where(read.labeled[first], mean, np.nan)
    for name, values in read.surrogates.items():
        table[name] = np.bincount(codes, share * values, n_units)
    table["n_documents"] = np.bincount(codes, minlength=n_units)
    table["n_labeled"] = np.bincount(codes[read.labeled], minlength=n_units)
    reliability = 1.0
    if drawn == "documents":
        variance = np.bincount(codes, noise, n_units)
        table["noise"] = np.sqrt(variance)
        spread = float(table[y].var()) if n_units > 1 else np.nan
        reliability = max(0.0, 1.0 - float(variance.mean()) / spread) if spread > 0 else np.nan
    else:
        table["sample_prob"] = read.prob[first]
    return Units(table, share, y, drawn, reliability)


def _is_column(value: Any) -> str | None:
    return None if isinstance(value, str) else "the name of a column of X"


def _check_names(names: list[str], carried: list[str], y: str, unit: str) -> None:
    if not names:
        raise RoleError("prediction is empty. Name at least one surrogate column of X.")
    every = [unit, *carried, y, *names, *_OWN_COLUMNS]
    twice = sorted({str(name) for name in every if every.count(name) > 1})
    if twice:
        raise DataError(
            f"{', '.join(twice)} would name several columns of the units. Give unit, y, prediction "
            f"and covariates different columns, none called {', '.join(_OWN_COLUMNS)}."
        )


def _read(
    X: Any,
    y: str,
    unit: str,
    names: list[str],
    sample_prob: str | None,
    carried: list[str],
    sample_weight: str | None,
    drawn: Drawn,
) -> _Documents:
    """Read the documents; everything but the label must be there."""
    table = as_table(X)
    if table is None or table.n_rows == 0:
        raise DataError("X must be a data frame with one row a document, and at least one row.")
    n = table.n_rows
    reader = RoleReader(table, n)
    units = reader.codes("unit", unit)
    surrogates = {name: reader.numeric("prediction", name) for name in names}
    prob = None if sample_prob is None else reader.numeric("sample_prob", sample_prob)
    weights = np.ones(n)
    if sample_weight is not None:
        weights = reader.numeric("sample_weight", sample_weight)
    covariates = {name: reader.column("covariates", name) for name in carried}
    for name, column in covariates.items():
        reader.note_missing(name, column.isna().to_numpy())
    if reader.missing:
        counts = ", ".join(f"{name} ({mask.sum()} rows)" for name, mask in reader.missing.items())
        raise DataError(f"X has missing values in {counts}. Fill them, or drop these documents.")
    # Read last: its missing values are what they are for.
    gold = RoleReader(table, n).numeric("y", y)
    labeled = read_labelled(None, {y: ~np.isnan(gold)}, n)
    if prob is None:
        share = labeled.mean()
        if drawn == "units":
            share = np.unique(units.codes[labeled]).size / len(units.levels)
        prob = np.full(n, share)
    check_probabilities(prob)
    bad = ~(np.isfinite(weights) & (weights >= 0))
    if bad.any():
        raise DataError(
            f"sample_weight has {bad.sum()} values that are negative or infinite (first at row "
            f"{int(bad.argmax())}). Pass weights of at least zero."
        )
    return _Documents(gold, labeled, surrogates, prob, units, weights, covariates)


def _check_constant(column: pd.Series, name: str, units: Codes, unit: str) -> None:
    values = pd.factorize(column)[0]
    first = values[np.unique(units.codes, return_index=True)[1]]
    varies = np.unique(units.codes[values != first[units.codes]])
    if varies.size:
        raise DataError(
            f"covariates: {name!r} varies within {varies.size} values of {unit!r} (first: "
            f"{units.levels[varies[0]]!r}). Make it a property of the unit, such as its mean."
        )


def _check_whole(read: _Documents, unit: str) -> None:
    """Whole units drawn: all or no documents labelled, with one probability."""
    codes, n_units = read.units.codes, len(read.units.levels)
    number = np.bincount(codes[read.labeled], minlength=n_units)
    part = np.flatnonzero((number > 0) & (number < np.bincount(codes, minlength=n_units)))
    if part.size:
        raise RoleError(
            f"drawn='units', but {part.size} units are labelled in part (first: {unit} "
            f"{read.units.levels[part[0]]!r} with {number[part[0]]} labels). Use drawn='documents'."
        )
    low, high = np.full(n_units, np.inf), np.zeros(n_units)
    np.minimum.at(low, codes, read.prob)
    np.maximum.at(high, codes, read.prob)
    uneven = np.flatnonzero(high > low * (1.0 + 1e-12))
    if uneven.size:
        raise RoleError(
            f"drawn='units', but sample_prob differs between documents of {uneven.size} units "
            f"(first: {unit} {read.units.levels[uneven[0]]!r}). Pass the probability of the unit."
        )
