"""Seconds and memory of proportional odds, in memory and streamed, beside statsmodels.

``python benchmarks/ordinal_speed.py --n 10000 100000 1000000 --stream 10000000`` prints JSON lines
(see README.md) and a table. Workload: ten normal covariates, five classes, logit link, standard
errors from the observed information, one thread. ``--peer`` is the size at which statsmodels'
OrderedModel (Newton, its fastest optimiser here) runs in the same process; the streamed rows are
made chunk by chunk by a function, so that reading them costs what making them costs (printed).

Yardstick: ``gram``, one ``X.T @ X`` of the covariates. ``cpu_seconds`` are those of the process,
and ``ratio`` is statsmodels' over ours in these: on a busy machine they mean more than the clock.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from _timing import emit, gram_seconds, measure, peak_mb, single_thread
from numpy.typing import NDArray

from robuststat import OrdinalClassifier

Array = NDArray[np.float64]

COLUMNS = 10
CUTS = (-1.5, -0.3, 0.8, 2.5)
CHUNK = 500_000


def make_workload(n: int, seed: int = 0) -> tuple[Array, NDArray[np.int64]]:
    rng = np.random.default_rng([seed, n])
    X = rng.standard_normal((n, COLUMNS))
    u = rng.random(n)
    latent = X @ np.linspace(-0.5, 0.5, COLUMNS) + np.log(u / (1.0 - u))
    return X, np.digitize(latent, CUTS)


def frames(n: int) -> Iterator[pd.DataFrame]:
    """Rows in chunks; the same ones every time."""
    for i, start in enumerate(range(0, n, CHUNK)):
        X, y = make_workload(min(CHUNK, n - start), seed=i + 1)
        yield pd.DataFrame(X, columns=[f"x{j}" for j in range(COLUMNS)]).assign(y=y)


def in_memory(n: int, repeat: int) -> dict[str, Any]:
    X, y = make_workload(n)
    gram = gram_seconds(X)
    line: dict[str, Any] = {"workload": "proportional_odds", "tool": "robuststat", "n": n}
    line |= {"gram_seconds": gram, "input_mb": (X.nbytes + y.nbytes) / 1e6}
    line |= measure(lambda: OrdinalClassifier().fit(X, y), repeat=repeat)
    line["ratio_to_gram"] = line["seconds_median"] / gram
    start = time.process_time()
    line["n_iter"] = OrdinalClassifier().fit(X, y).n_iter_
    line["cpu_seconds"] = time.process_time() - start
    emit(**line)
    return line


def peer(n: int) -> dict[str, Any]:
    """Statsmodels on the same rows, and how far the two answers are apart."""
    from statsmodels.miscmodels.ordinal_model import OrderedModel

    X, y = make_workload(n)
    ours = OrdinalClassifier().fit(X, y)
    start, cpu = time.perf_counter(), time.process_time()
    theirs = OrderedModel(y, X, distr="logit").fit(method="newton", disp=False)
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    start = time.process_time()
    OrdinalClassifier().fit(X, y)
    own = time.process_time() - start
    gap = float(np.abs(ours.coef_[0] - theirs.params[:COLUMNS]).max())
    line = {"workload": "proportional_odds", "tool": "statsmodels", "n": n}
    line |= {"seconds_median": seconds, "cpu_seconds": cpu}
    line |= {"robuststat_cpu_seconds": own, "ratio": cpu / own}
    line |= {"largest_gap": gap, "loglik_gap": float(ours.loglik_ - theirs.llf)}
    emit(**line)
    return line


def streamed(n: int) -> dict[str, Any]:
    """One streamed fit; reading is timed apart."""
    start = time.perf_counter()
    for _ in frames(n):
        pass
    reading = time.perf_counter() - start
    found: list[OrdinalClassifier] = []
    start, cpu = time.perf_counter(), time.process_time()

    def run() -> None:
        found.append(OrdinalClassifier().fit_stream(lambda: frames(n), "y"))

    memory = peak_mb(run)
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    truth = np.linspace(-0.5, 0.5, COLUMNS)
    z = (found[0].coef_[0] - truth) / found[0].std_error_[:COLUMNS]
    line = {"workload": "streamed", "tool": "robuststat", "n": n, "seconds_median": seconds}
    line |= {"cpu_seconds": cpu}
    line |= {"seconds_of_one_reading": reading, "peak_mb": memory, "n_iter": found[0].n_iter_}
    line |= {"largest_z": float(np.abs(z).max())}
    emit(**line)
    return line


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, nargs="*", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--peer", type=int, nargs="*", default=[10_000])
    parser.add_argument("--stream", type=int, nargs="*", default=[])
    parser.add_argument("--repeat", type=int, default=3)
    args = parser.parse_args()
    with single_thread():
        lines = [in_memory(n, args.repeat) for n in args.n]
        lines += [peer(n) for n in args.peer]
        lines += [streamed(n) for n in args.stream]
    columns = ["workload", "tool", "n", "seconds_median", "cpu_seconds", "ratio", "peak_mb"]
    print(pd.DataFrame(lines).reindex(columns=columns).to_string(index=False))


if __name__ == "__main__":
    main()
