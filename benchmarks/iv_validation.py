"""Bias and coverage of the effect with an invalid instrument, at length.

``python benchmarks/iv_validation.py --what S0 S1 S2 S3 DML S5`` prints one table a study:

S0  the union of four models: which nuisance models may be wrong. Large n, so that bias is seen; the
    standard deviation over repetitions gives the Monte Carlo error. "union" marks the rows that
    must be unbiased.
S1  all models right: bias, ratio of mean standard error to standard deviation, coverage of 95 %
    intervals, stacked sandwich and influence function.
S2  the same with stronger confounding, and least squares beside it.
S3  hardly any heteroscedasticity, down to a mean D of 0.005: coverage of the score set and how
    often it is bounded, beside the Wald interval.
DML nonlinear nuisance functions: cross-fitted learners beside the parametric fit, which is wrong.
S5  selection among candidate learners with linear (S5a) and nonlinear (S5b) truths: root mean
    squared error and bias of the selected tuple by every criterion, of the softmax average, of an
    honest split, of the choice by cross-validated loss, of every family of learners used
    throughout, and of the best of all fixed tuples, known in hindsight only.

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
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression, RidgeCV
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import SplineTransformer
from sklearn.utils import Bunch

from robuststat import InvalidIVATE, InvalidIVDML, SelectiveInvalidIVDML
from robuststat.iv._tuples import softmax_weights
from robuststat.simulation import make_invalid_iv, make_weak_iv, monte_carlo

MODELS = {"pi": "instrument", "p": "treatment", "beta": "effect", "h": "direct"}
MODELS["omega"] = "confounding"
KEYS = ["instrument", "treatment", "effect", "direct", "confounding"]
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
    """Nonlinear functions, default learners and linear models."""
    result = monte_carlo(
        partial(make_invalid_iv, n=n, design="nonlinear"),
        {"cross-fitted": cross_fitted, "parametric": fit},
        n_rep,
        random_state=seed,
    )
    return result.table


def candidate_families() -> dict[str, dict[str, Any]]:
    """Name of a family -> its learner for every nuisance function; cheap ones."""

    def splines(learner: Any) -> Any:
        return make_pipeline(SplineTransformer(n_knots=5, knots="quantile"), learner)

    trees = {"max_iter": 15, "max_leaf_nodes": 6, "learning_rate": 0.3, "early_stopping": False}
    trees["max_bins"] = 32  # bins of weighted rows are slow to make
    ridge = RidgeCV(np.logspace(-3, 3, 7))
    logit = LogisticRegression(C=1e3)
    kinds = {
        "linear": (logit, LinearRegression(), "linear"),
        "splines": (splines(LogisticRegression()), splines(ridge), splines(ridge)),
        "boosting": (
            HistGradientBoostingClassifier(**trees),
            HistGradientBoostingRegressor(**trees),
            HistGradientBoostingRegressor(**trees | {"min_samples_leaf": 100}),
        ),
        "neighbours, constant effect": (
            KNeighborsClassifier(100),
            KNeighborsRegressor(100),
            "constant",
        ),
    }
    keys = ("instrument", "treatment", "direct", "confounding")
    return {
        name: {key: proba if key in keys[:2] else number for key in keys} | {"effect": effect}
        for name, (proba, number, effect) in kinds.items()
    }


def selective(draw: Bunch, seed: int, **options: Any) -> SelectiveInvalidIVDML:
    families = candidate_families()
    candidates = {
        key: [(name, learners[key]) for name, learners in families.items()] for key in KEYS
    }
    # One model of the first-stage outcome, to save time.
    candidates["outcome"] = [families["splines"]["direct"]]
    est = SelectiveInvalidIVDML(candidates, cv=3, random_state=seed, **options)
    with warnings.catch_warnings(action="ignore"):
        return est.fit(draw.X, draw.y, treatment=draw.treatment, instruments=draw.instruments)


def one_selection(draw: Bunch, seed: int) -> tuple[dict[str, float], NDArray[np.float64]]:
    """Estimates of all rules from one set of fitted learners, and those of all tuples."""
    est = selective(draw, seed)
    table = est.pseudo_risk().sort_values(KEYS, ignore_index=True)
    values = table["estimate"].to_numpy()
    found = {}
    for criterion in ("mixed", "minimax"):
        found[criterion] = float(values[table[criterion].to_numpy().argmin()])
        for rate in (20.0, 100.0):
            weights = softmax_weights(table[criterion].to_numpy(), rate)
            found[f"softmax of {criterion}, rate {rate:g}"] = float(weights @ values)
    chosen = np.logical_and.reduce([table[key] == est.cv_selected_[key] for key in KEYS])
    found["cross-validated loss"] = float(values[chosen][0])
    for name in candidate_families():
        same = np.logical_and.reduce([table[key] == name for key in KEYS])
        found[f"fixed: {name}"] = float(values[same][0])
    honest = selective(draw, seed, selection_split=0.5)
    found["mixed, honest split (half the rows)"] = honest.ate_
    for name, fitted in (("mixed", est), ("mixed, honest split (half the rows)", honest)):
        gap = abs(fitted.ate_ - draw.truth["ATE"])
        found[f"covered by {name}"] = float(gap <= 1.959964 * fitted.std_error_[0])
    return found, values


def selection_study(design: Any, n: int, n_rep: int, seed: int) -> None:
    """S5: prints the table, and what the best fixed tuple would have been."""
    rules, tuples = [], []
    for r in range(n_rep):
        draw = make_invalid_iv(n, design, random_state=seed + r)
        found, values = one_selection(draw, seed + r)
        rules.append(found)
        tuples.append(values)
        if (r + 1) % 50 == 0 or r + 1 == n_rep:
            title = f"S5, {design} truths, n = {n}, {r + 1} repetitions"
            show_selection(title, pd.DataFrame(rules), np.array(tuples), draw.truth["ATE"])


def show_selection(
    title: str, rules: pd.DataFrame, tuples: NDArray[np.float64], truth: float
) -> None:
    error = rules.filter(regex="^(?!covered)") - truth
    n_rep = len(error)
    squares = error**2
    rmse = np.sqrt(squares.mean())
    all_rmse = np.sqrt(((tuples - truth) ** 2).mean(axis=0))
    best_family = rmse[[name for name in rmse.index if name.startswith("fixed")]].min()
    table = pd.DataFrame(
        {
            "rmse": rmse,
            "mcse": squares.std() / np.sqrt(n_rep) / (2.0 * rmse),
            "bias": error.mean(),
            "bias_mcse": error.std() / np.sqrt(n_rep),
            "median_error": error.abs().median(),
            "/ best family": rmse / best_family,
            "/ best tuple": rmse / all_rmse.min(),
        }
    )
    show(title, table.reset_index(names="rule"))
    quantiles = np.quantile(all_rmse, [0.0, 0.05, 0.25, 0.5, 0.75, 1.0]).round(3)
    print(f"rmse of the {all_rmse.size} fixed tuples, 0/5/25/50/75/100 %: {quantiles}")
    first, second = slice(0, None, 2), slice(1, None, 2)
    half = np.sqrt(((tuples[first] - truth) ** 2).mean(axis=0))
    held_out = np.sqrt(np.mean((tuples[second, int(half.argmin())] - truth) ** 2))
    print(f"best tuple of the even repetitions, in the odd ones: rmse {held_out:.4f}")
    print(rules.filter(like="covered").mean().round(3).to_string(), flush=True)


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
    parser.add_argument(
        "--what", nargs="+", choices=["S0", "S1", "S2", "S3", "DML", "S5"], default=["S1"]
    )
    parser.add_argument(
        "--reps", type=int, help="repetitions (default 12, 400, 200, 400, 100, 200)"
    )
    parser.add_argument("--n", type=int, help="rows (default 400000, 2000, 4000, 2000, 4000, 2000)")
    parser.add_argument("--design", nargs="+", default=["linear", "nonlinear"], help="of S5")
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
    if "DML" in options.what:
        n, reps = options.n or 4000, options.reps or 100
        show(f"DML, n = {n}, {reps} repetitions", learner_study(n, reps, seed))
    if "S5" in options.what:
        for design in options.design:
            selection_study(design, options.n or 2000, options.reps or 200, seed)


if __name__ == "__main__":
    main()
