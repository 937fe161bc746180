"""Design-adjusted estimating equations of canonical generalised linear models.

psi_i = Lambda m(Dhat_i) + w_i {m(D_i) - Lambda m(Dhat_i)}, with w_i = R_i / pi_i, D_i the gold
row, Dhat_i the row with every predicted column replaced by its prediction, and
m(D; beta) = x (y - mu(x' beta)). Lambda is the identity for design-based supervised learning
(Egami et al. 2023, eq. 4-5), zero for gold labels only, a number for PPI++.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from robuststat._core.glm import GLMFamily, glm_sums, weighted_gram
from robuststat._core.types import Array
from robuststat.surrogate._labels import Labelling

Tuning = float | Array


@dataclass(frozen=True, slots=True)
class DesignAdjustedGLM:
    """Moments of one regression for given predictions; sums cost one pass over the rows.

    Attributes
    ----------
    family : GLMFamily
        Mean function.
    X_hat : ndarray of shape (n, k)
        Design with predicted covariates filled in.
    y_hat : ndarray of shape (n,)
        Outcome, or its prediction when it is predicted.
    X_gold : ndarray of shape (n_labeled, k)
        Design of the labelled rows.
    y_gold : ndarray of shape (n_labeled,)
        Outcome of the labelled rows.
    labelling : Labelling
        Weights.
    tuning : float or ndarray of shape (k, k)
        Lambda.
    pseudo_outcome : ndarray of shape (n,) or None
        yhat + w (y - yhat). Present when only the outcome is predicted and Lambda is the
        identity: the moments then equal those of an ordinary model for this outcome.
    gram : ndarray of shape (k, k) or None
        ``X' diag(a) X``, shared by repetitions of a linear model.
    """

    family: GLMFamily
    X_hat: Array
    y_hat: Array
    X_gold: Array
    y_gold: Array
    labelling: Labelling
    tuning: Tuning = 1.0
    pseudo_outcome: Array | None = None
    gram: Array | None = None

    @property
    def n_obs(self) -> int:
        """Number of rows."""
        return int(self.X_hat.shape[0])

    @property
    def n_moments(self) -> int:
        """Number of coefficients."""
        return int(self.X_hat.shape[1])

    def tuned(self, tuning: Tuning) -> DesignAdjustedGLM:
        """Return the same moments with another Lambda."""
        return replace(self, tuning=tuning, pseudo_outcome=None, gram=None)

    def sums(self, theta: Array) -> tuple[Array, Array]:
        """Average score and average derivative (2.3)."""
        n = self.n_obs
        a = self.labelling.weights
        if self.pseudo_outcome is not None:
            if self.gram is not None and self.family.name == "linear":
                moment = _cross_product(self.X_hat, self.pseudo_outcome, a)
                return (moment - self.gram @ theta) / n, -self.gram / n
            score, information = glm_sums(self.X_hat, self.pseudo_outcome, a, theta, self.family)
            return score / n, -information / n
        score, information = glm_sums(
            self.X_gold, self.y_gold, self._gold_weights(), theta, self.family
        )
        if not self.gold_only:
            hat_score, hat_information = glm_sums(
                self.X_hat, self.y_hat, self._hat_weights(slice(None)), theta, self.family
            )
            score += _times(self.tuning, hat_score)
            information += _times(self.tuning, hat_information)
        return score / n, -information / n

    def scores(self, theta: Array, rows: slice) -> Array:
        """Scores of some rows."""
        X = self.X_hat[rows]
        if self.pseudo_outcome is not None:
            residual = self.pseudo_outcome[rows] - self.family.mean(X @ theta)
            if self.labelling.weights is not None:
                residual *= self.labelling.weights[rows]
            return X * residual[:, None]
        if self.gold_only:
            psi = np.zeros(X.shape)
        else:
            residual = self.y_hat[rows] - self.family.mean(X @ theta)
            psi = X * (residual * self._hat_weights(rows))[:, None]
            psi = _rows_times(psi, self.tuning)
        start, stop, _ = rows.indices(self.n_obs)
        first, last = np.searchsorted(self.labelling.rows, (start, stop))
        gold = slice(first, last)
        residual = self.y_gold[gold] - self.family.mean(self.X_gold[gold] @ theta)
        residual *= self._gold_weights()[gold]
        psi[self.labelling.rows[gold] - start] += self.X_gold[gold] * residual[:, None]
        return psi

    def corrections(self, theta: Array) -> Array:
        """Return a (m - Lambda mhat) of the labelled rows, of shape (n_labeled, k)."""
        rows = self.labelling.rows
        gold = self.X_gold * (self.y_gold - self.family.mean(self.X_gold @ theta))[:, None]
        if not self.gold_only:
            X = self.X_hat[rows]
            hat = X * (self.y_hat[rows] - self.family.mean(X @ theta))[:, None]
            gold -= _rows_times(hat, self.tuning)
        weights = self.labelling.weights
        return gold if weights is None else gold * weights[rows, None]

    @property
    def gold_only(self) -> bool:
        """Whether predictions have no weight."""
        return isinstance(self.tuning, float) and self.tuning == 0.0

    def _gold_weights(self) -> Array:
        weights = self.labelling.weights
        ratio = self.labelling.ratio
        return ratio if weights is None else ratio * weights[self.labelling.rows]

    def _hat_weights(self, rows: slice) -> Array:
        """Return a (1 - w) of some rows."""
        labelling = self.labelling
        values = 1.0 - labelling.labeled[rows] / labelling.prob[rows]
        return values if labelling.weights is None else values * labelling.weights[rows]


def outcome_moments(
    family: GLMFamily,
    X: Array,
    y_hat: Array,
    X_gold: Array,
    y_gold: Array,
    labelling: Labelling,
    gram: Array | None = None,
) -> DesignAdjustedGLM:
    """Moments when only the outcome is predicted: one ordinary model for a pseudo-outcome."""
    rows = labelling.rows
    pseudo = np.array(y_hat, dtype=np.float64)
    pseudo[rows] += labelling.ratio * (y_gold - pseudo[rows])
    return DesignAdjustedGLM(
        family, X, y_hat, X_gold, y_gold, labelling, pseudo_outcome=pseudo, gram=gram
    )


def design_gram(X: Array, weights: Array | None) -> Array:
    """``X' diag(a) X``."""
    return weighted_gram(X, X[:, 0], weights)[0]


def _cross_product(X: Array, y: Array, weights: Array | None) -> Array:
    return X.T @ (y if weights is None else y * weights)


def _times(tuning: Tuning, value: Array) -> Array:
    return value * tuning if isinstance(tuning, float) else tuning @ value


def _rows_times(rows: Array, tuning: Tuning) -> Array:
    return rows * tuning if isinstance(tuning, float) else rows @ tuning.T
