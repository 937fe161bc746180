"""Sums of generalised linear models against the textbook formulas on whole matrices."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from robuststat._core import glm
from robuststat._core.glm import FAMILIES, block_rows, glm_sums, row_blocks, weighted_gram

# Same sum in blocks instead of at once: rounding grows with the square root of n (< 1e4 here).
RTOL = 1e-11
ATOL = 1e-10
# Central differences with a step of 1e-5 are good to its square.
RTOL_DIFFERENCE = 1e-8

MEANS = {
    "linear": lambda eta: eta,
    "logit": lambda eta: 1 / (1 + np.exp(-eta)),
    "poisson": np.exp,
}
SLOPES = {
    "linear": np.ones_like,
    "logit": lambda eta: np.exp(-eta) / (1 + np.exp(-eta)) ** 2,
    "poisson": np.exp,
}


def problem(n, k, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, k))
    return X, rng.normal(size=n) * 2, rng.normal(size=n), rng.normal(size=k) / k


def dense(name, X, y, w, theta):
    eta = X @ theta
    w = np.ones(len(y)) if w is None else w
    score = X.T @ (w * (y - MEANS[name](eta)))
    return score, X.T @ np.diag(w * SLOPES[name](eta)) @ X


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("n", [0, 1, 2, 255, 256, 257, 600])
def test_sums_are_the_dense_formulas(name, n, k, weighted, monkeypatch):
    # Blocks of 256 rows, so that the sizes lie on both sides of one and two blocks.
    monkeypatch.setattr(glm, "_BLOCK_CELLS", 1)
    X, y, w, theta = problem(n, k)
    w = w if weighted else None  # negative values among them: an adjusted outcome has such
    score, information = glm_sums(X, y, w, theta, FAMILIES[name])
    expected_score, expected_information = dense(name, X, y, w, theta)
    assert_allclose(score, expected_score, rtol=RTOL, atol=ATOL)
    assert_allclose(information, expected_information, rtol=RTOL, atol=ATOL)
    gram, moment = weighted_gram(X, y, w)
    ones = np.ones(n) if w is None else w
    assert_allclose(gram, X.T @ (X * ones[:, None]), rtol=RTOL, atol=ATOL)
    assert_allclose(moment, X.T @ (y * ones), rtol=RTOL, atol=ATOL)


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("offset", [-1, 0, 1])
def test_real_block_size(name, offset):
    n = block_rows(4) + offset
    X, y, w, theta = problem(n, 4)
    eta = X @ theta
    score, information = glm_sums(X, y, w, theta, FAMILIES[name])
    assert_allclose(score, X.T @ (w * (y - MEANS[name](eta))), rtol=RTOL, atol=ATOL)
    assert_allclose(information, X.T @ (X * (w * SLOPES[name](eta))[:, None]), rtol=RTOL, atol=ATOL)


@pytest.mark.parametrize("n_columns", [0, 1, 4, 96, 97, 10_000])
@pytest.mark.parametrize("n_rows", [0, 1, 255, 256, 257, 24_576, 24_577, 50_000])
def test_blocks_cut_rows_without_gap_or_overlap(n_rows, n_columns):
    blocks = list(row_blocks(n_rows, n_columns))
    sizes = [b.stop - b.start for b in blocks]
    rows = np.concatenate([np.arange(n_rows)[b] for b in blocks]) if blocks else np.arange(0)
    assert_array_equal(rows, np.arange(n_rows))
    assert all(0 < s <= block_rows(n_columns) for s in sizes)
    assert len(set(sizes[:-1])) <= 1


def test_block_size_follows_the_cache_but_stays_useful():
    assert block_rows(4) == 24_576 // 4
    assert block_rows(0) == block_rows(1)
    assert block_rows(10_000) == 256


@pytest.mark.parametrize("name", FAMILIES)
def test_slope_is_derivative_of_mean(name):
    family = FAMILIES[name]
    eta = np.linspace(-4, 4, 33)
    difference = (family.mean(eta + 1e-5) - family.mean(eta - 1e-5)) / 2e-5
    assert_allclose(family.slope(family.mean(eta)), difference, rtol=RTOL_DIFFERENCE)
    assert family.name == name


@pytest.mark.parametrize("eta", [700.0, 710.0, 1e6, np.inf])
def test_poisson_mean_stays_finite(eta):
    mu = FAMILIES["poisson"].mean(np.array([eta]))
    assert_allclose(mu, np.exp(700.0))


def test_poisson_far_away_gives_huge_finite_score():
    X, y = np.array([[1.0, 2.0], [1.0, 3.0]]), np.array([1.0, 2.0])
    score, information = glm_sums(X, y, None, np.array([0.0, 1e3]), FAMILIES["poisson"])
    assert (score < -1e300).all()
    assert np.isfinite(score).all()
    assert np.isfinite(information).all()


def test_inputs_are_left_alone():
    X, y, w, theta = problem(300, 3)
    copies = [a.copy() for a in (X, y, w, theta)]
    for family in FAMILIES.values():
        glm_sums(X, y, w, theta, family)
    for before, after in zip(copies, (X, y, w, theta), strict=True):
        assert_array_equal(before, after)
