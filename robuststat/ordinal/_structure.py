"""From options to parameters: thresholds, common and varying columns, their names and units."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from robuststat._core.errors import ParameterError, warn
from robuststat._core.types import Array, BoolArray
from robuststat.ordinal._families import Family
from robuststat.ordinal._slabs import Layout

THRESHOLDS = ("flexible", "symmetric", "equidistant")
LOCATION, SCALE, CUTS = "location", "scale", "thresholds"


@dataclass(frozen=True, slots=True)
class Structure:
    """Parameters of a model on a given design.

    Attributes
    ----------
    layout : Layout
        Which column has which kind of coefficient, constant columns left out.
    centre, unit : ndarray of shape (p,)
        Columns enter as (x - centre) / unit, which changes nothing but the rounding.
    boundaries : tuple of str
        Names of the boundaries, such as "low|high".
    names, component : tuple of str
        Of the parameters on the raw scale, in the order in which they are shown.
    to_raw : ndarray of shape (k, k)
        Shown parameters as a linear function of those of the layout.
    n_columns : int
        p.
    constant : tuple of str
        Columns left out because they hold one value.
    inner_names : tuple of str
        Names of the layout's parameters, for messages.
    """

    layout: Layout
    centre: Array
    unit: Array
    boundaries: tuple[str, ...]
    names: tuple[str, ...]
    component: tuple[str, ...]
    to_raw: Array
    n_columns: int
    constant: tuple[str, ...]
    inner_names: tuple[str, ...]

    def raw(self, phi: Array) -> tuple[Array, Array, Array]:
        """Thresholds (q,), coefficients (q, p) and scale effects (s,) in the units of the data."""
        layout = self.layout
        _, _, _, zeta = layout.split(phi)
        coef = layout.coefficients(phi, self.n_columns) / self.unit
        theta = layout.split(phi)[0] + coef @ self.centre
        return theta, coef, zeta / self.unit[layout.scale]


def threshold_jacobian(kind: str, q: int) -> tuple[Array, tuple[str, ...] | None]:
    """Thresholds as a linear function of their parameters, and the names of these.

    "equidistant": the first one and the spacing. "symmetric": distances from the centre are the
    same on both sides; with an even number of thresholds the two in the middle are free. Names are
    those of R's clm; None stands for one parameter a boundary.
    """
    if kind == "flexible" or q == 1:
        return np.eye(q), None
    if kind == "equidistant":
        return np.column_stack([np.ones(q), np.arange(q)]), ("threshold.1", "spacing")
    half = q // 2
    if q % 2:
        J = np.zeros((q, 1 + half))
        J[:, 0] = 1.0
        middle, names = (half, half), ["central"]
    else:
        J = np.zeros((q, 1 + half))
        J[:half, 0] = 1.0
        J[half:, 1] = 1.0
        middle, names = (half - 1, half), ["central.1", "central.2"]
    n_spacings = J.shape[1] - len(names)
    for j in range(n_spacings):
        J[middle[0] - j - 1, len(names) + j] = -1.0
        J[middle[1] + j + 1, len(names) + j] = 1.0
    return J, (*names, *(f"spacing.{j + 1}" for j in range(n_spacings)))


def make_structure(
    family: Family,
    classes: Sequence[Any],
    names: tuple[str, ...],
    *,
    centre: Array,
    spread: Array,
    parallel: bool | Sequence[str],
    threshold: str,
    scale: Sequence[str] | None,
) -> Structure:
    """Decide which parameters there are.

    Parameters
    ----------
    family : Family
        Likelihood.
    classes : sequence
        Labels, lowest first.
    names : tuple of str
        Columns of the design.
    centre, spread : ndarray of shape (p,)
        Mean and standard deviation of the columns; a spread of zero means a constant column.
    parallel : bool or sequence of str
        Columns with one coefficient; True: all, False: none.
    threshold : {"flexible", "symmetric", "equidistant"}
        Structure of the thresholds.
    scale : sequence of str or None
        Columns with scale effects.

    Raises
    ------
    ParameterError
        For names that are not columns, and combinations that mean nothing.
    """
    q, p = len(classes) - 1, len(names)
    common = _common(parallel, names)
    scaled = _chosen("scale", scale, names)
    if scaled.any() and family.shape != "cumulative":
        raise ParameterError(
            f"scale effects belong to family='cumulative'; family is {family.name!r}. Leave scale "
            "out."
        )
    if threshold != "flexible" and not common.all():
        raise ParameterError(
            f"threshold={threshold!r} restricts thresholds that do not vary with the columns; it "
            "needs parallel=True."
        )
    fixed = spread == 0
    if fixed.any():
        listed = tuple(n for n, c in zip(names, fixed, strict=True) if c)
        warn(
            f"{', '.join(listed[:5])}{', ...' if len(listed) > 5 else ''}: constant, so that the "
            "thresholds take its place. Its coefficient is 0; drop it."
        )
    J, cut_names = threshold_jacobian(threshold, q)
    index = np.arange(p)
    layout = Layout(
        family,
        q + 1,
        index[common & ~fixed],
        index[~common & ~fixed],
        index[scaled & ~fixed],
        J,
    )
    boundaries = tuple(f"{a}|{b}" for a, b in itertools.pairwise(classes))
    unit = np.where(fixed, 1.0, spread)
    shown, component, to_raw = _shown(layout, names, boundaries, cut_names, centre, unit)
    return Structure(
        layout,
        centre,
        unit,
        boundaries,
        shown,
        component,
        to_raw,
        p,
        tuple(n for n, c in zip(names, fixed, strict=True) if c),
        (
            *(boundaries if cut_names is None else cut_names),
            *(names[j] for j in layout.common),
            *(f"{names[j]} at {b}" for b in boundaries for j in layout.varying),
            *(f"{names[j]} (scale)" for j in layout.scale),
        ),
    )


def _common(parallel: bool | Sequence[str], names: tuple[str, ...]) -> BoolArray:
    if isinstance(parallel, bool | np.bool_):
        return np.full(len(names), bool(parallel))
    return _chosen("parallel", parallel, names)


def _chosen(what: str, chosen: Sequence[str] | None, names: tuple[str, ...]) -> BoolArray:
    if chosen is None:
        return np.zeros(len(names), dtype=bool)
    unknown = [repr(n) for n in chosen if n not in names]
    if unknown:
        raise ParameterError(
            f"{what} names {', '.join(unknown)}, which is not a column of the design. Its columns "
            f"are {', '.join(names[:20])}{', ...' if len(names) > 20 else ''}."
        )
    return np.isin(np.array(names, dtype=object), list(chosen))


def _shown(
    layout: Layout,
    names: tuple[str, ...],
    boundaries: tuple[str, ...],
    cut_names: tuple[str, ...] | None,
    centre: Array,
    unit: Array,
) -> tuple[tuple[str, ...], tuple[str, ...], Array]:
    """Names, components and rows of the map to raw parameters: slopes, scale, thresholds."""
    t, p, v, s = layout.J.shape[1], layout.common.size, layout.varying.size, layout.scale.size
    size, rows, shown, component = layout.n_params, [], [], []

    def add(name: str, block: str, entries: dict[int, float]) -> None:
        row = np.zeros(size)
        for j, value in entries.items():
            row[j] = value
        rows.append(row)
        shown.append(name)
        component.append(block)

    for j, column in enumerate(layout.common):
        add(names[column], LOCATION, {t + j: 1.0 / unit[column]})
    for k, boundary in enumerate(boundaries):
        for j, column in enumerate(layout.varying):
            place = t + p + k * v + j
            add(names[column], f"{LOCATION} at {boundary}", {place: 1.0 / unit[column]})
    for j, column in enumerate(layout.scale):
        add(names[column], SCALE, {size - s + j: 1.0 / unit[column]})
    # theta = J tau + m'b: the shift of all thresholds as a change of their own parameters.
    shift = np.linalg.lstsq(layout.J, np.ones(layout.q), rcond=None)[0]
    for i, name in enumerate(boundaries if cut_names is None else cut_names):
        entries = {i: 1.0}
        for j, column in enumerate(layout.common):
            entries[t + j] = shift[i] * centre[column] / unit[column]
        for j, column in enumerate(layout.varying):
            entries[t + p + i * v + j] = centre[column] / unit[column]
        add(name, CUTS, entries)
    return tuple(shown), tuple(component), np.array(rows).reshape(-1, size)
