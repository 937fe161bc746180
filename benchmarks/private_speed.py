"""Seconds and memory of private releases beside one ``numpy.sort`` of the same array.

``python benchmarks/private_speed.py --n 1000000 10000000`` prints JSON lines (see README.md) and a
table. Workload: normal values in memory, bounds +-50, epsilon 1, the default precision of 2**-20 of
the bounds. ``chunks`` reads the same values from an iterator, 1,000,000 at a time. Seconds are CPU
time of one thread; memory is what one call adds. opendp and diffprivlib are measured where they are
installed (see requirements.txt), at the same bounds and epsilon: opendp's median takes 1,001
candidates, and diffprivlib's quantiles split epsilon evenly.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from _timing import emit, measure, single_thread
from numpy.typing import NDArray

from robuststat import DPLocation, DPQuantiles, DPScale

Array = NDArray[np.float64]
BOUNDS = {"epsilon": 1.0, "bounds": (-50.0, 50.0)}
LEVELS = [0.1, 0.25, 0.5, 0.75, 0.9]
CHUNK = 1_000_000


def own_calls(x: Array) -> dict[str, Callable[[], object]]:
    """Releases of this package."""
    median, trimmed = DPLocation(**BOUNDS), DPLocation("trimmed", **BOUNDS)
    fine = DPLocation(epsilon=1.0, bounds=(-50.0, 50.0), rho=1e-8)
    recursive = DPQuantiles(LEVELS, **BOUNDS)
    independent = DPQuantiles(LEVELS, method="independent", **BOUNDS)
    huber, mad = DPLocation("huber", scale=1.0, **BOUNDS), DPScale("iqr", **BOUNDS)

    def chunks() -> Any:
        return (x[i : i + CHUNK] for i in range(0, len(x), CHUNK))

    return {
        "median": lambda: median.fit(x),
        "median, rho 1e-8": lambda: fine.fit(x),
        "median, chunks": lambda: median.fit(chunks()),
        "trimmed mean": lambda: trimmed.fit(x),
        "five quantiles, recursive": lambda: recursive.fit(x),
        "five quantiles, independent": lambda: independent.fit(x),
        "iqr": lambda: mad.fit(x),
        "huber": lambda: huber.fit(x),
    }


def opendp_calls(x: Array) -> dict[str, Callable[[], object]]:
    """Median of opendp, where it is installed."""
    try:
        import opendp.prelude as dp
    except ImportError:
        return {}
    dp.enable_features("contrib")
    candidates = np.linspace(-50, 50, 1001).tolist()
    space = dp.vector_domain(dp.atom_domain(T=float, nan=False)), dp.symmetric_distance()
    release = dp.m.make_private_quantile(
        *space, dp.max_divergence(), candidates=candidates, alpha=0.5, scale=1.0
    )
    return {"opendp median": lambda: release(x)}


def diffprivlib_calls(x: Array) -> dict[str, Callable[[], object]]:
    """Quantiles of diffprivlib, where it is installed."""
    try:
        from diffprivlib import tools
    except ImportError:
        return {}
    return {
        "diffprivlib median": lambda: tools.median(x, epsilon=1.0, bounds=(-50, 50)),
        "diffprivlib five quantiles": lambda: tools.quantile(
            x, LEVELS, epsilon=1.0, bounds=(-50, 50)
        ),
    }


def cpu_seconds(call: Callable[[], object], repeat: int) -> float:
    """Median CPU time of some calls."""
    found = []
    for _ in range(repeat):
        start = time.process_time()
        call()
        found.append(time.process_time() - start)
    return statistics.median(found)


def run(n: int, repeat: int, peers: bool) -> list[dict[str, Any]]:
    """One line a release, and one for the sort."""
    x = np.random.default_rng(n).normal(size=n)
    calls: dict[str, Callable[[], object]] = {"numpy.sort": lambda: np.sort(x), **own_calls(x)}
    if peers:
        calls |= opendp_calls(x) | diffprivlib_calls(x)
    lines, sort = [], np.nan
    for name, call in calls.items():
        slow = name.startswith("diffprivlib")
        few = 1 if slow else repeat
        seen = measure(call, repeat=few, warmup=0 if slow else 1)
        seconds = cpu_seconds(call, few)
        sort = seconds if name == "numpy.sort" else sort
        line = {"workload": "private_speed", "call": name, "n": n, "input_mb": x.nbytes / 1e6}
        line |= {"cpu_seconds": seconds, "ratio_to_sort": seconds / sort} | seen
        emit(**line)
        lines.append(line)
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, nargs="+", default=[1_000_000, 10_000_000])
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--no-peers", action="store_true")
    args = parser.parse_args()
    with single_thread():
        lines = [line for n in args.n for line in run(n, args.repeat, not args.no_peers)]
    print(f"{'n':>12}  {'call':30}{'CPU s':>9}{'/ sort':>9}{'MB added':>10}")
    for line in lines:
        print(
            f"{line['n']:12,}  {line['call']:30}{line['cpu_seconds']:9.4f}"
            f"{line['ratio_to_sort']:9.3f}{line['peak_mb']:10.0f}"
        )


if __name__ == "__main__":
    main()
