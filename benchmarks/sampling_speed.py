"""Overhead of the adaptive sampler per model run, and memory with very many expectations.

``python benchmarks/sampling_speed.py`` prints JSON lines (see README.md) and a table. The model is
a power, so that all time is the sampler's. Yardstick from the same process: plain Monte Carlo in
numpy (draw, evaluate, mean and standard error). ``--many`` runs 10,000 expectations, by default at
1,000,000 model runs.
"""

from __future__ import annotations

import argparse
import warnings
from functools import partial
from typing import Any

import numpy as np
from _timing import emit, measure, peak_mb, single_thread
from numpy.typing import NDArray
from scipy import stats

from robuststat import AdaptiveISCV
from robuststat.simulation import make_gaussian_moments

Array = NDArray[np.float64]


def plain(func: Any, n: int) -> tuple[Array, Array]:
    """Monte Carlo as one would write it."""
    Y = func(np.random.default_rng(0).normal(size=(n, 1)))
    return Y.mean(axis=0), Y.std(axis=0, ddof=1) / np.sqrt(n)


def adaptive(func: Any, n: int, **options: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return AdaptiveISCV(n, random_state=0, **options).fit(func, stats.norm())


def waves(X: Array, rates: Array) -> Array:
    """2 + sin(rate x): expectations 2."""
    return np.asarray(2.0 + np.sin(X * rates))


def overhead(n: int) -> list[dict[str, Any]]:
    data = make_gaussian_moments(10)
    calls = {
        "numpy": partial(plain, data.func, n),
        "mc": partial(adaptive, data.func, n, weights=1.0 / data.truth**2),
        "rqmc": partial(adaptive, data.func, n, weights=1.0 / data.truth**2, sampler="rqmc"),
    }
    lines = []
    for tool, call in calls.items():
        line: dict[str, Any] = {"workload": "gaussian_moments", "tool": tool, "n": n, "J": 10}
        line |= measure(call, repeat=3)
        line["microseconds_per_run"] = 1e6 * line["seconds_median"] / n
        emit(**line)
        lines.append(line)
    return lines


def many(n: int, J: int) -> dict[str, Any]:
    func = partial(waves, rates=np.linspace(0.5, 1.5, J))
    seen: dict[str, Any] = {}

    def call() -> None:
        import time

        start = time.perf_counter()
        est = adaptive(func, n, max_components=20)
        seen["seconds"] = time.perf_counter() - start
        seen["worst_z"] = float(np.abs((est.estimate_ - 2.0) / est.std_error_).max())

    line: dict[str, Any] = {"workload": "many", "tool": "mc", "n": n, "J": J}
    line["peak_mb"] = peak_mb(call)
    line |= seen
    emit(**line)
    return line


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, nargs="+", default=[20_000, 200_000])
    parser.add_argument("--many", action="store_true", help="10,000 expectations as well")
    parser.add_argument("--many-n", type=int, default=1_000_000)
    options = parser.parse_args()
    with single_thread():
        lines = [line for n in options.n for line in overhead(n)]
        big = many(options.many_n, 10_000) if options.many else None
    print(f"\n{'tool':>6} {'n':>9} {'seconds':>9} {'us/run':>8} {'added MB':>9}")
    for line in lines:
        print(
            f"{line['tool']:>6} {line['n']:>9} {line['seconds_median']:>9.3f} "
            f"{line['microseconds_per_run']:>8.2f} {line['peak_mb']:>9.1f}"
        )
    if big is not None:
        print(
            f"{big['J']:,} expectations, {big['n']:,} runs: {big['seconds']:.0f} s, "
            f"{big['peak_mb']:.0f} MB added, largest |z| {big['worst_z']:.1f}"
        )


if __name__ == "__main__":
    main()
