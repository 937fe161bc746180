"""Events of a model's outputs: below a threshold, or beyond a quantile that is still unknown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from robuststat._core.errors import ParameterError
from robuststat._core.types import Array, BoolArray, IntArray
from robuststat.sampling._quantiles import weighted_quantile
from robuststat.sampling._runs import Runner

__all__ = ["EventRunner", "Events", "read_thresholds", "tail_events"]

_MAX_EVENTS = 100  # each has a density of its own


@dataclass(frozen=True, slots=True)
class Events:
    """Events {sign_j * output_j <= target_j}.

    Attributes
    ----------
    output : ndarray of shape (J,)
        Column of the outputs.
    sign : ndarray of shape (J,)
        1, or -1 where the event is in the upper tail.
    threshold : ndarray of shape (J,) or None
        Targets, on the scale of sign times output.
    tail : ndarray of shape (J,) or None
        Where the targets are quantiles: their tail probabilities.
    names : tuple of str
        Names of the events, and of the union where it is asked for.
    union : bool
        Whether the event that any of them happens is estimated too.
    """

    output: IntArray
    sign: Array
    threshold: Array | None
    tail: Array | None
    names: tuple[str, ...]
    union: bool = False

    @property
    def n(self) -> int:
        """Number J of events with a density of their own."""
        return len(self.output)

    def values(self, Y: Array) -> Array:
        """Sign * output, (n, J)."""
        return np.asarray(Y[:, self.output] * self.sign)

    def targets(self, values: Array, weights: Array) -> Array:
        """Thresholds, or the quantiles as the weighted points have them, (J,)."""
        if self.threshold is not None:
            return self.threshold
        assert self.tail is not None
        pairs = zip(values.T, self.tail, strict=True)
        return np.array([weighted_quantile(v, weights, float(p)) for v, p in pairs])

    def indicators(self, values: Array, levels: Array) -> Array:
        """Whether each event, and the union, happens at these levels: 0 or 1, (n, J) or J + 1."""
        hit = values <= levels
        if self.union:
            hit = np.column_stack([hit, hit.any(axis=1)])
        return hit.astype(np.float64)


def read_thresholds(thresholds: Any, outputs: list[str], m: int, union: bool) -> Events:
    """Events of m outputs.

    Raises
    ------
    ParameterError
        If the thresholds do not go with the outputs.
    """
    table = np.asarray(thresholds, dtype=np.float64)
    if table.ndim == 0:
        table = np.full((m, 1), float(table))
    elif table.ndim == 1 and m == 1:
        table = table[None, :]
    elif table.ndim == 1 and len(table) == m:
        table = table[:, None]
    if table.ndim != 2 or len(table) != m or not table.size:
        raise ParameterError(
            f"thresholds has shape {np.shape(thresholds)} and func returns {m} outputs; expected a "
            f"number, an array ({m},) or ({m}, T){', or (T,)' if m == 1 else ''}."
        )
    T = table.shape[1]
    _check_number(m * T)
    names = outputs or [f"g{j + 1}" for j in range(m)]
    words = [f"{names[j]} <= {t:g}" for j in range(m) for t in table[j]]
    if len(set(words)) < len(words):
        raise ParameterError(f"thresholds has equal values for the same output: {table.tolist()}.")
    return Events(
        output=np.repeat(np.arange(m), T),
        sign=np.ones(m * T),
        threshold=table.ravel(),
        tail=None,
        names=(*words, "any") if union else tuple(words),
        union=union,
    )


def tail_events(probabilities: Array, outputs: list[str], m: int) -> Events:
    """Tails beyond the quantiles of m outputs; the nearer tail of each."""
    T = len(probabilities)
    _check_number(m * T)
    p = np.tile(probabilities, m)
    names = outputs or [f"y{j + 1}" for j in range(m)]
    prefix = [f"{name}:" for name in names] if m > 1 or outputs else [""]
    return Events(
        output=np.repeat(np.arange(m), T),
        sign=np.where(p <= 0.5, 1.0, -1.0),
        threshold=None,
        tail=np.minimum(p, 1.0 - p),
        names=tuple(f"{one}q[{value:g}]" for one in prefix for value in probabilities),
    )


def _check_number(J: int) -> None:
    if J > _MAX_EVENTS:
        raise ParameterError(
            f"{J} events, and each has a density of its own; at most {_MAX_EVENTS}. Use several "
            "fits."
        )


class EventRunner:
    """Runs a model and answers with indicators of events: what FinalSample asks of a runner.

    Parameters
    ----------
    runner : Runner
        Runs the model.
    events : Events
        Events with thresholds.
    keep : bool
        Keep the outputs themselves in ``outputs``.
    """

    def __init__(self, runner: Runner, events: Events, keep: bool = False) -> None:
        self.runner, self.events, self.keep = runner, events, keep
        self.outputs: list[Array] = []
        self.n_outputs = len(events.names)

    def evaluate_inside(self, X: Array, inside: BoolArray, batch: int) -> Array:
        """Run the model; indicators (n, J), NaN where a run failed."""
        Y = self.runner.evaluate_inside(X, inside, batch)
        failed = ~np.isfinite(Y).all(axis=1)
        if self.keep:
            self.outputs.append(Y[~failed])
        assert self.events.threshold is not None
        hit = self.events.indicators(self.events.values(Y), self.events.threshold)
        hit[failed] = np.nan
        return hit
