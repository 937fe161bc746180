"""Seconds and memory of the effect with an invalid instrument, fit and stacked sandwich together.

``python benchmarks/iv_speed.py --n 10000 100000 1000000`` prints JSON lines (see README.md) and a
table. Workload: ten covariates, default models (11 + 22 + 11 + 11 + 22 coefficients and four
effects), one thread.

Yardstick from the same process: ``gram``, one ``S.T @ S`` of the stacked scores' width, which is
what the meat of the sandwich costs at least. It is timed on at most 200,000 rows and scaled, so
that it does not need the memory that the fit avoids. Memory is what one call adds to the process.
"""

from __future__ import annotations

import argparse
from functools import partial
from typing import Any

import numpy as np
from _timing import emit, gram_seconds, measure, single_thread
from numpy.typing import NDArray
from scipy.special import expit

from robuststat import InvalidIVATE

Array = NDArray[np.float64]

COVARIATES = 10
WIDTH = 11 + 22 + 11 + 11 + 22 + 4
GRAM_ROWS = 200_000
CALLS = {10_000: 11, 100_000: 5}


def make_workload(n: int) -> dict[str, Array]:
    rng = np.random.default_rng(n)
    X = rng.uniform(-1.0, 1.0, (n, COVARIATES))
    z = (rng.random(n) < expit(0.1 + 0.5 * X[:, 0])).astype(float)
    u = rng.uniform(-1.0, 1.0, n)
    a = (rng.random(n) < expit(-2 + 1.9 * z + 0.3 * X[:, 0]) + 0.05 * u).astype(float)
    y = (1 + X[:, 0]) * a + 0.7 * z + X[:, 1] + 3 * u + rng.standard_normal(n)
    return {"X": X, "y": y, "treatment": a, "instruments": z}


def run(n: int, repeat: int) -> dict[str, Any]:
    """One line: default fit of one size."""
    data = make_workload(n)
    rows = min(n, GRAM_ROWS)
    stacked = np.random.default_rng(0).standard_normal((rows, WIDTH))
    gram = gram_seconds(stacked, repeat=7) * n / rows
    del stacked
    call = partial(InvalidIVATE().fit, **data)
    line: dict[str, Any] = {"workload": "invalid_iv", "tool": "robuststat", "n": n}
    line |= {"covariates": COVARIATES, "stacked_width": WIDTH, "gram_seconds": gram}
    line |= {"input_mb": sum(part.nbytes for part in data.values()) / 1e6}
    line |= measure(call, repeat=repeat)
    line["ratio_to_gram"] = line["seconds_median"] / gram
    emit(**line)
    return line


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--repeat", type=int, help="timed calls (default 11, 5 or 3, by n)")
    options = parser.parse_args()
    with single_thread():
        lines = [run(n, options.repeat or CALLS.get(n, 3)) for n in options.n]
    print(f"\n{'n':>9} {'seconds':>9} {'/gram':>7} {'added MB':>9} {'input MB':>9}")
    for line in lines:
        print(
            f"{line['n']:>9} {line['seconds_median']:>9.3f} {line['ratio_to_gram']:>7.1f} "
            f"{line['peak_mb']:>9.1f} {line['input_mb']:>9.1f}"
        )


if __name__ == "__main__":
    main()
