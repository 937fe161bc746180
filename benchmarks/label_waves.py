"""Labels in waves against labels drawn uniformly, at the same number of labels.

``python benchmarks/label_waves.py --n-rep 400`` prints one JSON line for each learner: bias in
standard deviations, coverage of 95 % intervals and root mean squared error of the coefficient of
x1, drawn uniformly at once and in four waves placed by :func:`robuststat.draw_wave`, and the ratio
of the two errors with its Monte Carlo standard error (jackknife over repetitions).

Design: y = 0.3 + 0.5 x1 - 0.4 x2 + e. The machine reports its confidence. On confident rows its
label is y plus noise of 0.2; on the others (20 %) its noise is 2 and it overstates the
effect of x1.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

import numpy as np
import pandas as pd

from robuststat import DSLRegressor, draw_wave

N_ROWS, WAVES, TRUTH = 4000, (150, 100, 100, 100), 0.5
LEARNERS = ("passthrough", "ols")


def make_data(rng: np.random.Generator) -> tuple[pd.DataFrame, Any]:
    """Rows with covariates, machine label ``s``, its confidence; and the expert label of all."""
    x1, x2, e, noise, blur = rng.standard_normal((5, N_ROWS))
    hard = rng.random(N_ROWS) < 0.2
    y = 0.3 + TRUTH * x1 - 0.4 * x2 + e
    s = y + np.where(hard, 0.5 * x1 + 2.0 * noise, 0.2 * noise)
    confidence = 1.0 - 0.6 * hard + 0.1 * blur
    return pd.DataFrame({"x1": x1, "x2": x2, "s": s, "confidence": confidence}), y


def roles(frame: pd.DataFrame, learner: str) -> dict[str, Any]:
    """Return what the learner sees; the confidence always informs the allocation."""
    return {"prediction": frame["s"], "features": frame[["x1", "x2", "confidence"]]}


def uniform(frame: pd.DataFrame, gold: Any, learner: str, seed: int) -> tuple[float, float]:
    """Estimate and standard error with all labels drawn at once."""
    rng = np.random.default_rng(seed)
    y = np.full(N_ROWS, np.nan)
    rows = rng.choice(N_ROWS, sum(WAVES), replace=False)
    y[rows] = gold[rows]
    est = DSLRegressor(learner=learner, n_rep=1, variance="design", random_state=seed)
    given = roles(frame, learner)
    if learner == "passthrough":
        del given["features"]
    est.fit(frame[["x1", "x2"]], y, **given)
    return float(est.coef_[0]), float(est.std_error_[1])


def waves(frame: pd.DataFrame, gold: Any, learner: str, seed: int) -> tuple[float, float]:
    """Estimate and standard error with labels in waves."""
    rng = np.random.default_rng(seed)
    y = np.full(N_ROWS, np.nan)
    X, given = frame[["x1", "x2"]], roles(frame, learner)
    options = {"design": "bernoulli", "normalize_prob": False, "n_rep": 1, "random_state": seed}
    est = DSLRegressor(learner=learner, **options)
    wave = None
    for size in WAVES:
        wave = draw_wave(
            est, X, y, n_labels=size, coef="x1", earlier=wave, random_state=rng, **given
        )
        y[wave.rows] = gold[wave.rows]
    assert wave is not None
    if learner == "passthrough":
        del given["features"]
    est.fit(X, y, sample_prob=wave.sample_prob, **given)
    return float(est.coef_[0]), float(est.std_error_[1])


def study(learner: str, n_rep: int, seed: int = 0) -> dict[str, Any]:
    """Compare the two ways over ``n_rep`` draws of the data."""
    found = np.empty((n_rep, 2, 2))
    for r in range(n_rep):
        frame, gold = make_data(np.random.default_rng([seed, r]))
        found[r, 0] = uniform(frame, gold, learner, 10_000 * seed + r)
        found[r, 1] = waves(frame, gold, learner, 10_000 * seed + r)
    gap = found[:, :, 0] - TRUTH
    sums = (gap**2).sum(axis=0)
    ratio = float(np.sqrt(sums[1] / sums[0]))
    left_out = np.sqrt((sums[1] - gap[:, 1] ** 2) / (sums[0] - gap[:, 0] ** 2))
    error = float(np.sqrt((n_rep - 1) * np.mean((left_out - left_out.mean()) ** 2)))
    line: dict[str, Any] = {"workload": "label_waves", "learner": learner, "n_rep": n_rep}
    line |= {"n": N_ROWS, "waves": list(WAVES)}
    for j, name in enumerate(("uniform", "in_waves")):
        sd = gap[:, j].std(ddof=1)
        line[name] = {
            "bias_in_sd": round(float(gap[:, j].mean() / sd), 3),
            "rmse": round(float(np.sqrt(sums[j] / n_rep)), 4),
            "se_over_sd": round(float(found[:, j, 1].mean() / sd), 3),
            "coverage": round(float(np.mean(np.abs(gap[:, j]) < 1.96 * found[:, j, 1])), 3),
        }
    return line | {"rmse_ratio": round(ratio, 3), "rmse_ratio_mc_error": round(error, 3)}


def main() -> None:
    """Run the study from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n-rep", type=int, default=400)
    parser.add_argument("--learner", choices=LEARNERS, nargs="+", default=list(LEARNERS))
    options = parser.parse_args()
    for learner in options.learner:
        print(json.dumps(study(learner, options.n_rep)))


if __name__ == "__main__":
    main()
