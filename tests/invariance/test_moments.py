"""Moments of environments: against two-pass formulas, merging, and least squares from them."""

import numpy as np
import pytest

from robuststat.invariance._moments import (
    MomentAccumulator,
    env_moments,
    least_squares,
    pseudo_inverse,
)

# Sums in another order differ in the last digits only.
TOL = 1e-12


def draw(n=90, p=3, K=3, seed=0, offset=0.0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, p)) * [1.0, 10.0, 0.1][:p] + offset
    codes = rng.permutation(np.arange(n) % K)
    y = X @ np.arange(1.0, p + 1) + codes + rng.normal(size=n)
    return X, y, codes


def moments_of(X, y, codes, weights=None):
    names = [f"x{j}" for j in range(X.shape[1])]
    return env_moments(X, y, codes, list("abcdef")[: codes.max() + 1], names, weights)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("intercept", [False, True])
def test_normal_equations_and_fits(intercept, weighted):
    X, y, codes = draw()
    w = np.random.default_rng(1).uniform(0, 2, len(y)) if weighted else np.ones(len(y))
    w[::7] = 0.0 if weighted else 1.0
    found = moments_of(X, y, codes, w if weighted else None)
    A, b, c = found.normal_equations(intercept=intercept)
    fits = least_squares(found, intercept=intercept)
    Z = np.column_stack([np.ones(len(y)), X]) if intercept else X
    for e in range(3):
        on = (codes == e) & (w > 0)
        root = np.sqrt(w[on])[:, None]
        np.testing.assert_allclose(A[e], (Z[on] * root).T @ (Z[on] * root), rtol=TOL, atol=1e-10)
        np.testing.assert_allclose(b[e], Z[on].T @ (w[on] * y[on]), rtol=TOL, atol=1e-10)
        np.testing.assert_allclose(c[e], w[on] @ y[on] ** 2, rtol=TOL)
        coef = np.linalg.lstsq(Z[on] * root, y[on] * root[:, 0])[0]
        np.testing.assert_allclose(fits.coef[e], coef, rtol=1e-9, atol=1e-11)
        np.testing.assert_allclose(fits.ssr[e], w[on] @ (y[on] - Z[on] @ coef) ** 2, rtol=1e-9)
        np.testing.assert_allclose(fits.inverse[e], np.linalg.inv(A[e]), rtol=1e-8, atol=1e-12)
        assert found.n_rows[e] == on.sum()
        assert fits.rank[e] == Z.shape[1]
        np.testing.assert_allclose(found.n_effective[e], w[on].sum() ** 2 / (w[on] @ w[on]))


def test_chunks_in_any_order_equal_one_pass():
    X, y, codes = draw(n=101, offset=1e6)
    whole = moments_of(X, y, codes)
    first, second = MomentAccumulator(), MomentAccumulator()
    for part, rows in ((second, slice(60, None)), (first, slice(0, 13)), (first, slice(13, 60))):
        part.update(X[rows], y[rows], codes[rows], list("abc"), None)
    first.merge(second)
    merged = first.finish()
    assert merged.levels == whole.levels
    np.testing.assert_allclose(merged.mean, whole.mean, rtol=TOL)
    # Offsets of 1e6 with spreads of 0.1: uncentred sums would have lost every digit.
    np.testing.assert_allclose(merged.scatter, whole.scatter, rtol=1e-8, atol=1e-4)


def test_pooled_rest_and_maps():
    X, y, codes = draw()
    found = moments_of(X, y, codes)
    pooled, rest = found.pooled(), found.rest(1)
    every = moments_of(X, y, np.zeros_like(codes))
    np.testing.assert_allclose(pooled.scatter, every.scatter, rtol=1e-11, atol=1e-10)
    on = codes != 1
    others = moments_of(X[on], y[on], np.zeros(on.sum(), int))
    np.testing.assert_allclose(rest.scatter, others.scatter, rtol=1e-11, atol=1e-10)
    phi = np.array([[1.0, 0.0, 2.0], [0.0, 1.0, -1.0]])
    np.testing.assert_allclose(
        found.mapped(phi).scatter, moments_of(X @ phi.T, y, codes).scatter, rtol=1e-11, atol=1e-10
    )
    np.testing.assert_allclose(
        found.select([2, 0]).scatter, moments_of(X[:, [2, 0]], y, codes).scatter, rtol=1e-12
    )
    assert found.select([2, 0]).names == ("x2", "x0")
    assert found.mapped(phi).names == ("z0", "z1")
    assert found.take([2, 1]).levels == ("c", "b")
    np.testing.assert_allclose(found.scaled(2.0).scatter, 2 * found.scatter)


def test_column_constant_within_an_environment():
    X, y, codes = draw()
    X[codes == 1, 2] = 4.0
    fits = least_squares(moments_of(X, y, codes), intercept=True)
    assert fits.rank.tolist() == [4, 3, 4]
    assert fits.coef[1, 3] == 0.0
    on = codes == 1
    Z = np.column_stack([np.ones(on.sum()), X[on, :2]])
    np.testing.assert_allclose(fits.coef[1, :3], np.linalg.lstsq(Z, y[on])[0], rtol=1e-9)


def test_pseudo_inverse_of_nothing():
    inverse, rank = pseudo_inverse(np.zeros((2, 2)))
    assert rank == 0
    assert not inverse.any()
