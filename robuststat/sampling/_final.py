"""The final sample: fresh points from the learnt density, streamed, and what follows from them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from robuststat._core.errors import DataError, ParameterError
from robuststat._core.types import Array, BoolArray, IntArray
from robuststat.sampling._controls import Regression, cross_fitted, regress
from robuststat.sampling._learn import Learned
from robuststat.sampling._pilot import control_ratios, run_points
from robuststat.sampling._proposal import Densities
from robuststat.sampling._runs import Runner
from robuststat.sampling._surrogate import surrogate_values
from robuststat.sampling._tally import MAX_COVARIANCE, Diagnostics, Moments

__all__ = ["Estimate", "FinalOptions", "FinalSample", "replicate_sizes"]

_WAVE = 8  # blocks drawn together, so that workers have something to share; fixed: rounding repeats
_MIN_REPLICATES = 8
_FOLDS = 5
_ALPHA_CONTROL = 1e-2  # components with a smaller share are no control for other expectations


@dataclass(frozen=True, slots=True)
class FinalOptions:
    """How the final sample is drawn and used; see :class:`robuststat.AdaptiveISCV`."""

    controls: str
    sampler: str
    keep: bool
    next_rng: Callable[[], np.random.Generator]
    batch_rows: Callable[[int], int]
    cross_fit: int | None = None
    user: tuple[Callable[[Array], Any], Array] | None = None
    degree: int | None = None
    small_replicates: bool = False


@dataclass(frozen=True, slots=True)
class Estimate:
    """Estimates from the final sample.

    Attributes
    ----------
    mean : ndarray of shape (J,)
        NaN where no point had any weight under the law.
    covariance : ndarray of shape (J, J) or (J,)
        Of the estimates; variances only for very many.
    df : float
        Degrees of freedom of their t distribution.
    dead : ndarray of shape (J,)
        Where the estimate is NaN.
    facts : dict
        What the controls did.
    """

    mean: Array
    covariance: Array
    df: float
    dead: BoolArray
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class _Rows:
    """Rows of the final sample where the method needs them together."""

    X: list[Array] = field(default_factory=list)
    Y: list[Array] = field(default_factory=list)
    weight: list[Array] = field(default_factory=list)
    ratios: list[Array] = field(default_factory=list)
    replicate: list[IntArray] = field(default_factory=list)

    def add(self, X: Array, Y: Array, weight: Array, ratios: Array, replicate: int) -> None:
        self.X.append(X)
        self.Y.append(Y)
        self.weight.append(weight)
        self.ratios.append(ratios)
        self.replicate.append(np.full(len(X), replicate))


def replicate_sizes(n: int, small: bool = False) -> tuple[int, int]:
    """Logarithm of the size of a scramble, and how many scrambles fit into n points.

    At least eight scrambles of a power of two; ``small`` leaves room to add many later.
    """
    log2_n = int(np.floor(np.log2(max(n // _MIN_REPLICATES, 1)))) - (2 if small else 0)
    return log2_n, n // 2 ** max(log2_n, 0)


class FinalSample:
    """Draw from the learnt density and keep what the estimates need.

    Parameters
    ----------
    learned : Learned
        Density and controls.
    runner : Runner
        Runs the model.
    options : FinalOptions
        How to draw and what to do with the rows.
    """

    def __init__(self, learned: Learned, runner: Runner, options: FinalOptions) -> None:
        self.learned, self.runner, self.options = learned, runner, options
        self.problem = learned.problem
        self.n_drawn = 0
        self.log2_size: int | None = None
        self.sums: list[Array] = []
        self.counts: list[int] = []
        self.rows = _Rows()
        self.stored = options.controls != "own"
        if self.problem.n:
            self._begin()

    def _begin(self) -> None:
        J, L = self.problem.n, len(self.problem.laws)
        self.moments, self.diagnostics = Moments(J), Diagnostics(J, L)

    @property
    def n_kept(self) -> int:
        """Points whose runs did not fail."""
        return self.diagnostics.n

    def extend(self, n: int) -> int:
        """Draw about n more points and return how many were drawn."""
        before = self.n_drawn
        if self.options.sampler == "rqmc":
            self._add_scrambles(n)
        else:
            self._add_blocks(n)
        return self.n_drawn - before

    def _batch(self) -> int:
        return self.options.batch_rows(max(self.problem.n, 1))

    def _add_blocks(self, n: int) -> None:
        proposal = self.learned.proposal
        left = n
        while left > 0:
            # The number of outputs is not known before the first run.
            first = not self.problem.n and not self.n_drawn
            batch = 64 if first else self._batch()
            sizes = _block_sizes(min(left, batch if first else _WAVE * batch), batch)
            blocks = [proposal.draw(self.problem, m, self.options.next_rng()) for m in sizes]
            self._process(np.vstack(blocks), sizes, min(batch, self._batch()), 0)
            left -= sum(sizes)

    def _add_scrambles(self, n: int) -> None:
        if self.log2_size is None:
            self.log2_size, _ = replicate_sizes(n, self.options.small_replicates)
            if self.log2_size < 3:
                raise ParameterError(
                    f"sampler='rqmc' has {n} points left for the final sample and needs at least "
                    f"{_MIN_REPLICATES * 8}. Raise n_budget."
                )
        for _ in range(n // 2**self.log2_size):
            points = self.learned.proposal.sobol(
                self.problem, self.log2_size, self.options.next_rng()
            )
            batch = self._batch()
            self._process(points, _block_sizes(len(points), batch), batch, len(self.sums))

    def _process(self, points: Array, sizes: list[int], batch: int, replicate: int) -> None:
        problem = self.problem
        X, Y, found = run_points(problem, self.learned.proposal, self.runner, points, batch)
        if not problem.n:
            if self.runner.n_outputs is None:
                raise DataError("func failed at every one of its first runs. Mend it.")
            self.problem = problem.paired(self.runner.n_outputs)
            self._begin()
        if Y.shape[1] != self.runner.n_outputs:
            Y = np.full((len(Y), int(self.runner.n_outputs or 1)), np.nan)
        start = 0
        total, count = np.zeros(self.problem.n), 0
        for size in sizes:
            rows = slice(start, start + size)
            part = Densities(
                found.log_f[rows],
                None if found.log_g is None else found.log_g[rows],
                found.log_q[rows],
            )
            v = self._block(X[rows], Y[rows], part, replicate)
            total += v.sum(axis=0)
            count += len(v)
            start += size
        self.n_drawn += len(points)
        if self.options.sampler == "rqmc":
            if not count:
                raise DataError("func failed at every point of a scramble. Mend it.")
            self.sums.append(total)
            self.counts.append(count)

    def _block(self, X: Array, Y: Array, found: Densities, replicate: int) -> Array:
        problem, own = self.problem, self.learned.own
        keep = np.isfinite(Y).all(axis=1)
        weight = np.exp(found.log_f - found.log_q[:, None])[keep]
        values = problem.values(weight, Y[keep])
        v = values
        needs = own.used or self.stored or self.options.keep
        ratios = control_ratios(self.learned.proposal, found)[keep] if needs else None
        if own.used and ratios is not None:
            v = values - own.correction(ratios) + own.constant()
        self.moments.update(v)
        self.diagnostics.update(weight, values, v)
        if ratios is not None and (self.stored or self.options.keep):
            self.rows.add(X[keep], Y[keep], weight, ratios, replicate)
        return np.asarray(v)

    def estimate(self) -> Estimate:
        """Estimates with their covariance.

        Raises
        ------
        DataError
            If fewer than two points are left.
        """
        if self.n_kept < 2:
            raise DataError(f"{self.n_kept} runs of the final sample succeeded; two are needed.")
        dead = self.diagnostics.w_sum[self.problem.law_col] == 0
        if not self.stored:
            return self._from_sums(dead)
        return self._from_rows(dead)

    def _from_sums(self, dead: BoolArray) -> Estimate:
        if self.options.sampler == "rqmc":
            means = np.vstack(self.sums) / np.array(self.counts)[:, None]
            return _over_replicates(means, dead, {})
        covariance = self.moments.covariance / self.moments.n
        return _finish(self.moments.mean, covariance, np.inf, dead, {})

    def _from_rows(self, dead: BoolArray) -> Estimate:
        rows, options, problem = self.rows, self.options, self.problem
        X, Y, weight, ratios = (
            np.vstack(part) for part in (rows.X, rows.Y, rows.weight, rows.ratios)
        )
        replicate = np.concatenate(rows.replicate)
        n = len(X)
        rqmc = options.sampler == "rqmc"
        folds = (replicate if rqmc else np.arange(n)) % (options.cross_fit or _FOLDS)
        rank = np.zeros(problem.n, dtype=np.int64)
        facts: dict[str, Any]
        if options.controls == "surrogate":
            fit = surrogate_values(problem, X, Y, weight, folds, options.degree)
            values, facts = fit.values, {"degree": fit.degree, "r2": fit.r2}
        else:
            regression = self._regression(X, Y, weight, ratios, folds)
            values, rank = regression.values, regression.n_controls
            facts = {"n_controls": int(rank.max())}
        if rqmc:
            ids = np.unique(replicate)
            means = np.vstack([values[replicate == one].mean(axis=0) for one in ids])
            return _over_replicates(means, dead, facts)
        moments = Moments(problem.n)
        moments.update(values)
        df = np.inf
        covariance = moments.covariance / n
        if options.controls != "surrogate" and options.cross_fit is None:
            factor = np.sqrt((n - 1) / (n - 1 - rank))
            covariance = covariance * (np.outer(factor, factor) if moments.full else factor**2)
            df = float(n - 1 - rank.max())
        return _finish(moments.mean, covariance, df, dead, facts)

    def _regression(
        self, X: Array, Y: Array, weight: Array, ratios: Array, folds: IntArray
    ) -> Regression:
        """Least squares on the controls that the option names, own controls always among them."""
        problem, options, own = self.problem, self.options, self.learned.own
        blocks = [ratios - 1.0]
        extra: IntArray = np.empty(0, dtype=np.int64)
        by_law: list[IntArray] | None = None
        K = ratios.shape[1]
        if options.controls == "all":
            extra = np.flatnonzero(self.learned.proposal.alpha > _ALPHA_CONTROL)
            extra = extra[extra < K]
        elif options.controls == "laws":
            blocks.append(weight - 1.0)
            extra = K + np.arange(weight.shape[1])
        elif options.user is not None:
            function, means = options.user
            c = _user_values(function, X, means.shape[1])
            blocks += [c * weight[:, [one]] - mean for one, mean in enumerate(means)]
            q = means.shape[1]
            by_law = [K + one * q + np.arange(q) for one in range(len(means))]
        controls = np.hstack(blocks)
        columns = []
        for j in range(problem.n):
            mine = own.index[j] if len(own.index) else extra[:0]
            mine = mine[(mine >= 0) & (mine < K)]
            rest = extra if by_law is None else by_law[problem.law_col[j]]
            columns.append(np.unique(np.concatenate([mine, rest])))
        values = problem.values(weight, Y)
        widest = max(len(chosen) for chosen in columns)
        if len(X) < 2 * (widest + 2):
            raise ParameterError(
                f"controls={options.controls!r} means {widest} controls for {len(X)} points of the "
                "final sample. Raise n_budget."
            )
        if options.cross_fit is not None:
            return cross_fitted(values, controls, columns, folds)
        return regress(values, controls, columns)


def _user_values(function: Callable[[Array], Any], X: Array, q: int) -> Array:
    c = np.asarray(function(X), dtype=np.float64)
    c = c[:, None] if c.ndim == 1 else c
    if c.shape != (len(X), q) or not np.isfinite(c).all():
        raise DataError(
            f"user_controls: the function returned shape {c.shape}, or values that are not finite, "
            f"for {len(X)} rows and {q} known means."
        )
    return c


def _block_sizes(n: int, batch: int) -> list[int]:
    return [min(batch, n - start) for start in range(0, n, batch)]


def _over_replicates(means: Array, dead: BoolArray, facts: dict[str, Any]) -> Estimate:
    R, J = means.shape
    centred = means - means.mean(axis=0)
    if J <= MAX_COVARIANCE:
        covariance = centred.T @ centred / (R - 1) / R
    else:
        covariance = np.einsum("rj,rj->j", centred, centred) / (R - 1) / R
    return _finish(means.mean(axis=0), covariance, float(R - 1), dead, facts | {"scrambles": R})


def _finish(
    mean: Array, covariance: Array, df: float, dead: BoolArray, facts: dict[str, Any]
) -> Estimate:
    return Estimate(np.where(dead, np.nan, mean), covariance, df, dead, facts)
