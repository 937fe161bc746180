"""Thresholdout: a holdout set that can be used again and again."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any, ClassVar, Literal, Self, TypeAlias

import numpy as np

from robuststat._core.errors import ParameterError, PrivacyBudgetError, PrivacyWarning, warn
from robuststat._core.params import Check, any_of, in_range, one_of, optional
from robuststat._core.types import Array
from robuststat.private._accountant import PrivacyAccountant
from robuststat.private._base import check_bounds
from robuststat.private._entropy import Entropy
from robuststat.private._means import LEVELS, level_sums, rows_of
from robuststat.private._noise import discrete_gaussian, discrete_laplace, exact_ratio
from robuststat.private._sparse import AboveThreshold, Queries

HoldoutNoise: TypeAlias = Literal["laplace", "gaussian"]

_positive = any_of(one_of("auto"), in_range(0.0, math.inf, closed="neither"))


def max_information(epsilon: float, n: int, beta: float) -> float:
    """Bound on the information (in nats) that an epsilon-private release of n rows carries.

    With probability 1 - beta the log of ``P(answer | rows) / P(answer)`` is at most
    ``v + sqrt(v**2 + 2 v log(1/beta))``, v = n epsilon**2 / 4, for independent rows: given an
    answer its log-probability f is a function of the rows with differences of at most epsilon, so
    ``E exp(s (f - E f)) <= exp(s**2 v / 2)`` (McDiarmid), and the joint probability of
    ``f - E f > t`` is at most ``E[exp(f - E f); f - E f > t] <= exp(t - t**2 / (2 v))``. Without
    the allowance beta it is at most ``n epsilon``.
    """
    v = n * epsilon**2 / 4
    return v + math.sqrt(v * v + 2 * v * math.log(1 / beta))


class ReusableHoldout(Queries):
    """Check adaptively chosen questions against a holdout set without wearing it out.

    A question phi gives each row a value. When its means over training and holdout rows agree, the
    training mean is answered and the holdout tells almost nothing about itself. When they do not,
    the question has overfitted the training rows: the holdout mean plus noise is answered, and
    one unit of the budget is used. Rows of the holdout are protected like people's records, and
    that is what keeps later questions honest.

    Parameters
    ----------
    threshold : float or "auto", default="auto"
        Difference of means that counts as overfitting, as a share of the width of a question's
        bounds. "auto": ``4 / sqrt(n)``, n rows in the holdout.
    sigma : float or "auto", default="auto"
        Size of the noise, same unit. "auto": ``threshold / 40`` with Laplace noise, so that honest
        questions rarely cost anything, and ``1 / sqrt(n)`` with normal noise.
    budget : int, optional
        Answers from the holdout. Needed with Laplace noise.
    noise : {"laplace", "gaussian"}, default="laplace"
        "laplace": comparison with ``threshold + Lap(2 sigma)`` and ``Lap(4 sigma)``, answer with
        ``Lap(sigma)``, threshold's noise new after every answer: each answer from the holdout costs
        epsilon = ``2 / (sigma n)``. "gaussian": normal noise of standard deviation ``sigma``
        once for the comparison and once for the answer, as in published demonstrations; it works
        in experiments and promises nothing.
    accountant : PrivacyAccountant, optional
        Ledger, charged when a round begins. Not with normal noise.
    random_state : int, optional
        Seed for tests and simulations; the answers are then not private.

    Attributes
    ----------
    n_ : int
        Rows in the holdout.
    threshold_, sigma_ : float
        Values in use.
    n_queries_, n_overfit_ : int
        Questions answered, and those answered from the holdout.
    epsilon_spent_ : float
        Rounds begun times the cost of one; inf with normal noise.
    delta_spent_ : float
        Always 0.
    adjacency_, mechanism_, secure_ : str, str, bool
        Always "replace"; kind of noise; whether it cannot be predicted.

    See Also
    --------
    GaussianAnswers : Answers every question from the data.
    SparseVector : Answers yes or no.

    Notes
    -----
    The guarantee of ``generalization_bound`` is derived here from the bound on max-information of
    a private release; it is not a theorem of the paper, whose constants ask for larger n. It
    assumes independent rows that were split at random and used for nothing else.

    References
    ----------
    Dwork, C., Feldman, V., Hardt, M., Pitassi, T., Reingold, O. and Roth, A. (2015). Preserving
    statistical validity in adaptive data analysis. *STOC*.
    Dwork, C. et al. (2015). The reusable holdout: preserving validity in adaptive data analysis.
    *Science* 349, 636-638.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> train, fresh = rng.normal(size=(2, 10_000, 50))
    >>> check = ReusableHoldout(budget=20).fit(train, fresh)
    >>> answer = check.query(lambda X: X[:, 0] > 0)
    >>> bool(answer == check.query(lambda X: X[:, 0] > 0)), check.n_queries_
    (True, 2)
    """

    _held = ("_data", "_train", "_source", "_rounds")
    _title = "Reusable holdout (Thresholdout)"
    _parameter_checks: ClassVar[Mapping[str, Check]] = {
        "threshold": _positive,
        "sigma": _positive,
        "budget": optional(in_range(1, 10**9, integer=True)),
        "noise": one_of("laplace", "gaussian"),
    }

    def __init__(
        self,
        threshold: float | Literal["auto"] = "auto",
        sigma: float | Literal["auto"] = "auto",
        budget: int | None = None,
        noise: HoldoutNoise = "laplace",
        *,
        accountant: PrivacyAccountant | None = None,
        random_state: Any = None,
    ) -> None:
        self.threshold = threshold
        self.sigma = sigma
        self.budget = budget
        self.noise = noise
        self.accountant = accountant
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> Self:
        """Take training and holdout rows; nothing is spent yet.

        Parameters
        ----------
        X : array, frame, or tuple
            Training rows, or (X, y): the arguments of questions.
        y : array, frame, or tuple
            Holdout rows of the same form.

        Returns
        -------
        ReusableHoldout

        Raises
        ------
        ParameterError
            When the noise asked for cannot keep the promise asked for.
        DataError
            For rows that are none.
        """
        self._check_parameters()
        self._check_promise()
        owner = type(self).__name__
        self._train = rows_of(X, owner, "the training set")
        self._data, self.n_ = rows_of(y, owner, "the holdout set")
        root = math.sqrt(self.n_)
        self.threshold_ = 4 / root if self.threshold == "auto" else float(self.threshold)
        auto = self.threshold_ / 40 if self.noise == "laplace" else 1 / root
        self.sigma_ = auto if self.sigma == "auto" else float(self.sigma)
        self._source = self._open_source()
        self._scale = exact_ratio(self.sigma_, "sigma") * self.n_ * LEVELS
        # 1/(sigma n) for the comparisons of a round, and as much for its answer.
        self._cost = 2 / (self.sigma_ * self.n_)
        unit = Fraction(self.threshold_) * self.n_ * LEVELS
        self._threshold_units = round(unit)
        self._rounds = AboveThreshold(
            self._source, self._threshold_units, LEVELS, LEVELS / self._scale
        )
        self.adjacency_, self.delta_spent_, self.rho_spent_ = "replace", 0.0, None
        self.mechanism_ = f"thresholdout with discrete {_NOISE_WORDS[self.noise]} noise"
        self.n_queries_ = self.n_overfit_ = self._n_paid = 0
        self.epsilon_spent_ = 0.0 if self.noise == "laplace" else math.inf
        return self

    def _check_promise(self) -> None:
        owner = type(self).__name__
        if self.noise == "laplace" and self.budget is None:
            raise ParameterError(
                f"{owner}: budget must be given with Laplace noise: how many answers may come from "
                "the holdout. Each costs epsilon = 2 / (sigma n)."
            )
        if self.noise == "gaussian":
            if self.accountant is not None:
                raise ParameterError(
                    f"{owner}: normal noise has no guarantee that an accountant could book. Use "
                    "noise='laplace'."
                )
            warn(
                f"{owner}: noise='gaussian' reproduces published experiments and promises nothing "
                "about privacy or later questions. Use noise='laplace' for a guarantee.",
                PrivacyWarning,
            )

    def query(self, phi: Callable[..., Any], bounds: tuple[float, float] = (0.0, 1.0)) -> Any:
        """Answer one question, or m at once, one after the other.

        Parameters
        ----------
        phi : callable
            ``phi(X)`` or ``phi(X, y)`` -> array of shape (n,) or (n, m); called with training and
            with holdout rows. It may depend on earlier answers.
        bounds : tuple of float, default=(0, 1)
            Public range of its values, which are clipped to it.

        Returns
        -------
        float or ndarray of shape (m,)
            Means: of the training rows where the two agree, else of the holdout, with noise.

        Raises
        ------
        PrivacyBudgetError
            When the budget, or the ledger, is used up. Answers before that are lost when m > 1;
            ask fewer at once.
        """
        self._check_holds_data()
        if self._exhausted:
            raise PrivacyBudgetError(
                f"All {self.budget} answers from the holdout are used up after "
                f"{self.n_queries_:,} questions. What was learnt so far stands; more would not be "
                "protected. Collect new rows, or plan a larger budget."
            )
        low, high = check_bounds(bounds, type(self).__name__)
        (train, n_train), n = self._train, self.n_
        sums = zip(
            level_sums(phi, train, n_train, (low, high)).tolist(),
            level_sums(phi, self._data, n, (low, high)).tolist(),
            strict=True,
        )
        # The training mean as a sum over as many rows as the holdout has.
        units = [self._answer(a * n // n_train, h) for a, h in sums]
        means = np.array([float(Fraction(u, n * LEVELS)) for u in units])
        answers = low + (high - low) * means
        return float(answers[0]) if answers.size == 1 else answers

    @property
    def _exhausted(self) -> bool:
        return self.budget is not None and self.n_overfit_ >= self.budget

    def _answer(self, train: int, holdout: int) -> int:
        """Answer a question in whole units; n * LEVELS units are the width of the bounds."""
        if self._exhausted:
            raise PrivacyBudgetError(
                f"All {self.budget} answers from the holdout were used up within one query."
            )
        if self.noise == "laplace" and self._n_paid == self.n_overfit_:
            self._pay(epsilon=self._cost)
            self._n_paid += 1
            self.epsilon_spent_ = self._cost * self._n_paid
        overfitted = self._disagree(abs(holdout - train))
        self.n_queries_ += 1
        self.n_overfit_ += int(overfitted)
        return holdout + self._draw(self._source) if overfitted else train

    def _disagree(self, difference: int) -> bool:
        if self.noise == "laplace":
            return self._rounds.above(difference)
        return difference + self._draw(self._source) > self._threshold_units

    def _draw(self, source: Entropy) -> int:
        if self.noise == "laplace":
            return discrete_laplace(source, self._scale)
        return discrete_gaussian(source, self._scale**2)

    def score(self, estimator: Any, metric: Callable[[Any, Any], Any] | None = None) -> float:
        """Score of a fitted estimator on the holdout, under the protection of ``query``.

        Parameters
        ----------
        estimator : estimator
            Has ``predict``; ``fit`` was called with tuples (X, y).
        metric : callable, optional
            ``metric(y, prediction)`` -> value in [0, 1] for every row. Default: 1 where the
            prediction is right.

        Returns
        -------
        float
        """
        self._check_holds_data()
        if len(self._data) != 2:
            raise ParameterError("score needs outcomes: pass (X, y) tuples to fit.")
        judge = _is_right if metric is None else metric
        answer = self.query(lambda X, y: judge(np.asarray(y), estimator.predict(X)))
        return float(answer)

    def generalization_bound(self, n_queries: int = 1, level: float = 0.95) -> float:
        """How far the holdout mean of any chosen question can be from the population's.

        Parameters
        ----------
        n_queries : int, default=1
            Questions, chosen in view of all answers, for which the bound must hold together.
        level : float, default=0.95
            Probability with which it holds.

        Returns
        -------
        float
            Share of the width of the bounds, for independent rows and the whole budget spent; inf
            with normal noise. Larger than 1 means that nothing is promised.

        Notes
        -----
        For one question fixed in advance the error exceeds t with probability ``2 exp(-2 n t**2)``
        (Hoeffding); a choice that carries I nats makes it ``exp(I)`` times as likely. I is at
        most ``n epsilon``, and smaller with probability ``(1 + level)/2``, see ``max_information``.
        """
        self._check_holds_data()
        if not 0 < level < 1 or n_queries < 1:
            raise ParameterError(
                f"level must lie in (0, 1) and n_queries be at least 1; got {level!r} and "
                f"{n_queries!r}."
            )
        if self.noise == "gaussian":
            return math.inf
        assert self.budget is not None
        epsilon, beta, n = self._cost * self.budget, 1 - level, self.n_
        plain = n * epsilon + math.log(2 * n_queries / beta)
        # Half of beta is spent on the information, half on the mean.
        sharper = max_information(epsilon, n, beta / 2) + math.log(4 * n_queries / beta)
        return math.sqrt(min(plain, sharper) / (2 * n))

    def summary(self) -> str:
        """Readable account of answers, cost and what is promised.

        Returns
        -------
        str
        """
        self._check_holds_data()
        lines = [self._title, *self._privacy_lines()]
        left = "" if self.budget is None else f", {self.budget - self.n_overfit_} left"
        lines += [
            f"Threshold {self.threshold_:.4g}, noise sigma {self.sigma_:.4g}, n = {self.n_:,}",
            f"Questions: {self.n_queries_:,} ({self.n_overfit_:,} answered from the holdout{left})",
        ]
        if self.noise == "gaussian":
            lines.append("Promise: none. What such answers look like is experience, not a theorem.")
            return "\n".join(lines)
        t = self.generalization_bound()
        whole = self._cost * float(self.budget or 0)
        lines.append(f"Whole budget: epsilon = {whole:.4g} for the rows of the holdout")
        if t < 1:
            lines.append(
                f"Promise: a question chosen from all answers has a holdout mean within {t:.3g} of "
                "the population's with probability .95 (independent rows)"
            )
        else:
            lines.append(
                f"Promise: none about later questions (the bound is {t:.3g} of the range): the "
                "budget is too large for n. Good answers are then experience, not a theorem."
            )
        return "\n".join(lines)


_NOISE_WORDS = {"laplace": "Laplace", "gaussian": "normal"}


def _is_right(y: Array, prediction: Array) -> Array:
    return np.asarray(y == prediction, dtype=np.float64)
