"""Tests of one subset that need the residuals of every row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from robuststat._core.errors import ParameterError, warn
from robuststat._core.glm import FAMILIES, glm_sums
from robuststat._core.types import Array, IntArray
from robuststat.invariance import _nulls as nulls
from robuststat.invariance._rows import EnvRows
from robuststat.invariance._search import as_tuples

ROW_TESTS = nulls.ROW_TESTS
BINARY_TESTS = nulls.BINARY_TESTS


@dataclass(frozen=True, slots=True)
class RowTest:
    """One test applied to many subsets.

    Attributes
    ----------
    test : str or callable
        One of ``ROW_TESTS``, ``BINARY_TESTS``, or a function of two groups of residuals.
    X : ndarray of shape (n, p)
        Candidates.
    y : ndarray of shape (n,)
        Outcome; two values for the binary tests.
    codes : ndarray of shape (n,)
        Environments.
    correction : str
        "K-1" or "K".
    n_permutations, seed : int
        Of "hsic"; every subset has its own stream, so that neither order nor threads matter.
    """

    test: str | Callable[[Array, Array], Any]
    X: Array
    y: Array
    codes: IntArray
    correction: str
    n_permutations: int
    seed: int

    def design(self, subset: IntArray) -> Array:
        """Columns of a subset behind a column of ones."""
        return np.column_stack([np.ones(len(self.y)), self.X[:, subset]])

    def p_value(self, subset: IntArray) -> float:
        """p-value of the invariance of a subset, given by positions."""
        Z, n_env = self.design(subset), int(self.codes.max()) + 1
        if self.test in BINARY_TESTS:
            binary = self._binary()
            if self.test == "logistic_t":
                found = nulls.logistic_t(Z, binary, self.codes, n_env, correction=self.correction)
            else:
                found = nulls.logistic_lr(Z, binary, self.codes, n_env)
            return found.p_value
        resid = residuals(Z, self.y)
        if callable(self.test):
            found = nulls.callable_test(self.test, resid, self.codes, n_env, self.correction)
        elif self.test == "ks":
            found = nulls.ks_test(resid, self.codes, n_env, self.correction)
        elif self.test == "hsic":
            rng = np.random.default_rng([self.seed, int((1 << subset).sum())])
            found = nulls.hsic_permutation(resid, self.codes, n_env, rng, self.n_permutations)
        else:
            found = nulls.levene_wilcoxon(resid, self.codes, n_env)
        return found.p_value

    def _binary(self) -> Array:
        return np.asarray(self.y == self.y.max(), dtype=np.float64)

    def logit_limits(self, masks: IntArray, z: float) -> tuple[Array, Array]:
        """Union of the intervals of pooled logit models, zero for sets without a variable."""
        p = self.X.shape[1]
        low, high = np.full(p, np.inf), np.full(p, -np.inf)
        for S in as_tuples(masks, p):
            Z = self.design(np.array(S, dtype=np.int64))
            theta = nulls.logistic_fit(Z, self._binary(), None)[0]
            information = glm_sums(Z, self._binary(), None, theta, FAMILIES["logit"])[1]
            half = z * np.sqrt(np.diag(np.linalg.pinv(information)))
            inside = np.isin(np.arange(p), S)
            low[inside] = np.minimum(low[inside], theta[1:] - half[1:])
            high[inside] = np.maximum(high[inside], theta[1:] + half[1:])
            low[~inside] = np.minimum(low[~inside], 0.0)
            high[~inside] = np.maximum(high[~inside], 0.0)
        return low, high


def residuals(Z: Array, y: Array) -> Array:
    """Residuals of least squares, by an orthogonal basis."""
    Q = np.linalg.qr(Z)[0]
    return np.asarray(y - Q @ (Q.T @ y))


def choose_test(test: Any, rows: EnvRows) -> Any:
    """Test of the search: "normal" is replaced for an outcome of two values."""
    binary = len(np.unique(rows.y[:1000])) <= 2 and len(np.unique(rows.y)) == 2
    if binary and test == "normal":
        warn(
            f"The outcome {rows.data.outcome!r} has two values: test='normal' is replaced by "
            "'logistic_lr'. Choose test='chow' for a linear probability model."
        )
        return "logistic_lr"
    if isinstance(test, str) and test.startswith("logistic") and not binary:
        raise ParameterError(
            f"test={test!r} needs an outcome with two values; {rows.data.outcome!r} has "
            f"{len(np.unique(rows.y))}. Use test='normal' or 'chow'."
        )
    return test
