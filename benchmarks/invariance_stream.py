"""Memory and seconds of one pass over rows that are drawn as they are read.

``python benchmarks/invariance_stream.py --n 10000000 100000000`` prints a table. Frames of 250,000
rows (five covariates, outcome, five environments; float64) come from a function that returns an
iterator, so that no row exists before it is read. A fresh process with one thread runs

    InvarianceTest().fit_stream(source, "y", env="env")
    InvariantSubsets().fit_stream(source, "y", env="env")

for each number of rows. Memory is the highest resident set size of the process, libraries and the
chunk being drawn included, and what the fit added to it. The seconds of drawing alone are printed
beside those of drawing and fitting. ``--in-memory`` also fits all rows at once (use a small n) and
prints the largest distance between the answers (relative where they exceed one).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from _timing import peak_mb, single_thread

from robuststat import InvarianceTest, InvariantSubsets

CHUNK = 250_000
COVARIATES, ENVIRONMENTS = 5, 5
NAMES = [f"x{j + 1}" for j in range(COVARIATES)]
ESTIMATORS = {"InvarianceTest": InvarianceTest, "InvariantSubsets": InvariantSubsets}


def frames(n: int, seed: int = 0) -> Iterator[pd.DataFrame]:
    """Draw n rows, chunk by chunk: two causes, three others, environments that stretch them."""
    for i, start in enumerate(range(0, n, CHUNK)):
        rng = np.random.default_rng([seed, i])
        size = min(CHUNK, n - start)
        env = rng.integers(ENVIRONMENTS, size=size)
        X = rng.standard_normal((size, COVARIATES)) * (1 + 0.2 * env)[:, None]
        y = X[:, 0] - X[:, 1] + rng.standard_normal(size)
        X[:, -1] += 0.5 * y
        yield pd.DataFrame(X, columns=NAMES).assign(y=y, env=env)


def answer(est: Any) -> list[float]:
    """Numbers to compare."""
    if isinstance(est, InvarianceTest):
        return [est.psi_, est.chow_.statistic, *est.pooled_coef_, *est.std_error_]
    return [*est.table_["psi"], *est.table_["mse"], *np.ravel(est.confint())]


def child(name: str, n: int, in_memory: bool) -> None:
    """Fit once, in the process whose memory is measured, and print what came out."""
    est = ESTIMATORS[name]()
    source: Callable[[], Iterator[pd.DataFrame]] = partial(frames, n)
    with single_thread():
        start = time.perf_counter()
        for _ in source():
            pass
        drawing = time.perf_counter() - start
        start = time.perf_counter()
        added = peak_mb(lambda: est.fit_stream(source, "y", env="env"))
        seconds = time.perf_counter() - start
        highest = _highest_mb()
        found: dict[str, Any] = {"estimator": name, "n": n, "seconds": seconds, "drawing": drawing}
        found |= {"added_mb": added, "highest_mb": highest}
        if in_memory:
            whole = pd.concat(source(), ignore_index=True)
            other = np.array(answer(ESTIMATORS[name]().fit(whole, "y", env="env")))
            gap = np.abs(np.array(answer(est)) - other) / np.maximum(np.abs(other), 1.0)
            found["gap"] = float(gap.max())
    print(json.dumps(found))


def _highest_mb() -> float:
    import resource

    # Kilobytes on Linux.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def main() -> None:
    """Print one line an estimator and number of rows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, nargs="+", default=[1_000_000, 10_000_000])
    parser.add_argument("--estimator", choices=list(ESTIMATORS), nargs="+", default=None)
    parser.add_argument("--in-memory", action="store_true", help="also fit all rows at once")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child[0], int(options.child[1]), options.in_memory)
        return
    threads = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
    print(f"{'':<18}{'n':>12}{'s':>8}{'drawing s':>11}{'added MB':>10}{'highest MB':>12}{'gap':>9}")
    for n in options.n:
        for name in options.estimator or ESTIMATORS:
            command = [sys.executable, __file__, "--child", name, str(n)]
            command += ["--in-memory"] if options.in_memory else []
            done = subprocess.run(
                command, env=os.environ | threads, stdout=subprocess.PIPE, text=True, check=True
            )
            row = json.loads(done.stdout)
            gap = f"{row['gap']:.0e}" if "gap" in row else ""
            print(
                f"{name:<18}{n:>12,}{row['seconds']:>8.1f}{row['drawing']:>11.1f}"
                f"{row['added_mb']:>10.0f}{row['highest_mb']:>12.0f}{gap:>9}",
                flush=True,
            )


if __name__ == "__main__":
    main()
