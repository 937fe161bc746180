"""Gap of the chosen subset, with or without regard to the choice."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from sklearn.utils import Bunch

from robuststat._core.types import BoolArray
from robuststat.invariance._gap import env_model, homoscedastic_test
from robuststat.invariance._moments import EnvMoments
from robuststat.invariance._rows import EnvRows

# Environments from which whole ones are set aside rather than rows of each.
_MANY_ENV = 10


def halves(
    rows: EnvRows, selection: str, rng: np.random.Generator
) -> tuple[EnvRows, EnvRows | None]:
    """Rows for the search and rows set aside; all and None unless ``selection`` is "split"."""
    if selection != "split":
        return rows, None
    if rows.n_env >= _MANY_ENV:
        first = rng.permutation(rows.n_env)[: rows.n_env // 2]
        chosen = np.isin(rows.codes, first)
    else:
        order = np.lexsort((rng.random(len(rows.y)), rows.codes))
        sizes = np.bincount(rows.codes)
        starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
        place = np.arange(len(rows.y)) - np.repeat(starts, sizes)
        chosen = np.zeros(len(rows.y), dtype=bool)
        chosen[order] = 2 * place < np.repeat(sizes, sizes)
    return _some(rows, chosen), _some(rows, ~chosen)


def _some(rows: EnvRows, index: BoolArray) -> EnvRows:
    used, codes = np.unique(rows.codes[index], return_inverse=True)
    return replace(
        rows,
        X=rows.X[index],
        y=rows.y[index],
        codes=codes.astype(np.int64),
        levels=tuple(rows.levels[int(e)] for e in used),
        weights=None if rows.weights is None else rows.weights[index],
    )


def chosen_gap(
    best: tuple[int, ...] | None,
    searched: EnvMoments,
    held_out: EnvMoments | None,
    *,
    alpha: float,
    n_sets: int,
    selection: str,
) -> Bunch | None:
    """Gap psi of the chosen set with its interval (2.1).

    Parameters
    ----------
    best : tuple of int or None
        Positions of the columns.
    searched, held_out : EnvMoments
        Of the rows of the search; of rows set aside.
    alpha : float
        One minus the level.
    n_sets : int
        Sets searched, for the Bonferroni correction.
    selection : str
        "none", "bonferroni" or "split".
    """
    if best is None:
        return None
    used = searched if held_out is None else held_out
    level = 1.0 - (alpha / n_sets if selection == "bonferroni" else alpha)
    test = homoscedastic_test(env_model(used.select(best), intercept=True))
    low, high = test.interval(level)
    return Bunch(subset=best, psi=test.psi, conf_low=low, conf_high=high, level=1.0 - alpha)
