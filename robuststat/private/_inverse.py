"""Private release of any statistic for which the user supplies a nested envelope."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from robuststat._core.errors import ParameterError, warn
from robuststat._core.params import Check, is_bool, one_of
from robuststat._core.types import IntArray
from robuststat.private._base import check_bounds
from robuststat.private._envelope_base import EnvelopeEstimator
from robuststat.private._envelopes import Envelope, ScoreKind
from robuststat.private._grid import Grid
from robuststat.private._setup import SETUP_CHECKS, Setup
from robuststat.private._statistics import Statistic, Window

UserEnvelope = Callable[[Any, int], tuple[Any, Any]]
_PAIRS = 200  # neighbouring data sets of the self-test, fewer for large n
_PAIR_VALUES = 400_000
_TEST_LAYERS = 60


@dataclass(frozen=True, slots=True)
class UserStatistic:
    """A user's envelope on grid indices.

    Attributes
    ----------
    call : callable
        ``(sorted values, K) -> (low, high)``.
    data, output : Grid
        Grids of the data and of the statistic.
    in_steps : bool
        Whether the function works on grid indices.
    kind : {"exact", "relaxed"}
        What the user says of the score.
    """

    call: UserEnvelope
    data: Grid
    output: Grid
    in_steps: bool
    kind: ScoreKind
    spread: ClassVar[bool] = False

    def windows(self, k_max: int) -> list[Window] | None:
        """All ranks."""
        return None

    def envelope(self, ranks: Any, k_max: int) -> Envelope:
        """Intervals, rounded outward to the grid and made to grow."""
        index = ranks.all_values
        x = index if self.in_steps else self.data.lo + index * self.data.step
        low, high = (np.asarray(end) for end in self.call(x, k_max))
        for end in (low, high):
            if end.shape != (k_max + 1,):
                raise ParameterError(
                    f"InverseSensitivity: envelope(x_sorted, {k_max}) must return two arrays of "
                    f"{k_max + 1} numbers, got shape {end.shape}."
                )
        last = self.output.last
        if self.in_steps:
            if low.dtype.kind not in "iu" or high.dtype.kind not in "iu":
                raise ParameterError(
                    "InverseSensitivity: with units='grid' the envelope must return integers, got "
                    f"{low.dtype} and {high.dtype}."
                )
        else:
            if np.isnan(low).any() or np.isnan(high).any():
                raise ParameterError("InverseSensitivity: the envelope returned NaN.")
            low = np.floor(np.clip((low - self.output.lo) / self.output.step, 0, last))
            high = np.ceil(np.clip((high - self.output.lo) / self.output.step, 0, last))
        low, high = (np.clip(end, 0, last).astype(np.int64) for end in (low, high))
        # If (N) holds it holds for these too: I_j is in I'_(j+1) for every j up to k.
        return Envelope(np.minimum.accumulate(low), np.maximum.accumulate(high), self.kind)


@dataclass(frozen=True, slots=True)
class _Sorted:
    all_values: IntArray


def neighbouring_pairs(n: int, last: int, pairs: int) -> Iterator[tuple[IntArray, IntArray]]:
    """Yield made-up data sets on 0..last that differ in one record: tied, split, spread, gaps.

    Parameters
    ----------
    n : int
        Records.
    last : int
        Largest value.
    pairs : int
        How many.

    Yields
    ------
    tuple of ndarray of shape (n,)
        Sorted.
    """
    rng = np.random.default_rng(0)
    for i in range(pairs):
        few = rng.integers(0, last + 1, size=max(2, min(n, 5)))
        width = max(1, last >> int(rng.integers(0, max(last.bit_length(), 1))))
        start = int(rng.integers(0, last - width + 1))
        kinds = (
            rng.integers(0, last + 1, size=n),
            np.full(n, few[0]),
            np.where(np.arange(n) < n // 2, 0, last),
            rng.choice(few, size=n),
            start + rng.integers(0, width + 1, size=n),
        )
        x = kinds[i % len(kinds)].astype(np.int64)
        other = x.copy()
        values = (0, last, few[1], x[rng.integers(0, n)], min(int(x[0]) + 1, last))
        other[rng.integers(0, n)] = values[(i // len(kinds)) % len(values)]
        yield np.sort(x), np.sort(other)


def check_nested(statistic: UserStatistic, n: int) -> None:
    """Look for neighbouring data sets on which property (N) fails.

    Parameters
    ----------
    statistic : UserStatistic
        On the grid it is released on.
    n : int
        Records.

    Raises
    ------
    ParameterError
        With the first violation: the envelope would not be private.
    """
    k_max = min(n, _TEST_LAYERS)
    pairs = max(25, min(_PAIRS, _PAIR_VALUES // n))
    for x, other in neighbouring_pairs(n, statistic.data.last, pairs):
        first, second = (statistic.envelope(_Sorted(v), k_max) for v in (x, other))
        for a, b, names in ((first, second, (x, other)), (second, first, (other, x))):
            bad = (b.low[1:] > a.low[:-1]) | (b.high[1:] < a.high[:-1])
            if bad.any():
                k = int(np.flatnonzero(bad)[0])
                raise ParameterError(
                    "InverseSensitivity: the envelope is not nested, so the release would not be "
                    f"private: I_{k} = [{a.low[k]}, {a.high[k]}] of S is not inside of I_{k + 1} = "
                    f"[{b.low[k + 1]}, {b.high[k + 1]}] of a neighbour (grid steps; made-up data "
                    f"S = {_short(names[0])}, neighbour = {_short(names[1])}). Widen the intervals."
                )


def _short(x: IntArray) -> str:
    shown = ", ".join(str(int(v)) for v in x[:12])
    return f"[{shown}{', ...' if len(x) > 12 else ''}]"


class InverseSensitivity(EnvelopeEstimator):
    """Differentially private release of any statistic with a nested envelope.

    The envelope says how far k changed records can move the statistic. It must satisfy

        I_k(S) is contained in I_(k+1)(S')  for all S, S' that differ in one record;           (N)

    then the release is private whatever the statistic is. (N) is the user's promise: the self-test
    looks for violations on made-up data and can refute it, not prove it.

    Parameters
    ----------
    envelope : callable
        ``envelope(x_sorted, k_max)`` returns two arrays of k_max + 1 numbers: low and high ends of
        I_0, ..., I_K for the sorted records. It must depend on nothing else.
    epsilon : float
        Privacy of the fit; there is no default.
    bounds : tuple of float
        Public range (low, high) of the data; values outside are moved to it.
    output_bounds : tuple of float, optional
        Public range of the statistic; that of the data by default.
    units : {"data", "grid"}, default="data"
        "data": the envelope sees grid points in the unit of the data and its ends are rounded
        outward; doubles can break (N) in their last digit. "grid": it sees and returns integers,
        counted in steps from the lower bound (of the data, and of the output), and is exact.
    score_kind : {"relaxed", "exact"}, default="relaxed"
        What to call the score: "exact" if I_k is the range of the statistic.
    check : bool, default=True
        Whether to run the self-test on made-up data before anything is charged.
    rho, kind, grid, nan_policy, max_contributions, accountant, random_state
        As for :class:`DPLocation`; always on the grid.
    adjacency : {"replace"}, default="replace"
        n must be public.

    Attributes
    ----------
    estimate_ : float
        Released statistic.
    epsilon_spent_, delta_spent_, adjacency_, mechanism_, score_kind_, grid_, rho_, secure_, n_
        As for :class:`DPLocation`; ``secure_`` is False with ``units="data"`` because the
        arithmetic of the envelope is not known to be exact.

    Raises
    ------
    ParameterError
        From ``fit``: when the self-test finds a violation, or the envelope returns something else.

    See Also
    --------
    DPLocation : Statistics whose envelopes are proved.
    exact_privacy_loss : The loss on a pair of data sets.

    References
    ----------
    Asi, H., Ullman, J. and Zakynthinou, L. (2023). From robustness to privacy and back. *ICML*.

    Examples
    --------
    >>> import numpy as np
    >>> from robuststat import InverseSensitivity
    >>> def median(x, k_max):
    ...     padded = np.concatenate([np.zeros(k_max), x, np.ones(k_max)])
    ...     middle = k_max + len(x) // 2
    ...     k = np.arange(k_max + 1)
    ...     return padded[middle - k], padded[middle + k]
    >>> x = np.random.default_rng(0).random(1001)
    >>> est = InverseSensitivity(median, epsilon=1.0, bounds=(0, 1), rho=0.01).fit(x)
    >>> bool(abs(est.estimate_ - 0.5) < 0.2)
    True
    """

    _title = "Private release over a user's envelope"
    _parameter_checks: ClassVar[Mapping[str, Check]] = {
        **{name: SETUP_CHECKS[name] for name in ("rho", "grid", "kind")},
        "envelope": lambda value: None if callable(value) else "a function (x_sorted, k_max)",
        "units": one_of("data", "grid"),
        "score_kind": one_of("relaxed", "exact"),
        "check": is_bool,
    }
    estimator = "statistic"
    secure = True

    def __init__(
        self,
        envelope: UserEnvelope,
        *,
        epsilon: float,
        bounds: Any = None,
        output_bounds: Any = None,
        units: Literal["data", "grid"] = "data",
        score_kind: Literal["relaxed", "exact"] = "relaxed",
        check: bool = True,
        adjacency: Literal["replace"] = "replace",
        rho: float | str = "auto",
        kind: Literal["step", "ramp"] = "step",
        grid: float | str = "auto",
        nan_policy: Literal["raise", "clip_mid"] = "raise",
        max_contributions: int = 1,
        accountant: Any = None,
        random_state: Any = None,
    ) -> None:
        self.envelope: Any = envelope
        self.epsilon = epsilon
        self.bounds = bounds
        self.output_bounds = output_bounds
        self.units = units
        self.score_kind = score_kind
        self.check = check
        self.adjacency = adjacency
        self.rho = rho
        self.kind = kind
        self.grid = grid
        self.nan_policy = nan_policy
        self.max_contributions = max_contributions
        self.accountant = accountant
        self.random_state = random_state

    def _check_parameters(self) -> None:
        super()._check_parameters()
        if self.adjacency != "replace":
            raise ParameterError(
                f"{type(self).__name__}: n must be public; use adjacency='replace'."
            )

    def _statistic(self, n: int, setup: Setup | None) -> Statistic:
        assert setup is not None
        assert setup.grid is not None
        data = setup.grid
        output = data
        if self.output_bounds is not None:
            low, high = check_bounds(self.output_bounds, type(self).__name__, "output_bounds")
            last = math.floor((high - low) / data.step)
            if last < 1:
                raise ParameterError(
                    f"{type(self).__name__}: output_bounds {self.output_bounds!r} hold no two "
                    f"points of the grid with step {data.step:.6g}. Pass a smaller rho= or grid=."
                )
            output = Grid(low, data.step, last, data.margin)
        return UserStatistic(
            self.envelope,
            data,
            output,
            self.units == "grid",
            self.score_kind,
        )

    def _value(self, setup: Setup, position: float) -> float:
        statistic = self._statistic(1, setup)
        assert isinstance(statistic, UserStatistic)
        return statistic.output.value(int(position))

    def _check_size(self, n: int, setup: Setup, epsilon: Any) -> None:
        statistic = self._statistic(n, setup)
        assert isinstance(statistic, UserStatistic)
        if self.check:
            check_nested(statistic, n)
        else:
            warn(
                f"{type(self).__name__}: check=False releases over an envelope that nobody "
                "tested. The guarantee is as good as its proof."
            )

    def _keep(self, setup: Setup, parts: Any, n: int) -> None:
        super()._keep(setup, parts, n)
        self.secure_ = self.secure_ and self.units == "grid"

    def _notes(self) -> list[str]:
        notes = super()._notes()
        if self.units == "data":
            notes.append(
                "the envelope computes in doubles, whose rounding is outside of the guarantee; "
                "units='grid' is exact"
            )
        return notes

    def _assumptions(self) -> list[str]:
        return [
            *super()._assumptions(),
            "the envelope is nested: I_k of a data set is in I_(k+1) of every neighbour",
        ]
