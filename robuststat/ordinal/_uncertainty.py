"""Derivatives of class probabilities in the parameters."""

from __future__ import annotations

import numpy as np

from robuststat._core.types import Array
from robuststat.ordinal._slabs import class_scores, make_slabs
from robuststat.ordinal._structure import Structure


def probability_scores(
    structure: Structure, phi: Array, design: Array, code: int, offset: Array | None
) -> tuple[Array, Array]:
    """Probability (n,) of class ``code`` in every row, and its derivative (n, k) in phi.

    Rows whose boundaries cross at this class have probability and derivative zero.
    """
    slabs = make_slabs(
        design,
        np.full(len(design), code, dtype=np.int64),
        structure.layout,
        offset=offset,
        centre=structure.centre,
        unit=structure.unit,
    )
    log_p, psi = class_scores(structure.layout, slabs, phi)
    p = np.exp(log_p)
    return p, np.where(p[:, None] > 0, psi, 0.0) * p[:, None]
