"""Seconds and memory of the evaluation of all tuples of learners, after the learners are fitted.

``python benchmarks/iv_selection.py --n 100000 --learners 10`` prints JSON lines (see README.md) and
a table. Ten learners for each of five nuisance functions are 100,000 tuples; five splits. Nuisance
values are random numbers: the evaluation does not depend on where they come from.

Yardstick from the same process: ``pass``, the mean of the score of one tuple over all rows, which
is what one of K^5 passes would cost. The estimates are compared with such passes on a few tuples.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

import numpy as np
from _timing import emit, measure, single_thread
from numpy.typing import NDArray

from robuststat.iv._scores import ate_score, keep_sign_away_from_zero, make_rows
from robuststat.iv._tuples import Candidates, pseudo_risk, tuple_estimates

Array = NDArray[np.float64]
BOUND = {"clip_pi": 0.01, "min_abs_d": 0.01}
SPLITS = 5


def make_workload(n: int, learners: int) -> tuple[Candidates, dict[str, Array]]:
    rng = np.random.default_rng(n)
    shape = (learners, n)
    probabilities = (rng.uniform(0.1, 0.9, shape) for _ in range(3))
    numbers = (rng.standard_normal(shape) for _ in range(4))
    data = {"y": rng.standard_normal(n)}
    data |= {name: (rng.random(n) < 0.5).astype(float) for name in ("a", "z")}
    return Candidates(*probabilities, *numbers), data


def one_pass(values: Candidates, data: dict[str, Array], chosen: tuple[int, ...]) -> float:
    """Mean of the score of one tuple over all rows."""
    j, k, m, h, o = chosen
    p0, p1 = values.p0[k], values.p1[k]
    v0, v1 = p0 * (1.0 - p0), p1 * (1.0 - p1)
    rows = make_rows(
        **data,
        pi=np.clip(values.pi[j], BOUND["clip_pi"], 1.0 - BOUND["clip_pi"]),
        p0=p0,
        p1=p1,
        v0=v0,
        v1=v1,
        D=keep_sign_away_from_zero(v1 - v0, BOUND["min_abs_d"]),
        beta=values.beta[m],
        omega=values.omega[o],
        h0=values.h0[h],
        h1=values.h1[h],
    )
    return float(ate_score(rows).mean())


def run(n: int, learners: int, repeat: int) -> dict[str, Any]:
    """One line: estimates and pseudo-risks of all tuples."""
    values, data = make_workload(n, learners)
    split = np.arange(n) % SPLITS
    rng = np.random.default_rng(1)
    tuples = [tuple(int(k) for k in rng.integers(0, learners, 5)) for _ in range(20)]
    seconds, expected = [], []
    for chosen in tuples:
        start = time.perf_counter()
        expected.append(one_pass(values, data, chosen))
        seconds.append(time.perf_counter() - start)

    def evaluate() -> Array:
        psi = tuple_estimates(values, **data, split=split, n_splits=SPLITS, **BOUND)
        pseudo_risk(psi)
        return psi

    shares = np.bincount(split) / n
    psi = np.tensordot(shares, evaluate(), axes=1)
    error = max(abs(psi[chosen] - value) for chosen, value in zip(tuples, expected, strict=True))
    line: dict[str, Any] = {"workload": "tuples", "tool": "robuststat", "n": n}
    line |= {"learners": learners, "tuples": learners**5, "splits": SPLITS}
    line |= {"largest_error": error, "pass_seconds": statistics.median(seconds)}
    line |= {"input_mb": 7 * learners * n * 8 / 1e6}
    line |= measure(evaluate, repeat=repeat)
    line["passes_seconds"] = line["pass_seconds"] * learners**5
    emit(**line)
    return line


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--learners", type=int, default=10)
    parser.add_argument("--repeat", type=int, default=5)
    options = parser.parse_args()
    with single_thread():
        lines = [run(n, options.learners, options.repeat) for n in options.n]
    names = ("n", "tuples", "seconds", "K^5 passes", "added MB", "input MB", "error")
    print("\n" + " ".join(f"{name:>12}" for name in names))
    for line in lines:
        print(
            f"{line['n']:>12} {line['tuples']:>12} {line['seconds_median']:>12.3f} "
            f"{line['passes_seconds']:>12.0f} {line['peak_mb']:>12.1f} {line['input_mb']:>12.1f} "
            f"{line['largest_error']:>12.1e}"
        )


if __name__ == "__main__":
    main()
