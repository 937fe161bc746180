"""Black-box audits: lower bounds of epsilon from draws, with confidence."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import betaincinv
from sklearn.base import clone

from robuststat._core.errors import ParameterError
from robuststat._core.types import Array, BoolArray
from robuststat.private._base import PrivateEstimator
from robuststat.private._charge import check_delta
from robuststat.private._entropy import Entropy, SeededEntropy, SystemEntropy

_BINS = 64


@dataclass(frozen=True, slots=True)
class AuditResult:
    """What draws show about a mechanism.

    Attributes
    ----------
    epsilon_lower : float
        Lower confidence bound of epsilon: the mechanism is at least this revealing.
    claimed : float or None
        Epsilon that is claimed, where known.
    level : float
        Confidence of the bound.
    counts : tuple of int
        How often the chosen event occurred with either data set, or guesses right and made.
    n_draws : int
        Trials behind each count.
    event : str
        The event in words.

    Examples
    --------
    >>> AuditResult(1.3, 1.0, 0.99, (80, 20), 100, "output in a set").violated
    True
    """

    epsilon_lower: float
    claimed: float | None
    level: float
    counts: tuple[int, int]
    n_draws: int
    event: str

    @property
    def violated(self) -> bool:
        """Whether the claim is refuted at this confidence; False without a claim."""
        return self.claimed is not None and self.epsilon_lower > self.claimed


def audit_epsilon(
    mechanism: Any,
    S: Any,
    S2: Any,
    *,
    n_draws: int = 20_000,
    level: float = 0.99,
    delta: float | None = None,
    epsilon: float | None = None,
    random_state: Any = None,
) -> AuditResult:
    """Look for a violation of differential privacy in draws on two neighbouring data sets.

    Half of the draws choose the event whose probabilities differ most, the other half bound its
    two probabilities (Clopper and Pearson): ``epsilon >= log((p1_low - delta) / p2_high)``.

    Parameters
    ----------
    mechanism : private estimator or callable
        An estimator is fitted again and again, without its accountant, and its ``estimate_`` is
        looked at. A callable gets a data set and returns a number or an array of fixed shape.
    S, S2 : array
        Made-up neighbours, as different as they may be.
    n_draws : int, default=20000
        Draws on each data set. 200,000 tell epsilon 1 from 2 with any sensible event.
    level : float, default=0.99
        Confidence of the bound; a correct mechanism is accused with probability ``1 - level``.
    delta, epsilon : float, optional
        What is claimed. Default: the parameters of the estimator; 0 and None for a callable.
    random_state : int, optional
        Seed of an estimator's noise; a callable brings its own randomness.

    Returns
    -------
    AuditResult

    Raises
    ------
    ParameterError
        For too few draws, or outputs that are no numbers.

    See Also
    --------
    exact_privacy_loss : No draws, no confidence: the loss itself.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> too_little_noise = lambda x: x[0] + rng.laplace(scale=0.25)  # epsilon = 4
    >>> audit_epsilon(too_little_noise, [0], [1], epsilon=1.0, n_draws=4_000).violated
    True
    """
    _check_draws(n_draws, level)
    if isinstance(mechanism, PrivateEstimator):
        draw = _fits_of(mechanism, random_state)
        delta = float(getattr(mechanism, "delta", 0.0)) if delta is None else delta
        epsilon = float(mechanism.epsilon) if epsilon is None else epsilon
    else:
        if random_state is not None:
            raise ParameterError("random_state is for estimators; a callable has its own.")
        draw = mechanism
    delta = 0.0 if delta is None else delta
    check_delta(delta, "audit_epsilon")
    outputs = [_outputs(draw, data, n_draws) for data in (S, S2)]
    half = n_draws // 2
    inside, swap, words = _choose_event([o[:half] for o in outputs], delta)
    first, second = (inside(o[half:]) for o in (outputs[::-1] if swap else outputs))
    n = n_draws - half
    counts = (int(first.sum()), int(second.sum()))
    return AuditResult(
        epsilon_lower=float(
            _lower_bound(np.array(counts[0]), np.array(counts[1]), n, delta, level)
        ),
        claimed=epsilon,
        level=level,
        counts=counts,
        n_draws=n,
        event=words + (" (data sets exchanged)" if swap else ""),
    )


def _check_draws(n_draws: int, level: float) -> None:
    if n_draws < 100:
        raise ParameterError(f"n_draws must be at least 100, got {n_draws!r}. Use 10,000 or more.")
    if not 0 < level < 1:
        raise ParameterError(f"level must lie in (0, 1), got {level!r}. Use e.g. 0.99.")


def _fits_of(est: PrivateEstimator, random_state: Any) -> Callable[[Any], Any]:
    """Draw by fitting one copy; its noise goes on from draw to draw."""
    source: Entropy = SystemEntropy() if random_state is None else SeededEntropy(random_state)
    copy = clone(est).set_params(accountant=None, random_state=source)
    return lambda data: copy.fit(data).estimate_


def _outputs(draw: Callable[[Any], Any], data: Any, n_draws: int) -> Array:
    drawn = (np.asarray(draw(data), dtype=np.float64) for _ in range(n_draws))
    values = [np.atleast_1d(value).ravel() for value in drawn]
    if len({v.size for v in values}) != 1:
        raise ParameterError("The mechanism must return arrays of one shape.")
    return np.array(values)


def _choose_event(
    halves: list[Array], delta: float
) -> tuple[Callable[[Array], BoolArray], bool, str]:
    """Find the set of outputs with the largest bound: (membership, exchanged, words)."""
    best: tuple[float, int, Array, BoolArray, bool] | None = None
    for j in range(halves[0].shape[1]):
        columns = [half[:, j] for half in halves]
        cuts = _cuts(np.concatenate(columns))
        cells = [np.bincount(_cell(c, cuts), minlength=len(cuts) + 1) for c in columns]
        for swap in (False, True):
            bound, chosen = _best_cells(cells[int(swap)], cells[1 - int(swap)], delta)
            if best is None or bound > best[0]:
                best = (bound, j, cuts, chosen, swap)
    assert best is not None
    _, column, cuts, chosen, swap = best

    def inside(outputs: Array) -> BoolArray:
        return np.asarray(chosen[_cell(outputs[:, column], cuts)])

    return inside, swap, f"output {column} in {int(chosen.sum())} of {chosen.size} cells"


def _cuts(pooled: Array) -> Array:
    """Limits of cells: single values when there are few, else quantiles."""
    values = np.unique(pooled[~np.isnan(pooled)])
    if values.size <= _BINS:
        return values
    return np.unique(np.quantile(values, np.linspace(0, 1, _BINS + 1)[1:-1]))


def _cell(values: Array, cuts: Array) -> Any:
    # NaN sorts behind everything and so shares the last cell.
    return np.searchsorted(cuts, values, side="right")


def _best_cells(first: Any, second: Any, delta: float) -> tuple[float, BoolArray]:
    """Cells in order of their ratio; the best number of them by the bound itself."""
    order = np.argsort(-(first + 0.5) / (second + 0.5), kind="stable")
    bounds = _lower_bound(
        np.cumsum(first[order]), np.cumsum(second[order]), int(first.sum()), delta, 0.95
    )
    last = int(np.argmax(bounds))
    chosen = np.zeros(first.size, dtype=np.bool_)
    chosen[order[: last + 1]] = True
    return float(bounds[last]), chosen


def _lower_bound(first: Any, second: Any, n: int, delta: float, level: float) -> Array:
    """Bound ``log((p1_low - delta) / p2_high)``, both limits of Clopper and Pearson."""
    tail = (1 - level) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        low = np.where(first > 0, betaincinv(np.maximum(first, 1), n - first + 1, tail), 0.0)
        high = np.where(
            second < n, betaincinv(second + 1, np.maximum(n - second, 1), 1 - tail), 1.0
        )
        bound = np.log(np.maximum(low - delta, 0.0) / high)
    return np.maximum(bound, 0.0)


def one_run_bound(n_right: int, n_guesses: int, level: float = 0.95) -> float:
    """Lower bound of epsilon from guesses about canaries in a single run.

    With epsilon-privacy each of the independent coin flips that put a canary in or left it out can
    be guessed with probability at most ``q = e**epsilon / (1 + e**epsilon)``, whatever is known of
    the others, so that the number of right guesses is at most Binomial(r, q).

    Parameters
    ----------
    n_right, n_guesses : int
        Right guesses and guesses made.
    level : float
        Confidence.

    Returns
    -------
    float
        Smallest epsilon that is not refuted.
    """
    if n_right == 0:
        return 0.0
    # P(Bin(r, q) >= v) = 1 - level, solved for q.
    q = float(betaincinv(n_right, n_guesses - n_right + 1, 1 - level))
    return max(0.0, math.log(q) - math.log1p(-q)) if q < 1 else math.inf


def audit_one_run(
    mechanism: Callable[[Any], Any],
    canaries: Any,
    guess: Callable[[Any, Any], Any],
    *,
    without: Any,
    epsilon: float | None = None,
    level: float = 0.95,
    random_state: Any = None,
) -> AuditResult:
    """Audit a mechanism of which only one run can be had.

    Every canary is put in with probability one half, independently; else its row is ``without``.
    From the output alone somebody guesses which were in. The better the guesses, the larger
    epsilon must be.

    Parameters
    ----------
    mechanism : callable
        Data set -> output. Run once.
    canaries : array of shape (r,) or (r, d)
        Rows that are easy to notice. Other rows can be added inside ``mechanism``.
    guess : callable
        ``guess(output, canaries)`` -> r scores: positive for "was in", negative for "was not",
        zero for no guess.
    without : float or array of shape (d,)
        What stands in a canary's place when it is left out (adjacency "replace").
    epsilon : float, optional
        What is claimed, with delta = 0.
    level : float, default=0.95
        Confidence.
    random_state : int, optional
        Seed of the coin flips, for tests. By default they come from the operating system.

    Returns
    -------
    AuditResult
        ``counts`` holds right guesses and guesses.

    References
    ----------
    Steinke, T., Nasr, M. and Jagielski, M. (2023). Privacy auditing with one (1) training run.
    *NeurIPS*.

    Examples
    --------
    >>> import numpy as np
    >>> leak = lambda x: x
    >>> found = audit_one_run(
    ...     leak, np.ones(50), lambda output, canaries: output - 0.5, without=0.0, epsilon=2.0
    ... )
    >>> found.counts, round(found.epsilon_lower, 1), found.violated
    ((50, 50), 2.8, True)
    """
    _check_draws(100, level)
    rows = np.asarray(canaries)
    source: Entropy = SystemEntropy() if random_state is None else SeededEntropy(random_state)
    present = (source.words(rows.shape[0]) >> np.uint64(63)).astype(bool)
    shape = (-1,) + (1,) * (rows.ndim - 1)
    data = np.where(present.reshape(shape), rows, np.asarray(without))
    scores = np.asarray(guess(mechanism(data), rows), dtype=np.float64)
    if scores.shape != present.shape:
        raise ParameterError(
            f"guess must return one score a canary: shape {present.shape}, got {scores.shape}."
        )
    made = (scores > 0) | (scores < 0)
    right = int(((scores > 0) == present)[made].sum())
    return AuditResult(
        epsilon_lower=one_run_bound(right, int(made.sum()), level),
        claimed=epsilon,
        level=level,
        counts=(right, int(made.sum())),
        n_draws=rows.shape[0],
        event="right guesses about canaries",
    )
