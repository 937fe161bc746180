"""Separation: known patterns, and agreement with one programme over all rows."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import linprog, minimize
from scipy.special import expit

from robuststat._core.errors import DataError, ParameterError
from robuststat.ordinal._separation import Separation, binary_separation, ordinal_separation


def whole_programme(A: np.ndarray) -> bool:
    """Whether some z has A z >= 0 with a strict inequality, by one programme over all rows."""
    found = linprog(-A.sum(axis=0), A_ub=-A, b_ub=np.zeros(len(A)), bounds=(-1, 1))
    return bool(-found.fun > 1e-6)


def signed(X: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.column_stack([np.ones(len(X)), X]) * np.where(y > 0, 1.0, -1.0)[:, None]


def test_complete_separation_of_one_column() -> None:
    X = np.array([[1.0, 5.0], [2.0, 1.0], [3.0, 4.0], [4.0, 2.0]])
    found = binary_separation(X, np.array([0, 0, 1, 1]), names=["age", "dose"])
    assert (found.kind, found.n_separated, found.n_obs) == ("complete", 4, 4)
    assert "age" in found.names
    eta = found.intercept[0] + X @ found.coef[0]
    assert (np.sign(eta) == [-1, -1, 1, 1]).all()


def test_quasi_complete_separation_names_the_dummy() -> None:
    rng = np.random.default_rng(0)
    X = np.column_stack([rng.normal(size=200), np.repeat([0.0, 1.0], [190, 10])])
    y = (rng.random(200) < 0.4).astype(int)
    y[190:] = 1
    found = binary_separation(X, y, names=["x", "treated"])
    assert (found.kind, found.names, found.n_separated) == ("quasi-complete", ("treated",), 10)
    assert found.coef[0, 1] > 0
    assert found.coef[0, 0] == pytest.approx(0, abs=1e-8)
    assert found.words().startswith("Quasi-complete separation by the column treated: 10 of 200")


def test_overlapping_rows_are_not_separated() -> None:
    rng = np.random.default_rng(1)
    X = rng.normal(size=(100, 3))
    found = binary_separation(X, (rng.random(100) < 0.5).astype(int))
    assert (found.kind, found.found, found.names, found.words()) == ("none", False, (), "")
    assert not found.coef.any()
    assert not found.diverges.any()


def test_weights_of_zero_do_not_count_and_others_do_not_matter() -> None:
    x = np.array([[0.0], [1.0], [2.0], [3.0], [0.5]])
    y = np.array([0, 0, 1, 1, 1])
    assert not binary_separation(x, y).found
    without = binary_separation(x, y, weights=np.array([1e-9, 5.0, 1.0, 1.0, 0.0]))
    assert (without.kind, without.n_obs) == ("complete", 4)


def test_without_intercept_the_origin_decides() -> None:
    x = np.array([[1.0], [2.0], [3.0], [4.0]])
    y = np.array([0, 0, 1, 1])
    assert binary_separation(x, y).found
    assert not binary_separation(x, y, fit_intercept=False).found


def test_units_and_shifts_do_not_matter() -> None:
    rng = np.random.default_rng(2)
    X = np.column_stack([rng.normal(size=60), np.repeat([0.0, 1.0], [54, 6])])
    y = (rng.random(60) < 0.5).astype(int)
    y[54:] = 0
    wide = X * [1e6, 1e-5] + [1e7, 3.0]
    near, far = binary_separation(X, y), binary_separation(wide, y)
    assert near.names == far.names == ("x1",)
    assert near.kind == far.kind == "quasi-complete"


def test_two_separate_directions_are_both_named() -> None:
    rng = np.random.default_rng(3)
    group = np.repeat([0, 1, 2], [80, 10, 10])
    X = np.column_stack([rng.normal(size=100), group == 1, group == 2]).astype(float)
    y = (rng.random(100) < 0.5).astype(int)
    y[group == 1], y[group == 2] = 1, 0
    found = binary_separation(X, y)
    assert found.names == ("x1", "x2")
    assert found.coef[0, 1] > 0 > found.coef[0, 2]


def test_many_rows_agree_with_one_programme_over_all() -> None:
    """Only some rows enter the first programme; the answer must not depend on which."""
    rng = np.random.default_rng(4)
    kinds = set()
    for draw in range(12):
        X = rng.normal(size=(6000, 3))
        eta = X @ [2.0, -1.0, 0.0] - 3.0
        y = (eta > 0).astype(int)
        if draw % 2:
            # One row on the wrong side, close to the border.
            near = np.argsort(np.abs(eta))[50]
            y[near] = 1 - y[near]
        found = binary_separation(X, y)
        assert found.found == whole_programme(signed(X, y))
        kinds.add(found.kind)
    assert kinds == {"none", "complete"}


def test_separation_is_where_the_likelihood_has_no_maximum() -> None:
    """With a vanishing ridge the coefficients stay bounded exactly without separation."""
    rng = np.random.default_rng(5)
    outcomes = set()
    for _ in range(25):
        X = rng.normal(size=(14, 2))
        y = (rng.random(14) < expit(2.0 * X[:, 0])).astype(int)
        A = signed(X, y)

        def loss(b: np.ndarray, ridge: float, A: np.ndarray = A) -> float:
            return float(np.logaddexp(0, -A @ b).sum() + ridge * b @ b)

        sizes = [
            np.linalg.norm(minimize(loss, np.zeros(3), (ridge,), method="BFGS", tol=1e-9).x)
            for ridge in (1e-3, 1e-5)
        ]
        found = binary_separation(X, y).found
        assert found == (sizes[1] > 1.5 * sizes[0])
        outcomes.add(found)
    assert outcomes == {True, False}


def ordinal_rows(X: np.ndarray, y: np.ndarray, q: int, parallel: bool) -> np.ndarray:
    """Inequalities of the cumulative model, written out row by row."""
    rows = []
    for x, c in zip(X, y, strict=True):
        for k, sign in ((c, -1.0), (c - 1, 1.0)):
            if 0 <= k < q:
                unit = np.eye(q)[k]
                slopes = x if parallel else np.outer(unit, x).ravel()
                rows.append(sign * np.concatenate([unit, slopes]))
    return np.array(rows)


@pytest.mark.parametrize("parallel", [True, False])
def test_cumulative_model_agrees_with_one_programme_over_all(parallel: bool) -> None:
    rng = np.random.default_rng(6)
    outcomes = set()
    for draw in range(30):
        X = rng.normal(size=(30, 2))
        y = np.digitize(X[:, 0] + 0.3 * (draw % 3) * rng.normal(size=30), [-0.5, 0.8])
        found = ordinal_separation(X, y, 3, parallel=parallel)
        assert found.found == whole_programme(ordinal_rows(X, y, 2, parallel))
        outcomes.add(found.found)
    assert outcomes == {True, False}


def test_ordinal_direction_and_boundary() -> None:
    """A dummy whose rows are all in the top class: infinite at every boundary when shared."""
    rng = np.random.default_rng(7)
    d = np.repeat([0.0, 1.0], [120, 8])
    X = np.column_stack([rng.normal(size=128), d])
    y = rng.integers(0, 3, size=128)
    y[120:] = 2
    shared = ordinal_separation(X, y, 3)
    assert shared.names == ("x1",)
    assert (shared.coef[:, 1] > 0).all()
    assert shared.diverges.tolist() == [[False, True], [False, True]]
    free = ordinal_separation(X, y, 3, parallel=np.array([True, False]))
    # The likelihood of a top row involves the last boundary only.
    assert free.diverges[1].tolist() == [False, True]
    assert free.coef[1, 1] > 0


@pytest.mark.parametrize("family", ["cumulative", "stopping", "continuation", "adjacent"])
def test_two_classes_are_the_binary_case(family: str) -> None:
    rng = np.random.default_rng(8)
    for flip in (0.0, 0.2):
        X = rng.normal(size=(50, 2))
        y = ((X[:, 0] > 0) ^ (rng.random(50) < flip)).astype(int)
        a, b = binary_separation(X, y), ordinal_separation(X, y, 2, family=family)  # type: ignore[arg-type]
        assert (a.kind, a.names) == (b.kind, b.names)
        np.testing.assert_allclose(a.coef, b.coef, atol=1e-7)


@pytest.mark.parametrize("family", ["stopping", "adjacent"])
def test_other_families_by_the_size_of_a_ridge_fit(family: str) -> None:
    rng = np.random.default_rng(9)
    outcomes = set()
    for draw in range(12):
        x = rng.normal(size=(25, 1))
        y = np.digitize(x[:, 0] + 0.5 * (draw % 2) * rng.normal(size=25), [-0.4, 0.6])

        def loss(b: np.ndarray, ridge: float, x: np.ndarray = x, y: np.ndarray = y) -> float:
            eta = b[:2] + x * b[2:]
            if family == "adjacent":
                score = np.column_stack([np.zeros(len(x)), np.cumsum(eta, axis=1)])
                value = np.take_along_axis(score, y[:, None], 1)[:, 0]
                value = value - np.logaddexp.reduce(score, axis=1)
            else:
                stay, go = -np.logaddexp(0, eta), -np.logaddexp(0, -eta)
                value = np.select(
                    [y == 0, y == 1], [stay[:, 0], go[:, 0] + stay[:, 1]], go.sum(axis=1)
                )
            return float(-value.sum() + ridge * b @ b)

        sizes = [
            np.linalg.norm(minimize(loss, np.zeros(4), (ridge,), method="BFGS", tol=1e-9).x)
            for ridge in (1e-3, 1e-5)
        ]
        found = ordinal_separation(x, y, 3, family=family, parallel=False).found  # type: ignore[arg-type]
        assert found == (sizes[1] > 1.5 * sizes[0])
        outcomes.add(found)
    assert outcomes == {True, False}


def test_no_columns() -> None:
    assert not binary_separation(np.empty((4, 0)), np.array([0, 1, 0, 1])).found
    assert binary_separation(np.empty((4, 0)), np.ones(4)).words().startswith("Complete separation")


def test_bad_input() -> None:
    X = np.zeros((3, 1))
    with pytest.raises(DataError, match=r"y must be 0 or 1; it holds .*2"):
        binary_separation(X, np.array([0, 1, 2]))
    with pytest.raises(DataError, match=r"weights .* and there are 2 names"):
        binary_separation(X, np.array([0, 1, 1]), names=["a", "b"])
    with pytest.raises(DataError, match="No row has positive weight"):
        binary_separation(X, np.array([0, 1, 1]), weights=np.zeros(3))
    with pytest.raises(DataError, match=r"codes 0 to 1; it holds .*2"):
        ordinal_separation(X, np.array([0, 1, 2]), 2)
    with pytest.raises(ParameterError, match="family must be 'cumulative'"):
        ordinal_separation(X, np.array([0, 1, 1]), 2, family="probit")  # type: ignore[arg-type]
    assert isinstance(binary_separation(X, np.array([0, 1, 1])), Separation)
