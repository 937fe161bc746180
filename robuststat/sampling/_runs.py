"""Runs of the user's model: in blocks, in parallel, with a policy for runs that fail."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from robuststat._core.errors import DataError, ParameterError
from robuststat._core.progress import progress
from robuststat._core.types import Array, BoolArray
from robuststat.sampling._checkpoint import Checkpoint

__all__ = ["RunOptions", "Runner"]

_RETRIES = 2


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How the model is run; see :class:`robuststat.AdaptiveISCV`."""

    vectorized: bool = True
    batch_size: int | None = None
    n_jobs: int | None = None
    backend: Any = None
    on_error: str = "raise"
    verbose: int = 0
    callback: Callable[[int, int], Any] | None = None
    total: int = 0


def _outputs(func: Callable[[Array], Any], X: Array, vectorized: bool) -> tuple[Array, list[str]]:
    """Return outputs (n, m) and their names, if the function names them."""
    if not vectorized:
        rows = [np.atleast_1d(np.asarray(func(row), dtype=np.float64)).ravel() for row in X]
        if len({len(row) for row in rows}) > 1:
            raise DataError("func returns outputs of different lengths for different rows.")
        return np.vstack(rows), []
    values = func(X)
    names = [str(name) for name in values.columns] if isinstance(values, pd.DataFrame) else []
    Y = np.asarray(values, dtype=np.float64)
    if Y.ndim == 1 and len(Y) == len(X):
        Y = Y[:, None]
    if Y.ndim != 2 or len(Y) != len(X):
        raise DataError(
            f"func returned shape {Y.shape} for {len(X)} rows of shape {X.shape}; expected "
            f"({len(X)},) or ({len(X)}, J). Use vectorized=False if it takes one row at a time."
        )
    return Y, names


def _one_by_one(func: Callable[[Array], Any], X: Array, vectorized: bool) -> Array:
    """Return outputs row by row, NaN where the function raises."""
    rows: list[Array | None] = []
    for i in range(len(X)):
        try:
            rows.append(_outputs(func, X[i : i + 1], vectorized)[0][0])
        except DataError:
            raise
        except Exception:
            rows.append(None)
    width = next((len(row) for row in rows if row is not None), 1)
    return np.vstack([np.full(width, np.nan) if row is None else row for row in rows])


def run_block(
    func: Callable[[Array], Any], vectorized: bool, on_error: str, X: Array
) -> tuple[Array, list[str]]:
    """Run one block; this happens in a worker. Failed rows are NaN unless ``on_error="raise"``."""
    if on_error == "raise":
        return _outputs(func, X, vectorized)
    names: list[str] = []
    try:
        Y, names = _outputs(func, X, vectorized)
    except DataError:
        raise
    except Exception:
        Y = _one_by_one(func, X, vectorized)
    if on_error == "retry":
        for _ in range(_RETRIES):
            bad = ~np.isfinite(Y).all(axis=1)
            if not bad.any():
                break
            again = _one_by_one(func, X[bad], vectorized)
            if again.shape[1] != Y.shape[1]:
                Y = np.full((len(X), again.shape[1]), np.nan) if np.isnan(Y).all() else Y
            if again.shape[1] == Y.shape[1]:
                Y[bad] = again
    return Y, names


class Runner:
    """Evaluate a function block by block and keep count.

    Parameters
    ----------
    func : callable
        Model: (n, d) -> (n,) or (n, m).
    options : RunOptions
        How to run it.
    checkpoint : Checkpoint, optional
        File of finished blocks.
    """

    def __init__(
        self,
        func: Callable[[Array], Any],
        options: RunOptions,
        checkpoint: Checkpoint | None = None,
    ) -> None:
        self.func, self.options, self.checkpoint = func, options, checkpoint
        self.n_outputs: int | None = None
        self.output_names: list[str] = []
        self.n_runs = self.n_failed = self.n_replayed = self.n_rows = 0
        self._next = 0

    def evaluate(self, X: Array, batch: int) -> Array:
        """Run all rows in blocks of ``batch``; failed rows are NaN (``"nan_drop"``).

        Raises
        ------
        DataError
            For outputs of the wrong shape, or NaN and infinite values where they are not allowed.
        """
        starts = range(0, len(X), batch)
        blocks = [X[start : start + batch] for start in starts]
        numbers = list(range(self._next, self._next + len(blocks)))
        self._next += len(blocks)
        known = [self._known(number, block) for number, block in zip(numbers, blocks, strict=True)]
        todo = [block for block, Y in zip(blocks, known, strict=True) if Y is None]
        fresh = self._run(todo)
        out = []
        bar = progress(range(len(blocks)), len(blocks), "Model runs", enabled=self._shown)
        for i in bar:
            Y = known[i]
            if Y is None:
                Y, names = next(fresh)
                self.output_names = self.output_names or names
                self.n_runs += len(Y)
                if self.checkpoint is not None:
                    self.checkpoint.append(numbers[i], blocks[i], Y)
            else:
                self.n_replayed += len(Y)
            out.append(self._checked(Y))
            self.n_rows += len(Y)
            if self.options.callback is not None:
                self.options.callback(self.n_rows, self.options.total)
        return np.vstack(out)

    def evaluate_inside(self, X: Array, inside: BoolArray, batch: int) -> Array:
        """As ``evaluate``; rows outside the support of every law are not run and count as zero."""
        if inside.all():
            return self.evaluate(X, batch)
        if not inside.any():
            return np.zeros((len(X), self.n_outputs or 1))
        values = self.evaluate(X[inside], batch)
        Y = np.zeros((len(X), values.shape[1]))
        Y[inside] = values
        return Y

    @property
    def _shown(self) -> bool:
        return self.options.verbose > 0

    def _known(self, number: int, X: Array) -> Array | None:
        return None if self.checkpoint is None else self.checkpoint.find(number, X)

    def _run(self, blocks: list[Array]) -> Iterator[tuple[Array, list[str]]]:
        options = self.options
        call = partial(run_block, self.func, options.vectorized, options.on_error)
        if hasattr(options.backend, "map"):
            answers = options.backend.map(call, blocks)
            if hasattr(options.backend, "gather"):  # a dask client returns futures
                answers = options.backend.gather(answers)
            return iter(answers)
        if options.n_jobs in (None, 1) or len(blocks) < 2:
            return map(call, blocks)
        from joblib import Parallel, delayed

        pool = Parallel(n_jobs=options.n_jobs, backend=options.backend)
        try:
            return iter(pool(delayed(call)(block) for block in blocks))
        except (pickle.PicklingError, TypeError, AttributeError) as error:
            if "pickle" not in str(error).lower():
                raise
            raise ParameterError(
                f"func cannot be sent to other processes ({error}). Use backend='threading', or "
                "define it at the top of a module."
            ) from error

    def _checked(self, Y: Array) -> Array:
        if self.n_outputs is None and not np.isnan(Y).all():
            self.n_outputs = Y.shape[1]
        if self.n_outputs is not None and Y.shape[1] != self.n_outputs:
            if np.isnan(Y).all():  # every row of the block failed
                Y = np.full((len(Y), self.n_outputs), np.nan)
            else:
                raise DataError(
                    f"func returned {Y.shape[1]} outputs a row where it returned "
                    f"{self.n_outputs} before. It has to return the same outputs every time."
                )
        bad = np.asarray(~np.isfinite(Y).all(axis=1))
        if bad.any():
            self._failed(Y, bad)
            Y = np.where(bad[:, None], np.nan, Y)
        return Y

    def _failed(self, Y: Array, bad: Any) -> None:
        rows = np.flatnonzero(bad)
        self.n_failed += len(rows)
        if self.options.on_error == "nan_drop":
            return
        first = ", ".join(str(row + self.n_rows) for row in rows[:5])
        again = f" after {_RETRIES} retries" if self.options.on_error == "retry" else ""
        raise DataError(
            f"func returned NaN or infinite values in {len(rows)} of {len(Y)} runs{again} (runs "
            f"{first}{', ...' if len(rows) > 5 else ''}). Mend it, or use on_error='nan_drop' to "
            "leave such runs out, which biases the estimates if failing depends on the outcome."
        )
