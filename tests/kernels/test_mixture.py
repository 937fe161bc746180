"""Mixture kernels against their NumPy twins; runs also with NUMBA_DISABLE_JIT=1."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from robuststat.kernels.mixture import squared_distances, weighted_moments
from robuststat.sampling import _density as density

# The same sums in another order, and for moments about another origin.
RTOL = 1e-9


@st.composite
def case(draw):
    seed = draw(st.integers(0, 2**32 - 1))
    n, d, K = draw(st.integers(1, 30)), draw(st.integers(1, 4)), draw(st.integers(1, 5))
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(n, d)) * 10.0 ** draw(st.integers(-3, 3))
    weights = rng.exponential(size=(n, K)) * (rng.random((n, K)) < 0.7)
    weights[0] = 1.0
    return points, weights


@settings(max_examples=40, deadline=None)
@given(case=case())
def test_moments_equal_twin(case):
    points, weights = case
    d, K = points.shape[1], weights.shape[1]
    mean, cov = density.moments(points, weights)
    got_mean, got_cov = np.zeros((K, d)), np.zeros((K, d, d))
    shift = points.mean(axis=0)
    weighted_moments(points, weights, shift, got_mean, got_cov)
    scale = np.abs(points).max()
    np.testing.assert_allclose(got_mean, mean, rtol=RTOL, atol=RTOL * scale)
    np.testing.assert_allclose(got_cov, cov, rtol=RTOL, atol=RTOL * scale**2)


@settings(max_examples=40, deadline=None)
@given(case=case())
def test_distances_equal_twin(case):
    points, weights = case
    mean, cov = density.moments(points, weights)
    cov = cov + np.eye(points.shape[1]) * (1e-3 + points.var())
    g = density.make_components(mean, cov)
    out = squared_distances(points, g.means, g.inverse, np.empty((len(points), g.n)))
    np.testing.assert_allclose(
        out, density.squared_distances(points, g.means, g.inverse), rtol=1e-8, atol=1e-10
    )


@pytest.mark.parametrize("limit", [0, density.KERNEL_MIN_WORK])
def test_both_branches(limit, monkeypatch):
    monkeypatch.setattr(density, "KERNEL_MIN_WORK", limit)
    rng = np.random.default_rng(0)
    points, weights = rng.normal(size=(400, 6))[:, ::2], rng.exponential(size=(400, 4))
    mean, cov = density.moments(points, weights)
    np.testing.assert_allclose(mean[1], np.average(points, axis=0, weights=weights[:, 1]))
    np.testing.assert_allclose(
        cov[2], np.cov(points.T, aweights=weights[:, 2], ddof=0), rtol=1e-10, atol=1e-12
    )
    expected = stats.multivariate_normal(mean[3], cov[3]).logpdf(points)
    got = density.make_components(mean, cov).log_density(points)[:, 3]
    np.testing.assert_allclose(got, expected, rtol=1e-10)
