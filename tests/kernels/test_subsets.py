"""The compiled walk over subsets against its NumPy twin and against plain least squares."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robuststat.invariance import _sweep as sweep

# Both eliminate in the same order; only the grouping of sums differs.
TOL = 1e-9
FIELDS = sweep.Statistics.__slots__


def moments(X, y, codes):
    Z = np.column_stack([X, y])
    K = codes.max() + 1
    parts = [Z[codes == e] for e in range(K)]
    mean = np.array([part.mean(axis=0) for part in parts])
    scatter = np.array([(p - m).T @ (p - m) for p, m in zip(parts, mean, strict=True)])
    return np.bincount(codes).astype(float), mean, scatter


def rows(p, K, n, seed):
    rng = np.random.default_rng(seed)
    codes = np.sort(np.arange(n) % K)
    X = rng.normal(size=(n, p)) * (1 + codes[:, None]) + codes[:, None] * rng.normal(size=p)
    return X, X @ rng.normal(size=p) + rng.normal(size=n), codes


def collect(walk, last, compiled):
    parts = []
    for batch, first, done in sweep.roots(walk, last):
        parts += done
        if compiled:
            parts.append(sweep.walk_compiled(walk, batch, first))
        else:
            parts += list(sweep.walk_batches(walk, batch, first))
    masks = np.concatenate([part.masks for part in parts])
    order = np.argsort(masks)
    return {f: np.concatenate([getattr(part, f) for part in parts])[order] for f in FIELDS}


@settings(max_examples=25, deadline=None)
@given(
    p=st.integers(1, 6),
    K=st.integers(2, 4),
    max_size=st.integers(0, 6),
    last=st.integers(0, 7),
    seed=st.integers(0, 10_000),
    twin=st.booleans(),
)
def test_kernel_equals_twin(p, K, max_size, last, seed, twin):
    X, y, codes = rows(p, K, 40, seed)
    if p > 2 and twin:
        X[:, 2] = X[:, 0] - X[:, 1]  # collinear everywhere
        X[codes == 1, 1] = 2.0  # constant in one environment
        X[:, 2] = X[:, 0] - X[:, 1]
    walk = sweep.subset_walk(*moments(X, y, codes), max_size)
    one, other = collect(walk, last, True), collect(walk, 99, False)
    assert len(one["masks"]) == walk.n_sets == len(set(one["masks"].tolist()))
    fine = ~one["singular"]
    np.testing.assert_array_equal(one["singular"], other["singular"])
    for name in FIELDS:
        a, b = one[name][fine], other[name][fine]
        np.testing.assert_allclose(a, b, rtol=TOL, atol=TOL * (1 + np.abs(b).max(initial=0)))


@pytest.mark.parametrize("compiled", [False, True])
def test_equals_least_squares_on_every_subset(compiled):
    X, y, codes = rows(5, 3, 90, 3)
    walk = sweep.subset_walk(*moments(X, y, codes), 5)
    found = collect(walk, 3, compiled)
    for i, mask in enumerate(found["masks"]):
        S = [j for j in range(5) if mask >> j & 1]
        Z = np.column_stack([np.ones(90), X[:, S]])

        def solve(part, Z=Z):
            beta = np.linalg.lstsq(Z[part], y[part], rcond=None)[0]
            return y - Z @ beta

        resid = solve(np.ones(90, bool))
        left_out, within = 0.0, 0.0
        for e in range(3):
            inside = codes == e
            rest = solve(~inside)
            left_out += (rest[inside] ** 2).sum()
            within += (solve(inside)[inside] ** 2).sum()
            assert found["rest_ssr"][i, e] == pytest.approx((rest[~inside] ** 2).sum())
            assert found["env_mean"][i, e] == pytest.approx(resid[inside].mean(), abs=1e-10)
            assert found["env_ss"][i, e] == pytest.approx(30 * resid[inside].var())
        assert found["ssr"][i] == pytest.approx(resid @ resid)
        assert found["left_out_ss"][i] == pytest.approx(left_out)
        assert found["within_ssr"][i] == pytest.approx(within)
        assert found["within_rank"][i] == 3 * (len(S) + 1)
        assert found["size"][i] == len(S)


def test_column_constant_within_an_environment_costs_a_rank_there():
    X, y, codes = rows(2, 2, 40, 0)
    X[codes == 0, 1] = 5.0
    walk = sweep.subset_walk(*moments(X, y, codes), 2)
    found = collect(walk, 9, False)
    full = found["masks"] == 3
    assert found["within_rank"][full] == 5
    assert not found["singular"].any()


def test_large_batches_are_split_without_changing_the_answer(monkeypatch):
    X, y, codes = rows(6, 3, 60, 1)
    walk = sweep.subset_walk(*moments(X, y, codes), 4)
    whole = collect(walk, 99, False)
    monkeypatch.setattr(sweep, "_BLOCK_CELLS", 1)
    split = collect(walk, 99, False)
    for name in FIELDS:
        np.testing.assert_array_equal(whole[name], split[name])
