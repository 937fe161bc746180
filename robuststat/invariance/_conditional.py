"""Tests that the outcome is independent of the environment given a set of covariates.

Predictions are out of fold; any scikit-learn learner serves. Sets may be empty: then the prediction
is the mean (or the shares, or the quantile) of the training part.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats
from sklearn.base import clone
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, SplineTransformer, StandardScaler

from robuststat._core.crossfit import NuisanceTask, Split, cross_fit
from robuststat._core.types import Array, IntArray
from robuststat.invariance import _nulls as nulls

RESIDUAL_TESTS = ("levene_wilcoxon", "ks", "hsic")
CONDITIONAL_TESTS = ("env_prediction", "target_prediction", "quantile_prediction")
_QUANTILES = (0.1, 0.5, 0.9)


def default_regressor() -> Any:
    """Additive cubic splines with a slight ridge penalty."""
    return make_pipeline(SplineTransformer(n_knots=6), StandardScaler(), Ridge(alpha=1.0))


@dataclass(frozen=True, slots=True)
class ConditionalTest:
    """One test applied to many subsets.

    Attributes
    ----------
    test : str
        One of ``RESIDUAL_TESTS`` and ``CONDITIONAL_TESTS``.
    X : ndarray of shape (n, p)
        Covariates.
    y : ndarray of shape (n,)
        Outcome.
    codes : ndarray of shape (n,)
        Environments.
    splits : list of (train, test)
        Folds.
    regressor, classifier : estimator
        Of the outcome; of the environment.
    n_permutations, seed : int
        Of "hsic", and of learners with an open random state.
    """

    test: str
    X: Array
    y: Array
    codes: IntArray
    splits: list[Split]
    regressor: Any
    classifier: Any
    n_permutations: int
    seed: int

    @property
    def n_env(self) -> int:
        return int(self.codes.max()) + 1

    def p_value(self, subset: IntArray) -> float:
        """p-value of the invariance of a subset, given by positions."""
        features = self.X[:, subset]
        if self.test == "env_prediction":
            return self._env_prediction(features)
        if self.test == "target_prediction":
            return self._target_prediction(features)
        if self.test == "quantile_prediction":
            return self._quantile_prediction(features)
        resid = self.y - self._predict(self.regressor, features, self.y)
        if self.test == "ks":
            return nulls.ks_test(resid, self.codes, self.n_env).p_value
        if self.test == "hsic":
            rng = np.random.default_rng([self.seed, int((1 << subset).sum())])
            found = nulls.hsic_permutation(resid, self.codes, self.n_env, rng, self.n_permutations)
            return found.p_value
        return nulls.levene_wilcoxon(resid, self.codes, self.n_env).p_value

    def _predict(self, learner: Any, features: Array, target: Array) -> Array:
        if features.shape[1] == 0:
            classifies = hasattr(learner, "predict_proba")
            learner = DummyClassifier(strategy="prior") if classifies else DummyRegressor()
            features = np.zeros((len(self.y), 1))
        return self._out_of_fold(learner, features, target)

    def _out_of_fold(self, learner: Any, features: Array, target: Array) -> Array:
        usable = np.ones(len(target), dtype=bool)
        task = NuisanceTask("y", clone(learner), np.ascontiguousarray(features), target, usable)
        rng = np.random.default_rng(self.seed)
        seeds = np.array([self.seed], dtype=np.int64)
        return np.asarray(cross_fit([task], [self.splits], seeds, rng).predictions["y"][0])

    def _env_prediction(self, features: Array) -> float:
        """Test if the outcome helps to tell environments apart: sign test on changed verdicts."""
        target = np.eye(self.n_env)[self.codes]
        both = np.column_stack([features, self.y])
        without, with_y = (
            self._predict(self.classifier, part, target).argmax(axis=1) == self.codes
            for part in (features, both)
        )
        gained, lost = int((with_y & ~without).sum()), int((without & ~with_y).sum())
        if gained + lost == 0:
            return 1.0
        return float(stats.binomtest(gained, gained + lost, alternative="greater").pvalue)

    def _target_prediction(self, features: Array) -> float:
        """Test if the environment helps to predict the outcome: Wilcoxon on errors by row."""
        indicators = np.eye(self.n_env)[self.codes][:, 1:]
        without = np.abs(self.y - self._predict(self.regressor, features, self.y))
        extended = np.column_stack([features, indicators])
        with_env = np.abs(self.y - self._predict(self.regressor, extended, self.y))
        if np.array_equal(without, with_env):
            return 1.0
        return float(stats.wilcoxon(without, with_env, alternative="greater").pvalue)

    def _quantile_prediction(self, features: Array) -> float:
        """Test if conditional quantiles are exceeded equally often: Fisher tests, Bonferroni."""
        smallest = 1.0
        for quantile in _QUANTILES:
            if features.shape[1]:
                learner: Any = GradientBoostingRegressor(
                    loss="quantile", alpha=quantile, n_estimators=50, min_samples_leaf=10
                )
                predicted = self._out_of_fold(learner, features, self.y)
            else:
                dummy = DummyRegressor(strategy="quantile", quantile=quantile)
                predicted = self._out_of_fold(dummy, np.zeros((len(self.y), 1)), self.y)
            above = self.y > predicted
            for e in range(self.n_env if self.n_env > 2 else 1):
                inside = self.codes == e
                table = np.array(
                    [[(above & part).sum(), (~above & part).sum()] for part in (inside, ~inside)]
                )
                smallest = min(smallest, float(stats.fisher_exact(table).pvalue))
        factor = len(_QUANTILES) * (1 if self.n_env == 2 else self.n_env)
        return min(1.0, factor * smallest)


def default_classifier() -> Any:
    """Logit model in all quadratic terms.

    A forest gains from a redundant feature, which smooths it: without any effect of the environment
    the test then rejects too often.
    """
    return make_pipeline(
        StandardScaler(),
        PolynomialFeatures(degree=2, include_bias=False),
        StandardScaler(),
        LogisticRegression(max_iter=1000),
    )
