"""Error, coverage and width of private location estimates, with and without contamination.

``python benchmarks/private_utility.py --what utility coverage`` prints JSON lines and tables.

utility: normal values with mean 1 and standard deviation 2, bounds +-50, rho .02; with
contamination the first tenth of the records is 40. Root mean squared error about 1 of the plain
statistic, of its private releases (step and ramp), and of a clipped mean with Laplace noise; stored
figures of the same design come from ``tests/reference/dp_robust/utility.json``.

coverage: rank intervals of the median of normal and lognormal values (bounds +-20, rho .005, all of
epsilon on the interval), intervals of a normal mean with known standard deviation (bounds +-50),
and bootstrap intervals of the median; widths beside the usual non-private interval.

``--reps`` sets the repetitions; Monte Carlo errors are printed. The seed is 0. Simulations use
reproducible noise, which no release may.
"""

from __future__ import annotations

import argparse
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from _timing import emit
from numpy.typing import NDArray
from scipy.stats import binom, norm

from robuststat import DPLocation
from robuststat.private._entropy import SeededEntropy

Array = NDArray[np.float64]
STORED = Path(__file__).parents[1] / "tests" / "reference" / "dp_robust"
WIDE = {"bounds": (-50.0, 50.0), "rho": 0.02}
ESTIMATORS = ("median", "trimmed", "winsorized", "huber", "mean")


def draw(rng: np.random.Generator, n: int, contamination: float) -> Array:
    x = rng.normal(1.0, 2.0, n)
    x[: round(contamination * n)] = 40.0
    return x


def rmse(values: list[float], truth: float) -> float:
    return float(np.sqrt(np.mean((np.array(values) - truth) ** 2)))


def utility(reps: int) -> list[dict[str, Any]]:
    """One line an estimator, size, epsilon and contamination."""
    stored = {
        (row["n"], row["eps"], row["cont"]): row
        for row in json.loads((STORED / "utility.json").read_text())
    }
    lines = []
    for (n, epsilon, contamination), row in stored.items():
        rng, source = np.random.default_rng(0), SeededEntropy(0)
        found: dict[str, list[float]] = {}
        for _ in range(reps):
            x = draw(rng, n, contamination)
            noise = rng.laplace(scale=100 / (n * epsilon))
            found.setdefault("Laplace mean", []).append(np.clip(x, -50, 50).mean() + noise)
            for name in ESTIMATORS:
                options = {"epsilon": epsilon, "scale": 2.0, "random_state": source} | WIDE
                est = DPLocation(name, **options)
                found.setdefault(f"{name}, plain", []).append(float(est.envelope(x, 0)[0][0]))
                found.setdefault(f"{name}, step", []).append(est.fit(x).estimate_)
                est.set_params(kind="ramp")
                found.setdefault(f"{name}, ramp", []).append(est.fit(x).estimate_)
        names = {"median, plain": "nonpriv", "median, step": "step", "median, ramp": "ramp"}
        names["Laplace mean"] = "laplace_mean"
        for name, values in found.items():
            line = {"workload": "private_utility", "n": n, "epsilon": epsilon}
            line |= {"contamination": contamination, "estimator": name, "reps": reps}
            line |= {"rmse": rmse(values, 1.0), "stored": row.get(names.get(name, ""))}
            emit(**line)
            lines.append(line)
    return lines


def order_interval_width(x: Array, level: float) -> float:
    """Width of the usual interval of the median from two order statistics."""
    n, ordered = len(x), np.sort(x)
    lower = int(binom.ppf((1 - level) / 2, n, 0.5))
    return float(ordered[n - lower] - ordered[max(lower - 1, 0)])


def median_coverage(reps: int, contamination: float = 0.0) -> list[dict[str, Any]]:
    lines = []
    for law in ("norm", "lognorm"):
        for n, epsilon in ((200, 1.0), (1000, 0.5), (1000, 2.0)):
            rng, source = np.random.default_rng(0), SeededEntropy(0)
            truth, hits, widths, plain = (1.0 if law == "lognorm" else 0.0), 0, [], []
            est = DPLocation(
                epsilon=epsilon,
                bounds=(-20.0, 20.0),
                rho=0.005,
                ci="rank",
                ci_share=1.0,
                random_state=source,
            )
            for _ in range(reps):
                x = rng.normal(size=n) if law == "norm" else rng.lognormal(size=n)
                x[: round(contamination * n)] = 19.0
                low, high = est.fit(x).conf_int_
                hits += low <= truth <= high
                widths.append(high - low)
                plain.append(order_interval_width(x, 0.95))
            name = f"rank, {law}{', 10% at 19' if contamination else ''}"
            lines.append(_coverage(name, n, epsilon, hits, reps, widths, plain))
    return lines


def mean_coverage(reps: int, contamination: float = 0.0) -> list[dict[str, Any]]:
    lines = []
    for n, epsilon in ((500, 1.0), (1000, 0.5), (5000, 0.2)):
        rng, source = np.random.default_rng(0), SeededEntropy(0)
        hits, widths = 0, []
        options = {"bounds": (-50.0, 50.0), "rho": 0.001, "scale": 1.0}
        est = DPLocation("mean", epsilon=epsilon, ci="normal", random_state=source, **options)
        for _ in range(reps):
            x = rng.normal(size=n)
            x[: round(contamination * n)] = 40.0
            low, high = est.fit(x).conf_int_
            hits += low <= 0 <= high
            widths.append(high - low)
        plain = [2 * norm.ppf(0.975) / np.sqrt(n)]
        name = f"normal mean{', 10% at 40' if contamination else ''}"
        lines.append(_coverage(name, n, epsilon, hits, reps, widths, plain))
    return lines


def bootstrap_coverage(reps: int) -> list[dict[str, Any]]:
    lines = []
    for name in ("median", "trimmed"):
        for n, epsilon in ((500, 1.0), (1000, 0.5)):
            rng, source = np.random.default_rng(0), SeededEntropy(0)
            hits, widths, plain = 0, [], []
            options = {"ci": "bootstrap", "n_boot": 200, "random_state": source} | WIDE
            est = DPLocation(name, epsilon=epsilon, **options)
            for _ in range(reps):
                x = rng.normal(1.0, 2.0, n)
                low, high = est.fit(x).conf_int_
                hits += low <= 1.0 <= high
                widths.append(high - low)
                plain.append(order_interval_width(x, 0.95))
            lines.append(_coverage(f"bootstrap, {name}", n, epsilon, hits, reps, widths, plain))
    return lines


def _coverage(
    name: str, n: int, epsilon: float, hits: int, reps: int, widths: Any, plain: Any
) -> dict[str, Any]:
    share = hits / reps
    line = {"workload": "private_coverage", "interval": name, "n": n, "epsilon": epsilon}
    line |= {"reps": reps, "coverage": share, "mc_se": float(np.sqrt(share * (1 - share) / reps))}
    line |= {"width": float(np.mean(widths)), "nonprivate_width": float(np.mean(plain))}
    emit(**line)
    return line


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--what", nargs="+", choices=("utility", "coverage"), default=["utility", "coverage"]
    )
    parser.add_argument("--reps", type=int, default=400)
    args = parser.parse_args()
    with warnings.catch_warnings(action="ignore"):  # too few records, on purpose
        lines = utility(args.reps) if "utility" in args.what else []
        covered = []
        if "coverage" in args.what:
            covered = median_coverage(args.reps) + median_coverage(args.reps, 0.1)
            covered += mean_coverage(args.reps) + mean_coverage(args.reps, 0.1)
            covered += bootstrap_coverage(max(args.reps // 2, 1))
    for line in lines:
        stored = "" if line["stored"] is None else f"{line['stored']:9.3f} stored"
        print(
            f"{line['n']:6}{line['epsilon']:6.1f}{line['contamination']:6.1f}  "
            f"{line['estimator']:20}{line['rmse']:9.3f}{stored}"
        )
    for line in covered:
        print(
            f"{line['interval']:28}{line['n']:6}{line['epsilon']:6.1f}"
            f"{line['coverage']:8.3f} (+-{line['mc_se']:.3f})  width {line['width']:7.3f}  "
            f"non-private {line['nonprivate_width']:.3f}"
        )


if __name__ == "__main__":
    main()
