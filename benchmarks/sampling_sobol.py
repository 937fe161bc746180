"""Sobol' indices at equal numbers of model runs: error of ours and of peers, coverage of ours.

``python benchmarks/sampling_sobol.py`` prints, for beam, Ishigami's function, g-function and flood
model, root mean squared errors over inputs and repetitions of first and total indices, the share of
95 % intervals that hold the truth (lowest and mean over indices), and seconds a fit. Run beside it:
``scipy.stats.sobol_indices``, and SALib where it is installed. Figures of openturns are stored in
``tests/reference/multi_expectation``; those of its polynomial chaos have a degree picked by hand.
The truth of the beam is from quadrature in its six inputs, those of Ishigami's and the g-function
are closed forms, that of the flood model is stored (standard errors of about 1e-6).
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from _timing import single_thread
from numpy.typing import NDArray
from scipy import stats

from robuststat import SobolIndices
from robuststat.simulation import make_beam, make_flood, make_g_function, make_ishigami

Array = NDArray[np.float64]
REFERENCE = Path(__file__).parents[1] / "tests" / "reference" / "multi_expectation"
CASES: dict[str, tuple[Callable[[], Any], tuple[int, int]]] = {
    "beam6": (make_beam, (4096, 32768)),
    "ishigami": (make_ishigami, (2560, 20480)),
    "gsobol8": (make_g_function, (5120, 40960)),
    "flood8": (make_flood, (5120, 40960)),
}


def beam_truth(n: int = 16) -> Array:
    """First and total indices of the beam: y = p(L) q(E) h(F_X, F_Y, w, t), by quadrature."""
    z, weight = np.polynomial.hermite_e.hermegauss(n)
    weight = weight / weight.sum()
    fx, fy, modulus, w, t, length = (m.from_normal(z) for m in make_beam().law.marginals)
    area = w[:, None] * t
    h = np.hypot(fx[:, None, None, None] / w[:, None] ** 2, fy[:, None, None] / t**2) / area
    p, q = 4.0 * length**3 / 1e9, 1.0 / modulus

    def square(values: Array, kept: set[int]) -> float:
        """E of the squared conditional mean given the kept coordinates of h."""
        for axis in reversed(range(4)):
            if axis not in kept:
                values = np.tensordot(values, weight, axes=(axis, 0))
        values = values**2
        while values.ndim:
            values = np.tensordot(values, weight, axes=(0, 0))
        return float(values)

    p1, p2, q1, q2 = (weight @ p) ** 2, weight @ p**2, (weight @ q) ** 2, weight @ q**2
    everything = {0, 1, 2, 3}
    mean2 = square(h, set()) * p1 * q1
    variance = square(h, everything) * p2 * q2 - mean2
    first, rest = [], []
    for axis in (0, 1, None, 2, 3, None):
        if axis is not None:
            first.append(square(h, {axis}) * p1 * q1)
            rest.append(square(h, everything - {axis}) * p2 * q2)
        elif len(first) == 2:  # the modulus
            first.append(square(h, set()) * p1 * q2)
            rest.append(square(h, everything) * p2 * q1)
        else:
            first.append(square(h, set()) * p2 * q1)
            rest.append(square(h, everything) * p1 * q2)
    S, T = (np.array(first) - mean2) / variance, 1.0 - (np.array(rest) - mean2) / variance
    return np.concatenate([S, T])


def truth_of(case: str, data: Any) -> Array:
    if case == "beam6":
        return beam_truth()
    if case == "flood8":
        stored = json.loads((REFERENCE / "truths.json").read_text())[case]
        return np.concatenate([stored["S1"], stored["ST"]])
    return np.concatenate([data.first_order, data.total_order])


def ours(data: Any, runs: int, seed: int, **options: Any) -> tuple[Array, Any]:
    est = SobolIndices(runs, random_state=seed, **options).fit(data.func, data.law)
    return est.estimate_, est.confint().to_numpy()


def scipy_peer(data: Any, runs: int, seed: int) -> tuple[Array, Any]:
    marginals = [_Quantiles(marginal) for marginal in data.law.marginals]
    n = runs // (data.law.dim + 2)
    found = stats.sobol_indices(
        func=lambda X: data.func(X.T), n=n, dists=marginals, rng=np.random.default_rng(seed)
    )
    return np.concatenate([found.first_order, found.total_order]), None


class _Quantiles:
    """What scipy asks of a distribution."""

    def __init__(self, marginal: Any) -> None:
        self.marginal = marginal

    def ppf(self, u: Array) -> Array:
        return np.asarray(self.marginal.from_normal(stats.norm.ppf(np.clip(u, 1e-12, 1 - 1e-12))))


def salib_peer(data: Any, runs: int, seed: int) -> tuple[Array, Any]:
    from SALib.analyze import sobol as analyze
    from SALib.sample import sobol as sample

    d = data.law.dim
    problem = {"num_vars": d, "names": list(data.law.names), "bounds": [[0.0, 1.0]] * d}
    U = sample.sample(problem, runs // (d + 2), calc_second_order=False, seed=seed)
    X = data.law.from_normal(stats.norm.ppf(np.clip(U, 1e-12, 1 - 1e-12)))
    found = analyze.analyze(problem, data.func(X), calc_second_order=False, seed=seed)
    return np.concatenate([found["S1"], found["ST"]]), None


def measure(tool: Callable[..., Any], data: Any, truth: Array, runs: int, reps: int) -> str:
    errors, covers = [], []
    start = time.perf_counter()
    for seed in range(reps):
        estimate, limits = tool(data, runs, seed)
        errors.append(estimate - truth)
        if limits is not None:
            covers.append((limits[:, 0] <= truth) & (truth <= limits[:, 1]))
    seconds = (time.perf_counter() - start) / reps
    d = data.law.dim
    E = np.array(errors)
    first, total = (np.sqrt((part**2).mean()) for part in (E[:, :d], E[:, d:]))
    rate = np.mean(covers, axis=0) if covers else np.full(1, np.nan)
    return f"{first:>10.6f} {total:>10.6f} {rate.mean():>6.3f} {rate.min():>6.3f} {seconds:>7.2f}"


def stored_lines(case: str, runs: int) -> list[str]:
    with (REFERENCE / "baselines_sobol.csv").open() as file:
        rows = [r for r in csv.DictReader(file) if r["case"] == case]
    lines = [
        f"{(row['peer'].split()[0] + ' ' + row['method'])[:44]:<44} {float(row['rmse_S1']):>10.6f} "
        f"{float(row['rmse_ST'] or 'nan'):>10.6f}"
        for row in rows
        if int(row["model_evals"]) == runs
    ]
    chaos = json.loads((REFERENCE / "baselines_pce.json").read_text())
    return lines + [
        f"{'openturns chaos, ' + row['method'].split('squares ')[1] + ', by hand':<44} "
        f"{row['rmse_S1']:>10.6f} {row['rmse_ST']:>10.6f}"
        for row in chaos
        if row["case"] == case and row["model_evals"] == runs
    ]


def table(case: str, runs: int, reps: int) -> None:
    data = CASES[case][0]()
    truth = truth_of(case, data)
    tools: dict[str, Callable[..., Any]] = {
        "ours, default": ours,
        "ours, estimator='mc'": lambda *args: ours(*args, estimator="mc"),
        "ours, controls='none'": lambda *args: ours(*args, controls="none"),
        "scipy.stats.sobol_indices": scipy_peer,
    }
    try:
        import SALib  # noqa: F401
    except ImportError:
        print("(SALib is not installed; its stored figures are below)")
    else:
        tools["SALib"] = salib_peer
    print(f"\n{case}: {runs:,} runs, {reps} repetitions")
    print(f"{'':<44} {'rmse S1':>10} {'rmse ST':>10} {'cover':>6} {'lowest':>6} {'seconds':>7}")
    for name, tool in tools.items():
        print(f"{name:<44} {measure(tool, data, truth, runs, reps)}", flush=True)
    print("stored:")
    print("\n".join(stored_lines(case, runs)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--case", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--reps", type=int, default=30)
    parser.add_argument("--large", action="store_true", help="eight times as many runs")
    options = parser.parse_args()
    with single_thread():
        for case in options.case:
            table(case, CASES[case][1][int(options.large)], options.reps)


if __name__ == "__main__":
    main()
