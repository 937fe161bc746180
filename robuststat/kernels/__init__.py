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


def _warm_subsets() -> None:
    subsets = importlib.import_module("robuststat.kernels.subsets")
    eye = np.eye(2)[None]
    whole = np.zeros(2, dtype=np.int64), np.zeros((2, 1)), np.zeros((2, 1), dtype=np.int64)
    subsets.walk_subsets(
        *(eye, eye, np.zeros((1, 2)), np.zeros(1, dtype=np.int64), np.zeros((1, 1)), 1),
        *(*whole, np.zeros((2, 1)), np.zeros((2, 1))),
    )


def _warm_ordinal() -> None:
    ordinal = importlib.import_module("robuststat.kernels.ordinal")
    starts = np.array([0, 1, 2], dtype=np.int64)
    one, two = np.ones(2), np.zeros((1, 2))
    ordinal.logit_rows(np.ones((2, 2)), starts, one, one, two, two.copy(), np.zeros((5, 2)))
    ordinal.lasso_descent(np.eye(2), one, one, np.zeros(2), 1e-9, 10)


def _warm_buckets() -> None:
    buckets = importlib.import_module("robuststat.kernels.buckets")
    counts, x = np.zeros(2, dtype=np.int64), np.ones(1)
    buckets.count_buckets(x, 0.0, 1.0, 1, 0, counts, counts.copy())
    buckets.collect_buckets(x, 0.0, 1.0, 1, 0, np.ones(2, dtype=np.bool_), counts, 0)


def _warm_windows() -> None:
    windows = importlib.import_module("robuststat.kernels.windows")
    for x in (np.arange(3), np.arange(3.0)):
        windows.window_widths(x, np.ones(1, dtype=np.int64), np.zeros_like(x, shape=1))
        windows.mad_ends(x, x[:1], x[:1], 2, x[2], np.zeros_like(x, shape=(2, 1)))


def _warm_mixture() -> None:
    mixture = importlib.import_module("robuststat.kernels.mixture")
    points = np.ones((2, 1))
    mixture.squared_distances(points, np.zeros((1, 1)), np.ones((1, 1, 1)), np.empty((2, 1)))
    mixture.weighted_moments(
        points, np.ones((2, 1)), np.zeros(1), np.zeros((1, 1)), np.zeros((1, 1, 1))
    )


# One entry a kernel module: calls each kernel with the types it is used with.
_WARMERS: tuple[Callable[[], None], ...] = (
    _warm_segment,
    _warm_subsets,
    _warm_ordinal,
    _warm_buckets,
    _warm_windows,
    _warm_mixture,
)


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
