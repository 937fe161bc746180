"""Compiled loops. Each kernel has a NumPy twin that small problems use instead.

A kernel module is imported when it is first needed, because importing numba takes about a second.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable

import numpy as np

__all__ = ["warmup"]


def _warm_segment() -> None:
    segment = importlib.import_module("robuststat.kernels.segment")
    segment.segment_sums(np.ones((2, 1)), np.zeros(2, dtype=np.int64), np.zeros((1, 1)))


def _warm_mixture() -> None:
    mixture = importlib.import_module("robuststat.kernels.mixture")
    points = np.ones((2, 1))
    mixture.squared_distances(points, np.zeros((1, 1)), np.ones((1, 1, 1)), np.empty((2, 1)))
    mixture.weighted_moments(
        points, np.ones((2, 1)), np.zeros(1), np.zeros((1, 1)), np.zeros((1, 1, 1))
    )


# One entry a kernel module: calls each kernel with the types it is used with.
_WARMERS: tuple[Callable[[], None], ...] = (_warm_segment, _warm_mixture)


def warmup() -> None:
    """Compile every kernel now, so that no later call pays for it.

    Compiled code is cached on disk (see ``NUMBA_CACHE_DIR``); the first call on a machine takes
    seconds, later ones load the cache.

    Examples
    --------
    >>> import robuststat
    >>> robuststat.warmup()
    """
    for warm in _WARMERS:
        warm()
