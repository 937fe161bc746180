"""Bias and coverage of the effect with an invalid instrument, at length.

``python benchmarks/iv_validation.py --what S0 S1 S2 S3 S5`` prints one table a study:

S0  the union of four models: which nuisance models may be wrong. Large n, so that bias is seen; the
    standard deviation over repetitions gives the Monte Carlo error. "union" marks the rows that
    must be unbiased.
S1  all models right: bias, ratio of mean standard error to standard deviation, coverage of 95 %
    intervals, stacked sandwich and influence function.
S2  the same with stronger confounding, and least squares beside it.
S3  hardly any heteroscedasticity, down to a mean D of 0.005: coverage of the score set and how
    often it is bounded, beside the Wald interval.
S5  nonlinear nuisance functions: cross-fitted learners beside the parametric fit, which is wrong.

The reduced versions in tests/statistical use the same functions of the package.
"""

from __future__ import annotations

import argparse
import warnings
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from sklearn.utils import Bunch

from robuststat import InvalidIVATE, InvalidIVDML
from robuststat.simulation import make_invalid_iv, make_weak_iv, monte_carlo

MODELS = {"pi": "instrument", "p": "treatment", "beta": "effect", "h": "direct"}
MODELS["omega"] = "confounding"
UNION = ({"pi", "p"}, {"pi", "beta", "h"}, {"p", "beta", "omega"}, {"beta", "omega", "h"})


def fit(draw: Bunch, **options: Any) -> InvalidIVATE:
    est = InvalidIVATE(**options)
    with warnings.catch_warnings(action="ignore"):
        return est.fit(draw.X, draw.y, treatment=draw.treatment, instruments=draw.instruments)


def least_squares(draw: Bunch) -> tuple[float, float]:
    """Coefficient of the exposure, linear in A, Z, X and Z x1, with its HC0 error."""
    z, x = draw.instruments, draw.X.to_numpy()
    design = np.column_stack([draw.treatment, np.ones(z.size), z, x, z * x[:, 0]])
    coef, *_ = np.linalg.lstsq(design, draw.y, rcond=None)
    inverse = np.linalg.inv(design.T @ design)
    scores = design * (draw.y - design @ coef)[:, None]
    return float(coef[0]), float(np.sqrt((inverse @ scores.T @ scores @ inverse)[0, 0]))


def union_study(n: int, n_rep: int, seed: int) -> pd.DataFrame:
    """S0: every set of right models, the others wrong."""
    draw = make_invalid_iv(10, "union", random_state=0)
    sets = [set(part) for k in range(6) for part in combinations(MODELS, k)]
    errors: dict[str, list[float]] = {", ".join(s) or "none": [] for s in map(sorted, sets)}
    for r in range(n_rep):
        data = make_invalid_iv(n, "union", random_state=seed + r)
        for right in sets:
            terms = {
                key: (draw.terms_right if name in right else draw.terms_wrong)[key]
                for name, key in MODELS.items()
            }
            error = fit(data, terms=terms).ate_ - data.truth["ATE"]
            errors[", ".join(sorted(right)) or "none"].append(error)
    rows = []
    for right, (name, values) in zip(sets, errors.items(), strict=True):
        mcse = float(np.std(values, ddof=1) / np.sqrt(n_rep))
        bias = float(np.mean(values))
        in_union = any(part <= right for part in UNION)
        rows.append(
            {"right": name, "union": in_union, "bias": bias, "mcse": mcse, "z": bias / mcse}
        )
    return pd.DataFrame(rows)


def coverage_study(design: Any, n: int, n_rep: int, seed: int) -> pd.DataFrame:
    """S1 and S2: all models right."""
    estimators: dict[str, Any] = {
        "sandwich": fit,
        "eif": partial(fit, vcov="eif"),
        "targeted": partial(fit, targeted=True),
    }
    result = monte_carlo(
        partial(make_invalid_iv, n=n, design=design), estimators, n_rep, random_state=seed
    )
    return result.table


def naive_study(design: Any, n: int, n_rep: int, seed: int) -> pd.DataFrame:
    """Least squares on the same designs."""
    truth = make_invalid_iv(10, design, random_state=0).truth[["ATE"]]
    result = monte_carlo(
        partial(make_invalid_iv, n=n, design=design),
        {"least squares": least_squares},
        n_rep,
        truth=truth,
        random_state=seed,
    )
    return result.table


def cross_fitted(draw: Bunch) -> InvalidIVDML:
    est = InvalidIVDML(random_state=draw.random_state)
    with warnings.catch_warnings(action="ignore"):
        return est.fit(draw.X, draw.y, treatment=draw.treatment, instruments=draw.instruments)


def learner_study(n: int, n_rep: int, seed: int) -> pd.DataFrame:
    """S5: nonlinear functions, default learners and linear models."""
    result = monte_carlo(
        partial(make_invalid_iv, n=n, design="nonlinear"),
        {"cross-fitted": cross_fitted, "parametric": fit},
        n_rep,
        random_state=seed,
    )
    return result.table


def weak_study(mean_d: float, n: int, n_rep: int, seed: int) -> dict[str, float]:
    """S3: share of score sets and of Wald intervals that hold the truth."""
    rows = []
    for r in range(n_rep):
        draw = make_weak_iv(n, mean_d=mean_d, random_state=seed + r)
        est = fit(draw, estimand="overlap")
        truth = draw.truth["overlap ATE"]
        limits = est.score_confint()
        inside = ((limits["conf_low"] <= truth) & (truth <= limits["conf_high"])).any()
        half = 1.959964 * est.std_error_[0]
        rows.append(
            {
                "set": inside,
                "bounded": est.conf_set_type_ == "interval",
                "wald": abs(est.ate_ - truth) <= half,
                "wald_width": 2 * half,
                "strength": est.strength_.statistic,
            }
        )
    frame = pd.DataFrame(rows)
    coverage = float(frame["set"].mean())
    return {
        "mean_d": mean_d,
        "n": n,
        "n_rep": n_rep,
        "set_coverage": coverage,
        "mcse": float(np.sqrt(coverage * (1 - coverage) / n_rep)),
        "bounded": float(frame["bounded"].mean()),
        "wald_coverage": float(frame["wald"].mean()),
        "wald_width_median": float(frame["wald_width"].median()),
        "strength_median": float(frame["strength"].median()),
    }


def show(title: str, table: pd.DataFrame) -> None:
    print(f"\n{title}")
    print(table.round(4).to_string(index=False), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--what", nargs="+", choices=["S0", "S1", "S2", "S3", "S5"], default=["S1"])
    parser.add_argument("--reps", type=int, help="repetitions (default 12, 400, 200, 400, 100)")
    parser.add_argument("--n", type=int, help="rows (default 400000, 2000, 4000, 2000, 4000)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    seed = options.seed
    if "S0" in options.what:
        n, reps = options.n or 400_000, options.reps or 12
        show(f"S0, n = {n}, {reps} repetitions", union_study(n, reps, seed))
    if "S1" in options.what:
        n, reps = options.n or 2000, options.reps or 400
        show(f"S1, n = {n}, {reps} repetitions", coverage_study("standard", n, reps, seed))
    if "S2" in options.what:
        n, reps = options.n or 4000, options.reps or 200
        show(f"S2, n = {n}, {reps} repetitions", coverage_study("strong", n, reps, seed))
        show("S2, least squares", naive_study("strong", n, reps, seed))
    if "S3" in options.what:
        n, reps = options.n or 2000, options.reps or 400
        rows = [weak_study(d, n, reps, seed) for d in (0.0075, 0.006, 0.005)]
        show(f"S3, n = {n}, {reps} repetitions", pd.DataFrame(rows))
    if "S5" in options.what:
        n, reps = options.n or 4000, options.reps or 100
        show(f"S5, n = {n}, {reps} repetitions", learner_study(n, reps, seed))


if __name__ == "__main__":
    main()
