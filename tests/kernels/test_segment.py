"""Kernel against its NumPy twin and against a plain loop; runs also with NUMBA_DISABLE_JIT=1."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import robuststat
from robuststat._core import linalg
from robuststat._core.errors import DataError
from robuststat._core.vcov import cluster_sums
from robuststat.kernels.segment import segment_sums

# Same additions, possibly in another order.
RTOL = 1e-12


@st.composite
def grouped_rows(draw):
    m, k, n_groups = draw(st.integers(0, 40)), draw(st.integers(1, 4)), draw(st.integers(1, 60))
    values = st.one_of(
        st.sampled_from([0.0, -0.0, 1.0, np.inf, -np.inf, np.nan]), st.floats(-1e6, 1e6)
    )
    psi = draw(hnp.arrays(np.float64, (m, k), elements=values))
    codes = draw(hnp.arrays(np.int64, m, elements=st.integers(0, n_groups - 1)))
    return psi, codes, n_groups


@settings(max_examples=60, deadline=None)
@given(case=grouped_rows())
def test_kernel_equals_twin_and_loop(case):
    psi, codes, n_groups = case
    twin = cluster_sums(psi, codes, n_groups)
    # Without the compiler NumPy warns of inf - inf; the result is nan either way.
    with np.errstate(invalid="ignore"):
        kernel = segment_sums(psi, codes, np.zeros((n_groups, psi.shape[1])))
    np.testing.assert_allclose(kernel, twin, rtol=RTOL, atol=1e-6)
    with np.errstate(invalid="ignore"):
        loop = np.array([psi[codes == g].sum(axis=0) for g in range(n_groups)])
    np.testing.assert_allclose(twin, loop, rtol=RTOL, atol=1e-6)


@pytest.mark.parametrize("size", [0, linalg.KERNEL_MIN_SIZE])
@pytest.mark.parametrize("n_groups", [7, 5_000])
def test_both_branches_add_to_out_and_take_non_contiguous_rows(size, n_groups):
    rng = np.random.default_rng(0)
    wide = rng.normal(size=(1_000, 6))
    psi, codes = wide[::2, ::2], rng.integers(0, n_groups, size=1_000)[::2]
    out = np.ones((n_groups, 3))
    got = linalg.add_rows(psi, codes, out, size=size)
    assert got is out
    expected = np.ones((n_groups, 3))
    np.add.at(expected, codes, psi)
    np.testing.assert_allclose(out, expected, rtol=RTOL)


def test_large_problem_takes_the_kernel_and_agrees(monkeypatch):
    rng = np.random.default_rng(1)
    psi, codes = rng.normal(size=(70_000, 3)), rng.integers(0, 300, size=70_000)
    twin = cluster_sums(psi, codes, 300)
    monkeypatch.setattr(linalg, "KERNEL_MIN_SIZE", 200_000)
    np.testing.assert_allclose(cluster_sums(psi, codes, 300), twin, rtol=RTOL, atol=1e-12)


def test_warmup_compiles_every_kernel():
    robuststat.warmup()
    # Without just-in-time compilation (NUMBA_DISABLE_JIT) it is a plain function.
    assert getattr(segment_sums, "signatures", ["plain"])


@pytest.mark.parametrize("bad", [-1, 5])
@pytest.mark.parametrize("size", [0, linalg.KERNEL_MIN_SIZE])
def test_code_out_of_range_never_reaches_memory(bad, size):
    codes = np.array([0, bad, 4])
    with pytest.raises(DataError, match=r"codes has 1 values outside 0\.\.4 .*Encode the clusters"):
        linalg.add_rows(np.ones((3, 2)), codes, np.zeros((5, 2)), size=size)


def test_codes_of_wrong_length():
    with pytest.raises(DataError, match=r"codes has shape \(2,\) for 3 rows of psi"):
        cluster_sums(np.ones((3, 1)), np.array([0, 1]), 2)


def test_core_does_not_import_numba():
    code = (
        "import sys, robuststat._core.vcov, robuststat._core.resample;"
        "sys.exit('numba' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
