"""Base of the estimators that draw from a nested envelope: location and scale of one column."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar, Self

from sklearn.utils.validation import check_is_fitted

from robuststat._core.errors import ParameterError, warn
from robuststat._core.params import Check, check_parameters, in_range
from robuststat._core.types import Array
from robuststat.private._base import PrivateEstimator, check_bounds
from robuststat.private._entropy import Entropy
from robuststat.private._envelopes import ScoreKind
from robuststat.private._feasibility import Feasibility, assess, ranks_needed
from robuststat.private._intake import read_column
from robuststat.private._loss import LayerTable
from robuststat.private._setup import (
    SETUP_CHECKS,
    Sample,
    Setup,
    Target,
    distribution,
    draw,
    make_setup,
    real_envelope,
)
from robuststat.private._statistics import Statistic


@dataclass(frozen=True, slots=True)
class Part:
    """One draw of a release.

    Attributes
    ----------
    target : Statistic or Fraction
        What is drawn.
    epsilon : Fraction
        Its share.
    """

    target: Target
    epsilon: Fraction


class EnvelopeEstimator(PrivateEstimator):
    """Release of one robust statistic by the exponential mechanism over its nested envelope."""

    _parameter_checks: ClassVar[Mapping[str, Check]] = SETUP_CHECKS

    estimator: str
    bounds: Any
    rho: float | str
    kind: Any
    grid: Any
    secure: bool
    nan_policy: Any
    max_contributions: int
    score_kind_: ScoreKind
    grid_: dict[str, float] | None

    # ---------------------------------------------------------------- what subclasses say

    @abstractmethod
    def _statistic(self, n: int, setup: Setup | None) -> Statistic:
        """Statistic for n records, in units of the setup (of the data without one)."""

    def _parts(self, n: int, setup: Setup, epsilon: Fraction) -> list[Part]:
        """Everything that is drawn, for n records; the shares add up to epsilon."""
        return [Part(self._statistic(n, setup), epsilon)]

    def _finish(
        self, setup: Setup, drawn: list[float], sample: Sample, source: Entropy, epsilon: Fraction
    ) -> None:
        """Set estimates from what was drawn; nothing else of the data may be used."""
        self.estimate_ = self._value(setup, drawn[0])

    def _make_setup(self) -> Setup:
        """Public parameters, checked."""
        return make_setup(
            type(self).__name__,
            bounds=self.bounds,
            rho=self.rho,
            step=self.grid,
            kind=self.kind,
            secure=self.secure,
        )

    def _value(self, setup: Setup, position: float) -> float:
        """Released number on the scale of the data."""
        return position if setup.grid is None else setup.grid.value(int(position))

    # ------------------------------------------------------------------------------- fit

    def fit(self, X: Any, y: Any = None, *, sample_weight: Any = None) -> Self:
        """Release the estimate. Every call is charged anew.

        Parameters
        ----------
        X : array of shape (n,) or (n, 1), frame with one column, iterator of chunks, or function
            One number a person. An iterator gives chunks of such columns and is read once; a
            function without arguments returns one.
        y : None
            Ignored.
        sample_weight : None
            Not supported.

        Returns
        -------
        self

        Raises
        ------
        ParameterError, PrivacyBudgetError
            Before the data are looked at; nothing is charged.
        DataError, TypeError
            For data that are no numbers; nothing is charged, but the error tells something.
        NotImplementedError
            With ``sample_weight``.

        Warns
        -----
        PrivacyWarning
            When the release is not private: a seed, or arithmetic in doubles.
        UserWarning
            When there are too few records for the noise (see ``feasibility``), if n is public.
        """
        self._check_parameters()
        setup = self._make_setup()
        release = self._prepare(
            mechanism=self._mechanism(setup), kind=self._charge_kind(), sample_weight=sample_weight
        )
        sample = setup.read(X, self.nan_policy)
        self._check_size(sample.n, setup, release.epsilon)
        with release as source:
            parts = self._parts(sample.n, setup, release.epsilon)
            drawn = [draw(source, setup, sample, part.target, part.epsilon) for part in parts]
            self._finish(setup, drawn, sample, source, release.epsilon)
        self._keep(setup, parts, sample.n)
        return self

    def _charge_kind(self) -> Any:
        return "exponential"

    def _mechanism(self, setup: Setup) -> str:
        return setup.words

    def _keep(self, setup: Setup, parts: list[Part], n: int) -> None:
        self.secure_ = self.secure_ and setup.grid is not None
        self.score_kind_ = self._score_kind(parts)
        grid = setup.grid
        self.grid_ = None if grid is None else {"lo": grid.lo, "step": grid.step}
        self.rho_ = setup.rho
        if self.adjacency_ == "replace":
            self.n_ = n
        elif hasattr(self, "n_"):
            del self.n_  # of an earlier fit

    def _score_kind(self, parts: list[Part]) -> ScoreKind:
        if not parts:
            return "exact"
        target = parts[0].target
        if isinstance(target, Fraction):
            return "exact" if target == Fraction(1, 2) else "relaxed"
        return target.kind

    def _feasibility(self, n: int, setup: Setup, epsilon: Fraction) -> Feasibility:
        needed = ranks_needed(float(epsilon), setup.log_range_near)
        unit = None if setup.grid is None else setup
        return assess(
            self.estimator,
            n,
            needed,
            lambda size: self._statistic(size, unit),
            setup.hi - setup.lo,
        )

    def _check_size(self, n: int, setup: Setup, epsilon: Fraction) -> None:
        """Warn when the noise may stand for more records than the statistic bears."""
        if getattr(self, "adjacency", "replace") != "replace":
            return  # a warning would tell n
        share = self._parts(n, setup, epsilon)[0].epsilon
        answer = self._feasibility(n, setup, share)
        if not answer.feasible:
            more = f"about {answer.n_needed:,} records" if answer.n_needed else "another estimator"
            warn(
                f"{type(self).__name__}: {n:,} records are too few for epsilon={float(share):.4g} "
                f"at this precision: the noise may stand for {answer.ranks_needed:,} changed "
                f"records, and {self.estimator!r} bears {answer.ranks_available:,}. Expect noise "
                f"over the whole of the bounds. Use {more}, a larger epsilon or rho, or narrower "
                "bounds."
            )

    # ---------------------------------------------------------------------------- questions

    def contamination_bound(self, k: int, beta: float | None = None) -> float:
        """Say how much more likely a bad answer becomes when k records are wrong.

        Privacy is robustness of the whole distribution: whatever the estimator does with
        probability ``beta`` on clean data, it does with at most ``exp(k epsilon) beta`` when k
        records have been replaced (added or removed, with that adjacency).

        Parameters
        ----------
        k : int
            Records that are wrong.
        beta : float, optional
            Probability of a bad answer on clean data.

        Returns
        -------
        float
            The factor; with ``beta``, the bound on the probability, at most 1.

        Raises
        ------
        ParameterError
            For a negative k, or ``beta`` outside of [0, 1].
        """
        self._check_parameters()
        owner = type(self).__name__
        checks = {"k": in_range(0, 2**62, integer=True)}
        check_parameters(owner, checks, {"k": k})
        # Group privacy holds for records; with several a person, epsilon / c is that of one.
        epsilon = float(self.epsilon) / self.max_contributions
        factor = math.exp(min(k * epsilon, 700.0))
        if beta is None:
            return factor
        check_parameters(owner, {"beta": in_range(0.0, 1.0)}, {"beta": beta})
        return min(1.0, factor * beta)

    def envelope(self, x: Any, k_max: int) -> tuple[Array, Array]:
        """How far k changed records can move the estimate. NOT PRIVATE: for made-up data only.

        The output is computed from the data without noise: it must not be shown to anybody who
        may not see the data themselves.

        Parameters
        ----------
        x : array of shape (n,)
            Made-up data; values outside of the bounds are moved to them.
        k_max : int
            Largest number of changed records.

        Returns
        -------
        tuple of ndarray of shape (k_max + 1,)
            Low and high ends of the intervals of k = 0, ..., k_max, in real arithmetic and the
            unit of the data. A release rounds them outward to the grid.

        Raises
        ------
        ParameterError
            For a negative ``k_max``, or without bounds.
        """
        self._check_parameters()
        owner = type(self).__name__
        check_parameters(owner, {"k_max": in_range(0, 2**31, integer=True)}, {"k_max": k_max})
        if getattr(self, "adjacency", "replace") != "replace":
            raise ParameterError(
                f"{owner}.envelope is about replaced records; use adjacency='replace'."
            )
        lo, hi = self._range()
        values = read_column(x, owner, nan_policy=self.nan_policy, middle=(lo + hi) / 2)
        return real_envelope(values, lo, hi, self._statistic(len(values), None), k_max)

    def _range(self) -> tuple[float, float]:
        return check_bounds(self.bounds, type(self).__name__)

    def _layers(self, x: Any) -> list[LayerTable]:
        """Exact distribution of everything that a fit would draw; for audits only."""
        self._check_parameters()
        setup = self._make_setup()
        sample = setup.read(x, self.nan_policy)
        epsilon = Fraction(float(self.epsilon)) / self.max_contributions
        return [
            distribution(setup, sample, part.target, float(part.epsilon))
            for part in self._parts(sample.n, setup, epsilon)
        ]

    # ------------------------------------------------------------------------------ summary

    def _summary_lines(self) -> list[str]:
        grid = (
            "doubles: NOT SECURE"
            if self.grid_ is None
            else f"integer grid with step {self.grid_['step']:.6g}"
        )
        bounds = "" if self.bounds is None else f"Bounds: {_pair(self.bounds)}    "
        lines = [
            f"{bounds}Precision (rho): {self.rho_:.6g}",
            f"Arithmetic: {grid}    Score: {self.kind}, {self.score_kind_}",
        ]
        return lines if self.adjacency_ != "replace" else [f"Observations: {self.n_:,}", *lines]

    def _notes(self) -> list[str]:
        notes = []
        if self.score_kind_ == "relaxed":
            notes.append(
                "the score is an upper bound of the path length: privacy is exact, accuracy less "
                "than the best possible"
            )
        if self.max_contributions > 1:
            notes.append(
                f"{self.max_contributions} rows a person share epsilon: each row had "
                f"{self.epsilon / self.max_contributions:.4g}"
            )
        return notes

    def _assumptions(self) -> list[str]:
        return ["bounds, precision and options were chosen without looking at the data"]

    def _terms(self) -> tuple[str, ...]:
        check_is_fitted(self, "estimate_")
        return (self.estimator,)


def _pair(values: Any) -> str:
    return f"({float(values[0]):.6g}, {float(values[1]):.6g})"
