"""Kernels of the private family against their NumPy twins; also with NUMBA_DISABLE_JIT=1."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from robuststat.kernels.buckets import collect_buckets, count_buckets
from robuststat.kernels.windows import mad_ends, window_widths
from robuststat.private import _counting as counting
from robuststat.private import _envelopes_sorted as by_value
from robuststat.private._grid import Grid

VALUES = st.one_of(
    st.floats(-3, 12, width=32), st.sampled_from([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e300, 9.75])
)


@settings(max_examples=60, deadline=None)
@given(
    x=hnp.arrays(np.float64, st.integers(0, 40), elements=VALUES),
    step=st.sampled_from([0.25, 2.0**-6, 2.0**-20]),
    bits=st.sampled_from([3, 20]),
)
def test_bucket_kernels_equal_arrays(x, step, bits):
    grid = Grid(0.5, step, int(9 / step), 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(counting, "BUCKET_BITS", bits)
        twin = counting.Counter(grid)
        patch.setattr(counting, "KERNEL_MIN_ROWS", 1 << 60)
        twin.add(x)
    counts, sums = np.zeros_like(twin.counts), np.zeros_like(twin.sums)
    args = (x, grid.lo, 1 / grid.step, grid.last, twin.shift)
    count_buckets(*args, counts, sums)
    np.testing.assert_array_equal(counts, twin.counts)
    np.testing.assert_array_equal(sums, twin.sums)
    wanted = np.arange(len(counts)) % 2 == 0
    first, second = (np.full(len(x), -1, dtype=np.int64) for _ in range(2))
    end = collect_buckets(*args, wanted, first, 0)
    assert end == twin.collect(x, wanted, second, 0) == counts[wanted].sum()
    np.testing.assert_array_equal(first, second)


@settings(max_examples=40, deadline=None)
@given(
    x=hnp.arrays(np.int64, st.integers(1, 25), elements=st.integers(0, 30)),
    share=st.floats(0.01, 1.0),
    floating=st.booleans(),
)
def test_window_kernels_equal_arrays(x, share, floating):
    x = np.sort(x) / 4 if floating else np.sort(x)
    lo, hi = (0.0, 8.0) if floating else (0, 32)
    n = len(x)
    h = max(1, int(share * n))
    sizes = np.arange(1, n + 1)
    kernel = window_widths(x, sizes, np.zeros_like(x))
    np.testing.assert_array_equal(kernel, by_value.window_widths(x, sizes))
    k = np.arange(n + 1)
    a, b = (by_value._padded(x, lo, hi, h + sign * k) for sign in (-1, 1))
    low, high = mad_ends(x, a, b, h, hi - lo, np.zeros_like(x, shape=(2, n + 1)))
    twin = by_value.mad_envelope(x, lo, hi, h, h, n)
    if floating:
        np.testing.assert_array_equal(low / 2, twin.low)
        np.testing.assert_array_equal(high / 2, twin.high)
    else:
        np.testing.assert_array_equal(low // 2, twin.low)
        np.testing.assert_array_equal(-(-high // 2), twin.high)
