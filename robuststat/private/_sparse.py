"""Is a value above a threshold? Questions whose answer "no" costs nothing more (sparse vector).

Round: the threshold gets Lap(2 D/e), every question fresh Lap(4 D/e), D the sensitivity, until the
first "above"; the whole round is e-private, however many answers were "below". The threshold's
noise is drawn again for the next round: reusing it is the classical error of published variants.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from fractions import Fraction
from typing import Any, ClassVar, Self

import numpy as np

from robuststat._core.errors import ParameterError, PrivacyBudgetError
from robuststat._core.params import Check, in_range
from robuststat.private._accountant import PrivacyAccountant
from robuststat.private._base import PrivateEstimator
from robuststat.private._charge import read_charge
from robuststat.private._entropy import Entropy, make_entropy
from robuststat.private._noise import discrete_laplace, exact_ratio

# A real-valued question is rounded to this share of its sensitivity.
_UNITS = 1 << 20


class AboveThreshold:
    """Rounds of the sparse vector technique on whole numbers.

    Parameters
    ----------
    source : Entropy
        Random bits.
    threshold : int
        In the unit of the values.
    sensitivity : int
        Largest change of a value between neighbours.
    epsilon : Fraction
        Cost of a round.
    """

    def __init__(
        self, source: Entropy, threshold: int, sensitivity: int, epsilon: Fraction
    ) -> None:
        self._source, self._threshold = source, threshold
        self._scale = 2 * sensitivity / epsilon
        self._noisy: int | None = None

    def above(self, value: int) -> bool:
        """Whether the value is above the threshold; True ends the round."""
        if self._noisy is None:
            self._noisy = self._threshold + discrete_laplace(self._source, self._scale)
        found = value + discrete_laplace(self._source, 2 * self._scale) > self._noisy
        if found:
            self._noisy = None
        return found


class Queries(PrivateEstimator):
    """Object that answers questions about data it holds; the data never leave the process.

    Pickles and copies are made without the data and without the noise drawn so far, so that
    neither travels; such a copy must be fitted before it answers.
    """

    _held: tuple[str, ...] = ("_data", "_source", "_rounds")

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = dict(super().__getstate__())
        return {key: value for key, value in state.items() if key not in self._held}

    def _open_source(self) -> Entropy:
        """Source of the noise of all answers, noted for the summary."""
        source = make_entropy(self.random_state, type(self).__name__)
        self.secure_, self.noise_ = source.secure, source.words_for_summary
        return source

    def _pay(self, *, epsilon: float | None = None, rho: float | None = None) -> None:
        """Charge a part of the answers before it is computed."""
        if self.accountant is not None:
            label = type(self).__name__
            charge = read_charge(epsilon=epsilon, rho=rho, label=label, adjacency="replace")
            self.accountant.record(charge)

    def _check_holds_data(self) -> None:
        if not hasattr(self, "_data"):
            raise PrivacyBudgetError(
                f"This {type(self).__name__} holds no data: it was not fitted, or it is a copy "
                "(pickles and copies travel without data and noise). Call fit, which pays again."
            )


class SparseVector(Queries):
    """Ask many yes/no questions and pay only for the answers "above".

    Each question is a number computed from the data, compared with a threshold. What is released
    is whether it is above, never the number.

    Parameters
    ----------
    threshold : float
        Compared with the answers, in their unit.
    epsilon : float
        Cost of everything together, charged by ``fit``.
    sensitivity : float
        Largest change of any question when one person's record is exchanged: 1/n for a mean of
        values in [0, 1]. The guarantee rests on it.
    budget : int, default=1
        Answers "above" until the object falls silent. Each costs ``epsilon / budget``.
    accountant : PrivacyAccountant, optional
        Ledger to charge.
    random_state : int, optional
        Seed for tests; the result is then not private.

    Attributes
    ----------
    n_above_, n_queries_ : int
        Answers "above", and answers in all.
    epsilon_spent_, delta_spent_ : float
        What ``fit`` charged; delta is 0.
    adjacency_, mechanism_, secure_ : str, str, bool
        Neighbours, kind of noise, and whether the noise cannot be predicted.

    See Also
    --------
    ReusableHoldout : Also answers with a number when training and holdout disagree.

    References
    ----------
    Dwork, C. and Roth, A. (2014). The algorithmic foundations of differential privacy, section 3.6.
    Lyu, M., Su, D. and Li, N. (2017). Understanding the sparse vector technique. *VLDB*.

    Examples
    --------
    >>> import numpy as np
    >>> ages = np.arange(1000) % 90
    >>> ask = SparseVector(0.5, epsilon=1.0, sensitivity=1 / 1000).fit(ages)
    >>> [ask.query(lambda x, a=a: np.mean(x < a)) for a in (10, 30, 80)]
    [False, False, True]
    """

    _title = "Sparse vector: which answers are above a threshold"
    _parameter_checks: ClassVar[Mapping[str, Check]] = {"budget": in_range(1, 10**9, integer=True)}

    def __init__(
        self,
        threshold: float,
        *,
        epsilon: float,
        sensitivity: float,
        budget: int = 1,
        accountant: PrivacyAccountant | None = None,
        random_state: Any = None,
    ) -> None:
        self.threshold = threshold
        self.epsilon = epsilon
        self.sensitivity = sensitivity
        self.budget = budget
        self.accountant = accountant
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> Self:
        """Take the data and pay for all answers.

        Parameters
        ----------
        X : object
            Whatever the questions are functions of; not copied, not looked at.
        y : None
            Ignored by convention.

        Returns
        -------
        SparseVector

        Raises
        ------
        ParameterError, PrivacyBudgetError
            Before anything is charged.
        """
        owner = type(self).__name__
        sensitivity = exact_ratio(self.sensitivity, f"{owner}: sensitivity", positive=True)
        if in_range(-np.inf, np.inf, closed="neither")(self.threshold) is not None:
            raise ParameterError(f"{owner}: threshold must be finite, got {self.threshold!r}.")
        release = self._prepare(mechanism="sparse vector with discrete Laplace noise")
        with release as source:
            self._source = source
            self._unit = sensitivity / _UNITS
            threshold = round(Fraction(float(self.threshold)) / self._unit)
            # Rounding can move two answers apart by one more unit.
            self._rounds = AboveThreshold(
                source, threshold, _UNITS + 1, release.epsilon / self.budget
            )
            self._data = X
        self.n_above_ = self.n_queries_ = 0
        return self

    def query(self, question: Callable[[Any], float]) -> bool:
        """Answer whether ``question(data)`` is above the threshold.

        Parameters
        ----------
        question : callable
            Function of the data passed to ``fit``, with the sensitivity that was promised.

        Returns
        -------
        bool

        Raises
        ------
        PrivacyBudgetError
            After ``budget`` answers "above", and without data.
        ParameterError
            When the question has no finite number as answer.
        """
        self._check_holds_data()
        if self.n_above_ >= self.budget:
            raise PrivacyBudgetError(
                f"All {self.budget} answers 'above' are used up. Fit again, which is charged again."
            )
        answer, value = question(self._data), np.nan
        with suppress(TypeError, ValueError):  # their messages show a value
            value = float(answer)
        if not np.isfinite(value):
            raise ParameterError("The question must have a finite number as answer.")
        found = self._rounds.above(round(Fraction(value) / self._unit))
        self.n_queries_ += 1
        self.n_above_ += int(found)
        return found

    def summary(self) -> str:
        """Readable account of what was answered and promised.

        Returns
        -------
        str
        """
        self._check_holds_data()
        left = self.budget - self.n_above_
        lines = [
            self._title,
            *self._privacy_lines(),
            f"Answers: {self.n_queries_} ({self.n_above_} above, {left} more can be)",
            f"Assumes: no question changes by more than {self.sensitivity:.6g} between neighbours",
        ]
        return "\n".join(lines)
