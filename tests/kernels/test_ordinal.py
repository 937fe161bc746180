"""Ordinal kernels against their NumPy twins; run also with NUMBA_DISABLE_JIT=1."""

from __future__ import annotations

import numpy as np
import pytest

from robuststat.kernels.ordinal import lasso_descent, logit_rows
from robuststat.ordinal import _presto_problem
from robuststat.ordinal._presto_problem import evaluate, make_problem
from robuststat.ordinal._presto_quadratic import active_set


def problem(K, n=90, p=3, seed=0):
    rng = np.random.default_rng(seed)
    codes = np.concatenate([np.arange(K), rng.integers(0, K, size=n - K)])
    w, offset = rng.uniform(0.5, 2.0, size=n), rng.normal(scale=0.1, size=n)
    return make_problem(rng.normal(size=(n, p)), codes, w, offset, link="logit", standardize=True)


@pytest.mark.parametrize("K", [2, 3, 5])
def test_pass_equals_twin(K):
    data = problem(K)
    q = K - 1
    rng = np.random.default_rng(1)
    theta = np.column_stack([np.linspace(-2.0, 2.0, q) if q > 1 else [0.3], np.zeros((q, 3))])
    theta[:, 1:] += rng.normal(scale=0.05, size=(q, 3))
    Z = data.columns.take(np.arange(3))
    twin = evaluate(data, Z, theta)
    gradient, rows = np.full_like(theta, 7.0), np.zeros((5, len(Z)))
    loss = logit_rows(Z, data.starts, data.w, data.offset, theta, gradient, rows)
    assert loss == pytest.approx(twin.loss, rel=1e-13)
    np.testing.assert_allclose(gradient, twin.gradient, atol=1e-14)
    np.testing.assert_allclose(rows, twin.rows, rtol=1e-10, atol=1e-15)


def test_pass_refuses_crossing_and_is_chosen_for_large_problems(monkeypatch):
    data = problem(3)
    Z = data.columns.take(np.arange(3))
    crossed = np.array([[1.0, 0, 0, 0], [0.0, 0, 0, 0]])
    small = evaluate(data, Z, crossed[::-1].copy())
    monkeypatch.setattr(_presto_problem, "KERNEL_MIN_CELLS", 0)
    assert evaluate(data, Z, crossed).loss == np.inf
    large = evaluate(data, Z, crossed[::-1].copy())
    assert large.loss == pytest.approx(small.loss, rel=1e-13)


@pytest.mark.parametrize("m", [1, 5, 30])
def test_descent_equals_active_set_and_the_optimality_conditions(m):
    rng = np.random.default_rng(m)
    root = rng.normal(size=(m + 5, m))
    A, b = root.T @ root, rng.normal(scale=5.0, size=m)
    l1 = rng.uniform(0.0, 5.0, size=m)
    l1[0] = 0.0
    exact = active_set(A, b, l1, np.zeros(m), 1e-12)
    x = rng.normal(size=m)
    violation, sweeps = lasso_descent(A, b, l1, x, 1e-12, 100_000)
    assert violation <= 1e-12
    assert sweeps < 100_000
    np.testing.assert_allclose(x, exact, atol=1e-8)
    slope = A @ exact + b
    moved = exact != 0
    np.testing.assert_allclose(slope[moved], -l1[moved] * np.sign(exact[moved]), atol=1e-9)
    assert (np.abs(slope[~moved]) <= l1[~moved] + 1e-12).all()


def test_descent_says_when_it_gave_up():
    A = np.array([[1.0, 0.999], [0.999, 1.0]])
    x = np.zeros(2)
    violation, sweeps = lasso_descent(A, np.array([-1.0, 1.0]), np.zeros(2), x, 1e-12, 3)
    assert sweeps == 3
    assert violation > 1e-12
