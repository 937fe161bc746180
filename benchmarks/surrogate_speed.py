"""Seconds and memory of a regression on surrogate labels, beside ppi-python in the same run.

``python benchmarks/surrogate_speed.py --n 10000 100000 1000000`` prints JSON lines (see README.md)
and a table. Workload: five covariates, an outcome of which 5 % is labelled by simple random
sampling, a machine's label used as it is (``learner="passthrough"``), one thread.

Yardsticks from the same process: ``gram``, one ``X.T @ X`` of the design with its column of ones,
and ``numpy OLS + HC0``, the normal equations and the meat of the sandwich in plain numpy. Memory is
given relative to the input, which is X without the ones, y and the prediction.

``--absorb`` adds a linear model with absorbed fixed effects of 1e4 units, and of 1e4 units and 50
years, standard errors clustered by unit; ``--absorb-only`` runs nothing else.

Without ppi-python the lines of that package are left out.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from _timing import emit, gram_seconds, measure, single_thread
from numpy.typing import NDArray

from robuststat import DSLClassifier, DSLRegressor

Array = NDArray[np.float64]

COVARIATES, SHARE_LABELED, CLUSTERS = 5, 0.05, 5000
UNITS, YEARS = 10_000, 50
COEF = np.array([0.3, 0.5, -0.4, 0.2, 0.1, -0.2])
MODELS = ("linear", "logit", "poisson")
# Repeated calls by number of rows: a median of few calls is enough where one call is long.
CALLS = {10_000: 25, 100_000: 11}
FIRST_CALL = """
import json, sys, time
start = time.perf_counter()
import numpy as np
from robuststat import {cls}
imported = time.perf_counter()
rng = np.random.default_rng(0)
n = 10_000
X = rng.standard_normal((n, 5))
gold = {gold}
y = np.where(rng.random(n) < 0.05, gold, np.nan)
made = time.perf_counter()
{cls}({model!r}, learner="passthrough").fit(X, y, prediction=gold)
first = time.perf_counter()
{cls}({model!r}, learner="passthrough").fit(X, y, prediction=gold)
numba = "numba" in sys.modules
print(json.dumps(dict(import_seconds=imported - start, first_fit_seconds=first - made,
                      second_fit_seconds=time.perf_counter() - first, numba_imported=numba)))
"""
GOLD = {
    "linear": "X[:, 0] + rng.standard_normal(n)",
    "logit": "(X[:, 0] + rng.standard_normal(n) > 0).astype(float)",
    "poisson": "rng.poisson(np.exp(0.3 * X[:, 0])).astype(float)",
}


@dataclass(frozen=True, slots=True)
class Workload:
    """Data of one model."""

    model: str
    X: Array
    y: Array
    prediction: Array
    clusters: NDArray[np.int64]

    @property
    def design(self) -> Array:
        """X with a column of ones in front, made anew."""
        return np.column_stack([np.ones(len(self.X)), self.X])

    @property
    def input_mb(self) -> float:
        """Size of what a user passes to fit."""
        return (self.X.nbytes + self.y.nbytes + self.prediction.nbytes) / 1e6


def make_workload(model: str, n: int) -> Workload:
    rng = np.random.default_rng(n)
    X = rng.standard_normal((n, COVARIATES))
    index = COEF[0] + X @ COEF[1:]
    if model == "linear":
        gold = index + rng.standard_normal(n)
        prediction = 0.8 * gold + 0.5 + 0.4 * (X[:, 0] > 0) + 0.4 * rng.standard_normal(n)
    elif model == "logit":
        gold = (rng.random(n) < 1 / (1 + np.exp(-index))).astype(float)
        wrong = rng.random(n) < np.where(X[:, 0] > 0, 0.18, 0.02)
        prediction = np.where(wrong, 1 - gold, gold)
    else:
        gold = rng.poisson(np.exp(index)).astype(float)
        prediction = (rng.binomial(gold.astype(int), 0.8) + rng.poisson(0.5, n)).astype(float)
    y = np.full(n, np.nan)
    labeled = rng.choice(n, round(SHARE_LABELED * n), replace=False)
    y[labeled] = gold[labeled]
    return Workload(model, X, y, prediction, rng.integers(0, min(CLUSTERS, n // 20), n))


def fit(data: Workload, *, variance: str = "robust", **roles: Any) -> Any:
    est: Any = DSLClassifier if data.model == "logit" else DSLRegressor
    return est(data.model, learner="passthrough", variance=variance).fit(
        data.X, data.y, prediction=data.prediction, **roles
    )


def numpy_ols(X: Array, y: Array) -> tuple[Array, Array]:
    gram = X.T @ X
    coef = np.linalg.solve(gram, X.T @ y)
    scores = X * (y - X @ coef)[:, None]
    half = np.linalg.solve(gram, scores.T @ scores)
    return coef, np.sqrt(np.diag(np.linalg.solve(gram, half.T)))


def peer_calls(data: Workload) -> dict[str, Callable[[], Any]]:
    """Return calls of ppi-python as its documentation makes them; none for Poisson regression."""
    if data.model == "poisson":
        return {}
    from ppi_py import ppi_logistic_ci, ppi_ols_ci

    interval = ppi_ols_ci if data.model == "linear" else ppi_logistic_ci
    labeled = np.isfinite(data.y)
    design = data.design
    parts = (
        design[labeled],
        data.y[labeled],
        data.prediction[labeled],
        design[~labeled],
        data.prediction[~labeled],
    )
    return {
        "lam=1": partial(interval, *parts, alpha=0.05, lam=1),
        "tuned": partial(interval, *parts, alpha=0.05),
    }


def same_estimand(data: Workload) -> float:
    """Largest distance between our logit and the peer's at the weight that makes them equal."""
    from ppi_py import ppi_logistic_pointestimate

    labeled = np.isfinite(data.y)
    design = data.design
    theirs = ppi_logistic_pointestimate(
        design[labeled],
        data.y[labeled],
        data.prediction[labeled],
        design[~labeled],
        data.prediction[~labeled],
        lam=1 - float(labeled.mean()),
    )
    return float(np.abs(theirs - fit(data).result_.estimate).max())


def centre_and_half_width(interval: Any) -> dict[str, list[float]]:
    low, high = (np.asarray(part, dtype=float) for part in interval)
    return {
        "estimate": ((low + high) / 2).round(6).tolist(),
        "half_width": ((high - low) / 2).round(6).tolist(),
    }


def first_call(model: str) -> dict[str, Any]:
    """Seconds of the first fit in a fresh process, and whether it loaded the compiler."""
    cls = "DSLClassifier" if model == "logit" else "DSLRegressor"
    code = FIRST_CALL.format(cls=cls, model=model, gold=GOLD[model])
    threads = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | threads,
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def run_model(model: str, n: int, repeat: int, with_peer: bool) -> list[dict[str, Any]]:
    """All lines of one model and size."""
    data = make_workload(model, n)
    design = data.design
    gram = gram_seconds(design, repeat=max(15, repeat))
    filled = np.where(np.isfinite(data.y), data.y, data.prediction)
    plain = measure(partial(numpy_ols, design, filled), repeat=max(repeat, 7))
    calls: list[tuple[str, str, Callable[[], Any]]] = [
        ("robuststat", "robust", partial(fit, data)),
        # The interval that is like the peer's: the number of labels is taken as fixed.
        ("robuststat", "design", partial(fit, data, variance="design")),
    ]
    if model == "linear":
        calls.append(("robuststat", "clustered", partial(fit, data, clusters=data.clusters)))
    if with_peer:
        calls += [("ppi-python", name, call) for name, call in peer_calls(data).items()]
    common = {"workload": f"dsl_{model}", "n": n, "k": COVARIATES, "labeled": SHARE_LABELED}
    common |= {"gram_seconds": gram, "input_mb": data.input_mb}
    common["numpy_ols_hc0_seconds"] = plain["seconds_median"]
    lines = [common | {"tool": "numpy", "variant": "OLS + HC0"} | plain]
    for tool, variant, call in calls:
        result = call()
        interval = result if tool == "ppi-python" else result.result_.confint().to_numpy().T
        line = common | {"tool": tool, "variant": variant} | centre_and_half_width(interval)
        del result, interval
        lines.append(line | measure(call, repeat=repeat))
    if with_peer and model == "logit":
        lines[1]["distance_to_ppi_at_same_weight"] = same_estimand(data)
    for line in lines:
        line["ratio_to_gram"] = line["seconds_median"] / gram
        line["ratio_to_numpy_ols_hc0"] = line["seconds_median"] / plain["seconds_median"]
        line["memory_to_input"] = line["peak_mb"] / data.input_mb
        emit(**line)
    return lines


def run_absorb(n: int, repeat: int) -> list[dict[str, Any]]:
    """One line for one factor and one for two; rows are drawn, so the panel is unbalanced."""
    data = make_workload("linear", n)
    rng = np.random.default_rng(n + 1)
    names = [f"x{j}" for j in range(COVARIATES)]
    frame = pd.DataFrame(data.X, columns=names)
    frame["y"], frame["machine"] = data.y, data.prediction
    frame["unit"] = rng.integers(0, UNITS, n)
    frame["year"] = rng.integers(0, YEARS, n)
    input_mb = float(frame.memory_usage(index=False).sum()) / 1e6
    lines = []
    for absorb in (["unit"], ["unit", "year"]):
        est = DSLRegressor(absorb=absorb, learner="passthrough")
        rows = frame[[*names, "y", "machine", *absorb]]
        call = partial(est.fit, rows, "y", prediction="machine", clusters="unit")
        call()
        line = {"workload": "dsl_absorb", "tool": "robuststat", "variant": "+".join(absorb)}
        line |= {"n": n, "k": COVARIATES, "labeled": SHARE_LABELED, "input_mb": input_mb}
        line |= {"absorbed": est.result_.diagnostics["n_absorbed"], "projection": _projection(est)}
        lines.append(line | measure(call, repeat=repeat))
        emit(**lines[-1])
    return lines


def _projection(est: DSLRegressor) -> str:
    return next(text for text in est.summary().footer if "projection" in text)


def slopes(lines: list[dict[str, Any]]) -> dict[tuple[str, str, str], float]:
    """Growth of log seconds with log n from the second largest to the largest n."""
    by_key: dict[tuple[str, str, str], list[tuple[int, float]]] = {}
    for line in lines:
        key = (line["workload"], line["tool"], line["variant"])
        by_key.setdefault(key, []).append((line["n"], line["seconds_median"]))
    found = {}
    for key, points in by_key.items():
        if len(points) > 1:
            (n0, t0), (n1, t1) = sorted(points)[-2:]
            found[key] = math.log(t1 / t0) / math.log(n1 / n0)
    return found


def print_table(lines: list[dict[str, Any]], cold: list[dict[str, Any]]) -> None:
    slope = slopes(lines)
    largest = max(line["n"] for line in lines)
    print(
        f"\n{'workload':<12} {'tool':<11} {'variant':<10} {'n':>8} {'ms':>9} {'/gram':>7} "
        f"{'/OLS+HC0':>9} {'MB':>7} {'/input':>7} {'slope':>6}"
    )
    for line in lines:
        key = (line["workload"], line["tool"], line["variant"])
        shown = f"{slope[key]:6.2f}" if key in slope and line["n"] == largest else ""
        print(
            f"{line['workload']:<12} {line['tool']:<11} {line['variant']:<10} {line['n']:>8} "
            f"{1e3 * line['seconds_median']:>9.2f} {line['ratio_to_gram']:>7.1f} "
            f"{line['ratio_to_numpy_ols_hc0']:>9.2f} {line['peak_mb']:>7.1f} "
            f"{line['memory_to_input']:>7.2f} {shown:>6}"
        )
    print(
        "\n/gram and /OLS+HC0: seconds over those of X.T @ X and of plain numpy least squares with"
        "\nits meat; /input: added memory over that of X, y and prediction; slope: of log seconds"
        "\nin log n between the two largest n (1 is linear)."
    )
    print("\nfirst fit in a fresh process, n = 10000:")
    for line in cold:
        print(
            f"  {line['workload']:<18} import {line['import_seconds']:.2f} s, first fit "
            f"{1e3 * line['first_fit_seconds']:.1f} ms, second "
            f"{1e3 * line['second_fit_seconds']:.1f} ms, numba imported: {line['numba_imported']}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--repeat", type=int, help="timed calls (default 25, 11 or 5, by n)")
    parser.add_argument("--absorb", action="store_true", help="also absorbed fixed effects")
    parser.add_argument("--absorb-only", action="store_true", help="absorbed fixed effects only")
    options = parser.parse_args()
    if options.absorb or options.absorb_only:
        with single_thread():
            for n in options.n:
                run_absorb(n, options.repeat or CALLS.get(n, 5))
        if options.absorb_only:
            return
    try:
        import ppi_py  # noqa: F401
    except ImportError:
        with_peer = False
        print("ppi-python is not installed: its lines are left out.", file=sys.stderr)
    else:
        with_peer = True
    lines, cold = [], []
    with single_thread():
        for model in options.models:
            cold.append({"workload": f"dsl_{model}_cold", "tool": "robuststat", "n": 10_000})
            cold[-1] |= first_call(model)
            emit(**cold[-1])
            for n in options.n:
                repeat = options.repeat or CALLS.get(n, 5)
                lines += run_model(model, n, repeat, with_peer)
    print_table(lines, cold)


if __name__ == "__main__":
    main()
