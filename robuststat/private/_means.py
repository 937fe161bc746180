"""Means of bounded functions of the rows, in integers, and normal noise on them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from fractions import Fraction
from typing import Any, ClassVar, Self

import numpy as np

from robuststat._core.errors import DataError, ParameterError, PrivacyBudgetError
from robuststat._core.params import Check, in_range
from robuststat._core.types import IntArray
from robuststat.private import _accounting as accounting
from robuststat.private._accountant import PrivacyAccountant
from robuststat.private._base import check_bounds
from robuststat.private._charge import PrivacyCost, check_delta
from robuststat.private._noise import discrete_gaussian, exact_ratio
from robuststat.private._sparse import Queries

# A value in [low, high] becomes a whole number in {0, ..., LEVELS}. One person moves the sum by at
# most LEVELS; sums of 2**32 rows fit 64 bits.
LEVELS = 1 << 30


def rows_of(data: Any, owner: str, name: str) -> tuple[tuple[Any, ...], int]:
    """Arguments of a question and the number of rows: data are rows, or a pair (X, y)."""
    parts = data if isinstance(data, tuple) else (data,)
    sizes = {len(part) if hasattr(part, "__len__") else -1 for part in parts}
    if len(sizes) != 1 or min(sizes) < 0:
        raise DataError(f"{owner}: {name} must be rows, or a tuple (X, y) of the same length.")
    (n,) = sizes
    if n == 0:
        raise DataError(f"{owner}: {name} has no rows. Pass at least one.")
    return parts, n


def level_sums(
    phi: Callable[..., Any], parts: tuple[Any, ...], n: int, bounds: tuple[float, float]
) -> IntArray:
    """Sum over the rows of values clipped to ``bounds``, in steps of 1/LEVELS of their range.

    Parameters
    ----------
    phi : callable
        ``phi(X)`` or ``phi(X, y)``, of shape (n,) or (n, m) for m questions at once.
    parts : tuple
        Arguments of ``phi``.
    n : int
        Rows.
    bounds : tuple of float
        Public range of the values. NaN becomes the middle: an error would tell too much.

    Returns
    -------
    ndarray of int64 of shape (m,)
    """
    answers, values = phi(*parts), None
    with suppress(TypeError, ValueError):  # their messages show a value
        values = np.asarray(answers, dtype=np.float64)
    if values is None:
        raise ParameterError(
            "The question must give numbers. Its values are not shown: they are private."
        )
    if values.ndim not in (1, 2) or values.shape[0] != n:
        raise ParameterError(
            f"The question must give one value a row: shape ({n},) or ({n}, m), got {values.shape}."
        )
    low, high = bounds
    with np.errstate(over="ignore", invalid="ignore"):  # a warning would tell of a huge record
        share = np.clip((values - low) / (high - low), 0.0, 1.0)
    share = np.where(np.isnan(share), 0.5, share)
    levels = np.rint(share * LEVELS).astype(np.int64)
    return np.atleast_1d(levels.sum(axis=0))


class GaussianAnswers(Queries):
    """Means of many questions about the same people, each with normal noise.

    The answer to a question phi is the mean of ``phi(row)``, clipped to public bounds, plus
    (discrete) normal noise of standard deviation ``sd`` times the width of the bounds. Questions
    may depend on earlier answers.

    Parameters
    ----------
    sd : float
        Standard deviation of the noise, as a share of the width of the bounds.
    budget : int
        Questions that will be answered. One costs ``rho = 1/(2 n**2 sd**2)`` in zCDP.
    accountant : PrivacyAccountant, optional
        Ledger, charged question by question; needs ``delta > 0``.
    random_state : int, optional
        Seed for tests; the answers are then not private.

    Attributes
    ----------
    n_queries_ : int
        Questions answered.
    rho_spent_ : float
        zCDP of all of them.
    adjacency_, secure_ : str, bool
        Always "replace"; whether the noise cannot be predicted.

    See Also
    --------
    ReusableHoldout : Pays only where training data mislead.

    References
    ----------
    Bun, M. and Steinke, T. (2016). Concentrated differential privacy. *TCC*.
    Canonne, C., Kamath, G. and Steinke, T. (2020). The discrete Gaussian for differential privacy.
    *NeurIPS*.

    Examples
    --------
    >>> import numpy as np
    >>> ask = GaussianAnswers(0.01, budget=10).fit(np.arange(1000) / 1000)
    >>> answer = ask.query(lambda x: x > 0.5)
    >>> abs(answer - 0.5) < 0.1, round(ask.rho_spent_, 6)
    (True, 0.005)
    """

    _title = "Means with normal noise"
    _parameter_checks: ClassVar[Mapping[str, Check]] = {"budget": in_range(1, 10**9, integer=True)}

    def __init__(
        self,
        sd: float,
        budget: int,
        *,
        accountant: PrivacyAccountant | None = None,
        random_state: Any = None,
    ) -> None:
        self.sd = sd
        self.budget = budget
        self.accountant = accountant
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> Self:
        """Take the data; nothing is spent yet.

        Parameters
        ----------
        X : array, frame, or tuple
            Rows, or a tuple (X, y): the arguments of the questions.
        y : array, optional
            Second argument of the questions.

        Returns
        -------
        GaussianAnswers
        """
        self._check_parameters()
        owner = type(self).__name__
        sd = exact_ratio(self.sd, f"{owner}: sd", positive=True)
        self._data, self.n_ = rows_of(X if y is None else (X, y), owner, "X")
        self._source = self._open_source()
        self._variance = (sd * self.n_ * LEVELS) ** 2
        self._cost = float(1 / (2 * Fraction(self.n_) ** 2 * sd**2))
        self.adjacency_ = "replace"
        self.mechanism_ = "discrete normal noise"
        self.epsilon_spent_, self.delta_spent_, self.rho_spent_ = np.inf, 0.0, 0.0
        self.n_queries_ = 0
        return self

    def query(self, phi: Callable[..., Any], bounds: tuple[float, float] = (0.0, 1.0)) -> Any:
        """Answer one question, or m at once.

        Parameters
        ----------
        phi : callable
            ``phi(X)`` or ``phi(X, y)`` -> array of shape (n,) or (n, m).
        bounds : tuple of float, default=(0, 1)
            Public range of its values, which are clipped to it.

        Returns
        -------
        float or ndarray of shape (m,)
            Noisy means.

        Raises
        ------
        PrivacyBudgetError
            When fewer than m questions are left; nothing is answered then.
        """
        self._check_holds_data()
        low, high = check_bounds(bounds, type(self).__name__)
        sums = level_sums(phi, self._data, self.n_, (low, high))
        if self.n_queries_ + sums.size > self.budget:
            raise PrivacyBudgetError(
                f"{sums.size} more answers exceed the budget of {self.budget} ({self.n_queries_} "
                "were given). Ask fewer, or fit again with a larger budget."
            )
        self._pay(rho=self._cost * sums.size)
        self.n_queries_ += sums.size
        self.rho_spent_ = self._cost * self.n_queries_
        noisy = [int(s) + discrete_gaussian(self._source, self._variance) for s in sums]
        means = np.array([float(Fraction(s, self.n_ * LEVELS)) for s in noisy])
        answers = low + (high - low) * means
        return float(answers[0]) if answers.size == 1 else answers

    def total(self, delta: float) -> PrivacyCost:
        """Cost so far as (epsilon, delta).

        Parameters
        ----------
        delta : float
            Probability with which the bound may fail.

        Returns
        -------
        PrivacyCost
        """
        self._check_holds_data()
        check_delta(delta, type(self).__name__)
        return PrivacyCost(accounting.zcdp_to_epsilon(self.rho_spent_ or 0.0, delta), delta)

    def summary(self) -> str:
        """Readable account of what was answered and promised.

        Returns
        -------
        str
        """
        self._check_holds_data()
        left = self.budget - self.n_queries_
        return "\n".join(
            [
                self._title,
                *self._privacy_lines(),
                f"Answers: {self.n_queries_} ({left} more can be); noise sd {self.sd:.6g} of the "
                "width of the bounds",
            ]
        )
