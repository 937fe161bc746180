from __future__ import annotations

import numpy as np
import pytest

from robuststat._core.errors import CollinearityError, DataError
from robuststat._core.linalg import (
    clip_psd,
    collinear_columns,
    complement_root,
    is_psd,
    leverage,
    median_over_repetitions,
    solve_psd,
    solve_square,
    symmetrise,
)

NAMES = ["(Intercept)", "a", "b", "c"]
SCALES = [np.ones(4), np.array([1.0, 1e-8, 1e8, 1e3]), np.array([1e8, 1e-8, 1.0, 1e-4])]


def design(n=400, seed=0):
    rng = np.random.default_rng(seed)
    return np.column_stack([np.ones(n), rng.normal(size=(n, 3))])


def with_dependency(n=400):
    X = design(n)
    X[:, 2] = 2.0 * X[:, 1] - 3.0
    return X


def reports(X, names=None):
    yield collinear_columns(X, names)
    yield collinear_columns(X.T @ X, names, gram=True)


@pytest.mark.parametrize("scale", SCALES)
def test_solvers_do_not_depend_on_units(scale):
    X = design() * scale
    A, beta = X.T @ X / 400, np.array([1.0, -2.0, 0.5, 3.0]) / scale
    # Condition number at unit diagonal is below 10.
    np.testing.assert_allclose(solve_psd(A, A @ beta), beta, rtol=1e-11)
    np.testing.assert_allclose(solve_square(A, A @ beta), beta, rtol=1e-11)
    B = np.column_stack([A @ beta, A[:, 0]])
    np.testing.assert_allclose(solve_psd(A, B)[:, 0], beta, rtol=1e-11)
    np.testing.assert_allclose(solve_square(A, B)[:, 0], beta, rtol=1e-11)
    J = (design(seed=1) * scale[::-1]).T @ X / 400 + np.diag(scale[::-1] * scale)
    np.testing.assert_allclose(solve_square(J, J @ beta), beta, rtol=1e-9)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("n", [400, 100_000])
def test_dependency_is_found_and_named_in_any_units(scale, n):
    X = with_dependency(n) * scale
    for report in reports(X, NAMES):
        assert report.rank == 3
        assert report.dependent == {"b": ("(Intercept)", "a")}
    message = (
        r"column 'b' is a linear combination of '\(Intercept\)', 'a' \(matrix rank 3 of 4\)\. "
        r"Drop it, or leave out one category"
    )
    A = X.T @ X
    with pytest.raises(CollinearityError, match=message):
        solve_psd(A, A[:, 0], NAMES)
    with pytest.raises(CollinearityError, match="Jacobian is singular: " + message):
        solve_square(A, A[:, 0], NAMES)
    with pytest.raises(np.linalg.LinAlgError, match=r"column 'x2' .* of 'x0', 'x1'"):
        solve_psd(A, A[:, 0])
    with pytest.raises(CollinearityError, match=r"X has collinear columns: column 'x2'"):
        leverage(X)


@pytest.mark.parametrize("scale", SCALES)
def test_correlation_is_not_collinearity(scale):
    X = design()
    X[:, 3] = X[:, 2] + 1e-3 * X[:, 3]  # correlation 0.9999995
    X[:, 1] = 2000.0 + 5.0 * X[:, 1]  # calendar years beside an intercept
    X *= scale
    assert np.corrcoef(X[:, 2], X[:, 3])[0, 1] > 0.999999
    for report in reports(X):
        assert report.rank == 4
        assert report.dependent == {}
    A = X.T @ X
    solution = solve_psd(A, A @ (1 / scale))
    np.testing.assert_allclose(solution, 1 / scale, rtol=1e-4)
    np.testing.assert_allclose(solve_square(A, A @ (1 / scale)), 1 / scale, rtol=1e-4)


def test_several_dependencies_zero_columns_and_wide_designs():
    X = design()
    dummies = np.eye(3)[np.arange(400) % 3]
    full = np.column_stack([X[:, :2], dummies, X[:, 1] * 2, np.zeros(400)])
    names = ["(Intercept)", "x", "g1", "g2", "g3", "twice", "zero"]
    for report in reports(full, names):
        assert report.rank == 4
        assert report.dependent == {
            "g3": ("(Intercept)", "g1", "g2"),
            "twice": ("x",),
            "zero": (),
        }
        assert "column 'zero' is zero in every row" in report.message()
        assert "Drop these columns" in report.message()
    wide = collinear_columns(np.random.default_rng(0).normal(size=(3, 12)))
    assert wide.rank == 3
    assert len(wide.dependent) == 9
    assert "; and 4 more (matrix rank 3 of 12)" in wide.message()
    empty = collinear_columns(np.zeros((5, 2)))
    assert empty.rank == 0
    many = collinear_columns(np.column_stack([np.eye(8), np.ones(8)]))
    assert "'x5' and 2 more" in many.message()


def test_tolerance_can_be_set():
    X = design()
    X[:, 3] = X[:, 2] + 1e-3 * X[:, 3]
    assert "x2" in collinear_columns(X, tol=1e-2).dependent["x3"]
    assert collinear_columns(X.T @ X, gram=True, tol=1e-2).rank == 3


def test_indefinite_and_non_finite_systems():
    with pytest.raises(DataError, match=r"A is not positive definite: its smallest eigenvalue"):
        solve_psd(np.array([[1.0, 2.0], [2.0, 1.0]]), np.ones(2))
    for solver in (solve_psd, solve_square):
        with pytest.raises(DataError, match=r"has 2 non-finite entries\. Check the data"):
            solver(np.array([[1.0, np.nan], [np.inf, 1.0]]), np.ones(2))


def test_nearly_singular_but_full_rank_is_solved():
    A = np.array([[1.0, 1 - 1e-10], [1 - 1e-10, 1.0]])
    np.testing.assert_allclose(A @ solve_psd(A, np.ones(2)), np.ones(2), rtol=1e-9)


def test_one_by_one():
    np.testing.assert_allclose(solve_psd(np.array([[4.0]]), np.array([2.0])), [0.5])
    np.testing.assert_allclose(solve_square(np.array([[-4.0]]), np.array([2.0])), [-0.5])


def indefinite(scale):
    V = np.array([[1.0, 0.9, -0.9], [0.9, 1.0, 0.9], [-0.9, 0.9, 1.0]])
    return V * scale * scale[:, None]


@pytest.mark.parametrize("scale", [np.ones(3), np.array([1e-6, 1.0, 1e6])])
def test_psd_repair(scale):
    V = indefinite(scale)
    assert not is_psd(V)
    clipped, n_clipped = clip_psd(V)
    assert n_clipped == 1
    assert is_psd(clipped)
    assert is_psd(clipped - V)
    np.testing.assert_allclose(clip_psd(V, 2 * scale)[0], clipped, rtol=1e-9)


def test_psd_matrices_come_back_unchanged():
    A = design()[:, :3]
    V = A.T @ A
    assert is_psd(V)
    assert clip_psd(V) == (V, 0)
    assert clip_psd(np.zeros((2, 2)))[1] == 0


def test_negative_variances_are_clipped():
    clipped, n_clipped = clip_psd(np.diag([1.0, -1.0]))
    assert n_clipped == 1
    np.testing.assert_allclose(clipped, np.diag([1.0, 0.0]), atol=1e-15)


def test_median_over_repetitions():
    one = np.array([[2.0, 0.5], [0.5, 1.0]])
    estimates = np.array([[1.0, 0.0], [3.0, -1.0], [2.0, 4.0]])
    estimate, vcov = median_over_repetitions(estimates, np.array([one] * 3))
    np.testing.assert_allclose(estimate, [2.0, 0.0])
    # Gaps (-1, 0), (1, -1), (0, 4): squares 1, 1, 0 and 0, 1, 16; products 0, -1, 0.
    np.testing.assert_allclose(vcov, one + np.array([[1.0, 0.0], [0.0, 1.0]]))
    single = median_over_repetitions(estimates[:1], one[None])
    np.testing.assert_array_equal(single[1], one)


def test_median_of_variances_that_is_none():
    # Each of the three is positive definite; the median of their entries is not.
    signs = [(1, 1, 1), (1, -1, -1), (-1, 1, -1)]
    scale = np.array([0.1, 1.0, 10.0])
    repeated = np.array(
        [
            np.array([[1, 0.9 * a, 0.9 * b], [0.9 * a, 1, 0.9 * c], [0.9 * b, 0.9 * c, 1]])
            * np.outer(scale, scale)
            for a, b, c in signs
        ]
    )
    assert np.linalg.eigvalsh(repeated).min() > 0
    assert np.linalg.eigvalsh(np.median(repeated, axis=0))[0] < 0
    _, vcov = median_over_repetitions(np.zeros((3, 3)), repeated)
    assert np.linalg.eigvalsh(vcov)[0] > 0
    np.testing.assert_allclose(np.diag(vcov), scale**2)
    np.testing.assert_allclose(vcov, repeated.mean(axis=0))


def test_a_coefficient_without_variance_keeps_none():
    V = np.diag([1.0, 0.0])
    _, vcov = median_over_repetitions(np.zeros((2, 2)), np.array([V, V]))
    np.testing.assert_array_equal(vcov, V)


def test_symmetrise():
    np.testing.assert_array_equal(symmetrise(np.array([[1.0, 2.0], [4.0, 1.0]])), [[1, 3], [3, 1]])


@pytest.mark.parametrize("n_rows", [1, 5, 60])
def test_complement_root_is_the_inverse_root(n_rows):
    Q = np.linalg.qr(design(n=100))[0][:n_rows]
    V, s, f = complement_root(Q.T @ Q)
    ratio = np.where(s > 1e-12, (f - 1) / np.where(s > 1e-12, s, 1), 0.5)
    root = np.eye(n_rows) + Q @ V @ np.diag(ratio) @ V.T @ Q.T
    np.testing.assert_allclose(root @ root @ (np.eye(n_rows) - Q @ Q.T), np.eye(n_rows), atol=1e-12)


def test_leverage_is_the_hat_diagonal():
    X, w = design(n=50), np.random.default_rng(3).uniform(0, 2, size=50)
    root = np.sqrt(w)[:, None]
    hat = root * X @ np.linalg.inv(X.T @ (X * w[:, None])) @ (root * X).T
    np.testing.assert_allclose(leverage(X, w), np.diag(hat), atol=1e-13)
    np.testing.assert_allclose(leverage(X), np.diag(X @ np.linalg.pinv(X)), atol=1e-13)


@pytest.mark.parametrize("bad", [-1.0, np.nan, np.inf])
def test_bad_weights(bad):
    w = np.ones(50)
    w[3] = bad
    with pytest.raises(DataError, match=r"weights has 1 negative or non-finite values\. Pass"):
        leverage(design(n=50), w)
