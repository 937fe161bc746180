"""Rare events: FailureProbability beside stored runs of OpenTURNS at about the same budget.

python benchmarks/sampling_rare.py --reps 100

One row a method: relative root mean squared error, relative bias, coverage of the nominal 95 %
interval, median number of model runs, repetitions. The peers' rows are 30 runs of OpenTURNS
1.27.post1 (tests/reference/multi_expectation/README.md), theirs with 4,000 to 6,000 runs.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from robuststat import FailureProbability
from robuststat.simulation import make_failure_modes, make_rare_event

STORED = (
    Path(__file__).parents[1] / "tests" / "reference" / "multi_expectation" / "baselines_rare.csv"
)
PROBLEMS = {
    "linear10": ("linear", 10),
    "linear50": ("linear", 50),
    "parabola2": ("parabola", 2),
    "fourbranch2": ("four_branches", 2),
}
PEERS = ["MC", "FORM-IS", "CE-IS standard", "NAIS", "SubsetSampling"]


def one_row(data: Any, budget: int, reps: int, seed: int, **options: Any) -> dict[str, Any]:
    """Errors of repeated fits; the last term is judged."""
    error, inside, used, warned = [], [], [], 0
    for rep in range(reps):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            est = FailureProbability(budget, random_state=seed + rep, **options)
            est.fit(data.func, data.law)
        warned += bool(caught)
        row = est.tidy().iloc[-1]
        error.append(row["estimate"] / data.probability - 1.0)
        inside.append(row["conf_low"] <= data.probability <= row["conf_high"])
        used.append(est.n_used_)
    size = np.array(error)
    return {
        "rel_rmse": float(np.sqrt(np.mean(size**2))),
        "rel_bias": float(size.mean()),
        "coverage95": float(np.mean(inside)),
        "runs": int(np.median(used)),
        "reps": reps,
        "warned": warned,
    }


def compare(name: str, budget: int, reps: int, seed: int) -> pd.DataFrame:
    """Table of one problem."""
    event, dim = PROBLEMS[name]
    rows = {}
    for sampler in ("mc", "rqmc"):
        data = make_rare_event(event, dim)  # type: ignore[arg-type]
        rows[f"robuststat {sampler}"] = one_row(data, budget, reps, seed, sampler=sampler)
    if event == "four_branches":
        causes = make_failure_modes()
        rows["robuststat, four causes"] = one_row(causes, budget, reps, seed, union=True)
    stored = pd.read_csv(STORED).set_index(["problem", "method"])
    for peer in PEERS:
        found = stored.loc[(name, peer)]
        rows[f"OpenTURNS {peer}"] = {
            "rel_rmse": found["rel_rmse"],
            "rel_bias": found["rel_bias"],
            "coverage95": found["coverage95"],
            "runs": int(found["median_calls"]),
            "reps": int(found["reps"]),
            "warned": 0,
        }
    return pd.DataFrame(rows).T


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--problem", choices=[*PROBLEMS, "all"], default="all")
    parser.add_argument("--reps", type=int, default=100)
    parser.add_argument("--budget", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=20_000)
    options = parser.parse_args()
    chosen = PROBLEMS if options.problem == "all" else [options.problem]
    for name in chosen:
        table = compare(name, options.budget, options.reps, options.seed)
        print(f"\n{name}, {options.budget} runs\n{table.to_string(float_format='%.4f')}")


if __name__ == "__main__":
    main()
