"""Private locations of columns inside a larger release: one payment, one warning, several draws."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from robuststat._core.errors import ParameterError, warn
from robuststat._core.types import Array
from robuststat.private._base import check_bounds
from robuststat.private._counting import GridSample
from robuststat.private._entropy import Entropy
from robuststat.private._feasibility import Feasibility
from robuststat.private._location import DPLocation
from robuststat.private._loss import LayerTable
from robuststat.private._setup import Setup, distribution, draw, make_setup


def bounds_table(bounds: Any, owner: str, name: str, columns: int | None = None) -> Array:
    """Public bounds of several columns; one pair stands for all of them.

    Parameters
    ----------
    bounds : pair of float, or array of shape (p, 2)
        Public.
    owner, name : str
        For messages.
    columns : int, optional
        Number of columns, once it is known.

    Returns
    -------
    ndarray of shape (p, 2)
        One row while ``columns`` is not known and one pair is given.

    Raises
    ------
    ParameterError
        For bounds that are missing, not increasing, or of another number of columns.
    """
    check_bounds((0.0, 1.0) if bounds is not None else None, owner, name)
    try:
        table = np.asarray(bounds, dtype=np.float64)
    except (TypeError, ValueError):
        table = np.empty(0)
    if table.ndim not in (1, 2) or table.shape[-1] != 2 or table.size == 0:
        raise ParameterError(
            f"{owner}: {name} must be (low, high) for all columns, or one pair a column; got "
            f"{bounds!r}."
        )
    table = np.atleast_2d(table)
    for low, high in table:
        check_bounds((low, high), owner, name)
    if columns is not None and len(table) == 1:
        table = np.repeat(table, columns, axis=0)
    if columns is not None and len(table) != columns:
        raise ParameterError(
            f"{owner}: {name} has {len(table)} pairs, but there are {columns} columns. Pass one "
            "pair, or one a column."
        )
    return table


def per_column(value: Any, columns: int, owner: str, name: str) -> list[Any]:
    """One option a column from one value, or from a sequence with one a column."""
    if isinstance(value, str) or np.ndim(value) == 0:
        return [value] * columns
    if len(value) != columns:
        raise ParameterError(
            f"{owner}: {name} has {len(value)} values, but there are {columns} columns."
        )
    return list(value)


class _Silent(DPLocation):
    """Location whose owner warns for all columns at once."""

    def _flag(self, words: str) -> None:
        self.conf_int_flag_ = words


@dataclass(frozen=True, slots=True)
class Drawn:
    """What became known of one column.

    Attributes
    ----------
    estimate : float
        Released location.
    interval : ndarray of shape (2,) or None
        Released interval.
    flag : str
        What is wrong with the interval, or "".
    """

    estimate: float
    interval: Array | None
    flag: str


class Coordinate:
    """One column: public options, and the share of epsilon that it gets.

    Parameters
    ----------
    owner : str
        Estimator, for messages.
    label : str
        Name of the column.
    estimator : str
        As in ``DPLocation``.
    epsilon : Fraction
        Share of this column, for one row.
    bounds : tuple of float
        Public range of the column.
    rho : float or "auto"
        Precision.
    **options
        More options of ``DPLocation``.
    """

    def __init__(
        self,
        owner: str,
        label: str,
        estimator: Any,
        *,
        epsilon: Fraction,
        bounds: Any,
        rho: float | str,
        **options: Any,
    ) -> None:
        self.owner, self.label, self.epsilon = owner, label, epsilon
        low, high = (float(v) for v in bounds)
        self.location = _Silent(estimator, epsilon=1.0, bounds=(low, high), rho=rho, **options)
        self.setup: Setup = make_setup(
            owner, bounds=(low, high), rho=rho, step="auto", kind="step", secure=True
        )

    def sample(self, x: Array) -> GridSample:
        """Put the data of the column on its grid."""
        grid = self.setup.grid
        assert grid is not None
        values = np.where(np.isnan(x), grid.value(grid.middle), x)
        return GridSample([values], grid)

    def feasibility(self, n: int) -> Feasibility | None:
        """Whether n records are enough; None where the interval itself says so."""
        est = self.location
        if est.ci == "rank" and est.ci_share == 1:
            return None
        share = est._parts(n, self.setup, self.epsilon)[0].epsilon
        return est._feasibility(n, self.setup, share)

    def draw(self, source: Entropy, x: Array) -> Drawn:
        """Release the location (and interval) of the column; the charge is booked."""
        est, sample = self.location, self.sample(x)
        parts = est._parts(sample.n, self.setup, self.epsilon)
        drawn = [draw(source, self.setup, sample, part.target, part.epsilon) for part in parts]
        est._finish(self.setup, drawn, sample, source, self.epsilon)
        return Drawn(float(est.estimate_), est.conf_int_, est.conf_int_flag_)

    def layers(self, x: Array) -> list[LayerTable]:
        """Exact distribution of everything that ``draw`` draws; for audits only."""
        sample = self.sample(x)
        return [
            distribution(self.setup, sample, part.target, float(part.epsilon))
            for part in self.location._parts(sample.n, self.setup, self.epsilon)
        ]


def warn_of_size(coordinates: Sequence[Coordinate], n: int, records: str = "records") -> None:
    """Warn once, before anything is charged, for columns with too few records.

    Parameters
    ----------
    coordinates : sequence of Coordinate
        All columns.
    n : int
        Values a column.
    records : str
        What the values are, in words.
    """
    answers = [(c, c.feasibility(n)) for c in coordinates]
    poor = [(c, a) for c, a in answers if a is not None and not a.feasible]
    if not poor:
        return
    column, worst = max(poor, key=lambda pair: pair[1].n_needed or math.inf)
    needed = f"about {worst.n_needed:,} {records}" if worst.n_needed else "another estimator"
    names = ", ".join(c.label for c, _ in poor)
    warn(
        f"{column.owner}: {n:,} {records} are too few for epsilon={float(column.epsilon):.4g} a "
        f"part at this precision ({names}): the noise may stand for {worst.ranks_needed:,} changed "
        f"{records}, and the estimator bears {worst.ranks_available:,}. Expect noise over the "
        f"whole of the bounds. Use {needed}, a larger epsilon or rho, or narrower bounds."
    )
