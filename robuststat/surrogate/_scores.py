"""Design-adjusted estimating equations of a row model.

psi_i = Lambda m(Dhat_i) + w_i {m(D_i) - Lambda m(Dhat_i)}, with w_i = R_i / pi_i, D_i the gold
row, Dhat_i the row with every predicted column replaced by its prediction, and m the model's
score, such as x (y - mu(x' beta)). Lambda is the identity for design-based supervised learning
(Egami et al. 2023, eq. 4-5), zero for gold labels only, a number for PPI++.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

import numpy as np

from robuststat._core.glm import weighted_gram
from robuststat._core.types import Array
from robuststat.surrogate._labels import Labelling
from robuststat.surrogate._models import GLMRows, RowModel

Tuning = float | Array
T = TypeVar("T")


class AdjustedMoments(Protocol):
    """What root, variance and tuning need to know: sums over all rows, details of the labelled.

    Rows may be in memory or come in parts; ``fold`` visits the parts.
    """

    @property
    def model(self) -> RowModel: ...

    @property
    def labelling(self) -> Labelling:
        """Labels; of the labelled rows alone when the rows come in parts."""
        ...

    @property
    def n_obs(self) -> int: ...

    @property
    def n_moments(self) -> int: ...

    @property
    def n_params(self) -> int: ...

    @property
    def gold_only(self) -> bool: ...

    @property
    def tuning(self) -> Tuning: ...

    def tuned(self, tuning: Tuning) -> Any:
        """Return the same moments with another Lambda."""
        ...

    def sums(self, theta: Array) -> tuple[Array, Array]:
        """Average score and average derivative."""
        ...

    def corrections(self, theta: Array) -> Array:
        """Return a (m - Lambda mhat) of the labelled rows."""
        ...

    def fold(self, make: Callable[[], T], add: Callable[..., None], spec: Any = None) -> T:
        """Run ``add(total, part, groups of its rows)`` over the parts, on what ``make`` returns."""
        ...


@dataclass(frozen=True, slots=True)
class DesignAdjusted:
    """Moments of rows in memory, for given predictions; sums cost one pass over the rows.

    Attributes
    ----------
    model : RowModel
        Scores of a row.
    X_hat : ndarray of shape (n, k)
        Design with predicted covariates filled in.
    y_hat : ndarray of shape (n,) or (n, m)
        Outcome, or its prediction when it is predicted.
    X_gold : ndarray of shape (n_labeled, k)
        Design of the labelled rows.
    y_gold : ndarray of shape (n_labeled,) or (n_labeled, m)
        Outcome of the labelled rows.
    labelling : Labelling
        Weights.
    tuning : float or ndarray of shape (q, q)
        Lambda.
    pseudo_outcome : ndarray of the shape of y_hat, or None
        yhat + w (y - yhat). Present when only the outcome is predicted, scores are linear in it,
        and Lambda is the identity: the moments then equal those of an ordinary model for this
        outcome.
    gram : ndarray of shape (k, k) or None
        ``X' diag(a) X``, shared by repetitions of a linear model.
    """

    model: RowModel
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
        """Number of rows, those of other parts included."""
        return self.labelling.n_rows

    @property
    def n_moments(self) -> int:
        """Number of equations."""
        return self.model.shape(self.X_hat.shape[1])[0]

    @property
    def n_params(self) -> int:
        """Number of parameters."""
        return self.model.shape(self.X_hat.shape[1])[1]

    def tuned(self, tuning: Tuning) -> DesignAdjusted:
        """Return the same moments with another Lambda."""
        return replace(self, tuning=tuning, pseudo_outcome=None, gram=None)

    def fold(self, make: Callable[[], T], add: Callable[..., None], spec: Any = None) -> T:
        """Run ``add`` on the one part that there is."""
        total = make()
        add(total, self, None if spec is None or spec.groups is None else spec.groups.codes)
        return total

    def sums(self, theta: Array) -> tuple[Array, Array]:
        """Average score and average derivative (2.3)."""
        score, information = self.totals(theta)
        return score / self.n_obs, -information / self.n_obs

    def totals(self, theta: Array) -> tuple[Array, Array]:
        """Sum of the scores of these rows, and minus its derivative."""
        a = self.labelling.weights
        if self.pseudo_outcome is not None:
            if self.gram is not None and isinstance(self.model, GLMRows) and self.model.linear:
                y = self.pseudo_outcome
                moment = self.X_hat.T @ (y if a is None else y * a)
                return moment - self.gram @ theta, self.gram
            return self.model.sums(self.X_hat, self.pseudo_outcome, a, theta)
        score, information = self.model.sums(self.X_gold, self.y_gold, self._gold_weights(), theta)
        if self.gold_only:
            return score, information
        hat_weights = self._hat_weights(slice(None))
        if self.model.smooth:
            hat_score, own = self.model.sums(self.X_hat, self.y_hat, hat_weights, theta)
            information += _times(self.tuning, own)
        else:
            # The derivative of the expected score is what expert labels say.
            hat_score = self.model.rows(self.X_hat, self.y_hat, theta, hat_weights).sum(axis=0)
        return score + _times(self.tuning, hat_score), information

    def scores(self, theta: Array, rows: slice) -> Array:
        """Scores of some rows."""
        X, a = self.X_hat[rows], self.labelling.weights
        if self.pseudo_outcome is not None:
            weights = None if a is None else a[rows]
            return self.model.rows(X, self.pseudo_outcome[rows], theta, weights)
        if self.gold_only:
            psi = np.zeros((X.shape[0], self.n_moments))
        else:
            psi = self.model.rows(X, self.y_hat[rows], theta, self._hat_weights(rows))
            psi = _rows_times(psi, self.tuning)
        start, stop, _ = rows.indices(self.X_hat.shape[0])
        first, last = np.searchsorted(self.labelling.rows, (start, stop))
        gold = slice(first, last)
        psi[self.labelling.rows[gold] - start] += self.model.rows(
            self.X_gold[gold], self.y_gold[gold], theta, self._gold_weights()[gold]
        )
        return psi

    def corrections(self, theta: Array) -> Array:
        """Return a (m - Lambda mhat) of the labelled rows, of shape (n_labeled, q)."""
        rows = self.labelling.rows
        gold = self.model.rows(self.X_gold, self.y_gold, theta)
        if not self.gold_only:
            hat = self.model.rows(self.X_hat[rows], self.y_hat[rows], theta)
            gold -= _rows_times(hat, self.tuning)
        weights = self.labelling.weights
        return gold if weights is None else gold * weights[rows, None]

    @property
    def gold_only(self) -> bool:
        """Whether predictions have no weight."""
        return isinstance(self.tuning, float) and self.tuning == 0.0

    def row_weights(self) -> tuple[Array, Array]:
        """Weights of the expert rows (n_labeled,) and of the predicted rows (n,)."""
        assert isinstance(self.tuning, float)
        return self._gold_weights(), self.tuning * self._hat_weights(slice(None))

    def _gold_weights(self) -> Array:
        weights = self.labelling.weights
        ratio = self.labelling.ratio
        return ratio if weights is None else ratio * weights[self.labelling.rows]

    def _hat_weights(self, rows: slice) -> Array:
        """Return a (1 - w) of some rows."""
        labelling = self.labelling
        values = 1.0 - labelling.labeled[rows] / labelling.prob[rows]
        return values if labelling.weights is None else values * labelling.weights[rows]


def pseudo_outcome(y_hat: Array, y_gold: Array, labelling: Labelling) -> Array:
    """Yhat + w (y - yhat), of the shape of ``y_hat``."""
    rows = labelling.rows
    pseudo = np.array(y_hat, dtype=np.float64)
    ratio = labelling.ratio if pseudo.ndim == 1 else labelling.ratio[:, None]
    pseudo[rows] += ratio * (y_gold - pseudo[rows])
    return pseudo


def adjusted(
    model: RowModel,
    X_hat: Array,
    y_hat: Array,
    X_gold: Array,
    y_gold: Array,
    labelling: Labelling,
    *,
    outcome_only: bool,
    gram: Array | None = None,
) -> DesignAdjusted:
    """Moments of one set of predictions, through a pseudo-outcome where the model allows it."""
    pseudo = None
    if outcome_only and model.linear_in_outcome:
        pseudo = pseudo_outcome(y_hat, y_gold, labelling)
    return DesignAdjusted(
        model, X_hat, y_hat, X_gold, y_gold, labelling, pseudo_outcome=pseudo, gram=gram
    )


def design_gram(X: Array, weights: Array | None) -> Array:
    """``X' diag(a) X``."""
    return weighted_gram(X, X[:, 0], weights)[0]


def _times(tuning: Tuning, value: Array) -> Array:
    return value * tuning if isinstance(tuning, float) else tuning @ value


def _rows_times(rows: Array, tuning: Tuning) -> Array:
    return rows * tuning if isinstance(tuning, float) else rows @ tuning.T
