"""Seconds of PRESTO, beside one fit each of scikit-learn and statsmodels on the same data.

``python benchmarks/presto_speed.py`` prints JSON lines (see README.md) and a table of processor
seconds, one thread. Workloads:

- ``small``: path of 20 penalties, five-fold choice, n = 2500, p = 10, K = 4 (sparse design);
  yardsticks are one ``LogisticRegression`` (lbfgs, multinomial) and one ``OrderedModel`` fit.
- ``tall``: the path and a proportional odds fit at n = 100000, p = 10, and proportional odds at
  ``--n-million`` million rows.
- ``wide``: the path at n = 10000, p = 1000, K = 4.

Compilation is not counted: every workload runs once before it is timed.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable

import numpy as np
from _timing import single_thread
from sklearn.linear_model import LogisticRegression
from statsmodels.miscmodels.ordinal_model import OrderedModel

from robuststat import PrestoClassifier, presto_path
from robuststat.simulation import make_presto


def seconds(func: Callable[[], object], repeat: int) -> float:
    """Median processor seconds."""
    func()
    found = []
    for _ in range(repeat):
        start = time.process_time()
        func()
        found.append(time.process_time() - start)
    return float(np.median(found))


def report(
    workload: str, name: str, value: float, unit: float | None = None, **more: object
) -> None:
    """Print one JSON line."""
    line = {"workload": workload, "what": name, "cpu_seconds": round(value, 4), **more}
    if unit is not None:
        line["ratio_to_path"] = round(value / unit, 2)
    print(json.dumps(line), flush=True)


def small(repeat: int) -> None:
    """Time the path beside the yardsticks."""
    data = make_presto(random_state=1)
    X, y = data.X.to_numpy(), np.asarray(data.y)
    path = seconds(lambda: presto_path(X, y), repeat)
    report("small", "presto_path, 20 penalties, box", path, path)
    free = seconds(lambda: presto_path(X, y, crossing="allow"), repeat)
    report("small", "presto_path, 20 penalties, crossing allowed", free, path)
    chosen = seconds(lambda: PrestoClassifier(random_state=0).fit(X, y), repeat)
    report("small", "PrestoClassifier, 5 folds x 20 penalties, intervals", chosen, path)
    lbfgs = seconds(lambda: LogisticRegression(max_iter=1000).fit(X, y), repeat)
    report("small", "scikit-learn LogisticRegression, one fit", lbfgs, path)
    model = seconds(lambda: OrderedModel(y, X, distr="logit").fit(method="bfgs", disp=False), 3)
    report("small", "statsmodels OrderedModel, one fit", model, path)


def tall(millions: float, repeat: int) -> None:
    """Time many rows."""
    data = make_presto(n=100_000, random_state=1)
    X, y = data.X.to_numpy(), np.asarray(data.y)
    path = seconds(lambda: presto_path(X, y), repeat)
    report("tall", "presto_path, n=100,000", path, path)
    lbfgs = seconds(lambda: LogisticRegression(max_iter=1000).fit(X, y), repeat)
    report("tall", "scikit-learn LogisticRegression, one fit", lbfgs, path)
    po = {"lam": 1e6, "first_block_penalty": 0.0, "inference": "none"}
    report("tall", "proportional odds", seconds(lambda: PrestoClassifier(**po).fit(X, y), 3))
    if millions > 0:
        data = make_presto(n=int(millions * 1e6), random_state=1)
        X, y = data.X.to_numpy(), np.asarray(data.y)
        value = seconds(lambda: PrestoClassifier(**po).fit(X, y), 1)
        report("tall", f"proportional odds, n={len(y):,}", value)


def wide() -> None:
    """Time many columns."""
    rng = np.random.default_rng(1)
    X = rng.normal(size=(10_000, 1000))
    latent = X[:, :10] @ np.full(10, 0.5) + rng.logistic(size=10_000)
    y = np.digitize(latent, [0.0, 3.0, 5.0])
    start = time.process_time()
    path = presto_path(X, y)
    value = time.process_time() - start
    report(
        "wide",
        "presto_path, n=10,000, p=1,000, 20 penalties",
        value,
        worst_kkt=float(path.kkt.max()),
        nonzero=int(np.count_nonzero(path.psi[-1])),
    )


def main() -> None:
    """Read the command line and run the workloads."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--what", nargs="*", default=["small", "tall", "wide"])
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--n-million", type=float, default=1.0)
    options = parser.parse_args()
    with single_thread():
        if "small" in options.what:
            small(options.repeat)
        if "tall" in options.what:
            tall(options.n_million, options.repeat)
        if "wide" in options.what:
            wide()


if __name__ == "__main__":
    main()
